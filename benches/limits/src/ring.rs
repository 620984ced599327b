//! A bare io_uring: raw syscalls and mmaps, nothing between us and the kernel.

use std::sync::atomic::{AtomicU32, Ordering::*, fence};

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Sqe {
    pub opcode: u8,
    pub flags: u8,
    pub ioprio: u16,
    pub fd: i32,
    pub off: u64,
    pub addr: u64,
    pub len: u32,
    pub op_flags: u32,
    pub user_data: u64,
    pub buf_index: u16,
    pub personality: u16,
    pub file_index: i32,
    pub addr3: u64,
    pub pad: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Cqe {
    pub user_data: u64,
    pub res: i32,
    pub flags: u32,
}
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct SqOff {
    pub head: u32,
    pub tail: u32,
    pub mask: u32,
    pub entries: u32,
    pub flags: u32,
    pub dropped: u32,
    pub array: u32,
    pub r1: u32,
    pub ua: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct CqOff {
    pub head: u32,
    pub tail: u32,
    pub mask: u32,
    pub entries: u32,
    pub overflow: u32,
    pub cqes: u32,
    pub flags: u32,
    pub r1: u32,
    pub ua: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Params {
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub flags: u32,
    pub sq_cpu: u32,
    pub sq_idle: u32,
    pub features: u32,
    pub wq_fd: u32,
    pub resv: [u32; 3],
    pub sq: SqOff,
    pub cq: CqOff,
}

pub const SETUP_IOPOLL: u32 = 1;
pub const SETUP_SQPOLL: u32 = 2;
pub const SETUP_SQ_AFF: u32 = 4;
pub const SETUP_CQSIZE: u32 = 8;
pub const SETUP_SUBMIT_ALL: u32 = 1 << 7;
pub const SETUP_COOP: u32 = 1 << 8;
pub const SETUP_TASKRUN_FLAG: u32 = 1 << 9;
pub const SETUP_SINGLE: u32 = 1 << 12;
pub const SETUP_DEFER: u32 = 1 << 13;
pub const SETUP_NO_SQARRAY: u32 = 1 << 16;

pub const OP_NOP: u8 = 0;
pub const OP_READ_FIXED: u8 = 4;
pub const OP_WRITE_FIXED: u8 = 5;
pub const OP_SENDMSG: u8 = 9;
pub const OP_RECVMSG: u8 = 10;
pub const OP_READ: u8 = 22;
pub const OP_WRITE: u8 = 23;
pub const OP_SEND: u8 = 26;
pub const OP_RECV: u8 = 27;
pub const OP_MSG_RING: u8 = 40;
pub const OP_SEND_ZC: u8 = 47;
pub const OP_SENDMSG_ZC: u8 = 48;
pub const OP_FUTEX_WAIT: u8 = 51;

pub const F_FIXED_FILE: u8 = 1;
pub const F_LINK: u8 = 4;
pub const F_BUFSEL: u8 = 32;
pub const F_CQE_SKIP: u8 = 64;

pub const RS_POLL_FIRST: u16 = 1;
pub const RS_MULTISHOT: u16 = 2;
pub const RS_FIXED_BUF: u16 = 4;
pub const RS_ZC_REPORT: u16 = 8;
pub const RS_BUNDLE: u16 = 16;

pub const CQE_MORE: u32 = 2;
pub const CQE_NONEMPTY: u32 = 4;
pub const CQE_NOTIF: u32 = 8;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_REGISTERED: u32 = 16;

pub struct Ring {
    pub fd: i32,
    efd: i32,
    eflags: u32,
    sq_head: *const AtomicU32,
    sq_tail: *const AtomicU32,
    sq_flags: *const AtomicU32,
    sq_mask: u32,
    sq_entries: u32,
    sqes: *mut Sqe,
    tail: u32,
    subm: u32,
    cq_head: *const AtomicU32,
    cq_tail: *const AtomicU32,
    cq_mask: u32,
    cqes: *const Cqe,
    sqpoll: bool,
    pub enters: u64,
    pub params: Params,
}

pub fn errno() -> i32 {
    unsafe { *libc::__errno_location() }
}

impl Ring {
    pub fn new(entries: u32, cq: u32, flags: u32, sq_cpu: u32, sq_idle: u32) -> Result<Ring, i32> {
        unsafe {
            let mut p =
                Params { flags: flags | SETUP_CQSIZE, cq_entries: cq, sq_cpu, sq_idle, ..Default::default() };
            let fd = libc::syscall(425, entries, &mut p as *mut Params) as i32;
            if fd < 0 {
                return Err(errno());
            }
            let sz = std::cmp::max(
                p.sq.array as usize + p.sq_entries as usize * 4,
                p.cq.cqes as usize + p.cq_entries as usize * 16,
            );
            let m = libc::mmap(std::ptr::null_mut(), sz, 3, libc::MAP_SHARED | libc::MAP_POPULATE, fd, 0);
            assert!(m != libc::MAP_FAILED);
            let s = libc::mmap(
                std::ptr::null_mut(),
                p.sq_entries as usize * 64,
                3,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                0x10000000,
            );
            assert!(s != libc::MAP_FAILED);
            let b = m as *mut u8;
            if flags & SETUP_NO_SQARRAY == 0 {
                let a = b.add(p.sq.array as usize) as *mut u32;
                for i in 0..p.sq_entries {
                    *a.add(i as usize) = i;
                }
            }
            Ok(Ring {
                fd,
                efd: fd,
                eflags: 0,
                sq_head: b.add(p.sq.head as usize) as _,
                sq_tail: b.add(p.sq.tail as usize) as _,
                sq_flags: b.add(p.sq.flags as usize) as _,
                sq_mask: p.sq_entries - 1,
                sq_entries: p.sq_entries,
                sqes: s as _,
                tail: 0,
                subm: 0,
                cq_head: b.add(p.cq.head as usize) as _,
                cq_tail: b.add(p.cq.tail as usize) as _,
                cq_mask: p.cq_entries - 1,
                cqes: b.add(p.cq.cqes as usize) as _,
                sqpoll: flags & SETUP_SQPOLL != 0,
                enters: 0,
                params: p,
            })
        }
    }
    pub fn reg(&self, op: u32, arg: *const u8, n: u32) -> i32 {
        let r = unsafe { libc::syscall(427, self.fd, op, arg, n) as i32 };
        if r < 0 { -errno() } else { r }
    }
    pub fn register_ring_fd(&mut self) -> bool {
        // struct io_uring_rsrc_update { offset, resv, data }
        let mut u: [u32; 4] = [u32::MAX, 0, self.fd as u32, 0];
        if self.reg(20, u.as_mut_ptr() as _, 1) == 1 {
            self.efd = u[0] as i32;
            self.eflags = ENTER_REGISTERED;
            true
        } else {
            false
        }
    }
    pub fn reg_bufs(&self, v: &[libc::iovec]) -> i32 {
        self.reg(0, v.as_ptr() as _, v.len() as u32)
    }
    pub fn reg_files(&self, v: &[i32]) -> i32 {
        self.reg(2, v.as_ptr() as _, v.len() as u32)
    }
    #[inline]
    pub fn push(&mut self, s: Sqe) {
        unsafe {
            if self.tail.wrapping_sub((*self.sq_head).load(Acquire)) >= self.sq_entries {
                self.enter(0, false);
                while self.tail.wrapping_sub((*self.sq_head).load(Acquire)) >= self.sq_entries {
                    std::hint::spin_loop();
                }
            }
            *self.sqes.add((self.tail & self.sq_mask) as usize) = s;
            self.tail = self.tail.wrapping_add(1);
        }
    }
    #[inline]
    pub fn unsubmitted(&self) -> u32 {
        self.tail.wrapping_sub(self.subm)
    }
    /// Publish SQEs, submit them, and wait for `min` completions (get: run task work even with min == 0)
    pub fn enter(&mut self, min: u32, get: bool) -> i32 {
        unsafe {
            let n = self.tail.wrapping_sub(self.subm);
            (*self.sq_tail).store(self.tail, Release);
            let mut fl = self.eflags;
            if min > 0 || get {
                fl |= ENTER_GETEVENTS;
            }
            if self.sqpoll {
                self.subm = self.tail;
                fence(SeqCst);
                if (*self.sq_flags).load(Relaxed) & 1 != 0 {
                    fl |= ENTER_SQ_WAKEUP;
                } else if min == 0 && !get {
                    return n as i32;
                }
            }
            self.enters += 1;
            let r = libc::syscall(426, self.efd, n, min, fl, 0usize, 0usize) as i32;
            if r < 0 {
                let e = errno();
                if e != libc::EINTR && e != libc::EBUSY && e != libc::EAGAIN {
                    panic!("enter: errno {e}");
                }
                return -e;
            }
            if !self.sqpoll {
                self.subm = self.subm.wrapping_add(r as u32);
            }
            r
        }
    }
    #[inline]
    pub fn ready(&self) -> u32 {
        unsafe { (*self.cq_tail).load(Acquire).wrapping_sub((*self.cq_head).load(Relaxed)) }
    }
    #[inline]
    pub fn pop(&mut self) -> Option<Cqe> {
        unsafe {
            let h = (*self.cq_head).load(Relaxed);
            if h == (*self.cq_tail).load(Acquire) {
                return None;
            }
            let c = *self.cqes.add((h & self.cq_mask) as usize);
            (*self.cq_head).store(h.wrapping_add(1), Release);
            Some(c)
        }
    }
    /// Submit and wait for one completion; spin first for `spin_us` (u64::MAX = for ever)
    pub fn wait(&mut self, spin_us: u64) {
        if self.ready() > 0 {
            if self.unsubmitted() > 0 {
                self.enter(0, true);
            }
            return;
        }
        if spin_us == 0 {
            self.enter(1, true);
            return;
        }
        let t = crate::now_ns();
        loop {
            self.enter(0, true);
            if self.ready() > 0 {
                return;
            }
            if spin_us != u64::MAX && crate::now_ns() - t > spin_us * 1000 {
                break;
            }
        }
        self.enter(1, true);
    }
    #[allow(dead_code)]
    pub fn ext_arg_flag() -> u32 {
        ENTER_EXT_ARG
    }
}
impl Drop for Ring {
    fn drop(&mut self) {
        unsafe {
            libc::close(self.fd);
        }
    }
}

/// Provided-buffer ring (5.19)
pub struct PbufRing {
    base: *mut u8,
    mask: u16,
    tail: u16,
}
impl PbufRing {
    pub fn new(r: &Ring, bgid: u16, n: u16, flags: u16) -> Result<PbufRing, i32> {
        unsafe {
            let m = libc::mmap(
                std::ptr::null_mut(),
                (n as usize * 16 + 4095) & !4095,
                3,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            ) as *mut u8;
            #[repr(C)]
            struct Reg {
                addr: u64,
                n: u32,
                bgid: u16,
                flags: u16,
                resv: [u64; 3],
            }
            let g = Reg { addr: m as u64, n: n as u32, bgid, flags, resv: [0; 3] };
            let e = r.reg(22, &g as *const Reg as _, 1);
            if e < 0 {
                return Err(-e);
            }
            Ok(PbufRing { base: m, mask: n - 1, tail: 0 })
        }
    }
    #[inline]
    pub fn add(&mut self, addr: u64, len: u32, bid: u16) {
        unsafe {
            let p = self.base.add((self.tail & self.mask) as usize * 16);
            *(p as *mut u64) = addr;
            *(p.add(8) as *mut u32) = len;
            *(p.add(12) as *mut u16) = bid;
            self.tail = self.tail.wrapping_add(1);
        }
    }
    #[inline]
    pub fn publish(&mut self) {
        unsafe {
            (*(self.base.add(14) as *const std::sync::atomic::AtomicU16)).store(self.tail, Release);
        }
    }
}

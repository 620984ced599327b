//! The pseudo target (a forked child on processor 0) and its load generator (the parent, on processor 1).

use crate::ring::*;
use crate::{Shared, now_ns};
use std::collections::VecDeque;

pub const H: usize = 48;
pub const MAGIC: u64 = 0x6c69_6d69_7473_2121;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mode {
    Read,
    Write,
}
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rx {
    Recv,
    Multi,
    MultiBundle,
    Two,
    Linked,
    Recvmsg,
    Spec,
    Pnh,
    Staging,
    Hybrid,
    Epoll,
    PollFirst,
}
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tx {
    One,
    Link,
    Batch,
    Bundle,
    Zc,
    ZcMsg,
}

#[derive(Clone, Debug)]
pub struct Cfg {
    pub mode: Mode,
    pub payload: usize,
    pub qd: usize,
    pub conns: usize,
    pub secs: f64,
    pub warm: f64,
    pub runs: usize,
    pub rx: Rx,
    pub tx: Tx,
    pub ring: String,
    pub fixed_files: bool,
    pub ringfd: bool,
    pub spin_us: u64,
    pub contig: bool,
    pub hot: bool,
    pub fixed_buf: bool,
    pub ccopy: bool,
    pub cspin: bool,
    pub csend: bool,
    pub verify: bool,
    pub disk: Option<String>,
    pub disk_fixed: bool,
    pub cc: String,
    pub rxbuf: usize,
    pub pbufs: usize,
    pub pbuf_sz: usize,
    pub maxbatch: usize,
    pub k: usize,
    pub sndbuf: i32,
    pub rcvbuf: i32,
    pub tag: String,
    pub lock: bool,
    pub skip: bool,
    pub coal: usize,
}

fn set(fd: i32, l: i32, o: i32, v: i32) {
    unsafe {
        libc::setsockopt(fd, l, o, &v as *const i32 as _, 4);
    }
}
fn sockopts(fd: i32, c: &Cfg) {
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    if c.sndbuf > 0 {
        set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, c.sndbuf);
    }
    if c.rcvbuf > 0 {
        set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, c.rcvbuf);
    }
    if c.cc != "default" {
        let r = unsafe {
            libc::setsockopt(
                fd,
                libc::IPPROTO_TCP,
                libc::TCP_CONGESTION,
                c.cc.as_ptr() as _,
                c.cc.len() as u32,
            )
        };
        assert!(r == 0, "TCP_CONGESTION {}", c.cc);
    }
}
pub fn listen(c: &Cfg) -> (i32, u16) {
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        sockopts(fd, c);
        let mut a: libc::sockaddr_in = std::mem::zeroed();
        a.sin_family = libc::AF_INET as u16;
        a.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
        assert!(libc::bind(fd, &a as *const _ as _, 16) == 0);
        let mut l = 16u32;
        libc::getsockname(fd, &mut a as *mut _ as _, &mut l);
        assert!(libc::listen(fd, 64) == 0);
        (fd, u16::from_be(a.sin_port))
    }
}
pub fn big(sz: usize) -> *mut u8 {
    unsafe {
        let m = libc::mmap(
            std::ptr::null_mut(),
            sz + (2 << 20),
            3,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert!(m != libc::MAP_FAILED);
        let p = (m as usize + (2 << 20) - 1) & !((2 << 20) - 1);
        libc::madvise(
            p as _,
            sz,
            if std::env::var("LIMITS_NOHUGE").is_ok() { libc::MADV_NOHUGEPAGE } else { libc::MADV_HUGEPAGE },
        );
        std::ptr::write_bytes(p as *mut u8, 0x5a, sz);
        p as *mut u8
    }
}

pub fn make_ring(kind: &str, entries: u32) -> Result<Ring, i32> {
    let base = SETUP_SUBMIT_ALL | SETUP_NO_SQARRAY;
    let (f, cpu) = match kind {
        "default" => (base, 0),
        "coop" => (base | SETUP_COOP, 0),
        "cooptr" => (base | SETUP_COOP | SETUP_TASKRUN_FLAG, 0),
        "single" => (base | SETUP_COOP | SETUP_SINGLE, 0),
        "defer" => (base | SETUP_SINGLE | SETUP_DEFER, 0),
        "sqpoll" => (base | SETUP_SQPOLL | SETUP_SQ_AFF | SETUP_SINGLE, 0),
        "sqpoll1" => (base | SETUP_SQPOLL | SETUP_SQ_AFF | SETUP_SINGLE, 1),
        _ => panic!("ring kind"),
    };
    match Ring::new(entries, entries * 4, f, cpu, 1000) {
        // Before Linux 6.6 there is no ring without that array.
        Err(libc::EINVAL) => Ring::new(entries, entries * 4, f & !SETUP_NO_SQARRAY, cpu, 1000),
        other => other,
    }
}

struct Conn {
    fd: i32,
    open: bool,
    rxb: *mut u8,
    rxn: usize,
    rxhdr: Box<libc::msghdr>,
    rxiov: Vec<libc::iovec>,
    carry: [u8; H],
    carryn: usize,
    // write-side cursor
    off: usize,
    resv: VecDeque<u32>,
    // slots
    base: *mut u8,
    hdrs: *mut u8,
    free: VecDeque<u32>,
    tags: Vec<u64>,
    backlog: VecDeque<u64>,
    ready: VecDeque<(u32, u64)>,
    // tx
    txbusy: usize,
    txleft: usize,
    txslots: VecDeque<u32>,
    txiov: Vec<libc::iovec>,
    txmsg: Box<libc::msghdr>,
    lmsg: Vec<(libc::msghdr, [libc::iovec; 2])>,
    txbuf: *mut u8,
    zcq: VecDeque<Vec<u32>>,
    sbr: Option<PbufRing>,
    dirty: bool,
    linkleft: usize,
    skip_fail: Option<i32>,
    more: bool,
}

const K_RX: u64 = 1;
const K_RXP: u64 = 2;
const K_TX: u64 = 3;
const K_LTX: u64 = 4;
const K_DISK: u64 = 5;
const K_SKIP: u64 = 6;
fn ud(k: u64, c: usize, s: u32) -> u64 {
    k << 56 | (c as u64) << 32 | s as u64
}

pub struct Server<'a> {
    c: &'a Cfg,
    r: Ring,
    v: Vec<Conn>,
    stride: usize,
    room: usize,
    area: *mut u8,
    bufseg: usize,
    rxr: Option<PbufRing>,
    rxpool: *mut u8,
    disk_fd: i32,
    disk_blocks: u64,
    rng: u64,
    open: usize,
    dirty: Vec<usize>,
    sh: &'a Shared,
    pub bad: u64,
    loops: u64,
    zc_copied: u64,
    zc_notif: u64,
    enobufs: u64,
    skipq: Vec<usize>,
    skip_failed: u64,
}

impl<'a> Server<'a> {
    pub fn new(c: &'a Cfg, fds: Vec<i32>, sh: &'a Shared) -> Server<'a> {
        let r = make_ring(&c.ring, 4096).expect("ring");
        let mut r = r;
        if c.ringfd {
            assert!(r.register_ring_fd());
        }
        let nslot = 2 * c.qd + 16;
        let room = if c.contig { 512 } else { 0 };
        let stride = ((c.payload + 4095) & !4095) + if c.contig { 4096 } else { 0 };
        let seg = (nslot * stride + (2 << 20) - 1) & !((2 << 20) - 1);
        let area = big(seg * fds.len());
        let hdrs = big(fds.len() * nslot * 64);
        let rxbuf = c.rxbuf.max(4096);
        let rxa = big(fds.len() * rxbuf);
        let txa = big(fds.len() * nslot * H);
        let mut v = vec![];
        for (i, &fd) in fds.iter().enumerate() {
            v.push(Conn {
                fd: if c.fixed_files { i as i32 } else { fd },
                open: true,
                rxb: unsafe { rxa.add(i * rxbuf) },
                rxn: 0,
                rxhdr: Box::new(unsafe { std::mem::zeroed() }),
                rxiov: Vec::with_capacity(64),
                carry: [0; H],
                carryn: 0,
                off: 0,
                resv: VecDeque::new(),
                base: unsafe { area.add(i * seg) },
                hdrs: unsafe { hdrs.add(i * nslot * 64) },
                free: (0..nslot as u32).collect(),
                tags: vec![0; nslot],
                backlog: VecDeque::new(),
                ready: VecDeque::new(),
                txbusy: 0,
                txleft: 0,
                txslots: VecDeque::new(),
                txiov: Vec::with_capacity(1024),
                txmsg: Box::new(unsafe { std::mem::zeroed() }),
                lmsg: Vec::with_capacity(nslot),
                txbuf: unsafe { txa.add(i * nslot * H) },
                zcq: VecDeque::new(),
                sbr: None,
                dirty: false,
                linkleft: 0,
                skip_fail: None,
                more: false,
            });
        }
        let mut disk_fd = -1;
        let mut disk_blocks = 0;
        let mut files = fds.clone();
        if let Some(p) = &c.disk {
            let cp = std::ffi::CString::new(p.as_str()).unwrap();
            disk_fd = unsafe { libc::open(cp.as_ptr(), libc::O_RDWR | libc::O_DIRECT) };
            assert!(disk_fd >= 0, "open {p}: {}", errno());
            let len = unsafe { libc::lseek(disk_fd, 0, libc::SEEK_END) };
            disk_blocks = len as u64 / c.payload as u64;
            files.push(disk_fd);
            if c.fixed_files {
                disk_fd = fds.len() as i32;
            }
        }
        if c.fixed_files {
            let e = r.reg_files(&files);
            assert!(e >= 0, "reg_files {e}");
        }
        if c.fixed_buf || (c.disk.is_some() && c.disk_fixed) {
            let iov: Vec<libc::iovec> = (0..fds.len())
                .map(|i| libc::iovec { iov_base: unsafe { area.add(i * seg) } as _, iov_len: seg })
                .collect();
            let e = r.reg_bufs(&iov);
            assert!(e >= 0, "reg_bufs {e}");
        }
        let mut rxr = None;
        let mut rxpool = std::ptr::null_mut();
        if matches!(c.rx, Rx::Multi | Rx::MultiBundle) {
            let mut b = PbufRing::new(&r, 0, c.pbufs as u16, 0).expect("pbuf ring");
            rxpool = big(c.pbufs * c.pbuf_sz);
            for i in 0..c.pbufs {
                b.add(unsafe { rxpool.add(i * c.pbuf_sz) } as u64, c.pbuf_sz as u32, i as u16);
            }
            b.publish();
            rxr = Some(b);
        }
        if c.tx == Tx::Bundle {
            let n = (nslot * 2).next_power_of_two() as u16;
            for i in 0..fds.len() {
                v[i].sbr = Some(PbufRing::new(&r, 1 + i as u16, n, 0).expect("send buf ring"));
            }
        }
        let n = v.len();
        Server {
            c,
            r,
            v,
            stride,
            room,
            area,
            bufseg: seg,
            rxr,
            rxpool,
            disk_fd,
            disk_blocks,
            rng: 88172645463325252,
            open: n,
            dirty: vec![],
            sh,
            bad: 0,
            loops: 0,
            zc_copied: 0,
            zc_notif: 0,
            enobufs: 0,
            skipq: vec![],
            skip_failed: 0,
        }
    }
    fn sqe(&self, ci: usize, op: u8) -> Sqe {
        Sqe {
            opcode: op,
            flags: if self.c.fixed_files { F_FIXED_FILE } else { 0 },
            fd: self.v[ci].fd,
            ..Default::default()
        }
    }
    #[inline]
    fn pay(&self, ci: usize, s: u32) -> *mut u8 {
        unsafe { self.v[ci].base.add(if self.c.hot { 0 } else { s as usize * self.stride } + self.room) }
    }
    #[inline]
    fn mark(&mut self, ci: usize) {
        if !self.v[ci].dirty {
            self.v[ci].dirty = true;
            self.dirty.push(ci);
        }
    }

    // ---------- receive side ----------
    fn arm_rx(&mut self, ci: usize) {
        const WA: u32 = libc::MSG_WAITALL as u32;
        let p = self.c.payload;
        match self.c.rx {
            Rx::Recv | Rx::Staging | Rx::PollFirst => {
                let mut s = self.sqe(ci, OP_RECV);
                let c = &self.v[ci];
                s.addr = unsafe { c.rxb.add(c.rxn) } as u64;
                s.len = (self.c.rxbuf - c.rxn) as u32;
                s.user_data = ud(K_RX, ci, 0);
                if self.c.rx == Rx::PollFirst {
                    s.ioprio = RS_POLL_FIRST;
                }
                self.r.push(s);
            }
            Rx::Multi | Rx::MultiBundle => {
                let mut s = self.sqe(ci, OP_RECV);
                s.flags |= F_BUFSEL;
                s.ioprio = RS_MULTISHOT | if self.c.rx == Rx::MultiBundle { RS_BUNDLE } else { 0 };
                s.user_data = ud(K_RX, ci, 0);
                self.r.push(s);
            }
            Rx::Two => {
                let (addr, len, kind) = self.two_next(ci);
                let mut s = self.sqe(ci, OP_RECV);
                s.addr = addr;
                s.len = len;
                s.op_flags = WA;
                s.user_data = ud(kind, ci, 0);
                self.r.push(s);
            }
            Rx::Linked => {
                let k = self.c.k;
                self.fill_resv(ci, k);
                self.v[ci].linkleft = 2 * k;
                for j in 0..k {
                    let slot = self.v[ci].resv[j];
                    let mut s = self.sqe(ci, OP_RECV);
                    s.addr = self.hdr(ci, slot) as u64;
                    s.len = H as u32;
                    s.op_flags = WA;
                    s.flags |= F_LINK;
                    s.user_data = ud(K_RX, ci, 0);
                    self.r.push(s);
                    let mut s = self.sqe(ci, OP_RECV);
                    s.addr = self.pay(ci, slot) as u64;
                    s.len = p as u32;
                    s.op_flags = WA;
                    s.user_data = ud(K_RXP, ci, 0);
                    if j + 1 < k {
                        s.flags |= F_LINK;
                    }
                    self.r.push(s);
                }
            }
            Rx::Recvmsg | Rx::Spec | Rx::Pnh | Rx::Hybrid => {
                let k = match self.c.rx {
                    Rx::Recvmsg => 1,
                    Rx::Pnh => 2,
                    Rx::Hybrid => 1,
                    _ => self.c.k,
                };
                self.fill_resv(ci, k);
                let mut iov = std::mem::take(&mut self.v[ci].rxiov);
                iov.clear();
                let off = self.v[ci].off;
                let mut add = |p: *mut u8, n: usize| iov.push(libc::iovec { iov_base: p as _, iov_len: n });
                let s0 = self.v[ci].resv[0];
                match self.c.rx {
                    Rx::Pnh => {
                        if off < H {
                            add(unsafe { self.hdr(ci, s0).add(off) }, H - off)
                        } else {
                            add(unsafe { self.pay(ci, s0).add(off - H) }, p + H - off);
                            add(self.hdr(ci, self.v[ci].resv[1]), H);
                        }
                    }
                    Rx::Hybrid => {
                        if off >= H {
                            add(unsafe { self.pay(ci, s0).add(off - H) }, p + H - off);
                        }
                        add(self.v[ci].rxb, self.c.rxbuf);
                    }
                    _ => {
                        if off < H {
                            add(unsafe { self.hdr(ci, s0).add(off) }, H - off);
                            add(self.pay(ci, s0), p);
                        } else {
                            add(unsafe { self.pay(ci, s0).add(off - H) }, p + H - off);
                        }
                        for j in 1..k {
                            let s = self.v[ci].resv[j];
                            add(self.hdr(ci, s), H);
                            add(self.pay(ci, s), p);
                        }
                    }
                }
                let c = &mut self.v[ci];
                c.rxiov = iov;
                c.rxhdr.msg_iov = c.rxiov.as_mut_ptr();
                c.rxhdr.msg_iovlen = c.rxiov.len() as _;
                let a = &*c.rxhdr as *const _ as u64;
                let mut s = self.sqe(ci, OP_RECVMSG);
                s.addr = a;
                s.len = 1;
                s.user_data = ud(K_RX, ci, 0);
                if self.c.rx == Rx::Recvmsg {
                    s.op_flags = WA;
                }
                self.r.push(s);
            }
            Rx::Epoll => unreachable!(),
        }
    }
    fn two_next(&mut self, ci: usize) -> (u64, u32, u64) {
        self.fill_resv(ci, 1);
        let s = self.v[ci].resv[0];
        let off = self.v[ci].off;
        if off < H {
            (unsafe { self.hdr(ci, s).add(off) } as u64, (H - off) as u32, K_RX)
        } else {
            (unsafe { self.pay(ci, s).add(off - H) } as u64, (self.c.payload + H - off) as u32, K_RX)
        }
    }
    #[inline]
    fn hdr(&self, ci: usize, s: u32) -> *mut u8 {
        unsafe { if self.room > 0 { self.pay(ci, s).sub(H) } else { self.v[ci].hdrs.add(s as usize * 64) } }
    }
    fn fill_resv(&mut self, ci: usize, k: usize) {
        let c = &mut self.v[ci];
        while c.resv.len() < k {
            // The one that was used last, which the caches still hold: as slots are reused in ringtgt.
            let s = c.free.pop_back().expect("write slot");
            c.resv.push_back(s);
        }
    }
    /// bytes landed in place (direct placement): advance the PDU cursor
    fn advance(&mut self, ci: usize, mut n: usize) {
        let full = H + self.c.payload;
        while n > 0 {
            let t = n.min(full - self.v[ci].off);
            self.v[ci].off += t;
            n -= t;
            if self.v[ci].off == full {
                self.v[ci].off = 0;
                self.pdu_done(ci);
            }
        }
    }
    /// bytes arrived in a staging buffer: copy to their place
    fn feed(&mut self, ci: usize, mut p: *const u8, mut n: usize) {
        let full = H + self.c.payload;
        while n > 0 {
            self.fill_resv(ci, 1);
            let s = self.v[ci].resv[0];
            let off = self.v[ci].off;
            let (dst, t) = if off < H {
                (unsafe { self.hdr(ci, s).add(off) }, n.min(H - off))
            } else {
                (unsafe { self.pay(ci, s).add(off - H) }, n.min(full - off))
            };
            unsafe {
                std::ptr::copy_nonoverlapping(p, dst, t);
                p = p.add(t);
            }
            n -= t;
            self.v[ci].off += t;
            if off + t == full {
                self.v[ci].off = 0;
                self.pdu_done(ci);
            }
        }
    }
    fn pdu_done(&mut self, ci: usize) {
        let s = self.v[ci].resv.pop_front().unwrap();
        let tag = unsafe { *(self.hdr(ci, s).add(16) as *const u64) };
        if self.c.verify {
            let h = unsafe { *(self.hdr(ci, s) as *const u64) };
            let a = unsafe { *(self.pay(ci, s) as *const u64) };
            let b = unsafe { *(self.pay(ci, s).add(self.c.payload - 8) as *const u64) };
            let b2 = unsafe { *(self.pay(ci, s).add(self.c.payload / 2) as *const u64) };
            if h != MAGIC || a != MAGIC ^ tag || b != !tag || b2 != tag {
                self.bad += 1;
            }
        }
        if self.c.disk.is_some() {
            self.v[ci].tags[s as usize] = tag;
            self.disk(ci, s, true);
        } else {
            let c = &mut self.v[ci];
            c.free.push_back(s);
            c.ready.push_back((0, tag));
            self.mark(ci);
        }
    }
    fn requests(&mut self, ci: usize, p: *const u8, n: usize) -> usize {
        // parse n bytes of read requests at p; returns bytes used
        let k = n / H;
        for i in 0..k {
            let tag = unsafe { (p.add(i * H + 16) as *const u64).read_unaligned() };
            self.request(ci, tag);
        }
        if k > 0 {
            self.mark(ci);
        }
        k * H
    }
    #[inline]
    fn request(&mut self, ci: usize, tag: u64) {
        let c = &mut self.v[ci];
        let Some(s) = c.free.pop_back() else {
            c.backlog.push_back(tag);
            return;
        };
        c.tags[s as usize] = tag;
        if self.disk_fd >= 0 {
            self.disk(ci, s, false);
        } else {
            c.ready.push_back((s, tag));
        }
    }
    fn disk(&mut self, ci: usize, s: u32, write: bool) {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        let off = (self.rng % self.disk_blocks) * self.c.payload as u64;
        let a = self.pay(ci, s) as u64;
        let op = match (write, self.c.disk_fixed) {
            (false, true) => OP_READ_FIXED,
            (true, true) => OP_WRITE_FIXED,
            (false, false) => OP_READ,
            (true, false) => OP_WRITE,
        };
        self.r.push(Sqe {
            opcode: op,
            flags: if self.c.fixed_files { F_FIXED_FILE } else { 0 },
            fd: self.disk_fd,
            off,
            addr: a,
            len: self.c.payload as u32,
            user_data: ud(K_DISK, ci, s),
            buf_index: if self.c.disk_fixed { ci as u16 } else { 0 },
            ..Default::default()
        });
    }
    fn rx_bytes(&mut self, ci: usize, p: *const u8, n: usize) {
        // data in a buffer that is not ours to keep
        if self.c.mode == Mode::Write {
            self.feed(ci, p, n);
            return;
        }
        let mut used = 0;
        let cn = self.v[ci].carryn;
        if cn > 0 {
            let t = (H - cn).min(n);
            unsafe {
                std::ptr::copy_nonoverlapping(p, self.v[ci].carry.as_mut_ptr().add(cn), t);
            }
            self.v[ci].carryn += t;
            used = t;
            if self.v[ci].carryn == H {
                self.v[ci].carryn = 0;
                let a = self.v[ci].carry;
                self.requests(ci, a.as_ptr(), H);
            }
        }
        used += self.requests(ci, unsafe { p.add(used) }, n - used);
        if used < n {
            let t = n - used;
            unsafe {
                std::ptr::copy_nonoverlapping(p.add(used), self.v[ci].carry.as_mut_ptr(), t);
            }
            self.v[ci].carryn = t;
        }
    }
    fn on_rx(&mut self, ci: usize, kind: u64, q: Cqe) {
        if q.res <= 0 && q.res != -libc::ENOBUFS {
            if q.res < 0 && q.res != -libc::ECONNRESET && q.res != -libc::ECANCELED {
                eprintln!("rx conn {ci}: {}", q.res);
            }
            if self.v[ci].open {
                self.v[ci].open = false;
                self.open -= 1;
            }
            return;
        }
        let n = q.res as usize;
        // reply coalescing: while the socket says it holds more data, keep up to `coal` answers back
        let more = self.c.coal > 0 && q.flags & CQE_NONEMPTY != 0;
        if !more && self.v[ci].more && !self.v[ci].ready.is_empty() {
            self.mark(ci);
        }
        self.v[ci].more = more;
        match self.c.rx {
            Rx::Recv | Rx::Staging | Rx::PollFirst => {
                if self.c.mode == Mode::Write {
                    let b = self.v[ci].rxb;
                    self.feed(ci, b, n);
                } else {
                    let have = self.v[ci].rxn + n;
                    let b = self.v[ci].rxb;
                    let used = self.requests(ci, b, have);
                    if used < have {
                        unsafe {
                            std::ptr::copy(b.add(used), b, have - used);
                        }
                    }
                    self.v[ci].rxn = have - used;
                }
                self.arm_rx(ci);
            }
            Rx::Multi | Rx::MultiBundle => {
                if q.res == -libc::ENOBUFS {
                    self.enobufs += 1;
                    self.arm_rx(ci);
                    return;
                }
                let mut bid = (q.flags >> 16) as usize;
                let mut left = n;
                while left > 0 {
                    let t = left.min(self.c.pbuf_sz);
                    let a = unsafe { self.rxpool.add(bid * self.c.pbuf_sz) };
                    self.rx_bytes(ci, a, t);
                    self.rxr.as_mut().unwrap().add(a as u64, self.c.pbuf_sz as u32, bid as u16);
                    left -= t;
                    bid = (bid + 1) % self.c.pbufs; // buffers are recycled in order
                }
                self.rxr.as_mut().unwrap().publish();
                if q.flags & CQE_MORE == 0 {
                    self.arm_rx(ci);
                }
            }
            Rx::Two | Rx::Recvmsg | Rx::Spec | Rx::Pnh => {
                self.advance(ci, n);
                self.arm_rx(ci);
            }
            Rx::Linked => {
                let _ = kind;
                self.advance(ci, n);
                self.v[ci].linkleft -= 1;
                if self.v[ci].linkleft == 0 {
                    self.arm_rx(ci);
                }
            }
            Rx::Hybrid => {
                let off = self.v[ci].off;
                let direct = if off >= H { n.min(H + self.c.payload - off) } else { 0 };
                self.advance(ci, direct);
                if n > direct {
                    let b = self.v[ci].rxb;
                    self.feed(ci, b, n - direct);
                }
                self.arm_rx(ci);
            }
            Rx::Epoll => unreachable!(),
        }
    }

    // ---------- send side ----------
    fn put_hdr(h: *mut u8, tag: u64) {
        unsafe {
            *(h as *mut u64) = MAGIC;
            *(h.add(16) as *mut u64) = tag;
        }
    }
    fn flush(&mut self, ci: usize) {
        const FL: u32 = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
        if self.v[ci].txbusy > 0 || self.v[ci].ready.is_empty() || !self.v[ci].open {
            return;
        }
        let p = self.c.payload;
        let nready = self.v[ci].ready.len();
        if self.v[ci].more && nready < self.c.coal {
            return;
        }
        if self.c.mode == Mode::Write {
            let n = nready.min(if self.c.tx == Tx::One { 1 } else { 1024 });
            let c = &mut self.v[ci];
            for i in 0..n {
                let (_, t) = c.ready.pop_front().unwrap();
                Self::put_hdr(unsafe { c.txbuf.add(i * H) }, t);
            }
            c.txbusy = 1;
            c.txleft = n * H;
            let a = c.txbuf as u64;
            let mut s = self.sqe(ci, OP_SEND);
            s.addr = a;
            s.len = (n * H) as u32;
            s.op_flags = FL;
            s.user_data = ud(K_TX, ci, 0);
            if self.c.skip {
                s.flags |= F_CQE_SKIP;
                s.op_flags |= libc::MSG_DONTWAIT as u32;
                s.user_data = ud(K_SKIP, ci, 0);
                self.skipq.push(ci);
            }
            self.r.push(s);
            return;
        }
        match self.c.tx {
            Tx::One | Tx::Batch | Tx::ZcMsg => {
                let n = if self.c.tx == Tx::One { 1 } else { nready.min(self.c.maxbatch) };
                let mut iov = std::mem::take(&mut self.v[ci].txiov);
                iov.clear();
                let mut zs = vec![];
                for _ in 0..n {
                    let (s, t) = self.v[ci].ready.pop_front().unwrap();
                    let h = self.hdr(ci, s);
                    Self::put_hdr(h, t);
                    if self.room > 0 {
                        iov.push(libc::iovec { iov_base: h as _, iov_len: H + p });
                    } else {
                        iov.push(libc::iovec { iov_base: h as _, iov_len: H });
                        iov.push(libc::iovec { iov_base: self.pay(ci, s) as _, iov_len: p });
                    }
                    if self.c.tx == Tx::ZcMsg {
                        zs.push(s)
                    } else {
                        self.v[ci].txslots.push_back(s);
                    }
                }
                let c = &mut self.v[ci];
                c.txiov = iov;
                c.txmsg.msg_iov = c.txiov.as_mut_ptr();
                c.txmsg.msg_iovlen = c.txiov.len() as _;
                c.txbusy = 1;
                c.txleft = n * (H + p);
                let a = &*c.txmsg as *const _ as u64;
                if self.c.tx == Tx::ZcMsg {
                    c.zcq.push_back(zs);
                }
                let mut s = self.sqe(ci, if self.c.tx == Tx::ZcMsg { OP_SENDMSG_ZC } else { OP_SENDMSG });
                s.addr = a;
                s.len = 1;
                s.op_flags = FL;
                s.user_data = ud(K_TX, ci, 0);
                if self.c.skip {
                    s.flags |= F_CQE_SKIP;
                    s.op_flags |= libc::MSG_DONTWAIT as u32;
                    s.user_data = ud(K_SKIP, ci, 0);
                    self.skipq.push(ci);
                }
                if self.c.tx == Tx::ZcMsg {
                    s.ioprio = RS_ZC_REPORT;
                    if self.c.fixed_buf {
                        s.ioprio |= RS_FIXED_BUF;
                        s.buf_index = ci as u16;
                    }
                }
                self.r.push(s);
            }
            Tx::Link => {
                let n = nready.min(self.c.maxbatch);
                self.v[ci].lmsg.clear();
                for i in 0..n {
                    let (s, t) = self.v[ci].ready.pop_front().unwrap();
                    let h = self.hdr(ci, s);
                    Self::put_hdr(h, t);
                    let pp = self.pay(ci, s);
                    let c = &mut self.v[ci];
                    c.txslots.push_back(s);
                    c.lmsg.push((
                        unsafe { std::mem::zeroed() },
                        [
                            libc::iovec { iov_base: h as _, iov_len: H },
                            libc::iovec { iov_base: pp as _, iov_len: p },
                        ],
                    ));
                    let e = &mut c.lmsg[i];
                    e.0.msg_iov = e.1.as_mut_ptr();
                    e.0.msg_iovlen = 2;
                    let a = &e.0 as *const _ as u64;
                    let mut s = self.sqe(ci, OP_SENDMSG);
                    s.addr = a;
                    s.len = 1;
                    s.op_flags = FL;
                    s.user_data = ud(K_LTX, ci, 0);
                    if i + 1 < n {
                        s.flags |= F_LINK;
                    }
                    self.r.push(s);
                }
                self.v[ci].txbusy = n;
            }
            Tx::Bundle => {
                let n = nready.min(self.c.maxbatch);
                for _ in 0..n {
                    let (s, t) = self.v[ci].ready.pop_front().unwrap();
                    let h = self.hdr(ci, s);
                    Self::put_hdr(h, t);
                    let pp = self.pay(ci, s);
                    let room = self.room;
                    let c = &mut self.v[ci];
                    c.txslots.push_back(s);
                    let b = c.sbr.as_mut().unwrap();
                    if room > 0 {
                        b.add(h as u64, (H + p) as u32, s as u16);
                    } else {
                        b.add(h as u64, H as u32, s as u16);
                        b.add(pp as u64, p as u32, s as u16);
                    }
                }
                let c = &mut self.v[ci];
                c.sbr.as_mut().unwrap().publish();
                c.txbusy = 1;
                c.txleft = n * (H + p);
                let mut s = self.sqe(ci, OP_SEND);
                s.flags |= F_BUFSEL;
                s.ioprio = RS_BUNDLE;
                s.buf_index = 1 + ci as u16;
                s.op_flags = FL;
                s.user_data = ud(K_TX, ci, 0);
                self.r.push(s);
            }
            Tx::Zc => {
                assert!(self.room > 0, "tx zc needs --contig");
                let (s0, t) = self.v[ci].ready.pop_front().unwrap();
                let h = self.hdr(ci, s0);
                Self::put_hdr(h, t);
                let c = &mut self.v[ci];
                c.txbusy = 1;
                c.txleft = H + p;
                c.zcq.push_back(vec![s0]);
                let mut s = self.sqe(ci, OP_SEND_ZC);
                s.addr = h as u64;
                s.len = (H + p) as u32;
                s.op_flags = FL;
                s.user_data = ud(K_TX, ci, s0);
                s.ioprio = RS_ZC_REPORT;
                if self.c.fixed_buf {
                    s.ioprio |= RS_FIXED_BUF;
                    s.buf_index = ci as u16;
                }
                self.r.push(s);
            }
        }
    }
    fn release(&mut self, ci: usize, s: u32) {
        self.v[ci].free.push_back(s);
        if let Some(t) = self.v[ci].backlog.pop_front() {
            self.request(ci, t);
            self.mark(ci);
        }
    }
    fn on_tx(&mut self, ci: usize, q: Cqe) {
        if q.flags & CQE_NOTIF != 0 {
            self.zc_notif += 1;
            if q.res as u32 & (1 << 31) != 0 {
                self.zc_copied += 1;
            }
            // notifications of one socket come back in order
            if let Some(v) = self.v[ci].zcq.pop_front() {
                for s in v {
                    self.release(ci, s);
                }
            }
            return;
        }
        if q.res < 0 {
            if q.res != -libc::EPIPE && q.res != -libc::ECONNRESET && q.res != -libc::ECANCELED {
                eprintln!("tx conn {ci}: {}", q.res);
                self.bad += 1;
            }
            if q.res != -libc::ENOBUFS {
                self.v[ci].txbusy = 0;
            }
            return;
        }
        let n = q.res as usize;
        let zc = matches!(self.c.tx, Tx::Zc | Tx::ZcMsg);
        if n != self.v[ci].txleft && !(self.c.tx == Tx::Bundle && n < self.v[ci].txleft) {
            // MSG_WAITALL: a short count means the connection died on the way (the client closes at the end of a run)
            self.v[ci].txbusy = 1;
            return;
        }
        self.v[ci].txleft -= n.min(self.v[ci].txleft);
        if self.v[ci].txleft > 0 {
            // bundle: more to come with F_MORE, else ask again for the rest of the ring
            if q.flags & CQE_MORE == 0 {
                let mut s = self.sqe(ci, OP_SEND);
                s.flags |= F_BUFSEL;
                s.ioprio = RS_BUNDLE;
                s.buf_index = 1 + ci as u16;
                s.op_flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
                s.user_data = ud(K_TX, ci, 0);
                self.r.push(s);
            }
            return;
        }
        self.v[ci].txbusy = 0;
        if !zc && self.c.mode == Mode::Read {
            while let Some(s) = self.v[ci].txslots.pop_front() {
                self.release(ci, s);
            }
        }
        self.mark(ci);
    }
    /// the socket was full: send the rest the ordinary way (poll armed, CQE wanted)
    fn resend(&mut self, ci: usize, res: i32) {
        if res < 0 && res != -libc::EAGAIN {
            self.on_tx(ci, Cqe { user_data: 0, res, flags: 0 });
            return;
        }
        let mut n = res.max(0) as usize;
        self.v[ci].txleft -= n;
        let fl = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
        let mut s;
        if self.c.mode == Mode::Write {
            s = self.sqe(ci, OP_SEND);
            s.addr = unsafe { self.v[ci].txbuf.add(n) } as u64;
            s.len = self.v[ci].txleft as u32;
        } else {
            let c = &mut self.v[ci];
            let mut i = 0;
            while n > 0 && n >= c.txiov[i].iov_len {
                n -= c.txiov[i].iov_len;
                i += 1;
            }
            c.txiov.drain(..i);
            c.txiov[0].iov_base = unsafe { (c.txiov[0].iov_base as *mut u8).add(n) } as _;
            c.txiov[0].iov_len -= n;
            c.txmsg.msg_iov = c.txiov.as_mut_ptr();
            c.txmsg.msg_iovlen = c.txiov.len() as _;
            let a = &*c.txmsg as *const _ as u64;
            s = self.sqe(ci, OP_SENDMSG);
            s.addr = a;
            s.len = 1;
        }
        s.op_flags = fl;
        s.user_data = ud(K_TX, ci, 0);
        self.r.push(s);
    }
    fn on_ltx(&mut self, ci: usize, q: Cqe) {
        if q.res != (H + self.c.payload) as i32 {
            if q.res > 0 {
                self.bad += 1;
            }
        }
        let s = self.v[ci].txslots.pop_front().unwrap();
        self.release(ci, s);
        self.v[ci].txbusy -= 1;
        if self.v[ci].txbusy == 0 {
            self.mark(ci);
        }
    }
    pub fn run(&mut self) {
        for i in 0..self.v.len() {
            self.arm_rx(i);
        }
        let mut infl: i64 = 0;
        let _ = &mut infl;
        while self.open > 0 {
            self.r.wait(self.c.spin_us);
            self.loops += 1;
            let sk = std::mem::take(&mut self.skipq);
            while let Some(q) = self.r.pop() {
                let ci = (q.user_data >> 32 & 0xffff) as usize;
                match q.user_data >> 56 {
                    K_RX | K_RXP => self.on_rx(ci, q.user_data >> 56, q),
                    K_TX => self.on_tx(ci, q),
                    K_LTX => self.on_ltx(ci, q),
                    K_SKIP => self.v[ci].skip_fail = Some(q.res), // a CQE only if it did not send all
                    K_DISK => {
                        if q.res != self.c.payload as i32 {
                            self.bad += 1;
                            eprintln!("disk {}", q.res);
                        }
                        let s = q.user_data as u32;
                        let t = self.v[ci].tags[s as usize];
                        if self.c.mode == Mode::Write {
                            self.v[ci].free.push_back(s);
                        }
                        self.v[ci].ready.push_back((s, t));
                        self.mark(ci);
                    }
                    _ => unreachable!(),
                }
            }
            // sends with MSG_DONTWAIT | MSG_WAITALL and CQE_SKIP_SUCCESS ran inside enter(): no CQE = all bytes are in the socket
            for &i in &sk {
                match self.v[i].skip_fail.take() {
                    None => {
                        let n = self.v[i].txleft;
                        self.on_tx(i, Cqe { user_data: 0, res: n as i32, flags: 0 });
                    }
                    Some(res) => {
                        self.skip_failed += 1;
                        self.resend(i, res);
                    }
                }
            }
            if self.skipq.is_empty() {
                let mut sk = sk;
                sk.clear();
                self.skipq = sk;
            }
            let mut d = std::mem::take(&mut self.dirty);
            for &i in &d {
                self.v[i].dirty = false;
                self.flush(i);
            }
            d.clear();
            self.dirty = d;
            self.sh.loops.store(self.loops, std::sync::atomic::Ordering::Relaxed);
            self.sh.enters.store(self.r.enters, std::sync::atomic::Ordering::Relaxed);
        }
        let _ = (self.area, self.bufseg);
        self.sh.bad.fetch_add(self.bad, std::sync::atomic::Ordering::Relaxed);
        self.sh.zc_notif.store(self.zc_notif, std::sync::atomic::Ordering::Relaxed);
        self.sh.zc_copied.store(self.zc_copied, std::sync::atomic::Ordering::Relaxed);
        self.sh.enobufs.store(self.enobufs + self.skip_failed, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Reference without io_uring: epoll + recv + batched writev
pub fn epoll_server(c: &Cfg, fds: Vec<i32>, sh: &Shared) {
    unsafe {
        struct E {
            fd: i32,
            rx: *mut u8,
            rxn: usize,
            pend: VecDeque<u64>,
            iov: Vec<libc::iovec>,
            at: usize,
            cur: usize,
            off: usize,
            out: bool,
        }
        let nslot = 2 * c.qd + 16;
        let stride = (c.payload + 4095) & !4095;
        let pool = big(nslot * stride * fds.len());
        let hd = big(nslot * 64 * fds.len());
        let td = big(nslot * 64 * fds.len());
        let rxbuf = c.rxbuf.max(4096);
        let ep = libc::epoll_create1(0);
        let mut v: Vec<E> = vec![];
        for (i, &fd) in fds.iter().enumerate() {
            libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
            let mut e = libc::epoll_event { events: libc::EPOLLIN as u32, u64: i as u64 };
            libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut e);
            v.push(E {
                fd,
                rx: big(rxbuf),
                rxn: 0,
                pend: VecDeque::new(),
                iov: vec![],
                at: 0,
                cur: 0,
                off: 0,
                out: false,
            });
        }
        let mut open = fds.len();
        let mut evs: [libc::epoll_event; 64] = std::mem::zeroed();
        let mut loops = 0u64;
        while open > 0 {
            let n = libc::epoll_wait(ep, evs.as_mut_ptr(), 64, if c.spin_us > 0 { 0 } else { -1 });
            loops += 1;
            sh.loops.store(loops, std::sync::atomic::Ordering::Relaxed);
            for ev in evs.iter().take(n.max(0) as usize) {
                let ci = ev.u64 as usize;
                let e = &mut v[ci];
                if ev.events & libc::EPOLLIN as u32 != 0 {
                    let r = libc::recv(e.fd, e.rx.add(e.rxn) as _, rxbuf - e.rxn, 0);
                    if r == 0 || (r < 0 && errno() != libc::EAGAIN) {
                        open -= 1;
                        libc::epoll_ctl(ep, libc::EPOLL_CTL_DEL, e.fd, std::ptr::null_mut());
                        continue;
                    }
                    if r > 0 {
                        if c.mode == Mode::Read {
                            let have = e.rxn + r as usize;
                            for i in 0..have / H {
                                e.pend.push_back((e.rx.add(i * H + 16) as *const u64).read_unaligned());
                            }
                            let u = have / H * H;
                            std::ptr::copy(e.rx.add(u), e.rx, have - u);
                            e.rxn = have - u;
                        } else {
                            let (mut p, mut n) = (e.rx as *const u8, r as usize);
                            while n > 0 {
                                let full = H + c.payload;
                                let (dst, t) = if e.off < H {
                                    (hd.add((ci * nslot + e.cur) * 64 + e.off), n.min(H - e.off))
                                } else {
                                    (pool.add((ci * nslot + e.cur) * stride + e.off - H), n.min(full - e.off))
                                };
                                std::ptr::copy_nonoverlapping(p, dst, t);
                                p = p.add(t);
                                n -= t;
                                e.off += t;
                                if e.off == full {
                                    e.pend.push_back(*(hd.add((ci * nslot + e.cur) * 64 + 16) as *const u64));
                                    e.off = 0;
                                    e.cur = (e.cur + 1) % nslot;
                                }
                            }
                        }
                    }
                }
                loop {
                    if e.at == e.iov.len() {
                        e.iov.clear();
                        e.at = 0;
                        let n = e.pend.len().min(c.maxbatch).min(nslot);
                        for i in 0..n {
                            let t = e.pend.pop_front().unwrap();
                            let h = td.add((ci * nslot + i) * 64);
                            Server::put_hdr(h, t);
                            e.iov.push(libc::iovec { iov_base: h as _, iov_len: H });
                            if c.mode == Mode::Read {
                                e.iov.push(libc::iovec {
                                    iov_base: pool.add((ci * nslot + i) * stride) as _,
                                    iov_len: c.payload,
                                });
                            }
                        }
                    }
                    if e.iov.is_empty() {
                        break;
                    }
                    let r =
                        libc::writev(e.fd, e.iov.as_ptr().add(e.at), ((e.iov.len() - e.at).min(1024)) as i32);
                    if r < 0 {
                        if errno() == libc::EAGAIN && !e.out {
                            e.out = true;
                            let mut x = libc::epoll_event {
                                events: (libc::EPOLLIN | libc::EPOLLOUT) as u32,
                                u64: ci as u64,
                            };
                            libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, e.fd, &mut x);
                        }
                        break;
                    }
                    let mut w = r as usize;
                    while w > 0 {
                        let l = e.iov[e.at].iov_len;
                        if w >= l {
                            w -= l;
                            e.at += 1;
                        } else {
                            e.iov[e.at].iov_base = (e.iov[e.at].iov_base as *mut u8).add(w) as _;
                            e.iov[e.at].iov_len -= w;
                            w = 0;
                        }
                    }
                    if e.at == e.iov.len() && e.out {
                        e.out = false;
                        let mut x = libc::epoll_event { events: libc::EPOLLIN as u32, u64: ci as u64 };
                        libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, e.fd, &mut x);
                    }
                }
            }
        }
    }
}

// ---------------------------------------------------------------- client
struct CC {
    fd: i32,
    want: usize,
    pos: usize,
    rx: usize,
    out: bool,
    tag_rx: u64,
    hdr: [u8; H],
}

#[derive(Default, Clone, Copy, Debug)]
pub struct Sample {
    pub done: u64,
    pub t: u64,
    pub scpu: u64,
    pub ccpu: u64,
    pub sys: [u64; 4],
    pub loops: u64,
    pub enters: u64,
}

/// Sends `n` bytes of the stream of requests, or fewer, from headers here and the one block there.
unsafe fn send_apart(e: &CC, pat: *mut u8, block: *mut u8, n: usize, reqsz: usize) -> isize {
    unsafe {
        let mut iov: [libc::iovec; 256] = std::mem::zeroed();
        let (mut at, mut left, mut k) = (e.pos, n, 0);
        while left > 0 && k < iov.len() {
            let off = at % reqsz;
            let (from, len) =
                if off < H { (pat.add(at), H - off) } else { (block.add(off - H), reqsz - off) };
            let len = len.min(left);
            iov[k] = libc::iovec { iov_base: from as _, iov_len: len };
            (at, left, k) = (at + len, left - len, k + 1);
        }
        let mut m: libc::msghdr = std::mem::zeroed();
        m.msg_iov = iov.as_mut_ptr();
        m.msg_iovlen = k as _;
        libc::sendmsg(e.fd, &m, libc::MSG_NOSIGNAL)
    }
}

pub fn client(c: &Cfg, port: u16, spid: i32, sh: &Shared) -> (Sample, Sample) {
    unsafe {
        let reqsz = if c.mode == Mode::Read { H } else { H + c.payload };
        let rspsz = if c.mode == Mode::Read { H + c.payload } else { H };
        // the request pattern: a memfd so that sendfile can be used
        let npdu = if c.mode == Mode::Read { 4096 } else { ((8 << 20) / reqsz).clamp(16, 4096) };
        let total = npdu * reqsz;
        let mfd = libc::memfd_create(b"pat\0".as_ptr() as _, 0);
        libc::ftruncate(mfd, total as i64);
        let pat = libc::mmap(std::ptr::null_mut(), total, 3, libc::MAP_SHARED | libc::MAP_POPULATE, mfd, 0)
            as *mut u8;
        for i in 0..npdu {
            let p = pat.add(i * reqsz);
            (p as *mut u64).write_unaligned(MAGIC);
            (p.add(16) as *mut u64).write_unaligned(i as u64);
            if c.mode == Mode::Write {
                let q = p.add(H);
                std::ptr::write_bytes(q, i as u8, c.payload);
                (q as *mut u64).write_unaligned(MAGIC ^ i as u64);
                (q.add(c.payload / 2) as *mut u64).write_unaligned(i as u64);
                (q.add(c.payload - 8) as *mut u64).write_unaligned(!(i as u64));
            }
        }
        // Who checks or splices sends all from one stretch of memory. Otherwise all writes send one and the same block, like
        // `ringtgt bench`, so that both loads leave the same caches to the server.
        let apart = c.mode == Mode::Write && !c.verify && !c.csend;
        let block = if apart { big(c.payload) } else { std::ptr::null_mut() };
        if apart {
            std::ptr::copy_nonoverlapping(pat.add(H), block, c.payload);
        }
        let ep = libc::epoll_create1(0);
        let mut v = vec![];
        let mut a: libc::sockaddr_in = std::mem::zeroed();
        a.sin_family = libc::AF_INET as u16;
        a.sin_port = port.to_be();
        a.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
        for i in 0..c.conns {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            sockopts(fd, c);
            assert!(libc::connect(fd, &a as *const _ as _, 16) == 0);
            libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
            let mut e = libc::epoll_event { events: libc::EPOLLIN as u32, u64: i as u64 };
            libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut e);
            v.push(CC { fd, want: c.qd * reqsz, pos: 0, rx: 0, out: false, tag_rx: 0, hdr: [0; H] });
        }
        // wait until the server has accepted all and is in its loop
        while sh.up.load(std::sync::atomic::Ordering::Acquire) == 0 {
            crate::alive(spid);
            libc::usleep(1000);
        }
        let send = |e: &mut CC, i: usize, ep: i32| {
            while e.want > 0 {
                let n = e.want.min(total - e.pos);
                let r = if c.csend {
                    let mut o = e.pos as i64;
                    libc::sendfile(e.fd, mfd, &mut o, n)
                } else if apart {
                    send_apart(e, pat, block, n, reqsz)
                } else {
                    libc::send(e.fd, pat.add(e.pos) as _, n, libc::MSG_NOSIGNAL)
                };
                if r < 0 {
                    assert!(errno() == libc::EAGAIN, "client send {}", errno());
                    if !e.out {
                        e.out = true;
                        let mut x = libc::epoll_event {
                            events: (libc::EPOLLIN | libc::EPOLLOUT) as u32,
                            u64: i as u64,
                        };
                        libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, e.fd, &mut x);
                    }
                    return;
                }
                e.want -= r as usize;
                e.pos = (e.pos + r as usize) % total;
            }
            if e.out {
                e.out = false;
                let mut x = libc::epoll_event { events: libc::EPOLLIN as u32, u64: i as u64 };
                libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, e.fd, &mut x);
            }
        };
        for i in 0..v.len() {
            send(&mut v[i], i, ep);
        }
        let cbuf = if c.ccopy || c.verify { big(4 << 20) } else { std::ptr::null_mut() };
        let snap = |done: u64| -> Sample {
            Sample {
                done,
                t: now_ns(),
                scpu: crate::cpu_ns(spid),
                ccpu: crate::cpu_ns(0),
                sys: crate::sys_busy(),
                loops: sh.loops.load(std::sync::atomic::Ordering::Relaxed),
                enters: sh.enters.load(std::sync::atomic::Ordering::Relaxed),
            }
        };
        let mut evs: [libc::epoll_event; 64] = std::mem::zeroed();
        let mut done = 0u64;
        let t0 = now_ns();
        let warm = (c.warm * 1e9) as u64;
        let dur = (c.secs * 1e9) as u64;
        let mut s0: Option<Sample> = None;
        let mut last;
        let mut heard = t0;
        let s1;
        loop {
            let n = libc::epoll_wait(ep, evs.as_mut_ptr(), 64, if c.cspin { 0 } else { 200 });
            last = now_ns();
            if n > 0 {
                heard = last;
            } else if last - heard > 100_000_000 {
                crate::alive(spid);
                assert!(last - heard < 20_000_000_000, "no answer for 20 s");
            }
            match s0 {
                None => {
                    if last - t0 >= warm {
                        s0 = Some(snap(done));
                    }
                }
                Some(s) => {
                    if last - s.t >= dur {
                        s1 = snap(done);
                        break;
                    }
                }
            }
            for ev in evs.iter().take(n.max(0) as usize) {
                let i = ev.u64 as usize;
                let e = &mut v[i];
                if ev.events & libc::EPOLLIN as u32 != 0 {
                    let r = if cbuf.is_null() {
                        libc::recv(e.fd, std::ptr::null_mut(), 16 << 20, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
                    } else {
                        libc::recv(e.fd, cbuf as _, 4 << 20, libc::MSG_DONTWAIT)
                    };
                    if r == 0 {
                        panic!("server closed");
                    }
                    if r < 0 {
                        assert!(matches!(errno(), libc::EAGAIN | libc::EINTR), "client recv {}", errno());
                        continue;
                    }
                    let r = r as usize;
                    if c.verify {
                        // headers: magic and tag in order (no disk), any order with disk
                        let mut p = 0;
                        while p < r {
                            let o = (e.rx + p) % rspsz;
                            if o < H {
                                let t = (H - o).min(r - p);
                                std::ptr::copy_nonoverlapping(cbuf.add(p), e.hdr.as_mut_ptr().add(o), t);
                                p += t;
                                if o + t == H {
                                    let m = *(e.hdr.as_ptr() as *const u64);
                                    let tag = (e.hdr.as_ptr().add(16) as *const u64).read_unaligned();
                                    if m != MAGIC || (c.disk.is_none() && tag != e.tag_rx % npdu as u64) {
                                        sh.bad.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                                    }
                                    e.tag_rx += 1;
                                }
                            } else {
                                p += (rspsz - o).min(r - p);
                            }
                        }
                    }
                    e.rx += r;
                    let k = e.rx / rspsz;
                    e.rx %= rspsz;
                    done += k as u64;
                    e.want += k * reqsz;
                }
                if e.want > 0 && (!e.out || ev.events & libc::EPOLLOUT as u32 != 0) {
                    send(e, i, ep);
                }
            }
        }
        for e in &v {
            libc::shutdown(e.fd, libc::SHUT_RDWR);
            libc::close(e.fd);
        }
        libc::close(ep);
        libc::munmap(pat as _, total);
        libc::close(mfd);
        (s0.unwrap(), s1)
    }
}

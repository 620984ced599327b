//! Single costs: copying, checksums, waking another core, and what the kernel's io_uring has.

use crate::ring::*;
use crate::*;

pub fn memcpy(a: &Args) {
    pin(0);
    // copy from a staging ring (64 KiB, hot) to slots spread over `span` bytes
    for span in [1usize << 20, 8 << 20, 128 << 20] {
        for sz in [4096usize, 16384, 65536, 131072] {
            let _l = Lock::take(!a.b("nolock"));
            let src = net::big(262144);
            let dst = net::big(span);
            let mut v = vec![];
            for _ in 0..5 {
                let t = now_ns();
                let mut n = 0u64;
                let mut d = 0;
                let mut so = 0;
                while now_ns() - t < 100_000_000 {
                    for _ in 0..16 {
                        unsafe {
                            std::ptr::copy_nonoverlapping(src.add(so + 48), dst.add(d), sz);
                        }
                        d = if d + 2 * sz > span { 0 } else { d + sz };
                        so = if so + 2 * sz + 48 > 262144 { 0 } else { so + sz };
                        n += 1;
                    }
                }
                v.push((now_ns() - t) as f64 / n as f64);
            }
            let (m, lo, hi) = med(v);
            println!(
                "memcpy {sz:>6} -> slots over {:>4} MiB: {m:>9.1} ns [{lo:.1}..{hi:.1}] {:.1} GB/s",
                span >> 20,
                sz as f64 / m
            );
        }
    }
}

pub fn crc(a: &Args) {
    pin(0);
    println!("crc-fast target: {}", crc_fast::get_calculator_target(crc_fast::CrcAlgorithm::Crc32Iscsi));
    for sz in [48usize, 512, 4096, 16384, 65536, 131072] {
        let buf: Vec<u8> = (0..sz).map(|i| (i * 7 + 3) as u8).collect();
        assert_eq!(crc32c::crc32c(&buf), crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &buf) as u32);
        for (name, f) in [
            ("crc32c", (|b: &[u8]| crc32c::crc32c(b)) as fn(&[u8]) -> u32),
            ("crc-fast", |b: &[u8]| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, b) as u32),
            ("crc-fast crc32_iscsi", |b: &[u8]| crc_fast::crc32_iscsi(b)),
            ("sse4.2 1-way", |b: &[u8]| unsafe { sse(b) }),
            ("copy+crc32c (4K temp)", |b: &[u8]| {
                let mut t = [0u8; 4096];
                let mut c = 0;
                for k in b.chunks(4096) {
                    t[..k.len()].copy_from_slice(k);
                    c = crc32c::crc32c_append(c, &t[..k.len()]);
                }
                c
            }),
        ] {
            let _l = Lock::take(!a.b("nolock"));
            let mut v = vec![];
            for _ in 0..5 {
                let t = now_ns();
                let mut n = 0u64;
                while now_ns() - t < 60_000_000 {
                    for _ in 0..64 {
                        std::hint::black_box(f(std::hint::black_box(&buf)));
                        n += 1;
                    }
                }
                v.push((now_ns() - t) as f64 / n as f64);
            }
            let (m, lo, hi) = med(v);
            println!("{name:<22} {sz:>6} B: {m:>9.1} ns [{lo:.1}..{hi:.1}] {:>6.2} GB/s", sz as f64 / m);
        }
    }
}
#[target_feature(enable = "sse4.2")]
unsafe fn sse(b: &[u8]) -> u32 {
    use std::arch::x86_64::*;
    let mut c = !0u32 as u64;
    let mut it = b.chunks_exact(8);
    for k in &mut it {
        c = _mm_crc32_u64(c, u64::from_le_bytes(k.try_into().unwrap()));
    }
    let mut c = c as u32;
    for &x in it.remainder() {
        c = _mm_crc32_u8(c, x);
    }
    !c
}

// ---- cross-thread wake: ping-pong between cpu 0 and cpu 1
#[derive(Clone, Copy, PartialEq)]
enum W {
    Msg,
    MsgSpin,
    EvSys,
    EvMultiPoll,
    Futex,
    Shm,
    MsgReg,
}
pub fn wake(a: &Args) {
    for same in [false, true] {
        for (name, w) in [
            ("MSG_RING, both block", W::Msg),
            ("MSG_RING, both spin (enter)", W::MsgSpin),
            ("MSG_RING via register (sync)", W::MsgReg),
            ("eventfd write(2) + ring READ", W::EvSys),
            ("eventfd write(2) + multishot poll", W::EvMultiPoll),
            ("futex wake(2) + FUTEX_WAIT op", W::Futex),
            ("shared-memory flag, spin", W::Shm),
        ] {
            if same && (w == W::Shm || w == W::MsgSpin) {
                continue;
            }
            let mut v = vec![];
            let mut cp = vec![];
            for _ in 0..5 {
                let _l = Lock::take(!a.b("nolock"));
                let (ns, c) = pingpong(w, same);
                if ns > 0.0 {
                    v.push(ns / 1e3);
                    cp.push(c / 1e3);
                }
            }
            if v.is_empty() {
                println!("{name:<36} not available");
                continue;
            }
            let (m, lo, hi) = med(v);
            println!(
                "{name:<36} {} round trip {m:>7.2} us [{lo:.2}..{hi:.2}] one-way ~{:.2} us, cpu {:.2} us per round trip (both sides)",
                if same { "same cpu " } else { "cpu0-cpu1" },
                m / 2.0,
                med(cp).0
            );
        }
    }
    // cost for a sender posting to a peer that is busy (batch of 64 messages per enter)
    for b in [1usize, 8, 64] {
        let mut v = vec![];
        let mut e = vec![];
        for _ in 0..5 {
            let _l = Lock::take(!a.b("nolock"));
            let (x, y) = post_cost(b);
            v.push(x);
            e.push(y);
        }
        println!(
            "sender cost, batch {b:>2}: MSG_RING {:.0} ns/msg, ring NOP {:.0} ns/op; peer busy-polling its CQ",
            med(v).0,
            med(e).0
        );
    }
}
static F0: AtomicU64 = AtomicU64::new(0);
static F1: AtomicU64 = AtomicU64::new(0);
fn pingpong(w: W, same: bool) -> (f64, f64) {
    unsafe {
        let n: u64 = match w {
            W::Shm | W::MsgSpin => 100_000,
            _ => 4_000,
        };
        let ev = [libc::eventfd(0, 0), libc::eventfd(0, 0)];
        let fut = Box::leak(Box::new([[0u32; 16]; 2]));
        let fp = fut.as_mut_ptr() as usize;
        F0.store(0, SeqCst);
        F1.store(0, SeqCst);
        static FDS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
        FDS[0].store(0, SeqCst);
        FDS[1].store(0, SeqCst);
        static OK: AtomicU64 = AtomicU64::new(0);
        OK.store(1, SeqCst);
        let side = move |me: usize| -> u64 {
            pin(if same { 0 } else { me });
            let mut r = net::make_ring("defer", 64).unwrap();
            r.register_ring_fd();
            FDS[me].store(r.fd as u64, SeqCst);
            while FDS[1 - me].load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            let peer = FDS[1 - me].load(SeqCst) as i32;
            let mut buf = [0u64; 2];
            let my = (if me == 0 { &F0 } else { &F1 }, if me == 0 { &F1 } else { &F0 });
            let fw = |i: usize| (fp + i * 64) as *mut u32;
            let arm = |r: &mut Ring, buf: *mut u64, seen: u32| match w {
                W::EvSys => r.push(Sqe {
                    opcode: OP_READ,
                    fd: ev[me],
                    addr: buf as u64,
                    len: 8,
                    off: u64::MAX,
                    user_data: 1,
                    ..Default::default()
                }),
                W::EvMultiPoll => r.push(Sqe {
                    opcode: 6,
                    fd: ev[me],
                    len: 1,
                    op_flags: (libc::POLLIN as u32) | 1 << 31,
                    user_data: 1,
                    ..Default::default()
                }),
                W::Futex => r.push(Sqe {
                    opcode: OP_FUTEX_WAIT,
                    fd: 2 | 128,
                    addr: fw(me) as u64,
                    off: seen as u64,
                    addr3: u32::MAX as u64,
                    user_data: 1,
                    ..Default::default()
                }),
                _ => {}
            };
            let bp = buf.as_mut_ptr();
            arm(&mut r, bp, 0);
            if me == 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let one = 1u64;
            let t = now_ns();
            for i in 0..n {
                let send = |r: &mut Ring| match w {
                    W::Msg | W::MsgSpin => r.push(Sqe {
                        opcode: OP_MSG_RING,
                        fd: peer,
                        flags: F_CQE_SKIP,
                        off: 1,
                        ..Default::default()
                    }),
                    W::MsgReg => {
                        let s = Sqe { opcode: OP_MSG_RING, fd: peer, off: 1, ..Default::default() };
                        let e = libc::syscall(427, -1i32, 31, &s as *const Sqe, 1);
                        if e < 0 {
                            OK.store(0, SeqCst);
                        }
                    }
                    W::EvSys | W::EvMultiPoll => {
                        libc::write(ev[1 - me], &one as *const u64 as _, 8);
                    }
                    W::Futex => {
                        std::sync::atomic::AtomicU32::from_ptr(fw(1 - me)).fetch_add(1, SeqCst);
                        libc::syscall(libc::SYS_futex, fw(1 - me), 1 | 128, 1);
                    }
                    W::Shm => my.1.store(i + 1, Release),
                };
                if me == 0 {
                    send(&mut r);
                }
                if w == W::Shm {
                    while my.0.load(Acquire) < i + 1 {
                        std::hint::spin_loop();
                    }
                } else {
                    loop {
                        let mut got = false;
                        while let Some(q) = r.pop() {
                            if q.user_data == 1 {
                                got = true;
                                if q.res < 0 && q.res != -libc::EAGAIN {
                                    OK.store(0, SeqCst);
                                }
                                if w == W::EvMultiPoll {
                                    libc::read(ev[me], bp as _, 8);
                                } else {
                                    arm(
                                        &mut r,
                                        bp,
                                        std::sync::atomic::AtomicU32::from_ptr(fw(me)).load(SeqCst),
                                    );
                                }
                            }
                        }
                        if OK.load(SeqCst) == 0 {
                            break;
                        }
                        if got {
                            break;
                        }
                        r.wait(if w == W::MsgSpin { u64::MAX } else { 0 });
                    }
                    if OK.load(SeqCst) == 0 {
                        libc::write(ev[1 - me], &one as *const u64 as _, 8);
                        return 0;
                    }
                }
                if me == 1 {
                    send(&mut r);
                }
            }
            if r.unsubmitted() > 0 {
                r.enter(0, true);
            }
            let d = now_ns() - t;
            while FDS[1 - me].load(SeqCst) != u64::MAX && me == 1 {
                FDS[me].store(u64::MAX, SeqCst);
                break;
            }
            if me == 0 {
                let t = now_ns();
                while FDS[1].load(SeqCst) != u64::MAX && now_ns() - t < 1_000_000_000 {
                    std::thread::yield_now();
                }
            }
            d
        };
        let c0 = cpu_ns(0);
        let h = std::thread::spawn(move || side(1));
        let d = side(0);
        h.join().unwrap();
        let c = cpu_ns(0) - c0;
        libc::close(ev[0]);
        libc::close(ev[1]);
        if d == 0 || OK.load(SeqCst) == 0 {
            return (0.0, 0.0);
        }
        (d as f64 / n as f64, c as f64 / n as f64)
    }
}
fn post_cost(b: usize) -> (f64, f64) {
    static PEER: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicU64 = AtomicU64::new(0);
    PEER.store(0, SeqCst);
    STOP.store(0, SeqCst);
    let h = std::thread::spawn(|| {
        pin(1);
        let mut r = net::make_ring("defer", 4096).unwrap();
        PEER.store(r.fd as u64, SeqCst);
        while STOP.load(SeqCst) == 0 {
            r.enter(0, true);
            while r.pop().is_some() {}
        }
    });
    pin(0);
    while PEER.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    let peer = PEER.load(SeqCst) as i32;
    let mut r = net::make_ring("defer", 256).unwrap();
    r.register_ring_fd();
    let mut out = [0f64; 2];
    for k in 0..2 {
        let t = now_ns();
        let mut n = 0;
        while now_ns() - t < 200_000_000 {
            for _ in 0..b {
                r.push(Sqe {
                    opcode: if k == 0 { OP_MSG_RING } else { OP_NOP },
                    fd: if k == 0 { peer } else { -1 },
                    off: if k == 0 { 7 } else { 0 },
                    flags: if k == 0 { F_CQE_SKIP } else { 0 },
                    ..Default::default()
                });
            }
            r.enter(if k == 0 { 0 } else { b as u32 }, true);
            while r.pop().is_some() {}
            n += b;
        }
        out[k] = (now_ns() - t) as f64 / n as f64;
    }
    STOP.store(1, SeqCst);
    h.join().unwrap();
    (out[0], out[1])
}

pub fn probe() {
    let r = Ring::new(8, 32, 0, 0, 0).expect("io_uring_setup");
    println!("features {:#x}", r.params.features);
    for (i, n) in [
        "SINGLE_MMAP 5.4",
        "NODROP 5.5",
        "SUBMIT_STABLE 5.5",
        "RW_CUR_POS 5.6",
        "CUR_PERSONALITY 5.6",
        "FAST_POLL 5.7",
        "POLL_32BITS 5.9",
        "SQPOLL_NONFIXED 5.11",
        "EXT_ARG 5.11",
        "NATIVE_WORKERS 5.12",
        "RSRC_TAGS 5.13",
        "CQE_SKIP 5.17",
        "LINKED_FILE 5.17",
        "REG_REG_RING 6.3",
        "RECVSEND_BUNDLE 6.10",
        "MIN_TIMEOUT 6.12",
        "RW_ATTR 6.14",
        "NO_IOWAIT 6.15",
    ]
    .iter()
    .enumerate()
    {
        println!("  feat {:<24} {}", n, r.params.features >> i & 1);
    }
    let mut b = vec![0u8; 16 + 256 * 8];
    let e = r.reg(8, b.as_mut_ptr(), 256);
    println!("probe rc {e} last_op {}", b[0]);
    let names = [
        "NOP",
        "READV",
        "WRITEV",
        "FSYNC",
        "READ_FIXED",
        "WRITE_FIXED",
        "POLL_ADD",
        "POLL_REMOVE",
        "SYNC_FILE_RANGE",
        "SENDMSG",
        "RECVMSG",
        "TIMEOUT",
        "TIMEOUT_REMOVE",
        "ACCEPT",
        "ASYNC_CANCEL",
        "LINK_TIMEOUT",
        "CONNECT",
        "FALLOCATE",
        "OPENAT",
        "CLOSE",
        "FILES_UPDATE",
        "STATX",
        "READ",
        "WRITE",
        "FADVISE",
        "MADVISE",
        "SEND",
        "RECV",
        "OPENAT2",
        "EPOLL_CTL",
        "SPLICE",
        "PROVIDE_BUFFERS",
        "REMOVE_BUFFERS",
        "TEE",
        "SHUTDOWN",
        "RENAMEAT",
        "UNLINKAT",
        "MKDIRAT",
        "SYMLINKAT",
        "LINKAT",
        "MSG_RING",
        "FSETXATTR",
        "SETXATTR",
        "FGETXATTR",
        "GETXATTR",
        "SOCKET",
        "URING_CMD",
        "SEND_ZC",
        "SENDMSG_ZC",
        "READ_MULTISHOT",
        "WAITID",
        "FUTEX_WAIT",
        "FUTEX_WAKE",
        "FUTEX_WAITV",
        "FIXED_FD_INSTALL",
        "FTRUNCATE",
        "BIND",
        "LISTEN",
        "RECV_ZC",
        "EPOLL_WAIT",
        "READV_FIXED",
        "WRITEV_FIXED",
        "PIPE",
        "NOP128",
        "URING_CMD128",
    ];
    let mut miss = vec![];
    let mut have = 0;
    for op in 0..=b[0] as usize {
        let fl = u16::from_le_bytes([b[16 + op * 8 + 2], b[16 + op * 8 + 3]]);
        if fl & 1 == 0 {
            miss.push(names.get(op).unwrap_or(&"?").to_string());
        } else {
            have += 1;
        }
    }
    println!("ops supported {have}, missing {miss:?}, last {}", names.get(b[0] as usize).unwrap_or(&"?"));
    for (n, f) in [
        ("IOPOLL", 1u32),
        ("SQPOLL", 2),
        ("CLAMP", 16),
        ("R_DISABLED", 64),
        ("SUBMIT_ALL 5.18", 128),
        ("COOP_TASKRUN 5.19", 256),
        ("TASKRUN_FLAG 5.19", 256 | 512),
        ("SQE128 5.19", 1024),
        ("CQE32 5.19", 2048),
        ("SINGLE_ISSUER 6.0", 4096),
        ("DEFER_TASKRUN 6.1", 4096 | 8192),
        ("NO_SQARRAY 6.6", 1 << 16),
        ("HYBRID_IOPOLL 6.13", 1 | 1 << 17),
        ("CQE_MIXED 6.18", 1 << 18),
        ("SQE_MIXED 6.19", 1 << 19),
    ] {
        println!(
            "  setup {:<20} {}",
            n,
            match Ring::new(8, 32, f, 0, 10) {
                Ok(_) => "ok".into(),
                Err(e) => format!("errno {e}"),
            }
        );
    }
    let r = net::make_ring("defer", 8).unwrap();
    println!("  pbuf ring 5.19       {:?}", PbufRing::new(&r, 1, 8, 0).map(|_| "ok"));
    println!("  pbuf ring INC 6.12   {:?}", PbufRing::new(&r, 2, 8, 2).map(|_| "ok"));
    let mut napi = [0u8; 16];
    napi[0] = 50;
    napi[4] = 1;
    println!("  NAPI register 6.9    rc {}", r.reg(27, napi.as_ptr(), 1));
    let mut r2 = net::make_ring("defer", 8).unwrap();
    println!("  registered ring fd 5.18 {}", r2.register_ring_fd());
}

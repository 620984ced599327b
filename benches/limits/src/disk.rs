//! O_DIRECT random I/O through one ring: the disk alone.

use crate::ring::*;
use crate::*;

pub fn run(a: &Args) {
    let path = a.s("path", "/tmp/limits.dat");
    let bs = a.n("bs", 4096.0) as usize;
    let qd = a.n("qd", 32.0) as usize;
    let write = a.s("rw", "read") == "write";
    let fixed = !a.b("nofixed");
    let ff = !a.b("nofixedfiles");
    let buffered = a.b("buffered");
    let runs = a.n("runs", 5.0) as usize;
    let secs = a.n("secs", 1.0);
    let kind = a.s("ring", "defer");
    pin(a.n("cpu", 0.0) as usize);
    unsafe {
        let cp = std::ffi::CString::new(path.clone()).unwrap();
        let fd = libc::open(cp.as_ptr(), libc::O_RDWR | if buffered { 0 } else { libc::O_DIRECT });
        if fd < 0 {
            eprintln!("{path}: open O_DIRECT: errno {}", errno());
            std::process::exit(1);
        }
        let len = libc::lseek(fd, 0, libc::SEEK_END) as u64;
        let span = a.n("span", len as f64) as u64;
        let blocks = span.min(len) / bs as u64;
        let area = net::big(qd * bs);
        let (mut io, mut us, mut oth, mut lat, mut ents) = (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..runs {
            let _l = Lock::take(!a.b("nolock"));
            let mut r = if a.b("iopoll") {
                Ring::new(1024, 4096, SETUP_IOPOLL | SETUP_SINGLE | SETUP_DEFER, 0, 0).expect("iopoll ring")
            } else {
                net::make_ring(&kind, 1024).expect("ring")
            };
            r.register_ring_fd();
            if ff {
                assert!(r.reg_files(&[fd]) >= 0);
            }
            if fixed {
                assert!(r.reg_bufs(&[libc::iovec { iov_base: area as _, iov_len: qd * bs }]) >= 0);
            }
            let mut x: u64 = 88172645463325252 ^ now_ns();
            let mut issue = |r: &mut Ring, i: usize| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                r.push(Sqe {
                    opcode: match (write, fixed) {
                        (false, true) => OP_READ_FIXED,
                        (true, true) => OP_WRITE_FIXED,
                        (false, false) => OP_READ,
                        _ => OP_WRITE,
                    },
                    flags: if ff { F_FIXED_FILE } else { 0 },
                    fd: if ff { 0 } else { fd },
                    off: (x % blocks) * bs as u64,
                    addr: area.add(i * bs) as u64,
                    len: bs as u32,
                    user_data: i as u64,
                    ..Default::default()
                });
            };
            for i in 0..qd {
                issue(&mut r, i);
            }
            let mut done = 0u64;
            let t0 = now_ns();
            let mut s0: Option<(u64, u64, u64, [u64; 4], u64)> = None;
            loop {
                r.wait(a.n("spin", 0.0) as u64);
                while let Some(q) = r.pop() {
                    if q.res != bs as i32 {
                        eprintln!("{path}: IO result {}", q.res);
                        std::process::exit(1);
                    }
                    done += 1;
                    issue(&mut r, q.user_data as usize);
                }
                let t = now_ns();
                match s0 {
                    None => {
                        if t - t0 > 200_000_000 {
                            s0 = Some((t, done, cpu_ns(0), sys_busy(), r.enters));
                        }
                    }
                    Some(s) => {
                        if t - s.0 > (secs * 1e9) as u64 {
                            let (n, w, c) = ((done - s.1) as f64, (t - s.0) as f64, (cpu_ns(0) - s.2) as f64);
                            let b = sys_busy();
                            io.push(n / w * 1e9);
                            us.push(c / n / 1e3);
                            lat.push(qd as f64 / (n / w * 1e9) * 1e6);
                            ents.push((r.enters - s.4) as f64 / n);
                            oth.push((((b[0] - s.3[0]) + (b[1] - s.3[1])) as f64 * 1e7 - c) / n / 1e3);
                            break;
                        }
                    }
                }
            }
            r.enter(0, false);
            // drain
            let mut left = qd;
            let t = now_ns();
            while left > 0 && now_ns() - t < 2_000_000_000 {
                r.wait(0);
                while r.pop().is_some() {
                    left -= 1;
                }
            }
        }
        let (m, lo, hi) = med(io);
        let (u, ulo, uhi) = med(us);
        println!(
            "{:<28} {} {:<8} ring={:<7} bs={:<6} qd={:<3} | IOPS {:>8.0} [{:.0}..{:.0}] {:.3} GB/s | us/IO {:>6.2} [{:.2}..{:.2}] other-cpu us/IO {:>6.2} lat {:>7.1}us enter/io {:.3}",
            path,
            if write { "W" } else { "R" },
            if fixed { "fixed" } else { "plain" },
            kind,
            bs,
            qd,
            m,
            lo,
            hi,
            m * bs as f64 / 1e9,
            u,
            ulo,
            uhi,
            med(oth).0,
            med(lat).0,
            med(ents).0
        );
    }
}

//! The yardstick: what moving the bytes alone costs on this machine.
//!
//! A pseudo target on one processor takes requests from TCP, moves a payload and answers; a generator on another loads
//! it. It does what an iSCSI target cannot do without, and nothing else: no PDUs, no SCSI, no rules. So its processor time
//! for each I/O is the denominator of "share of the limit". Nothing here is safe in the sense of Rust's: it is a measuring
//! instrument, made of raw system calls so that no layer hides a cost. See README.md.

mod disk;
mod misc;
mod net;
mod ring;
use net::*;
use std::sync::atomic::{AtomicU64, Ordering::*};

#[repr(C)]
pub struct Shared {
    pub up: AtomicU64,
    pub loops: AtomicU64,
    pub enters: AtomicU64,
    pub bad: AtomicU64,
    pub zc_notif: AtomicU64,
    pub zc_copied: AtomicU64,
    pub enobufs: AtomicU64,
    pub utime: AtomicU64,
    pub stime: AtomicU64,
}
pub fn now_ns() -> u64 {
    clk(libc::CLOCK_MONOTONIC)
}
fn clk(id: i32) -> u64 {
    unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(id, &mut t);
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }
}
/// CPU time of a whole process (all its threads, SQPOLL and io-wq workers included): the same sum as
/// getrusage(RUSAGE_SELF), with ns precision and readable from outside. pid 0 = self.
pub fn cpu_ns(pid: i32) -> u64 {
    if pid == 0 {
        clk(libc::CLOCK_PROCESS_CPUTIME_ID)
    } else {
        unsafe {
            let mut id = 0;
            assert!(libc::clock_getcpuclockid(pid, &mut id) == 0);
            clk(id)
        }
    }
}
/// busy jiffies: cpu0, cpu1, steal, total
pub fn sys_busy() -> [u64; 4] {
    let s = std::fs::read_to_string("/proc/stat").unwrap();
    let mut o = [0u64; 4];
    for (i, l) in s.lines().take(3).enumerate() {
        let f: Vec<u64> = l.split_whitespace().skip(1).map(|x| x.parse().unwrap()).collect();
        let busy = f[0] + f[1] + f[2] + f[5] + f[6];
        if i == 0 {
            o[2] = f[7];
            o[3] = f.iter().take(8).sum();
        } else {
            o[i - 1] = busy;
        }
    }
    o
}
pub fn pin(cpu: usize) {
    unsafe {
        let mut s: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut s);
        libc::sched_setaffinity(0, std::mem::size_of_val(&s), &s);
    }
}
pub fn med(mut v: Vec<f64>) -> (f64, f64, f64) {
    v.sort_by(|a, b| a.partial_cmp(b).unwrap());
    (v[v.len() / 2], v[0], v[v.len() - 1])
}
pub struct Lock(i32);
impl Lock {
    pub fn take(on: bool) -> Lock {
        if !on {
            return Lock(-1);
        }
        unsafe {
            let fd = libc::open(b"/tmp/limits.lock\0".as_ptr() as _, libc::O_RDWR | libc::O_CREAT, 0o666);
            assert!(fd >= 0);
            libc::flock(fd, libc::LOCK_EX);
            Lock(fd)
        }
    }
}
impl Drop for Lock {
    fn drop(&mut self) {
        if self.0 >= 0 {
            unsafe {
                libc::close(self.0);
            }
        }
    }
}

pub struct Args(Vec<String>);
impl Args {
    pub fn s(&self, k: &str, d: &str) -> String {
        let k = format!("--{k}");
        self.0.iter().position(|x| *x == k).and_then(|i| self.0.get(i + 1)).cloned().unwrap_or(d.into())
    }
    pub fn n(&self, k: &str, d: f64) -> f64 {
        let v = self.s(k, "");
        if v.is_empty() {
            return d;
        }
        let (a, m) = match v.chars().last().unwrap() {
            'k' | 'K' => (&v[..v.len() - 1], 1024.0),
            'm' | 'M' => (&v[..v.len() - 1], 1048576.0),
            'g' | 'G' => (&v[..v.len() - 1], 1073741824.0),
            _ => (&v[..], 1.0),
        };
        a.parse::<f64>().expect("number") * m
    }
    pub fn b(&self, k: &str) -> bool {
        let k = format!("--{k}");
        self.0.iter().any(|x| *x == k)
    }
}

/// Ends with an error when the server has ended by itself. It is not waited for, so that its clock can still be read.
pub fn alive(pid: i32) {
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let r = libc::waitid(libc::P_PID, pid as u32, &mut info, flags);
        if r != 0 || info.si_pid() == pid {
            eprintln!("the server {pid} has ended");
            std::process::exit(1);
        }
    }
}

fn one_run(c: &Cfg) -> (Sample, Sample, [u64; 6]) {
    unsafe {
        let _l = Lock::take(c.lock);
        let sh = libc::mmap(std::ptr::null_mut(), 4096, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
            as *mut Shared;
        let sh = &*sh;
        let (lfd, port) = listen(c);
        let pid = libc::fork();
        if pid == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            pin(0);
            let mut fds = vec![];
            for _ in 0..c.conns {
                let fd = libc::accept(lfd, std::ptr::null_mut(), std::ptr::null_mut());
                assert!(fd >= 0);
                libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32 as *const i32 as _, 4);
                fds.push(fd);
            }
            if c.rx == Rx::Epoll {
                sh.up.store(1, Release);
                epoll_server(c, fds, sh);
            } else {
                let mut s = Server::new(c, fds, sh);
                sh.up.store(1, Release);
                s.run();
            }
            let mut ru: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &mut ru);
            sh.utime.store(ru.ru_utime.tv_sec as u64 * 1_000_000 + ru.ru_utime.tv_usec as u64, Relaxed);
            sh.stime.store(ru.ru_stime.tv_sec as u64 * 1_000_000 + ru.ru_stime.tv_usec as u64, Relaxed);
            libc::_exit(0);
        }
        pin(1);
        let (a, b) = client(c, port, pid, sh);
        libc::close(lfd);
        let t = now_ns();
        let mut st = 0;
        loop {
            if libc::waitpid(pid, &mut st, libc::WNOHANG) == pid {
                break;
            }
            if now_ns() - t > 2_000_000_000 {
                eprintln!("server {pid} did not end");
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &mut st, 0);
                break;
            }
            libc::usleep(2000);
        }
        // What was measured of a server that fails at the end is worth nothing.
        if st != 0 {
            eprintln!("server status {st:#x}");
            std::process::exit(1);
        }
        let x = [
            sh.bad.load(Relaxed),
            sh.zc_notif.load(Relaxed),
            sh.zc_copied.load(Relaxed),
            sh.enobufs.load(Relaxed),
            sh.utime.load(Relaxed),
            sh.stime.load(Relaxed),
        ];
        libc::munmap(sh as *const _ as _, 4096);
        (a, b, x)
    }
}

fn net_cmd(mode: Mode, a: &Args) {
    let rx = match a.s("rx", if mode == Mode::Read { "recv" } else { "hybrid" }).as_str() {
        "recv" => Rx::Recv,
        "multi" => Rx::Multi,
        "multibundle" => Rx::MultiBundle,
        "two" => Rx::Two,
        "linked" => Rx::Linked,
        "recvmsg" => Rx::Recvmsg,
        "spec" => Rx::Spec,
        "pnh" => Rx::Pnh,
        "staging" => Rx::Staging,
        "hybrid" => Rx::Hybrid,
        "epoll" => Rx::Epoll,
        "pollfirst" => Rx::PollFirst,
        x => panic!("--rx {x}"),
    };
    let tx = match a.s("tx", "batch").as_str() {
        "one" => Tx::One,
        "link" => Tx::Link,
        "batch" => Tx::Batch,
        "bundle" => Tx::Bundle,
        "zc" => Tx::Zc,
        "zcmsg" => Tx::ZcMsg,
        x => panic!("--tx {x}"),
    };
    let disk = a.s("disk", "");
    let c = Cfg {
        mode,
        payload: a.n("payload", 4096.0) as usize,
        qd: a.n("qd", 32.0) as usize,
        conns: a.n("conns", 1.0) as usize,
        secs: a.n("secs", 1.0),
        warm: a.n("warm", 0.25),
        runs: a.n("runs", 5.0) as usize,
        rx,
        tx,
        ring: a.s("ring", "defer"),
        fixed_files: !a.b("nofixedfiles"),
        ringfd: !a.b("noringfd"),
        spin_us: match a.s("spin", "0").as_str() {
            "inf" => u64::MAX,
            x => x.parse().unwrap(),
        },
        contig: a.b("contig"),
        hot: a.b("hot"),
        fixed_buf: a.b("fixedbuf"),
        ccopy: a.b("client-copy"),
        cspin: a.b("client-spin"),
        csend: a.b("client-sendfile"),
        verify: a.b("verify"),
        disk: if disk.is_empty() { None } else { Some(disk) },
        disk_fixed: !a.b("nofixeddisk"),
        cc: a.s("cc", "cubic"),
        rxbuf: a.n("rxbuf", if mode == Mode::Write { 16384.0 } else { 65536.0 }) as usize,
        pbufs: a.n("pbufs", 256.0) as usize,
        pbuf_sz: a.n("pbufsz", 16384.0) as usize,
        maxbatch: a.n("maxbatch", 256.0) as usize,
        k: a.n("k", 1.0) as usize,
        sndbuf: a.n("sndbuf", 0.0) as i32,
        rcvbuf: a.n("rcvbuf", 0.0) as i32,
        tag: a.s("tag", ""),
        lock: !a.b("nolock"),
        skip: a.b("skip"),
        coal: a.n("coal", if mode == Mode::Write { 32.0 } else { 0.0 }) as usize,
    };
    let (mut iops, mut us, mut sb, mut cb, mut oth, mut ppl, mut lat, mut usenter) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    let mut tot = [0u64; 6];
    for _ in 0..c.runs {
        let (s, e, x) = one_run(&c);
        let n = (e.done - s.done) as f64;
        let w = (e.t - s.t) as f64;
        let scpu = (e.scpu - s.scpu) as f64;
        let ccpu = (e.ccpu - s.ccpu) as f64;
        iops.push(n / w * 1e9);
        us.push(scpu / n / 1e3);
        sb.push(scpu / w * 100.0);
        cb.push(ccpu / w * 100.0);
        let busy = ((e.sys[0] - s.sys[0]) + (e.sys[1] - s.sys[1])) as f64 * 1e7;
        oth.push((busy - scpu - ccpu) / w * 100.0);
        ppl.push(n / (e.loops - s.loops).max(1) as f64);
        usenter.push((e.enters - s.enters) as f64 / n);
        lat.push((c.qd * c.conns) as f64 / (n / w * 1e9) * 1e6);
        for i in 0..6 {
            tot[i] += x[i];
        }
    }
    let (m, lo, hi) = med(iops);
    let (u, ulo, uhi) = med(us);
    let name = if c.tag.is_empty() {
        format!("{:?} rx={:?} tx={:?} ring={}", mode, c.rx, c.tx, c.ring)
    } else {
        c.tag.clone()
    };
    print!(
        "{name:<34} P={:<6} qd={:<3} c={:<2} | IOPS {:>8.0} [{:.0}..{:.0}] {:>6.3} GB/s | srv us/IO {:>7.3} [{:.3}..{:.3}] | srv {:>3.0}% cli {:>3.0}% oth {:>3.0}% | io/loop {:>6.1} enter/io {:.3} lat {:>6.1}us",
        c.payload,
        c.qd,
        c.conns,
        m,
        lo,
        hi,
        m * c.payload as f64 / 1e9,
        u,
        ulo,
        uhi,
        med(sb).0,
        med(cb).0,
        med(oth).0,
        med(ppl).0,
        med(usenter).0,
        med(lat).0
    );
    if tot[0] > 0 {
        print!(" BAD={}", tot[0]);
    }
    if tot[1] > 0 {
        print!(" zc_notif={} copied={}", tot[1], tot[2]);
    }
    if tot[3] > 0 {
        print!(" enobufs/skipfail={}", tot[3]);
    }
    println!();
    if tot[0] > 0 {
        std::process::exit(1);
    }
}

fn main() {
    let v: Vec<String> = std::env::args().collect();
    let a = Args(v.clone());
    if !a.b("noprio") {
        // own session = own autogroup, at top priority: builds and other programs on this machine hardly count
        unsafe {
            // Who leads a group of processes cannot leave its session: a child can. Without that the session of whoever has
            // started this would be raised, and stay so.
            if libc::setsid() < 0 {
                let pid = libc::fork();
                if pid > 0 {
                    let mut st = 0;
                    while libc::waitpid(pid, &mut st, 0) < 0 && ring::errno() == libc::EINTR {}
                    std::process::exit(if libc::WIFEXITED(st) { libc::WEXITSTATUS(st) } else { 1 });
                }
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                assert!(pid == 0 && libc::setsid() >= 0, "no session of its own (--noprio goes without)");
            }
            libc::setpriority(libc::PRIO_PROCESS, 0, -20);
        }
        let _ = std::fs::write("/proc/self/autogroup", "-20");
    }
    match v.get(1).map(|s| s.as_str()).unwrap_or("") {
        "read" => net_cmd(Mode::Read, &a),
        "write" => net_cmd(Mode::Write, &a),
        "disk" => disk::run(&a),
        "crc" => misc::crc(&a),
        "wake" => misc::wake(&a),
        "probe" => misc::probe(),
        "memcpy" => misc::memcpy(&a),
        _ => {
            eprintln!("usage: limits read|write|disk|crc|wake|memcpy|probe [options]; see README.md");
            std::process::exit(2);
        }
    }
}

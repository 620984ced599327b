//! A load generator: random reads or writes at a fixed queue depth, from one thread that polls.
//!
//! It measures I/Os per second, their latency and, given the server's process, the processor time that the server
//! pays for each. Without a portal it serves itself: a ringtgt of this build with a null store on processor 0.
//!
//! ```text
//! cargo bench --bench load -- --write --qd 32 --sessions 4
//! cargo bench --bench load -- --portal 127.0.0.1:3260 --target IQN --lun 1 --pid PID
//! ```

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use ringtgt::initiator::{Command, Core, Direction, Event, Initiator, LoginOptions, cdb};
use ringtgt::session::keys::DIGEST_DEMANDED;

const OWN_TARGET: &str = "iqn.2026-11.org.example:load";

/// Long enough for any answer that is still to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to do to whom.
#[derive(Parser, Debug)]
struct Args {
    /// Where the target listens; without it one is started
    #[arg(long)]
    portal: Option<SocketAddr>,
    /// The target's name
    #[arg(long, default_value = OWN_TARGET)]
    target: String,
    /// The logical unit
    #[arg(long, default_value_t = 0)]
    lun: u16,
    /// Write instead of read
    #[arg(long)]
    write: bool,
    /// Bytes of each I/O
    #[arg(long, default_value_t = 4096)]
    size: u32,
    /// I/Os outstanding in each session
    #[arg(long, default_value_t = 32)]
    qd: usize,
    /// Sessions
    #[arg(long, default_value_t = 4)]
    sessions: u8,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
    /// Bytes of the disk to use; all of it unless told
    #[arg(long)]
    span: Option<u64>,
    /// Demand header and data digests
    #[arg(long)]
    digests: bool,
    /// The processor that this program runs on
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// The server's process, to measure what it pays
    #[arg(long)]
    pid: Option<u32>,
    /// Only numbers: IOPS, server µs per I/O, median and 99 % latency in µs
    #[arg(long)]
    terse: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A session under load.
struct Lane {
    stream: TcpStream,
    core: Core,
}

/// What is asked for, one after the other.
struct Work {
    lun: u16,
    direction: Direction,
    block: u32,
    blocks: u32,
    places: u64,
    random: u64,
    start: Instant,
}

/// What was measured.
struct Measured {
    ios: u64,
    secs: f64,
    latency: Histogram<u64>,
    server_us: Option<f64>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = Args::parse();
    let state = tempfile::tempdir()?;
    let own = if args.portal.is_none() { Some(serve(&mut args, state.path())?) } else { None };
    core_affinity::set_for_current(core_affinity::CoreId { id: args.cpu });
    let measured = run(&args);
    if let Some(mut server) = own {
        server.kill()?;
        server.wait()?;
    }
    show(&args, &measured?);
    Ok(())
}

/// Starts a target of our own on processor 0.
fn serve(args: &mut Args, state: &Path) -> Result<Child, Box<dyn std::error::Error>> {
    let mut server = Process::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(["serve", "--log", "warn", "--listen", "127.0.0.1:0", "--iqn", OWN_TARGET, "--reactors", "0-0"])
        .arg("--state-dir")
        .arg(state)
        .arg("null:1G")
        .stdout(Stdio::piped())
        .spawn()?;
    let said = server.stdout.take().ok_or("a pipe")?;
    for line in BufReader::new(said).lines() {
        let line = line?;
        if let Some(portal) = line.trim().strip_prefix("portal ") {
            args.portal = portal.parse().ok();
        }
        if line == "ready" {
            break;
        }
    }
    args.pid = Some(server.id());
    Ok(server)
}

fn run(args: &Args) -> Result<Measured, Box<dyn std::error::Error>> {
    let mut lanes = Vec::new();
    let mut geometry = (0, 512);
    for number in 0..args.sessions {
        let (lane, found) = connect(args, number)?;
        geometry = found;
        lanes.push(lane);
    }
    let (total, block) = geometry;
    let span = args.span.map_or(total, |bytes| total.min(bytes / u64::from(block)));
    let blocks = (args.size / block).max(1);
    let mut work = Work {
        lun: args.lun,
        direction: if args.write { Direction::Out } else { Direction::In },
        block,
        blocks,
        places: (span / u64::from(blocks)).max(1),
        random: 0x9e37_79b9_7f4a_7c15,
        start: Instant::now(),
    };
    for lane in &mut lanes {
        for _ in 0..args.qd {
            work.submit(&mut lane.core, vec![0x5a; (blocks * block) as usize])?;
        }
        lane.push()?;
    }
    // The first moments are not like the rest.
    poll(&mut lanes, &mut work, Duration::from_millis(300), &mut histogram()?)?;
    measure(args, &mut lanes, &mut work)
}

fn measure(args: &Args, lanes: &mut [Lane], work: &mut Work) -> Result<Measured, Box<dyn std::error::Error>> {
    let mut latency = histogram()?;
    let before = args.pid.map(cpu_ns).transpose()?;
    let start = Instant::now();
    let ios = poll(lanes, work, Duration::from_secs_f64(args.secs), &mut latency)?;
    let secs = start.elapsed().as_secs_f64();
    let server_us = match (args.pid, before) {
        (Some(pid), Some(before)) => Some((cpu_ns(pid)? - before) as f64 / 1000.0 / ios.max(1) as f64),
        _ => None,
    };
    Ok(Measured { ios, secs, latency, server_us })
}

fn connect(args: &Args, number: u8) -> Result<(Lane, (u64, u32)), Box<dyn std::error::Error>> {
    let mut options = LoginOptions::new("iqn.2026-11.org.example:generator", Some(&args.target));
    options.isid[5] = number;
    if args.digests {
        options.wishes.header_digest = DIGEST_DEMANDED;
        options.wishes.data_digest = DIGEST_DEMANDED;
    }
    let portal = args.portal.ok_or("no portal")?;
    let mut initiator = Initiator::login(portal, options, PATIENCE)?;
    initiator.clear_attention(args.lun)?;
    let geometry = initiator.capacity(args.lun)?;
    let (stream, core) = initiator.into_parts();
    stream.set_nonblocking(true)?;
    Ok((Lane { stream, core }, geometry))
}

/// Keeps all lanes busy for a time; the I/Os that ended.
fn poll(
    lanes: &mut [Lane],
    work: &mut Work,
    time: Duration,
    latency: &mut Histogram<u64>,
) -> Result<u64, Box<dyn std::error::Error>> {
    let end = Instant::now() + time;
    let mut ios = 0;
    while Instant::now() < end {
        for lane in &mut *lanes {
            if lane.pull()? == 0 {
                continue;
            }
            while let Some(event) = lane.core.poll()? {
                let Event::Done(done) = event else { return Err(format!("came: {event:?}").into()) };
                if !done.is_good() {
                    return Err(format!("status {:#x}, sense {:?}", done.status, done.sense_code()).into());
                }
                latency.saturating_record(work.now() - done.user);
                ios += 1;
                work.submit(&mut lane.core, done.buffer)?;
            }
            lane.push()?;
        }
    }
    Ok(ios)
}

impl Lane {
    /// Receives once; the bytes that came.
    fn pull(&mut self) -> Result<usize, Box<dyn std::error::Error>> {
        if !self.core.outgoing().is_empty() {
            self.push()?;
        }
        match self.stream.read(self.core.incoming().space()) {
            Ok(0) => Err("the target has closed a connection".into()),
            Ok(count) => {
                self.core.incoming().filled(count);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends as much as the socket takes.
    fn push(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        while !self.core.outgoing().is_empty() {
            match self.stream.write(self.core.outgoing()) {
                Ok(count) => self.core.sent(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Work {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn submit(&mut self, core: &mut Core, buffer: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
        // xorshift64: places need to be spread, not secret.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let lba = self.random % self.places * u64::from(self.blocks);
        let cdb = match self.direction {
            Direction::Out => cdb::write(lba, self.blocks),
            _ => cdb::read(lba, self.blocks),
        };
        debug_assert_eq!(buffer.len(), (self.blocks * self.block) as usize);
        let command = Command { lun: self.lun, cdb, direction: self.direction, buffer, user: self.now() };
        core.submit(command).map_err(|_| "too many outstanding")?;
        Ok(())
    }
}

/// For latencies in nanoseconds.
fn histogram() -> Result<Histogram<u64>, Box<dyn std::error::Error>> {
    Ok(Histogram::new_with_max(PATIENCE.as_nanos() as u64, 3)?)
}

/// Nanoseconds that all threads of a process have run.
fn cpu_ns(pid: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile takes its time with it; servers keep theirs.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn show(args: &Args, m: &Measured) {
    let iops = m.ios as f64 / m.secs;
    let us = |quantile| m.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let server = m.server_us.unwrap_or(f64::NAN);
    if args.terse {
        return println!("{iops:.0} {server:.3} {:.0} {:.0}", us(0.5), us(0.99));
    }
    let verb = if args.write { "write" } else { "read" };
    println!(
        "random {verb} of {} bytes, {} outstanding in each of {} sessions",
        args.size, args.qd, args.sessions
    );
    println!("  {iops:.0} IOPS; latency {:.0} µs median, {:.0} µs at 99 %", us(0.5), us(0.99));
    if m.server_us.is_some() {
        println!("  server: {server:.3} µs of processor time for each I/O");
    }
}

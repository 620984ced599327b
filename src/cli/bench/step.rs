//! One measurement: sessions made, loaded for a time, and ended.
//!
//! Owns: the threads of it, the measured window, the processor time within that. Promises: when it returns all of its
//! threads have ended. Refuses to know: tables, files.

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::lane::{Lane, Shape};
use super::options::{Digest, Options};
use super::pattern;
use super::places::Places;
use super::tally::{Progress, Tally};
use super::worker::{PATIENCE_NS, Pace, Shared, Window, Worker, pattern_memory};
use crate::admin::cpulist::show_list;
use crate::initiator::{Initiator, LoginOptions};
use crate::mem::Memory;
use crate::ring::monotonic_ns;
use crate::session::keys::{DIGEST_DEMANDED, Negotiated};
use crate::sys::process_time;
use crate::target::Credential;

/// What is checked unless told otherwise, bytes: it is all written once more than asked, and remembered.
const VERIFIED_SPAN: u64 = 1 << 30;
/// The most memory for I/Os and what is known of the disk, bytes.
const MEMORY_MAX: u64 = 8 << 30;
/// Memory for an I/O beside its data, and for a place whose content is known.
const IO: u64 = 512;
const PLACE: u64 = 5;
/// How often the progress line changes.
const TICK: Duration = Duration::from_millis(250);

/// What changes from one measurement to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) bs: u32,
    pub(super) qd: u32,
    pub(super) sessions: u32,
}

/// What does not.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) portal: SocketAddr,
    pub(super) login: LoginOptions,
    /// What it agreed to with these.
    pub(super) negotiated: Negotiated,
    pub(super) blocks: u64,
    pub(super) block: u32,
    /// What is written without `--verify`; each I/O has the front of it.
    pattern: Arc<[u8]>,
    /// Memory that threads of earlier measurements have left, which holds the pattern. What the kernel was given is
    /// never unmapped, so that a sweep would need more with each of its steps.
    spare: Mutex<Vec<Memory>>,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) step: Step,
    pub(super) secs: f64,
    pub(super) tally: Tally,
    /// Microseconds of processor time for each I/O.
    pub(super) server_us: Option<f64>,
    pub(super) client_us: f64,
}

impl Target {
    /// Finds the target, logs in once, and asks how large the disk is.
    pub(super) fn find(options: &Options, credential: Option<Credential>) -> Result<Self> {
        let url = &options.url;
        let last = u32::from(url.lun) + u32::from(options.luns) - 1;
        ensure!(last < 1 << 14, "with --luns {} the last would be LUN {last}: there are 16384", options.luns);
        let mut login = LoginOptions::new(&options.initiator, Some(&url.target));
        login.chap = credential;
        // A random ISID (RFC 7143 section 11.12.5), so that others who use the same name are not thrown out.
        let mut random = [0; 3];
        getrandom::fill(&mut random).map_err(|error| anyhow!("no random bytes: {error}"))?;
        login.isid[..4].copy_from_slice(&[0x80, random[0], random[1], random[2]]);
        if options.digests.contains(&Digest::Header) {
            login.wishes.header_digest = DIGEST_DEMANDED;
        }
        if options.digests.contains(&Digest::Data) {
            login.wishes.data_digest = DIGEST_DEMANDED;
        }
        if options.no_immediate {
            (login.wishes.immediate_data, login.wishes.initial_r2t) = (false, true);
        }
        let (portal, mut initiator) = connect(options, &login)?;
        let negotiated = initiator.core().negotiated().clone();
        initiator.clear_attention(url.lun)?;
        check_luns(&mut initiator, url.lun..=last as u16, &url.target)?;
        let capacity = initiator.capacity(url.lun);
        let (blocks, block) =
            capacity.with_context(|| format!("LUN {} does not tell its capacity", url.lun))?;
        // The answer is known; a target that says goodbye badly is not the matter here.
        let _ = initiator.logout();
        ensure!(
            block >= pattern::LEAST && blocks > 0,
            "LUN {} has {blocks} blocks of {block} bytes",
            url.lun
        );
        let bytes = blocks.checked_mul(block.into());
        ensure!(bytes.is_some(), "LUN {} says that it has {blocks} blocks of {block} bytes", url.lun);
        let largest = options.bs.iter().max().copied().unwrap_or(0);
        let pattern = if options.verify { Vec::new() } else { noise(largest as usize) };
        Ok(Self {
            portal,
            login,
            negotiated,
            blocks,
            block,
            pattern: pattern.into(),
            spare: Mutex::default(),
        })
    }
}

fn connect(options: &Options, login: &LoginOptions) -> Result<(SocketAddr, Initiator)> {
    let (host, port) = (options.url.host.as_str(), options.url.port);
    let found = (host, port).to_socket_addrs().with_context(|| format!("no address for {host}"))?;
    let mut last = anyhow!("no address for {host}");
    for address in found {
        match Initiator::login(address, login.clone(), Duration::from_nanos(PATIENCE_NS)) {
            Ok(initiator) => return Ok((address, initiator)),
            Err(error) => last = anyhow!(error).context(format!("logging in at {address}")),
        }
    }
    Err(last)
}

/// Refuses LUNs that the target says it does not have, for this initiator.
fn check_luns(initiator: &mut Initiator, mut wanted: RangeInclusive<u16>, target: &str) -> Result<()> {
    // What else is wrong shows when they are used.
    let Ok(mut there) = initiator.luns() else { return Ok(()) };
    there.sort_unstable();
    let Some(lacking) = wanted.find(|lun| there.binary_search(lun).is_err()) else { return Ok(()) };
    let there = if there.is_empty() { "none".to_owned() } else { show_list(&there) };
    bail!("there is no LUN {lacking} for this initiator at {target}: there are {there}")
}

/// How the disk is divided for a step: what an I/O is, and places of that size for each session.
fn divide(options: &Options, target: &Target, step: Step) -> Result<(Shape, u64)> {
    let block = target.block;
    ensure!(
        step.bs.is_multiple_of(block),
        "--bs {} is not a multiple of the disk's block of {block} bytes",
        step.bs
    );
    let all = target.blocks * u64::from(block);
    let usual = if options.verify { VERIFIED_SPAN } else { u64::MAX };
    let places = all.min(options.span.unwrap_or(usual)) / u64::from(step.bs);
    let each = places / u64::from(step.sessions);
    ensure!(
        each >= u64::from(step.qd) || !options.verify,
        "with --verify each of the {} sessions needs {} places of {} bytes of its own: there are {places} in all",
        step.sessions,
        step.qd,
        step.bs
    );
    ensure!(each > 0, "the disk, or --span, has room for {places} I/Os of {} bytes: too few", step.bs);
    ensure_room(options, step, each)?;
    let shape = Shape {
        lun: options.url.lun,
        luns: options.luns,
        block,
        blocks: step.bs / block,
        verify: options.verify,
        pattern: target.pattern.clone(),
    };
    Ok((shape, each))
}

/// Refuses what would need more memory than a load generator should have.
fn ensure_room(options: &Options, step: Step, each: u64) -> Result<()> {
    let sessions = u64::from(step.sessions);
    let ios = sessions * u64::from(step.qd);
    let (data, known) =
        if options.verify { (ios * u64::from(step.bs), sessions * each * PLACE) } else { (0, 0) };
    let needed = (ios * IO).saturating_add(data).saturating_add(known);
    ensure!(
        needed <= MEMORY_MAX,
        "{ios} I/Os of {} bytes in {sessions} sessions, and what is known of {} places, need {} MiB of memory here, \
         and {} is the most: choose a smaller --qd, --sessions, --bs or --span",
        step.bs,
        if options.verify { sessions * each } else { 0 },
        needed >> 20,
        MEMORY_MAX >> 20
    );
    Ok(())
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

/// Measures one step.
pub(super) fn measure(options: &Options, target: &Target, step: Step) -> Result<Measured> {
    let (shape, each) = divide(options, target, step)?;
    let threads = options.threads.min(step.sessions);
    let progress = (0..threads).map(|_| Progress::default()).collect();
    let shared = Arc::new(Shared { progress, ..Shared::default() });
    thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let mut threads = (0..threads).map(|number| {
            let (go, window) = mpsc::channel::<Window>();
            let (ready, shared, shape) = (ready.clone(), shared.clone(), shape.clone());
            let job = move || {
                let worker = prepare(options, target, step, &shape, each, number);
                let failed = worker.is_err();
                // Both ends are held by the one who waits for this thread.
                let _ = ready.send(failed);
                drop(ready);
                let worker = worker?;
                match window.recv() {
                    Ok(window) => {
                        let (tally, memory) = worker.run(window, &shared, number as usize)?;
                        target.spare.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
                        Ok(tally)
                    }
                    Err(_) => Ok(Tally::default()),
                }
            };
            (go, scope.spawn(job))
        });
        let threads: Vec<_> = threads.by_ref().collect();
        drop(ready);
        let outcome = if is_ready.iter().any(|failed| failed) {
            Ok(None)
        } else {
            conduct(options, threads.iter().map(|(go, _)| go), &shared).map(Some)
        };
        let mut tally = Tally::default();
        let mut errors = Vec::new();
        for (go, thread) in threads {
            drop(go);
            match thread.join().map_err(|_| anyhow!("a thread has panicked")).flatten() {
                Ok(more) => tally.add(&more),
                Err(error) => errors.push(error),
            }
        }
        // The first to fail knows why; the others only that it did.
        errors.sort_by_key(|error| error.to_string() == "another thread has failed");
        match (errors.into_iter().next(), outcome?) {
            (Some(error), _) => Err(error),
            (None, Some(times)) => Ok(times.of(step, tally)),
            (None, None) => Err(anyhow!("no thread could begin")),
        }
    })
}

/// A thread's sessions, logged in, and its ring.
fn prepare(
    options: &Options,
    target: &Target,
    step: Step,
    shape: &Shape,
    each: u64,
    number: u32,
) -> Result<Worker> {
    if !options.cpus.is_empty() {
        let id = options.cpus[number as usize % options.cpus.len()];
        let wanted = core_affinity::CoreId { id };
        // It takes no number that the kernel has no bit for.
        let known = core_affinity::get_core_ids().is_some_and(|ids| ids.contains(&wanted));
        ensure!(known && core_affinity::set_for_current(wanted), "there is no processor {id} for us");
    }
    let threads = options.threads.min(step.sessions);
    let mine = (number..step.sessions).step_by(threads as usize);
    let lanes = mine.map(|session| open(options, target, step, shape, each, session));
    let lanes = lanes.collect::<Result<Vec<_>>>()?;
    let interval = options.rate.map(|rate| 1e9 * f64::from(threads) / rate);
    let reads = options.rw.reads(options.mix);
    let read_back = options.verify && reads < 100;
    let memory = target.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let memory = memory.map_or_else(|| pattern_memory(&target.pattern), Ok)?;
    Worker::new(lanes, memory, shape, step.qd, Pace { interval, reads, busy: options.busy, read_back })
}

/// Logs one session in.
fn open(
    options: &Options,
    target: &Target,
    step: Step,
    shape: &Shape,
    each: u64,
    session: u32,
) -> Result<Lane> {
    let mut login = target.login.clone();
    login.isid[4..6].copy_from_slice(&(session as u16 + 1).to_be_bytes());
    let opened = Initiator::login(target.portal, login, Duration::from_nanos(PATIENCE_NS));
    let mut initiator = opened.with_context(|| format!("session {} of {}", session + 1, step.sessions))?;
    initiator.clear_attention(options.url.lun)?;
    let (stream, core) = initiator.into_parts();
    let run = options.verify.then(|| monotonic_ns() as u32 | 1);
    // Sessions that go on their own way anywhere may share the disk; others have a part each.
    let (first, count) = match (options.rw.is_random(), options.verify) {
        (true, false) => (0, each * u64::from(step.sessions)),
        _ => (each * u64::from(session), each),
    };
    let places =
        Places::new(options.rw, options.mix, first, count, shape.blocks, u64::from(session) + 1, run);
    Ok(Lane::new(stream, core, shape.clone(), places, step.qd))
}

/// What was measured beside the I/Os.
struct Times {
    secs: f64,
    server_ns: Option<u64>,
    client_ns: u64,
}

impl Times {
    fn of(self, step: Step, tally: Tally) -> Measured {
        let each = |ns: u64| ns as f64 / 1000.0 / tally.ios().max(1) as f64;
        let (server_us, client_us) = (self.server_ns.map(each), each(self.client_ns));
        Measured { step, secs: self.secs, tally, server_us, client_us }
    }
}

/// Starts all threads at once, and looks at the processor time at both ends of the window.
fn conduct<'a>(
    options: &Options,
    threads: impl Iterator<Item = &'a mpsc::Sender<Window>>,
    shared: &Shared,
) -> Result<Times> {
    let start = monotonic_ns() + options.warm.as_nanos() as u64;
    let window = Window { start, end: start + options.secs.as_nanos() as u64 };
    for go in threads {
        // A thread that has ended says why when it is waited for.
        let _ = go.send(window);
    }
    let cpu = || -> Result<(Option<u64>, u64)> {
        let server =
            options.pid.map(|pid| process_time(pid).with_context(|| format!("--pid {pid}"))).transpose()?;
        Ok((server, process_time(std::process::id())?))
    };
    watch(window.start, shared);
    let before = cpu();
    watch(window.end, shared);
    let after = cpu();
    clear_line();
    if shared.failed.load(Ordering::Relaxed) {
        // Whoever failed says why.
        return Ok(Times { secs: 0.0, server_ns: None, client_ns: 0 });
    }
    let (before, after) = (before?, after?);
    let server_ns = after.0.zip(before.0).map(|(after, before)| after.saturating_sub(before));
    Ok(Times { secs: options.secs.as_secs_f64(), server_ns, client_ns: after.1.saturating_sub(before.1) })
}

/// Waits until a time has come or somebody has failed; shows how it goes when a person looks on.
fn watch(until: u64, shared: &Shared) {
    let shown = std::io::stderr().is_terminal();
    let count = || shared.progress.iter().map(Progress::get).sum::<u64>();
    let (mut last, mut at) = (count(), monotonic_ns());
    while monotonic_ns() < until && !shared.failed.load(Ordering::Relaxed) {
        thread::sleep(TICK.min(Duration::from_nanos(until.saturating_sub(monotonic_ns()))));
        let (now, ios) = (monotonic_ns(), count());
        if shown && now < until {
            let iops = (ios - last) as f64 * 1e9 / (now - at).max(1) as f64;
            let left = (until - now) as f64 / 1e9;
            eprint!("\r{iops:>10.0} IOPS, {left:.0} s to go \x1b[K");
            let _ = std::io::stderr().flush();
        }
        (last, at) = (ios, now);
    }
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

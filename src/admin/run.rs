//! Serving a configuration: from open stores and listeners to the last flush.
//!
//! Owns the order of start and stop. A store is held before anybody can use it; `ready` is said when
//! everything serves that can; at the end initiators are asked to go, and what they wrote is flushed before the process ends.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::banner::{self, Opened};
use super::config::{Config, Report, ServerConfig};
use super::inherited::Inherited;
use super::listen::{self, Bound};
use super::live::lacking::Lacking;
use super::live::units::{Keeper, Reached, Serials, is_stand_in};
use super::live::{Live, Origin, Start};
use super::lookout::Lookout;
use super::loopbacks::{LocalDisk, Loopbacks};
use super::notify::Notify;
use super::rpc;
use super::state::StateDir;
use super::watch::{self, Watcher};
use super::{http, recording};
use crate::ids::LuId;
use crate::reactor::{Control, Limits, RecorderSetup, Setup, UnitSeed, start};
use crate::store::{Backing, Medium, PATIENCE, StoreConfig};
use crate::sys;
use crate::target::{Catalog, TpgParams};

/// Disk operations that a reactor may have in flight.
const OPERATIONS: u32 = 4092;

/// Connections of local disks that a reactor may have: of each disk there are two for a moment, one of which takes the place of
/// the other, and the kernel makes 64 disks when it is told nothing else (`ublks_max`).
const LOCAL_CONNECTIONS: u32 = 128;

/// How long the last flush may take: longer than any cache of a disk that works.
const LAST_FLUSH: Duration = Duration::from_secs(60);

/// How often it is looked whether stores have vanished or appeared, where the kernel does not announce it.
const APPEARANCE: Duration = Duration::from_secs(2);

/// How often the control thread looks around when no watchdog sets the pace.
const PACE: Duration = Duration::from_secs(10);

/// How long local disks are waited for before others are told that all is ready.
const MOMENT: Duration = Duration::from_secs(3);

/// Serves `config` until told to stop. It may become another one meanwhile: see [`Live`].
///
/// # Errors
/// When a listener, memory or a ring cannot be had, or a store that is named on the command line: what, where and what to
/// do about it.
pub fn serve(config: Config, origin: Origin) -> anyhow::Result<()> {
    // Before there is any other thread: each begins as the one that starts it.
    let guarded = sys::become_io_flusher();
    let inherited = Inherited::take();
    let has_file = origin.file.is_some();
    let signals = signals(has_file)?;
    raise_limits();
    let cores = processors(&config.server)?;
    let (reactors, meant) = (cores.len(), config.clone());
    let written = origin.written();
    let prepare = move || prepare(config, reactors, inherited, &written);
    let Some(begun) = unless_stopped(&signals, has_file, prepare)? else {
        tracing::info!("told to stop before everything was ready");
        return Ok(());
    };
    let Begun { what: Prepared { mut config, state, keeper, units, inherited, bound }, again } = begun;
    let catalog = Arc::new(config.take_catalog());
    let sockets = bound.iter().map(|b| (b.plan.clone(), b.got, b.listener.as_raw_fd())).collect();
    let serials = Serials::default();
    (0..).zip(&units).for_each(|(n, unit)| serials.enter(LuId(n), unit));
    let (sink, recordings) = bounded(1);
    let setup = Setup {
        recorder: RecorderSetup { pdus: config.server.recorder as usize, sink: Some(sink) },
        limits: limits(&config.server, reactors, login_timeout(&catalog)),
        cores,
        catalog: catalog.clone(),
        units: units.clone(),
        listeners: bound.into_iter().map(|b| b.listener).collect(),
        saver: serials.saver(state),
        entropy,
    };
    let control = Arc::new(start(setup)?);
    let socket = config.server.control_socket();
    let metrics = config.server.metrics;
    recording::keep(config.server.state_dir.join("recordings"), recordings)?;
    let watcher = Watcher::start(&units, control.messenger()).context("cannot watch the stores")?;
    let lines = banner::render(&catalog, &config.stores, &opened(&config.stores, &units));
    let status = format!("serving {} logical units", units.len());
    let messenger = control.messenger();
    let loopbacks = Loopbacks::new(Arc::new(move || messenger.connect()), guarded);
    loopbacks.expect(&config.loopbacks);
    let live = Arc::new(Live::new(Start {
        control,
        keeper,
        serials,
        watcher,
        origin,
        meant,
        config,
        catalog,
        units,
        inherited,
        sockets,
        loopbacks,
    }));
    raise_loopbacks(live.clone())?;
    let reload = reloader(live.clone())?;
    wait_for_stores(live.clone())?;
    let lookout = Arc::new(Lookout::new(live.clone()));
    let _socket = control_socket(&lookout, &socket);
    serve_metrics(&lookout, metrics);
    announce(&(local_disks(&live) + &lines));
    Notify.ready(&status);
    if again {
        // The file may be another one than that which was read.
        let _ = reload.try_send(());
    }
    attend(&live, &signals, &reload);
    finish(&live)
}

/// Everything that others may keep from us for a while.
struct Prepared {
    config: Config,
    state: Option<StateDir>,
    keeper: Keeper,
    units: Vec<UnitSeed>,
    inherited: Inherited,
    bound: Vec<Bound>,
}

fn prepare(
    mut config: Config,
    reactors: usize,
    inherited: Inherited,
    written: &Report,
) -> anyhow::Result<Prepared> {
    config.expose_local();
    let state = open_state(&config.server)?;
    let keeper = Keeper::new(state.clone(), &config.server, reactors);
    keeper.keep_ports(&keeper.number_ports(&mut config.targets)?)?;
    let units = open_units(&config, &keeper)?;
    let bound = listen(&mut config, &inherited, written)?;
    Ok(Prepared { config, state, keeper, units, inherited, bound })
}

fn open_units(config: &Config, keeper: &Keeper) -> anyhow::Result<Vec<UnitSeed>> {
    keeper.begin(&config.stores, &Reached::by(config.targets.iter()), PATIENCE)
}

/// What was to be had for a start.
#[derive(Debug)]
struct Begun<T> {
    what: T,
    /// It was told meanwhile to read the configuration again.
    again: bool,
}

/// What `work` comes to; nothing when a signal to stop comes first: a store that another process holds, or an address
/// in use, is waited for. The work then ends with the process, and what it writes is atomic.
fn unless_stopped<T: Send + 'static>(
    signals: &Receiver<i32>,
    has_file: bool,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Option<Begun<T>>> {
    let (tell, told) = bounded(1);
    let mut again = false;
    // Nobody listens any more when a signal came first.
    std::thread::Builder::new().name("start".into()).spawn(move || drop(tell.send(work())))?;
    loop {
        select! {
            recv(told) -> result => {
                return result.context("the start failed")?.map(|what| Some(Begun { what, again }));
            }
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1) => {}
                Ok(SIGHUP) if has_file => again = true,
                // What was started from a terminal ends with it.
                _ => return Ok(None),
            },
        }
    }
}

/// A channel that gets the signals: to stop, (HUP) to read the configuration again, or (USR1) to tell the counters.
/// What has no file to read again ends with its terminal, unless it was started so that it does not (nohup).
fn signals(has_file: bool) -> anyhow::Result<Receiver<i32>> {
    let hangup = (has_file || !ignores_hangup()).then_some(SIGHUP);
    let caught = [SIGTERM, SIGINT, SIGUSR1].into_iter().chain(hangup);
    let mut signals = Signals::new(caught).context("cannot catch signals")?;
    let (tell, told) = bounded(4);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // More of the same while the first is being heeded changes nothing.
            let _ = tell.try_send(signal);
        }
    })?;
    Ok(told)
}

/// Whether this process was started so that it ignores SIGHUP.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (SIGHUP - 1) & 1 == 1
}

fn raise_limits() {
    if let Err(error) = sys::raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files; set LimitNOFILE= or ulimit -n");
    }
}

/// The state directory. What is served from the command line can do without one, but not save reservations.
fn open_state(server: &ServerConfig) -> anyhow::Result<Option<StateDir>> {
    match StateDir::open(&server.state_dir) {
        Ok(state) => Ok(Some(state)),
        Err(error) if server.ad_hoc => {
            tracing::warn!(%error, "no state directory: reservations will not outlive this process");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Listens at every portal, with the socket that is there for it or one that is made; port 0 gets its real number.
fn listen(config: &mut Config, inherited: &Inherited, written: &Report) -> anyhow::Result<Vec<Bound>> {
    let plans = listen::plan(&config.listeners(), inherited);
    inherited.tell_unused(&plans);
    let mut lacking = Lacking::default();
    let bound = lacking.of_portals(listen::make(&plans, inherited, listen::PATIENCE));
    lacking.check(written)?;
    let ports: Vec<_> = bound.iter().map(|b| (b.plan.address, b.got)).collect();
    config.bind(&ports);
    Ok(bound)
}

/// The processor of every reactor.
fn processors(server: &ServerConfig) -> anyhow::Result<Vec<Option<usize>>> {
    let allowed: Vec<u16> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|core| u16::try_from(core.id).ok())
        .collect();
    let places = server.reactors.place(&allowed)?;
    Ok(places.into_iter().map(|cpu| Some(usize::from(cpu))).collect())
}

/// How long a login may take: which group it is for is known only in the course of it, so the most patient one counts.
pub(super) fn login_timeout(catalog: &Catalog) -> Duration {
    let groups = catalog.targets.iter().flat_map(|t| &t.tpgs);
    groups.map(|g| g.params.login_timeout).max().unwrap_or_else(|| TpgParams::default().login_timeout)
}

fn limits(server: &ServerConfig, reactors: usize, login_timeout: Duration) -> Limits {
    Limits {
        memory: server.buffer_memory_each(reactors),
        connections: server.limits.connections.div_ceil(reactors.max(1) as u32),
        local_connections: LOCAL_CONNECTIONS,
        pending_logins: server.limits.pending_logins.div_ceil(reactors.max(1) as u32),
        operations: OPERATIONS,
        poll_ns: server.poll.as_nanos() as u64,
        level: server.kernel_level,
        login_timeout,
    }
}

fn opened(stores: &[Arc<StoreConfig>], units: &[UnitSeed]) -> Vec<Option<Opened>> {
    let open = |(config, unit): (&Arc<StoreConfig>, &UnitSeed)| {
        (!is_stand_in(config, unit)).then(|| Opened::from(&*unit.backing))
    };
    stores.iter().zip(units).map(open).collect()
}

fn entropy(bytes: &mut [u8]) {
    // The kernel's generator fails only where the system call is forbidden: there is nothing secure to go on with.
    getrandom::fill(bytes).expect("the kernel gives random bytes");
}

/// Makes the local disks that can be made in a moment. The others, whose stores do not answer, keep nobody waiting: what is
/// not there is tried again and again, on a thread that does nothing else.
fn raise_loopbacks(live: Arc<Live>) -> anyhow::Result<()> {
    let (tell, told) = std::sync::mpsc::channel();
    let work = move || {
        loop {
            live.raise_loopbacks();
            // Who has started does not listen any more.
            let _ = tell.send(());
            std::thread::sleep(APPEARANCE);
        }
    };
    std::thread::Builder::new().name("loopbacks".into()).spawn(work)?;
    // Whether it has ended or not, what there is by then is announced.
    let _ = told.recv_timeout(MOMENT);
    Ok(())
}

/// A line for each local disk.
fn local_disks(live: &Live) -> String {
    let line = |disk: LocalDisk| match disk.device {
        Some(device) => format!("loopback {}: {}\n", disk.store, device.display()),
        None => format!("loopback {}: not there yet\n", disk.store),
    };
    live.local_disks().into_iter().map(line).collect()
}

/// Says what is served, on standard output.
fn announce(lines: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started us may have stopped reading; that is no reason not to serve.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// Waits until told to stop; meanwhile tells the service manager that all is well, as long as it is.
fn attend(live: &Live, signals: &Receiver<i32>, reload: &Sender<()>) {
    let (control, notify) = (live.control(), Notify);
    let watchdog = notify.watchdog_interval();
    let pace = watchdog.unwrap_or(PACE);
    let mut due = Instant::now() + pace;
    loop {
        // By the clock, so that no number of questions keeps the manager waiting.
        match signals.recv_deadline(due) {
            Ok(SIGUSR1) => tell_counters(control),
            // What was started from a terminal ends with it.
            Ok(SIGHUP) if live.file().is_some() => {
                // One more while one waits changes nothing.
                let _ = reload.try_send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return tell_counters(control),
        }
        if Instant::now() >= due {
            due = Instant::now() + pace;
            watchdog.iter().for_each(|_| keep_alive(control, &notify));
        }
    }
}

/// Listens to those who control the daemon. It serves without, too.
fn control_socket(lookout: &Arc<Lookout>, path: &Path) -> Option<impl Sized + use<>> {
    rpc::serve(path, lookout.clone()).inspect_err(|error| tracing::warn!("no control socket: {error:#}")).ok()
}

/// Serves metrics, if that is wanted. It serves disks without, too.
fn serve_metrics(lookout: &Arc<Lookout>, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    match http::serve(address, lookout.clone()) {
        Ok(address) => tracing::info!(%address, "metrics and the live view are at /metrics and /"),
        Err(error) => tracing::warn!(%address, %error, "no metrics: that address cannot be listened at"),
    }
}

/// A thread that reads the configuration again when it is told to: a store that others hold may take a while.
fn reloader(live: Arc<Live>) -> anyhow::Result<Sender<()>> {
    let (tell, told) = bounded(1);
    let work = move || told.iter().for_each(|()| reload(&live));
    std::thread::Builder::new().name("reload".into()).spawn(work)?;
    Ok(tell)
}

/// A thread that notices when the devices and files of stores vanish or appear, and makes local disks that could not be
/// made before.
fn wait_for_stores(live: Arc<Live>) -> anyhow::Result<()> {
    let mut complaint = String::new();
    let mut look = move || match live.revive() {
        Ok(None) => {}
        Ok(Some(plan)) => {
            complaint.clear();
            plan.to_string().lines().for_each(|line| tracing::info!("{line}"));
        }
        Err(error) => {
            // It is tried again and again, and told once, also where a look now and then finds nothing in time.
            let said = format!("{error:#}");
            if said != complaint {
                tracing::warn!("a store is not served: {said}");
                complaint = said;
            }
        }
    };
    let work = move || {
        let mut uevents = watch::announcements();
        loop {
            watch::wait(&mut uevents, &["add", "remove"], APPEARANCE);
            look();
        }
    };
    std::thread::Builder::new().name("appearance".into()).spawn(work)?;
    Ok(())
}

fn reload(live: &Live) {
    Notify.reloading();
    let status = match live.reload() {
        Ok(plan) => {
            plan.to_string().lines().for_each(|line| tracing::info!("{line}"));
            let file = live.file().map(|file| file.display().to_string()).unwrap_or_default();
            tracing::info!(file, changes = plan.changes.len(), "this configuration is served now");
            "the configuration has been read again".to_owned()
        }
        Err(error) => {
            tracing::error!("the configuration stays as it was:");
            error.to_string().lines().for_each(|line| tracing::error!("{line}"));
            "the configuration has been read again and refused: see the log".to_owned()
        }
    };
    Notify.ready(&status);
}

/// The manager hears from us only while the reactors turn.
fn keep_alive(control: &Control, notify: &Notify) {
    if control.is_alive() { notify.alive() } else { tracing::error!("a reactor does not answer") }
}

/// Logs what every reactor has done.
fn tell_counters(control: &Control) {
    for snapshot in control.report() {
        tracing::info!("{snapshot}");
    }
}

/// Lets initiators go, and makes durable what they wrote.
fn finish(live: &Live) -> anyhow::Result<()> {
    tracing::info!("stopping");
    let within = live.drain_timeout();
    Notify.stopping(live.loopback_patience() + within + LAST_FLUSH + PACE);
    // They are sessions, too: as long as there are any, somebody answers.
    live.end_loopbacks();
    live.control().drain(within).map_err(|_| anyhow::anyhow!("a reactor ended badly"))?;
    flush_all(&live.backings())
}

/// Threads that flush at a time: as many disks may hang before another one waits for them.
const FLUSHERS: usize = 64;

/// Flushes all stores, many at a time, and waits for them as long as can be.
fn flush_all(backings: &[Arc<Backing>]) -> anyhow::Result<()> {
    flush_each(backings.iter().filter(|b| may_be_dirty(b)).cloned().collect(), |backing| flush(backing))
}

fn flush_each<T: Send + 'static>(
    all: Vec<T>,
    flush: impl Fn(&T) -> anyhow::Result<()> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let flushers = all.len().min(FLUSHERS);
    let ((give, take), (tell, told)) = (bounded(all.len()), bounded(all.len()));
    all.into_iter().for_each(|one| drop(give.send(one)));
    drop(give);
    for flusher in 0..flushers {
        let (take, tell, flush) = (take.clone(), tell.clone(), flush.clone());
        let work = move || take.iter().for_each(|one| drop(tell.send(flush(&one))));
        let spawned = std::thread::Builder::new().name("flush".into()).spawn(work.clone());
        if let Err(error) = spawned {
            tracing::warn!("{flusher} threads flush the stores; there can be no more: {error}");
            // Those that there are do all of it.
            if flusher == 0 {
                work();
            }
            break;
        }
    }
    drop(tell);
    let (deadline, mut result) = (Instant::now() + LAST_FLUSH, Ok(()));
    loop {
        let flushed = match told.recv_deadline(deadline) {
            Ok(flushed) => flushed,
            Err(RecvTimeoutError::Disconnected) => return result,
            Err(RecvTimeoutError::Timeout) => {
                anyhow::bail!("a store has not been flushed after {LAST_FLUSH:?}: its disk hangs")
            }
        };
        if let Err(error) = flushed {
            // One that fails must not keep the others from theirs.
            tracing::error!("{error:#}");
            result = result.and(Err(error));
        }
    }
}

fn may_be_dirty(backing: &Backing) -> bool {
    matches!(&backing.medium, Medium::File(_)) && !backing.read_only
}

pub(super) fn flush(backing: &Backing) -> anyhow::Result<()> {
    match &backing.medium {
        Medium::File(medium) if !backing.read_only => {
            medium.file.sync_data().with_context(|| format!("cannot flush {}", backing.name))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_is_flushed_by_no_more_threads_than_that() {
        let (tell, told) = bounded(1000);
        let failed = flush_each((0..1000).collect(), move |n| {
            tell.send((*n, std::thread::current().id())).unwrap();
            anyhow::ensure!(*n != 7, "that one fails");
            Ok(())
        });
        assert_eq!(failed.unwrap_err().to_string(), "that one fails");
        let (mut flushed, threads): (Vec<i32>, std::collections::HashSet<_>) = told.try_iter().unzip();
        flushed.sort_unstable();
        assert_eq!(flushed, (0..1000).collect::<Vec<_>>());
        assert!(threads.len() <= FLUSHERS);
        flush_each(Vec::<i32>::new(), |_| Ok(())).unwrap();
    }

    #[test]
    fn what_is_to_be_read_again_during_the_start_is_read_after_it() {
        let (tell, signals) = bounded(4);
        let (go, going) = bounded::<()>(0);
        let starting = std::thread::spawn(move || unless_stopped(&signals, true, move || Ok(going.recv()?)));
        [SIGUSR1, SIGHUP].into_iter().for_each(|signal| tell.send(signal).unwrap());
        while !tell.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        go.send(()).unwrap();
        assert!(starting.join().unwrap().unwrap().is_some_and(|begun| begun.again));
    }

    #[test]
    fn a_terminal_that_goes_ends_a_start_that_has_no_file() {
        let (tell, signals) = bounded(4);
        let (_hold, going) = bounded::<()>(0);
        tell.send(SIGHUP).unwrap();
        assert!(unless_stopped(&signals, false, move || Ok(going.recv()?)).unwrap().is_none());
    }
}

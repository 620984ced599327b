//! Serving a configuration: from open stores and listeners to the last flush.
//!
//! Owns the order of start and stop. A store is held before anybody can log in to it; `ready` is said when
//! everything serves; at the end initiators are asked to go, and what they wrote is flushed before the process ends.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::banner::{self, Opened};
use super::config::{Config, ServerConfig};
use super::listen;
use super::notify::Notify;
use super::ports::Ports;
use super::state::StateDir;
use super::watch;
use crate::ids::LuId;
use crate::reactor::{Control, Limits, Saver, Setup, UnitSeed, start};
use crate::ring::monotonic_ns;
use crate::scsi::{Clock, Counters, Groups, Identity, Lu, LuState, Persistent, TargetPort};
use crate::store::{self, Backing, Medium, PATIENCE, StoreConfig};
use crate::sys;
use crate::target::{Catalog, TpgParams};

/// Disk operations that a reactor may have in flight.
const OPERATIONS: u32 = 4092;

/// How long the last flush may take: longer than any cache of a disk that works.
const LAST_FLUSH: Duration = Duration::from_secs(60);

/// How often the control thread looks around when no watchdog sets the pace.
const PACE: Duration = Duration::from_secs(10);

/// Serves `config` until told to stop.
///
/// # Errors
/// When a store, a listener, memory or a ring cannot be had: what, where and what to do about it.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let signals = signals()?;
    raise_limits();
    let Some(prepared) = unless_stopped(&signals, move || prepare(config))? else {
        tracing::info!("told to stop before everything was ready");
        return Ok(());
    };
    let Prepared { mut config, state, units, listeners } = prepared;
    let catalog = Arc::new(config.take_catalog());
    let cores = processors(&config.server)?;
    let setup = Setup {
        limits: limits(&config.server, cores.len(), login_timeout(&catalog)),
        cores,
        catalog: catalog.clone(),
        units: units.clone(),
        listeners,
        saver: saver(state, &units),
        entropy,
    };
    let control = start(setup)?;
    watch::start(&units, control.messenger()).context("cannot watch the stores")?;
    announce(&banner::render(&catalog, &config.stores, &opened(&units)));
    let notify = Notify;
    notify.ready(&format!("serving {} logical units", units.len()));
    attend(&control, &signals, &notify);
    finish(control, &units, &notify, config.server.drain_timeout)
}

/// Everything that others may keep from us for a while.
struct Prepared {
    config: Config,
    state: Option<StateDir>,
    units: Vec<UnitSeed>,
    listeners: Vec<TcpListener>,
}

fn prepare(mut config: Config) -> anyhow::Result<Prepared> {
    let state = open_state(&config.server)?;
    number_ports(&mut config, state.as_ref())?;
    let units = open_units(&config, state.as_ref())?;
    let listeners = listen(&mut config)?;
    Ok(Prepared { config, state, units, listeners })
}

/// What `work` comes to; nothing when a signal to stop comes first: a store that another process holds, or an address
/// in use, is waited for. The work then ends with the process, and what it writes is atomic.
fn unless_stopped<T: Send + 'static>(
    signals: &Receiver<i32>,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    let (tell, told) = bounded(1);
    // Nobody listens any more when a signal came first.
    std::thread::Builder::new().name("start".into()).spawn(move || drop(tell.send(work())))?;
    loop {
        select! {
            recv(told) -> result => return result.context("the start failed")?.map(Some),
            recv(signals) -> signal => if signal != Ok(SIGUSR1) { return Ok(None) },
        }
    }
}

/// A channel that gets the signals: to stop, or (USR1) to tell the counters.
fn signals() -> anyhow::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).context("cannot catch signals")?;
    let (tell, told) = bounded(4);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // More of the same while the first is being heeded changes nothing.
            let _ = tell.try_send(signal);
        }
    })?;
    Ok(told)
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

/// Gives every port its relative identifier; what is served from the command line keeps none.
fn number_ports(config: &mut Config, state: Option<&StateDir>) -> anyhow::Result<()> {
    match state {
        Some(state) if !config.server.ad_hoc => state.number_ports(&mut config.targets)?,
        _ => Ports::default().number(&mut config.targets),
    }
    Ok(())
}

fn open_units(config: &Config, state: Option<&StateDir>) -> anyhow::Result<Vec<UnitSeed>> {
    let ports = |lu| config.targets.iter().flat_map(|t| t.ports_of(LuId(lu))).collect::<Vec<_>>();
    let numbered = (0..).zip(&config.stores);
    numbered
        .map(|(n, store)| open_unit(store, &config.server, state, &ports(n), groups(config, store, LuId(n))))
        .collect()
}

/// The target port groups of a logical unit with their ports.
fn groups(config: &Config, store: &StoreConfig, lu: LuId) -> Groups {
    let mut groups = store.groups.clone();
    let members = config.targets.iter().flat_map(|t| t.members_of(lu));
    members.for_each(|(group, port)| groups.join(group, port));
    groups
}

fn open_unit(
    config: &StoreConfig,
    server: &ServerConfig,
    state: Option<&StateDir>,
    ports: &[TargetPort],
    groups: Groups,
) -> anyhow::Result<UnitSeed> {
    let backing = store::open(config, PATIENCE)?;
    for warning in &backing.warnings {
        tracing::warn!(store = config.name, "{warning}");
    }
    let identity = match state {
        Some(state) if !server.ad_hoc => state.identity(config)?,
        _ => Identity::derived(config).with_context(|| format!("cannot identify {}", config.name))?,
    };
    let mut saved = match state {
        Some(state) => restored(state, &config.name, &identity.serial, ports)?,
        None => LuState::default(),
    };
    saved.configure(&groups);
    let facts = Arc::new(backing.facts(identity, groups, state.is_some()));
    let lu =
        Lu { facts, state: Arc::new(LuState { clock: clock(), ..saved }), counters: Counters::default() };
    Ok(UnitSeed { lu, backing: Arc::new(backing) })
}

/// The state that a logical unit starts with. One whose saved state is damaged is served all the same: only the
/// initiators can know what they had reserved, and until one of them begins anew none may write.
fn restored(state: &StateDir, name: &str, serial: &str, ports: &[TargetPort]) -> anyhow::Result<LuState> {
    match state.load_unit::<Persistent>(serial) {
        Ok(None) => Ok(LuState::default()),
        Ok(Some(saved)) => {
            let mut state = LuState::restored(saved);
            state.renumber(ports);
            Ok(state)
        }
        Err(error) if error.damaged => {
            tracing::error!(
                store = name,
                %error,
                "reservations are lost: commands are refused until an initiator sends REPLACE LOST RESERVATION"
            );
            Ok(LuState::damaged())
        }
        Err(error) => Err(error.into()),
    }
}

/// The time of day, as logical units show it. One that the system does not know shows as 1970.
fn clock() -> Clock {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::showing(day.as_millis() as u64, monotonic_ns())
}

/// Saves a logical unit's state under its serial number.
fn saver(state: Option<StateDir>, units: &[UnitSeed]) -> Saver {
    let serials: Vec<String> = units.iter().map(|u| u.lu.facts.identity.serial.clone()).collect();
    Arc::new(move |lu: LuId, next: &LuState| {
        let gone = || std::io::Error::from_raw_os_error(libc::ENOENT);
        let state = state.as_ref().ok_or_else(gone)?;
        let serial = serials.get(lu.0 as usize).ok_or_else(gone)?;
        state.save_unit(serial, &next.persistent()).map_err(|error| {
            // The reactor knows numbers only; here is the file and what to do about it.
            tracing::error!(%error, "the state of a logical unit is not saved");
            std::io::Error::other(error)
        })
    })
}

/// Binds every portal; port 0 gets its real number.
fn listen(config: &mut Config) -> anyhow::Result<Vec<TcpListener>> {
    let bound = listen::listen(&config.listeners(), listen::PATIENCE)?;
    let ports: Vec<_> = bound.iter().map(|b| (b.asked, b.got)).collect();
    config.bind(&ports);
    Ok(bound.into_iter().map(|b| b.listener).collect())
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
fn login_timeout(catalog: &Catalog) -> Duration {
    let groups = catalog.targets.iter().flat_map(|t| &t.tpgs);
    groups.map(|g| g.params.login_timeout).max().unwrap_or_else(|| TpgParams::default().login_timeout)
}

fn limits(server: &ServerConfig, reactors: usize, login_timeout: Duration) -> Limits {
    Limits {
        memory: server.buffer_memory_each(reactors),
        connections: server.limits.connections.div_ceil(reactors.max(1) as u32),
        pending_logins: server.limits.pending_logins.div_ceil(reactors.max(1) as u32),
        operations: OPERATIONS,
        poll_ns: server.poll.as_nanos() as u64,
        level: server.kernel_level,
        login_timeout,
    }
}

fn opened(units: &[UnitSeed]) -> Vec<Option<Opened>> {
    units.iter().map(|u| Some(Opened::from(&*u.backing))).collect()
}

fn entropy(bytes: &mut [u8]) {
    // The kernel's generator fails only where the system call is forbidden: there is nothing secure to go on with.
    getrandom::fill(bytes).expect("the kernel gives random bytes");
}

/// Says what is served, on standard output.
fn announce(lines: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started us may have stopped reading; that is no reason not to serve.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// Waits until told to stop; meanwhile tells the service manager that all is well, as long as it is.
fn attend(control: &Control, signals: &Receiver<i32>, notify: &Notify) {
    let watchdog = notify.watchdog_interval();
    let pace = watchdog.unwrap_or(PACE);
    let mut due = Instant::now() + pace;
    loop {
        // By the clock, so that no number of questions keeps the manager waiting.
        match signals.recv_deadline(due) {
            Ok(SIGUSR1) => tell_counters(control),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return tell_counters(control),
        }
        if Instant::now() >= due {
            due = Instant::now() + pace;
            watchdog.iter().for_each(|_| keep_alive(control, notify));
        }
    }
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
fn finish(control: Control, units: &[UnitSeed], notify: &Notify, within: Duration) -> anyhow::Result<()> {
    tracing::info!("stopping");
    notify.stopping(within + LAST_FLUSH + PACE);
    control.drain(within).map_err(|_| anyhow::anyhow!("a reactor ended badly"))?;
    flush_all(units)
}

/// Flushes all stores at once, and waits for them as long as can be.
fn flush_all(units: &[UnitSeed]) -> anyhow::Result<()> {
    let (tell, told) = bounded(units.len());
    for unit in units {
        let (tell, backing) = (tell.clone(), unit.backing.clone());
        std::thread::Builder::new().name("flush".into()).spawn(move || drop(tell.send(flush(&backing))))?;
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

fn flush(backing: &Backing) -> anyhow::Result<()> {
    match &backing.medium {
        Medium::File(medium) if !backing.read_only => {
            medium.file.sync_data().with_context(|| format!("cannot flush {}", backing.name))
        }
        _ => Ok(()),
    }
}

//! Starting reactors on threads of their own, and talking to them from ordinary threads.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use slab::Slab;

use super::beside::Beside;
use super::conn::Conns;
use super::delays::Delays;
use super::desk::fresh_scratch;
use super::detour::Detours;
use super::fair::Shortage;
use super::gates::Gates;
use super::live::{Chosen, Done, Doors, Entering, Heard, Live, Moved, Notice, SessionReport, Switch, Tell};
use super::login::Listener;
use super::mail::{Address, Letter, Mail, mailboxes};
use super::measure::Late;
use super::quota::Quotas;
use super::recorder::{self, Recorder, Recording};
use super::registry::Registry;
use super::share::Share;
use super::stats::{Counters, Snapshot};
use super::talk::Talk;
use super::unit::{UnitSeed, owner_of};
use super::world::{Saver, World};
use super::{Reactor, TICK_NS};
use crate::ids::{CoreId, LuId};
use crate::mem::{Memory, Needs, Pages, Pool, PoolConfig, Region, RegionId};
use crate::ring::{Bell, Driver, Ends, KernelLevel, Ring, RingConfig, monotonic_ns};
use crate::scsi::{AccessChange, AccessState, Accesses, ChangedBy, Failure, SharedOp, Tokens, status};
use crate::store::{BlockingPool, zero_region};
use crate::sys::AbortOnUnwind;
use crate::target::{Catalog, LOCAL_PORTAL};

/// The region of zeroes that all reactors share; ramdisks follow.
pub(super) const ZEROES: RegionId = RegionId(1);

/// Entries of the in-flight table that a connection may need at once: a receive and a send.
const ENTRIES_EACH: usize = 2;

/// How long a change of a logical unit may take: longer than what is under way is waited for, and its state saved.
const ORDER_PATIENCE: Duration = Duration::from_secs(30);

/// How long reactors may take to go by something new: some of it waits for others.
const LIVE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a reactor may take to answer the control thread before it counts as stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Limits of one reactor.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Buffer memory, bytes.
    pub memory: u64,
    /// Connections from the network at a time.
    pub connections: u32,
    /// Connections at a time of disks of this very host. They have room of their own: no crowd from the network keeps them out,
    /// and they keep nobody else out.
    pub local_connections: u32,
    /// Connections from the network whose login is not complete; beyond it the oldest is closed.
    pub pending_logins: u32,
    /// Disk operations in flight at a time.
    pub operations: u32,
    /// The longest poll before sleeping, nanoseconds; zero never polls.
    pub poll_ns: u64,
    /// For developers: do as if the kernel were that old.
    pub level: Option<KernelLevel>,
    /// How long a login may take.
    pub login_timeout: Duration,
}

/// Everything that reactors are started with.
pub struct Setup {
    /// One reactor each, on that processor if one is named.
    pub cores: Vec<Option<usize>>,
    /// What is exported.
    pub catalog: Arc<Catalog>,
    /// The logical units, by [`LuId`], with counters for all reactors.
    pub units: Vec<UnitSeed>,
    /// Bound and listening.
    pub listeners: Vec<TcpListener>,
    /// Limits of each reactor.
    pub limits: Limits,
    /// Saves what must outlive a power loss.
    pub saver: Saver,
    /// The flight recorder of each reactor.
    pub recorder: recorder::Setup,
    /// Fills with random bytes that nobody can foretell.
    pub entropy: fn(&mut [u8]),
}

/// The handle of the control thread.
#[derive(Debug)]
pub struct Control {
    addresses: Vec<Address>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    doors: Mutex<OpenDoors>,
    registry: Arc<Registry>,
}

/// The listening sockets, and the reactors that accept on them. Logins are rare: one reactor does for each, and placement
/// evens it out.
#[derive(Debug)]
struct OpenDoors {
    listeners: Vec<(CoreId, TcpListener)>,
    reactors: usize,
}

impl OpenDoors {
    fn new(listeners: Vec<TcpListener>, reactors: usize) -> Self {
        let mut doors = Self { listeners: Vec::new(), reactors };
        listeners.into_iter().for_each(|listener| doors.add(listener));
        doors
    }

    /// One more, for the reactor that has the fewest.
    fn add(&mut self, listener: TcpListener) {
        let load = |core: u16| self.listeners.iter().filter(|(c, _)| c.0 == core).count();
        let least = (0..self.reactors as u16).min_by_key(|core| load(*core)).unwrap_or(0);
        self.listeners.push((CoreId(least), listener));
    }

    fn list(&self) -> Arc<[(CoreId, RawFd)]> {
        self.listeners.iter().map(|(core, l)| (*core, l.as_raw_fd())).collect()
    }
}

/// A reactor does not do what it is told: the daemon is beyond help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reactor does not answer; restart ringtgt, and report what it logged")]
pub struct Stuck;

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("cores", &self.cores)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Limits {
    /// Entries of the in-flight table:
    ///
    /// | consumer | entries |
    /// |---|---|
    /// | receives | 1 for each connection |
    /// | sends | 1 for each connection |
    /// | local disks | 2 for each connection that they may have |
    /// | listeners | 1 each to accept; 2 for the connection that each may let in together with the last one |
    /// | disks | [`Limits::operations`] |
    ///
    /// A connection that has ended needs none of its own any more, which leaves room for its close. Disks wait for
    /// disks: they never take what receives and sends need.
    fn entries(&self, listeners: usize) -> usize {
        ENTRIES_EACH * self.connections as usize + self.entries_beside(listeners)
    }

    fn entries_beside(&self, listeners: usize) -> usize {
        (1 + ENTRIES_EACH) * listeners
            + ENTRIES_EACH * self.local_connections as usize
            + self.operations as usize
    }

    /// Connections for which a table of so many entries has room, at most as many as there may be.
    pub(super) fn connections_in(&self, entries: usize, listeners: usize) -> usize {
        let fit = entries.saturating_sub(self.entries_beside(listeners)) / ENTRIES_EACH;
        fit.min(self.connections as usize).max(1)
    }
}

/// What one reactor takes to its thread.
pub(super) struct Seed {
    pub(super) setup: Arc<Setup>,
    /// The first logical units.
    pub(super) units: Arc<[UnitSeed]>,
    /// All listeners, and the reactors that have them.
    pub(super) doors: Arc<[(CoreId, RawFd)]>,
    pub(super) core: CoreId,
    pub(super) inbox: Receiver<Letter>,
    pub(super) addresses: Vec<Address>,
    pub(super) registry: Arc<Registry>,
    pub(super) tokens: Arc<Mutex<Tokens>>,
    pub(super) blocking: BlockingPool,
    pub(super) zeroes: Arc<Region>,
}

/// Starts the reactors; returns when all of them run.
///
/// # Errors
/// When memory, rings or threads cannot be had; the message names the remedy.
pub fn start(mut setup: Setup) -> anyhow::Result<Control> {
    let bells = setup.cores.iter().map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    let (addresses, inboxes) = mailboxes(bells);
    let registry = Arc::new(Registry::new(setup.cores.len()));
    let tokens = Arc::default();
    let (blocking, zeroes) = (BlockingPool::start()?, zero_region()?);
    let units: Arc<[UnitSeed]> = std::mem::take(&mut setup.units).into();
    let open = OpenDoors::new(std::mem::take(&mut setup.listeners), setup.cores.len());
    let doors = open.list();
    let setup = Arc::new(setup);
    let (ready, started) = mpsc::channel();
    let mut threads = Vec::new();
    for (n, inbox) in inboxes.into_iter().enumerate() {
        let seed = Seed {
            setup: setup.clone(),
            units: units.clone(),
            doors: doors.clone(),
            core: CoreId(n as u16),
            inbox,
            addresses: addresses.clone(),
            registry: registry.clone(),
            tokens: Arc::clone(&tokens),
            blocking: blocking.clone(),
            zeroes: zeroes.clone(),
        };
        let ready = ready.clone();
        threads.push(thread::Builder::new().name(format!("reactor-{n}")).spawn(move || live(seed, &ready))?);
    }
    drop(ready);
    for _ in &threads {
        started.recv()??;
    }
    Ok(Control { addresses, threads: Mutex::new(threads), doors: Mutex::new(open), registry })
}

/// A reactor's life. A panic in it ends the process: what it left half done nobody else can finish.
fn live(seed: Seed, ready: &mpsc::Sender<anyhow::Result<()>>) {
    let _bomb = AbortOnUnwind;
    if let Some(cpu) = seed.setup.cores[usize::from(seed.core.0)]
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        tracing::warn!(cpu, "{} cannot be bound to its processor", seed.core);
    }
    match seed.grow() {
        Ok(mut reactor) => {
            // The starter waits for every reactor, so it is there.
            let _ = ready.send(Ok(()));
            reactor.run();
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

impl Seed {
    fn grow(self) -> anyhow::Result<Reactor<Ring>> {
        let limits = &self.setup.limits;
        let needs = Needs { commands: limits.operations, memory: limits.memory };
        let config = PoolConfig::divide(&needs)?;
        let region = Region::new(config.bytes(), Pages::Reserved)?;
        let pool = Pool::new(&config, &region);
        let memory = Memory::new(region);
        let ring = RingConfig {
            in_flight: (limits.entries(self.doors.len()) as u32).min(RingConfig::MOST_IN_FLIGHT),
            poll_ns: limits.poll_ns,
            level: limits.level,
            ..RingConfig::default()
        };
        let bell = self.addresses[usize::from(self.core.0)].bell().clone();
        let driver = Ring::new(&ring, &memory, bell)?;
        tracing::debug!(caps = %driver.caps(), "{}", self.core);
        let fit = limits.connections_in(driver.room(), self.doors.len());
        if fit < limits.connections as usize {
            tracing::warn!(
                fit,
                asked = limits.connections,
                "{} has a ring for fewer connections than it may have: run more reactors, or lower server.limits.connections",
                self.core
            );
        }
        Ok(self.assemble(driver, memory, pool))
    }

    /// The reactor, of parts that exist.
    pub(super) fn assemble<D: Driver>(self, driver: D, memory: Memory, pool: Pool) -> Reactor<D> {
        let Self { setup, units, doors, core, inbox, addresses, registry, tokens, blocking, zeroes } = self;
        let mut world = World {
            driver,
            memory,
            pool,
            mail: Mail::new(core, inbox, addresses),
            catalog: setup.catalog.clone(),
            units: Vec::new(),
            retiring: Vec::new(),
            arriving: Vec::new(),
            blocking,
            saver: setup.saver.clone(),
            registry: registry.clone(),
            tokens,
            entropy: setup.entropy,
            gates: Gates::default(),
            jobs: Slab::with_capacity(setup.limits.operations as usize),
            job_serial: 0,
            later: VecDeque::new(),
            roomless: VecDeque::new(),
            disks: 0,
            most_disks: setup.limits.operations as usize,
            finished: VecDeque::new(),
            errands: HashMap::new(),
            reports: Vec::new(),
            fence_serial: 0,
            unannounced: Vec::new(),
            drains: Vec::new(),
            impatient: VecDeque::new(),
            enclosures: Vec::new(),
            erasing: Vec::new(),
            stopping: false,
            opened: VecDeque::new(),
            hungry: VecDeque::new(),
            copying: BTreeSet::new(),
            quotas: Quotas::default(),
            sessions: 0,
            shortage: Shortage::default(),
            scratch: fresh_scratch(),
            beside: Beside::default(),
            #[cfg(test)]
            heard: Vec::new(),
            recorder: Recorder::new(setup.recorder.clone()),
            delays: Delays::default(),
            held_up: 0,
            counters: Counters::default(),
        };
        world.attach(ZEROES, Some(zeroes));
        world.quotas.renew(&setup.catalog.quotas, &registry);
        for (number, seed) in (0..).zip(units.iter()) {
            let Entering { lu, seed, fd } = Entering::new(LuId(number), seed.clone());
            world.enter_unit(lu, &seed, fd);
            world.resume_erasure(lu);
        }
        let mine = doors.iter().filter(|(to, _)| *to == core);
        let listeners = mine.map(|(_, fd)| Listener { fd: *fd, armed: None, leaves: None }).collect();
        let (now, room) = (world.driver.now(), world.driver.room());
        let max_connections = setup.limits.connections_in(room, doors.len());
        Reactor {
            world,
            conns: Conns::default(),
            limits: setup.limits.clone(),
            room,
            registry,
            listeners,
            max_connections,
            max_pending: setup.limits.pending_logins as usize,
            pending: VecDeque::new(),
            login_timeout: setup.limits.login_timeout.as_nanos() as u64,
            dirty: Vec::new(),
            closing: Vec::new(),
            unarmed: VecDeque::new(),
            unsent: VecDeque::new(),
            unclosed: Vec::new(),
            done: Vec::new(),
            intake: Share::new(),
            output: Share::new(),
            held: false,
            undelivered: false,
            next_tick: now + TICK_NS,
            talk: Talk::default(),
            refusals: Talk::default(),
            next_look: 0,
            draining: None,
            detours: Detours::default(),
        }
    }
}

/// Tells the reactors what happens to logical units.
#[derive(Clone, Debug)]
pub struct Messenger {
    addresses: Vec<Address>,
}

impl Messenger {
    /// Something has happened to a logical unit that no initiator has done. Waits while the owner's mailbox is full.
    pub fn tell(&self, lu: LuId, op: SharedOp) {
        let owner = owner_of(lu, self.addresses.len());
        self.addresses[usize::from(owner.0)].post_blocking(Letter::Notice { lu, op });
    }

    /// A connection from this very host to a disk of its own, which arrives at [`LOCAL_PORTAL`]: this end of it. The other
    /// belongs to a reactor, which waits for a login.
    ///
    /// # Errors
    /// The kernel's, when there is no pair of sockets.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        // Something that tells those from each other which are there at a time.
        let peer = SocketAddr::new(LOCAL_PORTAL.ip(), ours.as_raw_fd() as u16);
        let ends = Ends { local: LOCAL_PORTAL, peer };
        // A login is sent on to the reactor that has the least to do.
        self.addresses[0].post_blocking(Letter::Welcome { socket: theirs.into(), ends });
        Ok(ours)
    }
}

/// What the flight recorder of a reactor has, page by page; nothing, if it does not answer in time.
fn recording_of(address: &Address) -> Option<Recording> {
    let (to, first) = bounded(1);
    address.ask(Letter::Record(to), PATIENCE);
    let (mut recording, mut rest) = first.recv_timeout(PATIENCE).ok()?;
    while let Some(more) = rest {
        let (to, page) = bounded(1);
        address.ask(Letter::RecordMore(more, to), PATIENCE);
        let (passed, behind) = page.recv_timeout(PATIENCE).ok()?;
        recording.passed.extend(passed);
        rest = behind;
    }
    recording.settle();
    Some(recording)
}

impl Control {
    /// For whoever notices what happens to logical units.
    pub fn messenger(&self) -> Messenger {
        Messenger { addresses: self.addresses.clone() }
    }

    /// Stops listening, asks initiators to log out and waits until they have, or until `within` has passed.
    pub fn drain(&self, within: Duration) -> thread::Result<()> {
        let deadline = monotonic_ns() + within.as_nanos() as u64;
        for address in &self.addresses {
            address.post_blocking(Letter::Drain { deadline });
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().try_for_each(JoinHandle::join)
    }

    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// How many reactors there are.
    pub fn reactors(&self) -> usize {
        self.addresses.len()
    }

    /// Gives all reactors an order, and waits until all have done it; for ever, if there is no limit.
    fn order_all(&self, within: Option<Duration>, order: impl Fn(Done) -> Live) -> Result<(), Stuck> {
        let (told, done) = bounded::<()>(0);
        for address in &self.addresses {
            address.post_blocking(Letter::Live(Box::new(order(Done { _told: told.clone() }))));
        }
        drop(told);
        // Nothing is ever sent: it ends when the last one has let go.
        match within {
            None => drop(done.recv()),
            Some(within) if done.recv_timeout(within) == Err(RecvTimeoutError::Timeout) => return Err(Stuck),
            Some(_) => {}
        }
        Ok(())
    }

    /// Logical units come, which nobody sees yet. Their numbers are free.
    ///
    /// # Errors
    /// When a reactor is stuck.
    pub fn enter(&self, units: Vec<(LuId, UnitSeed)>) -> Result<(), Stuck> {
        let units: Arc<[Entering]> = units.into_iter().map(|(lu, seed)| Entering::new(lu, seed)).collect();
        self.order_all(Some(LIVE_PATIENCE), |_done| Live::Enter { units: units.clone(), _done })
    }

    /// Another catalogue holds, which is another in these respects. When this returns nobody is served by the old one any
    /// more, and what was under way where somebody may not be any more has ended or is fenced. Sessions of those get
    /// `grace` to log out.
    ///
    /// # Errors
    /// When a reactor is stuck.
    pub fn switch(
        &self,
        catalog: &Arc<Catalog>,
        moved: &Arc<Moved>,
        login_timeout: Duration,
        grace: Duration,
    ) -> Result<(), Stuck> {
        let targets = Arc::new(moved.found_in(catalog));
        self.order_all(Some(LIVE_PATIENCE), |done| {
            let (catalog, moved, targets) = (catalog.clone(), moved.clone(), targets.clone());
            Live::Switch(Switch { catalog, moved, targets, login_timeout, grace, done })
        })
    }

    /// Nobody sees these logical units any more: waits until nothing is left of them, as long as that takes, and until no
    /// reactor holds what they sit on. Then their numbers are free.
    pub fn retire(&self, units: &[LuId]) {
        let units: Arc<[LuId]> = units.into();
        // They do not fail but by a timeout.
        let _ = self.order_all(None, |done| Live::Retire { units: units.clone(), done });
        let _ = self.order_all(None, |_done| Live::Vacate { units: units.clone(), _done });
    }

    /// Listeners come and go. Those that go, by their descriptors, are closed when this returns.
    ///
    /// # Errors
    /// When a reactor is stuck.
    pub fn change_doors(&self, open: Vec<TcpListener>, close: &[RawFd]) -> Result<(), Stuck> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let fds: HashSet<RawFd> = open.iter().map(AsRawFd::as_raw_fd).collect();
        open.into_iter().for_each(|listener| doors.add(listener));
        let open: Arc<[_]> = doors.list().iter().filter(|(_, fd)| fds.contains(fd)).copied().collect();
        let (total, close): (_, Arc<[RawFd]>) = (doors.listeners.len() - close.len(), close.into());
        self.order_all(Some(LIVE_PATIENCE), |done| {
            Live::Doors(Doors { open: open.clone(), close: close.clone(), total, done })
        })?;
        doors.listeners.retain(|(_, l)| !close.contains(&l.as_raw_fd()));
        Ok(())
    }

    /// The sessions there are, of every reactor that answers in time.
    pub fn sessions(&self) -> Vec<SessionReport> {
        self.ask_for_sessions(None)
    }

    /// Those at these targets. Nobody is asked when there are none.
    pub fn sessions_at(&self, targets: HashSet<String>) -> Vec<SessionReport> {
        if targets.is_empty() { Vec::new() } else { self.ask_for_sessions(Some(Arc::new(targets))) }
    }

    fn ask_for_sessions(&self, at: Option<Arc<HashSet<String>>>) -> Vec<SessionReport> {
        let (to, answers) = bounded(self.addresses.len());
        for address in &self.addresses {
            let (at, to) = (at.clone(), to.clone());
            address.ask(Letter::Live(Box::new(Live::Sessions { at, to })), PATIENCE);
        }
        let all = self.addresses.iter().map_while(|_| answers.recv_timeout(PATIENCE).ok());
        all.flatten().collect()
    }

    /// The names of the initiators whose login was refused of late, the latest first.
    pub fn refused(&self) -> Vec<String> {
        self.registry.refused()
    }

    /// Tells sessions to go, or to negotiate anew.
    pub fn tell(&self, whom: Chosen, notice: Notice) -> Heard {
        let (whom, (heard, answers)) = (Arc::new(whom), bounded(self.addresses.len()));
        for address in &self.addresses {
            let order = Tell { whom: whom.clone(), notice, heard: heard.clone() };
            address.post_blocking(Letter::Live(Box::new(Live::Tell(order))));
        }
        let heard = self.addresses.iter().map_while(|_| answers.recv_timeout(PATIENCE).ok());
        heard.fold(Heard::default(), Heard::and)
    }

    /// Has the owner of a logical unit make a change that no initiator has asked for, and waits until it holds
    /// everywhere.
    ///
    /// # Errors
    /// When it is refused, or cannot be saved; BUSY when there is no such logical unit, or its owner does not answer.
    pub fn change_unit(&self, lu: LuId, op: SharedOp) -> Result<(), Failure> {
        let (tell, told) = bounded(1);
        let owner = owner_of(lu, self.addresses.len());
        let letter = Letter::Order { lu, op: Box::new(op), to: tell };
        self.addresses[usize::from(owner.0)].post_blocking(letter);
        told.recv_timeout(ORDER_PATIENCE).unwrap_or(Err(Failure::Status(status::BUSY)))
    }

    /// Changes the states of target port groups of a logical unit, as an administrator does; to initiators it happens
    /// by itself. When this returns `Ok`, no reactor takes a write through a port whose group is no longer active, and
    /// what was under way has ended or is fenced.
    ///
    /// # Errors
    /// When there is no such group, or it may not be in that state, or not by such a change; when the new states
    /// cannot be saved; BUSY when there is no such logical unit, or its owner does not answer.
    pub fn set_access(&self, lu: LuId, to: Vec<(u16, AccessState)>) -> Result<(), Failure> {
        self.change_unit(lu, SharedOp::Access(AccessChange { to, by: ChangedBy::Administrator }))
    }

    /// The logical units of which some target port group is not in the state that is configured, and the states of their
    /// groups. What was answered holds on every reactor, so the first one knows it.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn accesses(&self) -> Result<Vec<(LuId, Accesses)>, Late> {
        let (to, answer) = bounded(1);
        self.addresses[0].ask(Letter::Live(Box::new(Live::Accesses(to))), PATIENCE);
        answer.recv_timeout(PATIENCE).map_err(|_| Late(CoreId(0)))
    }

    /// The counters of every reactor that answers in time.
    pub fn report(&self) -> Vec<Snapshot> {
        let (to, answers) = bounded(self.addresses.len());
        for address in &self.addresses {
            address.ask(Letter::Report(to.clone()), PATIENCE);
        }
        self.addresses.iter().map_while(|_| answers.recv_timeout(PATIENCE).ok()).collect()
    }

    /// What the flight recorders of all reactors have that answer in time.
    pub fn record(&self) -> Vec<Recording> {
        self.addresses.iter().filter_map(recording_of).collect()
    }

    /// Whether every reactor still turns: what a watchdog wants to know.
    pub fn is_alive(&self) -> bool {
        self.report().len() == self.addresses.len()
    }
}

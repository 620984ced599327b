//! Starting reactors on threads of their own, and talking to them from ordinary threads.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use slab::Slab;

use super::beside::Beside;
use super::conn::Conns;
use super::desk::fresh_scratch;
use super::fair::Shortage;
use super::gates::Gates;
use super::login::Listener;
use super::mail::{Address, Letter, Mail, mailboxes};
use super::registry::Registry;
use super::stats::{Counters, Snapshot};
use super::unit::{Unit, UnitSeed, owner_of};
use super::world::{Saver, World};
use super::{Reactor, TICK_NS};
use crate::ids::{CoreId, LuId};
use crate::mem::{Memory, Needs, Pages, Pool, PoolConfig, Region, RegionId};
use crate::ring::{Bell, Driver, KernelLevel, Ring, RingConfig, monotonic_ns};
use crate::scsi::{self, AccessChange, AccessState, ChangedBy, Failure, Lu, SharedOp, Tokens, status};
use crate::store::{BlockingPool, Medium, Reach, Store, zero_region};
use crate::target::Catalog;

/// The region of zeroes that all reactors share; ramdisks follow.
const ZEROES: RegionId = RegionId(1);

/// Entries of the in-flight table that a connection may need at once: a receive and a send.
const ENTRIES_EACH: usize = 2;

/// How long a change of a logical unit may take: longer than what is under way is waited for, and its state saved.
const ORDER_PATIENCE: Duration = Duration::from_secs(30);

/// How long a reactor may take to answer the control thread before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Limits of one reactor.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Buffer memory, bytes.
    pub memory: u64,
    /// Connections at a time.
    pub connections: u32,
    /// Connections whose login is not complete; beyond it the oldest is closed.
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
    /// The logical units, by [`LuId`].
    pub units: Vec<UnitSeed>,
    /// Bound and listening.
    pub listeners: Vec<TcpListener>,
    /// Limits of each reactor.
    pub limits: Limits,
    /// Saves what must outlive a power loss.
    pub saver: Saver,
    /// Fills with random bytes that nobody can foretell.
    pub entropy: fn(&mut [u8]),
}

/// The handle of the control thread.
#[derive(Debug)]
pub struct Control {
    addresses: Vec<Address>,
    threads: Vec<JoinHandle<()>>,
}

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
    /// | listeners | 1 each to accept; 2 for the connection that each may let in together with the last one |
    /// | disks | [`Limits::operations`] |
    ///
    /// A connection that has ended needs none of its own any more, which leaves room for its close. Disks wait for
    /// disks: they never take what receives and sends need.
    fn entries(&self, listeners: usize) -> usize {
        ENTRIES_EACH * self.connections as usize + self.entries_beside(listeners)
    }

    fn entries_beside(&self, listeners: usize) -> usize {
        (1 + ENTRIES_EACH) * listeners + self.operations as usize
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
    for unit in &mut setup.units {
        unit.lu.counters = scsi::Counters::new(setup.cores.len());
    }
    let setup = Arc::new(setup);
    let (ready, started) = mpsc::channel();
    let mut threads = Vec::new();
    for (n, inbox) in inboxes.into_iter().enumerate() {
        let seed = Seed {
            setup: setup.clone(),
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
    Ok(Control { addresses, threads })
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

struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
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
            in_flight: (limits.entries(self.setup.listeners.len()) as u32).min(RingConfig::MOST_IN_FLIGHT),
            poll_ns: limits.poll_ns,
            level: limits.level,
            ..RingConfig::default()
        };
        let bell = self.addresses[usize::from(self.core.0)].bell().clone();
        let driver = Ring::new(&ring, &memory, bell)?;
        tracing::debug!(caps = %driver.caps(), "{}", self.core);
        let fit = limits.connections_in(driver.room(), self.setup.listeners.len());
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
        let Self { setup, core, inbox, addresses, registry, tokens, blocking, zeroes } = self;
        let reactors = setup.cores.len();
        let mut world = World {
            driver,
            memory,
            pool,
            mail: Mail::new(core, inbox, addresses),
            units: Vec::new(),
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
            sessions: 0,
            shortage: Shortage::default(),
            scratch: fresh_scratch(),
            beside: Beside::default(),
            #[cfg(test)]
            heard: Vec::new(),
            counters: Counters::default(),
        };
        world.attach(ZEROES, zeroes);
        for seed in &setup.units {
            world.add_unit(seed);
        }
        // Logins are rare: one reactor accepts for each portal, and placement evens it out.
        let mine = setup.listeners.iter().enumerate().filter(|(n, _)| n % reactors == usize::from(core.0));
        let listeners = mine.map(|(_, l)| Listener { fd: l.as_raw_fd(), armed: None }).collect();
        let now = world.driver.now();
        let max_connections = setup.limits.connections_in(world.driver.room(), setup.listeners.len());
        Reactor {
            world,
            conns: Conns::default(),
            catalog: setup.catalog.clone(),
            registry,
            listeners,
            max_connections,
            _setup: setup.clone(),
            max_pending: setup.limits.pending_logins as usize,
            pending: VecDeque::new(),
            login_timeout: setup.limits.login_timeout.as_nanos() as u64,
            dirty: Vec::new(),
            closing: Vec::new(),
            unarmed: Vec::new(),
            unsent: Vec::new(),
            unclosed: Vec::new(),
            done: Vec::new(),
            held: false,
            undelivered: false,
            next_tick: now + TICK_NS,
            draining: None,
        }
    }
}

impl<D: Driver> World<D> {
    fn attach(&mut self, id: RegionId, region: Arc<Region>) {
        self.memory.attach(id, Some(region.clone()));
        self.driver.attach(id, Some(region));
    }

    /// Enters a logical unit; they are numbered in the order in which they come.
    fn add_unit(&mut self, seed: &UnitSeed) {
        let reach = match &seed.backing.medium {
            Medium::File(medium) => Reach::File(self.driver.open_file(medium.file.as_raw_fd())),
            Medium::Ram(region) => {
                let id = RegionId(ZEROES.0 + 1 + self.units.len() as u16);
                self.attach(id, region.clone());
                Reach::Region(id)
            }
            Medium::Null | Medium::Pass(_) => Reach::Nothing,
        };
        let discards = self.driver.caps().discard;
        let store = Store::new(seed.backing.clone(), reach, ZEROES, discards);
        let counters = seed.lu.counters.of_reactor(usize::from(self.mail.core.0));
        self.units.push(Unit::new(Lu { counters, ..seed.lu.clone() }, store));
        self.resume_erasure(LuId(self.units.len() as u32 - 1));
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
}

impl Control {
    /// For whoever notices what happens to logical units.
    pub fn messenger(&self) -> Messenger {
        Messenger { addresses: self.addresses.clone() }
    }

    /// Stops listening, asks initiators to log out and waits until they have, or until `within` has passed.
    pub fn drain(self, within: Duration) -> thread::Result<()> {
        let deadline = monotonic_ns() + within.as_nanos() as u64;
        for address in &self.addresses {
            address.post_blocking(Letter::Drain { deadline });
        }
        self.threads.into_iter().try_for_each(JoinHandle::join)
    }

    /// Changes the states of target port groups of a logical unit, as an administrator does; to initiators it happens
    /// by itself. When this returns `Ok`, no reactor takes a write through a port whose group is no longer active, and
    /// what was under way has ended or is fenced.
    ///
    /// # Errors
    /// When there is no such group, or it may not be in that state, or not by such a change; when the new states
    /// cannot be saved; BUSY when there is no such logical unit, or its owner does not answer.
    pub fn set_access(&self, lu: LuId, to: Vec<(u16, AccessState)>) -> Result<(), Failure> {
        let op = Box::new(SharedOp::Access(AccessChange { to, by: ChangedBy::Administrator }));
        let (tell, told) = bounded(1);
        let owner = owner_of(lu, self.addresses.len());
        self.addresses[usize::from(owner.0)].post_blocking(Letter::Order { lu, op, to: tell });
        told.recv_timeout(ORDER_PATIENCE).unwrap_or(Err(Failure::Status(status::BUSY)))
    }

    /// The counters of every reactor that answers in time.
    pub fn report(&self) -> Vec<Snapshot> {
        let (to, answers) = bounded(self.addresses.len());
        for address in &self.addresses {
            address.post_blocking(Letter::Report(to.clone()));
        }
        self.addresses.iter().map_while(|_| answers.recv_timeout(PATIENCE).ok()).collect()
    }

    /// Whether every reactor still turns: what a watchdog wants to know.
    pub fn is_alive(&self) -> bool {
        self.report().len() == self.addresses.len()
    }
}

//! Whole reactors on one simulated world, turned in random order.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::super::live::{Done, Entering, Live};
use super::super::login::Listener;
use super::super::mail::Letter;
use super::super::registry::Registry;
use super::super::start::{Limits, Seed, Setup};
use super::super::unit::{Unit, UnitSeed};
use super::super::world::World;
use super::super::{Reactor, Saver};
use super::client::{Client, Manner};
use super::passing::Double;
use super::post::Post;
use crate::ids::{CoreId, LuId};
use crate::mem::{Memory, Pages, Pool, PoolConfig, Region, RegionId};
use crate::ring::sim::{DiskConfig, Faults, Sim, World as Below};
use crate::ring::{Driver, Way};
use crate::scsi::{
    Counters, DEFAULT_GROUP, DeviceType, Group, Groups, Identity, Lu, LuFacts, LuState, Naa, Persistent,
    Supported, Thin,
};
use crate::store::{
    self, Backing, BlockingPool, DiscardMethod, FileMedium, Jobs, Medium, PassMedium, Reach, Store,
    StoreConfig, StoreKind, UNBOUNDED, zero_region,
};
use crate::target::{Acl, Catalog, Lun, Target, Tpg, TpgParams};

/// The name of the one target.
pub(super) const TARGET: &str = "iqn.2026-01.org.example:target";

/// What a saver was given.
type Saved = Arc<Mutex<Vec<(LuId, Persistent)>>>;

/// What every reactor's own region has, bytes. Regions are never unmapped, so tests use them again.
const REGION: u64 = 8 << 20;

thread_local! {
    static MEMORIES: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
    /// Longer than any simulated disk.
    static ENDLESS: std::fs::File = {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 40).expect("a sparse one");
        file
    };
    static ZEROES: RefCell<Option<Arc<Region>>> = const { RefCell::new(None) };
}

/// What a rig is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) reactors: usize,
    pub(super) faults: Faults,
    pub(super) mail: Range<u64>,
    pub(super) pool: PoolConfig,
    /// Blocks of each disk.
    pub(super) disks: Vec<u64>,
    /// Entries of the in-flight table. Half of them are for disks.
    pub(super) operations: usize,
    pub(super) params: TpgParams,
    pub(super) write_cache: bool,
    /// There is a second portal, group and port, which is in a target port group of its own: number 1.
    pub(super) two_ports: bool,
    /// The state of logical units can be saved.
    pub(super) saves: bool,
    /// The state that each logical unit starts with.
    pub(super) state: LuState,
    /// All disks are this device, which is passed through.
    pub(super) passed: Option<Double>,
    /// All disks are ramdisks.
    pub(super) memory: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            reactors: 3,
            faults: Faults::rough(),
            mail: 0..2_000_000,
            pool: PoolConfig { data: [64, 32, 16, 8], reserve: [8, 4, 2, 1] },
            disks: vec![64, 64],
            operations: 128,
            params: TpgParams { command_window: 32, ..TpgParams::default() },
            write_cache: true,
            two_ports: false,
            saves: true,
            state: LuState::default(),
            passed: None,
            memory: false,
        }
    }
}

/// See the module page.
pub(super) struct Rig {
    pub(super) below: Below,
    pub(super) reactors: Vec<Option<Reactor<Sim>>>,
    pub(super) post: Post,
    pub(super) address: SocketAddr,
    /// Of the second portal.
    pub(super) second: SocketAddr,
    pub(super) disks: Vec<RawFd>,
    /// What the saver was given, by logical unit.
    pub(super) saved: Saved,
    /// The state directory hangs.
    pub(super) saving_hangs: bool,
    /// Reactors may end with something in flight: a disk hangs.
    pub(super) abandons: bool,
    jobs: Jobs,
    turns: u64,
    /// A time at which the test itself wants to go on.
    end: Option<u64>,
}

fn memory() -> Memory {
    MEMORIES.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
        Memory::new(Region::new(REGION, Pages::Transparent).expect("memory for a simulated reactor"))
    })
}

fn zeroes() -> Arc<Region> {
    ZEROES.with_borrow_mut(|z| z.get_or_insert_with(|| zero_region().expect("memory")).clone())
}

/// Both can be in any state, by both ways.
fn groups(two_ports: bool) -> Groups {
    let group = |id, name| {
        let supported = Supported::all();
        Group { implicit: true, explicit: true, supported, ports: vec![id + 1], ..Group::new(id, name) }
    };
    let second = two_ports.then(|| group(1, "second"));
    Groups::new(group(0, DEFAULT_GROUP), second.into_iter().collect(), 0)
}

fn facts(number: usize, blocks: u64, plan: &Plan) -> LuFacts {
    let thin = Thin {
        max_unmap_blocks: 1 << 16,
        max_unmap_descriptors: 16,
        granularity_blocks: 1,
        alignment_blocks: 0,
        lbprz: true,
        max_write_same_blocks: 1 << 16,
        anchors: false,
        threshold_exponent: 0,
        threshold: 0,
    };
    let identity = Identity {
        vendor: "RINGTGT".into(),
        product: "disk".into(),
        revision: "1".into(),
        serial: format!("{number:016}"),
        naa: Naa::Short([0x30, 0, 0, 0, 0, 0, 0, number as u8]),
        uuid: [number as u8; 16],
        t10: None,
    };
    LuFacts {
        name: format!("disk{number}"),
        device: DeviceType::Disk,
        block_size: 512,
        blocks,
        physical_exponent: 0,
        read_only: false,
        write_cache: plan.write_cache,
        thin: Some(thin),
        identity,
        optimal_transfer_blocks: 512,
        max_transfer_blocks: 1 << 16,
        rotational: false,
        ranges: Vec::new(),
        removable: false,
        saves: true,
        resident: false,
        groups: groups(plan.two_ports),
        atomic: None,
        passed: plan.passed.as_ref().map(Double::device),
    }
}

/// A ramdisk.
fn memory_of(blocks: u64) -> Arc<Backing> {
    let config = StoreConfig { size: Some(blocks * 512), ..StoreConfig::new(StoreKind::Ramdisk, "memory") };
    Arc::new(store::open(&config, Duration::ZERO).expect("memory"))
}

fn backing(facts: &LuFacts, plan: &Plan) -> Arc<Backing> {
    if plan.memory {
        return memory_of(facts.blocks);
    }
    // The simulated disk is reached by its own descriptor; of this file only the length is looked at.
    let file = ENDLESS.with(|file| file.try_clone().expect("a descriptor"));
    let medium = FileMedium {
        file,
        direct: true,
        is_block: false,
        dsync_always: false,
        discard: DiscardMethod::Punch,
        way: Way::Direct,
        generic: None,
        atomic: None,
        shares_nothing: false.into(),
    };
    Arc::new(Backing {
        name: facts.name.clone(),
        kind: StoreKind::Fileio,
        device: facts.device,
        path: None,
        blocks: facts.blocks,
        block_size: facts.block_size,
        bound: UNBOUNDED.into(),
        allocated: false,
        physical_exponent: 0,
        read_only: false,
        write_cache: facts.write_cache,
        thin: facts.thin,
        rotational: false,
        ranges: Vec::new(),
        removable: false,
        made: false,
        known: false,
        medium: match &plan.passed {
            Some(double) => {
                let passage = Box::new(double.clone());
                Medium::Pass(PassMedium { passage, threads: None, device: double.device() })
            }
            None => Medium::File(medium),
        },
        warnings: Vec::new(),
        seat: None,
    })
}

fn catalog(addresses: [SocketAddr; 2], plan: &Plan) -> Arc<Catalog> {
    let lun = |n, group| Lun { lun: n as u16, lu: LuId(n as u32), read_only: false, group };
    let tpg = |group: u16| Tpg {
        tag: group + 1,
        relative_port: group + 1,
        portals: vec![addresses[usize::from(group)]],
        params: plan.params.clone(),
        luns: (0..plan.disks.len()).map(|n| lun(n, group)).collect(),
        open: true,
        ..Tpg::default()
    };
    let target = Target {
        iqn: TARGET.into(),
        alias: None,
        redirect: None,
        tpgs: (0..1 + u16::from(plan.two_ports)).map(tpg).collect(),
    };
    Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() })
}

fn setup(catalog: Arc<Catalog>, plan: &Plan, saved: &Saved) -> Arc<Setup> {
    let saved = saved.clone();
    let saves = plan.saves;
    let saver: Saver = Arc::new(move |lu, state: &LuState| {
        if !saves {
            return Err(std::io::Error::from_raw_os_error(libc::EIO));
        }
        saved.lock().unwrap().push((lu, state.persistent()));
        Ok(())
    });
    Arc::new(Setup {
        cores: vec![None; plan.reactors],
        catalog,
        units: Vec::new(),
        listeners: Vec::new(),
        limits: Limits {
            memory: 0,
            connections: 1000,
            local_connections: 0,
            pending_logins: 100,
            operations: (plan.operations as u32 / 2).max(1),
            poll_ns: 0,
            level: None,
            login_timeout: Duration::from_secs(15),
        },
        saver,
        recorder: crate::reactor::RecorderSetup { pdus: 64, sink: None },
        entropy: |bytes| bytes.fill(7),
    })
}

impl Rig {
    pub(super) fn new(seed: u64, plan: &Plan) -> Self {
        let below = Below::new(seed, plan.faults.clone());
        let address = SocketAddr::from(([127, 0, 0, 1], 3260));
        let second = SocketAddr::from(([127, 0, 0, 1], 3261));
        let mut listeners = vec![below.listen(address)];
        listeners.extend(plan.two_ports.then(|| below.listen(second)));
        let disk =
            |&blocks: &u64| below.disk(DiskConfig { len: blocks * 512, write_cache: plan.write_cache });
        let disks: Vec<RawFd> = plan.disks.iter().map(disk).collect();
        let units: Vec<(Lu, Arc<Backing>)> = (plan.disks.iter().enumerate())
            .map(|(n, &blocks)| {
                let facts = facts(n, blocks, plan);
                let backing = backing(&facts, plan);
                let counters = Counters::new(plan.reactors);
                (Lu { facts: Arc::new(facts), state: Arc::new(plan.state.clone()), counters }, backing)
            })
            .collect();
        let (post, doors) = Post::new(plan.reactors, plan.mail.clone());
        let (blocking, jobs) = BlockingPool::by_hand();
        let saved = Saved::default();
        let setup = setup(catalog([address, second], plan), plan, &saved);
        let registry = Arc::new(Registry::new(plan.reactors));
        let tokens = Arc::default();
        let mut reactors = Vec::new();
        for (n, door) in doors.into_iter().enumerate() {
            let driver = Sim::new(&below, plan.operations, door.bell);
            let seed = Seed {
                setup: setup.clone(),
                core: CoreId(n as u16),
                units: Arc::default(),
                doors: Arc::default(),
                inbox: door.inbox,
                addresses: door.addresses,
                registry: registry.clone(),
                tokens: Arc::clone(&tokens),
                blocking: blocking.clone(),
                zeroes: zeroes(),
            };
            let mut reactor = seed.assemble(driver, memory(), pool(&plan.pool));
            for (number, ((lu, backing), &fd)) in (0..).zip(units.iter().zip(&disks)) {
                add_unit(&mut reactor.world, LuId(number), lu, backing, fd);
            }
            if n == 0 {
                reactor.listeners.extend(listeners.iter().map(|&fd| Listener {
                    fd,
                    armed: None,
                    leaves: None,
                }));
                reactor.max_connections = setup.limits.connections_in(plan.operations, listeners.len());
            }
            reactor.arm_listeners();
            reactors.push(Some(reactor));
        }
        Self {
            below,
            reactors,
            post,
            address,
            second,
            disks,
            saved,
            saving_hangs: false,
            abandons: false,
            jobs,
            turns: 0,
            end: None,
        }
    }

    pub(super) fn client(&self, name: &str, number: u8, manner: Manner) -> Client {
        Client::new(&self.below, name, number, manner)
    }

    pub(super) fn chance(&self, below: u64) -> u64 {
        self.below.chance(below)
    }

    pub(super) fn alive(&mut self) -> impl Iterator<Item = &mut Reactor<Sim>> {
        self.reactors.iter_mut().flatten()
    }

    /// One turn of everything; then, when nothing moved, time passes.
    pub(super) fn round(&mut self, clients: &mut [Client]) {
        self.turns += 1;
        let mut moved = self.post.work(&self.below);
        if !self.saving_hangs && self.below.chance(4) == 0 {
            moved |= self.jobs.run_one();
        }
        let reactors = self.reactors.len();
        let first = self.below.chance(reactors as u64) as usize;
        for n in 0..reactors {
            let place = &mut self.reactors[(first + n) % reactors];
            match place {
                Some(reactor) if !reactor.is_over() => {
                    let driver =
                        |r: &Reactor<Sim>| (r.world.driver.stats().completions, r.world.driver.in_flight());
                    let before = driver(reactor);
                    reactor.turn();
                    moved |= before != driver(reactor);
                }
                _ if self.abandons => place.take().into_iter().for_each(recycle),
                _ => place.take().into_iter().for_each(stop),
            }
        }
        for client in clients.iter_mut() {
            moved |= client.pump();
        }
        if !moved {
            self.below.step_until(self.post.next().into_iter().chain(self.end).min());
        }
    }

    /// Rounds until `done`, for at most that long.
    ///
    /// # Panics
    /// When it takes longer: something hangs.
    pub(super) fn until(
        &mut self,
        clients: &mut [Client],
        within: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self, &mut [Client]) -> bool,
    ) {
        let deadline = self.below.now() + within.as_nanos() as u64;
        let most = self.turns + 400_000;
        while !done(self, clients) {
            self.round(clients);
            assert!(self.below.now() < deadline, "{what}: not after {within:?}\n{}", self.state());
            assert!(self.turns < most, "{what}: turning for ever\n{}", self.state());
        }
    }

    /// Rounds for that long.
    pub(super) fn pass(&mut self, clients: &mut [Client], time: Duration) {
        let end = self.below.now() + time.as_nanos() as u64;
        self.end = Some(end);
        while self.below.now() < end {
            self.round(clients);
        }
        self.end = None;
    }

    /// Everybody goes; then nothing may be left anywhere.
    pub(super) fn finish(&mut self, clients: &mut [Client]) {
        clients.iter_mut().for_each(Client::hang_up);
        self.until(clients, Duration::from_secs(60), "everything comes to rest", |rig, _| rig.is_at_rest());
    }

    fn is_at_rest(&mut self) -> bool {
        self.post.next().is_none()
            && self.alive().all(|r| {
                let listening = r.listeners.iter().filter(|l| l.armed.is_some()).count();
                let w = &r.world;
                let units_rest = w.units.iter().all(Unit::is_at_rest);
                r.conns.len() == 0
                    && w.beside.used() == 0
                    && w.jobs.is_empty()
                    && w.disks == 0
                    && w.errands.is_empty()
                    && w.reports.is_empty()
                    && w.pool.taken() == 0
                    && w.gates.is_empty()
                    && w.drains.is_empty()
                    && w.enclosures.is_empty()
                    && w.erasing.is_empty()
                    && units_rest
                    && w.retiring.is_empty()
                    && w.driver.in_flight() == listening
            })
    }

    /// How things stand, for a failing test.
    pub(super) fn state(&self) -> String {
        let each = self.reactors.iter().flatten().map(|r| {
            let w = &r.world;
            format!(
                "{}: conns {:#?}\n jobs {:?}\n gates {:?}\n hungry {:?} taken {} in flight {} of {:?}\n units {:?}",
                w.mail.core,
                r.conns,
                w.jobs,
                w.gates,
                w.hungry,
                w.pool.taken(),
                w.driver.in_flight(),
                w.driver,
                w.units.iter().map(|u| (&u.fences, &u.parked, &u.asks)).collect::<Vec<_>>(),
            )
        });
        each.collect::<Vec<_>>().join("\n")
    }

    /// Has a disk made of so many blocks, which no reactor knows yet.
    pub(super) fn make_disk(&mut self, number: usize, blocks: u64, plan: &Plan) -> Entering {
        let fd = self.below.disk(DiskConfig { len: blocks * 512, write_cache: plan.write_cache });
        let facts = facts(number, blocks, plan);
        let backing = backing(&facts, plan);
        let counters = Counters::new(plan.reactors);
        let lu = Lu { facts: Arc::new(facts), state: Arc::default(), counters };
        self.disks.push(fd);
        Entering { lu: LuId(number as u32), seed: UnitSeed { lu, backing }, fd: Some(fd) }
    }

    /// The same of a ramdisk.
    pub(super) fn make_memory(&self, number: usize, blocks: u64, plan: &Plan) -> Entering {
        let facts = facts(number, blocks, plan);
        let lu = Lu { facts: Arc::new(facts), state: Arc::default(), counters: Counters::new(plan.reactors) };
        Entering { lu: LuId(number as u32), seed: UnitSeed { lu, backing: memory_of(blocks) }, fd: None }
    }

    /// The one target with these LUNs, each with its logical unit; `open`: anybody may log in.
    pub(super) fn shows(&self, luns: &[(u16, u32)], open: bool, plan: &Plan) -> Arc<Catalog> {
        let lun = |(lun, lu): &(u16, u32)| Lun { lun: *lun, lu: LuId(*lu), read_only: false, group: 0 };
        let tpg = Tpg {
            tag: 1,
            relative_port: 1,
            portals: vec![self.address],
            params: plan.params.clone(),
            luns: luns.iter().map(lun).collect(),
            open,
            ..Tpg::default()
        };
        let target = Target { iqn: TARGET.into(), alias: None, redirect: None, tpgs: vec![tpg] };
        Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() })
    }

    /// The one target, to which these alone may log in.
    pub(super) fn admits(&self, initiators: &[&str], plan: &Plan) -> Arc<Catalog> {
        let mut target = (*self.shows(&[(0, 0)], false, plan).targets[0]).clone();
        let group = &mut target.tpgs[0];
        let acl = |name: &&str| Acl { initiator: (*name).into(), luns: group.luns.clone(), ..Acl::default() };
        group.acls = initiators.iter().map(acl).collect();
        Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() })
    }

    /// The one target, where anybody may log in, and that initiator has these LUNs.
    pub(super) fn gives(&self, initiator: &str, luns: &[Lun], plan: &Plan) -> Arc<Catalog> {
        let mut target = (*self.shows(&[(0, 0)], true, plan).targets[0]).clone();
        let acl = Acl { initiator: initiator.into(), luns: luns.into(), ..Acl::default() };
        target.tpgs[0].acls.push(acl);
        Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() })
    }

    /// The control thread gives all reactors an order; what ends when all have done it.
    pub(super) fn order(&self, order: impl Fn(Done) -> Live) -> Receiver<()> {
        let (told, done) = bounded(0);
        for to in 0..self.reactors.len() {
            self.post.hand_in(to, Letter::Live(Box::new(order(Done { _told: told.clone() }))));
        }
        done
    }

    /// The machine loses its power, with everything that runs on it.
    pub(super) fn power_cut(&mut self) {
        for reactor in self.reactors.drain(..).flatten() {
            recycle(reactor);
        }
        for &disk in &self.disks {
            self.below.power_cut(disk);
        }
    }

    /// The control thread asks everybody to stop.
    pub(super) fn drain(&self, within: Duration) {
        let deadline = self.below.now() + within.as_nanos() as u64;
        for to in 0..self.reactors.len() {
            self.post.hand_in(to, Letter::Drain { deadline });
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.reactors.drain(..).flatten().for_each(recycle);
        }
    }
}

fn pool(config: &PoolConfig) -> Pool {
    thread_local! {
        /// Only its length matters here.
        static MEASURE: Region = Region::new(REGION, Pages::Transparent).expect("memory");
    }
    MEASURE.with(|region| Pool::new(config, region))
}

/// A reactor's thread ends.
fn stop(reactor: Reactor<Sim>) {
    let left = (reactor.conns.len(), reactor.world.pool.taken(), reactor.world.jobs.len());
    assert_eq!(left, (0, 0, 0), "connections, slots and disk requests at the end");
    recycle(reactor);
}

fn recycle(reactor: Reactor<Sim>) {
    let World { memory, driver, .. } = reactor.world;
    drop(driver);
    MEMORIES.with_borrow_mut(|m| m.push(memory));
}

fn add_unit(world: &mut World<Sim>, number: LuId, lu: &Lu, backing: &Arc<Backing>, fd: RawFd) {
    let reach = match &backing.medium {
        Medium::File(medium) => Reach::File(world.driver.open_file(fd, medium.way)),
        Medium::Ram(region) => {
            let id = RegionId(2 + number.0 as u16);
            world.attach(id, Some(region.clone()));
            Reach::Region(id)
        }
        _ => Reach::Nothing,
    };
    let store = Store::new(backing.clone(), reach, RegionId(1), true);
    let counters = lu.counters.of_reactor(usize::from(world.mail.core.0));
    world.put_unit(number, Unit::new(Lu { counters, ..lu.clone() }, store));
    world.resume_erasure(number);
}

//! What is served changes while it is served.
//!
//! ```text
//!   control thread                         every reactor
//!     Enter    ─ new logical units ──────► they are there, and nobody sees them yet
//!     Switch   ─ the new catalogue ──────► logins and sessions go by it; tasks on what is not to be seen any more end;
//!                                          what was under way on new logical units goes on
//!     Doors    ─ listeners come and go ──► armed, or cancelled and waited for
//!     Retire   ─ units nobody sees ──────► what is left of their work ends; then
//!     Vacate                             ► their files are let go of, and their numbers are free
//! ```
//!
//! Each step is done when all reactors have said so, and the next begins after that. So a logical unit is on every
//! reactor before anybody can send a command to it, and its number means nothing else before the last trace of it has
//! gone everywhere: requests, ghosts, letters that are answered, copies and tokens. What a step costs depends on what it
//! changes: sessions, targets and units that it does not name are not looked at, however many there are.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::conn::{Conn, Phase};
use super::desk::desk;
use super::detour::Logins;
use super::disk::Client;
use super::gates::Then;
use super::login::Listener;
use super::start::ZEROES;
use super::unit::{Unit, UnitSeed};
use super::world::World;
use super::{Reactor, Why};
use crate::ids::{ConnId, CoreId, LuId};
use crate::mem::{Region, RegionId};
use crate::ring::Driver;
use crate::scsi::{Accesses, Counters, Groups, Identity, ItNexus, Lu, LuFacts, Naa, SharedOp};
use crate::session::keys::Negotiated;
use crate::session::tmf::Ending;
use crate::session::{Revision, Session};
use crate::store::{self, Backing, Medium, Reach, Store, StoreConfig, StoreKind};
use crate::target::{Catalog, ChapAlgorithm, Quota, Redirect, Target, portal_covers};

/// How often a reactor looks whether nothing is left of logical units that go, nanoseconds.
const LOOK_NS: u64 = 2_000_000;

/// Something is done when this is dropped, wherever that happens.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// Nothing is ever sent: who waits sees that the last one has gone.
    pub(super) _told: Sender<()>,
}

/// An order of the control thread.
#[derive(Debug)]
pub(super) enum Live {
    /// These logical units are there now.
    Enter { units: Arc<[Entering]>, _done: Done },
    /// This is exported now.
    Switch(Switch),
    /// Nobody sees these logical units any more: end what is left of them.
    Retire { units: Arc<[LuId]>, done: Done },
    /// Nothing is left of these logical units anywhere.
    Vacate { units: Arc<[LuId]>, _done: Done },
    /// Listeners come and go.
    Doors(Doors),
    /// Say which sessions there are, at these targets, or all.
    Sessions { at: Option<Arc<HashSet<String>>>, to: Sender<Vec<SessionReport>> },
    /// Sessions are to end.
    Tell(Tell),
    /// Say which target port groups are not in the states that are configured.
    Accesses(Sender<Vec<(LuId, Accesses)>>),
}

/// A logical unit that comes.
#[derive(Debug)]
pub(super) struct Entering {
    pub(super) lu: LuId,
    pub(super) seed: UnitSeed,
    /// The descriptor of its medium, if that is a file.
    pub(super) fd: Option<RawFd>,
}

impl Entering {
    pub(super) fn new(lu: LuId, seed: UnitSeed) -> Self {
        let fd = match &seed.backing.medium {
            Medium::File(medium) => Some(medium.file.as_raw_fd()),
            Medium::Ram(_) | Medium::Null | Medium::Pass(_) => None,
        };
        Self { lu, seed, fd }
    }
}

/// Another catalogue.
#[derive(Debug, Clone)]
pub(super) struct Switch {
    pub(super) catalog: Arc<Catalog>,
    pub(super) moved: Arc<Moved>,
    /// What has become of the targets that are not as they were.
    pub(super) targets: Arc<Targets>,
    /// How long a login may take from now on.
    pub(super) login_timeout: Duration,
    /// How long those who have no business there any more get to log out.
    pub(super) grace: Duration,
    pub(super) done: Done,
}

/// Targets by name; nothing: there is none any more.
pub(super) type Targets = HashMap<String, Option<Arc<Target>>>;

impl Moved {
    /// What has become of the targets, so that nobody has to look for them among all.
    pub(super) fn found_in(&self, catalog: &Catalog) -> Targets {
        let mut found: Targets = self.targets.iter().map(|name| (name.clone(), None)).collect();
        for target in &catalog.targets {
            if let Some(place) = found.get_mut(&target.iqn) {
                *place = Some(target.clone());
            }
        }
        found
    }
}

/// What of a catalogue is not as it was. Whoever does not see it has nothing to do with the change.
#[derive(Debug, Clone, Default)]
pub struct Moved {
    /// The targets that are others now, or are gone.
    pub targets: HashSet<String>,
    /// The logical units that have other limits now, or none any more.
    pub quotas: HashMap<LuId, Quota>,
    /// The targets that are as they were, and show some of these logical units.
    pub limited: HashSet<String>,
}

/// Listeners that come and go.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    /// With the reactors that are to have them.
    pub(super) open: Arc<[(CoreId, RawFd)]>,
    pub(super) close: Arc<[RawFd]>,
    /// How many there are altogether then.
    pub(super) total: usize,
    pub(super) done: Done,
}

/// What initiators are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Nothing more: their sessions are dropped at once.
    Gone,
    /// To log out, or be dropped after that time.
    LogOut(Duration),
    /// The same, but for those who are there already, to log in there; so is whoever wants to log in until that time has
    /// passed. They are chosen by target or by portal. No time at all: nobody is told, and logins are taken here again.
    Move(Duration, SocketAddr),
    /// To negotiate anew within that time.
    Negotiate(Duration),
}

impl Notice {
    /// Whether those who have come in there are where it wants them.
    fn has_been_heeded(self, local: SocketAddr) -> bool {
        let Self::Move(within, to) = self else { return false };
        within.is_zero() || !Redirect { to, permanent: false }.moves(local)
    }
}

/// An administrator has something to say to sessions.
#[derive(Debug, Clone)]
pub(super) struct Tell {
    pub(super) whom: Arc<Chosen>,
    pub(super) notice: Notice,
    /// What came of it.
    pub(super) heard: Sender<Heard>,
}

/// What came of something that was said to sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// How many were told.
    pub sessions: usize,
    /// Logins that were sent elsewhere until now: to another place, or no more.
    pub was_sent_on: bool,
}

impl Heard {
    /// On several reactors.
    pub(super) fn and(self, other: Self) -> Self {
        let was_sent_on = self.was_sent_on || other.was_sent_on;
        Self { sessions: self.sessions + other.sessions, was_sent_on }
    }
}

/// Which sessions are meant: those for which all that is given is right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The initiator's name, normalised.
    pub initiator: Option<String>,
    /// The target's name, normalised.
    pub target: Option<String>,
    /// The session's handle.
    pub tsih: Option<u16>,
    /// Where they have come in: an address, or a wildcard, as portals are.
    pub portal: Option<SocketAddr>,
}

impl fmt::Display for Chosen {
    /// As it follows "sessions" or "logins".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { initiator, target, tsih, portal } = self;
        let parts = [
            initiator.as_ref().map(|name| format!("of {name}")),
            target.as_ref().map(|name| format!("with {name}")),
            tsih.map(|tsih| format!("with TSIH {tsih}")),
            portal.map(|portal| format!("at {portal}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

impl Chosen {
    fn means(&self, session: &Session, tsih: u16, local: SocketAddr) -> bool {
        let nexus = session.nexus();
        self.initiator.as_ref().is_none_or(|name| *name == nexus.initiator)
            && self.target.as_ref().is_none_or(|name| *name == nexus.target)
            && self.tsih.is_none_or(|number| number == tsih)
            && self.portal.is_none_or(|portal| portal_covers(portal, local))
    }

    /// Whose logins are sent elsewhere when these are.
    fn logins(&self) -> Option<Logins> {
        self.target.clone().map(Logins::To).or_else(|| self.portal.map(Logins::At))
    }
}

/// A session, as it is told of.
#[derive(Debug, Clone)]
pub struct SessionReport {
    /// Where it lives.
    pub core: CoreId,
    /// The session's handle.
    pub tsih: u16,
    /// The initiator's part of its name.
    pub isid: [u8; 6],
    /// The initiator's name.
    pub initiator: String,
    /// The target's name; none: a discovery session.
    pub target: Option<String>,
    /// The tag of its group there.
    pub tpg: u16,
    /// Where the initiator has come in.
    pub local: SocketAddr,
    /// Where it has come from.
    pub peer: SocketAddr,
    /// How it proved who it is.
    pub chap: Option<ChapAlgorithm>,
    /// What was agreed on.
    pub negotiated: Negotiated,
    /// LUNs that it sees.
    pub luns: usize,
    /// Commands that are open.
    pub commands: u32,
    /// How many may be.
    pub window: u32,
    /// How many were at a time at most.
    pub deepest: u32,
    /// The same of each LUN that had any.
    pub queues: Vec<(u16, u32)>,
    /// Bytes of payload in a packet to the initiator, if that is known.
    pub segment: Option<u32>,
    /// Since when it is there.
    pub age: Duration,
}

/// Logical units that are about to go.
#[derive(Debug)]
pub(super) struct Retiring {
    units: Arc<[LuId]>,
    /// Connections on whose way there may still be places in memory that was such a unit, until they have sent so much.
    sending: Vec<(ConnId, u64)>,
    _done: Done,
}

/// As an asynchronous message says it.
fn seconds(within: Duration) -> u16 {
    within.as_secs().min(u64::from(u16::MAX)) as u16
}

impl<D: Driver> Reactor<D> {
    pub(super) fn take_order(&mut self, order: Live) {
        match order {
            Live::Enter { units, _done } => {
                for Entering { lu, seed, fd } in units.iter() {
                    self.world.enter_unit(*lu, seed, *fd);
                    self.world.arriving.push(*lu);
                }
            }
            Live::Switch(switch) => self.switch(switch),
            Live::Retire { units, done } => self.retire(units, done),
            Live::Vacate { units, _done } => units.iter().for_each(|lu| self.world.vacate(*lu)),
            Live::Doors(doors) => self.change_doors(&doors),
            Live::Sessions { at, to } => {
                let ids = at.map_or_else(|| self.conns.ids(), |targets| self.conns.visitors(&*targets));
                // Whoever asked may have gone.
                let _ = to.send(self.report_sessions(ids));
            }
            Live::Tell(order) => self.tell(&order),
            Live::Accesses(to) => {
                let _ = to.send(self.report_accesses());
            }
        }
    }

    /// The logical units of which some target port group is not in the state that is configured.
    fn report_accesses(&self) -> Vec<(LuId, Accesses)> {
        let units = (0..).map(LuId).zip(self.world.units.iter().map(|unit| &unit.lu.state.accesses));
        units.filter(|(_, a)| !a.is_unchanged()).map(|(lu, a)| (lu, a.clone())).collect()
    }

    /// From now on this is exported.
    fn switch(&mut self, switch: Switch) {
        self.world.catalog = switch.catalog.clone();
        self.login_timeout = switch.login_timeout.as_nanos() as u64;
        let Moved { targets, quotas, limited } = &*switch.moved;
        self.world.quotas.forget_initiators(&switch.targets);
        self.world.quotas.renew(quotas, &self.registry);
        let mut told = Vec::new();
        let visitors = self.conns.visitors(targets);
        for id in &visitors {
            self.revise(*id, &switch, &mut told);
        }
        // Only now: what begins when others end must not be charged to an account that has their number again.
        for id in visitors {
            self.limit(id);
        }
        for id in self.conns.visitors(limited) {
            self.limit(id);
        }
        self.world.quotas.hurry();
        self.world.announce(Then::Revised { told, done: Some(switch.done) });
        self.world.resume_arrived();
    }

    /// A session goes by the limits that hold for it now.
    fn limit(&mut self, id: ConnId) {
        if let Some(Phase::Full(session)) = self.conns.get_mut(id).map(|c| &mut c.phase) {
            session.limit(self.world.quotas.limits_of(session, &self.registry));
        }
    }

    /// A session sees what the catalogue has for it now; one that has no business there any more sees nothing, and goes.
    fn revise(&mut self, id: ConnId, switch: &Switch, told: &mut Vec<(ConnId, Ending)>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (mut desk, phase) = desk(&mut self.world, conn);
        let (session, full) = match phase {
            Phase::Full(session) => (session, true),
            Phase::Reinstating(finishing) => (&mut finishing.session, false),
            Phase::Login(_) | Phase::Closing => return,
        };
        let now = switch.targets.get(&session.nexus().target).and_then(Option::as_ref);
        let (view, stays) = match now.and_then(|now| session.established().view(now)) {
            Some(view) => (Some(view), true),
            None => (session.blank_view(), false),
        };
        let revised = desk.guarded(|desk| view.map(|view| session.see(desk, view, full)));
        let (nexus, asked) = (session.nexus().clone(), *desk.asks > 0);
        match revised {
            None => return self.close(id, Why::Broken),
            Some(revision) => {
                let Revision { endings, lost } = revision.unwrap_or_default();
                told.extend(endings.into_iter().map(|ending| (id, ending)));
                self.world.lose_units(&lost, &nexus, asked);
            }
        }
        match (stays, full) {
            (true, true) => self.mark_dirty(id),
            (true, false) => {}
            (false, true) => {
                tracing::info!(
                    initiator = nexus.initiator,
                    target = nexus.target,
                    "may not be here any more"
                );
                self.ask_to_leave(id, switch.grace);
            }
            (false, false) => self.close(id, Why::PutOut),
        }
    }

    /// The session is asked to log out; when it does not, it is put out.
    pub(super) fn ask_to_leave(&mut self, id: ConnId, within: Duration) {
        let now = self.world.driver.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        let by = now.saturating_add(within.as_nanos() as u64);
        conn.leaves_by = Some(conn.leaves_by.map_or(by, |earlier| earlier.min(by)));
        self.with_session(id, |session, desk| session.request_logout(desk, seconds(within)));
        self.next_tick = self.next_tick.min(by);
    }

    fn tell(&mut self, order: &Tell) {
        let mut heard = Heard::default();
        if let (Notice::Move(within, to), Some(logins)) = (order.notice, order.whom.logins()) {
            let now = self.world.driver.now();
            heard.was_sent_on =
                self.detours.enter(logins, to, now, now.saturating_add(within.as_nanos() as u64));
        }
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            let tsih = conn.key.as_ref().map_or(0, |(_, tsih)| *tsih);
            let local = conn.ends.local;
            let meant = matches!(&conn.phase, Phase::Full(session) if order.whom.means(session, tsih, local));
            if !meant || order.notice.has_been_heeded(local) {
                continue;
            }
            heard.sessions += 1;
            match order.notice {
                Notice::Gone => self.drop_session(id),
                Notice::LogOut(within) | Notice::Move(within, _) => self.ask_to_leave(id, within),
                Notice::Negotiate(within) => {
                    self.with_session(id, |session, desk| session.request_negotiation(desk, seconds(within)));
                }
            }
        }
        // Whoever asked may have gone.
        let _ = order.heard.send(heard);
    }

    fn report_sessions(&self, ids: Vec<ConnId>) -> Vec<SessionReport> {
        let (core, now) = (self.world.mail.core, self.world.driver.now());
        let mut all = Vec::new();
        for id in ids {
            let Some(conn) = self.conns.get(id) else { continue };
            let Some(session) = conn.session() else { continue };
            let e = session.established();
            let segment = self.world.driver.segment(conn.fd);
            all.push(SessionReport {
                core,
                tsih: conn.key.as_ref().map_or(0, |(_, tsih)| *tsih),
                isid: e.isid,
                initiator: e.initiator.clone(),
                target: e.target.as_ref().map(|t| t.iqn.clone()),
                tpg: session.nexus().tpg_tag,
                local: conn.ends.local,
                peer: conn.ends.peer,
                chap: e.chap,
                negotiated: e.negotiated.clone(),
                luns: e.luns.len(),
                commands: session.open_tasks(),
                window: session.command_window(),
                deepest: session.deepest(),
                queues: session.deepest_of_luns().filter(|(_, deepest)| *deepest > 0).collect(),
                segment,
                age: Duration::from_nanos(now.saturating_sub(conn.since)),
            });
        }
        all
    }

    fn change_doors(&mut self, doors: &Doors) {
        let me = self.world.mail.core;
        for (_, fd) in doors.open.iter().filter(|(core, _)| *core == me) {
            let new = Listener { fd: *fd, armed: None, leaves: None };
            match self.listeners.iter_mut().find(|l| l.is_vacant()) {
                Some(place) => *place = new,
                None => self.listeners.push(new),
            }
        }
        for listener in self.listeners.iter_mut().filter(|l| doors.close.contains(&l.fd)) {
            match listener.armed {
                Some(key) => {
                    listener.leaves = Some(doors.done.clone());
                    self.world.driver.cancel(key);
                }
                None => listener.vacate(),
            }
        }
        self.max_connections = self.limits.connections_in(self.room, doors.total);
        self.arm_listeners();
    }

    /// These logical units are in nobody's map any more.
    fn retire(&mut self, units: Arc<[LuId]>, done: Done) {
        let mut told = Vec::new();
        for lu in units.iter() {
            self.world.tokens.lock().unwrap_or_else(PoisonError::into_inner).revoke_all(*lu);
            self.world.stop_work_on(*lu);
        }
        for id in self.copying() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            let (mut desk, Phase::Full(session)) = desk(&mut self.world, conn) else { continue };
            // Copies from or to these that were sent to other logical units.
            let ended = desk.guarded(|desk| {
                units.iter().filter_map(|lu| session.abort_copies(desk, *lu)).collect::<Vec<_>>()
            });
            match ended {
                Some(endings) => told.extend(endings.into_iter().map(|ending| (id, ending))),
                None => self.close(id, Why::Broken),
            }
        }
        if !told.is_empty() {
            self.world.announce(Then::Revised { told, done: None });
        }
        let is_memory = units.iter().any(|lu| self.world.is_memory(*lu));
        let sending = if is_memory { self.sending() } else { Vec::new() };
        self.world.retiring.push(Retiring { units, sending, _done: done });
        self.next_look = 0;
    }

    /// The connections whose sessions have copies under way.
    fn copying(&mut self) -> Vec<ConnId> {
        let conns = &self.conns;
        let session = |id: ConnId| conns.get(id).and_then(Conn::session);
        self.world.copying.retain(|id| session(*id).is_some_and(Session::is_copying));
        self.world.copying.iter().copied().collect()
    }

    /// Connections with something to send, and when all of that has gone. It may be the memory of a logical unit that they
    /// do not see any more: a change before this one may have taken it from them.
    fn sending(&self) -> Vec<(ConnId, u64)> {
        let ids = self.conns.ids();
        ids.into_iter().filter_map(|id| Some((id, self.conns.get(id)?.tx.last_send()?))).collect()
    }

    /// Says of which logical units nothing is left here.
    pub(super) fn look_at_retiring(&mut self) {
        let now = self.world.driver.now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_NS;
        let mut units: Vec<LuId> = self.world.retiring.iter().flat_map(|r| r.units.iter().copied()).collect();
        units.sort_unstable();
        let busy = self.world.busy_units(&units);
        let (conns, units) = (&mut self.conns, &self.world.units);
        let at_rest = |lu: &LuId| !busy.contains(lu) && units.get(lu.0 as usize).is_none_or(Unit::is_at_rest);
        self.world.retiring.retain_mut(|r| {
            r.sending.retain(|(id, last)| conns.get_mut(*id).is_some_and(|c| !c.tx.has_sent(*last)));
            !(r.sending.is_empty() && r.units.iter().all(at_rest))
        });
    }
}

impl<D: Driver> World<D> {
    pub(super) fn attach(&mut self, id: RegionId, region: Option<Arc<Region>>) {
        self.memory.attach(id, region.clone());
        self.driver.attach(id, region);
    }

    /// A logical unit is there.
    pub(super) fn enter_unit(&mut self, lu: LuId, seed: &UnitSeed, fd: Option<RawFd>) {
        let reach = match (&seed.backing.medium, fd) {
            (Medium::File(medium), Some(fd)) => Reach::File(self.driver.open_file(fd, medium.way)),
            (Medium::Ram(region), _) => {
                let id = RegionId(ZEROES.0 + 1 + lu.0 as u16);
                self.attach(id, Some(region.clone()));
                Reach::Region(id)
            }
            _ => Reach::Nothing,
        };
        let discards = self.driver.caps().discard;
        let store = Store::new(seed.backing.clone(), reach, ZEROES, discards);
        let counters = seed.lu.counters.of_reactor(usize::from(self.mail.core.0));
        self.put_unit(lu, Unit::new(Lu { counters, ..seed.lu.clone() }, store));
    }

    pub(super) fn put_unit(&mut self, lu: LuId, unit: Unit) {
        while self.units.len() <= lu.0 as usize {
            self.units.push(vacancy());
        }
        self.units[lu.0 as usize] = unit;
    }

    /// Nothing is left of a logical unit: what it sat on is let go of.
    fn vacate(&mut self, lu: LuId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let unit = std::mem::replace(unit, vacancy());
        self.impatient.retain(|(_, of, _)| *of != lu);
        match unit.store.into_reach() {
            Reach::File(file) => self.driver.close_file(file),
            Reach::Region(id) => self.attach(id, None),
            Reach::Nothing => {}
        }
    }

    fn is_memory(&self, lu: LuId) -> bool {
        self.units.get(lu.0 as usize).is_some_and(|u| u.store.is_memory())
    }

    /// A nexus sees these no more: what they keep for it alone ends. `asked`: some owner may be about to keep something for
    /// it that is not known here yet. What is asked of the owner now comes after that.
    pub(super) fn lose_units(&mut self, lost: &[LuId], nexus: &ItNexus, asked: bool) {
        for lu in lost {
            if asked || self.keeps_for(*lu, nexus) {
                let gate = self.gates.shut(1, Then::Nothing);
                self.ask(*lu, SharedOp::NexusLoss, nexus.clone(), gate);
            }
        }
    }

    /// What goes on by itself on a logical unit goes on no more. That it has begun is saved: it goes on when the logical
    /// unit is served again.
    fn stop_work_on(&mut self, lu: LuId) {
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.retiring = true;
        }
        self.arriving.retain(|arriving| *arriving != lu);
        let held = self.forget(|client, of| of == lu && matches!(client, Client::Erasure { .. }));
        self.stop_erasing(lu, &held);
    }

    /// Those of these logical units, which are sorted, for which something is under way on this reactor.
    fn busy_units(&self, units: &[LuId]) -> HashSet<LuId> {
        let jobs =
            self.jobs.iter().flat_map(|(_, j)| [Some(j.lu), j.op.source().map(|(lu, _)| lu)]).flatten();
        let told =
            self.finished.iter().map(|(_, lu, _)| *lu).chain(self.reports.iter().map(|(_, lu, _)| *lu));
        let held = self.enclosures.iter().map(|e| e.unit()).chain(self.unannounced.iter().map(|f| f.lu));
        jobs.chain(told)
            .chain(held)
            .chain(self.erasing.iter().map(|e| e.unit()))
            .chain(self.gates.units())
            .filter(|lu| units.binary_search(lu).is_ok())
            .collect()
    }
}

/// Where no logical unit is: one that has nothing, which nobody sees.
fn vacancy() -> Unit {
    static NOTHING: OnceLock<(Arc<Backing>, Arc<LuFacts>)> = OnceLock::new();
    let (backing, facts) = NOTHING.get_or_init(|| {
        let config = StoreConfig {
            size: Some(512),
            block_size: Some(512),
            ..StoreConfig::new(StoreKind::Null, "vacant")
        };
        let backing = store::open(&config, Duration::ZERO).expect("nothing can always be had");
        let identity = Identity {
            vendor: String::new(),
            product: String::new(),
            revision: String::new(),
            serial: String::new(),
            naa: Naa::Short([0; 8]),
            uuid: [0; 16],
            t10: None,
        };
        let facts = backing.facts(identity, Groups::default(), false);
        (Arc::new(backing), Arc::new(facts))
    });
    let lu = Lu { facts: facts.clone(), state: Arc::default(), counters: Counters::default() };
    Unit::new(lu, Store::new(backing.clone(), Reach::Nothing, ZEROES, false))
}

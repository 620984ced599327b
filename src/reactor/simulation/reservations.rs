//! Reservations over several cores: after PREEMPT is answered no core takes the loser's writes, and what a nexus
//! held by RESERVE goes with it.

use std::sync::Arc;
use std::time::Duration;

use super::super::gates::GateId;
use super::super::mail::{Ask, Letter};
use super::super::world::World;
use super::client::{Client, Event, Manner};
use super::data::some_clients;
use super::history::{BLOCK, Fate};
use super::lives::{is_done, switch};
use super::load::{Did, Load, cdb10, lun};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ids::{CoreId, LuId};
use crate::ring::sim::Sim;
use crate::scsi::{
    AccessChange, AccessState, ChangedBy, Groups, ItNexus, LuFacts, PrAction, PrOut, SharedOp, status,
};
use crate::wire::codes::{TmfFunction, TmfResponse};

/// WRITE EXCLUSIVE, REGISTRANTS ONLY.
const KIND: u8 = 5;

pub(super) fn key(who: usize) -> u64 {
    who as u64 + 1
}

/// PERSISTENT RESERVE OUT; returns its tag.
pub(super) fn reserve_out(c: &mut Client, action: u8, key: u64, action_key: u64) -> u32 {
    reserve_with(c, action, key, action_key, 0)
}

/// As [`reserve_out`], so that it outlives a power loss: it has to be saved before it holds.
pub(super) fn reserve_for_good(c: &mut Client, action: u8, key: u64, action_key: u64) -> u32 {
    reserve_with(c, action, key, action_key, 1)
}

fn reserve_with(c: &mut Client, action: u8, key: u64, action_key: u64, aptpl: u8) -> u32 {
    let list = [&key.to_be_bytes()[..], &action_key.to_be_bytes(), &[0, 0, 0, 0, aptpl, 0, 0, 0]].concat();
    c.command(lun(0), &[0x5f, action, KIND, 0, 0, 0, 0, 0, 24, 0], list, 0)
}

/// Waits for the status of one command; a unit attention counts as a status.
pub(super) fn status_of(rig: &mut Rig, clients: &mut [Client], who: usize, itt: u32) -> u8 {
    let mut got = None;
    rig.until(clients, Duration::from_secs(10), "one command is answered", |_, clients| {
        while let Some(event) = clients[who].events.pop_front() {
            match event {
                Event::Answer { itt: tag, status, .. } if tag == itt => got = Some(status),
                Event::LoggedIn => {}
                other => panic!("{other:?}"),
            }
        }
        got.is_some()
    });
    got.unwrap()
}

/// Repeats a command until it is not answered with a unit attention.
pub(super) fn run(
    rig: &mut Rig,
    clients: &mut [Client],
    who: usize,
    send: impl Fn(&mut Client) -> u32,
) -> u8 {
    loop {
        let itt = send(&mut clients[who]);
        match status_of(rig, clients, who, itt) {
            status::CHECK_CONDITION => {}
            status => return status,
        }
    }
}

pub(super) fn ready(c: &mut Client) -> u32 {
    c.command(lun(0), &[0; 6], Vec::new(), 0)
}

pub(super) fn reserve_6(c: &mut Client) -> u32 {
    c.command(lun(0), &[0x16, 0, 0, 0, 0, 0], Vec::new(), 0)
}

pub(super) fn release_6(c: &mut Client) -> u32 {
    c.command(lun(0), &[0x17, 0, 0, 0, 0, 0], Vec::new(), 0)
}

fn set_the_scene(rig: &mut Rig, clients: &mut [Client]) {
    for who in 0..clients.len() {
        assert_eq!(run(rig, clients, who, |c| reserve_out(c, 0, 0, key(who))), status::GOOD);
    }
    assert_eq!(run(rig, clients, 0, |c| reserve_out(c, 1, key(0), 0)), status::GOOD);
}

/// The loser of a PREEMPT, and what it tries.
pub(super) struct Duel {
    pub(super) load: Load,
    /// The winner's command.
    preempt: u32,
    abort: bool,
    /// What the loser is told then: status, and sense data if any.
    refusal: fn(u8, &[u8]) -> bool,
    /// When PREEMPT was answered, in events of the disk's history.
    pub(super) done: Option<u64>,
    /// Writes of the loser that were sent afterwards.
    late: Vec<u32>,
    pub(super) refused: u64,
    /// What the loser may have under way writes these blocks.
    forbidden: Vec<[u8; BLOCK]>,
    /// The disk when PREEMPT was answered.
    then: Vec<u8>,
}

pub(super) const WINNER: usize = 1;
pub(super) const LOSER: usize = 2;

impl Duel {
    /// What the loser has under way is watched from now on.
    pub(super) fn new(load: Load, preempt: u32, abort: bool, refusal: fn(u8, &[u8]) -> bool) -> Self {
        let (late, forbidden, then) = (Vec::new(), Vec::new(), Vec::new());
        let mut duel = Self { load, preempt, abort, refusal, done: None, late, refused: 0, forbidden, then };
        let open = duel.load.open.keys().filter(|(who, _)| *who == LOSER);
        open.map(|(_, itt)| *itt).collect::<Vec<_>>().into_iter().for_each(|itt| duel.watch(itt));
        duel
    }

    /// The winner has won.
    pub(super) fn won(&mut self, rig: &Rig) {
        self.done = Some(self.load.histories[0].now());
        self.then = rig.below.disk_content(rig.disks[0]);
    }

    /// Until the loser has been refused often enough; everybody goes on with what they do.
    pub(super) fn fight(
        &mut self,
        rig: &mut Rig,
        clients: &mut [Client],
        mut watch: impl FnMut(&mut Self, &Rig),
    ) {
        rig.until(clients, Duration::from_secs(60), "the loser is refused", |rig, clients| {
            self.hear(rig, clients);
            watch(self, rig);
            self.check_medium(rig);
            for who in 0..clients.len() {
                if rig.chance(3) > 0
                    || (who != LOSER && clients[who].outstanding() > 12)
                    || clients[who].credit() == 0
                {
                    continue;
                }
                if who == LOSER && self.done.is_some() {
                    let first = rig.chance(20);
                    self.late.push(self.load.send_write(&mut clients[LOSER], LOSER, 0, (first, 1), false));
                } else if let Some(itt) = self.load.send(rig, clients, who)
                    && who == LOSER
                {
                    self.watch(itt);
                }
            }
            self.refused > 10
        });
    }

    /// A write of the loser is under way.
    fn watch(&mut self, itt: u32) {
        if let Some(Did::Write { id, .. }) = self.load.open.get(&(LOSER, itt)) {
            self.forbidden.push(id.block());
        }
    }

    /// Nothing of the loser has reached the medium since PREEMPT was answered. (What PREEMPT AND ABORT has aborted is
    /// fenced instead: the history sees whether it overwrites anything.)
    fn check_medium(&self, rig: &Rig) {
        if self.abort {
            return;
        }
        let now = rig.below.disk_content(rig.disks[0]);
        for (lba, (now, then)) in now.chunks(BLOCK).zip(self.then.chunks(BLOCK)).enumerate() {
            let is_losers = now != then && self.forbidden.iter().any(|f| f == now);
            assert!(!is_losers, "the loser has written block {lba} after it was preempted");
        }
    }

    fn hear(&mut self, rig: &Rig, clients: &mut [Client]) {
        for who in 0..clients.len() {
            let mut rest = Vec::new();
            while let Some(event) = clients[who].events.pop_front() {
                match &event {
                    Event::Answer { itt, status, .. } if who == WINNER && *itt == self.preempt => {
                        assert_eq!(*status, status::GOOD);
                        self.won(rig);
                    }
                    Event::Answer { itt, status, sense, .. } if who == LOSER && self.late.contains(itt) => {
                        assert_ne!(*status, status::GOOD, "a write of the loser was taken");
                        self.refused += u64::from((self.refusal)(*status, sense));
                        rest.push(event);
                    }
                    _ => rest.push(event),
                }
            }
            clients[who].events.extend(rest);
            let others = self.load.hear(who, &mut clients[who]);
            assert!(others.iter().all(Event::is_told), "{others:?}");
        }
    }
}

fn preempt(seed: u64, abort: bool) {
    let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![24], ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut load = Load::new(1, 24);
    load.clears = false;
    let mut clients = some_clients(&rig, 4);
    load.log_in(&mut rig, &mut clients);
    set_the_scene(&mut rig, &mut clients);
    load.run(&mut rig, &mut clients, 20 + seed % 40);
    while clients[WINNER].credit() == 0 {
        rig.round(&mut clients);
    }
    let preempt = reserve_out(&mut clients[WINNER], if abort { 5 } else { 4 }, key(WINNER), key(LOSER));
    let mut duel = Duel::new(load, preempt, abort, |code, _| code == status::RESERVATION_CONFLICT);
    duel.fight(&mut rig, &mut clients, |_, _| {});
    settle_duel(&mut rig, &mut clients, &mut duel, abort);
    duel.load.check();
    rig.finish(&mut clients);
}

/// What the loser had open when it was preempted is over, if PREEMPT AND ABORT said so.
pub(super) fn settle_duel(rig: &mut Rig, clients: &mut [Client], duel: &mut Duel, abort: bool) {
    let mut time = 0;
    rig.until(clients, Duration::from_secs(60), "what is answered is answered", |rig, clients| {
        duel.hear(rig, clients);
        duel.check_medium(rig);
        let now = rig.below.now();
        time = if time == 0 { now } else { time };
        // A request may lie unread for a second.
        now > time + 2_000_000_000
    });
    let left: Vec<(usize, u32)> = duel.load.open.keys().copied().collect();
    assert!(abort || left.is_empty(), "PREEMPT alone ends no task: {left:?}");
    for (who, task) in left {
        assert_eq!(who, LOSER, "only the loser's tasks are aborted");
        let Some(Did::Write { disk, id, .. }) = duel.load.open.remove(&(who, task)) else { continue };
        duel.load.histories[disk].written_at(id, Fate::Unknown, duel.done.unwrap());
        clients[who].forget(task);
        let itt = clients[who].manage(TmfFunction::ABORT_TASK, lun(0), task);
        rig.until(clients, Duration::from_secs(5), "the task is gone", |_, clients| {
            let gone = Event::Managed { itt, response: TmfResponse::TASK_DOES_NOT_EXIST };
            clients[LOSER].events.pop_front().is_some_and(|e| e == gone)
        });
    }
    duel.load.read_all(rig, clients);
}

#[test]
fn after_preempt_no_core_takes_the_losers_writes() {
    seeds(24, |seed| preempt(seed, false));
}

#[test]
fn after_preempt_and_abort_nothing_of_the_loser_happens() {
    seeds(24, |seed| preempt(seed, true));
}

/// A port comes to the target port group that there is, which no session has anything to do with.
fn add_port(rig: &mut Rig) {
    let facts = rig.alive().next().expect("a reactor").world.units[0].lu.facts.clone();
    let mut group = facts.groups.iter().next().expect("a group").clone();
    group.ports.push(9);
    let to = LuFacts { groups: Groups::new(group, Vec::new(), 0), ..(*facts).clone() };
    rig.post.hand_in(0, Letter::Notice { lu: LuId(0), op: SharedOp::Refit(Arc::new(to)) });
}

#[test]
fn who_was_preempted_writes_nothing_either_when_a_port_has_come() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![24], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let manner = Manner { immediate: false, ..Manner::default() };
        let mut clients: Vec<Client> = (0..3).map(|n| rig.client("host", n, manner.clone())).collect();
        Load::new(1, 24).log_in(&mut rig, &mut clients);
        set_the_scene(&mut rig, &mut clients);
        clients[LOSER].mute = true;
        let write = clients[LOSER].command(lun(0), &cdb10(0x2a, 0, 4, 1), vec![0xee; BLOCK], 0);
        rig.pass(&mut clients, Duration::from_millis(100));
        let preempt = |c: &mut Client| reserve_out(c, 4, key(WINNER), key(LOSER));
        assert_eq!(run(&mut rig, &mut clients, WINNER, preempt), status::GOOD);
        add_port(&mut rig);
        rig.pass(&mut clients, Duration::from_millis(100));
        clients[LOSER].mute = false;
        assert_eq!(status_of(&mut rig, &mut clients, LOSER, write), status::RESERVATION_CONFLICT);
        assert!(!rig.below.disk_content(rig.disks[0]).contains(&0xee), "it has been written");
        rig.finish(&mut clients);
    });
}

/// Two initiators, of which the first loses its session.
fn two(seed: u64) -> (Rig, Vec<Client>) {
    let plan = Plan { reactors: 1 + seed as usize % 4, mail: 0..20_000_000, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let load = Load::new(2, 64);
    let mut clients: Vec<Client> = (0..3).map(|n| rig.client("host", n, Manner::default())).collect();
    load.log_in(&mut rig, &mut clients);
    for who in 0..3 {
        assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
    }
    (rig, clients)
}

fn log_in_again(rig: &mut Rig, clients: &mut [Client]) {
    clients[0].login(rig.address, TARGET);
    rig.until(clients, Duration::from_secs(20), "logs in again", |_, c| c[0].is_full());
    clients[0].events.clear();
}

#[test]
fn a_session_that_is_replaced_takes_its_reserve_along_and_not_its_successors() {
    seeds(24, |seed| {
        let (mut rig, mut clients) = two(seed);
        let mut zombies = Vec::new();
        assert_eq!(run(&mut rig, &mut clients, 0, reserve_6), status::GOOD);
        zombies.extend(clients[0].leave());
        log_in_again(&mut rig, &mut clients);
        assert_eq!(run(&mut rig, &mut clients, 0, reserve_6), status::GOOD);
        rig.pass(&mut clients, Duration::from_millis(200));
        let itt = ready(&mut clients[1]);
        assert_eq!(status_of(&mut rig, &mut clients, 1, itt), status::RESERVATION_CONFLICT);
        zombies.drain(..).for_each(|fd| rig.below.close(fd).unwrap());
        rig.finish(&mut clients);
    });
}

#[test]
fn nobody_reserves_who_is_gone() {
    seeds(24, |seed| {
        let (mut rig, mut clients) = two(seed);
        reserve_6(&mut clients[0]);
        for _ in 0..rig.chance(40) {
            rig.round(&mut clients);
        }
        clients[0].hang_up();
        rig.pass(&mut clients, Duration::from_millis(500));
        assert_eq!(run(&mut rig, &mut clients, 1, ready), status::GOOD);
        rig.finish(&mut clients);
    });
}

/// The first of two initiators reserves, and is about to see the logical unit no more; `meanwhile`: what else it does.
fn loses_sight(seed: u64, meanwhile: impl Fn(&mut Rig, &mut [Client])) {
    let plan =
        Plan { reactors: 1 + seed as usize % 4, disks: vec![64], mail: 0..20_000_000, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut clients =
        vec![rig.client("loses", 1, Manner::default()), rig.client("waits", 2, Manner::default())];
    Load::new(1, 64).log_in(&mut rig, &mut clients);
    (0..2).for_each(|who| assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD));
    reserve_6(&mut clients[0]);
    meanwhile(&mut rig, &mut clients);
    (0..rig.chance(40)).for_each(|_| rig.round(&mut clients));
    let done = switch(&rig, &rig.gives(&clients[0].name, &[], &plan));
    rig.until(&mut clients, Duration::from_secs(10), "it sees nothing", |_, clients| {
        is_done(&done) && clients[0].is_full()
    });
    rig.pass(&mut clients, Duration::from_millis(500));
    assert_eq!(run(&mut rig, &mut clients, 1, ready), status::GOOD);
    rig.finish(&mut clients);
}

#[test]
fn nobody_reserves_what_he_does_not_see_any_more() {
    seeds(32, |seed| loses_sight(seed, |_, _| {}));
}

#[test]
fn nobody_reserves_by_a_new_connection_what_he_does_not_see_any_more() {
    seeds(64, |seed| {
        loses_sight(seed, |rig, clients| {
            (0..rig.chance(5)).for_each(|_| rig.round(clients));
            clients[0].rejoins = true;
            clients[0].leave();
            clients[0].login(rig.address, TARGET);
        });
    });
}

/// A request at the owner of the first disk; there is nobody to be answered.
fn asked(op: SharedOp, gate: u32) -> Ask {
    let nexus = ItNexus {
        initiator: "iqn.2026-01.org.example:host".into(),
        isid: [1; 6],
        target: TARGET.into(),
        tpg_tag: 1,
        relative_port: 1,
    };
    Ask { lu: LuId(0), op, nexus, from: CoreId(0), gate: GateId(gate), saved: false }
}

fn reserving(action: PrAction, through_power_loss: bool) -> SharedOp {
    let out = PrOut { scope_type: KIND, action_key: 1, through_power_loss, ..PrOut::new(action) };
    SharedOp::Persistent(Box::new(out))
}

/// A registration is on disk, but resets are under way when an order comes that changes what is saved, too, and goes
/// before it. The one may be aborted then.
fn overtaken(seed: u64, aborted: bool) {
    const ITS: u32 = u32::MAX - 1;
    let mail = 20_000_000..30_000_000;
    let mut rig = Rig::new(seed, &Plan { reactors: 2, mail, two_ports: true, ..Plan::default() });
    fn owner(rig: &mut Rig) -> &mut World<Sim> {
        &mut rig.alive().next().expect("a reactor").world
    }
    owner(&mut rig).take_ask(asked(reserving(PrAction::Register, true), ITS));
    (0..20).for_each(|_| owner(&mut rig).take_ask(asked(SharedOp::Reset, u32::MAX)));
    let soon = Duration::from_secs(10);
    let is_saved = |rig: &mut Rig| owner(rig).units[0].asks.iter().skip(1).any(|ask| ask.saved);
    rig.until(&mut [], soon, "it is on disk", |rig, _| is_saved(rig));
    assert!(owner(&mut rig).units[0].next.is_some(), "a reset is under way");
    let order = AccessChange { to: vec![(1, AccessState::Standby)], by: ChangedBy::Administrator };
    owner(&mut rig).take_ask(asked(SharedOp::Access(order), u32::MAX));
    rig.until(&mut [], soon, "the order is being saved", |rig, _| owner(rig).units[0].saving.is_some());
    if aborted {
        owner(&mut rig).take_recall(LuId(0), CoreId(0), GateId(ITS));
    }
    rig.until(&mut [], soon, "all is done", |rig, _| owner(rig).units[0].is_at_rest());
    let state = owner(&mut rig).units[0].lu.state.clone();
    assert_eq!(state.reservations.registrants.len(), usize::from(!aborted));
    assert_eq!(rig.saved.lock().unwrap().last().map(|(_, saved)| saved), Some(&state.persistent()));
    rig.finish(&mut []);
}

#[test]
fn what_is_on_disk_is_what_holds_though_one_is_overtaken_that_was_saved() {
    seeds(8, |seed| overtaken(seed, false));
}

#[test]
fn what_is_on_disk_is_what_holds_though_one_is_aborted_that_was_saved() {
    seeds(8, |seed| overtaken(seed, true));
}

#[test]
fn thousands_of_requests_that_are_refused_may_wait_for_their_owner() {
    let mut rig = Rig::new(0, &Plan { reactors: 1, ..Plan::default() });
    let ask = |action, through_power_loss| asked(reserving(action, through_power_loss), u32::MAX);
    let world = &mut rig.alive().next().unwrap().world;
    // This one has to be put on disk first.
    world.take_ask(ask(PrAction::Register, true));
    (0..50_000).for_each(|_| world.take_ask(ask(PrAction::Clear, false)));
    rig.finish(&mut []);
    assert_eq!(rig.saved.lock().unwrap().len(), 1);
}

//! What comes and goes while it is served: whoever does not see it notices nothing, and whoever does is told at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::super::live::{Done, Entering, Heard, Live, Moved, Notice, Switch, Tell};
use super::super::{Chosen, Letter, Reactor};
use super::client::{Client, Event, Manner};
use super::data::some_clients;
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::reservations::{ready, run};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ids::LuId;
use crate::ring::sim::Sim;
use crate::scsi::{Cause, Erasure, Fill, LuState, status};
use crate::target::{Catalog, Lun, Quota, Rate};

const BLOCKS: u64 = 48;
const GRACE: Duration = Duration::from_secs(3);
const CHANGED: [u8; 3] = [6, 0x3f, 0x0e];

pub(super) fn is_done(done: &Receiver<()>) -> bool {
    done.try_recv() == Err(TryRecvError::Disconnected)
}

/// Where everybody logs in.
fn here() -> HashSet<String> {
    HashSet::from([TARGET.to_owned()])
}

fn retire(units: &Arc<[LuId]>, done: Done) -> Live {
    Live::Retire { units: units.clone(), done }
}

pub(super) fn switch(rig: &Rig, catalog: &Arc<Catalog>) -> Receiver<()> {
    // There are no more than these.
    let quota = |lu| (lu, catalog.quotas.get(&lu).copied().unwrap_or_default());
    let quotas = (0..8).map(LuId).map(quota).collect();
    let moved = Arc::new(Moved { targets: here(), quotas, limited: HashSet::new() });
    let targets = Arc::new(moved.found_in(catalog));
    let login_timeout = Duration::from_secs(15);
    rig.order(|done| {
        let (catalog, moved, targets) = (catalog.clone(), moved.clone(), targets.clone());
        Live::Switch(Switch { catalog, moved, targets, login_timeout, grace: GRACE, done })
    })
}

/// Goes on with the load until an order is done everywhere. What the clients were told besides.
fn meanwhile(rig: &mut Rig, load: &mut Load, clients: &mut [Client], done: &Receiver<()>) -> Vec<Event> {
    let mut told = Vec::new();
    rig.until(clients, Duration::from_secs(60), "it is done everywhere", |rig, clients| {
        for who in 0..clients.len() {
            told.extend(load.hear(who, &mut clients[who]));
            if clients[who].outstanding() < 8 && rig.chance(3) == 0 {
                load.send(rig, clients, who);
            }
        }
        is_done(done)
    });
    told
}

/// Settles the load, until the clients were told so many things besides.
fn settle(rig: &mut Rig, load: &mut Load, clients: &mut [Client], told: &mut Vec<Event>, most: usize) {
    rig.until(clients, Duration::from_secs(60), "all is answered", |_, clients| {
        for who in 0..clients.len() {
            told.extend(load.hear(who, &mut clients[who]));
        }
        load.open.is_empty() && told.len() >= most
    });
}

/// The answer to one command: status and sense.
fn answer(rig: &mut Rig, clients: &mut [Client], who: usize, itt: u32) -> (u8, Vec<u8>) {
    let mut got = None;
    rig.until(clients, Duration::from_secs(20), "an answer", |_, clients| {
        while let Some(event) = clients[who].events.pop_front() {
            if let Event::Answer { itt: tag, status, sense, .. } = event
                && tag == itt
            {
                got = Some((status, sense));
            }
        }
        got.is_some()
    });
    got.unwrap()
}

fn code(sense: &[u8]) -> [u8; 3] {
    [sense[2] & 15, sense[12], sense[13]]
}

#[test]
fn a_lun_comes_and_goes_under_the_others_io() {
    seeds(24, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(1, BLOCKS);
        let mut clients = some_clients(&rig, 4);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 40);
        for round in 0..2 {
            // The number of the disk that went is used again.
            let units: Arc<[_]> = [rig.make_disk(1, 16, &plan)].into();
            let disk = rig.disks[rig.disks.len() - 1];
            let done = rig.order(|_done| Live::Enter { units: units.clone(), _done });
            drop(units);
            assert_eq!(meanwhile(&mut rig, &mut load, &mut clients, &done), [], "nobody sees it yet");
            let done = switch(&rig, &rig.shows(&[(0, 0), (1, 1)], true, &plan));
            let mut told = meanwhile(&mut rig, &mut load, &mut clients, &done);
            settle(&mut rig, &mut load, &mut clients, &mut told, 4);
            assert_eq!(told, vec![Event::Told(CHANGED); 4], "round {round}: each once");
            for who in 0..clients.len() {
                let itt = clients[who].command(lun(1), &[0; 6], Vec::new(), 0);
                let (status, sense) = answer(&mut rig, &mut clients, who, itt);
                assert_eq!((status, code(&sense)), (status::CHECK_CONDITION, [6, 0x29, 0]), "it is new");
                let data = vec![who as u8 + 1; BLOCK];
                let itt = clients[who].command(lun(1), &cdb10(0x2a, 0, who as u64, 1), data, 0);
                assert_eq!(answer(&mut rig, &mut clients, who, itt).0, status::GOOD);
            }
            let done = switch(&rig, &rig.shows(&[(0, 0)], true, &plan));
            let mut told = meanwhile(&mut rig, &mut load, &mut clients, &done);
            let content = rig.below.disk_content(disk)[..4 * BLOCK].to_vec();
            assert!((0..4).all(|n| content[n * BLOCK] == n as u8 + 1), "what was answered is there");
            let units: Arc<[LuId]> = [LuId(1)].into();
            let done = rig.order(|done| retire(&units, done));
            told.extend(meanwhile(&mut rig, &mut load, &mut clients, &done));
            let done = rig.order(|_done| Live::Vacate { units: units.clone(), _done });
            told.extend(meanwhile(&mut rig, &mut load, &mut clients, &done));
            settle(&mut rig, &mut load, &mut clients, &mut told, 4);
            assert_eq!(told, vec![Event::Told(CHANGED); 4]);
            let itt = clients[0].command(lun(1), &[0; 6], Vec::new(), 0);
            let (status, sense) = answer(&mut rig, &mut clients, 0, itt);
            assert_eq!((status, code(&sense)), (status::CHECK_CONDITION, [5, 0x25, 0]));
        }
        load.run(&mut rig, &mut clients, 40);
        settle(&mut rig, &mut load, &mut clients, &mut Vec::new(), 0);
        load.check();
        assert_eq!(load.failed, 0, "{:?}", load.senses);
        rig.finish(&mut clients);
    });
}

/// Everything that a change comes to here, in its order: a logical unit comes, is shown elsewhere with a limit, and goes.
fn a_change_elsewhere(reactor: &mut Reactor<Sim>, unit: Entering) {
    let (told, _done) = bounded(0);
    let done = || Done { _told: told.clone() };
    let (lu, elsewhere) = (unit.lu, HashSet::from(["iqn.2026-01.org.example:elsewhere".to_owned()]));
    let quota = Quota { read: Rate { commands: 1, bytes: 0 }, ..Quota::default() };
    let quotas = HashMap::from([(lu, quota)]);
    let moved = Moved { targets: elsewhere.clone(), quotas, limited: elsewhere.clone() };
    let (catalog, targets, units) = (reactor.world.catalog.clone(), Arc::new(elsewhere), Arc::from([lu]));
    let login_timeout = Duration::from_secs(15);
    reactor.take_order(Live::Enter { units: [unit].into(), _done: done() });
    let found = moved.found_in(&catalog).into();
    let switch =
        Switch { catalog, moved: moved.into(), targets: found, login_timeout, grace: GRACE, done: done() };
    reactor.take_order(Live::Switch(switch));
    let (to, sessions) = bounded(1);
    reactor.take_order(Live::Sessions { at: Some(Arc::clone(&targets)), to });
    assert!(sessions.try_recv().is_ok_and(|sessions| sessions.is_empty()));
    reactor.take_order(Live::Retire { units: Arc::clone(&units), done: done() });
    reactor.look_at_retiring();
    reactor.take_order(Live::Vacate { units, _done: done() });
}

#[test]
fn whoever_does_not_see_what_changes_is_not_looked_at() {
    for crowd in [1, 25] {
        let plan = Plan { reactors: 1, disks: vec![BLOCKS], ..Plan::default() };
        let (mut rig, mut load) = (Rig::new(1, &plan), Load::new(1, BLOCKS));
        let mut clients = some_clients(&rig, crowd);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 2);
        let unit = rig.make_disk(1, 16, &plan);
        let reactor = rig.reactors[0].as_mut().unwrap();
        assert_eq!(reactor.conns.visitors(&here()).len(), usize::from(crowd));
        let before = reactor.conns.looks.get();
        a_change_elsewhere(reactor, unit);
        assert_eq!(reactor.conns.looks.get() - before, 0, "of {crowd}");
        rig.finish(&mut clients);
    }
}

#[test]
fn who_asks_for_the_luns_need_not_be_told_that_they_are_others() {
    let plan = Plan { reactors: 2, disks: vec![BLOCKS; 3], ..Plan::default() };
    let mut rig = Rig::new(1, &plan);
    let mut clients = vec![rig.client("host", 1, Manner::default())];
    Load::new(3, BLOCKS).log_in(&mut rig, &mut clients);
    for n in 0..3 {
        let itt = clients[0].command(lun(n), &[0; 6], Vec::new(), 0);
        answer(&mut rig, &mut clients, 0, itt);
    }
    let done = switch(&rig, &rig.shows(&[(0, 0), (1, 1)], true, &plan));
    rig.until(&mut clients, Duration::from_secs(5), "it is done", |_, _| is_done(&done));
    let itt = clients[0].command(lun(1), &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], Vec::new(), 64);
    assert_eq!(answer(&mut rig, &mut clients, 0, itt).0, status::GOOD);
    for n in 0..2 {
        let itt = clients[0].command(lun(n), &[0; 6], Vec::new(), 0);
        assert_eq!(answer(&mut rig, &mut clients, 0, itt).0, status::GOOD, "LUN {n}");
    }
    rig.finish(&mut clients);
}

/// A change may be given up after its logical units have come: until it holds, what was under way on them stands still.
#[test]
fn what_was_cut_off_goes_on_when_the_change_holds_and_not_before() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS], ..Plan::default() };
        let (mut rig, mut clients) = (Rig::new(seed, &plan), Vec::new());
        let mut entering = rig.make_disk(1, 16, &plan);
        let fill = Fill::Pattern { pattern: vec![7], passes: 1, invert: false };
        let erasure = Some(Erasure { cause: Cause::Format, fill, failed: false });
        entering.seed.lu.state = Arc::new(LuState { erasure, ..LuState::default() });
        let (units, disk): (Arc<[_]>, _) = ([entering].into(), rig.disks[rig.disks.len() - 1]);
        let done = rig.order(|_done| Live::Enter { units: units.clone(), _done });
        drop(units);
        rig.pass(&mut clients, Duration::from_secs(2));
        assert!(is_done(&done));
        assert!(rig.below.disk_content(disk).iter().all(|byte| *byte == 0), "nothing is written yet");
        let _done = switch(&rig, &rig.shows(&[(0, 0), (1, 1)], true, &plan));
        rig.pass(&mut clients, Duration::from_secs(2));
        assert!(rig.below.disk_content(disk).iter().all(|byte| *byte == 7));
        rig.finish(&mut clients);
    });
}

/// Writes that are under way on a LUN that goes, or leads to another disk, are answered once, and nothing of them comes
/// late.
#[test]
fn a_lun_that_goes_takes_its_writes_along() {
    let ended = std::cell::Cell::new(0);
    seeds(30, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS; 3], ..Plan::default() };
        let (then, failure): (&[_], _) =
            if seed % 2 == 0 { (&[(0, 0)], [5, 0x25, 0]) } else { (&[(0, 0), (1, 2)], [2, 4, 0]) };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(1, BLOCKS);
        let mut clients = some_clients(&rig, 3);
        load.log_in(&mut rig, &mut clients);
        for who in 0..3 {
            run(&mut rig, &mut clients, who, |c| c.command(lun(1), &[0; 6], Vec::new(), 0));
            run(&mut rig, &mut clients, who, ready);
        }
        let mut tags = HashSet::new();
        for (n, client) in clients.iter_mut().enumerate() {
            for round in 0..6u64 {
                let cdb = cdb10(0x2a, 0, (round * 7 + n as u64) % (BLOCKS - 4), 4);
                tags.insert((n, client.command(lun(1), &cdb, vec![9; 4 * BLOCK], 0)));
            }
        }
        let rounds = rig.chance(60);
        (0..rounds).for_each(|_| rig.round(&mut clients));
        let done = switch(&rig, &rig.shows(then, true, &plan));
        let mut took = 0;
        let mut hear = |clients: &mut [Client], tags: &mut HashSet<(usize, u32)>| {
            for who in 0..clients.len() {
                while let Some(event) = clients[who].events.pop_front() {
                    match event {
                        Event::Answer { itt, status, sense, .. } => {
                            assert!(tags.remove(&(who, itt)), "each is answered once");
                            match status {
                                // What comes only now: the other disk is new to it.
                                status::CHECK_CONDITION if code(&sense) == [6, 0x29, 0] => {}
                                status::CHECK_CONDITION => {
                                    assert_eq!(code(&sense), failure);
                                    took += 1;
                                }
                                _ => assert_eq!(status, status::GOOD),
                            }
                        }
                        Event::Told(sense) => assert_eq!(sense, CHANGED),
                        other => panic!("{other:?}"),
                    }
                }
            }
        };
        rig.until(&mut clients, Duration::from_secs(60), "the switch", |_, clients| {
            hear(clients, &mut tags);
            is_done(&done)
        });
        let units: Arc<[LuId]> = [LuId(1)].into();
        let done = rig.order(|done| retire(&units, done));
        rig.until(&mut clients, Duration::from_secs(60), "nothing is left", |_, clients| {
            hear(clients, &mut tags);
            is_done(&done)
        });
        let then = rig.below.disk_content(rig.disks[1]);
        let done = rig.order(|_done| Live::Vacate { units: units.clone(), _done });
        rig.until(&mut clients, Duration::from_secs(60), "it is vacant", |_, clients| {
            hear(clients, &mut tags);
            is_done(&done) && tags.is_empty()
        });
        ended.set(ended.get() + took);
        rig.pass(&mut clients, Duration::from_secs(2));
        assert!(rig.below.disk_content(rig.disks[1]) == then, "nothing comes late");
        load.run(&mut rig, &mut clients, 20);
        settle(&mut rig, &mut load, &mut clients, &mut Vec::new(), 0);
        assert_eq!(load.failed, 0, "{:?}", load.senses);
        rig.finish(&mut clients);
    });
    assert!(ended.get() > 0, "some writes were under way");
}

/// From now on that client may only read.
fn protect(rig: &Rig, client: &Client, plan: &Plan) -> Receiver<()> {
    let lun = Lun { lun: 0, lu: LuId(0), read_only: true, group: 0 };
    switch(rig, &rig.gives(&client.name, &[lun], plan))
}

fn is_protected((status, sense): (u8, Vec<u8>)) {
    assert_eq!(status, status::CHECK_CONDITION, "it is refused");
    assert_eq!(code(&sense), [7, 0x27, 0]);
}

/// The next write waits for its limit.
fn use_up(rig: &mut Rig, clients: &mut [Client], plan: &Plan) {
    let mut catalog = (*rig.shows(&[(0, 0)], true, plan)).clone();
    let quota = Quota { write: Rate { commands: 1, bytes: 0 }, ..Quota::default() };
    catalog.quotas = HashMap::from([(LuId(0), quota)]);
    let done = switch(rig, &Arc::new(catalog));
    rig.until(clients, Duration::from_secs(5), "it holds", |_, _| is_done(&done));
    let first = clients[0].command(lun(0), &cdb10(0x2a, 0, 0, 1), vec![0x11; BLOCK], 0);
    assert_eq!(answer(rig, clients, 0, first).0, status::GOOD);
}

#[test]
fn who_may_only_read_any_more_writes_nothing_of_what_was_open() {
    seeds(16, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let manner = Manner { immediate: false, ..Manner::default() };
        let mut clients = vec![rig.client("reads", 1, manner)];
        Load::new(1, BLOCKS).log_in(&mut rig, &mut clients);
        run(&mut rig, &mut clients, 0, ready);
        // It waits for its data, or for its limit.
        match seed % 3 {
            0 => use_up(&mut rig, &mut clients, &plan),
            _ => clients[0].mute = true,
        }
        let write = clients[0].command(lun(0), &cdb10(0x2a, 0, 4, 1), vec![0xee; BLOCK], 0);
        rig.pass(&mut clients, Duration::from_millis(100));
        let done = protect(&rig, &clients[0], &plan);
        rig.until(&mut clients, Duration::from_secs(5), "it holds", |_, _| is_done(&done));
        clients[0].mute = false;
        is_protected(answer(&mut rig, &mut clients, 0, write));
        rig.pass(&mut clients, Duration::from_secs(2));
        assert!(!rig.below.disk_content(rig.disks[0]).contains(&0xee), "it has been written");
        assert_eq!(run(&mut rig, &mut clients, 0, ready), status::GOOD);
        rig.finish(&mut clients);
    });
}

#[test]
fn what_the_disk_has_of_who_may_only_read_any_more_is_fenced() {
    seeds(16, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients =
            vec![rig.client("reads", 1, Manner::default()), rig.client("writes", 2, Manner::default())];
        Load::new(1, BLOCKS).log_in(&mut rig, &mut clients);
        (0..2).for_each(|who| assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD));
        rig.below.hang(rig.disks[0], true);
        let late = clients[0].command(lun(0), &cdb10(0x2a, 0, 4, 1), vec![0xee; BLOCK], 0);
        let read = clients[0].command(lun(0), &cdb10(0x28, 0, 0, 1), Vec::new(), BLOCK as u32);
        rig.pass(&mut clients, Duration::from_millis(100));
        let done = protect(&rig, &clients[0], &plan);
        is_protected(answer(&mut rig, &mut clients, 0, late));
        rig.until(&mut clients, Duration::from_secs(5), "it holds", |_, _| is_done(&done));
        let newer = clients[1].command(lun(0), &cdb10(0x2a, 0, 4, 1), vec![0x11; BLOCK], 0);
        rig.pass(&mut clients, Duration::from_millis(100));
        rig.below.hang(rig.disks[0], false);
        assert_eq!(answer(&mut rig, &mut clients, 1, newer).0, status::GOOD);
        assert_eq!(answer(&mut rig, &mut clients, 0, read).0, status::GOOD, "reads go on");
        rig.pass(&mut clients, Duration::from_secs(2));
        let content = rig.below.disk_content(rig.disks[0]);
        assert!(content[4 * BLOCK..5 * BLOCK].iter().all(|byte| *byte == 0x11), "nothing comes late");
        rig.finish(&mut clients);
    });
}

/// What an initiator reads slowly is sent from the memory of a ramdisk, which stays until then: also where the change that
/// removes it is not the one that has taken it from view.
#[test]
fn memory_stays_until_it_is_sent() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients = some_clients(&rig, 2);
        Load::new(1, BLOCKS).log_in(&mut rig, &mut clients);
        let units: Arc<[_]> = [rig.make_memory(1, 4096, &plan)].into();
        let done = rig.order(|_done| Live::Enter { units: units.clone(), _done });
        drop(units);
        rig.until(&mut clients, Duration::from_secs(20), "it is there", |_, _| is_done(&done));
        let done = switch(&rig, &rig.shows(&[(0, 0), (1, 1)], true, &plan));
        rig.until(&mut clients, Duration::from_secs(20), "it is shown", |_, _| is_done(&done));
        rig.pass(&mut clients, Duration::from_secs(1));
        clients[0].events.clear();
        run(&mut rig, &mut clients, 0, |c| c.command(lun(1), &[0; 6], Vec::new(), 0));
        clients[0].deaf = true;
        clients[0].command(lun(1), &cdb10(0x28, 0, 0, 2048), Vec::new(), 2048 * BLOCK as u32);
        rig.pass(&mut clients, Duration::from_secs(1));
        let done = switch(&rig, &rig.shows(&[(0, 0)], true, &plan));
        rig.until(&mut clients, Duration::from_secs(20), "it is not shown", |_, _| is_done(&done));
        let units: Arc<[LuId]> = [LuId(1)].into();
        let done = rig.order(|done| retire(&units, done));
        rig.pass(&mut clients, Duration::from_secs(5));
        assert!(!is_done(&done), "some of it is not sent");
        clients[0].deaf = false;
        rig.until(&mut clients, Duration::from_secs(20), "it is sent", |_, _| is_done(&done));
        let done = rig.order(|_done| Live::Vacate { units: units.clone(), _done });
        rig.until(&mut clients, Duration::from_secs(20), "it is vacant", |_, _| is_done(&done));
        clients[0].events.clear();
        run(&mut rig, &mut clients, 0, ready);
        rig.finish(&mut clients);
    });
}

/// Who may not be there any more sees nothing at once, is asked to go, and is put out; the others go on.
#[test]
fn a_session_goes_whose_acl_has_gone() {
    seeds(20, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients =
            vec![rig.client("stays", 1, Manner::default()), rig.client("goes", 2, Manner::default())];
        let load = Load::new(1, BLOCKS);
        load.log_in(&mut rig, &mut clients);
        for who in 0..2 {
            run(&mut rig, &mut clients, who, ready);
        }
        let write = clients[1].command(lun(0), &cdb10(0x2a, 0, 0, 4), vec![9; 4 * BLOCK], 0);
        let rounds = rig.chance(20);
        (0..rounds).for_each(|_| rig.round(&mut clients));
        let done = switch(&rig, &rig.admits(&["iqn.2026-01.org.example:stays"], &plan));
        let (mut told, mut answered) = (Vec::new(), false);
        rig.until(&mut clients, Duration::from_secs(30), "it is put out", |_, clients| {
            while let Some(event) = clients[1].events.pop_front() {
                match event {
                    Event::Answer { itt, .. } => answered |= itt == write,
                    other => told.push(other),
                }
            }
            is_done(&done) && told.contains(&Event::Gone)
        });
        assert!(answered, "its write is answered");
        let asked = told.iter().filter(|e| **e == Event::LogoutAsked).count();
        assert_eq!(
            (told.first(), asked),
            (Some(&Event::Told(CHANGED)), 2),
            "asked, then told of the end: {told:?}"
        );
        // Whoever stays has noticed nothing.
        assert_eq!(clients[0].events.pop_front(), None);
        let itt = ready(&mut clients[0]);
        assert_eq!(answer(&mut rig, &mut clients, 0, itt).0, status::GOOD);
        clients[1].login(rig.address, TARGET);
        rig.until(&mut clients, Duration::from_secs(20), "a refusal", |_, clients| {
            !clients[1].events.is_empty()
        });
        assert_eq!(clients[1].events.pop_front(), Some(Event::Refused(2, 2)));
        rig.finish(&mut clients);
    });
}

/// A login that began under one catalogue is judged by the next.
#[test]
fn a_login_under_way_does_not_slip_through() {
    seeds(20, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients = vec![rig.client("late", 1, Manner::default())];
        clients[0].login(rig.address, TARGET);
        let rounds = rig.chance(12);
        (0..rounds).for_each(|_| rig.round(&mut clients));
        let done = switch(&rig, &rig.admits(&[], &plan));
        rig.until(&mut clients, Duration::from_secs(20), "out", |_, clients| {
            let gone = |e: &Event| matches!(e, Event::Gone | Event::Refused(2, _));
            is_done(&done) && clients[0].events.iter().any(gone)
        });
        rig.finish(&mut clients);
    });
}

/// A login that waits for the session whose place it takes sees what there is when it comes in, and is told of nothing
/// before.
#[test]
fn a_login_that_waits_sees_what_there_is_then() {
    seeds(40, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS, BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients = vec![rig.client("again", 1, Manner::default())];
        Load::new(1, BLOCKS).log_in(&mut rig, &mut clients);
        run(&mut rig, &mut clients, 0, ready);
        for block in 0..6 {
            clients[0].command(lun(1), &cdb10(0x2a, 0, block * 4, 4), vec![9; 4 * BLOCK], 0);
        }
        clients[0].rejoins = seed % 2 == 0;
        clients[0].leave();
        clients[0].login(rig.address, TARGET);
        let rounds = rig.chance(40);
        (0..rounds).for_each(|_| rig.round(&mut clients));
        let done = switch(&rig, &rig.shows(&[(0, 0)], true, &plan));
        rig.until(&mut clients, Duration::from_secs(30), "it is in", |_, clients| {
            is_done(&done) && clients[0].is_full()
        });
        let itt = clients[0].command(lun(1), &[0; 6], Vec::new(), 0);
        let (status, sense) = answer(&mut rig, &mut clients, 0, itt);
        assert_eq!((status, code(&sense)), (status::CHECK_CONDITION, [5, 0x25, 0]));
        run(&mut rig, &mut clients, 0, ready);
        rig.finish(&mut clients);
    });
}

/// An administrator has something to say to sessions.
pub(super) fn say(rig: &Rig, whom: Chosen, notice: Notice) -> Receiver<Heard> {
    let (whom, (heard, all)) = (Arc::new(whom), bounded(rig.reactors.len()));
    for to in 0..rig.reactors.len() {
        let order = Tell { whom: whom.clone(), notice, heard: heard.clone() };
        rig.post.hand_in(to, Letter::Live(Box::new(Live::Tell(order))));
    }
    all
}

#[test]
fn sessions_are_put_out_by_their_names() {
    seeds(10, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![BLOCKS], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients: Vec<Client> =
            ["a", "b", "a"].iter().zip(1..).map(|(name, n)| rig.client(name, n, Manner::default())).collect();
        let load = Load::new(1, BLOCKS);
        load.log_in(&mut rig, &mut clients);
        let whom = Chosen { initiator: Some("iqn.2026-01.org.example:a".into()), ..Chosen::default() };
        let notice = if seed % 2 == 0 { Notice::LogOut(Duration::from_secs(2)) } else { Notice::Gone };
        let heard = say(&rig, whom, notice);
        rig.until(&mut clients, Duration::from_secs(20), "both are out", |_, clients| {
            [0, 2].iter().all(|who| clients[*who].events.contains(&Event::Gone))
        });
        assert_eq!(heard.try_iter().map(|heard| heard.sessions).sum::<usize>(), 2);
        assert!(clients[0].events.contains(&Event::LogoutAsked), "it was told why");
        run(&mut rig, &mut clients, 1, ready);
        rig.finish(&mut clients);
    });
}

//! Target port groups over several cores: after a change is answered no core takes a write through a port that is not
//! active any more, and none that began before reaches the medium.

use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::super::mail::Letter;
use super::client::{Client, Event, Manner};
use super::data::some_clients;
use super::load::{Load, lun};
use super::reservations::{Duel, LOSER, WINNER, ready, run, settle_duel};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ids::LuId;
use crate::scsi::{AccessChange, AccessState, Asc, ChangedBy, Failure, Sense, SenseKey, SharedOp, status};

/// The group of the second port.
const SECOND: u16 = 1;

/// SET TARGET PORT GROUPS; returns its tag.
pub(super) fn set_group(c: &mut Client, to: AccessState) -> u32 {
    let list = vec![0, 0, 0, 0, to.code(), 0, 0, SECOND as u8];
    c.command(lun(0), &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], list, 0)
}

/// What an administrator does; its answer comes there.
fn order(rig: &Rig, to: AccessState) -> Receiver<Result<(), Failure>> {
    let change = AccessChange { to: vec![(SECOND, to)], by: ChangedBy::Administrator };
    let (tell, told) = bounded(1);
    // The first logical unit belongs to the first reactor.
    rig.post.hand_in(0, Letter::Order { lu: LuId(0), op: Box::new(SharedOp::Access(change)), to: tell });
    told
}

/// The loser comes through the second port, all others through the first.
fn log_in(rig: &mut Rig, clients: &mut [Client]) {
    for who in 0..clients.len() {
        let address = if who == LOSER { rig.second } else { rig.address };
        clients[who].login(address, TARGET);
    }
    rig.until(clients, Duration::from_secs(20), "everybody logs in", |_, c| c.iter().all(Client::is_full));
    for who in 0..clients.len() {
        assert_eq!(run(rig, clients, who, ready), status::GOOD);
    }
}

fn in_standby(code: u8, sense: &[u8]) -> bool {
    code == status::CHECK_CONDITION && (sense[2] & 15, sense[12], sense[13]) == (2, 0x04, 0x0b)
}

/// One block written through the first port and one through the second, at the end: nothing comes late.
fn standby(seed: u64, ordered: bool) {
    let plan = Plan { reactors: 3 + seed as usize % 2, disks: vec![24], two_ports: true, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut load = Load::new(1, 24);
    load.clears = false;
    let mut clients = some_clients(&rig, 4);
    log_in(&mut rig, &mut clients);
    load.run(&mut rig, &mut clients, 20 + seed % 40);
    while clients[WINNER].credit() == 0 {
        rig.round(&mut clients);
    }
    let (tag, mut told) = match ordered {
        true => (u32::MAX, Some(order(&rig, AccessState::Standby))),
        false => (set_group(&mut clients[WINNER], AccessState::Standby), None),
    };
    let mut duel = Duel::new(load, tag, false, in_standby);
    duel.fight(&mut rig, &mut clients, |duel, rig| {
        if let Some(result) = told.as_ref().and_then(|t| t.try_recv().ok()) {
            assert_eq!(result, Ok(()));
            duel.won(rig);
            told = None;
        }
    });
    settle_duel(&mut rig, &mut clients, &mut duel, false);
    duel.load.check();
    assert_eq!(rig.saved.lock().unwrap().len(), 1, "it outlives a power loss");
    rig.finish(&mut clients);
}

#[test]
fn after_set_target_port_groups_no_core_takes_writes_through_a_port_in_standby() {
    seeds(24, |seed| standby(seed, false));
}

#[test]
fn what_an_administrator_orders_holds_as_much() {
    seeds(24, |seed| standby(seed, true));
}

/// The sense of the one command that is sent now, if it has some.
fn sense_of(rig: &mut Rig, clients: &mut [Client], who: usize) -> Option<(u8, u8, u8)> {
    let tag = ready(&mut clients[who]);
    let mut got = None;
    rig.until(clients, Duration::from_secs(10), "one command is answered", |_, clients| {
        while let Some(event) = clients[who].events.pop_front() {
            if let Event::Answer { itt, sense, .. } = event
                && itt == tag
            {
                got = Some((sense.len() > 13).then(|| (sense[2] & 15, sense[12], sense[13])));
            }
        }
        got.is_some()
    });
    got.flatten()
}

fn quiet(seed: u64, saves: bool) -> (Rig, Vec<Client>) {
    let mut rig = Rig::new(seed, &Plan { reactors: 3, two_ports: true, saves, ..Plan::default() });
    let mut clients: Vec<Client> = (0..4).map(|n| rig.client("host", n, Manner::default())).collect();
    log_in(&mut rig, &mut clients);
    (rig, clients)
}

fn answer(
    rig: &mut Rig,
    clients: &mut [Client],
    told: &Receiver<Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut got = None;
    rig.until(clients, Duration::from_secs(10), "the order is answered", |_, _| {
        got = told.try_recv().ok();
        got.is_some()
    });
    got.unwrap()
}

#[test]
fn everybody_is_told_but_who_asked() {
    seeds(12, |seed| {
        let (mut rig, mut clients) = quiet(seed, true);
        assert_eq!(
            run(&mut rig, &mut clients, WINNER, |c| set_group(c, AccessState::NonOptimized)),
            status::GOOD
        );
        for who in 0..clients.len() {
            let told = (who != WINNER).then_some((6, 0x2a, 0x06));
            assert_eq!(sense_of(&mut rig, &mut clients, who), told, "client {who}");
        }
        let told = order(&rig, AccessState::Unavailable);
        assert_eq!(answer(&mut rig, &mut clients, &told), Ok(()));
        for who in 0..clients.len() {
            assert_eq!(sense_of(&mut rig, &mut clients, who), Some((6, 0x2a, 0x06)), "client {who}");
        }
        assert_eq!(sense_of(&mut rig, &mut clients, LOSER), Some((2, 0x04, 0x0c)));
        rig.finish(&mut clients);
    });
}

#[test]
fn a_change_that_cannot_be_saved_does_not_happen() {
    seeds(12, |seed| {
        let (mut rig, mut clients) = quiet(seed, false);
        let failed = Sense::new(SenseKey::HARDWARE_ERROR, Asc::SET_TARGET_PORT_GROUPS_FAILED);
        let told = order(&rig, AccessState::Standby);
        assert_eq!(answer(&mut rig, &mut clients, &told), Err(failed.into()));
        rig.pass(&mut clients, Duration::from_millis(200));
        for who in 0..clients.len() {
            assert_eq!(sense_of(&mut rig, &mut clients, who), Some((6, 0x2a, 0x07)), "client {who}");
            assert_eq!(sense_of(&mut rig, &mut clients, who), None, "client {who}");
        }
        rig.finish(&mut clients);
    });
}

#[test]
fn a_logical_unit_that_is_not_there_is_told_apart() {
    let (mut rig, mut clients) = quiet(0, true);
    let change = AccessChange { to: vec![(SECOND, AccessState::Standby)], by: ChangedBy::Administrator };
    let (tell, told) = bounded(1);
    rig.post.hand_in(0, Letter::Order { lu: LuId(99), op: Box::new(SharedOp::Access(change)), to: tell });
    rig.pass(&mut clients, Duration::from_millis(50));
    assert!(told.recv().is_err(), "nobody answers");
    rig.finish(&mut clients);
}

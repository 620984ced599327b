//! Sanitize and format operations over several cores: nothing that was written before they began is there afterwards, and
//! nothing but their own end ends them.

use std::time::Duration;

use super::client::{Client, Event};
use super::data::some_clients;
use super::load::lun;
use super::reservations::{ready, run};
use super::resizing::notice;
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::initiator::cdb;
use crate::mem::PoolConfig;
use crate::ring::sim::Faults;
use crate::scsi::{Cause, Erasure, Fill, LuState, status};
use crate::wire::codes::TmfFunction;

const WAIT: Duration = Duration::from_secs(120);

/// Blocks of the disk: some stretches of an operation.
const BLOCKS: u64 = 2048;

/// What initiators write, and what the operation does.
const OLD: u8 = 0x77;
pub(super) const NEW: u8 = 0xa5;

/// A status, with key, code and qualifier of the sense data.
type Said = (u8, (u8, u8, u8));

const GOOD: Said = (status::GOOD, (0, 0, 0));
const SANITIZING: Said = (status::CHECK_CONDITION, (2, 0x04, 0x1b));
const FAILED: Said = (status::CHECK_CONDITION, (3, 0x31, 0x03));

/// A write under way: who, its tag, first byte and length.
type Write = (usize, u32, std::ops::Range<usize>);

fn plan(seed: u64) -> Plan {
    let few = PoolConfig { data: [16, 16, 16, 6], reserve: [2, 2, 2, 2] };
    let pool = if seed.is_multiple_of(3) { few } else { Plan::default().pool };
    Plan { reactors: 1 + seed as usize % 4, disks: vec![BLOCKS], pool, ..Plan::default() }
}

fn scene(seed: u64, plan: &Plan) -> (Rig, Vec<Client>) {
    let mut rig = Rig::new(seed, plan);
    let mut clients = some_clients(&rig, 5);
    for client in &mut clients {
        client.login(rig.address, TARGET);
    }
    rig.until(&mut clients, WAIT, "logins", |_, clients| clients.iter().all(Client::is_full));
    (rig, clients)
}

fn settled(seed: u64) -> (Rig, Vec<Client>) {
    let (mut rig, mut clients) = scene(seed, &plan(seed));
    for who in 0..clients.len() {
        assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
    }
    (rig, clients)
}

/// SANITIZE, OVERWRITE in so many passes, every other of which is inverted.
pub(super) fn sanitize(client: &mut Client, immediate: bool, passes: u8) -> u32 {
    let flags = if immediate { 0x81 } else { 0x01 };
    client.command(lun(0), &[0x48, flags, 0, 0, 0, 0, 0, 0, 5, 0], vec![0x80 | passes, 0, 0, 1, NEW], 0)
}

fn said(event: &Event, itt: u32) -> Option<Said> {
    match event {
        Event::Answer { itt: tag, status, sense, .. } if *tag == itt => {
            let code = if sense.is_empty() { (0, 0, 0) } else { (sense[2] & 15, sense[12], sense[13]) };
            Some((*status, code))
        }
        _ => None,
    }
}

/// Waits for the answer of one command, and forgets whatever else is said to its client.
fn answer(rig: &mut Rig, clients: &mut [Client], who: usize, itt: u32) -> Said {
    let mut got = None;
    rig.until(clients, WAIT, "one command is answered", |_, clients| {
        let events = std::mem::take(&mut clients[who].events);
        got = got.or_else(|| events.iter().find_map(|event| said(event, itt)));
        got.is_some()
    });
    got.unwrap()
}

/// What TEST UNIT READY tells, past unit attentions.
fn standing(rig: &mut Rig, clients: &mut [Client], who: usize) -> Said {
    loop {
        rig.until(clients, WAIT, "the window opens", |_, clients| clients[who].credit() > 0);
        let itt = ready(&mut clients[who]);
        match answer(rig, clients, who, itt) {
            (status::CHECK_CONDITION, (6, ..)) => {}
            (status::BUSY | status::TASK_SET_FULL, _) => {}
            said => return said,
        }
    }
}

/// Until the operation has ended, well or not: what is told then.
fn outcome(rig: &mut Rig, clients: &mut [Client], who: usize) -> Said {
    loop {
        match standing(rig, clients, who) {
            SANITIZING => rig.pass(clients, Duration::from_millis(5)),
            said => return said,
        }
    }
}

/// All clients but the first send some writes.
fn send_writes(rig: &mut Rig, clients: &mut [Client], rounds: u64) -> Vec<Write> {
    let mut open: Vec<Write> = Vec::new();
    for _ in 0..rounds {
        for who in 1..clients.len() {
            if rig.chance(3) == 0 && clients[who].credit() > 0 && clients[who].outstanding() < 4 {
                let count = 1 + rig.chance(64);
                let first = rig.chance(BLOCKS - count + 1);
                let data = vec![OLD; count as usize * 512];
                let itt = clients[who].command(lun(0), &cdb::write(first, count as u32), data, 0);
                let from = first as usize * 512;
                open.push((who, itt, from..from + count as usize * 512));
            }
        }
        rig.round(clients);
        hear(clients, &mut open);
    }
    open
}

/// Takes out the writes that have been answered; returns those that have succeeded.
fn hear(clients: &mut [Client], open: &mut Vec<Write>) -> Vec<Write> {
    let mut good = Vec::new();
    for who in 1..clients.len() {
        for event in std::mem::take(&mut clients[who].events) {
            let Event::Answer { itt, status, .. } = event else { continue };
            let Some(at) = open.iter().position(|(w, tag, _)| (*w, *tag) == (who, itt)) else { continue };
            let write = open.swap_remove(at);
            if status == status::GOOD {
                good.push(write);
            }
        }
    }
    good
}

/// The disk is what the operation has made of it, but for those ranges.
fn check(rig: &Rig, but: &[Write], when: &str) {
    let content = rig.below.disk_content(rig.disks[0]);
    let wrong = content
        .iter()
        .enumerate()
        .find(|(at, byte)| **byte != NEW && !but.iter().any(|(_, _, range)| range.contains(at)));
    assert_eq!(wrong, None, "{when}");
}

#[test]
fn what_was_being_written_never_lands_afterwards() {
    seeds(32, |seed| {
        let (mut rig, mut clients) = settled(seed);
        let rounds = 20 + rig.chance(200);
        let mut open = send_writes(&mut rig, &mut clients, rounds);
        // One never sends the rest of its data, one is gone.
        clients[3].mute = rig.chance(2) == 0;
        if rig.chance(3) == 0 {
            clients[4].hang_up();
            open.retain(|(who, ..)| *who != 4);
        }
        let passes = 1 + rig.chance(2) as u8;
        let itt = sanitize(&mut clients[0], false, passes);
        let mut end = None;
        rig.until(&mut clients, WAIT, "the command is answered", |_, clients| {
            hear(clients, &mut open);
            let events = std::mem::take(&mut clients[0].events);
            end = end.or_else(|| events.iter().find_map(|event| said(event, itt)));
            end.is_some()
        });
        assert_eq!(end, Some(GOOD));
        check(&rig, &open, "when the command was answered");
        assert_eq!(standing(&mut rig, &mut clients, 0), GOOD);
        // Writes that come only now are newer.
        let mut newer = Vec::new();
        rig.until(&mut clients, WAIT, "the writes are answered", |_, clients| {
            newer.extend(hear(clients, &mut open));
            open.iter().all(|(who, ..)| clients[*who].mute)
        });
        rig.pass(&mut clients, Duration::from_millis(300));
        check(&rig, &newer, "afterwards");
        rig.finish(&mut clients);
    });
}

/// What would end any other command.
fn interfere(rig: &mut Rig, clients: &mut [Client], itt: u32) {
    let (who, tag) = match rig.chance(5) {
        0 => {
            clients[0].forget(itt);
            (0, clients[0].manage(TmfFunction::ABORT_TASK, lun(0), itt))
        }
        1 => (0, clients[0].manage(TmfFunction::ABORT_TASK_SET, lun(0), u32::MAX)),
        2 => (2, clients[2].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX)),
        3 => (0, clients[0].manage(TmfFunction::TARGET_WARM_RESET, 0, u32::MAX)),
        _ => {
            clients[0].hang_up();
            clients[0].login(rig.address, TARGET);
            return rig.until(clients, WAIT, "the login is answered", |_, clients| clients[0].is_full());
        }
    };
    rig.until(clients, WAIT, "the function is answered", |_, clients| {
        let events = std::mem::take(&mut clients[who].events);
        events.iter().any(|event| matches!(event, Event::Managed { itt, .. } if *itt == tag))
    });
}

#[test]
fn what_ends_its_command_does_not_end_it() {
    seeds(32, |seed| {
        let (mut rig, mut clients) = settled(seed);
        let mut ghosts = send_writes(&mut rig, &mut clients, 30);
        // Whatever is with the disk stays there for now, that of the operation too.
        rig.below.hang(rig.disks[0], true);
        let itt = sanitize(&mut clients[0], rig.chance(2) == 0, 1);
        while standing(&mut rig, &mut clients, 1) == GOOD {
            rig.pass(&mut clients, Duration::from_millis(1));
        }
        assert_eq!(standing(&mut rig, &mut clients, 1), SANITIZING);
        for _ in 0..1 + rig.chance(2) {
            interfere(&mut rig, &mut clients, itt);
            assert_eq!(standing(&mut rig, &mut clients, 1), SANITIZING);
        }
        hear(&mut clients, &mut ghosts);
        rig.below.hang(rig.disks[0], false);
        assert_eq!(outcome(&mut rig, &mut clients, 1), GOOD);
        rig.pass(&mut clients, Duration::from_millis(300));
        check(&rig, &[], "a write of before it came after it");
        rig.finish(&mut clients);
    });
}

#[test]
fn one_that_fails_keeps_the_medium_closed_until_another_succeeds() {
    let failed = std::cell::Cell::new(0);
    seeds(24, |seed| {
        let (mut rig, mut clients) = settled(seed);
        rig.below.set_faults(Faults { write_error: 150, ..Faults::rough() });
        let itt = sanitize(&mut clients[0], false, 2);
        let end = answer(&mut rig, &mut clients, 0, itt);
        rig.below.set_faults(Faults::rough());
        for who in 0..clients.len() {
            assert_eq!(standing(&mut rig, &mut clients, who), end, "client {who}");
        }
        if end == FAILED {
            failed.set(failed.get() + 1);
            let itt = clients[2].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX);
            rig.until(&mut clients, WAIT, "the reset is answered", |_, clients| {
                let events = std::mem::take(&mut clients[2].events);
                events.iter().any(|event| matches!(event, Event::Managed { itt: tag, .. } if *tag == itt))
            });
            assert_eq!(standing(&mut rig, &mut clients, 1), FAILED);
            // Past the unit attention of the reset.
            assert_eq!(standing(&mut rig, &mut clients, 3), FAILED);
            let itt = sanitize(&mut clients[3], false, 1);
            assert_eq!(answer(&mut rig, &mut clients, 3, itt), GOOD);
        } else {
            assert_eq!(end, GOOD);
        }
        assert_eq!(standing(&mut rig, &mut clients, 1), GOOD);
        check(&rig, &[], "afterwards");
        rig.finish(&mut clients);
    });
    let all = std::env::var_os("RINGTGT_SEED").is_some() || failed.get() > 3;
    assert!(all, "only {} have failed", failed.get());
}

fn interrupted(fill: Fill) -> LuState {
    let erasure = Erasure { cause: Cause::Sanitize { unrestricted: false }, fill, failed: false };
    LuState { erasure: Some(erasure), ..LuState::default() }
}

/// What the disk has of one who is gone keeps the operation waiting; until that ends the medium becomes smaller.
#[test]
fn a_medium_that_becomes_smaller_is_erased_up_to_its_new_end() {
    const SMALLER: u64 = 1000;
    seeds(16, |seed| {
        let (mut rig, mut clients) = settled(seed);
        rig.below.hang(rig.disks[0], true);
        clients[1].command(lun(0), &cdb::write(0, BLOCKS as u32), vec![OLD; BLOCKS as usize * 512], 0);
        rig.until(&mut clients, WAIT, "the disk has it all", |rig, _| {
            rig.alive().map(|reactor| reactor.world.disks).sum::<usize>() == 4
        });
        clients[1].hang_up();
        rig.pass(&mut clients, Duration::from_millis(100));
        let by_zeroes = seed.is_multiple_of(2);
        match by_zeroes {
            true => clients[0].command(lun(0), &[0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0], Vec::new(), 0),
            false => sanitize(&mut clients[0], true, 2),
        };
        while standing(&mut rig, &mut clients, 2) != SANITIZING {
            rig.pass(&mut clients, Duration::from_millis(1));
        }
        notice(&rig, SMALLER);
        rig.pass(&mut clients, Duration::from_secs(10));
        rig.below.hang(rig.disks[0], false);
        assert_eq!(outcome(&mut rig, &mut clients, 2), GOOD);
        let content = rig.below.disk_content(rig.disks[0]);
        let byte = if by_zeroes { 0 } else { NEW };
        assert_eq!(content[..SMALLER as usize * 512].iter().position(|b| *b != byte), None);
        rig.finish(&mut clients);
    });
}

#[test]
fn one_that_was_cut_off_goes_on_after_the_start() {
    seeds(16, |seed| {
        let fill = Fill::Pattern { pattern: vec![NEW], passes: 1, invert: true };
        let state = interrupted(fill);
        let (mut rig, mut clients) = scene(seed, &Plan { state, ..plan(seed) });
        assert_eq!(outcome(&mut rig, &mut clients, 1), GOOD);
        check(&rig, &[], "after the start");
        assert!(!rig.saved.lock().unwrap().is_empty(), "that it has ended is saved");
        rig.finish(&mut clients);
    });
}

#[test]
fn the_daemon_stops_in_the_middle() {
    seeds(16, |seed| {
        let fill = match seed % 2 {
            0 => Fill::Zeroes,
            _ => Fill::Pattern { pattern: vec![NEW], passes: 31, invert: false },
        };
        let (mut rig, mut clients) = scene(seed, &Plan { state: interrupted(fill), ..plan(seed) });
        let time = Duration::from_micros(rig.chance(100_000));
        rig.pass(&mut clients, time);
        clients.iter_mut().for_each(Client::hang_up);
        rig.drain(Duration::from_secs(10));
        // A reactor that ends has neither slots nor requests any more.
        rig.until(&mut clients, Duration::from_secs(12), "everybody stops", |rig, _| {
            rig.alive().next().is_none()
        });
    });
}

#[test]
fn zeroes_are_made_of_nothing() {
    seeds(16, |seed| {
        let (mut rig, mut clients) = settled(seed);
        send_writes(&mut rig, &mut clients, 100);
        let cdb: &[u8] =
            if seed.is_multiple_of(2) { &[0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0] } else { &[4, 0, 0, 0, 0, 0] };
        let itt = clients[0].command(lun(0), cdb, Vec::new(), 0);
        assert_eq!(answer(&mut rig, &mut clients, 0, itt), GOOD);
        let content = rig.below.disk_content(rig.disks[0]);
        assert_eq!(content.iter().position(|byte| *byte != 0), None);
        rig.finish(&mut clients);
    });
}

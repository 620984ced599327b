//! A capacity that changes while everybody reads and writes: from any core all are judged by the same one, and are
//! told of it once, at once.

use std::time::Duration;

use super::super::mail::Letter;
use super::client::{Client, Event};
use super::data::some_clients;
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::reservations::{ready, run, status_of};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ids::LuId;
use crate::scsi::{SharedOp, status};

const LARGE: u64 = 48;
const SMALL: u64 = 24;

/// Whoever watches the stores has noticed another size; disk 0 is owned by reactor 0.
pub(super) fn notice(rig: &Rig, blocks: u64) {
    rig.post.hand_in(0, Letter::Notice { lu: LuId(0), op: SharedOp::Resize { blocks } });
}

/// Sends TEST UNIT READY until it is answered with a unit attention, and what that says.
fn attention(rig: &mut Rig, clients: &mut [Client], who: usize) -> [u8; 3] {
    for _ in 0..1000 {
        let itt = ready(&mut clients[who]);
        let mut got = None;
        rig.until(clients, Duration::from_secs(10), "an answer", |_, clients| {
            while let Some(event) = clients[who].events.pop_front() {
                let Event::Answer { itt: tag, status, sense, .. } = event else { continue };
                if tag == itt && status == status::CHECK_CONDITION {
                    got = Some(Some([sense[2] & 15, sense[12], sense[13]]));
                } else if tag == itt {
                    got = Some(None);
                }
            }
            got.is_some()
        });
        if let Some(Some(sense)) = got {
            return sense;
        }
        rig.pass(clients, Duration::from_millis(1));
    }
    panic!("client {who} is not told");
}

/// The number of blocks that READ CAPACITY(10) gives a client.
fn capacity(rig: &mut Rig, clients: &mut [Client], who: usize) -> u64 {
    let itt = clients[who].command(lun(0), &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Vec::new(), 8);
    let mut last = None;
    rig.until(clients, Duration::from_secs(10), "a capacity", |_, clients| {
        while let Some(event) = clients[who].events.pop_front() {
            if let Event::Answer { itt: tag, data, .. } = event
                && tag == itt
            {
                last = Some(u64::from(u32::from_be_bytes([data[0], data[1], data[2], data[3]])));
            }
        }
        last.is_some()
    });
    last.unwrap() + 1
}

fn write_last(rig: &mut Rig, clients: &mut [Client], who: usize, block: u64) -> u8 {
    let itt = clients[who].command(lun(0), &cdb10(0x2a, 0, block, 1), vec![7; BLOCK], 0);
    status_of(rig, clients, who, itt)
}

#[test]
fn a_new_capacity_holds_on_every_core_and_is_told_once() {
    seeds(20, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![LARGE], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients = some_clients(&rig, 4);
        Load::new(1, LARGE).log_in(&mut rig, &mut clients);
        for who in 0..clients.len() {
            assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
        }
        // The last of several that are noticed one upon the other is the one that stays.
        for blocks in [LARGE - 1, SMALL + 1, SMALL] {
            notice(&rig, blocks);
        }
        rig.pass(&mut clients, Duration::from_secs(1));
        for who in 0..clients.len() {
            let told = |event: &Event| matches!(event, Event::Told([6, 0x2a, 0x09]));
            assert_eq!(clients[who].events.iter().filter(|event| told(event)).count(), 1, "by a message");
            assert_eq!(attention(&mut rig, &mut clients, who), [6, 0x2a, 0x09]);
            let itt = ready(&mut clients[who]);
            assert_eq!(status_of(&mut rig, &mut clients, who, itt), status::GOOD, "once");
            assert_eq!(capacity(&mut rig, &mut clients, who), SMALL);
            assert_eq!(write_last(&mut rig, &mut clients, who, SMALL), status::CHECK_CONDITION);
        }
        notice(&rig, LARGE);
        for who in 0..clients.len() {
            assert_eq!(attention(&mut rig, &mut clients, who), [6, 0x2a, 0x09]);
            assert_eq!(capacity(&mut rig, &mut clients, who), LARGE);
            assert_eq!(write_last(&mut rig, &mut clients, who, LARGE - 1), status::GOOD);
        }
        rig.finish(&mut clients);
    });
}

#[test]
fn what_lies_beyond_a_new_end_is_out_of_range_and_nothing_else_fails() {
    let beyond = std::cell::Cell::new(0);
    seeds(30, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![LARGE], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(1, LARGE);
        load.clears = seed % 2 == 0;
        let mut clients = some_clients(&rig, 5);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 60);
        notice(&rig, SMALL);
        load.run(&mut rig, &mut clients, 100);
        load.settle(&mut rig, &mut clients);
        let rest = |rig: &Rig| rig.below.disk_content(rig.disks[0])[SMALL as usize * BLOCK..].to_vec();
        let then = rest(&rig);
        load.run(&mut rig, &mut clients, 60);
        load.settle(&mut rig, &mut clients);
        assert!(rest(&rig) == then, "nothing is written beyond the end");
        load.check();
        assert!(load.senses.keys().all(|sense| *sense == (5, 0x21, 0)), "{:?}", load.senses);
        beyond.set(beyond.get() + load.failed);
        rig.finish(&mut clients);
    });
    assert!(beyond.get() > 0, "some commands meet the end");
}

#[test]
fn a_session_that_goes_on_with_another_connection_hears_of_it_whenever_it_happens() {
    seeds(60, |seed| {
        let reactors = 2 + seed as usize % 3;
        let plan = Plan { reactors, mail: 0..5_000_000, disks: vec![LARGE], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients = some_clients(&rig, 3);
        Load::new(1, LARGE).log_in(&mut rig, &mut clients);
        for who in 0..clients.len() {
            assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
        }
        clients[0].rejoins = true;
        let old = clients[0].leave();
        clients[0].login(rig.address, TARGET);
        for _ in 0..rig.chance(60) {
            rig.round(&mut clients);
        }
        notice(&rig, SMALL);
        rig.until(&mut clients, Duration::from_secs(20), "it goes on", |_, c| c[0].is_full());
        clients[0].events.clear();
        assert_eq!(attention(&mut rig, &mut clients, 0), [6, 0x2a, 0x09]);
        old.into_iter().for_each(|fd| rig.below.close(fd).expect("it was open"));
        rig.finish(&mut clients);
    });
}

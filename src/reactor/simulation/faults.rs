//! Disks that fail, connections that break, power that goes, and a daemon that stops.

use std::time::Duration;

use super::client::{Client, Event, Manner};
use super::data::some_clients;
use super::load::{Load, lun};
use super::reservations::{ready, run};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::initiator::cdb;
use crate::ring::sim::Faults;
use crate::scsi::{STUMBLES, status};

/// Sends commands while connections break; whoever loses one comes again.
fn survive(rig: &mut Rig, clients: &mut [Client], load: &mut Load, commands: u64) {
    let mut lost: Vec<Vec<_>> = clients.iter().map(|_| Vec::new()).collect();
    let mut sent = 0;
    rig.until(clients, Duration::from_secs(600), "the load is done", |rig, clients| {
        for who in 0..clients.len() {
            for event in load.hear(who, &mut clients[who]) {
                match event {
                    Event::Gone => {
                        lost[who].extend(load.lose(who));
                        clients[who].login(rig.address, TARGET);
                    }
                    Event::LoggedIn => load.bury(std::mem::take(&mut lost[who])),
                    other => panic!("{other:?} of client {who}"),
                }
            }
            if sent < commands && rig.chance(3) == 0 && clients[who].outstanding() < 12 {
                sent += u64::from(load.send(rig, clients, who).is_some());
            }
        }
        sent >= commands && load.open.is_empty() && clients.iter().all(Client::is_full)
    });
}

#[test]
fn faults_become_sense_data_and_never_a_hang() {
    let (read, write, space) = ((3, 0x11, 0), (3, 0x0c, 0), (7, 0x27, 7));
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
    seeds(24, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(2, 64);
        let mut clients = some_clients(&rig, 4);
        load.log_in(&mut rig, &mut clients);
        rig.below.set_faults(Faults::hostile());
        survive(&mut rig, &mut clients, &mut load, 200);
        rig.below.set_faults(Faults::rough());
        survive(&mut rig, &mut clients, &mut load, 1);
        load.read_all(&mut rig, &mut clients);
        load.check();
        for (sense, count) in &load.senses {
            assert!([read, write, space].contains(sense), "{sense:02x?}");
            *seen.borrow_mut().entry(*sense).or_insert(0) += count;
        }
        rig.finish(&mut clients);
    });
    let all = std::env::var_os("RINGTGT_SEED").is_some() || seen.borrow().len() == 3;
    assert!(all, "only {:02x?}", seen.borrow());
}

#[test]
fn a_power_cut_loses_nothing_that_was_flushed() {
    seeds(40, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![24, 24], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(2, 24);
        load.longest = 6;
        let mut clients = some_clients(&rig, 4);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 60 + seed * 3 % 100);
        for _ in 0..rig.chance(300) {
            rig.round(&mut clients);
        }
        for (who, client) in clients.iter_mut().enumerate() {
            load.hear(who, client);
        }
        rig.power_cut();
        for (disk, history) in load.histories.iter().enumerate() {
            history.check_survived(&rig.below.disk_content(rig.disks[disk]));
        }
    });
}

fn all_over(rig: &mut Rig) -> bool {
    rig.alive().next().is_none()
}

fn drain(seed: u64, obedient: bool) -> u64 {
    let plan = Plan { reactors: 1 + seed as usize % 4, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut load = Load::new(2, 64);
    let mut clients = some_clients(&rig, 5);
    load.log_in(&mut rig, &mut clients);
    load.run(&mut rig, &mut clients, 60);
    let begin = rig.below.now();
    rig.drain(Duration::from_secs(10));
    let mut rude = clients.len() as u64 - 1 + u64::from(obedient);
    rig.until(&mut clients, Duration::from_secs(12), "everybody stops", |rig, clients| {
        for (who, client) in clients.iter_mut().enumerate() {
            for event in load.hear(who, client) {
                match event {
                    Event::LogoutAsked if who as u64 == rude => rude = u64::MAX,
                    Event::LogoutAsked => client.log_out(),
                    Event::LoggedOut | Event::Gone => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        all_over(rig)
    });
    rig.below.now() - begin
}

#[test]
fn a_drain_ends_when_everybody_has_logged_out() {
    seeds(16, |seed| {
        let took = drain(seed, true);
        assert!(took < 2_000_000_000, "{took} ns");
    });
}

#[test]
fn a_drain_ends_at_its_deadline_at_the_latest() {
    seeds(8, |seed| assert!(drain(seed, false) >= 10_000_000_000));
}

#[test]
fn a_listener_that_failed_listens_again() {
    let mut rig = Rig::new(0, &Plan { reactors: 1, ..Plan::default() });
    let mut clients = vec![rig.client("host", 0, Manner::default())];
    rig.round(&mut clients);
    // The kernel was out of descriptors, and nobody is connected.
    let reactor = rig.alive().next().unwrap();
    let wait = reactor.listeners[0].armed.take();
    assert_ne!(reactor.wait(), crate::ring::Wait::Forever);
    reactor.listeners[0].armed = wait;
    rig.finish(&mut clients);
}

/// What a client is answered, with the status GOOD.
fn told(rig: &mut Rig, clients: &mut [Client], who: usize, cdb: &[u8]) -> Vec<u8> {
    let tag = clients[who].command(lun(0), cdb, Vec::new(), 255);
    let mut got = None;
    rig.until(clients, Duration::from_secs(10), "one command is answered", |_, clients| {
        let at =
            clients[who].events.iter().position(|e| matches!(e, Event::Answer { itt, .. } if *itt == tag));
        got = got.take().or_else(|| clients[who].events.remove(at?));
        got.is_some()
    });
    match got {
        Some(Event::Answer { status: status::GOOD, data, .. }) => data,
        other => panic!("{other:?}"),
    }
}

/// INQUIRY, READ CAPACITY and MODE SENSE.
fn introductions(rig: &mut Rig, clients: &mut [Client], who: usize) -> [Vec<u8>; 3] {
    let mode_sense = &[0x1a, 8, 0x3f, 0, 255, 0][..];
    [&cdb::inquiry(None, 255)[..], &cdb::read_capacity(), mode_sense].map(|cdb| told(rig, clients, who, cdb))
}

#[test]
fn a_mistake_in_a_login_is_told_as_one_and_the_next_login_comes_in() {
    seeds(8, |seed| {
        let mut rig = Rig::new(seed, &Plan { reactors: 1, ..Plan::default() });
        let mut clients = some_clients(&rig, 1);
        STUMBLES.set(true);
        clients[0].login(rig.address, TARGET);
        rig.until(&mut clients, Duration::from_secs(10), "it is put out", |_, clients| {
            clients[0].events.contains(&Event::Gone)
        });
        assert!(!STUMBLES.get() && clients[0].events.contains(&Event::Refused(3, 0)), "target error");
        let load = Load::new(1, 64);
        load.log_in(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_mistake_in_the_core_ends_one_connection_and_the_others_go_on() {
    seeds(8, |seed| {
        let mut rig = Rig::new(seed, &Plan { reactors: 1, ..Plan::default() });
        let mut load = Load::new(2, 64);
        let mut clients = some_clients(&rig, 4);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 40);
        load.settle(&mut rig, &mut clients);
        // Some may have had nothing to do with the first disk, and have yet to be told that it is new.
        (0..4).for_each(|who| assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD));
        let before = introductions(&mut rig, &mut clients, 1);
        assert!(before.iter().all(|answer| answer.len() >= 8), "{before:02x?}");
        // The others have something under way meanwhile.
        rig.below.hang(rig.disks[0], true);
        (1..4).for_each(|who| _ = load.send_write(&mut clients[who], who, 0, (0, 8), false));
        rig.pass(&mut clients, Duration::from_millis(50));
        STUMBLES.set(true);
        match seed % 2 {
            0 => clients[0].command(lun(0), &cdb::inquiry(None, 255), Vec::new(), 255),
            _ => load.send_read(&mut clients[0], 0, 0, (0, 8)),
        };
        rig.until(&mut clients, Duration::from_secs(10), "it is put out", |_, clients| {
            clients[0].events.contains(&Event::Gone)
        });
        assert!(!STUMBLES.get());
        for who in 1..4 {
            assert_eq!(introductions(&mut rig, &mut clients, who), before, "client {who}");
        }
        rig.below.hang(rig.disks[0], false);
        load.lose(0);
        load.log_in(&mut rig, &mut clients[..1]);
        load.settle(&mut rig, &mut clients);
        assert_eq!(introductions(&mut rig, &mut clients, 3), before);
        load.read_all(&mut rig, &mut clients);
        load.check();
        rig.finish(&mut clients);
    });
}

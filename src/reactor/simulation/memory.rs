//! Writes to a ramdisk, which may be done as soon as they are there, and must not be when they may not.

use std::time::Duration;

use super::super::mail::Fence;
use super::client::{Client, Event, Manner};
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::reservations::run;
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ids::{CoreId, LuId};
use crate::scsi::{Bar, Failure, status};
use crate::wire::codes::{TmfFunction, TmfResponse};

const LU: LuId = LuId(0);

/// What every write of these writes: the first blocks, full of that byte.
fn write(c: &mut Client, byte: u8) -> u32 {
    c.command(lun(0), &cdb10(0x2a, 0, 0, 8), vec![byte; 8 * BLOCK], 0)
}

/// An initiator, and a ramdisk to which it has written ones.
fn scene(seed: u64, manner: Manner) -> (Rig, Vec<Client>) {
    let plan = Plan { reactors: 1 + seed as usize % 3, disks: vec![64], memory: true, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut clients = vec![rig.client("host", 0, manner)];
    Load::new(1, 64).log_in(&mut rig, &mut clients);
    assert_eq!(run(&mut rig, &mut clients, 0, |c| write(c, 1)), status::GOOD);
    assert_eq!(content(&mut rig), 1);
    (rig, clients)
}

/// What the first blocks are full of.
fn content(rig: &mut Rig) -> u8 {
    let world = &mut rig.alive().next().expect("a reactor").world;
    let mut bytes = [0; 8 * BLOCK];
    let place = world.units[0].store.resident(0, bytes.len() as u32).expect("it is memory");
    world.memory.read(place, &mut bytes);
    assert!(bytes.iter().all(|b| *b == bytes[0]), "a part of a write");
    bytes[0]
}

/// The first thing that the initiator is told.
fn told(rig: &mut Rig, clients: &mut [Client]) -> Event {
    rig.until(clients, Duration::from_secs(10), "something is told", |_, c| !c[0].events.is_empty());
    clients[0].events.pop_front().expect("it was told")
}

/// Whoever comes now writes, and finds everything as it should be.
fn and_all_is_well(mut rig: Rig, mut clients: Vec<Client>) {
    assert_eq!(run(&mut rig, &mut clients, 0, |c| write(c, 3)), status::GOOD);
    assert_eq!(content(&mut rig), 3);
    rig.finish(&mut clients);
}

#[test]
fn spoilt_data_does_not_reach_memory() {
    seeds(40, |seed| {
        // With the command, behind it, or asked for.
        let (immediate, initial_r2t) = (seed % 2 == 0, seed % 3 == 0);
        let manner = Manner { digests: true, immediate, initial_r2t, ..Manner::default() };
        let (mut rig, mut clients) = scene(seed, manner);
        clients[0].spoils = true;
        write(&mut clients[0], 2);
        assert!(matches!(told(&mut rig, &mut clients), Event::Rejected(_)));
        rig.pass(&mut clients, Duration::from_secs(1));
        assert_eq!(content(&mut rig), 1);
        clients[0].spoils = false;
        clients[0].login(rig.address, TARGET);
        rig.until(&mut clients, Duration::from_secs(20), "the login", |_, c| c[0].is_full());
        clients[0].events.clear();
        and_all_is_well(rig, clients);
    });
}

#[test]
fn data_of_a_write_that_is_being_aborted_does_not_reach_memory() {
    seeds(24, |seed| {
        let (mut rig, mut clients) =
            scene(seed, Manner { immediate: false, initial_r2t: true, ..Manner::default() });
        clients[0].mute = true;
        let task = write(&mut clients[0], 2);
        rig.pass(&mut clients, Duration::from_secs(1));
        let (function, which) = match seed % 2 {
            0 => (TmfFunction::ABORT_TASK, task),
            _ => (TmfFunction::ABORT_TASK_SET, u32::MAX),
        };
        let itt = clients[0].manage(function, lun(0), which);
        rig.pass(&mut clients, Duration::from_millis(seed));
        // All that was asked for comes all the same.
        clients[0].mute = false;
        assert_eq!(told(&mut rig, &mut clients), Event::Managed { itt, response: TmfResponse::COMPLETE });
        rig.pass(&mut clients, Duration::from_secs(1));
        assert_eq!((content(&mut rig), clients[0].events.len()), (1, 0));
        clients[0].forget(task);
        and_all_is_well(rig, clients);
    });
}

#[test]
fn a_fence_keeps_writes_out_of_memory() {
    seeds(24, |seed| {
        let (mut rig, mut clients) = scene(seed, Manner::default());
        let id = (CoreId(99), 1);
        let fence = Fence { id, lu: LU, offset: 0, len: 512 };
        rig.alive().for_each(|r| r.world.take_fences(&[fence]));
        let itt = write(&mut clients[0], 2);
        rig.pass(&mut clients, Duration::from_secs(1));
        assert_eq!((content(&mut rig), clients[0].events.len()), (1, 0));
        rig.alive().for_each(|r| r.world.lift(id, LU));
        let Event::Answer { itt: tag, status, .. } = told(&mut rig, &mut clients) else {
            panic!("no answer")
        };
        assert_eq!((tag, status, content(&mut rig)), (itt, status::GOOD, 2));
        and_all_is_well(rig, clients);
    });
}

#[test]
fn who_is_barred_writes_nothing_to_memory() {
    seeds(24, |seed| {
        let (mut rig, mut clients) = scene(seed, Manner::default());
        let bar = Bar { medium: Failure::Status(status::RESERVATION_CONFLICT), in_standby: None };
        for r in rig.alive() {
            r.world.units[0].barred = r.conns.ids().into_iter().map(|id| (id, bar)).collect();
        }
        assert_eq!(run(&mut rig, &mut clients, 0, |c| write(c, 2)), status::RESERVATION_CONFLICT);
        assert_eq!(content(&mut rig), 1);
        rig.alive().for_each(|r| r.world.units[0].barred.clear());
        and_all_is_well(rig, clients);
    });
}

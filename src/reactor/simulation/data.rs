//! One disk for all: reads, writes, flushes and unmaps of several sessions on several cores.

use super::client::{Client, Manner};
use super::load::Load;
use super::rig::{Plan, Rig};
use super::seeds;

fn some_manner(rig: &Rig) -> Manner {
    let first_burst = 512 << rig.chance(10);
    Manner {
        digests: rig.chance(4) == 0,
        initial_r2t: rig.chance(3) == 0,
        immediate: rig.chance(3) > 0,
        first_burst,
        max_burst: first_burst << rig.chance(3),
        segment: 512 << rig.chance(10),
        piece: 512 << rig.chance(6),
        window: 300 << rig.chance(9),
    }
}

pub(super) fn some_clients(rig: &Rig, count: u8) -> Vec<Client> {
    (0..count).map(|n| rig.client("host", n, some_manner(rig))).collect()
}

/// As [`some_clients`]. What is read from memory without a digest goes out from where it is, and may change meanwhile; so all
/// have them there.
pub(super) fn clients_of(rig: &Rig, plan: &Plan, count: u8) -> Vec<Client> {
    let mut clients = some_clients(rig, count);
    clients.iter_mut().for_each(|client| client.manner.digests |= plan.memory);
    clients
}

fn mixed(seed: u64, plan: &Plan) {
    let mut rig = Rig::new(seed, plan);
    let mut load = Load::new(plan.disks.len(), plan.disks[0]);
    let mut clients = clients_of(&rig, plan, 5);
    load.log_in(&mut rig, &mut clients);
    load.run(&mut rig, &mut clients, 250);
    load.settle(&mut rig, &mut clients);
    load.read_all(&mut rig, &mut clients);
    load.check();
    assert_eq!(load.failed, 0, "{:?}", load.senses);
    rig.finish(&mut clients);
}

#[test]
fn every_block_is_linearizable_from_any_core() {
    seeds(24, |seed| mixed(seed, &Plan { reactors: 1 + seed as usize % 4, ..Plan::default() }));
}

#[test]
fn every_block_of_a_ramdisk_is_linearizable_from_any_core() {
    seeds(16, |seed| {
        mixed(seed, &Plan { reactors: 1 + seed as usize % 4, memory: true, ..Plan::default() });
    });
}

#[test]
fn long_transfers_go_by_segments() {
    seeds(6, |seed| {
        let plan = Plan { disks: vec![2048], reactors: 2, ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(1, 2048);
        load.longest = 2048;
        load.clears = false;
        let mut clients = some_clients(&rig, 3);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 16);
        load.settle(&mut rig, &mut clients);
        load.read_all(&mut rig, &mut clients);
        load.check();
        rig.finish(&mut clients);
    });
}

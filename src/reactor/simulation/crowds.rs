//! Thousands of requests that wait for thousands of fences, as after a disk that has hung: what that costs, and that
//! nothing of it stays.

use std::ops::Range;
use std::time::Duration;

use super::super::disk::Client as Who;
use super::super::unit::COMPARED;
use super::rig::{Plan, Rig};
use super::seeds;
use crate::ids::{ConnId, LuId, TaskId};
use crate::ring::sim::Faults;
use crate::session::host::DiskOp;

const LU: LuId = LuId(0);
const CONN: ConnId = ConnId { index: 9000, generation: 0 };
const BLOCK: u64 = 512;

/// Ghosts, and requests that wait for them.
const MANY: u32 = 2000;

fn task(index: u32) -> TaskId {
    TaskId { index, generation: 0 }
}

/// Zeroes some blocks, for a task of that number.
fn zero(rig: &mut Rig, number: u32, first: u64, blocks: u64) {
    let who = Who::Task { conn: CONN, task: task(number), part: 0 };
    let op = DiskOp::Zero { offset: first * BLOCK, len: blocks * BLOCK, unmap: true };
    rig.alive().next().expect("a reactor").world.submit(who, LU, op);
}

fn forget(rig: &mut Rig, numbers: Range<u32>) {
    let tasks: Vec<TaskId> = numbers.map(task).collect();
    rig.alive().next().expect("a reactor").world.abandon(CONN, &tasks);
}

fn parked(rig: &mut Rig) -> usize {
    rig.alive().next().expect("a reactor").world.units[0].parked.len()
}

/// A reactor whose disk hangs and has many ghosts, each on blocks of its own.
fn haunted(seed: u64) -> Rig {
    let disks = vec![u64::from(MANY) * 4];
    let plan = Plan { reactors: 1, disks, operations: 8192, faults: Faults::none(), ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    rig.below.hang(rig.disks[0], true);
    (0..MANY).for_each(|n| zero(&mut rig, n, u64::from(n) * 4, 4));
    rig.round(&mut []);
    forget(&mut rig, 0..MANY);
    assert_eq!(rig.alive().next().unwrap().world.units[0].fences.len(), MANY as usize);
    rig
}

fn goes_on(rig: &mut Rig) {
    rig.below.hang(rig.disks[0], false);
    rig.until(&mut [], Duration::from_secs(60), "all have ended", |rig, _| {
        rig.alive().all(|r| r.world.jobs.is_empty())
    });
}

/// Every request is compared with every fence, but not again and again.
#[test]
fn thousands_wait_for_thousands_of_ghosts() {
    seeds(1, |seed| {
        let mut rig = haunted(seed);
        for n in 0..MANY {
            // Some wait for one ghost, some for many.
            let blocks = 1 + rig.chance(if n % 2 == 0 { 4 } else { u64::from(MANY) * 2 });
            let first = rig.chance(u64::from(MANY) * 4 - blocks);
            zero(&mut rig, MANY + n, first, blocks);
        }
        assert_eq!(parked(&mut rig), MANY as usize);
        COMPARED.set(0);
        goes_on(&mut rig);
        let most = 3 * u64::from(MANY).pow(2);
        assert!(COMPARED.get() < most, "{} comparisons, at most {most} are needed", COMPARED.get());
        rig.finish(&mut []);
    });
}

/// A disk that hangs for ever, and an initiator that tries and gives up, over and over.
#[test]
fn nothing_is_kept_of_requests_that_were_given_up() {
    let mut rig = haunted(0);
    for n in 0..10_000 {
        zero(&mut rig, MANY, 0, 8);
        zero(&mut rig, MANY + 1 + n, 0, 8);
        forget(&mut rig, MANY..MANY + 2 + n);
    }
    assert_eq!(parked(&mut rig), 0);
    goes_on(&mut rig);
    rig.finish(&mut []);
}

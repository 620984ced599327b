//! Ranges that a client has to itself: what it reads and writes there is one step to everybody else.
//!
//! Counters on the medium are read, and written one higher, by clients on all reactors. If two ever meet, or meet an
//! ordinary write, a count is lost.

use std::time::Duration;

use super::super::Reactor;
use super::super::disk::Client as Who;
use super::super::tag::Tag;
use super::rig::{Plan, Rig};
use super::seeds;
use crate::ids::{BufId, ConnId, LuId, TaskId};
use crate::ring::sim::{Faults, Sim};
use crate::ring::{Done, Driver, Wait};
use crate::scsi::{Bar, Failure, status};
use crate::session::host::DiskOp;

const LU: LuId = LuId(0);
const BLOCK: u32 = 512;

/// What a counter is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Asked,
    Reading,
    Writing,
    Leaving,
}

/// A task that adds one to the first words of some blocks, over and over.
#[derive(Debug)]
struct Counter {
    core: usize,
    who: Who,
    first: u64,
    blocks: u32,
    buf: BufId,
    step: Step,
}

impl Counter {
    fn new(rig: &mut Rig, number: u32, blocks: u64) -> Self {
        let core = rig.chance(rig.reactors.len() as u64) as usize;
        let count = 1 + rig.chance(4) as u32;
        let first = rig.chance(blocks - u64::from(count) + 1);
        let world = &mut reactor(rig, core).world;
        let buf = world.pool.alloc(count * BLOCK).expect("a slot");
        let (conn, task) =
            (ConnId { index: 9000 + number, generation: 0 }, TaskId { index: 0, generation: 0 });
        Self { core, who: Who::Task { conn, task, part: 0 }, first, blocks: count, buf, step: Step::Idle }
    }

    fn range(&self) -> (u64, u32) {
        (self.first * u64::from(BLOCK), self.blocks * BLOCK)
    }

    fn submit(&mut self, rig: &mut Rig, op: DiskOp, step: Step) {
        self.step = step;
        reactor(rig, self.core).world.submit(self.who, LU, op);
    }

    /// Whether its request has ended.
    fn hear(&self, rig: &mut Rig) -> bool {
        let heard = &mut reactor(rig, self.core).world.heard;
        let Some(at) = heard.iter().position(|(client, _)| client.is_same_task(self.who)) else {
            return false;
        };
        assert_eq!(heard.swap_remove(at).1, Ok(()));
        true
    }

    /// Goes on as far as it can; true when it has counted.
    fn go_on(&mut self, rig: &mut Rig) -> bool {
        let (offset, len) = self.range();
        let buf = self.buf;
        match self.step {
            Step::Idle => {
                self.submit(rig, DiskOp::Enclose { offset, len: len.into() }, Step::Asked);
                false
            }
            _ if !self.hear(rig) => false,
            Step::Asked => {
                self.submit(rig, DiskOp::Read { buf, len, offset }, Step::Reading);
                false
            }
            Step::Reading => {
                self.add_one(rig);
                self.submit(
                    rig,
                    DiskOp::Write { buf, len, offset, fua: false, atomic: false },
                    Step::Writing,
                );
                false
            }
            Step::Writing => {
                self.submit(rig, DiskOp::Disclose, Step::Leaving);
                false
            }
            Step::Leaving => {
                self.step = Step::Idle;
                true
            }
        }
    }

    fn add_one(&self, rig: &mut Rig) {
        let world = &mut reactor(rig, self.core).world;
        let place = world.pool.place(self.buf).first(self.range().1);
        for block in world.memory.get_mut(place).chunks_exact_mut(BLOCK as usize) {
            let (count, _) = block.split_first_chunk_mut().expect("a block");
            *count = (u64::from_le_bytes(*count) + 1).to_le_bytes();
        }
    }

    /// The task is forgotten; whether what it was writing may still happen.
    fn vanish(&self, rig: &mut Rig) -> bool {
        let Who::Task { conn, task, .. } = self.who else { return false };
        let world = &mut reactor(rig, self.core).world;
        let held = world.abandon(conn, &[task]);
        if !held.contains(&self.buf) {
            world.pool.free(self.buf);
        }
        self.step == Step::Writing
    }
}

fn reactor(rig: &mut Rig, core: usize) -> &mut Reactor<Sim> {
    rig.reactors[core].as_mut().expect("it runs")
}

/// How often each block has been counted up, for certain and perhaps.
fn count(totals: &mut [(u64, u64)], counter: &Counter, sure: bool) {
    for (least, most) in &mut totals[counter.first as usize..][..counter.blocks as usize] {
        *least += u64::from(sure);
        *most += 1;
    }
}

fn counters(seed: u64, plan: &Plan, forgetful: bool) {
    let mut rig = Rig::new(seed, plan);
    let blocks = plan.disks[0];
    let mut crowd: Vec<Counter> = (0..12).map(|n| Counter::new(&mut rig, n, blocks)).collect();
    let mut totals = vec![(0, 0); blocks as usize];
    let (mut done, mut together, mut next) = (0, 0, 100);
    rig.until(&mut [], Duration::from_secs(900), "all count", |rig, _| {
        for counter in &mut crowd {
            if done < 300 || counter.step != Step::Idle {
                let counted = counter.go_on(rig);
                done += u64::from(counted);
                if counted {
                    count(&mut totals, counter, true);
                }
            }
            if forgetful && done < 300 && counter.step != Step::Leaving && rig.chance(400) == 0 {
                if counter.vanish(rig) {
                    count(&mut totals, counter, false);
                }
                next += 1;
                *counter = Counter::new(rig, next, blocks);
            }
        }
        let inside = |c: &&Counter| matches!(c.step, Step::Reading | Step::Writing);
        together = together.max(crowd.iter().filter(inside).count());
        done >= 300 && crowd.iter().all(|c| c.step == Step::Idle)
    });
    assert!(together > 1, "different ranges at the same time");
    for counter in &crowd {
        reactor(&mut rig, counter.core).world.pool.free(counter.buf);
    }
    rig.finish(&mut []);
    let content = rig.below.disk_content(rig.disks[0]);
    for (lba, (block, (least, most))) in content.chunks(BLOCK as usize).zip(totals).enumerate() {
        let found = u64::from_le_bytes(*block.first_chunk().expect("a block"));
        assert!((least..=most).contains(&found), "block {lba}: {found} of {least} to {most}");
    }
}

#[test]
fn what_waits_for_a_forgotten_request_and_is_forgotten_with_it_never_begins() {
    let mut rig =
        Rig::new(0, &Plan { reactors: 2, operations: 1, faults: Faults::none(), ..Plan::default() });
    // The second reactor has no listener, so that its ring is empty.
    let Rig { reactors, below, .. } = &mut rig;
    let world = &mut reactors[1].as_mut().expect("it runs").world;
    let conn = ConnId { index: 9000, generation: 0 };
    let [other, first, second] = [0, 1, 2].map(|index| TaskId { index, generation: 0 });
    let bufs = [other, first, second].map(|task| {
        let buf = world.pool.alloc(BLOCK).expect("a slot");
        let offset = u64::from(task == other) * 4096;
        let op = DiskOp::Write { buf, len: BLOCK, offset, fua: false, atomic: false };
        // The ring is full when the second write comes; its range is fenced before the third, which meets it.
        world.submit(Who::Task { conn, task, part: 0 }, LU, op);
        if task == first {
            let medium = Failure::Status(status::BUSY);
            world.units[LU.0 as usize].barred = vec![(conn, Bar { medium, in_standby: None })];
            let waiting = world.jobs_of_barred(LU);
            world.units[LU.0 as usize].barred.clear();
            world.fence_off(waiting[1]);
        }
        buf
    });
    let mut done = Vec::new();
    while done.is_empty() {
        below.step_until(None);
        world.driver.turn(Wait::Forever, &mut world.memory, &mut done);
    }
    for Done { op, result, .. } in done {
        let Tag::Disk(index) = Tag::unpack(op.tag) else { panic!("only the disk has something") };
        world.disk_completed(index, result);
    }
    assert_eq!((world.jobs.len(), world.driver.in_flight()), (2, 0), "two wait, and there is room");
    assert!(world.abandon(conn, &[first, second]).is_empty());
    assert_eq!((world.jobs.len(), world.driver.in_flight()), (0, 0), "nothing has begun after its end");
    bufs.into_iter().for_each(|buf| world.pool.free(buf));
    rig.finish(&mut []);
}

#[test]
fn what_is_read_and_written_in_an_enclosed_range_is_one_step() {
    seeds(24, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![16], ..Plan::default() };
        counters(seed, &plan, false);
    });
}

#[test]
fn a_forgotten_task_keeps_its_range_until_the_disk_has_nothing_of_it() {
    seeds(24, |seed| {
        let faults = Faults { disk_latency: 1_000..200_000_000, ..Faults::rough() };
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![16], faults, ..Plan::default() };
        counters(seed, &plan, true);
    });
}

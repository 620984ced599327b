//! Operations on whole media at work: the owner of a logical unit goes over it, for SANITIZE and FORMAT UNIT.
//!
//! ```text
//!   the state holds: everybody keeps out ─► stretches, a few at a time ─► flush ─► the next pass …
//!                  ─► the owner's own change: erased ─► it holds everywhere ─► the command is answered, if it waits
//! ```
//!
//! It belongs to the logical unit, not to a session: what ends the command, the session or the process does not end it.
//! The state is on disk before it begins and after it has ended, so that a process that is started again begins anew. Its
//! requests wait for fences like all others: what was written before never lands after it.

use std::ops::Range;

use super::disk::Client;
use super::gates::Then;
use super::mail::Letter;
use super::world::World;
use crate::ids::{BufId, LuId};
use crate::mem::{Holding, Share};
use crate::ring::Driver;
use crate::scsi::{Erasure, Failure, Fill, ItNexus, SharedOp, status};
use crate::session::SEGMENT;
use crate::session::host::DiskOp;

/// Requests with the disk at a time: it is kept busy, and others have their turn.
const LANES: usize = 2;

/// Bytes of one request that zeroes. The store works it off in pieces.
const ZEROED: u64 = 64 << 20;

/// When it is tried again to save that it has ended, nanoseconds.
const RETRY_NS: u64 = 5_000_000_000;

/// An operation on the whole medium.
#[derive(Debug)]
pub(super) struct Erasing {
    lu: LuId,
    erasure: Erasure,
    pass: u8,
    /// First byte that has had no request in this pass.
    at: u64,
    /// Bytes of all passes that are done.
    done: u64,
    lanes: [Lane; LANES],
    step: Step,
}

/// A place for one request at a time.
#[derive(Debug, Default)]
struct Lane {
    /// It is full of what this pass writes.
    slot: Option<BufId>,
    /// The bytes of the medium that the request is for which is with the disk.
    busy: Option<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Going,
    /// Everything that was written in this pass becomes durable.
    Flushing,
    /// A request has failed.
    Failed,
    /// All passes are done.
    Done,
    /// It is told to the owner, who saves it.
    Telling {
        failed: bool,
    },
    /// That could not be saved; it is told again at that time.
    Untold {
        failed: bool,
        at: u64,
    },
}

impl Erasing {
    fn new(lu: LuId, erasure: Erasure) -> Self {
        Self { lu, erasure, pass: 0, at: 0, done: 0, lanes: Default::default(), step: Step::Going }
    }

    /// The logical unit.
    pub(super) fn unit(&self) -> LuId {
        self.lu
    }

    fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.busy.is_none())
    }

    /// Bytes of the next request, if there is to be one on a medium of `total` bytes.
    fn next_stretch(&self, total: u64) -> Option<u64> {
        let most = if self.erasure.fill == Fill::Zeroes { ZEROED } else { SEGMENT.into() };
        let left = total.saturating_sub(self.at);
        (self.step == Step::Going && left > 0).then(|| left.min(most))
    }

    /// In 65536ths of all passes over a medium of `total` bytes.
    fn progress(&self, total: u64) -> u16 {
        let all = u128::from(total) * u128::from(self.erasure.fill.passes());
        let part = (u128::from(self.done) << 16).checked_div(all).unwrap_or(0);
        u16::try_from(part).unwrap_or(u16::MAX)
    }

    /// A request for these bytes has ended, of a medium of `total` bytes now. One that reached beyond a new end is made anew,
    /// for what is left of it.
    fn stretch_ended(&mut self, range: &Range<u64>, total: u64, failed: bool) {
        match self.step {
            Step::Going if failed && range.end > total => self.at = self.at.min(range.start),
            _ if failed => self.step = Step::Failed,
            Step::Flushing => self.end_pass(),
            _ => self.done += range.end - range.start,
        }
    }

    /// A pass is durable.
    fn end_pass(&mut self) {
        self.pass += 1;
        self.at = 0;
        self.step = if self.pass < self.erasure.fill.passes() { Step::Going } else { Step::Done };
    }
}

impl<D: Driver> World<D> {
    /// The change holds that has brought new logical units: what was under way on them goes on. Not before: a change
    /// that is given up must have written nowhere.
    pub(super) fn resume_arrived(&mut self) {
        std::mem::take(&mut self.arriving).into_iter().for_each(|lu| self.resume_erasure(lu));
    }

    /// After the start: what was under way goes on.
    pub(super) fn resume_erasure(&mut self, lu: LuId) {
        if self.owner(lu) == self.mail.core {
            self.begin_erasure(lu);
        }
    }

    /// The owner: a state holds everywhere. If it says that the medium is to be erased, that begins.
    pub(super) fn begin_erasure(&mut self, lu: LuId) {
        let Some(unit) = self.units.get(lu.0 as usize) else { return };
        let Some(erasure) = unit.told.erasing().filter(|_| !unit.retiring) else { return };
        if !self.erasing.iter().any(|e| e.lu == lu) {
            tracing::info!(store = unit.lu.facts.name, cause = ?erasure.cause, "the whole medium is being erased");
            unit.lu.counters.set_progress(0);
            self.erasing.push(Erasing::new(lu, erasure.clone()));
        }
    }

    /// The logical unit is about to go, and the requests are forgotten; the disk still has these slots. Whoever waits for
    /// the end hears that it does not come.
    pub(super) fn stop_erasing(&mut self, lu: LuId, held: &[BufId]) {
        let stopped: Vec<Erasing> = self.erasing.extract_if(.., |e| e.lu == lu).collect();
        let slots = stopped.into_iter().flat_map(|e| e.lanes).filter_map(|lane| lane.slot);
        for slot in slots.filter(|slot| !held.contains(slot)) {
            self.pool.free(slot);
        }
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        for ask in std::mem::take(&mut unit.erasers) {
            let result = Err(Failure::Status(status::BUSY));
            self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        }
    }

    /// Goes on with all of them as far as can be in this turn.
    pub(super) fn erase_on(&mut self) {
        // None begins or ends meanwhile.
        let mut all = std::mem::take(&mut self.erasing);
        all.iter_mut().for_each(|erasing| self.go_over(erasing));
        self.erasing = all;
    }

    fn go_over(&mut self, erasing: &mut Erasing) {
        if !self.stopping {
            self.start_stretches(erasing);
            if erasing.is_idle() {
                self.next_step(erasing);
            }
        }
        // When the daemon stops what is with the disk ends; the rest is done after the next start.
        if self.stopping || erasing.step != Step::Going {
            self.give_slots_back(erasing);
        }
    }

    fn start_stretches(&mut self, erasing: &mut Erasing) {
        let total = self.units.get(erasing.lu.0 as usize).map_or(0, |unit| unit.lu.facts.bytes());
        for lane in 0..LANES {
            if erasing.lanes[lane].busy.is_some() {
                continue;
            }
            let Some(len) = erasing.next_stretch(total) else { return };
            let Some(op) = self.stretch_op(erasing, lane, len) else { return };
            let at = erasing.at;
            erasing.at += len;
            erasing.lanes[lane].busy = Some(at..erasing.at);
            self.submit(Client::Erasure { lane: lane as u8 }, erasing.lu, op);
        }
    }

    /// `None`: there is no slot now. While slots are short it has one at a time, and only for as long as it uses it.
    fn stretch_op(&mut self, erasing: &mut Erasing, lane: usize, len: u64) -> Option<DiskOp> {
        let offset = erasing.at;
        if erasing.erasure.fill == Fill::Zeroes {
            return Some(DiskOp::Zero { offset, len, unmap: true });
        }
        if erasing.lanes[lane].slot.is_none() {
            if self.pool.is_low() && !erasing.is_idle() {
                return None;
            }
            erasing.lanes[lane].slot = Some(self.pattern_slot(erasing)?);
        }
        let buf = erasing.lanes[lane].slot?;
        Some(DiskOp::Write { buf, len: len as u32, offset, fua: false, atomic: false })
    }

    /// A slot full of what this pass writes.
    fn pattern_slot(&mut self, erasing: &Erasing) -> Option<BufId> {
        let block = self.units.get(erasing.lu.0 as usize)?.lu.facts.block_size;
        let share = Share::OneIn(self.sessions);
        let buf = self.pool.alloc_share(SEGMENT, false, &mut Holding::default(), share).ok()?;
        let slot = self.memory.get_mut(self.pool.place(buf));
        erasing.erasure.fill.write(erasing.pass, block as usize, slot);
        Some(buf)
    }

    /// Nothing is with the disk.
    fn next_step(&mut self, erasing: &mut Erasing) {
        let total = self.units.get(erasing.lu.0 as usize).map_or(0, |unit| unit.lu.facts.bytes());
        match erasing.step {
            Step::Going if erasing.at >= total => {
                // The next pass may write something else.
                self.give_slots_back(erasing);
                erasing.step = Step::Flushing;
                erasing.lanes[0].busy = Some(0..0);
                self.submit(Client::Erasure { lane: 0 }, erasing.lu, DiskOp::Flush);
            }
            Step::Failed => self.tell_end(erasing, true),
            Step::Done => self.tell_end(erasing, false),
            Step::Untold { failed, at } if at <= self.driver.now() => self.tell_end(erasing, failed),
            Step::Going | Step::Flushing | Step::Telling { .. } | Step::Untold { .. } => {}
        }
    }

    fn tell_end(&mut self, erasing: &mut Erasing, failed: bool) {
        let lu = erasing.lu;
        erasing.step = Step::Telling { failed };
        let gate = self.gates.shut(1, Then::Erased { lu, failed });
        self.ask(lu, SharedOp::Erased { failed }, ItNexus::nobody(), gate);
    }

    fn give_slots_back(&mut self, erasing: &mut Erasing) {
        let idle = erasing.lanes.iter_mut().filter(|lane| lane.busy.is_none());
        idle.filter_map(|lane| lane.slot.take()).for_each(|slot| self.pool.free(slot));
    }

    /// A request of the operation on that medium has ended.
    pub(super) fn erased_stretch(&mut self, lu: LuId, lane: u8, result: Result<(), Failure>) {
        let Some(erasing) = self.erasing.iter_mut().find(|e| e.lu == lu) else { return };
        let Some(lane) = erasing.lanes.get_mut(usize::from(lane)) else { return };
        let range = lane.busy.take().unwrap_or_default();
        if self.pool.is_low() {
            lane.slot.take().into_iter().for_each(|slot| self.pool.free(slot));
        }
        let Some(unit) = self.units.get(lu.0 as usize) else { return };
        let total = unit.lu.facts.bytes();
        erasing.stretch_ended(&range, total, result.is_err());
        unit.lu.counters.set_progress(erasing.progress(total));
    }

    /// That it has ended holds everywhere, or could not be saved.
    pub(super) fn erasure_ended(&mut self, lu: LuId, failed: bool, result: Result<(), Failure>) {
        let Some(at) = self.erasing.iter().position(|e| e.lu == lu) else { return };
        if result.is_err() {
            self.erasing[at].step = Step::Untold { failed, at: self.driver.now() + RETRY_NS };
            return;
        }
        let erasure = self.erasing.swap_remove(at).erasure;
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let store = &unit.lu.facts.name;
        match failed {
            true => tracing::error!(
                store,
                "erasing the medium has failed; it stays closed until that is done anew"
            ),
            false => tracing::info!(store, "the whole medium is erased"),
        }
        let result = if failed { Err(erasure.failure()) } else { Ok(()) };
        for ask in std::mem::take(&mut unit.erasers) {
            self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        }
    }
}

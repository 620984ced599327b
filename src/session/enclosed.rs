//! Commands that have their range to themselves: COMPARE AND WRITE, ORWRITE and WRITE ATOMIC.
//!
//! ```text
//! data is there ─► Enclose ─► read back ─► compare or OR ─► write ─► Disclose ─► answer
//! ```
//! The data is complete before the range is asked for, so nobody else waits for an initiator. What is to be written
//! lies in the extra slot, where what was read has been looked at.

use super::Session;
use super::host::{DiskOp, Host};
use super::taking::{Segment, Step, Taking, Use};
use super::task::{Task, Work};
use super::watch::Phase;
use crate::ids::{BufId, TaskId};
use crate::scsi::{Failure, Sense};

/// What is done with the range while it is enclosed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// The first half of the data is compared, the second written.
    CompareAndWrite,
    /// The data is ORed into the range.
    Or,
    /// The data is written, all or nothing.
    Write,
}

/// Bytes that are moved from slot to slot at a time.
const STRIDE: usize = 4096;

impl Taking {
    /// The range that belongs to a segment, as (offset, length).
    pub(super) fn place_of(&self, s: &Segment) -> (u64, u32) {
        let whole = s.len - s.len % self.block;
        let len = if self.whole() == Some(Whole::CompareAndWrite) { whole / 2 } else { whole };
        (self.base + u64::from(s.start), len)
    }

    fn step(&mut self, part: usize, step: Step) {
        if let Some(s) = &mut self.segments[part] {
            s.step = step;
        }
    }

    pub(super) fn whole(&self) -> Option<Whole> {
        match self.usage {
            Use::Whole { whole, .. } => Some(whole),
            _ => None,
        }
    }
}

impl Session {
    /// A segment is there: asks for its range.
    pub(super) fn enclose<H: Host>(&mut self, h: &mut H, id: TaskId, part: usize) {
        let Some(Task { lu, watch, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let Some(s) = taking.segments[part] else { return };
        let (offset, len) = taking.place_of(&s);
        taking.step(part, Step::Enclosing);
        watch.enter(Phase::Queued, h.now());
        h.disk(id, part as u8, *lu, DiskOp::Enclose { offset, len: u64::from(len) });
    }

    /// A step of such a command ended. Whether the segment is done with.
    pub(super) fn enclosed_step<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        part: usize,
        result: Result<(), Failure>,
    ) -> bool {
        let Some(Task { watch, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else {
            return false;
        };
        watch.enter(Phase::Disk, h.now());
        let (Some(s), Some(whole)) = (taking.segments[part], taking.whole()) else { return false };
        if let Err(failure) = result {
            taking.fail(failure);
        }
        match s.step {
            Step::Receiving | Step::Disclosing => return true,
            // Who did not get the range has none to give back.
            Step::Enclosing if result.is_err() => return true,
            Step::Enclosing if whole == Whole::Write => self.write_enclosed(h, id, part, s.buf),
            Step::Enclosing => self.read_back(h, id, part),
            Step::ReadingBack if result.is_ok() => self.decide(h, id, part, whole),
            Step::ReadingBack | Step::Writing => self.disclose(h, id, part),
        }
        false
    }

    /// What the range holds is there: works out what it is to hold.
    fn decide<H: Host>(&mut self, h: &mut H, id: TaskId, part: usize, whole: Whole) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let (Some(s), Some(extra)) = (taking.segments[part], taking.extra) else { return };
        let len = taking.place_of(&s).1 as usize;
        match whole {
            Whole::Or => transfer(h, (s.buf, 0), extra, len, |to, from| *to |= from),
            _ => {
                if let Some(at) = super::compare::mismatch(&h.bytes(s.buf)[..len], &h.bytes(extra)[..len]) {
                    taking.fail(Failure::Check(Sense::miscompare(u64::from(at))));
                    return self.disclose(h, id, part);
                }
                transfer(h, (s.buf, len), extra, len, |to, from| *to = from);
            }
        }
        self.write_enclosed(h, id, part, extra);
    }

    fn write_enclosed<H: Host>(&mut self, h: &mut H, id: TaskId, part: usize, buf: BufId) {
        let Some(Task { lu, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let (Some(s), Use::Whole { fua, .. }) = (taking.segments[part], taking.usage) else { return };
        let (offset, len) = taking.place_of(&s);
        let atomic = taking.whole() == Some(Whole::Write);
        taking.step(part, Step::Writing);
        h.disk(id, part as u8, *lu, DiskOp::Write { buf, len, offset, fua, atomic });
    }

    fn disclose<H: Host>(&mut self, h: &mut H, id: TaskId, part: usize) {
        let Some(Task { lu, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        taking.step(part, Step::Disclosing);
        h.disk(id, part as u8, *lu, DiskOp::Disclose);
    }
}

/// Combines `len` bytes of one slot, from some byte on, with the first of another.
fn transfer<H: Host>(
    h: &mut H,
    (from, at): (BufId, usize),
    to: BufId,
    len: usize,
    combine: impl Fn(&mut u8, u8),
) {
    let mut stride = [0; STRIDE];
    for start in (0..len).step_by(STRIDE) {
        let count = STRIDE.min(len - start);
        stride[..count].copy_from_slice(&h.bytes(from)[at + start..][..count]);
        let target = h.bytes_mut(to)[start..][..count].iter_mut();
        target.zip(&stride).for_each(|(to, from)| combine(to, *from));
    }
}

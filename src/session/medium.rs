//! Work on the medium that moves nothing to or from the initiator: verifying, filling, clearing, flushing, asking how
//! it lies.

use super::host::{Claim, DiskOp, Host, STRETCH_BYTES, stretches};
use super::task::{Task, Work};
use super::{SEGMENT, Session};
use crate::ids::{BufId, TaskId};
use crate::scsi::{self, Failure, Outcome, Range, Stretch, status};

impl Session {
    /// VERIFY without data: reads the range and forgets it.
    pub(super) fn start_verifying<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range) {
        if range.len == 0 {
            return self.answer_good(h, id);
        }
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = Work::Verifying { range, buf: None };
        self.work_on(h, id);
    }

    fn go_on_verifying<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if !self.retry_verifying(h, id) {
            self.park(h, id);
        }
    }

    /// Takes the slot of a verification and goes on; false when there is none.
    pub(super) fn retry_verifying<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(Task { work: Work::Verifying { range, buf }, .. }) = self.tasks.get_mut(id) else {
            return true;
        };
        let Some(slot) = h.alloc(range.len.min(u64::from(SEGMENT)) as u32, Claim::Ordinary) else {
            return false;
        };
        *buf = Some(slot);
        self.work_on(h, id);
        true
    }

    /// Long work goes on with its next piece, when its limits let it.
    pub(super) fn next_piece<H: Host>(&mut self, h: &mut H, id: TaskId, work: Work) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = work;
        if !self.limited || !self.piece_must_wait(h, id) {
            self.work_on(h, id);
        }
    }

    /// Does the first piece of what is left of long work.
    pub(super) fn work_on<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        let piece = |range: Range, most: u32| range.len.min(u64::from(most)) as u32;
        let op = match task.work {
            Work::Verifying { buf: None, .. } => return self.go_on_verifying(h, id),
            Work::Verifying { range, buf: Some(buf) } => {
                DiskOp::Read { buf, len: piece(range, SEGMENT), offset: range.offset }
            }
            Work::Filling { range, buf, chunk } => {
                let len = piece(range, chunk);
                DiskOp::Write { buf, len, offset: range.offset, fua: false, atomic: false }
            }
            Work::Comparing(comparing) => comparing.read(),
            _ => return,
        };
        h.disk(id, 0, task.lu, op);
    }

    /// WRITE SAME: the block is there; repeats it over a large slot and writes that.
    pub(super) fn start_filling<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        range: Range,
        unmap: bool,
        anchor: bool,
    ) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let (Some(block), Some(extra)) = (taking.segments[0].take(), taking.extra.take()) else { return };
        let pattern = block.len as usize;
        if unmap && h.bytes(block.buf)[..pattern].iter().all(|b| *b == 0) {
            h.free(block.buf);
            h.free(extra);
            return self.start_clearing(h, id, vec![range], true, !anchor);
        }
        let chunk = repeat_pattern(h, block.buf, pattern, extra, range.len);
        h.free(block.buf);
        self.next_piece(h, id, Work::Filling { range, buf: extra, chunk });
    }

    /// Deallocates or zeroes ranges, one after the other.
    pub(super) fn start_clearing<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        ranges: Vec<Range>,
        zero: bool,
        unmap: bool,
    ) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = Work::Clearing { ranges, next: 0, zero, unmap };
        self.clear_on(h, id);
    }

    fn clear_on<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let lu = task.lu;
        let Work::Clearing { ranges, next, zero, unmap } = &mut task.work else { return };
        while ranges.get(*next).is_some_and(|r| r.len == 0) {
            *next += 1;
        }
        let Some(&Range { offset, len }) = ranges.get(*next) else { return self.answer_good(h, id) };
        *next += 1;
        let op =
            if *zero { DiskOp::Zero { offset, len, unmap: *unmap } } else { DiskOp::Discard { offset, len } };
        h.disk(id, 0, lu, op);
    }

    /// SYNCHRONIZE CACHE. Flushing the whole medium flushes the range, too.
    pub(super) fn start_flushing<H: Host>(&mut self, h: &mut H, id: TaskId, immediate: bool) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if immediate {
            h.flush_unwatched(task.lu);
            return self.answer_good(h, id);
        }
        task.work = Work::Flushing;
        h.disk(id, 0, task.lu, DiskOp::Flush);
    }

    /// GET LBA STATUS of a range.
    pub(super) fn start_mapping<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range, most: u32) {
        let Some(buf) = h.alloc(most * STRETCH_BYTES, Claim::Urgent) else {
            return self.answer_failure(h, id, &Failure::Status(status::BUSY));
        };
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = Work::Mapping { buf, most };
        let Range { offset, len } = range;
        h.disk(id, 0, task.lu, DiskOp::Map { buf, most, offset, len });
    }

    /// The store has said how the range lies; the answer goes where it said so.
    fn map_is_known<H: Host>(&mut self, h: &mut H, id: TaskId, buf: BufId, most: u32) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = Work::Fresh;
        let stretches: Vec<Stretch> = stretches(h.bytes(buf)).take(most as usize).collect();
        let mut scratch = h.take_scratch();
        let outcome = h
            .lu(task.lu)
            .map_or(Outcome::Good, |lu| scsi::mapped(&task.cdb, &lu.facts, &stretches, &mut scratch));
        h.free(buf);
        let planned = Self::keep_outcome(h, outcome, &scratch);
        h.give_scratch(scratch);
        self.follow(h, id, planned);
    }

    /// A disk request ended.
    pub fn disk_done<H: Host>(&mut self, h: &mut H, id: TaskId, part: u8, result: Result<(), Failure>) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let result = result.map_err(|failure| task.once_begun(failure));
        task.begun |= result.is_ok();
        let held_up = h.held_up();
        if held_up > 0 {
            task.watch.waited(held_up, h.now());
        }
        match task.work {
            Work::Reading(_) => return self.read_done(h, id, part, result),
            Work::Taking(_) => return self.taking_done(h, id, part, result),
            Work::Copying(_) => return self.lane_done(h, id, part, result),
            _ => {}
        }
        match result {
            Ok(()) => self.medium_step_done(h, id),
            Err(failure) => self.answer_failure(h, id, &failure),
        }
    }

    fn medium_step_done<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        match task.work {
            Work::Verifying { buf: None, .. } => {}
            Work::Verifying { range, buf: Some(buf) } => match range.after(SEGMENT) {
                Some(range) => self.next_piece(h, id, Work::Verifying { range, buf: Some(buf) }),
                None => self.answer_good(h, id),
            },
            Work::Filling { range, buf, chunk } => match range.after(chunk) {
                Some(range) => self.next_piece(h, id, Work::Filling { range, buf, chunk }),
                None => self.answer_good(h, id),
            },
            Work::Clearing { .. } => self.clear_on(h, id),
            Work::Comparing(comparing) => self.compared(h, id, comparing),
            Work::Mapping { buf, most } => self.map_is_known(h, id, buf, most),
            Work::Flushing => self.answer_good(h, id),
            Work::Passing(_) => self.passed(h, id),
            Work::Fresh
            | Work::Dormant(_)
            | Work::Deferred(_)
            | Work::Held(_)
            | Work::Reading(_)
            | Work::Taking(_)
            | Work::Copying(_)
            | Work::Shared => {}
        }
    }
}

impl Range {
    /// What is left of it after the first `count` bytes.
    pub(super) fn after(self, count: u32) -> Option<Self> {
        let count = u64::from(count);
        (self.len > count).then(|| Self { offset: self.offset + count, len: self.len - count })
    }
}

/// Fills `to` with copies of the first `pattern` bytes of `from`, as far as `wanted` needs; returns the length.
fn repeat_pattern<H: Host>(h: &mut H, from: BufId, pattern: usize, to: BufId, wanted: u64) -> u32 {
    let block = h.bytes(from)[..pattern].to_vec();
    let target = h.bytes_mut(to);
    let len = (target.len().min(SEGMENT as usize) as u64).min(wanted) as usize;
    let len = len - len % pattern.max(1);
    for chunk in target[..len].chunks_exact_mut(pattern.max(1)) {
        chunk.copy_from_slice(&block);
    }
    len as u32
}

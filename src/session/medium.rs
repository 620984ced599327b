//! Work on the medium that moves nothing to or from the initiator: verifying, filling, clearing, flushing.

use super::host::{Claim, DiskOp, Host};
use super::task::{Task, Work};
use super::{SEGMENT, Session};
use crate::ids::{BufId, TaskId};
use crate::scsi::{Failure, Range};

impl Session {
    /// VERIFY without data: reads the range and forgets it.
    pub(super) fn start_verifying<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range) {
        if range.len == 0 {
            return self.answer_good(h, id);
        }
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = Work::Verifying { range, buf: None };
        if !self.retry_verifying(h, id) {
            self.park(h, id);
        }
    }

    /// Takes the slot of a verification and begins; false when there is none.
    pub(super) fn retry_verifying<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(Task { work: Work::Verifying { range, .. }, .. }) = self.tasks.get(id) else { return true };
        let range = *range;
        let slot = h.alloc(range.len.min(u64::from(SEGMENT)) as u32, Claim::Ordinary);
        if let Some(buf) = slot {
            self.verify_on(h, id, range, buf);
        }
        slot.is_some()
    }

    /// Reads the first segment of what is left to verify.
    fn verify_on<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range, buf: BufId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let len = range.len.min(u64::from(SEGMENT)) as u32;
        task.work = Work::Verifying { range, buf: Some(buf) };
        h.disk(id, 0, task.lu, DiskOp::Read { buf, len, offset: range.offset });
    }

    /// Writes `chunk` bytes of `buf` over and over to the whole of `range`.
    pub(super) fn fill<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range, buf: BufId, chunk: u32) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let len = range.len.min(u64::from(chunk)) as u32;
        task.work = Work::Filling { range, buf, chunk };
        h.disk(id, 0, task.lu, DiskOp::Write { buf, len, offset: range.offset, fua: false });
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

    /// SYNCHRONIZE CACHE.
    pub(super) fn start_flushing<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.work = Work::Flushing;
        h.disk(id, 0, task.lu, DiskOp::Flush);
    }

    /// A disk request ended.
    pub fn disk_done<H: Host>(&mut self, h: &mut H, id: TaskId, part: u8, result: Result<(), Failure>) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let result = result.map_err(|failure| task.once_begun(failure));
        task.begun |= result.is_ok();
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
                Some(rest) => self.verify_on(h, id, rest, buf),
                None => self.answer_good(h, id),
            },
            Work::Filling { range, buf, chunk } => match range.after(chunk) {
                Some(rest) => self.fill(h, id, rest, buf, chunk),
                None => self.answer_good(h, id),
            },
            Work::Clearing { .. } => self.clear_on(h, id),
            Work::Flushing => self.answer_good(h, id),
            Work::Fresh
            | Work::Deferred(_)
            | Work::Reading(_)
            | Work::Taking(_)
            | Work::Copying(_)
            | Work::Shared => {}
        }
    }
}

impl Range {
    /// What is left of it after the first `count` bytes.
    fn after(self, count: u32) -> Option<Self> {
        let count = u64::from(count);
        (self.len > count).then(|| Self { offset: self.offset + count, len: self.len - count })
    }
}

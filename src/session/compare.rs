//! Comparing what the initiator sent with what the medium holds.

use super::host::{DiskOp, Host};
use super::taking::{Segment, Step, Taking, Use};
use super::task::{Task, Work};
use super::watch::Phase;
use super::{SEGMENT, Session};
use crate::ids::{BufId, TaskId};
use crate::scsi::{Failure, Range, Sense};

/// One block of the initiator's against a range, a segment at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparing {
    /// What is left.
    range: Range,
    /// The block, and where the medium is read to.
    pub(super) pattern: BufId,
    pub(super) buf: BufId,
    /// Bytes of a block.
    block: u32,
}

impl Comparing {
    /// Bytes of the next segment: whole blocks, and all of the last one.
    pub(super) fn len(&self) -> u32 {
        self.range.len.min(u64::from(SEGMENT)) as u32
    }

    /// Reads it.
    pub(super) fn read(&self) -> DiskOp {
        DiskOp::Read { buf: self.buf, len: self.len(), offset: self.range.offset }
    }
}

impl Taking {
    /// A segment was read back: fails if it is not what the initiator sent, where that is asked for.
    pub(super) fn compare<H: Host>(&mut self, h: &H, s: &Segment) {
        if self.usage == (Use::WriteVerify { compare: false }) {
            return;
        }
        let Some(extra) = self.extra else { return };
        let len = (s.len - s.len % self.block) as usize;
        if let Some(at) = mismatch(&h.bytes(s.buf)[..len], &h.bytes(extra)[..len]) {
            self.fail(Failure::Check(Sense::miscompare(u64::from(s.start + at))));
        }
    }
}

impl Session {
    /// Reads what the medium has where a segment belongs.
    pub(super) fn read_back<H: Host>(&mut self, h: &mut H, id: TaskId, part: usize) {
        let Some(Task { lu, watch, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        watch.enter(Phase::Disk, h.now());
        let (Some(s), Some(buf)) = (taking.segments[part], taking.extra) else { return };
        taking.segments[part] = Some(Segment { step: Step::ReadingBack, ..s });
        let (offset, len) = taking.place_of(&s);
        h.disk(id, part as u8, *lu, DiskOp::Read { buf, len, offset });
    }

    /// The one block is there that the whole of `range` must equal.
    pub(super) fn start_comparing<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let Work::Taking(taking) = &mut task.work else { return };
        let (Some(sent), Some(buf)) = (taking.segments[0].take(), taking.extra.take()) else { return };
        task.work = Work::Comparing(Comparing { range, pattern: sent.buf, buf, block: sent.len });
        self.work_on(h, id);
    }

    /// A segment was read.
    pub(super) fn compared<H: Host>(&mut self, h: &mut H, id: TaskId, comparing: Comparing) {
        let Comparing { range, pattern, buf, block } = comparing;
        let (sent, held) = (&h.bytes(pattern)[..block as usize], &h.bytes(buf)[..comparing.len() as usize]);
        if let Some(at) = held.chunks(sent.len().max(1)).find_map(|held| mismatch(sent, held)) {
            let sense = Sense::miscompare(u64::from(at));
            return self.answer_failure(h, id, &Failure::Check(sense));
        }
        match range.after(SEGMENT) {
            Some(range) => self.next_piece(h, id, Work::Comparing(Comparing { range, ..comparing })),
            None => self.answer_good(h, id),
        }
    }
}

/// Where two equally long stretches differ first.
pub(super) fn mismatch(a: &[u8], b: &[u8]) -> Option<u32> {
    if a == b {
        return None;
    }
    a.iter().zip(b).position(|(x, y)| x != y).map(|at| at as u32)
}

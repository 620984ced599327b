//! Data to the initiator: segments from the medium, cut into Data-In PDUs, status in the last.
//!
//! A read takes one slot, or two of the largest class when it is longer than a segment: the disk fills
//! one while the other is sent. Segments leave in order. Memory media need no slot at all; they are cut into PDUs by the
//! segment too, two at a time. An initiator that takes 512 bytes a PDU has more headers than anybody should store: what
//! is ready is cut up when others have left.

use arrayvec::ArrayVec;
use zerocopy::big_endian::{U32, U64};

use super::host::{After, Body, Claim, DiskOp, Host};
use super::rx::is_backed_up;
use super::task::{MAX_SLOTS, Task, Work};
use super::watch::Phase;
use super::{SEGMENT, Session};
use crate::ids::{BufId, TaskId};
use crate::scsi::{Failure, Range};
use crate::wire::bhs::DataIn;
use crate::wire::codes::TAG_NONE;
use crate::wire::flags;

/// Slots of a read longer than a segment.
const READ_SLOTS: u32 = 2;

/// A read under way.
#[derive(Debug)]
pub(super) struct Reading {
    /// Where the transfer starts on the medium, bytes.
    base: u64,
    /// Bytes to send in all.
    total: u32,
    /// The medium is read in whole blocks of that many bytes, also when only part of one is wanted.
    block: u32,
    /// Bytes for which a disk read was started.
    issued: u32,
    /// Bytes handed to the sender.
    sent: u32,
    data_sn: u32,
    /// It takes a slot and its turn like any other, but nobody puts zeroes there that are at hand elsewhere.
    blank: bool,
    parts: [Option<Part>; READ_SLOTS as usize],
    failed: Option<Failure>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    buf: BufId,
    start: u32,
    len: u32,
    ready: bool,
}

impl Reading {
    fn new(base: u64, total: u32, block: u32, blank: bool) -> Self {
        Self {
            base,
            total,
            block,
            issued: 0,
            sent: 0,
            data_sn: 0,
            blank,
            parts: [None; READ_SLOTS as usize],
            failed: None,
        }
    }

    /// Data-In PDUs handed to the sender.
    pub(super) fn pdus(&self) -> u32 {
        self.data_sn
    }

    pub(super) fn slots(&self) -> ArrayVec<BufId, MAX_SLOTS> {
        self.parts.iter().flatten().map(|p| p.buf).collect()
    }

    /// Puts the next segment into `buf` and says what to read, with the part's number. Inlined, so that the request is
    /// written where it stays.
    #[inline(always)]
    fn assign(&mut self, buf: BufId) -> Option<(u8, DiskOp)> {
        let index = self.parts.iter().position(Option::is_none)?;
        let len = (self.total - self.issued).min(SEGMENT);
        if len == 0 {
            return None;
        }
        self.parts[index] = Some(Part { buf, start: self.issued, len, ready: false });
        let offset = self.base + u64::from(self.issued);
        self.issued += len;
        let len = len.next_multiple_of(self.block);
        let op =
            if self.blank { DiskOp::Blank { buf, len, offset } } else { DiskOp::Read { buf, len, offset } };
        Some((index as u8, op))
    }

    /// Everything is in `buf` already.
    fn made(total: u32, buf: BufId) -> Self {
        let part = Part { buf, start: 0, len: total, ready: true };
        Self { issued: total, parts: [Some(part), None], ..Self::new(0, total, 1, false) }
    }

    /// Whether it comes through slots, not out of memory.
    fn uses_slots(&self) -> bool {
        self.issued > 0
    }

    /// Takes out the segment that is to leave next, if the disk has filled it.
    fn take_ready(&mut self) -> Option<Part> {
        let next = self.sent;
        let slot = self.parts.iter_mut().find(|p| p.is_some_and(|p| p.ready && p.start == next))?;
        slot.take()
    }
}

/// The stretch of a Data-In sequence that is sent in one go.
struct Stretch {
    task: TaskId,
    body: Body,
    /// Offset of the body in the transfer.
    start: u32,
    after: After,
}

impl Session {
    /// Starts to read `range` for the initiator, or parks for slots.
    pub(super) fn start_reading<H: Host>(&mut self, h: &mut H, id: TaskId, range: Range) {
        let block = self.block_size(h, id);
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.actual = range.len;
        let total = if task.reads { range.len.min(u64::from(task.edtl)) as u32 } else { 0 };
        let blank = h.is_blank(task.lu);
        task.work = Work::Reading(Reading::new(range.offset, total, block, blank));
        if total == 0 {
            self.answer_good(h, id);
        } else if h.in_memory(task.lu) && !self.negotiated.data_digest {
            for _ in 0..READ_SLOTS {
                self.proceed(h, id);
            }
        } else if !self.start_disk_reads(h, id) {
            self.park(h, id);
        }
    }

    /// Takes the slots of a read all at once and starts the disk; false when there is none.
    pub(super) fn start_disk_reads<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(task) = self.tasks.get_mut(id) else { return true };
        let lu = task.lu;
        let Work::Reading(reading) = &mut task.work else { return true };
        let Some(first) =
            h.alloc(reading.total.next_multiple_of(reading.block).min(SEGMENT), Claim::Ordinary)
        else {
            return false;
        };
        task.watch.enter(Phase::Disk, h.now());
        if let Some((part, op)) = reading.assign(first) {
            h.disk(id, part, lu, op);
        }
        if reading.total > SEGMENT
            && let Some(second) = h.alloc(SEGMENT, Claim::Ordinary)
            && let Some((part, op)) = reading.assign(second)
        {
            h.disk(id, part, lu, op);
        }
        true
    }

    /// The next segment of a medium that is memory, if any is left; the one after it follows when this has been sent.
    pub fn proceed<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if is_backed_up(h) {
            return self.unsent.push_back(id);
        }
        let Some(Task { lu, work: Work::Reading(reading), .. }) = self.tasks.get(id) else { return };
        let start = reading.sent;
        let len = (reading.total - start).min(SEGMENT);
        let body = Body::Medium { lu: *lu, offset: reading.base + u64::from(start), len };
        let after = if start + len < reading.total { After::Proceed(id) } else { After::Keep };
        self.send_stretch(h, &Stretch { task: id, body, start, after });
    }

    /// Sends `len` bytes of a slot as the whole Data-In of a task.
    pub(super) fn send_made<H: Host>(&mut self, h: &mut H, id: TaskId, buf: BufId, made: u32) {
        let Some(task) = self.tasks.get_mut(id) else { return h.free(buf) };
        task.actual = u64::from(made);
        let total = if task.reads { made.min(task.edtl) } else { 0 };
        if total == 0 {
            task.work = Work::Reading(Reading::new(0, 0, 1, false));
            h.free(buf);
            return self.answer_good(h, id);
        }
        task.work = Work::Reading(Reading::made(total, buf));
        self.send_ready(h, id);
    }

    /// Whether data is held back until answers have left.
    #[inline]
    pub fn holds_data_back(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Answers have left: data that was held back follows, first come first served.
    pub fn send_on<H: Host>(&mut self, h: &mut H) {
        while !is_backed_up(h) {
            let Some(id) = self.unsent.pop_front() else { return };
            match self.tasks.get(id).map(|t| &t.work) {
                Some(Work::Reading(reading)) if reading.uses_slots() => self.send_ready(h, id),
                _ => self.proceed(h, id),
            }
        }
    }

    /// A disk read of a task ended.
    pub(super) fn read_done<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        part: u8,
        result: Result<(), Failure>,
    ) {
        let Some(Task { work: Work::Reading(reading), .. }) = self.tasks.get_mut(id) else { return };
        let Some(Some(piece)) = reading.parts.get_mut(part as usize) else { return };
        piece.ready = true;
        if let Err(failure) = result {
            reading.failed.get_or_insert(failure);
        }
        if reading.failed.is_some() {
            return self.fail_read_when_idle(h, id);
        }
        self.send_ready(h, id);
    }

    /// After an error: answers once the disk has let go of every slot.
    fn fail_read_when_idle<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(Task { work: Work::Reading(reading), .. }) = self.tasks.get_mut(id) else { return };
        if reading.parts.iter().flatten().any(|p| !p.ready) {
            return;
        }
        if let Some(failure) = reading.failed.take() {
            self.answer_failure(h, id, &failure);
        }
    }

    fn send_ready<H: Host>(&mut self, h: &mut H, id: TaskId) {
        while let Some(Task { lu, work: Work::Reading(reading), .. }) = self.tasks.get_mut(id) {
            if is_backed_up(h) {
                return self.unsent.push_back(id);
            }
            let Some(part) = reading.take_ready() else { return };
            let more_to_read = reading.issued < reading.total;
            let after = if more_to_read { After::Tell(id, part.buf) } else { After::Free(part.buf) };
            let body = match reading.blank {
                true => Body::Medium { lu: *lu, offset: reading.base + u64::from(part.start), len: part.len },
                false => Body::Slot { buf: part.buf, at: 0, len: part.len },
            };
            self.send_stretch(h, &Stretch { task: id, body, start: part.start, after });
        }
    }

    /// A segment has left: the next one may use its slot.
    pub fn sent<H: Host>(&mut self, h: &mut H, id: TaskId, buf: BufId) {
        let Some(task) = self.tasks.get_mut(id) else { return h.free(buf) };
        let lu = task.lu;
        match &mut task.work {
            Work::Reading(reading) if reading.failed.is_none() => match reading.assign(buf) {
                Some((part, op)) => {
                    task.watch.enter(Phase::Disk, h.now());
                    h.disk(id, part, lu, op);
                }
                None => h.free(buf),
            },
            _ => h.free(buf),
        }
    }

    /// Cuts a stretch into PDUs. The last PDU of the transfer carries status GOOD and closes the task.
    fn send_stretch<H: Host>(&mut self, h: &mut H, s: &Stretch) {
        let Some(task) = self.tasks.get(s.task) else { return };
        let Work::Reading(reading) = &task.work else { return };
        let (total, mut data_sn) = (reading.total, reading.data_sn);
        let (itt, residual) = (task.itt, task.residual());
        let len = s.body.len();
        let mut at = 0;
        while at < len {
            let offset = s.start + at;
            let count = self.data_in_len(offset, len - at);
            let last_of_all = offset + count == total;
            let mut pdu =
                DataIn { itt: U32::new(itt), ttt: U32::new(TAG_NONE), lun: U64::new(0), ..DataIn::default() };
            pdu.set_data_len(count as usize);
            pdu.data_sn = U32::new(data_sn);
            pdu.buffer_offset = U32::new(offset);
            pdu.flags = if last_of_all {
                self.put_status(&mut pdu, residual)
            } else if self.ends_burst(offset + count) {
                flags::FINAL
            } else {
                0
            };
            self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, last_of_all);
            data_sn += 1;
            at += count;
            let after = if at == len { s.after } else { After::Keep };
            self.emit(h, pdu.as_bhs(), Some(s.body.part(at - count, count)), after);
        }
        self.stretch_sent(h, s, data_sn);
    }

    fn stretch_sent<H: Host>(&mut self, h: &mut H, s: &Stretch, data_sn: u32) {
        let Some(Task { watch, work: Work::Reading(reading), .. }) = self.tasks.get_mut(s.task) else {
            return;
        };
        reading.data_sn = data_sn;
        reading.sent = s.start + s.body.len();
        if reading.sent == reading.total {
            self.close_task(h, s.task);
        } else {
            watch.enter(Phase::Sending, h.now());
        }
    }

    /// How long the PDU at `offset` of a transfer may be: by the initiator's segment limit, and not across a burst's end.
    pub(super) fn data_in_len(&self, offset: u32, left: u32) -> u32 {
        let burst = self.negotiated.max_burst_length;
        left.min(self.negotiated.max_xmit_data_segment_length).min(burst - offset % burst)
    }

    /// Whether a Data-In sequence ends before `offset` (RFC 7143 section 11.7.1: the F bit at MaxBurstLength).
    pub(super) fn ends_burst(&self, offset: u32) -> bool {
        offset.is_multiple_of(self.negotiated.max_burst_length)
    }

    /// Makes a Data-In the one with status (RFC 7143 section 11.7.3); returns its flags. No Data-In has the A bit: that is
    /// for sessions with an ErrorRecoveryLevel above 0 (section 11.7.2), which asks for a SNACK as its answer.
    fn put_status(&mut self, pdu: &mut DataIn, residual: super::respond::Residual) -> u8 {
        pdu.status = 0;
        pdu.stat_sn = U32::new(self.next_stat_sn());
        pdu.residual_count = U32::new(residual.count);
        flags::FINAL | flags::STATUS | residual.flags
    }
}

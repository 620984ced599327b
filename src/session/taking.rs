//! A transfer from the initiator as a value: segments with their slots, bursts, and what is still to come.

use std::ops;

use arrayvec::ArrayVec;

use super::SEGMENT;
use super::enclosed::Whole;
use super::keys::DEFAULT_SEGMENT_LENGTH;
use super::pace::Pace;
use super::quota::Charge;
use super::task::MAX_SLOTS;
use crate::ids::BufId;
use crate::scsi::{Asc, Failure, Range, Sense};
use crate::wire::bhs::DataOut;

/// The most R2Ts of one task that are outstanding at a time, whatever was negotiated.
pub(super) const MAX_BURSTS: usize = 8;

/// How much that is not the next data of its burst is remembered of one task: with R2Ts of 256 KiB, all that the fullest
/// ones bring in PDUs of the 8192 bytes that everybody takes.
const MAX_AHEAD: usize = MAX_BURSTS * (SEGMENT / DEFAULT_SEGMENT_LENGTH) as usize;

/// A Data-Out that is not the next one of its burst (SPC-5).
const DATA_PHASE_ERROR: Sense = Sense::aborted(Asc(0x4b, 0x00));
/// A Data-Out beyond its burst (SPC-5).
const TOO_MUCH_WRITE_DATA: Sense = Sense::aborted(Asc(0x4b, 0x02));
/// A Data-Out for another offset (SPC-5).
const DATA_OFFSET_ERROR: Sense = Sense::aborted(Asc(0x4b, 0x05));

/// What is done with a segment that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To the medium.
    Write { fua: bool },
    /// To the medium, and read back from there: that must be possible, or even equal.
    WriteVerify { compare: bool },
    /// Compared with the medium.
    Compare,
    /// One block, compared with each block of the range.
    CompareEach { range: Range },
    /// What is done with it happens as a whole to everybody else.
    Whole { whole: Whole, fua: bool },
    /// One block, repeated over the range.
    Fill { range: Range, unmap: bool, anchor: bool },
    /// A parameter list.
    Params,
    /// For the device of the logical unit; a parameter list that is `judged` is looked at.
    Pass { judged: bool },
}

/// A transfer from the initiator under way.
#[derive(Debug)]
pub(super) struct Taking {
    pub(super) usage: Use,
    /// Where the transfer starts on the medium, bytes.
    pub(super) base: u64,
    /// Bytes that are taken; what the initiator sends beyond is dropped.
    pub(super) total: u32,
    /// Only whole blocks of that many bytes are used.
    pub(super) block: u32,
    /// Bytes that have a segment or had one.
    pub(super) assigned: u32,
    /// Bytes that came unasked or were asked for.
    pub(super) asked: u32,
    pub(super) segments: [Option<Segment>; MAX_SLOTS],
    pub(super) bursts: ArrayVec<Burst, MAX_BURSTS>,
    pub(super) unsolicited: Option<Burst>,
    pub(super) ahead: Ahead,
    /// It waits for its limits to let it go on, and then pays this.
    pub(super) held: Option<Charge>,
    /// Number of the next R2T.
    pub(super) r2t_sn: u32,
    /// A second slot for what is read back or repeated.
    pub(super) extra: Option<BufId>,
    pub(super) failed: Option<Failure>,
    /// Bytes of all data PDUs whose headers have come, and how fast they come.
    pub(super) announced: u64,
    pub(super) pace: Pace,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) buf: BufId,
    /// Its first byte in the transfer.
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) received: u32,
    pub(super) step: Step,
}

/// Where a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Receiving,
    Writing,
    ReadingBack,
    /// The range is asked for.
    Enclosing,
    /// The range is given back.
    Disclosing,
}

/// A sequence of Data-Out PDUs: the unsolicited one, or the answer to one R2T.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    pub(super) number: u8,
    /// Offset of the next byte that is due.
    pub(super) next: u32,
    /// Offset of the first byte that is not part of it.
    pub(super) end: u32,
    pub(super) data_sn: u32,
}

impl Taking {
    #[inline]
    pub(super) fn new(usage: Use, base: u64, total: u32, block: u32) -> Self {
        Self {
            usage,
            base,
            total,
            block,
            assigned: 0,
            asked: 0,
            segments: [None; MAX_SLOTS],
            bursts: ArrayVec::new(),
            unsolicited: None,
            ahead: Ahead::default(),
            held: None,
            r2t_sn: 0,
            extra: None,
            failed: None,
            announced: 0,
            pace: Pace::default(),
        }
    }

    pub(super) fn slots(&self) -> ArrayVec<BufId, MAX_SLOTS> {
        // At most MAX_SLOTS in all: whoever has an extra slot has one segment.
        self.segments.iter().flatten().map(|s| s.buf).chain(self.extra).take(MAX_SLOTS).collect()
    }

    /// Takes out the slots that nothing moves into or out of, but for that one.
    pub(super) fn take_idle_slots(&mut self, but: Option<BufId>) -> ArrayVec<BufId, MAX_SLOTS> {
        let idle = |s: &mut Segment| s.step == Step::Receiving && Some(s.buf) != but;
        let mut slots: ArrayVec<BufId, MAX_SLOTS> =
            self.segments.iter_mut().filter_map(|s| s.take_if(idle)).map(|s| s.buf).collect();
        // The other slot goes with the segment that it is for.
        if self.segments.iter().all(Option::is_none) {
            slots.extend(self.extra.take());
        }
        slots
    }

    pub(super) fn holds_slots(&self) -> bool {
        self.extra.is_some() || self.segments.iter().any(Option::is_some)
    }

    /// Whether the initiator is to send something, unasked or by R2T.
    pub(super) fn is_owed(&self) -> bool {
        self.unsolicited.is_some() || !self.bursts.is_empty()
    }

    pub(super) fn needs_extra(&self) -> Option<u32> {
        match self.usage {
            Use::Compare | Use::WriteVerify { .. } => Some(self.total.min(SEGMENT)),
            Use::Whole { whole: Whole::CompareAndWrite, .. } => Some(self.total / 2),
            Use::Whole { whole: Whole::Or, .. } => Some(self.total.min(SEGMENT)),
            Use::CompareEach { range } => Some(range.len.min(u64::from(SEGMENT)) as u32),
            Use::Fill { .. } => Some(SEGMENT),
            Use::Write { .. } | Use::Whole { whole: Whole::Write, .. } | Use::Params | Use::Pass { .. } => {
                None
            }
        }
    }

    /// How many segments are worked on at a time.
    pub(super) fn width(&self) -> usize {
        match self.usage {
            Use::Write { .. } => (self.total.div_ceil(SEGMENT) as usize).min(MAX_SLOTS),
            _ => 1,
        }
    }

    /// Gives the next segment a slot.
    pub(super) fn assign(&mut self, buf: BufId) -> bool {
        let len = (self.total - self.assigned).min(SEGMENT);
        let Some(free) = self.segments.iter_mut().find(|s| s.is_none()).filter(|_| len > 0) else {
            return false;
        };
        *free = Some(Segment { buf, start: self.assigned, len, received: 0, step: Step::Receiving });
        self.assigned += len;
        true
    }

    pub(super) fn segment_at(&mut self, offset: u32) -> Option<(u8, &mut Segment)> {
        self.segments.iter_mut().enumerate().find_map(|(i, s)| match s {
            Some(s) if s.start <= offset && offset < s.start + s.len => Some((i as u8, s)),
            _ => None,
        })
    }

    /// Whether so many bytes are all that is to be written, and nothing stands against that.
    #[inline]
    pub(super) fn is_all_to_write(&self, len: usize) -> bool {
        let writes = matches!(self.usage, Use::Write { .. }) && self.failed.is_none() && self.held.is_none();
        writes && self.total as usize == len && self.total.is_multiple_of(self.block)
    }

    /// A segment whose data is all there, and of which nothing has been made yet.
    #[inline]
    pub(super) fn full_segment(&self) -> Option<usize> {
        let is_full = |s: &Segment| s.step == Step::Receiving && s.received >= s.len;
        self.segments.iter().position(|s| s.as_ref().is_some_and(is_full))
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
    }

    /// Whether nothing moves any more: no disk request, no burst on its way.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_owed() && self.segments.iter().flatten().all(|s| s.step == Step::Receiving)
    }
}

/// What the unsolicited part of a command looks like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unasked {
    /// Bytes of immediate data.
    pub(super) immediate: u32,
    /// Whether unsolicited Data-Out PDUs follow (the command's F bit was clear).
    pub(super) follows: bool,
    /// The command waits for its limits to let it go on, and then pays this.
    pub(super) held: Option<Charge>,
}

impl Unasked {
    /// Whether there is any.
    pub(super) fn is_some(&self) -> bool {
        self.immediate > 0 || self.follows
    }
}

impl Burst {
    /// What comes unasked behind `immediate` bytes, up to `end`.
    pub(super) fn unsolicited(immediate: u32, end: u32) -> Self {
        Self { number: 0, next: immediate, end, data_sn: 0 }
    }

    /// A Data-Out has come of it, whose header may be wrong (RFC 7143 sections 11.8 and 4.2.2.3). `in_order`: what is not
    /// the next of it is (DataPDUInOrder).
    pub(super) fn take(&mut self, pdu: &DataOut, in_order: bool, ahead: &mut Ahead) -> Result<(), Sense> {
        let (offset, len) = (pdu.buffer_offset.get(), pdu.data_len() as u32);
        let due = self.data_sn;
        self.data_sn = due.wrapping_add(1);
        if pdu.data_sn.get() != due {
            return Err(DATA_PHASE_ERROR);
        }
        if offset != self.next && (in_order || offset < self.next) {
            return Err(DATA_OFFSET_ERROR);
        }
        let end = offset.checked_add(len).filter(|end| *end <= self.end).ok_or(TOO_MUCH_WRITE_DATA)?;
        if offset == self.next && ahead.is_empty() {
            self.next = end;
            return Ok(());
        }
        ahead.put(offset..end)?;
        self.next = ahead.catch_up(self.next);
        Ok(())
    }
}

/// What has come of bursts beyond the byte that is due: nothing, where data comes in order.
#[derive(Debug, Default)]
pub(super) struct Ahead(Vec<ops::Range<u32>>);

impl Ahead {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No byte may come twice: then as many bytes as are due are all that are due.
    #[cold]
    fn put(&mut self, came: ops::Range<u32>) -> Result<(), Sense> {
        let overlaps = self.0.iter().any(|known| known.start < came.end && came.start < known.end);
        if overlaps || self.0.len() == MAX_AHEAD {
            return Err(DATA_OFFSET_ERROR);
        }
        self.0.extend((!came.is_empty()).then_some(came));
        Ok(())
    }

    /// The byte that is due when all is there before that one, and what lies behind it here.
    #[cold]
    fn catch_up(&mut self, mut next: u32) -> u32 {
        while let Some(at) = self.0.iter().position(|known| known.start == next) {
            next = self.0.swap_remove(at).end;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A burst of 4096 bytes from 512 on, and what becomes of PDUs of it.
    fn sent(in_order: bool, pdus: &[(u32, usize)]) -> (Vec<Result<(), Sense>>, u32, bool) {
        let mut burst = Burst { number: 0, next: 512, end: 4608, data_sn: 0 };
        let mut ahead = Ahead::default();
        let mut take = |(data_sn, (offset, len)): (u32, &(u32, usize))| {
            let mut pdu = DataOut::default();
            (pdu.data_sn, pdu.buffer_offset) = (data_sn.into(), (*offset).into());
            pdu.set_data_len(*len);
            burst.take(&pdu, in_order, &mut ahead)
        };
        let taken = (0..).zip(pdus).map(&mut take).collect();
        (taken, burst.next, ahead.is_empty())
    }

    #[test]
    fn in_order_every_pdu_is_the_next() {
        assert_eq!(sent(true, &[(512, 512), (1024, 3584)]), (vec![Ok(()); 2], 4608, true));
        assert_eq!(sent(true, &[(1024, 512)]).0, [Err(DATA_OFFSET_ERROR)]);
    }

    #[test]
    fn out_of_order_every_byte_comes_once() {
        let mixed = [(3584, 1024), (512, 512), (2048, 1536), (1024, 1024)];
        assert_eq!(sent(false, &mixed), (vec![Ok(()); 4], 4608, true));
        assert_eq!(sent(false, &[(1024, 512)]), (vec![Ok(())], 512, false), "something is missing");
        let twice = [(1024, 1024), (512, 1024)];
        assert_eq!(sent(false, &twice).0, [Ok(()), Err(DATA_OFFSET_ERROR)]);
        assert_eq!(sent(false, &[(512, 512), (512, 512)]).0, [Ok(()), Err(DATA_OFFSET_ERROR)]);
        assert_eq!(sent(false, &[(4096, 1024)]).0, [Err(TOO_MUCH_WRITE_DATA)]);
        assert_eq!(sent(false, &[(0, 512)]).0, [Err(DATA_OFFSET_ERROR)], "before its burst");
    }

    #[test]
    fn what_is_out_of_order_is_not_remembered_without_end() {
        let pdus: Vec<_> = (0..=MAX_AHEAD as u32).map(|n| (514 + 2 * n, 1)).collect();
        let (taken, ..) = sent(false, &pdus);
        assert_eq!(taken.iter().position(Result::is_err), Some(MAX_AHEAD));
    }
}

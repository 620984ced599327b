//! Data from the initiator: immediate, unsolicited, and asked for by R2T, placed into slots.
//!
//! A transfer is cut into segments, each in a slot of its own, at most [`MAX_SLOTS`] at a time, all taken
//! at once. A full segment is used (written, compared, …) and its slot then takes the next one. R2Ts never
//! reach across a segment, so that a burst has one place.

use zerocopy::big_endian::{U32, U64};

use super::host::{After, Claim, DiskOp, Host};
use super::rx::Dest;
use super::taking::{Burst, MAX_BURSTS, Step, Taking, Unasked, Use};
use super::task::{MAX_SLOTS, Task, Work, split_transfer_tag, transfer_tag};
use super::watch::Phase;
use super::{Close, SEGMENT, Session};
use crate::ids::TaskId;
use crate::scsi::{Asc, Failure, Sense, status};
use crate::wire::bhs::{DataOut, R2t};
use crate::wire::codes::TAG_NONE;

/// Data that was not to come unasked (RFC 7143 section 11.4.7.2).
const UNEXPECTED_UNSOLICITED_DATA: Sense = Sense::aborted(Asc(0x0c, 0x0c));
/// A burst that ended early (RFC 7143 section 11.4.7.2).
pub(super) const INCORRECT_AMOUNT_OF_DATA: Sense = Sense::aborted(Asc(0x0c, 0x0d));
/// Data that did not come in time (SPC-5).
const INITIATOR_RESPONSE_TIMEOUT: Sense = Sense::aborted(Asc(0x4b, 0x06));

impl Session {
    /// Opens the data-out side of a task: slots, and then R2Ts as far as the data does not come by itself.
    pub(super) fn start_taking<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        usage: Use,
        base: u64,
        needed: u64,
    ) {
        let unasked = self.unasked;
        let first_burst = self.negotiated.first_burst_length;
        let problem = self.unasked_problem(&unasked);
        let block = if matches!(usage, Use::Params | Use::Pass { .. }) { 1 } else { self.block_size(h, id) };
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.actual = needed;
        let offered = if task.writes { task.edtl } else { 0 };
        let total = needed.min(u64::from(offered)) as u32;
        // Made where it stays: it is large, and every write has one.
        task.work = Work::Taking(Taking {
            asked: unasked.immediate.min(total),
            announced: unasked.immediate.into(),
            unsolicited: unasked
                .follows
                .then(|| Burst::unsolicited(unasked.immediate, first_burst.min(offered))),
            held: unasked.held,
            failed: problem,
            ..Taking::new(usage, base, total, block)
        });
        let urgent = unasked.is_some();
        if urgent {
            task.watch.enter(Phase::Data, h.now());
        }
        if !self.take_slots(h, id, if urgent { Claim::Urgent } else { Claim::Ordinary }) {
            self.without_slots(h, id, urgent);
        } else {
            self.go_on_taking(h, id);
        }
    }

    /// Data that comes although it was not negotiated, or more than was (RFC 7143 section 13.14 and on).
    fn unasked_problem(&self, u: &Unasked) -> Option<Failure> {
        let n = &self.negotiated;
        let unexpected = (u.immediate > 0 && !n.immediate_data) || (u.follows && n.initial_r2t);
        let too_much = u.immediate > n.first_burst_length;
        (unexpected || too_much).then_some(Failure::Check(UNEXPECTED_UNSOLICITED_DATA))
    }

    /// Takes all slots of a transfer at once; false when there are none.
    fn take_slots<H: Host>(&mut self, h: &mut H, id: TaskId, claim: Claim) -> bool {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return true };
        if taking.total == 0 || taking.failed.is_some() {
            return true;
        }
        let Some(first) = h.alloc(taking.total.min(SEGMENT), claim) else { return false };
        if let Some(len) = taking.needs_extra() {
            taking.extra = h.alloc(len, claim);
            if taking.extra.is_none() {
                h.free(first);
                return false;
            }
        }
        taking.assign(first);
        // What is not let go on has a place for what comes unasked, which is no more than a segment.
        if taking.held.is_none() {
            Self::widen(h, taking);
        }
        true
    }

    /// Takes slots for more segments at a time, if there are some.
    pub(super) fn widen<H: Host>(h: &mut H, taking: &mut Taking) {
        for _ in 1..taking.width() {
            let Some(buf) = h.alloc(SEGMENT, Claim::Ordinary) else { break };
            taking.assign(buf);
        }
    }

    /// No slot: a transfer that has not begun waits; one whose data comes by itself is dropped and answered
    /// TASK SET FULL at its end.
    fn without_slots<H: Host>(&mut self, h: &mut H, id: TaskId, urgent: bool) {
        if !urgent {
            return self.park(h, id);
        }
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        taking.fail(Failure::Status(status::TASK_SET_FULL));
        self.settle_taking(h, id);
    }

    /// A parked transfer tries again; false when there are still no slots.
    pub(super) fn retry_taking<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let got = self.take_slots(h, id, Claim::Ordinary);
        if got {
            self.go_on_taking(h, id);
        }
        got
    }

    /// Where the immediate data of the command goes that was just opened.
    pub(super) fn place_immediate(&mut self, id: TaskId, len: u32, dest: &mut Dest) {
        if let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) {
            Self::place_at(id, taking, 0, len, dest);
        }
    }

    /// Where `len` bytes at `offset` of a transfer go, if they go anywhere.
    #[inline]
    pub(super) fn place_at(id: TaskId, taking: &mut Taking, offset: u32, len: u32, dest: &mut Dest) {
        if taking.failed.is_none()
            && let Some((_, s)) = taking.segment_at(offset)
        {
            let at = offset - s.start;
            *dest = Dest::Slot { task: Some(id), buf: s.buf, at, keep: len.min(s.len - at) };
        }
    }

    /// A Data-Out header: where its payload goes, if not nowhere.
    pub(super) fn data_out<H: Host>(&mut self, h: &mut H, pdu: &DataOut, dest: &mut Dest) {
        let Some((id, solicited)) = self.data_out_task(pdu) else { return };
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else {
            return *dest = self.data_for_dormant(id, pdu);
        };
        let burst = match solicited {
            Some(number) => taking.bursts.iter_mut().find(|b| b.number == number),
            None => taking.unsolicited.as_mut(),
        };
        let Some(burst) = burst else { return };
        let (offset, len) = (pdu.buffer_offset.get(), pdu.data_len() as u32);
        let in_order = self.negotiated.data_pdu_in_order;
        if let Err(sense) = burst.take(pdu, in_order, &mut taking.ahead) {
            taking.fail(Failure::Check(sense));
            return self.let_go_of_slots(h, id);
        }
        // What is dropped is no progress, or a peer could keep the slots of a lost transfer by it.
        if taking.failed.is_none() {
            taking.announced += u64::from(len);
        }
        Self::place_at(id, taking, offset, len, dest);
    }

    /// Which task a Data-Out is for, and which R2T of it (`None`: unsolicited).
    pub(super) fn data_out_task(&self, pdu: &DataOut) -> Option<(TaskId, Option<u8>)> {
        if pdu.ttt.get() == TAG_NONE {
            return Some((self.tasks.by_itt(pdu.itt.get())?, None));
        }
        let (id, number) = split_transfer_tag(pdu.ttt.get());
        self.tasks.get(id).filter(|t| t.itt == pdu.itt.get())?;
        Some((id, Some(number)))
    }

    /// All that a write takes lies in staging, and is right: if the medium is memory, it goes there at once, copied once
    /// instead of twice. Whether it did: then the slot, which it had for everything else that may happen, has gone back.
    #[inline]
    pub(super) fn commit<H: Host>(&mut self, h: &mut H, id: TaskId, data: &[u8]) -> bool {
        let Some(Task { lu, doomed: false, begun, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id)
        else {
            return false;
        };
        if !taking.is_all_to_write(data.len()) || !h.commit(*lu, taking.base, data) {
            return false;
        }
        *begun = true;
        taking.segments.iter_mut().filter_map(Option::take).for_each(|s| h.free(s.buf));
        true
    }

    /// The payload of a Data-Out or the immediate data of a command is all there: `len` bytes at `offset`.
    pub(super) fn data_taken(&mut self, id: TaskId, offset: u32, len: u32) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        if let Some((_, segment)) = taking.segment_at(offset) {
            segment.received += len.min(segment.len - segment.received);
        }
        if let Some(burst) = &taking.unsolicited {
            taking.asked = taking.asked.max(burst.next.min(taking.total));
        }
    }

    /// A PDU of a transfer is done with; `fin` is its F bit.
    pub(super) fn data_out_done<H: Host>(&mut self, h: &mut H, id: TaskId, solicited: Option<u8>, fin: bool) {
        let Some(Task { doomed, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else {
            return self.dormant_data_done(h, id, fin);
        };
        if fin {
            let ended = match solicited {
                Some(number) => {
                    let index = taking.bursts.iter().position(|b| b.number == number);
                    index.map(|i| taking.bursts.remove(i))
                }
                None => taking.unsolicited.take(),
            };
            // Unasked may come less than could, but nothing in between may be missing.
            let torn =
                |b: Burst| if solicited.is_some() { b.next != b.end } else { !taking.ahead.is_empty() };
            // What is about to be aborted may end as early as it can.
            if !*doomed && ended.is_some_and(torn) {
                taking.fail(Failure::Check(INCORRECT_AMOUNT_OF_DATA));
            }
        }
        self.go_on_taking(h, id);
    }

    /// Payload that failed its digest: the command fails once its data has all passed (RFC 7143 section 7.8).
    pub(super) fn data_spoilt(&mut self, id: TaskId) {
        let spoilt = Sense::aborted(Asc::PROTOCOL_SERVICE_CRC_ERROR);
        match self.tasks.get_mut(id).map(|t| &mut t.work) {
            Some(Work::Taking(taking)) => taking.fail(Failure::Check(spoilt)),
            Some(Work::Dormant(dormant)) => dormant.spoil(spoilt),
            _ => {}
        }
    }

    /// What a transfer still owes has taken too long: it fails without waiting for the rest, which is dropped if it
    /// comes after all.
    pub(super) fn give_transfer_up<H: Host>(&mut self, h: &mut H, id: TaskId) -> Result<(), Close> {
        if self.rx.places_for(id) {
            return Err(Close::TooSlow);
        }
        if let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) {
            taking.fail(Failure::Check(INITIATOR_RESPONSE_TIMEOUT));
            taking.unsolicited = None;
            taking.bursts.clear();
        }
        self.settle_taking(h, id);
        Ok(())
    }

    /// Whatever can be done now: use full segments, ask for more, answer.
    pub(super) fn go_on_taking<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if self.is_unproven(id) {
            return;
        }
        self.use_full_segments(h, id);
        self.solicit(h, id);
        self.settle_taking(h, id);
    }

    /// While its immediate data may still prove wrong, a command is not there: nothing is asked for or said.
    fn is_unproven(&self, id: TaskId) -> bool {
        self.unproven && self.opened == Some(id)
    }

    fn use_full_segments<H: Host>(&mut self, h: &mut H, id: TaskId) {
        for _ in 0..MAX_SLOTS {
            let Some(Task { lu, doomed: false, watch, work: Work::Taking(taking), .. }) =
                self.tasks.get_mut(id)
            else {
                return;
            };
            if taking.failed.is_some() {
                return;
            }
            if taking.held.is_some() {
                if !taking.is_owed() {
                    watch.enter(Phase::Queued, h.now());
                }
                return;
            }
            let (lu, base) = (*lu, taking.base);
            let Some(part) = taking.full_segment() else { return };
            let Some(s) = taking.segments[part].as_mut() else { return };
            let (offset, whole) = (base + u64::from(s.start), s.len - s.len % taking.block);
            match taking.usage {
                // Less than a block: the initiator announced less than the command writes.
                Use::Write { .. } | Use::WriteVerify { .. } | Use::Compare | Use::Whole { .. }
                    if whole == 0 =>
                {
                    self.reuse_segment(h, id, part);
                }
                Use::Whole { .. } => self.enclose(h, id, part),
                Use::Write { .. } | Use::WriteVerify { .. } => {
                    // What is verified is what the medium holds, not a cache of it.
                    let fua = taking.usage != Use::Write { fua: false };
                    s.step = Step::Writing;
                    watch.enter(Phase::Disk, h.now());
                    h.disk(
                        id,
                        part as u8,
                        lu,
                        DiskOp::Write { buf: s.buf, len: whole, offset, fua, atomic: false },
                    );
                }
                Use::Compare => self.read_back(h, id, part),
                Use::CompareEach { range } => return self.start_comparing(h, id, range),
                Use::Fill { range, unmap, anchor } => {
                    return self.start_filling(h, id, range, unmap, anchor);
                }
                Use::Params => return self.params_taken(h, id),
                Use::Pass { .. } => return self.pass_taken(h, id),
            }
        }
    }

    /// Sends R2Ts for what has a place and was not asked for, as many as may be outstanding.
    fn solicit<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let allowed = usize::from(self.negotiated.max_outstanding_r2t).min(MAX_BURSTS);
        let max_burst = self.negotiated.max_burst_length;
        loop {
            let Some(task) = self.tasks.get_mut(id) else { return };
            let (itt, lun, doomed) = (task.itt, task.lun, task.doomed);
            let watch = &mut task.watch;
            let Work::Taking(taking) = &mut task.work else { return };
            let waits = taking.unsolicited.is_some() || taking.failed.is_some() || doomed;
            let waits = waits || taking.held.is_some();
            if waits || taking.bursts.len() >= allowed || taking.asked >= taking.assigned {
                return;
            }
            let start = taking.asked;
            let Some((_, segment)) = taking.segment_at(start) else { return };
            let len = (segment.start + segment.len - start).min(max_burst);
            watch.enter(Phase::Data, h.now());
            let (number, r2t_sn) = (taking.r2t_sn as u8, taking.r2t_sn);
            taking.r2t_sn = taking.r2t_sn.wrapping_add(1);
            taking.asked = start + len;
            taking.bursts.push(Burst { number, next: start, end: start + len, data_sn: 0 });
            let mut pdu = R2t {
                lun: U64::new(lun),
                itt: U32::new(itt),
                ttt: U32::new(transfer_tag(id, number)),
                ..R2t::default()
            };
            pdu.r2t_sn = U32::new(r2t_sn);
            pdu.buffer_offset = U32::new(start);
            pdu.desired_data_transfer_length = U32::new(len);
            pdu.stat_sn = U32::new(self.stat_sn.0);
            self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
            self.emit(h, pdu.as_bhs(), None, After::Keep);
        }
    }

    /// A disk request of a transfer ended.
    pub(super) fn taking_done<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        part: u8,
        result: Result<(), Failure>,
    ) {
        let Some(Task { watch, work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        if taking.is_owed() {
            watch.enter(Phase::Data, h.now());
        }
        let part = usize::from(part);
        let Some(Some(s)) = taking.segments.get(part).copied() else { return };
        match result {
            _ if taking.whole().is_some() => {
                if !self.enclosed_step(h, id, part, result) {
                    return;
                }
            }
            Err(failure) => taking.fail(failure),
            Ok(()) if s.step == Step::Writing && matches!(taking.usage, Use::WriteVerify { .. }) => {
                return self.read_back(h, id, part);
            }
            Ok(()) if s.step == Step::ReadingBack => taking.compare(h, &s),
            Ok(()) => {}
        }
        self.reuse_segment(h, id, part);
        self.go_on_taking(h, id);
    }

    /// The slot of a finished segment takes the next one, or goes back.
    fn reuse_segment<H: Host>(&mut self, h: &mut H, id: TaskId, part: usize) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let Some(s) = taking.segments[part].take() else { return };
        if taking.failed.is_some() || !taking.assign(s.buf) {
            h.free(s.buf);
        }
    }

    /// A transfer has failed: what neither the disk uses nor a payload is on its way into goes back at once, though the
    /// rest of the data is still to come, and is dropped.
    fn let_go_of_slots<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        if taking.failed.is_some() {
            let receiving = self.rx.place_of(id);
            taking.take_idle_slots(receiving).into_iter().for_each(|buf| h.free(buf));
        }
    }

    /// Answers when everything is done, or when it failed and nothing moves any more.
    pub(super) fn settle_taking<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if self.is_unproven(id) {
            return;
        }
        self.let_go_of_slots(h, id);
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        if !taking.is_idle() || self.rx.places_for(id) {
            return;
        }
        if let Some(failure) = taking.failed.take() {
            return self.answer_failure(h, id, &failure);
        }
        let all_used = taking.assigned == taking.total && taking.segments.iter().all(Option::is_none);
        if !all_used {
            return;
        }
        match taking.usage {
            Use::Params => self.params_taken(h, id),
            Use::Pass { .. } => self.pass_taken(h, id),
            // No block was announced: zeroes are meant.
            Use::Fill { range, unmap, anchor } => {
                self.start_clearing(h, id, vec![range], true, unmap && !anchor);
            }
            _ => self.answer_good(h, id),
        }
    }

    /// The parameter list of a command is complete.
    fn params_taken<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let list = taking.segments[0].take();
        let (buf, len) = list.map_or((None, 0), |s| (Some(s.buf), s.len));
        let outcome = self.plan_params(h, id, buf, len);
        if let Some(buf) = buf {
            h.free(buf);
        }
        self.follow(h, id, outcome);
    }
}

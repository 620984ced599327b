//! Third-party copies: the bytes go from one medium to another through slots of this reactor, and never leave it.
//!
//! A copy works off its segments in order, each by lanes: a slot that is read into and then written from, again and
//! again. Where the store can do it by itself, in its own bookkeeping (zeroes; ranges that share their extents), it is
//! asked to, and a slot is not needed. The segments are resolved among the logical units of this session alone (and the
//! source of a token, see [`super::token`]), and whether the nexus may still read and write there is asked again before
//! every request.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::host::{Claim, DiskOp, Host, Manage};
use super::task::{MAX_SLOTS, Task, Work};
use super::tmf::Answer;
use super::{MappedLun, SEGMENT, Session};
use crate::ids::{BufId, LuId, TaskId};
use crate::scsi::{
    Asc, CopyCommand, CopyEnd, CopyOrder, CopyRecord, CopyReport, Extent, Failure, MAX_COPIES, Outcome, Peer,
    Sense, Side, TokenBytes, status, unknown_list,
};
use crate::wire::codes::TAG_NONE;

/// Slots of the largest class that one copy uses at a time: one is read into while the other is written from. While
/// slots are short it gives them back after each use, so that everybody else has a turn.
const LANES: usize = 2;

/// Bytes that the store is asked at a time to copy or zero by itself: an abort waits for no more than that.
const DIRECT: u32 = 64 << 20;

/// Ended copies of which a session can still tell. The oldest is forgotten first.
const MAX_RECORDS: usize = 64;

/// There are too many copies under way; one that ends makes room.
const TOO_MANY_COPIES: Sense = Sense::aborted(Asc::INSUFFICIENT_RESOURCES);
/// A copy with that list identifier is under way.
const LIST_IN_USE: Sense = Sense::illegal(Asc::OPERATION_IN_PROGRESS);

/// A copy under way.
#[derive(Debug)]
pub(super) struct Copying {
    order: Box<CopyOrder>,
    /// What the segment under way comes to.
    extent: Option<Extent>,
    /// Its bytes that have a lane or had one.
    assigned: u64,
    lanes: [Option<Lane>; LANES],
    /// The store copies the segment by itself.
    clones: bool,
    /// It turned out that it cannot.
    clones_failed: bool,
    record: CopyRecord,
    failed: Option<Sense>,
}

/// A slot on its way from the source to the destination; or no slot, where the store does all by itself.
#[derive(Debug, Clone, Copy)]
struct Lane {
    buf: Option<BufId>,
    /// Where in the extent it begins, and how long it is, bytes.
    at: u64,
    len: u32,
    writing: bool,
}

/// What a session knows of its copies that have ended.
#[derive(Debug, Default)]
pub(super) struct Copies {
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Ended {
    lu: LuId,
    list: u32,
    record: CopyRecord,
    /// What POPULATE TOKEN has made.
    token: Option<Box<TokenBytes>>,
}

impl Copies {
    fn get(&self, lu: LuId, list: u32) -> Option<&Ended> {
        self.ended.iter().find(|e| (e.lu, e.list) == (lu, list))
    }

    fn forget(&mut self, lu: LuId, list: u32) {
        self.ended.retain(|e| (e.lu, e.list) != (lu, list));
    }

    fn forget_token(&mut self, lu: LuId, list: u32) {
        let of_it = self.ended.iter_mut().filter(|e| (e.lu, e.list) == (lu, list));
        of_it.for_each(|e| e.token = None);
    }

    /// These logical units are gone, and what is known of copies there.
    pub(super) fn forget_units(&mut self, gone: &[LuId]) {
        self.ended.retain(|e| !gone.contains(&e.lu));
    }

    pub(super) fn keep(&mut self, lu: LuId, list: u32, record: CopyRecord, token: Option<Box<TokenBytes>>) {
        self.forget(lu, list);
        self.ended.truncate(MAX_RECORDS - 1);
        self.ended.push_front(Ended { lu, list, record, token });
    }
}

impl Copying {
    fn new(order: Box<CopyOrder>, block: u32) -> Self {
        let end = CopyEnd::Running { background: order.immediate };
        let record = CopyRecord { action: order.action, end, segments: 0, bytes: 0, operations: 0, block };
        Self {
            order,
            extent: None,
            assigned: 0,
            lanes: [None; LANES],
            clones: false,
            clones_failed: false,
            record,
            failed: None,
        }
    }

    pub(super) fn slots(&self) -> ArrayVec<BufId, MAX_SLOTS> {
        self.lanes.iter().flatten().filter_map(|l| l.buf).collect()
    }

    /// Whether it reads or writes there now, or by a token will.
    pub(super) fn uses(&self, lu: LuId) -> bool {
        let by_token = self.order.creator().is_some_and(|(source, _)| source == lu);
        by_token || self.extent.is_some_and(|e| e.from == lu || e.to == lu)
    }

    /// Whether it writes there now.
    pub(super) fn writes(&self, lu: LuId) -> bool {
        self.extent.is_some_and(|e| e.to == lu)
    }

    /// Begins a segment. `clones`: the store may be able to copy it.
    fn begin(&mut self, extent: Extent, clones: bool) {
        let whole = |block: u32| extent.len.is_multiple_of(block.into());
        let fits = !extent.zeroes && !extent.overlaps() && whole(extent.from_block) && whole(extent.to_block);
        self.clones = clones && fits && !self.clones_failed;
        self.extent = Some(extent);
    }

    /// Whether the segment needs no slots.
    fn is_direct(&self) -> bool {
        self.clones || self.extent.is_some_and(|e| e.zeroes)
    }

    fn is_idle(&self) -> bool {
        self.lanes.iter().all(Option::is_none)
    }

    /// What is told of it: the segment under way counts as processed.
    fn told(&self) -> CopyRecord {
        CopyRecord { segments: self.record.segments + u16::from(self.extent.is_some()), ..self.record }
    }

    /// The number of the segment under way.
    fn segment(&self) -> usize {
        self.record.segments.into()
    }

    /// How many lanes the segment may use. Where source and destination share bytes only one: what is written then
    /// has always been read before.
    fn width(&self) -> usize {
        if self.is_direct() || self.extent.is_some_and(|e| e.overlaps()) { 1 } else { LANES }
    }

    /// The next stretch of the extent, as offset and length; `None`: all have a lane, or it has failed. A copy to higher addresses of
    /// the same medium goes from the end, as memmove does.
    fn next_stretch(&self) -> Option<(u64, u32)> {
        let e = self.extent.filter(|e| self.assigned < e.len && self.failed.is_none())?;
        let most = u64::from(if self.is_direct() { DIRECT } else { SEGMENT });
        let left = e.len - self.assigned;
        if e.overlaps() && e.to_offset > e.from_offset {
            let at = (left - 1) / most * most;
            return Some((at, (left - at) as u32));
        }
        Some((self.assigned, left.min(most) as u32))
    }

    /// Bytes of the slot of a lane: enough for every stretch of the segment, in whole blocks of either side.
    fn slot_len(&self) -> u32 {
        let Some(e) = self.extent else { return SEGMENT };
        (e.len.min(u64::from(SEGMENT)) as u32).next_multiple_of(e.from_block.max(e.to_block))
    }

    /// Gives the next stretch to a free lane with that slot, and says what to read.
    fn assign(&mut self, buf: BufId) -> Option<(u8, LuId, DiskOp)> {
        let part = self.lanes.iter().position(Option::is_none)?;
        let (at, len) = self.next_stretch()?;
        let extent = self.extent?;
        self.assigned += u64::from(len);
        self.lanes[part] = Some(Lane { buf: Some(buf), at, len, writing: false });
        let len = len.next_multiple_of(extent.from_block);
        Some((part as u8, extent.from, DiskOp::Read { buf, len, offset: extent.from_offset + at }))
    }

    /// Gives the next stretch to the store itself, and says how.
    fn assign_direct(&mut self) -> Option<(LuId, DiskOp)> {
        let ((at, len), e) = (self.next_stretch()?, self.extent?);
        self.assigned += u64::from(len);
        self.lanes[0] = Some(Lane { buf: None, at, len, writing: true });
        let (offset, len) = (e.to_offset + at, u64::from(len));
        let op = if e.zeroes {
            DiskOp::Zero { offset, len, unmap: true }
        } else {
            DiskOp::Clone { from: e.from, from_offset: e.from_offset + at, offset, len }
        };
        Some((e.to, op))
    }

    /// The store cannot do it: from `lane` on the bytes are read and written.
    fn stop_cloning(&mut self, lane: Lane) {
        (self.clones, self.clones_failed) = (false, true);
        (self.lanes[0], self.assigned) = (None, lane.at);
    }

    /// Marks the lane as being written, and says what to write.
    fn turn(&mut self, part: u8, fua: bool) -> Option<(LuId, DiskOp)> {
        let extent = self.extent?;
        let lane = self.lanes.get_mut(usize::from(part))?.as_mut()?;
        lane.writing = true;
        let (buf, len) = (lane.buf?, lane.len.next_multiple_of(extent.to_block));
        Some((extent.to, DiskOp::Write { buf, len, offset: extent.to_offset + lane.at, fua, atomic: false }))
    }

    /// The segment under way is complete.
    fn end_segment(&mut self) {
        self.record.segments += 1;
        self.extent = None;
        self.assigned = 0;
    }
}

impl Session {
    /// A command of third-party copy.
    pub(super) fn copy_command<H: Host>(&mut self, h: &mut H, id: TaskId, command: CopyCommand) {
        match command {
            CopyCommand::Start(order) => {
                let Some(lu) = self.tasks.get(id).map(|t| t.lu) else { return };
                match self.admit_copy(lu, order.list) {
                    Ok(()) => self.start_copy(h, id, order),
                    Err(sense) => self.answer_failure(h, id, &Failure::Check(sense)),
                }
            }
            CopyCommand::Populate(order) => self.populate(h, id, *order),
            CopyCommand::WriteByToken(order) => self.write_by_token(h, id, &order),
            CopyCommand::Tokens { allocation } => self.tell_of_tokens(h, id, allocation),
            CopyCommand::Report(report) => self.tell_of_copy(h, id, &report),
            CopyCommand::Abort(list) => self.abort_copy(h, id, list),
        }
    }

    /// Whether no copy under way has that list identifier.
    pub(super) fn list_is_free(&self, lu: LuId, list: u32) -> Result<(), Sense> {
        if self.copy_of(lu, list).is_some() { Err(LIST_IN_USE) } else { Ok(()) }
    }

    /// Whether one more copy may begin; what is known of an earlier one of that list identifier is forgotten then.
    pub(super) fn admit_copy(&mut self, lu: LuId, list: Option<u32>) -> Result<(), Sense> {
        list.map_or(Ok(()), |list| self.list_is_free(lu, list))?;
        if self.copies_under_way() >= usize::from(MAX_COPIES) {
            return Err(TOO_MANY_COPIES);
        }
        if let Some(list) = list {
            self.copies.forget(lu, list);
        }
        Ok(())
    }

    fn copies_under_way(&self) -> usize {
        self.tasks.iter().filter(|(_, t)| matches!(t.work, Work::Copying(_))).count()
    }

    /// Whether a copy is under way.
    pub fn is_copying(&self) -> bool {
        self.copies_under_way() > 0
    }

    /// Begins a copy that is admitted.
    pub(super) fn start_copy<H: Host>(&mut self, h: &mut H, id: TaskId, order: Box<CopyOrder>) {
        let block = self.block_size(h, id);
        let id = if order.immediate { self.send_to_background(h, id) } else { Some(id) };
        let Some(id) = id else { return };
        if let Some(task) = self.tasks.get_mut(id) {
            task.work = Work::Copying(Box::new(Copying::new(order, block)));
            h.copies();
        }
        self.copy_on(h, id);
    }

    /// Answers a command whose copy goes on as a task of its own, which nobody waits for.
    fn send_to_background<H: Host>(&mut self, h: &mut H, id: TaskId) -> Option<TaskId> {
        let task = self.tasks.get(id)?;
        let background =
            Task { itt: TAG_NONE, background: true, cdb: task.cdb.clone(), work: Work::Fresh, ..*task };
        let Some((in_background, new)) = self.tasks.open(true) else {
            self.answer_failure(h, id, &Failure::Check(TOO_MANY_COPIES));
            return None;
        };
        *new = background;
        self.answer_good(h, id);
        Some(in_background)
    }

    /// The logical units that a copy of this session can reach.
    fn peers<'a, H: Host>(
        &'a self,
        h: &'a H,
        order: &'a CopyOrder,
    ) -> impl Iterator<Item = Peer<'a>> + Clone {
        let peer = |l: &MappedLun| {
            let lu = h.lu(l.lu)?;
            Some(Peer { id: l.lu, lu, read_only_map: l.read_only, via: None })
        };
        self.luns.iter().filter_map(peer).chain(self.creators_peer(h, order))
    }

    /// Goes on with a copy of which nothing is in flight: to the next segment that has bytes, or to its end.
    fn copy_on<H: Host>(&mut self, h: &mut H, id: TaskId) {
        while let Some(Task { lu, work: Work::Copying(copying), .. }) = self.tasks.get(id) {
            let (own, segment) = (*lu, copying.segment());
            if let Some(sense) = copying.failed {
                return self.end_copy(h, id, CopyEnd::Failed(sense));
            }
            if segment == copying.order.segments() {
                return self.end_copy(h, id, CopyEnd::Done);
            }
            let extent = match copying.extent {
                Some(extent) => Ok(extent),
                None => copying.order.extent(segment, own, &self.nexus, self.peers(h, &copying.order)),
            };
            let is_new = copying.extent.is_none();
            let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else { return };
            match extent {
                Ok(extent) if is_new => copying.begin(extent, h.clones(extent.from, extent.to)),
                Ok(_) => {}
                Err(sense) => copying.failed = Some(sense),
            }
            if copying.failed.is_some() {
                continue;
            }
            if copying.next_stretch().is_none() {
                copying.end_segment();
            } else if self.start_lanes(h, id) {
                return;
            } else {
                return self.park(h, id);
            }
        }
    }

    /// Starts as many lanes as there are slots for; false when there is none and nothing is in flight.
    pub(super) fn start_lanes<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        while let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get(id) {
            let busy = copying.lanes.iter().flatten().count();
            let most = if h.is_low() { 1 } else { copying.width() };
            if copying.next_stretch().is_none() || busy >= most {
                return true;
            }
            if copying.is_direct() {
                self.start_direct(h, id);
                continue;
            }
            let Some(buf) = h.alloc(copying.slot_len(), Claim::Ordinary) else { return busy > 0 };
            self.start_lane(h, id, buf);
        }
        true
    }

    /// Reads the next stretch into a slot, unless the nexus may not any more.
    fn start_lane<H: Host>(&mut self, h: &mut H, id: TaskId, buf: BufId) {
        let allowed = self.may_go_on(h, id);
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else {
            return h.free(buf);
        };
        match allowed {
            Ok(()) => match copying.assign(buf) {
                Some((part, lu, op)) => h.disk(id, part, lu, op),
                None => h.free(buf),
            },
            Err(sense) => {
                h.free(buf);
                self.fail_copy(h, id, sense);
            }
        }
    }

    /// Has the store do the next stretch, unless the nexus may not any more.
    fn start_direct<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let allowed = self.may_go_on(h, id);
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else { return };
        match allowed {
            Ok(()) => {
                if let Some((lu, op)) = copying.assign_direct() {
                    h.disk(id, 0, lu, op);
                }
            }
            Err(sense) => self.fail_copy(h, id, sense),
        }
    }

    /// Whether the nexus may still read and write where the copy is.
    fn may_go_on<H: Host>(&self, h: &H, id: TaskId) -> Result<(), Sense> {
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get(id) else { return Ok(()) };
        let Some(extent) = copying.extent else { return Ok(()) };
        let order = &copying.order;
        order.check(&extent, copying.segment(), &self.nexus, self.peers(h, order))
    }

    /// A copy has failed; it ends when nothing of it is in flight.
    fn fail_copy<H: Host>(&mut self, h: &mut H, id: TaskId, sense: Sense) {
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else { return };
        copying.failed.get_or_insert(sense);
        if copying.is_idle() {
            self.copy_on(h, id);
        }
    }

    /// A disk request of a copy ended.
    pub(super) fn lane_done<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        part: u8,
        result: Result<(), Failure>,
    ) {
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else { return };
        let segment = copying.segment();
        let Some(Some(lane)) = copying.lanes.get(usize::from(part)).copied() else { return };
        if result.is_err() && copying.clones {
            copying.stop_cloning(lane);
            return self.copy_on(h, id);
        }
        let side = if lane.writing { Side::Destination } else { Side::Source };
        let failure = result.err().map(|failure| copying.order.failed(segment, side, Some(failure)));
        match failure.or(copying.failed) {
            Some(sense) => {
                copying.lanes[usize::from(part)] = None;
                free_slot(h, lane);
                self.fail_copy(h, id, sense);
            }
            None if lane.writing => self.lane_written(h, id, part, lane),
            None => self.write_lane(h, id, part, lane),
        }
    }

    /// A stretch has been read: it is written, unless the nexus may not any more.
    fn write_lane<H: Host>(&mut self, h: &mut H, id: TaskId, part: u8, lane: Lane) {
        let allowed = self.may_go_on(h, id);
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else { return };
        let write_through = |lu: LuId, h: &H| h.lu(lu).is_some_and(|lu| lu.state.mode.current.write_through);
        let fua = copying.extent.is_some_and(|e| write_through(e.to, h));
        match allowed {
            Ok(()) => {
                let Some((lu, op)) = copying.turn(part, fua) else { return };
                if let DiskOp::Write { buf, len, .. } = op {
                    // What does not fill the last block.
                    h.bytes_mut(buf)[lane.len as usize..len as usize].fill(0);
                }
                h.disk(id, part, lu, op);
            }
            Err(sense) => {
                copying.lanes[usize::from(part)] = None;
                free_slot(h, lane);
                self.fail_copy(h, id, sense);
            }
        }
    }

    /// A stretch has been written: its slot takes the next one, or goes back while others wait for slots.
    fn lane_written<H: Host>(&mut self, h: &mut H, id: TaskId, part: u8, lane: Lane) {
        let Some(Task { work: Work::Copying(copying), .. }) = self.tasks.get_mut(id) else { return };
        copying.lanes[usize::from(part)] = None;
        copying.record.bytes += u64::from(lane.len);
        copying.record.operations = copying.record.operations.wrapping_add(1);
        if let Some(buf) = lane.buf
            && copying.next_stretch().is_some()
            && !h.is_low()
        {
            self.start_lane(h, id, buf);
            // It may have begun with fewer lanes than it may have.
            self.start_lanes(h, id);
            return;
        }
        free_slot(h, lane);
        if copying.is_idle() {
            self.copy_on(h, id);
        }
    }

    /// Answers a copy of which nothing is in flight.
    fn end_copy<H: Host>(&mut self, h: &mut H, id: TaskId, end: CopyEnd) {
        self.record_copy(id, end);
        match end {
            _ if self.tasks.get(id).is_some_and(|t| t.background) => self.close_task(h, id),
            CopyEnd::Failed(sense) => self.answer_failure(h, id, &Failure::Check(sense)),
            _ => self.answer_good(h, id),
        }
    }

    /// Keeps what is known of a copy that ends, if that is wanted.
    pub(super) fn record_copy(&mut self, id: TaskId, end: CopyEnd) {
        let Some(Task { lu, work: Work::Copying(copying), .. }) = self.tasks.get(id) else { return };
        if let Some(list) = copying.order.list.filter(|_| copying.order.hold) {
            self.copies.keep(*lu, list, CopyRecord { end, ..copying.told() }, None);
        }
    }

    /// The copy with that list identifier that is under way.
    fn copy_of(&self, of: LuId, list: u32) -> Option<(TaskId, &Copying)> {
        self.tasks.iter().find_map(|(id, task)| match &task.work {
            Work::Copying(copying) if task.lu == of && copying.order.list == Some(list) => {
                Some((id, &**copying))
            }
            _ => None,
        })
    }

    fn tell_of_copy<H: Host>(&mut self, h: &mut H, id: TaskId, report: &CopyReport) {
        let Some(lu) = self.tasks.get(id).map(|t| t.lu) else { return };
        let running = self.copy_of(lu, report.list).map(|(_, copying)| copying.told());
        let ended = self.copies.get(lu, report.list);
        let record = running.or_else(|| ended.map(|e| e.record));
        let token = ended.and_then(|e| e.token.as_deref()).filter(|_| running.is_none());
        let descriptor = h.lu(lu).is_some_and(|lu| lu.state.descriptor_sense());
        let mut scratch = h.take_scratch();
        let planned = match record.and_then(|r| report.write(&r, token, descriptor, &mut scratch)) {
            Some(outcome) => Self::keep_outcome(h, outcome, &scratch),
            None => Self::keep_outcome(h, Outcome::Fail(unknown_list().into()), &scratch),
        };
        h.give_scratch(scratch);
        if record.is_some_and(|r| report.is_last(&r)) {
            self.copies.forget(lu, report.list);
        }
        if record.is_some_and(|r| report.uses_token_up(&r)) {
            self.copies.forget_token(lu, report.list);
        }
        self.follow(h, id, planned);
    }

    /// COPY OPERATION ABORT: the copy ends at once; both commands are answered when what the kernel still has of it is
    /// fenced.
    fn abort_copy<H: Host>(&mut self, h: &mut H, by: TaskId, list: u32) {
        let Some(lu) = self.tasks.get(by).map(|t| t.lu) else { return };
        let Some((copy, _)) = self.copy_of(lu, list) else {
            return self.answer_failure(h, by, &Failure::Check(unknown_list()));
        };
        if self.is_managing_most() {
            return self.answer_failure(h, by, &Failure::Status(status::BUSY));
        }
        self.record_copy(copy, CopyEnd::Aborted);
        let held = h.abandon(&[copy]);
        self.parked.retain(|parked| *parked != copy);
        if let Some(task) = self.tasks.get_mut(copy) {
            for buf in std::mem::replace(&mut task.work, Work::Fresh).slots() {
                if held.binary_search(&buf).is_err() {
                    h.free(buf);
                }
            }
        }
        self.manage_then(h, Manage::Fence, Answer::CopyAborted { copy, by });
    }

    /// The fences of a copy that was aborted stand.
    pub(super) fn copy_aborted<H: Host>(&mut self, h: &mut H, copy: TaskId, by: TaskId) {
        let cleared = Sense::new(crate::scsi::SenseKey::COPY_ABORTED, Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER);
        match self.tasks.get(copy) {
            Some(task) if task.background => self.close_task(h, copy),
            _ => self.answer_failure(h, copy, &Failure::Check(cleared)),
        }
        self.answer_good(h, by);
    }
}

fn free_slot<H: Host>(h: &mut H, lane: Lane) {
    if let Some(buf) = lane.buf {
        h.free(buf);
    }
}

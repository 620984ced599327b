//! Commands that the device of a logical unit runs: their data goes through one slot, and the device's status and sense
//! data are the answer.

use zerocopy::big_endian::{U32, U64};

use super::SEGMENT;
use super::Session;
use super::command::Planned;
use super::host::{After, Body, Claim, Host, PassRequest};
use super::taking::Use;
use super::task::{Task, Work};
use super::watch::{Direction, Phase};
use crate::ids::{BufId, TaskId};
use crate::scsi::{self, Amount, Asc, Failure, Outcome, Pass, PassData, PassReport, Sense, status};
use crate::wire::bhs::DataIn;
use crate::wire::codes::TAG_NONE;
use crate::wire::flags;

/// Bytes of a slot in which data-in may become longer than the device has made it.
const ROOM: u32 = 4096;

/// A command that the device has, or is to get.
#[derive(Debug)]
pub(super) struct Passing {
    pass: Box<Pass>,
    pub(super) buf: Option<BufId>,
    /// Bytes that it may move.
    len: u32,
    /// Data-In PDUs that have been sent.
    pub(super) pdus: u32,
}

impl Passing {
    fn new(pass: Box<Pass>, buf: Option<BufId>, len: u32) -> Self {
        Self { pass, buf, len, pdus: 0 }
    }

    fn is_inward(&self) -> bool {
        matches!(self.pass.data, PassData::In(_))
    }
}

/// Bytes that a command is to move; `None` when what the initiator expects cannot be right: more than can be moved, or
/// data to the device that is not so many equal parts as the CDB says.
fn length(data: PassData, task: &Task) -> Option<u32> {
    let expected = |wants: bool| if wants { task.edtl } else { 0 };
    let (len, most) = match data {
        PassData::Nothing | PassData::In(Amount::Expected { units: 0, .. }) => (0, 0),
        PassData::In(Amount::Known(len)) | PassData::Out(Amount::Known(len)) => (len, SEGMENT),
        PassData::In(Amount::Expected { most, .. }) => (expected(task.reads), most),
        PassData::Out(Amount::Expected { units, most }) => {
            let offered = expected(task.writes);
            match offered.checked_rem(units) {
                None => (0, 0),
                Some(0) if offered > 0 => (offered, most),
                Some(_) => return None,
            }
        }
    };
    (len <= most.min(SEGMENT)).then_some(len)
}

impl Session {
    /// Begins a command. Which way data goes is for the CDB to say; an initiator that says otherwise gets or gives none.
    pub(super) fn start_passing<H: Host>(&mut self, h: &mut H, id: TaskId, pass: Box<Pass>) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let Some(len) = length(pass.data, task) else {
            let sense = Sense::illegal(Asc::INVALID_FIELD_IN_CDB);
            return self.answer_failure(h, id, &Failure::Check(sense));
        };
        if let PassData::Out(_) = pass.data {
            return self.start_taking(h, id, Use::Pass { judged: pass.judged }, 0, len.into());
        }
        task.watch.direction = Direction::of_code(task.cdb.first().copied().unwrap_or(0));
        task.work = Work::Passing(Passing::new(pass, None, len));
        if !self.retry_passing(h, id) {
            self.park(h, id);
        }
    }

    /// Takes the slot of a command, if it needs one, and sends it to the device; false when there is none.
    pub(super) fn retry_passing<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(Task { work: Work::Passing(passing), .. }) = self.tasks.get_mut(id) else { return true };
        if passing.len > 0 {
            let room = if passing.pass.revised { ROOM } else { 0 };
            passing.buf = h.alloc(passing.len.max(room), Claim::Ordinary);
            if passing.buf.is_none() {
                return false;
            }
        }
        self.hand_over(h, id);
        true
    }

    fn hand_over<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(Task { lu, watch, work: Work::Passing(passing), .. }) = self.tasks.get_mut(id) else {
            return;
        };
        watch.enter(Phase::Disk, h.now());
        let order = passing.pass.order.clone();
        let request = PassRequest { order, buf: passing.buf, len: passing.len, inward: passing.is_inward() };
        h.pass(id, *lu, request);
    }

    /// The data that goes to the device is all there: the rules are applied again, and it gets the command.
    pub(super) fn pass_taken<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let judged = matches!(taking.usage, Use::Pass { judged: true });
        let (buf, len) = taking.segments[0].take().map_or((None, 0), |s| (Some(s.buf), s.len));
        let list = buf.filter(|_| judged).map_or_else(Vec::new, |buf| h.bytes(buf)[..len as usize].to_vec());
        let planned = self.plan(h, id, Some(&list));
        if let Planned::Outcome(Outcome::Pass(pass)) = planned {
            let Some(task) = self.tasks.get_mut(id) else { return };
            let len = match pass.data {
                PassData::Out(Amount::Known(takes)) => len.min(takes),
                _ => len,
            };
            task.watch.direction = Direction::of_code(task.cdb.first().copied().unwrap_or(0));
            task.work = Work::Passing(Passing::new(pass, buf, len));
            return self.hand_over(h, id);
        }
        if let Some(buf) = buf {
            h.free(buf);
        }
        self.follow(h, id, planned);
    }

    /// The device has answered.
    pub(super) fn passed<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(report) = h.take_passed(id) else {
            return self.answer_failure(h, id, &Failure::Check(Sense::target_failure()));
        };
        let Some(Task { lu, actual, work: Work::Passing(passing), .. }) = self.tasks.get_mut(id) else {
            return;
        };
        let is_good = report.status == status::GOOD;
        if let Some(asc) = report.attention().or_else(|| passing.pass.tells.filter(|_| is_good)) {
            h.tell_others(*lu, asc, &self.nexus);
        }
        let moved = report.moved.min(passing.len);
        *actual = moved.into();
        match passing.buf.filter(|_| passing.is_inward()) {
            Some(buf) if is_good => {
                passing.buf = None;
                let moved = if passing.pass.revised { self.revise(h, id, buf, moved) } else { moved };
                self.send_made(h, id, buf, moved);
            }
            Some(buf) => {
                passing.buf = None;
                self.send_part(h, id, buf, moved);
                self.answer_report(h, id, &report);
            }
            None => self.answer_report(h, id, &report),
        }
    }

    /// Ends a task as the device has ended the command.
    fn answer_report<H: Host>(&mut self, h: &mut H, id: TaskId, report: &PassReport) {
        self.answer_status(h, id, report.status, 0, &report.sense);
    }

    /// Makes of a device's data-in what the initiator is to get, in the same slot; how long that is.
    fn revise<H: Host>(&mut self, h: &mut H, id: TaskId, buf: BufId, moved: u32) -> u32 {
        let said = h.bytes(buf)[..moved as usize].to_vec();
        let mut scratch = h.take_scratch();
        let len = self.with_context(h, id, |cdb, cx| scsi::revise(cdb, cx, &said, &mut scratch)).unwrap_or(0);
        let slot = h.bytes_mut(buf);
        let len = len.min(slot.len());
        slot[..len].copy_from_slice(&scratch[..len]);
        h.give_scratch(scratch);
        len as u32
    }

    /// Sends what was moved before a command failed: its status follows in a PDU of its own.
    fn send_part<H: Host>(&mut self, h: &mut H, id: TaskId, buf: BufId, moved: u32) {
        let Some(task) = self.tasks.get(id) else { return h.free(buf) };
        let (itt, total) = (task.itt, if task.reads { moved.min(task.edtl) } else { 0 });
        let (mut at, mut pdus) = (0, 0);
        while at < total {
            let count = self.data_in_len(at, total - at);
            let mut pdu =
                DataIn { itt: U32::new(itt), ttt: U32::new(TAG_NONE), lun: U64::new(0), ..DataIn::default() };
            pdu.set_data_len(count as usize);
            pdu.data_sn = U32::new(pdus);
            pdu.buffer_offset = U32::new(at);
            let is_last = at + count == total;
            pdu.flags = if is_last || self.ends_burst(at + count) { flags::FINAL } else { 0 };
            self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
            let after = if is_last { After::Free(buf) } else { After::Keep };
            self.emit(h, pdu.as_bhs(), Some(Body::Slot { buf, at, len: count }), after);
            (at, pdus) = (at + count, pdus + 1);
        }
        if total == 0 {
            h.free(buf);
        }
        if let Some(Task { work: Work::Passing(passing), .. }) = self.tasks.get_mut(id) {
            passing.pdus = pdus;
        }
    }
}

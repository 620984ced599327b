//! PDUs to the initiator: sequence numbers, residuals, status and sense, padding and digests.

use arrayvec::ArrayVec;
use zerocopy::big_endian::{U16, U32};

use super::host::{After, Body, Host};
use super::keys::LEVEL_RFC7144;
use super::task::{Task, Work};
use super::{Close, SEGMENT, Session};
use crate::ids::TaskId;
use crate::scsi::{Failure, MAX_DEVICE_SENSE, MAX_SENSE, Sense, status};
use crate::wire::bhs::{BHS_LEN, Bhs, Reject, ScsiResponse, padding};
use crate::wire::codes::{RejectReason, ServiceResponse};
use crate::wire::digest::{self, Crc, DIGEST_LEN};
use crate::wire::flags;

/// What BUSY and TASK SET FULL tell about when to try again (SAM-5 section 5.3.2): this I_T_L nexus, in 100 ms.
const RETRY_SOON: u16 = 1;

/// What a medium of nothing but zeroes gives: the only one that is memory and whose bytes get a digest, for nobody changes
/// them meanwhile. The session has no memory of its own in which they lie; the kernel has a page for all of them.
static ZEROES: [u8; SEGMENT as usize] = [0; SEGMENT as usize];

/// A residual and the flag that says which way (RFC 7143 section 11.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Residual {
    pub(super) flags: u8,
    pub(super) count: u32,
}

impl Residual {
    /// For a command that moves `actual` bytes where the initiator expected `expected`.
    fn of(actual: u64, expected: u32) -> Self {
        let expected = u64::from(expected);
        if actual > expected {
            Self { flags: flags::OVERFLOW, count: u32::try_from(actual - expected).unwrap_or(u32::MAX) }
        } else if actual < expected {
            Self { flags: flags::UNDERFLOW, count: (expected - actual) as u32 }
        } else {
            Self::default()
        }
    }
}

impl Task {
    /// Its response, but for the status.
    pub(super) fn response(&self) -> ScsiResponse {
        let residual = self.residual();
        let mut pdu = ScsiResponse { itt: U32::new(self.itt), ..ScsiResponse::default() };
        pdu.response = ServiceResponse::COMPLETED.0;
        pdu.flags |= residual.flags;
        pdu.residual_count = U32::new(residual.count);
        // A read may fail after part of it has left (RFC 7143 section 11.4.8).
        pdu.exp_data_sn = U32::new(match &self.work {
            Work::Reading(reading) => reading.pdus(),
            Work::Passing(passing) => passing.pdus,
            _ => 0,
        });
        pdu
    }

    pub(super) fn residual(&self) -> Residual {
        let expects = self.reads || (self.writes && !matches!(self.work, Work::Reading(_)));
        let expected = if expects { self.edtl } else { 0 };
        Residual::of(self.actual, expected)
    }
}

/// The status qualifier, which an initiator knows that speaks RFC 7144.
fn qualifier(status: u8, protocol_level: u8) -> u16 {
    let passes = [status::BUSY, status::TASK_SET_FULL].contains(&status);
    if passes && protocol_level >= LEVEL_RFC7144 { RETRY_SOON } else { 0 }
}

impl Session {
    /// Takes the next StatSN.
    pub(super) fn next_stat_sn(&mut self) -> u32 {
        let sn = self.stat_sn;
        self.stat_sn = sn.next();
        sn.0
    }

    /// ExpCmdSN and MaxCmdSN. The window closes while slots are short, but for one command of a session that has none
    /// open: else nothing would ever open it again. It never moves back (RFC 7143 section 4.2.2.1).
    /// `frees_one`: the PDU ends a command that is still in the table.
    pub(super) fn put_window<H: Host>(&mut self, h: &H, exp: &mut U32, max: &mut U32, frees_one: bool) {
        let busy = self.tasks.len().saturating_sub(u32::from(frees_one));
        let most = if h.is_low() { 1 } else { self.command_window };
        let wanted = self.exp_cmd_sn.add(most.saturating_sub(busy)).back(1);
        if self.max_cmd_sn.precedes(wanted) {
            self.max_cmd_sn = wanted;
        }
        *exp = U32::new(self.exp_cmd_sn.0);
        *max = U32::new(self.max_cmd_sn.0);
    }

    /// Sends a header and, if any, payload by its place.
    pub(super) fn emit<H: Host>(&self, h: &mut H, bhs: &[u8; BHS_LEN], body: Option<Body>, after: After) {
        self.emit_header(h, bhs);
        if let Some(body) = body {
            h.put_body(body);
            let mut tail = ArrayVec::<u8, { 3 + DIGEST_LEN }>::new();
            tail.extend(std::iter::repeat_n(0, padding(body.len() as usize)));
            if self.negotiated.data_digest {
                let mut crc = Crc::new();
                crc.update(match body {
                    Body::Slot { buf, at, len } => &h.bytes(buf)[at as usize..(at + len) as usize],
                    Body::Medium { lu, len, .. } => {
                        debug_assert!(h.is_blank(lu), "others change a ramdisk meanwhile");
                        &ZEROES[..len as usize]
                    }
                });
                crc.update(&tail);
                tail.extend(digest::to_wire(crc.finish()));
            }
            h.put(&tail);
        }
        h.end(after);
    }

    /// Sends a header and a small payload that is copied.
    pub(super) fn emit_small<H: Host>(&self, h: &mut H, bhs: &[u8; BHS_LEN], data: &[u8], after: After) {
        self.emit_header(h, bhs);
        if !data.is_empty() {
            let pad = &[0; 3][..padding(data.len())];
            h.put(data);
            h.put(pad);
            if self.negotiated.data_digest {
                let mut crc = Crc::new();
                crc.update(data);
                crc.update(pad);
                h.put(&digest::to_wire(crc.finish()));
            }
        }
        h.end(after);
    }

    fn emit_header<H: Host>(&self, h: &mut H, bhs: &[u8; BHS_LEN]) {
        h.seen(true, bhs);
        h.put(bhs);
        if self.negotiated.header_digest {
            h.put(&digest::to_wire(digest::crc32c(bhs)));
        }
    }

    /// Ends a task with status GOOD.
    pub(super) fn answer_good<H: Host>(&mut self, h: &mut H, id: TaskId) {
        self.answer_status(h, id, status::GOOD, 0, &[]);
    }

    /// Ends a task with status CONDITION MET.
    pub(super) fn answer_met<H: Host>(&mut self, h: &mut H, id: TaskId) {
        self.answer_status(h, id, status::CONDITION_MET, 0, &[]);
    }

    /// Ends a task that failed. Nothing of it was transferred as far as the initiator is concerned.
    pub(super) fn answer_failure<H: Host>(&mut self, h: &mut H, id: TaskId, failure: &Failure) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.actual = 0;
        }
        match failure {
            Failure::Check(sense) => {
                self.count_failure(h, id, sense);
                if self.ends_others(h, id) {
                    return self.fail_behind_fences(h, id, *failure);
                }
                let descriptor = self.descriptor_sense(h, id);
                let mut bytes = [0; MAX_SENSE];
                let len = sense.encode(descriptor, &mut bytes);
                self.answer_status(h, id, status::CHECK_CONDITION, 0, &bytes[..len]);
            }
            Failure::Status(status) => {
                let qualifier = qualifier(*status, self.negotiated.protocol_level);
                self.answer_status(h, id, *status, qualifier, &[]);
            }
        }
    }

    fn count_failure<H: Host>(&self, h: &H, id: TaskId, sense: &Sense) {
        let Some(task) = self.tasks.get(id) else { return };
        let verifying = matches!(task.work, Work::Verifying { .. } | Work::Taking(_));
        if let Some(lu) = h.lu(task.lu) {
            lu.counters.failure(sense, verifying);
        }
    }

    /// Whether the logical unit of a task wants descriptor format sense data.
    fn descriptor_sense<H: Host>(&self, h: &H, id: TaskId) -> bool {
        self.tasks.get(id).and_then(|t| h.lu(t.lu)).is_some_and(|lu| lu.state.descriptor_sense())
    }

    pub(super) fn answer_status<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        status: u8,
        qualifier: u16,
        sense: &[u8],
    ) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.watch.failed = ![status::GOOD, status::CONDITION_MET].contains(&status);
        let mut pdu = task.response();
        pdu.status = status;
        pdu.status_qualifier = U16::new(qualifier);
        self.put_response(h, pdu, sense, true);
        self.close_task(h, id);
    }

    /// Sends a response that has its status, with sense data if there is any. `frees_one` is as for
    /// [`Session::put_window`].
    pub(super) fn put_response<H: Host>(
        &mut self,
        h: &mut H,
        mut pdu: ScsiResponse,
        sense: &[u8],
        frees_one: bool,
    ) {
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, frees_one);
        let mut data = ArrayVec::<u8, { 2 + MAX_DEVICE_SENSE }>::new();
        if !sense.is_empty() {
            data.extend((sense.len() as u16).to_be_bytes());
            data.extend(sense.iter().copied().take(MAX_DEVICE_SENSE));
        }
        pdu.set_data_len(data.len());
        self.emit_small(h, pdu.as_bhs(), &data, After::Keep);
    }

    /// Sends a Reject with the offending header (RFC 7143 section 11.17).
    pub(super) fn reject<H: Host>(&mut self, h: &mut H, bhs: &Bhs, reason: RejectReason) {
        let mut pdu = Reject { reason: reason.0, ..Reject::default() };
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        pdu.set_data_len(BHS_LEN);
        self.emit_small(h, pdu.as_bhs(), bhs.as_bhs(), After::Keep);
    }

    /// Closes the connection after an error that ends the session at ErrorRecoveryLevel 0.
    pub(super) fn give_up<T>(&self, why: &'static str) -> Result<T, Close> {
        Err(Close::Protocol(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_says_when_to_try_again_to_those_who_know_the_field() {
        for status in 0..=u8::MAX {
            let passes = status == status::BUSY || status == status::TASK_SET_FULL;
            assert_eq!(qualifier(status, LEVEL_RFC7144), u16::from(passes), "{status:#04x}");
            assert_eq!(qualifier(status, LEVEL_RFC7144 - 1), 0, "{status:#04x}");
        }
    }
}

//! The initiator's ears: every answer is taken apart and checked against what was asked.

use super::commands::{Command, Kind, Owed};
use super::medium::Content;
use super::requests::{Asked, Initiator};
use crate::ids::LuId;
use crate::wire::bhs::{
    BHS_LEN, Bhs, DataIn, NopIn, NopOut, R2t, Reject, ScsiResponse, TextResponse, padding,
};
use crate::wire::codes::{Opcode, RejectReason, TAG_NONE};
use crate::wire::digest::{crc32c, to_wire};
use crate::wire::flags;
use crate::wire::show::Line;
use crate::wire::sn::Sn;

const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

impl Initiator {
    /// One whole PDU of the target. `written` is what has reached the media.
    pub(super) fn hear(&mut self, pdu: &[u8], written: &[(LuId, u64, u64)]) {
        let (bhs, data) = self.open_pdu(pdu);
        let status_counts = match bhs.opcode() {
            Opcode::R2T => None,
            Opcode::DATA_IN => Some(bhs.flags & flags::STATUS != 0).filter(|s| *s),
            Opcode::NOP_IN => Some(bhs.itt.get() != TAG_NONE),
            _ => Some(true),
        };
        self.numbers(&bhs, status_counts);
        match bhs.opcode() {
            Opcode::SCSI_RESPONSE => self.response(ScsiResponse::from_bhs(bhs.as_bhs()), data, written),
            Opcode::DATA_IN => self.data_in(DataIn::from_bhs(bhs.as_bhs()), data),
            Opcode::R2T => self.r2t(R2t::from_bhs(bhs.as_bhs())),
            Opcode::NOP_IN => self.nop_in(NopIn::from_bhs(bhs.as_bhs()), data),
            Opcode::TEXT_RESPONSE => self.text_response(TextResponse::from_bhs(bhs.as_bhs()), data),
            Opcode::TASK_MGMT_RESPONSE => {
                assert_eq!(self.asked.remove(&bhs.itt.get()), Some(Asked::Management));
            }
            Opcode::LOGOUT_RESPONSE => assert_eq!(self.asked.remove(&bhs.itt.get()), Some(Asked::Logout)),
            Opcode::REJECT => self.reject(Reject::from_bhs(bhs.as_bhs()), data),
            Opcode::ASYNC_MESSAGE => {}
            _ => panic!("the target says {}", Line(bhs.as_bhs())),
        }
    }

    /// Framing and digests.
    fn open_pdu<'a>(&self, pdu: &'a [u8]) -> (Bhs, &'a [u8]) {
        let bhs = *Bhs::from_bhs(pdu.first_chunk::<BHS_LEN>().expect("a whole header"));
        let digest = 4 * usize::from(self.negotiated.header_digest);
        if digest > 0 {
            assert_eq!(pdu[BHS_LEN..][..4], to_wire(crc32c(bhs.as_bhs())), "header digest");
        }
        let rest = &pdu[BHS_LEN + digest..];
        let len = bhs.data_len();
        assert!(
            len <= self.negotiated.max_xmit_data_segment_length as usize || bhs.opcode() == Opcode::REJECT
        );
        let padded = len + padding(len);
        let tail = if len > 0 && self.negotiated.data_digest { 4 } else { 0 };
        assert_eq!((bhs.ahs_len(), rest.len()), (0, padded + tail), "{}", Line(bhs.as_bhs()));
        if tail > 0 {
            assert_eq!(rest[padded..], to_wire(crc32c(&rest[..padded])), "data digest");
        }
        (bhs, &rest[..len])
    }

    /// StatSN counts, the window never moves back and is never wider than was said.
    fn numbers(&mut self, bhs: &Bhs, counts: Option<bool>) {
        let as_nop = NopIn::from_bhs(bhs.as_bhs());
        match counts {
            Some(true) => {
                assert_eq!(as_nop.stat_sn.get(), self.stat_sn, "{}", Line(bhs.as_bhs()));
                self.stat_sn = self.stat_sn.wrapping_add(1);
            }
            Some(false) => assert_eq!(as_nop.stat_sn.get(), self.stat_sn, "{}", Line(bhs.as_bhs())),
            None if bhs.opcode() == Opcode::R2T => {}
            None => assert_eq!(as_nop.stat_sn.get(), 0),
        }
        let (exp, max) = (Sn(as_nop.exp_cmd_sn.get()), Sn(as_nop.max_cmd_sn.get()));
        assert!(
            self.heard_exp.precedes_or_is(exp) && self.heard_max.precedes_or_is(max),
            "the window moves back"
        );
        assert!(exp.precedes_or_is(self.cmd_sn), "a command that was not sent was taken");
        assert!(exp.back(1).precedes_or_is(max) && max.precedes(exp.add(self.window)), "{exp:?} to {max:?}");
        (self.heard_exp, self.heard_max) = (exp, max);
    }

    fn command_of(&mut self, itt: u32) -> &mut Command {
        self.commands.get_mut(&itt).unwrap_or_else(|| panic!("an answer to {itt:#x}, which is not open"))
    }

    fn response(&mut self, pdu: &ScsiResponse, sense: &[u8], written: &[(LuId, u64, u64)]) {
        self.command_of(pdu.itt.get());
        let command = self.commands.remove(&pdu.itt.get()).expect("looked up before");
        assert_eq!(pdu.response, 0);
        if [GOOD, CHECK_CONDITION].contains(&pdu.status) {
            self.is_its_turn(&command);
        }
        match pdu.status {
            GOOD => {
                assert!(sense.is_empty());
                assert!(command.doomed || !command.overtaken, "{command:?} was overtaken, and is answered");
                command.is_good(pdu.flags, pdu.residual_count.get());
                command.is_written(written);
            }
            CHECK_CONDITION => {
                let len = usize::from(u16::from_be_bytes([sense[0], sense[1]]));
                assert_eq!(len + 2, sense.len());
                let sense = &sense[2..];
                let key = if sense[0] & 0x7f >= 0x72 { sense[1] } else { sense[2] } & 15;
                let expected = matches!(command.kind, Kind::Compare { differs: true, .. }) && key == 0x0e;
                let excused = command.odd || self.excused || command.kind == Kind::Other;
                let code = if sense[0] & 0x7f >= 0x72 { &sense[2..4] } else { &sense[12..14] };
                // What waits for its limits in its midst is ended there, when it keeps slots that others need.
                let starved = key == 0x0b && code == [0x55, 0x03];
                let known = expected || excused || starved || key == 6;
                assert!(known, "{command:?} fails with {sense:02x?}");
                if self.errors_end {
                    let set = self.commands.values_mut().filter(|c| c.unit == command.unit);
                    set.for_each(|c| c.doomed = true);
                }
            }
            _ => {}
        }
    }

    fn data_in(&mut self, pdu: &DataIn, data: &[u8]) {
        let (burst, itt) = (self.negotiated.max_burst_length, pdu.itt.get());
        let command = self.command_of(itt);
        let offset = pdu.buffer_offset.get();
        assert_eq!((pdu.data_sn.get(), offset), (command.data_sn, command.got));
        command.data_sn += 1;
        command.got += data.len() as u32;
        assert!(!data.is_empty() && command.reads && command.got <= command.edtl);
        let last_in_burst = command.got.is_multiple_of(burst);
        assert!(offset / burst == (command.got - 1) / burst, "a burst is too long");
        let status = pdu.flags & flags::STATUS != 0;
        assert_eq!(pdu.flags & flags::FINAL != 0, last_in_burst || status);
        if let Kind::Read { lu, base, len } = command.kind {
            assert!(u64::from(command.got) <= len);
            assert!(
                Content::Old.is(lu, base + u64::from(offset), data),
                "wrong bytes in answer to {command:?}"
            );
        }
        if status {
            assert_eq!(pdu.status, GOOD);
            command.is_good(pdu.flags, pdu.residual_count.get());
            assert!(command.doomed || !command.overtaken, "{command:?} was overtaken, and is answered");
            if let Some(command) = self.commands.remove(&itt) {
                self.is_its_turn(&command);
            }
        }
    }

    /// A command is answered: nothing that it had to wait for is open. With QERR an error may have ended what seems
    /// open, and is told only when its fences stand: what was overtaken then must not be answered as if it had gone on.
    fn is_its_turn(&mut self, command: &Command) {
        for older in self.commands.values_mut().filter(|older| command.overtakes(older)) {
            assert!(self.errors_end, "{command:?} is answered before {older:?}");
            older.overtaken = true;
        }
    }

    fn r2t(&mut self, pdu: &R2t) {
        let (burst, most) = (self.negotiated.max_burst_length, self.negotiated.max_outstanding_r2t);
        let command = self.command_of(pdu.itt.get());
        let (start, len) = (pdu.buffer_offset.get(), pdu.desired_data_transfer_length.get());
        assert!(len > 0 && len <= burst && command.writes);
        assert!(start.checked_add(len).is_some_and(|end| end <= command.edtl), "{}", Line(pdu.as_bhs()));
        assert_eq!(pdu.r2t_sn.get(), command.r2t_sn);
        command.r2t_sn += 1;
        let owed = Owed { ttt: pdu.ttt.get(), next: start, end: start + len, data_sn: 0 };
        assert!(owed.ttt != TAG_NONE && command.owed.iter().all(|o| o.ttt != owed.ttt));
        assert!(
            command.odd || command.owed.iter().all(|o| o.end <= start || owed.end <= o.next),
            "asked for twice"
        );
        command.owed.push(owed);
        assert!(command.odd || command.owed.len() <= usize::from(most));
    }

    fn nop_in(&mut self, pdu: &NopIn, data: &[u8]) {
        if pdu.itt.get() == TAG_NONE {
            if pdu.ttt.get() != TAG_NONE {
                self.pinged.push(pdu.ttt.get());
            }
            return;
        }
        assert_eq!(pdu.ttt.get(), TAG_NONE);
        let Some(Asked::Ping { len }) = self.asked.remove(&pdu.itt.get()) else {
            panic!("a ping nobody sent")
        };
        assert_eq!(data.len(), len.min(self.negotiated.max_xmit_data_segment_length as usize));
        assert!(data.iter().all(|b| *b == 0x5a));
    }

    fn text_response(&mut self, pdu: &TextResponse, data: &[u8]) {
        assert_eq!(self.asked.remove(&pdu.itt.get()), Some(Asked::Text));
        let goes_on = pdu.flags & flags::FINAL == 0;
        assert_eq!(goes_on, pdu.ttt.get() != TAG_NONE);
        assert!(!(pdu.flags & flags::CONTINUE != 0 && data.is_empty()));
        self.text_tag = goes_on.then_some(pdu.ttt.get());
    }

    fn reject(&mut self, pdu: &Reject, data: &[u8]) {
        let header = Bhs::from_bhs(data.first_chunk::<BHS_LEN>().expect("the header that is rejected"));
        assert!(!self.honest, "{} for {}", pdu.reason, Line(header.as_bhs()));
        self.number_is_missing(header, Sn(pdu.exp_cmd_sn.get()));
        if RejectReason(pdu.reason) == RejectReason::DATA_DIGEST_ERROR {
            if header.opcode() == Opcode::SCSI_COMMAND {
                // Unless it was answered before its data had come.
                self.commands.remove(&header.itt.get());
            }
            return;
        }
        match header.opcode() {
            Opcode::SCSI_COMMAND => {
                self.command_of(header.itt.get());
                self.commands.remove(&header.itt.get());
            }
            Opcode::TEXT_REQUEST | Opcode::TASK_MGMT_REQUEST | Opcode::NOP_OUT | Opcode::LOGOUT_REQUEST => {
                assert!(self.asked.remove(&header.itt.get()).is_some());
            }
            _ => {}
        }
    }

    /// What is rejected was not received; its number is yet to be used (RFC 7143 section 7.3), unless a request that was
    /// sent behind it by mistake has come with the same one.
    fn number_is_missing(&mut self, header: &Bhs, exp: Sn) {
        let numbered = [
            Opcode::SCSI_COMMAND,
            Opcode::NOP_OUT,
            Opcode::TEXT_REQUEST,
            Opcode::TASK_MGMT_REQUEST,
            Opcode::LOGOUT_REQUEST,
        ];
        let cmd_sn = Sn(NopOut::from_bhs(header.as_bhs()).cmd_sn.get());
        let used_up = self.used_up.is_some_and(|end| cmd_sn.precedes(end));
        let is_missing =
            !header.immediate() && exp.precedes_or_is(cmd_sn) && !self.gaps.contains(&cmd_sn) && !used_up;
        if !numbered.contains(&header.opcode()) || !is_missing {
            return;
        }
        match self.strays.iter().position(|stray| *stray == cmd_sn) {
            Some(at) => drop(self.strays.swap_remove(at)),
            None => self.gaps.push(cmd_sn),
        }
    }

    /// Whether the target has answered everything.
    pub(super) fn is_content(&self) -> bool {
        self.commands.values().all(|c| c.doomed) && self.asked.is_empty()
    }
}

impl Command {
    /// Status GOOD: the residual, and that all data has come.
    fn is_good(&self, bits: u8, residual: u32) {
        let len = match self.kind {
            Kind::Read { len, .. } => len,
            Kind::Write { len, .. } | Kind::Compare { len, .. } => len,
            Kind::Same | Kind::Other => return,
        };
        let expects = if let Kind::Read { .. } = self.kind { self.reads } else { self.reads || self.writes };
        let expected = u64::from(if expects { self.edtl } else { 0 });
        let (over, under) = (bits & flags::OVERFLOW != 0, bits & flags::UNDERFLOW != 0);
        assert_eq!(
            (over, under, u64::from(residual)),
            (len > expected, len < expected, len.abs_diff(expected))
        );
        if let Kind::Read { .. } = self.kind {
            assert_eq!(u64::from(self.got), if self.reads { expected.min(len) } else { 0 }, "{self:?}");
        }
    }

    /// Status GOOD for a write: all whole blocks that were sent have reached the medium since.
    fn is_written(&self, log: &[(LuId, u64, u64)]) {
        let Kind::Write { lu, base, len } = self.kind else { return };
        let sent = if self.writes { len.min(self.edtl.into()) } else { 0 };
        let block = if lu == LuId(1) { 4096 } else { 512 };
        let (mut at, end) = (base, base + sent - sent % block);
        while at < end {
            let next = log[self.since..].iter().filter(|(l, o, n)| *l == lu && *o <= at && at < o + n);
            at = next
                .map(|(_, o, n)| o + n)
                .max()
                .unwrap_or_else(|| panic!("{at} of {self:?} is not written"));
        }
    }
}

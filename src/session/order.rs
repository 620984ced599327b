//! The order of commands (RFC 7143 section 4.2.2.1): whose turn it is, who waits for a number that is missing, and who
//! is ignored.
//!
//! One connection delivers in order, and still a number can be missing: a request that is rejected, because its data
//! digest was wrong or for any other reason, counts as never received (section 7.3), and its initiator sends it
//! again or aborts it. What follows it is held back until then, whole, because it must not be carried out before.

use super::host::Host;
use super::rx::Dest;
use super::{Close, MappedLun, SEGMENT, Session};
use crate::ids::LuId;
use crate::wire::bhs::{Bhs, DataOut, NopOut, ScsiCommand};
use crate::wire::codes::{Opcode, RejectReason, TAG_NONE};
use crate::wire::lun;
use crate::wire::sn::Sn;

/// Bytes of requests that a session holds back at most. Commands without data fit by the thousand; an initiator that
/// goes on to write behind a gap beyond this has its session ended, which any digest error may lead to (section 7.8).
pub(super) const HELD_MAX: usize = SEGMENT as usize;

/// Why a session ends that would have to hold back more.
pub(super) const TOO_MUCH_HELD: Close =
    Close::Protocol("more requests behind a missing one than are held back");

/// What becomes of a PDU, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is due, or has no number.
    Now,
    /// A number before it is missing.
    Later,
    /// A duplicate, or outside of the window: ignored.
    Never,
}

/// A PDU that was received whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bhs: Bhs,
    pub(super) ahs: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// Whether its data digest was right, if it has one.
    pub(super) intact: bool,
}

impl Whole {
    fn size(&self) -> usize {
        size_of::<Self>() + self.ahs.len() + self.data.len()
    }
}

/// A number that has come before its turn: a command with the unsolicited data that followed it, or nothing, when the
/// command was aborted and only its number counts.
#[derive(Debug)]
struct Early {
    cmd_sn: Sn,
    pdus: Vec<Whole>,
}

impl Early {
    fn request(&self) -> Option<&Bhs> {
        self.pdus.first().map(|pdu| &pdu.bhs)
    }

    fn is(&self, itt: u32) -> bool {
        self.request().is_some_and(|bhs| bhs.itt.get() == itt)
    }

    /// The logical unit that it is for, if it is a command.
    fn unit(&self, luns: &[MappedLun]) -> Option<LuId> {
        let bhs = self.request().filter(|bhs| bhs.opcode() == Opcode::SCSI_COMMAND)?;
        let number = lun::from_wire(ScsiCommand::from_bhs(bhs.as_bhs()).lun)?;
        luns.binary_search_by_key(&number, |l| l.lun).ok().map(|at| luns[at].lu)
    }
}

/// Requests that are held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    early: Vec<Early>,
    bytes: usize,
    /// Numbers before this one count as received, though some have not come.
    plugged: Option<Sn>,
}

impl Held {
    fn knows(&self, cmd_sn: Sn) -> bool {
        self.early.iter().any(|e| e.cmd_sn == cmd_sn)
    }

    /// Whether there is something to be done with that number.
    fn waits(&self, cmd_sn: Sn) -> bool {
        self.early.iter().any(|e| e.cmd_sn == cmd_sn && !e.pdus.is_empty())
    }

    /// The held command that unsolicited data of this tag belongs to.
    fn writer(&mut self, itt: u32) -> Option<&mut Early> {
        let writes = |e: &&mut Early| {
            e.request().is_some_and(|bhs| bhs.itt.get() == itt && bhs.opcode() == Opcode::SCSI_COMMAND)
        };
        self.early.iter_mut().find(writes)
    }

    /// Bytes of them.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, pdu: Whole) {
        self.bytes += pdu.size();
        if pdu.bhs.opcode() != Opcode::DATA_OUT {
            self.early.push(Early { cmd_sn: pdu.bhs.cmd_sn(), pdus: vec![pdu] });
        } else if let Some(early) = self.writer(pdu.bhs.itt.get()) {
            early.pdus.push(pdu);
        }
    }

    /// What has that number, if it is there.
    fn take(&mut self, cmd_sn: Sn) -> Option<Vec<Whole>> {
        let at = self.early.iter().position(|e| e.cmd_sn == cmd_sn)?;
        let pdus = self.early.swap_remove(at).pdus;
        self.bytes -= pdus.iter().map(Whole::size).sum::<usize>();
        Some(pdus)
    }

    /// Forgets the requests that `which` names: only their numbers count. How many there were.
    fn abort(&mut self, which: impl Fn(&Early) -> bool) -> usize {
        let mut count = 0;
        for early in self.early.iter_mut().filter(|e| !e.pdus.is_empty()) {
            if which(early) {
                self.bytes -= early.pdus.drain(..).map(|pdu| pdu.size()).sum::<usize>();
                count += 1;
            }
        }
        count
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Bhs {
    /// CmdSN, in requests that have one.
    fn cmd_sn(&self) -> Sn {
        NopOut::from_bhs(self.as_bhs()).cmd_sn.into()
    }
}

impl Session {
    /// Whether a PDU is due.
    #[inline]
    pub(super) fn turn(&mut self, bhs: &Bhs) -> Turn {
        match bhs.opcode() {
            Opcode::SCSI_COMMAND
            | Opcode::NOP_OUT
            | Opcode::TEXT_REQUEST
            | Opcode::TASK_MGMT_REQUEST
            | Opcode::LOGOUT_REQUEST
                if !bhs.immediate() =>
            {
                self.turn_of(bhs.cmd_sn())
            }
            Opcode::DATA_OUT if !self.held.early.is_empty() => self.turn_of_data(bhs),
            _ => Turn::Now,
        }
    }

    fn turn_of(&self, cmd_sn: Sn) -> Turn {
        if !cmd_sn.within(self.exp_cmd_sn, self.max_cmd_sn) {
            Turn::Never
        } else if cmd_sn == self.exp_cmd_sn {
            Turn::Now
        } else if self.held.knows(cmd_sn) {
            Turn::Never
        } else {
            Turn::Later
        }
    }

    /// Unsolicited data waits with its command.
    fn turn_of_data(&mut self, bhs: &Bhs) -> Turn {
        let (itt, ttt) = (bhs.itt.get(), DataOut::from_bhs(bhs.as_bhs()).ttt.get());
        let waits = ttt == TAG_NONE && self.tasks.by_itt(itt).is_none() && self.held.writer(itt).is_some();
        if waits { Turn::Later } else { Turn::Now }
    }

    /// A header that comes before its turn.
    pub(super) fn hold_back(&mut self, bhs: &Bhs, ahs: &[u8]) -> Result<Dest, Close> {
        let size = size_of::<Whole>() + ahs.len() + bhs.data_len();
        if self.held.bytes + size > HELD_MAX {
            return Err(TOO_MUCH_HELD);
        }
        self.rx.gathered = Vec::new();
        self.rx.gathered_ahs.clear();
        self.rx.gathered_ahs.extend_from_slice(ahs);
        Ok(Dest::Gather)
    }

    /// A PDU that comes before its turn is complete.
    pub(super) fn keep_for_later<H: Host>(&mut self, h: &mut H, bhs: &Bhs, intact: bool) {
        if !intact && bhs.opcode() != Opcode::DATA_OUT {
            return self.reject(h, bhs, RejectReason::DATA_DIGEST_ERROR);
        }
        let (ahs, mut data) =
            (std::mem::take(&mut self.rx.gathered_ahs), std::mem::take(&mut self.rx.gathered));
        // It is counted by its length.
        data.shrink_to_fit();
        self.held.keep(Whole { bhs: *bhs, ahs, data, intact });
    }

    /// The next number, if it is among those that came early: its PDUs go the way that they would have gone. Whether
    /// it was there.
    #[inline]
    pub(super) fn release_next<H: Host>(&mut self, h: &mut H) -> Result<bool, Close> {
        if !self.managing.pending.is_empty() {
            self.act_when_ready(h);
        }
        if self.held.early.is_empty() {
            return Ok(false);
        }
        let Some(pdus) = self.held.take(self.exp_cmd_sn) else { return Ok(false) };
        if pdus.is_empty() {
            // It was aborted before its turn: no answer to it will tell an initiator that has used its window up.
            self.exp_cmd_sn = self.exp_cmd_sn.next();
            if self.max_cmd_sn.precedes(self.exp_cmd_sn) {
                self.tell_window(h);
            }
        }
        for pdu in &pdus {
            self.replay(h, pdu)?;
        }
        self.pass_plugged();
        Ok(true)
    }

    /// A request is accepted: its number is used.
    #[inline]
    pub(super) fn take_number(&mut self, bhs: &Bhs) {
        if !bhs.immediate() {
            self.exp_cmd_sn = bhs.cmd_sn().next();
        }
    }

    /// Rejects a request that was accepted, before anything else was said: its number counts as not received.
    pub(super) fn reject_after_all<H: Host>(&mut self, h: &mut H, bhs: &Bhs, reason: RejectReason) {
        if !bhs.immediate() {
            self.exp_cmd_sn = bhs.cmd_sn();
        }
        self.reject(h, bhs, reason);
    }

    /// Every number before `end` counts as received (section 4.2.3.3): those that are missing are passed over. What is held
    /// back there and has not been aborted is still to be answered: its turn has come.
    pub(super) fn plug(&mut self, end: Sn) {
        let is_ahead = self.exp_cmd_sn.precedes(end) && end.within(self.exp_cmd_sn, self.max_cmd_sn.next());
        if is_ahead && self.held.plugged.is_none_or(|plugged| plugged.precedes(end)) {
            self.held.plugged = Some(end);
        }
        self.pass_plugged();
    }

    /// Passes over numbers that count as received, up to one that has something to be answered.
    fn pass_plugged(&mut self) {
        while let Some(end) = self.held.plugged {
            if !self.exp_cmd_sn.precedes(end) {
                self.held.plugged = None;
            } else if self.held.waits(self.exp_cmd_sn) {
                return;
            } else {
                self.held.take(self.exp_cmd_sn);
                self.exp_cmd_sn = self.exp_cmd_sn.next();
            }
        }
    }

    /// ABORT TASK for a command that is held back: its number counts as received. Whether there was one.
    pub(super) fn abort_held(&mut self, itt: u32, lu: LuId) -> bool {
        let luns = &self.luns;
        self.held.abort(|early| early.is(itt) && early.unit(luns) == Some(lu)) > 0
    }

    /// The held commands of the logical units that `which` names and that were sent before `end`.
    pub(super) fn abort_held_where(&mut self, end: Sn, which: impl Fn(LuId) -> bool) {
        let luns = &self.luns;
        self.held.abort(|early| early.cmd_sn.precedes(end) && early.unit(luns).is_some_and(&which));
    }

    /// Whether a command of that logical unit is held back under that tag.
    pub(super) fn holds(&self, itt: u32, lu: LuId) -> bool {
        self.held.early.iter().any(|early| early.is(itt) && early.unit(&self.luns) == Some(lu))
    }

    /// ABORT TASK for a command that has not come, although it was sent before the function: it counts as received
    /// and aborted (section 11.6.1, case b). False when that number is outside of the window, or another's.
    pub(super) fn abort_in_advance(&mut self, cmd_sn: Sn, own: Sn) -> bool {
        if !cmd_sn.within(self.exp_cmd_sn, self.max_cmd_sn) || !cmd_sn.precedes(own) {
            return false;
        }
        if let Some(early) = self.held.early.iter().find(|e| e.cmd_sn == cmd_sn) {
            return early.pdus.is_empty();
        }
        self.held.early.push(Early { cmd_sn, pdus: Vec::new() });
        // Nothing stands before it: it is over at once, and whoever answers may say so.
        while let Some(at) =
            self.held.early.iter().position(|e| e.cmd_sn == self.exp_cmd_sn && e.pdus.is_empty())
        {
            self.held.early.swap_remove(at);
            self.exp_cmd_sn = self.exp_cmd_sn.next();
        }
        true
    }
}

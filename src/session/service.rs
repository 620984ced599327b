//! Everything in full feature phase that is no SCSI command: pings, text, asynchronous messages, time.
//!
//! Of the asynchronous events (RFC 7143 section 11.9.1) one is never sent. Event 2 says that one connection of a session
//! is dropped: there is only one, so that is the end of the session, event 3. Event 4 asks for a new negotiation of keys,
//! and is sent only when an administrator wants it: Linux drops its session then and logs in anew, so by itself a session
//! keeps what it has agreed upon, and what is changed holds for those that begin afterwards.

use std::mem;

use zerocopy::big_endian::{U16, U32, U64};

use super::discovery;
use super::host::{After, Host};
use super::rx::Dest;
use super::{Close, SEGMENT, Session};
use crate::ids::LuId;
use crate::wire::bhs::{AsyncMessage, Bhs, NopIn, NopOut, TextRequest, TextResponse};
use crate::wire::codes::{AsyncEvent, RejectReason, TAG_NONE};
use crate::wire::{flags, lun};

/// Text of one negotiation that is gathered over several PDUs, bytes.
const MAX_TEXT: usize = 64 << 10;

/// The target transfer tag of a text answer that goes on.
const TEXT_TAG: u32 = 1;

/// The target transfer tag of our own pings.
const PING_TAG: u32 = 2;

/// A text exchange.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// What the initiator has sent of its request so far.
    request: Vec<u8>,
    /// What is still to be sent of the answer.
    answer: Vec<u8>,
    /// The initiator was asked to negotiate anew.
    anew: bool,
}

impl Text {
    /// Bytes of both.
    pub(super) fn size(&self) -> usize {
        self.request.len() + self.answer.len()
    }
}

impl Session {
    /// A NOP-Out or Text Request header: where its payload goes.
    pub(super) fn gather(&mut self, len: usize) -> Result<Dest, Close> {
        self.rx.gathered = Vec::new();
        if len > SEGMENT as usize {
            return self.give_up("ping or text data too long");
        }
        Ok(Dest::Gather)
    }

    /// A whole NOP-Out (RFC 7143 section 11.18).
    pub(super) fn nop_out<H: Host>(&mut self, h: &mut H, bhs: &Bhs) {
        let pdu = NopOut::from_bhs(bhs.as_bhs());
        let data = mem::take(&mut self.rx.gathered);
        if pdu.ttt.get() == PING_TAG {
            self.pinged_at = None;
        }
        let wants_answer = pdu.itt.get() != TAG_NONE;
        self.take_number(bhs);
        if !wants_answer {
            return;
        }
        let len = data.len().min(self.negotiated.max_xmit_data_segment_length as usize);
        self.nop_in(h, pdu.itt, U32::new(TAG_NONE), &data[..len]);
    }

    /// Tells ExpCmdSN and MaxCmdSN when no answer does (section 11.19).
    pub(super) fn tell_window<H: Host>(&mut self, h: &mut H) {
        self.nop_in(h, U32::new(TAG_NONE), U32::new(TAG_NONE), &[]);
    }

    fn nop_in<H: Host>(&mut self, h: &mut H, itt: U32, ttt: U32, data: &[u8]) {
        let mut pdu = NopIn { itt, ttt, ..NopIn::default() };
        // An unasked ping takes no StatSN of its own (section 11.19.3).
        let answers = itt.get() != TAG_NONE;
        pdu.stat_sn = U32::new(if answers { self.next_stat_sn() } else { self.stat_sn.0 });
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        pdu.set_data_len(data.len());
        self.emit_small(h, pdu.as_bhs(), data, After::Keep);
    }

    /// A whole Text Request PDU (section 11.10).
    pub(super) fn text<H: Host>(&mut self, h: &mut H, bhs: &Bhs) {
        let pdu = *TextRequest::from_bhs(bhs.as_bhs());
        let data = mem::take(&mut self.rx.gathered);
        self.take_number(bhs);
        let goes_on = pdu.ttt.get() == TEXT_TAG;
        if !goes_on {
            self.text = Text { anew: self.text.anew, ..Text::default() };
        }
        if pdu.flags & flags::CONTINUE != 0 {
            return self.more_text(h, bhs, &data);
        }
        if !self.text.answer.is_empty() {
            if !data.is_empty() {
                return self.reject_after_all(h, bhs, RejectReason::PROTOCOL_ERROR);
            }
        } else {
            self.text.request.extend_from_slice(&data);
            let request = mem::take(&mut self.text.request);
            match discovery::answer(h.catalog(), &mut self.established, &request) {
                Ok(answer) => self.text.answer = answer,
                Err(_) => return self.reject_after_all(h, bhs, RejectReason::PROTOCOL_ERROR),
            }
            if mem::take(&mut self.text.anew) {
                self.text.answer.extend(discovery::declare(&mut self.established));
            }
            // Keys such as MaxRecvDataSegmentLength may have changed what holds.
            self.negotiated = self.established.negotiated.clone();
        }
        let final_asked = pdu.flags & flags::FINAL != 0;
        self.text_piece(h, pdu.itt, final_asked);
    }

    /// Part of a request that goes on in the next PDU: an empty answer asks for more.
    fn more_text<H: Host>(&mut self, h: &mut H, bhs: &Bhs, data: &[u8]) {
        if bhs.flags & flags::FINAL != 0 || self.text.request.len() + data.len() > MAX_TEXT {
            self.text = Text::default();
            return self.reject_after_all(h, bhs, RejectReason::PROTOCOL_ERROR);
        }
        self.text.request.extend_from_slice(data);
        self.text_response(h, bhs.itt, TEXT_TAG, 0, &[]);
    }

    /// The next piece of the answer, as much as the initiator takes in a PDU.
    fn text_piece<H: Host>(&mut self, h: &mut H, itt: U32, final_asked: bool) {
        let limit = self.negotiated.max_xmit_data_segment_length as usize;
        let mut piece = mem::take(&mut self.text.answer);
        if piece.len() > limit {
            self.text.answer = piece.split_off(limit);
        }
        let (tag, bits) = match (self.text.answer.is_empty(), final_asked) {
            (true, true) => (TAG_NONE, flags::FINAL),
            (true, false) => (TEXT_TAG, 0),
            (false, _) => (TEXT_TAG, flags::CONTINUE),
        };
        self.text_response(h, itt, tag, bits, &piece);
    }

    fn text_response<H: Host>(&mut self, h: &mut H, itt: U32, tag: u32, bits: u8, data: &[u8]) {
        let mut pdu = TextResponse {
            flags: bits,
            itt,
            ttt: U32::new(tag),
            lun: U64::new(0),
            ..TextResponse::default()
        };
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        pdu.set_data_len(data.len());
        self.emit_small(h, pdu.as_bhs(), data, After::Keep);
    }

    /// Asks the initiator to log out within `seconds` (section 11.9, event 1).
    pub fn request_logout<H: Host>(&mut self, h: &mut H, seconds: u16) {
        let pdu = AsyncMessage { parameter3: U16::new(seconds), ..event(AsyncEvent::LOGOUT_REQUESTED) };
        self.tell_event(h, pdu, After::Keep);
    }

    /// Asks the initiator to negotiate anew within `seconds` (section 11.9.1, event 4): by a Text Request, which may be
    /// empty; its answer tells what has changed here.
    pub fn request_negotiation<H: Host>(&mut self, h: &mut H, seconds: u16) {
        let pdu = AsyncMessage { parameter3: U16::new(seconds), ..event(AsyncEvent::NEGOTIATION_REQUESTED) };
        self.text.anew = true;
        self.tell_event(h, pdu, After::Keep);
    }

    /// Says that the session ends, and ends it (section 11.9, event 3). After Time2Wait the initiator may come again;
    /// nothing is kept for it longer than Time2Retain.
    pub fn drop_session<H: Host>(&mut self, h: &mut H) {
        let mut pdu = event(AsyncEvent::SESSION_DROPPED);
        pdu.parameter2 = U16::new(self.negotiated.time2wait);
        pdu.parameter3 = U16::new(self.negotiated.time2retain);
        self.closing = Some(Close::Dropped);
        self.tell_event(h, pdu, After::Close);
    }

    /// An asynchronous message without data, complete but for its numbers.
    fn tell_event<H: Host>(&mut self, h: &mut H, mut pdu: AsyncMessage, after: After) {
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        self.emit(h, pdu.as_bhs(), None, after);
    }

    /// Tells that all tasks of a logical unit are being ended by somebody else (section 11.9, event 5), as FastAbort
    /// wants it. The initiator stops the data that it was asked for and acknowledges by a NOP-Out; nothing is kept for
    /// that long: transfer tags that are no more lead nowhere.
    pub(super) fn tell_terminated<H: Host>(&mut self, h: &mut H, lu: LuId) {
        let numbers: Vec<u16> = self.luns.iter().filter(|l| l.lu == lu).map(|l| l.lun).collect();
        for number in numbers {
            let pdu = AsyncMessage { lun: lun::to_wire(number), ..event(AsyncEvent::TASKS_TERMINATED) };
            self.tell_event(h, pdu, After::Keep);
        }
    }

    /// When [`Session::tick`] is needed next if nothing happens until then, nanoseconds.
    pub fn due(&self) -> u64 {
        if self.has_tasks() || !self.managing.pending.is_empty() {
            return 0;
        }
        match self.pinged_at {
            // An answer to the ping is seen then, too.
            Some(at) => at.saturating_add(self.nop_timeout),
            None if self.nop_interval > 0 => self.last_heard.saturating_add(self.nop_interval),
            None => u64::MAX,
        }
    }

    /// Time has passed: pings an initiator that is silent, gives up one that does not answer.
    pub fn tick<H: Host>(&mut self, h: &mut H) -> Result<(), Close> {
        let now = h.now();
        self.act_when_ready(h);
        self.make_room(h);
        match self.pinged_at {
            Some(at) if self.last_heard > at => self.pinged_at = None,
            Some(at) if now.saturating_sub(at) > self.nop_timeout => return Err(Close::NoAnswer),
            None if self.nop_interval > 0 && now.saturating_sub(self.last_heard) > self.nop_interval => {
                self.pinged_at = Some(now);
                self.nop_in(h, U32::new(TAG_NONE), U32::new(PING_TAG), &[]);
            }
            _ => {}
        }
        Ok(())
    }
}

fn event(event: AsyncEvent) -> AsyncMessage {
    AsyncMessage { async_event: event.0, ..AsyncMessage::default() }
}

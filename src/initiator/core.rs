//! A connection in full feature phase, initiator side, as a state machine: requests in, bytes out, and back.
//!
//! Commands go out as far as the target's window reaches and wait beyond it. R2Ts, target pings and the pieces of
//! a long text are answered here; everything else comes out of [`Core::poll`] as an [`Event`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use zerocopy::big_endian::{U16, U32};

use super::error::Error;
use super::frame::{Digests, Frame, Incoming, append, append_around, append_header_of};
use super::login::LoggedIn;
use super::task::{Command, Direction, Done, NOT_A_COMMAND, Tag, Tasks};
use crate::session::keys::Negotiated;
use crate::wire::bhs::{
    AsyncMessage, BHS_LEN, Bhs, DataIn, DataOut, LogoutRequest, LogoutResponse, NopIn, NopOut, R2t, Reject,
    ScsiCommand, ScsiResponse, TaskMgmtRequest, TaskMgmtResponse, TextRequest, TextResponse,
};
use crate::wire::codes::{LogoutReason, LogoutResponseCode, Opcode, TAG_NONE, TmfFunction, TmfResponse};
use crate::wire::sn::Sn;
use crate::wire::text::TextBuffer;
use crate::wire::{flags, lun};

/// Something that the target said and the caller should know.
#[derive(Debug)]
pub enum Event {
    /// A command ended.
    Done(Done),
    /// A ping came back with this data.
    Pong(Tag, Vec<u8>),
    /// A text was answered.
    Text(Tag, Vec<u8>),
    /// A task management function ended.
    Managed(Tag, TmfResponse),
    /// A logout was answered; the target closes the connection.
    LoggedOut(Tag, LogoutResponseCode),
    /// An asynchronous message, with its data.
    Async(AsyncMessage, Vec<u8>),
    /// The target rejected the PDU of this header.
    Rejected(Reject, Vec<u8>),
}

/// A stretch of the pattern, or of the caller's memory, that belongs into the stream, where it is not copied to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    /// Before this byte of [`Core::outgoing`].
    pub at: usize,
    /// The first byte there.
    pub from: u32,
    /// Bytes of it.
    pub len: u32,
}

/// A session of one connection, initiator side.
#[derive(Debug)]
pub struct Core {
    negotiated: Negotiated,
    digests: Digests,
    cid: u16,
    cmd_sn: Sn,
    max_cmd_sn: Sn,
    exp_stat_sn: Sn,
    tasks: Tasks,
    /// Commands beyond the window, in order.
    waiting: VecDeque<Tag>,
    next_tag: u32,
    text: TextBuffer,
    incoming: Incoming,
    out: Vec<u8>,
    sent: usize,
    pattern: Arc<[u8]>,
    splices: Vec<Splice>,
}

impl Core {
    /// A connection after its login, with what has come beyond that; at most `capacity` commands at a time.
    pub fn new(login: LoggedIn, mut incoming: Incoming, capacity: usize) -> Self {
        let mut negotiated = login.negotiated;
        negotiated.first_burst_length = negotiated.first_burst_length.min(negotiated.max_burst_length);
        incoming.set_limit(negotiated.max_recv_data_segment_length as usize);
        Self {
            digests: Digests::from(&negotiated),
            negotiated,
            cid: login.cid,
            cmd_sn: login.cmd_sn,
            max_cmd_sn: login.max_cmd_sn,
            exp_stat_sn: login.exp_stat_sn,
            tasks: Tasks::new(capacity),
            waiting: VecDeque::with_capacity(capacity),
            next_tag: NOT_A_COMMAND,
            text: TextBuffer::default(),
            incoming,
            out: Vec::new(),
            sent: 0,
            pattern: Arc::default(),
            splices: Vec::new(),
        }
    }

    /// What [`Direction::Pattern`] sends. It is not copied: whoever sends puts the [splices](Core::splices) between the
    /// bytes of [`Core::outgoing`], from memory of their own that holds the same.
    pub fn set_pattern(&mut self, pattern: Arc<[u8]>) {
        self.pattern = pattern;
    }

    /// What holds in this session.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Commands that have not ended.
    pub fn outstanding(&self) -> usize {
        self.tasks.len()
    }

    /// Commands that the target takes now.
    pub fn window(&self) -> u32 {
        if self.cmd_sn.precedes_or_is(self.max_cmd_sn) {
            self.cmd_sn.distance_to(self.max_cmd_sn) + 1
        } else {
            0
        }
    }

    /// Bytes for the target.
    pub fn outgoing(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// The first `count` bytes of [`Core::outgoing`] are on their way.
    pub fn sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.out.len());
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
    }

    /// What belongs between the bytes of [`Core::outgoing`], in order; empty where all data lie in buffers.
    pub fn splices(&self) -> &[Splice] {
        &self.splices
    }

    /// All of [`Core::outgoing`] and of [`Core::splices`] is on its way.
    pub fn sent_all(&mut self) {
        self.sent(self.out.len());
        self.splices.clear();
    }

    /// Where bytes from the target go.
    pub fn incoming(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    /// Begins a command, or gives it back when there is no room for it.
    pub fn submit(&mut self, command: Command) -> Result<Tag, Command> {
        let tag = self.tasks.open(command)?;
        self.waiting.push_back(tag);
        self.send_waiting();
        Ok(tag)
    }

    /// Forgets a command that was aborted; its buffer comes back.
    pub fn forget(&mut self, tag: Tag) -> Option<Vec<u8>> {
        self.waiting.retain(|waiting| *waiting != tag);
        self.tasks.close(tag).map(|active| active.command.buffer)
    }

    fn send_waiting(&mut self) {
        while self.window() > 0
            && let Some(tag) = self.waiting.pop_front()
        {
            self.send_command(tag);
        }
    }

    fn send_command(&mut self, tag: Tag) {
        let Some(active) = self.tasks.get_mut(tag) else { return };
        active.sent = true;
        let command = &active.command;
        let n = &self.negotiated;
        let out_len = if command.direction.is_out() { command.len() } else { 0 };
        let burst = out_len.min(n.first_burst_length as usize);
        let immediate = if n.immediate_data { burst.min(n.max_xmit_data_segment_length as usize) } else { 0 };
        let unsolicited = if n.initial_r2t { immediate } else { burst };
        let mut pdu = ScsiCommand {
            flags: flags::ATTR_SIMPLE,
            lun: lun::to_wire(command.lun),
            itt: U32::new(tag.0),
            expected_data_transfer_length: U32::new(expected(command)),
            cmd_sn: self.cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.into(),
            cdb: command.cdb,
            ..ScsiCommand::default()
        };
        pdu.flags |= match command.direction {
            Direction::None => 0,
            direction if direction.is_in() => flags::READ,
            _ => flags::WRITE,
        };
        if unsolicited == immediate {
            pdu.flags |= flags::FINAL;
        }
        pdu.set_data_len(immediate);
        match command.direction {
            Direction::Pattern(_) => self.put_pattern(pdu.as_bhs(), 0, immediate),
            Direction::From(stretch) => self.put_stretch(pdu.as_bhs(), stretch.at, immediate),
            _ => append(&mut self.out, pdu.as_bhs(), &[], &command.buffer[..immediate], self.digests),
        }
        self.cmd_sn = self.cmd_sn.next();
        if unsolicited > immediate {
            self.send_data(tag, TAG_NONE, immediate, unsolicited);
        }
    }

    /// Sends a sequence of Data-Outs for the bytes `from..to` of a command's buffer.
    fn send_data(&mut self, tag: Tag, ttt: u32, from: usize, to: usize) {
        let Some(active) = self.tasks.get_mut(tag) else { return };
        let command = &active.command;
        let (lun_number, direction) = (command.lun, command.direction);
        let segment = self.negotiated.max_xmit_data_segment_length as usize;
        for (data_sn, at) in (from..to).step_by(segment).enumerate() {
            let end = to.min(at + segment);
            let mut pdu = DataOut {
                itt: U32::new(tag.0),
                ttt: U32::new(ttt),
                lun: lun::to_wire(lun_number),
                exp_stat_sn: self.exp_stat_sn.into(),
                data_sn: U32::new(data_sn as u32),
                buffer_offset: U32::new(at as u32),
                ..DataOut::default()
            };
            if end == to {
                pdu.flags = flags::FINAL;
            }
            pdu.set_data_len(end - at);
            self.put_of(tag, direction, pdu.as_bhs(), at..end);
        }
    }

    /// Sends a PDU with these bytes of a command's data.
    fn put_of(&mut self, tag: Tag, direction: Direction, bhs: &[u8; BHS_LEN], bytes: Range<usize>) {
        match direction {
            Direction::Pattern(_) => return self.put_pattern(bhs, bytes.start, bytes.len()),
            Direction::From(stretch) => {
                return self.put_stretch(bhs, stretch.at + bytes.start as u32, bytes.len());
            }
            _ => {}
        }
        let Some(active) = self.tasks.get_mut(tag) else { return };
        append(&mut self.out, bhs, &[], &active.command.buffer[bytes], self.digests);
    }

    /// Sends a PDU whose data is a stretch of the pattern.
    fn put_pattern(&mut self, bhs: &[u8; BHS_LEN], from: usize, len: usize) {
        let data = &self.pattern[from..from + len];
        let at = append_around(&mut self.out, bhs, data, self.digests);
        if len > 0 {
            self.splices.push(Splice { at, from: from as u32, len: len as u32 });
        }
    }

    /// Sends a PDU whose data is a stretch of the caller's memory.
    fn put_stretch(&mut self, bhs: &[u8; BHS_LEN], from: u32, len: usize) {
        let at = append_header_of(&mut self.out, bhs, len, self.digests);
        if len > 0 {
            self.splices.push(Splice { at, from, len: len as u32 });
        }
    }

    fn fresh_tag(&mut self) -> Tag {
        let tag = self.next_tag;
        self.next_tag = NOT_A_COMMAND | ((tag + 1) % (TAG_NONE - NOT_A_COMMAND));
        Tag(tag)
    }

    fn put(&mut self, bhs: &[u8; BHS_LEN], data: &[u8]) {
        append(&mut self.out, bhs, &[], data, self.digests);
    }

    /// Sends a ping with this data, for immediate delivery.
    pub fn nop(&mut self, data: &[u8]) -> Tag {
        let tag = self.fresh_tag();
        let mut pdu = NopOut { itt: U32::new(tag.0), cmd_sn: self.cmd_sn.into(), ..NopOut::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.exp_stat_sn = self.exp_stat_sn.into();
        pdu.set_data_len(data.len());
        self.put(pdu.as_bhs(), data);
        tag
    }

    /// Sends a text of `key=value` pairs.
    pub fn text(&mut self, text: &[u8]) -> Tag {
        let tag = self.fresh_tag();
        self.send_text(tag, TAG_NONE, text);
        tag
    }

    fn send_text(&mut self, tag: Tag, ttt: u32, text: &[u8]) {
        let mut pdu = TextRequest { flags: flags::FINAL, itt: U32::new(tag.0), ..TextRequest::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.ttt = U32::new(ttt);
        pdu.cmd_sn = self.cmd_sn.into();
        pdu.exp_stat_sn = self.exp_stat_sn.into();
        pdu.set_data_len(text.len());
        self.put(pdu.as_bhs(), text);
    }

    /// Sends a task management function; `task` is the one to abort. When it is complete, what it has aborted is
    /// the caller's to [`forget`](Core::forget).
    pub fn manage(&mut self, function: TmfFunction, lun_number: u16, task: Option<Tag>) -> Tag {
        let tag = self.fresh_tag();
        let mut pdu = TaskMgmtRequest { itt: U32::new(tag.0), ..TaskMgmtRequest::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.flags |= function.0;
        pdu.lun = lun::to_wire(lun_number);
        pdu.ref_task_tag = U32::new(task.map_or(TAG_NONE, |t| t.0));
        pdu.cmd_sn = self.cmd_sn.into();
        pdu.exp_stat_sn = self.exp_stat_sn.into();
        self.put(pdu.as_bhs(), &[]);
        tag
    }

    /// Asks to log out.
    pub fn logout(&mut self, reason: LogoutReason) -> Tag {
        let tag = self.fresh_tag();
        let mut pdu = LogoutRequest { itt: U32::new(tag.0), ..LogoutRequest::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.flags |= reason.0;
        pdu.cid = U16::new(self.cid);
        pdu.cmd_sn = self.cmd_sn.into();
        pdu.exp_stat_sn = self.exp_stat_sn.into();
        self.put(pdu.as_bhs(), &[]);
        tag
    }

    /// What the target has said next, of the bytes that have come; `None`: more must come.
    ///
    /// # Errors
    /// When the target breaks a rule. The connection is of no use then.
    pub fn poll(&mut self) -> Result<Option<Event>, Error> {
        self.poll_into(&mut |_, _| {})
    }

    /// The same; `land` puts data of commands with [`Direction::Into`] where they belong in the caller's memory.
    ///
    /// # Errors
    /// As for [`Core::poll`].
    pub fn poll_into(&mut self, land: &mut dyn FnMut(u32, &[u8])) -> Result<Option<Event>, Error> {
        while let Some(frame) = self.incoming.next_frame(self.digests)? {
            self.numbers(Bhs::from_bhs(&frame.bhs))?;
            if let Some(event) = self.take(&frame, land)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// StatSN and the command window, which lie at the same place in everything that a target sends.
    fn numbers(&mut self, bhs: &Bhs) -> Result<(), Error> {
        let pdu = NopIn::from_bhs(bhs.as_bhs());
        let opcode = bhs.opcode();
        let broken = |rule| Err(Error::Protocol { opcode, rule });
        let (counts, shows) = match opcode {
            Opcode::DATA_IN => (pdu.flags & flags::STATUS != 0, pdu.flags & flags::STATUS != 0),
            Opcode::R2T => (false, true),
            Opcode::NOP_IN => (pdu.itt.get() != TAG_NONE, true),
            _ => (true, true),
        };
        if shows && Sn::from(pdu.stat_sn) != self.exp_stat_sn {
            return broken("StatSN does not follow");
        }
        if counts {
            self.exp_stat_sn = self.exp_stat_sn.next();
        }
        let (exp, max) = (Sn::from(pdu.exp_cmd_sn), Sn::from(pdu.max_cmd_sn));
        if !exp.precedes_or_is(self.cmd_sn) {
            return broken("ExpCmdSN is beyond what was sent");
        }
        // A window that ends before the one that is known is ignored: answers may come in another order than that in which
        // they were made (RFC 7143 section 4.2.2.1).
        if self.max_cmd_sn.precedes(max) {
            self.max_cmd_sn = max;
            self.send_waiting();
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame, land: &mut dyn FnMut(u32, &[u8])) -> Result<Option<Event>, Error> {
        let (bhs, data) = (&frame.bhs, self.incoming.bytes(&frame.data));
        match Bhs::from_bhs(bhs).opcode() {
            Opcode::DATA_IN => {
                let pdu = DataIn::from_bhs(bhs);
                let landing = self.tasks.landing(Tag(pdu.itt.get()), pdu.buffer_offset.get());
                let done = self.tasks.data_in(pdu, data)?;
                landing.iter().for_each(|at| land(*at, data));
                Ok(done.map(Event::Done))
            }
            Opcode::SCSI_RESPONSE => {
                Ok(Some(Event::Done(self.tasks.response(ScsiResponse::from_bhs(bhs), data)?)))
            }
            Opcode::R2T => self.answer_r2t(R2t::from_bhs(bhs)),
            Opcode::NOP_IN => Ok(self.nop_in(NopIn::from_bhs(bhs), frame)),
            Opcode::TEXT_RESPONSE => self.text_response(TextResponse::from_bhs(bhs), frame),
            Opcode::TASK_MGMT_RESPONSE => {
                let pdu = TaskMgmtResponse::from_bhs(bhs);
                Ok(Some(Event::Managed(Tag(pdu.itt.get()), TmfResponse(pdu.response))))
            }
            Opcode::LOGOUT_RESPONSE => {
                let pdu = LogoutResponse::from_bhs(bhs);
                Ok(Some(Event::LoggedOut(Tag(pdu.itt.get()), LogoutResponseCode(pdu.response))))
            }
            Opcode::ASYNC_MESSAGE => Ok(Some(Event::Async(*AsyncMessage::from_bhs(bhs), data.to_vec()))),
            Opcode::REJECT => Ok(Some(Event::Rejected(*Reject::from_bhs(bhs), data.to_vec()))),
            opcode => Err(Error::Protocol { opcode, rule: "not a PDU of full feature phase" }),
        }
    }

    fn answer_r2t(&mut self, pdu: &R2t) -> Result<Option<Event>, Error> {
        self.tasks.r2t(pdu, self.negotiated.max_burst_length)?;
        let from = pdu.buffer_offset.get() as usize;
        let to = from + pdu.desired_data_transfer_length.get() as usize;
        self.send_data(Tag(pdu.itt.get()), pdu.ttt.get(), from, to);
        Ok(None)
    }

    /// An answer to a ping, or a ping of the target's, which is answered.
    fn nop_in(&mut self, pdu: &NopIn, frame: &Frame) -> Option<Event> {
        if pdu.itt.get() != TAG_NONE {
            return Some(Event::Pong(Tag(pdu.itt.get()), self.incoming.bytes(&frame.data).to_vec()));
        }
        if pdu.ttt.get() != TAG_NONE {
            let mut answer = NopOut { ttt: pdu.ttt, lun: pdu.lun, ..NopOut::default() };
            answer.opcode |= flags::IMMEDIATE;
            answer.cmd_sn = self.cmd_sn.into();
            answer.exp_stat_sn = self.exp_stat_sn.into();
            self.put(answer.as_bhs(), &[]);
        }
        None
    }

    fn text_response(&mut self, pdu: &TextResponse, frame: &Frame) -> Result<Option<Event>, Error> {
        let rule = |rule| Error::Protocol { opcode: Opcode::TEXT_RESPONSE, rule };
        let data = self.incoming.bytes(&frame.data);
        self.text.push(data).map_err(|_| rule("the text is too long"))?;
        let tag = Tag(pdu.itt.get());
        if pdu.flags & flags::FINAL != 0 {
            return Ok(Some(Event::Text(tag, self.text.take())));
        }
        if pdu.ttt.get() == TAG_NONE {
            return Err(rule("more is to come, without a Target Transfer Tag"));
        }
        self.send_text(tag, pdu.ttt.get(), &[]);
        Ok(None)
    }
}

/// What the target is told to expect, bytes.
fn expected(command: &Command) -> u32 {
    u32::try_from(command.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::task::Stretch;
    use super::*;
    use crate::wire::bhs::padding;

    const WINDOW: u32 = 4;

    fn core(negotiated: Negotiated) -> Core {
        let login = LoggedIn {
            negotiated,
            tsih: 1,
            cid: 0,
            cmd_sn: Sn(u32::MAX),
            max_cmd_sn: Sn(u32::MAX).add(WINDOW - 1),
            exp_stat_sn: Sn(7),
            portal_group: None,
        };
        Core::new(login, Incoming::new(0), 64)
    }

    /// The PDUs that wait to be sent: header and data.
    fn sent(core: &mut Core) -> Vec<([u8; BHS_LEN], Vec<u8>)> {
        let mut pdus = Vec::new();
        while let Some(bhs) = core.outgoing().first_chunk::<BHS_LEN>().copied() {
            let len = Bhs::from_bhs(&bhs).data_len();
            pdus.push((bhs, core.outgoing()[BHS_LEN..BHS_LEN + len].to_vec()));
            core.sent(BHS_LEN + len + padding(len));
        }
        pdus
    }

    fn hear(core: &mut Core, bhs: &[u8; BHS_LEN], data: &[u8]) -> Result<Option<Event>, Error> {
        let mut stream = Vec::new();
        append(&mut stream, bhs, &[], data, Digests::default());
        for byte in stream {
            core.incoming().space()[0] = byte;
            core.incoming().filled(1);
        }
        core.poll()
    }

    fn response(core: &Core, tag: Tag, number: u32) -> ScsiResponse {
        let mut pdu = ScsiResponse { itt: U32::new(tag.0), ..ScsiResponse::default() };
        pdu.stat_sn = U32::new(number);
        pdu.exp_cmd_sn = core.cmd_sn.into();
        pdu.max_cmd_sn = core.cmd_sn.add(WINDOW - 1).into();
        pdu
    }

    #[test]
    fn commands_wait_for_the_window() {
        let mut core = core(Negotiated::default());
        let tags: Vec<Tag> = (0..10).map(|_| core.submit(Command::default()).unwrap()).collect();
        assert_eq!((sent(&mut core).len(), core.window(), core.outstanding()), (4, 0, 10));
        let pdu = ScsiResponse { max_cmd_sn: U32::new(4), ..response(&core, tags[0], 7) };
        assert!(matches!(hear(&mut core, pdu.as_bhs(), &[]), Ok(Some(Event::Done(done))) if done.is_good()));
        let numbers: Vec<u32> =
            sent(&mut core).iter().map(|(bhs, _)| ScsiCommand::from_bhs(bhs).cmd_sn.get()).collect();
        assert_eq!(numbers, [3, 4]);
    }

    #[test]
    fn data_goes_as_negotiated() {
        let negotiated = Negotiated {
            initial_r2t: false,
            first_burst_length: 1024,
            max_xmit_data_segment_length: 512,
            ..Negotiated::default()
        };
        let mut core = core(negotiated);
        let buffer: Vec<u8> = (0..2048u32).map(|n| (n / 512) as u8).collect();
        let command = Command { direction: Direction::Out, buffer, ..Command::default() };
        let tag = core.submit(command).unwrap();
        let pdus = sent(&mut core);
        assert_eq!(pdus.iter().map(|(_, data)| data.len()).collect::<Vec<_>>(), [512, 512]);
        assert_eq!(pdus[0].0[1] & flags::FINAL, 0);
        let mut r2t = R2t { itt: U32::new(tag.0), ttt: U32::new(5), ..R2t::default() };
        r2t.stat_sn = U32::new(7);
        r2t.max_cmd_sn = core.max_cmd_sn.into();
        r2t.buffer_offset = U32::new(1024);
        r2t.desired_data_transfer_length = U32::new(1024);
        assert!(hear(&mut core, r2t.as_bhs(), &[]).unwrap().is_none());
        let pdus = sent(&mut core);
        let seen: Vec<_> = pdus
            .iter()
            .map(|(bhs, data)| {
                let pdu = DataOut::from_bhs(bhs);
                (pdu.ttt.get(), pdu.data_sn.get(), pdu.buffer_offset.get(), pdu.flags, data[0])
            })
            .collect();
        assert_eq!(seen, [(5, 0, 1024, 0, 2), (5, 1, 1536, flags::FINAL, 3)]);
    }

    /// What goes out, with what is spliced in from `memory`.
    fn whole(core: &Core, memory: &[u8]) -> Vec<u8> {
        let (mut stream, mut done) = (Vec::new(), 0);
        for s in core.splices() {
            stream.extend(&core.outgoing()[done..s.at]);
            stream.extend(&memory[s.from as usize..][..s.len as usize]);
            done = s.at;
        }
        stream.extend(&core.outgoing()[done..]);
        stream
    }

    #[test]
    fn a_pattern_with_its_splices_is_what_a_buffer_would_send() {
        let negotiated = Negotiated {
            initial_r2t: false,
            first_burst_length: 1024,
            max_xmit_data_segment_length: 512,
            header_digest: true,
            data_digest: true,
            ..Negotiated::default()
        };
        let bytes: Vec<u8> = (0..1023u32).map(|n| (n / 7) as u8).collect();
        let mut plain = core(negotiated.clone());
        let out = Command { direction: Direction::Out, buffer: bytes.clone(), ..Command::default() };
        plain.submit(out).unwrap();
        let mut spliced = core(negotiated);
        spliced.set_pattern(bytes.clone().into());
        spliced.submit(Command { direction: Direction::Pattern(1023), ..Command::default() }).unwrap();
        assert!(whole(&spliced, &bytes) == plain.outgoing());
        spliced.sent_all();
        assert!(spliced.outgoing().is_empty() && spliced.splices().is_empty());
    }

    #[test]
    fn data_go_from_the_callers_memory_and_come_there() {
        let negotiated = Negotiated {
            initial_r2t: false,
            first_burst_length: 1024,
            max_xmit_data_segment_length: 512,
            ..Negotiated::default()
        };
        let bytes: Vec<u8> = (0..4096u32).map(|n| (n / 7) as u8).collect();
        let mut plain = core(negotiated.clone());
        let buffer = bytes[512..1536].to_vec();
        plain.submit(Command { direction: Direction::Out, buffer, ..Command::default() }).unwrap();
        let mut spliced = core(negotiated);
        let direction = Direction::From(Stretch { at: 512, len: 1024 });
        spliced.submit(Command { direction, ..Command::default() }).unwrap();
        assert!(whole(&spliced, &bytes) == plain.outgoing());

        let mut reads = core(Negotiated::default());
        let direction = Direction::Into(Stretch { at: 100, len: 8 });
        let tag = reads.submit(Command { direction, ..Command::default() }).unwrap();
        let mut pdu = DataIn { itt: U32::new(tag.0), ..DataIn::default() };
        pdu.flags = flags::FINAL | flags::STATUS;
        pdu.stat_sn = U32::new(7);
        pdu.exp_cmd_sn = U32::new(0);
        pdu.max_cmd_sn = reads.max_cmd_sn.into();
        pdu.set_data_len(8);
        let mut stream = Vec::new();
        append(&mut stream, pdu.as_bhs(), &[], &[9; 8], Digests::default());
        reads.incoming().space()[..stream.len()].copy_from_slice(&stream);
        reads.incoming().filled(stream.len());
        let mut landed = Vec::new();
        let event = reads.poll_into(&mut |at, bytes| landed.push((at, bytes.to_vec()))).unwrap();
        assert!(matches!(event, Some(Event::Done(done)) if done.is_good() && done.received == 8));
        assert_eq!(landed, [(100, vec![9; 8])]);
    }

    #[test]
    fn data_that_nobody_wants_is_counted_all_the_same() {
        let mut core = core(Negotiated::default());
        let tag = core.submit(Command { direction: Direction::Discard(8), ..Command::default() }).unwrap();
        assert_eq!(ScsiCommand::from_bhs(&sent(&mut core)[0].0).expected_data_transfer_length.get(), 8);
        let data_in = |len: usize, at: u32| {
            let mut pdu = DataIn { itt: U32::new(tag.0), buffer_offset: U32::new(at), ..DataIn::default() };
            pdu.flags = flags::FINAL | flags::STATUS;
            pdu.stat_sn = U32::new(7);
            pdu.exp_cmd_sn = U32::new(0);
            pdu.max_cmd_sn = Sn(u32::MAX).add(WINDOW - 1).into();
            pdu.set_data_len(len);
            pdu
        };
        assert!(hear(&mut core, data_in(9, 0).as_bhs(), &[1; 9]).is_err(), "more than was asked for");
        let (mut core, tag) = {
            let mut core = self::core(Negotiated::default());
            let tag =
                core.submit(Command { direction: Direction::Discard(8), ..Command::default() }).unwrap();
            (core, tag)
        };
        let mut pdu = data_in(8, 0);
        pdu.itt = U32::new(tag.0);
        match hear(&mut core, pdu.as_bhs(), &[1; 8]) {
            Ok(Some(Event::Done(done))) => assert_eq!((done.received, done.buffer.len()), (8, 0)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_target_that_breaks_rules_is_noticed() {
        let rule = |spoil: fn(&mut ScsiResponse)| {
            let mut core = core(Negotiated::default());
            let tag = core.submit(Command::default()).unwrap();
            let mut pdu = response(&core, tag, 7);
            spoil(&mut pdu);
            match hear(&mut core, pdu.as_bhs(), &[]) {
                Err(Error::Protocol { rule, .. }) => rule,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(rule(|pdu| pdu.stat_sn = U32::new(8)), "StatSN does not follow");
        assert_eq!(rule(|pdu| pdu.exp_cmd_sn = U32::new(1)), "ExpCmdSN is beyond what was sent");
        assert_eq!(rule(|pdu| pdu.itt = U32::new(63)), "no such task");
    }

    #[test]
    fn a_window_that_goes_back_is_ignored() {
        let mut core = core(Negotiated::default());
        let tags: Vec<Tag> = (0..6).map(|_| core.submit(Command::default()).unwrap()).collect();
        sent(&mut core);
        for (number, (tag, max)) in (7..).zip([(tags[0], 1), (tags[1], u32::MAX - 9)]) {
            let pdu = ScsiResponse { max_cmd_sn: U32::new(max), ..response(&core, tag, number) };
            let heard = hear(&mut core, pdu.as_bhs(), &[]);
            assert!(matches!(heard, Ok(Some(Event::Done(ref done))) if done.is_good()), "{heard:?}");
            assert_eq!((sent(&mut core).len(), core.window()), (0, 0));
        }
        let pdu = ScsiResponse { max_cmd_sn: U32::new(4), ..response(&core, tags[2], 9) };
        assert!(hear(&mut core, pdu.as_bhs(), &[]).is_ok());
        assert_eq!(sent(&mut core).len(), 2);
    }

    #[test]
    fn an_answer_to_a_forgotten_command_is_noticed() {
        let mut core = core(Negotiated::default());
        let tag = core.submit(Command { buffer: vec![1], ..Command::default() }).unwrap();
        assert_eq!(core.forget(tag), Some(vec![1]));
        core.submit(Command::default()).unwrap();
        let pdu = response(&core, tag, 7);
        assert!(hear(&mut core, pdu.as_bhs(), &[]).is_err());
    }

    #[test]
    fn a_ping_of_the_targets_is_answered() {
        let mut core = core(Negotiated::default());
        let mut ping = NopIn { ttt: U32::new(3), ..NopIn::default() };
        ping.stat_sn = U32::new(7);
        ping.exp_cmd_sn = core.cmd_sn.into();
        ping.max_cmd_sn = core.max_cmd_sn.into();
        assert!(hear(&mut core, ping.as_bhs(), &[]).unwrap().is_none());
        let pdus = sent(&mut core);
        let answer = NopOut::from_bhs(&pdus[0].0);
        assert_eq!((answer.ttt.get(), answer.itt.get()), (3, TAG_NONE));
    }
}

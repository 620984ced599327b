//! An initiator in memory: speaks iSCSI over a simulated socket, and does so rudely on purpose.
//!
//! Owns one connection at a time. Its own choices (sizes of pieces, what to send next) come from the world's
//! chance. It checks what every initiator may rely on: StatSN and DataSN without gaps, R2Ts within the transfer,
//! CmdSN windows that never close behind what was promised.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use zerocopy::big_endian::{U32, U64};

use crate::ring::sim;
use crate::wire::bhs::{
    AsyncMessage, BHS_LEN, Bhs, DataIn, DataOut, LoginRequest, LoginResponse, LogoutRequest, NopIn, NopOut,
    R2t, ScsiCommand, ScsiResponse, TaskMgmtRequest, TaskMgmtResponse, padding,
};
use crate::wire::codes::{AsyncEvent, Opcode, TAG_NONE, TmfFunction, TmfResponse};
use crate::wire::sn::Sn;
use crate::wire::{digest, flags};

/// What the target has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    LoggedIn,
    Refused(u8, u8),
    /// A command has its status.
    Answer {
        itt: u32,
        status: u8,
        sense: Vec<u8>,
        data: Vec<u8>,
    },
    Managed {
        itt: u32,
        response: TmfResponse,
    },
    Pong(u32),
    LoggedOut,
    LogoutAsked,
    /// The target has told of a SCSI event: the sense key, code and qualifier.
    Told([u8; 3]),
    Rejected(u8),
    /// The connection has gone.
    Gone,
}

impl Event {
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Told(_))
    }
}

/// What is asked for at login, and how the initiator behaves.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) digests: bool,
    pub(super) initial_r2t: bool,
    pub(super) immediate: bool,
    pub(super) first_burst: u32,
    pub(super) max_burst: u32,
    pub(super) segment: u32,
    /// Bytes of the largest Data-Out that it sends.
    pub(super) piece: u32,
    /// Bytes of the stream in each direction.
    pub(super) window: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            digests: false,
            initial_r2t: false,
            immediate: true,
            first_burst: 256 << 10,
            max_burst: 256 << 10,
            segment: 256 << 10,
            piece: 16 << 10,
            window: 64 << 10,
        }
    }
}

#[derive(Debug)]
struct Open {
    lun: u64,
    out: Vec<u8>,
    got: Vec<u8>,
    data_sn: u32,
}

/// Data-Out that is on its way.
#[derive(Debug)]
struct Burst {
    itt: u32,
    ttt: u32,
    next: u32,
    end: u32,
    data_sn: u32,
}

/// See the module page.
#[derive(Debug)]
pub(super) struct Client {
    world: sim::World,
    pub(super) name: String,
    pub(super) isid: [u8; 6],
    /// The handle of its last session, zero before the first.
    tsih: u16,
    /// The next login goes on with the last session instead of asking for a new one.
    pub(super) rejoins: bool,
    pub(super) manner: Manner,
    fd: Option<RawFd>,
    full: bool,
    digests: bool,
    initial_r2t: bool,
    immediate: bool,
    first_burst: u32,
    out: VecDeque<u8>,
    /// Where a read puts what it brings.
    room: Box<[u8]>,
    heard: Vec<u8>,
    bursts: Vec<Burst>,
    open: BTreeMap<u32, Open>,
    cmd_sn: Sn,
    max_cmd_sn: Sn,
    stat_sn: Sn,
    next_itt: u32,
    /// Answers are left unread.
    pub(super) deaf: bool,
    /// Data that was asked for is not sent; everything else is.
    pub(super) mute: bool,
    /// It sends nothing at all any more.
    gagged: bool,
    /// What it sends has wrong data digests.
    pub(super) spoils: bool,
    pub(super) events: VecDeque<Event>,
    /// Residuals and the flags that say which way, by tag.
    pub(super) residuals: HashMap<u32, (u8, u32)>,
}

impl Client {
    pub(super) fn new(world: &sim::World, name: &str, number: u8, manner: Manner) -> Self {
        Self {
            world: world.clone(),
            name: format!("iqn.2026-01.org.example:{name}"),
            isid: [0x40, 0, 0, 0, 0, number],
            tsih: 0,
            rejoins: false,
            manner,
            fd: None,
            full: false,
            digests: false,
            initial_r2t: true,
            immediate: true,
            first_burst: 0,
            out: VecDeque::new(),
            room: vec![0; 64 << 10].into(),
            heard: Vec::new(),
            bursts: Vec::new(),
            open: BTreeMap::new(),
            cmd_sn: Sn(0xffff_fff0),
            max_cmd_sn: Sn(0),
            stat_sn: Sn(0),
            next_itt: 0,
            deaf: false,
            mute: false,
            gagged: false,
            spoils: false,
            events: VecDeque::new(),
            residuals: HashMap::new(),
        }
    }

    fn below(&self, n: u64) -> u64 {
        self.world.chance(n.max(1))
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// How many more commands may be sent.
    pub(super) fn credit(&self) -> u32 {
        if !self.full || !self.cmd_sn.precedes_or_is(self.max_cmd_sn) {
            return 0;
        }
        self.cmd_sn.distance_to(self.max_cmd_sn) + 1
    }

    pub(super) fn outstanding(&self) -> usize {
        self.open.len()
    }

    /// Connects and sends a Login Request that asks for everything at once.
    pub(super) fn login(&mut self, to: SocketAddr, target: &str) {
        self.hang_up();
        self.events.clear();
        let from = SocketAddr::from(([127, 0, 0, 1], 40_000 + self.below(20_000) as u16));
        self.fd = Some(self.world.connect(from, to, self.manner.window).expect("somebody listens"));
        let m = &self.manner;
        let yes = |b: bool| if b { "Yes" } else { "No" };
        let digest = if m.digests { "CRC32C" } else { "None" };
        let text = format!(
            "InitiatorName={}\0TargetName={target}\0SessionType=Normal\0HeaderDigest={digest}\0DataDigest={digest}\0\
             InitialR2T={}\0ImmediateData={}\0FirstBurstLength={}\0MaxBurstLength={}\0\
             MaxRecvDataSegmentLength={}\0MaxOutstandingR2T=8\0iSCSIProtocolLevel=2\0",
            self.name,
            yes(m.initial_r2t),
            yes(m.immediate),
            m.first_burst,
            m.max_burst,
            m.segment
        );
        let mut pdu = LoginRequest { isid: self.isid, ..LoginRequest::default() };
        self.rejoins &= self.tsih != 0;
        pdu.tsih = if self.rejoins { self.tsih } else { 0 }.into();
        pdu.flags = flags::TRANSIT | 1 << flags::CSG_SHIFT | 3;
        pdu.cmd_sn = U32::new(self.cmd_sn.0);
        pdu.set_data_len(text.len());
        self.put(pdu.as_bhs(), text.as_bytes());
    }

    /// Closes the connection at once, whatever is under way.
    pub(super) fn hang_up(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.world.close(fd).expect("it was open");
        }
        self.full = false;
        self.digests = false;
        self.out.clear();
        self.heard.clear();
        self.bursts.clear();
        self.open.clear();
    }

    /// Forgets the connection, which stays open for the target; returns its descriptor.
    pub(super) fn leave(&mut self) -> Option<RawFd> {
        let fd = self.fd.take();
        self.hang_up();
        fd
    }

    /// Breaks the connection as a network does.
    pub(super) fn reset(&self) {
        if let Some(fd) = self.fd {
            self.world.reset(fd);
        }
    }

    fn put(&mut self, bhs: &[u8; BHS_LEN], data: &[u8]) {
        self.out.extend(bhs);
        if self.digests {
            self.out.extend(digest::to_wire(digest::crc32c(bhs)));
        }
        if data.is_empty() {
            return;
        }
        let padded: Vec<u8> =
            data.iter().copied().chain(std::iter::repeat_n(0, padding(data.len()))).collect();
        self.out.extend(&padded);
        if self.digests {
            let digest = digest::crc32c(&padded) ^ u32::from(self.spoils);
            self.out.extend(digest::to_wire(digest));
        }
    }

    fn take_itt(&mut self) -> u32 {
        self.next_itt = (self.next_itt + 1) & 0xff_ffff;
        self.next_itt
    }

    /// Sends a command that reads `expect` bytes or writes `out`; returns its tag.
    pub(super) fn command(&mut self, lun: u64, cdb: &[u8], out: Vec<u8>, expect: u32) -> u32 {
        assert!(self.credit() > 0, "the window is closed");
        let itt = self.take_itt();
        let mut pdu = ScsiCommand { itt: U32::new(itt), lun: U64::new(lun), ..ScsiCommand::default() };
        pdu.cdb[..cdb.len()].copy_from_slice(cdb);
        pdu.cmd_sn = U32::new(self.cmd_sn.0);
        pdu.exp_stat_sn = U32::new(self.stat_sn.0);
        self.cmd_sn = self.cmd_sn.next();
        let len = out.len() as u32;
        pdu.expected_data_transfer_length = U32::new(len.max(expect));
        pdu.flags = flags::FINAL | flags::ATTR_SIMPLE;
        pdu.flags |= if len > 0 { flags::WRITE } else { 0 } | if expect > 0 { flags::READ } else { 0 };
        let at_once =
            if self.immediate { self.some_of(len.min(self.first_burst).min(self.manner.piece)) } else { 0 };
        let unasked = if self.initial_r2t { 0 } else { len.min(self.first_burst) };
        if unasked > at_once {
            pdu.flags &= !flags::FINAL;
            self.bursts.push(Burst { itt, ttt: TAG_NONE, next: at_once, end: unasked, data_sn: 0 });
        }
        pdu.set_data_len(at_once as usize);
        self.put(pdu.as_bhs(), &out[..at_once as usize]);
        self.open.insert(itt, Open { lun, out, got: Vec::new(), data_sn: 0 });
        itt
    }

    /// All of it, or less.
    fn some_of(&self, most: u32) -> u32 {
        match self.below(3) {
            0 => 0,
            1 => self.below(u64::from(most) / 4 + 1) as u32 * 4,
            _ => most,
        }
    }

    /// A request never comes, though its number is used: what follows must wait for it.
    pub(super) fn leave_gap(&mut self) {
        self.cmd_sn = self.cmd_sn.next();
    }

    /// Sends nothing of what is still to be sent of any command.
    pub(super) fn stall(&mut self) {
        self.bursts.clear();
    }

    /// Sends a task management function; the task is not heard of again, unless its answer is on the way.
    pub(super) fn manage(&mut self, function: TmfFunction, lun: u64, task: u32) -> u32 {
        let itt = self.take_itt();
        let mut pdu =
            TaskMgmtRequest { itt: U32::new(itt), lun: U64::new(lun), ..TaskMgmtRequest::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.flags = flags::FINAL | function.0;
        pdu.ref_task_tag = U32::new(task);
        // A number long gone: the task has been received, or never will be.
        pdu.ref_cmd_sn = U32::new(self.cmd_sn.back(1).0);
        pdu.cmd_sn = U32::new(self.cmd_sn.0);
        self.put(pdu.as_bhs(), &[]);
        itt
    }

    /// The initiator expects nothing of that task any more.
    pub(super) fn forget(&mut self, itt: u32) -> bool {
        self.bursts.retain(|b| b.itt != itt);
        self.open.remove(&itt).is_some()
    }

    pub(super) fn ping(&mut self) -> u32 {
        let itt = self.take_itt();
        let mut pdu = NopOut { itt: U32::new(itt), ..NopOut::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.cmd_sn = U32::new(self.cmd_sn.0);
        pdu.set_data_len(4);
        self.put(pdu.as_bhs(), b"ping");
        itt
    }

    pub(super) fn log_out(&mut self) {
        let itt = self.take_itt();
        let mut pdu = LogoutRequest { itt: U32::new(itt), ..LogoutRequest::default() };
        pdu.opcode |= flags::IMMEDIATE;
        pdu.cmd_sn = U32::new(self.cmd_sn.0);
        self.put(pdu.as_bhs(), &[]);
    }

    /// Whether a part of what it has to say is still with it.
    pub(super) fn is_sending(&self) -> bool {
        !self.out.is_empty()
    }

    /// What it has not sent yet never leaves: the target waits in the middle of a PDU.
    pub(super) fn cut_off(&mut self) {
        self.out.clear();
        self.gagged = true;
    }

    /// For all data that is asked for, and that it keeps back, it sends some that nobody asked for.
    pub(super) fn babble(&mut self) {
        self.bursts.retain(|b| self.open.contains_key(&b.itt));
        let wrong = |b: &Burst| {
            let mut pdu = DataOut { itt: U32::new(b.itt), ttt: U32::new(b.ttt), ..DataOut::default() };
            pdu.buffer_offset = U32::new(b.end);
            pdu
        };
        for mut pdu in self.bursts.iter().map(wrong).collect::<Vec<_>>() {
            let data = vec![0x55; self.manner.piece as usize];
            pdu.set_data_len(data.len());
            self.put(pdu.as_bhs(), &data);
        }
    }

    /// One that is deaf reads so many bytes all the same.
    pub(super) fn sip(&self, count: usize) {
        let Some(fd) = self.fd else { return };
        // Whether there was anything makes no difference.
        let _ = self.world.read(fd, &mut vec![0; count]);
    }

    /// Sends and receives what it can; whether anything moved.
    pub(super) fn pump(&mut self) -> bool {
        let Some(fd) = self.fd else { return false };
        if self.out.len() < self.manner.piece as usize && !self.bursts.is_empty() && !self.mute {
            self.send_piece();
        }
        let sent = self.write_some(fd);
        let read = !self.deaf && self.read_some(fd);
        sent | read
    }

    fn send_piece(&mut self) {
        let which = self.below(self.bursts.len() as u64) as usize;
        let b = &mut self.bursts[which];
        let len = (b.end - b.next).min(self.manner.piece);
        let mut pdu = DataOut { itt: U32::new(b.itt), ttt: U32::new(b.ttt), ..DataOut::default() };
        pdu.data_sn = U32::new(b.data_sn);
        pdu.buffer_offset = U32::new(b.next);
        pdu.flags = if b.next + len == b.end { flags::FINAL } else { 0 };
        pdu.set_data_len(len as usize);
        let range = b.next as usize..(b.next + len) as usize;
        let itt = b.itt;
        b.data_sn += 1;
        b.next += len;
        if b.next == b.end {
            self.bursts.remove(which);
        }
        // A command that was answered early gets no more data.
        let Some(open) = self.open.get(&itt) else { return };
        pdu.lun = U64::new(open.lun);
        let data = open.out[range].to_vec();
        self.put(pdu.as_bhs(), &data);
    }

    fn write_some(&mut self, fd: RawFd) -> bool {
        if self.out.is_empty() || self.gagged {
            return false;
        }
        let bytes = self.out.make_contiguous();
        match self.world.write(fd, bytes) {
            Ok(n) => {
                self.out.drain(..n);
                n > 0
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(_) => {
                // What the target said before is still to be read.
                self.out.clear();
                self.bursts.clear();
                false
            }
        }
    }

    fn read_some(&mut self, fd: RawFd) -> bool {
        match self.world.read(fd, &mut self.room) {
            Ok(0) => self.gone(),
            Ok(n) => {
                self.heard.extend_from_slice(&self.room[..n]);
                self.parse();
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => self.gone(),
        }
        true
    }

    fn gone(&mut self) {
        self.hang_up();
        self.events.push_back(Event::Gone);
    }

    fn parse(&mut self) {
        let mut used = 0;
        while let Some(raw) = self.heard[used..].first_chunk::<BHS_LEN>() {
            let bhs = *Bhs::from_bhs(raw);
            let digest = if self.digests { digest::DIGEST_LEN } else { 0 };
            let len = bhs.data_len();
            let padded = len + padding(len);
            let start = used + BHS_LEN + digest;
            let whole = start + padded + if len > 0 { digest } else { 0 };
            if self.heard.len() < whole {
                break;
            }
            if self.digests {
                assert_eq!(self.heard[used + BHS_LEN..start], digest::to_wire(digest::crc32c(raw)));
                let crc = digest::to_wire(digest::crc32c(&self.heard[start..start + padded]));
                assert!(len == 0 || self.heard[start + padded..whole] == crc, "data digest");
            }
            let data = self.heard[start..start + len].to_vec();
            used = whole;
            self.pdu(&bhs, &data);
        }
        self.heard.drain(..used.min(self.heard.len()));
    }

    fn pdu(&mut self, bhs: &Bhs, data: &[u8]) {
        let raw = bhs.as_bhs();
        match bhs.opcode() {
            Opcode::LOGIN_RESPONSE => self.login_response(LoginResponse::from_bhs(raw), data),
            Opcode::SCSI_RESPONSE => {
                let pdu = ScsiResponse::from_bhs(raw);
                self.status_of(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                self.residual(pdu.itt, pdu.flags, pdu.residual_count);
                self.answered(pdu.itt.get(), pdu.status, data.get(2..).unwrap_or(&[]).to_vec());
            }
            Opcode::DATA_IN => self.data_in(DataIn::from_bhs(raw), data),
            Opcode::R2T => self.r2t(R2t::from_bhs(raw)),
            Opcode::TASK_MGMT_RESPONSE => {
                let pdu = TaskMgmtResponse::from_bhs(raw);
                self.status_of(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                let response = TmfResponse(pdu.response);
                self.events.push_back(Event::Managed { itt: pdu.itt.get(), response });
            }
            Opcode::NOP_IN => self.nop_in(NopIn::from_bhs(raw)),
            Opcode::LOGOUT_RESPONSE => self.events.push_back(Event::LoggedOut),
            Opcode::ASYNC_MESSAGE => {
                let pdu = AsyncMessage::from_bhs(raw);
                self.status_of(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                self.events.push_back(match AsyncEvent(pdu.async_event) {
                    AsyncEvent::SCSI_EVENT => {
                        let sense = data.get(2..).expect("sense data");
                        assert_eq!(data[..2], (sense.len() as u16).to_be_bytes());
                        Event::Told([sense[2] & 15, sense[12], sense[13]])
                    }
                    _ => Event::LogoutAsked,
                });
            }
            Opcode::REJECT => {
                self.stat_sn = self.stat_sn.next();
                self.events.push_back(Event::Rejected(raw[2]));
            }
            other => panic!("{other} from a target"),
        }
    }

    fn login_response(&mut self, pdu: &LoginResponse, data: &[u8]) {
        if pdu.status_class != 0 {
            return self.events.push_back(Event::Refused(pdu.status_class, pdu.status_detail));
        }
        assert_eq!(pdu.flags & (flags::TRANSIT | 3), flags::TRANSIT | 3, "straight to full feature phase");
        let text = String::from_utf8_lossy(data).into_owned();
        let value = |key: &str| text.split('\0').find_map(|p| p.strip_prefix(key)?.strip_prefix('='));
        self.digests = value("HeaderDigest") == Some("CRC32C");
        assert_eq!(self.digests, value("DataDigest") == Some("CRC32C"));
        self.stat_sn = Sn(pdu.stat_sn.get()).next();
        if self.rejoins {
            // What was agreed on for the session holds. Its commands are numbered on from what has arrived.
            assert_eq!((pdu.tsih.get(), value("InitialR2T")), (self.tsih, Some("Irrelevant")));
            assert!(
                Sn(pdu.exp_cmd_sn.get()).precedes_or_is(self.cmd_sn),
                "more commands taken than were sent"
            );
            self.cmd_sn = Sn(pdu.exp_cmd_sn.get());
            assert!(!Sn(pdu.max_cmd_sn.get()).precedes(self.max_cmd_sn), "MaxCmdSN went back");
        } else {
            self.initial_r2t = value("InitialR2T") == Some("Yes");
            self.immediate = value("ImmediateData") == Some("Yes");
            self.first_burst =
                value("FirstBurstLength").map_or(self.manner.first_burst, |v| v.parse().unwrap());
            assert_eq!(pdu.exp_cmd_sn.get(), self.cmd_sn.0);
        }
        self.max_cmd_sn = Sn(pdu.max_cmd_sn.get());
        self.tsih = pdu.tsih.get();
        self.full = true;
        self.events.push_back(Event::LoggedIn);
    }

    fn window(&mut self, exp: U32, max: U32) {
        let (exp, max) = (Sn(exp.get()), Sn(max.get()));
        assert!(exp.precedes_or_is(self.cmd_sn), "more commands taken than were sent");
        assert!(!max.precedes(self.max_cmd_sn), "MaxCmdSN went back");
        self.max_cmd_sn = max;
    }

    fn status_of(&mut self, stat_sn: U32, exp: U32, max: U32) {
        assert_eq!(stat_sn.get(), self.stat_sn.0, "StatSN of {}", self.name);
        self.stat_sn = self.stat_sn.next();
        self.window(exp, max);
    }

    fn residual(&mut self, itt: U32, bits: u8, count: U32) {
        let flags = bits & (flags::OVERFLOW | flags::UNDERFLOW);
        if flags != 0 {
            self.residuals.insert(itt.get(), (flags, count.get()));
        }
    }

    fn answered(&mut self, itt: u32, status: u8, sense: Vec<u8>) {
        // Of a task that was forgotten nothing is expected, but its answer may have been on the way.
        if let Some(open) = self.open.remove(&itt) {
            self.bursts.retain(|b| b.itt != itt || b.ttt == TAG_NONE);
            self.events.push_back(Event::Answer { itt, status, sense, data: open.got });
        }
    }

    fn data_in(&mut self, pdu: &DataIn, data: &[u8]) {
        let has_status = pdu.flags & flags::STATUS != 0;
        if let Some(open) = self.open.get_mut(&pdu.itt.get()) {
            assert_eq!((pdu.data_sn.get(), pdu.buffer_offset.get()), (open.data_sn, open.got.len() as u32));
            open.data_sn += 1;
            open.got.extend(data);
        }
        if has_status {
            self.status_of(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
            self.residual(pdu.itt, pdu.flags, pdu.residual_count);
            self.answered(pdu.itt.get(), pdu.status, Vec::new());
        } else {
            self.window(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        }
    }

    fn r2t(&mut self, pdu: &R2t) {
        self.window(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        let (itt, next, len) =
            (pdu.itt.get(), pdu.buffer_offset.get(), pdu.desired_data_transfer_length.get());
        let Some(open) = self.open.get(&itt) else { return };
        assert!(len > 0 && (next + len) as usize <= open.out.len(), "R2T beyond the transfer");
        self.bursts.push(Burst { itt, ttt: pdu.ttt.get(), next, end: next + len, data_sn: 0 });
    }

    fn nop_in(&mut self, pdu: &NopIn) {
        if pdu.itt.get() != TAG_NONE {
            self.status_of(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
            return self.events.push_back(Event::Pong(pdu.itt.get()));
        }
        self.window(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        let mut answer = NopOut { ttt: pdu.ttt, ..NopOut::default() };
        answer.opcode |= flags::IMMEDIATE;
        answer.cmd_sn = U32::new(self.cmd_sn.0);
        answer.exp_stat_sn = U32::new(self.stat_sn.0);
        answer.lun = pdu.lun;
        self.put(answer.as_bhs(), &[]);
    }
}

//! The iSCSI protocol as a pure state machine: bytes and events in, calls on a [`Host`] out.
//!
//! A connection begins with a [`login::Login`], which takes whole Login PDUs and ends in an
//! [`Established`]. From that a [`Session`] is made: one connection in full feature phase
//! (MaxConnections is 1). It owns no socket, clock, thread or randomness, and never looks at payload but to copy
//! what came through staging, to compare, and to compute digests.
//!
//! ```text
//!   recv ──► placed() / input() ──► rx (framing) ──► begin ──► command │ data_out │ tmf │ service
//!                                                     │            │
//!   send ◄── Host::put, put_body, end ◄── respond ◄── complete ◄───┴── Host::disk … disk_done()
//! ```

pub mod chap;
mod command;
mod compare;
mod copy;
mod data_in;
mod data_out;
pub mod discovery;
mod enclosed;
pub mod host;
pub mod keys;
mod legacy;
pub mod login;
mod medium;
mod multi;
mod order;
pub mod pace;
mod pass;
mod patience;
mod quota;
#[cfg(any(test, fuzzing))]
pub mod rehearsal;
mod respond;
pub mod revise;
pub mod rx;
mod service;
mod set;
mod taking;
mod task;
pub mod tmf;
mod token;
pub mod watch;

pub use legacy::Legacy;
pub use quota::{Charge, Limited};
pub use revise::{Revision, View};

use std::collections::VecDeque;

use self::copy::Copies;
use self::host::Host;
use self::keys::Negotiated;
use self::login::Established;
use self::order::Held;
use self::pace::Pace;
use self::quota::Waiting;
use self::rx::{Dest, Rx};
use self::service::Text;
use self::set::Sets;
use self::taking::Unasked;
use self::task::{Task, Tasks, Work};
use self::tmf::Managing;
use crate::ids::{BufId, LuId, TaskId};
use crate::scsi::{Asc, Attentions, Echo, ItNexus, Port};
use crate::target::Target;
use crate::wire::bhs::{Bhs, DataOut};
use crate::wire::codes::{Opcode, RejectReason};
use crate::wire::flags;
use crate::wire::sn::Sn;

/// The largest slot, and so the longest stretch of a transfer that is in one place, bytes. FirstBurstLength and
/// MaxRecvDataSegmentLength are never larger, so that unsolicited data has one place too.
pub const SEGMENT: u32 = 256 << 10;

const _: () = assert!(SEGMENT >= crate::scsi::WHOLE);

/// The most commands that a session may have outstanding: half of what transfer tags can name.
pub const MAX_COMMAND_WINDOW: u32 = 2048;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The initiator logged out.
    Logout,
    /// The initiator broke the protocol in a way that ends the session at ErrorRecoveryLevel 0.
    Protocol(&'static str),
    /// A header digest was wrong: nothing behind it can be trusted.
    HeaderDigest,
    /// A ping was not answered in time.
    NoAnswer,
    /// Its answers are not read, and it asks for more and more.
    Unread,
    /// Data trickled into a slot that others waited for.
    TooSlow,
    /// The target ends it, and has said so.
    Dropped,
}

/// A logical unit as this session sees it.
#[derive(Debug)]
struct MappedLun {
    lun: u16,
    lu: LuId,
    read_only: bool,
    attentions: Attentions,
    /// Commands that are open, and how many there were at most.
    open: u32,
    deepest: u32,
}

/// A session in full feature phase.
#[derive(Debug)]
pub struct Session {
    established: Box<Established>,
    /// A copy of `established.negotiated`, near the rest of what every PDU needs.
    negotiated: Negotiated,
    nexus: ItNexus,
    discovery: bool,
    /// Something is limited that this session uses.
    limited: bool,
    cid: u16,
    luns: Vec<MappedLun>,
    lun_numbers: Vec<u16>,
    /// The ports of the target.
    ports: Vec<Port>,
    /// What WRITE BUFFER has written.
    echo: Echo,
    rx: Rx,
    exp_cmd_sn: Sn,
    max_cmd_sn: Sn,
    stat_sn: Sn,
    command_window: u32,
    /// Requests whose turn has not come.
    held: Held,
    tasks: Tasks,
    /// Task sets in which not all is SIMPLE.
    sets: Sets,
    /// Tasks that wait for slots, first come first served.
    parked: VecDeque<TaskId>,
    /// Tasks that wait for what their limits let them have.
    waiting: Waiting,
    /// The host's number for the limits of the initiator.
    initiator_quota: Option<u32>,
    /// Reads with data that is ready, which waits for answers to leave first.
    unsent: VecDeque<TaskId>,
    managing: Managing,
    copies: Copies,
    text: Text,
    /// The unsolicited part of the command that is being opened.
    unasked: Unasked,
    /// The command whose immediate data is on its way.
    opened: Option<TaskId>,
    /// That command's number is used only when the digest of its data has proved right.
    unproven: bool,
    closing: Option<Close>,
    last_heard: u64,
    /// Bytes of payload for slots whose headers have come, and how fast they come.
    intake: u64,
    pace: Pace,
    /// Requests have waited for answers to leave for long enough: some are read all the same.
    insisted: bool,
    pinged_at: Option<u64>,
    /// The session's last connection has yet to leave it what it had.
    awaits_legacy: bool,
    nop_interval: u64,
    nop_timeout: u64,
}

impl Session {
    /// A session from a login that is complete. `now` is monotonic, in nanoseconds.
    pub fn new(established: Box<Established>, now: u64) -> Self {
        let e = &established;
        let luns: Vec<MappedLun> = {
            let mut sorted = e.luns.clone();
            sorted.sort_by_key(|l| l.lun);
            let mapped = |l: &crate::target::Lun| MappedLun {
                lun: l.lun,
                lu: l.lu,
                read_only: l.read_only,
                // One that goes on has been told.
                attentions: if e.joins.is_some() { Attentions::new() } else { power_on() },
                open: 0,
                deepest: 0,
            };
            sorted.iter().map(mapped).collect()
        };
        let tpg = e.target.as_ref().and_then(|t| t.tpgs.get(e.tpg));
        let params = tpg.map(|t| t.params.clone()).unwrap_or_default();
        let nexus = ItNexus {
            initiator: e.initiator.clone(),
            isid: e.isid,
            target: e.target.as_ref().map(|t| t.iqn.clone()).unwrap_or_default(),
            tpg_tag: tpg.map_or(0, |t| t.tag),
            relative_port: tpg.map_or(0, |t| t.relative_port),
        };
        let window = params.command_window.clamp(1, MAX_COMMAND_WINDOW);
        Self {
            negotiated: e.negotiated.clone(),
            nexus,
            discovery: e.target.is_none(),
            limited: false,
            cid: e.cid,
            lun_numbers: luns.iter().map(|l| l.lun).collect(),
            ports: e.target.as_deref().map(ports_of).unwrap_or_default(),
            echo: Echo::default(),
            luns,
            rx: Rx::default(),
            exp_cmd_sn: Sn(e.exp_cmd_sn),
            max_cmd_sn: Sn(e.max_cmd_sn),
            stat_sn: Sn(e.stat_sn),
            command_window: window,
            held: Held::default(),
            tasks: Tasks::default(),
            sets: Sets::default(),
            parked: VecDeque::new(),
            waiting: Waiting::default(),
            initiator_quota: None,
            unsent: VecDeque::new(),
            managing: Managing::default(),
            copies: Copies::default(),
            text: Text::default(),
            unasked: Unasked::default(),
            opened: None,
            unproven: false,
            closing: None,
            last_heard: now,
            intake: 0,
            pace: Pace::default(),
            insisted: false,
            pinged_at: None,
            awaits_legacy: e.joins.is_some(),
            nop_interval: params.nop_interval.as_nanos() as u64,
            nop_timeout: params.nop_timeout.as_nanos() as u64,
            established,
        }
    }

    /// The login that this session came from.
    pub fn established(&self) -> &Established {
        &self.established
    }

    /// The I_T nexus.
    pub fn nexus(&self) -> &ItNexus {
        &self.nexus
    }

    /// The logical units of this session.
    pub fn logical_units(&self) -> impl Iterator<Item = LuId> + '_ {
        self.luns.iter().map(|l| l.lu)
    }

    /// Why the connection is to be closed once everything is sent, if it is.
    pub fn closing(&self) -> Option<Close> {
        self.closing
    }

    /// How many commands are open.
    pub fn open_tasks(&self) -> u32 {
        self.tasks.len()
    }

    /// How many commands it may have open at a time.
    pub fn command_window(&self) -> u32 {
        self.command_window
    }

    /// How many commands were open at a time at most, of the whole session.
    pub fn deepest(&self) -> u32 {
        self.tasks.most()
    }

    /// The same of each LUN.
    pub fn deepest_of_luns(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.luns.iter().map(|l| (l.lun, l.deepest))
    }

    /// Whether anything is under way: commands, or copies in the background.
    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Establishes a unit attention condition for this nexus.
    pub fn attention(&mut self, lu: LuId, asc: Asc) {
        for l in self.luns.iter_mut().filter(|l| l.lu == lu) {
            l.attentions.raise(asc);
        }
    }

    /// A header is there: decides where its payload goes, if not nowhere.
    fn begin<H: Host>(&mut self, h: &mut H, bhs: &Bhs, ahs: &[u8], dest: &mut Dest) -> Result<(), Close> {
        match bhs.opcode() {
            Opcode::SCSI_COMMAND => self.scsi_command(h, bhs, ahs, dest),
            Opcode::DATA_OUT => self.data_out(h, DataOut::from_bhs(bhs.as_bhs()), dest),
            Opcode::NOP_OUT | Opcode::TEXT_REQUEST => *dest = self.gather(bhs.data_len())?,
            Opcode::LOGIN_REQUEST => return self.give_up("Login Request in full feature phase"),
            _ => {}
        }
        Ok(())
    }

    /// A PDU is complete; `kept` bytes of its payload are in the slot of its task.
    fn complete<H: Host>(&mut self, h: &mut H, bhs: &Bhs, kept: u32, intact: bool) -> Result<(), Close> {
        if !intact && !self.outlives_spoilt_data(h, bhs) {
            return Ok(());
        }
        match bhs.opcode() {
            Opcode::SCSI_COMMAND => self.command_complete(h, bhs, kept),
            Opcode::DATA_OUT => {
                let pdu = DataOut::from_bhs(bhs.as_bhs());
                if let Some((id, solicited)) = self.data_out_task(pdu) {
                    self.data_taken(id, pdu.buffer_offset.get(), kept);
                    self.data_out_done(h, id, solicited, bhs.flags & flags::FINAL != 0);
                }
            }
            Opcode::NOP_OUT => self.nop_out(h, bhs),
            Opcode::TEXT_REQUEST => self.text(h, bhs),
            Opcode::TASK_MGMT_REQUEST => self.task_management(h, bhs),
            Opcode::LOGOUT_REQUEST => self.logout(h, bhs),
            Opcode::SNACK_REQUEST => self.reject(h, bhs, RejectReason::SNACK_REJECT),
            _ => self.reject(h, bhs, RejectReason::COMMAND_NOT_SUPPORTED),
        }
        Ok(())
    }

    /// A SCSI Command PDU is complete.
    fn command_complete<H: Host>(&mut self, h: &mut H, bhs: &Bhs, kept: u32) {
        let opened = self.opened.take();
        if std::mem::take(&mut self.unproven) {
            self.take_number(bhs);
            self.tell_if_gone(h, opened);
        }
        if let Some(id) = opened {
            self.start_deferred(h, id);
            self.data_taken(id, 0, kept);
            self.data_out_done(h, id, None, bhs.flags & flags::FINAL != 0);
        }
    }

    /// A command that was ended by others while its data came has no answer any more that would tell of its number.
    fn tell_if_gone<H: Host>(&mut self, h: &mut H, id: Option<TaskId>) {
        if id.is_some_and(|id| self.tasks.get(id).is_none()) {
            self.tell_window(h);
        }
    }

    /// Payload whose digest is wrong: Reject, and the PDU is discarded. Data of a command does not end it so: that
    /// fails when the rest has passed. Any other request counts as never received (RFC 7143 sections 7.3 and 7.8).
    /// Whether the PDU is still to be dealt with.
    fn outlives_spoilt_data<H: Host>(&mut self, h: &mut H, bhs: &Bhs) -> bool {
        if bhs.opcode() == Opcode::SCSI_COMMAND {
            self.discard_command(h, bhs);
        }
        self.reject(h, bhs, RejectReason::DATA_DIGEST_ERROR);
        if bhs.opcode() != Opcode::DATA_OUT {
            return false;
        }
        if let Some((id, _)) = self.data_out_task(DataOut::from_bhs(bhs.as_bhs())) {
            self.data_spoilt(id);
        }
        true
    }

    /// A command whose immediate data is spoilt. One that was ended by others, and answered for it, has used its number.
    fn discard_command<H: Host>(&mut self, h: &mut H, bhs: &Bhs) {
        let unproven = std::mem::take(&mut self.unproven);
        match self.opened.take() {
            Some(id) if self.tasks.get(id).is_some() => self.abort_tasks(h, &[id]),
            _ if unproven && !self.forget_aborted(bhs.itt.get()) => self.take_number(bhs),
            _ => {}
        }
    }

    /// Puts a task at the end of the queue for slots.
    fn park<H: Host>(&mut self, h: &mut H, id: TaskId) {
        self.parked.push_back(id);
        h.wants_slots();
    }

    /// There are slots again: tasks go on as far as these reach. Returns whether none waits any more.
    pub fn resume<H: Host>(&mut self, h: &mut H) -> bool {
        while let Some(id) = self.parked.pop_front() {
            let served = match self.tasks.get(id) {
                Some(Task { work: Work::Reading(_), .. }) => self.start_disk_reads(h, id),
                Some(Task { work: Work::Taking(_), .. }) => self.retry_taking(h, id),
                Some(Task { work: Work::Verifying { .. }, .. }) => self.retry_verifying(h, id),
                Some(Task { work: Work::Copying(_), .. }) => self.start_lanes(h, id),
                Some(Task { work: Work::Passing(_), .. }) => self.retry_passing(h, id),
                _ => true,
            };
            if !served {
                self.parked.push_front(id);
                return false;
            }
        }
        true
    }

    /// Takes an answered task out of the table; its slots go back.
    fn close_task<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(id).filter(|task| !task.background) {
            let bytes = task.actual.min(u64::from(task.edtl)) as u32;
            h.answered(&task.watch.stop(task.lu, bytes, h.now()));
        }
        if !self.take_out(id, |buf| h.free(buf)) {
            return;
        }
        self.advance(h);
        if !self.managing.pending.is_empty() {
            // A function may have waited for the data of this one, which does not come any more.
            self.act_when_ready(h);
        }
    }

    /// Takes a task out of the table and out of its task set; whether it was there. `leaves` hears of each slot that is
    /// left, but for the one that payload is on its way into.
    fn take_out(&mut self, id: TaskId, mut leaves: impl FnMut(BufId)) -> bool {
        let Some(task) = self.tasks.get(id) else { return false };
        if !self.sets.are_plain() {
            self.sets.leave(id, task);
        }
        if let Some(l) = task.place().and_then(|m| self.luns.get_mut(m)) {
            l.open -= 1;
        }
        let receiving = self.rx.orphan(id);
        for buf in task.work.slots() {
            if Some(buf) != receiving {
                leaves(buf);
            }
        }
        self.tasks.close(id)
    }

    /// The connection is gone and nothing of it is in flight: everything that is still held goes back. Tasks must
    /// have been aborted before ([`Session::abort_all`]).
    pub fn finish<H: Host>(&mut self, h: &mut H) {
        if let Some(buf) = self.take_orphan() {
            h.free(buf);
        }
    }
}

/// The SCSI ports of a target: its portal groups.
fn ports_of(target: &Target) -> Vec<Port> {
    target.tpgs.iter().map(|group| Port { tag: group.tag, relative: group.relative_port }).collect()
}

/// What a new nexus has yet to be told (SAM-6 section 6.2: power on, as far as it can know).
fn power_on() -> Attentions {
    let mut attentions = Attentions::new();
    attentions.raise(Asc::POWER_ON_OR_RESET);
    attentions
}

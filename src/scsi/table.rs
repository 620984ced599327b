//! The commands: one row each, and a row is the only place that knows a command exists.
//!
//! From the rows come dispatch (by opcode and, where there is one, service action), the rules that
//! hold for all commands, and what REPORT SUPPORTED OPERATION CODES says. To add a command is to
//! add a row and its handler.

use bitflags::bitflags;

use super::cdb::{Cdb, VARIABLE};
use super::check::{bad_field, unknown_opcode};
use super::reserve::{self, Needs};
use super::{Answered, Context, DeviceType, Failure, Lu, LuFacts};
use super::{
    alua, buffer, clock, copy, diagnostic, drive, format, inquiry, label, lists, log, medium, misc, mode,
    multimedia, rsoc, sanitize, space, verify, whole,
};

pub(super) const TEST_UNIT_READY: u8 = 0x00;
pub(super) const REQUEST_SENSE: u8 = 0x03;
pub(super) const FORMAT_UNIT: u8 = 0x04;
pub(super) const INQUIRY: u8 = 0x12;
pub(super) const MODE_SELECT6: u8 = 0x15;
pub(super) const WRITE_BUFFER: u8 = 0x3b;
pub(super) const READ_BUFFER10: u8 = 0x3c;
pub(super) const READ10: u8 = 0x28;
pub(super) const WRITE10: u8 = 0x2a;
pub(super) const SANITIZE: u8 = 0x48;
pub(super) const READ16: u8 = 0x88;
pub(super) const WRITE16: u8 = 0x8a;
pub(super) const READ_BUFFER16: u8 = 0x9b;
pub(crate) const REPORT_LUNS: u8 = 0xa0;

bitflags! {
    /// What holds for a command besides its handler.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Traits: u16 {
        /// It leaves unit attentions pending (SAM-6 section 5.14.5).
        const PASSES_ATTENTION = 1;
        /// It needs the medium, so not while the logical unit is stopped.
        const MEDIUM = 2;
        /// It changes the medium.
        const WRITES = 4;
        /// It exists only on thinly provisioned logical units.
        const THIN = 8;
        /// It needs a medium that is there, though the logical unit may be stopped.
        const LOADED = 16;
        /// It exists only on logical units with removable medium.
        const REMOVABLE = 32;
        /// It exists only on logical units that write atomically.
        const ATOMIC = 128;
        /// It exists only where what it sets can be saved.
        const SAVES = 64;
        /// A port in the standby state serves it (SPC-5 section 5.17.2.4).
        const STANDBY = 256;
        /// A port in the unavailable state serves it.
        const UNAVAILABLE = 512;
        /// A port whose state changes serves it.
        const TRANSITIONING = 1024;
        /// It exists only where initiators may change the state of some target port group.
        const EXPLICIT = 2048;
        /// It exists only on disks, as everything that changes the medium does.
        const DISK = 4096;
        /// It exists only on drives of the multimedia command set.
        const MULTIMEDIA = 8192;
        /// It exists only where there is one target port group.
        const ONE_GROUP = 16384;
    }
}

/// Begins a command.
pub(super) type Start = fn(&Cdb, &Lu, &mut Context<'_>, &mut [u8]) -> Answered;
/// Goes on with it when its parameter list is there.
pub(super) type Params = fn(&Cdb, &Lu, &mut Context<'_>, &[u8], &mut [u8]) -> Answered;

/// All that is known about one command.
#[derive(Debug)]
pub(super) struct Row {
    /// The operation code.
    pub(super) opcode: u8,
    /// The service action, where the opcode has them.
    pub(super) action: Option<u16>,
    /// CDB usage data (SPC-5 section 6.35.3): the opcode, then a one for each bit that is looked at.
    /// Its length is the CDB's.
    pub(super) usage: &'static [u8],
    /// Where CONTROL is: the last byte, but byte 1 of a variable-length CDB.
    pub(super) control: u8,
    /// What reservations must allow.
    pub(super) needs: Needs,
    pub(super) traits: Traits,
    pub(super) start: Start,
    pub(super) params: Option<Params>,
}

impl Row {
    /// Whether the logical unit has the command.
    #[inline]
    pub(super) fn on(&self, facts: &LuFacts) -> bool {
        let usual = !self.traits.intersects(CONDITIONS) && facts.device == DeviceType::Disk;
        usual || self.meets(facts)
    }

    /// Out of line: the commands of every I/O have no conditions.
    #[cold]
    fn meets(&self, facts: &LuFacts) -> bool {
        let has = |needed, there| !self.traits.intersects(needed) || there;
        has(Traits::DISK.union(Traits::WRITES), facts.device == DeviceType::Disk)
            && has(Traits::THIN, facts.thin.is_some())
            && has(Traits::REMOVABLE, facts.removable)
            && has(Traits::ATOMIC, facts.atomic.is_some())
            && has(Traits::SAVES, facts.saves)
            && has(Traits::EXPLICIT, facts.groups.any_explicit())
            && has(Traits::MULTIMEDIA, facts.device == DeviceType::Cdrom)
            && has(Traits::ONE_GROUP, facts.groups.is_one())
    }
}

/// What [`Row::meets`] looks at.
const CONDITIONS: Traits = Traits::THIN
    .union(Traits::REMOVABLE)
    .union(Traits::ATOMIC)
    .union(Traits::SAVES)
    .union(Traits::EXPLICIT)
    .union(Traits::MULTIMEDIA)
    .union(Traits::ONE_GROUP);

const NONE: Traits = Traits::empty();
const STANDBY: Traits = Traits::STANDBY;
const EVERY_STATE: Traits = STANDBY.union(Traits::UNAVAILABLE).union(Traits::TRANSITIONING);
const EXEMPT: Traits = Traits::PASSES_ATTENTION.union(EVERY_STATE);
/// Without the capacity, an initiator that finds a port in standby could not make a disk of it.
const CAPACITY: Traits = Traits::LOADED.union(STANDBY);
const MEDIUM: Traits = Traits::MEDIUM;
const WRITES: Traits = Traits::MEDIUM.union(Traits::WRITES);
const ATOMIC: Traits = WRITES.union(Traits::ATOMIC);
const UNMAPS: Traits = WRITES.union(Traits::THIN);
const SAVES: Traits = Traits::SAVES;
const DRIVE: Traits = Traits::MULTIMEDIA;
const DISC: Traits = Traits::MULTIMEDIA.union(Traits::MEDIUM);
const DRIVE_EXEMPT: Traits = EXEMPT.union(Traits::MULTIMEDIA);
const SET_GROUPS: Traits = Traits::EXPLICIT.union(STANDBY).union(Traits::UNAVAILABLE);

const fn row(usage: &'static [u8], needs: Needs, traits: Traits, start: Start) -> Row {
    let control = if usage[0] == VARIABLE { 1 } else { usage.len() as u8 - 1 };
    Row { opcode: usage[0], action: None, usage, control, needs, traits, start, params: None }
}

impl Row {
    /// For that service action, which the usage data also give.
    const fn action(mut self, action: u16) -> Self {
        self.action = Some(action);
        self
    }

    const fn params(mut self, params: Params) -> Self {
        self.params = Some(params);
        self
    }

    /// Not for drives, though it changes nothing.
    const fn disk(mut self) -> Self {
        self.traits = self.traits.union(Traits::DISK);
        self
    }
}

use Needs::{NoLegacy, Nothing, Reading, Writing};

/// The rows, by opcode and service action.
pub(super) static ROWS: &[Row] = &[
    // TEST UNIT READY
    row(&[0x00, 0, 0, 0, 0, 4], NoLegacy, MEDIUM, misc::test_unit_ready),
    // REQUEST SENSE
    row(&[0x03, 1, 0, 0, 0xff, 4], Nothing, EXEMPT, misc::request_sense),
    // FORMAT UNIT
    row(&[FORMAT_UNIT, 0x3f, 0, 0, 0, 4], Writing, WRITES, format::format).params(format::format_params),
    // READ(6)
    row(&[0x08, 0x1f, 0xff, 0xff, 0xff, 4], Reading, MEDIUM, medium::read6).disk(),
    // WRITE(6)
    row(&[0x0a, 0x1f, 0xff, 0xff, 0xff, 4], Writing, WRITES, medium::write6),
    // INQUIRY
    row(&[0x12, 1, 0xff, 0xff, 0xff, 4], Nothing, EXEMPT, inquiry::inquiry),
    // MODE SELECT(6)
    row(&[0x15, 0x13, 0, 0, 0xff, 4], Writing, STANDBY, mode::select).params(mode::select_params),
    // RESERVE(6)
    row(&[0x16, 0x11, 0, 0, 0, 4], NoLegacy, NONE, reserve::reserve6),
    // RELEASE(6)
    row(&[0x17, 0x11, 0, 0, 0, 4], Nothing, NONE, reserve::release6),
    // MODE SENSE(6)
    row(&[0x1a, 0x08, 0xff, 0xff, 0xff, 4], Reading, STANDBY, mode::sense6),
    // START STOP UNIT
    row(&[0x1b, 1, 0, 0x0f, 0xf7, 4], Nothing, NONE, drive::start_stop),
    // RECEIVE DIAGNOSTIC RESULTS
    row(&[0x1c, 1, 0xff, 0xff, 0xff, 4], Reading, STANDBY, diagnostic::receive),
    // SEND DIAGNOSTIC
    row(&[0x1d, 0xf4, 0, 0xff, 0xff, 4], Writing, STANDBY, diagnostic::send).params(diagnostic::send_params),
    // PREVENT ALLOW MEDIUM REMOVAL
    row(&[0x1e, 0, 0, 0, 3, 4], Nothing, Traits::REMOVABLE, drive::prevent_allow),
    // READ CAPACITY(10)
    row(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 4], Nothing, CAPACITY, misc::capacity10),
    // READ(10)
    row(&[0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Reading, MEDIUM, medium::read10),
    // WRITE(10)
    row(&[0x2a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Writing, WRITES, medium::write10),
    // SEEK(10)
    row(&[0x2b, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4], Reading, DISC, multimedia::seek),
    // WRITE AND VERIFY(10)
    row(&[0x2e, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Writing, WRITES, verify::write_verify10),
    // VERIFY(10)
    row(&[0x2f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Reading, MEDIUM, verify::verify10),
    // PRE-FETCH(10)
    row(&[0x34, 2, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Reading, MEDIUM, medium::prefetch10).disk(),
    // SYNCHRONIZE CACHE(10)
    row(&[0x35, 2, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Writing, MEDIUM, medium::synchronize10).disk(),
    // READ DEFECT DATA(10)
    row(&[0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 4], Reading, MEDIUM, lists::defects10).disk(),
    // WRITE BUFFER
    row(&[0x3b, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4], Writing, EVERY_STATE, buffer::write)
        .params(buffer::write_params),
    // READ BUFFER(10)
    row(&[0x3c, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4], Reading, EVERY_STATE, buffer::read),
    // WRITE SAME(10)
    row(&[0x41, 0xfe, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Writing, WRITES, space::write_same10),
    // UNMAP
    row(&[0x42, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 4], Writing, UNMAPS, space::unmap).params(space::unmap_params),
    // READ TOC/PMA/ATIP
    row(&[0x43, 2, 0x0f, 0, 0, 0, 0xff, 0xff, 0xff, 4], Reading, DISC, multimedia::read_toc),
    // GET CONFIGURATION
    row(&[0x46, 3, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 4], Nothing, DRIVE_EXEMPT, multimedia::configuration),
    // SANITIZE: OVERWRITE, BLOCK ERASE, EXIT FAILURE MODE
    row(&[SANITIZE, 0xa1, 0, 0, 0, 0, 0, 0xff, 0xff, 4], Writing, WRITES, sanitize::overwrite)
        .action(0x01)
        .params(sanitize::overwrite_params),
    row(&[SANITIZE, 0xa2, 0, 0, 0, 0, 0, 0, 0, 4], Writing, UNMAPS, sanitize::block_erase).action(0x02),
    row(&[SANITIZE, 0x1f, 0, 0, 0, 0, 0, 0, 0, 4], Writing, WRITES, sanitize::exit_failure).action(0x1f),
    // GET EVENT STATUS NOTIFICATION
    row(&[0x4a, 1, 0, 0, 0xff, 0, 0, 0xff, 0xff, 4], Nothing, DRIVE_EXEMPT, multimedia::event_status),
    // LOG SELECT
    row(&[0x4c, 3, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 4], Writing, STANDBY, log::select)
        .params(log::select_params),
    // LOG SENSE
    row(&[0x4d, 3, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 4], Nothing, STANDBY, log::sense),
    // READ DISC INFORMATION
    row(&[0x51, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 4], Reading, DISC, multimedia::disc_information),
    // READ TRACK INFORMATION
    row(&[0x52, 7, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 4], Reading, DISC, multimedia::track_information),
    // MODE SELECT(10)
    row(&[0x55, 0x13, 0, 0, 0, 0, 0, 0xff, 0xff, 4], Writing, STANDBY, mode::select)
        .params(mode::select_params),
    // RESERVE(10)
    row(&[0x56, 0x13, 0, 0, 0, 0, 0, 0, 0, 4], NoLegacy, NONE, reserve::reserve10),
    // RELEASE(10)
    row(&[0x57, 0x13, 0, 0, 0, 0, 0, 0, 0, 4], Nothing, NONE, reserve::release10),
    // MODE SENSE(10)
    row(&[0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 4], Reading, STANDBY, mode::sense10),
    // PERSISTENT RESERVE IN: READ KEYS, READ RESERVATION, REPORT CAPABILITIES, READ FULL STATUS
    row(PR_IN[0], Nothing, STANDBY, reserve::read_keys).action(0),
    row(PR_IN[1], Nothing, STANDBY, reserve::read_reservation).action(1),
    row(PR_IN[2], Nothing, STANDBY, reserve::report_capabilities).action(2),
    row(PR_IN[3], Nothing, STANDBY, reserve::read_full_status).action(3),
    // PERSISTENT RESERVE OUT: REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT,
    // REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE, REPLACE LOST RESERVATION
    row(PR_OUT[0], Nothing, STANDBY, reserve::out).action(0).params(reserve::out_params),
    row(PR_OUT[1], Nothing, STANDBY, reserve::out).action(1).params(reserve::out_params),
    row(PR_OUT[2], Nothing, STANDBY, reserve::out).action(2).params(reserve::out_params),
    row(PR_OUT[3], Nothing, STANDBY, reserve::out).action(3).params(reserve::out_params),
    row(PR_OUT[4], Nothing, STANDBY, reserve::out).action(4).params(reserve::out_params),
    row(PR_OUT[5], Nothing, STANDBY, reserve::out).action(5).params(reserve::out_params),
    row(PR_OUT[6], Nothing, STANDBY, reserve::out).action(6).params(reserve::out_params),
    row(PR_OUT[7], Nothing, STANDBY, reserve::out).action(7).params(reserve::out_params),
    row(PR_OUT[8], Nothing, STANDBY, reserve::out).action(8).params(reserve::out_params),
    // READ(32), VERIFY(32), WRITE(32), WRITE AND VERIFY(32), WRITE SAME(32)
    row(&usage32(0x09, 0xf8), Reading, MEDIUM, medium::read32).action(0x09).disk(),
    row(&usage32(0x0a, 0xf6), Reading, MEDIUM, verify::verify32).action(0x0a).disk(),
    row(&usage32(0x0b, 0xf8), Writing, WRITES, medium::write32).action(0x0b),
    row(&usage32(0x0c, 0xf6), Writing, WRITES, verify::write_verify32).action(0x0c),
    row(&usage32(0x0d, 0xff), Writing, WRITES, space::write_same32).action(0x0d),
    // THIRD-PARTY COPY OUT: EXTENDED COPY(LID1), EXTENDED COPY(LID4), COPY OPERATION ABORT
    row(COPY_OUT[0], Writing, NONE, copy::extended).action(0).params(copy::extended_lid1).disk(),
    row(COPY_OUT[1], Writing, NONE, copy::extended).action(1).params(copy::extended_lid4).disk(),
    row(COPY_OUT[2], Reading, MEDIUM, copy::extended).action(0x10).params(copy::populate).disk(),
    row(COPY_OUT[3], Writing, WRITES, copy::extended).action(0x11).params(copy::write_by_token).disk(),
    row(COPY_OUT[4], Writing, NONE, copy::abort).action(0x1c).disk(),
    // THIRD-PARTY COPY IN: RECEIVE COPY STATUS(LID1), DATA(LID1), OPERATING PARAMETERS,
    // FAILURE DETAILS(LID1), STATUS(LID4)
    row(COPY_IN[0], NoLegacy, NONE, copy::status_lid1).action(0).disk(),
    row(COPY_IN[1], NoLegacy, NONE, copy::data_lid1).action(1).disk(),
    row(COPY_IN[2], NoLegacy, NONE, copy::parameters).action(3).disk(),
    row(COPY_IN[3], NoLegacy, NONE, copy::failure_lid1).action(4).disk(),
    row(COPY_IN[4], NoLegacy, NONE, copy::status_lid4).action(5).disk(),
    row(COPY_IN[5], NoLegacy, NONE, copy::token_information).action(7).disk(),
    row(COPY_IN[6], NoLegacy, NONE, copy::all_tokens).action(8).disk(),
    // READ(16)
    row(&usage16(0x88, 0xf8), Reading, MEDIUM, medium::read16).disk(),
    // COMPARE AND WRITE
    row(&COMPARE_AND_WRITE, Writing, WRITES, whole::compare_and_write),
    // WRITE(16)
    row(&usage16(0x8a, 0xf8), Writing, WRITES, medium::write16),
    // ORWRITE(16)
    row(&usage16(0x8b, 0xf8), Writing, WRITES, whole::or_write),
    // WRITE AND VERIFY(16)
    row(&usage16(0x8e, 0xf6), Writing, WRITES, verify::write_verify16),
    // VERIFY(16)
    row(&usage16(0x8f, 0xf6), Reading, MEDIUM, verify::verify16).disk(),
    // PRE-FETCH(16)
    row(&usage16(0x90, 2), Reading, MEDIUM, medium::prefetch16).disk(),
    // SYNCHRONIZE CACHE(16)
    row(&usage16(0x91, 2), Writing, MEDIUM, medium::synchronize16).disk(),
    // WRITE SAME(16)
    row(&usage16(0x93, 0xff), Writing, WRITES, space::write_same16),
    // READ BUFFER(16)
    row(
        &[0x9b, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4],
        Reading,
        EVERY_STATE,
        buffer::read,
    )
    .disk(),
    // WRITE ATOMIC(16)
    row(&usage16(0x9c, 0xf8), Writing, ATOMIC, whole::write_atomic),
    // READ CAPACITY(16)
    row(
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
        Nothing,
        CAPACITY,
        misc::capacity16,
    )
    .action(0x10)
    .disk(),
    // GET LBA STATUS(16)
    row(&GET_LBA_STATUS, Reading, MEDIUM, lists::lba_status).action(0x12).disk(),
    // REPORT REFERRALS
    row(&REPORT_REFERRALS, NoLegacy, Traits::ONE_GROUP, alua::referrals).action(0x13).disk(),
    // REPORT LUNS
    row(&[0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], Nothing, EXEMPT, misc::report_luns),
    // REPORT IDENTIFYING INFORMATION
    row(&[0xa3, 0x05, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 4], Nothing, NONE, label::report)
        .action(0x05)
        .disk(),
    // REPORT TARGET PORT GROUPS
    row(&[0xa3, 0xea, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], NoLegacy, EVERY_STATE, alua::report)
        .action(0x0a),
    // REPORT SUPPORTED OPERATION CODES
    row(&[0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 4], Reading, NONE, rsoc::opcodes)
        .action(0x0c),
    // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    row(&[0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], Reading, NONE, rsoc::functions)
        .action(0x0d),
    // REPORT TIMESTAMP
    row(&[0xa3, 0x0f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], NoLegacy, NONE, clock::report)
        .action(0x0f)
        .disk(),
    // SET IDENTIFYING INFORMATION
    row(&[0xa4, 0x06, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 4], Writing, SAVES, label::set)
        .action(0x06)
        .params(label::set_params)
        .disk(),
    // SET TARGET PORT GROUPS
    row(&[0xa4, 0x0a, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], Writing, SET_GROUPS, alua::set)
        .action(0x0a)
        .params(alua::set_params),
    // SET TIMESTAMP
    row(&[0xa4, 0x0f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], Writing, NONE, clock::set)
        .action(0x0f)
        .params(clock::set_params)
        .disk(),
    // READ(12)
    row(&usage12(0xa8, 0xf8), Reading, MEDIUM, medium::read12),
    // WRITE(12)
    row(&usage12(0xaa, 0xf8), Writing, WRITES, medium::write12),
    // GET PERFORMANCE
    row(
        &[0xac, 0x1f, 0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 4],
        Reading,
        DISC,
        multimedia::performance,
    ),
    // READ DISC STRUCTURE
    row(&[0xad, 0x0f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4], Reading, DISC, multimedia::disc_structure),
    // WRITE AND VERIFY(12)
    row(&usage12(0xae, 0xf6), Writing, WRITES, verify::write_verify12),
    // VERIFY(12)
    row(&usage12(0xaf, 0xf6), Reading, MEDIUM, verify::verify12).disk(),
    // SET STREAMING
    row(&[0xb6, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 4], Reading, DISC, multimedia::set_streaming)
        .params(multimedia::set_streaming_params),
    // READ DEFECT DATA(12)
    row(
        &[0xb7, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 4],
        Reading,
        MEDIUM,
        lists::defects12,
    )
    .disk(),
    // READ CD MSF
    row(
        &[0xb9, 0x1c, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 7, 4],
        Reading,
        DISC,
        multimedia::read_cd_msf,
    ),
    // SET CD SPEED
    row(&[0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], Reading, DRIVE, multimedia::set_speed),
    // MECHANISM STATUS
    row(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 4], NoLegacy, DRIVE, multimedia::mechanism_status),
    // READ CD
    row(
        &[0xbe, 0x1c, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 7, 4],
        Reading,
        DISC,
        multimedia::read_cd,
    ),
];

/// Usage data of COMPARE AND WRITE, whose length is one byte.
const COMPARE_AND_WRITE: [u8; 16] = {
    let f = 0xff;
    [0x89, 0xf8, f, f, f, f, f, f, f, f, 0, 0, 0, f, 0, 4]
};

/// Usage data of GET LBA STATUS(16), whose last field is REPORT TYPE.
const GET_LBA_STATUS: [u8; 16] = {
    let mut usage = usage16(0x9e, 0x12);
    usage[14] = 0xff;
    usage
};

/// Usage data of REPORT REFERRALS, whose last field is ONE_SEG.
const REPORT_REFERRALS: [u8; 16] = {
    let mut usage = usage16(0x9e, 0x13);
    usage[14] = 1;
    usage
};

/// Usage data of the 12-byte commands with an LBA and a length.
const fn usage12(opcode: u8, flags: u8) -> [u8; 12] {
    [opcode, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 4]
}

/// Usage data of the 16-byte commands with an LBA and a length.
const fn usage16(opcode: u8, flags: u8) -> [u8; 16] {
    let f = 0xff;
    [opcode, flags, f, f, f, f, f, f, f, f, f, f, f, f, 0, 4]
}

/// Usage data of the variable-length commands with an LBA and a length. The expected tags are not
/// looked at where there is no protection information.
const fn usage32(action: u8, flags: u8) -> [u8; 32] {
    let mut usage = [0xff; 32];
    let head = [VARIABLE, 4, 0, 0, 0, 0, 0, 0x18, 0, action, flags, 0];
    let mut at = 0;
    while at < usage.len() {
        match at {
            0..12 => usage[at] = head[at],
            20..28 => usage[at] = 0,
            _ => {}
        }
        at += 1;
    }
    usage
}

/// Usage data of PERSISTENT RESERVE IN by service action.
const PR_IN: [&[u8]; 4] = [
    &[0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 4],
    &[0x5e, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 4],
    &[0x5e, 2, 0, 0, 0, 0, 0, 0xff, 0xff, 4],
    &[0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 4],
];

/// Usage data of PERSISTENT RESERVE OUT by service action; scope and type count where used.
const PR_OUT: [&[u8]; 9] = [
    &[0x5f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 1, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 2, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 4, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 5, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
    &[0x5f, 8, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 4],
];

/// Usage data of THIRD-PARTY COPY OUT.
const COPY_OUT: [&[u8]; 5] = [
    &[0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x83, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x83, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x83, 0x11, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x83, 0x1c, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
];

/// Usage data of THIRD-PARTY COPY IN; list identifiers have one byte, or four.
const COPY_IN: [&[u8]; 7] = [
    &[0x84, 0x00, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x84, 0x01, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x84, 0x04, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x84, 0x05, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x84, 0x07, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
    &[0x84, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 4],
];

/// No row has that opcode.
const UNKNOWN: u8 = 0xff;

/// The first row of each opcode.
static FIRST: [u8; 256] = first_rows();

const fn first_rows() -> [u8; 256] {
    assert!(ROWS.len() < UNKNOWN as usize);
    let mut first = [UNKNOWN; 256];
    let mut at = ROWS.len();
    while at > 0 {
        at -= 1;
        first[ROWS[at].opcode as usize] = at as u8;
    }
    first
}

/// The rows that have an opcode, in order of service action; none, if the logical unit lacks it.
#[inline]
pub(super) fn rows(opcode: u8, facts: &LuFacts) -> impl Iterator<Item = &'static Row> {
    let from = ROWS.get(usize::from(FIRST[usize::from(opcode)])..).unwrap_or(&[]);
    from.iter().take_while(move |row| row.opcode == opcode).filter(move |row| row.on(facts))
}

/// What holds for a command besides its handler, on whatever logical unit; nothing, where no row has it.
pub(super) fn traits(cdb: &Cdb) -> Traits {
    let rows = ROWS.get(usize::from(FIRST[usize::from(cdb.opcode())])..).unwrap_or(&[]);
    let mut same = rows.iter().take_while(|row| row.opcode == cdb.opcode());
    let row = same.find(|row| row.action.is_none_or(|action| action == cdb.service_action()));
    row.map_or(Traits::empty(), |row| row.traits)
}

/// The row of a command, or why it has none: an unknown opcode, or an unknown service action.
#[inline]
pub(super) fn find(cdb: &Cdb, facts: &LuFacts) -> Result<&'static Row, Failure> {
    match ROWS.get(usize::from(FIRST[usize::from(cdb.opcode())])) {
        Some(row) if row.action.is_none() && row.on(facts) => Ok(row),
        _ => find_action(cdb, facts),
    }
}

/// Out of line: the commands of every I/O have no service actions.
#[cold]
fn find_action(cdb: &Cdb, facts: &LuFacts) -> Result<&'static Row, Failure> {
    let mut known = rows(cdb.opcode(), facts).peekable();
    if known.peek().is_none() {
        return Err(unknown_opcode());
    }
    let (byte, bit) = if cdb.opcode() == VARIABLE { (8, 7) } else { (1, 4) };
    let row =
        known.find(|row| row.action == Some(cdb.service_action())).ok_or_else(|| bad_field(byte, bit))?;
    // ADDITIONAL CDB LENGTH, and as much must have come.
    let length = row.usage.len();
    let whole = usize::from(cdb.u8::<7>()) + 8 == length && cdb.len() >= length;
    if cdb.opcode() != VARIABLE || whole { Ok(row) } else { Err(bad_field(7, 7)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_distinct() {
        let keys: Vec<_> = ROWS.iter().map(|r| (r.opcode, r.action)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }

    #[test]
    fn an_opcode_has_service_actions_or_none() {
        for pair in ROWS.windows(2).filter(|pair| pair[0].opcode == pair[1].opcode) {
            assert!(pair.iter().all(|row| row.action.is_some()));
        }
    }

    #[test]
    fn usage_data_has_the_length_of_its_group() {
        for row in ROWS {
            let want = match row.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                3 => 32,
                5 => 12,
                group => panic!("group {group} has no fixed length"),
            };
            assert_eq!(row.usage.len(), want, "opcode {:#04x}", row.opcode);
            assert_eq!(row.usage[usize::from(row.control)], 4, "CONTROL: only NACA is looked at");
            let used = Cdb::new(row.usage).service_action();
            assert_eq!(used, row.action.unwrap_or(used), "opcode {:#04x}", row.opcode);
        }
    }
}

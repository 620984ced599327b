//! The commands that a device gets, those that are answered here, and those that are refused, with the reasons: one row
//! each. What has no row is refused, so vendor specific operation codes are, and CDBs longer than 16 bytes (with
//! protection information, or wrapped around ATA commands and other CDBs: 7Eh, 7Fh).
//!
//! A device of one kind has the rows of its kind, and those that all have.

use super::super::Failure;
use super::super::cdb::Cdb;
use super::super::check::{bad_field, unknown_opcode};
use super::super::reserve::Needs::{self, NoLegacy, Nothing, Reading, Writing};
use super::lists::{self, Judge};
use super::{Amount, DeviceKind, PassData};

/// A command.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) opcode: u8,
    /// The service action, where the operation code has them.
    pub(super) action: Option<u8>,
    pub(super) verdict: Verdict,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is answered here, for each initiator.
    Own,
    /// The device gets it.
    Pass(Passing),
    /// Nobody gets it.
    Refuse,
}

/// What the lengths in a CDB are measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Bytes of a block.
    pub(super) block: u32,
    /// The longest transfer, in bytes.
    pub(super) most: u32,
}

type Moves = Result<PassData, Failure>;
type Shape = fn(&mut Cdb, Scale) -> Moves;
type Check = fn(&Cdb) -> Result<(), Failure>;

/// How the device gets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    needs: Needs,
    /// It changes the medium.
    pub(super) writes: bool,
    /// What it moves; an allocation length in the CDB becomes no more than what can be taken.
    pub(super) data: Shape,
    /// How long it may take, in seconds.
    pub(super) seconds: u32,
    /// What it must not ask for.
    pub(super) check: Check,
    /// What its parameter list must not say, if it is looked at.
    pub(super) list: Option<Judge>,
    /// See [`super::revise()`].
    pub(super) revised: bool,
}

impl Passing {
    const fn new(needs: Needs, data: Shape) -> Self {
        Self { needs, writes: false, data, seconds: USUAL, check: anything, list: None, revised: false }
    }

    /// What reservations must allow. Of two commands it depends on what they ask for (SPC-5 table 67, SBC-4 table 14,
    /// SPC-2 tables 9 and B.2).
    pub(super) fn needs(&self, cdb: &Cdb) -> Needs {
        let harmless = match cdb.opcode() {
            // START STOP UNIT that starts and has no power condition.
            START_STOP => cdb.u8::<4>() & 0xf1 == 0x01,
            // PREVENT ALLOW MEDIUM REMOVAL that allows.
            PREVENT_ALLOW => cdb.u8::<4>() & 0x03 == 0,
            _ => false,
        };
        if harmless { Nothing } else { self.needs }
    }
}

/// What a disk that works answers within its initiators' patience, in seconds.
const USUAL: u32 = 60;
/// What goes over many blocks, or has to move something heavy.
const SLOW: u32 = 600;
/// What goes over all of the medium.
const ENDLESS: u32 = 24 * 3600;

const START_STOP: u8 = 0x1b;
pub(super) const PREVENT_ALLOW: u8 = 0x1e;

const fn own(opcode: u8) -> Rule {
    Rule { opcode, action: None, verdict: Verdict::Own }
}

const fn refuse(opcode: u8) -> Rule {
    Rule { opcode, action: None, verdict: Verdict::Refuse }
}

const fn row(opcode: u8, passing: Passing) -> Rule {
    Rule { opcode, action: None, verdict: Verdict::Pass(passing) }
}

/// A command that leaves the medium as it is.
const fn pass(opcode: u8, needs: Needs, data: Shape) -> Rule {
    row(opcode, Passing::new(needs, data))
}

/// One that may take so long.
const fn wait(opcode: u8, needs: Needs, data: Shape, seconds: u32) -> Rule {
    row(opcode, Passing { seconds, ..Passing::new(needs, data) })
}

/// One that changes the medium, and may take so long.
const fn change(opcode: u8, data: Shape, seconds: u32) -> Rule {
    row(opcode, Passing { writes: true, seconds, ..Passing::new(Writing, data) })
}

/// One that changes the medium, by a list that tells its own length, and may take so long.
const fn listed(opcode: u8, data: Shape, list: Judge, seconds: u32) -> Rule {
    row(opcode, Passing { writes: true, seconds, list: Some(list), ..Passing::new(Writing, data) })
}

/// One whose parameter list is looked at.
const fn judged(opcode: u8, data: Shape, list: Judge) -> Rule {
    row(opcode, Passing { list: Some(list), ..Passing::new(Writing, data) })
}

/// One of whose data-in something is ours.
const fn revised(opcode: u8, needs: Needs, data: Shape) -> Rule {
    row(opcode, Passing { revised: true, ..Passing::new(needs, data) })
}

impl Rule {
    const fn action(self, action: u8) -> Self {
        Self { action: Some(action), ..self }
    }
}

/// What devices of all kinds have.
static COMMON: &[Rule] = &[
    pass(0x00, NoLegacy, nothing),            // TEST UNIT READY
    pass(0x03, Nothing, take::<4, 1>),        // REQUEST SENSE
    revised(0x12, Nothing, take::<3, 2>),     // INQUIRY
    judged(0x15, give::<4, 1>, lists::modes), // MODE SELECT(6)
    own(0x16),                                // RESERVE(6): by one of our initiators, not by all
    own(0x17),                                // RELEASE(6)
    revised(0x1a, Reading, take::<4, 1>),     // MODE SENSE(6)
    wait(START_STOP, Writing, nothing, SLOW),
    pass(0x1c, Reading, take::<3, 2>), // RECEIVE DIAGNOSTIC RESULTS
    row(0x1d, SEND_DIAGNOSTIC),
    pass(PREVENT_ALLOW, Writing, nothing),
    own(0x3b), // WRITE BUFFER: the device has one echo buffer for all; and microcode is for the whole device
    own(0x3c), // READ BUFFER(10)
    pass(0x4c, Writing, give::<7, 2>), // LOG SELECT
    pass(0x4d, Nothing, take::<7, 2>), // LOG SENSE
    judged(0x55, give::<7, 2>, lists::modes), // MODE SELECT(10)
    own(0x56), // RESERVE(10)
    own(0x57), // RELEASE(10)
    revised(0x5a, Reading, take::<7, 2>), // MODE SENSE(10)
    own(0x5e), // PERSISTENT RESERVE IN
    own(0x5f), // PERSISTENT RESERVE OUT
    refuse(0x83), // THIRD-PARTY COPY OUT: reaches what this nexus may not
    refuse(0x84), // THIRD-PARTY COPY IN: likewise tells of it
    refuse(0x85), // ATA PASS-THROUGH(16): commands that nobody has judged
    refuse(0x86), // ACCESS CONTROL IN
    refuse(0x87), // ACCESS CONTROL OUT: may lock this host out
    own(0xa0), // REPORT LUNS: ours, not the device's
    refuse(0xa1), // ATA PASS-THROUGH(12)
    refuse(0xa2), // SECURITY PROTOCOL IN
    refuse(0xb5), // SECURITY PROTOCOL OUT: may lock everybody out
];

/// MAINTENANCE IN and OUT; to optical devices these operation codes are keys of copy protection.
static MAINTENANCE: &[Rule] = &[
    pass(0xa3, Nothing, take::<6, 4>).action(0x05), // REPORT IDENTIFYING INFORMATION
    own(0xa3).action(0x0a),                         // REPORT TARGET PORT GROUPS: our ports
    refuse(0xa3).action(0x0b),                      // REPORT ALIASES: of the whole device
    revised(0xa3, Reading, take::<6, 4>).action(0x0c), // REPORT SUPPORTED OPERATION CODES
    own(0xa3).action(0x0d),                         // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    pass(0xa3, NoLegacy, take::<6, 4>).action(0x0f), // REPORT TIMESTAMP
    pass(0xa4, Writing, give::<6, 4>).action(0x06), // SET IDENTIFYING INFORMATION
    own(0xa4).action(0x0a), // SET TARGET PORT GROUPS: likewise our ports, where their group lets initiators do so
    refuse(0xa4).action(0x0b), // CHANGE ALIASES: of the whole device
    refuse(0xa4).action(0x0e), // SET PRIORITY: of nexuses that are all this host
    refuse(0xa4).action(0x0f), // SET TIMESTAMP: of the whole device
];

/// SBC-4.
static DISK: &[Rule] = &[
    listed(0x04, formatted, lists::format, ENDLESS),  // FORMAT UNIT
    listed(0x07, reassigned, lists::defects, SLOW),   // REASSIGN BLOCKS
    pass(0x08, Reading, read6),                       // READ(6)
    change(0x0a, write6, USUAL),                      // WRITE(6)
    pass(0x25, Nothing, fixed::<8>),                  // READ CAPACITY(10)
    pass(0x28, Reading, read::<7, 2>),                // READ(10)
    change(0x2a, write::<7, 2>, USUAL),               // WRITE(10)
    change(0x2e, write::<7, 2>, USUAL),               // WRITE AND VERIFY(10)
    wait(0x2f, Reading, compare::<7, 2>, SLOW),       // VERIFY(10)
    pass(0x34, Reading, nothing),                     // PRE-FETCH(10)
    wait(0x35, Writing, nothing, SLOW),               // SYNCHRONIZE CACHE(10)
    pass(0x37, Reading, take::<7, 2>),                // READ DEFECT DATA(10)
    pass(0x3e, Reading, take::<7, 2>),                // READ LONG(10)
    change(0x3f, give::<7, 2>, USUAL),                // WRITE LONG(10)
    change(0x41, one_block, SLOW),                    // WRITE SAME(10)
    change(0x42, give::<7, 2>, SLOW),                 // UNMAP
    change(0x48, give::<7, 2>, ENDLESS).action(0x01), // SANITIZE: OVERWRITE
    change(0x48, nothing, ENDLESS).action(0x02),      // BLOCK ERASE
    change(0x48, nothing, ENDLESS).action(0x03),      // CRYPTOGRAPHIC ERASE
    change(0x48, nothing, USUAL).action(0x1f),        // EXIT FAILURE MODE
    pass(0x88, Reading, read::<10, 4>),               // READ(16)
    change(0x89, compare_and_write, USUAL),           // COMPARE AND WRITE
    change(0x8a, write::<10, 4>, USUAL),              // WRITE(16)
    change(0x8b, write::<10, 4>, USUAL),              // ORWRITE(16)
    change(0x8e, write::<10, 4>, USUAL),              // WRITE AND VERIFY(16)
    wait(0x8f, Reading, compare::<10, 4>, SLOW),      // VERIFY(16)
    pass(0x90, Reading, nothing),                     // PRE-FETCH(16)
    wait(0x91, Writing, nothing, SLOW),               // SYNCHRONIZE CACHE(16)
    change(0x93, write_same16, SLOW),                 // WRITE SAME(16)
    change(0x9c, write::<12, 2>, USUAL),              // WRITE ATOMIC(16)
    pass(0x9e, Nothing, take::<10, 4>).action(0x10),  // READ CAPACITY(16)
    pass(0x9e, Reading, take::<12, 2>).action(0x11),  // READ LONG(16)
    pass(0x9e, Reading, take::<10, 4>).action(0x12),  // GET LBA STATUS(16)
    pass(0x9e, NoLegacy, take::<10, 4>).action(0x13), // REPORT REFERRALS
    change(0x9f, give::<12, 2>, USUAL).action(0x11),  // WRITE LONG(16)
    pass(0xa8, Reading, read::<6, 4>),                // READ(12)
    change(0xaa, write::<6, 4>, USUAL),               // WRITE(12)
    change(0xae, write::<6, 4>, USUAL),               // WRITE AND VERIFY(12)
    wait(0xaf, Reading, compare::<6, 4>, SLOW),       // VERIFY(12)
    pass(0xb7, Reading, take::<6, 4>),                // READ DEFECT DATA(12)
];

/// SSC-4. What moves the medium is somebody else's business as much as what writes it.
static TAPE: &[Rule] = &[
    wait(0x01, Writing, nothing, ENDLESS), // REWIND
    change(0x04, give::<3, 2>, ENDLESS),   // FORMAT MEDIUM
    revised(0x05, Nothing, fixed::<6>),    // READ BLOCK LIMITS
    wait(0x08, Writing, tape_read, SLOW),  // READ(6)
    change(0x0a, tape_write, SLOW),        // WRITE(6)
    change(0x10, nothing, SLOW),           // WRITE FILEMARKS(6)
    wait(0x11, Writing, nothing, ENDLESS), // SPACE(6)
    change(0x19, nothing, ENDLESS),        // ERASE(6)
    wait(0x2b, Writing, nothing, ENDLESS), // LOCATE(10)
    pass(0x34, Writing, expected_in),      // READ POSITION
    pass(0x44, NoLegacy, take::<7, 2>),    // REPORT DENSITY SUPPORT
    change(0x80, nothing, SLOW),           // WRITE FILEMARKS(16)
    pass(0x82, Writing, nothing),          // ALLOW OVERWRITE
    pass(0x8c, Reading, take::<10, 4>),    // READ ATTRIBUTE
    change(0x8d, give::<10, 4>, USUAL),    // WRITE ATTRIBUTE
    wait(0x91, Writing, nothing, ENDLESS), // SPACE(16)
    wait(0x92, Writing, nothing, ENDLESS), // LOCATE(16)
    change(0x93, nothing, ENDLESS),        // ERASE(16)
];

/// MMC-6, without burning and without keys.
static OPTICAL: &[Rule] = &[
    pass(0x23, NoLegacy, take::<7, 2>), // READ FORMAT CAPACITIES
    pass(0x25, Nothing, fixed::<8>),    // READ CAPACITY
    pass(0x28, Reading, read::<7, 2>),  // READ(10)
    change(0x2a, write::<7, 2>, USUAL), // WRITE(10)
    wait(0x35, Writing, nothing, SLOW), // SYNCHRONIZE CACHE
    pass(0x42, Reading, take::<7, 2>),  // READ SUB-CHANNEL
    pass(0x43, Reading, take::<7, 2>),  // READ TOC/PMA/ATIP
    pass(0x46, NoLegacy, take::<7, 2>), // GET CONFIGURATION
    pass(0x4a, NoLegacy, take::<7, 2>), // GET EVENT STATUS NOTIFICATION
    pass(0x51, Reading, take::<7, 2>),  // READ DISC INFORMATION
    pass(0x52, Reading, take::<7, 2>),  // READ TRACK INFORMATION
    pass(0x5c, Reading, take::<7, 2>),  // READ BUFFER CAPACITY
    pass(0xa8, Reading, read::<6, 4>),  // READ(12)
    change(0xaa, write::<6, 4>, USUAL), // WRITE(12)
    pass(0xac, Reading, expected_in),   // GET PERFORMANCE
    pass(0xad, Reading, take::<8, 2>),  // READ DISC STRUCTURE
    pass(0xbb, Reading, nothing),       // SET CD SPEED
    pass(0xbd, NoLegacy, take::<8, 2>), // MECHANISM STATUS
    pass(0xbe, Reading, expected_in),   // READ CD
];

/// SMC-3.
static CHANGER: &[Rule] = &[
    wait(0x07, Writing, nothing, ENDLESS), // INITIALIZE ELEMENT STATUS
    wait(0x2b, Writing, nothing, SLOW),    // POSITION TO ELEMENT
    wait(0x37, Writing, nothing, ENDLESS), // INITIALIZE ELEMENT STATUS WITH RANGE
    change(0xa5, nothing, SLOW),           // MOVE MEDIUM
    change(0xa6, nothing, SLOW),           // EXCHANGE MEDIUM
    pass(0xb8, Reading, take::<7, 3>),     // READ ELEMENT STATUS
];

/// SES-3: what SEND DIAGNOSTIC sends is its medium.
static ENCLOSURE: &[Rule] =
    &[row(0x1d, Passing { writes: true, list: Some(lists::enclosures), ..SEND_DIAGNOSTIC })];

const SEND_DIAGNOSTIC: Passing =
    Passing { check: only_this_unit, list: Some(lists::diagnostics), ..Passing::new(Writing, give::<3, 2>) };

/// The rows of a kind; the first that fits counts.
fn tables(kind: DeviceKind) -> [&'static [Rule]; 3] {
    match kind {
        DeviceKind::Disk => [DISK, MAINTENANCE, COMMON],
        DeviceKind::Tape => [TAPE, MAINTENANCE, COMMON],
        DeviceKind::Optical => [OPTICAL, &[], COMMON],
        DeviceKind::Changer => [CHANGER, MAINTENANCE, COMMON],
        DeviceKind::Enclosure => [ENCLOSURE, MAINTENANCE, COMMON],
    }
}

/// All rows of a kind.
pub(super) fn rules(kind: DeviceKind) -> impl Iterator<Item = &'static Rule> + Clone {
    tables(kind).into_iter().flatten()
}

/// What becomes of a command; an error when it is refused.
pub(super) fn find(kind: DeviceKind, cdb: &Cdb) -> Result<&'static Verdict, Failure> {
    find_code(kind, cdb.opcode(), cdb.action())
}

/// Likewise of one that is only named.
pub(super) fn find_code(kind: DeviceKind, opcode: u8, action: u8) -> Result<&'static Verdict, Failure> {
    let mut same = rules(kind).filter(|rule| rule.opcode == opcode);
    let found = same.clone().find(|rule| rule.action.is_none_or(|a| a == action));
    match found.map(|rule| &rule.verdict).filter(|verdict| !matches!(verdict, Verdict::Refuse)) {
        Some(verdict) => Ok(verdict),
        _ if same.any(|rule| rule.action.is_some() && !matches!(rule.verdict, Verdict::Refuse)) => {
            Err(bad_field(1, 4))
        }
        _ => Err(unknown_opcode()),
    }
}

/// How long a CDB is (SPC-5 section 4.2.5.1). Of the groups without a length no command is passed.
pub(super) fn cdb_len(opcode: u8) -> usize {
    match opcode >> 5 {
        0 => 6,
        1 | 2 => 10,
        5 => 12,
        _ => 16,
    }
}

/// Bits 7 to 5 of byte 1 are nothing that may get through: RDPROTECT and the like move more bytes than blocks have, and
/// to an old device they are the number of another logical unit (SCSI-2). In these commands they mean something else.
pub(super) fn stays_in_unit(cdb: &Cdb) -> Result<(), Failure> {
    // FORMAT UNIT, SEND DIAGNOSTIC, SANITIZE
    let other = [0x04, 0x1d, 0x48].contains(&cdb.opcode());
    if other || cdb.u8::<1>() & 0xe0 == 0 { Ok(()) } else { Err(bad_field(1, 7)) }
}

fn anything(_: &Cdb) -> Result<(), Failure> {
    Ok(())
}

/// SEND DIAGNOSTIC without DEVOFFL and UNITOFFL: tests that other logical units, or other initiators, would notice.
fn only_this_unit(cdb: &Cdb) -> Result<(), Failure> {
    match cdb.u8::<1>() & 0x03 {
        0 => Ok(()),
        1 => Err(bad_field(1, 0)),
        _ => Err(bad_field(1, 1)),
    }
}

/// The big-endian number of `WIDTH` bytes at `AT`.
fn number<const AT: usize, const WIDTH: usize>(cdb: &Cdb) -> u32 {
    (AT..AT + WIDTH).fold(0, |n, at| n << 8 | u32::from(cdb.get(at)))
}

fn nothing(_: &mut Cdb, _: Scale) -> Moves {
    Ok(PassData::Nothing)
}

fn fixed<const BYTES: u32>(_: &mut Cdb, _: Scale) -> Moves {
    Ok(PassData::In(Amount::Known(BYTES)))
}

fn expected_in(_: &mut Cdb, scale: Scale) -> Moves {
    Ok(PassData::In(scale.expected(1)))
}

/// Data-in up to an allocation length. The device is not asked for more than there is room for, so its residual is of
/// what it was asked for.
fn take<const AT: usize, const WIDTH: usize>(cdb: &mut Cdb, scale: Scale) -> Moves {
    let room = number::<AT, WIDTH>(cdb).min(scale.most);
    cdb.put::<AT, WIDTH>(room);
    Ok(PassData::In(Amount::Known(room)))
}

/// A parameter list.
fn give<const AT: usize, const WIDTH: usize>(cdb: &mut Cdb, scale: Scale) -> Moves {
    scale.bytes::<AT>(number::<AT, WIDTH>(cdb).into()).map(PassData::Out)
}

fn read<const AT: usize, const WIDTH: usize>(cdb: &mut Cdb, scale: Scale) -> Moves {
    scale.blocks::<AT>(number::<AT, WIDTH>(cdb).into()).map(PassData::In)
}

fn write<const AT: usize, const WIDTH: usize>(cdb: &mut Cdb, scale: Scale) -> Moves {
    scale.blocks::<AT>(number::<AT, WIDTH>(cdb).into()).map(PassData::Out)
}

impl Scale {
    /// So many bytes, if they can be moved at once: MAXIMUM TRANSFER LENGTH of the Block Limits page is that.
    fn bytes<const AT: usize>(self, bytes: u64) -> Result<Amount, Failure> {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes <= self.most => Ok(Amount::Known(bytes)),
            _ => Err(bad_field(AT as u16, 7)),
        }
    }

    fn blocks<const AT: usize>(self, blocks: u64) -> Result<Amount, Failure> {
        self.bytes::<AT>(blocks * u64::from(self.block))
    }

    /// As much as the initiator expects: that many of something.
    fn expected(self, units: u32) -> Amount {
        Amount::Expected { units, most: self.most }
    }
}

/// A length of 0 is 256 blocks.
fn blocks6(cdb: &Cdb, scale: Scale) -> Result<Amount, Failure> {
    scale.blocks::<4>(if cdb.u8::<4>() == 0 { 256 } else { cdb.u8::<4>().into() })
}

fn read6(cdb: &mut Cdb, scale: Scale) -> Moves {
    blocks6(cdb, scale).map(PassData::In)
}

fn write6(cdb: &mut Cdb, scale: Scale) -> Moves {
    blocks6(cdb, scale).map(PassData::Out)
}

/// VERIFY: with BYTCHK 01b data of the whole range, with 11b one block.
fn compare<const AT: usize, const WIDTH: usize>(cdb: &mut Cdb, scale: Scale) -> Moves {
    match (cdb.u8::<1>() >> 1 & 3, number::<AT, WIDTH>(cdb)) {
        (1, _) => write::<AT, WIDTH>(cdb, scale),
        (3, 1..) => one_block(cdb, scale),
        _ => Ok(PassData::Nothing),
    }
}

/// What is compared, and what is written then.
fn compare_and_write(cdb: &mut Cdb, scale: Scale) -> Moves {
    scale.blocks::<13>(2 * u64::from(cdb.u8::<13>())).map(PassData::Out)
}

fn one_block(_: &mut Cdb, scale: Scale) -> Moves {
    Ok(PassData::Out(Amount::Known(scale.block)))
}

/// With NDOB there is no block.
fn write_same16(cdb: &mut Cdb, scale: Scale) -> Moves {
    if cdb.bit::<1>(0) { Ok(PassData::Nothing) } else { one_block(cdb, scale) }
}

/// FORMAT UNIT: with FMTDATA a list that tells its own length.
fn formatted(cdb: &mut Cdb, scale: Scale) -> Moves {
    Ok(if cdb.bit::<1>(4) { PassData::Out(scale.expected(1)) } else { PassData::Nothing })
}

/// REASSIGN BLOCKS: likewise.
fn reassigned(_: &mut Cdb, scale: Scale) -> Moves {
    Ok(PassData::Out(scale.expected(1)))
}

/// With FIXED these are so many blocks, and the tape knows how long one is; else one block of so many bytes.
fn tape(cdb: &Cdb, scale: Scale) -> Result<Amount, Failure> {
    let length = number::<2, 3>(cdb);
    if cdb.bit::<1>(0) { Ok(scale.expected(length)) } else { scale.bytes::<2>(length.into()) }
}

fn tape_read(cdb: &mut Cdb, scale: Scale) -> Moves {
    tape(cdb, scale).map(PassData::In)
}

fn tape_write(cdb: &mut Cdb, scale: Scale) -> Moves {
    tape(cdb, scale).map(PassData::Out)
}

//! The tables of conflicts, as the standards have them, against what the rows of commands need.

use super::super::table::ROWS;
use super::Needs::{self, NoLegacy, Nothing, Reading, Writing};

/// What a persistent reservation of somebody else does to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// Allowed whatever the type.
    Allowed,
    /// Allowed through the write exclusive types.
    Reads,
    /// Refused by every type.
    Conflict,
    /// It depends on the CDB or has rules of its own: the handler decides, and has its own tests.
    Handler,
}

use Rule::{Allowed, Conflict, Handler, Reads};

impl Rule {
    fn of(needs: Needs) -> Self {
        match needs {
            Nothing | NoLegacy => Allowed,
            Reading => Reads,
            Writing => Conflict,
        }
    }
}

type Line = (u8, &'static [u16], Rule);

/// SPC-5 section 5.14.1: operation code, service actions, rule.
const PRIMARY: &[Line] = &[
    (0x00, &[], Allowed),                                          // TEST UNIT READY
    (0x03, &[], Allowed),                                          // REQUEST SENSE
    (0x12, &[], Allowed),                                          // INQUIRY
    (0x15, &[], Conflict),                                         // MODE SELECT(6)
    (0x16, &[], Handler),                                          // RESERVE(6)
    (0x17, &[], Handler),                                          // RELEASE(6)
    (0x1a, &[], Reads),                                            // MODE SENSE(6)
    (0x1c, &[], Reads),                                            // RECEIVE DIAGNOSTIC RESULTS
    (0x1d, &[], Conflict),                                         // SEND DIAGNOSTIC
    (0x3b, &[], Conflict),                                         // WRITE BUFFER
    (0x3c, &[], Reads),                                            // READ BUFFER(10)
    (0x4c, &[], Conflict),                                         // LOG SELECT
    (0x4d, &[], Allowed),                                          // LOG SENSE
    (0x55, &[], Conflict),                                         // MODE SELECT(10)
    (0x56, &[], Handler),                                          // RESERVE(10)
    (0x57, &[], Handler),                                          // RELEASE(10)
    (0x5a, &[], Reads),                                            // MODE SENSE(10)
    (0x5e, &[0, 1, 2, 3], Allowed),                                // PERSISTENT RESERVE IN
    (0x5f, &[0, 1, 2, 3, 4, 5, 6, 7, 8], Handler),                 // PERSISTENT RESERVE OUT
    (0x83, &[0x00, 0x01, 0x1c], Conflict), // EXTENDED COPY(LID1) and (LID4), COPY OPERATION ABORT
    (0x84, &[0, 1, 3, 4, 5, 6, 7, 8], Allowed), // RECEIVE COPY RESULTS and its kin, ROD token information
    (0x8c, &[], Reads),                    // READ ATTRIBUTE
    (0x8d, &[], Conflict),                 // WRITE ATTRIBUTE
    (0x9b, &[], Reads),                    // READ BUFFER(16)
    (0xa0, &[], Allowed),                  // REPORT LUNS
    (0xa2, &[], Reads),                    // SECURITY PROTOCOL IN
    (0xa3, &[0x05, 0x0a, 0x0b, 0x0e, 0x0f], Allowed), // REPORT ...
    (0xa3, &[0x0c, 0x0d, 0x10], Reads),    // ... SUPPORTED OPERATION CODES, TMF; MANAGEMENT PROTOCOL IN
    (0xa4, &[0x06, 0x0a, 0x0b, 0x0c, 0x0e, 0x0f, 0x10], Conflict), // SET ..., CHANGE ALIASES
    (0xab, &[0x01], Allowed),              // READ MEDIA SERIAL NUMBER
    (0xb5, &[], Conflict),                 // SECURITY PROTOCOL OUT
];

/// SBC-4 section 4.17.
const BLOCK: &[Line] = &[
    (0x04, &[], Conflict),                             // FORMAT UNIT
    (0x07, &[], Conflict),                             // REASSIGN BLOCKS
    (0x08, &[], Reads),                                // READ(6)
    (0x0a, &[], Conflict),                             // WRITE(6)
    (0x1b, &[], Handler),                              // START STOP UNIT
    (0x1e, &[], Handler),                              // PREVENT ALLOW MEDIUM REMOVAL
    (0x25, &[], Allowed),                              // READ CAPACITY(10)
    (0x28, &[], Reads),                                // READ(10)
    (0x2a, &[], Conflict),                             // WRITE(10)
    (0x2e, &[], Conflict),                             // WRITE AND VERIFY(10)
    (0x2f, &[], Reads),                                // VERIFY(10)
    (0x34, &[], Reads),                                // PRE-FETCH(10)
    (0x35, &[], Conflict),                             // SYNCHRONIZE CACHE(10)
    (0x37, &[], Reads),                                // READ DEFECT DATA(10)
    (0x38, &[], Conflict),                             // FORMAT WITH PRESET
    (0x3f, &[], Conflict),                             // WRITE LONG(10)
    (0x41, &[], Conflict),                             // WRITE SAME(10)
    (0x42, &[], Conflict),                             // UNMAP
    (0x48, &[1, 2, 3, 0x1f], Conflict),                // SANITIZE
    (0x7f, &[0x09, 0x0a], Reads),                      // READ(32), VERIFY(32)
    (0x7f, &[0x0b, 0x0c, 0x0d, 0x0e, 0x0f], Conflict), // the 32-byte forms that write
    (0x83, &[0x10], Reads),                            // POPULATE TOKEN
    (0x83, &[0x11], Conflict),                         // WRITE USING TOKEN
    (0x88, &[], Reads),                                // READ(16)
    (0x89, &[], Conflict),                             // COMPARE AND WRITE
    (0x8a, &[], Conflict),                             // WRITE(16)
    (0x8b, &[], Conflict),                             // ORWRITE(16)
    (0x8e, &[], Conflict),                             // WRITE AND VERIFY(16)
    (0x8f, &[], Reads),                                // VERIFY(16)
    (0x90, &[], Reads),                                // PRE-FETCH(16)
    (0x91, &[], Conflict),                             // SYNCHRONIZE CACHE(16)
    (0x93, &[], Conflict),                             // WRITE SAME(16)
    (0x9c, &[], Conflict),                             // WRITE ATOMIC(16)
    (0x9e, &[0x10, 0x13, 0x1d], Allowed), // READ CAPACITY(16), REPORT REFERRALS, REPORT PROVISIONING ...
    (0x9e, &[0x12, 0x16, 0x17], Reads),   // GET LBA STATUS, STREAM STATUS, PHYSICAL ELEMENT STATUS
    (0x9e, &[0x14, 0x15], Conflict),      // STREAM CONTROL, BACKGROUND CONTROL
    (0x9f, &[0x11], Conflict),            // WRITE LONG(16)
    (0xa8, &[], Reads),                   // READ(12)
    (0xaa, &[], Conflict),                // WRITE(12)
    (0xae, &[], Conflict),                // WRITE AND VERIFY(12)
    (0xaf, &[], Reads),                   // VERIFY(12)
    (0xb7, &[], Reads),                   // READ DEFECT DATA(12)
];

/// MMC-6 has no such table. What tells of the drive goes by the rule of INQUIRY, what tells of the disc or moves to it by
/// that of READ.
const MULTIMEDIA: &[Line] = &[
    (0x2b, &[], Reads),   // SEEK(10)
    (0x43, &[], Reads),   // READ TOC/PMA/ATIP
    (0x46, &[], Allowed), // GET CONFIGURATION
    (0x4a, &[], Allowed), // GET EVENT STATUS NOTIFICATION
    (0x51, &[], Reads),   // READ DISC INFORMATION
    (0x52, &[], Reads),   // READ TRACK INFORMATION
    (0xac, &[], Reads),   // GET PERFORMANCE
    (0xad, &[], Reads),   // READ DISC STRUCTURE
    (0xb6, &[], Reads),   // SET STREAMING
    (0xb9, &[], Reads),   // READ CD MSF
    (0xbb, &[], Reads),   // SET CD SPEED
    (0xbd, &[], Allowed), // MECHANISM STATUS
    (0xbe, &[], Reads),   // READ CD
];

/// What others may do while RESERVE holds the logical unit (SPC-2 tables 9 and B.2): operation code, service actions.
/// READ CAPACITY(16) goes by the rule of READ CAPACITY, and what tells of a drive by that of INQUIRY. PERSISTENT RESERVE
/// is not to be had meanwhile, and of START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL it depends: the handlers see to
/// that.
const BESIDE_RESERVE: &[(u8, &[u16])] = &[
    (0x03, &[]),                          // REQUEST SENSE
    (0x12, &[]),                          // INQUIRY
    (0x17, &[]),                          // RELEASE(6)
    (0x1b, &[]),                          // START STOP UNIT
    (0x1e, &[]),                          // PREVENT ALLOW MEDIUM REMOVAL
    (0x25, &[]),                          // READ CAPACITY(10)
    (0x46, &[]),                          // GET CONFIGURATION
    (0x4a, &[]),                          // GET EVENT STATUS NOTIFICATION
    (0x4d, &[]),                          // LOG SENSE
    (0x57, &[]),                          // RELEASE(10)
    (0x5e, &[0, 1, 2, 3]),                // PERSISTENT RESERVE IN
    (0x5f, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), // PERSISTENT RESERVE OUT
    (0x9e, &[0x10]),                      // READ CAPACITY(16)
    (0xa0, &[]),                          // REPORT LUNS
    (0xa3, &[0x05]),                      // REPORT IDENTIFYING INFORMATION, once REPORT DEVICE IDENTIFIER
];

/// The rule of a command; every command that we have must be in the tables.
fn rule(opcode: u8, action: Option<u16>) -> Option<Rule> {
    let is_it = |line: &&Line| line.0 == opcode && action.map_or(line.1.is_empty(), |a| line.1.contains(&a));
    PRIMARY.iter().chain(BLOCK).chain(MULTIMEDIA).find(is_it).map(|line| line.2)
}

#[test]
fn beside_reserve_others_may_do_what_the_standard_says() {
    for row in ROWS {
        let may = BESIDE_RESERVE.iter().any(|(opcode, actions)| {
            *opcode == row.opcode && row.action.is_none_or(|action| actions.contains(&action))
        });
        assert_eq!(row.needs == Nothing, may, "{:#04x}/{:x?}", row.opcode, row.action);
    }
}

#[test]
fn every_command_conflicts_as_the_standards_say() {
    for row in ROWS {
        let (opcode, action) = (row.opcode, row.action);
        let rule = rule(opcode, action).unwrap_or_else(|| panic!("{opcode:#04x}/{action:x?} is in no table"));
        assert!(rule == Handler || rule == Rule::of(row.needs), "{opcode:#04x}/{action:x?}: {rule:?}");
    }
}

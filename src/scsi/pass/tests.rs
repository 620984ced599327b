//! Which commands a device gets, what initiators hear of it, and what they are refused.

use super::super::testing::{Rig, facts, nexus};
use super::super::{AccessState, Group, Groups, LuFacts, WHOLE, check, status};
use super::*;

const KINDS: [DeviceKind; 5] =
    [DeviceKind::Disk, DeviceKind::Tape, DeviceKind::Optical, DeviceKind::Changer, DeviceKind::Enclosure];

fn rig(kind: DeviceKind) -> Rig {
    Rig::new(LuFacts { passed: Some(Device::whole(kind)), ..facts() })
}

/// What the device would be given.
fn pass(rig: &mut Rig, cdb: &[u8]) -> Pass {
    match rig.start(cdb) {
        Outcome::Pass(pass) => *pass,
        other => panic!("{cdb:02x?} gave {other:?}"),
    }
}

fn known(len: u32) -> Amount {
    Amount::Known(len)
}

fn expected(units: u32) -> Amount {
    Amount::Expected { units, most: WHOLE }
}

#[test]
fn a_disk_gets_what_it_can_be_asked() {
    let mut rig = rig(DeviceKind::Disk);
    let read = pass(&mut rig, &[0x28, 0, 0, 0, 0, 9, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read.order.cdb[..], [0x28, 0, 0, 0, 0, 9, 0, 0, 8, 0], "as long as a CDB of its group");
    assert_eq!((read.data, read.order.reads, read.order.changes), (PassData::In(known(4096)), true, false));
    let write = pass(&mut rig, &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(
        (write.data, write.order.reads, write.order.changes),
        (PassData::Out(known(256 * 512)), false, true)
    );
    let asks = pass(&mut rig, &[0; 6]);
    assert_eq!((asks.data, asks.order.reads, asks.order.changes), (PassData::Nothing, false, false));
    let data = |rig: &mut Rig, cdb: &[u8]| pass(rig, cdb).data;
    assert_eq!(
        data(&mut rig, &[0x08, 0, 0, 0, 0, 0]),
        PassData::In(known(256 * 512)),
        "READ(6) of 256 blocks"
    );
    assert_eq!(data(&mut rig, &[0x12, 0, 0, 0xff, 0xff, 0]), PassData::In(known(0xffff)));
    let long = [0xb7, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(data(&mut rig, &long), PassData::In(known(WHOLE)));
    assert_eq!(data(&mut rig, &[0x2f, 0, 0, 0, 0, 0, 0, 0, 8, 0]), PassData::Nothing);
    assert_eq!(data(&mut rig, &[0x2f, 2, 0, 0, 0, 0, 0, 0, 8, 0]), PassData::Out(known(4096)));
    assert_eq!(data(&mut rig, &[0x2f, 6, 0, 0, 0, 0, 0, 0, 8, 0]), PassData::Out(known(512)));
    assert_eq!(data(&mut rig, &[0x41, 0, 0, 0, 0, 0, 0, 0, 8, 0]), PassData::Out(known(512)));
    assert_eq!(data(&mut rig, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]), PassData::Out(known(24)));
    assert_eq!(data(&mut rig, &[0x04, 0x10, 0, 0, 0, 0]), PassData::Out(expected(1)));
    assert_eq!(data(&mut rig, &[0x04, 0, 0, 0, 0, 0]), PassData::Nothing);
    assert_eq!(pass(&mut rig, &[0x04, 0, 0, 0, 0, 0]).order.seconds, 24 * 3600);
    let compare = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    assert_eq!(data(&mut rig, &compare), PassData::Out(known(2048)));
    let ndob = [0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    assert_eq!(data(&mut rig, &ndob), PassData::Nothing);
}

#[test]
fn no_transfer_is_longer_than_a_slot() {
    let mut rig = rig(DeviceKind::Disk);
    assert_eq!(pass(&mut rig, &[0x28, 0, 0, 0, 0, 0, 0, 2, 0, 0]).data, PassData::In(known(WHOLE)));
    assert_eq!(rig.sense(&[0x28, 0, 0, 0, 0, 0, 0, 2, 1, 0]), Sense::cdb_field(7, 7));
    let endless = [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(rig.sense(&endless), Sense::cdb_field(10, 7));
    assert_eq!(rig.sense(&[0x4c, 0, 0, 0, 0, 0, 0, 0, 0, 4]), Sense::cdb_field(9, 2), "NACA is not offered");
}

#[test]
fn no_transfer_is_longer_than_the_way_to_the_device_takes() {
    let device = Device { most: 120 << 10, ..Device::whole(DeviceKind::Disk) };
    let mut rig = Rig::new(LuFacts { passed: Some(device), ..facts() });
    assert_eq!(pass(&mut rig, &[0x28, 0, 0, 0, 0, 0, 0, 0, 240, 0]).data, PassData::In(known(120 << 10)));
    assert_eq!(rig.sense(&[0x28, 0, 0, 0, 0, 0, 0, 0, 241, 0]), Sense::cdb_field(7, 7));
    assert_eq!(rig.sense(&[0x0a, 0, 0, 0, 0, 0]), Sense::cdb_field(4, 7), "WRITE(6) of 256 blocks");
    let mut said = [0; 64];
    said[..4].copy_from_slice(&[0, 0xb0, 0, 60]);
    let mut limits = |own: u32| {
        said[8..12].copy_from_slice(&own.to_be_bytes());
        let got = revised(&mut rig, &[0x12, 1, 0xb0, 0, 64, 0], &said);
        u32::from_be_bytes(*got[8..].first_chunk().unwrap())
    };
    assert_eq!([limits(0), limits(1024), limits(64)], [240, 240, 64]);
}

/// Else its residual would be of what nobody can take.
#[test]
fn the_device_is_asked_for_no_more_than_can_be_taken() {
    let mut rig = rig(DeviceKind::Disk);
    let blocks = pass(&mut rig, &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0]);
    assert_eq!((blocks.data, &blocks.order.cdb[10..14]), (PassData::In(known(WHOLE)), &[0, 4, 0, 0][..]));
    let defects = pass(&mut rig, &[0xb7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0]);
    assert_eq!((defects.data, &defects.order.cdb[6..10]), (PassData::In(known(WHOLE)), &[0, 4, 0, 0][..]));
    let short = pass(&mut rig, &[0xb7, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0, 0]);
    assert_eq!(
        (short.data, &short.order.cdb[6..10]),
        (PassData::In(known(0x3ffff)), &[0, 3, 0xff, 0xff][..])
    );
}

#[test]
fn a_list_that_tells_its_length_is_all_there_and_no_longer() {
    let mut rig = rig(DeviceKind::Disk);
    let mut out = |cdb: &[u8], list: &[u8]| match rig.params_from(1, cdb, list) {
        Outcome::Pass(pass) => pass.data,
        Outcome::Fail(failure) if failure == check::bad_length() => PassData::Nothing,
        other => panic!("{other:?}"),
    };
    let (takes, refused) = (|len| PassData::Out(known(len)), PassData::Nothing);
    let (format, long) = ([0x04, 0x18, 0, 0, 0, 0], [0x04, 0x38, 0, 0, 0, 0]);
    assert_eq!(out(&format, &[0, 0x80, 0, 0]), takes(4));
    assert_eq!(out(&format, &[0, 0x80, 0, 0, 9, 9]), takes(4), "what follows is no part of it");
    assert_eq!(out(&format, &[0, 0x80, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]), takes(12));
    assert_eq!(out(&format, &[0, 0x80, 0, 8, 0, 0, 0, 0]), refused);
    assert_eq!([out(&format, &[]), out(&format, &[0, 0, 0])], [refused; 2]);
    assert_eq!(out(&format, &[0, 0x88, 0, 0, 0, 1, 0, 2, 7, 7, 0]), takes(10), "IP: a pattern");
    assert_eq!(out(&format, &[0, 0x88, 0, 0, 0, 1, 0, 2, 7]), refused);
    assert_eq!(out(&format, &[0, 0x88, 0, 0, 0, 1]), refused);
    assert_eq!(out(&long, &[0, 0, 0, 0, 0, 0, 0, 0]), takes(8));
    assert_eq!(out(&long, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), refused);
    let reassign = |bits: u8| [0x07, bits, 0, 0, 0, 0];
    assert_eq!(out(&reassign(0), &[0, 0, 0, 4, 0, 0, 0, 1, 0]), takes(8));
    assert_eq!(out(&reassign(2), &[0, 0, 0, 8, 0, 0, 0, 1]), refused);
    assert_eq!(out(&reassign(1), &[0, 0, 0, 4, 0, 0, 0, 1]), takes(8));
    assert_eq!(out(&reassign(1), &[0, 1, 0, 0, 0, 0, 0, 1]), refused);
    assert_eq!(out(&reassign(0), &[0, 0]), refused);
}

#[test]
fn whatever_breaks_out_of_the_unit_is_refused() {
    let opcode =
        |rig: &mut Rig, opcode: u8| rig.sense(&[opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).asc;
    for kind in KINDS {
        let mut rig = rig(kind);
        // Third-party copy, ATA commands, access controls, security protocols, wrapped and long CDBs, vendor's own.
        let refused = [0x83, 0x84, 0x85, 0x86, 0x87, 0xa1, 0xa2, 0x7e, 0x7f];
        for refused in refused.into_iter().chain(0x60..=0x7f).chain(0xc0..=0xff) {
            assert_eq!(opcode(&mut rig, refused), Asc::INVALID_OPCODE, "{kind:?} {refused:#04x}");
        }
        if kind != DeviceKind::Changer {
            assert_eq!(opcode(&mut rig, 0xb5), Asc::INVALID_OPCODE);
        }
        for mode in (0..32).filter(|mode| ![0x02, 0x0a].contains(mode)) {
            let microcode = [0x3b, mode, 0, 0, 0, 0, 0, 0, 16, 0];
            assert_eq!(rig.sense(&microcode), Sense::cdb_field(1, 4), "WRITE BUFFER {mode:#04x}");
        }
        for mode in [0x01, 0x1c] {
            assert_eq!(rig.sense(&[0x3c, mode, 0, 0, 0, 0, 0, 0, 16, 0]), Sense::cdb_field(1, 4));
        }
        assert_eq!(rig.sense(&[0x1d, 1, 0, 0, 0, 0]), Sense::cdb_field(1, 0), "UNITOFFL");
        assert_eq!(rig.sense(&[0x1d, 2, 0, 0, 0, 0]), Sense::cdb_field(1, 1), "DEVOFFL");
    }
    let mut rig = rig(DeviceKind::Disk);
    // SET TARGET PORT GROUPS, CHANGE ALIASES, SET PRIORITY, SET TIMESTAMP, MANAGEMENT PROTOCOL OUT, vendor's own.
    for action in [0x0a, 0x0b, 0x0e, 0x0f, 0x10, 0x1f] {
        assert_eq!(
            rig.sense(&[0xa4, action, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]),
            Sense::cdb_field(1, 4),
            "{action:#04x}"
        );
    }
    for action in [0x0b, 0x0e, 0x10, 0x1f] {
        assert_eq!(
            rig.sense(&[0xa3, action, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]),
            Sense::cdb_field(1, 4),
            "{action:#04x}"
        );
    }
    // To a drive these are keys of copy protection, and blanking a disc.
    let mut rig = self::rig(DeviceKind::Optical);
    for keys in [0xa3, 0xa4, 0xa1] {
        assert_eq!(opcode(&mut rig, keys), Asc::INVALID_OPCODE);
    }
}

/// What each access state serves is the same as on all other logical units; of the rest it refuses all.
#[test]
fn a_port_that_is_not_active_serves_the_commands_of_its_list() {
    let serves = |rig: &mut Rig, cdb: &[u8], state: AccessState| {
        rig.start(cdb) != Outcome::Fail(Sense::not_ready(state.barrier().unwrap()).into())
    };
    for kind in KINDS {
        for state in [AccessState::Standby, AccessState::Unavailable, AccessState::Transitioning] {
            let group = Group { configured: state, explicit: true, ..Group::new(0, "only") };
            let groups = Groups::new(group, Vec::new(), 0);
            let facts = LuFacts { passed: Some(Device::whole(kind)), removable: true, groups, ..facts() };
            let mut rig = Rig::new(facts);
            let standby = state == AccessState::Standby;
            for rule in rules::rules(kind).filter(|rule| !matches!(rule.verdict, Verdict::Refuse)) {
                let buffer = [0x3b, 0x3c].contains(&rule.opcode);
                let action = rule.action.unwrap_or(if buffer { 0x0a } else { 0 });
                let cdb = [rule.opcode, action, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                let always = match (rule.opcode, rule.action) {
                    // Those of drives tell how to reach the disc.
                    (0x46 | 0x4a, _) => kind == DeviceKind::Optical,
                    (0x03 | 0x12 | 0x3b | 0x3c | 0xa0, _) | (0xa3, Some(0x0a)) => true,
                    _ => false,
                };
                let pages = matches!(
                    (rule.opcode, rule.action),
                    (0x15 | 0x1a | 0x1c | 0x1d | 0x25 | 0x4c | 0x4d | 0x55 | 0x5a | 0x5e | 0x5f, _)
                        | (0x9e, Some(0x10))
                );
                let sets = (rule.opcode, rule.action) == (0xa4, Some(0x0a));
                let want = always || standby && pages || state != AccessState::Transitioning && sets;
                assert_eq!(serves(&mut rig, &cdb, state), want, "{kind:?} {state:?} {cdb:02x?}");
            }
            let sense = rig.data(&[3, 0, 0, 0, 18, 0]);
            assert_eq!((sense[2], Asc(sense[12], sense[13])), (2, state.barrier().unwrap()), "REQUEST SENSE");
        }
    }
}

/// The device has one echo buffer, and would give one initiator what another has written.
#[test]
fn each_initiator_has_a_buffer_of_its_own() {
    for kind in KINDS {
        let mut rig = rig(kind);
        let read = |mode| [0x3c, mode, 0, 0, 0, 0, 0, 0, 4, 0];
        assert_eq!(rig.send(&[0x3b, 0x0a, 0, 0, 0, 0, 0, 0, 4, 0], b"mine"), Outcome::Good);
        let other = std::mem::take(&mut rig.echo);
        assert_eq!(
            rig.sense(&read(0x0a)).asc,
            Asc::COMMAND_SEQUENCE_ERROR,
            "another session has written nothing"
        );
        rig.echo = other;
        assert_eq!(rig.data(&read(0x0a)), b"mine");
        assert_eq!(rig.data(&read(0x0b)), [1, 0, 0x10, 0], "EBOS, and how much there is of it");
    }
}

#[test]
fn what_moves_more_than_blocks_or_reaches_other_units_is_refused() {
    let mut rig = rig(DeviceKind::Disk);
    for opcode in [0x08, 0x0a, 0x28, 0x2a, 0x2e, 0x2f, 0x41, 0x88, 0x89, 0x8a, 0x8b, 0x8e, 0x8f, 0x93, 0x9c] {
        let cdb = [opcode, 0x20, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(rig.sense(&cdb), Sense::cdb_field(1, 7), "{opcode:#04x}");
    }
    let mut tape = self::rig(DeviceKind::Tape);
    assert_eq!(tape.sense(&[0x01, 0x40, 0, 0, 0, 0]), Sense::cdb_field(1, 7), "REWIND of unit 2");
    assert!(matches!(rig.start(&[0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]), Outcome::Pass(_)), "SANITIZE, IMMED");
}

#[test]
fn diagnostic_pages_that_others_would_notice_are_refused() {
    let send = |len: u8| [0x1d, 0x10, 0, 0, len, 0];
    let refused = Outcome::Fail(Sense::parameter_field(0, 7).into());
    for kind in KINDS {
        let mut rig = rig(kind);
        assert!(matches!(rig.start(&send(4)), Outcome::Pass(pass) if pass.judged));
        assert!(matches!(rig.params_from(1, &send(4), &[0, 0, 0, 0]), Outcome::Pass(_)));
        assert!(matches!(rig.params_from(1, &[0x1d, 0x04, 0, 0, 0, 0], &[]), Outcome::Pass(_)), "self-test");
        for page in [0x0e, 0x40, 0x80, 0xff] {
            assert_eq!(rig.params_from(1, &send(4), &[page, 0, 0, 0]), refused, "{kind:?} {page:#04x}");
        }
        let control = rig.params_from(1, &send(4), &[2, 0, 0, 0]);
        assert_eq!(matches!(control, Outcome::Pass(_)), kind == DeviceKind::Enclosure);
        let vendors = rig.params_from(1, &[0x1d, 0, 0, 0, 4, 0], &[0, 0, 0, 0]);
        assert_eq!(vendors, Outcome::Fail(Sense::cdb_field(1, 4).into()), "in no known format");
    }
}

#[test]
fn mode_pages_that_are_everybodys_stay_as_they_are() {
    let mut rig = rig(DeviceKind::Disk);
    let mut select = |list: &[u8]| rig.params_from(1, &[0x15, 0x11, 0, 0, list.len() as u8, 0], list);
    let bad = |at| Outcome::Fail(Sense::parameter_field(at, 5).into());
    let caching = [&[0, 0, 0, 0, 0x08, 18][..], &[0; 18]].concat();
    assert!(matches!(select(&caching), Outcome::Pass(_)));
    for page in [0x00, 0x0a, 0x4a, 0x18, 0x19, 0x20, 0x3e, 0x3f] {
        assert_eq!(select(&[&caching[..], &[page, 0, 0, 0]].concat()), bad(24), "{page:#04x}");
    }
    let sized = |length: u32| [&[0, 0, 0, 8, 0, 0, 0, 0][..], &length.to_be_bytes()].concat();
    assert!(matches!(select(&sized(512)), Outcome::Pass(_)) && matches!(select(&sized(0)), Outcome::Pass(_)));
    assert_eq!(select(&sized(4096)), Outcome::Fail(Sense::parameter_field(9, 7).into()));
    let short = Outcome::Fail(check::bad_length());
    assert_eq!(
        [select(&[0, 0]), select(&[0, 0, 0, 8]), select(&[0, 0, 0, 0, 1])],
        [short.clone(), short.clone(), short]
    );
    let ten = |list: &[u8]| rig.params_from(1, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], list);
    let mut ten = ten;
    assert_eq!(ten(&[0, 0, 0, 0, 0, 0, 0, 0, 0x4a, 1, 0, 0]), bad(8));
    let long = [&[0, 0, 0, 0, 1, 0, 0, 16][..], &[0; 12], &4096u32.to_be_bytes()].concat();
    assert_eq!(ten(&long), Outcome::Fail(Sense::parameter_field(20, 7).into()));
    let mut tape = self::rig(DeviceKind::Tape);
    let blocks = tape.params_from(1, &[0x15, 0x10, 0, 0, 12, 0], &sized(1024));
    assert!(matches!(blocks, Outcome::Pass(_)), "a tape's blocks are its initiator's business");
}

#[test]
fn only_what_is_in_the_table_gets_through() {
    for kind in KINDS {
        let mut rig = rig(kind);
        for opcode in 0..=255u8 {
            for action in 0..32 {
                let known = rules::rules(kind).any(|rule| {
                    rule.opcode == opcode
                        && rule.action.is_none_or(|a| a == action)
                        && !matches!(rule.verdict, Verdict::Refuse)
                });
                let cdb = [opcode, action, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                let got = rig.start(&cdb);
                assert!(known || matches!(got, Outcome::Fail(_)), "{kind:?} {cdb:02x?} {got:?}");
                if let Outcome::Pass(pass) = got {
                    assert_eq!(pass.order.cdb.len(), rules::cdb_len(opcode));
                    assert_eq!(pass.order.cdb[..5][..2], cdb[..2]);
                }
            }
        }
    }
}

#[test]
fn no_command_has_two_rows() {
    for kind in KINDS {
        let rows: Vec<_> = rules::rules(kind).map(|rule| (rule.opcode, rule.action)).collect();
        for (at, row) in rows.iter().enumerate() {
            // An enclosure has a stricter row of its own for SEND DIAGNOSTIC, which comes first.
            let again = rows[..at].contains(row) && !(kind == DeviceKind::Enclosure && row.0 == 0x1d);
            assert!(!again, "{kind:?} {row:02x?}");
        }
    }
}

#[test]
fn reservations_are_kept_here() {
    let mut rig = rig(DeviceKind::Disk);
    assert!(matches!(rig.start(&[0x16, 0, 0, 0, 0, 0]), Outcome::Shared(_)), "RESERVE(6)");
    let register = [&[0; 8][..], &7u64.to_be_bytes(), &[0; 8]].concat();
    let out = |action: u8, kind: u8| [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    rig.run_from(2, &out(0, 0), &register).unwrap();
    let reserve = [&7u64.to_be_bytes()[..], &[0; 16]].concat();
    rig.run_from(2, &out(1, 1), &reserve).unwrap();
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let write = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let conflict = Outcome::Fail(Failure::Status(status::RESERVATION_CONFLICT));
    assert_eq!(rig.start(&write), conflict, "write exclusive");
    assert_eq!(rig.start(&[0x04, 0, 0, 0, 0, 0]), conflict);
    assert_eq!(rig.start(&[0x1b, 0, 0, 0, 0, 0]), conflict, "START STOP UNIT that stops");
    assert!(matches!(rig.start(&[0x1b, 0, 0, 0, 1, 0]), Outcome::Pass(_)), "and one that starts");
    assert!(matches!(rig.start(&read), Outcome::Pass(_)));
    assert!(matches!(rig.start_from(2, &write), Outcome::Pass(_)));
    // Made while the data was on its way.
    assert_eq!(rig.params_from(1, &write, &[]), conflict);
    assert!(matches!(rig.params_from(2, &write, &[]), Outcome::Pass(_)));
    assert!(matches!(rig.start(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 255, 0]), Outcome::Data(_)));
    let mut tape = self::rig(DeviceKind::Tape);
    tape.lu.state = rig.lu.state.clone();
    assert_eq!(tape.start(&[0x01, 0, 0, 0, 0, 0]), conflict, "who moves the tape disturbs its holder");
}

/// Whatever else changes of the unit: what winds a tape, or reads it, is no write.
#[test]
fn a_read_only_unit_is_not_barred() {
    let facts = LuFacts { read_only: true, passed: Some(Device::whole(DeviceKind::Tape)), ..facts() };
    let rig = Rig::new(facts);
    assert_eq!(rig.lu.state.bars_writing(&rig.lu.facts, &nexus(1)), None);
}

#[test]
fn a_read_only_unit_is_not_written() {
    let protected = Sense::protected(Asc::WRITE_PROTECTED);
    for by_map in [true, false] {
        let mut rig = rig(DeviceKind::Disk);
        rig.read_only_map = by_map;
        if !by_map {
            rig = Rig::new(LuFacts {
                read_only: true,
                passed: Some(Device::whole(DeviceKind::Disk)),
                ..facts()
            });
        }
        for opcode in
            [0x04, 0x0a, 0x2a, 0x2e, 0x3f, 0x41, 0x42, 0x89, 0x8a, 0x8b, 0x8e, 0x93, 0x9c, 0xaa, 0xae]
        {
            assert_eq!(
                rig.sense(&[opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                protected,
                "{opcode:#04x}"
            );
        }
        for action in [1, 2, 3] {
            assert_eq!(rig.sense(&[0x48, action, 0, 0, 0, 0, 0, 0, 0, 0]), protected, "SANITIZE {action}");
        }
        assert!(matches!(rig.start(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Outcome::Pass(_)));
        let header = revised(&mut rig, &[0x1a, 0, 0x3f, 0, 255, 0], &[3, 0, 0x10, 0]);
        assert_eq!(header, [3, 0, 0x90, 0], "WP");
        assert_eq!(revised(&mut rig, &[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0], &[0, 6, 0, 0])[3], 0x80);
    }
}

#[test]
fn who_prevents_removal_is_counted_here() {
    let mut rig = rig(DeviceKind::Disk);
    assert!(matches!(rig.start(&[0x1e, 0, 0, 0, 1, 0]), Outcome::Shared(_)));
    assert_eq!(rig.sense(&[0x1e, 0, 0, 0, 3, 0]), Sense::cdb_field(4, 1), "persistent is for drives");
    let mut drive = self::rig(DeviceKind::Optical);
    assert!(matches!(drive.start(&[0x1e, 0, 0, 0, 3, 0]), Outcome::Shared(_)));
}

#[test]
fn how_a_device_has_answered_is_a_result() {
    let of = |status: u8, sense: &[u8]| {
        PassReport { status, sense: sense.iter().copied().collect(), moved: 0 }.result()
    };
    assert_eq!(of(0, &[]), Ok(()));
    assert_eq!(of(8, &[]), Err(Failure::Status(status::BUSY)));
    assert_eq!(of(2, &[0x72, 5, 0x24, 0]), Err(Sense::illegal(Asc::INVALID_FIELD_IN_CDB).into()));
    assert_eq!(of(2, &[]), Err(Sense::target_failure().into()));
}

#[test]
fn attentions_of_ours_come_first() {
    let mut rig = rig(DeviceKind::Disk);
    rig.attentions.raise(Asc::POWER_ON_OR_RESET);
    assert!(matches!(rig.start(&[0x12, 0, 0, 0, 36, 0]), Outcome::Pass(_)));
    assert_eq!(rig.sense(&[0xc0; 6]), Sense::attention(Asc::POWER_ON_OR_RESET), "before the opcode");
    rig.attentions.raise(Asc::NEXUS_LOSS);
    assert_eq!(rig.data(&[0x03, 0, 0, 0, 252, 0])[12..14], [0x29, 7]);
    assert!(matches!(rig.start(&[0x03, 0, 0, 0, 252, 0]), Outcome::Pass(_)), "then it is the device's turn");
}

#[test]
fn what_the_device_tells_one_is_for_all() {
    let of = |status: u8, sense: &[u8]| {
        let sense = sense.iter().copied().collect();
        PassReport { status, sense, moved: 0 }.attention()
    };
    let fixed = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x28, 0, 0, 0, 0, 0];
    assert_eq!(of(2, &fixed), Some(Asc(0x28, 0)));
    assert_eq!(of(2, &[0x72, 6, 0x2a, 9, 0, 0, 0, 0]), Some(Asc(0x2a, 9)));
    assert_eq!(of(2, &[0x72, 5, 0x24, 0, 0, 0, 0, 0]), None);
    assert_eq!([of(8, &fixed), of(2, &[]), of(2, &fixed[..1])], [None, None, None]);
    let mut rig = rig(DeviceKind::Disk);
    let told = |rig: &mut Rig, cdb: &[u8]| pass(rig, cdb).tells;
    assert_eq!(told(&mut rig, &[0x15, 0x10, 0, 0, 24, 0]), Some(Asc::MODE_PARAMETERS_CHANGED));
    assert_eq!(told(&mut rig, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), None);
}

/// What an initiator gets of what the device has said.
fn revised(rig: &mut Rig, cdb: &[u8], said: &[u8]) -> Vec<u8> {
    assert!(pass(rig, cdb).revised, "{cdb:02x?}");
    revise_as(rig, cdb, said)
}

fn revise_as(rig: &mut Rig, cdb: &[u8], said: &[u8]) -> Vec<u8> {
    let me = nexus(1);
    let cx = Context {
        lu: Some(&rig.lu),
        well_known: false,
        nexus: &me,
        luns: &[],
        read_only_map: rig.read_only_map,
        attentions: &mut rig.attentions,
        ports: &[],
        echo: &mut rig.echo,
        queries: false,
        now: 0,
    };
    let mut out = vec![0xee; 4096];
    let len = revise(cdb, &cx, said, &mut out);
    out.truncate(len);
    out
}

#[test]
fn standard_inquiry_data_are_the_devices_but_for_the_port() {
    let mut rig = rig(DeviceKind::Tape);
    let mut said = *b"\x01\x80\x05\x22\x1f\xf9\x40\x00IBM     ULT3580-TD5     D8D4";
    let got = revised(&mut rig, &[0x12, 0, 0, 0, 36, 0], &said);
    // NORMACA, SCCS, ACC, TPGS, 3PC and PROTECT are gone; MULTIP and CMDQUE are there.
    (said[3], said[5], said[6], said[7]) = (0x02, 0x00, 0x50, 0x02);
    assert_eq!(got, said);
    assert_eq!(revised(&mut rig, &[0x12, 0, 0, 0, 4, 0], &said[..4]), said[..4]);
}

#[test]
fn names_of_the_unit_are_the_devices_and_those_of_the_port_ours() {
    let mut rig = rig(DeviceKind::Disk);
    let page83 = [0x12, 1, 0x83, 0x00, 0x40, 0];
    let asked = pass(&mut rig, &page83);
    assert_eq!(
        (asked.order.cdb[3..5].to_vec(), asked.data),
        (vec![4, 0], PassData::In(known(1024))),
        "all of it"
    );
    let naa = [0x61, 0x03, 0, 8, 0x50, 1, 2, 3, 4, 5, 6, 7];
    let port = [0x61, 0x93, 0, 8, 0x50, 9, 9, 9, 9, 9, 9, 9];
    let target = [0x61, 0xa3, 0, 8, 0x50, 8, 8, 8, 8, 8, 8, 8];
    let said = [&[0, 0x83, 0, 36][..], &port, &naa, &target].concat();
    let all = revised(&mut rig, &[0x12, 1, 0x83, 0x10, 0, 0], &said);
    assert_eq!(usize::from(u16::from_be_bytes([all[2], all[3]])), all.len() - 4);
    assert_eq!(all[4..16], naa, "the name of the unit");
    assert_eq!(all[16..20], [0x51, 0x94, 0, 4], "then our relative port");
    assert!(!all.windows(12).any(|w| w == port || w == target), "nothing of the device's ports");
    assert_eq!(revised(&mut rig, &page83, &said), all[..64], "cut to what the initiator takes");
    // A list that tells a wrong length.
    let torn = [&[0, 0x83, 0xff, 0xff][..], &naa, &[1, 3, 0, 200, 1]].concat();
    assert_eq!(revised(&mut rig, &[0x12, 1, 0x83, 0x10, 0, 0], &torn), all);
}

#[test]
fn the_list_of_pages_has_what_is_ours() {
    let mut rig = rig(DeviceKind::Disk);
    let cdb = [0x12, 1, 0, 0, 255, 0];
    let got = revised(&mut rig, &cdb, &[0, 0, 0, 5, 0x00, 0x80, 0x8f, 0xb1, 0xb2]);
    assert_eq!(got, [0, 0, 0, 7, 0x00, 0x80, 0x83, 0x88, 0xb0, 0xb1, 0xb2]);
    let mut tape = self::rig(DeviceKind::Tape);
    assert_eq!(revised(&mut tape, &cdb, &[1, 0, 0, 1, 0, 7, 7]), [1, 0, 0, 3, 0x00, 0x83, 0x88]);
    assert_eq!(rig.sense(&[0x12, 1, 0x8f, 0, 255, 0]), Sense::cdb_field(2, 7));
    assert_eq!(rig.data(&[0x12, 1, 0x88, 0, 255, 0])[..2], [0, 0x88]);
    assert_eq!(tape.data(&[0x12, 1, 0x88, 0, 255, 0])[..2], [1, 0x88]);
}

#[test]
fn pages_that_the_device_lacks_are_made() {
    let bare = Device { names: false, limits: false, long_inquiry: false, ..Device::whole(DeviceKind::Disk) };
    let mut rig = Rig::new(LuFacts { passed: Some(bare), ..facts() });
    assert_eq!(rig.data(&[0x12, 1, 0x83, 0, 255, 0])[4..8], [1, 3, 0, 8], "an NAA name");
    let limits = rig.data(&[0x12, 1, 0xb0, 0, 255, 0]);
    assert_eq!((limits.len(), &limits[8..12]), (64, &512u32.to_be_bytes()[..]));
    assert_eq!(pass(&mut rig, &[0x12, 1, 0x00, 0x10, 0, 0]).order.cdb[3..5], [0, 255], "SCSI-2 knew no more");
    assert_eq!(pass(&mut rig, &[0x12, 1, 0x80, 0, 99, 0]).order.cdb[3..5], [0, 99]);
}

#[test]
fn limits_are_ours_where_these_are_lower() {
    let mut rig = rig(DeviceKind::Disk);
    let limits = |rig: &mut Rig, compare: u8, most: u32, best: u32, atomic: u32| {
        let mut said = [0; 64];
        said[..6].copy_from_slice(&[0, 0xb0, 0, 60, 0, compare]);
        for (at, number) in [(8, most), (12, best), (20, 1 << 20), (44, atomic)] {
            said[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        let got = revised(rig, &[0x12, 1, 0xb0, 0, 64, 0], &said);
        let at = |n: usize| u32::from_be_bytes(*got[n..].first_chunk().unwrap());
        (got[5], at(8), at(12), at(20), at(44))
    };
    assert_eq!(limits(&mut rig, 255, 0, 0, 0), (255, 512, 0, 1 << 20, 0));
    assert_eq!(limits(&mut rig, 1, 65536, 1024, 4096), (1, 512, 512, 1 << 20, 512));
    assert_eq!(limits(&mut rig, 1, 128, 64, 8), (1, 128, 64, 1 << 20, 8));
    let mut tape = self::rig(DeviceKind::Tape);
    let block = |said: [u8; 6], tape: &mut Rig| revised(tape, &[0x05, 0, 0, 0, 0, 0], &said);
    assert_eq!(block([0, 0x80, 0, 0, 0, 1], &mut tape), [0, 4, 0, 0, 0, 1]);
    assert_eq!(block([0, 0, 0x10, 0, 0, 1], &mut tape), [0, 0, 0x10, 0, 0, 1]);
}

#[test]
fn the_commands_of_the_device_are_told_as_far_as_it_gets_them() {
    let mut rig = rig(DeviceKind::Disk);
    let all = [0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
    let read = [0x28, 0, 0, 0, 0, 0, 0, 10];
    let copy = [0x83, 0, 0, 0, 0, 1, 0, 16];
    let alua = [0xa3, 0, 0, 0x0a, 0, 1, 0, 12];
    let timed = [&[0x2a, 0, 0, 0, 0, 2, 0, 10][..], &[0, 10, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9]].concat();
    let said = [&[0, 0, 0, 44][..], &copy, &read, &timed, &alua].concat();
    let left = [&[0, 0, 0, 36][..], &read, &timed, &alua].concat();
    assert_eq!(revised(&mut rig, &all, &said), left);
    // Cut in the middle: the length tells that there is more.
    let cut = [&[0, 0, 0, 36][..], &read].concat();
    assert_eq!(revised(&mut rig, &all, &said[..22]), cut);
    let one = |rig: &mut Rig, opcode: u8, action: u8| {
        rig.start(&[0xa3, 0x0c, 3, opcode, 0, action, 0, 0, 1, 0, 0, 0])
    };
    assert!(matches!(one(&mut rig, 0x28, 0), Outcome::Pass(_)));
    assert_eq!(one(&mut rig, 0x83, 0), Outcome::Data(4));
    assert_eq!(rig.out[..4], [0, 1, 0, 0], "not supported");
    assert!(matches!(one(&mut rig, 0x5f, 1), Outcome::Data(14)), "one of ours");
}

#[test]
fn the_capacity_tells_how_long_blocks_are() {
    let (short, long) = ([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0x9e, 0x10, 0, 0, 0, 0, 0, 0]);
    let said = |length: u32| [&[0, 0, 0, 9][..], &length.to_be_bytes(), &[0; 8]].concat();
    assert_eq!(block_length(&short, &said(2048)), Some(2048));
    assert_eq!(block_length(&long, &[&[0; 4][..], &said(4096)].concat()), Some(4096));
    assert_eq!(block_length(&[0x9e, 0x12], &[&[0; 4][..], &said(4096)].concat()), None, "GET LBA STATUS");
    assert_eq!(block_length(&short, &said(2048)[..7]), None, "cut short");
    assert_eq!([0, WHOLE + 1].map(|length| block_length(&short, &said(length))), [None; 2]);
    assert_eq!(block_length(&[0x28], &said(2048)), None);
}

#[test]
fn a_tape_counts_in_its_own_blocks() {
    let mut rig = rig(DeviceKind::Tape);
    assert_eq!(pass(&mut rig, &[0x08, 1, 0, 0, 9, 0]).data, PassData::In(expected(9)));
    assert_eq!(pass(&mut rig, &[0x0a, 0, 1, 0, 0, 0]).data, PassData::Out(known(65536)));
    assert_eq!(rig.sense(&[0x0a, 0, 4, 0, 1, 0]), Sense::cdb_field(2, 7));
    assert!(
        pass(&mut rig, &[0x01, 0, 0, 0, 0, 0]).order.changes,
        "later commands wait for a ghost that winds"
    );
    // WRITE SAME(16) of a disk is ERASE(16) of a tape.
    let mut erase = [0; 16];
    erase[0] = 0x93;
    assert_eq!(pass(&mut rig, &erase).data, PassData::Nothing);
}

proptest::proptest! {
    /// Whatever a device says, the answer is no longer than what the initiator takes.
    #[test]
    fn any_answer_is_revised(
        opcode in proptest::sample::select(vec![0x12u8, 0x12, 0x12, 0x1a, 0x5a, 0x05, 0xa3]),
        page in proptest::sample::select(vec![0u8, 0x83, 0xb0, 0x80]),
        tape in proptest::bool::ANY,
        length in 0..300u16,
        said in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
    ) {
        let mut rig = rig(if tape { DeviceKind::Tape } else { DeviceKind::Disk });
        let [high, low] = length.to_be_bytes();
        let cdb = [opcode, u8::from(page != 0), page, high, low, 0, 0, 0, 0, 0, 0, 0];
        let got = revise_as(&mut rig, &cdb, &said);
        let limit = if opcode == 0x12 && [0, 0x83].contains(&page) && cdb[1] == 1 { length.into() } else { said.len() };
        proptest::prop_assert!(got.len() <= limit, "{} of {}", got.len(), limit);
    }
}

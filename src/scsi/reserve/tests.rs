//! Reservations by commands, as initiators send them.

use std::sync::Arc;

use super::super::testing::{Rig, facts, nexus};
use super::super::{Effects, LuFacts, LuState, Outcome, SharedOp};
use super::*;

const ALL: [PrType; 6] = [
    PrType::WriteExclusive,
    PrType::ExclusiveAccess,
    PrType::WriteExclusiveRegistrants,
    PrType::ExclusiveAccessRegistrants,
    PrType::WriteExclusiveAll,
    PrType::ExclusiveAccessAll,
];

fn list(key: u64, action_key: u64, flags: u8) -> Vec<u8> {
    [&key.to_be_bytes()[..], &action_key.to_be_bytes(), &[0, 0, 0, 0, flags, 0, 0, 0]].concat()
}

fn out(action: u8, kind: u8) -> [u8; 10] {
    [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0]
}

fn report(action: u8) -> [u8; 10] {
    [0x5e, action, 0, 0, 0, 0, 0, 2, 0, 0]
}

/// Nexus 1 (key 1) holds `kind`, nexus 2 (key 2) is registered, nexus 3 is not.
fn scene(kind: PrType) -> Rig {
    let mut rig = Rig::new(facts());
    rig.run_from(1, &out(0, 0), &list(0, 1, 0)).unwrap();
    rig.run_from(2, &out(0, 0), &list(0, 2, 0)).unwrap();
    rig.run_from(1, &out(1, kind as u8), &list(1, 0, 0)).unwrap();
    rig
}

fn refused(rig: &mut Rig, number: u16, cdb: &[u8]) -> bool {
    rig.start_from(number, cdb) == Outcome::Fail(conflict())
}

#[test]
fn the_table_of_conflicts() {
    let read: [&[u8]; 3] =
        [&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0x1a, 0, 8, 0, 64, 0]];
    let write: [&[u8]; 4] = [
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x35, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x1b, 0, 0, 0, 0, 0],
        &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
    ];
    let free: [&[u8]; 6] = [
        &[0, 0, 0, 0, 0, 0],
        &[0x1b, 0, 0, 0, 1, 0],
        &[0x12, 0, 0, 0, 36, 0],
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0],
    ];
    for kind in ALL {
        let mut rig = scene(kind);
        for number in 1..=3 {
            let inside = number == 1 || (number == 2 && !kind.single());
            let reads = inside || kind.lets_read();
            read.iter().for_each(|cdb| assert_eq!(refused(&mut rig, number, cdb), !reads, "{kind:?}"));
            write.iter().for_each(|cdb| assert_eq!(refused(&mut rig, number, cdb), !inside, "{kind:?}"));
            free.iter().for_each(|cdb| assert!(!refused(&mut rig, number, cdb), "{kind:?} {cdb:02x?}"));
        }
    }
}

#[test]
fn leaving_an_all_registrants_reservation_is_leaving_it() {
    let mut rig = scene(PrType::WriteExclusiveAll);
    rig.run_from(1, &out(0, 0), &list(1, 0, 0)).unwrap();
    assert!(rig.lu.state.reservations.reservation.is_some());
    assert!(refused(&mut rig, 1, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
}

#[test]
fn read_keys_and_reservation() {
    let mut rig = scene(PrType::ExclusiveAccess);
    let keys = rig.data(&report(0));
    assert_eq!(
        keys,
        [[0, 0, 0, 2, 0, 0, 0, 16], [0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2]].concat()
    );
    let held = rig.data(&report(1));
    assert_eq!(held[..8], [0, 0, 0, 2, 0, 0, 0, 16]);
    assert_eq!(held[8..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0]);
    let all = scene(PrType::WriteExclusiveAll).data(&report(1));
    assert_eq!(all[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0]);
    let none = Rig::new(facts()).data(&report(1));
    assert_eq!(none, [0; 8]);
}

#[test]
fn a_short_allocation_still_tells_the_whole_length() {
    let mut rig = scene(PrType::ExclusiveAccess);
    let got = rig.data(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 12, 0]);
    assert_eq!(got, [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0]);
}

#[test]
fn capabilities() {
    let mut rig = Rig::new(facts());
    assert_eq!(rig.data(&report(2)), [0, 8, 0x9d, 0xc0, 0xea, 1, 0, 0]);
    assert!(rig.run_from(1, &out(0, 0), &list(0, 1, 1)).unwrap().persist);
    assert_eq!(rig.data(&report(2))[3], 0xc1);
}

#[test]
fn full_status_names_the_nexuses() {
    let got = scene(PrType::WriteExclusive).data(&report(3));
    assert_eq!(usize::from(got[7]), got.len() - 8);
    let first = &got[8..];
    assert_eq!((first[7], first[12], first[13]), (1, 1, 1));
    assert_eq!(first[18..24], [0, 1, 0, 0, 0, first[23]]);
    let second = &first[24 + usize::from(first[23])..];
    assert_eq!((second[7], second[12], second[13]), (2, 0, 0));
    assert_eq!(second[24], 0x45);
}

fn field(byte: u16, bit: u8) -> Result<Effects, Failure> {
    Err(Sense::parameter_field(byte, bit).into())
}

fn bad_length() -> Result<Effects, Failure> {
    Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH).into())
}

/// PERSISTENT RESERVE OUT with a list of that length.
fn sized(action: u8, length: usize) -> [u8; 10] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [0x5f, action, 1, 0, 0, a, b, c, d, 0]
}

#[test]
fn parameter_lists_of_wrong_length() {
    let mut rig = Rig::new(facts());
    for length in [0, 23, 0x1_0000, 0x0100_0018] {
        assert_eq!(rig.run_from(1, &sized(0, length), &[0; 24]), bad_length(), "{length}");
    }
    assert_eq!(rig.run_from(1, &out(0, 0), &[0; 23]), bad_length(), "less came than was announced");
    for action in 0..=8 {
        if action != 7 {
            assert_eq!(rig.run_from(1, &sized(action, 28), &[0; 28]), bad_length(), "action {action}");
        }
    }
}

#[test]
fn fields_that_are_not_taken() {
    let mut rig = Rig::new(facts());
    for action in [1, 2, 3, 4, 5, 6, 8] {
        assert_eq!(rig.run_from(1, &out(action, 1), &list(0, 1, 8)), field(20, 3), "SPEC_I_PT, {action}");
    }
    assert_eq!(rig.sense(&out(1, 0x11)), Sense::cdb_field(2, 7), "scope");
    assert_eq!(rig.sense(&out(1, 2)), Sense::cdb_field(2, 3), "type");
    assert_eq!(rig.sense(&out(8, 2)), Sense::cdb_field(2, 3), "type");
    assert_eq!(rig.sense(&out(9, 1)), Sense::cdb_field(1, 4), "no such action");
}

#[test]
fn a_unit_that_cannot_save_says_so() {
    let mut rig = Rig::new(LuFacts { saves: false, ..facts() });
    assert_eq!(rig.data(&report(2))[2], 0x9c);
    for action in [0, 6, 8] {
        assert_eq!(rig.run_from(1, &out(action, 1), &list(0, 1, 1)), field(20, 0));
    }
    assert!(rig.run_from(1, &out(0, 0), &list(0, 1, 0)).is_ok());
    assert!(rig.run_from(1, &out(1, 1), &list(1, 0, 1)).is_ok(), "ignored by RESERVE");
    let (cdb, list) = move_to(&transport::of_port(&nexus(2)), 1, 1);
    assert_eq!(rig.run_from(1, &cdb, &list), field(17, 0));
}

/// REGISTER with SPEC_I_PT, key 0 to `key`.
fn naming(key: u64, ids: &[u8]) -> ([u8; 10], Vec<u8>) {
    let mut data = list(0, key, 8);
    data.extend((ids.len() as u32).to_be_bytes());
    data.extend(ids);
    (sized(0, data.len()), data)
}

/// REGISTER AND MOVE from key 1 to key 7, with these flags, to a relative port.
fn move_to(id: &[u8], flags: u8, port: u8) -> ([u8; 10], Vec<u8>) {
    let mut data = list(1, 7, 0)[..16].to_vec();
    data.extend([0, flags, 0, port]);
    data.extend((id.len() as u32).to_be_bytes());
    data.extend(id);
    (sized(7, data.len()), data)
}

#[test]
fn initiator_ports_are_named() {
    let mut rig = Rig::new(facts());
    let ids = [transport::of_port(&nexus(2)), transport::of_port(&nexus(3))].concat();
    let (cdb, data) = naming(5, &ids);
    rig.run_from(1, &cdb, &data).unwrap();
    let keys: Vec<_> = (1..=4).map(|n| rig.lu.state.reservations.key_of(&nexus(n))).collect();
    assert_eq!(keys, [Some(5), Some(5), Some(5), None]);
    let status = rig.data(&report(3));
    let descriptor = 24 + ids.len() / 2;
    assert_eq!(status.len(), 8 + 3 * descriptor);
    assert_eq!(status[8 + descriptor + 24..][..ids.len() / 2], ids[..ids.len() / 2], "as it was named");
}

#[test]
fn lists_of_initiator_ports_that_are_wrong() {
    let mut rig = Rig::new(facts());
    let id = transport::of_port(&nexus(2));
    let (_, data) = naming(5, &id);
    assert_eq!(rig.run_from(1, &sized(0, 24), &data[..24]), bad_length(), "no length");
    let short = data.len() - 4;
    assert_eq!(rig.run_from(1, &sized(0, short), &data[..short]), bad_length(), "not all of them");
    let (cdb, data) = naming(5, &id[..id.len() - 4]);
    assert_eq!(rig.run_from(1, &cdb, &data), field(24, 7), "the last one is cut");
    let (cdb, data) = naming(5, &[&id[..], &[0x46, 0, 0, 20], &[0; 20]].concat());
    assert_eq!(rig.run_from(1, &cdb, &data), field(28 + id.len() as u16, 3), "not of iSCSI");
    let (cdb, data) = naming(5, &[&id[..], &[0, 0, 0, 0]].concat());
    assert_eq!(rig.run_from(1, &cdb, &data), field(28 + id.len() as u16, 3), "zeroes are none");
    assert!(rig.lu.state.reservations.registrants.is_empty());
    let (cdb, data) = naming(5, &[]);
    rig.run_from(1, &cdb, &data).unwrap();
}

#[test]
fn lists_of_register_and_move_that_are_wrong() {
    let mut rig = scene(PrType::WriteExclusive);
    let id = transport::of_port(&nexus(2));
    let (_, data) = move_to(&id, 0, 1);
    let short = data.len() - 4;
    assert_eq!(rig.run_from(1, &sized(7, short), &data[..short]), bad_length());
    for wrong in [&id[..20], &id[..id.len() - 4], &[&id[..], &id].concat()] {
        let (cdb, data) = move_to(wrong, 0, 1);
        assert_eq!(rig.run_from(1, &cdb, &data), field(20, 7), "{} bytes", wrong.len());
    }
}

#[test]
fn while_reservations_are_lost_only_harmless_commands_run() {
    let lost = Failure::Check(Sense::new(SenseKey::DATA_PROTECT, Asc::PERSISTENT_RESERVATION_LOST));
    let mut rig = Rig::new(facts());
    rig.lu.state = Arc::new(LuState::damaged());
    let refused: [&[u8]; 7] = [
        &[0; 6],
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x1b, 0, 0, 0, 0, 0],
        &[0x16, 0, 0, 0, 0, 0],
        &report(0),
        &out(0, 0),
    ];
    for cdb in refused {
        assert_eq!(rig.start(cdb), Outcome::Fail(lost), "{cdb:02x?}");
    }
    let harmless: [&[u8]; 4] = [
        &[0x12, 0, 0, 0, 36, 0],
        &[0x03, 0, 0, 0, 18, 0],
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        &[0x1b, 0, 0, 0, 1, 0],
    ];
    harmless.iter().for_each(|cdb| assert!(!matches!(rig.start(cdb), Outcome::Fail(_)), "{cdb:02x?}"));
    rig.run_from(2, &out(8, 3), &list(0, 9, 0)).unwrap();
    assert!(refused_by_reservation(&mut rig, 1));
    assert_eq!(rig.start_from(2, &[0; 6]), Outcome::Good);
}

fn refused_by_reservation(rig: &mut Rig, number: u16) -> bool {
    refused(rig, number, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
}

#[test]
fn the_old_reserve_and_release() {
    let mut rig = Rig::new(facts());
    let (reserve, release) = ([0x16, 0, 0, 0, 0, 0], [0x17, 0, 0, 0, 0, 0]);
    rig.run_from(1, &reserve, &[]).unwrap();
    rig.run_from(1, &reserve, &[]).unwrap();
    assert!(refused(&mut rig, 2, &reserve));
    assert!(refused(&mut rig, 2, &[0x1a, 0, 8, 0, 64, 0]));
    assert!(refused(&mut rig, 2, &[0; 6]));
    assert!(refused(&mut rig, 1, &report(0)), "persistent reservations are not to be had");
    assert!(!refused(&mut rig, 2, &[0x12, 0, 0, 0, 36, 0]));
    assert_eq!(rig.start_from(2, &release), Outcome::Good);
    assert!(rig.lu.state.reservations.active());
    rig.run_from(1, &release, &[]).unwrap();
    rig.run_from(2, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).unwrap();
    assert!(refused(&mut rig, 1, &[0; 6]));
}

#[test]
fn what_tells_and_what_frees_passes_the_old_reserve() {
    let mut rig = Rig::new(LuFacts { removable: true, ..facts() });
    rig.run_from(1, &[0x16, 0, 0, 0, 0, 0], &[]).unwrap();
    let capacity16 = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let allowed: [&[u8]; 6] = [
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &capacity16,
        &[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 64, 0],
        &[0xa3, 0x05, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0],
        &[0x1b, 0, 0, 0, 1, 0],
        &[0x1e, 0, 0, 0, 0, 0],
    ];
    for cdb in allowed {
        assert!(!refused(&mut rig, 2, cdb), "{cdb:02x?}");
    }
    for cdb in [[0x1b, 0, 0, 0, 0, 0], [0x1b, 0, 0, 0, 0x11, 0], [0x1b, 0, 0, 0, 2, 0], [0x1e, 0, 0, 0, 1, 0]]
    {
        assert!(refused(&mut rig, 2, &cdb), "{cdb:02x?}");
    }
}

#[test]
fn the_old_reserve_beside_registrations() {
    let mut rig = scene(PrType::WriteExclusiveRegistrants);
    let reserve = [0x16, 0, 0, 0, 0, 0];
    rig.run_from(1, &reserve, &[]).unwrap();
    rig.run_from(2, &reserve, &[]).unwrap();
    assert_eq!(rig.lu.state.reservations.legacy, None, "good, without effect");
    assert_eq!(rig.run_from(3, &reserve, &[]), Err(conflict()));
    assert_eq!(rig.start_from(1, &[0x17, 0, 0, 0, 0, 0]), Outcome::Shared(SharedOp::Release));
    assert_eq!(rig.run_from(3, &[0x17, 0, 0, 0, 0, 0], &[]), Err(conflict()));
}

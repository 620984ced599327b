//! Reservations by commands, as initiators send them.

use super::super::testing::{Rig, facts};
use super::super::{Asc, Outcome, Sense, SharedOp};
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
    assert_eq!(rig.data(&report(2)), [0, 8, 0x11, 0xc0, 0xea, 1, 0, 0]);
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

#[test]
fn parameter_lists_that_are_not_taken() {
    let mut rig = Rig::new(facts());
    let bad_length = Failure::Check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH));
    assert_eq!(rig.run_from(1, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 23, 0], &[]), Err(bad_length));
    assert_eq!(rig.run_from(1, &[0x5f, 0, 0, 0, 0, 0, 1, 0, 24, 0], &[]), Err(bad_length));
    assert_eq!(rig.run_from(1, &out(0, 0), &[0; 23]), Err(bad_length));
    let field = |bit| Err(Failure::Check(Sense::parameter_field(20, bit)));
    assert_eq!(rig.run_from(1, &out(0, 0), &list(0, 1, 8)), field(3), "SPEC_I_PT");
    assert_eq!(rig.run_from(1, &out(0, 0), &list(0, 1, 4)), field(2), "ALL_TG_PT");
    assert_eq!(rig.sense(&out(1, 0x11)), Sense::cdb_field(2, 7), "scope");
    assert_eq!(rig.sense(&out(1, 2)), Sense::cdb_field(2, 3), "type");
    assert_eq!(rig.sense(&out(7, 1)), Sense::cdb_field(1, 4), "REGISTER AND MOVE");
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


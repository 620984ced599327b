//! The fields of SANITIZE and of its parameter list.

use super::super::testing::{Rig, facts, nexus};
use super::super::{Asc, LuFacts, Selected, Settings, status};
use super::*;

fn cdb(flags: u8, length: u16) -> Vec<u8> {
    [&[0x48, flags, 0, 0, 0, 0, 0][..], &length.to_be_bytes(), &[0]].concat()
}

/// OVERWRITE of that list.
fn send(rig: &mut Rig, flags: u8, list: &[u8]) -> Outcome {
    rig.send(&cdb(flags | 1, list.len() as u16), list)
}

fn erasure(outcome: Outcome) -> (Cause, Fill, bool) {
    match outcome {
        Outcome::Shared(SharedOp::Erase { erasure, immediate }) => (erasure.cause, erasure.fill, immediate),
        other => panic!("{other:?}"),
    }
}

fn refused(byte: u16, bit: u8) -> Outcome {
    Outcome::Fail(Sense::parameter_field(byte, bit).into())
}

#[test]
fn overwrite_takes_pattern_count_and_invert() {
    let mut rig = Rig::new(facts());
    let got = erasure(send(&mut rig, 0x80, &[0x83, 0, 0, 2, 0xab, 0xcd]));
    let fill = Fill::Pattern { pattern: vec![0xab, 0xcd], passes: 3, invert: true };
    assert_eq!(got, (Cause::Sanitize { unrestricted: false }, fill, true));
    let whole = [&[0x1f, 0, 2, 0][..], &[7; 512]].concat();
    let got = erasure(send(&mut rig, 0x20, &whole));
    let fill = Fill::Pattern { pattern: vec![7; 512], passes: 31, invert: false };
    assert_eq!(got, (Cause::Sanitize { unrestricted: true }, fill, false));
}

#[test]
fn the_list_is_a_header_and_at_most_one_block() {
    let mut rig = Rig::new(facts());
    for length in [0, 1, 2, 3, 4, 517, 0xffff] {
        assert_eq!(rig.sense(&cdb(1, length)), Sense::cdb_field(7, 7), "{length}");
    }
    for length in [5, 516] {
        assert_eq!(rig.start(&cdb(1, length)), Outcome::Params(length.into()));
    }
}

#[test]
fn what_the_list_must_not_say() {
    let mut rig = Rig::new(facts());
    assert_eq!(send(&mut rig, 0, &[0, 0, 0, 1, 0]), refused(0, 4), "no pass");
    assert_eq!(send(&mut rig, 0, &[0x21, 0, 0, 1, 0]), refused(0, 6), "TEST");
    assert_eq!(send(&mut rig, 0, &[1, 1, 0, 1, 0]), refused(1, 7), "reserved");
    assert_eq!(send(&mut rig, 0, &[1, 0, 0, 0, 0]), refused(2, 7), "no pattern");
    let long = [&[1, 0, 2, 1][..], &[0; 512]].concat();
    assert_eq!(send(&mut rig, 0, &long), refused(2, 7), "more than a block");
    let short = Outcome::Fail(bad_length());
    assert_eq!(send(&mut rig, 0, &[1, 0, 0, 3, 0, 0]), short, "less than it says");
    assert_eq!(rig.send(&cdb(1, 8), &[1, 0, 0]), short, "less than was announced");
}

#[test]
fn block_erase_has_no_list_and_needs_thin_provisioning() {
    let mut rig = Rig::new(facts());
    assert_eq!(
        erasure(rig.start(&cdb(2, 0))),
        (Cause::Sanitize { unrestricted: false }, Fill::Zeroes, false)
    );
    assert_eq!(
        erasure(rig.start(&cdb(0xa2, 0))),
        (Cause::Sanitize { unrestricted: true }, Fill::Zeroes, true)
    );
    assert_eq!(rig.sense(&cdb(2, 8)), Sense::cdb_field(7, 7));
    assert_eq!(rig.sense(&cdb(0x1f, 8)), Sense::cdb_field(7, 7));
    let mut thick = Rig::new(LuFacts { thin: None, ..facts() });
    assert_eq!(thick.sense(&cdb(2, 0)), Sense::cdb_field(1, 4));
    assert_eq!(thick.start(&cdb(1, 5)), Outcome::Params(5));
}

#[test]
fn what_is_not_offered_and_what_is_reserved() {
    let mut rig = Rig::new(facts());
    for action in (0..0x20).filter(|action| ![1, 2, 0x1f].contains(action)) {
        assert_eq!(rig.sense(&cdb(action, 0)), Sense::cdb_field(1, 4), "{action:#x}");
    }
    for action in [1, 2, 0x1f] {
        assert_eq!(rig.sense(&cdb(action | 0x40, 0)), Sense::cdb_field(1, 6), "ZNR");
        for at in 2..7 {
            let mut cdb = cdb(action, 0);
            cdb[at] = 1;
            assert_eq!(rig.sense(&cdb), Sense::cdb_field(at as u16, 7));
        }
    }
}

#[test]
fn reservations_and_write_protection_keep_it_out() {
    let list = [1, 0, 0, 1, 0];
    let mut rig = Rig::new(facts());
    rig.run_from(2, &[0x16, 0, 0, 0, 0, 0], &[]).unwrap();
    let conflict = Outcome::Fail(Failure::Status(status::RESERVATION_CONFLICT));
    for cdb in [cdb(1, 5), cdb(2, 0), cdb(0x1f, 0)] {
        assert_eq!(rig.start(&cdb), conflict);
    }
    let mut rig = Rig { read_only_map: true, ..Rig::new(facts()) };
    let protected = Outcome::Fail(Sense::write_protected().into());
    assert_eq!((send(&mut rig, 0, &list), rig.start(&cdb(2, 0))), (protected.clone(), protected));
    let mut rig = Rig::new(facts());
    let to = Selected::all(Settings { write_protect: true, ..Settings::default() });
    let select = SharedOp::ModeSelect { to, save: false };
    rig.lu.state = rig.lu.state.apply(&rig.lu.facts, &select, &nexus(1)).unwrap().0.into();
    assert_eq!(rig.sense(&cdb(2, 0)), Sense::protected(Asc(0x27, 2)));
    assert_eq!(rig.sense(&cdb(1, 5)), Sense::protected(Asc(0x27, 2)));
}

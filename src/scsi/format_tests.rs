//! The fields of FORMAT UNIT and of its parameter list.

use super::super::LuFacts;
use super::super::testing::{Rig, facts};
use super::*;

fn cdb(flags: u8) -> [u8; 6] {
    [0x04, flags, 0, 0, 0, 0]
}

fn erasure(outcome: Outcome) -> (Fill, bool) {
    match outcome {
        Outcome::Shared(SharedOp::Erase { erasure, immediate }) => {
            assert_eq!(erasure.cause, Cause::Format);
            (erasure.fill, immediate)
        }
        other => panic!("{other:?}"),
    }
}

fn short(list: &[u8]) -> Outcome {
    Rig::new(facts()).send(&cdb(0x10), list)
}

fn long(list: &[u8]) -> Outcome {
    Rig::new(facts()).send(&cdb(0x30), list)
}

fn refused(byte: u16, bit: u8) -> Outcome {
    Outcome::Fail(Sense::parameter_field(byte, bit).into())
}

#[test]
fn without_a_list_all_is_by_default() {
    let mut rig = Rig::new(facts());
    assert_eq!(erasure(rig.start(&cdb(0))), (Fill::Zeroes, false));
    assert_eq!(erasure(rig.start(&cdb(0x28))), (Fill::Zeroes, false), "LONGLIST and CMPLST are ignored");
    assert_eq!(rig.sense(&cdb(0x04)), Sense::cdb_field(1, 2));
}

#[test]
fn the_list_tells_its_own_length() {
    let mut rig = Rig::new(facts());
    assert_eq!(rig.start(&cdb(0x10)), Outcome::ParamsUpTo(12 + 512));
    assert_eq!(erasure(short(&[0, 0, 0, 0])), (Fill::Zeroes, false));
    assert_eq!(erasure(short(&[0, 2, 0, 0])), (Fill::Zeroes, true));
    assert_eq!(erasure(long(&[0, 2, 0, 0, 0, 0, 0, 0])), (Fill::Zeroes, true));
    assert_eq!(erasure(short(&[0, 0xf2, 0, 0])), (Fill::Zeroes, true), "DPRY, DCRT, STPF");
    let too_short = Outcome::Fail(bad_length());
    assert_eq!(
        (short(&[]), short(&[0, 2, 0]), long(&[0, 2, 0, 0])),
        (too_short.clone(), too_short.clone(), too_short)
    );
}

#[test]
fn every_format_of_an_empty_defect_list() {
    let mut rig = Rig::new(facts());
    for format in [0, 3, 4, 5, 6] {
        for complete in [0, 8] {
            assert_eq!(erasure(rig.send(&cdb(0x10 | complete | format), &[0; 4])), (Fill::Zeroes, false));
        }
    }
    for format in [1, 2, 7] {
        assert_eq!(rig.sense(&cdb(0x10 | format)), Sense::cdb_field(1, 2));
    }
    assert_eq!(short(&[0, 0, 0, 4, 0, 0, 0, 0]), refused(2, 7));
    assert_eq!(long(&[0, 0, 0, 0, 0, 0, 0, 8]), refused(4, 7));
}

#[test]
fn what_is_not_offered() {
    let mut rig = Rig::new(facts());
    for protection in [0x40, 0x80, 0xc0] {
        assert_eq!(rig.sense(&cdb(protection)), Sense::cdb_field(1, 7), "FMTPINFO");
    }
    for fast in [1, 2, 3] {
        assert_eq!(rig.sense(&[0x04, 0, 0, 0, fast, 0]), Sense::cdb_field(4, 1), "FFMT");
    }
    assert_eq!(short(&[1, 0, 0, 0]), refused(0, 2), "PROTECTION FIELD USAGE");
    assert_eq!(long(&[0, 0, 0, 1, 0, 0, 0, 0]), refused(3, 7), "PROTECTION INTERVAL EXPONENT");
    assert_eq!(short(&[0, 0x84, 0, 0]), refused(1, 2), "DSP is obsolete");
    for option in [0x40, 0x20, 0x10, 0x08] {
        assert_eq!(short(&[0, option, 0, 0]), refused(1, 7), "FOV is zero");
    }
}

#[test]
fn an_initialization_pattern() {
    let fill = |pattern: &[u8]| Fill::Pattern { pattern: pattern.to_vec(), passes: 1, invert: false };
    assert_eq!(erasure(short(&[0, 0x88, 0, 0, 0, 1, 0, 2, 0xab, 0xcd])), (fill(&[0xab, 0xcd]), false));
    let got = long(&[0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0xab]);
    assert_eq!(erasure(got), (fill(&[0xab]), true));
    assert_eq!(erasure(short(&[0, 0x88, 0, 0, 0, 0, 0, 0])), (Fill::Zeroes, false), "the default one");
    assert_eq!(erasure(short(&[0, 0x88, 0, 0, 0, 1, 0, 2, 0, 0])), (Fill::Zeroes, false), "is zeroes");
}

#[test]
fn what_is_wrong_with_a_pattern() {
    let with = |descriptor: &[u8]| short(&[&[0, 0x88, 0, 0], descriptor].concat());
    assert_eq!(with(&[0, 0, 0, 1, 0]), refused(6, 7), "the default one has no length");
    assert_eq!(with(&[0, 1, 0, 0]), refused(6, 7), "and this one must have");
    assert_eq!(with(&[&[0, 1, 2, 1][..], &[7; 513]].concat()), refused(6, 7), "more than a block");
    assert_eq!(with(&[0, 2, 0, 1, 0]), refused(5, 7), "reserved type");
    assert_eq!(with(&[0x20, 1, 0, 1, 7]), refused(4, 7), "SI");
    let too_short = Outcome::Fail(bad_length());
    assert_eq!((with(&[0, 1, 0]), with(&[0, 1, 0, 2, 7])), (too_short.clone(), too_short));
    assert_eq!(long(&[0, 0x88, 0, 0, 0, 0, 0, 0, 0x20, 1, 0, 1, 7]), refused(8, 7));
}

#[test]
fn a_protected_unit_is_not_formatted() {
    let mut rig = Rig::new(LuFacts { read_only: true, ..facts() });
    assert_eq!(rig.sense(&cdb(0)), Sense::write_protected());
    assert_eq!(rig.sense(&cdb(0x10)), Sense::write_protected());
}

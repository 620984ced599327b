//! The drive: ejecting and loading, preventing, stopping, power conditions.

use super::super::testing::{Rig, cdrom, facts, nexus};
use super::super::{Device, DeviceKind, LuFacts, status};
use super::*;

const READY: [u8; 6] = [0; 6];
const CAPACITY: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const EJECT: u8 = 2;
const LOAD: u8 = 3;
const ABSENT: Sense = Sense::not_ready(Asc::MEDIUM_NOT_PRESENT_TRAY_OPEN);
const STOPPED: Sense = Sense::not_ready(Asc::INITIALIZING_COMMAND_REQUIRED);
const PREVENTED: Failure = Failure::Check(Sense::illegal(Asc::MEDIUM_REMOVAL_PREVENTED));

fn removable() -> Rig {
    Rig::new(LuFacts { removable: true, ..facts() })
}

/// START STOP UNIT with that byte 4.
fn unit(rig: &mut Rig, byte: u8) -> Result<Effects, Failure> {
    rig.run_from(1, &[0x1b, 0, 0, 0, byte, 0], &[])
}

fn prevent(rig: &mut Rig, number: u16, how: u8) -> Result<Effects, Failure> {
    rig.run_from(number, &[0x1e, 0, 0, 0, how, 0], &[])
}

fn apply(rig: &mut Rig, number: u16, op: &SharedOp) -> Effects {
    let (state, effects) = rig.lu.state.apply(&rig.lu.facts, op, &nexus(number)).unwrap();
    rig.lu.state = state.into();
    effects
}

/// What REQUEST SENSE tells: key, code, qualifier.
fn told(rig: &mut Rig) -> (u8, u8, u8) {
    let sense = rig.data(&[0x03, 0, 0, 0, 18, 0]);
    (sense[2], sense[12], sense[13])
}

#[test]
fn a_fixed_unit_neither_ejects_nor_prevents() {
    let mut rig = Rig::new(facts());
    for byte in [EJECT, LOAD] {
        assert_eq!(rig.sense(&[0x1b, 0, 0, 0, byte, 0]), Sense::cdb_field(4, 1));
    }
    assert_eq!(rig.sense(&[0x1e, 0, 0, 0, 0, 0]).asc, Asc::INVALID_OPCODE);
    assert_eq!(rig.data(&[0x12, 0, 0, 0, 36, 0])[1], 0);
}

#[test]
fn an_ejected_medium_is_not_there() {
    let mut rig = removable();
    assert_eq!(rig.data(&[0x12, 0, 0, 0, 36, 0])[1], 0x80, "RMB");
    assert!(unit(&mut rig, EJECT).unwrap().flush);
    for cdb in [&READY[..], &CAPACITY, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        assert_eq!(rig.sense(cdb), ABSENT, "{cdb:02x?}");
    }
    assert_eq!(rig.sense(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]), ABSENT);
    assert_eq!(told(&mut rig), (2, 0x3a, 2));
    assert!(matches!(rig.start(&[0x12, 0, 0, 0, 36, 0]), Outcome::Data(_)));
    let again = Outcome::Shared(SharedOp::Drive(DriveOp::Eject { flush: true }));
    assert_eq!(rig.start(&[0x1b, 0, 0, 0, EJECT, 0]), again, "it is out, and perhaps not flushed yet");
    assert_eq!(rig.sense(&[0x1b, 0, 0, 0, 1, 0]), ABSENT, "nothing to start");
}

#[test]
fn a_loaded_medium_may_be_another_for_all_but_who_loaded_it() {
    let mut rig = removable();
    unit(&mut rig, EJECT).unwrap();
    let effects = unit(&mut rig, LOAD).unwrap();
    assert_eq!(effects.attention_others, Some(Asc(0x28, 0)));
    assert_eq!(effects.attentions, []);
    assert_eq!(rig.start(&READY), Outcome::Good);
    assert_eq!(rig.start(&[0x1b, 0, 0, 0, LOAD, 0]), Outcome::Good, "it is in already");
}

#[test]
fn loading_starts_a_stopped_drive_with_the_medium_it_has() {
    let mut rig = removable();
    unit(&mut rig, 0).unwrap();
    assert_eq!(unit(&mut rig, LOAD).unwrap(), Effects::default());
    assert_eq!(rig.start(&READY), Outcome::Good);
}

#[test]
fn no_flush_is_heeded() {
    let mut rig = removable();
    assert!(!unit(&mut rig, 4 | EJECT).unwrap().flush);
    unit(&mut rig, LOAD).unwrap();
    assert!(!unit(&mut rig, 4).unwrap().flush);
}

#[test]
fn whoever_prevents_keeps_the_medium_in_for_all() {
    let mut rig = removable();
    prevent(&mut rig, 1, 1).unwrap();
    prevent(&mut rig, 2, 1).unwrap();
    assert_eq!(unit(&mut rig, EJECT), Err(PREVENTED));
    assert_eq!(rig.start(&READY), Outcome::Good);
    prevent(&mut rig, 1, 0).unwrap();
    assert_eq!(unit(&mut rig, EJECT), Err(PREVENTED), "the other still does");
    prevent(&mut rig, 2, 0).unwrap();
    unit(&mut rig, EJECT).unwrap();
    prevent(&mut rig, 1, 1).unwrap();
    assert_eq!(unit(&mut rig, LOAD), Err(PREVENTED), "the tray does not move");
}

#[test]
fn prevention_is_not_counted() {
    let mut rig = removable();
    prevent(&mut rig, 1, 1).unwrap();
    assert_eq!(rig.start(&[0x1e, 0, 0, 0, 1, 0]), Outcome::Good);
    prevent(&mut rig, 1, 0).unwrap();
    assert_eq!(rig.start(&[0x1e, 0, 0, 0, 0, 0]), Outcome::Good);
    unit(&mut rig, EJECT).unwrap();
    assert_eq!(rig.sense(&[0x1e, 0, 0, 0, 2, 0]), Sense::cdb_field(4, 1), "obsolete");
}

#[test]
fn prevention_ends_with_its_nexus_or_a_reset() {
    let mut rig = removable();
    prevent(&mut rig, 1, 1).unwrap();
    prevent(&mut rig, 2, 1).unwrap();
    apply(&mut rig, 1, &SharedOp::NexusLoss);
    assert_eq!(unit(&mut rig, EJECT), Err(PREVENTED));
    apply(&mut rig, 2, &SharedOp::NexusLoss);
    unit(&mut rig, EJECT).unwrap();
    prevent(&mut rig, 1, 1).unwrap();
    apply(&mut rig, 2, &SharedOp::Reset);
    assert_eq!(rig.sense(&READY), ABSENT, "a reset does not put it in");
    unit(&mut rig, LOAD).unwrap();
}

#[test]
fn preempt_and_abort_ends_what_the_loser_prevented() {
    let mut rig = removable();
    let keys = |key, action| [[0, 0, 0, 0, 0, 0, 0, key], [0, 0, 0, 0, 0, 0, 0, action], [0; 8]].concat();
    for (number, key) in [(1, 1), (2, 2)] {
        rig.run_from(number, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &keys(0, key)).unwrap();
    }
    prevent(&mut rig, 2, 1).unwrap();
    rig.run_from(1, &[0x5f, 5, 1, 0, 0, 0, 0, 0, 24, 0], &keys(1, 2)).unwrap();
    unit(&mut rig, EJECT).unwrap();
}

/// To a device that is passed through all nexuses are one.
#[test]
fn a_device_is_told_when_the_last_no_longer_prevents() {
    let device = Device::whole(DeviceKind::Optical);
    let mut rig = Rig::new(LuFacts { passed: Some(device), ..cdrom(64) });
    let told = |effects: Effects| -> Vec<u8> { effects.removal.iter().map(|r| r.cdb()[4]).collect() };
    let say = |rig: &mut Rig, number, how| told(prevent(rig, number, how).unwrap());
    assert_eq!([say(&mut rig, 1, 1), say(&mut rig, 2, 1), say(&mut rig, 2, 1)], [[1]; 3]);
    assert_eq!(say(&mut rig, 1, 0), Vec::<u8>::new(), "the other still does");
    assert_eq!(told(apply(&mut rig, 1, &SharedOp::NexusLoss)), Vec::<u8>::new());
    assert_eq!(told(apply(&mut rig, 2, &SharedOp::NexusLoss)), [0]);
    assert_eq!(told(apply(&mut rig, 2, &SharedOp::NexusLoss)), Vec::<u8>::new());
    assert_eq!([say(&mut rig, 1, 1), say(&mut rig, 2, 3)], [[1], [3]]);
    assert_eq!(told(apply(&mut rig, 3, &SharedOp::Reset)), [0, 2]);
    assert_eq!([say(&mut rig, 1, 0), say(&mut rig, 1, 2)], [[0], [2]], "whatever it was told before");
    let keys = |key, action| [[0, 0, 0, 0, 0, 0, 0, key], [0, 0, 0, 0, 0, 0, 0, action], [0; 8]].concat();
    for (number, key) in [(1, 1), (2, 2)] {
        rig.run_from(number, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &keys(0, key)).unwrap();
    }
    assert_eq!(say(&mut rig, 2, 1), [1]);
    assert_eq!(
        told(rig.run_from(1, &[0x5f, 5, 1, 0, 0, 0, 0, 0, 24, 0], &keys(1, 2)).unwrap()),
        [0],
        "PREEMPT AND ABORT"
    );
    let mut own = removable();
    assert!(prevent(&mut own, 1, 1).unwrap().removal.is_empty(), "what is no device is not told");
}

#[test]
fn preventing_needs_what_writing_needs_and_allowing_does_not() {
    let mut rig = removable();
    let keys = |key, action| [[0, 0, 0, 0, 0, 0, 0, key], [0, 0, 0, 0, 0, 0, 0, action], [0; 8]].concat();
    rig.run_from(2, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &keys(0, 9)).unwrap();
    rig.run_from(2, &[0x5f, 1, 1, 0, 0, 0, 0, 0, 24, 0], &keys(9, 0)).unwrap();
    let conflict = Failure::Status(status::RESERVATION_CONFLICT);
    assert_eq!(prevent(&mut rig, 1, 1), Err(conflict));
    assert_eq!(prevent(&mut rig, 1, 0), Ok(Effects::default()));
    for byte in [0, EJECT, 0x20] {
        assert_eq!(unit(&mut rig, byte), Err(conflict), "{byte:#x}");
    }
    assert_eq!(unit(&mut rig, 1), Ok(Effects::default()), "starting is for everybody");
}

#[test]
fn a_drive_prevents_in_two_ways() {
    let mut rig = Rig::new(cdrom(1000));
    prevent(&mut rig, 1, 3).unwrap();
    assert_eq!(rig.start(&[0x1e, 0, 0, 0, 3, 0]), Outcome::Good);
    assert_eq!(unit(&mut rig, EJECT), Err(PREVENTED));
    prevent(&mut rig, 1, 0).unwrap();
    assert_eq!(unit(&mut rig, EJECT), Err(PREVENTED), "that was the other way");
    prevent(&mut rig, 1, 1).unwrap();
    prevent(&mut rig, 1, 2).unwrap();
    assert_eq!(unit(&mut rig, EJECT), Err(PREVENTED), "and so is that");
    prevent(&mut rig, 1, 0).unwrap();
    unit(&mut rig, EJECT).unwrap();
    unit(&mut rig, LOAD).unwrap();
    prevent(&mut rig, 1, 3).unwrap();
    apply(&mut rig, 1, &SharedOp::NexusLoss);
    unit(&mut rig, EJECT).unwrap();
}

#[test]
fn a_stopped_disc_turns_again_when_it_is_read() {
    let mut rig = Rig::new(cdrom(1000));
    assert_eq!(unit(&mut rig, 0), Ok(Effects::default()));
    assert_eq!(told(&mut rig), (0, 0x5e, 4));
    assert_eq!(rig.start(&READY), Outcome::Good);
    assert!(matches!(rig.start(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Outcome::Io(_)));
    assert_eq!(told(&mut rig), (0, 0, 0));
    assert_eq!(rig.sense(&[0x1b, 0, 0, 0, 4 | EJECT, 0]), Sense::cdb_field(4, 2), "FL");
}

#[test]
fn stopping_and_starting() {
    let mut rig = Rig::new(facts());
    assert_eq!(rig.start(&[0x1b, 0, 0, 0, 1, 0]), Outcome::Good, "it runs");
    assert!(unit(&mut rig, 0).unwrap().flush);
    let again = Outcome::Shared(SharedOp::Drive(DriveOp::Power { to: Power::Stopped, flush: true }));
    assert_eq!(rig.start(&[0x1b, 0, 0, 0, 0, 0]), again, "it is stopped, and perhaps not flushed yet");
    assert_eq!(rig.start(&[0x1b, 0, 0, 0, 4, 0]), Outcome::Good, "it is stopped already");
    assert_eq!(rig.sense(&READY), STOPPED);
    assert_eq!(told(&mut rig), (2, 4, 2));
    assert_eq!(rig.data(&CAPACITY).len(), 8, "the capacity is still known");
    unit(&mut rig, 1).unwrap();
    assert_eq!(rig.start(&READY), Outcome::Good);
}

#[test]
fn power_conditions_are_told_and_serve() {
    let mut rig = removable();
    for (condition, want) in [(2, (0, 0x5e, 3)), (3, (0, 0x5e, 4)), (1, (0, 0, 0)), (0xa, (0, 0x5e, 3))] {
        unit(&mut rig, condition << 4 | EJECT).unwrap();
        assert_eq!(told(&mut rig), want, "{condition:#x}");
        assert_eq!(rig.start(&READY), Outcome::Good, "LOEJ is not looked at");
    }
    unit(&mut rig, 0xb0).unwrap();
    assert_eq!(told(&mut rig), (0, 0x5e, 4));
    unit(&mut rig, 0x70).unwrap();
    assert_eq!(told(&mut rig), (0, 0, 0));
}

#[test]
fn whoever_needs_the_medium_ends_idle_and_standby() {
    let mut rig = Rig::new(facts());
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for (condition, qualifier) in [(0x20, 3), (0x30, 4), (0x30, 4)] {
        unit(&mut rig, condition).unwrap();
        assert_eq!(rig.start(&READY), Outcome::Good);
        rig.data(&CAPACITY);
        assert_eq!(told(&mut rig), (0, 0x5e, qualifier), "that takes no medium");
        assert!(matches!(rig.start(&read), Outcome::Io(_)));
        assert_eq!(told(&mut rig), (0, 0, 0));
        assert!(matches!(rig.start(&read), Outcome::Io(_)));
    }
    unit(&mut rig, 0x20).unwrap();
    rig.sense(&[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0]);
    assert_eq!(told(&mut rig), (0, 0, 0), "it had to look");
    unit(&mut rig, 0x10).unwrap();
    assert!(rig.lu.state.is_ready(), "and nobody has to look any more");
}

#[test]
fn a_power_condition_leaves_the_stopped_one() {
    let mut rig = Rig::new(facts());
    unit(&mut rig, 0).unwrap();
    unit(&mut rig, 0x10).unwrap();
    assert_eq!(rig.start(&READY), Outcome::Good);
}

#[test]
fn reserved_conditions_and_modifiers_are_refused() {
    let mut rig = Rig::new(facts());
    for condition in [4, 5, 6, 8, 9, 0xc, 0xf] {
        assert_eq!(rig.sense(&[0x1b, 0, 0, 0, condition << 4, 0]), Sense::cdb_field(4, 7));
    }
    assert_eq!(rig.sense(&[0x1b, 0, 0, 1, 0x20, 0]), Sense::cdb_field(3, 3));
}

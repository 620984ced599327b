//! What an operation on the whole medium keeps out, and how it ends.

use std::sync::Arc;

use super::super::table::{self, ROWS};
use super::super::testing::{Rig, facts, nexus};
use super::super::{DriveOp, Outcome, Power, Selected, Settings, status};
use super::*;

const SANITIZING: Cause = Cause::Sanitize { unrestricted: false };
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const FORMAT: [u8; 6] = [0x04, 0, 0, 0, 0, 0];
const BLOCK_ERASE: [u8; 10] = [0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0];
const WITH_AUSE: [u8; 10] = [0x48, 0xa2, 0, 0, 0, 0, 0, 0, 0, 0];
const EXIT: [u8; 10] = [0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0];

fn begin(rig: &mut Rig, cdb: &[u8]) -> Effects {
    rig.run_from(1, cdb, &[]).unwrap()
}

fn event(rig: &mut Rig, op: &SharedOp) -> Effects {
    let (state, effects) = rig.lu.state.apply(&rig.lu.facts, op, &nexus(1)).unwrap();
    rig.lu.state = Arc::new(state);
    effects
}

fn end(rig: &mut Rig, failed: bool) -> Effects {
    event(rig, &SharedOp::Erased { failed })
}

/// Over the disk and back, as after a power loss.
fn reborn(rig: &mut Rig) {
    let text = serde_json::to_string(&rig.lu.state.persistent()).unwrap();
    rig.lu.state = Arc::new(LuState::restored(serde_json::from_str(&text).unwrap()));
}

fn code(sense: Sense) -> (u8, Asc) {
    (sense.key.0, sense.asc)
}

#[test]
fn while_it_is_under_way_few_commands_are_served() {
    for (cdb, asc) in [(&BLOCK_ERASE[..], Asc(0x04, 0x1b)), (&FORMAT, Asc(0x04, 0x04))] {
        let mut rig = Rig::new(LuFacts { removable: true, ..facts() });
        begin(&mut rig, cdb);
        let facts = rig.lu.facts.clone();
        for row in ROWS.iter().filter(|row| row.on(&facts)) {
            let mut cdb = row.usage.to_vec();
            cdb.iter_mut().skip(2).for_each(|byte| *byte = 0);
            if row.opcode == 0x7f {
                (cdb[1], cdb[7], cdb[9]) = (0, 0x18, row.usage[9]);
            } else {
                cdb[1] = row.action.unwrap_or(0) as u8;
            }
            if row.opcode == table::REPORT_LUNS {
                cdb[9] = 16;
            }
            // READ CAPACITY(10) and (16), REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS.
            let tells = [(0x25, None), (0x9e, Some(0x10)), (0xa3, Some(0x0c)), (0xa3, Some(0x0d))];
            let served = [table::INQUIRY, table::REPORT_LUNS, table::REQUEST_SENSE].contains(&row.opcode)
                || (asc == Asc(0x04, 0x1b) && tells.contains(&(row.opcode, row.action)));
            match rig.start(&cdb) {
                Outcome::Data(_) => assert!(served, "{cdb:02x?}"),
                // Nothing was asked for.
                Outcome::Fail(Failure::Check(sense)) if served => assert_eq!(sense, Sense::cdb_field(6, 7)),
                Outcome::Fail(Failure::Check(sense)) if !served => {
                    assert_eq!(code(sense), (2, asc), "{cdb:02x?}");
                }
                other => panic!("{cdb:02x?} gave {other:?}"),
            }
        }
    }
}

#[test]
fn beside_a_sanitize_operation_some_pages_are_told() {
    let pages = [
        ([0x1a, 8, 0x08, 0, 64, 0, 0, 0, 0, 0], true),
        ([0x1a, 8, 0x0a, 0, 64, 0, 0, 0, 0, 0], true),
        ([0x5a, 8, 0x1c, 0, 0, 0, 0, 0, 64, 0], true),
        ([0x4d, 0, 0x4d, 0, 0, 0, 0, 0, 64, 0], true),
        ([0x1a, 8, 0x1a, 0, 64, 0, 0, 0, 0, 0], false),
        ([0x1a, 8, 0x0a, 1, 64, 0, 0, 0, 0, 0], false),
        ([0x4d, 0, 0x42, 0, 0, 0, 0, 0, 64, 0], false),
    ];
    for (cdb, begun, served) in
        pages.iter().flat_map(|(cdb, s)| [(cdb, &BLOCK_ERASE[..], *s), (cdb, &FORMAT, false)])
    {
        let mut rig = Rig::new(facts());
        begin(&mut rig, begun);
        let len = if cdb[0] == 0x1a { 6 } else { 10 };
        assert_eq!(matches!(rig.start(&cdb[..len]), Outcome::Data(_)), served, "{cdb:02x?}");
    }
}

#[test]
fn its_progress_is_told() {
    let mut rig = Rig::new(facts());
    begin(&mut rig, &BLOCK_ERASE);
    rig.lu.counters.set_progress(0x1234);
    assert_eq!(rig.sense(&READ), Sense::not_ready(Asc(0x04, 0x1b)).progress(0x1234));
    let sense = rig.data(&[0x03, 0, 0, 0, 252, 0]);
    assert_eq!((sense[2], &sense[12..18]), (2, &[0x04, 0x1b, 0, 0x80, 0x12, 0x34][..]));
    let sense = rig.data(&[0x03, 1, 0, 0, 252, 0]);
    assert_eq!(sense, [0x72, 2, 4, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x12, 0x34, 0]);
    end(&mut rig, false);
    assert!(matches!(rig.start(&READ), Outcome::Io(_)));
    assert_eq!(rig.data(&[0x03, 0, 0, 0, 252, 0])[2], 0);
}

#[test]
fn it_ends_all_tasks_and_is_saved_before_it_begins_and_when_it_has_ended() {
    let mut rig = Rig::new(facts());
    let effects = begin(&mut rig, &BLOCK_ERASE);
    assert_eq!(effects.ends_tasks, Some(Sense::not_ready(Asc(0x04, 0x1b)).progress(0).into()));
    assert!(effects.persist);
    assert!(end(&mut rig, false).persist);
    assert_eq!(*rig.lu.state, LuState::default());
    let mut rig = Rig::new(LuFacts { saves: false, ..facts() });
    assert!(!begin(&mut rig, &BLOCK_ERASE).persist, "where nothing can be");
}

#[test]
fn it_outlives_resets_nexuses_and_the_power() {
    for cdb in [&BLOCK_ERASE[..], &FORMAT] {
        let mut rig = Rig::new(facts());
        begin(&mut rig, cdb);
        let erasure = rig.lu.state.erasure.clone();
        event(&mut rig, &SharedOp::Reset);
        event(&mut rig, &SharedOp::NexusLoss);
        reborn(&mut rig);
        assert_eq!(rig.lu.state.erasing(), erasure.as_ref());
        end(&mut rig, true);
        let failed = rig.lu.state.erasure.clone();
        reborn(&mut rig);
        assert_eq!((rig.lu.state.erasure.clone(), rig.lu.state.erasing()), (failed, None));
    }
}

#[test]
fn the_owner_refuses_what_was_on_its_way() {
    let mut rig = Rig::new(facts());
    begin(&mut rig, &BLOCK_ERASE);
    let refused = Err(Sense::not_ready(Asc(0x04, 0x1b)).progress(0).into());
    let select = SharedOp::ModeSelect { to: Selected::all(Settings::default()), save: false };
    let stop = SharedOp::Drive(DriveOp::Power { to: Power::Stopped, flush: false });
    let erasure = Box::new(Erasure { cause: SANITIZING, fill: Fill::Zeroes, failed: false });
    let again = SharedOp::Erase { erasure, immediate: true };
    for op in [select, stop, again, SharedOp::Reserve, SharedOp::ExitFailure] {
        assert_eq!(rig.lu.state.apply(&rig.lu.facts, &op, &nexus(1)).map(drop), refused, "{op:?}");
    }
    assert_eq!(rig.lu.state.bars_writing(&rig.lu.facts, &nexus(1)).map(|bar| Err(bar.medium)), Some(refused));
}

#[test]
fn the_owner_asks_again_whether_the_medium_may_be_changed() {
    let rig = Rig::new(facts());
    let erasure = Box::new(Erasure { cause: Cause::Format, fill: Fill::Zeroes, failed: false });
    let erase = SharedOp::Erase { erasure, immediate: true };
    let ask = |state: &LuState| state.apply(&rig.lu.facts, &erase, &nexus(1)).map(drop);
    let (reserved, _) = LuState::default().apply(&facts(), &SharedOp::Reserve, &nexus(2)).unwrap();
    assert_eq!(ask(&reserved), Err(Failure::Status(status::RESERVATION_CONFLICT)));
    let to = Selected::all(Settings { write_protect: true, ..Settings::default() });
    let (protected, _) =
        LuState::default().apply(&facts(), &SharedOp::ModeSelect { to, save: false }, &nexus(2)).unwrap();
    assert_eq!(ask(&protected), Err(Sense::protected(Asc(0x27, 2)).into()));
    let stop = SharedOp::Drive(DriveOp::Power { to: Power::Stopped, flush: false });
    let (stopped, _) = LuState::default().apply(&facts(), &stop, &nexus(2)).unwrap();
    assert_eq!(ask(&stopped), Err(Sense::not_ready(Asc(0x04, 2)).into()));
}

#[test]
fn a_failed_sanitize_operation_in_restricted_mode_ends_by_success_only() {
    let mut rig = Rig::new(facts());
    begin(&mut rig, &BLOCK_ERASE);
    end(&mut rig, true);
    let failed = (3, Asc(0x31, 0x03));
    for cdb in [&READ[..], &[0; 6], &FORMAT, &[0x1b, 0, 0, 0, 1, 0], &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0]] {
        assert_eq!(code(rig.sense(cdb)), failed, "{cdb:02x?}");
    }
    let sense = rig.data(&[0x03, 0, 0, 0, 252, 0]);
    assert_eq!((sense[2], sense[12], sense[13], sense[15]), (3, 0x31, 3, 0));
    assert!(matches!(rig.start(&[0x12, 0, 0, 0, 36, 0]), Outcome::Data(_)));
    assert_eq!(rig.sense(&EXIT), Sense::cdb_field(1, 4));
    assert_eq!(rig.sense(&WITH_AUSE), Sense::cdb_field(1, 5));
    event(&mut rig, &SharedOp::Reset);
    assert_eq!(code(rig.sense(&READ)), failed, "a reset does not end it");
    begin(&mut rig, &BLOCK_ERASE);
    assert_eq!(code(rig.sense(&READ)), (2, Asc(0x04, 0x1b)));
    end(&mut rig, false);
    assert!(matches!(rig.start(&READ), Outcome::Io(_)));
}

#[test]
fn a_failed_sanitize_operation_in_unrestricted_mode_can_be_left() {
    let mut rig = Rig::new(facts());
    assert_eq!(rig.start(&EXIT), Outcome::Good, "there is nothing to leave");
    begin(&mut rig, &WITH_AUSE);
    assert_eq!(code(rig.sense(&EXIT)), (2, Asc(0x04, 0x1b)), "nor while it is under way");
    end(&mut rig, true);
    assert_eq!(code(rig.sense(&READ)), (3, Asc(0x31, 0x03)));
    assert!(begin(&mut rig, &EXIT).persist);
    assert_eq!(*rig.lu.state, LuState::default());
    begin(&mut rig, &WITH_AUSE);
    end(&mut rig, true);
    begin(&mut rig, &BLOCK_ERASE);
    end(&mut rig, true);
    assert_eq!(rig.sense(&EXIT), Sense::cdb_field(1, 4), "the last one counts");
}

#[test]
fn a_failed_format_operation_closes_the_medium_only() {
    let mut rig = Rig::new(facts());
    begin(&mut rig, &FORMAT);
    end(&mut rig, true);
    assert_eq!(code(rig.sense(&READ)), (3, Asc(0x31, 0x00)));
    assert_eq!(code(rig.sense(&[0; 6])), (3, Asc(0x31, 0x00)));
    assert!(matches!(rig.start(&[0x1a, 8, 0x0a, 0, 255, 0]), Outcome::Data(_)));
    let select = SharedOp::ModeSelect { to: Selected::all(Settings::default()), save: false };
    event(&mut rig, &select);
    assert_eq!(rig.start(&EXIT), Outcome::Good, "that is no sanitize operation");
    begin(&mut rig, &BLOCK_ERASE);
    end(&mut rig, false);
    assert!(matches!(rig.start(&READ), Outcome::Io(_)));
    begin(&mut rig, &FORMAT);
    end(&mut rig, true);
    begin(&mut rig, &FORMAT);
    end(&mut rig, false);
    assert!(matches!(rig.start(&READ), Outcome::Io(_)));
}

#[test]
fn a_command_that_waits_is_told_of_the_failure() {
    let failure = |cause| Erasure { cause, fill: Fill::Zeroes, failed: true }.failure();
    assert_eq!(failure(SANITIZING), Sense::new(SenseKey::MEDIUM_ERROR, Asc(0x31, 0x03)).into());
    assert_eq!(failure(Cause::Format), Sense::new(SenseKey::MEDIUM_ERROR, Asc(0x31, 0x01)).into());
}

#[test]
fn a_pattern_begins_anew_in_every_block() {
    let fill = Fill::Pattern { pattern: vec![1, 2, 3], passes: 1, invert: false };
    let mut blocks = [0xee; 16];
    fill.write(0, 8, &mut blocks);
    assert_eq!(blocks, [1, 2, 3, 1, 2, 3, 1, 2, 1, 2, 3, 1, 2, 3, 1, 2]);
    Fill::Zeroes.write(0, 8, &mut blocks);
    assert_eq!(blocks, [0; 16]);
}

#[test]
fn the_last_pass_is_never_inverted() {
    for passes in [1, 2, 3, 31] {
        let fill = Fill::Pattern { pattern: vec![0x0f], passes, invert: true };
        let said: Vec<u8> = (0..passes)
            .map(|pass| {
                let mut block = [0; 4];
                fill.write(pass, 4, &mut block);
                block[3]
            })
            .collect();
        let want = (0..passes).rev().map(|left| if left % 2 == 0 { 0x0f } else { 0xf0 });
        assert_eq!(said, want.collect::<Vec<_>>());
    }
}

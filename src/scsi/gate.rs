//! The way every command takes, whatever it is: the rules that hold for all, in the order of SAM
//! and SPC, then the handler of its row.
//!
//! 1. Is there such a logical unit? 2. Is there a unit attention to report? 3. Do we know the
//!    command? 4. Does the port that it came by serve it? 5. Does a reservation forbid it? 6. Is the
//!    medium accessible? 7. The CDB's fields. 8. May the medium be written?

use super::cdb::Cdb;
use super::check::{bad_field, write_protection};
use super::table::{self, Row};
use super::{
    Answered, Asc, Context, Device, Failure, Lu, Outcome, Sense, Straight, alua, inquiry, known, medium,
    misc, pass,
};

#[cfg(test)]
thread_local! {
    /// The next command on this thread meets a mistake of ours.
    pub(crate) static STUMBLES: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Starts a command. `out` takes data-in that is at hand (answers longer than `out` are cut).
#[inline]
pub fn start(cdb: &[u8], cx: &mut Context<'_>, out: &mut [u8]) -> Outcome {
    #[cfg(test)]
    assert!(!STUMBLES.take(), "a test wants a mistake here");
    let cdb = Cdb::new(cdb);
    let answered = match cx.lu {
        Some(lu) => match lu.facts.passed {
            None => begin(&cdb, lu, cx, out),
            Some(device) => pass::start(&cdb, lu, device, cx, out),
        },
        None if cx.well_known => known::start(&cdb, cx, out),
        None => absent(&cdb, cx, out),
    };
    answered.unwrap_or_else(Outcome::Fail)
}

/// What a usual READ or WRITE is to do, if nothing at all is in its way; [`start`] knows of everything else, and says of
/// these the same. It is there for its speed: what it finds stays in registers.
#[inline(always)]
pub fn straight(cdb: &[u8], cx: &Context<'_>) -> Option<Straight> {
    #[cfg(test)]
    if STUMBLES.get() {
        return None;
    }
    cdb.first().filter(|code| medium::USUAL.contains(code))?;
    let lu = cx.lu.filter(|lu| lu.facts.passed.is_none() && cx.attentions.is_empty())?;
    let cdb = Cdb::new(cdb);
    let row = table::find(&cdb, &lu.facts).ok()?;
    admit(row, &cdb, lu, cx).ok()?;
    let straight = medium::usual(&cdb, lu)?;
    let forbidden = straight.way.writes() && write_protection(lu, cx).is_some();
    (!forbidden).then_some(straight)
}

/// Whether that command is one that changes the medium; `device`: where it is sent to, if that is passed through.
pub fn writes(cdb: &[u8], device: Option<Device>) -> bool {
    let cdb = Cdb::new(cdb);
    match device {
        None => table::traits(&cdb).contains(table::Traits::WRITES),
        Some(device) => pass::writes(&cdb, device),
    }
}

/// Goes on with a command that asked for a parameter list, which is `data` now. It may be shorter
/// than asked for.
pub fn params(cdb: &[u8], cx: &mut Context<'_>, data: &[u8], out: &mut [u8]) -> Outcome {
    let cdb = Cdb::new(cdb);
    let answered = match cx.lu {
        Some(lu) => match lu.facts.passed {
            None => go_on(&cdb, lu, cx, data, out),
            Some(device) => pass::go_on(&cdb, lu, device, cx, data, out),
        },
        None => absent(&cdb, cx, out),
    };
    answered.unwrap_or_else(Outcome::Fail)
}

/// Inlined where every command comes by, though it is also called from elsewhere.
#[inline(always)]
pub(super) fn begin(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let row = table::find(cdb, &lu.facts);
    if !cx.attentions.is_empty() {
        attention(row.as_ref().ok(), lu, cx)?;
    }
    let row = row?;
    admit(row, cdb, lu, cx)?;
    let mut answered = (row.start)(cdb, lu, cx, out);
    guard(row, lu, cx, &mut answered);
    answered
}

/// The state may have changed while the data was on its way, so the rules are applied again; but a
/// unit attention does not stop a command that has been accepted.
pub(super) fn go_on(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, data: &[u8], out: &mut [u8]) -> Answered {
    let row = table::find(cdb, &lu.facts)?;
    admit(row, cdb, lu, cx)?;
    let Some(handler) = row.params else {
        return Err(Sense::illegal(Asc::INVALID_OPCODE).into());
    };
    let mut answered = handler(cdb, lu, cx, data, out);
    guard(row, lu, cx, &mut answered);
    answered
}

/// Reports a unit attention, unless the command is one of those that leave it pending.
#[cold]
pub(super) fn attention(row: Option<&&'static Row>, lu: &Lu, cx: &mut Context<'_>) -> Result<(), Failure> {
    if row.is_some_and(|r| r.traits.contains(table::Traits::PASSES_ATTENTION)) {
        return Ok(());
    }
    cx.attentions.take().map_or(Ok(()), |asc| Err(lu.attention_sense(asc).into()))
}

#[inline]
fn admit(row: &Row, cdb: &Cdb, lu: &Lu, cx: &Context<'_>) -> Result<(), Failure> {
    if !lu.is_open() {
        alua::admit(row, cdb, lu, cx.nexus)?;
    }
    lu.state.reservations.admit(cx.nexus, row.needs, cdb)?;
    if !lu.state.is_ready() {
        accessible(row, cdb, lu)?;
    }
    // NACA asks for ACA, which the standard INQUIRY data says is not there (SAM-6 section 5.2).
    if cdb.get(usize::from(row.control)) & 0x04 != 0 {
        return Err(bad_field(u16::from(row.control), 2));
    }
    Ok(())
}

/// Whether the drive and the medium are as ready as the command needs them.
#[cold]
fn accessible(row: &Row, cdb: &Cdb, lu: &Lu) -> Result<(), Failure> {
    if let Some(erasure) = lu.state.erasure.as_ref().filter(|erasure| erasure.refuses(row, cdb)) {
        return Err(erasure.sense(lu.counters.progress()).into());
    }
    if !row.traits.intersects(table::Traits::MEDIUM | table::Traits::LOADED) {
        return Ok(());
    }
    lu.state.drive.check(row.traits.contains(table::Traits::MEDIUM))?;
    // To tell whether the medium could be got at, nobody has to get at it.
    if row.traits.contains(table::Traits::MEDIUM) && row.opcode != table::TEST_UNIT_READY {
        lu.rouse();
    }
    Ok(())
}

/// What would change the medium is refused where that is forbidden, once nothing else is wrong with it.
#[inline]
fn guard(row: &Row, lu: &Lu, cx: &Context<'_>, answered: &mut Answered) {
    if row.traits.contains(table::Traits::WRITES)
        && answered.is_ok()
        && let Some(asc) = write_protection(lu, cx)
    {
        *answered = Err(Sense::protected(asc).into());
    }
}

/// A LUN that names no logical unit (SPC-5 section 6.6.1, SAM-6 section 5.13).
#[cold]
fn absent(cdb: &Cdb, cx: &Context<'_>, out: &mut [u8]) -> Answered {
    let wrong = Sense::illegal(Asc::LU_NOT_SUPPORTED);
    match cdb.opcode() {
        table::INQUIRY => inquiry::absent(cdb, out),
        table::REPORT_LUNS => misc::luns(cdb, cx, out),
        table::REQUEST_SENSE => Ok(misc::sense_data(cdb, wrong, out)),
        _ => Err(wrong.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Rig, facts, nexus};
    use super::super::{Attentions, DriveOp, Echo, LuState, Power, Settings, SharedOp, status};
    use super::*;

    const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 36, 0];

    /// What an initiator gets that names a LUN behind which there is nothing.
    fn nowhere(cdb: &[u8]) -> (Outcome, Vec<u8>) {
        let mut out = vec![0; 64];
        let nexus = nexus(1);
        let mut attentions = Attentions::new();
        let mut cx = Context {
            lu: None,
            well_known: false,
            nexus: &nexus,
            luns: &[3],
            read_only_map: false,
            attentions: &mut attentions,
            ports: &[],
            echo: &mut Echo::default(),
            queries: false,
            now: 0,
        };
        (start(cdb, &mut cx, &mut out), out)
    }

    #[test]
    fn a_lun_without_a_unit_still_answers_three_commands() {
        let (outcome, out) = nowhere(&INQUIRY);
        assert_eq!((outcome, out[0]), (Outcome::Data(36), 0x7f));
        let (outcome, out) = nowhere(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
        assert_eq!((outcome, out[3], out[9]), (Outcome::Data(16), 8, 3));
        let (outcome, out) = nowhere(&[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((outcome, out[2], out[12]), (Outcome::Data(18), 5, 0x25));
        let refused = Outcome::Fail(Sense::illegal(Asc::LU_NOT_SUPPORTED).into());
        assert_eq!(nowhere(&READ).0, refused);
        assert_eq!(nowhere(&[0xff; 16]).0, refused);
    }

    #[test]
    fn a_unit_attention_is_reported_once_but_not_by_inquiry() {
        let mut rig = Rig::new(facts());
        rig.attentions.raise(Asc::POWER_ON_OR_RESET);
        assert_eq!(rig.start(&INQUIRY), Outcome::Data(36));
        assert!(matches!(rig.start(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]), Outcome::Data(_)));
        assert_eq!(rig.sense(&[0xc1; 6]), Sense::attention(Asc::POWER_ON_OR_RESET), "before the opcode");
        assert!(matches!(rig.start(&READ), Outcome::Io(_)));
    }

    #[test]
    fn request_sense_takes_the_unit_attention_along() {
        let mut rig = Rig::new(facts());
        rig.attentions.raise(Asc::NEXUS_LOSS);
        let sense = rig.data(&[0x03, 0, 0, 0, 252, 0]);
        assert_eq!((sense.len(), sense[2], sense[12], sense[13]), (18, 6, 0x29, 7));
        let sense = rig.data(&[0x03, 1, 0, 0, 252, 0]);
        assert_eq!(sense, [0x72, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn unknown_opcodes_and_service_actions() {
        let mut rig = Rig::new(facts());
        for opcode in [0x07, 0xc0, 0x9c] {
            let sense = rig.sense(&[opcode, 0, 0, 0, 0, 0]);
            assert_eq!(sense.asc, Asc::INVALID_OPCODE, "{opcode:#x}");
            assert_eq!(sense.field.map(|f| (f.in_cdb, f.byte)), Some((true, 0)));
        }
        assert_eq!(rig.sense(&[0x7f; 16]), Sense::cdb_field(8, 7));
        assert_eq!(rig.sense(&[0x9e, 0x1f, 0, 0]), Sense::cdb_field(1, 4));
        assert_eq!(rig.sense(&[0x5e, 4, 0, 0, 0, 0, 0, 0, 8, 0]), Sense::cdb_field(1, 4));
    }

    #[test]
    fn naca_is_not_offered() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.sense(&[0x00, 0, 0, 0, 0, 4]), Sense::cdb_field(5, 2));
        assert_eq!(rig.sense(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 4]), Sense::cdb_field(9, 2));
    }

    #[test]
    fn a_stopped_unit_refuses_the_medium_only() {
        let mut rig = Rig::new(facts());
        let mut state = LuState::default();
        state.drive.power = Power::Stopped;
        rig.lu.state = Arc::new(state);
        let not_ready = Sense::not_ready(Asc::INITIALIZING_COMMAND_REQUIRED);
        assert_eq!(rig.sense(&READ), not_ready);
        assert_eq!(rig.sense(&[0; 6]), not_ready);
        assert_eq!(rig.start(&INQUIRY), Outcome::Data(36));
        assert_eq!(rig.data(&[0x03, 0, 0, 0, 18, 0])[12..14], [4, 2]);
        let start = DriveOp::Power { to: Power::Active, flush: false };
        assert_eq!(rig.start(&[0x1b, 0, 0, 0, 1, 0]), Outcome::Shared(SharedOp::Drive(start)));
    }

    #[test]
    fn three_ways_to_protect_the_medium() {
        let read_only = super::super::LuFacts { read_only: true, ..facts() };
        let mut by_store = Rig::new(read_only);
        let mut by_map = Rig { read_only_map: true, ..Rig::new(facts()) };
        let mut by_mode = Rig::new(facts());
        let mut state = LuState::default();
        state.mode.current = Settings { write_protect: true, ..Settings::default() };
        by_mode.lu.state = Arc::new(state);
        let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        let write_same = [0x41, 8, 0, 0, 0, 0, 0, 0, 1, 0];
        for (rig, qualifier) in [(&mut by_store, 0), (&mut by_map, 0), (&mut by_mode, 2)] {
            for cdb in [WRITE, unmap, write_same] {
                assert_eq!(rig.sense(&cdb), Sense::protected(Asc(0x27, qualifier)), "{cdb:02x?}");
            }
            assert!(matches!(rig.start(&READ), Outcome::Io(_)));
        }
    }

    #[test]
    fn an_lba_out_of_range_is_told_before_write_protection() {
        let mut rig = Rig { read_only_map: true, ..Rig::new(facts()) };
        let beyond = [0x2a, 0, 0xff, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(rig.sense(&beyond).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn a_reservation_made_meanwhile_stops_a_parameter_list() {
        let mut rig = Rig::new(facts());
        rig.run_from(2, &[0x16, 0, 0, 0, 0, 0], &[]).unwrap();
        let (me, mut attentions) = (nexus(1), Attentions::new());
        let mut cx = Context {
            lu: Some(&rig.lu),
            well_known: false,
            nexus: &me,
            luns: &[],
            read_only_map: false,
            attentions: &mut attentions,
            ports: &[],
            echo: &mut Echo::default(),
            queries: false,
            now: 0,
        };
        let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        let got = params(&unmap, &mut cx, &[0; 24], &mut []);
        assert_eq!(got, Outcome::Fail(Failure::Status(status::RESERVATION_CONFLICT)));
    }
}

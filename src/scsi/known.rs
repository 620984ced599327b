//! The REPORT LUNS well known logical unit (SPC-5 section 8.2), which every target has at one and the same LUN.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::{bad_field, unknown_opcode};
use super::{Answered, Context, Outcome, Sense, inquiry, misc, table, vpd};

/// Its LUN on the wire: extended addressing, well known, number 01h (SAM-6 section 4.7.7.5.1).
pub const REPORT_LUNS_LUN: u64 = 0xc101 << 48;

/// Peripheral device type: well known logical unit.
const DEVICE_TYPE: u8 = 0x1e;

/// What any well known logical unit answers, and REPORT LUNS.
pub(super) fn start(cdb: &Cdb, cx: &Context<'_>, out: &mut [u8]) -> Answered {
    if let Some(control) = naca(cdb) {
        return Err(bad_field(control, 2));
    }
    match cdb.opcode() {
        table::TEST_UNIT_READY => Ok(Outcome::Good),
        table::REQUEST_SENSE => Ok(misc::sense_data(cdb, Sense::none(), out)),
        table::INQUIRY => inquiry(cdb, cx, out),
        table::REPORT_LUNS => misc::luns(cdb, cx, out),
        _ => Err(unknown_opcode()),
    }
}

/// Where NACA is set in a command of this unit, if it is.
fn naca(cdb: &Cdb) -> Option<u16> {
    let control = if cdb.opcode() == table::REPORT_LUNS { 11 } else { 5 };
    let known = [table::TEST_UNIT_READY, table::REQUEST_SENSE, table::INQUIRY, table::REPORT_LUNS];
    let set = known.contains(&cdb.opcode()) && cdb.get(control) & 0x04 != 0;
    set.then_some(control as u16)
}

fn inquiry(cdb: &Cdb, cx: &Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
    if inquiry::pages_asked(cdb)? {
        page(cdb.u8::<2>(), cx, &mut answer)?;
    } else {
        inquiry::standard(&mut answer, DEVICE_TYPE, false, 0, ["RINGTGT", "REPORT LUNS", ""]);
    }
    Ok(answer.finish())
}

/// The pages that it must have: the list of them, and names, which are those of the port and the target.
fn page(code: u8, cx: &Context<'_>, answer: &mut Answer<'_>) -> Result<(), super::Failure> {
    match code {
        0x00 => answer.put(&[DEVICE_TYPE, 0x00, 0, 2, 0x00, 0x83]),
        0x83 => {
            answer.put(&[DEVICE_TYPE, 0x83, 0, 0]);
            vpd::port_designators(None, cx, answer);
            answer.close_u16(2);
        }
        _ => return Err(bad_field(2, 7)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts};
    use super::super::{Asc, Failure, Field};
    use super::*;

    fn ask(cdb: &[u8]) -> (Outcome, Vec<u8>) {
        let mut rig = Rig::new(facts());
        let outcome = rig.start_known(cdb);
        let length = if let Outcome::Data(length) = outcome { length } else { 0 };
        (outcome, rig.out[..length].to_vec())
    }

    #[test]
    fn it_answers_four_commands() {
        assert_eq!(ask(&[0; 6]).0, Outcome::Good);
        let standard = ask(&[0x12, 0, 0, 0, 96, 0]).1;
        assert_eq!((standard.len(), standard[0], &standard[8..27]), (96, 0x1e, &b"RINGTGT REPORT LUNS"[..]));
        assert_eq!(ask(&[0x03, 0, 0, 0, 18, 0]).1[..3], [0x70, 0, 0]);
        let all = ask(&[0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0]).1;
        assert_eq!((all.len(), &all[8..16]), (8 + 32, &[0, 0, 0, 0, 0, 0, 0, 0][..]));
    }

    #[test]
    fn its_pages() {
        assert_eq!(ask(&[0x12, 1, 0, 0, 96, 0]).1, [0x1e, 0, 0, 2, 0, 0x83]);
        let names = ask(&[0x12, 1, 0x83, 0, 255, 0]).1;
        assert_eq!((names[0], usize::from(names[3]) + 4), (0x1e, names.len()));
        assert_eq!(names[4..8], [0x51, 0x94, 0, 4], "the relative target port");
        let refused = Outcome::Fail(Sense::cdb_field(2, 7).into());
        assert_eq!(ask(&[0x12, 1, 0x80, 0, 255, 0]).0, refused);
    }

    #[test]
    fn it_has_no_medium() {
        let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let field = Some(Field { in_cdb: true, in_segment: false, byte: 0, bit: Some(7) });
        let unknown = Sense { field, ..Sense::illegal(Asc::INVALID_OPCODE) };
        assert_eq!(ask(&read).0, Outcome::Fail(Failure::Check(unknown)));
        assert_eq!(ask(&[0, 0, 0, 0, 0, 4]).0, Outcome::Fail(Sense::cdb_field(5, 2).into()));
    }
}

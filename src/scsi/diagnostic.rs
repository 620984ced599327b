//! SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS (SPC-5 sections 6.45 and 6.29): the self-test that every device
//! has, and the page that lists the pages.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::{bad_field, bad_length};
use super::{Answered, Context, Lu, Outcome, Sense};

/// The page Supported Diagnostic Pages (SPC-5 section 7.2.4), which lists itself.
const SUPPORTED: [u8; 5] = [0x00, 0, 0, 1, 0x00];

/// Bytes of a diagnostic page before its parameters.
const HEADER: usize = 4;

/// The default self-test has nothing to try that would not fail every command; the others are not offered.
pub(super) fn send(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let (self_test, code) = (cdb.bit::<1>(2), cdb.u8::<1>() >> 5);
    if code != 0 {
        return Err(bad_field(1, 7));
    }
    match usize::from(cdb.u16::<3>()) {
        0 => Ok(Outcome::Good),
        _ if self_test => Err(bad_field(3, 7)),
        // Without PF the list would be vendor specific.
        _ if !cdb.bit::<1>(4) => Err(bad_field(1, 4)),
        length if length < HEADER => Err(bad_length()),
        length => Ok(Outcome::Params(length as u32)),
    }
}

/// Asks for page 00h, which is what RECEIVE DIAGNOSTIC RESULTS gives anyway.
pub(super) fn send_params(_: &Cdb, _: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    let Some([code, _, high, low]) = data.first_chunk::<HEADER>() else { return Err(bad_length()) };
    if *code != SUPPORTED[0] {
        return Err(Sense::parameter_field(0, 7).into());
    }
    if (*high, *low) != (0, 0) {
        return Err(Sense::parameter_field(2, 7).into());
    }
    if data.len() > HEADER { Err(bad_length()) } else { Ok(Outcome::Good) }
}

/// Without PCV the page is the one that was asked for last, and there is only one.
pub(super) fn receive(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    if cdb.u8::<2>() != SUPPORTED[0] {
        return Err(bad_field(2, 7));
    }
    let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
    answer.put(&SUPPORTED);
    Ok(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::super::Asc;
    use super::super::testing::{Rig, facts};
    use super::*;

    #[test]
    fn the_default_self_test_is_good() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.start(&[0x1d, 4, 0, 0, 0, 0]), Outcome::Good);
        assert_eq!(rig.start(&[0x1d, 0, 0, 0, 0, 0]), Outcome::Good);
        assert_eq!(
            rig.sense(&[0x1d, 0x20, 0, 0, 0, 0]),
            Sense::cdb_field(1, 7),
            "background short self-test"
        );
        assert_eq!(rig.sense(&[0x1d, 0x14, 0, 0, 4, 0]), Sense::cdb_field(3, 7), "self-test with a list");
    }

    #[test]
    fn the_page_that_lists_the_pages() {
        let mut rig = Rig::new(facts());
        let ask = [0x1d, 0x10, 0, 0, 4, 0];
        assert_eq!(rig.send(&ask, &[0; 4]), Outcome::Good);
        for pcv in [0, 1] {
            assert_eq!(rig.data(&[0x1c, pcv, 0, 0, 255, 0]), [0, 0, 0, 1, 0]);
        }
        assert_eq!(rig.sense(&[0x1c, 1, 0x40, 0, 255, 0]), Sense::cdb_field(2, 7));
    }

    #[test]
    fn lists_that_are_refused() {
        let mut rig = Rig::new(facts());
        let ask = |pf, length| [0x1d, pf, 0, 0, length, 0];
        let wrong = Sense::illegal(Asc::PARAMETER_LIST_LENGTH);
        assert_eq!(rig.sense(&ask(0, 4)), Sense::cdb_field(1, 4));
        assert_eq!(rig.sense(&ask(0x10, 3)), wrong);
        let at = |byte| Outcome::Fail(Sense::parameter_field(byte, 7).into());
        assert_eq!(rig.send(&ask(0x10, 4), &[0x40, 0, 0, 0]), at(0));
        assert_eq!(rig.send(&ask(0x10, 5), &[0, 0, 0, 1, 0]), at(2));
        assert_eq!(rig.send(&ask(0x10, 5), &[0; 5]), Outcome::Fail(wrong.into()));
    }
}

//! The device clock (SPC-5 section 5.2): REPORT TIMESTAMP and SET TIMESTAMP.
//!
//! What time it is comes with every command; here is only how far the timestamp is from it.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::bad_length;
use super::{Answered, Context, Lu, Outcome, SharedOp};

/// Bytes of the parameter data of both commands.
const LENGTH: usize = 12;

/// Where a timestamp comes from (SPC-5 table 50).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Origin {
    /// It began with zero.
    #[default]
    Zero = 0,
    /// SET TIMESTAMP.
    Command = 2,
    /// Something that SCSI knows nothing of.
    Other = 3,
}

/// A clock: the timestamp is so many milliseconds ahead of the time that [`Context::now`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    origin: Origin,
    ahead: i64,
}

impl Clock {
    /// A clock that shows `timestamp` (milliseconds since 1970) at the time `now` (nanoseconds, [`Context::now`]).
    pub fn showing(timestamp: u64, now: u64) -> Self {
        Self { origin: Origin::Other, ahead: timestamp.wrapping_sub(millis(now)) as i64 }
    }

    fn set(timestamp: u64, now: u64) -> Self {
        Self { origin: Origin::Command, ..Self::showing(timestamp, now) }
    }

    /// The timestamp at that time, as far as 48 bits hold it.
    fn at(self, now: u64) -> u64 {
        millis(now).wrapping_add(self.ahead as u64) & 0xffff_ffff_ffff
    }
}

fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

/// REPORT TIMESTAMP (SPC-5 section 6.38).
pub(super) fn report(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let clock = lu.state.clock;
    let mut answer = Answer::new(out, cdb.u32::<6>() as usize);
    answer.put(&[0, (LENGTH - 2) as u8, clock.origin as u8, 0]);
    answer.put(&clock.at(cx.now).to_be_bytes()[2..]);
    answer.zeroes(2);
    Ok(answer.finish())
}

/// SET TIMESTAMP (SPC-5 section 6.46). No parameter list: nothing is set, and that is no error.
pub(super) fn set(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    match cdb.u32::<6>() {
        0 => Ok(Outcome::Good),
        length if (length as usize) < LENGTH => Err(bad_length()),
        _ => Ok(Outcome::Params(LENGTH as u32)),
    }
}

pub(super) fn set_params(_: &Cdb, _: &Lu, cx: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    let Some([_, _, _, _, a, b, c, d, e, f, _, _]) = data.first_chunk::<LENGTH>() else {
        return Err(bad_length());
    };
    let timestamp = u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
    Ok(Outcome::Shared(SharedOp::SetClock(Clock::set(timestamp, cx.now))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Rig, facts};
    use super::super::{Asc, Sense};
    use super::*;

    const REPORT: [u8; 12] = [0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    const SET: [u8; 12] = [0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];

    #[test]
    fn a_clock_that_nobody_set_counts_from_zero() {
        let mut rig = Rig { now: 0x0102_0304 * 1_000_000, ..Rig::new(facts()) };
        assert_eq!(rig.data(&REPORT), [0, 10, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0]);
    }

    #[test]
    fn the_time_of_day_goes_on() {
        let mut rig = Rig::new(facts());
        let state = Arc::make_mut(&mut rig.lu.state);
        state.clock = Clock::showing(1_700_000_000_000, 5_000_000_000);
        rig.now = 6_000_000_000;
        let want = 1_700_000_001_000_u64.to_be_bytes();
        assert_eq!(rig.data(&REPORT)[2..10], [&[3, 0], &want[2..]].concat());
    }

    #[test]
    fn what_is_set_is_reported_and_others_are_told() {
        let mut rig = Rig { now: 77_000_000, ..Rig::new(facts()) };
        let effects = rig.run_from(1, &SET, &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0]).unwrap();
        assert_eq!(effects.attention_others, Some(Asc(0x2a, 0x10)));
        assert!(!effects.persist);
        rig.now += 1_000_000;
        assert_eq!(rig.data(&REPORT), [0, 10, 2, 0, 1, 2, 3, 4, 5, 7, 0, 0]);
        assert_eq!(rig.data(&[0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]), [0, 10, 2]);
    }

    #[test]
    fn lists_of_wrong_length() {
        let mut rig = Rig::new(facts());
        let asking = |length| [0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
        assert_eq!(rig.start(&asking(0)), Outcome::Good);
        let wrong = Sense::illegal(Asc::PARAMETER_LIST_LENGTH);
        assert_eq!(rig.sense(&asking(11)), wrong);
        assert_eq!(rig.send(&SET, &[0; 11]), Outcome::Fail(wrong.into()));
    }

    #[test]
    fn a_reset_leaves_the_clock() {
        let mut rig = Rig::new(facts());
        rig.run_from(1, &SET, &[9; 12]).unwrap();
        let (state, _) =
            rig.lu.state.apply(&rig.lu.facts, &SharedOp::Reset, &super::super::testing::nexus(2)).unwrap();
        assert_eq!(state.clock, rig.lu.state.clock);
    }
}

//! How fast, and what the mechanism does: GET PERFORMANCE (MMC-6 section 6.7), MECHANISM STATUS (section 6.9), SET
//! STREAMING and SET CD SPEED. Nothing turns, so a speed that is set is as good as any other.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length, range};
use super::super::{Answered, Context, Lu, Outcome};
use super::Disc;

/// Types of performance data, and of what SET STREAMING sends.
const PERFORMANCE: u8 = 0x00;
const WRITE_SPEEDS: u8 = 0x03;

/// Bytes of the performance descriptor that SET STREAMING sends.
const STREAMING: usize = 28;

/// Performance data of reading: the nominal one, which is the same from the block asked for to the last, and no
/// exceptions from it; and the speeds of writing, which are none.
pub(in super::super) fn performance(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let (data_type, kind, from) = (cdb.u8::<1>(), cdb.u8::<10>(), cdb.u32::<2>());
    let most = 8 + 16 * usize::from(cdb.u16::<8>());
    let mut answer = Answer::new(out, most);
    answer.zeroes(4);
    match kind {
        WRITE_SPEEDS => answer.zeroes(4),
        PERFORMANCE => {
            check_data_type(data_type)?;
            range(&lu.facts, from.into(), 1)?;
            let exceptions = data_type & 3 != 0;
            answer.put(&[u8::from(exceptions), 0, 0, 0]);
            if !exceptions {
                let (last, speed) =
                    (lu.facts.blocks.saturating_sub(1), u32::from(Disc::of(&lu.facts).speed()));
                [from, speed, last as u32, speed].iter().for_each(|field| answer.put(&field.to_be_bytes()));
            }
        }
        _ => return Err(bad_field(10, 7)),
    }
    answer.close_u32(0, 4);
    Ok(answer.finish())
}

/// TOLERANCE 10b is the only one; WRITE: nothing can be written; EXCEPT 11b is reserved.
fn check_data_type(data_type: u8) -> Result<(), super::super::Failure> {
    match (data_type >> 3 & 3, data_type >> 2 & 1, data_type & 3) {
        (2, 0, 0..=2) => Ok(()),
        (2, 0, _) => Err(bad_field(1, 1)),
        (2, ..) => Err(bad_field(1, 2)),
        _ => Err(bad_field(1, 4)),
    }
}

pub(in super::super) fn set_streaming(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    if cdb.u8::<8>() != PERFORMANCE {
        return Err(bad_field(8, 7));
    }
    let length = cdb.u16::<9>();
    Ok(if length == 0 { Outcome::Good } else { Outcome::Params(length.into()) })
}

pub(in super::super) fn set_streaming_params(
    _: &Cdb,
    _: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    if data.len() < STREAMING { Err(bad_length()) } else { Ok(Outcome::Good) }
}

pub(in super::super) fn set_speed(_: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    Ok(Outcome::Good)
}

/// No changer, and so no slots; ready; and whether the tray is open.
pub(in super::super) fn mechanism_status(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<8>()));
    answer.put(&[0, u8::from(lu.state.drive.ejected) << 4, 0, 0, 0, 0, 0, 0]);
    Ok(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, cdrom};
    use super::super::super::{Asc, Sense};
    use super::*;

    fn ask(data_type: u8, from: u32, most: u8, kind: u8) -> Vec<u8> {
        [&[0xac, data_type][..], &from.to_be_bytes(), &[0, 0, 0, most, kind, 0]].concat()
    }

    #[test]
    fn the_same_speed_everywhere() {
        let mut rig = Rig::new(cdrom(1000));
        let got = rig.data(&ask(0x10, 5, 1, 0));
        let speed = [0, 0, 0x22, 0x60];
        assert_eq!(
            got,
            [&[0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 5][..], &speed, &[0, 0, 3, 0xe7], &speed].concat()
        );
        assert_eq!(rig.data(&ask(0x10, 5, 0, 0)), got[..8]);
        assert_eq!(rig.data(&ask(0x11, 0, 1, 0)), [0, 0, 0, 4, 1, 0, 0, 0], "no exceptions");
        assert_eq!(rig.data(&ask(0, 0, 9, 3)), [0, 0, 0, 4, 0, 0, 0, 0], "no writing");
    }

    #[test]
    fn performance_that_is_not_told() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.sense(&ask(0x14, 0, 1, 0)), Sense::cdb_field(1, 2));
        assert_eq!(rig.sense(&ask(0x00, 0, 1, 0)), Sense::cdb_field(1, 4));
        assert_eq!(rig.sense(&ask(0x13, 0, 1, 0)), Sense::cdb_field(1, 1));
        assert_eq!(rig.sense(&ask(0x10, 0, 1, 1)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&ask(0x10, 1000, 1, 0)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn any_speed_will_do() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.start(&[0xbb, 0, 0x22, 0x60, 0, 0, 0, 0, 0, 0, 0, 0]), Outcome::Good);
        let set = |kind, length| [0xb6, 0, 0, 0, 0, 0, 0, 0, kind, 0, length, 0];
        assert_eq!(rig.send(&set(0, 28), &[0; 28]), Outcome::Good);
        assert_eq!(rig.start(&set(0, 0)), Outcome::Good);
        let short = Outcome::Fail(Sense::illegal(Asc::PARAMETER_LIST_LENGTH).into());
        assert_eq!(rig.send(&set(0, 27), &[0; 27]), short);
        assert_eq!(rig.sense(&set(5, 28)), Sense::cdb_field(8, 7));
    }

    #[test]
    fn the_tray() {
        let mut rig = Rig::new(cdrom(1000));
        let status = [0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
        assert_eq!(rig.data(&status), [0; 8]);
        rig.run_from(1, &[0x1b, 0, 0, 0, 2, 0], &[]).unwrap();
        assert_eq!(rig.data(&status), [0, 0x10, 0, 0, 0, 0, 0, 0]);
    }
}

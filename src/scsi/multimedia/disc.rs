//! READ DISC INFORMATION and READ TRACK INFORMATION (MMC-6 sections 6.21 and 6.26): one track in one session, both
//! complete.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::{bad_field, range};
use super::super::{Answered, Context, Failure, Lu};
use super::Disc;

/// An address that there is not.
const NONE: [u8; 4] = [0xff; 4];

/// Data type 000b, standard disc information. The others are about recording.
pub(in super::super) fn disc_information(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    if cdb.u8::<1>() & 7 != 0 {
        return Err(bad_field(1, 2));
    }
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    // Not erasable; the session and the disc are complete. The first track, the number of sessions, the first and the
    // last track of the last session.
    answer.put(&[0, 0, 0x0e, 1, 1, 1, 1]);
    // URU: for any use. A disc of data.
    answer.put(&[0x20, 0x00, 0, 0, 0]);
    answer.zeroes(4);
    // Where a next session would begin, and end at the latest.
    answer.put(&NONE);
    answer.put(&NONE);
    answer.zeroes(10);
    answer.close_u16(0);
    Ok(answer.finish())
}

/// What a track is asked for by: a block of it (00b), its number (01b), or that of its session (10b).
fn check_track(cdb: &Cdb, lu: &Lu) -> Result<(), Failure> {
    let number = cdb.u32::<2>();
    match cdb.u8::<1>() & 3 {
        0 => range(&lu.facts, number.into(), 1).map(drop),
        1 | 2 if number == 1 => Ok(()),
        1 | 2 => Err(bad_field(2, 7)),
        _ => Err(bad_field(1, 1)),
    }
}

pub(in super::super) fn track_information(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    // Open: the track that can be recorded, of which there is none.
    if cdb.bit::<1>(2) {
        return Err(bad_field(1, 2));
    }
    check_track(cdb, lu)?;
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    // The track's number and its session's. Track mode 4: data, not to be copied; data mode 1.
    answer.put(&[0, 0, 1, 1, 0, 0x04, 0x01, 0]);
    // It begins with block 0; nothing can be written, so there is no next block and nothing is free.
    answer.zeroes(12);
    let together: u32 = if Disc::of(&lu.facts) == Disc::Cd { 0 } else { 16 };
    answer.put(&together.to_be_bytes());
    answer.put(&u32::try_from(lu.facts.blocks).unwrap_or(u32::MAX).to_be_bytes());
    answer.zeroes(8);
    answer.close_u16(0);
    Ok(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, cdrom};
    use super::super::super::{Asc, Sense};

    #[test]
    fn a_complete_disc() {
        let mut rig = Rig::new(cdrom(1000));
        let got = rig.data(&[0x51, 0, 0, 0, 0, 0, 0, 0, 255, 0]);
        assert_eq!((got.len(), &got[..12]), (34, &[0, 32, 0x0e, 1, 1, 1, 1, 0x20, 0, 0, 0, 0][..]));
        assert_eq!(got[16..24], [0xff; 8]);
        for kind in [1, 2, 7] {
            assert_eq!(rig.sense(&[0x51, kind, 0, 0, 0, 0, 0, 0, 255, 0]), Sense::cdb_field(1, 2));
        }
    }

    fn track(kind: u8, number: u32) -> Vec<u8> {
        [&[0x52, kind][..], &number.to_be_bytes(), &[0, 0, 255, 0]].concat()
    }

    #[test]
    fn a_track_of_data() {
        let mut rig = Rig::new(cdrom(1000));
        let got = rig.data(&track(1, 1));
        assert_eq!((got.len(), &got[..8]), (36, &[0, 34, 1, 1, 0, 4, 1, 0][..]));
        assert_eq!(got[24..28], [0, 0, 3, 0xe8]);
        assert_eq!(rig.data(&track(0, 999)), got);
        assert_eq!(rig.data(&track(2, 1)), got);
        assert_eq!(Rig::new(cdrom(1 << 20)).data(&track(1, 1))[20..24], [0, 0, 0, 16]);
    }

    #[test]
    fn tracks_that_are_not_there() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.sense(&track(0, 1000)).asc, Asc::LBA_OUT_OF_RANGE);
        for number in [0, 2, 0xff] {
            assert_eq!(rig.sense(&track(1, number)), Sense::cdb_field(2, 7));
            assert_eq!(rig.sense(&track(2, number)), Sense::cdb_field(2, 7));
        }
        assert_eq!(rig.sense(&track(3, 1)), Sense::cdb_field(1, 1));
        assert_eq!(rig.sense(&track(5, 1)), Sense::cdb_field(1, 2));
    }
}

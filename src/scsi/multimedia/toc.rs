//! READ TOC/PMA/ATIP (MMC-6 section 6.25): the table of contents, as of a disc of one track.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::bad_field;
use super::super::{Answered, Context, Failure, Lu};
use super::Disc;
use super::address::to_msf;

/// ADR 1h: the Q sub-channel gives the position. CONTROL 4h: a data track, not to be copied.
const DATA_TRACK: u8 = 0x14;

/// The number of the lead-out.
const LEAD_OUT: u8 = 0xaa;

/// What a table of contents begins with, and is asked by.
struct Contents<'a> {
    lu: &'a Lu,
    /// Addresses are minutes, seconds and frames.
    msf: bool,
    /// The track or session from which on it is asked for.
    from: u8,
}

pub(in super::super) fn read_toc(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    let contents = Contents { lu, msf: cdb.bit::<1>(1), from: cdb.u8::<6>() };
    // The first and the last track, or session.
    answer.put(&[0, 0, 1, 1]);
    match (cdb.u8::<2>() & 0x0f, Disc::of(&lu.facts)) {
        (0, _) => contents.tracks(&mut answer)?,
        (1, _) => contents.sessions(&mut answer),
        (2, Disc::Cd) => contents.raw(&mut answer)?,
        // A DVD has no Q sub-channel, and a disc that was pressed neither PMA nor ATIP.
        _ => return Err(bad_field(2, 3)),
    }
    answer.close_u16(0);
    Ok(answer.finish())
}

impl Contents<'_> {
    fn address(&self, lba: u64) -> [u8; 4] {
        if self.msf { to_msf(lba) } else { u32::try_from(lba).unwrap_or(u32::MAX).to_be_bytes() }
    }

    fn track(&self, answer: &mut Answer<'_>, number: u8, lba: u64) {
        answer.put(&[0, DATA_TRACK, number, 0]);
        answer.put(&self.address(lba));
    }

    /// 0000b: the track, and where the lead-out begins.
    fn tracks(&self, answer: &mut Answer<'_>) -> Result<(), Failure> {
        match self.from {
            0 | 1 => self.track(answer, 1, 0),
            LEAD_OUT => {}
            _ => return Err(bad_field(6, 7)),
        }
        self.track(answer, LEAD_OUT, self.lu.facts.blocks);
        Ok(())
    }

    /// 0001b: the first track of the last session.
    fn sessions(&self, answer: &mut Answer<'_>) {
        self.track(answer, 1, 0);
    }

    /// 0010b: what the Q sub-channel of the lead-in says: the first track and what kind of disc it is, the last track,
    /// the lead-out, and the track. Its addresses are never blocks.
    fn raw(&self, answer: &mut Answer<'_>) -> Result<(), Failure> {
        if self.from > 1 {
            return Err(bad_field(6, 7));
        }
        let [_, minutes, seconds, frames] = to_msf(self.lu.facts.blocks);
        let points =
            [(0xa0, [1, 0, 0]), (0xa1, [1, 0, 0]), (0xa2, [minutes, seconds, frames]), (0x01, [0, 2, 0])];
        for (point, place) in points {
            answer.put(&[1, DATA_TRACK, 0, point, 0, 0, 0, 0]);
            answer.put(&place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Sense;
    use super::super::super::testing::{Rig, cdrom};

    fn toc(msf: u8, format: u8, from: u8) -> [u8; 10] {
        [0x43, msf, format, 0, 0, 0, from, 0, 255, 0]
    }

    #[test]
    fn one_track_and_the_lead_out() {
        let mut rig = Rig::new(cdrom(1000));
        let got = rig.data(&toc(0, 0, 0));
        let track = [0, 0x14, 1, 0, 0, 0, 0, 0];
        let lead_out = [0, 0x14, 0xaa, 0, 0, 0, 3, 0xe8];
        assert_eq!(got, [&[0, 18, 1, 1][..], &track, &lead_out].concat());
        assert_eq!(rig.data(&toc(0, 0, 1)), got);
        assert_eq!(rig.data(&toc(0, 0, 0xaa)), [&[0, 10, 1, 1][..], &lead_out].concat());
        for from in [2, 0x63, 0xa9, 0xff] {
            assert_eq!(rig.sense(&toc(0, 0, from)), Sense::cdb_field(6, 7));
        }
    }

    #[test]
    fn addresses_are_minutes_if_so_asked() {
        let got = Rig::new(cdrom(1000)).data(&toc(2, 0, 0));
        assert_eq!((&got[8..12], &got[16..20]), (&[0, 0, 2, 0][..], &[0, 0, 15, 25][..]));
        let got = Rig::new(cdrom(1 << 21)).data(&toc(2, 0, 0xaa));
        assert_eq!(got[8..12], [0, 255, 59, 74], "as far as it can be said");
    }

    #[test]
    fn one_session() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.data(&toc(0, 1, 0)), [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
        assert_eq!(rig.data(&toc(2, 1, 0))[8..], [0, 0, 2, 0]);
    }

    #[test]
    fn the_lead_in_of_a_cd() {
        let mut rig = Rig::new(cdrom(1000));
        let got = rig.data(&toc(0, 2, 1));
        assert_eq!((&got[..4], got.len()), (&[0, 46, 1, 1][..], 48));
        let points: Vec<_> = got[4..].chunks(11).map(|entry| (entry[0], entry[1], entry[3])).collect();
        assert_eq!(points, [(1, 0x14, 0xa0), (1, 0x14, 0xa1), (1, 0x14, 0xa2), (1, 0x14, 1)]);
        assert_eq!((&got[4 + 22 + 8..4 + 33], &got[45..]), (&[0, 15, 25][..], &[0, 2, 0][..]));
        assert_eq!(rig.sense(&toc(0, 2, 2)), Sense::cdb_field(6, 7));
        assert_eq!(Rig::new(cdrom(1 << 20)).sense(&toc(0, 2, 0)), Sense::cdb_field(2, 3));
    }

    #[test]
    fn a_pressed_disc_has_no_pma_no_atip_and_no_text() {
        for format in [3, 4, 5, 0x0f] {
            assert_eq!(Rig::new(cdrom(1000)).sense(&toc(0, format, 0)), Sense::cdb_field(2, 3));
        }
    }
}

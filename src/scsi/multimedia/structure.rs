//! READ DISC STRUCTURE (MMC-6 section 6.22): what a DVD says of itself in its lead-in.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::bad_field;
use super::super::{Answered, Asc, Context, Lu, Sense};
use super::Disc;

/// The structures that there are: the format code, and the length with the header.
const STRUCTURES: [(u8, u16); 4] = [(PHYSICAL, 2052), (COPYRIGHT, 8), (MANUFACTURING, 2052), (LIST, 20)];

const PHYSICAL: u8 = 0x00;
const COPYRIGHT: u8 = 0x01;
const MANUFACTURING: u8 = 0x04;
const LIST: u8 = 0xff;

/// The physical sector number of the first block.
const FIRST_SECTOR: u64 = 0x03_0000;

pub(in super::super) fn disc_structure(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let (media, layer, format) = (cdb.u8::<1>() & 0x0f, cdb.u8::<6>(), cdb.u8::<7>());
    // A DVD is the only medium with structures that is played here.
    if media != 0 {
        return Err(bad_field(1, 3));
    }
    let Some((_, length)) = STRUCTURES.iter().find(|(known, _)| *known == format) else {
        return Err(bad_field(7, 7));
    };
    if format != LIST && Disc::of(&lu.facts) == Disc::Cd {
        return Err(Sense::illegal(Asc::INCOMPATIBLE_FORMAT).into());
    }
    // There is one layer.
    if format == PHYSICAL && layer != 0 {
        return Err(bad_field(6, 7));
    }
    let mut answer = Answer::new(out, usize::from(cdb.u16::<8>()));
    answer.zeroes(4);
    match format {
        PHYSICAL => physical(&mut answer, lu.facts.blocks),
        LIST => list(&mut answer),
        // No copyright protection system, every region; nothing of the manufacturer.
        _ => {}
    }
    answer.zeroes(usize::from(*length) - answer.len());
    answer.close_u16(0);
    Ok(answer.finish())
}

/// 00h: DVD-ROM, part version 1; 120 mm, no greatest rate; one embossed layer; the usual densities; and from which sector
/// to which it has data, as far as 24 bits can say.
fn physical(answer: &mut Answer<'_>, blocks: u64) {
    let last = FIRST_SECTOR.saturating_add(blocks.saturating_sub(1)).min(0xff_ffff) as u32;
    answer.put(&[0x01, 0x0f, 0x01, 0x00]);
    answer.put(&(FIRST_SECTOR as u32).to_be_bytes());
    answer.put(&last.to_be_bytes());
    answer.zeroes(4);
}

/// FFh: of each, that it can be read (RDS), and how long it is.
fn list(answer: &mut Answer<'_>) {
    for (format, length) in STRUCTURES {
        let [high, low] = length.to_be_bytes();
        answer.put(&[format, 0x40, high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, cdrom};
    use super::*;

    fn structure(media: u8, layer: u8, format: u8) -> [u8; 12] {
        [0xad, media, 0, 0, 0, 0, layer, format, 0x10, 0, 0, 0]
    }

    fn dvd() -> Rig {
        Rig::new(cdrom(1 << 20))
    }

    #[test]
    fn the_layer_of_a_dvd() {
        let got = dvd().data(&structure(0, 0, PHYSICAL));
        assert_eq!((got.len(), &got[..4]), (2052, &[8, 2, 0, 0][..]));
        assert_eq!(got[4..20], [1, 0x0f, 1, 0, 0, 3, 0, 0, 0, 0x12, 0xff, 0xff, 0, 0, 0, 0]);
        assert!(got[20..].iter().all(|byte| *byte == 0));
        let large = Rig::new(cdrom(1 << 30)).data(&structure(0, 0, PHYSICAL));
        assert_eq!(large[12..16], [0, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn the_other_structures() {
        assert_eq!(dvd().data(&structure(0, 0, COPYRIGHT)), [0, 6, 0, 0, 0, 0, 0, 0]);
        assert_eq!(dvd().data(&structure(0, 0, MANUFACTURING)).len(), 2052);
        let list = dvd().data(&structure(0, 0, LIST));
        assert_eq!(list[..8], [0, 18, 0, 0, 0, 0x40, 8, 4]);
        for entry in list[4..].chunks(4) {
            let length = u16::from_be_bytes([entry[2], entry[3]]);
            assert_eq!(dvd().data(&structure(0, 0, entry[0])).len(), usize::from(length));
        }
    }

    #[test]
    fn what_a_dvd_has_not() {
        for format in [0x02, 0x03, 0x10, 0xc0] {
            assert_eq!(dvd().sense(&structure(0, 0, format)), Sense::cdb_field(7, 7));
        }
        assert_eq!(dvd().sense(&structure(1, 0, PHYSICAL)), Sense::cdb_field(1, 3));
        assert_eq!(dvd().sense(&structure(0, 1, PHYSICAL)), Sense::cdb_field(6, 7));
    }

    #[test]
    fn a_cd_has_no_such_structures() {
        let mut rig = Rig::new(cdrom(1000));
        for format in [PHYSICAL, COPYRIGHT, MANUFACTURING] {
            assert_eq!(rig.sense(&structure(0, 0, format)), Sense::illegal(Asc(0x30, 0x02)));
        }
        assert_eq!(rig.data(&structure(0, 0, LIST)).len(), 20);
    }
}

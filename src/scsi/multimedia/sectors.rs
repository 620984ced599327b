//! READ CD and READ CD MSF (MMC-6 sections 6.19 and 6.20), and SEEK. Of a sector of 2352 bytes the image has the user
//! data only: what would have to be made up, headers and parity, is refused.

use super::super::cdb::Cdb;
use super::super::check::{bad_field, range, transfer};
use super::super::{Answered, Asc, Context, Io, Lu, Outcome, Sense};
use super::address::of_msf;

/// Expected sector types: any, and mode 1.
const ANY: u8 = 0;
const MODE_1: u8 = 2;
/// The last that is not reserved.
const LAST_TYPE: u8 = 5;

/// What of a sector is wanted: the user data.
const USER_DATA: u8 = 0x10;
const MAIN_CHANNEL: u8 = 0xfe;

/// Sectors `lba` and on; `at` is where the CDB has the length.
fn read(cdb: &Cdb, lu: &Lu, lba: u64, blocks: u64, at: u16) -> Answered {
    match cdb.u8::<1>() >> 2 & 7 {
        ANY | MODE_1 => {}
        LAST_TYPE.. if cdb.u8::<1>() >> 2 & 7 > LAST_TYPE => return Err(bad_field(1, 4)),
        _ => return Err(Sense::illegal(Asc::ILLEGAL_MODE_FOR_THIS_TRACK).into()),
    }
    let wanted = cdb.u8::<9>() & MAIN_CHANNEL;
    if wanted != 0 && wanted != USER_DATA {
        return Err(bad_field(9, 7));
    }
    if cdb.u8::<10>() & 7 != 0 {
        return Err(bad_field(10, 2));
    }
    let range = range(&lu.facts, lba, blocks)?;
    transfer(&lu.facts, blocks, at)?;
    let nothing = range.len == 0 || wanted == 0;
    Ok(if nothing { Outcome::Good } else { Outcome::Io(Io::Read { range, fua: false }) })
}

pub(in super::super) fn read_cd(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let blocks = cdb.u32::<5>() & 0xff_ffff;
    read(cdb, lu, cdb.u32::<2>().into(), blocks.into(), 6)
}

/// The ending address is that of the first sector which is not read.
pub(in super::super) fn read_cd_msf(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let address = |at: usize| of_msf([cdb.get(at), cdb.get(at + 1), cdb.get(at + 2)]);
    let start = address(3).ok_or_else(|| bad_field(3, 7))?;
    let blocks = address(6).and_then(|end| end.checked_sub(start)).ok_or_else(|| bad_field(6, 7))?;
    read(cdb, lu, start, blocks, 6)
}

/// Nothing moves; but there must be such a block.
pub(in super::super) fn seek(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    range(&lu.facts, cdb.u32::<2>().into(), 1)?;
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, cdrom};
    use super::super::super::{LuFacts, Range};
    use super::*;

    fn cd(kind: u8, lba: u32, blocks: u8, main: u8, sub: u8) -> Vec<u8> {
        [&[0xbe, kind << 2][..], &lba.to_be_bytes(), &[0, 0, blocks, main, sub, 0]].concat()
    }

    fn range(lba: u64, blocks: u64) -> Outcome {
        let range = Range { offset: lba * 2048, len: blocks * 2048 };
        Outcome::Io(Io::Read { range, fua: false })
    }

    #[test]
    fn user_data_of_mode_1_is_read() {
        let mut rig = Rig::new(cdrom(1000));
        for kind in [ANY, MODE_1] {
            assert_eq!(rig.start(&cd(kind, 16, 3, 0x10, 0)), range(16, 3));
        }
        assert_eq!(rig.start(&cd(0, 16, 0, 0x10, 0)), Outcome::Good);
        assert_eq!(rig.start(&cd(0, 16, 3, 0, 0)), Outcome::Good, "nothing of it is wanted");
        assert_eq!(rig.sense(&cd(0, 999, 2, 0x10, 0)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn what_the_image_has_not_is_refused() {
        let mut rig = Rig::new(cdrom(1000));
        for main in [0xf8, 0x08, 0x50, 0x12, 0x14] {
            assert_eq!(rig.sense(&cd(0, 16, 1, main, 0)), Sense::cdb_field(9, 7));
        }
        for sub in [1, 2, 4] {
            assert_eq!(rig.sense(&cd(0, 16, 1, 0x10, sub)), Sense::cdb_field(10, 2));
        }
        for kind in [1, 3, 4, 5] {
            assert_eq!(rig.sense(&cd(kind, 16, 1, 0x10, 0)), Sense::illegal(Asc(0x64, 0)));
        }
        for reserved in [6, 7] {
            assert_eq!(rig.sense(&cd(reserved, 16, 1, 0x10, 0)), Sense::cdb_field(1, 4));
        }
    }

    #[test]
    fn by_minutes_and_seconds() {
        let mut rig = Rig::new(cdrom(1000));
        let read = |start: [u8; 3], end: [u8; 3]| [&[0xb9, 0, 0][..], &start, &end, &[0x10, 0, 0]].concat();
        assert_eq!(rig.start(&read([0, 2, 16], [0, 3, 0])), range(16, 59));
        assert_eq!(rig.start(&read([0, 2, 16], [0, 2, 16])), Outcome::Good);
        assert_eq!(rig.sense(&read([0, 1, 74], [0, 3, 0])), Sense::cdb_field(3, 7));
        assert_eq!(rig.sense(&read([0, 2, 16], [0, 2, 15])), Sense::cdb_field(6, 7));
        assert_eq!(rig.sense(&read([0, 2, 16], [0, 60, 0])), Sense::cdb_field(6, 7));
        assert_eq!(rig.sense(&read([0, 2, 16], [0, 40, 0])).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn longer_than_the_maximum_transfer_length() {
        let mut rig = Rig::new(LuFacts { max_transfer_blocks: 64, ..cdrom(1000) });
        assert_eq!(rig.start(&cd(0, 0, 64, 0x10, 0)), range(0, 64));
        assert_eq!(rig.sense(&cd(0, 0, 65, 0x10, 0)), Sense::cdb_field(6, 7));
    }

    #[test]
    fn one_seeks_where_there_are_blocks() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.start(&[0x2b, 0, 0, 0, 3, 0xe7, 0, 0, 0, 0]), Outcome::Good);
        assert_eq!(rig.sense(&[0x2b, 0, 0, 0, 3, 0xe8, 0, 0, 0, 0]).asc, Asc::LBA_OUT_OF_RANGE);
    }
}

//! Lists of the medium's parts: which blocks are allocated, and which are defective.
//!
//! GET LBA STATUS (SBC-4 section 5.7) and READ DEFECT DATA (SBC-4 sections 5.22 and 5.23).

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::{bad_field, range};
use super::{Answered, Asc, Context, Io, Lu, LuFacts, Outcome, Sense};

/// The most descriptors that one GET LBA STATUS returns, so that what the store says of them fits 4 KiB.
const MOST_STRETCHES: u32 = 255;

/// Bytes of the GET LBA STATUS parameter data before the descriptors, and of each.
const STATUS_HEADER: u32 = 8;
const STATUS_DESCRIPTOR: u32 = 16;

/// Provisioning status (SBC-4 table 79).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Provisioning {
    /// It has data, or may have.
    #[default]
    Mapped = 0,
    /// It takes no space.
    Deallocated = 1,
    /// It has space of its own, and no data.
    Anchored = 2,
}

/// Part of a medium, all of which has the same provisioning status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Its length in bytes, whole logical blocks.
    pub len: u64,
    /// Its provisioning status.
    pub status: Provisioning,
}

/// GET LBA STATUS(16). REPORT TYPE 00h, all blocks, is the only one. A unit that is not thin has
/// space for all of them; else the store is asked.
pub(super) fn lba_status(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    if cdb.u8::<14>() != 0 {
        return Err(bad_field(14, 7));
    }
    let (facts, lba) = (&lu.facts, cdb.u64::<2>());
    let range = range(facts, lba, facts.blocks.saturating_sub(lba))?;
    if range.len == 0 {
        return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE).into());
    }
    if facts.thin.is_none() {
        return Ok(put_status(cdb, facts, &[Stretch { len: range.len, status: Provisioning::Mapped }], out));
    }
    let room = cdb.u32::<10>().saturating_sub(STATUS_HEADER) / STATUS_DESCRIPTOR;
    Ok(Outcome::Io(Io::Map { range, most: room.clamp(1, MOST_STRETCHES) }))
}

/// The answer to a GET LBA STATUS whose [`Io::Map`] came to `stretches`, the first of which begins
/// where the command said.
pub fn mapped(cdb: &[u8], facts: &LuFacts, stretches: &[Stretch], out: &mut [u8]) -> Outcome {
    put_status(&Cdb::new(cdb), facts, stretches, out)
}

fn put_status(cdb: &Cdb, facts: &LuFacts, stretches: &[Stretch], out: &mut [u8]) -> Outcome {
    let (mut lba, block) = (cdb.u64::<2>(), u64::from(facts.block_size.max(1)));
    let mut answer = Answer::new(out, cdb.u32::<10>() as usize);
    answer.zeroes(STATUS_HEADER as usize);
    for stretch in stretches {
        let blocks = stretch.len / block;
        // A descriptor has 32 bits for it; what is beyond is for the next command.
        let told = u32::try_from(blocks).unwrap_or(u32::MAX);
        answer.put(&lba.to_be_bytes());
        answer.put(&told.to_be_bytes());
        answer.put(&[stretch.status as u8, 0, 0, 0]);
        lba += blocks;
        if u64::from(told) < blocks {
            break;
        }
    }
    answer.close_u32(0, 4);
    answer.finish()
}

/// READ DEFECT DATA(10): what lies below hides its defects, so both lists are empty, in whatever
/// format they are asked for.
pub(super) fn defects10(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    answer.put(&[0, defect_lists(cdb.u8::<2>(), 2)?, 0, 0]);
    Ok(answer.finish())
}

/// READ DEFECT DATA(12): the same with a longer header. Of an empty list every index is beyond the end.
pub(super) fn defects12(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, cdb.u32::<6>() as usize);
    answer.put(&[0, defect_lists(cdb.u8::<1>(), 1)?, 0, 0, 0, 0, 0, 0]);
    Ok(answer.finish())
}

/// PLISTV, GLISTV and DEFECT LIST FORMAT as they were asked for; format 111b is reserved.
fn defect_lists(asked: u8, at: u16) -> Result<u8, super::Failure> {
    if asked & 7 == 7 { Err(bad_field(at, 2)) } else { Ok(asked & 0x1f) }
}

#[cfg(test)]
mod tests {
    use super::super::Range;
    use super::super::testing::{Rig, facts};
    use super::*;

    fn status(lba: u64, allocation: u32) -> Vec<u8> {
        [&[0x9e, 0x12][..], &lba.to_be_bytes(), &allocation.to_be_bytes(), &[0, 0]].concat()
    }

    #[test]
    fn a_thin_unit_asks_its_store() {
        let mut rig = Rig::new(facts());
        let range = Range { offset: 5 * 512, len: ((1 << 21) - 5) * 512 };
        for (allocation, most) in [(0, 1), (24, 1), (39, 1), (40, 2), (1 << 20, 255)] {
            assert_eq!(rig.start(&status(5, allocation)), Outcome::Io(Io::Map { range, most }));
        }
    }

    #[test]
    fn what_the_store_says_becomes_descriptors() {
        let stretch = |blocks: u64, status| Stretch { len: blocks * 512, status };
        let stretches = [
            stretch(8, Provisioning::Deallocated),
            stretch(3, Provisioning::Mapped),
            stretch(1, Provisioning::Anchored),
        ];
        let mut out = [0xee; 64];
        assert_eq!(mapped(&status(5, 100), &facts(), &stretches, &mut out), Outcome::Data(56));
        assert_eq!(out[..8], [0, 0, 0, 52, 0, 0, 0, 0]);
        assert_eq!(out[40..56], [0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 2, 0, 0, 0]);
        assert_eq!(out[8..24], [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8, 1, 0, 0, 0]);
        assert_eq!(out[24..40], [0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(mapped(&status(5, 12), &facts(), &stretches, &mut out), Outcome::Data(12));
    }

    #[test]
    fn a_stretch_longer_than_its_field_is_told_in_part() {
        let stretches = [512 << 33, 512].map(|len| Stretch { len, status: Provisioning::Deallocated });
        let mut out = [0; 64];
        assert_eq!(mapped(&status(0, 100), &facts(), &stretches, &mut out), Outcome::Data(24));
        assert_eq!(out[16..20], [0xff; 4]);
    }

    #[test]
    fn a_thick_unit_is_mapped_as_a_whole() {
        let mut rig = Rig::new(LuFacts { thin: None, ..facts() });
        let got = rig.data(&status(1, 255));
        assert_eq!(got[..8], [0, 0, 0, 20, 0, 0, 0, 0]);
        assert_eq!(got[8..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0x1f, 0xff, 0xff, 0, 0, 0, 0]);
    }

    #[test]
    fn status_is_about_blocks_that_there_are() {
        let mut rig = Rig::new(facts());
        for lba in [1 << 21, (1 << 21) + 1, u64::MAX] {
            assert_eq!(rig.sense(&status(lba, 24)).asc, Asc::LBA_OUT_OF_RANGE);
        }
        let mut typed = status(0, 24);
        typed[14] = 1;
        assert_eq!(rig.sense(&typed), Sense::cdb_field(14, 7));
    }

    #[test]
    fn there_are_no_defects() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.data(&[0x37, 0, 0x18, 0, 0, 0, 0, 0, 32, 0]), [0, 0x18, 0, 0]);
        assert_eq!(rig.data(&[0x37, 0, 0x0d, 0, 0, 0, 0, 0, 2, 0]), [0, 0x0d]);
        assert_eq!(rig.sense(&[0x37, 0, 7, 0, 0, 0, 0, 0, 32, 0]), Sense::cdb_field(2, 2));
        let twelve = [0xb7, 0x15, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0];
        assert_eq!(rig.data(&twelve), [0, 0x15, 0, 0, 0, 0, 0, 0]);
        let reserved = [0xb7, 7, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
        assert_eq!(rig.sense(&reserved), Sense::cdb_field(1, 2));
    }
}

//! Commands that take effect as a whole or not at all: COMPARE AND WRITE, ORWRITE and WRITE ATOMIC
//! (SBC-4 sections 5.3, 5.11 and 5.49).

use super::cdb::Cdb;
use super::check::{bad_field, range, transfer};
use super::extent::Extent;
use super::facts::Atomic;
use super::{Answered, Context, Failure, Io, Lu, Outcome};

/// COMPARE AND WRITE: the data-out is the blocks to compare with, then the blocks to write.
pub(super) fn compare_and_write(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let (extent, blocks) = (Extent::of16(cdb), cdb.u8::<13>());
    extent.unprotected()?;
    if blocks > lu.facts.max_compare_and_write_blocks() {
        return Err(bad_field(13, 7));
    }
    let range = range(&lu.facts, extent.lba, u64::from(blocks))?;
    // An empty range has no data-out either: that is seen where the data-out is.
    Ok(Outcome::Io(Io::CompareAndWrite { range, fua: durable(lu, &extent) }))
}

/// ORWRITE(16).
pub(super) fn or_write(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let extent = Extent::of16(cdb);
    extent.unprotected()?;
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    let fua = durable(lu, &extent);
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Or { range, fua }) })
}

/// WRITE ATOMIC(16). No boundaries inside of a write are offered.
pub(super) fn write_atomic(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let (extent, blocks) = (Extent::of16(cdb), cdb.u16::<12>());
    extent.unprotected()?;
    let range = range(&lu.facts, extent.lba, u64::from(blocks))?;
    if cdb.u16::<10>() != 0 {
        return Err(bad_field(10, 7));
    }
    if let Some(atomic) = &lu.facts.atomic {
        atomic.admits(extent.lba, u32::from(blocks))?;
    }
    let fua = durable(lu, &extent);
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::WriteAtomic { range, fua }) })
}

fn durable(lu: &Lu, extent: &Extent) -> bool {
    extent.fua() || lu.state.mode.current.write_through
}

impl Atomic {
    /// Whether the device below does that many blocks from there on at once. One that wants lengths
    /// that are powers of two, at multiples of themselves, cannot say so in the Block Limits page.
    fn admits(&self, lba: u64, blocks: u32) -> Result<(), Failure> {
        let wanted = blocks.max(1);
        let natural = !self.natural || (wanted.is_power_of_two() && lba.is_multiple_of(u64::from(wanted)));
        if !lba.is_multiple_of(u64::from(self.alignment_blocks.max(1))) {
            Err(bad_field(2, 7))
        } else if blocks > self.max_blocks
            || !blocks.is_multiple_of(self.granularity_blocks.max(1))
            || !natural
        {
            Err(bad_field(12, 7))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts};
    use super::super::{Asc, LuFacts, Range, Sense};
    use super::*;

    const BLOCKS: u64 = 1 << 21;

    fn caw(flags: u8, lba: u64, blocks: u8) -> Vec<u8> {
        [&[0x89, flags][..], &lba.to_be_bytes(), &[0, 0, 0, blocks, 0, 0]].concat()
    }

    fn or(flags: u8, lba: u64, blocks: u32) -> Vec<u8> {
        [&[0x8b, flags][..], &lba.to_be_bytes(), &blocks.to_be_bytes(), &[0, 0]].concat()
    }

    fn atomic(flags: u8, lba: u64, boundary: u16, blocks: u16) -> Vec<u8> {
        let fields = [boundary.to_be_bytes(), blocks.to_be_bytes()].concat();
        [&[0x9c, flags][..], &lba.to_be_bytes(), &fields, &[0, 0]].concat()
    }

    fn range(lba: u64, blocks: u64) -> Range {
        Range { offset: lba * 512, len: blocks * 512 }
    }

    fn with(limits: Atomic) -> Rig {
        Rig::new(LuFacts { atomic: Some(limits), ..facts() })
    }

    #[test]
    fn compare_and_write_names_its_range_once() {
        let mut rig = Rig::new(facts());
        let io = |fua| Outcome::Io(Io::CompareAndWrite { range: range(7, 255), fua });
        assert_eq!(rig.start(&caw(0, 7, 255)), io(false));
        assert_eq!(rig.start(&caw(0x18, 7, 255)), io(true));
        let nothing = Io::CompareAndWrite { range: range(BLOCKS, 0), fua: false };
        assert_eq!(rig.start(&caw(0, BLOCKS, 0)), Outcome::Io(nothing));
        assert_eq!(rig.sense(&caw(0x20, 7, 1)), Sense::cdb_field(1, 7));
        assert_eq!(rig.sense(&caw(0, BLOCKS - 1, 2)).asc, Asc::LBA_OUT_OF_RANGE);
        assert_eq!(rig.sense(&caw(0, BLOCKS + 1, 0)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn compare_and_write_keeps_to_its_limit() {
        let mut large = Rig::new(LuFacts { block_size: 4096, ..facts() });
        assert!(matches!(large.start(&caw(0, 0, 32)), Outcome::Io(_)));
        assert_eq!(large.sense(&caw(0, 0, 33)), Sense::cdb_field(13, 7));
        assert_eq!(large.data(&[0x12, 1, 0xb0, 0, 64, 0])[5], 32);
        assert_eq!(Rig::new(facts()).data(&[0x12, 1, 0xb0, 0, 64, 0])[5], 255);
    }

    #[test]
    fn or_write_is_like_a_write() {
        let mut rig = Rig::new(facts());
        let io = |fua| Outcome::Io(Io::Or { range: range(7, 300), fua });
        assert_eq!(rig.start(&or(0x10, 7, 300)), io(false));
        assert_eq!(rig.start(&or(0x08, 7, 300)), io(true));
        assert_eq!(rig.start(&or(0, 7, 0)), Outcome::Good);
        assert_eq!(rig.sense(&or(0x40, 7, 1)), Sense::cdb_field(1, 7));
        assert_eq!(rig.sense(&or(0, 0, (1 << 16) + 1)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&or(0, u64::MAX, 1)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn write_atomic_is_there_only_where_the_store_can() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.sense(&atomic(0, 0, 0, 1)).asc, Asc::INVALID_OPCODE);
        assert_eq!(rig.data(&[0x12, 1, 0xb0, 0, 64, 0])[44..], [0; 20]);
        let limits = Atomic { max_blocks: 128, alignment_blocks: 8, granularity_blocks: 8, natural: true };
        let mut rig = with(limits);
        let page = rig.data(&[0x12, 1, 0xb0, 0, 64, 0]);
        assert_eq!(page[44..], [0, 0, 0, 128, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        let io = Outcome::Io(Io::WriteAtomic { range: range(16, 16), fua: true });
        assert_eq!(rig.start(&atomic(8, 16, 0, 16)), io);
        assert_eq!(rig.start(&atomic(0, 16, 0, 0)), Outcome::Good);
    }

    #[test]
    fn write_atomic_keeps_to_its_limits() {
        let limits = Atomic { max_blocks: 128, alignment_blocks: 8, granularity_blocks: 8, natural: true };
        let mut rig = with(limits);
        assert_eq!(rig.sense(&atomic(0, 4, 0, 8)), Sense::cdb_field(2, 7), "alignment");
        assert_eq!(rig.sense(&atomic(0, 0, 0, 12)), Sense::cdb_field(12, 7), "granularity");
        assert_eq!(rig.sense(&atomic(0, 0, 0, 256)), Sense::cdb_field(12, 7), "maximum");
        assert_eq!(rig.sense(&atomic(0, 0, 0, 24)), Sense::cdb_field(12, 7), "no power of two");
        assert_eq!(rig.sense(&atomic(0, 8, 0, 16)), Sense::cdb_field(12, 7), "no multiple of itself");
        assert_eq!(rig.sense(&atomic(0, 0, 8, 16)), Sense::cdb_field(10, 7), "boundary");
        assert_eq!(rig.sense(&atomic(0, BLOCKS, 0, 8)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn memory_has_no_other_limit_than_a_length() {
        let limits = Atomic { max_blocks: 512, alignment_blocks: 0, granularity_blocks: 0, natural: false };
        let mut rig = with(limits);
        assert!(matches!(rig.start(&atomic(0, 3, 0, 511)), Outcome::Io(_)));
        assert_eq!(rig.sense(&atomic(0, 3, 0, 513)), Sense::cdb_field(12, 7));
    }

    #[test]
    fn all_three_write() {
        let limits = Atomic { max_blocks: 512, alignment_blocks: 0, granularity_blocks: 0, natural: false };
        let mut rig = Rig { read_only_map: true, ..with(limits) };
        for cdb in [caw(0, 0, 1), or(0, 0, 1), atomic(0, 0, 0, 1)] {
            assert_eq!(rig.sense(&cdb), Sense::write_protected());
        }
    }
}

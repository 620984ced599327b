//! Commands that read, write, fetch or flush ranges of the medium (SBC-4 section 5).
//!
//! READ and WRITE pass here for every I/O: no allocation, no loops.

use super::cdb::Cdb;
use super::check::{range, transfer};
use super::extent::Extent;
use super::{Answered, Context, Io, Lu, Outcome, Straight, Way, table};

#[inline]
fn read(lu: &Lu, extent: &Extent) -> Answered {
    extent.unprotected()?;
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Read { range, fua: extent.fua() }) })
}

#[inline]
fn write(lu: &Lu, extent: &Extent) -> Answered {
    extent.unprotected()?;
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    let fua = durable(lu, extent);
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Write { range, fua }) })
}

/// The commands of nearly every I/O.
pub(super) const USUAL: [u8; 4] = [table::READ10, table::WRITE10, table::READ16, table::WRITE16];

/// What the READ and WRITE commands of 10 and 16 bytes do, if nothing is wrong with them: those of nearly every I/O.
#[inline(always)]
pub(super) fn usual(cdb: &Cdb, lu: &Lu) -> Option<Straight> {
    let (extent, writes) = match cdb.opcode() {
        table::READ10 => (Extent::of10(cdb), false),
        table::READ16 => (Extent::of16(cdb), false),
        table::WRITE10 => (Extent::of10(cdb), true),
        table::WRITE16 => (Extent::of16(cdb), true),
        _ => return None,
    };
    extent.unprotected().ok()?;
    transfer(&lu.facts, extent.blocks, extent.length_at).ok()?;
    let range = range(&lu.facts, extent.lba, extent.blocks).ok().filter(|range| range.len > 0)?;
    let way = match writes {
        false => Way::Read,
        true if durable(lu, &extent) => Way::WriteThrough,
        true => Way::Write,
    };
    Some(Straight { way, range })
}

/// A store without a volatile cache is durable by itself; only a switched-off one needs help.
#[inline]
fn durable(lu: &Lu, extent: &Extent) -> bool {
    extent.fua() || lu.state.mode.current.write_through
}

pub(super) fn read6(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of6(cdb))
}

pub(super) fn read10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of10(cdb))
}

pub(super) fn read12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of12(cdb))
}

pub(super) fn read16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of16(cdb))
}

pub(super) fn read32(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of32(cdb))
}

pub(super) fn write6(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of6(cdb))
}

pub(super) fn write10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of10(cdb))
}

pub(super) fn write12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of12(cdb))
}

pub(super) fn write16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of16(cdb))
}

pub(super) fn write32(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of32(cdb))
}

/// PRE-FETCH: a length of 0 means up to the end (SBC-4 section 5.13). Where the medium is memory
/// it is as near as it gets, which CONDITION MET says; elsewhere nothing is kept that could be
/// fetched, and GOOD says that the blocks did not find room. IMMED changes nothing.
fn prefetch(lu: &Lu, extent: &Extent) -> Answered {
    let rest = lu.facts.blocks.saturating_sub(extent.lba);
    range(&lu.facts, extent.lba, if extent.blocks == 0 { rest } else { extent.blocks })?;
    Ok(if lu.facts.resident { Outcome::Met } else { Outcome::Good })
}

pub(super) fn prefetch10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    prefetch(lu, &Extent::of10(cdb))
}

pub(super) fn prefetch16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    prefetch(lu, &Extent::of16(cdb))
}

/// SYNCHRONIZE CACHE: a length of 0 means up to the end (SBC-4 section 5.34).
fn synchronize(cdb: &Cdb, lu: &Lu, extent: &Extent) -> Answered {
    let rest = lu.facts.blocks.saturating_sub(extent.lba);
    let blocks = if extent.blocks == 0 { rest } else { extent.blocks };
    let range = range(&lu.facts, extent.lba, blocks)?;
    let immediate = cdb.bit::<1>(1);
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Flush { range, immediate }) })
}

pub(super) fn synchronize10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    synchronize(cdb, lu, &Extent::of10(cdb))
}

pub(super) fn synchronize16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    synchronize(cdb, lu, &Extent::of16(cdb))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Rig, block_cdb as cdb, facts, flags_at};
    use super::super::{Asc, LuFacts, LuState, Range, Sense, Settings};
    use super::*;

    const BLOCKS: u64 = 1 << 21;

    fn range(lba: u64, blocks: u64) -> Range {
        Range { offset: lba * 512, len: blocks * 512 }
    }

    #[test]
    fn every_read_and_write_names_its_range() {
        let mut rig = Rig::new(facts());
        for opcode in [0x08, 0x28, 0xa8, 0x88, 0x69] {
            let want = Io::Read { range: range(0x12345, 7), fua: false };
            assert_eq!(rig.start(&cdb(opcode, 0, 0x12345, 7)), Outcome::Io(want), "{opcode:#x}");
        }
        for opcode in [0x0a, 0x2a, 0xaa, 0x8a, 0x6b] {
            let want = Io::Write { range: range(0x12345, 7), fua: false };
            assert_eq!(rig.start(&cdb(opcode, 0, 0x12345, 7)), Outcome::Io(want), "{opcode:#x}");
        }
    }

    #[test]
    fn the_usual_ones_go_straight() {
        let mut rig = Rig::new(facts());
        for opcode in [0x28, 0x88] {
            let want = Straight { way: Way::Read, range: range(0x12345, 7) };
            assert_eq!(rig.straight(&cdb(opcode, 0x08, 0x12345, 7)), Some(want), "{opcode:#x}");
        }
        for opcode in [0x2a, 0x8a] {
            for (flags, way) in [(0, Way::Write), (0x08, Way::WriteThrough)] {
                let want = Straight { way, range: range(0x12345, 7) };
                assert_eq!(rig.straight(&cdb(opcode, flags, 0x12345, 7)), Some(want), "{opcode:#x}");
            }
            assert_eq!(rig.straight(&cdb(opcode, 0, BLOCKS, 1)), None, "{opcode:#x} beyond the end");
        }
        rig.read_only_map = true;
        assert_eq!(rig.straight(&cdb(0x2a, 0, 1, 1)), None, "write protected");
        assert!(rig.straight(&cdb(0x28, 0, 1, 1)).is_some());
    }

    #[test]
    fn six_byte_length_zero_means_256() {
        let want = Io::Read { range: range(1, 256), fua: false };
        assert_eq!(Rig::new(facts()).start(&cdb(0x08, 0, 1, 0)), Outcome::Io(want));
    }

    #[test]
    fn fua_is_taken_over_and_dpo_is_harmless() {
        let mut rig = Rig::new(facts());
        let want = Io::Write { range: range(1, 1), fua: true };
        assert_eq!(rig.start(&cdb(0x2a, 0x18, 1, 1)), Outcome::Io(want));
        let want = Io::Read { range: range(1, 1), fua: true };
        assert_eq!(rig.start(&cdb(0x88, 0x08, 1, 1)), Outcome::Io(want));
    }

    #[test]
    fn with_the_cache_switched_off_every_write_is_durable() {
        let mut rig = Rig::new(facts());
        let mut state = LuState::default();
        state.mode.current = Settings { write_through: true, ..Settings::default() };
        rig.lu.state = Arc::new(state);
        let want = Io::Write { range: range(1, 1), fua: true };
        assert_eq!(rig.start(&cdb(0x2a, 0, 1, 1)), Outcome::Io(want));
    }

    #[test]
    fn the_end_is_the_end() {
        let mut rig = Rig::new(facts());
        for opcode in [0x28, 0xa8, 0x88, 0x69, 0x2a, 0xaa, 0x8a, 0x6b] {
            assert!(matches!(rig.start(&cdb(opcode, 0, BLOCKS - 2, 2)), Outcome::Io(_)), "{opcode:#x}");
            assert_eq!(rig.start(&cdb(opcode, 0, BLOCKS, 0)), Outcome::Good, "{opcode:#x}");
            for (lba, blocks) in [(BLOCKS - 1, 2), (BLOCKS, 1), (BLOCKS + 1, 0), (u64::MAX, 1), (1 << 31, 0)]
            {
                let sense = rig.sense(&cdb(opcode, 0, lba, blocks));
                assert_eq!(sense.asc, Asc::LBA_OUT_OF_RANGE, "{opcode:#x} {lba} {blocks}");
            }
        }
    }

    #[test]
    fn there_is_no_protection_information() {
        let mut rig = Rig::new(facts());
        for opcode in [0x28, 0xa8, 0x88, 0x69, 0x2a, 0xaa, 0x8a, 0x6b] {
            for protect in 1..8 {
                assert_eq!(
                    rig.sense(&cdb(opcode, protect << 5, 0, 1)),
                    Sense::cdb_field(flags_at(opcode), 7)
                );
            }
        }
    }

    #[test]
    fn longer_than_the_maximum_transfer_length() {
        let mut rig = Rig::new(LuFacts { max_transfer_blocks: 64, ..facts() });
        assert!(matches!(rig.start(&cdb(0x28, 0, 0, 64)), Outcome::Io(_)));
        assert_eq!(rig.sense(&cdb(0x28, 0, 0, 65)), Sense::cdb_field(7, 7));
        assert_eq!(rig.sense(&cdb(0xaa, 0, 0, 65)), Sense::cdb_field(6, 7));
        assert_eq!(rig.sense(&cdb(0x8a, 0, 0, 65)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&cdb(0x69, 0, 0, 65)), Sense::cdb_field(28, 7));
    }

    #[test]
    fn variable_length_commands_are_whole_and_known() {
        let mut rig = Rig::new(facts());
        let read = cdb(0x69, 0, 1, 1);
        let changed = |at: usize, to| {
            let mut changed = read.clone();
            changed[at] = to;
            changed
        };
        assert_eq!(rig.sense(&changed(7, 0x10)), Sense::cdb_field(7, 7), "ADDITIONAL CDB LENGTH");
        assert_eq!(rig.sense(&changed(8, 1)), Sense::cdb_field(8, 7), "service action");
        assert_eq!(rig.sense(&changed(1, 4)), Sense::cdb_field(1, 2), "CONTROL is byte 1");
        assert_eq!(rig.sense(&read[..16]).asc, Asc::INVALID_FIELD_IN_CDB, "half a CDB");
    }

    #[test]
    fn prefetch_meets_its_condition_where_everything_is_at_hand() {
        let mut disk = Rig::new(facts());
        let mut memory = Rig::new(LuFacts { resident: true, ..facts() });
        for opcode in [0x34, 0x90] {
            assert_eq!(disk.start(&cdb(opcode, 2, 0, 9)), Outcome::Good);
            assert_eq!(memory.start(&cdb(opcode, 0, 0, 9)), Outcome::Met);
            assert_eq!(memory.start(&cdb(opcode, 0, 1, 0)), Outcome::Met, "up to the end");
            assert_eq!(disk.sense(&cdb(opcode, 0, BLOCKS - 1, 2)).asc, Asc::LBA_OUT_OF_RANGE);
            assert_eq!(disk.sense(&cdb(opcode, 0, BLOCKS + 1, 0)).asc, Asc::LBA_OUT_OF_RANGE);
        }
    }

    #[test]
    fn synchronize_cache_without_length_goes_to_the_end() {
        let mut rig = Rig::new(facts());
        for opcode in [0x35, 0x91] {
            let want = Io::Flush { range: range(5, BLOCKS - 5), immediate: true };
            assert_eq!(rig.start(&cdb(opcode, 2, 5, 0)), Outcome::Io(want));
            let want = Io::Flush { range: range(5, 8), immediate: false };
            assert_eq!(rig.start(&cdb(opcode, 0, 5, 8)), Outcome::Io(want));
            assert_eq!(rig.sense(&cdb(opcode, 0, BLOCKS + 1, 0)).asc, Asc::LBA_OUT_OF_RANGE);
            assert_eq!(rig.sense(&cdb(opcode, 0, BLOCKS - 1, 2)).asc, Asc::LBA_OUT_OF_RANGE);
        }
    }
}

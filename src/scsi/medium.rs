//! Commands that read, write, compare or flush ranges of the medium (SBC-4 section 5).
//!
//! READ and WRITE pass here for every I/O: no allocation, no loops.

use super::cdb::Cdb;
use super::check::{bad_field, range, transfer, unprotected};
use super::{Answered, Context, Io, Lu, Outcome};

/// The blocks that a CDB names, and where its length field begins.
struct Extent {
    lba: u64,
    blocks: u64,
    length_at: u16,
}

impl Extent {
    /// 6-byte CDBs: 21 bits of LBA, and a length of 0 that means 256.
    #[inline]
    fn of6(cdb: &Cdb) -> Self {
        let length = cdb.u8::<4>();
        let blocks = if length == 0 { 256 } else { u64::from(length) };
        Self { lba: u64::from(cdb.u32::<0>() & 0x1f_ffff), blocks, length_at: 4 }
    }

    #[inline]
    fn of10(cdb: &Cdb) -> Self {
        Self { lba: u64::from(cdb.u32::<2>()), blocks: u64::from(cdb.u16::<7>()), length_at: 7 }
    }

    #[inline]
    fn of12(cdb: &Cdb) -> Self {
        Self { lba: u64::from(cdb.u32::<2>()), blocks: u64::from(cdb.u32::<6>()), length_at: 6 }
    }

    #[inline]
    fn of16(cdb: &Cdb) -> Self {
        Self { lba: cdb.u64::<2>(), blocks: u64::from(cdb.u32::<10>()), length_at: 10 }
    }
}

#[inline]
fn read(lu: &Lu, extent: &Extent, fua: bool) -> Answered {
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Read { range, fua }) })
}

#[inline]
fn write(lu: &Lu, extent: &Extent, fua: bool) -> Answered {
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    // A store without a volatile cache is durable by itself; only a switched-off one needs help.
    let fua = fua || lu.state.mode.current.write_through;
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Write { range, fua }) })
}

const FUA: u8 = 3;

pub(super) fn read6(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of6(cdb), false)
}

pub(super) fn read10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    read(lu, &Extent::of10(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn read12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    read(lu, &Extent::of12(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn read16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    read(lu, &Extent::of16(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn write6(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of6(cdb), false)
}

pub(super) fn write10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    write(lu, &Extent::of10(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn write12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    write(lu, &Extent::of12(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn write16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    write(lu, &Extent::of16(cdb), cdb.bit::<1>(FUA))
}

/// VERIFY: with BYTCHK 01b the data-out is compared, with 00b the medium is only read. 11b (one
/// block compared with all) is not offered, 10b is reserved (SBC-4 section 5.36).
fn verify(cdb: &Cdb, lu: &Lu, extent: &Extent) -> Answered {
    unprotected(cdb)?;
    let compare = match cdb.u8::<1>() >> 1 & 3 {
        0 => false,
        1 => true,
        _ => return Err(bad_field(1, 2)),
    };
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    if range.len == 0 {
        return Ok(Outcome::Good);
    }
    if !compare {
        return Ok(Outcome::Io(Io::Verify { range }));
    }
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    Ok(Outcome::Io(Io::Compare { range }))
}

pub(super) fn verify10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(cdb, lu, &Extent::of10(cdb))
}

pub(super) fn verify12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(cdb, lu, &Extent::of12(cdb))
}

pub(super) fn verify16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(cdb, lu, &Extent::of16(cdb))
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

    use super::super::testing::{Rig, facts};
    use super::super::{Asc, LuFacts, LuState, Range, Sense, Settings};
    use super::*;

    const BLOCKS: u64 = 1 << 21;

    /// A CDB of that opcode with LBA and length in the places of its group.
    fn cdb(opcode: u8, flags: u8, lba: u64, blocks: u32) -> Vec<u8> {
        let (lba32, length) = ((lba as u32).to_be_bytes(), blocks.to_be_bytes());
        match opcode >> 5 {
            0 => vec![opcode, lba32[1] & 0x1f, lba32[2], lba32[3], length[3], 0],
            1 | 2 => [&[opcode, flags][..], &lba32, &[0], &length[2..], &[0]].concat(),
            5 => [&[opcode, flags][..], &lba32, &length, &[0, 0]].concat(),
            _ => [&[opcode, flags][..], &lba.to_be_bytes(), &length, &[0, 0]].concat(),
        }
    }

    fn range(lba: u64, blocks: u64) -> Range {
        Range { offset: lba * 512, len: blocks * 512 }
    }

    #[test]
    fn every_read_and_write_names_its_range() {
        let mut rig = Rig::new(facts());
        for opcode in [0x08, 0x28, 0xa8, 0x88] {
            let want = Io::Read { range: range(0x12345, 7), fua: false };
            assert_eq!(rig.start(&cdb(opcode, 0, 0x12345, 7)), Outcome::Io(want), "{opcode:#x}");
        }
        for opcode in [0x0a, 0x2a, 0xaa, 0x8a] {
            let want = Io::Write { range: range(0x12345, 7), fua: false };
            assert_eq!(rig.start(&cdb(opcode, 0, 0x12345, 7)), Outcome::Io(want), "{opcode:#x}");
        }
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
        for opcode in [0x28, 0xa8, 0x88, 0x2a, 0xaa, 0x8a, 0x2f, 0xaf, 0x8f] {
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
        for opcode in [0x28, 0xa8, 0x88, 0x2a, 0xaa, 0x8a, 0x2f, 0xaf, 0x8f] {
            for protect in 1..8 {
                assert_eq!(rig.sense(&cdb(opcode, protect << 5, 0, 1)), Sense::cdb_field(1, 7));
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
        assert_eq!(rig.sense(&cdb(0x8f, 2, 0, 65)), Sense::cdb_field(10, 7));
        assert!(matches!(rig.start(&cdb(0x8f, 0, 0, 65)), Outcome::Io(Io::Verify { .. })));
    }

    #[test]
    fn verify_compares_if_bytchk_says_so() {
        let mut rig = Rig::new(facts());
        for opcode in [0x2f, 0xaf, 0x8f] {
            let range = range(9, 3);
            assert_eq!(rig.start(&cdb(opcode, 0, 9, 3)), Outcome::Io(Io::Verify { range }));
            assert_eq!(rig.start(&cdb(opcode, 2, 9, 3)), Outcome::Io(Io::Compare { range }));
            assert_eq!(rig.sense(&cdb(opcode, 4, 9, 3)), Sense::cdb_field(1, 2));
            assert_eq!(rig.sense(&cdb(opcode, 6, 9, 3)), Sense::cdb_field(1, 2));
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

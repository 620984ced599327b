//! VERIFY and WRITE AND VERIFY (SBC-4 sections 5.36 to 5.39 and 5.45 to 5.48).

use super::cdb::Cdb;
use super::check::{range, transfer};
use super::extent::Extent;
use super::{Answered, Context, Io, Lu, Outcome};

/// VERIFY. BYTCHK 00b: the medium is only read; 01b: the data-out is compared with all blocks;
/// 11b: one block of data-out is compared with each; 10b is reserved.
fn verify(lu: &Lu, extent: &Extent) -> Answered {
    extent.unprotected()?;
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    let io = match extent.bytchk() {
        0 => Io::Verify { range },
        1 => {
            transfer(&lu.facts, extent.blocks, extent.length_at)?;
            Io::Compare { range }
        }
        3 => Io::CompareEach { range },
        _ => return Err(extent.bad_flag(2)),
    };
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(io) })
}

/// WRITE AND VERIFY: what is verified is what the medium holds, so it is written through. BYTCHK
/// 01b compares that with the data-out; 10b and 11b are reserved here.
fn write_verify(lu: &Lu, extent: &Extent) -> Answered {
    extent.unprotected()?;
    let compare = match extent.bytchk() {
        0 => false,
        1 => true,
        _ => return Err(extent.bad_flag(2)),
    };
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::WriteVerify { range, compare }) })
}

pub(super) fn verify10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(lu, &Extent::of10(cdb))
}

pub(super) fn verify12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(lu, &Extent::of12(cdb))
}

pub(super) fn verify16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(lu, &Extent::of16(cdb))
}

pub(super) fn verify32(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(lu, &Extent::of32(cdb))
}

pub(super) fn write_verify10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write_verify(lu, &Extent::of10(cdb))
}

pub(super) fn write_verify12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write_verify(lu, &Extent::of12(cdb))
}

pub(super) fn write_verify16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write_verify(lu, &Extent::of16(cdb))
}

pub(super) fn write_verify32(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write_verify(lu, &Extent::of32(cdb))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, block_cdb as cdb, facts, flags_at};
    use super::super::{Asc, Range, Sense};
    use super::*;

    const BLOCKS: u64 = 1 << 21;
    const VERIFIES: [u8; 4] = [0x2f, 0xaf, 0x8f, 0x6a];
    const WRITE_VERIFIES: [u8; 4] = [0x2e, 0xae, 0x8e, 0x6c];

    fn range(lba: u64, blocks: u64) -> Range {
        Range { offset: lba * 512, len: blocks * 512 }
    }

    #[test]
    fn verify_compares_as_bytchk_says() {
        let (mut rig, range) = (Rig::new(facts()), range(9, 3));
        for opcode in VERIFIES {
            assert_eq!(rig.start(&cdb(opcode, 0, 9, 3)), Outcome::Io(Io::Verify { range }));
            assert_eq!(rig.start(&cdb(opcode, 2, 9, 3)), Outcome::Io(Io::Compare { range }));
            assert_eq!(rig.sense(&cdb(opcode, 4, 9, 3)), Sense::cdb_field(flags_at(opcode), 2));
            assert_eq!(rig.start(&cdb(opcode, 6, 9, 3)), Outcome::Io(Io::CompareEach { range }));
        }
    }

    #[test]
    fn write_and_verify_compares_or_only_reads() {
        let (mut rig, range) = (Rig::new(facts()), range(9, 3));
        for opcode in WRITE_VERIFIES {
            let io = |compare| Outcome::Io(Io::WriteVerify { range, compare });
            assert_eq!(rig.start(&cdb(opcode, 0x10, 9, 3)), io(false), "DPO is harmless");
            assert_eq!(rig.start(&cdb(opcode, 2, 9, 3)), io(true));
            for reserved in [4, 6] {
                assert_eq!(rig.sense(&cdb(opcode, reserved, 9, 3)), Sense::cdb_field(flags_at(opcode), 2));
            }
        }
    }

    #[test]
    fn both_keep_to_the_medium() {
        let mut rig = Rig::new(facts());
        for opcode in VERIFIES.into_iter().chain(WRITE_VERIFIES) {
            assert!(matches!(rig.start(&cdb(opcode, 0, BLOCKS - 2, 2)), Outcome::Io(_)), "{opcode:#x}");
            assert_eq!(rig.start(&cdb(opcode, 0, BLOCKS, 0)), Outcome::Good, "{opcode:#x}");
            assert_eq!(rig.sense(&cdb(opcode, 0, BLOCKS - 1, 2)).asc, Asc::LBA_OUT_OF_RANGE);
            assert_eq!(rig.sense(&cdb(opcode, 0, BLOCKS + 1, 0)).asc, Asc::LBA_OUT_OF_RANGE);
            assert_eq!(rig.sense(&cdb(opcode, 0x20, 0, 1)), Sense::cdb_field(flags_at(opcode), 7));
        }
    }

    #[test]
    fn only_what_moves_data_has_a_greatest_length() {
        let mut rig = Rig::new(super::super::LuFacts { max_transfer_blocks: 64, ..facts() });
        assert_eq!(rig.sense(&cdb(0x8f, 2, 0, 65)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&cdb(0x6a, 2, 0, 65)), Sense::cdb_field(28, 7));
        assert_eq!(rig.sense(&cdb(0xae, 0, 0, 65)), Sense::cdb_field(6, 7));
        assert!(matches!(rig.start(&cdb(0x8f, 0, 0, 65)), Outcome::Io(Io::Verify { .. })));
        assert!(matches!(rig.start(&cdb(0x8f, 6, 0, 65)), Outcome::Io(Io::CompareEach { .. })));
    }

    #[test]
    fn a_write_protected_unit_verifies_but_does_not_write() {
        let mut rig = Rig { read_only_map: true, ..Rig::new(facts()) };
        assert!(matches!(rig.start(&cdb(0x2f, 2, 0, 1)), Outcome::Io(_)));
        for opcode in WRITE_VERIFIES {
            assert_eq!(rig.sense(&cdb(opcode, 0, 0, 1)), Sense::write_protected());
        }
    }
}

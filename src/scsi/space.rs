//! Commands that fill the medium or give it back: WRITE SAME and UNMAP (SBC-4 sections 5.38, 5.51).

use super::cdb::Cdb;
use super::check::{bad_field, bad_length, range};
use super::extent::Extent;
use super::{Answered, Asc, Context, Failure, Io, Lu, Outcome, Sense, Thin};

/// Bytes of the UNMAP parameter list before the descriptors, and of each descriptor.
const UNMAP_HEADER: usize = 8;
const UNMAP_DESCRIPTOR: usize = 16;

pub(super) fn write_same10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    // Bit 0 is obsolete here.
    write_same(lu, &Extent::of10(cdb), false)
}

pub(super) fn write_same16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let extent = Extent::of16(cdb);
    write_same(lu, &extent, extent.flag(NDOB))
}

pub(super) fn write_same32(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let extent = Extent::of32(cdb);
    write_same(lu, &extent, extent.flag(NDOB))
}

const ANCHOR: u8 = 4;
const UNMAP: u8 = 3;
const NDOB: u8 = 0;

/// Without data-out zeroes are meant. A length of 0 means all the rest of the medium, as far as MAXIMUM WRITE SAME
/// LENGTH lets one command go.
fn write_same(lu: &Lu, extent: &Extent, no_data_out: bool) -> Answered {
    allowed(lu, extent)?;
    let rest = lu.facts.blocks.saturating_sub(extent.lba);
    let blocks = if extent.blocks == 0 { rest } else { extent.blocks };
    let range = range(&lu.facts, extent.lba, blocks)?;
    if range.len == 0 {
        return Err(Sense::illegal(Asc::LBA_OUT_OF_RANGE).into());
    }
    let limit = lu.facts.max_write_same_blocks();
    if limit != 0 && blocks > limit {
        return Err(bad_field(extent.length_at, 7));
    }
    let (unmap, anchor) = (extent.flag(UNMAP), extent.flag(ANCHOR));
    Ok(Outcome::Io(match (no_data_out, anchor) {
        (false, _) => Io::Fill { range, unmap, anchor },
        (true, true) => Io::Anchor(vec![range]),
        (true, false) => Io::Zero { range, unmap },
    }))
}

/// Whether the flags ask for what the unit can do.
fn allowed(lu: &Lu, extent: &Extent) -> Result<(), Failure> {
    extent.unprotected()?;
    // Only what is unmapped can be anchored.
    if extent.flag(ANCHOR) && !(extent.flag(UNMAP) && anchors(lu)) {
        return Err(extent.bad_flag(ANCHOR));
    }
    // Of a read-only store it is not known whether it could give space back: it is refused as protected.
    if extent.flag(UNMAP) && lu.facts.thin.is_none() && !lu.facts.read_only {
        return Err(extent.bad_flag(UNMAP));
    }
    // PBDATA and LBDATA, obsolete: they would change what is written.
    if extent.flag(2) || extent.flag(1) {
        return Err(extent.bad_flag(2));
    }
    Ok(())
}

fn anchors(lu: &Lu) -> bool {
    lu.facts.thin.is_some_and(|thin| thin.anchors)
}

/// UNMAP with no parameter list at all is no error.
pub(super) fn unmap(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    if cdb.bit::<1>(0) && !anchors(lu) {
        return Err(bad_field(1, 0));
    }
    match cdb.u16::<7>() {
        0 => Ok(Outcome::Good),
        length if usize::from(length) < UNMAP_HEADER => Err(bad_length()),
        length => Ok(Outcome::Params(u32::from(length))),
    }
}

pub(super) fn unmap_params(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    let Some(thin) = &lu.facts.thin else { return Err(bad_field(0, 7)) };
    let descriptors = descriptors(data)?;
    if descriptors.len() > thin.max_unmap_descriptors as usize {
        return Err(Sense::parameter_field(2, 7).into());
    }
    let mut ranges = Vec::with_capacity(descriptors.len());
    let mut total = 0;
    for (index, descriptor) in descriptors.iter().enumerate() {
        let (lba, blocks) = extent(descriptor);
        total += u64::from(blocks);
        too_many(thin, total, index)?;
        let range = range(&lu.facts, lba, u64::from(blocks))?;
        ranges.extend((range.len != 0).then_some(range));
    }
    Ok(match (ranges.is_empty(), cdb.bit::<1>(0)) {
        (true, _) => Outcome::Good,
        (false, true) => Outcome::Io(Io::Anchor(ranges)),
        (false, false) => Outcome::Io(Io::Unmap(ranges)),
    })
}

/// The whole descriptors of a parameter list; a part of one at the end is ignored, as the standard
/// says, but one that the header promises must be there.
fn descriptors(data: &[u8]) -> Result<&[[u8; UNMAP_DESCRIPTOR]], Failure> {
    let Some((header, rest)) = data.split_first_chunk::<UNMAP_HEADER>() else { return Err(bad_length()) };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let promised = length / UNMAP_DESCRIPTOR;
    rest.as_chunks().0.get(..promised).ok_or_else(bad_length)
}

fn extent(descriptor: &[u8; UNMAP_DESCRIPTOR]) -> (u64, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *descriptor;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
}

/// MAXIMUM UNMAP LBA COUNT holds for the sum; the pointer names the length that went beyond.
fn too_many(thin: &Thin, total: u64, index: usize) -> Result<(), Failure> {
    let limited = thin.max_unmap_blocks != u32::MAX;
    if limited && total > u64::from(thin.max_unmap_blocks) {
        let at = UNMAP_HEADER + index * UNMAP_DESCRIPTOR + 8;
        return Err(Sense::parameter_field(at as u16, 7).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, block_cdb, facts};
    use super::super::{LuFacts, Range};
    use super::*;

    fn same10(flags: u8, lba: u32, blocks: u16) -> Vec<u8> {
        [&[0x41, flags][..], &lba.to_be_bytes(), &[0], &blocks.to_be_bytes(), &[0]].concat()
    }

    fn same16(flags: u8, lba: u64, blocks: u32) -> Vec<u8> {
        [&[0x93, flags][..], &lba.to_be_bytes(), &blocks.to_be_bytes(), &[0, 0]].concat()
    }

    fn unmap_cdb(length: u16) -> Vec<u8> {
        [&[0x42, 0, 0, 0, 0, 0, 0][..], &length.to_be_bytes(), &[0]].concat()
    }

    #[test]
    fn what_can_be_anchored_is() {
        let thin = Thin { anchors: true, ..facts().thin.unwrap() };
        let mut rig = Rig::new(LuFacts { thin: Some(thin), ..facts() });
        let range = range(3, 4);
        let fill = |anchor| Outcome::Io(Io::Fill { range, unmap: true, anchor });
        assert_eq!(rig.start(&same10(0x18, 3, 4)), fill(true));
        assert_eq!(rig.start(&same16(0x18, 3, 4)), fill(true));
        assert_eq!(rig.start(&block_cdb(0x6d, 0x18, 3, 4)), fill(true));
        assert_eq!(rig.start(&same16(0x08, 3, 4)), fill(false));
        assert_eq!(rig.start(&same16(0x19, 3, 4)), Outcome::Io(Io::Anchor(vec![range])), "NDOB");
        for cdb in [same10(0x10, 3, 4), same16(0x10, 3, 4), same16(0x11, 3, 4)] {
            assert_eq!(rig.sense(&cdb), Sense::cdb_field(1, 4), "without UNMAP");
        }
        let list =
            [&[0, 22, 0, 16, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0]].concat();
        let mut cdb = unmap_cdb(24);
        cdb[1] = 1;
        assert_eq!(rig.send(&cdb, &list), Outcome::Io(Io::Anchor(vec![range])));
        assert_eq!(Rig::new(facts()).sense(&cdb), Sense::cdb_field(1, 0), "where it cannot");
        assert_eq!(Rig::new(facts()).sense(&same16(0x18, 3, 4)), Sense::cdb_field(1, 4));
    }

    /// Sends an UNMAP of those extents.
    fn unmap(rig: &mut Rig, extents: &[(u64, u32)]) -> Outcome {
        let length = extents.len() as u16 * 16;
        let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
        for (lba, blocks) in extents {
            list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
        }
        rig.send(&unmap_cdb(length + 8), &list)
    }

    fn range(lba: u64, blocks: u64) -> Range {
        Range { offset: lba * 512, len: blocks * 512 }
    }

    #[test]
    fn write_same_fills_zeroes_or_unmaps() {
        let mut rig = Rig::new(facts());
        let range = range(3, 4);
        assert_eq!(rig.start(&same10(0, 3, 4)), Outcome::Io(Io::Fill { range, unmap: false, anchor: false }));
        assert_eq!(rig.start(&same10(8, 3, 4)), Outcome::Io(Io::Fill { range, unmap: true, anchor: false }));
        assert_eq!(rig.start(&same16(0, 3, 4)), Outcome::Io(Io::Fill { range, unmap: false, anchor: false }));
        assert_eq!(rig.start(&same16(1, 3, 4)), Outcome::Io(Io::Zero { range, unmap: false }));
        assert_eq!(rig.start(&same16(9, 3, 4)), Outcome::Io(Io::Zero { range, unmap: true }));
    }

    #[test]
    fn a_length_of_zero_means_all_the_rest() {
        let mut rig = Rig::new(facts());
        let (lba, rest) = ((1 << 21) - 5, range((1 << 21) - 5, 5));
        assert_eq!(
            rig.start(&same10(0, lba, 0)),
            Outcome::Io(Io::Fill { range: rest, unmap: false, anchor: false })
        );
        assert_eq!(rig.start(&same16(9, lba.into(), 0)), Outcome::Io(Io::Zero { range: rest, unmap: true }));
        assert_eq!(rig.sense(&same10(0, 0, 0)), Sense::cdb_field(7, 7), "the rest is too long");
        assert_eq!(rig.sense(&same16(0, 0, 0)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&same16(0, 1 << 21, 0)).asc, Asc::LBA_OUT_OF_RANGE, "there is no rest");
        assert_eq!(rig.sense(&same16(0, (1 << 21) + 1, 0)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn the_long_form_is_no_different() {
        let mut rig = Rig::new(facts());
        let range = range(3, 4);
        assert_eq!(
            rig.start(&block_cdb(0x6d, 8, 3, 4)),
            Outcome::Io(Io::Fill { range, unmap: true, anchor: false })
        );
        assert_eq!(rig.start(&block_cdb(0x6d, 1, 3, 4)), Outcome::Io(Io::Zero { range, unmap: false }));
        assert_eq!(rig.sense(&block_cdb(0x6d, 0x10, 3, 4)), Sense::cdb_field(10, 4));
        assert_eq!(rig.sense(&block_cdb(0x6d, 0x04, 3, 4)), Sense::cdb_field(10, 2));
        assert_eq!(rig.sense(&block_cdb(0x6d, 0, 3, (1 << 16) + 1)), Sense::cdb_field(28, 7));
    }

    #[test]
    fn write_same_refuses_what_it_does_not_offer() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.sense(&same10(0x10, 0, 1)), Sense::cdb_field(1, 4));
        assert_eq!(rig.sense(&same16(0x18, 0, 1)), Sense::cdb_field(1, 4));
        assert_eq!(rig.sense(&same16(0x20, 0, 1)), Sense::cdb_field(1, 7));
        assert_eq!(rig.sense(&same10(0x02, 0, 1)), Sense::cdb_field(1, 2));
        assert_eq!(rig.sense(&same16(0, 0, (1 << 16) + 1)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&same16(0, u64::MAX, 1)).asc, Asc::LBA_OUT_OF_RANGE);
        assert_eq!(rig.sense(&same10(0, (1 << 21) - 1, 2)).asc, Asc::LBA_OUT_OF_RANGE);
    }

    #[test]
    fn a_thick_unit_does_not_unmap() {
        let mut rig = Rig::new(LuFacts { thin: None, ..facts() });
        assert_eq!(rig.sense(&same10(8, 0, 1)), Sense::cdb_field(1, 3));
        assert_eq!(rig.sense(&unmap_cdb(24)).asc, Asc::INVALID_OPCODE);
        assert!(matches!(rig.start(&same10(0, 0, 1)), Outcome::Io(Io::Fill { unmap: false, .. })));
    }

    #[test]
    fn a_read_only_unit_says_so_rather_than_that_it_does_not_unmap() {
        let mut rig = Rig::new(LuFacts { thin: None, read_only: true, ..facts() });
        assert_eq!(rig.sense(&same10(8, 0, 1)), Sense::write_protected());
    }

    #[test]
    fn unmap_takes_whole_descriptors_and_skips_empty_ones() {
        let mut rig = Rig::new(facts());
        let want = Io::Unmap(vec![range(8, 16), range((1 << 21) - 1, 1)]);
        let got = unmap(&mut rig, &[(8, 16), (77, 0), ((1 << 21) - 1, 1)]);
        assert_eq!(got, Outcome::Io(want));
        assert_eq!(unmap(&mut rig, &[]), Outcome::Good);
        assert_eq!(unmap(&mut rig, &[(0, 0)]), Outcome::Good);
        assert_eq!(rig.start(&unmap_cdb(0)), Outcome::Good);
    }

    #[test]
    fn unmap_lists_of_wrong_length() {
        let mut rig = Rig::new(facts());
        let short = Outcome::Fail(bad_length());
        (1..8).for_each(|n| assert_eq!(rig.start(&unmap_cdb(n)), short));
        let promised = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(rig.send(&unmap_cdb(24), &promised), short, "less data than announced");
        let odd = [0, 12, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(rig.send(&unmap_cdb(23), &odd), Outcome::Good, "part of a descriptor is ignored");
    }

    #[test]
    fn unmap_keeps_to_the_block_limits() {
        let mut rig = Rig::new(facts());
        assert!(matches!(unmap(&mut rig, &[(0, 1); 16]), Outcome::Io(_)));
        let many = Outcome::Fail(Sense::parameter_field(2, 7).into());
        assert_eq!(unmap(&mut rig, &[(0, 1); 17]), many);
        let much = Outcome::Fail(Sense::parameter_field(32, 7).into());
        assert_eq!(unmap(&mut rig, &[(0, 1 << 16), (0, 1)]), much);
        let beyond = Outcome::Fail(Sense::illegal(Asc::LBA_OUT_OF_RANGE).into());
        assert_eq!(unmap(&mut rig, &[(1 << 21, 1)]), beyond);
        assert_eq!(unmap(&mut rig, &[(u64::MAX, 9)]), beyond);
        assert_eq!(rig.sense(&[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0]), Sense::cdb_field(1, 0), "no anchoring");
    }
}

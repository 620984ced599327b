//! Commands that fill the medium or give it back: WRITE SAME and UNMAP (SBC-4 sections 5.38, 5.51).

use super::cdb::Cdb;
use super::check::{bad_field, bad_length, range, unprotected};
use super::{Answered, Context, Failure, Io, Lu, Outcome, Range, Sense, Thin};

/// Bytes of the UNMAP parameter list before the descriptors, and of each descriptor.
const UNMAP_HEADER: usize = 8;
const UNMAP_DESCRIPTOR: usize = 16;

pub(super) fn write_same10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let range = write_same(cdb, lu, u64::from(cdb.u32::<2>()), u64::from(cdb.u16::<7>()), 7)?;
    Ok(Outcome::Io(Io::Fill { range, unmap: cdb.bit::<1>(UNMAP) }))
}

pub(super) fn write_same16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let range = write_same(cdb, lu, cdb.u64::<2>(), u64::from(cdb.u32::<10>()), 10)?;
    let (unmap, no_data_out) = (cdb.bit::<1>(UNMAP), cdb.bit::<1>(0));
    Ok(Outcome::Io(if no_data_out { Io::Zero { range, unmap } } else { Io::Fill { range, unmap } }))
}

const ANCHOR: u8 = 4;
const UNMAP: u8 = 3;

/// The rules of both WRITE SAMEs. A length of 0 would mean all the rest of the medium: the Block
/// Limits page says that it is refused (WSNZ).
fn write_same(cdb: &Cdb, lu: &Lu, lba: u64, blocks: u64, length_at: u16) -> Result<Range, Failure> {
    unprotected(cdb)?;
    if cdb.bit::<1>(ANCHOR) {
        return Err(bad_field(1, ANCHOR));
    }
    if cdb.bit::<1>(UNMAP) && lu.facts.thin.is_none() {
        return Err(bad_field(1, UNMAP));
    }
    // PBDATA and LBDATA, obsolete: they would change what is written.
    if cdb.u8::<1>() & 0x06 != 0 {
        return Err(bad_field(1, 2));
    }
    let range = range(&lu.facts, lba, blocks)?;
    let limit = lu.facts.max_write_same_blocks();
    if blocks == 0 || (limit != 0 && blocks > limit) {
        return Err(bad_field(length_at, 7));
    }
    Ok(range)
}

/// UNMAP with no parameter list at all is no error.
pub(super) fn unmap(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    if cdb.bit::<1>(0) {
        return Err(bad_field(1, 0));
    }
    match cdb.u16::<7>() {
        0 => Ok(Outcome::Good),
        length if usize::from(length) < UNMAP_HEADER => Err(bad_length()),
        length => Ok(Outcome::Params(u32::from(length))),
    }
}

pub(super) fn unmap_params(_: &Cdb, lu: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
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
    Ok(if ranges.is_empty() { Outcome::Good } else { Outcome::Io(Io::Unmap(ranges)) })
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

//! The parameter lists of POPULATE TOKEN and WRITE USING TOKEN (SBC-4), and what a write by token comes to.

use std::sync::Arc;

use super::super::cdb::Cdb;
use super::super::check::{bad_length, range};
use super::super::{Asc, Failure, Lu, Range, Sense};
use super::list::{bad, illegal, u16_at, u32_at, u64_at};
use super::resolve::Extent;
use super::token::{ACCESS_UPON_REFERENCE, Rod, TOKEN, TokenBytes};
use super::{MAX_RANGES, MAX_TOKEN_BYTES, MAX_TOKEN_SECONDS};
use crate::ids::LuId;

/// Bytes of a block device range descriptor.
const DESCRIPTOR: usize = 16;

/// Where the descriptors begin, and the two bytes before them that say how long they are.
const POPULATE_HEADER: usize = 16;
const WRITE_HEADER: usize = 536;

/// POPULATE TOKEN: a token is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PopulateOrder {
    /// The list identifier.
    pub list: u32,
    /// What the token is to represent, one after the other.
    pub ranges: Vec<Range>,
    /// After so many seconds without use the token expires; 0: as we like.
    pub timeout: u32,
}

/// WRITE USING TOKEN: what a token represents is to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenOrder {
    /// The list identifier.
    pub list: u32,
    /// Whether GOOD is answered before it is done.
    pub immediate: bool,
    /// Whether the token is deleted when it is done.
    pub delete: bool,
    /// The token.
    pub token: Box<TokenBytes>,
    /// Where in the represented data to begin, bytes.
    offset: u64,
    ranges: Vec<Range>,
}

/// The list of POPULATE TOKEN.
pub(super) fn populate(cdb: &Cdb, lu: &Lu, data: &[u8]) -> Result<PopulateOrder, Failure> {
    let ranges = ranges(lu, data, POPULATE_HEADER)?;
    let timeout = u32_at(data, 4);
    if timeout > MAX_TOKEN_SECONDS {
        return Err(bad(4, 7));
    }
    // ROD TYPE counts if RTV says so.
    if data[2] & 0x02 != 0 && u32_at(data, 8) != ACCESS_UPON_REFERENCE {
        return Err(bad(8, 7));
    }
    Ok(PopulateOrder { list: cdb.u32::<6>(), ranges, timeout })
}

/// The list of WRITE USING TOKEN. OFFSET INTO ROD counts blocks of the logical unit that is written.
pub(super) fn write(cdb: &Cdb, lu: &Lu, data: &[u8]) -> Result<TokenOrder, Failure> {
    let ranges = ranges(lu, data, WRITE_HEADER)?;
    let mut token = Box::new([0; TOKEN]);
    token.copy_from_slice(&data[16..16 + TOKEN]);
    let offset = u64_at(data, 8).checked_mul(lu.facts.block_size.into()).ok_or_else(|| bad(8, 7))?;
    let (immediate, delete) = (data[2] & 1 != 0, data[2] & 2 != 0);
    Ok(TokenOrder { list: cdb.u32::<6>(), immediate, delete, token, offset, ranges })
}

/// The ranges of a list whose descriptors begin at `start`, if they are distinct and not too much.
fn ranges(lu: &Lu, data: &[u8], start: usize) -> Result<Vec<Range>, Failure> {
    if data.len() < start {
        return Err(bad_length());
    }
    let (whole, length) = (usize::from(u16_at(data, 0)), usize::from(u16_at(data, start - 2)));
    if whole < start - 2 + DESCRIPTOR {
        return Err(bad(0, 7));
    }
    if length < DESCRIPTOR || whole < start - 2 + length {
        return Err(bad(start - 2, 7));
    }
    let descriptors = data.get(start..start + length).ok_or_else(bad_length)?.as_chunks::<DESCRIPTOR>().0;
    if descriptors.len() > MAX_RANGES {
        return Err(illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
    }
    let place = |d: &[u8; DESCRIPTOR]| range(&lu.facts, u64_at(d, 0), u32_at(d, 8).into());
    let ranges = descriptors.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let total = ranges.iter().fold(0u64, |sum, r| sum.saturating_add(r.len));
    if total > MAX_TOKEN_BYTES || share_blocks(&ranges) {
        return Err(bad(start - 2, 7));
    }
    Ok(ranges)
}

/// Whether a block is in two of them.
fn share_blocks(ranges: &[Range]) -> bool {
    let mut sorted: Vec<&Range> = ranges.iter().filter(|r| r.len > 0).collect();
    sorted.sort_unstable_by_key(|r| r.offset);
    sorted.windows(2).any(|pair| pair[0].offset + pair[0].len > pair[1].offset)
}

/// A write by token, resolved: what goes where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RodWrite {
    /// `None`: zeroes.
    pub(super) rod: Option<Arc<Rod>>,
    pieces: Vec<Piece>,
}

/// A stretch that lies in one piece on both sides, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    from: u64,
    to: u64,
    len: u64,
}

impl RodWrite {
    /// Zeroes for all ranges; there OFFSET INTO ROD means nothing.
    pub(super) fn zeroes(order: &TokenOrder) -> Self {
        let piece = |r: &Range| Piece { from: r.offset, to: r.offset, len: r.len };
        Self { rod: None, pieces: order.ranges.iter().map(piece).collect() }
    }

    /// The data of `rod`, whose blocks have `from_block` bytes, for the ranges of `order` in turn, on blocks of
    /// `to_block` bytes.
    ///
    /// # Errors
    /// INVALID FIELD IN PARAMETER LIST, when the offset lies outside or there is not as much data.
    /// UNEXPECTED INEXACT SEGMENT, when a block of one side would be cut by the other.
    pub(super) fn of(
        order: &TokenOrder,
        rod: Arc<Rod>,
        from_block: u32,
        to_block: u32,
    ) -> Result<Self, Sense> {
        let wanted: u64 = order.ranges.iter().map(|r| r.len).sum();
        let there = rod.bytes().checked_sub(order.offset).filter(|left| *left > 0 || wanted == 0);
        let left = there.ok_or(Sense::parameter_field(8, 7))?;
        if wanted > left {
            return Err(Sense::parameter_field(WRITE_HEADER as u16 - 2, 7));
        }
        let pieces = pieces(&rod.ranges, order.offset, &order.ranges);
        let whole = |n: u64, block: u32| n.is_multiple_of(block.max(1).into());
        let exact =
            |p: &Piece| whole(p.from, from_block) && whole(p.len, from_block) && whole(p.to, to_block);
        if !pieces.iter().all(|p| exact(p) && whole(p.len, to_block)) {
            return Err(Sense::illegal(Asc::UNEXPECTED_INEXACT_SEGMENT));
        }
        Ok(Self { rod: Some(rod), pieces })
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// What piece `index` comes to, written to `own`.
    pub(super) fn extent(&self, index: usize, own: LuId, from_block: u32, to_block: u32) -> Option<Extent> {
        let Piece { from, to, len } = *self.pieces.get(index)?;
        let source = self.rod.as_ref().map(|rod| rod.source);
        Some(Extent {
            from: source.unwrap_or(own),
            from_offset: from,
            from_block,
            to: own,
            to_offset: to,
            to_block,
            len,
            zeroes: source.is_none(),
        })
    }
}

/// The stretches by which `to` is filled from `from`, beginning at `skip` bytes of it.
fn pieces(from: &[Range], mut skip: u64, to: &[Range]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut sources = from.iter().filter_map(|r| {
        let skipped = skip.min(r.len);
        skip -= skipped;
        (skipped < r.len).then_some(Range { offset: r.offset + skipped, len: r.len - skipped })
    });
    let mut source = Range { offset: 0, len: 0 };
    for range in to {
        let mut done = 0;
        while done < range.len {
            if source.len == 0 {
                let Some(next) = sources.next() else { return pieces };
                source = next;
            }
            let len = source.len.min(range.len - done);
            pieces.push(Piece { from: source.offset, to: range.offset + done, len });
            source = Range { offset: source.offset + len, len: source.len - len };
            done += len;
        }
    }
    pieces
}

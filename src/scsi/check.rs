//! Checks that several commands share: is the field one we know, does the range lie in the medium.

use super::{Asc, Context, Failure, Lu, LuFacts, Range, Sense};

/// INVALID FIELD IN CDB, with a pointer to the field (its first byte and most significant bit).
#[cold]
pub(super) fn bad_field(byte: u16, bit: u8) -> Failure {
    Sense::cdb_field(byte, bit).into()
}

/// INVALID COMMAND OPERATION CODE, with a pointer to it.
#[cold]
pub(super) fn unknown_opcode() -> Failure {
    let field = Sense::cdb_field(0, 7).field;
    Sense { field, ..Sense::illegal(Asc::INVALID_OPCODE) }.into()
}

/// PARAMETER LIST LENGTH ERROR.
#[cold]
pub(super) fn bad_length() -> Failure {
    Sense::illegal(Asc::PARAMETER_LIST_LENGTH).into()
}

#[cold]
fn out_of_range() -> Failure {
    Sense::illegal(Asc::LBA_OUT_OF_RANGE).into()
}

/// The bytes of `blocks` blocks from `lba`, if the medium has them all. None is all right anywhere
/// up to and including the end.
#[inline]
pub(super) fn range(facts: &LuFacts, lba: u64, blocks: u64) -> Result<Range, Failure> {
    match facts.blocks.checked_sub(lba) {
        Some(left) if blocks <= left => Ok(bytes(facts, lba, blocks)),
        _ => Err(out_of_range()),
    }
}

#[inline]
fn bytes(facts: &LuFacts, lba: u64, blocks: u64) -> Range {
    let size = u64::from(facts.block_size);
    Range { offset: lba.saturating_mul(size), len: blocks.saturating_mul(size) }
}

/// MAXIMUM TRANSFER LENGTH of the Block Limits page; `at` is the first byte of the length field.
#[inline]
pub(super) fn transfer(facts: &LuFacts, blocks: u64, at: u16) -> Result<(), Failure> {
    let limit = u64::from(facts.max_transfer_blocks);
    if limit == 0 || blocks <= limit { Ok(()) } else { Err(bad_field(at, 7)) }
}

/// Why this nexus may not write here, if it may not: SWP of the Control mode page has a code of its
/// own (SPC-5 section 7.5.13).
#[inline]
pub(super) fn write_protection(lu: &Lu, cx: &Context<'_>) -> Option<Asc> {
    if lu.facts.read_only || cx.read_only_map {
        return Some(Asc::WRITE_PROTECTED);
    }
    lu.state.mode.current.write_protect.then_some(Asc::SOFTWARE_WRITE_PROTECTED)
}

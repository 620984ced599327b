//! Page 8Fh, Third-Party Copy: what of it there is.

use super::super::answer::Answer;
use super::super::table;
use super::super::{Context, Lu, LuFacts};
use super::report::DESCRIPTOR_TYPES;
use super::token::{ACCESS_UPON_REFERENCE, ZEROES};
use super::{
    DEFAULT_TOKEN_SECONDS, MAX_COPIES, MAX_CSCDS, MAX_DESCRIPTORS, MAX_RANGES, MAX_SEGMENT_BYTES,
    MAX_SEGMENTS, MAX_TOKEN_BYTES, MAX_TOKEN_SECONDS, OPTIMAL_TOKEN_BYTES,
};

/// THIRD-PARTY COPY OUT and IN.
const OPCODES: [u8; 2] = [0x83, 0x84];

/// Writes what follows the page header: a list of third-party copy descriptors.
pub(in crate::scsi) fn page(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    descriptor(answer, 0x0000, |a| token_limits(&lu.facts, a));
    descriptor(answer, 0x0001, |a| commands(lu, a));
    descriptor(answer, 0x0004, parameters);
    descriptor(answer, 0x0008, |a| {
        a.put(&[DESCRIPTOR_TYPES.len() as u8]);
        a.put(&DESCRIPTOR_TYPES);
    });
    // Of the CSCD descriptor identifiers that need no descriptor: the logical unit itself.
    descriptor(answer, 0x000c, |a| a.put(&[0, 2, 0xff, 0xff]));
    descriptor(answer, 0x0106, token_features);
    descriptor(answer, 0x0108, token_types);
    descriptor(answer, 0x8001, general);
}

/// A descriptor: `body` writes what follows type and length, filled up to a multiple of four.
fn descriptor(answer: &mut Answer<'_>, kind: u16, body: impl FnOnce(&mut Answer<'_>)) {
    answer.put(&kind.to_be_bytes());
    let length = answer.len();
    answer.zeroes(2);
    body(answer);
    answer.zeroes(answer.len().next_multiple_of(4) - answer.len());
    answer.close_u16(length);
}

/// Supported Commands: the service actions of both opcodes, from the table of commands.
fn commands(lu: &Lu, answer: &mut Answer<'_>) {
    let start = answer.len();
    answer.zeroes(1);
    for opcode in OPCODES {
        let actions = || table::rows(opcode, &lu.facts).filter_map(|row| row.action);
        answer.put(&[opcode, actions().count() as u8]);
        actions().for_each(|action| answer.put(&[action as u8]));
    }
    let length = answer.len() - start - 1;
    answer.patch(start, &[length as u8]);
}

/// Parameter Data: the limits of a parameter list.
fn parameters(answer: &mut Answer<'_>) {
    answer.zeroes(4);
    answer.put(&(MAX_CSCDS as u16).to_be_bytes());
    answer.put(&(MAX_SEGMENTS as u16).to_be_bytes());
    answer.put(&(MAX_DESCRIPTORS as u32).to_be_bytes());
    // No inline data.
    answer.zeroes(4);
    answer.zeroes(12);
}

/// General Copy Operations.
fn general(answer: &mut Answer<'_>) {
    answer.put(&u32::from(MAX_COPIES).to_be_bytes());
    answer.put(&u32::from(MAX_COPIES).to_be_bytes());
    answer.put(&MAX_SEGMENT_BYTES.to_be_bytes());
    // Granularities as powers of two: segments by the byte.
    answer.put(&[0, 0]);
    answer.zeroes(18);
}

/// Block Device ROD Token Limits: in blocks and seconds.
fn token_limits(facts: &LuFacts, answer: &mut Answer<'_>) {
    let blocks = |bytes: u64| (bytes / u64::from(facts.block_size.max(1))).to_be_bytes();
    answer.zeroes(6);
    answer.put(&(MAX_RANGES as u16).to_be_bytes());
    answer.put(&MAX_TOKEN_SECONDS.to_be_bytes());
    answer.put(&DEFAULT_TOKEN_SECONDS.to_be_bytes());
    answer.put(&blocks(MAX_TOKEN_BYTES));
    answer.put(&blocks(OPTIMAL_TOKEN_BYTES));
}

/// ROD Token Features: no remote tokens; how long tokens live, and what block devices make of them, in bytes. A token
/// may be revoked at any time, and lives as long as it is used.
fn token_features(answer: &mut Answer<'_>) {
    answer.zeroes(12);
    answer.put(&0u32.to_be_bytes());
    answer.put(&u32::MAX.to_be_bytes());
    answer.put(&MAX_TOKEN_SECONDS.to_be_bytes());
    answer.zeroes(18);
    answer.put(&48u16.to_be_bytes());
    answer.put(&[0, 0, 0, 44, 0, 0, 0, 0]);
    // At most, at best, and at best by a segment to and from a token: EXTENDED COPY knows no tokens.
    answer.put(&MAX_TOKEN_BYTES.to_be_bytes());
    answer.put(&OPTIMAL_TOKEN_BYTES.to_be_bytes());
    answer.zeroes(16 + 8);
}

/// Supported ROD Tokens. What WRITE USING TOKEN takes is TOKEN_IN, what POPULATE TOKEN makes TOKEN_OUT.
fn token_types(answer: &mut Answer<'_>) {
    const OUT: u8 = 0x01;
    const IN: u8 = 0x02;
    let types = [(ACCESS_UPON_REFERENCE, OUT | IN), (ZEROES, IN)];
    answer.zeroes(2);
    answer.put(&(64 * types.len() as u16).to_be_bytes());
    for (kind, flags) in types {
        answer.put(&kind.to_be_bytes());
        answer.put(&[flags, 0, 0, 0]);
        answer.zeroes(56);
    }
}

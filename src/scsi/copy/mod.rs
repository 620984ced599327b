//! Third-party copy: the initiator names ranges, and the target moves the bytes (SPC-4, third-party copies).
//!
//! ```text
//! EXTENDED COPY ── list ──▶ CopyOrder ── extent(n) ──▶ Extent: what to read where, what to write where
//! POPULATE TOKEN ── list ──▶ PopulateOrder ── Tokens::create ──▶ a token, for RECEIVE ROD TOKEN INFORMATION
//! WRITE USING TOKEN ── list ──▶ TokenOrder ── Tokens::find ──▶ Rod ── CopyOrder::by_token ──▶ as EXTENDED COPY
//! RECEIVE COPY RESULTS ──▶ CopyReport ── write ──▶ parameter data, from the CopyRecord of the order
//! ```
//!
//! Owns the parameter lists, the rule of who may copy what, and what is told of a copy. A copy is
//! resolved one segment at a time, when its turn comes, and only among the [`Peer`]s that the very
//! nexus sees; so it never reaches what the nexus could not read and write by itself, and what
//! forbids that meanwhile (a reservation, a stopped unit) forbids it the rest of the copy too.
//! Refuses to know how bytes are moved, and which copies there are.

mod list;
mod report;
mod resolve;
mod rod;
mod token;
mod vpd;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;

use std::sync::Arc;

pub use report::{CopyEnd, CopyRecord, CopyReport};
pub use resolve::{Extent, Peer, Side};
pub use rod::{PopulateOrder, TokenOrder};
pub use token::{Rod, TOKEN_SECRET, TokenBytes, Tokens};
pub(super) use vpd::page;

use self::list::{Cscd, Segment};
use self::report::Told;
use self::rod::RodWrite;
use super::cdb::Cdb;
use super::check::bad_length;
use super::{Answered, Context, Lu, LuFacts, MAX_PARAMS, Outcome, Sense};

/// CSCD descriptors that a parameter list may have.
const MAX_CSCDS: usize = 16;

/// Segment descriptors that a parameter list may have.
const MAX_SEGMENTS: usize = 64;

/// Bytes of descriptors that a parameter list may have: as many as the counts allow.
const MAX_DESCRIPTORS: usize = MAX_CSCDS * list::CSCD + MAX_SEGMENTS * list::BLOCK_TO_BLOCK;

/// Bytes that one segment may move: what 16 bits of the largest blocks can name. With the most
/// segments a command then moves 16 GiB, which initiators wait for.
const MAX_SEGMENT_BYTES: u32 = 256 << 20;

/// Block device range descriptors that a parameter list may have.
const MAX_RANGES: usize = 64;

/// Bytes that one token may represent, and one command write by it: initiators wait only seconds.
const MAX_TOKEN_BYTES: u64 = 256 << 20;

/// Bytes of a token that are best: a slow disk copies them within what initiators wait.
const OPTIMAL_TOKEN_BYTES: u64 = 64 << 20;

/// Seconds without use after which a token expires, if nothing is asked for, and the most that can be asked for.
const DEFAULT_TOKEN_SECONDS: u32 = 60;
const MAX_TOKEN_SECONDS: u32 = 600;

/// Tokens that there may be, at some 2 KiB each, and how many of them one initiator may have made.
const MAX_TOKENS: usize = 1024;
const MAX_TOKENS_OF_INITIATOR: usize = 128;

/// Copies of one nexus that may be under way at a time. Each holds at most its share of slots.
pub const MAX_COPIES: u8 = 8;

/// Service actions of THIRD-PARTY COPY OUT (83h).
mod out {
    pub(super) const EXTENDED_LID1: u8 = 0x00;
    pub(super) const EXTENDED_LID4: u8 = 0x01;
    pub(super) const POPULATE_TOKEN: u8 = 0x10;
    pub(super) const WRITE_USING_TOKEN: u8 = 0x11;
}

/// What a command of third-party copy asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyCommand {
    /// Copy.
    Start(Box<CopyOrder>),
    /// Tell of a copy.
    Report(CopyReport),
    /// End the copy with that list identifier.
    Abort(u32),
    /// Make a token.
    Populate(Box<PopulateOrder>),
    /// Copy what a token represents.
    WriteByToken(Box<TokenOrder>),
    /// Tell of the tokens there are, in at most so many bytes.
    Tokens {
        /// ALLOCATION LENGTH.
        allocation: u32,
    },
}

/// A copy that was asked for and is well-formed; whether it is allowed is found out segment by segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyOrder {
    /// The service action that asked for it.
    pub action: u8,
    /// The list identifier, unless it has none.
    pub list: Option<u32>,
    /// Whether its results are kept after its end.
    pub hold: bool,
    /// Whether GOOD is answered before it is done.
    pub immediate: bool,
    plan: Plan,
}

/// What is copied.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Plan {
    /// What segment descriptors say.
    Segments { cscds: Vec<Cscd>, segments: Vec<Segment> },
    /// What a token represents.
    Rod(RodWrite),
}

impl CopyOrder {
    /// The copy that writes what a token represents to the logical unit `to`. `rod`: that, and what its logical unit
    /// is; `None`: zeroes.
    ///
    /// # Errors
    /// As [`TokenOrder`] asks for what is not in the token, or for parts of blocks.
    pub fn by_token(
        order: &TokenOrder,
        rod: Option<(Arc<Rod>, &LuFacts)>,
        to: &LuFacts,
    ) -> Result<Self, Sense> {
        let write = match rod {
            None => RodWrite::zeroes(order),
            Some((rod, from)) => RodWrite::of(order, rod, from.block_size, to.block_size)?,
        };
        let (list, immediate) = (Some(order.list), order.immediate);
        Ok(Self { action: out::WRITE_USING_TOKEN, list, hold: true, immediate, plan: Plan::Rod(write) })
    }
}

impl CopyRecord {
    /// Of a POPULATE TOKEN that was done at once.
    pub fn populated(bytes: u64, block: u32) -> Self {
        let end = CopyEnd::Done;
        Self { action: out::POPULATE_TOKEN, end, segments: 0, bytes, operations: 1, block }
    }
}

/// EXTENDED COPY: its parameter list is to be gathered. None is no error.
pub(super) fn extended(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    match cdb.u32::<10>() {
        0 => Ok(Outcome::Good),
        length if length > MAX_PARAMS => Err(bad_length()),
        length => Ok(Outcome::Params(length)),
    }
}

pub(super) fn extended_lid1(_: &Cdb, _: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    list::lid1(data).map(start)
}

pub(super) fn extended_lid4(_: &Cdb, _: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    list::lid4(data).map(start)
}

fn start(order: CopyOrder) -> Outcome {
    Outcome::Copy(CopyCommand::Start(Box::new(order)))
}

/// POPULATE TOKEN. Nothing is read, so it is done at once, and IMMED changes nothing.
pub(super) fn populate(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    rod::populate(cdb, lu, data).map(|order| Outcome::Copy(CopyCommand::Populate(Box::new(order))))
}

/// WRITE USING TOKEN.
pub(super) fn write_by_token(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    rod::write(cdb, lu, data).map(|order| Outcome::Copy(CopyCommand::WriteByToken(Box::new(order))))
}

/// RECEIVE ROD TOKEN INFORMATION.
pub(super) fn token_information(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    report(Told::Token, cdb.u32::<2>(), cdb)
}

/// REPORT ALL ROD TOKENS.
pub(super) fn all_tokens(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    Ok(Outcome::Copy(CopyCommand::Tokens { allocation: cdb.u32::<10>() }))
}

/// COPY OPERATION ABORT.
pub(super) fn abort(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    Ok(Outcome::Copy(CopyCommand::Abort(cdb.u32::<2>())))
}

/// RECEIVE COPY STATUS(LID1).
pub(super) fn status_lid1(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    report(Told::StatusLid1, cdb.u8::<2>().into(), cdb)
}

/// RECEIVE COPY DATA(LID1).
pub(super) fn data_lid1(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    report(Told::HeldData, cdb.u8::<2>().into(), cdb)
}

/// RECEIVE COPY FAILURE DETAILS(LID1).
pub(super) fn failure_lid1(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    report(Told::FailureLid1, cdb.u8::<2>().into(), cdb)
}

/// RECEIVE COPY STATUS(LID4).
pub(super) fn status_lid4(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    report(Told::StatusLid4, cdb.u32::<2>(), cdb)
}

/// RECEIVE COPY OPERATING PARAMETERS: needs no copy.
pub(super) fn parameters(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    Ok(report::parameters(out, cdb.u32::<10>() as usize))
}

fn report(told: Told, list: u32, cdb: &Cdb) -> Answered {
    let allocation = cdb.u32::<10>();
    Ok(Outcome::Copy(CopyCommand::Report(CopyReport { told, list, allocation })))
}

/// A list identifier names no copy of this nexus (INVALID FIELD IN CDB, byte 2).
pub fn unknown_list() -> Sense {
    Sense::cdb_field(2, 7)
}

//! Third-party copy: the initiator names ranges, and the target moves the bytes (SPC-4, third-party copies).
//!
//! ```text
//! EXTENDED COPY ── list ──▶ CopyOrder ── extent(n) ──▶ Extent: what to read where, what to write where
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
mod vpd;

#[cfg(test)]
mod tests;

pub use report::{CopyEnd, CopyRecord, CopyReport};
pub use resolve::{Extent, Peer};
pub(super) use vpd::page;

use self::list::{Cscd, Segment};
use self::report::Told;
use super::cdb::Cdb;
use super::check::bad_length;
use super::{Answered, Context, Lu, MAX_PARAMS, Outcome, Sense};

/// CSCD descriptors that a parameter list may have.
const MAX_CSCDS: usize = 16;

/// Segment descriptors that a parameter list may have.
const MAX_SEGMENTS: usize = 64;

/// Bytes of descriptors that a parameter list may have: as many as the counts allow.
const MAX_DESCRIPTORS: usize = MAX_CSCDS * list::CSCD + MAX_SEGMENTS * list::BLOCK_TO_BLOCK;

/// Bytes that one segment may move: what 16 bits of the largest blocks can name. With the most
/// segments a command then moves 16 GiB, which initiators wait for.
const MAX_SEGMENT_BYTES: u32 = 256 << 20;

/// Copies of one nexus that may be under way at a time. Each holds at most its share of slots.
pub const MAX_COPIES: u8 = 8;

/// Service actions of THIRD-PARTY COPY OUT (83h).
mod out {
    pub(super) const EXTENDED_LID1: u8 = 0x00;
    pub(super) const EXTENDED_LID4: u8 = 0x01;
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
    cscds: Vec<Cscd>,
    segments: Vec<Segment>,
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

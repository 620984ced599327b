//! SCSI: what a command descriptor block asks of a logical unit.
//!
//! ```text
//! CDB ── start ──▶ Good | Data | Fail                answered here
//!                  Io      the store reads or writes a range of the medium
//!                  Params  ── data-out ──▶ params ──▶ the same again
//!                  Shared  the owner of the logical unit runs LuState::apply
//!                  Copy    a third-party copy: see `copy`
//!                  Pass    a device of this host runs it: see `pass`
//! ```
//!
//! Owns the meaning of commands (SPC-5, SBC-4), of parameter data and of sense data, the state of
//! a logical unit that commands change, and the rules of reservations. Promises to be a pure
//! function of its arguments, never to panic whatever the bytes, and that every range in an [`Io`]
//! lies inside the medium. Refuses to know sessions, sockets, disks, clocks and buffers.
//!
//! What it knows of a command stands in one row of the table in `table`: from it come dispatch,
//! the rules that hold for all commands, and REPORT SUPPORTED OPERATION CODES.
//!
//! What a logical unit of ours does not offer, though the standards have it, is refused as they say (INVALID FIELD IN CDB
//! or INVALID COMMAND OPERATION CODE), and not listed anywhere:
//!
//! | what | why not |
//! |---|---|
//! | VPD 92h, SCSI Feature Sets | each is a promise of a whole list of commands and pages, and none is kept as a whole: those of SBC-4 ask for a Power Condition page and for four ways of reporting informational exceptions, though nothing of ours saves power or watches its health |
//! | VPD B3h, Referrals; REPORT REFERRALS, where there are several target port groups | see `alua::referrals` |
//! | VPD B5h, Block Device Characteristics Extension | it tells for which rate of use a device was made: a store does not say, and the page has no value for that |
//! | VPD B8h, Format Presets | FORMAT WITH PRESET gives a medium other blocks or zones; the blocks of a store are those of its configuration |
//! | STREAM CONTROL, GET STREAM STATUS | streams keep data apart that is to be erased together; what a write goes with is not handed on to stores, and a stream that changes nothing would be a lie |
//! | hints by group number | for the same reason: the IO Advice Hints Grouping mode page is there and says that no group has any, and GROUP NUMBER is taken and not looked at |
//!
//! A device that is passed through has those of them that it has: see `pass`.

mod alua;
mod answer;
mod attention;
mod buffer;
mod cdb;
mod check;
mod clock;
mod copy;
mod counters;
mod diagnostic;
mod drive;
mod erasure;
mod extent;
mod facts;
mod format;
mod gate;
mod inquiry;
mod known;
mod label;
mod lists;
mod log;
mod medium;
mod misc;
mod mode;
mod multimedia;
mod nexus;
mod pass;
mod provisioning;
mod reserve;
mod rsoc;
mod sanitize;
mod sense;
mod space;
mod state;
mod table;
mod verify;
mod vpd;
mod whole;

#[cfg(test)]
mod props;
#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use alua::{
    AccessChange, AccessState, Accesses, ChangedBy, DEFAULT_GROUP, Group, Groups, MAX_GROUP_PORTS,
    MAX_GROUPS, Supported,
};
pub use attention::Attentions;
pub use buffer::Echo;
pub use clock::Clock;
pub use copy::{
    CopyCommand, CopyEnd, CopyOrder, CopyRecord, CopyReport, Extent, MAX_COPIES, Peer, PopulateOrder, Rod,
    Side, TOKEN_SECRET, TokenBytes, TokenOrder, Tokens, unknown_list,
};
pub use counters::{Count, Counters, Totals};
pub use drive::{Drive, DriveOp, Power, Removal};
pub use erasure::{Cause, Erasure, Fill};
pub use facts::{Atomic, DeviceType, Identity, LuFacts, Naa, T10_MAX, Thin, WHOLE};
#[cfg(test)]
pub(crate) use gate::STUMBLES;
pub use gate::{params, start, straight, writes};
pub use known::REPORT_LUNS_LUN;
pub use label::{Label, Labels};
pub use lists::Provisioning;
pub use lists::{Stretch, mapped};
pub use log::LogBases;
pub use mode::{ModePages, Selected, Settings};
pub use nexus::{ItNexus, Port, TargetPort};
pub use pass::{
    Amount, Device, DeviceKind, MAX_DEVICE_SENSE, Pass, PassData, PassOrder, PassReport, block_length, revise,
};
pub use provisioning::{Resources, Space, Threshold};
pub use reserve::{PrAction, PrOut, PrType, Registrant, Reservation, Reservations, TransportId};
pub use sense::{Asc, Field, MAX_SENSE, Sense, SenseKey, status};
pub use state::{Bar, Effects, LuState, Persistent, SharedOp};
pub(crate) use table::REPORT_LUNS;

/// A logical unit as one reactor sees it: the facts, and its replica of the shared state.
#[derive(Clone, Debug)]
pub struct Lu {
    /// What it is.
    pub facts: Arc<LuFacts>,
    /// How it stands. Replaced as a whole when the owner has applied a [`SharedOp`].
    pub state: Arc<LuState>,
    /// What it has done.
    pub counters: Counters,
}

/// Everything a command is judged by, apart from its bytes.
#[derive(Debug)]
pub struct Context<'a> {
    /// The logical unit; `None`: the LUN names none.
    pub lu: Option<&'a Lu>,
    /// Whether the LUN, if it names no logical unit, is that of the REPORT LUNS well known one.
    pub well_known: bool,
    /// Who sent the command.
    pub nexus: &'a ItNexus,
    /// The LUNs that this nexus sees, in any order (for REPORT LUNS).
    pub luns: &'a [u16],
    /// Whether the LUN map forbids this nexus to write.
    pub read_only_map: bool,
    /// What this nexus has yet to be told about the logical unit.
    pub attentions: &'a mut Attentions,
    /// The target's ports, that of this nexus among them.
    pub ports: &'a [Port],
    /// What this nexus has written by WRITE BUFFER.
    pub echo: &'a mut Echo,
    /// Whether this nexus may also ask for the task management functions of RFC 7144.
    pub queries: bool,
    /// Nanoseconds since some moment that is the same for all commands.
    pub now: u64,
}

/// What becomes of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Status GOOD, no data.
    Good,
    /// Status CONDITION MET, no data.
    Met,
    /// Status GOOD; the data-in is `out[..n]`, already cut to the allocation length.
    Data(usize),
    /// It failed.
    Fail(Failure),
    /// The medium is needed.
    Io(Io),
    /// A parameter list of that many bytes (at most [`MAX_PARAMS`], never 0) must be gathered; then
    /// [`params`] goes on. If the initiator sends less, `params` gets what came.
    Params(u32),
    /// The same, of a command that does not tell how long its list is: all that the initiator has, but at most that
    /// many bytes.
    ParamsUpTo(u32),
    /// A change of shared state: the logical unit's owner runs [`LuState::apply`].
    Shared(SharedOp),
    /// A third-party copy is to be started, told of or ended.
    Copy(CopyCommand),
    /// The device that the logical unit is runs it.
    Pass(Box<Pass>),
}

/// The longest parameter list that [`Outcome::Params`] asks for, in bytes: every CDB that has one
/// gives its length in 16 bits, or is held to a fixed length.
pub const MAX_PARAMS: u32 = 0xffff;

/// Why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// CHECK CONDITION with this sense data.
    Check(Sense),
    /// A status without sense data (see [`status`]): reservation conflict, busy, task set full.
    Status(u8),
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

/// A range of the medium, in bytes, whole logical blocks, inside the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// What is to be done with the medium. No range is empty, except that of [`Io::CompareAndWrite`], and
/// that [`Io::Unmap`] may have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Io {
    /// Data-in: the range.
    Read {
        /// What to read.
        range: Range,
        /// Whether a volatile cache must not answer with what the medium does not hold.
        fua: bool,
    },
    /// Data-out (`range.len` bytes) goes to the range.
    Write {
        /// Where to write.
        range: Range,
        /// Whether the data must be durable before the answer (FUA, or the write cache is switched off).
        fua: bool,
    },
    /// Data-out (`range.len` bytes) is compared with the range; a difference is
    /// [`Sense::miscompare`] with the byte offset of the first one.
    Compare {
        /// What to compare with.
        range: Range,
    },
    /// Data-out, one logical block, is compared with each block of the range; a difference is
    /// [`Sense::miscompare`] with the offset in that block.
    CompareEach {
        /// What to compare with.
        range: Range,
    },
    /// Data-out (`range.len` bytes) goes to the range, durably, and is read back.
    WriteVerify {
        /// Where to write.
        range: Range,
        /// Whether what is read must equal the data-out, as for [`Io::Compare`].
        compare: bool,
    },
    /// The range is read and must be readable; no data is transferred.
    Verify {
        /// What to read.
        range: Range,
    },
    /// What was written to the range, if not more, becomes durable.
    Flush {
        /// What must become durable.
        range: Range,
        /// Whether GOOD may be answered before it is.
        immediate: bool,
    },
    /// The ranges are given back. They may overlap. No data-out remains to come.
    Unmap(Vec<Range>),
    /// Likewise, but they keep space of their own, or get it.
    Anchor(Vec<Range>),
    /// Data-out, one logical block, is written to each block of the range.
    Fill {
        /// Where to write.
        range: Range,
        /// Whether the range may be given back instead, if the block is all zeroes. An initiator
        /// may announce no data-out then: that means zeroes.
        unmap: bool,
        /// Whether it then keeps space of its own.
        anchor: bool,
    },
    /// The range becomes zeroes; there is no data-out.
    Zero {
        /// Where to write.
        range: Range,
        /// Whether the range may be given back instead.
        unmap: bool,
    },
    /// The first half of the data-out (of `2 * range.len` bytes) is compared with the range; if it is
    /// equal, the second half is written there. Nothing else changes the range in between. A
    /// difference is as for [`Io::Compare`].
    CompareAndWrite {
        /// What to compare with, and where to write.
        range: Range,
        /// As for [`Io::Write`].
        fua: bool,
    },
    /// Data-out (`range.len` bytes) is ORed into the range. Nothing else changes a block in between.
    Or {
        /// Where to write.
        range: Range,
        /// As for [`Io::Write`].
        fua: bool,
    },
    /// Data-out (`range.len` bytes, at most [`WHOLE`]) goes to the range, all of it or nothing.
    WriteAtomic {
        /// Where to write.
        range: Range,
        /// As for [`Io::Write`].
        fua: bool,
    },
    /// Which parts of the range take space; [`mapped`] makes the data-in of that.
    Map {
        /// What is asked about.
        range: Range,
        /// So many stretches, from the beginning, are enough; at least 1.
        most: u32,
    },
}

/// What a command does that reads or writes a range and that nothing is in the way of: as [`Io::Read`] and [`Io::Write`] say
/// it, in less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Straight {
    /// Which way the data goes.
    pub way: Way,
    /// The range, which is not empty.
    pub range: Range,
}

/// Which way the data of a [`Straight`] command goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the medium.
    Read,
    /// To the medium.
    Write,
    /// To the medium, and it must be durable before the answer.
    WriteThrough,
}

impl Way {
    /// Whether it changes the medium.
    #[inline]
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

/// What the handlers of the table give back.
type Answered = Result<Outcome, Failure>;

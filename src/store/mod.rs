//! What a logical unit sits on: a block device, a file, memory, nothing, or a SCSI device that is passed through.
//!
//! Owns: opening a store exclusively, learning its size, alignment, cache and discard abilities,
//! and turning "read these bytes" into the one operation for the ring. Promises: a writable store
//! is open once, on one open file description, for as long as the kernel may still write through
//! it; a block is never smaller than what direct I/O needs, so nothing is read, changed and
//! written back. Refuses to know: SCSI commands, sessions, and how operations are queued.

mod align;
mod backing;
mod block;
mod blocking;
mod claim;
mod config;
mod fault;
mod file;
mod fingerprint;
mod growth;
mod holder;
mod identity;
mod map;
mod measure;
mod nvme;
mod open;
mod pass;
mod presence;
mod pscsi;
mod queue;
mod ram;
mod service;
mod span;
mod unit;
mod whereabouts;

use std::fmt;
use std::path::PathBuf;

pub use backing::{Backing, DiscardMethod, FileMedium, Medium, UNBOUNDED};
#[cfg(test)]
pub(crate) use blocking::Jobs;
pub use blocking::{BlockingJob, BlockingPool};
pub use config::{IdentityOverride, Io, StoreConfig, StoreKind};
pub use fault::{Direction, Fault, Progress, judge, judge_plain};
pub use file::check_room;
pub use fingerprint::Place;
pub use growth::Growth;
pub use measure::Length;
pub use nvme::block_node;
pub use open::{PATIENCE, open, reopen};
pub use pass::{Errand, PassMedium, Passage};
pub use presence::{Mark, Seat};
pub use service::fleeting;
pub use span::Span;
pub use unit::{BlockingCall, Mapping, Reach, Step, Store, ZEROES, zero_region};
pub use whereabouts::real_path;

/// Why a store cannot be opened: where, what is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError {
    /// The device or file, or the name of a store that has neither.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What an administrator can do.
    pub remedy: String,
    /// Somebody else has it, and may let go of it soon.
    pub held: bool,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.what, self.remedy)
    }
}

impl std::error::Error for OpenError {}

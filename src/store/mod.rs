//! What a logical unit sits on: a block device, a file, memory, or nothing.
//!
//! Owns: opening a store exclusively, learning its size, alignment, cache and discard abilities,
//! and turning "read these bytes" into the one operation for the ring. Promises: a writable store
//! is open once, on one open file description, for as long as the kernel may still write through
//! it; a block is never smaller than what direct I/O needs, so nothing is read, changed and
//! written back. Refuses to know: SCSI commands, sessions, and how operations are queued.

mod align;
pub mod blocking;
mod claim;
mod config;
mod fault;
mod holder;
mod queue;

pub use config::{IdentityOverride, StoreConfig, StoreKind};
pub use fault::{Direction, Fault, Progress, judge, judge_plain};

/// Why a store cannot be opened: where, what is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError {
    /// The device or file, or the name of a store that has neither.
    pub path: std::path::PathBuf,
    /// What is wrong.
    pub what: String,
    /// What an administrator can do.
    pub remedy: String,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.what, self.remedy)
    }
}

impl std::error::Error for OpenError {}

//! What a logical unit sits on: a block device, a file, memory, or nothing.
//!
//! Owns: opening a store exclusively, learning its size, alignment, cache and discard abilities,
//! and turning "read these bytes" into the one operation for the ring. Promises: a writable store
//! is open once, on one open file description, for as long as the kernel may still write through
//! it; a block is never smaller than what direct I/O needs, so nothing is read, changed and
//! written back. Refuses to know: SCSI commands, sessions, and how operations are queued.

pub mod blocking;
mod config;
mod fault;
mod queue;

pub use config::{IdentityOverride, StoreConfig, StoreKind};
pub use fault::{Direction, Fault, Progress, judge, judge_plain};

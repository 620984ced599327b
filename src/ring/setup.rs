//! How a ring is made, and what is tolerated of it: the parts that need no `unsafe`.
//!
//! Owns: the configuration, the choice of flags, the words for what could not be had.

use std::io;
use std::sync::Once;

use io_uring::types::Timespec;
use io_uring::{Builder, IoUring, Submitter, cqueue, squeue};

use super::entry::PIECE_BITS;
use super::ring::TIMERS;
use super::{Caps, KernelLevel};
use crate::mem::Region;

/// The submission queue needs to hold what one turn starts; more is submitted early.
const MOST_ENTRIES: u32 = 1024;

/// How a ring is made.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Operations in flight at once, at least. Two completions are set aside for each.
    pub in_flight: u32,
    /// The longest poll before sleeping, in nanoseconds; 0 never polls.
    pub poll_ns: u64,
    /// Files that can be registered; more work, a little slower.
    pub files: u32,
    /// For developers: do as if the kernel were that old.
    pub level: Option<KernelLevel>,
}

impl RingConfig {
    /// The most that can be in flight in one ring: two completions for each operation and for each of the ring's own
    /// requests, in the longest queue that the kernel makes (IORING_MAX_CQ_ENTRIES).
    pub const MOST_IN_FLIGHT: u32 = (1 << 16) / 2 - TIMERS as u32;
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { in_flight: 4092, poll_ns: 50_000, files: 256, level: None }
    }
}

/// Makes a ring with the best way of completing that the kernel has; `more` says what else it is to be.
pub(super) fn make<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
    caps: &Caps,
    completions: u32,
    more: impl FnOnce(&mut Builder<S, C>),
) -> io::Result<IoUring<S, C>> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completions).setup_clamp();
    more(&mut builder);
    if caps.submit_all {
        builder.setup_submit_all();
    }
    if caps.defer_taskrun {
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    } else if caps.coop_taskrun {
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    builder.build((completions / 2).min(MOST_ENTRIES))
}

/// The pieces of a region that the kernel allows to be registered.
pub(super) fn pieces(region: &Region) -> Vec<libc::iovec> {
    let piece = 1u64 << PIECE_BITS;
    let at = |off: u64| libc::iovec {
        iov_base: region.base().wrapping_add(off as usize).cast(),
        iov_len: piece.min(region.len() - off) as usize,
    };
    (0..region.len()).step_by(piece as usize).map(at).collect()
}

/// Says once per process that disks must do without registered memory.
pub(super) fn warn_unregistered(error: &io::Error, bytes: u64) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            %error, bytes,
            "buffer memory cannot be registered, so disk I/O costs more: raise the limit of locked memory \
             (LimitMEMLOCK=infinity in the systemd unit, or ulimit -l unlimited)"
        );
    });
}

/// Says once per process that stores that were to be polled are not.
pub(super) fn warn_unpolled(error: &io::Error) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(%error, "the kernel does not poll; stores with io = \"polled\" go on as with io = \"direct\"");
    });
}

/// Says once per process that stores that were to take commands are worked on by the block layer.
pub(super) fn warn_uncommanded(error: &io::Error) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            %error,
            "NVMe takes no commands; where that is so, stores with io = \"passthrough\" go on as with io = \"direct\""
        );
    });
}

/// Registers an empty table of files. The free indices, the first one last.
pub(super) fn register_files(submitter: &Submitter<'_>, files: u32) -> Vec<u32> {
    match submitter.register_files(&vec![-1; files as usize]) {
        Ok(()) => (0..files).rev().collect(),
        Err(_) => Vec::new(),
    }
}

/// What an enter may answer without anything being wrong: everything stays queued for the next turn.
pub(super) fn tolerate(error: &io::Error) {
    match error.raw_os_error() {
        // A signal, the deadline, memory pressure, completions to be reaped first.
        Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => {}
        _ => panic!("io_uring_enter: {error}"),
    }
}

/// Nanoseconds as the kernel wants them.
pub(super) fn timespec(ns: u64) -> Timespec {
    Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32)
}

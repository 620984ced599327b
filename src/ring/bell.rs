//! The doorbell of a reactor: others put something in its mailbox, then ring.
//!
//! Owns: the flags and the eventfd. Promises: no wake-up is lost, and a ring costs no system call while the
//! reactor runs. Refuses to know: what is in the mailbox.
//!
//! Why none is lost. A sender puts its message, stores `pending`, and after a full fence reads `parked`. The
//! reactor stores `parked`, and after a full fence reads `pending`. Of two such threads at least one sees the
//! other's store. If the sender sees `parked`, it writes the eventfd, on which the reactor has a read in
//! flight; an eventfd keeps its count, so it does not matter which of the two comes first. If the reactor sees
//! `pending`, it does not block. And the reactor takes `pending` before it empties the mailbox, so a message
//! that it missed there has its `pending` still set.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// See the module page. Shared by `Arc` between one reactor and everybody who sends to it.
#[derive(Debug)]
pub struct Bell {
    pending: AtomicBool,
    parked: AtomicBool,
    /// None in the simulation, where nothing ever sleeps.
    event: Option<File>,
}

impl Bell {
    /// A bell that can wake a ring.
    ///
    /// # Errors
    /// When no descriptor can be had.
    pub fn new() -> io::Result<Self> {
        let event = OwnedFd::from(File::from(super::ring::eventfd()?));
        Ok(Self { pending: false.into(), parked: false.into(), event: Some(event.into()) })
    }

    /// A bell for the simulation: it is seen at the next turn.
    pub fn silent() -> Self {
        Self { pending: false.into(), parked: false.into(), event: None }
    }

    /// Senders: call after the message is in the mailbox.
    pub fn ring(&self) {
        self.pending.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        // The swap leaves one sender of many to make the system call.
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(mut event) = self.event.as_ref()
            && let Err(error) = event.write(&1u64.to_ne_bytes())
        {
            tracing::error!(%error, "cannot wake a reactor: its eventfd refuses");
        }
    }

    /// The reactor: whether it was rung since the last answer. Empty the mailbox after a yes.
    #[inline]
    pub fn answer(&self) -> bool {
        // Read first: this is asked every turn, and a swap would take the cache line each time.
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    /// Whether it was rung since the last answer.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// The ring, before it blocks: false when it must not, because somebody has rung.
    pub(super) fn park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let quiet = !self.pending.load(Ordering::Relaxed);
        if !quiet {
            self.unpark();
        }
        quiet
    }

    /// The ring, after it has blocked.
    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// The eventfd on which a sleeping ring keeps a read.
    pub(super) fn event(&self) -> Option<RawFd> {
        self.event.as_ref().map(AsRawFd::as_raw_fd)
    }
}

//! The two flags of a doorbell; `tests/doorbell.rs` has every order of its steps tried.
//!
//! Why no wake-up is lost. A sender puts its message, sets `pending`, and after a full fence reads `parked`. The
//! reactor stores `parked`, and after a full fence reads `pending`. Of two such threads at least one sees the
//! other's store. If the sender sees `parked`, it writes the eventfd, on which the reactor has a read in
//! flight; an eventfd keeps its count, so it does not matter which of the two comes first. If the reactor sees
//! `pending`, it does not block. And the reactor takes `pending` before it empties the mailbox, so a message
//! that it missed there has its `pending` still set.
//!
//! Both flags are only ever swapped: then each has one history that everybody agrees on, the model too.

use super::sync::{AtomicBool, Ordering, fence};

/// See the module page.
#[derive(Debug)]
pub(super) struct Flags {
    pending: AtomicBool,
    parked: AtomicBool,
}

impl Flags {
    pub(super) fn new() -> Self {
        Self { pending: AtomicBool::new(false), parked: AtomicBool::new(false) }
    }

    /// A sender, whose message is in the mailbox: true when it has to wake the reactor.
    pub(super) fn ring(&self) -> bool {
        // A swap, not a store, which would end the release sequence of another sender: the reactor has to see the
        // messages of all whose rings it takes at once.
        self.pending.swap(true, Ordering::Release);
        fence(Ordering::SeqCst);
        // The swap leaves one sender of many to make the system call.
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel)
    }

    /// The reactor: whether it was rung since the last answer. Empty the mailbox after a yes.
    #[inline]
    pub(super) fn answer(&self) -> bool {
        // Read first: this is asked every turn, and a swap would take the cache line each time.
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    /// Whether it was rung since the last answer.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// The reactor, before it blocks: false when it must not, because somebody has rung.
    pub(super) fn park(&self) -> bool {
        self.parked.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let quiet = !self.pending.load(Ordering::Relaxed);
        if !quiet {
            self.unpark();
        }
        quiet
    }

    /// The reactor, after it has blocked.
    pub(super) fn unpark(&self) {
        self.parked.swap(false, Ordering::Relaxed);
    }
}

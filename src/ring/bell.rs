//! The doorbell of a reactor: others put something in its mailbox, then ring.
//!
//! Owns: the flags and the eventfd. Promises: no wake-up is lost, and a ring costs no system call while the
//! reactor runs. Refuses to know: what is in the mailbox.

mod flags;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use self::flags::Flags;

/// What the flags are made of; the model has its own.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

/// See the module page. Shared by `Arc` between one reactor and everybody who sends to it.
#[derive(Debug)]
pub struct Bell {
    flags: Flags,
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
        Ok(Self { flags: Flags::new(), event: Some(event.into()) })
    }

    /// A bell for the simulation: it is seen at the next turn.
    pub fn silent() -> Self {
        Self { flags: Flags::new(), event: None }
    }

    /// Senders: call after the message is in the mailbox.
    pub fn ring(&self) {
        if self.flags.ring() {
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
        self.flags.answer()
    }

    /// Whether it was rung since the last answer.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.flags.is_pending()
    }

    /// The ring, before it blocks: false when it must not, because somebody has rung.
    pub(super) fn park(&self) -> bool {
        self.flags.park()
    }

    /// The ring, after it has blocked.
    pub(super) fn unpark(&self) {
        self.flags.unpark();
    }

    /// The eventfd on which a sleeping ring keeps a read.
    pub(super) fn event(&self) -> Option<RawFd> {
        self.event.as_ref().map(AsRawFd::as_raw_fd)
    }
}

//! Second rings of the reactor: one for stores that are polled, for a ring that polls refuses everything else; one for
//! stores that take commands, which need longer entries than anything else.
//!
//! Owns: its queues, and the count of what is in them. Promises: an operation is in the table before the kernel gets
//! it, as with the first ring; what has completed is found by [`Side::turn`]. Nobody tells of it where it is polled;
//! commands ring a bell, while it is listened to.
//! Refuses to know: when to look.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{Ordering, fence};

use io_uring::{EnterFlags, IoUring, Submitter, cqueue, squeue};

use super::entry::Addresses;
use super::ring::{Cqe, Queues, Sqe};
use super::setup::{register_files, tolerate};
use super::table::{Owner, Table};
use super::{Key, Kind, Op};

/// A device that has not ended anything for so long is not asked without a pause any more, nanoseconds. What is polled
/// takes microseconds.
const SILENT_NS: u64 = 10_000_000;

/// See the module page.
pub(super) struct Side<S: Sqe = squeue::Entry, C: Cqe = cqueue::Entry> {
    queues: Queues<S, C>,
    /// The kernel has to be asked for what has ended.
    polls: bool,
    /// The reactor's own region is registered with it, too.
    registered: bool,
    /// It has a table of files.
    files: bool,
    live: usize,
    /// When something has ended last, or was begun after a pause.
    heard: u64,
    /// System calls that no turn has told of yet.
    enters: u64,
}

/// For commands of devices.
pub(super) type Commands = Side<squeue::Entry128, cqueue::Entry32>;

impl<S: Sqe, C: Cqe> Side<S, C> {
    /// Over a new ring that has as many completions as the first one: all that is in flight may be here.
    pub(super) fn new(
        ring: IoUring<S, C>,
        polls: bool,
        files: u32,
        register: impl FnOnce(&Submitter<'_>) -> bool,
    ) -> Self {
        let queues = Queues::new(ring);
        let registered = register(&queues.submitter);
        let files = !register_files(&queues.submitter, files).is_empty();
        Self { queues, polls, registered, files, live: 0, heard: 0, enters: 0 }
    }

    /// Has completions ring there, while they are listened for.
    pub(super) fn ring(&self, bell: RawFd) -> io::Result<()> {
        self.queues.cq.disable_eventfd();
        self.queues.submitter.register_eventfd(bell)
    }

    /// From now on the bell rings; false when something has ended before, which nobody will be told of.
    pub(super) fn listen(&mut self) -> bool {
        if self.live == 0 {
            return true;
        }
        self.queues.cq.enable_eventfd();
        // The kernel announces what has ended, and then looks whether to ring.
        fence(Ordering::SeqCst);
        !self.is_due()
    }

    /// No more ringing.
    pub(super) fn stop_listening(&self) {
        self.queues.cq.disable_eventfd();
    }

    /// Something is there, or an enter would bring something.
    #[inline]
    pub(super) fn is_due(&mut self) -> bool {
        self.queues.cq.sync();
        self.live > 0 && (!self.queues.cq.is_empty() || self.is_enter_due())
    }

    #[inline]
    fn is_enter_due(&self) -> bool {
        self.queues.sq.taskrun() || self.queues.sq.cq_overflow()
    }

    /// Operations that are in it.
    #[inline]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Whether the devices have said nothing for long.
    pub(super) fn is_silent(&self, now: u64) -> bool {
        now.saturating_sub(self.heard) > SILENT_NS
    }

    /// Puts a descriptor, or none, into its table of files.
    pub(super) fn register(&self, slot: u32, fd: RawFd) -> bool {
        self.files && self.queues.submitter.register_files_update(slot, &[fd]).is_ok()
    }

    /// Takes an operation, or gives it back when there is no room; `build` makes its entry.
    pub(super) fn push(
        &mut self,
        op: Op,
        table: &mut Table,
        at: &Addresses,
        now: u64,
        build: impl FnOnce(&mut Kind, &Addresses, bool) -> S,
    ) -> Result<Key, Op> {
        // Room first: an operation in the table without an entry in the queue would never complete.
        if self.queues.sq.is_full() {
            self.enters = self.turn();
            if self.queues.sq.is_full() {
                return Err(op);
            }
        }
        let (key, op) = table.insert(op)?;
        let mut entry = build(&mut op.kind, at, self.registered);
        entry.set_user_data(Owner::Op(key).to_word());
        assert!(self.queues.publish(&entry), "the submission queue has room");
        if self.live == 0 {
            self.heard = now;
        }
        self.live += 1;
        Ok(key)
    }

    /// Submits everything and has the kernel look at the devices that are polled; how many system calls that took.
    pub(super) fn turn(&mut self) -> u64 {
        let mut enters = std::mem::take(&mut self.enters);
        if !self.polls && self.queues.sq.is_empty() && !self.is_enter_due() {
            self.queues.cq.sync();
            return enters;
        }
        loop {
            self.queues.sq.sync();
            let waiting = self.queues.sq.len();
            enters += 1;
            match self.queues.enter(waiting as u32, 0, EnterFlags::GETEVENTS, None) {
                Ok(taken) if taken > 0 && taken < waiting => {}
                Ok(_) => break,
                Err(error) => {
                    tolerate(&error);
                    break;
                }
            }
        }
        self.queues.sq.sync();
        self.queues.cq.sync();
        enters
    }

    /// The next of what has completed until the last turn.
    pub(super) fn next(&mut self, now: impl FnOnce() -> u64) -> Option<cqueue::Entry> {
        let completion = self.queues.cq.next()?;
        self.live -= 1;
        self.heard = now();
        Some(completion.into())
    }
}

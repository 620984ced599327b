//! A second ring of the reactor, for stores that are polled: a ring that polls refuses everything else.
//!
//! Owns: its queues, and the count of what is in them. Promises: an operation is in the table before the kernel gets
//! it, as with the first ring; what has completed is found by [`Side::turn`], for nobody tells of it.
//! Refuses to know: when to look.

use std::io;
use std::os::fd::RawFd;

use io_uring::{EnterFlags, Submitter, cqueue};

use super::entry::{Addresses, build};
use super::ring::Queues;
use super::setup::{make, register_files, tolerate};
use super::table::{Owner, Table};
use super::{Caps, Key, Op};

/// A device that has not ended anything for so long is not asked without a pause any more, nanoseconds. What is polled
/// takes microseconds.
const SILENT_NS: u64 = 10_000_000;

/// See the module page.
pub(super) struct Side {
    queues: Queues,
    /// The reactor's own region is registered with it, too.
    registered: bool,
    /// It has a table of files.
    files: bool,
    live: usize,
    /// When something has ended last, or was begun after a pause.
    heard: u64,
}

impl Side {
    /// Makes it, with as many completions as the first ring has: all that is in flight may be here.
    pub(super) fn new(
        caps: &Caps,
        completions: u32,
        files: u32,
        register: impl FnOnce(&Submitter<'_>) -> bool,
    ) -> io::Result<Self> {
        let queues = Queues::new(make(caps, completions, |builder| {
            builder.setup_iopoll();
        })?);
        let registered = register(&queues.submitter);
        let files = !register_files(&queues.submitter, files).is_empty();
        Ok(Self { queues, registered, files, live: 0, heard: 0 })
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

    /// Takes an operation, or gives it back when there is no room.
    pub(super) fn push(&mut self, op: Op, table: &mut Table, at: &Addresses, now: u64) -> Result<Key, Op> {
        // Room first: an operation in the table without an entry in the queue would never complete.
        if self.queues.sq.is_full() {
            self.turn();
            if self.queues.sq.is_full() {
                return Err(op);
            }
        }
        let (key, op) = table.insert(op)?;
        let entry = build(&mut op.kind, at, self.registered).user_data(Owner::Op(key).to_word());
        assert!(self.queues.publish(&entry), "the submission queue has room");
        if self.live == 0 {
            self.heard = now;
        }
        self.live += 1;
        Ok(key)
    }

    /// Submits everything and has the kernel look at the devices; how many system calls that took.
    pub(super) fn turn(&mut self) -> u64 {
        let mut enters = 0;
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
        Some(completion)
    }
}

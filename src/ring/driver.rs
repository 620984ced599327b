//! The seam between a reactor and the world: the kernel's ring, or the simulation.
//!
//! Owns: the promises both keep. Every operation pushed comes back exactly once, in the `done` of some later
//! turn, cancelled or not. Until then its places belong to the driver: their bytes may be read or written at
//! any moment, and are undefined. Refuses to know: how.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Caps, Done, File, Key, Op, Way};
use crate::mem::{Memory, Region, RegionId};

/// Performs operations for one reactor.
pub trait Driver {
    /// What this kernel can do.
    fn caps(&self) -> &Caps;

    /// The time of this turn: nanoseconds on one clock for all reactors, which never goes back.
    fn now(&self) -> u64;

    /// How many more operations may be pushed.
    fn room(&self) -> usize;

    /// How many operations are in flight.
    fn in_flight(&self) -> usize;

    /// Takes an operation. It starts at the next turn at the latest.
    ///
    /// # Errors
    /// The operation itself, when there is no room.
    ///
    /// # Panics
    /// When a place is outside its region.
    fn push(&mut self, op: Op) -> Result<Key, Op>;

    /// Asks for an early end; best effort. The operation still completes once: as if it had not been
    /// cancelled, short, or with `-ECANCELED` or `-EINTR`.
    fn cancel(&mut self, key: Key);

    /// Starts what was pushed, waits as told, and appends what has completed to `done`.
    /// A ring of the bell ends the wait.
    fn turn(&mut self, wait: Wait, memory: &mut Memory, done: &mut Vec<Done>);

    /// Tells of a shared region, after [`Memory::attach`]; `None` when it has gone.
    fn attach(&mut self, id: RegionId, region: Option<Arc<Region>>);

    /// Makes a file ready for operations, which go that way if they can. The descriptor stays the caller's and must
    /// outlive the [`File`].
    fn open_file(&mut self, fd: RawFd, way: Way) -> File;

    /// Forgets a file that has nothing in flight. The descriptor stays open.
    fn close_file(&mut self, file: File);

    /// Prepares a socket that this driver accepted or that another reactor hands over.
    ///
    /// # Errors
    /// The kernel's; usually the peer has gone.
    fn adopt(&mut self, fd: RawFd) -> io::Result<Ends>;

    /// Gives a connection what the listener that it came by is set to and the kernel does not hand down by itself.
    fn hand_down(&mut self, listener: RawFd, fd: RawFd);

    /// Ends both directions at once, so that all operations on the socket complete. Close it after they have.
    fn shutdown(&mut self, fd: RawFd);

    /// Bytes of all sends on a connection that have reached the peer's side, if that can be known. A send completes
    /// when all of it has gone; until then only this tells whether it moves.
    fn delivered(&mut self, fd: RawFd) -> Option<u64>;

    /// Bytes of payload that a packet to a connection's peer carries, if that can be known.
    fn segment(&self, fd: RawFd) -> Option<u32>;

    /// Whether sends on a connection may go without copies: its portal is set so, and the kernel can.
    fn zero_copy(&mut self, fd: RawFd) -> bool;

    /// Has the close that follows break a connection off: what has been sent and has not arrived is thrown away. Sends
    /// without copies that have been taken come back then; without it that takes as long as the peer likes.
    fn abort(&mut self, fd: RawFd);

    /// Counters since the start.
    fn stats(&self) -> Stats;
}

/// How long a turn may wait for a completion or the bell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until this time on the clock of [`Driver::now`], in nanoseconds.
    Until(u64),
    /// As long as it takes.
    Forever,
}

/// The two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// Theirs.
    pub peer: SocketAddr,
}

/// Counters of one driver since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Turns taken.
    pub turns: u64,
    /// System calls that submitted or waited.
    pub enters: u64,
    /// Completions of operations.
    pub completions: u64,
    /// Polls before blocking.
    pub polls: u64,
    /// Polls during which something came.
    pub polls_paid: u64,
    /// Nanoseconds spent in polls during which nothing came.
    pub polled_in_vain: u64,
    /// Turns that blocked.
    pub waits: u64,
    /// Turns that had to submit early, because the submission queue was full.
    pub early_submits: u64,
}

//! A session with this daemon's own targets, pumped by a ring.
//!
//! Owns: its socket, its protocol core, its two operations while the kernel does not have them. Promises: what is to be said
//! leaves in one send a turn; when it has ended it says so once both operations are back, so that nobody reads old bytes
//! from a place that is another's by then. Refuses to know: requests.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;

use super::disk::Disk;
use super::{DEPTH, MAX_IO, Tie};
use crate::initiator::{Command, Core, Error, Event, Initiator, LoginOptions};
use crate::mem::{Memory, Place};
use crate::ring::{Driver, Kind, Op, RecvOp, Ring, SendOp};
use crate::target::LOCAL_INITIATOR;
use crate::wire::codes::LogoutReason;

/// How long a login may take: one that replaces a session waits for what that has under way.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a receive: a whole segment of data and the headers beside it.
const RECEIVE: usize = MAX_IO as usize + (16 << 10);

/// Logs in to a target of this daemon.
///
/// # Errors
/// When there is no connection, or no login.
pub(super) fn log_in(tie: &Tie, target: &str) -> anyhow::Result<Initiator<UnixStream>> {
    let stream = tie.connect().context("no pair of sockets")?;
    stream.set_read_timeout(Some(LOGIN_PATIENCE))?;
    stream.set_write_timeout(Some(LOGIN_PATIENCE))?;
    let options = LoginOptions::new(LOCAL_INITIATOR, Some(target));
    Ok(Initiator::over(stream, options)?)
}

/// Logs in, and asks what the disk is like.
///
/// # Errors
/// As for [`log_in`] and [`Disk::ask`].
pub(super) fn explore(tie: &Tie, target: &str) -> anyhow::Result<Disk> {
    let mut initiator = log_in(tie, target)?;
    let disk = Disk::ask(&mut initiator)?;
    // Whether it is heard or not, the session ends.
    let _ = initiator.logout();
    Ok(disk)
}

/// See the module page.
pub(super) struct Link {
    stream: UnixStream,
    core: Core,
    recv: Option<Box<RecvOp>>,
    send: Option<Box<SendOp>>,
    ended: bool,
    leaving: bool,
}

impl Link {
    /// A session that is logged in.
    pub(super) fn new(initiator: Initiator<UnixStream>) -> io::Result<Self> {
        let (stream, core) = initiator.into_parts();
        // From here on the ring waits.
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        let fd = stream.as_raw_fd();
        let (recv, send) = (Some(RecvOp::new(fd, 0)), Some(SendOp::new(fd, 2 * usize::from(DEPTH))));
        Ok(Self { stream, core, recv, send, ended: false, leaving: false })
    }

    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Whether it takes commands.
    pub(super) fn is_open(&self) -> bool {
        !self.ended && !self.leaving
    }

    /// Whether it has ended, and the kernel has nothing of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.recv.is_some() && self.send.is_some()
    }

    /// Begins a command.
    pub(super) fn submit(&mut self, command: Command) -> bool {
        self.core.submit(command).is_ok()
    }

    /// What the target has said next, whose data have gone to their places.
    pub(super) fn next(&mut self, memory: &mut Memory) -> Result<Option<Event>, Error> {
        if self.recv.is_none() {
            return Ok(None);
        }
        self.core.poll_into(&mut |at, bytes| {
            memory.write(Place::pool(at.into(), bytes.len() as u32), bytes);
        })
    }

    /// Asks to log out; the target then closes the connection.
    pub(super) fn leave(&mut self) {
        if self.is_open() {
            self.leaving = true;
            self.core.logout(LogoutReason::CLOSE_SESSION);
        }
    }

    /// Nothing more comes of it.
    pub(super) fn end(&mut self, ring: &mut Ring) {
        if !self.ended {
            self.ended = true;
            ring.shutdown(self.fd());
        }
    }

    /// Gives the kernel what waits to be sent, and room for what comes. `tag`: by which its operations are known.
    pub(super) fn push(&mut self, ring: &mut Ring, tag: u64) {
        if self.ended {
            return;
        }
        if let Some(op) = self.sending() {
            push(ring, Op { tag, kind: Kind::Send(op) });
        }
        if let Some(mut op) = self.recv.take() {
            (op.staging, op.filled) = self.core.incoming().lend(RECEIVE);
            push(ring, Op { tag, kind: Kind::Recv(op) });
        }
    }

    /// The send of all that waits, when the last one is over.
    fn sending(&mut self) -> Option<Box<SendOp>> {
        if self.core.outgoing().is_empty() {
            return None;
        }
        let mut op = self.send.take()?;
        op.clear();
        let (out, mut done) = (self.core.outgoing(), 0);
        for splice in self.core.splices() {
            op.put(&out[done..splice.at]);
            op.put_place(Place::pool(splice.from.into(), splice.len));
            done = splice.at;
        }
        op.put(&out[done..]);
        self.core.sent_all();
        Some(op)
    }

    /// One of its operations has ended.
    pub(super) fn done(&mut self, kind: Kind, result: i32, ring: &mut Ring, tag: u64) {
        match kind {
            Kind::Send(op) => self.sent(op, result, ring, tag),
            Kind::Recv(op) => self.received(op, result, ring),
            _ => {}
        }
    }

    fn sent(&mut self, mut op: Box<SendOp>, result: i32, ring: &mut Ring, tag: u64) {
        if result >= 0 && !self.ended && !op.advance(result as usize) {
            return push(ring, Op { tag, kind: Kind::Send(op) });
        }
        self.send = Some(op);
        if result < 0 {
            self.end(ring);
        }
    }

    fn received(&mut self, mut op: Box<RecvOp>, result: i32, ring: &mut Ring) {
        let filled = op.filled + result.max(0) as usize;
        self.core.incoming().restore(std::mem::take(&mut op.staging), filled);
        self.recv = Some(op);
        if result <= 0 {
            self.end(ring);
        }
    }
}

/// A receive and a send at a time have room beside the tags.
pub(super) fn push(ring: &mut Ring, op: Op) {
    assert!(ring.push(op).is_ok(), "the ring has room for every tag and for a session");
}

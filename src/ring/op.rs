//! What can be asked of a driver, and what comes back.
//!
//! Owns: the shape of operations. Promises: an operation is moved into the driver and comes back whole in its
//! [`Done`], so nothing that the kernel may touch can be dropped or changed on the way; the boxes of socket
//! operations travel and are used again, so nothing is allocated per operation.
//! Refuses to know: connections, tasks; `tag` is the caller's and opaque here.

use std::fmt;
use std::os::fd::RawFd;

use crate::mem::Place;

/// One operation.
#[derive(Debug)]
pub struct Op {
    /// The caller's, handed back in [`Done`].
    pub tag: u64,
    /// What to do.
    pub kind: Kind,
}

/// What to do. Offsets and lengths are bytes.
#[derive(Debug)]
pub enum Kind {
    /// Wait for one connection; the result is its descriptor.
    Accept {
        /// A listening socket.
        listener: RawFd,
    },
    /// Receive: the result is the number of bytes, 0 at the end of the stream.
    Recv(Box<RecvOp>),
    /// Send: the result is the number of bytes, possibly fewer than asked.
    Send(Box<SendOp>),
    /// Read into a place; the result may be short.
    Read {
        /// From here.
        file: File,
        /// To here.
        place: Place,
        /// Where in the file.
        offset: u64,
    },
    /// Write from a place; the result may be short.
    Write {
        /// To here.
        file: File,
        /// From here.
        place: Place,
        /// Where in the file.
        offset: u64,
        /// Complete only when the data would survive a power cut.
        dsync: bool,
    },
    /// Make earlier completed writes survive a power cut.
    Fsync {
        /// Of this file.
        file: File,
        /// Leave out metadata that reading the data does not need.
        data_only: bool,
    },
    /// `fallocate(2)`.
    Fallocate {
        /// Of this file.
        file: File,
        /// Its flags.
        mode: i32,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Discard blocks of a block device; only where [`Caps::discard`](super::Caps::discard).
    Discard {
        /// The device.
        file: File,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Close a descriptor. Nothing else may be in flight on it.
    Close {
        /// The descriptor; it is gone even when the result is an error.
        fd: RawFd,
    },
}

/// A file that a driver has opened for its own use with [`Driver::open_file`](super::Driver::open_file).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    pub(super) fd: RawFd,
    /// Index in the ring's table of registered files.
    pub(super) slot: Option<u32>,
}

/// Receive at most two places at once: first what belongs at a known address, then whatever follows.
pub struct RecvOp {
    /// The connection.
    pub fd: RawFd,
    /// Filled first: the rest of a data segment.
    pub into: Option<Place>,
    /// Filled next: headers and small payloads. May be empty if `into` is not.
    pub staging: Place,
    pub(super) message: Message,
}

/// Send the bytes of many places as one message.
pub struct SendOp {
    /// The connection.
    pub fd: RawFd,
    /// What to send, in order.
    pub parts: Vec<Place>,
    /// Bytes of `parts` that earlier sends have taken.
    pub skip: usize,
    pub(super) message: Message,
}

/// The descriptors that the kernel reads while a socket operation is in flight. They live in the operation's
/// box, whose address does not change while the in-flight table owns it.
pub(super) struct Message {
    pub(super) header: libc::msghdr,
    pub(super) slices: Vec<libc::iovec>,
}

impl RecvOp {
    /// A receive on `fd`, with no places yet.
    pub fn new(fd: RawFd) -> Box<Self> {
        Box::new(Self { fd, into: None, staging: Place::pool(0, 0), message: Message::new(2) })
    }

    /// Bytes that it can take.
    pub fn wanted(&self) -> u32 {
        self.into.map_or(0, |place| place.len) + self.staging.len
    }

    /// Splits the number of bytes received into those in `into` and those in `staging`.
    pub fn received(&self, result: u32) -> (u32, u32) {
        let first = result.min(self.into.map_or(0, |place| place.len));
        (first, result - first)
    }
}

impl SendOp {
    /// The most parts that one send takes: the kernel's UIO_MAXIOV. What is beyond is left, like any short send.
    pub const MOST_PARTS: usize = 1024;

    /// A send on `fd` with room for `parts` parts before its vectors grow.
    pub fn new(fd: RawFd, parts: usize) -> Box<Self> {
        let message = Message::new(parts.min(Self::MOST_PARTS));
        Box::new(Self { fd, parts: Vec::with_capacity(parts), skip: 0, message })
    }

    /// Bytes not yet sent.
    pub fn remaining(&self) -> usize {
        self.parts.iter().map(|part| part.len as usize).sum::<usize>() - self.skip
    }

    /// Notes that `sent` more bytes are gone. True when nothing remains.
    pub fn advance(&mut self, sent: usize) -> bool {
        self.skip += sent;
        self.remaining() == 0
    }

    /// Empties it for the next batch; the vectors keep their room.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.skip = 0;
    }

    /// The places that are still to be sent, at most [`SendOp::MOST_PARTS`].
    pub(super) fn unsent(&self) -> impl Iterator<Item = Place> + '_ {
        let mut skip = self.skip;
        let cut = move |part: &Place| {
            let gone = skip.min(part.len as usize);
            skip -= gone;
            part.after(gone as u32)
        };
        self.parts.iter().map(cut).filter(|part| !part.is_empty()).take(Self::MOST_PARTS)
    }
}

impl fmt::Debug for RecvOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, into, staging, .. } = self;
        write!(f, "RecvOp {{ fd: {fd}, into: {into:?}, staging: {staging:?} }}")
    }
}

impl fmt::Debug for SendOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, parts, skip, .. } = self;
        write!(f, "SendOp {{ fd: {fd}, parts: {parts:?}, skip: {skip} }}")
    }
}

/// A completed operation.
#[derive(Debug)]
pub struct Done {
    /// The operation, with everything that was given to it.
    pub op: Op,
    /// Bytes, a descriptor or 0; or a negated errno.
    pub result: i32,
    /// After a receive: more bytes were waiting.
    pub more_in_socket: bool,
}

/// An operation in flight. A key whose operation has ended names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partly_sent_message_goes_on_where_it_stopped() {
        let mut send = SendOp::new(3, 4);
        send.parts.extend([Place::pool(0, 48), Place::pool(4096, 100), Place::pool(96, 4)]);
        assert!(!send.advance(50));
        assert_eq!(send.unsent().collect::<Vec<_>>(), [Place::pool(4098, 98), Place::pool(96, 4)]);
        assert!(!send.advance(98));
        assert_eq!(send.unsent().collect::<Vec<_>>(), [Place::pool(96, 4)]);
        assert!(send.advance(4));
        assert_eq!(send.unsent().count(), 0);
        send.clear();
        assert_eq!(send.remaining(), 0);
    }

    #[test]
    fn received_bytes_fill_the_payload_first() {
        let mut recv = RecvOp::new(3);
        recv.staging = Place::pool(0, 100);
        assert_eq!(recv.received(60), (0, 60));
        recv.into = Some(Place::pool(4096, 50));
        assert_eq!(recv.wanted(), 150);
        assert_eq!(recv.received(60), (50, 10));
        assert_eq!(recv.received(20), (20, 0));
    }
}

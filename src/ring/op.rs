//! What can be asked of a driver, and what comes back.
//!
//! Owns: the shape of operations. Promises: an operation is moved into the driver and comes back whole in its
//! [`Done`], so nothing that the kernel may touch can be dropped or changed on the way; the boxes of socket
//! operations travel and are used again, so nothing is allocated per operation.
//! Refuses to know: connections, tasks; `tag` is the caller's and opaque here.

use std::fmt;
use std::os::fd::RawFd;

use super::nvme::Namespace;
use super::ublk::Queue;
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
    /// Never asked for, only handed back: a send without copies ([`SendOp::zero_copy`]) has been taken by the socket,
    /// so many bytes of it, and the next may begin. It comes back itself when nothing looks at its memory any more.
    Taken,
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
        /// All of it or nothing, within what [`crate::sys::atomic_writes`] says of the file; never short.
        atomic: bool,
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
        /// Room for the driver: whoever asks leaves it empty.
        room: [u64; 2],
    },
    /// Give back the request of a tag of a queue that is served here, if there was one, and wait for its next: the result is
    /// 0 when that is there, `-ENODEV` when there will be none any more.
    Serve {
        /// Of this queue.
        queue: Queue,
        /// Which of its requests.
        tag: u16,
        /// What has come of it: bytes, or a negative errno; none: there was none yet.
        answer: Option<i32>,
        /// Where the next one's data lie, or go.
        place: Place,
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
    /// Index in the tables of registered files of all rings by which it goes.
    pub(super) slot: Option<u32>,
    pub(super) way: Way,
}

/// How a file's operations get to its device, and how their ends are noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// The kernel says when they have ended.
    #[default]
    Direct,
    /// Reads and writes that need not be durable are asked for until they have ended: the device has queues without
    /// interrupts. Everything else goes as before.
    Polled,
    /// As commands of its own, to a namespace of an NVMe device; what cannot be said in one such command goes as before.
    /// The file is the block device of that namespace.
    Passthrough(Namespace),
}

impl File {
    /// The namespace that gets commands.
    #[inline]
    pub(super) fn namespace(&self) -> Option<Namespace> {
        match self.way {
            Way::Passthrough(namespace) => Some(namespace),
            Way::Direct | Way::Polled => None,
        }
    }
}

impl Kind {
    /// The file that it is for.
    pub(super) fn file(&mut self) -> Option<&mut File> {
        match self {
            Self::Read { file, .. }
            | Self::Write { file, .. }
            | Self::Fsync { file, .. }
            | Self::Fallocate { file, .. }
            | Self::Discard { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The one place that a disk operation moves.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::Read { place, .. } | Self::Write { place, .. } => Some(*place),
            _ => None,
        }
    }

    /// Whether a ring that polls has to do it. Only reads and writes can be polled; and of these not what needs more than
    /// one request of the device: a write that is to be durable may have a flush behind it.
    #[inline]
    pub(super) fn is_polled(&self) -> bool {
        match self {
            Self::Read { file, .. } | Self::Write { file, dsync: false, atomic: false, .. } => {
                file.way == Way::Polled
            }
            _ => false,
        }
    }

    /// It is not to be polled, or no command, after all.
    pub(super) fn go_direct(&mut self) {
        if let Some(file) = self.file() {
            file.way = Way::Direct;
        }
    }
}

/// Receive at most two places at once: first what belongs at a known address, then whatever follows.
pub struct RecvOp {
    /// The connection.
    pub fd: RawFd,
    /// Filled first: the rest of a data segment.
    pub into: Option<Place>,
    /// Filled next, behind the bytes that lie there already: headers and small payloads. It travels with the
    /// operation, so that whoever reads it needs no [`Memory`](crate::mem::Memory), and may change that meanwhile.
    pub staging: Box<[u8]>,
    /// Bytes at the front of `staging` that are yet to be used.
    pub filled: usize,
    /// No more bytes than that at the front of `staging` are filled.
    pub most: usize,
    pub(super) message: Message,
}

/// Send the bytes of many places as one message.
pub struct SendOp {
    /// The connection.
    pub fd: RawFd,
    /// The caller's, to know it again.
    pub number: u64,
    /// The network device reads the bytes where they lie, if the kernel manages that; only where
    /// [`Driver::zero_copy`](super::Driver::zero_copy). Then it is handed back twice, unless it fails: first
    /// [`Kind::Taken`], and itself at the end. It cannot be cancelled.
    pub zero_copy: bool,
    /// No more bytes than that are sent: what is beyond is left, like of any short send.
    pub most: usize,
    /// Once it has been taken: so many bytes.
    pub(super) taken: i32,
    /// Bytes that are made for this send: headers, padding, digests.
    headers: Vec<u8>,
    /// What to send, in order.
    parts: Vec<Part>,
    /// Bytes of `parts`, and how many of them earlier sends have taken.
    total: usize,
    gone: usize,
    /// The first part that is not gone as a whole, and how many bytes of it are.
    next: usize,
    into: u32,
    pub(super) message: Message,
}

/// A stretch of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Of the message's own headers.
    Header { at: u32, len: u32 },
    /// Bytes by their place.
    Place(Place),
}

impl Part {
    fn len(self) -> u32 {
        match self {
            Self::Header { len, .. } => len,
            Self::Place(place) => place.len,
        }
    }

    /// Its first `most` bytes, or all of it.
    fn first(self, most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        match self {
            Self::Header { at, len } => Self::Header { at, len: len.min(most) },
            Self::Place(place) => Self::Place(place.first(most)),
        }
    }

    fn after(self, start: u32) -> Self {
        match self {
            Self::Header { at, len } => Self::Header { at: at + start, len: len - start },
            Self::Place(place) => Self::Place(place.after(start)),
        }
    }
}

/// The descriptors that the kernel reads while a socket operation is in flight. They live in the operation's
/// box, whose address does not change while the in-flight table owns it.
pub(super) struct Message {
    pub(super) header: libc::msghdr,
    pub(super) slices: Vec<libc::iovec>,
}

impl RecvOp {
    /// A receive on `fd` with that many bytes of staging, all of which may be filled.
    pub fn new(fd: RawFd, staging: usize) -> Box<Self> {
        let staging = vec![0; staging].into_boxed_slice();
        Box::new(Self { fd, into: None, staging, filled: 0, most: usize::MAX, message: Message::new(2) })
    }

    /// Bytes that it can take.
    pub fn wanted(&self) -> u32 {
        self.into.map_or(0, |place| place.len) + self.room().len() as u32
    }

    /// What may be filled of staging.
    pub(super) fn room(&self) -> &[u8] {
        &self.staging[self.filled..self.end()]
    }

    /// As [`RecvOp::room`], to be filled.
    pub(super) fn room_mut(&mut self) -> &mut [u8] {
        let end = self.end();
        &mut self.staging[self.filled..end]
    }

    fn end(&self) -> usize {
        self.staging.len().min(self.most).max(self.filled)
    }

    /// Splits the number of bytes received into those in `into` and those in `staging`.
    pub fn received(&self, result: u32) -> (u32, u32) {
        let first = result.min(self.into.map_or(0, |place| place.len));
        (first, result - first)
    }

    /// So many bytes have been received: how many of them lie in `into`. The others are staged.
    pub fn took(&mut self, count: u32) -> u32 {
        let (placed, staged) = self.received(count);
        self.into = None;
        self.filled += staged as usize;
        placed
    }

    /// The bytes of staging that are yet to be used.
    pub fn staged(&self) -> &[u8] {
        &self.staging[..self.filled]
    }

    /// The first `count` of them have been used.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn consume(&mut self, count: usize) {
        if count < self.filled {
            self.staging.copy_within(count..self.filled, 0);
        }
        self.filled -= count;
    }
}

impl SendOp {
    /// The most parts that one send takes: the kernel's UIO_MAXIOV. What is beyond is left, like any short send.
    pub const MOST_PARTS: usize = 1024;

    /// A send on `fd` with room for `parts` parts before its vectors grow.
    pub fn new(fd: RawFd, parts: usize) -> Box<Self> {
        let message = Message::new(parts.min(Self::MOST_PARTS));
        let (headers, parts) = (Vec::new(), Vec::with_capacity(parts));
        let (number, zero_copy, most, taken) = (0, false, usize::MAX, 0);
        let (total, gone, next, into) = (0, 0, 0, 0);
        Box::new(Self {
            fd,
            number,
            zero_copy,
            most,
            taken,
            headers,
            parts,
            total,
            gone,
            next,
            into,
            message,
        })
    }

    /// Appends bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (start, added) = (self.headers.len() as u32, bytes.len() as u32);
        self.headers.extend_from_slice(bytes);
        self.total += bytes.len();
        match self.parts.last_mut() {
            Some(Part::Header { at, len }) if *at + *len == start => *len += added,
            _ => self.parts.push(Part::Header { at: start, len: added }),
        }
    }

    /// Appends the bytes of a place, as they are when they leave.
    #[inline]
    pub fn put_place(&mut self, place: Place) {
        self.total += place.len as usize;
        self.parts.push(Part::Place(place));
    }

    /// Bytes that were put by value.
    pub fn headers(&self) -> usize {
        self.headers.len()
    }

    /// Bytes of memory that its contents take: those, and the list of its parts.
    #[inline]
    pub fn memory(&self) -> usize {
        self.headers.len() + self.parts.len() * size_of::<Part>()
    }

    /// Bytes not yet sent.
    pub fn remaining(&self) -> usize {
        self.total - self.gone
    }

    /// Notes that `sent` more bytes are gone. True when nothing remains.
    pub fn advance(&mut self, sent: usize) -> bool {
        self.gone += sent;
        let mut left = self.into as usize + sent;
        while let Some(len) = self.parts.get(self.next).map(|part| part.len() as usize)
            && left >= len
        {
            left -= len;
            self.next += 1;
        }
        self.into = left as u32;
        self.gone == self.total
    }

    /// Empties it for the next batch; the vectors keep their room.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.parts.clear();
        self.total = 0;
        self.gone = 0;
        self.next = 0;
        self.into = 0;
        self.zero_copy = false;
        self.most = usize::MAX;
    }

    /// Gives back room beyond that many bytes of headers and that many parts.
    pub fn shrink(&mut self, headers: usize, parts: usize) {
        if self.headers.capacity() > headers {
            self.headers.shrink_to(headers);
        }
        if self.parts.capacity() > parts {
            self.parts.shrink_to(parts);
        }
        if self.message.slices.capacity() > parts {
            self.message.slices.clear();
            self.message.slices.shrink_to(parts);
        }
    }

    /// Parts of it.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of headers for which it keeps room.
    pub fn room_for_headers(&self) -> usize {
        self.headers.capacity()
    }

    /// Parts for which it keeps room.
    pub fn room_for_parts(&self) -> usize {
        self.parts.capacity().max(self.message.slices.capacity())
    }

    /// The stretches that are to be sent now, at most [`SendOp::MOST_PARTS`].
    pub(super) fn unsent(&self) -> impl Iterator<Item = Part> + '_ {
        let (mut into, mut left) = (self.into, self.most);
        let cut = move |part: &Part| {
            let part = (left > 0).then(|| part.after(std::mem::take(&mut into)).first(left))?;
            left -= part.len() as usize;
            Some(part)
        };
        let parts = self.parts[self.next..].iter().map_while(cut);
        parts.filter(|part| part.len() > 0).take(Self::MOST_PARTS)
    }

    /// The places among what is still to be sent.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.unsent().filter_map(|part| match part {
            Part::Place(place) => Some(place),
            Part::Header { .. } => None,
        })
    }

    /// The bytes of a header stretch.
    pub(super) fn header(&self, at: u32, len: u32) -> &[u8] {
        &self.headers[at as usize..(at + len) as usize]
    }
}

impl fmt::Debug for RecvOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, into, filled, .. } = self;
        write!(f, "RecvOp {{ fd: {fd}, into: {into:?}, filled: {filled} }}")
    }
}

impl fmt::Debug for SendOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, parts, gone, .. } = self;
        write!(f, "SendOp {{ fd: {fd}, parts: {parts:?}, gone: {gone} }}")
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
    /// After a send without copies: the kernel has copied all the same.
    pub copied: bool,
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
        send.put(&[1; 40]);
        send.put(&[2; 8]);
        send.put_place(Place::pool(4096, 100));
        send.put(&[3; 4]);
        assert_eq!(send.remaining(), 152);
        assert!(!send.advance(50));
        let (body, tail) = (Part::Place(Place::pool(4098, 98)), Part::Header { at: 48, len: 4 });
        assert_eq!(send.unsent().collect::<Vec<_>>(), [body, tail]);
        assert_eq!(send.places().collect::<Vec<_>>(), [Place::pool(4098, 98)]);
        assert!(!send.advance(98));
        assert_eq!(send.unsent().collect::<Vec<_>>(), [tail]);
        assert_eq!(send.header(48, 4), [3; 4]);
        assert!(send.advance(4));
        assert_eq!(send.unsent().count(), 0);
        send.clear();
        assert_eq!((send.remaining(), send.headers()), (0, 0));
    }

    #[test]
    fn a_piece_of_a_message_ends_where_it_is_to() {
        let mut send = SendOp::new(3, 4);
        send.put(&[1; 48]);
        send.put_place(Place::pool(4096, 100));
        send.put(&[3; 4]);
        send.most = 60;
        let (header, body) = (Part::Header { at: 0, len: 48 }, |at, len| Part::Place(Place::pool(at, len)));
        assert_eq!(send.unsent().collect::<Vec<_>>(), [header, body(4096, 12)]);
        assert!(!send.advance(60));
        assert_eq!(send.unsent().collect::<Vec<_>>(), [body(4108, 60)]);
        send.advance(60);
        assert_eq!(send.unsent().collect::<Vec<_>>(), [body(4168, 28), Part::Header { at: 48, len: 4 }]);
        send.most = 28;
        assert_eq!(send.unsent().collect::<Vec<_>>(), [body(4168, 28)]);
    }

    #[test]
    fn a_long_message_in_small_sends_is_looked_through_once() {
        let mut send = SendOp::new(3, 4);
        let parts = 200_000;
        (0..parts).for_each(|n| send.put_place(Place::pool(n * 4096, 8)));
        let mut seen = 0;
        while send.remaining() > 0 {
            let first = send.unsent().next().expect("something is left");
            assert_eq!(first, Part::Place(Place::pool(seen / 8 * 4096, 8).after((seen % 8) as u32)));
            seen += 12.min(send.remaining() as u64);
            send.advance(12.min(send.remaining()));
            assert_eq!(send.next as u64, seen / 8);
        }
        send.clear();
        send.shrink(0, 16);
        assert!(send.room_for_parts() < 32 && send.unsent().next().is_none());
    }

    #[test]
    fn received_bytes_fill_the_payload_first() {
        let mut recv = RecvOp::new(3, 100);
        assert_eq!(recv.received(60), (0, 60));
        recv.into = Some(Place::pool(4096, 50));
        assert_eq!(recv.wanted(), 150);
        assert_eq!(recv.received(60), (50, 10));
        assert_eq!(recv.received(20), (20, 0));
    }

    #[test]
    fn staging_keeps_what_was_not_used() {
        let mut recv = RecvOp::new(3, 8);
        recv.room_mut()[..5].copy_from_slice(b"hello");
        recv.filled += 5;
        recv.consume(2);
        assert_eq!(recv.staged(), b"llo");
        assert_eq!(recv.wanted(), 5);
        recv.most = 4;
        assert_eq!(recv.wanted(), 1);
        recv.consume(3);
        assert_eq!((recv.staged(), recv.wanted()), (&b""[..], 4));
    }
}

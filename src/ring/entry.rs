//! From an operation to the kernel's form of it.
//!
//! Owns: which opcode, address and flags an operation becomes. Promises: every address is that of a checked
//! place, of an operation in the in-flight table or of a box that it owns. Refuses to know: queues.

use std::ptr;
use std::sync::Arc;

use io_uring::opcode as op;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, FsyncFlags};

use super::op::{File, Kind, Message, Part, RecvOp, SendOp};
use super::ublk;
use crate::mem::{Place, Region, RegionId};

/// Registered buffers are pieces of this size, the kernel's limit: `off >> PIECE_BITS` is the index.
pub(super) const PIECE_BITS: u32 = 30;
/// Discard by command, `_IO(0x12, 0)`: the start travels in `addr`, the length in the first half of the command.
const BLOCK_DISCARD: u32 = 0x1200;
/// A send goes on until all is sent (see [`Driver::delivered`](super::Driver::delivered)), and a vanished peer is an error instead of a signal.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
/// IORING_SEND_ZC_REPORT_USAGE: the last completion tells whether there was a copy after all.
const REPORT_USAGE: u16 = 1 << 3;

/// Where the regions are.
#[derive(Debug)]
pub(super) struct Addresses {
    own: Arc<Region>,
    shared: Vec<Option<Arc<Region>>>,
}

impl Addresses {
    pub(super) fn new(own: Arc<Region>) -> Self {
        Self { own, shared: Vec::new() }
    }

    /// The reactor's own region.
    pub(super) fn own(&self) -> &Region {
        &self.own
    }

    pub(super) fn attach(&mut self, id: RegionId, region: Option<Arc<Region>>) {
        let index = usize::from(id.0);
        if self.shared.len() <= index {
            self.shared.resize(index + 1, None);
        }
        self.shared[index] = region;
    }

    #[inline]
    pub(super) fn of(&self, place: Place) -> *mut u8 {
        if place.region == RegionId::POOL {
            return self.own.address(place);
        }
        let region = self.shared.get(usize::from(place.region.0)).and_then(Option::as_ref);
        region.expect("an attached region").address(place)
    }

    fn slice(&self, place: Place) -> libc::iovec {
        libc::iovec { iov_base: self.of(place).cast(), iov_len: place.len as usize }
    }
}

/// The number of the buffer in which a place lies, where the reactor's own region is registered with the ring.
#[inline]
pub(super) fn buffer(place: Place, registered: bool) -> Option<u16> {
    (registered && place.region == RegionId::POOL).then_some((place.off >> PIECE_BITS) as u16)
}

impl Message {
    fn point(&mut self) -> *mut libc::msghdr {
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len() as _;
        &raw mut self.header
    }
}

/// Builds the entry for an operation that already lies in the table. `registered`: the ring knows the reactor's own region.
pub(super) fn build(kind: &mut Kind, at: &Addresses, registered: bool) -> Entry {
    match kind {
        Kind::Recv(recv) => receive(recv, at),
        Kind::Send(send) => self::send(send, at),
        Kind::Taken => unreachable!("only handed back"),
        Kind::Read { file, place, offset } => read(*file, *place, *offset, at, registered),
        Kind::Write { file, place, offset, dsync, atomic } => {
            let flags = if *dsync { libc::RWF_DSYNC } else { 0 };
            let flags = if *atomic { flags | libc::RWF_ATOMIC } else { flags };
            write(*file, *place, *offset, flags, at, registered)
        }
        Kind::Accept { listener } => {
            op::Accept::new(Fd(*listener), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
        }
        Kind::Fsync { file, data_only } => sync(*file, *data_only),
        Kind::Fallocate { file, mode, offset, len } => {
            on(*file, op::Fallocate::new(number(*file), *len).offset(*offset).mode(*mode).build())
        }
        Kind::Discard { file, offset, len, .. } => discard(*file, *offset, *len),
        Kind::Serve { queue, tag, answer, place } => ublk::entry(*queue, *tag, *answer, at.of(*place)),
        Kind::Close { fd } => op::Close::new(Fd(*fd)).build(),
    }
}

fn receive(recv: &mut RecvOp, at: &Addresses) -> Entry {
    debug_assert!(recv.wanted() > 0, "a receive of nothing looks like the end of the stream");
    let fd = Fd(recv.fd);
    let room = recv.room_mut();
    let staging = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    match recv.into.filter(|into| !into.is_empty()) {
        None => op::Recv::new(fd, staging.iov_base.cast(), staging.iov_len as u32).build(),
        Some(into) if staging.iov_len == 0 => op::Recv::new(fd, at.of(into), into.len).build(),
        Some(into) => {
            recv.message.slices.clear();
            recv.message.slices.extend([at.slice(into), staging]);
            op::RecvMsg::new(fd, recv.message.point()).build()
        }
    }
}

fn send(send: &mut SendOp, at: &Addresses) -> Entry {
    let mut slices = std::mem::take(&mut send.message.slices);
    slices.clear();
    slices.extend(send.unsent().map(|part| match part {
        Part::Place(place) => at.slice(place),
        // The kernel only reads it: a send has no business with the constness of its bytes.
        Part::Header { at, len } => {
            libc::iovec { iov_base: send.header(at, len).as_ptr().cast_mut().cast(), iov_len: len as usize }
        }
    }));
    send.message.slices = slices;
    let fd = Fd(send.fd);
    if send.zero_copy {
        let message = send.message.point();
        return op::SendMsgZc::new(fd, message).ioprio(REPORT_USAGE).flags(SEND_FLAGS as u32).build();
    }
    match send.message.slices.as_slice() {
        [one] => op::Send::new(fd, one.iov_base.cast(), one.iov_len as u32).flags(SEND_FLAGS).build(),
        _ => op::SendMsg::new(fd, send.message.point()).flags(SEND_FLAGS as u32).build(),
    }
}

fn read(file: File, place: Place, offset: u64, at: &Addresses, registered: bool) -> Entry {
    let (fd, to) = (number(file), at.of(place));
    on(
        file,
        match buffer(place, registered) {
            Some(buffer) => op::ReadFixed::new(fd, to, place.len, buffer).offset(offset).build(),
            None => op::Read::new(fd, to, place.len).offset(offset).build(),
        },
    )
}

/// The kernel takes atomic writes of plain memory only (`generic_atomic_write_valid`), not of registered.
fn write(file: File, place: Place, offset: u64, flags: i32, at: &Addresses, registered: bool) -> Entry {
    let (fd, from) = (number(file), at.of(place).cast_const());
    on(
        file,
        match buffer(place, registered).filter(|_| flags & libc::RWF_ATOMIC == 0) {
            Some(buffer) => {
                op::WriteFixed::new(fd, from, place.len, buffer).offset(offset).rw_flags(flags).build()
            }
            None => op::Write::new(fd, from, place.len).offset(offset).rw_flags(flags).build(),
        },
    )
}

fn sync(file: File, data_only: bool) -> Entry {
    let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
    on(file, op::Fsync::new(number(file)).flags(flags).build())
}

fn discard(file: File, offset: u64, len: u64) -> Entry {
    let mut command = [0; 16];
    command[..8].copy_from_slice(&len.to_ne_bytes());
    on(file, op::UringCmd16::new(number(file), BLOCK_DISCARD).cmd(command).addr(Some(offset)).build())
}

/// A registered file goes by its index, and the flag of [`on`] says so.
pub(super) fn number(file: File) -> Fd {
    Fd(file.slot.map_or(file.fd, |slot| slot as i32))
}

fn on(file: File, entry: Entry) -> Entry {
    if file.slot.is_some() { entry.flags(Flags::FIXED_FILE) } else { entry }
}

//! Operations as commands of an NVMe device, which its generic node (`/dev/ngXnY`) takes as they are.
//!
//! Owns: which operations can be said in one command, the commands, and what their statuses mean. Promises: what is longer
//! than a command may be is begun, and ends short like any short read or write; a status becomes the errno that the
//! block layer has for such a fault, so nobody above need know how it came about. Refuses to know: queues.
//!
//! Names and values are those of the NVM Express Base Specification 2.0 (Status Field Definition) and of the NVM Command
//! Set Specification 1.0 (Read, Write, Write Zeroes, Dataset Management).

use std::os::fd::RawFd;

use io_uring::opcode::UringCmd80;
use io_uring::squeue::{Entry128, Flags};

use super::entry::{Addresses, buffer, number};
use super::{File, Kind};

/// `NVME_URING_CMD_IO` (`linux/nvme_ioctl.h`), `_IOWR('N', 0x80, struct nvme_uring_cmd)`.
const COMMAND_IO: u32 = 0xc048_4e80;

const FLUSH: u8 = 0x00;
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;
const WRITE_ZEROES: u8 = 0x08;
const DATASET_MANAGEMENT: u8 = 0x09;

/// Force Unit Access, in command dword 12.
const FUA: u32 = 1 << 30;
/// Deallocate, in command dword 12 of Write Zeroes.
const DEAC: u32 = 1 << 25;
/// Attribute Deallocate, in command dword 11 of Dataset Management.
const DEALLOCATE: u32 = 1 << 2;

/// What of `fallocate` makes zeroes.
const ZEROING: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;

/// The most blocks that one command names: it counts them by 16 bits, from zero.
const MOST_BLOCKS: u64 = 1 << 16;

/// A namespace of an NVMe device and what can be asked of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its generic node, open for as long as commands may go there.
    pub fd: RawFd,
    /// Its number (NSID).
    pub id: u32,
    /// Its blocks have 2 to this power bytes.
    pub block: u8,
    /// A command transfers at most 2 to this power bytes.
    pub transfer: u8,
    /// A command writes at most 2 to this power bytes of zeroes; zero: there is no such command.
    pub zeroes: u8,
    /// Writing zeroes may deallocate.
    pub deallocates: bool,
}

impl Namespace {
    /// How many of `len` bytes one command transfers.
    fn part(self, len: u32) -> u32 {
        let most = (1u64 << self.transfer).min(MOST_BLOCKS << self.block);
        u32::try_from(most).map_or(len, |most| len.min(most))
    }

    /// Whether so many bytes of zeroes can be written by one command.
    fn zeroes(self, len: u64) -> bool {
        self.zeroes > 0 && len <= (1u64 << self.zeroes).min(MOST_BLOCKS << self.block)
    }

    /// A command for `len` bytes at `offset`.
    fn command(self, opcode: u8, offset: u64, len: u64) -> Command {
        debug_assert!(len > 0, "none would be said as the most");
        let (first, blocks) = (offset >> self.block, len >> self.block);
        let count = (blocks as u32).wrapping_sub(1) & 0xffff;
        let dwords = [first as u32, (first >> 32) as u32, count];
        Command { opcode, namespace: self.id, data: (0, 0), dwords }
    }
}

/// The namespace that gets an operation as a command. Atomic writes are promised by the block layer, and long zeroing is
/// better done there: it makes many commands of it, which run together.
#[inline]
pub(super) fn namespace(kind: &Kind) -> Option<Namespace> {
    match kind {
        Kind::Read { file, .. }
        | Kind::Write { file, atomic: false, .. }
        | Kind::Fsync { file, .. }
        | Kind::Discard { file, .. } => file.namespace(),
        Kind::Fallocate { file, mode, len, .. } if mode & ZEROING != 0 => {
            file.namespace().filter(|namespace| namespace.zeroes(*len))
        }
        _ => None,
    }
}

/// What differs between commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Command {
    opcode: u8,
    namespace: u32,
    /// Where its data are, and how many bytes.
    data: (u64, u32),
    /// Command dwords 10 to 12.
    dwords: [u32; 3],
}

impl Command {
    /// With these bits in command dword 12, too.
    fn with(mut self, bits: u32) -> Self {
        self.dwords[2] |= bits;
        self
    }

    /// `struct nvme_uring_cmd`: in its first 64 bytes the command, but for its identifier and with a plain address and
    /// a length where the data pointer is.
    fn bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[0] = self.opcode;
        bytes[4..8].copy_from_slice(&self.namespace.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.data.0.to_ne_bytes());
        bytes[36..40].copy_from_slice(&self.data.1.to_ne_bytes());
        for (at, dword) in bytes[40..52].chunks_exact_mut(4).zip(self.dwords) {
            at.copy_from_slice(&dword.to_ne_bytes());
        }
        bytes
    }
}

/// A range of Dataset Management, as the device reads it: context attributes, number of blocks, first block.
fn range(namespace: Namespace, offset: u64, len: u64) -> [u64; 2] {
    [((len >> namespace.block) << 32).to_le(), (offset >> namespace.block).to_le()]
}

/// Builds the entry for an operation that already lies in the table and has a [`namespace`].
pub(super) fn build(kind: &mut Kind, at: &Addresses, registered: bool) -> Entry128 {
    let Some((file, command)) = command(kind, at) else { unreachable!("no command") };
    let buffer = kind.place().and_then(|place| buffer(place, registered));
    let entry = UringCmd80::new(number(file), COMMAND_IO).cmd(command.bytes()).buf_index(buffer).build();
    if file.slot.is_some() { entry.flags(Flags::FIXED_FILE) } else { entry }
}

/// The command for an operation, and where it goes.
fn command(kind: &mut Kind, at: &Addresses) -> Option<(File, Command)> {
    let namespace = namespace(kind)?;
    Some(match kind {
        Kind::Read { file, place, offset } => {
            (*file, transfer(namespace, READ, *offset, place.len, at.of(*place)))
        }
        Kind::Write { file, place, offset, dsync, .. } => {
            let command = transfer(namespace, WRITE, *offset, place.len, at.of(*place));
            (*file, command.with(if *dsync { FUA } else { 0 }))
        }
        Kind::Discard { file, offset, len, room } => {
            *room = range(namespace, *offset, *len);
            let data = (room.as_ptr() as u64, size_of_val(room) as u32);
            let (opcode, dwords) = (DATASET_MANAGEMENT, [0, DEALLOCATE, 0]);
            (*file, Command { opcode, namespace: namespace.id, data, dwords })
        }
        Kind::Fallocate { file, mode, offset, len } => {
            let unmap = *mode & libc::FALLOC_FL_PUNCH_HOLE != 0 && namespace.deallocates;
            let command = namespace.command(WRITE_ZEROES, *offset, *len);
            (*file, command.with(if unmap { DEAC } else { 0 }))
        }
        Kind::Fsync { file, .. } => {
            (*file, Command { opcode: FLUSH, namespace: namespace.id, data: (0, 0), dwords: [0; 3] })
        }
        _ => return None,
    })
}

fn transfer(namespace: Namespace, opcode: u8, offset: u64, len: u32, at: *mut u8) -> Command {
    let len = namespace.part(len);
    Command { data: (at as u64, len), ..namespace.command(opcode, offset, len.into()) }
}

/// What a command has come to, as a read, a write or another call would tell it: bytes, zero, or a negative errno;
/// EOPNOTSUPP means that the block layer may be asked instead. `result` is the driver's: an errno, or a status.
pub(super) fn result(kind: &Kind, result: i32) -> i32 {
    // The driver refuses: in general, or because there is no path to the device just now (EINVAL).
    const REFUSALS: [i32; 4] = [-libc::EINVAL, -libc::ENOTTY, -libc::EACCES, -libc::EPERM];
    match (result, kind) {
        (1.., _) => -errno(result as u16),
        (0, Kind::Read { file, place, .. } | Kind::Write { file, place, .. }) => {
            file.namespace().map_or(place.len, |namespace| namespace.part(place.len)) as i32
        }
        _ if REFUSALS.contains(&result) => -libc::EOPNOTSUPP,
        _ => result,
    }
}

/// Whether the block layer is to do what has ended so: what is refused, and what a reset of the controller has cut off. It
/// repeats that, and knows how often.
pub(super) fn is_for_block_layer(result: i32) -> bool {
    [-libc::EOPNOTSUPP, -libc::EINTR].contains(&result)
}

/// Status code type and status code, without what says whether to repeat the command.
const CODE: u16 = 0x7ff;

/// The errno for a status, which [`crate::store`] turns into sense data.
fn errno(status: u16) -> i32 {
    match status & CODE {
        // Generic: Invalid Command Opcode, Invalid Field in Command; Command Size Limit Exceeded (command specific).
        0x001 | 0x002 | 0x183 => libc::EOPNOTSUPP,
        // Data Transfer Error, Internal Error.
        0x004 | 0x006 => libc::EREMOTEIO,
        // Aborted: power loss, abort requested, queue deleted, failed or missing fused command.
        0x005 | 0x007..=0x00a => libc::ETIMEDOUT,
        // Invalid Namespace or Format.
        0x00b => libc::ENXIO,
        // Sanitize Failed, Sanitize In Progress; Namespace Not Ready, Format In Progress.
        0x01c | 0x01d | 0x082 | 0x084 => libc::ENOMEDIUM,
        // Namespace is Write Protected; Attempted Write to Read Only Range (command specific); Access Denied (media).
        0x020 | 0x182 | 0x286 => libc::EROFS,
        // Command Interrupted, Transient Transport Error.
        0x021 | 0x022 => libc::ETIMEDOUT,
        // LBA Out of Range: an errno that no device operation has otherwise.
        0x080 => libc::ERANGE,
        // Capacity Exceeded.
        0x081 => libc::ENOSPC,
        // Reservation Conflict.
        0x083 => libc::EBADE,
        // Media and data integrity errors: end-to-end checks, everything else.
        0x282..=0x284 => libc::EILSEQ,
        0x280..=0x2ff => libc::ENODATA,
        // Path related: the path, the controller or the host has given up, not the medium.
        0x300..=0x3ff => libc::ENOLINK,
        _ => libc::EREMOTEIO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Way;
    use super::*;
    use crate::mem::{Pages, Place, Region};

    /// Blocks of 512 bytes, 128 KiB at a time, 64 KiB of zeroes.
    const NS: Namespace =
        Namespace { fd: 9, id: 0x0403_0201, block: 9, transfer: 17, zeroes: 16, deallocates: true };
    /// A block whose number needs both dwords.
    const FAR: u64 = 0x0011_2233_4455 << 9;

    fn file(namespace: Namespace) -> File {
        File { fd: 8, slot: Some(3), way: Way::Passthrough(namespace) }
    }

    fn region() -> Addresses {
        Addresses::new(Arc::new(Region::new(1 << 20, Pages::Transparent).unwrap()))
    }

    /// The dwords of the command for an operation, but for those that say where its data are; and those.
    fn said(mut kind: Kind, at: &Addresses) -> ([u32; 16], u64) {
        let bytes = command(&mut kind, at).unwrap().1.bytes();
        assert_eq!(bytes[64..], [0; 16], "no timeout of its own");
        let mut dwords = [0; 16];
        for (dword, bytes) in dwords.iter_mut().zip(bytes.as_chunks().0) {
            *dword = u32::from_le_bytes(*bytes);
        }
        let data = u64::from(dwords[7]) << 32 | u64::from(dwords[6]);
        (dwords[6], dwords[7]) = (0, 0);
        (dwords, data)
    }

    #[test]
    fn reads_and_writes_name_blocks_and_memory() {
        let (at, file, place) = (region(), file(NS), Place::pool(8192, 4096));
        let (read, data) = said(Kind::Read { file, place, offset: FAR }, &at);
        // Dword 9 is the length in bytes; 10 and 11 the first block; 12 the number of blocks, less one.
        assert_eq!(read, [2, 0x0403_0201, 0, 0, 0, 0, 0, 0, 0, 4096, 0x2233_4455, 0x11, 7, 0, 0, 0]);
        assert_eq!(data, at.own().base() as u64 + 8192);
        let write = |dsync| said(Kind::Write { file, place, offset: 1024, dsync, atomic: false }, &at).0;
        assert_eq!(write(false), [1, 0x0403_0201, 0, 0, 0, 0, 0, 0, 0, 4096, 2, 0, 7, 0, 0, 0]);
        assert_eq!(write(true)[12], 0x4000_0007, "Force Unit Access");
    }

    #[test]
    fn long_transfers_are_begun_and_end_short() {
        let (at, place) = (region(), Place::pool(0, 256 << 10));
        let mut kind = Kind::Read { file: file(NS), place, offset: 0 };
        let (dwords, _) = said(Kind::Read { file: file(NS), place, offset: 0 }, &at);
        assert_eq!((dwords[9], dwords[12]), (128 << 10, 255));
        assert_eq!(result(&kind, 0), 128 << 10);
        let wide = Namespace { block: 12, transfer: 31, ..NS };
        let (dwords, _) = said(Kind::Read { file: file(wide), place, offset: 8192 }, &at);
        assert_eq!((dwords[9], dwords[10], dwords[12]), (256 << 10, 2, 63));
        kind.file().unwrap().way = Way::Passthrough(wide);
        assert_eq!(result(&kind, 0), 256 << 10);
        assert_eq!(Namespace { transfer: 31, ..NS }.part(u32::MAX), 32 << 20, "65536 blocks");
    }

    #[test]
    fn flushes_name_the_namespace_only() {
        let (flush, data) = said(Kind::Fsync { file: file(NS), data_only: true }, &region());
        assert_eq!((flush[..2].to_vec(), &flush[2..], data), (vec![0, 0x0403_0201], &[0; 14][..], 0));
    }

    #[test]
    fn discards_are_one_range() {
        let mut kind = Kind::Discard { file: file(NS), offset: FAR, len: 1 << 30, room: [0; 2] };
        let command = command(&mut kind, &region()).unwrap().1;
        let Kind::Discard { room, .. } = &kind else { unreachable!() };
        assert_eq!(
            (command.opcode, command.dwords, command.data),
            (9, [0, 4, 0], (room.as_ptr() as u64, 16))
        );
        let bytes: Vec<u8> = room.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0x20, 0, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0]);
    }

    #[test]
    fn zeroes_that_fit_in_one_command_are_written_by_it() {
        let zero = |namespace, mode, len| Kind::Fallocate { file: file(namespace), mode, offset: 4096, len };
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let twelve = |namespace, mode| said(zero(namespace, mode, 65536), &region()).0[10..13].to_vec();
        assert_eq!(said(zero(NS, punch, 65536), &region()).0[0], 8);
        assert_eq!(twelve(NS, punch), [8, 0, 0x0200_007f], "Deallocate");
        assert_eq!(twelve(NS, libc::FALLOC_FL_ZERO_RANGE), [8, 0, 0x7f]);
        assert_eq!(twelve(Namespace { deallocates: false, ..NS }, punch), [8, 0, 0x7f]);
        assert_eq!(namespace(&zero(NS, punch, 65536 + 512)), None, "the block layer makes several");
        assert_eq!(namespace(&zero(NS, 0, 512)), None, "that is to change nothing");
        assert_eq!(namespace(&zero(Namespace { zeroes: 0, ..NS }, punch, 512)), None, "no such command");
    }

    #[test]
    fn what_commands_cannot_promise_goes_another_way() {
        let place = Place::pool(0, 4096);
        let write = |way, atomic| {
            let file = File { way, ..file(NS) };
            namespace(&Kind::Write { file, place, offset: 0, dsync: false, atomic })
        };
        assert_eq!(write(Way::Passthrough(NS), false), Some(NS));
        assert_eq!(write(Way::Passthrough(NS), true), None);
        assert_eq!(write(Way::Direct, false), None);
        assert_eq!(namespace(&Kind::Close { fd: 3 }), None);
    }

    #[test]
    fn statuses_are_told_as_the_errno_of_such_a_fault() {
        let kind = Kind::Fsync { file: file(NS), data_only: true };
        let table = [
            (0x001, libc::EOPNOTSUPP),
            (0x006, libc::EREMOTEIO),
            (0x007, libc::ETIMEDOUT),
            (0x00b, libc::ENXIO),
            (0x020, libc::EROFS),
            (0x080, libc::ERANGE),
            (0x081, libc::ENOSPC),
            (0x082, libc::ENOMEDIUM),
            (0x083, libc::EBADE),
            (0x182, libc::EROFS),
            (0x280, libc::ENODATA),
            (0x281, libc::ENODATA),
            (0x282, libc::EILSEQ),
            (0x286, libc::EROFS),
            (0x371, libc::ENOLINK),
            (0x7c0, libc::EREMOTEIO),
        ];
        for (status, errno) in table {
            assert_eq!(result(&kind, status), -errno, "{status:#x}");
            assert_eq!(result(&kind, status | 0x4000), -errno, "{status:#x}, Do Not Retry");
        }
        assert_eq!(result(&kind, 0), 0);
    }

    #[test]
    fn refusals_lead_to_the_block_layer_and_the_rest_is_as_it_is() {
        let kind = Kind::Read { file: file(NS), place: Place::pool(0, 512), offset: 0 };
        for errno in [libc::EOPNOTSUPP, libc::EINVAL, libc::EACCES, libc::EPERM, libc::ENOTTY] {
            assert!(is_for_block_layer(result(&kind, -errno)));
        }
        // The controller was reset.
        assert!(is_for_block_layer(result(&kind, -libc::EINTR)));
        for errno in [libc::EAGAIN, libc::ENODEV, libc::EIO, libc::ENOMEM] {
            assert_eq!(result(&kind, -errno), -errno);
            assert!(!is_for_block_layer(-errno));
        }
    }
}

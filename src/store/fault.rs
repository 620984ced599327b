//! What the kernel's answers to disk operations mean.
//!
//! One table of errno values, after the block layer's own (`block/blk-core.c`: each block status has
//! one errno). The session turns a [`Fault`] into sense data; nothing below it sees an errno.

use std::fmt;

/// Which way data was to go; the same errno is a read error or a write error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the medium.
    Read,
    /// To the medium: writes, flushes, discards, zeroing.
    Write,
}

/// Why an operation on a store failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The medium gave no data: MEDIUM ERROR, unrecovered read error (11h/00h).
    Read,
    /// The medium took no data: MEDIUM ERROR, write error (0Ch/00h).
    Write,
    /// No space behind a thin store: DATA PROTECT, space allocation failed (27h/07h).
    NoSpace,
    /// The range, or a part of it, lies beyond the end: ILLEGAL REQUEST, LBA out of range (21h/00h).
    Beyond,
    /// The device or the file's server went away: NOT READY.
    Gone,
    /// The store is, or became, read-only: DATA PROTECT, write protected (27h/00h).
    Protected,
    /// Somebody else's reservation on the device below: RESERVATION CONFLICT status.
    Reserved,
    /// The device reported a failure of its own: HARDWARE ERROR, internal target failure (44h/00h).
    Hardware,
    /// Worth repeating as it is, such as a path that is failing over: ABORTED COMMAND.
    Transient,
    /// The kernel lacks memory or a resource just now: BUSY status.
    Busy,
    /// The operation was cancelled on request and may or may not have happened.
    Cancelled,
    /// The store cannot do this operation at all.
    Unsupported,
    /// None of the known reasons: HARDWARE ERROR. The errno is for the log.
    Other(i32),
}

/// What a completed read or write amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// All of it was transferred.
    Done,
    /// This many bytes were, a whole number of blocks and more than none; ask for the rest.
    Short(u32),
    /// Nothing happened; ask again.
    Retry,
    /// It failed.
    Fault(Fault),
}

/// Judges the result of a read or write of `wanted` bytes (`result`: bytes or negative errno) on
/// a store with blocks of `block` bytes.
pub fn judge(direction: Direction, result: i32, wanted: u32, block: u32) -> Progress {
    let Ok(moved) = u32::try_from(result) else { return judge_errno(direction, result) };
    if moved >= wanted {
        return Progress::Done;
    }
    // Direct I/O cannot go on in the middle of a block: a torn one is asked for again.
    match moved - moved % block.max(1) {
        // At the end of a file or device that has shrunk beneath us, or stuck.
        0 => Progress::Fault(direction.fault()),
        whole => Progress::Short(whole),
    }
}

/// Judges the result of an operation that moves no data.
pub fn judge_plain(result: i32) -> Progress {
    if result >= 0 { Progress::Done } else { judge_errno(Direction::Write, result) }
}

fn judge_errno(direction: Direction, result: i32) -> Progress {
    // Not plain negation: the most negative number has no opposite.
    match result.saturating_neg() {
        libc::EINTR | libc::EAGAIN => Progress::Retry,
        errno => Progress::Fault(Fault::from_errno(direction, errno)),
    }
}

impl Direction {
    fn fault(self) -> Fault {
        match self {
            Self::Read => Fault::Read,
            Self::Write => Fault::Write,
        }
    }
}

impl Fault {
    /// The meaning of a (positive) errno from an operation in that direction.
    pub fn from_errno(direction: Direction, errno: i32) -> Self {
        match errno {
            // EIO: anything; ENODATA: the medium; EILSEQ: its protection information.
            libc::EIO | libc::ENODATA | libc::EILSEQ => direction.fault(),
            libc::ENOSPC | libc::EDQUOT => Self::NoSpace,
            libc::ENODEV | libc::ENXIO | libc::ENOMEDIUM | libc::ESHUTDOWN | libc::ESTALE => Self::Gone,
            // Not the block layer's: that is how the ring tells it of NVMe.
            libc::ERANGE => Self::Beyond,
            libc::EROFS | libc::EPERM | libc::EACCES => Self::Protected,
            libc::EBADE => Self::Reserved,
            libc::EREMOTEIO => Self::Hardware,
            libc::ETIMEDOUT | libc::ENOLINK | libc::ETIME => Self::Transient,
            libc::ENOMEM | libc::EBUSY => Self::Busy,
            libc::ECANCELED => Self::Cancelled,
            libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY => Self::Unsupported,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "unrecovered read error",
            Self::Beyond => "beyond the end",
            Self::Write => "write error",
            Self::NoSpace => "no space left",
            Self::Gone => "the device is gone",
            Self::Protected => "write protected",
            Self::Reserved => "reserved by another host",
            Self::Hardware => "the device reports a failure",
            Self::Transient => "a passing failure",
            Self::Busy => "out of resources",
            Self::Cancelled => "cancelled",
            Self::Unsupported => "not supported",
            Self::Other(errno) => return write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_have_their_meaning() {
        use Direction::{Read, Write};
        let table = [
            (Read, libc::EIO, Fault::Read),
            (Write, libc::EIO, Fault::Write),
            (Read, libc::ENODATA, Fault::Read),
            (Write, libc::ENODATA, Fault::Write),
            (Read, libc::EILSEQ, Fault::Read),
            (Write, libc::ENOSPC, Fault::NoSpace),
            (Write, libc::EDQUOT, Fault::NoSpace),
            (Read, libc::ENODEV, Fault::Gone),
            (Read, libc::ENXIO, Fault::Gone),
            (Write, libc::ENOMEDIUM, Fault::Gone),
            (Read, libc::ESTALE, Fault::Gone),
            (Read, libc::ERANGE, Fault::Beyond),
            (Write, libc::EROFS, Fault::Protected),
            (Write, libc::EPERM, Fault::Protected),
            (Read, libc::EBADE, Fault::Reserved),
            (Read, libc::EREMOTEIO, Fault::Hardware),
            (Read, libc::ETIMEDOUT, Fault::Transient),
            (Write, libc::ENOLINK, Fault::Transient),
            (Write, libc::ENOMEM, Fault::Busy),
            (Write, libc::ECANCELED, Fault::Cancelled),
            (Write, libc::EOPNOTSUPP, Fault::Unsupported),
            (Write, libc::EINVAL, Fault::Other(libc::EINVAL)),
        ];
        for (direction, errno, fault) in table {
            assert_eq!(Fault::from_errno(direction, errno), fault, "errno {errno}");
        }
    }

    #[test]
    fn transfers_are_judged_by_whole_blocks() {
        let read = |result| judge(Direction::Read, result, 8192, 512);
        assert_eq!(read(8192), Progress::Done);
        assert_eq!(read(4096), Progress::Short(4096));
        assert_eq!(read(4097), Progress::Short(4096));
        assert_eq!(read(511), Progress::Fault(Fault::Read));
        assert_eq!(read(0), Progress::Fault(Fault::Read));
        assert_eq!(read(-libc::EINTR), Progress::Retry);
        assert_eq!(read(-libc::EAGAIN), Progress::Retry);
        assert_eq!(read(-libc::EIO), Progress::Fault(Fault::Read));
        assert_eq!(judge(Direction::Write, 0, 512, 512), Progress::Fault(Fault::Write));
        assert_eq!(read(i32::MIN), Progress::Fault(Fault::Other(i32::MAX)));
    }

    #[test]
    fn plain_operations_succeed_or_say_why() {
        assert_eq!(judge_plain(0), Progress::Done);
        assert_eq!(judge_plain(-libc::EOPNOTSUPP), Progress::Fault(Fault::Unsupported));
    }

    #[test]
    fn an_unknown_errno_is_named_in_the_log() {
        assert!(Fault::Other(libc::EINVAL).to_string().contains("Invalid argument"));
    }
}

//! From what the block layer asks to SCSI, and back.
//!
//! Owns: which command a request becomes, and what becomes of it by the answer. Promises: errors are those that Linux' own
//! SCSI disks have (`scsi_check_sense`), so that file systems see no difference. Refuses to know: sessions, time.

use crate::initiator::{Command, Direction, Done, Stretch, cdb};
use crate::ring::ublk::{Asked, Request};
use crate::scsi::status;
use crate::wire::codes::ServiceResponse;

/// Sectors of the block layer are of 2 to this power bytes, whatever a disk's blocks are.
const SECTOR_SHIFT: u8 = 9;

/// What becomes of a request by the answer to its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ends with so many bytes, or a negative errno.
    Ends(i32),
    /// The target has told something else, and has not begun: the same command is sent again.
    Again,
    /// It cannot be done now, and may be soon.
    Later,
}

/// The command for a request, whose data lie, or go, at `at`. None: there is none for it.
pub(super) fn command(request: &Request, block_shift: u8, at: u32) -> Option<Command> {
    let shift = block_shift - SECTOR_SHIFT;
    let (lba, blocks) = (request.start >> shift, request.sectors >> shift);
    let stretch = Stretch { at, len: bytes(request) as u32 };
    let none = (Direction::None, Vec::new());
    let (cdb, (direction, buffer)) = match request.asked {
        Asked::Read => (cdb::read(lba, blocks), (Direction::Into(stretch), Vec::new())),
        Asked::Write { durable: false } => (cdb::write(lba, blocks), (Direction::From(stretch), Vec::new())),
        Asked::Write { durable: true } => {
            (cdb::write_fua(lba, blocks), (Direction::From(stretch), Vec::new()))
        }
        Asked::Flush => (cdb::synchronize_cache_10(), none),
        Asked::Discard => {
            let list = cdb::unmap_list(lba, blocks);
            (cdb::unmap(list.len() as u16), (Direction::Out, list))
        }
        Asked::WriteZeroes { unmap } => (cdb::write_zeroes(lba, blocks, unmap), none),
        Asked::Unknown => return None,
    };
    Some(Command { lun: 0, cdb, direction, buffer, user: 0 })
}

/// Bytes that a request covers.
fn bytes(request: &Request) -> u64 {
    u64::from(request.sectors) << SECTOR_SHIFT
}

/// Bytes that it moves: what the block layer wants to hear when all is well.
fn moved(request: &Request) -> i32 {
    match request.asked {
        Asked::Read | Asked::Write { .. } => bytes(request) as i32,
        _ => 0,
    }
}

/// What becomes of a request whose command has ended so.
pub(super) fn judge(request: &Request, done: &Done) -> Verdict {
    if done.response != ServiceResponse::COMPLETED {
        return Verdict::Later;
    }
    match done.status {
        status::GOOD if done.residual != 0 => Verdict::Ends(-libc::EIO),
        status::GOOD => Verdict::Ends(moved(request)),
        status::BUSY | status::TASK_SET_FULL | status::TASK_ABORTED => Verdict::Later,
        status::RESERVATION_CONFLICT => Verdict::Ends(-libc::EBADE),
        status::CHECK_CONDITION => done.sense_code().map_or(Verdict::Ends(-libc::EIO), by_sense),
        _ => Verdict::Ends(-libc::EIO),
    }
}

/// By sense key, additional sense code and its qualifier (SPC-5 section 4.4).
fn by_sense((key, asc, ascq): (u8, u8, u8)) -> Verdict {
    match (key, asc, ascq) {
        (0x06, ..) => Verdict::Again,
        // NOT READY, ABORTED COMMAND; and RECOVERED ERROR: it was done, but what was moved is told by GOOD alone.
        (0x01 | 0x02 | 0x0b, ..) => Verdict::Later,
        (0x03, ..) => Verdict::Ends(-libc::ENODATA),
        // INVALID COMMAND OPERATION CODE, INVALID FIELD IN CDB: of what the disk was said to do it cannot do this.
        (0x05, 0x20 | 0x24, _) => Verdict::Ends(-libc::EOPNOTSUPP),
        (0x05, ..) => Verdict::Ends(-libc::EREMOTEIO),
        // SPACE ALLOCATION FAILED WRITE PROTECT.
        (0x07, 0x27, 0x07) => Verdict::Ends(-libc::ENOSPC),
        (0x07, ..) => Verdict::Ends(-libc::EROFS),
        _ => Verdict::Ends(-libc::EIO),
    }
}

#[cfg(test)]
pub(in crate::loopback) mod tests {
    use super::*;
    use crate::initiator::Tag;

    fn request(asked: Asked) -> Request {
        Request { asked, start: 80, sectors: 16 }
    }

    #[test]
    fn a_request_becomes_one_command() {
        let of = |asked| command(&request(asked), 12, 4096).unwrap();
        let all = Stretch { at: 4096, len: 8192 };
        let read = of(Asked::Read);
        assert_eq!((read.cdb, read.direction), (cdb::read(10, 2), Direction::Into(all)));
        let write = of(Asked::Write { durable: false });
        assert_eq!((write.cdb, write.direction), (cdb::write(10, 2), Direction::From(all)));
        assert_eq!(of(Asked::Write { durable: true }).cdb, cdb::write_fua(10, 2));
        let flush = of(Asked::Flush);
        assert_eq!((flush.cdb, flush.direction), (cdb::synchronize_cache_10(), Direction::None));
        let discard = of(Asked::Discard);
        assert_eq!((discard.cdb, discard.direction), (cdb::unmap(24), Direction::Out));
        assert_eq!(discard.buffer, cdb::unmap_list(10, 2));
        assert_eq!(of(Asked::WriteZeroes { unmap: true }).cdb, cdb::write_zeroes(10, 2, true));
        assert!(command(&request(Asked::Unknown), 12, 0).is_none());
        assert_eq!(command(&request(Asked::Read), 9, 0).unwrap().cdb, cdb::read(80, 16));
    }

    pub(in crate::loopback) fn ended(status: u8, sense: &[u8]) -> Done {
        Done {
            tag: Tag(0),
            user: 0,
            response: ServiceResponse::COMPLETED,
            status,
            sense: sense.to_vec(),
            residual: 0,
            received: 0,
            buffer: Vec::new(),
        }
    }

    fn sense(key: u8, asc: u8, ascq: u8) -> Done {
        ended(status::CHECK_CONDITION, &[0x72, key, asc, ascq, 0, 0, 0, 0])
    }

    #[test]
    fn what_is_well_ends_with_what_was_moved() {
        let good = ended(status::GOOD, &[]);
        assert_eq!(judge(&request(Asked::Read), &good), Verdict::Ends(8192));
        assert_eq!(judge(&request(Asked::Flush), &good), Verdict::Ends(0));
        let short = Done { residual: -512, ..good };
        assert_eq!(judge(&request(Asked::Read), &short), Verdict::Ends(-libc::EIO));
    }

    #[test]
    fn errors_are_those_of_scsi_disks() {
        let of = |done: &Done| judge(&request(Asked::Write { durable: false }), done);
        let reserved = ended(status::RESERVATION_CONFLICT, &[]);
        assert_eq!(of(&reserved), Verdict::Ends(-libc::EBADE));
        assert_eq!(of(&ended(status::BUSY, &[])), Verdict::Later);
        assert_eq!(of(&sense(0x06, 0x29, 0x00)), Verdict::Again);
        assert_eq!(of(&sense(0x02, 0x3a, 0x00)), Verdict::Later);
        assert_eq!(of(&sense(0x07, 0x27, 0x07)), Verdict::Ends(-libc::ENOSPC));
        assert_eq!(of(&sense(0x07, 0x27, 0x00)), Verdict::Ends(-libc::EROFS));
        assert_eq!(of(&sense(0x03, 0x11, 0x00)), Verdict::Ends(-libc::ENODATA));
        assert_eq!(of(&sense(0x05, 0x24, 0x00)), Verdict::Ends(-libc::EOPNOTSUPP));
        assert_eq!(of(&sense(0x05, 0x21, 0x00)), Verdict::Ends(-libc::EREMOTEIO));
        assert_eq!(of(&sense(0x04, 0x44, 0x00)), Verdict::Ends(-libc::EIO));
        assert_eq!(of(&ended(status::CHECK_CONDITION, &[])), Verdict::Ends(-libc::EIO));
    }
}

//! Which parts of a store take space.

use std::io;
use std::os::fd::BorrowedFd;

use crate::scsi::Stretch;
use crate::sys;

/// A part of a file that is a hole or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    end: u64,
    is_data: bool,
}

/// How `len` bytes from `offset` on lie, in at most `most` stretches from the beginning. A block of `block` bytes of
/// which any part is data is mapped.
///
/// # Errors
/// The kernel's, when the file system cannot say.
pub(super) fn stretches(
    file: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    block: u64,
    most: usize,
) -> io::Result<Vec<Stretch>> {
    let end = offset + len;
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut at = offset;
    while at < end && stretches.len() <= most {
        let part = part_at(file, at, end)?;
        // A hole begins and ends where whole blocks of it do.
        let until = if part.is_data { part.end.next_multiple_of(block) } else { part.end - part.end % block };
        let mapped = part.is_data || until <= at;
        let until = if until <= at { at + block } else { until }.min(end);
        match stretches.last_mut() {
            Some(last) if last.mapped == mapped => last.len += until - at,
            _ => stretches.push(Stretch { len: until - at, mapped }),
        }
        at = until;
    }
    stretches.truncate(most);
    Ok(stretches)
}

/// Whether there is data at `at`, and where that changes, before `end`.
fn part_at(file: BorrowedFd<'_>, at: u64, end: u64) -> io::Result<Part> {
    let data = match sys::seek(file, at, libc::SEEK_DATA) {
        Ok(data) => data,
        // Nothing but holes up to the end of the file.
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => end,
        Err(e) => return Err(e),
    };
    if data > at {
        return Ok(Part { end: data.min(end), is_data: false });
    }
    Ok(Part { end: sys::seek(file, at, libc::SEEK_HOLE)?.min(end), is_data: true })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A sparse file with data in its second MiB.
    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * MIB).unwrap();
        file.write_all_at(&vec![1; MIB as usize], MIB).unwrap();
        file.sync_all().unwrap();
        file
    }

    fn ask(file: &File, offset: u64, len: u64, block: u64, most: usize) -> Vec<(u64, bool)> {
        let got = stretches(file.as_fd(), offset, len, block, most).unwrap();
        got.iter().map(|s| (s.len, s.mapped)).collect()
    }

    #[test]
    fn holes_and_data_in_turn() {
        let file = file();
        let all = [(MIB, false), (MIB, true), (2 * MIB, false)];
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 9), all);
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 2), all[..2]);
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 1), all[..1]);
        assert_eq!(ask(&file, MIB + 512, MIB, 512, 9), [(MIB - 512, true), (512, false)]);
        assert_eq!(ask(&file, 3 * MIB, MIB, 512, 9), [(MIB, false)]);
    }

    #[test]
    fn what_is_punched_is_a_hole_again() {
        let file = file();
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        sys::fallocate(file.as_fd(), mode, MIB, MIB).unwrap();
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 9), [(4 * MIB, false)]);
    }

    #[test]
    fn a_block_with_any_data_is_mapped() {
        let file = file();
        let block = 3 * MIB / 2;
        assert_eq!(ask(&file, 0, 3 * block, block, 9), [(2 * block, true), (block, false)]);
    }
}

//! Which parts of a store take space.

use std::io;
use std::os::fd::BorrowedFd;

use crate::scsi::{Provisioning, Stretch};
use crate::sys;

/// Extents that are looked at for one answer: a file in a million pieces is told of in several.
const MOST_EXTENTS: usize = 4096;

/// Extents that are asked for at a time.
const BATCH: usize = 128;

/// A part of a file, up to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    end: u64,
    status: Provisioning,
}

/// How `len` bytes from `offset` on lie, or some of them from the beginning, in at most `most` stretches. A block of
/// `block` bytes of which any part is mapped is mapped, and likewise for anchored.
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
    let parts = by_extents(file, offset, end, most).or_else(|_| by_seeking(file, offset, end, most))?;
    Ok(join(&parts, offset, end, block, most))
}

/// By the file system's own list (FIEMAP), which knows what is allocated and was never written.
fn by_extents(file: BorrowedFd<'_>, offset: u64, end: u64, most: usize) -> io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut at, mut looked) = (offset, 0);
    while at < end && looked < MOST_EXTENTS && parts.len() <= most {
        let extents = sys::extents(file, at, end - at, BATCH)?;
        for extent in &extents {
            if extent.start > at {
                push(&mut parts, extent.start.min(end), Provisioning::Deallocated);
            }
            let status = if extent.unwritten { Provisioning::Anchored } else { Provisioning::Mapped };
            at = extent.start.saturating_add(extent.len).clamp(at, end);
            push(&mut parts, at, status);
        }
        looked += extents.len();
        if extents.len() < BATCH && at < end {
            push(&mut parts, end, Provisioning::Deallocated);
            at = end;
        }
    }
    Ok(parts)
}

/// By holes and data, where there is no such list.
fn by_seeking(file: BorrowedFd<'_>, offset: u64, end: u64, most: usize) -> io::Result<Vec<Part>> {
    let (mut parts, mut at) = (Vec::new(), offset);
    while at < end && parts.len() <= most {
        let data = match sys::seek(file, at, libc::SEEK_DATA) {
            Ok(data) => data.min(end),
            // Nothing but holes up to the end of the file.
            Err(e) if e.raw_os_error() == Some(libc::ENXIO) => end,
            Err(e) => return Err(e),
        };
        if data > at {
            push(&mut parts, data, Provisioning::Deallocated);
        }
        at = if data < end { sys::seek(file, data, libc::SEEK_HOLE)?.min(end) } else { end };
        if at > data {
            push(&mut parts, at, Provisioning::Mapped);
        }
    }
    Ok(parts)
}

/// Adds a part, or makes the last one longer.
fn push(parts: &mut Vec<Part>, end: u64, status: Provisioning) {
    match parts.last_mut() {
        Some(last) if last.status == status => last.end = end,
        _ => parts.push(Part { end, status }),
    }
}

/// The parts in whole blocks: of two that meet within a block, the one that takes more has it.
fn join(parts: &[Part], offset: u64, end: u64, block: u64, most: usize) -> Vec<Stretch> {
    let (mut stretches, mut at): (Vec<Stretch>, _) = (Vec::new(), offset);
    for (n, part) in parts.iter().enumerate() {
        let yields = parts.get(n + 1).is_some_and(|next| weight(next.status) > weight(part.status));
        let down = part.end - part.end % block;
        let cut = if yields { down } else { part.end.next_multiple_of(block).min(end) };
        if cut <= at {
            continue;
        }
        let (len, status) = (cut - at, part.status);
        match stretches.last_mut() {
            Some(last) if last.status == status => last.len += len,
            _ => stretches.push(Stretch { len, status }),
        }
        at = cut;
    }
    stretches.truncate(most);
    stretches
}

/// How much a block takes.
fn weight(status: Provisioning) -> u8 {
    match status {
        Provisioning::Deallocated => 0,
        Provisioning::Anchored => 1,
        Provisioning::Mapped => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::Provisioning::{Anchored, Deallocated, Mapped};
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A sparse file with data in its second MiB.
    fn file() -> File {
        let file = tempfile::tempfile_in(".").unwrap();
        file.set_len(4 * MIB).unwrap();
        file.write_all_at(&vec![1; MIB as usize], MIB).unwrap();
        file.sync_all().unwrap();
        file
    }

    fn ask(file: &File, offset: u64, len: u64, block: u64, most: usize) -> Vec<(u64, Provisioning)> {
        let got = stretches(file.as_fd(), offset, len, block, most).unwrap();
        got.iter().map(|s| (s.len, s.status)).collect()
    }

    #[test]
    fn holes_and_data_in_turn() {
        let file = file();
        let all = [(MIB, Deallocated), (MIB, Mapped), (2 * MIB, Deallocated)];
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 9), all);
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 2), all[..2]);
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 1), all[..1]);
        assert_eq!(ask(&file, MIB + 512, MIB, 512, 9), [(MIB - 512, Mapped), (512, Deallocated)]);
        assert_eq!(ask(&file, 3 * MIB, MIB, 512, 9), [(MIB, Deallocated)]);
    }

    #[test]
    fn seeking_tells_the_same_but_for_what_is_anchored() {
        let file = file();
        let parts = |way: fn(BorrowedFd<'_>, u64, u64, usize) -> io::Result<Vec<Part>>| {
            way(file.as_fd(), 512, 4 * MIB, 9).unwrap()
        };
        assert_eq!(parts(by_extents), parts(by_seeking));
        assert_eq!(parts(by_seeking).len(), 3);
    }

    #[test]
    fn what_is_punched_is_a_hole_again() {
        let file = file();
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        sys::fallocate(file.as_fd(), mode, MIB, MIB).unwrap();
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 9), [(4 * MIB, Deallocated)]);
    }

    #[test]
    fn what_is_allocated_and_never_written_is_anchored() {
        let file = file();
        let mode = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        sys::fallocate(file.as_fd(), mode, 0, MIB).unwrap();
        let all = [(MIB, Anchored), (MIB, Mapped), (2 * MIB, Deallocated)];
        assert_eq!(ask(&file, 0, 4 * MIB, 512, 9), all);
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_eq!(ask(&file, 0, MIB, 512, 9), [(4096, Mapped), (MIB - 4096, Anchored)]);
    }

    #[test]
    fn a_file_in_many_pieces_is_told_of_from_its_beginning() {
        let file = tempfile::tempfile_in(".").unwrap();
        file.set_len(4 * MIB).unwrap();
        (0..300).for_each(|n| file.write_all_at(&[1; 4096], n * 8192).unwrap());
        file.sync_all().unwrap();
        let got = ask(&file, 0, 4 * MIB, 512, 255);
        assert_eq!(got.len(), 255);
        assert!(got.iter().step_by(2).all(|part| *part == (4096, Mapped)), "{got:?}");
        assert_eq!(ask(&file, 0, 4 * MIB, 8192, 255), [(256 * 8192, Mapped)], "as far as it was looked at");
    }

    #[test]
    fn a_block_is_what_takes_most_in_it() {
        let parts = |list: &[(u64, Provisioning)]| -> Vec<Part> {
            list.iter().map(|(end, status)| Part { end: *end, status: *status }).collect()
        };
        let joined = |list: &[(u64, Provisioning)]| -> Vec<(u64, Provisioning)> {
            join(&parts(list), 0, 8192, 4096, 9).iter().map(|s| (s.len, s.status)).collect()
        };
        assert_eq!(
            joined(&[(1024, Deallocated), (2048, Mapped), (8192, Deallocated)]),
            [(4096, Mapped), (4096, Deallocated)]
        );
        assert_eq!(
            joined(&[(1024, Deallocated), (2048, Anchored), (3072, Mapped), (8192, Deallocated)]),
            [(4096, Mapped), (4096, Deallocated)]
        );
        assert_eq!(joined(&[(5000, Mapped), (5100, Deallocated), (8192, Anchored)]), [(8192, Mapped)]);
        assert_eq!(joined(&[(4097, Anchored), (8192, Deallocated)]), [(8192, Anchored)]);
    }
}

//! Direct I/O and the block size that it allows.
//!
//! A logical block is never smaller than what direct I/O can address, so every command of an
//! initiator is whole blocks of the store and nothing is read, changed and written back. A disc has blocks of 2048 bytes
//! whatever it is on, and nobody writes it: where direct I/O cannot address these it goes through the page cache.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::sys::{self, DirectAlignment};

/// Every slot of the buffer memory begins at a multiple of this many bytes.
const SLOT_ALIGNMENT: u32 = 4096;
/// How a store is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Access {
    /// Around the page cache.
    pub(super) direct: bool,
    /// The smallest block that can be addressed, bytes.
    pub(super) smallest: u32,
}

/// Why a block size cannot be had, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Misfit {
    pub(super) what: String,
    pub(super) remedy: String,
}

/// Switches an open store to direct I/O where that works with blocks of one of `sizes`, which ascend.
/// `sector` is the logical sector of a block device.
pub(super) fn go_direct(file: &File, sector: Option<u32>, sizes: &[u32]) -> io::Result<Access> {
    let buffered = Access { direct: false, smallest: sizes.first().copied().unwrap_or(SLOT_ALIGNMENT) };
    if sys::set_direct(file.as_fd(), true).is_err() {
        return Ok(buffered);
    }
    match smallest(sys::direct_alignment(file.as_fd())?, sector, file, sizes) {
        Some(smallest) => Ok(Access { direct: true, smallest }),
        None => sys::set_direct(file.as_fd(), false).map(|()| buffered),
    }
}

/// The smallest block of `sizes` for direct I/O: as the kernel says, else the device's sector,
/// else by trying.
fn smallest(said: Option<DirectAlignment>, sector: Option<u32>, file: &File, sizes: &[u32]) -> Option<u32> {
    match (said, sector) {
        (Some(said), _) => usable(said, sizes),
        (None, Some(sector)) => at_least(sector, sizes),
        (None, None) => sizes.iter().copied().find(|size| reads_at(file, *size)),
    }
}

/// What the kernel says, unless that is "never" or more than blocks and slots can give.
fn usable(said: DirectAlignment, sizes: &[u32]) -> Option<u32> {
    if said.offset == 0 || said.memory > SLOT_ALIGNMENT {
        return None;
    }
    at_least(said.offset, sizes)
}

fn at_least(alignment: u32, sizes: &[u32]) -> Option<u32> {
    sizes.iter().copied().find(|size| size % alignment.max(1) == 0)
}

/// Whether one block of that size can be read directly, from an offset and memory that are aligned to no more.
fn reads_at(file: &File, size: u32) -> bool {
    let size = size as usize;
    let mut memory = vec![0u8; size + 2 * SLOT_ALIGNMENT as usize];
    let start = memory.as_ptr().align_offset(SLOT_ALIGNMENT as usize);
    let Some(block) = memory.get_mut(start..start + size) else { return false };
    file.read_at(block, size as u64).is_ok()
}

/// The block size to offer: what was asked for, if the device type has it and `access` can address it.
pub(super) fn block_size(asked: Option<u32>, access: Access, sizes: &[u32]) -> Result<u32, Misfit> {
    let size = asked.unwrap_or(access.smallest);
    if !sizes.contains(&size) {
        let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
        return Err(Misfit {
            what: format!("a block size of {size} bytes is not offered"),
            remedy: format!("choose {}", sizes.join(" or ")),
        });
    }
    if size < access.smallest {
        return Err(Misfit {
            what: format!(
                "blocks of {size} bytes are smaller than the {} that it can address",
                access.smallest
            ),
            remedy: format!("set the block size to {}, or leave it out", access.smallest),
        });
    }
    Ok(size)
}

/// The power of two of logical blocks that make a physical one of `physical` bytes (SBC-4, READ CAPACITY (16)).
pub(super) fn physical_exponent(physical: u32, block: u32) -> u8 {
    let ratio = (physical / block.max(1)).max(1);
    if ratio.is_power_of_two() { ratio.trailing_zeros() as u8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: &[u32] = &[512, 4096];
    const DISC: &[u32] = &[2048];

    fn direct(smallest: u32) -> Access {
        Access { direct: true, smallest }
    }

    #[test]
    fn the_block_size_is_never_below_the_alignment() {
        assert_eq!(block_size(None, direct(512), DISK), Ok(512));
        assert_eq!(block_size(None, direct(4096), DISK), Ok(4096));
        assert_eq!(block_size(Some(4096), direct(512), DISK), Ok(4096));
        let misfit = block_size(Some(512), direct(4096), DISK).unwrap_err();
        assert!(misfit.what.contains("4096") && misfit.remedy.contains("set the block size to 4096"));
    }

    #[test]
    fn odd_block_sizes_are_refused() {
        for size in [0, 1, 520, 1024, 8192] {
            assert!(block_size(Some(size), direct(512), DISK).is_err(), "{size}");
        }
    }

    #[test]
    fn what_the_kernel_says_decides() {
        let file = tempfile::tempfile().unwrap();
        let said = |memory, offset| Some(DirectAlignment { memory, offset });
        assert_eq!(smallest(said(4, 512), Some(4096), &file, DISK), Some(512));
        assert_eq!(smallest(said(4, 1), None, &file, DISK), Some(512));
        assert_eq!(smallest(said(512, 4096), None, &file, DISK), Some(4096));
        assert_eq!(smallest(said(0, 0), None, &file, DISK), None);
        assert_eq!(smallest(said(8192, 512), None, &file, DISK), None);
        assert_eq!(smallest(said(512, 16384), None, &file, DISK), None);
        assert_eq!(smallest(None, Some(4096), &file, DISK), Some(4096));
        assert_eq!(smallest(None, Some(16384), &file, DISK), None);
    }

    #[test]
    fn a_disc_is_addressed_directly_only_where_its_blocks_can_be() {
        let file = tempfile::tempfile().unwrap();
        let said = |memory, offset| Some(DirectAlignment { memory, offset });
        for fits in [1, 512, 2048] {
            assert_eq!(smallest(said(4, fits), None, &file, DISC), Some(2048));
        }
        assert_eq!(smallest(said(4, 4096), None, &file, DISC), None, "through the page cache");
        assert_eq!(smallest(None, Some(4096), &file, DISC), None);
        let buffered = Access { direct: false, smallest: 2048 };
        assert_eq!(block_size(None, buffered, DISC), Ok(2048));
        assert!(block_size(Some(4096), buffered, DISC).unwrap_err().remedy.contains("2048"));
    }

    #[test]
    fn a_file_here_goes_direct_and_can_be_tried() {
        let file = tempfile::tempfile_in(".").unwrap();
        file.set_len(1 << 20).unwrap();
        let access = go_direct(&file, None, DISK).unwrap();
        assert!(access.direct);
        assert_eq!(smallest(None, None, &file, DISK), Some(access.smallest));
    }

    #[test]
    fn physical_blocks_are_powers_of_two() {
        assert_eq!(physical_exponent(4096, 512), 3);
        assert_eq!(physical_exponent(512, 4096), 0);
        assert_eq!(physical_exponent(1536, 512), 0);
    }
}

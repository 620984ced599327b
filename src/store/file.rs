//! Opening regular files.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::align::{Access, go_direct, physical_exponent};
use super::backing::{Backing, DiscardMethod, FileMedium, Medium};
use super::claim::{claim, lock};
use super::open::{base, check_len, fit_block, padded, thin};
use super::service::with_service;
use super::{OpenError, StoreConfig};
use crate::ring::Way;
use crate::scsi::Thin;
use crate::sys;

/// Only the owner may read a disk image that is made here: file systems in it have their own rules.
const MODE: u32 = 0o600;
/// The unit in which file systems give space back, where they do not say; and the largest that is told
/// to initiators as the physical block.
const UNIT: u32 = 4096;

/// Opens or makes the file of `config`. What was made is removed again when it is of no use.
pub(super) fn open(config: &StoreConfig, path: &Path, patience: Duration) -> Result<Backing, OpenError> {
    check_kind(path)?;
    if let (Some(size), Some(block)) = (config.size, config.block_size) {
        check_len(config, size, block)?;
    }
    let is_new = fs::symlink_metadata(path).is_err();
    let make = !config.read_only && config.size.is_some();
    if make && is_new {
        check_room(path)?;
    }
    let file = claim_file(config, path, make, patience)?;
    let is_ours = is_new && file.metadata().is_ok_and(|meta| meta.len() == 0);
    let opened = set_up(config, path, file);
    if is_ours && opened.is_err() {
        // Nobody else has written to it. When it cannot be removed the message is still the first one.
        let _ = fs::remove_file(path);
    }
    opened.map(|backing| Backing { made: is_ours, ..backing })
}

/// Refuses what is no regular file, before opening it: opening a pipe, for one, would wait for a writer.
fn check_kind(path: &Path) -> Result<(), OpenError> {
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    if meta.is_file() {
        return Ok(());
    }
    Err(if meta.file_type().is_block_device() {
        OpenError::new(path, "is a block device", "use kind = \"block\"")
    } else {
        OpenError::new(path, "is neither a file nor a block device", "choose another path")
    })
}

/// Whether there is a directory for a file that is to be made.
///
/// # Errors
/// Where none is, and what to do.
pub fn check_room(path: &Path) -> Result<(), OpenError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::new(
            path,
            format!("cannot be made: there is no directory {}", dir.display()),
            with_service(format!("check the path, or: mkdir -p '{}'", dir.display()), path, libc::ENOENT),
        )),
        _ => Ok(()),
    }
}

/// See [`super::reopen`].
pub(super) fn reopen(config: &StoreConfig, path: &Path, patience: Duration) -> Result<Backing, OpenError> {
    check_kind(path)?;
    check_filled(config, path, fs::metadata(path))?;
    let file = claim_file(config, path, false, patience)?;
    check_filled(config, path, file.metadata())?;
    set_up(config, path, file)
}

/// Refuses what would be made if it were new. It may be on a file system that is not mounted, or have yet to be copied.
fn check_filled(config: &StoreConfig, path: &Path, meta: io::Result<Metadata>) -> Result<(), OpenError> {
    let what = match meta {
        Ok(meta) if meta.len() == 0 => "is empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "is not there",
        _ => return Ok(()),
    };
    let Some(size) = config.size else { return Ok(()) };
    let what = format!("{what}, and is not made anew, because initiators may know it from before");
    let shown = path.display();
    let remedy = format!(
        "mount its file system, or put it back; or, to begin with an empty one: truncate --size={size} '{shown}'"
    );
    Err(OpenError::new(path, what, remedy))
}

/// The file, open and held.
fn claim_file(config: &StoreConfig, path: &Path, make: bool, patience: Duration) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(!config.read_only)
        .create(make)
        .mode(MODE)
        .open(path)
        .map_err(|e| OpenError::from_io(path, "cannot be opened", &e))?;
    claim(path, patience, || lock(&file, config.read_only))?;
    Ok(file)
}

/// Gives the held file its length and learns its facts.
fn set_up(config: &StoreConfig, path: &Path, file: File) -> Result<Backing, OpenError> {
    let failed = |what: &str, e: &io::Error| OpenError::from_io(path, what, e);
    let len = give_len(config, path, &file)?;
    let access =
        go_direct(&file, None, config.device.block_sizes()).map_err(|e| failed("cannot be examined", &e))?;
    let block = fit_block(config, access)?;
    check_len(config, len, block)?;
    let discard = discard_method(config, &file);
    let anchors = tells_anchored(&file);
    let atomic = sys::atomic_writes(file.as_fd()).map_err(|e| failed("cannot be examined", &e))?;
    let unit = file.metadata().map_err(|e| failed("cannot be examined", &e))?.blksize();
    let unit = u32::try_from(unit).unwrap_or(UNIT).clamp(block, UNIT.max(block));
    let write_back = config.write_back.unwrap_or(true);
    let medium = FileMedium {
        way: Way::Direct,
        generic: None,
        file,
        direct: access.direct,
        is_block: false,
        dsync_always: !write_back,
        discard,
        atomic,
        shares_nothing: false.into(),
    };
    Ok(Backing {
        physical_exponent: physical_exponent(unit, block),
        write_cache: write_back && !config.read_only,
        thin: thin(discard, block, u64::from(unit), 0).map(|thin| counted(thin, config, block, anchors)),
        warnings: warnings(config, path, access, len, block),
        ..base(config, len, block, Medium::File(medium))
    })
}

/// How much of the file is served, after an empty one was made as long as configured. What a longer one has besides is
/// left alone, as when it becomes longer while it is served.
fn give_len(config: &StoreConfig, path: &Path, file: &File) -> Result<u64, OpenError> {
    let failed = |what: &str, e: &io::Error| OpenError::from_io(path, what, e);
    let len = file.metadata().map_err(|e| failed("cannot be examined", &e))?.len();
    match (len, config.size) {
        (0, Some(size)) if !config.read_only => {
            check_len(config, size, config.block_size.unwrap_or(1))?;
            make(config, path, file, size)
                .map(|()| size)
                .map_err(|e| failed(&format!("cannot be made {size} bytes long"), &e))
        }
        (len, Some(size)) if len < size => Err(OpenError::new(
            path,
            format!("is {len} bytes long, not {size} as configured"),
            format!("leave the size out, or change the file: truncate --size={size} '{}'", path.display()),
        )),
        (len, size) => {
            let len = size.unwrap_or(len);
            allocate(config, file, len).map_err(|e| failed("cannot be allocated as a whole", &e))?;
            Ok(len)
        }
    }
}

/// Makes an empty file `size` bytes long, and that durable. Space comes before length, so that a file
/// of the right length is always finished.
fn make(config: &StoreConfig, path: &Path, file: &File, size: u64) -> io::Result<()> {
    allocate(config, file, size)?;
    file.set_len(size)?;
    file.sync_all()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent)?.sync_all()
}

/// With `thin = false`, allocates whatever is not allocated yet.
fn allocate(config: &StoreConfig, file: &File, size: u64) -> io::Result<()> {
    if config.thin != Some(false) || config.read_only || size == 0 {
        return Ok(());
    }
    sys::fallocate(file.as_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, size)
}

/// Bytes of a threshold set: fine enough for any disk, and 4 PiB can be counted.
const THRESHOLD_SET: u64 = 1 << 20;

/// What a file has besides: its file system says how much space there is.
fn counted(thin: Thin, config: &StoreConfig, block: u32, anchors: bool) -> Thin {
    let low = config.low_space.map_or(0, |bytes| bytes.div_ceil(THRESHOLD_SET));
    Thin {
        anchors,
        threshold_exponent: (THRESHOLD_SET / u64::from(block)).trailing_zeros() as u8,
        threshold: u32::try_from(low).unwrap_or(u32::MAX),
        ..thin
    }
}

/// Whether the file system tells what is allocated from what has data. Those that do can also allocate without data,
/// which is what anchoring is; one that could not would have zeroes written, which has space too.
fn tells_anchored(file: &File) -> bool {
    sys::extents(file.as_fd(), 0, 1, 1).is_ok()
}

/// Whether holes can be punched: tried beyond the end of all that the file has, where there is nothing to lose.
fn discard_method(config: &StoreConfig, file: &File) -> DiscardMethod {
    if config.read_only || config.thin == Some(false) {
        return DiscardMethod::None;
    }
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let punched = file.metadata().and_then(|meta| {
        let beyond = meta.len().next_multiple_of(u64::from(UNIT));
        sys::fallocate(file.as_fd(), mode, beyond, u64::from(UNIT))
    });
    match punched {
        Ok(()) => DiscardMethod::Punch,
        Err(_) => DiscardMethod::None,
    }
}

fn warnings(config: &StoreConfig, path: &Path, access: Access, len: u64, block: u32) -> Vec<String> {
    // What nobody writes may as well be read through the page cache.
    let cached = !access.direct && !config.read_only;
    let note = cached.then(|| {
        let path = path.display();
        format!("{path}: its file system has no direct I/O; going through the page cache, with a write cache")
    });
    note.into_iter().chain(padded(config, path, len, block)).collect()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

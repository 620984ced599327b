//! What a path of this host is, as far as people want to see it.

use std::fs;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::store::block_node;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Absent,
    /// A block device.
    Block {
        /// Bytes, where it may be asked.
        size: Option<u64>,
        /// It has a cache that it would have to be told to write back.
        write_back: bool,
    },
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
    },
    /// Something else: a character device, a directory.
    Other,
}

/// Looks.
pub(super) fn look(path: &Path) -> Seen {
    let block = block_node(path);
    let path = block.as_deref().unwrap_or(path);
    let Ok(meta) = fs::metadata(path) else { return Seen::Absent };
    let kind = meta.file_type();
    if kind.is_block_device() {
        return Seen::Block { size: length(path), write_back: caches(meta.rdev()) };
    }
    if kind.is_file() { Seen::File { size: meta.len() } } else { Seen::Other }
}

fn length(path: &Path) -> Option<u64> {
    fs::File::open(path).ok()?.seek(SeekFrom::End(0)).ok()
}

/// What the kernel says of the device's cache. A partition has it of its disk.
fn caches(number: u64) -> bool {
    let (major, minor) = (libc::major(number), libc::minor(number));
    let device = format!("/sys/dev/block/{major}:{minor}");
    let said = [format!("{device}/queue/write_cache"), format!("{device}/../queue/write_cache")];
    said.iter().find_map(|path| fs::read_to_string(path).ok()).is_some_and(|text| text.trim() == "write back")
}

/// The block devices of this host, for completion.
pub(super) fn block_devices() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let mut found: Vec<String> =
        entries.map(|e| format!("/dev/{}", e.file_name().to_string_lossy().replace('!', "/"))).collect();
    found.sort();
    found
}

/// A size as trees show it.
pub(super) fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = (bytes.max(1).ilog2() / 10).min(5);
    if power == 0 {
        return format!("{bytes}B");
    }
    format!("{:.1}{}", bytes as f64 / f64::from(1u32 << 10).powi(power as i32), units[power as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown = [0, 1023, 1024, 1536 << 20, 10 << 30, u64::MAX].map(human);
        assert_eq!(shown, ["0B", "1023B", "1.0KiB", "1.5GiB", "10.0GiB", "16384.0PiB"]);
    }

    #[test]
    fn files_and_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        assert_eq!(look(&file), Seen::Absent);
        fs::write(&file, [0; 100]).unwrap();
        assert_eq!(look(&file), Seen::File { size: 100 });
        assert_eq!(look(dir.path()), Seen::Other);
    }
}

//! What sysfs says about a block device: its `queue/` directory, or that of the disk it is a part of.

use std::fs;
use std::path::{Path, PathBuf};

/// The queue of a block device. A file that is missing reads as the most modest answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct QueueFacts {
    /// Whether it has a volatile write cache.
    pub(super) write_back: bool,
    /// Whether it has moving parts.
    pub(super) rotational: bool,
    /// The largest discard, bytes; zero: it has none.
    pub(super) discard_max: u64,
    /// Discards are best made of units of this many bytes.
    pub(super) discard_granularity: u64,
    /// Where the first such unit begins, bytes.
    pub(super) discard_alignment: u64,
    /// The largest zeroing without sending data, bytes; zero: it has none.
    pub(super) zero_max: u64,
    /// Whether that zeroing also gives the space back.
    pub(super) zero_unmaps: bool,
    /// Whether it has queues without interrupts, which can be polled.
    pub(super) polls: bool,
    /// The longest transfer of one request, bytes, of which no two pages lie together; zero: it is not told.
    pub(super) transfer_max: u64,
    /// What of it has an actuator of its own, beginning and length in bytes, if it has several (Linux 5.16).
    pub(super) ranges: Vec<(u64, u64)>,
}

/// The sysfs directory of a block device by its numbers.
pub(super) fn sysfs_of(device: u64) -> PathBuf {
    let link = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    fs::canonicalize(&link).unwrap_or_else(|_| link.into())
}

/// The directory of the whole disk: a partition's parent has the queue.
pub(super) fn disk_of(sysfs: &Path) -> &Path {
    match sysfs.parent() {
        Some(parent) if !sysfs.join("queue").is_dir() && parent.join("queue").is_dir() => parent,
        _ => sysfs,
    }
}

impl QueueFacts {
    /// Reads them for the device or partition at `sysfs`.
    pub(super) fn read(sysfs: &Path) -> Self {
        let disk = disk_of(sysfs);
        let queue = disk.join("queue");
        let number = |name: &str| read_number(&queue.join(name)).unwrap_or(0);
        Self {
            write_back: read_word(&queue.join("write_cache")).as_deref() == Some("write back"),
            rotational: number("rotational") != 0,
            discard_max: number("discard_max_bytes"),
            discard_granularity: number("discard_granularity"),
            discard_alignment: read_number(&sysfs.join("discard_alignment")).unwrap_or(0),
            zero_max: number("write_zeroes_max_bytes"),
            zero_unmaps: zero_unmaps(disk, &queue),
            polls: number("io_poll") != 0,
            transfer_max: transfer_max(number("max_hw_sectors_kb") << 10, number("max_segments") * PAGE),
            // Those of a disk say nothing of its partitions.
            ranges: if disk == sysfs { ranges(&queue.join("independent_access_ranges")) } else { Vec::new() },
        }
    }
}

/// The smallest pages that Linux has: memory lies in no shorter pieces.
const PAGE: u64 = 4096;

/// What the adapter takes by length and by pieces of memory; a zero is not told.
fn transfer_max(by_length: u64, by_pieces: u64) -> u64 {
    [by_length, by_pieces].into_iter().filter(|limit| *limit > 0).min().unwrap_or(0)
}

/// Directories with numbers from zero on; in sysfs a sector has 512 bytes.
fn ranges(all: &Path) -> Vec<(u64, u64)> {
    let range = |number: u32| {
        let bytes = |name| Some(read_number(&all.join(number.to_string()).join(name))?.saturating_mul(512));
        Some((bytes("sector")?, bytes("nr_sectors")?))
    };
    (0..).map_while(range).collect()
}

/// `write_zeroes_unmap_max_bytes` (Linux 6.17) says whether zeroing deallocates, but only the SCSI
/// and NVMe drivers fill it in: the zero of another driver (loop, whose zeroing punches holes) means
/// nothing, and an older kernel has no such file.
fn zero_unmaps(disk: &Path, queue: &Path) -> bool {
    let name = disk.file_name().unwrap_or_default().to_string_lossy();
    let says_so = name.starts_with("nvme") || name.starts_with("sd");
    !(says_so && read_number(&queue.join("write_zeroes_unmap_max_bytes")) == Some(0))
}

/// The trimmed content of a small file, unless it is missing or empty.
pub(super) fn read_word(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text);
    let word = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!word.is_empty()).then(|| word.to_owned())
}

fn read_number(path: &Path) -> Option<u64> {
    read_word(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join(name);
        fs::create_dir_all(disk.join("queue")).unwrap();
        for (file, text) in files {
            fs::write(disk.join(file), text).unwrap();
        }
        (root, disk)
    }

    #[test]
    fn a_queue_is_read() {
        let (_root, disk) = disk(
            "vda",
            &[
                ("queue/write_cache", "write back\n"),
                ("queue/rotational", "1\n"),
                ("queue/discard_max_bytes", "1073741824\n"),
                ("queue/discard_granularity", "4096\n"),
            ],
        );
        let facts = QueueFacts::read(&disk);
        assert!(facts.write_back && facts.rotational && facts.zero_unmaps);
        assert_eq!((facts.discard_max, facts.discard_granularity, facts.zero_max), (1 << 30, 4096, 0));
    }

    #[test]
    fn a_partition_asks_its_disk() {
        let (_root, disk) = disk("vda", &[("queue/write_cache", "write back\n")]);
        let part = disk.join("vda1");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("discard_alignment"), "512\n").unwrap();
        let facts = QueueFacts::read(&part);
        assert!(facts.write_back);
        assert_eq!(facts.discard_alignment, 512);
    }

    #[test]
    fn a_disk_tells_what_each_of_its_actuators_has() {
        let (_root, disk) = disk("sda", &[]);
        for (number, sector) in [(0, "0\n"), (1, "2048\n")] {
            let range = disk.join(format!("queue/independent_access_ranges/{number}"));
            fs::create_dir_all(&range).unwrap();
            fs::write(range.join("sector"), sector).unwrap();
            fs::write(range.join("nr_sectors"), "2048\n").unwrap();
        }
        assert_eq!(QueueFacts::read(&disk).ranges, [(0, 1 << 20), (1 << 20, 1 << 20)]);
        let part = disk.join("sda1");
        fs::create_dir(&part).unwrap();
        assert_eq!(QueueFacts::read(&part).ranges, []);
    }

    #[test]
    fn only_drivers_that_know_deny_that_zeroing_unmaps() {
        for (name, unmaps) in [("nvme0n1", false), ("sda", false), ("loop0", true)] {
            let (_root, disk) = disk(name, &[("queue/write_zeroes_unmap_max_bytes", "0\n")]);
            assert_eq!(QueueFacts::read(&disk).zero_unmaps, unmaps, "{name}");
        }
    }

    #[test]
    fn the_longest_transfer_is_what_the_adapter_takes() {
        let of = |files: &[(&str, &str)]| {
            let (_root, disk) = disk("sda", files);
            QueueFacts::read(&disk).transfer_max
        };
        let length = ("queue/max_hw_sectors_kb", "120\n");
        assert_eq!(of(&[length]), 120 << 10);
        assert_eq!(of(&[length, ("queue/max_segments", "2048\n")]), 120 << 10);
        assert_eq!(of(&[length, ("queue/max_segments", "16\n")]), 64 << 10);
        assert_eq!(of(&[("queue/max_sectors_kb", "8\n")]), 0, "that is for the file system only");
    }

    #[test]
    fn nothing_there_is_the_modest_answer() {
        let facts = QueueFacts::read(Path::new("/nonexistent"));
        assert_eq!((facts.discard_max, facts.write_back), (0, false));
    }
}

//! Whether the device that an open store is on is still there, and whether what is in its place now is the same.
//!
//! A device that was pulled out leaves open descriptors behind, of which everything fails. Until they are closed the
//! kernel gives its number and its name to no other: the device itself comes back by another name.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::backing::Backing;
use super::identity::world_wide_name;
use super::queue::{disk_of, read_word};
use super::{StoreConfig, StoreKind, nvme, pscsi};

/// The unit in which sysfs gives sizes, bytes.
const SECTOR: u64 = 512;

/// What tells a device or file from another in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The name that it has of itself; empty: none.
    name: String,
    /// Zero: not told, or of a medium that can be taken out.
    bytes: u64,
}

impl Mark {
    /// Of what is in the place of that store now, if it is there as a whole.
    pub fn at(config: &StoreConfig) -> Option<Self> {
        let path = config.path.as_deref()?;
        let block = match config.kind {
            StoreKind::Block => nvme::block_node(path),
            StoreKind::Pscsi => pscsi::block_node(path),
            StoreKind::Fileio | StoreKind::Ramdisk | StoreKind::Null => None,
        };
        let seat = Seat::of(&fs::metadata(block.as_deref().unwrap_or(path)).ok()?);
        seat.is_there().then(|| seat.mark()).filter(|mark| mark.bytes > 0 || !seat.sized)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.trim_end_matches(" part ");
        f.write_str(if name.is_empty() { "one without a name" } else { name })?;
        if self.bytes > 0 { write!(f, " of {} bytes", self.bytes) } else { Ok(()) }
    }
}

/// Where an open store is, as the kernel has it.
#[derive(Debug)]
pub struct Seat {
    /// What sysfs has of the device, and has no more when that vanishes; none: there is no such device.
    sysfs: Option<PathBuf>,
    /// It had that.
    seen: bool,
    name: String,
    /// The size tells it from others.
    sized: bool,
    /// How large it was when it was last looked at.
    bytes: AtomicU64,
}

impl Seat {
    /// Of a device, or of a file, which is where the device is on which it lies.
    pub(super) fn of(meta: &Metadata) -> Self {
        let kind = meta.file_type();
        let is_device = kind.is_block_device() || kind.is_char_device();
        let (class, number) = match kind.is_char_device() {
            true => ("char", meta.rdev()),
            false => ("block", if is_device { meta.rdev() } else { meta.dev() }),
        };
        let link = PathBuf::from(format!("/sys/dev/{class}/{}:{}", libc::major(number), libc::minor(number)));
        let dir = fs::canonicalize(&link).unwrap_or_else(|_| link.clone());
        let device = world_wide_name(&dir).unwrap_or_default();
        let seat = Self {
            seen: !is_absent(&link),
            // File systems without a device of their own have numbers that are none of a device.
            sysfs: (libc::major(number) != 0).then_some(link),
            name: if is_device { device } else { format!("file {} on {device}", meta.ino()) },
            sized: kind.is_block_device()
                && read_word(&disk_of(&dir).join("removable")).as_deref() != Some("1"),
            bytes: AtomicU64::new(0),
        };
        seat.is_there();
        seat
    }

    /// Whether the device is there. Looks how large it is, too: it may have grown while it was served.
    fn is_there(&self) -> bool {
        let Some(sysfs) = &self.sysfs else { return true };
        let size = if self.sized { read_word(&sysfs.join("size")) } else { None };
        let sectors = size.and_then(|word| word.parse::<u64>().ok());
        if let Some(sectors @ 1..) = sectors {
            self.bytes.store(sectors.saturating_mul(SECTOR), Ordering::Relaxed);
        }
        sectors.is_some() || !is_absent(sysfs)
    }

    fn mark(&self) -> Mark {
        Mark { name: self.name.clone(), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

impl Backing {
    /// Whether its device has vanished: nothing can be had of what is open any more, whatever is in its place now. Without
    /// sysfs that is never known.
    pub fn has_vanished(&self) -> bool {
        let gone = |seat: &Seat| seat.seen && !seat.is_there() && !is_absent(Path::new("/sys/dev/block"));
        self.seat.as_ref().is_some_and(gone)
    }

    /// What tells it from others, if there can be others in its place.
    pub fn mark(&self) -> Option<Mark> {
        self.seat.as_ref().map(Seat::mark)
    }

    /// The same as if sysfs had its device in that directory.
    #[cfg(test)]
    pub(crate) fn seated(mut self, sysfs: &Path) -> Self {
        self.seat.iter_mut().for_each(|seat| (seat.sysfs, seat.seen) = (Some(sysfs.to_owned()), true));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::open;
    use super::*;

    fn of_file(path: &Path) -> StoreConfig {
        StoreConfig { path: Some(path.into()), ..StoreConfig::new(StoreKind::Fileio, "f") }
    }

    #[test]
    fn a_device_is_there_as_long_as_sysfs_has_it() {
        let sysfs = tempfile::tempdir().unwrap();
        let device = sysfs.path().join("8:16");
        fs::create_dir(&device).unwrap();
        let seat = Seat {
            sysfs: Some(device.clone()),
            seen: true,
            name: "disk x part ".into(),
            sized: true,
            bytes: 0.into(),
        };
        assert!(seat.is_there(), "whether or not it tells its size");
        fs::write(device.join("size"), "2048\n").unwrap();
        assert!(seat.is_there());
        fs::write(device.join("size"), "4096\n").unwrap();
        assert!(seat.is_there());
        fs::remove_dir_all(&device).unwrap();
        assert!(!seat.is_there());
        assert_eq!(seat.mark().to_string(), "disk x of 2097152 bytes", "as it was last");
    }

    #[test]
    fn a_file_is_known_again_and_another_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, [0; 8192]).unwrap();
            path
        };
        let (one, two) = (of_file(&make("one")), of_file(&make("two")));
        let backing = open(&one, Duration::ZERO).unwrap();
        assert!(backing.mark().is_some() && !backing.has_vanished());
        assert_eq!(Mark::at(&one), backing.mark());
        assert_ne!(Mark::at(&two), backing.mark());
        fs::remove_file(dir.path().join("one")).unwrap();
        assert_eq!(Mark::at(&one), None);
        assert!(!backing.has_vanished(), "it is open, and its data are there");
    }

    #[test]
    fn memory_does_not_vanish() {
        let config = StoreConfig { size: Some(1 << 20), ..StoreConfig::new(StoreKind::Ramdisk, "r") };
        let backing = open(&config, Duration::ZERO).unwrap();
        assert!(!backing.has_vanished() && backing.mark().is_none() && Mark::at(&config).is_none());
    }
}

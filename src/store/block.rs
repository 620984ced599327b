//! Opening block devices.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::align::{Access, go_direct, physical_exponent};
use super::backing::{Backing, DiscardMethod, FileMedium, Medium};
use super::claim::claim;
use super::nvme::{self, Generic, Hindrance};
use super::open::{base, check_len, fit_block, padded, thin};
use super::queue::{QueueFacts, sysfs_of};
use super::{Io, OpenError, StoreConfig};
use crate::ring::Way;
use crate::scsi::DeviceType;
use crate::sys::{self, AtomicWrites};

/// Opens the device of `config`.
pub(super) fn open(config: &StoreConfig, path: &Path, patience: Duration) -> Result<Backing, OpenError> {
    let block = nvme::block_node(path);
    let path = block.as_deref().unwrap_or(path);
    let file = claim_device(config, path, patience)?;
    let facts = Facts::learn(&file, config.device.block_sizes())
        .map_err(|e| OpenError::from_io(path, "cannot be examined", &e))?;
    set_up(config, path, file, &facts)
}

/// The device, open and held.
fn claim_device(config: &StoreConfig, path: &Path, patience: Duration) -> Result<File, OpenError> {
    check_kind(path)?;
    claim(path, patience, || open_device(config, path))
}

fn check_kind(path: &Path) -> Result<(), OpenError> {
    let meta = fs::metadata(path).map_err(|e| OpenError::from_io(path, "cannot be opened", &e))?;
    match meta.file_type() {
        kind if kind.is_block_device() => Ok(()),
        kind if kind.is_file() => Err(OpenError::new(path, "is a file", "use kind = \"fileio\"")),
        _ => Err(OpenError::new(path, "is no block device", "choose another path")),
    }
}

/// `O_EXCL` keeps out mounts, other devices made of this one, and everybody else who asks for it. Atomic writes are
/// taken only (before Linux 6.13) through what was opened for direct I/O from the beginning.
fn open_device(config: &StoreConfig, path: &Path) -> io::Result<File> {
    let exclusive = if config.read_only { 0 } else { libc::O_EXCL };
    let with = |flags| OpenOptions::new().read(true).write(!config.read_only).custom_flags(flags).open(path);
    match with(exclusive | libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(exclusive),
        opened => opened,
    }
}

/// What the kernel knows about a device.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Facts {
    len: u64,
    sector: u32,
    physical: u32,
    read_only: bool,
    access: Access,
    queue: QueueFacts,
    atomic: Option<AtomicWrites>,
}

impl Facts {
    fn learn(file: &File, sizes: &[u32]) -> io::Result<Self> {
        let sector = sys::block_sector(file.as_fd())?;
        Ok(Self {
            len: sys::block_len(file.as_fd())?,
            sector,
            physical: sys::block_physical(file.as_fd())?,
            read_only: sys::block_read_only(file.as_fd())?,
            access: go_direct(file, Some(sector), sizes)?,
            queue: QueueFacts::read(&sysfs_of(file.metadata()?.rdev())),
            atomic: sys::atomic_writes(file.as_fd())?,
        })
    }

    /// Writes do not survive a power cut by themselves.
    fn is_volatile(&self) -> bool {
        self.queue.write_back || !self.access.direct
    }
}

fn set_up(config: &StoreConfig, path: &Path, file: File, facts: &Facts) -> Result<Backing, OpenError> {
    if facts.read_only && !config.read_only {
        return Err(OpenError::new(path, "is a read-only device", "set read_only"));
    }
    let block = fit_block(config, facts.access)?;
    let len = usable_len(config, path, facts.len, block)?;
    let discard = discard_method(config, &facts.queue);
    let write_through = config.write_back == Some(false);
    let unit = facts.queue.discard_granularity.max(u64::from(facts.sector));
    let (way, generic, note) = way(config, path, &file, facts)?;
    let medium = FileMedium {
        file,
        way,
        generic,
        direct: facts.access.direct,
        is_block: true,
        dsync_always: facts.is_volatile() && write_through,
        discard,
        atomic: facts.atomic,
        shares_nothing: true.into(),
    };
    Ok(Backing {
        physical_exponent: physical_exponent(facts.physical, block),
        write_cache: facts.is_volatile() && !write_through && !config.read_only,
        thin: thin(discard, block, unit, facts.queue.discard_alignment),
        rotational: facts.queue.rotational,
        ranges: facts.queue.ranges.clone(),
        warnings: warnings(config, path, facts, len, discard).into_iter().chain(note).collect(),
        ..base(config, len, block, Medium::File(medium))
    })
}

/// How the device is worked on, the node for that, and what is to be said when it is not as configured.
type Found = (Way, Option<File>, Option<String>);

fn way(config: &StoreConfig, path: &Path, file: &File, facts: &Facts) -> Result<Found, OpenError> {
    match config.io {
        Io::Direct => Ok((Way::Direct, None, None)),
        Io::Polled => Ok(polled(path, facts)),
        Io::Passthrough => passthrough(config, path, file, facts),
    }
}

/// Only direct I/O to queues without interrupts can be polled for.
fn polled(path: &Path, facts: &Facts) -> Found {
    if facts.queue.polls && facts.access.direct {
        return (Way::Polled, None, None);
    }
    let note = format!(
        "{}: it has no queue that can be polled, so io = \"polled\" is as io = \"direct\"; NVMe gets them by \
         /usr/share/ringtgt/tuning/poll-queues apply N (one for each reactor), which puts `options nvme poll_queues=N` \
         into /etc/modprobe.d",
        path.display()
    );
    (Way::Direct, None, Some(note))
}

/// Only disks get commands: of a disc the last block may be there in part.
fn passthrough(config: &StoreConfig, path: &Path, file: &File, facts: &Facts) -> Result<Found, OpenError> {
    let device = file.metadata().map_err(|e| OpenError::from_io(path, "cannot be examined", &e))?.rdev();
    let found = if config.device == DeviceType::Disk && facts.access.direct {
        nvme::generic(path, &sysfs_of(device), &facts.queue, config.read_only)
    } else {
        Err(Hindrance::Missing("there is no direct I/O to whole blocks".into()))
    };
    match found {
        Ok(Generic { node, namespace }) => Ok((Way::Passthrough(namespace), Some(node), None)),
        Err(Hindrance::Wrong(error)) => Err(error),
        Err(Hindrance::Missing(what)) => {
            let path = path.display();
            let note = format!("{path}: {what}; so io = \"passthrough\" is as io = \"direct\"");
            Ok((Way::Direct, None, Some(note)))
        }
    }
}

/// Whole blocks of the device. A configured size has to be that of the device.
fn usable_len(config: &StoreConfig, path: &Path, len: u64, block: u32) -> Result<u64, OpenError> {
    match config.size {
        Some(size) if size != len => Err(OpenError::new(
            path,
            format!("is {len} bytes long, not {size} as configured"),
            "leave the size of a block device out",
        )),
        _ => {
            let lost = if config.device == DeviceType::Disk { len % u64::from(block) } else { 0 };
            let whole = len - lost;
            check_len(config, whole, block).map(|()| whole)
        }
    }
}

/// Zeroing that gives space back is preferred to discarding, which promises nothing about what is
/// read afterwards.
fn discard_method(config: &StoreConfig, queue: &QueueFacts) -> DiscardMethod {
    if config.read_only || config.thin == Some(false) || queue.discard_max == 0 {
        DiscardMethod::None
    } else if queue.zero_max > 0 && queue.zero_unmaps {
        DiscardMethod::Punch
    } else {
        DiscardMethod::Forget
    }
}

fn warnings(
    config: &StoreConfig,
    path: &Path,
    facts: &Facts,
    len: u64,
    discard: DiscardMethod,
) -> Vec<String> {
    let tail = padded(config, path, len, config.block_size.unwrap_or(facts.access.smallest));
    let path = path.display();
    let lost = facts.len - len;
    let notes = [
        (!facts.access.direct && !config.read_only)
            .then(|| format!("{path}: no direct I/O; going through the page cache, with a write cache")),
        (lost > 0).then(|| format!("{path}: its last {lost} bytes are no whole block and are left out")),
        (config.thin == Some(true) && discard == DiscardMethod::None)
            .then(|| format!("{path}: the device cannot give space back; thin = true has no effect")),
        tail,
    ];
    notes.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::StoreKind;
    use super::*;

    fn config() -> StoreConfig {
        StoreConfig::new(StoreKind::Block, "disk")
    }

    #[test]
    fn a_file_is_refused_with_the_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let e = check_kind(file.path()).unwrap_err();
        assert!(e.remedy.contains("fileio"));
        assert!(check_kind(Path::new("/dev/null")).is_err());
        assert!(check_kind(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_last_bytes_that_are_no_block_are_left_out() {
        assert_eq!(usable_len(&config(), Path::new("d"), 8192 + 512, 4096), Ok(8192));
        assert!(usable_len(&config(), Path::new("d"), 512, 4096).is_err());
        let sized = StoreConfig { size: Some(4096), ..config() };
        assert!(usable_len(&sized, Path::new("d"), 8192, 512).is_err());
    }

    #[test]
    fn the_discard_method_follows_the_queue() {
        let queue = |discard_max, zero_max, zero_unmaps| QueueFacts {
            discard_max,
            zero_max,
            zero_unmaps,
            ..QueueFacts::default()
        };
        let method = |queue| discard_method(&config(), &queue);
        assert_eq!(method(queue(1, 1, true)), DiscardMethod::Punch);
        assert_eq!(method(queue(1, 1, false)), DiscardMethod::Forget);
        assert_eq!(method(queue(1, 0, true)), DiscardMethod::Forget);
        assert_eq!(method(queue(0, 1, true)), DiscardMethod::None);
        let thick = StoreConfig { thin: Some(false), ..config() };
        assert_eq!(discard_method(&thick, &queue(1, 1, true)), DiscardMethod::None);
    }
}

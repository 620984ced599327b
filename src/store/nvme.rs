//! NVMe namespaces that get commands of their own.
//!
//! A namespace has two nodes: a block device (`/dev/nvmeXnY`), by which it is held, and a generic one (`/dev/ngXnY`, since
//! Linux 5.13), which takes commands. Either may be named. Promises: a namespace whose data have metadata beside them,
//! or a part of one, is refused; where the machine cannot, it is said why.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use super::queue::{QueueFacts, read_word};
use crate::ring::{Caps, Namespace};
use crate::sys;

/// A namespace that takes commands.
#[derive(Debug)]
pub(super) struct Generic {
    /// Its generic node.
    pub(super) node: File,
    pub(super) namespace: Namespace,
}

/// Why a namespace does not get commands.
#[derive(Debug)]
pub(super) enum Hindrance {
    /// It must not.
    Wrong(OpenError),
    /// Something of the machine is in the way: the block layer does it as well.
    Missing(String),
}

/// The block device that belongs to a generic node of NVMe, if that is what it is.
pub fn block_node(path: &Path) -> Option<PathBuf> {
    let meta = fs::metadata(path).ok().filter(|meta| meta.file_type().is_char_device())?;
    let link = format!("/sys/dev/char/{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev()));
    let found = sibling(&fs::canonicalize(link).ok()?, "ng", "nvme")?;
    node(&found).filter(|node| fs::metadata(node).is_ok_and(|meta| meta.file_type().is_block_device()))
}

/// Opens the generic node of the block device at `path`, whose sysfs directory is `sysfs`, and learns what it takes.
pub(super) fn generic(
    path: &Path,
    sysfs: &Path,
    queue: &QueueFacts,
    read_only: bool,
) -> Result<Generic, Hindrance> {
    let id = number_of(path, sysfs).map_err(Hindrance::Wrong)?;
    let missing = |what: &str, error: &io::Error| Hindrance::Missing(format!("{what}: {error}"));
    if !Caps::probe().is_ok_and(|caps| caps.commands) {
        return Err(Hindrance::Missing(
            "only Linux 6.12 and later tell truly how each command of NVMe has ended".into(),
        ));
    }
    let found = sibling(sysfs, "nvme", "ng").and_then(|found| node(&found));
    let found = found.ok_or_else(|| Hindrance::Missing("it has no generic node /dev/ng…".into()))?;
    let node = OpenOptions::new().read(true).write(!read_only).open(&found);
    let node = node.map_err(|e| missing(&format!("{} cannot be opened", found.display()), &e))?;
    let identity = sys::nvme_identify(node.as_fd(), id)
        .map_err(|e| missing(&format!("{} takes no commands of this process", found.display()), &e))?;
    let format = Format::of(&identity);
    format.check(path).map_err(Hindrance::Wrong)?;
    let namespace = format.namespace(node.as_raw_fd(), id, queue);
    Ok(Generic { node, namespace })
}

/// The number of the namespace that a block device is.
fn number_of(path: &Path, sysfs: &Path) -> Result<u32, OpenError> {
    if sysfs.join("partition").exists() {
        let remedy = "name the whole namespace, which commands address, or leave `io` out";
        return Err(OpenError::new(path, "is a partition", remedy));
    }
    let number = read_word(&sysfs.join("nsid")).and_then(|word| word.parse().ok());
    number
        .ok_or_else(|| OpenError::new(path, "is no NVMe namespace", "leave `io` out, or name another device"))
}

/// The other node of a namespace: beside it in sysfs, of the same number, `nvmeXnY` and `ngXnY`. X may differ: the block
/// devices count subsystems, the generic nodes controllers.
fn sibling(sysfs: &Path, ours: &str, theirs: &str) -> Option<PathBuf> {
    let number = |path: &Path, prefix: &str| {
        let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
        let (controller, namespace) = name.split_once('n')?;
        let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|byte| byte.is_ascii_digit());
        (all_digits(controller) && all_digits(namespace)).then(|| namespace.to_owned())
    };
    let wanted = number(sysfs, ours)?;
    let entries = fs::read_dir(sysfs.parent()?).ok()?.flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| number(path, theirs).as_ref() == Some(&wanted))
}

/// The node of a device, when it is where it usually is and is that device.
fn node(sysfs: &Path) -> Option<PathBuf> {
    let node = Path::new("/dev").join(sysfs.file_name()?);
    let rdev = fs::metadata(&node).ok()?.rdev();
    let number = read_word(&sysfs.join("dev"))?;
    (number == format!("{}:{}", libc::major(rdev), libc::minor(rdev))).then_some(node)
}

/// What a namespace says of its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Format {
    /// They have 2 to this power bytes.
    block: u8,
    /// Bytes of metadata beside each.
    metadata: u16,
    /// With protection information among them.
    protected: bool,
    /// Writing zeroes can deallocate, and what is deallocated reads as zeroes.
    deallocates: bool,
}

impl Format {
    /// Of an Identify Namespace data structure (NVM Command Set Specification 1.0).
    fn of(identity: &[u8; 4096]) -> Self {
        let (formats, chosen) = (identity[25], identity[26]);
        // FLBAS: more than 16 formats need two more bits.
        let high = if formats < 16 { 0 } else { (chosen >> 5) & 3 };
        let at = 128 + 4 * usize::from(high << 4 | chosen & 0xf);
        Self {
            block: identity[at + 2],
            metadata: u16::from_le_bytes([identity[at], identity[at + 1]]),
            protected: identity[29] & 7 != 0,
            // DLFEAT: deallocated blocks read as zeroes, and Write Zeroes takes the Deallocate bit.
            deallocates: identity[33] & 0xf == 0b1001,
        }
    }

    fn check(self, path: &Path) -> Result<(), OpenError> {
        if self.metadata > 0 {
            let what = if self.protected { ", with protection information" } else { "" };
            let what = format!("has {} bytes of metadata beside each block{what}", self.metadata);
            let remedy =
                "leave `io` out, so that the kernel takes care of them, or format it without: nvme format";
            return Err(OpenError::new(path, what, remedy));
        }
        if (9..=16).contains(&self.block) {
            return Ok(());
        }
        let what = format!("says that its blocks have 2 to the power of {} bytes", self.block);
        Err(OpenError::new(path, what, "leave `io` out"))
    }

    fn namespace(self, fd: i32, id: u32, queue: &QueueFacts) -> Namespace {
        // The kernel has these limits of the controller (MDTS, WZSL) and of its own; a multiple of pages is taken as it is.
        let power = |bytes: u64| bytes.checked_ilog2().unwrap_or(0) as u8;
        let transfer = power(queue.transfer_max).max(self.block);
        let zeroes = Some(power(queue.zero_max)).filter(|zeroes| *zeroes >= self.block).unwrap_or(0);
        let Self { block, deallocates, .. } = self;
        Namespace { fd, id, block, transfer, zeroes, deallocates }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Format 1 of 2: blocks of 4096 bytes.
    fn identity() -> [u8; 4096] {
        let mut identity = [0; 4096];
        (identity[25], identity[26]) = (1, 1);
        identity[128..136].copy_from_slice(&[0, 0, 9, 0, 0, 0, 12, 0]);
        identity
    }

    #[test]
    fn the_chosen_format_is_found() {
        let format = Format::of(&identity());
        assert_eq!(format, Format { block: 12, metadata: 0, protected: false, deallocates: false });
        assert_eq!(format.check(Path::new("d")), Ok(()));
        let mut many = identity();
        (many[25], many[26], many[33]) = (16, 0x20, 0x09);
        many[128 + 64..][..4].copy_from_slice(&[0, 0, 9, 0]);
        assert_eq!(Format::of(&many), Format { block: 9, deallocates: true, ..format });
        many[25] = 15;
        assert_eq!(Format::of(&many).block, 9, "the first: the other bits mean nothing");
    }

    #[test]
    fn metadata_are_refused_with_the_reason() {
        let mut with = identity();
        with[132] = 8;
        let error = |identity: &[u8; 4096]| Format::of(identity).check(Path::new("d")).unwrap_err();
        assert!(error(&with).what.contains("8 bytes of metadata") && error(&with).remedy.contains("`io`"));
        with[29] = 1;
        assert!(error(&with).what.contains("protection information"));
        assert!(error(&[0; 4096]).what.contains("power of 0"));
    }

    #[test]
    fn the_kernels_limits_hold() {
        let of = |transfer_max, zero_max| {
            let queue = QueueFacts { transfer_max, zero_max, ..QueueFacts::default() };
            let namespace = Format::of(&identity()).namespace(3, 1, &queue);
            (namespace.transfer, namespace.zeroes)
        };
        assert_eq!(of(128 << 10, 128 << 10), (17, 17));
        assert_eq!(of(508 << 10, 0), (18, 0));
        assert_eq!(of(0, 512), (12, 0), "one block at a time where nothing is told");
    }

    #[test]
    fn the_nodes_of_a_namespace_are_found_by_each_other() {
        let root = tempfile::tempdir().unwrap();
        let controller = root.path().join("nvme2");
        for name in ["nvme0n1", "nvme0n12", "ng2n1", "ng2n12", "ng2", "hwmon1"] {
            fs::create_dir_all(controller.join(name)).unwrap();
        }
        let (block, generic) = (controller.join("nvme0n12"), controller.join("ng2n12"));
        assert_eq!(sibling(&block, "nvme", "ng"), Some(generic.clone()));
        assert_eq!(sibling(&generic, "ng", "nvme"), Some(block.clone()));
        assert_eq!(sibling(&controller.join("nvme0n3"), "nvme", "ng"), None);
        assert_eq!(sibling(&block.join("nvme0n12p1"), "nvme", "ng"), None);
        assert_eq!(block_node(Path::new("/dev/null")), None);
        assert_eq!(node(&block), None, "no such node");
    }

    #[test]
    fn only_a_whole_namespace_has_a_number() {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("nvme0n1");
        let part = disk.join("nvme0n1p1");
        fs::create_dir_all(&part).unwrap();
        let of = |sysfs| number_of(Path::new("d"), sysfs);
        assert!(of(&disk).unwrap_err().what.contains("no NVMe namespace"));
        fs::write(disk.join("nsid"), "7\n").unwrap();
        fs::write(part.join("partition"), "1\n").unwrap();
        assert_eq!(of(&disk), Ok(7));
        assert!(of(&part).unwrap_err().what.contains("partition"));
    }
}

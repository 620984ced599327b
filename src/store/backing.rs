//! An open store: its facts, and the medium behind it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::identity::PRODUCT;
use super::open::blocks_of;
use super::pass::PassMedium;
use super::{Seat, StoreKind};
use crate::mem::Region;
use crate::ring::Way;
use crate::scsi::{Atomic, Device, DeviceType, Groups, Identity, LuFacts, Thin, WHOLE};
use crate::sys::AtomicWrites;

/// The transfer that is fastest: one slot of the largest class, so one operation on the disk.
const OPTIMAL_TRANSFER: u32 = 256 << 10;
/// The longest READ or WRITE: what the Linux initiator sends at most. Longer ones would hold a task for too long.
const MAX_TRANSFER: u32 = 32 << 20;

/// The unit in which nothing takes atomic writes: the largest logical block, and what devices have.
const PAGE: u32 = 4096;

/// What is served as long as it is.
pub const UNBOUNDED: u64 = u64::MAX;

/// Product identification of what is shown as a drive, whatever it was before.
const CDROM: &str = "VIRTUAL-CDROM";

/// One store, opened once per process and shared by all reactors; it is let go of when the last
/// holder, the kernel included, has ended.
#[derive(Debug)]
pub struct Backing {
    /// Its name in the configuration.
    pub name: String,
    /// What it is made of.
    pub kind: StoreKind,
    /// What initiators take it for.
    pub device: DeviceType,
    /// The device or file, if it has one.
    pub path: Option<PathBuf>,
    /// Capacity in logical blocks, when it was opened.
    pub blocks: u64,
    /// Bytes beyond which it is not served however long it is, because its configuration gives them; else [`UNBOUNDED`].
    pub bound: AtomicU64,
    /// All of its space is allocated.
    pub allocated: bool,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// A physical block is 2 to this power logical blocks.
    pub physical_exponent: u8,
    /// It was opened for reading only.
    pub read_only: bool,
    /// Writes rest in a volatile cache until flushed.
    pub write_cache: bool,
    /// How space is given back, if it can be.
    pub thin: Option<Thin>,
    /// It has moving parts.
    pub rotational: bool,
    /// What of it has an actuator of its own, beginning and length in bytes, if it has several.
    pub ranges: Vec<(u64, u64)>,
    /// Initiators may eject it and load it again.
    pub removable: bool,
    /// Where the bytes are.
    pub medium: Medium,
    /// Its file was not there, and was made when it was opened.
    pub made: bool,
    /// It has a name of before, by which initiators may know another file.
    pub known: bool,
    /// What an administrator should know, one sentence each.
    pub warnings: Vec<String>,
    /// Where its device is; none: it has none.
    pub seat: Option<Seat>,
}

/// Where the bytes of a store are.
#[derive(Debug)]
pub enum Medium {
    /// Behind a file descriptor.
    File(FileMedium),
    /// In this memory, shared by all reactors; only ever copied to and from.
    Ram(Arc<Region>),
    /// Nowhere.
    Null,
    /// Behind a device that gets the commands themselves.
    Pass(PassMedium),
}

/// A file or block device.
#[derive(Debug)]
pub struct FileMedium {
    /// The one open file description.
    pub file: File,
    /// Around the page cache.
    pub direct: bool,
    /// A block device.
    pub is_block: bool,
    /// Every write must be durable before it is answered.
    pub dsync_always: bool,
    /// How space is given back.
    pub discard: DiscardMethod,
    /// How its operations get to the device.
    pub way: Way,
    /// The node that takes commands, where that is the way.
    pub generic: Option<File>,
    /// What can be written as a whole or not at all.
    pub atomic: Option<AtomicWrites>,
    /// Its file system has said that files cannot share what they hold.
    pub shares_nothing: AtomicBool,
}

/// How a file or device gives space back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiscardMethod {
    /// It does not.
    None,
    /// `fallocate` with `PUNCH_HOLE`: what is gone reads as zeroes.
    Punch,
    /// `BLKDISCARD`: what is gone reads as anything.
    Forget,
}

impl Backing {
    /// Nobody has ever been served by it: if its file was made for it, that goes again. Another one that is there by now
    /// stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unmake(&self) -> io::Result<()> {
        let (true, Some(path), Medium::File(medium)) = (self.made, &self.path, &self.medium) else {
            return Ok(());
        };
        let ours = medium.file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => fs::remove_file(path),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// How many blocks `len` bytes are.
    pub(super) fn blocks_of(&self, len: u64) -> u64 {
        blocks_of(self.device, len, self.block_size.into())
    }

    /// Capacity in bytes, when it was opened.
    pub fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }

    /// How its device is worked on, as it turned out.
    pub fn way(&self) -> Way {
        if let Medium::File(medium) = &self.medium { medium.way } else { Way::Direct }
    }

    /// What is written to nothing vanishes as a whole; it does so by pages, to be like a device. Devices and files say it
    /// themselves. Memory is read while it is written: nothing is offered for it.
    fn atomic(&self) -> Option<Atomic> {
        match &self.medium {
            Medium::Null => self.atomic_between(PAGE, WHOLE, false),
            Medium::File(medium) => {
                let AtomicWrites { least, most } = medium.atomic.filter(|_| medium.direct)?;
                self.atomic_between(least, most, true)
            }
            Medium::Ram(_) | Medium::Pass(_) => None,
        }
    }

    /// Atomic writes of `least` to `most` bytes, as far as these are whole blocks and fit in a slot.
    fn atomic_between(&self, least: u32, most: u32, natural: bool) -> Option<Atomic> {
        let (least, most) = (least.max(self.block_size), most.min(WHOLE));
        let unit = least / self.block_size;
        let limits = Atomic {
            max_blocks: most / self.block_size,
            alignment_blocks: unit,
            granularity_blocks: unit,
            natural,
        };
        (least <= most).then_some(limits)
    }

    /// What the SCSI side is to know of it. `saves`: there is a place for what must outlive the process.
    pub fn facts(&self, identity: Identity, groups: Groups, saves: bool) -> LuFacts {
        let identity = match self.device {
            DeviceType::Cdrom if identity.product == PRODUCT => {
                Identity { product: CDROM.into(), ..identity }
            }
            DeviceType::Disk | DeviceType::Cdrom => identity,
        };
        let passed = self.passed();
        let most = if passed.is_some() { WHOLE } else { MAX_TRANSFER };
        let block = u64::from(self.block_size);
        LuFacts {
            name: self.name.clone(),
            device: self.device,
            block_size: self.block_size,
            blocks: self.blocks,
            physical_exponent: self.physical_exponent,
            read_only: self.read_only,
            write_cache: self.write_cache,
            thin: self.thin,
            identity,
            optimal_transfer_blocks: OPTIMAL_TRANSFER / self.block_size,
            max_transfer_blocks: most / self.block_size,
            rotational: self.rotational,
            ranges: self.ranges.iter().map(|(start, len)| (start / block, len / block)).collect(),
            removable: self.removable,
            saves,
            resident: matches!(self.medium, Medium::Ram(_) | Medium::Null),
            groups,
            atomic: self.atomic(),
            passed,
        }
    }

    fn passed(&self) -> Option<Device> {
        if let Medium::Pass(medium) = &self.medium { Some(medium.device) } else { None }
    }
}

impl DiscardMethod {
    /// Whether what is gone is sure to read as zeroes (LBPRZ).
    pub fn zeroes(self) -> bool {
        self == Self::Punch
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::base;
    use super::super::{StoreConfig, StoreKind};
    use super::*;

    /// What is offered of a device that says so, with such blocks.
    fn offered(least: u32, most: u32, block: u32, direct: bool) -> Option<(u32, u32, u32, bool)> {
        let medium = FileMedium {
            file: tempfile::tempfile().unwrap(),
            direct,
            is_block: false,
            dsync_always: false,
            discard: DiscardMethod::None,
            way: Way::Direct,
            generic: None,
            atomic: Some(AtomicWrites { least, most }),
            shares_nothing: true.into(),
        };
        let config = StoreConfig::new(StoreKind::Fileio, "f");
        let atomic = base(&config, 1 << 20, block, Medium::File(medium)).atomic()?;
        Some((atomic.max_blocks, atomic.alignment_blocks, atomic.granularity_blocks, atomic.natural))
    }

    #[test]
    fn atomic_writes_are_offered_as_the_device_has_them() {
        assert_eq!(offered(4096, 65536, 512, true), Some((128, 8, 8, true)));
        assert_eq!(offered(512, 65536, 4096, true), Some((16, 1, 1, true)), "whole blocks");
        assert_eq!(offered(4096, 1 << 30, 512, true), Some((512, 8, 8, true)), "one slot");
        assert_eq!(offered(512, 2048, 4096, true), None, "less than a block");
        assert_eq!(offered(4096, 65536, 512, false), None, "through the page cache");
    }

    #[test]
    fn of_memory_nothing_is_promised_and_of_nothing_everything() {
        let of = |medium| base(&StoreConfig::new(StoreKind::Null, "n"), 1 << 20, 512, medium).atomic();
        assert_eq!(of(Medium::Null).map(|atomic| (atomic.max_blocks, atomic.natural)), Some((512, false)));
        let region = Region::new(1 << 20, crate::mem::Pages::Transparent).unwrap();
        assert_eq!(of(Medium::Ram(Arc::new(region))), None);
    }
}

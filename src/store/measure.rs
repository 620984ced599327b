//! How large a store is now and what space it takes: what others do to a file, a device or a file system while it is
//! served.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use std::os::unix::fs::MetadataExt;

use super::backing::{Backing, FileMedium, Medium};
use crate::scsi::Resources;
use crate::sys;

/// The size of a store that may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length {
    /// Whole logical blocks that can be served. None: there is no medium at the moment.
    pub blocks: u64,
    /// Bytes behind them that are no whole block, and left out.
    pub over: u64,
    /// Bytes behind them that the configuration keeps out.
    pub kept_out: u64,
}

impl FileMedium {
    /// Its length in bytes. A device that was pulled out has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bytes(&self) -> io::Result<u64> {
        if self.is_block { sys::block_len(self.file.as_fd()) } else { Ok(self.file.metadata()?.len()) }
    }
}

impl Backing {
    /// Its length now. Nothing is said of memory and of nothing: they stay as they are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn length(&self) -> io::Result<Option<Length>> {
        let Medium::File(medium) = &self.medium else { return Ok(None) };
        medium.bytes().map(|len| {
            let length = Length::of(len, self.block_size.into(), self.bound.load(Relaxed));
            let blocks = self.blocks_of(len - length.kept_out);
            // The last block of a disc is filled up.
            let over = if blocks == length.blocks { length.over } else { 0 };
            Some(Length { blocks, over, ..length })
        })
    }

    /// What space it takes and what is left for it, in threshold sets; nothing where that is not known.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resources(&self) -> io::Result<Option<Resources>> {
        let exponent = self.thin.map_or(0, |thin| thin.threshold_exponent);
        let (Medium::File(medium), 1..) = (&self.medium, exponent) else { return Ok(None) };
        let set = u64::from(self.block_size) << exponent;
        let sets = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let used = medium.file.metadata()?.blocks().saturating_mul(512).div_ceil(set);
        let available = sys::available_space(medium.file.as_fd())? / set;
        Ok(Some(Resources { available: sets(available), used: sets(used) }))
    }

    /// Makes the space of `blocks` blocks ready, where the configuration says that all of it is allocated.
    ///
    /// # Errors
    /// The kernel's: there may be too little.
    pub fn allocate(&self, blocks: u64) -> io::Result<()> {
        match &self.medium {
            Medium::File(medium) if self.allocated && !medium.is_block => {
                let len = blocks * u64::from(self.block_size);
                sys::fallocate(medium.file.as_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, len)
            }
            _ => Ok(()),
        }
    }
}

impl Length {
    /// Of `len` bytes in blocks of `block`, of which at most `bound` bytes are served.
    fn of(len: u64, block: u64, bound: u64) -> Self {
        let served = len.min(bound);
        Self { blocks: served / block, over: served % block, kept_out: len - served }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{StoreConfig, StoreKind, UNBOUNDED, open};
    use super::*;
    use std::time::Duration;

    const MIB: u64 = 1 << 20;

    #[test]
    fn whole_blocks_count() {
        let of = |len, bound: Option<u64>| {
            let Length { blocks, over, kept_out } = Length::of(len, 4096, bound.unwrap_or(UNBOUNDED));
            (blocks, over, kept_out)
        };
        assert_eq!(of(8192, None), (2, 0, 0));
        assert_eq!(of(8192 + 4095, None), (2, 4095, 0));
        assert_eq!(of(100, None), (0, 100, 0));
        assert_eq!(of(3 * 4096, Some(8192)), (2, 0, 4096), "it does not grow beyond");
        assert_eq!(of(4096, Some(8192)), (1, 0, 0), "but nothing serves what is not there");
    }

    #[test]
    fn a_file_is_followed_and_memory_is_not() {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        file.as_file().set_len(MIB).unwrap();
        let config =
            StoreConfig { path: Some(file.path().into()), ..StoreConfig::new(StoreKind::Fileio, "f") };
        let backing = open(&config, Duration::ZERO).unwrap();
        let block = u64::from(backing.block_size);
        file.as_file().set_len(3 * MIB + 17).unwrap();
        let now = backing.length().unwrap().unwrap();
        assert_eq!((now.blocks, now.over, now.kept_out), (3 * MIB / block, 17, 0));
        let memory = StoreConfig { size: Some(MIB), ..StoreConfig::new(StoreKind::Ramdisk, "m") };
        assert_eq!(open(&memory, Duration::ZERO).unwrap().length().unwrap(), None);
    }

    #[test]
    fn what_is_configured_is_kept_to() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let path = dir.path().join("disk.img");
        let config = StoreConfig {
            path: Some(path.clone()),
            size: Some(MIB),
            ..StoreConfig::new(StoreKind::Fileio, "f")
        };
        let backing = open(&config, Duration::from_secs(5)).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(2 * MIB).unwrap();
        let now = backing.length().unwrap().unwrap();
        assert_eq!((now.blocks, now.kept_out), (backing.blocks, MIB));
    }

    #[test]
    fn the_space_of_a_sparse_file_is_known() {
        use std::os::unix::fs::FileExt;
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        file.as_file().set_len(8 * MIB).unwrap();
        let config =
            StoreConfig { path: Some(file.path().into()), ..StoreConfig::new(StoreKind::Fileio, "f") };
        let backing = open(&config, Duration::from_secs(5)).unwrap();
        let before = backing.resources().unwrap().unwrap();
        assert!(before.available > 0);
        file.as_file().write_all_at(&vec![7; 3 * MIB as usize], 0).unwrap();
        file.as_file().sync_all().unwrap();
        assert_eq!((before.used, backing.resources().unwrap().unwrap().used), (0, 3));
        let thick = StoreConfig { thin: Some(false), ..config };
        drop(backing);
        assert_eq!(open(&thick, Duration::from_secs(5)).unwrap().resources().unwrap(), None);
    }

    #[test]
    fn where_all_is_allocated_growth_is_too() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        file.as_file().set_len(MIB).unwrap();
        let config = StoreConfig {
            path: Some(file.path().into()),
            thin: Some(false),
            ..StoreConfig::new(StoreKind::Fileio, "f")
        };
        let backing = open(&config, Duration::from_secs(5)).unwrap();
        file.as_file().set_len(2 * MIB).unwrap();
        backing.allocate(2 * MIB / u64::from(backing.block_size)).unwrap();
        assert!(file.as_file().metadata().unwrap().blocks() * 512 >= 2 * MIB);
        assert!(backing.allocate(1 << 50).is_err());
    }
}

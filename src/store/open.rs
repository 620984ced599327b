//! From a configuration to an open store.

use std::path::Path;
use std::time::Duration;

use super::align::{Misfit, block_size};
use super::backing::{Backing, DiscardMethod, Medium, UNBOUNDED};
use super::{OpenError, Seat, StoreConfig, StoreKind, block, file, pscsi, ram};
use crate::scsi::{DeviceType, Thin};

/// How long a store that another process holds is waited for: a predecessor that was killed holds
/// it until the kernel has finished its writes, and one that was told to stop drains first.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that one UNMAP may cover: discards of this length take well below a second on real disks.
const MAX_UNMAP: u64 = 512 << 20;
/// Descriptors that one UNMAP may carry: as many as fit in a parameter list of 4096 bytes.
const MAX_UNMAP_DESCRIPTORS: u32 = 255;
/// Bytes that one WRITE SAME may cover: it may have to be written out.
const MAX_WRITE_SAME: u64 = 128 << 20;

/// Opens a store: exclusively, or when `config.read_only` shared with other readers. Waits up to
/// `patience` (see [`PATIENCE`]) while another process holds it.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn open(config: &StoreConfig, patience: Duration) -> Result<Backing, OpenError> {
    match config.kind {
        StoreKind::Block => block::open(config, path_of(config)?, patience),
        StoreKind::Fileio => file::open(config, path_of(config)?, patience),
        StoreKind::Ramdisk => ram::open_ram(config),
        StoreKind::Null => ram::open_null(config),
        StoreKind::Pscsi => pscsi::open(config, path_of(config)?, patience),
    }
}

/// Opens a store that initiators know from before, as [`open`] does: but nothing is made in the place of what they have
/// written.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn reopen(config: &StoreConfig, patience: Duration) -> Result<Backing, OpenError> {
    match config.kind {
        StoreKind::Fileio => file::reopen(config, path_of(config)?, patience),
        _ => open(config, patience),
    }
}

fn path_of(config: &StoreConfig) -> Result<&Path, OpenError> {
    config.path.as_deref().ok_or_else(|| OpenError::of_config(config, "has no path", "give its path"))
}

/// A backing with the facts that all kinds have, and modest ones for the rest.
pub(super) fn base(config: &StoreConfig, len: u64, block_size: u32, medium: Medium) -> Backing {
    Backing {
        name: config.name.clone(),
        kind: config.kind,
        device: config.device,
        path: config.path.clone(),
        blocks: blocks_of(config.device, len, block_size.into()),
        block_size,
        bound: config.size.unwrap_or(UNBOUNDED).into(),
        allocated: config.thin == Some(false) && !config.read_only,
        physical_exponent: 0,
        read_only: config.read_only,
        write_cache: false,
        thin: None,
        rotational: false,
        ranges: Vec::new(),
        removable: config.removable,
        seat: seat(&medium),
        medium,
        made: false,
        known: false,
        warnings: Vec::new(),
    }
}

fn seat(medium: &Medium) -> Option<Seat> {
    let meta = match medium {
        Medium::File(medium) => medium.file.metadata().ok(),
        Medium::Pass(medium) => medium.passage.metadata(),
        Medium::Ram(_) | Medium::Null => None,
    };
    meta.as_ref().map(Seat::of)
}

/// The block size for a store that can address `access`.
pub(super) fn fit_block(config: &StoreConfig, access: super::align::Access) -> Result<u32, OpenError> {
    block_size(config.block_size, access, config.device.block_sizes())
        .map_err(|Misfit { what, remedy }| OpenError::of_config(config, what, remedy))
}

/// How many blocks `len` bytes are. The last block of a disc may be there in part: zeroes follow, for what an image
/// has is not to be lost, and nobody can write behind its end.
pub(super) fn blocks_of(device: DeviceType, len: u64, block: u64) -> u64 {
    match device {
        DeviceType::Disk => len / block,
        DeviceType::Cdrom => len.div_ceil(block),
    }
}

/// What is to be said of a disc whose last block is there in part.
pub(super) fn padded(config: &StoreConfig, path: &Path, len: u64, block: u32) -> Option<String> {
    let over = len % u64::from(block);
    (config.device == DeviceType::Cdrom && over > 0).then(|| {
        let path = path.display();
        format!(
            "{path}: its last {over} bytes are no whole block of {block}, zeroes follow them: is it a whole image?"
        )
    })
}

/// Refuses a length that is no whole number of blocks, or none at all.
pub(super) fn check_len(config: &StoreConfig, len: u64, block: u32) -> Result<(), OpenError> {
    let block = u64::from(block);
    if len == 0 {
        return Err(OpenError::of_config(config, "has no size", "give a size, such as 10G"));
    }
    if i64::try_from(len).is_err() {
        return Err(OpenError::of_config(config, "is larger than any file can be", "choose a smaller size"));
    }
    match len % block {
        0 => Ok(()),
        _ if config.device == DeviceType::Cdrom => Ok(()),
        over => Err(OpenError::of_config(
            config,
            format!("is {len} bytes long, which is {over} more than a whole number of {block}-byte blocks"),
            remedy_for_len(config, len.next_multiple_of(block)),
        )),
    }
}

fn remedy_for_len(config: &StoreConfig, fit: u64) -> String {
    match &config.path {
        Some(path) => format!("make it {fit} bytes long: truncate --size={fit} '{}'", path.display()),
        None => format!("set its size to {fit}"),
    }
}

/// The thin provisioning facts of a store whose space comes in units of `unit` bytes, the first of
/// which begins at `start`.
pub(super) fn thin(method: DiscardMethod, block: u32, unit: u64, start: u64) -> Option<Thin> {
    if method == DiscardMethod::None {
        return None;
    }
    let (wide, unit_blocks) = (u64::from(block), unit / u64::from(block));
    let blocks = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Some(Thin {
        max_unmap_blocks: blocks(MAX_UNMAP / wide),
        max_unmap_descriptors: MAX_UNMAP_DESCRIPTORS,
        granularity_blocks: blocks(unit_blocks.max(1)),
        alignment_blocks: blocks((start / wide) % unit_blocks.max(1)),
        lbprz: method.zeroes(),
        max_write_same_blocks: MAX_WRITE_SAME / wide,
        anchors: false,
        threshold_exponent: 0,
        threshold: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_units_are_in_blocks() {
        let punch = |block, unit, start| thin(DiscardMethod::Punch, block, unit, start).unwrap();
        let facts = punch(512, 4096, 1024);
        assert_eq!((facts.granularity_blocks, facts.alignment_blocks), (8, 2));
        assert_eq!(facts.max_unmap_blocks, 1 << 20);
        assert!(facts.lbprz);
        assert_eq!(punch(4096, 512, 0).granularity_blocks, 1);
        assert_eq!(thin(DiscardMethod::None, 512, 4096, 0), None);
        assert!(!thin(DiscardMethod::Forget, 512, 4096, 0).unwrap().lbprz);
    }

    #[test]
    fn a_length_is_whole_blocks() {
        let config = StoreConfig::new(StoreKind::Ramdisk, "r");
        assert!(check_len(&config, 8192, 4096).is_ok());
        let e = check_len(&config, 8193, 4096).unwrap_err();
        assert!(e.what.contains("1 more") && e.remedy.contains("12288"), "{e}");
        assert!(check_len(&config, u64::MAX - 511, 512).unwrap_err().what.contains("larger"));
        assert!(check_len(&config, 0, 512).unwrap_err().what.contains("no size"));
    }

    #[test]
    fn a_store_on_disk_needs_a_path() {
        let config = StoreConfig::new(StoreKind::Fileio, "disk");
        let e = open(&config, Duration::ZERO).unwrap_err();
        assert_eq!((e.path.to_str(), e.what.as_str()), (Some("disk"), "has no path"));
    }
}

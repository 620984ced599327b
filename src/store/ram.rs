//! Stores without a disk: memory of this process, and nothing at all.

use std::sync::Arc;

use super::align::Access;
use super::backing::{Backing, DiscardMethod, Medium};
use super::open::{base, check_len, fit_block, thin};
use super::{OpenError, StoreConfig};
use crate::mem::{Pages, Region};

/// Memory can address anything.
const ANY: Access = Access { direct: true, smallest: 512 };
/// Memory comes and goes by pages.
const PAGE: u64 = 4096;

/// A ramdisk: zero at first. Its memory is taken when first written, or now when `thin` is false.
pub(super) fn open_ram(config: &StoreConfig) -> Result<Backing, OpenError> {
    let (len, block) = shape(config)?;
    let lack =
        |e| OpenError::of_config(config, format!("cannot have {len} bytes: {e}"), "choose a smaller size");
    let region = Region::new(len, Pages::Reserved).map_err(lack)?;
    let method = if config.thin == Some(false) { DiscardMethod::None } else { DiscardMethod::Punch };
    if method == DiscardMethod::None {
        region.prefault();
    }
    let thin = thin(method, block, PAGE, 0);
    Ok(Backing { thin, ..base(config, len, block, Medium::Ram(Arc::new(region))) })
}

/// Nothing, of a given size.
pub(super) fn open_null(config: &StoreConfig) -> Result<Backing, OpenError> {
    let (len, block) = shape(config)?;
    Ok(base(config, len, block, Medium::Null))
}

/// Length in bytes and block size.
fn shape(config: &StoreConfig) -> Result<(u64, u32), OpenError> {
    let block = fit_block(config, ANY)?;
    let len = config.size.unwrap_or(0);
    check_len(config, len, block)?;
    Ok((len, block))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{StoreKind, open};
    use super::*;

    fn config(kind: StoreKind, size: u64) -> StoreConfig {
        StoreConfig { size: Some(size), ..StoreConfig::new(kind, "memory") }
    }

    #[test]
    fn a_ramdisk_has_its_size_and_gives_memory_back() {
        let backing = open(&config(StoreKind::Ramdisk, 3 << 20), Duration::ZERO).unwrap();
        assert_eq!((backing.bytes(), backing.block_size), (3 << 20, 512));
        assert!(backing.thin.unwrap().lbprz && !backing.write_cache);
    }

    #[test]
    fn a_thick_ramdisk_keeps_its_memory() {
        let config = StoreConfig { thin: Some(false), ..config(StoreKind::Ramdisk, 1 << 20) };
        assert_eq!(open(&config, Duration::ZERO).unwrap().thin, None);
    }

    #[test]
    fn nothing_needs_a_size_too() {
        assert!(open(&StoreConfig::new(StoreKind::Null, "n"), Duration::ZERO).is_err());
        assert!(open(&config(StoreKind::Null, 1000), Duration::ZERO).is_err());
        let config = StoreConfig { block_size: Some(4096), ..config(StoreKind::Null, 1 << 40) };
        assert_eq!(open(&config, Duration::ZERO).unwrap().blocks, 1 << 28);
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        let e = open(&config(StoreKind::Ramdisk, 1 << 62), Duration::ZERO).unwrap_err();
        assert!(e.what.contains("cannot have"), "{e}");
    }
}

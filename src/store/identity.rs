//! Under which names initiators know a store.
//!
//! An identity is made of random bytes once and then saved, or, where nothing is saved, derived
//! from the machine and the store, so that the same store has the same names after a restart and another
//! machine's store never has them: multipath software would take two disks of one name for one disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::queue::{disk_of, read_word, sysfs_of};
use super::{IdentityOverride, StoreConfig, StoreKind};
use super::{nvme, pscsi};
use crate::scsi::{Identity, Naa, T10_MAX};

/// T10 vendor identification.
const VENDOR: &str = "RINGTGT";
/// Product identification.
pub(super) const PRODUCT: &str = "VIRTUAL-DISK";
/// As long as the fields of standard INQUIRY data are (SPC-5 section 6.6.2).
const VENDOR_MAX: usize = 8;
const PRODUCT_MAX: usize = 16;
const REVISION_MAX: usize = 4;
/// Product revision level: major and minor version.
const REVISION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
/// Separates these hashes from all others that anybody makes of the same things.
const PURPOSE: &[u8] = b"ringtgt store identity 1";

/// UUID version 4: random; version 8: derived in a way of one's own (RFC 9562 section 5).
const RANDOM: u8 = 4;
const DERIVED: u8 = 8;

impl Identity {
    /// A new identity of random bytes.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn fresh() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Self::from_seed(&seed, RANDOM))
    }

    /// The identity of a store about which nothing is saved: from this machine's id and the device's
    /// world wide name, or the file's canonical path and inode. Memory dies with the process, and
    /// so does its name: that is fresh each time.
    ///
    /// # Errors
    /// When the device or file is not there, or for memory as [`Identity::fresh`].
    pub fn derived(config: &StoreConfig) -> io::Result<Self> {
        let Some(path) = config.path.as_deref() else { return Self::fresh() };
        let store = match config.kind {
            StoreKind::Ramdisk | StoreKind::Null => return Self::fresh(),
            StoreKind::Block => device_name(&nvme::block_node(path).unwrap_or_else(|| path.to_owned()))?,
            StoreKind::Fileio => file_name(path)?,
            StoreKind::Pscsi => device_name(&pscsi::block_node(path).unwrap_or_else(|| path.to_owned()))?,
        };
        Ok(Self::from_seed(&hash(&[&machine_id(), &store]), DERIVED))
    }

    /// Replaces what the administrator has chosen.
    ///
    /// # Errors
    /// What is wrong with the choice.
    pub fn with(mut self, chosen: &IdentityOverride) -> Result<Self, &'static str> {
        if let Some(serial) = &chosen.serial {
            check_serial(serial)?;
            self.serial.clone_from(serial);
        }
        if let Some(bytes) = &chosen.naa {
            self.naa = naa(bytes)?;
        }
        if let Some(uuid) = chosen.uuid {
            self.uuid = uuid;
        }
        for (ours, chosen, most) in [
            (&mut self.vendor, &chosen.vendor, VENDOR_MAX),
            (&mut self.product, &chosen.product, PRODUCT_MAX),
            (&mut self.revision, &chosen.revision, REVISION_MAX),
        ] {
            if let Some(chosen) = chosen {
                check_label(chosen, most)?;
                ours.clone_from(chosen);
            }
        }
        if let Some(t10) = &chosen.t10 {
            check_label(t10, T10_MAX)?;
            self.t10 = Some(t10.clone());
        }
        Ok(self)
    }

    fn from_seed(seed: &[u8; 32], uuid_version: u8) -> Self {
        let (mut naa, mut uuid) = ([0; 8], [0; 16]);
        naa.copy_from_slice(&seed[..8]);
        uuid.copy_from_slice(&seed[8..24]);
        naa[0] = 0x30 | (naa[0] & 0x0f); // NAA 3h: locally assigned (SPC-6, designators)
        uuid[6] = (uuid_version << 4) | (uuid[6] & 0x0f);
        uuid[8] = 0x80 | (uuid[8] & 0x3f); // the variant of RFC 9562
        Self {
            vendor: VENDOR.into(),
            product: PRODUCT.into(),
            revision: REVISION.into(),
            serial: naa.iter().map(|byte| format!("{byte:02x}")).collect(),
            naa: Naa::Short(naa),
            uuid,
            t10: None,
        }
    }
}

/// The serial number is sent as ASCII and compared as it is.
fn check_serial(serial: &str) -> Result<(), &'static str> {
    match serial.len() {
        1..=64 if serial.bytes().all(|b| b.is_ascii_graphic()) => Ok(()),
        _ => Err("a serial number is 1 to 64 printable ASCII characters without spaces"),
    }
}

/// Fields of INQUIRY are ASCII, filled up with spaces (SPC-5 section 4.3.1).
fn check_label(text: &str, most: usize) -> Result<(), &'static str> {
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let formed =
        printable && !text.starts_with(' ') && !text.ends_with(' ') && (1..=most).contains(&text.len());
    if formed {
        Ok(())
    } else {
        Err("a vendor has 1 to 8 printable ASCII characters, a product 16, a revision 4")
    }
}

/// An NAA designator by its bytes: the first four bits say how long it is.
fn naa(bytes: &[u8]) -> Result<Naa, &'static str> {
    let format = bytes.first().map(|byte| byte >> 4);
    match (format, bytes.len()) {
        (Some(2 | 3 | 5), 8) => bytes.try_into().map(Naa::Short).map_err(|_| "unreachable length"),
        (Some(6), 16) => bytes.try_into().map(Naa::Long).map_err(|_| "unreachable length"),
        _ => Err("an NAA designator is 16 hex digits that begin with 2, 3 or 5, or 32 that begin with 6"),
    }
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(PURPOSE);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// What tells this machine from all others: machine-id(5), else what the firmware says, else its name.
fn machine_id() -> String {
    let sources = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/sys/class/dmi/id/product_uuid"];
    let usable = |id: &String| id.len() >= 32;
    let id = sources.iter().find_map(|path| read_word(Path::new(path)).filter(usable));
    id.or_else(|| read_word(Path::new("/proc/sys/kernel/hostname"))).unwrap_or_default()
}

fn file_name(path: &Path) -> io::Result<String> {
    let path = fs::canonicalize(path)?;
    Ok(format!("file {} {}", fs::metadata(&path)?.ino(), path.display()))
}

fn device_name(path: &Path) -> io::Result<String> {
    let path = fs::canonicalize(path)?;
    let sysfs = sysfs_of(fs::metadata(&path)?.rdev());
    Ok(world_wide_name(&sysfs).unwrap_or_else(|| format!("device {}", path.display())))
}

/// The name of a disk that moves with it from slot to slot, and the number of the partition.
pub(super) fn world_wide_name(sysfs: &Path) -> Option<String> {
    let disk = disk_of(sysfs);
    // NVMe; SCSI; virtio; MMC; device mapper; MD.
    let files = ["wwid", "device/wwid", "serial", "device/serial", "dm/uuid", "md/uuid"];
    let name = files.iter().find_map(|file| read_word(&disk.join(file)))?;
    let partition = read_word(&sysfs.join("partition")).unwrap_or_default();
    Some(format!("disk {name} part {partition}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, name: &str) -> StoreConfig {
        let path = dir.path().join(name);
        fs::write(&path, "x").unwrap();
        StoreConfig { path: Some(path), ..StoreConfig::new(StoreKind::Fileio, name) }
    }

    #[test]
    fn fresh_identities_differ_and_are_well_formed() {
        let (a, b) = (Identity::fresh().unwrap(), Identity::fresh().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.naa.bytes()[0] >> 4, 3);
        assert_eq!((a.uuid[6] >> 4, a.uuid[8] >> 6), (4, 2));
        assert_eq!(a.serial.len(), 16);
        assert!(a.vendor.len() <= 8 && a.product.len() <= 16 && a.revision.len() <= 4);
    }

    #[test]
    fn a_file_has_one_derived_identity_by_every_path() {
        let dir = tempfile::tempdir().unwrap();
        let one = file(&dir, "a");
        std::os::unix::fs::symlink(one.path.as_ref().unwrap(), dir.path().join("link")).unwrap();
        let link = StoreConfig { path: Some(dir.path().join("link")), ..one.clone() };
        let identity = Identity::derived(&one).unwrap();
        assert_eq!(identity, Identity::derived(&one).unwrap());
        assert_eq!(identity, Identity::derived(&link).unwrap());
        assert_ne!(identity.serial, Identity::derived(&file(&dir, "b")).unwrap().serial);
        assert_eq!(identity.uuid[6] >> 4, 8);
    }

    #[test]
    fn the_machine_counts() {
        assert_ne!(hash(&["one", "disk"]), hash(&["two", "disk"]));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert!(!machine_id().is_empty());
    }

    #[test]
    fn a_disk_is_known_by_its_world_wide_name() {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("nvme0n1");
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir_all(disk.join("nvme0n1p2")).unwrap();
        assert_eq!(world_wide_name(&disk), None);
        fs::write(disk.join("wwid"), "eui.0025\n").unwrap();
        fs::write(disk.join("nvme0n1p2/partition"), "2\n").unwrap();
        assert_eq!(world_wide_name(&disk).unwrap(), "disk eui.0025 part ");
        assert_eq!(world_wide_name(&disk.join("nvme0n1p2")).unwrap(), "disk eui.0025 part 2");
    }

    #[test]
    fn memory_is_a_new_disk_each_time() {
        let config = StoreConfig::new(StoreKind::Ramdisk, "r");
        assert_ne!(Identity::derived(&config).unwrap(), Identity::derived(&config).unwrap());
    }

    #[test]
    fn what_is_not_there_has_no_derived_identity() {
        let path = Some("/nonexistent".into());
        assert!(
            Identity::derived(&StoreConfig { path, ..StoreConfig::new(StoreKind::Fileio, "x") }).is_err()
        );
    }

    #[test]
    fn choices_win_when_they_are_well_formed() {
        let identity = Identity::fresh().unwrap();
        let chosen = IdentityOverride {
            serial: Some("S-1".into()),
            naa: Some(vec![0x60; 16]),
            uuid: Some([9; 16]),
            ..IdentityOverride::default()
        };
        let with = identity.clone().with(&chosen).unwrap();
        assert_eq!((with.serial.as_str(), with.naa, with.uuid), ("S-1", Naa::Long([0x60; 16]), [9; 16]));
        for naa in [vec![], vec![0x60; 8], vec![0x30; 16], vec![0x10; 8]] {
            let chosen = IdentityOverride { naa: Some(naa), ..IdentityOverride::default() };
            assert!(identity.clone().with(&chosen).is_err());
        }
        let chosen = IdentityOverride {
            vendor: Some("ACME".into()),
            product: Some("BIG DISK".into()),
            revision: Some("4.0".into()),
            t10: Some("disk:1".into()),
            ..IdentityOverride::default()
        };
        let with = identity.clone().with(&chosen).unwrap();
        assert_eq!(
            [&*with.vendor, &with.product, &with.revision, with.t10()],
            ["ACME", "BIG DISK", "4.0", "disk:1"]
        );
        for vendor in ["", "TOO LONG!", " A", "ü"] {
            let chosen = IdentityOverride { vendor: Some(vendor.into()), ..IdentityOverride::default() };
            assert!(identity.clone().with(&chosen).is_err(), "{vendor}");
        }
        for serial in ["", "a b", "ü"] {
            let chosen = IdentityOverride { serial: Some(serial.into()), ..IdentityOverride::default() };
            assert!(identity.clone().with(&chosen).is_err());
        }
    }
}

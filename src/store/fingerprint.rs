//! What tells one medium from another: what was begun on one must not be done to the other that stands in its place, and
//! what was agreed on of one does not hold of the other.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::backing::{Backing, Medium};
use super::identity::world_wide_name;
use super::queue::sysfs_of;
use super::{StoreConfig, StoreKind, nvme};

/// Where what is on a store is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    path: PathBuf,
    /// The disk or file, however long it is.
    medium: String,
}

impl Place {
    /// Of the device or file of that store, as it is there now. What dies with the process has none, and what is passed
    /// through has names of its own.
    pub fn of(config: &StoreConfig) -> Option<Self> {
        let path = config.path.clone()?;
        let node = match config.kind {
            StoreKind::Block => nvme::block_node(&path),
            StoreKind::Fileio => None,
            StoreKind::Pscsi | StoreKind::Ramdisk | StoreKind::Null => return None,
        };
        let medium = whereabouts(&fs::metadata(node.as_ref().unwrap_or(&path)).ok()?);
        Some(Self { path, medium })
    }

    /// Whether it is certainly not the same. Disks are known by the names that they have of themselves. Without these
    /// numbers and inodes may be others though it is the same (a file system that is mounted anew, an image that was
    /// brought back), and only whoever has written another path means another.
    pub fn is_other_than(&self, was: &Self) -> bool {
        let are_named = [self, was].iter().all(|place| place.medium.starts_with(NAMED));
        self.medium != was.medium && (are_named || self.path != was.path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.medium.trim_end_matches(" part "))
    }
}

/// How the name begins that a disk has of itself.
const NAMED: &str = "disk ";

impl Backing {
    /// Where it is. Its file or device may have got another name since it was opened.
    pub fn place(&self) -> Option<Place> {
        let (path, Medium::File(medium)) = (self.path.clone()?, &self.medium) else { return None };
        Some(Place { path, medium: whereabouts(&medium.file.metadata().ok()?) })
    }

    /// Which medium this is and how long it is, the same after a restart as before: the disk by its own name, if it has
    /// one, or by its number; the file by its inode and the disk that it lies on. What dies with the process is never
    /// mistaken for either.
    ///
    /// # Errors
    /// When the kernel does not say, because the device has gone.
    pub fn fingerprint(&self) -> io::Result<String> {
        match &self.medium {
            Medium::File(medium) => {
                Ok(format!("{}, {} bytes", whereabouts(&medium.file.metadata()?), medium.bytes()?))
            }
            Medium::Ram(_) => Ok("memory".into()),
            Medium::Null => Ok("nothing".into()),
            Medium::Pass(_) => Ok("passed through".into()),
        }
    }
}

fn whereabouts(meta: &Metadata) -> String {
    match meta.file_type().is_block_device() {
        true => device(meta.rdev()),
        false => format!("file {} on {}", meta.ino(), device(meta.dev())),
    }
}

fn device(number: u64) -> String {
    let numbered = || format!("device {}:{}", libc::major(number), libc::minor(number));
    world_wide_name(&sysfs_of(number)).unwrap_or_else(numbered)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::super::open;
    use super::*;

    fn fingerprint(path: &std::path::Path) -> String {
        let config = StoreConfig { path: Some(path.into()), ..StoreConfig::new(StoreKind::Fileio, "f") };
        open(&config, Duration::ZERO).unwrap().fingerprint().unwrap()
    }

    #[test]
    fn a_file_is_known_again_and_another_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            File::create(&path).and_then(|file| file.set_len(1 << 20)).unwrap();
            path
        };
        let (one, two) = (make("one"), make("two"));
        let first = fingerprint(&one);
        assert_eq!(first, fingerprint(&one));
        assert_ne!(first, fingerprint(&two));
        let moved = dir.path().join("moved");
        fs::rename(&one, &moved).unwrap();
        assert_eq!(first, fingerprint(&moved), "by another name");
        File::options().write(true).open(&moved).and_then(|file| file.set_len(2 << 20)).unwrap();
        assert_ne!(first, fingerprint(&moved), "of another length");
    }

    #[test]
    fn a_medium_is_another_by_its_own_name_or_by_path_and_number() {
        let place = |path: &str, medium: &str| Place { path: path.into(), medium: medium.into() };
        let disk = place("/dev/sdb", "disk naa.5 part ");
        assert!(
            !place("/dev/disk/by-id/wwn-0x5", "disk naa.5 part ").is_other_than(&disk),
            "by another path"
        );
        assert!(place("/dev/sdb", "disk naa.6 part ").is_other_than(&disk), "in its slot");
        let file = place("/srv/a.img", "file 7 on device 0:45");
        assert!(!place("/srv/a.img", "file 7 on device 0:46").is_other_than(&file), "mounted anew");
        assert!(!place("/mnt/a.img", "file 7 on device 0:45").is_other_than(&file), "moved");
        assert!(place("/srv/b.img", "file 8 on device 0:45").is_other_than(&file));
        assert_eq!(
            (disk.to_string(), file.to_string()),
            ("/dev/sdb (disk naa.5)".to_owned(), "/srv/a.img (file 7 on device 0:45)".to_owned(),)
        );
    }

    #[test]
    fn a_store_is_in_one_place_before_and_while_it_is_open_and_however_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.img");
        File::create(&path).and_then(|file| file.set_len(1 << 20)).unwrap();
        let config = StoreConfig { path: Some(path.clone()), ..StoreConfig::new(StoreKind::Fileio, "a") };
        let (before, backing) = (Place::of(&config), open(&config, Duration::ZERO).unwrap());
        File::options().write(true).open(&path).and_then(|file| file.set_len(2 << 20)).unwrap();
        assert_eq!((before.clone(), Place::of(&config)), (backing.place(), before));
        let memory = StoreConfig { size: Some(1 << 20), ..StoreConfig::new(StoreKind::Ramdisk, "r") };
        let null = StoreConfig { kind: StoreKind::Null, ..memory.clone() };
        assert_eq!([Place::of(&memory), Place::of(&null)], [None, None]);
    }

    #[test]
    fn memory_is_no_disk() {
        let config = StoreConfig { size: Some(1 << 20), ..StoreConfig::new(StoreKind::Ramdisk, "r") };
        assert_eq!(open(&config, Duration::ZERO).unwrap().fingerprint().unwrap(), "memory");
    }
}

//! What tells one medium from another: what was begun on one must not be done to the other that stands in its place.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::backing::{Backing, Medium};
use super::identity::world_wide_name;
use super::queue::sysfs_of;

impl Backing {
    /// Which medium this is and how long it is, the same after a restart as before: the disk by its own name, if it has
    /// one, or by its number; the file by its inode and the disk that it lies on. What dies with the process is never
    /// mistaken for either.
    ///
    /// # Errors
    /// When the kernel does not say, because the device has gone.
    pub fn fingerprint(&self) -> io::Result<String> {
        match &self.medium {
            Medium::File(medium) => Ok(format!("{}, {} bytes", whereabouts(&medium.file)?, medium.bytes()?)),
            Medium::Ram(_) => Ok("memory".into()),
            Medium::Null => Ok("nothing".into()),
            Medium::Pass(_) => Ok("passed through".into()),
        }
    }
}

fn whereabouts(file: &File) -> io::Result<String> {
    let meta = file.metadata()?;
    if meta.file_type().is_block_device() {
        return Ok(device(meta.rdev()));
    }
    Ok(format!("file {} on {}", meta.ino(), device(meta.dev())))
}

fn device(number: u64) -> String {
    let numbered = || format!("device {}:{}", libc::major(number), libc::minor(number));
    world_wide_name(&sysfs_of(number)).unwrap_or_else(numbered)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{StoreConfig, StoreKind, open};
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
        std::fs::rename(&one, &moved).unwrap();
        assert_eq!(first, fingerprint(&moved), "by another name");
        File::options().write(true).open(&moved).and_then(|file| file.set_len(2 << 20)).unwrap();
        assert_ne!(first, fingerprint(&moved), "of another length");
    }

    #[test]
    fn memory_is_no_disk() {
        let config = StoreConfig { size: Some(1 << 20), ..StoreConfig::new(StoreKind::Ramdisk, "r") };
        assert_eq!(open(&config, Duration::ZERO).unwrap().fingerprint().unwrap(), "memory");
    }
}

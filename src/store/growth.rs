//! A file becomes longer while it is served.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::OpenError;
use super::backing::{Backing, FileMedium, Medium, UNBOUNDED};

/// Bytes that a file can have.
const LONGEST: u64 = i64::MAX as u64;

/// A file that is as long as it is to be, of which nobody sees more than before. When this goes before anybody does, it
/// is as long as it was.
#[derive(Debug)]
pub struct Growth {
    backing: Arc<Backing>,
    /// Bytes that it had.
    len: u64,
    /// Bytes that were served of it at most.
    bound: u64,
    /// Those that are to be.
    to: u64,
    /// Whether it is longer by this.
    lengthened: bool,
    kept: bool,
}

impl Backing {
    /// Whether it can be served with that size from now on: as long as it is, if there is none.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check_size(&self, size: Option<u64>) -> Result<(), OpenError> {
        let len = self.held()?;
        let (size, block) = (size.unwrap_or(len), u64::from(self.block_size));
        if size > LONGEST {
            let what = format!("cannot be {size} bytes long: no file can");
            return Err(OpenError::new(
                self.path(),
                what,
                format!("say {} at most", LONGEST - LONGEST % block),
            ));
        }
        if size < len {
            let what = format!("is {len} bytes long, and what lies behind the first {size} would be lost");
            let remedy = format!(
                "if that is meant, make it shorter first, and set its size then: truncate --size={size} '{}'",
                self.path().display()
            );
            return Err(OpenError::new(self.path(), what, remedy));
        }
        if !size.is_multiple_of(block) {
            let what =
                format!("cannot be {size} bytes long, which are no whole number of its blocks of {block}");
            return Err(OpenError::new(self.path(), what, format!("say {}", size.next_multiple_of(block))));
        }
        Ok(())
    }

    /// Bytes that there are to be lost: those of the file, and of nothing none.
    fn held(&self) -> Result<u64, OpenError> {
        match &self.medium {
            Medium::Null => Ok(0),
            _ => self.file()?.bytes().map_err(|e| self.failed("cannot be examined", &e)),
        }
    }

    fn file(&self) -> Result<&FileMedium, OpenError> {
        match &self.medium {
            Medium::File(medium) if !medium.is_block => Ok(medium),
            _ => Err(OpenError::new(self.path(), "is no file", "it has the size that it has")),
        }
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new(&self.name))
    }

    fn failed(&self, what: &str, error: &io::Error) -> OpenError {
        OpenError::from_io(self.path(), what, error)
    }
}

impl Growth {
    /// Makes a file that long, with all of its space where that is configured. Nothing is as long as is said.
    ///
    /// # Errors
    /// Why it cannot be, and what to do; then it is as it was.
    pub fn begin(backing: &Arc<Backing>, size: Option<u64>) -> Result<Self, OpenError> {
        backing.check_size(size)?;
        let len = backing.held()?;
        let bound = backing.bound.load(Relaxed);
        // Whoever watches it must not see that it is longer yet.
        backing.bound.store(bound.min(len), Relaxed);
        let to = size.unwrap_or(UNBOUNDED);
        let mut growth = Self { backing: backing.clone(), len, bound, to, lengthened: false, kept: false };
        if let (Ok(medium), Some(size)) = (backing.file(), size.filter(|size| *size > len)) {
            growth.lengthened = true;
            let what = || format!("cannot be made {size} bytes long");
            growth.lengthen(medium, size).map_err(|e| backing.failed(&what(), &e))?;
        }
        Ok(growth)
    }

    /// Space comes before length, as when a file is made.
    fn lengthen(&self, medium: &FileMedium, size: u64) -> io::Result<()> {
        self.backing.allocate(size / u64::from(self.backing.block_size))?;
        medium.file.set_len(size)?;
        medium.file.sync_all()
    }

    /// Space behind the end goes with that, too.
    fn shorten(&self) {
        let shortened = self.backing.file().map(|medium| medium.file.set_len(self.len));
        if let Ok(Err(error)) = shortened {
            tracing::warn!(store = self.backing.name, %error, "it cannot be made as long as it was");
        }
    }

    /// It stays so, and all of it may be seen; how many blocks that are.
    ///
    /// # Errors
    /// The kernel's, who does not say how long it is.
    pub fn keep(mut self) -> io::Result<u64> {
        self.kept = true;
        self.backing.bound.store(self.to, Relaxed);
        let said = self.to / u64::from(self.backing.block_size);
        Ok(self.backing.length()?.map_or(said, |length| length.blocks))
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if self.lengthened {
            self.shorten();
        }
        self.backing.bound.store(self.bound, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{StoreConfig, StoreKind, open};
    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk(dir: &tempfile::TempDir, size: Option<u64>, thin: Option<bool>) -> Arc<Backing> {
        let path = dir.path().join("disk.img");
        let config =
            StoreConfig { path: Some(path), size, thin, ..StoreConfig::new(StoreKind::Fileio, "disk") };
        open(&config, Duration::from_secs(5)).unwrap().into()
    }

    /// Bytes of the file, and bytes of it that are served.
    fn lengths(backing: &Backing) -> (u64, u64) {
        let served = backing.length().unwrap().unwrap().blocks * u64::from(backing.block_size);
        (backing.file().unwrap().bytes().unwrap(), served)
    }

    #[test]
    fn nobody_sees_that_a_file_is_longer_before_it_is_kept_so() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let backing = disk(&dir, Some(MIB), None);
        let growth = Growth::begin(&backing, Some(3 * MIB)).unwrap();
        assert_eq!(lengths(&backing), (3 * MIB, MIB));
        assert_eq!(growth.keep().unwrap(), 3 * MIB / u64::from(backing.block_size));
        assert_eq!(lengths(&backing), (3 * MIB, 3 * MIB));
        // As long as it is: what others add is seen.
        Growth::begin(&backing, None).unwrap().keep().unwrap();
        backing.file().unwrap().file.set_len(4 * MIB).unwrap();
        assert_eq!(lengths(&backing), (4 * MIB, 4 * MIB));
    }

    #[test]
    fn nothing_has_any_size() {
        let config = StoreConfig { size: Some(4 * MIB), ..StoreConfig::new(StoreKind::Null, "none") };
        let backing = Arc::new(open(&config, Duration::ZERO).unwrap());
        for size in [1 << 40, MIB] {
            assert_eq!(Growth::begin(&backing, Some(size)).unwrap().keep().unwrap(), size / 512);
        }
        assert!(
            backing.check_size(Some(MIB + 1)).unwrap_err().what.contains("no whole number of its blocks")
        );
        assert!(backing.check_size(Some(u64::MAX)).unwrap_err().what.contains("no file can"));
    }

    #[test]
    fn what_is_given_up_is_as_it_was() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir_in(".").unwrap();
        let backing = disk(&dir, Some(MIB), Some(false));
        let space = || backing.file().unwrap().file.metadata().unwrap().blocks() * 512;
        let before = space();
        let growth = Growth::begin(&backing, Some(2 * MIB)).unwrap();
        assert!(space() >= 2 * MIB, "all of it is allocated");
        drop(growth);
        assert_eq!((lengths(&backing), space()), ((MIB, MIB), before));
        let error = Growth::begin(&backing, Some(1 << 50)).unwrap_err();
        assert!(error.to_string().contains("cannot be made 1125899906842624 bytes long"), "{error}");
        assert_eq!((lengths(&backing), space()), ((MIB, MIB), before));
    }

    #[test]
    fn what_others_have_made_longer_stays_so() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let backing = disk(&dir, Some(MIB), None);
        for size in [None, Some(MIB)] {
            let growth = Growth::begin(&backing, size).unwrap();
            backing.file().unwrap().file.set_len(2 * MIB).unwrap();
            drop(growth);
            assert_eq!(lengths(&backing), (2 * MIB, MIB));
            backing.file().unwrap().file.set_len(MIB).unwrap();
        }
    }

    #[test]
    fn no_file_is_longer_than_files_can_be() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let backing = disk(&dir, Some(MIB), None);
        for size in [u64::MAX, u64::MAX - 511, 1 << 63] {
            let error = backing.check_size(Some(size)).unwrap_err();
            assert!(error.what.contains("no file can") && error.remedy.contains("at most"), "{error}");
        }
    }

    #[test]
    fn nothing_is_cut_off() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let backing = disk(&dir, Some(2 * MIB), None);
        let error = backing.check_size(Some(MIB)).unwrap_err();
        assert!(
            error.what.contains("would be lost") && error.remedy.contains("truncate --size=1048576"),
            "{error}"
        );
        let odd = backing.check_size(Some(2 * MIB + 100)).unwrap_err();
        assert!(odd.what.contains("no whole number of its blocks"), "{odd}");
        // Whoever insists makes it shorter himself.
        backing.file().unwrap().file.set_len(MIB).unwrap();
        Growth::begin(&backing, Some(MIB)).unwrap().keep().unwrap();
        assert_eq!(lengths(&backing), (MIB, MIB));
    }
}

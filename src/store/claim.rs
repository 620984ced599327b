//! Exclusive use of a store.
//!
//! A file is held by `flock` and a block device by `O_EXCL`. Both belong to the open file
//! description, which lives until the last write that was queued through it has ended, even when
//! the process is gone: so whoever gets the store knows that no write of a dead predecessor can
//! still land on it. A claim therefore waits for some time before it fails.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::holder::{Holder, Subject};
use super::service::with_service;
use super::{OpenError, StoreConfig};

/// How often a store that is held is asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the `flock` of a file: for itself alone, or, to read only, shared with other readers.
pub(super) fn lock(file: &File, shared: bool) -> io::Result<()> {
    let locked = if shared { file.try_lock_shared() } else { file.try_lock() };
    locked.map_err(|e| match e {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(e) => e,
    })
}

/// Repeats `attempt` while it says that somebody else has the store, for as long as `patience`.
///
/// # Errors
/// Whatever else `attempt` met, or who holds the store.
pub(super) fn claim<T>(
    path: &Path,
    patience: Duration,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Result<T, OpenError> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let error = match attempt() {
            Ok(claimed) => return Ok(claimed),
            Err(e) => e,
        };
        let subject = subject(&error, path)?;
        let holder = Holder::find(&subject);
        if !holder.may_let_go() || start.elapsed() >= patience {
            return Err(held(path, &holder, start.elapsed()));
        }
        if !told {
            tracing::warn!("{} is in use by {holder}; waiting for it", path.display());
            told = true;
        }
        sleep(PAUSE);
    }
}

/// What is held, when the error says that something is; otherwise the error.
fn subject(error: &io::Error, path: &Path) -> Result<Subject, OpenError> {
    let held = error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EBUSY);
    let failed = |e: &io::Error| OpenError::from_io(path, "cannot be opened", e);
    if !held {
        return Err(failed(error));
    }
    std::fs::metadata(path).map(|meta| Subject::of(&meta)).map_err(|e| failed(&e))
}

fn held(path: &Path, holder: &Holder, waited: Duration) -> OpenError {
    let waited = match waited.as_secs() {
        0 => String::new(),
        n => format!(" (waited {n} s)"),
    };
    let error = OpenError::new(path, format!("is in use by {holder}{waited}"), holder.remedy());
    OpenError { held: holder.may_let_go(), ..error }
}

impl OpenError {
    /// A problem of the store at `path`.
    pub(super) fn new(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into(), remedy: remedy.into(), held: false }
    }

    /// A failed system call on it.
    pub(super) fn from_io(path: &Path, what: &str, error: &io::Error) -> Self {
        let number = error.raw_os_error().unwrap_or_default();
        Self::new(path, format!("{what}: {error}"), with_service(remedy_for(error).into(), path, number))
    }

    /// A problem of a store that has no path.
    pub(super) fn of_config(
        config: &StoreConfig,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let path = config.path.clone().unwrap_or_else(|| config.name.clone().into());
        Self::new(&path, what, remedy)
    }
}

fn remedy_for(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "run as root, or as a user who may read and write it; or set read_only"
        }
        Some(libc::EROFS) => "set read_only, or make it writable",
        Some(libc::ENOENT) => "check the path; a file that is to be made needs a size, such as PATH:10G",
        Some(libc::ENOSPC | libc::EDQUOT) => "make space, or choose a smaller size",
        Some(libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM) => "check that the device is there: lsblk",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (LimitNOFILE=, ulimit -n)",
        Some(libc::EFBIG) => "choose a size that the file system can hold",
        _ => "see the kernel's messages: dmesg",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holders_pid() {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        let first = File::open(file.path()).unwrap();
        lock(&first, false).unwrap();
        let second = File::open(file.path()).unwrap();
        let e = claim(file.path(), Duration::ZERO, || lock(&second, true)).unwrap_err();
        assert!(!e.held && e.what.contains(&format!("process {}", std::process::id())), "{e}");
    }

    #[test]
    fn readers_share() {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        let (a, b) = (File::open(file.path()).unwrap(), File::open(file.path()).unwrap());
        lock(&a, true).unwrap();
        lock(&b, true).unwrap();
        assert_eq!(lock(&b, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn other_errors_are_not_waited_for() {
        let path = Path::new("/nonexistent/disk.img");
        let started = Instant::now();
        let e = claim(path, Duration::from_secs(30), || File::open(path)).unwrap_err();
        assert!(!e.held && e.what.contains("No such file") && e.remedy.contains("check the path"));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

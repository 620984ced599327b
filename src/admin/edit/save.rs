//! Saving a configuration: whole or not at all, for its owner only, with the last ones kept.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::admin::state;

/// How many earlier files are kept, unless somebody likes another number.
pub const BACKUPS: usize = 10;

/// A user and a group.
type Owner = (u32, u32);

/// Where the earlier ones of `file` are kept.
pub fn backup_dir(file: &Path) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).join("backup")
}

/// Puts `text` in the place of `file`, whose earlier content goes to the backups and whose owner it keeps: a daemon
/// that is not root's must be able to read what root has saved. A file that says the same already stays as it is.
///
/// # Errors
/// Of the file system, and when `file` is something else than a file; it is then what it was.
pub fn save(file: &Path, text: &str) -> io::Result<()> {
    save_keeping(file, text, BACKUPS)
}

/// The same, with so many backups, and one at least.
///
/// # Errors
/// As [`save`].
pub fn save_keeping(file: &Path, text: &str, backups: usize) -> io::Result<()> {
    let file = through_links(file)?;
    sweep(&file);
    let Some((before, owner)) = earlier(&file)? else {
        if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir)?;
        }
        return state::replace(&file, text.as_bytes());
    };
    if before == text.as_bytes() {
        return private(&file);
    }
    keep(&file, &before, owner, backups)?;
    state::replace_for(&file, text.as_bytes(), Some(owner))
}

/// What a file says so far and whose it is, if it is there.
fn earlier(file: &Path) -> io::Result<Option<(Vec<u8>, Owner)>> {
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file, and is left as it is"));
    }
    Ok(Some((fs::read(file)?, (meta.uid(), meta.gid()))))
}

/// Removes what saves that were killed have left of a file, with the secrets in it, and of its backups.
fn sweep(file: &Path) {
    let dir = file.parent().unwrap_or_else(|| Path::new("/"));
    state::sweep(dir, |name| file.file_name().is_some_and(|own| own == name));
    let backups = Name::of(file);
    state::sweep(&backup_dir(file), |name| backups.number(name).is_some());
}

/// A file that is named by a link is replaced where it is; the link stays.
fn through_links(file: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(file).is_ok() {
                return Err(io::Error::new(e.kind(), "it is a link to what is not there"));
            }
            std::path::absolute(file)
        }
        real => real,
    }
}

fn private(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

/// Adds a backup, and removes the oldest of more than `most`.
fn keep(file: &Path, content: &[u8], owner: Owner, most: usize) -> io::Result<()> {
    let dir = backup_dir(file);
    if !dir.exists() {
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        state::give(&dir, owner)?;
    }
    let name = Name::of(file);
    let mut kept = name.numbered(&dir)?;
    let next = kept.last().map_or(Some(1), |(number, _)| number.checked_add(1));
    let next = next.ok_or_else(|| io::Error::other("the last number of a backup is taken"))?;
    state::replace_for(&dir.join(name.with(next)), content, Some(owner))?;
    let surplus = (kept.len() + 1).saturating_sub(most.max(1));
    kept.drain(..surplus).try_for_each(|(_, old)| fs::remove_file(old))
}

/// How the backups of a file are called: after it, with a number.
struct Name {
    stem: String,
    ending: String,
}

impl Name {
    fn of(file: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
        Self {
            stem: text(file.file_stem()).unwrap_or_default(),
            ending: text(file.extension()).unwrap_or_else(|| "toml".into()),
        }
    }

    fn with(&self, number: u64) -> String {
        format!("{}-{number:06}.{}", self.stem, self.ending)
    }

    /// The number in a name, if it is one that was made here: others are not ours to count or to remove.
    fn number(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('-')?;
        let number = rest.strip_suffix(&self.ending)?.strip_suffix('.')?.parse().ok()?;
        (self.with(number) == name).then_some(number)
    }

    /// The backups, the oldest first.
    fn numbered(&self, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| self.number(name));
            found.extend(number.map(|number| (number, entry.path())));
        }
        found.sort_unstable();
        Ok(found)
    }
}

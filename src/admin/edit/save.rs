//! Saving a configuration: whole or not at all, for its owner only, with the last ones kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::admin::state;

/// How many earlier files are kept.
pub const BACKUPS: usize = 10;

/// Where the earlier ones of `file` are kept.
pub fn backup_dir(file: &Path) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).join("backup")
}

/// Puts `text` in the place of `file`, whose earlier content goes to the backups. A file that says the same already
/// stays as it is.
///
/// # Errors
/// Of the file system; the file is then what it was.
pub fn save(file: &Path, text: &str) -> io::Result<()> {
    let file = through_links(file);
    let before = match fs::read(&file) {
        Ok(before) => Some(before),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if before.as_deref() == Some(text.as_bytes()) {
        return private(&file);
    }
    if let Some(before) = before {
        keep(&file, &before)?;
    } else if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    state::replace(&file, text.as_bytes())
}

/// A file that is named by a link is replaced where it is; the link stays.
fn through_links(file: &Path) -> PathBuf {
    let real = fs::canonicalize(file).or_else(|_| std::path::absolute(file));
    real.unwrap_or_else(|_| file.to_owned())
}

fn private(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

/// Adds a backup, and removes the oldest of more than [`BACKUPS`].
fn keep(file: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = backup_dir(file);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut kept = numbered(&dir, &stem)?;
    let next = kept.last().map_or(1, |(number, _)| number + 1);
    state::replace(&dir.join(format!("{stem}-{next:06}.toml")), content)?;
    let surplus = (kept.len() + 1).saturating_sub(BACKUPS);
    kept.drain(..surplus).try_for_each(|(_, old)| fs::remove_file(old))
}

/// The backups of that stem, the oldest first.
fn numbered(dir: &Path, stem: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(".toml"));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

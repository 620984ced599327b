//! STORE: one argument for one disk.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::admin::config::check_geometry;
use crate::admin::size;
use crate::store::{StoreConfig, StoreKind};

/// What is wrong with a STORE, why, and what to type instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoreError {
    pub(super) what: String,
    pub(super) reason: &'static str,
    pub(super) remedy: String,
}

/// Reads a STORE. Of the machine it looks only at what kind of file a path is.
pub(super) fn parse(
    argument: &OsStr,
    name: String,
    block_size: Option<u32>,
) -> Result<StoreConfig, StoreError> {
    let (place, size) = split(argument)?;
    let mut store = match place.to_str() {
        Some("ram") if size.is_some() => StoreConfig::new(StoreKind::Ramdisk, name),
        Some("null") if size.is_some() => StoreConfig::new(StoreKind::Null, name),
        _ => at_path(place, size, name)?,
    };
    store.size = size;
    store.block_size = block_size;
    if let Some(size) = size {
        check_geometry(size, block_size).map_err(|(what, remedy)| StoreError {
            what,
            reason: "a disk is a whole number of blocks",
            remedy: format!("{remedy} as its size"),
        })?;
    }
    Ok(store)
}

/// Reads an image for a CD or DVD drive: a file or block device that is there.
pub(super) fn parse_image(argument: &OsStr, name: String) -> Result<StoreConfig, StoreError> {
    let path = Path::new(argument);
    if std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        let what = format!("{} does not exist", path.display());
        let remedy = "name an image, as made by xorriso or genisoimage".into();
        return Err(StoreError { what, reason: "a disc has to be there", remedy });
    }
    at_path(path, None, name).map(StoreConfig::into_cdrom)
}

/// The part before the size, and the size. What exists under the whole name is a path, whatever it looks
/// like; else what follows the last colon is a size if it looks like one.
fn split(argument: &OsStr) -> Result<(&Path, Option<u64>), StoreError> {
    let whole = Path::new(argument);
    let parts = argument.to_str().and_then(|text| text.rsplit_once(':'));
    let Some((place, tail)) = parts else { return Ok((whole, None)) };
    let memory = matches!(place, "ram" | "null");
    if !memory && (whole.exists() || !size::looks_like(tail) || place.is_empty()) {
        return Ok((whole, None));
    }
    let bytes = size::parse(tail).map_err(|error| StoreError {
        what: error.what,
        reason: "",
        remedy: error.remedy,
    })?;
    Ok((Path::new(place), Some(bytes)))
}

fn at_path(path: &Path, size: Option<u64>, name: String) -> Result<StoreConfig, StoreError> {
    let kind = StoreKind::of_path(path);
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(refused("is a directory", "a disk is a file or a device", path));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => absent(path, size)?,
        Err(error) => return Err(refused(&format!("cannot be used: {error}"), "", path)),
    }
    if kind == StoreKind::Block && size.is_some() {
        return Err(StoreError {
            what: format!("{} is a block device", path.display()),
            reason: "a device has its own size",
            remedy: format!("write {} alone", path.display()),
        });
    }
    // The daemon may change its directory; the store stays where it was named.
    let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    Ok(StoreConfig { path: Some(path), ..StoreConfig::new(kind, name) })
}

fn refused(what: &str, reason: &'static str, path: &Path) -> StoreError {
    let remedy = "name a block device or a file".into();
    StoreError { what: format!("{} {what}", path.display()), reason, remedy }
}

/// An absent file is made when its size is known, and where it can be made.
fn absent(path: &Path, size: Option<u64>) -> Result<(), StoreError> {
    let shown = path.display();
    let memory = matches!(path.to_str(), Some("ram" | "null"));
    if memory || size.is_none() {
        let what = if memory { format!("{shown} has no size") } else { format!("{shown} does not exist") };
        let reason = if memory { "" } else { "only with a size can it be made" };
        return Err(StoreError { what, reason, remedy: format!("write it with a size, as in {shown}:10G") });
    }
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if path.to_str().is_some_and(|p| p.starts_with("/dev/")) {
        let what = format!("there is no device {shown}");
        return Err(StoreError { what, reason: "", remedy: "name one that lsblk shows".into() });
    }
    if !dir.is_dir() {
        let what = format!("{shown} cannot be made: there is no directory {}", dir.display());
        return Err(StoreError { what, reason: "", remedy: format!("mkdir -p {}", dir.display()) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: impl AsRef<OsStr>) -> Result<StoreConfig, StoreError> {
        parse(argument.as_ref(), "a".into(), None)
    }

    #[test]
    fn memory_and_nothing() {
        let ram = read("ram:1G").unwrap();
        assert_eq!((ram.kind, ram.size, ram.path), (StoreKind::Ramdisk, Some(1 << 30), None));
        assert_eq!(read("null:1T").unwrap().kind, StoreKind::Null);
        assert!(read("ram").unwrap_err().remedy.contains("ram:10G"));
        assert!(read("ram:1GB").unwrap_err().what.contains("ambiguous"));
        assert!(read("ram:0").is_err() && read("ram:1000").is_err() && read("ram:x").is_err());
    }

    #[test]
    fn files_that_are_there_and_that_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.img");
        assert!(read(&file).unwrap_err().remedy.contains("a.img:10G"));
        let made = read(format!("{}:1G", file.display())).unwrap();
        assert_eq!(
            (made.kind, made.size, made.path.as_deref()),
            (StoreKind::Fileio, Some(1 << 30), Some(&*file))
        );
        std::fs::write(&file, "x").unwrap();
        assert_eq!(read(&file).unwrap().size, None);
        assert!(read(dir.path()).unwrap_err().what.contains("directory"));
        assert!(read("/nonexistent/a:1G").unwrap_err().remedy.contains("mkdir"));
        assert!(read("/dev/nonexistent:1G").unwrap_err().what.contains("no device"));
    }

    #[test]
    fn a_path_with_colons_stays_usable() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["pci-0000:00:1f.2-ata-1", "a:10"] {
            let file = dir.path().join(name);
            std::fs::write(&file, "x").unwrap();
            assert_eq!(read(&file).unwrap().path.as_deref(), Some(&*file));
        }
        let both = read(dir.path().join("b:c:512M")).unwrap();
        assert_eq!(both.path.as_deref(), Some(&*dir.path().join("b:c")));
    }

    #[test]
    fn a_device_has_its_own_size() {
        // /dev/null is a character device: what is no block device is taken for a file.
        assert_eq!(read("/dev/null").unwrap().kind, StoreKind::Fileio);
    }
}

//! Where a path really leads: a disk that is named twice is found out by that.

use std::fs;
use std::path::{Path, PathBuf};

use super::nvme;

const SYSFS: &str = "/sys/class/block";

/// The file or device that is opened by that path, behind links, generic nodes of NVMe, and loop devices that show a file
/// as a whole. What is not there is where it is said to be.
pub fn real_path(path: &Path) -> PathBuf {
    let held = nvme::block_node(path).unwrap_or_else(|| path.to_owned());
    let real = fs::canonicalize(&held).unwrap_or(held);
    behind_loop(Path::new(SYSFS), &real).unwrap_or(real)
}

/// The file of a loop device. One that shows a part of its file is a disk of its own, as a partition is.
fn behind_loop(sysfs: &Path, device: &Path) -> Option<PathBuf> {
    let name = device.strip_prefix("/dev").ok()?.to_str().filter(|name| name.starts_with("loop"))?;
    let of = |what: &str| fs::read_to_string(sysfs.join(name).join("loop").join(what)).ok();
    let is_whole = ["offset", "sizelimit"].iter().all(|what| of(what).is_some_and(|n| n.trim() == "0"));
    let file = PathBuf::from(of("backing_file").filter(|_| is_whole)?.trim_end_matches('\n'));
    Some(fs::canonicalize(&file).unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_device_is_the_file_that_it_shows_as_a_whole() {
        let sysfs = tempfile::tempdir().unwrap();
        let of_loop = sysfs.path().join("loop3/loop");
        fs::create_dir_all(&of_loop).unwrap();
        let write = |what: &str, text: &str| fs::write(of_loop.join(what), text).unwrap();
        write("backing_file", "/nowhere/a disk.img\n");
        write("offset", "0\n");
        write("sizelimit", "0\n");
        let behind = |device: &str| behind_loop(sysfs.path(), Path::new(device));
        assert_eq!(behind("/dev/loop3"), Some("/nowhere/a disk.img".into()));
        assert_eq!([behind("/dev/loop4"), behind("/dev/sda"), behind("/nowhere/loop3")], [None, None, None]);
        write("offset", "1048576\n");
        assert_eq!(behind("/dev/loop3"), None, "a part of it");
    }
}

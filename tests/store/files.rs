//! Files through the ring, on this file system and on one that has no way to zero a range.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ringtgt::store::{Fault, StoreConfig, StoreKind};

use super::harness::{Disk, open_free};

const MIB: u64 = 1 << 20;

fn config(dir: &Path) -> StoreConfig {
    let path = Some(dir.join("disk.img"));
    StoreConfig { path, size: Some(8 * MIB), ..StoreConfig::new(StoreKind::Fileio, "file") }
}

fn fill(disk: &mut Disk) {
    disk.write(0, &vec![7; 4 * MIB as usize], false).unwrap();
}

#[test]
fn a_file_is_read_written_and_flushed() {
    let dir = tempfile::tempdir_in(".").unwrap();
    for write_back in [true, false] {
        let config = StoreConfig { write_back: Some(write_back), ..config(dir.path()) };
        let mut disk = Disk::new(open_free(&config));
        let pattern: Vec<u8> = (0..MIB).map(|i| (i % 241) as u8).collect();
        disk.write(512, &pattern, false).unwrap();
        disk.write(0, &pattern[..512], true).unwrap();
        disk.flush().unwrap();
        assert_eq!(disk.read(512, MIB as u32).unwrap(), pattern);
        assert_eq!(disk.read(6 * MIB, 4096).unwrap(), [0; 4096]);
    }
}

#[test]
fn holes_give_space_back() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let config = config(dir.path());
    let mut disk = Disk::new(open_free(&config));
    fill(&mut disk);
    disk.flush().unwrap();
    let allocated = || std::fs::metadata(config.path.as_ref().unwrap()).unwrap().blocks() * 512;
    let before = allocated();
    disk.finish(disk.store.discard(0, 2 * MIB)).unwrap();
    assert!(allocated() <= before - 2 * MIB);
    assert_eq!(disk.read(2 * MIB - 512, 1024).unwrap()[511..513], [0, 7]);
}

#[test]
fn ranges_are_zeroed_whatever_the_file_system_can() {
    let here = tempfile::tempdir_in(".").unwrap();
    // tmpfs has no FALLOC_FL_ZERO_RANGE.
    let there = tempfile::tempdir_in("/dev/shm").unwrap();
    for dir in [here.path(), there.path()] {
        let write_through = StoreConfig { write_back: Some(false), ..config(dir) };
        let mut disk = Disk::new(open_free(&write_through));
        for unmap in [true, false] {
            fill(&mut disk);
            disk.finish(disk.store.zero(512, 3 * MIB, unmap)).unwrap();
            let read = disk.read(0, 4 * MIB as u32).unwrap();
            let zeroes = read.iter().filter(|byte| **byte == 0).count() as u64;
            assert_eq!((zeroes, read[511], read[512 + 3 * MIB as usize]), (3 * MIB, 7, 7));
        }
    }
}

#[test]
fn a_file_that_shrinks_is_a_read_error() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let config = config(dir.path());
    let mut disk = Disk::new(open_free(&config));
    fill(&mut disk);
    let file = std::fs::OpenOptions::new().write(true).open(config.path.unwrap()).unwrap();
    file.set_len(MIB).unwrap();
    assert_eq!(disk.read(2 * MIB, 4096), Err(Fault::Read));
    assert_eq!(disk.read(MIB - 4096, 8192), Err(Fault::Read));
}

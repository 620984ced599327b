//! Stores on a real ring: files, loop devices, mounts and full file systems. Needs root and loop devices;
//! without them these tests fail, because nothing else tries this code.

#[path = "store/files.rs"]
mod files;
#[path = "store/harness.rs"]
mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::{Disk, open_free, run};
use ringtgt::scsi::Identity;
use ringtgt::store::{DiscardMethod, Fault, Medium, StoreConfig, StoreKind, open};

const MIB: u64 = 1 << 20;

/// A loop device over a file of its own; both are gone when it is dropped.
struct Loop {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Loop {
    fn new(size: u64, options: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(".").unwrap();
        let file = dir.path().join("loop.img");
        fs::File::create(&file).unwrap().set_len(size).unwrap();
        let mut args = vec!["--find", "--show", "--direct-io=on"];
        args.extend(options);
        args.push(file.to_str().unwrap());
        let path = run("losetup", &args).expect("this test needs root and loop devices");
        Self { path: path.into(), dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("loop.img")
    }

    fn allocated(&self) -> u64 {
        fs::metadata(self.file()).unwrap().blocks() * 512
    }

    fn sysfs(&self, file: &str) -> PathBuf {
        Path::new("/sys/block").join(self.path.file_name().unwrap()).join(file)
    }

    fn config(&self) -> StoreConfig {
        StoreConfig { path: Some(self.path.clone()), ..StoreConfig::new(StoreKind::Block, "loop") }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(e) = run("losetup", &["--detach", self.path.to_str().unwrap()]) {
            eprintln!("{e}");
        }
    }
}

/// A mount that is taken away when it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(args: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let mut all = args.to_vec();
        all.push(at.to_str().unwrap());
        run("mount", &all).expect("this test needs root");
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(e) = run("umount", &["--lazy", self.0.to_str().unwrap()]) {
            eprintln!("{e}");
        }
    }
}

fn file_medium(medium: &mut Medium) -> &mut ringtgt::store::FileMedium {
    match medium {
        Medium::File(medium) => medium,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_is_read_written_and_flushed() {
    let device = Loop::new(8 * MIB, &[]);
    let backing = open_free(&device.config());
    assert_eq!((backing.bytes(), backing.block_size), (8 * MIB, 512));
    assert!(backing.warnings.is_empty(), "{:?}", backing.warnings);
    let mut disk = Disk::new(backing);
    let pattern: Vec<u8> = (0..MIB).map(|i| (i % 251) as u8).collect();
    disk.write(512, &pattern, false).unwrap();
    disk.write(4 * MIB, &pattern[..512], true).unwrap();
    disk.flush().unwrap();
    assert_eq!(disk.read(512, MIB as u32).unwrap(), pattern);
    assert_eq!(disk.read(4 * MIB, 1024).unwrap()[510..514], [pattern[510], pattern[511], 0, 0]);
    assert_eq!(disk.read(8 * MIB, 512), Err(Fault::Beyond));
}

#[test]
fn a_disc_on_a_device_of_larger_sectors_goes_through_the_page_cache() {
    for (sector, direct) in [("512", true), ("2048", true), ("4096", false)] {
        let device = Loop::new(4 * MIB, &["--sector-size", sector]);
        let pattern: Vec<u8> = (0..4 * MIB).map(|i| (i % 251) as u8).collect();
        fs::write(&device.path, &pattern).unwrap();
        let mut backing = open_free(&device.config().into_cdrom());
        assert_eq!((backing.block_size, backing.blocks), (2048, 2048), "{sector}");
        assert_eq!(file_medium(&mut backing.medium).direct, direct, "{sector}");
        assert!(backing.warnings.is_empty(), "{:?}", backing.warnings);
        let mut disk = Disk::new(backing);
        for at in [0, 2048, 3 * 2048, 4 * MIB - 2048] {
            assert_eq!(disk.read(at, 2048).unwrap(), pattern[at as usize..at as usize + 2048], "{sector}");
        }
        assert_eq!(disk.write(0, &pattern[..2048], false), Err(Fault::Protected));
    }
}

#[test]
fn a_device_is_opened_once() {
    let device = Loop::new(MIB, &[]);
    let first = open_free(&device.config());
    let e = open(&device.config(), Duration::ZERO).unwrap_err();
    assert!(e.what.contains(&format!("process {}", std::process::id())), "{e}");
    drop(first);
    open_free(&device.config());
}

#[test]
fn a_mounted_device_is_refused_at_once() {
    let device = Loop::new(16 * MIB, &[]);
    run("mkfs.ext4", &["-q", device.path.to_str().unwrap()]).unwrap();
    let at = device.dir.path().join("mnt");
    let mount = Mount::new(&[device.path.to_str().unwrap()], &at);
    let e = open(&device.config(), Duration::from_secs(600)).unwrap_err();
    let at = fs::canonicalize(&at).unwrap();
    assert!(e.what.contains(&format!("mounted at {}", at.display())) && e.remedy.contains("unmount"), "{e}");
    drop(mount);
    open_free(&device.config());
}

#[test]
fn large_sectors_make_large_blocks() {
    let device = Loop::new(8 * MIB, &["--sector-size", "4096"]);
    let small = StoreConfig { block_size: Some(512), ..device.config() };
    let e = open(&small, Duration::ZERO).unwrap_err();
    assert!(e.what.contains("smaller than the 4096"), "{e}");
    let backing = open_free(&device.config());
    assert_eq!((backing.block_size, backing.blocks), (4096, 2048));
}

#[test]
fn a_tail_that_is_no_block_is_left_out_with_a_warning() {
    let device = Loop::new(MIB + 512, &[]);
    let backing = open_free(&StoreConfig { block_size: Some(4096), ..device.config() });
    assert_eq!(backing.bytes(), MIB);
    assert!(backing.warnings[0].contains("last 512 bytes"), "{:?}", backing.warnings);
}

#[test]
fn a_read_only_device_is_served_read_only() {
    let device = Loop::new(MIB, &["--read-only"]);
    let e = open(&device.config(), Duration::ZERO).unwrap_err();
    assert!(e.remedy.contains("set read_only"), "{e}");
    let config = StoreConfig { read_only: true, ..device.config() };
    let mut disk = Disk::new(open_free(&config));
    assert_eq!(disk.write(0, &[1; 512], false), Err(Fault::Protected));
    assert_eq!(disk.read(0, 512).unwrap(), [0; 512]);
    disk.flush().unwrap();
}

#[test]
fn the_write_cache_is_that_of_the_device() {
    let device = Loop::new(MIB, &[]);
    for (word, cached) in [("write back", true), ("write through", false)] {
        fs::write(device.sysfs("queue/write_cache"), word).unwrap();
        let mut backing = open_free(&device.config());
        assert_eq!(backing.write_cache, cached, "{word}");
        assert!(!file_medium(&mut backing.medium).dsync_always);
    }
    fs::write(device.sysfs("queue/write_cache"), "write back").unwrap();
    let through = StoreConfig { write_back: Some(false), ..device.config() };
    let mut backing = open_free(&through);
    assert!(!backing.write_cache && file_medium(&mut backing.medium).dsync_always);
}

#[test]
fn discarded_space_is_given_back_and_reads_zero() {
    let device = Loop::new(8 * MIB, &[]);
    let mut backing = open_free(&device.config());
    assert!(backing.thin.unwrap().lbprz);
    assert_eq!(file_medium(&mut backing.medium).discard, DiscardMethod::Punch);
    let mut disk = Disk::new(backing);
    disk.write(0, &vec![7; 4 * MIB as usize], false).unwrap();
    disk.flush().unwrap();
    let before = device.allocated();
    disk.finish(disk.store.discard(512, 2 * MIB - 512)).unwrap();
    assert!(device.allocated() <= before - MIB, "{} of {before}", device.allocated());
    let read = disk.read(0, 1024).unwrap();
    assert_eq!(read[511..513], [7, 0]);
    assert_eq!(disk.read(2 * MIB - 512, 1024).unwrap()[511..513], [0, 7]);
}

#[test]
fn zeroed_ranges_read_zero_with_and_without_unmapping() {
    let device = Loop::new(8 * MIB, &[]);
    let mut disk = Disk::new(open_free(&device.config()));
    for unmap in [true, false] {
        disk.write(0, &vec![7; 4 * MIB as usize], false).unwrap();
        disk.finish(disk.store.zero(512, 3 * MIB, unmap)).unwrap();
        let read = disk.read(0, 4 * MIB as u32).unwrap();
        let zeroes = read.iter().filter(|byte| **byte == 0).count() as u64;
        assert_eq!((zeroes, read[511], read[512], read[512 + 3 * MIB as usize]), (3 * MIB, 7, 0, 7));
    }
}

#[test]
fn discards_without_a_promise_take_the_other_ways() {
    let device = Loop::new(8 * MIB, &[]);
    for ring in [false, true] {
        let mut backing = open_free(&device.config());
        file_medium(&mut backing.medium).discard = DiscardMethod::Forget;
        let mut disk = Disk::new(backing);
        if !ring {
            disk.without_ring_discard();
        }
        disk.write(0, &vec![7; 4 * MIB as usize], false).unwrap();
        disk.flush().unwrap();
        let before = device.allocated();
        disk.finish(disk.store.discard(0, 4 * MIB)).unwrap();
        assert!(device.allocated() <= before - 4 * MIB, "ring {ring}");
    }
}

#[test]
fn bytes_that_are_gone_are_a_read_error() {
    let device = Loop::new(8 * MIB, &[]);
    let mut disk = Disk::new(open_free(&device.config()));
    fs::OpenOptions::new().write(true).open(device.file()).unwrap().set_len(MIB).unwrap();
    assert_eq!(disk.read(4 * MIB, 4096), Err(Fault::Read));
    disk.read(0, 4096).unwrap();
}

/// As when it is pulled out: whoever has it open has a device of no length.
#[test]
fn a_device_without_its_length_is_gone() {
    let device = Loop::new(8 * MIB, &[]);
    let mut disk = Disk::new(open_free(&device.config()));
    assert_eq!(disk.store.cause(Fault::NoSpace, 4096), Fault::NoSpace, "a thin device may be full");
    fs::File::options().write(true).open(device.file()).unwrap().set_len(0).unwrap();
    run("losetup", &["--set-capacity", device.path.to_str().unwrap()]).unwrap();
    for fault in [disk.write(0, &[1; 4096], false).unwrap_err(), disk.read(0, 4096).unwrap_err()] {
        assert_eq!(disk.store.cause(fault, 4096), Fault::Gone, "the kernel calls it {fault:?}");
    }
}

#[test]
fn a_full_file_system_is_no_space() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let at = dir.path().join("mnt");
    let mount = Mount::new(&["-t", "tmpfs", "-o", "size=1M", "none"], &at);
    let path = Some(at.join("disk.img"));
    let config = StoreConfig { path, size: Some(4 * MIB), ..StoreConfig::new(StoreKind::Fileio, "full") };
    let mut disk = Disk::new(open_free(&config));
    assert_eq!(disk.write(0, &vec![7; 2 * MIB as usize], false), Err(Fault::NoSpace));
    disk.finish(disk.store.discard(0, 4 * MIB)).unwrap();
    disk.write(MIB, &[7; 4096], false).unwrap();
    let thick = StoreConfig { thin: Some(false), path: Some(at.join("thick.img")), ..config };
    assert!(open(&thick, Duration::ZERO).unwrap_err().remedy.contains("make space"));
    drop((disk, mount));
}

#[test]
fn a_device_without_a_world_wide_name_has_a_derived_identity_by_its_path() {
    let (one, two) = (Loop::new(MIB, &[]), Loop::new(MIB, &[]));
    let identity = Identity::derived(&one.config()).unwrap();
    assert_eq!(identity, Identity::derived(&one.config()).unwrap());
    assert_ne!(identity, Identity::derived(&two.config()).unwrap());
}

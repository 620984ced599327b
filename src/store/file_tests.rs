//! Files of every shape, on the file system of this source tree.

use std::os::unix::fs::PermissionsExt;

use super::super::{StoreKind, open, reopen};
use super::*;

const MIB: u64 = 1 << 20;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(".").unwrap()
}

fn config(dir: &tempfile::TempDir, size: Option<u64>) -> StoreConfig {
    let path = Some(dir.path().join("disk.img"));
    StoreConfig { path, size, ..StoreConfig::new(StoreKind::Fileio, "disk") }
}

fn now(config: &StoreConfig) -> Result<Backing, OpenError> {
    open(config, Duration::ZERO)
}

/// Opens what is free, or held a moment longer by a child process that another test is starting.
fn free(config: &StoreConfig) -> Backing {
    open(config, Duration::from_secs(10)).unwrap_or_else(|e| panic!("{e}"))
}

/// What is wrong with a store that nobody holds.
fn refused(config: &StoreConfig) -> OpenError {
    open(config, Duration::from_secs(10)).unwrap_err()
}

fn allocated(config: &StoreConfig) -> u64 {
    fs::metadata(config.path.as_ref().unwrap()).unwrap().blocks() * 512
}

#[test]
fn a_new_file_is_sparse_and_private() {
    let dir = dir();
    let config = config(&dir, Some(64 * MIB));
    let backing = free(&config);
    assert_eq!((backing.bytes(), allocated(&config)), (64 * MIB, 0));
    assert!(backing.write_cache && backing.thin.unwrap().lbprz && backing.warnings.is_empty());
    assert_eq!(fs::metadata(config.path.unwrap()).unwrap().permissions().mode() & 0o777, 0o600);
    let Medium::File(medium) = backing.medium else { panic!("a file") };
    assert!(medium.direct && !medium.dsync_always && medium.discard == DiscardMethod::Punch);
}

#[test]
fn a_thick_file_is_allocated_when_made_and_when_opened() {
    let dir = dir();
    let thin = config(&dir, Some(8 * MIB));
    drop(free(&thin));
    let thick = StoreConfig { thin: Some(false), ..thin };
    assert_eq!(free(&thick).thin, None);
    assert!(allocated(&thick) >= 8 * MIB);
    fs::remove_file(thick.path.as_ref().unwrap()).unwrap();
    drop(free(&thick));
    assert!(allocated(&thick) >= 8 * MIB);
}

#[test]
fn what_cannot_be_allocated_leaves_nothing_behind() {
    let dir = dir();
    let config = StoreConfig { thin: Some(false), ..config(&dir, Some(1 << 50)) };
    let e = now(&config).unwrap_err();
    assert!(e.what.contains("cannot be made"), "{e}");
    assert!(!config.path.unwrap().exists());
}

#[test]
fn a_second_opener_is_refused_until_the_first_lets_go() {
    let dir = dir();
    let config = config(&dir, Some(MIB));
    let first = free(&config);
    let e = now(&config).unwrap_err();
    assert!(e.what.contains(&std::process::id().to_string()), "{e}");
    let reader = StoreConfig { read_only: true, ..config };
    assert!(now(&reader).is_err());
    drop(first);
    let _both = (free(&reader), free(&reader));
}

#[test]
fn a_dying_holder_is_waited_for() {
    let dir = dir();
    let config = config(&dir, Some(MIB));
    drop(free(&config));
    let mut holder = std::process::Command::new("flock")
        .args(["--no-fork", "-x", config.path.as_ref().unwrap().to_str().unwrap(), "sleep", "0.5"])
        .spawn()
        .expect("flock of util-linux");
    std::thread::sleep(Duration::from_millis(200));
    let e = now(&config).unwrap_err();
    assert!(e.what.contains(&format!("process {}", holder.id())), "{e}");
    open(&config, Duration::from_secs(30)).unwrap();
    holder.wait().unwrap();
}

#[test]
fn read_only_opens_without_writing() {
    let dir = dir();
    let writer = config(&dir, Some(MIB));
    drop(free(&writer));
    let backing = free(&StoreConfig { read_only: true, size: None, ..writer });
    assert!(backing.read_only && !backing.write_cache && backing.thin.is_none());
    let Medium::File(medium) = backing.medium else { panic!("a file") };
    assert!(medium.file.set_len(0).is_err());
}

/// An image of that many bytes, and the disc on it.
fn disc(dir: &tempfile::TempDir, len: usize) -> StoreConfig {
    let config = config(dir, None).into_cdrom();
    fs::write(config.path.as_ref().unwrap(), vec![7; len]).unwrap();
    config
}

#[test]
fn an_image_becomes_a_disc() {
    let dir = dir();
    let config = disc(&dir, 5 * 2048);
    let backing = free(&config);
    assert_eq!((backing.block_size, backing.blocks, backing.physical_exponent), (2048, 5, 1));
    assert!(backing.read_only && backing.removable && !backing.write_cache && backing.thin.is_none());
    assert!(backing.warnings.is_empty());
    free(&config);
    let facts = backing.facts(crate::scsi::Identity::fresh().unwrap(), Default::default(), true);
    assert_eq!((facts.device, &*facts.identity.product), (crate::scsi::DeviceType::Cdrom, "VIRTUAL-CDROM"));
}

#[test]
fn a_block_that_is_there_in_part_is_not_lost() {
    let dir = dir();
    let config = disc(&dir, 5 * 2048 + 100);
    let backing = free(&config);
    assert_eq!(backing.blocks, 6);
    assert!(backing.warnings[0].contains("its last 100 bytes are no whole block of 2048"));
    let now = backing.length().unwrap().unwrap();
    assert_eq!((now.blocks, now.over), (6, 0));
    drop(backing);
    assert!(refused(&disc(&dir, 0)).what.contains("no size"));
}

#[test]
fn sizes_must_agree_and_be_whole_blocks() {
    let dir = dir();
    let made = config(&dir, Some(MIB));
    drop(free(&made));
    assert!(refused(&StoreConfig { size: Some(2 * MIB), ..made.clone() }).what.contains("not 2097152"));
    assert_eq!(free(&StoreConfig { size: None, ..made.clone() }).bytes(), MIB);
    OpenOptions::new().write(true).open(made.path.as_ref().unwrap()).unwrap().set_len(MIB + 7).unwrap();
    let e = refused(&StoreConfig { size: None, ..made });
    assert!(e.what.contains("7 more") && e.remedy.contains("truncate --size=1049088"), "{e}");
}

#[test]
fn of_a_longer_file_its_size_is_served_and_the_rest_is_left_alone() {
    let dir = dir();
    let config = config(&dir, Some(MIB));
    let all = vec![7; 2 * MIB as usize];
    fs::write(config.path.as_ref().unwrap(), &all).unwrap();
    let backing = free(&config);
    assert_eq!(backing.bytes(), MIB);
    assert_eq!(backing.length().unwrap().unwrap().kept_out, MIB);
    assert_eq!(fs::read(config.path.unwrap()).unwrap(), all);
}

#[test]
fn a_new_file_of_broken_size_is_not_made() {
    let dir = dir();
    for block_size in [None, Some(4096)] {
        let config = StoreConfig { block_size, ..config(&dir, Some(MIB + 512 + 7)) };
        assert!(now(&config).is_err());
        assert!(!config.path.unwrap().exists());
    }
}

#[test]
fn an_absent_or_empty_file_needs_a_size() {
    let dir = dir();
    let config = config(&dir, None);
    assert!(now(&config).unwrap_err().remedy.contains("needs a size"));
    fs::write(config.path.as_ref().unwrap(), "").unwrap();
    assert!(now(&config).unwrap_err().what.contains("has no size"));
}

#[test]
fn blocks_of_4096_can_be_asked_for() {
    let dir = dir();
    let backing = free(&StoreConfig { block_size: Some(4096), ..config(&dir, Some(MIB)) });
    assert_eq!((backing.block_size, backing.blocks, backing.physical_exponent), (4096, 256, 0));
}

#[test]
fn write_through_makes_every_write_durable() {
    let dir = dir();
    let backing = free(&StoreConfig { write_back: Some(false), ..config(&dir, Some(MIB)) });
    let Medium::File(medium) = backing.medium else { panic!("a file") };
    assert!(medium.dsync_always && !backing.write_cache);
}

#[test]
fn what_is_no_file_is_refused_with_the_remedy() {
    let here = StoreConfig { path: Some(".".into()), ..StoreConfig::new(StoreKind::Fileio, "x") };
    assert!(now(&here).unwrap_err().what.contains("neither"));
    let null = StoreConfig { path: Some("/dev/null".into()), ..here };
    assert!(now(&null).unwrap_err().what.contains("neither"));
    assert!(reopen(&null, Duration::ZERO).unwrap_err().what.contains("neither"), "before it is opened");
}

#[test]
fn what_was_there_before_is_not_made_anew() {
    let dir = dir();
    let config = config(&dir, Some(MIB));
    let path = config.path.as_ref().unwrap();
    let said = || reopen(&config, Duration::from_secs(10)).unwrap_err().to_string();
    assert!(said().contains("is not there, and is not made anew") && !path.exists(), "{}", said());
    fs::write(path, "").unwrap();
    assert!(said().contains("is empty") && said().contains("truncate --size=1048576"), "{}", said());
    assert_eq!(fs::metadata(path).unwrap().len(), 0, "somebody may be copying it there");
    OpenOptions::new().write(true).open(path).unwrap().set_len(MIB).unwrap();
    assert_eq!(reopen(&config, Duration::from_secs(10)).unwrap().bytes(), MIB);
}

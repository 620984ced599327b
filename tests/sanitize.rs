//! Sanitize and format operations of a real daemon: what is told of their progress, that they outlive its process, and
//! what is left when they fail.

#[path = "support/daemon.rs"]
#[allow(dead_code)] // it serves more than one test
mod daemon;
#[path = "support/e2e.rs"]
#[allow(dead_code)] // it serves more than one test
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use ringtgt::initiator::{Command as Submitted, Direction, Done, Initiator, LoginOptions, cdb};

use daemon::{Daemon, TARGET};
use support::{Life, PATIENCE, SmallFs};

const BLOCK: usize = 512;
const SANITIZING: Option<(u8, u8, u8)> = Some((0x2, 0x04, 0x1b));
const FORMATTING: Option<(u8, u8, u8)> = Some((0x2, 0x04, 0x04));
const FAILED: Option<(u8, u8, u8)> = Some((0x3, 0x31, 0x03));

/// A daemon with one thin file as its disk, whose state is where the next one finds it.
struct Site {
    dir: tempfile::TempDir,
    image: PathBuf,
    size: &'static str,
    daemon: Daemon,
}

impl Site {
    fn new(size: &'static str) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let image = dir.path().join("disk.img");
        Self::on(dir, image, size)
    }

    fn on(dir: tempfile::TempDir, image: PathBuf, size: &'static str) -> Self {
        let daemon = start(dir.path(), &image, size);
        Self { dir, image, size, daemon }
    }

    /// Another daemon on the same disk and state, after this one has ended.
    fn restart(&mut self) {
        self.daemon = start(self.dir.path(), &self.image, self.size);
    }

    fn login(&self, number: u8) -> Initiator {
        let name = format!("iqn.2026-11.org.example:i{number}");
        let mut initiator =
            Initiator::login(self.daemon.portal(), LoginOptions::new(&name, Some(TARGET)), PATIENCE)
                .expect("a login");
        // The unit attention of the login, with whatever stands behind it.
        ready(&mut initiator);
        initiator
    }
}

fn start(dir: &Path, image: &Path, size: &str) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command
        .args(["serve", "--log", "error", "--listen", "127.0.0.1:0", "--iqn", TARGET, "--reactors", "2"])
        .args(["--block-size", "512", "--state-dir"])
        .arg(dir.join("state"))
        .arg(format!("{}:{size}", image.display()));
    Daemon::start(command)
}

fn ready(initiator: &mut Initiator) -> Option<(u8, u8, u8)> {
    initiator.execute(0, cdb::TEST_UNIT_READY, Direction::None, Vec::new()).expect("an answer").sense_code()
}

/// OVERWRITE as a command that has yet to be sent.
fn overwrite(pattern: &[u8], passes: u8, immediate: bool) -> Submitted {
    let buffer = cdb::overwrite_list(pattern, passes);
    let cdb = cdb::overwrite(immediate, buffer.len() as u16);
    Submitted { lun: 0, cdb, direction: Direction::Out, buffer, user: 0 }
}

fn run(initiator: &mut Initiator, command: Submitted) -> Done {
    let Submitted { lun, cdb, direction, buffer, .. } = command;
    initiator.execute(lun, cdb, direction, buffer).expect("an answer")
}

/// What REQUEST SENSE tells: key and code, and the progress indication.
fn told(initiator: &mut Initiator) -> (Option<(u8, u8, u8)>, u16) {
    let done = initiator.execute(0, cdb::request_sense(18), Direction::In, vec![0; 18]).expect("an answer");
    assert!(done.is_good());
    let sense = &done.buffer;
    let progress = if sense[15] & 0x80 != 0 { u16::from_be_bytes([sense[16], sense[17]]) } else { 0 };
    (Some((sense[2] & 15, sense[12], sense[13])), progress)
}

fn wait_until_ready(initiator: &mut Initiator) {
    while let Some(code) = ready(initiator) {
        assert!(code == SANITIZING.unwrap() || code == FORMATTING.unwrap(), "{code:02x?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn is_all(site: &Site, byte: u8) -> bool {
    let content = std::fs::read(&site.image).expect("the disk");
    content.iter().all(|b| *b == byte)
}

#[test]
fn progress_goes_up_and_others_are_kept_out() {
    let site = Site::new("64M");
    let (mut worker, mut watcher) = (site.login(1), site.login(2));
    let tag = worker.submit(overwrite(&[0x5a], 31, false)).expect("room for a command");
    worker.flush().expect("it is sent");
    while ready(&mut watcher).is_none() {}
    let (mut last, mut seen) = (0, std::collections::BTreeSet::new());
    while ready(&mut watcher) == SANITIZING {
        let read = watcher.read(0, 0, 1, BLOCK).expect("an answer");
        let (code, progress) = told(&mut watcher);
        if code == SANITIZING {
            assert!(progress >= last, "{progress} after {last}");
            (last, _) = (progress, seen.insert(progress));
            assert!(read.sense_code() == SANITIZING, "{:?}", read.sense_code());
        }
    }
    assert!(seen.len() > 2, "{seen:?}");
    assert!(worker.wait(tag).expect("an answer").is_good());
    assert_eq!((ready(&mut worker), ready(&mut watcher)), (None, None));
    assert!(is_all(&site, 0x5a));
}

/// Killed in the middle, and told to stop in the middle: it goes on with the next daemon.
#[test]
fn it_outlives_the_process() {
    let mut site = Site::new("64M");
    let mut worker = site.login(1);
    assert!(worker.write(0, 0, 256, vec![0x11; 256 * BLOCK]).expect("a write").is_good());
    assert!(run(&mut worker, overwrite(&[0x5a, 0xa5], 31, true)).is_good());
    assert_eq!(ready(&mut worker), SANITIZING);
    site.daemon.kill();
    site.restart();
    let mut worker = site.login(1);
    assert_eq!(ready(&mut worker), SANITIZING, "after kill -9");
    drop(worker);
    site.daemon.ask_to_stop();
    let ended = site.daemon.child.wait().expect("its end");
    assert!(ended.success(), "{ended}");
    site.restart();
    let mut worker = site.login(1);
    assert_eq!(ready(&mut worker), SANITIZING, "after SIGTERM");
    wait_until_ready(&mut worker);
    let content = std::fs::read(&site.image).expect("the disk");
    assert!(content.as_chunks().0.iter().all(|pair| *pair == [0x5a, 0xa5]));
    site.daemon.kill();
    site.restart();
    assert_eq!(ready(&mut site.login(1)), None, "that it has ended is remembered too");
}

#[test]
fn blocks_are_erased_and_given_back() {
    let site = Site::new("64M");
    let mut worker = site.login(1);
    assert!(worker.write(0, 0, 2048, vec![0x11; 2048 * BLOCK]).expect("a write").is_good());
    let done = worker.execute(0, cdb::block_erase(false), Direction::None, Vec::new()).expect("an answer");
    assert!(done.is_good(), "{:?}", done.sense_code());
    assert!(is_all(&site, 0));
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&site.image).expect("the disk"));
    assert!(blocks * 512 < 256 * BLOCK as u64, "{blocks} blocks are still taken");
}

/// A thin disk that has no room to be overwritten: closed until the blocks are erased instead, whoever restarts.
#[test]
fn one_that_fails_keeps_the_disk_closed() {
    let small = SmallFs::new(4 << 20);
    let dir = tempfile::tempdir().expect("a directory");
    let image = small.path().join("disk.img");
    let mut site = Site::on(dir, image, "16M");
    let mut worker = site.login(1);
    let done = run(&mut worker, overwrite(&[0x5a], 1, false));
    assert_eq!(done.sense_code(), FAILED);
    assert_eq!(ready(&mut worker), FAILED);
    assert_eq!(told(&mut worker).0, FAILED);
    assert_eq!(worker.read(0, 0, 1, BLOCK).expect("an answer").sense_code(), FAILED);
    site.daemon.kill();
    site.restart();
    let mut worker = site.login(1);
    assert_eq!(ready(&mut worker), FAILED, "after kill -9");
    let mut exit = [0; 16];
    (exit[0], exit[1]) = (0x48, 0x1f);
    let done = worker.execute(0, exit, Direction::None, Vec::new()).expect("an answer");
    assert_eq!(done.sense_code(), Some((5, 0x24, 0)), "AUSE was zero");
    let done = worker.execute(0, cdb::block_erase(false), Direction::None, Vec::new()).expect("an answer");
    assert!(done.is_good(), "{:?}", done.sense_code());
    assert_eq!(ready(&mut worker), None);
    assert!(is_all(&site, 0));
}

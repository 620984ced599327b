//! Real daemons, real sockets, real files: data is what was written, whatever happens to the processes.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/e2e.rs"]
mod support;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ringtgt::initiator::{Command, Direction, Error, Initiator, LoginError, LoginOptions, cdb};
use ringtgt::session::keys::DIGEST_DEMANDED;
use ringtgt::target::{ChapAlgorithm, Credential};
use ringtgt::wire::codes::{AsyncEvent, LoginStatus, LogoutResponseCode};

use daemon::{Daemon, TARGET};
use support::{
    Disk, Life, LoopDevice, PATIENCE, SmallFs, fill, login, open_files_allowed, options, resident_kib,
    secret_file,
};

const MIB: u64 = 1 << 20;

/// A file of zeroes in a directory that is gone with the test.
fn scratch_file(size: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    fs::File::create(&path).and_then(|file| file.set_len(size)).expect("a file");
    (dir, path)
}

/// Writes and reads at random places in all sizes, against a model of the disk.
fn exercise(daemon: &Daemon, options: LoginOptions, lun: u16, rounds: u64) {
    let mut initiator = login(daemon, options);
    let (blocks, block) = initiator.capacity(lun).expect("a capacity");
    let mut disk = Disk::new(blocks.min(32 * MIB / u64::from(block)), block);
    disk.load(&mut initiator, lun);
    for round in 0..rounds {
        let (lba, count) = disk.place(round);
        let data = fill(round, count as usize * block as usize);
        let done = initiator.write(lun, lba, count, data.clone()).expect("a write");
        assert!(done.is_good(), "{:?}", done.sense_code());
        disk.wrote(lba, &data);
        let (lba, count) = disk.place(round.wrapping_mul(31) + 7);
        let done = initiator.read(lun, lba, count, count as usize * block as usize).expect("a read");
        assert!(done.is_good(), "{:?}", done.sense_code());
        assert!(done.buffer == disk.bytes(lba, count), "round {round}: {count} blocks at {lba} differ");
    }
    disk.check_all(&mut initiator, lun);
    assert_eq!(initiator.logout().expect("a logout"), LogoutResponseCode::SUCCESS);
}

#[test]
fn data_is_what_was_written_in_all_sizes() {
    let (_dir, path) = scratch_file(64 * MIB);
    let daemon = Daemon::serve(&[path.to_str().expect("text"), "ram:64M"]);
    exercise(&daemon, options(1), 0, 120);
    exercise(&daemon, options(1), 1, 120);
}

#[test]
fn data_is_what_was_written_with_digests() {
    let (_dir, path) = scratch_file(64 * MIB);
    let daemon = Daemon::serve(&[path.to_str().expect("text"), "ram:64M"]);
    let mut options = options(1);
    options.wishes.header_digest = DIGEST_DEMANDED;
    options.wishes.data_digest = DIGEST_DEMANDED;
    exercise(&daemon, options.clone(), 0, 40);
    exercise(&daemon, options, 1, 40);
}

/// Whatever was in the slots that reads take, and whether it is looked at for a digest.
#[test]
fn nothing_reads_as_zeroes_whatever_is_written() {
    let daemon = Daemon::serve(&["null:64M", "ram:64M"]);
    for digest in [None, Some(DIGEST_DEMANDED)] {
        let mut options = options(1);
        options.wishes.data_digest = digest.unwrap_or(options.wishes.data_digest);
        let mut initiator = login(&daemon, options);
        for (lba, blocks) in [(0, 1), (8, 8), (7, 512), (1, 2049), (64, 8192)] {
            let len = blocks as usize * 512;
            for lun in [0, 1] {
                initiator.clear_attention(lun).expect("it answers");
                let wrote = initiator.write(lun, lba, blocks, vec![0xa5; len]).expect("a write");
                assert_eq!(wrote.status, 0);
            }
            let read = initiator.read(0, lba, blocks, len).expect("a read");
            assert!(read.status == 0 && read.buffer == vec![0; len], "{blocks} blocks at {lba}");
        }
    }
}

#[test]
fn data_is_what_was_written_however_it_travels() {
    let daemon = Daemon::serve(&["ram:64M"]);
    for (initial_r2t, immediate_data, burst, segment, r2ts) in [
        (true, false, 65536, 8192, 1),
        (true, true, 16384, 4096, 4),
        (false, false, 262_144, 65536, 8),
        (false, true, 512, 512, 2),
    ] {
        let mut options = options(1);
        options.wishes.initial_r2t = initial_r2t;
        options.wishes.immediate_data = immediate_data;
        options.wishes.max_burst_length = burst;
        options.wishes.first_burst_length = burst / 2 + 256;
        options.wishes.max_recv_data_segment_length = segment;
        options.wishes.max_outstanding_r2t = r2ts;
        exercise(&daemon, options, 0, 24);
    }
}

#[test]
fn data_is_what_was_written_in_blocks_of_4096() {
    let (_dir, path) = scratch_file(64 * MIB);
    let daemon = Daemon::serve(&["--block-size", "4096", path.to_str().expect("text"), "ram:64M"]);
    let mut initiator = login(&daemon, options(1));
    assert_eq!(initiator.capacity(0).expect("a capacity"), (64 * MIB / 4096, 4096));
    assert_eq!(initiator.capacity(1).expect("a capacity"), (64 * MIB / 4096, 4096));
    drop(initiator);
    exercise(&daemon, options(1), 0, 40);
    exercise(&daemon, options(1), 1, 40);
}

/// A daemon with one ramdisk whose portal sends without copies, and where it logs.
fn uncopied_daemon(dir: &Path) -> (Daemon, PathBuf) {
    let (config, log) = (dir.join("ringtgt.toml"), dir.join("log"));
    let text = format!(
        "[[backstore]]\nkind = \"ramdisk\"\nname = \"r\"\nsize = \"64M\"\n\
         [[portal]]\naddress = \"127.0.0.1:0\"\nzero_copy = true\n\
         [[target]]\niqn = \"{TARGET}\"\n\
         [[target.tpg]]\ntag = 1\nportals = [\"127.0.0.1:0\"]\nany_initiator = true\n\
         [[target.tpg.lun]]\nlun = 0\nbackstore = \"r\"\n"
    );
    fs::write(&config, text).expect("a configuration");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("its mode");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--log", "info", "--reactors", "2", "--state-dir"]).arg(dir.join("state"));
    command.arg("--config").arg(config).stderr(fs::File::create(&log).expect("a log"));
    (Daemon::start(command), log)
}

/// Loopback always copies, which the kernel says afterwards; kernels that cannot say so are not asked.
#[test]
fn data_is_what_was_written_without_copies_and_loopback_is_found_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (daemon, log) = uncopied_daemon(dir.path());
    exercise(&daemon, options(1), 0, 60);
    let mut digests = options(2);
    digests.wishes.data_digest = DIGEST_DEMANDED;
    exercise(&daemon, digests, 0, 20);
    let said = fs::read_to_string(&log).expect("a log");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("zero_copy")).collect();
    assert_eq!(lines.len(), 1, "it is said once: {said}");
    assert!(
        ["copies all the same", "has no effect", "refuses"].iter().any(|what| lines[0].contains(what)),
        "{lines:?}"
    );
}

/// The daemon as an old kernel would have it.
fn on_old_kernel(level: &str) {
    let (_dir, path) = scratch_file(64 * MIB);
    let path = path.to_str().expect("text");
    let daemon = Daemon::serve(&["--kernel-level", level, "--reactors", "2", path, "ram:64M"]);
    thread::scope(|scope| {
        for number in 0..4 {
            let daemon = &daemon;
            scope.spawn(move || hammer(daemon, number, 4, 0, 20));
        }
    });
    exercise(&daemon, options(9), 0, 40);
    exercise(&daemon, options(9), 1, 40);
}

#[test]
fn it_serves_as_on_linux_5_10() {
    on_old_kernel("5.10");
}

#[test]
fn it_serves_as_on_linux_5_15() {
    on_old_kernel("5.15");
}

/// Many commands at once in this session's own part of the disk, then all of it read back.
fn hammer(daemon: &Daemon, number: u8, of: u8, lun: u16, rounds: u64) {
    const DEPTH: u64 = 24;
    let mut initiator = login(daemon, options(number));
    let (blocks, block) = initiator.capacity(lun).expect("a capacity");
    let part = blocks / u64::from(of);
    let base = part * u64::from(number);
    let stride = (part / DEPTH).min(128);
    for round in 0..rounds {
        let tags: Vec<_> = (0..DEPTH)
            .map(|n| {
                let data = fill(round << 16 | n << 8 | u64::from(number), stride as usize * block as usize);
                let cdb = cdb::write(base + n * stride, stride as u32);
                initiator.submit(Command { lun, cdb, direction: Direction::Out, buffer: data, user: n })
            })
            .collect();
        for tag in tags {
            let done = initiator.wait(tag.expect("room")).expect("an answer");
            assert!(done.is_good(), "{:?}", done.sense_code());
        }
    }
    for n in 0..DEPTH {
        let wanted = fill((rounds - 1) << 16 | n << 8 | u64::from(number), stride as usize * block as usize);
        let done = initiator.read(lun, base + n * stride, stride as u32, wanted.len()).expect("a read");
        assert!(done.buffer == wanted, "session {number}: piece {n} differs");
    }
}

/// Several sessions on one logical unit, spread over reactors.
fn on_reactors(reactors: &str) {
    let (_dir, path) = scratch_file(64 * MIB);
    let path = path.to_str().expect("text");
    let daemon = Daemon::serve(&["--reactors", reactors, path, "ram:64M"]);
    for lun in [0, 1] {
        thread::scope(|scope| {
            for number in 0..6 {
                let daemon = &daemon;
                scope.spawn(move || hammer(daemon, number, 6, lun, 20));
            }
        });
    }
}

#[test]
fn one_disk_is_served_by_two_reactors() {
    on_reactors("2");
}

#[test]
fn one_disk_is_served_by_three_reactors() {
    on_reactors("3");
}

#[test]
fn what_one_reactor_wrote_another_reads() {
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    let (mut one, mut two) = (login(&daemon, options(1)), login(&daemon, options(2)));
    for round in 0..200 {
        let data = fill(round, 8192);
        assert!(one.write(0, round * 16, 16, data.clone()).expect("a write").is_good());
        assert!(two.read(0, round * 16, 16, 8192).expect("a read").buffer == data, "round {round}");
        std::mem::swap(&mut one, &mut two);
    }
}

fn credential(user: &str, secret: &str) -> Credential {
    Credential { user: user.into(), secret: secret.to_owned().into() }
}

#[test]
fn chap_lets_in_who_knows_the_secret() {
    let (_dir, file) = secret_file("a-secret-of-some-length");
    let daemon = Daemon::serve(&["--chap-user", "user", "--chap-secret-file", &file, "ram:1M"]);
    for algorithm in [ChapAlgorithm::Md5, ChapAlgorithm::Sha1, ChapAlgorithm::Sha256, ChapAlgorithm::Sha3_256]
    {
        let mut options = options(1);
        options.chap = Some(credential("user", "a-secret-of-some-length"));
        options.algorithms = vec![algorithm];
        let mut initiator = login(&daemon, options);
        assert_eq!(initiator.ping(b"in").expect("an echo"), b"in");
    }
}

#[test]
fn chap_keeps_everybody_else_out() {
    let (_dir, file) = secret_file("a-secret-of-some-length");
    let daemon = Daemon::serve(&["--chap-user", "user", "--chap-secret-file", &file, "ram:1M"]);
    let cases = [
        None,
        Some(credential("user", "another-secret-as-long")),
        Some(credential("other", "a-secret-of-some-length")),
    ];
    for chap in cases {
        let options = LoginOptions { chap, ..options(1) };
        let refusal = Initiator::login(daemon.portal(), options, PATIENCE).expect_err("no login");
        let refused =
            matches!(refusal, Error::Login(LoginError::Refused(LoginStatus::AUTHENTICATION_FAILURE)));
        assert!(refused, "{refusal}");
    }
}

#[test]
fn chap_works_in_both_directions() {
    let (_dir, config) = support::mutual_config();
    let daemon = Daemon::start(support::serve_config(&config));
    let own = credential("user", "the-initiators-secret");
    let mut options = LoginOptions { chap: Some(own), ..options(1) };
    options.mutual = Some(credential("target-user", "the-targets-own-secret"));
    assert_eq!(login(&daemon, options.clone()).ping(b"in").expect("an echo"), b"in");
    options.mutual = Some(credential("target-user", "what-an-impostor-has"));
    let refusal = Initiator::login(daemon.portal(), options, PATIENCE).expect_err("no login");
    assert!(matches!(refusal, Error::Login(LoginError::Chap(_))), "{refusal}");
}

#[test]
fn discovery_shows_the_target_where_it_was_reached() {
    let daemon = Daemon::serve(&["ram:1M"]);
    let discovery = LoginOptions::new("iqn.2026-11.org.example:i1", None);
    let mut initiator = login(&daemon, discovery);
    let told = initiator.send_targets().expect("an answer");
    assert_eq!(told, format!("TargetName={TARGET}\nTargetAddress={},1\n", daemon.portal()));
}

#[test]
fn a_read_only_disk_cannot_be_written() {
    let (_dir, path) = scratch_file(MIB);
    fs::write(&path, fill(1, MIB as usize)).expect("its bytes");
    let daemon = Daemon::serve(&["--read-only", path.to_str().expect("text")]);
    let mut initiator = login(&daemon, options(1));
    let done = initiator.write(0, 0, 8, vec![9; 4096]).expect("an answer");
    assert_eq!(done.sense_code(), Some((7, 0x27, 0)));
    assert!(initiator.read(0, 0, 8, 4096).expect("a read").buffer == fill(1, MIB as usize)[..4096]);
    drop(daemon);
    assert!(fs::read(&path).expect("its bytes") == fill(1, MIB as usize), "nothing has changed");
}

#[test]
fn a_full_file_system_is_told_as_such() {
    let small = SmallFs::new(8 * MIB);
    let store = format!("{}:64M", small.path().join("disk.img").display());
    let daemon = Daemon::serve(&[&store]);
    let mut initiator = login(&daemon, options(1));
    let mut told = None;
    for at in 0..64 {
        let done = initiator.write(0, at * 2048, 2048, fill(at, MIB as usize)).expect("an answer");
        if !done.is_good() {
            told = done.sense_code();
            break;
        }
    }
    assert_eq!(told, Some((7, 0x27, 7)), "DATA PROTECT, space allocation failed");
    assert!(initiator.read(0, 0, 2048, MIB as usize).expect("a read").buffer == fill(0, MIB as usize));
    assert_eq!(initiator.ping(b"on").expect("an echo"), b"on");
}

#[test]
fn what_lies_beyond_a_shrunken_file_is_out_of_range() {
    let (_dir, path) = scratch_file(16 * MIB);
    let daemon = Daemon::serve(&[path.to_str().expect("text")]);
    let mut initiator = login(&daemon, options(1));
    fs::File::options().write(true).open(&path).and_then(|f| f.set_len(MIB)).expect("a shorter file");
    // Whether or not it is noticed in the course of this, which a unit attention says.
    let mut read = |lba, blocks: u32| loop {
        let done = initiator.read(0, lba, blocks, blocks as usize * 512).expect("an answer");
        match done.sense_code() {
            Some((6, 0x2a, 9)) => {}
            told => return told,
        }
    };
    assert_eq!(read(8 * MIB / 512, 8), Some((5, 0x21, 0)), "ILLEGAL REQUEST, LBA out of range");
    assert_eq!(read(0, 8), None, "what is there is there");
    // Part of this one is there, and may have been sent before the rest fails.
    let start = MIB - 512 * 1024;
    for _ in 0..20 {
        assert_eq!(read(start / 512, 4096), Some((5, 0x21, 0)));
    }
}

/// Sends TEST UNIT READY until it brings a unit attention, and what that says and after how long.
fn attention(initiator: &mut Initiator, lun: u16) -> (Option<(u8, u8, u8)>, Duration) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let done =
            initiator.execute(lun, cdb::TEST_UNIT_READY, Direction::None, Vec::new()).expect("an answer");
        if !done.is_good() {
            return (done.sense_code(), start.elapsed());
        }
        thread::sleep(Duration::from_millis(20));
    }
    (None, start.elapsed())
}

#[test]
fn a_file_that_grows_and_shrinks_is_noticed() {
    let (_dir, path) = scratch_file(16 * MIB);
    let daemon = Daemon::serve(&["--reactors", "3", path.to_str().expect("text")]);
    let mut initiators: Vec<Initiator> = (1..=4).map(|n| login(&daemon, options(n))).collect();
    for size in [32 * MIB, 24 * MIB + 100] {
        fs::File::options().write(true).open(&path).and_then(|f| f.set_len(size)).expect("another length");
        for initiator in &mut initiators {
            assert_eq!(attention(initiator, 0).0, Some((6, 0x2a, 9)), "CAPACITY DATA HAS CHANGED");
            let (blocks, block) = initiator.capacity(0).expect("a capacity");
            assert_eq!(blocks, size / u64::from(block), "whole blocks");
            let last = initiator.write(0, blocks - 1, 1, fill(size, block as usize)).expect("an answer");
            assert!(last.is_good(), "{:?}", last.sense_code());
            let beyond = initiator.read(0, blocks, 1, block as usize).expect("an answer");
            assert_eq!(beyond.sense_code(), Some((5, 0x21, 0)));
        }
    }
}

#[test]
fn a_device_that_grows_is_noticed_at_once() {
    let device = LoopDevice::new(Path::new("."), 16 * MIB);
    let daemon = Daemon::serve(&[device.path()]);
    let mut initiator = login(&daemon, options(1));
    let (before, block) = initiator.capacity(0).expect("a capacity");
    device.resize(48 * MIB);
    let (told, after) = attention(&mut initiator, 0);
    assert_eq!(told, Some((6, 0x2a, 9)));
    println!("noticed after {after:?}");
    assert_eq!(initiator.capacity(0).expect("a capacity"), (before * 3, block));
}

#[test]
fn a_unit_without_space_goes_on_when_there_is_some_again() {
    let small = SmallFs::new(16 * MIB);
    let ballast = small.path().join("ballast");
    fs::write(&ballast, vec![1; 8 * MIB as usize]).expect("something that takes space");
    let store = format!("{}:64M", small.path().join("disk.img").display());
    let daemon = Daemon::serve(&[&store]);
    let mut initiator = login(&daemon, options(1));
    let mut write = |at: u64| {
        initiator.write(0, at * 2048, 2048, fill(at, MIB as usize)).expect("an answer").sense_code()
    };
    let full = (0..64).find(|at| write(*at).is_some()).expect("more cannot fit");
    assert_eq!(write(full), Some((7, 0x27, 7)), "DATA PROTECT, space allocation failed");
    fs::remove_file(&ballast).expect("its end");
    assert_eq!(write(full), None, "there is space again");
}

#[test]
fn a_file_system_that_runs_full_is_told_to_everybody() {
    let small = SmallFs::new(64 * MIB);
    let config = small.path().join("ringtgt.toml");
    let text = format!(
        "[server]\nstate_dir = \"{dir}/state\"\ncontrol_socket = \"{dir}/control.sock\"\n\
         [[backstore]]\nkind = \"fileio\"\nname = \"a\"\npath = \"{dir}/a.img\"\nsize = \"128M\"\n\
         low_space = \"32M\"\n\
         [[target]]\niqn = \"{TARGET}\"\n[[target.tpg]]\ntag = 1\nportals = [\"127.0.0.1:0\"]\n\
         any_initiator = true\n[[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n",
        dir = small.path().display()
    );
    fs::write(&config, text).expect("a configuration");
    let daemon = Daemon::start(support::serve_config(&config));
    let mut initiators: Vec<Initiator> = (1..=2).map(|n| login(&daemon, options(n))).collect();
    for at in 0..40 {
        let done = initiators[0].write(0, at * 2048, 2048, fill(at, MIB as usize)).expect("an answer");
        assert!(done.is_good() || done.sense_code() == Some((6, 0x38, 7)), "{:?}", done.sense_code());
    }
    assert_eq!(attention(&mut initiators[1], 0).0, Some((6, 0x38, 7)), "SOFT THRESHOLD REACHED");
    thread::sleep(Duration::from_secs(4));
    initiators[1].clear_attention(0).expect("a ready unit");
    let mut cdb = [0; 16];
    cdb[..9].copy_from_slice(&[0x4d, 0, 0x40 | 0x0c, 0, 0, 0, 0, 0, 64]);
    let page = initiators[1].execute(0, cdb, Direction::In, vec![0; 64]).expect("an answer").buffer;
    let count = |at: usize| u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    assert_eq!((page[0], page[5], page[17]), (0x8c, 1, 2));
    assert!(count(8) < 32, "{} MiB are left", count(8));
    assert!((39..=40).contains(&count(20)), "{} MiB are used", count(20));
}

#[test]
fn what_is_mapped_anchored_and_deallocated_is_told_apart() {
    let (_dir, path) = scratch_file(4 * MIB);
    let daemon = Daemon::serve(&[path.to_str().expect("text")]);
    let mut initiator = login(&daemon, options(1));
    assert!(initiator.write(0, 0, 4096, fill(1, 2 * MIB as usize)).expect("a write").is_good());
    // WRITE SAME(16) of 512 KiB: UNMAP and NDOB, then with ANCHOR too.
    for (flags, lba) in [(0x09, 1024_u64), (0x19, 2048)] {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1]) = (0x93, flags);
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&1024_u32.to_be_bytes());
        let done = initiator.execute(0, cdb, Direction::None, Vec::new()).expect("an answer");
        assert!(done.is_good(), "{:?}", done.sense_code());
    }
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x12, 255);
    let told = initiator.execute(0, cdb, Direction::In, vec![0; 255]).expect("an answer").buffer;
    let length = u32::from_be_bytes([told[0], told[1], told[2], told[3]]) as usize;
    let descriptors: Vec<(u32, u8)> = (told[8..length + 4].chunks_exact(16))
        .map(|d| (u32::from_be_bytes([d[8], d[9], d[10], d[11]]), d[12]))
        .collect();
    assert_eq!(descriptors, [(1024, 0), (1024, 1), (1024, 2), (1024, 0), (4096, 1)]);
    let read = initiator.read(0, 1024, 2048, MIB as usize).expect("a read");
    assert!(read.is_good() && read.buffer.iter().all(|byte| *byte == 0), "zeroes both");
}

/// Kills the daemon amid deep writes, starts another on the same file at once, and overwrites the same blocks,
/// those first that the dead one was asked for last: none of its writes may land on top of the new data.
fn kill_and_overwrite(path: &str, rounds: u64) {
    const DEPTH: u64 = 192;
    const BLOCKS: u32 = 512;
    const HEAD: u32 = 8;
    let arguments = ["--reactors", "1", "--buffer-memory", "128M", path];
    for round in 0..rounds {
        let mut daemon = Daemon::serve(&arguments);
        let mut initiator = login(&daemon, options(1));
        for n in 0..DEPTH {
            let (cdb, buffer) = (cdb::write(n * u64::from(BLOCKS), BLOCKS), fill(n, BLOCKS as usize * 512));
            initiator
                .submit(Command { lun: 0, cdb, direction: Direction::Out, buffer, user: n })
                .expect("room");
        }
        // The first are answered, the others are anywhere between the socket and the disk.
        initiator.next_event().expect("an answer");
        daemon.kill();
        let daemon = Daemon::serve(&arguments);
        let mut initiator = login(&daemon, options(1));
        let new = |n: u64| fill(1 << 32 | round << 16 | n, HEAD as usize * 512);
        for n in (0..DEPTH).rev() {
            assert!(initiator.write(0, n * u64::from(BLOCKS), HEAD, new(n)).expect("a write").is_good());
        }
        thread::sleep(Duration::from_millis(200));
        for n in 0..DEPTH {
            let done = initiator.read(0, n * u64::from(BLOCKS), HEAD, HEAD as usize * 512).expect("a read");
            assert!(done.buffer == new(n), "round {round}: an old write has overwritten piece {n}");
        }
    }
}

#[test]
fn new_data_stands_after_a_kill_amid_writes() {
    let (_dir, path) = scratch_file(64 * MIB);
    kill_and_overwrite(path.to_str().expect("text"), 5);
}

#[test]
fn new_data_stands_after_a_kill_amid_writes_to_a_device() {
    let device = LoopDevice::new(Path::new("."), 64 * MIB);
    kill_and_overwrite(device.path(), 3);
}

#[test]
fn a_device_whose_space_is_gone_is_told_as_such() {
    let small = SmallFs::new(8 * MIB);
    let device = LoopDevice::new(small.path(), 64 * MIB);
    let daemon = Daemon::serve(&[device.path()]);
    let mut initiator = login(&daemon, options(1));
    let told: Vec<_> = (0..32)
        .map(|at| {
            initiator.write(0, at * 2048, 2048, fill(at, MIB as usize)).expect("an answer").sense_code()
        })
        .filter(Option::is_some)
        .collect();
    assert!(!told.is_empty(), "more cannot fit");
    // Loop devices tell ENOSPC as such, or as EIO, as the kernel has it.
    assert!(told.iter().all(|s| matches!(s, Some((7, 0x27, 7) | (3, 0x0c, 0)))), "{told:?}");
    assert_eq!(initiator.ping(b"on").expect("an echo"), b"on");
}

#[test]
fn flushed_data_survives_a_kill() {
    let (_dir, path) = scratch_file(16 * MIB);
    let path = path.to_str().expect("text");
    let mut daemon = Daemon::serve(&[path]);
    let mut initiator = login(&daemon, options(1));
    assert!(initiator.write(0, 0, 2048, fill(5, MIB as usize)).expect("a write").is_good());
    let flushed = initiator.execute(0, cdb::synchronize_cache(), Direction::None, Vec::new());
    assert!(flushed.expect("an answer").is_good());
    daemon.kill();
    let daemon = Daemon::serve(&[path]);
    let mut initiator = login(&daemon, options(1));
    assert!(initiator.read(0, 0, 2048, MIB as usize).expect("a read").buffer == fill(5, MIB as usize));
}

#[test]
fn a_stop_asks_initiators_to_log_out() {
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    let (mut one, mut two) = (login(&daemon, options(1)), login(&daemon, options(2)));
    assert!(one.write(0, 0, 8, fill(1, 4096)).expect("a write").is_good());
    let start = Instant::now();
    daemon.ask_to_stop();
    for initiator in [&mut one, &mut two] {
        let message = initiator.wait_async().expect("a message");
        assert_eq!(message.async_event, AsyncEvent::LOGOUT_REQUESTED.0);
        assert!(message.parameter3.get() > 0, "some time is given");
    }
    assert!(one.read(0, 0, 8, 4096).expect("a read").buffer == fill(1, 4096), "it serves until the logout");
    assert_eq!(one.logout().expect("a logout"), LogoutResponseCode::SUCCESS);
    assert_eq!(two.logout().expect("a logout"), LogoutResponseCode::SUCCESS);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8), "it does not wait for nobody");
}

#[test]
fn a_stop_does_not_wait_forever() {
    let daemon = Daemon::serve(&["ram:16M"]);
    let deaf = login(&daemon, options(1));
    let start = Instant::now();
    daemon.ask_to_stop();
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(deaf);
}

#[test]
fn connections_that_never_log_in_cost_little() {
    const COUNT: usize = 2000;
    open_files_allowed(COUNT as u64 + 200);
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    let mut busy = login(&daemon, options(1));
    let before = resident_kib(daemon.pid());
    let idle: Vec<TcpStream> =
        (0..COUNT).map(|_| TcpStream::connect(daemon.portal()).expect("a connection")).collect();
    for round in 0..50 {
        assert!(busy.write(0, round * 8, 8, fill(round, 4096)).expect("a write").is_good());
    }
    let mut late = login(&daemon, options(2));
    assert!(late.read(0, 0, 8, 4096).expect("a read").buffer == fill(0, 4096));
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < COUNT as u64 * 32, "{grown} KiB for {COUNT} connections");
    drop(idle);
    assert_eq!(busy.ping(b"still").expect("an echo"), b"still");
}

#[test]
fn idle_sessions_cost_little() {
    const COUNT: usize = 2000;
    open_files_allowed(COUNT as u64 + 200);
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    let mut busy = login(&daemon, options(1));
    let before = resident_kib(daemon.pid());
    let mut idle: Vec<Initiator> = (0..COUNT)
        .map(|n| {
            let mut options = options(2);
            options.isid[3..5].copy_from_slice(&(n as u16).to_be_bytes());
            login(&daemon, options)
        })
        .collect();
    assert!(busy.write(0, 0, 8, fill(1, 4096)).expect("a write").is_good());
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < COUNT as u64 * 64, "{grown} KiB for {COUNT} sessions");
    for session in &mut idle {
        assert_eq!(session.ping(b"there").expect("an echo"), b"there");
    }
}

/// What the only reactor of a daemon that served `work` on that store says of itself at its end, word by word.
fn counted(store: &str, work: impl FnOnce(&mut Initiator)) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--log", "info", "--reactors", "1", "--listen", "127.0.0.1:0", "--iqn", TARGET]);
    command.arg("--state-dir").arg(dir.path()).arg(store).current_dir(dir.path());
    command.stderr(fs::File::create(&log).expect("a file"));
    let daemon = Daemon::start(command);
    work(&mut login(&daemon, options(1)));
    daemon.ask_to_stop();
    assert_eq!(daemon.wait().code(), Some(0));
    let told = fs::read_to_string(log).expect("what it logged");
    let line = told.lines().rfind(|l| l.contains("reactor 0: ")).expect("its counters");
    line.split([' ', ',']).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// The number that stands so many words behind a word, or before it.
fn number(words: &[String], word: &str, by: isize) -> u64 {
    let at = words.iter().position(|w| w == word).and_then(|at| at.checked_add_signed(by));
    at.and_then(|at| words.get(at)?.parse().ok())
        .unwrap_or_else(|| panic!("no number of {word} in {words:?}"))
}

/// What is counted of some writes, of which no more than that share may be copied.
fn counted_writes(store: &str, size: usize, blocks: u32, most: f64) -> Vec<String> {
    let counters = counted(store, |initiator| {
        for round in 0..32 {
            assert!(initiator.write(0, 0, blocks, fill(round, size)).expect("a write").is_good());
        }
    });
    let (written, copied) = (number(&counters, "written", 1), number(&counters, "copied", 1));
    assert_eq!(written, 32 * size as u64);
    let share = copied as f64 / written as f64;
    assert!(share <= most, "{share} of {written} bytes copied to {store}, {size} each");
    counters
}

#[test]
fn a_write_to_memory_is_copied_once() {
    // Of a long one the part that comes to staging is copied to its slot before.
    for (size, blocks, most) in [(4 << 10, 8, 1.0), (64 << 10, 128, 1.25), (256 << 10, 512, 1.07)] {
        let counters = counted_writes("ram:16M", size, blocks, most);
        assert!(
            number(&counters, "copied", 1) >= number(&counters, "written", 1),
            "all of it, to where it stays"
        );
    }
}

#[test]
fn payload_is_placed_and_not_copied() {
    for (size, blocks, most) in [(4 << 10, 8, 1.0), (64 << 10, 128, 0.25), (256 << 10, 512, 0.07)] {
        let of_writes = counted_writes("./disk.img:16M", size, blocks, most);
        let of_reads = counted("./disk.img:16M", |initiator| {
            for _ in 0..32 {
                assert!(initiator.read(0, 0, blocks, size).expect("a read").is_good());
            }
        });
        assert_eq!(number(&of_reads, "read", 1), 32 * size as u64);
        assert_eq!(number(&of_reads, "copied", 1), 0, "of reads of {size} each");
        for counters in [of_writes, of_reads] {
            let [enters, turns, waits] = ["enters", "turns", "waits"].map(|word| number(&counters, word, -1));
            assert!(enters <= turns + waits, "a turn is one system call, and one more where it waits");
        }
    }
}

#[test]
fn a_flood_of_pings_whose_answers_are_not_read_hurts_nobody_else() {
    let daemon = Daemon::serve(&["--reactors", "1", "ram:16M"]);
    let mut bystander = login(&daemon, options(1));
    let before = resident_kib(daemon.pid());
    let mut flood = login(&daemon, options(2));
    flood.stream().set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    for _ in 0..20_000 {
        flood.core_mut().nop(&[7; 4096]);
    }
    assert!(flood.flush().is_err(), "the target stops reading what it cannot answer");
    for round in 0..100 {
        assert!(bystander.write(0, round * 8, 8, fill(round, 4096)).expect("a write").is_good());
    }
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
}

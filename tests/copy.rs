//! Third-party copies by a real daemon: what is moved, who may, and what is told.

#[path = "support/daemon.rs"]
mod daemon;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ringtgt::initiator::cdb::{self, CopySegment};
use ringtgt::initiator::{Command as Submitted, Direction, Done, Initiator, LoginOptions};

use ringtgt::scsi::status;

use daemon::{Daemon, TARGET};

const PATIENCE: Duration = Duration::from_secs(60);
const BLOCK: usize = 512;

/// Five disks of one target and one of another. The initiator `i1` sees LUNs 0 to 3 of the first, LUN 3 to read only;
/// LUN 4 is for `i2`. Both see the other target.
fn served() -> (tempfile::TempDir, Daemon) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut text = format!("[server]\nstate_dir = \"{}\"\n", path("state"));
    for name in ["a", "b"] {
        text += &format!(
            "[[backstore]]\nkind = \"fileio\"\nname = \"{name}\"\npath = \"{}\"\nsize = \"16M\"\nblock_size = 512\n",
            path(name)
        );
    }
    for name in ["c", "d", "e", "stranger"] {
        text += &format!(
            "[[backstore]]\nkind = \"ramdisk\"\nname = \"{name}\"\nsize = \"16M\"\nblock_size = 512\n"
        );
    }
    // Both targets at one portal; nobody takes a port again so soon.
    let portal = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let initiator = |n: u8| format!("initiator = \"iqn.2026-11.org.example:i{n}\"");
    text += &format!(
        r#"[[target]]
iqn = "{TARGET}"
[[target.tpg]]
portals = ["{portal}"]
lun = [
  {{ lun = 0, backstore = "a" }}, {{ lun = 1, backstore = "b" }}, {{ lun = 2, backstore = "c" }},
  {{ lun = 3, backstore = "d" }}, {{ lun = 4, backstore = "e" }},
]
acl = [
  {{ {}, mapped_lun = [{{ lun = 0 }}, {{ lun = 1 }}, {{ lun = 2 }}, {{ lun = 3, read_only = true }}] }},
  {{ {} }},
]
[[target]]
iqn = "{TARGET}-2"
[[target.tpg]]
portals = ["{portal}"]
lun = [{{ lun = 0, backstore = "stranger" }}]
acl = [{{ {} }}, {{ {} }}]
"#,
        initiator(1),
        initiator(2),
        initiator(1),
        initiator(2)
    );
    let config = path("ringtgt.toml");
    fs::write(&config, text).expect("a file");
    fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--log", "error", "--config"]).arg(Path::new(&config));
    let daemon = Daemon::start(command);
    (dir, daemon)
}

/// An initiator at the first target, whose unit attentions are out of the way.
fn login(daemon: &Daemon, number: u8, luns: u16) -> Initiator {
    let mut options = LoginOptions::new(&format!("iqn.2026-11.org.example:i{number}"), Some(TARGET));
    options.isid[5] = number;
    let mut initiator = Initiator::login(daemon.portal(), options, PATIENCE).expect("a login");
    (0..luns).for_each(|lun| initiator.clear_attention(lun).expect("a ready logical unit"));
    initiator
}

fn receive(initiator: &mut Initiator, lun: u16, cdb: cdb::Cdb, len: usize) -> Vec<u8> {
    let done = initiator.execute(lun, cdb, Direction::In, vec![0; len]).expect("an answer");
    assert!(done.is_good(), "{:?}", done.sense_code());
    done.buffer[..done.received].to_vec()
}

/// The NAA designator of a logical unit: the first of page 83h.
fn name(initiator: &mut Initiator, lun: u16) -> Vec<u8> {
    let page = receive(initiator, lun, cdb::inquiry(Some(0x83), 255), 255);
    assert_eq!(page[5], 3, "an NAA designator");
    page[8..8 + usize::from(page[7])].to_vec()
}

fn names(initiator: &mut Initiator, luns: u16) -> Vec<Vec<u8>> {
    (0..luns).map(|lun| name(initiator, lun)).collect()
}

fn copy(initiator: &mut Initiator, lun: u16, names: &[Vec<u8>], segments: &[CopySegment]) -> Done {
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let list = cdb::copy_list(7, &names, segments);
    let cdb = cdb::extended_copy(list.len() as u32);
    initiator.execute(lun, cdb, Direction::Out, list).expect("an answer")
}

fn pattern(seed: u8, blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK).map(|n| (n / BLOCK * 31 + n % 253) as u8 ^ seed).collect()
}

fn write(initiator: &mut Initiator, lun: u16, lba: u64, data: &[u8]) {
    let done = initiator.write(lun, lba, (data.len() / BLOCK) as u32, data.to_vec()).expect("a write");
    assert!(done.is_good(), "{:?}", done.sense_code());
}

fn read(initiator: &mut Initiator, lun: u16, lba: u64, blocks: usize) -> Vec<u8> {
    let done = initiator.read(lun, lba, blocks as u32, blocks * BLOCK).expect("a read");
    assert!(done.is_good(), "{:?}", done.sense_code());
    done.buffer
}

fn segment(from: (u16, u64), to: (u16, u64), blocks: u16) -> CopySegment {
    CopySegment { from, to, blocks }
}

#[test]
fn copies_between_files_and_memory() {
    let (_dir, daemon) = served();
    let mut i = login(&daemon, 1, 3);
    let names = names(&mut i, 3);
    let data = pattern(1, 8192);
    write(&mut i, 0, 0, &data);
    // File to file, to memory and back, each longer than a slot and not a multiple of one.
    let far = [
        segment((0, 0), (1, 9), 8001),
        segment((1, 9), (2, 100), 8001),
        segment((2, 100), (0, 16_000), 8001),
    ];
    assert!(copy(&mut i, 2, &names, &far).is_good());
    for (lun, lba) in [(1, 9), (2, 100), (0, 16_000)] {
        assert!(read(&mut i, lun, lba, 8001) == data[..8001 * BLOCK], "LUN {lun}");
    }
    // Within one unit, over itself in both directions, as memmove does.
    for lun in [0u16, 2] {
        write(&mut i, lun, 0, &data);
        assert!(copy(&mut i, lun, &[], &[segment((0xffff, 0), (0xffff, 700), 7000)]).is_good());
        assert!(read(&mut i, lun, 700, 7000) == data[..7000 * BLOCK], "LUN {lun} upwards");
        write(&mut i, lun, 0, &data);
        assert!(copy(&mut i, lun, &[], &[segment((0xffff, 700), (0xffff, 3), 7000)]).is_good());
        assert!(read(&mut i, lun, 3, 7000) == data[700 * BLOCK..7700 * BLOCK], "LUN {lun} downwards");
    }
}

/// Whoever may use one disk must not reach others by copying: neither disks of other targets, nor unmapped ones, nor
/// by writing those that are mapped to be read. Nothing of the commands that try has any effect.
#[test]
fn a_copy_never_reaches_what_its_nexus_may_not() {
    let (_dir, daemon) = served();
    let mut owner = login(&daemon, 2, 5);
    let mut i = login(&daemon, 1, 4);
    let seen = names(&mut owner, 5);
    let mut options = LoginOptions::new("iqn.2026-11.org.example:i1", Some(&format!("{TARGET}-2")));
    options.isid[5] = 9;
    let mut elsewhere = Initiator::login(daemon.portal(), options, PATIENCE).expect("a login");
    let secret = pattern(9, 64);
    write(&mut owner, 4, 0, &secret);
    write(&mut owner, 3, 0, &secret);
    write(&mut owner, 0, 0, &vec![0; 64 * BLOCK]);
    i.clear_attention(0).expect("a ready logical unit");
    // An unmapped disk.
    let unmapped = [seen[0].clone(), seen[4].clone()];
    let (steal, plant) = (segment((1, 0), (0, 0), 64), segment((0, 0), (1, 0), 64));
    assert_eq!(copy(&mut i, 0, &unmapped, &[steal]).sense_code(), Some((10, 0x0d, 0x02)));
    assert_eq!(copy(&mut i, 0, &unmapped, &[plant]).sense_code(), Some((10, 0x0d, 0x02)));
    // A disk that it may read: reading is all right, writing is not.
    let read_only = [seen[0].clone(), seen[3].clone()];
    assert_eq!(copy(&mut i, 0, &read_only, &[plant]).sense_code(), Some((10, 0x0d, 0x01)));
    assert_eq!(read(&mut owner, 4, 0, 64), secret);
    assert_eq!(read(&mut owner, 3, 0, 64), secret);
    assert_eq!(read(&mut i, 0, 0, 64), vec![0; 64 * BLOCK]);
    assert!(copy(&mut i, 0, &read_only, &[steal]).is_good());
    assert_eq!(read(&mut i, 0, 0, 64), secret, "what it may read it may copy");
    // A disk of another target, which the same initiator may even use there.
    elsewhere.clear_attention(0).expect("a ready logical unit");
    write(&mut elsewhere, 0, 0, &secret);
    let foreign = [seen[0].clone(), name(&mut elsewhere, 0)];
    for segment in [steal, plant] {
        assert_eq!(copy(&mut i, 0, &foreign, &[segment]).sense_code(), Some((10, 0x0d, 0x02)));
    }
    assert_eq!(read(&mut elsewhere, 0, 0, 64), secret);
}

/// With the least memory there is, so that copies wait for slots and give them back.
#[test]
fn copies_of_many_share_little_memory() {
    let daemon = Daemon::serve(&["--reactors", "2", "--buffer-memory", "8M", "ram:16M", "ram:16M"]);
    let data = pattern(3, 8192);
    let mut sessions: Vec<Initiator> = (1..7).map(|n| login(&daemon, n, 2)).collect();
    write(&mut sessions[0], 0, 0, &data);
    let names = names(&mut sessions[0], 2);
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let mut open = Vec::new();
    for (n, session) in sessions.iter_mut().enumerate() {
        for part in 0..4 {
            let first = n as u64 * 1200 + part * 300;
            let list = cdb::copy_list(part as u8, &names, &[segment((0, first), (1, first), 300)]);
            let cdb = cdb::extended_copy(list.len() as u32);
            let command = Submitted { lun: 0, cdb, direction: Direction::Out, buffer: list, user: 0 };
            open.push((n, session.submit(command).expect("room for a command")));
        }
    }
    // While slots are short a command may be told to come again.
    while let Some((n, tag)) = open.pop() {
        let done = sessions[n].wait(tag).expect("an answer");
        if [status::BUSY, status::TASK_SET_FULL].contains(&done.status) {
            let direction = Direction::Out;
            let cdb = cdb::extended_copy(done.buffer.len() as u32);
            let again = Submitted { lun: 0, cdb, direction, buffer: done.buffer, user: 0 };
            open.insert(0, (n, sessions[n].submit(again).expect("room for a command")));
        } else {
            assert!(done.is_good(), "status {:#x} {:?}", done.status, done.sense_code());
        }
    }
    assert!(read(&mut sessions[0], 1, 0, 7200) == data[..7200 * BLOCK]);
}

#[test]
fn a_reservation_of_another_stops_a_copy() {
    let (_dir, daemon) = served();
    let mut owner = login(&daemon, 2, 5);
    let mut i = login(&daemon, 1, 4);
    let names = names(&mut i, 2);
    let reserve = |initiator: &mut Initiator, opcode: u8| {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        initiator.execute(1, cdb, Direction::None, Vec::new()).expect("an answer")
    };
    assert!(reserve(&mut owner, 0x16).is_good());
    let there = segment((0, 0), (1, 0), 64);
    assert_eq!(copy(&mut i, 0, &names, &[there]).sense_code(), Some((10, 0x0d, 0x01)));
    // The segment before it was done, and the sense data tells which one failed.
    let done = copy(&mut i, 0, &names, &[segment((0, 0), (0, 64), 8), there]);
    assert_eq!((done.sense_code(), done.sense.get(10..12)), (Some((10, 0x0d, 0x01)), Some(&[0, 1][..])));
    assert!(reserve(&mut owner, 0x17).is_good());
    assert!(copy(&mut i, 0, &names, &[there]).is_good());
}

#[test]
fn what_is_told_of_a_copy() {
    let (_dir, daemon) = served();
    let mut i = login(&daemon, 1, 4);
    let names = names(&mut i, 2);
    let status = |i: &mut Initiator, lun: u16| {
        let cdb = [0x84, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
        i.execute(lun, cdb, Direction::In, vec![0; 64]).expect("an answer")
    };
    assert_eq!(status(&mut i, 0).sense_code(), Some((5, 0x24, 0)), "no copy yet");
    assert!(copy(&mut i, 0, &names, &[segment((0, 0), (1, 0), 1000), segment((1, 0), (0, 0), 24)]).is_good());
    let told = status(&mut i, 0);
    assert_eq!(told.buffer[..12], [0, 0, 0, 8, 1, 0, 2, 0, 0, 8, 0, 0], "two segments, 512 KiB");
    assert_eq!(status(&mut i, 1).sense_code(), Some((5, 0x24, 0)), "another copy manager");
    assert!(!copy(&mut i, 0, &names, &[segment((0, 0), (9, 0), 8)]).is_good());
    let details = receive(&mut i, 0, [0x84, 4, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0], 200);
    assert_eq!((details[56], details[62], details[72], details[73]), (2, 10, 8, 4));
    assert_eq!(status(&mut i, 0).sense_code(), Some((5, 0x24, 0)), "the details were told");
}

#[test]
fn a_copy_in_the_background_goes_on_and_can_be_ended() {
    let (_dir, daemon) = served();
    let mut i = login(&daemon, 1, 4);
    let names = names(&mut i, 2);
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let data = pattern(5, 8192);
    write(&mut i, 0, 0, &data);
    let start = |i: &mut Initiator, segments: &[CopySegment]| {
        let list = cdb::copy_list_lid4(0x0102_0304, true, &names, segments);
        i.execute(0, cdb::extended_copy_lid4(list.len() as u32), Direction::Out, list).expect("an answer")
    };
    let status = |i: &mut Initiator| receive(i, 0, cdb::copy_status(0x0102_0304, 100), 100)[5];
    assert!(start(&mut i, &[segment((0, 0), (1, 0), 8192)]).is_good());
    while status(&mut i) == 0x12 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(status(&mut i), 0x01);
    assert!(read(&mut i, 1, 0, 8192) == data);
    // Much work, ended at once; a second one of the same name would not have begun.
    let much = vec![segment((0, 0), (1, 0), 32_768); 64];
    assert!(start(&mut i, &much).is_good());
    assert_eq!(start(&mut i, &much).sense_code(), Some((5, 0x00, 0x16)));
    let abort = |i: &mut Initiator| {
        i.execute(0, cdb::abort_copy(0x0102_0304), Direction::None, Vec::new()).expect("an answer")
    };
    assert!(abort(&mut i).is_good());
    assert_eq!(status(&mut i), 0x60);
    assert_eq!(abort(&mut i).sense_code(), Some((5, 0x24, 0)), "it is not under way any more");
    write(&mut i, 1, 0, &pattern(6, 8192));
    std::thread::sleep(Duration::from_millis(100));
    assert!(read(&mut i, 1, 0, 8192) == pattern(6, 8192));
}

/// Has a logical unit make a token for these blocks.
fn token(initiator: &mut Initiator, lun: u16, ranges: &[(u64, u32)]) -> Vec<u8> {
    let list = cdb::populate_list(0, ranges);
    let cdb = cdb::populate_token(3, list.len() as u32);
    assert!(initiator.execute(lun, cdb, Direction::Out, list).expect("an answer").is_good());
    let told = receive(initiator, lun, cdb::token_information(3, 1024), 1024);
    let blocks: u64 = ranges.iter().map(|(_, count)| u64::from(*count)).sum();
    assert_eq!((told[4], told[5], told[15], &told[16..24]), (0x10, 0x01, 0xf1, &blocks.to_be_bytes()[..]));
    assert_eq!((told.len(), &told[32..38]), (550, &[0, 0, 2, 2, 0, 0][..]));
    told[38..].to_vec()
}

fn write_by(
    initiator: &mut Initiator,
    lun: u16,
    token: &[u8],
    offset: u64,
    flags: u8,
    ranges: &[(u64, u32)],
) -> Done {
    let list = cdb::token_list(token, offset, flags, ranges);
    let cdb = cdb::write_using_token(4, list.len() as u32);
    initiator.execute(lun, cdb, Direction::Out, list).expect("an answer")
}

fn zero_token() -> Vec<u8> {
    let mut token = vec![0; 512];
    token[..8].copy_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 1, 0xf8]);
    token
}

#[test]
fn what_a_token_stands_for_is_written() {
    let (_dir, daemon) = served();
    let mut i = login(&daemon, 1, 3);
    let data = pattern(1, 8192);
    write(&mut i, 0, 0, &data);
    let rod = token(&mut i, 0, &[(1000, 3000), (0, 500), (7000, 1000)]);
    let block = |from: usize, count: usize| &data[from * BLOCK..(from + count) * BLOCK];
    let whole = [block(1000, 3000), block(0, 500), block(7000, 1000)].concat();
    // To a file, to memory, and within the unit itself.
    for (lun, at) in [(1, 77), (2, 0), (0, 16_384)] {
        assert!(write_by(&mut i, lun, &rod, 0, 0, &[(at, 4500)]).is_good());
        assert!(read(&mut i, lun, at, 4500) == whole, "LUN {lun}");
    }
    // Parts of it, to several places.
    assert!(write_by(&mut i, 1, &rod, 2900, 0, &[(9000, 350), (20_000, 0), (12_000, 400)]).is_good());
    assert!(read(&mut i, 1, 9000, 350) == whole[2900 * BLOCK..3250 * BLOCK]);
    assert!(read(&mut i, 1, 12_000, 400) == whole[3250 * BLOCK..3650 * BLOCK]);
    let told = receive(&mut i, 1, cdb::token_information(4, 100), 100);
    assert_eq!(
        (told.len(), told[4], told[5], &told[15..24]),
        (36, 0x11, 0x01, &[0xf1, 0, 0, 0, 0, 0, 0, 2, 0xee][..])
    );
    assert_eq!(write_by(&mut i, 1, &rod, 1, 0, &[(0, 4500)]).sense_code(), Some((5, 0x26, 0)));
    // It stands for the places: what is there now is what is copied.
    write(&mut i, 0, 1000, &vec![0xee; 8 * BLOCK]);
    assert!(write_by(&mut i, 1, &rod, 0, 2, &[(0, 16)]).is_good());
    assert!(read(&mut i, 1, 0, 8) == vec![0xee; 8 * BLOCK]);
    assert_eq!(write_by(&mut i, 1, &rod, 0, 0, &[(0, 16)]).sense_code(), Some((5, 0x23, 9)), "deleted");
    // Zeroes need no token of ours.
    for lun in 0..3 {
        write(&mut i, lun, 0, &data[..64 * BLOCK]);
        assert!(write_by(&mut i, lun, &zero_token(), 99, 0, &[(8, 16), (40, 8)]).is_good());
        let mut want = data[..64 * BLOCK].to_vec();
        want[8 * BLOCK..24 * BLOCK].fill(0);
        want[40 * BLOCK..48 * BLOCK].fill(0);
        assert!(read(&mut i, lun, 0, 64) == want, "LUN {lun}");
    }
}

/// To hold a token is not enough: whoever uses it must be able to read what it stands for, and to write where it goes.
#[test]
fn a_token_never_reaches_what_its_nexus_may_not() {
    let (_dir, daemon) = served();
    let mut owner = login(&daemon, 2, 5);
    let mut i = login(&daemon, 1, 4);
    let secret = pattern(9, 64);
    (0..5).for_each(|lun| write(&mut owner, lun, 0, &secret));
    let untouched = pattern(8, 64);
    write(&mut owner, 0, 0, &untouched);
    let all = [(0, 64)];
    // Of an unmapped disk: the token is genuine, and nobody's business.
    let stolen = token(&mut owner, 4, &all);
    assert_eq!(write_by(&mut i, 0, &stolen, 0, 0, &all).sense_code(), Some((5, 0x23, 4)));
    assert!(write_by(&mut owner, 1, &stolen, 0, 0, &all).is_good(), "its owner may");
    // Guessed, or changed.
    let mut forged = token(&mut owner, 3, &all);
    forged[511] ^= 1;
    assert_eq!(write_by(&mut i, 0, &forged, 0, 0, &all).sense_code(), Some((5, 0x23, 5)));
    forged[511] ^= 1;
    // Of a disk that it may read: that is all right, but to write there is not.
    assert_eq!(write_by(&mut i, 3, &forged, 0, 0, &all).sense_code(), Some((7, 0x27, 0)));
    assert_eq!(write_by(&mut i, 3, &zero_token(), 0, 0, &all).sense_code(), Some((7, 0x27, 0)));
    assert_eq!(read(&mut i, 0, 0, 64), untouched);
    assert!(write_by(&mut i, 0, &forged, 0, 0, &all).is_good());
    assert_eq!(read(&mut i, 0, 0, 64), secret);
    // While another holds the source, nothing is read.
    let mut reserve = [0; 16];
    reserve[0] = 0x16;
    assert!(owner.execute(3, reserve, Direction::None, Vec::new()).expect("an answer").is_good());
    write(&mut owner, 0, 0, &untouched);
    assert_eq!(write_by(&mut i, 0, &forged, 0, 0, &all).sense_code(), Some((10, 0x0d, 1)));
    let told = receive(&mut i, 0, cdb::token_information(4, 100), 100);
    assert_eq!((told[4], told[5], told[12], &told[34..35]), (0x11, 0x02, 0x02, &[10][..]));
    assert_eq!(read(&mut i, 0, 0, 64), untouched);
    assert_eq!(read(&mut owner, 3, 0, 64), secret);
}

/// From target to target a token goes only with the initiator that asked for it, and only while that is logged in where
/// it did.
#[test]
fn a_token_goes_from_target_to_target_with_its_initiator() {
    let (_dir, daemon) = served();
    let (mut i, mut other) = (login(&daemon, 1, 2), login(&daemon, 2, 2));
    let mut options = LoginOptions::new("iqn.2026-11.org.example:i1", Some(&format!("{TARGET}-2")));
    options.isid[5] = 9;
    let mut elsewhere = Initiator::login(daemon.portal(), options, PATIENCE).expect("a login");
    elsewhere.clear_attention(0).expect("a ready logical unit");
    let data = pattern(4, 64);
    write(&mut elsewhere, 0, 0, &data);
    let there = token(&mut elsewhere, 0, &[(0, 64)]);
    let here = token(&mut i, 0, &[(0, 64)]);
    assert!(write_by(&mut i, 0, &there, 0, 0, &[(0, 64)]).is_good());
    assert_eq!(read(&mut i, 0, 0, 64), data);
    assert!(write_by(&mut elsewhere, 0, &here, 0, 0, &[(64, 64)]).is_good());
    assert_eq!(read(&mut elsewhere, 0, 64, 64), data);
    assert_eq!(write_by(&mut other, 1, &there, 0, 0, &[(0, 64)]).sense_code(), Some((5, 0x23, 4)));
    assert!(write_by(&mut other, 1, &here, 0, 0, &[(0, 64)]).is_good(), "what it sees it may copy");
    drop(elsewhere);
    // The target notices in its own time.
    let ended = (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        write_by(&mut i, 0, &there, 0, 0, &[(0, 64)]).sense_code() == Some((5, 0x23, 4))
    });
    assert!(ended, "the nexus that could read the source is gone");
    drop(i);
    assert!(write_by(&mut other, 1, &here, 0, 0, &[(0, 64)]).is_good(), "a token outlives the session");
}

#[test]
fn a_write_by_token_in_the_background() {
    let (_dir, daemon) = served();
    let mut i = login(&daemon, 1, 3);
    let data = pattern(6, 32_768);
    for (n, part) in data.chunks(8192 * BLOCK).enumerate() {
        write(&mut i, 0, n as u64 * 8192, part);
    }
    let rod = token(&mut i, 0, &[(0, 32_768)]);
    assert!(write_by(&mut i, 1, &rod, 0, 1, &[(0, 32_768)]).is_good());
    let told = loop {
        let told = receive(&mut i, 1, cdb::token_information(4, 100), 100);
        if told[5] != 0x12 {
            break told;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!((told[5], &told[16..24]), (0x01, &[0, 0, 0, 0, 0, 0, 0x80, 0][..]));
    for (n, part) in data.chunks(8192 * BLOCK).enumerate() {
        assert!(read(&mut i, 1, n as u64 * 8192, 8192) == part, "part {n}");
    }
}

/// A file system whose files can share extents; gone with the test. Needs root.
struct SharingFs {
    at: tempfile::TempDir,
    _image: tempfile::NamedTempFile,
}

impl SharingFs {
    fn new() -> Self {
        let (at, image) =
            (tempfile::tempdir().expect("a directory"), tempfile::NamedTempFile::new().expect("a file"));
        image.as_file().set_len(512 << 20).expect("room");
        let path = image.path().to_str().expect("a path");
        for args in [
            &["mkfs.xfs", "-q", path][..],
            &["mount", "-o", "loop", path, at.path().to_str().expect("a path")],
        ] {
            let ended =
                Command::new(args[0]).args(&args[1..]).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").status();
            assert!(ended.expect(args[0]).success(), "this test mounts an XFS, for which it must be root");
        }
        Self { at, _image: image }
    }
}

impl Drop for SharingFs {
    fn drop(&mut self) {
        // Lazily: the daemon may not be quite gone.
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

#[test]
fn files_share_what_is_copied() {
    let fs = SharingFs::new();
    let dir = fs.at.path();
    let store = |name: &str| format!("{}:64M", dir.join(name).display());
    let daemon = Daemon::serve(&["--reactors", "2", "--block-size", "512", &store("a"), &store("b")]);
    let mut i = login(&daemon, 1, 2);
    let data = pattern(2, 8192);
    for part in 0..8 {
        write(&mut i, 0, part * 8192, &data);
    }
    let shared = |name: &str| {
        let out = Command::new("filefrag").arg("-v").arg(dir.join(name)).output().expect("filefrag");
        String::from_utf8_lossy(&out.stdout).matches("shared").count()
    };
    assert_eq!(shared("b"), 0);
    let rod = token(&mut i, 0, &[(0, 65_536)]);
    assert!(write_by(&mut i, 1, &rod, 0, 0, &[(0, 65_536)]).is_good());
    assert!(shared("b") > 0, "no byte was moved");
    // What cuts the blocks of the file system is moved.
    assert!(write_by(&mut i, 1, &rod, 1, 0, &[(70_001, 8191)]).is_good());
    for part in 0..8 {
        assert!(read(&mut i, 1, part * 8192, 8192) == data, "part {part}");
    }
    assert!(read(&mut i, 1, 70_001, 8191) == data[BLOCK..]);
    // What is written later to one is not in the other.
    write(&mut i, 0, 0, &vec![0xcc; 64 * BLOCK]);
    write(&mut i, 1, 8192, &vec![0xdd; 64 * BLOCK]);
    assert!(read(&mut i, 1, 0, 64) == data[..64 * BLOCK]);
    assert!(read(&mut i, 0, 8192, 64) == data[..64 * BLOCK]);
}

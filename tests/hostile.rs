//! Peers that mean no good, against a real daemon: each hurts its own connection and nobody else.
//!
//! Crowds of idle connections and floods of pings are in `e2e`; what a session makes of wrong PDUs is in `script`
//! and in the fuzz targets. Here it is the whole daemon that must stand.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/e2e.rs"]
#[allow(dead_code)] // it serves more than one test
mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ringtgt::initiator::{Initiator, LoginClient, Pdu, RawConn};
use ringtgt::wire::bhs::{BHS_LEN, DataOut, NopOut, R2t, ScsiCommand, ScsiResponse};
use ringtgt::wire::codes::{Opcode, TAG_NONE};
use ringtgt::wire::flags;

use daemon::{Daemon, TARGET};
use support::{Life, PATIENCE, fill, login, options, resident_kib, serve_config};

/// How long the daemon gives a send that makes no progress, and some room for a busy machine.
const STALL: Duration = Duration::from_secs(30 + 10);

/// A daemon that gives logins one second.
fn impatient() -> (tempfile::TempDir, Daemon) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ringtgt.toml");
    let state = dir.path().display();
    let text = format!(
        "[server]\nreactors = 1\nstate_dir = \"{state}\"\ncontrol_socket = \"{state}/control.sock\"\n\
         [[backstore]]\nkind = \"ramdisk\"\nname = \"a\"\nsize = \"16M\"\n\
         [[target]]\niqn = \"{TARGET}\"\n[[target.tpg]]\nportals = [\"127.0.0.1:0\"]\nany_initiator = true\n\
         [target.tpg.parameters]\nlogin_timeout = \"1s\"\n[[target.tpg.lun]]\nlun = 0\nbackstore = \"a\"\n"
    );
    fs::write(&path, text).expect("a file");
    let daemon = Daemon::start(serve_config(&path));
    (dir, daemon)
}

fn raw(daemon: &Daemon) -> RawConn {
    RawConn::connect(daemon.portal(), PATIENCE).expect("a connection")
}

/// A raw connection in full feature phase, and the CmdSN of its first command.
fn raw_session(daemon: &Daemon, number: u8) -> (RawConn, u32) {
    let mut conn = raw(daemon);
    let options = options(number);
    let cmd_sn = options.cmd_sn;
    conn.login(options).expect("a login");
    (conn, cmd_sn)
}

/// A session that is well served while `harm` is done.
fn undisturbed(daemon: &Daemon, harm: impl FnOnce()) {
    let mut bystander = login(daemon, options(200));
    served(&mut bystander, 1);
    harm();
    served(&mut bystander, 2);
    served(&mut login(daemon, options(201)), 3);
}

/// Reads and writes take their time on a busy machine, but not for ever.
fn served(initiator: &mut Initiator, seed: u64) {
    let start = Instant::now();
    for round in 0..20 {
        let data = fill(seed * 100 + round, 16_384);
        assert!(initiator.write(0, round * 32, 32, data.clone()).expect("a write").is_good());
        assert!(initiator.read(0, round * 32, 32, 16_384).expect("a read").buffer == data);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "served, but slowly: {:?}", start.elapsed());
}

/// Reads until the daemon closes the connection; how many bytes there were.
fn closed(stream: &TcpStream) -> usize {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut buffer, mut count) = (vec![0; 1 << 16], 0);
    loop {
        match (&*stream).read(&mut buffer) {
            Ok(0) => return count,
            Ok(n) => count += n,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return count,
            Err(e) => panic!("the daemon keeps the connection: {e}"),
        }
    }
}

/// The first Login Request of a good initiator.
fn login_request() -> Vec<u8> {
    let pdu = LoginClient::new(options(9)).start();
    let mut bytes = [&pdu.bhs[..], &pdu.data].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_login_byte_by_byte_ends_at_the_login_timeout() {
    let (_dir, daemon) = impatient();
    undisturbed(&daemon, || {
        let mut slow = TcpStream::connect(daemon.portal()).expect("a connection");
        slow.set_nodelay(true).expect("an option");
        slow.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let start = Instant::now();
        for byte in login_request() {
            let gone = slow.write_all(&[byte]).is_err();
            let end = (&slow).read(&mut [0; 64]);
            if gone || end.is_ok() || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset) {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "the daemon is patient");
        }
        assert!(start.elapsed() > Duration::from_millis(800), "the daemon gave it no time");
    });
}

#[test]
fn silence_ends_at_the_login_timeout_too() {
    let (_dir, daemon) = impatient();
    let start = Instant::now();
    let silent = TcpStream::connect(daemon.portal()).expect("a connection");
    assert_eq!(closed(&silent), 0);
    assert!((800..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn half_open_connections_go() {
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    undisturbed(&daemon, || {
        let request = login_request();
        for count in [0, 1, 47, 48, 50, request.len() - 1] {
            let mut half = TcpStream::connect(daemon.portal()).expect("a connection");
            half.write_all(&request[..count]).expect("some bytes");
            half.shutdown(Shutdown::Write).expect("no more");
            assert_eq!(closed(&half), 0, "after {count} bytes");
        }
        let (mut conn, cmd_sn) = raw_session(&daemon, 9);
        let bytes = conn.encode(&write_command(cmd_sn, 0, &[1; 512], true));
        conn.send_bytes(&bytes[..300]).expect("some bytes");
        conn.stream().shutdown(Shutdown::Write).expect("no more");
        closed(conn.stream());
    });
}

/// A header that says all the wrong lengths.
fn lie(opcode: u8, ahs: u8, len: usize) -> [u8; BHS_LEN] {
    let mut header = [0; BHS_LEN];
    (header[0], header[1], header[4]) = (opcode, flags::FINAL, ahs);
    header[5..8].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
    header
}

#[test]
fn lies_about_lengths_in_login_end_it() {
    let daemon = Daemon::serve(&["--reactors", "1", "ram:16M"]);
    undisturbed(&daemon, || {
        for opcode in 0..0x40 {
            for (ahs, len) in [(0, (1 << 24) - 1), (255, 8193), (255, (1 << 24) - 1)] {
                let mut conn = raw(&daemon);
                // It may be closed before everything is sent.
                let _ = conn.send_bytes(&lie(opcode | 0x40, ahs, len));
                let _ = conn.send_bytes(&[0x55; 4096]);
                assert_eq!(closed(conn.stream()), 0, "opcode {opcode:#x}");
            }
        }
    });
}

#[test]
fn lies_about_lengths_in_full_feature_phase_end_the_session() {
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    let before = resident_kib(daemon.pid());
    undisturbed(&daemon, || {
        for opcode in 0..0x40 {
            for (ahs, len) in [(0, (1 << 24) - 1), (255, (256 << 10) + 1)] {
                let (mut conn, _) = raw_session(&daemon, 9);
                let _ = conn.send_bytes(&lie(opcode, ahs, len));
                let _ = conn.send_bytes(&[0x55; 4096]);
                closed(conn.stream());
            }
            // As much as may be said, and then less than was said.
            let (mut conn, _) = raw_session(&daemon, 9);
            conn.send_bytes(&lie(opcode, 255, 256 << 10)).expect("a header");
            let _ = conn.send_bytes(&vec![0x55; 100_000]);
        }
    });
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 80 << 10, "{grown} KiB");
}

#[test]
fn nothing_but_login_requests_in_a_login() {
    let daemon = Daemon::serve(&["--reactors", "1", "ram:16M"]);
    undisturbed(&daemon, || {
        for opcode in (0..0x40).filter(|o| *o != 3) {
            let mut conn = raw(&daemon);
            // The first request stays in its stage, so that the login goes on.
            let mut first = LoginClient::new(options(9)).start();
            first.bhs[1] &= !(flags::TRANSIT | flags::STAGE_MASK);
            conn.send(&first).expect("a request");
            let answer = conn.recv().expect("an answer").expect("an answer");
            assert_eq!((answer.opcode(), answer.bhs[36]), (Opcode::LOGIN_RESPONSE, 0));
            conn.send_bytes(&lie(opcode, 0, 0)).expect("a header");
            assert_eq!(closed(conn.stream()), 0, "opcode {opcode:#x}");
        }
    });
}

#[test]
fn garbage_is_survived() {
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    undisturbed(&daemon, || {
        for seed in 0..60 {
            let garbage = fill(seed, 40_000);
            let mut conn = raw(&daemon);
            let _ = conn.send_bytes(&garbage);
            drop(conn);
            let (mut conn, _) = raw_session(&daemon, 9);
            let _ = conn.send_bytes(&garbage);
            let _ = conn.stream().shutdown(Shutdown::Write);
            closed(conn.stream());
        }
    });
}

/// WRITE(10) of one block.
fn write_command(cmd_sn: u32, lba: u32, data: &[u8], immediate: bool) -> Pdu {
    let mut pdu = ScsiCommand { cmd_sn: cmd_sn.into(), itt: 7.into(), ..ScsiCommand::default() };
    pdu.flags = flags::FINAL | flags::WRITE | flags::ATTR_SIMPLE;
    pdu.expected_data_transfer_length = 512.into();
    (pdu.cdb[0], pdu.cdb[8]) = (0x2a, 1);
    pdu.cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    let data = if immediate { data.to_vec() } else { Vec::new() };
    pdu.set_data_len(data.len());
    Pdu::new(pdu.as_bhs(), data)
}

/// Cuts a connection after every byte of a write: the block is as it was, until the last byte has come.
fn cut_everywhere(immediate: bool) {
    let (_dir, path) = scratch_file();
    let daemon = Daemon::serve(&["--reactors", "1", path.to_str().expect("text")]);
    let mut witness = login(&daemon, options(200));
    let (old, new) = (fill(1, 512), fill(2, 512));
    assert!(witness.write(0, 5, 1, old.clone()).expect("a write").is_good());
    let whole = BHS_LEN + 512;
    for count in 0..=whole {
        let (mut conn, first) = raw_session(&daemon, 9);
        // The unit attention of a new session.
        conn.send(&test_unit_ready(first)).expect("a command");
        conn.recv().expect("an answer");
        let command = write_command(first + 1, 5, &new, immediate);
        if immediate {
            let bytes = conn.encode(&command);
            conn.send_bytes(&bytes[..count]).expect("some bytes");
        } else {
            conn.send(&command).expect("a command");
            let r2t = conn.recv().expect("an R2T").expect("an R2T");
            assert_eq!(r2t.opcode(), Opcode::R2T);
            let bytes = conn.encode(&data_out(R2t::from_bhs(&r2t.bhs), &new));
            conn.send_bytes(&bytes[..count]).expect("some bytes");
        }
        conn.stream().shutdown(Shutdown::Write).expect("no more");
        closed(conn.stream());
        let found = witness.read(0, 5, 1, 512).expect("a read").buffer;
        assert!(found == old || (count == whole && found == new), "after {count} bytes");
    }
    served(&mut witness, 4);
}

fn test_unit_ready(cmd_sn: u32) -> Pdu {
    let mut pdu = ScsiCommand { cmd_sn: cmd_sn.into(), itt: 6.into(), ..ScsiCommand::default() };
    pdu.flags = flags::FINAL | flags::ATTR_SIMPLE;
    Pdu::new(pdu.as_bhs(), Vec::new())
}

fn data_out(r2t: &R2t, data: &[u8]) -> Pdu {
    let mut pdu = DataOut { itt: r2t.itt, ttt: r2t.ttt, flags: flags::FINAL, ..DataOut::default() };
    pdu.set_data_len(data.len());
    Pdu::new(pdu.as_bhs(), data.to_vec())
}

fn scratch_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    fs::File::create(&path).and_then(|file| file.set_len(64 << 20)).expect("a file");
    (dir, path)
}

#[test]
fn a_write_that_is_cut_at_any_byte_changes_nothing() {
    cut_everywhere(true);
}

#[test]
fn a_write_by_r2t_that_is_cut_at_any_byte_changes_nothing() {
    cut_everywhere(false);
}

/// Asks for as much as the window lets it, and reads nothing. Returns the connection.
fn flood_with_reads(daemon: &Daemon, number: u8) -> RawConn {
    let (mut conn, first) = raw_session(daemon, number);
    let mut bytes = Vec::new();
    for n in 0..256 {
        let mut pdu = ScsiCommand { cmd_sn: (first + n).into(), itt: n.into(), ..ScsiCommand::default() };
        pdu.flags = flags::FINAL | flags::READ | flags::ATTR_SIMPLE;
        pdu.expected_data_transfer_length = (256 << 10).into();
        (pdu.cdb[0], pdu.cdb[7]) = (0x28, 2); // 512 blocks
        bytes.extend(pdu.as_bhs());
    }
    conn.send_bytes(&bytes).expect("commands");
    conn
}

#[test]
fn floods_of_reads_whose_answers_are_not_read_hurt_nobody_else() {
    let (_dir, path) = scratch_file();
    let daemon = Daemon::serve(&["--reactors", "1", path.to_str().expect("text")]);
    let mut bystander = login(&daemon, options(200));
    served(&mut bystander, 1);
    let before = resident_kib(daemon.pid());
    let floods: Vec<RawConn> = (0..4).map(|n| flood_with_reads(&daemon, n + 1)).collect();
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    while start.elapsed() < STALL {
        let round = Instant::now();
        served(&mut bystander, 2);
        worst = worst.max(round.elapsed());
        thread::sleep(Duration::from_millis(200));
    }
    // All of the buffer memory may have been touched; there is no more.
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 100 << 10, "{grown} KiB");
    for flood in floods {
        let count = closed(flood.stream());
        assert!(count < 256 * (256 << 10), "it got everything, so it was never stalled");
    }
    served(&mut bystander, 3);
    eprintln!("20 writes and reads took {worst:?} at worst");
}

/// Asks to write more than there is room for, and sends none of it. Returns the connection.
fn announce_writes(daemon: &Daemon, number: u8) -> RawConn {
    let (mut conn, first) = raw_session(daemon, number);
    // The unit attention of a new session.
    conn.send(&test_unit_ready(first)).expect("a command");
    let mut bytes = Vec::new();
    for n in 1..=64 {
        let mut pdu = ScsiCommand { cmd_sn: (first + n).into(), itt: n.into(), ..ScsiCommand::default() };
        pdu.flags = flags::FINAL | flags::WRITE | flags::ATTR_SIMPLE;
        pdu.expected_data_transfer_length = (256 << 10).into();
        (pdu.cdb[0], pdu.cdb[7]) = (0x2a, 2); // 512 blocks
        bytes.extend(pdu.as_bhs());
    }
    conn.send_bytes(&bytes).expect("commands");
    conn
}

#[test]
fn writers_that_send_nothing_cannot_keep_every_slot() {
    let (_dir, path) = scratch_file();
    let daemon = Daemon::serve(&["--reactors", "1", path.to_str().expect("text")]);
    let mut bystander = login(&daemon, options(200));
    served(&mut bystander, 1);
    let mut silent: Vec<RawConn> = (0..10).map(|n| announce_writes(&daemon, n + 1)).collect();
    thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    for _ in 0..20 {
        assert!(bystander.read(0, 0, 512, 256 << 10).expect("a read").is_good());
    }
    // Five seconds of patience with the others, and some room for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // They hear of it, and may go on.
    let conn = &mut silent[0];
    let lapsed = loop {
        let pdu = conn.recv().expect("an answer").expect("an answer");
        if pdu.opcode() == Opcode::SCSI_RESPONSE && ScsiResponse::from_bhs(&pdu.bhs).itt.get() != 6 {
            break pdu;
        }
    };
    assert_eq!(lapsed.data[2 + 2] & 0xf, 0xb, "ABORTED COMMAND");
    assert_eq!(lapsed.data[2 + 12..][..2], [0x4b, 0x06], "INITIATOR RESPONSE TIMEOUT");
}

#[test]
fn a_flood_of_pings_ends_at_the_stall_time() {
    let daemon = Daemon::serve(&["--reactors", "1", "ram:16M"]);
    let (conn, _) = raw_session(&daemon, 1);
    conn.stream().set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut ping = NopOut { itt: 1.into(), ttt: TAG_NONE.into(), ..NopOut::default() };
    ping.opcode |= flags::IMMEDIATE;
    ping.set_data_len(4096);
    let bytes = [&ping.as_bhs()[..], &[7; 4096]].concat();
    let before = resident_kib(daemon.pid());
    undisturbed(&daemon, || while conn.stream().write_all(&bytes).is_ok() {});
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    thread::sleep(STALL);
    closed(conn.stream());
}

#[test]
fn connections_that_are_reset_at_once_are_nothing() {
    let daemon = Daemon::serve(&["--reactors", "2", "ram:16M"]);
    let portal: SocketAddr = daemon.portal();
    undisturbed(&daemon, || {
        for round in 0..300u32 {
            let mut conn = TcpStream::connect(portal).expect("a connection");
            let request = login_request();
            let count = round as usize % request.len();
            conn.write_all(&request[..count]).expect("some bytes");
        }
    });
}

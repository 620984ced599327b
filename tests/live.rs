//! What is served changes while it is served: by the configuration file, and by SIGHUP.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/live.rs"]
mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ringtgt::initiator::{Direction, Error, Initiator, cdb};
use ringtgt::wire::codes::AsyncEvent;

use support::{Server, login, text};

const PATIENCE: Duration = Duration::from_secs(30);

/// Until `done`, and not for ever.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn luns(initiator: &mut Initiator) -> Vec<u16> {
    let done = initiator.execute(0, cdb::report_luns(4096), Direction::In, vec![0; 4096]).expect("an answer");
    assert!(done.is_good(), "{:?}", done.sense_code());
    let len = u32::from_be_bytes(*done.buffer.first_chunk().expect("a length")) as usize;
    done.buffer[8..8 + len].chunks(8).map(|lun| u16::from_be_bytes([lun[0] & 0x3f, lun[1]])).collect()
}

/// Sense key, code and qualifier of TEST UNIT READY.
fn ready(initiator: &mut Initiator, lun: u16) -> Option<(u8, u8, u8)> {
    initiator.execute(lun, cdb::TEST_UNIT_READY, Direction::None, Vec::new()).expect("an answer").sense_code()
}

fn write(initiator: &mut Initiator, lun: u16, lba: u64, byte: u8) {
    assert!(initiator.write(lun, lba, 8, vec![byte; 4096]).expect("a write").is_good());
}

fn byte(initiator: &mut Initiator, lun: u16, lba: u64) -> u8 {
    let done = initiator.read(lun, lba, 8, 4096).expect("a read");
    assert!(done.is_good(), "{:?}", done.sense_code());
    done.buffer[0]
}

#[test]
fn a_lun_comes_and_goes_by_a_reload() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    write(&mut initiator, 0, 0, 7);
    server.reload(&text(&["a", "b"], &[(0, "a"), (5, "b")], &[]));
    let message = initiator.wait_async().expect("a message");
    assert_eq!(message.async_event, AsyncEvent::SCSI_EVENT.0);
    assert_eq!(luns(&mut initiator), [0, 5]);
    assert_eq!(ready(&mut initiator, 0), None, "REPORT LUNS has answered it");
    assert_eq!(ready(&mut initiator, 5), Some((6, 0x29, 0)), "it is new to this nexus");
    write(&mut initiator, 5, 16, 9);
    assert_eq!((byte(&mut initiator, 0, 0), byte(&mut initiator, 5, 16)), (7, 9));
    // It goes, and comes again with what was on it: the file was closed and opened.
    server.reload(&text(&["a"], &[(0, "a")], &[]));
    initiator.wait_async().expect("a message");
    assert_eq!(ready(&mut initiator, 0), Some((6, 0x3f, 0x0e)));
    assert_eq!(luns(&mut initiator), [0]);
    assert_eq!(ready(&mut initiator, 5), Some((5, 0x25, 0)));
    eventually("nobody holds the file", || server.is_free("b"));
    server.reload(&text(&["a", "b"], &[(0, "a"), (1, "b")], &[]));
    initiator.wait_async().expect("a message");
    assert_eq!(luns(&mut initiator), [0, 1]);
    assert_eq!(ready(&mut initiator, 1), Some((6, 0x29, 0)));
    assert_eq!((byte(&mut initiator, 0, 0), byte(&mut initiator, 1, 16)), (7, 9));
}

#[test]
fn whoever_may_not_be_there_any_more_goes_and_others_stay() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]));
    let (mut one, mut two) = (login(&server, 1), login(&server, 2));
    server.reload(&text(&["a"], &[(0, "a")], &[2]));
    // No LUNs, then the wish that it logs out.
    assert_eq!(one.wait_async().expect("a message").async_event, AsyncEvent::SCSI_EVENT.0);
    assert_eq!(one.wait_async().expect("a message").async_event, AsyncEvent::LOGOUT_REQUESTED.0);
    assert_eq!(ready(&mut one, 0), Some((5, 0x25, 0)), "at once");
    assert_eq!(one.wait_async().expect("a message").async_event, AsyncEvent::SESSION_DROPPED.0);
    assert!(matches!(server.try_login(1), Err(Error::Login(_))), "and not again");
    write(&mut two, 0, 0, 3);
    assert_eq!(ready(&mut two, 0), None, "nothing was to be told");
}

#[test]
fn what_is_wrong_or_cannot_be_had_changes_nothing() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    server.reload_refused("[[backstore]]\nkind = \"fileio\"\n", "ringtgt.toml:1");
    // One of two new stores cannot be had: the other does not come either.
    let wrong = text(&["a", "b", "c"], &[(0, "a"), (1, "b"), (2, "c")], &[]);
    let wrong = wrong.replace("@DISKS@/c.img", "/nonexistent/c.img");
    server.reload_refused(&wrong, "/nonexistent");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let wrong =
        text(&["a"], &[(0, "a")], &[]).replace("\"127.0.0.1:0\"", &format!("\"127.0.0.1:0\", \"{taken}\""));
    server.reload_refused(&wrong, "ss -ltnp");
    assert_eq!(luns(&mut initiator), [0]);
    assert_eq!(ready(&mut initiator, 0), None);
    assert!(server.is_free("b"), "what was opened is closed again");
    server.reload(&text(&["a", "b"], &[(0, "a"), (1, "b")], &[]));
    assert_eq!(luns(&mut initiator), [0, 1]);
}

#[test]
fn portals_come_and_go() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2, 3]));
    let mut initiator = login(&server, 1);
    let port = support::free_port();
    let portals = |list: &str| text(&["a"], &[(0, "a")], &[1, 2, 3]).replace("\"127.0.0.1:0\"", list);
    server.reload(&portals(&format!("\"127.0.0.1:0\", \"127.0.0.2:{port}\"")));
    let mut other = server.login_at(&format!("127.0.0.2:{port}"), 2).expect("a login");
    // The wildcard takes the place of the address that is in its way.
    server.reload(&portals(&format!("\"127.0.0.1:0\", \"0.0.0.0:{port}\"")));
    let _third = server.login_at(&format!("127.0.0.3:{port}"), 3).expect("a login");
    server.reload(&portals("\"127.0.0.1:0\""));
    eventually("nobody listens there", || std::net::TcpStream::connect(("127.0.0.2", port)).is_err());
    // Who is logged in stays.
    assert_eq!((ready(&mut initiator, 0), ready(&mut other, 0)), (None, Some((6, 0x29, 0))));
}

#[test]
fn what_inquiry_shows_is_told_of() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    let other = text(&["a"], &[(0, "a")], &[])
        .replace("name = \"a\"", "name = \"a\"\nread_only = true\nremovable = true");
    server.reload(&other);
    assert_eq!(ready(&mut initiator, 0), Some((6, 0x3f, 0x03)));
    let done = initiator.write(0, 0, 8, vec![1; 4096]).expect("an answer");
    assert_eq!(done.sense_code(), Some((7, 0x27, 0)));
    server.reload(&text(&["a"], &[(0, "a")], &[]));
    assert_eq!(ready(&mut initiator, 0), Some((6, 0x3f, 0x03)));
    // It was opened for writing, so it can be written again.
    write(&mut initiator, 0, 0, 1);
}

#[test]
fn memory_that_goes_is_given_back() {
    let ram = |names: &[&str]| {
        let stores: String = names
            .iter()
            .map(|n| format!("[[backstore]]\nkind = \"ramdisk\"\nname = \"{n}\"\nsize = \"64M\"\n"))
            .collect();
        let luns: Vec<(u16, &str)> = (0..).zip(names.iter().copied()).collect();
        stores + &text(&[], &luns, &[])
    };
    let server = Server::start(&ram(&["r0"]));
    let before = server.resident_kib();
    for round in 0..6 {
        server.reload(&ram(&["r0", "more"]));
        let mut initiator = login(&server, 1);
        initiator.clear_attention(1).expect("it is ready");
        for lba in (0..(64 << 20) / 512).step_by(2048) {
            assert!(initiator.write(1, lba, 2048, vec![round; 1 << 20]).expect("a write").is_good());
        }
        drop(initiator);
        server.reload(&ram(&["r0"]));
    }
    eventually("the memory is back", || server.resident_kib() < before + (100 << 10));
}

#[test]
fn a_hundred_luns_come_at_once_and_one_by_one() {
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let many = |count: usize| {
        let stores = |n: &String| format!("[[backstore]]\nkind = \"null\"\nname = \"{n}\"\nsize = \"1G\"\n");
        let luns: Vec<(u16, &str)> = (0..).zip(names[..count].iter().map(String::as_str)).collect();
        names[..count].iter().map(stores).collect::<String>() + &text(&[], &luns, &[])
    };
    let server = Server::start(&many(1));
    let mut initiator = login(&server, 1);
    server.reload(&many(90));
    for count in 91..=100 {
        server.reload(&many(count));
    }
    assert_eq!(luns(&mut initiator).len(), 100);
    server.reload(&many(1));
    assert_eq!(luns(&mut initiator), [0]);
    let log = fs::read_to_string(server.log()).expect("the log");
    assert!(!log.contains("panic"), "{log}");
}

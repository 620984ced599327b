//! What is served changes while it is served: by SIGHUP, over the control socket, and by the command line.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/live.rs"]
#[allow(dead_code, reason = "not every test that includes that file wants all of it")]
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use ringtgt::admin::rpc::{
    CallError, FAILED, INVALID_CONFIG, INVALID_PARAMS, METHOD_NOT_FOUND, OTHER_PLAN, OTHER_TEXT, reference,
};
use ringtgt::initiator::{Direction, Error, Initiator, LoginError, cdb};
use ringtgt::wire::codes::{AsyncEvent, LoginStatus};

use daemon::TARGET;
use serde_json::json;
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
    luns_within(initiator, 4096)
}

fn luns_within(initiator: &mut Initiator, most: u32) -> Vec<u16> {
    let buffer = vec![0; most as usize];
    let done = initiator.execute(0, cdb::report_luns(most), Direction::In, buffer).expect("an answer");
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
fn whoever_may_not_come_from_there_any_more_goes_too() {
    let all = text(&["a"], &[(0, "a")], &[1, 2]);
    let server = Server::start(&all);
    let (mut one, mut two) = (login(&server, 1), login(&server, 2));
    server.reload(&all.replace("example:i1\"\n", "example:i1\"\nfrom = [\"192.0.2.0/24\"]\n"));
    assert_eq!(one.wait_async().expect("a message").async_event, AsyncEvent::SCSI_EVENT.0);
    assert_eq!(one.wait_async().expect("a message").async_event, AsyncEvent::LOGOUT_REQUESTED.0);
    assert_eq!(refusal(&server, 1), LoginStatus::AUTHORIZATION_FAILURE);
    write(&mut two, 0, 0, 3);
    server.reload(&all.replace("example:i1\"\n", "example:i1\"\nfrom = [\"127.0.0.0/8\"]\n"));
    login(&server, 1);
}

fn refusal(server: &Server, number: u8) -> LoginStatus {
    match server.try_login(number) {
        Err(Error::Login(LoginError::Refused(status))) => status,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a login"),
    }
}

#[test]
fn a_target_that_was_removed_is_told_of_as_one() {
    let there = text(&["a"], &[(0, "a")], &[1]);
    let server = Server::start(&there);
    drop(login(&server, 1));
    server.reload(&there.replace(TARGET, "iqn.2026-11.org.example:other"));
    assert_eq!(refusal(&server, 1), LoginStatus::TARGET_REMOVED);
    server.reload(&there);
    login(&server, 1);
}

#[test]
fn what_is_wrong_or_cannot_be_had_changes_nothing() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    server.reload_refused("[[backstore]]\nkind = \"fileio\"\n", "ringtgt.toml:1");
    // One of two new stores cannot be had: the other does not come either.
    let wrong = text(&["a", "b", "c"], &[(0, "a"), (1, "b"), (2, "c")], &[]);
    let wrong = wrong.replace("@DISKS@/c.img", "@DISKS@/state");
    server.reload_refused(&wrong, "/state: ");
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
fn all_that_cannot_be_had_is_told_at_once_with_its_place() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let mut initiator = login(&server, 1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    // In turn: a store that would be shorter, one that is new, two that are directories, and two addresses.
    let portals = format!("\"127.0.0.1:0\", \"{taken}\", \"192.0.2.77:3260\"");
    let wrong = text(&["a", "b", "c", "d"], &[(0, "a"), (1, "b")], &[1])
        .replacen("8M", "4M", 1)
        .replace("@DISKS@/c.img", "@DISKS@/state")
        .replace("@DISKS@/d.img", "@DISKS@/state/identity")
        .replace("\"127.0.0.1:0\"", &portals);
    let places = |told: &str| -> Vec<String> {
        let place = |line: &str| Some(line.split_once(".toml:")?.1.split(' ').next()?.to_owned());
        told.lines().filter_map(place).collect()
    };
    // What is known without trying, as long as nobody has agreed to anything.
    let file = server.file("wrong.toml", &wrong);
    for how in [&["apply", "--dry-run"][..], &["apply"], &["apply", "--yes", "--dry-run"], &["diff"]] {
        let (_, _, told) = command(&server, &[how, &[file.as_str()]].concat());
        assert_eq!(places(&told), ["3:8:"], "{told}");
        assert!(told.contains("would be lost"), "{told}");
    }
    server.file("ringtgt.toml", &wrong);
    for how in [&["apply", "--yes", &file][..], &["reload"]] {
        let (status, _, told) = command(&server, how);
        assert_eq!(
            (status, places(&told).join(" ").as_str()),
            (1, "3:8: 13:8: 18:8: 24:27: 24:46:"),
            "{told}"
        );
        for why in ["would be lost", "/state: ", "/state/identity: ", "ss -ltnp", "ip addr"] {
            assert!(told.contains(why), "{why}: {told}");
        }
    }
    assert_eq!((luns(&mut initiator), ready(&mut initiator, 0)), (vec![0], None));
    assert!(
        server.is_free("b") && !fs::exists(server.disk("b")).expect("its directory"),
        "what was made is gone"
    );
    // The start tells all addresses, too.
    let wrong = text(&["a"], &[(0, "a")], &[1]).replace("\"127.0.0.1:0\"", &portals);
    let file = server.file("start.toml", &wrong);
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("its mode");
    let state = server.file("other", "") + "-state";
    let start = std::process::Command::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(["serve", "--config", &file, "--state-dir", &state])
        .output()
        .expect("the binary runs");
    let told = String::from_utf8(start.stderr).expect("text");
    assert!(
        told.contains("start.toml:9:27: ") && told.contains("ss -ltnp") && told.contains("ip addr"),
        "{told}"
    );
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

/// So many logical units that keep nothing, which one initiator may see, and others as many as are named of them.
fn nulls(count: u16, others: u8) -> String {
    let store = |n| format!("[[backstore]]\nkind = \"null\"\nname = \"n{n}\"\nsize = \"1G\"\n");
    let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
    let luns: Vec<(u16, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
    let initiators: Vec<u8> = (1..=1 + others).collect();
    (0..count).map(store).collect::<String>() + &text(&[], &luns, &initiators)
}

#[test]
fn ten_thousand_luns_are_served_and_change_like_a_few() {
    const MANY: u16 = 10_000;
    let server = Server::start(&nulls(MANY, 0));
    let mut initiator = login(&server, 1);
    let mut seen = |count: u16| {
        let luns = luns_within(&mut initiator, 256 << 10);
        assert!(luns.iter().copied().eq(0..count), "{} LUNs", luns.len());
        let last = count - 1;
        initiator.clear_attention(last).expect("it is ready");
        assert!(initiator.read(last, 0, 8, 4096).expect("a read").is_good());
    };
    seen(MANY);
    // One more, and another initiator that may see all of them; then everything is as before.
    let client = server.client();
    for (count, others) in [(MANY + 1, 1), (MANY, 0)] {
        let plan =
            client.call("config.apply", json!({ "toml": nulls(count, others) })).expect("it is applied");
        assert_eq!(plan["changes"].as_array().map(Vec::len), Some(3), "{}", plan["changes"]);
        assert_eq!(plan["sessions"].as_array().map(Vec::len), Some(1), "{}", plan["sessions"]);
        seen(count);
    }
    assert!(server.try_login(2).is_err(), "it may not be there any more");
    let counters = client.call("counters", json!({})).expect("counters");
    assert_eq!(counters["backstores"].as_array().map(Vec::len), Some(usize::from(MANY)));
    let log = fs::read_to_string(server.log()).expect("the log");
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn the_control_socket_tells_and_changes() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]));
    let client = server.client();
    let mode = fs::metadata(client.path()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let got = client.call("config.get", json!({})).expect("the configuration");
    let text = got["toml"].as_str().expect("text").to_owned();
    assert!(
        text.contains("[[backstore]]") && got["file"].as_str().expect("a file").ends_with("ringtgt.toml")
    );
    let (mut one, mut two) = (login(&server, 1), login(&server, 2));
    let more = format!("# kept\n{text}\n[[backstore]]\nkind = \"null\"\nname = \"n\"\nsize = \"1G\"\n")
        .replace(
            "lun = 0\nbackstore = \"a\"\n",
            "lun = 0\nbackstore = \"a\"\n[[target.tpg.lun]]\nlun = 4\nbackstore = \"n\"\n",
        );
    let plan = client.call("config.plan", json!({ "toml": more })).expect("a plan");
    assert_eq!(luns(&mut one), [0], "a plan changes nothing");
    assert_eq!(plan["changes"].as_array().expect("changes").len(), 2, "{plan}");
    assert_eq!(plan["sessions"].as_array().expect("sessions").len(), 2, "{plan}");
    // Somebody else was faster: the plan is another one.
    let stale = json!({ "toml": more, "plan": { "changes": [], "sessions": [], "next_start": [] } });
    assert_eq!(code(client.call("config.apply", stale)), OTHER_PLAN);
    let older = json!({ "toml": more, "base": "# what was served before\n" });
    assert_eq!(code(client.call("config.apply", older)), OTHER_TEXT);
    let done = client.call("config.apply", json!({ "toml": more, "plan": plan })).expect("it is applied");
    assert_eq!(done["changes"], plan["changes"]);
    assert_eq!(luns(&mut one), [0, 4]);
    assert!(
        client.call("config.get", json!({})).expect("text")["toml"]
            .as_str()
            .expect("text")
            .starts_with("# kept")
    );
    let wrong =
        client.call("config.apply", json!({ "toml": "[server]\nreactors = \"many\"\n", "name": "x.toml" }));
    let Err(CallError::Fault(fault)) = wrong else { panic!("it is wrong") };
    assert_eq!((fault.code, &fault.data["problems"][0]["line"]), (INVALID_CONFIG, &json!(2)));
    assert!(fault.data["report"].as_str().expect("a report").contains("x.toml:2:"));
    // Who is there, and what was done.
    let sessions = client.call("sessions.list", json!({})).expect("sessions");
    let sessions = sessions["sessions"].as_array().expect("a list");
    let initiators: Vec<&str> = sessions.iter().filter_map(|s| s["initiator"].as_str()).collect();
    assert_eq!(initiators.len(), 2);
    assert!(
        sessions.iter().all(|s| s["luns"] == 2 && s["negotiated"]["immediate_data"] == true),
        "{sessions:?}"
    );
    let first =
        sessions.iter().find(|s| s["initiator"] == "iqn.2026-11.org.example:i1").expect("it is there");
    assert_eq!((&first["deepest"], &first["queues"][0]), (&json!(1), &json!({ "lun": 0, "deepest": 1 })));
    assert!(first["window"].as_u64() > Some(1) && first["segment"].as_u64() > Some(500), "{first}");
    write(&mut one, 0, 0, 1);
    let counters = client.call("counters", json!({})).expect("counters");
    let of = |name: &str| {
        counters["backstores"].as_array().expect("a list").iter().find(|b| b["name"] == name).cloned()
    };
    assert_eq!(of("a").expect("a backstore")["bytes_written"], 4096);
    assert_eq!(counters["reactors"].as_array().expect("a list").len(), 2);
    let kicked = json!({ "initiator": "iqn.2026-11.org.example:i1" });
    assert_eq!(client.call("sessions.kick", kicked).expect("done")["sessions"], 1);
    assert!(one.execute(0, cdb::TEST_UNIT_READY, Direction::None, Vec::new()).is_err(), "it is out");
    assert_eq!(ready(&mut two, 4), Some((6, 0x29, 0)), "the other is not");
    let drained = json!({ "target": TARGET, "deadline": 60 });
    assert_eq!(client.call("sessions.drain", drained).expect("done")["sessions"], 1);
    assert_eq!(two.wait_async().expect("a message").async_event, AsyncEvent::SCSI_EVENT.0);
    let asked = two.wait_async().expect("a message");
    assert_eq!((asked.async_event, asked.parameter3.get()), (AsyncEvent::LOGOUT_REQUESTED.0, 60));
    two.logout().expect("a logout");
    for (method, params, wanted) in [
        ("sessions.kick", json!({}), INVALID_PARAMS),
        ("sessions.kick", json!({ "initiator": "iqn.x", "when": 1 }), INVALID_PARAMS),
        ("session.list", json!({}), METHOD_NOT_FOUND),
        ("alua.set", json!({ "backstore": "z", "group": "g", "state": "standby" }), INVALID_PARAMS),
    ] {
        assert_eq!(code(client.call(method, params)), wanted, "{method}");
    }
}

#[test]
fn who_logs_in_while_a_target_is_drained_is_sent_elsewhere() {
    let port = support::free_port();
    let portals = format!("\"127.0.0.1:0\", \"127.0.0.2:{port}\"");
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]).replace("\"127.0.0.1:0\"", &portals));
    let there = format!("127.0.0.2:{port}");
    let mut goes = login(&server, 1);
    let mut stays = server.login_at(&there, 2).expect("a login");
    stays.clear_attention(0).expect("a ready logical unit");
    let drain = |to: &str, deadline: &str| {
        let (status, said, complaint) =
            command(&server, &["drain", "--target", TARGET, "--to", to, "--deadline", deadline]);
        assert_eq!((status, complaint.as_str()), (0, ""));
        said
    };
    let said = drain(&there, "3600");
    assert_eq!(said, format!("1 session asked to log out; for 3600 s logins are sent to {there}\n"));
    assert_eq!(goes.wait_async().expect("a message").async_event, AsyncEvent::LOGOUT_REQUESTED.0);
    goes.logout().expect("a logout");
    let moved = |error: Error| match error {
        Error::Login(LoginError::Moved { status: LoginStatus::MOVED_TEMPORARILY, address }) => address,
        other => panic!("{other}"),
    };
    assert_eq!(moved(server.try_login(1).expect_err("it is drained")), there);
    // Who has been sent there is served, and who was there has heard nothing.
    let mut arrived = server.login_at(&there, 1).expect("a login");
    arrived.clear_attention(0).expect("a ready logical unit");
    assert_eq!(ready(&mut stays, 0), None);
    // It lasts over a change of what is served.
    server.reload(&text(&["a", "b"], &[(0, "a"), (1, "b")], &[1, 2]).replace("\"127.0.0.1:0\"", &portals));
    assert_eq!(moved(server.try_login(2).expect_err("it is drained yet")), there);
    assert_eq!(drain(&there, "0"), format!("logins are sent to {there} no longer\n"));
    server.try_login(1).expect("a login here again");
    // Of nothing that is there nobody can be sent on.
    for (args, said) in [
        (["--target", "iqn.2026-11.org.example:x", "--to", &there], "there is no target"),
        (["--portal", "192.0.2.1:1", "--to", &there], "nothing is served at 192.0.2.1:1"),
        (["--target", TARGET, "--to", &there], "no logins of that target or portal were sent elsewhere"),
    ] {
        let ends: &[&str] = if args[1] == TARGET { &["--deadline", "0"] } else { &[] };
        let (status, _, complaint) = command(&server, &[&["drain"], &args[..], ends].concat());
        assert!(status == 1 && complaint.contains(said), "{status} {complaint}");
    }
}

#[test]
fn a_portal_is_drained_for_as_long_as_was_said() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let (here, client) = (server.portal().to_string(), server.client());
    let drain = |params| client.call("sessions.drain", params);
    let mut initiator = login(&server, 1);
    let begun = Instant::now();
    let told = drain(json!({ "portal": here, "to": "192.0.2.9", "deadline": 2 })).expect("done");
    assert_eq!(told["sessions"], 1);
    assert_eq!(initiator.wait_async().expect("a message").async_event, AsyncEvent::LOGOUT_REQUESTED.0);
    initiator.logout().expect("a logout");
    loop {
        match server.try_login(1) {
            Err(Error::Login(LoginError::Moved { address, .. })) => assert_eq!(address, "192.0.2.9:3260"),
            Err(other) => panic!("{other}"),
            Ok(_) => break,
        }
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "sent on until then");
    for wrong in [
        json!({ "to": "192.0.2.9" }),
        json!({ "tsih": 1, "to": "192.0.2.9" }),
        json!({ "target": TARGET, "portal": here, "to": "192.0.2.9" }),
        json!({ "target": TARGET, "to": "0.0.0.0" }),
        json!({ "target": TARGET, "to": "elsewhere" }),
        json!({ "portal": "nowhere" }),
    ] {
        assert_eq!(code(drain(wrong.clone())), INVALID_PARAMS, "{wrong}");
    }
    let kick = json!({ "target": TARGET, "to": "192.0.2.9" });
    assert_eq!(code(client.call("sessions.kick", kick)), INVALID_PARAMS);
}

#[test]
fn whatever_the_reference_has_is_there() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let client = server.client();
    for method in &reference::METHODS {
        let answer = client.call(method.name, json!({}));
        let wants_more = matches!(&answer, Err(CallError::Fault(fault)) if fault.code == INVALID_PARAMS);
        assert!(answer.is_ok() || wants_more, "{}: {answer:?}", method.name);
    }
}

#[test]
fn a_stretch_of_what_is_served_is_written_otherwise() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let client = server.client();
    let got = client.call("config.get", json!({})).expect("the configuration");
    let (served, first) = (got["toml"].as_str().expect("text"), &got["revision"]);
    let edit = |revision: &serde_json::Value, begin: usize, end: usize, toml: &str| {
        let params = json!({ "revision": revision, "begin": begin, "end": end, "toml": toml });
        client.call("config.edit", params)
    };
    let end = served.len();
    let null = "[[backstore]]\nkind = \"null\"\nname = \"n\"\nsize = \"1G\"\n";
    let done = edit(first, end, end, null).expect("it is appended");
    assert_eq!(done["changes"].as_array().expect("changes").len(), 1, "{done}");
    let now = client.call("config.get", json!({})).expect("the configuration");
    assert_eq!(
        (now["toml"].as_str(), &now["revision"]),
        (Some(&*format!("{served}{null}")), &done["revision"])
    );
    assert_eq!(code(edit(first, end, end, "")), OTHER_TEXT, "that is not served any more");
    let second = &done["revision"];
    assert_eq!(code(edit(second, end, usize::MAX, "")), INVALID_PARAMS);
    assert_eq!(code(edit(second, end, end, "[[")), INVALID_CONFIG);
    edit(second, end, end + null.len(), "").expect("and taken away again");
    assert_eq!(client.call("config.get", json!({})).expect("text")["toml"], served);
}

fn code(answer: Result<serde_json::Value, CallError>) -> i64 {
    match answer {
        Err(CallError::Fault(fault)) => fault.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_change_has_a_revision_of_its_own() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let ask = |method| server.client().call(method, json!({})).expect("an answer")["revision"].clone();
    let first = ask("version");
    assert!(first.is_string() && ask("config.get") == first && ask("version") == first);
    server.reload(&text(&["a", "b"], &[(0, "a"), (1, "b")], &[]));
    let second = ask("config.get");
    assert!(second != first && ask("version") == second);
    let server = server.restart(&text(&["a"], &[(0, "a")], &[]), || {});
    let third = server.client().call("version", json!({})).expect("an answer")["revision"].clone();
    assert!(third != first && third != second, "{third}");
}

#[test]
fn what_is_no_request_is_answered_and_others_are_not_kept_waiting() {
    use std::io::{BufRead, BufReader, Read, Write};
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let path = server.client().path().to_owned();
    let connect = || std::os::unix::net::UnixStream::connect(&path).expect("a connection");
    let mut stream = connect();
    stream.write_all(b"nonsense\n[]\n{\"jsonrpc\":\"2.0\",\"method\":\"version\"}\n{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"version\"}\n").expect("sent");
    let mut lines = BufReader::new(stream).lines();
    let mut next = || {
        serde_json::from_str::<serde_json::Value>(&lines.next().expect("a line").expect("text"))
            .expect("JSON")
    };
    assert_eq!(next()["error"]["code"], -32700);
    assert_eq!(next()["error"]["code"], -32600, "an empty batch");
    let version = next();
    assert_eq!(
        (&version["id"], &version["result"]["api"]),
        (&json!("x"), &json!(1)),
        "a notification has no answer"
    );
    // Whoever says nothing has one of sixteen places, and no more.
    let idle: Vec<_> = (0..15).map(|_| connect()).collect();
    eventually("the places are taken", || {
        let mut said = String::new();
        connect().read_to_string(&mut said).expect("what it says");
        said.contains("16 connections")
    });
    drop((idle, lines));
    eventually("there is room again", || ringtgt::admin::rpc::Client::connect(&path).is_ok());
}

#[test]
fn a_batch_is_answered_by_a_list() {
    use std::io::{BufRead, BufReader, Write};
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut stream = std::os::unix::net::UnixStream::connect(server.socket()).expect("a connection");
    let call = |id, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let notice = json!({ "jsonrpc": "2.0", "method": "version" });
    let many = vec![call(0, "version"); 101];
    for batch in [
        json!([call(1, "version"), notice, 7, call(2, "stats.get"), call(3, "none")]),
        json!([notice, notice]),
        json!(many),
        json!([call(4, "version")]),
    ] {
        stream.write_all(format!("{batch}\n").as_bytes()).expect("sent");
    }
    let mut lines = BufReader::new(stream).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON")
    };
    let answers = next();
    let ids: Vec<_> = answers.as_array().expect("a list").iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(null), json!(2), json!(3)]);
    assert_eq!((&answers[0]["result"]["api"], &answers[1]["error"]["code"]), (&json!(1), &json!(-32600)));
    assert!(answers[2]["result"].is_object() && answers[3]["error"]["code"] == -32601, "{answers}");
    // That of notifications only is not answered, and too long a one by one error.
    assert_eq!(next()["error"]["code"], -32600);
    assert_eq!(next()[0]["id"], 4);
}

#[test]
fn access_states_are_set_by_name() {
    let alua = "[backstore.alua]\n[[backstore.alua.group]]\nname = \"g\"\nid = 2\naccess = \"both\"\n";
    let with = text(&["a"], &[(0, "a")], &[]).replace("size = \"8M\"\n", &format!("size = \"8M\"\n{alua}"));
    let with = with.replace("backstore = \"a\"\n", "backstore = \"a\"\nalua_group = \"g\"\n");
    let server = Server::start(&with);
    let (client, mut initiator) = (server.client(), login(&server, 1));
    let set =
        |state: &str| client.call("alua.set", json!({ "backstore": "a", "group": "g", "state": state }));
    set("standby").expect("it is set");
    assert_eq!(ready(&mut initiator, 0), Some((6, 0x2a, 0x06)));
    assert_eq!(initiator.read(0, 0, 8, 4096).expect("an answer").sense_code(), Some((2, 4, 0x0b)));
    set("active/optimized").expect("it is set");
    assert_eq!(ready(&mut initiator, 0), Some((6, 0x2a, 0x06)));
    assert_eq!(byte(&mut initiator, 0, 0), 0);
    assert_eq!(code(set("active")), INVALID_PARAMS);
}

/// Runs a command against the server; its status, and what it says on both ways.
fn command(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(arguments)
        .arg("--control-socket")
        .arg(server.client().path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a status"), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_applies_lists_and_puts_out() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    assert_eq!(command(&server, &["diff"]), (0, "nothing to change\n".into(), String::new()));
    let more = server.file("more.toml", &text(&["a", "b"], &[(0, "a"), (1, "b")], &[]));
    let served = more.replace("more.toml", "ringtgt.toml");
    let plan = format!(
        "+ /backstores/fileio/b  ({}, 8 MiB)\n+ /iscsi/{TARGET}/tpg1/luns/lun1  (b)\n\
         ! session of iqn.2026-11.org.example:i1 at {TARGET}: sees other LUNs\n",
        server.disk("b")
    );
    assert_eq!(command(&server, &["diff", &more]), (1, plan.clone(), String::new()));
    assert_eq!(command(&server, &["apply", &more, "--dry-run"]), (0, plan.clone(), String::new()));
    let (status, _, said) = command(&server, &["apply", &more]);
    assert!(status == 1 && said.contains("say --yes"), "{said}");
    assert_eq!(luns(&mut initiator), [0]);
    assert_eq!(
        command(&server, &["apply", &more, "--yes"]),
        (
            0,
            plan + &format!(
                "applied: 2 changes\nthis lasts until the next reload or restart, which read {served}\n"
            ),
            String::new()
        )
    );
    assert_eq!(luns(&mut initiator), [0, 1]);
    let less = server.file("less.toml", &text(&["a"], &[(0, "a")], &[]));
    let (status, _, said) = command(&server, &["apply", &less, "--yes"]);
    assert!(status == 1 && said.contains("say --prune"), "{said}");
    assert_eq!(command(&server, &["apply", &less, "--yes", "--prune"]).0, 0);
    assert_eq!(luns(&mut initiator), [0]);
    let wrong = server.file("wrong.toml", "[[backstore]]\nkind = \"null\"\n");
    let (status, _, said) = command(&server, &["apply", &wrong, "--yes"]);
    assert!(status == 1 && said.contains("wrong.toml:1:") && said.contains("name"), "{said}");
    assert_eq!(command(&server, &["diff", &wrong]).0, 2, "that cannot be known");
    let own = server.file("ringtgt.toml", &text(&["a", "c"], &[(0, "a"), (1, "c")], &[]));
    assert!(
        command(&server, &["apply", &own, "--yes"]).1.ends_with("applied: 2 changes\n"),
        "that one lasts"
    );
    let (status, listed, _) = command(&server, &["sessions"]);
    assert!(
        status == 0 && listed.starts_with("TSIH") && listed.contains("iqn.2026-11.org.example:i1"),
        "{listed}"
    );
    let (_, listed, _) = command(&server, &["sessions", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let tsih = listed["sessions"][0]["tsih"].to_string();
    assert_eq!(command(&server, &["drain", "--tsih", &tsih]).1, "1 session asked to log out\n");
    assert_eq!(command(&server, &["kick", "--tsih", &tsih]).1, "1 session dropped\n");
    let (status, _, said) = command(&server, &["kick", "--initiator", "iqn.2026-11.org.example:nobody"]);
    assert!(status == 1 && said.contains("no such session"), "{said}");
}

/// The same on a terminal, where that is answered to the question.
fn typed(server: &Server, arguments: &[&str], answer: &str) -> (i32, String) {
    let typist = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/typist.py");
    let mut command = std::process::Command::new("python3");
    command.arg(typist).arg(env!("CARGO_BIN_EXE_ringtgt")).args(arguments);
    command.arg("--control-socket").arg(server.socket()).env("PROMPT", "[y/N] ");
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).spawn().expect("python3 runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(format!("{answer}\n").as_bytes()).expect("it is heard");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    (output.status.code().expect("a status"), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn who_sits_at_a_terminal_is_asked() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    let more = server.file("more.toml", &text(&["a", "b"], &[(0, "a"), (1, "b")], &[]));
    for answer in ["n", "", "no", "ye", "apply"] {
        let (status, said) = typed(&server, &["apply", &more], answer);
        assert_eq!(status, 1, "{answer}: {said}");
        assert!(said.contains("+ /backstores/fileio/b") && said.contains("apply this? [y/N] "), "{said}");
        assert!(said.ends_with("ringtgt: nothing was changed\n"), "{answer}: {said}");
        assert_eq!(luns(&mut initiator), [0], "{answer}");
        assert!(!std::path::Path::new(&server.disk("b")).exists(), "{answer}");
    }
    let (status, said) = typed(&server, &["apply", &more], "y");
    assert!(status == 0 && said.contains("applied: 2 changes\n"), "{status} {said}");
    assert_eq!(luns(&mut initiator), [0, 1]);
    let less = server.file("less.toml", &text(&["a"], &[(0, "a")], &[]));
    assert_eq!(typed(&server, &["apply", &less, "--prune"], " YES ").0, 0);
    assert_eq!(luns(&mut initiator), [0]);
}

/// The same as a user who is neither root nor the daemon's. Such a one finds neither the binary nor the socket by their
/// whole names: so it has the one open, and stands beside the other.
fn command_of_another(server: &Server, arguments: &[&str]) -> (i32, String) {
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "/proc/self/fd/0"])
        .args(arguments)
        .args(["--control-socket", "control.sock"])
        .current_dir(server.socket().parent().expect("a directory"))
        .stdin(fs::File::open(env!("CARGO_BIN_EXE_ringtgt")).expect("the binary"))
        .output()
        .expect("setpriv runs");
    (output.status.code().expect("a status"), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn only_root_and_the_daemons_user_are_listened_to() {
    assert_eq!(
        ringtgt::sys::effective_uid(),
        0,
        "this test comes as somebody else, for which it must be root"
    );
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let _initiator = login(&server, 1);
    let kick = ["kick", "--initiator", "iqn.2026-11.org.example:i1"];
    let dir = server.socket().parent().expect("a directory").to_owned();
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    };
    allow(&dir, 0o711);
    let refused = |why: &str| {
        let (status, said) = command_of_another(&server, &kick);
        assert!(status == 1 && said.ends_with(why), "{status} {said}");
    };
    // The socket's mode keeps others out, and when somebody has widened it, the daemon does.
    refused("; ask as root, or as the user that ringtgt runs as\n");
    allow(&server.socket(), 0o666);
    for _ in 0..20 {
        refused("; only root and the user that ringtgt runs as are listened to\n");
    }
    let log = fs::read_to_string(server.log()).expect("the log");
    assert!(log.contains("somebody else wanted to use the control socket uid=65534"), "{log}");
    // None of them has kept a place, and nothing was done.
    assert_eq!(command(&server, &kick), (0, "1 session dropped\n".to_owned(), String::new()));
}

#[test]
fn without_a_daemon_it_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(["sessions", "--control-socket", "/nonexistent/control.sock"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && said.contains("is ringtgt running?"), "{said}");
}

#[test]
fn what_was_named_on_the_command_line_changes_too() {
    let server = Server::ad_hoc(&["ram:1M"]);
    let client = server.client();
    let mut initiator = login(&server, 1);
    let got = client.call("config.get", json!({})).expect("the configuration");
    assert!(got["file"].is_null());
    let text = got["toml"].as_str().expect("text").to_owned();
    let plan = client.call("config.plan", json!({ "toml": text })).expect("a plan");
    assert_eq!(plan, json!({ "changes": [], "sessions": [], "next_start": [] }), "it means the same");
    let more = text
        + "[[target.tpg.lun]]\nlun = 3\nbackstore = \"more\"\n[[backstore]]\nkind = \"ramdisk\"\nname = \"more\"\nsize = \"2M\"\n";
    client.call("config.apply", json!({ "toml": more })).expect("it is applied");
    assert_eq!(luns(&mut initiator), [0, 3]);
    assert_eq!(code(client.call("config.reload", json!({}))), FAILED);
}

#[test]
fn what_is_not_there_is_not_ready_and_comes_alive() {
    let later = "[[backstore]]\nkind = \"fileio\"\nname = \"later\"\npath = \"@DISKS@/later.img\"\n";
    let text = format!("{later}{}", text(&["a"], &[(0, "a"), (1, "later")], &[]));
    let server = Server::start(&text);
    let mut initiator = login(&server, 1);
    assert_eq!(luns(&mut initiator), [0, 1], "it is in its place");
    initiator.clear_attention(1).expect("an answer");
    assert_eq!(ready(&mut initiator, 1), Some((2, 4, 3)));
    assert_eq!(initiator.read(1, 0, 1, 512).expect("an answer").sense_code(), Some((2, 4, 3)));
    write(&mut initiator, 0, 0, 5);
    fs::File::create(server.disk("later")).and_then(|file| file.set_len(8 << 20)).expect("a file");
    assert_eq!(initiator.wait_async().expect("a message").async_event, AsyncEvent::SCSI_EVENT.0);
    assert_eq!(ready(&mut initiator, 1), Some((6, 0x29, 0)));
    assert_eq!(initiator.capacity(1).expect("a capacity"), (8 << 11, 512));
    write(&mut initiator, 1, 0, 6);
    assert_eq!(luns(&mut initiator), [0, 1]);
    assert_eq!((byte(&mut initiator, 0, 0), byte(&mut initiator, 1, 0)), (5, 6));
    // A reload of the same changes nothing.
    server.reload(&text);
    assert_eq!((ready(&mut initiator, 0), ready(&mut initiator, 1)), (None, None));
}

#[test]
fn what_is_there_and_held_keeps_nothing_else_waiting() {
    let later = |name| {
        format!("[[backstore]]\nkind = \"fileio\"\nname = \"{name}\"\npath = \"@DISKS@/{name}.img\"\n")
    };
    let text = format!(
        "{}{}{}",
        later("held"),
        later("free"),
        text(&["a"], &[(0, "a"), (1, "held"), (2, "free")], &[])
    );
    let server = Server::start(&text);
    let mut initiator = login(&server, 1);
    (1..3).for_each(|lun| initiator.clear_attention(lun).expect("an answer"));
    // Whole and held before it has its name.
    let (aside, held) = (server.disk("aside"), server.disk("held"));
    let file = fs::File::create(&aside).expect("a file");
    file.set_len(8 << 20).and_then(|()| file.lock()).expect("its length, and a lock");
    fs::rename(&aside, &held).expect("another name");
    fs::File::create(server.disk("free")).and_then(|file| file.set_len(8 << 20)).expect("a file");
    eventually("the other one is served", || ready(&mut initiator, 2).is_none());
    let ram = "[[backstore]]\nkind = \"ramdisk\"\nname = \"more\"\nsize = \"1M\"\n";
    server.reload(&format!("{text}{ram}"));
    initiator.clear_attention(1).expect("an answer");
    assert_eq!(ready(&mut initiator, 1), Some((2, 4, 3)), "somebody has it");
    let why = || {
        let told = server.client().call("backstores.list", json!({})).expect("backstores");
        let all = told["backstores"].as_array().expect("a list").clone();
        let whys = |name| all.iter().find(|b| b["name"] == name).expect("it is served")["why"].clone();
        ["a", "held", "free"].map(|name| whys(name).as_str().map(ToOwned::to_owned))
    };
    let [_, told, _] = why();
    assert!(told.is_some_and(|why| why.contains("held.img: is in use by process ")), "{:?}", why());
    let file_of = server.config().display().to_string();
    let info = |more: &[&str]| {
        let words = ["info", "/backstores/fileio/held", "--config", &file_of];
        command(&server, &[&words, more].concat()).1
    };
    assert!(info(&[]).contains("activated, not ready: is in use by"), "{}", info(&[]));
    assert!(info(&["--json"]).contains("\"not_ready\":"), "{}", info(&["--json"]));
    drop(file);
    eventually("it is served, too", || ready(&mut initiator, 1).is_none());
    assert_eq!(why(), [const { None }; 3]);
}

#[test]
fn what_is_there_and_does_not_fit_keeps_nothing_else_waiting() {
    let later = |name, more| {
        format!("[[backstore]]\nkind = \"fileio\"\nname = \"{name}\"\npath = \"@DISKS@/{name}.img\"\n{more}")
    };
    let all = |more| {
        let luns = text(&["a"], &[(0, "a"), (1, "empty"), (2, "odd"), (3, "free")], &[]);
        later("empty", "") + &later("odd", more) + &later("free", "") + &luns
    };
    let server = Server::start(&all("block_size = 4096\n"));
    let mut initiator = login(&server, 1);
    (1..4).for_each(|lun| initiator.clear_attention(lun).expect("an answer"));
    let file = |name: &str, len| fs::File::create(server.disk(name)).and_then(|file| file.set_len(len));
    file("empty", 0).and_then(|()| file("odd", (8 << 20) + 512)).expect("files");
    file("free", 8 << 20).expect("a file");
    eventually("the one that fits is served", || ready(&mut initiator, 3).is_none());
    let more = |text: String| text + "[[backstore]]\nkind = \"ramdisk\"\nname = \"more\"\nsize = \"1M\"\n";
    server.reload(&more(all("block_size = 4096\n")));
    (1..3).for_each(|lun| initiator.clear_attention(lun).expect("an answer"));
    assert_eq!([1, 2].map(|lun| ready(&mut initiator, lun)), [Some((2, 4, 3)); 2]);
    eventually("both are complained of", || {
        let log = fs::read_to_string(server.log()).expect("the log");
        let said: String = log.lines().filter(|line| line.contains("a store is not served")).collect();
        said.contains("backstore empty: ") && said.contains("backstore odd: ") && said.contains("truncate")
    });
    // What is wrong may be mended in the configuration, too: nothing of it is open yet.
    server.reload(&more(all("")));
    file("empty", 1 << 20).expect("its length");
    eventually("all are served", || [1, 2].iter().all(|lun| ready(&mut initiator, *lun).is_none()));
}

#[test]
fn what_was_served_before_is_not_made_anew_at_the_start() {
    let text = text(&["a", "b"], &[(0, "a"), (1, "b")], &[]);
    let server = Server::start(&text);
    let mut initiator = login(&server, 1);
    initiator.clear_attention(1).expect("it is ready");
    write(&mut initiator, 1, 0, 7);
    let (disk, aside) = (server.disk("b"), server.disk("aside"));
    let server = server.restart(&text, || fs::rename(&disk, &aside).expect("another place"));
    let mut initiator = login(&server, 1);
    initiator.clear_attention(1).expect("an answer");
    assert_eq!(ready(&mut initiator, 1), Some((2, 4, 3)));
    assert!(!fs::exists(&disk).expect("an answer"), "no empty disk by its names");
    let log = fs::read_to_string(server.log()).expect("the log");
    assert!(log.contains("b.img: is not there, and is not made anew"), "{log}");
    assert!(log.contains("truncate --size=8388608"), "{log}");
    fs::rename(&aside, &disk).expect("its place");
    eventually("it is served", || ready(&mut initiator, 1).is_none());
    assert_eq!(byte(&mut initiator, 1, 0), 7);
}

#[test]
fn what_does_not_fit_at_the_start_keeps_nothing_else_from_being_served() {
    let text = text(&["a", "short", "long"], &[(0, "a"), (1, "short"), (2, "long")], &[]);
    let server = Server::start(&text);
    let (short, long) = (server.disk("short"), server.disk("long"));
    let make = |path: &str, len| {
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(len)).expect("its length");
    };
    let server = server.restart(&text, || {
        make(&short, 4 << 20);
        make(&long, 16 << 20);
    });
    let mut initiator = login(&server, 1);
    (1..3).for_each(|lun| initiator.clear_attention(lun).expect("an answer"));
    write(&mut initiator, 0, 0, 7);
    assert_eq!(ready(&mut initiator, 1), Some((2, 4, 3)));
    assert_eq!(initiator.capacity(2).expect("a capacity"), (8 << 11, 512), "as configured");
    let said = |words: &[&str]| {
        let log = fs::read_to_string(server.log()).expect("the log");
        log.lines().any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(said(&["ERROR", "short.img: is 4194304 bytes long, not 8388608 as configured", "truncate"]));
    eventually("the longer one is warned of", || said(&["WARN", "long", "longer than its configured size"]));
    make(&short, 8 << 20);
    eventually("it is served", || ready(&mut initiator, 1).is_none());
}

#[test]
fn what_could_not_be_made_is_made_by_a_later_start() {
    let text = text(&["a", "dir/b"], &[(0, "a"), (1, "dir/b")], &[]).replace("\"dir/b\"", "\"b\"");
    let server = Server::start(&text);
    let mut initiator = login(&server, 1);
    initiator.clear_attention(1).expect("an answer");
    assert_eq!(ready(&mut initiator, 1), Some((2, 4, 3)));
    let dir = server.disk("dir").replace(".img", "");
    let server = server.restart(&text, || fs::create_dir(dir).expect("a directory"));
    let mut initiator = login(&server, 1);
    initiator.clear_attention(1).expect("it is ready");
    assert_eq!(ready(&mut initiator, 1), None);
}

#[test]
fn what_is_named_on_the_command_line_is_made_whenever_it_is_not_there() {
    let stores = ["@DISKS@/a.img:8M"];
    let server = Server::ad_hoc(&stores);
    write(&mut login(&server, 1), 0, 0, 7);
    let disk = server.disk("a");
    let server = server.restart_ad_hoc(&stores, || fs::remove_file(disk).expect("it was there"));
    assert_eq!(byte(&mut login(&server, 1), 0, 0), 0);
}

#[test]
fn who_is_asked_to_negotiate_anew_is_told_what_has_changed() {
    let before = text(&["a"], &[(0, "a")], &[]);
    let server = Server::start(&before);
    let mut initiator = login(&server, 1);
    let changed = "[[target.tpg]]\nparameters = { max_recv_data_segment_length = \"64K\" }\n";
    server.reload(&before.replacen("[[target.tpg]]\n", changed, 1));
    let asked = command(&server, &["renegotiate", "--initiator", "iqn.2026-11.org.example:i1"]);
    assert_eq!(asked, (0, "1 session asked to negotiate anew\n".to_owned(), String::new()));
    let message = initiator.wait_async().expect("an asynchronous message");
    assert_eq!(AsyncEvent(message.async_event), AsyncEvent::NEGOTIATION_REQUESTED);
    assert_eq!(message.parameter3.get(), 10);
    assert_eq!(initiator.text(b"").expect("an answer"), b"MaxRecvDataSegmentLength=65536\0");
    assert_eq!(initiator.text(b"").expect("an answer"), b"", "once");
    // What was on its way may still be as long as before.
    assert!(initiator.write(0, 0, 256, vec![3; 131_072]).expect("a write").is_good());
    assert_eq!(byte(&mut initiator, 0, 248), 3);
}

/// The configuration with disks of another size.
fn sized(size: &str) -> String {
    text(&["a"], &[(0, "a")], &[]).replace("size = \"8M\"\n", size)
}

#[test]
fn nothing_has_another_size_there_and_then() {
    let null = |size: &str| {
        let null = format!("kind = \"null\"\nname = \"a\"\nsize = \"{size}\"");
        text(&["a"], &[(0, "a")], &[])
            .replace("kind = \"fileio\"\nname = \"a\"\npath = \"@DISKS@/a.img\"\nsize = \"8M\"", &null)
    };
    let server = Server::start(&null("8M"));
    let mut initiator = login(&server, 1);
    for (size, blocks) in [("1T", 1 << 31), ("4M", 4 << 11)] {
        server.reload(&null(size));
        assert_eq!(ready(&mut initiator, 0), Some((6, 0x2a, 0x09)), "capacity data has changed");
        assert_eq!(initiator.capacity(0).expect("a capacity"), (blocks, 512));
    }
    let beyond = initiator.read(0, 4 << 11, 8, 4096).expect("an answer");
    assert_eq!(beyond.sense_code(), Some((5, 0x21, 0)), "behind the end");
    let file = server.config().display().to_string();
    let said = command(&server, &["set", "/backstores/null/a", "attribute", "size=16M", "--config", &file]);
    assert_eq!(said.0, 0, "{said:?}");
    assert_eq!(
        initiator.clear_attention(0).map(|()| initiator.capacity(0).expect("a capacity")).ok(),
        Some((16 << 11, 512))
    );
}

#[test]
fn a_file_becomes_longer_by_its_size_and_whoever_is_logged_in_is_told() {
    let server = Server::start(&sized("size = \"8M\"\n"));
    let mut initiator = login(&server, 1);
    let len = || fs::metadata(server.disk("a")).expect("the disk").len();
    write(&mut initiator, 0, 0, 7);
    server.reload(&sized("size = \"12M\"\n"));
    assert_eq!(ready(&mut initiator, 0), Some((6, 0x2a, 0x09)), "capacity data has changed");
    assert_eq!((initiator.capacity(0).expect("a capacity"), len()), ((12 << 11, 512), 12 << 20));
    write(&mut initiator, 0, (12 << 11) - 8, 9);
    assert_eq!((byte(&mut initiator, 0, 0), byte(&mut initiator, 0, (12 << 11) - 8)), (7, 9));
    // What comes together with something that cannot be had does not come.
    let both = format!(
        "[[backstore]]\nkind = \"fileio\"\nname = \"b\"\npath = \"@DISKS@/state\"\nsize = \"8M\"\n{}",
        sized("size = \"16M\"\n")
    );
    server.reload_refused(&both, "/state: ");
    assert_eq!(len(), 12 << 20);
    server.reload_refused(&sized("size = \"4M\"\n"), "would be lost; if that is meant");
    assert_eq!((initiator.capacity(0).expect("a capacity"), len()), ((12 << 11, 512), 12 << 20));
    assert_eq!(ready(&mut initiator, 0), None, "nothing was to be told");
    // Whoever means it makes the file shorter first.
    fs::File::options().write(true).open(server.disk("a")).and_then(|f| f.set_len(4 << 20)).expect("shorter");
    server.reload(&sized("size = \"4M\"\n"));
    eventually("it is told", || ready(&mut initiator, 0) == Some((6, 0x2a, 0x09)));
    assert_eq!(initiator.capacity(0).expect("a capacity"), (4 << 11, 512));
    // Without a size it is served as long as it is; the next start finds the same.
    server.reload(&sized(""));
    fs::File::options().write(true).open(server.disk("a")).and_then(|f| f.set_len(6 << 20)).expect("longer");
    eventually("it is told", || ready(&mut initiator, 0) == Some((6, 0x2a, 0x09)));
    assert_eq!(initiator.capacity(0).expect("a capacity"), (6 << 11, 512));
}

//! How the daemon is seen from outside: what it has counted, and how it is told.

#[path = "support/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "these tests change no configuration")]
#[path = "support/live.rs"]
mod support;

use std::process::Command;

use ringtgt::initiator::{Direction, Initiator, cdb};
use serde_json::{Value, json};
use support::{Server, login, text};

/// The entry of a list of that name.
fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut all = list.as_array().expect("a list").iter();
    all.find(|entry| entry[key] == name).unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

/// Three writes of 4 KiB, five reads of 8 KiB of which the last is beyond the end, and nothing else that moves data.
fn known_work(initiator: &mut Initiator) {
    for n in 0..3 {
        assert!(initiator.write(0, n * 8, 8, vec![7; 4096]).expect("a write").is_good());
    }
    for n in 0..4 {
        assert!(initiator.read(0, n, 16, 8192).expect("a read").is_good());
    }
    let beyond = initiator.read(0, 8 << 11, 16, 8192).expect("an answer");
    assert_eq!(beyond.sense_code(), Some((5, 0x21, 0)));
    let ready = initiator.execute(0, cdb::TEST_UNIT_READY, Direction::None, Vec::new());
    assert!(ready.expect("an answer").is_good());
}

#[test]
fn known_work_is_found_with_exact_numbers() {
    let server = Server::start(&text(&["a", "idle"], &[(0, "a"), (1, "idle")], &[]));
    let client = server.client();
    let mut initiator = login(&server, 1);
    let other = |stats: &Value| named(&stats["backstores"], "name", "a")["other"]["ops"].as_u64();
    let before = client.call("stats.get", json!({})).expect("stats");
    assert_eq!(before["stats"], 1);
    known_work(&mut initiator);
    let stats = client.call("stats.get", json!({ "buckets": true })).expect("stats");
    let disk = named(&stats["backstores"], "name", "a");
    let session = named(&stats["sessions"], "initiator", "iqn.2026-11.org.example:i1");
    for seen in [disk, session] {
        assert_eq!(seen["write"]["ops"], 3, "{seen:#}");
        assert_eq!(seen["write"]["bytes"], 3 * 4096);
        assert_eq!(seen["read"]["ops"], 4);
        assert_eq!(seen["read"]["bytes"], 4 * 8192);
        let total = &seen["read"]["times"]["total"];
        let counts = total["buckets"].as_array().expect("buckets").iter().map(|pair| pair[1].as_u64());
        assert_eq!((total["count"].as_u64(), counts.sum()), (Some(4), Some(4)));
        assert!(total["p50_ns"].as_u64() > Some(0) && total["p999_ns"].as_u64() >= total["p50_ns"].as_u64());
        let phases =
            ["queued", "data", "disk", "sending"].map(|phase| &seen["read"]["times"][phase]["sum_ns"]);
        assert_eq!(phases.iter().map(|sum| sum.as_u64()).sum::<Option<u64>>(), total["sum_ns"].as_u64());
    }
    // The one beyond the end, which has never begun to read, and TEST UNIT READY.
    assert_eq!(other(&stats), other(&before).map(|n| n + 2));
    assert_eq!(disk["other"]["failed"].as_u64().map(|n| n > 0), Some(true));
    assert_eq!((&session["commands"], &session["waits"]), (&json!(0), &json!(false)));
    let idle = stats["backstores"].as_array().expect("a list").iter().filter(|b| b["name"] == "idle");
    assert!(idle.count() <= 1);
    let reactors = stats["reactors"].as_array().expect("a list");
    assert_eq!(reactors.len(), 2);
    assert!(reactors.iter().all(|r| r["busy_ns"].as_u64() > Some(0)), "{reactors:?}");
    let begins = stats["bucket_begins_ns"].as_array().expect("a list");
    assert!(begins.is_sorted_by_key(Value::as_u64) && begins.len() == 96);
    initiator.logout().expect("a logout");
    let refused = client.call("stats.get", json!({ "bucket": true }));
    assert!(refused.is_err(), "a wrong parameter is told");
}

/// Runs a command of ringtgt that asks that daemon; what it prints.
fn ask(server: &Server, arguments: &[&str]) -> String {
    let socket = server.client().path().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(arguments)
        .arg("--control-socket")
        .arg(socket)
        .output()
        .expect("ringtgt runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn top_shows_what_is_going_on_to_programs_and_to_people() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    let (stop, done) = std::sync::mpsc::channel::<()>();
    let busy = std::thread::spawn(move || {
        while done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            known_work(&mut initiator);
        }
        initiator
    });
    let told = ask(&server, &["top", "--once", "--json", "--interval", "0.5"]);
    let picture: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(picture["top"], 1);
    assert!(picture["seconds"].as_f64().is_some_and(|s| (0.4..30.0).contains(&s)), "{picture:#}");
    let disk = named(&picture["backstores"], "name", "a");
    for (direction, bytes) in [("read", 8192.0), ("write", 4096.0)] {
        let flow = &disk[direction];
        let iops = flow["iops"].as_f64().expect("a rate");
        assert!(iops > 0.0 && flow["bytes_per_s"] == iops * bytes, "{flow:#}");
        assert!(flow["times"]["total"]["p99_ns"].as_u64() > Some(0), "{flow:#}");
        // One at a time.
        assert!(flow["depth"].as_f64().is_some_and(|depth| depth > 0.0 && depth <= 1.0), "{flow:#}");
    }
    let session = named(&picture["sessions"], "name", "iqn.2026-11.org.example:i1");
    assert!(session["read"]["iops"].as_f64() > Some(0.0), "{session:#}");
    let text = ask(&server, &["top", "--once", "--interval", "0.2"]);
    assert!(text.starts_with("ringtgt  reactors 2  sessions 1  luns 1  over 0."), "{text}");
    assert!(text.lines().any(|line| line.starts_with("a  ")), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    drop(stop);
    busy.join().expect("it works on").logout().expect("a logout");
}

//! How the daemon is seen from outside: what it has counted, and how it is told.

#[path = "support/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "these tests change no configuration")]
#[path = "support/live.rs"]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::TARGET;
use ringtgt::admin::rpc::Client;
use ringtgt::initiator::{Direction, Initiator, LoginOptions, cdb};
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
    let idle = named(&stats["backstores"], "name", "idle");
    assert_eq!(
        (&idle["write"]["ops"], &idle["size"], &idle["why"]),
        (&json!(0), &json!(8 << 20), &Value::Null)
    );
    let reactors = stats["reactors"].as_array().expect("a list");
    assert_eq!(reactors.len(), 2);
    assert!(reactors.iter().all(|r| r["busy_ns"].as_u64() > Some(0)), "{reactors:?}");
    let begins = stats["bucket_begins_ns"].as_array().expect("a list");
    assert!(begins.is_sorted_by_key(Value::as_u64) && begins.len() == 96);
    initiator.logout().expect("a logout");
    let refused = client.call("stats.get", json!({ "bucket": true }));
    assert!(refused.is_err(), "a wrong parameter is told");
}

#[test]
fn who_is_named_is_told_whole_however_little_it_does() {
    const MANY: u64 = 140;
    let store = |n| format!("[[backstore]]\nkind = \"null\"\nname = \"n{n}\"\nsize = \"1M\"\n");
    let names: Vec<String> = (0..MANY).map(|n| format!("n{n}")).collect();
    let luns: Vec<(u16, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
    let server = Server::start(&((0..MANY).map(store).collect::<String>() + &text(&[], &luns, &[])));
    let (client, mut initiator) = (server.client(), login(&server, 1));
    for (lun, _) in luns {
        initiator.clear_attention(lun).expect("it is ready");
        // The first does least.
        for _ in 0..1 + u16::from(lun > 0) {
            assert!(initiator.read(lun, 0, 8, 4096).expect("a read").is_good());
        }
    }
    let ask = |params| client.call("stats.get", params);
    let whole = |told: &Value| told["read"]["times"]["total"]["buckets"].is_array();
    let all = ask(json!({ "buckets": true })).expect("stats");
    assert!(!whole(named(&all["backstores"], "name", "n0")), "others do more");
    let session = &all["sessions"][0];
    let told = ask(json!({ "backstores": ["n0", "n7"], "sessions": [session["tsih"]] })).expect("stats");
    let of = |list: &str| told[list].as_array().expect("a list").clone();
    assert_eq!(of("backstores").iter().map(|b| b["name"].clone()).collect::<Vec<_>>(), ["n0", "n7"]);
    assert!(of("backstores").iter().all(whole) && of("sessions").len() == 1 && whole(&of("sessions")[0]));
    let first = &of("backstores")[0]["read"]["times"]["total"];
    let counts = first["buckets"].as_array().expect("pairs").iter().map(|pair| pair[1].as_u64());
    assert_eq!((first["count"].as_u64(), counts.sum()), (Some(1), Some(1)), "{first}");
    assert_eq!((told["all"]["read"]["ops"].as_u64(), of("reactors").len()), (Some(2 * MANY - 1), 2));
    assert_eq!(told["bucket_begins_ns"], all["bucket_begins_ns"]);
    // Only sessions, and a handle that nobody has.
    let none =
        ask(json!({ "sessions": [session["tsih"].as_u64().map_or(0, |tsih| tsih ^ 1)] })).expect("stats");
    assert_eq!((&none["backstores"], &none["sessions"]), (&json!([]), &json!([])));
    let too_many: Vec<&String> = names.iter().take(129).collect();
    for (wrong, why) in
        [(json!(["n140"]), "there is no backstore \"n140\""), (json!(too_many), "at most 128")]
    {
        let refused = ask(json!({ "backstores": wrong })).expect_err("it is refused").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let told = self::ask(&server, &["top", "--once", "--json", "--interval", "0.1", "--backstore", "n3"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((told["backstores"].as_array().map(Vec::len), &told["sessions"]), (Some(1), &json!([])));
    assert_eq!(named(&told["backstores"], "name", "n3")["read"]["times"]["disk"]["buckets_ns"], json!([]));
    initiator.logout().expect("a logout");
}

/// Runs a command of ringtgt that asks that daemon; what it prints.
fn ask(server: &Server, arguments: &[&str]) -> String {
    try_ask(server, arguments).unwrap_or_else(|why| panic!("{arguments:?}: {why}"))
}

/// The same of one that may be refused; why.
fn try_ask(server: &Server, arguments: &[&str]) -> Result<String, String> {
    let socket = server.client().path().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(arguments)
        .arg("--control-socket")
        .arg(socket)
        .output()
        .expect("ringtgt runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
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
        let each = flow["bytes_per_s"].as_f64().expect("a rate") / iops;
        assert!(iops > 0.0 && (each - bytes).abs() < 1e-3, "{flow:#}");
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
    assert!(text.lines().any(|line| line.starts_with("REACTOR ")), "{text}");
    let nobody = try_ask(&server, &["top", "--once", "--session", "65535"]);
    assert!(
        nobody.is_err_and(|why| why.contains("there is no session 65535; `ringtgt sessions` lists them"))
    );
    drop(stop);
    busy.join().expect("it works on").logout().expect("a logout");
}

/// A configuration in which metrics are served at any free port.
fn with_metrics(stores: &[&str], luns: &[(u16, &str)], initiators: &[u8]) -> String {
    format!("[server]\nmetrics = \"127.0.0.1:0\"\n{}", text(stores, luns, initiators))
}

/// What the daemon has logged.
fn log(server: &Server) -> String {
    std::fs::read_to_string(server.log()).expect("a log")
}

/// Waits until the log has a line with all of these; the line.
fn said(server: &Server, words: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let log = log(server);
        if let Some(line) = log.lines().find(|line| words.iter().all(|word| line.contains(word))) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no line with {words:?} in {log}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The head and the body of the answer to a request.
fn http(address: &str, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    stream.write_all(request).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[test]
fn metrics_are_served_and_nothing_else() {
    let server = Server::start(&with_metrics(&["a"], &[(0, "a")], &[]));
    let line = said(&server, &["metrics and the live view"]);
    let address = line.split("address=").nth(1).expect("an address").trim().to_owned();
    let mut initiator = login(&server, 1);
    known_work(&mut initiator);
    let (head, page) = http(&address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "ringtgt_lun_commands_total{backstore=\"a\",direction=\"read\"} 4",
        "ringtgt_lun_commands_total{backstore=\"a\",direction=\"write\"} 3",
        "ringtgt_lun_bytes_total{backstore=\"a\",direction=\"read\"} 32768",
        "ringtgt_lun_latency_seconds_count{backstore=\"a\",direction=\"write\"} 3",
        "ringtgt_sessions 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
    }
    let (head, body) = http(&address, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 ") && body == "ok\n", "{head}");
    let (head, body) = http(&address, b"GET / HTTP/1.0\r\n\r\n");
    assert!(head.contains("text/html") && body.contains("</html>"), "{head}");
    let (_, body) = http(&address, b"GET /stats.json HTTP/1.0\r\n\r\n");
    let stats: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(named(&stats["backstores"], "name", "a")["write"]["ops"], 3);
    for (request, status) in [
        (&b"GET /ringtgt.toml HTTP/1.0\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.0\r\n\r\n", "405"),
        (b"\x16\x03\x01\x02\n\n", "400"),
        (&[b'a'; 9000], "431"),
    ] {
        let (head, _) = http(&address, request);
        assert!(head.starts_with(&format!("HTTP/1.0 {status} ")), "{head}");
    }
    // Those who take long keep nobody from asking whether it is alive.
    let silent: Vec<TcpStream> =
        (0..16).map(|_| TcpStream::connect(&address).expect("a connection")).collect();
    let (head, body) = http(&address, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 ") && body == "ok\n", "{head}");
    let (head, _) = http(&address, b"GET /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 503 "), "{head}");
    drop(silent);
    // Silent ones keep nobody out for long: one too many is closed at once, and those that are there run out of time.
    let silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(&address).expect("a connection")).collect();
    std::thread::sleep(Duration::from_secs(7));
    let (head, _) = http(&address, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    drop(silent);
    initiator.logout().expect("a logout");
}

#[test]
fn every_event_of_a_sessions_life_is_one_line() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]));
    let who = "initiator=\"iqn.2026-11.org.example:i1\"";
    let target = format!("target=\"{TARGET}\"");
    login(&server, 1).logout().expect("a logout");
    said(&server, &[" login ", who, &target, "peer=127.0.0.1:"]);
    said(&server, &["session ends", who, &target, "peer=127.0.0.1:", "reason=logged out"]);
    drop(login(&server, 1));
    said(&server, &["session ends", who, &target, "reason=closed by the initiator"]);
    let _there = login(&server, 1);
    ask(&server, &["kick", "--initiator", "iqn.2026-11.org.example:i1"]);
    said(&server, &["session ends", who, &target, "reason=put out by an administrator"]);
    assert!(server.try_login(9).is_err());
    let stranger = "initiator=\"iqn.2026-11.org.example:i9\"";
    said(&server, &["login refused", stranger, &target, "peer=127.0.0.1:", "answer=", "reason="]);
    let lines = |word: &str| log(&server).lines().filter(|line| line.contains(word)).count();
    assert_eq!(
        (lines(" login initiator="), lines("session ends"), lines("login refused")),
        (3, 3, 1),
        "{}",
        log(&server)
    );
    // A flood of them is not a flood of lines, and does not hide what good ones do.
    for _ in 0..300 {
        assert!(server.try_login(9).is_err());
    }
    login(&server, 2).logout().expect("a logout");
    said(&server, &["session ends", "example:i2"]);
    let said_of_flood = lines("login refused");
    assert!(said_of_flood < 301, "{said_of_flood}");
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.try_login(9).is_err());
    said(&server, &["login refused", "others="]);
    // Those that have no line are counted, too.
    let stats = server.client().call("stats.get", json!({})).expect("stats");
    let reactors = stats["reactors"].as_array().expect("a list").iter();
    assert_eq!(reactors.filter_map(|r| r["refused_logins"].as_u64()).sum::<u64>(), 302);
}

#[test]
fn a_store_that_is_not_ready_is_seen_wherever_stores_are() {
    let away = "[[backstore]]\nkind = \"block\"\nname = \"away\"\npath = \"/dev/there is none\"\n";
    let text = with_metrics(&["a"], &[(0, "a")], &[]).replace("[[target]]\n", &format!("{away}[[target]]\n"));
    let server = Server::start(&text);
    let line = said(&server, &["metrics and the live view"]);
    let address = line.split("address=").nth(1).expect("an address").trim().to_owned();
    let (_, page) = http(&address, b"GET /metrics HTTP/1.0\r\n\r\n");
    for line in [
        "ringtgt_lun_ready{backstore=\"a\"} 1",
        "ringtgt_lun_ready{backstore=\"away\"} 0",
        "ringtgt_lun_size_bytes{backstore=\"a\"} 8388608",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
    }
    assert!(!page.contains("ringtgt_lun_size_bytes{backstore=\"away\"}"), "nobody knows it");
    let (_, body) = http(&address, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(body, "ok\n", "the daemon is well");
    let text = ask(&server, &["top", "--once", "--interval", "0.1"]);
    assert!(text.contains("  luns 2 (1 not ready)  "), "{text}");
    assert!(text.contains("\naway                 not ready: /dev/there is none: "), "{text}");
    let told = ask(&server, &["top", "--once", "--json", "--interval", "0.1"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let why = named(&told["backstores"], "name", "away")["why"].as_str().expect("a reason").to_owned();
    assert!(why.starts_with("/dev/there is none: "), "{why}");
    // A file that has grown is as long as initiators see it, not as it was when it was opened.
    let grown = server.file("grown.toml", &text_of_a_longer_disk());
    ask(&server, &["apply", &grown, "--yes", "--prune"]);
    let stats = server.client().call("stats.get", json!({})).expect("stats");
    assert_eq!(named(&stats["backstores"], "name", "a")["size"], 16 << 20);
}

/// The disk `a` with twice its length, and nothing else.
fn text_of_a_longer_disk() -> String {
    with_metrics(&["a"], &[(0, "a")], &[]).replace("size = \"8M\"", "size = \"16M\"")
}

#[test]
fn what_administrators_do_is_logged_with_who_they_are() {
    let text = text(&["a"], &[(0, "a")], &[1]);
    let server = Server::start(&text);
    let uid = format!("uid={}", std::fs::metadata(server.config()).expect("its owner").uid());
    let _there = login(&server, 1);
    ask(&server, &["drain", "--initiator", "iqn.2026-11.org.example:i1", "--deadline", "2"]);
    let line = "asks sessions of iqn.2026-11.org.example:i1 to log out within 2 s";
    said(&server, &[line, &uid, "pid=", "sessions=1"]);
    let other = server
        .file("other.toml", &text.replace("[[target]]", "[server]\ndrain_timeout = \"3s\"\n[[target]]"));
    ask(&server, &["apply", &other, "--yes"]);
    said(&server, &["the control socket has changed what is served", &uid, "pid=", "changes=1"]);
    ask(&server, &["reload"]);
    let count =
        log(&server).lines().filter(|l| l.contains("has changed what is served") && l.contains(&uid)).count();
    assert_eq!(count, 2, "{}", log(&server));
}

#[test]
fn what_is_logged_becomes_something_else_while_it_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let [file, path] = ["ringtgt.toml", "log"].map(|name| dir.path().join(name));
    let with = |level: &str| format!("[server]\nreactors = 1\nlog = \"{level}\"\n{}", text(&[], &[], &[1]));
    std::fs::write(&file, with("warn")).expect("a configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--config"]).arg(&file).arg("--state-dir").arg(dir.path().join("state"));
    let daemon = daemon::Daemon::start({
        command.stderr(File::create(&path).expect("a log"));
        command
    });
    let refused = || {
        let options = LoginOptions::new("iqn.2026-11.org.example:i9", Some(TARGET));
        assert!(Initiator::login(daemon.portal(), options, Duration::from_secs(30)).is_err());
        std::fs::read_to_string(&path).expect("text").matches("login refused").count()
    };
    assert_eq!(refused(), 0, "that is no warning");
    let client = Client::connect(dir.path().join("state/control.sock")).expect("somebody listens");
    let plan = client.call("config.apply", json!({ "toml": with("info") })).expect("it is served");
    assert_eq!(plan["changes"], json!([{ "action": "change", "path": "/server", "detail": "log" }]));
    assert_eq!(refused(), 1);
    client.call("config.apply", json!({ "toml": with("error") })).expect("it is served");
    assert_eq!(refused(), 1);
}

#[test]
fn the_journal_is_told_how_grave_a_line_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal");
    let file = File::create(&path).expect("a file");
    let meta = file.metadata().expect("its number");
    let serve = |stream: String, file: File| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--iqn", TARGET, "--reactors", "1", "--state-dir"]);
        command.arg(dir.path().join("state")).arg("ram:1M").env("JOURNAL_STREAM", stream).stderr(file);
        let daemon = daemon::Daemon::start(command);
        let mut options =
            LoginOptions::new("iqn.2026-11.org.example:i", Some("iqn.2026-11.org.example:nowhere"));
        options.isid[5] = 1;
        assert!(Initiator::login(daemon.portal(), options, Duration::from_secs(30)).is_err());
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let log = std::fs::read_to_string(&path).expect("text");
            if let Some(line) = log.lines().find(|line| line.contains("login refused")) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let line = serve(format!("{}:{}", meta.dev(), meta.ino()), file);
    assert!(line.starts_with("<6>") && line.contains("INFO"), "{line}");
    // Standard error has been sent elsewhere: it is for people.
    let line = serve("1:2".into(), File::create(&path).expect("a file"));
    assert!(!line.starts_with('<'), "{line}");
}

/// Where packets begin in a pcap file, and how long they are.
fn packets(pcap: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (&pcap[24..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_le_bytes(*rest[8..].first_chunk().expect("a length")) as usize;
        all.push(&rest[16..16 + len]);
        rest = &rest[16 + len..];
    }
    all
}

#[test]
fn the_last_pdus_are_recorded_and_kept_after_an_error() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[]));
    let mut initiator = login(&server, 1);
    known_work(&mut initiator);
    let file = server.file("out.pcap", "");
    let refused = try_ask(&server, &["record", "--out", &file]);
    assert!(refused.is_err_and(|why| why.contains("File exists (os error 17); --force replaces it")));
    let told = ask(&server, &["record", "--out", &file, "--force"]);
    let pcap = std::fs::read(&file).expect("a file");
    let all = packets(&pcap);
    assert!(told.starts_with(&format!("{} PDUs in ", all.len())), "{told}");
    // IPv4, TCP, and the header of a PDU, whose opcode is its first byte.
    assert!(all.iter().all(|p| p.len() == 88 && p[0] == 0x45), "{all:?}");
    let of = |opcode: u8| all.iter().filter(|p| p[40] & 0x3f == opcode).count();
    assert!(of(0x03) >= 1 && of(0x23) == of(0x03), "every Login Request and its response");
    let reads = all.iter().filter(|p| p[40] & 0x3f == 0x01 && [0x28, 0x88].contains(&p[40 + 32]));
    assert_eq!(reads.count(), 5);
    assert!(of(0x25) >= 4, "Data-In");
    let portal = initiator.stream().peer_addr().expect("the portal");
    let port = portal.port().to_be_bytes();
    assert!(all.iter().all(|p| [&p[20..22], &p[22..24]].contains(&&port[..])), "the portal's port");
    let mut stream = TcpStream::connect(portal).expect("a connection");
    stream.write_all(&[0; 48]).expect("a PDU that is no login");
    drop(stream);
    assert!(!log(&server).contains("were kept"), "a stranger makes no files");
    let mut options = LoginOptions::new("iqn.2026-11.org.example:i2", Some(TARGET));
    options.isid[5] = 2;
    let breaker = Initiator::login(portal, options, Duration::from_secs(30)).expect("a login");
    // A second login on the same connection breaks the protocol: what went before is kept.
    let mut again = [0; 48];
    again[0] = 0x43;
    breaker.stream().write_all(&again).expect("it is sent");
    let line = said(&server, &["were kept", "reason="]);
    let kept = line.split("file=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a file");
    let kept = std::fs::read(kept).expect("it is there");
    assert!(!packets(&kept).is_empty());
    initiator.logout().expect("a logout");
}

//! The shell, and its verbs as commands, over a daemon that serves what they change.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;
#[path = "support/live.rs"]
#[allow(dead_code, reason = "a shell changes the configuration")]
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ringtgt::initiator::{Direction, Initiator, LoginOptions, cdb};
use ringtgt::target::Credential;
use serde_json::json;

use daemon::TARGET;
use program::{stderr, stdout};
use support::{Server, free_port, login, text};

/// `ringtgt` with these words over the file that the daemon serves, and with these lines on its standard input.
fn ringtgt(server: &Server, words: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    let (first, rest) = words.split_first().expect("a command");
    command.arg(first).arg("--config").arg(server.config()).arg("--control-socket").arg(server.socket());
    command.args(rest).env("XDG_CONFIG_HOME", server.config().with_file_name("likes")).env("COLUMNS", "94");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // One that refuses what it finds ends without listening.
    let _ = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn done(output: &Output) -> String {
    assert_eq!((output.status.code(), stderr(output).as_str()), (Some(0), ""), "{output:?}");
    stdout(output)
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    stderr(output)
}

fn luns(initiator: &mut Initiator) -> Vec<u16> {
    let done = initiator.execute(0, cdb::report_luns(4096), Direction::In, vec![0; 4096]).expect("an answer");
    let len = u32::from_be_bytes(*done.buffer.first_chunk().expect("a length")) as usize;
    done.buffer[8..8 + len].chunks(8).map(|lun| u16::from_be_bytes([lun[0] & 0x3f, lun[1]])).collect()
}

fn served(server: &Server) -> String {
    let got = server.client().call("config.get", json!({})).expect("the configuration");
    got["toml"].as_str().expect("text").to_owned()
}

fn saved(server: &Server) -> String {
    fs::read_to_string(server.config()).expect("the file")
}

/// Where the one group of the target is in the tree.
fn tpg() -> String {
    format!("/iscsi/{TARGET}/tpg1")
}

#[test]
fn what_is_typed_is_served_at_once_and_saved_when_that_is_said() {
    let server = Server::start(&format!("# by hand\n\n{}", text(&["a"], &[(0, "a")], &[1, 2])));
    let (mut one, mut two) = (login(&server, 1), login(&server, 2));
    let before = saved(&server);
    let store = format!("/backstores/fileio create b {} 8M\n", server.disk("b"));
    let lines = format!(
        "set global auto_save_on_exit=false\n{store}{0}/luns create b\n\
         {0}/acls/iqn.2026-11.org.example:i2 delete mapped_lun1\n",
        tpg()
    );
    let said = done(&ringtgt(&server, &["shell"], &lines));
    assert!(said.contains("Created LUN 1.\n") && said.contains("served until the daemon ends"), "{said}");
    assert_eq!((luns(&mut one), luns(&mut two)), (vec![0, 1], vec![0]), "it is served");
    assert_eq!(saved(&server), before, "and not saved");
    // Another shell sees what is served, and what it says is not the file's is told.
    let seen = ringtgt(&server, &["shell"], &format!("ls {}/luns\nsaveconfig\n", tpg()));
    assert!(stdout(&seen).contains("[LUNs: 2]"), "{seen:?}");
    assert!(stderr(&seen).contains("What is served differs from"), "{seen:?}");
    assert_eq!(saved(&server), served(&server));
    assert!(saved(&server).starts_with("# by hand\n"), "{}", saved(&server));
    // It goes again; who sees nothing of it has seen nothing.
    done(&ringtgt(&server, &["shell"], &format!("{}/luns delete 1\n/backstores/fileio delete b\n", tpg())));
    assert_eq!(luns(&mut one), [0]);
    assert!(server.is_free("b"));
}

#[test]
fn what_is_deleted_comes_back_under_its_name_unless_it_is_forgotten() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let do_line = |line: &str| ringtgt(&server, &["shell"], &format!("/backstores/fileio {line}\n"));
    let identity = || {
        fs::remove_file(server.disk("b")).ok();
        done(&do_line(&format!("create b {} 8M", server.disk("b"))));
        fs::read_to_string(server.config().with_file_name("state/identity/b.json")).expect("it has one")
    };
    let first = identity();
    let said = refused(&do_line("delete a forget=maybe")) + &served(&server);
    assert!(said.contains("neither true nor false") && said.contains("name = \"a\""), "{said}");
    let said = done(&do_line("delete b"));
    assert!(
        said.contains("is kept for the next backstore b; to forget it: delete b forget=true\n"),
        "{said}"
    );
    assert_eq!(identity(), first, "by its name");
    let client = server.client();
    let served = client.call("backstores.forget", json!({ "name": "b" })).unwrap_err().to_string();
    assert!(served.contains("backstore b is served"), "{served}");
    let said = done(&do_line("delete b forget=true"));
    assert!(said.contains("Forgot what initiators knew b by"), "{said}");
    let second = identity();
    assert_ne!(second, first);
    // Also later.
    done(&do_line("delete b"));
    let said = done(&do_line("delete b forget=true"));
    assert!(said.contains("Forgot") && !said.contains("Deleted"), "{said}");
    assert_ne!(identity(), second);
}

#[test]
fn what_is_served_of_a_backstore_can_be_seen_whatever_is_written() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let (store, client) = ("/backstores/fileio/a", server.client());
    let told = || {
        let told = client.call("backstores.list", json!({ "names": ["a"] })).expect("backstores");
        told["backstores"][0].clone()
    };
    let typed = |line: &str| stdout(&ringtgt(&server, &["shell"], &format!("{store} {line}\n")));
    let (a, said) = (told(), typed("get attribute"));
    for key in ["serial", "naa", "uuid", "block_size"] {
        let value = a[key].as_str().map_or_else(|| a[key].to_string(), ToOwned::to_owned);
        assert!(said.contains(&format!("{key}={value}\n")), "{key}: {value}: {said}");
    }
    assert!(said.contains("size=8M\n") && said.contains("emulate_write_cache=1\n"), "{said}");
    let kept = server.config().with_file_name("state/identity/a.json");
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(kept).expect("its names")).expect("JSON");
    assert_eq!(kept["identity"]["serial"], a["serial"]);
    assert_eq!(
        (&a["bytes"], &a["write_back"], &a["read_only"]),
        (&json!(8 << 20), &json!(true), &json!(false))
    );
    typed("set attribute size=16M");
    assert_eq!(told()["bytes"], json!(16 << 20));
    // What waits for the next start is not served yet.
    let (now, other) = if a["block_size"] == 512 { (512, 4096) } else { (4096, 512) };
    typed(&format!("set attribute block_size={other}"));
    assert!(typed("get attribute block_size").starts_with(&format!("block_size={other} [served: {now}]\n")));
    assert!(typed("info").contains(&format!("block_size: {other} [served: {now}]\n")));
    let said = done(&ringtgt(&server, &["get", store, "attribute", "block_size", "--json"], ""));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let values = (&said["values"]["block_size"], &said["served"]["block_size"]);
    assert_eq!(values, (&json!(other.to_string()), &json!(now.to_string())), "{said}");
}

#[test]
fn what_the_daemon_refuses_is_not_done() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let (file, before) = (saved(&server), served(&server));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let held = fs::File::create(server.disk("held")).expect("a file");
    held.lock().expect("nobody else has it");
    for (line, why) in [
        (format!("/backstores/fileio create x {} 1M", server.disk("held")), "held.img"),
        (format!("/backstores/fileio create x {} 1M", server.disk("no/x")), "there is no directory"),
        (format!("{}/portals create 127.0.0.1 {port}", tpg()), "ss -ltnp"),
    ] {
        let said = refused(&ringtgt(&server, &["shell"], &format!("{line}\n")));
        assert!(said.starts_with("line 1: ") && said.contains(why), "{line}: {said}");
        let words: Vec<&str> = ["shell"].into_iter().chain(line.split(' ')).collect();
        let said = refused(&ringtgt(&server, &words, ""));
        assert!(said.contains(why), "{line}: {said}");
        assert_eq!((saved(&server), served(&server)), (file.clone(), before.clone()), "{line}");
    }
    // What went before the mistake is served.
    let lines = "/backstores/null create n 1G\n/backstores/null create n 1G\n";
    let said = refused(&ringtgt(&server, &["shell"], lines));
    assert!(said.ends_with("what was changed before it is served, but not saved\n"), "{said}");
    assert!(served(&server).contains("name = \"n\"") && saved(&server) == file);
}

#[test]
fn a_secret_is_demanded_from_its_first_half_on() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let acl = format!("{}/acls/iqn.2026-11.org.example:i1", tpg());
    let login = |secret: Option<&str>| {
        let mut options = LoginOptions::new("iqn.2026-11.org.example:i1", Some(TARGET));
        options.chap = secret.map(|s| Credential { user: "u".into(), secret: s.to_owned().into() });
        Initiator::login(server.portal(), options, Duration::from_secs(60)).is_ok()
    };
    assert!(login(None));
    let said = done(&ringtgt(&server, &["shell"], &format!("{acl} set auth userid=u\n")));
    assert!(said.contains("Warning: nobody can log in by this credential"), "{said}");
    assert!(!login(None) && !login(Some("")), "half a secret is no open door");
    let said = done(&ringtgt(&server, &["shell"], &format!("{acl} set auth password=correcthorsebattery\n")));
    assert!(!said.contains("Warning") && !said.contains("horse"), "{said}");
    assert!(login(Some("correcthorsebattery")) && !login(None) && !login(Some("wronghorsebattery")));
}

#[test]
fn who_is_in_without_credentials_that_are_set_is_told_of() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]));
    let (initiator, acls) = (login(&server, 1), format!("{}/acls", tpg()));
    let set = |number: u8, secret: &str| {
        let line = format!("{acls}/iqn.2026-11.org.example:i{number} set auth userid=u password={secret}\n");
        done(&ringtgt(&server, &["shell"], &line))
    };
    let said = set(1, "correcthorsebattery");
    assert!(
        said.contains("1 session goes on without having shown them; `sessions kick` here ends it.\n"),
        "{said}"
    );
    assert!(!set(2, "correcthorsebattery").contains("session"), "nobody is in");
    done(&ringtgt(&server, &["shell"], &format!("{acls}/iqn.2026-11.org.example:i1 sessions kick\n")));
    assert!(!set(1, "batteryhorsecorrect").contains("session"), "nobody is in any more");
    drop(initiator);
}

#[test]
fn credentials_are_demanded_before_they_are_set() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let login = |target: Option<&str>, secret: Option<&str>| {
        let mut options = LoginOptions::new("iqn.2026-11.org.example:i1", target);
        options.chap = secret.map(|s| Credential { user: "u".into(), secret: s.to_owned().into() });
        Initiator::login(server.portal(), options, Duration::from_secs(60)).is_ok()
    };
    let set = |line: &str| done(&ringtgt(&server, &["shell"], &format!("{line}\n")));
    assert!(login(Some(TARGET), None) && login(None, None));
    let said = set(&format!("{} set attribute authentication=1", tpg()));
    assert!(said.contains("Warning: credentials are demanded here, and none are set"), "{said}");
    assert!(!login(Some(TARGET), None) && !login(Some(TARGET), Some("")), "nobody gets in in between");
    let acl = format!("{}/acls/iqn.2026-11.org.example:i1", tpg());
    let said = set(&format!("{acl} set auth userid=u password=correcthorsebattery"));
    assert!(!said.contains("Warning"), "{said}");
    assert!(login(Some(TARGET), Some("correcthorsebattery")) && !login(Some(TARGET), None));
    let said = set("/iscsi set discovery_auth enable=1 userid=u password=batteryhorsecorrect");
    assert!(said.contains("Parameter enable is now '1'.\n") && !said.contains("Warning"), "{said}");
    assert!(login(None, Some("batteryhorsecorrect")) && !login(None, None) && !login(None, Some("wrong")));
}

/// What is said at a terminal where these keys are pressed, line by line.
fn at_terminal(server: &Server, keys: &str) -> String {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/typist.py"));
    command.args([env!("CARGO_BIN_EXE_ringtgt"), "shell", "--config"]).arg(server.config());
    command.arg("--control-socket").arg(server.socket()).env("TERMINAL", "xterm").env("NO_COLOR", "1");
    command.env("XDG_CONFIG_HOME", server.config().with_file_name("likes"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
    child.stdin.take().expect("a pipe").write_all(keys.as_bytes()).expect("it is heard");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

#[test]
fn the_tab_key_knows_this_host_and_who_was_refused() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    assert!(server.try_login(77).is_err());
    let (initiator, port) = (login(&server, 1), free_port());
    let said = at_terminal(
        &server,
        &format!(
            "{}/ac\t create iqn.2026-11.org.example:i7\t\n/iscsi sessions det\t sid=\t\n\
             /backstores/block create x dev=/dev/\t\t\n/iscsi/iqn\ttpg1/po\t create 127.0.0.\t {port}\nexit\n",
            tpg()
        ),
    );
    assert!(said.contains("Created Node ACL for iqn.2026-11.org.example:i77\n"), "{said}");
    assert!(said.contains("    name: iqn.2026-11.org.example:i1 (NOT AUTHENTICATED)\n"), "{said}");
    assert!(said.contains(&format!("Created network portal 127.0.0.1:{port}.\n")), "{said}");
    for device in fs::read_dir("/sys/class/block").expect("sysfs").flatten() {
        let device = device.file_name().into_string().expect("a name").replace('!', "/");
        assert!(said.contains(&format!("dev=/dev/{device}")), "{device}: {said}");
    }
    drop(initiator);
}

#[test]
fn the_next_shell_has_the_lines_of_the_last_but_for_secrets() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let acl = format!("{}/acls/iqn.2026-11.org.example:i1", tpg());
    at_terminal(
        &server,
        &format!("cd /backstores/fileio\n{acl} set auth userid=u password=correcthorsebattery\nexit\n"),
    );
    let file = server.config().with_file_name("likes").join("ringtgt/history");
    let kept = fs::read_to_string(&file).expect("a history");
    assert!(kept.contains("cd /backstores/fileio\nexit\n") && !kept.contains("horse"), "{kept}");
    assert_eq!(fs::metadata(&file).expect("its mode").permissions().mode() & 0o777, 0o600);
    // Twice back from an empty line: before `exit` there is no secret.
    let said = at_terminal(&server, "\x1b[A\x1b[A\npwd\nexit\n");
    assert!(said.contains("\n/backstores/fileio\n"), "{said}");
}

#[test]
fn commands_are_served_and_saved() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let mut initiator = login(&server, 1);
    done(&ringtgt(&server, &["create", "/backstores/null", "n", "1G"], ""));
    let said = done(&ringtgt(&server, &["create", &format!("{}/luns", tpg()), "n", "--json"], ""));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["lines"][0], "Created LUN 1.");
    assert_eq!(luns(&mut initiator), [0, 1]);
    assert_eq!(saved(&server), served(&server));
    assert!(done(&ringtgt(&server, &["info", "/"], "")).contains("every change takes effect at once"));
    // Somebody has edited the file, and not had it served: neither is lost.
    let mine =
        format!("{}# mine\n[[backstore]]\nkind = \"null\"\nname = \"m\"\nsize = \"1G\"\n", saved(&server));
    fs::write(server.config(), &mine).expect("an edit");
    let before = served(&server);
    let said = refused(&ringtgt(&server, &["delete", "/backstores/null", "n"], ""));
    assert!(said.starts_with("nothing was changed: what is served differs from"), "{said}");
    assert!(said.contains("`ringtgt save`") && said.lines().count() == 1, "it is said once: {said}");
    // From a pipe it is served, and what he has written is left to him.
    let piped = ringtgt(&server, &["shell"], "refresh\n/backstores/null create p 1G\nrefresh\n");
    assert!(refused(&piped).contains("what was changed is served, but not saved"), "{piped:?}");
    assert_eq!(saved(&server), mine);
    server.client().call("config.apply", json!({ "toml": before })).expect("what was served before");
    assert_eq!((saved(&server), served(&server)), (mine, before.clone()));
    let kept = ringtgt(&server, &["save"], "");
    assert_eq!(kept.status.code(), Some(0), "{kept:?}");
    assert_eq!(saved(&server), before);
    // A comment is no difference, and stays.
    fs::write(server.config(), format!("# a comment\n\n{before}")).expect("an edit");
    done(&ringtgt(&server, &["create", "/backstores/null", "o", "1G"], ""));
    assert!(saved(&server).starts_with("# a comment\n") && saved(&server) == served(&server));
}

#[test]
fn what_a_shell_has_changed_itself_is_saved_at_its_end() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    done(&ringtgt(&server, &["shell"], "/backstores/null create p 1G\nrefresh\n"));
    assert!(saved(&server).contains("name = \"p\"") && saved(&server) == served(&server));
    // So is what it was told to put in the place of another's.
    fs::write(server.config(), "# empty\n").expect("an edit");
    let output = ringtgt(&server, &["shell"], "saveconfig\n/backstores/null create q 1G\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(saved(&server).contains("name = \"q\"") && saved(&server) == served(&server));
}

/// A configuration that says only what is served says nothing of the daemon, which is the same as before.
#[test]
fn the_daemon_is_found_after_everything_was_restored() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let socket = server.socket().display().to_string();
    let whole = format!("[server] # this host's\ncontrol_socket = \"{socket}\"\n\n{}", saved(&server));
    fs::write(server.config(), &whole).expect("an edit");
    server.client().call("config.reload", json!({})).expect("the file");
    let other = server.file(
        "other.toml",
        "[server]\nstate_dir = \"there\"\n\n[[backstore]]\nkind = \"null\"\nname = \"n\"\nsize = \"1G\"\n",
    );
    let ringtgt = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(words).arg("--config").arg(server.config());
        command
            .env("XDG_CONFIG_HOME", server.config().with_file_name("likes"))
            .output()
            .expect("the binary runs")
    };
    let empty = server.file("empty.toml", "");
    assert!(
        refused(&ringtgt(&["restore", &empty, "clear_existing=true"])).contains("there is nothing in it")
    );
    assert_eq!((saved(&server), served(&server)), (whole.clone(), whole));
    let said = done(&ringtgt(&["restore", &other, "clear_existing=true"]));
    assert!(
        said.starts_with("Left out, because it says how a daemon runs, and not what it serves: [server]\n"),
        "{said}"
    );
    assert!(saved(&server).starts_with("[server] # this host's\ncontrol_socket = "), "{}", saved(&server));
    assert!(!saved(&server).contains("there") && saved(&server) == served(&server));
    assert!(done(&ringtgt(&["info", "/"])).contains("every change takes effect at once"));
    // What it keeps is found by whoever asks it, too.
    let exported = ringtgt(&["export", "lio"]);
    assert!(!stderr(&exported).contains("no names"), "{exported:?}");
}

#[test]
fn names_are_exported_from_where_the_daemon_keeps_them() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let state = server.socket().parent().expect("a directory").display().to_string();
    let export = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command
            .args(["export", "lio", "--config"])
            .arg(server.config())
            .args(more)
            .output()
            .expect("the binary runs")
    };
    let told = stderr(&export(&[]));
    assert!(told.contains("no names yet") && told.contains("names were looked for in /"), "{told}");
    let told = stderr(&export(&["--state-dir", &state]));
    assert!(!told.contains("names"), "{told}");
}

#[test]
fn twenty_at_once_lose_nothing_of_each_other() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    std::thread::scope(|scope| {
        for n in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let output = ringtgt(server, &["create", "/backstores/null", &format!("n{n}"), "1G"], "");
                // Where all are slow, the last of them say what they wait for.
                let waited =
                    stderr(&output).lines().all(|line| line.starts_with("waiting for another ringtgt "));
                assert!(output.status.success() && waited, "{output:?}");
            });
        }
    });
    let text = saved(&server);
    assert!((0..20).all(|n| text.contains(&format!("name = \"n{n}\""))), "{text}");
    assert_eq!(served(&server), text);
}

#[test]
fn a_change_that_starts_from_what_is_not_served_any_more_is_refused() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let (client, base) = (server.client(), served(&server));
    let more =
        |name: &str| format!("{base}\n[[backstore]]\nkind = \"null\"\nname = \"{name}\"\nsize = \"1G\"\n");
    let apply = |toml: String| client.call("config.apply", json!({ "toml": toml, "base": base }));
    apply(more("n")).expect("the first is served");
    let said = apply(more("m")).expect_err("the second is not").to_string();
    assert!(said.contains("is another text meanwhile"), "{said}");
    assert_eq!(served(&server), more("n"));
}

#[test]
fn a_shell_goes_on_when_what_is_served_has_another_revision_and_says_the_same() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.arg("shell").arg("--config").arg(server.config()).arg("--control-socket").arg(server.socket());
    command.env("XDG_CONFIG_HOME", server.config().with_file_name("likes"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut types = child.stdin.take().expect("a pipe");
    for name in ["one", "two"] {
        writeln!(types, "/backstores/null create {name} 1G").expect("it is heard");
        let name = format!("name = \"{name}\"");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !served(&server).contains(&name) {
            assert!(Instant::now() < deadline, "{name} is not served");
            std::thread::sleep(Duration::from_millis(5));
        }
        let same = json!({ "toml": served(&server) });
        server.client().call("config.apply", same).expect("the same is served once more");
    }
    drop(types);
    assert!(child.wait().expect("it ends").success());
    assert!(saved(&server).contains("name = \"two\""));
}

#[test]
fn another_file_is_only_edited() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let (other, before) = (server.file("other.toml", ""), served(&server));
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(words).args(["--config", &other, "--control-socket"]).arg(server.socket());
        command.env("XDG_CONFIG_HOME", server.config().with_file_name("likes")).output().expect("it runs")
    };
    let told = stderr(&run(&["create", "/backstores/null", "n", "1G"]));
    assert!(told.contains("serves /") && told.ends_with("other.toml only.\n"), "a script is told: {told}");
    assert!(fs::read_to_string(&other).expect("the file").contains("name = \"n\""));
    assert_eq!(served(&server), before);
    let said = done(&run(&["info", "/"]));
    assert!(
        said.contains("ringtgt.toml: what is changed here changes ") && said.contains("other.toml only."),
        "{said}"
    );
}

#[test]
fn who_is_logged_in_is_told_where_one_stands_and_put_out() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]));
    let (mut one, _two) = (login(&server, 1), login(&server, 2));
    let acl = |n: u8| format!("{}/acls/iqn.2026-11.org.example:i{n}", tpg());
    let said = |line: &str| done(&ringtgt(&server, &["shell", line], ""));
    assert_eq!(said("sessions").lines().count(), 2);
    let told = said(&format!("{} sessions detail", acl(1)));
    let sid =
        told.split("sid: ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a number").to_owned();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].ends_with(&format!("\tsid: {sid} type: Normal session-state: LOGGED_IN")), "{told}");
    assert_eq!(
        lines[1..4],
        [
            "    name: iqn.2026-11.org.example:i1 (NOT AUTHENTICATED)",
            &format!("    target: {TARGET}/tpg1"),
            "    mapped-lun: 0 backstore: fileio/a mode: rw",
        ]
    );
    assert!(lines[4].starts_with("    address: 127.0.0.1:"), "{told}");
    assert!(lines[5..].iter().any(|line| line.starts_with("    InitialR2T=No ImmediateData=Yes")), "{told}");
    assert!(refused(&ringtgt(&server, &["shell", "sessions list 9999"], "")).contains("no session 9999"));
    assert!(refused(&ringtgt(&server, &["shell", "sessions lst"], "")).contains("did you mean \"list\"?"));
    let gone = said(&format!("{} sessions kick", acl(1)));
    assert_eq!(gone, format!("Dropped session {sid} of iqn.2026-11.org.example:i1.\n"));
    assert!(one.execute(0, cdb::TEST_UNIT_READY, Direction::None, Vec::new()).is_err());
    assert_eq!(said(&format!("{} sessions", acl(1))), "(no open sessions)\n");
    assert_eq!(said("sessions").lines().count(), 1);
}

#[test]
fn who_was_refused_is_remembered() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    assert!(server.try_login(7).is_err() && server.try_login(8).is_err() && server.try_login(7).is_err());
    let told = server.client().call("sessions.list", json!({})).expect("an answer");
    assert_eq!(told["refused"], json!(["iqn.2026-11.org.example:i7", "iqn.2026-11.org.example:i8"]));
}

#[test]
fn what_was_applied_from_elsewhere_is_not_taken_for_other_disks() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let dir = server.config().with_file_name("elsewhere");
    fs::create_dir(&dir).expect("a directory");
    let more = "[[backstore]]\nkind = \"fileio\"\nname = \"c\"\npath = \"c.img\"\nsize = \"8M\"\n";
    let toml = format!("{}{more}", saved(&server));
    let apply = json!({ "toml": toml, "dir": dir });
    server.client().call("config.apply", apply).expect("a disk in that directory");
    for words in [&["shell"][..], &["shell", "/backstores/null create n 1G"]] {
        let output = ringtgt(&server, words, "/backstores/null create n 1G\n");
        let said = stderr(&output);
        assert!(said.contains(&format!("applied from {}", dir.display())), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
    }
    assert_eq!(served(&server), toml);
    assert!(!server.config().with_file_name("c.img").exists());
    server.client().call("config.reload", json!({})).expect("the file");
    done(&ringtgt(&server, &["shell", "/backstores/null create n 1G"], ""));
    assert!(saved(&server).contains("name = \"n\""));
    // Where it means the same, that something waits for the next start is no reason.
    let apply = json!({ "toml": format!("[server]\npoll_us = 7\n{}", saved(&server)), "dir": dir });
    server.client().call("config.apply", apply).expect("what only counts from the next start");
    done(&ringtgt(&server, &["shell", "/backstores/null create m 1G"], ""));
    assert!(saved(&server).contains("name = \"m\""));
}

#[test]
fn what_waits_for_the_next_start_keeps_nobody_waiting() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let set = ["set", "/backstores/fileio/a", "attribute", "emulate_write_cache=0"];
    assert!(
        done(&ringtgt(&server, &set, "")).contains("/backstores/fileio/a: write_back, at the next start: ")
    );
    assert_eq!(server.client().call("config.get", json!({})).expect("an answer")["dir"], json!(null));
    assert!(done(&ringtgt(&server, &["ls"], "")).contains("fileio"));
    done(&ringtgt(&server, &["shell"], "/backstores/null create n 1G\nsaveconfig\n"));
    done(&ringtgt(&server, &["create", "/backstores/null", "m", "1G"], ""));
    assert!(served(&server).contains("name = \"n\"") && served(&server).contains("name = \"m\""));
    // Nor is it lost when somebody has edited the file by hand, and has that applied.
    let edited = format!("[server]\nreactors = 1\n{}", saved(&server));
    fs::write(server.config(), &edited).expect("an edit");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.arg("apply").arg(server.config()).arg("--control-socket").arg(server.socket());
    let said = done(&command.output().expect("the binary runs"));
    assert!(said.contains("= backstore") || said.contains("= /backstores"), "{said}");
    assert!(said.ends_with("nothing to change now\napplied: it counts from the next start on\n"), "{said}");
    assert_eq!(served(&server), edited);
    done(&ringtgt(&server, &["create", "/backstores/null", "o", "1G"], ""));
    assert!(saved(&server).starts_with("[server]\nreactors = 1\n"), "{}", saved(&server));
}

/// How long so many reads take.
fn reads(initiator: &mut Initiator, count: u64) -> Duration {
    let began = Instant::now();
    for lba in 0..count {
        assert!(initiator.read(0, lba * 8, 8, 4096).expect("an answer").is_good());
    }
    began.elapsed()
}

#[test]
fn limits_are_set_shown_kept_and_taken_away_while_somebody_reads() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let mut initiator = login(&server, 1);
    let store = "/backstores/fileio/a";
    let acl = format!("{}/acls/iqn.2026-11.org.example:i1", tpg());
    let said = done(&ringtgt(&server, &["set", store, "qos", "read_iops=50", "burst=10ms"], ""));
    assert!(said.starts_with("Parameter read_iops is now '50'.\nParameter burst is now '10ms'.\n"), "{said}");
    let said = done(&ringtgt(&server, &["get", store, "qos"], ""));
    assert_eq!(said, "read_iops=50\nwrite_iops=\nread_bandwidth=\nwrite_bandwidth=\nburst=10ms\n");
    assert!(done(&ringtgt(&server, &["info", store], "")).contains("read_iops: 50\n"));
    assert!(done(&ringtgt(&server, &["ls", store], "")).contains(" qos activated]"));
    // 20 ms for each but the first ones.
    let limited = reads(&mut initiator, 41);
    assert!(limited >= Duration::from_millis(700), "{limited:?}");
    assert!(
        served(&server).contains("[backstore.qos]\nread_iops = 50\n") && saved(&server) == served(&server)
    );
    // The tighter one counts; then it is the other's turn.
    done(&ringtgt(&server, &["set", &acl, "qos", "read_iops=20", "burst=10ms"], ""));
    assert!(done(&ringtgt(&server, &["ls", &acl], "")).contains("[qos, Mapped LUNs: 1]"));
    let limited = reads(&mut initiator, 21);
    assert!(limited >= Duration::from_millis(850), "{limited:?}");
    done(&ringtgt(&server, &["set", store, "qos", "read_iops=", "burst="], ""));
    done(&ringtgt(&server, &["set", &acl, "qos", "read_iops=", "burst="], ""));
    assert!(!served(&server).contains("qos"), "{}", served(&server));
    let free = reads(&mut initiator, 200);
    assert!(free < Duration::from_secs(4), "{free:?}: 50 a second would take as long");
    let wrong = refused(&ringtgt(&server, &["set", store, "qos", "read_iops=0"], ""));
    assert!(wrong.contains("0 is too small"), "{wrong}");
}

#[test]
fn a_file_becomes_longer_by_a_command() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1]));
    let mut initiator = login(&server, 1);
    let store = "/backstores/fileio/a";
    let said = done(&ringtgt(&server, &["set", store, "attribute", "size=16M"], ""));
    assert!(said.starts_with("Parameter size is now '16M'.\n") && !said.contains("next start"), "{said}");
    let told = initiator.read(0, 0, 8, 4096).expect("an answer").sense_code();
    assert_eq!((told, initiator.capacity(0).expect("a capacity")), (Some((6, 0x2a, 0x09)), (16 << 11, 512)));
    assert!(done(&ringtgt(&server, &["ls", store], "")).contains("(16.0MiB)"));
    let said = refused(&ringtgt(&server, &["set", store, "attribute", "size=8M"], ""));
    assert!(said.contains("truncate --size=8388608"), "{said}");
}

#[test]
fn access_states_are_set_and_shown_as_they_are_whoever_has_changed_them() {
    let group = "[backstore.alua]\n[[backstore.alua.group]]\nname = \"g\"\nid = 2\naccess = \"both\"\n";
    let with = text(&["a"], &[(0, "a")], &[1])
        .replace("size = \"8M\"\n", &format!("size = \"8M\"\n{group}"))
        .replace("backstore = \"a\"\n", "backstore = \"a\"\nalua_group = \"g\"\n");
    let server = Server::start(&with);
    let mut initiator = login(&server, 1);
    let (before, path) = (saved(&server), "/backstores/fileio/a/alua/g");
    let set = |to: &str| ringtgt(&server, &["set", path, "alua", &format!("alua_access_state={to}")], "");
    let shown = |words: &[&str]| done(&ringtgt(&server, words, ""));
    assert_eq!(done(&set("2")), "Parameter alua_access_state is now '2'.\n");
    let refused_by =
        |initiator: &mut Initiator| initiator.read(0, 0, 8, 4096).expect("an answer").sense_code();
    assert_eq!(refused_by(&mut initiator), Some((6, 0x2a, 0x06)), "it is told");
    assert_eq!(refused_by(&mut initiator), Some((2, 0x04, 0x0b)), "in standby");
    assert!(
        shown(&["ls", "/backstores"]).contains("o- g .") && shown(&["ls"]).contains("[ALUA state: Standby]")
    );
    assert_eq!(shown(&["get", path, "alua", "alua_access_state"]), "alua_access_state=2\n");
    // An initiator puts it in another one.
    let mut cdb = cdb::TEST_UNIT_READY;
    (cdb[0], cdb[1], cdb[9]) = (0xa4, 0x0a, 8);
    let answer = initiator.execute(0, cdb, Direction::Out, vec![0, 0, 0, 0, 1, 0, 0, 2]).expect("an answer");
    assert!(answer.is_good(), "{:?}", answer.sense_code());
    let told: serde_json::Value = serde_json::from_str(&shown(&["info", path, "--json"])).expect("JSON");
    assert_eq!(told["summary"], "ALUA state: Active/non-optimized");
    assert_eq!(told["settings"]["alua_access_state"], "1");
    let told: serde_json::Value = serde_json::from_str(&shown(&["ls", path, "--json"])).expect("JSON");
    assert_eq!(told["tree"]["summary"], "ALUA state: Active/non-optimized");
    // It is nothing of the file, so what somebody has written there meanwhile is in nobody's way.
    fs::write(server.config(), before.replace("8M", "9M")).expect("an edit");
    assert_eq!(set("Unavailable").status.code(), Some(0));
    assert_eq!(saved(&server), before.replace("8M", "9M"));
    let got = server.client().call("alua.get", json!({})).expect("states");
    let states = json!({ "groups": [
        { "backstore": "a", "group": "default_tg_pt_gp", "state": "active/optimized" },
        { "backstore": "a", "group": "g", "state": "unavailable" },
    ] });
    assert_eq!(got, states);
    assert!(refused(&set("standbye")).contains("did you mean \"standby\"?"));
    assert!(refused(&set("7")).contains("neither the number of a state nor its name"));
}

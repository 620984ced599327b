//! The shell, and its verbs as commands, as users and scripts see them.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ringtgt::initiator::{Initiator, LoginOptions};
use ringtgt::target::Credential;

use program::{stderr, stdout, write};

/// `ringtgt shell` over `config`, with these lines on its standard input and the preferences of nobody.
fn shell(config: &Path, lines: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["shell", "--config"]).arg(config).args(arguments);
    command.env("XDG_CONFIG_HOME", config.parent().unwrap().join("likes")).env("COLUMNS", "94");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // One that cannot read its file ends without listening.
    match child.stdin.take().unwrap().write_all(lines.as_bytes()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
        written => written.expect("it listens"),
    }
    child.wait_with_output().expect("it ends")
}

/// A name alone is one in the directory where one is; a backup is one wherever the directory of backups really is.
#[test]
fn relative_paths_of_other_files_mean_what_they_mean_there_however_these_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other, kept) = ["own", "other", "kept"].map(|name| dir.path().join(name)).into();
    [&own, &other, &kept].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let text = "[[backstore]]\nkind = \"fileio\"\nname = \"a\"\npath = \"disks/a.img\"\nsize = \"1M\"\n";
    let config = write(&dir, "own/ringtgt.toml", "", 0o600);
    write(&dir, "other/saved.toml", text, 0o600);
    let done = |dir: &Path, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(words).current_dir(dir).env("XDG_CONFIG_HOME", dir.join("likes"));
        let output = command.output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        stdout(&output)
    };
    let path = format!("path = \"{}\"", other.join("disks/a.img").display());
    let said = done(&other, &["restore", "saved.toml", "--config", config.to_str().unwrap()]);
    assert!(said.contains(&format!("start at {}", other.display())), "{said}");
    assert!(fs::read_to_string(&config).unwrap().contains(&path));
    fs::write(&config, text).unwrap();
    let copy = other.join("copy.toml");
    done(&own, &["save", copy.to_str().unwrap(), "--config", "ringtgt.toml"]);
    let path = format!("path = \"{}\"", own.join("disks/a.img").display());
    assert!(fs::read_to_string(&copy).unwrap().contains(&path));
    // Ours, wherever it lies.
    fs::remove_dir_all(own.join("backup")).ok();
    std::os::unix::fs::symlink(&kept, own.join("backup")).unwrap();
    write(&dir, "kept/ringtgt-000001.toml", text, 0o600);
    fs::write(&config, "").unwrap();
    done(&own, &["restore", "backup/ringtgt-000001.toml", "--config", "ringtgt.toml"]);
    assert!(fs::read_to_string(&config).unwrap().contains("path = \"disks/a.img\""));
}

/// The story of an administrator from a pipe; what it saves is served, and lets in who knows the secret.
#[test]
fn what_is_typed_in_the_shell_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("etc/ringtgt.toml");
    let target = "iqn.2023-03.sample.ec2:sample";
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().port();
    let lines = format!(
        "/backstores/fileio create name=sample-bs file_or_dev={} size=16M\n\
         /iscsi create {target}\n\
         # A port that nobody has, for the test.\n\
         /iscsi/{target}/tpg1/portals delete 0.0.0.0 3260\n\
         /iscsi/{target}/tpg1/portals create 127.0.0.1 {port}\n\
         /iscsi/{target}/tpg1/luns create /backstores/fileio/sample-bs\n\
         /iscsi/{target}/tpg1/acls create {target}-initiator\n\
         /iscsi/{target}/tpg1/acls/{target}-initiator set auth userid=sample-user\n",
        dir.path().join("disk.img").display()
    );
    let password = format!(
        "/iscsi/{target}/tpg1/acls/{target}-initiator set auth password=supersecret\nsaveconfig\nexit\n"
    );
    let half = shell(&config, &lines, &[]);
    assert_eq!(half.status.code(), Some(0), "{half:?}");
    assert!(stdout(&half).ends_with(&format!("Configuration saved to {}\n", config.display())));
    let whole = shell(&config, &password, &[]);
    // Nobody serves it yet, and a script is told so, once.
    assert_eq!((whole.status.code(), stderr(&whole).lines().count()), (Some(0), 1), "{whole:?}");
    let told = "No daemon answers at /";
    assert!(
        stderr(&whole).starts_with(told) && stderr(&whole).contains("is served when one starts"),
        "{whole:?}"
    );
    assert!(!stdout(&whole).contains("supersecret"), "{whole:?}");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(config.parent().unwrap().join("backup")).unwrap().count(), 1);

    let login = |secret: Option<&str>| {
        let mut options = LoginOptions::new(&format!("{target}-initiator"), Some(target));
        options.chap = secret.map(|s| Credential { user: "sample-user".into(), secret: s.to_owned().into() });
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        Initiator::login(address, options, Duration::from_secs(60))
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--reactors", "1", "--state-dir"]).arg(dir.path().join("state"));
    command.arg("--config").arg(&config).env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG");
    let mut daemon = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(daemon.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "ready"));
    let (right, wrong, empty, none) =
        (login(Some("supersecret")), login(Some("supersecre")), login(Some("")), login(None));
    let blocks = right.and_then(|mut session| {
        session.clear_attention(0)?;
        session.capacity(0)
    });
    assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    let (blocks, block) = blocks.expect("who knows the secret gets in");
    assert_eq!(blocks * u64::from(block), 16 << 20);
    assert!(wrong.is_err() && empty.is_err() && none.is_err(), "and nobody else");
}

#[test]
fn the_shell_stops_at_the_first_mistake_of_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringtgt.toml");
    let lines = "/backstores/ramdisk create a 1M\nsaveconfig\n/backstores/ramdisk create b 1M\n/backstores/ramdsk ls\nexit\n";
    let output = shell(&config, lines, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        stderr(&output),
        "line 4: there is no ramdsk in backstores; did you mean \"ramdisk\"?\nwhat was changed before it is not saved\n"
    );
    assert!(stdout(&output).ends_with("Created ramdisk b with size 1M.\n"), "{output:?}");
    let saved = fs::read_to_string(&config).unwrap();
    assert!(saved.contains("name = \"a\"") && !saved.contains("name = \"b\""), "{saved}");
}

#[test]
fn one_line_of_the_shell_is_saved_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringtgt.toml");
    for arguments in [
        &["/iscsi create iqn.2026-11.org.example:a"][..],
        &["/iscsi", "create", "iqn.2026-11.org.example:b"],
        &["set", "global", "auto_save_on_exit=false"],
    ] {
        let output = shell(&config, "", arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert!(
        stderr(&shell(&config, "", &["/iscsi/iqn.2026-11.org.example:b create 2"])).starts_with("No daemon")
    );
    let looked = shell(&config, "", &["ls", "/iscsi", "1"]);
    assert_eq!(stderr(&looked), "", "nothing was changed");
    let listed = stdout(&looked);
    assert!(listed.contains("o- iscsi ") && listed.contains("[Targets: 2]"), "{listed}");
    let wrong = shell(&config, "", &["/iscsi", "creat", "iqn.2026-11.org.example:c"]);
    assert_eq!((wrong.status.code(), stdout(&wrong)), (Some(1), String::new()));
    assert!(stderr(&wrong).contains("did you mean \"create\"?"), "{wrong:?}");
    // What the last shell liked, this one likes too.
    let output =
        shell(&config, "get global auto_save_on_exit\n/iscsi delete iqn.2026-11.org.example:a\n", &[]);
    let text = stdout(&output);
    assert!(text.starts_with("auto_save_on_exit=false\n") && text.contains("is not saved"), "{text}");
    assert!(fs::read_to_string(&config).unwrap().contains("example:a\""));
}

#[test]
fn the_shell_touches_no_file_that_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = write(&dir, "wrong.toml", "[server]\nreactors = 0\nchap = \"hunter2\"\n", 0o644);
    let output = shell(&wrong, "saveconfig\n", &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        stderr(&output).contains("wrong.toml:2:12:") && !stderr(&output).contains("hunter2"),
        "{output:?}"
    );
    assert_eq!(shell(dir.path(), "", &[]).status.code(), Some(2));
}

/// A command of its own over `config`.
fn managed(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(arguments).arg("--config").arg(config);
    command.env("XDG_CONFIG_HOME", config.parent().unwrap().join("likes")).env("COLUMNS", "80");
    command.output().expect("the binary runs")
}

#[test]
fn the_verbs_of_the_shell_are_commands_too() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringtgt.toml");
    let done = |arguments: &[&str]| {
        let output = managed(&config, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        stdout(&output)
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        let text = done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    };
    let iqn = "iqn.2026-11.org.example:t";
    let said = done(&["create", "/backstores/ramdisk", "name=a", "size=1M"]);
    assert!(said.starts_with("Created ramdisk a with size 1M.\nConfiguration saved to "), "{said}");
    let said = json(&["create", "/iscsi", iqn]);
    assert_eq!((&said["version"], &said["lines"][1]), (&1.into(), &"Created TPG 1.".into()));
    let tpg = format!("/iscsi/{iqn}/tpg1");
    done(&["create", &format!("{tpg}/luns"), "/backstores/ramdisk/a"]);
    done(&["set", &tpg, "auth", "userid=u", "password=QQQQQQQQQQQQ"]);
    let auth = json(&["get", &tpg, "auth"]);
    assert_eq!(
        (&auth["values"]["userid"], &auth["values"]["password"]),
        (&"u".into(), &true.into()),
        "{auth}"
    );
    assert_eq!(auth["path"], tpg);
    assert_eq!(json(&["info", "/backstores/ramdisk/a"])["summary"], "(1.0MiB) activated");
    assert_eq!(done(&["get", &tpg, "auth", "userid"]), "userid=u\n");
    let tree = json(&["ls", "/iscsi", "1"]);
    assert_eq!(tree["path"], "/iscsi");
    assert_eq!(tree["tree"]["children"][0]["name"], iqn);
    assert_eq!(tree["tree"]["children"][0]["children"], serde_json::json!([]));
    assert_eq!(json(&["ls"])["tree"]["children"].as_array().unwrap().len(), 3);
    assert!(done(&["ls"]).starts_with("o- / ...."));
    let saved = dir.path().join("saved.toml");
    done(&["save", saved.to_str().unwrap()]);
    done(&["delete", "/iscsi", iqn]);
    done(&["restore", saved.to_str().unwrap(), "clear_existing=true"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), fs::read_to_string(&saved).unwrap());
    // As with targetcli.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    let line = command.args(["/backstores", "help", "cd"]).output().expect("the binary runs");
    assert!(stdout(&line).starts_with("cd [path]\n"), "{line:?}");
    assert!(done(&["saveconfig"]).starts_with("Configuration saved to "));
    assert!(done(&["restoreconfig", saved.to_str().unwrap()]).starts_with("Left as they are"));
    let wrong = managed(&config, &["delete", "/iscsi", "iqn.2026-11.org.example:s", "--json"]);
    assert_eq!((wrong.status.code(), stdout(&wrong)), (Some(1), String::new()));
    assert!(stderr(&wrong).contains("did you mean"), "{wrong:?}");
    assert_eq!(managed(&config, &["clearconfig"]).status.code(), Some(1));
    assert_eq!(done(&["clearconfig", "confirm=True"]).lines().next(), Some("All configuration cleared"));
}

#[test]
fn the_configuration_of_lio_is_told_from_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (config, theirs) = (dir.path().join("ringtgt.toml"), dir.path().join("saveconfig.json"));
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lio/simple.json"), &theirs).unwrap();
    let path = theirs.to_str().unwrap();
    for line in ["restoreconfig", "restoreconfig clear_existing=1"] {
        let output = managed(&config, &[&line.split(' ').collect::<Vec<_>>()[..], &[path]].concat());
        let told = format!("{path}: this is JSON; ");
        assert!(stderr(&output).starts_with(&told) && stderr(&output).lines().count() == 1, "{output:?}");
        assert!(stderr(&output).contains(&format!("ringtgt import lio {path} --output")), "{output:?}");
        assert!(!config.exists());
    }
    let before = fs::read(&theirs).unwrap();
    let output = managed(&config, &["save", path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("it is no configuration of ringtgt"), "{output:?}");
    assert_eq!(fs::read(&theirs).unwrap(), before);
}

#[test]
fn twenty_commands_at_once_lose_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("etc/ringtgt.toml");
    fs::create_dir(dir.path().join("likes")).unwrap();
    std::thread::scope(|scope| {
        for n in 0..20 {
            let config = &config;
            scope.spawn(move || {
                let made = managed(config, &["create", "/backstores/null", &format!("n{n}"), "1G"]);
                assert_eq!(made.status.code(), Some(0), "{made:?}");
            });
        }
    });
    let text = fs::read_to_string(&config).unwrap();
    assert!((0..20).all(|n| text.contains(&format!("name = \"n{n}\""))), "{text}");
}

#[test]
fn who_waits_for_another_shell_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("etc/ringtgt.toml");
    fs::create_dir(config.parent().unwrap()).unwrap();
    let other = fs::File::open(config.parent().unwrap()).unwrap();
    other.lock().unwrap();
    let create = || managed(&config, &["create", "/backstores/ramdisk", "name=r", "size=1M"]);
    let made = std::thread::scope(|scope| {
        let waiting = scope.spawn(create);
        std::thread::sleep(Duration::from_secs(3));
        assert!(!waiting.is_finished(), "the other one is not done");
        other.unlock().unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert!(stderr(&made).starts_with("waiting for another ringtgt that changes "), "{made:?}");
}

#[test]
fn preferences_that_cannot_be_read_keep_nobody_from_his_work() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringtgt.toml");
    let likes = dir.path().join("likes/ringtgt");
    fs::create_dir_all(&likes).unwrap();
    fs::write(likes.join("shell.toml"), "auto_save_on_exit = 3\n").unwrap();
    let output =
        shell(&config, "/backstores/null create n 1G # of nothing\nset global color_mode=false\n", &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        stderr(&output).contains("shell.toml: ") && stderr(&output).contains("are not kept"),
        "{output:?}"
    );
    assert!(fs::read_to_string(&config).unwrap().contains("name = \"n\""));
    assert_eq!(fs::read_to_string(likes.join("shell.toml")).unwrap(), "auto_save_on_exit = 3\n");
}

#[test]
fn a_directory_is_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringtgt.toml");
    let output = managed(&config, &["create", "/backstores/fileio", "d", dir.path().to_str().unwrap(), "1M"]);
    assert_eq!((output.status.code(), config.exists()), (Some(1), false), "{output:?}");
    assert!(stderr(&output).contains("neither a file nor a block device"), "{output:?}");
}

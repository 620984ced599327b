//! The command line as users and other tools see it: what is printed, and exit statuses.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use program::{stderr, stdout, write};

/// Runs the binary to its end.
fn ringtgt(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringtgt"))
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary runs")
}

/// Starts a daemon that serves `store` on a free port, with its state in `dir`, by a command that may have a wrapper
/// around the binary or anything else before `serve`.
fn serving(mut command: Command, dir: &Path, store: &Path) -> Child {
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--reactors", "2", "--state-dir"])
        .args([dir, store])
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

fn check(path: &Path) -> Output {
    ringtgt(&["check", path.to_str().expect("text")])
}

/// `serve` with these arguments is refused with status 1, these words, and nothing on standard output.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = ringtgt(&[&["serve"], arguments].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
    for word in words {
        assert!(text.contains(word), "{arguments:?}: \"{word}\" is not in: {text}");
    }
}

const SOUND: &str = r#"
[[backstore]]
kind = "null"
name = "a"
size = "1G"
[[target]]
iqn = "iqn.2026-11.org.example:t"
[[target.tpg]]
portals = ["127.0.0.1:3260"]
any_initiator = true
[[target.tpg.lun]]
lun = 0
backstore = "a"
"#;

#[test]
fn check_tells_sound_files_apart_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let sound = check(&write(&dir, "sound.toml", SOUND, 0o644));
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    assert!(stdout(&sound).ends_with("sound.toml: ok: 1 target and 1 backstore\n"), "{sound:?}");

    let empty = check(&write(&dir, "empty.toml", "", 0o644));
    assert_eq!(empty.status.code(), Some(0), "{empty:?}");

    let absent = check(&dir.path().join("absent.toml"));
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    assert!(stderr(&absent).contains("absent.toml: cannot be read"), "{absent:?}");
}

#[test]
fn check_tells_all_mistakes_with_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let text = SOUND.replace("\"1G\"", "\"1GB\"").replace("backstore = \"a\"", "backstore = \"b\"");
    let path = write(&dir, "wrong.toml", &(text + "colour = \"red\"\n"), 0o644);
    let output = check(&path);
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for place in
        [":5:8: \"1GB\" is ambiguous", ":13:13: there is no backstore", ":14:1: \"colour\" is not a setting"]
    {
        assert!(shown.contains(&format!("{}{place}", path.display())), "{place}: {shown}");
    }
    assert!(shown.contains("\n 14 | colour = \"red\"\n    | ^^^^^^\n"), "{shown}");
    assert!(shown.ends_with("wrong.toml: 3 errors\n"), "{shown}");
}

#[test]
fn check_demands_a_private_file_for_secrets_and_never_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[discovery]\nchap = { user = \"u\", secret = \"hunter2hunter2\" }\n";
    assert_eq!(check(&write(&dir, "private.toml", text, 0o600)).status.code(), Some(0));
    let open = check(&write(&dir, "open.toml", text, 0o644));
    assert_eq!(open.status.code(), Some(1));
    let all = stdout(&open) + &stderr(&open);
    assert!(all.contains("chmod 600") && !all.contains("hunter2"), "{all}");
}

#[test]
fn the_sample_configuration_is_accepted_as_it_is_and_uncommented() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/ringtgt.toml");
    let output = check(&sample);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));

    let setting = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = fs::read_to_string(&sample).unwrap().lines().map(setting).collect();
    let dir = tempfile::tempdir().unwrap();
    let output = check(&write(&dir, "all.toml", &text.join("\n"), 0o600));
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("all.toml: ok: 1 target and 5 backstores\n"), "{}", stdout(&output));
}

#[test]
fn help_names_every_option_of_the_synopsis() {
    let help = ringtgt(&["serve", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = stdout(&help);
    for word in [
        "--config <FILE>",
        "--listen <ADDR:PORT>",
        "--reactors <N|auto|CPULIST>",
        "--iqn <IQN>",
        "--allow <INITIATOR_IQN>",
        "--chap-user <NAME>",
        "--chap-secret-file <FILE>",
        "--block-size <512|4096>",
        "--read-only",
        "--state-dir <DIR>",
        "--poll-us <N>",
        "--buffer-memory <SIZE>",
        "--log <LEVEL>",
        "[STORE]...",
        "ram:SIZE",
        "null:SIZE",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("kernel-level"), "that is for developers");
    assert!(stdout(&ringtgt(&["--version"])).starts_with("ringtgt "));
}

#[test]
fn what_is_not_understood_has_status_2() {
    for arguments in [&[][..], &["surve"], &["serve", "--chap-user", "u", "ram:1M"], &["check"]] {
        assert_eq!(ringtgt(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_difference_that_cannot_be_known_has_status_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let sound = write(&dir, "sound.toml", "", 0o600);
    let wrong = write(&dir, "wrong.toml", "[[backstore]]\nkind = \"null\"\n", 0o600);
    for file in [Some(&sound), Some(&wrong), None] {
        let file = file.map(|file| file.to_str().expect("text"));
        let mut arguments = vec!["diff", "--control-socket", "/nonexistent/control.sock"];
        arguments.extend(file);
        assert_eq!(ringtgt(&arguments).status.code(), Some(2), "{file:?}");
    }
}

#[test]
fn nobody_is_let_in_from_afar_unasked() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:3260"] {
        refused(
            &["--listen", address, "ram:1M"],
            &["would let anybody in", "--allow INITIATOR_IQN", "--chap-user NAME"],
        );
    }
}

#[test]
fn stores_that_cannot_be_served() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.img");
    refused(&[absent.to_str().unwrap()], &["does not exist", "absent.img:10G"]);
    refused(&[dir.path().to_str().unwrap()], &["is a directory"]);
    refused(&["ram:1GB"], &["ambiguous"]);
    refused(&["ram:1M", "null:100", "/nonexistent/a"], &["null:100", "/nonexistent/a"]);
    refused(&["--iqn", "disk", "ram:1M"], &["no iSCSI name"]);
    refused(&["--reactors", "3-1", "ram:1M"], &["runs backwards"]);
    refused(&["--read-only"], &["--read-only", "none is named"]);
    refused(&["--config", "/nonexistent", "ram:1M"], &["one or the other"]);
}

#[test]
fn a_secret_file_must_be_private() {
    let dir = tempfile::tempdir().unwrap();
    let secret = write(&dir, "secret", "hunter2hunter2\n", 0o644);
    let secret = secret.to_str().unwrap();
    refused(&["--chap-user", "u", "--chap-secret-file", secret, "ram:1M"], &["mode is 0644", "chmod 600"]);
}

#[test]
fn a_store_of_the_command_line_that_cannot_be_opened_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let disk = write(&dir, "disk.img", "short", 0o600);
    let (disk, state) = (format!("{}:8M", disk.display()), dir.path().join("state"));
    refused(&["--state-dir", state.to_str().unwrap(), &disk], &["disk.img: is 5 bytes long, not 8388608"]);
}

#[test]
fn serve_tells_what_is_wrong_with_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = write(&dir, "wrong.toml", "[server]\nreactors = 0\n", 0o644);
    refused(&["--config", wrong.to_str().unwrap()], &["wrong.toml:2:12:", "1 to 1024"]);
    let absent = ringtgt(&["serve", "--config", "/nonexistent/ringtgt.toml"]);
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
}

#[test]
fn a_stop_is_heeded_while_a_store_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    let holder = fs::File::create(&disk).unwrap();
    holder.set_len(1 << 20).unwrap();
    holder.lock().unwrap();
    let mut start = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    start.env_remove("NOTIFY_SOCKET");
    let mut daemon = serving(start, dir.path(), &disk);
    let mut said = BufReader::new(daemon.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("waiting for it")));
    let told = Instant::now();
    assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
    let output = daemon.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "not only when it gives up: {:?}", told.elapsed());
    assert_eq!(stdout(&output), "", "it never was ready");
}

#[test]
fn manual_pages_and_completions_come_from_the_binary() {
    for (arguments, word) in [
        (&["generate", "man"][..], ".TH ringtgt 8"),
        (&["generate", "man", "serve"], "chap\\-secret\\-file"),
        (&["generate", "man", "import lio"], "ringtgt\\-import\\-lio"),
        (&["generate", "conf"], ".TH ringtgt.toml 5"),
        (&["generate", "rpc"], ".TH ringtgt\\-rpc 7"),
        (&["generate", "bash"], "complete -F"),
        (&["generate", "zsh"], "#compdef ringtgt"),
        (&["generate", "fish"], "complete -c ringtgt"),
    ] {
        let output = ringtgt(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains(word), "{arguments:?}: {}", stdout(&output));
    }
    assert_eq!(ringtgt(&["generate", "man", "none"]).status.code(), Some(2));
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ringtgt(&["generate", "files", dir.path().to_str().unwrap()]).status.code(), Some(0));
    for file in [
        "man/man8/ringtgt.8",
        "man/man8/ringtgt-serve.8",
        "man/man8/ringtgt-import-lio.8",
        "man/man5/ringtgt.toml.5",
        "man/man7/ringtgt-rpc.7",
        "bash-completion/completions/ringtgt",
        "zsh/vendor-completions/_ringtgt",
        "fish/vendor_completions.d/ringtgt.fish",
    ] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    assert!(!dir.path().join("man/man8/ringtgt-generate.8").exists(), "that is for packagers");
}

#[test]
fn an_interrupt_stops_it_and_the_service_manager_hears_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut start = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    start.env("NOTIFY_SOCKET", &path);
    let mut daemon = serving(start, dir.path(), Path::new("ram:1M"));
    let ready = hear();
    assert!(ready.contains("READY=1") && ready.contains("STATUS="), "{ready}");
    assert!(Command::new("kill").args(["-INT", &daemon.id().to_string()]).status().unwrap().success());
    let stopping = hear();
    let granted = stopping.lines().find_map(|l| l.strip_prefix("EXTEND_TIMEOUT_USEC="));
    assert!(stopping.contains("STOPPING=1"), "{stopping}");
    assert!(granted.is_some_and(|us| us.parse::<u64>().unwrap() >= 10_000_000), "{stopping}");
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[test]
fn a_state_directory_may_be_named_from_where_the_daemon_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut start = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    start.env_remove("NOTIFY_SOCKET").current_dir(dir.path());
    let mut daemon = serving(start, Path::new("state"), Path::new("ram:1M"));
    let mut said = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let ready = said.any(|line| line.unwrap() == "ready");
    // What has ended already cannot be told to.
    let _ = Command::new("kill").arg(daemon.id().to_string()).status();
    let output = daemon.wait_with_output().unwrap();
    assert!(ready && output.status.success(), "{}", stderr(&output));
    assert!(dir.path().join("state/identity").is_dir());
}

/// The limit holds only for those who may not lock memory at will, so root gives that right up.
#[test]
fn too_little_lockable_memory_is_told_once_and_served_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut start = Command::new("prlimit");
    if ringtgt::sys::effective_uid() == 0 {
        start = Command::new("setpriv");
        start.args(["--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "prlimit"]);
    }
    start.args(["--memlock=4194304:4194304", env!("CARGO_BIN_EXE_ringtgt")]).env_remove("NOTIFY_SOCKET");
    let mut daemon = serving(start, dir.path(), Path::new("ram:1M"));
    let mut said = BufReader::new(daemon.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "ready"));
    assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
    let output = daemon.wait_with_output().unwrap();
    let warnings: Vec<_> = stderr(&output).lines().filter(|l| l.contains("WARN")).map(String::from).collect();
    assert_eq!(output.status.code(), Some(0));
    assert!(matches!(&warnings[..], [one] if one.contains("LimitMEMLOCK=infinity")), "{warnings:?}");
}

#[test]
fn what_is_moved_by_force_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lio/simple.json");
    let real = write(&dir, "real.toml", "# by hand\n", 0o600);
    let link = dir.path().join("ringtgt.toml");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let output =
        ringtgt(&["import", "lio", theirs.to_str().unwrap(), "--output", link.to_str().unwrap(), "--force"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("[[target]]"));
    let kept = fs::read_to_string(dir.path().join("backup/real-000001.toml")).unwrap();
    assert_eq!(kept, "# by hand\n");

    let json = write(&dir, "saveconfig.json", "{}", 0o600);
    let (real, json) = (real.to_str().unwrap(), json.to_str().unwrap());
    let output = ringtgt(&["export", "lio", "--config", real, "--output", json, "--force"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read_to_string(dir.path().join("backup/saveconfig-000001.json")).unwrap(), "{}");
}

#[test]
fn a_configuration_of_lio_moves_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lio/simple.json");
    let ours = dir.path().join("ringtgt.toml");
    let import = |more: &[&str]| {
        ringtgt(
            &[&["import", "lio", theirs.to_str().unwrap(), "--output", ours.to_str().unwrap()], more]
                .concat(),
        )
    };
    let output = import(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("ringtgt.toml: written, "), "{output:?}");
    assert!(
        stderr(&output).contains("simple.json:69:9: targets[0].tpgs[0]: authentication is 0"),
        "{output:?}"
    );
    assert_eq!(fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(check(&ours).status.code(), Some(0));

    let again = import(&[]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(stderr(&again).contains("--force replaces it"), "{again:?}");
    assert_eq!(import(&["--force"]).status.code(), Some(0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");

    let exported = ringtgt(&["export", "lio", "--config", ours.to_str().unwrap()]);
    assert_eq!(exported.status.code(), Some(0), "{exported:?}");
    let back = write(&dir, "back.json", &stdout(&exported), 0o600);
    let back = ringtgt(&["import", "lio", back.to_str().unwrap()]);
    let without_source = |text: String| text.split_once('\n').map(|(_, rest)| rest.to_owned());
    // What is asked of one initiator here is asked of the whole group there, and stays that.
    let asked =
        fs::read_to_string(&ours).unwrap().replacen(":3260\"]\n", ":3260\"]\nrequire_chap = true\n", 1);
    assert_eq!(without_source(stdout(&back)), without_source(asked));
}

/// Half a configuration can be a whole one with targets missing.
#[test]
fn of_a_file_that_cannot_be_written_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lio/simple.json");
    let ours = dir.path().join("ringtgt.toml");
    // No file may have a byte, like on a disk that is full.
    let mut full = Command::new("sh");
    full.args([
        "-c",
        "trap '' XFSZ; ulimit -f 0; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_ringtgt"),
        "import",
        "lio",
    ]);
    let output = full.arg(theirs).arg("--output").arg(&ours).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("ringtgt.toml: cannot be written: "), "{output:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_imported_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let absent = ringtgt(&["import", "lio", dir.path().join("absent.json").to_str().unwrap()]);
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    let wrong = write(&dir, "wrong.json", "{\n \"targets\": [{\"fabric\": \"iscsi\"}]}", 0o600);
    let output = ringtgt(&["import", "lio", wrong.to_str().unwrap()]);
    assert_eq!((output.status.code(), &*stdout(&output)), (Some(1), ""), "{output:?}");
    assert!(stderr(&output).contains("wrong.json:2:14: targets[0]: there is no \"wwn\" in it"), "{output:?}");
}

/// Looks for a daemon at `socket`; what it says, as JSON, and its status.
fn doctor(socket: &Path) -> (serde_json::Value, Option<i32>) {
    let output = ringtgt(&["doctor", "--json", "--control-socket", socket.to_str().expect("text")]);
    (serde_json::from_str(&stdout(&output)).expect("JSON"), output.status.code())
}

#[test]
fn the_doctor_looks_at_the_daemon_and_at_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let (told, _) = doctor(&socket);
    assert_eq!((&told["version"], &told["findings"][0]["grade"]), (&1.into(), &"hint".into()), "{told}");
    assert!(
        told["findings"][0]["is"].as_str().is_some_and(|is| is.contains("is ringtgt running?")),
        "{told}"
    );

    let mut daemon = serving(Command::new(env!("CARGO_BIN_EXE_ringtgt")), dir.path(), Path::new("ram:1M"));
    let mut said = BufReader::new(daemon.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "ready"));
    let (told, status) = doctor(&socket);
    let about =
        |what: &str| told["findings"].as_array().unwrap().iter().find(|f| f["about"] == what).cloned();
    let is = |what: &str| about(what).and_then(|f| Some(f["is"].as_str()?.to_owned())).unwrap_or_default();
    assert_eq!(is("daemon"), format!("runs as process {} with 2 reactors", daemon.id()));
    assert!(is("kernel").starts_with("Linux "), "{told}");
    assert!(about("open files").is_some() && about("locked memory").is_some(), "{told}");
    let wrong = told["findings"].as_array().unwrap().iter().any(|f| f["grade"] == "wrong");
    assert_eq!(status, Some(i32::from(wrong)), "{told}");
    assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

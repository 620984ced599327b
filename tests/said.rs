//! What every command says, word for word: help, tables, JSON and errors.
//!
//! A file of `tests/said` is a conversation: lines that begin with `$ ` are commands, each followed by what it prints on
//! both ways, and by its status when that is not 0. All of a file are run in one directory, which is called `[DIR]`.
//! `SAID=write cargo test --test said` writes down what is said now.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/live.rs"]
#[allow(dead_code, reason = "nothing is looked at but what commands say")]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Server, login, text};

/// What the commands of a conversation say.
fn played(text: &str, dir: &Path) -> String {
    let commands = text.lines().filter(|line| line.starts_with("$ "));
    commands.map(|line| format!("{line}\n{}\n", said(&line[2..], dir))).collect()
}

/// A number behind these is another one with every run.
const CHANCE: [&str; 9] = [
    "\"pdus\": ",
    "\"reactor\": ",
    "\"seconds\": ",
    "\"tsih\": ",
    "127.0.0.1:",
    " reactor ",
    "session ",
    "sid: ",
    "since ",
];

fn without_chance(text: String) -> String {
    let masked = |text: String, before: &str| {
        let mut parts = text.split(before);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            all + before + if rest.len() < part.len() { "[N]" } else { "" } + rest
        })
    };
    CHANCE.into_iter().fold(text, masked)
}

/// What a line for the shell prints, and how it ends.
fn said(line: &str, dir: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_ringtgt")).parent().expect("it lies in a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(dir).stdin(Stdio::null());
    command.env("PATH", path).env("XDG_CONFIG_HOME", dir.join("likes")).env("COLUMNS", "80");
    let output = command.output().expect("sh runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let text =
        text.replace(&dir.display().to_string(), "[DIR]").replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    let text = without_chance(text);
    let status = output.status.code().filter(|code| *code != 0);
    text + &status.map(|code| format!("status {code}\n")).unwrap_or_default()
}

fn check(name: &str) {
    check_in(tempfile::tempdir().expect("a directory").path(), name);
}

fn check_in(dir: &Path, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/said").join(name);
    let text = fs::read_to_string(&file).expect("a conversation");
    let now = played(&text, dir);
    assert!(!now.is_empty(), "{name}: no command");
    if std::env::var_os("SAID").is_some_and(|word| word == "write") {
        return fs::write(&file, now).expect("it is written");
    }
    for (n, (now, then)) in now.lines().zip(text.lines()).enumerate() {
        assert_eq!(now, then, "{name}:{}", n + 1);
    }
    assert_eq!(now, text, "{name}");
}

#[test]
fn help() {
    check("help.txt");
}

#[test]
fn the_help_of_every_command_is_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/said/help.txt");
    let text = fs::read_to_string(&file).expect("a conversation");
    let help = said("ringtgt --help", dir.path());
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // What goes on in a second line is set in further.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"serve") && names.len() > 20, "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(text.contains(&format!("$ ringtgt {name} --help\n")), "{name}");
    }
}

#[test]
fn the_shell() {
    check("shell.txt");
}

#[test]
fn the_verbs_of_the_shell() {
    check("verbs.txt");
}

#[test]
fn files() {
    check("files.txt");
}

#[test]
fn without_a_daemon() {
    check("daemon.txt");
}

#[test]
fn with_a_daemon() {
    let server = Server::start(&text(&["a"], &[(0, "a")], &[1, 2]));
    let _initiators = [1, 2].map(|number| login(&server, number));
    let file = server.config();
    check_in(file.parent().expect("a directory"), "served.txt");
}

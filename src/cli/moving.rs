//! `ringtgt import` and `ringtgt export`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::args::Output;
use super::{FAILED, UNREADABLE, complain, is_same_file, say};
use crate::admin::config::{self, LoadError, ServerConfig, Source};
use crate::admin::lio::{self, Moved};
use crate::admin::rpc::{Client, default_socket};
use crate::admin::{edit, state};

/// Secrets may stand in it.
const MODE: u32 = 0o600;

/// LIO's configuration to ringtgt's.
pub(super) fn import_lio(file: &Path, to: &Output) -> ExitCode {
    let source = match config::read_source(file) {
        Ok((source, _)) => source,
        Err(LoadError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            let remedy = format!("name what `targetcli saveconfig` has written, usually {}", lio::SAVECONFIG);
            complain(&format!("{}: cannot be read: {error}; {remedy}\n", file.display()));
            return ExitCode::from(UNREADABLE);
        }
        Err(error) => return refused(&error),
    };
    let text = source.text().to_owned();
    let moved = match lio::import(source) {
        Ok(moved) => moved,
        Err(report) => {
            complain(&report.to_string());
            complain(&format!("{}: {}; nothing was imported\n", file.display(), report.summary()));
            return ExitCode::from(FAILED);
        }
    };
    let places = Source::new(file.display().to_string(), text);
    for listed in &moved.listed {
        let (line, column) = places.position(listed.span.start);
        complain(&format!("{}:{line}:{column}: {listed}\n", file.display()));
    }
    let checked = match check(&moved, to) {
        Ok(checked) => checked,
        Err(code) => return code,
    };
    write(&moved, to, &checked)
}

/// The result is judged as `ringtgt check` will.
fn check(moved: &Moved, to: &Output) -> Result<String, ExitCode> {
    let name = to.output.as_deref().map_or_else(|| "the result".into(), |path| path.display().to_string());
    let dir = to.output.as_deref().and_then(Path::parent).unwrap_or_else(|| Path::new("."));
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    match config::parse(Source::new(name, moved.text.as_str()), &dir, Some(MODE)) {
        Ok((_, report)) => {
            complain(&report.to_string());
            Ok(report.summary())
        }
        Err(report) => {
            complain(&report.to_string());
            complain("this is what would have to be written, and it is not right; nothing was\n");
            Err(ExitCode::from(FAILED))
        }
    }
}

/// ringtgt's configuration to LIO's. What initiators know its stores by is kept in `state_dir`, or where the daemon that
/// serves it keeps it, or else where it says.
pub(super) fn export_lio(file: &Path, state_dir: Option<&Path>, to: &Output) -> ExitCode {
    let (config, report) = match config::load(file) {
        Ok(loaded) => loaded,
        Err(error) => return refused(&error),
    };
    complain(&report.to_string());
    let mut unread = Vec::new();
    let state_dir = state_dir.map(Path::to_owned).or_else(|| serving_dir(file, &config.server));
    let state_dir = state_dir.unwrap_or_else(|| config.server.state_dir.clone());
    let moved = lio::export(&config, |store| {
        state::saved_identity(&state_dir, &store.name).unwrap_or_else(|error| {
            unread.push(error);
            None
        })
    });
    if !unread.is_empty() {
        unread.iter().for_each(|error| complain(&format!("{error}\n")));
        return ExitCode::from(UNREADABLE);
    }
    for listed in &moved.listed {
        complain(&format!("{}: {listed}\n", file.display()));
    }
    if moved.listed.iter().any(|listed| listed.reason == lio::NAMELESS) {
        complain(&format!(
            "names were looked for in {}; --state-dir says where a daemon keeps them that was started with it\n",
            state_dir.display()
        ));
    }
    write(&moved, to, "")
}

/// Where the daemon that serves the file keeps what is kept of its stores.
fn serving_dir(file: &Path, server: &ServerConfig) -> Option<PathBuf> {
    let asked = |socket: &PathBuf| {
        let got = Client::connect(socket).ok()?.call("config.get", json!({})).ok()?;
        let serves = is_same_file(file, Path::new(got["file"].as_str()?));
        got["state_dir"].as_str().filter(|_| serves).map(PathBuf::from)
    };
    [server.control_socket(), default_socket()].iter().find_map(asked)
}

fn refused(error: &LoadError) -> ExitCode {
    complain(&format!("{error}\n"));
    ExitCode::from(if matches!(error, LoadError::Invalid(_)) { FAILED } else { UNREADABLE })
}

fn write(moved: &Moved, to: &Output, checked: &str) -> ExitCode {
    let Some(path) = &to.output else {
        say(&moved.text);
        return ExitCode::SUCCESS;
    };
    if let Err(error) = put(path, &moved.text, to.force) {
        let remedy = if error.kind() == io::ErrorKind::AlreadyExists { "; --force replaces it" } else { "" };
        complain(&format!("{}: cannot be written: {error}{remedy}\n", path.display()));
        return ExitCode::from(FAILED);
    }
    let warnings = if checked.is_empty() { String::new() } else { format!(", {checked}") };
    say(&format!("{}: written{warnings}, {} listed\n", path.display(), moved.listed.len()));
    ExitCode::SUCCESS
}

/// Writes a file that only its owner can read: a new one, which with `force` takes the place of the old one, which
/// goes to the backups.
fn put(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if force {
        return edit::save(path, text);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // What there is of it can be a configuration, too, with something missing.
        let _ = fs::remove_file(path);
    }
    written
}

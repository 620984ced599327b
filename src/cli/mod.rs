//! The command line.
//!
//! Owns: arguments, what is printed to people, exit statuses. Promises: 0 is done, 1 is refused or failed
//! with the reason on standard error, 2 is a command that was not understood or a file that cannot be read.
//! Refuses to know: anything below `admin`.

mod adhoc;
mod args;
mod away;
mod bench;
mod check;
mod control;
mod doctor;
mod generate;
mod moving;
mod serve;
mod sessions;
mod shell;
mod store_arg;
mod top;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, Export, Import};

/// Refused or failed.
const FAILED: u8 = 1;
/// Not understood, or not readable.
const UNREADABLE: u8 = 2;

/// Parses the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let command = match Cli::try_parse_from(with_verb(std::env::args_os().collect())) {
        Ok(cli) => cli.command,
        Err(error) => return not_understood(&error),
    };
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Shell { config, control_socket, line } => {
            let mode = if line.is_empty() { shell::Mode::Input } else { shell::Mode::Once(line) };
            shell::run(&config, control_socket.as_deref(), mode)
        }
        Command::Ls { path, depth, managed } => {
            let depth = depth.map(|depth| format!("depth={depth}"));
            manage(["/".into(), "ls".into()].into_iter().chain(path).chain(depth), &managed)
        }
        Command::Create(act) => act_at("create", act),
        Command::Delete(act) => act_at("delete", act),
        Command::Set(act) => act_at("set", act),
        Command::Get(act) => act_at("get", act),
        Command::Info { path, managed } => manage([path, "info".into()], &managed),
        Command::Save { file, managed } => manage(std::iter::once("saveconfig".into()).chain(file), &managed),
        Command::Restore { words, managed } => {
            manage(std::iter::once("restoreconfig".into()).chain(words), &managed)
        }
        Command::Clear { words, managed } => {
            manage(std::iter::once("clearconfig".into()).chain(words), &managed)
        }
        Command::Version => {
            say(&format!("ringtgt {}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Command::Check { file, json } => check::run(&file, json),
        Command::Import(Import::Lio { file, to }) => moving::import_lio(&file, &to),
        Command::Export(Export::Lio { config, state_dir, to }) => {
            moving::export_lio(&config, state_dir.as_deref(), &to)
        }
        Command::Apply(args) => control::apply(&args),
        Command::Reload { daemon } => control::reload(&daemon),
        Command::Diff { file, daemon } => control::diff(file.as_deref(), &daemon),
        Command::Sessions { detail, daemon } => control::sessions(detail, &daemon),
        Command::Kick { whom, daemon } => control::kick(&whom, &daemon),
        Command::Renegotiate { whom, daemon } => control::renegotiate(&whom, &daemon),
        Command::Drain { whom, to, deadline, daemon } => {
            control::drain(&whom, to.as_deref(), deadline, &daemon)
        }
        Command::Doctor { daemon } => doctor::run(&daemon),
        Command::Record { out, force, daemon } => control::record(&out, force, &daemon),
        Command::Top(args) => top::run(&args),
        Command::Bench(options) => bench::run(&options),
        Command::Generate { what, command } => generate::run(what, command.as_deref()),
    }
}

/// A line that begins with a path is one for the shell, as with targetcli.
fn with_verb(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|first| first.as_encoded_bytes().starts_with(b"/")) {
        arguments.insert(1, "shell".into());
    }
    arguments
}

/// Says what was not understood, or the help that was asked for. clap repeats what it was given: where that is a URL
/// with a secret it must not.
fn not_understood(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    if arguments.iter().any(|argument| secret_of(argument).is_some()) {
        complain(&without_secrets(&error.render().to_string(), &arguments));
    } else {
        // As with everything printed, a reader may have gone away.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(UNREADABLE))
}

/// What of an argument may be a secret: as it was not understood nobody knows where that ends.
fn secret_of(argument: &str) -> Option<&str> {
    argument.split_once('%').map(|(_, secret)| secret).filter(|secret| !secret.is_empty())
}

fn without_secrets(text: &str, arguments: &[String]) -> String {
    let secrets = arguments.iter().filter_map(|argument| secret_of(argument));
    secrets.fold(text.to_owned(), |text, secret| text.replace(&format!("%{secret}"), "%…"))
}

/// Prints to standard output. A reader who has gone away (`ringtgt check | head`) is no failure.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints to standard error, which may be closed too.
fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether both name one file, be it there already or not.
fn is_same_file(one: &Path, other: &Path) -> bool {
    real(one) == real(other)
}

/// Where it really is, or would be.
fn real(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).unwrap_or_else(|_| {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let dir = file.parent().and_then(|dir| std::fs::canonicalize(dir).ok());
        dir.zip(file.file_name()).map(|(dir, name)| dir.join(name)).unwrap_or(file)
    })
}

/// A verb of the shell as a command of its own.
fn act_at(verb: &str, act: args::Act) -> ExitCode {
    manage([act.path, verb.into()].into_iter().chain(act.words), &act.managed)
}

fn manage(words: impl IntoIterator<Item = String>, managed: &args::Managed) -> ExitCode {
    let mode = shell::Mode::Command(words.into_iter().collect(), managed.json);
    shell::run(&managed.config, managed.control_socket.as_deref(), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_repeated_without_its_secret() {
        for line in [
            "ringtgt bench http://joe%hunter2@h/iqn.2026-11.a:b/0",
            "ringtgt bench iscsi://joe%hunter2@h:x/iqn.2026-11.a:b/0",
            "ringtgt bench iscsi://joe%hunter2@h/iqn.2026-11.a:b",
            "ringtgt bench iscsi://h/iqn.2026-11.a:b/0 iscsi://joe%hunter2@h/iqn.2026-11.a:b/0",
            "ringtgt bench --url=iscsi://joe%hunter2@h/iqn.2026-11.a:b/0",
            "ringtgt bench --qd iscsi://joe%hunter2@h/iqn.2026-11.a:b/0",
            "ringtgt iscsi://joe%hunter2@h/iqn.2026-11.a:b/0",
        ] {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = Cli::try_parse_from(&arguments).unwrap_err();
            let said = without_secrets(&error.render().to_string(), &arguments);
            assert!(!said.contains("hunter2") && said.contains("error:"), "{line}: {said}");
        }
        assert_eq!(without_secrets("100% of it", &["100%".into()]), "100% of it");
    }
}

//! The command line.
//!
//! Owns: arguments, what is printed to people, exit statuses. Promises: 0 is done, 1 is refused or failed
//! with the reason on standard error, 2 is a command that was not understood or a file that cannot be read.
//! Refuses to know: anything below `admin`.

mod adhoc;
mod args;
mod bench;
mod check;
mod control;
mod doctor;
mod generate;
mod moving;
mod serve;
mod shell;
mod store_arg;

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
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Shell { config, line } => {
            let mode = if line.is_empty() { shell::Mode::Input } else { shell::Mode::Once(line) };
            shell::run(&config, mode)
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
        Command::Check { file } => check::run(&file),
        Command::Import(Import::Lio { file, to }) => moving::import_lio(&file, &to),
        Command::Export(Export::Lio { config, to }) => moving::export_lio(&config, &to),
        Command::Apply(args) => control::apply(&args),
        Command::Diff { file, daemon } => control::diff(file.as_deref(), &daemon),
        Command::Sessions { daemon } => control::sessions(&daemon),
        Command::Kick { whom, daemon } => control::kick(&whom, &daemon),
        Command::Drain { whom, deadline, daemon } => control::drain(&whom, deadline, &daemon),
        Command::Doctor { daemon } => doctor::run(&daemon),
        Command::Bench(options) => bench::run(&options),
        Command::Generate { what, command } => generate::run(what, command.as_deref()),
    }
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
    shell::run(&managed.config, shell::Mode::Command(words.into_iter().collect(), managed.json))
}

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
mod generate;
mod moving;
mod serve;
mod store_arg;

use std::io::Write;
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
        Command::Check { file } => check::run(&file),
        Command::Import(Import::Lio { file, to }) => moving::import_lio(&file, &to),
        Command::Export(Export::Lio { config, to }) => moving::export_lio(&config, &to),
        Command::Apply(args) => control::apply(&args),
        Command::Diff { file, daemon } => control::diff(file.as_deref(), &daemon),
        Command::Sessions { daemon } => control::sessions(&daemon),
        Command::Kick { whom, daemon } => control::kick(&whom, &daemon),
        Command::Drain { whom, deadline, daemon } => control::drain(&whom, deadline, &daemon),
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

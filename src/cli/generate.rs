//! `ringtgt generate`: manual pages and completions, from the one definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, What};
use super::{UNREADABLE, complain, say};

/// Prints what is asked for; `command` is the subcommand that a manual page is about.
pub(super) fn run(what: What, command: Option<&str>) -> ExitCode {
    let text = match what {
        What::Man => manual(command),
        What::Bash => Some(completions(Shell::Bash)),
        What::Zsh => Some(completions(Shell::Zsh)),
        What::Fish => Some(completions(Shell::Fish)),
    };
    match text {
        Some(bytes) => {
            say(&String::from_utf8_lossy(&bytes));
            ExitCode::SUCCESS
        }
        None => {
            complain("there is no such command; ringtgt --help lists them\n");
            ExitCode::from(UNREADABLE)
        }
    }
}

fn manual(command: Option<&str>) -> Option<Vec<u8>> {
    let mut all = Cli::command();
    all.build();
    let page = match command {
        None => all,
        Some(name) => all.find_subcommand(name)?.clone(),
    };
    let mut out = Vec::new();
    clap_mangen::Man::new(page).section("8").render(&mut out).ok()?;
    Some(out)
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringtgt", &mut out);
    out
}

//! `ringtgt generate`: manual pages and completions, from the one definition of the command line; and the manual page
//! of the configuration, from the sample of it, and that of the control socket, from its own words.

mod command;
mod conf;
mod rpc;
mod troff;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, What};
use super::{FAILED, UNREADABLE, complain, say};

/// The shells, where their completions lie below /usr/share, and the options of `generate` for them.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/ringtgt"),
    (Shell::Zsh, "zsh/vendor-completions/_ringtgt"),
    (Shell::Fish, "fish/vendor_completions.d/ringtgt.fish"),
];

/// Prints what is asked for; `command` is the subcommand that a manual page is about, in one or more words, or the
/// directory for all files.
pub(super) fn run(what: What, command: Option<&str>) -> ExitCode {
    let text = match what {
        What::Man => manual(command.unwrap_or_default()),
        What::Conf => Some(conf::manual()),
        What::Rpc => Some(rpc::manual()),
        What::Bash => Some(completions(Shell::Bash)),
        What::Zsh => Some(completions(Shell::Zsh)),
        What::Fish => Some(completions(Shell::Fish)),
        What::Files => return files(command),
    };
    match text {
        Some(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        None => {
            complain("there is no such command; ringtgt --help lists them\n");
            ExitCode::from(UNREADABLE)
        }
    }
}

/// Writes all of them below a directory, as they lie below /usr/share.
fn files(dir: Option<&str>) -> ExitCode {
    let Some(dir) = dir else {
        complain("name the directory for the files\n");
        return ExitCode::from(UNREADABLE);
    };
    match write_all(Path::new(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{dir}: {error}\n"));
            ExitCode::from(FAILED)
        }
    }
}

fn write_all(dir: &Path) -> io::Result<()> {
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, text)
    };
    for page in pages(definition()) {
        let name = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
        put(&format!("man/man8/{name}.8"), &command::manual(page)?)?;
    }
    put("man/man5/ringtgt.toml.5", &conf::manual())?;
    put("man/man7/ringtgt-rpc.7", &rpc::manual())?;
    SHELLS.iter().try_for_each(|(shell, name)| put(name, &completions(*shell)))
}

/// The definition, complete down to the last subcommand.
fn definition() -> clap::Command {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    all
}

/// A command, and all below it that are not hidden.
fn pages(command: clap::Command) -> Vec<clap::Command> {
    let below: Vec<clap::Command> = command.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
    std::iter::once(command).chain(below.into_iter().flat_map(pages)).collect()
}

fn manual(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    let page = words.try_fold(definition(), |command, word| command.find_subcommand(word).cloned())?;
    command::manual(page).ok()
}

fn completions(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringtgt", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

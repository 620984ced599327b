//! ringtgt(8), and the page of each of its commands: from the definition of the command line, and in the end what that has
//! no words for.

use std::io;

use super::troff::{escaped, item, row};
use crate::admin::config::DEFAULT_FILE;

/// Commands that are about the same, as their pages are called behind `ringtgt-`.
const TOGETHER: [&[&str]; 6] = [
    &["shell", "ls", "create", "delete", "set", "get", "info", "save", "restore"],
    &["serve", "check", "diff", "apply", "reload"],
    &["sessions", "kick", "drain", "renegotiate"],
    &["doctor", "top", "record", "bench"],
    &["import", "import-lio"],
    &["export", "export-lio"],
];

const STATUSES: [(&str, &str); 3] = [
    ("0", "All was done."),
    (
        "1",
        "It was refused, or it failed: the reason is on standard error. Where a command means something else by it, its page says so.",
    ),
    ("2", "The command line was not understood, or a file cannot be read."),
];

const SIGNALS: [(&str, &str); 3] = [
    (
        "HUP",
        "Read the configuration file again and serve what it says now, whole or not at all; the log says what has changed, or \
         everything that is wrong with the file. Without a file, as with STOREs, it ends the daemon, unless that was started so \
         that it ignores this signal (nohup).",
    ),
    ("USR1", "Log what each reactor has done."),
    (
        "TERM, INT",
        "Log that, ask initiators to log out, drop those that have not after server.drain_timeout, make durable what they have \
         written, and end: with status 0, if that could be done.",
    ),
];

const FILES: [(&str, &str); 4] = [
    (
        DEFAULT_FILE,
        "What is served, and to whom: ringtgt.toml(5). The shell keeps what stood there before in backup beside it.",
    ),
    ("/run/ringtgt/control.sock", "Where the daemon listens to these commands: ringtgt-rpc(7)."),
    ("/var/lib/ringtgt", "What disks are known by, reservations, and recordings of the protocol's errors."),
    (
        "/usr/share/ringtgt/tuning",
        "Settings for this machine and for initiators, each with its reason; begin with README.md.",
    ),
];

const EXAMPLES: [(&str, &str); 4] = [
    (
        "ringtgt serve disk.img:1G",
        "Makes a sparse file, serves it at 127.0.0.1:3260 to any initiator on this machine, and prints how to use it there.",
    ),
    ("ringtgt shell", "Changes what is served as one would in targetcli, with completion and history."),
    (
        "ringtgt check /etc/ringtgt/ringtgt.toml",
        "Tells everything that is wrong with the file that was edited.",
    ),
    ("systemctl reload ringtgt", "Serves it as it is now; without systemd: ringtgt reload."),
];

/// The page.
pub(super) fn manual(command: clap::Command) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut out = Vec::new();
    let version = format!("ringtgt {}", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).section("8").source(version).render(&mut out)?;
    let mut page = listed(&String::from_utf8_lossy(&out));
    if name == "ringtgt" {
        page += &section("EXIT STATUS", &STATUSES);
    }
    if ["ringtgt", "ringtgt-serve"].contains(&name.as_str()) {
        page += &section("SIGNALS", &SIGNALS);
    }
    page += &section("FILES", &FILES);
    if name == "ringtgt" {
        page += &section("EXAMPLES", &EXAMPLES);
    }
    Ok(page + ".SH SEE ALSO\n" + &escaped(&see_also(&name)) + "\n")
}

fn section(name: &str, items: &[(&str, &str)]) -> String {
    let items = items.iter().map(|(what, text)| item(what, text));
    format!(".SH {name}\n") + &items.collect::<String>()
}

fn see_also(page: &str) -> String {
    let this = page.strip_prefix("ringtgt-").unwrap_or_default();
    let together = TOGETHER.iter().find(|commands| commands.contains(&this)).copied().unwrap_or_default();
    let others =
        together.iter().filter(|command| **command != this).map(|command| format!("ringtgt-{command}(8)"));
    let root = (!this.is_empty()).then(|| "ringtgt(8)".to_owned());
    let about = ["ringtgt.toml(5)", "ringtgt-rpc(7)"].map(ToOwned::to_owned);
    root.into_iter().chain(others).chain(about).collect::<Vec<_>>().join(", ")
}

/// A table of the help, which would be filled like words, as a list within what it belongs to.
fn listed(page: &str) -> String {
    let (mut out, mut in_table) = (String::new(), false);
    for line in page.lines() {
        let row = row(line);
        match (row, in_table) {
            (Some(_), false) => {
                out.truncate(out.trim_end().len());
                out += "\n.RS\n";
            }
            (None, true) => out += ".RE\n.IP\n",
            _ => {}
        }
        out += &match row {
            // It is troff's already.
            Some((what, text)) => format!(".TP\n\\fB{what}\\fR\n{text}\n"),
            None if in_table && line.is_empty() => String::new(),
            None => format!("{line}\n"),
        };
        in_table = row.is_some();
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::super::{definition, pages};
    use super::*;
    use crate::cli::args::Cli;

    fn page(words: &[&str]) -> String {
        let command = words
            .iter()
            .fold(definition(), |command, word| command.find_subcommand(word).cloned().expect("a command"));
        manual(command).expect("a page")
    }

    #[test]
    fn every_page_says_where_to_go_on() {
        let names: BTreeSet<String> = pages(definition())
            .iter()
            .map(|page| page.get_display_name().unwrap_or("ringtgt").to_owned())
            .collect();
        for command in pages(definition()) {
            let name = command.get_display_name().unwrap_or("ringtgt").to_owned();
            let page = manual(command).expect("a page");
            let (_, last) = page.split_once(".SH SEE ALSO\n").expect("the section");
            assert!(page.contains("\n.SH FILES\n.TP\n.B /etc/ringtgt/ringtgt.toml\n"), "{name}");
            let named: Vec<String> =
                last.trim().replace('\\', "").split(", ").map(ToOwned::to_owned).collect();
            let there = |page: &String| {
                names.contains(page.trim_end_matches("(8)")) || page.ends_with("(5)") || page.ends_with("(7)")
            };
            assert!(named.iter().all(there) && !named.contains(&format!("{name}(8)")), "{name}: {named:?}");
            assert!(name == "ringtgt" || named.len() > 3, "{name} stands alone: {named:?}");
        }
    }

    #[test]
    fn the_first_page_says_what_holds_for_all() {
        let page = page(&[]);
        let at = |section: &str| {
            page.find(&format!("\n.SH {section}\n")).unwrap_or_else(|| panic!("{section}: {page}"))
        };
        let order = ["SYNOPSIS", "EXIT STATUS", "SIGNALS", "FILES", "EXAMPLES", "SEE ALSO"].map(at);
        assert!(order.is_sorted(), "{order:?}");
        assert!(page.contains("\n.TP\n.B ringtgt serve disk.img:1G\nMakes"), "{page}");
    }

    #[test]
    fn the_examples_are_understood() {
        let ours = EXAMPLES.iter().filter(|(line, _)| line.starts_with("ringtgt "));
        ours.for_each(|(line, _)| drop(Cli::try_parse_from(line.split(' ')).expect(line)));
    }

    #[test]
    fn what_is_a_table_in_the_help_is_a_list_in_the_page() {
        let page = page(&["serve"]);
        let list = "and so on\n.RS\n.TP\n\\fBPATH\\fR\na block device or a file\n.TP\n\\fBPATH:SIZE\\fR\n";
        assert!(page.contains(list), "{page}");
        assert!(page.contains("reads are zeroes\n.RE\n.IP\nSTOREs and \\-\\-cdrom"), "{page}");
    }
}

//! A shell on a terminal, from a pipe, or for one line.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Editor, Helper, Highlighter, Hinter, Validator};
use serde_json::json;

use super::arriving::Arriving;
use super::backend::Kept;
use super::complete::complete;
use super::line::Line;
use super::prefs::{self, Prefs};
use super::tree::Style;
use super::{Host, Next, Shell, addresses, device, settings, verbs};
use crate::cli::{FAILED, UNREADABLE, complain, say};

/// Columns of a line where nobody says how many there are.
const COLUMNS: usize = 80;

/// Lines that are remembered.
const MOST_HISTORY: usize = 1000;

/// Where lines come from.
#[derive(Debug)]
pub(in crate::cli) enum Mode {
    /// Standard input: typed when it is a terminal.
    Input,
    /// This one only.
    Once(Vec<String>),
    /// This one only, answered in JSON if so asked.
    Command(Vec<String>, bool),
}

impl Mode {
    /// Whether what is loaded must stay true until the end: there is one change, and it is saved at once.
    fn is_one_change(&self) -> bool {
        match self {
            Self::Input => false,
            Self::Once(words) | Self::Command(words, _) => {
                words.iter().flat_map(|word| word.split_whitespace()).any(verbs::is_change)
            }
        }
    }
}

/// Runs a shell over a configuration file, and the daemon that serves it, which is asked at `socket` if that is said.
pub(in crate::cli) fn run(config: &Path, socket: Option<&Path>, mode: Mode) -> ExitCode {
    let shell = match open(config, socket, mode.is_one_change()) {
        Ok(shell) => shell,
        Err(error) => {
            complain(&format!("{}\n", error.trim_end()));
            return ExitCode::from(UNREADABLE);
        }
    };
    // The process ends with it: nobody needs it taken apart.
    let mut shell = ManuallyDrop::new(shell);
    let done = match mode {
        // A whole line as one argument, as it would be typed, or its words.
        Mode::Once(words) if words.len() == 1 => {
            Line::parse(&words[0]).and_then(|line| once(&mut shell, line, false))
        }
        Mode::Once(words) => once(&mut shell, Line::of_words(words), false),
        Mode::Command(words, json) => once(&mut shell, Line::of_words(words), json),
        Mode::Input if std::io::stdin().is_terminal() => talk(ManuallyDrop::into_inner(shell)),
        Mode::Input => {
            Arriving::on_input().map_err(|e| e.to_string()).and_then(|input| obey(&mut shell, input))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{}\n", error.trim_end()));
            ExitCode::from(FAILED)
        }
    }
}

fn open(config: &Path, socket: Option<&Path>, alone: bool) -> Result<Shell, String> {
    let file = prefs::dir().map(|dir| dir.join("shell.toml"));
    let (prefs, file) = liked(file);
    let host = Host {
        look: device::look,
        block_devices: device::block_devices,
        addresses: addresses::addresses,
        name: || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
    };
    let mut kept = Kept::new(config.to_owned(), socket.map(Path::to_owned));
    if alone {
        kept.lock()?;
    }
    let mut shell = Shell::open(Box::new(kept), host, prefs, style())?;
    shell.prefs_file = file;
    Ok(shell)
}

/// What this user likes, and where that is kept. A file that cannot be read is left as it is, and keeps nobody from his
/// work.
fn liked(file: Option<PathBuf>) -> (Prefs, Option<PathBuf>) {
    match file.as_deref().map(Prefs::load) {
        Some(Ok(prefs)) => (prefs, file),
        Some(Err(error)) => {
            complain(&format!(
                "Warning: {error}; the usual preferences count, and changes of them are not kept\n"
            ));
            (Prefs::default(), None)
        }
        None => (Prefs::default(), None),
    }
}

fn style() -> Style {
    let terminal = std::io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    Style { width: columns() - 1, colour }
}

fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let real = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    said.or_else(real).unwrap_or(COLUMNS).max(20)
}

impl Shell {
    /// Prints what there is to print.
    fn flush(&mut self) {
        say(&std::mem::take(&mut self.said));
    }

    /// What a script must know of what it sees.
    fn note(&self) {
        if self.differs() {
            complain(&format!("{}\n", self.standing()));
        }
    }

    /// Nothing is shown of a file that is not there, whose name may be mistyped.
    fn note_absence(&self) {
        let file = self.backend.file();
        if !self.backend.standing().is_live() && !file.exists() {
            complain(&format!("{} is not there yet: the first change makes it\n", file.display()));
        }
    }

    /// What a script must know of what it has changed: that nobody serves it.
    fn note_change(&self) {
        let standing = self.backend.standing();
        if self.changed && !standing.is_live() {
            complain(&format!("{}\n", self.standing()));
        }
    }

    /// What has become of changes that are not saved, when a line could not be done.
    fn unsaved(&self) -> &'static str {
        // A daemon that has ended meanwhile serves nothing.
        let is_served = || self.backend.ask("version", json!({})).is_ok();
        match self.dirty {
            false => "",
            true if is_served() => "\nwhat was changed before it is served, but not saved",
            true => "\nwhat was changed before it is not saved",
        }
    }

    /// What somebody at a terminal is told first.
    fn greet(&mut self) {
        self.say(format!("ringtgt shell {}; `help` lists the commands.", env!("CARGO_PKG_VERSION")));
        self.say(self.standing());
        self.flush();
    }
}

/// One line, saved at once: there is no other chance.
fn once(shell: &mut Shell, line: Line, json: bool) -> Result<(), String> {
    if !line.words.iter().any(|word| verbs::is_change(word)) {
        shell.note();
        shell.note_absence();
    }
    shell.saves_at_once = true;
    let done = if json {
        shell.json(line).map(|answer| shell.said = format!("{answer:#}\n"))
    } else {
        shell.run(line).map(|_| ())
    };
    let done = done.and_then(|()| match (shell.dirty, json) {
        (true, true) => shell.save(None).map(|_| ()),
        (true, false) => shell.saveconfig(None),
        (false, _) => Ok(()),
    });
    shell.flush();
    if done.is_ok() {
        shell.note_change();
    }
    let served = shell.dirty && shell.backend.standing().is_live();
    done.map_err(
        |error| if served { format!("{error}\nwhat was changed is served, but not saved") } else { error },
    )
}

/// Lines until the end or the first mistake, after which nothing is saved that was not before.
fn obey(shell: &mut Shell, mut input: Arriving) -> Result<(), String> {
    shell.note();
    let mut before = 0;
    loop {
        let lines = input.next().map_err(|error| error.to_string())?;
        match shell.lines(&lines, say) {
            Ok(Next::Go) if !lines.is_empty() => before += lines.len(),
            Ok(_) => break,
            Err((at, error)) => return Err(format!("line {}: {error}{}", before + at + 1, shell.unsaved())),
        }
    }
    let finished = shell.not_at_the_end().map_or_else(|| shell.finish(), Err);
    shell.flush();
    shell.note_change();
    finished
}

#[derive(Helper, Hinter, Highlighter, Validator)]
struct Completer(Rc<RefCell<Shell>>);

impl rustyline::completion::Completer for Completer {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(&self.0.borrow(), &line[..at]))
    }
}

/// Lines from somebody at a terminal, until he leaves.
fn talk(shell: Shell) -> Result<(), String> {
    let history = prefs::dir().map(|dir| dir.join("history"));
    let shell = Rc::new(RefCell::new(shell));
    let config = rustyline::Config::builder().completion_type(CompletionType::List);
    let config = config.max_history_size(MOST_HISTORY).map_err(|e| e.to_string())?.build();
    let mut editor = Editor::<Completer, FileHistory>::with_config(config).map_err(|e| e.to_string())?;
    editor.set_helper(Some(Completer(Rc::clone(&shell))));
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }
    let talked = converse(&shell, &mut editor);
    if let Some(file) = &history {
        keep_history(&mut editor, file);
    }
    talked
}

fn converse(shell: &Rc<RefCell<Shell>>, editor: &mut Editor<Completer, FileHistory>) -> Result<(), String> {
    shell.borrow_mut().greet();
    loop {
        let prompt = format!("{}> ", shell.borrow().path());
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => "exit".into(),
            Err(error) => return Err(error.to_string()),
        };
        if !line.trim().is_empty() && !has_secret(&line) {
            let _ = editor.add_history_entry(line.trim());
        }
        let mut shell = shell.borrow_mut();
        shell.follow();
        let next = shell.line(&line);
        let next = match next {
            // What cannot be saved keeps one here: it would be lost.
            Ok(Next::Exit) => shell.finish().map(|()| Next::Exit),
            next => next,
        };
        shell.flush();
        match next {
            Ok(Next::Go) => {}
            Ok(Next::Exit) => return Ok(()),
            Err(error) => complain(&format!("{error}\n")),
        }
    }
}

/// Such a line is not remembered: one that names a secret, or that sets what has some, however it is mistyped.
fn has_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "'\"".contains(c)).collect();
    let sets = words.contains(&"set") && settings::SECRET_GROUPS.iter().any(|group| words.contains(group));
    sets || ["password", "secret"].iter().any(|word| line.contains(word))
}

/// Adds the lines of this shell to those of others.
fn keep_history(editor: &mut Editor<Completer, FileHistory>, file: &PathBuf) {
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    if let Err(error) = made.map_err(ReadlineError::from).and_then(|()| editor.append_history(file)) {
        complain(&format!("{}: the history cannot be kept: {error}\n", file.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_secrets_are_not_remembered() {
        assert!(has_secret("set auth password=x") && has_secret("set auth mutual_password=x"));
        assert!(has_secret("set auth PASSWORD=x") && has_secret("/iscsi set 'discovery_auth' passwort=x"));
        assert!(!has_secret("get auth userid") && !has_secret("set attribute alias=x"));
    }
}

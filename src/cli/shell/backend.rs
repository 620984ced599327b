//! Where the configuration comes from and goes to: a file, and the daemon that serves it, if one does.
//!
//! What is edited is what the daemon serves, and every edit is served before it is answered; the file is written when
//! somebody saves. Where no daemon runs, or it serves another file, what is edited is the file.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::{Daemon, Found};
use crate::admin::config;
use crate::admin::edit::{self, Document};
use crate::cli::complain;

/// How long another shell is waited for in silence, and how often it is looked whether it is done.
const SILENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// Who serves what is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody that answers at these sockets.
    Nobody(Vec<PathBuf>),
    /// A daemon serves another file, or none.
    Other(String),
    /// A daemon that listens at `socket`. `differs`: the file means something else than what is served.
    Live { socket: PathBuf, differs: bool },
    /// A daemon may, but it cannot be asked; why.
    Unknown(String),
}

/// What keeps the configuration that is edited.
pub(super) trait Backend {
    /// The file in which it is saved.
    fn file(&self) -> &Path;
    /// Its text as it is now; `kept`: what was checked last.
    fn load(&mut self, kept: &mut config::Kept) -> Result<String, String>;
    /// What was loaded could be read, and is what is edited from now on.
    fn taken(&mut self);
    /// Has an edit that was checked take effect; what is to be told of that.
    fn edited(&mut self, text: &str) -> Result<Vec<String>, String>;
    /// Keeps it: where [`file`](Self::file) says, or elsewhere; and so many of what was there before.
    fn save(&mut self, text: &str, elsewhere: Option<&Path>, backups: usize) -> Result<PathBuf, String>;
    /// Who serves it.
    fn standing(&self) -> Standing {
        Standing::default()
    }
    /// Whether the file says something else than what is served, and somebody else has written that.
    fn has_other_text(&self) -> bool {
        false
    }
    /// Asks the daemon that serves it.
    fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        let _ = (method, params);
        Err("no daemon serves this configuration".into())
    }
    /// Whether the daemon serves something else than what was loaded or edited last.
    fn is_outrun(&self) -> bool {
        false
    }
}

/// A file, with the daemon that serves it.
pub(super) struct Kept {
    file: PathBuf,
    /// Where the daemon is asked, if somebody has said that.
    socket: Option<PathBuf>,
    now: State,
    /// What was loaded and is not taken yet.
    next: State,
    /// Held while what is loaded must stay true until it is saved.
    lock: Option<File>,
}

/// What is edited, as it was loaded or written last.
#[derive(Default)]
struct State {
    /// What the file says.
    saved: String,
    daemon: Option<Daemon>,
    standing: Standing,
    /// It says something else than what is served, and was not written here.
    is_other: bool,
}

impl Kept {
    pub(super) fn new(file: PathBuf, socket: Option<PathBuf>) -> Self {
        Self { file, socket, now: State::default(), next: State::default(), lock: None }
    }

    /// Waits until no other shell changes the file, and keeps them from it as long as this one is there.
    pub(super) fn lock(&mut self) -> Result<(), String> {
        self.lock = self.locked()?;
        Ok(())
    }

    /// The directory, locked: the file itself is another one after every change.
    fn locked(&self) -> Result<Option<File>, String> {
        let file = fs::canonicalize(&self.file).or_else(|_| std::path::absolute(&self.file));
        let file = file.map_err(|e| format!("{}: {e}", self.file.display()))?;
        let Some(dir) = file.parent() else { return Ok(None) };
        let lock = fs::create_dir_all(dir).and_then(|()| File::open(dir));
        let lock = lock.and_then(|dir| self.wait_for(&dir).map(|()| dir));
        lock.map(Some).map_err(|e| format!("{}: cannot be locked: {e}", dir.display()))
    }

    /// Waits for the lock; whoever waits for longer than a moment is told for what.
    fn wait_for(&self, dir: &File) -> io::Result<()> {
        let patient = Instant::now() + SILENCE;
        while Instant::now() < patient {
            match dir.try_lock() {
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK),
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        let file = self.file.display();
        complain(&format!("waiting for another ringtgt that changes {file}, or others beside it\n"));
        dir.lock()
    }

    fn read(&self) -> Result<String, String> {
        match fs::read_to_string(&self.file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|e| format!("{}: cannot be read: {e}", self.file.display())),
        }
    }

    /// The file is written as long as nobody else has.
    fn replace(&mut self, text: &str, backups: usize) -> Result<(), String> {
        let file = self.file.display();
        if ![self.now.saved.as_str(), text].contains(&self.read()?.as_str()) {
            return Err(format!(
                "{file} was changed by somebody else since it was read, and is left as it is; \
                 `saveconfig OTHER_FILE` keeps what was done here, `refresh` forgets it"
            ));
        }
        edit::save_keeping(&self.file, text, backups).map_err(|e| format!("{file}: cannot be saved: {e}"))?;
        text.clone_into(&mut self.now.saved);
        self.now.is_other = false;
        if let Standing::Live { differs, .. } = &mut self.now.standing {
            *differs = false;
        }
        Ok(())
    }
}

impl Backend for Kept {
    fn file(&self) -> &Path {
        &self.file
    }

    fn load(&mut self, kept: &mut config::Kept) -> Result<String, String> {
        let saved = self.read()?;
        let found = Daemon::find(&self.file, &saved, self.socket.as_deref(), kept)?;
        let (daemon, standing) = match found {
            Found::Serving(daemon) => {
                let (socket, differs) = (daemon.socket().to_owned(), daemon.differs(&saved));
                (Some(daemon), Standing::Live { socket, differs })
            }
            Found::Not(standing) => (None, standing),
        };
        let text = match (&daemon, &standing) {
            // It means the same, and has the comments of whoever has written it last.
            (Some(daemon), Standing::Live { differs: true, .. }) => daemon.text().to_owned(),
            _ => saved.clone(),
        };
        // Of an empty file nothing can be lost.
        let differs = matches!(standing, Standing::Live { differs: true, .. });
        let is_other = differs && (self.now.is_other || saved != self.now.saved);
        self.next = State { saved, daemon, standing, is_other };
        Ok(text)
    }

    fn taken(&mut self) {
        self.now = std::mem::take(&mut self.next);
    }

    fn edited(&mut self, text: &str) -> Result<Vec<String>, String> {
        match &mut self.now {
            State { daemon: Some(daemon), .. } => daemon.serve(text),
            // It may serve this very file, and would not know.
            State { standing: Standing::Unknown(why), .. } => Err(why.clone()),
            _ => Ok(Vec::new()),
        }
    }

    fn save(&mut self, text: &str, elsewhere: Option<&Path>, backups: usize) -> Result<PathBuf, String> {
        let Some(other) = elsewhere else {
            let _lock = if self.lock.is_none() { self.locked()? } else { None };
            return self.replace(text, backups).map(|()| self.file.clone());
        };
        keep_foreign(other)?;
        edit::save_keeping(other, text, backups)
            .map_err(|e| format!("{}: cannot be saved: {e}", other.display()))?;
        Ok(other.to_owned())
    }

    fn standing(&self) -> Standing {
        self.now.standing.clone()
    }

    fn has_other_text(&self) -> bool {
        self.now.is_other
    }

    fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        let none = || "no daemon serves this configuration".to_owned();
        self.now.daemon.as_ref().ok_or_else(none)?.ask(method, params)
    }

    fn is_outrun(&self) -> bool {
        self.now.daemon.as_ref().is_some_and(Daemon::is_outrun)
    }
}

/// What is there and is no configuration is somebody else's.
fn keep_foreign(file: &Path) -> Result<(), String> {
    if !file.is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(file);
    if text.is_ok_and(|text| Document::parse(&text).is_ok_and(|doc| doc.is_configuration())) {
        return Ok(());
    }
    Err(format!(
        "{}: it is left as it is, because it is no configuration of ringtgt; name another file, or remove it first \
         (`ringtgt export lio` writes what targetcli reads)",
        file.display()
    ))
}

impl Default for Standing {
    fn default() -> Self {
        Self::Nobody(Vec::new())
    }
}

impl Standing {
    /// What whoever begins to edit `file` must know.
    pub(super) fn tell(&self, file: &Path) -> String {
        let file = file.display();
        match self {
            Self::Nobody(sockets) => {
                let asked: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
                let at = if asked.is_empty() { String::new() } else { format!(" at {}", asked.join(" or ")) };
                format!("No daemon answers{at}: what is changed here is served when one starts with {file}.")
            }
            Self::Other(what) => format!("{what}: what is changed here changes {file} only."),
            Self::Unknown(why) => format!("{why}\nUntil the daemon can be asked, {file} is only shown."),
            Self::Live { socket, differs: false } => {
                format!("{file} is served ({}): every change takes effect at once.", socket.display())
            }
            Self::Live { differs: true, .. } => format!(
                "What is served differs from {file}: `ringtgt diff {file}` tells how. What is changed here is what is \
                 served; `saveconfig` replaces the file, a reload serves it."
            ),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }
}

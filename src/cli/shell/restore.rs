//! `restoreconfig`, and what keeps paths what they are in a file that lies elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use super::verbs::Values;
use super::{Shell, dir_of};
use crate::admin::edit::{self, Document};
use crate::cli::real;

/// What is said of settings of portals that go with their last group.
pub(super) const IDLE: &str = "Deleted, because no group has them any more";

impl Shell {
    pub(super) fn restoreconfig(&mut self, values: &Values) -> Result<(), String> {
        let file: PathBuf = values.get("savefile").map_or_else(|| self.backend.file().to_owned(), Into::into);
        let (saved, moved) = self.read_saved(&file)?;
        let clear = values.flag("clear_existing")?.unwrap_or(false);
        match (values.get("target"), values.get("storage_object")) {
            (None, None) => self.restore_all(&saved, clear)?,
            (target, store) => {
                let store = store.map(|said| said.rsplit('/').next().unwrap_or(said));
                self.restore_some(&saved, clear, target, store)?;
            }
        }
        self.say_listed(&format!("Its relative paths start at {}", dir_of(&file).display()), &moved);
        self.say(format!("Configuration restored from {}", file.display()));
        Ok(())
    }

    /// What that file says, as it is meant here, and which paths of it are written otherwise therefore.
    fn read_saved(&self, file: &Path) -> Result<(Document, Vec<String>), String> {
        let text =
            fs::read_to_string(file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
        let mut saved = Document::read(&file.display().to_string(), &text)?;
        let moved = match self.is_meant_here(file) {
            true => Vec::new(),
            false => saved.anchor(&dir_of(file)).map_err(|e| e.to_string())?,
        };
        Ok((saved, moved))
    }

    /// What another file is to say so that it means there what is edited here.
    pub(super) fn text_for(&self, file: &Path) -> Result<String, String> {
        if self.is_meant_here(file) {
            return Ok(self.text.clone());
        }
        let mut copy = self.doc.clone();
        copy.anchor(&dir_of(self.backend.file())).map_err(|e| e.to_string())?;
        Ok(copy.text())
    }

    /// Whether relative paths in that file mean what they mean in the one that is edited: beside it, and in its backups.
    fn is_meant_here(&self, file: &Path) -> bool {
        let (own, dir) = (self.backend.file(), real(&dir_of(file)));
        dir == real(&dir_of(own)) || dir == real(&edit::backup_dir(&real(own)))
    }

    fn restore_all(&mut self, saved: &Document, clear: bool) -> Result<(), String> {
        let (mut left, mut other_server) = (Vec::new(), false);
        let asked = self.config.discovery.auth.required();
        self.edit(|doc| {
            other_server = doc.has_other_server(saved);
            match clear {
                true => doc.replace_all(saved)?,
                false => left = doc.take_all(saved)?,
            }
            Ok(())
        })?;
        self.say_listed("Left as they are, because they are there already", &left);
        if other_server {
            self.say("Left out, because it says how a daemon runs, and not what it serves: [server]");
        }
        if asked && !self.config.discovery.auth.required() {
            self.say("Whoever asks which targets there are is asked for no credentials any more.");
        }
        Ok(())
    }

    /// One target, one backstore or both. Everything else stays: who may ask for targets must not become anybody.
    fn restore_some(
        &mut self,
        saved: &Document,
        replace: bool,
        target: Option<&str>,
        store: Option<&str>,
    ) -> Result<(), String> {
        let (mut left, mut dropped) = (Vec::new(), Vec::new());
        self.edit(|doc| {
            left = doc.take_from(saved, store, target, replace)?;
            dropped = doc.drop_idle_portals();
            Ok(())
        })?;
        self.say_listed("Left as they are, because they are there already", &left);
        self.say_listed(IDLE, &dropped);
        self.say_listed("Left out, because only what was named is restored", &saved.beside());
        Ok(())
    }

    pub(super) fn say_listed(&mut self, what: &str, names: &[String]) {
        if !names.is_empty() {
            self.say(format!("{what}: {}", names.join(", ")));
        }
    }
}

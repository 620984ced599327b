//! `restoreconfig`.

use super::Shell;
use super::verbs::Values;
use crate::admin::edit::Document;

/// What is said of settings of portals that go with their last group.
pub(super) const IDLE: &str = "Deleted, because no group has them any more";

impl Shell {
    pub(super) fn restoreconfig(&mut self, values: &Values) -> Result<(), String> {
        let file = values.get("savefile").map_or_else(|| self.backend.file().to_owned(), Into::into);
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
        let saved = Document::read(&file.display().to_string(), &text)?;
        let clear = values.flag("clear_existing")?.unwrap_or(false);
        match (values.get("target"), values.get("storage_object")) {
            (None, None) => self.restore_all(saved, clear)?,
            (target, store) => {
                let store = store.map(|said| said.rsplit('/').next().unwrap_or(said));
                self.restore_some(&saved, clear, target, store)?;
            }
        }
        self.say(format!("Configuration restored from {}", file.display()));
        Ok(())
    }

    fn restore_all(&mut self, saved: Document, clear: bool) -> Result<(), String> {
        let mut left = Vec::new();
        self.edit(|doc| {
            if clear {
                *doc = saved;
            } else {
                left = doc.take_all(&saved)?;
            }
            Ok(())
        })?;
        self.say_listed("Left as they are, because they are there already", &left);
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

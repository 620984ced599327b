//! Where the configuration comes from and goes to.

use std::io;
use std::path::{Path, PathBuf};

use crate::admin::edit;

/// What keeps the configuration that is edited.
pub(super) trait Backend {
    /// The file in which it is saved.
    fn file(&self) -> &Path;
    /// Its text as it is now.
    fn load(&mut self) -> Result<String, String>;
    /// What was loaded could be read, and is what is edited from now on.
    fn taken(&mut self, text: &str);
    /// An edit was made, and checked.
    fn edited(&mut self, text: &str) -> Result<(), String>;
    /// Keeps it: where [`file`](Self::file) says, or elsewhere.
    fn save(&mut self, text: &str, elsewhere: Option<&Path>) -> Result<PathBuf, String>;
}

/// A file, which a daemon reads when it starts, and when it is told to.
pub(super) struct Offline {
    file: PathBuf,
    /// What the file said when it was last taken or written.
    known: String,
}

impl Offline {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, known: String::new() }
    }

    fn read(&self) -> Result<String, String> {
        match std::fs::read_to_string(&self.file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|e| format!("{}: cannot be read: {e}", self.file.display())),
        }
    }
}

impl Backend for Offline {
    fn file(&self) -> &Path {
        &self.file
    }

    fn load(&mut self) -> Result<String, String> {
        self.read()
    }

    fn taken(&mut self, text: &str) {
        text.clone_into(&mut self.known);
    }

    fn edited(&mut self, _text: &str) -> Result<(), String> {
        Ok(())
    }

    fn save(&mut self, text: &str, elsewhere: Option<&Path>) -> Result<PathBuf, String> {
        let file = elsewhere.unwrap_or(&self.file);
        if elsewhere.is_none() && self.read()? != self.known {
            let file = file.display();
            return Err(format!(
                "{file} was changed by somebody else since it was read, and is left as it is; \
                 `saveconfig OTHER_FILE` keeps what was done here, `refresh` forgets it"
            ));
        }
        edit::save(file, text).map_err(|e| format!("{}: cannot be saved: {e}", file.display()))?;
        let saved = file.to_owned();
        if elsewhere.is_none() {
            text.clone_into(&mut self.known);
        }
        Ok(saved)
    }
}

//! Changes of a configuration, made in its text.
//!
//! Owns: the text of a configuration while it is edited, and how it is saved. Promises: comments and the order of what
//! was written by hand stay; an edit that the checker would not take leaves the text as it was; a saved file is whole,
//! and readable by its owner only. Refuses to know: what people type, and what a running daemon makes of it.

mod elsewhere;
mod objects;
mod save;
mod tables;

#[cfg(test)]
mod tests;

pub use objects::{Door, Owner, Scalar};
pub use save::{BACKUPS, backup_dir, save, save_keeping};

use std::path::Path;

use toml_edit::DocumentMut;

use super::config::{self, Config, Kept, Report, Source};

/// The permissions that a saved file gets, by which secrets in it are judged.
const SAVED_MODE: u32 = 0o600;

/// What there can be in a configuration: what is said of the daemon itself, and objects.
const SERVER: &str = "server";
const OBJECTS: [&str; 5] = ["discovery", "backstore", "portal", "loopback", "target"];

/// Why an edit was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is about something that is not there, or there already.
    #[error("{0}")]
    Refused(String),
    /// The checker would not take the result.
    #[error("{}", reasons(.0))]
    Invalid(Report),
}

/// The errors of a report, without places in a text that nobody has seen.
fn reasons(report: &Report) -> String {
    let errors = report.problems().iter().filter(|p| p.severity == config::Severity::Error);
    errors.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A configuration as text, in which objects can be made, changed and deleted.
#[derive(Clone, Debug, Default)]
pub struct Document {
    doc: DocumentMut,
    heading: String,
}

impl Document {
    /// The document of `text`.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn parse(text: &str) -> Result<Self, EditError> {
        // Lines end in one way: the heading must be found again in what is written.
        let text = &text.replace("\r\n", "\n");
        let mut doc: DocumentMut =
            text.parse().map_err(|e: toml_edit::TomlError| EditError::Refused(e.message().to_owned()))?;
        let heading = heading(text);
        if doc.is_empty() {
            doc.set_trailing(text.get(heading.len()..).unwrap_or_default().to_owned());
        }
        Ok(Self { doc, heading })
    }

    /// The document of the text of a file.
    ///
    /// # Errors
    /// It is no TOML: what is wrong with it and where.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|refused| {
            match config::parse(Source::new(name, text), Path::new("/"), Some(SAVED_MODE)) {
                Err(report) => report.to_string(),
                Ok(_) => format!("{name}: {refused}"),
            }
        })
    }

    /// The text of this document.
    pub fn text(&self) -> String {
        let text = self.doc.to_string();
        let text = if self.heading.is_empty() { text.trim_start_matches('\n') } else { &text };
        if text.starts_with(&self.heading) { text.to_owned() } else { format!("{}{text}", self.heading) }
    }
}

/// What the checker makes of a text that is to be saved. `dir` is where its relative paths start, `name` what it is called
/// in reports; `kept` what was checked last.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(text: &str, kept: &mut Kept, name: &str, dir: &Path) -> Result<(Config, Report), EditError> {
    kept.read(Source::new(name, text), dir, Some(SAVED_MODE)).map_err(EditError::Invalid)
}

/// The comments at the top of a file that are about the whole of it: up to the last empty line before what they could
/// be about. They stay at the top, whatever is written or deleted below them.
fn heading(text: &str) -> String {
    let (mut end, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        match line.trim() {
            "" => end = at,
            comment if comment.starts_with('#') => {}
            _ => return text[..end].to_owned(),
        }
    }
    text.to_owned()
}

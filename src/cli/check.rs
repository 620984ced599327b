//! `ringtgt check FILE`.

use std::path::Path;
use std::process::ExitCode;

use super::{FAILED, UNREADABLE, complain, say};
use crate::admin::config::{self, Config, LoadError};

/// Checks the file and prints what is wrong with it.
pub(super) fn run(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok((config, report)) => {
            say(&report.to_string());
            say(&format!("{}: {}\n", file.display(), verdict(&config, &report.summary())));
            ExitCode::SUCCESS
        }
        Err(LoadError::Invalid(report)) => {
            say(&report.to_string());
            say(&format!("{}: {}\n", file.display(), report.summary()));
            ExitCode::from(FAILED)
        }
        Err(error) => {
            complain(&format!("{error}\n"));
            ExitCode::from(UNREADABLE)
        }
    }
}

fn verdict(config: &Config, warnings: &str) -> String {
    let targets = config.targets.len();
    let mut text =
        format!("ok: {} and {}", count(targets, "target"), count(config.stores.len(), "backstore"));
    if !warnings.is_empty() {
        text.push_str(&format!(", {warnings}"));
    }
    text
}

fn count(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

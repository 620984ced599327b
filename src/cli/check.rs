//! `ringtgt check FILE`.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::control::say_json;
use super::{FAILED, UNREADABLE, complain, say};
use crate::admin::config::{self, Config, LoadError, Report};

/// Checks the file and prints what is wrong with it.
pub(super) fn run(file: &Path, as_json: bool) -> ExitCode {
    let (config, report) = match config::load(file) {
        Ok((config, report)) => (Some(config), report),
        Err(LoadError::Invalid(report)) => (None, report),
        Err(error) => {
            complain(&format!("{error}\n"));
            return ExitCode::from(UNREADABLE);
        }
    };
    match as_json {
        true => tell_programs(file, config.as_ref(), &report),
        false => tell_people(file, config.as_ref(), &report),
    }
    if config.is_some() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn tell_programs(file: &Path, config: Option<&Config>, report: &Report) {
    say_json(json!({
        "file": file.display().to_string(),
        "right": config.is_some(),
        "targets": config.map(|config| config.targets.len()),
        "backstores": config.map(|config| config.stores.len()),
        "problems": report.to_json(),
    }));
}

fn tell_people(file: &Path, config: Option<&Config>, report: &Report) {
    let summary = report.summary();
    let verdict = config.map(|config| verdict(config, &summary)).unwrap_or(summary);
    say(&format!("{report}{}: {verdict}\n", file.display()));
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

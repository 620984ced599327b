//! `ringtgt bench`: a load generator for any iSCSI target.
//!
//! Owns: what is asked for ([`options`], [`url`]), one measurement after the other ([`step`]), its threads
//! ([`worker`]) and sessions ([`lane`]), what they do ([`places`], [`pattern`]), what is counted ([`tally`]) and told
//! ([`report`], [`plot`]). The protocol is [`initiator`](crate::initiator)'s, the ring [`ring`](crate::ring)'s: this is
//! where the two meet, because only the command line may know both. Promises: an error tells what the target did;
//! a secret is never shown. Refuses to know: who the target is.
//!
//! ```text
//!   main thread:  steps ─► threads log in ─► one window for all ─► table, JSON, picture
//!   each thread:  ring ◄─► sessions: places ─► commands ─► socket ─► answers ─► tally
//! ```

mod lane;
pub(super) mod options;
mod pattern;
mod places;
mod plot;
mod report;
mod step;
mod tally;
mod url;
mod worker;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use secrecy::SecretString;

use self::options::Options;
use self::report::Report;
use self::step::{Step, Target};
use super::{FAILED, complain, say};
use crate::admin::secret;
use crate::sys;
use crate::target::Credential;

/// Where a secret can be that must not be seen in the list of processes.
const SECRET: &str = "RINGTGT_BENCH_SECRET";

/// Measures all that is asked for, and tells it.
pub(super) fn run(options: &Options) -> ExitCode {
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}\n"));
            ExitCode::from(FAILED)
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    // With the usual limit there is room for a thousand sessions; what cannot be raised shows when they are made.
    let _ = sys::raise_open_files();
    let target = Target::find(options, credential(options)?)?;
    let mut report = Report::new(options, &target);
    let mut outcome = Ok(());
    for step in steps(options) {
        match step::measure(options, &target, step) {
            Ok(measured) => report.add(&measured),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    // What was measured before something failed is told all the same.
    if outcome.is_ok() || !report.runs.is_empty() {
        tell(options, &report)?;
    }
    outcome
}

/// All combinations.
fn steps(options: &Options) -> impl Iterator<Item = Step> + '_ {
    options.bs.iter().flat_map(move |&bs| {
        let depths = move |sessions| options.qd.iter().map(move |&qd| Step { bs, qd, sessions });
        options.sessions.iter().flat_map(move |&sessions| depths(sessions))
    })
}

fn tell(options: &Options, report: &Report) -> Result<()> {
    let to_stdout = options.json.as_deref() == Some(Path::new("-"));
    say(&if to_stdout { report.json() } else { report::table(report) });
    if let Some(path) = options.json.as_deref().filter(|_| !to_stdout) {
        write(path, &report.json())?;
    }
    let Some(path) = &options.plot else { return Ok(()) };
    let is_page = path.extension().is_some_and(|e| e == "html");
    write(path, &if is_page { plot::html(report) } else { plot::svg(report) })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The user of the URL with the secret, wherever that is.
fn credential(options: &Options) -> Result<Option<Credential>> {
    let from_file = options.secret_file.as_deref().map(read_secret).transpose()?;
    let from_environment = || env::var(SECRET).ok().map(SecretString::from);
    let Some(user) = options.url.user.clone() else {
        if from_file.is_some() {
            bail!("--secret-file is for the user of the URL, and that names none: iscsi://USER@…");
        }
        return Ok(None);
    };
    let secret = from_file.or_else(|| options.url.secret.clone()).or_else(from_environment);
    let secret = secret.ok_or_else(|| {
        anyhow!("no secret for {user}: give --secret-file, or {SECRET} in the environment, or {user}%SECRET in the URL")
    })?;
    Ok(Some(Credential { user, secret }))
}

fn read_secret(path: &Path) -> Result<SecretString> {
    secret::read_file(path).map_err(|error| anyhow!("{}: {error}; {}", path.display(), error.remedy(path)))
}

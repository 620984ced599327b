//! The daemon that serves a configuration file, as far as a shell asks it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::backend::Standing;
use super::dir_of;
use crate::admin::config::{Kept, Source};
use crate::admin::difference::Edit;
use crate::admin::live::Plan;
use crate::admin::rpc::{CallError, Client, OTHER_TEXT, default_socket};
use crate::cli::{control, is_same_file};

/// A daemon that serves the file, and what it serves as far as is known here.
pub(super) struct Daemon {
    client: Client,
    file: PathBuf,
    text: String,
    /// The revision that the text is of.
    revision: RefCell<String>,
    /// What waits for the next start, and was told.
    told: HashSet<String>,
}

/// What there is to be found.
pub(super) enum Found {
    /// A daemon that serves the file.
    Serving(Daemon),
    /// None; what there is instead.
    Not(Standing),
}

impl Daemon {
    /// The daemon that serves `file`, which says `saved`: where `socket` says, or else where the file does, or where
    /// daemons usually are.
    pub(super) fn find(
        file: &Path,
        saved: &str,
        socket: Option<&Path>,
        kept: &mut Kept,
    ) -> Result<Found, String> {
        if let Some(socket) = socket {
            let client = Client::connect(socket).map_err(|error| explain(&error))?;
            return Self::of(client, file);
        }
        let sockets = sockets(file, saved, kept);
        let mut found = Found::Not(Standing::Nobody(sockets.clone()));
        for socket in sockets {
            let here = match Client::connect(&socket) {
                Ok(client) => Self::of(client, file)?,
                Err(error) if is_absence(&error) => continue,
                Err(error) if is_forbidden(&error) => Found::Not(Standing::Other(explain(&error))),
                Err(error) => Found::Not(Standing::Unknown(explain(&error))),
            };
            if matches!(here, Found::Serving(_)) {
                return Ok(here);
            }
            found = here;
        }
        Ok(found)
    }

    fn of(client: Client, file: &Path) -> Result<Found, String> {
        let got = client.call("config.get", json!({})).map_err(|error| explain(&error))?;
        let served = got["file"].as_str();
        if !served.is_some_and(|served| is_same_file(file, Path::new(served))) {
            let what = served.map_or_else(|| "no file".to_owned(), ToOwned::to_owned);
            let what = format!("The daemon that is running ({}) serves {what}", client.path().display());
            return Ok(Found::Not(Standing::Other(what)));
        }
        let text = got["toml"].as_str().unwrap_or_default().to_owned();
        let revision = RefCell::new(revision_of(&got).unwrap_or_default());
        let daemon = Self { client, file: file.to_owned(), text, revision, told: HashSet::new() };
        match got["dir"].as_str() {
            Some(dir) if !daemon.means_the_same_as_in(dir)? => Err(format!(
                "what is served was applied from {dir}, where its relative paths start, and they mean other disks where {} \
                 is; serve that again (`ringtgt reload`), or apply what has absolute paths",
                file.display()
            )),
            _ => Ok(Found::Serving(daemon)),
        }
    }

    /// Whether what it serves, if it stood in the file, meant the same as in that directory, whatever waits for the next
    /// start. What it cannot plan, a secret's file that is gone, say, is the daemon's word.
    fn means_the_same_as_in(&self, dir: &str) -> Result<bool, String> {
        let here = self.params(&self.text)?;
        let mut there = here.clone();
        there["dir"] = json!(dir);
        Ok(self.planned(here)?.is_like(&self.planned(there)?))
    }

    pub(super) fn socket(&self) -> &Path {
        self.client.path()
    }

    /// What it serves.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether `saved` means something else than what it serves.
    pub(super) fn differs(&self, saved: &str) -> bool {
        saved != self.text && !self.plan(saved).is_ok_and(|plan| plan.is_nothing())
    }

    /// Has it serve `text`, in the place of what was served when it was asked last; what is to be told of that.
    pub(super) fn serve(&mut self, text: &str) -> Result<Vec<String>, String> {
        let Edit { begin, end, toml } = Edit::of(&self.text, text);
        let mut params = self.params(&toml)?;
        (params["begin"], params["end"]) = (json!(begin), json!(end));
        let answer = match self.edit(&mut params) {
            // A store that is there again, say: that is written nowhere.
            Err(CallError::Fault(fault)) if fault.code == OTHER_TEXT && !self.is_outrun() => {
                self.edit(&mut params)
            }
            edited => edited,
        };
        let answer = answer.map_err(|error| explain(&error))?;
        self.revision.replace(revision_of(&answer).unwrap_or_default());
        text.clone_into(&mut self.text);
        let plan = plan_of(answer)?;
        let later = plan.next_start.into_iter().filter(|what| self.told.insert(what.clone()));
        Ok(later.chain(plan.warnings).collect())
    }

    /// Whether it serves something else by now. The text, which may be long, is fetched when there was a change.
    pub(super) fn is_outrun(&self) -> bool {
        let now = self.client.call("version", json!({})).ok().and_then(|version| revision_of(&version));
        if now.is_some_and(|now| now == *self.revision.borrow()) {
            return false;
        }
        let Ok(got) = self.client.call("config.get", json!({})) else { return false };
        let is_other = got["toml"].as_str().is_some_and(|text| text != self.text);
        if !is_other {
            self.revision.replace(revision_of(&got).unwrap_or_default());
        }
        is_other
    }

    pub(super) fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        self.client.call(method, params).map_err(|error| explain(&error))
    }

    /// What `text`, if it stood in the file, would change.
    fn plan(&self, text: &str) -> Result<Plan, String> {
        self.planned(self.params(text)?)
    }

    fn planned(&self, params: Value) -> Result<Plan, String> {
        plan_of(self.client.call("config.plan", params).map_err(|error| explain(&error))?)
    }

    /// Has a stretch written otherwise in what it serves, if that is still what it was.
    fn edit(&self, params: &mut Value) -> Result<Value, CallError> {
        params["revision"] = json!(*self.revision.borrow());
        self.client.call("config.edit", params.clone())
    }

    /// A text as one that stands in the file.
    fn params(&self, text: &str) -> Result<Value, String> {
        control::params(&self.file, text).map_err(|error| error.to_string())
    }
}

fn plan_of(answer: Value) -> Result<Plan, String> {
    serde_json::from_value(answer).map_err(|error| format!("the plan cannot be understood: {error}"))
}

/// Where a daemon that serves the file may listen. The file is read here: `kept` spares the next who reads it.
fn sockets(file: &Path, saved: &str, kept: &mut Kept) -> Vec<PathBuf> {
    let said = kept.read(Source::new(file.display().to_string(), saved), &dir_of(file), None);
    let said = said.ok().map(|(config, _)| config.server.control_socket());
    let mut sockets: Vec<PathBuf> = said.into_iter().chain([default_socket()]).collect();
    sockets.dedup();
    sockets
}

fn revision_of(answer: &Value) -> Option<String> {
    answer["revision"].as_str().map(ToOwned::to_owned)
}

fn is_absence(error: &CallError) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    matches!(error, CallError::Unreachable { error, .. } if kinds.contains(&error.kind()))
}

fn is_forbidden(error: &CallError) -> bool {
    matches!(error, CallError::Unreachable { error, .. } if error.kind() == io::ErrorKind::PermissionDenied)
}

/// Why it has not done what was asked, as a shell says it.
fn explain(error: &CallError) -> String {
    match error {
        CallError::Fault(fault) if fault.code == OTHER_TEXT => {
            "what is served was changed by somebody else since it was read, and nothing was done; `refresh` shows it"
                .into()
        }
        CallError::Fault(fault) => match fault.data["problems"].as_array() {
            Some(problems) => {
                let errors = problems.iter().filter(|problem| problem["severity"] == "error");
                errors.map(problem).collect::<Vec<_>>().join("\n")
            }
            None => fault.message.clone(),
        },
        error @ CallError::Unreachable { .. } => error.to_string(),
    }
}

/// What is wrong, without its place in a text that nobody has seen.
fn problem(problem: &Value) -> String {
    let said = ["what", "reason", "remedy"].map(|key| problem[key].as_str().unwrap_or_default());
    let said: Vec<&str> = said.into_iter().filter(|text| !text.is_empty()).collect();
    said.join("; ")
}

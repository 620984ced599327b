//! The commands that ask a running daemon: `apply`, `reload`, `diff`, `sessions`, `kick`, `drain`, `renegotiate`, `record`.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, BufRead, IsTerminal, stdin};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::args::{Apply, Daemon, Whom};
use super::{FAILED, UNREADABLE, complain, is_same_file, say, sessions};
use crate::admin::config::{self, LoadError};
use crate::admin::live::Plan;
use crate::admin::live::plan::Action;
use crate::admin::rpc::{CallError, Client, default_socket};

/// The version of what is printed for programs: keys may come, none goes or changes its meaning.
const VERSION: u32 = 1;

/// What a daemon has answered, for programs.
pub(super) fn say_json(mut answer: Value) {
    answer["version"] = VERSION.into();
    say(&format!("{answer:#}\n"));
}

/// `ringtgt apply`.
pub(super) fn apply(args: &Apply) -> ExitCode {
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(status) => return status,
    };
    finish(try_apply(args, &text))
}

/// `ringtgt reload`.
pub(super) fn reload(daemon: &Daemon) -> ExitCode {
    finish(try_reload(daemon))
}

fn try_reload(daemon: &Daemon) -> anyhow::Result<()> {
    let plan = plan_of(connect(daemon)?.call("config.reload", json!({}))?)?;
    show_plan(&plan, daemon.json);
    warn(&plan);
    Ok(())
}

/// `ringtgt diff`. Its status says that they differ: what keeps that from being known has another.
pub(super) fn diff(file: Option<&Path>, daemon: &Daemon) -> ExitCode {
    let unknown = ExitCode::from(UNREADABLE);
    let file = match file.map_or_else(|| served_file(daemon), |file| Ok(file.to_owned())) {
        Ok(file) => file,
        Err(error) => {
            finish(Err(error));
            return unknown;
        }
    };
    let Ok(text) = read(&file) else { return unknown };
    match difference(&file, &text, daemon) {
        Ok(plan) => {
            show_plan(&plan, daemon.json);
            let same = plan.is_nothing();
            if same { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(error) => {
            finish(Err(error));
            unknown
        }
    }
}

fn difference(file: &Path, text: &str, daemon: &Daemon) -> anyhow::Result<Plan> {
    plan_of(connect(daemon)?.call("config.plan", params(file, text)?)?)
}

/// `ringtgt sessions`.
pub(super) fn sessions(detail: bool, daemon: &Daemon) -> ExitCode {
    let listed = connect(daemon).and_then(|client| Ok(client.call("sessions.list", json!({}))?));
    finish(listed.map(|answer| match (daemon.json, detail) {
        (true, _) => say_json(answer),
        (false, true) => say(&sessions::details(&answer)),
        (false, false) => say(&sessions::table(&answer)),
    }))
}

/// `ringtgt kick`.
pub(super) fn kick(whom: &Whom, daemon: &Daemon) -> ExitCode {
    finish(tell("sessions.kick", whom.params(), daemon, "dropped"))
}

/// `ringtgt drain`.
pub(super) fn drain(whom: &Whom, to: Option<&str>, deadline: u64, daemon: &Daemon) -> ExitCode {
    let mut params = whom.params();
    params["deadline"] = deadline.into();
    let Some(to) = to else { return finish(tell("sessions.drain", params, daemon, "asked to log out")) };
    params["to"] = to.into();
    finish(send_on(params, to, deadline, daemon))
}

/// That nobody was there to be sent elsewhere is no failure: whoever comes is.
fn send_on(params: Value, to: &str, deadline: u64, daemon: &Daemon) -> anyhow::Result<()> {
    let answer = connect(daemon)?.call("sessions.drain", params)?;
    if daemon.json {
        say_json(answer);
        return Ok(());
    }
    let asked = counted(answer["sessions"].as_u64().unwrap_or(0));
    match deadline {
        0 if answer["was_sent_on"] == false => {
            anyhow::bail!(
                "no logins of that target or portal were sent elsewhere; name it as it was named then"
            )
        }
        0 => say(&format!("logins are sent to {to} no longer\n")),
        _ => say(&format!("{asked} asked to log out; for {deadline} s logins are sent to {to}\n")),
    }
    Ok(())
}

/// `ringtgt renegotiate`.
pub(super) fn renegotiate(whom: &Whom, daemon: &Daemon) -> ExitCode {
    finish(tell("sessions.renegotiate", whom.params(), daemon, "asked to negotiate anew"))
}

/// `ringtgt record`.
pub(super) fn record(out: &Path, force: bool, daemon: &Daemon) -> ExitCode {
    finish(try_record(out, force, daemon))
}

fn try_record(out: &Path, force: bool, daemon: &Daemon) -> anyhow::Result<()> {
    let answer = connect(daemon)?.call("recorder.dump", json!({}))?;
    let pcap = STANDARD.decode(answer["pcap"].as_str().context("the daemon has sent no file")?)?;
    write(out, &pcap, force)?;
    match daemon.json {
        true => say_json(json!({ "file": out.display().to_string(), "pdus": answer["pdus"] })),
        false => say(&format!("{} PDUs in {}\n", answer["pdus"], out.display())),
    }
    Ok(())
}

/// Commands tell what is on disks: the file is for its owner only. One that is there may be the record of another fault.
fn write(file: &Path, pcap: &[u8], force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(force).truncate(force).create_new(!force).mode(0o600);
    let written = options.open(file).and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(0o600))?;
        io::Write::write_all(&mut file, pcap)
    });
    written.map_err(|error| {
        let remedy = if error.kind() == io::ErrorKind::AlreadyExists { "; --force replaces it" } else { "" };
        anyhow::anyhow!("{}: cannot be written: {error}{remedy}", file.display())
    })
}

pub(super) fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("ringtgt: {}\n", explain(&error)));
            ExitCode::from(FAILED)
        }
    }
}

/// What is wrong with a configuration is told as `check` tells it.
fn explain(error: &anyhow::Error) -> String {
    let report = match error.downcast_ref() {
        Some(CallError::Fault(fault)) => fault.data["report"].as_str(),
        _ => None,
    };
    report.map_or_else(|| format!("{error:#}"), |report| format!("{error}\n{}", report.trim_end()))
}

pub(super) fn connect(daemon: &Daemon) -> anyhow::Result<Client> {
    let path = daemon.control_socket.clone().unwrap_or_else(default_socket);
    Ok(Client::connect(path)?)
}

/// A configuration that is right, as text; what is wrong with it is told.
fn read(file: &Path) -> Result<String, ExitCode> {
    match config::load(file) {
        Ok((_, report)) => {
            complain(&report.to_string());
            Ok(report.text().to_owned())
        }
        Err(error) => {
            complain(&format!("{}\n", error.to_string().trim_end()));
            let unreadable = matches!(error, LoadError::Read { .. });
            Err(ExitCode::from(if unreadable { UNREADABLE } else { FAILED }))
        }
    }
}

/// What a daemon is told with a text: what it is called, and where its relative paths start.
pub(super) fn params(file: &Path, text: &str) -> anyhow::Result<Value> {
    let dir = config::dir_of(file);
    let dir = dir.to_str().with_context(|| {
        format!(
            "{}: the daemon is told of directories in UTF-8, and this is none; move the file",
            dir.display()
        )
    })?;
    Ok(json!({ "toml": text, "name": file.display().to_string(), "dir": dir }))
}

fn plan_of(value: Value) -> anyhow::Result<Plan> {
    serde_json::from_value(value).context("the plan cannot be understood")
}

fn served_file(daemon: &Daemon) -> anyhow::Result<PathBuf> {
    let answer = connect(daemon)?.call("config.get", json!({}))?;
    let file = answer["file"].as_str().context("no file is served: name one")?;
    Ok(file.into())
}

fn show_plan(plan: &Plan, as_json: bool) {
    match as_json {
        true => say_json(json!(plan)),
        false if plan.is_nothing() => say(&format!("{plan}nothing to change\n")),
        false if plan.is_empty() => say(&format!("{plan}nothing to change now\n")),
        false => say(&plan.to_string()),
    }
}

/// What has gone wrong when there was no way back.
fn warn(done: &Plan) {
    done.warnings.iter().for_each(|warning| complain(&format!("ringtgt: warning: {warning}\n")));
}

fn try_apply(args: &Apply, text: &str) -> anyhow::Result<()> {
    let client = connect(&args.daemon)?;
    let mut params = params(&args.file, text)?;
    let plan = plan_to_try(args, client.call("config.plan", params.clone()))?;
    show_plan(&plan, args.daemon.json);
    if args.dry_run || plan.is_nothing() {
        return Ok(());
    }
    let removed = plan.changes.iter().filter(|c| c.action == Action::Remove).count();
    if removed > 0 && !args.prune {
        anyhow::bail!(
            "{removed} of these would be removed, because the file does not name them: say --prune if you mean it"
        );
    }
    // What waits for the next start disturbs nobody now. It has to be handed over all the same: who edits what is served
    // would lose it.
    if !plan.is_empty() && !args.yes && !agreed()? {
        anyhow::bail!("nothing was changed");
    }
    params["plan"] = json!(plan);
    let done = plan_of(client.call("config.apply", params)?)?;
    for warning in done.warnings.iter().filter(|warning| !plan.warnings.contains(warning)) {
        complain(&format!("ringtgt: warning: {warning}\n"));
    }
    if !args.daemon.json {
        match plan.changes.len() {
            0 => say("applied: it counts from the next start on\n"),
            1 => say("applied: 1 change\n"),
            changes => say(&format!("applied: {changes} changes\n")),
        }
        say(&passing(&args.file, &client));
    }
    Ok(())
}

/// The plan. One of which something is known to be wrong is tried all the same by whoever has agreed to it: only that
/// shows all that is wrong.
fn plan_to_try(args: &Apply, planned: Result<Value, CallError>) -> anyhow::Result<Plan> {
    match planned {
        Err(CallError::Fault(fault)) if args.yes && !args.dry_run && fault.data["plan"].is_object() => {
            plan_of(fault.data["plan"].clone())
        }
        planned => plan_of(planned?),
    }
}

/// What is to be said of a file that is not the one that the daemon reads: its changes do not last.
fn passing(file: &Path, client: &Client) -> String {
    let served =
        client.call("config.get", json!({})).ok().and_then(|got| Some(got["file"].as_str()?.to_owned()));
    match served {
        Some(served) if is_same_file(file, Path::new(&served)) => String::new(),
        Some(served) => format!("this lasts until the next reload or restart, which read {served}\n"),
        None => "this lasts until the daemon ends: it reads no file\n".into(),
    }
}

/// Asks on the terminal.
fn agreed() -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        anyhow::bail!("nobody can be asked here: say --yes if you mean it; nothing was changed");
    }
    complain("apply this? [y/N] ");
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

impl Whom {
    fn params(&self) -> Value {
        let given = [
            ("initiator", self.initiator.as_ref().map(|name| json!(name))),
            ("target", self.target.as_ref().map(|name| json!(name))),
            ("tsih", self.tsih.map(|tsih| json!(tsih))),
            ("portal", self.portal.as_ref().map(|portal| json!(portal))),
        ];
        given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn tell(method: &str, params: Value, daemon: &Daemon, what: &str) -> anyhow::Result<()> {
    let answer = connect(daemon)?.call(method, params)?;
    let count = answer["sessions"].as_u64().unwrap_or(0);
    if daemon.json {
        say_json(answer);
    }
    if count == 0 {
        anyhow::bail!("there is no such session; `ringtgt sessions` lists them");
    }
    if !daemon.json {
        say(&format!("{} {what}\n", counted(count)));
    }
    Ok(())
}

fn counted(sessions: u64) -> String {
    if sessions == 1 { "1 session".into() } else { format!("{sessions} sessions") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_text_is_an_error() {
        use std::os::unix::ffi::OsStrExt;
        let file = Path::new(std::ffi::OsStr::from_bytes(b"/etc/\xff/ringtgt.toml"));
        let error = params(file, "").unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
        assert_eq!(params(Path::new("/etc/ringtgt.toml"), "").unwrap()["dir"], "/etc");
    }
}

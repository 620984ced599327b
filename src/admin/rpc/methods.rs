//! What can be asked, one function each.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reference::METHODS;
use super::server::Caller;
use super::{API, FAILED, Fault, INVALID_CONFIG, INVALID_PARAMS, METHOD_NOT_FOUND, OTHER_PLAN, OTHER_TEXT};
use crate::admin::config::{
    At, Problem, Report, parse_destination, parse_portal, show_naa, show_uuid, words,
};
use crate::admin::difference::Edit;
use crate::admin::live::{Live, Plan, Refused, ShownStore};
use crate::admin::lookout::{Lookout, Text as Written};
use crate::admin::loopbacks::LocalDisk;
use crate::admin::stats::Named;
use crate::admin::{recording, stats};
use crate::reactor::{Chosen, Late, Notice, SessionReport};
use crate::scsi::{AccessState, Count, Failure, Group, LuFacts};
use crate::target::{ChapAlgorithm, portal_covers};
use crate::wire::name::normalise;

/// How long sessions get to log out when nothing is said.
const DEADLINE: u64 = 10;

/// What a method has to tell.
pub(super) enum Told {
    Value(Value),
    /// JSON that is written already.
    Text(Arc<String>),
}

pub(super) fn call(lookout: &Lookout, caller: Caller, method: &str, params: Value) -> Result<Told, Fault> {
    if method == "stats.get" {
        return statistics(lookout, read(params)?).map(Told::Text);
    }
    call_live(lookout.live(), caller, method, params).map(Told::Value)
}

fn statistics(lookout: &Lookout, detail: Detail) -> Result<Arc<String>, Fault> {
    let late = |late: Late| Fault::new(FAILED, late.to_string());
    let Detail { buckets, backstores, sessions } = detail;
    if backstores.is_some() || sessions.is_some() {
        let (backstores, sessions) = (backstores.unwrap_or_default(), sessions.unwrap_or_default());
        let named = Named { backstores, sessions };
        check_named(lookout.live(), &named)?;
        return Ok(Arc::new(lookout.these(&named).map_err(late)?.to_text(true)));
    }
    let picture = lookout.picture_of_now().map_err(late)?;
    Ok(picture.text(if buckets { Written::Whole } else { Written::Brief }))
}

/// They are few enough to be told whole, and there are such stores: a slip of the pen is no empty answer. Sessions come
/// and go while they are asked for.
fn check_named(live: &Live, named: &Named) -> Result<(), Fault> {
    let wrong = |what: String| Err(Fault::new(INVALID_PARAMS, what));
    if named.backstores.len().max(named.sessions.len()) > stats::MOST_DETAILED {
        return wrong(format!(
            "at most {} of each can be told whole; ask again for the others",
            stats::MOST_DETAILED
        ));
    }
    let names = live.unit_names();
    match named.backstores.iter().find(|name| !names.values().any(|there| there == *name)) {
        Some(name) => {
            let remedy = words::suggestion(name, names.values().map(String::as_str));
            wrong(format!("there is no backstore \"{name}\"; {remedy}"))
        }
        None => Ok(()),
    }
}

/// When this daemon was asked first.
static BEGUN: LazyLock<Duration> =
    LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());

/// After so many changes. No other daemon, and none after another change, has the same.
fn revision(changes: u64) -> String {
    format!("{}.{changes}", BEGUN.as_nanos())
}

fn call_live(live: &Live, caller: Caller, method: &str, params: Value) -> Result<Value, Fault> {
    match method {
        "version" => Ok(json!({
            "name": "ringtgt", "version": env!("CARGO_PKG_VERSION"), "api": API, "pid": std::process::id(),
            "revision": revision(live.changes()),
        })),
        "config.get" => {
            // First of all: a text that is newer than its number is only asked for once more.
            let revision = revision(live.changes());
            let ((toml, dir), file) = (live.served(), live.file().map(whole));
            let (dir, state) = (dir.as_deref().map(whole), live.state_dir().map(whole));
            Ok(json!({ "toml": toml, "dir": dir, "file": file, "state_dir": state, "revision": revision }))
        }
        "config.plan" => {
            let Text { toml, name, dir, .. } = read(params)?;
            told(live.plan(&name, &toml, dir.as_deref()))
        }
        "config.apply" => apply(live, caller, read(params)?),
        "config.edit" => edit(live, caller, read(params)?),
        "config.reload" => {
            let done = live.reload();
            log_change(caller, &done);
            told(done)
        }
        "sessions.list" => {
            let sessions: Vec<Value> = live.control().sessions().iter().map(session).collect();
            Ok(json!({ "sessions": sessions, "refused": live.control().refused() }))
        }
        "sessions.kick" => tell(live, caller, read(params)?, None),
        "sessions.renegotiate" => tell(live, caller, read(params)?, Some(Notice::Negotiate)),
        "sessions.drain" => tell(live, caller, read(params)?, Some(Notice::LogOut)),
        "alua.get" => accesses(live),
        "alua.set" => set_access(live, caller, &read(params)?),
        "loopback.list" => Ok(loopbacks(live)),
        "backstores.list" => Ok(backstores(live, &read(params)?)),
        "backstores.forget" => {
            let Gone { name, serial } = read(params)?;
            live.forget(&name, serial.as_deref()).map_err(|error| failed(&error))?;
            let Caller { uid, pid } = caller;
            tracing::info!(uid, pid, "the control socket has forgotten what was kept of backstore {name}");
            Ok(json!({}))
        }
        "counters" => counters(live),
        "recorder.dump" => {
            let recordings = live.control().record();
            let pdus: usize = recordings.iter().map(|r| r.passed.len()).sum();
            let pcap = STANDARD.encode(recording::pcap(&recordings, SystemTime::now()));
            Ok(json!({ "pcap": pcap, "pdus": pdus }))
        }
        _ => {
            let remedy = words::suggestion(method, METHODS.iter().map(|m| m.name));
            Err(Fault::new(METHOD_NOT_FOUND, format!("there is no method {method}; {remedy}")))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct These {
    names: Option<HashSet<String>>,
}

fn backstores(live: &Live, these: &These) -> Value {
    let is_one = |name: &str| these.names.as_ref().is_none_or(|names| names.contains(name));
    let all = live.stores(|store, facts| is_one(store.name).then(|| backstore(&store, facts)));
    json!({ "backstores": all.into_iter().flatten().collect::<Vec<Value>>() })
}

/// What is served of a store. A device that is passed through has names and blocks of its own.
fn backstore(store: &ShownStore<'_>, facts: &LuFacts) -> Value {
    let ShownStore { name, why, size, .. } = *store;
    let named = Some(&facts.identity).filter(|_| facts.passed.is_none());
    let open = Some(facts).filter(|facts| facts.passed.is_none() && why.is_none());
    json!({
        "name": name,
        "why": why,
        "serial": named.map(|identity| &identity.serial),
        "naa": named.map(|identity| show_naa(identity.naa.bytes())),
        "uuid": named.map(|identity| show_uuid(&identity.uuid)),
        "block_size": open.map(|facts| facts.block_size),
        "bytes": open.and(size),
        "write_back": open.map(|facts| facts.write_cache),
        "read_only": open.map(|facts| facts.read_only),
    })
}

fn loopbacks(live: &Live) -> Value {
    let disk = |disk: LocalDisk| {
        let why = Some(disk.why).filter(|why| !why.is_empty());
        json!({ "backstore": disk.store, "device": disk.device, "why": why })
    };
    let disks: Vec<Value> = live.local_disks().into_iter().map(disk).collect();
    json!({ "loopbacks": disks })
}

/// A path wherever one stands. What of it is no text cannot be told.
fn whole(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
    whole.to_string_lossy().into_owned()
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, Fault> {
    serde_json::from_value(params).map_err(|error| Fault::new(INVALID_PARAMS, error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    toml: String,
    #[serde(default = "unnamed")]
    name: String,
    dir: Option<PathBuf>,
    plan: Option<Plan>,
    base: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gone {
    name: String,
    serial: Option<String>,
}

fn unnamed() -> String {
    "configuration".into()
}

#[derive(Deserialize)]
struct Stretch {
    revision: String,
    #[serde(default = "unnamed")]
    name: String,
    dir: Option<PathBuf>,
    #[serde(flatten)]
    edit: Edit,
}

fn apply(live: &Live, caller: Caller, text: Text) -> Result<Value, Fault> {
    let Text { toml, name, dir, plan, base } = text;
    let (mut outrun, mut next) = (false, 0);
    let done = live.apply_if(&name, &toml, dir.as_deref(), |served, now| {
        next = live.changes() + 1;
        outrun = base.is_some_and(|base| base != served);
        !outrun && plan.is_none_or(|plan| plan.is_like(now))
    });
    match done {
        Err(Refused::Other(now)) if outrun => Err(Fault { data: json!(now), ..outrun_fault() }),
        Err(Refused::Other(now)) => {
            let what = "what is served has changed meanwhile, and so has the plan; nothing was done";
            Err(Fault { data: json!(now), ..Fault::new(OTHER_PLAN, what) })
        }
        done => applied(caller, done, next),
    }
}

/// What whoever wants to change something of a long text need not send of it is what stays.
fn edit(live: &Live, caller: Caller, stretch: Stretch) -> Result<Value, Fault> {
    let Stretch { revision: base, name, dir, edit } = stretch;
    let (served, _) = live.served();
    let is_that = || revision(live.changes()) == base;
    let toml = match edit.made(&served) {
        _ if !is_that() => return Err(outrun_fault()),
        Some(toml) => toml,
        None => return Err(Fault::new(INVALID_PARAMS, "begin and end are no stretch of what is served")),
    };
    let mut next = 0;
    let done = live.apply_if(&name, &toml, dir.as_deref(), |_, _| {
        next = live.changes() + 1;
        is_that()
    });
    match done {
        Err(Refused::Other(_)) => Err(outrun_fault()),
        done => applied(caller, done, next),
    }
}

fn outrun_fault() -> Fault {
    Fault::new(OTHER_TEXT, "what is served is another text meanwhile; nothing was done")
}

/// A change that has led to the revision after so many.
fn applied(caller: Caller, done: Result<Plan, Refused>, changes: u64) -> Result<Value, Fault> {
    log_change(caller, &done);
    let mut answer = told(done)?;
    answer["revision"] = json!(revision(changes));
    Ok(answer)
}

fn log_change(Caller { uid, pid }: Caller, done: &Result<Plan, Refused>) {
    let Ok(plan) = done else { return };
    tracing::info!(uid, pid, changes = plan.changes.len(), "the control socket has changed what is served");
    plan.to_string().lines().for_each(|line| tracing::info!("{line}"));
}

fn told(result: Result<Plan, Refused>) -> Result<Value, Fault> {
    match result {
        Ok(plan) => Ok(json!(plan)),
        Err(Refused::Invalid(report)) => {
            let what = format!("the configuration is wrong: {}", report.summary());
            Err(Fault { data: reported(&report), ..Fault::new(INVALID_CONFIG, what) })
        }
        Err(Refused::Failed(error)) => Err(failed(&error)),
        Err(Refused::Lacking(error, plan)) => {
            let mut fault = failed(&error);
            fault.data["plan"] = json!(plan);
            Err(fault)
        }
        Err(error) => Err(Fault::new(FAILED, error.to_string())),
    }
}

fn failed(error: &anyhow::Error) -> Fault {
    let Some(report) = error.downcast_ref::<Report>() else {
        return Fault::new(FAILED, format!("{error:#}"));
    };
    // What else went wrong stands before it.
    let also = error.chain().take_while(|why| !why.is::<Report>()).map(|why| format!("{why}; "));
    let what = format!("{}the configuration cannot be had: {}", also.collect::<String>(), report.summary());
    Fault { data: reported(report), ..Fault::new(FAILED, what) }
}

/// A report, as text and piece by piece.
fn reported(report: &Report) -> Value {
    json!({ "report": report.to_string(), "problems": report.to_json() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whom {
    initiator: Option<String>,
    target: Option<String>,
    tsih: Option<u16>,
    portal: Option<String>,
    deadline: Option<u64>,
    to: Option<String>,
}

/// Tells sessions to go at once, or what `notice` says with a deadline.
fn tell(
    live: &Live,
    Caller { uid, pid }: Caller,
    whom: Whom,
    notice: Option<fn(Duration) -> Notice>,
) -> Result<Value, Fault> {
    let Whom { initiator, target, tsih, portal, deadline, to } = whom;
    let wrong = |what: &str| Err(Fault::new(INVALID_PARAMS, what));
    if initiator.is_none() && target.is_none() && tsih.is_none() && portal.is_none() {
        return wrong("name an initiator, a target, a portal or a tsih: else all sessions would be meant");
    }
    if deadline.is_some() && notice.is_none() {
        return wrong("sessions.kick has no deadline; sessions.drain has");
    }
    if to.is_some() && (initiator.is_some() || tsih.is_some() || target.is_some() == portal.is_some()) {
        return wrong("to is where logins are sent: name their target or their portal, and nothing else");
    }
    let portal =
        portal.map(|text| parse_portal(&text, At::Whole).map_err(|problem| invalid_address(&problem)));
    let whom =
        Chosen { initiator: normal(initiator)?, target: normal(target)?, tsih, portal: portal.transpose()? };
    let within = Duration::from_secs(deadline.unwrap_or(DEADLINE).min(3600));
    let notice = match (notice.map(|notice| notice(within)), to) {
        (Some(Notice::LogOut(within)), Some(to)) => Notice::Move(within, destination(&to)?),
        (_, Some(_)) => return wrong("only sessions.drain sends logins elsewhere"),
        (notice, None) => notice.unwrap_or(Notice::Gone),
    };
    if matches!(notice, Notice::Move(within, _) if !within.is_zero()) {
        check_place(live, &whom)?;
    }
    let what = sentence(&whom, notice);
    let heard = live.control().tell(whom, notice);
    tracing::info!(uid, pid, sessions = heard.sessions, "{what}");
    Ok(match notice {
        Notice::Move(..) => json!({ "sessions": heard.sessions, "was_sent_on": heard.was_sent_on }),
        _ => json!({ "sessions": heard.sessions }),
    })
}

/// What the log says of that.
fn sentence(whom: &Chosen, notice: Notice) -> String {
    let within = |time: Duration| format!("within {} s", time.as_secs());
    match notice {
        Notice::Gone => format!("the control socket drops sessions {whom}"),
        Notice::LogOut(time) => {
            format!("the control socket asks sessions {whom} to log out {}", within(time))
        }
        Notice::Move(time, to) if time.is_zero() => {
            format!("the control socket sends logins {whom} to {to} no longer")
        }
        Notice::Move(time, to) => {
            format!("the control socket sends sessions {whom} to {to} {}", within(time))
        }
        Notice::Negotiate(time) => {
            format!("the control socket asks sessions {whom} to negotiate anew {}", within(time))
        }
    }
}

/// Logins can be sent elsewhere from what is there: else nobody would be, for a slip of the pen.
fn check_place(live: &Live, whom: &Chosen) -> Result<(), Fault> {
    let catalog = live.catalog();
    let names = || catalog.targets.iter().map(|target| target.iqn.as_str());
    let reaches = |at| {
        let groups = catalog.targets.iter().flat_map(|target| &target.tpgs);
        let mut portals =
            groups.flat_map(|g| &g.portals).chain(catalog.redirects.iter().map(|(portal, _)| portal));
        portals.any(|portal| *portal == at || portal_covers(*portal, at))
    };
    let wrong = |what: String| Err(Fault::new(INVALID_PARAMS, what));
    match (&whom.target, whom.portal) {
        (Some(iqn), _) if catalog.target(iqn).is_none() => {
            let remedy = words::suggestion(iqn, names());
            wrong(format!("there is no target {iqn}; {remedy}"))
        }
        (_, Some(at)) if !reaches(at) => {
            wrong(format!("nothing is served at {at}; name a portal, or an address at which one is reached"))
        }
        _ => Ok(()),
    }
}

fn destination(text: &str) -> Result<SocketAddr, Fault> {
    let what =
        || format!("{text} is not an address to which others can be sent: write one like 192.0.2.2:3260");
    parse_destination(text).ok_or_else(|| Fault::new(INVALID_PARAMS, what()))
}

fn invalid_address(problem: &Problem) -> Fault {
    Fault::new(INVALID_PARAMS, format!("{}; {}", problem.what, problem.remedy))
}

fn normal(name: Option<String>) -> Result<Option<String>, Fault> {
    let checked = name.map(|name| normalise(&name).map_err(|error| (name, error))).transpose();
    checked.map_err(|(name, error)| Fault::new(INVALID_PARAMS, format!("{name}: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(default)]
    buckets: bool,
    backstores: Option<HashSet<String>>,
    sessions: Option<HashSet<u16>>,
}

fn accesses(live: &Live) -> Result<Value, Fault> {
    let told = |store: &str, group: &Group, state: AccessState| {
        let (group, state) = (&group.name, state.word());
        json!({ "backstore": store, "group": group, "state": state })
    };
    let groups = live.access_states(told).map_err(|late| Fault::new(FAILED, late.to_string()))?;
    Ok(json!({ "groups": groups }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Access {
    backstore: String,
    group: String,
    state: String,
}

fn set_access(live: &Live, Caller { uid, pid }: Caller, access: &Access) -> Result<Value, Fault> {
    let wrong = |what: String| Fault::new(INVALID_PARAMS, what);
    let Access { backstore, group, state } = access;
    let (lu, facts) =
        live.unit_named(backstore).ok_or_else(|| wrong(format!("there is no backstore \"{backstore}\"")))?;
    let group = facts.groups.iter().find(|g| g.name == *group).ok_or_else(|| {
        let remedy = words::suggestion(group, facts.groups.iter().map(|g| g.name.as_str()));
        wrong(format!("backstore \"{backstore}\" has no target port group \"{group}\"; {remedy}"))
    })?;
    let states = [AccessState::LASTING.as_slice(), &[AccessState::Transitioning]].concat();
    let state = states.iter().find(|s| s.word() == state).ok_or_else(|| {
        let remedy = words::suggestion(state, states.iter().map(|s| s.word()));
        wrong(format!("\"{state}\" is no access state; {remedy}"))
    })?;
    live.control().set_access(lu, vec![(group.id, *state)]).map_err(|failure| {
        let why = match failure {
            Failure::Check(_) => {
                "it may not be in that state, or not by an administrator, or it could not be saved"
            }
            Failure::Status(_) => "its owner is busy; try again",
        };
        Fault::new(FAILED, format!("group {} of backstore {backstore}: {why}", group.name))
    })?;
    let (group, state) = (&group.name, state.word());
    tracing::info!(
        uid,
        pid,
        "the control socket has put group {group} of backstore {backstore} in state {state}"
    );
    Ok(Value::Null)
}

fn session(s: &SessionReport) -> Value {
    let n = &s.negotiated;
    let chap = s.chap.map(|algorithm| match algorithm {
        ChapAlgorithm::Md5 => "md5",
        ChapAlgorithm::Sha1 => "sha1",
        ChapAlgorithm::Sha256 => "sha256",
        ChapAlgorithm::Sha3_256 => "sha3-256",
    });
    let isid: String = s.isid.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "initiator": s.initiator,
        "alias": n.initiator_alias,
        "isid": isid,
        "tsih": s.tsih,
        "target": s.target,
        "tpg": s.tpg,
        "local": s.local.to_string(),
        "peer": s.peer.to_string(),
        "reactor": s.core.0,
        "chap": chap,
        "luns": s.luns,
        "commands": s.commands,
        "window": s.window,
        "deepest": s.deepest,
        "queues": s.queues.iter().map(|(lun, deepest)| json!({ "lun": lun, "deepest": deepest })).collect::<Vec<_>>(),
        "segment": s.segment,
        "seconds": s.age.as_secs(),
        "negotiated": {
            "header_digest": n.header_digest,
            "data_digest": n.data_digest,
            "max_recv_data_segment_length": n.max_recv_data_segment_length,
            "max_xmit_data_segment_length": n.max_xmit_data_segment_length,
            "first_burst_length": n.first_burst_length,
            "max_burst_length": n.max_burst_length,
            "initial_r2t": n.initial_r2t,
            "immediate_data": n.immediate_data,
            "max_outstanding_r2t": n.max_outstanding_r2t,
            "data_pdu_in_order": n.data_pdu_in_order,
            "data_sequence_in_order": n.data_sequence_in_order,
            "time2wait": n.time2wait,
            "time2retain": n.time2retain,
            "error_recovery_level": n.error_recovery_level,
            "protocol_level": n.protocol_level,
        },
    })
}

fn counters(live: &Live) -> Result<Value, Fault> {
    let backstores: Vec<Value> = live.units(|name, counters| {
        let totals = counters.totals();
        json!({
            "name": name,
            "reads": totals.get(Count::Reads),
            "writes": totals.get(Count::Writes),
            "bytes_read": totals.get(Count::BytesRead),
            "bytes_written": totals.get(Count::BytesWritten),
            "read_errors": totals.get(Count::ReadErrors),
            "write_errors": totals.get(Count::WriteErrors),
        })
    });
    let reported = live.control().report_all().map_err(|late| Fault::new(FAILED, late.to_string()))?;
    let reactors: Vec<Value> = reported.iter().map(stats::reactor).collect();
    Ok(json!({ "reactors": reactors, "backstores": backstores }))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_log_says_in_a_sentence_what_sessions_are_told() {
        let (initiator, target) = (Some("iqn.i".to_owned()), Some("iqn.t".to_owned()));
        let whom = Chosen { initiator, target, ..Chosen::default() };
        let said = sentence(&whom, Notice::LogOut(Duration::from_secs(2)));
        assert_eq!(said, "the control socket asks sessions of iqn.i with iqn.t to log out within 2 s");
        let at = SocketAddr::from(([192, 0, 2, 1], 3260));
        let whom = Chosen { portal: Some(at), ..Chosen::default() };
        let said = sentence(&whom, Notice::Move(Duration::ZERO, at));
        assert_eq!(said, "the control socket sends logins at 192.0.2.1:3260 to 192.0.2.1:3260 no longer");
        let whom = Chosen { tsih: Some(7), ..Chosen::default() };
        assert_eq!(sentence(&whom, Notice::Gone), "the control socket drops sessions with TSIH 7");
    }

    #[test]
    fn a_path_that_is_no_text_is_told_as_well_as_can_be() {
        assert_eq!(whole(Path::new(OsStr::from_bytes(b"/etc/\xff.toml"))), "/etc/\u{fffd}.toml");
    }
}

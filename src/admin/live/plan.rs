//! What a new configuration changes of the one that is served, so that people and programs can read it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::admin::config::LoopbackConfig;
use crate::ids::LuId;
use crate::reactor::SessionReport;
use crate::store::StoreConfig;
use crate::target::{Acl, Catalog, Lun, Target, Tpg, is_local};

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It comes.
    Add,
    /// It stays, and something of it becomes another.
    Change,
    /// It goes.
    Remove,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// With what: its place in the tree.
    pub path: String,
    /// In which way, or what it is.
    pub detail: String,
}

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It sees other LUNs than before.
    Luns,
    /// It is asked to log out, and then dropped: its initiator may not be there any more.
    LoggedOut,
}

/// A session that a change is felt by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// The initiator.
    pub initiator: String,
    /// The target.
    pub target: String,
    /// The session's handle.
    pub tsih: u16,
    /// What becomes of it.
    pub effect: Effect,
}

/// Everything that a new configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The changes, in the order of the configuration.
    pub changes: Vec<Change>,
    /// Sessions that feel them. All others do not.
    pub sessions: Vec<Touched>,
    /// What takes effect at the next start only, and why.
    pub next_start: Vec<String>,
    /// What the administrator should know of it; of one that has been carried out, also what has gone wrong when there was
    /// no way back any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether nothing is to be done now.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Nor at the next start.
    pub fn is_nothing(&self) -> bool {
        self.is_empty() && self.next_start.is_empty()
    }

    /// Whether it changes the same. Sessions come and go.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.changes, &self.next_start) == (&other.changes, &other.next_start)
    }

    pub(super) fn push(&mut self, action: Action, path: impl Into<String>, detail: impl Into<String>) {
        self.changes.push(Change { action, path: path.into(), detail: detail.into() });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { action, path, detail } in &self.changes {
            let sign = match action {
                Action::Add => '+',
                Action::Change => '~',
                Action::Remove => '-',
            };
            write!(f, "{sign} {path}")?;
            if !detail.is_empty() {
                write!(f, "  ({detail})")?;
            }
            f.write_str("\n")?;
        }
        for Touched { initiator, target, effect, .. } in &self.sessions {
            let what = match effect {
                Effect::Luns => "sees other LUNs",
                Effect::LoggedOut => "is logged out",
            };
            writeln!(f, "! session of {initiator} at {target}: {what}")?;
        }
        self.next_start.iter().try_for_each(|what| writeln!(f, "= {what}"))?;
        self.warnings.iter().try_for_each(|what| writeln!(f, "! {what}"))
    }
}

/// Where a store is in the tree.
pub(super) fn store_path(store: &StoreConfig) -> String {
    format!("/backstores/{}/{}", store.kind.word(), store.name)
}

/// What is said of a store that comes or goes.
pub(super) fn store_detail(store: &StoreConfig) -> String {
    let size = store.size.map(crate::admin::size::show);
    let path = store.path.as_ref().map(|p| p.display().to_string());
    [path, size].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Local disks that come, go, or become others; `replaced`: also by the backstore of that name.
pub(super) fn loopbacks(
    old: &[LoopbackConfig],
    new: &[LoopbackConfig],
    replaced: &[String],
    plan: &mut Plan,
) {
    let path = |disk: &LoopbackConfig| format!("/loopback/{}", disk.store);
    let of = |disks: &'_ [LoopbackConfig], store: &str| disks.iter().position(|d| d.store == store);
    for disk in old.iter().filter(|disk| of(new, &disk.store).is_none()) {
        plan.push(Action::Remove, path(disk), "");
    }
    for disk in new {
        match of(old, &disk.store).map(|at| &old[at]) {
            None => plan.push(Action::Add, path(disk), ""),
            Some(was) => {
                let what = [
                    (replaced.contains(&disk.store), "another backstore"),
                    (was.device != disk.device, "device"),
                    (was.read_only != disk.read_only, "read_only"),
                ];
                tell(&path(disk), &what, plan);
            }
        }
    }
}

/// A target that is not as it was: one of these is not there, or both are.
pub(super) struct Turn<'a> {
    pub(super) old: Option<&'a Target>,
    pub(super) new: Option<&'a Target>,
}

/// The targets that go, in the order of before, and those that change or come, in their order. Those that are as they
/// were are compared once, here.
pub(super) fn turns<'a>(old: &'a [Arc<Target>], new: &'a [Target]) -> Vec<Turn<'a>> {
    let before: HashMap<&str, &Target> = old.iter().map(|t| (t.iqn.as_str(), &**t)).collect();
    let after: HashSet<&str> = new.iter().map(|t| t.iqn.as_str()).collect();
    let goes =
        old.iter().filter(|t| !after.contains(t.iqn.as_str())).map(|t| Turn { old: Some(t), new: None });
    let stays = new.iter().map(|t| Turn { old: before.get(t.iqn.as_str()).copied(), new: Some(t) });
    goes.chain(stays.filter(|turn| turn.old != turn.new)).collect()
}

/// What these are in a plan.
pub(super) fn targets(turns: &[Turn<'_>], name: &dyn Fn(LuId) -> String, plan: &mut Plan) {
    for turn in turns {
        let Some(target) = turn.new.or(turn.old) else { continue };
        // It is told of as a local disk.
        if is_local(&target.iqn) {
            continue;
        }
        let path = format!("/iscsi/{}", target.iqn);
        match (turn.old, turn.new) {
            (_, None) => plan.push(Action::Remove, path, ""),
            (Some(was), Some(target)) => changed_target(&path, was, target, name, plan),
            (None, Some(target)) => {
                plan.push(Action::Add, path.as_str(), "");
                target.tpgs.iter().for_each(|g| added_group(&path, g, name, plan));
            }
        }
    }
}

fn changed_target(path: &str, old: &Target, new: &Target, name: &dyn Fn(LuId) -> String, plan: &mut Plan) {
    let what = [(old.alias != new.alias, "alias"), (old.redirect != new.redirect, "redirect")];
    tell(path, &what, plan);
    let find = |tpgs: &'_ [Tpg], tag| tpgs.iter().position(|g| g.tag == tag);
    for group in old.tpgs.iter().filter(|g| find(&new.tpgs, g.tag).is_none()) {
        plan.push(Action::Remove, format!("{path}/tpg{}", group.tag), "");
    }
    for group in &new.tpgs {
        match find(&old.tpgs, group.tag).map(|at| &old.tpgs[at]) {
            Some(was) if was == group => {}
            Some(was) => changed_group(&format!("{path}/tpg{}", group.tag), was, group, name, plan),
            None => added_group(path, group, name, plan),
        }
    }
}

/// What of one object is not as it was.
fn tell(path: &str, what: &[(bool, &str)], plan: &mut Plan) {
    let changed: Vec<&str> = what.iter().filter(|(changed, _)| *changed).map(|(_, word)| *word).collect();
    if !changed.is_empty() {
        plan.push(Action::Change, path, changed.join(", "));
    }
}

fn added_group(path: &str, group: &Tpg, name: &dyn Fn(LuId) -> String, plan: &mut Plan) {
    let path = format!("{path}/tpg{}", group.tag);
    plan.push(Action::Add, path.as_str(), "");
    changed_group(
        &path,
        &Tpg { portals: vec![], luns: vec![], acls: vec![], ..group.clone() },
        group,
        name,
        plan,
    );
}

fn changed_group(path: &str, old: &Tpg, new: &Tpg, name: &dyn Fn(LuId) -> String, plan: &mut Plan) {
    let what = [
        (old.relative_port != new.relative_port, "relative_port"),
        (old.open != new.open, "any_initiator"),
        (old.from != new.from, "from"),
        (old.auth != new.auth, "chap"),
        (old.params != new.params, "parameters, from the next login on"),
    ];
    tell(path, &what, plan);
    for portal in old.portals.iter().filter(|p| !new.portals.contains(p)) {
        plan.push(Action::Remove, format!("{path}/portals/{portal}"), "");
    }
    for portal in new.portals.iter().filter(|p| !old.portals.contains(p)) {
        plan.push(Action::Add, format!("{path}/portals/{portal}"), "");
    }
    luns(&format!("{path}/luns/lun"), &old.luns, &new.luns, name, plan);
    acls(path, old, new, name, plan);
}

fn luns(path: &str, old: &[Lun], new: &[Lun], name: &dyn Fn(LuId) -> String, plan: &mut Plan) {
    let by_number = |luns: &[Lun]| luns.iter().map(|l| (l.lun, *l)).collect::<BTreeMap<u16, Lun>>();
    let (old, new) = (by_number(old), by_number(new));
    for number in old.keys().filter(|n| !new.contains_key(n)) {
        plan.push(Action::Remove, format!("{path}{number}"), "");
    }
    for (number, lun) in &new {
        let path = format!("{path}{number}");
        match old.get(number) {
            None => plan.push(Action::Add, path, name(lun.lu)),
            Some(was) if was.lu != lun.lu => plan.push(Action::Change, path, name(lun.lu)),
            Some(was) => {
                let what =
                    [(was.read_only != lun.read_only, "read_only"), (was.group != lun.group, "alua_group")];
                tell(&path, &what, plan);
            }
        }
    }
}

fn acls(path: &str, old: &Tpg, new: &Tpg, name: &dyn Fn(LuId) -> String, plan: &mut Plan) {
    let by_name = |acls: &'_ [Acl]| -> HashMap<String, usize> {
        acls.iter().enumerate().map(|(at, acl)| (acl.initiator.clone(), at)).collect()
    };
    let (before, after) = (by_name(&old.acls), by_name(&new.acls));
    for acl in old.acls.iter().filter(|a| !after.contains_key(&a.initiator)) {
        plan.push(Action::Remove, format!("{path}/acls/{}", acl.initiator), "");
    }
    for acl in &new.acls {
        let path = format!("{path}/acls/{}", acl.initiator);
        let Some(was) = before.get(&acl.initiator).map(|at| &old.acls[*at]) else {
            plan.push(Action::Add, path, "");
            continue;
        };
        tell(
            &path,
            &[
                (was.auth != acl.auth, "chap"),
                (was.from != acl.from, "from"),
                (was.quota != acl.quota, "qos"),
            ],
            plan,
        );
        // One that sees what its group has is told of with the group.
        let own_map = was.luns != old.luns || acl.luns != new.luns;
        if was.luns != acl.luns && own_map {
            luns(&format!("{path}/mapped_lun"), &was.luns, &acl.luns, name, plan);
        }
    }
}

/// The sessions that feel another catalogue, in which these targets are not as they were, or are gone.
pub(super) fn touched(
    sessions: &[SessionReport],
    old: &Catalog,
    new: &[Target],
    moved: &HashSet<String>,
) -> Vec<Touched> {
    let after: HashMap<&str, &Target> = new.iter().map(|t| (t.iqn.as_str(), t)).collect();
    let effect = |s: &SessionReport| {
        let target = s.target.as_deref().filter(|target| moved.contains(*target) && !is_local(target))?;
        let group = |t: &'_ Target| t.tpgs.iter().position(|g| g.tag == s.tpg);
        let was = old.target(target)?;
        let old_group = &was.tpgs[group(was)?];
        let now = after.get(target).and_then(|t| Some(&t.tpgs[group(t)?]));
        let now = now.filter(|g| g.relative_port == old_group.relative_port);
        let now = now.filter(|g| g.admits(&s.initiator, s.peer.ip()));
        let Some(luns) = now.and_then(|g| g.access(&s.initiator)).map(|a| a.luns) else {
            return Some(Effect::LoggedOut);
        };
        let seen = |luns: &[Lun]| luns.iter().map(|l| (l.lun, l.lu)).collect::<BTreeMap<u16, LuId>>();
        let before = old_group.access(&s.initiator).map(|a| seen(a.luns)).unwrap_or_default();
        (before != seen(luns)).then_some(Effect::Luns)
    };
    let touched = |s: &SessionReport| {
        let (initiator, target) = (s.initiator.clone(), s.target.clone().unwrap_or_default());
        effect(s).map(|effect| Touched { initiator, target, tsih: s.tsih, effect })
    };
    sessions.iter().filter_map(touched).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lun(lun: u16, lu: u32) -> Lun {
        Lun { lun, lu: LuId(lu), read_only: false, group: 0 }
    }

    fn target(luns: Vec<Lun>, initiators: &[&str]) -> Target {
        let acl = |name: &&str| Acl { initiator: (*name).into(), luns: luns.clone(), ..Acl::default() };
        let acls = initiators.iter().map(acl).collect();
        let portals = vec!["127.0.0.1:3260".parse().unwrap()];
        let tpg = Tpg { tag: 1, relative_port: 1, portals, acls, luns, ..Tpg::default() };
        Target { iqn: "iqn.t".into(), alias: None, redirect: None, tpgs: vec![tpg] }
    }

    fn lines(old: &[Arc<Target>], new: &[Target]) -> Vec<String> {
        let mut plan = Plan::default();
        targets(&turns(old, new), &|lu| format!("store{}", lu.0), &mut plan);
        plan.to_string().lines().map(Into::into).collect()
    }

    #[test]
    fn a_lun_that_comes_is_one_line_however_many_initiators_see_it() {
        let old = [Arc::new(target(vec![lun(0, 0)], &["iqn.a", "iqn.b"]))];
        let new = [target(vec![lun(0, 0), lun(1, 1)], &["iqn.a", "iqn.b"])];
        assert_eq!(lines(&old, &new), ["+ /iscsi/iqn.t/tpg1/luns/lun1  (store1)"]);
        assert_eq!(lines(&old, &[target(vec![lun(0, 0)], &["iqn.a", "iqn.b"])]), Vec::<String>::new());
    }

    #[test]
    fn what_comes_with_a_target_is_named_and_what_goes_with_one_is_not() {
        let all = [target(vec![lun(0, 0)], &["iqn.a"])];
        let told = [
            "+ /iscsi/iqn.t",
            "+ /iscsi/iqn.t/tpg1",
            "+ /iscsi/iqn.t/tpg1/portals/127.0.0.1:3260",
            "+ /iscsi/iqn.t/tpg1/luns/lun0  (store0)",
            "+ /iscsi/iqn.t/tpg1/acls/iqn.a",
        ];
        assert_eq!(lines(&[], &all), told);
        assert_eq!(lines(&all.map(Arc::new), &[]), ["- /iscsi/iqn.t"]);
    }

    #[test]
    fn an_initiator_with_a_map_of_its_own_is_told_of() {
        let old = target(vec![lun(0, 0), lun(1, 1)], &["iqn.a"]);
        let mut new = target(vec![lun(0, 0), lun(1, 1)], &["iqn.a"]);
        new.tpgs[0].acls[0].luns.remove(1);
        new.tpgs[0].open = true;
        let told = ["~ /iscsi/iqn.t/tpg1  (any_initiator)", "- /iscsi/iqn.t/tpg1/acls/iqn.a/mapped_lun1"];
        assert_eq!(lines(&[Arc::new(old)], &[new]), told);
    }

    #[test]
    fn another_limit_of_an_initiator_is_told_of() {
        let old = target(vec![lun(0, 0)], &["iqn.a", "iqn.b"]);
        let mut new = old.clone();
        new.tpgs[0].acls[1].quota.read.commands = 100;
        assert_eq!(lines(&[Arc::new(old)], &[new]), ["~ /iscsi/iqn.t/tpg1/acls/iqn.b  (qos)"]);
    }

    #[test]
    fn local_disks_are_told_of_by_their_stores() {
        let disk = |store: &str, device| LoopbackConfig { store: store.into(), device, read_only: false };
        let mut plan = Plan::default();
        loopbacks(
            &[disk("a", None), disk("b", None)],
            &[disk("b", Some(1)), disk("c", None)],
            &[],
            &mut plan,
        );
        assert_eq!(plan.to_string(), "- /loopback/a\n~ /loopback/b  (device)\n+ /loopback/c\n");
        let hidden = crate::target::local_target("a", lun(0, 0));
        assert!(lines(&[], &[hidden]).is_empty());
    }

    #[test]
    fn a_plan_goes_as_json_and_comes_back() {
        let mut plan = Plan { next_start: vec!["server.reactors".into()], ..Plan::default() };
        plan.push(Action::Remove, "/iscsi/iqn.t", "");
        let text = serde_json::to_string(&plan).unwrap();
        assert!(text.contains(r#""action":"remove""#), "{text}");
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}

//! `targets`: their groups, LUNs, initiators and who may log in.

use std::collections::BTreeMap;

use super::auth::{self, Door};
use super::json::{Findings, Node, Object};
use super::known::{self, list_rest};
use super::params::{self, Lines};
use super::ports::{self, Portal};
use super::stores::Stores;
use super::text::Text;
use crate::admin::config::{At, check_iqn, check_open};
use crate::scsi::DEFAULT_GROUP;

/// The largest LUN of flat addressing (SAM-5 section 4.7.7.3).
const MAX_LUN: u64 = 16_383;

struct Group {
    tag: u64,
    portals: Vec<Portal>,
    open: bool,
    door: Option<Door>,
    /// It has no credentials, and demands some all the same.
    demands: bool,
    lines: Lines,
    luns: BTreeMap<u64, Lun>,
    acls: Vec<Acl>,
}

struct Lun {
    backstore: String,
    alua_group: Option<String>,
    read_only: bool,
}

struct Acl {
    initiator: String,
    door: Option<Door>,
    /// Whether LIO asks for credentials.
    asks: bool,
    mapped: BTreeMap<u64, Mapped>,
}

struct Mapped {
    lun: u64,
    read_only: bool,
}

/// What a group says about authentication and strangers.
struct Rules {
    authentication: bool,
    /// Initiators without an ACL may log in.
    dynamic: bool,
    /// But not write.
    protect: bool,
}

pub(super) fn import<'t>(node: &Node<'t>, stores: &Stores, out: &mut Text, found: &mut Findings<'t>) {
    let Some(mut o) = node.object(found) else { return };
    let (wwn, fabric) = (o.needed("wwn", found), o.needed("fabric", found));
    let (Some(wwn), Some(fabric)) = (wwn, fabric) else { return };
    if fabric == "loopback" {
        let why = "local disks are made here by [[loopback]], each of a backstore: it is left out";
        return found.list(node, why);
    }
    if fabric != "iscsi" {
        return found
            .list(node, format!("there is no fabric but iscsi here, and this is {fabric}: it is left out"));
    }
    let iqn = match check_iqn(&wwn, At::Whole) {
        Ok(iqn) => iqn,
        Err(problem) => return found.error(node, &problem.what, &problem.remedy),
    };
    let mut alias = None;
    let mut groups: Vec<Group> = Vec::new();
    for (index, tpg) in o.list("tpgs", found).iter().enumerate() {
        groups.extend(group(tpg, index, stores, &mut alias, found));
    }
    if let Some(parameters) = o.object("parameters", found) {
        list_rest(parameters, known::OF_TARGETS, found);
    }
    list_rest(o, &[], found);
    out.section("[[target]]");
    out.text("iqn", &iqn);
    if let Some(alias) = alias {
        out.text("alias", &alias);
    }
    groups.iter().for_each(|group| group.write(out));
}

fn group<'t>(
    node: &Node<'t>,
    index: usize,
    stores: &Stores,
    alias: &mut Option<String>,
    found: &mut Findings<'t>,
) -> Option<Group> {
    let mut o = node.object(found)?;
    if !o.flag("enable", found).unwrap_or(true) {
        found.list(
            node,
            "it is disabled there, and every group of a configuration is served here: it is left out",
        );
        return None;
    }
    let tag = o.number("tag", found).unwrap_or(index as u64 + 1);
    if tag > u64::from(u16::MAX) {
        found.error(node, "the tag has more than 16 bits", "write a number from 1 to 65535");
    }
    let mut lines = Lines::default();
    let mut attributes = o.object("attributes", found);
    let rules = rules(attributes.as_mut(), &mut lines, found);
    if let Some(parameters) = o.object("parameters", found)
        && let Some(name) = params::import(parameters, &mut lines, found)
    {
        set_alias(alias, &name, found);
    }
    let door = auth::chap(&mut o, found);
    let portals = ports::import(&o.list("portals", found), found);
    let luns = luns(&o.list("luns", found), stores, found);
    let nodes = o.list("node_acls", found);
    let mut acls = acls(&nodes, &luns, &rules, &mut lines, found);
    let demands = demands(&rules, door.is_some(), &acls);
    acls.retain(|(node, acl)| acl.is_let_in(node, door.is_some(), demands, found));
    let acls: Vec<Acl> = acls.into_iter().map(|(_, acl)| acl).collect();
    if !rules.authentication && (door.is_some() || acls.iter().any(|acl| acl.door.is_some())) {
        let reason = "authentication is 0, so LIO lets initiators in without the credentials that are set; here they \
                      are asked for: remove a chap for whoever does not know it";
        found.list(node, reason);
    }
    let mut group = Group { tag, portals, open: false, door, demands, lines, luns, acls };
    if rules.dynamic {
        group.open(&rules, attributes.as_ref().map_or(node, |a| &a.node), found);
    }
    if let Some(attributes) = attributes {
        list_rest(attributes, known::OF_GROUPS, found);
    }
    list_rest(o, &[], found);
    Some(group)
}

fn set_alias(alias: &mut Option<String>, node: &Node<'_>, found: &mut Findings<'_>) {
    let name = node.word();
    if name.len() > 255 || name.contains(char::is_control) {
        return found.list(node, "an alias has at most 255 bytes, and no control characters: it is left out");
    }
    let first = alias.get_or_insert_with(|| name.clone());
    if *first != name {
        found.list(node, format!("a target has one alias here: it is {first}"));
    }
}

fn rules<'t>(attributes: Option<&mut Object<'t>>, lines: &mut Lines, found: &mut Findings<'t>) -> Rules {
    let Some(a) = attributes else { return Rules { authentication: false, dynamic: false, protect: true } };
    if let Some(node) = a.take("default_cmdsn_depth") {
        lines.number("command_window", &node, 2, 4096, found);
    }
    if let Some(node) = a.take("login_timeout") {
        lines.number("login_timeout", &node, 1, 600, found);
    }
    Rules {
        authentication: a.flag("authentication", found).unwrap_or(false),
        dynamic: a.flag("generate_node_acls", found).unwrap_or(false),
        protect: a.flag("demo_mode_write_protect", found).unwrap_or(true),
    }
}

fn luns<'t>(nodes: &[Node<'t>], stores: &Stores, found: &mut Findings<'t>) -> BTreeMap<u64, Lun> {
    let mut luns = BTreeMap::new();
    for node in nodes {
        let Some((index, lun)) = lun(node, stores, found) else { continue };
        if luns.insert(index, lun).is_some() {
            found.error(node, &format!("there is a LUN {index} already"), "give it a number of its own");
        }
    }
    luns
}

fn lun<'t>(node: &Node<'t>, stores: &Stores, found: &mut Findings<'t>) -> Option<(u64, Lun)> {
    let mut o = node.object(found)?;
    let path = o.needed("storage_object", found)?;
    let index = number(&mut o, "index", found)?;
    let group = o.text("alua_tg_pt_gp_name", found).filter(|name| !name.is_empty());
    list_rest(o, known::OF_LUNS, found);
    let Some(store) = stores.at(&path) else {
        found.error(node, &format!("there is no storage object {path}"), "name one of storage_objects");
        return None;
    };
    let Some(store) = store else {
        found.list(node, format!("{path} is left out, so this LUN is, too"));
        return None;
    };
    if index > MAX_LUN {
        found.list(node, format!("LUNs go to {MAX_LUN} here: it is left out"));
        return None;
    }
    let ours = group.as_ref().and_then(|group| store.groups.iter().find(|(theirs, _)| theirs == group));
    if let Some(group) = group.filter(|group| ours.is_none() && group != DEFAULT_GROUP) {
        found.list(node, format!("{path} has no target port group {group} here: it is in {DEFAULT_GROUP}"));
    }
    let alua_group = ours.map(|(_, ours)| ours.clone()).filter(|ours| ours != DEFAULT_GROUP);
    Some((index, Lun { backstore: store.name.clone(), alua_group, read_only: false }))
}

fn number<'t>(o: &mut Object<'t>, key: &str, found: &mut Findings<'t>) -> Option<u64> {
    let Some(node) = o.take(key) else {
        found.error(&o.node, &format!("there is no \"{key}\" in it"), "rtslib-fb always writes one");
        return None;
    };
    node.number(found)
}

/// Whether a group without credentials keeps out whoever has none of his own, as LIO does. Here that is one for the whole
/// group: not where LIO asks some of them for nothing.
fn demands(rules: &Rules, has_credentials: bool, acls: &[(&Node<'_>, Acl)]) -> bool {
    rules.authentication && !has_credentials && acls.iter().all(|(_, acl)| acl.asks || acl.door.is_some())
}

fn acls<'n, 't>(
    nodes: &'n [Node<'t>],
    luns: &BTreeMap<u64, Lun>,
    rules: &Rules,
    lines: &mut Lines,
    found: &mut Findings<'t>,
) -> Vec<(&'n Node<'t>, Acl)> {
    let mut acls: Vec<(&Node<'t>, Acl)> = Vec::new();
    let mut times = Vec::new();
    for node in nodes {
        let Some(acl) = acl(node, luns, rules, &mut times, found) else { continue };
        if acls.iter().any(|(_, other)| other.initiator == acl.initiator) {
            found.error(node, &format!("there is an ACL for {} already", acl.initiator), "put both together");
        } else {
            acls.push((node, acl));
        }
    }
    keep_times(&times, lines, found);
    acls
}

/// How long an initiator may be silent is said for each one there, and for the group here.
fn keep_times<'t>(times: &[(&'static str, Node<'t>)], lines: &mut Lines, found: &mut Findings<'t>) {
    for key in ["nop_interval", "nop_timeout"] {
        let mut said = times.iter().filter(|(k, _)| *k == key).map(|(_, node)| node);
        let Some(first) = said.next() else { continue };
        let least = if key == "nop_timeout" { 1 } else { 0 };
        lines.number(key, first, least, 3600, found);
        if let Some(other) = said.find(|node| node.word() != first.word()) {
            found.list(other, format!("{key} is one for the whole group here: that of its first ACL"));
        }
    }
}

fn acl<'t>(
    node: &Node<'t>,
    luns: &BTreeMap<u64, Lun>,
    rules: &Rules,
    times: &mut Vec<(&'static str, Node<'t>)>,
    found: &mut Findings<'t>,
) -> Option<Acl> {
    let mut o = node.object(found)?;
    let wwn = o.needed("node_wwn", found)?;
    let initiator = match check_iqn(&wwn, At::Whole) {
        Ok(initiator) => initiator,
        Err(problem) => {
            found.error(node, &problem.what, &problem.remedy);
            return None;
        }
    };
    let door = auth::chap(&mut o, found);
    if let Some(tag) = o.take("tag") {
        found.list(&tag, "there are no groups of ACLs here: each stands for itself");
    }
    let mut asks = rules.authentication;
    if let Some(mut attributes) = o.object("attributes", found) {
        for (theirs, ours) in [("nopin_timeout", "nop_interval"), ("nopin_response_timeout", "nop_timeout")] {
            times.extend(attributes.take(theirs).map(|node| (ours, node)));
        }
        asks = match attributes.take("authentication").map(|node| node.word()).as_deref() {
            Some("0") => false,
            Some("1") => true,
            _ => asks,
        };
        list_rest(attributes, known::OF_ACLS, found);
    }
    let mapped = mapped(&o.list("mapped_luns", found), luns, found);
    list_rest(o, &[], found);
    Some(Acl { initiator, door, asks, mapped })
}

fn mapped<'t>(
    nodes: &[Node<'t>],
    luns: &BTreeMap<u64, Lun>,
    found: &mut Findings<'t>,
) -> BTreeMap<u64, Mapped> {
    let mut all = BTreeMap::new();
    for node in nodes {
        let Some(mut o) = node.object(found) else { continue };
        let (Some(index), Some(lun)) = (number(&mut o, "index", found), number(&mut o, "tpg_lun", found))
        else {
            continue;
        };
        let read_only = o.flag("write_protect", found).unwrap_or(false);
        list_rest(o, known::OF_LUNS, found);
        if !luns.contains_key(&lun) {
            found.list(node, format!("there is no LUN {lun} here, so it maps nothing: it is left out"));
        } else if index > MAX_LUN {
            found.list(node, format!("LUNs go to {MAX_LUN} here: it is left out"));
        } else if all.insert(index, Mapped { lun, read_only }).is_some() {
            found.error(
                node,
                &format!("there is a mapped LUN {index} already"),
                "give it a number of its own",
            );
        }
    }
    all
}

impl Group {
    /// Lets initiators without an ACL in as LIO does, if that can be said and is safe.
    fn open(&mut self, rules: &Rules, node: &Node<'_>, found: &mut Findings<'_>) {
        let mut refuse =
            |why: String| found.list(node, format!("generate_node_acls is 1, but {why}: only ACLs let in"));
        let asks = self.door.is_some() || self.demands;
        if rules.authentication && !asks {
            return refuse("the group has no credentials, so LIO lets nobody in by it".into());
        }
        let afar = |p: &&Portal| check_open(p.address, At::Whole, "").is_err();
        if !asks && let Some(portal) = self.portals.iter().find(afar) {
            return refuse(format!(
                "without a chap that would let anybody in at {}; add an ACL for each initiator, or let in those of a network \
                 by any_initiator = true and from = [\"192.0.2.0/24\"]",
                portal.text
            ));
        }
        let anybody_writes = self.acls.iter().flat_map(|acl| acl.mapped.values()).any(|m| !m.read_only);
        if rules.protect && anybody_writes {
            return refuse(
                "demo_mode_write_protect keeps strangers from writing LUNs that others write".into(),
            );
        }
        self.open = true;
        self.luns.values_mut().for_each(|lun| lun.read_only = rules.protect);
    }

    fn write(&self, out: &mut Text) {
        out.section("[[target.tpg]]");
        out.value("tag", self.tag);
        out.texts("portals", self.portals.iter().map(|p| p.text.as_str()));
        if self.open {
            out.value("any_initiator", true);
        }
        if self.demands {
            out.value("require_chap", true);
        }
        if let Some(door) = &self.door {
            door.write(out);
        }
        self.lines.write(out);
        for (number, lun) in &self.luns {
            lun.write(*number, out);
        }
        for acl in &self.acls {
            acl.write(&self.luns, out);
        }
    }
}

impl Lun {
    fn write(&self, number: u64, out: &mut Text) {
        out.section("[[target.tpg.lun]]");
        out.value("lun", number);
        out.text("backstore", &self.backstore);
        if self.read_only {
            out.value("read_only", true);
        }
        if let Some(group) = &self.alua_group {
            out.text("alua_group", group);
        }
    }
}

impl Acl {
    /// Whether it has a place in a group that has credentials, or demands some: without them it is left out where LIO asks
    /// for some, and lets nobody in.
    fn is_let_in(&self, node: &Node<'_>, by_group: bool, demanded: bool, found: &mut Findings<'_>) -> bool {
        if self.door.is_some() || demanded {
            return true;
        }
        if by_group {
            found.list(node, "it has no credentials of its own, so those of its group count here");
        } else if self.asks {
            let reason =
                "LIO asks for credentials that are not set, so it lets nobody in by this ACL: it is left out";
            found.list(node, reason);
        }
        by_group || !self.asks
    }

    fn write(&self, luns: &BTreeMap<u64, Lun>, out: &mut Text) {
        out.section("[[target.tpg.acl]]");
        out.text("initiator", &self.initiator);
        if let Some(door) = &self.door {
            door.write(out);
        }
        if self.sees_all(luns) {
            return;
        }
        if self.mapped.is_empty() {
            return out.value("mapped_lun", "[]");
        }
        for (number, mapped) in &self.mapped {
            out.section("[[target.tpg.acl.mapped_lun]]");
            out.value("lun", number);
            if mapped.lun != *number {
                out.value("tpg_lun", mapped.lun);
            }
            if mapped.read_only {
                out.value("read_only", true);
            }
        }
    }

    /// Whether it sees the LUNs of the group as they are, which is what no map says.
    fn sees_all(&self, luns: &BTreeMap<u64, Lun>) -> bool {
        let as_it_is =
            |number: &u64| self.mapped.get(number).is_some_and(|m| m.lun == *number && !m.read_only);
        self.mapped.len() == luns.len() && luns.keys().all(as_it_is)
    }
}

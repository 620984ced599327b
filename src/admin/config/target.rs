//! `[[target]]` and what is below it: groups, portals, logical units, initiators.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::file::{FileAcl, FileLun, FileMappedLun, FileTarget, FileTpg, Value};
use super::names::check_iqn;
use super::portal::{check_open, parse_portal};
use super::reader::Here;
use super::resolve::{Bounds, Resolver};
use super::store::Stores;
use super::{alua, auth, params, portal, qos, words};
use crate::ids::LuId;
use crate::target::{Acl, Lun, Network, Target, Tpg, TpgParams, is_local, portal_covers};

/// What is said of a group without portals.
pub const NO_PORTAL: &str = "this group has no portal";

/// What is said of a group to which nobody may log in.
pub const NO_ACL: &str = "nobody may log in to this group";

/// The largest LUN of flat addressing (SAM-5 section 4.7.7.3).
const LUN: Bounds = Bounds { min: 0, max: 16_383, reason: "SAM-5's flat addressing has 14 bits" };

/// A relative target port identifier (SPC-5 section 4.3.4).
const RELATIVE_PORT: Bounds =
    Bounds { min: 1, max: 65_535, reason: "a relative target port identifier has 16 bits, and 0 is none" };

/// TargetAlias is a text value.
const ALIAS_MAX: usize = 255;

/// What all targets must not have twice.
#[derive(Default)]
struct Taken {
    iqns: HashMap<String, ()>,
    groups: usize,
    relative_ports: HashMap<u16, ()>,
    /// How many ports each target port group of each store has.
    members: HashMap<(usize, u16), usize>,
}

pub(super) fn resolve(files: Vec<FileTarget>, stores: &Stores, cx: &mut Resolver<'_>) -> Vec<Target> {
    let mut taken = Taken::default();
    files.into_iter().map(|file| target(file, stores, &mut taken, cx)).collect()
}

fn target(file: FileTarget, stores: &Stores, taken: &mut Taken, cx: &mut Resolver<'_>) -> Target {
    let iqn = target_name(&file, taken, cx);
    let alias = alias(&file.alias, cx);
    let moved = file.redirect.as_ref().map(|redirect| redirect.here.span.clone());
    cx.moved.extend(moved.map(|span| (iqn.clone(), span)));
    let redirect = file.redirect.and_then(|redirect| portal::redirect(redirect, cx));
    let groups = file.tpg.unwrap_or_default();
    if groups.is_empty() && redirect.is_none() {
        let reason = "initiators reach a target through the portals of its groups";
        cx.warning(file.here.span, "this target has no group", reason, "add a [[target.tpg]] with portals");
    }
    let mut tags = BTreeMap::new();
    let mut portals = Vec::new();
    let mut tpgs = Vec::new();
    for (index, file) in groups.into_iter().enumerate() {
        check_tag(&file, index, &mut tags, cx);
        let group = group(file, &iqn, index, stores, taken, cx);
        let spans = group.1;
        check_overlap(&group.0, &spans, &mut portals, cx);
        tpgs.push(group.0);
    }
    Target { iqn, alias, redirect, tpgs }
}

fn target_name(file: &FileTarget, taken: &mut Taken, cx: &mut Resolver<'_>) -> String {
    let Some(value) = &file.iqn else {
        cx.missing(&file.here, "[[target]]", "iqn", "\"iqn.2026-11.org.example:disks\"");
        return String::new();
    };
    match check_iqn(value.get_ref(), value) {
        Ok(iqn) => {
            if is_local(&iqn) {
                let what = format!("{iqn} is the name of a local disk's target");
                let remedy = "choose another; local disks are made by [[loopback]]";
                cx.error(value, what, "these are made here, and no initiator sees them", remedy);
            }
            if taken.iqns.insert(iqn.clone(), ()).is_some() {
                let what = format!("there is a target {iqn} already");
                cx.error(value, what, "a login names one target", "put both under one [[target]], or rename");
            }
            iqn
        }
        Err(problem) => {
            cx.push(problem);
            String::new()
        }
    }
}

fn alias(value: &Value<String>, cx: &mut Resolver<'_>) -> Option<String> {
    let value = value.as_ref()?;
    let alias = value.get_ref();
    if alias.len() > ALIAS_MAX || alias.contains(char::is_control) {
        let remedy = "write at most 255 bytes of text without control characters";
        cx.error(value, "this is no alias", "it travels as a text value", remedy);
    }
    Some(alias.clone())
}

/// A group without a tag has its place in the list as one.
fn tag_of(file: &FileTpg, index: usize) -> u16 {
    let place = u16::try_from(index + 1).unwrap_or(u16::MAX);
    file.tag.as_ref().map_or(place, |t| *t.get_ref())
}

fn check_tag(file: &FileTpg, index: usize, tags: &mut BTreeMap<u16, ()>, cx: &mut Resolver<'_>) {
    let tag = tag_of(file, index);
    let at = file.here.or_at(&file.tag);
    if tags.insert(tag, ()).is_some() {
        let what = format!("this target has a group {tag} already");
        cx.error(at, what, "initiators tell groups by their tags", "give it a tag of its own");
    }
}

/// The group, and where each of its portals stands.
fn group(
    file: FileTpg,
    iqn: &str,
    index: usize,
    stores: &Stores,
    taken: &mut Taken,
    cx: &mut Resolver<'_>,
) -> (Tpg, Vec<Range<usize>>) {
    let tag = tag_of(&file, index);
    let span = file.here.span.clone();
    let (portals, spans) = portals(&file.portals, cx);
    let open = file.any_initiator.as_ref().is_some_and(|v| *v.get_ref());
    let relative_port = relative_port(&file, taken, cx);
    let auth = auth::resolve(file.chap, file.mutual_chap, cx);
    let luns = luns(file.lun.unwrap_or_default(), stores, &mut taken.members, cx);
    let mut group = Tpg {
        tag,
        relative_port,
        portals,
        params: file.parameters.map_or_else(TpgParams::default, |p| params::resolve(p, cx)),
        acls: acls(file.acl.unwrap_or_default(), &luns, &auth, cx),
        luns,
        from: networks(&file.from, cx),
        open,
        auth,
    };
    let counts = group.open || group.acls.iter().any(|acl| !acl.auth.required());
    let whose = format!("group {tag} of {iqn}");
    auth::require(&mut group.auth, &file.require_chap, counts.then_some(whose.as_str()), cx);
    check_doors(&group, &spans, span, cx);
    (group, spans)
}

/// The number that the administrator chose for this port; 0: it gets one at the start, and keeps it.
fn relative_port(file: &FileTpg, taken: &mut Taken, cx: &mut Resolver<'_>) -> u16 {
    taken.groups += 1;
    if taken.groups > usize::from(u16::MAX) {
        let at = file.here.span.clone();
        cx.error(at, "there are more than 65535 groups", RELATIVE_PORT.reason, "put targets together");
    }
    let Some(port) = cx.number(&file.relative_port, &RELATIVE_PORT) else { return 0 };
    if taken.relative_ports.insert(port, ()).is_some() {
        let what = format!("another group is port {port} already");
        let remedy = "choose another number, or leave the line out and one is given";
        cx.error(file.here.or_at(&file.relative_port), what, "initiators tell ports by it", remedy);
    }
    port
}

fn portals(
    value: &Value<Vec<Spanned<String>>>,
    cx: &mut Resolver<'_>,
) -> (Vec<SocketAddr>, Vec<Range<usize>>) {
    let (mut portals, mut spans): (Vec<SocketAddr>, Vec<_>) = Default::default();
    for text in value.iter().flat_map(|v| v.get_ref()) {
        match parse_portal(text.get_ref(), text) {
            Ok(portal) if portals.contains(&portal) => {
                cx.error(text, format!("the portal {portal} is named twice"), "", "keep one");
            }
            Ok(portal) => {
                portals.push(portal);
                spans.push(text.span());
            }
            Err(problem) => cx.push(problem),
        }
    }
    (portals, spans)
}

/// A connection must belong to one group of a target: that of the portal at which it arrived.
fn check_overlap(
    group: &Tpg,
    spans: &[Range<usize>],
    others: &mut Vec<(SocketAddr, u16)>,
    cx: &mut Resolver<'_>,
) {
    for (portal, span) in group.portals.iter().zip(spans) {
        // Port 0 is any free port, the same for all who name it with the same address.
        let overlaps = |other: SocketAddr| {
            let covers = portal_covers(other, *portal) || portal_covers(*portal, other);
            other == *portal || (covers && portal.port() != 0)
        };
        let clash = others.iter().find(|(other, _)| overlaps(*other));
        if let Some((other, tag)) = clash {
            cx.error(
                span.clone(),
                format!("the portal {portal} is covered by {other} of group {tag}"),
                "a connection that arrives there could belong to either group of this target",
                "give the groups different addresses or ports",
            );
        }
    }
    others.extend(group.portals.iter().map(|p| (*p, group.tag)));
}

/// Whether somebody can log in, and not just anybody.
fn check_doors(group: &Tpg, spans: &[Range<usize>], span: Range<usize>, cx: &mut Resolver<'_>) {
    if group.portals.is_empty() {
        let remedy = "add portals = [\"0.0.0.0:3260\"]";
        cx.warning(span.clone(), NO_PORTAL, "nobody can reach it", remedy);
    }
    if !group.open && group.acls.is_empty() {
        let remedy = "add a [[target.tpg.acl]] for each initiator, or any_initiator = true";
        cx.warning(span, NO_ACL, "no ACL, no access", remedy);
    }
    if group.open && group.from.is_empty() && !group.auth.required() {
        let remedy = "remove any_initiator and add a [[target.tpg.acl]] for each initiator, or give the group \
                      a chap, or say where they come from = [\"192.0.2.0/24\"], or listen on 127.0.0.1";
        let checks = group.portals.iter().zip(spans).map(|(p, span)| check_open(*p, span.clone(), remedy));
        checks.filter_map(Result::err).for_each(|problem| cx.push(problem));
    }
}

fn luns(
    files: Vec<FileLun>,
    stores: &Stores,
    members: &mut HashMap<(usize, u16), usize>,
    cx: &mut Resolver<'_>,
) -> Vec<Lun> {
    let mut luns = BTreeMap::new();
    let mut used = HashMap::new();
    for file in files {
        let number = lun_number(&file.lun, &file.here, "[[target.tpg.lun]]", cx);
        let store = store_of(&file, stores, cx);
        let Some(number) = number else { continue };
        let at = file.here.or_at(&file.lun);
        let read_only = file.read_only.as_ref().is_some_and(|v| *v.get_ref());
        // An unknown store has been told; the LUN stays, so that what maps it is not called wrong too.
        let lu = LuId(store.and_then(|s| u32::try_from(s).ok()).unwrap_or(u32::MAX));
        let group = store.map_or(0, |store| alua::group_of(&file, store, stores, cx));
        let lun = Lun { lun: number, lu, read_only, group };
        if luns.insert(number, lun).is_some() {
            let what = format!("this group has a LUN {number} already");
            cx.error(at, what, "an initiator could see only one of them", "give it a number of its own");
        } else if let Some((other, its)) = store.and_then(|s| used.insert(s, (number, group))) {
            if its != group {
                alua::in_two_groups(&file, other, cx);
            }
            let what = format!("LUN {other} of this group is the same backstore");
            let reason = "initiators see one disk twice, and without multipath they mix its data";
            cx.warning(at, what, reason, "remove one, unless that is what you want");
        } else if let Some(store) = store {
            alua::count_port(&file, members.entry((store, group)).or_default(), cx);
        }
    }
    luns.into_values().collect()
}

fn lun_number(value: &Value<u16>, here: &Here, title: &str, cx: &mut Resolver<'_>) -> Option<u16> {
    if value.is_none() {
        cx.missing(here, title, "lun", "0");
    }
    cx.number(value, &LUN)
}

fn store_of(file: &FileLun, stores: &Stores, cx: &mut Resolver<'_>) -> Option<usize> {
    let Some(value) = &file.backstore else {
        cx.missing(&file.here, "[[target.tpg.lun]]", "backstore", "\"…\"");
        return None;
    };
    let name = value.get_ref();
    let found = stores.find(name);
    if found.is_none() {
        let remedy = words::suggestion(name, stores.names().filter(|n| !n.is_empty()));
        let reason = "a LUN names a [[backstore]] of this file";
        cx.error(value, format!("there is no backstore \"{name}\""), reason, remedy);
    }
    found
}

fn acls(files: Vec<FileAcl>, luns: &[Lun], group: &crate::target::Auth, cx: &mut Resolver<'_>) -> Vec<Acl> {
    let mut seen = HashMap::new();
    let mut acls = Vec::with_capacity(files.len());
    for file in files {
        let Some(initiator) = initiator(&file, cx) else { continue };
        let at = file.here.or_at(&file.initiator);
        if seen.insert(initiator.clone(), ()).is_some() {
            let what = format!("this group has an ACL for {initiator} already");
            cx.error(at, what, "only one of them could count", "put both together");
        }
        acls.push(Acl {
            initiator,
            from: networks(&file.from, cx),
            auth: acl_auth(file.chap, file.mutual_chap, &file.here.span, group, cx),
            luns: file.mapped_lun.map_or_else(|| luns.to_vec(), |mapped| map(mapped, luns, cx)),
            quota: qos::resolve(file.qos, cx),
        });
    }
    acls
}

/// `from`: addresses and networks.
fn networks(value: &Value<Vec<Spanned<String>>>, cx: &mut Resolver<'_>) -> Vec<Network> {
    let Some(value) = value else { return Vec::new() };
    if value.get_ref().is_empty() {
        let remedy = "name some, like \"192.0.2.0/24\", or remove the line";
        cx.error(value, "there is nowhere to come from", "nobody could log in", remedy);
    }
    value.get_ref().iter().filter_map(|text| network(text, cx)).collect()
}

fn network(text: &Spanned<String>, cx: &mut Resolver<'_>) -> Option<Network> {
    match text.get_ref().parse::<Network>() {
        Ok(network) if network.is_everything() => {
            cx.error(text, format!("{network} is everywhere"), "it keeps nobody out", "remove the line");
            None
        }
        Ok(network) => Some(network),
        Err(problem) => {
            let remedy = "write one like 192.0.2.1, 192.0.2.0/24, 192.0.2.0/255.255.255.0 or 2001:db8::/32";
            cx.error(text, problem.to_string(), "names are not looked up", remedy);
            None
        }
    }
}

fn initiator(file: &FileAcl, cx: &mut Resolver<'_>) -> Option<String> {
    let Some(value) = &file.initiator else {
        cx.missing(&file.here, "[[target.tpg.acl]]", "initiator", "\"iqn.…\"");
        return None;
    };
    check_iqn(value.get_ref(), value).map_err(|problem| cx.push(problem)).ok()
}

/// An ACL with credentials of its own proves the target by the group's mutual secret unless it has one too.
fn acl_auth(
    chap: Vec<super::file::FileChap>,
    mutual: Option<super::file::FileChap>,
    span: &Range<usize>,
    group: &crate::target::Auth,
    cx: &mut Resolver<'_>,
) -> crate::target::Auth {
    let own = mutual.is_some();
    let mut auth = auth::resolve(chap, mutual, cx);
    if auth.required()
        && !own
        && let Some(mutual) = &group.mutual
    {
        auth::check_distinct(&auth.chap, mutual, span.clone(), cx);
        auth.mutual = Some(mutual.clone());
    }
    auth
}

/// The LUN map of one initiator. `luns` are in the order of their numbers.
fn map(files: Vec<FileMappedLun>, luns: &[Lun], cx: &mut Resolver<'_>) -> Vec<Lun> {
    let mut mapped = BTreeMap::new();
    for file in files {
        let Some(number) = lun_number(&file.lun, &file.here, "mapped LUN", cx) else { continue };
        let Some(behind) = mapped_to(&file, number, luns, cx) else { continue };
        let read_only = behind.read_only || file.read_only.as_ref().is_some_and(|v| *v.get_ref());
        if mapped.insert(number, Lun { lun: number, read_only, ..behind }).is_some() {
            let at = file.here.or_at(&file.lun);
            let what = format!("this initiator has a LUN {number} already");
            cx.error(at, what, "it could see only one of them", "give it a number of its own");
        }
    }
    mapped.into_values().collect()
}

fn mapped_to(file: &FileMappedLun, number: u16, luns: &[Lun], cx: &mut Resolver<'_>) -> Option<Lun> {
    let wanted = file.tpg_lun.as_ref().map_or(number, |v| *v.get_ref());
    let found = luns.binary_search_by_key(&wanted, |l| l.lun).ok().map(|at| luns[at]);
    if found.is_none() {
        let at = file.tpg_lun.as_ref().map_or_else(|| file.here.or_at(&file.lun), Spanned::span);
        let have: Vec<String> = luns.iter().map(|l| l.lun.to_string()).collect();
        let remedy = words::suggestion("", have.iter().map(String::as_str));
        let reason = "a mapped LUN shows a [[target.tpg.lun]] of its group";
        cx.error(at, format!("this group has no LUN {wanted}"), reason, remedy);
    }
    found
}

//! `[backstore.alua]`: target port groups, and which ports are in them.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::file::{FileAlua, FileGroup, FileLun, Value};
use super::reader::FileSection;
use super::resolve::{Bounds, Resolver};
use super::store::{Stores, bad_name};
use super::words;
use crate::ids::LuId;
use crate::scsi::{AccessState, DEFAULT_GROUP, Group, Groups, MAX_GROUP_PORTS, MAX_GROUPS, Supported};
use crate::target::Target;

/// Milliseconds. IMPLICIT TRANSITION TIME is a byte of seconds.
const TRANSITION_TIME: Bounds = Bounds { min: 0, max: 255_000, reason: "initiators are told it in one byte" };

/// What may change the state of a group: the word, by itself or by an administrator, by initiators.
pub const ACCESS: [(&str, bool, bool); 4] =
    [("none", false, false), ("implicit", true, false), ("explicit", false, true), ("both", true, true)];

/// What is said of a group that no LUN is in.
pub const NO_PORT: &str = "no port is in this target port group";

/// The groups of a file, and where they stand.
#[derive(Default)]
pub(super) struct AluaGroups {
    places: Vec<Place>,
}

struct Place {
    store: usize,
    id: u16,
    span: Range<usize>,
}

impl AluaGroups {
    /// The groups of store number `store`. What is written for the default one changes that.
    pub(super) fn resolve(&mut self, store: usize, file: FileAlua, cx: &mut Resolver<'_>) -> Groups {
        let time = cx.period(&file.implicit_transition_time, &TRANSITION_TIME).unwrap_or(Duration::ZERO);
        let seconds = time.as_millis().div_ceil(1000) as u8;
        let (mut default, mut others, mut spans) = (None, Vec::<Group>::new(), Vec::new());
        for file in file.group.unwrap_or_default() {
            let Some(group) = group(&file, cx) else { continue };
            if default.iter().chain(&others).any(|g| g.name == group.name) {
                let what = format!("this backstore has a target port group \"{}\" already", group.name);
                cx.error(
                    file.here.or_at(&file.name),
                    what,
                    "a LUN that names it could mean either",
                    "rename it",
                );
            }
            spans.push((group.id, file.here.or_at(&file.id)));
            if group.name == DEFAULT_GROUP {
                default = Some(group);
            } else {
                self.places.push(Place { store, id: group.id, span: file.here.span.clone() });
                others.push(group);
            }
        }
        check_ids(default.is_none().then_some(0), &spans, cx);
        let default = default.unwrap_or_else(|| changeable(0, DEFAULT_GROUP));
        if let Some((_, span)) = spans.get(MAX_GROUPS - 1).filter(|_| others.len() >= MAX_GROUPS) {
            let what =
                format!("a backstore has at most {MAX_GROUPS} target port groups, with the default one");
            cx.error(span.clone(), what, "initiators are told of all of them at once", "put ports together");
        }
        Groups::new(default, others, seconds)
    }

    /// Groups that nobody is in do nothing.
    pub(super) fn check_used(&self, targets: &[Target], cx: &mut Resolver<'_>) {
        if self.places.is_empty() {
            return;
        }
        let luns = targets.iter().flat_map(|t| &t.tpgs).flat_map(|g| &g.luns);
        let used: HashSet<(LuId, u16)> = luns.map(|l| (l.lu, l.group)).collect();
        for place in &self.places {
            if !used.contains(&(LuId(place.store as u32), place.id)) {
                let reason = "initiators are not told of a group without ports";
                let remedy = "name it as alua_group in a [[target.tpg.lun]]";
                cx.warning(place.span.clone(), NO_PORT, reason, remedy);
            }
        }
    }
}

/// A group as it is unless something else is said.
fn changeable(id: u16, name: &str) -> Group {
    Group { implicit: true, supported: Supported::all(), ..Group::new(id, name) }
}

/// No number twice. `unsaid` is that of the default group if nothing is written for it.
fn check_ids(unsaid: Option<u16>, spans: &[(u16, Range<usize>)], cx: &mut Resolver<'_>) {
    for (at, (id, span)) in spans.iter().enumerate() {
        if unsaid == Some(*id) || spans[..at].iter().any(|(other, _)| other == id) {
            let what = format!("this backstore has a target port group {id} already");
            cx.error(span.clone(), what, "initiators tell groups by their numbers", "give it another id");
        }
    }
}

fn group(file: &FileGroup, cx: &mut Resolver<'_>) -> Option<Group> {
    let name = name(file, cx)?;
    let id = id(file, &name, cx)?;
    let (implicit, explicit) = access(&file.access, cx);
    let configured = state(&file.state, cx);
    let supported = supported(&file.supported_states, cx);
    if !supported.contains(configured.into()) {
        let what = format!("the group is {} and does not support that", configured.word());
        let remedy = format!("add \"{}\" to supported_states, or change state", configured.word());
        cx.error(file.here.or_at(&file.state), what, "a group is always in a state that it supports", remedy);
    }
    let preferred = file.preferred.as_ref().is_some_and(|v| *v.get_ref());
    Some(Group { implicit, explicit, preferred, supported, configured, ..Group::new(id, name) })
}

fn name(file: &FileGroup, cx: &mut Resolver<'_>) -> Option<String> {
    let Some(value) = &file.name else {
        cx.missing(&file.here, FileGroup::TITLE, "name", "\"…\"");
        return None;
    };
    if let Some(what) = bad_name(value.get_ref()) {
        let reason = "the name is part of paths in the tree";
        cx.error(value, what, reason, "use letters, digits and - _ . : + @");
    }
    Some(value.get_ref().clone())
}

/// The default group is 0 unless something else is said.
fn id(file: &FileGroup, name: &str, cx: &mut Resolver<'_>) -> Option<u16> {
    match &file.id {
        Some(id) => Some(*id.get_ref()),
        None if name == DEFAULT_GROUP => Some(0),
        None => {
            cx.missing(&file.here, FileGroup::TITLE, "id", "1");
            None
        }
    }
}

fn access(value: &Value<String>, cx: &mut Resolver<'_>) -> (bool, bool) {
    let Some(value) = value else { return (true, false) };
    let word = value.get_ref().as_str();
    if let Some((_, implicit, explicit)) = ACCESS.iter().find(|(known, ..)| *known == word) {
        return (*implicit, *explicit);
    }
    let reason = "it says what changes the state of the group: an administrator, initiators, both or nothing";
    let remedy = words::suggestion(word, ACCESS.iter().map(|(known, ..)| *known));
    cx.error(value, format!("there is no access \"{word}\""), reason, remedy);
    (true, false)
}

fn state(value: &Value<String>, cx: &mut Resolver<'_>) -> AccessState {
    let found = value.as_ref().and_then(|v| state_named(v, &AccessState::LASTING, cx));
    found.unwrap_or(AccessState::Optimized)
}

fn supported(value: &Value<Vec<Spanned<String>>>, cx: &mut Resolver<'_>) -> Supported {
    let Some(value) = value else { return Supported::all() };
    let named = value.get_ref().iter().filter_map(|word| state_named(word, &AccessState::ALL, cx));
    named.map(Supported::from).collect()
}

fn state_named(value: &Spanned<String>, among: &[AccessState], cx: &mut Resolver<'_>) -> Option<AccessState> {
    let word = value.get_ref().as_str();
    let found = among.iter().copied().find(|s| s.word() == word);
    if found.is_none() {
        let remedy = words::suggestion(word, among.iter().map(|s| s.word()));
        cx.error(
            value,
            format!("\"{word}\" is no state for this"),
            "SPC-5 section 5.17.2.4 has these",
            remedy,
        );
    }
    found
}

/// The number of the group of store number `store` in which the port of this LUN is.
pub(super) fn group_of(file: &FileLun, store: usize, stores: &Stores, cx: &mut Resolver<'_>) -> u16 {
    let Some(config) = stores.configs.get(store) else { return 0 };
    let name = file.alua_group.as_ref().map_or(DEFAULT_GROUP, |v| v.get_ref());
    if let Some(group) = config.groups.iter().find(|g| g.name == name) {
        return group.id;
    }
    if let Some(value) = &file.alua_group {
        let what = format!("backstore \"{}\" has no target port group \"{name}\"", config.name);
        let remedy = words::suggestion(name, config.groups.iter().map(|g| g.name.as_str()));
        cx.error(value, what, "a LUN names a [[backstore.alua.group]] of its backstore", remedy);
    }
    0
}

/// The same backstore is LUN `other` of the same portal group, in another target port group.
pub(super) fn in_two_groups(file: &FileLun, other: u16, cx: &mut Resolver<'_>) {
    let what =
        format!("LUN {other} has put this portal group into another target port group of that backstore");
    let remedy = "write the same alua_group for both";
    cx.error(file.here.or_at(&file.alua_group), what, "a portal group is one port, which is in one", remedy);
}

/// One more port is in the group; `count` is how many there were.
pub(super) fn count_port(file: &FileLun, count: &mut usize, cx: &mut Resolver<'_>) {
    *count += 1;
    if *count == MAX_GROUP_PORTS + 1 {
        let what = format!("this target port group has {MAX_GROUP_PORTS} ports already");
        let reason = "initiators are told their number in one byte";
        let remedy = "put this LUN, and those behind it, into another alua_group";
        cx.error(file.here.or_at(&file.alua_group), what, reason, remedy);
    }
}

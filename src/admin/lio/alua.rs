//! Target port groups: `alua_tpgs` of a storage object.

use super::json::{Findings, Node};
use super::known::{self, list_rest};
use super::names;
use super::text::Text;
use crate::scsi::{AccessState, DEFAULT_GROUP};

/// What may change the state of a group, by LIO's number.
const ACCESS: [&str; 4] = ["none", "implicit", "explicit", "both"];

/// The flags by which LIO says which states a group supports.
const SUPPORTED: [(&str, AccessState); 5] = [
    ("alua_support_active_optimized", AccessState::Optimized),
    ("alua_support_active_nonoptimized", AccessState::NonOptimized),
    ("alua_support_standby", AccessState::Standby),
    ("alua_support_unavailable", AccessState::Unavailable),
    ("alua_support_transitioning", AccessState::Transitioning),
];

struct Group {
    name: String,
    id: u64,
    access: &'static str,
    state: AccessState,
    supported: Vec<AccessState>,
    preferred: bool,
    transition_seconds: u64,
}

/// Writes the groups; their names there and here.
pub(super) fn import<'t>(
    nodes: &[Node<'t>],
    out: &mut Text,
    found: &mut Findings<'t>,
) -> Vec<(String, String)> {
    let mut groups: Vec<(String, Group)> = Vec::new();
    for node in nodes {
        let Some((theirs, group)) = group(node, found) else { continue };
        if groups.iter().any(|(_, other)| other.name == group.name || other.id == group.id) {
            found.list(node, "another group has its name or number: it is left out");
        } else {
            groups.push((theirs, group));
        }
    }
    let seconds = groups.iter().map(|(_, g)| g.transition_seconds).max().unwrap_or_default().min(255);
    if seconds > 0 || groups.iter().any(|(_, g)| !g.says_nothing()) {
        out.section("[backstore.alua]");
        out.value("implicit_transition_time", seconds);
        groups.iter().for_each(|(_, group)| group.write(out));
    }
    if groups.iter().any(|(_, g)| g.transition_seconds != seconds)
        && let Some(node) = nodes.first()
    {
        found.list(node, format!("implicit_trans_secs is one for all groups here: the longest, {seconds}"));
    }
    groups.into_iter().map(|(theirs, group)| (theirs, group.name)).collect()
}

fn group<'t>(node: &Node<'t>, found: &mut Findings<'t>) -> Option<(String, Group)> {
    let mut o = node.object(found)?;
    let theirs = o.needed("name", found)?;
    let id = o.number("tg_pt_gp_id", found)?;
    if id > u64::from(u16::MAX) {
        found.error(node, "tg_pt_gp_id has more than 16 bits", "write a number from 0 to 65535");
        return None;
    }
    let access = o.number("alua_access_type", found).unwrap_or(3);
    let state = state(o.take("alua_access_state"), found);
    let mut supported: Vec<AccessState> = Vec::new();
    for (flag, state) in SUPPORTED {
        if o.flag(flag, found).unwrap_or(true) {
            supported.push(state);
        }
    }
    if !supported.contains(&state) {
        found.list(node, format!("its state, {}, is not one that it supports: it does here", state.word()));
        supported.push(state);
    }
    let group = Group {
        name: names::safe(&theirs),
        id,
        access: usize::try_from(access).ok().and_then(|n| ACCESS.get(n)).copied().unwrap_or("both"),
        state,
        supported,
        preferred: o.flag("preferred", found).unwrap_or(false),
        transition_seconds: o.number("implicit_trans_secs", found).unwrap_or(0),
    };
    list_rest(o, known::OF_ALUA, found);
    Some((theirs, group))
}

fn state<'t>(node: Option<Node<'t>>, found: &mut Findings<'t>) -> AccessState {
    let Some(node) = node else { return AccessState::Optimized };
    let code = node.number(found).unwrap_or(0);
    let known = AccessState::LASTING.into_iter().find(|state| u64::from(state.code()) == code);
    known.unwrap_or_else(|| {
        found.list(&node, format!("no group stays in state {code} here: it is active/optimized"));
        AccessState::Optimized
    })
}

impl Group {
    /// Whether it is as the default group is here when nothing is said.
    fn says_nothing(&self) -> bool {
        let plain = (self.access, self.state, self.preferred) == ("none", AccessState::Optimized, false);
        self.name == DEFAULT_GROUP && plain && self.supported.len() == 1
    }

    fn write(&self, out: &mut Text) {
        out.section("[[backstore.alua.group]]");
        out.text("name", &self.name);
        out.value("id", self.id);
        out.text("access", self.access);
        out.text("state", self.state.word());
        out.texts("supported_states", self.supported.iter().map(|s| s.word()));
        out.value("preferred", self.preferred);
    }
}

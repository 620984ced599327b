//! Target port groups on the way out.
//!
//! LIO makes `default_tg_pt_gp` itself, with the number 0; rtslib-fb leaves that as it is, whatever its file says, and
//! gives no other group that number. So what is said here of the default group is said there of one beside it.

use serde_json::{Value, json};

use super::names;
use crate::scsi::{AccessState, DEFAULT_GROUP, Group, Groups, Supported};

/// The default group where it is not LIO's own.
const BESIDE: &str = "default";

/// A group as it is there.
pub(super) struct Moved<'g> {
    pub(super) name: String,
    pub(super) id: u16,
    pub(super) here: &'g Group,
}

impl Moved<'_> {
    /// Whether it has another name or number there.
    pub(super) fn is_another(&self) -> bool {
        (&self.name, self.id) != (&self.here.name, self.here.id)
    }

    /// Whether it is LIO's own, in which initiators can do what they cannot here.
    pub(super) fn is_looser(&self) -> bool {
        self.name == DEFAULT_GROUP && self.here.implicit && !self.here.explicit
    }
}

/// All of them.
pub(super) fn moved(groups: &Groups) -> Vec<Moved<'_>> {
    let mut ids: Vec<u16> = groups.iter().map(|here| here.id).collect();
    // They are those of all groups together, here and when they are read again.
    let told = groups.transition_seconds() == 0 || groups.iter().nth(1).is_some();
    let one = |here| match told && is_lios_own(here) {
        true => Moved { name: DEFAULT_GROUP.into(), id: 0, here },
        false => Moved { name: name(here, groups), id: id(here, &mut ids), here },
    };
    groups.iter().map(one).collect()
}

/// Whether it is the one that LIO has by itself, or nothing is said of it.
fn is_lios_own(group: &Group) -> bool {
    let Group { implicit, explicit, preferred, supported, .. } = *group;
    let usual = (implicit, supported) == (true, Supported::all());
    let unsaid = (implicit, explicit, supported) == (false, false, Supported::OPTIMIZED);
    let plain = group.configured == AccessState::Optimized && !preferred;
    group.name == DEFAULT_GROUP && group.id == 0 && (usual || unsaid) && plain
}

fn name(group: &Group, groups: &Groups) -> String {
    match &*group.name {
        DEFAULT_GROUP => names::unused(BESIDE.into(), |name| groups.iter().any(|other| other.name == name)),
        other => other.into(),
    }
}

/// Its number, or one that is free.
fn id(group: &Group, taken: &mut Vec<u16>) -> u16 {
    if group.id != 0 {
        return group.id;
    }
    let free = (1..).find(|id| !taken.contains(id)).unwrap_or(u16::MAX);
    taken.push(free);
    free
}

/// All of them for the file.
pub(super) fn export(groups: &Groups) -> Value {
    moved(groups).iter().map(|group| one(group, groups.transition_seconds())).collect()
}

fn one(Moved { name, id, here }: &Moved<'_>, seconds: u8) -> Value {
    let supports = |state| u8::from(here.supported.contains(state));
    json!({
        "name": name,
        "tg_pt_gp_id": id,
        "alua_access_type": u8::from(here.implicit) | u8::from(here.explicit) << 1,
        "alua_access_state": here.configured.code(),
        "alua_support_active_optimized": supports(Supported::OPTIMIZED),
        "alua_support_active_nonoptimized": supports(Supported::NON_OPTIMIZED),
        "alua_support_standby": supports(Supported::STANDBY),
        "alua_support_unavailable": supports(Supported::UNAVAILABLE),
        "alua_support_transitioning": supports(Supported::TRANSITIONING),
        "implicit_trans_secs": seconds,
        "preferred": u8::from(here.preferred),
    })
}

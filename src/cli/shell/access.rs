//! The states of target port groups. They are no part of the configuration, which says only how a group begins: an
//! administrator changes them while they are served, and so do initiators.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Shell;
use super::loopback::Devices;
use super::node::{self, Node};
use crate::admin::config::words;
use crate::cli::away::Away;
use crate::scsi::{AccessState, Group};

/// The setting that is the state of a group.
pub(super) const STATE: &str = "alua_access_state";

/// The states that groups are in, by backstore and group, where a daemon serves them.
#[derive(Debug, Default)]
pub(super) struct Accesses(Option<HashMap<(String, String), AccessState>>);

/// What only a daemon knows of what it serves.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) accesses: Accesses,
    pub(super) devices: Devices,
    pub(super) away: Away,
}

impl Served {
    /// Why that node is not ready, if it is a backstore that is not.
    pub(super) fn not_ready(&self, node: &Node) -> Option<&str> {
        if let Node::Store(name) = node { self.away.of(name) } else { None }
    }
}

impl Accesses {
    fn read(answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let state = |group: &Value| {
            let state = named(group["state"].as_str()?)?;
            Some(((text(&group["backstore"])?, text(&group["group"])?), state))
        };
        Self(Some(answer["groups"].as_array().into_iter().flatten().filter_map(state).collect()))
    }

    /// The state of a group: how it would begin, if nobody serves it. None: the daemon has not said.
    pub(super) fn of(&self, store: &str, group: &Group) -> Option<AccessState> {
        let Some(served) = &self.0 else { return Some(group.configured) };
        served.get(&(store.to_owned(), group.name.clone())).copied()
    }
}

impl Shell {
    /// What is to be known where `node` and what is below it are shown.
    pub(super) fn served(&self, node: &Node) -> Served {
        Served { accesses: self.accesses(node), devices: self.devices(node), away: self.away(node) }
    }

    /// What is to be known of backstores where `node` and what is below it are shown.
    fn away(&self, node: &Node) -> Away {
        if !has_stores(node) || !self.backend.standing().is_live() {
            return Away::default();
        }
        Away::read(&self.backend.ask("backstores.list", json!({})).unwrap_or_default())
    }

    /// What is to be known of groups where `node` and what is below it are shown.
    pub(super) fn accesses(&self, node: &Node) -> Accesses {
        let is_concerned = has_stores(node) || matches!(node, Node::Alua(_) | Node::AluaGroup(..));
        if !is_concerned || !self.backend.standing().is_live() {
            return Accesses::default();
        }
        Accesses::read(&self.backend.ask("alua.get", json!({})).unwrap_or_default())
    }

    /// The state of a group, as a number.
    pub(super) fn access_state(&self, store: &str, group: &str) -> String {
        let accesses = self.accesses(&Node::AluaGroup(store.into(), group.into()));
        let group = node::alua_group(&self.config, store, group);
        let state = group.and_then(|group| accesses.of(store, group));
        state.map(|state| state.code().to_string()).unwrap_or_default()
    }

    /// Has the daemon put a group in the state of that number or name.
    pub(super) fn set_access_state(&mut self, store: &str, group: &str, to: &str) -> Result<(), String> {
        let state = named(to).ok_or_else(|| {
            let hint = words::suggestion(to, AccessState::ALL.iter().map(|state| state.word()));
            format!("alua_access_state: \"{to}\" is neither the number of a state nor its name; {hint}")
        })?;
        if !self.backend.standing().is_live() {
            return Err(format!(
                "alua_access_state: no daemon serves this group, so it is in no state; how it begins is said in {}, by \
                 `state = \"{}\"` of its [[backstore.alua.group]]",
                self.backend.file().display(),
                state.word()
            ));
        }
        let params = json!({ "backstore": store, "group": group, "state": state.word() });
        self.backend.ask("alua.set", params)?;
        self.say(format!("Parameter alua_access_state is now '{}'.", state.code()));
        Ok(())
    }
}

/// Whether it is a backstore, or there are some below it.
fn has_stores(node: &Node) -> bool {
    matches!(node, Node::Root | Node::Backstores | Node::Kind(_) | Node::Store(_))
}

/// The state of that number or name.
fn named(text: &str) -> Option<AccessState> {
    let is_it = |s: &AccessState| text.eq_ignore_ascii_case(s.word()) || text == s.code().to_string();
    AccessState::ALL.into_iter().find(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_counts_more_than_what_is_configured() {
        let groups = json!([
            { "backstore": "a", "group": "g", "state": "standby" },
            { "backstore": "a", "group": "h", "state": "of another version" },
        ]);
        let served = Accesses::read(&json!({ "groups": groups }));
        let group = |name: &str| Group::new(1, name);
        assert_eq!(served.of("a", &group("g")), Some(AccessState::Standby));
        assert_eq!([served.of("a", &group("h")), served.of("b", &group("g"))], [None, None]);
        assert_eq!(Accesses::default().of("a", &group("g")), Some(AccessState::Optimized));
    }
}

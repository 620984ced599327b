//! The states of target port groups, as far as they are not what the configuration says.

use serde::{Deserialize, Serialize};

use super::super::{Asc, Effects, Failure, Sense};
use super::{AccessState, Group, Groups};

/// Who changed the state of a group: the STATUS CODE of REPORT TARGET PORT GROUPS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ChangedBy {
    /// An initiator, by SET TARGET PORT GROUPS.
    Initiator,
    /// An administrator, or what he runs; to initiators it happens by itself.
    Administrator,
}

/// A change of states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessChange {
    /// The numbers of the groups, and the states that they take on.
    pub to: Vec<(u16, AccessState)>,
    /// Who asks for it.
    pub by: ChangedBy,
}

/// The states that were changed. They outlive a power loss, and hold until the configuration says something new.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Accesses {
    changed: Vec<Changed>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Changed {
    group: u16,
    /// What the configuration said when it was changed.
    configured: AccessState,
    /// The last state that was to last.
    lasting: AccessState,
    #[serde(skip)]
    transitioning: bool,
    by: ChangedBy,
}

impl Changed {
    fn now(&self) -> AccessState {
        if self.transitioning { AccessState::Transitioning } else { self.lasting }
    }
}

impl Accesses {
    /// Whether every group is in the state that the configuration says.
    #[inline]
    pub fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    /// The state of that group.
    pub fn of(&self, group: &Group) -> AccessState {
        self.find(group.id).map_or(group.configured, Changed::now)
    }

    /// The state of the group that has that port.
    pub(in super::super) fn at_port(&self, groups: &Groups, port: u16) -> AccessState {
        self.of(groups.of_port(port))
    }

    /// Who changed it, if it was.
    pub(super) fn changed_by(&self, group: &Group) -> Option<ChangedBy> {
        self.find(group.id).map(|c| c.by)
    }

    fn find(&self, group: u16) -> Option<&Changed> {
        self.changed.iter().find(|c| c.group == group)
    }

    /// Forgets what does not hold any more: of groups that are gone, and of those that are configured otherwise now.
    pub(in super::super) fn configure(&mut self, groups: &Groups) {
        self.changed.retain(|c| groups.get(c.group).is_some_and(|g| g.configured == c.configured));
    }

    /// Takes back what was forgotten since it was known; what has been changed since then stays.
    pub(in super::super) fn recall(&mut self, known: &Self) {
        let forgotten: Vec<Changed> =
            known.changed.iter().filter(|c| self.find(c.group).is_none()).cloned().collect();
        self.changed.extend(forgotten);
    }

    /// What outlives a power loss.
    pub(in super::super) fn persistent(&self) -> Self {
        let lasting = |c: &Changed| Changed { transitioning: false, ..c.clone() };
        Self { changed: self.changed.iter().map(lasting).collect() }
    }

    /// Makes a change, or says why not; then nothing has changed. Who asked by a command knows what comes of it, all
    /// others are told (SPC-5 section 5.17.2.7).
    pub(in super::super) fn apply(
        &mut self,
        groups: &Groups,
        change: &AccessChange,
    ) -> Result<Effects, Failure> {
        if !change.to.iter().all(|(id, to)| groups.allow(*id, *to, change.by)) {
            return Err(Sense::illegal(Asc::INVALID_FIELD_IN_PARAMETERS).into());
        }
        let before = self.clone();
        for (id, to) in &change.to {
            groups.get(*id).into_iter().for_each(|group| self.set(group, *to, change.by));
        }
        let attention_others = (*self != before).then_some(Asc::ACCESS_STATE_CHANGED);
        Ok(Effects { attention_others, ..Effects::default() })
    }

    /// A group that is in that state already keeps what is known of it.
    fn set(&mut self, group: &Group, to: AccessState, by: ChangedBy) {
        if self.of(group) == to {
            return;
        }
        let transitioning = to == AccessState::Transitioning;
        let before = self.find(group.id).map_or(group.configured, |c| c.lasting);
        let lasting = if transitioning { before } else { to };
        self.changed.retain(|c| c.group != group.id);
        let configured = group.configured;
        self.changed.push(Changed { group: group.id, configured, lasting, transitioning, by });
    }
}

impl Groups {
    /// Whether that group may take on that state when `by` asks for it.
    pub(super) fn allow(&self, id: u16, to: AccessState, by: ChangedBy) -> bool {
        self.get(id).is_some_and(|group| group.supported.contains(to.into()) && group.heeds(by))
    }
}

impl Group {
    pub(super) fn heeds(&self, by: ChangedBy) -> bool {
        match by {
            ChangedBy::Initiator => self.explicit,
            ChangedBy::Administrator => self.implicit,
        }
    }
}

//! Asymmetric logical unit access (SPC-5 section 5.17): target port groups, and what each of their states serves.
//!
//! ```text
//!   Groups (facts)  which groups there are, what they can, which ports are in them
//!   Accesses (state)  the states that were changed since the configuration was read
//!   port ─► group ─► state ─► may this command pass?
//! ```
//!
//! A logical unit always has a default group, which has every port that is in no other. What is asked of every command
//! is one flag: whether some group may be in a state that is not active.

mod command;
mod referrals;
mod state;

#[cfg(test)]
mod tests;

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

pub(super) use command::{report, set, set_params};
pub(super) use referrals::referrals;
pub use state::{AccessChange, Accesses, ChangedBy};

use super::cdb::Cdb;
use super::table::{self, Row, Traits};
use super::{Asc, Failure, ItNexus, Lu, Sense, buffer};

/// The name of the group that every logical unit has.
pub const DEFAULT_GROUP: &str = "default_tg_pt_gp";

/// The most groups of a logical unit, the default one among them: REPORT TARGET PORT GROUPS must fit the memory in
/// which answers are made.
pub const MAX_GROUPS: usize = 32;

/// The most ports of a group: TARGET PORT COUNT is a byte.
pub const MAX_GROUP_PORTS: usize = 255;

/// A target port asymmetric access state (SPC-5 section 5.17.2.4). There is no LBA dependent one, and none is offline:
/// a port that is not there takes no logins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccessState {
    /// Everything is served, as fast as can be.
    Optimized,
    /// Everything is served; another way is better.
    NonOptimized,
    /// The medium is out of reach, but all that is about reservations, mode and log pages is served.
    Standby,
    /// Only what finds another way is served.
    Unavailable,
    /// Between two of the others: as unavailable, and it will not last.
    Transitioning,
}

impl AccessState {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::Optimized, Self::NonOptimized, Self::Standby, Self::Unavailable, Self::Transitioning];

    /// Those in which a group can stay.
    pub const LASTING: [Self; 4] = [Self::Optimized, Self::NonOptimized, Self::Standby, Self::Unavailable];

    /// The ASYMMETRIC ACCESS STATE field.
    pub fn code(self) -> u8 {
        match self {
            Self::Optimized => 0x0,
            Self::NonOptimized => 0x1,
            Self::Standby => 0x2,
            Self::Unavailable => 0x3,
            Self::Transitioning => 0xf,
        }
    }

    /// The word that people use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Optimized => "active/optimized",
            Self::NonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::Transitioning => "transitioning",
        }
    }

    /// Why the medium is out of reach, if it is.
    pub(super) fn barrier(self) -> Option<Asc> {
        match self {
            Self::Optimized | Self::NonOptimized => None,
            Self::Standby => Some(Asc::TARGET_PORT_IN_STANDBY),
            Self::Unavailable => Some(Asc::TARGET_PORT_UNAVAILABLE),
            Self::Transitioning => Some(Asc::ACCESS_STATE_TRANSITION),
        }
    }

    /// What a command must have to be served all the same.
    fn passed_by(self) -> Traits {
        match self {
            Self::Optimized | Self::NonOptimized => Traits::empty(),
            Self::Standby => Traits::STANDBY,
            Self::Unavailable => Traits::UNAVAILABLE,
            Self::Transitioning => Traits::TRANSITIONING,
        }
    }
}

bitflags! {
    /// Access states that a group can be in, as REPORT TARGET PORT GROUPS shows them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Supported: u8 {
        /// AO_SUP
        const OPTIMIZED = 0x01;
        /// AN_SUP
        const NON_OPTIMIZED = 0x02;
        /// S_SUP
        const STANDBY = 0x04;
        /// U_SUP
        const UNAVAILABLE = 0x08;
        /// T_SUP
        const TRANSITIONING = 0x80;
    }
}

impl From<AccessState> for Supported {
    fn from(state: AccessState) -> Self {
        match state {
            AccessState::Optimized => Self::OPTIMIZED,
            AccessState::NonOptimized => Self::NON_OPTIMIZED,
            AccessState::Standby => Self::STANDBY,
            AccessState::Unavailable => Self::UNAVAILABLE,
            AccessState::Transitioning => Self::TRANSITIONING,
        }
    }
}

/// A target port group of a logical unit, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its number among those of the logical unit.
    pub id: u16,
    /// Its name, for people.
    pub name: String,
    /// Whether its state may change by itself, or by an administrator.
    pub implicit: bool,
    /// Whether initiators may change its state.
    pub explicit: bool,
    /// PREF: of several groups that do, this is the one to use.
    pub preferred: bool,
    /// The states that it can be in.
    pub supported: Supported,
    /// The state that it is in unless that was changed.
    pub configured: AccessState,
    /// The relative target port identifiers of its ports, ascending; at most [`MAX_GROUP_PORTS`].
    pub ports: Vec<u16>,
}

impl Group {
    /// A group that is as good as any, which nothing changes.
    pub fn new(id: u16, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            implicit: false,
            explicit: false,
            preferred: false,
            supported: Supported::OPTIMIZED,
            configured: AccessState::Optimized,
            ports: Vec::new(),
        }
    }

    /// TPGS of the standard INQUIRY data: what changes the state of this group.
    pub(super) fn tpgs(&self) -> u8 {
        u8::from(self.implicit) | u8::from(self.explicit) << 1
    }
}

/// The target port groups of a logical unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    /// The first is the default one.
    groups: Vec<Group>,
    /// IMPLICIT TRANSITION TIME, seconds; 0: not said.
    transition_seconds: u8,
    /// Some group is not active unless that was changed, or there is no medium.
    limited: bool,
    /// There is no medium that any port could reach.
    bare: bool,
}

impl Groups {
    /// The default group and the others, which have other numbers and other ports. `transition_seconds` is how long
    /// initiators are told that a transition may take; 0: nothing.
    pub fn new(default: Group, others: Vec<Group>, transition_seconds: u8) -> Self {
        let groups = [vec![default], others].concat();
        let limited = groups.iter().any(|g| g.configured.barrier().is_some());
        Self { groups, transition_seconds, limited, bare: false }
    }

    /// The same of a logical unit whose medium is not there. Ports stay in the states that they are configured to be in,
    /// and nobody changes these, for that could not be kept. An initiator that saw all of them unavailable would try no
    /// more, and so not notice that the medium is there again.
    pub fn without_medium(self) -> Self {
        let fixed = |group| Group { implicit: false, explicit: false, ..group };
        let groups = self.groups.into_iter().map(fixed).collect();
        Self { groups, limited: true, bare: true, ..self }
    }

    /// A port joins the group of that number; the default one, if there is none.
    pub fn join(&mut self, id: u16, port: u16) {
        let at = self.groups.iter().position(|g| g.id == id).unwrap_or(0);
        let ports = &mut self.groups[at].ports;
        if let Err(place) = ports.binary_search(&port) {
            ports.insert(place, port);
        }
    }

    /// Whether every port that is in some group of both is in the same.
    pub(super) fn seats_like(&self, other: &Self) -> bool {
        let seat = |port: u16| other.groups.iter().find(|g| g.ports.binary_search(&port).is_ok());
        let stays = |g: &Group| g.ports.iter().all(|port| seat(*port).is_none_or(|there| there.id == g.id));
        self.groups.iter().all(stays)
    }

    /// All of them; the first is the default one.
    pub fn iter(&self) -> impl Iterator<Item = &Group> + Clone {
        self.groups.iter()
    }

    /// The group of that number.
    pub fn get(&self, id: u16) -> Option<&Group> {
        self.groups.iter().find(|g| g.id == id)
    }

    /// The group of the port with that relative identifier.
    pub(super) fn of_port(&self, port: u16) -> &Group {
        let named = self.groups[1..].iter().find(|g| g.ports.contains(&port));
        named.unwrap_or(&self.groups[0])
    }

    /// IMPLICIT TRANSITION TIME, seconds; 0: nothing is said.
    pub fn transition_seconds(&self) -> u8 {
        self.transition_seconds
    }

    /// Whether every port is as good as any.
    pub(super) fn is_one(&self) -> bool {
        self.groups.len() == 1
    }

    /// Whether initiators may change anything.
    pub(super) fn any_explicit(&self) -> bool {
        self.groups.iter().any(|g| g.explicit)
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::new(Group::new(0, DEFAULT_GROUP), Vec::new(), 0)
    }
}

impl Lu {
    /// The access state of the port that this nexus came through.
    pub fn access(&self, nexus: &ItNexus) -> AccessState {
        self.state.accesses.at_port(&self.facts.groups, nexus.relative_port)
    }

    /// Why the medium is out of reach of this nexus, if it is.
    pub(super) fn barrier(&self, nexus: &ItNexus) -> Option<Asc> {
        if self.facts.groups.bare {
            Some(Asc::MANUAL_INTERVENTION_REQUIRED)
        } else {
            self.access(nexus).barrier()
        }
    }

    /// Whether every port reaches the medium, without looking at the groups.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        !self.facts.groups.limited && self.state.accesses.is_unchanged()
    }
}

/// Whether the command is served through the port that it came by.
#[cold]
pub(super) fn admit(row: &Row, cdb: &Cdb, lu: &Lu, nexus: &ItNexus) -> Result<(), Failure> {
    let traits = if buffer::needs_more_than_echo(cdb) { Traits::empty() } else { row.traits };
    serves(traits, lu, nexus)
}

/// The same of a command for a device that is passed through: each state serves the commands that it serves on others.
pub(super) fn admit_passed(cdb: &Cdb, lu: &Lu, nexus: &ItNexus) -> Result<(), Failure> {
    serves(table::traits(cdb), lu, nexus)
}

/// Without a medium that is what an unavailable port serves: nothing that would have to be kept with the medium.
fn serves(traits: Traits, lu: &Lu, nexus: &ItNexus) -> Result<(), Failure> {
    let state = if lu.facts.groups.bare { AccessState::Unavailable } else { lu.access(nexus) };
    match lu.barrier(nexus) {
        Some(asc) if !traits.contains(state.passed_by()) => Err(Sense::not_ready(asc).into()),
        _ => Ok(()),
    }
}

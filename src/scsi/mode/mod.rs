//! Mode parameters (SPC-5 section 7.5, SBC-4 section 6.5).
//!
//! Owns what can be set, the bytes of the pages, MODE SENSE and MODE SELECT. What cannot be
//! changed is in the bytes only; what can is [`Settings`].

mod pages;
mod select;
mod sense;

use serde::{Deserialize, Serialize};

pub(super) use select::{select6, select6_params, select10, select10_params};
pub(super) use sense::{sense6, sense10};

use super::LuFacts;

/// Everything that MODE SELECT can change. The default values are all false.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// D_SENSE of the Control page: sense data in descriptor format.
    pub descriptor_sense: bool,
    /// SWP of the Control page: the logical unit refuses writing.
    pub write_protect: bool,
    /// WCE of the Caching page cleared, though the store has a write cache: every write is durable
    /// before it is answered.
    pub write_through: bool,
}

impl Settings {
    /// WCE as it is in effect.
    #[inline]
    pub fn caches(&self, facts: &LuFacts) -> bool {
        facts.write_cache && !self.write_through
    }
}

/// The mode parameters of a logical unit, shared by all its I_T nexuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModePages {
    /// The values in effect.
    pub current: Settings,
    /// The values after the next power on or reset.
    pub saved: Settings,
}

impl ModePages {
    /// The saved values, in effect.
    pub(super) fn powered_on(saved: Settings) -> Self {
        Self { current: saved, saved }
    }

    /// Takes new values, and says whether any value in effect is new.
    pub(super) fn select(&mut self, to: Settings, save: bool) -> bool {
        let changed = self.current != to;
        self.current = to;
        if save {
            self.saved = to;
        }
        changed
    }
}

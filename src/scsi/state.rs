//! How a logical unit stands, and the only way in which that changes.
//!
//! A [`LuState`] is an immutable snapshot, replicated to every reactor. The owner of the logical
//! unit makes the next one with [`LuState::apply`], once every reactor has stopped using the last.

use serde::{Deserialize, Serialize};

use super::mode::{ModePages, Settings};
use super::reserve::{PrOut, Reservations};
use super::{Asc, Failure, ItNexus, LuFacts};

/// The state of one logical unit that commands and resets change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LuState {
    /// Who may do what.
    pub reservations: Reservations,
    /// What MODE SELECT has set.
    pub mode: ModePages,
    /// Whether START STOP UNIT has stopped it.
    pub stopped: bool,
}

/// The part of the state that outlives a power loss.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Persistent {
    /// The saved mode page values.
    #[serde(default)]
    pub mode: Settings,
    /// Registrations and reservation, if they were made with APTPL; otherwise empty.
    #[serde(default)]
    pub reservations: Reservations,
}

/// A change of the state, asked for by a command or an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SharedOp {
    /// PERSISTENT RESERVE OUT.
    Persistent(PrOut),
    /// RESERVE(6) or (10).
    Reserve,
    /// RELEASE(6) or (10).
    Release,
    /// MODE SELECT: the new values of all that can be changed.
    ModeSelect {
        /// The values.
        to: Settings,
        /// Whether they are also saved.
        save: bool,
    },
    /// START STOP UNIT with START one.
    Start,
    /// START STOP UNIT with START zero.
    Stop {
        /// Whether the write cache is to be flushed first.
        flush: bool,
    },
    /// A reset of the logical unit (LOGICAL UNIT RESET, target resets): not a command.
    Reset,
    /// The I_T nexus has gone (logout, connection lost, session reinstated): not a command.
    NexusLoss,
}

/// What else must happen when a change takes effect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// Unit attentions for single nexuses.
    pub attentions: Vec<(ItNexus, Asc)>,
    /// A unit attention for every nexus of the logical unit but the caller's.
    pub attention_others: Option<Asc>,
    /// The nexuses whose tasks must be aborted (PREEMPT AND ABORT).
    pub abort: Vec<ItNexus>,
    /// Whether [`LuState::persistent`] has changed and must be on disk before the answer.
    pub persist: bool,
    /// Whether the write cache must be flushed before the answer.
    pub flush: bool,
}

impl Effects {
    fn attention_all(asc: Asc, caller: &ItNexus) -> Self {
        Self { attentions: vec![(caller.clone(), asc)], attention_others: Some(asc), ..Self::default() }
    }
}

impl LuState {
    /// The state after power on.
    pub fn restored(saved: Persistent) -> Self {
        Self { reservations: saved.reservations, mode: ModePages::powered_on(saved.mode), stopped: false }
    }

    /// What must outlive a power loss.
    pub fn persistent(&self) -> Persistent {
        Persistent { mode: self.mode.saved, reservations: self.reservations.persistent() }
    }

    /// Whether sense data is to be in descriptor format (D_SENSE, SPC-5 section 7.5.13).
    pub fn descriptor_sense(&self) -> bool {
        self.mode.current.descriptor_sense
    }

    /// The state after `op` by `nexus`, and what must happen besides; or why it is refused, and
    /// then nothing has changed.
    pub fn apply(&self, facts: &LuFacts, op: &SharedOp, nexus: &ItNexus) -> Result<(Self, Effects), Failure> {
        let mut next = self.clone();
        let mut effects = next.change(facts, op, nexus)?;
        effects.persist = next.persistent() != self.persistent();
        Ok((next, effects))
    }

    fn change(&mut self, facts: &LuFacts, op: &SharedOp, nexus: &ItNexus) -> Result<Effects, Failure> {
        match op {
            SharedOp::Persistent(out) => return self.reservations.persistent_out(out, nexus),
            SharedOp::Reserve => self.reservations.reserve(nexus)?,
            SharedOp::Release => self.reservations.release(nexus)?,
            SharedOp::ModeSelect { to, save } => return Ok(self.select(facts, *to, *save)),
            SharedOp::Start => self.stopped = false,
            SharedOp::Stop { flush } => {
                self.stopped = true;
                return Ok(Effects { flush: *flush, ..Effects::default() });
            }
            SharedOp::Reset => return Ok(self.reset(nexus)),
            SharedOp::NexusLoss => self.reservations.nexus_lost(nexus),
        }
        Ok(Effects::default())
    }

    fn select(&mut self, facts: &LuFacts, to: Settings, save: bool) -> Effects {
        let cached = self.mode.current.caches(facts);
        let changed = self.mode.select(to, save);
        let flush = cached && !to.caches(facts);
        // The mode pages are shared by all I_T nexuses (SPC-5 section 6.13).
        let attention_others = changed.then_some(Asc::MODE_PARAMETERS_CHANGED);
        Effects { attention_others, flush, ..Effects::default() }
    }

    /// Ends what a logical unit reset ends (SAM-6 section 6.3.3); persistent reservations stay.
    fn reset(&mut self, caller: &ItNexus) -> Effects {
        self.reservations.release_legacy();
        self.mode = ModePages::powered_on(self.mode.saved);
        self.stopped = false;
        Effects::attention_all(Asc::DEVICE_RESET, caller)
    }
}

//! How a logical unit stands, and the only way in which that changes.
//!
//! A [`LuState`] is an immutable snapshot, replicated to every reactor. The owner of the logical
//! unit makes the next one with [`LuState::apply`], once every reactor has stopped using the last.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::drive::{Drive, DriveOp, Removal};
use super::erasure::Erasure;
use super::mode::{ModePages, Selected, Settings};
use super::provisioning::{Resources, Space};
use super::reserve::{Needs, PrOut, Reservations};
use super::{
    AccessChange, AccessState, Accesses, Asc, ChangedBy, Clock, Failure, Groups, ItNexus, Label, Labels,
    LogBases, LuFacts, Sense, SenseKey, TargetPort,
};

/// The state of one logical unit that commands and resets change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LuState {
    /// Who may do what.
    pub reservations: Reservations,
    /// What MODE SELECT has set.
    pub mode: ModePages,
    /// Whether it runs, and whether its medium is there.
    pub drive: Drive,
    /// What time it believes it is.
    pub clock: Clock,
    /// What administrators call it.
    pub labels: Labels,
    /// What its counters were when LOG SELECT set them back.
    pub log_bases: LogBases,
    /// What was changed of how well its ports reach it.
    pub accesses: Accesses,
    /// The sanitize or format operation that keeps others from the medium, or has failed.
    pub erasure: Option<Erasure>,
    /// How much space a thin one has.
    pub space: Space,
}

/// Why commands of a nexus that began when they might must not change anything any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// What those fail with that change the medium.
    pub medium: Failure,
    /// What those fail with that a port in the standby state serves, if they do.
    pub in_standby: Option<Failure>,
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
    /// Identifying information.
    #[serde(default)]
    pub labels: Labels,
    /// States of target port groups that were changed.
    #[serde(default)]
    pub accesses: Accesses,
    /// The operation on the whole medium that has to go on, or has failed.
    #[serde(default)]
    pub erasure: Option<Erasure>,
    /// Which medium that is, as whoever saves it tells media apart; what an older version has saved does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// Where the medium is that all this was agreed on of, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A change of the state, asked for by a command or an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SharedOp {
    /// PERSISTENT RESERVE OUT.
    Persistent(Box<PrOut>),
    /// RESERVE(6) or (10).
    Reserve,
    /// RELEASE(6) or (10).
    Release,
    /// MODE SELECT.
    ModeSelect {
        /// The pages that were sent.
        to: Selected,
        /// Whether all pages are also saved.
        save: bool,
    },
    /// START STOP UNIT or PREVENT ALLOW MEDIUM REMOVAL.
    Drive(DriveOp),
    /// LOG SELECT: counters begin anew from here.
    LogSelect(Box<LogBases>),
    /// SET TIMESTAMP.
    SetClock(Clock),
    /// SET IDENTIFYING INFORMATION.
    SetLabel {
        /// Which.
        label: Label,
        /// What it becomes; empty: none.
        to: Vec<u8>,
    },
    /// SET TARGET PORT GROUPS, or the same by an administrator.
    Access(AccessChange),
    /// What an administrator would have changed could not be: not a command.
    AccessFailed,
    /// SANITIZE or FORMAT UNIT.
    Erase {
        /// What is to be done.
        erasure: Box<Erasure>,
        /// Whether the command is answered when that has begun (IMMED).
        immediate: bool,
    },
    /// EXIT FAILURE MODE of SANITIZE.
    ExitFailure,
    /// What SANITIZE or FORMAT UNIT has begun is done, or has failed: not a command, but saved like those of commands.
    Erased {
        /// Whether it has.
        failed: bool,
    },
    /// A reset of the logical unit (LOGICAL UNIT RESET, target resets): not a command.
    Reset,
    /// The I_T nexus has gone (logout, connection lost, session reinstated): not a command.
    NexusLoss,
    /// The medium has that many blocks now: not a command, and no nexus is its cause.
    Resize {
        /// The new capacity.
        blocks: u64,
    },
    /// So much space there is now: not a command either.
    Measured(Resources),
    /// The configuration says something else of it now, and everything else has stayed: not a command either.
    Refit(Arc<LuFacts>),
    /// That is given up, and it is this again; what was forgotten meanwhile of its access states is not: no command.
    PutBack(Arc<LuFacts>, Accesses),
    /// The device that is passed through has told one nexus so, or obeyed it: all others are to hear of it.
    Told(Asc),
    /// The device that is passed through has told how long the blocks of its medium are: not a command.
    BlockLength(u32),
}

impl SharedOp {
    /// Whether it is an event, not what a command asks for: no abort takes it back.
    pub fn is_event(&self) -> bool {
        match self {
            Self::Reset
            | Self::NexusLoss
            | Self::Resize { .. }
            | Self::Measured(_)
            | Self::Refit(_)
            | Self::PutBack(..)
            | Self::Told(_)
            | Self::BlockLength(_)
            | Self::AccessFailed => true,
            Self::Access(change) => change.by == ChangedBy::Administrator,
            _ => false,
        }
    }

    /// Why it fails when what it makes of the state cannot be saved.
    pub fn unsaved(&self) -> Failure {
        match self {
            Self::Access(_) => {
                Sense::new(SenseKey::HARDWARE_ERROR, Asc::SET_TARGET_PORT_GROUPS_FAILED).into()
            }
            _ => Sense::target_failure().into(),
        }
    }

    /// What happens instead when it has failed, if initiators are to know: of a change that none of them asked for.
    pub fn after_failure(&self) -> Option<Self> {
        let told = matches!(self, Self::Access(change) if change.by == ChangedBy::Administrator);
        told.then_some(Self::AccessFailed)
    }
}

/// What else must happen when a change takes effect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// Unit attentions for single nexuses.
    pub attentions: Vec<(ItNexus, Asc)>,
    /// A unit attention for every nexus of the logical unit but the caller's.
    pub attention_others: Option<Asc>,
    /// A unit attention for every nexus of the logical unit, the caller's too.
    pub attention_all: Option<Asc>,
    /// The nexuses whose tasks must be aborted (PREEMPT AND ABORT).
    pub abort: Vec<ItNexus>,
    /// What all tasks end with, if they must: those of every nexus that no owner has.
    pub ends_tasks: Option<Failure>,
    /// Whether [`LuState::persistent`] has changed and must be on disk before the answer.
    pub persist: bool,
    /// Whether the write cache must be flushed before the answer, when the state holds.
    pub flush: bool,
    /// What a device that is passed through must be told before the answer, when the state holds.
    pub removal: Vec<Removal>,
    /// The new capacity in blocks: it changes [`LuFacts`], which every reactor has its own of.
    pub capacity: Option<u64>,
    /// The new length of a block, likewise; of a device that is passed through only.
    pub block_length: Option<u32>,
    /// The new facts, but for the capacity, and for the block length where a device tells it.
    pub facts: Option<Arc<LuFacts>>,
    /// No nexus that is there has anything to do with it: only ports have come or gone.
    pub unfelt: bool,
}

impl Effects {
    pub(super) fn attention_others(asc: Asc) -> Self {
        Self { attention_others: Some(asc), ..Self::default() }
    }

    fn attention_all(asc: Asc, caller: &ItNexus) -> Self {
        Self { attentions: vec![(caller.clone(), asc)], attention_others: Some(asc), ..Self::default() }
    }
}

impl LuState {
    /// The state after power on.
    pub fn restored(saved: Persistent) -> Self {
        let mode = ModePages::powered_on(saved.mode);
        let Persistent { reservations, labels, accesses, erasure, .. } = saved;
        Self { reservations, mode, labels, accesses, erasure, ..Self::default() }
    }

    /// The state after power on, when what was saved cannot be read: nothing is allowed that a
    /// reservation could have forbidden, until an initiator replaces it (SPC-5 section 5.14.5.3).
    pub fn damaged() -> Self {
        Self { reservations: Reservations::lost(), ..Self::default() }
    }

    /// Takes the relative port identifiers from the configuration as it is now: the saved ones may
    /// be those of other ports meanwhile.
    pub fn renumber(&mut self, ports: &[TargetPort]) {
        self.reservations.renumber(ports);
    }

    /// Takes the target port groups from the configuration as it is now: what it says anew counts more than what
    /// was saved.
    pub fn configure(&mut self, groups: &Groups) {
        self.accesses.configure(groups);
    }

    /// What must outlive a power loss.
    pub fn persistent(&self) -> Persistent {
        let (mode, labels, erasure) = (self.mode.saved, self.labels.clone(), self.erasure.clone());
        let (reservations, accesses) = (self.reservations.persistent(), self.accesses.persistent());
        Persistent { mode, reservations, labels, accesses, erasure, medium: None, place: None }
    }

    /// Whether sense data is to be in descriptor format (D_SENSE, SPC-5 section 7.5.13).
    pub fn descriptor_sense(&self) -> bool {
        self.mode.current.descriptor_sense
    }

    /// Whether a task that another nexus aborts is answered TASK ABORTED (TAS, SPC-5 section 7.5.13).
    pub fn tells_aborted(&self) -> bool {
        !self.mode.current.silent_aborts
    }

    /// Whether commands of `nexus` that began when they might must not change anything any more: it is checked again
    /// when they are about to (SPC-5 section 5.14.1).
    pub fn bars_writing(&self, facts: &LuFacts, nexus: &ItNexus) -> Option<Bar> {
        let erased = self.erasure.as_ref().map(|erasure| erasure.sense(0).into());
        // To a device that is passed through much goes that changes something else, and what writes was refused when it came.
        let protected =
            || (facts.read_only && facts.passed.is_none()).then(|| Sense::write_protected().into());
        let before = erased.or_else(protected);
        let medium = before.or_else(|| self.may_change(facts, nexus).err())?;
        let in_standby = match self.accesses.at_port(&facts.groups, nexus.relative_port) {
            AccessState::Standby => before.or_else(|| self.may_change_by(nexus).err()),
            _ => Some(medium),
        };
        Some(Bar { medium, in_standby })
    }

    /// Whether a command of `nexus` may change the medium, as far as that is not being erased.
    pub(super) fn may_change(&self, facts: &LuFacts, nexus: &ItNexus) -> Result<(), Failure> {
        if let Some(asc) = self.accesses.at_port(&facts.groups, nexus.relative_port).barrier() {
            return Err(Sense::not_ready(asc).into());
        }
        self.may_change_by(nexus)
    }

    /// The same, whichever port it comes by.
    fn may_change_by(&self, nexus: &ItNexus) -> Result<(), Failure> {
        self.reservations.check(nexus, Needs::Writing)?;
        self.drive.check(true)?;
        let protected = self.mode.current.write_protect;
        if protected { Err(Sense::protected(Asc::SOFTWARE_WRITE_PROTECTED).into()) } else { Ok(()) }
    }

    /// The state after `op` by `nexus`, and what must happen besides; or why it is refused, and
    /// then nothing has changed.
    pub fn apply(&self, facts: &LuFacts, op: &SharedOp, nexus: &ItNexus) -> Result<(Self, Effects), Failure> {
        self.admits(op)?;
        let mut next = self.clone();
        let mut effects = next.change(facts, op, nexus)?;
        // Which medium is being erased is known by its length, too.
        let is_known_anew = effects.capacity.is_some() && next.erasure.is_some();
        effects.persist = facts.saves && (is_known_anew || next.persistent() != self.persistent());
        if facts.passed.is_some() {
            effects.removal = next.drive.to_device(&self.drive, op, nexus);
        }
        Ok((next, effects))
    }

    fn change(&mut self, facts: &LuFacts, op: &SharedOp, nexus: &ItNexus) -> Result<Effects, Failure> {
        match op {
            SharedOp::Persistent(out) => return self.persistent_out(out, nexus),
            SharedOp::Reserve => self.reservations.reserve(nexus)?,
            SharedOp::Release => self.reservations.release(nexus)?,
            SharedOp::ModeSelect { to, save } => return Ok(self.select(facts, to, *save)),
            SharedOp::Drive(op) => return self.drive.apply(*op, nexus),
            SharedOp::LogSelect(bases) => {
                self.log_bases = **bases;
                return Ok(Effects::attention_others(Asc::LOG_PARAMETERS_CHANGED));
            }
            SharedOp::SetClock(clock) => {
                self.clock = *clock;
                return Ok(Effects::attention_others(Asc::TIMESTAMP_CHANGED));
            }
            SharedOp::SetLabel { label, to } => {
                self.labels.set(*label, to.clone());
                return Ok(Effects::attention_others(Asc::DEVICE_IDENTIFIER_CHANGED));
            }
            SharedOp::AccessFailed => {
                return Ok(Effects::attention_others(Asc::IMPLICIT_ACCESS_CHANGE_FAILED));
            }
            SharedOp::Access(change) => return self.accesses.apply(&facts.groups, change),
            SharedOp::Erase { erasure, .. } => return self.erase(facts, erasure, nexus),
            SharedOp::ExitFailure => self.exit_failure()?,
            SharedOp::Erased { failed } => self.erased(*failed),
            SharedOp::Reset => return Ok(self.reset(facts, nexus)),
            SharedOp::Measured(resources) => {
                self.space.resources = Some(*resources);
                let attention_all = self.space.compare(&self.mode.current, facts);
                return Ok(Effects { attention_all, ..Effects::default() });
            }
            SharedOp::Refit(to) => return Ok(self.refit(facts, to, &Accesses::default())),
            SharedOp::PutBack(to, known) => return Ok(self.refit(facts, to, known)),
            SharedOp::Resize { blocks } if *blocks != facts.blocks => return Ok(resize(*blocks)),
            SharedOp::Resize { .. } => {}
            SharedOp::Told(asc) => return Ok(Effects::attention_others(*asc)),
            SharedOp::BlockLength(length) => {
                return Ok(Effects { block_length: Some(*length), ..Effects::default() });
            }
            SharedOp::NexusLoss => {
                self.reservations.nexus_lost(nexus);
                self.drive.nexus_lost(nexus);
            }
        }
        Ok(Effects::default())
    }

    /// Every nexus is told what it could see of the change.
    fn refit(&mut self, facts: &LuFacts, to: &Arc<LuFacts>, known: &Accesses) -> Effects {
        let before: Vec<_> = facts.groups.iter().map(|g| (g.id, self.accesses.of(g))).collect();
        // What was changed under a configuration that does not hold is in nobody's way.
        self.accesses.configure(&to.groups);
        self.accesses.recall(known);
        self.accesses.configure(&to.groups);
        let moved = !to.groups.iter().map(|g| (g.id, self.accesses.of(g))).eq(before);
        let shown = facts.shows_otherwise(to);
        Effects {
            attention_others: moved.then_some(Asc::ACCESS_STATE_CHANGED),
            attention_all: shown.then_some(Asc::INQUIRY_CHANGED),
            unfelt: !moved
                && !shown
                && facts.read_only == to.read_only
                && facts.groups.seats_like(&to.groups),
            facts: Some(to.clone()),
            ..Effects::default()
        }
    }

    /// Whose tasks are aborted by PREEMPT AND ABORT no longer prevents medium removal either (SPC-5 section 5.14.11.2.6).
    fn persistent_out(&mut self, out: &PrOut, nexus: &ItNexus) -> Result<Effects, Failure> {
        let effects = self.reservations.persistent_out(out, nexus)?;
        effects.abort.iter().for_each(|loser| self.drive.nexus_lost(loser));
        Ok(effects)
    }

    fn select(&mut self, facts: &LuFacts, to: &Selected, save: bool) -> Effects {
        let changed = self.mode.select(to, save, facts);
        // Also when it was so before: whoever made it so may not have heard that it is.
        let flush = facts.write_cache && !self.mode.current.caches(facts);
        // The mode pages are shared by all I_T nexuses (SPC-5 section 6.13).
        let attention_others = changed.then_some(Asc::MODE_PARAMETERS_CHANGED);
        let attention_all = self.space.compare(&self.mode.current, facts);
        Effects { attention_others, attention_all, flush, ..Effects::default() }
    }

    /// Ends what a logical unit reset ends (SAM-6 section 6.3.3); persistent reservations stay. Where the saved mode
    /// pages take the write cache away, what it holds must stay as after MODE SELECT.
    fn reset(&mut self, facts: &LuFacts, caller: &ItNexus) -> Effects {
        self.reservations.release_legacy();
        let cached = self.mode.current.caches(facts);
        self.mode = ModePages::powered_on(self.mode.saved);
        let flush = cached && !self.mode.current.caches(facts);
        self.drive.reset();
        // What is reached by the thresholds of before is not told again.
        self.space.compare(&self.mode.current, facts);
        Effects { flush, ..Effects::attention_all(Asc::DEVICE_RESET, caller) }
    }
}

/// Every nexus is told, and judged by the new capacity from now on (SBC-4 section 4.7.2).
fn resize(blocks: u64) -> Effects {
    Effects { capacity: Some(blocks), attention_all: Some(Asc::CAPACITY_CHANGED), ..Effects::default() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{facts, nexus};
    use super::super::{Cause, Fill, Power, PrAction, PrType};
    use super::*;

    fn apply(state: &LuState, op: SharedOp, number: u16) -> (LuState, Effects) {
        state.apply(&facts(), &op, &nexus(number)).unwrap()
    }

    fn register(key: u64, action_key: u64, through_power_loss: bool) -> SharedOp {
        let out = PrOut::new(PrAction::Register);
        SharedOp::Persistent(Box::new(PrOut { key, action_key, through_power_loss, ..out }))
    }

    /// Over the disk and back, as text.
    fn reborn(state: &LuState) -> LuState {
        let text = serde_json::to_string(&state.persistent()).unwrap();
        LuState::restored(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn reservations_outlive_a_power_loss_only_if_asked_to() {
        let (state, effects) = apply(&LuState::default(), register(0, 1, false), 1);
        assert!(!effects.persist);
        assert!(reborn(&state).reservations.registrants.is_empty());
        let (state, effects) = apply(&state, register(1, 2, true), 1);
        assert!(effects.persist);
        let reserve =
            PrOut { scope_type: PrType::WriteExclusive as u8, key: 2, ..PrOut::new(PrAction::Reserve) };
        let (state, effects) = apply(&state, SharedOp::Persistent(Box::new(reserve)), 1);
        assert!(effects.persist);
        let again = reborn(&state);
        assert_eq!(again.reservations.key_of(&nexus(1)), Some(2));
        assert!(again.reservations.holds(&nexus(1)));
        assert_eq!(again.reservations.generation, 0);
        let (state, effects) = apply(&state, register(2, 2, false), 1);
        assert!(effects.persist, "and that it no longer does is on disk too");
        assert!(!reborn(&state).reservations.active());
    }

    #[test]
    fn what_replaces_a_lost_reservation_is_saved_whatever_it_is() {
        for through_power_loss in [false, true] {
            let replace = PrOut {
                scope_type: PrType::WriteExclusive as u8,
                action_key: 1,
                through_power_loss,
                ..PrOut::new(PrAction::ReplaceLost)
            };
            let (state, effects) = apply(&LuState::damaged(), SharedOp::Persistent(Box::new(replace)), 1);
            assert!(effects.persist);
            assert_eq!(reborn(&state).reservations.active(), through_power_loss);
        }
    }

    #[test]
    fn a_saved_nexus_has_the_relative_port_of_now() {
        let (mut state, _) = apply(&LuState::default(), register(0, 1, true), 1);
        state.renumber(&[TargetPort { relative_port: 9, ..nexus(1).target_port() }]);
        assert_eq!(state.reservations.registrants[0].nexus.relative_port, 9);
        state.renumber(&[TargetPort { relative_port: 8, tpg_tag: 2, ..nexus(1).target_port() }]);
        assert_eq!(state.reservations.registrants[0].nexus.relative_port, 9, "that is another port");
    }

    #[test]
    fn mode_pages_are_saved_and_flushed() {
        let to =
            Selected::all(Settings { write_through: true, descriptor_sense: true, ..Settings::default() });
        let (state, effects) = apply(&LuState::default(), SharedOp::ModeSelect { to, save: true }, 1);
        assert!(effects.persist && effects.flush);
        assert_eq!(effects.attention_others, Some(Asc::MODE_PARAMETERS_CHANGED));
        assert!(state.descriptor_sense() && reborn(&state).descriptor_sense());
        let (_, effects) = apply(&state, SharedOp::ModeSelect { to, save: true }, 1);
        assert_eq!(effects, Effects { flush: true, ..Effects::default() }, "nothing new");
    }

    #[test]
    fn a_reset_ends_what_it_must_and_tells_all() {
        let to = Selected::all(Settings { write_protect: true, ..Settings::default() });
        let (state, _) = apply(&LuState::default(), SharedOp::ModeSelect { to, save: false }, 1);
        let (state, _) =
            apply(&state, SharedOp::Drive(DriveOp::Power { to: Power::Stopped, flush: false }), 1);
        let (state, _) = apply(&state, SharedOp::Reserve, 1);
        let (state, effects) = apply(&state, SharedOp::Reset, 2);
        assert_eq!(state, LuState::default());
        assert_eq!(effects.attention_others, Some(Asc::DEVICE_RESET));
        assert_eq!(effects.attentions, [(nexus(2), Asc::DEVICE_RESET)]);
    }

    #[test]
    fn a_reset_that_takes_the_write_cache_away_flushes_it() {
        let without = Selected::all(Settings { write_through: true, ..Settings::default() });
        let (state, _) = apply(&LuState::default(), SharedOp::ModeSelect { to: without, save: true }, 1);
        assert!(!apply(&state, SharedOp::Reset, 1).1.flush, "there was none");
        let to = Selected::all(Settings::default());
        let (state, _) = apply(&state, SharedOp::ModeSelect { to, save: false }, 1);
        let (state, effects) = apply(&state, SharedOp::Reset, 1);
        assert!(effects.flush && !state.mode.current.caches(&facts()));
        assert!(!apply(&LuState::default(), SharedOp::Reset, 1).1.flush, "there still is one");
    }

    #[test]
    fn a_reset_leaves_persistent_reservations() {
        let (state, _) = apply(&LuState::default(), register(0, 1, false), 1);
        let (after, _) = apply(&state, SharedOp::Reset, 2);
        assert_eq!(after, state);
    }

    #[test]
    fn another_capacity_is_told_to_all() {
        let nobody = ItNexus::nobody();
        let resize =
            |blocks| LuState::default().apply(&facts(), &SharedOp::Resize { blocks }, &nobody).unwrap();
        let (state, effects) = resize(facts().blocks + 1);
        assert_eq!(state, LuState::default(), "it is no state of what commands change");
        assert_eq!((effects.capacity, effects.persist), (Some(facts().blocks + 1), false));
        assert_eq!(effects.attention_all, Some(Asc(0x2a, 0x09)));
        assert_eq!(resize(facts().blocks).1, Effects::default(), "nothing new");
    }

    #[test]
    fn what_is_being_erased_is_saved_anew_when_it_has_grown() {
        let erasure = Erasure { cause: Cause::Format, fill: Fill::Zeroes, failed: false };
        let state = LuState { erasure: Some(erasure), ..LuState::default() };
        let resize =
            |blocks| state.apply(&facts(), &SharedOp::Resize { blocks }, &ItNexus::nobody()).unwrap();
        assert!(resize(facts().blocks + 1).1.persist);
        assert!(!resize(facts().blocks).1.persist, "nothing new");
    }

    #[test]
    fn the_loss_of_a_nexus_ends_its_reserve_only() {
        let (state, _) = apply(&LuState::default(), SharedOp::Reserve, 1);
        assert_eq!(apply(&state, SharedOp::NexusLoss, 2).0, state);
        assert_eq!(apply(&state, SharedOp::NexusLoss, 1).0, LuState::default());
    }
}

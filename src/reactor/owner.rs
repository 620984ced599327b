//! The owner of a logical unit: one change of its state after the other.
//!
//! ```text
//!   ask ─► next state ─► on disk, if it outlives a power loss ─► every reactor: it holds there; whom it takes rights
//!   from is drained ─► all have acknowledged ─► flush, if it must ─► answer
//! ```
//!
//! The state comes first and the flush last: what is written after the state holds is durable by itself, and what was
//! before is made so. A flush holds up only the answer, not the next change. Resets and lost nexuses go before commands,
//! and nothing holds them up for long: neither a disk that hangs, whose ranges are fenced instead and whose flush goes
//! on without them, nor a state directory that does. The same goes for the abort of a command that asked for a change:
//! a change that anybody has been told of always comes to hold everywhere, and one that nobody has been told of never
//! does.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::disk::Client;
use super::drain::MOST_NS;
use super::gates::{GateId, Then};
use super::mail::{Ask, Change, Letter};
use super::unit::{Pending, Saving, Unit, owner_of};
use super::world::World;
use crate::ids::{ConnId, CoreId, LuId, TaskId};
use crate::ring::Driver;
use crate::scsi::{Effects, Failure, ItNexus, LuState, SharedOp, status};
use crate::session::host::DiskOp;
use crate::store::BlockingJob;

/// The answer to a request whose task is gone.
const RECALLED: Result<(), Failure> = Err(Failure::Status(status::BUSY));

impl Ask {
    /// Whether a command asks for it, not an event.
    fn is_of_task(&self) -> bool {
        !self.op.is_event()
    }

    /// Whether it is answered only when what it has begun on the whole medium has ended.
    fn waits_for_erasure(&self) -> bool {
        matches!(self.op, SharedOp::Erase { immediate: false, .. })
    }

    fn is(&self, from: CoreId, gate: GateId) -> bool {
        (self.from, self.gate) == (from, gate)
    }
}

impl<D: Driver> World<D> {
    /// The reactor that owns a logical unit.
    pub(super) fn owner(&self, lu: LuId) -> CoreId {
        owner_of(lu, self.mail.everybody().count())
    }

    /// Asks the owner of a logical unit for a change; `gate` gets the answer.
    pub(super) fn ask(&mut self, lu: LuId, op: SharedOp, nexus: ItNexus, gate: GateId) {
        let from = self.mail.core;
        let ask = Ask { lu, op, nexus, from, gate, saved: false };
        self.mail.post(self.owner(lu), Letter::Ask(Box::new(ask)));
    }

    /// The owner: something has happened to a logical unit that no nexus has done. Nobody waits for the answer.
    pub(super) fn notice(&mut self, lu: LuId, op: SharedOp) {
        let gate = self.gates.shut(1, Then::Nothing);
        self.ask(lu, op, ItNexus::nobody(), gate);
    }

    /// The owner: an administrator wants a change; `to` gets the answer, or is dropped when there is no such unit.
    pub(super) fn take_order(&mut self, lu: LuId, op: SharedOp, to: Sender<Result<(), Failure>>) {
        if self.units.get(lu.0 as usize).is_some() {
            let gate = self.gates.shut(1, Then::Ordered { to });
            self.ask(lu, op, ItNexus::nobody(), gate);
        }
    }

    /// Whether a logical unit keeps something for that nexus alone, as far as is known here.
    pub(super) fn keeps_for(&self, lu: LuId, nexus: &ItNexus) -> bool {
        let Some(unit) = self.units.get(lu.0 as usize) else { return false };
        let next = unit.lu.state.apply(&unit.lu.facts, &SharedOp::NexusLoss, nexus);
        next.is_ok_and(|(next, _)| next != *unit.lu.state)
    }

    /// Tasks that may have asked for changes are forgotten; how many answers are still to come.
    pub(super) fn recall(&mut self, conn: ConnId, tasks: &[TaskId]) -> u32 {
        let recalled = self.gates.recall(conn, tasks);
        let from = self.mail.core;
        for (gate, lu) in &recalled {
            self.mail.post(self.owner(*lu), Letter::Recall { lu: *lu, from, gate: *gate });
        }
        recalled.len() as u32
    }

    /// The owner: a request has come. One change at a time; events go before commands.
    pub(super) fn take_ask(&mut self, ask: Ask) {
        let lu = ask.lu;
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let resets = ask.op == SharedOp::Reset;
        if ask.is_of_task() {
            unit.asks.push_back(ask);
        } else {
            // Before all tasks, but behind earlier events: the last one that says how it is must be right.
            let begun = usize::from(unit.next.is_some());
            let events = unit.asks.iter().skip(begun).take_while(|a| !a.is_of_task()).count();
            unit.asks.insert(begun + events, ask);
        }
        if unit.next.is_none() {
            self.begin_changes(lu);
        } else if resets {
            self.hurry_change(lu);
        }
    }

    /// The owner: a request is not wanted any more. Either it has no effect, or its effect holds on every reactor
    /// before this is answered. Where a change ends tasks, a reactor recalls what these have asked for before it
    /// acknowledges that change, so that nothing of it happens afterwards; what is asked later is no concern of it.
    pub(super) fn take_recall(&mut self, lu: LuId, from: CoreId, gate: GateId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        if let Some(at) = unit.flushing.iter().position(|(_, a)| a.is(from, gate)) {
            let (serial, ask) = unit.flushing.swap_remove(at);
            if unit.tells(serial) {
                // Others depend on it: the device hears it, and nobody waits for that.
                return self.mail.post(from, Letter::Answer { gate, result: RECALLED });
            }
            return self.forget_flush(lu, serial, &ask);
        }
        if let Some(at) = unit.erasers.iter().position(|a| a.is(from, gate)) {
            unit.erasers.swap_remove(at);
            return self.mail.post(from, Letter::Answer { gate, result: RECALLED });
        }
        let at = unit.asks.iter().position(|a| a.is(from, gate));
        match (&mut unit.next, at) {
            (Some(pending), Some(0)) => {
                pending.recalled = true;
                self.hurry_change(lu);
            }
            (_, Some(at)) => {
                let ask = unit.asks.remove(at);
                ask.into_iter().for_each(|ask| self.refuse(&ask, RECALLED));
            }
            (_, None) => self.recall_saving(lu, |a| a.is(from, gate)),
        }
    }

    /// Somebody waits for the end of the change under way who must not wait for a disk: what is drained for it is
    /// fenced instead, everywhere. (Letters keep their order: this one comes after the change and before the next.)
    fn hurry_change(&mut self, lu: LuId) {
        let Some(pending) = self.units.get_mut(lu.0 as usize).and_then(|u| u.next.as_mut()) else { return };
        if !std::mem::replace(&mut pending.hurried, true) {
            for core in self.mail.everybody() {
                self.mail.post(core, Letter::Hurry(lu));
            }
        }
    }

    fn forget_flush(&mut self, lu: LuId, serial: u32, ask: &Ask) {
        self.forget(|client, of| client == Client::Owner { serial } && of == lu);
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result: RECALLED });
    }

    /// A request that has no effect is answered. What it has put on disk already does not stay there.
    fn refuse(&mut self, ask: &Ask, result: Result<(), Failure>) {
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        if ask.saved {
            self.gone_astray(ask.lu);
        }
    }

    fn gone_astray(&mut self, lu: LuId) {
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.astray = true;
            self.put_back(lu);
        }
    }

    /// Begins the next change; those that are refused are answered on the way (a loop: a peer can queue thousands).
    fn begin_changes(&mut self, lu: LuId) {
        while let Some(Err(failure)) = self.begin_change(lu) {
            let ask = self.units.get_mut(lu.0 as usize).and_then(|u| u.asks.pop_front());
            ask.into_iter().for_each(|ask| self.refuse(&ask, Err(failure)));
        }
    }

    /// Works out the next state. What must be on disk before it holds is put there first: other commands wait for
    /// that, events only if they change what is saved themselves. `None`: nothing can begin.
    fn begin_change(&mut self, lu: LuId) -> Option<Result<(), Failure>> {
        let unit = self.units.get_mut(lu.0 as usize).filter(|u| u.next.is_none())?;
        let ask = unit.asks.front().filter(|a| unit.saving.is_none() || !a.is_of_task())?;
        let (state, effects) = match unit.told.apply(&unit.lu.facts, &ask.op, &ask.nexus) {
            Err(failure) => return Some(Err(failure)),
            Ok(change) => change,
        };
        if effects.persist && !ask.saved {
            // Only one state at a time is on its way to the disk.
            return unit.saving.is_none().then(|| self.save_first(lu, Arc::new(state)));
        }
        unit.changes = unit.changes.wrapping_add(1);
        let (serial, state, effects) = (unit.changes, Arc::new(state), Arc::new(effects));
        unit.next = Some(Pending { serial, hurried: false, recalled: false, effects: effects.clone() });
        unit.told = state.clone();
        self.broadcast_change(lu, serial, state, effects);
        Some(Ok(()))
    }

    /// The next request waits until its state is on disk.
    fn save_first(&mut self, lu: LuId, state: Arc<LuState>) -> Result<(), Failure> {
        self.save(lu, state)?;
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.saving = unit.asks.pop_front().map(Saving::Asked);
        }
        Ok(())
    }

    /// Puts a state on disk. What is there for a request that still waits is there no more then.
    fn save(&mut self, lu: LuId, state: Arc<LuState>) -> Result<(), Failure> {
        let (saver, address) = (self.saver.clone(), self.mail.address(self.mail.core).clone());
        let call = move || saver(lu, &state).map_or_else(|e| -e.raw_os_error().unwrap_or(libc::EIO), |()| 0);
        let reply = move |result| address.post_blocking(Letter::Saved { lu, result });
        let job = BlockingJob::new(call, reply);
        self.blocking.submit_saving(job).map_err(|_| Failure::Status(status::BUSY))?;
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.asks.iter_mut().for_each(|ask| ask.saved = false);
        }
        Ok(())
    }

    /// The owner: the state is on disk, or could not be put there.
    pub(super) fn saved(&mut self, lu: LuId, result: i32) {
        if result != 0 {
            tracing::error!(?lu, errno = -result, "cannot save the state of a logical unit");
        }
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        match unit.saving.take() {
            Some(Saving::Asked(ask)) if result == 0 => {
                unit.astray = false;
                unit.asks.insert(usize::from(unit.next.is_some()), Ask { saved: true, ..ask });
            }
            // It may be there all the same: that its name is on disk is what failed last.
            Some(Saving::Asked(ask)) => {
                unit.astray = true;
                self.save_failed(&ask);
            }
            Some(Saving::Recalled) => unit.astray = true,
            // It is tried again when something else is saved, not at once.
            Some(Saving::PutBack) if result != 0 => {
                unit.astray = true;
                return self.begin_changes(lu);
            }
            Some(Saving::PutBack) | None => {}
        }
        self.put_back(lu);
        self.begin_changes(lu);
    }

    /// What a request asks for cannot be saved, so it does not happen. Some have to be told of even so.
    fn save_failed(&mut self, ask: &Ask) {
        self.refuse(ask, Err(ask.op.unsaved()));
        if let Some(told) = ask.op.after_failure() {
            self.notice(ask.lu, told);
        }
    }

    /// What is on disk was never to hold: what holds is put there again, before the next command.
    fn put_back(&mut self, lu: LuId) {
        let idle = |unit: &&mut Unit| unit.astray && unit.saving.is_none();
        let Some(unit) = self.units.get_mut(lu.0 as usize).filter(idle) else { return };
        unit.astray = false;
        let told = unit.told.clone();
        let begun = self.save(lu, told);
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        if begun.is_ok() {
            unit.saving = Some(Saving::PutBack);
        } else {
            unit.astray = true;
            tracing::error!(?lu, "too much state waits to be saved: what is on disk is not what holds");
        }
    }

    /// A request that waits for its state to be on disk is not wanted any more: it never holds.
    fn recall_saving(&mut self, lu: LuId, which: impl Fn(&Ask) -> bool) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let is_it = |s: &mut Saving| matches!(s, Saving::Asked(ask) if which(ask));
        if let Some(Saving::Asked(ask)) = unit.saving.take_if(is_it) {
            unit.saving = Some(Saving::Recalled);
            self.refuse(&ask, RECALLED);
        }
    }

    /// The owner: tells everybody; the change holds when all have acknowledged.
    fn broadcast_change(&mut self, lu: LuId, serial: u32, state: Arc<LuState>, effects: Arc<Effects>) {
        let everybody = self.mail.everybody();
        let gate = self.gates.shut(everybody.clone().count(), Then::Changed { lu, serial });
        let Some(ask) = self.units.get(lu.0 as usize).and_then(|u| u.asks.front()) else { return };
        let (caller, reset) = (ask.nexus.clone(), ask.op == SharedOp::Reset);
        let change = Change { lu, state, effects, caller, reset, owner: self.mail.core, gate };
        for core in everybody {
            self.mail.post(core, Letter::Change(Box::new(change.clone())));
        }
    }

    /// The owner: the change holds everywhere.
    pub(super) fn change_holds(&mut self, lu: LuId, serial: u32, result: Result<(), Failure>) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let Some(pending) = unit.next.take_if(|p| p.serial == serial) else { return };
        let Some(ask) = unit.asks.pop_front() else { return };
        if result.is_ok() && ask.waits_for_erasure() && !pending.recalled {
            unit.erasers.push(ask);
        } else if result.is_ok() && !pending.effects.removal.is_empty() {
            self.tell_device(lu, serial, ask, &pending);
        } else if result.is_ok() && pending.effects.flush && !pending.recalled {
            if !ask.is_of_task() {
                self.impatient.push_back((self.driver.now() + MOST_NS, lu, serial));
            }
            unit.flushing.push((serial, ask));
            self.submit(Client::Owner { serial }, lu, DiskOp::Flush);
        } else {
            self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        }
        self.begin_erasure(lu);
        self.begin_changes(lu);
    }

    /// The owner: what a change has asked of the disk or the device has ended.
    pub(super) fn owner_served(&mut self, lu: LuId, serial: u32, result: Result<(), Failure>) {
        if self.units.get(lu.0 as usize).is_some_and(|unit| unit.tells(serial)) {
            self.device_told(lu, serial, result);
        } else {
            self.flushed(lu, serial, result);
        }
    }

    /// The owner: the flush of a change has ended.
    pub(super) fn flushed(&mut self, lu: LuId, serial: u32, result: Result<(), Failure>) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let Some(at) = unit.flushing.iter().position(|(s, _)| *s == serial) else { return };
        let (_, ask) = unit.flushing.swap_remove(at);
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
    }

    /// Resets that have waited long enough for a flush are answered; it goes on without them.
    pub(super) fn expire_flushes(&mut self) {
        let now = self.driver.now();
        while let Some(&(_, lu, serial)) = self.impatient.front().filter(|(deadline, ..)| *deadline <= now) {
            self.impatient.pop_front();
            self.flushed(lu, serial, Ok(()));
        }
    }
}

//! The owner of a logical unit: one change of its state after the other.
//!
//! ```text
//!   ask ─► next state ─► on disk, if it outlives a power loss ─► every reactor: it holds there; whom it takes rights
//!   from is drained ─► all have acknowledged ─► flush, if it must ─► answer
//! ```
//!
//! The state comes first and the flush last: what is written after the state holds is durable by itself, and what was
//! before is made so. A flush holds up only the answer, not the next change; a disk that hangs holds up neither resets
//! nor lost nexuses, which go before commands.

use std::collections::VecDeque;
use std::sync::Arc;

use super::disk::Client;
use super::gates::{GateId, Then};
use super::mail::{Ask, Change, Letter};
use super::unit::{Pending, owner_of};
use super::world::World;
use crate::ids::{ConnId, CoreId, LuId, TaskId};
use crate::ring::Driver;
use crate::scsi::{Effects, Failure, ItNexus, LuState, Sense, SharedOp, status};
use crate::session::host::DiskOp;
use crate::store::BlockingJob;

/// The answer to a request whose task is gone.
const RECALLED: Result<(), Failure> = Err(Failure::Status(status::BUSY));

/// A change that took effect.
struct Ended {
    reset: bool,
    effects: Arc<Effects>,
}

impl Ask {
    /// Whether a command asks for it, not an event.
    fn is_of_task(&self) -> bool {
        !matches!(self.op, SharedOp::Reset | SharedOp::NexusLoss)
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
        self.mail.post(self.owner(lu), Letter::Ask(Box::new(Ask { lu, op, nexus, from, gate })));
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

    /// The owner: a request has come. One change at a time.
    pub(super) fn take_ask(&mut self, ask: Ask) {
        let lu = ask.lu;
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let (idle, resets) = (unit.asks.is_empty(), ask.op == SharedOp::Reset);
        if idle || ask.is_of_task() {
            unit.asks.push_back(ask);
        } else {
            unit.asks.insert(1, ask);
        }
        if idle {
            self.begin_changes(lu);
        } else if resets {
            self.cut_short(lu);
        }
    }

    /// The owner: a request is not wanted any more. Either it has no effect, or its effect holds at least as early as
    /// that of any later request.
    pub(super) fn take_recall(&mut self, lu: LuId, from: CoreId, gate: GateId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        if let Some(at) = unit.flushing.iter().position(|(_, a)| a.is(from, gate)) {
            let (serial, ask) = unit.flushing.swap_remove(at);
            return self.forget_flush(lu, serial, &ask);
        }
        match unit.asks.iter().position(|a| a.is(from, gate)) {
            Some(0) => self.cut_short(lu),
            Some(at) => {
                unit.asks.remove(at);
                self.mail.post(from, Letter::Answer { gate, result: RECALLED });
            }
            None => {}
        }
    }

    /// Nobody waits for the effect of the change under way any more; once all are told of it nothing else has to.
    fn cut_short(&mut self, lu: LuId) {
        let Some(unit) = self.units.get(lu.0 as usize) else { return };
        let of_task = unit.asks.front().is_some_and(Ask::is_of_task);
        if of_task && unit.next.as_ref().is_some_and(|p| p.spread) {
            self.end_change(lu, RECALLED);
        }
    }

    fn forget_flush(&mut self, lu: LuId, serial: u32, ask: &Ask) {
        self.forget(|client, of| client == Client::Owner { serial } && of == lu);
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result: RECALLED });
    }

    /// Begins the next change; those that are refused are answered on the way (a loop: a peer can queue thousands).
    fn begin_changes(&mut self, lu: LuId) {
        while let Some(Err(failure)) = self.begin_change(lu) {
            self.answer_ask(lu, Err(failure));
        }
    }

    /// Works out the next state. What must be on disk before it holds is put there first. `None`: nothing is asked.
    fn begin_change(&mut self, lu: LuId) -> Option<Result<(), Failure>> {
        let unit = self.units.get_mut(lu.0 as usize)?;
        let ask = unit.asks.front()?;
        let (state, effects) = match unit.told.apply(&unit.lu.facts, &ask.op, &ask.nexus) {
            Err(failure) => return Some(Err(failure)),
            Ok(change) => change,
        };
        unit.changes = unit.changes.wrapping_add(1);
        let (persist, state) = (effects.persist, Arc::new(state));
        let effects = Arc::new(effects);
        unit.next = Some(Pending { serial: unit.changes, spread: false, state: state.clone(), effects });
        if persist {
            return Some(self.save(lu, state));
        }
        self.broadcast_change(lu);
        Some(Ok(()))
    }

    fn save(&self, lu: LuId, state: Arc<LuState>) -> Result<(), Failure> {
        let (saver, address) = (self.saver.clone(), self.mail.address(self.mail.core).clone());
        let call = move || saver(lu, &state).map_or_else(|e| -e.raw_os_error().unwrap_or(libc::EIO), |()| 0);
        let reply = move |result| address.post_blocking(Letter::Saved { lu, result });
        self.blocking.submit_saving(BlockingJob::new(call, reply)).map_err(|_| Failure::Status(status::BUSY))
    }

    /// The owner: the state is on disk, or could not be put there.
    pub(super) fn saved(&mut self, lu: LuId, result: i32) {
        if result == 0 {
            return self.broadcast_change(lu);
        }
        tracing::error!(?lu, errno = -result, "cannot save the state of a logical unit; the command fails");
        self.end_change(lu, Err(Failure::Check(Sense::target_failure())));
    }

    /// The owner: tells everybody; the change holds when all have acknowledged.
    fn broadcast_change(&mut self, lu: LuId) {
        let everybody = self.mail.everybody();
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let (Some(pending), Some(ask)) = (&mut unit.next, unit.asks.front()) else { return };
        let then = Then::Changed { lu, serial: pending.serial };
        let gate = self.gates.shut(everybody.clone().count(), then);
        pending.spread = true;
        unit.told = pending.state.clone();
        let change = Change {
            lu,
            state: pending.state.clone(),
            effects: pending.effects.clone(),
            caller: ask.nexus.clone(),
            reset: ask.op == SharedOp::Reset,
            owner: self.mail.core,
            gate,
        };
        for core in everybody {
            self.mail.post(core, Letter::Change(Box::new(change.clone())));
        }
    }

    /// The owner: the change holds everywhere.
    pub(super) fn change_holds(&mut self, lu: LuId, serial: u32, result: Result<(), Failure>) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        // One that was cut short has been answered.
        let Some(pending) = unit.next.as_ref().filter(|p| p.serial == serial) else { return };
        if result.is_err() || !pending.effects.flush {
            return self.end_change(lu, result);
        }
        unit.next = None;
        unit.flushing.extend(unit.asks.pop_front().map(|ask| (serial, ask)));
        self.submit(Client::Owner { serial }, lu, DiskOp::Flush);
        self.begin_changes(lu);
    }

    /// The owner: the flush of a change has ended.
    pub(super) fn flushed(&mut self, lu: LuId, serial: u32, result: Result<(), Failure>) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let Some(at) = unit.flushing.iter().position(|(s, _)| *s == serial) else { return };
        let (_, ask) = unit.flushing.swap_remove(at);
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
    }

    /// The owner: answers the request under way and goes on with the next.
    fn end_change(&mut self, lu: LuId, result: Result<(), Failure>) {
        if let Some(ended) = self.answer_ask(lu, result) {
            self.refuse_aborted(lu, &ended);
        }
        self.begin_changes(lu);
    }

    /// Answers the request under way; returns what it changed, if anybody has been told.
    fn answer_ask(&mut self, lu: LuId, result: Result<(), Failure>) -> Option<Ended> {
        let unit = self.units.get_mut(lu.0 as usize)?;
        let effects = unit.next.take().filter(|p| p.spread).map(|p| p.effects);
        let ask = unit.asks.pop_front()?;
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        Some(Ended { reset: ask.op == SharedOp::Reset, effects: effects? })
    }

    /// Requests of tasks that the change has aborted must not happen any more. They are all here: a reactor sends
    /// its acknowledgement after them. A younger one of the same nexus may be tried again.
    fn refuse_aborted(&mut self, lu: LuId, ended: &Ended) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let aborted = |a: &Ask| a.is_of_task() && (ended.reset || ended.effects.abort.contains(&a.nexus));
        let (refused, stay): (VecDeque<Ask>, _) =
            std::mem::take(&mut unit.asks).into_iter().partition(aborted);
        unit.asks = stay;
        let flushing: Vec<_> = unit.flushing.extract_if(.., |(_, a)| aborted(a)).collect();
        for ask in refused {
            self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result: RECALLED });
        }
        for (serial, ask) in flushing {
            self.forget_flush(lu, serial, &ask);
        }
    }
}

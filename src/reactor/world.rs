//! Everything of a reactor but its connections: memory, ring, logical units, mail.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use super::disk::{Client, Job, JobId};
use super::fair::Shortage;
use super::gates::{Gates, Then};
use super::mail::{Ask, Change, Fence, Letter, Mail};
use super::stats::Counters;
use super::unit::{Pending, Unit, owner_of};
use crate::ids::{ConnId, LuId};
use crate::mem::{Memory, Pool};
use crate::ring::Driver;
use crate::scsi::{Effects, Failure, ItNexus, LuState, SharedOp, status};
use crate::session::host::DiskOp;
use crate::store::{BlockingJob, BlockingPool};

/// Writes what must outlive a power loss; runs on the blocking pool.
pub type Saver = Arc<dyn Fn(LuId, &LuState) -> std::io::Result<()> + Send + Sync>;

/// A change that took effect.
struct Ended {
    reset: bool,
    effects: Arc<Effects>,
}

/// See the module page.
pub(super) struct World<D> {
    pub(super) driver: D,
    pub(super) memory: Memory,
    pub(super) pool: Pool,
    pub(super) mail: Mail,
    pub(super) units: Vec<Unit>,
    pub(super) blocking: BlockingPool,
    pub(super) saver: Saver,
    pub(super) gates: Gates,
    pub(super) jobs: Slab<Job>,
    pub(super) job_serial: u32,
    /// Requests that go on in the next turn; with the result of their step, if it has one.
    pub(super) later: VecDeque<(JobId, Option<i32>)>,
    /// Requests that have ended and whose client is yet to be told.
    pub(super) finished: VecDeque<(Client, LuId, Result<(), Failure>)>,
    pub(super) fence_serial: u64,
    /// Fences that the other reactors have yet to be told of.
    pub(super) unannounced: Vec<Fence>,
    /// Things behind gates that have opened.
    pub(super) opened: VecDeque<(Then, Result<(), Failure>)>,
    /// Connections whose tasks wait for slots, first come first served.
    pub(super) hungry: VecDeque<ConnId>,
    /// Sessions that are here.
    pub(super) sessions: u32,
    /// Who found no slot lately.
    pub(super) shortage: Shortage,
    pub(super) scratch: Vec<u8>,
    pub(super) counters: Counters,
}

impl<D: Driver> World<D> {
    /// Tells the others of all new fences; `then` goes on when all know of these and of earlier ones. (Letters keep
    /// their order: who acknowledges a list without fences has read the lists before it.)
    pub(super) fn announce(&mut self, then: Then) {
        let others = self.mail.others().count();
        let all_known = self.unannounced.is_empty() && !self.gates.is_announcing();
        if all_known || others == 0 {
            self.unannounced.clear();
            return self.opened.push_back((then, Ok(())));
        }
        let fences: Arc<[Fence]> = std::mem::take(&mut self.unannounced).into();
        let gate = self.gates.shut_for_fences(others, then);
        let from = self.mail.core;
        for core in self.mail.others() {
            self.mail.post(core, Letter::Fences { from, gate, fences: fences.clone() });
        }
    }

    /// Another reactor has ghosts there.
    pub(super) fn take_fences(&mut self, fences: &[Fence]) {
        for fence in fences {
            if let Some(unit) = self.units.get_mut(fence.lu.0 as usize) {
                unit.fences.push(*fence);
            }
        }
    }

    /// A cold reset: every session of the target ends, but the one that asked.
    pub(super) fn kill_target(&mut self, target: &str, but: ConnId) {
        let target: Arc<str> = target.into();
        let but = (self.mail.core, but);
        for core in self.mail.everybody() {
            self.mail.post(core, Letter::KillTarget { target: target.clone(), but });
        }
    }

    /// An acknowledgement, perhaps with a result.
    pub(super) fn acknowledged(&mut self, gate: super::gates::GateId, result: Result<(), Failure>) {
        if let Some(then) = self.gates.acknowledge(gate) {
            self.opened.push_back((then, result));
        }
    }

    /// Asks the owner of a logical unit for a change; `gate` gets the answer.
    pub(super) fn ask(&mut self, lu: LuId, op: SharedOp, nexus: ItNexus, gate: super::gates::GateId) {
        let owner = owner_of(lu, self.mail.everybody().count());
        let from = self.mail.core;
        self.mail.post(owner, Letter::Ask(Box::new(Ask { lu, op, nexus, from, gate })));
    }

    /// The owner: a request has come. One change at a time.
    pub(super) fn take_ask(&mut self, ask: Ask) {
        let lu = ask.lu;
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        unit.asks.push_back(ask);
        if unit.asks.len() == 1 {
            self.begin_changes(lu);
        }
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
        let (state, effects) = match unit.lu.state.apply(&unit.lu.facts, &ask.op, &ask.nexus) {
            Err(failure) => return Some(Err(failure)),
            Ok(change) => change,
        };
        let persist = effects.persist;
        let pending = Pending { state: Arc::new(state), effects: Arc::new(effects) };
        let state = pending.state.clone();
        unit.next = Some(pending);
        if persist {
            return Some(self.save(lu, state));
        }
        self.flush_before_change(lu);
        Some(Ok(()))
    }

    fn save(&self, lu: LuId, state: Arc<LuState>) -> Result<(), Failure> {
        let (saver, address) = (self.saver.clone(), self.mail.address(self.mail.core).clone());
        let call = move || saver(lu, &state).map_or_else(|e| -e.raw_os_error().unwrap_or(libc::EIO), |()| 0);
        let reply = move |result| address.post_blocking(Letter::Saved { lu, result });
        self.blocking.submit(BlockingJob::new(call, reply)).map_err(|_| Failure::Status(status::BUSY))
    }

    /// The owner: the state is on disk, or could not be put there.
    pub(super) fn saved(&mut self, lu: LuId, result: i32) {
        if result == 0 {
            return self.flush_before_change(lu);
        }
        tracing::error!(?lu, errno = -result, "cannot save the state of a logical unit; the command fails");
        self.end_change(lu, Err(Failure::Check(crate::scsi::Sense::target_failure())));
    }

    fn flush_before_change(&mut self, lu: LuId) {
        let Some(unit) = self.units.get(lu.0 as usize) else { return };
        if unit.next.as_ref().is_some_and(|p| p.effects.flush) {
            self.submit(Client::Owner, lu, DiskOp::Flush);
        } else {
            self.broadcast_change(lu);
        }
    }

    /// The owner: tells everybody; the change holds when all have acknowledged.
    pub(super) fn broadcast_change(&mut self, lu: LuId) {
        let everybody = self.mail.everybody();
        let gate = self.gates.shut(everybody.clone().count(), Then::Changed { lu });
        let Some(unit) = self.units.get(lu.0 as usize) else { return };
        let (Some(pending), Some(ask)) = (&unit.next, unit.asks.front()) else { return };
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

    /// The owner: answers the request under way and goes on with the next.
    pub(super) fn end_change(&mut self, lu: LuId, result: Result<(), Failure>) {
        let ended = self.answer_ask(lu, result);
        if let Some(effects) = ended.filter(|_| result.is_ok()) {
            self.refuse_aborted(lu, &effects);
        }
        self.begin_changes(lu);
    }

    /// Answers the request under way; returns what it changed.
    fn answer_ask(&mut self, lu: LuId, result: Result<(), Failure>) -> Option<Ended> {
        let unit = self.units.get_mut(lu.0 as usize)?;
        let effects = unit.next.take().map(|p| p.effects);
        let ask = unit.asks.pop_front()?;
        self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        Some(Ended { reset: ask.op == SharedOp::Reset, effects: effects? })
    }

    /// Requests of tasks that the change has aborted must not happen any more. They are all here: a reactor sends
    /// its acknowledgement after them. A younger one of the same nexus may be tried again.
    fn refuse_aborted(&mut self, lu: LuId, ended: &Ended) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let of_task = |op: &SharedOp| !matches!(op, SharedOp::Reset | SharedOp::NexusLoss);
        let aborted = |a: &Ask| of_task(&a.op) && (ended.reset || ended.effects.abort.contains(&a.nexus));
        let (refused, stay): (VecDeque<Ask>, _) =
            std::mem::take(&mut unit.asks).into_iter().partition(aborted);
        unit.asks = stay;
        for ask in refused {
            let result = Err(Failure::Status(status::BUSY));
            self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result });
        }
    }
}

//! Everything of a reactor but its connections: memory, ring, logical units, mail.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use slab::Slab;

use super::beside::Beside;
use super::delays::Delays;
use super::disk::{Client, Job, JobId};
use super::drain::Drain;
use super::enclose::Enclosure;
use super::erase::Erasing;
use super::fair::Shortage;
use super::gates::{GateId, Gates, Then};
use super::live::Retiring;
use super::mail::{Fence, Letter, Mail};
use super::quota::Quotas;
use super::recorder::Recorder;
use super::registry::Registry;
use super::stats::Counters;
use super::unit::Unit;
use crate::ids::{ConnId, LuId};
use crate::mem::{Memory, Pool};
use crate::ring::Driver;
use crate::scsi::{Failure, ItNexus, LuState, PassReport, SharedOp, Tokens};
use crate::store::{BlockingPool, Errand};
use crate::target::Catalog;

/// Writes what must outlive a power loss; runs on the blocking pool.
pub type Saver = Arc<dyn Fn(LuId, &LuState) -> std::io::Result<()> + Send + Sync>;

/// See the module page.
pub(super) struct World<D> {
    pub(super) driver: D,
    pub(super) memory: Memory,
    pub(super) pool: Pool,
    pub(super) mail: Mail,
    /// What is exported.
    pub(super) catalog: Arc<Catalog>,
    pub(super) units: Vec<Unit>,
    /// Logical units that are about to go.
    pub(super) retiring: Vec<Retiring>,
    /// Logical units that have come with a change that does not hold yet.
    pub(super) arriving: Vec<LuId>,
    pub(super) blocking: BlockingPool,
    pub(super) saver: Saver,
    pub(super) registry: Arc<Registry>,
    /// The ROD tokens of all reactors. Slow path only, so a mutex serves.
    pub(super) tokens: Arc<Mutex<Tokens>>,
    pub(super) entropy: fn(&mut [u8]),
    pub(super) gates: Gates,
    pub(super) jobs: Slab<Job>,
    pub(super) job_serial: u32,
    /// Requests that go on in the next turn; with the result of their step, if it has one.
    pub(super) later: VecDeque<(JobId, Option<i32>)>,
    /// Requests that wait for one of the entries that disks may have in the ring's table, first come first served.
    pub(super) roomless: VecDeque<JobId>,
    /// Disk operations in flight, and sends without copies, which take the entries of some; and how many there may be.
    pub(super) disks: usize,
    pub(super) most_disks: usize,
    /// Requests that have ended and whose client is yet to be told.
    pub(super) finished: VecDeque<(Client, LuId, Result<(), Failure>)>,
    /// For how long some of these were kept from the medium.
    pub(super) delays: Delays,
    /// How long the request was that its client is being told of.
    pub(super) held_up: u64,
    /// Commands for devices, by the number of their request.
    pub(super) errands: HashMap<u32, Arc<Errand>>,
    /// What devices have answered, until the tasks hear of it.
    pub(super) reports: Vec<(Client, LuId, PassReport)>,
    pub(super) fence_serial: u64,
    /// Fences that the other reactors have yet to be told of.
    pub(super) unannounced: Vec<Fence>,
    /// Requests with the disk that somebody waits for.
    pub(super) drains: Vec<Drain>,
    /// Changes that wait for a flush, but not for ever: until when, and their numbers. Some may have ended.
    pub(super) impatient: VecDeque<(u64, LuId, u32)>,
    /// Ranges that tasks of this reactor have to themselves or have asked for.
    pub(super) enclosures: Vec<Enclosure>,
    /// Operations on whole media of which this reactor is the owner.
    pub(super) erasing: Vec<Erasing>,
    /// The daemon stops: nothing new is begun for nobody.
    pub(super) stopping: bool,
    /// Things behind gates that have opened.
    pub(super) opened: VecDeque<(Then, Result<(), Failure>)>,
    /// Connections whose tasks wait for slots, first come first served.
    pub(super) hungry: VecDeque<ConnId>,
    /// Connections that have begun copies, and may be at them yet.
    pub(super) copying: BTreeSet<ConnId>,
    /// What logical units and initiators may do in a second, and who waits for that.
    pub(super) quotas: Quotas,
    /// Sessions that are here.
    pub(super) sessions: u32,
    /// Who found no slot lately.
    pub(super) shortage: Shortage,
    pub(super) scratch: Vec<u8>,
    /// Memory that connections use beside slots.
    pub(super) beside: Beside,
    /// What tasks were told of their requests, for simulations that play tasks.
    #[cfg(test)]
    pub(super) heard: Vec<(Client, Result<(), Failure>)>,
    pub(super) counters: Counters,
    pub(super) recorder: Recorder,
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

    /// The tasks of a nexus are forgotten, and what these logical units keep for it alone ends too; then `then` goes on.
    /// What its tasks have asked of the owners is recalled before this, and what it asks from now on comes after.
    pub(super) fn reset_nexus(&mut self, units: &[LuId], nexus: &ItNexus, then: Then) {
        let gate = self.gates.shut(units.len() + 1, then);
        self.announce(Then::Announced { gate });
        for lu in units {
            self.ask(*lu, SharedOp::NexusLoss, nexus.clone(), gate);
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
    pub(super) fn acknowledged(&mut self, gate: GateId, result: Result<(), Failure>) {
        self.opened.extend(self.gates.acknowledge(gate, result));
    }
}

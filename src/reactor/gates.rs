//! Things that go on when others have acknowledged.

use crossbeam_channel::Sender;
use slab::Slab;

use super::disk::Client;
use super::live::Done;
use super::mail::FenceId;
use crate::ids::{ConnId, CoreId, LuId, TaskId};
use crate::scsi::Failure;
use crate::session::tmf::Ending;

/// A gate of this reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GateId(pub(super) u32);

/// What goes on behind a gate.
#[derive(Debug)]
pub(super) enum Then {
    /// A session is told that its task management function may be answered.
    Managed { conn: ConnId, token: u32 },
    /// All know of the fences, which is one of the things that another gate of this reactor waits for.
    Announced { gate: GateId },
    /// A task is told what the owner of its logical unit decided.
    Shared { conn: ConnId, task: TaskId, lu: LuId },
    /// As before, of a task that is forgotten: what it asked for cannot happen any more.
    Recalled { conn: ConnId },
    /// The control thread is told what the owner of a logical unit decided.
    Ordered { to: Sender<Result<(), Failure>> },
    /// A change holds here, what it took rights from is drained, and what it aborted is fenced: those sessions may
    /// tell, and the owner's gate gets its acknowledgement.
    Applied { to: CoreId, gate: GateId, told: Vec<(ConnId, Ending)> },
    /// The owner's change of a logical unit, by its number, holds everywhere.
    Changed { lu: LuId, serial: u32 },
    /// On the owner: that the operation on the whole medium has ended holds everywhere.
    Erased { lu: LuId, failed: bool },
    /// Nothing is in flight any more in a range that is to be enclosed: the owner's gate gets its acknowledgement.
    Drained { to: CoreId, gate: GateId },
    /// On the owner: nothing is in flight in that range on any reactor.
    Closed { lu: LuId, fence: FenceId },
    /// A client is told that it has its range to itself.
    Enclosed { client: Client, lu: LuId },
    /// What the device has told that client is known everywhere: the client hears it, too.
    Learned { client: Client, lu: LuId },
    /// The tasks of that connection's session are gone, and all know of what the kernel still has.
    Fenced { conn: ConnId },
    /// The session of that connection can do no harm any more.
    Harmless { conn: ConnId },
    /// A login may go on: the session that it replaces is gone.
    Reinstated { conn: ConnId },
    /// What was not to be seen any more is fenced: those sessions may tell, and the control thread hears of it.
    Revised { told: Vec<(ConnId, Ending)>, done: Option<Done> },
    /// Nobody waits.
    Nothing,
}

#[derive(Debug)]
struct Gate {
    missing: usize,
    then: Then,
    /// The first failure, if some acknowledgement came with one.
    result: Result<(), Failure>,
    /// It waits for others to know of fences.
    fences: bool,
}

/// The gates of one reactor.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: Slab<Gate>,
    /// Gates that wait for others to know of fences.
    announcing: usize,
}

impl Gates {
    /// A gate that opens after `missing` acknowledgements (at least one).
    pub(super) fn shut(&mut self, missing: usize, then: Then) -> GateId {
        GateId(self.gates.insert(Gate { missing, then, result: Ok(()), fences: false }) as u32)
    }

    /// As [`Gates::shut`], while others are told of fences.
    pub(super) fn shut_for_fences(&mut self, missing: usize, then: Then) -> GateId {
        self.announcing += 1;
        GateId(self.gates.insert(Gate { missing, then, result: Ok(()), fences: true }) as u32)
    }

    /// Whether some fences are not yet known to everybody.
    pub(super) fn is_announcing(&self) -> bool {
        self.announcing > 0
    }

    /// The requests of these tasks to owners of logical units are not wanted any more: they, and what they are for.
    pub(super) fn recall(&mut self, conn: ConnId, tasks: &[TaskId]) -> Vec<(GateId, LuId)> {
        let mut tasks = tasks.to_vec();
        tasks.sort_unstable_by_key(|t| t.index);
        let is_one = |task: TaskId| {
            tasks.binary_search_by_key(&task.index, |t| t.index).is_ok_and(|at| tasks[at] == task)
        };
        let mut recalled = Vec::new();
        for (index, gate) in &mut self.gates {
            match gate.then {
                Then::Shared { conn: c, task, lu } if c == conn && is_one(task) => {
                    gate.then = Then::Recalled { conn };
                    recalled.push((GateId(index as u32), lu));
                }
                _ => {}
            }
        }
        recalled
    }

    /// An acknowledgement; what goes on if it was the last, and the first failure of all.
    pub(super) fn acknowledge(
        &mut self,
        id: GateId,
        result: Result<(), Failure>,
    ) -> Option<(Then, Result<(), Failure>)> {
        let gate = self.gates.get_mut(id.0 as usize)?;
        gate.result = gate.result.and(result);
        gate.missing = gate.missing.saturating_sub(1);
        if gate.missing > 0 {
            return None;
        }
        let gate = self.gates.remove(id.0 as usize);
        self.announcing -= usize::from(gate.fences);
        Some((gate.then, gate.result))
    }

    /// Logical units that something behind a gate is about.
    pub(super) fn units(&self) -> impl Iterator<Item = LuId> + '_ {
        self.gates.iter().filter_map(|(_, gate)| match &gate.then {
            Then::Shared { lu, .. }
            | Then::Changed { lu, .. }
            | Then::Erased { lu, .. }
            | Then::Closed { lu, .. }
            | Then::Enclosed { lu, .. }
            | Then::Learned { lu, .. } => Some(*lu),
            _ => None,
        })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_with_the_last_acknowledgement() {
        let mut gates = Gates::default();
        let id = gates.shut(2, Then::Nothing);
        assert!(gates.acknowledge(id, Ok(())).is_none());
        assert!(matches!(gates.acknowledge(id, Ok(())), Some((Then::Nothing, Ok(())))));
        assert!(gates.acknowledge(id, Ok(())).is_none());
    }

    #[test]
    fn a_failure_among_the_acknowledgements_is_told() {
        let mut gates = Gates::default();
        let id = gates.shut(2, Then::Nothing);
        assert!(gates.acknowledge(id, Err(Failure::Status(8))).is_none());
        assert!(matches!(gates.acknowledge(id, Ok(())), Some((Then::Nothing, Err(Failure::Status(8))))));
    }

    #[test]
    fn what_is_recalled_tells_no_task() {
        let mut gates = Gates::default();
        let (conn, task) = (ConnId { index: 1, generation: 0 }, TaskId { index: 2, generation: 0 });
        let id = gates.shut(1, Then::Shared { conn, task, lu: LuId(3) });
        assert_eq!(gates.recall(conn, &[task]), [(id, LuId(3))]);
        assert_eq!(gates.recall(conn, &[task]), []);
        assert!(matches!(gates.acknowledge(id, Ok(())), Some((Then::Recalled { .. }, _))));
    }
}

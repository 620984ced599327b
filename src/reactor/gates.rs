//! Things that go on when others have acknowledged.

use slab::Slab;

use crate::ids::{ConnId, CoreId, LuId, TaskId};

/// A gate of this reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GateId(pub(super) u32);

/// What goes on behind a gate.
#[derive(Debug)]
pub(super) enum Then {
    /// A session is told that its task management function may be answered.
    Managed { conn: ConnId, token: u32 },
    /// A task is told what the owner of its logical unit decided.
    Shared { conn: ConnId, task: TaskId },
    /// A change holds here, and what it aborted is fenced: those sessions may tell, and the owner's gate gets its
    /// acknowledgement.
    Applied { to: CoreId, gate: GateId, told: Vec<ConnId> },
    /// The owner's change of a logical unit holds everywhere.
    Changed { lu: LuId },
    /// The tasks of that connection's session are gone, and all know of what the kernel still has.
    Fenced { conn: ConnId },
    /// The session of that connection can do no harm any more.
    Harmless { conn: ConnId },
    /// A login may go on: the session that it replaces is gone.
    Reinstated { conn: ConnId },
    /// Nobody waits.
    Nothing,
}

#[derive(Debug)]
struct Gate {
    missing: usize,
    then: Then,
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
        GateId(self.gates.insert(Gate { missing, then, fences: false }) as u32)
    }

    /// As [`Gates::shut`], while others are told of fences.
    pub(super) fn shut_for_fences(&mut self, missing: usize, then: Then) -> GateId {
        self.announcing += 1;
        GateId(self.gates.insert(Gate { missing, then, fences: true }) as u32)
    }

    /// Whether some fences are not yet known to everybody.
    pub(super) fn is_announcing(&self) -> bool {
        self.announcing > 0
    }

    /// An acknowledgement; what goes on if it was the last.
    pub(super) fn acknowledge(&mut self, id: GateId) -> Option<Then> {
        let gate = self.gates.get_mut(id.0 as usize)?;
        gate.missing = gate.missing.saturating_sub(1);
        if gate.missing > 0 {
            return None;
        }
        let gate = self.gates.remove(id.0 as usize);
        self.announcing -= usize::from(gate.fences);
        Some(gate.then)
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
        assert!(gates.acknowledge(id).is_none());
        assert!(matches!(gates.acknowledge(id), Some(Then::Nothing)));
        assert!(gates.acknowledge(id).is_none());
    }
}

//! Ranges that one client has to itself: a section of the medium in which it reads and writes as if it were alone.
//!
//! ```text
//!   client's reactor ─ Enclose ─► owner ─ Close ─► every reactor: parks what is new there, drains what is in flight
//!                    ◄─ Answer ─┘     ◄── Ack ──┘
//!   … reads and writes of that client pass its fence …
//!                    ─ Disclose ─► owner ─ Lift ─► every reactor: what was parked goes on
//! ```
//!
//! For commands that are one step to everybody else (COMPARE AND WRITE, ORWRITE) and for work on a range that must not
//! meet other I/O. The owner lets clients in whose ranges do not overlap at the same time, others in the order in which
//! they asked. A task has one range at a time and takes its slots before it asks, so nobody waits in a circle. When the
//! task is forgotten its range is given back as soon as the disk has nothing of it any more.
//!
//! To a session it is a disk request: [`DiskOp::Enclose`](crate::session::host::DiskOp::Enclose) ends when the range is
//! the task's own, and [`DiskOp::Disclose`](crate::session::host::DiskOp::Disclose) gives it back.

use super::disk::Client;
use super::gates::{GateId, Then};
use super::mail::{Enclose, Fence, FenceId, Letter};
use super::world::World;
use crate::ids::{ConnId, CoreId, LuId};
use crate::ring::Driver;
use crate::scsi::{Failure, Sense, status};

/// A range that a client of this reactor has to itself, or has asked for.
#[derive(Debug)]
pub(super) struct Enclosure {
    fence: Fence,
    client: Client,
    /// Requests of the client that are not done yet.
    jobs: u32,
    /// It is given back when they are.
    over: bool,
}

impl Enclosure {
    /// The logical unit.
    pub(super) fn unit(&self) -> LuId {
        self.fence.lu
    }
}

/// What the owner knows of such a range.
#[derive(Debug)]
pub(super) struct Claim {
    asked: Enclose,
    /// Everybody has been told to keep out.
    standing: bool,
    /// The client has been told that all do.
    granted: bool,
}

impl<D: Driver> World<D> {
    /// A task wants a range to itself.
    pub(super) fn enclose(&mut self, client: Client, lu: LuId, offset: u64, len: u64) {
        if self.enclosure_of(client).is_some() {
            let failure = Failure::Check(Sense::target_failure());
            return self.finished.push_back((client, lu, Err(failure)));
        }
        self.fence_serial += 1;
        let fence = Fence { id: (self.mail.core, self.fence_serial), lu, offset, len };
        self.enclosures.push(Enclosure { fence, client, jobs: 0, over: false });
        let gate = self.gates.shut(1, Then::Enclosed { client, lu });
        self.mail.post(self.owner(lu), Letter::Enclose(Enclose { fence, gate }));
    }

    /// A task gives its range back.
    pub(super) fn disclose(&mut self, client: Client, lu: LuId) {
        self.leave_enclosure(|c| c.is_same_task(client));
        self.finished.push_back((client, lu, Ok(())));
    }

    /// Those clients are gone, or done: their ranges are given back when the disk has nothing of them any more.
    pub(super) fn leave_enclosure(&mut self, which: impl Fn(Client) -> bool) {
        self.enclosures.iter_mut().filter(|e| which(e.client)).for_each(|e| e.over = true);
        self.give_back();
    }

    /// The session of that connection is gone.
    pub(super) fn leave_enclosures_of(&mut self, conn: ConnId) {
        self.leave_enclosure(|c| c.conn() == Some(conn));
    }

    fn enclosure_of(&mut self, client: Client) -> Option<&mut Enclosure> {
        self.enclosures.iter_mut().find(|e| !e.over && e.client.is_same_task(client))
    }

    /// A request of that client begins: the fence that it may pass.
    pub(super) fn enter_enclosure(&mut self, client: Client) -> Option<FenceId> {
        let enclosure = self.enclosure_of(client)?;
        enclosure.jobs += 1;
        Some(enclosure.fence.id)
    }

    /// A request within that enclosure is done with.
    pub(super) fn exit_enclosure(&mut self, fence: FenceId) {
        if let Some(enclosure) = self.enclosures.iter_mut().find(|e| e.fence.id == fence) {
            enclosure.jobs -= 1;
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        let over: Vec<Enclosure> = self.enclosures.extract_if(.., |e| e.over && e.jobs == 0).collect();
        for Enclosure { fence, .. } in over {
            self.mail.post(self.owner(fence.lu), Letter::Disclose(fence.id, fence.lu));
        }
    }

    /// The owner: somebody wants a range.
    pub(super) fn take_enclose(&mut self, asked: Enclose) {
        let lu = asked.fence.lu;
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        unit.claims.push(Claim { asked, standing: false, granted: false });
        self.close_ranges(lu);
    }

    /// The owner: those whose range meets none that was asked for earlier have their turn.
    fn close_ranges(&mut self, lu: LuId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let mut turn = Vec::new();
        for n in 0..unit.claims.len() {
            let (earlier, rest) = unit.claims.split_at_mut(n);
            let claim = &mut rest[0];
            let range = (claim.asked.fence.offset, claim.asked.fence.len);
            if !claim.standing && !earlier.iter().any(|e| e.asked.fence.meets(range)) {
                claim.standing = true;
                turn.push(claim.asked.fence);
            }
        }
        for fence in turn {
            let (owner, everybody) = (self.mail.core, self.mail.everybody());
            let gate = self.gates.shut(everybody.clone().count(), Then::Closed { lu, fence: fence.id });
            for core in everybody {
                self.mail.post(core, Letter::Close { owner, gate, fence });
            }
        }
    }

    /// The owner has told to keep out.
    pub(super) fn take_close(&mut self, to: CoreId, gate: GateId, fence: Fence) {
        if let Some(unit) = self.units.get_mut(fence.lu.0 as usize) {
            unit.fences.push(fence);
        }
        let jobs = self.jobs_in(&fence);
        self.drain_range(fence.id, jobs, Then::Drained { to, gate });
    }

    /// The owner: all keep out.
    pub(super) fn closed(&mut self, lu: LuId, fence: FenceId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        // It may have been given back meanwhile.
        let Some(claim) = unit.claims.iter_mut().find(|c| c.asked.fence.id == fence) else { return };
        claim.granted = true;
        let gate = claim.asked.gate;
        self.mail.post(fence.0, Letter::Answer { gate, result: Ok(()) });
    }

    /// The owner: a range is given back.
    pub(super) fn take_disclose(&mut self, fence: FenceId, lu: LuId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let Some(at) = unit.claims.iter().position(|c| c.asked.fence.id == fence) else { return };
        let claim = unit.claims.remove(at);
        if claim.standing {
            for core in self.mail.everybody() {
                self.mail.post(core, Letter::Lift(fence, lu));
            }
        }
        if !claim.granted {
            let result = Err(Failure::Status(status::BUSY));
            self.mail.post(fence.0, Letter::Answer { gate: claim.asked.gate, result });
        }
        self.close_ranges(lu);
    }
}

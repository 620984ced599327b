//! The host of one session, for the length of one call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use super::conn::Conn;
use super::disk::Client;
use super::gates::Then;
use super::meter::{Counted, Leaving, Meter};
use super::registry::SessionKey;
use super::tx::Tx;
use super::world::World;
use crate::ids::{BufId, ConnId, LuId, TaskId};
use crate::mem::{Holding, Refused, Share};
use crate::ring::Driver;
use crate::scsi::{Asc, ItNexus, Lu, PassReport, SharedOp, Tokens};
use crate::session::Charge;
use crate::session::host::{After, Body, Claim, DiskOp, Held, Host, Manage, PassRequest};
use crate::session::watch::{Answered, Direction};
use crate::target::Catalog;
use crate::wire::bhs::BHS_LEN;

/// Lends a session what it may use of the reactor.
pub(super) struct Desk<'a, D> {
    pub(super) world: &'a mut World<D>,
    pub(super) tx: &'a mut Tx,
    pub(super) hungry: &'a mut bool,
    /// Slots that the connection holds.
    pub(super) slots: &'a mut Holding,
    /// It gets the least share only.
    pub(super) on_probation: bool,
    /// Requests to owners of logical units that are not answered yet.
    pub(super) asks: &'a mut u32,
    /// Of those the ones whose tasks are forgotten.
    pub(super) recalled: &'a mut u32,
    /// Task management that waits for the answers of these, by token.
    pub(super) after_asks: &'a mut Vec<u32>,
    /// What the session has done.
    pub(super) meter: Option<&'a mut Meter>,
    pub(super) conn: ConnId,
}

/// A call that has left the pure core and is inside the reactor: a panic in here leaves shared things half changed,
/// so it ends the process instead of one connection.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Runs a call of the pure core; `None` when it panicked, which is a mistake of ours and the end of that connection only.
pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Answers that are made, not read, are made in this. The longest is that to REPORT LUNS: all LUNs of flat addressing, the
/// well known one, and how many these are.
const SCRATCH: usize = 8 * (16_384 + 1 + 1);

#[cold]
pub(super) fn fresh_scratch() -> Vec<u8> {
    vec![0; SCRATCH]
}

impl<D: Driver> Desk<'_, D> {
    /// As [`guarded`], for a call that needs the desk. What a call that panics has on loan is lost, and made anew.
    #[inline]
    pub(super) fn guarded<R>(&mut self, call: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let done = guarded(|| call(&mut *self));
        if done.is_none() {
            self.world.scratch = fresh_scratch();
        }
        done
    }

    #[inline]
    fn take_slot(&mut self, len: u32, claim: Claim) -> Result<BufId, Refused> {
        let World { pool, shortage, driver, sessions, .. } = &mut *self.world;
        let share = match self.on_probation {
            false => Share::OneIn(*sessions),
            true if shortage.is_felt_by_the_good(driver.now()) => return Err(Refused::HasShare),
            true => Share::Least,
        };
        pool.alloc_share(len, claim == Claim::Urgent, self.slots, share)
    }
}

impl<D: Driver> Host for Desk<'_, D> {
    #[inline]
    fn now(&self) -> u64 {
        self.world.driver.now()
    }

    #[inline]
    fn alloc(&mut self, len: u32, claim: Claim) -> Option<BufId> {
        let _inside = Inside;
        match self.take_slot(len, claim) {
            Ok(buf) => Some(buf),
            Err(why) => {
                self.world.counters.starved += 1;
                if why == Refused::Short {
                    let now = self.world.driver.now();
                    self.world.shortage.note(self.conn, now, self.on_probation);
                }
                None
            }
        }
    }

    #[inline]
    fn free(&mut self, buf: BufId) {
        let _inside = Inside;
        self.slots.remove(buf);
        self.world.pool.free(buf);
    }

    fn bytes(&self, buf: BufId) -> &[u8] {
        let _inside = Inside;
        self.world.memory.get(self.world.pool.place(buf))
    }

    fn bytes_mut(&mut self, buf: BufId) -> &mut [u8] {
        let _inside = Inside;
        self.world.memory.get_mut(self.world.pool.place(buf))
    }

    #[inline]
    fn copy_in(&mut self, buf: BufId, at: u32, from: &[u8]) {
        let _inside = Inside;
        self.world.counters.copied_in += from.len() as u64;
        let place = self.world.pool.place(buf).part(at, from.len() as u32);
        self.world.memory.write(place, from);
    }

    #[inline]
    fn commit(&mut self, lu: LuId, offset: u64, blocks: &[u8]) -> bool {
        let _inside = Inside;
        self.world.commit(lu, offset, blocks)
    }

    fn backlog(&self) -> usize {
        self.tx.backlog()
    }

    fn is_crowded(&self) -> bool {
        self.world.beside.is_crowded()
    }

    #[inline]
    fn is_low(&self) -> bool {
        self.world.pool.is_low()
    }

    #[inline]
    fn is_clogged(&self, lu: LuId) -> bool {
        self.is_low() && self.world.units.get(lu.0 as usize).is_some_and(|unit| unit.ghosts > 0)
    }

    #[inline]
    fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.world.scratch)
    }

    #[inline]
    fn give_scratch(&mut self, scratch: Vec<u8>) {
        self.world.scratch = scratch;
    }

    fn catalog(&self) -> &Catalog {
        &self.world.catalog
    }

    #[inline]
    fn lu(&self, lu: LuId) -> Option<&Lu> {
        self.world.units.get(lu.0 as usize).map(|u| &u.lu)
    }

    fn clones(&self, from: LuId, to: LuId) -> bool {
        let unit = |lu: LuId| self.world.units.get(lu.0 as usize);
        unit(from).zip(unit(to)).is_some_and(|(from, to)| to.store.may_clone(&from.store))
    }

    fn is_logged_in(&self, nexus: &ItNexus) -> bool {
        let ItNexus { initiator, isid, target, tpg_tag, .. } = nexus.clone();
        self.world.registry.has(&SessionKey { initiator, isid, target, tpg_tag })
    }

    fn tokens<R>(&mut self, call: impl FnOnce(&mut Tokens) -> R) -> R {
        let _inside = Inside;
        call(&mut self.world.tokens.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn random(&mut self, bytes: &mut [u8]) {
        let _inside = Inside;
        (self.world.entropy)(bytes);
    }

    #[inline]
    fn in_memory(&self, lu: LuId) -> bool {
        self.world.units.get(lu.0 as usize).is_some_and(|u| u.store.is_memory())
    }

    #[inline]
    fn is_blank(&self, lu: LuId) -> bool {
        self.world.units.get(lu.0 as usize).is_some_and(|u| u.store.is_blank())
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.tx.put(bytes);
    }

    #[inline]
    fn put_body(&mut self, body: Body) {
        let _inside = Inside;
        match body {
            Body::Slot { buf, at, len } => {
                self.tx.put_body(self.world.pool.place(buf).part(at, len));
            }
            Body::Medium { lu, offset, len } => {
                let resident =
                    self.world.units.get(lu.0 as usize).and_then(|u| u.store.resident(offset, len));
                debug_assert!(resident.is_some(), "{body:?} was promised");
                if let Some(place) = resident {
                    self.tx.put_body(place);
                }
            }
        }
        self.world.counters.read += u64::from(body.len());
    }

    #[inline]
    fn end(&mut self, after: After) {
        self.tx.end(after, self.world.driver.now());
    }

    #[inline]
    fn seen(&mut self, outward: bool, bhs: &[u8; BHS_LEN]) {
        self.world.recorder.note(self.world.driver.now(), self.conn, outward, bhs);
    }

    #[inline]
    fn answered(&mut self, command: &Answered<'_>) {
        let _inside = Inside;
        let counted = Counted::new(command);
        if let Some(unit) = self.world.units.get_mut(command.lu.0 as usize) {
            unit.meter.answered(&counted);
        }
        if let Some(meter) = &mut self.meter {
            meter.answered(&counted);
        }
        if command.direction != Direction::Other {
            self.tx.time(Leaving::new(command, self.world.driver.now()));
        }
    }

    #[inline]
    fn held_up(&self) -> u64 {
        self.world.held_up
    }

    #[inline(always)]
    fn disk(&mut self, task: TaskId, part: u8, lu: LuId, op: DiskOp) {
        let _inside = Inside;
        if let DiskOp::Write { len, .. } = op {
            self.world.counters.written += u64::from(len);
        }
        self.world.submit(Client::Task { conn: self.conn, task, part }, lu, op);
    }

    fn pass(&mut self, task: TaskId, lu: LuId, request: PassRequest) {
        let _inside = Inside;
        self.world.pass(Client::Task { conn: self.conn, task, part: 0 }, lu, request);
    }

    fn take_passed(&mut self, task: TaskId) -> Option<PassReport> {
        self.world.take_report(self.conn, task)
    }

    fn tell_others(&mut self, lu: LuId, asc: Asc, nexus: &ItNexus) {
        let _inside = Inside;
        let gate = self.world.gates.shut(1, Then::Nothing);
        self.world.ask(lu, SharedOp::Told(asc), nexus.clone(), gate);
    }

    fn flush_unwatched(&mut self, lu: LuId) {
        let _inside = Inside;
        self.world.submit(Client::Nobody, lu, DiskOp::Flush);
    }

    fn abandon(&mut self, tasks: &[TaskId]) -> Held {
        let _inside = Inside;
        let held = self.world.abandon(self.conn, tasks);
        if *self.asks > 0 {
            *self.recalled += self.world.recall(self.conn, tasks);
        }
        // The ghosts free these.
        for buf in &held {
            self.slots.remove(*buf);
        }
        held
    }

    fn shared(&mut self, task: TaskId, lu: LuId, mut op: SharedOp, nexus: &ItNexus) {
        let _inside = Inside;
        if let SharedOp::Persistent(out) = &mut op {
            out.name_ports(|initiator| self.world.registry.isids_of(initiator, &nexus.target));
        }
        *self.asks += 1;
        let gate = self.world.gates.shut(1, Then::Shared { conn: self.conn, task, lu });
        self.world.ask(lu, op, nexus.clone(), gate);
    }

    fn manage(&mut self, token: u32, what: Manage, nexus: &ItNexus) {
        let _inside = Inside;
        let then = Then::Managed { conn: self.conn, token };
        let (units, cold) = match what {
            // What an aborted task has asked of an owner may be under way.
            Manage::Fence if *self.recalled > 0 => return self.after_asks.push(token),
            Manage::Fence => return self.world.announce(then),
            Manage::NexusReset(units) => return self.world.reset_nexus(&units, nexus, then),
            Manage::LuReset(lu) => (vec![lu], false),
            Manage::TargetReset { units, cold } => (units, cold),
        };
        if units.is_empty() {
            self.world.announce(then);
        } else {
            let gate = self.world.gates.shut(units.len(), then);
            for lu in units {
                self.world.ask(lu, SharedOp::Reset, nexus.clone(), gate);
            }
        }
        if cold {
            self.world.kill_target(&nexus.target, self.conn);
        }
    }

    fn charge(
        &mut self,
        lu: LuId,
        initiator: Option<u32>,
        charge: Charge,
        overdraw: bool,
    ) -> Result<(), u64> {
        let _inside = Inside;
        let now = self.world.driver.now();
        self.world.quotas.charge(lu, initiator, charge, overdraw, now)
    }

    fn waits_for_quota(&mut self) {
        self.world.quotas.wait(self.conn);
    }

    fn copies(&mut self) {
        self.world.copying.insert(self.conn);
    }

    fn wants_slots(&mut self) {
        if !*self.hungry {
            *self.hungry = true;
            self.world.hungry.push_back(self.conn);
        }
    }
}

/// A connection as the host of its session, and the phase with that session.
pub(super) fn desk<'a, D: Driver>(
    world: &'a mut World<D>,
    conn: &'a mut Conn,
) -> (Desk<'a, D>, &'a mut super::conn::Phase) {
    let Conn { phase, tx, hungry, slots, on_probation, asks, recalled, after_asks, meter, id, .. } = conn;
    let meter = meter.as_deref_mut();
    let on_probation = *on_probation;
    (Desk { world, tx, hungry, slots, on_probation, asks, recalled, after_asks, meter, conn: *id }, phase)
}

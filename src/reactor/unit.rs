//! A logical unit on one reactor: its replica of the shared state, its fences, and, on its owner, the changes that wait.

use std::collections::VecDeque;
use std::sync::Arc;

use super::disk::JobId;
use super::enclose::Claim;
use super::keep::Keeping;
use super::mail::{Ask, Fence, FenceId};
use super::meter::Meter;
use crate::ids::{ConnId, CoreId, LuId};
use crate::scsi::{Bar, Failure, Lu, LuFacts, LuState};
use crate::session::host::DiskOp;
use crate::store::Store;

/// A logical unit as this reactor has it.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) lu: Lu,
    pub(super) store: Store,
    /// What commands have done with it here.
    pub(super) meter: Box<Meter>,
    /// Sessions that may not write any more, though tasks of theirs began when they might; sorted.
    pub(super) barred: Vec<(ConnId, Bar)>,
    /// Ranges that ghosts may still write to, or that some client has to itself.
    pub(super) fences: Vec<Fence>,
    /// Requests that nobody wants any more, and whose slots the disk still has.
    pub(super) ghosts: u32,
    /// Disk requests that wait for a fence, in order.
    pub(super) parked: Vec<Parked>,
    /// Changes that wait for their turn; while there is a [`Pending`] the first is under way. Only on the owner.
    pub(super) asks: VecDeque<Ask>,
    /// The change under way.
    pub(super) next: Option<Pending>,
    /// State on its way to the disk. Only on the owner.
    pub(super) saving: Option<Saving>,
    /// What is on disk is not what holds, or may not be, and nobody waits who will make it hold. Only on the owner.
    pub(super) astray: bool,
    /// Changes that hold everywhere and are answered after a flush, by their numbers.
    pub(super) flushing: Vec<(u32, Ask)>,
    /// What a device that is passed through is being told, and what it will be next. Only on the owner.
    pub(super) keeping: VecDeque<Keeping>,
    /// Commands that are answered when the operation on the whole medium that they began has ended. Only on the owner.
    pub(super) erasers: Vec<Ask>,
    /// The state that was told last: the next change is a change of this one. Only the owner's is kept up.
    pub(super) told: Arc<LuState>,
    /// The number of the last change.
    pub(super) changes: u32,
    /// What is logged of its failures.
    pub(super) complaints: Complaints,
    /// Ranges that clients have to themselves or wait for, in the order in which they asked. Only on the owner.
    pub(super) claims: Vec<Claim>,
    /// It is about to go: nothing is begun by itself.
    pub(super) retiring: bool,
}

/// A change under way: everybody has been told.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) serial: u32,
    /// Nobody waits for disks on its account any more.
    pub(super) hurried: bool,
    /// Whoever asked for it is gone.
    pub(super) recalled: bool,
    pub(super) effects: Arc<crate::scsi::Effects>,
}

/// For what state is being saved.
#[derive(Debug)]
pub(super) enum Saving {
    /// For a request that nobody has been told of yet.
    Asked(Ask),
    /// For one that is not wanted any more.
    Recalled,
    /// What holds, where that of a request stood that was not wanted any more.
    PutBack,
}

impl Unit {
    pub(super) fn new(lu: Lu, store: Store) -> Self {
        Self {
            told: lu.state.clone(),
            lu,
            store,
            meter: Meter::new(),
            barred: Vec::new(),
            fences: Vec::new(),
            ghosts: 0,
            parked: Vec::new(),
            asks: VecDeque::new(),
            next: None,
            saving: None,
            astray: false,
            flushing: Vec::new(),
            keeping: VecDeque::new(),
            erasers: Vec::new(),
            changes: 0,
            complaints: Complaints::default(),
            claims: Vec::new(),
            retiring: false,
        }
    }

    /// Whether nobody is kept from any of it.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.fences.is_empty() && self.barred.is_empty()
    }

    /// What a request for that range must wait for, if anything. `own` is the fence of its own client.
    #[inline]
    pub(super) fn barrier(&self, range: Option<(u64, u64)>, own: Option<FenceId>) -> Option<Barrier> {
        if self.fences.is_empty() {
            return None;
        }
        let range = range?;
        first_of(&self.fences, range, own).map(|fence| Barrier { range, own, fence })
    }

    /// Why a request of that session may not change any more what it is about to change, if so.
    #[inline]
    pub(super) fn bar(&self, conn: Option<ConnId>, op: &DiskOp) -> Option<Failure> {
        if self.barred.is_empty() {
            return None;
        }
        op.changes()?;
        let at = self.barred.binary_search_by_key(&conn?, |(barred, _)| *barred).ok()?;
        let Bar { medium, in_standby } = self.barred[at].1;
        if let DiskOp::Pass { standby: true, .. } = op { in_standby } else { Some(medium) }
    }

    /// Whether nothing waits here, nothing is asked of its owner, and no range is kept from anybody.
    pub(super) fn is_at_rest(&self) -> bool {
        let asked = self.asks.is_empty() && self.next.is_none() && self.saving.is_none();
        let answered = self.flushing.is_empty() && self.erasers.is_empty() && self.keeping.is_empty();
        let free = self.fences.is_empty() && self.parked.is_empty() && self.claims.is_empty();
        asked && answered && free
    }

    /// The configuration says something else of it. How large it is it knows itself, and what a device has told.
    pub(super) fn refit(&mut self, facts: &Arc<LuFacts>) {
        let (blocks, length) = (self.lu.facts.blocks, self.lu.facts.block_size);
        self.lu.facts = facts.clone();
        if facts.blocks != blocks {
            Arc::make_mut(&mut self.lu.facts).blocks = blocks;
        }
        if facts.passed.is_some() && facts.block_size != length {
            self.reblock(length);
        }
    }

    /// The blocks of the device that is passed through are so long: by that the lengths in its commands are measured.
    pub(super) fn reblock(&mut self, length: u32) {
        Arc::make_mut(&mut self.lu.facts).block_size = length;
    }

    /// The medium has another capacity: commands and requests are judged by it from now on.
    pub(super) fn resize(&mut self, blocks: u64) {
        Arc::make_mut(&mut self.lu.facts).blocks = blocks;
        self.lu.counters.set_capacity(blocks);
        self.store.resize(blocks);
    }

    /// A fence falls: the requests that have waited for it, and for none behind it, in order. Those in front of it were
    /// never in their way, and new ones are always the last: so a request looks at every fence once.
    pub(super) fn lift(&mut self, id: FenceId) -> Vec<JobId> {
        let Some(at) = self.fences.iter().position(|f| f.id == id) else { return Vec::new() };
        self.fences.remove(at);
        let (behind, mut free) = (&self.fences[at..], Vec::new());
        let waiting = |Parked { job, at }: &mut Parked| {
            if at.fence == id {
                match first_of(behind, at.range, at.own) {
                    Some(next) => at.fence = next,
                    None => free.push(*job),
                }
            }
            at.fence != id
        };
        self.parked.retain_mut(waiting);
        free
    }
}

fn first_of(fences: &[Fence], range: (u64, u64), own: Option<FenceId>) -> Option<FenceId> {
    fences.iter().find(|f| Some(f.id) != own && f.meets(range)).map(|f| f.id)
}

/// A fence in the way of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Barrier {
    /// The request's range.
    range: (u64, u64),
    /// The fence that it may pass.
    own: Option<FenceId>,
    fence: FenceId,
}

/// A request that waits for a fence.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) job: JobId,
    /// The first fence in its way.
    pub(super) at: Barrier,
}

/// How often the failures of a disk are logged, nanoseconds: one that has gone fails thousands of requests a second.
const COMPLAINT_NS: u64 = 10_000_000_000;

/// Failures that are to be logged, now and then.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// When the next may be logged.
    next: u64,
    /// How many were not.
    unsaid: u64,
}

impl Complaints {
    /// Something has failed. If it is to be logged: how many others were not since the last one that was.
    pub(super) fn one_more(&mut self, now: u64) -> Option<u64> {
        if now < self.next {
            self.unsaid += 1;
            return None;
        }
        self.next = now + COMPLAINT_NS;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
thread_local! {
    /// How often ranges were compared with fences.
    pub(super) static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Fence {
    /// Whether it has bytes in common with (offset, length).
    pub(super) fn meets(&self, (offset, len): (u64, u64)) -> bool {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.offset < offset.saturating_add(len) && offset < self.offset.saturating_add(self.len)
    }
}

/// The reactor that owns a logical unit: all agree without asking.
pub(super) fn owner_of(lu: LuId, reactors: usize) -> CoreId {
    CoreId((lu.0 as usize % reactors.max(1)) as u16)
}

/// What a reactor is given of a logical unit at start.
#[derive(Debug, Clone)]
pub struct UnitSeed {
    /// Facts and first state.
    pub lu: Lu,
    /// What it sits on.
    pub backing: Arc<crate::store::Backing>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_logged_now_and_then_and_none_is_forgotten() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.one_more(5), Some(0));
        assert!((6..1000).all(|now| complaints.one_more(now).is_none()));
        assert_eq!(complaints.one_more(5 + COMPLAINT_NS), Some(994));
        assert_eq!(complaints.one_more(6 + COMPLAINT_NS), None);
    }
}

//! Waiting until requests have left the disk: before a change is acknowledged, and before a range is enclosed.

use super::disk::JobId;
use super::gates::Then;
use super::mail::FenceId;
use super::world::World;
use crate::ids::{ConnId, LuId};
use crate::ring::Driver;
use crate::scsi::Bar;

/// How long a change waits for writes of those from whom it takes rights, nanoseconds. A disk that works is done with
/// any write by then; the ranges of one that hangs are fenced instead, so that nobody sees the difference, and the
/// change is answered well within the 30 s that initiators give a command.
pub(super) const MOST_NS: u64 = 5_000_000_000;

/// Why requests are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// A change of that logical unit. There is one at a time.
    Change(LuId),
    /// A range that is being enclosed.
    Enclosing(FenceId),
}

/// Requests that somebody waits for.
#[derive(Debug)]
pub(super) struct Drain {
    reason: Reason,
    jobs: Vec<JobId>,
    deadline: Option<u64>,
    then: Then,
}

impl<D: Driver> World<D> {
    /// A change holds here: `barred`, sorted, may not write any more. What they have with the disk is waited for.
    pub(super) fn drain_barred(&mut self, lu: LuId, barred: Vec<(ConnId, Bar)>, then: Then) {
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.barred = barred;
        }
        let jobs = self.beyond_recall(self.jobs_of_barred(lu));
        let deadline = Some(self.driver.now() + MOST_NS);
        self.drain(Drain { reason: Reason::Change(lu), jobs, deadline, then });
    }

    /// A range is being enclosed, and nothing new begins there: what is with the disk is waited for.
    pub(super) fn drain_range(&mut self, fence: FenceId, jobs: Vec<JobId>, then: Then) {
        self.drain(Drain { reason: Reason::Enclosing(fence), jobs, deadline: None, then });
    }

    fn drain(&mut self, drain: Drain) {
        if drain.jobs.is_empty() {
            self.announce(drain.then);
        } else {
            self.drains.push(drain);
        }
    }

    /// A request has ended, or never begins.
    pub(super) fn drained(&mut self, id: JobId) {
        self.drains.iter_mut().for_each(|d| d.jobs.retain(|j| *j != id));
        self.finish_drains(|d| d.jobs.is_empty());
    }

    /// Those that have waited long enough: what is still with the disk is fenced.
    pub(super) fn expire_drains(&mut self) {
        let now = self.driver.now();
        self.fence_drains(|d| d.deadline.is_some_and(|deadline| deadline <= now));
    }

    /// The change under way must not wait for the disk any longer: likewise.
    pub(super) fn hurry_drain(&mut self, lu: LuId) {
        self.fence_drains(|d| d.reason == Reason::Change(lu));
    }

    fn fence_drains(&mut self, which: impl Fn(&Drain) -> bool) {
        let late: Vec<JobId> =
            self.drains.iter().filter(|d| which(d)).flat_map(|d| d.jobs.iter().copied()).collect();
        late.into_iter().for_each(|id| self.fence_off(id));
        self.finish_drains(which);
    }

    /// The range is not to be enclosed any more.
    pub(super) fn stop_enclosing(&mut self, fence: FenceId) {
        self.finish_drains(|d| d.reason == Reason::Enclosing(fence));
    }

    fn finish_drains(&mut self, which: impl Fn(&Drain) -> bool) {
        let ended: Vec<Drain> = self.drains.extract_if(.., |d| which(d)).collect();
        ended.into_iter().for_each(|d| self.announce(d.then));
    }
}

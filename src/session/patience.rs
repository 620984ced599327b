//! Patience with an initiator that owes data, while others wait for the slots that its transfers hold.
//!
//! A transfer is slow when too little of it came for a whole [`INTERVAL_NS`](super::pace::INTERVAL_NS). It is excused
//! as long as its session moves fast enough as a whole, because initiators answer one R2T after the other; but not
//! for ever. One that is not excused fails, and its slots go back. If its payload is just on its way into a slot, the
//! connection ends, since nobody else can have a slot that the kernel fills.

use super::host::Host;
use super::task::{Task, Work};
use super::{Close, Session};
use crate::ids::TaskId;

/// Intervals after which a slow transfer is not excused any more, whatever else moves in its session.
const LONGEST: u32 = 6;

impl Session {
    /// Others wait for slots: transfers that have been too slow for too long fail. Returns how many did. To be called
    /// every now and then, at least once a second, as long as others wait.
    ///
    /// # Errors
    /// When the connection must end to get a slot back.
    pub fn hurry<H: Host>(&mut self, h: &mut H) -> Result<u32, Close> {
        let now = h.now();
        let moved = self.intake - u64::from(self.rx.payload_to_come());
        let owing: Vec<TaskId> = self.owing().collect();
        if owing.is_empty() && self.rx.orphaned().is_none() {
            self.pace.restart(now, moved);
            return Ok(0);
        }
        let session_is_slow = self.pace.look(now, moved) > 0;
        let is_over = |slow: u32| slow >= LONGEST || (slow > 0 && session_is_slow);
        if let Some((pace, got)) = self.rx.orphaned()
            && is_over(pace.look(now, got))
        {
            return Err(Close::TooSlow);
        }
        let mut failed = 0;
        for id in owing {
            if is_over(self.slowness(id, now)) {
                self.give_transfer_up(h, id)?;
                failed += 1;
            }
        }
        Ok(failed)
    }

    /// Whether some transfer waits for data.
    pub(super) fn awaits_data(&self) -> bool {
        self.tasks.iter().any(|(_, t)| match &t.work {
            Work::Taking(taking) => taking.is_owed(),
            Work::Dormant(dormant) => dormant.is_owed(),
            _ => false,
        })
    }

    /// Transfers that hold slots and wait for data.
    fn owing(&self) -> impl Iterator<Item = TaskId> + '_ {
        let owes = |id: TaskId, task: &Task| match &task.work {
            Work::Taking(taking) => taking.holds_slots() && (taking.is_owed() || self.rx.places_for(id)),
            _ => false,
        };
        self.tasks.iter().filter(move |(id, task)| owes(*id, task)).map(|(id, _)| id)
    }

    fn slowness(&mut self, id: TaskId, now: u64) -> u32 {
        let to_come = if self.rx.places_for(id) { self.rx.payload_to_come() } else { 0 };
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return 0 };
        let moved = taking.announced.saturating_sub(u64::from(to_come));
        taking.pace.look(now, moved)
    }
}

//! Slots for everybody: how much one session may hold, and what happens to those that hold what others wait for.
//!
//! As long as there are slots nobody is limited and nobody is hurried. When a class of slots becomes short, a session
//! gets no more of it than its share, by the number of sessions that are there. And while some session waits for
//! slots, the others must move what they hold theirs for: a transfer whose data does not come fails
//! ([`Session::hurry`](crate::session::Session::hurry)), and a connection on which too little can be sent ends. Who
//! has let a transfer lapse is kept short for a while, and comes after all others.

use super::conn::Conn;
use super::desk::desk;
use super::{Phase, Reactor, Why};
use crate::ids::ConnId;
use crate::ring::Driver;
use crate::session::pace::INTERVAL_NS;

/// How long a session that found no slot counts as waiting, nanoseconds. One that waits tries again in every turn;
/// one that was answered TASK SET FULL sends its command anew within that time.
const WAITING_NS: u64 = 2_000_000_000;

/// How long a session that let a transfer lapse gets only the least share, nanoseconds: long enough that holding
/// slots for an interval gains nothing.
const PROBATION_NS: u64 = 60_000_000_000;

/// How long after a good session found no slot those on probation get none, nanoseconds.
const PRECEDENCE_NS: u64 = PROBATION_NS / 2;

/// The sessions that found no slot lately: two, so that everyone can tell whether another one did.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    latest: [Option<(ConnId, u64)>; 2],
    /// When one that is not on probation found none.
    of_the_good: Option<u64>,
}

impl Shortage {
    /// That session found no slot, though it has not had its share.
    pub(super) fn note(&mut self, conn: ConnId, now: u64, on_probation: bool) {
        if !on_probation {
            self.of_the_good = Some(now);
        }
        let first = self.latest[0];
        if first.is_none_or(|(other, _)| other != conn) {
            self.latest[1] = first;
        }
        self.latest[0] = Some((conn, now));
    }

    /// Whether those on probation must leave the slots to others.
    pub(super) fn is_felt_by_the_good(&self, now: u64) -> bool {
        self.of_the_good.is_some_and(|at| now.saturating_sub(at) <= PRECEDENCE_NS)
    }

    /// Whether some other session waits for slots.
    fn is_felt_beside(&self, conn: ConnId, now: u64) -> bool {
        let waits = |&(other, at): &(ConnId, u64)| other != conn && now.saturating_sub(at) <= WAITING_NS;
        self.latest.iter().flatten().any(waits)
    }
}

impl<D: Driver> Reactor<D> {
    /// Looks whether a session makes good use of the slots that it holds, if others wait for some.
    pub(super) fn hurry(&mut self, id: ConnId, now: u64) -> Option<Why> {
        let conn = self.conns.get_mut(id)?;
        conn.on_probation = now < conn.probation_ends;
        if conn.slots.is_empty() || !self.world.shortage.is_felt_beside(id, now) {
            return None;
        }
        if conn.sends_slowly(now) {
            self.world.counters.stalled += 1;
            return Some(Why::Slow);
        }
        let (mut desk, Phase::Full(session)) = desk(&mut self.world, conn) else { return None };
        let lapsed = match desk.guarded(|desk| session.hurry(desk)) {
            Some(Ok(0)) => return None,
            Some(Ok(lapsed)) => lapsed,
            Some(Err(why)) => return Some(Why::Session(why)),
            None => return Some(Why::Broken),
        };
        let initiator = &session.established().initiator;
        tracing::warn!(
            initiator,
            lapsed,
            "data did not come while others waited for slots: commands aborted"
        );
        self.world.counters.lapsed += u64::from(lapsed);
        conn.on_probation = true;
        conn.probation_ends = now + PROBATION_NS;
        self.mark_dirty(id);
        None
    }
}

impl Conn {
    /// Whether the send under way has been too slow for a whole interval.
    fn sends_slowly(&mut self, now: u64) -> bool {
        let Some(began) = self.tx.began().filter(|_| self.sends_long(now)) else { return false };
        let sent = self.tx.delivered;
        if self.send_judged != began {
            self.send_judged = began;
            self.send_pace.restart(now, sent);
        }
        self.send_pace.look(now, sent) > 0 && now.saturating_sub(began) >= INTERVAL_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    #[test]
    fn nobody_is_hurried_for_its_own_sake() {
        let mut shortage = Shortage::default();
        shortage.note(conn(1), 5, true);
        shortage.note(conn(1), 6, true);
        assert!(!shortage.is_felt_beside(conn(1), 7) && shortage.is_felt_beside(conn(2), 7));
        assert!(!shortage.is_felt_by_the_good(7));
        shortage.note(conn(2), 8, false);
        assert!(shortage.is_felt_by_the_good(9) && !shortage.is_felt_by_the_good(9 + PRECEDENCE_NS));
        assert!(shortage.is_felt_beside(conn(1), 9) && shortage.is_felt_beside(conn(2), 9));
        assert!(!shortage.is_felt_beside(conn(1), 9 + WAITING_NS));
    }
}

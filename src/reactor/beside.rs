//! Memory that connections use beside slots: requests that came before their turn, what commands have brought along that
//! wait for others, pings and texts that are still coming, and answers that wait to be read, with the lists of where
//! their payload lies.
//!
//! Each session has limits of its own for these, and leaves requests unread before it reaches them. What all of them
//! together may have is less than the sum of those: else whoever opens many connections and reads nothing could
//! exhaust the machine. When half of it is used, sessions leave requests unread and hold data back sooner. When all of
//! it is, for requests must be read at last and what is behind a gap cannot wait in the socket, the connection that
//! has most of it ends, so that
//!
//! ```text
//!   used by all connections of a reactor ≤ MOST_BESIDE + what one receive or one turn of answers adds
//! ```
//!
//! By its size nobody ends who has no more than [`USUAL`], whatever others do: of so many connections one has more.

use super::conn::{Conn, Phase};
use super::{Reactor, Why};
use crate::ids::ConnId;
use crate::ring::Driver;

/// What an initiator has waiting that keeps a full queue and reads, bytes: 128 commands (the usual queue of an
/// initiator) that all end with data in one PDU, 48 and two digests of 4, two parts of a send of 24 each, and the 16 of
/// what follows. One that ends with sense data has less, 48 + 44 + two digests of 4, in one part.
const USUAL: usize = 128 * 120;

/// Connections that may all have that, on one reactor: as many as a daemon takes if nobody says otherwise.
const CONNECTIONS: usize = 16_384;

/// What all connections of a reactor may use, bytes.
const MOST_BESIDE: usize = 256 << 20;

// If more than that is used, somebody uses more than USUAL: the end of that connection makes room.
const _: () = assert!(MOST_BESIDE / CONNECTIONS >= USUAL);

/// What is used.
#[derive(Debug)]
pub(super) struct Beside {
    used: usize,
    most: usize,
}

impl Default for Beside {
    fn default() -> Self {
        Self { used: 0, most: MOST_BESIDE }
    }
}

impl Beside {
    /// A connection that was charged with `charge` has `now`.
    #[inline]
    fn settle(&mut self, charge: &mut usize, now: usize) {
        self.used = self.used - *charge + now;
        *charge = now;
    }

    /// Whether so much is used that everybody should have less.
    pub(super) fn is_crowded(&self) -> bool {
        self.used > self.most / 2
    }

    #[inline]
    fn is_too_much(&self) -> bool {
        self.used > self.most
    }
}

#[cfg(test)]
impl Beside {
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
    }
}

impl<D: Driver> Reactor<D> {
    /// What a connection has may have changed.
    #[inline]
    pub(super) fn settle_beside(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let now = conn.memory();
        self.world.beside.settle(&mut conn.beside, now);
        if self.world.beside.is_too_much() {
            self.end_greediest();
        }
    }

    #[cold]
    fn end_greediest(&mut self) {
        let ids = self.conns.ids();
        let charge = |id: &ConnId| self.conns.get_mut(*id).map_or(0, |conn| conn.beside);
        if let Some(id) = ids.into_iter().max_by_key(charge) {
            self.world.counters.greedy += 1;
            self.close(id, Why::Greedy);
        }
    }
}

impl Conn {
    /// Bytes that it uses beside slots. What ends has given up all but what the kernel still has of it.
    pub(super) fn memory(&self) -> usize {
        match &self.phase {
            Phase::Full(session) => session.beside() + self.tx.memory(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_given_back_to_the_byte() {
        let mut beside = Beside::default();
        let (mut one, mut other) = (0, 0);
        beside.settle(&mut one, 1_000);
        beside.settle(&mut other, MOST_BESIDE - 1_000);
        assert_eq!((one, beside.used), (1_000, MOST_BESIDE));
        assert!(beside.is_crowded() && !beside.is_too_much(), "all of it may be used");
        beside.settle(&mut one, 1_001);
        assert!(beside.is_too_much());
        beside.settle(&mut other, 0);
        // A second time there is nothing to give back.
        beside.settle(&mut other, 0);
        assert!(beside.used == 1_001 && !beside.is_crowded());
        beside.settle(&mut one, 0);
        assert_eq!(beside.used, 0);
    }
}

//! For how long requests were kept from the medium that have ended and whose clients are yet to be told.
//!
//! Owns: these times, in the order in which the clients will be told. Promises: to be told of one costs the same however
//! many there are, as only the next can be the one.

use std::collections::VecDeque;

use super::disk::Client;
use crate::ids::LuId;

/// See the module page.
#[derive(Debug, Default)]
pub(super) struct Delays(VecDeque<(Client, LuId, u64)>);

impl Delays {
    /// The request that has ended last was kept for so many nanoseconds.
    #[cold]
    pub(super) fn push(&mut self, client: Client, lu: LuId, long: u64) {
        self.0.push_back((client, lu, long));
    }

    /// For how long the request was kept whose client is about to be told; zero: not at all. It is asked once.
    pub(super) fn of(&mut self, client: Client) -> u64 {
        if self.0.front().is_none_or(|(of, _, _)| *of != client) {
            return 0;
        }
        self.0.pop_front().map_or(0, |(_, _, long)| long)
    }

    /// Nobody will be told of these.
    pub(super) fn forget(&mut self, which: impl Fn(Client, LuId) -> bool) {
        self.0.retain(|(client, lu, _)| !which(*client, *lu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConnId, TaskId};

    const LU: LuId = LuId(0);

    fn task(index: u32) -> Client {
        let (conn, task) = (ConnId { index: 0, generation: 1 }, TaskId { index, generation: 1 });
        Client::Task { conn, task, part: 0 }
    }

    #[test]
    fn only_the_next_is_looked_at() {
        let mut delays = Delays::default();
        (1..=3).for_each(|n| delays.push(task(n), LU, n.into()));
        assert_eq!(delays.of(task(3)), 0, "it is not its turn, and nothing is searched");
        assert_eq!([1, 9, 2, 3, 3].map(|n| delays.of(task(n))), [1, 0, 2, 3, 0]);
    }

    #[test]
    fn those_who_are_forgotten_keep_nobody_from_theirs() {
        let mut delays = Delays::default();
        (1..=3).for_each(|n| delays.push(task(n), LU, n.into()));
        delays.forget(|client, _| client == task(1));
        assert_eq!([2, 3].map(|n| delays.of(task(n))), [2, 3]);
    }
}

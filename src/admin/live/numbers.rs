//! The numbers that logical units have in the daemon.
//!
//! Promises: nobody gets a number that somebody has, or may have: it is taken before the first reactor hears of it, and
//! is free again when the last one has forgotten it.

use std::collections::BTreeSet;

use crate::ids::LuId;

/// How many logical units there can be at a time: reactors name the memory of each by sixteen bits. It is more than a
/// configuration may have, for those that come are there before others go.
const MOST: u32 = 65_500;

/// Which numbers are free.
#[derive(Debug)]
pub(super) struct Numbers {
    /// They mean nothing any more.
    free: BTreeSet<LuId>,
    /// The first that never meant anything.
    next: u32,
}

impl Numbers {
    /// The first `count` are taken.
    pub(super) fn after(count: usize) -> Self {
        Self { free: BTreeSet::new(), next: u32::try_from(count).unwrap_or(MOST) }
    }

    /// So many that are free, or as many as there are. They stay so until they are taken.
    pub(super) fn offer(&self, count: usize) -> Vec<LuId> {
        let fresh = (self.next..MOST).map(LuId);
        self.free.iter().copied().chain(fresh).take(count).collect()
    }

    /// These are somebody's from now on.
    pub(super) fn take(&mut self, numbers: impl Iterator<Item = LuId>) {
        for number in numbers {
            self.free.extend((self.next..=number.0).map(LuId));
            self.next = self.next.max(number.0.saturating_add(1));
            self.free.remove(&number);
        }
    }

    /// These mean nothing any more.
    pub(super) fn give_back(&mut self, numbers: impl IntoIterator<Item = LuId>) {
        self.free.extend(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(numbers: &Numbers, count: usize) -> Vec<u32> {
        numbers.offer(count).iter().map(|lu| lu.0).collect()
    }

    #[test]
    fn what_is_offered_is_free_and_each_number_once() {
        let mut numbers = Numbers::after(2);
        assert_eq!(offered(&numbers, 2), [2, 3]);
        assert_eq!(offered(&numbers, 1), [2], "nobody has taken it");
        numbers.take([LuId(2), LuId(3)].into_iter());
        assert_eq!(offered(&numbers, 1), [4], "taken, though nothing has come of it yet");
        numbers.give_back([LuId(2)]);
        assert_eq!(offered(&numbers, 3), [2, 4, 5], "a number that was never somebody's for good comes once");
        numbers.take([LuId(2)].into_iter());
        numbers.give_back([LuId(0)]);
        assert_eq!(offered(&numbers, 2), [0, 4]);
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let numbers = Numbers::after(MOST as usize - 1);
        assert_eq!(offered(&numbers, 3), [MOST - 1]);
    }
}

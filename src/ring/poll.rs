//! How long to poll before blocking.
//!
//! Owns: the judgement. A sleeping core takes longer to wake than a 4 KiB read takes to serve, so polling for
//! a moment pays when the next event is near, and is a waste when it is not, or when it can only come once this
//! core has been given up: to a kernel worker, or to a peer that the scheduler has put here. Promises: polls
//! that bring nothing use at most an eighth of the time, and an idle reactor polls not at all.
//! Refuses to know: what it waits for.
//!
//! The moment grows while waits turn out shorter than the limit, and halves with each that was longer. After
//! polls in vain the next waits go without, twice as many each time.

/// The first poll after a time without.
const FIRST_NS: u64 = 10_000;
/// One part in this many may be polled in vain.
const SHARE: u64 = 8;
/// The most that can be saved up for vain polls, in polls of the full length.
const SAVED: u64 = 16;
/// After that many polls in vain, waits without a poll do not get more: 2^8 - 1 then lie between two tries.
const MOST_MISSES: u32 = 8;

/// What a poll brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Polled {
    /// There was none.
    Not,
    /// What was waited for.
    Paid,
    /// Nothing, in so many nanoseconds.
    InVain(u64),
}

#[derive(Debug)]
pub(super) struct Poller {
    max: u64,
    current: u64,
    /// Nanoseconds that may still be polled in vain.
    allowance: u64,
    last: u64,
    /// Polls in vain since one that paid.
    misses: u32,
    /// Waits to come that go without.
    skip: u32,
}

impl Poller {
    /// Polls at most `max` nanoseconds at a time; 0 means never.
    pub(super) fn new(max: u64) -> Self {
        Self { max, current: 0, allowance: max * SAVED, last: 0, misses: 0, skip: 0 }
    }

    /// How many nanoseconds to poll, at the time `now`.
    #[inline]
    pub(super) fn budget(&mut self, now: u64) -> u64 {
        let earned = now.saturating_sub(self.last) / SHARE;
        self.last = now;
        self.allowance = (self.allowance.saturating_add(earned)).min(self.max * SAVED);
        if self.skip > 0 {
            self.skip -= 1;
            return 0;
        }
        self.current.min(self.allowance)
    }

    /// A wait has ended after `waited` nanoseconds.
    #[inline]
    pub(super) fn waited(&mut self, waited: u64, polled: Polled) {
        match polled {
            Polled::Not => {}
            Polled::Paid => self.misses = 0,
            Polled::InVain(spent) => {
                self.allowance = self.allowance.saturating_sub(spent);
                self.misses = (self.misses + 1).min(MOST_MISSES);
                self.skip = (1 << self.misses) - 1;
            }
        }
        if waited > self.max {
            self.current = if self.current < FIRST_NS { 0 } else { self.current / 2 };
        } else if waited > self.current {
            self.current = (self.current * 2).clamp(FIRST_NS.min(self.max), self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits of the given lengths; the share of all time that was polled in vain, and the polls that paid.
    fn run(max: u64, gaps: impl Iterator<Item = u64>) -> (f64, usize) {
        let (mut poller, mut now, mut vain, mut paid) = (Poller::new(max), 1_000_000_000, 0, 0);
        let start = now;
        for gap in gaps {
            let budget = poller.budget(now);
            let polled = match budget {
                0 => Polled::Not,
                _ if budget >= gap => Polled::Paid,
                _ => Polled::InVain(budget),
            };
            paid += usize::from(polled == Polled::Paid);
            vain += if polled == Polled::InVain(budget) { budget } else { 0 };
            poller.waited(gap, polled);
            now += gap;
        }
        (vain as f64 / (now - start) as f64, paid)
    }

    #[test]
    fn near_events_are_polled_for() {
        let (vain, paid) = run(50_000, std::iter::repeat_n(20_000, 1000));
        assert!(vain < 0.01 && paid > 990, "{vain} {paid}");
    }

    #[test]
    fn far_events_are_slept_for() {
        let (vain, paid) = run(50_000, std::iter::repeat_n(1_000_000, 1000));
        assert_eq!((vain, paid), (0.0, 0));
    }

    #[test]
    fn vain_polls_stay_within_their_share() {
        // The worst pattern: near enough to grow, then just too far.
        let gaps = (0..100_000).map(|i| if i % 2 == 0 { 49_000 } else { 51_000 });
        let (vain, _) = run(50_000, gaps);
        assert!(vain < 1.0 / SHARE as f64 + 0.01, "{vain}");
    }

    #[test]
    fn events_that_polling_keeps_away_are_soon_slept_for() {
        // What is waited for comes 5 µs after the core was given up, however long that takes.
        let (mut poller, mut now, mut vain) = (Poller::new(50_000), 1_000_000_000, 0);
        for _ in 0..10_000 {
            let budget = poller.budget(now);
            let polled = if budget > 0 { Polled::InVain(budget) } else { Polled::Not };
            poller.waited(budget + 5_000, polled);
            (now, vain) = (now + budget + 5_000, vain + budget);
        }
        assert!(vain * 20 < now - 1_000_000_000, "{vain} of {now}");
    }

    #[test]
    fn a_limit_of_zero_turns_it_off() {
        assert_eq!(run(0, std::iter::repeat_n(1, 1000)), (0.0, 0));
    }
}

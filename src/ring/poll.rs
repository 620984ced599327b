//! How long to poll before blocking.
//!
//! Owns: the judgement. A sleeping core takes longer to wake than a 4 KiB read takes to serve, so polling for
//! a moment pays when the next event is near, and is a waste when it is not. Promises: polls that bring nothing
//! use at most an eighth of the time, and an idle reactor polls not at all.
//! Refuses to know: what it waits for.
//!
//! The moment grows while waits turn out shorter than the limit, and halves with each that was longer.

/// The first poll after a time without.
const FIRST_NS: u64 = 10_000;
/// One part in this many may be polled in vain.
const SHARE: u64 = 8;
/// The most that can be saved up for vain polls, in polls of the full length.
const SAVED: u64 = 16;

#[derive(Debug)]
pub(super) struct Poller {
    max: u64,
    current: u64,
    /// Nanoseconds that may still be polled in vain.
    allowance: u64,
    last: u64,
}

impl Poller {
    /// Polls at most `max` nanoseconds at a time; 0 means never.
    pub(super) fn new(max: u64) -> Self {
        Self { max, current: 0, allowance: max * SAVED, last: 0 }
    }

    /// How many nanoseconds to poll, at the time `now`.
    #[inline]
    pub(super) fn budget(&mut self, now: u64) -> u64 {
        let earned = now.saturating_sub(self.last) / SHARE;
        self.last = now;
        self.allowance = (self.allowance.saturating_add(earned)).min(self.max * SAVED);
        self.current.min(self.allowance)
    }

    /// A wait has ended after `waited` nanoseconds, of which `in_vain` were polled without effect.
    #[inline]
    pub(super) fn waited(&mut self, waited: u64, in_vain: u64) {
        self.allowance = self.allowance.saturating_sub(in_vain);
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
            let in_vain = if budget < gap { budget } else { 0 };
            paid += usize::from(budget >= gap);
            poller.waited(gap, in_vain);
            (now, vain) = (now + gap, vain + in_vain);
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
    fn a_limit_of_zero_turns_it_off() {
        assert_eq!(run(0, std::iter::repeat_n(1, 1000)), (0.0, 0));
    }
}

//! What one thread has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// Latencies beyond this many nanoseconds are counted as this.
const LONGEST_NS: u64 = 120_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// I/Os of one direction.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) ios: u64,
    /// Nanoseconds.
    pub(super) latency: Histogram<u64>,
}

impl Default for Side {
    fn default() -> Self {
        let latency = Histogram::new_with_max(LONGEST_NS, DIGITS).expect("the bounds are right");
        Self { ios: 0, latency }
    }
}

impl Side {
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.ios += 1;
        self.latency.saturating_record(ns.max(1));
    }

    fn add(&mut self, other: &Self) {
        self.ios += other.ios;
        self.latency.add(&other.latency).expect("the same bounds");
    }
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) reads: Side,
    pub(super) writes: Side,
    /// Commands sent again, because the target was busy or had something to report.
    pub(super) retries: u64,
    /// Blocks compared.
    pub(super) verified: u64,
}

impl Tally {
    pub(super) fn ios(&self) -> u64 {
        self.reads.ios + self.writes.ios
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.retries += other.retries;
        self.verified += other.verified;
    }
}

/// I/Os that a thread has ended so far, for the progress line; alone in its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn set(&self, ios: u64) {
        self.0.store(ios, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut a, mut b) = (Tally::default(), Tally::default());
        a.reads.record(1000);
        b.reads.record(3000);
        b.writes.record(u64::MAX);
        a.add(&b);
        assert_eq!((a.ios(), a.reads.ios, a.writes.latency.len()), (3, 2, 1));
        assert!(a.reads.latency.max() >= 2990 && a.reads.latency.min() <= 1000);
    }

    #[test]
    fn what_never_began_is_spread_over_the_time_it_waited() {
        let mut side = Side::default();
        side.record_missed(1_000_000, 1000);
        assert_eq!((side.ios, side.late, side.latency.len()), (0, 1000, 1000));
        assert!((998_000..=1_000_999).contains(&side.latency.max()), "{}", side.latency.max());
        assert!((495_000..=505_000).contains(&side.latency.value_at_quantile(0.5)));
        // A rate beyond all bounds takes no longer to note, and loses none.
        let mut side = Side::default();
        side.record_missed(5_000_000_000, 5_000_000_000);
        assert_eq!((side.late, side.latency.len()), (5_000_000_000, 5_000_000_000));
    }
}

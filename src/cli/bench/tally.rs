//! What one thread has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// Latencies beyond this many nanoseconds are counted as this.
const LONGEST_NS: u64 = 120_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Of what never began no more different latencies are noted, however many there were: it is told finely enough.
const STEPS: u64 = 1 << 16;

/// I/Os of one direction.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Those that ended in the window.
    pub(super) ios: u64,
    /// Those that were due in it and had not ended when it closed.
    pub(super) late: u64,
    /// Nanoseconds of all that were due in it, late ones included.
    pub(super) latency: Histogram<u64>,
}

impl Default for Side {
    fn default() -> Self {
        let latency = Histogram::new_with_max(LONGEST_NS, DIGITS).expect("the bounds are right");
        Self { ios: 0, late: 0, latency }
    }
}

impl Side {
    /// One that was due in the window took so long.
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.latency.saturating_record(ns.max(1));
    }

    /// So many that were due in the window at even distances had not even begun when it closed. The first had waited
    /// for `longest` nanoseconds by then; each is charged with what it had.
    pub(super) fn record_missed(&mut self, longest: u64, count: u64) {
        self.late += count;
        let together = count.div_ceil(STEPS).max(1);
        let interval = longest as f64 / count.max(1) as f64;
        for first in (0..count).step_by(together as usize) {
            let waited = longest.saturating_sub((first as f64 * interval) as u64);
            self.latency.saturating_record_n(waited.max(1), together.min(count - first));
        }
    }

    fn add(&mut self, other: &Self) {
        self.ios += other.ios;
        self.late += other.late;
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
        (a.reads.ios, b.reads.ios, b.writes.ios, b.writes.late) = (1, 1, 1, 1);
        a.add(&b);
        assert_eq!((a.ios(), a.reads.ios, a.writes.latency.len(), a.writes.late), (3, 2, 1, 1));
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

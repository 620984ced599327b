//! Whether something moves fast enough to keep what others wait for.

/// A peer is judged by what it moves in that time, nanoseconds: long enough for a lost packet to be sent again a few
/// times, or for a host that pauses; short enough for whoever waits.
pub const INTERVAL_NS: u64 = 5_000_000_000;

/// The least that is to move in an interval, bytes: 64 KiB a second, so that a slot of the largest class is free
/// again after four seconds. (A line of 1 Mbit/s carries twice that.)
pub const LEAST_BYTES: u64 = 5 * (64 << 10);

/// Looks come more often than this while somebody wants to know, nanoseconds. After a longer pause the past is
/// forgotten.
const LONGEST_PAUSE_NS: u64 = 1_000_000_000;

/// The speed of one transfer, or of one direction of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// When the interval began, once one has.
    since: Option<u64>,
    /// What had moved by then, bytes.
    mark: u64,
    /// Intervals in a row in which too little moved.
    slow: u32,
}

impl Pace {
    /// Begins anew: nothing was to move so far.
    pub fn restart(&mut self, now: u64, moved: u64) {
        *self = Self { since: Some(now), mark: moved, slow: 0 };
    }

    /// For how many intervals in a row too little has moved. `moved` counts bytes and never falls.
    pub fn look(&mut self, now: u64, moved: u64) -> u32 {
        let passed = self.since.map_or(u64::MAX, |since| now.saturating_sub(since));
        let enough = moved.saturating_sub(self.mark) >= LEAST_BYTES;
        if passed > INTERVAL_NS + LONGEST_PAUSE_NS {
            self.restart(now, moved);
        } else if passed >= INTERVAL_NS {
            *self = Self { since: Some(now), mark: moved, slow: if enough { 0 } else { self.slow + 1 } };
        }
        if enough { 0 } else { self.slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = INTERVAL_NS / 20;

    /// The verdicts of as many ticks, at that many bytes a tick.
    fn run(pace: &mut Pace, from: u64, ticks: u64, bytes: u64) -> Vec<u32> {
        (from..from + ticks).map(|n| pace.look(n * TICK, n * bytes)).collect()
    }

    #[test]
    fn silence_counts_in_whole_intervals() {
        let verdicts = run(&mut Pace::default(), 0, 61, 0);
        assert!(verdicts[..20].iter().all(|v| *v == 0));
        assert_eq!((verdicts[20], verdicts[40], verdicts[60]), (1, 2, 3));
    }

    #[test]
    fn the_least_rate_is_enough_and_less_is_not() {
        let enough = LEAST_BYTES.div_ceil(20);
        assert!(run(&mut Pace::default(), 0, 200, enough).iter().all(|v| *v == 0));
        assert_eq!(run(&mut Pace::default(), 0, 22, enough - 1000).last(), Some(&1));
    }

    #[test]
    fn a_restart_and_a_long_pause_forget_the_past() {
        let mut pace = Pace::default();
        run(&mut pace, 0, 30, 0);
        pace.restart(30 * TICK, 0);
        assert!(run(&mut pace, 30, 20, 0).iter().all(|v| *v == 0));
        assert_eq!(pace.look(50 * TICK, 0), 1);
        assert_eq!(pace.look(50 * TICK + 2 * INTERVAL_NS, 0), 0);
    }

    #[test]
    fn one_good_stretch_is_seen_at_once() {
        let mut pace = Pace::default();
        run(&mut pace, 0, 30, 0);
        assert_eq!(pace.look(30 * TICK, LEAST_BYTES), 0);
    }
}

//! How many commands, bytes and failures, and how long they took: counted by each reactor for itself, for each logical
//! unit and each session, and added up by whoever asks.
//!
//! Times go into buckets, four to the power of two, from a microsecond to seventeen seconds: so a quantile is known to a
//! tenth of it. All that a meter needs is there before the first command: 4,224 bytes, which are 42 MB for each reactor with
//! 10,000 logical units, and 4 MB for 1,000 sessions. It is never read by another thread: a copy is asked for.

use crate::ids::LuId;
use crate::session::watch::{Answered, Direction, PHASES, Phase};

/// Buckets of a power of two.
const STEPS: u32 = 4;

/// The first power of two that has buckets of its own, nanoseconds; all that is shorter is in the first.
const FIRST: u32 = 10;

/// Buckets of a distribution. All that is longer than the last is in the last.
pub const BUCKETS: usize = (STEPS * (34 - FIRST)) as usize;

/// The bucket of a time.
#[inline]
fn bucket(ns: u64) -> usize {
    let ns = ns.max(1 << FIRST);
    let power = ns.ilog2();
    let step = (ns >> (power - STEPS.ilog2())) as u32 & (STEPS - 1);
    (((power - FIRST) * STEPS + step) as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, nanoseconds; the next one begins where it ends.
pub fn begin(bucket: usize) -> u64 {
    let (power, step) = (bucket as u32 / STEPS + FIRST, bucket as u64 % u64::from(STEPS));
    if bucket == 0 { 0 } else { (u64::from(STEPS) + step) << (power - STEPS.ilog2()) }
}

/// Times as a reactor counts them.
#[derive(Debug, Clone)]
struct Times {
    counts: [u32; BUCKETS],
    /// The bucket of every count that has begun again at zero, once for each time.
    carried: Vec<u8>,
    /// Their sum, nanoseconds.
    sum: u64,
}

impl Times {
    const NONE: Self = Self { counts: [0; BUCKETS], carried: Vec::new(), sum: 0 };

    #[inline]
    fn add(&mut self, ns: u64) {
        let at = bucket(ns);
        self.sum = self.sum.wrapping_add(ns);
        let count = &mut self.counts[at];
        *count = count.wrapping_add(1);
        if *count == 0 {
            self.carry(at);
        }
    }

    /// Once in four thousand million times.
    #[cold]
    fn carry(&mut self, at: usize) {
        self.carried.push(at as u8);
    }
}

/// The times that are told apart: the phases, and all of them together.
pub const TIMES: usize = PHASES + 1;

/// What the times are called, in their order.
pub fn time_word(index: usize) -> &'static str {
    Phase::ALL.get(index).map_or("total", |phase| phase.word())
}

/// One direction.
#[derive(Debug, Clone)]
struct Lane {
    ops: u64,
    bytes: u64,
    failed: u64,
    times: [Times; TIMES],
}

impl Lane {
    const NONE: Self = Self { ops: 0, bytes: 0, failed: 0, times: [const { Times::NONE }; TIMES] };
}

/// The meter of a logical unit or of a session on one reactor.
#[derive(Debug, Clone)]
pub struct Meter {
    lanes: [Lane; 2],
    others: u64,
    others_failed: u64,
}

/// An answer on its way to the initiator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub(super) lu: LuId,
    direction: Direction,
    began: u64,
    /// How long parts of it have been on their way before.
    sending: u64,
    /// Since when it is ready.
    since: u64,
}

impl Leaving {
    #[inline]
    pub(super) fn new(command: &Answered, now: u64) -> Self {
        let Answered { lu, direction, began, spent, .. } = *command;
        Self { lu, direction, began, sending: spent[Phase::Sending as usize], since: now }
    }
}

impl Meter {
    #[cold]
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { lanes: [const { Lane::NONE }; 2], others: 0, others_failed: 0 })
    }

    /// A command has its answer.
    #[inline]
    pub(super) fn answered(&mut self, command: &Answered) {
        let failed = u64::from(command.failed);
        if command.direction == Direction::Other {
            self.others += 1;
            self.others_failed += failed;
            return;
        }
        let lane = &mut self.lanes[command.direction as usize];
        lane.ops += 1;
        lane.failed += failed;
        lane.bytes += u64::from(command.bytes);
        // What took no time that the clock could see did not happen.
        for phase in [Phase::Queued, Phase::Data, Phase::Disk] {
            let spent = command.spent[phase as usize];
            if spent > 0 {
                lane.times[phase as usize].add(spent);
            }
        }
    }

    /// The answer has left.
    #[inline]
    pub(super) fn left(&mut self, answer: &Leaving, now: u64) {
        if answer.direction == Direction::Other {
            return;
        }
        let lane = &mut self.lanes[answer.direction as usize];
        lane.times[Phase::Sending as usize].add(answer.sending + (now - answer.since));
        lane.times[PHASES].add(now - answer.began);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.others == 0 && self.lanes.iter().all(|lane| lane.ops == 0)
    }
}

/// Times, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// How many there were in each bucket; see [`begin`].
    pub counts: [u64; BUCKETS],
    /// The sum of all times, nanoseconds.
    pub sum: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: 0 }
    }
}

impl Distribution {
    fn add(&mut self, times: &Times) {
        let counts = self.counts.iter_mut().zip(&times.counts);
        counts.for_each(|(all, count)| *all += u64::from(*count));
        times.carried.iter().for_each(|at| self.counts[usize::from(*at)] += 1 << 32);
        self.sum = self.sum.wrapping_add(times.sum);
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(all, count)| *all += count);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What came since it was `old`. All of it, if that was another one.
    pub fn since(&self, old: &Self) -> Self {
        if old.counts.iter().zip(&self.counts).any(|(old, new)| old > new) {
            return self.clone();
        }
        let mut new = self.clone();
        new.counts.iter_mut().zip(&old.counts).for_each(|(new, old)| *new -= old);
        new.sum = self.sum.wrapping_sub(old.sum);
        new
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that so many thousandths are not longer than, nanoseconds; inside a bucket all lengths count as equally
    /// frequent. Nothing, if there are no times.
    pub fn quantile(&self, thousandths: u64) -> Option<u64> {
        let count = self.count();
        let rank = (u128::from(count) * u128::from(thousandths)).div_ceil(1000).max(1) as u64;
        let mut before = 0;
        let at = self.counts.iter().position(|n| {
            before += n;
            before >= rank
        })?;
        let (inside, of) = (rank - (before - self.counts[at]), self.counts[at]);
        let width = u128::from(begin(at + 1) - begin(at));
        Some(begin(at) + (width * u128::from(inside) / u128::from(of)) as u64)
    }
}

/// One direction of a logical unit or a session, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// Commands that were answered.
    pub ops: u64,
    /// Bytes that they have moved.
    pub bytes: u64,
    /// Those that were not done.
    pub failed: u64,
    /// How long they took: by [`time_word`].
    pub times: [Distribution; TIMES],
}

impl Flow {
    fn add(&mut self, lane: &Lane) {
        self.ops += lane.ops;
        self.bytes += lane.bytes;
        self.failed += lane.failed;
        self.times.iter_mut().zip(&lane.times).for_each(|(all, times)| all.add(times));
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.times.iter_mut().zip(&other.times).for_each(|(all, times)| all.merge(times));
    }
}

/// Everything of a logical unit or of a session, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Commands that read the medium.
    pub read: Flow,
    /// Commands that write it.
    pub write: Flow,
    /// Commands that do neither.
    pub others: u64,
    /// Of these the ones that were not done.
    pub others_failed: u64,
}

impl Usage {
    /// Adds what one reactor has.
    pub fn add(&mut self, meter: &Meter) {
        let Meter { lanes: [read, write], others, others_failed } = meter;
        self.read.add(read);
        self.write.add(write);
        self.others += others;
        self.others_failed += others_failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_bucket() {
        for at in 1..BUCKETS {
            assert_eq!((bucket(begin(at)), bucket(begin(at) - 1)), (at, at - 1));
        }
        assert_eq!((bucket(0), bucket(u64::MAX), begin(4)), (0, BUCKETS - 1, 2048));
    }

    #[test]
    fn a_meter_has_the_size_that_is_said() {
        assert_eq!(size_of::<Meter>(), 4224);
    }

    #[test]
    fn quantiles_are_right_to_a_tenth() {
        let mut times = Times::NONE;
        (1..=10_000).for_each(|n| times.add(n * 1000));
        let mut all = Distribution::default();
        all.add(&times);
        assert_eq!((all.count(), all.sum), (10_000, 50_005_000_000));
        for (thousandths, right) in [(500, 5_000_000), (990, 9_900_000), (999, 9_990_000), (1000, 10_000_000)]
        {
            let told = all.quantile(thousandths).unwrap();
            assert!(told.abs_diff(right) <= right / 10, "{thousandths}: {told}");
        }
        assert_eq!(Distribution::default().quantile(500), None);
        assert_eq!(all.since(&all).count(), 0);
    }

    #[test]
    fn a_count_that_is_full_goes_on() {
        let mut times = Times::NONE;
        times.counts[bucket(5000)] = u32::MAX;
        times.add(5000);
        times.add(5000);
        let mut all = Distribution::default();
        all.add(&times);
        assert_eq!(all.count(), (1 << 32) + 1);
    }

    #[test]
    fn a_command_is_counted_once_and_its_time_when_it_has_left() {
        let mut meter = Meter::new();
        let command = Answered {
            lu: LuId(0),
            direction: Direction::Write,
            failed: true,
            bytes: 512,
            began: 1000,
            spent: [0, 3000, 70_000, 10],
        };
        meter.answered(&command);
        meter.answered(&Answered { direction: Direction::Other, failed: false, ..command });
        meter.left(&Leaving::new(&command, 80_000), 90_000);
        let mut usage = Usage::default();
        usage.add(&meter);
        usage.add(&meter);
        let Usage { read, write, others, others_failed } = usage;
        assert_eq!((read, others, others_failed), (Flow::default(), 2, 0));
        assert_eq!((write.ops, write.bytes, write.failed), (2, 1024, 2));
        assert_eq!(write.times.each_ref().map(Distribution::count), [0, 2, 2, 2, 2]);
        assert_eq!(write.times.each_ref().map(|t| t.sum / 2), [0, 3000, 70_000, 10_010, 89_000]);
    }
}

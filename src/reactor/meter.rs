//! How many commands, bytes and failures, and how long they took: counted by each reactor for itself, for each logical
//! unit and each session, and added up by whoever asks.
//!
//! Times go into buckets, four to the power of two, from a microsecond to seventeen seconds: so a quantile is known to a
//! tenth of it. All that a meter needs is there before the first command: 4,032 bytes, which are 40 MB for each reactor with
//! 10,000 logical units, and 4 MB for 1,000 sessions. It is never read by another thread: a copy is asked for.
//! (hdrhistogram, as `ringtgt bench` has it, takes 3.5 times as much for times from and to the same, right to a tenth, too,
//! and an allocation for each distribution.)

use arrayvec::ArrayVec;

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

/// The times that are told apart: the phases, and all of them together.
pub const TIMES: usize = PHASES + 1;

/// What the times are called, in their order.
pub fn time_word(index: usize) -> &'static str {
    Phase::ALL.get(index).map_or("total", |phase| phase.word())
}

/// Times and the buckets that they go into: found once for all meters that count them.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Which of the times it is.
    kind: u8,
    bucket: u8,
    ns: u64,
}

impl Span {
    #[inline]
    fn new(kind: usize, ns: u64) -> Self {
        Self { kind: kind as u8, bucket: bucket(ns) as u8, ns }
    }
}

/// One direction. What every command touches lies together; of the buckets each touches few.
#[derive(Debug, Clone)]
struct Lane {
    ops: u64,
    bytes: u64,
    failed: u64,
    /// The sum of each kind of times, nanoseconds.
    sums: [u64; TIMES],
    counts: [[u32; BUCKETS]; TIMES],
    /// Every count that has begun again at zero, once for each time.
    carried: Vec<(u8, u8)>,
}

impl Lane {
    const NONE: Self = Self {
        ops: 0,
        bytes: 0,
        failed: 0,
        sums: [0; TIMES],
        counts: [[0; BUCKETS]; TIMES],
        carried: Vec::new(),
    };

    #[inline]
    fn add(&mut self, span: Span) {
        let (kind, bucket) = (usize::from(span.kind), usize::from(span.bucket));
        self.sums[kind] = self.sums[kind].wrapping_add(span.ns);
        let count = &mut self.counts[kind][bucket];
        *count = count.wrapping_add(1);
        if *count == 0 {
            self.carry(span);
        }
    }

    /// Once in four thousand million times.
    #[cold]
    fn carry(&mut self, span: Span) {
        self.carried.push((span.kind, span.bucket));
    }
}

/// The meter of a logical unit or of a session on one reactor.
#[derive(Debug, Clone)]
pub struct Meter {
    lanes: [Lane; 2],
    others: u64,
    others_failed: u64,
}

/// A command that has its answer, ready to be counted.
#[derive(Debug)]
pub(super) struct Counted {
    direction: Direction,
    failed: bool,
    bytes: u32,
    spans: ArrayVec<Span, PHASES>,
}

impl Counted {
    #[inline]
    pub(super) fn new(command: &Answered<'_>) -> Self {
        let mut spans = ArrayVec::new();
        if command.direction != Direction::Other {
            // What took no time that the clock could see did not happen.
            for phase in [Phase::Queued, Phase::Data, Phase::Disk] {
                let spent = command.spent[phase as usize];
                if spent > 0 {
                    spans.push(Span::new(phase as usize, spent));
                }
            }
        }
        Self { direction: command.direction, failed: command.failed, bytes: command.bytes, spans }
    }
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
    pub(super) fn new(command: &Answered<'_>, now: u64) -> Self {
        let Answered { lu, direction, began, spent, .. } = *command;
        Self { lu, direction, began, sending: spent[Phase::Sending as usize], since: now }
    }
}

/// An answer that has left, ready to be counted.
#[derive(Debug)]
pub(super) struct Left {
    direction: Direction,
    spans: [Span; 2],
}

impl Left {
    #[inline]
    pub(super) fn new(answer: &Leaving, now: u64) -> Self {
        let sending = answer.sending + (now - answer.since);
        let spans = [Span::new(Phase::Sending as usize, sending), Span::new(PHASES, now - answer.began)];
        Self { direction: answer.direction, spans }
    }
}

impl Meter {
    #[cold]
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { lanes: [const { Lane::NONE }; 2], others: 0, others_failed: 0 })
    }

    /// A command has its answer.
    #[inline]
    pub(super) fn answered(&mut self, command: &Counted) {
        let failed = u64::from(command.failed);
        let Some(lane) = self.lanes.get_mut(command.direction as usize) else {
            self.others += 1;
            self.others_failed += failed;
            return;
        };
        lane.ops += 1;
        lane.failed += failed;
        lane.bytes += u64::from(command.bytes);
        command.spans.iter().for_each(|span| lane.add(*span));
    }

    /// The answer has left.
    #[inline]
    pub(super) fn left(&mut self, answer: &Left) {
        if let Some(lane) = self.lanes.get_mut(answer.direction as usize) {
            answer.spans.iter().for_each(|span| lane.add(*span));
        }
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
    fn add(&mut self, counts: &[u32; BUCKETS], sum: u64) {
        self.counts.iter_mut().zip(counts).for_each(|(all, count)| *all += u64::from(*count));
        self.sum = self.sum.wrapping_add(sum);
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
        let parts = lane.counts.iter().zip(lane.sums);
        self.times.iter_mut().zip(parts).for_each(|(all, (counts, sum))| all.add(counts, sum));
        for (kind, bucket) in &lane.carried {
            self.times[usize::from(*kind)].counts[usize::from(*bucket)] += 1 << 32;
        }
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

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.read.merge(&other.read);
        self.write.merge(&other.write);
        self.others += other.others;
        self.others_failed += other.others_failed;
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
        assert_eq!(size_of::<Meter>(), 4032);
    }

    #[test]
    fn quantiles_are_right_to_a_tenth() {
        let mut lane = Lane::NONE;
        (1..=10_000).for_each(|n| lane.add(Span::new(2, n * 1000)));
        let mut flow = Flow::default();
        flow.add(&lane);
        let all = &flow.times[2];
        assert_eq!((all.count(), all.sum), (10_000, 50_005_000_000));
        for (thousandths, right) in [(500, 5_000_000), (990, 9_900_000), (999, 9_990_000), (1000, 10_000_000)]
        {
            let told = all.quantile(thousandths).unwrap();
            assert!(told.abs_diff(right) <= right / 10, "{thousandths}: {told}");
        }
        assert_eq!(Distribution::default().quantile(500), None);
        assert_eq!(all.since(all).count(), 0);
    }

    #[test]
    fn a_count_that_is_full_goes_on() {
        let mut lane = Lane::NONE;
        lane.counts[1][bucket(5000)] = u32::MAX;
        lane.add(Span::new(1, 5000));
        lane.add(Span::new(1, 5000));
        let mut flow = Flow::default();
        flow.add(&lane);
        assert_eq!(flow.times[1].count(), (1 << 32) + 1);
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
            spent: &[0, 3000, 70_000, 10],
        };
        let other = Answered { direction: Direction::Other, failed: false, ..command };
        meter.answered(&Counted::new(&command));
        meter.answered(&Counted::new(&other));
        meter.left(&Left::new(&Leaving::new(&command, 80_000), 90_000));
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

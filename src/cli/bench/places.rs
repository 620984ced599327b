//! What comes next: which blocks, and whether they are read or written.
//!
//! Owns: one session's cursor or dice, its share of reads, and under `--verify` its ledger: which of its places were
//! written, in which generation, and which are in use. Promises: places in use overlap only when nothing is checked.
//! Refuses to know: sockets, data.

use super::options::Work;

/// One I/O to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Io {
    /// The place: its number among the session's.
    pub(super) place: u64,
    pub(super) write: bool,
}

/// Where a session goes, and in which order.
#[derive(Debug)]
pub(super) struct Places {
    first: u64,
    count: u64,
    blocks: u32,
    cursor: Option<u64>,
    /// Of a hundred, so many are reads.
    reads: u32,
    random: u64,
    ledger: Option<Ledger>,
}

/// What is known of the content.
#[derive(Debug)]
struct Ledger {
    /// The write that each place had last; 0: none.
    generations: Vec<u32>,
    in_use: Vec<bool>,
    last: u32,
    /// The next place to look at when everything is read back.
    back: usize,
    /// A random number that tells this run's generations from those of others.
    run: u64,
}

impl Places {
    /// Places `first..first + count` of `blocks` blocks each. `seed` is any number, another for each session; `run` makes
    /// this one check what it does.
    pub(super) fn new(
        rw: Work,
        mix: u32,
        first: u64,
        count: u64,
        blocks: u32,
        seed: u64,
        run: Option<u32>,
    ) -> Self {
        let ledger = run.map(|run| Ledger {
            generations: vec![0; count as usize],
            in_use: vec![false; count as usize],
            last: 0,
            back: 0,
            run: u64::from(run) << 32,
        });
        let reads = rw.reads(mix);
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { first, count, blocks, cursor: (!rw.is_random()).then_some(0), reads, random, ledger }
    }

    /// The next I/O; none: every place that it could be is in use.
    pub(super) fn next(&mut self) -> Option<Io> {
        let place = self.pick()?;
        let mut write = self.reads < 100 && self.dice() % 100 >= u64::from(self.reads);
        if let Some(ledger) = &mut self.ledger {
            // What was never written cannot be compared: in a mixture it is written first.
            write |= self.reads < 100 && ledger.generations[place as usize] == 0;
            ledger.in_use[place as usize] = true;
        }
        Some(Io { place, write })
    }

    fn pick(&mut self) -> Option<u64> {
        for _ in 0..TRIES {
            let place = match &mut self.cursor {
                Some(cursor) => {
                    let place = *cursor;
                    if self.ledger.as_ref().is_some_and(|l| l.in_use[place as usize]) {
                        return None;
                    }
                    *cursor = (place + 1) % self.count;
                    place
                }
                None => self.dice() % self.count,
            };
            if self.ledger.as_ref().is_none_or(|l| !l.in_use[place as usize]) {
                return Some(place);
            }
        }
        None
    }

    /// xorshift64: places need to be spread, not secret.
    fn dice(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    /// The next place that was written, to be read back; none: all have been.
    pub(super) fn next_back(&mut self) -> Option<Io> {
        let ledger = self.ledger.as_mut()?;
        let at = (ledger.back..ledger.generations.len()).find(|&n| ledger.generations[n] != 0);
        ledger.back = at.map_or(ledger.generations.len(), |at| at + 1);
        at.map(|at| Io { place: at as u64, write: false })
    }

    /// The first block of a place.
    pub(super) fn lba(&self, place: u64) -> u64 {
        (self.first + place) * u64::from(self.blocks)
    }

    /// A generation for a write that begins.
    pub(super) fn fresh_generation(&mut self) -> u64 {
        let Some(ledger) = &mut self.ledger else { return 0 };
        // 0 is no generation.
        ledger.last = ledger.last.wrapping_add(1).max(1);
        ledger.run | u64::from(ledger.last)
    }

    /// A write of that generation has ended, or a read.
    pub(super) fn ended(&mut self, place: u64, written: Option<u64>) {
        let Some(ledger) = &mut self.ledger else { return };
        ledger.in_use[place as usize] = false;
        if let Some(generation) = written {
            ledger.generations[place as usize] = generation as u32;
        }
    }

    /// The generation that a place must have, if this run has written it.
    pub(super) fn due(&self, place: u64) -> Option<u64> {
        let ledger = self.ledger.as_ref()?;
        Some(ledger.generations[place as usize]).filter(|n| *n != 0).map(|n| ledger.run | u64::from(n))
    }
}

/// Random places that are tried before one waits for the end of another I/O.
const TRIES: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_goes_round_and_random_goes_everywhere() {
        let mut places = Places::new(Work::Read, 70, 10, 3, 8, 1, None);
        let ios: Vec<Io> = (0..4).map(|_| places.next().unwrap()).collect();
        let lbas: Vec<u64> = ios.iter().map(|io| places.lba(io.place)).collect();
        assert_eq!(lbas, [80, 88, 96, 80]);
        let mut places = Places::new(Work::Randwrite, 70, 0, 8, 1, 7, None);
        let mut seen = [0; 8];
        (0..800).for_each(|_| seen[places.next().unwrap().place as usize] += 1);
        assert!(seen.iter().all(|n| *n > 50), "{seen:?}");
    }

    #[test]
    fn a_mixture_is_as_asked() {
        let mut places = Places::new(Work::Randrw, 70, 0, 1 << 20, 1, 3, None);
        let writes = (0..10_000).filter(|_| places.next().unwrap().write).count();
        assert!((2700..3300).contains(&writes), "{writes}");
    }

    #[test]
    fn checked_places_never_overlap_and_are_read_only_when_written() {
        let mut places = Places::new(Work::Randrw, 50, 0, 4, 1, 5, Some(9));
        let all: Vec<Io> = std::iter::from_fn(|| places.next()).collect();
        assert!(all.iter().all(|io| io.write), "nothing is known yet: {all:?}");
        assert!(!all.is_empty() && all.len() <= 4);
        let first = all[0].place;
        let generation = places.fresh_generation();
        places.ended(first, Some(generation));
        assert_eq!(places.due(first), Some(9 << 32 | 1));
        assert_eq!(places.next_back().map(|io| io.place), Some(first));
        assert_eq!(places.next_back(), None);
    }
}

//! What initiators saw of a disk, and whether one disk can have shown it to all of them.
//!
//! Every block is a register; every write has a value of its own. A history of such a register is linearizable
//! if and only if no read comes before its write, and the zones of the values do not collide (Gibbons and Korach,
//! "Testing shared memories", 1997). A value's zone runs between the first end and the last start of the operations
//! on it: a forward zone is a time in which the register certainly had the value.

use std::collections::BTreeMap;

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// The end of what was never answered: it may happen at any time.
pub(super) const NEVER: u64 = u64::MAX;

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered GOOD.
    Good,
    /// It failed, was aborted, or was not answered: it may have happened, whole or in part.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    first: u64,
    count: u64,
    start: u64,
    end: u64,
    fate: Fate,
    zeroes: bool,
    durable_at: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    start: u64,
    end: u64,
    value: u64,
}

/// A history of one disk. Times are numbers of events.
#[derive(Debug, Default)]
pub(super) struct History {
    writes: Vec<Write>,
    reads: BTreeMap<u64, Vec<Read>>,
    clock: u64,
}

/// A write of a history; also the value that it writes, less one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteId(usize);

impl WriteId {
    /// The block that it writes, again and again.
    pub(super) fn block(self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let value = (self.0 as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        block.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&value.to_le_bytes()));
        block
    }
}

fn value_of(block: &[u8]) -> u64 {
    let mut words = block.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap()));
    let first = words.next().unwrap();
    assert!(words.all(|w| w == first), "a torn block");
    first.wrapping_mul(0xf1de_83e1_9937_733d)
}

impl History {
    /// The next moment.
    pub(super) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A write begins.
    pub(super) fn write(&mut self, first: u64, count: u64, zeroes: bool) -> WriteId {
        let start = self.now();
        let fate = Fate::Unknown;
        self.writes.push(Write { first, count, start, end: NEVER, fate, zeroes, durable_at: None });
        WriteId(self.writes.len() - 1)
    }

    /// A write has ended.
    pub(super) fn written(&mut self, id: WriteId, fate: Fate) {
        let now = self.now();
        self.written_at(id, fate, now);
    }

    /// A write had ended by then, as was learnt later.
    pub(super) fn written_at(&mut self, id: WriteId, fate: Fate, at: u64) {
        let w = &mut self.writes[id.0];
        w.end = at;
        w.fate = fate;
    }

    /// Of a write that was answered GOOD: from `now` on it has to survive a power cut.
    pub(super) fn durable(&mut self, id: WriteId) {
        let now = self.now();
        let at = &mut self.writes[id.0].durable_at;
        *at = Some(at.unwrap_or(now));
    }

    /// The writes that were answered GOOD so far.
    pub(super) fn answered(&self) -> Vec<WriteId> {
        let good = |(i, w): (usize, &Write)| (w.fate == Fate::Good).then_some(WriteId(i));
        self.writes.iter().enumerate().filter_map(good).collect()
    }

    /// A read that began at `start` has ended and brought this.
    pub(super) fn read(&mut self, start: u64, first: u64, data: &[u8]) {
        let end = self.now();
        for (i, block) in data.chunks_exact(BLOCK).enumerate() {
            let read = Read { start, end, value: value_of(block) };
            self.reads.entry(first + i as u64).or_default().push(read);
        }
    }

    /// Checks every block.
    ///
    /// # Panics
    /// When no order of the operations explains what was read.
    pub(super) fn check(&self) {
        for (&block, reads) in &self.reads {
            self.check_block(block, reads);
        }
    }

    fn check_block(&self, block: u64, reads: &[Read]) {
        let here = |w: &Write| (w.first..w.first + w.count).contains(&block);
        let mut zones: Vec<(u64, u64)> = Vec::new();
        for (i, w) in self.writes.iter().enumerate().filter(|(_, w)| here(w)) {
            let mine: Vec<&Read> = reads.iter().filter(|r| !w.zeroes && r.value == i as u64 + 1).collect();
            if w.fate == Fate::Unknown && mine.is_empty() {
                continue;
            }
            for r in &mine {
                assert!(r.end > w.start, "block {block}: {r:?} saw {w:?} before it was sent");
            }
            let first_end = mine.iter().map(|r| r.end).chain([w.end]).min().unwrap();
            let last_start = mine.iter().map(|r| r.start).chain([w.start]).max().unwrap();
            zones.push((first_end, last_start));
        }
        for r in reads.iter().filter(|r| r.value == 0) {
            self.check_zero(block, r);
        }
        for r in reads {
            assert!(r.value <= self.writes.len() as u64, "block {block}: {r:?} was never written");
        }
        for (n, a) in zones.iter().enumerate().filter(|(_, z)| z.0 < z.1) {
            for (m, b) in zones.iter().enumerate().filter(|(m, _)| *m != n) {
                // Two forward zones must not overlap; a backward one must not lie inside a forward one.
                assert!(!(a.0 < b.1 && b.0 < a.1), "block {block}: {}", self.collision(block, reads, n, m));
            }
        }
    }

    /// Zeroes come from the beginning, or from a write of zeroes that nothing certainly overwrote.
    fn check_zero(&self, block: u64, r: &Read) {
        let here = |w: &&Write| (w.first..w.first + w.count).contains(&block);
        let overwritten = |end: u64| {
            self.writes
                .iter()
                .filter(here)
                .any(|w| !w.zeroes && w.fate == Fate::Good && w.start > end && w.end < r.start)
        };
        let ends = self.writes.iter().filter(here).filter(|w| w.zeroes && w.start < r.end).map(|w| w.end);
        let explained = ends.chain([0]).any(|end| !overwritten(end));
        assert!(explained, "block {block}: {r:?} saw zeroes that had been overwritten");
    }

    fn collision(&self, block: u64, reads: &[Read], n: usize, m: usize) -> String {
        let here = |w: &Write| (w.first..w.first + w.count).contains(&block);
        let all: Vec<String> = self
            .writes
            .iter()
            .enumerate()
            .filter(|(_, w)| here(w))
            .map(|(i, w)| format!("  value {}: {w:?}", i + 1))
            .chain(reads.iter().map(|r| format!("  {r:?}")))
            .collect();
        format!("zones {n} and {m} collide\n{}", all.join("\n"))
    }

    /// Checks what a disk holds after a power cut against what had to survive.
    ///
    /// # Panics
    /// When something that was durable has gone.
    pub(super) fn check_survived(&self, content: &[u8]) {
        for (i, bytes) in content.chunks_exact(BLOCK).enumerate() {
            let block = i as u64;
            let value = value_of(bytes);
            let (start, end) = match value {
                0 => (0, 0),
                v => (self.writes[v as usize - 1].start, self.writes[v as usize - 1].end),
            };
            let covers = |w: &Write| (w.first..w.first + w.count).contains(&block);
            let lost = self.writes.iter().find(|w| {
                let newer = w.durable_at.is_some() && end < w.start;
                let zeroed = |z: &Write| z.zeroes && covers(z) && z.end >= w.start;
                let explained = value == 0 && (zeroed(w) || self.writes.iter().any(zeroed));
                covers(w) && newer && !explained
            });
            let here: Vec<&Write> = self.writes.iter().filter(|w| covers(w)).collect();
            assert!(
                lost.is_none(),
                "block {block} holds value {value} ({start}..{end}), lost {lost:?} of {here:#?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(h: &mut History) -> WriteId {
        let id = h.write(0, 1, false);
        h.written(id, Fate::Good);
        id
    }

    #[test]
    fn values_survive_their_block() {
        for n in [0, 1, 77, 1 << 20] {
            assert_eq!(value_of(&WriteId(n).block()), n as u64 + 1);
        }
        assert_eq!(value_of(&[0; BLOCK]), 0);
    }

    #[test]
    fn an_honest_history_passes() {
        let mut h = History::default();
        let a = one(&mut h);
        let start = h.now();
        let b = h.write(0, 1, false);
        h.read(start, 0, &a.block());
        let start = h.now();
        h.read(start, 0, &b.block());
        h.written(b, Fate::Good);
        h.check();
    }

    #[test]
    #[should_panic(expected = "collide")]
    fn a_ghost_is_noticed() {
        let mut h = History::default();
        let ghost = h.write(0, 1, false);
        h.written(ghost, Fate::Unknown);
        let new = one(&mut h);
        let start = h.now();
        h.read(start, 0, &new.block());
        let start = h.now();
        h.read(start, 0, &ghost.block());
        h.check();
    }

    #[test]
    #[should_panic(expected = "collide")]
    fn a_stale_read_is_noticed() {
        let mut h = History::default();
        let a = one(&mut h);
        one(&mut h);
        let start = h.now();
        h.read(start, 0, &a.block());
        h.check();
    }

    #[test]
    #[should_panic(expected = "zeroes")]
    fn a_lost_write_is_noticed() {
        let mut h = History::default();
        one(&mut h);
        let start = h.now();
        h.read(start, 0, &[0; BLOCK]);
        h.check();
    }
}

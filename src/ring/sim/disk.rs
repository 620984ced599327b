//! Disks with volatile caches.
//!
//! A write that has completed is seen by every later read at once. Whether it survives a power cut is another
//! matter: it does when the disk has no cache, when it was written through, or when a flush that began after
//! it had completed has completed.

use super::rng::Rng;

const SECTOR: usize = 512;

/// A disk's size and nature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// Bytes; a fallocate may grow it.
    pub len: u64,
    /// Completed writes are volatile until flushed.
    pub write_cache: bool,
}

/// A change of the medium.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Change {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
}

impl Change {
    /// What is left of it outside that range.
    fn without(self, start: usize, end: usize) -> impl Iterator<Item = Self> {
        let own_end = self.offset + self.bytes.len();
        let piece = move |from: usize, to: usize| {
            let bytes = self.bytes.get(from - self.offset..to - self.offset)?.to_vec();
            (!bytes.is_empty()).then_some(Self { number: self.number, offset: from, bytes })
        };
        let (left, right) = (start.clamp(self.offset, own_end), end.clamp(self.offset, own_end));
        let before = piece(self.offset, left);
        before.into_iter().chain(piece(right.max(left), own_end))
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    config: DiskConfig,
    /// What reads see.
    content: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// Completed and volatile, oldest first.
    cached: Vec<Change>,
    /// In flight: they may reach the medium at any moment.
    flying: Vec<Change>,
    next: u64,
}

impl Disk {
    pub(super) fn new(config: DiskConfig) -> Self {
        let zeroes = vec![0; config.len as usize];
        Self { config, content: zeroes.clone(), durable: zeroes, cached: vec![], flying: vec![], next: 0 }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// A write starts: its number.
    pub(super) fn launch(&mut self, offset: u64, bytes: Vec<u8>) -> u64 {
        self.next += 1;
        self.flying.push(Change { number: self.next, offset: offset as usize, bytes });
        self.next
    }

    /// A write ends after `kept` bytes of it.
    pub(super) fn land(&mut self, number: u64, kept: usize, through: bool) {
        let Some(at) = self.flying.iter().position(|change| change.number == number) else { return };
        let mut change = self.flying.remove(at);
        change.bytes.truncate(kept);
        // Flushes count completions, so the order of completing is what matters from here on.
        self.next += 1;
        change.number = self.next;
        apply(&mut self.content, &change);
        if through || !self.config.write_cache {
            self.supersede(&change);
            apply(&mut self.durable, &change);
        } else {
            self.cached.push(change);
        }
    }

    /// What was written through takes the place of what the cache held there: no flush and no power cut brings
    /// the older bytes back.
    fn supersede(&mut self, newer: &Change) {
        let (start, end) = (newer.offset, newer.offset + newer.bytes.len());
        self.cached =
            std::mem::take(&mut self.cached).into_iter().flat_map(|c| c.without(start, end)).collect();
    }

    /// A flush starts: what it has to make durable.
    pub(super) fn flush_mark(&self) -> u64 {
        self.next
    }

    /// A flush ends.
    pub(super) fn flush(&mut self, mark: u64) {
        for change in self.cached.extract_if(.., |change| change.number <= mark) {
            apply(&mut self.durable, &change);
        }
    }

    /// Grows the disk, never shrinks it.
    pub(super) fn grow(&mut self, len: u64) {
        let len = self.content.len().max(len as usize);
        self.content.resize(len, 0);
        self.durable.resize(len, 0);
    }

    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        // Oldest first: of two completed writes to one sector the newer is never undone by the older.
        let undecided: Vec<_> = self.cached.drain(..).chain(self.flying.drain(..)).collect();
        for change in undecided {
            self.keep_some(&change, rng);
        }
        self.content.clone_from(&self.durable);
    }

    fn keep_some(&mut self, change: &Change, rng: &mut Rng) {
        let (all, none) = (rng.chance(333), rng.chance(500));
        for (i, sector) in change.bytes.chunks(SECTOR).enumerate() {
            if all || (!none && rng.chance(500)) {
                let offset = change.offset + i * SECTOR;
                apply(&mut self.durable, &Change { number: 0, offset, bytes: sector.to_vec() });
            }
        }
    }
}

fn apply(medium: &mut [u8], change: &Change) {
    let end = (change.offset + change.bytes.len()).min(medium.len());
    if let Some(to) = medium.get_mut(change.offset..end) {
        to.copy_from_slice(&change.bytes[..to.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_through_stays() {
        for seed in 0..20 {
            let mut disk = Disk::new(DiskConfig { len: 4096, write_cache: true });
            let cached = disk.launch(0, vec![1; 2048]);
            disk.land(cached, 2048, false);
            let mark = disk.flush_mark();
            let through = disk.launch(512, vec![2; 512]);
            disk.land(through, 512, true);
            if seed % 2 == 0 {
                disk.flush(mark);
            }
            disk.power_cut(&mut Rng::new(seed));
            assert_eq!(disk.content()[512..1024], [2; 512]);
        }
    }
}

//! The reactor's own region, divided into slots.
//!
//! Owns: which slot is free. Promises: a slot is given to one holder at a time and a double free is noticed;
//! the slot that was freed last is given first, while it is still in the cache; there are always slots that
//! only data which arrives unasked may take.
//! Refuses to know: what is in a slot, and whether the kernel still works on it; that is the in-flight table's.
//!
//! Slots lie in the region by falling size, so each is aligned to its own size and none crosses 1 GiB.

use std::fmt;

use super::{Place, Region};
use crate::ids::BufId;

/// The sizes of data slots in bytes.
pub const CLASSES: [u32; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
const INDEX_BITS: u32 = 28;

/// What one reactor has to serve.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Commands that may hold data at once.
    pub commands: u32,
    /// Memory for everything, in bytes.
    pub memory: u64,
}

/// How many slots of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// Data slots per class of [`CLASSES`].
    pub data: [u32; 4],
    /// Of those, how many only urgent needs may take: for data that arrives unasked.
    pub reserve: [u32; 4],
}

/// The memory does not suffice for the needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{have} bytes of buffer memory for each reactor are too little: at least {need} are needed; give more, \
     or run fewer reactors"
)]
pub struct TooLittle {
    /// Bytes given.
    pub have: u64,
    /// The least that works, in bytes.
    pub need: u64,
}

/// Slots of each class that there are whatever the memory: two for a command that compares or swaps what it is given
/// with what is there, and one in the reserve.
const PROGRESS: u32 = 3;

impl PoolConfig {
    /// The least memory that can be divided, bytes.
    pub const LEAST: u64 = PROGRESS as u64 * (CLASSES[0] + CLASSES[1] + CLASSES[2] + CLASSES[3]) as u64;

    /// Divides `needs.memory`:
    ///
    /// | consumer | slots |
    /// |---|---|
    /// | progress | 3 slots of each class, 1 of them in the reserve: some command can always go on, also one that takes two at once |
    /// | small commands | an eighth of what is left as 4 KiB slots, as far as there are commands to use them |
    /// | other data | an eighth as 16 KiB slots, a quarter as 64 KiB slots, and what remains as 256 KiB slots |
    ///
    /// # Errors
    /// When the first row does not fit.
    pub fn divide(needs: &Needs) -> Result<Self, TooLittle> {
        let Some(mut rest) = needs.memory.checked_sub(Self::LEAST) else {
            return Err(TooLittle { have: needs.memory, need: Self::LEAST });
        };
        let eighth = rest / 8;
        let mut share = |class: usize, bytes: u64, most: u32| {
            let slots = (bytes / u64::from(CLASSES[class])).min(u64::from(most)) as u32;
            rest -= u64::from(slots) * u64::from(CLASSES[class]);
            PROGRESS + slots
        };
        let most = (1 << INDEX_BITS) - PROGRESS;
        let [small, staged, medium] =
            [share(0, eighth, needs.commands), share(1, eighth, most), share(2, 2 * eighth, most)];
        let data =
            [small, staged, medium, PROGRESS + (rest / u64::from(CLASSES[3])).min(u64::from(most)) as u32];
        Ok(Self { data, reserve: data.map(|n| (n / 8).max(1)) })
    }

    /// Bytes of region that [`Pool::new`] wants.
    pub fn bytes(&self) -> u64 {
        self.data.iter().zip(CLASSES).map(|(&count, size)| u64::from(count) * u64::from(size)).sum()
    }
}

/// The slots that one holder has, by class.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Holding([u32; CLASSES.len()]);

impl Holding {
    /// A slot was given back, or is another's now.
    #[inline]
    pub fn remove(&mut self, buf: BufId) {
        let count = &mut self.0[split(buf).0];
        *count = count.saturating_sub(1);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; CLASSES.len()]
    }
}

/// How many slots of a class one holder may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// As many as it likes; once the class is low, one part in so many.
    OneIn(u32),
    /// Two, what one step of a command takes at once, whether the class is low or not.
    Least,
}

/// Slots of a class that a holder may have at any rate: one step of a command takes that many at once (comparing).
const LEAST_SHARE: u32 = 2;

/// Why there is no slot for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It has its share.
    HasShare,
    /// There is none.
    Short,
}

/// One class of slots, for display.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotStats {
    /// Bytes per slot.
    pub size: u32,
    /// Slots there are.
    pub total: u32,
    /// Slots free now.
    pub free: u32,
    /// The fewest that were ever free.
    pub fewest: u32,
}

#[derive(Debug)]
struct List {
    base: u64,
    size: u32,
    reserve: u32,
    low: u32,
    fewest: u32,
    free: Vec<u32>,
    taken: Vec<bool>,
}

impl List {
    fn new(base: u64, size: u32, count: u32, reserve: u32) -> Self {
        // Backwards, so that the first slot is given first.
        let free = (0..count).rev().collect();
        let low = reserve + count / 8;
        Self { base, size, reserve, low, fewest: count, free, taken: vec![false; count as usize] }
    }

    #[inline]
    fn take(&mut self, keep: u32) -> Option<u32> {
        if self.free.len() as u32 <= keep {
            return None;
        }
        let index = self.free.pop()?;
        self.taken[index as usize] = true;
        self.fewest = self.fewest.min(self.free.len() as u32);
        Some(index)
    }

    #[inline]
    fn is_low(&self) -> bool {
        self.free.len() as u32 <= self.low
    }
}

/// The slots of one reactor.
pub struct Pool {
    lists: [List; 4],
    /// One bit per class that is low.
    low: u8,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stats()).finish()
    }
}

impl Pool {
    /// Divides `region`.
    ///
    /// # Panics
    /// When the region is shorter than [`PoolConfig::bytes`].
    pub fn new(config: &PoolConfig, region: &Region) -> Self {
        assert!(config.bytes() <= region.len(), "{config:?} needs more than {region:?}");
        let mut end = config.bytes();
        // The smallest slots come last, so the bases fall out of the end of the region.
        let lists = std::array::from_fn(|class| {
            end -= u64::from(config.data[class]) * u64::from(CLASSES[class]);
            List::new(end, CLASSES[class], config.data[class], config.reserve[class])
        });
        let mut pool = Self { lists, low: 0 };
        (0..CLASSES.len()).for_each(|class| pool.note(class));
        pool
    }

    /// A slot of at least `len` bytes: of the smallest class that holds them, or of the next one when that is used up.
    /// The reserve is for what is `urgent`: data that the peer sends without being asked. Who holds its `share` of a
    /// class gets no more, of the next class neither.
    ///
    /// # Errors
    /// When there is none, and why; also when `len` is above the largest class.
    #[inline]
    pub fn alloc_share(
        &mut self,
        len: u32,
        urgent: bool,
        holding: &mut Holding,
        share: Share,
    ) -> Result<BufId, Refused> {
        let first = class_of(len).ok_or(Refused::Short)?;
        for class in first..CLASSES.len().min(first + 2) {
            if holding.0[class] >= self.most(class, share) {
                return Err(if class == first { Refused::HasShare } else { Refused::Short });
            }
            let list = &mut self.lists[class];
            if let Some(index) = list.take(if urgent { 0 } else { list.reserve }) {
                self.note(class);
                holding.0[class] += 1;
                return Ok(id(class, index));
            }
        }
        Err(Refused::Short)
    }

    /// Slots of a class that a holder may have now.
    #[inline]
    fn most(&self, class: usize, share: Share) -> u32 {
        match share {
            Share::Least => LEAST_SHARE,
            Share::OneIn(_) if self.low & 1 << class == 0 => u32::MAX,
            Share::OneIn(holders) => {
                let list = &self.lists[class];
                ((list.taken.len() as u32 - list.reserve) / holders.max(1)).max(LEAST_SHARE)
            }
        }
    }

    /// A slot for a test, which may have as many as there are.
    #[cfg(test)]
    pub(crate) fn alloc(&mut self, len: u32) -> Option<BufId> {
        self.alloc_share(len, false, &mut Holding::default(), Share::OneIn(1)).ok()
    }

    #[cfg(test)]
    fn alloc_reserve(&mut self, len: u32) -> Option<BufId> {
        self.alloc_share(len, true, &mut Holding::default(), Share::OneIn(1)).ok()
    }

    /// Gives a slot back.
    ///
    /// # Panics
    /// When it is not taken: somebody freed it twice, and its bytes may already be another's.
    pub fn free(&mut self, buf: BufId) {
        let (list, index) = split(buf);
        let slots = &mut self.lists[list];
        assert!(slots.taken[index as usize], "{buf:?} was free already");
        slots.taken[index as usize] = false;
        slots.free.push(index);
        self.note(list);
    }

    /// The whole slot.
    #[inline]
    pub fn place(&self, buf: BufId) -> Place {
        let (list, index) = split(buf);
        let List { base, size, .. } = self.lists[list];
        Place::pool(base + u64::from(index) * u64::from(size), size)
    }

    /// Bytes in the slot.
    #[inline]
    pub fn size(&self, buf: BufId) -> u32 {
        self.lists[split(buf).0].size
    }

    /// Whether some class of data slots is nearly used up: time to send what is ready and to ask for less.
    #[inline]
    pub fn is_low(&self) -> bool {
        self.low != 0
    }

    /// Free slots of the class that `len` bytes would take, the reserve included.
    pub fn free_count(&self, len: u32) -> u32 {
        class_of(len).map_or(0, |class| self.lists[class].free.len() as u32)
    }

    /// Slots that are taken, of all classes: zero when everything has ended.
    pub fn taken(&self) -> u32 {
        self.lists.iter().map(|list| (list.taken.len() - list.free.len()) as u32).sum()
    }

    /// All classes.
    pub fn stats(&self) -> [SlotStats; 4] {
        std::array::from_fn(|class| {
            let List { size, fewest, free, taken, .. } = &self.lists[class];
            SlotStats { size: *size, total: taken.len() as u32, free: free.len() as u32, fewest: *fewest }
        })
    }

    #[inline]
    fn note(&mut self, class: usize) {
        self.low = self.low & !(1 << class) | u8::from(self.lists[class].is_low()) << class;
    }
}

fn class_of(len: u32) -> Option<usize> {
    CLASSES.iter().position(|&size| len <= size)
}

fn id(list: usize, index: u32) -> BufId {
    BufId((list as u32) << INDEX_BITS | index)
}

fn split(buf: BufId) -> (usize, u32) {
    ((buf.0 >> INDEX_BITS) as usize, buf.0 & ((1 << INDEX_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::Pages;

    fn pool() -> Pool {
        let config = PoolConfig { data: [4, 3, 3, 2], reserve: [1; 4] };
        Pool::new(&config, &Region::new(config.bytes(), Pages::Transparent).unwrap())
    }

    #[test]
    fn slots_are_aligned_to_their_size_and_disjoint() {
        let mut pool = pool();
        let mut places = Vec::new();
        for len in CLASSES {
            while let Some(buf) = pool.alloc_reserve(len) {
                assert!(pool.size(buf) >= len);
                places.push(pool.place(buf));
            }
        }
        for (i, a) in places.iter().enumerate() {
            assert_eq!(a.off % u64::from(a.len), 0);
            assert!(places[..i].iter().all(|b| !a.overlaps(*b)));
        }
        assert_eq!(places.len(), 12);
    }

    #[test]
    fn the_hottest_slot_is_given_first() {
        let mut pool = pool();
        let (a, b) = (pool.alloc(1).unwrap(), pool.alloc(1).unwrap());
        pool.free(b);
        pool.free(a);
        assert_eq!(pool.alloc(4096), Some(a));
        assert_eq!(pool.taken(), 1);
    }

    #[test]
    fn nobody_gets_more_than_its_share_of_a_class_that_is_low() {
        let config = PoolConfig { data: [20, 3, 3, 2], reserve: [4, 1, 1, 1] };
        let mut pool = Pool::new(&config, &Region::new(config.bytes(), Pages::Transparent).unwrap());
        let (mut greedy, mut other) = (Holding::default(), Holding::default());
        let mut all = |who: &mut Holding, share| {
            let mut got = 0;
            loop {
                match pool.alloc_share(1, false, who, share) {
                    Ok(_) => got += 1,
                    Err(why) => break (got, why),
                }
            }
        };
        // Sixteen are ordinary; it is low when two of those are left.
        assert_eq!(all(&mut greedy, Share::OneIn(4)), (14, Refused::HasShare));
        assert_eq!(all(&mut other, Share::Least), (2, Refused::HasShare));
        // A share of the next class too is what one gets that has none of the first.
        let mut third = Holding::default();
        assert_eq!(all(&mut third, Share::OneIn(4)), (2, Refused::Short));
        assert!(!third.is_empty());
    }

    #[test]
    fn a_class_that_is_used_up_borrows_from_the_next_only() {
        let mut pool = pool();
        let sizes: Vec<_> = std::iter::from_fn(|| pool.alloc(4096)).map(|buf| buf.0 >> INDEX_BITS).collect();
        assert_eq!(sizes, [0, 0, 0, 1, 1]);
        assert_eq!(pool.free_count(1 << 16), 3);
    }

    #[test]
    fn the_reserve_is_for_unasked_data() {
        let mut pool = pool();
        assert!(pool.alloc(256 << 10).is_some());
        assert_eq!(pool.alloc(256 << 10), None);
        assert!(pool.alloc_reserve(256 << 10).is_some());
        assert_eq!(pool.alloc_reserve(256 << 10), None);
        assert_eq!(pool.alloc_reserve((256 << 10) + 1), None);
    }

    #[test]
    fn low_is_noticed_and_passes() {
        let config = PoolConfig { data: [16; 4], reserve: [2; 4] };
        let mut pool = Pool::new(&config, &Region::new(config.bytes(), Pages::Transparent).unwrap());
        let held: Vec<_> = (0..11).map(|_| pool.alloc(1).unwrap()).collect();
        assert!(!pool.is_low());
        let last = pool.alloc(1).unwrap();
        assert!(pool.is_low());
        pool.free(last);
        assert!(!pool.is_low());
        held.into_iter().for_each(|buf| pool.free(buf));
        assert_eq!(pool.stats()[0], SlotStats { size: 4096, total: 16, free: 16, fewest: 4 });
    }

    #[test]
    #[should_panic(expected = "free already")]
    fn a_double_free_is_noticed() {
        let mut pool = pool();
        let buf = pool.alloc(1).unwrap();
        pool.free(buf);
        pool.free(buf);
    }

    #[test]
    fn memory_is_divided_within_bounds() {
        for (commands, mib) in [(1, 2), (128, 16), (4096, 64), (8192, 4096)] {
            let needs = Needs { commands, memory: mib << 20 };
            let config = PoolConfig::divide(&needs).unwrap();
            assert!(
                config.bytes() <= needs.memory && config.bytes() + (256 << 10) > needs.memory,
                "{config:?}"
            );
            assert!((0..4).all(|class| config.data[class] > config.reserve[class]));
        }
        let error = PoolConfig::divide(&Needs { commands: 1, memory: 1000 }).unwrap_err();
        let enough = Needs { commands: 1, memory: error.need };
        let least = PoolConfig::divide(&enough).unwrap();
        assert_eq!(least.data, [PROGRESS; 4]);
        let mut pool = Pool::new(&least, &Region::new(least.bytes(), Pages::Transparent).unwrap());
        let two = [pool.alloc(256 << 10), pool.alloc(256 << 10)];
        assert!(two.iter().all(Option::is_some), "a command that compares takes two at once");
    }
}

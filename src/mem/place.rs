//! A range of bytes by name instead of by pointer.

/// Which [`Region`](super::Region) a [`Place`] lies in: the same number on every reactor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RegionId(pub u16);

impl RegionId {
    /// The reactor's own slots. On each reactor this number names another region.
    pub const POOL: Self = Self(0);
}

/// A range of bytes of one region. Plain data: holding one gives no right to the bytes, and it is checked
/// against the region whenever it is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// First byte, counted from the start of the region.
    pub off: u64,
    /// Length in bytes.
    pub len: u32,
    /// The region.
    pub region: RegionId,
}

impl Place {
    /// A range of the reactor's own region.
    pub const fn pool(off: u64, len: u32) -> Self {
        Self { off, len, region: RegionId::POOL }
    }

    /// A range of any region.
    pub const fn in_region(region: RegionId, off: u64, len: u32) -> Self {
        Self { off, len, region }
    }

    /// The `len` bytes that begin `start` bytes into this place.
    ///
    /// # Panics
    /// When they do not all lie inside: a mistake of the caller, never of a peer.
    #[must_use]
    pub fn part(self, start: u32, len: u32) -> Self {
        assert!(start <= self.len && len <= self.len - start, "{start}+{len} is outside {self:?}");
        Self { off: self.off + u64::from(start), len, region: self.region }
    }

    /// What follows the first `start` bytes.
    ///
    /// # Panics
    /// When the place is shorter than `start`.
    #[must_use]
    pub fn after(self, start: u32) -> Self {
        self.part(start, self.len.saturating_sub(start))
    }

    /// The first `len` bytes, or all when there are fewer.
    #[must_use]
    pub fn first(self, len: u32) -> Self {
        Self { len: self.len.min(len), ..self }
    }

    /// One past the last byte.
    pub const fn end(self) -> u64 {
        self.off + self.len as u64
    }

    /// No bytes at all.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether `next` begins where this place ends.
    pub fn meets(self, next: Self) -> bool {
        self.region == next.region && self.end() == next.off
    }

    /// Whether any byte belongs to both.
    pub fn overlaps(self, other: Self) -> bool {
        self.region == other.region && self.off < other.end() && other.off < self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_inside() {
        let whole = Place::pool(4096, 100);
        assert_eq!(whole.part(10, 20), Place::pool(4106, 20));
        assert_eq!(whole.after(100), Place::pool(4196, 0));
        assert_eq!(whole.first(1000), whole);
        assert!(whole.part(0, 50).meets(whole.after(50)));
        assert!(!whole.part(0, 50).overlaps(whole.after(50)));
        assert!(whole.part(0, 51).overlaps(whole.after(50)));
        assert!(!whole.overlaps(Place::in_region(RegionId(1), 4096, 100)));
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn a_part_beyond_the_end_is_a_bug() {
        let _ = Place::pool(0, 100).part(90, 11);
    }
}

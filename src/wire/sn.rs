//! Serial numbers: CmdSN, StatSN, DataSN (RFC 7143 section 4.2.2 by RFC 1982, 32 bits).

use std::fmt;

use zerocopy::big_endian::U32;

/// A 32-bit serial number. It has no order of its own: it wraps, so only [`Sn::precedes`] compares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sn(pub u32);

impl Sn {
    /// Whether this number comes before `other`. Numbers exactly half the space apart precede
    /// each other in neither direction (RFC 1982 leaves them undefined).
    pub const fn precedes(self, other: Self) -> bool {
        self.distance_to(other).wrapping_sub(1) < i32::MAX as u32
    }

    /// Whether this number is `other` or comes before it.
    pub const fn precedes_or_is(self, other: Self) -> bool {
        self.0 == other.0 || self.precedes(other)
    }

    /// Whether this number lies in `first..=last`. An empty window is written as `last` = `first` − 1.
    pub const fn within(self, first: Self, last: Self) -> bool {
        first.precedes_or_is(self) && self.precedes_or_is(last)
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// The number `n` steps on.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // `+` would hide that it wraps
    pub const fn add(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The number `n` steps back.
    #[must_use]
    pub const fn back(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// How many steps it takes from this number on to `other`, modulo 2³².
    pub const fn distance_to(self, other: Self) -> u32 {
        other.0.wrapping_sub(self.0)
    }
}

impl From<U32> for Sn {
    fn from(raw: U32) -> Self {
        Self(raw.get())
    }
}

impl From<Sn> for U32 {
    fn from(sn: Sn) -> Self {
        Self::new(sn.0)
    }
}

impl fmt::Display for Sn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Sn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sn({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        assert!(Sn(0xffff_ffff).precedes(Sn(0)));
        assert!(!Sn(0).precedes(Sn(0xffff_ffff)));
        assert!(!Sn(7).precedes(Sn(7)));
        assert!(!Sn(0).precedes(Sn(0x8000_0000)) && !Sn(0x8000_0000).precedes(Sn(0)));
        assert_eq!(Sn(0xffff_ffff).next(), Sn(0));
    }

    #[test]
    fn an_empty_window_holds_nothing() {
        assert!(!Sn(5).within(Sn(5), Sn(4)));
        assert!(!Sn(4).within(Sn(5), Sn(4)));
        assert!(Sn(0).within(Sn(0xffff_fffe), Sn(3)));
        assert!(!Sn(4).within(Sn(0xffff_fffe), Sn(3)));
    }

    proptest! {
        #[test]
        fn a_smaller_step_precedes(start: u32, step in 1u32..0x8000_0000) {
            let (a, b) = (Sn(start), Sn(start).add(step));
            prop_assert!(a.precedes(b) && !b.precedes(a));
            prop_assert_eq!(a.distance_to(b), step);
            prop_assert_eq!(b.back(step), a);
        }
    }
}

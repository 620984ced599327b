//! Log lines that peers can bring about: a few at once, and then so many a second. Those that are not said are counted,
//! and the next one that is says how many.

/// Lines that may come at once: a host with some dozens of LUN paths logs in, or its switch fails.
const BURST: u64 = 64;

/// One more may follow each time so long later, nanoseconds: ten a second.
const PACE_NS: u64 = 100_000_000;

/// See the module page.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// When all that was said would have been said at that pace.
    level: u64,
    unsaid: u64,
}

impl Talk {
    /// There is something to be said. If it is to be: how many others were not since the last that was, if any.
    pub(super) fn one_more(&mut self, now: u64) -> Option<Option<u64>> {
        if self.level > now + (BURST - 1) * PACE_NS {
            self.unsaid += 1;
            return None;
        }
        self.level = self.level.max(now) + PACE_NS;
        Some(Some(std::mem::take(&mut self.unsaid)).filter(|unsaid| *unsaid > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_said_in_part_and_counted_whole() {
        let mut talk = Talk::default();
        let began = 5_000_000_000;
        let said = (0..1000).filter(|_| talk.one_more(began).is_some()).count();
        assert_eq!(said as u64, BURST);
        assert_eq!(talk.one_more(began + PACE_NS), Some(Some(1000 - BURST)));
        assert_eq!(talk.one_more(began + PACE_NS), None);
        // Ten a second, for as long as it lasts.
        let later =
            (0..10_000).filter(|ms| talk.one_more(began + PACE_NS + ms * 1_000_000).is_some()).count();
        assert!((99..=101).contains(&later), "{later}");
        // After a rest as many as before.
        let rested = began + 60_000_000_000;
        assert_eq!((0..1000).filter(|_| talk.one_more(rested).is_some()).count() as u64, BURST);
    }
}

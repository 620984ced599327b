//! What long transfers may take of a turn.
//!
//! Owns: how many bytes the turn has left for them, in one direction, and how they are parted. Promises: what is short goes
//! in its turn, whatever is long; a turn moves [`TURN`] bytes of what is long and a piece more at most, however many
//! connections have some. Refuses to know: whose they are; whoever asks for them lets those go first that had to wait.
//!
//! The weight of a transfer is its bytes: copying them is what takes the time of a turn. Whoever is alone has all of it, and
//! each of several a piece for each.

use std::collections::VecDeque;

use crate::ids::ConnId;

/// Bytes of long transfers in a turn: they are copied in 100 to 150 microseconds, about what a turn of a busy reactor takes
/// for its small commands, so that these wait twice as long at most. Less makes more turns, each with its system call.
const TURN: usize = 1 << 20;

/// The least piece: a segment, as disks and Data-In PDUs have.
const LEAST: usize = 256 << 10;

/// What is not longer is short: as much as the answers to 32 reads of 4 KiB have, with their headers. A turn has as many of
/// these as there are connections that want one, each in one send, which is what makes them cheap.
const SHORT: usize = 160 << 10;

#[derive(Debug)]
pub(super) struct Share {
    left: usize,
    piece: usize,
    /// How many have asked in this turn.
    asked: usize,
}

impl Share {
    pub(super) fn new() -> Self {
        Self { left: TURN, piece: TURN, asked: 0 }
    }

    /// A turn begins. It is parted among as many as there were in the last.
    pub(super) fn renew(&mut self) {
        let piece = (TURN / self.asked.max(1)).max(LEAST);
        *self = Self { left: TURN, piece, asked: 0 };
    }

    /// What each may have of something that can be cut.
    #[inline]
    pub(super) fn piece(&self) -> usize {
        self.piece
    }

    /// Whether that many bytes may go in this turn, or have to wait for the next.
    #[inline]
    pub(super) fn admits(&mut self, bytes: usize) -> bool {
        bytes <= SHORT || self.admits_long(bytes)
    }

    fn admits_long(&mut self, bytes: usize) -> bool {
        self.asked += 1;
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(if admitted { bytes } else { 0 });
        admitted
    }

    /// The next of those that have waited, while there is something left for them.
    pub(super) fn next(&self, waiting: &mut VecDeque<ConnId>) -> Option<ConnId> {
        if self.is_open() { waiting.pop_front() } else { None }
    }

    /// Whether there is something left for what is long.
    pub(super) fn is_open(&self) -> bool {
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What that many connections get in a turn, each of which has endless data.
    fn turn(share: &mut Share, connections: usize) -> Vec<usize> {
        share.renew();
        let piece = share.piece();
        (0..connections).filter(|_| share.admits(piece)).map(|_| piece).collect()
    }

    #[test]
    fn whoever_is_alone_has_the_whole_turn() {
        let mut share = Share::new();
        assert_eq!([turn(&mut share, 1), turn(&mut share, 1)], [[TURN], [TURN]]);
    }

    #[test]
    fn several_have_equal_pieces_from_the_second_turn_on() {
        let mut share = Share::new();
        assert_eq!(turn(&mut share, 4).len(), 1, "it was not known that there are more");
        assert_eq!(turn(&mut share, 4), [TURN / 4; 4]);
        assert_eq!(turn(&mut share, 2), [TURN / 4; 2], "nor that there are fewer");
        assert_eq!(turn(&mut share, 2), [TURN / 2; 2]);
        assert!(!share.is_open());
    }

    #[test]
    fn a_turn_is_as_long_with_many_as_with_one() {
        let mut share = Share::new();
        for _ in 0..3 {
            assert!(turn(&mut share, 1000).iter().sum::<usize>() <= TURN + LEAST);
        }
        assert_eq!(turn(&mut share, 1000), [LEAST; TURN / LEAST]);
    }

    #[test]
    fn what_is_short_goes_whatever_is_long() {
        let mut share = Share::new();
        turn(&mut share, 1000);
        assert!(share.admits(SHORT) && !share.admits(SHORT + 1));
    }
}

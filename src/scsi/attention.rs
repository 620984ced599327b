//! Unit attentions: what one I_T nexus has yet to be told about one logical unit.

use std::mem;

use arrayvec::ArrayVec;

use super::multimedia::Told;
use super::{Asc, Lu, Sense};

/// How many different attentions are kept for one nexus. A reservation change, a mode change, a
/// new size and a new inventory can be pending together; more than that is a storm.
const CAPACITY: usize = 8;

/// The pending unit attentions of one I_T nexus at one logical unit (SAM-6 section 5.14).
///
/// Each code is pending at most once, and is reported in the order in which it arose, except that
/// those of the reset group (29h) come first and only the strongest of them stays. If more arise
/// than are kept, they become one 29/00, which tells the initiator to take nothing for granted.
#[derive(Clone, Debug, Default)]
pub struct Attentions {
    pending: ArrayVec<Asc, CAPACITY>,
    /// What it has been told of by GET EVENT STATUS NOTIFICATION.
    pub(super) told: Told,
}

impl Attentions {
    /// Nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether that one is pending.
    pub fn has(&self, asc: Asc) -> bool {
        self.pending.contains(&asc)
    }

    /// Establishes a unit attention.
    pub fn raise(&mut self, asc: Asc) {
        if asc.0 == RESET_GROUP {
            self.raise_reset(asc);
        } else if !self.has(asc) && self.pending.try_push(asc).is_err() {
            self.pending.clear();
            self.pending.push(Asc::POWER_ON_OR_RESET);
        }
    }

    /// Establishes all that is pending with `other`.
    pub fn raise_all(&mut self, other: &Self) {
        other.pending.iter().for_each(|asc| self.raise(*asc));
    }

    /// Of the reset group the lowest qualifier is the strongest: power on, then resets, then nexus loss.
    fn raise_reset(&mut self, asc: Asc) {
        let mut strongest = match self.pending.first() {
            Some(first) if first.0 == RESET_GROUP && first.1 <= asc.1 => *first,
            _ => asc,
        };
        self.pending.retain(|a| a.0 != RESET_GROUP);
        if self.pending.is_full() {
            // Only this one says that whatever was to be said may have been.
            self.pending.clear();
            strongest = Asc::POWER_ON_OR_RESET;
        }
        self.pending.insert(0, strongest);
    }

    /// The one to be reported next, and whether there are more behind it.
    pub fn next(&self) -> Option<(Asc, bool)> {
        self.pending.first().map(|asc| (*asc, self.pending.len() > 1))
    }

    /// Takes the one to be reported next.
    pub fn take(&mut self) -> Option<Asc> {
        self.pending.pop_at(0)
    }

    /// One that was taken has not been reported: it is pending again, before those that have arisen meanwhile.
    pub fn give_back(&mut self, asc: Asc) {
        let meanwhile = mem::take(&mut self.pending);
        self.pending.push(asc);
        meanwhile.into_iter().for_each(|asc| self.raise(asc));
    }

    /// Withdraws an attention that has been answered otherwise (REPORT LUNS answers 3F/0E).
    pub fn withdraw(&mut self, asc: Asc) {
        self.pending.retain(|a| *a != asc);
    }
}

impl Lu {
    /// The sense data that report an attention. Of a threshold they say which one it is.
    pub fn attention_sense(&self, asc: Asc) -> Sense {
        let pointer = self.state.space.pointer().filter(|_| asc == Asc::SOFT_THRESHOLD_REACHED);
        Sense { information: pointer, ..Sense::attention(asc) }
    }
}

/// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED and its kin.
const RESET_GROUP: u8 = 0x29;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut attentions: Attentions) -> Vec<Asc> {
        std::iter::from_fn(|| attentions.take()).collect()
    }

    #[test]
    fn each_once_in_order_resets_first() {
        let mut a = Attentions::new();
        for asc in [Asc(0x2a, 3), Asc(0x2a, 9), Asc(0x2a, 3), Asc(0x29, 7), Asc(0x29, 3), Asc(0x29, 7)] {
            a.raise(asc);
        }
        assert_eq!(all(a), [Asc(0x29, 3), Asc(0x2a, 3), Asc(0x2a, 9)]);
    }

    /// Whatever comes of a power on, a resize, a full file system and a reservation at the same time.
    #[test]
    fn every_cause_is_told_once_and_resets_first() {
        let causes = [
            Asc::CAPACITY_CHANGED,
            Asc::SOFT_THRESHOLD_REACHED,
            Asc::NEXUS_LOSS,
            Asc::REPORTED_LUNS_CHANGED,
            Asc::INQUIRY_CHANGED,
            Asc::RESERVATIONS_PREEMPTED,
            Asc::MODE_PARAMETERS_CHANGED,
        ];
        let mut a = Attentions::new();
        causes.iter().chain(&causes).for_each(|asc| a.raise(*asc));
        a.raise(Asc::POWER_ON_OR_RESET);
        let want = [Asc::POWER_ON_OR_RESET, causes[0], causes[1], causes[3], causes[4], causes[5], causes[6]];
        assert_eq!(all(a), want);
    }

    /// What there is no room for is not forgotten: it may have been anything, which only a power on says.
    #[test]
    fn a_reset_that_finds_no_room_says_everything() {
        let mut a = Attentions::new();
        (0..CAPACITY as u8).for_each(|n| a.raise(Asc(0x2a, n)));
        a.raise(Asc::NEXUS_LOSS);
        assert_eq!(all(a), [Asc::POWER_ON_OR_RESET]);
    }

    #[test]
    fn to_look_at_the_next_leaves_it_there() {
        let mut a = Attentions::new();
        assert_eq!(a.next(), None);
        a.raise(Asc(0x2a, 3));
        assert_eq!(a.next(), Some((Asc(0x2a, 3), false)));
        a.raise(Asc(0x29, 7));
        assert_eq!(a.next(), Some((Asc(0x29, 7), true)));
        assert_eq!(all(a), [Asc(0x29, 7), Asc(0x2a, 3)]);
    }

    #[test]
    fn what_was_not_reported_is_the_next_again_but_for_resets() {
        let mut a = Attentions::new();
        [Asc(0x2a, 3), Asc(0x2a, 9)].into_iter().for_each(|asc| a.raise(asc));
        let taken = a.take().unwrap();
        [Asc(0x2a, 1), taken].into_iter().for_each(|asc| a.raise(asc));
        a.give_back(taken);
        let mut reset = a.clone();
        assert_eq!(all(a), [Asc(0x2a, 3), Asc(0x2a, 9), Asc(0x2a, 1)]);
        let taken = reset.take().unwrap();
        reset.raise(Asc(0x29, 3));
        reset.give_back(taken);
        assert_eq!(all(reset), [Asc(0x29, 3), Asc(0x2a, 3), Asc(0x2a, 9), Asc(0x2a, 1)]);
    }

    #[test]
    fn a_storm_becomes_one_reset() {
        let mut a = Attentions::new();
        (0..=CAPACITY as u8).for_each(|n| a.raise(Asc(0x2a, n)));
        assert_eq!(all(a), [Asc(0x29, 0)]);
    }
}

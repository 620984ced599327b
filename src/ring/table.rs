//! The in-flight table: the owner of everything that the kernel may touch.
//!
//! Owns: every operation from push to its last completion. Promises: an operation stays where it is until
//! then; the kernel posts at most two completions per entry (the operation's and its cancellation's, or the two of a
//! send without copies), so a completion queue of twice the capacity cannot overflow; a stale key names nothing.
//! Refuses to know: what the operations do.

use slab::Slab;

use super::{Key, Kind, Op};

/// Marks the completion of a cancellation; the rest of the word is the key of what was cancelled.
const CANCEL: u64 = 1 << 63;
const GENERATIONS: u32 = (1 << 31) - 1;

/// Whose completion it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// An operation of the table.
    Op(Key),
    /// The request to cancel it.
    Cancel(Key),
    /// The read of the bell.
    Bell,
    /// A timer of the ring.
    Timer(u8),
    /// A request whose answer does not matter.
    Nobody,
}

/// No key has this index, so these words are free for the ring's own requests.
const OWN: u64 = u32::MAX as u64;

impl Owner {
    /// The word that travels through the kernel.
    #[inline]
    pub(super) fn to_word(self) -> u64 {
        match self {
            Self::Op(key) => word(key),
            Self::Cancel(key) => CANCEL | word(key),
            Self::Bell => OWN | 1 << 32,
            Self::Timer(slot) => OWN | 2 << 32 | u64::from(slot) << 40,
            Self::Nobody => OWN | 3 << 32,
        }
    }

    /// The only reader of those words.
    #[inline]
    pub(super) fn from_word(word: u64) -> Self {
        let key = Key { index: word as u32, generation: (word >> 32) as u32 & GENERATIONS };
        match (word & OWN == OWN, word & CANCEL != 0, (word >> 32) as u8) {
            (false, false, _) => Self::Op(key),
            (false, true, _) => Self::Cancel(key),
            (true, _, 1) => Self::Bell,
            (true, _, 2) => Self::Timer((word >> 40) as u8),
            (true, ..) => Self::Nobody,
        }
    }
}

#[inline]
fn word(key: Key) -> u64 {
    u64::from(key.generation) << 32 | u64::from(key.index)
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    /// None once it has completed while the answer to its cancellation is still to come.
    op: Option<Op>,
    cancelling: bool,
}

/// See the module page.
#[derive(Debug)]
pub(super) struct Table {
    entries: Slab<Entry>,
    capacity: usize,
    generation: u32,
    live: usize,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Slab::with_capacity(capacity), capacity, generation: 0, live: 0 }
    }

    /// Entries that are free.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.capacity - self.entries.len()
    }

    /// Operations that have not completed.
    #[inline]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Takes an operation, or gives it back when there is no room.
    #[inline]
    pub(super) fn insert(&mut self, op: Op) -> Result<(Key, &mut Op), Op> {
        if self.entries.len() >= self.capacity {
            return Err(op);
        }
        self.generation = (self.generation + 1) & GENERATIONS;
        self.live += 1;
        let vacant = self.entries.vacant_entry();
        let key = Key { index: vacant.key() as u32, generation: self.generation };
        let entry = vacant.insert(Entry { generation: self.generation, op: Some(op), cancelling: false });
        match &mut entry.op {
            Some(op) => Ok((key, op)),
            None => unreachable!("just put there"),
        }
    }

    /// Notes that a cancellation goes out. False when there is nothing to cancel, or one is out already; or when the
    /// operation itself has two completions.
    pub(super) fn cancel(&mut self, key: Key) -> bool {
        let Some(entry) = self.get(key) else { return false };
        let one = |op: &Op| !matches!(&op.kind, Kind::Send(send) if send.zero_copy);
        let first = entry.op.as_ref().is_some_and(one) && !entry.cancelling;
        entry.cancelling |= first;
        first
    }

    /// The operation, which goes on.
    pub(super) fn op(&mut self, key: Key) -> Option<&mut Op> {
        self.get(key)?.op.as_mut()
    }

    /// The operation has ended: gives it back.
    #[inline]
    pub(super) fn complete(&mut self, key: Key) -> Option<Op> {
        let entry = self.get(key)?;
        let op = entry.op.take()?;
        let free = !entry.cancelling;
        self.live -= 1;
        if free {
            self.entries.remove(key.index as usize);
        }
        Some(op)
    }

    /// The cancellation was answered.
    pub(super) fn cancel_answered(&mut self, key: Key) {
        let Some(entry) = self.get(key) else { return };
        entry.cancelling = false;
        if entry.op.is_none() {
            self.entries.remove(key.index as usize);
        }
    }

    #[inline]
    fn get(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(key.index as usize).filter(|entry| entry.generation == key.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::SendOp;

    fn op(tag: u64) -> Op {
        Op { tag, kind: Kind::Close { fd: -1 } }
    }

    #[test]
    fn words_survive_the_kernel() {
        let key = Key { index: 7, generation: GENERATIONS };
        for owner in [Owner::Op(key), Owner::Cancel(key), Owner::Bell, Owner::Timer(3), Owner::Nobody] {
            assert_eq!(Owner::from_word(owner.to_word()), owner);
        }
    }

    #[test]
    fn an_operation_comes_back_once_and_its_key_goes_stale() {
        let mut table = Table::new(2);
        let first = table.insert(op(1)).unwrap().0;
        assert_eq!(table.complete(first).unwrap().tag, 1);
        assert!(table.complete(first).is_none());
        let second = table.insert(op(2)).unwrap().0;
        assert_eq!(second.index, first.index);
        assert!(table.complete(first).is_none());
        assert!(!table.cancel(first));
        assert_eq!(table.live(), 1);
    }

    #[test]
    fn an_entry_stays_until_its_cancellation_is_answered() {
        let mut table = Table::new(1);
        let key = table.insert(op(1)).unwrap().0;
        assert!(table.cancel(key));
        assert!(!table.cancel(key));
        assert!(table.complete(key).is_some());
        assert_eq!((table.live(), table.room()), (0, 0));
        assert_eq!(table.insert(op(2)).unwrap_err().tag, 2);
        table.cancel_answered(key);
        assert_eq!(table.room(), 1);
    }

    #[test]
    fn what_has_two_completions_is_not_cancelled() {
        let mut table = Table::new(1);
        let mut send = SendOp::new(3, 1);
        send.zero_copy = true;
        let key = table.insert(Op { tag: 1, kind: Kind::Send(send) }).unwrap().0;
        assert!(!table.cancel(key));
        assert_eq!(table.op(key).unwrap().tag, 1);
        assert!(table.complete(key).is_some() && table.op(key).is_none());
        assert_eq!((table.live(), table.room()), (0, 1));
    }

    #[test]
    fn an_unheeded_cancellation_leaves_the_operation() {
        let mut table = Table::new(1);
        let key = table.insert(op(1)).unwrap().0;
        assert!(table.cancel(key));
        table.cancel_answered(key);
        assert!(table.cancel(key));
        table.cancel_answered(key);
        assert!(table.complete(key).is_some());
        assert_eq!(table.room(), 1);
    }
}

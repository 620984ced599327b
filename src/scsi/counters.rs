//! What a logical unit has done: numbers that LOG SENSE shows.
//!
//! Every reactor counts on its own, in a cell that only it writes, with plain loads and stores; who
//! wants the sum reads all of them. So counting shares no written cache line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::{Asc, Io, Sense, SenseKey};

/// The kinds of things that are counted.
const KINDS: usize = 10;

/// Something that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Count {
    /// Commands that read.
    Reads,
    /// Commands that write.
    Writes,
    /// Bytes that they asked to read.
    BytesRead,
    /// Bytes that they asked to write.
    BytesWritten,
    /// Bytes that were to be verified or compared.
    BytesVerified,
    /// Of the bytes to be written, those of WRITE SAME, which come as one block or none.
    BytesFilled,
    /// Blocks that came for them.
    FillBlocks,
    /// Commands that the medium failed while it was read.
    ReadErrors,
    /// Commands that the medium failed while it was written.
    WriteErrors,
    /// Commands that the medium failed while it was verified.
    VerifyErrors,
}

/// Sums, as of one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals([u64; KINDS]);

impl Totals {
    /// That number.
    pub fn get(&self, what: Count) -> u64 {
        self.0[what as usize]
    }

    /// What has been counted since `base`.
    pub(super) fn since(&self, base: &Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].wrapping_sub(base.0[kind])))
    }
}

/// The numbers of one reactor, on cache lines of their own (two, as processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell([AtomicU64; KINDS]);

/// The counters of a logical unit, as one reactor has them.
#[derive(Clone, Debug)]
pub struct Counters {
    cells: Arc<[Cell]>,
    own: usize,
    /// Nobody reads or writes it but while there is such an operation.
    progress: Arc<AtomicU16>,
    /// Nobody reads or writes it but in a power condition that a command has asked for.
    rests_ended: Arc<AtomicU32>,
    /// Blocks of a medium whose capacity has changed; 0: it never has.
    capacity: Arc<AtomicU64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Counters {
    /// Counters for that many reactors, the first one's.
    pub fn new(reactors: usize) -> Self {
        let cells = (0..reactors.max(1)).map(|_| Cell::default()).collect();
        Self {
            cells,
            own: 0,
            progress: Arc::default(),
            rests_ended: Arc::default(),
            capacity: Arc::default(),
        }
    }

    /// The same as that reactor has them.
    ///
    /// # Panics
    /// When there are not so many: two reactors with one cell would lose counts.
    pub fn of_reactor(&self, own: usize) -> Self {
        assert!(own < self.cells.len(), "reactor {own} of {}", self.cells.len());
        Self { own, ..self.clone() }
    }

    /// Counts. Only the reactor whose they are may do so.
    #[inline]
    pub fn add(&self, what: Count, number: u64) {
        let cell = &self.cells[self.own].0[what as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    }

    /// Counts a command that is about to read so many bytes for its initiator.
    #[inline]
    pub fn read(&self, bytes: u64) {
        self.add(Count::Reads, 1);
        self.add(Count::BytesRead, bytes);
    }

    /// Counts a command that is about to write so many bytes of its initiator.
    #[inline]
    pub fn write(&self, bytes: u64) {
        self.add(Count::Writes, 1);
        self.add(Count::BytesWritten, bytes);
    }

    /// Counts a command that is about to be carried out.
    #[inline]
    pub fn command(&self, io: &Io) {
        match io {
            Io::Read { range, .. } => self.read(range.len),
            Io::Write { range, .. } => self.write(range.len),
            io => self.less_usual(io),
        }
    }

    /// Out of line: these are seldom. What UNMAP gives back is not written.
    #[cold]
    fn less_usual(&self, io: &Io) {
        match io {
            Io::Compare { range } | Io::CompareEach { range } | Io::Verify { range } => {
                self.add(Count::BytesVerified, range.len);
            }
            Io::WriteVerify { range, .. } | Io::CompareAndWrite { range, .. } => {
                self.write(range.len);
                self.add(Count::BytesVerified, range.len);
            }
            Io::Or { range, .. } | Io::WriteAtomic { range, .. } => self.write(range.len),
            Io::Fill { range, .. } | Io::Zero { range, .. } => {
                self.write(range.len);
                self.add(Count::BytesFilled, range.len);
                self.add(Count::FillBlocks, matches!(io, Io::Fill { .. }).into());
            }
            Io::Read { .. } | Io::Write { .. } | Io::Flush { .. } | Io::Map { .. } => {}
            Io::Unmap(_) | Io::Anchor(_) => {}
        }
    }

    /// Counts what the medium has failed; `verifying`: it was read only to see whether it can be, or what is there.
    pub fn failure(&self, sense: &Sense, verifying: bool) {
        if sense.key != SenseKey::MEDIUM_ERROR {
            return;
        }
        let what = match sense.asc {
            Asc::WRITE_ERROR => Count::WriteErrors,
            _ if verifying => Count::VerifyErrors,
            _ => Count::ReadErrors,
        };
        self.add(what, 1);
    }

    /// How far the operation on the whole medium is, in 65536ths.
    pub fn progress(&self) -> u16 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Says so. Only the owner of the logical unit may.
    pub fn set_progress(&self, progress: u16) {
        self.progress.store(progress, Ordering::Relaxed);
    }

    /// The last idle or standby condition that an access to the medium has ended.
    pub(super) fn rests_ended(&self) -> u32 {
        self.rests_ended.load(Ordering::Relaxed)
    }

    /// Such an access has ended that one. Any reactor may say so.
    pub(super) fn end_rest(&self, rest: u32) {
        self.rests_ended.store(rest, Ordering::Relaxed);
    }

    /// How many blocks the medium has got, if its capacity has changed since the facts were told.
    pub fn capacity(&self) -> Option<u64> {
        Some(self.capacity.load(Ordering::Relaxed)).filter(|blocks| *blocks > 0)
    }

    /// Says so. Every reactor does, and all say the same.
    pub fn set_capacity(&self, blocks: u64) {
        self.capacity.store(blocks, Ordering::Relaxed);
    }

    /// What all reactors have counted.
    pub fn totals(&self) -> Totals {
        let sum = |kind: usize| {
            self.cells.iter().map(|cell| cell.0[kind].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
        };
        Totals(std::array::from_fn(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactors_count_apart_and_are_summed() {
        let first = Counters::new(3);
        let last = first.of_reactor(2);
        first.add(Count::Reads, 2);
        last.add(Count::Reads, 5);
        last.add(Count::BytesWritten, 7);
        let totals = first.totals();
        assert_eq!((totals.get(Count::Reads), totals.get(Count::BytesWritten)), (7, 7));
        last.add(Count::Reads, 1);
        let later = last.totals().since(&totals);
        assert_eq!((later.get(Count::Reads), later.get(Count::BytesWritten)), (1, 0));
    }

    #[test]
    fn commands_and_failures_by_kind() {
        let counters = Counters::default();
        let range = super::super::Range { offset: 512, len: 1024 };
        counters.command(&Io::Read { range, fua: false });
        counters.command(&Io::Write { range, fua: true });
        counters.command(&Io::Verify { range });
        counters.command(&Io::Compare { range });
        counters.command(&Io::Unmap(vec![range]));
        counters.failure(&Sense::read_error(1), false);
        counters.failure(&Sense::read_error(1), true);
        counters.failure(&Sense::write_error(1), true);
        counters.failure(&Sense::no_space(), false);
        assert_eq!(counters.totals(), Totals([1, 1, 1024, 1024, 2048, 0, 0, 1, 1, 1]));
    }

    #[test]
    fn whatever_writes_is_counted_as_that() {
        let range = super::super::Range { offset: 512, len: 1024 };
        let count = |io| {
            let counters = Counters::default();
            counters.command(&io);
            counters.totals().0[..7].to_vec()
        };
        let fua = false;
        for io in [Io::Write { range, fua }, Io::Or { range, fua }, Io::WriteAtomic { range, fua }] {
            assert_eq!(count(io), [0, 1, 0, 1024, 0, 0, 0]);
        }
        for io in [Io::WriteVerify { range, compare: true }, Io::CompareAndWrite { range, fua }] {
            assert_eq!(count(io), [0, 1, 0, 1024, 1024, 0, 0]);
        }
        let unmap = true;
        assert_eq!(count(Io::Fill { range, unmap, anchor: false }), [0, 1, 0, 1024, 0, 1024, 1]);
        assert_eq!(count(Io::Zero { range, unmap }), [0, 1, 0, 1024, 0, 1024, 0]);
        assert_eq!(count(Io::CompareEach { range }), [0, 0, 0, 0, 1024, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "reactor 3 of 3")]
    fn there_is_no_cell_for_a_reactor_that_does_not_exist() {
        Counters::new(3).of_reactor(3);
    }
}

//! Where the time of a command goes: one clock that is read for all commands of a turn anyway, and four sums.
//!
//! A command is in one phase at a time, the one that it has entered last, so that the phases add up to the time from its
//! header to the end of its answer. A long transfer goes to and fro between some of them.

use crate::ids::LuId;

/// What a command that moves data is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits: for its task set, for its limits, for slots, for a fence, or for room in the ring.
    Queued,
    /// It waits for data of the initiator.
    Data,
    /// The medium is at work.
    Disk,
    /// Data or status is on its way to the initiator.
    Sending,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; PHASES] = [Self::Queued, Self::Data, Self::Disk, Self::Sending];

    /// One word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Data => "data",
            Self::Disk => "disk",
            Self::Sending => "sending",
        }
    }
}

/// How many phases there are.
pub const PHASES: usize = 4;

/// Which way the data of a command goes, as far as it is data of the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the initiator.
    Read,
    /// From the initiator.
    Write,
    /// It moves none.
    Other,
}

impl Direction {
    /// By the operation code, where only the device knows more: READ and WRITE of 6, 10, 12 and 16 bytes.
    pub(super) fn of_code(code: u8) -> Self {
        match code {
            0x08 | 0x28 | 0xa8 | 0x88 => Self::Read,
            0x0a | 0x2a | 0xaa | 0x8a => Self::Write,
            _ => Self::Other,
        }
    }
}

/// A command that has its answer, which has yet to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<'a> {
    /// The logical unit.
    pub lu: LuId,
    /// Which way its data went.
    pub direction: Direction,
    /// Its status says that it was not done.
    pub failed: bool,
    /// Bytes of data that it has moved.
    pub bytes: u32,
    /// When its header was there, nanoseconds.
    pub began: u64,
    /// How long it was in each [`Phase`], nanoseconds. By reference: what has just been written in words is best read so.
    pub spent: &'a [u64; PHASES],
}

/// The watch of one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    began: u64,
    since: u64,
    spent: [u64; PHASES],
    phase: Phase,
    pub(super) direction: Direction,
    pub(super) failed: bool,
}

impl Watch {
    #[inline]
    pub(super) fn new(now: u64) -> Self {
        Self {
            began: now,
            since: now,
            spent: [0; PHASES],
            phase: Phase::Queued,
            direction: Direction::Other,
            failed: false,
        }
    }

    /// It is at something else from now on.
    #[inline]
    pub(super) fn enter(&mut self, phase: Phase, now: u64) {
        self.spent[self.phase as usize] += now - self.since;
        (self.phase, self.since) = (phase, now);
    }

    /// So much of the time in this phase it has only waited for its turn.
    #[cold]
    pub(super) fn waited(&mut self, long: u64, now: u64) {
        let long = long.min(now - self.since);
        self.spent[Phase::Queued as usize] += long;
        self.since += long;
    }

    /// It has its answer.
    #[inline]
    pub(super) fn stop(&mut self, lu: LuId, bytes: u32, now: u64) -> Answered<'_> {
        self.enter(Phase::Sending, now);
        let Self { began, ref spent, direction, failed, .. } = *self;
        Answered { lu, direction, failed, bytes, began, spent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_add_up() {
        let mut watch = Watch::new(100);
        watch.direction = Direction::Write;
        watch.enter(Phase::Data, 110);
        watch.enter(Phase::Disk, 130);
        watch.waited(15, 170);
        watch.enter(Phase::Data, 170);
        watch.enter(Phase::Disk, 175);
        // Another of its requests was held up for longer than this phase has lasted.
        watch.waited(500, 180);
        let answered = watch.stop(LuId(3), 4096, 190);
        assert_eq!(answered.spent, &[10 + 15 + 5, 20 + 5, 25 + 10, 0]);
        assert_eq!(answered.spent.iter().sum::<u64>(), 190 - answered.began);
    }
}

//! Tasks: one per SCSI command, from its PDU to its status.
//!
//! A task is found by its own [`TaskId`] (disk completions), by the target transfer tag made from it
//! (Data-Out), or, on slow paths, by the initiator task tag. It answers exactly once.

use arrayvec::ArrayVec;

use super::command::Planned;
use super::compare::Comparing;
use super::copy::Copying;
use super::data_in::Reading;
use super::pass::Passing;
use super::set::{Attribute, Dormant};
use super::taking::Taking;
use super::watch::Watch;
use crate::ids::{BufId, LuId, TaskId};
use crate::scsi::{Asc, Failure, Range, Sense, status};

/// The most slots that one task holds, all taken at once.
pub(super) const MAX_SLOTS: usize = 4;

/// The longest CDB: 16 bytes in the header and what an AHS may add, as long as any SBC command is.
pub(super) const MAX_CDB: usize = 32;

/// The largest task table: transfer tags have twelve bits for the index.
pub(super) const MAX_TASKS: u32 = 1 << 12;

/// One SCSI command. It stays where it is from its first to its last moment: it is large, and every command has one.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) itt: u32,
    /// The LUN as it came, for R2T.
    pub(super) lun: u64,
    /// Index in the session's LUN map; `None` for a LUN that is not there.
    pub(super) map: Option<u16>,
    pub(super) lu: LuId,
    /// Expected Data Transfer Length, bytes.
    pub(super) edtl: u32,
    /// Bytes that the command moves by itself, for the residual.
    pub(super) actual: u64,
    /// R or W bit of the command.
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) cdb: ArrayVec<u8, MAX_CDB>,
    pub(super) attribute: Attribute,
    /// It came without a number of its own.
    pub(super) immediate: bool,
    /// A function that this very session asked for will end it, without an answer.
    pub(super) doomed: bool,
    /// Some of its disk requests have succeeded.
    pub(super) begun: bool,
    /// No initiator waits for it, and it is not in the command window: a copy that goes on after its command was
    /// answered.
    pub(super) background: bool,
    pub(super) watch: Watch,
    pub(super) work: Work,
}

impl Task {
    fn blank() -> Self {
        Self {
            itt: 0,
            lun: 0,
            map: None,
            lu: LuId(0),
            edtl: 0,
            actual: 0,
            reads: false,
            writes: false,
            cdb: ArrayVec::new(),
            attribute: Attribute::Simple,
            immediate: false,
            doomed: false,
            begun: false,
            background: false,
            watch: Watch::new(0),
            work: Work::Fresh,
        }
    }

    /// A command that has used the medium is not terminated with RESERVATION CONFLICT any more (SPC-5 section 5.14.1).
    pub(super) fn once_begun(&self, failure: Failure) -> Failure {
        let conflict = failure == Failure::Status(status::RESERVATION_CONFLICT);
        if conflict && self.begun { Failure::Check(Sense::aborted(Asc::NONE)) } else { failure }
    }

    /// Which LUN of the session's map it is for, as a command.
    pub(super) fn place(&self) -> Option<usize> {
        self.map.filter(|_| !self.background).map(usize::from)
    }

    /// Whether it is in the task set of that logical unit.
    pub(super) fn is_in_set(&self, lu: LuId) -> bool {
        self.lu == lu && self.map.is_some() && !self.background
    }

    /// Whether it is a copy that writes to that logical unit now.
    pub(super) fn copies_to(&self, lu: LuId) -> bool {
        matches!(&self.work, Work::Copying(copying) if copying.writes(lu))
    }

    /// Whether it was sent to that logical unit, or works on it.
    pub(super) fn uses(&self, lu: LuId) -> bool {
        self.lu == lu || matches!(&self.work, Work::Copying(copying) if copying.uses(lu))
    }
}

/// What a task is at.
///
/// It lies in the task table itself, which is reused: boxing the large variants would allocate for every command.
#[derive(Debug)]
#[expect(clippy::large_enum_variant)]
pub(super) enum Work {
    /// Just opened.
    Fresh,
    /// It waits for others of its task set.
    Dormant(Dormant),
    /// It begins when its immediate data, which it does not take, has proved right.
    Deferred(Planned),
    /// It begins when its limits let it. It has no slot: what would come to be there is not made yet.
    Held(Planned),
    /// Data goes to the initiator.
    Reading(Reading),
    /// Data comes from the initiator.
    Taking(Taking),
    /// The medium is read to see whether it can be; without a slot it waits for one.
    Verifying { range: Range, buf: Option<BufId> },
    /// One slot's content goes to the whole of a range.
    Filling { range: Range, buf: BufId, chunk: u32 },
    /// Ranges are zeroed or deallocated, one after the other.
    Clearing { ranges: Vec<Range>, next: usize, zero: bool, unmap: bool },
    /// One block is compared with a range.
    Comparing(Comparing),
    /// The store is asked how the medium lies.
    Mapping { buf: BufId, most: u32 },
    /// A flush is under way.
    Flushing,
    /// Ranges are copied inside the target.
    Copying(Box<Copying>),
    /// The device of the logical unit has it; without the slot that it needs it waits for one.
    Passing(Passing),
    /// The owner of the logical unit has it.
    Shared,
}

impl Work {
    /// The slots that the task holds now.
    pub(super) fn slots(&self) -> ArrayVec<BufId, MAX_SLOTS> {
        match self {
            Self::Reading(r) => r.slots(),
            Self::Taking(t) => t.slots(),
            Self::Verifying { buf, .. } => buf.iter().copied().collect(),
            Self::Filling { buf, .. } | Self::Deferred(Planned::Made(buf, _)) => {
                std::iter::once(*buf).collect()
            }
            Self::Comparing(c) => [c.pattern, c.buf].into_iter().collect(),
            Self::Mapping { buf, .. } => std::iter::once(*buf).collect(),
            Self::Passing(passing) => passing.buf.iter().copied().collect(),
            Self::Fresh
            | Self::Dormant(_)
            | Self::Deferred(_)
            | Self::Held(_)
            | Self::Clearing { .. }
            | Self::Flushing
            | Self::Shared => ArrayVec::new(),
            Self::Copying(c) => c.slots(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    is_open: bool,
    task: Task,
}

impl Entry {
    fn new() -> Self {
        Self { generation: 0, is_open: false, task: Task::blank() }
    }
}

/// The task table of a session.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    entries: Vec<Entry>,
    free: Vec<u32>,
    live: u32,
}

impl Tasks {
    /// How many commands are open.
    pub(super) fn len(&self) -> u32 {
        self.live
    }

    /// How many were open at a time at most: entries come only when none is free, and stay.
    pub(super) fn most(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether there is none, and nothing in the background either.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }

    /// Opens a task, which is to be filled in but for what it is at; `None` when the table is full.
    #[inline]
    pub(super) fn open(&mut self, background: bool) -> Option<(TaskId, &mut Task)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if (self.entries.len() as u32) < MAX_TASKS => {
                self.entries.push(Entry::new());
                self.entries.len() as u32 - 1
            }
            None => return None,
        };
        let entry = &mut self.entries[index as usize];
        self.live += u32::from(!background);
        (entry.is_open, entry.task.background) = (true, background);
        Some((TaskId { index, generation: entry.generation }, &mut entry.task))
    }

    /// Closes a task; whether there was one.
    pub(super) fn close(&mut self, id: TaskId) -> bool {
        let Some(task) = self.get_mut(id) else { return false };
        task.work = Work::Fresh;
        let background = task.background;
        let entry = &mut self.entries[id.index as usize];
        entry.is_open = false;
        // Transfer tags carry twelve bits of the generation; 0xfff stays out, so that no tag is the reserved one.
        entry.generation = (entry.generation + 1) % 0xfff;
        self.free.push(id.index);
        self.live -= u32::from(!background);
        true
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Task> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.is_open && entry.generation == id.generation).then_some(&entry.task)
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let entry = self.entries.get_mut(id.index as usize)?;
        (entry.is_open && entry.generation == id.generation).then_some(&mut entry.task)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        let open = self.entries.iter().enumerate().filter(|(_, e)| e.is_open);
        open.map(|(index, e)| (TaskId { index: index as u32, generation: e.generation }, &e.task))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.entries.iter_mut().filter(|e| e.is_open).map(|e| &mut e.task)
    }

    /// The task with that initiator task tag. Slow: for task management and unsolicited data.
    pub(super) fn by_itt(&self, itt: u32) -> Option<TaskId> {
        self.iter().find(|(_, t)| t.itt == itt && !t.background).map(|(id, _)| id)
    }
}

/// A target transfer tag: 12 bits of the task's generation, 8 of the R2T's number, 12 of the task's index.
pub(super) fn transfer_tag(id: TaskId, burst: u8) -> u32 {
    (id.generation & 0xfff) << 20 | u32::from(burst) << 12 | (id.index & 0xfff)
}

/// Takes a target transfer tag apart.
pub(super) fn split_transfer_tag(tag: u32) -> (TaskId, u8) {
    (TaskId { index: tag & 0xfff, generation: tag >> 20 }, (tag >> 12) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(tasks: &mut Tasks, itt: u32, background: bool) -> Option<TaskId> {
        let (id, task) = tasks.open(background)?;
        task.itt = itt;
        Some(id)
    }

    #[test]
    fn what_goes_on_in_the_background_is_no_command() {
        let mut tasks = Tasks::default();
        let quiet = open(&mut tasks, 7, true).unwrap();
        let command = open(&mut tasks, 8, false).unwrap();
        assert_eq!((tasks.len(), tasks.by_itt(7), tasks.by_itt(8)), (1, None, Some(command)));
        assert!(tasks.close(command));
        assert_eq!((tasks.len(), tasks.is_empty()), (0, false), "but it is a task");
        assert!(tasks.close(quiet) && tasks.is_empty());
        assert_eq!(tasks.most(), 2, "at a time");
    }

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut tasks = Tasks::default();
        let old = open(&mut tasks, 1, false).unwrap();
        assert!(tasks.close(old));
        let new = open(&mut tasks, 2, false).unwrap();
        assert_eq!(old.index, new.index);
        assert!(tasks.get(old).is_none() && !tasks.close(old));
        assert_eq!(tasks.by_itt(2), Some(new));
    }

    #[test]
    fn tags_go_both_ways_and_are_never_the_reserved_one() {
        for generation in [0, 1, 0xffe] {
            for index in [0, 5, 0xfff] {
                let id = TaskId { index, generation };
                assert_eq!(split_transfer_tag(transfer_tag(id, 0xff)), (id, 0xff));
                assert_ne!(transfer_tag(id, 0xff), u32::MAX);
            }
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut tasks = Tasks::default();
        for i in 0..MAX_TASKS {
            assert!(open(&mut tasks, i, false).is_some());
        }
        assert!(open(&mut tasks, 0, false).is_none());
        assert_eq!(tasks.len(), MAX_TASKS);
    }
}

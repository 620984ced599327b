//! Commands that wait because their logical unit or their initiator has had what it may have of the second.
//!
//! A command of the medium is charged for when it is about to begin. When nothing is left for it, it waits: behind what
//! its header has decided, so that it counts as begun in its task set and is aborted like any other, and before it takes
//! a slot. Work that moves nothing to or from the initiator may be as long as the medium (VERIFY, WRITE SAME): it is
//! charged for piece by piece.
//!
//! Two things cannot wait without slots. Data that comes along unasked needs a place at once; that command waits with a
//! slot for it, and neither asks for more data nor goes to the medium. And between its pieces WRITE SAME has its pattern,
//! and so has VERIFY with a block to compare. That is for as long as there are slots enough. When some are short, what
//! came unasked goes on as far as an overdraft reaches, for which those who come later pay; and then whoever comes is
//! answered TASK SET FULL, and so is who waits, the last one first, until none are short any more. (Who has done something
//! already is told by sense data.)

use std::collections::VecDeque;
use std::mem;

use super::command::Planned;
use super::host::Host;
use super::task::{Task, Work};
use super::watch::Direction;
use super::{SEGMENT, Session};
use crate::ids::{LuId, TaskId};
use crate::scsi::{Asc, Failure, Io, Outcome, Range, Sense, status};

/// Why work that has begun ends between two of its pieces (SPC-5).
const INSUFFICIENT_RESOURCES: Sense = Sense::aborted(Asc::INSUFFICIENT_RESOURCES);

/// What is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The medium is changed; else it is read.
    pub writes: bool,
    /// Commands that begin: one, or none when one goes on.
    pub commands: u64,
    /// Bytes of data.
    pub bytes: u64,
}

/// Whose limits hold for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limited {
    /// Something is limited that it uses.
    pub any: bool,
    /// The number of the host for the limits of the initiator, if it has some.
    pub initiator: Option<u32>,
}

/// Commands that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    tasks: VecDeque<TaskId>,
    /// The host knows of them.
    is_told: bool,
    /// Before then none of them can go on.
    until: u64,
}

impl Waiting {
    /// Those for which this is not true wait no more.
    pub(super) fn retain(&mut self, waits: impl FnMut(&TaskId) -> bool) {
        self.tasks.retain(waits);
    }
}

impl Charge {
    /// What is to be paid for a command; nothing, if it leaves the data on the medium alone.
    fn of(planned: &Planned, task: &Task) -> Option<Self> {
        let (writes, bytes) = match planned {
            Planned::Outcome(Outcome::Io(io)) => of_io(io, task.edtl.into())?,
            Planned::Outcome(Outcome::Pass(_)) => of_code(task)?,
            _ => return None,
        };
        Some(Self { writes, commands: 1, bytes })
    }

    /// What is to be paid for the next piece of long work.
    fn of_piece(work: &Work) -> Option<Self> {
        let (writes, bytes) = match work {
            Work::Verifying { range, .. } => (false, first_piece(range)),
            Work::Comparing(comparing) => (false, comparing.len().into()),
            Work::Filling { range, chunk, .. } => (true, range.len.min(u64::from(*chunk))),
            _ => return None,
        };
        Some(Self { writes, commands: 0, bytes })
    }
}

/// What the store does by itself, such as zeroing, moves no data.
fn of_io(io: &Io, expected: u64) -> Option<(bool, u64)> {
    match io {
        Io::Read { range, .. } | Io::Compare { range } => Some((false, range.len.min(expected))),
        Io::Verify { range } | Io::CompareEach { range } => Some((false, first_piece(range))),
        Io::Write { range, .. }
        | Io::WriteVerify { range, .. }
        | Io::WriteAtomic { range, .. }
        | Io::CompareAndWrite { range, .. }
        | Io::Or { range, .. } => Some((true, range.len.min(expected))),
        // Whether it is zeroing is seen when the pattern is there; its pieces are paid for.
        Io::Fill { .. } | Io::Unmap(_) | Io::Anchor(_) | Io::Zero { .. } => Some((true, 0)),
        Io::Flush { .. } | Io::Map { .. } => None,
    }
}

fn first_piece(range: &Range) -> u64 {
    range.len.min(u64::from(SEGMENT))
}

/// Of a command for a device that is passed through only the code is understood. Its data fit in one slot.
fn of_code(task: &Task) -> Option<(bool, u64)> {
    let bytes = task.edtl.min(SEGMENT).into();
    match Direction::of_code(task.cdb.first().copied().unwrap_or(0)) {
        Direction::Read => Some((false, bytes)),
        Direction::Write => Some((true, bytes)),
        Direction::Other => None,
    }
}

impl Session {
    /// From now on these limits hold; what has waited for others may go on.
    pub fn limit(&mut self, limited: Limited) {
        (self.limited, self.initiator_quota) = (limited.any, limited.initiator);
        self.waiting.until = 0;
        if limited.any {
            // So that waiting allocates nothing.
            self.waiting.tasks.reserve(self.command_window as usize);
        }
    }

    /// Does what the SCSI layer said, as its limits let it.
    #[cold]
    pub(super) fn follow_limits<H: Host>(&mut self, h: &mut H, id: TaskId, planned: Planned) {
        let task = self.tasks.get(id);
        let Some((lu, charge)) = task.and_then(|task| Some((task.lu, Charge::of(&planned, task)?))) else {
            return self.pursue(h, id, planned);
        };
        if planned.takes_data() && self.unasked.is_some() {
            return self.take_first(h, id, planned, charge);
        }
        if self.is_unwelcome(h, id, &planned) || self.pays(h, lu, charge, false) {
            return self.pursue(h, id, planned);
        }
        if let Some(task) = self.tasks.get_mut(id) {
            task.work = Work::Held(planned);
        }
        self.wait_in_line(h, id);
    }

    /// Data that comes along is given a place before it is paid for, as there may be none.
    fn take_first<H: Host>(&mut self, h: &mut H, id: TaskId, planned: Planned, charge: Charge) {
        self.unasked.held = Some(charge);
        self.pursue(h, id, planned);
        self.unasked.held = None;
        if self.try_again(h, id) {
            return;
        }
        if h.is_low() { self.send_away(h, id) } else { self.wait_in_line(h, id) }
    }

    /// Whether long work must wait before its next piece.
    #[cold]
    pub(super) fn piece_must_wait<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        if self.try_piece(h, id) {
            return false;
        }
        // What is only read needs no slot until then.
        if let Some(Task { work: Work::Verifying { buf, .. }, .. }) = self.tasks.get_mut(id)
            && let Some(buf) = buf.take()
        {
            h.free(buf);
        }
        self.wait_in_line(h, id);
        true
    }

    fn try_piece<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(id) else { return true };
        let lu = task.lu;
        Charge::of_piece(&task.work).is_none_or(|charge| self.pays(h, lu, charge, false))
    }

    /// Pays for it, if there is something left; else it is known until when there is not.
    fn pays<H: Host>(&mut self, h: &mut H, lu: LuId, charge: Charge, overdraw: bool) -> bool {
        let refusal = h.charge(lu, self.initiator_quota, charge, overdraw).err();
        self.waiting.until = self.waiting.until.min(refusal.unwrap_or(u64::MAX));
        refusal.is_none()
    }

    fn wait_in_line<H: Host>(&mut self, h: &mut H, id: TaskId) {
        self.waiting.tasks.push_back(id);
        self.tell_waiting(h);
    }

    fn tell_waiting<H: Host>(&mut self, h: &mut H) {
        if !self.waiting.is_told && !self.waiting.tasks.is_empty() {
            self.waiting.is_told = true;
            h.waits_for_quota();
        }
    }

    /// When [`Session::spend`] may be of use, nanoseconds.
    pub fn spends_at(&self) -> u64 {
        self.waiting.until
    }

    /// There may be something left again: commands go on as far as that reaches, in the order in which they have come.
    pub fn spend<H: Host>(&mut self, h: &mut H) {
        self.waiting.is_told = false;
        self.try_all(h);
        self.tell_waiting(h);
    }

    fn try_all<H: Host>(&mut self, h: &mut H) {
        self.waiting.until = u64::MAX;
        for _ in 0..self.waiting.tasks.len() {
            let Some(id) = self.waiting.tasks.pop_front() else { break };
            if !self.try_again(h, id) {
                self.waiting.tasks.push_back(id);
            }
        }
    }

    /// Slots may be short: then nobody waits with some. To be called every now and then.
    pub(super) fn make_room<H: Host>(&mut self, h: &mut H) {
        if self.waiting.tasks.is_empty() || !h.is_low() {
            return;
        }
        self.try_all(h);
        while h.is_low()
            && let Some(at) = self.waiting.tasks.iter().rposition(|id| self.waits_with_slots(*id))
            && let Some(id) = self.waiting.tasks.remove(at)
        {
            self.send_away(h, id);
        }
    }

    fn waits_with_slots(&self, id: TaskId) -> bool {
        self.tasks.get(id).is_some_and(|task| !task.work.slots().is_empty())
    }

    /// It gives back what it waits with.
    fn send_away<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let nothing_done = Failure::Status(status::TASK_SET_FULL);
        let failure = if task.begun { Failure::Check(INSUFFICIENT_RESOURCES) } else { nothing_done };
        match &mut task.work {
            Work::Taking(taking) => {
                taking.fail(failure);
                self.settle_taking(h, id);
            }
            _ => self.answer_failure(h, id, &failure),
        }
    }

    /// Lets a command go on that has waited; false when it still must wait.
    fn try_again<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(id) else { return true };
        // One that is about to be ended begins nothing any more, and one that has failed ends by itself.
        if task.doomed || task.has_failed() {
            return true;
        }
        let lu = task.lu;
        let (charge, overdraw) = match &task.work {
            Work::Held(planned) if self.is_unwelcome(h, id, planned) => (None, false),
            Work::Held(planned) => (Charge::of(planned, task), false),
            Work::Taking(taking) => (taking.held, h.is_low()),
            work => (Charge::of_piece(work), false),
        };
        let paid = charge.is_none_or(|charge| self.pays(h, lu, charge, overdraw));
        if paid {
            self.let_go(h, id);
        }
        paid
    }

    /// It is paid for. This happens in the middle of whatever else is going on.
    fn let_go<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        match &mut task.work {
            Work::Taking(taking) => {
                taking.held = None;
                Self::widen(h, taking);
                self.go_on_taking(h, id);
            }
            Work::Held(_) => {
                let Work::Held(planned) = mem::replace(&mut task.work, Work::Fresh) else { return };
                self.meanwhile(|session| session.pursue(h, id, planned));
            }
            _ => self.work_on(h, id),
        }
    }
}

impl Task {
    fn has_failed(&self) -> bool {
        matches!(&self.work, Work::Taking(taking) if taking.failed.is_some())
    }
}

//! Commands that wait because their logical unit or their initiator has had what it may have of the second.
//!
//! A command of the medium is charged for when it is about to begin. When nothing is left for it, it waits: behind what
//! its header has decided, so that it counts as begun in its task set and is aborted like any other, and before it takes
//! a slot. Data that comes along unasked needs a place at once; that command has its slots while it waits, and neither
//! asks for more data nor goes to the medium. While slots are short no data waits in them for this: such a command goes
//! on, and those that come later pay for it.

use std::collections::VecDeque;
use std::mem;

use super::Session;
use super::command::Planned;
use super::host::Host;
use super::task::{Task, Work};
use super::watch::Direction;
use crate::ids::TaskId;
use crate::scsi::{Io, Outcome};

/// What a command is charged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// It changes the medium; else it reads there.
    pub writes: bool,
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
}

impl Waiting {
    /// Those for which this is not true wait no more.
    pub(super) fn retain(&mut self, waits: impl FnMut(&TaskId) -> bool) {
        self.tasks.retain(waits);
    }
}

impl Charge {
    /// What is to be paid for it; nothing, if it leaves the data on the medium alone. What the store does by itself, such as
    /// zeroing, moves no data.
    fn of(planned: &Planned, task: &Task) -> Option<Self> {
        let (writes, bytes) = match planned {
            Planned::Outcome(Outcome::Io(io)) => of_io(io)?,
            Planned::Outcome(Outcome::Pass(_)) => of_code(task)?,
            _ => return None,
        };
        Some(Self { writes, bytes })
    }
}

fn of_io(io: &Io) -> Option<(bool, u64)> {
    match io {
        Io::Read { range, .. } | Io::Verify { range } | Io::Compare { range } | Io::CompareEach { range } => {
            Some((false, range.len))
        }
        Io::Write { range, .. }
        | Io::WriteVerify { range, .. }
        | Io::WriteAtomic { range, .. }
        | Io::CompareAndWrite { range, .. }
        | Io::Or { range, .. } => Some((true, range.len)),
        Io::Fill { .. } | Io::Unmap(_) | Io::Anchor(_) | Io::Zero { .. } => Some((true, 0)),
        Io::Flush { .. } | Io::Map { .. } => None,
    }
}

/// Of a command for a device that is passed through only the code is understood.
fn of_code(task: &Task) -> Option<(bool, u64)> {
    match Direction::of_code(task.cdb.first().copied().unwrap_or(0)) {
        Direction::Read => Some((false, task.edtl.into())),
        Direction::Write => Some((true, task.edtl.into())),
        Direction::Other => None,
    }
}

impl Session {
    /// From now on these limits hold.
    pub fn limit(&mut self, limited: Limited) {
        (self.limited, self.initiator_quota) = (limited.any, limited.initiator);
    }

    /// What that command must wait for before it begins.
    #[cold]
    pub(super) fn short_of<H: Host>(&self, h: &mut H, id: TaskId, planned: &Planned) -> Option<Charge> {
        let task = self.tasks.get(id)?;
        let charge = Charge::of(planned, task)?;
        let urgent = planned.takes_data() && self.unasked.is_some();
        let overdraw = urgent && h.is_low();
        (!h.charge(task.lu, self.initiator_quota, charge, overdraw)).then_some(charge)
    }

    /// A command that is to wait. Data that comes along with it is taken.
    #[cold]
    pub(super) fn hold<H: Host>(&mut self, h: &mut H, id: TaskId, planned: Planned, charge: Charge) {
        if planned.takes_data() && self.unasked.is_some() {
            self.unasked.held = Some(charge);
            self.pursue(h, id, planned);
            self.unasked.held = None;
        } else if let Some(task) = self.tasks.get_mut(id) {
            task.work = Work::Held(planned);
        }
        self.waiting.tasks.push_back(id);
        self.tell_waiting(h);
    }

    fn tell_waiting<H: Host>(&mut self, h: &mut H) {
        if !self.waiting.is_told && !self.waiting.tasks.is_empty() {
            self.waiting.is_told = true;
            h.waits_for_quota();
        }
    }

    /// There may be something left again: commands go on as far as that reaches, in the order in which they have come.
    pub fn spend<H: Host>(&mut self, h: &mut H) {
        self.waiting.is_told = false;
        for _ in 0..self.waiting.tasks.len() {
            let Some(id) = self.waiting.tasks.pop_front() else { break };
            if !self.try_again(h, id) {
                self.waiting.tasks.push_back(id);
            }
        }
        self.tell_waiting(h);
    }

    /// Lets a command go on that has waited; false when it still must wait.
    fn try_again<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(id) else { return true };
        // One that is about to be ended begins nothing any more.
        if task.doomed {
            return true;
        }
        let (charge, overdraw) = match &task.work {
            Work::Held(planned) => (Charge::of(planned, task), false),
            Work::Taking(taking) => (taking.held, h.is_low()),
            _ => return true,
        };
        let Some(charge) = charge else { return true };
        let paid = h.charge(task.lu, self.initiator_quota, charge, overdraw);
        if paid {
            self.let_go(h, id);
        }
        paid
    }

    /// It is paid for. This happens in the middle of whatever else is going on.
    fn let_go<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if let Work::Taking(taking) = &mut task.work {
            taking.held = None;
            return self.go_on_taking(h, id);
        }
        let Work::Held(planned) = mem::replace(&mut task.work, Work::Fresh) else { return };
        let interrupted = (self.opened.take(), mem::take(&mut self.unproven), mem::take(&mut self.unasked));
        self.pursue(h, id, planned);
        (self.opened, self.unproven, self.unasked) = interrupted;
    }
}

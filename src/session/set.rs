//! Task sets (SAM-5 section 8): whose turn a command is in its logical unit, by its task attribute.
//!
//! Each nexus has a task set of its own at each logical unit, so that all of it is in one session. A command that
//! must wait for others is dormant: nobody has looked at its CDB yet, and the data that it brings along unasked waits
//! with it. It begins when its turn has come and that data is there.
//!
//! | attribute | waits for |
//! |---|---|
//! | HEAD OF QUEUE | nobody |
//! | ORDERED | all older commands, and HEAD OF QUEUE |
//! | SIMPLE | older ORDERED ones, and HEAD OF QUEUE |
//!
//! While all are SIMPLE there is nothing to be kept, and no set is here.

use std::collections::VecDeque;
use std::mem;

use super::Session;
use super::command::Planned;
use super::data_out::INCORRECT_AMOUNT_OF_DATA;
use super::host::Host;
use super::rx::Dest;
use super::taking::{Ahead, Burst, Unasked};
use super::task::{Task, Tasks, Work};
use crate::ids::{LuId, TaskId};
use crate::scsi::{Asc, Failure, Outcome, Sense, status};
use crate::wire::bhs::DataOut;
use crate::wire::flags;

/// Bytes that dormant commands of a session may bring along unasked. More than is promised to one that sends a whole
/// burst; a command beyond it is answered TASK SET FULL.
const DORMANT_MAX: u32 = super::SEGMENT;

/// There is no ACA condition, so that a command which is for one is out of place (SAM-5 section 8.9); so are
/// attributes that do not exist.
const INVALID_MESSAGE: Failure = Failure::Check(Sense::illegal(Asc(0x49, 0x00)));

/// When a command may begin, as far as others in its task set go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Attribute {
    /// When what is ordered before it has ended. Untagged commands too.
    #[default]
    Simple,
    /// When everything before it has ended.
    Ordered,
    /// At once.
    HeadOfQueue,
    /// Never: it is for an ACA condition, or does not exist.
    Unknown,
}

impl Attribute {
    /// From the flags of a SCSI Command.
    pub(super) fn of(bits: u8) -> Self {
        match bits & flags::ATTR_MASK {
            flags::ATTR_UNTAGGED | flags::ATTR_SIMPLE => Self::Simple,
            flags::ATTR_ORDERED => Self::Ordered,
            flags::ATTR_HEAD_OF_QUEUE => Self::HeadOfQueue,
            _ => Self::Unknown,
        }
    }
}

/// What a command that waits in its task set has brought along.
#[derive(Debug)]
pub(super) struct Dormant {
    unasked: Unasked,
    /// What else comes by itself.
    burst: Option<Burst>,
    ahead: Ahead,
    data: Vec<u8>,
    /// Where the next of it belongs.
    at: usize,
    /// Bytes that may come.
    room: u32,
    /// The PDU with the F bit was there.
    complete: bool,
    failed: Option<Sense>,
}

impl Dormant {
    fn new(unasked: Unasked, edtl: u32, first_burst: u32) -> Self {
        let end = first_burst.min(edtl).max(unasked.immediate);
        let burst = Burst { number: 0, next: unasked.immediate, end, data_sn: 0 };
        Self {
            unasked,
            burst: unasked.follows.then_some(burst),
            ahead: Ahead::default(),
            data: Vec::new(),
            at: 0,
            room: if unasked.follows { end } else { unasked.immediate },
            complete: false,
            failed: None,
        }
    }

    /// Whether its initiator is to send something.
    pub(super) fn is_owed(&self) -> bool {
        !self.complete
    }

    /// Data that did not come as it should.
    pub(super) fn spoil(&mut self, sense: Sense) {
        self.failed.get_or_insert(sense);
    }

    /// Bytes of memory that it takes.
    fn memory(&self) -> usize {
        self.data.capacity()
    }

    fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = (self.room as usize).min(self.at + bytes.len());
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        if let Some(place) = self.data.get_mut(self.at..end) {
            place.copy_from_slice(&bytes[..place.len()]);
        }
    }

    /// The PDU with the F bit is there; nothing before the last byte may be missing.
    fn complete(&mut self) {
        self.complete = true;
        if !self.ahead.is_empty() {
            self.spoil(INCORRECT_AMOUNT_OF_DATA);
        }
    }
}

/// A task set in which not all is SIMPLE.
#[derive(Debug)]
struct Set {
    lu: LuId,
    /// Commands that have begun and are not SIMPLE.
    marked: u32,
    /// Those that are dormant, oldest first.
    dormant: VecDeque<TaskId>,
}

/// The task sets of a session that need attention.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Vec<Set>,
    /// Bytes that dormant commands may bring along.
    room: u32,
    /// Bytes of memory that what they have brought takes.
    brought: usize,
    /// Commands begin one after the other, not one inside the other.
    advancing: bool,
}

impl Sets {
    /// Whether everything is SIMPLE and nothing waits.
    #[inline]
    pub(super) fn are_plain(&self) -> bool {
        self.sets.is_empty()
    }

    /// Bytes of memory that dormant commands use.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        self.brought
    }

    /// A command is dormant no more.
    fn give_back(&mut self, dormant: &Dormant) {
        self.room -= dormant.room;
        self.brought -= dormant.memory();
    }

    fn of(&mut self, lu: LuId) -> &mut Set {
        let at = self.sets.iter().position(|s| s.lu == lu).unwrap_or_else(|| {
            self.sets.push(Set { lu, marked: 0, dormant: VecDeque::new() });
            self.sets.len() - 1
        });
        &mut self.sets[at]
    }

    /// Whether a new command of that attribute must wait.
    fn holds_back(&self, tasks: &Tasks, id: TaskId, lu: LuId, attribute: Attribute) -> bool {
        let set = self.sets.iter().find(|s| s.lu == lu);
        match attribute {
            Attribute::HeadOfQueue | Attribute::Unknown => false,
            Attribute::Simple => set.is_some_and(|s| s.marked > 0 || !s.dormant.is_empty()),
            Attribute::Ordered => set.is_some_and(|s| !s.dormant.is_empty()) || tasks.any_at_work(lu, id),
        }
    }

    /// The next command whose turn has come: it is dormant no more.
    fn next(&mut self, tasks: &Tasks) -> Option<TaskId> {
        self.sets.iter_mut().find_map(|set| {
            let id = *set.dormant.front()?;
            let Some(Task { attribute, work: Work::Dormant(dormant), .. }) = tasks.get(id) else {
                return set.dormant.pop_front().and(None);
            };
            let ordered = *attribute == Attribute::Ordered;
            let free = if ordered { !tasks.any_at_work(set.lu, id) } else { set.marked == 0 };
            if !free || dormant.is_owed() {
                return None;
            }
            set.marked += u32::from(ordered);
            set.dormant.pop_front()
        })
    }

    /// A command has ended, however it did: others may have waited for it. That goes for one, too, whose LUN is not seen
    /// any more, but which was still to tell that it has failed. To be followed by [`Session::advance`].
    pub(super) fn leave(&mut self, id: TaskId, task: &Task) {
        if task.background {
            return;
        }
        if let Work::Dormant(dormant) = &task.work {
            self.give_back(dormant);
        }
        let Some(at) = self.sets.iter().position(|s| s.lu == task.lu) else { return };
        let set = &mut self.sets[at];
        match &task.work {
            Work::Dormant(_) => set.dormant.retain(|waits| *waits != id),
            _ => set.marked -= u32::from(task.attribute != Attribute::Simple),
        }
        if set.marked == 0 && set.dormant.is_empty() {
            self.sets.swap_remove(at);
        }
    }
}

impl Tasks {
    /// Whether another command in the task set of that logical unit has begun and not ended.
    fn any_at_work(&self, lu: LuId, but: TaskId) -> bool {
        self.iter().any(|(id, t)| id != but && t.is_in_set(lu) && !matches!(t.work, Work::Dormant(_)))
    }
}

impl Session {
    /// Whether a command begins when it comes, because it is as SIMPLE as all the others.
    #[inline]
    pub(super) fn begins_at_once<H: Host>(&self, h: &H, id: TaskId) -> bool {
        self.sets.are_plain()
            && self.tasks.get(id).is_some_and(|t| t.attribute == Attribute::Simple && !is_restricted(h, t.lu))
    }

    /// A command that was just opened takes its place in its task set: it begins, or it waits. Where its immediate data
    /// goes when it waits. With restricted reordering whatever is SIMPLE counts as ORDERED: that is what the medium must
    /// look like then.
    #[cold]
    pub(super) fn line_up<H: Host>(&mut self, h: &mut H, id: TaskId) -> Option<Dest> {
        let task = self.tasks.get_mut(id)?;
        let restricted = is_restricted(h, task.lu);
        if task.map.is_none() {
            task.attribute = Attribute::Simple;
            self.start_task(h, id);
            return None;
        }
        if restricted && task.attribute == Attribute::Simple {
            task.attribute = Attribute::Ordered;
        }
        let (lu, attribute) = (task.lu, task.attribute);
        if attribute == Attribute::Unknown {
            task.attribute = Attribute::Simple;
            self.begin_with(h, id, Planned::Outcome(Outcome::Fail(INVALID_MESSAGE)));
            return None;
        }
        if self.sets.holds_back(&self.tasks, id, lu, attribute) {
            return self.make_dormant(h, id);
        }
        if attribute != Attribute::Simple {
            self.sets.of(lu).marked += 1;
        }
        self.start_task(h, id);
        None
    }

    /// It waits, and what it brings along with it; if that is too much, it is refused.
    fn make_dormant<H: Host>(&mut self, h: &mut H, id: TaskId) -> Option<Dest> {
        let (unasked, first_burst) = (self.unasked, self.negotiated.first_burst_length);
        let task = self.tasks.get_mut(id)?;
        let dormant = Dormant::new(unasked, if task.writes { task.edtl } else { 0 }, first_burst);
        if self.sets.room + dormant.room > DORMANT_MAX {
            task.attribute = Attribute::Simple;
            let full = Failure::Status(status::TASK_SET_FULL);
            self.begin_with(h, id, Planned::Outcome(Outcome::Fail(full)));
            return None;
        }
        self.sets.room += dormant.room;
        self.sets.of(task.lu).dormant.push_back(id);
        task.work = Work::Dormant(dormant);
        self.opened = Some(id);
        self.rx.gathered.clear();
        Some(Dest::Gather)
    }

    /// A Data-Out header for a dormant command: where its payload goes.
    pub(super) fn data_for_dormant(&mut self, id: TaskId, pdu: &DataOut) -> Dest {
        self.rx.gathered.clear();
        let Some(Task { work: Work::Dormant(dormant), .. }) = self.tasks.get_mut(id) else {
            return Dest::Discard;
        };
        let Some(burst) = dormant.burst.as_mut() else { return Dest::Discard };
        match burst.take(pdu, self.negotiated.data_pdu_in_order, &mut dormant.ahead) {
            Err(sense) => {
                dormant.spoil(sense);
                Dest::Discard
            }
            Ok(()) => {
                dormant.at = pdu.buffer_offset.get() as usize;
                Dest::Gather
            }
        }
    }

    /// A PDU of a dormant command is done with; `fin` is its F bit.
    pub(super) fn dormant_data_done<H: Host>(&mut self, h: &mut H, id: TaskId, fin: bool) {
        let Some(Task { work: Work::Dormant(dormant), .. }) = self.tasks.get_mut(id) else { return };
        let before = dormant.memory();
        dormant.take(&mem::take(&mut self.rx.gathered));
        self.sets.brought += dormant.memory() - before;
        if fin {
            dormant.complete();
            self.advance(h);
        }
    }

    /// Commands begin whose turn has come.
    #[inline]
    pub(super) fn advance<H: Host>(&mut self, h: &mut H) {
        if !self.sets.are_plain() && !self.sets.advancing {
            self.advance_all(h);
        }
    }

    #[cold]
    fn advance_all<H: Host>(&mut self, h: &mut H) {
        self.sets.advancing = true;
        while let Some(id) = self.sets.next(&self.tasks) {
            self.wake(h, id);
        }
        self.sets.advancing = false;
    }

    /// A command is to be terminated with CHECK CONDITION: the others of its task set are aborted if the Control mode page
    /// says so (QERR, SPC-5 section 7.5.13). They are all of this very nexus, which knows by that answer, so nobody is
    /// told otherwise. Whether there were any.
    pub(super) fn ends_others<H: Host>(&mut self, h: &mut H, id: TaskId) -> bool {
        let Some(lu) = self.tasks.get(id).map(|task| task.lu) else { return false };
        if !h.lu(lu).is_some_and(|lu| lu.state.mode.current.abort_on_error) {
            return false;
        }
        let is_other = |(other, task): &(TaskId, &Task)| *other != id && task.is_in_set(lu);
        let others: Vec<TaskId> = self.tasks.iter().filter(is_other).map(|(other, _)| other).collect();
        // One that has failed itself has ended others, whose fences this answer must wait for too.
        let ended: Vec<TaskId> =
            others.iter().copied().filter(|other| self.failing(*other).is_none()).collect();
        self.abort_tasks(h, &ended);
        !others.is_empty()
    }

    /// A dormant command begins.
    fn wake<H: Host>(&mut self, h: &mut H, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let Work::Dormant(dormant) = mem::replace(&mut task.work, Work::Fresh) else { return };
        self.sets.give_back(&dormant);
        self.meanwhile(|session| {
            session.unasked = dormant.unasked;
            session.start_task(h, id);
            session.feed(h, id, &dormant);
        });
    }

    /// What a command brought along is treated as if it came now.
    fn feed<H: Host>(&mut self, h: &mut H, id: TaskId, dormant: &Dormant) {
        let Some(Task { work: Work::Taking(taking), .. }) = self.tasks.get_mut(id) else { return };
        let len = dormant.data.len() as u32;
        if let Some(sense) = dormant.failed {
            taking.fail(Failure::Check(sense));
        }
        if let Some(burst) = &mut taking.unsolicited {
            burst.next = len;
        }
        taking.announced = len.into();
        let mut dest = Dest::Discard;
        Self::place_at(id, taking, 0, len, &mut dest);
        if let Dest::Slot { buf, at, keep, .. } = dest {
            h.copy_in(buf, at, &dormant.data[..keep as usize]);
            self.data_taken(id, 0, keep);
        }
        self.data_out_done(h, id, None, true);
    }
}

/// QUEUE ALGORITHM MODIFIER 0h of the Control mode page (SPC-5 section 7.5.13).
fn is_restricted<H: Host>(h: &H, lu: LuId) -> bool {
    h.lu(lu).is_some_and(|lu| lu.state.mode.current.restricted_reordering)
}

//! Task management: who is aborted, and when the function may be answered.
//!
//! What the kernel has cannot be called back. An aborted task is forgotten here at once and never submits
//! anything again; the host fences what is still in flight, and only then is the function answered.

use zerocopy::big_endian::U32;

use super::host::{After, Host, Manage};
use super::keys::{LEVEL_RFC7144, TaskReporting};
use super::multi::{Pending, Scope};
use super::task::{Task, Work};
use super::{Close, MappedLun, Session};
use crate::ids::{LuId, TaskId};
use crate::scsi::{Asc, Attentions, CopyEnd, Failure, MAX_SENSE, SenseKey, status};
use crate::wire::bhs::{Bhs, LogoutRequest, LogoutResponse, ScsiResponse, TaskMgmtRequest, TaskMgmtResponse};
use crate::wire::codes::{LogoutReason, LogoutResponseCode, RejectReason, TmfFunction, TmfResponse};
use crate::wire::sn::Sn;
use crate::wire::{flags, lun};

/// What a task is answered with that another nexus aborts.
const ABORTED: Failure = Failure::Status(status::TASK_ABORTED);

/// Task management functions that may wait for their fences at a time.
const MAX_MANAGING: usize = 64;

/// What is answered when the fences stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Tmf {
        itt: u32,
        response: TmfResponse,
        then_close: bool,
        /// It is the answer to a reset.
        resets: bool,
    },
    Logout {
        itt: u32,
    },
    /// A command failed, and that has ended others: it is answered with that, the PDU complete but for the status.
    Failed {
        id: TaskId,
        pdu: ScsiResponse,
        failure: Failure,
    },
    /// COPY OPERATION ABORT: the command whose copy was ended, and the command that ended it.
    CopyAborted {
        copy: TaskId,
        by: TaskId,
    },
}

/// One reset, or one thing that another nexus did, and the tasks of this session that it ended. Each has fences of its
/// own, and several may be on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending(u32);

/// A task that is gone, and with what it is to be answered.
#[derive(Debug, Clone, Copy)]
struct Ended {
    by: Ending,
    itt: u32,
    lu: LuId,
    failure: Failure,
}

/// What became of the tasks that a session had on a logical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborted {
    /// It had none.
    Nothing,
    /// They are left without an answer.
    Silently,
    /// They are answered by [`Session::tell_aborted`].
    ToBeTold(Ending),
}

/// Functions that wait.
#[derive(Debug, Default)]
pub(super) struct Managing {
    waiting: Vec<(u32, Answer)>,
    /// Functions that have not acted yet.
    pub(super) pending: Vec<Pending>,
    /// Tasks that another nexus ended and that are yet to be answered.
    aborted: Vec<Ended>,
    endings: u32,
    next_token: u32,
}

impl Session {
    /// A Task Management Function Request.
    pub(super) fn task_management<H: Host>(&mut self, h: &mut H, bhs: &Bhs) {
        let pdu = TaskMgmtRequest::from_bhs(bhs.as_bhs());
        if self.discovery {
            return self.reject(h, bhs, RejectReason::COMMAND_NOT_SUPPORTED);
        }
        self.take_number(bhs);
        let itt = pdu.itt.get();
        if self.is_managing_most() {
            return self.answer_tmf(h, itt, TmfResponse::REJECTED, After::Keep);
        }
        match TmfFunction(pdu.flags & flags::FUNCTION_MASK) {
            function if function.0 >= TmfFunction::QUERY_TASK.0 => self.newer_function(h, pdu, function),
            function if is_of_a_unit(function) => match self.mapped(pdu).map(|l| l.lu) {
                Some(lu) if function == TmfFunction::ABORT_TASK => self.abort_one(h, pdu, lu),
                // Each nexus has a task set of its own, so that to clear it and to abort in it are the same.
                Some(lu) => self.end_many(h, pdu, Scope::Unit(lu)),
                None => self.answer_tmf(h, itt, TmfResponse::LUN_DOES_NOT_EXIST, After::Keep),
            },
            TmfFunction::TARGET_WARM_RESET | TmfFunction::TARGET_COLD_RESET => {
                self.end_many(h, pdu, Scope::Session);
            }
            TmfFunction::TASK_REASSIGN => {
                self.answer_tmf(h, itt, TmfResponse::REASSIGNMENT_NOT_SUPPORTED, After::Keep);
            }
            _ => self.answer_tmf(h, itt, TmfResponse::NOT_SUPPORTED, After::Keep),
        }
    }

    /// The functions of RFC 7144, which has to be agreed upon.
    fn newer_function<H: Host>(&mut self, h: &mut H, pdu: &TaskMgmtRequest, function: TmfFunction) {
        let itt = pdu.itt.get();
        if self.negotiated.protocol_level < LEVEL_RFC7144 {
            return self.answer_tmf(h, itt, TmfResponse::NOT_SUPPORTED, After::Keep);
        }
        match function {
            TmfFunction::I_T_NEXUS_RESET => self.end_many(h, pdu, Scope::Session),
            TmfFunction::QUERY_TASK | TmfFunction::QUERY_TASK_SET | TmfFunction::QUERY_ASYNCHRONOUS_EVENT => {
                let found = self.mapped(pdu).map(|l| self.find(pdu, function, l));
                self.answer_query(h, itt, found);
            }
            _ => self.answer_tmf(h, itt, TmfResponse::NOT_SUPPORTED, After::Keep),
        }
    }

    /// What a query asks for, if it is there, as the response tells it.
    fn find(&self, pdu: &TaskMgmtRequest, function: TmfFunction, unit: &MappedLun) -> Option<[u8; 3]> {
        let tag = pdu.ref_task_tag.get();
        let there = match function {
            TmfFunction::QUERY_ASYNCHRONOUS_EVENT => return event(&unit.attentions),
            TmfFunction::QUERY_TASK => self.open_task(tag, unit.lu).is_some() || self.holds(tag, unit.lu),
            _ => self.tasks.iter().any(|(_, t)| t.is_in_set(unit.lu)),
        };
        there.then_some([0; 3])
    }

    fn mapped(&self, pdu: &TaskMgmtRequest) -> Option<&MappedLun> {
        let number = lun::from_wire(pdu.lun)?;
        let at = self.luns.binary_search_by_key(&number, |l| l.lun).ok()?;
        self.luns.get(at)
    }

    /// The task with that tag in the task set of that logical unit.
    fn open_task(&self, tag: u32, lu: LuId) -> Option<TaskId> {
        self.tasks.by_itt(tag).filter(|id| self.tasks.get(*id).is_some_and(|t| t.map.is_some() && t.lu == lu))
    }

    fn abort_one<H: Host>(&mut self, h: &mut H, pdu: &TaskMgmtRequest, lu: LuId) {
        let itt = pdu.itt.get();
        match self.open_task(pdu.ref_task_tag.get(), lu) {
            Some(id) => match self.failing(id) {
                // Its answer tells of others that it has ended, and nothing else does: it comes first.
                Some(token) => self.managing.waiting.push((token, Answer::complete(itt))),
                None => {
                    self.abort_tasks(h, &[id]);
                    self.manage_then(h, Manage::Fence, Answer::complete(itt));
                }
            },
            // One that has come before its turn, or is still to come: neither has done anything yet.
            None if self.abort_held(pdu.ref_task_tag.get(), lu)
                || self.abort_in_advance(Sn(pdu.ref_cmd_sn.get()), Sn(pdu.cmd_sn.get())) =>
            {
                self.answer_tmf(h, itt, TmfResponse::COMPLETE, After::Keep);
            }
            // What has ended it may still be about to fence what the disk has of it: as if it were there.
            None if self.forget_aborted(pdu.ref_task_tag.get()) => {
                self.manage_then(h, Manage::Fence, Answer::complete(itt));
            }
            None => {
                let response = TmfResponse::TASK_DOES_NOT_EXIST;
                let answer = Answer::Tmf { itt, response, then_close: false, resets: false };
                self.manage_then(h, Manage::Fence, answer);
            }
        }
    }

    /// Forgets tasks without an answer.
    pub(super) fn abort_tasks<H: Host>(&mut self, h: &mut H, ids: &[TaskId]) {
        if ids.is_empty() {
            return;
        }
        for &id in ids {
            self.record_copy(id, CopyEnd::Aborted);
            self.keep_attention(id);
        }
        let held = h.abandon(ids);
        for &id in ids {
            self.take_out(id, |buf| {
                if held.binary_search(&buf).is_err() {
                    h.free(buf);
                }
            });
        }
        let tasks = &self.tasks;
        self.parked.retain(|parked| tasks.get(*parked).is_some());
        self.unsent.retain(|unsent| tasks.get(*unsent).is_some());
        self.waiting.retain(|waiting| tasks.get(*waiting).is_some());
        self.advance(h);
    }

    /// Aborts the tasks of a logical unit because of a reset, or of what another nexus did. If the Control mode page
    /// says so (`tas`, SPC-5 section 7.5.13) each is answered TASK ABORTED, by [`Session::tell_aborted`] when the
    /// fences stand; not so those that this session itself asked to be reset.
    pub fn abort_for_another<H: Host>(&mut self, h: &mut H, lu: LuId, tas: bool) -> Aborted {
        let others = self.others_tasks(|t| t.lu == lu);
        self.end_those(h, |t| t.lu == lu);
        if others.is_empty() {
            return Aborted::Nothing;
        }
        if self.negotiated.task_reporting == TaskReporting::FastAbort && !self.is_resetting() {
            self.tell_terminated(h, lu);
        }
        if !tas {
            return Aborted::Silently;
        }
        Aborted::ToBeTold(self.tell_later(&others, lu, ABORTED))
    }

    /// Aborts copies that use a logical unit but were sent to another, because of a reset, or of what another nexus
    /// did. They are not in its task set, so each is answered TASK ABORTED whatever its TAS says.
    pub fn abort_copies<H: Host>(&mut self, h: &mut H, lu: LuId) -> Option<Ending> {
        let strays = |t: &Task| t.lu != lu && t.uses(lu);
        let told = self.others_tasks(strays);
        self.abort_those(h, strays);
        (!told.is_empty()).then(|| self.tell_later(&told, lu, ABORTED))
    }

    /// Ends the tasks of a logical unit because nothing is to be done there any more, but for those that its owner
    /// has, which decides for itself. Each is answered with `failure`, by [`Session::tell_aborted`].
    pub fn end_for_another<H: Host>(&mut self, h: &mut H, lu: LuId, failure: Failure) -> Option<Ending> {
        self.end_with(h, lu, failure, |t| t.lu == lu && !matches!(t.work, Work::Shared))
    }

    /// Ends some tasks on account of a logical unit. Each is answered with `failure`, by [`Session::tell_aborted`].
    pub(super) fn end_with<H: Host>(
        &mut self,
        h: &mut H,
        lu: LuId,
        failure: Failure,
        which: impl Fn(&Task) -> bool,
    ) -> Option<Ending> {
        let told = self.others_tasks(&which);
        self.end_those(h, which);
        (!told.is_empty()).then(|| self.tell_later(&told, lu, failure))
    }

    /// The tags of tasks that somebody else's doing ends.
    pub(super) fn others_tasks(&self, which: impl Fn(&Task) -> bool) -> Vec<u32> {
        let ended = |t: &Task| t.map.is_some() && which(t) && !t.doomed && !t.background;
        let is_ended = |(id, t): &(TaskId, &Task)| ended(t) && self.failing(*id).is_none();
        self.tasks.iter().filter(is_ended).map(|(_, t)| t.itt).collect()
    }

    /// Tasks are ended, but for those that have failed: their answer tells of others that they have ended, and nothing else
    /// does. It still comes, before that of a function which would have ended them.
    pub(super) fn end_those<H: Host>(&mut self, h: &mut H, which: impl Fn(&Task) -> bool) {
        let ended = |(id, t): &(TaskId, &Task)| t.map.is_some() && which(t) && self.failing(*id).is_none();
        let ids: Vec<TaskId> = self.tasks.iter().filter(ended).map(|(id, _)| id).collect();
        self.abort_tasks(h, &ids);
    }

    /// [`Session::tell_aborted`] is to answer these.
    pub(super) fn tell_later(&mut self, itts: &[u32], lu: LuId, failure: Failure) -> Ending {
        let ending = Ending(self.managing.endings);
        self.managing.endings = ending.0.wrapping_add(1);
        self.managing.aborted.extend(itts.iter().map(|itt| Ended { by: ending, itt: *itt, lu, failure }));
        ending
    }

    /// A command has failed, and that has ended others: its answer leaves when these are fenced. Until then it does nothing
    /// more, but it keeps its place in its task set.
    pub(super) fn fail_behind_fences<H: Host>(&mut self, h: &mut H, id: TaskId, failure: Failure) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let pdu = task.response();
        let slots = std::mem::replace(&mut task.work, Work::Fresh).slots();
        let receiving = self.rx.orphan(id);
        slots.into_iter().filter(|buf| Some(*buf) != receiving).for_each(|buf| h.free(buf));
        self.manage_then(h, Manage::Fence, Answer::Failed { id, pdu, failure });
    }

    /// What it waits for, if it is about to be answered so.
    pub(super) fn failing(&self, task: TaskId) -> Option<u32> {
        let is_its = |(_, a): &&(u32, Answer)| matches!(a, Answer::Failed { id, .. } if *id == task);
        self.managing.waiting.iter().find(is_its).map(|(token, _)| *token)
    }

    /// Those fences stand. It may have been aborted meanwhile.
    fn tell_failed<H: Host>(&mut self, h: &mut H, id: TaskId, pdu: ScsiResponse, failure: Failure) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.watch.failed = true;
            let lu = task.lu;
            self.put_failure(h, pdu, lu, failure, true);
            self.close_task(h, id);
        }
    }

    /// What a failure waits for that a function of this session would have ended.
    fn doomed_failure(&self) -> Option<u32> {
        let is_doomed = |(_, answer): &&(u32, Answer)| matches!(answer, Answer::Failed { id, .. } if self.tasks.get(*id).is_some_and(|t| t.doomed));
        self.managing.waiting.iter().find(is_doomed).map(|(token, _)| *token)
    }

    /// The fences of one [`Session::abort_for_another`] stand: its tasks are answered.
    pub fn tell_aborted<H: Host>(&mut self, h: &mut H, ending: Ending) {
        let (told, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.managing.aborted).into_iter().partition(|ended| ended.by == ending);
        self.managing.aborted = wait;
        for Ended { itt, lu, failure, .. } in told {
            let pdu = ScsiResponse { itt: U32::new(itt), ..ScsiResponse::default() };
            self.put_failure(h, pdu, lu, failure, false);
        }
    }

    fn put_failure<H: Host>(
        &mut self,
        h: &mut H,
        mut pdu: ScsiResponse,
        lu: LuId,
        failure: Failure,
        frees_one: bool,
    ) {
        let mut sense = [0; MAX_SENSE];
        let (status, len) = match failure {
            Failure::Status(status) => (status, 0),
            Failure::Check(check) => {
                let descriptor = h.lu(lu).is_some_and(|lu| lu.state.descriptor_sense());
                (status::CHECK_CONDITION, check.encode(descriptor, &mut sense))
            }
        };
        pdu.status = status;
        self.put_response(h, pdu, &sense[..len], frees_one);
    }

    /// Takes back what [`Session::tell_aborted`] would say of one task. Whether there was anything.
    pub(super) fn forget_aborted(&mut self, itt: u32) -> bool {
        let before = self.managing.aborted.len();
        self.managing.aborted.retain(|ended| ended.itt != itt);
        self.managing.aborted.len() < before
    }

    /// As before, of all tasks of the logical units that `which` names.
    pub(super) fn forget_aborted_where(&mut self, which: impl Fn(LuId) -> bool) {
        self.managing.aborted.retain(|ended| !which(ended.lu));
    }

    pub(super) fn abort_those<H: Host>(&mut self, h: &mut H, which: impl Fn(&Task) -> bool) {
        let doomed: Vec<TaskId> = self.tasks.iter().filter(|(_, t)| which(t)).map(|(id, _)| id).collect();
        self.abort_tasks(h, &doomed);
    }

    /// Aborts everything: the session ends. Slots that are free of the kernel go back.
    pub fn abort_all<H: Host>(&mut self, h: &mut H) {
        self.held.clear();
        self.rx.gathered = Vec::new();
        self.text = Default::default();
        self.abort_those(h, |_| true);
    }

    /// Whether no more functions may wait.
    pub(super) fn is_managing_most(&self) -> bool {
        let functions =
            self.managing.waiting.iter().filter(|(_, a)| !matches!(a, Answer::Failed { .. })).count();
        functions + self.managing.pending.len() >= MAX_MANAGING
    }

    /// Whether a reset by this very session is under way: its response tells what an Async Message tells others.
    fn is_resetting(&self) -> bool {
        self.managing.waiting.iter().any(|(_, answer)| matches!(answer, Answer::Tmf { resets: true, .. }))
    }

    pub(super) fn manage_then<H: Host>(&mut self, h: &mut H, what: Manage, answer: Answer) {
        let token = self.managing.next_token;
        self.managing.next_token = token.wrapping_add(1);
        self.managing.waiting.push((token, answer));
        h.manage(token, what, &self.nexus);
    }

    /// The fences of [`Host::manage`] stand: nothing that was aborted can overwrite newer data.
    pub fn managed<H: Host>(&mut self, h: &mut H, token: u32) {
        while let Some(at) = self.managing.waiting.iter().position(|(t, _)| *t == token) {
            let (_, answer) = self.managing.waiting.remove(at);
            self.give(h, answer);
        }
    }

    fn give<H: Host>(&mut self, h: &mut H, answer: Answer) {
        match answer {
            Answer::Tmf { itt, response, then_close, .. } => match self.doomed_failure() {
                // It is still told of, when its own fences stand, and before the function that would have ended it.
                Some(token) => self.managing.waiting.push((token, answer)),
                None => {
                    let after = if then_close { After::Close } else { After::Keep };
                    self.answer_tmf(h, itt, response, after);
                }
            },
            Answer::Failed { id, pdu, failure } => self.tell_failed(h, id, pdu, failure),
            Answer::CopyAborted { copy, by } => self.copy_aborted(h, copy, by),
            Answer::Logout { itt } => self.answer_logout(h, itt, LogoutResponseCode::SUCCESS, After::Close),
        }
    }

    fn answer_tmf<H: Host>(&mut self, h: &mut H, itt: u32, response: TmfResponse, after: After) {
        self.put_tmf(h, itt, response, [0; 3], after);
    }

    /// `found`: `None` when there is no such logical unit, `Some(None)` when there is nothing of the kind.
    fn answer_query<H: Host>(&mut self, h: &mut H, itt: u32, found: Option<Option<[u8; 3]>>) {
        let (response, additional) = match found {
            None => (TmfResponse::LUN_DOES_NOT_EXIST, [0; 3]),
            Some(None) => (TmfResponse::COMPLETE, [0; 3]),
            Some(Some(additional)) => (TmfResponse::SUCCEEDED, additional),
        };
        self.put_tmf(h, itt, response, additional, After::Keep);
    }

    fn put_tmf<H: Host>(
        &mut self,
        h: &mut H,
        itt: u32,
        response: TmfResponse,
        additional_response: [u8; 3],
        after: After,
    ) {
        let (itt, response) = (U32::new(itt), response.0);
        let mut pdu = TaskMgmtResponse { itt, response, additional_response, ..TaskMgmtResponse::default() };
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        self.emit(h, pdu.as_bhs(), None, after);
    }

    /// A Logout Request: what is open is aborted, fenced, and then the connection goes.
    pub(super) fn logout<H: Host>(&mut self, h: &mut H, bhs: &Bhs) {
        let pdu = LogoutRequest::from_bhs(bhs.as_bhs());
        self.take_number(bhs);
        let itt = pdu.itt.get();
        match LogoutReason(pdu.flags & flags::REASON_MASK) {
            LogoutReason::CLOSE_CONNECTION if pdu.cid.get() != self.cid => {
                self.answer_logout(h, itt, LogoutResponseCode::CID_NOT_FOUND, After::Keep);
            }
            LogoutReason::CLOSE_SESSION | LogoutReason::CLOSE_CONNECTION => {
                self.closing = Some(Close::Logout);
                self.act_at_once(h);
                self.abort_all(h);
                self.manage_then(h, Manage::Fence, Answer::Logout { itt });
            }
            _ => self.answer_logout(h, itt, LogoutResponseCode::RECOVERY_NOT_SUPPORTED, After::Keep),
        }
    }

    fn answer_logout<H: Host>(&mut self, h: &mut H, itt: u32, code: LogoutResponseCode, after: After) {
        let mut pdu = LogoutResponse { itt: U32::new(itt), response: code.0, ..LogoutResponse::default() };
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        pdu.time2wait = self.negotiated.time2wait.into();
        pdu.time2retain = 0.into();
        self.emit(h, pdu.as_bhs(), None, after);
    }
}

/// Whether a function of RFC 7143 is on one logical unit.
fn is_of_a_unit(function: TmfFunction) -> bool {
    use TmfFunction as F;
    [F::ABORT_TASK, F::ABORT_TASK_SET, F::CLEAR_TASK_SET, F::LOGICAL_UNIT_RESET].contains(&function)
}

/// The unit attention that is to be reported next, as QUERY ASYNCHRONOUS EVENT tells it (SAM-5 section 7.10): UADE DEPTH
/// (one, or more than one) and sense key, additional sense code and qualifier.
fn event(attentions: &Attentions) -> Option<[u8; 3]> {
    let (Asc(code, qualifier), more) = attentions.next()?;
    let depth: u8 = if more { 2 } else { 1 };
    Some([depth << 4 | SenseKey::UNIT_ATTENTION.0, code, qualifier])
}

impl Answer {
    pub(super) fn complete(itt: u32) -> Self {
        Self::Tmf { itt, response: TmfResponse::COMPLETE, then_close: false, resets: false }
    }
}

//! Task management functions that end many tasks (RFC 7143 section 4.2.3): what they wait for before they act.
//!
//! Commands that were sent before the function belong to it, also those that are still missing; a reset of the target
//! counts them as received. By the standard semantics (section 4.2.3.3) the initiator goes on with the data that it
//! was asked for, and the function waits for that; by FastAbort (section 4.2.3.4) it stops, and nothing is waited for.
//! No wait is for ever: an initiator that has stopped without saying so has its function carried out all the same.

use super::Session;
use super::host::{Host, Manage};
use super::keys::TaskReporting;
use super::task::{Task, Work};
use super::tmf::Answer;
use crate::ids::LuId;
use crate::scsi::Asc;
use crate::wire::bhs::TaskMgmtRequest;
use crate::wire::codes::{TmfFunction, TmfResponse};
use crate::wire::flags;
use crate::wire::sn::Sn;

/// Nanoseconds that a function waits for commands and data at most. Some initiators fall silent without FastAbort.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The tasks that a function is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Unit(LuId),
    Session,
}

impl Scope {
    fn covers(self, lu: LuId) -> bool {
        self == Self::Unit(lu) || self == Self::Session
    }
}

/// A function that has not acted yet.
#[derive(Debug)]
pub(super) struct Pending {
    function: TmfFunction,
    itt: u32,
    scope: Scope,
    /// Commands before this number belong to it.
    end: Sn,
    /// Some of these are missing.
    incomplete: bool,
    since: u64,
}

impl Session {
    /// A function that ends many tasks.
    pub(super) fn end_many<H: Host>(&mut self, h: &mut H, pdu: &TaskMgmtRequest, scope: Scope) {
        let function = TmfFunction(pdu.flags & flags::FUNCTION_MASK);
        let end = Sn(pdu.cmd_sn.get());
        self.abort_held_where(end, |lu| scope.covers(lu));
        // Those that others have ended meanwhile are answered for too, by what waits for their fences as well.
        self.forget_aborted_where(|lu| scope.covers(lu));
        if [TmfFunction::TARGET_WARM_RESET, TmfFunction::TARGET_COLD_RESET].contains(&function) {
            self.plug(end);
        }
        self.doom(|t| scope.covers(t.lu));
        let incomplete = self.exp_cmd_sn.precedes(end) && end.within(self.exp_cmd_sn, self.max_cmd_sn.next());
        let (itt, since) = (pdu.itt.get(), h.now());
        self.managing.pending.push(Pending { function, itt, scope, end, incomplete, since });
        self.act_when_ready(h);
    }

    /// The tags of functions that wait to act on one logical unit, which they do no more.
    pub(super) fn take_pending(&mut self, lu: LuId) -> Vec<u32> {
        let of = |pending: &mut Pending| pending.scope == Scope::Unit(lu);
        self.managing.pending.extract_if(.., of).map(|pending| pending.itt).collect()
    }

    /// Carries out what waits for nothing more.
    pub(super) fn act_when_ready<H: Host>(&mut self, h: &mut H) {
        let now = h.now();
        let mut at = 0;
        while at < self.managing.pending.len() {
            self.take_stock(at);
            let pending = &self.managing.pending[at];
            if self.is_ready(pending) || now.saturating_sub(pending.since) > PATIENCE_NS {
                let pending = self.managing.pending.remove(at);
                self.act(h, &pending);
            } else {
                at += 1;
            }
        }
    }

    /// The session ends: nothing is waited for any more.
    pub(super) fn act_at_once<H: Host>(&mut self, h: &mut H) {
        for pending in std::mem::take(&mut self.managing.pending) {
            self.act(h, &pending);
        }
    }

    /// When the last missing command has come, whatever has a number of its own was sent before the function: those that
    /// came late belong to it too.
    fn take_stock(&mut self, at: usize) {
        let Some(pending) = self.managing.pending.get_mut(at).filter(|p| p.incomplete) else { return };
        pending.incomplete = self.exp_cmd_sn.precedes(pending.end);
        let (scope, complete) = (pending.scope, !pending.incomplete);
        if complete {
            self.doom(|t| scope.covers(t.lu) && !t.immediate);
        }
    }

    fn is_ready(&self, pending: &Pending) -> bool {
        let fast = self.negotiated.task_reporting == TaskReporting::FastAbort;
        let answers = |t: &Task| matches!(&t.work, Work::Taking(taking) if !taking.bursts.is_empty());
        !pending.incomplete
            && (fast || !self.tasks.iter().any(|(_, t)| t.doomed && pending.ends(t) && answers(t)))
    }

    fn act<H: Host>(&mut self, h: &mut H, pending: &Pending) {
        let itt = pending.itt;
        let reset =
            |then_close| Answer::Tmf { itt, response: TmfResponse::COMPLETE, then_close, resets: true };
        let (what, answer) = match (pending.function, pending.scope) {
            (TmfFunction::LOGICAL_UNIT_RESET, Scope::Unit(lu)) => (Manage::LuReset(lu), reset(false)),
            (TmfFunction::TARGET_WARM_RESET, _) => (self.target_reset(false), reset(false)),
            (TmfFunction::TARGET_COLD_RESET, _) => (self.target_reset(true), reset(true)),
            (function, _) => {
                self.end_those(h, |t| t.doomed && pending.ends(t));
                let what =
                    if function == TmfFunction::I_T_NEXUS_RESET { self.lose_nexus() } else { Manage::Fence };
                (what, Answer::complete(itt))
            }
        };
        self.manage_then(h, what, answer);
    }

    /// What happens when the nexus is lost (SAM-5 section 6.3.4), but the session stays.
    fn lose_nexus(&mut self) -> Manage {
        self.luns.iter_mut().for_each(|l| l.attentions.raise(Asc::NEXUS_LOSS));
        Manage::NexusReset(self.logical_units().collect())
    }

    fn target_reset(&self, cold: bool) -> Manage {
        Manage::TargetReset { units: self.logical_units().collect(), cold }
    }

    /// Marks the tasks that a function of this session ends: its response answers for them, and they ask for no more
    /// data. What comes between the request and a reset is ended too, but has an answer of its own.
    fn doom(&mut self, which: impl Fn(&Task) -> bool) {
        self.tasks.iter_mut().filter(|t| which(t)).for_each(|t| t.doomed = true);
    }
}

impl Pending {
    fn ends(&self, task: &Task) -> bool {
        task.map.is_some() && self.scope.covers(task.lu)
    }
}

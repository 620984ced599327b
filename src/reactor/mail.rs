//! What reactors say to each other and to the control thread. Never data-path I/O.
//!
//! One bounded mailbox per reactor, filled by all; letters of one sender arrive in the order in which they were
//! posted. Posting never blocks: what does not fit waits in the sender's own backlog, in order.

use std::collections::VecDeque;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::disk::JobId;
use super::gates::GateId;
use super::live::Live;
use super::measure::Measure;
use super::recorder::{Passed, Recording, Rest};
use super::stats::Snapshot;
use crate::ids::{ConnId, CoreId, LuId};
use crate::ring::{Bell, Ends};
use crate::scsi::{Asc, Effects, Failure, ItNexus, LuState, SharedOp};
use crate::session::Legacy;
use crate::session::login::{Established, Pdu};

/// Letters that fit in a mailbox. Each stands for a rare event; a reset of a logical unit with a thousand sessions
/// is one letter.
const MAILBOX: usize = 1024;

/// Which fence: the reactor that has the ghost, and its own number.
pub(super) type FenceId = (CoreId, u64);

/// A range of a medium that others keep out of: a write of a forgotten task may still change it, or a client has it to
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) id: FenceId,
    pub(super) lu: LuId,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// A connection on its way to the reactor that will own it. Nothing of it is in flight.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) fd: RawFd,
    pub(super) ends: Ends,
    pub(super) established: Box<Established>,
    /// The final Login Response, less its TSIH.
    pub(super) response: Pdu,
    /// What the initiator sent behind its last request.
    pub(super) early: Vec<u8>,
}

/// A request to the owner of a logical unit, and where its answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) lu: LuId,
    pub(super) op: SharedOp,
    pub(super) nexus: ItNexus,
    pub(super) from: CoreId,
    pub(super) gate: GateId,
    /// What it makes of the state is on disk already.
    pub(super) saved: bool,
}

/// A request to the owner of a logical unit for a range of it, and where its answer goes: to the reactor that named
/// the fence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Enclose {
    pub(super) fence: Fence,
    pub(super) gate: GateId,
}

/// Everything that is said.
#[derive(Debug)]
pub(super) enum Letter {
    /// Have this connection.
    Adopt(Box<Moving>),
    /// From this very host: a connection that no listener has accepted; its login begins.
    Welcome { socket: OwnedFd, ends: Ends },
    /// To the owner of a logical unit.
    Ask(Box<Ask>),
    /// To the owner, from the control thread: make that change of a logical unit, and say there what came of it.
    Order { lu: LuId, op: Box<SharedOp>, to: Sender<Result<(), Failure>> },
    /// To the owner: whoever asked for that does not want it any more.
    Recall { lu: LuId, from: CoreId, gate: GateId },
    /// To the owner: the client of a task wants that range to itself.
    Enclose(Enclose),
    /// From the owner: nothing but the client of that fence may begin there any more. Acknowledge when nothing is in
    /// flight there.
    Close { owner: CoreId, gate: GateId, fence: Fence },
    /// To the owner: the client of that fence is done.
    Disclose(FenceId, LuId),
    /// From the owner: the answer.
    Answer { gate: GateId, result: Result<(), Failure> },
    /// From the owner: the state is now this. Acknowledge when it holds here.
    Change(Box<Change>),
    /// From the owner: the change under way is to wait for no disk here any longer.
    Hurry(LuId),
    /// These ranges are fenced. Acknowledge.
    Fences { from: CoreId, gate: GateId, fences: Arc<[Fence]> },
    /// A ghost has ended, or the client of an enclosed range is done.
    Lift(FenceId, LuId),
    /// An acknowledgement.
    Ack(GateId),
    /// End that connection, which a new login replaces; acknowledge when it can do no harm. Its session ends too,
    /// unless it has an heir.
    Kill { conn: ConnId, from: CoreId, gate: GateId, heir: Option<ConnId> },
    /// What the session of that login had with its last connection.
    Bequeath { heir: ConnId, legacy: Box<Legacy> },
    /// End every session of that target, but one.
    KillTarget { target: Arc<str>, but: (CoreId, ConnId) },
    /// A system call of the blocking pool has its result.
    Blocked { id: JobId, result: i32 },
    /// The state of a logical unit is on disk, or could not be put there.
    Saved { lu: LuId, result: i32 },
    /// Ask initiators to log out; stop at that time at the latest.
    Drain { deadline: u64 },
    /// To the owner of a logical unit: that has happened to it.
    Notice { lu: LuId, op: SharedOp },
    /// Say how you are.
    Report(Sender<Snapshot>),
    /// From the control thread: say what units or sessions have done.
    Measure(Measure),
    /// From the control thread: give a first page of the flight recorder.
    Record(Sender<(Recording, Option<Rest>)>),
    /// From the control thread: give another page of it.
    RecordMore(Rest, Sender<(Vec<Passed>, Option<Rest>)>),
    /// From the control thread: something of what is served changes.
    Live(Box<Live>),
}

/// A new state of a logical unit.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) lu: LuId,
    pub(super) state: Arc<LuState>,
    pub(super) effects: Arc<Effects>,
    pub(super) caller: ItNexus,
    /// A reset: every task of the logical unit is aborted.
    pub(super) reset: bool,
    pub(super) owner: CoreId,
    pub(super) gate: GateId,
}

impl Change {
    /// The unit attentions of one nexus.
    pub(super) fn attentions_for(&self, nexus: &ItNexus) -> Vec<Asc> {
        let own = self.effects.attentions.iter().filter(|(n, _)| n == nexus).map(|(_, asc)| *asc);
        let others = self.effects.attention_others.filter(|_| *nexus != self.caller);
        own.chain(others).chain(self.effects.attention_all).collect()
    }
}

/// How to reach a reactor.
#[derive(Clone, Debug)]
pub(super) struct Address {
    sender: Sender<Letter>,
    bell: Arc<Bell>,
}

impl Address {
    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Posts a question from a thread that is no reactor. A reactor that leaves its mailbox full for so long does not
    /// answer: the question is dropped, and who waits for an answer hears that nobody will give one.
    pub(super) fn ask(&self, letter: Letter, patience: Duration) {
        let _ = self.sender.send_timeout(letter, patience);
        self.bell.ring();
    }

    /// Posts from a thread that is no reactor: waits while the mailbox is full.
    pub(super) fn post_blocking(&self, letter: Letter) {
        // A reactor that is gone has no use for letters.
        let _ = self.sender.send(letter);
        self.bell.ring();
    }
}

/// Mailboxes for `bells.len()` reactors.
pub(super) fn mailboxes(bells: Vec<Arc<Bell>>) -> (Vec<Address>, Vec<Receiver<Letter>>) {
    bells
        .into_iter()
        .map(|bell| {
            let (sender, receiver) = bounded(MAILBOX);
            (Address { sender, bell }, receiver)
        })
        .unzip()
}

/// The post office of one reactor.
pub(super) struct Mail {
    pub(super) core: CoreId,
    inbox: Receiver<Letter>,
    addresses: Vec<Address>,
    /// What did not fit into the inbox of each yet. It has no limit of its own: a command, a task management request and a
    /// connection are the reason for a few letters each, and how many of these there may be is limited.
    backlog: Vec<VecDeque<Letter>>,
}

impl Mail {
    pub(super) fn new(core: CoreId, inbox: Receiver<Letter>, addresses: Vec<Address>) -> Self {
        let backlog = addresses.iter().map(|_| VecDeque::new()).collect();
        Self { core, inbox, addresses, backlog }
    }

    /// All reactors, this one included.
    pub(super) fn everybody(&self) -> impl Iterator<Item = CoreId> + Clone + use<> {
        (0..self.addresses.len() as u16).map(CoreId)
    }

    /// All reactors but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let me = self.core;
        self.everybody().filter(move |c| *c != me)
    }

    pub(super) fn address(&self, core: CoreId) -> &Address {
        &self.addresses[usize::from(core.0)]
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        self.address(self.core).bell()
    }

    pub(super) fn post(&mut self, to: CoreId, letter: Letter) {
        self.backlog[usize::from(to.0)].push_back(letter);
        self.deliver(to);
    }

    /// Delivers as much of the backlog for `to` as fits.
    fn deliver(&mut self, to: CoreId) {
        let (address, backlog) = (&self.addresses[usize::from(to.0)], &mut self.backlog[usize::from(to.0)]);
        let mut any = false;
        while let Some(letter) = backlog.pop_front() {
            match address.sender.try_send(letter) {
                Ok(()) => any = true,
                Err(TrySendError::Full(letter)) => {
                    backlog.push_front(letter);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if any {
            address.bell.ring();
        }
    }

    /// Tries again what did not fit; true while something still does not.
    pub(super) fn deliver_backlog(&mut self) -> bool {
        for to in self.everybody() {
            if !self.backlog[usize::from(to.0)].is_empty() {
                self.deliver(to);
            }
        }
        self.backlog.iter().any(|b| !b.is_empty())
    }

    pub(super) fn next(&self) -> Option<Letter> {
        self.inbox.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_to_all_is_told_to_the_caller_too() {
        let nexus = |initiator: &str| ItNexus { initiator: initiator.into(), ..ItNexus::nobody() };
        let effects = Effects {
            attentions: vec![(nexus("b"), Asc::RESERVATIONS_RELEASED)],
            attention_others: Some(Asc::MODE_PARAMETERS_CHANGED),
            attention_all: Some(Asc::CAPACITY_CHANGED),
            ..Effects::default()
        };
        let change = Change {
            lu: LuId(0),
            state: Arc::default(),
            effects: Arc::new(effects),
            caller: nexus("a"),
            reset: false,
            owner: CoreId(0),
            gate: GateId(0),
        };
        assert_eq!(change.attentions_for(&nexus("a")), [Asc::CAPACITY_CHANGED]);
        let others = [Asc::MODE_PARAMETERS_CHANGED, Asc::CAPACITY_CHANGED];
        assert_eq!(change.attentions_for(&nexus("c")), others);
        assert_eq!(change.attentions_for(&nexus("b"))[0], Asc::RESERVATIONS_RELEASED);
    }
}

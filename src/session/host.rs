//! The whole vocabulary between a session and the one who drives it.
//!
//! A [`Session`](super::Session) is a state machine: bytes and events go in, and what comes out are
//! calls on a [`Host`]. The host lends memory by slot, sends what it is given in order, does disk
//! requests and says when they are done. It is the reactor in the daemon and a recorder in tests.

use super::quota::Charge;
use super::watch::Answered;
use crate::ids::{BufId, LuId, TaskId};
use crate::scsi::{Asc, ItNexus, Lu, PassOrder, PassReport, Provisioning, SharedOp, Stretch, Tokens};
use crate::target::Catalog;
use crate::wire::bhs::BHS_LEN;

/// Bytes that a Data-In carries: where they lie, not what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A range of a slot.
    Slot {
        /// The slot.
        buf: BufId,
        /// First byte in it.
        at: u32,
        /// Length in bytes.
        len: u32,
    },
    /// A range of a medium that is memory itself (see [`Host::in_memory`]), or nothing but zeroes.
    Medium {
        /// The logical unit.
        lu: LuId,
        /// First byte of the medium.
        offset: u64,
        /// Length in bytes.
        len: u32,
    },
}

impl Body {
    /// Length in bytes.
    pub fn len(&self) -> u32 {
        match *self {
            Self::Slot { len, .. } | Self::Medium { len, .. } => len,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes of it from `at` on.
    pub fn part(self, from: u32, count: u32) -> Self {
        match self {
            Self::Slot { buf, at, .. } => Self::Slot { buf, at: at + from, len: count },
            Self::Medium { lu, offset, .. } => {
                Self::Medium { lu, offset: offset + u64::from(from), len: count }
            }
        }
    }
}

/// What the host does when a PDU has left and its memory is no longer looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Keep,
    /// The slot goes back to the pool.
    Free(BufId),
    /// The session is told ([`Session::sent`](super::Session::sent)): it has more to read into that slot.
    Tell(TaskId, BufId),
    /// The session is told ([`Session::proceed`](super::Session::proceed)): it has more to send of a medium that is
    /// memory.
    Proceed(TaskId),
    /// The connection is closed.
    Close,
}

/// Whose need a slot is claimed for (back-pressure, in this order).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Something that can wait: it parks when there is none.
    Ordinary,
    /// Data that the initiator sends unasked, or an answer that must get through: may use the reserve.
    Urgent,
}

/// Something to be done on a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOp {
    /// Medium → slot.
    Read {
        /// The slot, from its first byte.
        buf: BufId,
        /// Bytes.
        len: u32,
        /// Byte offset on the medium.
        offset: u64,
    },
    /// As a read, but of a medium of nothing but zeroes ([`Host::is_blank`]), which are sent from elsewhere: the slot stays
    /// as it is.
    Blank {
        /// The slot that a read would fill.
        buf: BufId,
        /// Bytes.
        len: u32,
        /// Byte offset on the medium.
        offset: u64,
    },
    /// The device runs a command: begun by [`Host::pass`] only.
    Pass {
        /// The slot of its data, if it has any, from its first byte.
        buf: Option<BufId>,
        /// Bytes that it may move.
        len: u32,
        /// Whether it reads the medium, any part of it.
        reads: bool,
        /// Whether it changes it, or what others depend on.
        changes: bool,
        /// Whether a port in the standby state serves it, too.
        standby: bool,
    },
    /// Slot → medium.
    Write {
        /// The slot, from its first byte.
        buf: BufId,
        /// Bytes.
        len: u32,
        /// Byte offset on the medium.
        offset: u64,
        /// Durable before it is answered.
        fua: bool,
        /// All of it or nothing, whatever happens meanwhile.
        atomic: bool,
    },
    /// Everything answered so far becomes durable.
    Flush,
    /// Says into the slot how the range lies: [`stretches`] reads it from there.
    Map {
        /// The slot: has room for `most` stretches of [`STRETCH_BYTES`].
        buf: BufId,
        /// So many stretches are enough.
        most: u32,
        /// Byte offset on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The range may be deallocated; what it reads as afterwards is the store's LBPRZ promise.
    Discard {
        /// Byte offset on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The range reads as zeroes afterwards.
    Zero {
        /// Byte offset on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Whether it may be deallocated for that.
        unmap: bool,
    },
    /// The range becomes what a range of another logical unit holds, in the store: no byte passes through here. Where
    /// [`Host::clones`] promises nothing, or when it fails, the bytes have to be read and written.
    Clone {
        /// The other logical unit.
        from: LuId,
        /// Byte offset there.
        from_offset: u64,
        /// Byte offset on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Ends when the task has the range to itself: nothing else is in flight there on any reactor, and nothing begins
    /// until it is given back. The task's own requests pass. A task has one range at a time, and takes its slots
    /// before it asks for it. A task that is abandoned gives it back by that.
    Enclose {
        /// Byte offset on the medium.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Gives the range back; nothing of the task may be in flight there.
    Disclose,
}

impl DiskOp {
    /// The range that it changes, as (offset, length); `None` when it changes nothing.
    pub fn changes(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Write { len, offset, .. } => Some((offset, u64::from(len))),
            Self::Discard { offset, len }
            | Self::Zero { offset, len, .. }
            | Self::Clone { offset, len, .. } => Some((offset, len)),
            Self::Pass { changes: true, .. } => Some(EVERYWHERE),
            Self::Read { .. }
            | Self::Blank { .. }
            | Self::Flush
            | Self::Map { .. }
            | Self::Pass { .. }
            | Self::Enclose { .. }
            | Self::Disclose => None,
        }
    }

    /// The range that it touches, as (offset, length).
    pub fn touches(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Read { len, offset, .. } | Self::Blank { len, offset, .. } => {
                Some((offset, u64::from(len)))
            }
            Self::Pass { reads: true, .. } => Some(EVERYWHERE),
            _ => self.changes(),
        }
    }

    /// The range of another logical unit that it reads, as (offset, length).
    #[inline]
    pub fn source(&self) -> Option<(LuId, (u64, u64))> {
        match *self {
            Self::Clone { from, from_offset, len, .. } => Some((from, (from_offset, len))),
            _ => None,
        }
    }

    /// The slot that is in use as long as this runs.
    pub fn buf(&self) -> Option<BufId> {
        match *self {
            Self::Read { buf, .. }
            | Self::Blank { buf, .. }
            | Self::Write { buf, .. }
            | Self::Map { buf, .. } => Some(buf),
            Self::Pass { buf, .. } => buf,
            _ => None,
        }
    }
}

/// The whole medium of a device, which only the device knows.
const EVERYWHERE: (u64, u64) = (0, u64::MAX);

/// A command for the device of a logical unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassRequest {
    /// The command.
    pub order: PassOrder,
    /// The slot of its data, if it has any, from its first byte.
    pub buf: Option<BufId>,
    /// Bytes that it may move.
    pub len: u32,
    /// Whether it moves them to the initiator.
    pub inward: bool,
}

/// Task management that reaches beyond this session, or must wait for what the kernel still has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manage {
    /// Only the tasks that were just abandoned must be fenced.
    Fence,
    /// I_T NEXUS RESET: as [`Manage::Fence`], and these logical units drop what they keep for this nexus alone.
    NexusReset(Vec<LuId>),
    /// LOGICAL UNIT RESET.
    LuReset(LuId),
    /// TARGET WARM RESET or COLD RESET: all logical units of this session's target.
    TargetReset {
        /// The logical units.
        units: Vec<LuId>,
        /// Whether every other session of the target is closed too (cold).
        cold: bool,
    },
}

/// What drives a session and does what it says. Calls never block and never call back.
pub trait Host {
    /// Monotonic time in nanoseconds.
    fn now(&self) -> u64;

    /// A slot of at least `len` bytes (at most [`SEGMENT`](super::SEGMENT)), or none now.
    fn alloc(&mut self, len: u32, claim: Claim) -> Option<BufId>;
    /// Gives a slot back.
    fn free(&mut self, buf: BufId);
    /// The bytes of a slot.
    fn bytes(&self, buf: BufId) -> &[u8];
    /// The bytes of a slot, to be written.
    fn bytes_mut(&mut self, buf: BufId) -> &mut [u8];
    /// Copies payload that arrived in staging to its place; counted as copied.
    fn copy_in(&mut self, buf: BufId, at: u32, from: &[u8]);
    /// Writes whole blocks to a medium that is memory at once; counted as copied. Whether it did: if not, nothing has changed,
    /// and [`Host::disk`] knows what to wait for or what is wrong.
    fn commit(&mut self, _lu: LuId, _offset: u64, _blocks: &[u8]) -> bool {
        false
    }
    /// Bytes of headers that wait to be sent.
    fn backlog(&self) -> usize;
    /// Whether memory for answers that wait and for requests out of order is short: all sessions share it.
    fn is_crowded(&self) -> bool;
    /// Whether commands should be held back: slots are short.
    fn is_low(&self) -> bool;
    /// Whether a logical unit is to get no more slots for now: some are short, and it keeps some that nobody waits for any
    /// more, as a disk does that hangs or is slower than its initiators are patient.
    fn is_clogged(&self, lu: LuId) -> bool;
    /// A large byte buffer for answers that are made, not read (≥ 64 KiB, and of a host with more than 8,190 LUNs as much as REPORT LUNS of them needs); given back with [`Host::give_scratch`].
    fn take_scratch(&mut self) -> Vec<u8>;
    /// Gives it back.
    fn give_scratch(&mut self, scratch: Vec<u8>);

    /// What is exported, as of now.
    fn catalog(&self) -> &Catalog;
    /// This reactor's replica of a logical unit.
    fn lu(&self, lu: LuId) -> Option<&Lu>;
    /// Whether [`DiskOp::Clone`] may be worth trying between these.
    fn clones(&self, from: LuId, to: LuId) -> bool;
    /// Whether a nexus has a session now, on any reactor.
    fn is_logged_in(&self, nexus: &ItNexus) -> bool;
    /// The ROD tokens, which all sessions share. Not for the way of every I/O.
    fn tokens<R>(&mut self, call: impl FnOnce(&mut Tokens) -> R) -> R;
    /// Fills in bytes that nobody can guess.
    fn random(&mut self, bytes: &mut [u8]);
    /// Whether the medium is memory that Data-In may leave from directly.
    fn in_memory(&self, lu: LuId) -> bool;
    /// Whether the medium has nothing but zeroes, whatever is written.
    fn is_blank(&self, lu: LuId) -> bool;

    /// Appends bytes to the stream that goes to the initiator.
    fn put(&mut self, bytes: &[u8]);
    /// Appends bytes by their place.
    fn put_body(&mut self, body: Body);
    /// Ends a PDU.
    fn end(&mut self, after: After);
    /// The header of a PDU that has come, or goes now, for those who keep the last ones.
    fn seen(&mut self, _outward: bool, _bhs: &[u8; BHS_LEN]) {}
    /// That command was answered by the PDUs that were ended last. Who wants to know how long commands take hears of each.
    fn answered(&mut self, _command: &Answered<'_>) {}
    /// How long the request that has just ended was kept from the medium, nanoseconds. Asked for while
    /// [`Session::disk_done`](super::Session::disk_done) says so.
    fn held_up(&self) -> u64 {
        0
    }

    /// Starts a disk request for part `part` of a task; [`Session::disk_done`](super::Session::disk_done) follows,
    /// unless the task is abandoned first.
    fn disk(&mut self, task: TaskId, part: u8, lu: LuId, op: DiskOp);
    /// Has the device of a logical unit run a command; [`Session::disk_done`](super::Session::disk_done) follows as for
    /// [`Host::disk`], and when that is well there is a report.
    fn pass(&mut self, task: TaskId, lu: LuId, request: PassRequest);
    /// What the device has answered to a task; once.
    fn take_passed(&mut self, task: TaskId) -> Option<PassReport>;
    /// All nexuses of a logical unit but this one are to be told that.
    fn tell_others(&mut self, lu: LuId, asc: Asc, nexus: &ItNexus);
    /// Everything answered so far is made durable, and nobody waits for that; a failure is only logged.
    fn flush_unwatched(&mut self, lu: LuId);
    /// Forgets tasks: what is not yet with the kernel never will be; what is stays fenced until it ends, and its
    /// slots are freed then. Returns the slots that are held so: the session must not free them.
    fn abandon(&mut self, tasks: &[TaskId]) -> Held;
    /// Asks the owner of the logical unit for a change; [`Session::shared_done`](super::Session::shared_done) follows.
    fn shared(&mut self, task: TaskId, lu: LuId, op: SharedOp, nexus: &ItNexus);
    /// Task management; [`Session::managed`](super::Session::managed) follows with the same token, when no ghost can
    /// overwrite newer data any more.
    fn manage(&mut self, token: u32, what: Manage, nexus: &ItNexus);
    /// Charges the limits of a logical unit, and those of the initiator by the number that it has. `overdraw`: it had better
    /// not wait, as what it holds is short.
    ///
    /// # Errors
    /// When it must wait: until when, nanoseconds.
    fn charge(
        &mut self,
        _lu: LuId,
        _initiator: Option<u32>,
        _charge: Charge,
        _overdraw: bool,
    ) -> Result<(), u64> {
        Ok(())
    }
    /// This session has begun a copy, which may have to do with logical units that it does not see.
    fn copies(&mut self) {}
    /// This session has tasks that wait for their limits; [`Session::spend`](super::Session::spend) follows when there may be
    /// something left for them.
    fn waits_for_quota(&mut self) {}
    /// This session has tasks that wait for slots; [`Session::resume`](super::Session::resume) follows when there are some.
    fn wants_slots(&mut self);
}

/// Bytes that one stretch takes in the slot of [`DiskOp::Map`].
pub const STRETCH_BYTES: u32 = 16;

/// How [`DiskOp::Map`] has stretches lie in its slot: length and status, both as 64 bits; a length of zero
/// ends them.
pub fn stretch_bytes(stretch: Stretch) -> [u8; STRETCH_BYTES as usize] {
    let mut bytes = [0; STRETCH_BYTES as usize];
    bytes[..8].copy_from_slice(&stretch.len.to_ne_bytes());
    bytes[8..].copy_from_slice(&(stretch.status as u64).to_ne_bytes());
    bytes
}

/// The stretches in a slot.
pub fn stretches(slot: &[u8]) -> impl Iterator<Item = Stretch> + '_ {
    let read = |[len, code]: [[u8; 8]; 2]| Stretch {
        len: u64::from_ne_bytes(len),
        status: match u64::from_ne_bytes(code) {
            1 => Provisioning::Deallocated,
            2 => Provisioning::Anchored,
            _ => Provisioning::Mapped,
        },
    };
    let (pairs, _) = slot.as_chunks::<8>().0.as_chunks::<2>();
    pairs.iter().map(move |pair| read(*pair)).take_while(|stretch| stretch.len > 0)
}

/// Slots that the kernel still uses, sorted.
pub type Held = Vec<BufId>;

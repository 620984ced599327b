//! A host in memory: it does what a session says in its own time, and checks that it may be said.

use std::collections::VecDeque;
use std::sync::Arc;

use super::medium::{BLANK, Content, FILLING, Unit};
use super::slots::Slots;
use crate::ids::{BufId, LuId, TaskId};
use crate::scsi::{Asc, ItNexus, Lu, PassReport, Provisioning, SharedOp, Stretch, Tokens};
use crate::session::Charge;
use crate::session::host::{
    After, Body, Claim, DiskOp, Held, Host, Manage, PassRequest, STRETCH_BYTES, stretch_bytes,
};
use crate::target::Catalog;

/// Headers that may wait at most, whatever an initiator does: the limit at which requests are left unread, and what
/// the commands that are open then may still add.
const MOST_BACKLOG: usize = 4 << 20;

/// Where a disk request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet with the kernel.
    Waiting,
    /// The kernel has it.
    InFlight,
    /// The kernel has it, and nobody wants it any more.
    Ghost,
    /// It has ended, and its session does not know yet.
    Ended,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: TaskId,
    pub(super) part: u8,
    pub(super) lu: LuId,
    pub(super) op: DiskOp,
    pub(super) state: State,
}

/// A piece of a PDU.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Body(Body),
}

/// A PDU that waits to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) pieces: Vec<Piece>,
    pub(super) after: After,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) now: u64,
    pub(super) slots: Slots,
    pub(super) units: Vec<Unit>,
    pub(super) jobs: Vec<Job>,
    pub(super) outgoing: VecDeque<Outgoing>,
    pieces: Vec<Piece>,
    backlog: usize,
    pub(super) asked: Vec<(TaskId, LuId, SharedOp)>,
    pub(super) managing: Vec<(u32, Manage)>,
    pub(super) hungry: bool,
    /// Nothing is left of any limit, and somebody waits for that.
    pub(super) broke: bool,
    /// Those who had better not wait get something all the same.
    pub(super) lends: bool,
    pub(super) unpaid: bool,
    /// Something is in the way of what could be written at once.
    pub(super) hindered: bool,
    /// What has reached the media: unit, first byte, length.
    pub(super) written: Vec<(LuId, u64, u64)>,
    scratch: Vec<u8>,
    tokens: Tokens,
    catalog: Arc<Catalog>,
}

impl Stage {
    pub(super) fn new(slots: Slots, units: Vec<Unit>, catalog: Arc<Catalog>) -> Self {
        Self {
            now: 1,
            slots,
            units,
            jobs: Vec::new(),
            outgoing: VecDeque::new(),
            pieces: Vec::new(),
            backlog: 0,
            asked: Vec::new(),
            managing: Vec::new(),
            hungry: false,
            broke: false,
            lends: true,
            unpaid: false,
            hindered: false,
            written: Vec::new(),
            scratch: vec![0; 64 << 10],
            tokens: Tokens::default(),
            catalog,
        }
    }

    fn unit(&self, lu: LuId) -> &Unit {
        self.units.get(lu.0 as usize).expect("a logical unit that there is")
    }

    /// How many things wait to be done.
    pub(super) fn left_to_do(&self) -> usize {
        self.outgoing.len() + self.jobs.len() + self.asked.len() + self.managing.len()
    }

    /// The oldest PDU leaves: its bytes, and what is to be done now.
    pub(super) fn send(&mut self) -> Option<(Vec<u8>, After)> {
        let Outgoing { pieces, after } = self.outgoing.pop_front()?;
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(more) => {
                    self.backlog -= more.len();
                    bytes.extend(more);
                }
                Piece::Body(Body::Slot { buf, at, len }) => {
                    bytes.extend_from_slice(&self.slots.read(buf)[at as usize..(at + len) as usize]);
                    self.slots.end_sending(buf);
                }
                Piece::Body(Body::Medium { lu, offset, len }) => {
                    bytes.extend(Content::Old.bytes(lu, offset, len as usize));
                }
            }
        }
        Some((bytes, after))
    }

    /// The kernel takes up a request.
    pub(super) fn submit(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        if job.state == State::Waiting {
            job.state = State::InFlight;
        }
    }

    /// The kernel has done with a request, well or badly. Whether somebody is to be told.
    pub(super) fn end(&mut self, index: usize, well: bool) -> bool {
        let job = &mut self.jobs[index];
        let (lu, op, ghost) = (job.lu, job.op, job.state == State::Ghost);
        assert!(job.state != State::Ended);
        job.state = State::Ended;
        match op {
            DiskOp::Read { buf, len, offset } => {
                if well {
                    Content::Old.fill(lu, offset, &mut self.slots.fill(buf)[..len as usize]);
                }
                self.slots.end_filling(buf);
            }
            DiskOp::Map { buf, len, .. } => {
                if well {
                    let all = stretch_bytes(Stretch { len, status: Provisioning::Mapped });
                    self.slots.fill(buf)[..all.len()].copy_from_slice(&all);
                    self.slots.fill(buf)[all.len()..].fill(0);
                }
                self.slots.end_filling(buf);
            }
            DiskOp::Blank { buf, .. } => self.slots.end_filling(buf),
            DiskOp::Write { buf, len, offset, .. } => {
                self.slots.end_reading(buf);
                if well {
                    self.written.push((lu, offset, len.into()));
                }
            }
            _ => {}
        }
        if ghost {
            if let Some(buf) = op.buf() {
                self.slots.free(buf);
            }
            self.jobs.remove(index);
        }
        !ghost
    }

    fn check(&self, lu: LuId, op: &DiskOp) {
        if let Some(range) = op.touches() {
            self.check_range(lu, range);
        }
        if let DiskOp::Write { buf, len, offset, .. } = *op {
            Self::check_written(lu, offset, &self.slots.read(buf)[..len as usize]);
        }
    }

    fn check_range(&self, lu: LuId, (offset, len): (u64, u64)) {
        let facts = &self.unit(lu).lu.facts;
        let size = u64::from(facts.block_size);
        let end = offset.checked_add(len).expect("no overflow");
        assert!(len > 0 && end <= facts.bytes(), "{len} bytes at {offset} are outside of {lu:?}");
        let whole = offset.is_multiple_of(size) && len.is_multiple_of(size);
        assert!(whole, "{len} bytes at {offset} cut a block of {lu:?}");
    }

    fn check_written(lu: LuId, offset: u64, bytes: &[u8]) {
        let sound = Content::New.is(lu, offset, bytes) || bytes.iter().all(|b| *b == FILLING);
        assert!(sound, "what nobody sent for {offset} of {lu:?} is written there");
    }
}

impl Host for Stage {
    fn now(&self) -> u64 {
        self.now
    }

    fn alloc(&mut self, len: u32, claim: Claim) -> Option<BufId> {
        self.slots.alloc(len, claim)
    }

    fn free(&mut self, buf: BufId) {
        self.slots.free(buf);
    }

    fn bytes(&self, buf: BufId) -> &[u8] {
        self.slots.read(buf)
    }

    fn bytes_mut(&mut self, buf: BufId) -> &mut [u8] {
        self.slots.write(buf)
    }

    fn copy_in(&mut self, buf: BufId, at: u32, from: &[u8]) {
        self.slots.write(buf)[at as usize..][..from.len()].copy_from_slice(from);
    }

    fn commit(&mut self, lu: LuId, offset: u64, blocks: &[u8]) -> bool {
        let done = self.unit(lu).resident && !self.hindered;
        if done {
            let len = blocks.len() as u64;
            self.check_range(lu, (offset, len));
            Self::check_written(lu, offset, blocks);
            self.written.push((lu, offset, len));
        }
        done
    }

    fn backlog(&self) -> usize {
        self.backlog
    }

    fn is_crowded(&self) -> bool {
        self.slots.is_low()
    }

    fn is_low(&self) -> bool {
        self.slots.is_low()
    }

    fn is_clogged(&self, _lu: LuId) -> bool {
        false
    }

    fn take_scratch(&mut self) -> Vec<u8> {
        let scratch = std::mem::take(&mut self.scratch);
        assert!(!scratch.is_empty(), "the scratch is taken twice");
        scratch
    }

    fn give_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn lu(&self, lu: LuId) -> Option<&Lu> {
        self.units.get(lu.0 as usize).map(|u| &u.lu)
    }

    fn clones(&self, _: LuId, _: LuId) -> bool {
        false
    }

    fn is_logged_in(&self, _: &ItNexus) -> bool {
        true
    }

    fn tokens<R>(&mut self, call: impl FnOnce(&mut Tokens) -> R) -> R {
        call(&mut self.tokens)
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn is_blank(&self, lu: LuId) -> bool {
        lu == BLANK
    }

    fn in_memory(&self, lu: LuId) -> bool {
        self.unit(lu).resident
    }

    fn put(&mut self, bytes: &[u8]) {
        self.backlog += bytes.len();
        assert!(self.backlog < MOST_BACKLOG, "answers pile up");
        self.pieces.push(Piece::Bytes(bytes.to_vec()));
    }

    fn put_body(&mut self, body: Body) {
        match body {
            Body::Slot { buf, at, len } => {
                let end = u64::from(at) + u64::from(len);
                assert!(
                    len > 0 && end <= self.slots.read(buf).len() as u64,
                    "{body:?} is outside of its slot"
                );
                self.slots.begin_sending(buf);
            }
            Body::Medium { lu, offset, len } => {
                let end = offset.checked_add(len.into()).expect("no overflow");
                let has = self.unit(lu).resident || lu == BLANK;
                assert!(has && end <= self.unit(lu).lu.facts.bytes(), "{body:?}");
            }
        }
        self.pieces.push(Piece::Body(body));
    }

    fn end(&mut self, after: After) {
        let pieces = std::mem::take(&mut self.pieces);
        assert!(!pieces.is_empty(), "a PDU of nothing");
        self.outgoing.push_back(Outgoing { pieces, after });
    }

    fn disk(&mut self, task: TaskId, part: u8, lu: LuId, op: DiskOp) {
        self.check(lu, &op);
        match op {
            DiskOp::Read { buf, len, .. } | DiskOp::Blank { buf, len, .. } => {
                assert!(len as usize <= self.slots.read(buf).len());
                self.slots.begin_filling(buf);
            }
            DiskOp::Map { buf, most, .. } => {
                assert!((most * STRETCH_BYTES) as usize <= self.slots.read(buf).len());
                self.slots.begin_filling(buf);
            }
            DiskOp::Write { buf, .. } => self.slots.begin_reading(buf),
            _ => {}
        }
        self.jobs.push(Job { task, part, lu, op, state: State::Waiting });
    }

    fn pass(&mut self, _: TaskId, lu: LuId, request: PassRequest) {
        panic!("{lu:?} is no device: {request:?}");
    }

    fn take_passed(&mut self, _: TaskId) -> Option<PassReport> {
        None
    }

    fn tell_others(&mut self, _: LuId, _: Asc, _: &ItNexus) {}

    fn flush_unwatched(&mut self, _: LuId) {}

    fn abandon(&mut self, tasks: &[TaskId]) -> Held {
        let mut held = Held::new();
        let mut jobs = std::mem::take(&mut self.jobs);
        jobs.retain_mut(|job| {
            if !tasks.contains(&job.task) {
                return true;
            }
            match (job.state, job.op) {
                (State::InFlight, op) => {
                    job.state = State::Ghost;
                    held.extend(op.buf());
                    return true;
                }
                (State::Ghost, _) => return true,
                (
                    State::Waiting,
                    DiskOp::Read { buf, .. } | DiskOp::Blank { buf, .. } | DiskOp::Map { buf, .. },
                ) => {
                    self.slots.end_filling(buf);
                }
                (State::Waiting, DiskOp::Write { buf, .. }) => self.slots.end_reading(buf),
                _ => {}
            }
            false
        });
        self.jobs = jobs;
        held.sort();
        held
    }

    fn shared(&mut self, task: TaskId, lu: LuId, op: SharedOp, _: &ItNexus) {
        self.asked.push((task, lu, op));
    }

    fn manage(&mut self, token: u32, what: Manage, _: &ItNexus) {
        self.managing.push((token, what));
    }

    fn charge(&mut self, _: LuId, _: Option<u32>, _: Charge, overdraw: bool) -> Result<(), u64> {
        if !self.broke || (overdraw && self.lends) { Ok(()) } else { Err(0) }
    }

    fn waits_for_quota(&mut self) {
        assert!(!std::mem::replace(&mut self.unpaid, true), "once is enough");
    }

    fn wants_slots(&mut self) {
        self.hungry = true;
    }
}

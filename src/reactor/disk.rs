//! Disk requests: from "read these bytes for that task" to the result, through fences, short transfers and pieces.
//!
//! A request that the kernel has cannot be called back. When its task is forgotten it becomes a ghost: it keeps its
//! slot, submits nothing more, and the range it may still change stays fenced on every reactor until it has ended.

use crate::ids::{BufId, ConnId, LuId, TaskId};
use crate::ring::{Driver, Op};
use crate::scsi::{Asc, Failure, Provisioning, Sense, Stretch, status};
use crate::session::host::{DiskOp, Held, stretch_bytes};
use crate::store::{BlockingJob, Direction, Fault, Mapping, Progress, Span, Step, judge_plain};

use super::mail::{Fence, FenceId, Letter};
use super::tag::Tag;
use super::unit::{Barrier, Parked};
use super::world::World;

/// For whom a request is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// A task of a session, and which part of it.
    Task { conn: ConnId, task: TaskId, part: u8 },
    /// The owner of the logical unit, before a change is answered: its number.
    Owner { serial: u32 },
    /// The operation on the whole medium, and which of its requests.
    Erasure { lane: u8 },
    /// Nobody: a flush whose command is answered.
    Nobody,
}

impl Client {
    pub(super) fn conn(self) -> Option<ConnId> {
        match self {
            Self::Task { conn, .. } => Some(conn),
            Self::Owner { .. } | Self::Erasure { .. } | Self::Nobody => None,
        }
    }

    /// Whether it is the same task, or the same change.
    pub(super) fn is_same_task(self, other: Self) -> bool {
        let whole = |client| match client {
            Self::Task { conn, task, .. } => Self::Task { conn, task, part: 0 },
            other @ (Self::Owner { .. } | Self::Erasure { .. } | Self::Nobody) => other,
        };
        whole(self) == whole(other)
    }
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has not begun: it waits for a fence.
    Parked,
    /// Waits for room in the ring, or for its next turn.
    Waiting,
    /// The kernel or the blocking pool has it.
    InFlight,
    /// As before, and nobody wants it any more.
    Ghost,
}

/// A disk request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) client: Client,
    pub(super) lu: LuId,
    pub(super) op: DiskOp,
    /// Bytes that earlier, short transfers have moved.
    moved: u32,
    span: Option<Span>,
    /// For [`DiskOp::Map`]: what the store says.
    mapping: Option<Mapping>,
    state: State,
    /// Since when it is here, and how long it was kept from the medium once it is not any more.
    since: u64,
    held_up: Option<u64>,
    pub(super) serial: u32,
    /// Its own range is fenced until it ends.
    fence: Option<FenceId>,
    /// The fence of its own client, which it may pass.
    pass: Option<FenceId>,
    /// What it has written is to be flushed before it ends.
    through: bool,
}

impl Job {
    /// Whether it has begun to change the medium.
    fn has_begun(&self) -> bool {
        let at_start = |span: &Span| self.op.touches().is_some_and(|(offset, _)| span.at() == offset);
        self.moved > 0 || self.span.as_ref().is_some_and(|span| !at_start(span))
    }

    fn ties(&self) -> Ties {
        let Self { lu, serial, fence, pass, .. } = *self;
        Ties { lu, serial, fence, pass }
    }
}

/// What a request keeps others from.
#[derive(Clone, Copy)]
struct Ties {
    lu: LuId,
    serial: u32,
    fence: Option<FenceId>,
    pass: Option<FenceId>,
}

/// A request by index and serial: a stale one is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JobId {
    pub(super) index: u32,
    pub(super) serial: u32,
}

impl<D: Driver> World<D> {
    /// Takes a disk request. Inlined, so that it is written into its place in the table, not moved there: what has just
    /// been written in words cannot be moved in larger pieces before all that was written earlier, payload too, has left
    /// the processor's core.
    #[inline(always)]
    pub(super) fn submit(&mut self, client: Client, lu: LuId, op: DiskOp) {
        match op {
            DiskOp::Enclose { offset, len } => return self.enclose(client, lu, offset, len),
            DiskOp::Disclose => return self.disclose(client, lu),
            _ if self.copied_at_once(client, lu, op) => return,
            _ => {}
        }
        self.job_serial = self.job_serial.wrapping_add(1);
        let serial = self.job_serial;
        let job = Job {
            client,
            lu,
            op,
            moved: 0,
            span: None,
            mapping: None,
            state: State::Waiting,
            since: self.driver.now(),
            held_up: None,
            serial,
            fence: None,
            pass: None,
            through: false,
        };
        let index = self.jobs.insert(job) as u32;
        self.admit(JobId { index, serial });
    }

    /// Reads or writes a medium that is memory, if nothing holds that up: it has ended before there is a request to keep.
    #[inline(always)]
    fn copied_at_once(&mut self, client: Client, lu: LuId, op: DiskOp) -> bool {
        let Some(unit) = self.units.get(lu.0 as usize).filter(|unit| unit.store.is_memory()) else {
            return false;
        };
        let free = self.enclosures.is_empty() && unit.is_free();
        let (memory, pool) = (&mut self.memory, &self.pool);
        let (step, len) = match op {
            DiskOp::Read { buf, len, offset } if free => {
                (unit.store.read(memory, pool.place(buf).part(0, len), offset), len)
            }
            DiskOp::Write { buf, len, offset, fua, atomic } if free => {
                (unit.store.write(memory, pool.place(buf).part(0, len), offset, fua, atomic), len)
            }
            _ => return false,
        };
        // Of what fails a request is made, which fails again and knows more.
        let done = matches!(step, Step::Now(Ok(())));
        if done {
            self.counters.disk_ops += 1;
            self.count_copied(len.into());
            self.finished.push_back((client, lu, Ok(())));
        }
        done
    }

    /// As a write of a slot that is [`copied_at_once`](Self::copied_at_once), of bytes that lie elsewhere.
    #[inline]
    pub(super) fn commit(&mut self, lu: LuId, offset: u64, blocks: &[u8]) -> bool {
        let Some(unit) = self.units.get(lu.0 as usize) else { return false };
        let free = self.enclosures.is_empty() && unit.is_free();
        let done = free && unit.store.commit(&mut self.memory, blocks, offset);
        if done {
            self.counters.disk_ops += 1;
            self.counters.written += blocks.len() as u64;
            self.count_copied(blocks.len() as u64);
        }
        done
    }

    fn count_copied(&mut self, bytes: u64) {
        self.counters.copied_in += bytes;
        self.counters.copied_ram += bytes;
    }

    /// What a new request is to do, and whether a fence holds it up.
    fn admit(&mut self, id: JobId) {
        self.counters.disk_ops += 1;
        let pass = if self.enclosures.is_empty() { None } else { self.pass_of(id) };
        let Some(job) = self.jobs.get_mut(id.index as usize) else { return };
        job.pass = pass;
        let Some(unit) = self.units.get(job.lu.0 as usize) else {
            return self.end(id.index as usize);
        };
        match job.op {
            DiskOp::Discard { offset, len } => job.span = Some(unit.store.discard(offset, len)),
            DiskOp::Zero { offset, len, unmap } => job.span = Some(unit.store.zero(offset, len, unmap)),
            DiskOp::Map { .. } => job.mapping = Some(Mapping::default()),
            _ => {}
        }
        let source = job.op.source();
        // A write can be durable by itself; what the store does with a range is flushed at its end.
        let by_store = job.span.is_some() || source.is_some();
        job.through = by_store && unit.lu.state.mode.current.write_through
            || source.is_some() && unit.store.is_write_through();
        let own = unit.barrier(job.op.touches(), pass).map(|barrier| (job.lu, barrier));
        match own.or_else(|| self.barrier_at_source(source)) {
            Some((lu, at)) => self.hold_up(id, lu, at),
            None => self.perform(id),
        }
    }

    /// The fence that the client of a request has put up, which it may pass.
    #[cold]
    fn pass_of(&mut self, id: JobId) -> Option<FenceId> {
        let client = self.job(id)?.client;
        self.enter_enclosure(client)
    }

    /// A fence where a request reads from another logical unit, and that one.
    #[inline]
    fn barrier_at_source(&self, source: Option<(LuId, (u64, u64))>) -> Option<(LuId, Barrier)> {
        let (from, range) = source?;
        let barrier = self.units.get(from.0 as usize)?.barrier(Some(range), None)?;
        Some((from, barrier))
    }

    fn hold_up(&mut self, id: JobId, lu: LuId, at: Barrier) {
        self.counters.fenced += 1;
        if let Some(job) = self.job(id) {
            job.state = State::Parked;
        }
        self.park(lu, Parked { job: id, at });
    }

    fn park(&mut self, lu: LuId, parked: Parked) {
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.parked.push(parked);
        }
    }

    fn job(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(id.index as usize).filter(|j| j.serial == id.serial)
    }

    /// Does the next step of a request that nothing holds up.
    pub(super) fn perform(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(id.index as usize).filter(|j| j.serial == id.serial) else {
            return;
        };
        let Some(unit) = self.units.get(job.lu.0 as usize) else { return };
        // Whether it may change the medium is asked when it is about to (SPC-5 section 5.14.1).
        let bar = unit.bar(job.client.conn(), &job.op);
        if let Some(failure) = bar {
            let begun = Failure::Check(Sense::aborted(Asc::NONE));
            let failure = if job.has_begun() { begun } else { failure };
            return self.finish(id, Err(failure));
        }
        job.state = State::Waiting;
        let through = unit.lu.state.mode.current.write_through;
        let moves = match job.op {
            DiskOp::Read { len, .. } | DiskOp::Write { len, .. } => u64::from(len - job.moved),
            _ => 0,
        };
        let step = match (job.op, &job.span) {
            (DiskOp::Map { offset, len, most, .. }, _) => match &job.mapping {
                Some(mapping) => unit.store.map(offset, len, most, mapping),
                None => return,
            },
            (DiskOp::Read { buf, len, offset }, _) => {
                let place = self.pool.place(buf).part(job.moved, len - job.moved);
                unit.store.read(&mut self.memory, place, offset + u64::from(job.moved))
            }
            (DiskOp::Blank { offset, len, .. }, _) => unit.store.read_blank(offset, len),
            (DiskOp::Write { buf, len, offset, fua, atomic }, _) => {
                let place = self.pool.place(buf).part(job.moved, len - job.moved);
                let (offset, fua) = (offset + u64::from(job.moved), fua || through);
                unit.store.write(&mut self.memory, place, offset, fua, atomic)
            }
            (DiskOp::Pass { .. }, _) => match self.pass_step(&self.jobs[id.index as usize]) {
                Some(step) => step,
                None => return,
            },
            (DiskOp::Clone { from, from_offset, offset, len }, _) => match self.units.get(from.0 as usize) {
                Some(source) => unit.store.clone_range(offset, len, &source.store, from_offset),
                None => return,
            },
            (_, Some(span)) => match span.step(&unit.store, &mut self.memory) {
                Some(step) => step,
                None => return self.moved_all(id),
            },
            (_, None) => unit.store.flush(),
        };
        // Only memory is read and written at once, and that is copying.
        if matches!(step, Step::Now(Ok(()))) {
            self.count_copied(moves);
        }
        self.take_step(id, step);
    }

    fn take_step(&mut self, id: JobId, step: Step) {
        let Some(job) = self.job(id) else { return };
        match step {
            Step::Op(kind) => {
                let op = Op { tag: Tag::Disk(id.index).pack(), kind };
                if self.disks >= self.most_disks || !self.roomless.is_empty() {
                    return self.roomless.push_back(id);
                }
                match self.driver.push(op) {
                    Ok(_) => {
                        self.disks += 1;
                        self.set_in_flight(id);
                    }
                    // The kernel takes nothing for the moment.
                    Err(_) => self.later.push_back((id, None)),
                }
            }
            Step::Now(Ok(())) if job.span.is_none() => self.moved_all(id),
            // A piece of a long range: others get their turn in between.
            Step::Now(Ok(())) | Step::Later => self.later.push_back((id, Some(0))),
            Step::Now(Err(fault)) => self.fail(id, fault),
            Step::Blocking(call) => {
                let address = self.mail.address(self.mail.core).clone();
                let reply = move |result| address.post_blocking(Letter::Blocked { id, result });
                let threads = call.threads().cloned();
                let threads = threads.as_ref().unwrap_or(&self.blocking);
                match threads.submit(BlockingJob::new(move || call.run(), reply)) {
                    Ok(()) => self.set_in_flight(id),
                    Err(_) => self.fail(id, Fault::Busy),
                }
            }
        }
    }

    fn set_in_flight(&mut self, id: JobId) {
        let now = self.driver.now();
        if let Some(job) = self.job(id) {
            job.state = State::InFlight;
            job.held_up.get_or_insert(now - job.since);
        }
    }

    /// The requests of earlier turns that were to go on in this one.
    pub(super) fn go_on_later(&mut self) {
        // What is put off meanwhile has its turn in the next one.
        for _ in 0..self.later.len() {
            match self.later.pop_front() {
                Some((id, Some(result))) => self.stepped(id, result),
                Some((id, None)) => self.perform(id),
                None => break,
            }
        }
        if !self.roomless.is_empty() {
            self.use_room();
        }
    }

    /// Disk operations have ended: others take their entries.
    fn use_room(&mut self) {
        let mut waiting = std::mem::take(&mut self.roomless);
        while self.disks < self.most_disks
            && let Some(id) = waiting.pop_front()
        {
            self.perform(id);
        }
        waiting.append(&mut self.roomless);
        self.roomless = waiting;
    }

    /// The completion of an operation of the ring.
    pub(super) fn disk_completed(&mut self, index: u32, result: i32) {
        self.disks -= 1;
        let Some(serial) = self.jobs.get(index as usize).map(|j| j.serial) else { return };
        self.stepped(JobId { index, serial }, result);
    }

    /// A step has its result: bytes, zero, or a negative errno.
    pub(super) fn stepped(&mut self, id: JobId, result: i32) {
        let Some(job) = self.jobs.get_mut(id.index as usize).filter(|j| j.serial == id.serial) else {
            return;
        };
        let Some(unit) = self.units.get(job.lu.0 as usize) else { return };
        let ghost = job.state == State::Ghost;
        job.state = if ghost { State::Ghost } else { State::Waiting };
        let progress = match (job.op, &mut job.span) {
            (DiskOp::Read { len, .. }, _) => unit.store.judge(Direction::Read, result, len - job.moved),
            (DiskOp::Write { len, .. }, _) => unit.store.judge(Direction::Write, result, len - job.moved),
            (_, Some(span)) => match span.done(result) {
                Ok(()) => Progress::Retry,
                Err(fault) => Progress::Fault(fault),
            },
            (_, None) => judge_plain(result),
        };
        match progress {
            Progress::Done => self.moved_all(id),
            Progress::Fault(Fault::Read) if result > 0 => self.torn(id, result.unsigned_abs()),
            Progress::Fault(fault) => self.fail(id, fault),
            // The kernel does not do so; if it did, it would not be all or nothing.
            Progress::Short(_) if matches!(job.op, DiskOp::Write { atomic: true, .. }) => {
                self.fail(id, Fault::Write);
            }
            // A ghost never submits again.
            _ if ghost => self.finish(id, Ok(())),
            Progress::Short(count) => {
                job.moved += count;
                self.perform(id);
            }
            Progress::Retry => self.perform(id),
        }
    }

    /// A read gave less than a block: the last one of a disc is filled up with zeroes, any other has failed.
    #[cold]
    fn torn(&mut self, id: JobId, got: u32) {
        let Some(job) = self.jobs.get_mut(id.index as usize).filter(|j| j.serial == id.serial) else {
            return;
        };
        let (DiskOp::Read { buf, len, offset }, Some(unit)) = (job.op, self.units.get(job.lu.0 as usize))
        else {
            return self.fail(id, Fault::Read);
        };
        let moved = job.moved + got;
        if !unit.store.ends_in_block(offset + u64::from(moved)) {
            return self.fail(id, Fault::Read);
        }
        self.memory.zero(self.pool.place(buf).part(moved, len - moved));
        self.moved_all(id);
    }

    /// All of it is on the medium, and perhaps has to be there to stay.
    fn moved_all(&mut self, id: JobId) {
        let Some(job) = self.job(id) else { return };
        if !job.through || job.state == State::Ghost {
            return self.finish(id, Ok(()));
        }
        (job.through, job.span, job.op) = (false, None, DiskOp::Flush);
        self.perform(id);
    }

    fn fail(&mut self, id: JobId, fault: Fault) {
        let Some(job) = self.job(id) else { return };
        if job.op.source().is_some() {
            // Whoever asked copies in another way then, and what is really wrong shows there.
            return self.finish(id, Err(failure_of(fault, 0)));
        }
        let (offset, len) = job.op.touches().unwrap_or_default();
        let (lu, at) = (job.lu, offset + u64::from(job.moved));
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let block = at / u64::from(unit.lu.facts.block_size.max(1));
        let fault = unit.store.cause(fault, offset.saturating_add(len));
        if let Some(others) = unit.complaints.one_more(self.driver.now()) {
            tracing::warn!(store = unit.lu.facts.name, lba = block, ?fault, others, "a disk request failed");
        }
        self.finish(id, Err(failure_of(fault, block)));
    }

    fn finish(&mut self, id: JobId, result: Result<(), Failure>) {
        let Some(job) = self.jobs.get(id.index as usize) else { return };
        if job.state == State::Ghost {
            return self.bury(id);
        }
        let (client, lu, delay) = (job.client, job.lu, job.held_up);
        match job.op {
            DiskOp::Map { buf, .. } => self.keep_mapping(id, buf),
            DiskOp::Pass { .. } => {
                if let Some(length) = self.keep_report(id) {
                    self.end(id.index as usize);
                    return self.learn(client, lu, length);
                }
            }
            _ => {}
        }
        self.end(id.index as usize);
        if let (Some(long @ 1..), Client::Task { .. }) = (delay, client) {
            self.delays.push(client, lu, long);
        }
        self.finished.push_back((client, lu, result));
    }

    /// Nobody has waited for the end of a ghost.
    #[cold]
    fn bury(&mut self, id: JobId) {
        let Some(job) = self.job(id) else { return };
        let (lu, op, serial) = (job.lu, job.op, job.serial);
        self.end(id.index as usize);
        self.drop_errand(op, serial);
        if let Some(buf) = op.buf() {
            self.pool.free(buf);
            self.count_ghost(lu, -1);
        }
    }

    #[cold]
    fn keep_mapping(&mut self, id: JobId, buf: BufId) {
        let mapping = self.job(id).and_then(|job| job.mapping.take());
        if let Some(said) = mapping.as_ref().and_then(|m| m.get()) {
            self.put_stretches(buf, said);
        }
    }

    fn count_ghost(&mut self, lu: LuId, more: i32) {
        if let Some(unit) = self.units.get_mut(lu.0 as usize) {
            unit.ghosts = unit.ghosts.saturating_add_signed(more);
        }
    }

    fn put_stretches(&mut self, buf: BufId, said: &[Stretch]) {
        let slot = self.memory.get_mut(self.pool.place(buf));
        let end = Stretch { len: 0, status: Provisioning::Mapped };
        for (room, stretch) in slot.as_chunks_mut().0.iter_mut().zip(said.iter().chain([&end])) {
            *room = stretch_bytes(*stretch);
        }
    }

    /// A request is no more: those who wait for that go on. It is not moved out of the table for that.
    fn end(&mut self, index: usize) {
        let Some(ties) = self.jobs.get(index).map(Job::ties) else { return };
        drop(self.jobs.remove(index));
        self.let_go(index, ties);
    }

    /// Gives back what a request that is no more in the table kept others from.
    #[inline]
    fn let_go(&mut self, index: usize, ties: Ties) {
        if let Some(fence) = ties.fence {
            self.lift_everywhere(fence, ties.lu);
        }
        if let Some(fence) = ties.pass {
            self.exit_enclosure(fence);
        }
        if !self.drains.is_empty() {
            self.drained(JobId { index: index as u32, serial: ties.serial });
        }
    }

    /// The request behind a fence of this reactor has ended.
    fn lift_everywhere(&mut self, fence: FenceId, lu: LuId) {
        match self.unannounced.iter().position(|f| f.id == fence) {
            Some(at) => {
                self.unannounced.remove(at);
            }
            None => {
                for core in self.mail.others() {
                    self.mail.post(core, Letter::Lift(fence, lu));
                }
            }
        }
        self.lift(fence, lu);
    }

    /// A fence falls: what waited for it goes on, in order.
    pub(super) fn lift(&mut self, fence: FenceId, lu: LuId) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        for id in unit.lift(fence) {
            let Some((of, op, pass)) = self.job(id).map(|j| (j.lu, j.op, j.pass)) else { continue };
            let Some(unit) = self.units.get(of.0 as usize) else { return };
            // Where it reads from and where it writes to may be two logical units.
            let own = unit.barrier(op.touches(), pass).map(|barrier| (of, barrier));
            match own.or_else(|| self.barrier_at_source(op.source())) {
                Some((lu, at)) => self.park(lu, Parked { job: id, at }),
                None => self.perform(id),
            }
        }
    }

    /// Forgets the requests of tasks. What the kernel has becomes a ghost; its slots are returned, sorted. All requests
    /// are looked through once, however many tasks there are.
    pub(super) fn abandon(&mut self, conn: ConnId, tasks: &[TaskId]) -> Held {
        let mut tasks = tasks.to_vec();
        tasks.sort_unstable_by_key(|t| t.index);
        let is_one = |task: TaskId| {
            tasks.binary_search_by_key(&task.index, |t| t.index).is_ok_and(|at| tasks[at] == task)
        };
        let of_task =
            |c: Client| matches!(c, Client::Task { conn: x, task, .. } if x == conn && is_one(task));
        let held = self.forget(|client, _| of_task(client));
        if !self.enclosures.is_empty() {
            self.leave_enclosure(of_task);
        }
        held
    }

    /// Forgets the requests of some clients. What the kernel has becomes a ghost; its slots are returned, sorted.
    pub(super) fn forget(&mut self, which: impl Fn(Client, LuId) -> bool) -> Held {
        let is_mine = |j: &Job| j.state != State::Ghost && which(j.client, j.lu);
        let mine: Vec<usize> = self.jobs.iter().filter(|(_, j)| is_mine(j)).map(|(i, _)| i).collect();
        let (mut held, mut gone) = (Held::new(), Vec::new());
        for index in mine {
            if self.jobs[index].state == State::InFlight {
                held.extend(self.haunt(index));
            } else {
                gone.push((index, self.jobs.remove(index)));
            }
        }
        if gone.iter().any(|(_, job)| job.state == State::Parked) {
            self.sweep_parked();
        }
        // Only now, as it may begin what waited for a range of these: none of that is to be forgotten any more.
        for (index, job) in gone {
            self.drop_errand(job.op, job.serial);
            self.let_go(index, job.ties());
        }
        self.reports.retain(|(client, lu, _)| !which(*client, *lu));
        self.finished.retain(|(client, lu, _)| !which(*client, *lu));
        self.delays.forget(&which);
        held.sort_unstable();
        held
    }

    /// Of requests that are no more nothing is kept, though the fence that they waited for may stand for ever.
    fn sweep_parked(&mut self) {
        let jobs = &self.jobs;
        let is_there = |p: &Parked| jobs.get(p.job.index as usize).is_some_and(|j| j.serial == p.job.serial);
        self.units.iter_mut().for_each(|unit| unit.parked.retain(is_there));
    }

    fn haunt(&mut self, index: usize) -> Option<BufId> {
        let job = &mut self.jobs[index];
        job.state = State::Ghost;
        let (lu, buf, id) = (job.lu, job.op.buf(), JobId { index: index as u32, serial: job.serial });
        if let DiskOp::Pass { .. } = job.op {
            self.recall_errand(id.serial);
        }
        self.fence_off(id);
        if buf.is_some() {
            self.count_ghost(lu, 1);
        }
        buf
    }

    /// Fences the range that a request may still change, until it has ended.
    pub(super) fn fence_off(&mut self, id: JobId) {
        let fence = (self.mail.core, self.fence_serial + 1);
        let Some(job) = self.job(id).filter(|j| j.fence.is_none()) else { return };
        let Some((offset, len)) = job.op.changes() else { return };
        job.fence = Some(fence);
        let fence = Fence { id: fence, lu: job.lu, offset, len };
        self.fence_serial += 1;
        if let Some(unit) = self.units.get_mut(fence.lu.0 as usize) {
            unit.fences.push(fence);
        }
        self.unannounced.push(fence);
    }

    /// What sessions have begun to change that may not any more, and is neither ended nor fenced.
    pub(super) fn jobs_of_barred(&self, lu: LuId) -> Vec<JobId> {
        let Some(unit) = self.units.get(lu.0 as usize).filter(|unit| !unit.barred.is_empty()) else {
            return Vec::new();
        };
        self.begun(|j| j.lu == lu && j.fence.is_none() && unit.bar(j.client.conn(), &j.op).is_some())
    }

    /// What has begun in a range, and has not ended, but for the requests of its own client.
    pub(super) fn jobs_in(&self, fence: &Fence) -> Vec<JobId> {
        let meets = |j: &Job| {
            let own = j.lu == fence.lu && j.op.touches().is_some_and(|range| fence.meets(range));
            own || j.op.source().is_some_and(|(lu, range)| lu == fence.lu && fence.meets(range))
        };
        self.begun(|j| j.pass != Some(fence.id) && meets(j))
    }

    /// Those of these requests that cannot be called back. What waits for a thread can: when its turn comes it is judged
    /// again, and fails.
    pub(super) fn beyond_recall(&self, mut jobs: Vec<JobId>) -> Vec<JobId> {
        let is_passed = |id: &JobId| {
            matches!(self.jobs.get(id.index as usize), Some(Job { op: DiskOp::Pass { .. }, .. }))
        };
        jobs.retain(|id| !(is_passed(id) && self.recall_errand(id.serial)));
        jobs
    }

    fn begun(&self, which: impl Fn(&Job) -> bool) -> Vec<JobId> {
        let begun = |j: &Job| j.state != State::Parked && which(j);
        let id = |(index, j): (usize, &Job)| JobId { index: index as u32, serial: j.serial };
        self.jobs.iter().filter(|(_, j)| begun(j)).map(id).collect()
    }

    /// What writes to that logical unit now is to be durable before it ends.
    pub(super) fn write_through(&mut self, lu: LuId) {
        let writes = |j: &Job| j.lu == lu && j.op.changes().is_some();
        self.jobs.iter_mut().filter(|(_, j)| writes(j)).for_each(|(_, j)| j.through = true);
    }
}

/// What an initiator is told of a fault. `lba` is the first block that was not transferred.
fn failure_of(fault: Fault, lba: u64) -> Failure {
    Failure::Check(match fault {
        Fault::Read => Sense::read_error(lba),
        Fault::Write => Sense::write_error(lba),
        Fault::NoSpace => Sense::no_space(),
        Fault::Beyond => Sense::illegal(Asc::LBA_OUT_OF_RANGE),
        Fault::Gone => Sense::not_ready(Asc::NOT_READY),
        Fault::Protected => Sense::write_protected(),
        Fault::Reserved => return Failure::Status(status::RESERVATION_CONFLICT),
        Fault::Busy => return Failure::Status(status::BUSY),
        Fault::Transient | Fault::Cancelled => Sense::aborted(Asc::NONE),
        Fault::Hardware | Fault::Unsupported | Fault::Other(_) => Sense::target_failure(),
    })
}

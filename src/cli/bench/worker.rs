//! One thread of the generator: a ring, and the sessions that live on it.
//!
//! Owns: the ring and its memory, the turn, the pace. Promises: all commands of a turn leave in one send per session,
//! one system call per turn, one look at the clock per turn. It ends: an answer that does not come within
//! [`PATIENCE_NS`] is an error. Refuses to know: commands, data.
//!
//! ```text
//!   turn ─► received: lane takes it, I/Os that ended are counted ─► new ones begin ─► one send, one receive ─► turn
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use super::lane::{Lane, Shape};
use super::tally::{Progress, Tally};
use crate::mem::{Memory, Pages, Place, Region};
use crate::ring::{Bell, Done, Driver, Kind, Op, RecvOp, Ring, RingConfig, SendOp, Wait};

/// The longest that an answer may take.
pub(super) const PATIENCE_NS: u64 = 20_000_000_000;
/// How long the end of a session may take.
const GOODBYE_NS: u64 = 2_000_000_000;
/// How often a thread that sleeps looks whether others have failed.
const LOOK_NS: u64 = 100_000_000;
/// The buffer of a receive is for all answers that may be on their way, within these bounds.
const RECEIVE: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;
/// Parts of a send for which there is room from the beginning.
const PARTS: usize = 64;

/// When I/Os count.
///
/// The rate is that of those that end in the window, the latency that of those that should have been served in it: what
/// was due there counts with all the time it takes, also beyond the end, and what could not even begin with the time
/// that it had waited by then. So a server that stalls cannot keep what it held up out of the latencies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Window {
    fn has(self, at: u64) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// Whether the latency of an I/O that was due at `start` and has ended counts. By the clock only those that were due
    /// in the window do: what piled up before it is another time's. Without, one that was under way when it opened does
    /// too: a server that hangs over the opening holds up all others meanwhile.
    fn is_for(self, start: u64, ended: u64, timed: bool) -> bool {
        start < self.end && (start >= self.start || (!timed && ended >= self.start))
    }
}

/// What a thread is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nanoseconds from one I/O to the next, when they have to keep time.
    pub(super) interval: Option<f64>,
    /// Of a hundred I/Os, so many are reads.
    pub(super) reads: u32,
    /// Spin instead of sleeping.
    pub(super) busy: bool,
    /// Read everything back at the end.
    pub(super) read_back: bool,
}

/// What threads tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) progress: Vec<Progress>,
    /// Somebody has failed.
    pub(super) failed: AtomicBool,
}

/// A session with its operations, while the kernel does not have them.
struct Seat {
    lane: Lane,
    recv: Option<Box<RecvOp>>,
    send: Option<Box<SendOp>>,
    least: usize,
    closed: bool,
}

/// A thread's world.
pub(super) struct Worker {
    ring: Ring,
    memory: Memory,
    seats: Vec<Seat>,
    pace: Pace,
    done: Vec<Done>,
    tally: Tally,
    /// I/Os that ended, whether they counted or not.
    ended: u64,
    /// When one last ended.
    last_end: u64,
    /// The session that had the last turn, when they keep time.
    next: usize,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Load,
    /// Nothing new begins.
    Drain,
    ReadBack,
}

impl Worker {
    /// Makes the ring for this thread, and takes its sessions. `memory` is [`pattern_memory`].
    pub(super) fn new(lanes: Vec<Lane>, memory: Memory, shape: &Shape, qd: u32, pace: Pace) -> Result<Self> {
        let config = RingConfig { in_flight: 2 * lanes.len() as u32 + 16, ..RingConfig::default() };
        let bell = Arc::new(Bell::new().context("an eventfd")?);
        let mut ring = Ring::new(&config, &memory, bell).context("io_uring")?;
        let answers = qd as usize * (shape.bytes() as usize + 64);
        let least = answers.clamp(*RECEIVE.start(), *RECEIVE.end());
        let seats = lanes.into_iter().map(|lane| {
            let fd = lane.fd();
            ring.adopt(fd).context("a connection")?;
            let (recv, send) = (RecvOp::new(fd, 0), SendOp::new(fd, PARTS));
            Ok(Seat { lane, recv: Some(recv), send: Some(send), least, closed: false })
        });
        let seats = seats.collect::<Result<_>>()?;
        let last_end = ring.now();
        Ok(Self {
            ring,
            memory,
            seats,
            pace,
            done: Vec::new(),
            tally: Tally::default(),
            ended: 0,
            last_end,
            next: 0,
        })
    }

    /// The whole life: load, drain, read back, log out.
    pub(super) fn run(mut self, window: Window, shared: &Shared, number: usize) -> Result<(Tally, Memory)> {
        let result = self.load(window, shared, number);
        if result.is_err() {
            shared.failed.store(true, Ordering::Relaxed);
        }
        self.part(result.is_ok());
        result.map(|()| (self.tally, self.memory))
    }

    fn load(&mut self, window: Window, shared: &Shared, number: usize) -> Result<()> {
        self.ring.turn(Wait::No, &mut self.memory, &mut self.done);
        self.last_end = self.ring.now();
        let mut due = self.ring.now() as f64;
        let mut phase = Phase::Load;
        loop {
            let now = self.ring.now();
            if phase == Phase::Load && now >= window.end {
                self.close(window, &mut due)?;
                phase = Phase::Drain;
            }
            if phase == Phase::Drain && self.seats.iter().all(|seat| seat.lane.is_idle()) {
                if !self.pace.read_back {
                    return Ok(());
                }
                (phase, self.last_end) = (Phase::ReadBack, now);
            }
            self.begin(phase, now, &mut due)?;
            if phase == Phase::ReadBack && self.seats.iter().all(|seat| seat.lane.is_idle()) {
                return Ok(());
            }
            self.push();
            self.turn(self.wait(phase, window, due), window)?;
            shared.progress[number].set(self.ended);
            if shared.failed.load(Ordering::Relaxed) {
                bail!("another thread has failed");
            }
        }
    }

    /// Begins all I/Os that may begin.
    fn begin(&mut self, phase: Phase, now: u64, due: &mut f64) -> Result<()> {
        match (phase, self.pace.interval) {
            (Phase::Load, None) => self.fill(|lane| lane.begin(now)),
            (Phase::Load, Some(interval)) => self.keep_time(now, due, interval),
            (Phase::Drain, _) => Ok(()),
            (Phase::ReadBack, _) => self.fill(|lane| lane.begin_back(now)),
        }
    }

    fn fill(&mut self, begin: impl Fn(&mut Lane) -> Result<bool>) -> Result<()> {
        for seat in &mut self.seats {
            while seat.lane.has_room() && begin(&mut seat.lane)? {}
        }
        Ok(())
    }

    /// Begins what is due, in the sessions by turns. What finds no room stays due.
    fn keep_time(&mut self, now: u64, due: &mut f64, interval: f64) -> Result<()> {
        while *due <= now as f64 && self.begin_somewhere(*due as u64)? {
            *due += interval;
        }
        Ok(())
    }

    /// The window is over. What was due in it begins if it finds room, and is counted as late if not.
    fn close(&mut self, window: Window, due: &mut f64) -> Result<()> {
        let Some(interval) = self.pace.interval else { return Ok(()) };
        self.keep_time(window.end - 1, due, interval)?;
        // What was due before the window has had its time.
        let before = ((window.start as f64 - *due) / interval).ceil().max(0.0);
        let first = *due + before * interval;
        let left = window.end as f64 - first;
        if left > 0.0 {
            self.miss(left as u64, (left / interval).ceil() as u64);
        }
        Ok(())
    }

    /// So many never began; as many of them would have been reads as of all others.
    fn miss(&mut self, longest: u64, count: u64) {
        let reads = (count as f64 * f64::from(self.pace.reads) / 100.0).round() as u64;
        self.tally.reads.record_missed(longest, reads);
        self.tally.writes.record_missed(longest, count - reads);
    }

    fn begin_somewhere(&mut self, start: u64) -> Result<bool> {
        for _ in 0..self.seats.len() {
            self.next = (self.next + 1) % self.seats.len();
            if self.seats[self.next].lane.begin(start)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How long the next turn may sleep.
    fn wait(&self, phase: Phase, window: Window, due: f64) -> Wait {
        if self.pace.busy {
            return Wait::No;
        }
        let now = self.ring.now();
        let mut until = now + LOOK_NS;
        if phase == Phase::Load {
            until = until.min(window.end);
            // What is overdue waits for room, which an answer makes.
            if self.pace.interval.is_some() && due > now as f64 {
                until = until.min(due as u64);
            }
        }
        Wait::Until(until)
    }

    /// Gives the kernel what waits to be sent, and room for what comes.
    fn push(&mut self) {
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if seat.lane.core.outgoing().is_empty() && seat.recv.is_none() {
                continue;
            }
            if let Some(op) = seat.sending() {
                push(&mut self.ring, Op { tag: number as u64, kind: Kind::Send(op) });
            }
            if let Some(op) = seat.receiving() {
                push(&mut self.ring, Op { tag: number as u64, kind: Kind::Recv(op) });
            }
        }
    }

    fn turn(&mut self, wait: Wait, window: Window) -> Result<()> {
        self.ring.turn(wait, &mut self.memory, &mut self.done);
        let now = self.ring.now();
        let mut done = std::mem::take(&mut self.done);
        let outcome = done.drain(..).try_for_each(|done| self.take(done, now, window));
        self.done = done;
        outcome?;
        if now - self.last_end > PATIENCE_NS && self.seats.iter().any(|seat| !seat.lane.is_idle()) {
            bail!("no answer for {} s", PATIENCE_NS / 1_000_000_000);
        }
        if self.seats.iter().all(|seat| seat.lane.is_idle()) {
            self.last_end = now;
        }
        Ok(())
    }

    fn take(&mut self, done: Done, now: u64, window: Window) -> Result<()> {
        let timed = self.pace.interval.is_some();
        let seat = &mut self.seats[done.op.tag as usize];
        match done.op.kind {
            Kind::Send(op) => seat.sent(op, done.result, &mut self.ring, done.op.tag),
            Kind::Recv(op) => {
                seat.received(op, done.result)?;
                let before = self.ended;
                let ended = &mut self.ended;
                seat.lane.take(&mut self.tally, |tally, write, start| {
                    *ended += 1;
                    let side = if write { &mut tally.writes } else { &mut tally.reads };
                    side.ios += u64::from(window.has(now));
                    if window.is_for(start, now, timed) {
                        side.late += u64::from(now >= window.end);
                        side.record(now.saturating_sub(start));
                    }
                })?;
                if self.ended != before {
                    self.last_end = now;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends all sessions, politely if they are in order; nothing is in flight any more when it returns, or the ring
    /// leaves the memory alone.
    fn part(&mut self, polite: bool) {
        let deadline = self.ring.now() + GOODBYE_NS;
        if polite {
            self.seats.iter_mut().for_each(|seat| seat.lane.log_out());
            let never = Window { start: 0, end: 0 };
            let goes_on = |seat: &Seat| !seat.lane.gone && !seat.closed;
            while self.seats.iter().any(goes_on) && self.ring.now() < deadline {
                self.push();
                if self.turn(Wait::Until(deadline), never).is_err() {
                    break;
                }
            }
        }
        for seat in &self.seats {
            self.ring.shutdown(seat.lane.fd());
        }
        let deadline = self.ring.now() + GOODBYE_NS;
        while self.ring.in_flight() > 0 && self.ring.now() < deadline {
            self.ring.turn(Wait::Until(deadline), &mut self.memory, &mut self.done);
            self.done.clear();
        }
    }
}

impl Seat {
    /// The send of all that waits, when the last one is over.
    fn sending(&mut self) -> Option<Box<SendOp>> {
        let core = &mut self.lane.core;
        if core.outgoing().is_empty() || self.closed {
            return None;
        }
        let mut op = self.send.take()?;
        op.clear();
        let (out, mut done) = (core.outgoing(), 0);
        for splice in core.splices() {
            op.put(&out[done..splice.at]);
            op.put_place(Place::pool(splice.from.into(), splice.len));
            done = splice.at;
        }
        op.put(&out[done..]);
        core.sent_all();
        Some(op)
    }

    fn sent(&mut self, mut op: Box<SendOp>, result: i32, ring: &mut Ring, tag: u64) -> Result<()> {
        if result < 0 {
            self.send = Some(op);
            return if self.lane.is_leaving() {
                Ok(())
            } else {
                Err(io(result)).context("sending to the target")
            };
        }
        if op.advance(result as usize) {
            self.send = Some(op);
        } else {
            push(ring, Op { tag, kind: Kind::Send(op) });
        }
        Ok(())
    }

    /// The next receive, when none is under way.
    fn receiving(&mut self) -> Option<Box<RecvOp>> {
        if self.closed {
            return None;
        }
        let mut op = self.recv.take()?;
        (op.staging, op.filled) = self.lane.core.incoming().lend(self.least);
        Some(op)
    }

    fn received(&mut self, mut op: Box<RecvOp>, result: i32) -> Result<()> {
        let filled = op.filled + result.max(0) as usize;
        self.lane.core.incoming().restore(std::mem::take(&mut op.staging), filled);
        self.recv = Some(op);
        self.closed = result <= 0;
        match result {
            // Who has been asked to log out may close at once.
            ..=0 if self.lane.is_leaving() => Ok(()),
            0 => bail!("the target closed the connection"),
            error if error < 0 => Err(io(error)).context("receiving from the target"),
            _ => Ok(()),
        }
    }
}

fn push(ring: &mut Ring, op: Op) {
    // Two operations for each session have room from the beginning.
    assert!(ring.push(op).is_ok(), "the ring has room for a receive and a send of each session");
}

fn io(result: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(-result)
}

/// Memory for a ring that holds the pattern, at its beginning.
pub(super) fn pattern_memory(pattern: &[u8]) -> Result<Memory> {
    let region =
        Region::new(pattern.len() as u64, Pages::Transparent).context("memory for what is written")?;
    let mut memory = Memory::new(region);
    memory.write(Place::pool(0, pattern.len() as u32), pattern);
    Ok(memory)
}

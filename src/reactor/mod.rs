//! One core's world: a thread with one ring, the connections it owns, and its replicas of the logical units.
//!
//! ```text
//!   turn:  enter once ─► completions ─► mail ─► what goes on ─► slots for the hungry ─► one send per connection
//! ```
//!
//! Nothing is shared with other reactors but mail: no lock, no written cache line; only where something is limited each
//! draws on the one limit for some milliseconds at a time (see `quota`). A turn moves so much of long transfers, whoever has
//! some (see `share`): small answers of others leave with it. A connection lives and dies here;
//! a logical unit is served from all reactors at once, and one of them owns the changes of its state.

mod beside;
mod close;
mod conn;
mod delays;
mod desk;
mod detour;
mod disk;
mod drain;
mod enclose;
mod erase;
mod fair;
mod gates;
mod keep;
mod live;
mod login;
mod mail;
mod measure;
mod meter;
mod owner;
mod pass;
mod quota;
mod recorder;
mod registry;
mod rx;
mod send;
mod share;
#[cfg(test)]
mod simulation;
mod start;
mod stats;
mod tag;
mod talk;
mod tx;
mod uncopied;
mod unit;
mod world;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use self::conn::{Conn, Conns, Phase};
use self::desk::{Desk, desk};
use self::detour::Detours;
use self::disk::Client;
use self::gates::Then;
pub use self::live::{Chosen, Heard, Moved, Notice, SessionReport};
use self::login::Listener;
use self::mail::{Change, Letter};
pub use self::measure::{Late, OfSession, SessionUsage};
pub use self::meter::{BUCKETS, Distribution, Flow, TIMES, Usage, begin as bucket_begin, time_word};
pub use self::recorder::{Passed, Recording, Setup as RecorderSetup};
use self::registry::Registry;
use self::share::Share;
pub use self::start::{Control, Limits, Messenger, Setup, Stuck, start};
pub use self::stats::{Counters, Snapshot};
use self::tag::Tag;
use self::talk::Talk;
pub use self::unit::UnitSeed;
pub use self::world::Saver;
use self::world::World;
use crate::ids::{ConnId, LuId};
use crate::ring::{Done, Driver, Wait};
use crate::scsi::{Asc, Failure};
use crate::session::tmf::{Aborted, Ending};
use crate::session::{self, Session};

/// How often the time of connections is looked at, nanoseconds.
const TICK_NS: u64 = 250_000_000;

/// How long a send may make no progress before its connection is given up, nanoseconds. Long enough for an initiator
/// that is suspended for a moment, short enough that what its answers hold is not held for ever.
const STALL_NS: u64 = 30_000_000_000;

/// How long answers that are held back, or letters that did not fit, may wait for the next turn, nanoseconds.
const HELD_NS: u64 = 20_000;

/// What follows from what has ended is followed up so many times in a turn. A command on a medium that is memory can
/// have thousands of steps, each done at once.
const MOST_STEPS: u32 = 16;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The peer closed it.
    PeerClosed,
    /// The socket failed with that errno.
    Socket(i32),
    /// It was to be closed after its last answer.
    Said,
    /// The session says so.
    Session(session::Close),
    /// What came was no login.
    NoLogin(&'static str),
    /// The login took too long.
    LoginTimeout,
    /// Too many logins were under way, and this was the oldest.
    Crowded,
    /// A new login replaces its session, or a reset ends it.
    Replaced,
    /// Its answers are not read.
    Stalled,
    /// They are read too slowly while others wait for the slots.
    Slow,
    /// Memory for unread answers and for requests out of order has run out, and it has most of it.
    Greedy,
    /// An administrator wants it so, or its initiator may not be here any more.
    PutOut,
    /// The daemon stops.
    Stopping,
    /// The protocol core failed on what came: our mistake, and the end of this connection only.
    Broken,
}

impl Why {
    /// Whether somebody has broken the protocol: the peer, or we.
    fn is_an_error(self) -> bool {
        use session::Close::{HeaderDigest, Protocol};
        matches!(self, Self::Broken | Self::Session(Protocol(_) | HeaderDigest))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("closed by the initiator"),
            Self::Socket(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
            Self::Said => f.write_str("logged out or refused"),
            Self::Session(session::Close::Logout) => f.write_str("logged out"),
            Self::Session(session::Close::Protocol(what)) => write!(f, "protocol error: {what}"),
            Self::Session(session::Close::HeaderDigest) => f.write_str("header digest error"),
            Self::Session(session::Close::Unread) => f.write_str("the initiator does not read its answers"),
            Self::Session(session::Close::TooSlow) => {
                f.write_str("data came too slowly while others waited for slots")
            }
            Self::Session(session::Close::Dropped) => f.write_str("dropped by the target"),
            Self::Session(session::Close::NoAnswer) => f.write_str("the initiator does not answer pings"),
            Self::NoLogin(what) => f.write_str(what),
            Self::LoginTimeout => f.write_str("the login took too long"),
            Self::Crowded => f.write_str("too many unfinished logins"),
            Self::Replaced => f.write_str("replaced by a new login, or ended by a reset"),
            Self::Stalled => f.write_str("the initiator does not read its answers"),
            Self::Slow => f.write_str("answers were read too slowly while others waited for slots"),
            Self::Greedy => f.write_str("of all unread answers and requests out of order most were its own"),
            Self::PutOut => f.write_str("put out by an administrator"),
            Self::Stopping => f.write_str("the target stops"),
            Self::Broken => f.write_str("internal error"),
        }
    }
}

/// See the module page.
struct Reactor<D> {
    world: World<D>,
    conns: Conns,
    limits: Limits,
    /// Entries of the in-flight table.
    room: usize,
    registry: Arc<Registry>,
    listeners: Vec<Listener>,
    max_connections: usize,
    login_timeout: u64,
    /// Connections that began to log in, oldest first; some may have finished since.
    pending: VecDeque<ConnId>,
    max_pending: usize,
    /// Connections that may have something to send.
    dirty: Vec<ConnId>,
    /// Connections that may be ready to go.
    closing: Vec<ConnId>,
    /// Receives that wait for the next turn.
    unarmed: VecDeque<ConnId>,
    /// Sends that wait for the next turn, whole or what is left of them.
    unsent: VecDeque<ConnId>,
    /// Closes for which the ring had no room.
    unclosed: Vec<i32>,
    done: Vec<Done>,
    /// What long transfers may take of this turn, by direction.
    intake: Share,
    output: Share,
    /// Some answers are held back for more to come.
    held: bool,
    /// Some mailbox was full.
    undelivered: bool,
    next_tick: u64,
    /// What is logged of sessions, and of those who do not get one.
    talk: Talk,
    refusals: Talk,
    /// When it is looked next whether anything is left of what goes.
    next_look: u64,
    /// When the daemon stops at the latest, once it does.
    draining: Option<u64>,
    /// Whose logins are sent elsewhere.
    detours: Detours,
}

/// What a change of a logical unit means for a session here: the tasks that it ends, and what there is to be told.
fn heed<D: Driver>(session: &mut Session, desk: &mut Desk<'_, D>, change: &Change, tas: bool) -> Vec<Ending> {
    let lu = change.lu;
    let mut endings = Vec::new();
    if change.reset || change.effects.abort.contains(session.nexus()) {
        endings.extend(session.abort_copies(desk, lu));
        match session.abort_for_another(desk, lu, tas) {
            Aborted::ToBeTold(ending) => endings.push(ending),
            Aborted::Silently if !change.reset => session.attention(lu, Asc::COMMANDS_CLEARED),
            Aborted::Silently | Aborted::Nothing => {}
        }
    }
    if let Some(failure) = change.effects.ends_tasks {
        endings.extend(session.end_for_another(desk, lu, failure));
    }
    for asc in change.attentions_for(session.nexus()) {
        session.attention_at_once(desk, lu, asc);
    }
    endings
}

impl<D: Driver> Reactor<D> {
    /// One turn: one system call, then everything that came of it.
    fn turn(&mut self) {
        let wait = self.wait();
        // What was written to a ramdisk is there for all reactors before anybody is told. (Letters to them have a locked
        // instruction, which does the same.)
        self.world.memory.settle();
        let mut done = std::mem::take(&mut self.done);
        self.world.driver.turn(wait, &mut self.world.memory, &mut done);
        // Before anything that has come now: who has waited goes first.
        self.begin_shares();
        if self.world.quotas.wake().is_some_and(|wake| self.world.driver.now() >= wake) {
            self.spend_quotas();
        }
        for completion in done.drain(..) {
            self.completed(completion);
        }
        self.done = done;
        self.world.go_on_later();
        if self.world.mail.bell().answer() {
            self.read_mail();
        }
        self.settle();
        if self.world.driver.now() >= self.next_tick {
            self.tick();
        }
        self.world.erase_on();
        self.retry();
        if !self.world.retiring.is_empty() {
            self.look_at_retiring();
        }
        // A receive that the ring refused is not announced by anything.
        self.held = self.flush_dirty() || !self.unarmed.is_empty();
        self.finish_closing();
    }

    /// Long transfers have a new turn, and those that have waited for it go first, in their order.
    fn begin_shares(&mut self) {
        self.receive_first();
        self.send_first();
    }

    fn receive_first(&mut self) {
        self.intake.renew();
        for _ in 0..self.unarmed.len() {
            let Some(id) = self.intake.next(&mut self.unarmed) else { break };
            self.arm_recv(id);
        }
    }

    /// How long the next turn may wait.
    fn wait(&self) -> Wait {
        match (self.wait_for_others(), self.world.quotas.wake()) {
            (Wait::Until(time), Some(wake)) => Wait::Until(time.min(wake)),
            (Wait::Forever, Some(wake)) => Wait::Until(wake),
            (wait, _) => wait,
        }
    }

    fn wait_for_others(&self) -> Wait {
        if self.must_go_on() {
            Wait::No
        } else if self.held || self.undelivered {
            Wait::Until(self.world.driver.now() + HELD_NS)
        } else if !self.world.retiring.is_empty() {
            Wait::Until(self.next_look)
        } else if self.conns.len() > 0
            || self.draining.is_some()
            || !self.world.drains.is_empty()
            || !self.world.impatient.is_empty()
            || !self.world.erasing.is_empty()
            || !self.detours.is_empty()
            || self.listeners.iter().any(|l| l.armed.is_none() && !l.is_vacant())
        {
            Wait::Until(self.next_tick)
        } else {
            Wait::Forever
        }
    }

    /// Whether there is something to do that no completion announces.
    fn must_go_on(&self) -> bool {
        let world = &self.world;
        let told = world.later.is_empty() && world.finished.is_empty() && world.opened.is_empty();
        let intake_waits = !self.unarmed.is_empty() && !self.intake.is_open();
        !told || intake_waits || !self.unsent.is_empty() || !self.closing.is_empty()
    }

    fn completed(&mut self, done: Done) {
        match Tag::unpack(done.op.tag) {
            Tag::Recv(id) => self.received(id, done),
            Tag::Send(id) => self.sent(id, done),
            Tag::Disk(index) => self.world.disk_completed(index, done.result),
            Tag::Accept(listener) => {
                // After an error the next tick tries again, so that a lasting one costs nothing.
                if self.accepted(listener, &done) {
                    self.arm_listeners();
                }
            }
            Tag::Close => {}
        }
    }

    /// Tells sessions what has ended, until nothing follows from it any more, or others should have their turn.
    fn settle(&mut self) {
        for _ in 0..MOST_STEPS {
            if self.world.finished.is_empty() && self.world.opened.is_empty() {
                break;
            }
            // What follows from these is behind them, for the next step.
            for _ in 0..self.world.finished.len() {
                let Some((client, lu, result)) = self.world.finished.pop_front() else { break };
                self.disk_ended(client, lu, result);
            }
            for _ in 0..self.world.opened.len() {
                let Some((then, result)) = self.world.opened.pop_front() else { break };
                self.go_on(then, result);
            }
        }
        if !self.world.unannounced.is_empty() {
            self.world.announce(Then::Nothing);
        }
        if !self.world.hungry.is_empty() {
            self.feed_hungry();
        }
    }

    /// Limits let commands go on that have waited.
    #[cold]
    fn spend_quotas(&mut self) {
        let now = self.world.driver.now();
        for _ in 0..self.world.quotas.begin_turn() {
            let Some(id) = self.world.quotas.next() else { break };
            let session = self.conns.get_mut(id).and_then(|conn| conn.session());
            match session.map_or(0, Session::spends_at) {
                until if until > now => self.world.quotas.wait_on(id, until),
                _ => self.with_session(id, |session, desk| session.spend(desk)),
            }
        }
        self.world.quotas.end_turn();
    }

    fn disk_ended(&mut self, client: Client, lu: LuId, result: Result<(), Failure>) {
        match client {
            Client::Owner { serial } => self.world.owner_served(lu, serial, result),
            Client::Erasure { lane } => self.world.erased_stretch(lu, lane, result),
            Client::Nobody => {}
            Client::Task { conn, task, part } => {
                #[cfg(test)]
                self.world.heard.push((client, result));
                self.world.held_up = self.world.delays.of(client);
                self.with_session(conn, |session, desk| session.disk_done(desk, task, part, result));
            }
        }
    }

    fn with_session(&mut self, id: ConnId, call: impl FnOnce(&mut Session, &mut Desk<'_, D>)) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let (mut desk, Phase::Full(session)) = desk(&mut self.world, conn) {
            match desk.guarded(|desk| call(session, desk)) {
                Some(()) => self.mark_dirty(id),
                None => self.close(id, Why::Broken),
            }
        }
    }

    /// A gate has opened.
    fn go_on(&mut self, then: Then, result: Result<(), Failure>) {
        match then {
            Then::Managed { conn, token } => self.with_session(conn, |s, desk| s.managed(desk, token)),
            Then::Announced { gate } => self.world.acknowledged(gate, Ok(())),
            Then::Shared { conn, task, .. } => {
                self.with_session(conn, |s, desk| s.shared_done(desk, task, result));
                self.ask_answered(conn, false);
            }
            // Whoever asked may have lost patience.
            Then::Ordered { to } => drop(to.send(result)),
            Then::Recalled { conn } => self.ask_answered(conn, true),
            Then::Applied { to, gate, told } => {
                for (conn, ending) in told {
                    self.with_session(conn, |s, desk| s.tell_aborted(desk, ending));
                }
                self.world.mail.post(to, Letter::Ack(gate));
            }
            Then::Changed { lu, serial } => self.world.change_holds(lu, serial, result),
            Then::Erased { lu, failed } => self.world.erasure_ended(lu, failed, result),
            Then::Drained { to, gate } => self.world.mail.post(to, Letter::Ack(gate)),
            Then::Closed { lu, fence } => self.world.closed(lu, fence),
            Then::Enclosed { client, lu } => self.disk_ended(client, lu, result),
            Then::Learned { client, lu } => {
                if result.is_err() {
                    // The client hears that instead of what the device has said, and will not ask for it.
                    drop(self.world.take_report_where(|of, on| of == client && on == lu));
                }
                self.disk_ended(client, lu, result);
            }
            Then::Fenced { conn } => self.fenced(conn),
            Then::Harmless { conn } => self.harmless(conn),
            Then::Reinstated { conn } => self.enter_full_feature(conn),
            Then::Revised { told, done } => {
                for (conn, ending) in told {
                    self.with_session(conn, |s, desk| s.tell_aborted(desk, ending));
                }
                drop(done);
            }
            Then::Nothing => {}
        }
    }

    fn read_mail(&mut self) {
        while let Some(letter) = self.world.mail.next() {
            self.open_letter(letter);
        }
    }

    fn open_letter(&mut self, letter: Letter) {
        match letter {
            Letter::Adopt(moving) => self.adopt(*moving),
            Letter::Welcome { socket, ends } => self.welcome(socket, ends),
            Letter::Ask(ask) => self.world.take_ask(*ask),
            Letter::Order { lu, op, to } => self.world.take_order(lu, *op, to),
            Letter::Recall { lu, from, gate } => self.world.take_recall(lu, from, gate),
            Letter::Enclose(asked) => self.world.take_enclose(asked),
            Letter::Close { owner, gate, fence } => self.world.take_close(owner, gate, fence),
            Letter::Disclose(fence, lu) => self.world.take_disclose(fence, lu),
            Letter::Answer { gate, result } => self.world.acknowledged(gate, result),
            Letter::Change(change) => self.take_change(&change),
            Letter::Hurry(lu) => self.world.hurry_drain(lu),
            Letter::Fences { from, gate, fences } => {
                self.world.take_fences(&fences);
                self.world.mail.post(from, Letter::Ack(gate));
            }
            Letter::Lift(fence, lu) => {
                self.world.lift(fence, lu);
                self.world.stop_enclosing(fence);
            }
            Letter::Ack(gate) => self.world.acknowledged(gate, Ok(())),
            Letter::Kill { conn, from, gate, heir } => self.kill(conn, from, gate, heir),
            Letter::Bequeath { heir, legacy } => self.take_legacy(heir, *legacy),
            Letter::KillTarget { target, but } => self.kill_target(&target, but),
            Letter::Blocked { id, result } => self.world.stepped(id, result),
            Letter::Saved { lu, result } => self.world.saved(lu, result),
            Letter::Drain { deadline } => self.drain(deadline),
            Letter::Notice { lu, op } => self.world.notice(lu, op),
            Letter::Report(to) => {
                // Whoever asked may have gone.
                let _ = to.send(self.snapshot());
            }
            Letter::Measure(asked) => self.measure(asked),
            Letter::Record(to) => {
                let (core, now) = (self.world.mail.core, self.world.driver.now());
                // Whoever asked may have gone.
                let _ = to.send(self.world.recorder.begin(core, now));
            }
            Letter::RecordMore(rest, to) => {
                // Likewise.
                let _ = to.send(self.world.recorder.page(rest));
            }
            Letter::Live(order) => self.take_order(*order),
        }
    }

    /// The owner has changed a logical unit: it holds here, and those from whom it takes rights have nothing with the
    /// disk any more, before it is acknowledged.
    fn take_change(&mut self, change: &Change) {
        let lu = change.lu;
        let Some(unit) = self.world.units.get_mut(lu.0 as usize) else { return };
        // The change itself may be a reset, which puts the mode pages back.
        let tas = unit.lu.state.tells_aborted();
        unit.lu.state = change.state.clone();
        if let Some(blocks) = change.effects.capacity {
            unit.resize(blocks);
        }
        if let Some(length) = change.effects.block_length {
            unit.reblock(length);
        }
        if let Some(facts) = &change.effects.facts {
            unit.refit(facts);
        }
        let facts = unit.lu.facts.clone();
        let applied = |told| Then::Applied { to: change.owner, gate: change.gate, told };
        // Whoever was barred before still is.
        if change.effects.unfelt {
            return self.world.announce(applied(Vec::new()));
        }
        let (mut told, mut barred, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if let Some(session) = conn.wandering() {
                change.attentions_for(session.nexus()).into_iter().for_each(|asc| session.attention(lu, asc));
            }
            let (mut desk, phase) = desk(&mut self.world, conn);
            let Phase::Full(session) = phase else { continue };
            match desk.guarded(|desk| heed(session, desk, change, tas)) {
                Some(endings) => told.extend(endings.into_iter().map(|ending| (id, ending))),
                None => broken.push(id),
            }
            // Tasks that begin from now on are checked when they do.
            if session.has_tasks() {
                barred.extend(change.state.bars_writing(&facts, session.nexus()).map(|bar| (id, bar)));
            }
            self.mark_dirty(id);
        }
        if change.effects.flush {
            self.world.write_through(lu);
        }
        self.world.drain_barred(lu, barred, applied(told));
        for id in broken {
            self.close(id, Why::Broken);
        }
    }

    /// The daemon stops: no new connections; initiators are asked to go.
    fn drain(&mut self, deadline: u64) {
        self.draining = Some(deadline);
        self.world.stopping = true;
        self.next_tick = 0;
        self.disarm_listeners();
        for id in self.conns.ids() {
            self.ask_to_log_out(id);
        }
    }

    /// An initiator that has not logged out in time is told that it is put out, if it listens.
    fn drop_session(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match &conn.phase {
            Phase::Full(session) if session.closing().is_none() => {
                self.with_session(id, |session, desk| session.drop_session(desk));
            }
            _ if self.draining.is_none() => self.close(id, Why::PutOut),
            _ => self.close(id, Why::Stopping),
        }
    }

    /// A session that was to log out by now.
    fn must_leave(&mut self, id: ConnId, now: u64) -> bool {
        self.conns.get_mut(id).is_some_and(|c| !c.is_closing() && c.leaves_by.is_some_and(|by| by <= now))
    }

    fn is_over(&self) -> bool {
        self.draining.is_some_and(|deadline| {
            let deaf = self.listeners.iter().all(|l| l.armed.is_none());
            // Others may need acknowledgements of this one until their last connection has gone.
            let alone = self.registry.is_idle();
            // The close of the last connection, too, is to be carried out.
            let quiet = self.world.jobs.is_empty() && self.world.driver.in_flight() == 0;
            let idle = deaf && alone && self.conns.len() == 0 && quiet;
            idle || self.world.driver.now() >= deadline + TICK_NS * 4
        })
    }

    /// Looks at the time of every connection that does not rest.
    fn tick(&mut self) {
        let now = self.world.driver.now();
        self.next_tick = now + TICK_NS;
        let stopped = self.draining.is_some_and(|deadline| now >= deadline);
        for id in self.conns.due(if stopped { u64::MAX } else { now }) {
            match self.overdue(id, now) {
                Some(why) => self.close(id, why),
                None if stopped || self.must_leave(id, now) => self.drop_session(id),
                None => {}
            }
            self.read_at_last(id, now);
            self.break_off(id, now);
            if let Some(due) = self.conns.get_mut(id).map(|conn| conn.due()) {
                self.conns.rest(id, due);
            }
        }
        self.detours.forget_ended(now);
        self.world.expire_drains();
        self.world.expire_flushes();
        self.arm_listeners();
        self.settle();
    }

    fn overdue(&mut self, id: ConnId, now: u64) -> Option<Why> {
        let conn = self.conns.get_mut(id).filter(|conn| !conn.is_closing())?;
        if conn.sends_long(now)
            && let Some(delivered) = self.world.driver.delivered(conn.fd)
        {
            conn.tx.look(delivered, now);
        }
        if conn.is_stalled(now, STALL_NS) {
            self.world.counters.stalled += 1;
            return Some(Why::Stalled);
        }
        if let Some(why) = self.hurry(id, now) {
            return Some(why);
        }
        let conn = self.conns.get_mut(id)?;
        conn.tx.rest();
        let deadline = conn.deadline;
        let (mut desk, phase) = desk(&mut self.world, conn);
        match phase {
            Phase::Login(_) | Phase::Reinstating(_) => (now >= deadline).then_some(Why::LoginTimeout),
            Phase::Full(session) => {
                let result = desk.guarded(|desk| session.tick(desk));
                // Most have nothing to say: thousands of idle connections must cost little.
                if !conn.tx.is_empty() {
                    self.mark_dirty(id);
                }
                result.map_or(Some(Why::Broken), |r| r.err().map(Why::Session))
            }
            Phase::Closing => None,
        }
    }

    /// What found no room in the ring or in a mailbox tries again.
    fn retry(&mut self) {
        for fd in std::mem::take(&mut self.unclosed) {
            self.close_fd(fd);
        }
        self.undelivered = self.world.mail.deliver_backlog();
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            core: self.world.mail.core,
            connections: self.conns.len(),
            commands: self.conns.iter().filter_map(Conn::session).map(Session::open_tasks).sum(),
            disk_in_flight: self.world.jobs.len(),
            hungry: self.world.hungry.len(),
            now: self.world.driver.now(),
            busy: crate::sys::thread_time(),
            counters: self.world.counters,
            ring: self.world.driver.stats(),
            slots: self.world.pool.stats().to_vec(),
        }
    }

    /// Turns until the daemon stops.
    fn run(&mut self) {
        self.arm_listeners();
        while !self.is_over() {
            self.turn();
        }
    }
}

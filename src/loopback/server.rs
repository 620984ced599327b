//! The thread of a device: requests of the kernel become commands, and their answers go back.
//!
//! Owns: the ring, the memory that the driver copies to and from, the state of every tag. Promises: a tag is with the driver,
//! or waits, or is a command under way; a request is answered once; what a lost session has not answered is sent again by the
//! next. It ends when the driver has no request for any tag any more. Refuses to know: what requests mean.
//!
//! ```text
//!   with the driver ─► waits ─► sent ─► answered, and with the driver again
//!                        ▲        │
//!                        └────────┘ not now, attention, or the session has ended
//! ```

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::link::{Link, log_in, push};
use super::request::{Verdict, command, judge};
use super::{Connect, DEPTH, MAX_IO, PATIENCE};
use crate::initiator::{self, Event};
use crate::mem::{Memory, Pages, Place, Region};
use crate::ring::ublk::{Made, Request, Requests};
use crate::ring::{Bell, Done, Driver, Kind, Op, Ring, RingConfig, Wait};

/// The tag of operations of the session; those below are the device's.
const LINK: u64 = DEPTH as u64;

/// Operations beside one for each tag: a receive and a send, and what the ring has for itself.
const BESIDE: u32 = 16;

/// How long until a login is tried again, and until a command that cannot be done now is, nanoseconds: what is waited for takes
/// longer (a store that comes back, a reset that ends), and nobody is kept busy meanwhile.
const PAUSE_NS: u64 = 100_000_000;

/// How long the end of a session may take, nanoseconds.
const GOODBYE_NS: u64 = 2_000_000_000;

/// How long a command may take before its session is given up, nanoseconds: as long as Linux gives a disk, and twice that. The
/// next session replaces it, which ends what it has under way, and does it again. (With TAS zero an initiator may have had
/// commands of ours aborted, and nobody says so.)
const COMMAND_NS: u64 = 60_000_000_000;

/// Where a tag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The driver has it.
    Idle,
    /// A request is there, and is to become a command at that time.
    Waiting { request: Request, since: u64, due: u64 },
    /// It is a command, which was sent `at` that time.
    Sent { request: Request, since: u64, at: u64 },
    /// The driver has nothing for it any more.
    Gone,
}

/// What a thread takes with it.
pub(super) struct Seed {
    /// What it is called in the log.
    pub(super) name: String,
    pub(super) made: Made,
    /// Its character device.
    pub(super) device: File,
    pub(super) requests: Requests,
    pub(super) block_shift: u8,
    pub(super) target: String,
    pub(super) connect: Connect,
}

/// Memory is never unmapped; what threads have left that have ended is for those that come.
static IDLE: Mutex<Vec<Memory>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<Memory>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module page.
pub(super) struct Server {
    seed: Seed,
    ring: Ring,
    memory: Memory,
    tags: Vec<State>,
    link: Option<Link>,
    /// When a login is tried next.
    next_login: u64,
    /// What was said of the last one that failed.
    complaint: String,
    done: Vec<Done>,
}

impl Server {
    /// On the thread that serves.
    ///
    /// # Errors
    /// When memory or a ring cannot be had.
    pub(super) fn new(seed: Seed) -> anyhow::Result<Self> {
        let memory = match idle().pop() {
            Some(memory) => memory,
            None => Memory::new(Region::new(u64::from(DEPTH) * u64::from(MAX_IO), Pages::Transparent)?),
        };
        // It does not poll: the processor is better used by the reactor that is to answer.
        let config = RingConfig {
            in_flight: u32::from(DEPTH) + BESIDE,
            poll_ns: 0,
            files: 1,
            ..RingConfig::default()
        };
        let ring = Ring::new(&config, &memory, Arc::new(Bell::new()?))?;
        let tags = vec![State::Idle; DEPTH.into()];
        Ok(Self {
            seed,
            ring,
            memory,
            tags,
            link: None,
            next_login: 0,
            complaint: String::new(),
            done: Vec::new(),
        })
    }

    /// The whole life.
    pub(super) fn run(mut self) {
        (0..DEPTH).for_each(|tag| self.fetch(tag, None));
        while self.tags.iter().any(|state| *state != State::Gone) {
            self.turn(self.wait());
            self.hear();
            self.lose_patience();
            self.reconnect();
            self.begin();
            if let Some(link) = &mut self.link {
                link.push(&mut self.ring, LINK);
            }
        }
        self.part();
        let Self { ring, memory, .. } = self;
        let is_quiet = ring.in_flight() == 0;
        drop(ring);
        if is_quiet {
            idle().push(memory);
        }
    }

    /// Gives the request of a tag back, if there was one, and waits for the next.
    fn fetch(&mut self, tag: u16, answer: Option<i32>) {
        let queue = self.seed.made.queue(&self.seed.device);
        let kind = Kind::Serve { queue, tag, answer, place: place(tag) };
        push(&mut self.ring, Op { tag: tag.into(), kind });
        self.tags[usize::from(tag)] = State::Idle;
    }

    /// How long the next turn may sleep.
    fn wait(&self) -> Wait {
        let open = self.link.as_ref().is_some_and(Link::is_open);
        let due = self.tags.iter().filter_map(|state| match state {
            State::Waiting { due, since, .. } => Some(if open { *due } else { *since + patience() }),
            State::Sent { at, .. } => Some(*at + COMMAND_NS),
            _ => None,
        });
        let login = self.link.is_none().then_some(self.next_login);
        due.chain(login).min().map_or(Wait::Forever, Wait::Until)
    }

    fn turn(&mut self, wait: Wait) {
        self.ring.turn(wait, &mut self.memory, &mut self.done);
        let mut done = std::mem::take(&mut self.done);
        done.drain(..).for_each(|done| self.take(done));
        self.done = done;
    }

    fn take(&mut self, Done { op, result, .. }: Done) {
        match (op.kind, &mut self.link) {
            (Kind::Serve { tag, .. }, _) => self.asked(tag, result),
            (kind, Some(link)) => link.done(kind, result, &mut self.ring, LINK),
            (_, None) => {}
        }
    }

    /// The driver has something for a tag, or will not have anything any more.
    fn asked(&mut self, tag: u16, result: i32) {
        let now = self.ring.now();
        self.tags[usize::from(tag)] = match result {
            0.. => State::Waiting { request: self.seed.requests.get(tag), since: now, due: now },
            error => {
                if error != -libc::ENODEV {
                    let (name, error) = (&self.seed.name, io::Error::from_raw_os_error(-error));
                    tracing::error!(disk = name, tag, %error, "the kernel takes no more of this local disk");
                }
                State::Gone
            }
        };
    }

    /// Takes what the target has said.
    fn hear(&mut self) {
        while let Some(link) = &mut self.link {
            match link.next(&mut self.memory) {
                Ok(Some(event)) => self.heard(event),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(disk = self.seed.name, %error, "a local disk's own target breaks rules");
                    return link.end(&mut self.ring);
                }
            }
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Done(done) => self.ended(&done),
            // It is to go, or to negotiate anew, which the next one does.
            Event::Async(message, _) if message.async_event != 0 => {
                self.link.iter_mut().for_each(Link::leave);
            }
            Event::Rejected(reject, _) => {
                tracing::error!(disk = self.seed.name, ?reject, "a local disk's own target rejects a PDU");
                self.link.iter_mut().for_each(|link| link.end(&mut self.ring));
            }
            _ => {}
        }
    }

    /// A command has ended.
    fn ended(&mut self, done: &initiator::Done) {
        let tag = done.user as u16;
        let Some(State::Sent { request, since, .. }) = self.tags.get(usize::from(tag)).copied() else {
            return;
        };
        let now = self.ring.now();
        let again = |due| State::Waiting { request, since, due };
        match judge(&request, done) {
            Verdict::Ends(result) => self.fetch(tag, Some(result)),
            Verdict::Again => self.tags[usize::from(tag)] = again(now),
            Verdict::Later => self.tags[usize::from(tag)] = again(now + PAUSE_NS),
        }
    }

    /// Gives a session up that has not answered a command for too long.
    fn lose_patience(&mut self) {
        let now = self.ring.now();
        let late = |state: &State| matches!(state, State::Sent { at, .. } if now >= *at + COMMAND_NS);
        if self.tags.iter().any(late)
            && let Some(link) = self.link.as_mut().filter(|link| link.is_open())
        {
            tracing::warn!(disk = self.seed.name, "a local disk's target does not answer: another session");
            link.end(&mut self.ring);
        }
    }

    /// Follows a session that has ended by another.
    fn reconnect(&mut self) {
        let now = self.ring.now();
        if self.link.as_ref().is_some_and(Link::is_over) {
            tracing::info!(disk = self.seed.name, "the session of a local disk has ended; it logs in again");
            self.link = None;
            self.tags.iter_mut().for_each(|state| *state = state.unsent(now));
        }
        if self.link.is_some() || now < self.next_login {
            return;
        }
        self.next_login = now + PAUSE_NS;
        match log_in(&self.seed.connect, &self.seed.target).and_then(|new| Ok(Link::new(new)?)) {
            Ok(link) => {
                self.link = Some(link);
                self.complaint.clear();
            }
            Err(error) => self.complain(format!("{error:#}")),
        }
    }

    /// It is tried again and again, and told once.
    fn complain(&mut self, what: String) {
        if what != self.complaint {
            tracing::warn!(disk = self.seed.name, "a local disk cannot log in: {what}");
            self.complaint = what;
        }
    }

    /// Begins what is due, and gives up what has waited too long.
    fn begin(&mut self) {
        let now = self.ring.now();
        for tag in 0..DEPTH {
            let State::Waiting { request, since, due } = self.tags[usize::from(tag)] else { continue };
            if now >= since + patience() {
                tracing::error!(
                    disk = self.seed.name,
                    ?request,
                    "nobody has done this for {PATIENCE:?}: it fails"
                );
                self.fetch(tag, Some(-libc::EIO));
            } else if due <= now {
                self.send(tag, request, since);
            }
        }
    }

    fn send(&mut self, tag: u16, request: Request, since: u64) {
        let Some(link) = self.link.as_mut().filter(|link| link.is_open()) else { return };
        let Some(mut command) = command(&request, self.seed.block_shift, place(tag).off as u32) else {
            return self.fetch(tag, Some(-libc::EOPNOTSUPP));
        };
        command.user = tag.into();
        if link.submit(command) {
            self.tags[usize::from(tag)] = State::Sent { request, since, at: self.ring.now() };
        }
    }

    /// Ends the session, politely if that is heard in time; nothing is in flight any more when it returns, or the ring
    /// leaves the memory alone.
    fn part(&mut self) {
        let deadline = self.ring.now() + GOODBYE_NS;
        if let Some(link) = &mut self.link {
            link.leave();
            link.push(&mut self.ring, LINK);
        }
        while self.link.as_ref().is_some_and(|link| !link.is_over()) && self.ring.now() < deadline {
            self.turn(Wait::Until(deadline));
            self.hear();
            self.link.iter_mut().for_each(|link| link.push(&mut self.ring, LINK));
        }
        self.link.iter_mut().for_each(|link| link.end(&mut self.ring));
        let deadline = self.ring.now() + GOODBYE_NS;
        while self.ring.in_flight() > 0 && self.ring.now() < deadline {
            self.turn(Wait::Until(deadline));
        }
    }
}

impl State {
    /// As it is when the session has ended. It waits anew: while it was a command it was the target's turn.
    fn unsent(self, now: u64) -> Self {
        match self {
            Self::Sent { request, .. } => Self::Waiting { request, since: now, due: now },
            other => other,
        }
    }
}

fn patience() -> u64 {
    PATIENCE.as_nanos() as u64
}

/// Where the data of a tag lie.
fn place(tag: u16) -> Place {
    Place::pool(u64::from(tag) * u64::from(MAX_IO), MAX_IO)
}

//! The thread of a device: requests of the kernel become commands, and their answers go back.
//!
//! Owns: the ring, the memory that the driver copies to and from, the session. Promises: a session that has ended is followed by
//! another, as long as there is a way to its target; it ends when the driver has no request for any tag any more. Refuses to know: what requests mean, and what becomes
//! of them, which [`Tags`] does.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::link::{Link, log_in, push};
use super::tags::{PAUSE_NS, Sides, Tags, place};
use super::{DEPTH, MAX_IO, Tie};
use crate::initiator::{Command, Event};
use crate::mem::{Memory, Pages, Place, Region};
use crate::ring::ublk::{Made, Requests};
use crate::ring::{Bell, Done, Driver, Kind, Op, Ring, RingConfig, Wait};

/// The tag of operations of the session; those below are the device's.
const LINK: u64 = DEPTH as u64;

/// Operations beside one for each tag: a receive and a send, and what the ring has for itself.
const BESIDE: u32 = 16;

/// How long the end of a session may take, nanoseconds.
const GOODBYE_NS: u64 = 2_000_000_000;

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
    pub(super) tie: Tie,
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
    tags: Tags,
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
        let tags = Tags::new(seed.name.clone(), seed.block_shift);
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
        (0..DEPTH).for_each(|tag| fetch(&mut self.ring, &self.seed, tag, None));
        while !self.tags.are_gone() {
            self.turn(self.wait());
            self.hear();
            self.lose_patience();
            self.reconnect();
            self.go_on();
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

    /// Begins what can be begun. What cannot reach its target any more ends.
    fn go_on(&mut self) {
        let is_cut = self.seed.tie.is_cut();
        self.with_tags(|tags, now, sides| match is_cut {
            true => tags.give_up(sides),
            false => tags.begin(now, sides),
        });
    }

    /// Has something done with the tags, now, which may concern both sides.
    fn with_tags(&mut self, act: impl FnOnce(&mut Tags, u64, &mut Outside<'_>)) {
        let now = self.ring.now();
        let mut sides = Outside {
            seed: &self.seed,
            ring: &mut self.ring,
            link: self.link.as_mut().filter(|l| l.is_open()),
        };
        act(&mut self.tags, now, &mut sides);
    }

    /// How long the next turn may sleep.
    fn wait(&self) -> Wait {
        let is_open = self.link.as_ref().is_some_and(Link::is_open);
        let login = self.link.is_none().then_some(self.next_login);
        self.tags.due(is_open).into_iter().chain(login).min().map_or(Wait::Forever, Wait::Until)
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
        match result {
            0.. => self.tags.asked(tag, self.seed.requests.get(tag), self.ring.now()),
            error => {
                if error != -libc::ENODEV {
                    let (name, error) = (&self.seed.name, io::Error::from_raw_os_error(-error));
                    tracing::error!(disk = name, tag, %error, "the kernel takes no more of this local disk");
                }
                self.tags.gone(tag);
            }
        }
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
            Event::Done(done) => self.with_tags(|tags, now, sides| tags.ended(&done, now, sides)),
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

    /// Gives a session up that has not answered a command for too long.
    fn lose_patience(&mut self) {
        if self.tags.are_overdue(self.ring.now())
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
            self.tags.unsend(now);
        }
        if self.link.is_some() || now < self.next_login {
            return;
        }
        self.next_login = now + PAUSE_NS;
        match log_in(&self.seed.tie, &self.seed.target).and_then(|new| Ok(Link::new(new)?)) {
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

/// The driver, and the session if there is one that takes commands.
struct Outside<'a> {
    seed: &'a Seed,
    ring: &'a mut Ring,
    link: Option<&'a mut Link>,
}

impl Sides for Outside<'_> {
    fn give_back(&mut self, tag: u16, result: i32) {
        self.seed.tie.answer(self.ring.now());
        fetch(self.ring, self.seed, tag, Some(result));
    }

    fn submit(&mut self, command: Command) -> bool {
        self.link.as_mut().is_some_and(|link| link.submit(command))
    }
}

/// Gives the request of a tag back, if there was one, and waits for the next.
fn fetch(ring: &mut Ring, seed: &Seed, tag: u16, answer: Option<i32>) {
    let (queue, place) = (seed.made.queue(&seed.device), Place::pool(place(tag).into(), MAX_IO));
    push(ring, Op { tag: tag.into(), kind: Kind::Serve { queue, tag, answer, place } });
}

//! The requests of a device, by their tags: where each of them is.
//!
//! Owns: the state of every tag. Promises: a tag is with the driver, or waits, or is a command under way; a request is
//! answered once, with what has become of it, or with an I/O error when nobody has done it for [`PATIENCE`]; what a lost
//! session has not answered is sent again by the next. Refuses to know: rings, sockets, clocks; what time it is it is told.
//!
//! ```text
//!   with the driver ─► waits ─► sent ─► answered, and with the driver again
//!                        ▲        │
//!                        └────────┘ not now, attention, or the session has ended
//! ```

use super::request::{Verdict, command, judge};
use super::{DEPTH, MAX_IO, PATIENCE};
use crate::initiator::{Command, Done};
use crate::ring::ublk::Request;

/// How long until a login is tried again, and until a command that cannot be done now is, nanoseconds: what is waited for takes
/// longer (a store that comes back, a reset that ends), and nobody is kept busy meanwhile.
pub(super) const PAUSE_NS: u64 = 100_000_000;

/// How long a command may take before its session is given up, nanoseconds: as long as Linux gives a disk, and twice that. The
/// next session replaces it, which ends what it has under way, and does it again. (With TAS zero an initiator may have had
/// commands of ours aborted, and nobody says so.)
const COMMAND_NS: u64 = 60_000_000_000;

const PATIENCE_NS: u64 = PATIENCE.as_nanos() as u64;

/// Both sides of a device.
pub(super) trait Sides {
    /// The driver gets a request back: so many bytes, or a negative errno.
    fn give_back(&mut self, tag: u16, result: i32);

    /// The target gets a command. False: not now.
    fn submit(&mut self, command: Command) -> bool;
}

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

/// See the module page.
#[derive(Debug)]
pub(super) struct Tags {
    /// What the device is called in the log.
    disk: String,
    block_shift: u8,
    states: Vec<State>,
}

impl Tags {
    /// All with the driver.
    pub(super) fn new(disk: String, block_shift: u8) -> Self {
        Self { disk, block_shift, states: vec![State::Idle; DEPTH.into()] }
    }

    /// Whether the driver has nothing for any of them any more.
    pub(super) fn are_gone(&self) -> bool {
        self.states.iter().all(|state| *state == State::Gone)
    }

    /// When the first of them is to be looked at. `is_open`: there is a session that takes commands.
    pub(super) fn due(&self, is_open: bool) -> Option<u64> {
        let due = |state: &State| match *state {
            State::Waiting { due, since, .. } => Some(if is_open { due } else { since + PATIENCE_NS }),
            State::Sent { at, .. } => Some(at + COMMAND_NS),
            State::Idle | State::Gone => None,
        };
        self.states.iter().filter_map(due).min()
    }

    /// The driver has a request for a tag.
    pub(super) fn asked(&mut self, tag: u16, request: Request, now: u64) {
        self.states[usize::from(tag)] = State::Waiting { request, since: now, due: now };
    }

    /// The driver has nothing for it any more.
    pub(super) fn gone(&mut self, tag: u16) {
        self.states[usize::from(tag)] = State::Gone;
    }

    /// Begins what is due, and gives up what has waited too long.
    pub(super) fn begin(&mut self, now: u64, sides: &mut impl Sides) {
        for tag in 0..DEPTH {
            let State::Waiting { request, since, due } = self.states[usize::from(tag)] else { continue };
            if now >= since + PATIENCE_NS {
                tracing::error!(
                    disk = self.disk,
                    ?request,
                    "nobody has done this for {PATIENCE:?}: it fails"
                );
                self.give_back(tag, -libc::EIO, sides);
            } else if due <= now {
                self.send(tag, request, since, now, sides);
            }
        }
    }

    /// Nobody does any more what waits. What is a command waits when its session has ended.
    pub(super) fn give_up(&mut self, sides: &mut impl Sides) {
        for tag in 0..DEPTH {
            if matches!(self.states[usize::from(tag)], State::Waiting { .. }) {
                self.give_back(tag, -libc::EIO, sides);
            }
        }
    }

    fn send(&mut self, tag: u16, request: Request, since: u64, now: u64, sides: &mut impl Sides) {
        let Some(mut command) = command(&request, self.block_shift, place(tag)) else {
            return self.give_back(tag, -libc::EOPNOTSUPP, sides);
        };
        command.user = tag.into();
        if sides.submit(command) {
            self.states[usize::from(tag)] = State::Sent { request, since, at: now };
        }
    }

    /// A command has ended.
    pub(super) fn ended(&mut self, done: &Done, now: u64, sides: &mut impl Sides) {
        let tag = done.user as u16;
        let Some(State::Sent { request, since, .. }) = self.states.get(usize::from(tag)).copied() else {
            return;
        };
        let again = |due| State::Waiting { request, since, due };
        match judge(&request, done) {
            Verdict::Ends(result) => self.give_back(tag, result, sides),
            Verdict::Again => self.states[usize::from(tag)] = again(now),
            Verdict::Later => self.states[usize::from(tag)] = again(now + PAUSE_NS),
        }
    }

    fn give_back(&mut self, tag: u16, result: i32, sides: &mut impl Sides) {
        self.states[usize::from(tag)] = State::Idle;
        sides.give_back(tag, result);
    }

    /// Whether a command has not been answered for so long that its session is to be given up.
    pub(super) fn are_overdue(&self, now: u64) -> bool {
        self.states.iter().any(|state| matches!(state, State::Sent { at, .. } if now >= *at + COMMAND_NS))
    }

    /// The session has ended. What it has not answered waits anew: while it was a command it was the target's turn.
    pub(super) fn unsend(&mut self, now: u64) {
        for state in &mut self.states {
            if let State::Sent { request, .. } = *state {
                *state = State::Waiting { request, since: now, due: now };
            }
        }
    }
}

/// Where the data of a tag lie.
pub(super) fn place(tag: u16) -> u32 {
    u32::from(tag) * MAX_IO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initiator::{Direction, Stretch, cdb};
    use crate::loopback::request::tests::ended;
    use crate::ring::ublk::Asked;
    use crate::scsi::status;

    const SECOND: u64 = 1_000_000_000;
    const NOT_READY: [u8; 8] = [0x72, 2, 0x04, 0x03, 0, 0, 0, 0];
    const ATTENTION: [u8; 8] = [0x72, 6, 0x29, 0, 0, 0, 0, 0];

    /// A device, its driver and its target.
    struct Scene {
        tags: Tags,
        now: u64,
        sides: Ends,
    }

    /// What has reached either side.
    #[derive(Default)]
    struct Ends {
        /// Answers, in their order.
        answers: Vec<(u16, i32)>,
        /// Commands that the target has and has not answered.
        commands: Vec<Command>,
        /// There is no session, or no room in it.
        closed: bool,
    }

    impl Sides for Ends {
        fn give_back(&mut self, tag: u16, result: i32) {
            self.answers.push((tag, result));
        }

        fn submit(&mut self, command: Command) -> bool {
            let is_twice = self.commands.iter().any(|other| other.user == command.user);
            assert!(!is_twice, "the target has that tag already: {command:?}");
            if !self.closed {
                self.commands.push(command);
            }
            !self.closed
        }
    }

    impl Scene {
        fn new() -> Self {
            Self { tags: Tags::new("disk".into(), 9), now: 0, sides: Ends::default() }
        }

        fn asks(&mut self, tag: u16, asked: Asked) {
            let sectors = if asked == Asked::Flush { 0 } else { 8 };
            self.tags.asked(tag, Request { asked, start: u64::from(tag) * 8, sectors }, self.now);
        }

        /// So much time passes; what is due then is begun.
        fn pass(&mut self, time: u64) {
            self.now += time;
            self.tags.begin(self.now, &mut self.sides);
        }

        /// The tags of the commands that the target has.
        fn sent(&self) -> Vec<u64> {
            self.sides.commands.iter().map(|command| command.user).collect()
        }

        fn command(&self, tag: u64) -> &Command {
            self.sides.commands.iter().find(|command| command.user == tag).expect("the target has it")
        }

        /// The target ends the command of a tag.
        fn ends(&mut self, tag: u64, status: u8, sense: &[u8]) {
            self.sides.commands.retain(|command| command.user != tag);
            self.tags.ended(&done(tag, status, sense), self.now, &mut self.sides);
        }

        fn is_well(&mut self, tag: u64) {
            self.ends(tag, status::GOOD, &[]);
        }

        /// The session ends, and the target forgets what it had.
        fn lose_session(&mut self) {
            self.sides.commands.clear();
            self.tags.unsend(self.now);
        }

        fn answers(&mut self) -> Vec<(u16, i32)> {
            std::mem::take(&mut self.sides.answers)
        }
    }

    fn done(user: u64, status: u8, sense: &[u8]) -> Done {
        Done { user, ..ended(status, sense) }
    }

    #[test]
    fn each_tag_has_its_own_command_and_its_own_answer() {
        let mut scene = Scene::new();
        let write = |durable| Asked::Write { durable };
        let all = [Asked::Read, write(false), write(true), Asked::Flush, Asked::Discard, Asked::Unknown];
        (0..).zip(all).for_each(|(tag, asked)| scene.asks(tag, asked));
        scene.pass(0);
        assert_eq!(scene.sent(), [0, 1, 2, 3, 4]);
        assert_eq!(scene.answers(), [(5, -libc::EOPNOTSUPP)], "that no target is asked for");
        let written = |tag: u16| Direction::From(Stretch { at: place(tag), len: 4096 });
        assert_eq!((scene.command(1).cdb, &scene.command(1).direction), (cdb::write(8, 8), &written(1)));
        assert_eq!((scene.command(2).cdb, &scene.command(2).direction), (cdb::write_fua(16, 8), &written(2)));
        assert_eq!(scene.command(3).cdb, cdb::synchronize_cache_10());
        scene.is_well(3);
        scene.ends(2, status::CHECK_CONDITION, &[0x72, 7, 0x27, 0x07, 0, 0, 0, 0]);
        scene.is_well(0);
        scene.ends(4, status::RESERVATION_CONFLICT, &[]);
        scene.is_well(1);
        let ends = [(3, 0), (2, -libc::ENOSPC), (0, 4096), (4, -libc::EBADE), (1, 4096)];
        assert_eq!(scene.answers(), ends);
        scene.pass(500 * SECOND);
        assert_eq!((scene.answers(), scene.tags.due(true)), (vec![], None), "that was all");
    }

    #[test]
    fn a_store_that_is_not_ready_is_asked_again_and_again_but_not_for_ever() {
        let mut scene = Scene::new();
        scene.asks(0, Asked::Flush);
        scene.pass(0);
        scene.pass(20 * SECOND);
        scene.asks(1, Asked::Read);
        scene.pass(0);
        let mut tries = 0;
        while scene.answers().is_empty() {
            for tag in scene.sent() {
                scene.ends(tag, status::CHECK_CONDITION, &NOT_READY);
                tries += 1;
            }
            assert_eq!(scene.tags.due(true), Some(scene.now + PAUSE_NS), "nobody is kept busy");
            scene.pass(PAUSE_NS);
        }
        assert_eq!(scene.now, PATIENCE_NS, "as long as it was said");
        assert_eq!((tries, scene.sent()), (2 * 1000, vec![1]), "who came later waits longer");
        scene.is_well(1);
        assert_eq!(scene.answers(), [(1, 4096)]);
    }

    #[test]
    fn who_is_told_something_else_is_asked_again_at_once() {
        let mut scene = Scene::new();
        scene.asks(7, Asked::Write { durable: true });
        scene.pass(0);
        let before = scene.command(7).cdb;
        scene.ends(7, status::CHECK_CONDITION, &ATTENTION);
        assert_eq!(scene.tags.due(true), Some(scene.now));
        scene.pass(0);
        assert_eq!(scene.command(7).cdb, before, "it is durable as before");
        scene.ends(7, status::BUSY, &[]);
        scene.pass(PAUSE_NS - 1);
        assert!(scene.sent().is_empty());
        scene.pass(1);
        scene.is_well(7);
        assert_eq!(scene.answers(), [(7, 4096)]);
    }

    #[test]
    fn what_a_lost_session_has_not_answered_the_next_one_does() {
        let mut scene = Scene::new();
        (0..4).for_each(|tag| scene.asks(tag, Asked::Write { durable: false }));
        scene.pass(0);
        scene.is_well(2);
        scene.lose_session();
        scene.sides.closed = true;
        scene.asks(4, Asked::Flush);
        scene.pass(SECOND);
        assert!(scene.sent().is_empty());
        // What the one before still had to say is no answer to anything.
        scene.tags.ended(&done(1, status::GOOD, &[]), scene.now, &mut scene.sides);
        scene.tags.ended(&done(99, status::GOOD, &[]), scene.now, &mut scene.sides);
        assert_eq!(scene.answers(), [(2, 4096)]);
        scene.sides.closed = false;
        scene.pass(SECOND);
        assert_eq!(scene.sent(), [0, 1, 3, 4]);
        [4, 3, 1, 0].into_iter().for_each(|tag| scene.is_well(tag));
        assert_eq!(scene.answers(), [(4, 0), (3, 4096), (1, 4096), (0, 4096)]);
    }

    #[test]
    fn a_store_that_never_answers_costs_its_session_and_waits_anew() {
        let mut scene = Scene::new();
        scene.asks(0, Asked::Read);
        scene.pass(0);
        assert_eq!(scene.tags.due(true), Some(COMMAND_NS));
        scene.pass(COMMAND_NS - 1);
        assert!(!scene.tags.are_overdue(scene.now));
        scene.pass(1);
        assert!(scene.tags.are_overdue(scene.now));
        scene.lose_session();
        assert!(!scene.tags.are_overdue(scene.now), "the next one has its own time");
        scene.sides.closed = true;
        assert_eq!(scene.tags.due(false), Some(scene.now + PATIENCE_NS), "there is nobody to be asked");
        scene.pass(PATIENCE_NS - 1);
        assert_eq!(scene.answers(), []);
        scene.pass(1);
        assert_eq!(scene.answers(), [(0, -libc::EIO)]);
    }

    #[test]
    fn what_a_disk_that_is_cut_off_is_asked_fails_at_once() {
        let mut scene = Scene::new();
        (0..2).for_each(|tag| scene.asks(tag, Asked::Write { durable: false }));
        scene.pass(0);
        scene.ends(0, status::BUSY, &[]);
        scene.tags.give_up(&mut scene.sides);
        assert_eq!(scene.answers(), [(0, -libc::EIO)], "the other is still a command");
        scene.lose_session();
        scene.asks(2, Asked::Flush);
        scene.tags.give_up(&mut scene.sides);
        assert_eq!(scene.answers(), [(1, -libc::EIO), (2, -libc::EIO)]);
        scene.pass(PAUSE_NS);
        assert!(scene.sent().is_empty());
    }

    #[test]
    fn an_answer_that_comes_late_counts_all_the_same() {
        let mut scene = Scene::new();
        scene.asks(0, Asked::Write { durable: true });
        scene.pass(0);
        scene.pass(PATIENCE_NS + SECOND);
        assert_eq!(scene.answers(), [], "the target has it: nobody knows better");
        scene.is_well(0);
        assert_eq!(scene.answers(), [(0, 4096)]);
    }

    #[test]
    fn it_is_over_when_the_driver_has_nothing_for_any_tag() {
        let mut scene = Scene::new();
        scene.asks(0, Asked::Flush);
        scene.pass(0);
        (1..DEPTH).for_each(|tag| scene.tags.gone(tag));
        assert!(!scene.tags.are_gone());
        scene.is_well(0);
        scene.tags.gone(0);
        assert!(scene.tags.are_gone() && scene.tags.due(false).is_none());
    }

    /// Whatever happens, in whatever order: each request is answered once, and none is with the target twice.
    #[test]
    fn every_request_is_answered_once_in_any_course_of_things() {
        for seed in 1..200u64 {
            let (mut scene, mut dice) = (Scene::new(), seed);
            let mut chance = |below: u64| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (dice >> 33) % below
            };
            let (mut open, mut asked, mut answered) = (vec![false; DEPTH.into()], 0, 0);
            for step in 0..2000 {
                // Towards the end nobody asks any more, and all goes well.
                let is_late = step >= 1500;
                match if is_late { 2 } else { chance(6) } {
                    0 | 1 => {
                        let tag = chance(DEPTH.into()) as u16;
                        if !std::mem::replace(&mut open[usize::from(tag)], true) {
                            asked += 1;
                            scene.asks(tag, [Asked::Read, Asked::Flush, Asked::Discard][chance(3) as usize]);
                        }
                    }
                    2 if !scene.sent().is_empty() => {
                        let sent = scene.sent();
                        let tag = sent[chance(sent.len() as u64) as usize];
                        match if is_late { 0 } else { chance(4) } {
                            0 | 1 => scene.is_well(tag),
                            2 => scene.ends(tag, status::CHECK_CONDITION, &ATTENTION),
                            _ => scene.ends(tag, status::CHECK_CONDITION, &NOT_READY),
                        }
                    }
                    3 if chance(10) == 0 => scene.lose_session(),
                    4 => scene.sides.closed = chance(3) == 0,
                    _ => {}
                }
                scene.sides.closed &= !is_late;
                scene.pass(chance(SECOND / 2));
                for (tag, _) in scene.answers() {
                    answered += 1;
                    assert!(
                        std::mem::replace(&mut open[usize::from(tag)], false),
                        "{seed}: {tag} was answered"
                    );
                }
            }
            assert_eq!((asked, open.contains(&true)), (answered, false), "{seed}");
        }
    }
}

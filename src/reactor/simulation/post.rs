//! The post between simulated reactors: late, but in order from each sender to each receiver.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::mail::{Address, Letter, mailboxes};
use crate::ring::{Bell, sim};

/// Letters on their way from one reactor to another.
#[derive(Debug)]
struct Lane {
    from: Receiver<Letter>,
    /// With the time at which they arrive.
    waiting: VecDeque<(u64, Letter)>,
}

/// See the module page.
#[derive(Debug)]
pub(super) struct Post {
    /// By sender, then by receiver.
    lanes: Vec<Vec<Lane>>,
    inboxes: Vec<(Sender<Letter>, Arc<Bell>)>,
    /// How long a letter takes, nanoseconds.
    pub(super) delay: Range<u64>,
}

/// What a reactor is given of the post.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) inbox: Receiver<Letter>,
    pub(super) addresses: Vec<Address>,
    pub(super) bell: Arc<Bell>,
}

impl Post {
    /// The post for that many reactors, and a door for each.
    pub(super) fn new(reactors: usize, delay: Range<u64>) -> (Self, Vec<Door>) {
        let (mut lanes, mut inboxes, mut doors) = (Vec::new(), Vec::new(), Vec::new());
        for me in 0..reactors {
            let bell = Arc::new(Bell::silent());
            let bells = (0..reactors).map(|r| if r == me { bell.clone() } else { Arc::new(Bell::silent()) });
            let (addresses, receivers) = mailboxes(bells.collect());
            lanes.push(receivers.into_iter().map(|from| Lane { from, waiting: VecDeque::new() }).collect());
            let (sender, inbox) = bounded(4096);
            inboxes.push((sender, bell.clone()));
            doors.push(Door { inbox, addresses, bell });
        }
        (Self { lanes, inboxes, delay }, doors)
    }

    /// Puts a letter of the control thread into a mailbox.
    pub(super) fn hand_in(&self, to: usize, letter: Letter) {
        let (sender, bell) = &self.inboxes[to];
        // A reactor that has stopped reads no letters.
        let _ = sender.send(letter);
        bell.ring();
    }

    /// Collects what was posted and delivers what is due; whether anything was delivered.
    pub(super) fn work(&mut self, world: &sim::World) -> bool {
        let mut any = false;
        let now = world.now();
        for lanes in &mut self.lanes {
            for (to, lane) in lanes.iter_mut().enumerate() {
                while let Ok(letter) = lane.from.try_recv() {
                    let earliest = lane.waiting.back().map_or(0, |(at, _)| *at);
                    let span = self.delay.end - self.delay.start;
                    let at = (now + self.delay.start + world.chance(span.max(1))).max(earliest);
                    lane.waiting.push_back((at, letter));
                }
                while lane.waiting.front().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, letter)) = lane.waiting.pop_front() {
                        let (sender, bell) = &self.inboxes[to];
                        let _ = sender.send(letter);
                        bell.ring();
                        any = true;
                    }
                }
            }
        }
        any
    }

    /// When the next letter arrives.
    pub(super) fn next(&self) -> Option<u64> {
        self.lanes.iter().flatten().filter_map(|lane| lane.waiting.front().map(|(at, _)| *at)).min()
    }
}

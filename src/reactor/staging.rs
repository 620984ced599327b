//! How much staging a connection has: bytes of one receive that are not placed but copied.
//!
//! Owns: the judgement, and the budget of what is beyond the usual. Who sends many small writes at once gets more, for
//! each receive that is saved is a twentieth of the processor time of a 4 KiB write. Who sends long ones does not, for
//! their payload would be copied that could be placed.
//!
//! ```text
//!   memory ≤ connections × USUAL + MOST_ROOMY × (ROOMY − USUAL)
//! ```

use crate::ring::RecvOp;
use crate::session::rx::MAX_HEADERS;

/// Headers and small payloads, bytes.
pub(super) const USUAL: usize = 16 << 10;

/// Where receives fill that with small payloads. As measured on 4 KiB writes, 24 KiB take 0.93 of the processor time that
/// 16 KiB take, these 0.91, and 64 KiB 0.86. But those empty the socket: a queue of 32 is then answered at once, its
/// initiator has nothing under way until it has seen that, and where two reactors share a processor both sides wait for
/// each other in turn and take half as much time again.
const ROOMY: usize = 32 << 10;

/// Connections of a reactor that may have so much.
const MOST_ROOMY: u32 = 256;

/// The longest payload that is better copied with what is around it than placed, bytes.
const SMALL: u32 = 16 << 10;

/// So many receives that would not have filled the usual give the rest back. It is allocated anew then, and no more often.
const PATIENCE: u32 = 256;

/// One receive after so long is enough for that: who sleeps would have it for hours. Nanoseconds.
const SILENCE_NS: u64 = 1_000_000_000;

/// So many receives with nothing but small payloads must have filled the usual since the last long one: of the next long
/// one more than the usual may be copied.
const WARY: u32 = 16;

/// What a connection has.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// Full receives that are still to come before it gets more.
    wary: u32,
    /// Receives in a row for which it would not have needed more.
    slack: u32,
    /// When it has received last while it had more.
    heard: u64,
}

/// The room that is left for connections with more than the usual.
#[derive(Debug)]
pub(super) struct Roomy {
    left: u32,
}

impl Default for Roomy {
    fn default() -> Self {
        Self { left: MOST_ROOMY }
    }
}

impl Roomy {
    /// Says how much the next receive may take, after one that brought payloads of up to `longest` bytes.
    #[inline]
    pub(super) fn fit(&mut self, staging: &mut Staging, recv: &mut RecvOp, longest: u32, now: u64) {
        if longest > SMALL {
            staging.wary = WARY;
            recv.offer(USUAL.max(recv.filled + MAX_HEADERS));
        } else if recv.is_full() {
            self.widen(staging, recv);
            staging.heard = now;
        } else if recv.staging.len() > USUAL {
            self.narrow(staging, recv, now);
            staging.heard = now;
        }
    }

    #[cold]
    fn widen(&mut self, staging: &mut Staging, recv: &mut RecvOp) {
        staging.slack = 0;
        if staging.wary > 0 {
            staging.wary -= 1;
            return;
        }
        if recv.staging.len() == USUAL && self.left > 0 {
            self.left -= 1;
            recv.resize(ROOMY);
        }
        recv.offer(recv.staging.len());
    }

    #[cold]
    fn narrow(&mut self, staging: &mut Staging, recv: &mut RecvOp, now: u64) {
        let counts = if now.saturating_sub(staging.heard) >= SILENCE_NS { PATIENCE } else { 1 };
        staging.slack = if recv.brought() < USUAL { staging.slack + counts } else { 0 };
        if staging.slack >= PATIENCE && recv.filled <= USUAL - MAX_HEADERS {
            staging.slack = 0;
            recv.resize(USUAL);
            self.left += 1;
        }
    }

    /// A connection has gone.
    pub(super) fn gone(&mut self, recv: &RecvOp) {
        self.left += u32::from(recv.staging.len() > USUAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One connection.
    struct Line(Staging, Box<RecvOp>, u64);

    impl Line {
        fn new() -> Self {
            Self(Staging::default(), RecvOp::new(3, USUAL), 0)
        }

        /// A receive brings so many bytes, which are used; how much the next one may bring.
        fn receive(&mut self, roomy: &mut Roomy, bytes: usize, longest: u32) -> usize {
            let Self(staging, recv, now) = self;
            *now += 1;
            let count = bytes.min(recv.wanted() as usize);
            recv.took(count as u32);
            recv.consume(count);
            roomy.fit(staging, recv, longest, *now);
            recv.wanted() as usize
        }
    }

    #[test]
    fn many_small_writes_get_more_and_long_ones_do_not() {
        let (mut roomy, mut line) = (Roomy::default(), Line::new());
        assert_eq!(line.receive(&mut roomy, 9000, 4096), USUAL, "it has not filled");
        assert_eq!(line.receive(&mut roomy, USUAL, 4096), ROOMY);
        assert_eq!(line.receive(&mut roomy, 100, 4096), ROOMY, "it stays");
        assert_eq!(line.receive(&mut roomy, 100, SMALL + 1), USUAL, "until there are long ones");
        (0..WARY).for_each(|_| assert_eq!(line.receive(&mut roomy, USUAL, 4096), USUAL, "and for a while"));
        assert_eq!(line.receive(&mut roomy, USUAL, 4096), ROOMY, "and comes back");
        assert_eq!(roomy.left, MOST_ROOMY - 1);
    }

    #[test]
    fn what_is_not_needed_any_more_goes_back() {
        let (mut roomy, mut line) = (Roomy::default(), Line::new());
        line.receive(&mut roomy, USUAL, 512);
        (1..PATIENCE).for_each(|_| assert_eq!(line.receive(&mut roomy, 4144, 4096), ROOMY));
        assert_eq!(line.receive(&mut roomy, USUAL, 4096), ROOMY, "it was needed");
        (1..PATIENCE).for_each(|_| assert_eq!(line.receive(&mut roomy, 4144, 4096), ROOMY));
        assert_eq!(line.receive(&mut roomy, 4144, 4096), USUAL);
        assert_eq!((line.1.staging.len(), roomy.left), (USUAL, MOST_ROOMY));
        line.receive(&mut roomy, USUAL, 512);
        assert_eq!(roomy.left, MOST_ROOMY - 1);
        roomy.gone(&line.1);
        assert_eq!(roomy.left, MOST_ROOMY);
    }

    #[test]
    fn who_has_slept_gives_it_back_at_once() {
        let (mut roomy, mut line) = (Roomy::default(), Line::new());
        line.receive(&mut roomy, USUAL, 512);
        line.2 += SILENCE_NS;
        assert_eq!(line.receive(&mut roomy, USUAL, 512), ROOMY, "but not while it needs that");
        line.2 += SILENCE_NS - 2;
        assert_eq!(line.receive(&mut roomy, 48, 0), ROOMY);
        line.2 += SILENCE_NS;
        assert_eq!((line.receive(&mut roomy, 48, 0), roomy.left), (USUAL, MOST_ROOMY));
    }

    #[test]
    fn the_budget_is_kept() {
        let mut roomy = Roomy::default();
        let mut all: Vec<_> = (0..=MOST_ROOMY).map(|_| Line::new()).collect();
        let given: Vec<usize> = all.iter_mut().map(|line| line.receive(&mut roomy, USUAL, 512)).collect();
        assert_eq!(given.iter().filter(|room| **room == ROOMY).count(), MOST_ROOMY as usize);
        assert_eq!(given.last(), Some(&USUAL));
    }

    #[test]
    fn what_was_left_unread_has_headers_behind_it() {
        let (mut roomy, mut line) = (Roomy::default(), Line::new());
        line.receive(&mut roomy, USUAL, 512);
        line.1.took(ROOMY as u32 / 2);
        roomy.fit(&mut line.0, &mut line.1, SMALL + 1, 0);
        assert_eq!(line.1.wanted() as usize, MAX_HEADERS);
    }
}

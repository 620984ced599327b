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

/// Where receives fill that with small payloads. As measured, on 4 KiB writes 24 KiB take 0.93 of the processor time
/// that 16 KiB take, 32 KiB 0.91, and these 0.86.
const ROOMY: usize = 64 << 10;

/// Connections of a reactor that may have so much.
const MOST_ROOMY: u32 = 256;

/// The longest payload that is better copied with what is around it than placed, bytes.
const SMALL: u32 = 16 << 10;

/// So many receives that would not have filled the usual give the rest back.
const PATIENCE: u32 = 256;

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
    pub(super) fn fit(&mut self, recv: &mut RecvOp, longest: u32) {
        let is_full = recv.is_full();
        if longest > SMALL {
            recv.offer(USUAL.max(recv.filled + MAX_HEADERS));
        } else if is_full {
            self.widen(recv);
        } else if recv.staging.len() > USUAL {
            self.narrow(recv);
        }
    }

    #[cold]
    fn widen(&mut self, recv: &mut RecvOp) {
        if recv.staging.len() == USUAL && self.left > 0 {
            self.left -= 1;
            recv.resize(ROOMY);
        }
        recv.offer(recv.staging.len());
        recv.slack = 0;
    }

    #[cold]
    fn narrow(&mut self, recv: &mut RecvOp) {
        recv.slack = if recv.brought() < USUAL { recv.slack + 1 } else { 0 };
        if recv.slack >= PATIENCE && recv.filled <= USUAL - MAX_HEADERS {
            recv.resize(USUAL);
            recv.slack = 0;
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

    /// A receive brings so many bytes, which are used.
    fn receive(roomy: &mut Roomy, recv: &mut RecvOp, bytes: usize, longest: u32) -> usize {
        let count = bytes.min(recv.wanted() as usize);
        recv.took(count as u32);
        recv.consume(count);
        roomy.fit(recv, longest);
        recv.wanted() as usize
    }

    #[test]
    fn many_small_writes_get_more_and_long_ones_do_not() {
        let (mut roomy, mut recv) = (Roomy::default(), RecvOp::new(3, USUAL));
        assert_eq!(receive(&mut roomy, &mut recv, 9000, 4096), USUAL, "it has not filled");
        assert_eq!(receive(&mut roomy, &mut recv, USUAL, SMALL + 1), USUAL, "long ones");
        assert_eq!(receive(&mut roomy, &mut recv, USUAL, 4096), ROOMY);
        assert_eq!(receive(&mut roomy, &mut recv, 100, 4096), ROOMY, "it stays");
        assert_eq!(receive(&mut roomy, &mut recv, 100, 1 << 20), USUAL, "until there are long ones");
        assert_eq!(receive(&mut roomy, &mut recv, USUAL, 4096), ROOMY, "and comes back");
        assert_eq!(roomy.left, MOST_ROOMY - 1);
    }

    #[test]
    fn what_is_not_needed_any_more_goes_back() {
        let (mut roomy, mut recv) = (Roomy::default(), RecvOp::new(3, USUAL));
        receive(&mut roomy, &mut recv, USUAL, 512);
        (1..PATIENCE).for_each(|_| assert_eq!(receive(&mut roomy, &mut recv, 4144, 4096), ROOMY));
        assert_eq!(receive(&mut roomy, &mut recv, USUAL, 4096), ROOMY, "it was needed");
        (1..PATIENCE).for_each(|_| assert_eq!(receive(&mut roomy, &mut recv, 4144, 4096), ROOMY));
        assert_eq!(receive(&mut roomy, &mut recv, 4144, 4096), USUAL);
        assert_eq!((recv.staging.len(), roomy.left), (USUAL, MOST_ROOMY));
        receive(&mut roomy, &mut recv, USUAL, 512);
        roomy.gone(&recv);
        assert_eq!(roomy.left, MOST_ROOMY);
    }

    #[test]
    fn the_budget_is_kept() {
        let mut roomy = Roomy::default();
        let mut all: Vec<_> = (0..=MOST_ROOMY).map(|_| RecvOp::new(3, USUAL)).collect();
        let given: Vec<usize> = all.iter_mut().map(|r| receive(&mut roomy, r, USUAL, 512)).collect();
        assert_eq!(given.iter().filter(|room| **room == ROOMY).count(), MOST_ROOMY as usize);
        assert_eq!(given.last(), Some(&USUAL));
    }

    #[test]
    fn what_was_left_unread_has_headers_behind_it() {
        let (mut roomy, mut recv) = (Roomy::default(), RecvOp::new(3, USUAL));
        receive(&mut roomy, &mut recv, USUAL, 512);
        recv.took(ROOMY as u32 / 2);
        roomy.fit(&mut recv, SMALL + 1);
        assert_eq!(recv.wanted() as usize, MAX_HEADERS);
    }
}

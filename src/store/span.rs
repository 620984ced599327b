//! A range that is discarded or zeroed, piece by piece.
//!
//! A range can be a whole disk, so it is worked off in pieces that each take well below a second:
//! in between, other commands get their turn, and an abort can stop it. What a file system or device
//! turns out not to support is replaced: zeroing by writing zeroes, discarding by nothing.

use super::Store;
use super::backing::{DiscardMethod, Medium};
use super::fault::{Direction, Fault, Progress, judge, judge_plain};
use super::unit::{Step, ZEROES};
use crate::mem::Memory;

/// Bytes of one piece where only bookkeeping changes.
const QUICK: u64 = 1 << 30;
/// Bytes of one piece where the device may have to write it.
const SLOW: u64 = 64 << 20;
/// Bytes of one piece that is done on the reactor itself: a tenth of a millisecond or so.
const OWN_WORK: u64 = 1 << 20;

const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// Work on a range. Take a step, perform it, tell its result, until there is none.
///
/// ```text
///   while let Some(step) = span.step(&store, &mut memory) {
///       let result = …perform it: 0 for Now(Ok) and Later…;
///       span.done(result)?;
///   }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    at: u64,
    end: u64,
    /// Bytes of a logical block.
    block: u32,
    method: Method,
    /// What to do instead when the method turns out not to be supported.
    otherwise: Method,
    /// Flush when all is done, because every change has to be durable.
    durable: bool,
}

/// How one piece is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    /// `fallocate` with that mode.
    Fallocate(i32),
    /// `BLKDISCARD`.
    Forget,
    /// Zeroes are written.
    Write,
    /// The ramdisk's memory is zeroed, and given back if so.
    Memory { unmap: bool },
    /// Nothing needs to happen.
    Nothing,
}

impl Span {
    pub(super) fn discard(store: &Store, at: u64, len: u64) -> Self {
        let method = match &store.backing().medium {
            Medium::File(medium) => match medium.discard {
                DiscardMethod::None => Method::Nothing,
                DiscardMethod::Punch => Method::Fallocate(PUNCH),
                DiscardMethod::Forget => Method::Forget,
            },
            Medium::Ram(_) if store.backing().thin.is_some() => Method::Memory { unmap: true },
            Medium::Ram(_) | Medium::Null => Method::Nothing,
            Medium::Pass(_) => Method::Write,
        };
        Self::new(store, at, len, method, Method::Nothing)
    }

    pub(super) fn zero(store: &Store, at: u64, len: u64, unmap: bool) -> Self {
        let unmap = unmap && store.backing().thin.is_some_and(|thin| thin.lbprz);
        let method = match &store.backing().medium {
            Medium::File(_) if unmap => Method::Fallocate(PUNCH),
            Medium::File(_) => Method::Fallocate(ZERO),
            Medium::Ram(_) => Method::Memory { unmap },
            Medium::Null => Method::Nothing,
            Medium::Pass(_) => Method::Write,
        };
        Self::new(store, at, len, method, Method::Write)
    }

    fn new(store: &Store, at: u64, len: u64, method: Method, otherwise: Method) -> Self {
        let durable = store.file_medium().is_some_and(|m| m.dsync_always) && method != Method::Nothing;
        Self {
            at,
            end: at.saturating_add(len),
            block: store.backing().block_size,
            method,
            otherwise,
            durable,
        }
    }

    /// First byte that is not done yet.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What to do next; `None`: all is done.
    pub fn step(&self, store: &Store, memory: &mut Memory) -> Option<Step> {
        let (at, len) = (self.at, self.piece());
        if len == 0 {
            return self.durable.then(|| store.flush());
        }
        if let Err(fault) = store.check_write(at, len) {
            return Some(Step::Now(Err(fault)));
        }
        Some(match self.method {
            Method::Fallocate(mode) => store.fallocate(mode, at, len),
            Method::Forget => store.forget(at, len),
            Method::Write => store.write_zeroes(memory, at, len),
            Method::Memory { unmap } => store.zero_memory(memory, at, len, unmap),
            Method::Nothing => Step::Later,
        })
    }

    /// Takes the result of the step: bytes or zero, or a negative errno.
    ///
    /// # Errors
    /// When the range cannot be finished. Some of it may have been changed.
    pub fn done(&mut self, result: i32) -> Result<(), Fault> {
        let piece = self.piece();
        let progress = match self.method {
            Method::Write if piece > 0 => judge(Direction::Write, result, piece as u32, self.block),
            _ => judge_plain(result),
        };
        match progress {
            Progress::Done if piece == 0 => self.durable = false,
            Progress::Done => self.at += piece,
            Progress::Short(bytes) => self.at += u64::from(bytes),
            Progress::Retry => {}
            Progress::Fault(fault) => return self.replace(fault),
        }
        Ok(())
    }

    /// Bytes of the next piece.
    fn piece(&self) -> u64 {
        let most = match self.method {
            Method::Fallocate(PUNCH) | Method::Forget => QUICK,
            Method::Fallocate(_) => SLOW,
            Method::Memory { .. } => OWN_WORK,
            Method::Write => u64::from(ZEROES),
            Method::Nothing => u64::MAX,
        };
        most.min(self.end - self.at)
    }

    fn replace(&mut self, fault: Fault) -> Result<(), Fault> {
        let flushing = self.at == self.end;
        if fault != Fault::Unsupported || self.method == self.otherwise || flushing {
            return Err(fault);
        }
        self.method = self.otherwise;
        Ok(())
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;

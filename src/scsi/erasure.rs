//! Operations on the medium as a whole, sanitize and format: what becomes of it, and what is refused until they end.
//!
//! Both go on whatever becomes of the command that began them: neither an abort, nor a reset, nor the loss of the nexus,
//! nor the end of the process ends them (SBC-4 section 4.11). One that fails leaves the medium closed.

use serde::{Deserialize, Serialize};

use super::cdb::Cdb;
use super::table::{FORMAT_UNIT, Row, SANITIZE, Traits};
use super::{Asc, Effects, Failure, ItNexus, LuFacts, LuState, Sense, SenseKey, SharedOp};

/// A sanitize or format operation that is under way, or has failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Erasure {
    /// Which.
    pub cause: Cause,
    /// What becomes of every logical block.
    pub fill: Fill,
    /// It has ended with an error.
    pub failed: bool,
}

/// What asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// SANITIZE.
    Sanitize {
        /// AUSE: should it fail, EXIT FAILURE MODE opens the medium as it is then.
        unrestricted: bool,
    },
    /// FORMAT UNIT.
    Format,
}

/// What becomes of every logical block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fill {
    /// It reads as zeroes, and its space is given back where that is so by itself then.
    Zeroes,
    /// It is written.
    Pattern {
        /// With this, again and again from its first byte on; never empty, at most one block.
        pattern: Vec<u8>,
        /// So many times, 1 to 31.
        passes: u8,
        /// Whether the pattern is inverted from one pass to the next. The last one writes it as it is.
        invert: bool,
    },
}

impl Fill {
    /// How often the medium is gone over.
    pub fn passes(&self) -> u8 {
        match self {
            Self::Zeroes => 1,
            Self::Pattern { passes, .. } => *passes,
        }
    }

    /// Makes the content of blocks of `block` bytes, as pass `pass` (from 0) writes them.
    pub fn write(&self, pass: u8, block: usize, blocks: &mut [u8]) {
        let Self::Pattern { pattern, passes, invert } = self else { return blocks.fill(0) };
        let mask = if *invert && passes.wrapping_sub(pass) % 2 == 0 { 0xff } else { 0 };
        let Some((first, rest)) = blocks.split_at_mut_checked(block) else { return };
        first.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = from ^ mask);
        rest.chunks_mut(block.max(1)).for_each(|next| next.copy_from_slice(&first[..next.len()]));
    }
}

impl Erasure {
    /// What commands are told that it keeps from the medium, and REQUEST SENSE. `progress` in 65536ths.
    pub(super) fn sense(&self, progress: u16) -> Sense {
        let failed = |asc| Sense::new(SenseKey::MEDIUM_ERROR, asc);
        match self.cause {
            Cause::Sanitize { .. } if self.failed => failed(Asc::SANITIZE_COMMAND_FAILED),
            Cause::Format if self.failed => failed(Asc::MEDIUM_FORMAT_CORRUPTED),
            Cause::Sanitize { .. } => Sense::not_ready(Asc::SANITIZE_IN_PROGRESS).progress(progress),
            Cause::Format => Sense::not_ready(Asc::FORMAT_IN_PROGRESS).progress(progress),
        }
    }

    /// What the command that began it ends with, if it is not answered before, when it has failed.
    pub fn failure(&self) -> Failure {
        let asc = match self.cause {
            Cause::Sanitize { .. } => Asc::SANITIZE_COMMAND_FAILED,
            Cause::Format => Asc::FORMAT_COMMAND_FAILED,
        };
        Sense::new(SenseKey::MEDIUM_ERROR, asc).into()
    }

    /// Whether a command cannot be served. While it is under way only INQUIRY, REPORT LUNS and REQUEST SENSE can (SBC-4
    /// section 4.33), beside a sanitize operation, be it under way or failed, some that inform (section 4.11), and after
    /// that another SANITIZE; after a failed format operation all that needs no medium.
    pub(super) fn refuses(&self, row: &Row, cdb: &Cdb) -> bool {
        let served = match self.cause {
            Cause::Sanitize { .. } => informs(cdb) || (self.failed && row.opcode == SANITIZE),
            Cause::Format => {
                let anew = [SANITIZE, FORMAT_UNIT].contains(&row.opcode);
                self.failed && (anew || !row.traits.contains(Traits::MEDIUM))
            }
        };
        !(served || row.traits.contains(Traits::PASSES_ATTENTION))
    }

    /// Whether a failed one may be followed by another for that cause. Restricted completion mode ends by success only.
    fn may_be_followed(&self, by: Cause) -> Result<(), Failure> {
        match (self.cause, by) {
            (Cause::Sanitize { .. }, Cause::Format) => Err(self.sense(0).into()),
            (Cause::Sanitize { unrestricted: false }, Cause::Sanitize { unrestricted: true }) => {
                Err(Sense::cdb_field(1, 5).into())
            }
            _ => Ok(()),
        }
    }
}

/// READ CAPACITY(10) and (16), REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS, MODE SENSE of the pages
/// Caching, Control and Informational Exceptions, LOG SENSE of the Temperature page.
fn informs(cdb: &Cdb) -> bool {
    let (action, page) = (cdb.get(1) & 0x1f, cdb.get(2) & 0x3f);
    match cdb.opcode() {
        0x25 => true,
        0x9e => action == 0x10,
        0xa3 => [0x0c, 0x0d].contains(&action),
        0x1a | 0x5a => [0x08, 0x0a, 0x1c].contains(&page) && cdb.get(3) == 0,
        0x4d => page == 0x0d && cdb.get(3) == 0,
        _ => false,
    }
}

impl LuState {
    /// Whether every command can be served, as far as the drive and the medium go, and none changes anything by that.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.drive.is_active() && self.erasure.is_none()
    }

    /// The operation on the whole medium that is under way.
    pub fn erasing(&self) -> Option<&Erasure> {
        self.erasure.as_ref().filter(|e| !e.failed)
    }

    /// Whether an operation on the whole medium may begin now.
    pub(super) fn may_erase(&self, cause: Cause) -> Result<(), Failure> {
        match &self.erasure {
            Some(erasure) if erasure.failed => erasure.may_be_followed(cause),
            Some(erasure) => Err(erasure.sense(0).into()),
            None => Ok(()),
        }
    }

    /// EXIT FAILURE MODE: the medium is opened as it is, if there is a failure.
    pub(super) fn exit_failure(&mut self) -> Result<(), Failure> {
        if self.failure_to_exit()? {
            self.erasure = None;
        }
        Ok(())
    }

    /// Whether there is a failure that EXIT FAILURE MODE would leave, or why it must not.
    pub(super) fn failure_to_exit(&self) -> Result<bool, Failure> {
        match &self.erasure {
            Some(Erasure { cause: Cause::Sanitize { unrestricted }, failed: true, .. }) => {
                if *unrestricted {
                    Ok(true)
                } else {
                    Err(Sense::cdb_field(1, 4).into())
                }
            }
            _ => Ok(false),
        }
    }

    /// Whether the owner may do what a command asks for.
    pub(super) fn admits(&self, op: &SharedOp) -> Result<(), Failure> {
        let Some(erasure) = self.erasure.as_ref().filter(|_| !op.is_event()) else { return Ok(()) };
        match (erasure.cause, op) {
            (_, SharedOp::Erased { .. } | SharedOp::Access(_) | SharedOp::AccessFailed) => Ok(()),
            (_, SharedOp::Erase { .. } | SharedOp::ExitFailure) if erasure.failed => Ok(()),
            (Cause::Format, _) if erasure.failed => Ok(()),
            _ => Err(erasure.sense(0).into()),
        }
    }

    /// An operation on the whole medium begins: no task has anything to do with the medium any more.
    pub(super) fn erase(
        &mut self,
        facts: &LuFacts,
        erasure: &Erasure,
        nexus: &ItNexus,
    ) -> Result<Effects, Failure> {
        self.may_erase(erasure.cause)?;
        // Much may have changed since the command came.
        self.may_change(facts, nexus)?;
        self.erasure = Some(erasure.clone());
        Ok(Effects { ends_tasks: Some(erasure.sense(0).into()), ..Effects::default() })
    }

    /// It has ended.
    pub(super) fn erased(&mut self, failed: bool) {
        match &mut self.erasure {
            Some(erasure) if failed => erasure.failed = true,
            _ => self.erasure = None,
        }
    }
}

#[cfg(test)]
#[path = "erasure_tests.rs"]
mod tests;

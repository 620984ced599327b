//! SANITIZE (SBC-4): all that was ever written becomes unreadable, by overwriting or by erasing blocks.
//!
//! CRYPTOGRAPHIC ERASE is not offered, for nothing is encrypted: its service action is one that there is not. A unit has
//! no zones. ZNR, which SBC-4 has ignored there (section 5.30.1), was reserved before: whoever sets it is refused, because a
//! command that destroys everything is not guessed at.

use super::cdb::Cdb;
use super::check::{bad_field, bad_length};
use super::erasure::{Cause, Erasure, Fill};
use super::{Answered, Context, Failure, Lu, Outcome, Sense, SharedOp};

/// Bytes of the OVERWRITE parameter list before the pattern.
const HEADER: usize = 4;

/// OVERWRITE: the parameter list is a pattern of at most one block, and its header.
pub(super) fn overwrite(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    reserved(cdb)?;
    lu.state.may_erase(cause(cdb))?;
    let length = u32::from(cdb.u16::<7>());
    if !(5..5 + lu.facts.block_size).contains(&length) {
        return Err(bad_field(7, 7));
    }
    Ok(Outcome::Params(length))
}

pub(super) fn overwrite_params(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    lu.state.may_erase(cause(cdb))?;
    let fill = pattern(data, lu.facts.block_size as usize)?;
    Ok(erase(cdb, fill))
}

/// What the list asks for. TEST is for purposes of manufacturers.
fn pattern(list: &[u8], block: usize) -> Result<Fill, Failure> {
    let Some(([how, reserved, high, low], rest)) = list.split_first_chunk::<HEADER>() else {
        return Err(bad_length());
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let wrong = [
        (how & 0x60 != 0, 0, 6),
        (how & 0x1f == 0, 0, 4),
        (*reserved != 0, 1, 7),
        (length == 0 || length > block, 2, 7),
    ];
    if let Some((_, byte, bit)) = wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        return Err(Sense::parameter_field(byte, bit).into());
    }
    let Some(pattern) = rest.get(..length) else { return Err(bad_length()) };
    Ok(Fill::Pattern { pattern: pattern.to_vec(), passes: how & 0x1f, invert: how & 0x80 != 0 })
}

/// BLOCK ERASE: the blocks are given back; where they would not read as zeroes then, zeroes are written.
pub(super) fn block_erase(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    reserved(cdb)?;
    no_list(cdb)?;
    lu.state.may_erase(cause(cdb))?;
    Ok(erase(cdb, Fill::Zeroes))
}

/// EXIT FAILURE MODE: without effect where there is no failure.
pub(super) fn exit_failure(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    reserved(cdb)?;
    no_list(cdb)?;
    let is_one = lu.state.failure_to_exit()?;
    Ok(if is_one { Outcome::Shared(SharedOp::ExitFailure) } else { Outcome::Good })
}

fn erase(cdb: &Cdb, fill: Fill) -> Outcome {
    let erasure = Box::new(Erasure { cause: cause(cdb), fill, failed: false });
    Outcome::Shared(SharedOp::Erase { erasure, immediate: cdb.bit::<1>(7) })
}

/// AUSE.
fn cause(cdb: &Cdb) -> Cause {
    Cause::Sanitize { unrestricted: cdb.bit::<1>(5) }
}

/// A command that destroys everything is not guessed at: what is not defined must be zero.
fn reserved(cdb: &Cdb) -> Result<(), Failure> {
    if cdb.bit::<1>(6) {
        return Err(bad_field(1, 6));
    }
    match (2..7).find(|at| cdb.get(*at) != 0) {
        Some(at) => Err(bad_field(at as u16, 7)),
        None => Ok(()),
    }
}

fn no_list(cdb: &Cdb) -> Result<(), Failure> {
    if cdb.u16::<7>() == 0 { Ok(()) } else { Err(bad_field(7, 7)) }
}

#[cfg(test)]
#[path = "sanitize_tests.rs"]
mod tests;

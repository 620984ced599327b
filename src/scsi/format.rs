//! FORMAT UNIT (SBC-4): every logical block is initialized, in the size and number that there are.
//!
//! Size and number are those of the store: MODE SELECT takes no other block descriptor, so there is nothing that a format
//! could change. What lies below hides its defects: only empty lists of them are taken.

use super::cdb::Cdb;
use super::check::{bad_field, bad_length};
use super::erasure::{Cause, Erasure, Fill};
use super::{Answered, Context, Failure, Lu, Outcome, Sense, SharedOp};

/// Bytes of the parameter list header, short and long, and of the initialization pattern descriptor before the pattern.
const SHORT_HEADER: usize = 4;
const LONG_HEADER: usize = 8;
const DESCRIPTOR: usize = 4;

/// Without a parameter list all is by default. The CDB does not tell how long a list is: the list does.
pub(super) fn format(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    lu.state.may_erase(Cause::Format)?;
    let has_list = cdb.bit::<1>(4);
    // FMTPINFO: there is no protection information. FFMT: nothing is left uninitialized.
    let wrong = [
        (cdb.u8::<1>() & 0xc0 != 0, 1, 7),
        (!known_format(cdb.u8::<1>() & 7, has_list), 1, 2),
        (cdb.u8::<4>() & 3 != 0, 4, 1),
    ];
    if let Some((_, byte, bit)) = wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        return Err(bad_field(byte, bit));
    }
    if has_list {
        return Ok(Outcome::ParamsUpTo((LONG_HEADER + DESCRIPTOR) as u32 + lu.facts.block_size));
    }
    Ok(erase(Fill::Zeroes, false))
}

/// DEFECT LIST FORMAT: short and long block, bytes from index, physical sector, vendor specific.
fn known_format(format: u8, has_list: bool) -> bool {
    if has_list { [0, 3, 4, 5, 6].contains(&format) } else { format == 0 }
}

pub(super) fn format_params(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    lu.state.may_erase(Cause::Format)?;
    let length = if cdb.bit::<1>(5) { LONG_HEADER } else { SHORT_HEADER };
    let Some((header, rest)) = data.split_at_checked(length) else { return Err(bad_length()) };
    check_header(header)?;
    let has_pattern = header[1] & IP != 0;
    let fill = if has_pattern { pattern(rest, length, lu.facts.block_size as usize)? } else { Fill::Zeroes };
    Ok(erase(fill, header[1] & IMMED != 0))
}

/// Bits of byte 1 of the header.
const FOV: u8 = 0x80;
/// DPRY, DCRT, STPF, IP and DSP: what FOV says is valid.
const OPTIONS: u8 = 0x7c;
const IP: u8 = 0x08;
const DSP: u8 = 0x04;
const IMMED: u8 = 0x02;

/// The primary list is as empty as a new one, and nothing is certified, so DPRY, DCRT and STPF may say what they like.
fn check_header(header: &[u8]) -> Result<(), Failure> {
    let options = header[1];
    // PROTECTION FIELD USAGE, P_I_INFORMATION, PROTECTION INTERVAL EXPONENT; of a short header these are the length.
    let is_long = header.len() == LONG_HEADER;
    let list = header.len() - if is_long { 4 } else { 2 };
    let wrong = [
        (header[0] & 0x07 != 0, 0, 2),
        (options & DSP != 0, 1, 2),
        (options & FOV == 0 && options & OPTIONS != 0, 1, 7),
        (is_long && header[3] != 0, 3, 7),
        (header[list..].iter().any(|byte| *byte != 0), list as u16, 7),
    ];
    match wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        Some((_, byte, bit)) => Err(Sense::parameter_field(byte, bit).into()),
        None => Ok(()),
    }
}

/// The initialization pattern descriptor, which begins at byte `at` of the list. SI is refused: what lies below may keep
/// blocks that it has replaced.
fn pattern(rest: &[u8], at: usize, block: usize) -> Result<Fill, Failure> {
    let Some(([how, kind, high, low], rest)) = rest.split_first_chunk::<DESCRIPTOR>() else {
        return Err(bad_length());
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let fits = match kind {
        0x00 => length == 0,
        _ => (1..=block).contains(&length),
    };
    let wrong = [(how & 0xe0 != 0, 0, 7), (*kind > 1, 1, 7), (!fits, 2, 7)];
    if let Some((_, byte, bit)) = wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        return Err(Sense::parameter_field(at as u16 + byte, bit).into());
    }
    let Some(pattern) = rest.get(..length) else { return Err(bad_length()) };
    let zeroes = pattern.iter().all(|byte| *byte == 0);
    Ok(if zeroes {
        Fill::Zeroes
    } else {
        Fill::Pattern { pattern: pattern.to_vec(), passes: 1, invert: false }
    })
}

fn erase(fill: Fill, immediate: bool) -> Outcome {
    let erasure = Box::new(Erasure { cause: Cause::Format, fill, failed: false });
    Outcome::Shared(SharedOp::Erase { erasure, immediate })
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;

//! REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-5 sections 6.35 and 6.36):
//! the table of commands, shown.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::bad_field;
use super::table::{self, ROWS, Row};
use super::{Answered, Context, Failure, Lu};

/// Recommended command timeout in seconds: beyond it the initiator may take the path for dead.
const TIMEOUT_SECONDS: u32 = 30;

pub(super) fn opcodes(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let timeouts = cdb.bit::<2>(7);
    let mut answer = Answer::new(out, cdb.u32::<6>() as usize);
    match cdb.u8::<2>() & 7 {
        0 => all(&mut answer, lu, timeouts),
        option @ 1..=3 => one(&mut answer, wanted(cdb, lu, option)?, timeouts),
        _ => return Err(bad_field(2, 2)),
    }
    Ok(answer.finish())
}

/// A command descriptor for every command.
fn all(answer: &mut Answer<'_>, lu: &Lu, timeouts: bool) {
    answer.zeroes(4);
    for row in ROWS.iter().filter(|row| row.on(&lu.facts)) {
        let flags = u8::from(timeouts) << 1 | u8::from(row.action.is_some());
        answer.put(&[row.opcode, 0, 0, row.action.unwrap_or(0), 0, flags, 0, row.usage.len() as u8]);
        put_timeouts(answer, timeouts);
    }
    answer.close_u32(0, 4);
}

/// The row of the command that is asked about; `None`: it is not supported. Whether a service
/// action must be named depends on the reporting option.
fn wanted(cdb: &Cdb, lu: &Lu, option: u8) -> Result<Option<&'static Row>, Failure> {
    let action = cdb.u16::<4>();
    let mut rows = table::rows(cdb.u8::<3>(), &lu.facts).peekable();
    let Some(has_actions) = rows.peek().map(|row| row.action.is_some()) else { return Ok(None) };
    match (option, has_actions) {
        (1, true) | (2, false) => return Err(bad_field(2, 2)),
        _ => {}
    }
    let asked = if option == 1 { 0 } else { action };
    Ok(rows.find(|row| u16::from(row.action.unwrap_or(0)) == asked))
}

/// SUPPORT 011b (as the standard says) with the CDB's usage data, or 001b (not supported).
fn one(answer: &mut Answer<'_>, row: Option<&Row>, timeouts: bool) {
    let Some(row) = row else {
        answer.put(&[0, 0x01, 0, 0]);
        return;
    };
    answer.put(&[0, u8::from(timeouts) << 7 | 0x03, 0, row.usage.len() as u8]);
    answer.put(row.usage);
    put_timeouts(answer, timeouts);
}

/// A command timeouts descriptor.
fn put_timeouts(answer: &mut Answer<'_>, wanted: bool) {
    if wanted {
        answer.put(&[0, 0x0a, 0, 0]);
        answer.put(&0u32.to_be_bytes());
        answer.put(&TIMEOUT_SECONDS.to_be_bytes());
    }
}

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET; with REPD the long
/// form, in which no function has a timeout.
pub(super) fn functions(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let allocation = cdb.u32::<6>() as usize;
    if allocation < 4 {
        return Err(bad_field(6, 7));
    }
    let mut answer = Answer::new(out, allocation);
    let long = cdb.bit::<2>(7);
    answer.put(&[0xda, 0, 0, if long { 0x0c } else { 0 }]);
    answer.zeroes(if long { 12 } else { 0 });
    Ok(answer.finish())
}

//! REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-5 sections 6.35 and 6.36):
//! the table of commands, shown.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::bad_field;
use super::table::{self, ROWS, Row};
use super::{Answered, Context, Failure, Lu, Outcome};

/// Recommended command timeout in seconds: beyond it the initiator may take the path for dead. None (0) for what takes
/// as long as the medium is large, and more for what may work on much of it.
fn seconds(row: &Row) -> u32 {
    match row.opcode {
        table::FORMAT_UNIT | table::SANITIZE | EXTENDED_COPY => 0,
        0x2f | 0x35 | 0x41 | 0x42 | 0x8f | 0x91 | 0x93 | 0xaf => 300,
        _ => 30,
    }
}

/// Third-party copies, and the commands that work on tokens.
const EXTENDED_COPY: u8 = 0x83;

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
        let [high, low] = row.action.unwrap_or(0).to_be_bytes();
        answer.put(&[row.opcode, 0, high, low, 0, flags, 0, row.usage.len() as u8]);
        put_timeouts(answer, timeouts, row);
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
    Ok(rows.find(|row| row.action.unwrap_or(0) == asked))
}

/// SUPPORT 011b (as the standard says) with the CDB's usage data, or 001b (not supported).
fn one(answer: &mut Answer<'_>, row: Option<&Row>, timeouts: bool) {
    let Some(row) = row else {
        answer.put(&[0, 0x01, 0, 0]);
        return;
    };
    answer.put(&[0, u8::from(timeouts) << 7 | 0x03, 0, row.usage.len() as u8]);
    answer.put(row.usage);
    put_timeouts(answer, timeouts, row);
}

/// What is said of one command that a logical unit lacks.
pub(super) fn unsupported(cdb: &Cdb, out: &mut [u8]) -> Outcome {
    let mut answer = Answer::new(out, cdb.u32::<6>() as usize);
    one(&mut answer, None, false);
    answer.finish()
}

/// A command timeouts descriptor.
fn put_timeouts(answer: &mut Answer<'_>, wanted: bool, row: &Row) {
    if wanted {
        answer.put(&[0, 0x0a, 0, 0]);
        answer.put(&0u32.to_be_bytes());
        answer.put(&seconds(row).to_be_bytes());
    }
}

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET.
const FUNCTIONS: [u8; 2] = [0xda, 0];
/// QUERY TASK in the first byte; QUERY ASYNCHRONOUS EVENT, QUERY TASK SET and I_T NEXUS RESET in the second.
const QUERIES: [u8; 2] = [0x04, 0x07];

/// What this nexus may ask for; with REPD in the long form, in which no function has a timeout.
pub(super) fn functions(cdb: &Cdb, _: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let allocation = cdb.u32::<6>() as usize;
    if allocation < 4 {
        return Err(bad_field(6, 7));
    }
    let mut answer = Answer::new(out, allocation);
    let long = cdb.bit::<2>(7);
    let queries = if cx.queries { QUERIES } else { [0; 2] };
    let [first, second] = [0, 1].map(|n| FUNCTIONS[n] | queries[n]);
    answer.put(&[first, second, 0, if long { 0x0c } else { 0 }]);
    answer.zeroes(if long { 12 } else { 0 });
    Ok(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts};
    use super::super::{LuFacts, Sense};
    use super::*;

    fn ask(option: u8, opcode: u8, action: u16) -> Vec<u8> {
        [&[0xa3, 0x0c, option, opcode][..], &action.to_be_bytes(), &[0, 0, 0x10, 0, 0, 0]].concat()
    }

    /// The commands that such a unit has.
    fn rows_of(facts: &LuFacts) -> Vec<&'static Row> {
        ROWS.iter().filter(|row| row.on(facts)).collect()
    }

    #[test]
    fn all_commands_with_and_without_timeouts() {
        let mut rig = Rig::new(facts());
        let rows = rows_of(&rig.lu.facts);
        let plain = rig.data(&ask(0, 0, 0));
        assert_eq!(plain.len(), 4 + 8 * rows.len());
        assert_eq!(u32::from_be_bytes([plain[0], plain[1], plain[2], plain[3]]) as usize, plain.len() - 4);
        let timed = rig.data(&ask(0x80, 0, 0));
        for (row, descriptor) in rows.iter().zip(timed[4..].chunks(20)) {
            assert_eq!(descriptor[0], row.opcode);
            assert_eq!(descriptor[5], 2 | u8::from(row.action.is_some()));
            assert_eq!(usize::from(descriptor[7]), row.usage.len());
            assert_eq!(descriptor[8..12], [0, 0x0a, 0, 0]);
        }
    }

    #[test]
    fn one_command_as_each_option_wants_it() {
        let mut rig = Rig::new(facts());
        for row in rows_of(&rig.lu.facts.clone()) {
            let action = row.action.unwrap_or(0);
            let (right, wrong) = if row.action.is_some() { (2, 1) } else { (1, 2) };
            let want = [&[0, 3, 0, row.usage.len() as u8][..], row.usage].concat();
            assert_eq!(rig.data(&ask(right, row.opcode, action)), want);
            assert_eq!(rig.data(&ask(3, row.opcode, action)), want);
            assert_eq!(rig.sense(&ask(wrong, row.opcode, action)), Sense::cdb_field(2, 2));
        }
    }

    #[test]
    fn what_is_not_supported() {
        let mut rig = Rig::new(LuFacts { thin: None, ..facts() });
        let no = [0, 1, 0, 0];
        assert_eq!(rig.data(&ask(1, 0xc0, 0)), no);
        assert_eq!(rig.data(&ask(1, 0x42, 0)), no, "UNMAP, on a thick unit");
        assert_eq!(rig.data(&ask(2, 0x9e, 0x1f)), no);
        assert_eq!(rig.data(&ask(3, 0x28, 1)), no);
        assert_eq!(rig.sense(&ask(4, 0, 0)), Sense::cdb_field(2, 2));
        assert_eq!(rig.data(&ask(1, 0x1e, 0)), no, "PREVENT ALLOW MEDIUM REMOVAL, on a fixed unit");
        let rows = rows_of(&rig.lu.facts).len();
        assert_eq!(rig.data(&ask(0, 0, 0)).len(), 4 + 8 * rows);
    }

    #[test]
    fn task_management_functions() {
        let mut rig = Rig::new(facts());
        let ask = |repd, length| [0xa3, 0x0d, repd, 0, 0, 0, 0, 0, 0, length, 0, 0];
        assert_eq!(rig.data(&ask(0, 255)), [0xda, 0, 0, 0]);
        assert_eq!(rig.data(&ask(0x80, 255))[..4], [0xda, 0, 0, 12]);
        assert_eq!(rig.data(&ask(0x80, 255)).len(), 16);
        assert_eq!(rig.sense(&ask(0, 3)), Sense::cdb_field(6, 7));
        rig.queries = true;
        assert_eq!(rig.data(&ask(0, 255)), [0xde, 0x07, 0, 0]);
    }
}

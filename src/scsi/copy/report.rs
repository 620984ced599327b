//! What is told of copies: RECEIVE COPY STATUS, FAILURE DETAILS, OPERATING PARAMETERS.

use super::super::answer::Answer;
use super::super::{MAX_SENSE, Outcome, Sense, status};
use super::list::{BY_BLOCKS, BY_BYTES, IDENTIFICATION};
use super::token::TokenBytes;
use super::{MAX_COPIES, MAX_CSCDS, MAX_DESCRIPTORS, MAX_SEGMENT_BYTES, MAX_SEGMENTS, out};

/// The descriptor types, ascending.
pub(super) const DESCRIPTOR_TYPES: [u8; 3] = [BY_BLOCKS, BY_BYTES, IDENTIFICATION];

/// Which data is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    StatusLid1,
    /// Data that was kept for the initiator: no segment of ours keeps any.
    HeldData,
    FailureLid1,
    StatusLid4,
    /// As before, and the token.
    Token,
}

/// A question about a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyReport {
    pub(super) told: Told,
    /// The list identifier of the copy.
    pub list: u32,
    pub(super) allocation: u32,
}

/// How a copy stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyEnd {
    /// It is under way; `background` once its command has been answered.
    Running {
        /// Whether its command has been answered.
        background: bool,
    },
    /// All was copied.
    Done,
    /// It failed.
    Failed(Sense),
    /// It was aborted by COPY OPERATION ABORT or task management.
    Aborted,
}

/// What is known of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyRecord {
    /// The service action that began it.
    pub action: u8,
    /// How it stands.
    pub end: CopyEnd,
    /// Segments that are complete.
    pub segments: u16,
    /// Bytes that were written.
    pub bytes: u64,
    /// Writes that were done.
    pub operations: u32,
    /// Bytes of a block of the logical unit that the command was sent to.
    pub block: u32,
}

impl CopyRecord {
    /// Whether tokens are made or used: then blocks are counted, and no segments.
    fn is_by_token(&self) -> bool {
        [out::POPULATE_TOKEN, out::WRITE_USING_TOKEN].contains(&self.action)
    }
}

impl CopyReport {
    /// Whether answering it uses the record up (SPC-5 sections 6.21 and 6.25): failure details are told once, and so is
    /// that all has gone well, which has no details.
    pub fn is_last(&self, record: &CopyRecord) -> bool {
        match self.told {
            Told::FailureLid1 => !matches!(record.end, CopyEnd::Running { .. }),
            Told::StatusLid1 => record.end == CopyEnd::Done,
            Told::HeldData | Told::StatusLid4 | Told::Token => false,
        }
    }

    /// Whether answering it uses the token up that a copy has made (SPC-5 section 6.26): when it has been told whole, and
    /// when nobody wants to hear it. It stays good for those who have it.
    pub fn uses_token_up(&self, record: &CopyRecord) -> bool {
        let told = self.allocation == 0 || self.allocation as usize >= WITH_TOKEN;
        self.told == Told::Token && record.end == CopyEnd::Done && told
    }

    /// Writes the answer; `None` if there can be none yet (details of a copy that has not ended).
    /// `descriptor`: in which format the logical unit wants sense data; `token`: what it has made.
    pub fn write(
        &self,
        record: &CopyRecord,
        token: Option<&TokenBytes>,
        descriptor: bool,
        out: &mut [u8],
    ) -> Option<Outcome> {
        let mut answer = Answer::new(out, self.allocation as usize);
        answer.zeroes(4);
        match self.told {
            Told::StatusLid1 => status_lid1(record, &mut answer),
            Told::HeldData => {}
            Told::FailureLid1 => failure_lid1(record, descriptor, &mut answer)?,
            Told::StatusLid4 => status_lid4(record, descriptor, &mut answer),
            Told::Token => {
                status_lid4(record, descriptor, &mut answer);
                token_descriptors(token, &mut answer);
            }
        }
        answer.close_u32(0, 4);
        Some(answer.finish())
    }
}

fn status_lid1(record: &CopyRecord, answer: &mut Answer<'_>) {
    answer.put(&[match record.end {
        CopyEnd::Running { .. } => 0x00,
        CopyEnd::Done => 0x01,
        CopyEnd::Failed(_) | CopyEnd::Aborted => 0x02,
    }]);
    answer.put(&record.segments.to_be_bytes());
    // In bytes, or in MiB where 32 bits do not do.
    let (units, count) = u32::try_from(record.bytes).map_or((2, (record.bytes >> 20) as u32), |n| (0, n));
    answer.put(&[units]);
    answer.put(&count.to_be_bytes());
}

/// Only the first four bytes if it did not fail.
fn failure_lid1(record: &CopyRecord, descriptor: bool, answer: &mut Answer<'_>) -> Option<()> {
    let (status, sense) = match record.end {
        CopyEnd::Running { .. } => return None,
        CopyEnd::Done => return Some(()),
        CopyEnd::Failed(sense) => (status::CHECK_CONDITION, Some(sense)),
        CopyEnd::Aborted => (status::TASK_ABORTED, None),
    };
    let mut bytes = [0; MAX_SENSE];
    let length = sense.map_or(0, |s| s.encode(descriptor, &mut bytes));
    answer.zeroes(52);
    answer.put(&[status, 0]);
    answer.put(&(length as u16).to_be_bytes());
    answer.put(&bytes[..length]);
    Some(())
}

fn status_lid4(record: &CopyRecord, descriptor: bool, answer: &mut Answer<'_>) {
    let mut bytes = [0; MAX_SENSE];
    let (operation, completion, length) = match &record.end {
        CopyEnd::Running { background: false } => (0x11, status::GOOD, 0),
        CopyEnd::Running { background: true } => (0x12, status::GOOD, 0),
        CopyEnd::Done => (0x01, status::GOOD, 0),
        CopyEnd::Failed(sense) => (0x02, status::CHECK_CONDITION, sense.encode(descriptor, &mut bytes)),
        CopyEnd::Aborted => (0x60, status::TASK_ABORTED, 0),
    };
    answer.put(&[record.action, operation]);
    answer.put(&(record.operations as u16).to_be_bytes());
    // When to ask again: a running copy changes by the millisecond, an ended one never.
    let delay = if matches!(record.end, CopyEnd::Running { .. }) { 1000 } else { ENDED };
    answer.put(&delay.to_be_bytes());
    let by_token = record.is_by_token();
    let (units, count) = if by_token {
        (IN_BLOCKS, record.bytes / u64::from(record.block.max(1)))
    } else {
        (IN_BYTES, record.bytes)
    };
    answer.put(&[completion, length.next_multiple_of(4) as u8, length as u8, units]);
    answer.put(&count.to_be_bytes());
    answer.put(&if by_token { [0; 2] } else { record.segments.to_be_bytes() });
    answer.zeroes(6);
    answer.put(&bytes[..length]);
    answer.zeroes(length.next_multiple_of(4) - length);
}

/// Bytes of an answer that tells of a token.
const WITH_TOKEN: usize = 32 + 4 + 2 + size_of::<TokenBytes>();

/// ESTIMATED STATUS UPDATE DELAY of a copy that has ended.
const ENDED: u32 = u32::MAX - 1;

/// TRANSFER COUNT UNITS.
const IN_BYTES: u8 = 0x00;
const IN_BLOCKS: u8 = 0xf1;

/// The ROD token descriptors: a length, and for a token two bytes that mean something to EXTENDED COPY only.
fn token_descriptors(token: Option<&TokenBytes>, answer: &mut Answer<'_>) {
    let length = answer.len();
    answer.zeroes(4);
    if let Some(token) = token {
        answer.zeroes(2);
        answer.put(token);
    }
    answer.close_u32(length, length + 4);
}

/// RECEIVE COPY OPERATING PARAMETERS.
pub(super) fn parameters(out: &mut [u8], allocation: usize) -> Outcome {
    let mut answer = Answer::new(out, allocation);
    answer.zeroes(4);
    // SNLID: a list may have no identifier.
    answer.put(&[0x01, 0, 0, 0]);
    answer.put(&(MAX_CSCDS as u16).to_be_bytes());
    answer.put(&(MAX_SEGMENTS as u16).to_be_bytes());
    answer.put(&(MAX_DESCRIPTORS as u32).to_be_bytes());
    answer.put(&MAX_SEGMENT_BYTES.to_be_bytes());
    // No inline data, no held data, no stream devices.
    answer.zeroes(14);
    answer.put(&u16::from(MAX_COPIES).to_be_bytes());
    // Granularities as powers of two: segments by the byte.
    answer.put(&[MAX_COPIES, 0, 0, 0, 0, 0, 0, DESCRIPTOR_TYPES.len() as u8]);
    answer.put(&DESCRIPTOR_TYPES);
    answer.close_u32(0, 4);
    answer.finish()
}

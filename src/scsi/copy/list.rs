//! The parameter lists of EXTENDED COPY, LID1 and LID4: a header, CSCD descriptors, segment descriptors.

use super::super::check::bad_length;
use super::super::{Asc, Failure, Sense};
use super::{CopyOrder, MAX_CSCDS, MAX_DESCRIPTORS, MAX_SEGMENT_BYTES, MAX_SEGMENTS, Plan, out};

/// Bytes of a CSCD descriptor.
pub(super) const CSCD: usize = 32;

/// Bytes of a block device to block device segment descriptor.
pub(super) const BLOCK_TO_BLOCK: usize = 28;

/// The CSCD descriptor type that names a logical unit by a designator of its page 83h.
pub(super) const IDENTIFICATION: u8 = 0xe4;

/// The segment descriptor types: block device to block device, by blocks and by bytes.
pub(super) const BY_BLOCKS: u8 = 0x02;
pub(super) const BY_BYTES: u8 = 0x0a;

/// Longest designator of an identification CSCD descriptor, bytes.
const MAX_DESIGNATOR: usize = 20;

/// The source or destination of segments, as it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cscd {
    pub(super) code_set: u8,
    pub(super) association: u8,
    pub(super) kind: u8,
    designator: [u8; MAX_DESIGNATOR],
    length: u8,
    pub(super) device_type: u8,
    /// No logical unit at all (NUL, obsolete since SPC-4).
    pub(super) null: bool,
    /// What does not fill a block may be padded, or dropped.
    pub(super) pad: bool,
    /// DISK BLOCK LENGTH in bytes; 0: not said.
    pub(super) block_len: u32,
}

impl Cscd {
    pub(super) fn designator(&self) -> &[u8] {
        &self.designator[..usize::from(self.length)]
    }
}

/// How long a segment is, and where in its first blocks it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measure {
    /// So many blocks of the source; or of the destination, with DC.
    Blocks { count: u16, of_destination: bool },
    /// So many bytes, from those byte offsets on.
    Bytes { count: u32, source_at: u16, destination_at: u16 },
}

/// A segment descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// CSCD descriptor identifiers.
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) source_lba: u64,
    pub(super) destination_lba: u64,
    pub(super) measure: Measure,
}

pub(super) fn u16_at(data: &[u8], at: usize) -> u16 {
    bytes_at(data, at).map_or(0, u16::from_be_bytes)
}

pub(super) fn u32_at(data: &[u8], at: usize) -> u32 {
    bytes_at(data, at).map_or(0, u32::from_be_bytes)
}

pub(super) fn u64_at(data: &[u8], at: usize) -> u64 {
    bytes_at(data, at).map_or(0, u64::from_be_bytes)
}

fn bytes_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

/// INVALID FIELD IN PARAMETER LIST: the field at `byte`, whose most significant bit is `bit`.
pub(super) fn bad(byte: usize, bit: u8) -> Failure {
    Sense::parameter_field(byte as u16, bit).into()
}

pub(super) fn illegal(asc: Asc) -> Failure {
    Sense::illegal(asc).into()
}

/// The list of EXTENDED COPY(LID1).
pub(super) fn lid1(data: &[u8]) -> Result<CopyOrder, Failure> {
    if data.len() < 16 {
        return Err(bad_length());
    }
    let lists = Lists {
        start: 16,
        cscds: u16_at(data, 2).into(),
        segments: u32_at(data, 8) as usize,
        inline: u32_at(data, 12) as usize,
    };
    let (list, hold) = identifier(data, u32::from(data[0]), 0)?;
    let (cscds, segments) = lists.parse(data)?;
    let plan = Plan::Segments { cscds, segments };
    Ok(CopyOrder { action: out::EXTENDED_LID1, list, hold, immediate: false, plan })
}

/// The list of EXTENDED COPY(LID4). G_SENSE (sense data with GOOD) is not offered.
pub(super) fn lid4(data: &[u8]) -> Result<CopyOrder, Failure> {
    if data.len() < 48 {
        return Err(bad_length());
    }
    let fixed = [(data[0] == 0x01, 0), (u16_at(data, 2) == 0x20, 2), (data[16] == 0xff, 16)];
    if let Some((_, at)) = fixed.iter().find(|(right, _)| !right) {
        return Err(bad(*at, 7));
    }
    if data[15] & 0x02 != 0 {
        return Err(bad(15, 1));
    }
    let lists = Lists {
        start: 48,
        cscds: u16_at(data, 42).into(),
        segments: u16_at(data, 44).into(),
        inline: u16_at(data, 46).into(),
    };
    let (list, hold) = identifier(data, u32_at(data, 20), 20)?;
    let (cscds, segments) = lists.parse(data)?;
    let plan = Plan::Segments { cscds, segments };
    Ok(CopyOrder { action: out::EXTENDED_LID4, list, hold, immediate: data[15] & 1 != 0, plan })
}

/// The list identifier and whether results are held, as LIST ID USAGE says (its bit 4 was NRCR before).
/// PRIORITY and STR (striping of stream devices) change nothing here.
fn identifier(data: &[u8], list: u32, at: usize) -> Result<(Option<u32>, bool), Failure> {
    match data[1] >> 3 & 3 {
        0b00 => Ok((Some(list), true)),
        0b10 => Ok((Some(list), false)),
        0b11 if list == 0 => Ok((None, false)),
        0b11 => Err(bad(at, 7)),
        _ => Err(bad(1, 4)),
    }
}

/// Where the descriptors are, in bytes.
struct Lists {
    start: usize,
    cscds: usize,
    segments: usize,
    inline: usize,
}

impl Lists {
    fn parse(&self, data: &[u8]) -> Result<(Vec<Cscd>, Vec<Segment>), Failure> {
        let descriptors = self.cscds.saturating_add(self.segments);
        if descriptors > MAX_DESCRIPTORS {
            return Err(bad_length());
        }
        if self.inline > 0 {
            return Err(illegal(Asc::INLINE_DATA_LENGTH_EXCEEDED));
        }
        let between = self.start + self.cscds;
        let Some(rest) = data.get(..self.start + descriptors) else { return Err(bad_length()) };
        Ok((cscds(&rest[..between], self.start)?, segments(rest, between)?))
    }
}

/// The CSCD descriptors, which begin at `at` and fill the rest of `data`.
fn cscds(data: &[u8], at: usize) -> Result<Vec<Cscd>, Failure> {
    let (whole, partial) = data[at..].as_chunks::<CSCD>();
    if whole.len() > MAX_CSCDS {
        return Err(illegal(Asc::TOO_MANY_TARGET_DESCRIPTORS));
    }
    if !partial.is_empty() {
        return Err(bad_length());
    }
    whole.iter().enumerate().map(|(n, descriptor)| cscd(descriptor, at + n * CSCD)).collect()
}

/// An identification CSCD descriptor, which begins at `at` of the list. The others (Fibre Channel,
/// IP, proxy tokens, RODs, …) are not offered. Its LU ID TYPE is to be ignored since SPC-4.
fn cscd(d: &[u8; CSCD], at: usize) -> Result<Cscd, Failure> {
    if d[0] != IDENTIFICATION {
        let pointer = Sense::parameter_field(at as u16, 7).field;
        return Err(
            Sense { field: pointer, ..Sense::illegal(Asc::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE) }.into()
        );
    }
    let length = d[7];
    if usize::from(length) > MAX_DESIGNATOR {
        return Err(bad(at + 7, 7));
    }
    let mut designator = [0; MAX_DESIGNATOR];
    designator.copy_from_slice(&d[8..28]);
    Ok(Cscd {
        code_set: d[4] & 0x0f,
        association: d[5] >> 4 & 3,
        kind: d[5] & 0x0f,
        designator,
        length,
        device_type: d[1] & 0x1f,
        null: d[1] & 0x20 != 0,
        pad: d[28] & 0x04 != 0,
        block_len: u32_at(d, 28) & 0x00ff_ffff,
    })
}

/// The segment descriptors, which begin at `at` and fill the rest of `data`.
fn segments(data: &[u8], mut at: usize) -> Result<Vec<Segment>, Failure> {
    let mut segments = Vec::new();
    while at < data.len() {
        if segments.len() == MAX_SEGMENTS {
            return Err(illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
        }
        let (segment, length) = segment(data, at)?;
        segments.push(segment);
        at += length;
    }
    Ok(segments)
}

/// The segment descriptor that begins at `at`, and its length.
fn segment(data: &[u8], at: usize) -> Result<(Segment, usize), Failure> {
    let length = match data[at] {
        BY_BLOCKS => BLOCK_TO_BLOCK,
        BY_BYTES => BLOCK_TO_BLOCK + 4,
        _ => {
            let pointer = Sense::parameter_field(at as u16, 7).field;
            let sense = Sense::illegal(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE);
            return Err(Sense { field: pointer, ..sense }.into());
        }
    };
    let Some(d) = data.get(at..at + length) else { return Err(bad_length()) };
    if usize::from(u16_at(d, 2)) != length - 4 {
        return Err(bad(at + 2, 7));
    }
    let segment = Segment {
        source: u16_at(d, 4),
        destination: u16_at(d, 6),
        source_lba: u64_at(d, 12),
        destination_lba: u64_at(d, 20),
        measure: measure(d, at)?,
    };
    Ok((segment, length))
}

fn measure(d: &[u8], at: usize) -> Result<Measure, Failure> {
    if d[0] == BY_BLOCKS {
        return Ok(Measure::Blocks { count: u16_at(d, 10), of_destination: d[1] & 0x02 != 0 });
    }
    let count = u32_at(d, 8);
    if count > MAX_SEGMENT_BYTES {
        return Err(bad(at + 8, 7));
    }
    Ok(Measure::Bytes { count, source_at: u16_at(d, 28), destination_at: u16_at(d, 30) })
}

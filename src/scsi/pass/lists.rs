//! What the parameter lists that go to a device may say: nothing that reaches beyond the logical unit, that turns its
//! answers against what is kept here for each initiator, or that only its vendor knows.

use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length};
use super::super::{Failure, Sense};
use super::DeviceKind;

/// What a list is judged by: the command, the list, the kind of device, and its bytes in a block. How many bytes of it
/// the device takes.
pub(super) type Judge = fn(&Cdb, &[u8], DeviceKind, u32) -> Result<usize, Failure>;

/// MODE SELECT in the format of SPC.
const PAGE_FORMAT: u8 = 4;

fn bad_parameter(at: usize, bit: u8) -> Failure {
    Sense::parameter_field(u16::try_from(at).unwrap_or(u16::MAX), bit).into()
}

/// MODE SELECT. The Control mode page is about how commands of several initiators go together, which is decided here: to
/// the device they are one, so QERR would end the commands of all. The protocol specific pages are about this host's own
/// port. A block of another length would not be what everybody has been told.
pub(super) fn modes(cdb: &Cdb, list: &[u8], kind: DeviceKind, block: u32) -> Result<usize, Failure> {
    if list.is_empty() {
        return Ok(0);
    }
    if !cdb.bit::<1>(PAGE_FORMAT) {
        return Err(bad_field(1, PAGE_FORMAT));
    }
    let short = cdb.opcode() == 0x15;
    let (header, descriptors) = match (short, list) {
        (true, [_, _, _, len, ..]) => (4, usize::from(*len)),
        (false, [_, _, _, _, _, _, high, low, ..]) => (8, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return Err(bad_length()),
    };
    let long = !short && list[4] & 1 != 0;
    if kind == DeviceKind::Disk {
        same_blocks(list, header, descriptors, long, block)?;
    }
    pages(list, header + descriptors)?;
    Ok(list.len())
}

/// A block descriptor (SBC-4 section 6.5.2) with another block length; none, or zero, leaves it as it is.
fn same_blocks(list: &[u8], at: usize, len: usize, long: bool, block: u32) -> Result<(), Failure> {
    let (size, width) = if long { (16, 4) } else { (8, 3) };
    let descriptors = list.get(at..at + len).ok_or_else(bad_length)?;
    for (n, descriptor) in descriptors.chunks(size).enumerate() {
        let Some([top, rest @ ..]) = descriptor.last_chunk::<4>() else { return Err(bad_length()) };
        // The byte before the three of the short form is reserved.
        let top = if long { *top } else { 0 };
        let says = u32::from_be_bytes([top, rest[0], rest[1], rest[2]]);
        if says != 0 && says != block {
            return Err(bad_parameter(at + (n + 1) * size - width, 7));
        }
    }
    Ok(())
}

fn pages(list: &[u8], mut at: usize) -> Result<(), Failure> {
    while at < list.len() {
        match list[at] & 0x3f {
            // Vendor specific; Control; protocol specific; vendor specific, and all pages, which nobody can set.
            0x00 | 0x0a | 0x18 | 0x19 | 0x20.. => return Err(bad_parameter(at, 5)),
            _ => {}
        }
        let len = match list[at..] {
            [code, _, high, low, ..] if code & 0x40 != 0 => 4 + usize::from(u16::from_be_bytes([high, low])),
            [_, len, ..] => 2 + usize::from(len),
            _ => return Err(bad_length()),
        };
        at += len;
    }
    Ok(())
}

/// SEND DIAGNOSTIC to what is no enclosure: the list of its pages. What other pages do only the device knows; those of an
/// enclosure that a disk shows reach its neighbours, and among them is the one for microcode (SES-3).
pub(super) fn diagnostics(cdb: &Cdb, list: &[u8], _: DeviceKind, _: u32) -> Result<usize, Failure> {
    diagnostic(cdb, list, &[0x00])
}

/// SEND DIAGNOSTIC to an enclosure: Enclosure Control, String Out, Threshold Out, Subenclosure String Out and Subenclosure
/// Nickname besides, and not Download Microcode Control (SES-3 section 6.1).
pub(super) fn enclosures(cdb: &Cdb, list: &[u8], _: DeviceKind, _: u32) -> Result<usize, Failure> {
    diagnostic(cdb, list, &[0x00, 0x02, 0x04, 0x05, 0x0c, 0x0f])
}

fn diagnostic(cdb: &Cdb, list: &[u8], allowed: &[u8]) -> Result<usize, Failure> {
    match list.first() {
        None => Ok(0),
        Some(_) if !cdb.bit::<1>(PAGE_FORMAT) => Err(bad_field(1, PAGE_FORMAT)),
        Some(page) if allowed.contains(page) => Ok(list.len()),
        Some(_) => Err(bad_parameter(0, 7)),
    }
}

/// FORMAT UNIT of a disk (SBC-4 section 5.4.2): the header, the initialization pattern if IP says that there is one, and
/// the defect list. A device that was given less would wait for the rest.
pub(super) fn format(cdb: &Cdb, list: &[u8], _: DeviceKind, _: u32) -> Result<usize, Failure> {
    if !cdb.bit::<1>(4) {
        return Ok(0);
    }
    let (header, defects) = match (cdb.bit::<1>(5), list) {
        (false, [_, _, high, low, ..]) => (4, u32::from_be_bytes([0, 0, *high, *low])),
        (true, [_, _, _, _, a, b, c, d, ..]) => (8, u32::from_be_bytes([*a, *b, *c, *d])),
        _ => return Err(bad_length()),
    };
    let pattern = match (list[1] & INITIALIZES != 0, &list[header..]) {
        (false, _) => 0,
        (true, [_, _, high, low, ..]) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(bad_length()),
    };
    whole(list, header + pattern, defects)
}

/// IP in byte 1 of the header of FORMAT UNIT's list.
const INITIALIZES: u8 = 0x08;

/// REASSIGN BLOCKS (SBC-4 section 5.24.2): the header and the defect list.
pub(super) fn defects(cdb: &Cdb, list: &[u8], _: DeviceKind, _: u32) -> Result<usize, Failure> {
    match (cdb.bit::<1>(0), list) {
        (false, [_, _, high, low, ..]) => whole(list, 4, u32::from_be_bytes([0, 0, *high, *low])),
        (true, [a, b, c, d, ..]) => whole(list, 4, u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(bad_length()),
    }
}

/// How long a list is by what it says, if all of that is there.
fn whole(list: &[u8], before: usize, rest: u32) -> Result<usize, Failure> {
    let says = before.saturating_add(rest as usize);
    if says <= list.len() { Ok(says) } else { Err(bad_length()) }
}

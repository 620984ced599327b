//! What a device says of itself, as initiators are to hear it.
//!
//! Names of the logical unit stay the device's, so that who reaches it by two ways, through this target or not, sees
//! that it is one. Names of ports and of the target are ours: these are what the initiator is connected to. What is not
//! offered here is not said to be there, and limits are ours where they are lower.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::bad_field;
use super::super::{Answered, Context, Lu, Outcome, inquiry, table, vpd};
use super::{Device, DeviceKind, Verdict, most_blocks, page, rules};

/// Makes of the data-in `data` of a command what the initiator gets, in `out`; how long that is.
pub fn revise(cdb: &[u8], cx: &Context<'_>, data: &[u8], out: &mut [u8]) -> usize {
    let Some((lu, device)) = cx.lu.and_then(|lu| Some((lu, lu.facts.passed?))) else { return 0 };
    let cdb = Cdb::new(cdb);
    let paged = cdb.opcode() == table::INQUIRY && cdb.bit::<1>(0);
    match cdb.u8::<2>() {
        page::SUPPORTED if paged => return pages(&cdb, device, data, out),
        page::NAMES if paged => return names(&cdb, lu, cx, data, out),
        _ => {}
    }
    let len = data.len().min(out.len());
    let said = &mut out[..len];
    said.copy_from_slice(&data[..len]);
    match cdb.opcode() {
        table::INQUIRY if !paged => standard(lu, cx, said),
        table::INQUIRY if cdb.u8::<2>() == page::LIMITS && device.kind == DeviceKind::Disk => {
            limits(device, lu.facts.block_size, said);
        }
        0x1a => protect(lu, cx, device, said, 2),
        0x5a => protect(lu, cx, device, said, 3),
        0x05 => block_limits(device, said),
        0xa3 if cdb.u8::<2>() & 7 == 0 => return supported(device.kind, said),
        _ => {}
    }
    len
}

/// Pages that the device does not have or whose content would be wrong; `None`: it is asked.
pub(super) fn own_page(
    cdb: &Cdb,
    lu: &Lu,
    device: Device,
    cx: &mut Context<'_>,
    out: &mut [u8],
) -> Option<Answered> {
    match cdb.u8::<2>() {
        page::COPY => Some(Err(bad_field(2, 7))),
        page::NAMES if !device.names => Some(ours(cdb, lu, device, cx, out)),
        page::PORTS => Some(ours(cdb, lu, device, cx, out)),
        page::LIMITS if !device.limits && device.kind == DeviceKind::Disk => {
            let mut said = [0; 64];
            said[..4].copy_from_slice(&[device.peripheral, page::LIMITS, 0, 60]);
            limits(device, lu.facts.block_size, &mut said);
            let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
            answer.put(&said);
            Some(Ok(answer.finish()))
        }
        _ => None,
    }
}

/// The page as every logical unit has it, but for the kind of device.
fn ours(cdb: &Cdb, lu: &Lu, device: Device, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let outcome = inquiry::inquiry(cdb, lu, cx, out)?;
    if let (Outcome::Data(1..), Some(first)) = (&outcome, out.first_mut()) {
        *first = device.peripheral;
    }
    Ok(outcome)
}

/// Standard INQUIRY data: how this target reaches it, and what it does with commands.
fn standard(lu: &Lu, cx: &Context<'_>, said: &mut [u8]) {
    let tpgs = lu.facts.groups.of_port(cx.nexus.relative_port).tpgs();
    let mut set = |at: usize, keep: u8, add: u8| {
        if let Some(byte) = said.get_mut(at) {
            *byte = *byte & keep | add;
        }
    };
    set(3, !0x20, 0); // NORMACA
    set(5, 0x06, tpgs << 4); // SCCS, ACC, 3PC, PROTECT are not offered here
    set(6, 0xff, 0x10); // MULTIP
    set(7, 0xff, 0x02); // CMDQUE
}

/// The list of pages: without what is not offered, with what is ours.
fn pages(cdb: &Cdb, device: Device, data: &[u8], out: &mut [u8]) -> usize {
    let mut codes: Vec<u8> = data.get(4..).unwrap_or(&[]).to_vec();
    codes.truncate(usize::from(length(data)));
    codes.retain(|code| *code != page::COPY);
    codes.extend([page::SUPPORTED, page::NAMES, page::PORTS]);
    codes.extend((device.kind == DeviceKind::Disk).then_some(page::LIMITS));
    codes.sort_unstable();
    codes.dedup();
    let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
    answer.put(&[device.peripheral, page::SUPPORTED, 0, 0]);
    answer.put(&codes);
    answer.close_u16(2);
    len_of(answer)
}

/// Device Identification: the names of the logical unit are the device's.
fn names(cdb: &Cdb, lu: &Lu, cx: &Context<'_>, data: &[u8], out: &mut [u8]) -> usize {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
    answer.put(&[data.first().copied().unwrap_or(0), page::NAMES, 0, 0]);
    let mut rest = data.get(4..).unwrap_or(&[]);
    rest = &rest[..rest.len().min(usize::from(length(data)))];
    while let [_, kind, _, size, ..] = rest {
        let Some((one, next)) = rest.split_at_checked(4 + usize::from(*size)) else { break };
        if kind >> 4 & 3 == 0 {
            answer.put(one);
        }
        rest = next;
    }
    vpd::port_designators(Some(lu), cx, &mut answer);
    answer.close_u16(2);
    len_of(answer)
}

fn len_of(answer: Answer<'_>) -> usize {
    if let Outcome::Data(len) = answer.finish() { len } else { 0 }
}

/// PAGE LENGTH of a VPD page.
fn length(data: &[u8]) -> u16 {
    data.get(2..4).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// Block Limits: no transfer that does not fit in a slot, or that the way to the device does not take.
fn limits(device: Device, block: u32, said: &mut [u8]) {
    let most = most_blocks(device, block);
    // MAXIMUM COMPARE AND WRITE LENGTH: both halves come together.
    if let Some(byte) = said.get_mut(5) {
        *byte = (*byte).min(u8::try_from(most / 2).unwrap_or(u8::MAX));
    }
    lower(said, 8, most, true); // MAXIMUM TRANSFER LENGTH; 0 would be no limit
    lower(said, 12, most, false); // OPTIMAL TRANSFER LENGTH
    lower(said, 44, most, false); // MAXIMUM ATOMIC TRANSFER LENGTH
}

/// READ BLOCK LIMITS of a tape: the longest block can be moved at once.
fn block_limits(device: Device, said: &mut [u8]) {
    let Some(field) = said.get_mut(1..4) else { return };
    let longest = u32::from_be_bytes([0, field[0], field[1], field[2]]);
    if longest == 0 || longest > device.most {
        field.copy_from_slice(&device.most.to_be_bytes()[1..]);
    }
}

/// A number of four bytes that may not be greater; with `from_none` it is that also where it was 0.
fn lower(said: &mut [u8], at: usize, most: u32, from_none: bool) {
    let Some(field) = said.get_mut(at..at + 4) else { return };
    let now = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
    if now > most || (now == 0 && from_none) {
        field.copy_from_slice(&most.to_be_bytes());
    }
}

/// WP of the mode parameter header, which is at `at`: this nexus may not write.
fn protect(lu: &Lu, cx: &Context<'_>, device: Device, said: &mut [u8], at: usize) {
    let has_bit = matches!(device.kind, DeviceKind::Disk | DeviceKind::Tape);
    if let Some(byte) = said.get_mut(at).filter(|_| has_bit && (lu.facts.read_only || cx.read_only_map)) {
        *byte |= 0x80;
    }
}

/// REPORT SUPPORTED OPERATION CODES, all of them: without those that are refused; how long it is now. The length that
/// it tells counts what came only, so who asks for too little has to ask again, as always.
fn supported(kind: DeviceKind, said: &mut [u8]) -> usize {
    let Some(total) = said.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else { return said.len() };
    let (mut from, mut to) = (4, 4);
    while let Some(&[opcode, _, _, action, _, flags, ..]) = said.get(from..from + 8) {
        let size = if flags & 0x02 == 0 { 8 } else { 20 };
        let end = (from + size).min(said.len());
        let action = if flags & 0x01 == 0 { 0 } else { action };
        if matches!(rules::find_code(kind, opcode, action), Ok(Verdict::Own | Verdict::Pass(_))) {
            said.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    let removed = (from - to) as u32;
    said[..4].copy_from_slice(&total.saturating_sub(removed).to_be_bytes());
    to
}

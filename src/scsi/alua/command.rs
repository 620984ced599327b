//! REPORT and SET TARGET PORT GROUPS (SPC-5 sections 6.37 and 6.45).

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length};
use super::super::{Answered, Context, Failure, Lu, MAX_PARAMS, Outcome, Sense, SharedOp};
use super::{AccessChange, AccessState, ChangedBy, Group, Groups};

/// PARAMETER DATA FORMAT: only a length before the groups, or a header that says how long transitions take.
const LENGTH_ONLY: u8 = 0;
const EXTENDED_HEADER: u8 = 1;

/// Bytes of the header of the parameter list of SET TARGET PORT GROUPS, and of each of its descriptors.
const HEADER: usize = 4;
const DESCRIPTOR: usize = 4;

/// A group without a port is none that initiators could use, and is not reported.
pub(in super::super) fn report(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, cdb.u32::<6>() as usize);
    answer.zeroes(4);
    match cdb.u8::<1>() >> 5 {
        LENGTH_ONLY => {}
        EXTENDED_HEADER => answer.put(&[EXTENDED_HEADER << 4, lu.facts.groups.transition_seconds, 0, 0]),
        _ => return Err(bad_field(1, 7)),
    }
    lu.facts.groups.iter().filter(|g| !g.ports.is_empty()).for_each(|g| put_group(&mut answer, lu, g));
    answer.close_u32(0, 4);
    Ok(answer.finish())
}

/// A target port group descriptor.
fn put_group(answer: &mut Answer<'_>, lu: &Lu, group: &Group) {
    let state = lu.state.accesses.of(group);
    let [high, low] = group.id.to_be_bytes();
    let status = lu.state.accesses.changed_by(group).map_or(0, status_code);
    answer.put(&[u8::from(group.preferred) << 7 | state.code(), group.supported.bits(), high, low]);
    answer.put(&[0, status, 0, group.ports.len() as u8]);
    for port in &group.ports {
        let [high, low] = port.to_be_bytes();
        answer.put(&[0, 0, high, low]);
    }
}

fn status_code(by: ChangedBy) -> u8 {
    match by {
        ChangedBy::Initiator => 1,
        ChangedBy::Administrator => 2,
    }
}

/// No list, or one without descriptors, changes nothing.
pub(in super::super) fn set(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    match cdb.u32::<6>() {
        0 => Ok(Outcome::Good),
        length if length > MAX_PARAMS => Err(bad_length()),
        length => Ok(Outcome::Params(length)),
    }
}

pub(in super::super) fn set_params(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    let announced = cdb.u32::<6>() as usize;
    if data.len() < announced || announced < HEADER || !announced.is_multiple_of(DESCRIPTOR) {
        return Err(bad_length());
    }
    let list = &data[HEADER..announced];
    let mut to = Vec::new();
    for (bytes, at) in list.chunks_exact(DESCRIPTOR).zip((HEADER as u16..).step_by(DESCRIPTOR)) {
        let (id, state) = descriptor(bytes, at, &lu.facts.groups)?;
        if to.iter().any(|(other, _)| *other == id) {
            return Err(wrong(at + GROUP, 7));
        }
        to.push((id, state));
    }
    if to.is_empty() {
        return Ok(Outcome::Good);
    }
    Ok(Outcome::Shared(SharedOp::Access(AccessChange { to, by: ChangedBy::Initiator })))
}

/// Where TARGET PORT GROUP OR TARGET PORT is in a descriptor.
const GROUP: u16 = 2;

/// A set target port group descriptor that stands at `at`: a group that initiators may change, and a state that it has
/// and in which it can stay.
fn descriptor(bytes: &[u8], at: u16, groups: &Groups) -> Result<(u16, AccessState), Failure> {
    let code = bytes[0] & 0x0f;
    let state = AccessState::LASTING.into_iter().find(|s| s.code() == code).ok_or_else(|| wrong(at, 3))?;
    let id = u16::from_be_bytes([bytes[2], bytes[3]]);
    let group =
        groups.get(id).filter(|g| g.heeds(ChangedBy::Initiator)).ok_or_else(|| wrong(at + GROUP, 7))?;
    if groups.allow(group.id, state, ChangedBy::Initiator) { Ok((id, state)) } else { Err(wrong(at, 3)) }
}

fn wrong(byte: u16, bit: u8) -> Failure {
    Sense::parameter_field(byte, bit).into()
}

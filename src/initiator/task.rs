//! SCSI commands that are outstanding, in a table of fixed size: what was sent, what came, what is due next.

use crate::scsi::status;
use crate::wire::bhs::{DataIn, R2t, ScsiResponse};
use crate::wire::codes::{Opcode, ServiceResponse};
use crate::wire::flags;

use super::cdb::Cdb;
use super::error::Error;

/// The most commands that one connection keeps outstanding: tags have 16 bits for the place.
pub(super) const CAPACITY_MAX: usize = 1 << 16;

/// Tags of commands have this bit clear, all others have it set.
pub(super) const NOT_A_COMMAND: u32 = 0x8000_0000;

/// The Initiator Task Tag of something that was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Tag(pub u32);

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// There is none.
    #[default]
    None,
    /// From the target.
    In,
    /// To the target.
    Out,
    /// From the target, so many bytes, which are counted and dropped: the command has no buffer.
    Discard(u32),
    /// To the target, so many bytes of the front of the core's pattern (see `Core::set_pattern`): no buffer either.
    Pattern(u32),
    /// From the target, to the caller's own memory: no buffer either. See `Core::poll_into`.
    Into(Stretch),
    /// To the target, from the caller's own memory, which whoever sends puts between the bytes, as with a pattern. There are
    /// no digests of it.
    From(Stretch),
}

/// A stretch of memory of the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Its first byte, as the caller counts them.
    pub at: u32,
    /// How many there are.
    pub len: u32,
}

impl Direction {
    /// Whether data comes.
    pub fn is_in(self) -> bool {
        matches!(self, Self::In | Self::Discard(_) | Self::Into(_))
    }

    /// Whether data goes.
    pub fn is_out(self) -> bool {
        matches!(self, Self::Out | Self::Pattern(_) | Self::From(_))
    }
}

/// A SCSI command.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The logical unit.
    pub lun: u16,
    /// What is to be done.
    pub cdb: Cdb,
    /// Which way data goes.
    pub direction: Direction,
    /// The data, or room for it; its length is what the target is told to expect.
    pub buffer: Vec<u8>,
    /// The caller's own number, returned with the end of the command.
    pub user: u64,
}

impl Command {
    /// Bytes that are to move.
    pub fn len(&self) -> usize {
        match self.direction {
            Direction::None => 0,
            Direction::In | Direction::Out => self.buffer.len(),
            Direction::Discard(len) | Direction::Pattern(len) => len as usize,
            Direction::Into(stretch) | Direction::From(stretch) => stretch.len as usize,
        }
    }

    /// Whether nothing is to move.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// Which one.
    pub tag: Tag,
    /// The caller's number of it.
    pub user: u64,
    /// The iSCSI service response.
    pub response: ServiceResponse,
    /// The SCSI status.
    pub status: u8,
    /// Sense data, if any, without its length field.
    pub sense: Vec<u8>,
    /// Bytes that the target would have moved beyond the buffer (positive) or that were missing (negative).
    pub residual: i64,
    /// Bytes that came from the target.
    pub received: usize,
    /// The command's buffer, filled as far as data came.
    pub buffer: Vec<u8>,
}

impl Done {
    /// Whether all went well.
    pub fn is_good(&self) -> bool {
        self.response == ServiceResponse::COMPLETED && self.status == status::GOOD
    }

    /// Sense key, additional sense code and its qualifier, of sense data in either format (SPC-5 section 4.4).
    pub fn sense_code(&self) -> Option<(u8, u8, u8)> {
        sense_code(&self.sense)
    }
}

/// Sense key, ASC and ASCQ of sense data.
pub(super) fn sense_code(sense: &[u8]) -> Option<(u8, u8, u8)> {
    let at = |n: usize| sense.get(n).copied();
    match at(0)? & 0x7f {
        0x70 | 0x71 => Some((at(2)? & 15, at(12)?, at(13)?)),
        0x72 | 0x73 => Some((at(1)? & 15, at(2)?, at(3)?)),
        _ => None,
    }
}

/// A command on its way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) command: Command,
    /// Number of the next Data-In or R2T.
    next_sn: u32,
    /// Where the next Data-In belongs.
    received: usize,
    /// Whether the target has been told of it.
    pub(super) sent: bool,
}

/// The table. What is in it never moves, so tags are a place and a generation.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Vec<(u16, Option<Active>)>,
    free: Vec<u16>,
}

fn broken(opcode: Opcode, rule: &'static str) -> Error {
    Error::Protocol { opcode, rule }
}

fn demand(kept: bool, opcode: Opcode, rule: &'static str) -> Result<(), Error> {
    if kept { Ok(()) } else { Err(broken(opcode, rule)) }
}

impl Tasks {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        let slots = (0..capacity).map(|_| (0, None)).collect();
        Self { slots, free: (0..capacity).rev().map(|n| n as u16).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn open(&mut self, command: Command) -> Result<Tag, Command> {
        let Some(place) = self.free.pop() else { return Err(command) };
        let (generation, slot) = &mut self.slots[usize::from(place)];
        *slot = Some(Active { command, next_sn: 0, received: 0, sent: false });
        Ok(Tag(u32::from(*generation) << 16 | u32::from(place)))
    }

    fn place(&self, tag: Tag) -> Option<usize> {
        let place = usize::from(tag.0 as u16);
        let (generation, slot) = self.slots.get(place)?;
        (u32::from(*generation) == tag.0 >> 16 && slot.is_some()).then_some(place)
    }

    pub(super) fn get_mut(&mut self, tag: Tag) -> Option<&mut Active> {
        let place = self.place(tag)?;
        self.slots[place].1.as_mut()
    }

    pub(super) fn close(&mut self, tag: Tag) -> Option<Active> {
        let place = self.place(tag)?;
        let (generation, slot) = &mut self.slots[place];
        *generation = (*generation + 1) & 0x7fff;
        self.free.push(place as u16);
        slot.take()
    }

    fn known(&mut self, tag: Tag, opcode: Opcode) -> Result<&mut Active, Error> {
        self.get_mut(tag).filter(|a| a.sent).ok_or_else(|| broken(opcode, "no such task"))
    }

    /// Where the bytes from `offset` on of a command's data go, if that is the caller's own memory.
    pub(super) fn landing(&mut self, tag: Tag, offset: u32) -> Option<u32> {
        match self.get_mut(tag)?.command.direction {
            Direction::Into(stretch) => Some(stretch.at + offset),
            _ => None,
        }
    }

    /// Takes a Data-In; the end of the command when it carries status.
    pub(super) fn data_in(&mut self, pdu: &DataIn, data: &[u8]) -> Result<Option<Done>, Error> {
        let opcode = Opcode::DATA_IN;
        let tag = Tag(pdu.itt.get());
        let active = self.known(tag, opcode)?;
        let at = pdu.buffer_offset.get() as usize;
        demand(active.command.direction.is_in(), opcode, "no data was to come")?;
        demand(pdu.data_sn.get() == active.next_sn, opcode, "DataSN does not follow")?;
        demand(at == active.received, opcode, "Buffer Offset does not follow")?;
        demand(at + data.len() <= active.command.len(), opcode, "more data than expected")?;
        if active.command.direction == Direction::In {
            active.command.buffer[at..at + data.len()].copy_from_slice(data);
        }
        active.received += data.len();
        active.next_sn = active.next_sn.wrapping_add(1);
        if pdu.flags & flags::STATUS == 0 {
            return Ok(None);
        }
        demand(pdu.flags & flags::FINAL != 0, opcode, "status without the F bit")?;
        let residual = residual(pdu.flags, pdu.residual_count.get());
        self.end(tag, ServiceResponse::COMPLETED, pdu.status, &[], residual).map(Some)
    }

    /// Takes a SCSI Response.
    pub(super) fn response(&mut self, pdu: &ScsiResponse, data: &[u8]) -> Result<Done, Error> {
        let opcode = Opcode::SCSI_RESPONSE;
        let tag = Tag(pdu.itt.get());
        let active = self.known(tag, opcode)?;
        let counted = !active.command.direction.is_in()
            || pdu.response != ServiceResponse::COMPLETED.0
            || pdu.exp_data_sn.get() == active.next_sn;
        demand(counted, opcode, "ExpDataSN is not the number of Data-In PDUs")?;
        let sense = match data.split_first_chunk::<2>() {
            None => &[],
            Some((len, rest)) => rest
                .get(..usize::from(u16::from_be_bytes(*len)))
                .ok_or_else(|| broken(opcode, "the sense data is shorter than its length"))?,
        };
        let residual = residual(pdu.flags, pdu.residual_count.get());
        self.end(tag, ServiceResponse(pdu.response), pdu.status, sense, residual)
    }

    fn end(
        &mut self,
        tag: Tag,
        response: ServiceResponse,
        status: u8,
        sense: &[u8],
        residual: i64,
    ) -> Result<Done, Error> {
        let active = self.close(tag).ok_or_else(|| broken(Opcode::SCSI_RESPONSE, "no such task"))?;
        let Active { command: Command { user, buffer, .. }, received, .. } = active;
        Ok(Done { tag, user, response, status, sense: sense.to_vec(), residual, received, buffer })
    }

    /// Checks an R2T; the stretch of the buffer that it wants.
    pub(super) fn r2t(&mut self, pdu: &R2t, max_burst: u32) -> Result<&mut Active, Error> {
        let opcode = Opcode::R2T;
        let active = self.known(Tag(pdu.itt.get()), opcode)?;
        let (at, len) = (pdu.buffer_offset.get() as usize, pdu.desired_data_transfer_length.get());
        demand(active.command.direction.is_out(), opcode, "no data was to go")?;
        demand(pdu.r2t_sn.get() == active.next_sn, opcode, "R2TSN does not follow")?;
        demand(len > 0 && len <= max_burst, opcode, "length is zero or beyond MaxBurstLength")?;
        demand(at + len as usize <= active.command.len(), opcode, "more data than there is")?;
        active.next_sn = active.next_sn.wrapping_add(1);
        Ok(active)
    }
}

fn residual(bits: u8, count: u32) -> i64 {
    match bits & (flags::OVERFLOW | flags::UNDERFLOW) {
        flags::OVERFLOW => i64::from(count),
        flags::UNDERFLOW => -i64::from(count),
        _ => 0,
    }
}

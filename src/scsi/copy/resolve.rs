//! From names to places: what a segment reads and writes, if this nexus may.

use super::super::check::range;
use super::super::reserve::Needs;
use super::super::{Asc, Failure, Identity, ItNexus, Lu, Sense, SenseKey};
use super::list::{Cscd, Measure, Segment};
use super::{CopyOrder, Plan};
use crate::ids::LuId;

/// The CSCD descriptor identifier of the logical unit that the command was sent to.
const OWN: u16 = 0xffff;

/// The peripheral device type of a block device.
const BLOCK_DEVICE: u8 = 0x00;

/// A logical unit that the nexus sees: the only kind that a copy can reach.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its name.
    pub id: LuId,
    /// What it is and how it stands.
    pub lu: &'a Lu,
    /// Whether the LUN map forbids this nexus to write.
    pub read_only_map: bool,
    /// By which other nexus of the same initiator it is seen, if not by that which copies.
    pub via: Option<&'a ItNexus>,
}

/// What a segment comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The source, and its first byte.
    pub from: LuId,
    /// Byte offset on the source: a whole block.
    pub from_offset: u64,
    /// Bytes of a block of the source.
    pub from_block: u32,
    /// The destination.
    pub to: LuId,
    /// Byte offset on the destination: a whole block.
    pub to_offset: u64,
    /// Bytes of a block of the destination.
    pub to_block: u32,
    /// Bytes to copy. The last block of either side may be used in part: what is beyond is dropped
    /// from the source, and zeroes on the destination.
    pub len: u64,
    /// Zeroes are written, and the source is only the destination's name again.
    pub zeroes: bool,
}

/// A side of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// What is read.
    Source,
    /// What is written.
    Destination,
}

impl Extent {
    /// Which side refuses that `nexus`, which sees `peers`, reads the source and writes the destination now, if one does.
    fn refusal<'a, I>(&self, nexus: &ItNexus, mut peers: I) -> Option<Side>
    where
        I: Iterator<Item = Peer<'a>> + Clone,
    {
        if !self.zeroes && !peers.clone().any(|p| p.id == self.from && p.may_read(nexus)) {
            return Some(Side::Source);
        }
        let writable = peers.any(|p| p.id == self.to && p.may_write(nexus));
        (!writable).then_some(Side::Destination)
    }

    /// Whether source and destination share bytes.
    pub fn overlaps(&self) -> bool {
        let whole = |block: u32| self.len.next_multiple_of(block.into());
        !self.zeroes
            && self.from == self.to
            && self.from_offset < self.to_offset + whole(self.to_block)
            && self.to_offset < self.from_offset + whole(self.from_block)
    }
}

/// Byte offsets in both block to block segment descriptors.
const SOURCE_FIELD: u16 = 4;
const DESTINATION_FIELD: u16 = 6;
const SOURCE_LBA_FIELD: u16 = 12;
const DESTINATION_LBA_FIELD: u16 = 20;

impl CopyOrder {
    /// How many segments it has.
    pub fn segments(&self) -> usize {
        match &self.plan {
            Plan::Segments { segments, .. } => segments.len(),
            Plan::Rod(write) => write.len(),
        }
    }

    /// What the source of a write by token is read as, if by the nexus that made the token.
    pub fn creator(&self) -> Option<(LuId, &ItNexus)> {
        match &self.plan {
            Plan::Rod(write) => write.rod.as_deref().map(|rod| (rod.source, &rod.creator)),
            Plan::Segments { .. } => None,
        }
    }

    /// What segment `index` comes to for `nexus`, which sent the command to `own` and sees `peers`.
    ///
    /// # Errors
    /// COPY ABORTED with the reason, the number of the segment and a pointer into it.
    pub fn extent<'a, I>(&self, index: usize, own: LuId, nexus: &ItNexus, peers: I) -> Result<Extent, Sense>
    where
        I: Iterator<Item = Peer<'a>> + Clone,
    {
        let extent = match &self.plan {
            Plan::Segments { cscds, segments } => match segments.get(index) {
                Some(segment) => resolved(cscds, segment, index, own, peers.clone())?,
                None => return Err(Sense::copy_aborted(Asc::INTERNAL_TARGET_FAILURE, index as u16)),
            },
            Plan::Rod(write) => {
                let block = |id| {
                    let peer = peers.clone().find(|p| p.id == id);
                    peer.map(|p| &p.lu.facts).filter(|facts| facts.block_size > 0)
                };
                let from = write.rod.as_ref().map_or(own, |rod| rod.source);
                let sides = (block(from), block(own));
                let (Some(from), Some(to)) = sides else {
                    let side = if sides.0.is_none() { Side::Source } else { Side::Destination };
                    return Err(self.failed(index, side, None));
                };
                let extent = write.extent(index, own, from.block_size, to.block_size);
                let inside = |e: &Extent| {
                    let end = |at: u64| at.checked_add(e.len);
                    end(e.to_offset) <= Some(to.bytes()) && end(e.from_offset) <= Some(from.bytes())
                };
                // The logical unit may have been made smaller.
                extent.filter(inside).ok_or(Sense::illegal(Asc::TOKEN_REVOKED))?
            }
        };
        self.check(&extent, index, nexus, peers).map(|()| extent)
    }

    /// Whether `nexus`, which sees `peers`, may read the source and write the destination now.
    ///
    /// # Errors
    /// COPY ABORTED, THIRD PARTY DEVICE FAILURE: what the side that refuses would have answered to a
    /// READ or WRITE of this nexus is a failure.
    pub fn check<'a, I>(&self, extent: &Extent, index: usize, nexus: &ItNexus, peers: I) -> Result<(), Sense>
    where
        I: Iterator<Item = Peer<'a>> + Clone,
    {
        extent.refusal(nexus, peers).map_or(Ok(()), |side| Err(self.failed(index, side, None)))
    }

    /// The sense data when a side has failed, with that failure if it was one of a request. Of a write by token the
    /// destination is the logical unit itself, which says what it always says; there are no segments to point into.
    pub fn failed(&self, index: usize, side: Side, failure: Option<Failure>) -> Sense {
        match (&self.plan, side, failure) {
            (Plan::Rod(_), Side::Destination, Some(Failure::Check(sense))) => sense,
            (Plan::Rod(_), ..) => Sense::new(SenseKey::COPY_ABORTED, Asc::THIRD_PARTY_DEVICE_FAILURE),
            (Plan::Segments { .. }, ..) => {
                let field = if side == Side::Destination { DESTINATION_FIELD } else { SOURCE_FIELD };
                Sense::copy_aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, index as u16).in_segment(field, 7)
            }
        }
    }
}

/// What a segment comes to, whoever may.
fn resolved<'a, I>(
    cscds: &[Cscd],
    segment: &Segment,
    index: usize,
    own: LuId,
    peers: I,
) -> Result<Extent, Sense>
where
    I: Iterator<Item = Peer<'a>> + Clone,
{
    let aborted = |asc, byte| Sense::copy_aborted(asc, index as u16).in_segment(byte, 7);
    let side = |id, field| find(cscds, id, own, peers.clone()).map_err(|asc| aborted(asc, field));
    let (from, to) = (side(segment.source, SOURCE_FIELD)?, side(segment.destination, DESTINATION_FIELD)?);
    measured(segment, from, to).map_err(|(asc, byte)| aborted(asc, byte))
}

/// The logical unit behind a CSCD descriptor identifier, and whether blocks may be padded.
fn find<'a>(
    cscds: &[Cscd],
    id: u16,
    own: LuId,
    mut peers: impl Iterator<Item = Peer<'a>>,
) -> Result<(Peer<'a>, bool), Asc> {
    let unreachable = Asc::COPY_TARGET_DEVICE_NOT_REACHABLE;
    if id == OWN {
        return peers.find(|p| p.id == own).map(|p| (p, false)).ok_or(unreachable);
    }
    let Some(cscd) = cscds.get(usize::from(id)).filter(|c| !c.null) else {
        return Err(Asc::UNREACHABLE_COPY_TARGET);
    };
    if cscd.device_type != BLOCK_DEVICE {
        return Err(Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE);
    }
    let peer = peers.find(|p| cscd.names(&p.lu.facts.identity)).ok_or(unreachable)?;
    if peer.lu.facts.device.code() != BLOCK_DEVICE {
        return Err(Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE);
    }
    let fits = cscd.block_len == 0 || cscd.block_len == peer.lu.facts.block_size;
    // It is another device than the initiator thinks.
    if fits { Ok((peer, cscd.pad)) } else { Err(unreachable) }
}

impl Cscd {
    /// Whether this is a name of that logical unit: one of those in its page 83h.
    fn names(&self, identity: &Identity) -> bool {
        const UNIT: u8 = 0;
        const BINARY: u8 = 1;
        const ASCII: u8 = 2;
        let name = self.designator();
        self.association == UNIT
            && match (self.code_set, self.kind) {
                (BINARY, 0x03) => name == identity.naa.bytes(),
                (BINARY, 0x0a) => name.split_first_chunk() == Some((&[0x10, 0], &identity.uuid[..])),
                (ASCII, 0x01) => is_vendor_name(name, identity),
                _ => false,
            }
    }
}

/// The T10 vendor ID based designator: eight letters of vendor, and what that vendor's units are told apart by.
fn is_vendor_name(name: &[u8], identity: &Identity) -> bool {
    let Some((vendor, unit)) = name.split_at_checked(8) else { return false };
    let padded = identity.vendor.bytes().chain(std::iter::repeat(b' ')).take(8);
    padded.eq(vendor.iter().copied()) && unit == identity.t10().as_bytes()
}

impl Peer<'_> {
    /// Whether `nexus` may read it now, as by a command of its own.
    fn may_read(&self, nexus: &ItNexus) -> bool {
        self.admits(nexus, Needs::Reading)
    }

    /// Whether `nexus` may write it now, as by a command of its own.
    fn may_write(&self, nexus: &ItNexus) -> bool {
        let protected = self.lu.facts.read_only || self.lu.state.mode.current.write_protect;
        !protected && !self.read_only_map && self.admits(nexus, Needs::Writing)
    }

    fn admits(&self, nexus: &ItNexus, needs: Needs) -> bool {
        let nexus = self.via.unwrap_or(nexus);
        // What is passed through is read and written by its own commands only.
        if self.lu.facts.passed.is_some() {
            return false;
        }
        let (lu, state) = (self.lu, &self.lu.state);
        let reached = lu.is_open() || lu.barrier(nexus).is_none();
        let ready = state.drive.is_ready() && state.erasure.is_none();
        reached && ready && state.reservations.check(nexus, needs).is_ok()
    }
}

/// The places and the length, if they lie inside both media and are whole blocks, or may be padded.
fn measured(
    segment: &Segment,
    (from, drop_rest): (Peer<'_>, bool),
    (to, pad_rest): (Peer<'_>, bool),
) -> Result<Extent, (Asc, u16)> {
    let [from_block, to_block] = [from, to].map(|p| u64::from(p.lu.facts.block_size.max(1)));
    let (len, source_at, destination_at) = match segment.measure {
        Measure::Blocks { count, of_destination } => {
            let block = if of_destination { to_block } else { from_block };
            (u64::from(count) * block, 0, 0)
        }
        Measure::Bytes { count, source_at, destination_at } => {
            (count.into(), u64::from(source_at), u64::from(destination_at))
        }
    };
    let inexact = |at: u64, block: u64, rest_is_right: bool| {
        !at.is_multiple_of(block) || (!len.is_multiple_of(block) && !rest_is_right)
    };
    if inexact(source_at, from_block, drop_rest) {
        return Err((Asc::UNEXPECTED_INEXACT_SEGMENT, SOURCE_FIELD));
    }
    if inexact(destination_at, to_block, pad_rest) {
        return Err((Asc::UNEXPECTED_INEXACT_SEGMENT, DESTINATION_FIELD));
    }
    let place = |peer: Peer<'_>, lba: u64, at: u64, block: u64, field| {
        let lba = lba.saturating_add(at / block);
        let range = range(&peer.lu.facts, lba, len.div_ceil(block));
        range.map(|r| r.offset).map_err(|_| (Asc::COPY_TARGET_DEVICE_NOT_REACHABLE, field))
    };
    Ok(Extent {
        from: from.id,
        from_offset: place(from, segment.source_lba, source_at, from_block, SOURCE_LBA_FIELD)?,
        from_block: from_block as u32,
        to: to.id,
        to_offset: place(to, segment.destination_lba, destination_at, to_block, DESTINATION_LBA_FIELD)?,
        to_block: to_block as u32,
        len,
        zeroes: false,
    })
}

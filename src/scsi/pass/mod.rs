//! Commands for a device of this host that is passed through: which of them it gets, and what initiators hear of it.
//!
//! ```text
//!   CDB ── start ──▶ answered here, like that of any other logical unit: `rules` says Own
//!                    Pass      the device runs it; its status and sense data are the answer
//!                                └─ revise ──▶ what must be ours in the data-in of some commands
//! ```
//!
//! To the device all initiators are one. So what is kept for each of them is kept here: reservations, unit attentions,
//! target ports, echo buffers, task management. Whatever is not in the table of `rules` is refused.

mod lists;
mod revise;
mod rules;

#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;

use super::cdb::Cdb;
use super::check::bad_field;
use super::{
    Answered, Asc, Context, Failure, Lu, Outcome, Sense, SenseKey, alua, drive, gate, misc, rsoc, table,
};
use crate::scsi::reserve::Needs;
use rules::{Passing, Scale, Verdict};

pub use revise::revise;

/// What kind of device it is: the same operation code is another command on each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// Blocks: types 00h, 07h and 0Eh.
    Disk,
    /// Type 01h.
    Tape,
    /// CD and DVD: type 05h.
    Optical,
    /// A library's robot: type 08h.
    Changer,
    /// Type 0Dh.
    Enclosure,
}

impl DeviceKind {
    /// Of a peripheral device type (SPC-5 table 147), if it is one that can be passed through.
    pub fn of_type(peripheral: u8) -> Option<Self> {
        match peripheral & 0x1f {
            0x00 | 0x07 | 0x0e => Some(Self::Disk),
            0x01 => Some(Self::Tape),
            0x05 => Some(Self::Optical),
            0x08 => Some(Self::Changer),
            0x0d => Some(Self::Enclosure),
            _ => None,
        }
    }
}

/// What has to be known of a device that is passed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// What it is.
    pub kind: DeviceKind,
    /// Its peripheral device type.
    pub peripheral: u8,
    /// INQUIRY has an allocation length of two bytes (SPC and later; in SCSI-2 it had one).
    pub long_inquiry: bool,
    /// It has VPD page 83h.
    pub names: bool,
    /// It has VPD page B0h.
    pub limits: bool,
    /// The longest transfer that there is a slot for and that the way to it takes, bytes; at most [`super::WHOLE`].
    pub most: u32,
}

#[cfg(test)]
impl Device {
    /// One of that kind for tests, which has all that such a device may have.
    pub(crate) const fn whole(kind: DeviceKind) -> Self {
        let peripheral = match kind {
            DeviceKind::Disk => 0,
            DeviceKind::Tape => 1,
            DeviceKind::Optical => 5,
            DeviceKind::Changer => 8,
            DeviceKind::Enclosure => 13,
        };
        Self { kind, peripheral, long_inquiry: true, names: true, limits: true, most: super::WHOLE }
    }
}

/// How many bytes a command moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// The CDB says so; at most [`Device::most`].
    Known(u32),
    /// What the initiator expects: the CDB counts in units that only the device knows.
    Expected {
        /// How many of them.
        units: u32,
        /// [`Device::most`].
        most: u32,
    },
}

/// Which way a command moves data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PassData {
    /// None.
    Nothing,
    /// To the initiator.
    In(Amount),
    /// From the initiator.
    Out(Amount),
}

/// What the device is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassOrder {
    /// As long as its operation code says.
    pub cdb: ArrayVec<u8, 16>,
    /// It reads the medium or what belongs to it.
    pub reads: bool,
    /// It changes something that others depend on, be it the medium.
    pub changes: bool,
    /// A port in the standby state serves it, too.
    pub standby: bool,
    /// How long it may take, in seconds.
    pub seconds: u32,
}

/// A command for the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pass {
    /// What the device is given.
    pub order: PassOrder,
    /// What it moves.
    pub data: PassData,
    /// Its data-in goes through [`revise()`].
    pub revised: bool,
    /// Its parameter list is looked at before the device gets it.
    pub judged: bool,
    /// When it has gone well, all other initiators are told so: to the device they are one.
    pub tells: Option<Asc>,
}

/// The longest sense data (SPC-5 section 4.4.2.1).
pub const MAX_DEVICE_SENSE: usize = 252;

/// What the device has answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PassReport {
    /// Its status.
    pub status: u8,
    /// Its sense data as they are.
    pub sense: ArrayVec<u8, MAX_DEVICE_SENSE>,
    /// Bytes that were moved.
    pub moved: u32,
}

impl PassReport {
    /// How a command has ended of which only that counts.
    ///
    /// # Errors
    /// When the device has not carried it out.
    pub fn result(&self) -> Result<(), Failure> {
        match (self.status, self.told()) {
            (super::status::GOOD, _) => Ok(()),
            (super::status::CHECK_CONDITION, Some((key, asc))) => Err(Sense::new(SenseKey(key), asc).into()),
            (super::status::CHECK_CONDITION, None) => Err(Sense::target_failure().into()),
            (status, _) => Err(Failure::Status(status)),
        }
    }

    /// Sense key and additional sense code, if there are any.
    fn told(&self) -> Option<(u8, Asc)> {
        let at = |n: usize| self.sense.get(n).copied().unwrap_or(0);
        match at(0) & 0x7f {
            0x70 => Some((at(2) & 0x0f, Asc(at(12), at(13)))),
            0x72 => Some((at(1) & 0x0f, Asc(at(2), at(3)))),
            _ => None,
        }
    }

    /// The unit attention that it reports, if it does: all initiators have to be told (SAM-6 section 5.14).
    pub fn attention(&self) -> Option<Asc> {
        let (key, asc) = self.told()?;
        (self.status == super::status::CHECK_CONDITION && key == 0x06).then_some(asc)
    }
}

/// How long the blocks of the medium are, if it was READ CAPACITY that the device has answered with `data`: the medium that
/// is in a drive now may be another than when it was opened, and then there may have been none.
pub fn block_length(cdb: &[u8], data: &[u8]) -> Option<u32> {
    let cdb = Cdb::new(cdb);
    let at = match (cdb.opcode(), cdb.action()) {
        (0x25, _) => 4,
        (0x9e, 0x10) => 8,
        _ => return None,
    };
    let length = data.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))?;
    (1..=super::WHOLE).contains(&length).then_some(length)
}

/// VPD pages that are ours, or are changed on their way.
mod page {
    pub(super) const SUPPORTED: u8 = 0x00;
    pub(super) const NAMES: u8 = 0x83;
    pub(super) const PORTS: u8 = 0x88;
    pub(super) const COPY: u8 = 0x8f;
    pub(super) const LIMITS: u8 = 0xb0;
}

/// What the device is asked for of a page that is put together anew: all that it has.
const WHOLE_PAGE: u16 = 1024;
/// Likewise in SCSI-2.
const WHOLE_SHORT_PAGE: u16 = 255;

/// Begins a command.
#[cold]
pub(super) fn start(cdb: &Cdb, lu: &Lu, device: Device, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let verdict = rules::find(device.kind, cdb);
    if matches!(verdict, Ok(Verdict::Own)) {
        return gate::begin(cdb, lu, cx, out);
    }
    // What the device has to say is not all: something has happened here, or it is out of reach.
    let is_ours = !cx.attentions.is_empty() || lu.barrier(cx.nexus).is_some();
    match cdb.opcode() {
        table::INQUIRY => {}
        table::REQUEST_SENSE if is_ours => return misc::request_sense(cdb, lu, cx, out),
        _ => gate::attention(None, lu, cx)?,
    }
    let passing = passing(verdict?)?;
    admit(passing, cdb, lu, cx)?;
    match answer_here(cdb, lu, device, cx, out) {
        Some(answered) => answered,
        None => plan(passing, cdb, lu, device),
    }
}

/// Whether the device changes its medium by that command.
pub(super) fn writes(cdb: &Cdb, device: Device) -> bool {
    matches!(rules::find(device.kind, cdb), Ok(Verdict::Pass(passing)) if passing.writes)
}

/// Goes on with a command whose data has come: the rules are applied again.
#[cold]
pub(super) fn go_on(
    cdb: &Cdb,
    lu: &Lu,
    device: Device,
    cx: &mut Context<'_>,
    data: &[u8],
    out: &mut [u8],
) -> Answered {
    match rules::find(device.kind, cdb)? {
        Verdict::Own => gate::go_on(cdb, lu, cx, data, out),
        verdict => {
            let passing = passing(verdict)?;
            admit(passing, cdb, lu, cx)?;
            let takes = match passing.list {
                Some(judge) => Some(judge(cdb, data, device.kind, lu.facts.block_size)?),
                None => None,
            };
            plan(passing, cdb, lu, device).map(|outcome| cut(outcome, takes))
        }
    }
}

/// The device gets no more of a list than it takes.
fn cut(outcome: Outcome, takes: Option<usize>) -> Outcome {
    match (outcome, takes.and_then(|bytes| u32::try_from(bytes).ok())) {
        (Outcome::Pass(pass), Some(bytes)) => {
            Outcome::Pass(Box::new(Pass { data: PassData::Out(Amount::Known(bytes)), ..*pass }))
        }
        (outcome, _) => outcome,
    }
}

fn passing(verdict: &'static Verdict) -> Result<&'static Passing, Failure> {
    match verdict {
        Verdict::Pass(passing) => Ok(passing),
        Verdict::Own | Verdict::Refuse => Err(super::check::unknown_opcode()),
    }
}

fn admit(passing: &Passing, cdb: &Cdb, lu: &Lu, cx: &Context<'_>) -> Result<(), Failure> {
    alua::admit_passed(cdb, lu, cx.nexus)?;
    lu.state.reservations.admit(cx.nexus, passing.needs(cdb), cdb)?;
    let control = rules::cdb_len(cdb.opcode()) - 1;
    if cdb.get(control) & 0x04 != 0 {
        return Err(bad_field(control as u16, 2));
    }
    rules::stays_in_unit(cdb)?;
    (passing.check)(cdb)?;
    let protected = passing.writes && (lu.facts.read_only || cx.read_only_map);
    if protected { Err(Sense::protected(Asc::WRITE_PROTECTED).into()) } else { Ok(()) }
}

/// What the device would not say, or not say right.
fn answer_here(cdb: &Cdb, lu: &Lu, device: Device, cx: &mut Context<'_>, out: &mut [u8]) -> Option<Answered> {
    match (cdb.opcode(), cdb.action()) {
        (table::INQUIRY, _) if cdb.bit::<1>(0) => revise::own_page(cdb, lu, device, cx, out),
        (rules::PREVENT_ALLOW, _) => Some(drive::pass_prevent_allow(cdb, device.kind == DeviceKind::Optical)),
        (0xa3, 0x0c) if cdb.u8::<2>() & 7 != 0 => {
            match rules::find_code(device.kind, cdb.u8::<3>(), cdb.u8::<5>()) {
                Ok(Verdict::Pass(_)) => None,
                Ok(Verdict::Own) => Some(rsoc::opcodes(cdb, lu, cx, out)),
                _ => Some(Ok(rsoc::unsupported(cdb, out))),
            }
        }
        _ => None,
    }
}

fn plan(passing: &Passing, cdb: &Cdb, lu: &Lu, device: Device) -> Answered {
    let length = rules::cdb_len(cdb.opcode());
    let mut given = *cdb;
    let mut data = (passing.data)(&mut given, Scale { block: lu.facts.block_size, most: device.most })?;
    let mut bytes: ArrayVec<u8, 16> = (0..length).map(|at| given.get(at)).collect();
    let needs = passing.needs(cdb);
    if is_put_together(cdb) {
        let all = if device.long_inquiry { WHOLE_PAGE } else { WHOLE_SHORT_PAGE };
        bytes[3..5].copy_from_slice(&all.to_be_bytes());
        data = PassData::In(Amount::Known(all.into()));
    }
    let (reads, changes) = (needs == Needs::Reading, needs == Needs::Writing);
    let standby = table::traits(cdb).contains(table::Traits::STANDBY);
    let order = PassOrder { cdb: bytes, reads, changes, standby, seconds: passing.seconds };
    Ok(Outcome::Pass(Box::new(Pass {
        order,
        data,
        revised: passing.revised,
        judged: passing.list.is_some(),
        tells: tells(cdb),
    })))
}

/// What a command has changed for everybody (SPC-5 table 60).
fn tells(cdb: &Cdb) -> Option<Asc> {
    match (cdb.opcode(), cdb.action()) {
        // MODE SELECT(6) and (10)
        (0x15 | 0x55, _) => Some(Asc::MODE_PARAMETERS_CHANGED),
        // LOG SELECT
        (0x4c, _) => Some(Asc::LOG_PARAMETERS_CHANGED),
        // SET IDENTIFYING INFORMATION
        (0xa4, 0x06) => Some(Asc::DEVICE_IDENTIFIER_CHANGED),
        _ => None,
    }
}

/// Whether all of a page is needed to make the answer of it.
fn is_put_together(cdb: &Cdb) -> bool {
    let pages = [page::SUPPORTED, page::NAMES];
    cdb.opcode() == table::INQUIRY && cdb.bit::<1>(0) && pages.contains(&cdb.u8::<2>())
}

/// The longest transfer, in blocks of that many bytes. Zero would mean that there is no limit.
fn most_blocks(device: Device, block: u32) -> u32 {
    (device.most / block.max(1)).max(1)
}

//! Reservations: who may do what with a logical unit.
//!
//! Owns registrations and the persistent reservation (SPC-5 section 5.14), and the older RESERVE
//! and RELEASE (SPC-2) beside them. Here: the state and the rule of conflicts; `persist` has what
//! PERSISTENT RESERVE OUT does to it and `register` to registrations, `report` PERSISTENT RESERVE IN,
//! `command` reads the CDBs and `transport` the names of initiator ports.

mod command;
mod persist;
mod register;
mod report;
mod transport;

use serde::{Deserialize, Serialize};

pub use command::{PrAction, PrOut};
pub(super) use command::{out, out_params, release6, release10, reserve6, reserve10};
pub use transport::TransportId;

pub(super) use report::{read_full_status, read_keys, read_reservation, report_capabilities};

use super::cdb::Cdb;
use super::{Asc, Failure, ItNexus, Sense, SenseKey, TargetPort, status, table};

/// How many nexuses may register with one logical unit. Large clusters have hundreds of paths;
/// beyond this a peer is wasting memory that is never given back by itself.
const MAX_REGISTRANTS: usize = 1024;

/// A persistent reservation type (SPC-5 section 6.16.3.3, table 215).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum PrType {
    /// Only the holder writes.
    WriteExclusive = 1,
    /// Only the holder reads and writes.
    ExclusiveAccess = 3,
    /// Only registrants write; one of them holds it.
    WriteExclusiveRegistrants = 5,
    /// Only registrants read and write; one of them holds it.
    ExclusiveAccessRegistrants = 6,
    /// Only registrants write; all of them hold it.
    WriteExclusiveAll = 7,
    /// Only registrants read and write; all of them hold it.
    ExclusiveAccessAll = 8,
}

impl PrType {
    /// The type of that code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::WriteExclusive,
            3 => Self::ExclusiveAccess,
            5 => Self::WriteExclusiveRegistrants,
            6 => Self::ExclusiveAccessRegistrants,
            7 => Self::WriteExclusiveAll,
            8 => Self::ExclusiveAccessAll,
            _ => return None,
        })
    }

    /// Whether every registrant holds it.
    pub fn all_registrants(self) -> bool {
        matches!(self, Self::WriteExclusiveAll | Self::ExclusiveAccessAll)
    }

    /// Whether it belongs to its holder alone, and registrants have no part in it.
    fn single(self) -> bool {
        matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether those without access may still read.
    fn lets_read(self) -> bool {
        matches!(self, Self::WriteExclusive | Self::WriteExclusiveRegistrants | Self::WriteExclusiveAll)
    }
}

/// A registration: an I_T nexus and its reservation key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Registrant {
    /// Who.
    pub nexus: ItNexus,
    /// Its key, not zero.
    pub key: u64,
}

/// The persistent reservation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// What it forbids.
    pub kind: PrType,
    /// Who holds it; with an all-registrants type, who made it.
    pub holder: ItNexus,
}

/// Registrations and reservations of one logical unit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reservations {
    /// PRGENERATION. It starts at 0 with every power on.
    #[serde(skip)]
    pub generation: u32,
    /// Who is registered, in order of registration.
    pub registrants: Vec<Registrant>,
    /// The persistent reservation.
    pub reservation: Option<Reservation>,
    /// APTPL: whether registrations and reservation outlive a power loss.
    pub through_power_loss: bool,
    /// Who holds the logical unit by RESERVE(6) or (10).
    #[serde(skip)]
    pub legacy: Option<ItNexus>,
    /// Whether what was saved of all this cannot be read any more (SPC-5 section 5.14.5.3).
    #[serde(skip)]
    pub lost: bool,
}

/// What a command needs, as far as reservations are concerned (SPC-5 section 5.14.1, SBC-4 section
/// 4.17; `conflicts` has their tables).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    /// Never refused, unless by the handler.
    Nothing,
    /// Refused only by RESERVE, never by a persistent reservation.
    NoLegacy,
    /// Refused if the nexus may not read the medium or what belongs to it.
    Reading,
    /// Refused if the nexus may not write the medium or change what others depend on.
    Writing,
}

impl Reservations {
    /// Whether there is anything that could refuse a command.
    #[inline]
    pub fn active(&self) -> bool {
        self.reservation.is_some() || self.legacy.is_some() || self.lost
    }

    /// What is known when what was saved cannot be read: that there may have been something.
    pub(super) fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// Takes the relative port identifiers from the configuration as it is now.
    pub(super) fn renumber(&mut self, ports: &[TargetPort]) {
        let nexuses = self.registrants.iter_mut().map(|r| &mut r.nexus);
        for nexus in nexuses.chain(self.reservation.as_mut().map(|r| &mut r.holder)) {
            let own = ports.iter().find(|p| p.tpg_tag == nexus.tpg_tag && p.target == nexus.target);
            nexus.relative_port = own.map_or(nexus.relative_port, |p| p.relative_port);
        }
    }

    /// Whether `nexus` may run a command with that CDB and these needs.
    #[inline]
    pub(super) fn admit(&self, nexus: &ItNexus, needs: Needs, cdb: &Cdb) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        if self.lost && !survives_loss(cdb) {
            return Err(Sense::new(SenseKey::DATA_PROTECT, Asc::PERSISTENT_RESERVATION_LOST).into());
        }
        self.check(nexus, needs)
    }

    /// Whether `nexus` may run a command with these needs.
    #[inline]
    pub(super) fn check(&self, nexus: &ItNexus, needs: Needs) -> Result<(), Failure> {
        if self.active() && !self.admits(nexus, needs) { Err(conflict()) } else { Ok(()) }
    }

    #[cold]
    fn admits(&self, nexus: &ItNexus, needs: Needs) -> bool {
        if needs == Needs::Nothing {
            return true;
        }
        // Who held what is not known: nobody's data is moved.
        if self.lost && matches!(needs, Needs::Reading | Needs::Writing) {
            return false;
        }
        if self.legacy.as_ref().is_some_and(|holder| holder != nexus) {
            return false;
        }
        needs == Needs::NoLegacy || self.reservation.as_ref().is_none_or(|r| self.within(r, nexus, needs))
    }

    fn within(&self, reservation: &Reservation, nexus: &ItNexus, needs: Needs) -> bool {
        let may_all = if reservation.kind.single() {
            reservation.holder == *nexus
        } else {
            self.key_of(nexus).is_some()
        };
        may_all || (needs == Needs::Reading && reservation.kind.lets_read())
    }

    /// The key with which `nexus` is registered.
    pub fn key_of(&self, nexus: &ItNexus) -> Option<u64> {
        self.registrants.iter().find(|r| r.nexus == *nexus).map(|r| r.key)
    }

    /// Whether `nexus` holds the persistent reservation, alone or with all registrants.
    pub fn holds(&self, nexus: &ItNexus) -> bool {
        self.reservation.as_ref().is_some_and(|r| {
            if r.kind.all_registrants() { self.key_of(nexus).is_some() } else { r.holder == *nexus }
        })
    }

    /// RESERVE(6) and (10) for the whole logical unit (SPC-2 section 7.21). Beside persistent
    /// reservations it does nothing, as the compatible handling of SPC-3 section 5.6.3 (CRH) says.
    pub(super) fn reserve(&mut self, nexus: &ItNexus) -> Result<(), Failure> {
        if self.legacy.as_ref().is_some_and(|holder| holder != nexus) {
            return Err(conflict());
        }
        if self.registrants.is_empty() {
            self.legacy = Some(nexus.clone());
            return Ok(());
        }
        if self.compatible(nexus) { Ok(()) } else { Err(conflict()) }
    }

    /// Whether a RESERVE or RELEASE from `nexus` is answered GOOD, without effect, while there are
    /// registrations.
    fn compatible(&self, nexus: &ItNexus) -> bool {
        let registered = self.key_of(nexus).is_some();
        self.reservation.as_ref().is_some_and(|r| registered && (!r.kind.single() || r.holder == *nexus))
    }

    /// RELEASE(6) and (10) (SPC-2 section 7.17): without effect for any but the holder.
    pub(super) fn release(&mut self, nexus: &ItNexus) -> Result<(), Failure> {
        self.nexus_lost(nexus);
        if self.registrants.is_empty() || self.compatible(nexus) { Ok(()) } else { Err(conflict()) }
    }

    /// What RESERVE made ends with the nexus; a persistent reservation does not.
    pub(super) fn nexus_lost(&mut self, nexus: &ItNexus) {
        if self.legacy.as_ref() == Some(nexus) {
            self.legacy = None;
        }
    }

    /// Ends what RESERVE made, whoever made it.
    pub(super) fn release_legacy(&mut self) {
        self.legacy = None;
    }

    /// What outlives a power loss.
    pub(super) fn persistent(&self) -> Self {
        if !self.through_power_loss {
            // That something is lost must differ from nothing: it is put right on disk too.
            return Self { lost: self.lost, ..Self::default() };
        }
        Self { generation: 0, legacy: None, ..self.clone() }
    }
}

/// The commands that go on although nobody knows who had reserved what (SPC-5 section 5.14.5.2).
#[cold]
fn survives_loss(cdb: &Cdb) -> bool {
    match cdb.opcode() {
        table::INQUIRY | table::REQUEST_SENSE | table::REPORT_LUNS => true,
        // LOG SENSE, READ BUFFER(10) and (16), WRITE BUFFER
        0x4d | 0x3c | 0x9b | 0x3b => true,
        // START STOP UNIT that starts; REPORT TARGET PORT GROUPS; REPLACE LOST RESERVATION
        0x1b => cdb.u8::<4>() & 0xf1 == 0x01,
        0xa3 => cdb.action() == 0x0a,
        0x5f => cdb.action() == 0x08,
        _ => false,
    }
}

fn conflict() -> Failure {
    Failure::Status(status::RESERVATION_CONFLICT)
}

#[cfg(test)]
mod conflicts;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

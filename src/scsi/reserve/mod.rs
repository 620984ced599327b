//! Reservations: who may do what with a logical unit.
//!
//! Owns registrations and the persistent reservation (SPC-5 section 5.14), and the older RESERVE
//! and RELEASE (SPC-2) beside them. Here: the state and the rule of conflicts; `persist` has what
//! PERSISTENT RESERVE OUT does to it, `report` PERSISTENT RESERVE IN, `command` reads the CDBs.

mod command;
mod persist;
mod report;

use serde::{Deserialize, Serialize};

pub use command::{PrAction, PrOut};
pub(super) use command::{out, out_params, release6, release10, reserve6, reserve10};
pub(super) use report::{read_full_status, read_keys, read_reservation, report_capabilities};

use super::{Failure, ItNexus, status};

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
}

/// What a command needs, as far as reservations are concerned (SPC-5 table 66, SBC-4 table 13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    /// Never refused.
    Nothing,
    /// Refused only by RESERVE, never by a persistent reservation.
    NoLegacy,
    /// Refused if the nexus may not read.
    Reading,
    /// Refused if the nexus may not write; also for what shows or changes shared parameters.
    Writing,
}

impl Reservations {
    /// Whether there is anything that could refuse a command.
    #[inline]
    pub fn active(&self) -> bool {
        self.reservation.is_some() || self.legacy.is_some()
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
            return Self::default();
        }
        Self { generation: 0, legacy: None, ..self.clone() }
    }
}

fn conflict() -> Failure {
    Failure::Status(status::RESERVATION_CONFLICT)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts};
    use super::super::{Outcome, SharedOp};
    use super::*;

    const ALL: [PrType; 6] = [
        PrType::WriteExclusive,
        PrType::ExclusiveAccess,
        PrType::WriteExclusiveRegistrants,
        PrType::ExclusiveAccessRegistrants,
        PrType::WriteExclusiveAll,
        PrType::ExclusiveAccessAll,
    ];

    fn list(key: u64, action_key: u64, flags: u8) -> Vec<u8> {
        [&key.to_be_bytes()[..], &action_key.to_be_bytes(), &[0, 0, 0, 0, flags, 0, 0, 0]].concat()
    }

    fn out(action: u8, kind: u8) -> [u8; 10] {
        [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0]
    }

    fn report(action: u8) -> [u8; 10] {
        [0x5e, action, 0, 0, 0, 0, 0, 2, 0, 0]
    }

    /// Nexus 1 (key 1) holds `kind`, nexus 2 (key 2) is registered, nexus 3 is not.
    fn scene(kind: PrType) -> Rig {
        let mut rig = Rig::new(facts());
        rig.run_from(1, &out(0, 0), &list(0, 1, 0)).unwrap();
        rig.run_from(2, &out(0, 0), &list(0, 2, 0)).unwrap();
        rig.run_from(1, &out(1, kind as u8), &list(1, 0, 0)).unwrap();
        rig
    }

    fn refused(rig: &mut Rig, number: u16, cdb: &[u8]) -> bool {
        rig.start_from(number, cdb) == Outcome::Fail(conflict())
    }

    #[test]
    fn the_table_of_conflicts() {
        let read: [&[u8]; 2] = [&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0]];
        let write: [&[u8]; 4] = [
            &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[0x35, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[0x1a, 0, 8, 0, 64, 0],
            &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
        ];
        let free: [&[u8]; 5] = [
            &[0, 0, 0, 0, 0, 0],
            &[0x12, 0, 0, 0, 36, 0],
            &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
            &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0],
        ];
        for kind in ALL {
            let mut rig = scene(kind);
            for number in 1..=3 {
                let inside = number == 1 || (number == 2 && !kind.single());
                let reads = inside || kind.lets_read();
                read.iter().for_each(|cdb| assert_eq!(refused(&mut rig, number, cdb), !reads, "{kind:?}"));
                write.iter().for_each(|cdb| assert_eq!(refused(&mut rig, number, cdb), !inside, "{kind:?}"));
                free.iter().for_each(|cdb| assert!(!refused(&mut rig, number, cdb), "{kind:?} {cdb:02x?}"));
            }
        }
    }

    #[test]
    fn leaving_an_all_registrants_reservation_is_leaving_it() {
        let mut rig = scene(PrType::WriteExclusiveAll);
        rig.run_from(1, &out(0, 0), &list(1, 0, 0)).unwrap();
        assert!(rig.lu.state.reservations.reservation.is_some());
        assert!(refused(&mut rig, 1, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
    }

    #[test]
    fn read_keys_and_reservation() {
        let mut rig = scene(PrType::ExclusiveAccess);
        let keys = rig.data(&report(0));
        assert_eq!(
            keys,
            [[0, 0, 0, 2, 0, 0, 0, 16], [0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2]].concat()
        );
        let held = rig.data(&report(1));
        assert_eq!(held[..8], [0, 0, 0, 2, 0, 0, 0, 16]);
        assert_eq!(held[8..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0]);
        let all = scene(PrType::WriteExclusiveAll).data(&report(1));
        assert_eq!(all[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0]);
        let none = Rig::new(facts()).data(&report(1));
        assert_eq!(none, [0; 8]);
    }

    #[test]
    fn a_short_allocation_still_tells_the_whole_length() {
        let mut rig = scene(PrType::ExclusiveAccess);
        let got = rig.data(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 12, 0]);
        assert_eq!(got, [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0]);
    }

    #[test]
    fn capabilities() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.data(&report(2)), [0, 8, 0x11, 0x80, 0xea, 1, 0, 0]);
        assert!(rig.run_from(1, &out(0, 0), &list(0, 1, 1)).unwrap().persist);
        assert_eq!(rig.data(&report(2))[3], 0x81);
    }

    #[test]
    fn full_status_names_the_nexuses() {
        let got = scene(PrType::WriteExclusive).data(&report(3));
        assert_eq!(usize::from(got[7]), got.len() - 8);
        let first = &got[8..];
        assert_eq!((first[7], first[12], first[13]), (1, 1, 1));
        assert_eq!(first[18..24], [0, 1, 0, 0, 0, first[23]]);
        let second = &first[24 + usize::from(first[23])..];
        assert_eq!((second[7], second[12], second[13]), (2, 0, 0));
        assert_eq!(second[24], 0x45);
    }

    #[test]
    fn parameter_lists_that_are_not_taken() {
        let mut rig = Rig::new(facts());
        let bad_length = Failure::Check(Sense::illegal(Asc::PARAMETER_LIST_LENGTH));
        assert_eq!(rig.run_from(1, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 23, 0], &[]), Err(bad_length));
        assert_eq!(rig.run_from(1, &[0x5f, 0, 0, 0, 0, 0, 1, 0, 24, 0], &[]), Err(bad_length));
        assert_eq!(rig.run_from(1, &out(0, 0), &[0; 23]), Err(bad_length));
        let field = |bit| Err(Failure::Check(Sense::parameter_field(20, bit)));
        assert_eq!(rig.run_from(1, &out(0, 0), &list(0, 1, 8)), field(3), "SPEC_I_PT");
        assert_eq!(rig.run_from(1, &out(0, 0), &list(0, 1, 4)), field(2), "ALL_TG_PT");
        assert_eq!(rig.sense(&out(1, 0x11)), Sense::cdb_field(2, 7), "scope");
        assert_eq!(rig.sense(&out(1, 2)), Sense::cdb_field(2, 3), "type");
        assert_eq!(rig.sense(&out(7, 1)), Sense::cdb_field(1, 4), "REGISTER AND MOVE");
    }

    #[test]
    fn the_old_reserve_and_release() {
        let mut rig = Rig::new(facts());
        let (reserve, release) = ([0x16, 0, 0, 0, 0, 0], [0x17, 0, 0, 0, 0, 0]);
        rig.run_from(1, &reserve, &[]).unwrap();
        rig.run_from(1, &reserve, &[]).unwrap();
        assert!(refused(&mut rig, 2, &reserve));
        assert!(refused(&mut rig, 2, &[0x1a, 0, 8, 0, 64, 0]));
        assert!(refused(&mut rig, 2, &[0; 6]));
        assert!(refused(&mut rig, 1, &report(0)), "persistent reservations are not to be had");
        assert!(!refused(&mut rig, 2, &[0x12, 0, 0, 0, 36, 0]));
        assert_eq!(rig.start_from(2, &release), Outcome::Good);
        assert!(rig.lu.state.reservations.active());
        rig.run_from(1, &release, &[]).unwrap();
        rig.run_from(2, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).unwrap();
        assert!(refused(&mut rig, 1, &[0; 6]));
    }

    #[test]
    fn the_old_reserve_beside_registrations() {
        let mut rig = scene(PrType::WriteExclusiveRegistrants);
        let reserve = [0x16, 0, 0, 0, 0, 0];
        rig.run_from(1, &reserve, &[]).unwrap();
        rig.run_from(2, &reserve, &[]).unwrap();
        assert_eq!(rig.lu.state.reservations.legacy, None, "good, without effect");
        assert_eq!(rig.run_from(3, &reserve, &[]), Err(conflict()));
        assert_eq!(rig.start_from(1, &[0x17, 0, 0, 0, 0, 0]), Outcome::Shared(SharedOp::Release));
        assert_eq!(rig.run_from(3, &[0x17, 0, 0, 0, 0, 0], &[]), Err(conflict()));
    }

    use super::super::{Asc, Sense};
}

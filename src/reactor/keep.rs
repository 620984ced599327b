//! Who keeps the medium of a device in that is passed through.
//!
//! To the device all initiators are one, so the owner of the logical unit counts them: it is told PREVENT when one of
//! them says so, and ALLOW when the last has allowed the removal or is gone (SPC-5 section 6.17). One command after the
//! other, in the order of the changes: the last one must be right.

use arrayvec::ArrayVec;

use super::disk::Client;
use super::drain::MOST_NS;
use super::gates::Then;
use super::mail::{Ask, Letter};
use super::unit::{Pending, Unit};
use super::world::World;
use crate::ids::LuId;
use crate::ring::Driver;
use crate::scsi::{DriveOp, Failure, ItNexus, PassOrder, PassReport, Removal, Sense, SharedOp};
use crate::session::host::PassRequest;

/// How long the device may take, in seconds.
const SECONDS: u32 = 60;

/// How often it is told ALLOW again while it answers that something has happened to it.
const ATTEMPTS: u32 = 8;

/// What the device is told.
#[derive(Debug)]
pub(super) struct Keeping {
    /// The number of the change.
    serial: u32,
    removal: Removal,
    nexus: ItNexus,
    /// How often it was told.
    attempts: u32,
}

impl Unit {
    /// Whether the device is told, or will be, what that change has come to.
    pub(super) fn tells(&self, serial: u32) -> bool {
        self.keeping.iter().any(|keeping| keeping.serial == serial)
    }
}

impl<D: Driver> World<D> {
    /// The owner: a change holds of which the device has to hear before it is answered. Only whoever asks for just that
    /// waits as long as the device takes.
    pub(super) fn tell_device(&mut self, lu: LuId, serial: u32, ask: Ask, change: &Pending) {
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        let is_idle = unit.keeping.is_empty();
        let told = change.effects.removal.iter();
        unit.keeping.extend(told.map(|removal| Keeping {
            serial,
            removal: *removal,
            nexus: ask.nexus.clone(),
            attempts: 0,
        }));
        if change.recalled {
            self.mail.post(ask.from, Letter::Answer { gate: ask.gate, result: Ok(()) });
        } else {
            if !matches!(ask.op, SharedOp::Drive(_)) {
                self.impatient.push_back((self.driver.now() + MOST_NS, lu, serial));
            }
            unit.flushing.push((serial, ask));
        }
        if is_idle {
            self.tell_next(lu);
        }
    }

    fn tell_next(&mut self, lu: LuId) {
        let Some(next) = self.units.get_mut(lu.0 as usize).and_then(|unit| unit.keeping.front_mut()) else {
            return;
        };
        next.attempts += 1;
        let cdb: ArrayVec<u8, 16> = next.removal.cdb().into_iter().collect();
        let order = PassOrder { cdb, reads: false, changes: false, standby: true, seconds: SECONDS };
        let client = Client::Owner { serial: next.serial };
        self.pass(client, lu, PassRequest { order, buf: None, len: 0, inward: false });
    }

    /// The owner: the device has answered.
    pub(super) fn device_told(&mut self, lu: LuId, serial: u32, result: Result<(), Failure>) {
        let is_it = |client, of| client == Client::Owner { serial } && of == lu;
        let report = self.take_report_where(is_it);
        let Some(told) = self.units.get_mut(lu.0 as usize).and_then(|unit| unit.keeping.pop_front()) else {
            return;
        };
        let attention = report.as_ref().and_then(PassReport::attention);
        // Whoever asked to prevent it hears what the device says, and asks again; to allow it is done here.
        let again = attention.is_some() && !told.removal.prevent && told.attempts < ATTEMPTS;
        if let Some(asc) = attention {
            let hears = if told.removal.prevent { told.nexus.clone() } else { ItNexus::nobody() };
            self.tell_of(lu, SharedOp::Told(asc), hears);
        }
        let result =
            result.and_then(|()| report.map_or_else(|| Err(Sense::target_failure().into()), |r| r.result()));
        if result.is_err() && told.removal.prevent && told.removal.is_new {
            let persistent = told.removal.persistent;
            let never = SharedOp::Drive(DriveOp::Prevent { prevent: false, persistent });
            self.tell_of(lu, never, told.nexus.clone());
        }
        let Some(unit) = self.units.get_mut(lu.0 as usize) else { return };
        if again {
            unit.keeping.push_front(told);
        } else if !unit.tells(serial) {
            let asked = |(s, ask): &(u32, Ask)| *s == serial && matches!(ask.op, SharedOp::Drive(_));
            let counts = unit.flushing.iter().any(asked);
            self.flushed(lu, serial, if counts { result } else { Ok(()) });
        }
        self.tell_next(lu);
    }

    fn tell_of(&mut self, lu: LuId, op: SharedOp, nexus: ItNexus) {
        let gate = self.gates.shut(1, Then::Nothing);
        self.ask(lu, op, nexus, gate);
    }
}

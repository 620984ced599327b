//! What logical units and sessions have done, for those who ask: page by page, so that no turn of a reactor is long,
//! however many there are.

use crossbeam_channel::{Sender, bounded};

use super::Reactor;
use super::mail::Letter;
use super::meter::{Meter, Usage};
use super::start::{Control, PATIENCE};
use crate::ids::{ConnId, CoreId, LuId};
use crate::ring::Driver;

/// Meters that one answer has at most: half a megabyte is copied in a tenth of a millisecond.
const PAGE: usize = 128;

/// Logical units that are looked at for one answer: most may be idle.
const LOOK: usize = 4096;

/// Which meters are asked for.
#[derive(Debug)]
pub(super) enum Measure {
    /// Those of logical units, from that number on, that have had a command here.
    Units { from: usize, to: Sender<Page<(LuId, Box<Meter>)>> },
    /// Those of sessions, from that place on.
    Sessions { from: usize, to: Sender<Page<SessionMeter>> },
}

/// Some meters.
#[derive(Debug)]
pub(super) struct Page<T> {
    found: Vec<T>,
    /// Where the next page begins, if there may be more.
    next: Option<usize>,
}

/// What a session has done, and what it is at.
#[derive(Debug)]
pub(super) struct SessionMeter {
    conn: ConnId,
    tsih: u16,
    initiator: String,
    target: Option<String>,
    peer: std::net::SocketAddr,
    commands: u32,
    waits: bool,
    meter: Box<Meter>,
}

/// What a session has done, and what it is at.
#[derive(Debug, Clone)]
pub struct SessionUsage {
    /// Where it lives.
    pub core: CoreId,
    /// Its connection there.
    pub conn: ConnId,
    /// The session's handle.
    pub tsih: u16,
    /// The initiator's name.
    pub initiator: String,
    /// The target's name; none: a discovery session.
    pub target: Option<String>,
    /// Where it has come from.
    pub peer: std::net::SocketAddr,
    /// Commands that are open.
    pub commands: u32,
    /// Some of them wait for slots.
    pub waits: bool,
    /// What it has done.
    pub usage: Usage,
}

impl<D: Driver> Reactor<D> {
    pub(super) fn measure(&self, asked: Measure) {
        // Whoever asked may have gone.
        match asked {
            Measure::Units { from, to } => drop(to.send(self.measure_units(from))),
            Measure::Sessions { from, to } => drop(to.send(self.measure_sessions(from))),
        }
    }

    fn measure_units(&self, from: usize) -> Page<(LuId, Box<Meter>)> {
        let (mut found, mut next) = (Vec::new(), None);
        for (number, unit) in self.world.units.iter().enumerate().skip(from) {
            if found.len() == PAGE || number - from == LOOK {
                next = Some(number);
                break;
            }
            if !unit.meter.is_idle() {
                found.push((LuId(number as u32), unit.meter.clone()));
            }
        }
        Page { found, next }
    }

    fn measure_sessions(&self, from: usize) -> Page<SessionMeter> {
        let (mut found, mut next) = (Vec::new(), None);
        for (after, conn) in self.conns.iter_from(from) {
            if found.len() == PAGE {
                next = Some(after - 1);
                break;
            }
            let (Some(session), Some(meter)) = (conn.session(), &conn.meter) else { continue };
            let established = session.established();
            found.push(SessionMeter {
                conn: conn.id,
                tsih: conn.key.as_ref().map_or(0, |(_, tsih)| *tsih),
                initiator: established.initiator.clone(),
                target: established.target.as_ref().map(|t| t.iqn.clone()),
                peer: conn.ends.peer,
                commands: session.open_tasks(),
                waits: conn.hungry,
                meter: meter.clone(),
            });
        }
        Page { found, next }
    }
}

impl Control {
    /// What the logical units have done that have done anything, by their numbers.
    pub fn unit_usage(&self) -> std::collections::BTreeMap<LuId, Usage> {
        let mut all = std::collections::BTreeMap::<LuId, Usage>::new();
        self.pages(
            |from, to| Measure::Units { from, to },
            |_, (lu, meter)| all.entry(lu).or_default().add(&meter),
        );
        all
    }

    /// What the sessions have done that there are.
    pub fn session_usage(&self) -> Vec<SessionUsage> {
        let mut all = Vec::new();
        self.pages(
            |from, to| Measure::Sessions { from, to },
            |core, found: SessionMeter| {
                let SessionMeter { conn, tsih, initiator, target, peer, commands, waits, meter } = found;
                let mut usage = Usage::default();
                usage.add(&meter);
                all.push(SessionUsage { core, conn, tsih, initiator, target, peer, commands, waits, usage });
            },
        );
        all
    }

    /// Asks every reactor for all of its pages. One that does not answer in time has no more.
    fn pages<T>(&self, ask: impl Fn(usize, Sender<Page<T>>) -> Measure, mut each: impl FnMut(CoreId, T)) {
        for (core, address) in (0..).map(CoreId).zip(self.addresses()) {
            let mut next = Some(0);
            while let Some(from) = next.take() {
                let (to, answer) = bounded(1);
                address.ask(Letter::Measure(ask(from, to)), PATIENCE);
                let Ok(page) = answer.recv_timeout(PATIENCE) else { break };
                next = page.next;
                page.found.into_iter().for_each(|found| each(core, found));
            }
        }
    }
}

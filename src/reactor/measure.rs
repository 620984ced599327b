//! What logical units and sessions have done, for those who ask: page by page, so that no turn of a reactor is long,
//! however many there are.

use std::collections::BTreeMap;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Reactor;
use super::mail::Letter;
use super::meter::{Meter, Usage};
use super::start::{Control, PATIENCE};
use super::stats::Snapshot;
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

/// A reactor has not answered in time. What the others have counted is less than there is: it is no picture of anything,
/// and whoever took it for one would see counters fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} has not answered for {PATIENCE:?}")]
pub struct Late(pub(super) CoreId);

/// Some meters.
#[derive(Debug)]
pub(super) struct Page<T> {
    found: Vec<T>,
    /// Where the next page begins, if there may be more.
    next: Option<usize>,
}

/// A session, what it is at, and what it has done, as `T` tells that.
#[derive(Debug, Clone)]
pub struct OfSession<T> {
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
    pub done: T,
}

/// As it is measured.
type SessionMeter = OfSession<Box<Meter>>;
/// As it is told, whole.
pub type SessionUsage = OfSession<Usage>;

impl<T> OfSession<T> {
    /// The same, told otherwise.
    pub fn map<U>(self, tell: impl FnOnce(T) -> U) -> OfSession<U> {
        let Self { core, conn, tsih, initiator, target, peer, commands, waits, done } = self;
        OfSession { core, conn, tsih, initiator, target, peer, commands, waits, done: tell(done) }
    }
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
            found.push(OfSession {
                core: self.world.mail.core,
                conn: conn.id,
                tsih: conn.key.as_ref().map_or(0, |(_, tsih)| *tsih),
                initiator: established.initiator.clone(),
                target: established.target.as_ref().map(|t| t.iqn.clone()),
                peer: conn.ends.peer,
                commands: session.open_tasks(),
                waits: conn.hungry,
                done: meter.clone(),
            });
        }
        Page { found, next }
    }
}

impl Control {
    /// What the logical units have done that have done anything, one after the other by their numbers.
    ///
    /// # Errors
    /// When a reactor is late; `each` has then heard of some of them.
    pub fn unit_usage(&self, mut each: impl FnMut(LuId, &Usage)) -> Result<(), Late> {
        let mut from = Some(0);
        while let Some(begin) = from {
            let pages = self.ask_all(|to| Letter::Measure(Measure::Units { from: begin, to }))?;
            from = pages.iter().filter_map(|page| page.next).min();
            // What stands behind the end of the shortest page comes again with the next.
            let end = from.unwrap_or(usize::MAX);
            let found = pages.into_iter().flat_map(|page| page.found);
            let mut all = BTreeMap::<LuId, Box<Usage>>::new();
            for (lu, meter) in found.filter(|(lu, _)| (lu.0 as usize) < end) {
                all.entry(lu).or_default().add(&meter);
            }
            all.iter().for_each(|(lu, usage)| each(*lu, usage));
        }
        Ok(())
    }

    /// What the sessions have done that there are, one after the other.
    ///
    /// # Errors
    /// When a reactor is late; `each` has then heard of some of them.
    pub fn session_usage(&self, mut each: impl FnMut(SessionUsage)) -> Result<(), Late> {
        for (core, address) in (0..).map(CoreId).zip(self.addresses()) {
            let mut next = Some(0);
            while let Some(from) = next {
                let (to, answer) = bounded(1);
                address.ask(Letter::Measure(Measure::Sessions { from, to }), PATIENCE);
                let page = answer.recv_timeout(PATIENCE).map_err(|_| Late(core))?;
                next = page.next;
                page.found.into_iter().for_each(|found| each(found.map(whole)));
            }
        }
        Ok(())
    }

    /// The counters of every reactor, by number.
    ///
    /// # Errors
    /// When a reactor is late.
    pub fn report_all(&self) -> Result<Vec<Snapshot>, Late> {
        self.ask_all(Letter::Report)
    }

    /// Asks all reactors the same at the same time; their answers, by number.
    fn ask_all<T>(&self, ask: impl Fn(Sender<T>) -> Letter) -> Result<Vec<T>, Late> {
        let asked = self.addresses().iter().map(|address| {
            let (to, answer) = bounded(1);
            address.ask(ask(to), PATIENCE);
            answer
        });
        let asked: Vec<Receiver<T>> = asked.collect();
        let deadline = Instant::now() + PATIENCE;
        let answers = (0..).map(CoreId).zip(asked);
        answers.map(|(core, answer)| answer.recv_deadline(deadline).map_err(|_| Late(core))).collect()
    }
}

fn whole(meter: Box<Meter>) -> Usage {
    let mut usage = Usage::default();
    usage.add(&meter);
    usage
}

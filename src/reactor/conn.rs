//! A connection: its socket, where it is in its life, and the two directions.

use std::collections::{BTreeSet, HashMap};

use super::gates::GateId;
use super::meter::Meter;
use super::registry::SessionKey;
use super::tx::Tx;
use crate::ids::{ConnId, CoreId};
use crate::mem::Holding;
use crate::ring::{Ends, RecvOp};
use crate::session::Session;
use crate::session::login::{Login, Pdu};
use crate::session::pace::Pace;
use crate::target::LOCAL_PORTAL;

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// Login Requests are answered one by one.
    Login(Box<Login>),
    /// The login is complete; the session that it replaces must go first. What the final response says.
    Reinstating(Box<Finishing>),
    /// Full feature phase.
    Full(Box<Session>),
    /// Only what is in flight is waited for.
    Closing,
}

/// A login that is complete but for what it must wait for.
#[derive(Debug)]
pub(super) struct Finishing {
    pub(super) session: Box<Session>,
    pub(super) response: Pdu,
}

/// A connection of this reactor.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) fd: i32,
    pub(super) ends: Ends,
    pub(super) phase: Phase,
    /// The receive operation's box while it is not with the kernel.
    pub(super) recv: Option<Box<RecvOp>>,
    pub(super) receiving: bool,
    /// Since when the session leaves bytes unread until answers have left, if it does.
    pub(super) paused: Option<u64>,
    /// Whether the socket held more when it was last read.
    pub(super) more: bool,
    pub(super) tx: Tx,
    /// In the list of those with something to send.
    pub(super) dirty: bool,
    /// In the list of those whose tasks wait for slots.
    pub(super) hungry: bool,
    /// Memory beside slots that it is charged with, bytes.
    pub(super) beside: usize,
    /// Slots that it holds.
    pub(super) slots: Holding,
    /// It let transfers lapse while others waited for slots, and gets the least share until then.
    pub(super) on_probation: bool,
    pub(super) probation_ends: u64,
    /// How fast the send goes that began at that time.
    pub(super) send_pace: Pace,
    pub(super) send_judged: u64,
    /// Requests to owners of logical units that are not answered yet.
    pub(super) asks: u32,
    /// Of those the ones whose tasks are forgotten.
    pub(super) recalled: u32,
    /// Task management functions that wait until these are, by token.
    pub(super) after_asks: Vec<u32>,
    /// When a login must be over; of what ends, when it has had its time to reach the peer.
    pub(super) deadline: u64,
    /// Since when it is in full feature phase.
    pub(super) since: u64,
    /// What its session has done.
    pub(super) meter: Option<Box<Meter>>,
    /// When its session is put out, if it has been asked to log out by then.
    pub(super) leaves_by: Option<u64>,
    /// Which session of the registry this is.
    pub(super) key: Option<(SessionKey, u16)>,
    /// Whether the registry counts it as placed here.
    pub(super) placed: bool,
    /// Who waits for this session to be harmless.
    pub(super) mourners: Vec<(CoreId, GateId)>,
    /// The connection, and its reactor, with which the session goes on.
    pub(super) heir: Option<(CoreId, ConnId)>,
    /// The session's tasks are gone and fenced.
    pub(super) fenced: bool,
    /// And nothing that it asked for can happen any more.
    pub(super) harmless: bool,
    /// The session, kept until nothing is in flight, for the slots that framing holds.
    pub(super) remains: Option<Box<Session>>,
}

impl Conn {
    /// Operations that the kernel has.
    pub(super) fn in_flight(&self) -> u32 {
        u32::from(self.receiving) + u32::from(self.tx.busy) + self.tx.lingering() as u32
    }

    /// The session, in full feature phase.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Full(session) => Some(session),
            _ => None,
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// When its time is to be looked at next, nanoseconds; 0 while anything of it is under way.
    pub(super) fn due(&self) -> u64 {
        let Phase::Full(session) = &self.phase else { return 0 };
        let rests = self.tx.is_idle() && self.in_flight() == u32::from(self.receiving);
        if !rests || self.paused.is_some() || self.on_probation || !self.slots.is_empty() {
            return 0;
        }
        self.leaves_by.unwrap_or(u64::MAX).min(session.due())
    }

    /// Whether it is of a disk of this host.
    pub(super) fn is_local(&self) -> bool {
        self.ends.local == LOCAL_PORTAL
    }

    /// A session on its way from one connection to another: what its nexus is to be told must not get lost, neither before
    /// it has come nor between that and the end of its login.
    pub(super) fn wandering(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Reinstating(finishing) => {
                Some(&mut *finishing.session).filter(|s| s.established().joins.is_some())
            }
            Phase::Closing if self.heir.is_some() => self.remains.as_deref_mut(),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    conn: Option<Box<Conn>>,
    /// When its time is to be looked at next. It lies here so that a thousand that sleep are passed over without being
    /// touched.
    due: u64,
    /// The target that it has logged in to.
    target: Option<Box<str>>,
}

impl Entry {
    fn id(&self, index: usize) -> Option<ConnId> {
        self.conn.as_ref().map(|_| ConnId { index: index as u32, generation: self.generation })
    }
}

/// The connections of a reactor.
#[derive(Debug, Default)]
pub(super) struct Conns {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// How many are of disks of this host.
    locals: usize,
    /// Those that have logged in to a target, so that what is told to these touches nobody else.
    at: HashMap<Box<str>, BTreeSet<ConnId>>,
    /// How many connections were looked at, each time.
    #[cfg(test)]
    pub(super) looks: std::cell::Cell<usize>,
}

impl Conns {
    /// Enters the connection that `make` makes of its id.
    pub(super) fn insert(&mut self, make: impl FnOnce(ConnId) -> Conn) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[index as usize];
        let id = ConnId { index, generation: entry.generation };
        let conn = entry.conn.insert(Box::new(make(id)));
        self.locals += usize::from(conn.is_local());
        entry.due = 0;
        id
    }

    #[inline]
    fn entry_mut(&mut self, id: ConnId) -> Option<&mut Entry> {
        self.entries.get_mut(id.index as usize).filter(|e| e.generation == id.generation)
    }

    /// That connection. Whatever is done with it, its time is looked at again.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        #[cfg(test)]
        self.looks.update(|n| n + 1);
        let entry = self.entry_mut(id)?;
        entry.due = 0;
        entry.conn.as_deref_mut()
    }

    /// That connection, with which nothing is done.
    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        #[cfg(test)]
        self.looks.update(|n| n + 1);
        let entry = self.entries.get(id.index as usize).filter(|e| e.generation == id.generation)?;
        entry.conn.as_deref()
    }

    /// Its time is not looked at before `due`, unless somebody touches it.
    pub(super) fn rest(&mut self, id: ConnId, due: u64) {
        if let Some(entry) = self.entry_mut(id) {
            entry.due = due;
        }
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        let entry = self.entry_mut(id)?;
        let conn = entry.conn.take()?;
        entry.generation = entry.generation.wrapping_add(1) & 0xff_ffff;
        let target = entry.target.take();
        self.locals -= usize::from(conn.is_local());
        self.free.push(id.index);
        target.iter().for_each(|target| self.depart(target, id));
        Some(conn)
    }

    /// It has logged in to that target, and counts as one of its visitors until it is removed.
    pub(super) fn arrive(&mut self, id: ConnId, target: &str) {
        let Some(entry) = self.entry_mut(id) else { return };
        if let Some(before) = entry.target.replace(target.into()) {
            self.depart(&before, id);
        }
        self.at.entry(target.into()).or_default().insert(id);
    }

    fn depart(&mut self, target: &str, id: ConnId) {
        if let Some(visitors) = self.at.get_mut(target) {
            visitors.remove(&id);
            if visitors.is_empty() {
                self.at.remove(target);
            }
        }
    }

    /// Those that have logged in to one of these, in the order of the table. Nobody else is looked at.
    pub(super) fn visitors<'a>(&self, targets: impl IntoIterator<Item = &'a String>) -> Vec<ConnId> {
        let found = targets.into_iter().filter_map(|target| self.at.get(target.as_str()));
        let mut visitors: Vec<ConnId> = found.flatten().copied().collect();
        visitors.sort_unstable();
        visitors.dedup();
        visitors
    }

    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.due(u64::MAX)
    }

    /// Those whose time is to be looked at.
    pub(super) fn due(&self, now: u64) -> Vec<ConnId> {
        #[cfg(test)]
        self.looks.update(|n| n + self.entries.len());
        let due = self.entries.iter().enumerate().filter(|(_, e)| e.due <= now);
        due.filter_map(|(index, e)| e.id(index)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.entries.iter().filter_map(|e| e.conn.as_deref())
    }

    /// Those in places from that one on, with the next place.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = (usize, &Conn)> {
        let there = self.entries.iter().enumerate().skip(from);
        there.filter_map(|(at, e)| Some((at + 1, e.conn.as_deref()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Those of disks of this host.
    pub(super) fn locals(&self) -> usize {
        self.locals
    }

    /// Those from the network.
    pub(super) fn strangers(&self) -> usize {
        self.len() - self.locals
    }
}

//! Who is logged in, over all reactors. Slow path only, so a mutex serves.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::{ConnId, CoreId};

/// What makes two sessions the same one (RFC 7143 section 6.3.5): initiator name, ISID, target, portal group tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub(super) initiator: String,
    pub(super) isid: [u8; 6],
    pub(super) target: String,
    pub(super) tpg_tag: u16,
}

/// Where a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) core: CoreId,
    pub(super) conn: ConnId,
    pub(super) tsih: u16,
}

/// Sessions at a time: a TSIH has sixteen bits, zero is reserved (RFC 7143 section 11.12.6), and one must be free for
/// a session that takes the place of another.
const MOST_SESSIONS: usize = 65_534;

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionKey, Home>,
    /// TSIHs that `sessions` have.
    taken: HashSet<u16>,
    /// Connections per reactor, for placement.
    load: Vec<u32>,
    next_tsih: u16,
}

/// The registry.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
}

impl Registry {
    pub(super) fn new(reactors: usize) -> Self {
        let inner = Inner { load: vec![0; reactors], ..Inner::default() };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that holds the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a login as the session of that key and gives it a TSIH; returns the one it replaces. `None`: there are
    /// too many sessions.
    pub(super) fn enter(&self, key: SessionKey, core: CoreId, conn: ConnId) -> Option<(u16, Option<Home>)> {
        let mut inner = self.lock();
        if inner.sessions.len() >= MOST_SESSIONS && !inner.sessions.contains_key(&key) {
            return None;
        }
        let tsih = inner.free_tsih();
        inner.taken.insert(tsih);
        let old = inner.sessions.insert(key, Home { core, conn, tsih });
        if let Some(old) = old {
            inner.taken.remove(&old.tsih);
        }
        Some((tsih, old))
    }

    /// The session is gone, unless another has taken its place.
    pub(super) fn leave(&self, key: &SessionKey, tsih: u16) {
        let mut inner = self.lock();
        if inner.sessions.get(key).is_some_and(|h| h.tsih == tsih) {
            inner.sessions.remove(key);
            inner.taken.remove(&tsih);
        }
    }

    /// Whether that initiator has a session of that ISID and TSIH.
    pub(super) fn holds(&self, initiator: &str, isid: [u8; 6], tsih: u16) -> bool {
        let inner = self.lock();
        inner.sessions.iter().any(|(k, h)| h.tsih == tsih && k.isid == isid && k.initiator == initiator)
    }

    /// The ISIDs with which that initiator is logged in to that target, each once. (A discovery session is with none.)
    pub(super) fn isids_of(&self, initiator: &str, target: &str) -> Vec<[u8; 6]> {
        let inner = self.lock();
        let own = inner.sessions.keys().filter(|k| k.initiator == initiator && k.target == target);
        let mut isids: Vec<[u8; 6]> = own.map(|k| k.isid).collect();
        isids.sort_unstable();
        isids.dedup();
        isids
    }

    /// The reactor with the fewest connections; `here` if it is one of those. Counts the connection there.
    pub(super) fn place(&self, here: CoreId) -> CoreId {
        let mut inner = self.lock();
        let least = inner.load.iter().copied().min().unwrap_or(0);
        let here = usize::from(here.0);
        let core = match inner.load.get(here) {
            Some(&load) if load == least => here,
            _ => inner.load.iter().position(|l| *l == least).unwrap_or(here),
        };
        if let Some(load) = inner.load.get_mut(core) {
            *load += 1;
        }
        CoreId(core as u16)
    }

    /// Whether no reactor has a connection that was placed.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().load.iter().all(|load| *load == 0)
    }

    /// A placed connection has gone.
    pub(super) fn unplace(&self, core: CoreId) {
        if let Some(load) = self.lock().load.get_mut(usize::from(core.0)) {
            *load = load.saturating_sub(1);
        }
    }
}

#[cfg(test)]
impl Registry {
    fn stranger(number: u32) -> SessionKey {
        let initiator = format!("iqn.crowd:{number}");
        SessionKey { initiator, isid: [0; 6], target: "iqn.t".into(), tpg_tag: 1 }
    }

    /// As many sessions as there may be.
    pub(super) fn crowd(&self) {
        for number in 0..MOST_SESSIONS as u32 {
            let conn = ConnId { index: u32::MAX, generation: number };
            assert!(self.enter(Self::stranger(number), CoreId(0), conn).is_some());
        }
    }
}

impl Inner {
    /// A TSIH that no session has. There is one: of 65,535 sessions have at most [`MOST_SESSIONS`].
    fn free_tsih(&mut self) -> u16 {
        loop {
            self.next_tsih = self.next_tsih.wrapping_add(1);
            if self.next_tsih != 0 && !self.taken.contains(&self.next_tsih) {
                return self.next_tsih;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(isid: u8) -> SessionKey {
        SessionKey { initiator: "iqn.a".into(), isid: [isid; 6], target: "iqn.t".into(), tpg_tag: 1 }
    }

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    #[test]
    fn a_second_login_finds_the_first() {
        let r = Registry::new(2);
        let (first, none) = r.enter(key(1), CoreId(0), conn(1)).unwrap();
        assert_eq!(none, None);
        let (second, old) = r.enter(key(1), CoreId(1), conn(2)).unwrap();
        assert_eq!(old, Some(Home { core: CoreId(0), conn: conn(1), tsih: first }));
        assert!(r.holds("iqn.a", [1; 6], second) && !r.holds("iqn.a", [1; 6], first));
        r.leave(&key(1), first);
        // The old session's end must not remove the new one.
        assert_eq!(r.enter(key(1), CoreId(0), conn(3)).unwrap().1.map(|h| h.tsih), Some(second));
    }

    #[test]
    fn more_sessions_than_there_are_handles_for_are_refused() {
        let r = Registry::new(1);
        r.crowd();
        assert_eq!(r.enter(key(1), CoreId(0), conn(1)), None);
        // One that is there already may come again, and get another handle.
        let again = Registry::stranger(7);
        let (tsih, old) = r.enter(again.clone(), CoreId(0), conn(2)).unwrap();
        assert!(tsih != 0 && old.is_some_and(|old| old.tsih != tsih));
        r.leave(&again, tsih);
        assert!(r.enter(key(1), CoreId(0), conn(1)).is_some_and(|(t, old)| t != 0 && old.is_none()));
        assert_eq!(r.enter(key(2), CoreId(0), conn(1)), None);
    }

    #[test]
    fn an_initiators_ports_are_told_once_each() {
        let r = Registry::new(1);
        let elsewhere = SessionKey { tpg_tag: 2, ..key(1) };
        let other = SessionKey { initiator: "iqn.b".into(), ..key(3) };
        let discovery = SessionKey { target: "192.0.2.1:4711".into(), tpg_tag: 0, ..key(4) };
        for (n, key) in [key(2), key(1), elsewhere, other, discovery].into_iter().enumerate() {
            r.enter(key, CoreId(0), conn(n as u32));
        }
        assert_eq!(r.isids_of("iqn.a", "iqn.t"), [[1; 6], [2; 6]]);
        assert!(r.isids_of("iqn.c", "iqn.t").is_empty());
    }

    #[test]
    fn placement_evens_out_and_prefers_home() {
        let r = Registry::new(3);
        let places: Vec<u16> = (0..6).map(|_| r.place(CoreId(1)).0).collect();
        assert_eq!(places, [1, 0, 2, 1, 0, 2]);
        r.unplace(CoreId(2));
        assert_eq!(r.place(CoreId(0)), CoreId(2));
    }
}

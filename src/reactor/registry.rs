//! Who is logged in, over all reactors. Slow path only, so a mutex serves.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::quota::Exchange;
use crate::ids::{ConnId, CoreId};
use crate::session::chap::Outstanding;
use crate::session::login::KnownSession;
use crate::target::is_local;

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
    pub(super) cid: u16,
    pub(super) tsih: u16,
}

/// Sessions at a time: a TSIH has sixteen bits, zero is reserved (RFC 7143 section 11.12.6), and one must be free for
/// a session that takes the place of another.
const MOST_SESSIONS: usize = 65_534;

/// As many of them are for disks of this host alone: more than there ever are.
const LOCAL_SESSIONS: usize = 1024;

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionKey, Home>,
    /// TSIHs that `sessions` have.
    taken: HashSet<u16>,
    /// Connections per reactor, for placement.
    load: Vec<u32>,
    next_tsih: u16,
    /// The latest CHAP challenges, oldest first.
    challenges: VecDeque<Vec<u8>>,
    /// Initiators whose login was refused of late, the latest first, each once.
    refused: VecDeque<String>,
}

/// Challenges that are remembered: logins that are under way at once are fewer.
const MOST_CHALLENGES: usize = 1024;

/// Refused initiators that are remembered: peers that have proved nothing choose the names, and people read them.
const MOST_REFUSED: usize = 32;

impl Outstanding for Arc<Registry> {
    fn issue(&self, challenge: &[u8]) {
        let mut inner = self.lock();
        if inner.challenges.len() >= MOST_CHALLENGES {
            inner.challenges.pop_front();
        }
        inner.challenges.push_back(challenge.to_vec());
    }

    fn is_out(&self, challenge: &[u8]) -> bool {
        self.lock().challenges.iter().any(|known| known == challenge)
    }
}

/// The registry.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
    /// The quotas that reactors share.
    pub(super) quotas: Exchange,
}

impl Registry {
    pub(super) fn new(reactors: usize) -> Self {
        let inner = Inner { load: vec![0; reactors], ..Inner::default() };
        Self { inner: Mutex::new(inner), quotas: Exchange::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that holds the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a login as the session of that key and gives it a TSIH; returns the one it replaces. `None`: there are
    /// too many sessions.
    pub(super) fn enter(
        &self,
        key: SessionKey,
        core: CoreId,
        conn: ConnId,
        cid: u16,
    ) -> Option<(u16, Option<Home>)> {
        let most = if is_local(&key.target) { MOST_SESSIONS } else { MOST_SESSIONS - LOCAL_SESSIONS };
        let mut inner = self.lock();
        if inner.sessions.len() >= most && !inner.sessions.contains_key(&key) {
            return None;
        }
        let tsih = inner.free_tsih();
        inner.taken.insert(tsih);
        let old = inner.sessions.insert(key, Home { core, conn, cid, tsih });
        if let Some(old) = old {
            inner.taken.remove(&old.tsih);
        }
        Some((tsih, old))
    }

    /// Makes a login the connection of that session, whose handle it knows; returns the one whose place it takes. `None`:
    /// the session is not there any more.
    pub(super) fn take_over(&self, key: &SessionKey, tsih: u16, core: CoreId, conn: ConnId) -> Option<Home> {
        let mut inner = self.lock();
        let home = inner.sessions.get_mut(key).filter(|home| home.tsih == tsih)?;
        let new = Home { core, conn, ..*home };
        Some(std::mem::replace(home, new))
    }

    /// The session is gone, unless another has taken its place.
    pub(super) fn leave(&self, key: &SessionKey, tsih: u16) {
        let mut inner = self.lock();
        if inner.sessions.get(key).is_some_and(|h| h.tsih == tsih) {
            inner.sessions.remove(key);
            inner.taken.remove(&tsih);
        }
    }

    /// The session of that initiator that has that ISID and TSIH.
    pub(super) fn known(&self, initiator: &str, isid: [u8; 6], tsih: u16) -> Option<KnownSession> {
        let inner = self.lock();
        let is_it =
            |(k, h): &(&SessionKey, &Home)| h.tsih == tsih && k.isid == isid && k.initiator == initiator;
        let (key, home) = inner.sessions.iter().find(is_it)?;
        Some(KnownSession { target: key.target.clone(), tpg_tag: key.tpg_tag, cid: home.cid })
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

    /// That initiator was refused.
    pub(super) fn refuse(&self, initiator: &str) {
        let mut inner = self.lock();
        inner.refused.retain(|name| name != initiator);
        inner.refused.push_front(initiator.to_owned());
        inner.refused.truncate(MOST_REFUSED);
    }

    /// Who was refused of late, the latest first.
    pub(super) fn refused(&self) -> Vec<String> {
        self.lock().refused.iter().cloned().collect()
    }

    /// Whether there is a session of that key.
    pub(super) fn has(&self, key: &SessionKey) -> bool {
        self.lock().sessions.contains_key(key)
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

    /// As many sessions as there may be of the network.
    pub(super) fn crowd(&self) {
        for number in 0..(MOST_SESSIONS - LOCAL_SESSIONS) as u32 {
            let conn = ConnId { index: u32::MAX, generation: number };
            assert!(self.enter(Self::stranger(number), CoreId(0), conn, 0).is_some());
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
    use crate::target::local_name;

    fn key(isid: u8) -> SessionKey {
        SessionKey { initiator: "iqn.a".into(), isid: [isid; 6], target: "iqn.t".into(), tpg_tag: 1 }
    }

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    #[test]
    fn a_second_login_finds_the_first() {
        let r = Registry::new(2);
        let (first, none) = r.enter(key(1), CoreId(0), conn(1), 0).unwrap();
        assert_eq!(none, None);
        let (second, old) = r.enter(key(1), CoreId(1), conn(2), 0).unwrap();
        assert_eq!(old, Some(Home { core: CoreId(0), conn: conn(1), cid: 0, tsih: first }));
        assert!(r.known("iqn.a", [1; 6], second).is_some() && r.known("iqn.a", [1; 6], first).is_none());
        r.leave(&key(1), first);
        // The old session's end must not remove the new one.
        assert_eq!(r.enter(key(1), CoreId(0), conn(3), 0).unwrap().1.map(|h| h.tsih), Some(second));
    }

    #[test]
    fn a_connection_takes_the_place_of_another() {
        let r = Registry::new(2);
        let (tsih, _) = r.enter(key(1), CoreId(0), conn(1), 7).unwrap();
        let known = KnownSession { target: "iqn.t".into(), tpg_tag: 1, cid: 7 };
        assert_eq!(r.known("iqn.a", [1; 6], tsih), Some(known));
        let old = r.take_over(&key(1), tsih, CoreId(1), conn(2));
        assert_eq!(old, Some(Home { core: CoreId(0), conn: conn(1), cid: 7, tsih }));
        assert_eq!(r.take_over(&key(1), tsih + 1, CoreId(1), conn(3)), None);
        assert_eq!(r.enter(key(1), CoreId(0), conn(4), 7).unwrap().1.map(|h| h.conn), Some(conn(2)));
    }

    #[test]
    fn more_sessions_than_there_are_handles_for_are_refused() {
        let r = Registry::new(1);
        r.crowd();
        assert_eq!(r.enter(key(1), CoreId(0), conn(1), 0), None);
        // One that is there already may come again, and get another handle.
        let again = Registry::stranger(7);
        let (tsih, old) = r.enter(again.clone(), CoreId(0), conn(2), 0).unwrap();
        assert!(tsih != 0 && old.is_some_and(|old| old.tsih != tsih));
        r.leave(&again, tsih);
        assert!(r.enter(key(1), CoreId(0), conn(1), 0).is_some_and(|(t, old)| t != 0 && old.is_none()));
        assert_eq!(r.enter(key(2), CoreId(0), conn(1), 0), None);
        let disk = SessionKey { target: local_name("disk"), ..key(2) };
        assert!(r.enter(disk, CoreId(0), conn(1), 0).is_some(), "no crowd keeps a local disk out");
    }

    #[test]
    fn the_latest_challenges_are_known() {
        let r = Arc::new(Registry::new(1));
        let challenge = |n: usize| n.to_be_bytes();
        (0..=MOST_CHALLENGES).for_each(|n| r.issue(&challenge(n)));
        assert!(r.is_out(&challenge(1)) && r.is_out(&challenge(MOST_CHALLENGES)));
        assert!(!r.is_out(&challenge(0)) && !r.is_out(&challenge(MOST_CHALLENGES + 1)));
    }

    #[test]
    fn an_initiators_ports_are_told_once_each() {
        let r = Registry::new(1);
        let elsewhere = SessionKey { tpg_tag: 2, ..key(1) };
        let other = SessionKey { initiator: "iqn.b".into(), ..key(3) };
        let discovery = SessionKey { target: "192.0.2.1:4711".into(), tpg_tag: 0, ..key(4) };
        for (n, key) in [key(2), key(1), elsewhere, other, discovery].into_iter().enumerate() {
            r.enter(key, CoreId(0), conn(n as u32), 0);
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

    #[test]
    fn the_latest_refused_are_remembered_once_each() {
        let registry = Registry::default();
        for number in 0..MOST_REFUSED + 2 {
            registry.refuse(&format!("iqn.a:{number}"));
        }
        registry.refuse("iqn.a:5");
        let refused = registry.refused();
        assert_eq!((refused.len(), &*refused[0], &*refused[1]), (MOST_REFUSED, "iqn.a:5", "iqn.a:33"));
        assert_eq!(refused.iter().filter(|name| *name == "iqn.a:5").count(), 1);
    }
}

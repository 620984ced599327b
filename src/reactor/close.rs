//! How a connection ends: abort, fence, shut down, wait for what is in flight, give everything back, close.

use super::conn::{Conn, Phase};
use super::desk::desk;
use super::gates::{GateId, Then};
use super::mail::Letter;
use super::{Reactor, Why};
use crate::ids::{ConnId, CoreId, LuId};
use crate::ring::Driver;
use crate::scsi::SharedOp;
use crate::session::host::{After, Host};
use crate::session::{self, Legacy, Session};

/// One line for the end of a session: whose, with what, from where, and why.
fn log_end(session: &Session, conn: &Conn, why: Why, others: Option<u64>) {
    let established = session.established();
    let target = established.target.as_ref().map_or("discovery", |t| t.iqn.as_str());
    let (initiator, peer) = (&established.initiator, conn.ends.peer);
    tracing::info!(initiator, target, %peer, reason = %why, others, "session ends");
}

/// How long what has been sent without copies may take to reach the peer after its connection has ended, nanoseconds:
/// as long as a lost packet takes to be sent again a few times. Then the connection is broken off, for the slots.
const LINGER_NS: u64 = 1_000_000_000;

impl<D: Driver> Reactor<D> {
    /// Begins the end of a connection. Once begun, nothing changes its course.
    pub(super) fn close(&mut self, id: ConnId, why: Why) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.is_closing() {
            return;
        }
        let phase = std::mem::replace(&mut conn.phase, Phase::Closing);
        let now = self.world.driver.now();
        // What the session has had to say tells more than that it has been said.
        let why = match (why, &phase) {
            (Why::Said, Phase::Full(session)) => session.closing().map_or(why, Why::Session),
            _ => why,
        };
        let why = match why {
            Why::Session(session::Close::Dropped) if self.draining.is_some() => Why::Stopping,
            Why::Session(session::Close::Dropped) => Why::PutOut,
            why => why,
        };
        match &phase {
            Phase::Full(session) => {
                if let Some(others) = self.talk.one_more(now) {
                    log_end(session, conn, why, others);
                }
            }
            // A refused login has had its line.
            _ if matches!(why, Why::Said | Why::PeerClosed | Why::Socket(_) | Why::Stopping) => {
                tracing::debug!(peer = %conn.ends.peer, reason = %why, "connection ends");
            }
            _ => {
                if let Some(others) = self.refusals.one_more(now) {
                    tracing::info!(peer = %conn.ends.peer, reason = %why, others, "connection ends before its login");
                }
            }
        }
        if why.is_an_error() {
            let (core, peer) = (self.world.mail.core, conn.ends.peer);
            self.world.recorder.keep(core, now, || format!("{peer}: {why}"));
        }
        let waits = matches!(phase, Phase::Reinstating(_));
        match phase {
            Phase::Full(mut session) => {
                self.world.sessions -= 1;
                let (mut desk, _) = desk(&mut self.world, conn);
                // After a panic in the core its books may be wrong: then what it still holds is left alone.
                if desk.guarded(|desk| session.abort_all(desk)).is_some() {
                    conn.remains = Some(session);
                } else {
                    // But nothing of it may begin any more, and what the disk has of it is fenced.
                    self.world.forget(|client, _| client.conn() == Some(id));
                }
            }
            // The session that it was to go on with ends with it.
            Phase::Reinstating(finishing) if finishing.session.established().joins.is_some() => {
                conn.remains = Some(finishing.session);
            }
            _ => {}
        }
        conn.tx.fall_silent();
        conn.deadline = now + LINGER_NS;
        self.world.driver.shutdown(conn.fd);
        self.settle_beside(id);
        self.world.leave_enclosures_of(id);
        self.closing.push(id);
        // A login that waits for the session that it replaces is harmless when that one is: a third login must
        // wait for both.
        if waits {
            return;
        }
        self.world.announce(Then::Fenced { conn: id });
    }

    /// The session's tasks are gone and fenced everywhere.
    pub(super) fn fenced(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.fenced = true;
        if conn.asks == 0 {
            self.lose_nexus(id);
        }
    }

    /// The owner of a logical unit has answered a task, or what was to be one's answer.
    pub(super) fn ask_answered(&mut self, id: ConnId, recalled: bool) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.asks = conn.asks.saturating_sub(1);
        conn.recalled = conn.recalled.saturating_sub(u32::from(recalled));
        if conn.recalled == 0 {
            for token in std::mem::take(&mut conn.after_asks) {
                self.world.announce(Then::Managed { conn: id, token });
            }
        }
        if conn.asks == 0 && conn.fenced && !conn.harmless {
            self.lose_nexus(id);
        }
    }

    /// Nothing of the session can happen any more: whoever waited for that goes on.
    pub(super) fn harmless(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.harmless = true;
        if let Some((key, tsih)) = &conn.key {
            self.registry.leave(key, *tsih);
        }
        let legacy = conn.heir.and_then(|heir| Some((heir, conn.remains.as_mut()?.bequeath()?)));
        if let Some(((core, heir), legacy)) = legacy {
            self.world.mail.post(core, Letter::Bequeath { heir, legacy: Box::new(legacy) });
        }
        for (core, gate) in std::mem::take(&mut conn.mourners) {
            self.world.mail.post(core, Letter::Ack(gate));
        }
        self.closing.push(id);
    }

    /// What the logical units keep for this nexus alone ends (SPC-2 reservations), before a session that takes its
    /// place can ask for the same again.
    fn lose_nexus(&mut self, id: ConnId) {
        let is_lost = |c: &&mut Conn| c.heir.is_none();
        let Some(session) = self.conns.get_mut(id).filter(is_lost).and_then(|c| c.remains.as_ref()) else {
            return self.harmless(id);
        };
        let keeps = |lu: &LuId| self.world.keeps_for(*lu, session.nexus());
        let keepers: Vec<LuId> = session.logical_units().filter(keeps).collect();
        if keepers.is_empty() {
            return self.harmless(id);
        }
        let nexus = session.nexus().clone();
        let gate = self.world.gates.shut(keepers.len(), Then::Harmless { conn: id });
        for lu in keepers {
            self.world.ask(lu, SharedOp::NexusLoss, nexus.clone(), gate);
        }
    }

    /// Ends those connections of which nothing is in flight any more.
    pub(super) fn finish_closing(&mut self) {
        let mut buried = false;
        for id in std::mem::take(&mut self.closing) {
            let done =
                self.conns.get_mut(id).is_some_and(|c| c.is_closing() && c.harmless && c.in_flight() == 0);
            if done && let Some(conn) = self.conns.remove(id) {
                self.world.copying.remove(&id);
                self.bury(*conn);
                buried = true;
            }
        }
        if buried && !self.world.hungry.is_empty() {
            self.feed_hungry();
            self.held |= !self.dirty.is_empty();
        }
    }

    /// What has been sent without copies has had its time to reach the peer.
    pub(super) fn break_off(&mut self, id: ConnId, now: u64) {
        let Some(conn) = self.conns.get_mut(id).filter(|c| c.is_closing() && c.fd >= 0) else { return };
        if conn.tx.lingering() > 0 && !conn.receiving && !conn.tx.busy && now >= conn.deadline {
            let fd = std::mem::replace(&mut conn.fd, -1);
            self.world.driver.abort(fd);
            self.close_fd(fd);
        }
    }

    fn bury(&mut self, mut conn: Conn) {
        for after in conn.tx.drop_all() {
            if let After::Free(buf) | After::Tell(_, buf) = after {
                self.world.pool.free(buf);
            }
        }
        if let Some(mut session) = conn.remains.take() {
            let (mut desk, _) = desk(&mut self.world, &mut conn);
            // The connection is gone already: what a panic leaves behind stays with it.
            let _ = desk.guarded(|desk| session.finish(desk));
        }
        if conn.placed {
            self.registry.unplace(self.world.mail.core);
        }
        self.world.counters.closed += 1;
        if conn.fd >= 0 {
            self.close_fd(conn.fd);
        }
    }

    /// A new login replaces the session of that connection, or, as its heir, goes on with it. What is ending already
    /// has nothing to leave, but its place in the registry is the heir's.
    pub(super) fn kill(&mut self, id: ConnId, from: CoreId, gate: GateId, heir: Option<ConnId>) {
        match self.conns.get_mut(id) {
            Some(conn) if !conn.harmless => {
                if let Some(heir) = heir {
                    conn.key = None;
                    conn.heir = (!conn.is_closing()).then_some((from, heir));
                }
                conn.mourners.push((from, gate));
                self.close(id, Why::Replaced);
            }
            _ => self.world.mail.post(from, Letter::Ack(gate)),
        }
    }

    /// What the session of a login had with its last connection. Should that login have ended meanwhile, its remains
    /// have it, and lose it.
    pub(super) fn take_legacy(&mut self, heir: ConnId, legacy: Legacy) {
        let Some(conn) = self.conns.get_mut(heir) else { return };
        let session = match &mut conn.phase {
            Phase::Reinstating(finishing) => Some(&mut finishing.session),
            _ => conn.remains.as_mut(),
        };
        if let Some(session) = session {
            let (lost, nexus) = (session.inherit(legacy), session.nexus().clone());
            self.world.lose_units(&lost, &nexus, false);
        }
    }

    /// A cold reset: all sessions of the target end, but the one that asked.
    pub(super) fn kill_target(&mut self, target: &str, but: (CoreId, ConnId)) {
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            let is_of_target = matches!(&conn.phase, Phase::Full(s) if s.nexus().target == target);
            if is_of_target && (self.world.mail.core, id) != but {
                self.close(id, Why::Replaced);
            }
        }
    }

    /// Slots may have come free: tasks that wait for some go on, connection by connection. One that gets nothing,
    /// because it wants larger slots or has its share, does not hold up the others.
    pub(super) fn feed_hungry(&mut self) {
        for _ in 0..self.world.hungry.len() {
            let Some(id) = self.world.hungry.pop_front() else { return };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.hungry = false;
            let (mut desk, phase) = desk(&mut self.world, conn);
            let Phase::Full(session) = phase else { continue };
            match desk.guarded(|desk| session.resume(desk)) {
                Some(true) => {}
                Some(false) => desk.wants_slots(),
                None => {
                    self.close(id, Why::Broken);
                    continue;
                }
            }
            self.mark_dirty(id);
        }
    }
}

//! The receiving side: what the kernel is asked to fill, and what is done with what came.

use super::conn::{Conn, Phase};
use super::desk::desk;
use super::tag::Tag;
use super::{Reactor, TICK_NS, Why};
use crate::ids::ConnId;
use crate::ring::{Done, Driver, Kind, Op};

/// How long requests may be left unread because answers wait, nanoseconds: with the time between two looks, a second.
/// Pings and task management must get through.
const PAUSE_NS: u64 = 1_000_000_000 - TICK_NS;

impl<D: Driver> Reactor<D> {
    /// Asks for more bytes, if the connection wants any and nothing is asked for yet.
    pub(super) fn arm_recv(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.receiving || conn.paused.is_some() || !conn.wants_bytes() {
            return;
        }
        let Some(mut recv) = conn.recv.take() else { return };
        if let Phase::Full(session) = &conn.phase {
            recv.most = session.staging();
            recv.into = session.next_place().map(|(buf, at, len)| self.world.pool.place(buf).part(at, len));
            if recv.into.is_some_and(|place| !self.intake.admits(place.len as usize)) {
                conn.recv = Some(recv);
                return self.unarmed.push_back(id);
            }
        }
        let op = Op { tag: Tag::Recv(id).pack(), kind: Kind::Recv(recv) };
        match self.world.driver.push(op) {
            Ok(_) => conn.receiving = true,
            Err(op) => {
                if let Kind::Recv(recv) = op.kind {
                    conn.recv = Some(recv);
                }
                self.unarmed.push_back(id);
            }
        }
    }

    pub(super) fn received(&mut self, id: ConnId, done: Done) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Kind::Recv(mut recv) = done.op.kind else { return };
        conn.receiving = false;
        self.world.counters.recvs += 1;
        let gone = match done.result {
            0 => Some(Why::PeerClosed),
            r if r < 0 && ![-libc::EINTR, -libc::EAGAIN].contains(&r) => Some(Why::Socket(-r)),
            _ => None,
        };
        let placed = recv.took(done.result.max(0) as u32);
        conn.recv = Some(recv);
        conn.more = done.more_in_socket;
        if conn.is_closing() {
            return self.closing.push(id);
        }
        if let Some(why) = gone {
            return self.close(id, why);
        }
        if let (mut desk, Phase::Full(session)) = desk(&mut self.world, conn)
            && placed > 0
            && desk.guarded(|desk| session.placed(desk, placed)).is_none()
        {
            return self.close(id, Why::Broken);
        }
        self.use_staged(id);
    }

    /// Gives what lies in staging to whoever the connection belongs to.
    pub(super) fn use_staged(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match conn.phase {
            Phase::Login(_) => self.login_bytes(id),
            Phase::Full(_) => self.session_bytes(id),
            Phase::Reinstating(_) | Phase::Closing => return,
        }
        self.arm_recv(id);
    }

    /// What has been left unread for long enough is read, in part, whatever waits to be sent.
    pub(super) fn read_at_last(&mut self, id: ConnId, now: u64) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Phase::Full(session) = &mut conn.phase
            && conn.paused.is_some_and(|since| now.saturating_sub(since) >= PAUSE_NS)
        {
            session.insist();
            conn.paused = None;
            self.use_staged(id);
        }
    }

    fn session_bytes(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(mut recv) = conn.recv.take() else { return };
        let (mut desk, phase) = desk(&mut self.world, conn);
        let Phase::Full(session) = phase else { return };
        let outcome = desk.guarded(|desk| session.input(desk, recv.staged()));
        let closing = session.closing().is_some();
        let result = match outcome {
            Some(Ok(input)) => {
                recv.consume(input.used);
                Ok((input.read_on || closing, input.used > 0))
            }
            Some(Err(why)) => Err(Why::Session(why)),
            None => Err(Why::Broken),
        };
        conn.recv = Some(recv);
        self.settle_beside(id);
        self.mark_dirty(id);
        match result {
            Ok((read_on, moved)) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    // What lies unread since then goes on to do so, however often it is looked at.
                    let since = conn.paused.filter(|_| !moved);
                    conn.paused = (!read_on).then(|| since.unwrap_or_else(|| self.world.driver.now()));
                }
            }
            Err(why) => self.close(id, why),
        }
    }
}

impl Conn {
    fn wants_bytes(&self) -> bool {
        match &self.phase {
            Phase::Full(session) => session.closing().is_none(),
            // One request, one answer: while an answer is on its way nothing may be read, so that the connection
            // can change its reactor with nothing in flight.
            Phase::Login(_) => self.tx.is_idle(),
            Phase::Reinstating(_) | Phase::Closing => false,
        }
    }
}

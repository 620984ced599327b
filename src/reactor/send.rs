//! The sending side: one send per connection and turn, with everything that is ready.

use super::conn::{Conn, Phase};
use super::desk::desk;
use super::meter::Left;
use super::tag::Tag;
use super::tx::HOLD;
use super::world::World;
use super::{Reactor, TICK_NS, Why};
use crate::ids::ConnId;
use crate::ring::{Done, Driver, Kind, Op, SendOp};
use crate::session::host::After;

/// How long answers may be held back for more to come, nanoseconds.
const HOLD_NS: u64 = 50_000;

impl<D: Driver> Reactor<D> {
    /// There may be something to send on that connection.
    pub(super) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Sends whatever is ready; true when something is held back for more to come.
    pub(super) fn flush_dirty(&mut self) -> bool {
        let mut held = false;
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|&id| {
            let stays = self.flush(id);
            held |= stays;
            stays
        });
        // Those that became dirty meanwhile are behind.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        held
    }

    /// True: it stays in the list.
    fn flush(&mut self, id: ConnId) -> bool {
        self.settle_beside(id);
        let now = self.world.driver.now();
        let low = self.world.pool.is_low();
        let no_room = self.world.driver.room() == 0;
        let Some(conn) = self.conns.get_mut(id) else { return false };
        if !conn.tx.busy
            && !conn.tx.is_empty()
            && !conn.is_closing()
            && (no_room || conn.holds_back(now, low))
        {
            return true;
        }
        conn.dirty = false;
        if conn.tx.busy || conn.is_closing() {
            return false;
        }
        let Some(mut op) = conn.tx.take(now) else { return false };
        // It keeps its slots longer, and an entry of the disks'.
        if !conn.tx.may_go_uncopied(&op) || low || !self.world.has_room_for_disks() {
            self.send_plainly(id, op);
            return false;
        }
        (op.zero_copy, op.most) = (true, usize::MAX);
        self.world.disks += 1;
        self.world.counters.uncopied += 1;
        self.submit_send(id, op);
        false
    }

    /// Those that have waited for a turn send first, in their order, as far as it reaches.
    pub(super) fn send_first(&mut self) {
        self.output.renew();
        for _ in 0..self.unsent.len() {
            let Some(id) = self.output.next(&mut self.unsent) else { break };
            self.send_rest(id);
        }
    }

    fn send_rest(&mut self, id: ConnId) {
        if let Some(op) = self.conns.get_mut(id).and_then(|conn| conn.tx.rest.take()) {
            self.send_plainly(id, op);
        }
    }

    /// Sends as much as the turn has for it, or has it wait for the next.
    pub(super) fn send_plainly(&mut self, id: ConnId, mut op: Box<SendOp>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.is_closing() {
            return self.abandon(id, op);
        }
        op.most = op.remaining().min(self.output.piece());
        if self.output.admits(op.most) {
            self.submit_send(id, op);
        } else {
            self.send_later(id, op);
        }
    }

    fn submit_send(&mut self, id: ConnId, op: Box<SendOp>) {
        self.world.counters.sends += 1;
        if let Err(op) = self.world.driver.push(Op { tag: Tag::Send(id).pack(), kind: Kind::Send(op) })
            && let Kind::Send(mut op) = op.kind
        {
            if std::mem::take(&mut op.zero_copy) {
                self.world.disks -= 1;
                self.world.counters.uncopied -= 1;
            }
            // In the next turn there is room.
            self.send_later(id, op);
        }
    }

    fn send_later(&mut self, id: ConnId, op: Box<SendOp>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.tx.rest = Some(op);
            self.unsent.push_back(id);
        }
    }

    /// Nobody knows what of it has arrived, and nobody is to be sent any more.
    fn abandon(&mut self, id: ConnId, op: Box<SendOp>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let afters = conn.tx.landed(op);
        conn.tx.flown.clear();
        conn.tx.put_off(afters);
        self.closing.push(id);
    }

    /// A send has completed.
    pub(super) fn sent(&mut self, id: ConnId, done: Done) {
        let now = self.world.driver.now();
        let Kind::Send(mut op) = done.op.kind else { return self.taken(id, done.result) };
        if op.zero_copy {
            match self.uncopied_ended(id, op, done.result, done.copied) {
                Some(plain) => op = plain,
                None => return,
            }
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let retry = [-libc::EINTR, -libc::EAGAIN].contains(&done.result);
        let failed = done.result < 0 && !retry;
        if !failed && !conn.is_closing() && !op.advance(done.result.max(0) as usize) {
            if !retry {
                conn.tx.progress = now;
            }
            return self.send_plainly(id, op);
        }
        if conn.is_closing() || failed {
            self.abandon(id, op);
            if failed {
                // Of one that ends already this changes nothing.
                self.close(id, Why::Socket(-done.result));
            }
            return;
        }
        let afters = conn.tx.landed(op);
        self.world.count_left(conn, now);
        self.after_send(id, afters);
    }

    /// A batch has gone: slots go back, sessions go on.
    pub(super) fn after_send(&mut self, id: ConnId, mut afters: Vec<After>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (mut close, mut broken) = (false, false);
        for after in afters.drain(..) {
            match after {
                After::Keep => {}
                After::Free(buf) => {
                    conn.slots.remove(buf);
                    self.world.pool.free(buf);
                }
                After::Close => close = true,
                After::Proceed(task) => {
                    if let (mut desk, Phase::Full(session)) = desk(&mut self.world, conn) {
                        broken |= desk.guarded(|desk| session.proceed(desk, task)).is_none();
                    }
                }
                After::Tell(task, buf) => {
                    let (mut desk, phase) = desk(&mut self.world, conn);
                    match phase {
                        Phase::Full(session) => {
                            broken |= desk.guarded(|desk| session.sent(desk, task, buf)).is_none();
                        }
                        _ => self.world.pool.free(buf),
                    }
                }
            }
        }
        conn.tx.keep(afters);
        if let (mut desk, Phase::Full(session)) = desk(&mut self.world, conn)
            && session.holds_data_back()
        {
            broken |= desk.guarded(|desk| session.send_on(desk)).is_none();
        }
        if broken {
            return self.close(id, Why::Broken);
        }
        if close {
            return self.close(id, Why::Said);
        }
        if !conn.tx.is_empty() {
            self.mark_dirty(id);
        }
        self.settle_beside(id);
        self.resume_reading(id);
    }

    /// Answers have left: what was left unread for them is read.
    fn resume_reading(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.paused.is_some() || matches!(conn.phase, Phase::Login(_)) {
            self.use_staged(id);
        }
    }
}

impl<D> World<D> {
    /// Answers have left: how long they took is counted.
    #[inline]
    pub(super) fn count_left(&mut self, conn: &mut Conn, now: u64) {
        for answer in conn.tx.flown.drain(..) {
            let left = Left::new(&answer, now);
            if let Some(unit) = self.units.get_mut(answer.lu.0 as usize) {
                unit.meter.left(&left);
            }
            if let Some(meter) = &mut conn.meter {
                meter.left(&left);
            }
        }
    }
}

impl Conn {
    /// Whether answers are held back: more requests are known to be in the socket, and will be read at once.
    fn holds_back(&self, now: u64, low: bool) -> bool {
        let (waiting, since) = self.tx.waiting();
        self.more && self.receiving && !low && waiting < HOLD && now.saturating_sub(since) < HOLD_NS
    }

    /// Whether a send is under way that did not end at once: whether it moves, its completion tells only at the end.
    pub(super) fn sends_long(&self, now: u64) -> bool {
        self.tx.began().is_some_and(|began| now.saturating_sub(began) >= TICK_NS)
    }

    /// Whether a send is under way that has made no progress for that long.
    pub(super) fn is_stalled(&self, now: u64, patience: u64) -> bool {
        self.tx.is_waited_for() && now.saturating_sub(self.tx.progress) > patience
    }
}

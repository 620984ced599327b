//! What waits to be sent on one connection, and what is with the kernel.
//!
//! A session writes headers, names payload by its place, and ends PDUs; all of it goes straight into the send
//! operation that will carry it. While one send is under way the next one fills.

use super::meter::Leaving;
use crate::mem::Place;
use crate::ring::SendOp;
use crate::session::host::After;

/// Answers that are held back at most for more to come.
pub(super) const HOLD: u32 = 32;

/// Parts of a send before its vectors grow: 32 answers with payload.
const USUAL_PARTS: usize = 64;

/// Header bytes that a send keeps room for.
const USUAL_HEADERS: usize = 16 << 10;

/// Parts that a busy connection keeps room for: more do not leave in one send. Beyond these, room is given back when a
/// send needs only a small part of it, so that steady bursts do not shrink and grow the vectors in turn.
const MOST_PARTS: usize = SendOp::MOST_PARTS;

/// Answers of one send whose way is timed, at most: a connection has many more only when it does not read. (They are not
/// counted with what waits: 8 KiB at most, twice.)
const MOST_TIMED: usize = 256;

/// The sending side of a connection.
#[derive(Debug)]
pub(super) struct Tx {
    fd: i32,
    /// The next send.
    filling: Option<Box<SendOp>>,
    /// What is to be done when that has gone.
    afters: Vec<After>,
    /// Answers in it.
    timed: Vec<Leaving>,
    /// PDUs in it, and when the first was ready.
    waiting: u32,
    since: u64,
    /// The other box, while it is not with the kernel.
    spare: Option<Box<SendOp>>,
    /// What is to be done when the send under way has gone.
    flying: Vec<After>,
    /// Answers in that.
    pub(super) flown: Vec<Leaving>,
    /// Bytes of memory that both take.
    flying_memory: usize,
    /// Whether a send is under way, and when it last made progress.
    pub(super) busy: bool,
    pub(super) progress: u64,
    /// When it began.
    began: u64,
    /// Sends that have begun.
    sends: u64,
    /// Bytes that have reached the peer, as of the last look at a send that takes long.
    pub(super) delivered: u64,
}

impl Tx {
    pub(super) fn new(fd: i32) -> Self {
        Self {
            fd,
            filling: None,
            afters: Vec::new(),
            timed: Vec::new(),
            waiting: 0,
            since: 0,
            spare: None,
            flying: Vec::new(),
            flown: Vec::new(),
            flying_memory: 0,
            busy: false,
            progress: 0,
            began: 0,
            sends: 0,
            delivered: 0,
        }
    }

    #[inline]
    fn next(&mut self) -> &mut SendOp {
        let (fd, spare) = (self.fd, &mut self.spare);
        self.filling.get_or_insert_with(|| spare.take().unwrap_or_else(|| SendOp::new(fd, USUAL_PARTS)))
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.next().put(bytes);
    }

    #[inline]
    pub(super) fn put_body(&mut self, place: Place) {
        self.next().put_place(place);
    }

    #[inline]
    pub(super) fn end(&mut self, after: After, now: u64) {
        if self.waiting == 0 {
            self.since = now;
        }
        self.waiting += 1;
        if after != After::Keep {
            self.afters.push(after);
        }
    }

    /// The PDUs that were ended last answer a command.
    #[inline]
    pub(super) fn time(&mut self, answer: Leaving) {
        if self.timed.len() < MOST_TIMED {
            self.timed.push(answer);
        }
    }

    /// Bytes of headers that wait.
    pub(super) fn backlog(&self) -> usize {
        self.filling.as_ref().map_or(0, |op| op.headers())
    }

    /// Bytes of memory that what waits or is under way takes: headers, where payload lies, and what is to be done then.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        let filling = self.filling.as_ref().map_or(0, |op| op.memory());
        filling + size_of_val(&self.afters[..]) + self.flying_memory
    }

    /// Nothing waits. (A send may be under way.)
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && !self.busy
    }

    /// When the send under way began, if there is one.
    pub(super) fn began(&self) -> Option<u64> {
        self.busy.then_some(self.began)
    }

    /// A look at the send under way: so many bytes have reached the peer.
    pub(super) fn look(&mut self, delivered: u64, now: u64) {
        if delivered > self.delivered {
            (self.delivered, self.progress) = (delivered, now);
        }
    }

    /// The number of the send with which everything that is to be sent now has gone, if there is anything.
    pub(super) fn last_send(&self) -> Option<u64> {
        let last = self.sends + u64::from(self.filling.is_some());
        (self.busy || self.filling.is_some()).then_some(last)
    }

    /// Whether the send of that number is over.
    pub(super) fn has_sent(&self, number: u64) -> bool {
        self.sends > number || (self.sends == number && !self.busy) || (self.filling.is_none() && !self.busy)
    }

    /// PDUs that wait, and since when.
    pub(super) fn waiting(&self) -> (u32, u64) {
        (self.waiting, self.since)
    }

    /// Takes the next send for the kernel.
    pub(super) fn take(&mut self, now: u64) -> Option<Box<SendOp>> {
        let op = self.filling.take()?;
        std::mem::swap(&mut self.afters, &mut self.flying);
        std::mem::swap(&mut self.timed, &mut self.flown);
        self.flying_memory = op.memory() + size_of_val(&self.flying[..]);
        self.waiting = 0;
        self.busy = true;
        self.progress = now;
        self.began = now;
        self.sends += 1;
        Some(op)
    }

    /// The send under way is over; what is to be done now. Give the list back with [`Tx::keep`].
    pub(super) fn landed(&mut self, mut op: Box<SendOp>) -> Vec<After> {
        self.busy = false;
        self.flying_memory = 0;
        let most = |used: usize, room: usize, most| if used < room / 4 { most } else { usize::MAX };
        let headers = most(op.headers(), op.room_for_headers(), USUAL_HEADERS);
        let parts = most(op.parts(), op.room_for_parts(), MOST_PARTS);
        op.clear();
        op.shrink(headers, parts);
        self.spare = Some(op);
        std::mem::take(&mut self.flying)
    }

    /// Nothing is to be sent: what a burst has made to grow goes back.
    pub(super) fn rest(&mut self) {
        if let Some(op) = self.spare.as_mut().filter(|_| self.filling.is_none() && !self.busy) {
            op.shrink(USUAL_HEADERS, USUAL_PARTS);
        }
    }

    /// Keeps the room of an empty list.
    pub(super) fn keep(&mut self, afters: Vec<After>) {
        self.flying = afters;
    }

    /// Nothing more is to be sent: headers that wait are forgotten, what was to be done is not.
    pub(super) fn fall_silent(&mut self) {
        self.filling = None;
    }

    /// The connection is gone: everything that was to be done, sent or not.
    pub(super) fn drop_all(&mut self) -> Vec<After> {
        self.filling = None;
        self.waiting = 0;
        let mut all = std::mem::take(&mut self.flying);
        all.append(&mut self.afters);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BufId;

    /// One send of so many parts, and the room that is kept for the next.
    fn burst(tx: &mut Tx, parts: u64) -> usize {
        (0..parts).for_each(|n| tx.put_body(Place::pool(n * 4096, 8)));
        tx.end(After::Keep, 1);
        let op = tx.take(1).expect("something to send");
        tx.landed(op);
        tx.spare.as_ref().map_or(0, |op| op.room_for_parts())
    }

    /// Likewise with so many bytes of headers.
    fn answers(tx: &mut Tx, bytes: usize) -> usize {
        tx.put(&vec![0; bytes]);
        tx.end(After::Keep, 1);
        let op = tx.take(1).expect("something to send");
        tx.landed(op);
        tx.spare.as_ref().map_or(0, |op| op.room_for_headers())
    }

    #[test]
    fn the_room_for_headers_does_not_shrink_and_grow_in_turn() {
        let mut tx = Tx::new(3);
        let deep = answers(&mut tx, 4 * USUAL_HEADERS);
        assert!(deep >= 4 * USUAL_HEADERS);
        assert_eq!(answers(&mut tx, 3 * USUAL_HEADERS), deep, "steady bursts");
        assert!(answers(&mut tx, 48) <= USUAL_HEADERS, "it was a single burst");
        answers(&mut tx, 4 * USUAL_HEADERS);
        tx.rest();
        assert!(answers(&mut tx, 48) <= USUAL_HEADERS, "nothing was to be sent");
    }

    #[test]
    fn what_waits_is_counted_with_the_list_of_its_places() {
        let mut tx = Tx::new(3);
        for n in 0..1000 {
            tx.put(&[0; 48]);
            tx.put_body(Place::pool(n * 4096, 512));
            tx.end(After::Free(BufId(n as u32)), 1);
        }
        let all = 1000 * (48 + 2 * 24 + size_of::<After>());
        assert_eq!(tx.memory(), all);
        let op = tx.take(1).expect("something to send");
        assert_eq!(tx.memory(), all, "on its way");
        tx.put(&[0; 48]);
        assert_eq!(tx.memory(), all + 48 + 24);
        tx.landed(op);
        assert_eq!(tx.memory(), 48 + 24, "gone");
    }

    #[test]
    fn a_connection_keeps_the_room_that_it_uses_and_no_more() {
        let mut tx = Tx::new(3);
        assert!(burst(&mut tx, 100_000) >= 100_000);
        // Small sends: it was a single burst.
        assert!(burst(&mut tx, 10) <= 2 * MOST_PARTS);
        // What a deep queue needs stays while it is used.
        let deep = burst(&mut tx, 256);
        assert!(deep >= 256 && burst(&mut tx, 256) == deep);
        tx.rest();
        assert!(burst(&mut tx, 1) <= 2 * USUAL_PARTS);
    }
}

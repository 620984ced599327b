//! What waits to be sent on one connection, and what is with the kernel.
//!
//! A session writes headers, names payload by its place, and ends PDUs; all of it goes straight into the send
//! operation that will carry it. While one send is under way the next one fills.
//!
//! A send without copies goes on after its last byte has been taken: its slots are looked at until the peer has them.
//! The next send begins before that, and so several may linger; what is to be done when each has gone waits with it.

use arrayvec::ArrayVec;

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

/// From so many bytes on a send may go without copies. Beneath, copying what the disk or another core has just put into
/// the cache takes less time than pinning pages and having a second completion: 32 KiB are copied in 1 to 2 µs.
const LEAST_UNCOPIED: usize = 32 << 10;

/// And from so many bytes of each part on, on the average, which is twice that of each payload, as headers count. Each
/// part takes a fragment of a packet, and those have few: batches of small answers are slower without copies.
const LEAST_PART: usize = 8 << 10;

/// Sends that may linger: more than any path holds at such sizes, and few enough to leave entries of the ring to others.
const MOST_LINGERING: usize = 32;

/// Notices that there was a copy after all, before a connection gives up on it. One alone can be chance: a packet that
/// had to be sent again by another way, or that somebody listened in on.
const MOST_COPIED: u8 = 3;

/// Boxes that are kept while sends without copies come and go.
const SPARES: usize = 4;

/// A send that has been taken, and whose memory is still looked at.
#[derive(Debug)]
struct Lingering {
    number: u64,
    /// When it began.
    began: u64,
    /// What is to be done when it has gone.
    afters: Vec<After>,
    /// Bytes of memory that it takes.
    memory: usize,
}

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
    /// The other boxes, while they are not with the kernel. Without zero copy that is one.
    spares: ArrayVec<Box<SendOp>, SPARES>,
    /// Empty lists, for what is to be done when further sends have gone.
    lists: ArrayVec<Vec<After>, SPARES>,
    /// Sends may go without copies; and how often that came to nothing.
    zero_copy: bool,
    copied: u8,
    /// Sends that have been taken and are not over, oldest first.
    lingering: Vec<Lingering>,
    /// What is to be done when the send under way has gone.
    flying: Vec<After>,
    /// Answers in that.
    pub(super) flown: Vec<Leaving>,
    /// Bytes of memory that both take, and bytes to be sent.
    flying_memory: usize,
    flying_bytes: usize,
    /// Whether a send is under way, and when it last made progress.
    pub(super) busy: bool,
    pub(super) progress: u64,
    /// That send, or what is left of it, while it waits for a turn. Its connection is among those that do.
    pub(super) rest: Option<Box<SendOp>>,
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
            spares: ArrayVec::new(),
            lists: ArrayVec::new(),
            zero_copy: false,
            copied: 0,
            lingering: Vec::new(),
            flying: Vec::new(),
            flown: Vec::new(),
            flying_memory: 0,
            flying_bytes: 0,
            busy: false,
            progress: 0,
            rest: None,
            began: 0,
            sends: 0,
            delivered: 0,
        }
    }

    #[inline]
    fn next(&mut self) -> &mut SendOp {
        let (fd, spares) = (self.fd, &mut self.spares);
        self.filling.get_or_insert_with(|| spares.pop().unwrap_or_else(|| SendOp::new(fd, USUAL_PARTS)))
    }

    /// Sends may go without copies.
    pub(super) fn allow_zero_copy(&mut self) {
        self.zero_copy = true;
    }

    /// Whether that send is worth being sent without copies.
    #[inline]
    pub(super) fn may_go_uncopied(&self, op: &SendOp) -> bool {
        self.zero_copy && self.lingering.len() < MOST_LINGERING && is_long(op)
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
        let lingering: usize = self.lingering.iter().map(|l| l.memory).sum();
        filling + size_of_val(&self.afters[..]) + self.flying_memory + lingering
    }

    /// Nothing waits. (A send may be under way.)
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && !self.busy
    }

    /// Sends that have been taken, and whose memory is still looked at.
    pub(super) fn lingering(&self) -> usize {
        self.lingering.len()
    }

    /// Slots or memory of the kernel wait for the peer.
    pub(super) fn is_waited_for(&self) -> bool {
        self.busy || !self.lingering.is_empty()
    }

    /// When the oldest send began that is not over, if there is one.
    pub(super) fn began(&self) -> Option<u64> {
        let oldest = self.lingering.first().map(|l| l.began);
        oldest.or_else(|| self.busy.then_some(self.began))
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
        (self.is_waited_for() || self.filling.is_some()).then_some(last)
    }

    /// Whether the send of that number is over.
    pub(super) fn has_sent(&self, number: u64) -> bool {
        let taken = self.sends > number
            || (self.sends == number && !self.busy)
            || (self.filling.is_none() && !self.busy);
        taken && self.lingering.first().is_none_or(|oldest| oldest.number > number)
    }

    /// PDUs that wait, and since when.
    pub(super) fn waiting(&self) -> (u32, u64) {
        (self.waiting, self.since)
    }

    /// Takes the next send for the kernel.
    pub(super) fn take(&mut self, now: u64) -> Option<Box<SendOp>> {
        let mut op = self.filling.take()?;
        std::mem::swap(&mut self.afters, &mut self.flying);
        std::mem::swap(&mut self.timed, &mut self.flown);
        self.flying_memory = op.memory() + size_of_val(&self.flying[..]);
        self.flying_bytes = op.remaining();
        self.waiting = 0;
        self.busy = true;
        self.progress = now;
        self.began = now;
        self.sends += 1;
        op.number = self.sends;
        Some(op)
    }

    /// The send under way has been taken, so many bytes of it, and lingers if that is all. What is to be done now: more
    /// of a medium that is memory follows without waiting for this to arrive. Give the list back with [`Tx::keep`].
    pub(super) fn taken(&mut self, bytes: usize) -> Option<Vec<After>> {
        if bytes < self.flying_bytes {
            return None;
        }
        self.busy = false;
        let mut afters = std::mem::take(&mut self.flying);
        let mut now = self.lists.pop().unwrap_or_default();
        now.extend(afters.extract_if(.., |after| matches!(after, After::Proceed(_))));
        let memory = std::mem::take(&mut self.flying_memory);
        self.lingering.push(Lingering { number: self.sends, began: self.began, afters, memory });
        Some(now)
    }

    /// Nothing looks at the memory of that send any more: what is to be done now, if it lingered. Give the list back
    /// with [`Tx::keep`].
    pub(super) fn noticed(&mut self, op: Box<SendOp>, now: u64) -> Result<Vec<After>, Box<SendOp>> {
        let Some(at) = self.lingering.iter().position(|l| l.number == op.number) else { return Err(op) };
        self.progress = now;
        self.recycle(op);
        Ok(self.lingering.remove(at).afters)
    }

    /// The kernel has copied what was to go without copies. True: it is not tried any more.
    pub(super) fn note_copied(&mut self) -> bool {
        self.copied = self.copied.saturating_add(1);
        self.copied >= MOST_COPIED && self.give_up_zero_copy()
    }

    /// All further sends are plain. False when they were before.
    pub(super) fn give_up_zero_copy(&mut self) -> bool {
        std::mem::take(&mut self.zero_copy)
    }

    /// The send under way is over; what is to be done now. Give the list back with [`Tx::keep`].
    pub(super) fn landed(&mut self, op: Box<SendOp>) -> Vec<After> {
        self.busy = false;
        self.flying_memory = 0;
        self.recycle(op);
        std::mem::take(&mut self.flying)
    }

    /// The box can carry another send.
    fn recycle(&mut self, mut op: Box<SendOp>) {
        let most = |used: usize, room: usize, most| if used < room / 4 { most } else { usize::MAX };
        let headers = most(op.headers(), op.room_for_headers(), USUAL_HEADERS);
        let parts = most(op.parts(), op.room_for_parts(), MOST_PARTS);
        op.clear();
        op.shrink(headers, parts);
        // One too many goes.
        let _ = self.spares.try_push(op);
    }

    /// Nothing is to be sent: what a burst has made to grow goes back.
    pub(super) fn rest(&mut self) {
        if self.filling.is_none() && !self.is_waited_for() {
            self.spares.truncate(1);
            self.lists.clear();
            self.spares.iter_mut().for_each(|op| op.shrink(USUAL_HEADERS, USUAL_PARTS));
        }
    }

    /// Keeps the room of an empty list.
    pub(super) fn keep(&mut self, afters: Vec<After>) {
        if self.flying.capacity() == 0 && !self.busy {
            self.flying = afters;
        } else {
            // One too many goes.
            let _ = self.lists.try_push(afters);
        }
    }

    /// Keeps what is to be done until the connection is gone.
    pub(super) fn put_off(&mut self, mut afters: Vec<After>) {
        self.flying.append(&mut afters);
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

fn is_long(op: &SendOp) -> bool {
    let bytes = op.remaining();
    bytes >= LEAST_UNCOPIED && bytes >= op.parts() * LEAST_PART
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BufId, TaskId};

    /// One send of so many parts, and the room that is kept for the next.
    fn burst(tx: &mut Tx, parts: u64) -> usize {
        (0..parts).for_each(|n| tx.put_body(Place::pool(n * 4096, 8)));
        tx.end(After::Keep, 1);
        let op = tx.take(1).expect("something to send");
        tx.landed(op);
        tx.spares.last().map_or(0, |op| op.room_for_parts())
    }

    /// Likewise with so many bytes of headers.
    fn answers(tx: &mut Tx, bytes: usize) -> usize {
        tx.put(&vec![0; bytes]);
        tx.end(After::Keep, 1);
        let op = tx.take(1).expect("something to send");
        tx.landed(op);
        tx.spares.last().map_or(0, |op| op.room_for_headers())
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

    /// A send that is worth being sent without copies, on its way.
    fn long(tx: &mut Tx, now: u64, after: After) -> Box<SendOp> {
        tx.put(&[0; 48]);
        tx.put_body(Place::pool(0, 64 << 10));
        tx.end(after, now);
        let op = tx.take(now).expect("something to send");
        assert!(tx.may_go_uncopied(&op));
        op
    }

    #[test]
    fn what_has_been_taken_lingers_until_nobody_looks_at_it() {
        let mut tx = Tx::new(3);
        tx.allow_zero_copy();
        let first = long(&mut tx, 1, After::Free(BufId(1)));
        assert!(tx.taken(4096).is_none() && tx.busy, "a part of it is not all");
        assert_eq!(tx.taken(48 + (64 << 10)), Some(vec![]));
        let proceed = After::Proceed(TaskId { index: 0, generation: 0 });
        let second = long(&mut tx, 2, proceed);
        assert_eq!(tx.taken(48 + (64 << 10)), Some(vec![proceed]), "memory of the medium needs no slot");
        assert_eq!((tx.lingering(), tx.is_idle(), tx.began()), (2, true, Some(1)));
        assert_eq!((tx.last_send(), tx.has_sent(1), tx.has_sent(2)), (Some(2), false, false));
        assert_eq!(tx.noticed(first, 3).unwrap(), [After::Free(BufId(1))]);
        assert!(tx.has_sent(1) && !tx.has_sent(2));
        assert_eq!(tx.noticed(second, 4).unwrap(), []);
        assert_eq!((tx.lingering(), tx.last_send(), tx.memory()), (0, None, 0));
        let third = long(&mut tx, 5, After::Keep);
        assert!(tx.noticed(third, 6).is_err(), "it has not been taken");
    }

    #[test]
    fn small_sends_and_small_parts_are_copied() {
        let mut tx = Tx::new(3);
        let op = |parts: u64, bytes: u32| {
            let mut op = SendOp::new(3, 1);
            (0..parts).for_each(|n| op.put_place(Place::pool(n << 20, bytes)));
            op
        };
        assert!(!tx.may_go_uncopied(&op(1, 1 << 20)), "nobody asked for it");
        tx.allow_zero_copy();
        assert!(tx.may_go_uncopied(&op(1, 32 << 10)) && !tx.may_go_uncopied(&op(1, 31 << 10)));
        assert!(tx.may_go_uncopied(&op(16, 16 << 10)) && !tx.may_go_uncopied(&op(64, 4 << 10)));
        assert!(!tx.note_copied() && !tx.note_copied() && tx.note_copied(), "the third time is enough");
        assert!(!tx.may_go_uncopied(&op(1, 1 << 20)) && !tx.note_copied());
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

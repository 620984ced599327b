//! What waits to be sent on one connection, and what is with the kernel.
//!
//! A session writes headers, names payload by its place, and ends PDUs; all of it goes straight into the send
//! operation that will carry it. While one send is under way the next one fills.

use crate::mem::Place;
use crate::ring::SendOp;
use crate::session::host::After;

/// Answers that are held back at most for more to come.
pub(super) const HOLD: u32 = 32;

/// Parts of a send before its vectors grow: 32 answers with payload.
const USUAL_PARTS: usize = 64;

/// Header bytes that a send keeps room for; what a burst made it grow beyond is given back.
const USUAL_HEADERS: usize = 16 << 10;

/// The sending side of a connection.
#[derive(Debug)]
pub(super) struct Tx {
    fd: i32,
    /// The next send.
    filling: Option<Box<SendOp>>,
    /// What is to be done when that has gone.
    afters: Vec<After>,
    /// PDUs in it, and when the first was ready.
    waiting: u32,
    since: u64,
    /// The other box, while it is not with the kernel.
    spare: Option<Box<SendOp>>,
    /// What is to be done when the send under way has gone.
    flying: Vec<After>,
    /// Whether a send is under way, and when it last made progress.
    pub(super) busy: bool,
    pub(super) progress: u64,
    /// When it began.
    began: u64,
    /// Bytes that the kernel has taken of all sends.
    pub(super) sent: u64,
}

impl Tx {
    pub(super) fn new(fd: i32) -> Self {
        Self {
            fd,
            filling: None,
            afters: Vec::new(),
            waiting: 0,
            since: 0,
            spare: None,
            flying: Vec::new(),
            busy: false,
            progress: 0,
            began: 0,
            sent: 0,
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

    /// Bytes of headers that wait.
    pub(super) fn backlog(&self) -> usize {
        self.filling.as_ref().map_or(0, |op| op.headers())
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

    /// PDUs that wait, and since when.
    pub(super) fn waiting(&self) -> (u32, u64) {
        (self.waiting, self.since)
    }

    /// Takes the next send for the kernel.
    pub(super) fn take(&mut self, now: u64) -> Option<Box<SendOp>> {
        let op = self.filling.take()?;
        std::mem::swap(&mut self.afters, &mut self.flying);
        self.waiting = 0;
        self.busy = true;
        self.progress = now;
        self.began = now;
        Some(op)
    }

    /// The send under way is over; what is to be done now. Give the list back with [`Tx::keep`].
    pub(super) fn landed(&mut self, mut op: Box<SendOp>) -> Vec<After> {
        self.busy = false;
        op.clear();
        op.shrink(USUAL_HEADERS);
        self.spare = Some(op);
        std::mem::take(&mut self.flying)
    }

    /// Keeps the room of an empty list.
    pub(super) fn keep(&mut self, afters: Vec<After>) {
        self.flying = afters;
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

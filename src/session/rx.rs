//! Framing: a stream of bytes becomes PDUs, and payload is told its place.
//!
//! The driver receives into at most two places: the rest of a payload that belongs in a slot
//! ([`Session::next_place`]), and staging for the headers and small payloads that follow. What lies in
//! staging is handed to [`Session::input`]; what the kernel placed by itself is reported by [`Session::placed`].

use super::host::Host;
use super::order::{Turn, Whole};
use super::pace::Pace;
use super::taking::MAX_BURSTS;
use super::{Close, SEGMENT, Session};
use crate::ids::{BufId, TaskId};
use crate::scsi::MAX_SENSE;
use crate::wire::bhs::{BHS_LEN, Bhs, padding};
use crate::wire::digest::{self, Crc, DIGEST_LEN};

/// The longest that headers get: a basic header, the longest AHS, and their digest. Staging must hold it.
pub const MAX_HEADERS: usize = BHS_LEN + 255 * 4 + DIGEST_LEN;

/// Bytes of staging. A receive fills it whole where payloads are short: it costs the same for eight 4 KiB writes as for four.
/// With twice as much, one takes the whole queue of an initiator, so that both sides wait for each other in turn.
pub(crate) const STAGING: usize = 32 << 10;

/// What a receive fills of it where long payloads come: of each of them as much may have to be copied.
const STAGING_FOR_LONG: usize = 16 << 10;

/// Receives without a long payload after which none is expected.
const NONE_LONG: u16 = 256;

// However little of it may be filled, the longest headers fit in whole.
const _: () = assert!(MAX_HEADERS <= STAGING_FOR_LONG);

/// Of a payload that is not longer than that, an end that is not longer than this is copied, not placed, bytes: a receive
/// into one place instead of two saves more.
const SMALL: u32 = 16 << 10;
const TAIL: u32 = 1 << 10;

/// Answers to the initiator that may wait to be sent before its requests are left unread, and before more data is cut
/// into PDUs for it, bytes of headers.
const MAX_BACKLOG: usize = 64 << 10;

/// The same while memory for what waits is short: a full queue of answers.
const FEW: usize = 16 << 10;

/// The same where requests must be read on all the same, for all answers but those to commands: what data was asked for
/// must come through, and task management too. It holds the longest ping and the headers of a segment cut small; who
/// makes more wait than this asks for it.
const MOST_CHATTER: usize = 512 << 10;

/// What a command adds to what waits, beside data: its R2Ts, and its status with sense data; bytes.
const MOST_OF_COMMAND: usize = MAX_BURSTS * (BHS_LEN + DIGEST_LEN)
    + (BHS_LEN + DIGEST_LEN)
    + (2 + MAX_SENSE).next_multiple_of(4)
    + DIGEST_LEN;

// A stretch of data is cut up whole as soon as less than MAX_BACKLOG waits, and one ping of the longest comes behind it.
const _: () = assert!(
    MAX_BACKLOG
        + SEGMENT as usize / SMALLEST_SEGMENT * (BHS_LEN + 2 * DIGEST_LEN)
        + SEGMENT as usize
        + BHS_LEN
        + 2 * DIGEST_LEN
        < MOST_CHATTER
);

/// The least MaxRecvDataSegmentLength (RFC 7143 section 13.12), bytes.
const SMALLEST_SEGMENT: usize = 512;

/// Where the payload of the PDU at hand goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dest {
    /// Into a slot; beyond `keep` bytes it is dropped. Without a task the slot is freed when the payload ends.
    Slot {
        /// Whose slot it is; `None` once that task is gone.
        task: Option<TaskId>,
        /// The slot.
        buf: BufId,
        /// Where in it.
        at: u32,
        /// How much of the payload is kept.
        keep: u32,
    },
    /// Into the session's own text buffer.
    Gather,
    /// Nowhere.
    Discard,
    /// Nowhere, and its end is not waited for: the PDU was rejected.
    Rejected,
}

/// The PDU whose payload is being received. It is filled in where it is: what has just been written in words cannot be
/// moved in larger pieces before all that was written earlier has left the processor's core.
#[derive(Debug, Clone)]
struct Open {
    dest: Dest,
    turn: Turn,
    len: u32,
    got: u32,
    crc: Crc,
}

impl Open {
    fn new(bhs: &Bhs) -> Self {
        let len = bhs.data_len() as u32;
        Self { dest: Dest::Discard, turn: Turn::Never, len, got: 0, crc: Crc::new() }
    }

    /// Whether the digest behind the padding is that of all that has come.
    fn ends_right(&mut self, (padding, digest): (&[u8], &[u8])) -> bool {
        self.crc.update(padding);
        digest == digest::to_wire(self.crc.finish())
    }
}

/// The framing state.
#[derive(Debug, Default)]
pub(super) struct Rx {
    open: Option<(Bhs, Open)>,
    /// Text and ping data of the PDU at hand, or all data of one that comes before its turn.
    pub(super) gathered: Vec<u8>,
    /// Additional headers of a PDU that comes before its turn.
    pub(super) gathered_ahs: Vec<u8>,
    /// How fast a payload comes whose task is gone.
    orphan_pace: Pace,
    /// Receives since the last long payload, or the beginning.
    short: u16,
}

impl Rx {
    /// Whether payload for that task is on its way into a slot of it.
    pub(super) fn places_for(&self, id: TaskId) -> bool {
        self.place_of(id).is_some()
    }

    /// That slot.
    pub(super) fn place_of(&self, id: TaskId) -> Option<BufId> {
        match &self.open {
            Some((_, Open { dest: Dest::Slot { task: Some(task), buf, .. }, .. })) if *task == id => {
                Some(*buf)
            }
            _ => None,
        }
    }

    /// The task is gone: if payload is on its way into one of its slots, that slot stays until the payload
    /// has ended. Returns that slot.
    pub(super) fn orphan(&mut self, id: TaskId) -> Option<BufId> {
        match &mut self.open {
            Some((_, Open { dest: Dest::Slot { task, buf, .. }, .. })) if *task == Some(id) => {
                *task = None;
                self.orphan_pace = Pace::default();
                Some(*buf)
            }
            _ => None,
        }
    }
}

impl Rx {
    /// Bytes that are still to come of a payload that goes into a slot.
    pub(super) fn payload_to_come(&self) -> u32 {
        match &self.open {
            Some((_, Open { dest: Dest::Slot { .. }, len, got, .. })) => len - got,
            _ => 0,
        }
    }

    /// The pace of a payload whose task is gone and whose slot must wait for its end, and how much of it has come.
    pub(super) fn orphaned(&mut self) -> Option<(&mut Pace, u64)> {
        match &self.open {
            Some((_, Open { dest: Dest::Slot { task: None, .. }, got, .. })) => {
                Some((&mut self.orphan_pace, u64::from(*got)))
            }
            _ => None,
        }
    }
}

/// What became of the bytes that [`Session::input`] was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Bytes that are done with; the rest must be given again, with more behind it.
    pub used: usize,
    /// Whether the session wants to read on. If not, answers wait to be sent first.
    pub read_on: bool,
}

impl Session {
    /// Where the next payload bytes belong, if a payload is under way that has a slot and is worth two places to receive
    /// into: slot, first byte, length.
    pub fn next_place(&self) -> Option<(BufId, u32, u32)> {
        let (_, open) = self.rx.open.as_ref()?;
        let Dest::Slot { buf, at, keep, .. } = open.dest else { return None };
        let is_small = open.len <= SMALL && keep.saturating_sub(open.got) <= TAIL;
        (open.got < keep && !is_small).then(|| (buf, at + open.got, keep - open.got))
    }

    /// How many bytes of staging the next receive may fill.
    pub fn staging(&self) -> usize {
        if self.rx.short < NONE_LONG { STAGING_FOR_LONG } else { STAGING }
    }

    /// `count` bytes have landed at [`Session::next_place`].
    pub fn placed<H: Host>(&mut self, h: &H, count: u32) {
        let data_digest = self.negotiated.data_digest;
        // A long payload on a slow line is no silence.
        self.last_heard = h.now();
        let Some((_, open)) = self.rx.open.as_mut() else { return };
        if let Dest::Slot { buf, at, .. } = open.dest
            && data_digest
        {
            let from = (at + open.got) as usize;
            open.crc.update(&h.bytes(buf)[from..from + count as usize]);
        }
        open.got += count;
    }

    /// Takes bytes in the order in which they came.
    pub fn input<H: Host>(&mut self, h: &mut H, bytes: &[u8]) -> Result<Input, Close> {
        let mut used = 0;
        let mut read_on = true;
        self.rx.short = self.rx.short.saturating_add(1);
        while self.closing.is_none() && read_on {
            let rest = &bytes[used..];
            let step = if self.rx.open.is_some() {
                self.go_on(h, rest)?
            } else if self.holds_off(h)? {
                read_on = false;
                None
            } else if self.release_next(h)? {
                Some(0)
            } else {
                self.header(h, rest)?
            };
            match step {
                Some(count) => used += count,
                None => break,
            }
        }
        self.insisted &= used == 0;
        Ok(Input { used, read_on: read_on && self.closing.is_none() })
    }

    /// Bytes of memory beside slots that requests use: those that came before their turn, pings and texts, and what
    /// commands have brought along that wait for others.
    #[inline]
    pub fn beside(&self) -> usize {
        self.held.size() + self.rx.gathered.capacity() + self.text.size() + self.sets.memory()
    }

    /// What comes next is to be read although answers wait to be sent: some requests at least.
    pub fn insist(&mut self) {
        self.insisted = true;
    }

    /// Whether the next request is left unread until answers have left. Not while data is awaited: it may be next.
    fn holds_off<H: Host>(&self, h: &H) -> Result<bool, Close> {
        if !is_backed_up(h) {
            return Ok(false);
        }
        if h.backlog() > self.most_backlog() {
            return Err(Close::Unread);
        }
        Ok(!self.insisted && !self.awaits_data())
    }

    /// What an initiator that keeps to its window can make wait at the very most: a window of commands that are answered
    /// and one of those that are not.
    fn most_backlog(&self) -> usize {
        MOST_CHATTER + 2 * self.command_window as usize * MOST_OF_COMMAND
    }

    /// A header, if it is all there; returns the bytes it took.
    fn header<H: Host>(&mut self, h: &mut H, bytes: &[u8]) -> Result<Option<usize>, Close> {
        let Some(raw) = bytes.first_chunk::<BHS_LEN>() else { return Ok(None) };
        let bhs = Bhs::from_bhs(raw);
        let protected = BHS_LEN + bhs.ahs_len();
        let whole = protected + if self.negotiated.header_digest { DIGEST_LEN } else { 0 };
        if bytes.len() < whole {
            return Ok(None);
        }
        h.seen(false, raw);
        if self.negotiated.header_digest {
            check_header_digest(&bytes[..protected], &bytes[protected..whole])?;
        }
        if bhs.data_len() > self.negotiated.max_recv_data_segment_length as usize {
            return Err(Close::Protocol("data segment longer than MaxRecvDataSegmentLength"));
        }
        self.last_heard = h.now();
        let mut open = Open::new(bhs);
        self.begin_pdu(h, bhs, &mut open, &bytes[BHS_LEN..protected])?;
        // Of a connection that closes nothing more is used than its headers.
        let rest = if self.closing.is_none() { &bytes[whole..] } else { &[] };
        let took = self.payload(h, bhs, &mut open, rest)?;
        Ok(Some(whole + took.unwrap_or(0)))
    }

    /// A header is there: what its payload is for.
    fn begin_pdu<H: Host>(&mut self, h: &mut H, bhs: &Bhs, open: &mut Open, ahs: &[u8]) -> Result<(), Close> {
        open.turn = self.turn(bhs);
        match open.turn {
            Turn::Now => self.begin(h, bhs, ahs, &mut open.dest)?,
            Turn::Later => open.dest = self.hold_back(bhs, ahs)?,
            Turn::Never => {}
        }
        if let Dest::Slot { .. } = open.dest {
            self.intake += u64::from(open.len);
            if open.len > SMALL {
                self.rx.short = 0;
            }
        }
        Ok(())
    }

    /// A PDU that was held back whole.
    pub(super) fn replay<H: Host>(&mut self, h: &mut H, pdu: &Whole) -> Result<(), Close> {
        let mut open = Open::new(&pdu.bhs);
        self.begin_pdu(h, &pdu.bhs, &mut open, &pdu.ahs)?;
        self.keep(h, open.dest, 0, &pdu.data, pdu.intact);
        self.finish_pdu(h, &pdu.bhs, &open, pdu.intact)
    }

    /// More has come of a PDU that was put down.
    fn go_on<H: Host>(&mut self, h: &mut H, bytes: &[u8]) -> Result<Option<usize>, Close> {
        match self.rx.open.take() {
            Some((bhs, mut open)) => self.payload(h, &bhs, &mut open, bytes),
            None => Ok(None),
        }
    }

    /// Payload, its padding and digest; returns the bytes it took, or `None` when more must come. What usually is there in
    /// one piece is not put down in between.
    fn payload<H: Host>(
        &mut self,
        h: &mut H,
        bhs: &Bhs,
        open: &mut Open,
        bytes: &[u8],
    ) -> Result<Option<usize>, Close> {
        let data = &bytes[..bytes.len().min((open.len - open.got) as usize)];
        let first = open.got;
        open.got += data.len() as u32;
        if self.negotiated.data_digest {
            open.crc.update(data);
        }
        let pad = padding(open.len as usize);
        let digest = if self.negotiated.data_digest && open.len > 0 { DIGEST_LEN } else { 0 };
        let tail = bytes[data.len()..].get(..pad + digest).filter(|_| open.got == open.len);
        let intact = tail.map(|tail| digest == 0 || open.ends_right(tail.split_at(pad)));
        self.keep(h, open.dest, first, data, intact == Some(true));
        let Some(intact) = intact else {
            self.rx.open = Some((*bhs, open.clone()));
            return Ok((!data.is_empty()).then_some(data.len()));
        };
        self.finish_pdu(h, bhs, open, intact)?;
        Ok(Some(data.len() + pad + digest))
    }

    /// Moves payload from staging to its place, where `first` bytes of it lie already. `intact`: its end is there, and all of
    /// it is right.
    #[inline]
    fn keep<H: Host>(&mut self, h: &mut H, dest: Dest, first: u32, bytes: &[u8], intact: bool) {
        match dest {
            Dest::Slot { task: Some(id), at: 0, .. } if intact && first == 0 && self.commit(h, id, bytes) => {
            }
            Dest::Slot { buf, at, keep, .. } => {
                let kept = bytes.len().min(keep.saturating_sub(first) as usize);
                if kept > 0 {
                    h.copy_in(buf, at + first, &bytes[..kept]);
                }
            }
            Dest::Gather => self.rx.gathered.extend_from_slice(bytes),
            Dest::Discard | Dest::Rejected => {}
        }
    }

    /// A PDU is complete.
    fn finish_pdu<H: Host>(&mut self, h: &mut H, bhs: &Bhs, open: &Open, intact: bool) -> Result<(), Close> {
        if let Dest::Slot { task: None, buf, .. } = open.dest {
            h.free(buf);
        }
        let kept = match open.dest {
            Dest::Slot { task: Some(_), keep, .. } => keep.min(open.len),
            _ => 0,
        };
        match open.turn {
            _ if open.dest == Dest::Rejected => Ok(()),
            Turn::Now => self.complete(h, bhs, kept, intact),
            Turn::Later => {
                self.keep_for_later(h, bhs, intact);
                Ok(())
            }
            Turn::Never => Ok(()),
        }
    }

    /// Slots that framing alone owns: to be freed when the connection is gone.
    pub(super) fn take_orphan(&mut self) -> Option<BufId> {
        match self.rx.open.take()?.1.dest {
            Dest::Slot { task: None, buf, .. } => Some(buf),
            _ => None,
        }
    }
}

/// Whether so much waits to be sent that no more is to be added.
#[inline]
pub(super) fn is_backed_up<H: Host>(h: &H) -> bool {
    let backlog = h.backlog();
    backlog > FEW && (backlog > MAX_BACKLOG || h.is_crowded())
}

fn check_header_digest(header: &[u8], wire: &[u8]) -> Result<(), Close> {
    if wire == digest::to_wire(digest::crc32c(header)) { Ok(()) } else { Err(Close::HeaderDigest) }
}

//! The flight recorder: the headers of the last PDUs of a reactor, for the moment when somebody asks what went before.
//!
//! Headers only: neither data nor what a login says about secrets is in them, but CDBs are. The memory is there from the
//! start, 64 bytes for each PDU: one is written into a line of the cache of its own. What comes before a login is complete
//! has a ring of its own, a small one: whoever knocks at all doors all day does not push out what others did. It is handed
//! out page by page, so that no turn of the reactor is long.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crossbeam_channel::Sender;

use crate::ids::{ConnId, CoreId};
use crate::ring::Ends;
use crate::wire::bhs::BHS_LEN;

/// Connections that are gone and whose addresses are still known: more than have lately said something.
const MOST_GONE: usize = 1024;

/// PDUs before the login is complete, at most and for so many others.
const STRANGERS: usize = 256;
const FOR_OTHERS: usize = 4;

/// PDUs that are handed out at once: 128 KiB are copied in a few microseconds.
pub(super) const PAGE: usize = 2048;

/// How long after one recording another may follow by itself, nanoseconds: whoever breaks the protocol all the time must
/// not make us write all the time.
const PAUSE_NS: u64 = 60_000_000_000;

/// How a flight recorder is to be.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// PDUs that it keeps; none: it is off.
    pub pdus: usize,
    /// Who keeps recordings that are made by themselves.
    pub sink: Option<Sender<Recording>>,
}

/// One PDU.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// When it was looked at, by the clock of the reactor, nanoseconds.
    pub time: u64,
    /// Its connection.
    pub conn: ConnId,
    /// It went to the initiator.
    pub outward: bool,
    /// Its header.
    pub bhs: [u8; BHS_LEN],
}

/// The bit of [`Entry::time`] that says it went to the initiator. (The clock reaches it in 292 years.)
const OUTWARD: u64 = 1 << 63;

/// One PDU, as it is kept.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Entry {
    time: u64,
    conn: ConnId,
    bhs: [u8; BHS_LEN],
}

impl Entry {
    fn passed(&self) -> Passed {
        let Self { time, conn, bhs } = *self;
        Passed { time: time & !OUTWARD, conn, outward: time & OUTWARD != 0, bhs }
    }
}

/// What a reactor has recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Which reactor.
    pub core: CoreId,
    /// What its clock says now.
    pub now: u64,
    /// The last PDUs, oldest first.
    pub passed: Vec<Passed>,
    /// Connections: ours, theirs.
    pub ends: Vec<(ConnId, SocketAddr, SocketAddr)>,
    /// Why it was made, if nobody has asked for it.
    pub reason: String,
}

impl Recording {
    /// Puts together what was handed out in pieces.
    pub(super) fn settle(&mut self) {
        self.passed.sort_by_key(|passed| passed.time);
    }
}

/// The last PDUs of some kind.
#[derive(Debug)]
struct Ring {
    places: Box<[Entry]>,
    next: usize,
    /// How often all of it has been used.
    laps: u64,
}

impl Ring {
    fn new(len: usize) -> Self {
        let conn = ConnId { index: 0, generation: 0 };
        let blank = Entry { time: 0, conn, bhs: [0; BHS_LEN] };
        Self { places: vec![blank; len].into(), next: 0, laps: 0 }
    }

    #[inline]
    fn note(&mut self, time: u64, conn: ConnId, outward: bool, bhs: &[u8; BHS_LEN]) {
        if let Some(place) = self.places.get_mut(self.next) {
            *place = Entry { time: time | if outward { OUTWARD } else { 0 }, conn, bhs: *bhs };
            self.next += 1;
            if self.next == self.places.len() {
                (self.next, self.laps) = (0, self.laps + 1);
            }
        }
    }

    /// How many PDUs there have been.
    fn count(&self) -> u64 {
        self.laps * self.places.len() as u64 + self.next as u64
    }

    /// Those from that number on that are still there, oldest first.
    fn since(&self, number: u64) -> impl Iterator<Item = Passed> {
        let oldest = self.count().saturating_sub(self.places.len() as u64);
        let first = number.max(oldest);
        let place = move |n: u64| (n % self.places.len() as u64) as usize;
        (first..self.count()).map(move |n| self.places[place(n)].passed())
    }
}

/// Where handing out goes on: from which PDU on, and which will be the last that there were when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    from: u64,
    to: u64,
}

/// See the module page.
#[derive(Debug)]
pub(super) struct Recorder {
    ring: Ring,
    /// Of connections whose login was not complete.
    strangers: Ring,
    /// Connections by their places: whoever is there has one.
    faces: Vec<Option<(ConnId, Ends)>>,
    gone: VecDeque<(ConnId, Ends)>,
    /// Who keeps recordings that are made by themselves, and when the next may be.
    sink: Option<Sender<Recording>>,
    due: u64,
}

impl Recorder {
    pub(super) fn new(Setup { pdus, sink }: Setup) -> Self {
        let (ring, strangers) = (Ring::new(pdus), Ring::new((pdus / FOR_OTHERS).min(STRANGERS)));
        Self { ring, strangers, faces: Vec::new(), gone: VecDeque::new(), sink, due: 0 }
    }

    /// A connection is there.
    pub(super) fn meet(&mut self, conn: ConnId, ends: Ends) {
        if self.is_off() {
            return;
        }
        let place = conn.index as usize;
        if self.faces.len() <= place {
            self.faces.resize_with(place + 1, || None);
        }
        if let Some(before) = self.faces[place].replace((conn, ends)) {
            self.gone.truncate(MOST_GONE - 1);
            self.gone.push_front(before);
        }
    }

    /// A PDU has come, or goes.
    #[inline]
    pub(super) fn note(&mut self, time: u64, conn: ConnId, outward: bool, bhs: &[u8; BHS_LEN]) {
        self.ring.note(time, conn, outward, bhs);
    }

    /// As before, of a connection whose login is not complete.
    pub(super) fn note_stranger(&mut self, time: u64, conn: ConnId, outward: bool, bhs: &[u8; BHS_LEN]) {
        self.strangers.note(time, conn, outward, bhs);
    }

    fn is_off(&self) -> bool {
        self.ring.places.is_empty()
    }

    /// The first page of what there is, and what is behind it.
    pub(super) fn begin(&self, core: CoreId, now: u64) -> (Recording, Option<Rest>) {
        let to = self.ring.count();
        let from = to.saturating_sub(self.ring.places.len() as u64);
        let ends = self.faces.iter().flatten().chain(&self.gone);
        let ends = ends.map(|(conn, ends)| (*conn, ends.local, ends.peer)).collect();
        let (page, rest) = self.page(Rest { from, to });
        // First, for nobody becomes a stranger again: of one turn, a login's request comes before its final answer.
        let passed = self.strangers.since(0).chain(page).collect();
        (Recording { core, now, passed, ends, reason: String::new() }, rest)
    }

    /// One page of the rest, as far as it is still there.
    pub(super) fn page(&self, rest: Rest) -> (Vec<Passed>, Option<Rest>) {
        let oldest = self.ring.count().saturating_sub(self.ring.places.len() as u64);
        let from = rest.from.max(oldest).min(rest.to);
        let end = rest.to.min(from + PAGE as u64);
        let page = self.ring.since(from).take((end - from) as usize).collect();
        (page, (end < rest.to).then_some(Rest { from: end, ..rest }))
    }

    /// All that there is, at once.
    fn copy(&self, core: CoreId, now: u64, reason: String) -> Recording {
        let (mut recording, mut rest) = self.begin(core, now);
        while let Some(more) = rest {
            let (page, behind) = self.page(more);
            recording.passed.extend(page);
            rest = behind;
        }
        recording.settle();
        Recording { reason, ..recording }
    }

    /// Something has gone wrong: it is kept what went before, if that was not just done.
    #[cold]
    pub(super) fn keep(&mut self, core: CoreId, now: u64, reason: impl FnOnce() -> String) {
        if self.is_off() || now < self.due || self.sink.as_ref().is_none_or(Sender::is_full) {
            return;
        }
        self.due = now + PAUSE_NS;
        let recording = self.copy(core, now, reason());
        if let Some(sink) = &self.sink {
            // Whoever keeps them is busy with another one: that will do.
            let _ = sink.try_send(recording);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: CoreId = CoreId(1);

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    #[test]
    fn the_last_ones_are_there_in_order() {
        let mut recorder = Recorder::new(Setup { pdus: 3, sink: None });
        for n in 0..5 {
            recorder.note(n, conn(7), n == 2, &[n as u8; BHS_LEN]);
            let times: Vec<u64> =
                recorder.copy(CORE, 9, String::new()).passed.iter().map(|p| p.time).collect();
            assert_eq!(times, (n.saturating_sub(2)..=n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_pdu_takes_a_line_of_the_cache_and_keeps_its_way() {
        let mut recorder = Recorder::new(Setup { pdus: 2, sink: None });
        recorder.note(5, conn(7), false, &[1; BHS_LEN]);
        recorder.note(6, conn(8), true, &[2; BHS_LEN]);
        let passed = recorder.copy(CORE, 9, String::new()).passed;
        let told: Vec<_> = passed.iter().map(|p| (p.time, p.conn, p.outward, p.bhs[0])).collect();
        assert_eq!(told, [(5, conn(7), false, 1), (6, conn(8), true, 2)]);
        assert_eq!(size_of::<Entry>(), 64);
    }

    fn ends(port: u16) -> Ends {
        Ends { local: ([192, 0, 2, 1], 3260).into(), peer: ([198, 51, 100, 1], port).into() }
    }

    #[test]
    fn strangers_push_out_nothing_and_nobody() {
        let mut recorder = Recorder::new(Setup { pdus: 8, sink: None });
        recorder.meet(conn(7), ends(7));
        recorder.note_stranger(1, conn(7), false, &[1; BHS_LEN]);
        recorder.note(2, conn(7), false, &[2; BHS_LEN]);
        for n in 0..3000 {
            let stranger = ConnId { index: 8, generation: n };
            recorder.meet(stranger, ends(n as u16));
            recorder.note_stranger(10 + u64::from(n), stranger, false, &[3; BHS_LEN]);
        }
        let Recording { passed, ends, .. } = recorder.copy(CORE, 9999, String::new());
        let first: Vec<u8> = passed.iter().map(|p| p.bhs[0]).collect();
        assert_eq!(first, [2, 3, 3], "the last of each kind, oldest first");
        assert!(ends.iter().any(|(of, _, peer)| *of == conn(7) && peer.port() == 7));
        // Those that are gone are known for a while.
        assert_eq!(ends.len(), 2 + MOST_GONE);
        assert!(passed.iter().all(|p| ends.iter().any(|(of, ..)| *of == p.conn)));
    }

    #[test]
    fn a_login_is_recorded_before_its_answer_of_the_same_turn() {
        let mut recorder = Recorder::new(Setup { pdus: 8, sink: None });
        recorder.note_stranger(5, conn(7), false, &[3; BHS_LEN]);
        recorder.note(5, conn(7), true, &[0x23; BHS_LEN]);
        recorder.note(5, conn(7), false, &[1; BHS_LEN]);
        let passed = recorder.copy(CORE, 9, String::new()).passed;
        assert_eq!(passed.iter().map(|p| p.bhs[0]).collect::<Vec<_>>(), [3, 0x23, 1]);
    }

    #[test]
    fn it_is_handed_out_page_by_page_while_it_goes_on() {
        let mut recorder = Recorder::new(Setup { pdus: 3 * PAGE, sink: None });
        let note = |recorder: &mut Recorder, n: u64| recorder.note(n, conn(1), false, &[0; BHS_LEN]);
        let len = 3 * PAGE as u64;
        (0..len).for_each(|n| note(&mut recorder, n));
        let (first, mut rest) = recorder.begin(CORE, len);
        let mut times: Vec<u64> = first.passed.iter().map(|p| p.time).collect();
        assert_eq!(times.len(), PAGE);
        // What is overwritten meanwhile is left out, and what is new is not added.
        (len..len + PAGE as u64 + 5).for_each(|n| note(&mut recorder, n));
        while let Some(more) = rest {
            let (page, behind) = recorder.page(more);
            assert!(page.len() <= PAGE);
            times.extend(page.iter().map(|p| p.time));
            rest = behind;
        }
        let right: Vec<u64> = (0..PAGE as u64).chain(PAGE as u64 + 5..len).collect();
        assert_eq!(times, right);
    }

    #[test]
    fn one_that_is_off_records_nothing() {
        let mut recorder = Recorder::new(Setup::default());
        recorder.note(1, conn(1), true, &[1; BHS_LEN]);
        assert!(recorder.copy(CORE, 2, String::new()).passed.is_empty());
    }

    #[test]
    fn by_itself_it_keeps_one_a_minute() {
        let (sink, kept) = crossbeam_channel::bounded(8);
        let mut recorder = Recorder::new(Setup { pdus: 4, sink: Some(sink) });
        recorder.note(1, conn(1), true, &[1; BHS_LEN]);
        for now in [10, 20, 9 + PAUSE_NS, 10 + PAUSE_NS] {
            recorder.keep(CORE, now, || format!("at {now}"));
        }
        let reasons: Vec<String> = kept.try_iter().map(|r| r.reason).collect();
        assert_eq!(reasons, ["at 10".to_owned(), format!("at {}", 10 + PAUSE_NS)]);
    }
}

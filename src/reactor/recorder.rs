//! The flight recorder: the headers of the last PDUs of a reactor, for the moment when somebody asks what went before.
//!
//! Headers only: neither data nor what a login says about secrets is in them, but CDBs are. The memory is there from the
//! start, 64 bytes for each PDU: one is written into a line of the cache of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crossbeam_channel::Sender;

use crate::ids::{ConnId, CoreId};
use crate::ring::Ends;
use crate::wire::bhs::BHS_LEN;

/// Connections whose addresses are known: more than have lately said something.
const MOST_FACES: usize = 1024;

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

/// See the module page.
#[derive(Debug)]
pub(super) struct Recorder {
    ring: Box<[Entry]>,
    next: usize,
    /// All of the ring has been used.
    full: bool,
    faces: VecDeque<(ConnId, Ends)>,
    /// Who keeps recordings that are made by themselves, and when the next may be.
    sink: Option<Sender<Recording>>,
    due: u64,
}

impl Recorder {
    pub(super) fn new(Setup { pdus, sink }: Setup) -> Self {
        let conn = ConnId { index: 0, generation: 0 };
        let blank = Entry { time: 0, conn, bhs: [0; BHS_LEN] };
        let ring = vec![blank; pdus].into();
        Self { ring, next: 0, full: false, faces: VecDeque::new(), sink, due: 0 }
    }

    /// A connection is there.
    pub(super) fn meet(&mut self, conn: ConnId, ends: Ends) {
        if self.ring.is_empty() {
            return;
        }
        if self.faces.len() == MOST_FACES {
            self.faces.pop_front();
        }
        self.faces.push_back((conn, ends));
    }

    /// A PDU has come, or goes.
    #[inline]
    pub(super) fn note(&mut self, time: u64, conn: ConnId, outward: bool, bhs: &[u8; BHS_LEN]) {
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = Entry { time: time | if outward { OUTWARD } else { 0 }, conn, bhs: *bhs };
            self.next += 1;
            if self.next == self.ring.len() {
                (self.next, self.full) = (0, true);
            }
        }
    }

    /// What there is.
    pub(super) fn copy(&self, core: CoreId, now: u64, reason: String) -> Recording {
        let (newer, older) = self.ring.split_at(self.next);
        let older = if self.full { older } else { &[] };
        let passed = older.iter().chain(newer).map(Entry::passed).collect();
        let ends = self.faces.iter().map(|(conn, ends)| (*conn, ends.local, ends.peer)).collect();
        Recording { core, now, passed, ends, reason }
    }

    /// Something has gone wrong: it is kept what went before, if that was not just done.
    #[cold]
    pub(super) fn keep(&mut self, core: CoreId, now: u64, reason: impl FnOnce() -> String) {
        if self.ring.is_empty() || now < self.due || self.sink.as_ref().is_none_or(Sender::is_full) {
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

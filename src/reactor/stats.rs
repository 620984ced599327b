//! Counters of one reactor: plain numbers of its own, copied out when asked for.

use std::fmt;

use crate::ids::CoreId;
use crate::mem::SlotStats;
use crate::ring;

/// What a reactor has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken.
    pub accepted: u64,
    /// Logins that came through.
    pub logins: u64,
    /// Logins that were refused: strangers, wrong secrets, no room.
    pub refused: u64,
    /// Connections closed.
    pub closed: u64,
    /// Payload bytes that were copied: from staging to their slots or to ramdisks, and between these.
    pub copied_in: u64,
    /// Of these, the ramdisks'.
    pub copied_ram: u64,
    /// Payload bytes received for the medium.
    pub written: u64,
    /// Payload bytes read from the medium.
    pub read: u64,
    /// Disk requests started.
    pub disk_ops: u64,
    /// Disk requests that a fence held up.
    pub fenced: u64,
    /// Requests for slots that found none.
    pub starved: u64,
    /// Sends.
    pub sends: u64,
    /// Of these, such as were to go without copies; and how many were copied by the kernel all the same.
    pub uncopied: u64,
    /// See above.
    pub copied_after_all: u64,
    /// Receives.
    pub recvs: u64,
    /// Connections that were closed because nothing could be sent on them for too long.
    pub stalled: u64,
    /// Connections that were closed because memory beside slots had run out and they had most of it.
    pub greedy: u64,
    /// Commands that were aborted because their data did not come while others waited for slots.
    pub lapsed: u64,
}

/// A reactor's counters at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Whose.
    pub core: CoreId,
    /// Connections now.
    pub connections: usize,
    /// Commands now.
    pub commands: u32,
    /// Disk requests now.
    pub disk_in_flight: usize,
    /// Connections whose commands wait for slots now.
    pub hungry: usize,
    /// The time, nanoseconds of a clock that never goes back.
    pub now: u64,
    /// How long its thread has had a processor, nanoseconds.
    pub busy: u64,
    /// Its own counters.
    pub counters: Counters,
    /// The ring's.
    pub ring: ring::Stats,
    /// The slots.
    pub slots: Vec<SlotStats>,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, connections, disk_in_flight, counters: c, ring, slots, .. } = self;
        write!(
            f,
            "{core}: {connections} connections ({} accepted, {} logins, {} refused)",
            c.accepted, c.logins, c.refused
        )?;
        write!(f, ", {} disk requests ({disk_in_flight} now, {} fenced)", c.disk_ops, c.fenced)?;
        write!(f, ", bytes read {} written {} copied {}", c.read, c.written, c.copied_in)?;
        write!(f, " ({} to and from ramdisks)", c.copied_ram)?;
        write!(f, ", {} receives, {} sends, {} enters", c.recvs, c.sends, ring.enters)?;
        if c.uncopied > 0 {
            write!(f, ", {} sends without copies ({} copied after all)", c.uncopied, c.copied_after_all)?;
        }
        write!(f, ", {} turns, {} waits", ring.turns, ring.waits)?;
        write!(f, ", polls {} ({} paid)", ring.polls, ring.polls_paid)?;
        write!(f, ", {} times no slot; slots free:", c.starved)?;
        slots.iter().try_for_each(|s| write!(f, " {}K {}/{}", s.size >> 10, s.free, s.total))
    }
}

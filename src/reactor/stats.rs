//! Counters of one reactor: plain numbers of its own, copied out when asked for.

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
    /// Connections closed.
    pub closed: u64,
    /// Payload bytes that were copied from staging to their slots.
    pub copied_in: u64,
    /// Payload bytes received for the medium.
    pub written: u64,
    /// Payload bytes copied between slots and memory that is a medium.
    pub copied_ram: u64,
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
    /// Receives.
    pub recvs: u64,
    /// Connections that were closed because nothing could be sent on them for too long.
    pub stalled: u64,
}

/// A reactor's counters at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Whose.
    pub core: CoreId,
    /// Connections now.
    pub connections: usize,
    /// Disk requests now.
    pub disk_in_flight: usize,
    /// Its own counters.
    pub counters: Counters,
    /// The ring's.
    pub ring: ring::Stats,
    /// The slots.
    pub slots: Vec<SlotStats>,
}

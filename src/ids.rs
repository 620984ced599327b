//! Opaque names for things that live in tables. None of them can be used as a number by accident.
//!
//! An id that another party may keep while its table slot is reused ([`ConnId`], [`TaskId`])
//! carries a generation: a stale one is noticed instead of naming a stranger.

use std::fmt;

/// A reactor, numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CoreId(pub u16);

/// A slot of the reactor's own buffer pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BufId(pub u32);

/// A logical unit, which is a backstore: one number on every reactor, whatever targets export it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LuId(pub u32);

/// A connection of one reactor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnId {
    /// Index in the reactor's table.
    pub index: u32,
    /// Tells this connection from earlier ones in the same place.
    pub generation: u32,
}

/// A task (one SCSI command) of one session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TaskId {
    /// Index in the session's table.
    pub index: u32,
    /// Tells this task from earlier ones in the same place.
    pub generation: u32,
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reactor {}", self.0)
    }
}

//! How much a logical unit or an initiator may do in a second.

use std::time::Duration;

/// How much of what was not used may be made up for at once, when nothing else is said.
const BURST: Duration = Duration::from_millis(100);

/// Limits of reading and of writing; each counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Of commands that read the medium.
    pub read: Rate,
    /// Of commands that write it.
    pub write: Rate,
    /// The limits of so much time may be used at once by those who have done nothing for as long.
    pub burst: Duration,
}

/// What there may be of something in a second; 0: as much as there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rate {
    /// Commands.
    pub commands: u64,
    /// Bytes of their data.
    pub bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { read: Rate::default(), write: Rate::default(), burst: BURST }
    }
}

impl Quota {
    /// Whether it limits anything.
    pub fn is_some(&self) -> bool {
        self.read != Rate::default() || self.write != Rate::default()
    }
}

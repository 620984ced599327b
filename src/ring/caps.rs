//! What the kernel's io_uring can do: asked for at start, never guessed from a version number.
//!
//! Owns: [`Caps`] and the words for a kernel that cannot serve. Promises: a mask only takes away.

use std::fmt;
use std::str::FromStr;

/// Abilities beyond the least that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// Submission goes on after an entry that fails (5.18).
    pub submit_all: bool,
    /// Completions are not announced by an interrupt, with a flag instead (5.19).
    pub coop_taskrun: bool,
    /// Completions are worked off when the reactor asks (6.1).
    pub defer_taskrun: bool,
    /// A wait takes a deadline (5.11).
    pub ext_arg: bool,
    /// The ring's own descriptor can be registered (5.18).
    pub ring_fd: bool,
    /// A receive tells whether more is waiting, and can be told to wait before it tries (5.19).
    pub socket_hints: bool,
    /// A send goes on by itself after a part (5.19).
    pub whole_sends: bool,
    /// Block devices take discards (6.12).
    pub discard: bool,
    /// A sleeping reactor does not count as waiting for a disk (6.15).
    pub no_iowait: bool,
}

/// Kernels to stand in for: the developer option that masks [`Caps`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KernelLevel {
    /// Amazon Linux 2.
    V5_10,
    /// The last before registered rings and cooperative task work.
    V5_15,
    /// Debian 12, Amazon Linux 2023.
    V6_1,
    /// Ubuntu 24.04.
    V6_8,
    /// Newer Amazon Linux 2023.
    V6_12,
}

impl FromStr for KernelLevel {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "5.10" => Ok(Self::V5_10),
            "5.15" => Ok(Self::V5_15),
            "6.1" => Ok(Self::V6_1),
            "6.8" => Ok(Self::V6_8),
            "6.12" => Ok(Self::V6_12),
            other => Err(format!("no such kernel level: {other} (there are 5.10, 5.15, 6.1, 6.8 and 6.12)")),
        }
    }
}

impl Caps {
    /// Takes away what a kernel of that level does not have.
    #[must_use]
    pub fn masked(self, level: KernelLevel) -> Self {
        use KernelLevel::{V5_15, V6_1, V6_12};
        Self {
            submit_all: self.submit_all && level >= V6_1,
            coop_taskrun: self.coop_taskrun && level >= V6_1,
            defer_taskrun: self.defer_taskrun && level >= V6_1,
            ext_arg: self.ext_arg && level >= V5_15,
            ring_fd: self.ring_fd && level >= V6_1,
            socket_hints: self.socket_hints && level >= V6_1,
            whole_sends: self.whole_sends && level >= V6_1,
            discard: self.discard && level >= V6_12,
            no_iowait: false,
        }
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.defer_taskrun, "deferred task work"),
            (!self.defer_taskrun && self.coop_taskrun, "cooperative task work"),
            (self.ext_arg, "timed waits"),
            (self.ring_fd, "registered ring"),
            (self.socket_hints, "socket hints"),
            (self.discard, "block discard"),
        ];
        let names: Vec<_> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "basic operations only" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

//! A world without a kernel: the same promises as the ring's, kept by a program that can be unkind on purpose.
//!
//! Owns: virtual time, sockets that are byte streams with windows, disks with volatile caches, and the faults.
//! Promises: a run is decided by its seed, which a failing test prints; every operation still completes exactly
//! once. Injects: latency, reordering, short reads and writes of disks and sockets, EIO, ENOSPC, resets,
//! cancellations that come too late; disks that hang; a power cut that loses what was not flushed. Does not inject: lost
//! completions, wrong data, disks that forget what was flushed.
//! Notices: a place that somebody else touches while an operation holds it; a send without copies holds its places until
//! the peer has read them, or the connection is gone.
//!
//! ```text
//!   Sim (reactor 0) ─┐                       the test: loop { every reactor takes a turn;
//!   Sim (reactor 1) ─┼─ World: clock, fds            nobody got anything? world.step() }
//!   test's own ends ─┘
//! ```

mod disk;
mod driver;
mod rng;
mod socket;
#[cfg(test)]
mod tests;
mod world;

pub use disk::DiskConfig;
pub use driver::Sim;
pub use world::{Faults, Notices, World};

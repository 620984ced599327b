//! io_uring, and the only place that names it.
//!
//! Owns: what is in flight. Promises: the kernel sees only memory that the in-flight table owns; an operation
//! comes back exactly once, when the kernel has let go of it; in flight never exceeds what the completion queue
//! holds; one system call per turn of a ring. Refuses to know: protocols, SCSI, configuration files.
//!
//! ```text
//!   push(op) ─► table owns it ─► entry built from the owner ─┐        turn: publish, enter, reap
//!                                                            ▼
//!   done ◄── table gives it back ◄── last completion ◄── kernel
//! ```

mod bell;
mod caps;
mod driver;
mod entry;
mod nvme;
mod op;
mod poll;
#[allow(clippy::module_inception)] // the ring proper, with the unsafe calls, beside what it is made of
mod ring;
mod setup;
mod side;
pub mod sim;
mod socket;
mod table;
#[cfg(test)]
mod tests;
pub mod ublk;

pub use bell::Bell;
pub use caps::{Caps, KernelLevel, Unusable};
pub use driver::{Driver, Ends, Stats, Wait};
pub use nvme::Namespace;
pub use op::{Done, File, Key, Kind, Op, RecvOp, SendOp, Way};
pub use ring::{Ring, monotonic_ns};
pub use setup::RingConfig;

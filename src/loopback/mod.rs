//! Disks of this very host, without the network: `/dev/ublkbN`.
//!
//! Owns: such a device from its number to its end, and the thread that serves it. Promises: a local disk is a session like
//! any other, so whatever holds for sessions holds for it (reservations, access states, limits, fences, attentions); a request
//! ends with what the target has answered, or with an I/O error when nobody has answered for [`PATIENCE`]; a session that ends
//! is followed by another, which does what the one before has not, unless the disk has been cut off: then what is asked fails at once. Refuses to know: reactors, stores, configurations; where a
//! connection comes from it is told.
//!
//! ```text
//!   /dev/ublkbN ─► ublk_drv ─► request ─► command ─► session ─► socket pair ─► a reactor ─► store
//!                     ▲                                │ places, not bytes
//!                     └───────── answer ◄── judged ◄───┘
//! ```
//!
//! One thread for each device has one ring, on which it waits for requests of the device as for bytes of its session. What is
//! written goes from the place where the driver has put it to the socket; what is read is copied once, from what was received
//! to that place.

mod clerk;
mod device;
mod disk;
mod link;
mod request;
mod server;
mod tags;
mod tie;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

pub use device::{Claim, Device, Reserved};
pub use tie::Tie;

/// Makes a connection to this daemon's own targets.
pub type Connect = Arc<dyn Fn() -> io::Result<UnixStream> + Send + Sync>;

/// Requests that a device has at a time: what deep queues of disks take, and a quarter of a session's window.
pub const DEPTH: u16 = 64;

/// The most that a request moves, bytes: the largest slot of a reactor, so that it is one step there.
pub const MAX_IO: u32 = 256 << 10;

/// How long a request may wait for a target that does not answer, or whose store is not ready: as long as Linux' own
/// initiator waits for one that is lost (node.session.timeo.replacement_timeout).
pub const PATIENCE: Duration = Duration::from_secs(120);

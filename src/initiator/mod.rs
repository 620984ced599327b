//! The other side: an iSCSI initiator as a sans-IO core, and a blocking driver for it. `ringtgt bench` drives the same
//! core by a ring.
//!
//! ```text
//!   LoginClient ──► LoggedIn ──► Core ── submit() ─► outgoing() ──► socket
//!    text only                    ▲                                   │
//!                     poll(): Event ◄────── space(), received() ◄─────┘
//! ```
//!
//! [`Core`] keeps hundreds of commands outstanding without an allocation for each: buffers go in with the command
//! and come back with its end. It is also a judge: a target that numbers, orders or sizes its PDUs against the
//! standard is an [`Error`], not something to be tolerated. [`RawConn`] sends anything at all, for those who want
//! to see what a target does with it. Nothing here retries, reconnects or knows several paths.

pub mod cdb;
mod core;
mod driver;
mod error;
mod frame;
mod login;
mod raw;
mod task;

pub use self::core::{Core, Event, Splice};
pub use self::driver::Initiator;
pub use self::error::{Error, LoginError};
pub use self::frame::{Digests, Incoming, Pdu};
pub use self::login::{LoggedIn, LoginClient, LoginOptions, Progress};
pub use self::raw::RawConn;
pub use self::task::{Command, Direction, Done, Stretch, Tag};

//! ringtgt: an iSCSI target for Linux on io_uring.
#![warn(missing_docs)]

pub mod admin;
pub mod cli;
pub mod ids;
pub mod initiator;
pub mod mem;
pub mod reactor;
pub mod ring;
pub mod scsi;
pub mod session;
pub mod store;
pub mod sys;
pub mod target;
pub mod wire;

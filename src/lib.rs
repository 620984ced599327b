//! ringtgt: an iSCSI target for Linux on io_uring.
#![warn(missing_docs)]

pub mod ids;
pub mod target;

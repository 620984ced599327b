//! Bytes and their meaning: RFC 7143's PDUs, codes, text keys, names, serial numbers and digests.
//!
//! Everything here is a pure function of its input. Nothing knows about connections, time or
//! negotiation; what a value *means for a session* is decided in [`crate::session`].

pub mod ahs;
pub mod bhs;
pub mod codes;
pub mod digest;
pub mod flags;
pub mod lun;
pub mod name;
pub mod show;
pub mod sn;
pub mod text;

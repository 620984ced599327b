//! What can go wrong between an initiator and its target, and whose fault it is.

use std::io;

use crate::session::chap::ChapError;
use crate::session::keys::negotiate::KeyError;
use crate::wire::codes::{LoginStatus, Opcode};
use crate::wire::text::TextError;

/// Why a login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The target said no.
    #[error("the target refused the login: {0}")]
    Refused(LoginStatus),
    /// The target is elsewhere.
    #[error("the target sends whoever logs in to {address}: {status}")]
    Moved {
        /// For a while, or for good.
        status: LoginStatus,
        /// Its TargetAddress.
        address: String,
    },
    /// The target did not prove itself, or asks for a proof that cannot be given.
    #[error("authentication: {0}")]
    Chap(#[from] ChapError),
    /// The target demands an authentication method that was not offered.
    #[error("the target chose AuthMethod={0}")]
    AuthMethod(String),
    /// A key was answered with something impossible.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The text is malformed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The target broke a rule of the login phase.
    #[error("the target broke a rule of the login phase: {0}")]
    Protocol(&'static str),
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network failed, or time was up.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The target closed the connection.
    #[error("the target closed the connection")]
    Closed,
    /// There was no login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A digest of the target was wrong.
    #[error("wrong {0} digest from the target")]
    Digest(&'static str),
    /// A PDU is longer than this side has declared to take.
    #[error("the target sent a data segment of {0} bytes, more than was declared")]
    TooLong(usize),
    /// The target broke a rule.
    #[error("the target broke a rule in {opcode}: {rule}")]
    Protocol {
        /// The PDU that broke it.
        opcode: Opcode,
        /// The rule, in words.
        rule: &'static str,
    },
    /// The target rejected a PDU where an answer was due.
    #[error("the target rejected a PDU: {0}")]
    Rejected(crate::wire::codes::RejectReason),
    /// There is no room for another command.
    #[error("all commands are outstanding")]
    Full,
}

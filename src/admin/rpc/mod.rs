//! The control socket: how programs on this machine ask the daemon, and change what it serves.
//!
//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>) over a Unix stream socket, one object in a line. What can be
//! asked is told by [`mod@reference`], of which the manual page ringtgt-rpc(7) is made.

mod client;
mod methods;
pub mod reference;
mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::client::{CallError, Client, default_socket};
pub(super) use self::server::serve;

/// What these methods, parameters and results are as a whole.
pub const API: u32 = 1;

/// Bytes of the longest request: the longest configuration as a JSON string.
const MOST_REQUEST: u64 = 130 << 20;

/// The configuration is wrong.
pub const INVALID_CONFIG: i64 = 1;
/// It cannot be had.
pub const FAILED: i64 = 2;
/// The plan is another one.
pub const OTHER_PLAN: i64 = 3;
/// What is served is another text.
pub const OTHER_TEXT: i64 = 5;
/// There are too many connections.
pub const BUSY: i64 = 4;
/// This is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// This is no request.
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Its parameters are wrong.
pub const INVALID_PARAMS: i64 = -32602;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// One of the codes of this module.
    pub code: i64,
    /// For people.
    pub message: String,
    /// More of it, for programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Fault {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Value::Null }
    }
}

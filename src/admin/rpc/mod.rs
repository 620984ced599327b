//! The control socket: how programs on this machine ask the daemon, and change what it serves.
//!
//! A Unix stream socket, mode 0600, where only root and the user that the daemon runs as are listened to (SO_PEERCRED).
//! A request is one JSON object (JSON-RPC 2.0, <https://www.jsonrpc.org/specification>) in one line; its answer is one
//! line, too. Batches are not taken. Answers come in the order of the requests of a connection.
//!
//! ```text
//!   {"jsonrpc":"2.0","id":1,"method":"sessions.kick","params":{"initiator":"iqn.2026-11.org.example:i1"}}
//!   {"jsonrpc":"2.0","id":1,"result":{"sessions":1}}
//! ```
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `version` | | `name`, `version`, `pid`, and `api`: 1, as long as what is here stays as it is |
//! | `config.get` | | `toml`: what is served, as text; `file`: the file that is served, or null; `dir`: where relative paths in it start, or null if that is where the file is |
//! | `config.plan` | `toml`, `name`?, `dir`? | the [plan](crate::admin::live::Plan): `changes`, `sessions`, `next_start` |
//! | `config.apply` | `toml`, `name`?, `dir`?, `plan`?, `base`? | the same, done, and `warnings` of what is to be known of it, or has gone wrong when there was no way back. With `plan` only if it still is that one, with `base` only if that still is the text that is served |
//! | `config.reload` | | the same for the file that is served, as SIGHUP does it |
//! | `sessions.list` | | `sessions`: who is logged in, what was agreed on, how many `commands` are open, may be (`window`), and were at most (`deepest`; `queues`: by LUN), and how many bytes a packet to the initiator carries (`segment`); `refused`: the names of the last 32 initiators that were refused, the latest first |
//! | `sessions.kick` | `initiator`?, `target`?, `portal`?, `tsih`?: at least one | `sessions`: how many were dropped at once |
//! | `sessions.drain` | the same, and `deadline`: seconds, 10 by default | `sessions`: how many are asked to log out, and dropped then |
//! | | `target` or `portal`, `to`, `deadline`? | the same, but for those who have come in at `to`; until the deadline whoever logs in is answered Target moved temporarily (RFC 7143 section 11.13.5), with `to` as TargetAddress. Deadline 0 ends that, and asks nobody; who has been asked before goes all the same. `was_sent_on`: whether these logins were sent elsewhere until now |
//! | `sessions.renegotiate` | the same | `sessions`: how many are asked to negotiate anew what may be in a session under way: MaxRecvDataSegmentLength |
//! | `alua.get` | | `groups`: of each target port group `backstore`, `group`, and the `state` that it is in now, whoever has put it there |
//! | `alua.set` | `backstore`, `group`, `state` | nothing, when it holds everywhere |
//! | `counters` | | `reactors` and `backstores` |
//! | `recorder.dump` | | `pcap`: the headers of the last PDUs of all reactors as a file for Wireshark, in base64; `pdus`: how many |
//! | `stats.get` | `buckets`?: whether distributions are told whole | `stats`: 1, `reactors`, `backstores`, `sessions`: see below |
//!
//! The text of a configuration is TOML, as in a file, comments and all; its relative paths start at `dir`, by
//! default where the file is that is served. `name` is what messages call it. What is changed so lasts until the next change, reload or start: whoever
//! wants it to stay writes the file.
//!
//! # What is going on
//!
//! `stats.get` tells what has been counted since the start of what it is about; who asks twice has rates. `stats` is another
//! number when something of it means something else; things are added without that. A backstore is there when it has had a
//! command, and a session while it is logged in. Both have `read` and `write`, with `ops`, `bytes` and `failed` of the
//! commands that were answered, and `other` with `ops` and `failed` of those that move no data of the medium.
//!
//! `times` has the lengths of time of these commands. A command is `queued` while it waits for its task set, slots, or a fence;
//! at `data` while it waits for data of the initiator; at the `disk`; and `sending` from its answer until that has left.
//! `total` is all of it, from its header to the end of its answer: `sum_ns` of it by the time between two answers is
//! the mean depth of the queue. A phase counts those commands that it has taken a time of which the clock can tell, that
//! is read once a turn. A distribution has `count`, `sum_ns`, and quantiles (`p50_ns`, `p99_ns`, `p999_ns`: null without any),
//! right to a tenth; with `buckets` also the pairs [number, count] of buckets that are not empty, which begin where
//! `bucket_begins_ns` says. Buckets are told of the 128 backstores and of the 128 sessions that have done most in the last
//! ten to twenty seconds, and of `all`: what has been done with all backstores together.
//!
//! When a reactor does not answer in time there is no answer but an error: figures without its share would be less than
//! they were before.
//!
//! | error | code | `data` |
//! |---|---|---|
//! | of JSON-RPC | −32700 to −32600 | |
//! | the configuration is wrong | 1 | `report`: all that is wrong, with `line`, `column`, `what`, `reason`, `remedy`, `severity` of each in `problems` |
//! | it is right, but cannot be had; nothing has changed | 2 | |
//! | the plan is another one now | 3 | the plan |
//! | too many connections | 4 | |
//! | what is served is another text than `base` now | 5 | the plan |

mod client;
mod methods;
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

//! Every text key of RFC 7143 in one table, and the result of negotiating them.
//!
//! A row says all there is to know of a key: when it may be sent and by whom, how two wishes become
//! one result, and where that result goes. The [`negotiate`] functions read the table for either side.
//! Nothing here knows PDUs or stages of a particular login.

pub mod negotiate;
mod table;

use std::ops::RangeInclusive;

use bitflags::bitflags;

pub use self::table::{TABLE, lookup};
use super::SEGMENT;
use crate::target::TpgParams;

/// MaxRecvDataSegmentLength before anything is declared, and during all of login (section 13.12), bytes.
pub const DEFAULT_SEGMENT_LENGTH: u32 = 8192;

/// The largest length that a key can express (2²⁴ − 1), bytes.
pub const LENGTH_MAX: u32 = (1 << 24) - 1;

/// iSCSIProtocolLevel (section 13.24) of RFC 7144: its task management functions may be asked for.
pub const LEVEL_RFC7144: u8 = 2;

/// What a session is for (section 13.21).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SessionType {
    /// SCSI commands to one target.
    #[default]
    Normal,
    /// SendTargets only.
    Discovery,
}

/// How the responses around a task management function are ordered (section 13.23).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TaskReporting {
    /// As RFC 3720 had it.
    #[default]
    Rfc3720,
    /// Response fences around the function.
    ResponseFence,
    /// Fast multi-task abort.
    FastAbort,
}

/// What two sides agreed on. Lengths in bytes, times in seconds. `Default` is what the standard
/// says when nobody says anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Whether headers carry CRC32C.
    pub header_digest: bool,
    /// Whether data segments carry CRC32C.
    pub data_digest: bool,
    /// The largest data segment that this side takes.
    pub max_recv_data_segment_length: u32,
    /// The largest data segment that the other side takes.
    pub max_xmit_data_segment_length: u32,
    /// The most unsolicited data of one command, immediate data included.
    pub first_burst_length: u32,
    /// The most data of one R2T or one Data-In sequence.
    pub max_burst_length: u32,
    /// Whether Data-Out needs an R2T even at the start.
    pub initial_r2t: bool,
    /// Whether commands may carry data.
    pub immediate_data: bool,
    /// R2Ts that one command may have outstanding.
    pub max_outstanding_r2t: u16,
    /// Connections of the session.
    pub max_connections: u16,
    /// Seconds to wait before a reconnect after a failure.
    pub time2wait: u16,
    /// Seconds after that for which tasks are kept.
    pub time2retain: u16,
    /// 0: a failure ends the session.
    pub error_recovery_level: u8,
    /// Whether data PDUs of a sequence come in order of offset.
    pub data_pdu_in_order: bool,
    /// Whether data sequences come in order of offset.
    pub data_sequence_in_order: bool,
    /// What the session is for.
    pub session_type: SessionType,
    /// The initiator's name, normalised.
    pub initiator_name: String,
    /// What people call the initiator.
    pub initiator_alias: Option<String>,
    /// The target's name, normalised; none in a discovery session.
    pub target_name: Option<String>,
    /// Order of responses around task management.
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel: 1 is RFC 7143, 2 is RFC 7144 besides.
    pub protocol_level: u8,
}

impl Negotiated {
    /// What a connection has that has just joined a session: of its own what holds for connections, the rest from it.
    #[must_use]
    pub fn joining(&self, session: Self) -> Self {
        Self {
            header_digest: self.header_digest,
            data_digest: self.data_digest,
            max_recv_data_segment_length: self.max_recv_data_segment_length,
            max_xmit_data_segment_length: self.max_xmit_data_segment_length,
            ..session
        }
    }
}

impl Default for Negotiated {
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_recv_data_segment_length: DEFAULT_SEGMENT_LENGTH,
            max_xmit_data_segment_length: DEFAULT_SEGMENT_LENGTH,
            first_burst_length: 65536,
            max_burst_length: 262_144,
            initial_r2t: true,
            immediate_data: true,
            max_outstanding_r2t: 1,
            max_connections: 1,
            time2wait: 2,
            time2retain: 20,
            error_recovery_level: 0,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            session_type: SessionType::Normal,
            initiator_name: String::new(),
            initiator_alias: None,
            target_name: None,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
        }
    }
}

/// What one side would like: the initiator offers it, the target answers by it.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Acceptable HeaderDigest values, best first.
    pub header_digest: &'static [&'static str],
    /// Acceptable DataDigest values, best first.
    pub data_digest: &'static [&'static str],
    /// MaxRecvDataSegmentLength to declare.
    pub max_recv_data_segment_length: u32,
    /// FirstBurstLength at most.
    pub first_burst_length: u32,
    /// MaxBurstLength at most.
    pub max_burst_length: u32,
    /// InitialR2T wanted.
    pub initial_r2t: bool,
    /// ImmediateData allowed.
    pub immediate_data: bool,
    /// MaxOutstandingR2T at most.
    pub max_outstanding_r2t: u16,
    /// MaxConnections at most.
    pub max_connections: u16,
    /// DefaultTime2Wait at least.
    pub time2wait: u16,
    /// DefaultTime2Retain at most.
    pub time2retain: u16,
    /// ErrorRecoveryLevel at most.
    pub error_recovery_level: u8,
    /// DataPDUInOrder wanted.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder wanted.
    pub data_sequence_in_order: bool,
    /// Acceptable TaskReporting values, best first.
    pub task_reporting: &'static [&'static str],
    /// iSCSIProtocolLevel at most.
    pub protocol_level: u8,
}

/// Digest values for a side that does not care.
pub const DIGEST_ANY: &[&str] = &["CRC32C", "None"];
/// Digest values for a side that insists.
pub const DIGEST_DEMANDED: &[&str] = &["CRC32C"];
/// Digest values for a side that refuses.
pub const DIGEST_NONE: &[&str] = &["None"];

impl Default for Wishes {
    fn default() -> Self {
        Self::from(&TpgParams::default())
    }
}

impl From<&TpgParams> for Wishes {
    fn from(params: &TpgParams) -> Self {
        let digest = |allowed| match (allowed, params.require_digests) {
            (_, true) => DIGEST_DEMANDED,
            (true, false) => DIGEST_ANY,
            (false, false) => DIGEST_NONE,
        };
        Self {
            header_digest: digest(params.header_digest),
            data_digest: digest(params.data_digest),
            max_recv_data_segment_length: params.max_recv_data_segment_length,
            // What comes unasked has one place: a slot.
            first_burst_length: params.first_burst_length.min(params.max_burst_length).min(SEGMENT),
            max_burst_length: params.max_burst_length,
            initial_r2t: params.initial_r2t,
            immediate_data: params.immediate_data,
            max_outstanding_r2t: params.max_outstanding_r2t,
            max_connections: 1,
            time2wait: params.time2wait,
            time2retain: params.time2retain,
            error_recovery_level: 0,
            data_pdu_in_order: params.data_pdu_in_order,
            data_sequence_in_order: params.data_sequence_in_order,
            // One connection delivers in order, which is all that a response fence asks.
            task_reporting: &["FastAbort", "ResponseFence", "RFC3720"],
            protocol_level: LEVEL_RFC7144,
        }
    }
}

bitflags! {
    /// When a key may be sent.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct When: u8 {
        /// In the security stage of login.
        const SECURITY = 1;
        /// In the operational stage of login.
        const OPERATIONAL = 2;
        /// In the full feature phase.
        const FULL_FEATURE = 4;
        /// In both stages of login.
        const LOGIN = 3;
        /// At any time.
        const ALWAYS = 7;
    }
}

/// Who may send a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// Only the initiator.
    Initiator,
    /// Only the target.
    Target,
    /// Both.
    Both,
}

/// What a value holds for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The connection.
    Connection,
    /// The session.
    Session,
    /// Neither: it asks for something.
    Request,
}

/// A number's range, where its wish is found, and where its result goes.
#[derive(Debug)]
pub struct Number {
    /// Legal values.
    pub range: RangeInclusive<u32>,
    /// This side's wish.
    pub want: fn(&Wishes) -> u32,
    /// Keeps a result (which is in the range).
    pub put: fn(&mut Negotiated, u32),
    /// What the result of another key leaves for this one.
    pub most: fn(&Negotiated) -> u32,
}

/// Where a yes-or-no's wish is found and where its result goes.
#[derive(Debug)]
pub struct Flag {
    /// This side's wish.
    pub want: fn(&Wishes) -> bool,
    /// Keeps the result.
    pub put: fn(&mut Negotiated, bool),
}

/// Where a list's wish is found and where the chosen value goes.
#[derive(Debug)]
pub struct Choice {
    /// What this side accepts, best first.
    pub want: fn(&Wishes) -> &'static [&'static str],
    /// Keeps the chosen value, one of `want`.
    pub put: fn(&mut Negotiated, &str),
}

/// How two sides' values become a result (section 6.2).
#[derive(Debug)]
pub enum Rule {
    /// The smaller number.
    Min(Number),
    /// The larger number.
    Max(Number),
    /// Yes if both say so.
    And(Flag),
    /// Yes if one says so.
    Or(Flag),
    /// The first of the offered values that the other side accepts.
    List(Choice),
    /// Each side states its own number; there is no answer.
    Declare(Number),
    /// A statement that only the stage it belongs to can judge; there is no answer by rule.
    Statement,
    /// Obsolete: always answered like this (section 13.25).
    Obsolete(&'static str),
}

/// One key.
#[derive(Debug)]
pub struct Row {
    /// Its name, as it travels.
    pub name: &'static str,
    /// When it may be sent.
    pub when: When,
    /// Who may send it.
    pub sender: Sender,
    /// What it holds for.
    pub scope: Scope,
    /// How it is decided.
    pub rule: Rule,
    /// The value without negotiation.
    pub default: Option<&'static str>,
    /// Whether a discovery session answers it with `Irrelevant`.
    pub irrelevant_in_discovery: bool,
    /// Section of RFC 7143.
    pub section: &'static str,
}

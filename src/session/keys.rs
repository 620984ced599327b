//! Every text key of RFC 7143 in one table, and the result of negotiating them.
//!
//! A row says all there is to know of a key: when it may be sent and by whom, how two wishes become
//! one result, and where that result goes. The [`negotiate`] functions read the table for either side.
//! Nothing here knows PDUs or stages of a particular login.

pub mod negotiate;

use std::ops::RangeInclusive;

use bitflags::bitflags;

use crate::target::TpgParams;

/// MaxRecvDataSegmentLength before anything is declared, and during all of login (section 13.12), bytes.
pub const DEFAULT_SEGMENT_LENGTH: u32 = 8192;

/// The largest length that a key can express (2²⁴ − 1), bytes.
pub const LENGTH_MAX: u32 = (1 << 24) - 1;

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
    /// iSCSIProtocolLevel: 1 is RFC 7143.
    pub protocol_level: u8,
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
            first_burst_length: params.first_burst_length.min(params.max_burst_length),
            max_burst_length: params.max_burst_length,
            initial_r2t: params.initial_r2t,
            immediate_data: params.immediate_data,
            max_outstanding_r2t: params.max_outstanding_r2t,
            max_connections: 1,
            time2wait: params.time2wait,
            time2retain: params.time2retain,
            error_recovery_level: 0,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            // One connection delivers in order, which is all that a response fence asks.
            task_reporting: &["ResponseFence", "RFC3720"],
            protocol_level: 1,
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

/// The row of `name` and its place in [`TABLE`].
pub fn lookup(name: &str) -> Option<(usize, &'static Row)> {
    TABLE.iter().enumerate().find(|(_, row)| row.name == name)
}

/// Shorthands that keep a row on a line or two.
const fn number(
    range: RangeInclusive<u32>,
    want: fn(&Wishes) -> u32,
    put: fn(&mut Negotiated, u32),
) -> Number {
    Number { range, want, put }
}

const fn flag(want: fn(&Wishes) -> bool, put: fn(&mut Negotiated, bool)) -> Flag {
    Flag { want, put }
}

const fn negotiated(name: &'static str, rule: Rule, default: &'static str, section: &'static str) -> Row {
    Row {
        name,
        when: When::OPERATIONAL,
        sender: Sender::Both,
        scope: Scope::Session,
        rule,
        default: Some(default),
        irrelevant_in_discovery: true,
        section,
    }
}

const fn relevant_in_discovery(row: Row) -> Row {
    Row { irrelevant_in_discovery: false, ..row }
}

const fn statement(
    name: &'static str,
    when: When,
    sender: Sender,
    scope: Scope,
    section: &'static str,
) -> Row {
    let rule = Rule::Statement;
    Row { name, when, sender, scope, rule, default: None, irrelevant_in_discovery: false, section }
}

const fn digest(name: &'static str, choice: Choice) -> Row {
    let row = negotiated(name, List(choice), "None", "13.1");
    Row { scope: Scope::Connection, irrelevant_in_discovery: false, ..row }
}

const fn obsolete(name: &'static str, answer: &'static str) -> Row {
    let rule = Rule::Obsolete(answer);
    Row { default: None, ..relevant_in_discovery(negotiated(name, rule, "", "13.25")) }
}

const fn security(name: &'static str, section: &'static str) -> Row {
    statement(name, When::SECURITY, Sender::Both, Scope::Connection, section)
}

fn digests(value: &str) -> bool {
    value == "CRC32C"
}

fn reporting(value: &str) -> TaskReporting {
    match value {
        "ResponseFence" => TaskReporting::ResponseFence,
        "FastAbort" => TaskReporting::FastAbort,
        _ => TaskReporting::Rfc3720,
    }
}

use Rule::{And, Declare, List, Max, Min, Or};

/// All keys. A key that another's answer depends on stands before it: within one text the rows are
/// answered in this order.
pub static TABLE: [Row; 35] = [
    statement("SessionType", When::LOGIN, Sender::Initiator, Scope::Session, "13.21"),
    statement("InitiatorName", When::LOGIN, Sender::Initiator, Scope::Session, "13.5"),
    statement("InitiatorAlias", When::ALWAYS, Sender::Initiator, Scope::Session, "13.7"),
    statement("TargetName", When::ALWAYS, Sender::Both, Scope::Session, "13.4"),
    statement("TargetAlias", When::ALWAYS, Sender::Target, Scope::Session, "13.6"),
    statement("TargetAddress", When::ALWAYS, Sender::Target, Scope::Session, "13.8"),
    statement("TargetPortalGroupTag", When::LOGIN, Sender::Target, Scope::Session, "13.9"),
    statement("SendTargets", When::FULL_FEATURE, Sender::Initiator, Scope::Request, "13.3"),
    statement("X#NodeArchitecture", When::LOGIN, Sender::Both, Scope::Session, "13.26"),
    security("AuthMethod", "12"),
    security("CHAP_A", "12.1.3"),
    security("CHAP_N", "12.1.3"),
    security("CHAP_I", "12.1.3"),
    security("CHAP_C", "12.1.3"),
    security("CHAP_R", "12.1.3"),
    digest("HeaderDigest", Choice { want: |w| w.header_digest, put: |n, v| n.header_digest = digests(v) }),
    digest("DataDigest", Choice { want: |w| w.data_digest, put: |n, v| n.data_digest = digests(v) }),
    Row {
        scope: Scope::Connection,
        when: When::OPERATIONAL.union(When::FULL_FEATURE),
        ..relevant_in_discovery(negotiated(
            "MaxRecvDataSegmentLength",
            Declare(number(
                512..=LENGTH_MAX,
                |w| w.max_recv_data_segment_length,
                |n, v| n.max_xmit_data_segment_length = v,
            )),
            "8192",
            "13.12",
        ))
    },
    negotiated(
        "MaxConnections",
        Min(number(1..=65535, |w| w.max_connections.into(), |n, v| n.max_connections = v as u16)),
        "1",
        "13.2",
    ),
    negotiated("InitialR2T", Or(flag(|w| w.initial_r2t, |n, v| n.initial_r2t = v)), "Yes", "13.10"),
    negotiated("ImmediateData", And(flag(|w| w.immediate_data, |n, v| n.immediate_data = v)), "Yes", "13.11"),
    negotiated(
        "MaxBurstLength",
        Min(number(512..=LENGTH_MAX, |w| w.max_burst_length, |n, v| n.max_burst_length = v)),
        "262144",
        "13.13",
    ),
    negotiated(
        "FirstBurstLength",
        Min(number(512..=LENGTH_MAX, |w| w.first_burst_length, |n, v| n.first_burst_length = v)),
        "65536",
        "13.14",
    ),
    relevant_in_discovery(negotiated(
        "DefaultTime2Wait",
        Max(number(0..=3600, |w| w.time2wait.into(), |n, v| n.time2wait = v as u16)),
        "2",
        "13.15",
    )),
    relevant_in_discovery(negotiated(
        "DefaultTime2Retain",
        Min(number(0..=3600, |w| w.time2retain.into(), |n, v| n.time2retain = v as u16)),
        "20",
        "13.16",
    )),
    negotiated(
        "MaxOutstandingR2T",
        Min(number(1..=65535, |w| w.max_outstanding_r2t.into(), |n, v| n.max_outstanding_r2t = v as u16)),
        "1",
        "13.17",
    ),
    negotiated(
        "DataPDUInOrder",
        Or(flag(|w| w.data_pdu_in_order, |n, v| n.data_pdu_in_order = v)),
        "Yes",
        "13.18",
    ),
    negotiated(
        "DataSequenceInOrder",
        Or(flag(|w| w.data_sequence_in_order, |n, v| n.data_sequence_in_order = v)),
        "Yes",
        "13.19",
    ),
    relevant_in_discovery(negotiated(
        "ErrorRecoveryLevel",
        Min(number(0..=2, |w| w.error_recovery_level.into(), |n, v| n.error_recovery_level = v as u8)),
        "0",
        "13.20",
    )),
    negotiated(
        "TaskReporting",
        List(Choice { want: |w| w.task_reporting, put: |n, v| n.task_reporting = reporting(v) }),
        "RFC3720",
        "13.23",
    ),
    negotiated(
        "iSCSIProtocolLevel",
        Min(number(0..=31, |w| w.protocol_level.into(), |n, v| n.protocol_level = v as u8)),
        "1",
        "13.24",
    ),
    // The standard prefers `Reject` for the two markers and allows `No`. Older initiators that
    // offer them take `No` as the agreement it is, and may take `Reject` as a failed login.
    obsolete("IFMarker", "No"),
    obsolete("OFMarker", "No"),
    obsolete("IFMarkInt", "Reject"),
    obsolete("OFMarkInt", "Reject"),
];

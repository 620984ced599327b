//! The rows, and the shorthands that keep one on a line or two.

use std::ops::RangeInclusive;

use super::Rule::{And, Declare, List, Max, Min, Or};
use super::{
    Choice, Flag, LENGTH_MAX, Negotiated, Number, Row, Rule, Scope, Sender, TaskReporting, When, Wishes,
};

/// The row of `name` and its place in [`TABLE`].
pub fn lookup(name: &str) -> Option<(usize, &'static Row)> {
    TABLE.iter().enumerate().find(|(_, row)| row.name == name)
}

const fn number(
    range: RangeInclusive<u32>,
    want: fn(&Wishes) -> u32,
    put: fn(&mut Negotiated, u32),
) -> Number {
    Number { range, want, put, most: |_| u32::MAX }
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
        // The first burst is part of a whole one.
        Min(Number {
            most: |n| n.max_burst_length,
            ..number(512..=LENGTH_MAX, |w| w.first_burst_length, |n, v| n.first_burst_length = v)
        }),
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

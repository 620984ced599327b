//! What connected initiators have agreed on, and what they ask for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::Finding;

/// Bytes of a read that one PDU should carry, at least.
const SEGMENT: u64 = 64 << 10;

pub(super) fn findings(sessions: &[Value], reactors: usize) -> Vec<Finding> {
    let mut of = BTreeMap::<&str, Vec<&Value>>::new();
    for session in sessions.iter().filter(|session| session["target"].is_string()) {
        of.entry(session["initiator"].as_str().unwrap_or("?")).or_default().push(session);
    }
    of.into_iter().flat_map(|(initiator, sessions)| of_initiator(initiator, &sessions, reactors)).collect()
}

/// What is to be said of one initiator: of the first of its sessions, which rarely differ, and of how many there are.
fn of_initiator(initiator: &str, sessions: &[&Value], reactors: usize) -> Vec<Finding> {
    let Some(first) = sessions.first() else { return vec![] };
    let agreed = &first["negotiated"];
    let hints = [
        unsolicited(initiator, agreed),
        segment(initiator, agreed),
        first_burst(initiator, agreed),
        digests(initiator, agreed),
        spread(initiator, sessions, reactors),
    ];
    let hints: Vec<Finding> = hints.into_iter().flatten().collect();
    if hints.is_empty() { vec![Finding::good(initiator, count(sessions.len()))] } else { hints }
}

fn count(sessions: usize) -> String {
    format!("{sessions} session{}", if sessions == 1 { "" } else { "s" })
}

fn unsolicited(initiator: &str, agreed: &Value) -> Option<Finding> {
    let asks_first = agreed["immediate_data"] == false;
    asks_first.then(|| {
        Finding::hint(
            initiator,
            "ImmediateData=No",
            "a write waits for R2T before its data comes: one round trip more, and at 4 KiB about twice the work",
            "node.session.iscsi.ImmediateData = Yes at the initiator; immediate_data of the portal group",
        )
    })
}

fn segment(initiator: &str, agreed: &Value) -> Option<Finding> {
    let takes = agreed["max_xmit_data_segment_length"].as_u64()?;
    (takes < SEGMENT).then(|| {
        Finding::hint(
            initiator,
            format!("MaxRecvDataSegmentLength={takes}"),
            format!("a read of 128 KiB comes in {} PDUs", (128_u64 << 10).div_ceil(takes.max(1))),
            "node.conn[0].iscsi.MaxRecvDataSegmentLength = 262144 at the initiator",
        )
    })
}

fn first_burst(initiator: &str, agreed: &Value) -> Option<Finding> {
    let bytes = agreed["first_burst_length"].as_u64()?;
    (bytes < SEGMENT && agreed["immediate_data"] == true).then(|| {
        Finding::hint(
            initiator,
            format!("FirstBurstLength={bytes}"),
            "longer writes wait for R2T in the middle",
            "node.session.iscsi.FirstBurstLength = 262144 at the initiator",
        )
    })
}

fn digests(initiator: &str, agreed: &Value) -> Option<Finding> {
    (agreed["data_digest"] == true).then(|| {
        Finding::hint(
            initiator,
            "DataDigest=CRC32C",
            "every byte is read once more on both sides; TCP and Ethernet have checksums of their own, and they are weaker",
            "keep it where cards or lines have been seen to spoil data; else node.conn[0].iscsi.DataDigest = None",
        )
    })
}

/// A session is on one reactor and in one TCP connection.
fn spread(initiator: &str, sessions: &[&Value], reactors: usize) -> Option<Finding> {
    (sessions.len() == 1 && reactors > 1).then(|| {
        Finding::hint(
            initiator,
            format!("1 session, on reactor {}", sessions[0]["reactor"]),
            format!("all that it asks for is done by one of {reactors} reactors, in one TCP connection"),
            "if that is not enough: node.session.nr_sessions = 2 or more, with multipath",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Grade;
    use super::*;

    fn session(initiator: &str, change: &[(&str, Value)]) -> Value {
        let mut session = json!({ "initiator": initiator, "target": "iqn.t", "reactor": 1, "negotiated": {
            "immediate_data": true, "first_burst_length": 262_144, "max_xmit_data_segment_length": 262_144,
            "data_digest": false } });
        change.iter().for_each(|(key, value)| session["negotiated"][key] = value.clone());
        session
    }

    #[test]
    fn who_asks_well_is_told_so() {
        let two = [session("iqn.a", &[]), session("iqn.a", &[])];
        assert_eq!(findings(&two, 2), [Finding::good("iqn.a", "2 sessions")]);
        assert_eq!(findings(&two[..1], 1), [Finding::good("iqn.a", "1 session")]);
    }

    #[test]
    fn who_does_not_is_told_what_to_set() {
        let changes = [
            ("immediate_data", json!(false)),
            ("first_burst_length", json!(8192)),
            ("max_xmit_data_segment_length", json!(8192)),
            ("data_digest", json!(true)),
        ];
        let found = findings(&[session("iqn.a", &changes)], 2);
        let is: Vec<&str> = found.iter().map(|f| f.is.as_str()).collect();
        let all = [
            "ImmediateData=No",
            "MaxRecvDataSegmentLength=8192",
            "DataDigest=CRC32C",
            "1 session, on reactor 1",
        ];
        assert_eq!(is, all);
        assert!(found.iter().all(|f| f.grade == Grade::Hint && !f.remedy.is_empty()));
        assert_eq!(found[1].why, "a read of 128 KiB comes in 16 PDUs");
        let short = findings(&[session("iqn.a", &changes[1..2])], 1);
        assert_eq!(short[0].is, "FirstBurstLength=8192");
    }

    #[test]
    fn discovery_is_no_session_with_a_disk() {
        assert_eq!(findings(&[json!({ "initiator": "iqn.a", "target": null })], 2), []);
    }
}

//! What connected initiators have agreed on, and what they ask for.
//!
//! How deep their queues may be they do not say: it is seen by how deep these were at most. A queue that was as deep as a
//! limit of Linux or of the session has met it, or was by chance as deep as that.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cards::{PACKETS, packets};
use super::finding::{Finding, count};

/// Bytes of a read that one PDU should carry, at least.
const SEGMENT: u64 = 64 << 10;

/// The commands that Linux sends to a LUN at a time (node.session.queue_depth): by default, and as it is often told to.
const QUEUE_DEPTHS: [u64; 3] = [32, 64, 128];

/// Of its node.session.cmds_max, which is a power of two, Linux keeps that many for what is no command.
const MANAGEMENT: u64 = 15;

/// Bytes of payload in a packet that is no long one.
const LONG: u64 = 8000;

/// The part of the time that a reactor works of which one can say that it has hardly any left.
const BUSY: f64 = 0.8;

/// `load`: which part of the time each reactor works.
pub(super) fn findings(sessions: &[Value], load: &[f64]) -> Vec<Finding> {
    let mut of = BTreeMap::<&str, Vec<&Value>>::new();
    for session in sessions.iter().filter(|session| session["target"].is_string()) {
        of.entry(session["initiator"].as_str().unwrap_or("?")).or_default().push(session);
    }
    of.into_iter().flat_map(|(initiator, sessions)| of_initiator(initiator, &sessions, load)).collect()
}

/// What is to be said of one initiator, of all its sessions.
fn of_initiator(initiator: &str, sessions: &[&Value], load: &[f64]) -> Vec<Finding> {
    let hints = [
        unsolicited(initiator, sessions),
        segment(initiator, sessions),
        first_burst(initiator, sessions),
        digests(initiator, sessions),
        spread(initiator, sessions, load),
        short_packets(initiator, sessions),
        full_window(initiator, sessions),
        full_queue(initiator, sessions),
    ];
    let hints: Vec<Finding> = hints.into_iter().flatten().collect();
    if hints.is_empty() { vec![Finding::good(initiator, summary(sessions))] } else { hints }
}

fn summary(sessions: &[&Value]) -> String {
    let all = count(sessions.len(), "session");
    match sessions.iter().max_by_key(|session| deepest(session)) {
        Some(most) if deepest(most) > 0 => {
            format!(
                "{all}, at most {} at a time of {}",
                count(deepest(most) as usize, "command"),
                most["window"]
            )
        }
        _ => all,
    }
}

/// What those sessions have agreed on of which this is true, and in how many it is, if not in all; nothing, if in none.
fn agreed<'a>(sessions: &[&'a Value], is_so: impl Fn(&Value) -> bool) -> Option<(Vec<&'a Value>, String)> {
    let all = sessions.iter().map(|session| &session["negotiated"]);
    let those: Vec<&Value> = all.filter(|agreed| is_so(agreed)).collect();
    let part = match those.len() {
        0 => return None,
        some if some == sessions.len() => String::new(),
        some => format!(" in {some} of {}", count(sessions.len(), "session")),
    };
    Some((those, part))
}

/// The same where a number is below a least one: the smallest of these.
fn below(
    sessions: &[&Value],
    key: &str,
    least: u64,
    is_so: impl Fn(&Value) -> bool,
) -> Option<(u64, String)> {
    let is_less = |agreed: &Value| agreed[key].as_u64().is_some_and(|value| value < least) && is_so(agreed);
    let (those, part) = agreed(sessions, is_less)?;
    Some((those.iter().filter_map(|agreed| agreed[key].as_u64()).min()?, part))
}

fn deepest(session: &Value) -> u64 {
    session["deepest"].as_u64().unwrap_or(0)
}

/// What a limit of that many commands at a time comes to: each has its turn once in the time that an answer takes.
fn ceiling(commands: u64) -> String {
    format!(
        "no more than {} IOPS where an answer takes 1 ms, and {} at 0.1 ms",
        commands * 1000,
        commands * 10_000
    )
}

/// The session's window was used up, or what Linux has for a session.
fn full_window(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let session = sessions.iter().max_by_key(|session| deepest(session))?;
    let (deepest, window) = (deepest(session), session["window"].as_u64()?);
    let of_linux = (deepest + MANAGEMENT).is_power_of_two() && deepest > MANAGEMENT;
    if deepest == 0 || (deepest < window && !of_linux) {
        return None;
    }
    let is = match deepest < window {
        true => format!("{deepest} commands at a time: all of cmds_max = {}", deepest + MANAGEMENT),
        false => format!("{deepest} commands at a time: the whole command window of {window}"),
    };
    Some(Finding::hint(
        initiator,
        is,
        "a session that has used it up waits for an answer before it sends the next command",
        ceiling(deepest),
        deeper(deepest, window),
    ))
}

/// How a session gets room for more commands at a time than that; where it has all that there is, another has more.
fn deeper(commands: u64, window: u64) -> String {
    let cmds_max = wider(commands);
    let at_initiator = format!("node.session.cmds_max = {cmds_max} at the initiator");
    if cmds_max > window {
        format!("{at_initiator}, and command_window = {cmds_max} of the portal group")
    } else if cmds_max > commands + MANAGEMENT {
        at_initiator
    } else {
        "one session has no more: node.session.nr_sessions = 2 or more at the initiator, with multipath"
            .into()
    }
}

/// The next power of two that leaves room, as far as there is any.
fn wider(commands: u64) -> u64 {
    (commands + MANAGEMENT + 1).next_power_of_two().min(2048)
}

/// A LUN had as many commands as Linux sends to one, and none had more.
fn full_queue(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let queues = || sessions.iter().flat_map(|session| session["queues"].as_array().into_iter().flatten());
    let depth = queues().map(deepest).max().filter(|depth| QUEUE_DEPTHS.contains(depth))?;
    let full = queues().filter(|queue| deepest(queue) == depth);
    let luns: Vec<String> = full.map(|queue| queue["lun"].to_string()).collect();
    let told = if depth == QUEUE_DEPTHS[0] {
        "as it is by default".into()
    } else {
        format!("where that is {depth}")
    };
    Some(Finding::hint(
        initiator,
        format!("{depth} commands at a time for LUN {}: all of queue_depth, {told}", luns.join(", ")),
        "further ones wait at the initiator: aqu-sz of iostat -x says there how many",
        ceiling(depth),
        match depth {
            // More than what a session has by default for all its LUNs.
            128.. => {
                "where more of them wait there: node.session.queue_depth = 256 and cmds_max = 512 at the initiator"
            }
            _ => "where more of them wait there: node.session.queue_depth = 128 at the initiator",
        },
    ))
}

/// The MTU of the way, which may be shorter than that of the card.
fn short_packets(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let of = |session: &&&Value| session["segment"].as_u64();
    let session =
        sessions.iter().filter(|session| of(session).is_some()).min_by_key(|session| of(session))?;
    let (segment, peer) = (of(&session)?, session["peer"].as_str().unwrap_or("?"));
    (segment < LONG).then(|| {
        Finding::hint(
            initiator,
            format!("packets of {segment} bytes of payload towards {peer}"),
            PACKETS,
            packets(segment),
            "an MTU of 9000 here, there and on all between; see how far it goes: ping -M do -s 8972 ADDRESS",
        )
    })
}

fn unsolicited(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let (_, part) = agreed(sessions, |agreed| agreed["immediate_data"] == false)?;
    Some(Finding::hint(
        initiator,
        format!("ImmediateData=No{part}"),
        "a write waits for R2T before its data comes",
        "one round trip for each write, and 1.4 to 1.9 times the processor time at 4 KiB",
        "node.session.iscsi.ImmediateData = Yes at the initiator; immediate_data of the portal group",
    ))
}

fn segment(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let (takes, part) = below(sessions, "max_xmit_data_segment_length", SEGMENT, |_| true)?;
    let count = (128_u64 << 10).div_ceil(takes.max(1));
    Some(Finding::hint(
        initiator,
        format!("MaxRecvDataSegmentLength={takes}{part}"),
        "each PDU has a header of its own, which both sides work on",
        format!("a read of 128 KiB comes in {count} PDUs instead of 1"),
        "node.conn[0].iscsi.MaxRecvDataSegmentLength = 262144 at the initiator",
    ))
}

fn first_burst(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let sends_at_once = |agreed: &Value| agreed["immediate_data"] == true;
    let (bytes, part) = below(sessions, "first_burst_length", SEGMENT, sends_at_once)?;
    Some(Finding::hint(
        initiator,
        format!("FirstBurstLength={bytes}{part}"),
        "longer writes wait for R2T in the middle",
        format!("one round trip for each write of more than {bytes} bytes"),
        "node.session.iscsi.FirstBurstLength = 262144 at the initiator",
    ))
}

fn digests(initiator: &str, sessions: &[&Value]) -> Option<Finding> {
    let (_, part) = agreed(sessions, |agreed| agreed["data_digest"] == true)?;
    Some(Finding::hint(
        initiator,
        format!("DataDigest=CRC32C{part}"),
        "every byte is read once more on both sides; TCP and Ethernet have checksums of their own, and they are weaker",
        "at 128 KiB 11 to 13 % of the throughput of reads, and 5 to 7 % of that of writes",
        "keep it where cards or lines have been seen to spoil data; else node.conn[0].iscsi.DataDigest = None",
    ))
}

/// A session is on one reactor and in one TCP connection: another one helps when that reactor has hardly time left, and
/// others have.
fn spread(initiator: &str, sessions: &[&Value], load: &[f64]) -> Option<Finding> {
    let [session] = sessions else { return None };
    let reactor = session["reactor"].as_u64()? as usize;
    let busy = load.get(reactor).filter(|load| **load >= BUSY)?;
    let idle = load.iter().filter(|load| **load < BUSY).count();
    (idle > 0).then(|| {
        Finding::hint(
            initiator,
            format!("1 session, on reactor {reactor}, which works {:.0} % of the time", busy * 100.0),
            "a session is on one reactor, and in one TCP connection",
            format!("{idle} of {} reactors have time that this one has not", load.len()),
            "node.session.nr_sessions = 2 or more, with multipath",
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
            "data_digest": false }, "window": 256, "deepest": 0, "queues": [], "segment": 8948, "peer": "192.0.2.7:49152" });
        change.iter().for_each(|(key, value)| session["negotiated"][key] = value.clone());
        session
    }

    #[test]
    fn who_asks_well_is_told_so() {
        let two = [session("iqn.a", &[]), session("iqn.a", &[])];
        assert_eq!(findings(&two, &[]), [Finding::good("iqn.a", "2 sessions")]);
        assert_eq!(findings(&two[..1], &[]), [Finding::good("iqn.a", "1 session")]);
    }

    #[test]
    fn who_does_not_is_told_what_to_set() {
        let changes = [
            ("immediate_data", json!(false)),
            ("first_burst_length", json!(8192)),
            ("max_xmit_data_segment_length", json!(8192)),
            ("data_digest", json!(true)),
        ];
        let found = findings(&[session("iqn.a", &changes)], &[]);
        let is: Vec<&str> = found.iter().map(|f| f.is.as_str()).collect();
        assert_eq!(is, ["ImmediateData=No", "MaxRecvDataSegmentLength=8192", "DataDigest=CRC32C"]);
        assert!(found.iter().all(|f| f.grade == Grade::Hint && !f.cost.is_empty() && !f.remedy.is_empty()));
        assert_eq!(found[1].cost, "a read of 128 KiB comes in 16 PDUs instead of 1");
        let short = findings(&[session("iqn.a", &changes[1..2])], &[]);
        assert_eq!(short[0].is, "FirstBurstLength=8192");
    }

    #[test]
    fn every_session_is_looked_at() {
        let takes = |bytes: u64| session("iqn.a", &[("max_xmit_data_segment_length", json!(bytes))]);
        let found = findings(&[takes(262_144), takes(16_384), takes(8192)], &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].is, "MaxRecvDataSegmentLength=8192 in 2 of 3 sessions");
        let digest = session("iqn.a", &[("data_digest", json!(true))]);
        assert_eq!(findings(&[takes(262_144), digest], &[])[0].is, "DataDigest=CRC32C in 1 of 2 sessions");
    }

    #[test]
    fn more_sessions_are_asked_for_where_they_would_help() {
        let one = [session("iqn.a", &[])];
        let told = |sessions: &[Value], load: &[f64]| findings(sessions, load)[0].is.clone();
        assert_eq!(told(&one, &[0.1, 0.97, 0.2]), "1 session, on reactor 1, which works 97 % of the time");
        assert_eq!(
            findings(&one, &[0.1, 0.97, 0.2])[0].cost,
            "2 of 3 reactors have time that this one has not"
        );
        for (load, why) in
            [(&[0.9, 0.3][..], "it has time"), (&[0.9, 0.9], "none has"), (&[], "nobody knows")]
        {
            assert_eq!(told(&one, load), "1 session", "{why}");
        }
        assert_eq!(told(&[one[0].clone(), one[0].clone()], &[0.1, 0.97]), "2 sessions");
    }

    /// What is found of an initiator of one session with so many commands at a time, all of them for LUN 3.
    fn deep(commands: u64) -> Vec<Finding> {
        let mut session = session("iqn.a", &[]);
        session["deepest"] = json!(commands);
        session["queues"] = json!([{ "lun": 3, "deepest": commands }]);
        findings(&[session], &[])
    }

    #[test]
    fn queues_that_were_as_deep_as_they_may_be_are_told() {
        assert_eq!(deep(40), [Finding::good("iqn.a", "1 session, at most 40 commands at a time of 256")]);
        assert_eq!(deep(1), [Finding::good("iqn.a", "1 session, at most 1 command at a time of 256")]);
        let is = |commands| deep(commands).first().map(|f| (f.grade, f.is.clone(), f.remedy.clone()));
        let told = |commands, text: &str, remedy: &str| {
            let (grade, is, what) = is(commands).expect("a finding");
            assert!(grade == Grade::Hint && is.contains(text) && what.contains(remedy), "{is}: {what}");
        };
        told(256, "the whole command window of 256", "cmds_max = 512");
        told(113, "all of cmds_max = 128", "cmds_max = 256");
        let advised = |commands, window| deeper(commands, window);
        assert!(advised(256, 256).contains("cmds_max = 512 at the initiator, and command_window = 512"));
        assert_eq!(advised(113, 512), "node.session.cmds_max = 256 at the initiator");
        for (commands, window) in [(4096, 4096), (2048, 2048), (2033, 2048)] {
            assert!(advised(commands, window).contains("nr_sessions"), "{window}");
        }
        told(32, "for LUN 3: all of queue_depth, as it is by default", "queue_depth = 128");
        told(64, "for LUN 3: all of queue_depth, where that is 64", "queue_depth = 128");
        told(128, "for LUN 3: all of queue_depth, where that is 128", "queue_depth = 256 and cmds_max = 512");
        assert_eq!(
            deep(32)[0].cost,
            "no more than 32000 IOPS where an answer takes 1 ms, and 320000 at 0.1 ms"
        );
    }

    #[test]
    fn a_queue_is_full_only_where_none_was_deeper() {
        let mut session = session("iqn.a", &[]);
        session["queues"] = json!([{ "lun": 0, "deepest": 32 }, { "lun": 1, "deepest": 64 }]);
        assert!(findings(&[session.clone()], &[])[0].is.contains("64 commands at a time for LUN 1:"));
        session["queues"] = json!([{ "lun": 0, "deepest": 32 }, { "lun": 1, "deepest": 33 }]);
        assert_eq!(findings(&[session], &[])[0].grade, Grade::Good);
    }

    #[test]
    fn short_packets_are_told_and_how_many_there_are() {
        let mut session = session("iqn.a", &[]);
        session["segment"] = json!(1448);
        let found = findings(&[session.clone()], &[]);
        assert_eq!(found[0].is, "packets of 1448 bytes of payload towards 192.0.2.7:49152");
        assert_eq!(found[0].cost, "128 KiB are 91 packets, and 15 of 9,000 bytes");
        session["segment"] = json!(null);
        assert_eq!(findings(&[session], &[])[0].grade, Grade::Good, "what is not known is not told");
    }

    #[test]
    fn discovery_is_no_session_with_a_disk() {
        assert_eq!(findings(&[json!({ "initiator": "iqn.a", "target": null })], &[]), []);
    }
}

//! Who is logged in, as people read it.

use std::fmt::Write;

use serde_json::Value;

const HEADINGS: [&str; 8] = ["TSIH", "INITIATOR", "TARGET", "TPG", "PEER", "REACTOR", "LUNS", "SINCE"];

/// Who is logged in, a line each.
pub(super) fn table(answer: &Value) -> String {
    let row = |s: &Value| {
        let target = s["target"].as_str().unwrap_or("(discovery)").to_owned();
        let since = since(s["seconds"].as_u64().unwrap_or(0));
        [text(&s["tsih"]), text(&s["initiator"]), target, text(&s["tpg"]), text(&s["peer"])]
            .into_iter()
            .chain([text(&s["reactor"]), text(&s["luns"]), since])
            .collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = answer["sessions"].as_array().into_iter().flatten().map(row).collect();
    let heading = HEADINGS.map(ToOwned::to_owned).to_vec();
    let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut out = String::new();
    for row in all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

/// Who is logged in, with all that is known.
pub(super) fn details(answer: &Value) -> String {
    let mut out = String::new();
    for s in answer["sessions"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "{}", heading(s));
        for line in facts(s).into_iter().chain(negotiated(&s["negotiated"])) {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

fn heading(s: &Value) -> String {
    let place = match s["target"].as_str() {
        Some(target) => format!("{target}, tpg{}", s["tpg"]),
        None => "(discovery)".into(),
    };
    // It says what it likes of itself.
    let alias = s["alias"].as_str().map(|alias| format!(" ({})", alias.escape_debug())).unwrap_or_default();
    format!("session {} of {}{alias} with {place}", s["tsih"], text(&s["initiator"]))
}

fn facts(s: &Value) -> [String; 3] {
    let proved = s["chap"].as_str().map_or_else(|| "none".to_owned(), |by| format!("CHAP with {by}"));
    let since = since(s["seconds"].as_u64().unwrap_or(0));
    [
        format!(
            "from {} to {}, isid {}, since {since}",
            text(&s["peer"]),
            text(&s["local"]),
            text(&s["isid"])
        ),
        format!("authentication: {proved}"),
        format!("LUNs: {}, open commands: {}, reactor {}", s["luns"], s["commands"], s["reactor"]),
    ]
}

/// What target and initiator have agreed on, by the names of the keys; MaxXmitDataSegmentLength is what the initiator has
/// declared, as targets call it.
pub(super) fn negotiated(n: &Value) -> Vec<String> {
    let digest = |on: &Value| if *on == true { "CRC32C" } else { "None" };
    let yes = |on: &Value| if *on == true { "Yes" } else { "No" };
    vec![
        format!("HeaderDigest={} DataDigest={}", digest(&n["header_digest"]), digest(&n["data_digest"])),
        format!(
            "MaxRecvDataSegmentLength={} MaxXmitDataSegmentLength={}",
            n["max_recv_data_segment_length"], n["max_xmit_data_segment_length"]
        ),
        format!(
            "FirstBurstLength={} MaxBurstLength={} MaxOutstandingR2T={}",
            n["first_burst_length"], n["max_burst_length"], n["max_outstanding_r2t"]
        ),
        format!(
            "InitialR2T={} ImmediateData={} DataPDUInOrder={} DataSequenceInOrder={}",
            yes(&n["initial_r2t"]),
            yes(&n["immediate_data"]),
            yes(&n["data_pdu_in_order"]),
            yes(&n["data_sequence_in_order"])
        ),
        format!(
            "DefaultTime2Wait={} DefaultTime2Retain={} ErrorRecoveryLevel={} iSCSIProtocolLevel={}",
            n["time2wait"], n["time2retain"], n["error_recovery_level"], n["protocol_level"]
        ),
    ]
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// A length of time, by its two largest units.
fn since(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_are_told_in_columns() {
        let session = |tsih: u16, target: Value| {
            json!({ "tsih": tsih, "initiator": "iqn.a", "target": target, "tpg": 1, "peer": "192.0.2.1:40000",
                    "reactor": 0, "luns": 12, "seconds": 3700 })
        };
        let answer = json!({ "sessions": [session(1, json!("iqn.t")), session(65000, Value::Null)] });
        assert_eq!(
            table(&answer),
            "TSIH   INITIATOR  TARGET       TPG  PEER             REACTOR  LUNS  SINCE\n\
             1      iqn.a      iqn.t        1    192.0.2.1:40000  0        12    1h01m\n\
             65000  iqn.a      (discovery)  1    192.0.2.1:40000  0        12    1h01m\n"
        );
    }

    #[test]
    fn a_session_is_told_with_what_was_negotiated() {
        let negotiated = json!({
            "header_digest": true, "data_digest": false, "max_recv_data_segment_length": 262_144,
            "max_xmit_data_segment_length": 8192, "first_burst_length": 65_536, "max_burst_length": 1_048_576,
            "initial_r2t": false, "immediate_data": true, "max_outstanding_r2t": 8, "time2wait": 2, "time2retain": 0,
            "error_recovery_level": 0, "protocol_level": 1, "data_pdu_in_order": true, "data_sequence_in_order": true,
        });
        let session = json!({
            "tsih": 3, "initiator": "iqn.a", "alias": "a\u{1b}", "isid": "00023d000001", "target": "iqn.t", "tpg": 1,
            "local": "192.0.2.9:3260", "peer": "192.0.2.1:40000", "reactor": 0, "chap": "sha256", "luns": 12,
            "commands": 1, "seconds": 61, "negotiated": negotiated,
        });
        assert_eq!(
            details(&json!({ "sessions": [session] })),
            "session 3 of iqn.a (a\\u{1b}) with iqn.t, tpg1\n    \
             from 192.0.2.1:40000 to 192.0.2.9:3260, isid 00023d000001, since 1m01s\n    \
             authentication: CHAP with sha256\n    \
             LUNs: 12, open commands: 1, reactor 0\n    \
             HeaderDigest=CRC32C DataDigest=None\n    \
             MaxRecvDataSegmentLength=262144 MaxXmitDataSegmentLength=8192\n    \
             FirstBurstLength=65536 MaxBurstLength=1048576 MaxOutstandingR2T=8\n    \
             InitialR2T=No ImmediateData=Yes DataPDUInOrder=Yes DataSequenceInOrder=Yes\n    \
             DefaultTime2Wait=2 DefaultTime2Retain=0 ErrorRecoveryLevel=0 iSCSIProtocolLevel=1\n"
        );
    }

    #[test]
    fn times_are_short() {
        assert_eq!([59, 61, 3599, 90_000].map(since), ["59s", "1m01s", "59m59s", "1d01h"]);
    }
}

//! `parameters` of a group, and its attributes that are times and limits.

use super::json::{Findings, Node, Object};
use super::known::{self, list_rest};
use super::text::Text;

/// A parameter that is a number: its name there and here, and what is allowed here.
const NUMBERS: [(&str, &str, u64, u64); 6] = [
    ("MaxRecvDataSegmentLength", "max_recv_data_segment_length", 512, 256 << 10),
    ("FirstBurstLength", "first_burst_length", 512, 256 << 10),
    ("MaxBurstLength", "max_burst_length", 512, (1 << 24) - 1),
    ("MaxOutstandingR2T", "max_outstanding_r2t", 1, 65_535),
    ("DefaultTime2Wait", "time2wait", 0, 3600),
    ("DefaultTime2Retain", "time2retain", 0, 3600),
];

/// One that is yes or no.
const FLAGS: [(&str, &str); 4] = [
    ("InitialR2T", "initial_r2t"),
    ("ImmediateData", "immediate_data"),
    ("DataPDUInOrder", "data_pdu_in_order"),
    ("DataSequenceInOrder", "data_sequence_in_order"),
];

/// LIO's defaults that are narrower than what ringtgt offers by itself.
const NARROW: [(&str, &str); 5] = [
    ("max_recv_data_segment_length", "8192"),
    ("first_burst_length", "65536"),
    ("max_burst_length", "262144"),
    ("max_outstanding_r2t", "1"),
    ("initial_r2t", "true"),
];

/// The lines of `[target.tpg.parameters]`.
#[derive(Default)]
pub(super) struct Lines(Vec<(&'static str, String)>);

impl Lines {
    pub(super) fn number(
        &mut self,
        key: &'static str,
        node: &Node<'_>,
        least: u64,
        most: u64,
        found: &mut Findings<'_>,
    ) {
        let Some(number) = node.number(found) else { return };
        let within = number.clamp(least, most);
        if within != number {
            found.list(node, format!("{key} is from {least} to {most} here: it is {within}"));
        }
        self.0.push((key, within.to_string()));
    }

    pub(super) fn write(&self, out: &mut Text) {
        if self.0.is_empty() {
            return;
        }
        out.section("[target.tpg.parameters]");
        let narrow = self.0.iter().filter(|(key, value)| NARROW.contains(&(key, value)));
        let narrow: Vec<&str> = narrow.map(|(key, _)| *key).collect();
        if !narrow.is_empty() {
            let names = narrow.join(", ");
            out.comment(&format!(
                "LIO's defaults, which are slow. Remove these lines for those of ringtgt: {names}."
            ));
        }
        self.0.iter().for_each(|(key, value)| out.value(key, value));
    }
}

/// Takes the parameters; the alias of the target, which is one of them there.
pub(super) fn import<'t>(mut o: Object<'t>, lines: &mut Lines, found: &mut Findings<'t>) -> Option<Node<'t>> {
    for (theirs, ours, least, most) in NUMBERS {
        if let Some(node) = o.take(theirs) {
            lines.number(ours, &node, least, most, found);
        }
    }
    first_burst(&o.node, lines, found);
    for (theirs, ours) in FLAGS {
        if let Some(flag) = o.flag(theirs, found) {
            lines.0.push((ours, flag.to_string()));
        }
    }
    digests(&mut o, lines, found);
    if let Some(node) =
        o.take("AuthMethod").filter(|node| !["CHAP,None", "CHAP", "None"].contains(&node.word().as_str()))
    {
        found.list(&node, "whether there is a chap says whether one is asked for");
    }
    let alias = o.take("TargetAlias").filter(|node| !["LIO Target", ""].contains(&node.word().as_str()));
    list_rest(o, known::OF_PARAMETERS, found);
    alias
}

/// RFC 7143 section 13.14: the first burst is part of a whole one.
fn first_burst(node: &Node<'_>, lines: &mut Lines, found: &mut Findings<'_>) {
    let number = |key| lines.0.iter().find(|(k, _)| *k == key).and_then(|(_, v)| v.parse::<u64>().ok());
    let (first, burst) = (number("first_burst_length"), number("max_burst_length"));
    if let (Some(first), Some(burst)) = (first, burst)
        && first > burst
    {
        found.list(node, format!("FirstBurstLength is longer than MaxBurstLength: it is {burst}"));
        lines.0.retain(|(key, _)| *key != "first_burst_length");
        lines.0.push(("first_burst_length", burst.to_string()));
    }
}

/// What a digest may be, in LIO's words.
pub fn digest(allowed: bool, demanded: bool) -> &'static str {
    match (allowed, demanded) {
        (true, true) => "CRC32C",
        (true, false) => "CRC32C,None",
        (false, _) => "None",
    }
}

/// What a digest may be: CRC32C, None, or either.
fn digests(o: &mut Object<'_>, lines: &mut Lines, found: &mut Findings<'_>) {
    let mut only = Vec::new();
    for (theirs, ours) in [("HeaderDigest", "header_digest"), ("DataDigest", "data_digest")] {
        let Some(node) = o.take(theirs) else { continue };
        let words = node.word().replace(' ', "").to_ascii_lowercase();
        let has = |wanted: &str| words.split(',').any(|word| word == wanted);
        if !has("crc32c") && !has("none") {
            found.list(&node, "a digest is CRC32C or None: it is as ringtgt has it");
            continue;
        }
        lines.0.push((ours, has("crc32c").to_string()));
        if !has("none") {
            only.push(node);
        }
    }
    match only.as_slice() {
        [_, _] => lines.0.push(("require_digests", "true".into())),
        [one] => found.list(one, "digests are required together here, or not at all: this is only offered"),
        _ => {}
    }
}

//! Text blocks, and the table of keys from both sides: what a target answers, an initiator that offered it accepts.

#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ringtgt::session::keys::negotiate::{Negotiation, accept, offer, parse_number};
use ringtgt::session::keys::{Negotiated, TABLE, Wishes, lookup};
use ringtgt::target::TpgParams;
use ringtgt::wire::text::{Outgoing, PAIRS_MAX, TEXT_MAX, TextBuffer, TextWriter, pairs};

/// Values that mean something to some key.
const VALUES: &[&str] = &[
    "Yes",
    "No",
    "None",
    "CRC32C",
    "CRC32C,None",
    "None,CRC32C",
    "CHAP,None",
    "Reject",
    "Irrelevant",
    "NotUnderstood",
    "0",
    "1",
    "2",
    "511",
    "512",
    "8192",
    "65536",
    "262144",
    "16777215",
    "16777216",
    "4294967295",
    "4294967296",
    "0x200",
    "0X3fffff",
    "0x",
    "-1",
    "1~5",
    "Normal",
    "Discovery",
    "All",
    "ResponseFence,RFC3720",
    "FastAbort",
    "",
];

#[derive(Debug)]
struct Input {
    ours: Wishes,
    theirs: Wishes,
    said: Vec<(String, String)>,
    cuts: Vec<u8>,
    raw: Vec<u8>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (ours, theirs) = (wishes(u)?, wishes(u)?);
        let count = u.int_in_range(0..=24)?;
        let said = (0..count).map(|_| pair(u)).collect::<Result<_>>()?;
        Ok(Self { ours, theirs, said, cuts: u.arbitrary()?, raw: u.arbitrary()? })
    }
}

fn wishes(u: &mut Unstructured<'_>) -> Result<Wishes> {
    let length = |u: &mut Unstructured<'_>| Ok(*u.choose(&[512, 4096, 65536, 1 << 18, (1 << 24) - 1])?);
    Ok(Wishes::from(&TpgParams {
        header_digest: u.arbitrary()?,
        data_digest: u.arbitrary()?,
        require_digests: u.ratio(1, 8)?,
        max_recv_data_segment_length: length(u)?.min(1 << 18),
        first_burst_length: length(u)?,
        max_burst_length: length(u)?,
        initial_r2t: u.arbitrary()?,
        immediate_data: u.arbitrary()?,
        max_outstanding_r2t: u.int_in_range(1..=65_535)?,
        time2wait: u.int_in_range(0..=3600)?,
        time2retain: u.int_in_range(0..=3600)?,
        ..TpgParams::default()
    }))
}

fn pair(u: &mut Unstructured<'_>) -> Result<(String, String)> {
    let key =
        if u.ratio(7, 8)? { TABLE[u.choose_index(TABLE.len())?].name.to_owned() } else { u.arbitrary()? };
    let value = if u.ratio(7, 8)? { (*u.choose(VALUES)?).to_owned() } else { u.arbitrary()? };
    Ok((key, value))
}

fuzz_target!(|input: Input| {
    blocks(&input);
    any_answers(&input);
    both_sides(&input.ours, &input.theirs);
    bytes(&input.raw);
});

/// What is written is read again, however it travels.
fn blocks(input: &Input) {
    let mut out = TextWriter::new();
    for (key, value) in &input.said {
        out.pair(key, value);
    }
    let text = out.into_bytes();
    let mut outgoing = Outgoing::new(text.clone());
    let mut gathered = TextBuffer::default();
    let mut cuts = input.cuts.iter().cycle();
    while outgoing.more() {
        let max = usize::from(cuts.next().copied().unwrap_or(0)) + 1;
        let piece = outgoing.next_piece(max);
        assert!(!piece.is_empty() && piece.len() <= max);
        gathered.push(&piece).expect("within the limit");
    }
    assert_eq!(gathered.take(), text);
    let legal =
        |s: &str| !s.is_empty() && s.len() <= 63 && s.bytes().all(|b| b.is_ascii_graphic() && b != b'=');
    if input.said.iter().all(|(key, value)| legal(key) && !value.contains('\0')) {
        let read: Vec<_> = pairs(&text).map(|p| p.map(|p| (p.key.to_owned(), p.value.to_owned()))).collect();
        let said: Vec<_> = input.said.iter().cloned().map(Ok).collect();
        assert_eq!(read, said);
    }
}

/// A target survives whatever it hears, and what it concludes is legal.
fn any_answers(input: &Input) {
    let mut negotiation = Negotiation::new(input.ours.clone(), Negotiated::default());
    let mut out = TextWriter::new();
    for (key, value) in &input.said {
        let _ = parse_number(value);
        if negotiation.key(key, value, &mut out).is_err() {
            return;
        }
    }
    negotiation.declare(&mut out);
    negotiation.offer_missing(&mut out);
    assert!(out.into_bytes().len() < TEXT_MAX);
    if let Ok(result) = negotiation.conclude() {
        legal(&result, &input.ours);
    }
}

fn legal(result: &Negotiated, ours: &Wishes) {
    assert!(result.first_burst_length <= result.max_burst_length);
    assert!((512..1 << 24).contains(&result.max_burst_length));
    assert!((512..1 << 24).contains(&result.max_xmit_data_segment_length));
    assert_eq!(result.max_recv_data_segment_length, ours.max_recv_data_segment_length);
    assert!(
        result.max_outstanding_r2t >= 1 && result.max_connections == 1 && result.error_recovery_level == 0
    );
    assert!(result.initial_r2t || !ours.initial_r2t);
    assert!(!result.immediate_data || ours.immediate_data);
}

/// An initiator offers all it wishes; the target's answers are such as it can accept, and both conclude the same.
fn both_sides(ours: &Wishes, theirs: &Wishes) {
    let mut target = Negotiation::new(ours.clone(), Negotiated::default());
    let mut out = TextWriter::new();
    for row in TABLE.iter() {
        if let Some(value) = offer(row, theirs) {
            target.key(row.name, &value, &mut out).expect("an offer of the table");
        }
    }
    target.declare(&mut out);
    let text = out.into_bytes();
    let mut concluded = Negotiated::default();
    for pair in pairs(&text) {
        let pair = pair.expect("our own text");
        let (_, row) = lookup(pair.key).expect("our own key");
        if accept(row, pair.value, theirs, &mut concluded).is_err() {
            // A digest that one side demands and the other refuses.
            assert_eq!(pair.value, "Reject", "{}", pair.key);
            return;
        }
    }
    let Ok(result) = target.conclude() else { return };
    assert_eq!(
        (result.header_digest, result.data_digest, result.initial_r2t, result.immediate_data),
        (concluded.header_digest, concluded.data_digest, concluded.initial_r2t, concluded.immediate_data)
    );
    assert_eq!(
        (result.max_burst_length, result.max_outstanding_r2t, result.time2wait, result.time2retain),
        (
            concluded.max_burst_length,
            concluded.max_outstanding_r2t,
            concluded.time2wait,
            concluded.time2retain
        )
    );
}

fn bytes(raw: &[u8]) {
    assert!(pairs(raw).count() <= PAIRS_MAX + 1);
}

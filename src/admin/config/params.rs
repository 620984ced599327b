//! `[target.tpg.parameters]`: what a group offers in negotiation, and its times.

use toml::Spanned;

use super::file::{FileParameters, Value};
use super::portal::check_whole_seconds;
use super::resolve::{Bounds, Resolver};
use super::words;
use crate::target::{ChapAlgorithm, TpgParams};

/// RFC 7143 sections 13.12 to 13.14: 512 to 2^24 - 1.
const BURST: Bounds = Bounds { min: 512, max: (1 << 24) - 1, reason: "RFC 7143 section 13.13 has it so" };

/// The upper end is ours: the data of one PDU must fit into one buffer.
const SEGMENT: Bounds =
    Bounds { min: 512, max: 256 << 10, reason: "the data of one PDU must fit into the largest buffer" };

const R2T: Bounds = Bounds { min: 1, max: 65_535, reason: "RFC 7143 section 13.17 has it so" };

const WINDOW: Bounds = Bounds {
    min: 2,
    max: 4096,
    reason: "every command in the window may take memory, and initiators send 4096 at most",
};

/// RFC 7143 sections 13.15 and 13.16: 0 to 3600 s.
const HOLD: Bounds = Bounds { min: 0, max: 3_600_000, reason: "RFC 7143 section 13.15 has it so" };

const NOP_INTERVAL: Bounds = Bounds {
    min: 0,
    max: 3_600_000,
    reason: "a dead initiator keeps its session until it is asked (0: never)",
};

const NOP_TIMEOUT: Bounds =
    Bounds { min: 1000, max: 3_600_000, reason: "a busy initiator needs its time to answer" };

const LOGIN: Bounds =
    Bounds { min: 1000, max: 600_000, reason: "an unfinished login holds a connection that others want" };

const ALGORITHMS: [(&str, ChapAlgorithm); 4] = [
    ("md5", ChapAlgorithm::Md5),
    ("sha1", ChapAlgorithm::Sha1),
    ("sha256", ChapAlgorithm::Sha256),
    ("sha3-256", ChapAlgorithm::Sha3_256),
];

pub(super) fn resolve(file: FileParameters, cx: &mut Resolver<'_>) -> TpgParams {
    let default = TpgParams::default();
    let flag = |value: &Value<bool>, default| value.as_ref().map_or(default, |v| *v.get_ref());
    let params = TpgParams {
        header_digest: flag(&file.header_digest, default.header_digest),
        data_digest: flag(&file.data_digest, default.data_digest),
        require_digests: flag(&file.require_digests, default.require_digests),
        max_recv_data_segment_length: cx
            .size(&file.max_recv_data_segment_length, &SEGMENT)
            .and_then(fits)
            .unwrap_or(default.max_recv_data_segment_length),
        first_burst_length: cx
            .size(&file.first_burst_length, &SEGMENT)
            .and_then(fits)
            .unwrap_or(default.first_burst_length),
        max_burst_length: cx
            .size(&file.max_burst_length, &BURST)
            .and_then(fits)
            .unwrap_or(default.max_burst_length),
        initial_r2t: flag(&file.initial_r2t, default.initial_r2t),
        immediate_data: flag(&file.immediate_data, default.immediate_data),
        max_outstanding_r2t: cx
            .number(&file.max_outstanding_r2t, &R2T)
            .unwrap_or(default.max_outstanding_r2t),
        data_pdu_in_order: flag(&file.data_pdu_in_order, default.data_pdu_in_order),
        data_sequence_in_order: flag(&file.data_sequence_in_order, default.data_sequence_in_order),
        time2wait: seconds(&file.time2wait, cx).unwrap_or(default.time2wait),
        time2retain: seconds(&file.time2retain, cx).unwrap_or(default.time2retain),
        command_window: cx.number(&file.command_window, &WINDOW).unwrap_or(default.command_window),
        chap_algorithms: algorithms(&file.chap_algorithms, cx).unwrap_or(default.chap_algorithms),
        nop_interval: cx.period(&file.nop_interval, &NOP_INTERVAL).unwrap_or(default.nop_interval),
        nop_timeout: cx.period(&file.nop_timeout, &NOP_TIMEOUT).unwrap_or(default.nop_timeout),
        login_timeout: cx.period(&file.login_timeout, &LOGIN).unwrap_or(default.login_timeout),
    };
    with_first_burst(params, &file, cx)
}

fn fits(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

/// RFC 7143 section 13.14: FirstBurstLength must not exceed MaxBurstLength.
fn with_first_burst(params: TpgParams, file: &FileParameters, cx: &mut Resolver<'_>) -> TpgParams {
    if params.first_burst_length <= params.max_burst_length {
        return check_digests(params, file, cx);
    }
    if let Some(value) = &file.first_burst_length {
        cx.error(
            value,
            format!("the first burst is longer than max_burst_length ({})", params.max_burst_length),
            "the first burst is part of a whole one (RFC 7143 section 13.14)",
            "make it smaller, or max_burst_length larger",
        );
    }
    // Only max_burst_length was chosen: the default of the other follows it.
    let first_burst_length = params.max_burst_length;
    check_digests(TpgParams { first_burst_length, ..params }, file, cx)
}

fn check_digests(params: TpgParams, file: &FileParameters, cx: &mut Resolver<'_>) -> TpgParams {
    if let Some(value) = &file.require_digests
        && params.require_digests
        && !(params.header_digest && params.data_digest)
    {
        let what = "digests are required here, and forbidden beside it";
        cx.error(value, what, "no initiator could log in", "leave header_digest and data_digest true");
    }
    params
}

fn seconds(value: &Value<super::reader::Word>, cx: &mut Resolver<'_>) -> Option<u16> {
    let period = cx.period(value, &HOLD)?;
    check_whole_seconds(value, "iSCSI counts those", cx);
    u16::try_from(period.as_secs()).ok()
}

pub(super) fn algorithms(
    value: &Value<Vec<Spanned<String>>>,
    cx: &mut Resolver<'_>,
) -> Option<Vec<ChapAlgorithm>> {
    let value = value.as_ref()?;
    if value.get_ref().is_empty() {
        let remedy = "name some of md5, sha1, sha256 and sha3-256, or remove the line";
        cx.error(value, "no CHAP algorithm is left", "nobody could prove who he is", remedy);
    }
    let mut chosen = Vec::new();
    for word in value.get_ref() {
        match ALGORITHMS.iter().find(|(name, _)| word.get_ref().eq_ignore_ascii_case(name)) {
            Some((_, algorithm)) if chosen.contains(algorithm) => {
                cx.error(word, format!("\"{}\" is named twice", word.get_ref()), "", "keep one");
            }
            Some((_, algorithm)) => chosen.push(*algorithm),
            None => {
                let remedy = words::suggestion(word.get_ref(), ALGORITHMS.map(|(name, _)| name));
                cx.error(word, format!("there is no CHAP algorithm \"{}\"", word.get_ref()), "", remedy);
            }
        }
    }
    Some(chosen)
}

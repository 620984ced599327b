//! The results: as a table for people and as JSON for programs.
//!
//! Owns: the form of both. Promises: the JSON has a version, names its units, and changes only by additions within a
//! version; no secret is in it.

use std::fmt::Write;

use serde::Serialize;

use super::options::Options;
use super::step::{Measured, Target};
use super::tally::Side;

/// Of the JSON.
const VERSION: u32 = 1;

/// The latencies that are told, by their share of all I/Os.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Everything that was measured.
#[derive(Serialize, Debug)]
pub(super) struct Report {
    format: &'static str,
    version: u32,
    program: &'static str,
    url: String,
    portal: String,
    block_bytes: u32,
    disk_bytes: u64,
    pub(super) rw: &'static str,
    reads_percent: u32,
    luns: u16,
    threads: u32,
    rate_iops: Option<f64>,
    /// From here to `max_outstanding_r2t`: what the target has agreed to.
    header_digest: bool,
    data_digest: bool,
    immediate_data: bool,
    initial_r2t: bool,
    first_burst_bytes: u32,
    max_burst_bytes: u32,
    /// The largest data segment that the target sends, and takes.
    max_data_in_bytes: u32,
    max_data_out_bytes: u32,
    max_outstanding_r2t: u16,
    busy: bool,
    verify: bool,
    warm_seconds: f64,
    pub(super) runs: Vec<Run>,
}

/// One step.
#[derive(Serialize, Debug)]
pub(super) struct Run {
    pub(super) bs: u32,
    pub(super) qd: u32,
    pub(super) sessions: u32,
    seconds: f64,
    ios: u64,
    pub(super) iops: f64,
    pub(super) bytes_per_second: f64,
    pub(super) server_cpu_us_per_io: Option<f64>,
    client_cpu_us_per_io: f64,
    retries: u64,
    blocks_verified: u64,
    pub(super) read: Option<Direction>,
    pub(super) write: Option<Direction>,
}

/// Reads, or writes.
#[derive(Serialize, Debug)]
pub(super) struct Direction {
    ios: u64,
    iops: f64,
    /// Due while it was measured and not ended when that was over; they count in the latencies.
    late: u64,
    pub(super) latency_us: Latency,
}

/// Latencies in microseconds.
#[derive(Serialize, Debug)]
pub(super) struct Latency {
    min: f64,
    mean: f64,
    max: f64,
    /// By name.
    percentiles: std::collections::BTreeMap<&'static str, f64>,
    /// Share of I/Os (0 to 1) that took at most so long, for drawing.
    pub(super) curve: Vec<(f64, f64)>,
}

impl Report {
    pub(super) fn new(options: &Options, target: &Target) -> Self {
        let agreed = &target.negotiated;
        Self {
            format: "ringtgt-bench",
            version: VERSION,
            program: concat!("ringtgt ", env!("CARGO_PKG_VERSION")),
            url: options.url.to_string(),
            portal: target.portal.to_string(),
            block_bytes: target.block,
            disk_bytes: target.blocks * u64::from(target.block),
            rw: options.rw.word(),
            reads_percent: options.rw.reads(options.mix),
            luns: options.luns,
            threads: options.threads,
            rate_iops: options.rate,
            header_digest: agreed.header_digest,
            data_digest: agreed.data_digest,
            immediate_data: agreed.immediate_data,
            initial_r2t: agreed.initial_r2t,
            first_burst_bytes: agreed.first_burst_length,
            max_burst_bytes: agreed.max_burst_length,
            max_data_in_bytes: agreed.max_recv_data_segment_length,
            max_data_out_bytes: agreed.max_xmit_data_segment_length,
            max_outstanding_r2t: agreed.max_outstanding_r2t,
            busy: options.busy,
            verify: options.verify,
            warm_seconds: options.warm.as_secs_f64(),
            runs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, measured: &Measured) {
        self.runs.push(Run::of(measured));
    }

    /// The JSON.
    pub(super) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and texts");
        text.push('\n');
        text
    }

    /// What was done, in a line.
    pub(super) fn title(&self) -> String {
        let mut text = format!("{} of {}", self.rw, self.url);
        let digests = [(self.header_digest, "header"), (self.data_digest, "data")];
        let digests: Vec<_> = digests.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
        if !digests.is_empty() {
            let _ = write!(text, ", {} digests", digests.join(" and "));
        }
        if let Some(rate) = self.rate_iops {
            let _ = write!(text, ", at {rate} IOPS");
        }
        text
    }
}

impl Run {
    fn of(measured: &Measured) -> Self {
        let (step, tally) = (measured.step, &measured.tally);
        let per_second = |ios: u64| if measured.secs > 0.0 { ios as f64 / measured.secs } else { 0.0 };
        let side = |side: &Side| {
            (!side.latency.is_empty() || side.ios > 0).then(|| Direction::of(side, per_second(side.ios)))
        };
        let iops = per_second(tally.ios());
        Self {
            bs: step.bs,
            qd: step.qd,
            sessions: step.sessions,
            seconds: measured.secs,
            ios: tally.ios(),
            iops,
            bytes_per_second: iops * f64::from(step.bs),
            server_cpu_us_per_io: measured.server_us,
            client_cpu_us_per_io: measured.client_us,
            retries: tally.retries,
            blocks_verified: tally.verified,
            read: side(&tally.reads),
            write: side(&tally.writes),
        }
    }

    /// What tells it from the others.
    pub(super) fn name(&self, with_sessions: bool) -> String {
        let sessions = if with_sessions { format!(" · {} sess.", self.sessions) } else { String::new() };
        format!("{} · qd {}{sessions}", size(self.bs), self.qd)
    }

    fn directions(&self) -> impl Iterator<Item = (&'static str, &Direction)> {
        let read = self.read.iter().map(|d| ("read", d));
        read.chain(self.write.iter().map(|d| ("write", d)))
    }
}

impl Direction {
    fn of(side: &Side, iops: f64) -> Self {
        let us = |ns: u64| ns as f64 / 1000.0;
        let h = &side.latency;
        let percentiles = QUANTILES.iter().map(|(name, q)| (*name, us(h.value_at_quantile(*q)))).collect();
        // Even steps up to the median, then ever finer ones, for an axis of nines; no finer than there are I/Os.
        let fine = (0..=50).map(|n| 1.0 - 0.5 * 10f64.powf(-f64::from(n) / 10.0));
        let shares = (0..10).map(|n| f64::from(n) / 20.0).chain(fine);
        let known = 1.0 - 1.0 / (h.len() as f64 + 1.0);
        let curve = shares.filter(|q| *q <= known).map(|q| (q, us(h.value_at_quantile(q)))).collect();
        let latency_us =
            Latency { min: us(h.min()), mean: h.mean() / 1000.0, max: us(h.max()), percentiles, curve };
        Self { ios: side.ios, iops, late: side.late, latency_us }
    }
}

/// The heads of the columns.
const COLUMNS: [&str; 14] = [
    "bs",
    "qd",
    "sess.",
    "",
    "IOPS",
    "MB/s",
    "p50 µs",
    "p90",
    "p99",
    "p99.9",
    "p99.99",
    "max",
    "server µs/IO",
    "client µs/IO",
];

/// The cells of the table: a line for each direction of each step.
pub(super) fn cells(report: &Report) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for run in &report.runs {
        for (word, d) in run.directions() {
            let mut line = vec![size(run.bs), run.qd.to_string(), run.sessions.to_string(), word.into()];
            line.push(format!("{:.0}", d.iops));
            line.push(format!("{:.0}", d.iops * f64::from(run.bs) / 1e6));
            line.extend(QUANTILES.iter().map(|(name, _)| micros(d.latency_us.percentiles[name])));
            line.push(micros(d.latency_us.max));
            line.push(run.server_cpu_us_per_io.map_or_else(|| "-".into(), |us| format!("{us:.3}")));
            line.push(format!("{:.3}", run.client_cpu_us_per_io));
            lines.push(line);
        }
        if run.directions().next().is_none() {
            lines.push(vec![size(run.bs), run.qd.to_string(), run.sessions.to_string(), "none".into()]);
        }
    }
    lines
}

/// The heads, for other tables.
pub(super) fn heads() -> [&'static str; 14] {
    COLUMNS
}

/// The table.
pub(super) fn table(report: &Report) -> String {
    let lines = cells(report);
    let heads: Vec<String> = COLUMNS.iter().map(|s| (*s).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heads).chain(&lines).collect();
    let width = |n: usize| all.iter().filter_map(|l| l.get(n)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut text = format!("{}\n", report.title());
    for line in all {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let verified: u64 = report.runs.iter().map(|run| run.blocks_verified).sum();
    if report.verify {
        let _ = writeln!(text, "{verified} blocks compared, all as written");
    }
    let late = report.runs.iter().flat_map(Run::directions).map(|(_, d)| d.late).sum::<u64>();
    if late > 0 && report.rate_iops.is_some() {
        let _ = writeln!(
            text,
            "{late} I/Os were due and had not ended when it was over: the latencies have them"
        );
    }
    let retries: u64 = report.runs.iter().map(|run| run.retries).sum();
    if retries > 0 {
        let _ =
            writeln!(text, "{retries} commands sent again: the target was busy, or had something to report");
    }
    text
}

/// Microseconds with as many digits as matter.
fn micros(us: f64) -> String {
    if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}

/// Bytes as people say them.
pub(super) fn size(bytes: u32) -> String {
    match bytes {
        b if b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b if b % (1 << 10) == 0 => format!("{}k", b >> 10),
        b => b.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::step::Step;
    use super::super::tally::Tally;
    use super::*;

    /// A sweep that nobody measured.
    pub(in super::super) fn sweep(steps: &[(u32, u32)]) -> Report {
        let mut report = Report {
            format: "ringtgt-bench",
            version: VERSION,
            program: "ringtgt",
            url: "iscsi://u@h:3260/iqn.2026-11.a:b/0".into(),
            portal: "127.0.0.1:3260".into(),
            block_bytes: 512,
            disk_bytes: 1 << 30,
            rw: "randrw",
            reads_percent: 70,
            luns: 1,
            threads: 1,
            rate_iops: None,
            header_digest: true,
            data_digest: true,
            immediate_data: true,
            initial_r2t: false,
            first_burst_bytes: 256 << 10,
            max_burst_bytes: 1 << 20,
            max_data_in_bytes: 256 << 10,
            max_data_out_bytes: 256 << 10,
            max_outstanding_r2t: 8,
            busy: false,
            verify: true,
            warm_seconds: 0.5,
            runs: Vec::new(),
        };
        for &(bs, qd) in steps {
            let mut tally = Tally { verified: 5, retries: 2, ..Tally::default() };
            for n in 1..=u64::from(qd) * 100 {
                tally.reads.record(n * 1000);
                tally.writes.record(n * 2000);
            }
            (tally.reads.ios, tally.writes.ios) = (tally.reads.latency.len(), tally.writes.latency.len());
            let step = Step { bs, qd, sessions: 4 };
            report.add(&Measured { step, secs: 2.0, tally, server_us: Some(0.5), client_us: 0.25 });
        }
        report
    }

    #[test]
    fn the_json_has_the_shape_that_others_rely_on() {
        let json: serde_json::Value = serde_json::from_str(&sweep(&[(4096, 10)]).json()).unwrap();
        assert_eq!((json["format"].as_str(), json["version"].as_u64()), (Some("ringtgt-bench"), Some(1)));
        let run = &json["runs"][0];
        assert_eq!(
            (run["bs"].as_u64(), run["ios"].as_u64(), run["iops"].as_f64()),
            (Some(4096), Some(2000), Some(1000.0))
        );
        assert_eq!(run["server_cpu_us_per_io"].as_f64(), Some(0.5));
        let latency = &run["read"]["latency_us"];
        let at = |name: &str| latency["percentiles"][name].as_f64().unwrap();
        assert!((495.0..505.0).contains(&at("p50")) && (985.0..995.0).contains(&at("p99")), "{latency}");
        let curve: Vec<(f64, f64)> = serde_json::from_value(latency["curve"].clone()).unwrap();
        assert!(curve.is_sorted() && curve.len() > 20 && curve.last().unwrap().0 < 1.0, "{curve:?}");
        assert!(run["write"]["iops"].as_f64().unwrap() == 500.0);
    }

    #[test]
    fn the_table_has_a_line_for_each_direction() {
        let text = table(&sweep(&[(4096, 10), (1 << 20, 1)]));
        assert_eq!(text.lines().count(), 1 + 1 + 4 + 2, "{text}");
        assert!(text.contains("4k") && text.contains("1M") && text.contains("10 blocks compared"), "{text}");
        assert!(text.contains("header and data digests") && text.contains("4 commands sent again"), "{text}");
    }
}

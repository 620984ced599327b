//! The numbers as Prometheus reads them: OpenMetrics 1.0, or its own text format for those who do not ask for that.
//!
//! How all logical units are is told, and their counters; distributions and sessions only of the
//! [`MOST_DETAILED`](crate::admin::stats::MOST_DETAILED) that have lately done most, so that 10,000 of them are no more
//! than a scrape can carry. What the phases take is told for all of them together.

use std::fmt::Write;

use crate::admin::stats::{Done, FlowInBrief, SessionStats, Stats, UnitStats};
use crate::reactor::{BUCKETS, Distribution, Flow, Snapshot, TIMES, Usage, bucket_begin, time_word};

/// Every so many buckets there is a bound: at powers of four.
const COARSE: usize = 8;

/// The text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Of Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    Open,
}

impl Format {
    /// The one for somebody who accepts that.
    pub(super) fn of(accepted: &str) -> Self {
        if accepted.contains("application/openmetrics-text") { Self::Open } else { Self::Text }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics.
pub fn render(stats: &Stats, format: Format) -> String {
    let mut page = Writer { out: String::new(), format };
    page.gauge("ringtgt_build_info", "What runs here.");
    page.value("ringtgt_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    reactors(&mut page, &stats.reactors);
    stores(&mut page, &stats.units);
    units(&mut page, &stats.units);
    phases(&mut page, &stats.sum);
    sessions(&mut page, &stats.sessions);
    if format == Format::Open {
        page.out += "# EOF\n";
    }
    page.out
}

struct Writer {
    out: String,
    format: Format,
}

/// Names of labels and their values.
type Labels<'a> = [(&'a str, &'a str)];

impl Writer {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    /// A counter, whose values are of `name` with `_total`; the formats do not agree what the family is called.
    fn counter(&mut self, name: &str, help: &str) {
        match self.format {
            Format::Open => self.family(name, "counter", help),
            Format::Text => self.family(&format!("{name}_total"), "counter", help),
        }
    }

    fn value(&mut self, name: &str, labels: &Labels<'_>, value: f64) {
        self.out += name;
        self.labels(labels);
        let _ = writeln!(self.out, " {value}");
    }

    fn total(&mut self, name: &str, labels: &Labels<'_>, value: u64) {
        let _ = write!(self.out, "{name}_total");
        self.labels(labels);
        let _ = writeln!(self.out, " {value}");
    }

    fn labels(&mut self, labels: &Labels<'_>) {
        for (n, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{name}=\"", if n == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.out += "\\\\",
                    '"' => self.out += "\\\"",
                    '\n' => self.out += "\\n",
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
    }

    fn histogram(&mut self, name: &str, labels: &Labels<'_>, times: &Distribution) {
        let mut below = 0;
        for at in 0..=BUCKETS {
            if at > 0 && at < BUCKETS && at.is_multiple_of(COARSE) {
                let bound = (bucket_begin(at) as f64 / 1e9).to_string();
                self.bucket(name, labels, &bound, below);
            }
            below += times.counts.get(at).unwrap_or(&0);
        }
        self.bucket(name, labels, "+Inf", below);
        self.value(&format!("{name}_sum"), labels, times.sum as f64 / 1e9);
        self.value(&format!("{name}_count"), labels, below as f64);
    }

    fn bucket(&mut self, name: &str, labels: &Labels<'_>, bound: &str, below: u64) {
        let labels = [labels, &[("le", bound)]].concat();
        self.value(&format!("{name}_bucket"), &labels, below as f64);
    }
}

type Count = (&'static str, &'static str, fn(&Snapshot) -> u64);

const REACTOR_COUNTERS: [Count; 21] = [
    ("ringtgt_reactor_accepted", "Connections that were accepted.", |r| r.counters.accepted),
    ("ringtgt_reactor_logins", "Logins that came through.", |r| r.counters.logins),
    ("ringtgt_reactor_refused_logins", "Logins that were refused.", |r| r.counters.refused),
    ("ringtgt_reactor_closed", "Connections that have ended.", |r| r.counters.closed),
    ("ringtgt_reactor_read_bytes", "Payload that was read for initiators.", |r| r.counters.read),
    ("ringtgt_reactor_written_bytes", "Payload that was received for the medium.", |r| r.counters.written),
    ("ringtgt_reactor_copied_bytes", "Payload that was copied in memory.", |r| r.counters.copied_in),
    ("ringtgt_reactor_disk_requests", "Requests that were begun for disks.", |r| r.counters.disk_ops),
    ("ringtgt_reactor_fenced", "Of these the ones that waited for a fence.", |r| r.counters.fenced),
    ("ringtgt_reactor_slots_missed", "Requests for slots that found none.", |r| r.counters.starved),
    ("ringtgt_reactor_sends", "Sends.", |r| r.counters.sends),
    ("ringtgt_reactor_sends_uncopied", "Sends that were to go without copies.", |r| r.counters.uncopied),
    ("ringtgt_reactor_sends_copied_after_all", "Of these the ones that the kernel copied.", |r| {
        r.counters.copied_after_all
    }),
    ("ringtgt_reactor_receives", "Receives.", |r| r.counters.recvs),
    ("ringtgt_reactor_stalled", "Connections closed: nothing could be sent.", |r| r.counters.stalled),
    ("ringtgt_reactor_greedy", "Connections closed: they had most memory when it ran out.", |r| {
        r.counters.greedy
    }),
    ("ringtgt_reactor_lapsed", "Commands aborted: their data did not come in time.", |r| r.counters.lapsed),
    ("ringtgt_reactor_turns", "Turns.", |r| r.ring.turns),
    ("ringtgt_reactor_enters", "System calls of the ring.", |r| r.ring.enters),
    ("ringtgt_reactor_sleeps", "Turns that slept.", |r| r.ring.waits),
    ("ringtgt_reactor_polls", "Times it looked for work before it slept.", |r| r.ring.polls),
];

const REACTOR_GAUGES: [Count; 4] = [
    ("ringtgt_reactor_connections", "Connections.", |r| r.connections as u64),
    ("ringtgt_reactor_commands", "Commands that are open.", |r| r.commands.into()),
    ("ringtgt_reactor_disk_in_flight", "Requests that disks have.", |r| r.disk_in_flight as u64),
    ("ringtgt_reactor_hungry", "Connections whose commands wait for slots.", |r| r.hungry as u64),
];

fn reactors(page: &mut Writer, all: &[Snapshot]) {
    page.counter("ringtgt_reactor_cpu_seconds", "Time that the reactor has had a processor.");
    for reactor in all {
        let labels = [("reactor", &*reactor.core.0.to_string())];
        page.value("ringtgt_reactor_cpu_seconds_total", &labels, reactor.busy as f64 / 1e9);
    }
    for (name, help, of) in REACTOR_COUNTERS {
        page.counter(name, help);
        for reactor in all {
            page.total(name, &[("reactor", &reactor.core.0.to_string())], of(reactor));
        }
    }
    for (name, help, of) in REACTOR_GAUGES {
        page.gauge(name, help);
        for reactor in all {
            page.value(name, &[("reactor", &reactor.core.0.to_string())], of(reactor) as f64);
        }
    }
    slots(page, all, "ringtgt_reactor_slots", "Slots of buffer memory.", |s| s.total as u64);
    slots(page, all, "ringtgt_reactor_slots_free", "Slots that nobody has.", |s| s.free as u64);
}

fn slots(page: &mut Writer, all: &[Snapshot], name: &str, help: &str, of: fn(&crate::mem::SlotStats) -> u64) {
    page.gauge(name, help);
    for reactor in all {
        for slot in &reactor.slots {
            let (reactor, size) = (reactor.core.0.to_string(), slot.size.to_string());
            page.value(name, &[("reactor", &reactor), ("size", &size)], of(slot) as f64);
        }
    }
}

/// Both directions by their names.
fn flows(done: &Done) -> [(&'static str, &FlowInBrief); 2] {
    [("read", &done.read), ("write", &done.write)]
}

/// As before, with all that is known of them.
fn whole_flows(usage: &Usage) -> [(&'static str, &Flow); 2] {
    [("read", &usage.read), ("write", &usage.write)]
}

type OfFlow = fn(&FlowInBrief) -> u64;
type OfDone = fn(&Done) -> u64;

/// How all are, whatever has been done with them.
fn stores(page: &mut Writer, all: &[UnitStats]) {
    page.gauge("ringtgt_lun_ready", "Whether the store is there, 1, or not, 0.");
    for unit in all {
        page.value(
            "ringtgt_lun_ready",
            &[("backstore", &unit.name)],
            f64::from(u8::from(unit.why.is_none())),
        );
    }
    page.gauge("ringtgt_lun_size_bytes", "Size that initiators see, of what is ready.");
    for (unit, size) in all.iter().filter_map(|unit| Some((unit, unit.size?))) {
        page.value("ringtgt_lun_size_bytes", &[("backstore", &unit.name)], size as f64);
    }
}

fn units(page: &mut Writer, all: &[UnitStats]) {
    let counts: [(&str, &str, OfFlow, Option<OfDone>); 3] = [
        ("ringtgt_lun_commands", "Commands that were answered.", |flow| flow.ops, Some(|done| done.others)),
        ("ringtgt_lun_bytes", "Bytes that commands have moved.", |flow| flow.bytes, None),
        (
            "ringtgt_lun_failed",
            "Commands that were not done.",
            |flow| flow.failed,
            Some(|done| done.others_failed),
        ),
    ];
    for (name, help, of, others) in counts {
        page.counter(name, help);
        for unit in all {
            for (direction, flow) in flows(&unit.done) {
                page.total(name, &[("backstore", &unit.name), ("direction", direction)], of(flow));
            }
            if let Some(others) = others {
                page.total(name, &[("backstore", &unit.name), ("direction", "other")], others(&unit.done));
            }
        }
    }
    let name = "ringtgt_lun_latency_seconds";
    page.family(name, "histogram", "Time from the header of a command to the end of its answer.");
    for (unit, whole) in all.iter().filter_map(|unit| Some((unit, unit.done.whole.as_deref()?))) {
        for (direction, flow) in whole_flows(whole) {
            let labels = [("backstore", &*unit.name), ("direction", direction)];
            page.histogram(name, &labels, &flow.times[TIMES - 1]);
        }
    }
}

fn phases(page: &mut Writer, sum: &Usage) {
    let name = "ringtgt_phase_seconds";
    page.family(name, "histogram", "Time that commands were in each phase, of all logical units.");
    for (direction, flow) in whole_flows(sum) {
        for (at, times) in flow.times.iter().enumerate().take(TIMES - 1) {
            page.histogram(name, &[("direction", direction), ("phase", time_word(at))], times);
        }
    }
}

fn sessions(page: &mut Writer, all: &[SessionStats]) {
    page.gauge("ringtgt_sessions", "Sessions.");
    page.value("ringtgt_sessions", &[], all.len() as f64);
    let told: Vec<_> = all.iter().filter(|session| session.done.whole.is_some()).collect();
    let (name, help) = ("ringtgt_session_commands", "Commands that were answered.");
    page.counter(name, help);
    for session in &told {
        session_totals(page, name, session, |flow| flow.ops);
    }
    let (name, help) = ("ringtgt_session_bytes", "Bytes that commands have moved.");
    page.counter(name, help);
    for session in &told {
        session_totals(page, name, session, |flow| flow.bytes);
    }
    let (name, help) = ("ringtgt_session_open_commands", "Commands that are open.");
    page.gauge(name, help);
    for session in &told {
        with_labels(session, |labels| page.value(name, labels, session.commands.into()));
    }
}

fn session_totals(page: &mut Writer, name: &str, session: &SessionStats, of: OfFlow) {
    for (direction, flow) in flows(&session.done) {
        with_labels(session, |labels| {
            page.total(name, &[labels, &[("direction", direction)]].concat(), of(flow));
        });
    }
}

fn with_labels(session: &SessionStats, call: impl FnOnce(&Labels<'_>)) {
    let tsih = session.tsih.to_string();
    let target = session.target.as_deref().unwrap_or("");
    call(&[("initiator", &session.initiator), ("target", target), ("tsih", &tsih)]);
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use super::*;
    use crate::admin::stats::{MOST_DETAILED, Mark, tests::stats as drawn};

    fn stats(units: u64) -> Stats {
        drawn(units, &Mark::default())
    }

    /// A name, its labels as written, and the value of a sample.
    fn sample(line: &str) -> (String, String, f64) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("labels end");
        let right = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.starts_with("ringtgt_") && name.chars().all(right), "{line}");
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, value) = rest.split_once("=\"").expect("a label");
            assert!(label.chars().all(right), "{line}");
            let mut quoted = value.char_indices();
            let end = loop {
                match quoted.next().expect("its end") {
                    (_, '\\') => {
                        let (_, escaped) = quoted.next().expect("what is escaped");
                        assert!(['\\', '"', 'n'].contains(&escaped), "{line}");
                    }
                    (at, '"') => break at,
                    _ => {}
                }
            };
            rest = &value[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        (name.into(), labels.into(), value.parse().expect("a number"))
    }

    /// Reads a page as strictly as the formats say; the names of its samples.
    fn read(page: &str, format: Format) -> BTreeSet<String> {
        let mut lines: Vec<&str> = page.lines().collect();
        assert!(page.ends_with('\n'));
        if format == Format::Open {
            assert_eq!(lines.pop(), Some("# EOF"));
        }
        let (mut family, mut kind, mut known) = (String::new(), String::new(), HashSet::new());
        let (mut names, mut series) = (BTreeSet::new(), HashSet::new());
        let mut below: BTreeMap<String, f64> = BTreeMap::new();
        for line in lines {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().expect("a name").into();
                assert!(known.insert(family.clone()), "{family} twice");
                continue;
            }
            if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, what) = of.split_once(' ').expect("a type");
                assert_eq!(name, family);
                kind = what.into();
                continue;
            }
            let (name, labels, value) = sample(line);
            assert!(series.insert((name.clone(), labels.clone())), "{line} twice");
            let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
            let right: &[&str] = match (kind.as_str(), format) {
                ("gauge", _) => &[""],
                ("counter", Format::Text) => {
                    assert!(family.ends_with("_total"), "{family}");
                    &[""]
                }
                ("counter", Format::Open) => &["_total"],
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                other => panic!("{other:?}"),
            };
            assert!(right.contains(&suffix), "{line}");
            if suffix == "_bucket" {
                let (of, bound) = labels.rsplit_once("le=").expect("a bound");
                let last = below.insert(format!("{family}{of}"), value).unwrap_or(0.0);
                assert!(last <= value, "{line}: fewer than before");
                assert!(bound == "\"+Inf\"" || bound.trim_matches('"').parse::<f64>().is_ok(), "{line}");
            }
            names.insert(name);
        }
        names
    }

    #[test]
    fn both_formats_are_what_they_are_called() {
        for format in [Format::Text, Format::Open] {
            let page = render(&stats(3), format);
            let names = read(&page, format);
            assert!(names.contains("ringtgt_lun_commands_total") && names.len() > 35, "{names:?}");
            assert!(page.contains(
                "ringtgt_lun_bytes_total{backstore=\"disk \\\"1\\\"\\\\\\n\",direction=\"read\"} 12288\n"
            ));
            assert!(page.contains("ringtgt_reactor_cpu_seconds_total{reactor=\"1\"} 1.5\n"));
            assert!(page.contains("ringtgt_lun_ready{backstore=\"disk \\\"0\\\"\\\\\\n\"} 1\n"));
            assert!(page.contains("ringtgt_lun_size_bytes{backstore=\"disk \\\"0\\\"\\\\\\n\"} 1048576\n"));
            read(&render(&Stats::default(), format), format);
        }
    }

    #[test]
    fn a_histogram_has_all_times() {
        let page = render(&stats(1), Format::Open);
        let of = "ringtgt_phase_seconds_bucket{direction=\"write\",phase=\"disk\",le=";
        let buckets: Vec<(&str, f64)> = page
            .lines()
            .filter_map(|l| l.strip_prefix(of)?.split_once("} "))
            .map(|(b, v)| (b, v.parse().unwrap()))
            .collect();
        assert_eq!(buckets.first(), Some(&("\"0.000004096\"", 1.0)));
        // Sample 40 is of a millisecond.
        assert_eq!(buckets.last(), Some(&("\"+Inf\"", 1.0)));
        assert!(page.contains("ringtgt_phase_seconds_count{direction=\"read\",phase=\"disk\"} 2\n"));
        assert!(page.contains("ringtgt_phase_seconds_sum{direction=\"read\",phase=\"disk\"} 0.002\n"));
    }

    #[test]
    fn ten_thousand_logical_units_are_no_more_than_can_be_carried() {
        let page = render(&stats(10_000), Format::Text);
        let names = |of: &str| page.lines().filter(|l| l.starts_with(of)).count();
        assert_eq!(names("ringtgt_lun_commands_total{"), 30_000);
        assert_eq!(names("ringtgt_lun_latency_seconds_count{"), 2 * MOST_DETAILED);
        // Those that have done most.
        assert!(page.contains("ringtgt_lun_latency_seconds_count{backstore=\"disk \\\"9999\\\""));
        assert!(page.len() < 12 << 20, "{}", page.len());
    }

    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let names = read(&render(&stats(2), Format::Text), Format::Text);
        let dashboard = include_str!("../../../tuning/grafana.json");
        let whole: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
        assert!(whole["panels"].as_array().is_some_and(|panels| panels.len() > 10));
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: BTreeSet<&str> =
            dashboard.split(|c| !word(c)).filter(|w| w.starts_with("ringtgt_")).collect();
        assert!(asked.len() > 15, "{asked:?}");
        for name in asked {
            assert!(names.contains(name), "{name} is not in /metrics");
        }
    }
}

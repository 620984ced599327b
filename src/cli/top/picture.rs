//! Two answers of the daemon, and what has gone on between them.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::reactor::{BUCKETS, Distribution, TIMES, bucket_begin, time_word};

/// An answer to `stats.get`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sample {
    now_ns: Option<u64>,
    reactors: Vec<ReactorSample>,
    backstores: Vec<UnitSample>,
    sessions: Vec<SessionSample>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ReactorSample {
    reactor: u16,
    connections: u64,
    commands: u64,
    disk_in_flight: u64,
    hungry: u64,
    busy_ns: u64,
    bytes_read: u64,
    bytes_written: u64,
    bytes_copied: u64,
    disk_ops: u64,
    fenced: u64,
    starved: u64,
    slots: Vec<SlotSample>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct SlotSample {
    free: u64,
    total: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct UnitSample {
    name: String,
    size: Option<u64>,
    why: Option<String>,
    #[serde(flatten)]
    usage: UsageSample,
}

#[derive(Debug, Clone, Deserialize)]
struct SessionSample {
    initiator: String,
    target: Option<String>,
    peer: String,
    tsih: u16,
    reactor: u16,
    connection: u64,
    commands: u64,
    waits: bool,
    #[serde(flatten)]
    usage: UsageSample,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct UsageSample {
    read: FlowSample,
    write: FlowSample,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct FlowSample {
    ops: u64,
    bytes: u64,
    failed: u64,
    times: HashMap<String, TimesSample>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct TimesSample {
    count: u64,
    sum_ns: u64,
    /// Only the busiest have them.
    buckets: Option<Vec<(usize, u64)>>,
}

impl Sample {
    pub(super) fn has_session(&self, tsih: u16) -> bool {
        self.sessions.iter().any(|session| session.tsih == tsih)
    }
}

impl FlowSample {
    fn time(&self, at: usize) -> Option<&TimesSample> {
        self.times.get(time_word(at))
    }
}

impl TimesSample {
    fn distribution(&self) -> Option<Distribution> {
        let mut all = Distribution { sum: self.sum_ns, ..Distribution::default() };
        for (at, count) in self.buckets.as_ref()?.iter().filter(|(at, _)| *at < BUCKETS) {
            all.counts[*at] = *count;
        }
        Some(all)
    }

    /// What came since; nothing, if that is not known.
    fn since(&self, old: Option<&Self>) -> Option<Distribution> {
        match old {
            None => self.distribution(),
            Some(old) => Some(self.distribution()?.since(&old.distribution()?)),
        }
    }
}

/// One direction of something, for a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Flow {
    pub(super) iops: f64,
    pub(super) bytes: f64,
    pub(super) failed: f64,
    /// Mean number of commands that were under way.
    pub(super) depth: f64,
    /// How many took a time: see [`time_word`].
    pub(super) counts: [f64; TIMES],
    /// What they took, as far as it is known.
    pub(super) times: [Distribution; TIMES],
}

impl Flow {
    fn between(old: Option<&FlowSample>, new: &FlowSample, seconds: f64) -> Self {
        let rate = |of: fn(&FlowSample) -> u64| per_second(old.map(of), of(new), seconds);
        let time = |of: fn(&TimesSample) -> u64, at: usize| {
            per_second(old.map(|old| old.time(at).map_or(0, of)), new.time(at).map_or(0, of), seconds)
        };
        let times = |at| new.time(at)?.since(old.and_then(|old| old.time(at)));
        Self {
            iops: rate(|flow| flow.ops),
            bytes: rate(|flow| flow.bytes),
            failed: rate(|flow| flow.failed),
            depth: time(|times| times.sum_ns, TIMES - 1) / 1e9,
            counts: std::array::from_fn(|at| time(|times| times.count, at)),
            times: std::array::from_fn(|at| times(at).unwrap_or_default()),
        }
    }

    fn to_json(&self, buckets: bool) -> Value {
        let times = self.times.iter().enumerate();
        let times: serde_json::Map<_, _> =
            times.map(|(at, times)| (time_word(at).to_owned(), time_json(times, buckets))).collect();
        json!({
            "iops": self.iops,
            "bytes_per_s": self.bytes,
            "failed_per_s": self.failed,
            "depth": self.depth,
            "times": times,
        })
    }
}

fn time_json(times: &Distribution, buckets: bool) -> Value {
    let [p50, p99, p999] = QUANTILES.map(|q| times.quantile(q));
    let mut told = json!({ "count": times.count(), "p50_ns": p50, "p99_ns": p99, "p999_ns": p999 });
    if buckets {
        let counts = times.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        told["buckets_ns"] = counts.map(|(at, count)| json!([bucket_begin(at), count])).collect();
    }
    told
}

/// The quantiles that are shown, in thousandths.
pub(super) const QUANTILES: [u64; 3] = [500, 990, 999];

/// What is less than before began anew.
fn per_second(old: Option<u64>, new: u64, seconds: f64) -> f64 {
    let more = old.filter(|old| *old <= new).map_or(new, |old| new - old);
    more as f64 / seconds
}

/// A logical unit or a session, for a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Row {
    pub(super) name: String,
    /// Of a session: where it comes from, where to, and on which reactor.
    pub(super) about: String,
    pub(super) read: Flow,
    pub(super) write: Flow,
    /// Commands that are open now; only sessions know.
    pub(super) commands: Option<u64>,
    /// Some wait for slots.
    pub(super) waits: bool,
    /// Of a logical unit: bytes that initiators see, if that is known; and why it is not ready, if it is not.
    pub(super) size: Option<u64>,
    pub(super) why: Option<String>,
}

impl Row {
    pub(super) fn iops(&self) -> f64 {
        self.read.iops + self.write.iops
    }

    pub(super) fn bytes(&self) -> f64 {
        self.read.bytes + self.write.bytes
    }

    pub(super) fn depth(&self) -> f64 {
        self.read.depth + self.write.depth
    }

    /// Of both directions together.
    pub(super) fn total(&self) -> Distribution {
        let mut all = self.read.times[TIMES - 1].clone();
        all.merge(&self.write.times[TIMES - 1]);
        all
    }

    fn to_json(&self, buckets: bool) -> Value {
        let (read, write) = (self.read.to_json(buckets), self.write.to_json(buckets));
        json!({ "name": self.name, "read": read, "write": write, "depth": self.depth() })
    }
}

/// A reactor, for a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ReactorRow {
    pub(super) number: u16,
    /// The part of one processor that it takes.
    pub(super) cpu: f64,
    pub(super) connections: u64,
    pub(super) commands: u64,
    pub(super) disk_in_flight: u64,
    /// Connections that wait for slots now.
    pub(super) hungry: u64,
    pub(super) read: f64,
    pub(super) written: f64,
    pub(super) copied: f64,
    pub(super) disk_ops: f64,
    pub(super) fenced: f64,
    pub(super) starved: f64,
    pub(super) slots_free: u64,
    pub(super) slots: u64,
}

impl ReactorRow {
    fn between(old: Option<&ReactorSample>, new: &ReactorSample, seconds: f64) -> Self {
        let rate = |of: fn(&ReactorSample) -> u64| per_second(old.map(of), of(new), seconds);
        Self {
            number: new.reactor,
            cpu: rate(|r| r.busy_ns) / 1e9,
            connections: new.connections,
            commands: new.commands,
            disk_in_flight: new.disk_in_flight,
            hungry: new.hungry,
            read: rate(|r| r.bytes_read),
            written: rate(|r| r.bytes_written),
            copied: rate(|r| r.bytes_copied),
            disk_ops: rate(|r| r.disk_ops),
            fenced: rate(|r| r.fenced),
            starved: rate(|r| r.starved),
            slots_free: new.slots.iter().map(|s| s.free).sum(),
            slots: new.slots.iter().map(|s| s.total).sum(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "reactor": self.number, "cpu": self.cpu, "connections": self.connections, "commands": self.commands,
            "disk_in_flight": self.disk_in_flight, "hungry": self.hungry, "read_bytes_per_s": self.read,
            "written_bytes_per_s": self.written, "copied_bytes_per_s": self.copied,
            "disk_ops_per_s": self.disk_ops, "fenced_per_s": self.fenced, "starved_per_s": self.starved,
            "slots_free": self.slots_free, "slots": self.slots,
        })
    }
}

/// What went on between two samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Picture {
    pub(super) seconds: f64,
    pub(super) reactors: Vec<ReactorRow>,
    pub(super) units: Vec<Row>,
    pub(super) sessions: Vec<Row>,
}

impl Picture {
    pub(super) fn between(old: &Sample, new: &Sample) -> Self {
        let passed = new.now_ns.unwrap_or(0).saturating_sub(old.now_ns.unwrap_or(0));
        let seconds = (passed as f64 / 1e9).max(1e-3);
        let reactor = |r: &ReactorSample| {
            ReactorRow::between(old.reactors.iter().find(|o| o.reactor == r.reactor), r, seconds)
        };
        let before: HashMap<&str, &UsageSample> =
            old.backstores.iter().map(|u| (u.name.as_str(), &u.usage)).collect();
        let unit = |u: &UnitSample| Row {
            size: u.size,
            why: u.why.clone(),
            ..row(u.name.clone(), before.get(u.name.as_str()).copied(), &u.usage, seconds)
        };
        let known: HashMap<(u16, u64), &UsageSample> =
            old.sessions.iter().map(|s| ((s.reactor, s.connection), &s.usage)).collect();
        let session = |s: &SessionSample| Row {
            about: format!(
                "tsih {} from {} to {} on reactor {}",
                s.tsih,
                s.peer,
                s.target.as_deref().unwrap_or("(discovery)"),
                s.reactor
            ),
            commands: Some(s.commands),
            waits: s.waits,
            ..row(s.initiator.clone(), known.get(&(s.reactor, s.connection)).copied(), &s.usage, seconds)
        };
        Self {
            seconds,
            reactors: new.reactors.iter().map(reactor).collect(),
            units: new.backstores.iter().map(unit).collect(),
            sessions: new.sessions.iter().map(session).collect(),
        }
    }

    /// For programs. `top` is another number when something of it means something else. With `buckets` distributions are
    /// told, too: where each bucket begins that is not empty, nanoseconds, and how many times are in it.
    pub(super) fn to_json(&self, buckets: bool) -> Value {
        let sessions = self.sessions.iter().map(|row| {
            let mut told = row.to_json(buckets);
            told["about"] = json!(row.about);
            told["commands"] = json!(row.commands);
            told["waits"] = json!(row.waits);
            told
        });
        let units = self.units.iter().map(|row| {
            let mut told = row.to_json(buckets);
            told["size"] = json!(row.size);
            told["why"] = json!(row.why);
            told
        });
        json!({
            "top": 1,
            "seconds": self.seconds,
            "reactors": self.reactors.iter().map(ReactorRow::to_json).collect::<Vec<_>>(),
            "backstores": units.collect::<Vec<_>>(),
            "sessions": sessions.collect::<Vec<_>>(),
        })
    }
}

fn row(name: String, old: Option<&UsageSample>, new: &UsageSample, seconds: f64) -> Row {
    Row {
        name,
        read: Flow::between(old.map(|o| &o.read), &new.read, seconds),
        write: Flow::between(old.map(|o| &o.write), &new.write, seconds),
        ..Row::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sample in which so much has been done, at that second.
    pub(in crate::cli::top) fn sample(second: u64, n: u64) -> Sample {
        let flow = |ops: u64, bucket: usize| {
            let times = json!({ "count": ops, "sum_ns": ops * 2_000_000, "buckets": [[bucket, ops]] });
            json!({ "ops": ops, "bytes": ops * 4096, "failed": 0, "times": { "total": times, "disk": times } })
        };
        let unit = |name: &str, part: u64| json!({ "name": name, "size": 1 << 30, "read": flow(n * part, 40), "write": flow(n, 44) });
        let mut session = unit("", 3);
        for (key, value) in [
            ("initiator", json!("iqn.1991-05.com.microsoft:a-rather-long-name.example.org")),
            ("target", json!("iqn.2026-11.org.example:t")),
            ("peer", json!("192.0.2.7:40000")),
            ("tsih", json!(3)),
            ("reactor", json!(1)),
            ("connection", json!(4)),
            ("commands", json!(32)),
            ("waits", json!(true)),
        ] {
            session[key] = value;
        }
        let reactor = |number: u16| {
            json!({ "reactor": number, "connections": 2, "commands": 32, "disk_in_flight": 30, "hungry": 1,
                    "busy_ns": second * 400_000_000, "bytes_read": n << 12, "bytes_written": n << 12,
                    "bytes_copied": n << 6, "disk_ops": n, "fenced": 0, "starved": n / 10,
                    "slots": [{ "free": 10, "total": 40 }] })
        };
        let all = json!({
            "now_ns": second * 1_000_000_000, "reactors": [reactor(0), reactor(1)],
            "backstores": [unit("alpha", 1), unit("beta", 2), unit("gamma-with-a-very-long-name", 0)],
            "sessions": [session],
        });
        serde_json::from_value(all).expect("a sample")
    }

    #[test]
    fn rates_are_of_what_came_since() {
        let picture = Picture::between(&sample(10, 1000), &sample(12, 3000));
        let beta = &picture.units[1];
        assert_eq!((beta.read.iops, beta.write.iops, beta.bytes()), (2000.0, 1000.0, 3000.0 * 4096.0));
        // Little: two milliseconds each.
        assert_eq!((beta.read.depth, beta.write.depth), (4.0, 2.0));
        assert_eq!((beta.total().count(), beta.read.times[TIMES - 1].count()), (6000, 4000));
        assert_eq!((picture.reactors[1].cpu, picture.reactors[1].starved), (0.4, 100.0));
        assert_eq!(picture.to_json(false)["sessions"][0]["commands"], 32);
        let of = |told: Value| told["backstores"][1]["read"]["times"]["total"]["buckets_ns"].clone();
        assert_eq!(of(picture.to_json(false)), Value::Null);
        assert_eq!(of(picture.to_json(true)), json!([[bucket_begin(40), 4000]]));
    }

    #[test]
    fn what_is_not_ready_says_why() {
        let mut new = sample(12, 3000);
        (new.backstores[2].size, new.backstores[2].why) = (None, Some("/dev/sdx: is not there".into()));
        let told = Picture::between(&sample(10, 1000), &new).to_json(false);
        let of = |n: usize| (told["backstores"][n]["size"].clone(), told["backstores"][n]["why"].clone());
        assert_eq!(of(0), (json!(1 << 30), Value::Null));
        assert_eq!(of(2), (Value::Null, json!("/dev/sdx: is not there")));
    }

    #[test]
    fn what_is_told_in_brief_has_rates_but_no_quantiles() {
        let (mut old, new) = (sample(10, 1000), sample(12, 3000));
        for times in old.backstores[1].usage.read.times.values_mut() {
            times.buckets = None;
        }
        let picture = Picture::between(&old, &new);
        let beta = &picture.units[1];
        assert_eq!((beta.read.iops, beta.read.depth, beta.read.counts[TIMES - 1]), (2000.0, 4.0, 2000.0));
        assert_eq!((beta.read.times[TIMES - 1].count(), beta.write.times[TIMES - 1].count()), (0, 2000));
    }

    #[test]
    fn what_began_anew_counts_from_there() {
        let picture = Picture::between(&sample(10, 1000), &sample(11, 10));
        assert_eq!((picture.units[0].read.iops, picture.units[0].total().count()), (10.0, 20));
    }
}

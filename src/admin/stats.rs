//! What is going on, as one picture: reactors, logical units, sessions, with how many commands and how long they took.
//!
//! The one place from which the control socket, the metrics and the live view have their numbers. All numbers count from
//! the start of what they are about; who wants rates asks twice. Distributions are kept whole of the [`MOST_DETAILED`]
//! logical units and sessions that have lately done most, and of all the others what is told of them: so a picture of
//! 10,000 logical units takes some megabytes, whatever they do. Who wants others whole names them, and is told of no more.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use serde_json::{Value, json};

use super::live::{Live, ShownStore};
use crate::ids::{ConnId, CoreId, LuId};
use crate::reactor::{
    Distribution, Flow, Late, OfSession, SessionUsage, Snapshot, TIMES, Usage, bucket_begin, time_word,
};

/// What the JSON is as a whole: another number, another meaning. What is added to it changes nothing.
pub const VERSION: u32 = 1;

/// Logical units, and sessions, whose distributions are told whole.
pub const MOST_DETAILED: usize = 128;

/// The quantiles that are told of every distribution, in thousandths.
const QUANTILES: [u64; 3] = [500, 990, 999];

/// A distribution in brief.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimesInBrief {
    count: u64,
    sum: u64,
    quantiles: [Option<u64>; QUANTILES.len()],
}

impl From<&Distribution> for TimesInBrief {
    fn from(times: &Distribution) -> Self {
        Self { count: times.count(), sum: times.sum, quantiles: QUANTILES.map(|q| times.quantile(q)) }
    }
}

/// A direction in brief.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowInBrief {
    /// Commands that were answered.
    pub ops: u64,
    /// Bytes that they have moved.
    pub bytes: u64,
    /// Those that were not done.
    pub failed: u64,
    times: [TimesInBrief; TIMES],
}

impl From<&Flow> for FlowInBrief {
    fn from(flow: &Flow) -> Self {
        let times = flow.times.each_ref().map(TimesInBrief::from);
        Self { ops: flow.ops, bytes: flow.bytes, failed: flow.failed, times }
    }
}

/// What something has done: in brief, and whole if it is among the busiest.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Commands that read the medium.
    pub read: FlowInBrief,
    /// Commands that write it.
    pub write: FlowInBrief,
    /// Commands that do neither.
    pub others: u64,
    /// Of these the ones that were not done.
    pub others_failed: u64,
    /// All of it.
    pub whole: Option<Box<Usage>>,
}

impl From<&Usage> for Done {
    fn from(usage: &Usage) -> Self {
        let Usage { read, write, others, others_failed } = usage;
        let (read, write) = (read.into(), write.into());
        Self { read, write, others: *others, others_failed: *others_failed, whole: None }
    }
}

impl Done {
    fn in_full(usage: &Usage) -> Self {
        Self { whole: Some(Box::new(usage.clone())), ..Self::from(usage) }
    }

    /// Commands that move data of the medium.
    pub fn ops(&self) -> u64 {
        self.read.ops + self.write.ops
    }

    fn to_json(&self, buckets: bool) -> Value {
        let whole = self.whole.as_deref().filter(|_| buckets);
        json!({
            "read": flow(&self.read, whole.map(|w| &w.read)),
            "write": flow(&self.write, whole.map(|w| &w.write)),
            "other": { "ops": self.others, "failed": self.others_failed },
        })
    }
}

/// A logical unit, how it is, and what has been done with it.
#[derive(Debug, Clone)]
pub struct UnitStats {
    /// Which one.
    pub lu: LuId,
    /// The name of its store.
    pub name: String,
    /// Bytes that initiators see, if that is known.
    pub size: Option<u64>,
    /// Why it is not ready, if it is not.
    pub why: Option<String>,
    /// What has been done.
    pub done: Done,
}

impl UnitStats {
    /// As long as nothing has been done with it.
    fn untouched(store: ShownStore<'_>) -> Self {
        let ShownStore { lu, name, size, why } = store;
        Self { lu, name: name.to_owned(), size, why: why.map(ToOwned::to_owned), done: Done::default() }
    }
}

/// A session and what it has done.
pub type SessionStats = OfSession<Done>;

/// Those that are asked for by name.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// Logical units, by the names of their stores.
    pub backstores: HashSet<String>,
    /// Sessions, by their handles.
    pub sessions: HashSet<u16>,
}

/// How many commands everything had done at some time: what more there is by now tells who is busy.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    units: HashMap<LuId, u64>,
    sessions: HashMap<(CoreId, ConnId), u64>,
}

/// The whole of those that have most of something, while all come by once.
#[derive(Default)]
struct Busiest {
    kept: Vec<(u64, usize, Box<Usage>)>,
    /// What has no more than this is not among them.
    bar: Option<u64>,
}

impl Busiest {
    fn look(&mut self, has: u64, at: usize, usage: &Usage) {
        if self.bar.is_some_and(|bar| has <= bar) {
            return;
        }
        self.kept.push((has, at, Box::new(usage.clone())));
        if self.kept.len() == 2 * MOST_DETAILED {
            self.thin_out();
            self.bar = self.kept.last().map(|(has, ..)| *has);
        }
    }

    fn thin_out(&mut self) {
        self.kept.sort_by_key(|(has, at, _)| (Reverse(*has), *at));
        self.kept.truncate(MOST_DETAILED);
    }

    /// Gives those places theirs.
    fn hand_out<T>(mut self, all: &mut [T], done: impl Fn(&mut T) -> &mut Done) {
        self.thin_out();
        for (_, at, whole) in self.kept {
            if let Some(one) = all.get_mut(at) {
                done(one).whole = Some(whole);
            }
        }
    }
}

/// The picture.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Every reactor.
    pub reactors: Vec<Snapshot>,
    /// Every logical unit, by number.
    pub units: Vec<UnitStats>,
    /// Every session.
    pub sessions: Vec<SessionStats>,
    /// What has been done with all of these logical units together.
    pub sum: Box<Usage>,
}

impl Stats {
    /// The picture of now; `since` tells who is busy.
    ///
    /// # Errors
    /// When a reactor is late: less than everything is no picture.
    pub fn of(live: &Live, since: &Mark) -> Result<Self, Late> {
        let (units, control) = (live.stores(|store, _| UnitStats::untouched(store)), live.control());
        let mut stats = Self { reactors: control.report_all()?, units, ..Self::default() };
        let mut busiest = Busiest::default();
        control.unit_usage(|lu, usage| stats.add_usage(lu, usage, since, &mut busiest))?;
        busiest.hand_out(&mut stats.units, |unit| &mut unit.done);
        let mut busiest = Busiest::default();
        control.session_usage(|session| stats.add_session(session, since, &mut busiest))?;
        busiest.hand_out(&mut stats.sessions, |session| &mut session.done);
        Ok(stats)
    }

    /// Of logical units and sessions only these, and all of these whole, however little they do.
    ///
    /// # Errors
    /// When a reactor is late.
    pub fn of_these(live: &Live, named: &Named) -> Result<Self, Late> {
        let (units, control) = (live.stores(|store, _| UnitStats::untouched(store)), live.control());
        let mut stats = Self { reactors: control.report_all()?, units, ..Self::default() };
        control.unit_usage(|lu, usage| stats.add_usage_if_named(lu, usage, named))?;
        stats.units.retain(|unit| named.backstores.contains(&unit.name));
        for unit in &mut stats.units {
            unit.done.whole.get_or_insert_default();
        }
        control.session_usage(|session| stats.add_session_if_named(session, named))?;
        Ok(stats)
    }

    /// Where that logical unit stands, if it is still there.
    fn place(&self, lu: LuId) -> Option<usize> {
        self.units.binary_search_by_key(&lu, |unit| unit.lu).ok()
    }

    fn add_usage_if_named(&mut self, lu: LuId, usage: &Usage, named: &Named) {
        let Some(at) = self.place(lu) else { return };
        self.sum.merge(usage);
        if named.backstores.contains(&self.units[at].name) {
            self.units[at].done = Done::in_full(usage);
        }
    }

    fn add_session_if_named(&mut self, session: SessionUsage, named: &Named) {
        if named.sessions.contains(&session.tsih) {
            self.sessions.push(session.map(|usage| Done::in_full(&usage)));
        }
    }

    fn add_usage(&mut self, lu: LuId, usage: &Usage, since: &Mark, busiest: &mut Busiest) {
        let Some(at) = self.place(lu) else { return };
        let done = Done::from(usage);
        self.sum.merge(usage);
        busiest.look(done.ops().saturating_sub(before(&since.units, &lu)), at, usage);
        self.units[at].done = done;
    }

    fn add_session(&mut self, session: SessionUsage, since: &Mark, busiest: &mut Busiest) {
        let (old, at) = (before(&since.sessions, &(session.core, session.conn)), self.sessions.len());
        self.sessions.push(session.map(|usage| {
            let done = Done::from(&usage);
            busiest.look(done.ops().saturating_sub(old), at, &usage);
            done
        }));
    }

    /// How many commands everything has done.
    pub fn mark(&self) -> Mark {
        Mark {
            units: self.units.iter().map(|unit| (unit.lu, unit.done.ops())).collect(),
            sessions: self.sessions.iter().map(|s| ((s.core, s.conn), s.done.ops())).collect(),
        }
    }

    /// As the control socket tells it. It is written piece by piece: as a tree of values it would take many times as much.
    pub fn to_text(&self, buckets: bool) -> String {
        let mut sum = Done::from(&*self.sum);
        sum.whole = Some(self.sum.clone());
        let now = self.reactors.iter().map(|r| r.now).max();
        let mut out = format!("{{\"stats\":{VERSION},\"now_ns\":{}", json!(now));
        if buckets {
            let begins: Value = (0..crate::reactor::BUCKETS).map(bucket_begin).collect();
            let _ = write!(out, ",\"bucket_begins_ns\":{begins}");
        }
        let _ = write!(out, ",\"all\":{}", sum.to_json(buckets));
        list(&mut out, "reactors", self.reactors.iter().map(reactor));
        list(&mut out, "backstores", self.units.iter().map(|unit| self::unit(unit, buckets)));
        list(&mut out, "sessions", self.sessions.iter().map(|session| self::session(session, buckets)));
        out.push('}');
        out
    }
}

fn before<K: std::hash::Hash + Eq>(all: &HashMap<K, u64>, of: &K) -> u64 {
    all.get(of).copied().unwrap_or(0)
}

/// One more member of an object: a list.
fn list(out: &mut String, name: &str, all: impl Iterator<Item = Value>) {
    let _ = write!(out, ",\"{name}\":[");
    for (n, one) in all.enumerate() {
        let _ = write!(out, "{}{one}", if n == 0 { "" } else { "," });
    }
    out.push(']');
}

fn unit(unit: &UnitStats, buckets: bool) -> Value {
    let mut told = unit.done.to_json(buckets);
    told["name"] = json!(unit.name);
    told["size"] = json!(unit.size);
    told["why"] = json!(unit.why);
    told
}

fn session(s: &SessionStats, buckets: bool) -> Value {
    let mut told = s.done.to_json(buckets);
    let more = json!({
        "tsih": s.tsih,
        "initiator": s.initiator,
        "target": s.target,
        "peer": s.peer.to_string(),
        "reactor": s.core.0,
        // What tells it from others there, also when handles are used again.
        "connection": (u64::from(s.conn.generation) << 32) | u64::from(s.conn.index),
        "commands": s.commands,
        "waits": s.waits,
    });
    if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
        told.extend(more);
    }
    told
}

fn flow(brief: &FlowInBrief, whole: Option<&Flow>) -> Value {
    let times = brief.times.iter().enumerate();
    let times: serde_json::Map<_, _> = times
        .map(|(at, times)| (time_word(at).to_owned(), distribution(times, whole.map(|w| &w.times[at]))))
        .collect();
    json!({ "ops": brief.ops, "bytes": brief.bytes, "failed": brief.failed, "times": times })
}

fn distribution(brief: &TimesInBrief, whole: Option<&Distribution>) -> Value {
    let TimesInBrief { count, sum, quantiles: [p50, p99, p999] } = brief;
    let mut told = json!({ "count": count, "sum_ns": sum, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999 });
    if let Some(times) = whole {
        let counts = times.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        told["buckets"] = counts.map(|(at, count)| json!([at, count])).collect();
    }
    told
}

/// A reactor, as the control socket tells of it.
pub(super) fn reactor(snapshot: &Snapshot) -> Value {
    let Snapshot { core, connections, commands, disk_in_flight, hungry, now, busy, counters: c, ring, slots } =
        snapshot;
    let slots: Vec<Value> =
        slots.iter().map(|s| json!({ "size": s.size, "free": s.free, "total": s.total })).collect();
    json!({
        "reactor": core.0,
        "connections": connections,
        "commands": commands,
        "disk_in_flight": disk_in_flight,
        "hungry": hungry,
        "now_ns": now,
        "busy_ns": busy,
        "accepted": c.accepted,
        "logins": c.logins,
        "refused_logins": c.refused,
        "closed": c.closed,
        "bytes_read": c.read,
        "bytes_written": c.written,
        "bytes_copied": c.copied_in,
        "disk_ops": c.disk_ops,
        "fenced": c.fenced,
        "starved": c.starved,
        "sends": c.sends,
        "sends_uncopied": c.uncopied,
        "sends_copied_after_all": c.copied_after_all,
        "receives": c.recvs,
        "stalled": c.stalled,
        "greedy": c.greedy,
        "lapsed": c.lapsed,
        "turns": ring.turns,
        "enters": ring.enters,
        "waits": ring.waits,
        "slots": slots,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::reactor::Counters;
    use crate::ring;

    fn flow(ops: u64) -> Flow {
        let mut flow = Flow { ops, bytes: ops * 4096, failed: 1, ..Flow::default() };
        for times in &mut flow.times {
            (times.counts[0], times.counts[40], times.sum) = (1, ops - 1, ops * 1_000_000);
        }
        flow
    }

    fn usage(n: u64) -> Usage {
        Usage { read: flow(n + 2), write: flow(n + 1), others: 3, others_failed: 0 }
    }

    /// So many logical units, of which each has done more than those before; two reactors and a session.
    pub(in crate::admin) fn stats(units: u64, since: &Mark) -> Stats {
        let reactor = |n: u16| Snapshot {
            core: CoreId(n),
            connections: 1,
            commands: 2,
            disk_in_flight: 3,
            hungry: 0,
            now: 1,
            busy: 1_500_000_000,
            counters: Counters::default(),
            ring: ring::Stats::default(),
            slots: vec![crate::mem::SlotStats { size: 4096, free: 5, total: 9, fewest: 0 }],
        };
        let session = SessionUsage {
            core: CoreId(0),
            conn: ConnId { index: 0, generation: 0 },
            tsih: 7,
            initiator: "iqn.i".into(),
            target: None,
            peer: std::net::SocketAddr::from(([127, 0, 0, 1], 4711)),
            commands: 2,
            waits: false,
            done: usage(5),
        };
        let unit = |n| {
            let (lu, name) = (LuId(n as u32), format!("disk \"{n}\"\\\n"));
            UnitStats::untouched(ShownStore { lu, name: &name, size: Some((n + 1) << 20), why: None })
        };
        let units: Vec<UnitStats> = (0..units).map(unit).collect();
        let mut stats = Stats { reactors: vec![reactor(0), reactor(1)], units, ..Stats::default() };
        let mut busiest = Busiest::default();
        for n in 0..stats.units.len() as u64 {
            stats.add_usage(LuId(n as u32), &usage(n), since, &mut busiest);
        }
        busiest.hand_out(&mut stats.units, |unit| &mut unit.done);
        let mut busiest = Busiest::default();
        stats.add_session(session, since, &mut busiest);
        busiest.hand_out(&mut stats.sessions, |session| &mut session.done);
        stats
    }

    fn detailed(stats: &Stats) -> Vec<u32> {
        stats.units.iter().filter(|unit| unit.done.whole.is_some()).map(|unit| unit.lu.0).collect()
    }

    #[test]
    fn only_the_busiest_are_told_whole_and_all_in_brief() {
        let stats = stats(1000, &Mark::default());
        assert_eq!(detailed(&stats), (1000 - MOST_DETAILED as u32..1000).collect::<Vec<_>>());
        let text = stats.to_text(true);
        assert!(text.len() < 3 << 20, "{}", text.len());
        let told: Value = serde_json::from_str(&text).expect("JSON");
        let units = told["backstores"].as_array().expect("a list");
        let with = |unit: &&Value| unit["read"]["times"]["total"].get("buckets").is_some();
        assert_eq!((units.len(), units.iter().filter(with).count()), (1000, MOST_DETAILED));
        let first = &units[0]["read"]["times"]["total"];
        assert_eq!((&first["count"], first["p50_ns"].is_u64()), (&json!(2), true), "{first}");
        // Of all together everything is known.
        let sum = &told["all"]["read"]["times"]["disk"];
        let counts = sum["buckets"].as_array().expect("a list").iter().map(|pair| pair[1].as_u64());
        assert_eq!(counts.sum::<Option<u64>>(), sum["count"].as_u64());
    }

    #[test]
    fn a_logical_unit_without_a_command_is_told_of_too() {
        let mut stats = stats(2, &Mark::default());
        let away = ShownStore { lu: LuId(5), name: "away", size: None, why: Some("/dev/sdx: is not there") };
        stats.units.push(UnitStats::untouched(away));
        // Of what is not there any more, nothing.
        stats.add_usage(LuId(4), &usage(9), &Mark::default(), &mut Busiest::default());
        let told: Value = serde_json::from_str(&stats.to_text(false)).expect("JSON");
        let [first, _, away] = told["backstores"].as_array().expect("a list").as_slice() else {
            panic!("{told}")
        };
        assert_eq!((&first["size"], &first["why"]), (&json!(1 << 20), &Value::Null));
        assert_eq!((&away["size"], &away["why"]), (&Value::Null, &json!("/dev/sdx: is not there")));
        assert_eq!(away["read"]["times"]["total"]["count"], 0);
    }

    #[test]
    fn busy_is_who_has_done_something_lately() {
        let now = 300;
        let mut since = stats(now, &Mark::default()).mark();
        // All had done as much before, but for the first few.
        (0..5).for_each(|n| *since.units.get_mut(&LuId(n)).expect("it is there") -= 1);
        let told = detailed(&stats(now, &since));
        assert_eq!((told.len(), &told[..5]), (MOST_DETAILED, &[0, 1, 2, 3, 4][..]));
    }

    #[test]
    fn without_being_asked_no_buckets_are_told() {
        let text = stats(3, &Mark::default()).to_text(false);
        assert!(!text.contains("bucket"), "{text}");
        assert!(serde_json::from_str::<Value>(&text).expect("JSON")["sessions"][0]["commands"] == 2);
    }
}

//! What is going on, as one picture: reactors, logical units, sessions, with how many commands and how long they took.
//!
//! The one place from which the control socket, the metrics and the live view have their numbers. All numbers count from
//! the start of what they are about; who wants rates asks twice.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::live::Live;
use crate::ids::LuId;
use crate::reactor::{Distribution, Flow, SessionUsage, Snapshot, Usage, bucket_begin, time_word};

/// What the JSON is as a whole: another number, another meaning. What is added to it changes nothing.
pub const VERSION: u32 = 1;

/// A logical unit and what has been done with it.
#[derive(Debug, Clone)]
pub struct UnitStats {
    /// The name of its store.
    pub name: String,
    /// What has been done.
    pub usage: Usage,
}

/// The picture.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Every reactor that has answered.
    pub reactors: Vec<Snapshot>,
    /// Every logical unit that has had a command, by number.
    pub units: Vec<UnitStats>,
    /// Every session.
    pub sessions: Vec<SessionUsage>,
}

impl Stats {
    /// The picture of now.
    pub fn of(live: &Live) -> Self {
        let names: HashMap<LuId, String> = live.unit_names();
        let usage = live.control().unit_usage();
        let named = |(lu, usage)| Some(UnitStats { name: names.get(&lu)?.clone(), usage });
        Self {
            reactors: live.control().report(),
            units: usage.into_iter().filter_map(named).collect(),
            sessions: live.control().session_usage(),
        }
    }

    /// As the control socket tells it.
    pub fn to_json(&self, buckets: bool) -> Value {
        let units = self.units.iter().map(|unit| {
            let mut told = usage(&unit.usage, buckets);
            told["name"] = json!(unit.name);
            told
        });
        let sessions = self.sessions.iter().map(|session| self::session(session, buckets));
        let mut all = json!({
            "stats": VERSION,
            "now_ns": self.reactors.iter().map(|r| r.now).max(),
            "reactors": self.reactors.iter().map(reactor).collect::<Vec<_>>(),
            "backstores": units.collect::<Vec<_>>(),
            "sessions": sessions.collect::<Vec<_>>(),
        });
        if buckets {
            all["bucket_begins_ns"] = (0..crate::reactor::BUCKETS).map(bucket_begin).collect();
        }
        all
    }
}

fn session(s: &SessionUsage, buckets: bool) -> Value {
    let mut told = usage(&s.usage, buckets);
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

fn usage(usage: &Usage, buckets: bool) -> Value {
    json!({
        "read": flow(&usage.read, buckets),
        "write": flow(&usage.write, buckets),
        "other": { "ops": usage.others, "failed": usage.others_failed },
    })
}

fn flow(flow: &Flow, buckets: bool) -> Value {
    let times = flow.times.iter().enumerate();
    let times: serde_json::Map<_, _> =
        times.map(|(at, times)| (time_word(at).to_owned(), distribution(times, buckets))).collect();
    json!({ "ops": flow.ops, "bytes": flow.bytes, "failed": flow.failed, "times": times })
}

fn distribution(times: &Distribution, buckets: bool) -> Value {
    let mut told = json!({
        "count": times.count(),
        "sum_ns": times.sum,
        "p50_ns": times.quantile(500),
        "p99_ns": times.quantile(990),
        "p999_ns": times.quantile(999),
    });
    if buckets {
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
        "closed": c.closed,
        "bytes_read": c.read,
        "bytes_written": c.written,
        "bytes_copied": c.copied_in,
        "disk_ops": c.disk_ops,
        "fenced": c.fenced,
        "starved": c.starved,
        "sends": c.sends,
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

//! What the daemon tells of itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::finding::{Finding, count};
use crate::admin::config::{self, Config, Source};
use crate::admin::rpc::{CallError, Client, default_socket};
use crate::cli::args::Daemon;
use crate::cli::away::Away;
use crate::store::StoreConfig;

/// A daemon that runs.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) pid: u64,
    pub(super) reactors: usize,
    /// Which part of the time each of them works; nothing, where nobody is logged in.
    pub(super) load: Vec<f64>,
    /// What its buffers take, bytes.
    pub(super) buffers: u64,
    /// None, if what is served cannot be read.
    pub(super) stores: Option<Vec<Arc<StoreConfig>>>,
    /// Those of them that are not ready.
    pub(super) away: Away,
    /// The addresses at which it may be reached: of its portals, or any if these are not known, and of its sessions.
    pub(super) addresses: Vec<IpAddr>,
    /// Local disks that are not there: of which backstore, and why.
    pub(super) lacking: Vec<(String, String)>,
    /// As `sessions.list` tells them.
    pub(super) sessions: Vec<Value>,
}

/// How long is looked at how much reactors work.
const LOOK: Duration = Duration::from_millis(200);

impl Served {
    /// Asks; and says who does not answer.
    pub(super) fn ask(daemon: &Daemon) -> (Option<Self>, Vec<Finding>) {
        let socket = daemon.control_socket.clone().unwrap_or_else(default_socket);
        match Client::connect(&socket).and_then(|client| Self::of(&client)) {
            Ok(served) => {
                let is = format!("runs as process {} with {}", served.pid, count(served.reactors, "reactor"));
                let finding = served.starved().unwrap_or_else(|| Finding::good("daemon", is));
                let findings = [Some(finding), served.unreadable()].into_iter().flatten().collect();
                (Some(served), findings)
            }
            Err(error) => {
                let why = "only the machine can be looked at";
                let cost = "nothing is said of disks and initiators";
                let remedy = "start it, or name its socket with --control-socket";
                (None, vec![Finding::hint("daemon", error.to_string(), why, cost, remedy)])
            }
        }
    }

    fn of(client: &Client) -> Result<Self, CallError> {
        let version = client.call("version", json!({}))?;
        let config = client.call("config.get", json!({}))?;
        let sessions =
            client.call("sessions.list", json!({}))?["sessions"].as_array().cloned().unwrap_or_default();
        // An older one does not know why.
        let away = client.call("backstores.list", json!({})).unwrap_or_default();
        let disks = client.call("loopback.list", json!({})).unwrap_or_default();
        let reactors = reactors(client)?;
        let mut load = Vec::new();
        if !sessions.is_empty() {
            sleep(LOOK);
            load = loads(&reactors, &self::reactors(client)?);
        }
        let config = parsed(&config);
        Ok(Self {
            pid: version["pid"].as_u64().unwrap_or(0),
            reactors: reactors.len(),
            load,
            buffers: reactors.iter().map(buffers).sum(),
            addresses: addresses(config.as_ref(), &sessions),
            stores: config.map(|config| config.stores),
            away: Away::read(&away),
            lacking: lacking(&disks),
            sessions,
        })
    }

    fn starved(&self) -> Option<Finding> {
        (self.pid == 0).then(|| {
            let why = "it does not tell which process it is";
            let cost = "nothing is said of its limits and its memory";
            let remedy = "restart it: systemctl restart ringtgt";
            Finding::hint("daemon", "is older than this program", why, cost, remedy)
        })
    }

    /// What it serves is no text that this program understands.
    fn unreadable(&self) -> Option<Finding> {
        self.stores.is_none().then(|| {
            Finding::hint(
                "daemon",
                "serves a configuration that this program cannot read",
                "its disks are not looked at",
                "nothing is said of them",
                "they are of different versions: restart it (systemctl restart ringtgt), or use the ringtgt that it is",
            )
        })
    }

    /// Local disks that whoever uses this host does without.
    pub(super) fn local_disks(&self) -> impl Iterator<Item = Finding> {
        self.lacking.iter().map(|(store, why)| {
            let (is, remedy) = why.split_once("; ").unwrap_or((why, "see the log: journalctl -u ringtgt"));
            let is = format!("its local disk is not there: {is}");
            let why = "[[loopback]] makes it a disk of this host";
            Finding::hint(store, is, why, "what is mounted from it is missing", remedy).wrong()
        })
    }

    /// What it serves that is a device or a file of this machine.
    pub(super) fn on_disk(&self) -> impl Iterator<Item = (&StoreConfig, &Path)> {
        self.stores.iter().flatten().filter_map(|store| Some((&**store, store.path.as_deref()?)))
    }
}

fn reactors(client: &Client) -> Result<Vec<Value>, CallError> {
    Ok(client.call("counters", json!({}))?["reactors"].as_array().cloned().unwrap_or_default())
}

/// Which part of the time between two looks each has worked.
fn loads(before: &[Value], after: &[Value]) -> Vec<f64> {
    let gone = |pair: (&Value, &Value), key| {
        pair.1[key].as_f64().unwrap_or(0.0) - pair.0[key].as_f64().unwrap_or(0.0)
    };
    before.iter().zip(after).map(|pair| gone(pair, "busy_ns") / gone(pair, "now_ns").max(1.0)).collect()
}

fn addresses(config: Option<&Config>, sessions: &[Value]) -> Vec<IpAddr> {
    let anywhere = || vec![Ipv6Addr::UNSPECIFIED.into()];
    let portals = config.map(|config| config.listeners().iter().map(|portal| portal.address.ip()).collect());
    let local =
        |session: &Value| session["local"].as_str()?.parse::<SocketAddr>().ok().map(|local| local.ip());
    let all = portals.unwrap_or_else(anywhere).into_iter().chain(sessions.iter().filter_map(local));
    all.map(|address| address.to_canonical()).collect()
}

/// As `loopback.list` tells them.
fn lacking(answer: &Value) -> Vec<(String, String)> {
    let text = |disk: &Value, key: &str| disk[key].as_str().map(ToOwned::to_owned);
    let disks = answer["loopbacks"].as_array().into_iter().flatten();
    disks.filter_map(|disk| Some((text(disk, "backstore")?, text(disk, "why")?))).collect()
}

fn buffers(reactor: &Value) -> u64 {
    let slots = reactor["slots"].as_array().into_iter().flatten();
    slots.map(|s| s["size"].as_u64().unwrap_or(0) * s["total"].as_u64().unwrap_or(0)).sum()
}

/// The configuration that is served; none, if that cannot be read.
fn parsed(answer: &Value) -> Option<Config> {
    let file = answer["file"].as_str().map(Path::new);
    let dir =
        answer["dir"].as_str().map(Path::new).or_else(|| file?.parent()).unwrap_or_else(|| Path::new("/"));
    let text = answer["toml"].as_str().unwrap_or_default();
    config::parse(Source::new("served", text), dir, None).ok().map(|(config, _)| config)
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A daemon with so many reactors that can be reached anywhere and serves nothing to nobody.
    pub(crate) fn served(reactors: usize) -> Served {
        Served {
            pid: 7,
            reactors,
            load: vec![],
            buffers: 0,
            stores: Some(vec![]),
            away: Away::default(),
            addresses: vec![Ipv6Addr::UNSPECIFIED.into()],
            lacking: vec![],
            sessions: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    fn configured(toml: &str) -> Option<Config> {
        parsed(&json!({ "toml": toml, "file": "/etc/ringtgt/ringtgt.toml", "dir": null }))
    }

    fn serving(toml: &str) -> Served {
        Served { stores: configured(toml).map(|config| config.stores), ..testing::served(1) }
    }

    #[test]
    fn a_local_disk_that_is_not_there_is_wrong_and_says_why() {
        let told = json!({ "loopbacks": [
            { "backstore": "a", "device": "/dev/ublkb0", "why": null },
            { "backstore": "b", "device": null, "why": "/dev/ublk-control is not there; modprobe ublk_drv" },
        ] });
        let served = Served { lacking: lacking(&told), ..serving("") };
        let [finding] = served.local_disks().collect::<Vec<_>>().try_into().expect("one of them");
        assert_eq!((finding.about.as_str(), finding.grade), ("b", Grade::Wrong));
        assert_eq!(finding.is, "its local disk is not there: /dev/ublk-control is not there");
        assert_eq!(finding.remedy, "modprobe ublk_drv");
        assert!(lacking(&Value::Null).is_empty(), "an older daemon does not tell");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let good = serving("[[backstore]]\nkind = \"block\"\nname = \"b\"\npath = \"/dev/sdx\"\n");
        assert_eq!((good.unreadable(), good.on_disk().count()), (None, 1));
        let newer = serving("[[backstore]]\nkind = \"of tomorrow\"\nname = \"b\"\n");
        assert!(newer.unreadable().is_some_and(|finding| finding.why.contains("disks are not looked at")));
        assert_eq!(newer.on_disk().count(), 0);
    }

    #[test]
    fn it_is_reached_at_its_portals_and_where_sessions_are() {
        let target =
            "[[target]]\niqn = \"iqn.2026-11.a:t\"\n[[target.tpg]]\nportals = [\"127.0.0.1:3260\"]\n";
        let sessions = [json!({ "local": "[::ffff:192.0.2.1]:3260" }), json!({ "local": null })];
        let of = |config: Option<&Config>, sessions| {
            addresses(config, sessions).iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        let config = configured(target).expect("a configuration");
        assert_eq!(of(Some(&config), &sessions), ["127.0.0.1", "192.0.2.1"]);
        assert_eq!(of(None, &[]), ["::"], "it may be anywhere");
    }

    #[test]
    fn work_is_told_as_part_of_the_time() {
        let at = |busy: u64, now: u64| json!({ "busy_ns": busy, "now_ns": now });
        let loads = loads(&[at(5, 100), at(7, 100)], &[at(55, 200), at(7, 200)]);
        assert_eq!(loads, [0.5, 0.0]);
    }
}

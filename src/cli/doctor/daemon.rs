//! What the daemon tells of itself.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::finding::Finding;
use crate::admin::config::{self, Source};
use crate::admin::rpc::{CallError, Client, default_socket};
use crate::cli::args::Daemon;
use crate::cli::away::Away;
use crate::store::StoreConfig;

/// A daemon that runs.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) pid: u64,
    pub(super) reactors: usize,
    /// What its buffers take, bytes.
    pub(super) buffers: u64,
    /// None, if what is served cannot be read.
    pub(super) stores: Option<Vec<Arc<StoreConfig>>>,
    /// Those of them that are not ready.
    pub(super) away: Away,
    /// As `sessions.list` tells them.
    pub(super) sessions: Vec<Value>,
}

impl Served {
    /// Asks; and says who does not answer.
    pub(super) fn ask(daemon: &Daemon) -> (Option<Self>, Vec<Finding>) {
        let socket = daemon.control_socket.clone().unwrap_or_else(default_socket);
        match Client::connect(&socket).and_then(|client| Self::of(&client)) {
            Ok(served) => {
                let is = format!("runs as process {} with {} reactors", served.pid, served.reactors);
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
        let counters = client.call("counters", json!({}))?;
        let sessions = client.call("sessions.list", json!({}))?;
        // An older one does not know why.
        let away = client.call("backstores.list", json!({})).unwrap_or_default();
        let reactors = counters["reactors"].as_array().cloned().unwrap_or_default();
        Ok(Self {
            pid: version["pid"].as_u64().unwrap_or(0),
            reactors: reactors.len(),
            buffers: reactors.iter().map(buffers).sum(),
            stores: stores(&config),
            away: Away::read(&away),
            sessions: sessions["sessions"].as_array().cloned().unwrap_or_default(),
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

    /// What it serves that is a device or a file of this machine.
    pub(super) fn on_disk(&self) -> impl Iterator<Item = (&StoreConfig, &Path)> {
        self.stores.iter().flatten().filter_map(|store| Some((&**store, store.path.as_deref()?)))
    }
}

fn buffers(reactor: &Value) -> u64 {
    let slots = reactor["slots"].as_array().into_iter().flatten();
    slots.map(|s| s["size"].as_u64().unwrap_or(0) * s["total"].as_u64().unwrap_or(0)).sum()
}

/// The backstores of the configuration that is served; none, if that cannot be read.
fn stores(answer: &Value) -> Option<Vec<Arc<StoreConfig>>> {
    let file = answer["file"].as_str().map(Path::new);
    let dir =
        answer["dir"].as_str().map(Path::new).or_else(|| file?.parent()).unwrap_or_else(|| Path::new("/"));
    let text = answer["toml"].as_str().unwrap_or_default();
    config::parse(Source::new("served", text), dir, None).ok().map(|(config, _)| config.stores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(toml: &str) -> Served {
        let stores = stores(&json!({ "toml": toml, "file": "/etc/ringtgt/ringtgt.toml", "dir": null }));
        Served { pid: 1, reactors: 1, buffers: 0, stores, away: Away::default(), sessions: Vec::new() }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let good = serving("[[backstore]]\nkind = \"block\"\nname = \"b\"\npath = \"/dev/sdx\"\n");
        assert_eq!((good.unreadable(), good.on_disk().count()), (None, 1));
        let newer = serving("[[backstore]]\nkind = \"of tomorrow\"\nname = \"b\"\n");
        assert!(newer.unreadable().is_some_and(|finding| finding.why.contains("disks are not looked at")));
        assert_eq!(newer.on_disk().count(), 0);
    }
}

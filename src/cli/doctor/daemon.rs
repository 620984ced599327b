//! What the daemon tells of itself.

use std::path::Path;

use serde_json::{Value, json};

use super::finding::Finding;
use crate::admin::config::{self, Source};
use crate::admin::rpc::{CallError, Client, default_socket};
use crate::cli::args::Daemon;
use crate::store::{StoreConfig, StoreKind};

/// A daemon that runs.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) pid: u64,
    pub(super) reactors: usize,
    /// What its buffers take, bytes.
    pub(super) buffers: u64,
    pub(super) stores: Vec<StoreConfig>,
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
                (Some(served), vec![finding])
            }
            Err(error) => {
                let why = "only the machine can be looked at: no disks, no initiators";
                let remedy = "start it, or name its socket with --control-socket";
                (None, vec![Finding::hint("daemon", error.to_string(), why, remedy)])
            }
        }
    }

    fn of(client: &Client) -> Result<Self, CallError> {
        let version = client.call("version", json!({}))?;
        let config = client.call("config.get", json!({}))?;
        let counters = client.call("counters", json!({}))?;
        let sessions = client.call("sessions.list", json!({}))?;
        let reactors = counters["reactors"].as_array().cloned().unwrap_or_default();
        Ok(Self {
            pid: version["pid"].as_u64().unwrap_or(0),
            reactors: reactors.len(),
            buffers: reactors.iter().map(buffers).sum(),
            stores: stores(&config),
            sessions: sessions["sessions"].as_array().cloned().unwrap_or_default(),
        })
    }

    fn starved(&self) -> Option<Finding> {
        (self.pid == 0).then(|| {
            let why = "its limits and memory cannot be looked at";
            Finding::hint(
                "daemon",
                "is older than this program",
                why,
                "restart it: systemctl restart ringtgt",
            )
        })
    }

    /// The block devices that it serves.
    pub(super) fn devices(&self) -> impl Iterator<Item = (&StoreConfig, &Path)> {
        let block = |store: &&StoreConfig| store.kind == StoreKind::Block;
        self.stores.iter().filter(block).filter_map(|store| Some((store, store.path.as_deref()?)))
    }
}

fn buffers(reactor: &Value) -> u64 {
    let slots = reactor["slots"].as_array().into_iter().flatten();
    slots.map(|s| s["size"].as_u64().unwrap_or(0) * s["total"].as_u64().unwrap_or(0)).sum()
}

/// The backstores of the configuration that is served.
fn stores(answer: &Value) -> Vec<StoreConfig> {
    let file = answer["file"].as_str().map(Path::new);
    let dir =
        answer["dir"].as_str().map(Path::new).or_else(|| file?.parent()).unwrap_or_else(|| Path::new("/"));
    let text = answer["toml"].as_str().unwrap_or_default();
    config::parse(Source::new("served", text), dir, None).map_or_else(|_| vec![], |(config, _)| config.stores)
}

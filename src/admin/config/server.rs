//! `[server]`: the daemon itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::file::{FileLimits, FileServer};
use super::resolve::{Bounds, Resolver};
use crate::admin::cpulist::Reactors;
use crate::admin::{log, size, state};
use crate::mem::PoolConfig;
use crate::ring::KernelLevel;

/// How the daemon runs.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How many reactors and where.
    pub reactors: Reactors,
    /// Bytes of buffer memory of all reactors together; `None`: [`DEFAULT_BUFFER_MEMORY`] for each.
    pub buffer_memory: Option<u64>,
    /// How long a reactor looks for work before it sleeps; zero: not at all.
    pub poll: Duration,
    /// Where the control socket is; `None`: see [`ServerConfig::control_socket`].
    pub control_socket: Option<PathBuf>,
    /// Where metrics are served; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// PDUs whose headers each reactor remembers; none: it has no flight recorder.
    pub recorder: u32,
    /// Where identities and reservations are kept.
    pub state_dir: PathBuf,
    /// How long initiators get to log out when the daemon stops.
    pub drain_timeout: Duration,
    /// What is logged: a filter as [`mod@log`] has them.
    pub log: String,
    /// How much of a thing there may be.
    pub limits: Limits,
    /// Whether the stores were named on the command line: their identities are then derived from what they
    /// are, for there may be no place that keeps random ones.
    pub ad_hoc: bool,
    /// A kernel to stand in for, whatever the real one can do more (for developers).
    pub kernel_level: Option<KernelLevel>,
}

/// Numbers that peers can drive up, and where that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections from the network, of all reactors together. Each costs a descriptor and some kilobytes.
    pub connections: u32,
    /// Connections that have not finished their login. Beyond it the oldest of them is closed, so that a
    /// crowd of silent ones cannot keep others out.
    pub pending_logins: u32,
}

/// Bytes of buffer memory for each reactor when nothing is said: a queue of 128 commands of 256 KiB, twice.
pub const DEFAULT_BUFFER_MEMORY: u64 = 64 << 20;

/// Buffer memory of all reactors with which they still get on: some tens of the largest slots.
const MIN_BUFFER_MEMORY: u64 = 8 << 20;

/// Buffer memory of each reactor: twice what one needs so that every command makes progress.
const MIN_BUFFER_MEMORY_EACH: u64 = 2 << 20;
const _: () = assert!(MIN_BUFFER_MEMORY_EACH >= 2 * PoolConfig::LEAST);

/// Longer polling is a processor lost: an NVMe read takes 0.1 ms.
pub const MAX_POLL_US: u32 = 10_000;

const CONTROL_SOCKET: &str = "/run/ringtgt/control.sock";

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            reactors: Reactors::Auto,
            buffer_memory: None,
            poll: Duration::from_micros(50),
            control_socket: None,
            metrics: None,
            recorder: 1024,
            state_dir: state::service_dir(),
            drain_timeout: Duration::from_secs(10),
            log: log::DEFAULT.into(),
            limits: Limits::default(),
            ad_hoc: false,
            kernel_level: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16_384, pending_logins: 256 }
    }
}

impl ServerConfig {
    /// Where the control socket is. Who keeps state elsewhere than a service does, is not the service, and has its own
    /// there.
    pub fn control_socket(&self) -> PathBuf {
        let usual = || match self.state_dir == state::service_dir() {
            true => CONTROL_SOCKET.into(),
            false => self.state_dir.join("control.sock"),
        };
        self.control_socket.clone().unwrap_or_else(usual)
    }

    /// The bytes of buffer memory that each of `reactors` gets.
    pub fn buffer_memory_each(&self, reactors: usize) -> u64 {
        self.buffer_memory.map_or(DEFAULT_BUFFER_MEMORY, |all| all / (reactors.max(1) as u64))
    }
}

/// Reads the amount of buffer memory, in bytes.
pub fn parse_buffer_memory(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text).map_err(|e| e.to_string())?;
    if (BUFFER_MEMORY.min..=BUFFER_MEMORY.max).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("it must be {} to {}", size::show(BUFFER_MEMORY.min), size::show(BUFFER_MEMORY.max)))
}

const BUFFER_MEMORY: Bounds =
    Bounds { min: MIN_BUFFER_MEMORY, max: 1 << 40, reason: "less holds too few large commands at a time" };

const POLL: Bounds = Bounds {
    min: 0,
    max: MAX_POLL_US as u64,
    reason: "polling longer than a disk takes only burns a processor",
};

const DRAIN: Bounds = Bounds {
    min: 0,
    max: 300_000,
    reason: "a stop that takes longer than five minutes is killed by the service manager",
};

const CONNECTIONS: Bounds =
    Bounds { min: 1, max: 1 << 20, reason: "every connection takes a file descriptor and memory" };

const RECORDER: Bounds = Bounds {
    min: 0,
    max: 1 << 16,
    reason: "each reactor has 64 bytes for each PDU, and stands still while it keeps them after an error",
};

const PENDING_LOGINS: Bounds = Bounds {
    min: 1,
    max: 1 << 16,
    reason: "unfinished logins hold memory for peers that proved nothing yet",
};

pub(super) fn resolve(file: Option<FileServer>, cx: &mut Resolver<'_>) -> ServerConfig {
    let default = ServerConfig::default();
    let Some(file) = file else { return default };
    let reactors = reactors(&file, cx);
    let (metrics, log) = (metrics(&file, cx), log(&file, cx));
    ServerConfig {
        buffer_memory: buffer_memory(&file, reactors.count() as u64, cx),
        reactors,
        poll: cx.number(&file.poll_us, &POLL).map_or(default.poll, |us| Duration::from_micros(us.into())),
        control_socket: file.control_socket.map(|p| cx.path(p.get_ref())),
        metrics,
        recorder: cx.number(&file.recorder, &RECORDER).unwrap_or(default.recorder),
        state_dir: file.state_dir.map_or(default.state_dir, |p| cx.path(p.get_ref())),
        drain_timeout: cx.period(&file.drain_timeout, &DRAIN).unwrap_or(default.drain_timeout),
        log: log.unwrap_or(default.log),
        limits: file.limits.map_or(default.limits, |l| limits(&l, cx)),
        ad_hoc: false,
        kernel_level: None,
    }
}

/// The buffer memory, of which every reactor gets enough.
fn buffer_memory(file: &FileServer, reactors: u64, cx: &mut Resolver<'_>) -> Option<u64> {
    let all = cx.size(&file.buffer_memory, &BUFFER_MEMORY)?;
    let need = reactors * MIN_BUFFER_MEMORY_EACH;
    if let Some(value) = file.buffer_memory.as_ref().filter(|_| all < need) {
        let what = format!("{} is too small for {reactors} reactors", size::show(all));
        let remedy = format!("give {} or more, or say `reactors` smaller", size::show(need));
        cx.error(value, what, "each needs 2 MiB so that every command makes progress", remedy);
    }
    Some(all)
}

fn reactors(file: &FileServer, cx: &mut Resolver<'_>) -> Reactors {
    let Some(text) = &file.reactors else { return Reactors::Auto };
    Reactors::parse(&text.get_ref().0).unwrap_or_else(|error| {
        let remedy = "write \"auto\", a number of reactors, or processors like \"0-3,6\"";
        cx.error(text, error.to_string(), "", remedy);
        Reactors::Auto
    })
}

/// An address and port; no name, which could become another one.
fn metrics(file: &FileServer, cx: &mut Resolver<'_>) -> Option<SocketAddr> {
    let text = file.metrics.as_ref()?;
    let address = text.get_ref().parse().ok();
    if address.is_none() {
        let what = format!("\"{}\" is no address and port", text.get_ref());
        cx.error(text, what, "", "write it like \"127.0.0.1:9260\" or \"[::1]:9260\"");
    }
    address
}

/// What is logged, if that is said and can be read.
fn log(file: &FileServer, cx: &mut Resolver<'_>) -> Option<String> {
    let filter = file.log.as_ref()?;
    match log::check(filter.get_ref()) {
        Ok(()) => Some(filter.get_ref().clone()),
        Err(what) => {
            cx.error(filter, what, "", log::REMEDY);
            None
        }
    }
}

fn limits(file: &FileLimits, cx: &mut Resolver<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        connections: cx.number(&file.connections, &CONNECTIONS).unwrap_or(default.connections),
        pending_logins: cx.number(&file.pending_logins, &PENDING_LOGINS).unwrap_or(default.pending_logins),
    }
}

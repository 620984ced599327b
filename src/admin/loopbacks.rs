//! The local disks of a configuration: those that are there, and those that are yet to be.
//!
//! Owns: the devices. Promises: a change is refused as long as it can be, before anything is seen of it: where the kernel
//! makes no such devices, a number is taken, or somebody uses what is to go. What cannot be had when a daemon starts, or
//! whose store is not ready, is tried again until it can: the network is served meanwhile. Refuses to know: how a device is
//! served.
//!
//! ```text
//!   prepare (numbers, claims) ─► stop what goes ─► (the catalogue is another) ─► start what comes
//!              └─ fails: nothing has changed
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::config::LoopbackConfig;
use crate::loopback::{Claim, Connect, Device, LONGEST_END, Reserved};
use crate::target::local_name;

/// See the module page.
pub(super) struct Loopbacks {
    connect: Connect,
    disks: Mutex<BTreeMap<String, Disk>>,
    /// The daemon stops: none comes any more. It is asked and set with `disks` locked.
    closed: AtomicBool,
}

/// A local disk.
#[derive(Debug)]
struct Disk {
    config: LoopbackConfig,
    state: State,
}

#[derive(Debug)]
enum State {
    Up(Device),
    /// Why it is not there, if that is known.
    Down(String),
}

/// What is known of a local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalDisk {
    /// The name of its backstore.
    pub(super) store: String,
    /// Where it is used, if it is there.
    pub(super) device: Option<PathBuf>,
    /// Why not, if it is not.
    pub(super) why: String,
}

/// A change of them that can be had.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    goes: Vec<(String, Option<Claim>)>,
    /// Without a number that another gives up first.
    comes: Vec<(LoopbackConfig, Option<Reserved>)>,
}

impl std::fmt::Debug for Loopbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loopbacks").field("disks", &self.disks).finish_non_exhaustive()
    }
}

impl Loopbacks {
    /// None yet. `connect` leads to the targets by which they reach their stores.
    pub(super) fn new(connect: Connect) -> Self {
        Self { connect, disks: Mutex::default(), closed: AtomicBool::new(false) }
    }

    fn disks(&self) -> MutexGuard<'_, BTreeMap<String, Disk>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<LocalDisk> {
        let told = |(store, disk): (&String, &Disk)| {
            let (device, why) = match &disk.state {
                State::Up(device) => (Some(device.path()), String::new()),
                State::Down(why) => (None, why.clone()),
            };
            LocalDisk { store: store.clone(), device, why }
        };
        self.disks().iter().map(told).collect()
    }

    /// These are to be there when a daemon has started; [`Loopbacks::raise`] makes them.
    pub(super) fn expect(&self, wanted: &[LoopbackConfig]) {
        Reserved::sweep(true);
        let disk = |config: &LoopbackConfig| {
            let state = State::Down("it has yet to be made".into());
            (config.store.clone(), Disk { config: config.clone(), state })
        };
        self.disks().extend(wanted.iter().map(disk));
    }

    /// Makes those that are not there, as far as that can be now. One thread does so; changes may come and go meanwhile.
    pub(super) fn raise(&self) {
        Reserved::sweep(false);
        self.bury();
        let down = |disk: &&Disk| matches!(disk.state, State::Down(_));
        let wanted: Vec<LoopbackConfig> =
            self.disks().values().filter(down).map(|d| d.config.clone()).collect();
        for config in wanted {
            let made = Reserved::new(config.device).context("it cannot be made");
            let state = made.and_then(|reserved| self.start(&config, reserved));
            self.settle(config, state, true).iter().for_each(|told| tracing::warn!("{told}"));
        }
    }

    /// Those that are not served any more, for somebody has deleted them, are to be made anew.
    fn bury(&self) {
        let is_dead = |disk: &&mut Disk| matches!(&disk.state, State::Up(device) if !device.is_served());
        for disk in self.disks().values_mut().filter(is_dead) {
            tracing::warn!(
                disk = disk.config.store,
                "the device of a local disk was deleted by somebody else"
            );
            disk.state = State::Down("it was deleted by somebody else".into());
        }
    }

    /// Whether nothing is left to be made.
    pub(super) fn are_up(&self) -> bool {
        let is_up = |disk: &Disk| matches!(&disk.state, State::Up(device) if device.is_served());
        self.disks().values().all(is_up)
    }

    fn start(&self, config: &LoopbackConfig, reserved: Reserved) -> anyhow::Result<Device> {
        reserved.start(&config.store, &local_name(&config.store), &self.connect)
    }

    /// That is what has come of it: what there is to be said against it, if that was not said before. `expected`: unless a
    /// change has meanwhile made that disk, or done without it.
    fn settle(&self, config: LoopbackConfig, made: anyhow::Result<Device>, expected: bool) -> Option<String> {
        let (name, mut disks) = (config.store.clone(), self.disks());
        let before =
            disks.get(&name).filter(|disk| disk.config == config).and_then(|disk| match &disk.state {
                State::Down(why) => Some(why.clone()),
                State::Up(_) => None,
            });
        let unwanted = self.closed.load(Ordering::Relaxed) || (expected && before.is_none());
        let (state, told) = match made {
            Err(_) if unwanted => return None,
            Ok(device) if unwanted => {
                drop(disks);
                return ended(&name, device, None);
            }
            Ok(device) => {
                tracing::info!(disk = name, device = %device.path().display(), "a local disk is there");
                (State::Up(device), None)
            }
            Err(error) => {
                let why = format!("{error:#}");
                let news = before.as_deref() != Some(&why);
                let told = news.then(|| format!("local disk {name} is not there yet: {why}"));
                (State::Down(why), told)
            }
        };
        disks.insert(name, Disk { config, state });
        told
    }

    /// Sees to it that these can be there instead of those that are. `replaced`: backstores in whose place there are others,
    /// of which nobody may take one for the other.
    ///
    /// # Errors
    /// When one cannot be made, or one that is to go is used: which and why. Then nothing has changed.
    pub(super) fn prepare(&self, wanted: &[LoopbackConfig], replaced: &[String]) -> anyhow::Result<Turnover> {
        let (disks, mut turnover) = (self.disks(), Turnover::default());
        let stays = |disk: &Disk| wanted.contains(&disk.config) && !replaced.contains(&disk.config.store);
        let mut given_up = Vec::new();
        for (name, disk) in disks.iter().filter(|(_, disk)| !stays(disk)) {
            let claim = match &disk.state {
                State::Up(device) => {
                    given_up.push(Some(device.number()));
                    Some(claimed(name, device)?)
                }
                // It may just be tried.
                State::Down(_) => {
                    given_up.push(disk.config.device);
                    None
                }
            };
            turnover.goes.push((name.clone(), claim));
        }
        let is_new = |config: &&LoopbackConfig| !disks.get(&config.store).is_some_and(stays);
        for config in wanted.iter().filter(is_new) {
            let is_taken = config.device.is_some() && given_up.contains(&config.device);
            let reserved = (!is_taken).then(|| Reserved::new(config.device)).transpose();
            let reserved = reserved.with_context(|| format!("local disk {}", config.store))?;
            turnover.comes.push((config.clone(), reserved));
        }
        Ok(turnover)
    }

    /// Takes away what goes, whose targets are yet to go; what an administrator must know of that.
    pub(super) fn stop(&self, turnover: &mut Turnover) -> Vec<String> {
        let goes = std::mem::take(&mut turnover.goes);
        let end = |(name, claim): (String, Option<Claim>)| {
            let disk = self.disks().remove(&name)?;
            let State::Up(device) = disk.state else { return None };
            ended(&name, device, claim)
        };
        goes.into_iter().filter_map(end).collect()
    }

    /// Shows what comes, whose targets are there; what there is to be said against that.
    pub(super) fn go_on(&self, turnover: Turnover) -> Vec<String> {
        let start = |(config, reserved): (LoopbackConfig, Option<Reserved>)| {
            let reserved = reserved.map_or_else(|| Reserved::new(config.device), Ok);
            let made = reserved.map_err(Into::into).and_then(|reserved| self.start(&config, reserved));
            self.settle(config, made, false)
        };
        turnover.comes.into_iter().filter_map(start).collect()
    }

    /// Ends all of them. Whoever still uses one has what he wrote on its store.
    pub(super) fn end(&self) {
        let mut disks = self.disks();
        self.closed.store(true, Ordering::Relaxed);
        let all = std::mem::take(&mut *disks);
        drop(disks);
        let end = |name: &str, disk: Disk| {
            let State::Up(device) = disk.state else { return };
            if claimed(name, &device).is_err() {
                tracing::warn!(disk = name, device = %device.path().display(), "a local disk goes that is in use");
            }
            ended(name, device, None).iter().for_each(|told| tracing::warn!("{told}"));
        };
        // One whose store hangs keeps no other.
        std::thread::scope(|scope| {
            all.into_iter().for_each(|(name, disk)| drop(scope.spawn(move || end(&name, disk))));
        });
    }

    /// How long that may take.
    pub(super) fn patience(&self) -> Duration {
        if self.disks().is_empty() { Duration::ZERO } else { LONGEST_END }
    }
}

fn claimed(name: &str, device: &Device) -> anyhow::Result<Claim> {
    device.claim().map_err(|error| {
        let path = device.path().display().to_string();
        match error.raw_os_error() {
            Some(libc::EBUSY) => anyhow::anyhow!(
                "local disk {name}: {path} is in use: a file system on it is mounted, or something is made of it (lsblk {path} \
                 tells what); end that first"
            ),
            _ => anyhow::anyhow!("local disk {name}: {path}: {error}"),
        }
    })
}

fn ended(name: &str, device: Device, claim: Option<Claim>) -> Option<String> {
    let path = device.path().display().to_string();
    let error = device.end(claim).err()?;
    Some(match error.kind() {
        std::io::ErrorKind::TimedOut => {
            format!(
                "local disk {name}: {path} is still open somewhere, or waits for its store; it goes when that ends"
            )
        }
        _ => format!("local disk {name}: {path} cannot be deleted: {error}"),
    })
}

//! The local disks of a configuration: those that are there, and those that are yet to be.
//!
//! Owns: the devices. Promises: a change is refused as long as it can be, before anything is seen of it: where the kernel
//! makes no such devices, a number is taken, or somebody uses what is to go. What cannot be had when a daemon starts, or
//! whose store is not ready, is tried again until it can: the network is served meanwhile. A disk whose store hangs keeps
//! no other, and no change, for longer than a moment. Refuses to know: how a device is served.
//!
//! ```text
//!   prepare (numbers, claims) ─► stop what goes ─► (the catalogue is another) ─► start what comes
//!              └─ fails: nothing has changed
//!
//!   Down ─► Rising, on a thread of its own ─► Up
//!     ▲        └─ fails ─┐                     └─ somebody has deleted it ─┐
//!     └──────────────────┴─────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};

use super::config::LoopbackConfig;
use crate::loopback::{Claim, Connect, Device, LONGEST_END, Reserved};
use crate::target::local_name;

/// How long those that are made are waited for: where the store answers the kernel shows a disk at once.
const MOMENT: Duration = Duration::from_secs(3);

/// Why a disk is not there that takes longer.
const LATE: &str = "its store has yet to answer; it comes when that does";

/// Why one is not there that nobody has tried to make.
const YET: &str = "it has yet to be made";

/// See the module page.
pub(super) struct Loopbacks {
    connect: Connect,
    disks: Mutex<Disks>,
}

#[derive(Debug, Default)]
struct Disks {
    all: BTreeMap<String, Disk>,
    /// How many tries there were to make one.
    tries: u64,
    /// The daemon stops: none comes any more.
    closed: bool,
    /// Why the kernel does not know that this process must not wait for its own disks, until that was told.
    unguarded: Option<io::Error>,
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
    /// The try of that number makes it. Why it was not there before, or is not yet.
    Rising(u64, String),
    /// Why it is not there.
    Down(String),
}

/// What is to make a disk.
#[derive(Debug, Clone)]
struct Try {
    config: LoopbackConfig,
    number: u64,
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

impl Disks {
    /// What makes that disk from now on, in the place of what there was under its name.
    fn begin(&mut self, config: LoopbackConfig, why: String) -> Option<Try> {
        if self.closed {
            return None;
        }
        self.tries += 1;
        let (number, state) = (self.tries, State::Rising(self.tries, why));
        self.all.insert(config.store.clone(), Disk { config: config.clone(), state });
        Some(Try { config, number })
    }

    /// The same of all that are not there and that nothing makes.
    fn begin_all(&mut self) -> Vec<Try> {
        let down = |disk: &Disk| match &disk.state {
            State::Down(why) => Some((disk.config.clone(), why.clone())),
            _ => None,
        };
        let down: Vec<_> = self.all.values().filter_map(down).collect();
        down.into_iter().filter_map(|(config, why)| self.begin(config, why)).collect()
    }

    /// What a try is to make, unless a change has meanwhile made another, or done without it.
    fn rising(&mut self, what: &Try) -> Option<(&mut State, String)> {
        let state = &mut self.all.get_mut(&what.config.store)?.state;
        match state {
            State::Rising(number, why) if *number == what.number => {
                let why = std::mem::take(why);
                Some((state, why))
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for Loopbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loopbacks").field("disks", &self.disks).finish_non_exhaustive()
    }
}

impl Loopbacks {
    /// None yet. `connect` leads to the targets by which they reach their stores. `guarded`: whether the kernel knows that
    /// this process writes back what others wait for.
    pub(super) fn new(connect: Connect, guarded: io::Result<()>) -> Self {
        let disks = Disks { unguarded: guarded.err(), ..Disks::default() };
        Self { connect, disks: disks.into() }
    }

    fn disks(&self) -> MutexGuard<'_, Disks> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<LocalDisk> {
        let told = |(store, disk): (&String, &Disk)| {
            let (device, why) = match &disk.state {
                State::Up(device) => (Some(device.path()), String::new()),
                State::Rising(_, why) | State::Down(why) => (None, why.clone()),
            };
            LocalDisk { store: store.clone(), device, why }
        };
        self.disks().all.iter().map(told).collect()
    }

    /// These are to be there when a daemon has started; [`Loopbacks::raise`] makes them.
    pub(super) fn expect(&self, wanted: &[LoopbackConfig]) {
        let disk = |config: &LoopbackConfig| {
            let state = State::Down(YET.into());
            (config.store.clone(), Disk { config: config.clone(), state })
        };
        self.disks().all.extend(wanted.iter().map(disk));
    }

    /// Makes those that are not there, as far as that can be now. One thread does so; changes may come and go meanwhile.
    pub(super) fn raise(self: &Arc<Self>) {
        Reserved::sweep();
        self.bury();
        let tries = self.disks().begin_all();
        let tries = tries.into_iter().map(|what| self.make(what, None)).collect();
        self.hear(tries).iter().for_each(|told| tracing::warn!("{told}"));
    }

    /// Those that are not served any more, for somebody has deleted them, are to be made anew.
    fn bury(&self) {
        let is_dead = |disk: &&mut Disk| matches!(&disk.state, State::Up(device) if !device.is_served());
        for disk in self.disks().all.values_mut().filter(is_dead) {
            tracing::warn!(
                disk = disk.config.store,
                "the device of a local disk was deleted by somebody else"
            );
            disk.state = State::Down("it was deleted by somebody else".into());
        }
    }

    /// Whether nothing is left to be begun.
    pub(super) fn are_begun(&self) -> bool {
        let is_begun = |disk: &Disk| match &disk.state {
            State::Up(device) => device.is_served(),
            State::Rising(..) => true,
            State::Down(_) => false,
        };
        self.disks().all.values().all(is_begun)
    }

    /// Has a disk made on a thread of its own, by that number if there is one. What there is to be said against it is told
    /// when that has ended.
    fn make(self: &Arc<Self>, what: Try, reserved: Option<Reserved>) -> (Try, Receiver<Option<String>>) {
        let (tell, told) = bounded(1);
        let reserved = reserved.map_or_else(|| Reserved::new(what.config.device), Ok);
        let begun = reserved.context("it cannot be made").and_then(|reserved| {
            let (this, what, tell) = (self.clone(), what.clone(), tell.clone());
            let work = move || {
                let name = &what.config.store;
                let made = reserved.start(name, &local_name(name), &this.connect);
                if let Err(unheard) = tell.send(this.settle(&what, made)) {
                    unheard.0.iter().for_each(|told| tracing::warn!("{told}"));
                }
            };
            Ok(thread::Builder::new().name("loopback-start".into()).spawn(work)?)
        });
        if let Err(error) = begun {
            let _ = tell.send(self.settle(&what, Err(error)));
        }
        (what, told)
    }

    /// Waits a moment for these; what there is to be said against them.
    fn hear(&self, tries: Vec<(Try, Receiver<Option<String>>)>) -> Vec<String> {
        let deadline = Instant::now() + MOMENT;
        let hear = |(what, told): (Try, Receiver<Option<String>>)| {
            told.recv_deadline(deadline).unwrap_or_else(|_| self.delay(&what))
        };
        tries.into_iter().filter_map(hear).collect()
    }

    /// That takes longer than anybody waits: what there is to be said of that.
    fn delay(&self, what: &Try) -> Option<String> {
        let mut disks = self.disks();
        let (state, before) = disks.rising(what)?;
        *state = State::Rising(what.number, LATE.into());
        absent(what, LATE, &before)
    }

    /// That is what has come of it: what there is to be said against it, if that was not said before.
    fn settle(&self, what: &Try, made: anyhow::Result<Device>) -> Option<String> {
        let mut disks = self.disks();
        let Some((state, before)) = disks.rising(what) else {
            drop(disks);
            return made.ok().and_then(|device| ended(&what.config.store, device, None));
        };
        match made {
            Err(error) => {
                let why = format!("{error:#}");
                *state = State::Down(why.clone());
                absent(what, &why, &before)
            }
            Ok(device) => {
                let path = device.path();
                tracing::info!(disk = what.config.store, device = %path.display(), "a local disk is there");
                *state = State::Up(device);
                disks.unguarded.take().as_ref().map(unguarded)
            }
        }
    }

    /// Sees to it that these can be there instead of those that are. `replaced`: backstores in whose place there are others,
    /// of which nobody may take one for the other.
    ///
    /// # Errors
    /// When one cannot be made, or one that is to go is used: which and why. Then nothing has changed.
    pub(super) fn prepare(&self, wanted: &[LoopbackConfig], replaced: &[String]) -> anyhow::Result<Turnover> {
        let mut turnover = Turnover::default();
        let disks = self.disks();
        let stays = |disk: &Disk| wanted.contains(&disk.config) && !replaced.contains(&disk.config.store);
        let mut given_up = Vec::new();
        for (name, disk) in disks.all.iter().filter(|(_, disk)| !stays(disk)) {
            let claim = match &disk.state {
                State::Up(device) => {
                    given_up.push(Some(device.number()));
                    Some(claimed(name, device)?)
                }
                // It may just be made.
                State::Rising(..) | State::Down(_) => {
                    given_up.push(disk.config.device);
                    None
                }
            };
            turnover.goes.push((name.clone(), claim));
        }
        let is_new = |config: &&LoopbackConfig| !disks.all.get(&config.store).is_some_and(stays);
        let new: Vec<_> = wanted.iter().filter(is_new).collect();
        drop(disks);
        for config in new {
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
            let disk = self.disks().all.remove(&name)?;
            let State::Up(device) = disk.state else { return None };
            ended(&name, device, claim)
        };
        goes.into_iter().filter_map(end).collect()
    }

    /// Shows what comes, whose targets are there; what there is to be said against that.
    pub(super) fn go_on(self: &Arc<Self>, turnover: Turnover) -> Vec<String> {
        let begin = |(config, reserved): (LoopbackConfig, Option<Reserved>)| {
            let what = self.disks().begin(config, YET.into());
            what.map(|what| self.make(what, reserved))
        };
        let tries = turnover.comes.into_iter().filter_map(begin).collect();
        self.hear(tries)
    }

    /// Ends all of them. Whoever still uses one has what he wrote on its store.
    pub(super) fn end(&self) {
        let mut disks = self.disks();
        disks.closed = true;
        let all = std::mem::take(&mut disks.all);
        drop(disks);
        let end = |name: &str, disk: Disk| {
            let State::Up(device) = disk.state else { return };
            if claimed(name, &device).is_err() {
                tracing::warn!(disk = name, device = %device.path().display(), "a local disk goes that is in use");
            }
            ended(name, device, None).iter().for_each(|told| tracing::warn!("{told}"));
        };
        // One whose store hangs keeps no other.
        thread::scope(|scope| {
            all.into_iter().for_each(|(name, disk)| drop(scope.spawn(move || end(&name, disk))));
        });
    }

    /// How long that may take.
    pub(super) fn patience(&self) -> Duration {
        if self.disks().all.is_empty() { Duration::ZERO } else { LONGEST_END }
    }
}

/// Why a disk is not there, unless that is known.
fn absent(what: &Try, why: &str, before: &str) -> Option<String> {
    (why != before).then(|| format!("local disk {} is not there yet: {why}", what.config.store))
}

fn unguarded(error: &io::Error) -> String {
    format!(
        "local disks can make this host hang when its memory is short, for it may then wait for this process to write back what \
         it keeps for them: it cannot be told not to (PR_SET_IO_FLUSHER: {error}), which takes Linux 5.6 and \
         CAP_SYS_RESOURCE (see tuning/README.md)"
    )
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
        io::ErrorKind::TimedOut => {
            format!(
                "local disk {name}: {path} is still open somewhere, or waits for its store; it goes when that ends"
            )
        }
        _ => format!("local disk {name}: {path} cannot be deleted: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Arc<Loopbacks> {
        Loopbacks::new(Arc::new(|| Err(io::ErrorKind::NotConnected.into())), Ok(())).into()
    }

    fn config(store: &str) -> LoopbackConfig {
        LoopbackConfig { store: store.into(), device: None, read_only: false }
    }

    fn begin(all: &Loopbacks, store: &str) -> Try {
        all.disks().begin(config(store), YET.into()).expect("the daemon serves")
    }

    fn fail(all: &Loopbacks, what: &Try, why: &'static str) -> Option<String> {
        all.settle(what, Err(anyhow::anyhow!(why)))
    }

    fn why(all: &Loopbacks) -> Vec<String> {
        all.list().into_iter().map(|disk| disk.why).collect()
    }

    #[test]
    fn what_a_change_has_begun_anew_is_not_settled_by_the_try_before() {
        let all = none();
        let (old, new) = (begin(&all, "a"), begin(&all, "a"));
        assert_eq!((fail(&all, &old, "the store of before"), all.delay(&old)), (None, None));
        assert_eq!(why(&all), [YET]);
        assert!(fail(&all, &new, "the other store").is_some());
        assert_eq!(why(&all), ["the other store"]);
    }

    #[test]
    fn why_a_disk_is_not_there_is_told_once() {
        let all = none();
        let first = begin(&all, "a");
        assert!(all.are_begun(), "somebody makes it");
        assert!(all.delay(&first).is_some_and(|told| told.contains(LATE)) && all.delay(&first).is_none());
        assert_eq!(why(&all), [LATE]);
        assert_eq!(fail(&all, &first, "x").as_deref(), Some("local disk a is not there yet: x"));
        assert!(!all.are_begun());
        let again = all.disks().begin_all();
        assert_eq!((again.len(), all.disks().begin_all().len()), (1, 0), "one try at a time");
        assert_eq!(fail(&all, &again[0], "x"), None, "as before");
    }

    #[test]
    fn none_comes_when_the_daemon_stops() {
        let all = none();
        let under_way = begin(&all, "a");
        all.end();
        assert!(all.disks().begin(config("b"), YET.into()).is_none());
        assert_eq!(fail(&all, &under_way, "it stops"), None);
        assert!(all.list().is_empty());
    }
}

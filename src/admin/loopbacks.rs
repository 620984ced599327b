//! The local disks of a configuration: those that are there, and those that are yet to be.
//!
//! Owns: the devices. Promises: a change is refused as long as it can be, before anything is seen of it: where the kernel
//! makes no such devices, a number is taken, or somebody uses what is to go. What cannot be had when a daemon starts, or
//! whose store is not ready, is tried again until it can: the network is served meanwhile. A disk whose store hangs keeps
//! no other, and no change, for longer than a moment. What a change does without does not come up while that is under way.
//! Refuses to know: how a device is served, and how it ends.
//!
//! ```text
//!   prepare (numbers, claims) ─► confirm ─► stop what goes ─► (the catalogue is another) ─► start what comes
//!              └──────────────────┴─ fails: nothing has changed
//!
//!   Down ─► Rising, on a thread of its own ─► Up
//!     ▲        └─ fails ─┐                     └─ somebody has deleted it ─┐
//!     └──────────────────┴─────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};

use super::config::LoopbackConfig;
use super::endings::{Ending, Endings, Leaving};
use crate::loopback::{Claim, Connect, Device, Reserved, Tie};
use crate::target::local_name;

/// How long those that are made are waited for, and those that end while nothing is heard of their stores: where the store
/// answers that takes the kernel no time, but for what it has yet to write back.
const MOMENT: Duration = Duration::from_secs(3);

/// How long it may take until all that was written to disks that go is answered.
const LAST: Duration = Duration::from_secs(35);

/// Why a disk is not there that takes longer.
const LATE: &str = "its store has yet to answer; it comes when that does";

/// Why one is not there that nobody has tried to make.
const YET: &str = "it has yet to be made";

/// See the module page.
pub(super) struct Loopbacks {
    connect: Connect,
    disks: Mutex<Disks>,
    /// A try has come to its end.
    settled: Condvar,
    endings: Arc<Endings>,
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
    /// A change is under way that does without it.
    goes: bool,
    /// Then nobody else has it for himself, if it is there.
    claim: Option<Claim>,
}

#[derive(Debug)]
enum State {
    Up(Device),
    Rising(Rising),
    /// Why it is not there.
    Down(String),
}

/// A disk that is being made.
#[derive(Debug)]
struct Rising {
    /// The number of the try that makes it.
    number: u64,
    tie: Tie,
    /// Why it was not there before, or is not yet.
    why: String,
    /// The kernel shows it, or has done so.
    shown: bool,
}

/// What is to make a disk.
#[derive(Debug, Clone)]
struct Try {
    config: LoopbackConfig,
    number: u64,
    tie: Tie,
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

/// A change of them that can be had. When it is given up all is as before.
#[derive(Debug)]
pub(super) struct Turnover {
    of: Arc<Loopbacks>,
    goes: Vec<String>,
    /// Without a number that another gives up first.
    comes: Vec<(LoopbackConfig, Option<Reserved>)>,
}

impl Drop for Turnover {
    fn drop(&mut self) {
        let mut disks = self.of.disks();
        for name in &self.goes {
            disks.all.get_mut(name).into_iter().for_each(Disk::release);
        }
    }
}

impl Disk {
    fn new(config: LoopbackConfig, state: State) -> Self {
        Self { config, state, goes: false, claim: None }
    }

    /// Where it is used, if it is there.
    fn device(&self) -> Option<&Device> {
        if let State::Up(device) = &self.state { Some(device) } else { None }
    }

    /// The number that it has, or is to have.
    fn number(&self) -> Option<u32> {
        self.device().map(Device::number).or(self.config.device)
    }

    /// Why it is not there.
    fn why(&self) -> &str {
        match &self.state {
            State::Up(_) => "",
            State::Rising(Rising { why, .. }) | State::Down(why) => why,
        }
    }

    fn rising(&mut self) -> Option<&mut Rising> {
        if let State::Rising(rising) = &mut self.state { Some(rising) } else { None }
    }

    /// A change is to do without it: it does not come up any more, and nobody else gets it.
    fn hold(&mut self) -> anyhow::Result<()> {
        let claim = self.device().map(|device| claimed(&self.config.store, device)).transpose()?;
        (self.goes, self.claim) = (true, claim);
        Ok(())
    }

    fn release(&mut self) {
        (self.goes, self.claim) = (false, None);
    }

    /// It is there. What goes nobody else gets in the meantime: the change looks whether somebody was faster.
    fn rise(&mut self, device: Device) {
        let path = device.path();
        tracing::info!(disk = self.config.store, device = %path.display(), "a local disk is there");
        self.claim = if self.goes { device.claim().ok() } else { None };
        self.state = State::Up(device);
    }

    /// That is why it is not there. What there is to be said of that, if it was not known.
    fn fail(&mut self, why: String) -> Option<String> {
        let is_known = self.why() == why;
        let told = format!("local disk {} is not there yet: {why}", self.config.store);
        self.state = State::Down(why);
        (!is_known).then_some(told)
    }
}

impl Disks {
    /// What makes that disk from now on, in the place of what there was under its name. `connect` leads to its target.
    fn begin(&mut self, connect: &Connect, config: LoopbackConfig, why: String) -> Option<Try> {
        if self.closed {
            return None;
        }
        self.tries += 1;
        let (number, tie) = (self.tries, Tie::new(connect.clone()));
        let state = State::Rising(Rising { number, tie: tie.clone(), why, shown: false });
        self.all.insert(config.store.clone(), Disk::new(config.clone(), state));
        Some(Try { config, number, tie })
    }

    /// The same of all that are not there and that nothing makes, nor does without.
    fn begin_all(&mut self, connect: &Connect) -> Vec<Try> {
        let is_down = |disk: &&Disk| matches!(disk.state, State::Down(_)) && !disk.goes;
        let down = self.all.values().filter(is_down);
        let down: Vec<_> = down.map(|disk| (disk.config.clone(), disk.why().to_owned())).collect();
        down.into_iter().filter_map(|(config, why)| self.begin(connect, config, why)).collect()
    }

    /// What a try is to make, unless a change has meanwhile made another, or done without it.
    fn rising(&mut self, what: &Try) -> Option<&mut Disk> {
        let disk = self.all.get_mut(&what.config.store)?;
        disk.rising().is_some_and(|rising| rising.number == what.number).then_some(disk)
    }

    /// Whether the kernel is showing one that goes.
    fn shows_what_goes(&self) -> bool {
        let shows = |disk: &Disk| matches!(&disk.state, State::Rising(rising) if rising.shown);
        self.all.values().any(|disk| disk.goes && shows(disk))
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
        Self { connect, disks: disks.into(), settled: Condvar::new(), endings: Arc::default() }
    }

    fn disks(&self) -> MutexGuard<'_, Disks> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<LocalDisk> {
        let told = |(store, disk): (&String, &Disk)| {
            let device = disk.device().map(Device::path);
            LocalDisk { store: store.clone(), device, why: disk.why().to_owned() }
        };
        self.disks().all.iter().map(told).collect()
    }

    /// These are to be there when a daemon has started; [`Loopbacks::raise`] makes them.
    pub(super) fn expect(&self, wanted: &[LoopbackConfig]) {
        let disk = |config: &LoopbackConfig| {
            (config.store.clone(), Disk::new(config.clone(), State::Down(YET.into())))
        };
        self.disks().all.extend(wanted.iter().map(disk));
    }

    /// Makes those that are not there, as far as that can be now. One thread does so; changes may come and go meanwhile.
    pub(super) fn raise(self: &Arc<Self>) {
        Reserved::sweep();
        self.bury();
        let tries = self.disks().begin_all(&self.connect);
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
        let reserved = reserved.map_or_else(|| self.reserve(what.config.device), Ok);
        let begun = reserved.context("it cannot be made").and_then(|reserved| {
            let (this, what, tell) = (self.clone(), what.clone(), tell.clone());
            let work = move || {
                let name = &what.config.store;
                let made = reserved.start(name, &local_name(name), &what.tie, || this.permit(&what));
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

    /// A device of that number, or of any that is free.
    fn reserve(&self, number: Option<u32>) -> io::Result<Reserved> {
        self.endings.check(number)?;
        Reserved::new(number)
    }

    /// Whether the kernel may show what that try has made: a change that does without it could not know who uses it.
    fn permit(&self, what: &Try) -> anyhow::Result<()> {
        let mut disks = self.disks();
        let rising = disks.rising(what).filter(|disk| !disk.goes).and_then(Disk::rising);
        rising.context("a change is under way that does without it")?.shown = true;
        Ok(())
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
        let rising = disks.rising(what).and_then(Disk::rising).filter(|rising| rising.why != LATE)?;
        rising.why = LATE.into();
        Some(format!("local disk {} is not there yet: {LATE}", what.config.store))
    }

    /// That is what has come of it: what there is to be said against it, if that was not said before.
    fn settle(&self, what: &Try, made: anyhow::Result<Device>) -> Option<String> {
        let mut disks = self.disks();
        let Some(disk) = disks.rising(what) else {
            drop(disks);
            // Nobody is to have it, and it has its own thread.
            drop(made.map(|device| self.let_go(&what.config.store, device, None)));
            return None;
        };
        self.settled.notify_all();
        match made {
            Err(error) => disk.fail(format!("{error:#}")),
            Ok(device) => {
                disk.rise(device);
                disks.unguarded.take().as_ref().map(unguarded)
            }
        }
    }

    /// Sees to it that these can be there instead of those that are. `replaced`: backstores in whose place there are others,
    /// of which nobody may take one for the other.
    ///
    /// # Errors
    /// When one cannot be made, or one that is to go is used: which and why. Then nothing has changed.
    pub(super) fn prepare(
        self: &Arc<Self>,
        wanted: &[LoopbackConfig],
        replaced: &[String],
    ) -> anyhow::Result<Turnover> {
        let mut turnover = Turnover { of: self.clone(), goes: Vec::new(), comes: Vec::new() };
        let mut disks = self.disks();
        let stays = |disk: &Disk| wanted.contains(&disk.config) && !replaced.contains(&disk.config.store);
        let is_new = |config: &&LoopbackConfig| !disks.all.get(&config.store).is_some_and(stays);
        let new: Vec<_> = wanted.iter().filter(is_new).collect();
        let mut given_up = Vec::new();
        for (name, disk) in disks.all.iter_mut().filter(|(_, disk)| !stays(disk)) {
            disk.hold()?;
            given_up.extend(disk.number());
            turnover.goes.push(name.clone());
        }
        drop(disks);
        for config in new {
            let is_taken = config.device.is_some_and(|number| given_up.contains(&number));
            let reserved = (!is_taken).then(|| self.reserve(config.device)).transpose();
            let reserved = reserved.with_context(|| format!("local disk {}", config.store))?;
            turnover.comes.push((config.clone(), reserved));
        }
        Ok(turnover)
    }

    /// What goes has been held since then, but for what the kernel was just showing: that is waited for, for a moment. Where
    /// it has not come up after that its store does not answer, and nobody can have it.
    ///
    /// # Errors
    /// When somebody was faster, and uses what is to go: which and why. Then nothing has changed.
    pub(super) fn confirm(&self) -> anyhow::Result<()> {
        let shows = |disks: &mut Disks| disks.shows_what_goes();
        let waited = self.settled.wait_timeout_while(self.disks(), MOMENT, shows);
        let mut disks = waited.unwrap_or_else(PoisonError::into_inner).0;
        disks.all.values_mut().filter(|disk| disk.goes && disk.claim.is_none()).try_for_each(Disk::hold)
    }

    /// Takes away what goes, whose targets are yet to go; what an administrator must know of that. What has not ended when its
    /// store has not answered for a moment ends without them.
    pub(super) fn stop(&self, turnover: &mut Turnover) -> Vec<String> {
        let (goes, mut disks) = (std::mem::take(&mut turnover.goes), self.disks());
        let all: Vec<_> = goes.into_iter().filter_map(|name| disks.all.remove(&name)).collect();
        drop(disks);
        self.end_each(all, MOMENT)
    }

    /// Ends these beside each other, and waits for all of them together, for none whose store is silent for so long; what
    /// there is to be said of that.
    fn end_each(&self, all: Vec<Disk>, silence: Duration) -> Vec<String> {
        let deadline = Instant::now() + LAST;
        let endings: Vec<_> = all.into_iter().filter_map(|disk| self.end_one(disk)).collect();
        endings.into_iter().filter_map(|ending| ending.hear(silence, deadline)).collect()
    }

    fn end_one(&self, disk: Disk) -> Option<Ending> {
        match disk.state {
            State::Up(device) => Some(self.let_go(&disk.config.store, device, disk.claim)),
            State::Rising(rising) => {
                // Its try has its thread, and ends what has come of it.
                rising.tie.cut();
                None
            }
            State::Down(_) => None,
        }
    }

    /// Begins to end a device. Whoever uses one that nobody could claim before has what he wrote on its store.
    fn let_go(&self, name: &str, device: Device, claim: Option<Claim>) -> Ending {
        let what = Leaving { disk: name.to_owned(), number: device.number(), tie: device.tie().clone() };
        let name = name.to_owned();
        self.endings.begin(what, move || {
            let claim = claim.or_else(|| device.claim().ok());
            if claim.is_none() {
                tracing::warn!(disk = name, device = %device.path().display(), "a local disk goes that is in use");
            }
            device.end(claim)
        })
    }

    /// Shows what comes, whose targets are there; what there is to be said against that.
    pub(super) fn go_on(self: &Arc<Self>, mut turnover: Turnover) -> Vec<String> {
        let begin = |(config, reserved): (LoopbackConfig, Option<Reserved>)| {
            let what = self.disks().begin(&self.connect, config, YET.into());
            what.map(|what| self.make(what, reserved))
        };
        let tries = std::mem::take(&mut turnover.comes).into_iter().filter_map(begin).collect();
        self.hear(tries)
    }

    /// Ends all of them. Whoever still uses one has what he wrote on its store.
    pub(super) fn end(&self) {
        let deadline = Instant::now() + LAST;
        let mut disks = self.disks();
        disks.closed = true;
        let all = std::mem::take(&mut disks.all).into_values().collect();
        drop(disks);
        self.end_each(all, LAST).iter().for_each(|told| tracing::warn!("{told}"));
        self.endings.wait(deadline);
    }

    /// How long that may take.
    pub(super) fn patience(&self) -> Duration {
        let is_over = self.disks().all.is_empty() && self.endings.are_over();
        if is_over { Duration::ZERO } else { LAST }
    }
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
        all.disks().begin(&all.connect, config(store), YET.into()).expect("the daemon serves")
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
        let begin_all = || all.disks().begin_all(&all.connect);
        let again = begin_all();
        assert_eq!((again.len(), begin_all().len()), (1, 0), "one try at a time");
        assert_eq!(fail(&all, &again[0], "x"), None, "as before");
    }

    #[test]
    fn none_comes_when_the_daemon_stops() {
        let all = none();
        let under_way = begin(&all, "a");
        all.end();
        assert!(all.disks().begin(&all.connect, config("b"), YET.into()).is_none());
        assert_eq!(fail(&all, &under_way, "it stops"), None);
        assert!(all.list().is_empty());
    }

    #[test]
    fn what_a_change_does_without_does_not_come_up_before_that_is_given_up() {
        let all = none();
        let (shown, rising) = (begin(&all, "a"), begin(&all, "b"));
        all.expect(&[config("c"), config("d")]);
        assert!(all.permit(&shown).is_ok(), "nothing is in the way");
        let change = all.prepare(&[config("d")], &[]).unwrap();
        let said = all.permit(&rising).unwrap_err().to_string();
        assert!(said.contains("a change is under way"), "{said}");
        let begun = all.disks().begin_all(&all.connect);
        assert_eq!(begun.len(), 1, "that which stays");
        assert!(fail(&all, &rising, "a change").is_some());
        drop(change);
        let begun = all.disks().begin_all(&all.connect);
        assert_eq!(begun.len(), 2, "all that are not there");
        assert!(begun.iter().all(|what| all.permit(what).is_ok()));
    }

    #[test]
    fn what_is_just_shown_is_waited_for_before_a_change_does_without_it() {
        let all = none();
        let shown = begin(&all, "a");
        all.permit(&shown).unwrap();
        let mut change = all.prepare(&[], &[]).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(200));
                fail(&all, &shown, "x")
            });
            let began = Instant::now();
            all.confirm().unwrap();
            let took = began.elapsed();
            assert!(why(&all) == ["x"] && took < MOMENT, "{took:?}");
        });
        assert!(all.stop(&mut change).is_empty() && all.list().is_empty());
    }

    #[test]
    fn a_try_that_a_change_has_done_without_reaches_no_store_any_more() {
        let all = none();
        let (goes, stays) = (begin(&all, "a"), begin(&all, "b"));
        let mut change = all.prepare(&[config("b")], &[]).unwrap();
        assert!(!goes.tie.is_cut(), "the change may be given up");
        all.stop(&mut change);
        assert!(goes.tie.is_cut() && !stays.tie.is_cut());
        assert!(all.permit(&goes).is_err() && all.permit(&stays).is_ok());
    }
}

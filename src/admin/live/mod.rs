//! The configuration that is served, and how it becomes another one while it is served.
//!
//! Owns: what is served as of now. Promises: a new configuration is taken whole or not at all. Everything that can fail
//! (files, devices, addresses, the state directory) is tried before anything is seen of the change; then reactors take
//! it step by step (see [`crate::reactor`]), and nobody's I/O waits whom the change does not concern. One change at a
//! time. Refuses to know: where a configuration comes from and who wants it.
//!
//! ```text
//!   text ─► Config ─► Draft (plan; numbers) ─► lengthen files ─► open stores ─► bind addresses ─► enter ─► refit ─┐
//!                                              └────────────── fails: nothing has changed ──────────────┘         │
//!                                                                 retire ◄─ show lengths ◄─ doors ◄─ switch ◄─────┘
//! ```
//!
//! What a change costs: reactors look at nothing but what it changes. Here what is written otherwise is read, planned and
//! carried out; all else is text to compare, and entries of lists and maps to copy and to count: of ten thousand logical
//! units, that is milliseconds of an ordinary thread.

mod crew;
mod draft;
mod growths;
pub(super) mod lacking;
mod looks;
mod numbers;
pub mod plan;
pub(super) mod units;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};

use self::draft::{Came, Draft, DraftStore, Fate, Supply};
use self::growths::Growths;
use self::lacking::Lacking;
use self::looks::Sought;
use self::numbers::Numbers;
pub use self::plan::Plan;
use self::units::{Found, Keeper, Lost, Opening, Reached, Serials, VANISHED};
use super::config::{self, Config, Kept, LoopbackConfig, PortalConfig, Report, ServerConfig, Source, Told};
use super::cpulist::Reactors;
use super::inherited::Inherited;
use super::listen::{self, Bound};
use super::loopbacks::{LocalDisk, Loopbacks};
use super::run::{flush, login_timeout};
use super::watch::Watcher;
use crate::ids::LuId;
use crate::reactor::{Control, Late, Stuck, UnitSeed};
use crate::ring::KernelLevel;
use crate::scsi::{AccessState, Accesses, Counters, Group, LuFacts, SharedOp};
use crate::store::{Backing, StoreConfig};
use crate::target::Catalog;

/// How long a change waits for a store that another process holds.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a change waits for an address that another program uses.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// How long those who have no business with a target any more get to log out.
const GRACE: Duration = Duration::from_secs(3);

/// How long a change waits until nothing is left of what goes; it goes on without.
const RETIRE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last holder of a store that goes is waited for: whoever looks at it is soon done.
const LAST_HOLDER: Duration = Duration::from_secs(2);

/// What the command line says of the daemon counts more than what stands in a file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// How many reactors and where.
    pub reactors: Option<Reactors>,
    /// How long a reactor looks for work.
    pub poll: Option<Duration>,
    /// Where identities and reservations are kept.
    pub state_dir: Option<PathBuf>,
    /// Buffer memory of all reactors.
    pub buffer_memory: Option<u64>,
    /// A kernel to stand in for.
    pub kernel_level: Option<KernelLevel>,
    /// Where the control socket is.
    pub control_socket: Option<PathBuf>,
    /// What is logged.
    pub log: Option<String>,
}

impl Overrides {
    /// Has the configuration of the daemon say the same.
    pub fn apply(&self, server: &mut ServerConfig) {
        let Self { reactors, poll, state_dir, buffer_memory, kernel_level, control_socket, log } = self;
        if let Some(reactors) = reactors {
            server.reactors.clone_from(reactors);
        }
        server.poll = poll.unwrap_or(server.poll);
        if let Some(dir) = state_dir {
            server.state_dir.clone_from(dir);
        }
        if control_socket.is_some() {
            server.control_socket.clone_from(control_socket);
        }
        if let Some(log) = log {
            server.log.clone_from(log);
        }
        server.buffer_memory = buffer_memory.or(server.buffer_memory);
        server.kernel_level = kernel_level.or(server.kernel_level);
    }
}

/// Where the configuration came from.
#[derive(Debug, Default)]
pub struct Origin {
    /// Its file; none: everything was named on the command line.
    pub file: Option<PathBuf>,
    /// Its text.
    pub text: String,
    /// What the command line says besides.
    pub overrides: Overrides,
}

impl Origin {
    /// Its text, with nothing to be said against it.
    pub(super) fn written(&self) -> Report {
        let name = self.file.as_ref().map(|file| file.display().to_string());
        Report::new(Source::new(name.unwrap_or_default(), self.text.as_str()), Vec::new())
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The configuration is wrong.
    #[error("{0}")]
    Invalid(Report),
    /// It is right, but cannot be had; nothing has changed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// The same of what was only to be planned, and the plan: there may be more that only shows when it is tried.
    #[error("{0:#}")]
    Lacking(anyhow::Error, Plan),
    /// What it would change now is not what was expected; nothing has changed.
    #[error("what is served has changed meanwhile, and so has the plan")]
    Other(Plan),
}

/// A logical unit that is served.
#[derive(Debug, Clone)]
struct Served {
    config: Arc<StoreConfig>,
    unit: UnitSeed,
    /// What the SCSI side has been told last.
    facts: Arc<LuFacts>,
    /// What it stands for, if that was served until it vanished; or what has vanished, before something stands for it.
    lost: Option<Lost>,
    /// Why it only stands for its store, as far as is known by now.
    why: Option<String>,
}

impl Served {
    fn new(config: Arc<StoreConfig>, unit: UnitSeed, lost: Option<Lost>) -> Self {
        let stands_in = units::is_stand_in(&config, &unit);
        let why = stands_in.then(|| unit.backing.warnings.concat());
        Self { config, facts: unit.lu.facts.clone(), lost: lost.filter(|_| stands_in), why, unit }
    }

    /// Whether its device or file is not there.
    fn is_stand_in(&self) -> bool {
        units::is_stand_in(&self.config, &self.unit)
    }

    /// Whether it is what the configuration says, as far as is known.
    fn is_sound(&self) -> bool {
        !self.is_stand_in() && self.lost.is_none()
    }
}

/// A socket that is listened on.
#[derive(Debug, Clone)]
struct Socket {
    plan: listen::Plan,
    got: SocketAddr,
    fd: RawFd,
}

impl Socket {
    fn of(bound: &Bound) -> Self {
        use std::os::fd::AsRawFd;
        Self { plan: bound.plan.clone(), got: bound.got, fd: bound.listener.as_raw_fd() }
    }
}

/// What is served.
#[derive(Debug)]
struct Running {
    /// How many changes were made.
    generation: u64,
    text: String,
    /// What the text came to when it was read. What it names, files with secrets and interfaces, may not be there any more.
    meant: Config,
    /// Where its relative paths start, if not where the file is.
    dir: Option<PathBuf>,
    server: ServerConfig,
    stores: BTreeMap<LuId, Served>,
    catalog: Arc<Catalog>,
    loopbacks: Vec<LoopbackConfig>,
    /// Catalogues of before that logins go by which began then: they are freed here, not on a reactor.
    former: Vec<Arc<Catalog>>,
    portals: Vec<PortalConfig>,
    sockets: Vec<Socket>,
}

impl Running {
    fn replace_catalog(&mut self, catalog: Arc<Catalog>) {
        self.former.push(std::mem::replace(&mut self.catalog, catalog));
        self.former.retain(|catalog| Arc::strong_count(catalog) > 1);
    }
}

/// What those are told who only look: of what is served as of the last change.
#[derive(Debug, Default)]
struct Shown {
    generation: u64,
    text: String,
    dir: Option<PathBuf>,
    units: BTreeMap<LuId, ShownUnit>,
    catalog: Arc<Catalog>,
}

#[derive(Debug, Clone)]
struct ShownUnit {
    name: String,
    counters: Counters,
    facts: Arc<LuFacts>,
    /// Why it is not ready, if it is not.
    why: Option<String>,
}

impl ShownUnit {
    /// Bytes that initiators see, if it is known how many.
    fn size(&self) -> Option<u64> {
        let blocks = self.counters.capacity().unwrap_or(self.facts.blocks);
        Some(blocks.saturating_mul(self.facts.block_size.into()))
            .filter(|size| *size > 0 && self.why.is_none())
    }
}

/// A store, as those are told of it who only look.
#[derive(Debug, Clone, Copy)]
pub struct ShownStore<'a> {
    /// The logical unit on it.
    pub lu: LuId,
    /// Its name.
    pub name: &'a str,
    /// Bytes that initiators see, if it is known how many: of what is not ready it is not.
    pub size: Option<u64>,
    /// Why it is not ready, if it is not.
    pub why: Option<&'a str>,
}

impl From<&Served> for ShownUnit {
    fn from(served: &Served) -> Self {
        Self {
            name: served.config.name.clone(),
            counters: served.unit.lu.counters.clone(),
            facts: served.facts.clone(),
            why: served.why.clone(),
        }
    }
}

impl Shown {
    fn of(running: &Running) -> Self {
        let units = running.stores.iter().map(|(lu, served)| (*lu, served.into())).collect();
        let (text, dir, catalog) = (running.text.clone(), running.dir.clone(), running.catalog.clone());
        Self { generation: running.generation, text, dir, units, catalog }
    }

    /// What is served has become this, and those logical units are not what they were, or not there any more.
    fn follow(&mut self, running: &Running, touched: impl Iterator<Item = LuId>) {
        self.generation = running.generation;
        running.text.clone_into(&mut self.text);
        self.dir.clone_from(&running.dir);
        self.catalog.clone_from(&running.catalog);
        for lu in touched {
            match running.stores.get(&lu) {
                Some(served) => self.units.insert(lu, served.into()),
                None => self.units.remove(&lu),
            };
        }
    }
}

/// What has been handed out and has not come back. Nobody holds this for long, whatever becomes of a change.
#[derive(Debug)]
struct Held {
    numbers: Numbers,
    /// What is open: what is served, comes or goes.
    open: Vec<Weak<Backing>>,
    /// What of that goes.
    leaving: Vec<Weak<Backing>>,
}

/// See the module page.
#[derive(Debug)]
pub struct Live {
    control: Arc<Control>,
    keeper: Keeper,
    serials: Serials,
    watcher: Watcher,
    origin: Origin,
    /// Sockets that outlive what listens with them.
    inherited: Inherited,
    loopbacks: Arc<Loopbacks>,
    /// Whoever makes a change holds this, also while that waits for a disk or an address.
    running: Mutex<Running>,
    /// Nobody holds this while something is waited for.
    shown: Mutex<Shown>,
    held: Arc<Mutex<Held>>,
    /// The text that was read last.
    kept: Mutex<Kept>,
    /// What was last warned of; nothing: what was when the daemon began.
    warned: Mutex<Option<Told>>,
    /// Beside the rest, for a change that waits for a disk must not keep the daemon from its end.
    drain_timeout: Mutex<Duration>,
}

/// What the daemon has started with.
pub(super) struct Start {
    pub(super) control: Arc<Control>,
    pub(super) keeper: Keeper,
    pub(super) serials: Serials,
    pub(super) watcher: Watcher,
    pub(super) origin: Origin,
    /// As it was read.
    pub(super) meant: Config,
    /// Without its targets, which are in the catalogue.
    pub(super) config: Config,
    pub(super) catalog: Arc<Catalog>,
    pub(super) units: Vec<UnitSeed>,
    pub(super) inherited: Inherited,
    pub(super) sockets: Vec<(listen::Plan, SocketAddr, RawFd)>,
    /// Those of the configuration, expected.
    pub(super) loopbacks: Loopbacks,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left half done is no worse than what it would be to refuse everything from then on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn absolute(dir: &Path) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| "/".into())
}

/// The medium of a logical unit that is there.
type Open = (LuId, Arc<Backing>);

impl Live {
    pub(super) fn new(start: Start) -> Self {
        let Start { control, keeper, serials, watcher, origin, meant, config, catalog, units, .. } = start;
        let (inherited, sockets, loopbacks) = (start.inherited, start.sockets, start.loopbacks);
        units.iter().for_each(|unit| keeper.keep_place(unit));
        let open = units.iter().map(|unit| Arc::downgrade(&unit.backing)).collect();
        let held = Held { numbers: Numbers::after(units.len()), open, leaving: Vec::new() };
        let served = config.stores.into_iter().zip(units);
        let served = served.map(|(config, unit)| Served::new(config, unit, None));
        let sockets = sockets.into_iter().map(|(plan, got, fd)| Socket { plan, got, fd }).collect();
        let drain_timeout = config.server.drain_timeout.into();
        let running = Running {
            generation: 0,
            text: origin.text.clone(),
            meant,
            dir: None,
            server: config.server,
            stores: (0..).map(LuId).zip(served).collect(),
            catalog,
            loopbacks: config.loopbacks,
            former: Vec::new(),
            portals: config.portals,
            sockets,
        };
        Self {
            control,
            keeper,
            serials,
            watcher,
            origin,
            inherited,
            loopbacks: loopbacks.into(),
            shown: Shown::of(&running).into(),
            running: running.into(),
            held: Arc::new(held.into()),
            kept: Mutex::default(),
            warned: Mutex::default(),
            drain_timeout,
        }
    }

    /// The reactors.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The configuration that is served, as text.
    #[cfg(test)]
    fn text(&self) -> String {
        locked(&self.running).text.clone()
    }

    /// What is served, as text, and where its relative paths start if that is not where the file is. Waits for no change.
    pub fn served(&self) -> (String, Option<PathBuf>) {
        let shown = locked(&self.shown);
        (shown.text.clone(), shown.dir.clone())
    }

    /// How many changes were made. Waits for none.
    pub fn changes(&self) -> u64 {
        locked(&self.shown).generation
    }

    /// The catalogue that is served. Waits for no change.
    pub fn catalog(&self) -> Arc<Catalog> {
        locked(&self.shown).catalog.clone()
    }

    /// The configuration file that is served, if one is.
    pub fn file(&self) -> Option<&Path> {
        self.origin.file.as_deref()
    }

    /// Where identities and reservations are kept, if they are.
    pub fn state_dir(&self) -> Option<&Path> {
        self.keeper.dir()
    }

    /// How long initiators get to log out when the daemon stops.
    pub(super) fn drain_timeout(&self) -> Duration {
        *locked(&self.drain_timeout)
    }

    /// The local disks. Waits for no change.
    pub(super) fn local_disks(&self) -> Vec<LocalDisk> {
        self.loopbacks.list()
    }

    /// Makes the local disks that could not be made before, as far as that can be now. Changes go on meanwhile: a store
    /// that hangs, and which a new disk is read from, holds up nobody else.
    pub(super) fn raise_loopbacks(&self) {
        if !self.loopbacks.are_begun() {
            self.loopbacks.raise();
        }
    }

    /// How long [`Live::end_loopbacks`] may take.
    pub(super) fn loopback_patience(&self) -> Duration {
        self.loopbacks.patience()
    }

    /// Ends the local disks, as long as their targets answer.
    pub(super) fn end_loopbacks(&self) {
        self.loopbacks.end();
    }

    /// Everything that is open, for the last flush.
    pub(super) fn backings(&self) -> Vec<Arc<Backing>> {
        locked(&self.held).open.iter().filter_map(Weak::upgrade).collect()
    }

    /// Something of every logical unit, by the name of its store and its counters. Waits for no change.
    pub fn units<T>(&self, each: impl Fn(&str, &Counters) -> T) -> Vec<T> {
        locked(&self.shown).units.values().map(|unit| each(&unit.name, &unit.counters)).collect()
    }

    /// Something of every store, and of what initiators are told of it, by logical unit. Waits for no change.
    pub fn stores<T>(&self, each: impl Fn(ShownStore<'_>, &LuFacts) -> T) -> Vec<T> {
        let shown = locked(&self.shown);
        let store = |(lu, unit): (&LuId, &'_ ShownUnit)| {
            let (name, size, why) = (&*unit.name, unit.size(), unit.why.as_deref());
            each(ShownStore { lu: *lu, name, size, why }, &unit.facts)
        };
        shown.units.iter().map(store).collect()
    }

    /// The names of the stores, by logical unit. Waits for no change.
    pub fn unit_names(&self) -> HashMap<LuId, String> {
        locked(&self.shown).units.iter().map(|(lu, unit)| (*lu, unit.name.clone())).collect()
    }

    /// The number of the logical unit on the store of that name. Waits for no change.
    pub fn unit_named(&self, name: &str) -> Option<(LuId, Arc<LuFacts>)> {
        let shown = locked(&self.shown);
        let found = shown.units.iter().find(|(_, unit)| unit.name == name);
        found.map(|(lu, unit)| (*lu, unit.facts.clone()))
    }

    /// Something of every target port group, by the name of its backstore, and the state that it is in now. Devices that
    /// are passed through have none. Waits for no change.
    ///
    /// # Errors
    /// When a reactor does not say in time.
    pub fn access_states<T>(&self, each: impl Fn(&str, &Group, AccessState) -> T) -> Result<Vec<T>, Late> {
        let changed: HashMap<LuId, Accesses> = self.control.accesses()?.into_iter().collect();
        let shown = locked(&self.shown);
        let mut all = Vec::new();
        for (lu, unit) in shown.units.iter().filter(|(_, unit)| unit.facts.passed.is_none()) {
            let changed = changed.get(lu);
            let state = |group: &Group| changed.map_or(group.configured, |accesses| accesses.of(group));
            all.extend(unit.facts.groups.iter().map(|group| each(&unit.name, group, state(group))));
        }
        Ok(all)
    }

    /// Checks a text, whose relative paths start at `dir`, or where the file is that is served; what it says is adjusted
    /// to what the command line said.
    fn parse(&self, name: &str, text: &str, dir: Option<&Path>) -> Result<(Config, Report), Refused> {
        let dir = dir.map_or_else(|| self.own_dir(), absolute);
        let read = locked(&self.kept).read(Source::new(name, text), &dir, None);
        let (mut config, report) = read.map_err(Refused::Invalid)?;
        self.adjust(&mut config);
        Ok((config, report))
    }

    /// Where the relative paths of the file start that is served.
    fn own_dir(&self) -> PathBuf {
        self.file().map_or_else(|| absolute(Path::new(".")), config::dir_of)
    }

    fn adjust(&self, config: &mut Config) {
        self.origin.overrides.apply(&mut config.server);
        let running = &locked(&self.running).server;
        // What was served from the command line stays what it is in these.
        if running.ad_hoc {
            config.server.ad_hoc = true;
            config.server.state_dir.clone_from(&running.state_dir);
            config.server.control_socket.clone_from(&running.control_socket);
        }
    }

    /// What a text would change.
    ///
    /// # Errors
    /// When it is wrong, or a store cannot have the size that it wants.
    pub fn plan(&self, name: &str, text: &str, dir: Option<&Path>) -> Result<Plan, Refused> {
        let (config, report) = self.parse(name, text, dir)?;
        let draft = self.draft(&locked(&self.running), config, Came::new())?;
        // What could only be told by trying is told when it is carried out: a plan makes, opens and binds nothing.
        match draft.lacking.check(&report) {
            Ok(()) => Ok(draft.plan),
            Err(why) => Err(Refused::Lacking(why, draft.plan)),
        }
    }

    /// Has the text served instead of what is served now, if that text and the plan are to somebody's liking; what that
    /// has changed.
    ///
    /// # Errors
    /// When the text is wrong, the plan is not wanted, or something of it cannot be had. Then nothing has changed.
    pub fn apply_if(
        &self,
        name: &str,
        text: &str,
        dir: Option<&Path>,
        wanted: impl FnOnce(&str, &Plan) -> bool,
    ) -> Result<Plan, Refused> {
        let (config, report) = self.parse(name, text, dir)?;
        self.warn_anew(&report);
        self.take(config, &report, dir, |now, plan| wanted(&now.text, plan))
    }

    /// Logs what there is to be said against a text that was not said of the one before: who changes it line by line does
    /// not want to read all of it with each of them.
    fn warn_anew(&self, report: &Report) {
        let mut warned = locked(&self.warned);
        let known = warned.take().unwrap_or_else(|| {
            let first = self.parse("configuration", &self.origin.text, None);
            first.map(|(_, report)| report.told()).unwrap_or_default()
        });
        log(&report.news(&known));
        *warned = Some(report.told());
    }

    /// Has something stand for the stores whose devices have vanished, and serves those whose devices or files are there
    /// again. What has changed, if anything. Of those that cannot be opened, and of others in their place, the log is told
    /// once.
    ///
    /// # Errors
    /// When they cannot be served after all.
    pub(super) fn revive(&self) -> Result<Option<Plan>, Refused> {
        let (generation, open, away) = self.present();
        let lost = open.iter().filter_map(|(lu, backing)| Some((*lu, Lost::of(backing)?))).collect();
        // Nobody waits for us who wants to close one.
        drop(open);
        // A disk that does not answer keeps no change and no other disk waiting, and one that cannot be opened none from
        // being made.
        let (mut came, mut absent, mut others) = (Came::new(), Vec::new(), Vec::new());
        for (lu, found) in self.keeper.looks.find(away, self.keeper.look()) {
            match found {
                Found::It(backing) => drop(came.insert(lu, backing)),
                Found::Nothing(why) => absent.push((lu, why)),
                Found::Held(why) | Found::Other(why) => others.push((lu, why)),
            }
        }
        self.explain(generation, absent);
        for news in self.explain(generation, others) {
            tracing::warn!("a store is not served: {news}");
        }
        if self.note(lost) || !came.is_empty() {
            return self.serve_again(generation, came);
        }
        Ok(None)
    }

    /// As of which change, what is open, and the stores that something stands for.
    fn present(&self) -> (u64, Vec<Open>, Vec<(LuId, Sought)>) {
        let running = locked(&self.running);
        let (away, open): (Vec<_>, Vec<_>) = running.stores.iter().partition(|(_, s)| s.is_stand_in());
        let open = open.into_iter().map(|(lu, s)| (*lu, s.unit.backing.clone())).collect();
        let sought = |s: &Served| Sought { config: s.config.clone(), lost: s.lost.clone() };
        (running.generation, open, away.into_iter().map(|(lu, s)| (*lu, sought(s))).collect())
    }

    /// Why these were not ready as of that change; those of which something else was known are news.
    fn explain(&self, generation: u64, reasons: Vec<(LuId, String)>) -> Vec<String> {
        let (mut running, mut news) = (locked(&self.running), Vec::new());
        if running.generation != generation {
            return news;
        }
        let mut shown = locked(&self.shown);
        for (lu, why) in reasons {
            let Some(served) = running.stores.get_mut(&lu) else { continue };
            if served.why.as_ref() != Some(&why) {
                news.push(format!("backstore {}: {why}", served.config.name));
                served.why = Some(why);
                shown.units.insert(lu, (&*served).into());
            }
        }
        news
    }

    /// These have vanished: the next change has something stand for them. Whether there are any.
    fn note(&self, lost: Vec<(LuId, Lost)>) -> bool {
        let (any, mut running) = (!lost.is_empty(), locked(&self.running));
        for (lu, lost) in lost {
            // The number may be another's by now.
            if let Some(served) = running.stores.get_mut(&lu).filter(|served| lost.was(&served.unit.backing))
            {
                served.lost = Some(lost);
            }
        }
        any
    }

    /// Serves the same as of that change, with what came, and without what has vanished. Not when it is something else
    /// meanwhile: that is looked at anew. Nobody has asked for the text to be read again.
    fn serve_again(&self, generation: u64, came: Came) -> Result<Option<Plan>, Refused> {
        let media: Vec<_> = came.values().cloned().collect();
        let served = self.serve_with(generation, came);
        if !matches!(served, Ok(Some(_))) {
            // Names they have none yet: those that are kept are of what another change has served meanwhile.
            media.iter().for_each(|medium| self.keeper.unmake_file(medium));
        }
        served
    }

    fn serve_with(&self, generation: u64, came: Came) -> Result<Option<Plan>, Refused> {
        let mut running = locked(&self.running);
        if running.generation != generation {
            return Ok(None);
        }
        let draft = self.draft(&running, running.meant.clone(), came)?;
        let written = Report::new(Source::new("configuration", running.text.as_str()), Vec::new());
        Ok(Some(self.carry_out(&mut running, draft, &written, |running| running.generation += 1)?))
    }

    /// Forgets who initiators knew a backstore for that has gone, by names of its own and by a serial number that was chosen
    /// for it, and what they had reserved of it.
    ///
    /// # Errors
    /// When it is served, or still at work; or what is kept of it cannot be removed.
    pub fn forget(&self, name: &str, serial: Option<&str>) -> anyhow::Result<()> {
        // Held, so that nobody has it served meanwhile.
        let running = locked(&self.running);
        // Another may have been given the serial number that was made up for it.
        let own = self.keeper.saved_serial(name)?;
        let serials = [serial, own.as_deref()];
        let is_it = |s: &Served| s.config.name == name || serials.contains(&Some(&*s.facts.identity.serial));
        anyhow::ensure!(
            !running.stores.values().any(is_it),
            "backstore {name} is served, or another by its serial number: nothing is forgotten"
        );
        let is_leaving = |w: &Weak<Backing>| w.upgrade().is_some_and(|backing| backing.name == name);
        anyhow::ensure!(
            !locked(&self.held).leaving.iter().any(is_leaving),
            "backstore {name} is still at work: forget it when that has ended"
        );
        self.keeper.forget(name, serial)
    }

    /// Has the configuration file served as it is now.
    ///
    /// # Errors
    /// When it cannot be read, is wrong, or something of it cannot be had. Then nothing has changed.
    pub fn reload(&self) -> Result<Plan, Refused> {
        let file = self
            .origin
            .file
            .as_ref()
            .context("no file is served: everything was named on the command line")?;
        loop {
            match self.reload_from(file) {
                // It was saved while this waited for another change.
                Err(Refused::Other(_)) => {}
                reloaded => return reloaded,
            }
        }
    }

    /// Has the file served as it is read, if that is what it still says when no other change is under way.
    fn reload_from(&self, file: &Path) -> Result<Plan, Refused> {
        let (mut config, report) = config::load(file).map_err(|error| match error {
            config::LoadError::Invalid(report) => Refused::Invalid(report),
            error => Refused::Failed(error.into()),
        })?;
        self.adjust(&mut config);
        *locked(&self.warned) = Some(report.told());
        log(&report.to_string());
        let is_same = || config::read_source(file).is_ok_and(|(source, _)| source.text() == report.text());
        self.take(config, &report, None, |_, _| is_same())
    }

    fn take(
        &self,
        config: Config,
        written: &Report,
        dir: Option<&Path>,
        wanted: impl FnOnce(&Running, &Plan) -> bool,
    ) -> Result<Plan, Refused> {
        let mut running = locked(&self.running);
        let draft = self.draft(&running, config.clone(), Came::new())?;
        if !wanted(&running, &draft.plan) {
            return Err(Refused::Other(draft.plan));
        }
        let plan = self.carry_out(&mut running, draft, written, |running| {
            running.generation += 1;
            written.text().clone_into(&mut running.text);
            running.meant = config;
            running.dir = dir.filter(|dir| absolute(dir) != self.own_dir()).map(Path::to_owned);
        })?;
        Ok(plan)
    }

    fn draft(&self, running: &Running, mut config: Config, came: Came) -> anyhow::Result<Draft> {
        config.expose_local();
        let ports = self.keeper.number_ports(&mut config.targets)?;
        let numbers = locked(&self.held).numbers.offer(config.stores.len());
        let sessions = |targets| self.control.sessions_at(targets);
        let supply = Supply { numbers, came };
        Draft::new(running, config, ports, supply, &self.keeper, sessions, &self.inherited)
    }

    /// Makes the change. What can fail comes first, and is undone when it does; `note` keeps what it was made of.
    fn carry_out(
        &self,
        running: &mut Running,
        mut draft: Draft,
        written: &Report,
        note: impl FnOnce(&mut Running),
    ) -> anyhow::Result<Plan> {
        let mut turnover = self.loopbacks.prepare(&draft.config.loopbacks, &draft.replaced)?;
        let Obtained { growths, opened, doors, away } = self.obtain(running, &mut draft, written)?;
        let media: Vec<_> = opened.iter().map(|(_, unit)| unit.backing.clone()).collect();
        draft.config.bind(&doors.new.iter().map(|b| (b.plan.address, b.got)).collect::<Vec<_>>());
        let kept = self.loopbacks.confirm().and_then(|()| self.keeper.keep_ports(&draft.ports));
        if let Err(error) = kept.and_then(|()| self.enter(running, &draft, &opened)) {
            self.unmake(&media);
            return Err(self.close_again(running, doors, error));
        }
        opened.iter().for_each(|(_, unit)| self.keeper.renew(unit));
        // From here on it is seen, and there is no way back: what goes wrong is told of a change that is made. Local disks go
        // while their targets are there.
        let parted = self.loopbacks.stop(&mut turnover);
        let catalog = draft.catalog(&running.catalog);
        let switched = self.control.switch(&catalog, &draft.moved, login_timeout(&catalog), GRACE);
        running.replace_catalog(catalog);
        running.portals = std::mem::take(&mut draft.config.portals);
        running.loopbacks = std::mem::take(&mut draft.config.loopbacks);
        running.server.drain_timeout = draft.config.server.drain_timeout;
        *locked(&self.drain_timeout) = draft.config.server.drain_timeout;
        if running.server.log != draft.config.server.log {
            super::log::change(&draft.config.server.log);
            running.server.log.clone_from(&draft.config.server.log);
        }
        let moved = self.change_doors(running, doors);
        self.remember(running, &draft, opened);
        let gone: Vec<_> = draft.removed.iter().filter_map(|lu| running.stores.remove_entry(lu)).collect();
        note(running);
        let touched = draft.stores.iter().map(|s| s.lu).chain(draft.removed.iter().copied());
        locked(&self.shown).follow(running, touched);
        let stuck = [switched, moved].into_iter().filter_map(Result::err).map(|stuck| stuck.to_string());
        let mut warnings = std::mem::take(&mut draft.plan.warnings);
        warnings.extend(away);
        warnings.extend(stuck.chain(growths.show(&self.control)));
        warnings.extend(parted.into_iter().chain(self.loopbacks.go_on(turnover)));
        warnings.extend(self.retire(gone));
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(Plan { warnings, ..draft.plan })
    }

    /// What others can keep from us. All that they do is told at once.
    fn obtain(&self, running: &mut Running, draft: &mut Draft, written: &Report) -> anyhow::Result<Obtained> {
        let mut lacking = std::mem::take(&mut draft.lacking);
        let growths = Growths::begin(running, draft, &mut lacking);
        let media = self.open(draft, &mut lacking);
        let new = listen::make(&draft.doors.plain, &self.inherited, ADDRESS_PATIENCE);
        let new = lacking.of_portals(new);
        let set_up = || {
            lacking.check(written)?;
            let opened = self.set_up(&media, &draft.reached)?;
            let doors = self.make_way(running, draft, new, written)?;
            let away = media.iter().filter_map(|(store, medium)| not_ready(store, medium)).collect();
            Ok(Obtained { growths, opened, doors, away })
        };
        set_up().inspect_err(|_| self.unmake(media.iter().filter_map(|(_, medium)| medium.as_ref().ok())))
    }

    /// Opens the stores that are new, as far as they can be, and what stands for those that have vanished.
    fn open<'d>(&self, draft: &'d Draft, lacking: &mut Lacking) -> Vec<(&'d DraftStore, Opening)> {
        let deadline = Instant::now() + STORE_PATIENCE;
        let left = || deadline.saturating_duration_since(Instant::now());
        let new: Vec<_> = draft.stores.iter().filter(|s| s.is_to_be_opened(lacking)).collect();
        new.into_iter()
            .filter_map(|store| {
                let medium = lacking.of_store(&store.config.name, self.medium(store, left()))?;
                Some((store, medium))
            })
            .collect()
    }

    /// What that store is opened for, if it is there.
    fn medium(&self, store: &DraftStore, patience: Duration) -> anyhow::Result<Opening> {
        match &store.fate {
            Fate::Lost(_) => Ok(Err(VANISHED.into())),
            Fate::Came(backing, _) => Ok(Ok(backing.clone())),
            _ => {
                let deadline = Instant::now() + patience;
                self.await_leaving(&store.config, deadline)?;
                self.keeper.open(&store.config, deadline.saturating_duration_since(Instant::now()))
            }
        }
    }

    /// Waits for a backstore that has gone, and is still at work where that one is to be, or that somebody still looks for there.
    fn await_leaving(&self, config: &StoreConfig, deadline: Instant) -> anyhow::Result<()> {
        let Some(path) = &config.path else { return Ok(()) };
        let leaving = || {
            let held = locked(&self.held);
            let mut all = held.leaving.iter().filter_map(Weak::upgrade);
            let gone = all.find(|backing| backing.path.as_ref() == Some(path))?;
            Some(format!("backstore {} has gone, and is still at work there", gone.name))
        };
        let sought = || {
            let name = self.keeper.looks.give_up(path)?;
            Some(format!("backstore {name} was not there, and is still looked for"))
        };
        while let Some(why) = leaving().or_else(sought) {
            anyhow::ensure!(
                Instant::now() < deadline,
                "{}: {why}; try again when that has ended",
                path.display()
            );
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The logical units on these. Not sooner do they have names: what has one, and no file, was served before.
    fn set_up(
        &self,
        stores: &[(&DraftStore, Opening)],
        reached: &Reached,
    ) -> anyhow::Result<Vec<(LuId, UnitSeed)>> {
        for (store, _) in stores {
            if let Fate::Came(_, identity) = &store.fate {
                self.keeper.keep_identity(&store.config, identity)?;
            }
        }
        let open = stores.iter().filter(|(_, medium)| medium.is_ok());
        self.keeper.identify(open.map(|(store, _)| &*store.config))?;
        stores
            .iter()
            .map(|(store, medium)| Ok((store.lu, self.unit(store, medium.clone(), reached)?)))
            .collect()
    }

    fn unit(&self, store: &DraftStore, medium: Opening, reached: &Reached) -> anyhow::Result<UnitSeed> {
        let DraftStore { lu, config, fate, .. } = store;
        let (Fate::Lost(identity), Err(why)) = (fate, &medium) else {
            return self.keeper.unit(config, *lu, reached, medium);
        };
        tracing::warn!(store = config.name, "{why}");
        self.keeper.stand_in(config, identity.clone(), *lu, reached, why.clone())
    }

    /// Nobody has seen these, and nobody will.
    fn unmake<'m>(&self, media: impl IntoIterator<Item = &'m Arc<Backing>>) {
        media.into_iter().for_each(|medium| self.keeper.unmake(medium));
    }

    /// What others of this daemon are in the way of is bound when these are closed, behind what is bound already.
    fn make_way(
        &self,
        running: &mut Running,
        draft: &Draft,
        new: Vec<Bound>,
        written: &Report,
    ) -> anyhow::Result<NewDoors> {
        let mut doors = NewDoors { new, close: draft.doors.close.clone(), closed: Vec::new() };
        if draft.doors.in_the_way.is_empty() {
            return Ok(doors);
        }
        self.control.change_doors(Vec::new(), &draft.doors.in_the_way)?;
        doors.closed = running.sockets.extract_if(.., |s| draft.doors.in_the_way.contains(&s.fd)).collect();
        let mut lacking = Lacking::default();
        let blocked = listen::make(&draft.doors.blocked, &self.inherited, ADDRESS_PATIENCE);
        doors.new.extend(lacking.of_portals(blocked));
        match lacking.check(written) {
            Ok(()) => Ok(doors),
            Err(error) => Err(self.close_again(running, doors, error)),
        }
    }

    /// The change is not made, for that reason: what was closed for it is opened again. The reason, and what is lost for all
    /// that.
    fn close_again(&self, running: &mut Running, doors: NewDoors, why: anyhow::Error) -> anyhow::Error {
        let NewDoors { new, closed, .. } = doors;
        drop(new);
        let (mut listeners, mut lost) = (Vec::new(), Vec::new());
        for socket in closed {
            let plan = listen::Plan { address: socket.got, ..socket.plan.clone() };
            match listen::make(&[plan], &self.inherited, listen::PATIENCE) {
                Ok(again) => {
                    for bound in again {
                        running.sockets.push(Socket { fd: Socket::of(&bound).fd, ..socket.clone() });
                        listeners.push(bound.listener);
                    }
                }
                // It is on record no longer: the next change tries it again.
                Err(error) => lost.push(error.to_string()),
            }
        }
        if !listeners.is_empty() {
            lost.extend(self.control.change_doors(listeners, &[]).err().map(|stuck| stuck.to_string()));
        }
        if lost.is_empty() {
            return why;
        }
        why.context(format!(
            "what was listened at before is lost ({}), for a change that fails",
            lost.join("; ")
        ))
    }

    /// New logical units are there, and those that stay are what the configuration says now.
    fn enter(&self, running: &Running, draft: &Draft, opened: &[(LuId, UnitSeed)]) -> anyhow::Result<()> {
        let entered = self.hand_in(opened).and_then(|()| self.refit(running, draft));
        if entered.is_err() && !opened.is_empty() {
            // Reactors may know them by now: their numbers come back when the last one has forgotten them.
            self.let_go(opened.to_vec());
        }
        entered
    }

    /// The reactors get the new logical units, whose numbers are taken from here on.
    fn hand_in(&self, opened: &[(LuId, UnitSeed)]) -> anyhow::Result<()> {
        if opened.is_empty() {
            return Ok(());
        }
        let mut held = locked(&self.held);
        held.numbers.take(opened.iter().map(|(lu, _)| *lu));
        held.open.extend(opened.iter().map(|(_, unit)| Arc::downgrade(&unit.backing)));
        drop(held);
        opened.iter().for_each(|(lu, unit)| self.serials.enter(*lu, unit));
        Ok(self.control.enter(opened.to_vec())?)
    }

    /// Those that stay become what the configuration says now; all, or none.
    fn refit(&self, running: &Running, draft: &Draft) -> anyhow::Result<()> {
        let changes = draft.stores.iter().any(|store| matches!(store.fate, Fate::Refit(_)));
        let known = if changes { self.control.accesses()? } else { Vec::new() };
        let known: HashMap<LuId, Accesses> = known.into_iter().collect();
        let mut done = Vec::new();
        for store in &draft.stores {
            let Fate::Refit(facts) = &store.fate else { continue };
            let Err(failure) = self.control.change_unit(store.lu, SharedOp::Refit(facts.clone())) else {
                done.push(store.lu);
                continue;
            };
            self.put_back(running, &known, &done, store.lu);
            anyhow::bail!(
                "backstore {}: cannot be changed ({failure:?}); see the log for the reason",
                store.config.name
            );
        }
        Ok(())
    }

    /// Those are what they were before, in the access states that were known. So is the one that has failed: where that only
    /// took too long, it happens yet, and this comes after it.
    fn put_back(&self, running: &Running, known: &HashMap<LuId, Accesses>, done: &[LuId], failed: LuId) {
        let back = |lu: &LuId, served: &Served| {
            SharedOp::PutBack(served.facts.clone(), known.get(lu).cloned().unwrap_or_default())
        };
        if let Some(served) = running.stores.get(&failed) {
            self.control.messenger().tell(failed, back(&failed, served));
        }
        for served in done.iter().map(|lu| (lu, running.stores.get(lu))) {
            let (lu, Some(served)) = served else { continue };
            if self.control.change_unit(*lu, back(lu, served)).is_err() {
                tracing::error!(store = served.config.name, "cannot be put back as it was");
            }
        }
    }

    fn change_doors(&self, running: &mut Running, doors: NewDoors) -> Result<(), Stuck> {
        let NewDoors { new, close, .. } = doors;
        if new.is_empty() && close.is_empty() {
            return Ok(());
        }
        running.sockets.extend(new.iter().map(Socket::of));
        running.sockets.retain(|s| !close.contains(&s.fd));
        self.control.change_doors(new.into_iter().map(|b| b.listener).collect(), &close)
    }

    /// What is served now.
    fn remember(&self, running: &mut Running, draft: &Draft, opened: Vec<(LuId, UnitSeed)>) {
        let mut opened: BTreeMap<LuId, UnitSeed> = opened.into_iter().collect();
        for store in &draft.stores {
            if let Some(unit) = opened.remove(&store.lu) {
                self.watcher.add(store.lu, &unit);
                self.keeper.keep_place(&unit);
                let served = Served::new(store.config.clone(), unit, store.lost.clone());
                running.stores.insert(store.lu, served);
            } else if let Some(served) = running.stores.get_mut(&store.lu) {
                served.config.clone_from(&store.config);
                if let Fate::Refit(facts) = &store.fate {
                    served.facts.clone_from(facts);
                }
            }
        }
    }

    /// Nobody sees these any more: they are flushed and closed when nothing is left of them. What an administrator must
    /// know of that.
    fn retire(&self, gone: Vec<(LuId, Served)>) -> Vec<String> {
        let units: Vec<_> = gone.into_iter().map(|(lu, served)| (lu, served.unit)).collect();
        if units.is_empty() {
            return Vec::new();
        }
        let names: Vec<String> = units.iter().map(|(_, unit)| unit.backing.name.clone()).collect();
        self.let_go(units).recv_timeout(RETIRE_PATIENCE).unwrap_or_else(|_| {
            let names = names.join(", ");
            vec![format!(
                "{names}: still at work; nobody sees them any more, and they are closed when that ends"
            )]
        })
    }

    /// Ends logical units on a thread of its own, which tells when what they sit on is closed.
    fn let_go(&self, units: Vec<(LuId, UnitSeed)>) -> Receiver<Vec<String>> {
        let (tell, told) = bounded::<Vec<String>>(1);
        let (control, serials, watcher) = (self.control.clone(), self.serials.clone(), self.watcher.clone());
        let held = self.held.clone();
        locked(&held).leaving.extend(units.iter().map(|(_, unit)| Arc::downgrade(&unit.backing)));
        let work = move || {
            let numbers: Vec<LuId> = units.iter().map(|(lu, _)| *lu).collect();
            control.retire(&numbers);
            let closed = units.into_iter().filter_map(|(_, unit)| close(unit.backing).err());
            if let Err(untold) = tell.send(closed.map(|error| unflushed(&error)).collect()) {
                // Whoever waited has lost patience.
                untold.0.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            // A number means something else only when the last one who knew it has forgotten it.
            numbers.iter().for_each(|lu| serials.leave(*lu));
            watcher.remove(&numbers);
            let mut held = locked(&held);
            held.numbers.give_back(numbers);
            held.open.retain(|w| w.strong_count() > 0);
            held.leaving.retain(|w| w.strong_count() > 0);
        };
        if let Err(error) = thread::Builder::new().name("retire".into()).spawn(work) {
            tracing::error!(%error, "no thread to close what has gone: it stays open until the next start");
        }
        told
    }
}

/// What a change needs that others could have kept from us.
struct Obtained {
    growths: Growths,
    opened: Vec<(LuId, UnitSeed)>,
    doors: NewDoors,
    /// What is to be known of those that are new and not ready.
    away: Vec<String>,
}

/// What whoever wants that store served must know, if it is not there yet.
fn not_ready(store: &DraftStore, medium: &Opening) -> Option<String> {
    let why = medium.as_ref().err().filter(|_| matches!(store.fate, Fate::New))?;
    Some(format!("backstore {} is not ready: {why}", store.config.name))
}

/// Sockets of a change.
#[derive(Debug)]
struct NewDoors {
    new: Vec<Bound>,
    /// What is closed when the change holds, by descriptor.
    close: Vec<RawFd>,
    /// What was closed before, because it was in the way.
    closed: Vec<Socket>,
}

fn log(warnings: &str) {
    warnings.lines().for_each(|line| tracing::warn!("{line}"));
}

fn unflushed(error: &anyhow::Error) -> String {
    format!("{error:#}: what was written to it last may not be on its disk; it is removed all the same")
}

/// Makes durable what was written to a store, and closes it with its last holder.
fn close(backing: Arc<Backing>) -> anyhow::Result<()> {
    let flushed = flush(&backing);
    let deadline = Instant::now() + LAST_HOLDER;
    while Arc::strong_count(&backing) > 1 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    if Arc::strong_count(&backing) > 1 {
        tracing::warn!(store = backing.name, "somebody still looks at it; it is closed after that");
    }
    if let crate::store::Medium::Ram(region) = &backing.medium {
        // It is never unmapped, but the memory goes back.
        region.discard(0, region.len());
    }
    flushed
}

#[cfg(test)]
mod tests;

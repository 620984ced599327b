//! Logical units as the daemon has them: opened, identified, with the state that was saved for them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::lacking::Lacking;
use super::locked;
use super::looks::{Looks, Sought};
use crate::admin::config::{Report, ServerConfig};
use crate::admin::ports::Ports;
use crate::admin::state::{StateDir, saved_identity};
use crate::ids::LuId;
use crate::reactor::{Saver, UnitSeed};
use crate::ring::monotonic_ns;
use crate::scsi::{
    Clock, Counters, Groups, Identity, Lu, LuFacts, LuState, Persistent, Reservations, TargetPort,
};
use crate::store::{self, Backing, IdentityOverride, Mark, OpenError, Place, StoreConfig, StoreKind};
use crate::target::Target;

/// By which ports each logical unit is reached.
#[derive(Debug, Default)]
pub(in crate::admin) struct Reached {
    ports: HashMap<LuId, Vec<TargetPort>>,
    members: HashMap<LuId, Vec<(u16, u16)>>,
}

impl Reached {
    /// As these targets show them; in one pass over all of them.
    pub(in crate::admin) fn by<'a>(targets: impl Iterator<Item = &'a Target>) -> Self {
        let mut all = Self::default();
        targets.for_each(|target| all.add(target, None));
        all
    }

    /// The same of these logical units only.
    pub(super) fn among<'a>(units: &HashSet<LuId>, targets: impl Iterator<Item = &'a Target>) -> Self {
        let mut some = Self::default();
        if !units.is_empty() {
            targets.for_each(|target| some.add(target, Some(units)));
        }
        some
    }

    fn add(&mut self, target: &Target, among: Option<&HashSet<LuId>>) {
        for (lu, tpg, group) in target.reached(among) {
            self.ports.entry(lu).or_default().push(target.port(tpg));
            self.members.entry(lu).or_default().push((group, tpg.relative_port));
        }
    }

    pub(super) fn ports(&self, lu: LuId) -> &[TargetPort] {
        self.ports.get(&lu).map_or(&[], Vec::as_slice)
    }

    /// The target port groups of a logical unit with their ports.
    pub(super) fn groups(&self, config: &StoreConfig, lu: LuId) -> Groups {
        let mut groups = config.groups.clone();
        let members = self.members.get(&lu).into_iter().flatten();
        members.for_each(|(group, port)| groups.join(*group, *port));
        groups
    }
}

/// An open store; or why there is none, and something stands for it.
pub(super) type Opening = Result<Arc<Backing>, String>;

/// Where identities and state are kept, if anywhere.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Keeper {
    state: Option<StateDir>,
    /// Whether identities are kept there.
    identities: bool,
    /// The numbers of ports, as they are kept, once they were asked for.
    ports: Arc<Mutex<Option<Ports>>>,
    /// Stores that are being looked at, which may be there, or there again.
    pub(super) looks: Arc<Looks>,
    reactors: usize,
}

impl Keeper {
    pub(in crate::admin) fn new(state: Option<StateDir>, server: &ServerConfig, reactors: usize) -> Self {
        let (ports, looks) = (Arc::default(), Arc::default());
        Self { state, identities: !server.ad_hoc, ports, looks, reactors }
    }

    /// Where it keeps what initiators know stores by, if it does.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.state.as_ref().map(StateDir::path)
    }

    /// Gives every port its relative identifier. They are the port's own when they are kept.
    pub(in crate::admin) fn number_ports(&self, targets: &mut [Target]) -> anyhow::Result<Ports> {
        let mut ports = self.ports()?;
        ports.number(targets);
        Ok(ports)
    }

    /// Those that are kept. Nobody else writes them while this daemon has its stores.
    fn ports(&self) -> anyhow::Result<Ports> {
        let mut known = locked(&self.ports);
        if let Some(ports) = &*known {
            return Ok(ports.clone());
        }
        let kept = self.names().map(StateDir::ports).transpose()?.unwrap_or_default();
        Ok(known.insert(kept).clone())
    }

    /// Ports have these numbers from now on; what is served from the command line has them as long as it is served.
    pub(in crate::admin) fn keep_ports(&self, ports: &Ports) -> anyhow::Result<()> {
        let mut known = locked(&self.ports);
        if known.as_ref() == Some(ports) {
            return Ok(());
        }
        self.names().map_or(Ok(()), |state| state.keep_ports(ports))?;
        *known = Some(ports.clone());
        Ok(())
    }

    /// Where names and numbers are kept that initiators know something by.
    fn names(&self) -> Option<&StateDir> {
        self.state.as_ref().filter(|_| self.identities)
    }

    /// Gives these stores identities, where they are kept.
    pub(in crate::admin) fn identify<'a>(
        &self,
        stores: impl Iterator<Item = &'a StoreConfig>,
    ) -> anyhow::Result<()> {
        let Some(state) = self.names() else { return Ok(()) };
        Ok(state.identify(stores.map(|store| store.name.as_str()))?)
    }

    /// Who initiators take a store for.
    pub(super) fn identity(&self, config: &StoreConfig) -> anyhow::Result<Identity> {
        match self.names() {
            Some(state) => Ok(state.identity(config)?),
            None => Identity::derived(config).with_context(|| format!("cannot identify {}", config.name)),
        }
    }

    /// What the SCSI side is to know of an open store.
    pub(super) fn facts(
        &self,
        config: &StoreConfig,
        backing: &Backing,
        lu: LuId,
        reached: &Reached,
    ) -> anyhow::Result<LuFacts> {
        let groups = reached.groups(config, lu);
        Ok(backing.facts(self.identity(config)?, groups, self.state.is_some()))
    }

    /// Opens the stores that a daemon begins with, and restores the state of their logical units. Waits for all of them
    /// together as long as `patience` while other processes hold them; those that do not answer are not waited for, and found
    /// by a look when they do.
    ///
    /// # Errors
    /// What is wrong with the state, and what to do; of what is named on the command line, also with a store.
    pub(in crate::admin) fn begin(
        &self,
        stores: &[Arc<StoreConfig>],
        reached: &Reached,
        patience: Duration,
    ) -> anyhow::Result<Vec<UnitSeed>> {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        let (mut lacking, mut looked) = (Lacking::default(), self.look_first(stores));
        let mut open = |lu: LuId, store: &StoreConfig| {
            let opened = match looked.remove(&lu) {
                Some(found) => self.open_found(store, found, left()),
                None => self.open_first(store, left()),
            };
            lacking.of_store(&store.name, opened)
        };
        let numbered = (0..).map(LuId).zip(stores);
        let opened: Vec<_> = numbered.filter_map(|(lu, store)| Some((&**store, open(lu, store)?))).collect();
        let made = opened.iter().filter_map(|(_, backing)| backing.as_ref().ok());
        lacking.check(&Report::default()).inspect_err(|_| made.for_each(|backing| self.unmake(backing)))?;
        // Not sooner: a file that has an identity is not made.
        self.identify(opened.iter().filter(|(_, medium)| medium.is_ok()).map(|(store, _)| *store))?;
        let others = opened.iter().filter(|(_, medium)| medium.is_ok());
        let others = others.filter_map(|(store, _)| self.another(store));
        let fleeting = stores.iter().filter_map(|store| store::fleeting(store));
        others.chain(fleeting).for_each(|warning| tracing::warn!("{warning}"));
        let numbered = (0..).map(LuId).zip(opened);
        let unit = |(lu, (store, medium)): (LuId, (&StoreConfig, Opening))| {
            let backing = medium.clone();
            self.unit(store, lu, reached, medium)
                .inspect_err(|_| backing.iter().for_each(|backing| self.unmake(backing)))
        };
        let units = numbered.map(unit).collect::<anyhow::Result<Vec<_>>>()?;
        units.iter().for_each(|unit| self.renew(unit));
        Ok(units)
    }

    /// What there is of those stores that may be away and are not to be made; of what does not answer there is nothing yet.
    fn look_first(&self, stores: &[Arc<StoreConfig>]) -> HashMap<LuId, Option<Found>> {
        let is_old = |config: &StoreConfig| self.is_new_file(config).is_ok_and(|is_new| !is_new);
        let all =
            (0..).map(LuId).zip(stores).filter(|(_, config)| self.may_be_away(config) && is_old(config));
        let sought: Vec<_> =
            all.map(|(lu, config)| (lu, Sought { config: config.clone(), lost: None })).collect();
        let mut looked: HashMap<_, _> = sought.iter().map(|(lu, _)| (*lu, None)).collect();
        let found = self.looks.first(sought, self.look());
        looked.extend(found.into_iter().map(|(lu, found)| (lu, Some(found))));
        looked
    }

    /// How a store is looked at.
    pub(super) fn look(&self) -> impl Fn(&Sought) -> Found + Clone + Send + use<> {
        let keeper = self.clone();
        move |what: &Sought| Found::of(&keeper, what)
    }

    /// Whether something can stand for it.
    fn may_be_away(&self, config: &StoreConfig) -> bool {
        self.identities && config.path.is_some()
    }

    /// What a first look has come to, for [`Keeper::unit`]. Who else has it may let go of it, and is waited for.
    fn open_found(
        &self,
        config: &StoreConfig,
        found: Option<Found>,
        patience: Duration,
    ) -> anyhow::Result<Opening> {
        match found {
            Some(Found::It(backing)) => Ok(Ok(backing)),
            Some(Found::Held(_)) => self.open_first(config, patience),
            Some(Found::Nothing(why)) => Ok(Err(missing(config, why))),
            Some(Found::Other(why)) => Ok(Err(unopened(config, why))),
            None => {
                let tell = if self.looks.are_asking(config) { mute } else { unasked };
                Ok(Err(unopened(config, tell(config))))
            }
        }
    }

    /// The same of one store for [`Keeper::unit`]. What initiators have written there is never replaced by a new file: its
    /// file system may not be mounted. What cannot be opened keeps nothing else from being served.
    fn open_first(&self, config: &StoreConfig, patience: Duration) -> anyhow::Result<Opening> {
        let open = if self.is_new_file(config)? { store::open } else { store::reopen };
        match open(config, patience) {
            Err(error) if self.may_be_away(config) => {
                let tell = if is_missing(config) { missing } else { unopened };
                Ok(Err(tell(config, error.to_string())))
            }
            opened => Ok(Ok(opened?.into())),
        }
    }

    /// Opens a store that somebody wants served from now on, for [`Keeper::unit`].
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn open(&self, config: &StoreConfig, patience: Duration) -> anyhow::Result<Opening> {
        let known = !self.is_new_file(config)?;
        match store::open(config, patience) {
            // What is to be made is made with the change, or that is not made either.
            Err(error) if self.identities && is_missing(config) && !is_to_be_made(config) => {
                Ok(Err(error.to_string()))
            }
            opened => Ok(Ok(Arc::new(Backing { known, ..opened? }))),
        }
    }

    /// Opens what is in the place of a store that is not served, if it is that one. A file that was never open is known to
    /// nobody: it is made as soon as that can be.
    pub(super) fn open_again(&self, config: &StoreConfig, lost: Option<&Lost>) -> anyhow::Result<Backing> {
        let is_new = lost.is_none() && self.is_new_file(config)?;
        let open = if is_new { store::open } else { store::reopen };
        let backing = open(config, Duration::ZERO)?;
        if let (Some(lost), Some(mark)) = (lost, backing.mark()) {
            // It may have become another since it was looked at.
            lost.check(config, &mark)?;
        }
        Ok(backing)
    }

    /// Whether it is a file with a size that initiators do not know yet.
    fn is_new_file(&self, config: &StoreConfig) -> anyhow::Result<bool> {
        Ok(config.kind == StoreKind::Fileio && config.size.is_some() && !self.is_known(config)?)
    }

    /// Whether names are kept that initiators know it by: they are from when it was open first.
    fn is_known(&self, config: &StoreConfig) -> anyhow::Result<bool> {
        Ok(self.saved_serial(&config.name)?.is_some())
    }

    /// What is to be said when initiators know another medium by the names of that store than it would have now. Who has
    /// given it a serial number knows what that was given to.
    pub(super) fn another(&self, config: &StoreConfig) -> Option<String> {
        let state = self.names().filter(|_| config.identity.serial.is_none())?;
        let (was, now) = (state.place(&config.name)?, Place::of(config));
        let is_other = now.as_ref().map_or_else(|| is_to_be_made(config), |now| now.is_other_than(&was));
        let now = now.map_or_else(|| "a new file".into(), |now| now.to_string());
        (is_other && self.is_known(config).unwrap_or_default()).then(|| {
            format!(
                "backstore {}: it is {now} from now on, and initiators know {was} by its names: unless it is a copy of \
                 that, give it another name, or serial, naa and uuid of its own",
                config.name
            )
        })
    }

    /// Initiators know what is on that unit by its names from now on.
    pub(super) fn keep_place(&self, unit: &UnitSeed) {
        let (Some(state), Some(place)) = (self.names(), unit.backing.place()) else { return };
        let name = &unit.backing.name;
        if state.place(name).as_ref() == Some(&place) {
            return;
        }
        if let Err(error) = state.keep_place(name, &place) {
            tracing::warn!(store = name, %error, "another medium by its name will not be warned of");
        }
    }

    /// The logical unit on an open store, as it was saved; without one, what stands for it.
    ///
    /// # Errors
    /// What is wrong with what was saved, and what to do.
    pub(super) fn unit(
        &self,
        config: &StoreConfig,
        lu: LuId,
        reached: &Reached,
        medium: Opening,
    ) -> anyhow::Result<UnitSeed> {
        let backing = match medium {
            Ok(backing) => backing,
            Err(why) => return self.stand_in(config, self.preliminary(config)?, lu, reached, why),
        };
        for warning in &backing.warnings {
            tracing::warn!(store = config.name, "{warning}");
        }
        self.as_saved(config, lu, reached, &backing)
    }

    /// Who initiators take what stands for a store for. A file that was never open is known by nothing that is kept: it
    /// is to be made as soon as it can be, and has a size.
    fn preliminary(&self, config: &StoreConfig) -> anyhow::Result<Identity> {
        if config.kind == StoreKind::Fileio && !self.is_known(config)? {
            return Identity::fresh()?.with(&config.identity).map_err(anyhow::Error::msg);
        }
        self.identity(config)
    }

    /// What was opened is not served after all: a file that was made for it goes, and with it what it was to be known by,
    /// unless that is older.
    pub(super) fn unmake(&self, backing: &Backing) {
        self.unmake_file(backing);
        let names = self.names().filter(|_| backing.made && !backing.known);
        if let Some(Err(error)) = names.map(|state| state.forget_identity(&backing.name)) {
            tracing::warn!(store = backing.name, %error, "its identity, which is not needed after all, is kept");
        }
    }

    /// A file that was made goes, as far as anything of it is there yet.
    pub(super) fn unmake_file(&self, backing: &Backing) {
        if let Err(error) = backing.unmake() {
            tracing::warn!(store = backing.name, %error, "its new file, which is not needed after all, cannot be removed");
        }
    }

    /// A store that something stood for is known from now on by what that was known by.
    pub(super) fn keep_identity(&self, config: &StoreConfig, identity: &Identity) -> anyhow::Result<()> {
        match self.names().filter(|_| config.identity == IdentityOverride::default()) {
            Some(state) => Ok(state.keep_identity(&config.name, identity)?),
            None => Ok(()),
        }
    }

    /// What was saved for a file of before is not so of one that was made now.
    pub(super) fn renew(&self, unit: &UnitSeed) {
        let Some(state) = self.state.as_ref().filter(|_| unit.backing.made) else { return };
        let known = Known::of(unit);
        let former = state.load_unit::<Persistent>(&known.serial);
        let renewed = match former {
            Ok(Some(_)) => known.persistent(&unit.lu.state).map_err(anyhow::Error::from),
            // Nothing to be taken for it, or nothing that could be.
            Ok(None) | Err(_) => return,
        };
        let saved = renewed.and_then(|next| Ok(state.save_unit(&known.serial, &next)?));
        if let Err(error) = saved {
            tracing::warn!(store = unit.backing.name, %error, "what was saved for the file of before counts again at the next start");
        }
    }

    /// The serial number that was made up for the store of that name.
    pub(super) fn saved_serial(&self, name: &str) -> anyhow::Result<Option<String>> {
        let saved = self.names().map(|state| saved_identity(state.path(), name)).transpose()?.flatten();
        Ok(saved.map(|identity| identity.serial))
    }

    /// Forgets who initiators knew a store for that is gone.
    pub(super) fn forget(&self, name: &str, chosen: Option<&str>) -> anyhow::Result<()> {
        Ok(self.names().map_or(Ok(()), |state| state.forget(name, chosen))?)
    }

    fn as_saved(
        &self,
        config: &StoreConfig,
        lu: LuId,
        reached: &Reached,
        backing: &Arc<Backing>,
    ) -> anyhow::Result<UnitSeed> {
        let facts = self.facts(config, backing, lu, reached)?;
        let mut saved = match &self.state {
            Some(state) => restored(state, backing, &facts.identity.serial, reached.ports(lu))?,
            None => LuState::default(),
        };
        saved.configure(&facts.groups);
        let state = Arc::new(LuState { clock: clock(), ..saved });
        let lu = Lu { facts: Arc::new(facts), state, counters: Counters::new(self.reactors) };
        Ok(UnitSeed { lu, backing: backing.clone() })
    }
}

impl Keeper {
    /// What stands for a store that is not there, for that reason: initiators find the logical unit, by its own names, and
    /// its medium out of reach through every port. Nothing that was saved for it is touched.
    ///
    /// # Errors
    /// None that is of the store.
    pub(super) fn stand_in(
        &self,
        config: &StoreConfig,
        identity: Identity,
        lu: LuId,
        reached: &Reached,
        why: String,
    ) -> anyhow::Result<UnitSeed> {
        let (kind, size) = (StoreKind::Null, Some(STAND_IN));
        let plain = StoreConfig {
            kind,
            size,
            path: None,
            write_back: None,
            thin: None,
            low_space: None,
            ..config.clone()
        };
        let backing = Backing { warnings: vec![why], ..store::open(&plain, Duration::ZERO)? };
        let groups = reached.groups(config, lu).without_medium();
        let facts = Arc::new(backing.facts(identity, groups, false));
        let state = Arc::new(LuState { clock: clock(), ..LuState::default() });
        let lu = Lu { facts, state, counters: Counters::new(self.reactors) };
        Ok(UnitSeed { lu, backing: Arc::new(backing) })
    }
}

/// Why a store is away that is not there; the log is told.
fn missing(config: &StoreConfig, why: String) -> String {
    tracing::warn!(store = config.name, error = why, "it is not ready until its device or file is there");
    why
}

/// The same of one that is there.
fn unopened(config: &StoreConfig, why: String) -> String {
    tracing::error!(store = config.name, error = why, "it cannot be opened: it is not ready until it can be");
    why
}

/// The same of one that says nothing.
fn mute(config: &StoreConfig) -> String {
    let path = config.path.as_deref().unwrap_or_else(|| Path::new("")).display();
    format!(
        "{path}: does not answer; it is served when it does: check it, or the file system that it is on (dmesg)"
    )
}

/// The same of one that waits behind those.
fn unasked(config: &StoreConfig) -> String {
    let path = config.path.as_deref().unwrap_or_else(|| Path::new("")).display();
    format!("{path}: is not looked at before others answer that do not; it is served when it has been")
}

/// Bytes of what stands for a store that is not there. Nobody can use them.
const STAND_IN: u64 = 1 << 20;

/// Why something stands for a store that was served.
pub(super) const VANISHED: &str = "its device has vanished; it is ready again when that is back";

/// Whether the device or file of a store is not there.
pub(super) fn is_missing(config: &StoreConfig) -> bool {
    let needs = matches!(config.kind, StoreKind::Block | StoreKind::Fileio | StoreKind::Pscsi);
    needs && config.path.as_ref().is_some_and(|path| !path.exists())
}

/// Whether it is a file that is made when it is opened as a new one.
pub(super) fn is_to_be_made(config: &StoreConfig) -> bool {
    config.kind == StoreKind::Fileio && config.size.is_some() && !config.read_only && is_missing(config)
}

/// A store whose device has vanished while it was served.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    mark: Mark,
    /// As long as anybody has it, writes may be under way to the device.
    backing: Weak<Backing>,
}

impl Lost {
    /// That store, if it is one.
    pub(super) fn of(backing: &Arc<Backing>) -> Option<Self> {
        let mark = backing.mark().filter(|_| backing.has_vanished())?;
        Some(Self { mark, backing: Arc::downgrade(backing) })
    }

    /// Whether it was open as that.
    pub(super) fn was(&self, backing: &Arc<Backing>) -> bool {
        std::ptr::eq(self.backing.as_ptr(), Arc::as_ptr(backing))
    }

    /// Refuses another in its place: initiators would go on with what they know of the one of before.
    ///
    /// # Errors
    /// What is there, and what to do.
    pub(super) fn check(&self, config: &StoreConfig, now: &Mark) -> anyhow::Result<()> {
        let path = config.path.as_deref().unwrap_or_else(|| Path::new("")).display();
        anyhow::ensure!(
            *now == self.mark,
            "{path} is another than before, and stays as it is: it is {now}, and was {}; bring that one back; or, to have \
             this one served, name it by another path (ls -l /dev/disk/by-id) in the configuration, and: ringtgt apply \
             FILE; or: systemctl restart ringtgt",
            self.mark
        );
        Ok(())
    }
}

/// What is in the place of a store that is not served.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing that can be opened yet, and why.
    Nothing(String),
    /// The store, open again.
    It(Arc<Backing>),
    /// The store, which somebody else has for now, and who.
    Held(String),
    /// Something else, or what cannot be had, and why that is not opened.
    Other(String),
}

impl Found {
    /// Looks, and opens what it is. The device of before is not opened anew while anything is under way to it, for that
    /// could land later than what is written then. One that cannot be had is no reason to keep anything else waiting.
    fn of(keeper: &Keeper, what: &Sought) -> Self {
        let (config, lost, missing) = (&what.config, what.lost.as_ref(), is_missing(&what.config));
        let judged = match lost {
            None => Ok(()),
            Some(lost) => match Mark::at(config).filter(|_| lost.backing.strong_count() == 0) {
                None => return Self::Nothing(VANISHED.into()),
                Some(now) => lost.check(config, &now),
            },
        };
        match judged.and_then(|()| keeper.open_again(config, lost)) {
            Ok(backing) => Self::It(backing.into()),
            Err(why) if missing => Self::Nothing(why.to_string()),
            Err(why) if is_held(&why) => Self::Held(why.to_string()),
            Err(why) => Self::Other(why.to_string()),
        }
    }
}

fn is_held(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OpenError>().is_some_and(|error| error.held)
}

/// Whether that unit only stands for its store.
pub(in crate::admin) fn is_stand_in(config: &StoreConfig, unit: &UnitSeed) -> bool {
    unit.backing.kind != config.kind
}

/// The state that a logical unit starts with. One whose saved state is damaged is served all the same: only the
/// initiators can know what they had reserved, and until one of them begins anew none may write.
fn restored(
    state: &StateDir,
    backing: &Backing,
    serial: &str,
    ports: &[TargetPort],
) -> anyhow::Result<LuState> {
    match state.load_unit::<Persistent>(serial) {
        Ok(None) => Ok(LuState::default()),
        Ok(Some(mut saved)) => {
            spare_another(&mut saved, backing);
            free_another(&mut saved, backing);
            let mut state = LuState::restored(saved);
            state.renumber(ports);
            Ok(state)
        }
        Err(error) if error.damaged => {
            tracing::error!(
                store = backing.name,
                %error,
                "reservations are lost: commands are refused until an initiator sends REPLACE LOST RESERVATION"
            );
            Ok(LuState::damaged())
        }
        Err(error) => Err(error.into()),
    }
}

/// An operation on the whole medium goes on only on the medium where it was begun. Another that is in its place now is
/// left as it is, and closed, as after an operation that has failed: nobody may take it for the one that was erased.
fn spare_another(saved: &mut Persistent, backing: &Backing) {
    let (Some(erasure), Some(begun)) = (&mut saved.erasure, &saved.medium) else { return };
    let here = backing.fingerprint();
    if erasure.failed || here.as_ref().is_ok_and(|here| here == begun) {
        return;
    }
    erasure.failed = true;
    tracing::error!(
        store = backing.name,
        begun,
        here = here.unwrap_or_else(|error| error.to_string()),
        "SANITIZE or FORMAT UNIT was begun on another medium than this: it is not erased, and stays closed; configure \
         the medium of before again, and it goes on there; or send the command anew, if this one is to be erased, too; \
         or serve this one as a backstore of another name"
    );
}

/// What was reserved of one medium is not reserved of another that has come in its place, nor of a file that was made now.
fn free_another(saved: &mut Persistent, backing: &Backing) {
    let made = saved.place.as_ref().and_then(|place| serde_json::from_str::<Place>(place).ok());
    let (Some(made), Some(here)) = (made, backing.place()) else { return };
    let is_other = backing.made || here.is_other_than(&made);
    if is_other && !saved.reservations.registrants.is_empty() {
        saved.reservations = Reservations::default();
        tracing::warn!(store = backing.name, %made, %here, "its reservations were made on another medium, and do not hold");
    }
}

/// The time of day, as logical units show it. One that the system does not know shows as 1970.
fn clock() -> Clock {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::showing(day.as_millis() as u64, monotonic_ns())
}

/// Under which serial numbers the state of logical units is saved, and what they sit on.
#[derive(Debug, Clone, Default)]
pub(in crate::admin) struct Serials(Arc<Mutex<HashMap<LuId, Known>>>);

#[derive(Debug, Clone)]
struct Known {
    serial: String,
    backing: Weak<Backing>,
}

impl Serials {
    /// A logical unit comes.
    pub(in crate::admin) fn enter(&self, lu: LuId, unit: &UnitSeed) {
        let known = Known::of(unit);
        locked(&self.0).insert(lu, known);
    }

    /// It has gone.
    pub(super) fn leave(&self, lu: LuId) {
        locked(&self.0).remove(&lu);
    }

    fn of(&self, lu: LuId) -> Option<Known> {
        locked(&self.0).get(&lu).cloned()
    }

    /// Saves a logical unit's state under its serial number.
    pub(in crate::admin) fn saver(&self, state: Option<StateDir>) -> Saver {
        let serials = self.clone();
        Arc::new(move |lu: LuId, next: &LuState| {
            let state = state.as_ref().ok_or_else(gone)?;
            let known = serials.of(lu).ok_or_else(gone)?;
            let saved = known.persistent(next).inspect_err(|error| {
                tracing::error!(serial = known.serial, %error, "which medium it is cannot be known: its state is not saved");
            })?;
            state.save_unit(&known.serial, &saved).map_err(|error| {
                // The reactor knows numbers only; here is the file and what to do about it.
                tracing::error!(%error, "the state of a logical unit is not saved");
                std::io::Error::other(error)
            })
        })
    }
}

impl Known {
    fn of(unit: &UnitSeed) -> Self {
        let serial = unit.lu.facts.identity.serial.clone();
        Self { serial, backing: Arc::downgrade(&unit.backing) }
    }

    /// What is to be saved, and where the medium is; an operation on the whole of it together with which one that is.
    fn persistent(&self, state: &LuState) -> std::io::Result<Persistent> {
        let (saved, backing) = (state.persistent(), self.backing.upgrade().ok_or_else(gone)?);
        let medium = saved.erasure.as_ref().map(|_| backing.fingerprint()).transpose()?;
        let place = backing.place().and_then(|place| serde_json::to_string(&place).ok());
        Ok(Persistent { medium, place, ..saved })
    }
}

fn gone() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::ENOENT)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::scsi::{Cause, Erasure, Fill, ItNexus, PrAction, PrOut, SharedOp};

    const NUMBER: LuId = LuId(0);

    fn disk(dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::File::create(&path).and_then(|file| file.set_len(1 << 20)).unwrap();
        path
    }

    /// The backstore of that name, on that disk, as the next start finds it.
    fn opened(state: &StateDir, path: &Path) -> UnitSeed {
        let keeper = Keeper::new(Some(state.clone()), &ServerConfig::default(), 1);
        let config = StoreConfig { path: Some(path.into()), ..StoreConfig::new(StoreKind::Fileio, "disk") };
        let begun = keeper.begin(&[config.into()], &Reached::default(), Duration::ZERO);
        begun.unwrap().pop().expect("one")
    }

    fn being_erased() -> LuState {
        let erasure = Erasure { cause: Cause::Format, fill: Fill::Zeroes, failed: false };
        LuState { erasure: Some(erasure), ..LuState::default() }
    }

    #[test]
    fn what_was_begun_on_one_disk_is_never_done_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let (one, two) = (disk(dir.path(), "one"), disk(dir.path(), "two"));
        let (serials, unit) = (Serials::default(), opened(&state, &one));
        serials.enter(NUMBER, &unit);
        serials.saver(Some(state.clone()))(NUMBER, &being_erased()).unwrap();
        drop(unit);
        let other = opened(&state, &two).lu.state;
        assert_eq!(other.erasing(), None, "another disk in its place");
        assert!(other.erasure.as_ref().is_some_and(|e| e.failed), "closed: {other:?}");
        assert_eq!(opened(&state, &one).lu.state.erasing(), being_erased().erasing(), "the disk of before");
    }

    #[test]
    fn what_was_reserved_of_one_disk_does_not_hold_on_another() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let (one, two) = (disk(dir.path(), "one"), disk(dir.path(), "two"));
        let (serials, unit) = (Serials::default(), opened(&state, &one));
        serials.enter(NUMBER, &unit);
        let register =
            PrOut { action_key: 7, through_power_loss: true, ..PrOut::new(PrAction::RegisterIgnore) };
        let register = SharedOp::Persistent(register.into());
        let (registered, _) = unit.lu.state.apply(&unit.lu.facts, &register, &ItNexus::nobody()).unwrap();
        serials.saver(Some(state.clone()))(NUMBER, &registered).unwrap();
        drop(unit);
        let keys = |path: &Path| opened(&state, path).lu.state.reservations.registrants.len();
        assert_eq!(keys(&two), 0, "another disk");
        let moved = dir.path().join("moved");
        std::fs::rename(&one, &moved).unwrap();
        std::fs::File::options().write(true).open(&moved).and_then(|file| file.set_len(2 << 20)).unwrap();
        assert_eq!(keys(&moved), 1, "the disk of before, longer and by another path");
        std::fs::remove_file(&moved).unwrap();
        assert_eq!(keys(&disk(dir.path(), "one")), 1, "an image that was brought back");
        let keeper = Keeper::new(Some(state.clone()), &ServerConfig::default(), 1);
        let (path, size) = (Some(one.clone()), Some(1 << 20));
        let config = StoreConfig { path, size, ..StoreConfig::new(StoreKind::Fileio, "disk") };
        let served = || {
            let medium = keeper.open(&config, Duration::ZERO).unwrap();
            keeper.unit(&config, NUMBER, &Reached::default(), medium).unwrap()
        };
        assert_eq!(served().lu.state.reservations.registrants.len(), 1, "the same");
        std::fs::remove_file(&one).unwrap();
        let unit = served();
        assert_eq!(unit.lu.state.reservations.registrants.len(), 0, "a file that was made now");
        keeper.renew(&unit);
        drop(unit);
        assert_eq!(keys(&one), 0, "nor at the next start");
    }

    #[test]
    fn what_somebody_else_has_at_the_start_is_stood_for_unless_the_command_line_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let stores = ["one", "two"].map(|name| StoreConfig {
            path: Some(disk(dir.path(), name)),
            ..StoreConfig::new(StoreKind::Fileio, name)
        });
        let stores = stores.map(Arc::new);
        let held = std::fs::File::open(stores[0].path.as_ref().unwrap()).unwrap();
        held.lock().unwrap();
        let begin = |ad_hoc| {
            let server = ServerConfig { ad_hoc, ..ServerConfig::default() };
            let keeper = Keeper::new(Some(state.clone()), &server, 1);
            keeper.begin(&stores, &Reached::default(), Duration::ZERO)
        };
        let units = begin(false).unwrap();
        assert!(is_stand_in(&stores[0], &units[0]) && !is_stand_in(&stores[1], &units[1]));
        drop(units);
        let said = begin(true).unwrap_err().to_string();
        assert!(said.contains("one: is in use by"), "{said}");
    }

    #[test]
    fn what_somebody_else_lets_go_of_soon_is_waited_for_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let image = disk(dir.path(), "one");
        let mut holder = std::process::Command::new("flock")
            .args(["--no-fork", "-x", image.to_str().unwrap(), "sleep", "1"])
            .spawn()
            .expect("flock of util-linux");
        std::thread::sleep(Duration::from_millis(300));
        let config =
            Arc::new(StoreConfig { path: Some(image), ..StoreConfig::new(StoreKind::Fileio, "disk") });
        let keeper = Keeper::new(Some(state), &ServerConfig::default(), 1);
        let patience = Duration::from_secs(20);
        let units = keeper.begin(std::slice::from_ref(&config), &Reached::default(), patience).unwrap();
        assert!(!is_stand_in(&config, &units[0]));
        holder.wait().unwrap();
    }

    #[test]
    fn a_store_that_does_not_answer_at_the_start_is_stood_for_and_found_when_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let keeper = Keeper::new(Some(state), &ServerConfig::default(), 1);
        let stores = ["mute", "well"].map(|name| {
            let path = Some(disk(dir.path(), name));
            Arc::new(StoreConfig { path, ..StoreConfig::new(StoreKind::Fileio, name) })
        });
        // The thread that has asked it waits.
        let (release, gate) = crossbeam_channel::bounded::<()>(0);
        let look = keeper.look();
        let late = move |what: &Sought| {
            let _ = gate.recv();
            look(what)
        };
        let sought = || vec![(NUMBER, Sought { config: stores[0].clone(), lost: None })];
        assert!(keeper.looks.find(sought(), late).is_empty());
        let units = keeper.begin(&stores, &Reached::default(), Duration::ZERO).unwrap();
        assert!(is_stand_in(&stores[0], &units[0]) && !is_stand_in(&stores[1], &units[1]));
        let said = &units[0].backing.warnings[0];
        assert!(said.contains("mute: does not answer"), "{said}");
        drop(release);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !matches!(keeper.looks.find(sought(), keeper.look())[..], [(NUMBER, Found::It(_))]) {
            assert!(Instant::now() < deadline, "nobody finds it");
        }
    }

    #[test]
    fn what_an_older_version_has_begun_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let one = disk(dir.path(), "one");
        let serial = opened(&state, &one).lu.facts.identity.serial.clone();
        state.save_unit(&serial, &being_erased().persistent()).unwrap();
        assert_eq!(opened(&state, &one).lu.state.erasing(), being_erased().erasing());
    }
}

//! From a new configuration and what is served now to what has to be done.

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lacking::Lacking;
use super::plan::{self, Action, Plan, Turn};
use super::units::{Keeper, Lost, Reached, is_missing, is_to_be_made};
use super::{Running, Served, Socket};
use crate::admin::config::{Config, LoopbackConfig, PortalConfig, ServerConfig};
use crate::admin::inherited::Inherited;
use crate::admin::listen;
use crate::admin::ports::Ports;
use crate::ids::LuId;
use crate::reactor::{Moved, SessionReport};
use crate::scsi::{Identity, LuFacts};
use crate::store::{self, Backing, StoreConfig, StoreKind};
use crate::target::{Catalog, Quota, Target};

/// The number of nothing.
const NOBODY: LuId = LuId(u32::MAX);

/// Stores that something stands for, and that are open again.
pub(super) type Came = HashMap<LuId, Arc<Backing>>;

/// What new logical units are made of.
#[derive(Debug)]
pub(super) struct Supply {
    pub(super) numbers: Vec<LuId>,
    pub(super) came: Came,
}

/// What becomes of a store.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is opened.
    New,
    /// It is there again, and open: something stood for it, under these names.
    Came(Arc<Backing>, Identity),
    /// Its device has vanished: something stands for it, under its names.
    Lost(Identity),
    /// It stays as it is.
    Same,
    /// It stays, and is this from now on.
    Refit(Arc<LuFacts>),
}

/// A store of the new configuration.
#[derive(Debug)]
pub(super) struct DraftStore {
    pub(super) lu: LuId,
    /// What is served: what changes at the next start only is not in it yet.
    pub(super) config: Arc<StoreConfig>,
    pub(super) fate: Fate,
    /// It stays, and is served with another size, which stands in `config`.
    pub(super) resized: bool,
    /// What was served in its place, if that has vanished.
    pub(super) lost: Option<Lost>,
}

impl DraftStore {
    /// Whether it has yet to be opened, and nothing is known to keep that from being done.
    pub(super) fn is_to_be_opened(&self, lacking: &Lacking) -> bool {
        !matches!(self.fate, Fate::Same | Fate::Refit(_)) && !lacking.is_of_store(&self.config.name)
    }
}

/// Sockets that come and go.
#[derive(Debug, Default)]
pub(super) struct DraftDoors {
    /// To be made.
    pub(super) plain: Vec<listen::Plan>,
    /// To be made when those that are in the way are closed.
    pub(super) blocked: Vec<listen::Plan>,
    pub(super) in_the_way: Vec<RawFd>,
    /// To be closed.
    pub(super) close: Vec<RawFd>,
}

/// A change that is thought through.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) plan: Plan,
    /// What of it cannot be had, as far as is known.
    pub(super) lacking: Lacking,
    /// Its LUNs name logical units by their numbers in the daemon.
    pub(super) config: Config,
    /// Those that are new, that are written otherwise, or that other ports show.
    pub(super) stores: Vec<DraftStore>,
    pub(super) removed: Vec<LuId>,
    /// The local disks whose stores are others from now on.
    pub(super) replaced: Vec<String>,
    /// By which ports these are reached.
    pub(super) reached: Reached,
    /// The numbers of its ports, which have yet to be kept.
    pub(super) ports: Ports,
    pub(super) doors: DraftDoors,
    pub(super) moved: Arc<Moved>,
}

impl Draft {
    /// What something stands for stays as it is, unless the supply has it open again: it may be one that cannot be opened,
    /// and is no concern of any other change.
    pub(super) fn new(
        running: &Running,
        mut config: Config,
        ports: Ports,
        supply: Supply,
        keeper: &Keeper,
        sessions: impl FnOnce(HashSet<String>) -> Vec<SessionReport>,
        inherited: &Inherited,
    ) -> anyhow::Result<Self> {
        let mut plan = Plan::default();
        server(&running.server, &config.server, &mut plan);
        let (doors, bound) = doors(&running.sockets, &config, inherited, &mut plan);
        config.bind(&bound);
        let Stores { places, mut touched, removed } = stores(running, &config, supply, &mut plan);
        anyhow::ensure!(
            !places.contains(&NOBODY),
            "there are too many backstores at a time, those that go among them: remove some first, and add others then"
        );
        let came = touched.iter().filter(|s| matches!(s.fate, Fate::New | Fate::Came(..)));
        plan.warnings.extend(came.filter_map(|s| keeper.another(&s.config)));
        let new = touched.iter().filter(|s| matches!(s.fate, Fate::New));
        plan.warnings.extend(new.filter_map(|s| store::fleeting(&s.config)));
        let mut lacking = Lacking::default();
        make(running, &config.media, &touched, &removed, &mut lacking);
        resize(running, &touched, &mut plan, &mut lacking);
        renumber(&mut config, &places);
        quotas(running, &config, &places, &mut plan);
        let turns = plan::turns(&running.catalog.targets, &config.targets);
        let quotas = other_quotas(&running.catalog, &config);
        let mut looked_at = shown_otherwise(&turns);
        add_shown(running, &looked_at, &removed, &mut touched);
        looked_at.extend(touched.iter().map(|s| s.lu).chain(quotas.keys().copied()));
        let reached = Reached::among(&looked_at, config.targets.iter());
        refit(running, &mut touched, keeper, &reached, &mut plan)?;
        let names: HashMap<LuId, &str> = touched.iter().map(|s| (s.lu, s.config.name.as_str())).collect();
        let served = |lu: &LuId| running.stores.get(lu).map(|s| s.config.name.as_str());
        let name = |lu| names.get(&lu).copied().or_else(|| served(&lu)).unwrap_or_default().to_owned();
        let replaced = replaced(running, &config.loopbacks, &touched);
        plan::loopbacks(&running.loopbacks, &config.loopbacks, &replaced, &mut plan);
        plan::targets(&turns, &name, &mut plan);
        rest(running, &config, &mut plan);
        let moved = moved(&turns, quotas, &reached);
        let sessions = sessions(moved.targets.clone());
        plan.sessions = plan::touched(&sessions, &running.catalog, &config.targets, &moved.targets);
        let (stores, moved) = (touched, Arc::new(moved));
        Ok(Self { plan, lacking, config, stores, removed, replaced, reached, ports, doors, moved })
    }

    /// The catalogue of the change. What is as it was stays the same in memory: whoever compares sees at once.
    pub(super) fn catalog(&mut self, old: &Catalog) -> Arc<Catalog> {
        let mut new = self.config.take_catalog();
        new.follow(old);
        let before: HashMap<&str, &Arc<Target>> = old.targets.iter().map(|t| (t.iqn.as_str(), t)).collect();
        for target in &mut new.targets {
            if let Some(was) =
                before.get(target.iqn.as_str()).filter(|was| !self.moved.targets.contains(&was.iqn))
            {
                *target = Arc::clone(was);
            }
        }
        Arc::new(new)
    }
}

/// Of the stores that are local disks those in whose place others are from now on: what was on them is not there.
fn replaced(running: &Running, disks: &[LoopbackConfig], stores: &[DraftStore]) -> Vec<String> {
    let old = |name: &str| running.stores.values().find(|s| s.config.name == name);
    let new = |name: &str| stores.iter().find(|s| s.config.name == name);
    let is_other = |name: &&String| {
        new(name).is_some_and(|new| old(name).is_some_and(|old| is_another(&old.config, &new.config)))
    };
    disks.iter().map(|disk| &disk.store).filter(is_other).cloned().collect()
}

/// What of the catalogue is not as it was.
fn moved(turns: &[Turn<'_>], quotas: HashMap<LuId, Quota>, reached: &Reached) -> Moved {
    let targets: HashSet<String> = turns.iter().filter_map(|turn| turn.old).map(|t| t.iqn.clone()).collect();
    let showing = quotas.keys().flat_map(|lu| reached.ports(*lu)).map(|port| &port.target);
    let limited = showing.filter(|target| !targets.contains(*target)).cloned().collect();
    Moved { targets, quotas, limited }
}

/// The limits that are others than before; those that are no more limit nothing.
fn other_quotas(old: &Catalog, new: &Config) -> HashMap<LuId, Quota> {
    let quota = |lu: &LuId| (*lu, new.quotas.get(lu).copied().unwrap_or_default());
    let numbers = old.quotas.keys().chain(new.quotas.keys());
    numbers.filter(|lu| old.quotas.get(lu) != new.quotas.get(lu)).map(quota).collect()
}

/// The logical units that are seen by a port by which they were not, or no longer, or as one of another group.
fn shown_otherwise(turns: &[Turn<'_>]) -> HashSet<LuId> {
    let seats = |target: &Target| -> HashSet<(LuId, u16, u16, u16)> {
        target.reached(None).map(|(lu, tpg, group)| (lu, tpg.tag, tpg.relative_port, group)).collect()
    };
    let mut units = HashSet::new();
    for Turn { old, new } in turns {
        let (before, after) = (old.map(seats).unwrap_or_default(), new.map(seats).unwrap_or_default());
        units.extend(before.symmetric_difference(&after).map(|(lu, ..)| *lu));
    }
    units
}

/// Stores that are written as before, and are seen otherwise.
fn add_shown(running: &Running, units: &HashSet<LuId>, removed: &[LuId], touched: &mut Vec<DraftStore>) {
    let known: HashSet<LuId> = touched.iter().map(|s| s.lu).chain(removed.iter().copied()).collect();
    for lu in units.difference(&known) {
        if let Some(served) = running.stores.get(lu) {
            let (config, fate) = (served.config.clone(), Fate::Same);
            touched.push(DraftStore { lu: *lu, config, fate, resized: false, lost: None });
        }
    }
}

/// What of the daemon itself is another at the next start.
fn server(old: &ServerConfig, new: &ServerConfig, plan: &mut Plan) {
    let later = [
        (old.reactors != new.reactors, "server.reactors", "reactors are threads with memory of their own"),
        (old.buffer_memory != new.buffer_memory, "server.buffer_memory", "the kernel has it registered"),
        (old.poll != new.poll, "server.poll_us", "each ring was made with it"),
        (old.limits != new.limits, "server.limits", "each ring was made with them"),
        (old.state_dir != new.state_dir, "server.state_dir", "what is saved now is in the old one"),
        (old.control_socket() != new.control_socket(), "server.control_socket", "the old one is listened on"),
        (old.metrics != new.metrics, "server.metrics", "the old address is listened on"),
        (old.recorder != new.recorder, "server.recorder", "its memory is there from the start"),
    ];
    for (_, key, why) in later.iter().filter(|(changed, ..)| *changed) {
        plan.next_start.push(format!("{key}: at the next start, because {why}"));
    }
    if old.drain_timeout != new.drain_timeout {
        plan.push(Action::Change, "/server", "drain_timeout");
    }
    if old.log != new.log {
        plan.push(Action::Change, "/server", "log");
    }
}

/// Sockets that come and go, and what is bound for those that stay.
fn doors(
    sockets: &[Socket],
    config: &Config,
    inherited: &Inherited,
    plan: &mut Plan,
) -> (DraftDoors, Vec<(std::net::SocketAddr, std::net::SocketAddr)>) {
    let wanted = listen::plan(&config.listeners(), inherited);
    let is_it = |s: &Socket, p: &listen::Plan| {
        (s.plan.address == p.address || s.got == p.address) && s.plan.only_v6 == p.only_v6
    };
    let (mut doors, mut bound) = (DraftDoors::default(), Vec::new());
    let goes: Vec<&Socket> = sockets.iter().filter(|s| !wanted.iter().any(|p| is_it(s, p))).collect();
    for p in &wanted {
        if let Some(socket) = sockets.iter().find(|s| is_it(s, p)) {
            bound.push((p.address, socket.got));
            if socket.plan.options != p.options {
                let why = "connections get them from the socket that is listened on";
                plan.next_start
                    .push(format!("portal {}: its settings, at the next start, because {why}", p.address));
            }
        } else if goes.iter().any(|s| is_in_the_way(s, p)) {
            doors.blocked.push(p.clone());
        } else {
            doors.plain.push(p.clone());
        }
    }
    for socket in goes {
        plan.warnings.extend(inherited.parting(socket.got));
        let list = if doors.blocked.iter().any(|p| is_in_the_way(socket, p)) {
            &mut doors.in_the_way
        } else {
            &mut doors.close
        };
        list.push(socket.fd);
    }
    (doors, bound)
}

/// Whether a socket has to be closed before that one can be made.
fn is_in_the_way(socket: &Socket, plan: &listen::Plan) -> bool {
    let (old, new) = (socket.got, plan.address);
    let wide = |a: std::net::SocketAddr| a.ip().is_unspecified();
    old.port() == new.port() && (wide(old) || wide(new) || old.ip() == new.ip())
}

/// The stores of a new configuration.
struct Stores {
    /// Their numbers, in the order of the configuration.
    places: Vec<LuId>,
    /// Those that are new, or not written as they are served.
    touched: Vec<DraftStore>,
    /// Those that go.
    removed: Vec<LuId>,
}

/// The stores of the new configuration with their numbers. One that is what it was is not looked into.
fn stores(running: &Running, config: &Config, supply: Supply, plan: &mut Plan) -> Stores {
    let Supply { numbers, mut came } = supply;
    let known: HashMap<&str, (LuId, &Served)> =
        running.stores.iter().map(|(lu, s)| (s.config.name.as_str(), (*lu, s))).collect();
    let mut free = numbers.into_iter();
    let (mut places, mut stores) = (Vec::with_capacity(config.stores.len()), Vec::new());
    let mut replaced = HashSet::new();
    for new in &config.stores {
        let old = known.get(new.name.as_str()).filter(|(_, s)| !is_another(&s.config, new));
        if let Some((lu, _)) = old.filter(|(_, served)| served.config == *new && served.is_sound()) {
            places.push(*lu);
            continue;
        }
        match old.map(|(lu, served)| (*lu, served, Fortune::of(served, came.remove(lu)))) {
            Some((lu, served, Fortune::Stays)) => {
                let (config, resized) = (kept(served, new, plan), is_resized(served, new));
                places.push(lu);
                stores.push(DraftStore { lu, config, fate: Fate::Same, resized, lost: None });
            }
            Some((old, served, fortune)) => {
                let lu = free.next().unwrap_or(NOBODY);
                let (fate, what) = match fortune {
                    Fortune::Came(backing) => {
                        (Fate::Came(backing, served.facts.identity.clone()), "it is there")
                    }
                    _ => (Fate::Lost(served.facts.identity.clone()), "it has vanished, and is not ready"),
                };
                plan.push(Action::Change, plan::store_path(new), what);
                places.push(lu);
                let lost = served.lost.clone();
                stores.push(DraftStore { lu, config: new.clone(), fate, resized: false, lost });
                replaced.insert(old);
            }
            None => {
                let lu = free.next().unwrap_or(NOBODY);
                let absent = is_missing(new) && !is_to_be_made(new);
                let absent = if absent { "; it is not there, and so not ready" } else { "" };
                plan.push(Action::Add, plan::store_path(new), plan::store_detail(new) + absent);
                places.push(lu);
                stores.push(DraftStore {
                    lu,
                    config: new.clone(),
                    fate: Fate::New,
                    resized: false,
                    lost: None,
                });
            }
        }
    }
    let stay: HashSet<LuId> = places.iter().copied().collect();
    let goes = running.stores.iter().filter(|(lu, _)| !stay.contains(lu));
    let named: HashSet<&str> = stores.iter().map(|s| s.config.name.as_str()).collect();
    let removed = goes.map(|(lu, served)| {
        // What has only stood for a store that is there now is no loss.
        let stood_in = served.is_stand_in() && named.contains(served.config.name.as_str());
        if !stood_in && !replaced.contains(lu) {
            plan.push(Action::Remove, plan::store_path(&served.config), plan::store_detail(&served.config));
        }
        *lu
    });
    let removed = removed.collect();
    Stores { places, touched: stores, removed }
}

/// What becomes by itself of a store that stays.
enum Fortune {
    Stays,
    Went,
    Came(Arc<Backing>),
}

impl Fortune {
    fn of(served: &Served, came: Option<Arc<Backing>>) -> Self {
        match (served.is_stand_in(), &served.lost) {
            (false, None) => Self::Stays,
            (false, Some(_)) => Self::Went,
            (true, _) => came.map_or(Self::Stays, Self::Came),
        }
    }
}

/// Whether a store of the same name is another one: what was on the old one is not on the new one.
fn is_another(old: &StoreConfig, new: &StoreConfig) -> bool {
    (old.kind, &old.path, old.device) != (new.kind, &new.path, new.device)
}

/// What is served of a store that stays: what cannot change while it is open stays, too.
fn kept(served: &Served, new: &Arc<StoreConfig>, plan: &mut Plan) -> Arc<StoreConfig> {
    let old = &served.config;
    if served.is_stand_in() {
        // Nothing is open yet: what will be is this.
        if old != new {
            plan.push(Action::Change, plan::store_path(new), "it is not ready; this holds as soon as it is");
        }
        return new.clone();
    }
    let opened_for_reading = served.unit.backing.read_only && !new.read_only;
    let other_serial = old.identity.serial != new.identity.serial;
    let later = [
        (old.size != new.size && !is_resized(served, new), "size"),
        (old.block_size != new.block_size, "block_size"),
        (old.io != new.io, "io"),
        (old.write_back != new.write_back, "write_back"),
        (old.thin != new.thin, "thin"),
        (old.low_space != new.low_space, "low_space"),
        (opened_for_reading, "read_only"),
        (other_serial, "serial"),
    ];
    let later: Vec<&str> = later.iter().filter(|(changed, _)| *changed).map(|(_, key)| *key).collect();
    if !later.is_empty() {
        let why = "it is open as it is; or remove it, and add it again";
        plan.next_start.push(format!(
            "{}: {}, at the next start: {why}{}",
            plan::store_path(old),
            later.join(", "),
            rewritten(served, new).unwrap_or_default()
        ));
    }
    let mut identity = new.identity.clone();
    identity.serial.clone_from(&old.identity.serial);
    Arc::new(StoreConfig {
        read_only: new.read_only || opened_for_reading,
        removable: new.removable,
        identity,
        groups: new.groups.clone(),
        size: if is_resized(served, new) { new.size } else { old.size },
        ..(**old).clone()
    })
}

/// What blocks of another size do to what is on a device or file.
fn rewritten(served: &Served, new: &StoreConfig) -> Option<String> {
    let now = served.facts.block_size;
    let is_other = served.config.block_size != new.block_size && new.block_size != Some(now);
    (is_other && new.path.is_some()).then(|| {
        format!(
            ". What is on it was written in blocks of {now}: in others, its partitions and file systems are not found"
        )
    })
}

/// Whether a store that stays has another size from now on: a file that is written can become longer, and nothing has
/// any size. Memory is there as a whole from the start.
fn is_resized(served: &Served, new: &StoreConfig) -> bool {
    let can = match new.kind {
        StoreKind::Fileio => !served.is_stand_in() && !served.unit.backing.read_only,
        StoreKind::Null => true,
        _ => false,
    };
    can && served.config.size != new.size
}

/// Of those that are new, what they cannot have.
fn make(
    running: &Running,
    media: &HashMap<PathBuf, String>,
    stores: &[DraftStore],
    removed: &[LuId],
    lacking: &mut Lacking,
) {
    let new = stores.iter().filter(|s| matches!(s.fate, Fate::New) && s.config.path.is_some());
    let new: Vec<_> = new.collect();
    let open = if new.is_empty() || removed.is_empty() { HashMap::new() } else { open_yet(running, removed) };
    // Only of those: there are as many places as backstores.
    let held: HashMap<&str, &Served> =
        open.iter().filter_map(|(place, holder)| Some((media.get(*place)?.as_str(), *holder))).collect();
    for DraftStore { config, .. } in new {
        let Some(path) = &config.path else { continue };
        if let Some(holder) = held.get(config.name.as_str())
            && !(holder.unit.backing.read_only && config.read_only)
        {
            lacking.of_store::<(), _>(&config.name, Err(held_by(&holder.config.name, config, path)));
        } else if is_to_be_made(config) {
            lacking.of_store(&config.name, store::check_room(path));
        }
    }
}

/// What those that go have open as long as anybody sees them, by where it really was when that was read: a file system that
/// one is to be rid of may not answer any more.
fn open_yet<'r>(running: &'r Running, removed: &[LuId]) -> HashMap<&'r Path, &'r Served> {
    let goes = removed.iter().filter_map(|lu| running.stores.get(lu)).filter(|s| !s.is_stand_in());
    let goes: HashMap<&str, &Served> = goes.map(|s| (s.config.name.as_str(), s)).collect();
    let media = running.meant.media.iter();
    media.filter_map(|(path, name)| Some((&**path, *goes.get(name.as_str())?))).collect()
}

/// Readers can have it together; else a write that is under way through one could land on what is written through the other.
fn held_by(holder: &str, store: &StoreConfig, path: &Path) -> anyhow::Error {
    let (what, without) = match holder == store.name {
        true => (" as it is now", "it"),
        false => (", which goes,", "both"),
    };
    anyhow::anyhow!(
        "{}: backstore {holder}{what} has it open until nobody sees that any more, and writes may be under way; apply \
         without {without} first, and this then",
        path.display()
    )
}

/// Of those that have another size from now on, what they cannot have.
fn resize(running: &Running, stores: &[DraftStore], plan: &mut Plan, lacking: &mut Lacking) {
    for store in stores.iter().filter(|store| store.resized) {
        let Some(served) = running.stores.get(&store.lu) else { continue };
        lacking.of_store(&store.config.name, served.unit.backing.check_size(store.config.size));
        let size = store.config.size.map(|size| format!("size, {}", crate::admin::size::show(size)));
        let detail = size.unwrap_or_else(|| "size, as long as the file is".into());
        plan.push(Action::Change, plan::store_path(&store.config), detail);
    }
}

/// LUNs and quotas name stores by their place in the configuration; from here on by their numbers in the daemon.
fn renumber(config: &mut Config, places: &[LuId]) {
    let number = |lu: LuId| places.get(lu.0 as usize).copied().unwrap_or(NOBODY);
    config.quotas = config.quotas.iter().map(|(lu, quota)| (number(*lu), *quota)).collect();
    for group in config.targets.iter_mut().flat_map(|t| &mut t.tpgs) {
        let maps = group.acls.iter_mut().map(|acl| &mut acl.luns).chain([&mut group.luns]);
        maps.flatten().for_each(|lun| lun.lu = number(lun.lu));
    }
}

/// Of stores that stay, those that have other limits now.
fn quotas(running: &Running, config: &Config, places: &[LuId], plan: &mut Plan) {
    let old = &running.catalog.quotas;
    if *old == config.quotas {
        return;
    }
    for (lu, store) in places.iter().zip(&config.stores) {
        if running.stores.contains_key(lu) && old.get(lu) != config.quotas.get(lu) {
            plan.push(Action::Change, plan::store_path(store), "qos");
        }
    }
}

/// Finds out of which stores that stay initiators see something else now.
fn refit(
    running: &Running,
    stores: &mut [DraftStore],
    keeper: &Keeper,
    reached: &Reached,
    plan: &mut Plan,
) -> anyhow::Result<()> {
    for store in stores {
        let Some(served) = running.stores.get(&store.lu).filter(|_| matches!(store.fate, Fate::Same)) else {
            continue;
        };
        if served.is_stand_in() {
            continue;
        }
        let (old, new) = (&served.config, &store.config);
        let backing = &served.unit.backing;
        let identity = if old.identity == new.identity {
            served.facts.identity.clone()
        } else {
            keeper.facts(new, backing, store.lu, reached)?.identity
        };
        let passed = served.facts.passed.is_some();
        let facts = LuFacts {
            identity,
            groups: reached.groups(new, store.lu),
            read_only: new.read_only || backing.read_only,
            removable: if passed { served.facts.removable } else { new.removable },
            ..(*served.facts).clone()
        };
        let what = [
            (facts.identity != served.facts.identity, "identity"),
            (facts.read_only != served.facts.read_only, "read_only"),
            (facts.removable != served.facts.removable, "removable"),
            (old.groups != new.groups, "alua"),
        ];
        let what: Vec<&str> = what.iter().filter(|(changed, _)| *changed).map(|(_, key)| *key).collect();
        if !what.is_empty() {
            plan.push(Action::Change, plan::store_path(new), what.join(", "));
        }
        if facts != *served.facts {
            store.fate = Fate::Refit(Arc::new(facts));
        }
    }
    Ok(())
}

/// What belongs to no object of the tree.
fn rest(running: &Running, config: &Config, plan: &mut Plan) {
    if *running.catalog.discovery != config.discovery {
        plan.push(Action::Change, "/iscsi", "discovery");
    }
    let redirects = |portals: &[PortalConfig]| -> Vec<_> {
        portals.iter().filter_map(|p| Some((p.address, p.redirect?))).collect()
    };
    if redirects(&running.portals) != redirects(&config.portals) {
        plan.push(Action::Change, "/iscsi", "redirects of portals");
    }
}

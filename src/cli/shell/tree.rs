//! `ls`: the tree with dots.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::access::Served;
use super::device::{Seen, human};
use super::node::{self, Node};
use crate::admin::config::Config;
use crate::ids::LuId;
use crate::scsi::AccessState;
use crate::store::{StoreConfig, StoreKind};
use crate::target::{Credential, Network, Tpg};

/// How trees are drawn.
pub(super) struct Style {
    /// Characters in a line.
    pub(super) width: usize,
    /// With colour.
    pub(super) colour: bool,
}

/// What the tree says of a node, and whether that is well.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) text: String,
    /// The part of it that every tree has room for, in characters; behind it is why.
    needed: usize,
    pub(super) health: Health,
}

impl Summary {
    fn new(text: impl Into<String>, health: Health) -> Self {
        let text = text.into();
        Self { needed: text.chars().count(), text, health }
    }

    fn because(self, why: &str) -> Self {
        Self { text: format!("{}: {why}", self.text), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Plain,
    Good,
    Bad,
}

fn plain(text: impl Into<String>) -> Summary {
    Summary::new(text, Health::Plain)
}

/// A configuration, how this host is looked at, and what only a daemon knows.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) config: &'a Config,
    pub(super) look: fn(&Path) -> Seen,
    pub(super) served: &'a Served,
    pub(super) places: &'a Places<'a>,
}

/// What is asked of each of many backstores, found once.
pub(super) struct Places<'a> {
    stores: HashMap<&'a str, &'a StoreConfig>,
    used: HashSet<&'a str>,
    limited: HashSet<&'a str>,
}

impl<'a> Places<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        let name = |lu: &LuId| config.stores.get(lu.0 as usize).map(|store| store.name.as_str());
        let luns = config.targets.iter().flat_map(|t| &t.tpgs).flat_map(|g| &g.luns);
        let local = config.loopbacks.iter().map(|disk| disk.store.as_str());
        Self {
            stores: config.stores.iter().map(|s| (s.name.as_str(), &**s)).collect(),
            used: luns.filter_map(|l| name(&l.lu)).chain(local).collect(),
            limited: config.quotas.keys().filter_map(name).collect(),
        }
    }

    fn store(&self, name: &str) -> Option<&'a StoreConfig> {
        self.stores.get(name).copied()
    }
}

impl View<'_> {
    /// What is shown below a node.
    pub(super) fn children(&self, node: &Node) -> Vec<Node> {
        let below = node.children_of(self.config, &|name| self.places.store(name));
        below.into_iter().filter(|child| child.is_shown(self.config)).collect()
    }
}

struct Row {
    margin: String,
    level: usize,
    name: String,
    summary: Summary,
}

/// The tree below `root`, as many levels deep as `depth` says.
pub(super) fn draw(root: &Node, depth: Option<usize>, view: View<'_>, style: &Style) -> String {
    let mut rows = Vec::new();
    collect(root, 0, "", "  ", depth.unwrap_or(usize::MAX), view, &mut rows);
    let widest = rows.iter().map(|row| row.len_with(row.summary.needed) + 3).max().unwrap_or(0);
    let width = style.width.max(widest);
    rows.iter_mut().for_each(|row| row.cut(width));
    rows.iter().map(|row| row.draw(width, style.colour)).collect()
}

fn collect(
    node: &Node,
    level: usize,
    margin: &str,
    below: &str,
    depth: usize,
    view: View<'_>,
    rows: &mut Vec<Row>,
) {
    rows.push(Row { margin: margin.into(), level, name: node.name(), summary: summary(node, view) });
    if depth == 0 {
        return;
    }
    let children = view.children(node);
    let margin = format!("{margin}{below}");
    for (n, child) in children.iter().enumerate() {
        let below = if n + 1 == children.len() { "  " } else { "| " };
        collect(child, level + 1, &margin, below, depth - 1, view, rows);
    }
}

impl Row {
    /// Characters without dots, when so many are told of it.
    fn len_with(&self, text: usize) -> usize {
        self.margin.len() + "o- ".len() + self.name.chars().count() + "  []".len() + text
    }

    fn len(&self) -> usize {
        self.len_with(self.summary.text.chars().count())
    }

    /// Why something is not well may take several lines: as much of it as there is room for. All of it stands where one
    /// asks for just that.
    fn cut(&mut self, width: usize) {
        let room = width.saturating_sub(self.len_with(0) + 3);
        let Summary { text, needed, .. } = &mut self.summary;
        if text.chars().count() > room {
            let left = room.saturating_sub(1).max(*needed);
            *text = text.chars().take(left).chain(['…']).collect();
        }
    }

    fn draw(&self, width: usize, colour: bool) -> String {
        let dots = ".".repeat(width.saturating_sub(self.len()).max(1));
        let (margin, name, text) = (&self.margin, &self.name, &self.summary.text);
        if !colour {
            return format!("{margin}o- {name} {dots} [{text}]\n");
        }
        let name_colour = ["1", "1;34", "1;35"][self.level % 3];
        let text_colour = match self.summary.health {
            Health::Plain => "0",
            Health::Good => "32",
            Health::Bad => "31",
        };
        format!(
            "{margin}o- \x1b[{name_colour}m{name}\x1b[0m \x1b[2m{dots}\x1b[0m [\x1b[{text_colour}m{text}\x1b[0m]\n"
        )
    }
}

/// What the tree says of `node`.
pub(super) fn summary(node: &Node, view: View<'_>) -> Summary {
    let config = view.config;
    let count = || node.children_of(config, &|name| view.places.store(name)).len();
    match node {
        Node::Root | Node::Backstores => plain("..."),
        Node::Kind(_) => plain(format!("Storage Objects: {}", count())),
        Node::Store(name) => view.places.store(name).map_or_else(|| plain("..."), |s| of_store(s, view)),
        Node::Alua(_) => plain(format!("ALUA Groups: {}", count())),
        Node::AluaGroup(name, group) => of_alua_group(view, name, group),
        Node::Iscsi | Node::Loopback => plain(format!("Targets: {}", count())),
        Node::LocalDisk(store) => of_local_disk(view, store),
        Node::Target(iqn) => plain(of_target(config, iqn, count())),
        Node::Tpg(iqn, tag) => node::tpg(config, iqn, *tag).map_or_else(|| plain("..."), of_tpg),
        Node::Acls(..) => plain(format!("ACLs: {}", count())),
        Node::Acl(iqn, tag, initiator) => plain(of_acl(config, iqn, *tag, initiator, count())),
        Node::Mapped(iqn, tag, initiator, lun) => plain(of_mapped(config, iqn, *tag, initiator, *lun)),
        Node::Luns(..) => plain(format!("LUNs: {}", count())),
        Node::Lun(iqn, tag, lun) => plain(of_lun(config, iqn, *tag, *lun)),
        Node::Portals(..) => plain(format!("Portals: {}", count())),
        Node::Portal(..) => Summary::new("OK", Health::Good),
    }
}

fn of_store(store: &StoreConfig, view: View<'_>) -> Summary {
    let seen = store.path.as_deref().map(view.look);
    let size = match seen {
        Some(Seen::Block { size, .. }) => size,
        Some(Seen::File { size }) => Some(store.size.unwrap_or(size)),
        _ => store.size,
    };
    let absent = seen == Some(Seen::Absent) && (store.kind != StoreKind::Fileio || store.size.is_none());
    let size = match (absent, size) {
        (true, _) => Some("(absent)".to_owned()),
        (false, size) => size.map(|bytes| format!("({})", human(bytes))),
    };
    let cache = match store.kind {
        StoreKind::Block => Some(is_write_back(store, seen)),
        StoreKind::Fileio => Some(store.write_back.unwrap_or(true)),
        _ => None,
    };
    let cache = cache.map(|back| if back { "write-back" } else { "write-thru" }.to_owned());
    let path = store.path.as_ref().map(|p| p.display().to_string());
    let used = if view.places.used.contains(store.name.as_str()) { "activated" } else { "deactivated" };
    let away = view.served.away.of(&store.name).filter(|_| !absent);
    let away = away.map(|why| in_short(why, path.as_deref()).to_owned());
    let limited = view.places.limited.contains(store.name.as_str()).then(|| "qos".to_owned());
    let read_only = store.read_only.then(|| "ro".to_owned());
    let health = if absent || away.is_some() { Health::Bad } else { Health::Plain };
    let parts = [path, size, cache, read_only, limited, Some(used.to_owned())];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    match away {
        Some(why) => Summary::new(format!("{text}, not ready"), health).because(&why),
        None => Summary::new(text, health),
    }
}

/// A reason without what stands beside it, and without what is to be done.
fn in_short<'a>(why: &'a str, path: Option<&str>) -> &'a str {
    let why = path.and_then(|path| why.strip_prefix(path)).unwrap_or(why);
    why.trim_start_matches([':', ' ']).split("; ").next().unwrap_or_default()
}

/// Where it is used. One that is not there says why.
fn of_local_disk(view: View<'_>, name: &str) -> Summary {
    let Some(disk) = view.config.loopbacks.iter().find(|d| d.store == name) else { return plain("...") };
    let read_only = if disk.read_only { " ro" } else { "" };
    match view.served.devices.of(name) {
        Some(Ok(device)) => Summary::new(format!("{device}{read_only}"), Health::Good),
        Some(Err(why)) => Summary::new("not there", Health::Bad).because(why),
        None => {
            let device = disk.device.map_or_else(|| "/dev/ublkb?".to_owned(), |n| format!("/dev/ublkb{n}"));
            plain(format!("{device}{read_only}, not served"))
        }
    }
}

fn is_write_back(store: &StoreConfig, seen: Option<Seen>) -> bool {
    store.write_back.unwrap_or(matches!(seen, Some(Seen::Block { write_back: true, .. })))
}

fn of_alua_group(view: View<'_>, name: &str, group: &str) -> Summary {
    let group = view.places.store(name).and_then(|store| store.groups.iter().find(|g| g.name == group));
    let state = match group.and_then(|group| view.served.accesses.of(name, group)) {
        None => "unknown",
        Some(AccessState::Optimized) => "Active/optimized",
        Some(AccessState::NonOptimized) => "Active/non-optimized",
        Some(AccessState::Standby) => "Standby",
        Some(AccessState::Unavailable) => "Unavailable",
        Some(AccessState::Transitioning) => "Transitioning",
    };
    plain(format!("ALUA state: {state}"))
}

fn of_target(config: &Config, iqn: &str, tpgs: usize) -> String {
    let moved = node::target(config, iqn).is_some_and(|t| t.redirect.is_some());
    format!("TPGs: {tpgs}{}", if moved { ", redirected" } else { "" })
}

/// Who gets in, as it is: credentials are demanded wherever they are set.
fn of_tpg(tpg: &Tpg) -> Summary {
    let (gen_acls, demand) = (if tpg.open { "gen-acls" } else { "no-gen-acls" }, demand(tpg));
    plain(format!("{}{gen_acls}, {demand}", places(&tpg.from)))
}

/// Where initiators may come from, if not from anywhere.
fn places(from: &[Network]) -> String {
    match from {
        [] => String::new(),
        [one] => format!("from {one}, "),
        [first, rest @ ..] => format!("from {first} and {} more, ", rest.len()),
    }
}

fn demand(tpg: &Tpg) -> &'static str {
    if tpg.auth.required() {
        "tpg-auth"
    } else if tpg.acls.iter().any(|a| a.auth.required()) {
        "auth per-acl"
    } else {
        "no-auth"
    }
}

fn of_acl(config: &Config, iqn: &str, tag: u16, initiator: &str, mapped: usize) -> String {
    let group = node::tpg(config, iqn, tag);
    let is_bare = group.is_some_and(|group| !group.auth.chap.iter().any(Credential::is_whole));
    let demand = group.map(demand);
    let auth = match node::acl(config, iqn, tag, initiator).map(|a| &a.auth) {
        Some(auth) if auth.required() && auth.mutual.is_some() => "mutual auth, ",
        Some(auth) if auth.required() => "1-way auth, ",
        _ => match demand {
            Some("tpg-auth") if is_bare => "no credentials, ",
            Some("tpg-auth") => "auth via tpg, ",
            Some("auth per-acl") => "no-auth, ",
            _ => "",
        },
    };
    let acl = node::acl(config, iqn, tag, initiator);
    let limited = if acl.is_some_and(|a| a.quota.is_some()) { "qos, " } else { "" };
    let from = acl.map_or_else(String::new, |a| places(&a.from));
    format!("{from}{auth}{limited}Mapped LUNs: {mapped}")
}

fn store_word(store: &StoreConfig) -> String {
    format!("{}/{}", store.kind.word(), store.name)
}

fn of_mapped(config: &Config, iqn: &str, tag: u16, initiator: &str, number: u16) -> String {
    let found = node::acl(config, iqn, tag, initiator).and_then(|a| node::numbered(&a.luns, number));
    let (Some(mapped), Some(tpg)) = (found, node::tpg(config, iqn, tag)) else { return "...".into() };
    let lun = node::behind(tpg, mapped).map_or(number, |l| l.lun);
    let store = config.stores.get(mapped.lu.0 as usize).map(|s| store_word(s)).unwrap_or_default();
    format!("lun{lun} {store} ({})", if mapped.read_only { "ro" } else { "rw" })
}

fn of_lun(config: &Config, iqn: &str, tag: u16, number: u16) -> String {
    let lun = node::tpg(config, iqn, tag).and_then(|g| node::numbered(&g.luns, number));
    let Some((lun, store)) = lun.and_then(|l| Some((l, config.stores.get(l.lu.0 as usize)?))) else {
        return "...".into();
    };
    let path = store.path.as_ref().map(|p| format!(" ({})", p.display())).unwrap_or_default();
    let group = store.groups.get(lun.group).filter(|_| store.kind != StoreKind::Pscsi);
    let group = group.map(|g| format!(" ({})", g.name)).unwrap_or_default();
    let read_only = if lun.read_only { " (ro)" } else { "" };
    format!("{}{path}{group}{read_only}", store_word(store))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::config::{self, Source};
    use crate::cli::away::Away;

    #[test]
    fn a_store_that_is_there_and_not_ready_says_why() {
        let (text, dir) =
            ("[[backstore]]\nkind = \"block\"\nname = \"b\"\npath = \"/dev/sdb\"\n", Path::new("/"));
        let (config, _) = config::parse(Source::new("t", text), dir, None).unwrap();
        let why = json!([{ "name": "b", "why": "/dev/sdb: is in use by process 7 (dd); stop that process" }]);
        let away = Away::read(&json!({ "backstores": why }));
        let served = Served { away, ..Served::default() };
        let places = Places::of(&config);
        let view = |look| View { config: &config, places: &places, look, served: &served };
        let seen = |look| summary(&Node::Store("b".into()), view(look));
        let there = seen(|_| Seen::Block { size: Some(1 << 30), write_back: false });
        let told = "/dev/sdb (1.0GiB) write-thru deactivated, not ready: is in use by process 7 (dd)";
        assert_eq!((there.text.as_str(), there.health), (told, Health::Bad));
        assert_eq!(seen(|_| Seen::Absent).text, "/dev/sdb (absent) write-thru deactivated");
    }

    #[test]
    fn a_long_reason_makes_no_other_line_long() {
        let text = "[[backstore]]\nkind = \"ramdisk\"\nname = \"a\"\nsize = \"1M\"\n\
                    [[backstore]]\nkind = \"block\"\nname = \"b\"\npath = \"/dev/sdb\"\n";
        let (config, _) = config::parse(Source::new("t", text), Path::new("/"), None).unwrap();
        let why = "is in use by ".to_owned() + &"process 7 (dd), ".repeat(20);
        let away = Away::read(&json!({ "backstores": [{ "name": "b", "why": why }] }));
        let served = Served { away, ..Served::default() };
        let (look, places) = (|_: &Path| Seen::Block { size: None, write_back: false }, Places::of(&config));
        let view = View { config: &config, places: &places, look, served: &served };
        let tree = draw(&Node::Backstores, None, view, &Style { width: 79, colour: false });
        assert!(tree.lines().all(|line| line.chars().count() == 79), "{tree}");
        assert!(tree.contains("not ready: is in use by") && tree.contains("…]\n"), "{tree}");
    }

    #[test]
    fn where_initiators_may_come_from() {
        let of = |list: &[&str]| places(&list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["192.0.2.0/24"]), "from 192.0.2.0/24, ");
        assert_eq!(of(&["192.0.2.7", "2001:db8::/32", "::1"]), "from 192.0.2.7 and 2 more, ");
    }
}

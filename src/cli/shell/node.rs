//! The objects of a configuration as a tree of paths.

use std::net::SocketAddr;

use crate::admin::config::Config;
use crate::scsi::Group;
use crate::store::{StoreConfig, StoreKind};
use crate::target::{Acl, Lun, Target, Tpg};

/// A place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Backstores,
    Kind(StoreKind),
    Store(String),
    Alua(String),
    AluaGroup(String, String),
    Iscsi,
    Target(String),
    Tpg(String, u16),
    Acls(String, u16),
    Acl(String, u16, String),
    Mapped(String, u16, String, u16),
    Luns(String, u16),
    Lun(String, u16, u16),
    Portals(String, u16),
    Portal(String, u16, SocketAddr),
    Loopback,
    /// By its backstore.
    LocalDisk(String),
}

/// The kinds of backstores in the order of the tree.
pub(super) const KINDS: [StoreKind; 5] =
    [StoreKind::Block, StoreKind::Fileio, StoreKind::Null, StoreKind::Pscsi, StoreKind::Ramdisk];

/// The backstore of that name. It is looked for from the end on, as are targets: whoever makes one goes on with it.
pub(super) fn store<'c>(config: &'c Config, name: &str) -> Option<&'c StoreConfig> {
    config.stores.iter().rev().find(|s| s.name == name).map(|s| &**s)
}

/// The target port group of that name.
pub(super) fn alua_group<'c>(config: &'c Config, name: &str, group: &str) -> Option<&'c Group> {
    store(config, name)?.groups.iter().find(|g| g.name == group)
}

/// The target of that name.
pub(super) fn target<'c>(config: &'c Config, iqn: &str) -> Option<&'c Target> {
    config.targets.iter().rev().find(|t| t.iqn == iqn)
}

/// The group with that tag.
pub(super) fn tpg<'c>(config: &'c Config, iqn: &str, tag: u16) -> Option<&'c Tpg> {
    target(config, iqn)?.tpgs.iter().find(|g| g.tag == tag)
}

/// The ACL of that initiator.
pub(super) fn acl<'c>(config: &'c Config, iqn: &str, tag: u16, initiator: &str) -> Option<&'c Acl> {
    tpg(config, iqn, tag)?.acls.iter().find(|a| a.initiator == initiator)
}

/// The LUN of that number. They are in the order of their numbers.
pub(super) fn numbered(luns: &[Lun], number: u16) -> Option<&Lun> {
    luns.binary_search_by_key(&number, |l| l.lun).ok().map(|n| &luns[n])
}

/// The LUN of the group that a mapped one shows.
pub(super) fn behind<'t>(tpg: &'t Tpg, mapped: &Lun) -> Option<&'t Lun> {
    let same = |l: &&Lun| l.lu == mapped.lu;
    numbered(&tpg.luns, mapped.lun).filter(same).or_else(|| tpg.luns.iter().find(same))
}

impl Node {
    /// The last part of its path.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Root => "/".into(),
            Self::Backstores => "backstores".into(),
            Self::Kind(kind) => kind.word().into(),
            Self::Store(name) => name.clone(),
            Self::Alua(_) => "alua".into(),
            Self::AluaGroup(_, name) => name.clone(),
            Self::Iscsi => "iscsi".into(),
            Self::Target(iqn) => iqn.clone(),
            Self::Tpg(_, tag) => format!("tpg{tag}"),
            Self::Acls(..) => "acls".into(),
            Self::Acl(.., initiator) => initiator.clone(),
            Self::Mapped(.., lun) => format!("mapped_lun{lun}"),
            Self::Luns(..) => "luns".into(),
            Self::Lun(.., lun) => format!("lun{lun}"),
            Self::Portals(..) => "portals".into(),
            Self::Portal(.., portal) => portal.to_string(),
            Self::Loopback => "loopback".into(),
            Self::LocalDisk(store) => store.clone(),
        }
    }

    /// What is below it.
    pub(super) fn children(&self, config: &Config) -> Vec<Self> {
        self.children_of(config, &|name| store(config, name))
    }

    /// The same, where backstores are found in that way.
    pub(super) fn children_of<'c>(
        &self,
        config: &'c Config,
        store: &dyn Fn(&str) -> Option<&'c StoreConfig>,
    ) -> Vec<Self> {
        match self {
            Self::Root => vec![Self::Backstores, Self::Iscsi, Self::Loopback],
            Self::Backstores => KINDS.map(Self::Kind).into(),
            Self::Kind(kind) => {
                let stores = config.stores.iter().filter(|s| s.kind == *kind);
                stores.map(|s| Self::Store(s.name.clone())).collect()
            }
            Self::Store(name) => {
                let passed = store(name).is_none_or(|s| s.kind == StoreKind::Pscsi);
                if passed { Vec::new() } else { vec![Self::Alua(name.clone())] }
            }
            Self::Alua(name) => {
                let groups = store(name).into_iter().flat_map(|s| s.groups.iter());
                groups.map(|g| Self::AluaGroup(name.clone(), g.name.clone())).collect()
            }
            Self::Loopback => config.loopbacks.iter().map(|d| Self::LocalDisk(d.store.clone())).collect(),
            Self::Iscsi => config.targets.iter().map(|t| Self::Target(t.iqn.clone())).collect(),
            Self::Target(iqn) => {
                let tpgs = target(config, iqn).into_iter().flat_map(|t| &t.tpgs);
                tpgs.map(|g| Self::Tpg(iqn.clone(), g.tag)).collect()
            }
            Self::Tpg(iqn, tag) => vec![
                Self::Acls(iqn.clone(), *tag),
                Self::Luns(iqn.clone(), *tag),
                Self::Portals(iqn.clone(), *tag),
            ],
            Self::Acls(iqn, tag) => {
                let acls = tpg(config, iqn, *tag).into_iter().flat_map(|g| &g.acls);
                acls.map(|a| Self::Acl(iqn.clone(), *tag, a.initiator.clone())).collect()
            }
            Self::Acl(iqn, tag, initiator) => {
                let luns = acl(config, iqn, *tag, initiator).into_iter().flat_map(|a| &a.luns);
                luns.map(|l| Self::Mapped(iqn.clone(), *tag, initiator.clone(), l.lun)).collect()
            }
            Self::Luns(iqn, tag) => {
                let luns = tpg(config, iqn, *tag).into_iter().flat_map(|g| &g.luns);
                luns.map(|l| Self::Lun(iqn.clone(), *tag, l.lun)).collect()
            }
            Self::Portals(iqn, tag) => {
                let portals = tpg(config, iqn, *tag).into_iter().flat_map(|g| &g.portals);
                portals.map(|p| Self::Portal(iqn.clone(), *tag, *p)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The one below it that is called so. Names of initiators and targets have no case.
    pub(super) fn child(&self, name: &str, config: &Config) -> Option<Self> {
        let known = match self {
            Self::Kind(kind) => {
                store(config, name).filter(|s| s.kind == *kind).map(|s| Self::Store(s.name.clone()))
            }
            Self::Iscsi => target(config, name).map(|t| Self::Target(t.iqn.clone())),
            Self::Acls(iqn, tag) => {
                acl(config, iqn, *tag, name).map(|a| Self::Acl(iqn.clone(), *tag, a.initiator.clone()))
            }
            _ => None,
        };
        known.or_else(|| self.listed(name, config))
    }

    /// The same, of what is below it one after the other.
    fn listed(&self, name: &str, config: &Config) -> Option<Self> {
        let children = self.children(config);
        let exact = children.iter().find(|c| c.name() == name);
        exact.or_else(|| children.iter().find(|c| c.name().eq_ignore_ascii_case(name))).cloned()
    }

    /// Whether trees show it: what hardly anybody has only when there is some.
    pub(super) fn is_shown(&self, config: &Config) -> bool {
        *self != Self::Kind(StoreKind::Null) || !self.children(config).is_empty()
    }
}

//! The catalogue: which targets, portals, logical units and initiators there are.
//!
//! A [`Catalog`] is an immutable snapshot: the control thread builds one, every reactor holds it
//! in an `Arc`, and a change is a new snapshot. Nothing here does I/O.

mod auth;
mod local;
mod network;
mod quota;
mod redirect;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use auth::{Auth, ChapAlgorithm, Credential};
pub use local::{LOCAL_INITIATOR, LOCAL_PORTAL, is_local, local_name, local_target, store_of_local};
pub use network::{Network, NotANetwork};
pub use quota::{Quota, Rate};
pub use redirect::Redirect;

use crate::ids::LuId;
use crate::scsi::TargetPort;

/// Everything that is exported, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The targets, in the order of the configuration.
    pub targets: Vec<Arc<Target>>,
    /// Who may ask which targets there are, and what is shown.
    pub discovery: Arc<Discovery>,
    /// Portals that send every visitor elsewhere.
    pub redirects: Vec<(SocketAddr, Redirect)>,
    /// What logical units may do in a second, as far as they are limited.
    pub quotas: HashMap<LuId, Quota>,
    /// The names of targets that there were since the start and that are no more, the latest last.
    pub removed: Vec<String>,
}

/// As many names of removed targets are remembered: whoever comes for one of those before has been told often enough.
const MOST_REMOVED: usize = 4096;

/// Discovery sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// What they must prove. Without credentials discovery is open.
    pub auth: Auth,
    /// The CHAP algorithms that are allowed.
    pub chap_algorithms: Vec<ChapAlgorithm>,
    /// Whether only the groups are shown that listen where the initiator has come in.
    pub own_portal_only: bool,
}

impl Default for Discovery {
    fn default() -> Self {
        let chap_algorithms = TpgParams::default().chap_algorithms;
        Self { auth: Auth::default(), chap_algorithms, own_portal_only: false }
    }
}

/// An iSCSI target node.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its iSCSI name, normalised.
    pub iqn: String,
    /// TargetAlias (RFC 7143 section 13.7), for people.
    pub alias: Option<String>,
    /// Where those who log in to it are sent, if they are.
    pub redirect: Option<Redirect>,
    /// Its target portal groups.
    pub tpgs: Vec<Tpg>,
}

/// A target portal group: the portals through which one session may come, and what it sees there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tpg {
    /// Target portal group tag (RFC 7143 section 13.9).
    pub tag: u16,
    /// The relative target port identifier of this group's iSCSI target port (SPC), unique in the catalogue; 0 as long
    /// as it has none.
    pub relative_port: u16,
    /// Where it listens. A wildcard address stands for every local address of its family.
    pub portals: Vec<SocketAddr>,
    /// What is offered in negotiation, and the limits.
    pub params: TpgParams,
    /// The logical units, by LUN.
    pub luns: Vec<Lun>,
    /// Who may log in.
    pub acls: Vec<Acl>,
    /// Where initiators may come from; empty: from anywhere.
    pub from: Vec<Network>,
    /// Whether initiators without an ACL may log in too (they then see `luns` and must satisfy `auth`).
    pub open: bool,
    /// The credentials of initiators that are let in by `open`, and of ACLs that have none of their own.
    pub auth: Auth,
}

/// One entry of a LUN map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lun {
    /// The LUN (0 to 16383: peripheral or flat addressing).
    pub lun: u16,
    /// The logical unit behind it.
    pub lu: LuId,
    /// Whether this map forbids writing, whatever the logical unit allows.
    pub read_only: bool,
    /// The target port group of the logical unit that this port is in: one of its
    /// [`Groups`](crate::scsi::Groups).
    pub group: u16,
}

/// An initiator that may log in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Acl {
    /// Its iSCSI name, normalised.
    pub initiator: String,
    /// Its credentials; without any, those of the group apply.
    pub auth: Auth,
    /// Where it may come from, as far as the group lets it; empty: from anywhere.
    pub from: Vec<Network>,
    /// The LUN map that this initiator sees.
    pub luns: Vec<Lun>,
    /// What it may do in a second, over all of its sessions with the group.
    pub quota: Quota,
}

/// Negotiation offers and limits of a group. Sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TpgParams {
    /// Whether HeaderDigest=CRC32C may be chosen.
    pub header_digest: bool,
    /// Whether DataDigest=CRC32C may be chosen.
    pub data_digest: bool,
    /// Whether digests are demanded (None is not accepted).
    pub require_digests: bool,
    /// MaxRecvDataSegmentLength that the target declares.
    pub max_recv_data_segment_length: u32,
    /// FirstBurstLength limit.
    pub first_burst_length: u32,
    /// MaxBurstLength limit.
    pub max_burst_length: u32,
    /// InitialR2T that the target wants (OR rule).
    pub initial_r2t: bool,
    /// ImmediateData that the target allows (AND rule).
    pub immediate_data: bool,
    /// MaxOutstandingR2T limit.
    pub max_outstanding_r2t: u16,
    /// DataPDUInOrder that the target wants (OR rule).
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder that the target wants (OR rule).
    pub data_sequence_in_order: bool,
    /// DefaultTime2Wait, seconds.
    pub time2wait: u16,
    /// DefaultTime2Retain, seconds.
    pub time2retain: u16,
    /// Commands that a session may have outstanding (the CmdSN window).
    pub command_window: u32,
    /// The CHAP algorithms that are allowed.
    pub chap_algorithms: Vec<ChapAlgorithm>,
    /// How long a connection may be silent before it is asked with a NOP-In; zero: never.
    pub nop_interval: Duration,
    /// How long the answer to that NOP-In may take.
    pub nop_timeout: Duration,
    /// How long a login may take as a whole.
    pub login_timeout: Duration,
}

impl Default for TpgParams {
    fn default() -> Self {
        Self {
            header_digest: true,
            data_digest: true,
            require_digests: false,
            max_recv_data_segment_length: 256 << 10,
            first_burst_length: 256 << 10,
            max_burst_length: (16 << 20) - 1,
            initial_r2t: false,
            immediate_data: true,
            max_outstanding_r2t: 8,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            time2wait: 2,
            time2retain: 0,
            command_window: 256,
            chap_algorithms: vec![
                ChapAlgorithm::Sha3_256,
                ChapAlgorithm::Sha256,
                ChapAlgorithm::Sha1,
                ChapAlgorithm::Md5,
            ],
            nop_interval: Duration::from_secs(15),
            nop_timeout: Duration::from_secs(30),
            login_timeout: Duration::from_secs(15),
        }
    }
}

/// What one initiator gets in one group.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// The LUN map.
    pub luns: &'a [Lun],
    /// What it must prove; empty: nothing.
    pub auth: &'a Auth,
    /// What it may do in a second.
    pub quota: Quota,
}

impl Catalog {
    /// The target of that (normalised) name.
    pub fn target(&self, iqn: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|t| t.iqn == iqn)
    }

    /// Takes the place of another, some of whose targets are gone.
    pub fn follow(&mut self, old: &Self) {
        let here: HashSet<&str> = self.targets.iter().map(|t| t.iqn.as_str()).collect();
        let were = old.removed.iter().chain(old.targets.iter().map(|t| &t.iqn));
        let mut removed: Vec<String> = were.filter(|iqn| !here.contains(iqn.as_str())).cloned().collect();
        removed.drain(..removed.len().saturating_sub(MOST_REMOVED));
        self.removed = removed;
    }

    /// Where a visitor is sent who has arrived at `local`, if the portal sends its visitors on.
    pub fn redirect_at(&self, local: SocketAddr) -> Option<Redirect> {
        let here = self.redirects.iter().filter(|(portal, _)| portal_covers(*portal, local));
        // A portal that names the address counts before a wildcard.
        let (_, redirect) = here.min_by_key(|(portal, _)| portal.ip().is_unspecified())?;
        redirect.moves(local).then_some(*redirect)
    }

    /// The target ports by which a logical unit is reached, in the order of the configuration.
    pub fn ports_of(&self, lu: LuId) -> Vec<TargetPort> {
        self.targets.iter().flat_map(|t| t.ports_of(lu)).collect()
    }
}

impl Target {
    /// The group that listens on `local`, the address at which a connection arrived.
    pub fn tpg_at(&self, local: SocketAddr) -> Option<&Tpg> {
        self.tpgs.iter().find(|g| g.listens_at(local))
    }

    /// The logical units that somebody can see here, once for each group that shows them: with that group, and with the
    /// number of the target port group that its port is in. It looks at every entry of every map once. `among`: of these
    /// only.
    pub fn reached(&self, among: Option<&HashSet<LuId>>) -> impl Iterator<Item = (LuId, &Tpg, u16)> {
        self.tpgs.iter().flat_map(move |g| g.shown(among).map(move |(lu, group)| (lu, g, group)))
    }

    /// Those of its ports by which a logical unit is reached.
    pub fn ports_of(&self, lu: LuId) -> impl Iterator<Item = TargetPort> + '_ {
        self.tpgs.iter().filter(move |g| g.shows(lu)).map(|g| self.port(g))
    }

    /// The port of one of its groups.
    pub fn port(&self, group: &Tpg) -> TargetPort {
        TargetPort { target: self.iqn.clone(), tpg_tag: group.tag, relative_port: group.relative_port }
    }
}

impl Tpg {
    /// Whether a connection that arrived at `local` came through one of this group's portals.
    pub fn listens_at(&self, local: SocketAddr) -> bool {
        self.portals.iter().any(|p| portal_covers(*p, local))
    }

    /// Whether somebody can see that logical unit here.
    fn shows(&self, lu: LuId) -> bool {
        self.maps().flatten().any(|l| l.lu == lu)
    }

    /// The logical units that somebody sees here, each once, with their target port group.
    fn shown(&self, among: Option<&HashSet<LuId>>) -> impl Iterator<Item = (LuId, u16)> + use<> {
        let is_meant = |lu: &LuId| among.is_none_or(|among| among.contains(lu));
        let units: HashSet<LuId> = self.maps().flatten().map(|l| l.lu).filter(is_meant).collect();
        let mut groups = HashMap::new();
        for lun in self.luns.iter().filter(|l| units.contains(&l.lu)) {
            groups.entry(lun.lu).or_insert(lun.group);
        }
        units.into_iter().map(move |lu| (lu, groups.get(&lu).copied().unwrap_or(0)))
    }

    /// The LUN maps that somebody sees.
    fn maps(&self) -> impl Iterator<Item = &Vec<Lun>> {
        self.acls.iter().map(|acl| &acl.luns).chain(self.open.then_some(&self.luns))
    }

    /// Whether `initiator` may log in from that address.
    pub fn admits(&self, initiator: &str, peer: IpAddr) -> bool {
        let lies_in = |from: &[Network]| from.is_empty() || from.iter().any(|network| network.contains(peer));
        lies_in(&self.from)
            && match self.acl(initiator) {
                Some(acl) => lies_in(&acl.from),
                None => self.open,
            }
    }

    fn acl(&self, initiator: &str) -> Option<&Acl> {
        self.acls.iter().find(|a| a.initiator == initiator)
    }

    /// What `initiator` may see here, wherever it comes from, or `None` when it may not log in at all: no ACL, no access.
    pub fn access(&self, initiator: &str) -> Option<Access<'_>> {
        match self.acl(initiator) {
            Some(acl) => {
                let auth = if acl.auth.required() { &acl.auth } else { &self.auth };
                Some(Access { luns: &acl.luns, auth, quota: acl.quota })
            }
            None => self.open.then(|| Access { luns: &self.luns, auth: &self.auth, quota: Quota::default() }),
        }
    }
}

/// Whether a listener on `portal` is one that `local` can have arrived at. An IPv4-mapped IPv6
/// address is the IPv4 address; `[::]` takes IPv4 too, as the listener does. A link-local address is another on each
/// link.
pub fn portal_covers(portal: SocketAddr, local: SocketAddr) -> bool {
    let other_link = scope(portal) != 0 && scope(local) != 0 && scope(portal) != scope(local);
    if portal.port() != local.port() || other_link {
        return false;
    }
    let (portal, local) = (portal.ip().to_canonical(), local.ip().to_canonical());
    portal == local || (portal.is_unspecified() && (portal.is_ipv6() || local.is_ipv4()))
}

/// The link of a link-local address; zero: it is none, or of whichever link.
pub fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tpg(open: bool) -> Tpg {
        Tpg {
            tag: 1,
            relative_port: 1,
            portals: vec!["0.0.0.0:3260".parse().unwrap()],
            luns: vec![Lun { lun: 0, lu: LuId(0), read_only: false, group: 0 }],
            acls: vec![Acl { initiator: "iqn.2026-01.a:b".into(), ..Acl::default() }],
            open,
            ..Tpg::default()
        }
    }

    #[test]
    fn targets_that_are_gone_are_remembered_until_they_are_there_again() {
        let catalog = |names: &[&str]| {
            let target =
                |iqn: &&str| Target { iqn: (*iqn).into(), alias: None, redirect: None, tpgs: vec![] };
            Catalog { targets: names.iter().map(|n| Arc::new(target(n))).collect(), ..Catalog::default() }
        };
        let followed = |old: &Catalog, names: &[&str]| {
            let mut new = catalog(names);
            new.follow(old);
            new
        };
        let gone = followed(&catalog(&["iqn.a", "iqn.b"]), &["iqn.b"]);
        assert_eq!(gone.removed, ["iqn.a"]);
        let more = followed(&gone, &[]);
        assert_eq!(more.removed, ["iqn.a", "iqn.b"]);
        assert_eq!(followed(&more, &["iqn.a"]).removed, ["iqn.b"]);
        let many = Catalog { removed: vec!["iqn.x".into(); MOST_REMOVED], ..catalog(&["iqn.b"]) };
        let removed = followed(&many, &[]).removed;
        assert_eq!((removed.len(), removed.last().map(String::as_str)), (MOST_REMOVED, Some("iqn.b")));
    }

    #[test]
    fn no_acl_no_access() {
        assert!(tpg(false).access("iqn.2026-01.a:stranger").is_none());
        assert!(tpg(false).access("iqn.2026-01.a:b").unwrap().luns.is_empty());
        assert_eq!(tpg(true).access("iqn.2026-01.a:stranger").unwrap().luns.len(), 1);
    }

    #[test]
    fn initiators_come_from_where_their_group_and_their_acl_let_them() {
        let network = |text: &str| vec![text.parse().unwrap()];
        let mut group = tpg(true);
        let admits = |group: &Tpg, name: &str, from: &str| {
            group.admits(&format!("iqn.2026-01.a:{name}"), from.parse().unwrap())
        };
        assert!(admits(&group, "b", "192.0.2.1") && admits(&group, "stranger", "192.0.2.1"));
        group.from = network("192.0.2.0/24");
        assert!(admits(&group, "b", "::ffff:192.0.2.1") && admits(&group, "stranger", "192.0.2.2"));
        assert!(!admits(&group, "b", "192.0.3.1") && !admits(&group, "stranger", "2001:db8::1"));
        group.acls[0].from = network("192.0.2.1");
        assert!(admits(&group, "b", "192.0.2.1"));
        assert!(!admits(&group, "b", "192.0.2.2"), "nor as a stranger");
        assert!(!admits(&tpg(false), "stranger", "192.0.2.1"));
    }

    #[test]
    fn a_unit_is_reached_where_somebody_sees_it() {
        let target = |tpgs| Arc::new(Target { iqn: "iqn.t".into(), alias: None, redirect: None, tpgs });
        let ports = |open| {
            let other = Tpg { tag: 2, relative_port: 7, luns: vec![], ..tpg(true) };
            let catalog = Catalog { targets: vec![target(vec![tpg(open), other])], ..Catalog::default() };
            catalog.ports_of(LuId(0)).iter().map(|p| (p.tpg_tag, p.relative_port)).collect::<Vec<_>>()
        };
        assert_eq!(ports(true), [(1, 1)]);
        assert_eq!(ports(false), [], "the group's own map is for those without an ACL");
    }

    #[test]
    fn a_port_is_in_the_group_that_its_lun_names() {
        let lun = |lu, group| Lun { lun: 1, lu: LuId(lu), read_only: false, group };
        let other = Tpg { relative_port: 7, luns: vec![lun(1, 2), lun(0, 5)], ..tpg(true) };
        let target =
            Target { iqn: "iqn.t".into(), alias: None, redirect: None, tpgs: vec![tpg(true), other] };
        let mut reached: Vec<_> =
            target.reached(None).map(|(lu, g, group)| (lu.0, group, g.relative_port)).collect();
        reached.sort_unstable();
        assert_eq!(reached, [(0, 0, 1), (0, 5, 7), (1, 2, 7)]);
    }

    #[test]
    fn a_unit_that_several_see_in_a_group_is_reached_there_once() {
        let acl = |name: &str| Acl { initiator: name.into(), luns: tpg(false).luns, ..Acl::default() };
        let group = Tpg { acls: vec![acl("iqn.a"), acl("iqn.b")], ..tpg(true) };
        let target = Target { iqn: "iqn.t".into(), alias: None, redirect: None, tpgs: vec![group] };
        assert_eq!(
            target.reached(None).map(|(lu, _, group)| (lu, group)).collect::<Vec<_>>(),
            [(LuId(0), 0)]
        );
    }

    #[test]
    fn wildcards_cover_their_family() {
        let local: SocketAddr = "192.0.2.1:3260".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:3260".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:3260".parse().unwrap();
        let (any4, any6) = ("0.0.0.0:3260".parse().unwrap(), "[::]:3260".parse().unwrap());
        assert!(portal_covers(any4, local) && portal_covers(any4, mapped) && !portal_covers(any4, v6));
        assert!(portal_covers(any6, local) && portal_covers(any6, mapped) && portal_covers(any6, v6));
        assert!(!portal_covers("0.0.0.0:3261".parse().unwrap(), local));
    }

    #[test]
    fn a_link_local_address_is_another_on_each_link() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let portal = at("[fe80::1%2]:3260");
        assert!(
            portal_covers(portal, at("[fe80::1%2]:3260")) && !portal_covers(portal, at("[fe80::1%3]:3260"))
        );
        assert!(portal_covers(at("[::]:3260"), at("[fe80::1%3]:3260")));
    }

    #[test]
    fn portals_send_their_visitors_on() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let to = |text| Redirect { to: at(text), permanent: false };
        let redirects =
            vec![(at("0.0.0.0:3260"), to("192.0.2.1:3260")), (at("192.0.2.2:3260"), to("192.0.2.3:3260"))];
        let catalog = Catalog { redirects, ..Catalog::default() };
        let sent = |local| catalog.redirect_at(at(local)).map(|r| r.to);
        assert_eq!(sent("192.0.2.9:3260"), Some(at("192.0.2.1:3260")));
        assert_eq!(sent("192.0.2.2:3260"), Some(at("192.0.2.3:3260")));
        assert_eq!(sent("[::ffff:192.0.2.1]:3260"), None, "who is there already is served");
        assert_eq!(sent("192.0.2.9:3261"), None);
    }
}

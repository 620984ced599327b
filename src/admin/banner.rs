//! What is printed when everything is open: one line per target, LUN and portal, the commands with which a
//! Linux initiator gets at it, and `ready`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use super::size;
use crate::ring::Way;
use crate::scsi::DeviceType;
use crate::store::{Backing, StoreConfig};
use crate::target::{Catalog, Lun, Target, Tpg, is_local};

/// What is known of a store once it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of its logical blocks in bytes.
    pub block_size: u32,
    /// Whether a write may be answered before it is durable.
    pub write_cache: bool,
    /// Whether unused space can be given back.
    pub thin: bool,
    /// How its device is worked on.
    pub way: Way,
}

impl From<&Backing> for Opened {
    fn from(backing: &Backing) -> Self {
        Self {
            bytes: backing.bytes(),
            block_size: backing.block_size,
            write_cache: backing.write_cache,
            thin: backing.thin.is_some(),
            way: backing.way(),
        }
    }
}

/// Targets beyond this number get no commands: nobody reads 10,000 of them.
const MAX_RECIPES: usize = 8;

/// The lines for `catalog`, whose portals have their real ports. `opened` is in the order of `stores`;
/// a store that is not open (yet) is `None`. The last line is `ready`.
pub fn render(catalog: &Catalog, stores: &[Arc<StoreConfig>], opened: &[Option<Opened>]) -> String {
    let mut out = String::new();
    for target in catalog.targets.iter().filter(|t| !is_local(&t.iqn)) {
        for tpg in &target.tpgs {
            let _ = writeln!(out, "target {} group {}: {}", target.iqn, tpg.tag, doors(tpg));
            for lun in &tpg.luns {
                let _ = writeln!(out, "  lun {}: {}", lun.lun, disk(lun, stores, opened));
            }
            for portal in &tpg.portals {
                let _ = writeln!(out, "  portal {portal}");
            }
        }
    }
    out.push_str(&recipes(catalog, local_address));
    out.push_str("ready\n");
    out
}

fn doors(tpg: &Tpg) -> String {
    let initiators = match (tpg.open, tpg.acls.as_slice()) {
        (true, _) => "any initiator".into(),
        (false, []) => "no initiator".into(),
        (false, [acl]) => acl.initiator.clone(),
        (false, acls) => format!("{} initiators", acls.len()),
    };
    let all = !tpg.open && !tpg.acls.is_empty() && tpg.acls.iter().all(|a| a.auth.required());
    let some = tpg.acls.iter().any(|a| a.auth.required());
    let proof = match (tpg.auth.required() || all, some) {
        (true, _) => ", with CHAP",
        (false, true) => ", some with CHAP",
        (false, false) => ", without authentication",
    };
    if initiators == "no initiator" { initiators } else { initiators + proof }
}

fn disk(lun: &Lun, stores: &[Arc<StoreConfig>], opened: &[Option<Opened>]) -> String {
    let index = lun.lu.0 as usize;
    let Some(store) = stores.get(index) else { return "nothing".into() };
    let what = match &store.path {
        Some(path) => format!("{} ({})", path.display(), store.kind.word()),
        None => format!("{} ({})", store.name, store.kind.word()),
    };
    let Some(open) = opened.get(index).copied().flatten() else { return what + ", not ready" };
    let cache = if open.write_cache { "write-back" } else { "write-through" };
    let mut line = format!("{what}, {}, blocks of {}, {cache}", size::show(open.bytes), open.block_size);
    line.push_str(if open.thin { ", thin" } else { "" });
    line.push_str(match open.way {
        Way::Direct => "",
        Way::Polled => ", polled",
        Way::Passthrough(_) => ", passthrough",
    });
    let cdrom = store.device == DeviceType::Cdrom;
    line.push_str(if cdrom { ", a disc in a drive" } else { "" });
    line.push_str(if store.removable && !cdrom { ", removable" } else { "" });
    line.push_str(if lun.read_only || store.read_only { ", read-only" } else { "" });
    line
}

/// The commands for the Linux initiator, one set for each target.
fn recipes(catalog: &Catalog, local: fn(bool) -> IpAddr) -> String {
    let mut out = String::new();
    let doors: Vec<(&Target, &Tpg, SocketAddr)> = catalog
        .targets
        .iter()
        .filter(|t| !is_local(&t.iqn))
        .filter_map(|t| t.tpgs.iter().find_map(|g| Some((&**t, g, reachable(*g.portals.first()?, local)))))
        .collect();
    for (target, tpg, portal) in doors.iter().take(MAX_RECIPES) {
        out.push_str(&recipe(target, tpg, *portal, catalog.discovery.auth.required()));
    }
    if doors.len() > MAX_RECIPES {
        let _ = writeln!(out, "and so on for {} more targets", doors.len() - MAX_RECIPES);
    }
    out
}

fn recipe(target: &Target, tpg: &Tpg, portal: SocketAddr, discovery_auth: bool) -> String {
    let mut out = String::from("on the initiator, as root:\n");
    if discovery_auth {
        out.push_str("  # first set discovery.sendtargets.auth.* in /etc/iscsi/iscsid.conf\n");
    }
    let node = format!("iscsiadm -m node -T {} -p {portal}", target.iqn);
    let _ = writeln!(out, "  iscsiadm -m discovery -t sendtargets -p {portal}");
    if let Some(user) = user(tpg) {
        let update = format!("  {node} -o update -n node.session.auth");
        let _ = writeln!(out, "{update}.authmethod -v CHAP");
        let _ = writeln!(out, "{update}.username -v '{user}'");
        let _ = writeln!(out, "{update}.password -v 'SECRET'");
    }
    let _ = writeln!(out, "  {node} --login");
    out
}

/// The user name with which one can log in; with many, the reader knows which is his.
fn user(tpg: &Tpg) -> Option<&str> {
    let auth = tpg.acls.iter().map(|a| &a.auth).find(|a| a.required()).unwrap_or(&tpg.auth);
    let user = auth.chap.first().map(|c| c.user.as_str())?;
    // A quote in it would end the shell's quoting; who is half written has none yet.
    Some(if user.is_empty() || user.contains('\'') { "USER" } else { user })
}

/// An address that can be typed: the wildcard is this host's own.
fn reachable(portal: SocketAddr, local: fn(bool) -> IpAddr) -> SocketAddr {
    let ip = portal.ip();
    let ip = if ip.is_unspecified() { local(ip.is_ipv6()) } else { ip.to_canonical() };
    SocketAddr::new(ip, portal.port())
}

/// The address from which this host talks to others; loopback when it talks to nobody. Connecting a
/// datagram socket sends nothing: it only asks for the route.
fn local_address(v6: bool) -> IpAddr {
    let (any, somewhere, loopback) = if v6 {
        let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        (IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(documentation), IpAddr::from(Ipv6Addr::LOCALHOST))
    } else {
        let documentation = Ipv4Addr::new(192, 0, 2, 1);
        (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(documentation), IpAddr::from(Ipv4Addr::LOCALHOST))
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((somewhere, 9))?;
        socket.local_addr()
    });
    asked.map_or(loopback, |a| a.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::config::{Source, parse};

    fn catalog(text: &str) -> (Catalog, Vec<Arc<StoreConfig>>) {
        let (mut config, _) = parse(Source::new("t", text), std::path::Path::new("/"), None).unwrap();
        (config.take_catalog(), config.stores)
    }

    const FILE: &str = r#"
        backstore = [{ kind = "fileio", name = "a", path = "/a.img", size = "1G" },
                     { kind = "null", name = "b", size = "1G", read_only = true }]
        [[target]]
        iqn = "iqn.2026-11.org.example:a"
        [[target.tpg]]
        portals = ["127.0.0.1:3261"]
        any_initiator = true
        chap = { user = "joe", secret = "correct horse battery" }
        lun = [{ lun = 0, backstore = "a" }, { lun = 1, backstore = "b" }]
    "#;

    #[test]
    fn every_line() {
        let (catalog, stores) = catalog(FILE);
        let open =
            Opened { bytes: 1 << 30, block_size: 512, write_cache: true, thin: true, way: Way::Polled };
        let lines = render(&catalog, &stores, &[Some(open), None]);
        assert_eq!(
            lines,
            "target iqn.2026-11.org.example:a group 1: any initiator, with CHAP\n\
             \x20 lun 0: /a.img (fileio), 1 GiB, blocks of 512, write-back, thin, polled\n\
             \x20 lun 1: b (null), not ready\n\
             \x20 portal 127.0.0.1:3261\n\
             on the initiator, as root:\n\
             \x20 iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3261\n\
             \x20 iscsiadm -m node -T iqn.2026-11.org.example:a -p 127.0.0.1:3261 -o update -n \
             node.session.auth.authmethod -v CHAP\n\
             \x20 iscsiadm -m node -T iqn.2026-11.org.example:a -p 127.0.0.1:3261 -o update -n \
             node.session.auth.username -v 'joe'\n\
             \x20 iscsiadm -m node -T iqn.2026-11.org.example:a -p 127.0.0.1:3261 -o update -n \
             node.session.auth.password -v 'SECRET'\n\
             \x20 iscsiadm -m node -T iqn.2026-11.org.example:a -p 127.0.0.1:3261 --login\n\
             ready\n"
        );
    }

    #[test]
    fn nothing_to_serve_is_ready_too() {
        assert_eq!(render(&Catalog::default(), &[], &[]), "ready\n");
    }

    #[test]
    fn wildcards_are_never_told() {
        let local = |v6| if v6 { "2001:db8::7".parse().unwrap() } else { "192.0.2.7".parse().unwrap() };
        let at = |text: &str| reachable(text.parse().unwrap(), local).to_string();
        assert_eq!(at("0.0.0.0:3260"), "192.0.2.7:3260");
        assert_eq!(at("[::]:3260"), "[2001:db8::7]:3260");
        assert_eq!(at("[::ffff:192.0.2.1]:1"), "192.0.2.1:1");
        assert!(!local_address(false).is_unspecified() && !local_address(true).is_unspecified());
    }
}

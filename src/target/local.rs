//! Targets for disks of this very host: no network leads to them.
//!
//! Such a disk is a session like any other, whose connection has come by no listener. Its target has the one portal where
//! only these arrive, and lets in only whoever comes from there, so that no discovery shows it.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{Acl, Lun, Network, Target, Tpg, TpgParams};

/// Where connections from this host to a disk of its own arrive, and come from: an address that no network has (RFC 6666),
/// and no port.
pub const LOCAL_PORTAL: SocketAddr =
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1), 0, 0, 0));

/// Who logs in there.
pub const LOCAL_INITIATOR: &str = "iqn.2026-11.org.ringtgt:loopback";

/// What the names of these targets begin with; behind it is the name of the store.
const PREFIX: &str = "iqn.2026-11.org.ringtgt.loopback:";

/// Whether a target of that (normalised) name is one of these.
pub fn is_local(iqn: &str) -> bool {
    iqn.starts_with(PREFIX)
}

/// The name of the target for a store. Names of targets have no case and fewer characters than those of stores: what is
/// missing is written behind an underscore, so that no two stores have the same.
pub fn local_name(store: &str) -> String {
    let mut name = PREFIX.to_owned();
    for c in store.chars() {
        match c {
            '_' => name.push_str("__"),
            '+' => name.push_str("_0"),
            '@' => name.push_str("_1"),
            'A'..='Z' => name.extend(['_', c.to_ascii_lowercase()]),
            _ => name.push(c),
        }
    }
    name
}

/// The store that a target of that name shows, if it is one of these.
pub fn store_of_local(iqn: &str) -> Option<String> {
    let (mut store, mut name) = (String::new(), iqn.strip_prefix(PREFIX)?.chars());
    while let Some(c) = name.next() {
        store.push(match c {
            '_' => match name.next()? {
                '_' => '_',
                '0' => '+',
                '1' => '@',
                letter => letter.to_ascii_uppercase(),
            },
            plain => plain,
        });
    }
    Some(store)
}

/// The target for the store of that name, whose logical unit is shown so.
pub fn local_target(store: &str, lun: Lun) -> Target {
    let acl = Acl { initiator: LOCAL_INITIATOR.into(), luns: vec![lun], ..Acl::default() };
    let from = vec![Network::host(LOCAL_PORTAL.ip())];
    let params = TpgParams { header_digest: false, data_digest: false, ..TpgParams::default() };
    let (portals, luns) = (vec![LOCAL_PORTAL], vec![lun]);
    let tpg = Tpg { tag: 1, portals, params, luns, acls: vec![acl], from, ..Tpg::default() };
    Target { iqn: local_name(store), alias: None, redirect: None, tpgs: vec![tpg] }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::ids::LuId;
    use crate::wire::name::normalise;

    #[test]
    fn every_store_has_a_name_of_its_own() {
        for store in ["disk0", "Disk0", "disk_0", "a+b@c", "_", "__", "A__b", "x-1.y:z"] {
            let name = local_name(store);
            assert_eq!(normalise(&name).as_deref(), Ok(name.as_str()), "{store}");
            assert_eq!(store_of_local(&name).as_deref(), Some(store));
        }
        assert_ne!(local_name("Disk"), local_name("disk"));
        assert_eq!(local_name("disk0"), "iqn.2026-11.org.ringtgt.loopback:disk0");
        assert_eq!(store_of_local("iqn.2026-11.org.ringtgt:disk0"), None);
    }

    #[test]
    fn only_who_comes_by_no_network_gets_in() {
        let lun = Lun { lun: 0, lu: LuId(3), read_only: false, group: 0 };
        let target = local_target("disk0", lun);
        let group = target.tpg_at(LOCAL_PORTAL).unwrap();
        assert!(group.admits(LOCAL_INITIATOR, LOCAL_PORTAL.ip()));
        let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(!group.admits(LOCAL_INITIATOR, elsewhere));
        assert!(!group.admits("iqn.2026-11.org.example:i", LOCAL_PORTAL.ip()));
        assert_eq!(group.access(LOCAL_INITIATOR).unwrap().luns, [lun]);
        assert!(target.tpg_at("0.0.0.0:3260".parse().unwrap()).is_none());
    }
}

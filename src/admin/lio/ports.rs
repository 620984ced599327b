//! `portals` of a group.

use std::net::SocketAddr;

use super::json::{Findings, Node};
use crate::admin::config::{At, parse_portal};

/// A portal as it is written here, and its address.
pub(super) struct Portal {
    pub(super) text: String,
    pub(super) address: SocketAddr,
}

/// Those that can be served; the others are listed.
pub(super) fn import<'t>(nodes: &[Node<'t>], found: &mut Findings<'t>) -> Vec<Portal> {
    let mut portals: Vec<Portal> = Vec::new();
    for node in nodes {
        let Some(portal) = portal(node, found) else { continue };
        if portals.iter().any(|p| p.address == portal.address) {
            found.list(node, "it stands there twice");
        } else {
            portals.push(portal);
        }
    }
    portals
}

fn portal<'t>(node: &Node<'t>, found: &mut Findings<'t>) -> Option<Portal> {
    let mut o = node.object(found)?;
    let ip = o.needed("ip_address", found)?;
    let port = o.number("port", found).unwrap_or(3260);
    let iser = o.flag("iser", found).unwrap_or(false);
    let offload = o.take("offload").filter(|node| node.flag(found) == Some(true));
    if let Some(offload) = offload {
        found.list(&offload, "connections are never handed to a network card here: it is served by TCP");
    }
    o.finish(found);
    if iser {
        found.list(node, "iSER, which is iSCSI over RDMA, cannot be had here: this portal is left out");
        return None;
    }
    let bare = ip.trim_start_matches('[').trim_end_matches(']');
    let text = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    match parse_portal(&text, At::Whole) {
        Ok(address) => Some(Portal { text, address }),
        Err(problem) => {
            found.list(node, format!("{problem}: this portal is left out"));
            None
        }
    }
}

//! Text negotiation in the full feature phase: SendTargets and the few keys that are allowed there
//! (RFC 7143 sections 6.4 and 13.3, appendix C).
//!
//! Works on whole texts; the PDUs that carry them are not known here. An initiator is shown what it
//! may log in to, at addresses that it can reach, and nothing else.

use std::net::{IpAddr, SocketAddr};

use super::keys::negotiate::{KeyError, respond};
use super::keys::{Row, Rule, Sender, When, Wishes, lookup};
use super::login::Established;
use crate::target::{Catalog, Target, Tpg, portal_covers, scope};
use crate::wire::name::normalise;
use crate::wire::text::{NOT_UNDERSTOOD, Pair, REJECT, TextError, TextWriter, pairs};

/// Why a text has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It is malformed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A key has an impossible value or came twice.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Answers a whole text of a session in its full feature phase. A new MaxRecvDataSegmentLength is
/// kept in `session`.
pub fn answer(catalog: &Catalog, session: &mut Established, text: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = TextWriter::new();
    let mut heard = Vec::new();
    for pair in pairs(text) {
        let pair = pair?;
        match lookup(pair.key) {
            Some((_, row)) if heard.contains(&row.name) => return Err(KeyError::Repeated(row.name).into()),
            Some((_, row)) => {
                heard.push(row.name);
                known(catalog, session, row, pair, &mut out)?;
            }
            None if pair.value == NOT_UNDERSTOOD => {}
            None => out.pair(pair.key, NOT_UNDERSTOOD),
        }
    }
    Ok(out.into_bytes())
}

/// What has changed here since the login, as a text. Of what an administrator can change, MaxRecvDataSegmentLength is all
/// that may be declared in this phase (RFC 7143 section 13.12). PDUs of the old length may be on their way, so that what
/// is taken never becomes less.
pub fn declare(session: &mut Established) -> Vec<u8> {
    let mut out = TextWriter::new();
    if let Some(group) = session.target.as_ref().and_then(|target| target.tpgs.get(session.tpg)) {
        let length = group.params.max_recv_data_segment_length;
        out.pair("MaxRecvDataSegmentLength", length);
        let agreed = &mut session.negotiated.max_recv_data_segment_length;
        *agreed = length.max(*agreed);
    }
    out.into_bytes()
}

fn known(
    catalog: &Catalog,
    session: &mut Established,
    row: &Row,
    pair: Pair<'_>,
    out: &mut TextWriter,
) -> Result<(), Fault> {
    if row.name == "SendTargets" {
        send_targets(catalog, session, pair.value, out);
    } else if let Rule::Obsolete(answer) = row.rule {
        out.pair(row.name, answer);
    } else if !row.when.contains(When::FULL_FEATURE) || row.sender == Sender::Target {
        out.pair(row.name, REJECT);
    } else if let Some(reply) = respond(row, pair.value, &Wishes::default(), &mut session.negotiated)? {
        out.pair(row.name, reply);
    }
    Ok(())
}

/// `All` belongs to discovery sessions; the empty value, which means "where I am", to normal ones.
/// A name works in both, but a normal session learns of its own target only.
fn send_targets(catalog: &Catalog, session: &Established, wanted: &str, out: &mut TextWriter) {
    match (wanted, &session.target) {
        // Who came in when less was asked for has to come in again.
        (_, None) if !session.may_discover(catalog) => out.pair("SendTargets", REJECT),
        ("All", None) => catalog.targets.iter().for_each(|target| show(catalog, target, session, out)),
        ("", Some(target)) => show_current(catalog, target, session, out),
        ("All", Some(_)) | ("", None) => out.pair("SendTargets", REJECT),
        (name, current) => {
            let Ok(name) = normalise(name) else { return };
            match current {
                Some(target) if target.iqn == name => show_current(catalog, target, session, out),
                Some(_) => {}
                None => {
                    catalog.target(&name).into_iter().for_each(|target| show(catalog, target, session, out));
                }
            }
        }
    }
}

/// The session's own target as it is now, which may be another snapshot than at login.
fn show_current(catalog: &Catalog, target: &Target, session: &Established, out: &mut TextWriter) {
    if let Some(target) = catalog.target(&target.iqn) {
        show(catalog, target, session, out);
    }
}

/// A target without an address would mean "the address you came to", so it is left out.
fn show(catalog: &Catalog, target: &Target, session: &Established, out: &mut TextWriter) {
    let addresses = addresses(catalog, target, session);
    if addresses.is_empty() {
        return;
    }
    out.pair("TargetName", &target.iqn);
    for (address, tag) in addresses {
        out.pair("TargetAddress", format_args!("{address},{tag}"));
    }
}

/// Those of the groups that the initiator may log in to; if so configured, only of those that it has reached.
fn addresses(catalog: &Catalog, target: &Target, session: &Established) -> Vec<(SocketAddr, u16)> {
    let mut found = Vec::new();
    let own_only = catalog.discovery.own_portal_only;
    let is_shown =
        |g: &&Tpg| g.admits(&session.initiator, session.peer) && (!own_only || g.listens_at(session.local));
    for group in target.tpgs.iter().filter(is_shown) {
        for address in group.portals.iter().filter_map(|portal| reachable(*portal, session.local)) {
            if !found.contains(&(address, group.tag)) {
                found.push((address, group.tag));
            }
        }
    }
    found
}

/// The address of `portal` for one who came to `local`. A wildcard is the very address that the
/// initiator has reached, if the wildcard is of its family; a loopback or link-local address is of no use elsewhere.
fn reachable(portal: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
    let here = local.ip().to_canonical();
    let ip = portal.ip().to_canonical();
    if !ip.is_unspecified() {
        let in_reach = !ip.is_loopback() || here.is_loopback();
        let on_link = [0, scope(local)].contains(&scope(portal));
        return (in_reach && on_link).then(|| plain(ip, portal.port()));
    }
    // Its port may be another than the one that the initiator came to.
    portal_covers(portal, SocketAddr::new(here, portal.port())).then(|| plain(here, portal.port()))
}

/// Without an interface number, which means nothing to another host.
fn plain(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::session::keys::{Negotiated, SessionType};
    use crate::target::{Acl, Discovery};

    const INITIATOR: &str = "iqn.2026-01.a.initiator:one";

    fn group(tag: u16, portals: &[&str], open: bool) -> Tpg {
        let acl = Acl { initiator: INITIATOR.into(), ..Acl::default() };
        Tpg {
            tag,
            relative_port: tag,
            portals: portals.iter().map(|p| p.parse().unwrap()).collect(),
            acls: if tag == 9 { vec![acl] } else { vec![] },
            open,
            ..Tpg::default()
        }
    }

    fn target(name: &str, tpgs: Vec<Tpg>) -> Arc<Target> {
        Arc::new(Target { iqn: format!("iqn.2026-01.a.target:{name}"), alias: None, redirect: None, tpgs })
    }

    fn catalog() -> Catalog {
        let targets = vec![
            target("any4", vec![group(1, &["0.0.0.0:3260"], true)]),
            target("any6", vec![group(1, &["[::]:3260", "0.0.0.0:3260"], true)]),
            target("closed", vec![group(1, &["0.0.0.0:3260"], false)]),
            target(
                "two",
                vec![
                    group(9, &["192.0.2.7:3260", "[2001:db8::7]:3261"], false),
                    group(2, &["127.0.0.1:3260"], true),
                    group(3, &["192.0.2.9:3260"], false),
                ],
            ),
        ];
        Catalog { targets, ..Catalog::default() }
    }

    fn session(initiator: &str, local: &str, target: Option<Arc<Target>>) -> Established {
        let session_type = if target.is_some() { SessionType::Normal } else { SessionType::Discovery };
        Established {
            negotiated: Negotiated { session_type, ..Negotiated::default() },
            isid: [0; 6],
            cid: 0,
            joins: None,
            target,
            discovery: Arc::default(),
            tpg: 0,
            luns: vec![],
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            stat_sn: 0,
            initiator: initiator.into(),
            chap: None,
            local: local.parse().unwrap(),
            peer: "192.0.2.100".parse().unwrap(),
            itt: 0,
        }
    }

    fn ask(session: &mut Established, text: &str) -> String {
        let text = text.replace(';', "\0");
        let answer = answer(&catalog(), session, text.as_bytes()).unwrap();
        String::from_utf8(answer).unwrap().replace("iqn.2026-01.a.target:", "").replace('\0', ";")
    }

    #[test]
    fn all_that_one_may_log_in_to() {
        let mut visitor = session(INITIATOR, "192.0.2.1:3260", None);
        assert_eq!(
            ask(&mut visitor, "SendTargets=All;"),
            "TargetName=any4;TargetAddress=192.0.2.1:3260,1;\
             TargetName=any6;TargetAddress=192.0.2.1:3260,1;\
             TargetName=two;TargetAddress=192.0.2.7:3260,9;TargetAddress=[2001:db8::7]:3261,9;"
        );
        let mut stranger = session("iqn.2026-01.a.initiator:two", "192.0.2.1:3260", None);
        assert!(!ask(&mut stranger, "SendTargets=All;").contains("two"));
    }

    #[test]
    fn wildcards_are_shown_as_the_address_that_was_reached() {
        let mut six = session(INITIATOR, "[2001:db8::1]:3260", None);
        let answer = ask(&mut six, "SendTargets=All;");
        assert!(
            answer.starts_with("TargetName=any6;TargetAddress=[2001:db8::1]:3260,1;TargetName=two;"),
            "{answer}"
        );
        let mut mapped = session(INITIATOR, "[::ffff:192.0.2.1]:3260", None);
        assert!(
            ask(&mut mapped, "SendTargets=All;")
                .starts_with("TargetName=any4;TargetAddress=192.0.2.1:3260,1;")
        );
        let mut link_local = session(INITIATOR, "[fe80::1%2]:3260", None);
        assert!(ask(&mut link_local, "SendTargets=All;").contains("TargetAddress=[fe80::1]:3260,1;"));
    }

    #[test]
    fn loopback_portals_are_for_those_who_came_by_loopback() {
        let mut here = session(INITIATOR, "127.0.0.1:3260", None);
        assert!(ask(&mut here, "SendTargets=All;").contains("TargetAddress=127.0.0.1:3260,2;"));
        let mut there = session(INITIATOR, "192.0.2.1:3260", None);
        assert!(!ask(&mut there, "SendTargets=All;").contains("127.0.0.1"));
    }

    #[test]
    fn link_local_portals_are_for_those_on_their_link() {
        let group = group(1, &["[fe80::1%2]:3260"], true);
        let catalog = Catalog { targets: vec![target("link", vec![group])], ..Catalog::default() };
        let shown = |local| {
            let answer =
                answer(&catalog, &mut session(INITIATOR, local, None), b"SendTargets=All\0").unwrap();
            String::from_utf8(answer).unwrap()
        };
        assert!(shown("[fe80::1%2]:3260").contains("TargetAddress=[fe80::1]:3260,1\0"));
        assert_eq!(shown("[fe80::7%3]:3260"), "");
        assert_eq!(shown("[2001:db8::1]:3260"), "");
    }

    #[test]
    fn groups_that_the_initiator_may_not_come_to_from_there_are_not_shown() {
        let shown = |from: &str| {
            let from = vec![from.parse().unwrap()];
            let group = Tpg { from, ..group(1, &["192.0.2.1:3260"], true) };
            let catalog = Catalog { targets: vec![target("far", vec![group])], ..Catalog::default() };
            let mut visitor = session(INITIATOR, "192.0.2.1:3260", None);
            !answer(&catalog, &mut visitor, b"SendTargets=All\0").unwrap().is_empty()
        };
        assert!(shown("192.0.2.0/24") && !shown("198.51.100.0/24"));
    }

    #[test]
    fn only_groups_that_were_reached_if_so_configured() {
        let discovery = Discovery { own_portal_only: true, ..Discovery::default() };
        let catalog = Catalog { discovery: discovery.into(), ..catalog() };
        let mut visitor = session(INITIATOR, "192.0.2.7:3260", None);
        let answer = answer(&catalog, &mut visitor, b"SendTargets=All\0").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.contains("TargetAddress=192.0.2.7:3260,9\0TargetAddress=[2001:db8::7]:3261,9\0"),
            "{answer}"
        );
        let mut elsewhere = session(INITIATOR, "192.0.2.1:3260", None);
        let answer = super::answer(&catalog, &mut elsewhere, b"SendTargets=All\0").unwrap();
        assert!(!String::from_utf8(answer).unwrap().contains("target:two"));
    }

    #[test]
    fn by_name() {
        let mut visitor = session(INITIATOR, "192.0.2.1:3260", None);
        let named = "TargetName=any4;TargetAddress=192.0.2.1:3260,1;";
        assert_eq!(ask(&mut visitor, "SendTargets=iqn.2026-01.A.target:any4;"), named);
        assert_eq!(ask(&mut visitor, "SendTargets=iqn.2026-01.a.target:closed;"), "");
        assert_eq!(ask(&mut visitor, "SendTargets=iqn.2026-01.a.target:none;"), "");
        assert_eq!(ask(&mut visitor, "SendTargets=nonsense;"), "");
        assert_eq!(ask(&mut visitor, "SendTargets=;"), "SendTargets=Reject;");
    }

    #[test]
    fn a_normal_session_learns_of_its_own_target() {
        let mut normal = session(INITIATOR, "192.0.2.1:3260", Some(Arc::clone(&catalog().targets[0])));
        let own = "TargetName=any4;TargetAddress=192.0.2.1:3260,1;";
        assert_eq!(ask(&mut normal, "SendTargets=;"), own);
        assert_eq!(ask(&mut normal, "SendTargets=iqn.2026-01.a.target:any4;"), own);
        assert_eq!(ask(&mut normal, "SendTargets=iqn.2026-01.a.target:any6;"), "");
        assert_eq!(ask(&mut normal, "SendTargets=All;"), "SendTargets=Reject;");
    }

    #[test]
    fn other_keys_of_the_full_feature_phase() {
        let mut normal = session(INITIATOR, "192.0.2.1:3260", Some(Arc::clone(&catalog().targets[0])));
        let answer =
            ask(&mut normal, "MaxRecvDataSegmentLength=4096;MaxBurstLength=512;X-a.b=1;IFMarker=Yes;");
        assert_eq!(answer, "MaxBurstLength=Reject;X-a.b=NotUnderstood;IFMarker=No;");
        assert_eq!(normal.negotiated.max_xmit_data_segment_length, 4096);
        assert_eq!(ask(&mut normal, "InitiatorAlias=x;"), "");
    }

    #[test]
    fn texts_without_an_answer() {
        let mut visitor = session(INITIATOR, "192.0.2.1:3260", None);
        let mut fault = |text: &[u8]| answer(&catalog(), &mut visitor, text).unwrap_err();
        assert_eq!(fault(b"nonsense\0"), Fault::Text(TextError::NoEquals));
        assert_eq!(fault(b"SendTargets=All\0SendTargets=All\0"), KeyError::Repeated("SendTargets").into());
        let illegal = KeyError::Illegal("MaxRecvDataSegmentLength");
        assert_eq!(fault(b"MaxRecvDataSegmentLength=0\0"), illegal.into());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..300), value in "\\PC{0,40}") {
            let mut visitor = session(INITIATOR, "192.0.2.1:3260", None);
            let _ = answer(&catalog(), &mut visitor, &text);
            let _ = answer(&catalog(), &mut visitor, format!("SendTargets={value}\0").as_bytes());
        }
    }
}

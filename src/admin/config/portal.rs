//! Portals: addresses to listen on, whether it is safe to let anybody in through them, what their connections are set
//! to, and where initiators are sent that come there.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::time::Duration;

use super::file::{FilePortal, FileRedirect, Value};
use super::problem::{At, Problem};
use super::reader::Word;
use super::resolve::{Bounds, Resolver};
use super::words;
use crate::admin::listen::is_covered;
use crate::admin::socket::{Keepalive, SocketOptions};
use crate::sys;
use crate::target::{Catalog, Redirect, Target, portal_covers};

/// The registered port of iSCSI.
pub const DEFAULT_PORT: u16 = 3260;

const EXAMPLE: &str = "write one like 192.0.2.1:3260, [2001:db8::1]:3260 or 0.0.0.0:3260";

/// Reads `ADDR:PORT` or `ADDR`, whose port is then 3260. A link-local address has the interface of its link behind it:
/// `[fe80::1%eth0]:3260`.
pub fn parse_portal(text: &str, at: impl Into<At>) -> Result<SocketAddr, Problem> {
    let at = at.into();
    let (address, interface) = parse_address(text).ok_or_else(|| {
        let what = format!("\"{text}\" is not an address and a port");
        let reason = "discovery tells initiators addresses, so a portal is one; names are not looked up";
        Problem::error(at.clone(), what, reason, EXAMPLE)
    })?;
    on_link(address, interface).map_err(|(what, remedy)| {
        Problem::error(at, format!("{text}: {what}"), "a link-local address is another on each link", remedy)
    })
}

/// The address and, if it has one, the name or number of its interface.
fn parse_address(text: &str) -> Option<(SocketAddr, Option<&str>)> {
    let Some((before, after)) = text.split_once('%') else { return Some((plain_address(text)?, None)) };
    let end = after.find([']', ':']).unwrap_or(after.len());
    let (interface, rest) = after.split_at(end);
    let named = !interface.is_empty() && !interface.contains('%');
    plain_address(&format!("{before}{rest}")).filter(|a| a.is_ipv6() && named).map(|a| (a, Some(interface)))
}

fn plain_address(text: &str) -> Option<SocketAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = || bracketed.unwrap_or(text).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DEFAULT_PORT));
    text.parse().or_else(|_| bare()).ok()
}

/// The address with the number of its link.
fn on_link(address: SocketAddr, interface: Option<&str>) -> Result<SocketAddr, (String, &'static str)> {
    let v6 = match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6,
        _ if interface.is_some() => {
            return Err((
                "it is not link-local, and has no interface".into(),
                "leave out the % and what follows",
            ));
        }
        _ => return Ok(address),
    };
    let remedy = "write the interface behind it, like fe80::1%eth0 (`ip link` lists them)";
    let name = interface.ok_or_else(|| ("which interface is it on?".into(), remedy))?;
    let number = name.parse().ok().filter(|n| *n != 0).or_else(|| sys::interface(name));
    let number = number.ok_or_else(|| (format!("there is no interface {name}"), remedy))?;
    Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, number).into())
}

/// What is said of a portal.
#[derive(Debug, Clone)]
pub struct PortalConfig {
    /// The portal, as groups list it.
    pub address: SocketAddr,
    /// What its connections are set to.
    pub options: SocketOptions,
    /// Where its visitors are sent.
    pub redirect: Option<Redirect>,
}

/// `[[portal]]`. What it says must have an effect, and nobody may be sent in a circle.
pub(super) fn resolve(
    files: Vec<FilePortal>,
    targets: &[Target],
    cx: &mut Resolver<'_>,
) -> Vec<PortalConfig> {
    let listed: Vec<SocketAddr> =
        targets.iter().flat_map(|t| &t.tpgs).flat_map(|g| &g.portals).copied().collect();
    let mut portals: Vec<PortalConfig> = Vec::new();
    let mut sent = Vec::new();
    for file in files {
        let at = file.here.or_at(&file.address);
        let Some(address) = address(&file, cx) else { continue };
        if portals.iter().any(|p| p.address == address) {
            let what = format!("there is a [[portal]] {address} already");
            cx.error(at.clone(), what, "only one of them could count", "put both together");
        }
        check_listed(address, &listed, at, cx);
        check_taken(&file, address, &listed, cx);
        let options = options(&file, cx);
        let span = file.redirect.as_ref().map(|redirect| redirect.here.span.clone());
        let redirect = file.redirect.and_then(|file| redirect(file, cx));
        sent.extend(span.zip(redirect).map(|(span, redirect)| (span, address, redirect)));
        portals.push(PortalConfig { address, options, redirect });
    }
    check_circles(&sent, targets, &listed, cx);
    portals
}

fn address(file: &FilePortal, cx: &mut Resolver<'_>) -> Option<SocketAddr> {
    let Some(value) = &file.address else {
        cx.missing(&file.here, "[[portal]]", "address", "\"192.0.2.1:3260\"");
        return None;
    };
    parse_portal(value.get_ref(), value).map_err(|problem| cx.push(problem)).ok()
}

fn check_listed(address: SocketAddr, listed: &[SocketAddr], at: Range<usize>, cx: &mut Resolver<'_>) {
    if listed.contains(&address) {
        return;
    }
    let have: Vec<String> = listed.iter().map(SocketAddr::to_string).collect();
    let remedy = words::suggestion(&address.to_string(), have.iter().map(String::as_str));
    cx.error(at, format!("no group listens at {address}"), "what is said here would have no effect", remedy);
}

/// One socket takes the connections of several portals: that of the wildcard. It is that which can be set.
fn check_taken(file: &FilePortal, address: SocketAddr, listed: &[SocketAddr], cx: &mut Resolver<'_>) {
    let FilePortal {
        dscp,
        pcp,
        keepalive,
        keepalive_interval,
        keepalive_probes,
        user_timeout,
        congestion,
        zero_copy,
        ..
    } = file;
    let spans = [
        dscp.as_ref().map(|v| v.span()),
        pcp.as_ref().map(|v| v.span()),
        keepalive.as_ref().map(|v| v.span()),
        keepalive_interval.as_ref().map(|v| v.span()),
        keepalive_probes.as_ref().map(|v| v.span()),
        user_timeout.as_ref().map(|v| v.span()),
        congestion.as_ref().map(|v| v.span()),
        zero_copy.as_ref().map(|v| v.span()),
    ];
    if let Some(span) = spans.into_iter().flatten().next().filter(|_| is_covered(address, listed)) {
        let what = format!("{address} has no socket of its own that could be set");
        let reason = "the socket of the wildcard address of its port takes its connections";
        cx.error(span, what, reason, "say it of the wildcard's [[portal]], or list addresses instead of it");
    }
}

/// A priority code point (IEEE 802.1Q).
const PCP: Bounds = Bounds { min: 0, max: 7, reason: "IEEE 802.1Q has three bits for it" };

/// The widest that the kernel takes (TCP_KEEPIDLE, TCP_KEEPINTVL), milliseconds.
const KEEPALIVE: Bounds =
    Bounds { min: 0, max: 32_767_000, reason: "the kernel takes no other (0: no keepalive)" };

const INTERVAL: Bounds = Bounds { min: 1000, max: 32_767_000, reason: "the kernel takes no other" };

const PROBES: Bounds = Bounds { min: 1, max: 127, reason: "the kernel takes no other" };

const USER_TIMEOUT: Bounds = Bounds {
    min: 1000,
    max: 86_400_000,
    reason: "less ends connections at the first lost packets, and nobody waits longer than a day",
};

fn options(file: &FilePortal, cx: &mut Resolver<'_>) -> SocketOptions {
    let idle = cx.period(&file.keepalive, &KEEPALIVE);
    let off = idle == Some(Duration::ZERO);
    let keepalive = Keepalive {
        idle,
        interval: cx.period(&file.keepalive_interval, &INTERVAL),
        probes: cx.number(&file.keepalive_probes, &PROBES),
    };
    check_whole_seconds(&file.keepalive, "the kernel counts those", cx);
    check_whole_seconds(&file.keepalive_interval, "the kernel counts those", cx);
    SocketOptions {
        dscp: file.dscp.as_ref().and_then(|value| dscp(value, cx)),
        pcp: cx.number(&file.pcp, &PCP).and_then(|pcp| u8::try_from(pcp).ok()),
        keepalive: (!off).then_some(keepalive),
        user_timeout: cx.period(&file.user_timeout, &USER_TIMEOUT),
        congestion: congestion(&file.congestion, cx),
        zero_copy: file.zero_copy.as_ref().is_some_and(|v| *v.get_ref()),
    }
}

/// `why` no fraction of a second can be had.
pub(super) fn check_whole_seconds(value: &Value<Word>, why: &str, cx: &mut Resolver<'_>) {
    let Some(value) = value else { return };
    let period = crate::admin::period::parse(&value.get_ref().0).unwrap_or_default();
    if period.subsec_millis() != 0 {
        cx.error(value, "this is not a whole number of seconds", why, "round it");
    }
}

/// The names of code points (RFC 2474, 2597, 3246, 5865 and 8622).
const CODE_POINTS: [(&str, u8); 23] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

fn dscp(value: &toml::Spanned<Word>, cx: &mut Resolver<'_>) -> Option<u8> {
    let word = &value.get_ref().0;
    let named = CODE_POINTS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, point)| *point);
    let point = named.or_else(|| word.parse().ok().filter(|point| *point < 64));
    if point.is_none() {
        let remedy = "write a number from 0 to 63, or a name: cs0 to cs7, af11 to af43, ef, va or le";
        let what = format!("\"{word}\" is no differentiated services code point");
        cx.error(value, what, "it has six bits (RFC 2474)", remedy);
    }
    point
}

/// As long as the kernel's names may be.
const CONGESTION_MAX: usize = 15;

fn congestion(value: &Value<String>, cx: &mut Resolver<'_>) -> Option<String> {
    let value = value.as_ref()?;
    let name = value.get_ref();
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !(1..=CONGESTION_MAX).contains(&name.len()) || !name.bytes().all(in_name) {
        let remedy = "choose from /proc/sys/net/ipv4/tcp_available_congestion_control, like \"bbr\"";
        cx.error(value, format!("\"{name}\" is no congestion control"), "", remedy);
        return None;
    }
    Some(name.clone())
}

/// Where initiators are to go instead.
pub(super) fn redirect(file: FileRedirect, cx: &mut Resolver<'_>) -> Option<Redirect> {
    let Some(value) = &file.to else {
        cx.missing(&file.here, "redirect", "to", "\"192.0.2.2:3260\"");
        return None;
    };
    let text = value.get_ref();
    let Some(to) = parse_destination(text) else {
        let what = format!("\"{text}\" is not an address to which others can be sent");
        let reason = "initiators are told it as it stands; names are not looked up, and links are not theirs";
        cx.error(value, what, reason, "write one like 192.0.2.2:3260 or [2001:db8::2]:3260");
        return None;
    };
    Some(Redirect { to, permanent: file.permanent.is_some_and(|v| *v.get_ref()) })
}

/// Reads an address to which others can be sent; the port is 3260 by default.
pub fn parse_destination(text: &str) -> Option<SocketAddr> {
    let (to, interface) = parse_address(text)?;
    (interface.is_none() && can_be_reached(to)).then_some(to)
}

fn can_be_reached(to: SocketAddr) -> bool {
    let on_a_link = matches!(to.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    !to.ip().is_unspecified() && to.port() != 0 && !on_a_link
}

/// Follows every redirection as long as it stays on this host: whoever is sent must get somewhere.
fn check_circles(
    sent: &[(Range<usize>, SocketAddr, Redirect)],
    targets: &[Target],
    listed: &[SocketAddr],
    cx: &mut Resolver<'_>,
) {
    let redirects = sent.iter().map(|(_, portal, redirect)| (*portal, *redirect)).collect();
    let catalog = Catalog { redirects, ..Catalog::default() };
    for (span, portal, redirect) in sent {
        if portal == &redirect.to || circles(redirect, None, &catalog, listed) {
            told(span.clone(), "", redirect, cx);
        }
    }
    for (iqn, span) in std::mem::take(&mut cx.moved) {
        let Some(target) = targets.iter().find(|t| t.iqn == iqn) else { continue };
        let Some(redirect) = &target.redirect else { continue };
        if circles(redirect, Some(redirect), &catalog, listed) {
            told(span, "", redirect, cx);
        } else if ours(redirect.to, listed) && target.tpg_at(redirect.to).is_none() {
            told(span, ", where no group of this target listens", redirect, cx);
        }
    }
}

fn told(span: Range<usize>, where_to: &str, redirect: &Redirect, cx: &mut Resolver<'_>) {
    let what = format!("initiators are sent to {}, a portal of this file{where_to}", redirect.to);
    let reason = if where_to.is_empty() { "and from there back again" } else { "and are refused there" };
    cx.error(span, what, reason, "send them to an address that serves them");
}

fn ours(address: SocketAddr, listed: &[SocketAddr]) -> bool {
    listed.iter().any(|portal| portal_covers(*portal, address))
}

/// Whether one who is sent to an address of ours is sent on from there without end.
fn circles(first: &Redirect, target: Option<&Redirect>, catalog: &Catalog, listed: &[SocketAddr]) -> bool {
    let mut at = first.to;
    let mut seen = Vec::new();
    while ours(at, listed) {
        if seen.contains(&at) {
            return true;
        }
        seen.push(at);
        let next = catalog.redirect_at(at).or_else(|| target.filter(|t| t.moves(at)).copied());
        let Some(next) = next else { return false };
        at = next.to;
    }
    false
}

/// Refuses a portal that others can reach when nobody is asked who he is there.
/// `remedy` says what to do in the words of where the portal was named.
pub fn check_open(portal: SocketAddr, at: impl Into<At>, remedy: &str) -> Result<(), Problem> {
    if portal.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let what = format!("{portal} would let anybody in who can reach it");
    let reason = "initiators that nobody listed are asked for no secret there, and it is no loopback address";
    Err(Problem::error(at, what, reason, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_portal() {
        let read = |text| parse_portal(text, At::Whole).map(|p| p.to_string()).ok();
        assert_eq!(read("192.0.2.1:3261").as_deref(), Some("192.0.2.1:3261"));
        assert_eq!(read("192.0.2.1").as_deref(), Some("192.0.2.1:3260"));
        assert_eq!(read("[::]:3260").as_deref(), Some("[::]:3260"));
        assert_eq!(read("::1").as_deref(), Some("[::1]:3260"));
        assert_eq!(read("[::1]").as_deref(), Some("[::1]:3260"));
        for bad in
            ["", "localhost", "host:3260", "1.2.3.4:70000", ":3260", "1.2.3.4:", "%", "[%]:1", "1.2.3.4%lo"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn link_local_addresses_have_an_interface() {
        let read = |text| parse_portal(text, At::Whole).map_err(|p| p.to_string());
        let number = sys::interface("lo").unwrap();
        let numbered = format!("[fe80::1%{number}]:3261");
        for text in ["[fe80::1%lo]:3261", &numbered] {
            assert_eq!(read(text), Ok(numbered.parse().unwrap()));
        }
        assert_eq!(read("fe80::1%lo"), read("[fe80::1%lo]:3260"));
        assert!(read("fe80::1").unwrap_err().contains("which interface is it on?"));
        assert!(read("[fe80::1%nowhere]:3260").unwrap_err().contains("there is no interface nowhere"));
        assert!(read("[2001:db8::1%lo]:3260").unwrap_err().contains("it is not link-local"));
        for bad in ["fe80::1%", "fe80::1%lo%lo", "[fe80::1%lo", "fe80::%lo]x", "192.0.2.1%lo"] {
            let told = read(bad);
            assert!(told.is_err(), "{bad}: {told:?}");
        }
    }

    #[test]
    fn only_loopback_may_be_open() {
        let open = |text: &str| check_open(text.parse().unwrap(), At::Whole, "").is_ok();
        assert!(open("127.0.0.1:1") && open("[::1]:1") && open("[::ffff:127.0.0.1]:1"));
        assert!(!open("0.0.0.0:1") && !open("[::]:1") && !open("192.0.2.1:1"));
    }
}

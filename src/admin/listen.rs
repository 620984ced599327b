//! Listeners for the portals of a configuration.
//!
//! Owns: which sockets it takes so that every portal is listened at. Promises: portals that overlap
//! are no error: one socket on a wildcard address serves the others of its port. Refuses to know: who accepts.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::inherited::Inherited;
use super::socket::{Refused, SocketOptions};
use crate::sys;

/// How long an address in use is waited for: a predecessor that was killed holds it until the
/// kernel has taken its ring down.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(50);

/// A portal that is to be listened at.
#[derive(Debug, Clone)]
pub struct Portal {
    /// The portal as configured.
    pub address: SocketAddr,
    /// What its connections are set to, if a socket is made for it: one of another portal may take its connections.
    pub options: SocketOptions,
}

impl From<SocketAddr> for Portal {
    fn from(address: SocketAddr) -> Self {
        Self { address, options: SocketOptions::default() }
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Bound {
    /// What it was made for.
    pub plan: Plan,
    /// Where it really listens: port 0 asks for any free one.
    pub got: SocketAddr,
    /// The socket, in blocking mode.
    pub listener: TcpListener,
}

/// A portal that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("{address}: cannot be listened at: {error}; {remedy}")]
pub struct ListenError {
    /// The portal.
    pub address: SocketAddr,
    /// Why.
    pub error: Failed,
    /// What to do.
    pub remedy: String,
}

/// All portals that cannot be listened at, a line for each.
#[derive(Debug)]
pub struct ListenErrors(pub Vec<ListenError>);

impl std::error::Error for ListenErrors {}

impl fmt::Display for ListenErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ListenError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Failed {
    /// There can be no such listener.
    Bind(#[from] io::Error),
    /// It cannot be set as configured.
    Option(#[from] Refused),
}

/// A socket to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Where it is to listen.
    pub address: SocketAddr,
    /// Leave IPv4 to a socket of its own.
    pub only_v6: bool,
    /// What its connections are set to.
    pub options: SocketOptions,
}

/// Listens at all `portals`, with fewer sockets where they overlap. An address in use is waited for
/// as long as `patience` (see [`PATIENCE`]).
///
/// # Errors
/// The portals that cannot be listened at, and what to do.
#[cfg(test)]
pub(super) fn listen(portals: &[Portal], patience: Duration) -> Result<Vec<Bound>, ListenErrors> {
    let none = Inherited::default();
    make(&plan(portals, &none), &none, patience)
}

/// Makes the sockets that are not there yet. Those in use are waited for as long together.
///
/// # Errors
/// All that cannot be made, and what to do; then none is.
pub fn make(plans: &[Plan], inherited: &Inherited, patience: Duration) -> Result<Vec<Bound>, ListenErrors> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + patience;
    for plan in plans {
        match bind(plan, inherited, deadline) {
            Ok(bound) => all.push(bound),
            // A machine without IPv6 can serve a configuration that asks for both.
            Err(Failed::Bind(e)) if plan.only_v6 && lacks_family(&e) => {
                tracing::warn!("{}: this machine has no IPv6; left out", plan.address);
            }
            Err(error) => {
                let held = inherited.remedy(plan.address).filter(|_| is_taken(&error));
                let remedy = held.unwrap_or_else(|| remedy(&error).to_owned());
                wrong.push(ListenError { address: plan.address, error, remedy });
            }
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(ListenErrors(wrong)) }
}

/// The sockets that cover all portals. One that is there already takes what arrives at its address, whatever else does.
pub fn plan(portals: &[Portal], inherited: &Inherited) -> Vec<Plan> {
    let addresses: Vec<SocketAddr> = portals.iter().map(|p| p.address).collect();
    let mut plans: Vec<Plan> = Vec::new();
    for Portal { address, options } in portals {
        let is_known = plans.iter().any(|plan| plan.address == *address);
        if !is_known && (inherited.has(*address) || !is_covered(*address, &addresses)) {
            let beside_v4 = has_wildcard(&addresses, Ipv4Addr::UNSPECIFIED, address.port());
            let only_v6 = address.is_ipv6() && beside_v4;
            plans.push(Plan { address: *address, only_v6, options: options.clone() });
        }
    }
    plans
}

/// Whether the socket of another portal takes what arrives at this one.
pub(super) fn is_covered(address: SocketAddr, portals: &[SocketAddr]) -> bool {
    let has = |wildcard: IpAddr| has_wildcard(portals, wildcard, address.port());
    let (v4, v6) = (has(Ipv4Addr::UNSPECIFIED.into()), has(Ipv6Addr::UNSPECIFIED.into()));
    // A wildcard is covered by nothing: beside one of IPv4, that of IPv6 takes IPv6 only.
    !address.ip().is_unspecified() && (v6 || (v4 && address.is_ipv4()))
}

/// Whether that wildcard is a portal of that port. Port 0 becomes another port each time.
fn has_wildcard(portals: &[SocketAddr], wildcard: impl Into<IpAddr>, port: u16) -> bool {
    port != 0 && portals.contains(&SocketAddr::new(wildcard.into(), port))
}

fn bind(plan: &Plan, inherited: &Inherited, deadline: Instant) -> Result<Bound, Failed> {
    let open = || inherited.of(plan).unwrap_or_else(|| sys::listen(plan.address, plan.only_v6));
    loop {
        match open() {
            Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => sleep(PAUSE),
            Err(e) => return Err(e.into()),
            Ok(listener) => {
                plan.options.apply(&listener, plan.address)?;
                let got = listener.local_addr()?;
                return Ok(Bound { plan: plan.clone(), got, listener });
            }
        }
    }
}

fn is_taken(error: &Failed) -> bool {
    matches!(error, Failed::Bind(error) if error.kind() == ErrorKind::AddrInUse)
}

fn lacks_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn remedy(error: &Failed) -> &'static str {
    let error = match error {
        Failed::Option(refused) => return refused.remedy,
        Failed::Bind(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "another program listens there: find it with `ss -ltnp`, or use another port"
        }
        Some(libc::EADDRNOTAVAIL) => "it is not an address of this machine (see `ip addr`)",
        Some(libc::EAFNOSUPPORT) => "this machine has no IPv6: use 0.0.0.0 instead of [::]",
        Some(libc::EINVAL | libc::ENODEV) => "a link-local address needs its interface: fe80::1%eth0",
        Some(libc::EACCES) => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "see the address in the configuration",
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn at(address: &str) -> Portal {
        address.parse::<SocketAddr>().unwrap().into()
    }

    fn planned(portals: &[&str]) -> Vec<(String, bool)> {
        let portals: Vec<Portal> = portals.iter().map(|p| at(p)).collect();
        plan(&portals, &Inherited::default())
            .iter()
            .map(|plan| (plan.address.to_string(), plan.only_v6))
            .collect()
    }

    fn one(address: &str, only_v6: bool) -> (String, bool) {
        (address.into(), only_v6)
    }

    #[test]
    fn each_portal_once() {
        assert_eq!(planned(&["192.0.2.1:3260", "192.0.2.1:3260"]), [one("192.0.2.1:3260", false)]);
        assert_eq!(planned(&["192.0.2.1:3260", "192.0.2.1:3261"]).len(), 2);
    }

    #[test]
    fn a_wildcard_serves_the_others_of_its_port() {
        let v4 = ["192.0.2.1:3260", "0.0.0.0:3260", "[2001:db8::1]:3260", "192.0.2.1:3261"];
        assert_eq!(planned(&v4).len(), 3);
        assert_eq!(
            planned(&["192.0.2.1:3260", "[2001:db8::1]:3260", "[::]:3260"]),
            [one("[::]:3260", false)]
        );
    }

    #[test]
    fn both_wildcards_share_a_port_by_family() {
        let both = planned(&["0.0.0.0:3260", "[::]:3260"]);
        assert_eq!(both, [one("0.0.0.0:3260", false), one("[::]:3260", true)]);
        assert_eq!(planned(&["0.0.0.0:0", "[::]:0"]), [one("0.0.0.0:0", false), one("[::]:0", false)]);
    }

    #[test]
    fn both_families_are_listened_at() {
        let free = listen(&[at("0.0.0.0:0")], Duration::ZERO).unwrap();
        let port = free[0].got.port();
        drop(free);
        let portals = [SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0u16; 8], port))];
        let bound = listen(&portals.map(Portal::from), PATIENCE).unwrap();
        assert_eq!(bound.len(), 2);
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn an_address_in_use_or_foreign_is_told_with_the_remedy() {
        let first = listen(&[at("127.0.0.1:0")], Duration::ZERO).unwrap();
        assert_ne!(first[0].got.port(), 0);
        let e = listen(&[first[0].got.into()], Duration::from_millis(60)).unwrap_err();
        assert!(e.to_string().contains("ss -ltnp"), "{e}");
        let e = listen(&[at("192.0.2.77:0")], Duration::ZERO).unwrap_err();
        assert!(e.to_string().contains("ip addr"), "{e}");
        let both = [first[0].got.into(), at("192.0.2.77:0"), at("127.0.0.1:0")];
        let e = listen(&both, Duration::ZERO).unwrap_err().to_string();
        assert!(
            e.lines().count() == 2 && e.contains("ss -ltnp") && e.contains("ip addr"),
            "all at once: {e}"
        );
    }
}

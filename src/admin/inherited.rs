//! Listening sockets that the service manager has opened for this process (sd_listen_fds(3)).
//!
//! Owns: them, as long as the daemon lives; what listens at a portal is a duplicate. Promises: the manager keeps them
//! over a restart, so whoever connects meanwhile is not refused but waits. What no portal is for is told of, and kept: it
//! listens all the same, as the manager has it, too, and a portal may come. Refuses to know: who else listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::{IPPROTO_IPV6, SOL_SOCKET, c_int};

use super::listen::Plan;
use super::socket;
use crate::sys;

/// The sockets that are held for this process.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Held>);

/// A socket that the manager holds, too.
#[derive(Debug)]
struct Held {
    /// As the manager calls it.
    name: String,
    address: SocketAddr,
    /// It leaves IPv4 to others.
    only_v6: bool,
    listener: TcpListener,
}

impl Inherited {
    /// Takes over what the service manager has for this process. What is no TCP listener is told of and closed.
    pub fn take() -> Self {
        let all = sys::inherited().unwrap_or_else(|error| {
            tracing::warn!("the sockets of the service manager are not taken over: {error}");
            Vec::new()
        });
        all.into_iter().collect()
    }

    /// Tells of those that none of these is for.
    pub fn tell_unused(&self, plans: &[Plan]) {
        for held in self.0.iter().filter(|held| !plans.iter().any(|plan| held.is_for(plan))) {
            let like = plans.iter().find(|plan| plan.address == held.address);
            tracing::warn!("{held}, {IN_VAIN}: {}", like.map_or(NO_PORTAL, other_families));
        }
    }

    /// What is to be said when the portal at that address is no more, if its socket stays.
    pub(super) fn parting(&self, address: SocketAddr) -> Option<String> {
        let held = self.at(address)?;
        Some(format!("{held}, {IN_VAIN}: take the address out of the socket unit"))
    }

    /// What to do when nobody can listen at an address because of one that is held.
    pub(super) fn remedy(&self, address: SocketAddr) -> Option<String> {
        let held = self.0.iter().find(|held| overlap(held.address, address))?;
        Some(format!("{held}: take that address out of the socket unit, or put this one there"))
    }

    /// Whether one listens at exactly that address.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.at(address).is_some()
    }

    fn at(&self, address: SocketAddr) -> Option<&Held> {
        self.0.iter().find(|held| held.address == address)
    }

    /// The socket for this, in blocking mode and set to nothing; `None` when there is none.
    pub(super) fn of(&self, plan: &Plan) -> Option<io::Result<TcpListener>> {
        self.0.iter().find(|held| held.is_for(plan)).map(Held::anew)
    }
}

/// What becomes of those who connect where no portal is.
const IN_VAIN: &str = "and whoever connects there waits in vain";

const NO_PORTAL: &str = "no portal is there; add one, or take the address out of the socket unit";

/// Whether a socket at one address keeps others from the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// Why a socket at the right address is none for it.
fn other_families(plan: &Plan) -> &'static str {
    if plan.only_v6 {
        "it takes IPv4, for which there is another portal; set BindIPv6Only=ipv6-only in the socket unit"
    } else {
        "it takes IPv6 only, and the portal there IPv4, too; set BindIPv6Only=both in the socket unit"
    }
}

impl FromIterator<(String, OwnedFd)> for Inherited {
    fn from_iter<T: IntoIterator<Item = (String, OwnedFd)>>(all: T) -> Self {
        let held = |(name, socket): (String, OwnedFd)| {
            let of = Held::of(name.clone(), socket);
            of.inspect_err(|why| tracing::warn!("{name}, of the service manager, is closed: {why}")).ok()
        };
        Self(all.into_iter().filter_map(held).collect())
    }
}

impl Held {
    fn of(name: String, socket: OwnedFd) -> io::Result<Self> {
        let number = |level, option| number(socket.as_fd(), level, option);
        let is_listener = number(SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM
            && number(SOL_SOCKET, libc::SO_ACCEPTCONN)? == 1;
        if !is_listener {
            return Err(io::Error::other("it does not listen for streams"));
        }
        let v6_only = number(IPPROTO_IPV6, libc::IPV6_V6ONLY);
        let listener = TcpListener::from(socket);
        // Fails for what has no address of the Internet.
        let address = listener.local_addr()?;
        // A ring waits by itself: a socket that does not wait would keep it busy.
        listener.set_nonblocking(false)?;
        Ok(Self { name, address, only_v6: address.is_ipv6() && v6_only? == 1, listener })
    }

    /// What listens with it. It outlives portals and daemons, and what those have set of it is not for the next.
    fn anew(&self) -> io::Result<TcpListener> {
        if let Err(error) = socket::reset(&self.listener) {
            tracing::warn!("{self}, and keeps some of what it was set to before: {error}");
        }
        self.listener.try_clone()
    }

    /// Whether it takes what this is to take. Only an unspecified address of IPv6 can take IPv4.
    fn is_for(&self, plan: &Plan) -> bool {
        let both = self.address.is_ipv6() && self.address.ip().is_unspecified();
        self.address == plan.address && (!both || self.only_v6 == plan.only_v6)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, of the service manager, listens at {}", self.name, self.address)
    }
}

fn number(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<c_int> {
    let mut value = [0; size_of::<c_int>()];
    sys::option(socket, level, option, &mut value)?;
    Ok(c_int::from_ne_bytes(value))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::admin::listen::{self, Portal};
    use crate::admin::socket::{SocketOptions, all_set};

    fn inherited(sockets: Vec<OwnedFd>) -> Inherited {
        sockets.into_iter().map(|socket| ("ringtgt.socket".to_owned(), socket)).collect()
    }

    fn socket(address: &str, only_v6: bool) -> (SocketAddr, OwnedFd) {
        let listener = sys::listen(address.parse().unwrap(), only_v6).unwrap();
        listener.set_nonblocking(true).unwrap();
        (listener.local_addr().unwrap(), listener.into())
    }

    #[test]
    fn what_does_not_listen_for_streams_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let others = vec![
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            UnixListener::bind(dir.path().join("socket")).unwrap().into(),
            tempfile::tempfile().unwrap().into(),
        ];
        assert!(inherited(others).0.is_empty());
    }

    #[test]
    fn a_portal_has_the_socket_of_its_address_and_the_others_are_opened() {
        let (address, fd) = socket("127.0.0.1:0", false);
        let (alone, beside) = socket("127.0.0.1:0", false);
        let sockets = inherited(vec![fd, beside]);
        let portals = [Portal::from(address), Portal::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())];
        let plans = listen::plan(&portals, &sockets);
        sockets.tell_unused(&plans);
        let early = TcpStream::connect(address).unwrap();
        let bound = listen::make(&plans, &sockets, Duration::ZERO).unwrap();
        assert_eq!(bound[0].got, address);
        assert_ne!(bound[1].got, address);
        let (_, peer) = bound[0].listener.accept().expect("it waits for one, and there is one");
        assert_eq!(peer, early.local_addr().unwrap());
        // What a portal listens with comes and goes; the socket stays, and serves the next one.
        drop(bound);
        TcpStream::connect(address).unwrap();
        listen::make(&plans[..1], &sockets, Duration::ZERO).unwrap();
        // A portal that comes later has the one that nobody has used so far.
        let later = listen::plan(&[Portal::from(alone)], &sockets);
        assert_eq!(listen::make(&later, &sockets, Duration::ZERO).unwrap()[0].got, alone);
    }

    /// Everything that a portal can set of a socket, as it is.
    fn settings(listener: &TcpListener) -> Vec<Option<[u8; 16]>> {
        let options = [
            (SOL_SOCKET, libc::SO_KEEPALIVE),
            (SOL_SOCKET, libc::SO_PRIORITY),
            (SOL_SOCKET, libc::SO_ZEROCOPY),
            (libc::IPPROTO_IP, libc::IP_TOS),
            (IPPROTO_IPV6, libc::IPV6_TCLASS),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION),
        ];
        let of = |(level, option)| {
            let mut value = [0; 16];
            sys::option(listener.as_fd(), level, option, &mut value).ok().map(|_| value)
        };
        options.map(of).to_vec()
    }

    #[test]
    fn a_socket_keeps_nothing_of_what_its_portal_was_set_to_before() {
        let all = all_set();
        let nothing = SocketOptions { keepalive: None, ..SocketOptions::default() };
        for wild in ["127.0.0.1:0", "[::1]:0"] {
            let (address, fd) = socket(wild, false);
            let sockets = inherited(vec![fd]);
            let served = |options: &SocketOptions| {
                let plan = Plan { address, only_v6: false, options: options.clone() };
                settings(&listen::make(&[plan], &sockets, Duration::ZERO).unwrap()[0].listener)
            };
            let new = settings(&sys::listen(wild.parse().unwrap(), false).unwrap());
            assert_ne!(served(&all), new, "{wild}");
            assert_eq!(served(&nothing), new, "{wild}");
            served(&all);
            let other = SocketOptions { user_timeout: all.user_timeout, ..nothing.clone() };
            assert_eq!(served(&other)[8], served(&all)[8], "{wild}: what is said counts");
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let (address, fd) = socket("0.0.0.0:0", false);
        let sockets = inherited(vec![fd]);
        let portal = Portal::from(SocketAddr::from(([127, 0, 0, 1], address.port())));
        let plans = listen::plan(&[portal], &sockets);
        let error = listen::make(&plans, &sockets, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("ringtgt.socket, of the service manager, listens at 0.0.0.0"), "{error}");
        assert!(error.contains("socket unit") && !error.contains("ss -ltnp"), "{error}");
        assert!(sockets.parting(address).is_some_and(|said| said.contains("waits in vain")));
        assert!(sockets.parting("127.0.0.1:1".parse().unwrap()).is_none());
    }

    #[test]
    fn a_portal_that_another_would_serve_has_its_own_socket_all_the_same() {
        let (address, fd) = socket("127.0.0.1:0", false);
        let sockets = inherited(vec![fd]);
        let wild = SocketAddr::from(([0, 0, 0, 0], address.port()));
        let portals = [Portal::from(wild), Portal::from(address)];
        assert_eq!(listen::plan(&portals, &Inherited::default()).len(), 1);
        assert_eq!(listen::plan(&portals, &sockets).len(), 2);
    }

    #[test]
    fn a_socket_of_other_families_is_none_for_a_wildcard() {
        let (address, fd) = socket("[::]:0", true);
        let sockets = inherited(vec![fd]);
        let [both, v6] = [false, true].map(|only_v6| Plan { address, only_v6, options: Default::default() });
        assert!(sockets.of(&both).is_none());
        assert!(sockets.of(&v6).is_some());
    }
}

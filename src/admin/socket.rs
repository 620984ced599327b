//! What the connections of a portal are set to.
//!
//! Set on the listener before anybody can connect: the kernel gives every connection what its listener has, so that
//! it costs nothing later, holds from the first packet on, and a setting that the kernel refuses is told at start.

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET, c_int};

use super::period;
use crate::sys;

/// Settings of a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// The differentiated services code point of what is sent (RFC 2474), if not the system's choice.
    pub dscp: Option<u8>,
    /// The priority of what is sent (SO_PRIORITY), if not zero: on a VLAN the priority code point (IEEE 802.1Q), as the
    /// interface maps it (`egress-qos-map`). The kernel does not hand it down from the listener; a reactor does.
    pub pcp: Option<u8>,
    /// When the kernel asks whether a silent peer is still there; none: never.
    pub keepalive: Option<Keepalive>,
    /// How long sent data may be without acknowledgement before the connection is given up, if not as long as the
    /// system likes (TCP_USER_TIMEOUT).
    pub user_timeout: Option<Duration>,
    /// The congestion control, if not the system's choice.
    pub congestion: Option<String>,
    /// Long answers are sent without copies. The kernel keeps the mark for whoever sends (SO_ZEROCOPY); a reactor asks
    /// for it when a connection enters full feature phase.
    pub zero_copy: bool,
}

/// The pace of keepalive; what is none is the system's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes without an answer that end a connection.
    pub probes: Option<u16>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        let keepalive = Some(Keepalive::default());
        Self { dscp: None, pcp: None, keepalive, user_timeout: None, congestion: None, zero_copy: false }
    }
}

/// A setting that the kernel does not take.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refuses {setting}: {error}")]
pub struct Refused {
    /// As it stands in the configuration.
    pub setting: String,
    /// Why.
    pub error: io::Error,
    /// What to do.
    pub remedy: &'static str,
}

impl SocketOptions {
    /// Gives `listener`, and with it every connection that it takes, these settings.
    ///
    /// # Errors
    /// The first setting that the kernel refuses.
    pub fn apply(&self, listener: &TcpListener, address: SocketAddr) -> Result<(), Refused> {
        let socket = listener.as_fd();
        if let Some(dscp) = self.dscp {
            mark(socket, address, dscp).map_err(|e| refused("dscp", dscp, e))?;
        }
        // After the code point, from which the kernel makes a priority too.
        if let Some(pcp) = self.pcp {
            let set = sys::set_int(socket, SOL_SOCKET, libc::SO_PRIORITY, pcp.into());
            set.map_err(|e| refused("pcp", pcp, e))?;
        }
        if let Some(keepalive) = &self.keepalive {
            keepalive.apply(socket)?;
        }
        if let Some(timeout) = self.user_timeout {
            let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
            let set = sys::set_int(socket, IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis);
            set.map_err(|e| refused("user_timeout", period::show(timeout), e))?;
        }
        if let Some(name) = &self.congestion {
            let set = sys::set_option(socket, IPPROTO_TCP, libc::TCP_CONGESTION, name.as_bytes());
            set.map_err(|e| refused("congestion", name, e))?;
        }
        if self.zero_copy {
            let set = sys::set_int(socket, SOL_SOCKET, libc::SO_ZEROCOPY, 1);
            set.map_err(|e| refused("zero_copy", true, e))?;
        }
        Ok(())
    }
}

/// All that a listener can be set to here: the code points before the priority, which the kernel makes of them, too.
const ALL: [(c_int, c_int); 10] = [
    (IPPROTO_IPV6, libc::IPV6_TCLASS),
    (IPPROTO_IP, libc::IP_TOS),
    (SOL_SOCKET, libc::SO_PRIORITY),
    (SOL_SOCKET, libc::SO_KEEPALIVE),
    (IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (IPPROTO_TCP, libc::TCP_KEEPCNT),
    (IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (IPPROTO_TCP, libc::TCP_CONGESTION),
    (SOL_SOCKET, libc::SO_ZEROCOPY),
];

/// Takes back what a listener was set to: it is then as a new socket is, on this system as it is now.
///
/// # Errors
/// The kernel does not take something of that.
pub(super) fn reset(listener: &TcpListener) -> io::Result<()> {
    let new = sys::tcp_socket(listener.local_addr()?.is_ipv6())?;
    ALL.into_iter().try_for_each(|(level, option)| copy(new.as_fd(), listener.as_fd(), level, option))
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<()> {
    // The longest is the name of a congestion control.
    let (mut wanted, mut is) = ([0; 16], [0; 16]);
    // What this kernel, or IPv4, does not have was never set.
    let Ok(len) = sys::option(from, level, option, &mut wanted) else { return Ok(()) };
    sys::option(to, level, option, &mut is)?;
    if is == wanted { Ok(()) } else { sys::set_option(to, level, option, &wanted[..len]) }
}

impl Keepalive {
    fn apply(&self, socket: BorrowedFd<'_>) -> Result<(), Refused> {
        let probes = c_int::from(self.probes.unwrap_or_default());
        sys::set_int(socket, SOL_SOCKET, libc::SO_KEEPALIVE, 1).map_err(|e| refused("keepalive", true, e))?;
        let period = |key, option, value: Option<Duration>| match value {
            Some(value) => sys::set_int(socket, IPPROTO_TCP, option, seconds(value))
                .map_err(|e| refused(key, period::show(value), e)),
            None => Ok(()),
        };
        period("keepalive", libc::TCP_KEEPIDLE, self.idle)?;
        period("keepalive_interval", libc::TCP_KEEPINTVL, self.interval)?;
        if probes == 0 {
            return Ok(());
        }
        sys::set_int(socket, IPPROTO_TCP, libc::TCP_KEEPCNT, probes)
            .map_err(|e| refused("keepalive_probes", probes, e))
    }
}

/// The code point is the upper six bits of a byte. A listener of IPv6 may take IPv4 too, which has its own.
fn mark(socket: BorrowedFd<'_>, address: SocketAddr, dscp: u8) -> io::Result<()> {
    let byte = c_int::from(dscp) << 2;
    if address.is_ipv6() {
        sys::set_int(socket, IPPROTO_IPV6, libc::IPV6_TCLASS, byte)?;
    }
    sys::set_int(socket, IPPROTO_IP, libc::IP_TOS, byte)
}

fn seconds(period: Duration) -> c_int {
    c_int::try_from(period.as_secs()).unwrap_or(c_int::MAX)
}

fn refused(key: &str, value: impl Display, error: io::Error) -> Refused {
    let remedy = match (key, error.raw_os_error()) {
        ("congestion", Some(libc::ENOENT)) => {
            "load it (modprobe tcp_NAME), or choose from /proc/sys/net/ipv4/tcp_available_congestion_control"
        }
        ("congestion", Some(libc::EPERM)) => {
            "add it to the sysctl net.ipv4.tcp_allowed_congestion_control, or start with CAP_NET_ADMIN"
        }
        ("pcp", Some(libc::EPERM)) => "choose one from 0 to 6, or start with CAP_NET_ADMIN",
        _ => "remove the line, or choose another value",
    };
    Refused { setting: format!("{key} = {value}"), error, remedy }
}

/// Every option, set to something that no system has by itself.
#[cfg(test)]
pub(super) fn all_set() -> SocketOptions {
    let keepalive = Keepalive {
        idle: Some(Duration::from_secs(61)),
        interval: Some(Duration::from_secs(7)),
        probes: Some(3),
    };
    SocketOptions {
        dscp: Some(26),
        pcp: Some(5),
        keepalive: Some(keepalive),
        user_timeout: Some(Duration::from_millis(31_500)),
        congestion: Some("reno".into()),
        zero_copy: true,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::admin::listen::{Portal, listen};

    /// A connection that the portal has accepted.
    fn accepted(address: &str, options: SocketOptions) -> (TcpStream, TcpStream) {
        let portal = Portal { address: address.parse().unwrap(), options };
        let bound = listen(&[portal], Duration::ZERO).unwrap();
        let client = TcpStream::connect(bound[0].got).unwrap();
        (bound[0].listener.accept().unwrap().0, client)
    }

    fn number(stream: &TcpStream, level: c_int, option: c_int) -> c_int {
        let mut value = [0; 4];
        assert_eq!(sys::option(stream.as_fd(), level, option, &mut value).unwrap(), 4);
        c_int::from_ne_bytes(value)
    }

    #[test]
    fn an_accepted_connection_has_what_its_portal_is_set_to() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let options = all_set();
            let portal = Portal { address: address.parse().unwrap(), options: options.clone() };
            let bound = listen(&[portal], Duration::ZERO).unwrap();
            let mut priority = [0; 4];
            sys::option(bound[0].listener.as_fd(), SOL_SOCKET, libc::SO_PRIORITY, &mut priority).unwrap();
            assert_eq!(c_int::from_ne_bytes(priority), 5, "for the reactor to hand down");
            let (stream, _client) = accepted(address, options);
            assert_eq!(number(&stream, SOL_SOCKET, libc::SO_KEEPALIVE), 1);
            assert_eq!(number(&stream, IPPROTO_TCP, libc::TCP_KEEPIDLE), 61);
            assert_eq!(number(&stream, IPPROTO_TCP, libc::TCP_KEEPINTVL), 7);
            assert_eq!(number(&stream, IPPROTO_TCP, libc::TCP_KEEPCNT), 3);
            assert_eq!(number(&stream, IPPROTO_TCP, libc::TCP_USER_TIMEOUT), 31_500);
            assert_eq!(number(&stream, IPPROTO_IP, libc::IP_TOS), 26 << 2, "{address}");
            if address == "[::1]:0" {
                assert_eq!(number(&stream, IPPROTO_IPV6, libc::IPV6_TCLASS), 26 << 2);
            }
            assert_eq!(number(&stream, SOL_SOCKET, libc::SO_ZEROCOPY), 1);
            let mut name = [0; 16];
            let len = sys::option(stream.as_fd(), IPPROTO_TCP, libc::TCP_CONGESTION, &mut name).unwrap();
            assert_eq!(name[..len].split(|b| *b == 0).next(), Some(&b"reno"[..]));
        }
    }

    #[test]
    fn keepalive_can_be_off_and_is_on_by_default() {
        let (on, _client) = accepted("127.0.0.1:0", SocketOptions::default());
        assert_eq!(number(&on, SOL_SOCKET, libc::SO_KEEPALIVE), 1);
        assert_eq!(number(&on, SOL_SOCKET, libc::SO_ZEROCOPY), 0, "which is off by default");
        let (off, _client) =
            accepted("127.0.0.1:0", SocketOptions { keepalive: None, ..SocketOptions::default() });
        assert_eq!(number(&off, SOL_SOCKET, libc::SO_KEEPALIVE), 0);
    }

    #[test]
    fn what_the_kernel_refuses_is_named() {
        let options = SocketOptions { congestion: Some("nonsense".into()), ..SocketOptions::default() };
        let portal = Portal { address: "127.0.0.1:0".parse().unwrap(), options };
        let told = listen(&[portal], Duration::ZERO).unwrap_err().to_string();
        assert!(
            told.starts_with(
                "127.0.0.1:0: cannot be listened at: the kernel refuses congestion = nonsense: "
            ),
            "{told}"
        );
        assert!(told.contains("tcp_available_congestion_control"), "{told}");
    }
}

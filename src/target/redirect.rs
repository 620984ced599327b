//! Initiators that are sent elsewhere.

use std::net::SocketAddr;

/// Where an initiator is to log in instead (RFC 7143 section 11.13.5, status class 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The other address.
    pub to: SocketAddr,
    /// For good: the initiator may forget the old address. Else the next login comes here again.
    pub permanent: bool,
}

impl Redirect {
    /// Whether it sends one on who has arrived at `local`. Who is there already is served: nobody goes in a circle.
    pub fn moves(&self, local: SocketAddr) -> bool {
        let plain = |a: SocketAddr| (a.ip().to_canonical(), a.port());
        plain(self.to) != plain(local)
    }
}

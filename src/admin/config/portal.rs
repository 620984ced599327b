//! Portals: addresses to listen on, and whether it is safe to let anybody in through them.

use std::net::{IpAddr, SocketAddr};

use super::problem::{At, Problem};

/// The registered port of iSCSI.
pub const DEFAULT_PORT: u16 = 3260;

/// Reads `ADDR:PORT` or `ADDR`, whose port is then 3260.
pub fn parse_portal(text: &str, at: impl Into<At>) -> Result<SocketAddr, Problem> {
    let with_port = text.parse::<SocketAddr>();
    let bare = || text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DEFAULT_PORT));
    with_port.or_else(|_| bare()).map_err(|_| {
        let what = format!("\"{text}\" is not an address and a port");
        let reason = "discovery tells initiators addresses, so a portal is one; names are not looked up";
        Problem::error(at, what, reason, "write one like 192.0.2.1:3260, [2001:db8::1]:3260 or 0.0.0.0:3260")
    })
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
        for bad in ["", "localhost", "host:3260", "1.2.3.4:70000", ":3260", "1.2.3.4:"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_loopback_may_be_open() {
        let open = |text: &str| check_open(text.parse().unwrap(), At::Whole, "").is_ok();
        assert!(open("127.0.0.1:1") && open("[::1]:1") && open("[::ffff:127.0.0.1]:1"));
        assert!(!open("0.0.0.0:1") && !open("[::]:1") && !open("192.0.2.1:1"));
    }
}

//! Ranges of addresses, from which initiators may come.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Bits before the IPv4 address in one that is IPv4-mapped.
const MAPPED: u32 = 96;

/// All addresses of a family that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

impl Network {
    /// That address alone.
    pub(super) fn host(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix: width(first) }
    }

    /// Whether that address is one of them. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4()
            && (bits(address) ^ bits(self.first)).checked_shr(128 - self.prefix).unwrap_or(0) == 0
    }

    /// IPv4-mapped addresses are the IPv4 addresses. A shorter prefix than theirs has bits set behind it.
    fn canonical(self) -> Self {
        let Self { first, prefix } = self;
        match (first.to_canonical(), prefix.checked_sub(MAPPED)) {
            (IpAddr::V4(_), Some(prefix)) if first.is_ipv6() => Self { first: first.to_canonical(), prefix },
            _ => self,
        }
    }

    /// Whether it has every address of its family.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// What is wrong with a network that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// It has not that form.
    #[error("\"{0}\" is no address and no network")]
    Form(String),
    /// It names one address and many.
    #[error("{address} has bits set behind the first {prefix}")]
    NotTheFirst {
        /// The address.
        address: IpAddr,
        /// Bits of the network.
        prefix: u32,
    },
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// An address, or one with the length of the network's prefix or with its netmask behind a slash.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork::Form(text.to_owned());
        let (address, behind) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix =
            behind.map_or_else(|| Some(width(first)), |behind| prefix(behind, first)).ok_or_else(wrong)?;
        if bits(first).checked_shl(prefix).unwrap_or(0) != 0 {
            return Err(NotANetwork::NotTheFirst { address: first, prefix });
        }
        Ok(Self { first, prefix }.canonical())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.prefix == width(self.first) { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address, from the left.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn prefix(text: &str, address: IpAddr) -> Option<u32> {
    // Numbers are read with a sign, too.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain).filter(|n| *n <= width(address));
    let masked = || {
        let mask = text.parse::<Ipv4Addr>().ok().filter(|_| address.is_ipv4())?.to_bits();
        (mask.leading_ones() + mask.trailing_zeros() >= 32).then(|| mask.leading_ones())
    };
    number.or_else(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        let has = |text: &str, address: &str| network(text).contains(address.parse().unwrap());
        assert!(has("192.0.2.0/24", "192.0.2.255") && !has("192.0.2.0/24", "192.0.3.0"));
        assert!(has("192.0.2.128/255.255.255.128", "192.0.2.129"));
        assert!(!has("192.0.2.128/255.255.255.128", "192.0.2.127"));
        assert!(has("192.0.2.1", "::ffff:192.0.2.1") && !has("192.0.2.1", "192.0.2.2"));
        assert!(has("2001:db8::/32", "2001:db8:ffff::1") && !has("2001:db8::/32", "2001:db9::"));
        assert!(has("::ffff:192.0.2.0/120", "192.0.2.9") && !has("::ffff:192.0.2.0/120", "192.0.3.9"));
        assert!(has("::ffff:0.0.0.0/96", "192.0.2.1") && !has("::ffff:0.0.0.0/96", "2001:db8::1"));
        assert!(has("0.0.0.0/0", "192.0.2.1") && !has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("::/0", "2001:db8::1") && !has("::/0", "192.0.2.1"));
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in ["192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "2001:db8::1", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.0.2.0/255.255.255.0").to_string(), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.0/120").to_string(), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.1").to_string(), "192.0.2.1");
        assert!(network("::/0").is_everything() && !network("::1").is_everything());
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "host",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2/24",
            "::/129",
            "::/255.0.0.0",
            "192.0.2.0/+24",
        ] {
            assert!(matches!(text.parse::<Network>(), Err(NotANetwork::Form(_))), "{text}");
        }
        assert!(matches!("192.0.2.0/255.0.255.0".parse::<Network>(), Err(NotANetwork::Form(_))));
        let mapped = "::ffff:192.0.2.0/95".parse::<Network>();
        assert!(matches!(mapped, Err(NotANetwork::NotTheFirst { prefix: 95, .. })));
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!("192.0.2.1/24".parse::<Network>(), Err(NotANetwork::NotTheFirst { address, prefix: 24 }));
    }
}

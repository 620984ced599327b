//! The addresses of this host, as the kernel lists them.

use std::fs;
use std::net::Ipv6Addr;

/// All of them, for completion.
pub(super) fn addresses() -> Vec<String> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let mut all = v4(&read("/proc/net/fib_trie"));
    all.extend(read("/proc/net/if_inet6").lines().filter_map(v6));
    all
}

/// The trie says behind an address what it is.
fn v4(trie: &str) -> Vec<String> {
    let (mut found, mut last) = (Vec::new(), "");
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" {
            found.push(last.to_owned());
        }
    }
    found
}

/// A line begins with the address and ends with its interface, which a link-local one names.
fn v6(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    let address = Ipv6Addr::from(u128::from_str_radix(fields.next()?, 16).ok()?);
    match fields.last().filter(|_| address.is_unicast_link_local()) {
        Some(link) => Some(format!("{address}%{link}")),
        None => Some(address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lists_is_read() {
        let trie = "Main:\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        \
                    /32 host LOCAL\n     |-- 127.255.255.255\n        /32 link BROADCAST\n     |-- 192.0.2.7\n        \
                    /24 link UNICAST\n        /32 host LOCAL\n";
        assert_eq!(v4(trie), ["127.0.0.1", "192.0.2.7"]);
        let lines = [
            "fe8000000000000000fc00fffe000001 04 40 20 80     eth0",
            "00000000000000000000000000000001 01 80 10 80       lo",
            "nonsense",
        ];
        let read: Vec<String> = lines.into_iter().filter_map(v6).collect();
        assert_eq!(read, ["fe80::fc:ff:fe00:1%eth0", "::1"]);
        assert!(addresses().contains(&"127.0.0.1".to_owned()), "this host has that: {:?}", addresses());
    }
}

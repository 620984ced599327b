//! iSCSI names in a configuration, and the one that a host gets when nobody chose.

use super::problem::{At, Problem};

/// The prefix of names that are made here.
const OWN_PREFIX: &str = "iqn.2026-11.org.ringtgt:";

/// The normalised form of an iSCSI name, or what is wrong with it.
pub fn check_iqn(text: &str, at: impl Into<At>) -> Result<String, Problem> {
    crate::wire::name::normalise(text).map_err(|error| {
        let remedy = "write a name like iqn.2026-11.org.example:disks (RFC 7143 section 4.2.7)";
        Problem::error(at, format!("\"{text}\" is no iSCSI name: {error}"), "", remedy)
    })
}

/// The target name for a host of that name: the same whenever it is asked.
pub fn default_iqn(hostname: &str) -> String {
    let kept: String = hostname.trim().to_ascii_lowercase().chars().map(in_name).take(100).collect();
    let kept = kept.trim_matches(['-', '.']);
    format!("{OWN_PREFIX}{}", if kept.is_empty() { "localhost" } else { kept })
}

fn in_name(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_gets_a_name() {
        assert_eq!(default_iqn("Disk_Server.example\n"), "iqn.2026-11.org.ringtgt:disk-server.example");
        assert_eq!(default_iqn("é"), "iqn.2026-11.org.ringtgt:localhost");
        for host in ["a", "", "-x-", "日本"] {
            assert!(check_iqn(&default_iqn(host), At::Whole).is_ok(), "{host}");
        }
    }
}

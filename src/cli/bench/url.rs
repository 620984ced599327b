//! `iscsi://[user[%secret]@]host[:port]/target-name/lun`, as libiscsi's tools write it.
//!
//! Owns: the reading of it. Promises: what is shown never has the secret.

use std::fmt;

use secrecy::SecretString;

use crate::wire::name;

/// The port of iSCSI (RFC 7143 section 4.2.7.1).
const PORT: u16 = 3260;

/// Where a logical unit is, and who asks for it.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Url {
    /// The CHAP user name.
    pub(super) user: Option<String>,
    /// Its secret; better in a file or the environment than here.
    pub(super) secret: Option<SecretString>,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) target: String,
    pub(super) lun: u16,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat a secret.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("iscsi://").ok_or("it must begin with iscsi://")?;
        // A secret may have any separator in it, and no name of a host or a target has an @.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, secret) = login.map_or((None, None), who);
        let (place, path) = rest
            .split_once('/')
            .filter(|(_, path)| is_name(path))
            .ok_or("after host:port there must be /TARGET_NAME/LUN, like /iqn.2026-11.org.example:disk/0")?;
        // An address has one in its brackets only; a secret without its @ would be taken for the name of a host, and told.
        if !place.starts_with('[') && place.contains('%') {
            return Err("what has a % must end with @, before the host".into());
        }
        let (host, port) = host_and_port(place)?;
        let (target, lun) =
            path.rsplit_once('/').ok_or("the number of the LUN is missing at the end, like /0")?;
        let target = name::normalise(target).map_err(|error| format!("target name \"{target}\": {error}"))?;
        let lun = lun.parse().ok().filter(|lun| *lun < 1 << 14);
        let lun = lun.ok_or("the LUN at the end must be a number below 16384")?;
        if user.as_deref() == Some("") {
            return Err("the user name before @ is empty".into());
        }
        Ok(Self { user, secret, host, port, target, lun })
    }
}

/// Whether a target's name begins here (RFC 7143 section 4.2.7.1).
fn is_name(text: &str) -> bool {
    ["iqn.", "eui.", "naa."].iter().any(|kind| text.starts_with(kind))
}

fn who(login: &str) -> (Option<String>, Option<SecretString>) {
    match login.split_once('%') {
        Some((user, secret)) => (Some(user.into()), Some(secret.into())),
        None => (Some(login.into()), None),
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("an address in [ must end with ]")?;
            (host, rest.strip_prefix(':').or_else(|| (!rest.is_empty()).then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port.map_or(Ok(PORT), str::parse) {
        Ok(port) if port > 0 && host.is_empty() => Err(format!("the host before port {port} is missing")),
        Ok(port) if port > 0 => Ok((host.into(), port)),
        _ => Err("the port must be a number from 1 to 65535 (and an IPv6 address in brackets)".into()),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("iscsi://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let Self { host, port, target, lun, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")?;
        } else {
            write!(f, "{host}:{port}")?;
        }
        write!(f, "/{target}/{lun}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn all_parts_are_read_and_the_secret_is_not_shown() {
        let url = Url::parse("iscsi://joe%p@ss%w:rd@[fe80::1]:860/iqn.2026-11.a:b/7").unwrap();
        assert_eq!(url.secret.as_ref().unwrap().expose_secret(), "p@ss%w:rd");
        assert_eq!(url.to_string(), "iscsi://joe@[fe80::1]:860/iqn.2026-11.a:b/7");
        assert!(!format!("{url:?}").contains("p@ss"));
        let url = Url::parse("iscsi://joe%a/iqn.b/0@c@host/iqn.2026-11.a:b/7").unwrap();
        assert_eq!(url.secret.as_ref().unwrap().expose_secret(), "a/iqn.b/0@c");
        assert_eq!((url.host.as_str(), url.target.as_str(), url.lun), ("host", "iqn.2026-11.a:b", 7));
        let url = Url::parse("iscsi://host/IQN.2026-11.a:B/0");
        assert!(url.is_err(), "the name begins in small letters: {url:?}");
        let url = Url::parse("iscsi://host/iqn.2026-11.a:B/0").unwrap();
        assert_eq!((url.user.is_none(), url.port, url.target.as_str()), (true, PORT, "iqn.2026-11.a:b"));
        assert!(Url::parse("iscsi://::1/iqn.2026-11.a:b/0").unwrap_err().contains("brackets"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (text, word) in [
            ("http://h/iqn.2026-11.a:b/0", "iscsi://"),
            ("iscsi://h", "TARGET_NAME"),
            ("iscsi://h/iqn.2026-11.a:b", "LUN"),
            ("iscsi://h/iqn.2026-11.a:b/x", "LUN"),
            ("iscsi://h/iqn.2026-11.a:b/16384", "16384"),
            ("iscsi:///iqn.2026-11.a:b/0", "host"),
            ("iscsi://u%secret@h:0/iqn.2026-11.a:b/0", "port"),
            ("iscsi://u%secret@[::1/iqn.2026-11.a:b/0", "]"),
            ("iscsi://u%secret@[::1]x/iqn.2026-11.a:b/0", "port"),
            ("iscsi://@h/iqn.2026-11.a:b/0", "user"),
            ("iscsi://u%secret/iqn.2026-11.a:b/0", "@"),
            ("iscsi://u%secret/iqn.2026-11.a:secret@h/0", "TARGET_NAME"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(word) && !error.contains("secret"), "{text}: {error}");
        }
    }
}

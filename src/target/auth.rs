//! What an initiator must prove, and what the target proves in turn.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// CHAP hash algorithms by their IANA "PPP Authentication Algorithms" numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ChapAlgorithm {
    /// 5, RFC 1994.
    Md5,
    /// 6.
    Sha1,
    /// 7.
    Sha256,
    /// 8.
    Sha3_256,
}

/// A user name and its secret. The secret is zeroized on drop and never printed.
#[derive(Clone)]
pub struct Credential {
    /// CHAP_N.
    pub user: String,
    /// The shared secret.
    pub secret: SecretString,
}

impl Credential {
    /// Whether somebody can log in by it: neither half is missing.
    pub fn is_whole(&self) -> bool {
        !self.user.is_empty() && !self.secret.expose_secret().is_empty()
    }

    /// Whether both halves are missing: it only demands credentials, of which there are none.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.secret.expose_secret().is_empty()
    }
}

impl PartialEq for Credential {
    /// For an administrator's changes; whoever logs in is judged elsewhere, in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.secret.expose_secret() == other.secret.expose_secret()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Credentials for one door: those that an initiator may show, and the one that the target shows back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Auth {
    /// Any one of these lets the initiator in; none: nothing is asked.
    pub chap: Vec<Credential>,
    /// What the target answers to an initiator that challenges it.
    pub mutual: Option<Credential>,
}

impl Auth {
    /// Whether AuthMethod=None is out of the question.
    pub fn required(&self) -> bool {
        !self.chap.is_empty()
    }
}

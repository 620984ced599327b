//! CHAP secrets on their way from a file into the catalogue.
//!
//! A secret lives in a [`SecretString`] from the moment it is read, never in a message, and only in
//! files that nobody but their owner can read.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use zeroize::Zeroizing;

/// Below this many bytes a CHAP secret can be found by trying (RFC 7143 section 9.2.1 asks for 96 bits).
pub const SHORT: usize = 12;

/// What is said about a short secret, why, and what to do.
pub const SHORT_WHAT: &str = "the secret has fewer than 12 bytes";
/// See [`SHORT_WHAT`].
pub const SHORT_REASON: &str = "whoever hears a login can find it by trying (RFC 7143 section 9.2.1 asks for 96 bits unless the network \
     is protected), and some initiators refuse it";
/// See [`SHORT_WHAT`].
pub const SHORT_REMEDY: &str = "choose a longer one (openssl rand -base64 18 makes one)";

/// The longest secret: as long as a text value may be (RFC 7143 section 6.1).
pub const MAX: usize = 255;

/// A secret as written in a configuration file. Its deserializer never quotes it in an error.
#[derive(Clone, Debug)]
pub struct SecretText(pub SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SecretText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(text.into()))
            }
            // The default would name the number in its message.
            fn visit_i64<E: Error>(self, _: i64) -> Result<SecretText, E> {
                Err(E::custom("a secret must be a string"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It could not be read.
    #[error("cannot read the secret: {0}")]
    Read(#[from] io::Error),
    /// Others than its owner can read it.
    #[error("the file's mode is {mode:04o}: others than its owner can read the secret")]
    Mode {
        /// The permission bits.
        mode: u32,
    },
    /// It is empty, too long, or no text.
    #[error("the file must hold one line of 1 to {MAX} bytes of text: the secret")]
    Content,
}

impl SecretFileError {
    /// What to do about it.
    pub fn remedy(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Read(_) => format!("make {path} a file that ringtgt can read"),
            Self::Mode { .. } => format!("chmod 600 {path}"),
            Self::Content => format!("write the secret, and nothing else, to {path}"),
        }
    }
}

/// The permission bits in `mode` that let others than the owner at a file.
pub fn exposed(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// The secret in the file at `path`: its content less one final line end.
pub fn read_file(path: &Path) -> Result<SecretString, SecretFileError> {
    let mut file = fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if exposed(mode) {
        return Err(SecretFileError::Mode { mode });
    }
    // Room for the longest secret and its line end, so that no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(MAX + 3));
    (&mut file).take(MAX as u64 + 3).read_to_string(&mut text).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => SecretFileError::Content,
        _ => SecretFileError::Read(e),
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.len() > MAX || line.contains('\n') {
        return Err(SecretFileError::Content);
    }
    Ok(line.into())
}

/// Whether two secrets are the same. Both are the administrator's own, so time tells nobody anything.
pub fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

/// Whether a secret is shorter than RFC 7143 section 9.2.1 wants it on a network that others can hear.
pub fn is_short(secret: &SecretString) -> bool {
    secret.expose_secret().len() < SHORT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(dir: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
        let path = dir.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn one_line_is_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b"correct horse"[..], b"correct horse\n", b"correct horse\r\n"] {
            let secret = read_file(&file(&dir, content, 0o600)).unwrap();
            assert_eq!(secret.expose_secret(), "correct horse");
        }
    }

    #[test]
    fn others_must_not_read_it() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let error = read_file(&file(&dir, b"s", mode)).unwrap_err();
            assert!(matches!(error, SecretFileError::Mode { mode: m } if m == mode));
        }
        assert!(read_file(&file(&dir, b"s", 0o400)).is_ok());
    }

    #[test]
    fn nonsense_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"\n", b"two\nlines\n", &[0xff, 0xfe], &[b'x'; 256], &[b'x'; 5000]] {
            assert!(matches!(read_file(&file(&dir, content, 0o600)), Err(SecretFileError::Content)));
        }
        assert!(matches!(read_file(&dir.path().join("absent")), Err(SecretFileError::Read(_))));
    }

    #[test]
    fn never_printed() {
        let text = SecretText("hunter2hunter2".into());
        assert!(!format!("{text:?}").contains("hunter2"));
    }
}

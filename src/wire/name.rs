//! iSCSI names: `iqn.`, `eui.` and `naa.` (RFC 7143 section 4.2.7).
//!
//! Names are compared in one normal form. Of RFC 3722's preparation the ASCII part is done here
//! (lower case, no white space); a name with other characters is refused, because without
//! normalisation two spellings of it could mean different initiators.

use std::fmt;

/// The longest name (section 4.2.7.1), bytes.
pub const NAME_MAX: usize = 223;

/// Why something is not an iSCSI name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Longer than [`NAME_MAX`].
    #[error("longer than {NAME_MAX} bytes")]
    TooLong,
    /// Begins with no known type.
    #[error("begins neither with 'iqn.' nor 'eui.' nor 'naa.'")]
    UnknownType,
    /// Has a character that names do not have.
    #[error("has the character {0:?}; ASCII letters, digits, '-', '.', ':' and '_' are possible")]
    Character(char),
    /// An `iqn.` name without date and naming authority.
    #[error("an iqn name is 'iqn.YYYY-MM.' and a reversed domain name")]
    Authority,
    /// An `eui.` name without 16 hexadecimal digits.
    #[error("an eui name has 16 hexadecimal digits")]
    Eui,
    /// A `naa.` name without 16 or 32 hexadecimal digits.
    #[error("a naa name has 16 or 32 hexadecimal digits")]
    Naa,
}

/// The normal form of `name`.
pub fn normalise(name: &str) -> Result<String, NameError> {
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    if let Some(stranger) = name.chars().find(|c| !belongs(*c)) {
        return Err(NameError::Character(stranger));
    }
    let name = name.to_ascii_lowercase();
    check(&name)?;
    Ok(name)
}

/// RFC 3722 has no underscore, but names in the field have it, and as an identifier it is harmless.
fn belongs(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_')
}

fn check(name: &str) -> Result<(), NameError> {
    if let Some(rest) = name.strip_prefix("iqn.") {
        has_authority(rest).then_some(()).ok_or(NameError::Authority)
    } else if let Some(rest) = name.strip_prefix("eui.") {
        hexadecimal(rest, &[16]).then_some(()).ok_or(NameError::Eui)
    } else if let Some(rest) = name.strip_prefix("naa.") {
        hexadecimal(rest, &[16, 32]).then_some(()).ok_or(NameError::Naa)
    } else {
        Err(NameError::UnknownType)
    }
}

/// `YYYY-MM.` and then something that begins like a domain name.
fn has_authority(rest: &str) -> bool {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'.', first, ..] = rest.as_bytes() else { return false };
    let digits = [y1, y2, y3, y4, m1, m2].iter().all(u8::is_ascii_digit);
    let month = matches!((m1, m2), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2'));
    digits && month && first.is_ascii_alphanumeric()
}

fn hexadecimal(digits: &str, lengths: &[usize]) -> bool {
    lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A name for a log line: whatever a peer sent, printable and short.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(NAME_MAX).try_for_each(|c| write!(f, "{}", c.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_types() {
        for name in [
            "iqn.2001-04.com.example:storage:diskarrays-sn-a8675309",
            "iqn.1991-05.com.microsoft:my_host",
            "iqn.2001-04.com.example",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
        ] {
            assert_eq!(normalise(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn upper_case_is_the_same_name() {
        assert_eq!(normalise("IQN.2001-04.COM.Example:A").unwrap(), "iqn.2001-04.com.example:a");
        assert_eq!(normalise("eui.02004567A425678D").unwrap(), "eui.02004567a425678d");
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(normalise(""), Err(NameError::UnknownType));
        assert_eq!(normalise("disk"), Err(NameError::UnknownType));
        assert_eq!(normalise("iqn.2001-13.com.example"), Err(NameError::Authority));
        assert_eq!(normalise("iqn.2001-04."), Err(NameError::Authority));
        assert_eq!(normalise("iqn.2001-04.com.example:a b"), Err(NameError::Character(' ')));
        assert_eq!(normalise("iqn.2001-04.com.exämple"), Err(NameError::Character('ä')));
        assert_eq!(normalise("eui.02004567a425678"), Err(NameError::Eui));
        assert_eq!(normalise("naa.52004567ba64678g"), Err(NameError::Naa));
        let longest = format!("iqn.2001-04.com.{}", "a".repeat(NAME_MAX - 16));
        assert!(normalise(&longest).is_ok());
        assert_eq!(normalise(&format!("{longest}a")), Err(NameError::TooLong));
    }

    #[test]
    fn hostile_names_print_tamely() {
        assert_eq!(Shown("a\u{1b}[2J\n").to_string(), "a\\u{1b}[2J\\n");
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(name in "[Ii]qN\\.20[0-9]{2}-0[1-9]\\.[a-zA-Z][-a-zA-Z0-9.:]{0,40}") {
            let once = normalise(&name).unwrap();
            prop_assert_eq!(normalise(&once).unwrap(), once);
        }

        #[test]
        fn anything_is_survived(name in "\\PC{0,300}") {
            let _ = normalise(&name);
        }
    }
}

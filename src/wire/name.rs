//! iSCSI names: `iqn.`, `eui.` and `naa.` (RFC 7143 section 4.2.7).
//!
//! Names are compared in one normal form, that of RFC 3722: case folded, in Unicode's form KC, without the
//! characters that it prohibits. Two spellings of a name are one initiator, and no two initiators look alike by it.

use std::borrow::Cow;
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
    #[error("has the character {0:?}; letters, digits, '-', '.', ':' and '_' are possible")]
    Character(char),
    /// Has a character that RFC 3722 prohibits or Unicode 3.2 does not have, or mixes directions of writing.
    #[error("has characters that RFC 3722 does not have in names")]
    Unprepared,
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
    let name = prepare(name)?;
    if let Some(stranger) = name.chars().find(|c| !belongs(*c)) {
        return Err(NameError::Character(stranger));
    }
    // Unicode's form KC may be longer than what was written.
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    check(&name)?;
    Ok(name)
}

/// What RFC 3722 has in common with names of the DNS (RFC 3491): mapping, form KC, prohibited characters, directions.
fn prepare(name: &str) -> Result<String, NameError> {
    if name.is_ascii() {
        return Ok(name.to_ascii_lowercase());
    }
    let prepared = |name: &str| stringprep::nameprep(name).map(Cow::into_owned).ok();
    let once = prepared(name).ok_or(NameError::Unprepared)?;
    // A normal form is its own: characters that are younger than the tables may have none.
    if prepared(&once).as_ref() != Some(&once) {
        return Err(NameError::Unprepared);
    }
    Ok(once)
}

/// Of ASCII little is left (RFC 3722 section 5), and the ideographic full stop looks like a dot. RFC 3722 has no
/// underscore, but names in the field have it, and as an identifier it is harmless.
fn belongs(c: char) -> bool {
    let foreign = !c.is_ascii() && c != '\u{3002}';
    foreign || c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_')
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

    /// RFC 3722 section 3: mapping by tables B.1 and B.2, then form KC.
    #[test]
    fn spellings_of_one_name() {
        let plain = normalise("iqn.2001-04.com.example:größe").unwrap();
        assert_eq!(plain, "iqn.2001-04.com.example:grösse");
        for spelling in ["IQN.2001-04.com.example:GRÖSSE", "iqn.2001-04.com.example:gro\u{308}ße"] {
            assert_eq!(normalise(spelling).unwrap(), plain);
        }
        // Full width letters are letters, and a soft hyphen is nothing.
        assert_eq!(
            normalise("iqn.2001-04.com.example:ＤＩ\u{ad}ＳＫ").unwrap(),
            "iqn.2001-04.com.example:disk"
        );
    }

    #[test]
    fn what_rfc_3722_prohibits() {
        let named = |end: &str| normalise(&format!("iqn.2001-04.com.example:{end}"));
        // Full width, so that only form KC shows what it is.
        assert_eq!(named("a；b"), Err(NameError::Character(';')));
        assert_eq!(named("a。b"), Err(NameError::Character('。')));
        for end in ["a\u{a0}b", "a\u{200e}b", "a\u{e000}", "a\u{fffd}", "a\u{0221}", "aא"] {
            assert!(named(end).is_err(), "{end:?}");
        }
        for c in (0..0x80u8).map(char::from).filter(|c| !belongs(*c)) {
            assert_eq!(named(&format!("é{c}")), Err(NameError::Character(c)), "{c:?}");
        }
        // Each of these characters is eighteen in form KC.
        assert_eq!(named(&"\u{fdfa}".repeat(20)), Err(NameError::Unprepared));
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(normalise(""), Err(NameError::UnknownType));
        assert_eq!(normalise("disk"), Err(NameError::UnknownType));
        assert_eq!(normalise("iqn.2001-13.com.example"), Err(NameError::Authority));
        assert_eq!(normalise("iqn.2001-04."), Err(NameError::Authority));
        assert_eq!(normalise("iqn.2001-04.com.example:a b"), Err(NameError::Character(' ')));
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
        fn anything_is_survived(name in "(iqn\\.2001-04\\.a:)?\\PC{0,300}") {
            if let Ok(once) = normalise(&name) {
                prop_assert!(once.len() <= NAME_MAX);
                prop_assert_eq!(normalise(&once), Ok(once));
            }
        }
    }
}

//! Serial numbers and designators that a configuration chooses: right in form, and nobody else's.

use std::collections::HashMap;

use super::file::{FileBackstore, Value};
use super::resolve::Resolver;
use crate::scsi::T10_MAX;
use crate::store::IdentityOverride;

/// The identities that were given out, and to whom.
#[derive(Default)]
pub(super) struct Identities {
    taken: HashMap<(&'static str, Vec<u8>), String>,
}

/// As much as a serial number may be: initiators keep it in fixed fields.
const SERIAL_MAX: usize = 64;

pub(super) fn resolve(
    file: &FileBackstore,
    identities: &mut Identities,
    cx: &mut Resolver<'_>,
) -> IdentityOverride {
    let mut one = |key, value: &Value<String>, read: fn(&str) -> Result<Vec<u8>, Bad>| {
        identities.read(key, value, read, file, cx)
    };
    let serial = one("serial", &file.serial, parse_serial);
    let naa = one("naa", &file.naa, parse_naa);
    let uuid = one("uuid", &file.uuid, parse_uuid);
    IdentityOverride {
        serial: serial.and_then(|bytes| String::from_utf8(bytes).ok()),
        naa,
        uuid: uuid.and_then(|bytes| bytes.try_into().ok()),
        vendor: label(&file.vendor, "a vendor", 8, cx),
        product: label(&file.product, "a product", 16, cx),
        revision: label(&file.revision, "a revision", 4, cx),
        t10: label(&file.t10, "a T10 name", T10_MAX, cx),
    }
}

/// A text of INQUIRY data, which need not be nobody else's.
fn label(value: &Value<String>, what: &str, most: usize, cx: &mut Resolver<'_>) -> Option<String> {
    let value = value.as_ref()?;
    let text = value.get_ref();
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if printable && !text.starts_with(' ') && !text.ends_with(' ') && (1..=most).contains(&text.len()) {
        return Some(text.clone());
    }
    let remedy = format!("write 1 to {most} printable ASCII characters, none of them a space at an end");
    cx.error(
        value,
        format!("\"{text}\" is not {what}"),
        "initiators get it in a field of that length",
        remedy,
    );
    None
}

struct Bad {
    what: &'static str,
    remedy: &'static str,
}

impl Identities {
    fn read(
        &mut self,
        key: &'static str,
        value: &Value<String>,
        read: fn(&str) -> Result<Vec<u8>, Bad>,
        file: &FileBackstore,
        cx: &mut Resolver<'_>,
    ) -> Option<Vec<u8>> {
        let value = value.as_ref()?;
        let bytes = match read(value.get_ref()) {
            Ok(bytes) => bytes,
            Err(bad) => {
                cx.error(value, format!("\"{}\" {}", value.get_ref(), bad.what), "", bad.remedy);
                return None;
            }
        };
        let name = file.name.as_ref().map(|n| n.get_ref().clone()).unwrap_or_default();
        if let Some(other) = self.taken.insert((key, bytes.clone()), name) {
            cx.error(
                value,
                format!("backstore \"{other}\" has the {key} \"{}\" already", value.get_ref()),
                "initiators would take both for one disk on two paths, and mix their data",
                "remove the line: each backstore then gets its own",
            );
        }
        Some(bytes)
    }
}

fn parse_serial(text: &str) -> Result<Vec<u8>, Bad> {
    if (1..=SERIAL_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.as_bytes().to_vec());
    }
    Err(Bad {
        what: "is not a serial number",
        remedy: "write 1 to 64 printable ASCII characters without spaces",
    })
}

/// An NAA designator (SPC-4 section 7.8.6.6): 8 bytes of NAA 2, 3 or 5, or 16 of NAA 6.
fn parse_naa(text: &str) -> Result<Vec<u8>, Bad> {
    let digits = text.strip_prefix("naa.").or_else(|| text.strip_prefix("0x")).unwrap_or(text);
    let bytes = hex(digits).filter(|bytes| {
        matches!((bytes.first().map(|b| b >> 4), bytes.len()), (Some(2 | 3 | 5), 8) | (Some(6), 16))
    });
    bytes.ok_or(Bad {
        what: "is not an NAA designator",
        remedy: "write 16 hexadecimal digits that begin with 2, 3 or 5, or 32 that begin with 6",
    })
}

fn parse_uuid(text: &str) -> Result<Vec<u8>, Bad> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let formed = lengths == [8, 4, 4, 4, 12];
    let bytes = hex(&text.replace('-', "")).filter(|bytes| formed && bytes.iter().any(|b| *b != 0));
    bytes.ok_or(Bad {
        what: "is not a UUID",
        remedy: "write one like 123e4567-e89b-12d3-a456-426614174000 (uuidgen makes one)",
    })
}

/// A designator of `naa`, as it is written.
pub fn show_naa(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One of `uuid`.
pub fn show_uuid(bytes: &[u8; 16]) -> String {
    let digits = show_naa(bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let nibbles: Option<Vec<u8>> =
        digits.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let nibbles = nibbles.filter(|n| n.len().is_multiple_of(2))?;
    Some(nibbles.chunks(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naa_in_its_forms() {
        assert_eq!(parse_naa("naa.3000000000000001").ok(), Some(vec![0x30, 0, 0, 0, 0, 0, 0, 1]));
        assert_eq!(parse_naa("600140512345678900000000000000AB").ok().map(|n| n.len()), Some(16));
        for bad in ["", "3", "4000000000000001", "6000000000000001", "30000000000000zz", "3000é00000000001"]
        {
            assert!(parse_naa(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn uuid_in_its_form() {
        assert!(parse_uuid("123e4567-e89b-12d3-a456-426614174000").is_ok());
        for bad in ["", "123e4567e89b12d3a456426614174000", "00000000-0000-0000-0000-000000000000"] {
            assert!(parse_uuid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn serial_in_its_form() {
        assert!(parse_serial("A-1").is_ok());
        for bad in ["", "a b", "é", &"x".repeat(65)] {
            assert!(parse_serial(bad).is_err(), "{bad}");
        }
    }
}

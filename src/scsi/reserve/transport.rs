//! TransportIDs of iSCSI (SPC-5 section 7.6.4.6): how commands name initiator ports.
//!
//! ```text
//!   0  format code (2 bits), protocol identifier 5h     4  name, NUL                    format 00b: every port
//!   2  additional length: a multiple of 4, at least 20     name ,i,0x ISID, NUL         format 01b: one port
//! ```

use super::super::{Failure, ItNexus, Sense};

/// The protocol identifier of iSCSI.
const ISCSI: u8 = 0x5;

/// The shortest that may follow the four bytes of header.
const LEAST: usize = 20;

/// The longest iSCSI name in bytes (RFC 7143 section 4.2.7.2).
const LONGEST_NAME: usize = 223;

/// What stands between name and ISID.
const SEPARATOR: &[u8] = b",i,0x";

/// Initiator ports that a parameter list names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportId {
    /// The initiator's iSCSI name, in lower case.
    pub name: String,
    /// The initiator session identifier; `None`: every port of that initiator.
    pub isid: Option<[u8; 6]>,
    /// Where it lies in the parameter list, in bytes.
    pub at: u16,
}

/// The TransportID of an initiator port, format 01b.
pub(super) fn of_port(nexus: &ItNexus) -> Vec<u8> {
    let [a, b, c, d, e, f] = nexus.isid;
    let name = format!("{},i,0x{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}\0", nexus.initiator);
    let length = name.len().next_multiple_of(4).max(LEAST);
    let mut id = vec![0x40 | ISCSI, 0];
    id.extend((length as u16).to_be_bytes());
    id.extend(name.as_bytes());
    id.resize(4 + length, 0);
    id
}

impl TransportId {
    /// Reads the one that `bytes` begin with, which lie at `at` in the parameter list, and says how
    /// long it is. `None`: the bytes end before it does.
    ///
    /// # Errors
    /// INVALID FIELD IN PARAMETER LIST when it is not one of iSCSI, or not well formed.
    pub(super) fn read(bytes: &[u8], at: u16) -> Result<Option<(Self, usize)>, Failure> {
        let Some(&[kind, _, high, low]) = bytes.first_chunk() else { return Ok(None) };
        if kind & 0x0f != ISCSI {
            return Err(wrong(at, 3));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < LEAST || !length.is_multiple_of(4) {
            return Err(wrong(at + 2, 7));
        }
        let Some(text) = bytes.get(4..4 + length) else { return Ok(None) };
        let named = match kind >> 6 {
            0 => name(text).map(|name| (name, None)),
            1 => port(text),
            _ => return Err(wrong(at, 7)),
        };
        let (name, isid) = named.ok_or_else(|| wrong(at.saturating_add(4), 7))?;
        Ok(Some((Self { name, isid, at }, 4 + length)))
    }

    /// What is said when it names what cannot be named here.
    pub(super) fn refused(&self) -> Failure {
        wrong(self.at, 7)
    }
}

fn wrong(at: u16, bit: u8) -> Failure {
    Sense::parameter_field(at, bit).into()
}

/// What comes before the NUL, which must be there.
fn terminated(text: &[u8]) -> Option<&[u8]> {
    text.iter().position(|byte| *byte == 0).and_then(|end| text.get(..end))
}

/// An iSCSI name of a null-terminated field.
fn name(text: &[u8]) -> Option<String> {
    iscsi_name(terminated(text)?)
}

fn iscsi_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    let typed = ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind));
    let plain = name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != ',');
    (typed && plain && name.len() <= LONGEST_NAME).then_some(name)
}

/// Name, separator and the ISID as twelve hexadecimal digits.
fn port(text: &[u8]) -> Option<(String, Option<[u8; 6]>)> {
    let text = terminated(text)?;
    let end = text.windows(SEPARATOR.len()).position(|part| part == SEPARATOR)?;
    let (own, rest) = text.split_at_checked(end)?;
    Some((iscsi_name(own)?, Some(isid(rest.strip_prefix(SEPARATOR)?)?)))
}

fn isid(digits: &[u8]) -> Option<[u8; 6]> {
    let digits: &[u8; 12] = digits.try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut isid = [0; 6];
    for (byte, pair) in isid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(*pair.first()?)? << 4 | value(*pair.get(1)?)?;
    }
    Some(isid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::nexus;
    use super::*;

    fn id(kind: u8, text: &str) -> Vec<u8> {
        let mut id = vec![kind, 0, 0, 0];
        id.extend(text.as_bytes());
        id.push(0);
        id.resize(4 + (id.len() - 4).next_multiple_of(4).max(LEAST), 0);
        id[3] = (id.len() - 4) as u8;
        id
    }

    fn field(byte: u16, bit: u8) -> Result<Option<(TransportId, usize)>, Failure> {
        Err(Sense::parameter_field(byte, bit).into())
    }

    #[test]
    fn it_is_terminated_and_padded() {
        let nexus =
            ItNexus { initiator: "iqn.2026-01.a:b".into(), isid: [0x80, 1, 2, 3, 4, 0xab], ..nexus(1) };
        let id = of_port(&nexus);
        assert_eq!(&id[..4], [0x45, 0, 0, 36]);
        assert_eq!(&id[4..37], b"iqn.2026-01.a:b,i,0x8001020304ab\0");
        assert_eq!(id.len(), 40);
    }

    #[test]
    fn both_formats_are_read() {
        let bytes = id(0x45, "IQN.2026-01.a:b,i,0x8001020304AB");
        let want =
            TransportId { name: "iqn.2026-01.a:b".into(), isid: Some([0x80, 1, 2, 3, 4, 0xab]), at: 28 };
        assert_eq!(TransportId::read(&bytes, 28), Ok(Some((want, bytes.len()))));
        let bytes = id(0x05, "iqn.2026-01.a:b");
        let want = TransportId { name: "iqn.2026-01.a:b".into(), isid: None, at: 24 };
        assert_eq!(TransportId::read(&bytes, 24), Ok(Some((want, bytes.len()))));
    }

    #[test]
    fn what_follows_the_nul_does_not_count() {
        let mut bytes = id(0x05, "iqn.a");
        bytes[10..].fill(0xff);
        let got = TransportId::read(&bytes, 0).unwrap().unwrap();
        assert_eq!((got.0.name.as_str(), got.1), ("iqn.a", 24));
    }

    #[test]
    fn what_is_not_one_is_told_where() {
        let good = id(0x45, "iqn.2026-01.a:b,i,0x800102030405");
        assert_eq!(TransportId::read(&id(0x46, "iqn.a"), 28), field(28, 3), "SAS");
        assert_eq!(TransportId::read(&id(0x85, "iqn.a"), 28), field(28, 7), "format 10b");
        for length in [0, 16, 22] {
            let bytes = [&[5, 0, 0, length], &good[4..]].concat();
            assert_eq!(TransportId::read(&bytes, 28), field(30, 7), "length {length}");
        }
        let long = format!("iqn.{}", "a".repeat(220));
        for bad in ["", "disk", "iqn.a b", "iqn.a,b", &long] {
            assert_eq!(TransportId::read(&id(5, bad), 28), field(32, 7), "{bad}");
        }
        for bad in ["iqn.a", "iqn.a,i,0x80010203040", "iqn.a,i,0x80010203040506", "iqn.a,i,0x80010203040g"] {
            assert_eq!(TransportId::read(&id(0x45, bad), 28), field(32, 7), "{bad}");
        }
        assert_eq!(
            TransportId::read(&[&[5, 0, 0, 20], &[b'a'; 20][..]].concat(), 28),
            field(32, 7),
            "no NUL"
        );
    }

    #[test]
    fn one_that_is_cut_short_is_not_there() {
        let good = id(0x45, "iqn.2026-01.a:b,i,0x800102030405");
        (0..good.len()).for_each(|n| assert_eq!(TransportId::read(&good[..n], 28), Ok(None), "{n}"));
    }

    proptest! {
        #[test]
        fn a_port_is_read_as_it_was_written(isid: [u8; 6], name in "iqn\\.[a-z0-9.:-]{0,219}") {
            let nexus = ItNexus { initiator: name.clone(), isid, ..nexus(1) };
            let bytes = of_port(&nexus);
            let (id, length) = TransportId::read(&bytes, 7).unwrap().unwrap();
            prop_assert_eq!((id.name, id.isid, length), (name, Some(isid), bytes.len()));
        }

        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, at: u16) {
            if let Ok(Some((_, length))) = TransportId::read(&bytes, at.min(65000)) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}

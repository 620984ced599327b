//! Blocks of `key=value` text (RFC 7143 section 6.1): reading, gathering and cutting them up.
//!
//! This file knows the form of a pair and no key. Everything a peer can make grow has a limit here:
//! [`TEXT_MAX`], [`PAIRS_MAX`], [`KEY_MAX`].

use std::fmt::Display;
use std::io::Write;

/// The most bytes of one text, continuations included. SendTargets requests and every login fit
/// into one PDU of 8 KiB; the standard asks only that 8 KiB can be taken.
pub const TEXT_MAX: usize = 64 << 10;

/// The most pairs of one text. The standard has fewer than forty keys; each unknown one costs an
/// answer longer than itself.
pub const PAIRS_MAX: usize = 256;

/// The longest key (section 6.1), bytes.
pub const KEY_MAX: usize = 63;

/// The value that answers a key which is not known.
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// The value that refuses an offer.
pub const REJECT: &str = "Reject";
/// The value for a key that means nothing in this session.
pub const IRRELEVANT: &str = "Irrelevant";

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TextError {
    /// An item without `=`.
    #[error("a text item has no '='")]
    NoEquals,
    /// An empty key, or one with characters that no key has.
    #[error("a text key is not a key name")]
    BadKey,
    /// A key of more than [`KEY_MAX`] bytes.
    #[error("a text key is longer than {KEY_MAX} bytes")]
    KeyTooLong,
    /// A value that is not UTF-8.
    #[error("a text value is not UTF-8")]
    NotUtf8,
    /// More than [`PAIRS_MAX`] pairs.
    #[error("a text has more than {PAIRS_MAX} pairs")]
    TooManyPairs,
    /// More than the limit of bytes.
    #[error("a text is longer than the limit")]
    TooLong,
}

/// One `key=value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair<'a> {
    /// The key, a legal key name.
    pub key: &'a str,
    /// The value, perhaps empty.
    pub value: &'a str,
}

/// The pairs of a whole text. The NUL after the last one may be missing and empty items are passed
/// over: some initiators count their padding as text.
pub fn pairs(text: &[u8]) -> Pairs<'_> {
    Pairs { rest: text, left: PAIRS_MAX }
}

/// Iterator of [`pairs`]. After an error it ends.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Pairs<'a> {
    fn item(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = self.rest.iter().position(|b| *b == 0).unwrap_or(self.rest.len());
            let (item, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            if !item.is_empty() {
                return Some(item);
            }
        }
        None
    }

    fn count(&mut self) -> Result<(), TextError> {
        self.left = self.left.checked_sub(1).ok_or(TextError::TooManyPairs)?;
        Ok(())
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.item()?;
        let pair = self.count().and_then(|()| split(item));
        if pair.is_err() {
            self.rest = &[];
        }
        Some(pair)
    }
}

fn split(item: &[u8]) -> Result<Pair<'_>, TextError> {
    let equals = item.iter().position(|b| *b == b'=').ok_or(TextError::NoEquals)?;
    let (key, value) = item.split_at(equals);
    if key.len() > KEY_MAX {
        return Err(TextError::KeyTooLong);
    }
    if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) {
        return Err(TextError::BadKey);
    }
    let key = str::from_utf8(key).map_err(|_| TextError::BadKey)?;
    let value = str::from_utf8(&value[1..]).map_err(|_| TextError::NotUtf8)?;
    Ok(Pair { key, value })
}

/// Gathers a text that comes in several PDUs (C bit).
#[derive(Debug, Default)]
pub struct TextBuffer {
    bytes: Vec<u8>,
}

impl TextBuffer {
    /// Adds one PDU's data. Above [`TEXT_MAX`] nothing is kept.
    pub fn push(&mut self, data: &[u8]) -> Result<(), TextError> {
        if self.bytes.len() + data.len() > TEXT_MAX {
            self.bytes = Vec::new();
            return Err(TextError::TooLong);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The whole text; the buffer is empty again.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Whether nothing has been gathered.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Writes pairs.
#[derive(Debug, Default)]
pub struct TextWriter {
    bytes: Vec<u8>,
}

impl TextWriter {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `key=value` and its NUL.
    pub fn pair(&mut self, key: &str, value: impl Display) {
        // Writing into a Vec cannot fail.
        let _ = write!(self.bytes, "{key}={value}\0");
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The text, without padding.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A text on its way out, in PDU-sized pieces.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// All of `bytes` is still to be sent.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// The next at most `max` bytes (at least one is taken when there are any).
    pub fn next_piece(&mut self, max: usize) -> Vec<u8> {
        let end = self.bytes.len().min(self.sent.saturating_add(max.max(1)));
        let piece = self.bytes[self.sent..end].to_vec();
        self.sent = end;
        piece
    }

    /// Whether there is more to send, which is what the C bit of a piece says.
    pub fn more(&self) -> bool {
        self.sent < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(String, String)>, TextError> {
        pairs(text).map(|p| p.map(|p| (p.key.to_owned(), p.value.to_owned()))).collect()
    }

    #[test]
    fn pairs_are_read() {
        let text = b"InitiatorName=iqn.2026-01.a:b\0X-com.a.b=\0Alias=a=b\0";
        let expected = [("InitiatorName", "iqn.2026-01.a:b"), ("X-com.a.b", ""), ("Alias", "a=b")];
        assert_eq!(read(text).unwrap(), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_missing_last_nul_and_extra_nuls_are_passed_over() {
        assert_eq!(read(b"\0A=1\0\0\0B=2").unwrap().len(), 2);
        assert_eq!(read(b"").unwrap().len(), 0);
        assert_eq!(read(b"\0\0\0").unwrap().len(), 0);
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(read(b"A\0"), Err(TextError::NoEquals));
        assert_eq!(read(b"=v\0"), Err(TextError::BadKey));
        assert_eq!(read(b"A b=v\0"), Err(TextError::BadKey));
        assert_eq!(read(b"A=\xff\0"), Err(TextError::NotUtf8));
        assert_eq!(read(&[&[b'k'; KEY_MAX][..], b"=\0"].concat()).unwrap().len(), 1);
        assert_eq!(read(&[&[b'k'; KEY_MAX + 1][..], b"=\0"].concat()), Err(TextError::KeyTooLong));
        assert_eq!(read(&b"a=\0".repeat(PAIRS_MAX)).unwrap().len(), PAIRS_MAX);
        assert_eq!(read(&b"a=\0".repeat(PAIRS_MAX + 1)), Err(TextError::TooManyPairs));
    }

    #[test]
    fn an_oversized_text_is_refused_and_dropped() {
        let mut buffer = TextBuffer::default();
        buffer.push(&vec![b'a'; TEXT_MAX]).unwrap();
        assert_eq!(buffer.push(b"b"), Err(TextError::TooLong));
        assert!(buffer.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let found = pairs(&text).count();
            prop_assert!(found <= PAIRS_MAX + 1);
        }

        #[test]
        fn what_is_written_is_read_whatever_the_pieces(
            wanted in proptest::collection::vec(("[A-Z][A-Za-z.]{0,20}", "[ -~]{0,40}"), 0..20),
            max in 1usize..50,
        ) {
            let mut writer = TextWriter::new();
            for (key, value) in &wanted {
                writer.pair(key, value);
            }
            let (mut out, mut back) = (Outgoing::new(writer.into_bytes()), TextBuffer::default());
            while out.more() {
                let piece = out.next_piece(max);
                prop_assert!(piece.len() <= max);
                back.push(&piece).unwrap();
            }
            prop_assert_eq!(read(&back.take()).unwrap(), wanted);
        }
    }
}

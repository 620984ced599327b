//! PDUs on the wire as an initiator sees them: cutting a stream into PDUs, and joining PDUs to a stream.

use std::ops::Range;

use super::error::Error;
use crate::session::keys::Negotiated;
use crate::wire::bhs::{BHS_LEN, Bhs, padding};
use crate::wire::codes::Opcode;
use crate::wire::digest::{self, DIGEST_LEN};

/// What a connection starts with, bytes; it grows to the longest PDU that comes.
const FIRST_SPACE: usize = 16 << 10;

/// Room for a receive is made when less than this is left, bytes.
const LOW_SPACE: usize = 4 << 10;

/// Which parts of a PDU carry CRC32C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// The headers.
    pub header: bool,
    /// The data segment.
    pub data: bool,
}

impl From<&Negotiated> for Digests {
    fn from(n: &Negotiated) -> Self {
        Self { header: n.header_digest, data: n.data_digest }
    }
}

/// A PDU of any kind, without padding and digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The basic header, as it travels.
    pub bhs: [u8; BHS_LEN],
    /// Additional header segments, a multiple of four bytes.
    pub ahs: Vec<u8>,
    /// The data segment.
    pub data: Vec<u8>,
}

impl Pdu {
    /// A PDU without additional headers. The header's length field is the caller's.
    pub fn new(bhs: &[u8; BHS_LEN], data: Vec<u8>) -> Self {
        Self { bhs: *bhs, ahs: Vec::new(), data }
    }

    /// The header.
    pub fn header(&self) -> &Bhs {
        Bhs::from_bhs(&self.bhs)
    }

    /// What kind it is.
    pub fn opcode(&self) -> Opcode {
        self.header().opcode()
    }
}

/// Appends a PDU with its padding and digests to a stream.
pub(super) fn append(out: &mut Vec<u8>, bhs: &[u8; BHS_LEN], ahs: &[u8], data: &[u8], digests: Digests) {
    append_header(out, bhs, ahs, digests);
    out.extend_from_slice(data);
    append_trailer(out, data, digests);
}

/// Appends a PDU without its data, which is put there by whoever sends; where it belongs.
pub(super) fn append_around(out: &mut Vec<u8>, bhs: &[u8; BHS_LEN], data: &[u8], digests: Digests) -> usize {
    append_header(out, bhs, &[], digests);
    let at = out.len();
    append_trailer(out, data, digests);
    at
}

/// The same without looking at the data, of which there is no digest then.
pub(super) fn append_header_of(
    out: &mut Vec<u8>,
    bhs: &[u8; BHS_LEN],
    len: usize,
    digests: Digests,
) -> usize {
    debug_assert!(!digests.data, "what is not looked at has no digest");
    append_header(out, bhs, &[], digests);
    let at = out.len();
    out.extend_from_slice(&[0; 3][..padding(len)]);
    at
}

fn append_header(out: &mut Vec<u8>, bhs: &[u8; BHS_LEN], ahs: &[u8], digests: Digests) {
    let start = out.len();
    out.extend_from_slice(bhs);
    out.extend_from_slice(ahs);
    if digests.header {
        let crc = digest::crc32c(&out[start..]);
        out.extend_from_slice(&digest::to_wire(crc));
    }
}

/// The padding and the digest of `data`.
fn append_trailer(out: &mut Vec<u8>, data: &[u8], digests: Digests) {
    let pad = &[0; 3][..padding(data.len())];
    out.extend_from_slice(pad);
    if digests.data && !data.is_empty() {
        let mut crc = digest::Crc::new();
        crc.update(data);
        crc.update(pad);
        out.extend_from_slice(&digest::to_wire(crc.finish()));
    }
}

/// A PDU that lies whole in an [`Incoming`], until the next receive.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bhs: [u8; BHS_LEN],
    pub(super) ahs: Range<usize>,
    pub(super) data: Range<usize>,
}

/// Bytes from the target that are not yet PDUs.
#[derive(Debug)]
pub struct Incoming {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// The longest data segment that the target may send, bytes.
    limit: usize,
}

impl Incoming {
    /// Takes data segments of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buf: vec![0; FIRST_SPACE], start: 0, end: 0, limit }
    }

    /// Changes what the target may send, bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where the next bytes go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buf.len() - self.end < LOW_SPACE {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let wanted = self.end + LOW_SPACE;
        if self.buf.len() < wanted {
            self.buf.resize(wanted.next_power_of_two(), 0);
        }
        &mut self.buf[self.end..]
    }

    /// `count` bytes have been put into [`Incoming::space`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buf.len());
    }

    /// Gives the buffer away for a receive, with at least `least` bytes in all; the first so many, the count that
    /// comes with it, are not used yet. Nothing can be cut until it is [back](Incoming::restore).
    pub fn lend(&mut self, least: usize) -> (Box<[u8]>, usize) {
        self.buf.copy_within(self.start..self.end, 0);
        let kept = self.end - self.start;
        let least = least.max(kept + LOW_SPACE);
        if self.buf.len() < least {
            self.buf.resize(least, 0);
        }
        (self.start, self.end) = (0, 0);
        (std::mem::take(&mut self.buf).into_boxed_slice(), kept)
    }

    /// Takes a lent buffer back, of which the first `filled` bytes are to be used.
    pub fn restore(&mut self, buf: Box<[u8]>, filled: usize) {
        self.buf = buf.into_vec();
        (self.start, self.end) = (0, filled.min(self.buf.len()));
    }

    /// Whether part of a PDU is here.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.buf[range.clone()]
    }

    /// The next whole PDU, with its digests checked.
    pub(super) fn next_frame(&mut self, digests: Digests) -> Result<Option<Frame>, Error> {
        let Some(bhs) = self.buf[self.start..self.end].first_chunk::<BHS_LEN>() else { return Ok(None) };
        let bhs = *bhs;
        let (ahs_len, data_len) = (Bhs::from_bhs(&bhs).ahs_len(), Bhs::from_bhs(&bhs).data_len());
        if data_len > self.limit {
            return Err(Error::TooLong(data_len));
        }
        let ahs = self.start + BHS_LEN..self.start + BHS_LEN + ahs_len;
        let data_start = ahs.end + if digests.header { DIGEST_LEN } else { 0 };
        let data = data_start..data_start + data_len;
        let padded = data.start..data.end + padding(data_len);
        let has_digest = digests.data && data_len > 0;
        let whole = padded.end + if has_digest { DIGEST_LEN } else { 0 };
        if whole > self.end {
            self.make_room(whole - self.start);
            return Ok(None);
        }
        if digests.header {
            self.check(self.start..ahs.end, "header")?;
        }
        if has_digest {
            self.check(padded, "data")?;
        }
        self.start = whole;
        Ok(Some(Frame { bhs, ahs, data }))
    }

    /// A PDU of so many bytes is under way.
    fn make_room(&mut self, whole: usize) {
        if self.start + whole > self.buf.len() {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // As much again, so that a receive brings more than this one PDU.
        if self.buf.len() < whole * 2 {
            self.buf.resize((whole * 2).next_power_of_two(), 0);
        }
    }

    fn check(&self, range: Range<usize>, what: &'static str) -> Result<(), Error> {
        let crc = digest::to_wire(digest::crc32c(&self.buf[range.clone()]));
        if self.buf[range.end..].starts_with(&crc) { Ok(()) } else { Err(Error::Digest(what)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(incoming: &mut Incoming, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = incoming.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            incoming.filled(count);
            bytes = &bytes[count..];
        }
    }

    fn header(data_len: usize) -> [u8; BHS_LEN] {
        let mut nop = crate::wire::bhs::NopIn::default();
        nop.set_data_len(data_len);
        *nop.as_bhs()
    }

    #[test]
    fn a_wrong_digest_and_a_long_segment_are_noticed() {
        let both = Digests { header: true, data: true };
        for (spoil, what) in [(16, "header"), (53, "data")] {
            let mut stream = Vec::new();
            append(&mut stream, &header(7), &[], &[9; 7], both);
            stream[spoil] ^= 1;
            let mut incoming = Incoming::new(100);
            feed(&mut incoming, &stream);
            let error = incoming.next_frame(both).unwrap_err();
            assert!(matches!(error, Error::Digest("header" | "data")), "{what}: {error}");
        }
        let mut incoming = Incoming::new(100);
        feed(&mut incoming, &header(101));
        assert!(matches!(incoming.next_frame(Digests::default()), Err(Error::TooLong(101))));
    }

    #[test]
    fn a_lent_buffer_comes_back_with_what_was_left() {
        let mut stream = Vec::new();
        for n in 0..3 {
            append(&mut stream, &header(5000), &[], &[n; 5000], Digests::default());
        }
        let (mut incoming, mut seen) = (Incoming::new(8000), 0);
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (mut buf, kept) = incoming.lend(0);
            assert!(incoming.next_frame(Digests::default()).unwrap().is_none(), "it is away");
            let count = rest.len().min(buf.len() - kept).min(3001);
            buf[kept..kept + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            incoming.restore(buf, kept + count);
            while let Some(frame) = incoming.next_frame(Digests::default()).unwrap() {
                assert!(incoming.bytes(&frame.data).iter().all(|b| *b == seen));
                seen += 1;
            }
        }
        assert_eq!((seen, incoming.is_empty(), incoming.lend(100_000).0.len()), (3, true, 100_000));
    }

    #[test]
    fn what_is_left_out_for_a_splice_fits_there() {
        for len in [0, 1, 4, 4095] {
            let (data, digests) = (vec![7; len], Digests { header: true, data: true });
            let (mut whole, mut around) = (Vec::new(), Vec::new());
            append(&mut whole, &header(len), &[], &data, digests);
            let at = append_around(&mut around, &header(len), &data, digests);
            around.splice(at..at, data);
            assert!(whole == around, "{len}");
        }
    }

    proptest! {
        #[test]
        fn what_is_joined_is_cut_again_whatever_the_pieces(
            sizes in proptest::collection::vec(0usize..40_000, 1..8),
            header_digest: bool, data_digest: bool, step in 1usize..9000,
        ) {
            let digests = Digests { header: header_digest, data: data_digest };
            let mut stream = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                append(&mut stream, &header(*size), &[], &vec![n as u8; *size], digests);
            }
            let (mut incoming, mut seen) = (Incoming::new(40_000), Vec::new());
            for piece in stream.chunks(step) {
                feed(&mut incoming, piece);
                while let Some(frame) = incoming.next_frame(digests).unwrap() {
                    prop_assert!(incoming.bytes(&frame.data).iter().all(|b| *b == seen.len() as u8));
                    seen.push(frame.data.len());
                }
            }
            prop_assert_eq!(seen, sizes);
            prop_assert!(incoming.is_empty());
        }
    }
}

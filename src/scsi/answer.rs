//! Data-in being written: the answer may be longer than the initiator wants or the buffer holds.

use super::Outcome;

/// Writes data-in into a buffer, dropping what is beyond the allocation length (SPC-5 section
/// 4.2.5.6), while lengths inside the data still tell the whole.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl<'a> Answer<'a> {
    /// An empty answer of which the initiator takes at most `allocation` bytes.
    pub(super) fn new(out: &'a mut [u8], allocation: usize) -> Self {
        let limit = allocation.min(out.len());
        Self { out: &mut out[..limit], length: 0 }
    }

    /// Bytes put so far, whether kept or dropped.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.patch(self.length, bytes);
        self.length += bytes.len();
    }

    /// As many bytes of `text` as fit the field, filled up with spaces (SPC-5 section 4.3.1).
    pub(super) fn put_ascii(&mut self, text: &str, width: usize) {
        let printable = |c: u8| if (0x20..0x7f).contains(&c) { c } else { b'?' };
        let letters = text.bytes().map(printable).chain(std::iter::repeat(b' '));
        letters.take(width).for_each(|c| self.put(&[c]));
    }

    pub(super) fn zeroes(&mut self, count: usize) {
        (0..count).for_each(|_| self.put(&[0]));
    }

    /// Overwrites what lies at `at`, or puts it there in advance.
    pub(super) fn patch(&mut self, at: usize, bytes: &[u8]) {
        let Some(room) = self.out.get_mut(at..) else { return };
        room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Writes into the two bytes at `at` how many bytes follow them.
    pub(super) fn close_u16(&mut self, at: usize) {
        let following = self.length.saturating_sub(at + 2) as u16;
        self.patch(at, &following.to_be_bytes());
    }

    /// Writes into the four bytes at `at` how many bytes follow byte `base`.
    pub(super) fn close_u32(&mut self, at: usize, base: usize) {
        let following = self.length.saturating_sub(base) as u32;
        self.patch(at, &following.to_be_bytes());
    }

    pub(super) fn finish(self) -> Outcome {
        Outcome::Data(self.length.min(self.out.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_but_counted() {
        let mut out = [0xff; 8];
        let mut answer = Answer::new(&mut out, 5);
        answer.put(&[1, 2, 0, 0]);
        answer.put_ascii("abc\n", 6);
        answer.close_u16(2);
        assert_eq!(answer.len(), 10);
        assert_eq!(answer.finish(), Outcome::Data(5));
        assert_eq!(out, [1, 2, 0, 6, b'a', 0xff, 0xff, 0xff]);
    }

    #[test]
    fn text_is_printable_and_filled_up() {
        let mut out = [0; 8];
        let mut answer = Answer::new(&mut out, 8);
        answer.put_ascii("a\n", 4);
        answer.zeroes(2);
        assert_eq!(&out, b"a?  \0\0\0\0");
    }
}

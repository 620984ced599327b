//! The command descriptor block as the handlers read it: fields by byte number, as in the standards.

/// A CDB of up to 16 bytes. A shorter one is read as if zeroes followed; what is beyond 16 bytes
/// (variable-length CDBs) is not looked at.
///
/// The field readers are called with constants below 16, so their bounds are checked when compiling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cdb([u8; 16]);

impl Cdb {
    #[inline]
    pub(super) fn new(bytes: &[u8]) -> Self {
        match bytes.first_chunk::<16>() {
            Some(whole) => Self(*whole),
            None => Self::padded(bytes),
        }
    }

    #[cold]
    fn padded(bytes: &[u8]) -> Self {
        let mut cdb = [0; 16];
        cdb.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self(cdb)
    }

    #[inline]
    pub(super) fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// The service action, where the opcode has one.
    #[inline]
    pub(super) fn action(&self) -> u8 {
        self.0[1] & 0x1f
    }

    #[inline]
    pub(super) fn u8<const AT: usize>(&self) -> u8 {
        const { assert!(AT < 16) };
        self.0[AT]
    }

    #[inline]
    pub(super) fn bit<const AT: usize>(&self, bit: u8) -> bool {
        self.u8::<AT>() >> bit & 1 != 0
    }

    #[inline]
    pub(super) fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<AT, 2>())
    }

    #[inline]
    pub(super) fn u32<const AT: usize>(&self) -> u32 {
        u32::from_be_bytes(self.bytes::<AT, 4>())
    }

    #[inline]
    pub(super) fn u64<const AT: usize>(&self) -> u64 {
        u64::from_be_bytes(self.bytes::<AT, 8>())
    }

    #[inline]
    fn bytes<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= 16) };
        std::array::from_fn(|i| self.0[AT + i])
    }

    /// The byte at `at`, for callers that know the place only from a table.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_big_endian_fields() {
        let cdb = Cdb::new(&std::array::from_fn::<u8, 20, _>(|i| i as u8));
        assert_eq!(cdb.u16::<7>(), 0x0708);
        assert_eq!(cdb.u32::<2>(), 0x0203_0405);
        assert_eq!(cdb.u64::<8>(), 0x0809_0a0b_0c0d_0e0f);
        assert!(cdb.bit::<5>(2) && !cdb.bit::<5>(1));
    }

    #[test]
    fn short_ones_end_in_zeroes() {
        let cdb = Cdb::new(&[0x12, 1]);
        assert_eq!((cdb.opcode(), cdb.action(), cdb.u16::<2>(), cdb.get(40)), (0x12, 1, 0, 0));
    }
}

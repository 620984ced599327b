//! The command descriptor block as the handlers read it: fields by byte number, as in the standards.

/// The operation code of all variable-length CDBs (SPC-5 section 4.2.3).
pub(super) const VARIABLE: u8 = 0x7f;

/// The longest CDB that any command of ours has.
const LONGEST: usize = 32;

/// A CDB of up to 32 bytes. A shorter one is read as if zeroes followed; what is beyond is not looked at.
///
/// The field readers are called with constants below 32, so their bounds are checked when compiling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cdb {
    bytes: [u8; LONGEST],
    /// Bytes that came.
    len: usize,
}

impl Cdb {
    #[inline]
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut cdb = Self { bytes: [0; LONGEST], len: bytes.len() };
        match bytes.first_chunk::<16>() {
            Some(whole) if bytes.len() == 16 => cdb.bytes[..16].copy_from_slice(whole),
            _ => cdb.pad(bytes),
        }
        cdb
    }

    #[cold]
    fn pad(&mut self, bytes: &[u8]) {
        self.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Bytes that came; those beyond are zeroes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// The service action, where the opcode has one.
    #[inline]
    pub(super) fn action(&self) -> u8 {
        self.bytes[1] & 0x1f
    }

    /// The service action of any CDB: those of variable length have it in bytes 8 and 9.
    pub(super) fn service_action(&self) -> u16 {
        if self.opcode() == VARIABLE { self.u16::<8>() } else { u16::from(self.action()) }
    }

    #[inline]
    pub(super) fn u8<const AT: usize>(&self) -> u8 {
        const { assert!(AT < LONGEST) };
        self.bytes[AT]
    }

    #[inline]
    pub(super) fn bit<const AT: usize>(&self, bit: u8) -> bool {
        self.u8::<AT>() >> bit & 1 != 0
    }

    #[inline]
    pub(super) fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be_bytes(self.field::<AT, 2>())
    }

    #[inline]
    pub(super) fn u32<const AT: usize>(&self) -> u32 {
        u32::from_be_bytes(self.field::<AT, 4>())
    }

    #[inline]
    pub(super) fn u64<const AT: usize>(&self) -> u64 {
        u64::from_be_bytes(self.field::<AT, 8>())
    }

    #[inline]
    fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LONGEST) };
        std::array::from_fn(|i| self.bytes[AT + i])
    }

    /// Puts the low `WIDTH` bytes of `value` at `AT`.
    pub(super) fn put<const AT: usize, const WIDTH: usize>(&mut self, value: u32) {
        const { assert!(WIDTH <= 4 && AT + WIDTH <= LONGEST) };
        self.bytes[AT..AT + WIDTH].copy_from_slice(&value.to_be_bytes()[4 - WIDTH..]);
    }

    /// The byte at `at`, for callers that know the place only from a table.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
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
    fn long_ones_are_read_whole() {
        let cdb = Cdb::new(&std::array::from_fn::<u8, 40, _>(|i| i as u8));
        assert_eq!((cdb.u32::<28>(), cdb.get(31), cdb.get(32)), (0x1c1d_1e1f, 31, 0));
    }

    #[test]
    fn a_field_is_written_where_it_is_read() {
        let mut cdb = Cdb::new(&[0xff; 16]);
        cdb.put::<6, 3>(0x0102_0304);
        assert_eq!((cdb.u32::<6>(), cdb.u8::<5>()), (0x0203_04ff, 0xff));
    }

    #[test]
    fn the_service_action_lies_where_the_opcode_says() {
        assert_eq!(Cdb::new(&[0x9e, 0xf0, 0, 0]).service_action(), 0x10);
        assert_eq!(Cdb::new(&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0x01, 0x0d]).service_action(), 0x010d);
    }

    #[test]
    fn short_ones_end_in_zeroes() {
        let cdb = Cdb::new(&[0x12, 1]);
        assert_eq!((cdb.opcode(), cdb.action(), cdb.u16::<2>(), cdb.get(40)), (0x12, 1, 0, 0));
    }
}

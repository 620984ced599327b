//! The blocks that a CDB names, and the flags beside them: the same in every command that has them,
//! at places that follow from the CDB's length.

use super::Failure;
use super::cdb::Cdb;
use super::check::bad_field;

/// LBA, number of blocks and flags of a CDB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) lba: u64,
    pub(super) blocks: u64,
    /// First byte of the length field.
    pub(super) length_at: u16,
    /// The byte with xxPROTECT, DPO, FUA and BYTCHK; zero where there is none.
    flags: u8,
    flags_at: u16,
}

impl Extent {
    /// 6-byte CDBs: 21 bits of LBA, a length of 0 that means 256, and no flags.
    #[inline]
    pub(super) fn of6(cdb: &Cdb) -> Self {
        let length = cdb.u8::<4>();
        let blocks = if length == 0 { 256 } else { u64::from(length) };
        Self { lba: u64::from(cdb.u32::<0>() & 0x1f_ffff), blocks, length_at: 4, flags: 0, flags_at: 1 }
    }

    #[inline]
    pub(super) fn of10(cdb: &Cdb) -> Self {
        Self::new(cdb, u64::from(cdb.u32::<2>()), u64::from(cdb.u16::<7>()), 7)
    }

    #[inline]
    pub(super) fn of12(cdb: &Cdb) -> Self {
        Self::new(cdb, u64::from(cdb.u32::<2>()), u64::from(cdb.u32::<6>()), 6)
    }

    #[inline]
    pub(super) fn of16(cdb: &Cdb) -> Self {
        Self::new(cdb, cdb.u64::<2>(), u64::from(cdb.u32::<10>()), 10)
    }

    /// Variable-length CDBs. Without protection information the expected tags do not count.
    pub(super) fn of32(cdb: &Cdb) -> Self {
        let (lba, blocks) = (cdb.u64::<12>(), u64::from(cdb.u32::<28>()));
        Self { lba, blocks, length_at: 28, flags: cdb.u8::<10>(), flags_at: 10 }
    }

    #[inline]
    fn new(cdb: &Cdb, lba: u64, blocks: u64, length_at: u16) -> Self {
        Self { lba, blocks, length_at, flags: cdb.u8::<1>(), flags_at: 1 }
    }

    /// RDPROTECT, WRPROTECT or VRPROTECT must be zero: there is no protection information.
    #[inline]
    pub(super) fn unprotected(&self) -> Result<(), Failure> {
        if self.flags >> 5 == 0 { Ok(()) } else { Err(self.bad_flag(7)) }
    }

    /// That bit of the flags.
    #[inline]
    pub(super) fn flag(&self, bit: u8) -> bool {
        self.flags >> bit & 1 != 0
    }

    /// FUA.
    #[inline]
    pub(super) fn fua(&self) -> bool {
        self.flag(3)
    }

    /// BYTCHK.
    pub(super) fn bytchk(&self) -> u8 {
        self.flags >> 1 & 3
    }

    /// INVALID FIELD IN CDB for the flag whose most significant bit that is.
    #[cold]
    pub(super) fn bad_flag(&self, bit: u8) -> Failure {
        bad_field(self.flags_at, bit)
    }
}

//! Command descriptor blocks that initiators send, as 16 bytes with zeroes behind (SBC-4, SPC-5).

/// A CDB as it lies in a SCSI Command PDU.
pub type Cdb = [u8; 16];

/// TEST UNIT READY.
pub const TEST_UNIT_READY: Cdb = [0; 16];

/// READ(16): `blocks` blocks from `lba`.
pub fn read(lba: u64, blocks: u32) -> Cdb {
    long(0x88, 0, lba, blocks)
}

/// WRITE(16).
pub fn write(lba: u64, blocks: u32) -> Cdb {
    long(0x8a, 0, lba, blocks)
}

/// WRITE(16) that is on the medium when it is answered (FUA).
pub fn write_fua(lba: u64, blocks: u32) -> Cdb {
    long(0x8a, 0x08, lba, blocks)
}

/// SYNCHRONIZE CACHE(16) of the whole medium.
pub fn synchronize_cache() -> Cdb {
    long(0x91, 0, 0, 0)
}

/// READ CAPACITY(16), 32 bytes of answer.
pub fn read_capacity() -> Cdb {
    long(0x9e, 0x10, 0, 32)
}

/// INQUIRY; with `page`, of that vital product data page.
pub fn inquiry(page: Option<u8>, len: u16) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x12;
    cdb[1] = u8::from(page.is_some());
    cdb[2] = page.unwrap_or(0);
    cdb[3..5].copy_from_slice(&len.to_be_bytes());
    cdb
}

/// REPORT LUNS.
pub fn report_luns(len: u32) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0xa0;
    cdb[6..10].copy_from_slice(&len.to_be_bytes());
    cdb
}

/// UNMAP with a parameter list of `len` bytes.
pub fn unmap(len: u16) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x42;
    cdb[7..9].copy_from_slice(&len.to_be_bytes());
    cdb
}

/// The parameter list of an UNMAP of one range.
pub fn unmap_list(lba: u64, blocks: u32) -> Vec<u8> {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(lba.to_be_bytes());
    list.extend(blocks.to_be_bytes());
    list.extend([0; 4]);
    list
}

fn long(opcode: u8, second: u8, lba: u64, length: u32) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = second;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&length.to_be_bytes());
    cdb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_standard_has_them() {
        assert_eq!(
            read(0x0102_0304_0506_0708, 0x0a0b_0c0d)[..14],
            [0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]
        );
        assert_eq!(write_fua(0, 1)[1], 8);
        assert_eq!(inquiry(Some(0x83), 255)[..6], [0x12, 1, 0x83, 0, 255, 0]);
        assert_eq!(unmap_list(1, 2).len(), usize::from(unmap(24)[8]));
    }
}

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

/// SYNCHRONIZE CACHE(10) of the whole medium: older disks have no other.
pub fn synchronize_cache_10() -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x35;
    cdb
}

/// SYNCHRONIZE CACHE(16) of the whole medium.
pub fn synchronize_cache() -> Cdb {
    long(0x91, 0, 0, 0)
}

/// WRITE SAME(16) of zeroes, without a block of data (NDOB); `unmap`: space may be given back instead.
pub fn write_zeroes(lba: u64, blocks: u32, unmap: bool) -> Cdb {
    long(0x93, 0x01 | u8::from(unmap) << 3, lba, blocks)
}

/// MODE SENSE(10) of the current values of a page, without block descriptors.
pub fn mode_sense(page: u8, len: u16) -> Cdb {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[2]) = (0x5a, 0x08, page & 0x3f);
    cdb[7..9].copy_from_slice(&len.to_be_bytes());
    cdb
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

/// SANITIZE with OVERWRITE, and a parameter list of `len` bytes; `immediate`: it is answered when it has begun.
pub fn overwrite(immediate: bool, len: u16) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x48;
    cdb[1] = u8::from(immediate) << 7 | 0x01;
    cdb[7..9].copy_from_slice(&len.to_be_bytes());
    cdb
}

/// The parameter list of an OVERWRITE with that pattern, in so many passes (1 to 31).
pub fn overwrite_list(pattern: &[u8], passes: u8) -> Vec<u8> {
    let len = (pattern.len() as u16).to_be_bytes();
    [&[passes & 0x1f, 0, len[0], len[1]], pattern].concat()
}

/// SANITIZE with BLOCK ERASE.
pub fn block_erase(immediate: bool) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x48;
    cdb[1] = u8::from(immediate) << 7 | 0x02;
    cdb
}

/// REQUEST SENSE in the fixed format.
pub fn request_sense(len: u8) -> Cdb {
    let mut cdb = [0; 16];
    cdb[0] = 0x03;
    cdb[4] = len;
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

/// EXTENDED COPY(LID1) with a parameter list of `len` bytes.
pub fn extended_copy(len: u32) -> Cdb {
    third_party(0x83, 0x00, 0, len)
}

/// EXTENDED COPY(LID4) with a parameter list of `len` bytes.
pub fn extended_copy_lid4(len: u32) -> Cdb {
    third_party(0x83, 0x01, 0, len)
}

/// COPY OPERATION ABORT.
pub fn abort_copy(list: u32) -> Cdb {
    third_party(0x83, 0x1c, list, 0)
}

/// RECEIVE COPY STATUS(LID4).
pub fn copy_status(list: u32, len: u32) -> Cdb {
    third_party(0x84, 0x05, list, len)
}

/// POPULATE TOKEN with a parameter list of `len` bytes.
pub fn populate_token(list: u32, len: u32) -> Cdb {
    by_token(0x10, list, len)
}

/// WRITE USING TOKEN with a parameter list of `len` bytes.
pub fn write_using_token(list: u32, len: u32) -> Cdb {
    by_token(0x11, list, len)
}

/// RECEIVE ROD TOKEN INFORMATION.
pub fn token_information(list: u32, len: u32) -> Cdb {
    third_party(0x84, 0x07, list, len)
}

/// The parameter list of POPULATE TOKEN for these blocks; `timeout` in seconds, 0: the target's own.
pub fn populate_list(timeout: u32, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = range_list(16, ranges);
    list[4..8].copy_from_slice(&timeout.to_be_bytes());
    list
}

/// The parameter list of WRITE USING TOKEN to these blocks, from block `offset` of what the token (512 bytes)
/// represents. `flags`: 1 for IMMED, 2 for DEL_TKN.
pub fn token_list(token: &[u8], offset: u64, flags: u8, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = range_list(536, ranges);
    list[2] = flags;
    list[8..16].copy_from_slice(&offset.to_be_bytes());
    list[16..528].copy_from_slice(token);
    list
}

/// Block device range descriptors behind a header of `start` bytes that ends with their length.
fn range_list(start: usize, ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = 16 * ranges.len();
    let mut list = vec![0; start];
    list[..2].copy_from_slice(&((start - 2 + length) as u16).to_be_bytes());
    list[start - 2..].copy_from_slice(&(length as u16).to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
    }
    list
}

fn by_token(action: u8, list: u32, len: u32) -> Cdb {
    let mut cdb = third_party(0x83, action, 0, len);
    cdb[6..10].copy_from_slice(&list.to_be_bytes());
    cdb
}

/// One stretch that a copy moves. Logical units are named by their place in the list of names; `0xffff` is the one
/// that the command is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopySegment {
    /// The source and the first block there.
    pub from: (u16, u64),
    /// The destination and the first block there.
    pub to: (u16, u64),
    /// Blocks of the source.
    pub blocks: u16,
}

/// The parameter list of EXTENDED COPY(LID1) between logical units with these NAA designators.
pub fn copy_list(list: u8, names: &[&[u8]], segments: &[CopySegment]) -> Vec<u8> {
    let (names, segments) = (descriptors(names), segment_descriptors(segments));
    let mut bytes = vec![list, 0];
    bytes.extend((names.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend((segments.len() as u32).to_be_bytes());
    bytes.extend([0; 4]);
    [bytes, names, segments].concat()
}

/// The parameter list of EXTENDED COPY(LID4); `immediate`: GOOD is answered before it is done.
pub fn copy_list_lid4(list: u32, immediate: bool, names: &[&[u8]], segments: &[CopySegment]) -> Vec<u8> {
    let (names, segments) = (descriptors(names), segment_descriptors(segments));
    let mut bytes = vec![0; 48];
    (bytes[0], bytes[3], bytes[15], bytes[16]) = (0x01, 0x20, u8::from(immediate), 0xff);
    bytes[20..24].copy_from_slice(&list.to_be_bytes());
    bytes[42..44].copy_from_slice(&(names.len() as u16).to_be_bytes());
    bytes[44..46].copy_from_slice(&(segments.len() as u16).to_be_bytes());
    [bytes, names, segments].concat()
}

/// Identification CSCD descriptors.
fn descriptors(names: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend([0xe4, 0, 0, 0, 1, 3, 0, name.len() as u8]);
        bytes.extend(*name);
        bytes.resize(bytes.len() + 24 - name.len(), 0);
    }
    bytes
}

/// Block to block segment descriptors.
fn segment_descriptors(segments: &[CopySegment]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for s in segments {
        bytes.extend([0x02, 0, 0, 0x18]);
        bytes.extend([s.from.0.to_be_bytes(), s.to.0.to_be_bytes(), [0, 0], s.blocks.to_be_bytes()].concat());
        bytes.extend([s.from.1.to_be_bytes(), s.to.1.to_be_bytes()].concat());
    }
    bytes
}

fn third_party(opcode: u8, action: u8, list: u32, len: u32) -> Cdb {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, action);
    cdb[2..6].copy_from_slice(&list.to_be_bytes());
    cdb[10..14].copy_from_slice(&len.to_be_bytes());
    cdb
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
        assert_eq!(write_zeroes(1, 2, true)[..2], [0x93, 9]);
        assert_eq!(write_zeroes(1, 2, false)[..14], [0x93, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(mode_sense(8, 20)[..9], [0x5a, 8, 8, 0, 0, 0, 0, 0, 20]);
        assert_eq!(inquiry(Some(0x83), 255)[..6], [0x12, 1, 0x83, 0, 255, 0]);
        assert_eq!(unmap_list(1, 2).len(), usize::from(unmap(24)[8]));
        let segment = CopySegment { from: (0, 7), to: (0xffff, 8), blocks: 9 };
        let list = copy_list(3, &[&[1; 8]], &[segment]);
        assert_eq!((list.len(), list[0], list[3], list[11], list[16], list[23]), (76, 3, 32, 28, 0xe4, 8));
        assert_eq!(list[48..60], [2, 0, 0, 0x18, 0, 0, 0xff, 0xff, 0, 0, 0, 9]);
        assert_eq!(write_using_token(3, 4)[..14], [0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]);
        let list = token_list(&[9; 512], 5, 2, &[(1, 2)]);
        assert_eq!(
            (list.len(), &list[..3], list[15], list[16], &list[534..536]),
            (552, &[2, 0x26, 2][..], 5, 9, &[0, 16][..])
        );
        assert_eq!(copy_list_lid4(3, true, &[], &[segment])[15..24], [1, 0xff, 0, 0, 0, 0, 0, 0, 3]);
    }
}

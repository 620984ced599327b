//! Additional header segments of a SCSI Command (RFC 7143 section 11.2.2).

/// Bytes of AHSLength and AHSType before what AHSLength counts.
const AHS_HEADER: usize = 3;
const TYPE_MASK: u8 = 0x3f;
const TYPE_EXTENDED_CDB: u8 = 1;
const TYPE_BIDI_READ_LENGTH: u8 = 2;

/// One additional header segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ahs<'a> {
    /// The bytes of the CDB after its first 16 (section 11.2.2.3).
    ExtendedCdb(&'a [u8]),
    /// Bytes that the read part of a bidirectional command may return (section 11.2.2.4).
    BidiReadLength(u32),
    /// Another type, with its bytes.
    Other(u8, &'a [u8]),
}

/// The header segments do not fit into the length that the PDU announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an additional header segment is cut short")]
pub struct AhsError;

/// The segments in `bytes`, which is all of a PDU's TotalAHSLength.
pub fn segments(bytes: &[u8]) -> Segments<'_> {
    Segments(bytes)
}

/// Iterator of [`segments`]. After an error it ends.
#[derive(Clone, Debug)]
pub struct Segments<'a>(&'a [u8]);

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Ahs<'a>, AhsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let segment = self.cut().ok_or(AhsError);
        if segment.is_err() {
            self.0 = &[];
        }
        Some(segment)
    }
}

impl<'a> Segments<'a> {
    fn cut(&mut self) -> Option<Ahs<'a>> {
        let &[high, low, kind, ..] = self.0 else { return None };
        let end = AHS_HEADER + usize::from(u16::from_be_bytes([high, low]));
        let body = self.0.get(AHS_HEADER..end)?;
        self.0 = self.0.get(end.next_multiple_of(4)..)?;
        understand(kind & TYPE_MASK, body)
    }
}

/// The first byte of both known types is reserved.
fn understand(kind: u8, body: &[u8]) -> Option<Ahs<'_>> {
    match (kind, body) {
        (TYPE_EXTENDED_CDB, [_, cdb @ ..]) => Some(Ahs::ExtendedCdb(cdb)),
        (TYPE_BIDI_READ_LENGTH, &[_, a, b, c, d]) => {
            Some(Ahs::BidiReadLength(u32::from_be_bytes([a, b, c, d])))
        }
        (TYPE_EXTENDED_CDB | TYPE_BIDI_READ_LENGTH, _) => None,
        (other, body) => Some(Ahs::Other(other, body)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_32_byte_cdb_and_a_bidirectional_length() {
        let mut bytes = vec![0, 17, 1, 0];
        bytes.extend(16..32);
        bytes.extend([0, 5, 2, 0, 0, 1, 0, 0]);
        let rest: Vec<u8> = (16..32).collect();
        let found: Result<Vec<_>, _> = segments(&bytes).collect();
        assert_eq!(found.unwrap(), [Ahs::ExtendedCdb(&rest), Ahs::BidiReadLength(65536)]);
    }

    #[test]
    fn padding_is_passed_over() {
        let bytes = [0, 3, 1, 0, 0xaa, 0xbb, 0, 0, 0, 1, 9, 7];
        let found: Vec<_> = segments(&bytes).collect();
        assert_eq!(found, [Ok(Ahs::ExtendedCdb(&[0xaa, 0xbb])), Ok(Ahs::Other(9, &[7]))]);
    }

    #[test]
    fn lies_about_length_are_noticed() {
        for bytes in
            [&[0, 5, 2, 0][..], &[0xff, 0xff, 1, 0], &[0, 4, 2, 0, 0, 0, 0, 0], &[0, 0, 1, 0], &[0, 9]]
        {
            assert_eq!(segments(bytes).last(), Some(Err(AhsError)), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..1020)) {
            prop_assert!(segments(&bytes).count() <= bytes.len() / 3 + 1);
        }
    }
}

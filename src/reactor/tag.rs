//! The tag of an operation: what kind it is and whose.

use crate::ids::ConnId;

/// Whose completion it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Accept(u32),
    Recv(ConnId),
    Send(ConnId),
    Disk(u32),
    Close,
}

const INDEX_BITS: u32 = 24;

impl Tag {
    /// 8 bits of kind, 24 of index, 32 of generation.
    pub(super) fn pack(self) -> u64 {
        let (kind, index, generation) = match self {
            Self::Accept(i) => (0, i, 0),
            Self::Recv(c) => (1, c.index, c.generation),
            Self::Send(c) => (2, c.index, c.generation),
            Self::Disk(i) => (3, i, 0),
            Self::Close => (4, 0, 0),
        };
        debug_assert!(index < 1 << INDEX_BITS);
        kind << 56 | u64::from(index) << 32 | u64::from(generation)
    }

    pub(super) fn unpack(raw: u64) -> Self {
        let index = (raw >> 32) as u32 & ((1 << INDEX_BITS) - 1);
        let conn = ConnId { index, generation: raw as u32 };
        match raw >> 56 {
            0 => Self::Accept(index),
            1 => Self::Recv(conn),
            2 => Self::Send(conn),
            3 => Self::Disk(index),
            _ => Self::Close,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_both_ways() {
        let conn = ConnId { index: 0xff_fffe, generation: 0xff_ffff };
        for tag in [Tag::Accept(7), Tag::Recv(conn), Tag::Send(conn), Tag::Disk(0xff_ffff), Tag::Close] {
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }
}

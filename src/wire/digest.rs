//! CRC32C, the digest of headers and data (RFC 7143 sections 11.2.3 and 13.1).
//!
//! [`Crc`] takes bytes in pieces; [`crc32c`] takes them at once. The calculation is `crc-fast`'s,
//! or with `--cfg portable` a table that needs nothing of the processor; a test holds them equal.

/// Bytes of a digest on the wire.
pub const DIGEST_LEN: usize = 4;

/// CRC32C of `data`.
pub fn crc32c(data: &[u8]) -> u32 {
    engine::whole(data)
}

/// A digest as it travels: the bit order of section 13.1 puts the low byte first.
pub const fn to_wire(crc: u32) -> [u8; DIGEST_LEN] {
    crc.to_le_bytes()
}

/// The digest that `wire` carries.
pub const fn from_wire(wire: [u8; DIGEST_LEN]) -> u32 {
    u32::from_le_bytes(wire)
}

/// A CRC32C in the making: one word, for every PDU under way has one, with a digest or not.
#[derive(Clone, Debug, Default)]
pub struct Crc(engine::State);

impl Crc {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of everything so far.
    pub fn finish(&self) -> u32 {
        self.0.finish()
    }
}

#[cfg(portable)]
use table as engine;

#[cfg(not(portable))]
mod engine {
    use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

    /// The crate's own has all constants of its algorithm in it, 300 bytes, and is made when there are bytes.
    #[derive(Clone, Debug)]
    pub(super) struct State(u64);

    impl Default for State {
        fn default() -> Self {
            Self(u32::MAX.into())
        }
    }

    impl State {
        pub(super) fn update(&mut self, data: &[u8]) {
            let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, self.0);
            digest.update(data);
            self.0 = digest.get_state();
        }

        pub(super) fn finish(&self) -> u32 {
            // A 32-bit algorithm: the upper half of the crate's u64 is zero.
            !self.0 as u32
        }
    }

    pub(super) fn whole(data: &[u8]) -> u32 {
        crc32_iscsi(data)
    }
}

/// Eight bytes per step by eight tables of 256 entries.
#[cfg(any(portable, test))]
mod table {
    /// Castagnoli's polynomial 0x1edc6f41, bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    const LANES: usize = 8;
    static TABLES: [[u32; 256]; LANES] = tables();

    const fn tables() -> [[u32; 256]; LANES] {
        let mut tables = [[0; 256]; LANES];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
                bit += 1;
            }
            tables[0][byte] = crc;
            byte += 1;
        }
        let mut lane = 1;
        while lane < LANES {
            let mut byte = 0;
            while byte < 256 {
                let before = tables[lane - 1][byte];
                tables[lane][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
                byte += 1;
            }
            lane += 1;
        }
        tables
    }

    #[derive(Clone, Debug)]
    pub(super) struct State(u32);

    impl Default for State {
        fn default() -> Self {
            Self(!0)
        }
    }

    impl State {
        pub(super) fn update(&mut self, data: &[u8]) {
            let (eights, rest) = data.as_chunks::<LANES>();
            self.0 = eights.iter().fold(self.0, |crc, eight| step(crc, *eight));
            for byte in rest {
                self.0 = self.0 >> 8 ^ TABLES[0][usize::from(self.0 as u8 ^ byte)];
            }
        }

        pub(super) fn finish(&self) -> u32 {
            !self.0
        }
    }

    pub(super) fn whole(data: &[u8]) -> u32 {
        let mut state = State::default();
        state.update(data);
        state.finish()
    }

    fn step(crc: u32, eight: [u8; LANES]) -> u32 {
        let mixed = u64::from_le_bytes(eight) ^ u64::from(crc);
        mixed
            .to_le_bytes()
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7143 appendix A.4: bytes, and the digest as transmitted.
    fn vectors() -> Vec<(Vec<u8>, [u8; 4])> {
        let read_command = [
            0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0,
            0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
        ];
        vec![
            (vec![0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            (vec![0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            ((0..32).collect(), [0x4e, 0x79, 0xdd, 0x46]),
            ((0..32).rev().collect(), [0x5c, 0xdb, 0x3f, 0x11]),
            (read_command.to_vec(), [0x56, 0x3a, 0x96, 0xd9]),
        ]
    }

    #[test]
    fn the_standards_vectors() {
        for (data, wire) in vectors() {
            assert_eq!(to_wire(crc32c(&data)), wire);
            assert_eq!(to_wire(table::whole(&data)), wire);
            assert_eq!(from_wire(wire), crc32c(&data));
        }
    }

    proptest! {
        #[test]
        fn all_calculations_agree(data in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let oracle = crc32c::crc32c(&data);
            prop_assert_eq!(crc32c(&data), oracle);
            prop_assert_eq!(table::whole(&data), oracle);
        }

        #[test]
        fn pieces_give_the_same(data in proptest::collection::vec(any::<u8>(), 0..600), cut: prop::sample::Index) {
            let cut = cut.index(data.len() + 1);
            let (mut crc, mut twin) = (Crc::new(), table::State::default());
            for piece in [&data[..cut], &data[cut..]] {
                crc.update(piece);
                twin.update(piece);
            }
            prop_assert_eq!(crc.finish(), crc32c(&data));
            prop_assert_eq!(twin.finish(), crc32c(&data));
        }
    }
}

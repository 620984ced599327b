//! What lies on the media of the rehearsal, and what initiators write there: both follow from the place alone, so
//! that any payload that ends up at a wrong place is noticed.

use std::sync::Arc;

use crate::ids::LuId;
use crate::scsi::{Counters, DeviceType, Groups, Identity, Lu, LuFacts, Naa, Thin};

/// The unit that has nothing but zeroes, whatever is written.
pub(super) const BLANK: LuId = LuId(3);

/// What the initiator repeats with WRITE SAME.
pub(super) const FILLING: u8 = 0xa5;

/// Which bytes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Those that are on the medium, and stay there.
    Old = 0x5bd1,
    /// Those that are written.
    New = 0x1b87,
}

impl Content {
    /// The eight bytes around `offset` of a logical unit.
    fn word(self, lu: LuId, offset: u64) -> [u8; 8] {
        if (self, lu) == (Self::Old, BLANK) {
            return [0; 8];
        }
        (offset / 8 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (self as u64) << 17 ^ u64::from(lu.0))
            .to_le_bytes()
    }

    pub(super) fn fill(self, lu: LuId, offset: u64, to: &mut [u8]) {
        let mut done = 0;
        while done < to.len() {
            let at = offset + done as u64;
            let word = &self.word(lu, at)[(at % 8) as usize..];
            let n = word.len().min(to.len() - done);
            to[done..done + n].copy_from_slice(&word[..n]);
            done += n;
        }
    }

    pub(super) fn bytes(self, lu: LuId, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(lu, offset, &mut bytes);
        bytes
    }

    pub(super) fn is(self, lu: LuId, offset: u64, bytes: &[u8]) -> bool {
        self.bytes(lu, offset, bytes.len()) == bytes
    }
}

/// A logical unit of the rehearsal.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) lu: Lu,
    /// Whether its medium is memory.
    pub(super) resident: bool,
}

/// A small thin unit, one with large blocks, one in memory, and one of nothing but zeroes.
pub(super) fn units() -> Vec<Unit> {
    let unit = |number, block_size, bytes: u64, thin: bool, resident| Unit {
        lu: Lu {
            facts: Arc::new(facts(number, block_size, bytes, thin)),
            state: Arc::default(),
            counters: Counters::default(),
        },
        resident,
    };
    vec![
        unit(0, 512, 2 << 20, true, false),
        unit(1, 4096, 4 << 20, false, false),
        unit(2, 512, 1 << 20, true, true),
        unit(BLANK.0 as u8, 512, 1 << 20, true, false),
    ]
}

fn facts(number: u8, block_size: u32, bytes: u64, thin: bool) -> LuFacts {
    let thin = thin.then_some(Thin {
        max_unmap_blocks: 1 << 16,
        max_unmap_descriptors: 16,
        granularity_blocks: 8,
        alignment_blocks: 0,
        lbprz: true,
        max_write_same_blocks: 1 << 16,
        anchors: true,
        threshold_exponent: 0,
        threshold: 0,
    });
    LuFacts {
        name: format!("unit {number}"),
        device: DeviceType::Disk,
        block_size,
        blocks: bytes / u64::from(block_size),
        physical_exponent: 0,
        read_only: false,
        write_cache: true,
        thin,
        identity: Identity {
            vendor: "RINGTGT".into(),
            product: "disk".into(),
            revision: "1".into(),
            serial: format!("{number}"),
            naa: Naa::Short([0x30, 0, 0, 0, 0, 0, 0, number]),
            uuid: [number; 16],
            t10: None,
        },
        optimal_transfer_blocks: 0,
        max_transfer_blocks: 0,
        rotational: false,
        ranges: Vec::new(),
        removable: false,
        saves: true,
        resident: false,
        groups: Groups::default(),
        atomic: None,
        passed: None,
    }
}

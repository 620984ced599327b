//! What a disk is like, by what its logical unit says.

use std::io::{Read, Write};

use anyhow::{Context, bail, ensure};

use crate::initiator::cdb::{self, Cdb};
use crate::initiator::{Direction, Done, Initiator};
use crate::ring::ublk::Geometry;
use crate::scsi::status;

/// Bytes of an answer: more than any of these is long.
const ANSWER: u16 = 96;

/// Smaller blocks no disk has; larger ones than pages of memory the block layer does not know.
const BLOCK_SHIFTS: std::ops::RangeInclusive<u8> = 9..=12;

/// The most sectors that one request forgets or makes zero: the block layer counts their bytes by 32 bits. Whole blocks.
const MOST_SECTORS: u64 = (u32::MAX as u64 >> 9) & !7;

/// See the module page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) geometry: Geometry,
    /// Its blocks have 2 to this power bytes.
    pub(super) block_shift: u8,
}

impl Disk {
    /// Asks LUN 0 of a session.
    ///
    /// # Errors
    /// When it is not ready, no disk, or one that the block layer cannot have.
    pub(super) fn ask<S: Read + Write>(initiator: &mut Initiator<S>) -> anyhow::Result<Self> {
        initiator.clear_attention(0)?;
        let inquiry = must(initiator, cdb::inquiry(None, ANSWER), "INQUIRY")?;
        let kind = inquiry.first().map_or(0x1f, |byte| byte & 0x1f);
        ensure!(kind == 0, "it is no disk, but a device of type {kind:#04x}, which no block device can be");
        let capacity = must(initiator, cdb::read_capacity(), "READ CAPACITY(16)")?;
        let caching = may(initiator, cdb::mode_sense(0x08, ANSWER), "MODE SENSE(10)")?;
        let limits = may(initiator, cdb::inquiry(Some(0xb0), ANSWER), "INQUIRY for B0h")?;
        let rotation = may(initiator, cdb::inquiry(Some(0xb1), ANSWER), "INQUIRY for B1h")?;
        let provisioning = may(initiator, cdb::inquiry(Some(0xb2), ANSWER), "INQUIRY for B2h")?;
        Self::of(&capacity, &caching, &limits, &rotation, &provisioning)
    }

    /// By the answers to READ CAPACITY(16), MODE SENSE(10), and INQUIRY for the pages of block limits,
    /// block device characteristics and logical block provisioning (SBC-4). One that was not had is empty.
    fn of(
        capacity: &[u8],
        caching: &[u8],
        limits: &[u8],
        rotation: &[u8],
        provisioning: &[u8],
    ) -> anyhow::Result<Self> {
        let (last, block) = (wide(capacity, 0), number(capacity, 8));
        ensure!(block.is_power_of_two(), "its blocks have {block} bytes, which is no power of two");
        let block_shift = block.trailing_zeros() as u8;
        ensure!(
            BLOCK_SHIFTS.contains(&block_shift),
            "its blocks have {block} bytes; block devices have 512 to 4096"
        );
        let per_block = 1u64 << (block_shift - 9);
        let physical_shift = block_shift + (byte(capacity, 13) & 0x0f);
        let sectors = last.checked_add(1).and_then(|blocks| blocks.checked_mul(per_block));
        let unmaps = byte(provisioning, 5) & 0x80 != 0;
        let most = |blocks: u64| blocks.saturating_mul(per_block).min(MOST_SECTORS) as u32;
        let granularity = number(limits, 28).max(1).saturating_mul(block);
        let geometry = Geometry {
            sectors: sectors.context("it has more blocks than a block device can have")?,
            logical_shift: block_shift,
            physical_shift,
            optimal_shift: physical_shift,
            read_only: byte(caching, 3) & 0x80 != 0,
            // 0: it does not say; 1: it does not turn.
            rotational: number(rotation, 2) & 0xffff > 1,
            // DPOFUA.
            durable_writes: byte(caching, 3) & 0x10 != 0,
            most_discarded: if unmaps { most(number(limits, 20).into()) } else { 0 },
            discard_granularity: if unmaps { granularity } else { 0 },
            most_zeroed: most(wide(limits, 36)),
        };
        Ok(Self { geometry, block_shift })
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_be_bytes(*four))
}

fn wide(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_be_bytes(*eight))
}

/// The answer to a command, as far as it came.
fn must<S: Read + Write>(initiator: &mut Initiator<S>, cdb: Cdb, what: &str) -> anyhow::Result<Vec<u8>> {
    answer(initiator.execute(0, cdb, Direction::In, vec![0; ANSWER.into()])?, what)
}

fn answer(done: Done, what: &str) -> anyhow::Result<Vec<u8>> {
    match (done.status, done.sense_code()) {
        (status::GOOD, _) => Ok(done.buffer[..done.received].to_vec()),
        (status::CHECK_CONDITION, Some((0x02, ..))) => bail!("its store is not ready"),
        (status, sense) => {
            let sense = sense.map_or_else(String::new, |(key, asc, ascq)| {
                format!(", sense key {key:#x}, ASC/ASCQ {asc:#04x}/{ascq:#04x}")
            });
            bail!("{what} is answered with status {status:#04x}{sense}")
        }
    }
}

/// The same, or nothing where the logical unit has no such command or page. One that only does not tell now, for a
/// reservation, say, is asked again when the disk is tried again.
fn may<S: Read + Write>(initiator: &mut Initiator<S>, cdb: Cdb, what: &str) -> anyhow::Result<Vec<u8>> {
    let done = initiator.execute(0, cdb, Direction::In, vec![0; ANSWER.into()])?;
    match done.sense_code() {
        Some((0x05, 0x20 | 0x24, _)) => Ok(Vec::new()),
        _ => answer(done, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(last: u64, block: u32, exponent: u8) -> Vec<u8> {
        let mut bytes = [&last.to_be_bytes()[..], &block.to_be_bytes(), &[0; 20]].concat();
        bytes[13] = exponent;
        bytes
    }

    #[test]
    fn a_disk_that_says_little_is_plain() {
        let disk = Disk::of(&capacity(2047, 512, 3), &[], &[], &[], &[]).unwrap();
        let plain = Geometry {
            sectors: 2048,
            logical_shift: 9,
            physical_shift: 12,
            optimal_shift: 12,
            ..Geometry::default()
        };
        assert_eq!(disk, Disk { geometry: plain, block_shift: 9 });
    }

    #[test]
    fn what_it_says_counts() {
        let mut limits = vec![0; 64];
        limits[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
        limits[28..32].copy_from_slice(&4u32.to_be_bytes());
        limits[36..44].copy_from_slice(&1024u64.to_be_bytes());
        let caching = [0, 26, 0, 0x90, 0, 0, 0, 0, 0x08, 0x12, 0x04];
        let provisioning = [0, 0xb2, 0, 4, 0, 0xe4];
        let disk =
            Disk::of(&capacity(255, 4096, 0), &caching, &limits, &[0, 0xb1, 0, 60, 0, 1], &provisioning)
                .unwrap();
        let Geometry { sectors, read_only, rotational, durable_writes, .. } = disk.geometry;
        assert_eq!((sectors, read_only, durable_writes), (2048, true, true));
        assert!(!rotational);
        let Geometry { most_discarded, discard_granularity, most_zeroed, .. } = disk.geometry;
        assert_eq!((most_discarded, discard_granularity, most_zeroed), (8_388_600, 16_384, 8192));
    }

    #[test]
    fn what_no_block_device_can_be_is_refused() {
        for block in [0, 520, 256, 8192] {
            assert!(Disk::of(&capacity(7, block, 0), &[], &[], &[], &[]).is_err(), "{block}");
        }
        assert!(Disk::of(&capacity(u64::MAX, 512, 0), &[], &[], &[], &[]).is_err());
    }
}

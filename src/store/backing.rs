//! An open store: its facts, and the medium behind it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::StoreKind;
use crate::mem::Region;
use crate::scsi::{Atomic, Groups, Identity, LuFacts, Thin, WHOLE};

/// The transfer that is fastest: one slot of the largest class, so one operation on the disk.
const OPTIMAL_TRANSFER: u32 = 256 << 10;
/// The longest READ or WRITE: what the Linux initiator sends at most. Longer ones would hold a task for too long.
const MAX_TRANSFER: u32 = 32 << 20;

/// The unit in which nothing takes atomic writes: the largest logical block, and what devices have.
const PAGE: u32 = 4096;

/// One store, opened once per process and shared by all reactors; it is let go of when the last
/// holder, the kernel included, has ended.
#[derive(Debug)]
pub struct Backing {
    /// Its name in the configuration.
    pub name: String,
    /// What it is made of.
    pub kind: StoreKind,
    /// The device or file, if it has one.
    pub path: Option<PathBuf>,
    /// Capacity in logical blocks, when it was opened.
    pub blocks: u64,
    /// Bytes beyond which it is not to grow while it is served, because its configuration gives them.
    pub fixed: Option<u64>,
    /// All of its space is allocated.
    pub allocated: bool,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// A physical block is 2 to this power logical blocks.
    pub physical_exponent: u8,
    /// It was opened for reading only.
    pub read_only: bool,
    /// Writes rest in a volatile cache until flushed.
    pub write_cache: bool,
    /// How space is given back, if it can be.
    pub thin: Option<Thin>,
    /// It has moving parts.
    pub rotational: bool,
    /// Initiators may eject it and load it again.
    pub removable: bool,
    /// Where the bytes are.
    pub medium: Medium,
    /// What an administrator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Where the bytes of a store are.
#[derive(Debug)]
pub enum Medium {
    /// Behind a file descriptor.
    File(FileMedium),
    /// In this memory, shared by all reactors; only ever copied to and from.
    Ram(Arc<Region>),
    /// Nowhere.
    Null,
}

/// A file or block device.
#[derive(Debug)]
pub struct FileMedium {
    /// The one open file description.
    pub file: File,
    /// Around the page cache.
    pub direct: bool,
    /// A block device.
    pub is_block: bool,
    /// Every write must be durable before it is answered.
    pub dsync_always: bool,
    /// How space is given back.
    pub discard: DiscardMethod,
}

/// How a file or device gives space back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiscardMethod {
    /// It does not.
    None,
    /// `fallocate` with `PUNCH_HOLE`: what is gone reads as zeroes.
    Punch,
    /// `BLKDISCARD`: what is gone reads as anything.
    Forget,
}

impl Backing {
    /// Capacity in bytes, when it was opened.
    pub fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }

    /// What is written to nothing vanishes as a whole; it does so by pages, to be like a device. Of no other medium is it
    /// known what a write leaves that is cut off.
    fn atomic(&self) -> Option<Atomic> {
        let page = PAGE / self.block_size;
        let by_pages = Atomic {
            max_blocks: WHOLE / self.block_size,
            alignment_blocks: page,
            granularity_blocks: page,
            natural: false,
        };
        matches!(self.medium, Medium::Null).then_some(by_pages)
    }

    /// What the SCSI side is to know of it. `saves`: there is a place for what must outlive the process.
    pub fn facts(&self, identity: Identity, groups: Groups, saves: bool) -> LuFacts {
        LuFacts {
            name: self.name.clone(),
            block_size: self.block_size,
            blocks: self.blocks,
            physical_exponent: self.physical_exponent,
            read_only: self.read_only,
            write_cache: self.write_cache,
            thin: self.thin,
            identity,
            optimal_transfer_blocks: OPTIMAL_TRANSFER / self.block_size,
            max_transfer_blocks: MAX_TRANSFER / self.block_size,
            rotational: self.rotational,
            removable: self.removable,
            saves,
            resident: !matches!(self.medium, Medium::File(_)),
            groups,
            atomic: self.atomic(),
        }
    }
}

impl DiscardMethod {
    /// Whether what is gone is sure to read as zeroes (LBPRZ).
    pub fn zeroes(self) -> bool {
        self == Self::Punch
    }
}

//! What a logical unit is: the facts that no command changes while it is exported. Of these only the capacity
//! can change by itself.
//!
//! Owns geometry, capabilities and identity, as the store and the configuration give them, and
//! the few numbers that follow from them. State that commands can change is in `state`.

use serde::{Deserialize, Serialize};

use super::{Device, Groups};

/// The most that one WRITE SAME may cover on a logical unit that is not thin, in bytes: enough
/// to zero a disk in few commands, little enough that a slow disk writes it within an initiator's patience.
const WRITE_SAME_BYTES: u64 = 256 << 20;

/// The most data-out of a command that must be there as a whole before it can begin, in bytes.
pub const WHOLE: u32 = 256 << 10;

/// What kind of device a logical unit is (SPC-5 section 6.6.2): it decides which commands, pages and sizes there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DeviceType {
    /// A direct access block device (SBC-4).
    #[default]
    Disk,
    /// A drive of the multimedia command set (MMC-6), with a disc that nobody can write.
    Cdrom,
}

impl DeviceType {
    /// PERIPHERAL DEVICE TYPE.
    pub fn code(self) -> u8 {
        match self {
            Self::Disk => 0x00,
            Self::Cdrom => 0x05,
        }
    }

    /// The logical block lengths that initiators know of such a device, in bytes, ascending.
    pub fn block_sizes(self) -> &'static [u32] {
        match self {
            Self::Disk => &[512, 4096],
            Self::Cdrom => &[2048],
        }
    }

    /// The word that the configuration uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Cdrom => "cdrom",
        }
    }
}

/// The facts of one logical unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LuFacts {
    /// Its name in the configuration, for people.
    pub name: String,
    /// What kind of device it is.
    pub device: DeviceType,
    /// Logical block length in bytes: a power of two, 512 to 4096.
    pub block_size: u32,
    /// Capacity in logical blocks.
    pub blocks: u64,
    /// A physical block is 2 to this power logical blocks.
    pub physical_exponent: u8,
    /// Whether the medium itself refuses writing.
    pub read_only: bool,
    /// Whether writes rest in a volatile cache until flushed.
    pub write_cache: bool,
    /// Thin provisioning, if the store can give space back.
    pub thin: Option<Thin>,
    /// Names under which initiators know it.
    pub identity: Identity,
    /// The transfer length that is fastest, in blocks; 0: not said.
    pub optimal_transfer_blocks: u32,
    /// The longest READ or WRITE in blocks; 0: no limit.
    pub max_transfer_blocks: u32,
    /// Whether the medium rotates.
    pub rotational: bool,
    /// What of it has an actuator of its own, if there are several: first block and number of blocks, as of when the store
    /// was opened.
    pub ranges: Vec<(u64, u64)>,
    /// Whether the medium can be taken out and put in again (RMB), by START STOP UNIT.
    pub removable: bool,
    /// Whether what commands ask to be saved outlives the process.
    pub saves: bool,
    /// Whether the medium is memory, so that every block is always at hand.
    pub resident: bool,
    /// By which ports it is reached, and how well.
    pub groups: Groups,
    /// What can be written so that it is there as a whole or not at all, if anything.
    pub atomic: Option<Atomic>,
    /// The device of this host that it is, if its commands are passed through. Much of the above is then for the
    /// device to say.
    pub passed: Option<Device>,
}

/// How space is given back (SBC-4 section 4.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thin {
    /// Blocks that one UNMAP may cover; `u32::MAX`: no limit.
    pub max_unmap_blocks: u32,
    /// Descriptors that one UNMAP may carry; `u32::MAX`: no limit.
    pub max_unmap_descriptors: u32,
    /// Blocks that can be given back at once; 0: not said.
    pub granularity_blocks: u32,
    /// First block of the first such unit.
    pub alignment_blocks: u32,
    /// Whether unmapped blocks read as zeroes.
    pub lbprz: bool,
    /// Blocks that one WRITE SAME may cover; 0: no limit.
    pub max_write_same_blocks: u64,
    /// Whether blocks can be anchored: no data, but space of their own (ANC_SUP).
    pub anchors: bool,
    /// A threshold set is 2 to this power blocks; 0: it is not known how much space there is.
    pub threshold_exponent: u8,
    /// Initiators are told when no more threshold sets than this are left, unless they set it otherwise; 0: never.
    pub threshold: u32,
}

/// Atomic writes (SBC-4 section 4.29), in blocks; 0: no such limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Atomic {
    /// The longest; never 0, at most [`WHOLE`] bytes.
    pub max_blocks: u32,
    /// LBAs must be multiples of this.
    pub alignment_blocks: u32,
    /// And lengths of this.
    pub granularity_blocks: u32,
    /// Lengths must be powers of two, and LBAs multiples of the length, as Linux has it.
    pub natural: bool,
}

/// A locally or globally assigned NAA designator (SPC-5 section 7.7.6.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Naa {
    /// NAA 2h, 3h or 5h: 8 bytes.
    Short([u8; 8]),
    /// NAA 6h: 16 bytes.
    Long([u8; 16]),
}

impl Naa {
    /// The designator's bytes, big-endian as on the wire.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

/// Names under which initiators know a logical unit; equal on every port, different on every unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// T10 vendor identification, at most 8 printable ASCII characters.
    pub vendor: String,
    /// Product identification, at most 16.
    pub product: String,
    /// Product revision level, at most 4.
    pub revision: String,
    /// Unit serial number.
    pub serial: String,
    /// The designator that multipath software compares.
    pub naa: Naa,
    /// The same unit as a UUID (RFC 9562), in wire order.
    pub uuid: [u8; 16],
    /// What follows the vendor in the T10 vendor ID based designator; without this, the serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t10: Option<String>,
}

/// A T10 vendor ID based designator is held to 64 bytes: 8 of vendor, and these.
pub const T10_MAX: usize = 56;

impl Identity {
    /// What follows the vendor in the T10 vendor ID based designator.
    pub fn t10(&self) -> &str {
        let whole = self.t10.as_ref().unwrap_or(&self.serial);
        whole.get(..T10_MAX).unwrap_or(whole)
    }
}

impl LuFacts {
    /// Capacity in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }

    /// The ranges, if they are all of it: not of a medium that has another size than its device.
    pub(super) fn concurrent_ranges(&self) -> Option<&[(u64, u64)]> {
        let follow =
            |end: u64, (start, blocks): &(u64, u64)| (*start == end).then(|| end.saturating_add(*blocks));
        let end = self.ranges.iter().try_fold(0, follow);
        (self.ranges.len() > 1 && end == Some(self.blocks)).then_some(&self.ranges)
    }

    /// Whether INQUIRY data or mode parameters of `other` are not the same.
    pub fn shows_otherwise(&self, other: &Self) -> bool {
        let tpgs = |facts: &Self| facts.groups.iter().fold(0, |all, g| all | g.tpgs());
        self.identity != other.identity
            || self.removable != other.removable
            || self.read_only != other.read_only
            || tpgs(self) != tpgs(other)
    }

    /// MAXIMUM COMPARE AND WRITE LENGTH: what is compared and what is written are there together.
    pub fn max_compare_and_write_blocks(&self) -> u8 {
        u8::try_from(WHOLE / 2 / self.block_size.max(1)).unwrap_or(u8::MAX)
    }

    /// MAXIMUM WRITE SAME LENGTH in blocks; 0: no limit.
    pub fn max_write_same_blocks(&self) -> u64 {
        match &self.thin {
            Some(thin) => thin.max_write_same_blocks,
            None => WRITE_SAME_BYTES / u64::from(self.block_size.max(1)),
        }
    }
}

//! What an administrator says about a store. Plain data: nothing here is checked against the machine.

use std::path::{Path, PathBuf};

use crate::scsi::{DeviceType, Groups};

/// What a store is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreKind {
    /// A block device, by direct I/O.
    Block,
    /// A regular file, by direct I/O where the file system has it.
    Fileio,
    /// Memory of this process; gone when it ends.
    Ramdisk,
    /// Nothing: writes vanish, reads are zeroes. For measuring everything else.
    Null,
    /// A SCSI device of this host, whose commands are passed through.
    Pscsi,
}

/// How a block device is worked on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Io {
    /// By direct I/O of the kernel.
    #[default]
    Direct,
    /// Likewise; the ends of reads and writes are polled for.
    Polled,
    /// By commands of NVMe, around the block layer.
    Passthrough,
}

/// One store, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// What it is made of.
    pub kind: StoreKind,
    /// What initiators take it for.
    pub device: DeviceType,
    /// Its name in the configuration, in messages and in the tree.
    pub name: String,
    /// The device or file; unused for memory and nothing.
    pub path: Option<PathBuf>,
    /// Bytes. A file that is absent or empty is made this long; memory and nothing need it.
    pub size: Option<u64>,
    /// Bytes of a logical block: one of those that the device type has. By default the smallest that direct I/O can address.
    pub block_size: Option<u32>,
    /// `Some(false)`: every write is durable before it is answered. By default what the device does;
    /// a file is write-back.
    pub write_back: Option<bool>,
    /// How the device is worked on.
    pub io: Io,
    /// Initiators may not write; the store is opened for reading only.
    pub read_only: bool,
    /// Initiators see a removable medium, which they may eject and load again.
    pub removable: bool,
    /// `Some(false)`: all space is allocated when the store is opened, and none is given back.
    /// By default whatever the store can do.
    pub thin: Option<bool>,
    /// Initiators are told when the file system has no more than so many bytes left.
    pub low_space: Option<u64>,
    /// Parts of its identity that the administrator chose.
    pub identity: IdentityOverride,
    /// Its target port groups, to which no port belongs yet.
    pub groups: Groups,
}

/// The parts of an identity that a configuration may set; the others are saved or derived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityOverride {
    /// The unit serial number (VPD page 80h).
    pub serial: Option<String>,
    /// The NAA designator: 8 bytes, or 16 when it begins with 6.
    pub naa: Option<Vec<u8>>,
    /// The UUID designator.
    pub uuid: Option<[u8; 16]>,
    /// Vendor, product and revision of the standard INQUIRY data.
    pub vendor: Option<String>,
    /// At most 16 characters.
    pub product: Option<String>,
    /// At most 4 characters.
    pub revision: Option<String>,
    /// What follows the vendor in the T10 vendor ID based designator.
    pub t10: Option<String>,
}

impl StoreConfig {
    /// A store of that kind and name with everything else left to the defaults.
    pub fn new(kind: StoreKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            device: DeviceType::Disk,
            name: name.into(),
            path: None,
            size: None,
            block_size: None,
            write_back: None,
            io: Io::Direct,
            read_only: false,
            removable: false,
            thin: None,
            low_space: None,
            identity: IdentityOverride::default(),
            groups: Groups::default(),
        }
    }
}

impl StoreConfig {
    /// The same as a disc in a drive: nobody writes it, and it can be taken out.
    pub fn into_cdrom(self) -> Self {
        Self { device: DeviceType::Cdrom, read_only: true, removable: true, ..self }
    }
}

impl Io {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Polled, Self::Passthrough];

    /// The word that the configuration uses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Polled => "polled",
            Self::Passthrough => "passthrough",
        }
    }
}

impl StoreKind {
    /// What `path` would have to be opened as: a block device as itself, anything else as a file.
    pub fn of_path(path: &Path) -> Self {
        use std::os::unix::fs::FileTypeExt;
        match std::fs::metadata(path) {
            Ok(meta) if meta.file_type().is_block_device() => Self::Block,
            _ => Self::Fileio,
        }
    }

    /// The word that the configuration uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Fileio => "fileio",
            Self::Ramdisk => "ramdisk",
            Self::Null => "null",
            Self::Pscsi => "pscsi",
        }
    }
}

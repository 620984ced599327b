//! Opening SCSI devices of this host that are to be passed through.
//!
//! A device with a block node is held by that, exclusively, whichever node was named: so nothing that is mounted from it
//! or made of it can be harmed by commands that go around the page cache. One without (a tape, a library, an enclosure)
//! is held by the `flock` of its generic node, which keeps out those who ask for it.
//!
//! When the daemon is killed the kernel keeps a thread that waits at a block node until the device has ended the command,
//! and with it the process and what it holds. At a generic node it lets the thread go, and the command alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrayvec::ArrayVec;

use super::backing::{Backing, Medium};
use super::blocking::BlockingPool;
use super::claim::{claim, lock};
use super::open::base;
use super::pass::{Node, PassMedium, Passage};
use super::queue::{QueueFacts, sysfs_of};
use super::{OpenError, StoreConfig};
use crate::scsi::{Device, DeviceKind, PassOrder, PassReport, Removal, WHOLE, status};
use crate::sys::{self, ScsiData};

/// CAP_SYS_RAWIO, by its number.
const RAW_IO: u32 = 17;

/// Commands that a device has at a time. The generic driver takes 16 of one open file.
const DEPTH: usize = 8;

/// The oldest version of the interface for SCSI commands that has what we use.
const OLDEST: u32 = 30_000;

/// How often a device may report an attention, or be busy, before it is taken for not ready.
const ATTEMPTS: usize = 8;

/// How long a device may take to say what it is, in seconds.
const SECONDS: u32 = 30;

/// Opens the device of `config`.
pub(super) fn open(config: &StoreConfig, path: &Path, patience: Duration) -> Result<Backing, OpenError> {
    let node = node_of(path)?;
    let is_block = is_block(&node);
    let file = claim(&node, patience, || open_node(&node, is_block, config.read_only))?;
    let version = sys::scsi_version(file.as_fd()).unwrap_or(0);
    if version < OLDEST {
        return Err(OpenError::new(path, "is no SCSI device", "use kind = \"block\" for other disks"));
    }
    let queue = queue_of(&file).filter(|_| is_block);
    let volatile = queue.as_ref().is_some_and(|queue| queue.write_back);
    let most = longest(queue.map_or_else(|| by_generic_node(&file), |queue| queue.transfer_max));
    let passage = Node(file);
    let found = Found::learn(&passage, most).map_err(|what| {
        OpenError::new(path, what, "check that it is there and answers: sg_inq, sg_turs; and see dmesg")
    })?;
    if found.removable {
        let_go(&passage);
    }
    let threads =
        BlockingPool::of_device(DEPTH).map_err(|e| OpenError::from_io(path, "gets no threads", &e))?;
    Ok(found.backing(
        config,
        PassMedium { passage: Box::new(passage), threads: Some(threads), device: found.device },
        volatile,
    ))
}

fn open_node(node: &Path, is_block: bool, read_only: bool) -> io::Result<File> {
    let exclusive = if is_block { libc::O_EXCL } else { 0 };
    // Not waiting for a medium: a drive without one answers commands, too.
    let flags = exclusive | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(!read_only).custom_flags(flags).open(node)?;
    if !is_block {
        lock(&file, false)?;
    }
    Ok(file)
}

fn is_block(node: &Path) -> bool {
    fs::metadata(node).is_ok_and(|meta| meta.file_type().is_block_device())
}

/// Without that capability the kernel lets only those commands through that it knows (`scsi_cmd_allowed`).
fn has_raw_io() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask >> RAW_IO & 1 == 1)
}

fn queue_of(file: &File) -> Option<QueueFacts> {
    file.metadata().ok().map(|meta| QueueFacts::read(&sysfs_of(meta.rdev())))
}

fn by_generic_node(file: &File) -> u64 {
    sys::scsi_transfer_max(file.as_fd()).unwrap_or(0).into()
}

/// The longest transfer: what there is a slot for, and the host adapter takes. To go beyond that the kernel refuses, in
/// words that mean an error of the hardware elsewhere. Zero: it is not told.
fn longest(adapter: u64) -> u32 {
    match u32::try_from(adapter) {
        Ok(0) | Err(_) => WHOLE,
        Ok(adapter) => adapter.min(WHOLE),
    }
}

/// The node by which a device is held and reached, by the one that an administrator has named.
fn node_of(path: &Path) -> Result<PathBuf, OpenError> {
    let meta = fs::metadata(path).map_err(|e| OpenError::from_io(path, "cannot be opened", &e))?;
    if meta.file_type().is_block_device() {
        return whole_disk(path, &sysfs_of(meta.rdev()));
    }
    if !meta.file_type().is_char_device() {
        return Err(OpenError::new(path, "is no device", "name a device such as /dev/sg1 or /dev/sdb"));
    }
    let sysfs = char_sysfs(meta.rdev());
    match generic_of(&sysfs) {
        None => {
            Err(OpenError::new(path, "is no SCSI device", "name one such as /dev/sg1 or /dev/sdb: lsscsi -g"))
        }
        Some(name) if !is_generic(&sysfs) => {
            let remedy = format!("use /dev/{name}, which takes any command");
            Err(OpenError::new(path, "is not the generic node of a SCSI device", remedy))
        }
        Some(_) => Ok(block_of(&sysfs).unwrap_or_else(|| path.to_owned())),
    }
}

/// The block device that belongs to a generic node, if it has one.
pub(super) fn block_node(path: &Path) -> Option<PathBuf> {
    let meta = fs::metadata(path).ok()?;
    if meta.file_type().is_char_device() { block_of(&char_sysfs(meta.rdev())) } else { None }
}

fn whole_disk(path: &Path, sysfs: &Path) -> Result<PathBuf, OpenError> {
    if sysfs.join("partition").exists() {
        let remedy = "name the whole disk: commands address all of it";
        return Err(OpenError::new(path, "is a partition", remedy));
    }
    Ok(path.to_owned())
}

fn char_sysfs(device: u64) -> PathBuf {
    format!("/sys/dev/char/{}:{}", libc::major(device), libc::minor(device)).into()
}

fn is_generic(sysfs: &Path) -> bool {
    fs::canonicalize(sysfs.join("subsystem")).is_ok_and(|link| link.ends_with("scsi_generic"))
}

/// The name of the generic node of a SCSI device, by any of its nodes.
fn generic_of(sysfs: &Path) -> Option<String> {
    first_name(&sysfs.join("device/scsi_generic"))
}

/// The block device's node, when it is where it usually is and is that device.
fn block_of(sysfs: &Path) -> Option<PathBuf> {
    let directory = sysfs.join("device/block");
    let name = first_name(&directory)?;
    let node = Path::new("/dev").join(&name);
    let rdev = fs::metadata(&node).ok()?.rdev();
    let number = fs::read_to_string(directory.join(&name).join("dev")).ok()?;
    (number.trim() == format!("{}:{}", libc::major(rdev), libc::minor(rdev))).then_some(node)
}

fn first_name(directory: &Path) -> Option<String> {
    let entry = fs::read_dir(directory).ok()?.next()?.ok()?;
    entry.file_name().into_string().ok()
}

/// What a device says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    device: Device,
    removable: bool,
    blocks: u64,
    block_size: u32,
}

impl Found {
    fn learn(passage: &dyn Passage, most: u32) -> Result<Self, String> {
        let mut standard = [0; 36];
        if ask(passage, &[0x12, 0, 0, 0, 36, 0], &mut standard)? < 5 {
            return Err("does not answer INQUIRY".into());
        }
        let (peripheral, version) = (standard[0], standard[2]);
        let kind = DeviceKind::of_type(peripheral).filter(|_| peripheral >> 5 == 0);
        let Some(kind) = kind else {
            return Err(format!("is of a type that cannot be passed through ({peripheral:#04x})"));
        };
        let long_inquiry = version >= 3;
        let has = pages(passage, long_inquiry)?;
        let device = Device {
            kind,
            peripheral: peripheral & 0x1f,
            long_inquiry,
            names: has.contains(&0x83),
            limits: has.contains(&0xb0),
            most,
        };
        let (blocks, block_size) = match kind {
            DeviceKind::Disk | DeviceKind::Optical => capacity(passage, kind)?,
            _ => (0, 512),
        };
        Ok(Self { device, removable: standard[1] & 0x80 != 0, blocks, block_size })
    }

    fn backing(self, config: &StoreConfig, medium: PassMedium, volatile: bool) -> Backing {
        let len = self.blocks * u64::from(self.block_size);
        let base = base(config, len, self.block_size, Medium::Pass(medium));
        Backing {
            removable: self.removable,
            write_cache: volatile && !config.read_only,
            allocated: false,
            warnings: warnings(config),
            ..base
        }
    }
}

fn warnings(config: &StoreConfig) -> Vec<String> {
    let lacking = (!has_raw_io()).then(|| {
        let name = &config.name;
        format!("{name}: the kernel keeps some commands from the device: it wants CAP_SYS_RAWIO for them")
    });
    lacking.into_iter().collect()
}

/// The kernel keeps the medium of a removable disk in for whoever opens it (`sd_open`), which none of our initiators has
/// asked for. A device that cannot keep it in refuses, and that is as good.
fn let_go(passage: &dyn Passage) {
    let allow = Removal { prevent: false, persistent: false, is_new: false };
    let _ = ask(passage, &allow.cdb(), &mut []);
}

/// The VPD pages that it has. Some devices fail when they are asked.
fn pages(passage: &dyn Passage, long: bool) -> Result<Vec<u8>, String> {
    let mut list = [0; 255];
    let cdb = [0x12, 1, 0, 0, 255, 0];
    let len = if long { ask(passage, &cdb, &mut list)? } else { 0 };
    let most = 4 + usize::from(u16::from_be_bytes([list[2], list[3]]));
    Ok(list.get(4..len.min(most)).unwrap_or(&[]).to_vec())
}

/// Blocks, and how long they are; without a medium, or one that is ready, none.
fn capacity(passage: &dyn Passage, kind: DeviceKind) -> Result<(u64, u32), String> {
    let usual = if kind == DeviceKind::Optical { 2048 } else { 512 };
    let mut short = [0; 8];
    if ask(passage, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &mut short)? < 8 {
        return Ok((0, usual));
    }
    let [a, b, c, d, e, f, g, h] = short;
    let (last, block) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let mut long = [0; 32];
    let cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let (last, block) = match last {
        u32::MAX if ask(passage, &cdb, &mut long)? >= 12 => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = long;
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
        }
        last => (last.into(), block),
    };
    match block {
        1..=WHOLE => Ok((last.saturating_add(1), block)),
        _ => Err(format!("has blocks of {block} bytes")),
    }
}

/// Asks it something, and again when it has something else to tell first. How many bytes came: none when it refuses.
fn ask(passage: &dyn Passage, cdb: &[u8], into: &mut [u8]) -> Result<usize, String> {
    let cdb: ArrayVec<u8, 16> = cdb.iter().copied().collect();
    let order = PassOrder { cdb, reads: false, changes: false, standby: true, seconds: SECONDS };
    for _ in 0..ATTEMPTS {
        let data = if into.is_empty() { ScsiData::Nothing } else { ScsiData::In(into) };
        let run = passage.run(&order, data);
        let report = run.map_err(|e| format!("does not take SCSI commands: {e}"))?;
        match report {
            PassReport { status: status::GOOD, moved, .. } => return Ok(moved as usize),
            PassReport { status: status::BUSY, .. } => std::thread::sleep(Duration::from_millis(100)),
            report if report.attention().is_some() => {}
            _ => return Ok(0),
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{StoreKind, open};
    use super::*;

    /// A device that gives these answers, one after the other: the first byte of the CDB, and what comes of it.
    #[derive(Debug)]
    struct Scripted(Mutex<Vec<(u8, PassReport, Vec<u8>)>>);

    impl Passage for Scripted {
        fn run(&self, order: &PassOrder, data: ScsiData<'_>) -> io::Result<PassReport> {
            let (opcode, mut report, bytes) = self.0.lock().unwrap().remove(0);
            assert_eq!(order.cdb[0], opcode);
            if let ScsiData::In(into) = data {
                let len = bytes.len().min(into.len());
                into[..len].copy_from_slice(&bytes[..len]);
                report.moved = len as u32;
            }
            Ok(report)
        }
    }

    fn good(opcode: u8, bytes: &[u8]) -> (u8, PassReport, Vec<u8>) {
        (opcode, PassReport::default(), bytes.to_vec())
    }

    fn check(opcode: u8, key: u8, asc: u8) -> (u8, PassReport, Vec<u8>) {
        let sense = [0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, 0, 0, 0, 0, 0].into_iter().collect();
        (opcode, PassReport { status: 2, sense, moved: 0 }, Vec::new())
    }

    fn standard(peripheral: u8, version: u8) -> (u8, PassReport, Vec<u8>) {
        let mut bytes = [0; 36];
        (bytes[0], bytes[2]) = (peripheral, version);
        good(0x12, &bytes)
    }

    fn learn(script: Vec<(u8, PassReport, Vec<u8>)>) -> Result<Found, String> {
        let device = Scripted(Mutex::new(script));
        let found = Found::learn(&device, 65536);
        assert!(device.0.lock().unwrap().is_empty(), "everything was asked");
        found
    }

    #[test]
    fn a_disk_is_asked_what_it_is() {
        let pages = good(0x12, &[0, 0, 0, 4, 0, 0x80, 0x83, 0xb0]);
        let size = good(0x25, &[0, 0, 0x3f, 0xff, 0, 0, 0x10, 0]);
        let found = learn(vec![standard(0, 5), pages, check(0x25, 6, 0x29), size]).unwrap();
        let device = Device { most: 65536, ..Device::whole(DeviceKind::Disk) };
        assert_eq!(found, Found { device, removable: false, blocks: 0x4000, block_size: 4096 });
    }

    #[test]
    fn a_large_disk_needs_the_long_question() {
        let size = good(0x25, &[0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
        let long = good(0x9e, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0]);
        let found = learn(vec![standard(0, 5), check(0x12, 5, 0x24), size, long]).unwrap();
        assert_eq!((found.blocks, found.block_size, found.device.names), ((1 << 32) + 1, 512, false));
    }

    #[test]
    fn a_drive_without_a_medium_is_served() {
        let found = learn(vec![standard(5, 0), check(0x25, 2, 0x3a)]).unwrap();
        assert_eq!((found.blocks, found.block_size, found.device.long_inquiry), (0, 2048, false));
        let tape = learn(vec![standard(1, 4), good(0x12, &[1, 0, 0, 1, 0])]).unwrap();
        assert_eq!((tape.device.kind, tape.device.peripheral), (DeviceKind::Tape, 1));
    }

    #[test]
    fn a_medium_is_let_go_whatever_the_device_has_to_say_first() {
        let device = Scripted(Mutex::new(vec![check(0x1e, 6, 0x28), good(0x1e, &[])]));
        let_go(&device);
        assert!(device.0.lock().unwrap().is_empty(), "it was told again");
    }

    #[test]
    fn no_transfer_is_longer_than_the_adapter_takes() {
        assert_eq!(
            [0, 120 << 10, 256 << 10, 4 << 20, 1 << 40].map(longest),
            [WHOLE, 120 << 10, WHOLE, WHOLE, WHOLE]
        );
    }

    #[test]
    fn what_cannot_be_passed_through_is_refused() {
        for peripheral in [0x1f, 0x7f, 0x20, 0x03, 0x0c, 0x14] {
            assert!(learn(vec![standard(peripheral, 5)]).unwrap_err().contains("type"), "{peripheral:#x}");
        }
    }

    #[test]
    fn other_things_are_no_scsi_devices() {
        let open = |path: &str| {
            let config = StoreConfig { path: Some(path.into()), ..StoreConfig::new(StoreKind::Pscsi, "p") };
            open(&config, Duration::ZERO).unwrap_err()
        };
        assert!(open("/dev/null").what.contains("no SCSI device"));
        assert!(open("/proc/version").what.contains("no device"));
        assert!(open("/nonexistent").what.contains("cannot be opened"));
    }
}

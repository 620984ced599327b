//! Who else is using a store: read from /proc and /sys for the message, never for a decision about data.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::queue::{read_word, sysfs_of};

/// What is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// A file, by its file system and inode.
    File { device: u64, inode: u64 },
    /// A block device, by its number.
    Device(u64),
}

/// Who holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// This process: two stores of one configuration are the same.
    Ourselves,
    /// A running process.
    Process { pid: u32, name: String },
    /// A process that has ended, while the kernel still works on what it had queued.
    Ended { pid: u32 },
    /// The device is mounted there.
    Mounted(String),
    /// A device-mapper, RAID or similar device is made of it.
    Stacked(String),
    /// Nobody that can be seen from here.
    Unseen,
}

impl Subject {
    /// The file or device with that metadata.
    pub(super) fn of(meta: &Metadata) -> Self {
        if meta.file_type().is_block_device() {
            Self::Device(meta.rdev())
        } else {
            Self::File { device: meta.dev(), inode: meta.ino() }
        }
    }
}

impl Holder {
    /// Looks for whoever holds `subject`.
    pub(super) fn find(subject: &Subject) -> Self {
        let found = match *subject {
            Subject::File { device, inode } => lock_owner(device, inode).map(Self::of_pid),
            Subject::Device(device) => device_user(device),
        };
        found.unwrap_or(Self::Unseen)
    }

    fn of_pid(pid: u32) -> Self {
        match process_name(pid) {
            _ if pid == std::process::id() => Self::Ourselves,
            Some(name) => Self::Process { pid, name },
            None => Self::Ended { pid },
        }
    }

    /// Whether waiting can help.
    pub(super) fn may_let_go(&self) -> bool {
        matches!(self, Self::Process { .. } | Self::Ended { .. } | Self::Unseen)
    }

    /// What an administrator can do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Ourselves => "let each store appear once; export one store through several LUNs instead",
            Self::Process { .. } => "stop that process, or choose another store",
            Self::Ended { .. } => "wait until the kernel has finished its writes, and check the disk: dmesg",
            Self::Mounted(_) => "unmount it: a mounted disk may not be written from elsewhere",
            Self::Stacked(_) => "export the device on top, or take it apart first",
            Self::Unseen => "find the user with lsof, fuser or lsblk (as root), or in another container",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => write!(f, "another store of this process {}", std::process::id()),
            Self::Process { pid, name } => write!(f, "process {pid} ({name})"),
            Self::Ended { pid } => write!(f, "process {pid}, which has ended; its last writes are not done"),
            Self::Mounted(at) => write!(f, "a file system mounted at {at}"),
            Self::Stacked(names) => write!(f, "{names}, which is made of it"),
            Self::Unseen => write!(f, "the kernel or a process that cannot be seen from here"),
        }
    }
}

/// The `flock` holder of an inode (`/proc/locks`, proc(5)). Lines may be missed while other locks come and go.
fn lock_owner(device: u64, inode: u64) -> Option<u32> {
    (0..3).find_map(|_| owner_in(&fs::read_to_string("/proc/locks").ok()?, device, inode))
}

/// Lines are `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; waiters have `->` after the number.
fn owner_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let wanted = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_flock = words.next() == Some("FLOCK");
        let pid = words.nth(2)?.parse().ok()?;
        (is_flock && words.next()? == wanted).then_some(pid)
    })
}

/// Whoever keeps a block device busy: a mount, a device on top, or a process that has it open.
fn device_user(device: u64) -> Option<Holder> {
    let sysfs = sysfs_of(device);
    let numbers = with_partitions(device, &sysfs);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounted_in(&mounts, &numbers)
        .map(Holder::Mounted)
        .or_else(|| on_top(&sysfs).map(Holder::Stacked))
        .or_else(|| process_with_open(device).map(Holder::of_pid))
}

/// `major:minor` of a device and of its partitions: a mounted partition keeps the disk busy too.
fn with_partitions(device: u64, sysfs: &Path) -> HashSet<String> {
    let entries = fs::read_dir(sysfs).into_iter().flatten().flatten();
    let partitions = entries.filter_map(|e| read_word(&e.path().join("dev")));
    partitions.chain([format!("{}:{}", libc::major(device), libc::minor(device))]).collect()
}

/// Where one of the devices is mounted (`/proc/self/mountinfo`, proc(5): fields 3 and 5).
fn mounted_in(mountinfo: &str, numbers: &HashSet<String>) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut words = line.split(' ').skip(2);
        let number = words.next()?;
        let at = words.nth(1)?;
        numbers.contains(number).then(|| at.to_owned())
    })
}

fn on_top(sysfs: &Path) -> Option<String> {
    let names: Vec<_> = fs::read_dir(sysfs.join("holders"))
        .ok()?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// A process that has the block device open. That does not prove that it asked to have it alone, so the
/// likeliest goes first: ourselves, then another that runs this program.
fn process_with_open(device: u64) -> Option<u32> {
    let us = std::process::id();
    let our_name = process_name(us);
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut users: Vec<u32> = pids.filter(|pid| has_open(*pid, device)).collect();
    users.sort_by_cached_key(|pid| (*pid != us, process_name(*pid) != our_name));
    users.first().copied()
}

fn has_open(pid: u32, device: u64) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    // Only device nodes are looked at: asking about a file on a dead network mount could hang.
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with("/dev")))
        .filter_map(|fd| fs::metadata(fd.path()).ok())
        .any(|meta| meta.file_type().is_block_device() && meta.rdev() == device)
}

/// The name of a process that still runs; a zombie holds nothing by itself.
fn process_name(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = (stat.split_once('(')?.1).rsplit_once(')')?;
    let state = rest.trim_start().chars().next()?;
    (!matches!(state, 'Z' | 'X')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_found_by_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:5 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 fe:00:5 0 EOF\n\
                     3: FLOCK  ADVISORY  READ  13 fe:01:5 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 fe:00:5 0 EOF\n";
        let device = libc::makedev(0xfe, 0);
        assert_eq!(owner_in(locks, device, 5), Some(14));
        assert_eq!(owner_in(locks, device, 6), None);
        assert_eq!(owner_in("garbage\n\n", device, 5), None);
    }

    #[test]
    fn mounts_are_found_by_number() {
        let mounts = "36 35 98:0 /sub /mnt/a rw,noatime master:1 - ext3 /dev/root rw\n\
                      37 35 254:1 / /srv rw - ext4 /dev/vda1 rw\n";
        let numbers = |n: &str| HashSet::from([n.to_owned()]);
        assert_eq!(mounted_in(mounts, &numbers("254:1")).as_deref(), Some("/srv"));
        assert_eq!(mounted_in(mounts, &numbers("254:0")), None);
    }

    #[test]
    fn processes_have_names_until_they_end() {
        assert!(process_name(std::process::id()).is_some());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(Holder::of_pid(pid), Holder::Ended { pid });
        assert!(Holder::of_pid(pid).may_let_go());
        assert!(!Holder::of_pid(std::process::id()).may_let_go());
    }
}

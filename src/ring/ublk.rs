//! Block devices that a program serves: ublk, the kernel's `ublk_drv` (Linux 6.0).
//!
//! Owns: its commands and structures, and which devices a program like this one has left. Promises: a command of [`Ublk`] has ended when it
//! returns, or the kernel has none of our memory with it; what the parts of a queue's request mean is told in sectors, as the
//! kernel has it. Refuses to know: who serves what.
//!
//! A device has a queue of numbered requests (tags). Its server waits for each of them with a command of its own on the
//! character device, [`Kind::Serve`](super::Kind::Serve), which gives back the one before, too. The device itself is made,
//! set, started, stopped and deleted by commands on `/dev/ublk-control`, which need longer entries.
//!
//! Names and values are those of `linux/ublk_cmd.h`.

#![allow(missing_debug_implementations)] // zerocopy's derive makes hidden types; every structure here has Debug

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use io_uring::opcode::{UringCmd16, UringCmd80};
use io_uring::squeue::{Entry, Entry128};
use io_uring::types::{Fd, SubmitArgs};
use io_uring::{EnterFlags, cqueue};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Caps;
use super::ring::{Queues, monotonic_ns};
use super::setup::{make, timespec, tolerate};
use crate::mem::Window;

/// Where devices are made.
const CONTROL: &str = "/dev/ublk-control";

/// What is in the way where there is no ublk, and what to do about it.
const ABSENT: &str = "there is no /dev/ublk-control, so this kernel has no ublk, by which local disks are made: run `modprobe \
                      ublk_drv` (Linux 6.0 or newer, made with CONFIG_BLK_DEV_UBLK; in a container, the host's)";

const GET_DEV_INFO: u32 = 0x02;
const ADD_DEV: u32 = 0x04;
const DEL_DEV: u32 = 0x05;
const START_DEV: u32 = 0x06;
const STOP_DEV: u32 = 0x07;
const SET_PARAMS: u32 = 0x08;
const FETCH_REQ: u32 = 0x20;
const COMMIT_AND_FETCH_REQ: u32 = 0x21;

/// `_IOR` and `_IOWR`, and the letter that is ublk's.
const READ: u32 = 2 << 30;
const READ_WRITE: u32 = 3 << 30;
const LETTER: u32 = (b'u' as u32) << 8;

/// `UBLK_F_CMD_IOCTL_ENCODE`: the driver knows commands by their numbers as of `ioctl`, not by the plain ones (6.4).
const ENCODED: u64 = 1 << 6;

const ATTR_READ_ONLY: u32 = 1 << 0;
const ATTR_ROTATIONAL: u32 = 1 << 1;
const ATTR_VOLATILE_CACHE: u32 = 1 << 2;
const ATTR_FUA: u32 = 1 << 3;

const PARAM_BASIC: u32 = 1 << 0;
const PARAM_DISCARD: u32 = 1 << 1;

/// `UBLK_S_DEV_DEAD`: nobody serves it.
const DEAD: u16 = 0;

/// Any number for a device.
const ANY: u32 = u32::MAX;

/// `ublksrv_flags`, the server's own, of devices that were made by a program like this one: this word, and below it when, in
/// seconds.
const OURS: u64 = 0x7274_6774 << 32;

/// A device that is older has been opened by whoever has made it, if he is still alive, seconds.
const YOUTH: u32 = 3;

/// What the driver hands a page of descriptors in.
const PAGE: usize = 4096;

/// Entries of the ring for commands on devices: one is on its way at a time.
const ENTRIES: u32 = 4;

/// How long the kernel may take to show the nodes of a device.
const NODE_PATIENCE: Duration = Duration::from_secs(1);

/// As long as it takes.
const FOREVER: Duration = Duration::MAX;

/// `struct ublksrv_ctrl_cmd`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct ControlCommand {
    device: u32,
    queue: u16,
    len: u16,
    address: u64,
    data: [u64; 2],
}

/// `struct ublksrv_ctrl_dev_info`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DeviceInfo {
    queues: u16,
    depth: u16,
    state: u16,
    pad0: u16,
    max_io: u32,
    device: u32,
    server: i32,
    pad1: u32,
    flags: u64,
    server_flags: u64,
    reserved: [u64; 3],
}

impl DeviceInfo {
    /// Whether a program like this one has made it, long ago, and nobody serves it.
    fn is_forsaken(&self, now: u32) -> bool {
        let is_ours = self.server_flags >> 32 << 32 == OURS;
        is_ours && self.state == DEAD && now.wrapping_sub(self.server_flags as u32) >= YOUTH
    }
}

/// By the clock that all processes of a system have in common, in seconds.
fn now() -> u32 {
    (monotonic_ns() / 1_000_000_000) as u32
}

/// `struct ublk_param_basic`, `struct ublk_param_discard`, and what `struct ublk_params` has before them.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Params {
    len: u32,
    types: u32,
    attrs: u32,
    logical_shift: u8,
    physical_shift: u8,
    optimal_shift: u8,
    least_shift: u8,
    max_sectors: u32,
    chunk_sectors: u32,
    sectors: u64,
    boundary_mask: u64,
    discard_alignment: u32,
    discard_granularity: u32,
    max_discard: u32,
    max_write_zeroes: u32,
    discard_segments: u16,
    reserved: [u16; 3],
}

/// `struct ublksrv_io_cmd`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct IoCommand {
    queue: u16,
    tag: u16,
    result: i32,
    address: u64,
}

const _: () = assert!(size_of::<ControlCommand>() == 32 && size_of::<DeviceInfo>() == 64);
const _: () = assert!(size_of::<Params>() == 64 && size_of::<IoCommand>() == 16);

/// What a disk is like, in sectors of 512 bytes where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Geometry {
    /// Its length.
    pub sectors: u64,
    /// Bytes of a logical block: two to this power.
    pub logical_shift: u8,
    /// Bytes of a physical block, likewise.
    pub physical_shift: u8,
    /// Bytes that are best moved at once, likewise.
    pub optimal_shift: u8,
    /// It cannot be written.
    pub read_only: bool,
    /// It turns.
    pub rotational: bool,
    /// It has writes that are durable when they have ended (FUA). Without, each is followed by a flush.
    pub durable_writes: bool,
    /// The most that one request forgets; 0: nothing can be forgotten.
    pub most_discarded: u32,
    /// Bytes that are forgotten as a whole.
    pub discard_granularity: u32,
    /// The most that one request makes zero; 0: that cannot be asked for.
    pub most_zeroed: u32,
}

impl Geometry {
    fn params(&self, max_sectors: u32) -> Params {
        let attr = |on: bool, bit: u32| if on { bit } else { 0 };
        let trims = self.most_discarded > 0 || self.most_zeroed > 0;
        Params {
            len: size_of::<Params>() as u32,
            types: PARAM_BASIC | if trims { PARAM_DISCARD } else { 0 },
            attrs: attr(self.read_only, ATTR_READ_ONLY)
                | attr(self.rotational, ATTR_ROTATIONAL)
                // Whoever may change the caching mode page can switch a cache on: so what is to last is always flushed.
                | ATTR_VOLATILE_CACHE
                | attr(self.durable_writes, ATTR_FUA),
            logical_shift: self.logical_shift,
            physical_shift: self.physical_shift,
            optimal_shift: self.optimal_shift,
            least_shift: self.physical_shift,
            max_sectors,
            sectors: self.sectors,
            // The driver wants one wherever there is this part, and one segment wherever something can be forgotten.
            discard_granularity: self.discard_granularity.max(1 << self.logical_shift),
            max_discard: self.most_discarded,
            max_write_zeroes: self.most_zeroed,
            discard_segments: u16::from(self.most_discarded > 0),
            ..Params::default()
        }
    }
}

/// The one queue of a device, to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Its character device, open for as long as it is served.
    pub(super) device: RawFd,
    encoded: bool,
}

/// A device that was made, and is neither served nor seen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub number: u32,
    encoded: bool,
}

impl Made {
    /// Its queue, on its open character device.
    pub fn queue(self, device: &File) -> Queue {
        Queue { device: device.as_raw_fd(), encoded: self.encoded }
    }

    /// Opens where its queue is served, which nobody else can from then on. As long as it is open no other program takes
    /// the device for one that was left.
    ///
    /// # Errors
    /// When it does not appear, or may not be opened: why that may be.
    pub fn open(self) -> io::Result<File> {
        let path = character_device(self.number);
        wait_for_node(&path)?;
        open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => explained(error),
            kind => io::Error::new(kind, format!("{}: {error}", path.display())),
        })
    }

    /// Where it is used.
    pub fn block_device(self) -> PathBuf {
        block_device(self.number)
    }
}

/// Where the queue of the device of that number is served.
fn character_device(number: u32) -> PathBuf {
    format!("/dev/ublkc{number}").into()
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Where the device of that number is used.
pub fn block_device(number: u32) -> PathBuf {
    format!("/dev/ublkb{number}").into()
}

/// What is asked of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Read to the place.
    Read,
    /// Write from the place.
    Write {
        /// With FUA: it is durable when it has ended.
        durable: bool,
    },
    /// All that was written becomes durable.
    Flush,
    /// Forget.
    Discard,
    /// Make zero.
    WriteZeroes {
        /// Space may be given back.
        unmap: bool,
    },
    /// Something that no disk of ours was said to do.
    Unknown,
}

/// A request of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub asked: Asked,
    /// The first sector of 512 bytes.
    pub start: u64,
    /// So many of them.
    pub sectors: u32,
}

/// Bytes of `struct ublksrv_io_desc`.
const DESCRIPTOR: usize = 24;

impl Request {
    /// Of a descriptor, as it lies in memory: operation and flags, sectors, first sector, address.
    fn of(descriptor: &[u8; DESCRIPTOR]) -> Self {
        let half = |at: usize| u32::from_ne_bytes(descriptor[at..at + 4].try_into().unwrap_or_default());
        let start = u64::from_ne_bytes(descriptor[8..16].try_into().unwrap_or_default());
        Self { asked: asked(half(0)), start, sectors: half(4) }
    }
}

fn asked(word: u32) -> Asked {
    const FUA: u32 = 1 << 13;
    const NOUNMAP: u32 = 1 << 15;
    match word & 0xff {
        0 => Asked::Read,
        1 => Asked::Write { durable: word & FUA != 0 },
        2 => Asked::Flush,
        3 => Asked::Discard,
        5 => Asked::WriteZeroes { unmap: word & NOUNMAP == 0 },
        _ => Asked::Unknown,
    }
}

/// The requests of a queue, as the driver shows them.
#[derive(Debug)]
pub struct Requests(Window);

impl Requests {
    /// Those of a device with so many tags.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(device: &File, depth: u16) -> io::Result<Self> {
        let len = (usize::from(depth) * DESCRIPTOR).next_multiple_of(PAGE);
        Window::new(device.as_fd(), len).map(Self)
    }

    /// That of a tag which the driver has handed out.
    pub fn get(&self, tag: u16) -> Request {
        Request::of(&self.0.read(usize::from(tag) * DESCRIPTOR))
    }
}

/// An entry that gives back a request, if there was one, and waits for the next.
pub(super) fn entry(queue: Queue, tag: u16, answer: Option<i32>, at: *mut u8) -> Entry {
    let number = if answer.is_some() { COMMIT_AND_FETCH_REQ } else { FETCH_REQ };
    let number = if queue.encoded { encoded(READ_WRITE, number, size_of::<IoCommand>()) } else { number };
    let command = IoCommand { queue: 0, tag, result: answer.unwrap_or(0), address: at as u64 };
    let mut bytes = [0; 16];
    bytes.copy_from_slice(command.as_bytes());
    UringCmd16::new(Fd(queue.device), number).cmd(bytes).build()
}

const fn encoded(direction: u32, number: u32, size: usize) -> u32 {
    direction | (size as u32) << 16 | LETTER | number
}

/// Commands on devices. Each waits for its end, and needs the right to administer the system (CAP_SYS_ADMIN).
pub struct Ublk {
    queues: Queues<Entry128, cqueue::Entry>,
    control: File,
    encoded: bool,
    /// How many commands there were: the answer of one that is not waited for any more may come while another is.
    commands: u64,
}

impl std::fmt::Debug for Ublk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ublk").field("encoded", &self.encoded).finish_non_exhaustive()
    }
}

impl Ublk {
    /// Opens the door to the driver.
    ///
    /// # Errors
    /// Where there is none, or it is closed: why, and what to do.
    pub fn open() -> io::Result<Self> {
        let control = File::options().read(true).write(true).open(CONTROL).map_err(explained)?;
        // Any thread may ask, so the ring belongs to none.
        let ring = make(&Caps::default(), 2 * ENTRIES, |_| {})?;
        Ok(Self { queues: Queues::new(ring), control, encoded: true, commands: 0 })
    }

    /// Makes a device with one queue of `depth` tags, each of which moves at most `max_io` bytes. `number`: none is any that is
    /// free.
    ///
    /// # Errors
    /// The kernel's, with what to do.
    pub fn add(&mut self, number: Option<u32>, depth: u16, max_io: u32) -> io::Result<Made> {
        let number = number.unwrap_or(ANY);
        let mut info = Box::new(DeviceInfo {
            queues: 1,
            depth,
            max_io,
            device: number,
            flags: ENCODED,
            server_flags: OURS | u64::from(now()),
            ..DeviceInfo::default()
        });
        self.in_either_form(|ublk| ublk.with_info(READ_WRITE, ADD_DEV, number, &mut info))
            .map_err(explained)?;
        Ok(Made { number: info.device, encoded: self.encoded })
    }

    /// Says what a device is like, before it is started.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set(&mut self, made: Made, geometry: &Geometry, max_io: u32) -> io::Result<()> {
        self.encoded = made.encoded;
        let params = Box::new(geometry.params(max_io >> 9));
        let address = (&raw const *params) as u64;
        let len = size_of::<Params>() as u16;
        self.call(READ_WRITE, SET_PARAMS, made.number, (address, len), 0, FOREVER)
    }

    /// Shows a device whose queue is served by now, or soon; when this returns it can be used. Its partitions are read
    /// meanwhile, so the queue is served by another thread, and it takes as long as the store takes. To delete the device
    /// before that has ended would keep all others from being made.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(&mut self, made: Made) -> io::Result<()> {
        self.encoded = made.encoded;
        let server = u64::from(std::process::id());
        self.call(READ_WRITE, START_DEV, made.number, (0, 0), server, FOREVER)
    }

    /// Takes a device away from those who use it, when what they wrote has been answered; then its queue has no requests any
    /// more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stop(&mut self, made: Made) -> io::Result<()> {
        self.encoded = made.encoded;
        self.call(READ_WRITE, STOP_DEV, made.number, (0, 0), 0, FOREVER)
    }

    /// Deletes a device, stopping it first if need be; its number is free when this returns.
    ///
    /// # Errors
    /// The kernel's; or that somebody still has it open after that time. It goes when he closes it.
    pub fn delete(&mut self, made: Made, within: Duration) -> io::Result<()> {
        self.encoded = made.encoded;
        self.delete_number(made.number, within)
    }

    fn delete_number(&mut self, number: u32, within: Duration) -> io::Result<()> {
        self.call(READ_WRITE, DEL_DEV, number, (0, 0), 0, within)
    }

    /// Deletes the devices that programs like this one have left which are no more: what is served by a process that was
    /// killed is stopped by the kernel, before 6.7 after some seconds, and its number stays taken. Which numbers those were.
    /// One that is served, or yet to be, is left alone, whoever has made it: he may be of another container.
    pub fn sweep(&mut self, within: Duration) -> Vec<u32> {
        let left: Vec<u32> = numbers().into_iter().filter(|number| self.is_left(*number)).collect();
        left.into_iter().filter(|number| self.delete_number(*number, within).is_ok()).collect()
    }

    fn is_left(&mut self, number: u32) -> bool {
        let mut info = Box::<DeviceInfo>::default();
        let known = self.in_either_form(|ublk| ublk.with_info(READ, GET_DEV_INFO, number, &mut info));
        // Whoever has made one has it open, and the kernel lets no two have that: no process knows all others by number.
        known.is_ok() && info.is_forsaken(now()) && open(&character_device(number)).is_ok()
    }

    /// A command by its number as of `ioctl`, and where that is not known, before 6.4, by its plain one: there it is taken
    /// for a command on a device that is not there.
    fn in_either_form(&mut self, mut command: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        const ENOTSUPP: i32 = 524;
        self.encoded = true;
        let error = match command(self) {
            Err(error) => error,
            well => return well,
        };
        if !matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP | ENOTSUPP)) {
            return Err(error);
        }
        self.encoded = false;
        command(self)
    }

    fn with_info(&mut self, direction: u32, what: u32, number: u32, info: &mut DeviceInfo) -> io::Result<()> {
        let address = (&raw mut *info) as u64;
        self.call(direction, what, number, (address, size_of::<DeviceInfo>() as u16), 0, FOREVER)
    }

    /// One command, to its end. Only one that has no memory of ours may end before the kernel is done with it.
    fn call(
        &mut self,
        direction: u32,
        what: u32,
        device: u32,
        (address, len): (u64, u16),
        data: u64,
        within: Duration,
    ) -> io::Result<()> {
        debug_assert!(address == 0 || within == FOREVER, "the kernel may still write there");
        let number = if self.encoded { encoded(direction, what, size_of::<ControlCommand>()) } else { what };
        let command = ControlCommand { device, queue: u16::MAX, len, address, data: [data, 0] };
        let mut bytes = [0; 80];
        bytes[..size_of_val(&command)].copy_from_slice(command.as_bytes());
        self.commands += 1;
        let entry = UringCmd80::new(Fd(self.control.as_raw_fd()), number).cmd(bytes).build();
        let entry = entry.user_data(self.commands);
        assert!(self.queues.publish(&entry), "the one before has ended");
        match self.wait(within)? {
            error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(()),
        }
    }

    fn wait(&mut self, within: Duration) -> io::Result<i32> {
        let deadline = Instant::now().checked_add(within);
        loop {
            self.queues.sq.sync();
            let waiting = self.queues.sq.len() as u32;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| timespec(left.as_nanos() as u64));
            let args = left.as_ref().map(|left| SubmitArgs::new().timespec(left));
            if let Err(error) = self.queues.enter(waiting, 1, EnterFlags::GETEVENTS, args.as_ref()) {
                tolerate(&error);
            }
            self.queues.cq.sync();
            if let Some(cqe) = self.queues.cq.find(|cqe| cqe.user_data() == self.commands) {
                return Ok(cqe.result());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// The numbers of the devices that there are.
fn numbers() -> Vec<u32> {
    let entries = std::fs::read_dir("/sys/class/ublk-char").into_iter().flatten().flatten();
    let number = |name: std::ffi::OsString| name.to_str()?.strip_prefix("ublkc")?.parse().ok();
    entries.filter_map(|entry| number(entry.file_name())).collect()
}

/// Waits until a node of a device is there.
///
/// # Errors
/// When it does not come: why that may be.
pub fn wait_for_node(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + NODE_PATIENCE;
    while !path.exists() {
        if Instant::now() >= deadline {
            let path = path.display();
            let what = format!(
                "{path} does not appear: /dev is not the kernel's (devtmpfs), as in a container; share the host's /dev with it"
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The same error, with what to do.
fn explained(error: io::Error) -> io::Error {
    let what = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => ABSENT.to_owned(),
        Some(libc::EPERM | libc::EACCES) => format!(
            "ublk: {error}: making local disks needs CAP_SYS_ADMIN, and in a systemd unit DeviceAllow=/dev/ublk-control rw and \
             DeviceAllow=char-ublk-char rw (see tuning/README.md)"
        ),
        Some(libc::EEXIST) => {
            "a device of that number is there already; choose another `device`, or leave it out".to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_numbers_of_the_header() {
        assert_eq!(encoded(READ_WRITE, ADD_DEV, 32), 0xc020_7504);
        assert_eq!(encoded(READ, GET_DEV_INFO, 32), 0x8020_7502);
        assert_eq!(encoded(READ_WRITE, COMMIT_AND_FETCH_REQ, 16), 0xc010_7521);
    }

    #[test]
    fn a_descriptor_is_read_as_the_driver_has_written_it() {
        let bytes = |word: u32, sectors: u32, start: u64| {
            let mut bytes = [0; DESCRIPTOR];
            bytes[..4].copy_from_slice(&word.to_ne_bytes());
            bytes[4..8].copy_from_slice(&sectors.to_ne_bytes());
            bytes[8..16].copy_from_slice(&start.to_ne_bytes());
            bytes
        };
        let request = Request::of(&bytes(1 | 1 << 13, 8, 77));
        assert_eq!(request, Request { asked: Asked::Write { durable: true }, start: 77, sectors: 8 });
        let of = |word| Request::of(&bytes(word, 0, 0)).asked;
        assert_eq!([of(0), of(1), of(2)], [Asked::Read, Asked::Write { durable: false }, Asked::Flush]);
        assert_eq!(of(3), Asked::Discard);
        let zeroes = [Asked::WriteZeroes { unmap: true }, Asked::WriteZeroes { unmap: false }];
        assert_eq!([of(5), of(5 | 1 << 15)], zeroes);
        assert_eq!(of(15), Asked::Unknown);
    }

    #[test]
    fn what_is_served_or_was_just_made_or_by_others_is_not_forsaken() {
        let info = DeviceInfo { server_flags: OURS | 100, ..DeviceInfo::default() };
        assert!(info.is_forsaken(100 + YOUTH) && !info.is_forsaken(99 + YOUTH));
        assert!(!DeviceInfo { state: DEAD + 1, ..info }.is_forsaken(1000));
        assert!(!DeviceInfo { server_flags: 1, ..info }.is_forsaken(1000));
        let late = DeviceInfo { server_flags: OURS | u64::from(u32::MAX), ..info };
        assert!(late.is_forsaken(YOUTH) && !late.is_forsaken(YOUTH - 2), "seconds are counted by 32 bits");
    }

    #[test]
    fn parameters_say_what_the_disk_is() {
        let disk = Geometry { sectors: 2048, logical_shift: 9, physical_shift: 12, ..Geometry::default() };
        let params = disk.params(512);
        assert_eq!((params.len, params.types, params.attrs), (64, PARAM_BASIC, 4));
        assert_eq!((params.sectors, params.max_sectors, params.physical_shift), (2048, 512, 12));
        let thin = Geometry { durable_writes: true, most_discarded: 8, discard_granularity: 4096, ..disk };
        let params = thin.params(512);
        assert_eq!((params.types, params.attrs), (PARAM_BASIC | PARAM_DISCARD, 12));
        assert_eq!((params.discard_granularity, params.discard_segments), (4096, 1));
        assert_eq!(params.as_bytes()[24..32], 2048u64.to_ne_bytes(), "where the header has dev_sectors");
        assert_eq!(params.as_bytes()[40..44], 0u32.to_ne_bytes(), "discard_alignment");
        assert_eq!(params.as_bytes()[44..48], 4096u32.to_ne_bytes());
    }

    #[test]
    fn where_there_is_none_it_is_said_what_to_do() {
        let said = explained(io::Error::from_raw_os_error(libc::ENOENT)).to_string();
        assert!(said.contains("modprobe ublk_drv") && said.contains("CONFIG_BLK_DEV_UBLK"), "{said}");
        let said = explained(io::Error::from_raw_os_error(libc::EPERM)).to_string();
        assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    }
}

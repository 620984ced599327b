//! The few system calls that std has no safe door to.
//!
//! Owns: block device ioctls, `SG_IO`, one command of NVMe, `fallocate`, `FIEMAP`, parts of `statx` and `statvfs`, the kernel's announcements, socket options, what is asked of
//! network interfaces, the listener that takes both address families, what the service manager hands over, the open-file limit, what the kernel is told of threads, and processor time. Promises: safe
//! functions with `io::Result`s, each one system call, no policy. Refuses to know: io_uring (the
//! ring has its own), and why anybody asks.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::{c_int, c_ulong, c_void, socklen_t};

/// `BLKROGET` (`linux/fs.h`): whether a block device is read-only.
const BLKROGET: c_ulong = 0x125e;
/// `BLKDISCARD`: forget a byte range.
const BLKDISCARD: c_ulong = 0x1277;
/// `BLKSSZGET`: logical sector size.
const BLKSSZGET: c_ulong = 0x1268;
/// `BLKPBSZGET`: physical sector size.
const BLKPBSZGET: c_ulong = 0x127b;
/// `BLKGETSIZE64`: size in bytes. Its number holds the size of a `size_t`, as `_IOR` made it.
const BLKGETSIZE64: c_ulong = 0x8000_1272 | ((size_of::<usize>() as c_ulong) << 16);

/// `FICLONERANGE`. Its number holds the 32 bytes of what it takes, as `_IOW` made it.
const FICLONERANGE: c_ulong = 0x4020_940d;

/// What direct I/O on an open file must be aligned to, in bytes. Zeroes: there is no direct I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectAlignment {
    /// Of the memory.
    pub memory: u32,
    /// Of the offset in the file and of the length.
    pub offset: u32,
}

/// Direct-I/O alignment by `statx` (Linux 6.1), or `None` when the kernel or the file system does not say.
pub fn direct_alignment(fd: BorrowedFd<'_>) -> io::Result<Option<DirectAlignment>> {
    let out = statx(fd, libc::STATX_DIOALIGN)?;
    let known = out.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(known.then_some(DirectAlignment { memory: out.stx_dio_mem_align, offset: out.stx_dio_offset_align }))
}

/// What `mask` names of an open file.
fn statx(fd: BorrowedFd<'_>, mask: u32) -> io::Result<libc::statx> {
    const EMPTY: &CStr = c"";
    let mut out = MaybeUninit::<libc::statx>::zeroed();
    // By number, for the C library has the function only from glibc 2.28 on.
    // SAFETY: the path is a C string, the buffer is a whole statx; the kernel keeps neither.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd.as_raw_fd(),
            EMPTY.as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            out.as_mut_ptr(),
        )
    };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are a valid statx (integers only), and the call only wrote more of them.
    Ok(unsafe { out.assume_init() })
}

/// Turns direct I/O of an open file on or off.
///
/// # Errors
/// `EINVAL` when the file system has no direct I/O.
pub fn set_direct(fd: BorrowedFd<'_>, direct: bool) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = if direct { flags | libc::O_DIRECT } else { flags & !libc::O_DIRECT };
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// Logical sector size of a block device, bytes.
pub fn block_sector(fd: BorrowedFd<'_>) -> io::Result<u32> {
    read_ioctl::<c_int>(fd, BLKSSZGET).map(|n| n as u32)
}

/// Physical sector size of a block device, bytes.
pub fn block_physical(fd: BorrowedFd<'_>) -> io::Result<u32> {
    read_ioctl::<u32>(fd, BLKPBSZGET)
}

/// Size of a block device, bytes.
pub fn block_len(fd: BorrowedFd<'_>) -> io::Result<u64> {
    read_ioctl::<u64>(fd, BLKGETSIZE64)
}

/// Whether a block device refuses to be written.
pub fn block_read_only(fd: BorrowedFd<'_>) -> io::Result<bool> {
    read_ioctl::<c_int>(fd, BLKROGET).map(|n| n != 0)
}

/// Discards a byte range of a block device. What it reads as afterwards is not defined. Blocks.
pub fn block_discard(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let range: [u64; 2] = [offset, len];
    // SAFETY: the request only reads two u64 from the pointer, which lives until the call returns.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) }).map(drop)
}

/// An ioctl whose answer is one integer.
fn read_ioctl<T: Copy + Default>(fd: BorrowedFd<'_>, request: c_ulong) -> io::Result<T> {
    let mut value = T::default();
    // SAFETY: each request used in this file writes exactly one T, which lives until the call returns.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &mut value as *mut T) })?;
    Ok(value)
}

/// `fallocate` with the given mode bits (`libc::FALLOC_FL_*`). Blocks.
pub fn fallocate(fd: BorrowedFd<'_>, mode: c_int, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (to_off(offset)?, to_off(len)?);
    loop {
        // SAFETY: no memory is passed.
        match check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, len) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map(drop),
        }
    }
}

/// `FICLONERANGE` (`linux/fs.h`): a range of one file shares the extents of a range of another, of the same file system.
/// Blocks.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOTTY`: the file system has no shared extents; `EXDEV`: it is not the same one; `EINVAL`: the ranges
/// cut its blocks, or overlap.
pub fn clone_range(
    from: BorrowedFd<'_>,
    from_offset: u64,
    to: BorrowedFd<'_>,
    offset: u64,
    len: u64,
) -> io::Result<()> {
    let from = from.as_raw_fd() as i64 as u64;
    let range: [u64; 4] = [from, from_offset, len, offset];
    // SAFETY: the request only reads a struct file_clone_range (a signed and three unsigned numbers of 64 bits) from
    // the pointer, which lives until the call returns.
    check(unsafe { libc::ioctl(to.as_raw_fd(), FICLONERANGE as _, range.as_ptr()) }).map(drop)
}

/// `lseek`, for `SEEK_DATA` and `SEEK_HOLE`: where that is next from `from` on. It moves the file's position, which
/// nothing of ours uses.
///
/// # Errors
/// The kernel's; `ENXIO`: there is none any more.
pub fn seek(fd: BorrowedFd<'_>, from: u64, whence: c_int) -> io::Result<u64> {
    let from = to_off(from)?;
    // SAFETY: no memory is passed.
    let at = unsafe { libc::lseek(fd.as_raw_fd(), from, whence) };
    u64::try_from(at).map_err(|_| io::Error::last_os_error())
}

/// `SG_IO` (`scsi/sg.h`): run a SCSI command.
const SG_IO: c_ulong = 0x2285;
/// `SG_GET_VERSION_NUM`: the version of this interface; only SCSI devices have one.
const SG_GET_VERSION_NUM: c_ulong = 0x2282;
/// `SG_DXFER_NONE`, `SG_DXFER_TO_DEV`, `SG_DXFER_FROM_DEV`.
const SG_NONE: c_int = -1;
const SG_TO_DEVICE: c_int = -2;
const SG_FROM_DEVICE: c_int = -3;

/// `struct sg_io_hdr`, version 3.
#[repr(C)]
struct SgHeader {
    interface_id: c_int,
    direction: c_int,
    cmd_len: u8,
    max_sense: u8,
    iovec_count: u16,
    data_len: u32,
    data: *mut c_void,
    cmd: *mut u8,
    sense: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: c_int,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_len: u8,
    host_status: u16,
    driver_status: u16,
    residual: c_int,
    duration: u32,
    info: u32,
}

/// What a SCSI command moves.
#[derive(Debug)]
pub enum ScsiData<'a> {
    /// Nothing.
    Nothing,
    /// From the device.
    In(&'a mut [u8]),
    /// To the device.
    Out(&'a [u8]),
}

/// How a SCSI command has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScsiAnswer {
    /// The status that the device has given.
    pub status: u8,
    /// What the host adapter has to say (`DID_…`).
    pub host: u16,
    /// What the driver has to say.
    pub driver: u16,
    /// Bytes of sense data.
    pub sense_len: u8,
    /// Bytes that were not moved.
    pub residual: i32,
}

/// Runs a SCSI command on an open device, and waits until it has ended. Blocks.
///
/// # Errors
/// The kernel's, when the device has not got the command.
pub fn scsi_command(
    fd: BorrowedFd<'_>,
    cdb: &[u8],
    data: ScsiData<'_>,
    sense: &mut [u8],
    timeout: Duration,
) -> io::Result<ScsiAnswer> {
    let (direction, bytes, len) = match data {
        ScsiData::Nothing => (SG_NONE, std::ptr::null_mut(), 0),
        ScsiData::In(bytes) => (SG_FROM_DEVICE, bytes.as_mut_ptr(), bytes.len()),
        // The kernel only reads what goes to the device.
        ScsiData::Out(bytes) => (SG_TO_DEVICE, bytes.as_ptr().cast_mut(), bytes.len()),
    };
    let mut cmd = [0u8; 16];
    let cmd_len = cdb.len().min(cmd.len());
    cmd[..cmd_len].copy_from_slice(&cdb[..cmd_len]);
    let mut header = SgHeader {
        interface_id: c_int::from(b'S'),
        direction,
        cmd_len: cmd_len as u8,
        max_sense: sense.len().min(u8::MAX.into()) as u8,
        iovec_count: 0,
        data_len: u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?,
        data: bytes.cast(),
        cmd: cmd.as_mut_ptr(),
        sense: sense.as_mut_ptr(),
        timeout: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        flags: 0,
        pack_id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_len: 0,
        host_status: 0,
        driver_status: 0,
        residual: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the header is a whole struct sg_io_hdr. Its pointers are to memory that is as long as it says and is borrowed
    // until the call returns; the kernel writes only to the header, the sense data and what comes from the device,
    // and has done so when the call returns, also when that is because of a signal.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SG_IO as _, &mut header as *mut SgHeader) })?;
    Ok(ScsiAnswer {
        status: header.status,
        host: header.host_status,
        driver: header.driver_status,
        sense_len: header.sense_len.min(header.max_sense),
        residual: header.residual,
    })
}

/// `NVME_IOCTL_ADMIN_CMD` (`linux/nvme_ioctl.h`). Its number holds the 72 bytes of what it takes, as `_IOWR` made it.
const NVME_IOCTL_ADMIN_CMD: c_ulong = 0xc048_4e41;

/// `struct nvme_admin_cmd`.
#[repr(C)]
struct NvmeAdmin {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    dwords_2_3: [u32; 2],
    metadata: u64,
    data: u64,
    metadata_len: u32,
    data_len: u32,
    dwords_10_15: [u32; 6],
    timeout: u32,
    result: u32,
}

/// The Identify Namespace data structure of a namespace, by its number and its open generic node. Blocks.
///
/// # Errors
/// The kernel's; or the status, when the device refuses.
pub fn nvme_identify(fd: BorrowedFd<'_>, namespace: u32) -> io::Result<Box<[u8; 4096]>> {
    const IDENTIFY: u8 = 0x06;
    let mut identity = Box::new([0u8; 4096]);
    let mut command = NvmeAdmin {
        opcode: IDENTIFY,
        flags: 0,
        reserved: 0,
        namespace,
        dwords_2_3: [0; 2],
        metadata: 0,
        data: identity.as_mut_ptr() as u64,
        metadata_len: 0,
        data_len: 4096,
        // Dword 10: the controller or namespace structure; 0 is the namespace's.
        dwords_10_15: [0; 6],
        timeout: 0,
        result: 0,
    };
    // SAFETY: the command is a whole struct nvme_admin_cmd, and its data are as long as it says; both live until the call
    // returns, which writes only there.
    match check(unsafe { libc::ioctl(fd.as_raw_fd(), NVME_IOCTL_ADMIN_CMD as _, &raw mut command) })? {
        0 => Ok(identity),
        status => Err(io::Error::other(format!("NVMe status {status:#x}"))),
    }
}

/// The version of the interface for SCSI commands, such as 30536.
///
/// # Errors
/// `ENOTTY` or the like where there is none: it is no SCSI device.
pub fn scsi_version(fd: BorrowedFd<'_>) -> io::Result<u32> {
    read_ioctl::<c_int>(fd, SG_GET_VERSION_NUM).map(|n| n as u32)
}

/// `BLKSECTGET` of a generic node: the longest transfer, in bytes (of a block node it would be in sectors).
const BLKSECTGET: c_ulong = 0x1267;

/// The longest transfer of a SCSI command by an open generic node, in bytes.
///
/// # Errors
/// The kernel's.
pub fn scsi_transfer_max(fd: BorrowedFd<'_>) -> io::Result<u32> {
    read_ioctl::<c_int>(fd, BLKSECTGET).map(|n| u32::try_from(n).unwrap_or(0))
}

/// Ends the process when a panic unwinds past it: what a thread has left half done that others wait for nobody can finish.
#[derive(Debug)]
pub struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// From now on no signal interrupts this thread.
pub fn block_signals() {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is written whole by the first call and only read by the second; neither keeps it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
}

/// `PR_SET_IO_FLUSHER` (`linux/prctl.h`).
const PR_SET_IO_FLUSHER: c_int = 57;

/// From now on this thread, and each that it starts, waits for no writing back when it needs memory: what is written back
/// may wait for this process (Linux 5.6).
///
/// # Errors
/// `EPERM` without CAP_SYS_RESOURCE, `EINVAL` where the kernel does not know it.
pub fn become_io_flusher() -> io::Result<()> {
    let (on, none): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(PR_SET_IO_FLUSHER, on, none, none, none) }).map(drop)
}

/// `FS_IOC_FIEMAP` (`linux/fiemap.h`): the extents of a file.
const FS_IOC_FIEMAP: c_ulong = 0xc020_660b;
/// Write back first what has no place yet.
const FIEMAP_FLAG_SYNC: u32 = 1;
/// Allocated, never written.
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;

/// A part of a file that has space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Its first byte.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// It has never been written, and reads as zeroes.
    pub unwritten: bool,
}

/// The first extents, at most `most`, of a range of a file. They may begin before it and end behind it. Blocks.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` or `ENOTTY`: the file system does not say.
pub fn extents(fd: BorrowedFd<'_>, offset: u64, len: u64, most: usize) -> io::Result<Vec<Extent>> {
    // The header is 32 bytes, an extent 56; all fields are whole words or halves of one.
    let mut request = vec![0u64; 4 + 7 * most];
    let halves = |low: u32, high: u32| {
        let ([a, b, c, d], [e, f, g, h]) = (low.to_ne_bytes(), high.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    };
    request[..2].copy_from_slice(&[offset, len]);
    request[2] = halves(FIEMAP_FLAG_SYNC, 0);
    request[3] = halves(u32::try_from(most).unwrap_or(u32::MAX), 0);
    // SAFETY: the request reads the header and writes it and at most as many extents behind it as the header says
    // there is room for; the memory lives until the call returns.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FIEMAP as _, request.as_mut_ptr()) })?;
    let first_half = |word: u64| {
        let [a, b, c, d, ..] = word.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    };
    let second_half = |word: u64| {
        let [.., a, b, c, d] = word.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    };
    let found = second_half(request[2]) as usize;
    let extent = |words: &[u64; 7]| Extent {
        start: words[0],
        len: words[2],
        unwritten: first_half(words[5]) & FIEMAP_EXTENT_UNWRITTEN != 0,
    };
    Ok(request[4..].as_chunks().0.iter().take(found).map(extent).collect())
}

/// Bytes that an unprivileged process can still allocate in the file system of an open file.
pub fn available_space(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut out = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the buffer is a whole statvfs; the kernel does not keep it.
    check(unsafe { libc::fstatvfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: all-zero bytes are a valid statvfs (integers only), and the call only wrote more of them.
    let out = unsafe { out.assume_init() };
    #[allow(clippy::useless_conversion)]
    Ok(u64::from(out.f_bavail).saturating_mul(u64::from(out.f_frsize)))
}

/// Whether a read of this would not wait: there is something, or there will never be.
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut wanted = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one struct, which lives until the call returns.
    check(unsafe { libc::poll(&mut wanted, 1, 0) }).is_ok_and(|ready| ready > 0)
}

/// Makes durable everything that was written to the file system of an open file.
pub fn sync_file_system(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: passes no memory.
    check(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(|_| ())
}

/// What can be written to an open file so that it is there as a whole or not at all, in bytes. Lengths are powers of
/// two, and offsets multiples of the length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtomicWrites {
    /// The shortest.
    pub least: u32,
    /// The longest.
    pub most: u32,
}

/// Limits of atomic writes by `statx` (Linux 6.11), or `None` when there are none.
pub fn atomic_writes(fd: BorrowedFd<'_>) -> io::Result<Option<AtomicWrites>> {
    let out = statx(fd, libc::STATX_WRITE_ATOMIC)?;
    let limits = AtomicWrites { least: out.stx_atomic_write_unit_min, most: out.stx_atomic_write_unit_max };
    let known = out.stx_mask & libc::STATX_WRITE_ATOMIC != 0;
    Ok(Some(limits).filter(|limits| known && limits.least > 0 && limits.most >= limits.least))
}

fn to_off(n: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

/// How long this thread has had a processor, nanoseconds.
pub fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct; every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The effective user of this process; 0 is root.
pub fn effective_uid() -> u32 {
    // SAFETY: cannot fail and passes no memory.
    unsafe { libc::geteuid() }
}

/// Nanoseconds of processor time that a process has used: all its threads, those that have ended and the kernel's that
/// work for it (io_uring's) included.
pub fn process_time(pid: u32) -> io::Result<u64> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    let mut clock = 0;
    // SAFETY: the number lives until the call returns, which gives its error instead of setting `errno`.
    match unsafe { libc::clock_getcpuclockid(pid, &mut clock) } {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the struct lives until the call returns, which fills it when it succeeds.
    check(unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) })?;
    // SAFETY: filled.
    let time = unsafe { time.assume_init() };
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Raises the soft limit of open files to the hard limit; gives the limit in force.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct lives until the call returns.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the struct is only read, during the call.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    }
    Ok(limit.rlim_cur)
}

/// `setsockopt(2)` of an option whose value is bytes.
pub fn set_option(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &[u8]) -> io::Result<()> {
    let (bytes, len) = (value.as_ptr().cast::<c_void>(), value.len() as socklen_t);
    // SAFETY: the value is only read, during the call, and is as long as said.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, bytes, len) }).map(drop)
}

/// `setsockopt(2)` of an option whose value is a number.
pub fn set_int(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, level, option, &value.to_ne_bytes())
}

/// `getsockopt(2)`: as much of the value as fits into `value`; how much that is.
pub fn option(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut len = value.len() as socklen_t;
    let bytes = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: the kernel writes at most `len` bytes, which is how long the value is, during the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, bytes, &mut len) })?;
    Ok(len as usize)
}

/// The number of a network interface, `None` when there is none of that name.
pub fn interface(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string that is only read, during the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The addresses of this machine, each with the name of its interface.
pub fn addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the pointer lives until the call returns, which sets it when it succeeds.
    check(unsafe { libc::getifaddrs(&mut first) })?;
    let (mut all, mut at) = (Vec::new(), first.cast_const());
    // SAFETY: it is null or an entry of the list, which nobody changes or frees before its end is reached.
    while let Some(entry) = unsafe { at.as_ref() } {
        // SAFETY: each entry has a name, which is a C string and lives as long.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        // SAFETY: it is null or an address as long as its family wants, and lives as long.
        let address = unsafe { ip_address(entry.ifa_addr) };
        all.extend(address.map(|address| (name.into_owned(), address)));
        at = entry.ifa_next;
    }
    // SAFETY: the list is the one that was made above, and nothing of it is used any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(all)
}

/// The address of a socket's, if it is one of IP.
///
/// # Safety
/// It is null, or points to an address that is as long as its family wants.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as promised by who calls; every address is long enough for this one.
    match c_int::from(unsafe { address.as_ref() }?.sa_family) {
        libc::AF_INET => {
            // SAFETY: as promised: it is one of this family.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as promised: it is one of this family.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// `struct ethtool_channels` (`linux/ethtool.h`), of which only this is of use here.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    command: u32,
    /// Of receiving, of sending, and of neither.
    _most_of_one_kind: [u32; 3],
    most_combined: u32,
    _now: [u32; 4],
}

/// `SIOCETHTOOL` (`linux/sockios.h`).
const SIOCETHTOOL: c_ulong = 0x8946;
/// `ETHTOOL_GCHANNELS`: how many queues there are and may be.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// How many queues for receiving and sending a network interface may have at most; 0, if each of its queues is for one.
///
/// # Errors
/// `EOPNOTSUPP`, where it does not say; `ENODEV`, where there is none of that name.
pub fn most_queues(interface: &str) -> io::Result<u32> {
    let mut channels = EthtoolChannels { command: ETHTOOL_GCHANNELS, ..Default::default() };
    // SAFETY: all-zero bytes are a valid request (integers and pointers that may be null).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: it ends the name.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    request.ifr_name.iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    let socket = tcp_socket(false)?;
    // SAFETY: the request, and what it points to, are as this command wants them, and live until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) })?;
    Ok(channels.most_combined)
}

/// A socket for TCP, over IPv6 or IPv4, of which nothing has been set.
pub fn tcp_socket(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no memory is passed.
    let fd =
        check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_TCP) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Connections that may wait to be accepted, as far as `net.core.somaxconn` allows: all initiators may come back at once.
const BACKLOG: c_int = 4096;

/// A listener on `addr` that may be bound again at once after a restart. On IPv6, `only_v6` says
/// whether an unspecified address leaves IPv4 to somebody else; std cannot say that.
pub fn listen(addr: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let SocketAddr::V6(v6) = addr else {
        let listener = TcpListener::bind(addr)?;
        // It listens already, for fewer to wait.
        await_connections(listener.as_fd())?;
        return Ok(listener);
    };
    let socket = tcp_socket(true)?;
    let (fd, borrowed) = (socket.as_raw_fd(), socket.as_fd());
    set_int(borrowed, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_int(borrowed, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, c_int::from(only_v6))?;
    let name = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: v6.port().to_be(),
        sin6_flowinfo: v6.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
        sin6_scope_id: v6.scope_id(),
    };
    // SAFETY: the address is only read, during the call, and is as long as said.
    check(unsafe {
        libc::bind(
            fd,
            (&name as *const libc::sockaddr_in6).cast(),
            size_of::<libc::sockaddr_in6>() as socklen_t,
        )
    })?;
    await_connections(borrowed)?;
    Ok(TcpListener::from(socket))
}

/// `listen(2)`.
fn await_connections(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) }).map(drop)
}

/// What the service manager has opened for this process, each with the name that it has there (sd_listen_fds(3)); nothing
/// from the second time on. Programs that this one starts get none of it.
///
/// # Errors
/// When what it says of them is wrong.
pub fn inherited() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let all = sd_notify::listen_fds_with_names()?;
    // SAFETY: they are open, for that was tried; they were made for this process, which is named with them, and are
    // taken once: nobody else here knows them.
    Ok(all.map(|(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) })).collect())
}

/// What the kernel announces of devices: a netlink socket of its `kobject_uevent` group. Only the network namespace in
/// which the system was started gets any.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

/// The longest announcement; the kernel's own limit is 2 KiB of variables and a path.
const UEVENT: usize = 8192;

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel's, where such sockets are forbidden.
    pub fn new() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT) })?;
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all-zero bytes are a valid address (integers only).
        let mut name: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        (name.nl_family, name.nl_groups) = (libc::AF_NETLINK as libc::sa_family_t, 1);
        // SAFETY: the address is only read, during the call, and is as long as said.
        check(unsafe {
            libc::bind(fd, (&raw const name).cast(), size_of::<libc::sockaddr_nl>() as socklen_t)
        })?;
        Ok(Self(socket))
    }

    /// Waits until one of these actions has been taken on a block device, and whether one has; other announcements end the
    /// wait too. Takes all that there are. When some were lost, one may have.
    ///
    /// # Errors
    /// The kernel's.
    pub fn block_device(&self, actions: &[&str], within: Duration) -> io::Result<bool> {
        let mut wanted = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the struct lives until the call returns.
        match check(unsafe { libc::poll(&mut wanted, 1, millis) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
            polled => polled?,
        };
        let (mut any, mut text) = (false, [0; UEVENT]);
        loop {
            match self.receive(&mut text) {
                Ok(len) => any |= is_of_block(&text[..len], actions),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(any),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                Err(e) => return Err(e),
            }
        }
    }

    fn receive(&self, text: &mut [u8; UEVENT]) -> io::Result<usize> {
        // SAFETY: the buffer is as long as said and lives until the call returns.
        let len = unsafe { libc::recv(self.0.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }
}

/// Whether an announcement, which is `action@path` and variables, each ended by a NUL, is of one of these actions on a
/// block device. Anybody in the group can send one: it only leads to a look at the devices.
fn is_of_block(announcement: &[u8], actions: &[&str]) -> bool {
    let mut words = announcement.split(|byte| *byte == 0);
    let action = words.next().and_then(|head| head.split(|byte| *byte == b'@').next()).unwrap_or_default();
    actions.iter().any(|wanted| wanted.as_bytes() == action) && words.any(|word| word == b"SUBSYSTEM=block")
}

fn check(rc: c_int) -> io::Result<c_int> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn punch_hole_gives_space_back() {
        let mut file = tempfile::tempfile_in(".").unwrap();
        file.write_all(&[7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        fallocate(file.as_fd(), mode, 0, 1 << 20).unwrap();
        let after = file.metadata().unwrap();
        assert!(after.blocks() < before && after.len() == 1 << 20);
    }

    /// What the kernel knows of this thread (`PF_…` of `linux/sched.h`).
    fn thread_flags() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        behind_name.split_whitespace().nth(6).unwrap().parse().unwrap()
    }

    #[test]
    fn threads_of_who_writes_back_do_so_too() {
        const MEMALLOC_NOIO: u64 = 0x0008_0000;
        let told = || {
            let told = become_io_flusher();
            let child = std::thread::spawn(thread_flags).join().unwrap();
            (told, child & MEMALLOC_NOIO != 0)
        };
        match std::thread::spawn(told).join().unwrap() {
            (Ok(()), inherited) => assert!(inherited),
            (Err(error), inherited) => {
                assert!(
                    [Some(libc::EPERM), Some(libc::EINVAL)].contains(&error.raw_os_error()) && !inherited
                );
            }
        }
    }

    #[test]
    fn lengths_beyond_the_kernels_are_refused() {
        let file = tempfile::tempfile().unwrap();
        let e = fallocate(file.as_fd(), 0, 0, u64::MAX).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EFBIG));
    }

    #[test]
    fn a_file_has_extents_and_its_file_system_space() {
        let mut file = tempfile::tempfile_in(".").unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let found = extents(file.as_fd(), 4096, 1 << 19, 9).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].start <= 4096 && found[0].start + found[0].len >= 8192 && !found[0].unwritten);
        assert!(extents(file.as_fd(), 1 << 19, 1 << 19, 9).unwrap().is_empty());
        assert!(available_space(file.as_fd()).unwrap() > 0);
        atomic_writes(file.as_fd()).unwrap();
    }

    #[test]
    fn a_file_is_no_block_device() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(block_len(file.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert!(block_discard(file.as_fd(), 0, 512).is_err());
    }

    #[test]
    fn a_file_is_no_nvme_namespace() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(nvme_identify(file.as_fd(), 1).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(size_of::<NvmeAdmin>(), 72);
    }

    #[test]
    fn changes_of_block_devices_are_told_from_the_rest() {
        let change = b"change@/devices/virtual/block/loop0\0ACTION=change\0SUBSYSTEM=block\0RESIZE=1\0";
        let is_change = |announcement: &[u8]| is_of_block(announcement, &["add", "change"]);
        assert!(is_change(change) && !is_of_block(change, &["add", "remove"]));
        assert!(!is_change(b"change@/devices/x\0SUBSYSTEM=net\0"));
        assert!(!is_change(b"remove@/devices/x\0SUBSYSTEM=block\0"));
        assert!(!is_change(b"libudev\0SUBSYSTEM=block\0"));
        assert!(!is_change(b""));
    }

    #[test]
    fn listening_for_announcements_ends_in_time() {
        let uevents = Uevents::new().unwrap();
        uevents.block_device(&["change"], Duration::from_millis(1)).unwrap();
    }

    #[test]
    fn dual_stack_listener_takes_both_families() {
        let listener = listen("[::]:0".parse().unwrap(), false).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn v6_only_leaves_v4_alone() {
        let v6 = listen("[::]:0".parse().unwrap(), true).unwrap();
        let port = v6.local_addr().unwrap().port();
        listen(SocketAddr::from(([0, 0, 0, 0], port)), false).unwrap();
    }

    #[test]
    fn as_many_connections_may_wait_by_either_family() {
        let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most = u32::min(somaxconn.trim().parse().unwrap(), BACKLOG as u32);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen(address.parse().unwrap(), true).unwrap();
            // `struct tcp_info` of a listener: how many may wait stands where other sockets have tcpi_sacked.
            let mut info = [0; 32];
            assert_eq!(option(listener.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).unwrap(), 32);
            assert_eq!(u32::from_ne_bytes(info[28..].try_into().unwrap()), most, "{address}");
        }
    }

    #[test]
    fn interfaces_have_addresses() {
        let all = addresses().unwrap();
        assert!(all.contains(&("lo".into(), Ipv4Addr::LOCALHOST.into())), "{all:?}");
    }

    #[test]
    fn who_has_no_queues_says_so() {
        assert_eq!(size_of::<EthtoolChannels>(), 36);
        let refused = |name: &str| most_queues(name).unwrap_err().raw_os_error();
        assert_eq!(refused("lo"), Some(libc::EOPNOTSUPP));
        assert_eq!(
            (refused("none-such"), refused("longer-than-any-name")),
            (Some(libc::ENODEV), Some(libc::ENODEV))
        );
    }

    #[test]
    fn interfaces_have_numbers() {
        assert!(interface("lo").is_some());
        assert_eq!((interface("no-such-interface"), interface("l\0o")), (None, None));
    }

    #[test]
    fn the_time_of_threads_that_have_ended_counts() {
        let pid = std::process::id();
        let before = process_time(pid).unwrap();
        let look = |_| _ = std::hint::black_box(std::time::Instant::now());
        std::thread::spawn(move || (0..1_000_000).for_each(look)).join().unwrap();
        // A million looks at the clock take some milliseconds, however many others want the processor.
        assert!(process_time(pid).unwrap() - before > 5_000_000);
        assert!(process_time(0).is_err() && process_time(u32::MAX).is_err());
    }

    #[test]
    fn open_files_are_raised_to_the_hard_limit() {
        assert_eq!(raise_open_files().unwrap(), raise_open_files().unwrap());
    }
}

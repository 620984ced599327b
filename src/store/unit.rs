//! One reactor's hold on a store: from "read these bytes" to the operation that does it.
//!
//! Pure but for memory and [`Store::cause`]: nothing else here waits or calls the kernel. The caller performs the [`Step`]
//! and judges its result. A ramdisk is done at once by copying; nothing ([`Medium::Null`]) is done later,
//! so that it costs a completion like a disk.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::backing::{Backing, FileMedium, Medium};
use super::blocking::BlockingPool;
use super::fault::{Direction, Fault, Progress, judge};
use super::map;
use super::pass::Errand;
use super::span::Span;
use crate::mem::{Lent, Memory, Pages, Place, Region, RegionId};
use crate::ring::{File, Kind};
use crate::scsi::{Provisioning, Stretch};
use crate::sys;

/// The most zeroes that one place can show, bytes.
pub const ZEROES: u32 = 1 << 20;

/// What has to be done next. Where it has a result, that is bytes or zero, or a negative errno.
#[derive(Debug)]
pub enum Step {
    /// Push this operation; its result decides.
    Op(Kind),
    /// It is done, by copying, or cannot be done.
    Now(Result<(), Fault>),
    /// Nothing is to be done, but not at once: complete it in a later turn with success.
    Later,
    /// Have [`BlockingCall::run`] run by the blocking pool; its result decides.
    Blocking(BlockingCall),
}

/// A system call without an io_uring form.
#[derive(Debug)]
pub struct BlockingCall {
    backing: Arc<Backing>,
    offset: u64,
    len: u64,
    work: BlockingWork,
}

/// What the call does with its range.
#[derive(Debug)]
enum BlockingWork {
    /// Discards it.
    Discard,
    /// Asks how it lies.
    Map { most: usize, answer: Mapping },
    /// Has it share what a range of another file holds.
    Clone { from: Arc<Backing>, offset: u64 },
    /// Runs a command on it.
    Pass { errand: Arc<Errand>, data: Option<Lent> },
}

/// How a range lies, once the store has said so.
pub type Mapping = Arc<OnceLock<Vec<Stretch>>>;

/// The store as one reactor uses it.
#[derive(Debug)]
pub struct Store {
    backing: Arc<Backing>,
    /// How long the medium is now, as far as this reactor has been told.
    bytes: u64,
    place: Location,
    zeroes: Place,
    discards: bool,
}

/// Where this reactor finds the bytes.
#[derive(Clone, Copy, Debug)]
enum Location {
    File { file: File, dsync_always: bool },
    Ram(RegionId),
    Null,
    Device,
}

/// How a reactor reaches the medium of a backing.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// By this file of its driver: for [`Medium::File`].
    File(File),
    /// By this attached region: for [`Medium::Ram`].
    Region(RegionId),
    /// For [`Medium::Null`] and [`Medium::Pass`].
    Nothing,
}

/// A region of [`ZEROES`] zero bytes, which nobody may write. One serves all reactors.
///
/// # Errors
/// The kernel's, when there is no memory.
pub fn zero_region() -> io::Result<Arc<Region>> {
    Region::new(u64::from(ZEROES), Pages::Transparent).map(Arc::new)
}

impl Store {
    /// `zeroes` names the attached [`zero_region`]; `discards` says whether the driver has [`Kind::Discard`].
    ///
    /// # Panics
    /// When `reach` is not the kind that the medium needs.
    pub fn new(backing: Arc<Backing>, reach: Reach, zeroes: RegionId, discards: bool) -> Self {
        let place = match (&backing.medium, reach) {
            (Medium::File(medium), Reach::File(file)) => {
                Location::File { file, dsync_always: medium.dsync_always }
            }
            (Medium::Ram(_), Reach::Region(id)) => Location::Ram(id),
            (Medium::Null, Reach::Nothing) => Location::Null,
            (Medium::Pass(_), Reach::Nothing) => Location::Device,
            (medium, reach) => panic!("{medium:?} is not reached by {reach:?}"),
        };
        Self { bytes: backing.bytes(), backing, place, zeroes: Place::in_region(zeroes, 0, ZEROES), discards }
    }

    /// This reactor lets go of it: how it has reached the medium.
    pub fn into_reach(self) -> Reach {
        match self.place {
            Location::File { file, .. } => Reach::File(file),
            Location::Ram(id) => Reach::Region(id),
            Location::Null | Location::Device => Reach::Nothing,
        }
    }

    /// What is shared with the other reactors.
    pub fn backing(&self) -> &Arc<Backing> {
        &self.backing
    }

    /// The medium has another capacity.
    pub fn resize(&mut self, blocks: u64) {
        self.bytes = blocks.saturating_mul(self.backing.block_size.into());
    }

    /// Whether the medium is a ramdisk's memory, from which bytes can leave without being read into a slot.
    #[inline]
    pub fn is_memory(&self) -> bool {
        matches!(self.place, Location::Ram(_))
    }

    /// Whether the medium has nothing but zeroes, whatever is written.
    #[inline]
    pub fn is_blank(&self) -> bool {
        matches!(self.place, Location::Null)
    }

    /// As a read of nothing but zeroes, whose bytes are had otherwise ([`Store::resident`]).
    #[inline]
    pub fn read_blank(&self, offset: u64, len: u32) -> Step {
        self.check(offset, u64::from(len)).map_or_else(|fault| Step::Now(Err(fault)), |()| Step::Later)
    }

    /// Reads `place.len` bytes at `offset`, both whole blocks.
    #[inline]
    pub fn read(&self, memory: &mut Memory, place: Place, offset: u64) -> Step {
        if let Err(fault) = self.check(offset, u64::from(place.len)) {
            return Step::Now(Err(fault));
        }
        match self.place {
            Location::File { file, .. } => Step::Op(Kind::Read { file, place, offset }),
            Location::Ram(id) => {
                memory.copy(Place::in_region(id, offset, place.len), place);
                Step::Now(Ok(()))
            }
            // What the slot held belonged to somebody else.
            Location::Null => {
                memory.zero(place);
                Step::Later
            }
            Location::Device => Step::Now(Err(Fault::Unsupported)),
        }
    }

    /// Writes `place.len` bytes at `offset`, both whole blocks; with `fua` durable when it completes, with `atomic` all of
    /// it or nothing.
    #[inline]
    pub fn write(&self, memory: &mut Memory, place: Place, offset: u64, fua: bool, atomic: bool) -> Step {
        if let Err(fault) = self.check_write(offset, u64::from(place.len)) {
            return Step::Now(Err(fault));
        }
        match self.place {
            Location::File { file, dsync_always } => {
                let dsync = dsync_always || (fua && self.backing.write_cache);
                Step::Op(Kind::Write { file, place, offset, dsync, atomic })
            }
            Location::Ram(id) => {
                memory.copy_away(place, Place::in_region(id, offset, place.len));
                Step::Now(Ok(()))
            }
            Location::Null => Step::Later,
            Location::Device => Step::Now(Err(Fault::Unsupported)),
        }
    }

    /// Writes bytes that lie anywhere, whole blocks, if the medium is memory. Whether it did: if not, nothing has changed, and
    /// [`Store::write`] tells why.
    #[inline]
    pub fn commit(&self, memory: &mut Memory, bytes: &[u8], offset: u64) -> bool {
        let Location::Ram(id) = self.place else { return false };
        let len = bytes.len() as u32;
        let fits = self.check_write(offset, len.into()).is_ok();
        fits && memory.write_away(Place::in_region(id, offset, len), bytes) == len
    }

    /// Where `len` bytes at `offset` can be sent from without reading them into a slot, if they can:
    /// a ramdisk's own memory, which others may change meanwhile, or zeroes. Bytes under a digest
    /// must not change: those of a ramdisk have to be read.
    #[inline]
    pub fn resident(&self, offset: u64, len: u32) -> Option<Place> {
        self.check(offset, u64::from(len)).ok()?;
        match self.place {
            Location::File { .. } | Location::Device => None,
            Location::Ram(id) => Some(Place::in_region(id, offset, len)),
            Location::Null => (len <= ZEROES).then(|| self.zeroes.first(len)),
        }
    }

    /// Puts into `answer` how a range lies, in at most `most` stretches from its beginning. Only a file system says that;
    /// of anything else all is taken for mapped.
    pub fn map(&self, offset: u64, len: u64, most: u32, answer: &Mapping) -> Step {
        if let Err(fault) = self.check(offset, len) {
            return Step::Now(Err(fault));
        }
        if self.file_medium().is_some_and(|medium| !medium.is_block) {
            let work = BlockingWork::Map { most: most as usize, answer: answer.clone() };
            return self.blocking(offset, len, work);
        }
        answer.get_or_init(|| vec![Stretch { len, status: Provisioning::Mapped }]);
        Step::Now(Ok(()))
    }

    /// Whether a range of `from` may be had here without moving its bytes, as [`Store::clone_range`] does. A store that
    /// was allocated as a whole keeps its own space: what is shared needs more of it when it is written again.
    pub fn may_clone(&self, from: &Self) -> bool {
        let shares = |store: &Self| {
            let free = store.backing.thin.is_some() || store.backing.read_only;
            free && store.file_medium().is_some_and(|m| !m.shares_nothing.load(Ordering::Relaxed))
        };
        shares(self) && shares(from)
    }

    /// Has a range hold what a range of `from` holds, in the bookkeeping of the file system. It fails where that cannot
    /// be: other file systems, other kinds of stores, ranges that cut the file system's blocks. (The kernel's
    /// `copy_file_range` would copy then, by small pieces one after the other; the ring does that better.)
    pub fn clone_range(&self, offset: u64, len: u64, from: &Self, from_offset: u64) -> Step {
        let inside = self.check_write(offset, len).and_then(|()| from.check(from_offset, len));
        match inside {
            Ok(()) => {
                let work = BlockingWork::Clone { from: from.backing.clone(), offset: from_offset };
                self.blocking(offset, len, work)
            }
            Err(fault) => Step::Now(Err(fault)),
        }
    }

    /// Has the device run a command; `data` is what it moves, or where to.
    pub(crate) fn pass(&self, errand: &Arc<Errand>, data: Option<Lent>) -> Step {
        self.blocking(0, 0, BlockingWork::Pass { errand: errand.clone(), data })
    }

    /// Whether every write has to be durable when it ends.
    pub fn is_write_through(&self) -> bool {
        self.file_medium().is_some_and(|medium| medium.dsync_always)
    }

    /// Makes all completed writes durable.
    pub fn flush(&self) -> Step {
        match self.place {
            Location::File { file, .. } if !self.backing.read_only => {
                Step::Op(Kind::Fsync { file, data_only: true })
            }
            Location::Null => Step::Later,
            _ => Step::Now(Ok(())),
        }
    }

    /// Gives the space of a range back, as far as the store can (UNMAP).
    pub fn discard(&self, offset: u64, len: u64) -> Span {
        Span::discard(self, offset, len)
    }

    /// Zeroes a range; with `unmap` its space may be given back (WRITE SAME).
    pub fn zero(&self, offset: u64, len: u64, unmap: bool) -> Span {
        Span::zero(self, offset, len, unmap)
    }

    /// Whether reads and writes are operations of the ring, which count the bytes they moved.
    #[inline]
    pub fn is_file(&self) -> bool {
        matches!(self.place, Location::File { .. })
    }

    /// Judges the result of a read or write of `wanted` bytes. Memory and nothing complete with zero.
    #[inline]
    pub fn judge(&self, direction: Direction, result: i32, wanted: u32) -> Progress {
        if result == 0 && !self.is_file() {
            return Progress::Done;
        }
        judge(direction, result, wanted, self.backing.block_size)
    }

    /// What really happened when an operation whose range ends at `end` failed with `fault`. Of a medium that became
    /// shorter the rest is missing, which nobody may have noticed yet: reads end before they begin, writes find no
    /// space. A device that was pulled out has no length at all any more. Not for the way of every I/O: it asks
    /// the kernel.
    pub fn cause(&self, fault: Fault, end: u64) -> Fault {
        let Some(medium) = self.file_medium() else { return fault };
        match medium.bytes() {
            Ok(0) if medium.is_block => Fault::Gone,
            Ok(len) if end <= self.whole(len).min(self.bytes) => fault,
            Ok(_) => Fault::Beyond,
            Err(_) => Fault::Gone,
        }
    }

    /// As many bytes as the blocks are that `len` bytes make.
    fn whole(&self, len: u64) -> u64 {
        self.backing.blocks_of(len).saturating_mul(self.backing.block_size.into())
    }

    /// Whether a read that ended at `end`, in the middle of a block, has all that there is of a disc: its last block, which
    /// zeroes fill up. Not for the way of every I/O: it asks the kernel.
    pub fn ends_in_block(&self, end: u64) -> bool {
        let len = self.file_medium().and_then(|medium| medium.bytes().ok());
        len == Some(end) && self.whole(end) > end
    }

    /// Refuses what lies outside: writing there would make a file longer. Addresses of commands are checked long
    /// before; this is the last gate, and the one for what began before the medium became shorter.
    #[inline]
    fn check(&self, offset: u64, len: u64) -> Result<(), Fault> {
        if offset <= self.bytes && len <= self.bytes - offset { Ok(()) } else { Err(Fault::Beyond) }
    }

    #[inline]
    pub(super) fn check_write(&self, offset: u64, len: u64) -> Result<(), Fault> {
        if self.backing.read_only {
            return Err(Fault::Protected);
        }
        self.check(offset, len)
    }

    pub(super) fn file_medium(&self) -> Option<&FileMedium> {
        match &self.backing.medium {
            Medium::File(medium) => Some(medium),
            _ => None,
        }
    }

    /// One `fallocate`.
    pub(super) fn fallocate(&self, mode: i32, offset: u64, len: u64) -> Step {
        match self.place {
            Location::File { file, .. } => Step::Op(Kind::Fallocate { file, mode, offset, len }),
            _ => Step::Now(Err(Fault::Unsupported)),
        }
    }

    /// One discard whose range reads as anything afterwards.
    pub(super) fn forget(&self, offset: u64, len: u64) -> Step {
        match self.place {
            Location::File { file, .. } if self.discards => {
                Step::Op(Kind::Discard { file, offset, len, room: [0; 2] })
            }
            _ => self.blocking(offset, len, BlockingWork::Discard),
        }
    }

    fn blocking(&self, offset: u64, len: u64, work: BlockingWork) -> Step {
        Step::Blocking(BlockingCall { backing: self.backing.clone(), offset, len, work })
    }

    /// Writes up to [`ZEROES`] zeroes.
    pub(super) fn write_zeroes(&self, memory: &mut Memory, offset: u64, len: u64) -> Step {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.write(memory, self.zeroes.first(len), offset, false, false)
    }

    /// Zeroes a piece of memory, and with `unmap` gives it back to the system. It takes a while: the
    /// next piece waits for a later turn.
    pub(super) fn zero_memory(&self, memory: &mut Memory, offset: u64, len: u64, unmap: bool) -> Step {
        match (&self.backing.medium, self.place) {
            (Medium::Ram(region), _) if unmap => region.discard(offset, len),
            (_, Location::Ram(id)) => {
                memory.zero(Place::in_region(id, offset, u32::try_from(len).unwrap_or(u32::MAX)));
            }
            _ => {}
        }
        Step::Later
    }
}

impl BlockingCall {
    /// The threads that run it, if not those of all stores.
    pub fn threads(&self) -> Option<&BlockingPool> {
        if let Medium::Pass(medium) = &self.backing.medium { medium.threads.as_ref() } else { None }
    }

    /// Makes the call, and waits for it: zero, or a negative errno.
    pub fn run(self) -> i32 {
        let medium = match &self.backing.medium {
            Medium::File(medium) => medium,
            Medium::Pass(medium) => {
                let BlockingWork::Pass { errand, data } = self.work else { return -libc::EOPNOTSUPP };
                return medium.run(&errand, data);
            }
            Medium::Ram(_) | Medium::Null => return -libc::EOPNOTSUPP,
        };
        let done = match self.work {
            BlockingWork::Pass { .. } => return -libc::EOPNOTSUPP,
            BlockingWork::Discard => sys::block_discard(medium.file.as_fd(), self.offset, self.len),
            BlockingWork::Map { most, answer } => {
                let block = u64::from(self.backing.block_size);
                map::stretches(medium.file.as_fd(), self.offset, self.len, block, most)
                    .map(|stretches| drop(answer.set(stretches)))
            }
            BlockingWork::Clone { from, offset } => {
                let Medium::File(source) = &from.medium else { return -libc::EOPNOTSUPP };
                let to = medium.file.as_fd();
                let done = sys::clone_range(source.file.as_fd(), offset, to, self.offset, self.len);
                note_refusal(medium, &done);
                done
            }
        };
        done.map_or_else(|e| -e.raw_os_error().unwrap_or(libc::EIO), |()| 0)
    }
}

/// A file system that shares nothing at all is not asked again.
fn note_refusal(medium: &FileMedium, done: &io::Result<()>) {
    const NEVER: [i32; 3] = [libc::EOPNOTSUPP, libc::ENOTTY, libc::ENOSYS];
    let errno = done.as_ref().err().and_then(io::Error::raw_os_error);
    if errno.is_some_and(|errno| NEVER.contains(&errno)) {
        medium.shares_nothing.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;

//! Mappings and the access to them. One of the three files with `unsafe`.
//!
//! Owns: every mapping. Promises: a mapping lives as long as the process, so that a late write by the kernel
//! can never land in memory that has become something else; every access is checked against its bounds;
//! references exist only into the region that one reactor has for itself. A [`Window`] shows a driver's own memory, to which
//! nobody writes by our address: it alone ends, so that its device can.
//! Refuses to know: slots, rings, what the bytes mean.
//!
//! While the kernel reads or writes a place of the reactor's own region, the in-flight table holds that place
//! and the reactor takes no reference to it. Likewise while a place is lent to a thread that waits for the kernel. While another core writes a shared region, copies out of it may
//! see a mixture of old and new bytes, as with a disk that two initiators write at once; no reference is made.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::{Place, RegionId};

const HUGE: u64 = 2 << 20;
const SMALL: u64 = 4096;

/// A region that is not longer is taken for one that the caches of a processor hold, bytes.
const CACHED: u64 = 4 << 20;

/// The page sizes to try for a new region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Reserved 2 MiB pages (`vm.nr_hugepages`), else as [`Pages::Transparent`].
    Reserved,
    /// Ask for transparent 2 MiB pages, else 4 KiB.
    Transparent,
}

/// What a region got: for the start-up lines and the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Reserved 2 MiB pages.
    Reserved,
    /// Transparent huge pages were asked for and the kernel allows them.
    Transparent,
    /// 4 KiB pages.
    Small,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "2 MiB pages",
            Self::Transparent => "transparent huge pages",
            Self::Small => "4 KiB pages",
        })
    }
}

/// One anonymous mapping, zero at first, never unmapped.
pub struct Region {
    base: NonNull<u8>,
    len: u64,
    backing: Backing,
}

// SAFETY: the mapping has no owner thread, and it is never unmapped. `&Region` gives only lengths, the address
// and checked raw copies; references into it come from `Memory` alone, which has its region for itself.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes, {})", self.len, self.backing)
    }
}

impl Region {
    /// Maps `len` bytes, rounded up to whole 2 MiB.
    ///
    /// # Errors
    /// The kernel's, when even small pages cannot be had.
    pub fn new(len: u64, pages: Pages) -> io::Result<Self> {
        let len = len.max(1).next_multiple_of(HUGE);
        if pages == Pages::Reserved
            && let Ok(base) = map(len, libc::MAP_HUGETLB)
        {
            return Ok(Self { base, len, backing: Backing::Reserved });
        }
        let base = map_aligned(len)?;
        let backing = advise_huge(base, len);
        Ok(Self { base, len, backing })
    }

    /// Length in bytes: a multiple of 2 MiB.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true; the pair of [`Region::len`].
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the mapping is made of.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The address of the first byte, for submission entries.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Writes to every page, so that the pages come from this thread's NUMA node and later accesses do not
    /// fault. For fresh regions: the content must still be zero.
    pub fn prefault(&self) {
        for off in (0..self.len).step_by(SMALL as usize) {
            // SAFETY: inside the mapping; volatile, because the value is known to be zero and the store is
            // wanted for its fault.
            unsafe { self.at(off).write_volatile(0) };
        }
    }

    /// Makes a range zero and gives its whole small pages back to the system.
    ///
    /// # Panics
    /// When the range is not inside the region.
    pub fn discard(&self, off: u64, len: u64) {
        self.check(off, len);
        let (from, to) = (off.next_multiple_of(SMALL), (off + len) / SMALL * SMALL);
        if self.backing == Backing::Reserved || from >= to {
            return self.zero(off, len);
        }
        self.zero(off, from - off);
        self.zero(to, off + len - to);
        // SAFETY: whole pages inside our private anonymous mapping.
        let gone = unsafe { libc::madvise(self.at(from).cast(), (to - from) as usize, libc::MADV_DONTNEED) };
        if gone != 0 {
            self.zero(from, to - from);
        }
    }

    fn zero(&self, off: u64, len: u64) {
        self.check(off, len);
        // SAFETY: checked to be inside the mapping.
        unsafe { ptr::write_bytes(self.at(off), 0, len as usize) };
    }

    #[inline]
    fn at(&self, off: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(off as usize)
    }

    #[inline]
    fn check(&self, off: u64, len: u64) {
        assert!(off <= self.len && len <= self.len - off, "{off}+{len} is outside {self:?}");
    }

    /// The address of a checked place.
    #[inline]
    pub(crate) fn address(&self, place: Place) -> *mut u8 {
        self.check(place.off, u64::from(place.len));
        self.at(place.off)
    }
}

fn map(len: u64, extra: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | extra;
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let base = unsafe {
        libc::mmap(ptr::null_mut(), len as usize, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Maps 2 MiB more than wanted and leaves the misaligned edges unused: they are address space, not memory.
fn map_aligned(len: u64) -> io::Result<NonNull<u8>> {
    let base = map(len + HUGE, libc::MAP_NORESERVE)?;
    let shift = (base.as_ptr() as u64).next_multiple_of(HUGE) - base.as_ptr() as u64;
    NonNull::new(base.as_ptr().wrapping_add(shift as usize))
        .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

fn advise_huge(base: NonNull<u8>, len: u64) -> Backing {
    // SAFETY: our own mapping; the advice does not change its content.
    let advised = unsafe { libc::madvise(base.as_ptr().cast(), len as usize, libc::MADV_HUGEPAGE) };
    let policy = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    match advised {
        0 if !policy.contains("[never]") => Backing::Transparent,
        _ => Backing::Small,
    }
}

/// A place of a reactor's own region that another thread has for itself, see [`Memory::lend`].
#[derive(Debug)]
pub(crate) struct Lent {
    region: Arc<Region>,
    place: Place,
}

impl Lent {
    /// Its bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let at = self.region.address(self.place);
        // SAFETY: inside the mapping, which is never unmapped. Whoever lent it has the place in the in-flight table, so
        // that the slot is nobody else's and no reference to it is made before this is gone; `&mut self` makes it the
        // only one here.
        unsafe { std::slice::from_raw_parts_mut(at, self.place.len as usize) }
    }
}

/// Memory of a driver's, which it shows read-only by its device.
#[derive(Debug)]
pub struct Window {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping has no owner thread; `&Window` gives copies of its bytes only.
unsafe impl Send for Window {}

impl Window {
    /// The first `len` bytes that an open device shows.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(device: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, which touches nothing that exists.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, device.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { base, len })
    }

    /// A copy of the bytes there. What the driver changes meanwhile may be a mixture.
    ///
    /// # Panics
    /// Outside the bounds.
    pub fn read<const N: usize>(&self, off: usize) -> [u8; N] {
        assert!(off <= self.len && N <= self.len - off, "{off}+{N} is outside {self:?}");
        // SAFETY: inside the mapping, as checked, which ends with `self`; bytes have no alignment; volatile, because the
        // driver changes them, and no reference is made.
        unsafe { self.base.as_ptr().add(off).cast::<[u8; N]>().read_volatile() }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and no reference into it is ever made. The kernel has no business with our address: it
        // writes to its own pages.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Writing past the cache. A line of a large ramdisk is not in it, and would be read only to be written whole.
#[cfg(all(target_arch = "x86_64", not(portable)))]
mod past {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};

    /// What is written whole, bytes.
    pub(super) const LINE: u64 = 64;

    /// # Safety
    /// `len` bytes can be read at `from` and written at `to`, which do not overlap; `to` and `len` are whole lines.
    #[inline]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        let (from, to) = (from.cast::<__m128i>(), to.cast::<__m128i>());
        for at in 0..len / size_of::<__m128i>() {
            // SAFETY: inside both, as the caller says; `to` is aligned, and every x86-64 processor has SSE2.
            unsafe { _mm_stream_si128(to.add(at), _mm_loadu_si128(from.add(at))) };
        }
    }

    #[inline]
    pub(super) fn fence() {
        // SAFETY: every x86-64 processor has SSE.
        unsafe { _mm_sfence() };
    }
}

/// Its twin for other processors: an ordinary copy, which needs no fence.
#[cfg(not(all(target_arch = "x86_64", not(portable))))]
mod past {
    pub(super) const LINE: u64 = 64;

    /// # Safety
    /// `len` bytes can be read at `from` and written at `to`, which do not overlap.
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: as the caller says.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    }

    pub(super) fn fence() {}
}

/// A reactor's view of all regions: its own for itself, the others by copying.
#[derive(Debug)]
pub struct Memory {
    own: Arc<Region>,
    shared: Vec<Option<Arc<Region>>>,
    /// Something was written past the cache, and may not be there yet.
    unsettled: bool,
}

impl Memory {
    /// Takes the region that this reactor alone uses: [`RegionId::POOL`].
    pub fn new(own: Region) -> Self {
        Self { own: Arc::new(own), shared: Vec::new(), unsettled: false }
    }

    /// Makes a shared region (a ramdisk) reachable, or with `None` forgets it.
    ///
    /// # Panics
    /// For [`RegionId::POOL`].
    pub fn attach(&mut self, id: RegionId, region: Option<Arc<Region>>) {
        assert!(id != RegionId::POOL, "the reactor's own region cannot be replaced");
        let index = usize::from(id.0) - 1;
        if self.shared.len() <= index {
            self.shared.resize(index + 1, None);
        }
        self.shared[index] = region;
    }

    /// The reactor's own region, for registration with its ring: addresses only, no references.
    pub(crate) fn own(&self) -> &Arc<Region> {
        &self.own
    }

    /// A place of the reactor's own region, for a thread that waits for the kernel. The in-flight table must hold the place
    /// until that thread has answered, and nobody here may look at it before.
    ///
    /// # Panics
    /// For a shared region, and outside the bounds.
    pub(crate) fn lend(&self, place: Place) -> Lent {
        self.own_address(place);
        Lent { region: self.own.clone(), place }
    }

    /// The bytes of a place of the reactor's own region.
    ///
    /// # Panics
    /// For a shared region, and outside the bounds.
    #[inline]
    pub fn get(&self, place: Place) -> &[u8] {
        let at = self.own_address(place);
        // SAFETY: inside the mapping, which is never unmapped; `&self` keeps `get_mut` away, and a place that
        // the kernel may write is held by the in-flight table.
        unsafe { std::slice::from_raw_parts(at, place.len as usize) }
    }

    /// The bytes of a place of the reactor's own region, to write.
    ///
    /// # Panics
    /// For a shared region, and outside the bounds.
    #[inline]
    pub fn get_mut(&mut self, place: Place) -> &mut [u8] {
        let at = self.own_address(place);
        // SAFETY: as in `get`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(at, place.len as usize) }
    }

    /// Copies as many bytes as both places have. They may overlap and be in any regions.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn copy(&mut self, from: Place, to: Place) -> u32 {
        let len = from.len.min(to.len);
        let (from, to) = (self.address(from.first(len)), self.address(to.first(len)));
        // SAFETY: both ranges are inside their mappings; `copy` allows overlap.
        unsafe { ptr::copy(from, to, len as usize) };
        len
    }

    /// As [`Memory::copy`], for what is not soon read again: where it pays the bytes go past the cache. To this reactor
    /// they are there at once, to others after [`Memory::settle`].
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    #[inline]
    pub fn copy_away(&mut self, from: Place, to: Place) -> u32 {
        let len = from.len.min(to.len);
        if from.region == to.region || !self.goes_past_cache(to.first(len)) {
            return self.copy(from, to);
        }
        let (from, to) = (self.address(from.first(len)), self.address(to.first(len)));
        // SAFETY: both ranges are inside their mappings, and of two regions, so that they do not overlap; `to` and `len` are
        // whole lines.
        unsafe { past::copy(from, to, len as usize) };
        self.unsettled = true;
        len
    }

    /// As [`Memory::copy_away`], of bytes that lie in no region.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    #[inline]
    pub fn write_away(&mut self, to: Place, bytes: &[u8]) -> u32 {
        let to = to.first(to.len.min(bytes.len() as u32));
        if !self.goes_past_cache(to) {
            return self.write(to, bytes);
        }
        // SAFETY: inside the mapping and no longer than `bytes`, which do not come from it, as in `write`; `to` is whole lines.
        unsafe { past::copy(bytes.as_ptr(), self.address(to), to.len as usize) };
        self.unsettled = true;
        to.len
    }

    /// Memory that the caches hold is written there. So is what is no whole line.
    #[inline]
    fn goes_past_cache(&self, to: Place) -> bool {
        (u64::from(to.len) | to.off).is_multiple_of(past::LINE) && self.region(to).len() > CACHED
    }

    /// What was written past the cache is there for everybody who hears of it from now on.
    #[inline]
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            past::fence();
        }
    }

    /// Copies bytes into a place of any region; as many as both have.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn write(&mut self, to: Place, bytes: &[u8]) -> u32 {
        let len = bytes.len().min(to.len as usize);
        let to = self.address(to);
        // SAFETY: inside the mapping; `&mut self` means that `bytes` does not come from it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, len) };
        len as u32
    }

    /// Copies bytes out of a place of any region; as many as both have.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn read(&self, from: Place, bytes: &mut [u8]) -> u32 {
        let len = bytes.len().min(from.len as usize);
        let from = self.address(from);
        // SAFETY: inside the mapping; a mutable slice cannot come from it while `&self` is borrowed.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len) };
        len as u32
    }

    /// Repeats `pattern` over all of `to`. An empty pattern writes nothing.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn fill(&mut self, to: Place, pattern: Place) {
        let mut rest = to;
        while !rest.is_empty() && !pattern.is_empty() {
            let n = self.copy(pattern, rest);
            rest = rest.after(n);
        }
    }

    /// Writes zeroes.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn zero(&mut self, to: Place) {
        self.region(to).zero(to.off, u64::from(to.len));
    }

    /// Where the two places first differ, as far as both reach: the offset within them.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn compare(&self, a: Place, b: Place) -> Option<u32> {
        let (mut left, mut right) = ([0u8; 1024], [0u8; 1024]);
        let len = a.len.min(b.len);
        for at in (0..len).step_by(left.len()) {
            let n = (len - at).min(left.len() as u32);
            self.read(a.part(at, n), &mut left);
            self.read(b.part(at, n), &mut right);
            let (l, r) = (&left[..n as usize], &right[..n as usize]);
            if l != r {
                return l.iter().zip(r).position(|(x, y)| x != y).map(|i| at + i as u32);
            }
        }
        None
    }

    /// Whether every byte is zero.
    ///
    /// # Panics
    /// Outside the bounds or for an unknown region.
    pub fn is_zero(&self, place: Place) -> bool {
        const ZEROES: [u8; 1024] = [0; 1024];
        let mut chunk = ZEROES;
        (0..place.len).step_by(chunk.len()).all(|at| {
            let n = (place.len - at).min(chunk.len() as u32);
            self.read(place.part(at, n), &mut chunk);
            chunk[..n as usize] == ZEROES[..n as usize]
        })
    }

    #[inline]
    fn own_address(&self, place: Place) -> *mut u8 {
        assert!(place.region == RegionId::POOL, "no reference into a shared region");
        self.own.address(place)
    }

    fn address(&self, place: Place) -> *mut u8 {
        self.region(place).address(place)
    }

    fn region(&self, place: Place) -> &Region {
        match usize::from(place.region.0).checked_sub(1) {
            None => &self.own,
            Some(index) => self.shared.get(index).and_then(Option::as_deref).expect("an attached region"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut memory = Memory::new(Region::new(1, Pages::Transparent).unwrap());
        memory.attach(RegionId(2), Some(Arc::new(Region::new(1, Pages::Transparent).unwrap())));
        memory
    }

    #[test]
    fn a_region_is_aligned_zero_and_whole() {
        for pages in [Pages::Reserved, Pages::Transparent] {
            let region = Region::new(3 << 20, pages).unwrap();
            assert_eq!(region.len(), 4 << 20);
            assert_eq!(region.base() as u64 % HUGE, 0);
            region.prefault();
            let memory = Memory::new(region);
            assert!(memory.is_zero(Place::pool(0, 4 << 20)));
        }
    }

    #[test]
    fn copies_cross_regions() {
        let mut memory = memory();
        let (own, shared) = (Place::pool(100, 5), Place::in_region(RegionId(2), 4096, 5));
        memory.get_mut(own).copy_from_slice(b"hello");
        assert_eq!(memory.copy(own, shared), 5);
        assert_eq!(memory.copy(shared, Place::pool(200, 3)), 3);
        assert_eq!(memory.get(Place::pool(200, 4)), b"hel\0");
        assert_eq!(memory.compare(own, shared), None);
        memory.write(shared.after(3), b"pX");
        assert_eq!(memory.compare(own, shared), Some(3));
        let mut out = [0; 8];
        assert_eq!(memory.read(shared, &mut out), 5);
        assert_eq!(&out[..5], b"helpX");
    }

    #[test]
    fn what_goes_past_the_cache_arrives() {
        let (small, large) = (RegionId(2), RegionId(3));
        let mut memory = memory();
        memory.attach(large, Some(Arc::new(Region::new(CACHED + 1, Pages::Transparent).unwrap())));
        let bytes: Vec<u8> = (0..8192u32).map(|n| (n * 7 % 251) as u8).collect();
        memory.write(Place::pool(8, 8192), &bytes);
        for (to, len, past) in [(large, 4096, true), (large, 4095, false), (small, 4096, false)] {
            let place = Place::in_region(to, 512, len);
            assert_eq!(memory.copy_away(Place::pool(8, 8192), place), len);
            assert_eq!(memory.unsettled, past, "{place:?}");
            memory.settle();
            assert!(!memory.unsettled);
            let mut out = vec![0; len as usize];
            memory.read(place, &mut out);
            assert_eq!(out, bytes[..len as usize]);
            // The same of bytes that lie anywhere, of which there may be too few.
            assert_eq!(memory.write_away(place, &bytes[1..]), len);
            assert_eq!(memory.unsettled, past, "{place:?}");
            memory.settle();
            assert_eq!(memory.write_away(place, &bytes[..64]), 64);
            memory.read(place, &mut out);
            assert_eq!((&out[..64], &out[64..]), (&bytes[..64], &bytes[65..=len as usize]));
            memory.settle();
        }
        let (odd, own) = (Place::in_region(large, 8, 64), Place::pool(64, 64));
        memory.copy_away(own, odd);
        memory.copy_away(odd, own);
        memory.copy_away(own, Place::pool(32, 64));
        assert!(!memory.unsettled, "not whole lines, or within one region");
    }

    #[test]
    fn overlapping_copies_move() {
        let mut memory = memory();
        memory.write(Place::pool(0, 6), b"abcdef");
        memory.copy(Place::pool(0, 6), Place::pool(2, 6));
        assert_eq!(memory.get(Place::pool(0, 8)), b"ababcdef");
    }

    #[test]
    fn fills_and_differences_across_chunks() {
        let mut memory = memory();
        memory.write(Place::pool(0, 3), b"xyz");
        let (a, b) = (Place::pool(4096, 5000), Place::in_region(RegionId(2), 0, 5000));
        memory.fill(a, Place::pool(0, 3));
        memory.fill(b, Place::pool(0, 3));
        assert_eq!(memory.get(a.part(4998, 2)), b"xy");
        assert_eq!(memory.compare(a, b), None);
        memory.write(a.part(4999, 1), b"!");
        assert_eq!(memory.compare(a, b), Some(4999));
        assert!(!memory.is_zero(a));
        memory.zero(a);
        assert!(memory.is_zero(a));
        memory.fill(a, Place::pool(0, 0));
    }

    #[test]
    fn discarded_ranges_read_zero_and_their_edges_stay() {
        let mut memory = memory();
        memory.write(Place::pool(0, 1), b"z");
        memory.fill(Place::in_region(RegionId(2), 0, 1 << 20), Place::pool(0, 1));
        let region = memory.shared[1].as_ref().unwrap();
        region.discard(1000, 10_000);
        assert!(memory.is_zero(Place::in_region(RegionId(2), 1000, 10_000)));
        let mut edges = [0; 2];
        memory.read(Place::in_region(RegionId(2), 999, 1), &mut edges[..1]);
        memory.read(Place::in_region(RegionId(2), 11_000, 1), &mut edges[1..]);
        assert_eq!(&edges, b"zz");
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn nothing_beyond_the_end() {
        memory().get(Place::pool((2 << 20) - 1, 2));
    }

    #[test]
    #[should_panic(expected = "shared region")]
    fn no_reference_into_shared_memory() {
        memory().get(Place::in_region(RegionId(2), 0, 1));
    }

    #[test]
    #[should_panic(expected = "attached region")]
    fn an_unknown_region_is_a_bug() {
        memory().zero(Place::in_region(RegionId(9), 0, 1));
    }
}

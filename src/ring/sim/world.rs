//! What all reactors of a simulation share: the clock, the descriptors, the faults.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;
use std::rc::Rc;

use super::disk::{Disk, DiskConfig};
use super::rng::Rng;
use super::socket::{Listener, Stream};

/// How unkind the world is. Chances are in thousandths of the operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    /// How long a disk operation takes, in nanoseconds.
    pub disk_latency: Range<u64>,
    /// How long a socket operation takes once it can be done, in nanoseconds.
    pub socket_latency: Range<u64>,
    /// A disk read that brings less than asked.
    pub short_read: u16,
    /// A disk write that takes less than given.
    pub short_write: u16,
    /// A receive that brings less than there is.
    pub short_recv: u16,
    /// A send that takes less than fits.
    pub short_send: u16,
    /// A disk read that fails with EIO.
    pub read_error: u16,
    /// A disk write or flush that fails with EIO; what a write leaves on the medium is chance.
    pub write_error: u16,
    /// A write or allocation that fails with ENOSPC.
    pub no_space: u16,
    /// A socket operation that finds the connection reset.
    pub reset: u16,
    /// A cancellation that comes too late although the operation was still waiting.
    pub late_cancel: u16,
}

impl Faults {
    /// Everything takes a moment, and nothing goes wrong.
    pub fn none() -> Self {
        Self {
            disk_latency: 10_000..100_000,
            socket_latency: 1_000..20_000,
            short_read: 0,
            short_write: 0,
            short_recv: 0,
            short_send: 0,
            read_error: 0,
            write_error: 0,
            no_space: 0,
            reset: 0,
            late_cancel: 0,
        }
    }

    /// Rough, but nothing fails: what every program must survive without a trace.
    pub fn rough() -> Self {
        Self {
            disk_latency: 1_000..50_000_000,
            socket_latency: 0..1_000_000,
            short_read: 100,
            short_write: 100,
            short_recv: 300,
            short_send: 200,
            late_cancel: 300,
            ..Self::none()
        }
    }

    /// Everything, failures too.
    pub fn hostile() -> Self {
        Self { read_error: 20, write_error: 20, no_space: 10, reset: 2, ..Self::rough() }
    }
}

/// How sends without copies go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notices {
    /// How long after the peer has the bytes it is said that nobody looks at them any more, in nanoseconds.
    pub latency: Range<u64>,
    /// Chance in thousandths that the kernel has copied all the same.
    pub copied: u16,
}

#[derive(Debug)]
pub(super) enum Thing {
    Listener(Listener),
    Stream(Stream),
    Disk(Disk),
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    /// Connections may send without copies.
    pub(super) notices: Option<Notices>,
    pub(super) things: BTreeMap<RawFd, Thing>,
    /// When each driver wants to look again.
    pub(super) wakes: Vec<Option<u64>>,
    /// How many operations each descriptor has in flight.
    pub(super) busy: BTreeMap<RawFd, usize>,
    /// Disks that finish nothing they are given.
    pub(super) hung: BTreeSet<RawFd>,
    seed: u64,
    next_fd: RawFd,
}

impl Inner {
    pub(super) fn add(&mut self, thing: Thing) -> RawFd {
        self.next_fd += 1;
        self.things.insert(self.next_fd, thing);
        self.next_fd
    }

    /// Whether a fault of this chance strikes now.
    pub(super) fn weather(&mut self, per_mille: impl Fn(&Faults) -> u16) -> bool {
        let per_mille = per_mille(&self.faults);
        self.rng.chance(per_mille)
    }

    pub(super) fn stream(&mut self, fd: RawFd) -> io::Result<&mut Stream> {
        match self.things.get_mut(&fd) {
            Some(Thing::Stream(stream)) => Ok(stream),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    pub(super) fn disk(&mut self, fd: RawFd) -> io::Result<&mut Disk> {
        match self.things.get_mut(&fd) {
            Some(Thing::Disk(disk)) => Ok(disk),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// Closes a descriptor.
    pub(super) fn close(&mut self, fd: RawFd) -> io::Result<()> {
        let busy = self.busy.get(&fd).copied().unwrap_or(0);
        assert!(busy == 0, "closing descriptor {fd} with {busy} operations in flight");
        match self.things.remove(&fd) {
            Some(Thing::Stream(stream)) => stream.hang_up(),
            Some(_) => {}
            None => return Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation: seed {}, at {} ns", self.seed, self.now);
        }
    }
}

/// The shared world. Clones are the same world.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<Inner>>);

impl World {
    /// A world whose every chance comes from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            now: 1_000_000_000,
            rng: Rng::new(seed),
            faults,
            notices: None,
            things: BTreeMap::new(),
            wakes: Vec::new(),
            busy: BTreeMap::new(),
            hung: BTreeSet::new(),
            seed,
            next_fd: 1000,
        })))
    }

    pub(super) fn inner(&self) -> RefMut<'_, Inner> {
        self.0.borrow_mut()
    }

    /// The time, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.inner().now
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.inner().seed
    }

    /// A number below `below` from the world's chance, for the test's own choices.
    pub fn chance(&self, below: u64) -> u64 {
        self.inner().rng.within(0..below)
    }

    /// Changes the weather.
    pub fn set_faults(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// From now on connections may send without copies, or may not.
    pub fn set_notices(&self, notices: Option<Notices>) {
        self.inner().notices = notices;
    }

    /// Lets time pass.
    pub fn advance(&self, ns: u64) {
        self.inner().now += ns;
    }

    /// Lets time pass until some driver has something to do or to look at. Call it when every driver has had
    /// its turn and got nothing. False when all sleep for ever.
    pub fn step(&self) -> bool {
        self.step_until(None)
    }

    /// As [`World::step`], for a test that has something to do itself at that time.
    pub fn step_until(&self, own: Option<u64>) -> bool {
        let mut inner = self.inner();
        let Some(next) = inner.wakes.iter().flatten().copied().chain(own).min() else { return false };
        inner.now = inner.now.max(next);
        true
    }

    /// A listening socket.
    pub fn listen(&self, address: SocketAddr) -> RawFd {
        self.inner().add(Thing::Listener(Listener::new(address)))
    }

    /// Connects to a listener: the near end, for [`World::read`] and [`World::write`] or for a driver.
    /// `window` is how many bytes each direction holds.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(&self, from: SocketAddr, to: SocketAddr, window: usize) -> io::Result<RawFd> {
        let mut inner = self.inner();
        let (near, far) = Stream::pair(from, to, window);
        let listens = |thing: &Thing| matches!(thing, Thing::Listener(l) if l.serves(to));
        let listener = inner.things.iter().find(|(_, thing)| listens(thing)).map(|(fd, _)| *fd);
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let Some(Thing::Listener(listener)) = listener.and_then(|fd| inner.things.get_mut(&fd)) else {
            return Err(refused);
        };
        listener.queue.push_back(far);
        Ok(inner.add(Thing::Stream(near)))
    }

    /// Two ends of one connection.
    pub fn pair(&self, window: usize) -> (RawFd, RawFd) {
        let ends = ([127, 0, 0, 1], 40000).into();
        let (near, far) = Stream::pair(ends, ([127, 0, 0, 1], 3260).into(), window);
        let mut inner = self.inner();
        (inner.add(Thing::Stream(near)), inner.add(Thing::Stream(far)))
    }

    /// Writes as much as fits into the window now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; `EPIPE` and `ECONNRESET` as sockets have them.
    pub fn write(&self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        let stream = inner.stream(fd)?;
        let n = stream.room()?.ok_or(io::ErrorKind::WouldBlock)?.min(bytes.len());
        stream.put(&bytes[..n]);
        Ok(n)
    }

    /// Reads what is there now; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet; `ECONNRESET` as sockets have it.
    pub fn read(&self, fd: RawFd, bytes: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        let stream = inner.stream(fd)?;
        let n = stream.available()?.ok_or(io::ErrorKind::WouldBlock)?.min(bytes.len());
        stream.take(&mut bytes[..n]);
        Ok(n)
    }

    /// Closes a descriptor.
    ///
    /// # Errors
    /// When there is none.
    ///
    /// # Panics
    /// When operations are in flight on it.
    pub fn close(&self, fd: RawFd) -> io::Result<()> {
        self.inner().close(fd)
    }

    /// Breaks a connection: both ends get ECONNRESET, and what was on the way is lost.
    pub fn reset(&self, fd: RawFd) {
        if let Ok(stream) = self.inner().stream(fd) {
            stream.reset();
        }
    }

    /// A disk full of zeroes.
    pub fn disk(&self, config: DiskConfig) -> RawFd {
        self.inner().add(Thing::Disk(Disk::new(config)))
    }

    /// What reads of the disk would bring now.
    ///
    /// # Panics
    /// When it is no disk.
    pub fn disk_content(&self, fd: RawFd) -> Vec<u8> {
        self.inner().disk(fd).expect("a disk").content().to_vec()
    }

    /// The disk hangs, as one does whose cable is pulled: it finishes nothing that it is given from now on, until it is
    /// well again. What it has been given before it still finishes.
    pub fn hang(&self, fd: RawFd, hangs: bool) {
        let hung = &mut self.inner().hung;
        if hangs {
            hung.insert(fd)
        } else {
            hung.remove(&fd)
        };
    }

    /// Cuts the disk's power and gives it back: of the writes that were not flushed, and of those in flight,
    /// each is kept, lost or torn between sectors, as chance has it. Drop the drivers first: a process does
    /// not outlive its machine.
    ///
    /// # Panics
    /// When it is no disk.
    pub fn power_cut(&self, fd: RawFd) {
        let mut inner = self.inner();
        let mut rng = inner.rng.clone();
        inner.disk(fd).expect("a disk").power_cut(&mut rng);
        inner.rng = rng;
    }
}

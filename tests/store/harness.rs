//! A store on a real ring, one operation at a time.

use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ringtgt::mem::{Memory, Pages, Place, Region, RegionId};
use ringtgt::ring::{Bell, Driver, File, Kind, Op, Ring, RingConfig, Wait};
use ringtgt::store::{
    Backing, Direction, Fault, Medium, Progress, Reach, Span, Step, Store, StoreConfig, judge_plain, open,
    zero_region,
};

const ZEROES: RegionId = RegionId(1);
const MEMORY: u64 = 4 << 20;

/// A store, and a reactor that does nothing else.
pub(crate) struct Disk {
    pub(crate) store: Store,
    memory: Memory,
    ring: Ring,
    file: File,
}

/// Opens a store that nobody holds, or only a ring that is being taken down.
pub(crate) fn open_free(config: &StoreConfig) -> Backing {
    open(config, Duration::from_secs(10)).unwrap_or_else(|e| panic!("{e}"))
}

impl Disk {
    pub(crate) fn new(backing: Backing) -> Self {
        let mut memory = Memory::new(Region::new(MEMORY, Pages::Transparent).unwrap());
        let config = RingConfig { in_flight: 8, ..RingConfig::default() };
        let mut ring = Ring::new(&config, &memory, Arc::new(Bell::new().unwrap())).unwrap();
        let zeroes = zero_region().unwrap();
        memory.attach(ZEROES, Some(zeroes.clone()));
        ring.attach(ZEROES, Some(zeroes));
        let Medium::File(medium) = &backing.medium else { panic!("a file or device") };
        let file = ring.open_file(medium.file.as_raw_fd(), medium.way);
        let discards = ring.caps().discard;
        let store = Store::new(Arc::new(backing), Reach::File(file), ZEROES, discards);
        Self { store, memory, ring, file }
    }

    /// Does as if the ring had no discard.
    pub(crate) fn without_ring_discard(&mut self) {
        self.store = Store::new(self.store.backing().clone(), Reach::File(self.file), ZEROES, false);
    }

    /// Writes `bytes`, going on after short writes.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), Fault> {
        self.memory.write(Place::pool(0, bytes.len() as u32), bytes);
        self.transfer(Direction::Write, bytes.len() as u32, |disk, place, at| {
            disk.store.write(&mut disk.memory, place, offset + at, fua, false)
        })
    }

    /// Reads `len` bytes.
    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, Fault> {
        self.transfer(Direction::Read, len, |disk, place, at| {
            disk.store.read(&mut disk.memory, place, offset + at)
        })?;
        Ok(self.memory.get(Place::pool(0, len)).to_vec())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        let step = self.store.flush();
        match judge_plain(self.perform(step)?) {
            Progress::Done => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    /// Works a span off.
    pub(crate) fn finish(&mut self, mut span: Span) -> Result<(), Fault> {
        while let Some(step) = span.step(&self.store, &mut self.memory) {
            let result = self.perform(step)?;
            span.done(result)?;
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        direction: Direction,
        len: u32,
        step: impl Fn(&mut Self, Place, u64) -> Step,
    ) -> Result<(), Fault> {
        let mut moved = 0;
        loop {
            let next = step(self, Place::pool(u64::from(moved), len - moved), u64::from(moved));
            let result = self.perform(next)?;
            match self.store.judge(direction, result, len - moved) {
                Progress::Done => return Ok(()),
                Progress::Short(n) => moved += n,
                Progress::Retry => {}
                Progress::Fault(fault) => return Err(fault),
            }
        }
    }

    fn perform(&mut self, step: Step) -> Result<i32, Fault> {
        match step {
            Step::Op(kind) => Ok(self.run(kind)),
            Step::Now(done) => done.map(|()| 0),
            Step::Later => Ok(0),
            Step::Blocking(call) => Ok(call.run()),
        }
    }

    fn run(&mut self, kind: Kind) -> i32 {
        self.ring.push(Op { tag: 1, kind }).expect("room for one operation");
        let mut done = Vec::new();
        while done.is_empty() {
            self.ring.turn(Wait::Forever, &mut self.memory, &mut done);
        }
        done.remove(0).result
    }
}

/// A ring's registration ends when its thread does, and a registered file stays open until then.
impl Drop for Disk {
    fn drop(&mut self) {
        self.ring.close_file(self.file);
    }
}

/// Runs a program of the system and gives what it prints.
pub(crate) fn run(program: &str, args: &[&str]) -> io::Result<String> {
    let out = Command::new(program).args(args).output()?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    } else {
        Err(io::Error::other(format!("{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr))))
    }
}

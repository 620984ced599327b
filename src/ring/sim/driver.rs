//! The driver for one simulated reactor.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use slab::Slab;

use super::socket::OnTheWay;
use super::world::{Inner, Thing};
use super::{Faults, World};
use crate::mem::{Memory, Place, Region, RegionId};
use crate::ring::op::Part;
use crate::ring::{Bell, Caps, Done, Driver, Ends, File, Key, Kind, Op, RecvOp, SendOp, Stats, Wait, Way};

/// What bytes are while an operation may write them: anything, and certainly not what was there before.
const ANYTHING: u8 = 0xdb;

/// The kinds of fallocate that make a range zero.
const ZEROING: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Pushed in this turn.
    New,
    /// Cannot be done yet: no bytes, no room, no connection.
    Blocked,
    /// With a disk that hangs.
    Hung,
    /// Taken without a copy, and on its way to the peer.
    Taken,
    /// Will be done at this time.
    Due(u64),
}

#[derive(Debug)]
struct Flight {
    op: Op,
    generation: u32,
    state: State,
    cancelled: bool,
    /// What the operation reads, to see whether somebody changes it.
    outgoing: Vec<u8>,
    /// A disk write's number, or a flush's mark.
    number: u64,
    /// Bytes of a send that have gone: like the kernel's with MSG_WAITALL, it ends when all have.
    gone: usize,
    /// The bytes of a send without copies, once it has been taken.
    taken: Option<OnTheWay>,
}

/// See the module page.
pub struct Sim {
    world: World,
    id: usize,
    bell: Arc<Bell>,
    caps: Caps,
    flights: Slab<Flight>,
    capacity: usize,
    generation: u32,
    now: u64,
    stats: Stats,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("id", &self.id).field("flights", &self.flights).finish()
    }
}

impl Sim {
    /// A driver in `world`, with room for `capacity` operations, that looks up at `bell`.
    pub fn new(world: &World, capacity: usize, bell: Arc<Bell>) -> Self {
        let caps = Caps { socket_hints: true, discard: true, ext_arg: true, ..Caps::default() };
        Self::with_caps(world, capacity, bell, caps)
    }

    /// As [`Sim::new`], with the abilities of some kernel.
    pub fn with_caps(world: &World, capacity: usize, bell: Arc<Bell>, caps: Caps) -> Self {
        let mut inner = world.inner();
        inner.wakes.push(None);
        let (id, now) = (inner.wakes.len() - 1, inner.now);
        drop(inner);
        let flights = Slab::with_capacity(capacity);
        Self {
            world: world.clone(),
            id,
            bell,
            caps,
            flights,
            capacity,
            generation: 0,
            now,
            stats: Stats::default(),
        }
    }

    /// Whether an operation holds any byte of a place. A slot that is freed must not be held.
    pub fn holds(&self, place: Place) -> bool {
        self.flights.iter().any(|(_, flight)| {
            touched(&flight.op.kind).chain(sources(&flight.op.kind)).any(|held| held.overlaps(place))
        })
    }

    /// Bytes of payload that operations on sockets may move.
    pub fn under_way(&self) -> usize {
        let bytes = |kind: &Kind| match kind {
            Kind::Send(send) => send.places().map(|place| place.len as usize).sum(),
            Kind::Recv(recv) => recv.into.map_or(0, |place| place.len as usize),
            _ => 0,
        };
        self.flights.iter().map(|(_, flight)| bytes(&flight.op.kind)).sum()
    }

    fn start(&mut self, index: usize, memory: &mut Memory) {
        let mut inner = self.world.inner();
        let flight = &mut self.flights[index];
        touched(&flight.op.kind).for_each(|place| memory.get_mut(place).fill(ANYTHING));
        if let Kind::Recv(recv) = &mut flight.op.kind {
            recv.room_mut().fill(ANYTHING);
        }
        flight.outgoing = outgoing(&flight.op.kind, memory);
        flight.state = State::Blocked;
        let latency = inner.faults.disk_latency.clone();
        let latency = inner.rng.within(latency);
        match &flight.op.kind {
            Kind::Accept { .. } | Kind::Recv(_) | Kind::Send(_) => return,
            Kind::Write { file, place, offset, .. } => {
                let bytes = content(*place, memory);
                flight.number = inner.disk(file.fd).map_or(0, |disk| disk.launch(*offset, bytes));
            }
            Kind::Discard { file, offset, len, .. } => {
                let len = *len as usize;
                flight.number = inner.disk(file.fd).map_or(0, |disk| disk.launch(*offset, vec![0; len]));
            }
            Kind::Fallocate { file, offset, len, mode } if mode & ZEROING != 0 => {
                let len = *len as usize;
                flight.number = inner.disk(file.fd).map_or(0, |disk| disk.launch(*offset, vec![0; len]));
            }
            Kind::Fsync { file, .. } => {
                flight.number = inner.disk(file.fd).map_or(0, |disk| disk.flush_mark());
            }
            Kind::Read { .. }
            | Kind::Fallocate { .. }
            | Kind::Serve { .. }
            | Kind::Close { .. }
            | Kind::Taken => {}
        }
        let hangs = disk_of(&flight.op.kind).is_some_and(|fd| inner.hung.contains(&fd));
        flight.state = if hangs { State::Hung } else { State::Due(inner.now + latency) };
    }

    /// Gives a time to what can be done by now.
    fn unblock(&mut self) {
        let mut inner = self.world.inner();
        for (_, flight) in &mut self.flights {
            if flight.state == State::Blocked && is_ready(&flight.op.kind, &mut inner) {
                let latency = inner.faults.socket_latency.clone();
                flight.state = State::Due(inner.now + inner.rng.within(latency));
            }
            let hangs = disk_of(&flight.op.kind).is_some_and(|fd| inner.hung.contains(&fd));
            if flight.state == State::Taken && flight.taken.as_ref().is_none_or(OnTheWay::is_over) {
                let latency = inner.notices.as_ref().map_or(1..2, |notices| notices.latency.clone());
                flight.state = State::Due(inner.now + inner.rng.within(latency));
            }
            if flight.state == State::Hung && !hangs {
                let latency = inner.faults.disk_latency.clone();
                flight.state = State::Due(inner.now + inner.rng.within(latency));
            }
        }
    }

    /// What ends in this turn, in the order in which it does.
    fn due(&self) -> Vec<usize> {
        let mut inner = self.world.inner();
        let now = inner.now;
        let is_due = |state| matches!(state, State::Due(at) if at <= now);
        let mut due: Vec<_> =
            self.flights.iter().filter(|(_, flight)| is_due(flight.state)).map(|(index, _)| index).collect();
        inner.rng.shuffle(&mut due);
        due
    }

    fn finish(&mut self, index: usize, memory: &mut Memory, done: &mut Vec<Done>) {
        let mut inner = self.world.inner();
        let flight = &mut self.flights[index];
        check(flight, memory);
        if flight.taken.is_some() {
            let result = Ok(flight.gone as i32);
            drop(inner);
            return self.hand_back(index, result, done);
        }
        let Some(result) = perform(flight, memory, &mut inner) else {
            flight.state = State::Blocked;
            return;
        };
        if let Kind::Send(send) = &flight.op.kind
            && let (true, Ok(result), Ok(stream)) = (send.zero_copy, &result, inner.stream(send.fd))
        {
            (flight.taken, flight.state) = (Some(stream.on_the_way()), State::Taken);
            let op = Op { tag: flight.op.tag, kind: Kind::Taken };
            *inner.busy.entry(send.fd).or_default() -= 1;
            return done.push(Done { op, result: *result, more_in_socket: false, copied: false });
        }
        drop(inner);
        self.hand_back(index, result, done);
    }

    fn hand_back(&mut self, index: usize, result: io::Result<i32>, done: &mut Vec<Done>) {
        let flight = self.flights.remove(index);
        let result = result.unwrap_or_else(|error| -error.raw_os_error().unwrap_or(libc::EIO));
        let mut inner = self.world.inner();
        if let Some(fd) = flight.descriptor() {
            *inner.busy.entry(fd).or_default() -= 1;
        }
        let copied = flight.taken.is_some()
            && inner.notices.as_ref().map(|n| n.copied).is_some_and(|chance| inner.rng.chance(chance));
        let more_in_socket = match &flight.op.kind {
            Kind::Recv(recv) if self.caps.socket_hints => {
                inner.stream(recv.fd).is_ok_and(|stream| matches!(stream.available(), Ok(Some(1..))))
            }
            Kind::Recv(recv) => result > 0 && result as u32 == recv.wanted(),
            _ => false,
        };
        self.stats.completions += 1;
        done.push(Done { op: flight.op, result, more_in_socket, copied });
    }

    /// Cancellations end what still waits, unless they come too late.
    fn heed_cancels(&mut self, done: &mut Vec<Done>) {
        let cancelled: Vec<_> =
            self.flights.iter().filter(|(_, flight)| flight.cancelled).map(|(index, _)| index).collect();
        for index in cancelled {
            let flight = &mut self.flights[index];
            flight.cancelled = false;
            let waits = match flight.state {
                State::New | State::Blocked => true,
                // A disk cannot be called back.
                State::Due(_) | State::Hung => descriptor(&flight.op.kind).is_some(),
                State::Taken => false,
            } && !flight.has_two_ends();
            let late =
                flight.state != State::Blocked && self.world.inner().weather(|faults| faults.late_cancel);
            if waits && !late {
                self.hand_back(index, Err(io::Error::from_raw_os_error(libc::ECANCELED)), done);
            }
        }
    }

    fn note_wake(&self, wait: Wait) {
        let next = self.flights.iter().filter_map(|(_, flight)| match flight.state {
            State::Due(at) => Some(at),
            _ => None,
        });
        let wait = match wait {
            Wait::No => Some(self.now),
            Wait::Until(until) => Some(until),
            Wait::Forever => None,
        };
        let rung = self.bell.is_pending().then_some(self.now);
        self.world.inner().wakes[self.id] = next.chain(wait).chain(rung).min();
    }
}

impl Driver for Sim {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn room(&self) -> usize {
        self.capacity - self.flights.len()
    }

    fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn push(&mut self, op: Op) -> Result<Key, Op> {
        if self.room() == 0 {
            return Err(op);
        }
        if let Some(fd) = descriptor(&op.kind) {
            *self.world.inner().busy.entry(fd).or_default() += 1;
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let state = State::New;
        let flight = Flight {
            op,
            generation,
            state,
            cancelled: false,
            outgoing: Vec::new(),
            number: 0,
            gone: 0,
            taken: None,
        };
        Ok(Key { index: self.flights.insert(flight) as u32, generation })
    }

    fn cancel(&mut self, key: Key) {
        if let Some(flight) = self.flights.get_mut(key.index as usize)
            && flight.generation == key.generation
        {
            flight.cancelled = true;
        }
    }

    /// Never blocks: time passes by [`World::step`] or [`World::advance`].
    fn turn(&mut self, wait: Wait, memory: &mut Memory, done: &mut Vec<Done>) {
        self.stats.turns += 1;
        self.stats.enters += 1;
        self.now = self.world.now();
        let new = |(index, flight): (usize, &Flight)| (flight.state == State::New).then_some(index);
        let new: Vec<_> = self.flights.iter().filter_map(new).collect();
        new.into_iter().for_each(|index| self.start(index, memory));
        self.heed_cancels(done);
        self.unblock();
        for index in self.due() {
            self.finish(index, memory, done);
        }
        self.note_wake(wait);
    }

    /// The places of shared regions are reached through the memory given to each turn.
    fn attach(&mut self, _id: RegionId, _region: Option<Arc<Region>>) {}

    fn open_file(&mut self, fd: RawFd, way: Way) -> File {
        File { fd, slot: None, way }
    }

    fn close_file(&mut self, _file: File) {}

    fn adopt(&mut self, fd: RawFd) -> io::Result<Ends> {
        let mut inner = self.world.inner();
        let stream = inner.stream(fd)?;
        stream.available().map(|_| stream.ends)
    }

    fn hand_down(&mut self, _listener: RawFd, _fd: RawFd) {}

    fn shutdown(&mut self, fd: RawFd) {
        if let Ok(stream) = self.world.inner().stream(fd) {
            stream.shut_down();
        }
    }

    fn delivered(&mut self, fd: RawFd) -> Option<u64> {
        self.world.inner().stream(fd).ok().map(|stream| stream.delivered())
    }

    fn segment(&self, _: RawFd) -> Option<u32> {
        None
    }

    fn zero_copy(&mut self, _fd: RawFd) -> bool {
        self.world.inner().notices.is_some()
    }

    fn abort(&mut self, fd: RawFd) {
        if let Ok(stream) = self.world.inner().stream(fd) {
            stream.abort();
        }
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl Flight {
    /// The socket that it keeps from being closed: one that has taken all bytes may be.
    fn descriptor(&self) -> Option<RawFd> {
        descriptor(&self.op.kind).filter(|_| self.taken.is_none())
    }

    fn has_two_ends(&self) -> bool {
        matches!(&self.op.kind, Kind::Send(send) if send.zero_copy)
    }
}

/// The process has died. Its writes in flight land, or not.
impl Drop for Sim {
    fn drop(&mut self) {
        let mut inner = self.world.inner();
        inner.wakes[self.id] = None;
        for (_, flight) in &self.flights {
            let landed = inner.rng.chance(500);
            if let Kind::Write { file, place, dsync, .. } = &flight.op.kind
                && let Ok(disk) = inner.disk(file.fd)
            {
                disk.land(flight.number, if landed { place.len as usize } else { 0 }, *dsync);
            }
            if let Some(fd) = flight.descriptor() {
                *inner.busy.entry(fd).or_default() -= 1;
            }
        }
    }
}

/// The socket that an operation keeps from being closed.
fn descriptor(kind: &Kind) -> Option<RawFd> {
    match kind {
        Kind::Accept { listener } => Some(*listener),
        Kind::Recv(recv) => Some(recv.fd),
        Kind::Send(send) => Some(send.fd),
        _ => None,
    }
}

/// The disk that an operation is for.
fn disk_of(kind: &Kind) -> Option<RawFd> {
    match kind {
        Kind::Read { file, .. }
        | Kind::Write { file, .. }
        | Kind::Fsync { file, .. }
        | Kind::Fallocate { file, .. }
        | Kind::Discard { file, .. } => Some(file.fd),
        _ => None,
    }
}

/// The reactor's own places that the operation writes.
fn touched(kind: &Kind) -> impl Iterator<Item = Place> {
    let place = match kind {
        Kind::Recv(recv) => recv.into,
        Kind::Read { place, .. } => Some(*place),
        _ => None,
    };
    place.into_iter()
}

/// The reactor's own places that the operation reads. Those of shared regions may change at any time.
fn sources(kind: &Kind) -> impl Iterator<Item = Place> + '_ {
    let (one, many) = match kind {
        Kind::Write { place, .. } => (Some(*place), None),
        Kind::Send(send) => (None, Some(send.places())),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten()).filter(|place| place.region == RegionId::POOL)
}

/// What the operation reads.
fn outgoing(kind: &Kind, memory: &Memory) -> Vec<u8> {
    sources(kind).map(|place| content(place, memory)).collect::<Vec<_>>().concat()
}

fn content(place: Place, memory: &Memory) -> Vec<u8> {
    let mut bytes = vec![0; place.len as usize];
    memory.read(place, &mut bytes);
    bytes
}

/// By one comparison, which is fast even where nothing is optimized.
fn is_all(bytes: &[u8], value: u8) -> bool {
    bytes.split_first().is_none_or(|(first, rest)| *first == value && *rest == bytes[..rest.len()])
}

fn check(flight: &Flight, memory: &Memory) {
    let kind = &flight.op.kind;
    assert!(
        flight.outgoing == outgoing(kind, memory),
        "somebody changed what is being sent or written: {kind:?}"
    );
    let untouched = touched(kind).all(|place| is_all(memory.get(place), ANYTHING));
    assert!(untouched, "somebody wrote where this is being received or read: {kind:?}");
}

fn is_ready(kind: &Kind, inner: &mut Inner) -> bool {
    match kind {
        Kind::Accept { listener } => match inner.things.get(listener) {
            Some(Thing::Listener(listener)) => !listener.queue.is_empty(),
            _ => true,
        },
        Kind::Recv(recv) => !matches!(inner.stream(recv.fd).map(|stream| stream.available()), Ok(Ok(None))),
        Kind::Send(send) => !matches!(inner.stream(send.fd).map(|stream| stream.room()), Ok(Ok(None))),
        _ => true,
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// Does it. `None` when it has to wait after all.
fn perform(flight: &mut Flight, memory: &mut Memory, inner: &mut Inner) -> Option<io::Result<i32>> {
    if let Some(fd) = descriptor(&flight.op.kind)
        && inner.weather(|faults| faults.reset)
        && let Ok(stream) = inner.stream(fd)
    {
        stream.reset();
    }
    Some(match &mut flight.op.kind {
        Kind::Accept { listener } => match inner.things.get_mut(listener) {
            Some(Thing::Listener(listener)) => {
                let stream = listener.queue.pop_front()?;
                Ok(inner.add(Thing::Stream(stream)))
            }
            _ => Err(errno(libc::EBADF)),
        },
        Kind::Recv(recv) => return receive(recv, memory, inner).transpose(),
        Kind::Send(op) => return send(op, &mut flight.gone, memory, inner).transpose(),
        Kind::Read { file, place, offset } => read(file.fd, *place, *offset, memory, inner),
        Kind::Write { file, place, offset, dsync, .. } => {
            write(file.fd, flight.number, u64::from(place.len), *offset, *dsync, inner)
        }
        Kind::Discard { file, offset, len, .. } => {
            write(file.fd, flight.number, *len, *offset, false, inner).map(|_| 0)
        }
        Kind::Fallocate { file, mode, offset, len } => {
            let end = if *mode & libc::FALLOC_FL_KEEP_SIZE == 0 { *offset + *len } else { 0 };
            allocate(file.fd, flight.number, *len, end, inner)
        }
        Kind::Fsync { file, .. } => flush(file.fd, flight.number, inner),
        // There are no such devices here.
        Kind::Serve { .. } => Err(errno(libc::ENODEV)),
        Kind::Close { fd } => inner.close(*fd).map(|()| 0),
        Kind::Taken => unreachable!("only handed back"),
    })
}

fn receive(recv: &mut RecvOp, memory: &mut Memory, inner: &mut Inner) -> io::Result<Option<i32>> {
    let Some(there) = inner.stream(recv.fd)?.available()? else { return Ok(None) };
    let n = shorten(there.min(recv.wanted() as usize), |faults| faults.short_recv, 1, inner);
    let (first, second) = recv.received(n as u32);
    let stream = inner.stream(recv.fd)?;
    if let Some(into) = recv.into {
        stream.take(memory.get_mut(into.first(first)));
    }
    stream.take(&mut recv.room_mut()[..second as usize]);
    Ok(Some(n as i32))
}

fn send(send: &SendOp, gone: &mut usize, memory: &Memory, inner: &mut Inner) -> io::Result<Option<i32>> {
    let room = match inner.stream(send.fd).and_then(|stream| stream.room()) {
        Ok(Some(room)) => room,
        Ok(None) => return Ok(None),
        // What has gone comes before what is wrong.
        Err(_) if *gone > 0 => return Ok(Some(*gone as i32)),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    for part in send.unsent() {
        match part {
            Part::Header { at, len } => bytes.extend(send.header(at, len)),
            Part::Place(place) => bytes.extend(content(place, memory)),
        }
    }
    let may = room.min(bytes.len() - *gone);
    let n = shorten(may, |faults| faults.short_send, 1, inner);
    inner.stream(send.fd)?.put(&bytes[*gone..*gone + n]);
    *gone += n;
    let over = n < may || *gone == bytes.len();
    Ok(over.then_some(*gone as i32))
}

/// Sometimes less, in whole units, but never nothing.
fn shorten(n: usize, per_mille: impl Fn(&Faults) -> u16, unit: usize, inner: &mut Inner) -> usize {
    if n <= unit || !inner.weather(per_mille) {
        return n;
    }
    let units = n.div_ceil(unit) as u64;
    inner.rng.within(1..units) as usize * unit
}

fn read(fd: RawFd, place: Place, offset: u64, memory: &mut Memory, inner: &mut Inner) -> io::Result<i32> {
    if inner.weather(|faults| faults.read_error) {
        return Err(errno(libc::EIO));
    }
    let len = inner.disk(fd)?.content().len() as u64;
    let there = len.saturating_sub(offset).min(u64::from(place.len)) as usize;
    let n = shorten(there, |faults| faults.short_read, 512, inner);
    let from = offset as usize;
    if n > 0 {
        memory.write(place, &inner.disk(fd)?.content()[from..from + n]);
    }
    Ok(n as i32)
}

fn write(fd: RawFd, number: u64, len: u64, offset: u64, through: bool, inner: &mut Inner) -> io::Result<i32> {
    if inner.weather(|faults| faults.write_error) {
        let kept = inner.rng.within(0..len / 512 + 1) as usize * 512;
        inner.disk(fd)?.land(number, kept, through);
        return Err(errno(libc::EIO));
    }
    let beyond = offset + len > inner.disk(fd)?.content().len() as u64;
    if beyond || inner.weather(|faults| faults.no_space) {
        inner.disk(fd)?.land(number, 0, through);
        return Err(errno(libc::ENOSPC));
    }
    let n = shorten(len as usize, |faults| faults.short_write, 512, inner);
    inner.disk(fd)?.land(number, n, through);
    Ok(n as i32)
}

fn allocate(fd: RawFd, number: u64, len: u64, end: u64, inner: &mut Inner) -> io::Result<i32> {
    let full = inner.weather(|faults| faults.no_space);
    let disk = inner.disk(fd)?;
    if full {
        disk.land(number, 0, false);
        return Err(errno(libc::ENOSPC));
    }
    disk.grow(end);
    disk.land(number, len as usize, false);
    Ok(0)
}

fn flush(fd: RawFd, mark: u64, inner: &mut Inner) -> io::Result<i32> {
    if inner.weather(|faults| faults.write_error) {
        return Err(errno(libc::EIO));
    }
    inner.disk(fd)?.flush(mark);
    Ok(0)
}

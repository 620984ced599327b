//! The ring on the real kernel, as it is and as if it were older.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::mem::{Memory, Pages, Place, Region, RegionId};

const LEVELS: [Option<KernelLevel>; 4] =
    [None, Some(KernelLevel::V6_1), Some(KernelLevel::V5_15), Some(KernelLevel::V5_10)];
const MS: u64 = 1_000_000;

struct Rig {
    ring: Ring,
    memory: Memory,
    bell: Arc<Bell>,
    done: Vec<Done>,
}

impl Rig {
    fn new(config: &RingConfig) -> Self {
        let memory = Memory::new(Region::new(8 << 20, Pages::Transparent).unwrap());
        let bell = Arc::new(Bell::new().unwrap());
        let ring = Ring::new(config, &memory, Arc::clone(&bell)).unwrap();
        Self { ring, memory, bell, done: Vec::new() }
    }

    /// One rig per kernel level.
    fn each(test: impl Fn(Self)) {
        for level in LEVELS {
            test(Self::new(&RingConfig { level, ..RingConfig::default() }));
        }
    }

    fn push(&mut self, tag: u64, kind: Kind) -> Key {
        self.ring.push(Op { tag, kind }).unwrap()
    }

    fn turn(&mut self, wait: Wait) {
        self.ring.turn(wait, &mut self.memory, &mut self.done);
    }

    /// Turns until something completes: the first of it.
    fn next(&mut self) -> Done {
        let end = monotonic_ns() + 5000 * MS;
        while self.done.is_empty() {
            assert!(monotonic_ns() < end, "nothing completes");
            self.turn(Wait::Until(end));
        }
        self.done.remove(0)
    }

    fn run(&mut self, kind: Kind) -> Done {
        self.push(1, kind);
        self.next()
    }
}

/// A connection over loopback: this end, which is served, and the peer's.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, peer)
}

/// With this kernel, and with one that cannot send without copies, where a send must do as well.
fn with_and_without_copies(test: impl Fn(Rig, bool)) {
    let uncopied = |level| {
        let rig = Rig::new(&RingConfig { level, ..RingConfig::default() });
        let can = rig.ring.caps().zero_copy;
        test(rig, can);
        can
    };
    assert!(!uncopied(Some(KernelLevel::V5_15)), "it came with Linux 6.2");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let is_old = (numbers.next(), numbers.next()) < (Some(6), Some(2));
    assert!(uncopied(None) || is_old, "Linux {release} can do it");
}

#[test]
fn what_has_reached_the_peer_is_known_before_a_send_ends() {
    let mut rig = Rig::new(&RingConfig::default());
    let (near, mut peer) = connected();
    let before = rig.ring.delivered(near.as_raw_fd()).expect("the kernel tells");
    let segment = rig.ring.segment(near.as_raw_fd()).expect("so it does");
    assert!((500..=65_536).contains(&segment), "{segment}");
    // More than both sockets hold: it ends only when the peer reads.
    let mut send = SendOp::new(near.as_raw_fd(), 1);
    send.put(&vec![1; 64 << 20]);
    rig.push(1, Kind::Send(send));
    peer.set_nonblocking(true).unwrap();
    let (mut bytes, mut read, end) = (vec![0; 1 << 20], 0, monotonic_ns() + 20_000 * MS);
    while read < 8 << 20 {
        assert!(monotonic_ns() < end, "it stands still at {read}");
        rig.turn(Wait::Until(monotonic_ns() + MS));
        read += peer.read(&mut bytes).unwrap_or(0);
    }
    let delivered = rig.ring.delivered(near.as_raw_fd()).expect("as before") - before;
    assert!(rig.done.is_empty() && delivered > 1 << 20, "{delivered}");
    drop(peer);
    assert!(rig.next().result < 64 << 20);
}

#[test]
fn a_send_without_copies_comes_back_when_nobody_looks_at_its_memory() {
    with_and_without_copies(|mut rig, uncopied| {
        let (near, mut peer) = connected();
        let fd = near.as_raw_fd();
        assert!(!rig.ring.zero_copy(fd), "nobody asked for it");
        crate::sys::set_int(near.as_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1).unwrap();
        assert_eq!(rig.ring.zero_copy(fd), uncopied);
        let (bytes, place) = (pattern(256 << 10), Place::pool(1 << 20, 256 << 10));
        rig.memory.write(place, &bytes);
        let Kind::Send(mut op) = send(fd, [place]) else { unreachable!() };
        (op.number, op.zero_copy) = (7, uncopied);
        let key = rig.push(5, Kind::Send(op));
        let reader = thread::spawn(move || {
            let mut got = vec![0; 256 << 10];
            peer.read_exact(&mut got).unwrap();
            got
        });
        if uncopied {
            rig.ring.cancel(key);
            let first = rig.next();
            assert!(matches!(first.op, Op { tag: 5, kind: Kind::Taken }), "{first:?}");
            assert_eq!(first.result, 256 << 10, "a cancellation has no effect");
        }
        let last = rig.next();
        let Kind::Send(op) = last.op.kind else { panic!("{:?} comes back", last.op) };
        assert_eq!((last.op.tag, last.result, op.number), (5, 256 << 10, 7));
        assert_eq!(last.copied, uncopied, "loopback copies, which is told of what need not be");
        assert_eq!(rig.ring.in_flight(), 0);
        assert!(reader.join().unwrap() == bytes);
    });
}

#[test]
fn a_connection_that_is_broken_off_gives_back_what_its_peer_does_not_read() {
    with_and_without_copies(|mut rig, uncopied| {
        let (near, peer) = connected();
        let fd = std::os::fd::IntoRawFd::into_raw_fd(near);
        // What is beyond the peer's buffer lingers here.
        crate::sys::set_int(peer.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 4096).unwrap();
        let (mut taken, mut back) = (0, 0);
        for number in 0..8 {
            let Kind::Send(mut op) = send(fd, [Place::pool(number << 16, 64 << 10)]) else { unreachable!() };
            (op.number, op.zero_copy) = (number, uncopied);
            rig.push(number, Kind::Send(op));
        }
        let mut count = |rig: &mut Rig| {
            rig.turn(Wait::Until(monotonic_ns() + 20 * MS));
            for done in rig.done.drain(..) {
                match done.op.kind {
                    Kind::Taken => taken += 1,
                    _ => back += 1,
                }
            }
            (taken, back)
        };
        for _ in 0..6 {
            count(&mut rig);
        }
        let (taken, back) = count(&mut rig);
        assert_eq!(taken > back, uncopied, "{taken} were taken, and {back} have come back");
        rig.ring.shutdown(fd);
        for _ in 0..6 {
            count(&mut rig);
        }
        let (taken, back) = count(&mut rig);
        assert_eq!(taken > back, uncopied, "{taken} were taken, and {back} have come back");
        rig.ring.abort(fd);
        rig.push(99, Kind::Close { fd });
        let end = monotonic_ns() + 5000 * MS;
        while rig.ring.in_flight() > 0 {
            assert!(monotonic_ns() < end, "{:?}", rig.ring);
            count(&mut rig);
        }
        assert_eq!(count(&mut rig).1, 8 + 1, "each send and the close, once");
    });
}

fn recv(fd: i32, into: Option<Place>, staging: usize) -> Kind {
    let mut recv = RecvOp::new(fd, staging);
    recv.into = into;
    Kind::Recv(recv)
}

fn send(fd: i32, parts: impl IntoIterator<Item = Place>) -> Kind {
    let mut send = SendOp::new(fd, 4);
    parts.into_iter().for_each(|part| send.put_place(part));
    Kind::Send(send)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn received_bytes_land_where_they_belong() {
    Rig::each(|mut rig| {
        let (mut far, near) = UnixStream::pair().unwrap();
        let into = Place::pool(1 << 20, 8192);
        let bytes = pattern(8192 + 48);
        rig.push(7, recv(near.as_raw_fd(), Some(into), 16384));
        rig.turn(Wait::No);
        assert_eq!(rig.ring.in_flight(), 1);
        far.write_all(&bytes).unwrap();
        let done = rig.next();
        assert_eq!((done.op.tag, done.result), (7, 8192 + 48));
        assert!(!done.more_in_socket);
        let Kind::Recv(op) = done.op.kind else { panic!("the same operation comes back") };
        assert_eq!(op.received(done.result as u32), (8192, 48));
        assert_eq!(rig.memory.get(into), &bytes[..8192]);
        assert_eq!(&op.staging[..48], &bytes[8192..]);
        assert_eq!(rig.ring.in_flight(), 0);
    });
}

#[test]
fn more_in_the_socket_is_told() {
    Rig::each(|mut rig| {
        let (near, mut far) = connected();
        far.write_all(&pattern(100)).unwrap();
        let first = rig.run(recv(near.as_raw_fd(), None, 60));
        assert_eq!((first.result, first.more_in_socket), (60, true));
        let second = rig.run(recv(near.as_raw_fd(), Some(Place::pool(0, 60)), 0));
        assert_eq!((second.result, second.more_in_socket), (40, false));
        drop(far);
        assert_eq!(rig.run(recv(near.as_raw_fd(), None, 60)).result, 0);
    });
}

#[test]
fn a_long_message_of_many_parts_arrives_whole() {
    Rig::each(|mut rig| {
        let (mut far, near) = UnixStream::pair().unwrap();
        let bytes = pattern(6 << 20);
        rig.memory.write(Place::pool(0, 6 << 20), &bytes);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        let parts = (0..1500).map(|i| Place::pool(i * 4194, 4194)).chain([Place::pool(6291000, 456)]);
        let Kind::Send(mut op) = send(near.as_raw_fd(), parts) else { unreachable!() };
        loop {
            let done = rig.run(Kind::Send(op));
            assert!(done.result > 0, "{}", done.result);
            let Kind::Send(back) = done.op.kind else { panic!("the same operation comes back") };
            op = back;
            if op.advance(done.result as usize) {
                break;
            }
        }
        drop(near);
        assert_eq!(reader.join().unwrap(), bytes);
    });
}

#[test]
fn a_vanished_reader_is_an_error_not_a_signal() {
    Rig::each(|mut rig| {
        let near = UnixStream::pair().unwrap().0;
        assert_eq!(rig.run(send(near.as_raw_fd(), [Place::pool(0, 10)])).result, -libc::EPIPE);
    });
}

#[test]
fn shared_regions_can_be_sent_from() {
    let mut rig = Rig::new(&RingConfig::default());
    let disk = Arc::new(Region::new(1, Pages::Transparent).unwrap());
    rig.memory.attach(RegionId(3), Some(Arc::clone(&disk)));
    rig.ring.attach(RegionId(3), Some(disk));
    let part = Place::in_region(RegionId(3), 4096, 5);
    rig.memory.write(part, b"hello");
    rig.memory.write(Place::pool(0, 2), b"> ");
    let (mut far, near) = UnixStream::pair().unwrap();
    assert_eq!(rig.run(send(near.as_raw_fd(), [Place::pool(0, 2), part])).result, 7);
    let mut got = [0; 7];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"> hello");
}

/// A file that goes past the page cache, where the file system can.
fn direct_file(len: u64) -> (tempfile::NamedTempFile, fs::File) {
    let named = tempfile::NamedTempFile::new().unwrap();
    named.as_file().set_len(len).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(named.path());
    let file = direct.unwrap_or_else(|_| options.open(named.path()).unwrap());
    (named, file)
}

fn file_round_trip(rig: &mut Rig, file: File, check: &fs::File) {
    let (from, to) = (Place::pool(256 << 10, 64 << 10), Place::pool(512 << 10, 64 << 10));
    let bytes = pattern(64 << 10);
    rig.memory.write(from, &bytes);
    for (offset, dsync) in [(0, false), (128 << 10, true)] {
        assert_eq!(rig.run(Kind::Write { file, place: from, offset, dsync, atomic: false }).result, 64 << 10);
        assert_eq!(rig.run(Kind::Fsync { file, data_only: !dsync }).result, 0);
        assert_eq!(rig.run(Kind::Read { file, place: to, offset }).result, 64 << 10);
        assert_eq!(rig.memory.get(to), bytes);
        let mut seen = vec![0; 64 << 10];
        check.read_exact_at(&mut seen, offset).unwrap();
        assert_eq!(seen, bytes);
        rig.memory.zero(to);
    }
    let past = Kind::Read { file, place: to, offset: 1 << 20 };
    assert_eq!(rig.run(past).result, 0);
}

/// Where the kernel knows of none it says so; where it does, the whole is there.
#[test]
fn an_atomic_write_is_whole_or_refused() {
    let mut rig = Rig::new(&RingConfig::default());
    let (named, file) = direct_file(1 << 20);
    let limits = crate::sys::atomic_writes(file.as_fd()).unwrap();
    let place = Place::pool(256 << 10, limits.map_or(4096, |limits| limits.least));
    let bytes = pattern(place.len as usize);
    rig.memory.write(place, &bytes);
    let open = rig.ring.open_file(file.as_raw_fd(), Way::Direct);
    let result = rig.run(Kind::Write { file: open, place, offset: 0, dsync: false, atomic: true }).result;
    let written = &fs::read(named.path()).unwrap()[..bytes.len()];
    match limits {
        Some(_) => assert_eq!((result, written), (place.len as i32, &bytes[..])),
        None => {
            assert!([-libc::EOPNOTSUPP, -libc::EINVAL].contains(&result), "{result}");
            assert!(written.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn files_are_written_read_and_synced() {
    Rig::each(|mut rig| {
        let (named, direct) = direct_file(1 << 20);
        let file = rig.ring.open_file(direct.as_raw_fd(), Way::Direct);
        assert!(file.slot.is_some());
        file_round_trip(&mut rig, file, named.as_file());
        rig.ring.unregister();
        file_round_trip(&mut rig, file, named.as_file());
        rig.ring.close_file(file);
        let plain = File { fd: direct.as_raw_fd(), slot: None, way: Way::Direct };
        file_round_trip(&mut rig, plain, named.as_file());
        assert_eq!(rig.ring.open_file(direct.as_raw_fd(), Way::Direct), file);
    });
}

/// Whatever the file system here makes of it: what cannot be polled goes the other way.
#[test]
fn what_is_polled_ends_all_the_same() {
    Rig::each(|mut rig| {
        let (named, direct) = direct_file(1 << 20);
        let file = rig.ring.open_file(direct.as_raw_fd(), Way::Polled);
        assert_eq!((file.way, file.slot.is_some()), (Way::Polled, true));
        file_round_trip(&mut rig, file, named.as_file());
        let plain = File { slot: None, ..file };
        file_round_trip(&mut rig, plain, named.as_file());
        // Beside what only the first ring can do.
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(&pattern(100)).unwrap();
        rig.push(5, Kind::Read { file, place: Place::pool(4096, 4096), offset: 0 });
        rig.push(6, recv(near.as_raw_fd(), None, 100));
        let mut ended = [rig.next(), rig.next()].map(|done| (done.op.tag, done.result));
        ended.sort_unstable();
        assert_eq!(ended, [(5, 4096), (6, 100)]);
        rig.ring.close_file(file);
        assert_eq!(rig.ring.open_file(direct.as_raw_fd(), Way::Direct).slot, file.slot);
        assert_eq!((rig.ring.in_flight(), rig.ring.overflowed()), (0, 0));
    });
}

/// Such a device cannot be polled: the kernel says so, and it is read all the same.
#[test]
fn what_cannot_be_polled_is_done_by_the_first_ring() {
    let mut rig = Rig::new(&RingConfig::default());
    let zero = fs::File::open("/dev/zero").unwrap();
    let file = rig.ring.open_file(zero.as_raw_fd(), Way::Polled);
    let place = Place::pool(4096, 4096);
    rig.memory.get_mut(place).fill(7);
    for n in 0..3000 {
        let key = rig.push(n, Kind::Read { file, place, offset: 0 });
        rig.ring.cancel(key);
        let done = rig.next();
        assert_eq!((done.op.tag, done.result), (n, 4096));
    }
    assert_eq!((rig.memory.get(place), rig.ring.in_flight()), (&[0; 4096][..], 0));
}

fn namespace(node: &fs::File) -> Namespace {
    Namespace { fd: node.as_raw_fd(), id: 1, block: 9, transfer: 12, zeroes: 12, deallocates: true }
}

/// `/dev/null` takes commands, and says that all is well (Linux 6.1).
#[test]
fn commands_go_to_the_generic_node() {
    Rig::each(|mut rig| {
        let (_named, direct) = direct_file(1 << 20);
        let null = fs::File::open("/dev/null").unwrap();
        let file = rig.ring.open_file(direct.as_raw_fd(), Way::Passthrough(namespace(&null)));
        let commands = rig.ring.caps().commands;
        assert_eq!((file.way != Way::Direct, file.slot.is_some()), (commands, true));
        let place = Place::pool(4096, 8192);
        rig.memory.get_mut(place).fill(7);
        let key = rig.push(1, Kind::Read { file, place, offset: 0 });
        rig.ring.cancel(key);
        let (mut far, near) = UnixStream::pair().unwrap();
        rig.push(2, recv(near.as_raw_fd(), None, 100));
        let read = rig.next();
        let (part, byte) = if commands { (4096, 7) } else { (8192, 0) };
        assert_eq!((read.op.tag, read.result, rig.memory.get(place)[0]), (1, part, byte));
        far.write_all(&pattern(100)).unwrap();
        assert_eq!(rig.next().op.tag, 2);
        assert_eq!(rig.run(Kind::Fsync { file, data_only: true }).result, 0);
        if commands {
            assert_eq!(rig.run(Kind::Discard { file, offset: 0, len: 4096, room: [0; 2] }).result, 0);
        }
        rig.ring.close_file(file);
        let again = rig.ring.open_file(direct.as_raw_fd(), Way::Direct);
        assert_eq!(
            (again.slot, rig.run(Kind::Read { file: again, place, offset: 0 }).result),
            (file.slot, 8192)
        );
        assert_eq!((rig.ring.in_flight(), rig.ring.overflowed()), (0, 0));
    });
}

/// Such a device takes no commands: the kernel says so, and the block device is asked.
#[test]
fn what_takes_no_commands_is_done_by_the_first_ring() {
    Rig::each(|mut rig| {
        let (named, direct) = direct_file(1 << 20);
        let zero = fs::File::open("/dev/zero").unwrap();
        let file = rig.ring.open_file(direct.as_raw_fd(), Way::Passthrough(namespace(&zero)));
        file_round_trip(&mut rig, file, named.as_file());
        let len = 4096;
        let zeroing = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        assert_eq!(rig.run(Kind::Fallocate { file, mode: zeroing, offset: 0, len }).result, 0);
        assert_eq!((rig.ring.in_flight(), rig.ring.overflowed()), (0, 0));
    });
}

/// With more of them than there are numbers, the rest goes by the block device.
#[test]
fn commands_go_by_number_or_not_at_all() {
    let mut rig = Rig::new(&RingConfig { files: 1, ..RingConfig::default() });
    let (_named, direct) = direct_file(1 << 20);
    let null = fs::File::open("/dev/null").unwrap();
    let way = Way::Passthrough(namespace(&null));
    let [_, second] = [(); 2].map(|()| rig.ring.open_file(direct.as_raw_fd(), way));
    assert_eq!((second.slot, second.way), (None, Way::Direct));
    let place = Place::pool(4096, 8192);
    assert_eq!(rig.run(Kind::Read { file: second, place, offset: 0 }).result, 8192);
}

#[test]
fn space_is_taken_and_given_back() {
    Rig::each(|mut rig| {
        let (named, direct) = direct_file(0);
        let file = rig.ring.open_file(direct.as_raw_fd(), Way::Direct);
        assert_eq!(rig.run(Kind::Fallocate { file, mode: 0, offset: 0, len: 1 << 20 }).result, 0);
        assert_eq!(named.as_file().metadata().unwrap().len(), 1 << 20);
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        named.as_file().write_all_at(&pattern(8192), 0).unwrap();
        assert_eq!(rig.run(Kind::Fallocate { file, mode: punch, offset: 0, len: 4096 }).result, 0);
        let mut seen = [1; 4096];
        named.as_file().read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(seen, [0; 4096]);
    });
}

#[test]
fn a_refused_operation_is_a_result() {
    Rig::each(|mut rig| {
        let file = File { fd: -1, slot: None, way: Way::Direct };
        let place = Place::pool(0, 4096);
        rig.push(1, Kind::Read { file, place, offset: 0 });
        rig.push(2, Kind::Fsync { file, data_only: true });
        rig.push(3, Kind::Discard { file, offset: 0, len: 4096, room: [0; 2] });
        let mut tags: Vec<_> = (0..3).map(|_| rig.next()).map(|done| (done.op.tag, done.result)).collect();
        tags.sort_unstable();
        assert_eq!(tags, [(1, -libc::EBADF), (2, -libc::EBADF), (3, -libc::EBADF)]);
    });
}

#[test]
fn a_connection_from_accept_to_close() {
    Rig::each(|mut rig| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        rig.push(1, Kind::Accept { listener: listener.as_raw_fd() });
        rig.turn(Wait::No);
        let far = TcpStream::connect(address).unwrap();
        let fd = rig.next().result;
        assert!(fd > 0);
        let ends = rig.ring.adopt(fd).unwrap();
        assert_eq!(ends, Ends { local: address, peer: far.local_addr().unwrap() });
        crate::sys::set_int(listener.as_fd(), libc::SOL_SOCKET, libc::SO_PRIORITY, 5).unwrap();
        rig.ring.hand_down(listener.as_raw_fd(), fd);
        let mut priority = [0; 4];
        let (level, option) = (libc::SOL_SOCKET, libc::SO_PRIORITY);
        ring::with_stream(fd, |near| crate::sys::option(near.as_fd(), level, option, &mut priority)).unwrap();
        assert_eq!(i32::from_ne_bytes(priority), 5, "like its listener");
        rig.push(2, recv(fd, None, 100));
        rig.turn(Wait::No);
        rig.ring.shutdown(fd);
        let end = rig.next();
        assert_eq!((end.op.tag, end.result), (2, 0));
        assert_eq!(rig.run(Kind::Close { fd }).result, 0);
        assert_eq!(far.peek(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_cancelled_operation_completes_once() {
    Rig::each(|mut rig| {
        let (_far, near) = UnixStream::pair().unwrap();
        let key = rig.push(9, recv(near.as_raw_fd(), None, 100));
        rig.turn(Wait::No);
        rig.ring.cancel(key);
        rig.ring.cancel(key);
        let done = rig.next();
        assert_eq!((done.op.tag, done.result), (9, -libc::ECANCELED));
        rig.ring.cancel(key);
        rig.turn(Wait::Until(monotonic_ns() + 5 * MS));
        assert!(rig.done.is_empty());
        assert_eq!(rig.ring.in_flight(), 0);
    });
}

#[test]
fn waits_end_on_time() {
    Rig::each(|mut rig| {
        // Shrinking deadlines need an earlier timer each time, where a wait takes no deadline itself.
        for ms in [300, 200, 100, 50, 20, 10, 5, 2, 1, 0] {
            let until = monotonic_ns() + ms * MS / 10;
            while rig.ring.now() < until {
                rig.turn(Wait::Until(until));
            }
            let late = monotonic_ns() - until;
            assert!(late < 500 * MS, "{late} ns late");
        }
        assert!(rig.done.is_empty());
    });
}

#[test]
fn in_flight_is_capped_and_completions_always_fit() {
    for level in LEVELS {
        let mut rig = Rig::new(&RingConfig { in_flight: 100, level, ..RingConfig::default() });
        let (_far, near) = UnixStream::pair().unwrap();
        let mut keys = Vec::new();
        while let Ok(key) = rig.ring.push(Op { tag: 0, kind: recv(near.as_raw_fd(), None, 100) }) {
            keys.push(key);
        }
        assert!(keys.len() >= 100);
        assert_eq!((rig.ring.room(), rig.ring.in_flight()), (0, keys.len()));
        rig.turn(Wait::No);
        // Now every operation and every cancellation has its completion waiting at the same time.
        keys.iter().for_each(|&key| rig.ring.cancel(key));
        while rig.ring.in_flight() > 0 {
            rig.turn(Wait::Until(monotonic_ns() + 100 * MS));
        }
        rig.turn(Wait::No);
        assert_eq!(rig.done.len(), keys.len());
        assert_eq!((rig.ring.room(), rig.ring.overflowed()), (keys.len(), 0));
    }
}

#[test]
fn a_full_submission_queue_is_submitted_early() {
    Rig::each(|mut rig| {
        let zero = fs::File::open("/dev/zero").unwrap();
        let file = rig.ring.open_file(zero.as_raw_fd(), Way::Direct);
        for tag in 0..3000 {
            rig.push(tag, Kind::Read { file, place: Place::pool(tag * 512, 512), offset: 0 });
        }
        while rig.ring.in_flight() > 0 {
            rig.turn(Wait::Until(monotonic_ns() + 100 * MS));
        }
        assert_eq!(rig.done.len(), 3000);
        assert!(rig.done.iter().all(|done| done.result == 512));
        assert!(rig.ring.stats().early_submits >= 2);
    });
}

#[test]
fn a_turn_is_one_enter() {
    Rig::each(|mut rig| {
        let (mut far, near) = UnixStream::pair().unwrap();
        for _ in 0..10 {
            let before = rig.ring.stats();
            rig.push(1, send(near.as_raw_fd(), [Place::pool(0, 100)]));
            rig.push(2, recv(near.as_raw_fd(), None, 100));
            rig.turn(Wait::Until(monotonic_ns() + 100 * MS));
            assert_eq!(rig.ring.stats().enters - before.enters, 1);
            far.read_exact(&mut [0; 100]).unwrap();
            far.write_all(&[0; 100]).unwrap();
            while rig.ring.in_flight() > 0 {
                rig.turn(Wait::Until(monotonic_ns() + 100 * MS));
            }
        }
        let before = rig.ring.stats().enters;
        rig.turn(Wait::No);
        assert_eq!(rig.ring.stats().enters, before, "nothing to submit, nothing to fetch: no system call");
    });
}

#[test]
fn the_bell_wakes_a_sleeper() {
    Rig::each(|mut rig| {
        let bell = Arc::clone(&rig.bell);
        let ringer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            bell.ring();
        });
        while !rig.bell.answer() {
            rig.turn(Wait::Forever);
        }
        ringer.join().unwrap();
        assert!(!rig.bell.answer());
    });
}

#[test]
fn no_ring_of_the_bell_is_lost() {
    const EACH: u64 = 4_000;
    for (level, poll_ns) in [(None, 0), (None, 20_000), (Some(KernelLevel::V5_10), 0)] {
        let mut rig = Rig::new(&RingConfig { level, poll_ns, ..RingConfig::default() });
        let (sender, mailbox) = crossbeam_channel::unbounded();
        let (answers, answered) = crossbeam_channel::unbounded();
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let (bell, sender, answered) = (Arc::clone(&rig.bell), sender.clone(), answered.clone());
                thread::spawn(move || {
                    for message in 0..EACH {
                        sender.send(message).unwrap();
                        bell.ring();
                        // Now and then in step with the sleeper, so that it often is about to sleep.
                        if message % 4 == 0 {
                            answered.recv_timeout(Duration::from_secs(20)).expect("a wake-up was lost");
                        }
                    }
                })
            })
            .collect();
        let mut heard = 0;
        while heard < 2 * EACH {
            rig.turn(Wait::Forever);
            if rig.bell.answer() {
                for message in mailbox.try_iter() {
                    heard += 1;
                    if message % 4 == 0 {
                        answers.send(()).unwrap();
                    }
                }
            }
        }
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    }
}

#[test]
fn idling_costs_nothing() {
    Rig::each(|mut rig| {
        let end = monotonic_ns() + 100 * MS;
        while rig.ring.now() < end {
            rig.turn(Wait::Until(end));
        }
        let stats = rig.ring.stats();
        assert!(stats.turns < 10, "{stats:?}");
    });
}

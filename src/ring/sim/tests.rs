//! The simulated driver keeps the same promises as the ring, and notices when others break theirs.

use std::sync::Arc;

use super::*;
use crate::mem::{Memory, Pages, Place, Region};
use crate::ring::{Bell, Done, Driver, File, Kind, Op, RecvOp, SendOp, Wait, Way};

struct Rig {
    world: World,
    sim: Sim,
    memory: Memory,
    done: Vec<Done>,
}

impl Rig {
    fn new(seed: u64, faults: Faults) -> Self {
        Self::join(&World::new(seed, faults))
    }

    fn join(world: &World) -> Self {
        let sim = Sim::new(world, 64, Arc::new(Bell::silent()));
        let memory = Memory::new(Region::new(1 << 20, Pages::Transparent).unwrap());
        Self { world: world.clone(), sim, memory, done: Vec::new() }
    }

    fn push(&mut self, kind: Kind) {
        self.sim.push(Op { tag: 0, kind }).unwrap();
    }

    fn turn(&mut self) {
        self.sim.turn(Wait::Forever, &mut self.memory, &mut self.done);
    }

    fn run(&mut self, kind: Kind) -> Done {
        self.push(kind);
        self.turn();
        while self.done.is_empty() {
            assert!(self.world.step(), "nothing will happen any more");
            self.turn();
        }
        self.done.remove(0)
    }

    fn disk(&mut self, len: u64, write_cache: bool) -> File {
        let fd = self.world.disk(DiskConfig { len, write_cache });
        self.sim.open_file(fd, Way::Direct)
    }

    fn write(&mut self, file: File, offset: u64, byte: u8, dsync: bool) -> i32 {
        let place = Place::pool(0, 4096);
        self.memory.get_mut(place).fill(byte);
        self.run(Kind::Write { file, place, offset, dsync, atomic: false }).result
    }

    fn write_whole(&mut self, file: File, offset: u64, byte: u8, dsync: bool) {
        while self.write(file, offset, byte, dsync) != 4096 {}
    }
}

fn recv(fd: i32, into: Option<Place>, staging: usize) -> Kind {
    let mut recv = RecvOp::new(fd, staging);
    recv.into = into;
    Kind::Recv(recv)
}

#[test]
fn a_stream_survives_rough_weather() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed, Faults::rough());
        let (near, far) = rig.world.pair(1000);
        let bytes: Vec<u8> = (0..20_000u32).map(|i| (i * 7) as u8).collect();
        rig.memory.write(Place::pool(0, 20_000), &bytes);
        let mut send = SendOp::new(near, 8);
        send.put_place(Place::pool(0, 4000));
        send.put(&bytes[4000..8000]);
        (2..5).for_each(|i| send.put_place(Place::pool(i * 4000, 4000)));
        rig.push(Kind::Send(send));
        let into = Place::pool(500_000, 512);
        rig.push(recv(far, Some(into), 512));
        let mut got: Vec<u8> = Vec::new();
        while got.len() < bytes.len() {
            rig.turn();
            for done in std::mem::take(&mut rig.done) {
                assert!(done.result > 0);
                match done.op.kind {
                    Kind::Send(mut send) => {
                        if !send.advance(done.result as usize) {
                            rig.push(Kind::Send(send));
                        }
                    }
                    Kind::Recv(op) => {
                        let (first, second) = op.received(done.result as u32);
                        got.extend(rig.memory.get(into.first(first)));
                        got.extend(&op.staging[..second as usize]);
                        rig.push(Kind::Recv(op));
                    }
                    _ => unreachable!(),
                }
            }
            rig.world.step();
        }
        assert_eq!(got, bytes);
    }
}

#[test]
fn a_seed_repeats_its_run() {
    let run = |seed| {
        let mut rig = Rig::new(seed, Faults::hostile());
        let file = rig.disk(1 << 20, true);
        let results: Vec<_> = (0..200).map(|i| rig.write(file, i * 4096, i as u8, i % 3 == 0)).collect();
        (results, rig.world.now())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn connections_are_accepted_shut_down_and_reset() {
    let mut rig = Rig::new(1, Faults::none());
    let (from, to) = (([10, 0, 0, 1], 999).into(), ([10, 0, 0, 2], 3260).into());
    assert!(rig.world.connect(from, to, 100).is_err());
    let listener = rig.world.listen(([0, 0, 0, 0], 3260).into());
    rig.push(Kind::Accept { listener });
    rig.turn();
    let near = rig.world.connect(from, to, 100).unwrap();
    let fd = rig.run(Kind::Accept { listener }).result;
    let ends = rig.sim.adopt(fd).unwrap();
    assert_eq!((ends.local, ends.peer), (to, from));
    assert_eq!(rig.world.write(near, b"hello").unwrap(), 5);
    let got = rig.run(recv(fd, None, 3));
    assert_eq!((got.result, got.more_in_socket), (3, true));
    rig.sim.shutdown(fd);
    assert_eq!(rig.run(recv(fd, None, 3)).result, 0);
    assert_eq!(rig.world.read(near, &mut [0; 9]).unwrap(), 0);
    assert_eq!(rig.world.write(near, b"x").unwrap_err().raw_os_error(), Some(libc::EPIPE));
    assert_eq!(rig.run(Kind::Close { fd }).result, 0);
    let (a, b) = rig.world.pair(100);
    rig.world.reset(a);
    assert_eq!(rig.run(recv(b, None, 3)).result, -libc::ECONNRESET);
}

#[test]
fn flushed_and_written_through_data_survives_a_power_cut() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut rig = Rig::new(seed, Faults::rough());
        let file = rig.disk(64 << 10, true);
        rig.write_whole(file, 0, 1, false);
        assert_eq!(rig.run(Kind::Fsync { file, data_only: true }).result, 0);
        rig.write_whole(file, 4096, 2, true);
        rig.write_whole(file, 8192, 3, false);
        rig.push(Kind::Write {
            file,
            place: Place::pool(0, 4096),
            offset: 12288,
            dsync: false,
            atomic: false,
        });
        rig.turn();
        let world = rig.world.clone();
        assert!(world.disk_content(file.fd)[8192..12288].iter().all(|&b| b == 3));
        drop(rig);
        world.power_cut(file.fd);
        let content = world.disk_content(file.fd);
        assert!(content[..4096].iter().all(|&b| b == 1));
        assert!(content[4096..8192].iter().all(|&b| b == 2));
        assert!(content[8192..12288].chunks(512).all(|s| s == [0; 512] || s == [3; 512]));
        lost += u32::from(content[8192..12288].contains(&0));
    }
    assert!((10..50).contains(&lost), "{lost}");
}

#[test]
fn a_disk_without_a_cache_loses_nothing() {
    let mut rig = Rig::new(3, Faults::none());
    let file = rig.disk(8192, false);
    rig.write_whole(file, 0, 9, false);
    let world = rig.world.clone();
    drop(rig);
    world.power_cut(file.fd);
    assert_eq!(world.disk_content(file.fd)[..4096], [9; 4096]);
}

#[test]
fn disk_faults_are_results() {
    let mut rig = Rig::new(5, Faults { no_space: 1000, ..Faults::none() });
    let file = rig.disk(8192, false);
    assert_eq!(rig.write(file, 0, 1, false), -libc::ENOSPC);
    rig.world.set_faults(Faults { write_error: 1000, read_error: 1000, ..Faults::none() });
    assert_eq!(rig.write(file, 0, 1, false), -libc::EIO);
    assert_eq!(rig.run(Kind::Fsync { file, data_only: true }).result, -libc::EIO);
    let place = Place::pool(0, 4096);
    assert_eq!(rig.run(Kind::Read { file, place, offset: 0 }).result, -libc::EIO);
    rig.world.set_faults(Faults::none());
    assert_eq!(rig.run(Kind::Read { file, place, offset: 8192 }).result, 0);
    let (mode, offset, len) = (0, 0, 16384);
    assert_eq!(rig.run(Kind::Fallocate { file, mode, offset, len }).result, 0);
    rig.write_whole(file, 12288, 4, false);
    assert_eq!(rig.run(Kind::Discard { file, offset: 12288, len: 512, room: [0; 2] }).result, 0);
    assert_eq!(rig.world.disk_content(file.fd)[12287..12801], [&[0; 513][..], &[4]].concat());
}

#[test]
fn a_waiting_operation_can_be_cancelled_and_a_disk_cannot() {
    let mut rig = Rig::new(1, Faults::none());
    let (_near, far) = rig.world.pair(100);
    let file = rig.disk(8192, false);
    let into = Some(Place::pool(0, 10));
    let waits = rig.sim.push(Op { tag: 1, kind: recv(far, into, 0) }).unwrap();
    let write = Kind::Write { file, place: Place::pool(4096, 4096), offset: 0, dsync: false, atomic: false };
    let flies = rig.sim.push(Op { tag: 2, kind: write }).unwrap();
    rig.turn();
    assert!(rig.sim.holds(Place::pool(9, 1)) && !rig.sim.holds(Place::pool(10, 1)));
    rig.sim.cancel(waits);
    rig.sim.cancel(flies);
    while rig.sim.in_flight() > 0 {
        rig.turn();
        rig.world.step();
    }
    let results: Vec<_> = rig.done.iter().map(|done| (done.op.tag, done.result)).collect();
    assert_eq!(results, [(1, -libc::ECANCELED), (2, 4096)]);
    rig.sim.cancel(waits);
}

#[test]
fn reactors_share_one_world_and_one_clock() {
    let world = World::new(2, Faults::none());
    let (mut one, mut two) = (Rig::join(&world), Rig::join(&world));
    let (a, b) = world.pair(100);
    one.memory.write(Place::pool(0, 4), b"ping");
    let mut send = SendOp::new(a, 1);
    send.put_place(Place::pool(0, 4));
    one.push(Kind::Send(send));
    two.push(recv(b, None, 10));
    while two.done.is_empty() {
        one.turn();
        two.turn();
        assert!(world.step() || !two.done.is_empty());
    }
    let Kind::Recv(op) = &two.done[0].op.kind else { panic!("the same operation comes back") };
    assert_eq!(&op.staging[..4], b"ping");
    assert_eq!(two.sim.now(), world.now());
}

#[test]
fn a_wait_ends_when_its_time_has_come() {
    let mut rig = Rig::new(1, Faults::none());
    let until = rig.world.now() + 5;
    rig.sim.turn(Wait::Until(until), &mut rig.memory, &mut rig.done);
    assert!(rig.world.step());
    assert_eq!(rig.world.now(), until);
    rig.turn();
    assert!(!rig.world.step());
}

#[test]
#[should_panic(expected = "somebody changed")]
fn changing_what_is_being_written_is_noticed() {
    let mut rig = Rig::new(1, Faults::none());
    let file = rig.disk(8192, false);
    rig.push(Kind::Write { file, place: Place::pool(0, 4096), offset: 0, dsync: false, atomic: false });
    rig.turn();
    rig.memory.get_mut(Place::pool(100, 1))[0] = 1;
    rig.world.step();
    rig.turn();
}

#[test]
#[should_panic(expected = "somebody wrote")]
fn using_a_place_that_is_being_read_into_is_noticed() {
    let mut rig = Rig::new(1, Faults::none());
    let file = rig.disk(8192, false);
    rig.push(Kind::Read { file, place: Place::pool(0, 4096), offset: 0 });
    rig.turn();
    rig.memory.get_mut(Place::pool(100, 1))[0] = 1;
    rig.world.step();
    rig.turn();
}

#[test]
#[should_panic(expected = "in flight")]
fn closing_under_an_operation_is_noticed() {
    let mut rig = Rig::new(1, Faults::none());
    let (_near, far) = rig.world.pair(100);
    rig.push(recv(far, None, 10));
    rig.turn();
    rig.world.close(far).unwrap();
}

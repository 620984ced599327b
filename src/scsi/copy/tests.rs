//! Parameter lists with exact sense data; and the attack: names of what the nexus may not read or write.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::testing::{Rig, facts, nexus};
use super::super::{
    Asc, Counters, Device, DeviceKind, DriveOp, Failure, Identity, LuFacts, LuState, Naa, Power, Selected,
    SenseKey, Settings, SharedOp,
};
use super::*;
use crate::ids::LuId;

const LID1: [u8; 16] = [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
const LID4: [u8; 16] = [0x83, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];

/// An identification CSCD descriptor.
fn cscd(code_set: u8, kind: u8, name: &[u8]) -> Vec<u8> {
    let mut d = vec![0xe4, 0, 0, 0, code_set, kind, 0, name.len() as u8];
    d.extend(name);
    d.resize(32, 0);
    d
}

fn naa(number: u8) -> Vec<u8> {
    cscd(1, 3, &[0x30, 0, 0, 0, 0, 0, 0, number])
}

/// A segment descriptor by blocks: from and to as (CSCD, LBA).
fn blocks(from: (u16, u64), to: (u16, u64), count: u16) -> Vec<u8> {
    let mut d = vec![0x02, 0, 0, 0x18];
    d.extend([from.0.to_be_bytes(), to.0.to_be_bytes(), [0, 0], count.to_be_bytes()].concat());
    d.extend([from.1.to_be_bytes(), to.1.to_be_bytes()].concat());
    d
}

/// A segment descriptor by bytes: from and to as (CSCD, LBA, byte offset).
fn bytes(from: (u16, u64, u16), to: (u16, u64, u16), count: u32) -> Vec<u8> {
    let mut d = vec![0x0a, 0, 0, 0x1c];
    d.extend([from.0.to_be_bytes(), to.0.to_be_bytes()].concat());
    d.extend(count.to_be_bytes());
    d.extend([from.1.to_be_bytes(), to.1.to_be_bytes()].concat());
    d.extend([from.2.to_be_bytes(), to.2.to_be_bytes()].concat());
    d
}

fn lid1(cscds: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<u8> {
    let (cscds, segments) = (cscds.concat(), segments.concat());
    let mut list = vec![9, 0];
    list.extend((cscds.len() as u16).to_be_bytes());
    list.extend([0; 4]);
    list.extend((segments.len() as u32).to_be_bytes());
    list.extend([0; 4]);
    [list, cscds, segments].concat()
}

fn lid4(cscds: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<u8> {
    let (cscds, segments) = (cscds.concat(), segments.concat());
    let mut list = vec![0; 48];
    (list[0], list[3], list[16], list[20]) = (1, 0x20, 0xff, 0x12);
    list[42..44].copy_from_slice(&(cscds.len() as u16).to_be_bytes());
    list[44..46].copy_from_slice(&(segments.len() as u16).to_be_bytes());
    [list, cscds, segments].concat()
}

fn send(cdb: &[u8], list: &[u8]) -> Outcome {
    Rig::new(facts()).send(cdb, list)
}

fn order(cdb: &[u8], list: &[u8]) -> CopyOrder {
    match send(cdb, list) {
        Outcome::Copy(CopyCommand::Start(order)) => *order,
        other => panic!("{other:?}"),
    }
}

fn sense(cdb: &[u8], list: &[u8]) -> Sense {
    match send(cdb, list) {
        Outcome::Fail(Failure::Check(sense)) => sense,
        other => panic!("{other:?}"),
    }
}

/// The sense data when byte `at` of a good list, LID1 or LID4, is `value`.
fn spoilt(cdb: &[u8; 16], at: usize, value: u8) -> Sense {
    let make = if cdb[1] == 0 { lid1 } else { lid4 };
    let mut list = make(&[naa(1)], &[blocks((0, 0), (0, 8), 8)]);
    list[at] = value;
    sense(cdb, &list)
}

#[test]
fn a_list_says_who_keeps_what() {
    let got = order(&LID1, &lid1(&[naa(1)], &[blocks((0, 0), (0, 8), 8)]));
    assert_eq!((got.action, got.list, got.hold, got.immediate, got.segments()), (0, Some(9), true, false, 1));
    let mut list = lid1(&[], &[]);
    list[1] = 0x10;
    assert!(!order(&LID1, &list).hold, "NRCR, or LIST ID USAGE 10b");
    (list[0], list[1]) = (0, 0x18);
    assert_eq!(order(&LID1, &list).list, None);
    let mut list = lid4(&[naa(1)], &[blocks((0, 0), (0, 8), 8)]);
    list[15] = 1;
    let got = order(&LID4, &list);
    assert_eq!((got.action, got.list, got.immediate), (1, Some(0x1200_0000), true));
}

#[test]
fn no_list_is_no_error() {
    for cdb in [LID1, LID4] {
        assert_eq!(Rig::new(facts()).start(&[&cdb[..10], &[0; 6]].concat()), Outcome::Good);
    }
}

#[test]
fn lengths_that_do_not_fit() {
    let wrong = Sense::illegal(Asc::PARAMETER_LIST_LENGTH);
    let list = lid1(&[naa(1)], &[blocks((0, 0), (0, 8), 8)]);
    for length in [1, 15, 16, 47, 48, 75] {
        assert_eq!(sense(&LID1, &list[..length]), wrong, "{length}");
    }
    let list = lid4(&[naa(1)], &[blocks((0, 0), (0, 8), 8)]);
    for length in [1, 47, 48, 79, 107] {
        assert_eq!(sense(&LID4, &list[..length]), wrong, "{length}");
    }
    let too_long = [&LID1[..10], &[1, 0, 0, 0, 0, 0]].concat();
    assert_eq!(Rig::new(facts()).sense(&too_long), wrong);
    assert_eq!(spoilt(&LID1, 3, 33), wrong, "a part of a CSCD descriptor");
    assert_eq!(spoilt(&LID1, 11, 29), wrong, "more segments than there are");
    let inline = Sense::illegal(Asc::INLINE_DATA_LENGTH_EXCEEDED);
    assert_eq!((spoilt(&LID1, 15, 1), spoilt(&LID4, 47, 1)), (inline, inline));
}

#[test]
fn as_many_descriptors_as_are_said() {
    let one = || blocks((0, 0), (0, 8), 8);
    let most = lid1(&vec![naa(1); MAX_CSCDS], &vec![one(); MAX_SEGMENTS]);
    assert_eq!(order(&LID1, &most).segments(), MAX_SEGMENTS);
    let cscds = sense(&LID1, &lid1(&vec![naa(1); MAX_CSCDS + 1], &[one()]));
    assert_eq!(cscds, Sense::illegal(Asc::TOO_MANY_TARGET_DESCRIPTORS));
    let segments = sense(&LID1, &lid1(&[naa(1)], &vec![one(); MAX_SEGMENTS + 1]));
    assert_eq!(segments, Sense::illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
    let both = lid1(&vec![naa(1); MAX_CSCDS + 1], &vec![one(); MAX_SEGMENTS + 1]);
    assert_eq!(sense(&LID1, &both), Sense::illegal(Asc::PARAMETER_LIST_LENGTH));
}

#[test]
fn fields_of_the_header() {
    assert_eq!(spoilt(&LID1, 1, 0x08), Sense::parameter_field(1, 4), "LIST ID USAGE 01b");
    assert_eq!(spoilt(&LID1, 1, 0x18), Sense::parameter_field(0, 7), "an identifier where there is none");
    assert_eq!(spoilt(&LID4, 1, 0x18), Sense::parameter_field(20, 7));
    assert_eq!(spoilt(&LID4, 0, 2), Sense::parameter_field(0, 7), "PARAMETER LIST FORMAT");
    assert_eq!(spoilt(&LID4, 3, 0), Sense::parameter_field(2, 7));
    assert_eq!(spoilt(&LID4, 15, 2), Sense::parameter_field(15, 1), "G_SENSE");
    assert_eq!(spoilt(&LID4, 16, 0), Sense::parameter_field(16, 7));
}

#[test]
fn descriptors_of_other_kinds() {
    let pointed = |asc, byte| Sense { field: Sense::parameter_field(byte, 7).field, ..Sense::illegal(asc) };
    for kind in [0x00, 0xe0, 0xe2, 0xe5, 0xea, 0xeb, 0xfe, 0xff] {
        let want = pointed(Asc::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE, 16);
        assert_eq!(spoilt(&LID1, 16, kind), want, "{kind:#x}");
    }
    for kind in [0x00, 0x01, 0x05, 0x0b, 0x14, 0xbe] {
        let want = pointed(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE, 48);
        assert_eq!(spoilt(&LID1, 48, kind), want, "{kind:#x}");
    }
    assert_eq!(spoilt(&LID1, 23, 21), Sense::parameter_field(23, 7), "a designator that does not fit");
    assert_eq!(spoilt(&LID1, 51, 0x1c), Sense::parameter_field(50, 7), "DESCRIPTOR LENGTH");
    let long = lid1(&[naa(1)], &[bytes((0, 0, 0), (0, 8, 0), MAX_SEGMENT_BYTES + 512)]);
    assert_eq!(sense(&LID1, &long), Sense::parameter_field(56, 7));
}

/// A world of four disks. The nexus sees disks 0 to 2, disk 2 read-only; disk 3 belongs to others.
struct World {
    disks: Vec<Lu>,
}

impl World {
    fn new() -> Self {
        let disk = |number: u8| {
            let identity = Identity {
                naa: Naa::Short([0x30, 0, 0, 0, 0, 0, 0, number]),
                uuid: [number; 16],
                serial: format!("serial{number}"),
                ..facts().identity
            };
            let block_size = if number == 1 { 4096 } else { 512 };
            let facts = LuFacts { identity, block_size, blocks: 10_000, ..facts() };
            Lu { facts: Arc::new(facts), state: Arc::default(), counters: Counters::default() }
        };
        Self { disks: (0..4).map(disk).collect() }
    }

    fn peers(&self) -> impl Iterator<Item = Peer<'_>> + Clone {
        let peer = |(n, lu)| Peer { id: LuId(n as u32), lu, read_only_map: n == 2, via: None };
        self.disks.iter().enumerate().map(peer).take(3)
    }

    /// What the first segment of a copy sent to disk 0 comes to.
    fn extent(&self, cscds: &[Vec<u8>], segment: Vec<u8>) -> Result<Extent, Sense> {
        order(&LID1, &lid1(cscds, &[segment])).extent(0, LuId(0), &nexus(1), self.peers())
    }

    fn change(&mut self, disk: usize, op: &SharedOp, by: u16) {
        let (state, _) = self.disks[disk].state.apply(&self.disks[disk].facts, op, &nexus(by)).unwrap();
        self.disks[disk].state = Arc::new(state);
    }
}

fn aborted(asc: Asc, byte: u16) -> Sense {
    Sense::copy_aborted(asc, 0).in_segment(byte, 7)
}

const GONE: Asc = Asc::COPY_TARGET_DEVICE_NOT_REACHABLE;
const REFUSED: Asc = Asc::THIRD_PARTY_DEVICE_FAILURE;

#[test]
fn every_name_of_page_83_is_understood() {
    let world = World::new();
    let names = [naa(1), cscd(1, 10, &[&[0x10, 0][..], &[1; 16]].concat()), cscd(2, 1, b"RINGTGT serial1")];
    for name in names {
        let got = world.extent(&[naa(0), name], blocks((0, 16), (1, 3), 8)).unwrap();
        assert_eq!((got.from, got.from_offset, got.from_block), (LuId(0), 8192, 512));
        assert_eq!((got.to, got.to_offset, got.to_block, got.len), (LuId(1), 12_288, 4096, 4096));
    }
    let own = world.extent(&[], blocks((0xffff, 0), (0xffff, 8), 8)).unwrap();
    assert_eq!((own.from, own.to, own.overlaps()), (LuId(0), LuId(0), false));
}

#[test]
fn what_the_nexus_does_not_see_is_not_there() {
    let world = World::new();
    for stranger in
        [naa(3), cscd(1, 10, &[&[0x10, 0][..], &[3; 16]].concat()), cscd(2, 1, b"RINGTGT serial3")]
    {
        let list = [naa(0), stranger];
        let read = world.extent(&list, blocks((1, 0), (0, 0), 8));
        let write = world.extent(&list, blocks((0, 0), (1, 0), 8));
        assert_eq!((read, write), (Err(aborted(GONE, 4)), Err(aborted(GONE, 6))));
    }
    // Names of the wrong kind, cut short, empty, or of a port.
    let mut of_port = naa(0);
    of_port[5] |= 0x10;
    for name in [
        cscd(1, 2, &[0x30, 0, 0, 0, 0, 0, 0, 0]),
        cscd(1, 3, &[0x30]),
        cscd(1, 3, &[]),
        cscd(2, 1, b"RINGTGT "),
        of_port,
    ] {
        assert_eq!(world.extent(&[name], blocks((0, 0), (0, 8), 8)), Err(aborted(GONE, 4)));
    }
}

#[test]
fn an_unmapped_copy_manager_is_not_there_either() {
    let order = order(&LID1, &lid1(&[], &[blocks((0xffff, 0), (0xffff, 8), 8)]));
    let world = World::new();
    assert_eq!(order.extent(0, LuId(3), &nexus(1), world.peers()), Err(aborted(GONE, 4)));
}

#[test]
fn descriptors_that_name_nothing() {
    let world = World::new();
    let unreachable = Asc::UNREACHABLE_COPY_TARGET;
    assert_eq!(world.extent(&[naa(0)], blocks((1, 0), (0, 0), 8)), Err(aborted(unreachable, 4)));
    assert_eq!(world.extent(&[naa(0)], blocks((0, 0), (0xc000, 0), 8)), Err(aborted(unreachable, 6)));
    let (mut null, mut tape, mut other_blocks) = (naa(0), naa(0), naa(0));
    (null[1], tape[1], other_blocks[30]) = (0x20, 0x01, 0x10);
    assert_eq!(world.extent(&[null], blocks((0, 0), (0, 8), 8)), Err(aborted(unreachable, 4)));
    let wrong = Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE;
    assert_eq!(world.extent(&[tape], blocks((0, 0), (0, 8), 8)), Err(aborted(wrong, 4)));
    assert_eq!(world.extent(&[other_blocks], blocks((0, 0), (0, 8), 8)), Err(aborted(GONE, 4)));
}

#[test]
fn a_read_only_map_can_be_read_only() {
    let world = World::new();
    let list = [naa(0), naa(2)];
    assert!(world.extent(&list, blocks((1, 0), (0, 0), 8)).is_ok());
    assert_eq!(world.extent(&list, blocks((0, 0), (1, 0), 8)), Err(aborted(REFUSED, 6)));
}

#[test]
fn what_a_command_may_not_do_a_copy_may_not_either() {
    let list = [naa(0), naa(1)];
    let there = |world: &World| world.extent(&list, blocks((0, 0), (1, 0), 8)).map(drop);
    let back = |world: &World| world.extent(&list, blocks((1, 0), (0, 0), 1)).map(drop);
    let mut reserved = World::new();
    reserved.change(1, &SharedOp::Reserve, 2);
    assert_eq!((there(&reserved), back(&reserved)), (Err(aborted(REFUSED, 6)), Err(aborted(REFUSED, 4))));
    let mut lost = World::new();
    lost.disks[1].state = Arc::new(LuState::damaged());
    assert_eq!((there(&lost), back(&lost)), (Err(aborted(REFUSED, 6)), Err(aborted(REFUSED, 4))));
    // Only its own commands know what it is.
    let mut passed = World::new();
    let device = Device { most: 1 << 18, ..Device::whole(DeviceKind::Disk) };
    Arc::make_mut(&mut passed.disks[1].facts).passed = Some(device);
    assert_eq!((there(&passed), back(&passed)), (Err(aborted(REFUSED, 6)), Err(aborted(REFUSED, 4))));
    let mut stopped = World::new();
    stopped.change(1, &SharedOp::Drive(DriveOp::Power { to: Power::Stopped, flush: false }), 1);
    assert_eq!((there(&stopped), back(&stopped)), (Err(aborted(REFUSED, 6)), Err(aborted(REFUSED, 4))));
    let mut protected = World::new();
    let to = Selected::all(Settings { write_protect: true, ..Settings::default() });
    protected.change(1, &SharedOp::ModeSelect { to, save: false }, 1);
    assert_eq!((there(&protected), back(&protected)), (Err(aborted(REFUSED, 6)), Ok(())));
}

#[test]
fn a_reservation_made_meanwhile_ends_the_copy() {
    let mut world = World::new();
    let order = order(&LID1, &lid1(&[naa(0), naa(1)], &[blocks((0, 0), (1, 0), 8)]));
    let extent = order.extent(0, LuId(0), &nexus(1), world.peers()).unwrap();
    assert_eq!(order.check(&extent, 5, &nexus(1), world.peers()), Ok(()));
    world.change(1, &SharedOp::Reserve, 2);
    let want = Sense::copy_aborted(REFUSED, 5).in_segment(6, 7);
    assert_eq!(order.check(&extent, 5, &nexus(1), world.peers()), Err(want));
    assert_eq!(order.check(&extent, 5, &nexus(2), world.peers()), Ok(()));
}

#[test]
fn what_lies_beyond_the_end() {
    let world = World::new();
    let list = [naa(0), naa(2)];
    assert!(world.extent(&list, blocks((1, 9992), (0, 9992), 8)).is_ok());
    assert_eq!(world.extent(&list, blocks((1, 9993), (0, 0), 8)), Err(aborted(GONE, 12)));
    assert_eq!(world.extent(&list, blocks((1, 0), (0, 9993), 8)), Err(aborted(GONE, 20)));
    assert_eq!(world.extent(&list, blocks((1, u64::MAX), (0, 0), 8)), Err(aborted(GONE, 12)));
    let by_bytes = bytes((1, 9999, 512), (0, 0, 0), 512);
    assert_eq!(world.extent(&list, by_bytes), Err(aborted(GONE, 12)));
}

#[test]
fn segments_are_whole_blocks_or_padded() {
    let world = World::new();
    let inexact = Asc::UNEXPECTED_INEXACT_SEGMENT;
    let list = [naa(0), naa(1)];
    assert_eq!(world.extent(&list, blocks((0, 0), (1, 0), 9)), Err(aborted(inexact, 6)));
    let mut of_destination = blocks((0, 0), (1, 0), 9);
    of_destination[1] = 0x02;
    assert_eq!(world.extent(&list, of_destination).unwrap().len, 9 * 4096);
    let mut padded = [naa(0), naa(1)];
    padded[1][28] = 0x04;
    let got = world.extent(&padded, blocks((0, 0), (1, 0), 9)).unwrap();
    assert_eq!((got.len, got.to_block), (9 * 512, 4096));
    let got = world.extent(&list, bytes((0, 1, 1024), (1, 0, 4096), 8192)).unwrap();
    assert_eq!((got.from_offset, got.to_offset, got.len), (1536, 4096, 8192));
    let odd = [
        bytes((0, 0, 1), (1, 0, 0), 4096),
        bytes((0, 0, 0), (1, 0, 0), 4097),
        bytes((0, 0, 0), (1, 0, 512), 4096),
    ];
    let got = odd.map(|segment| world.extent(&list, segment));
    assert_eq!(got, [Err(aborted(inexact, 4)), Err(aborted(inexact, 4)), Err(aborted(inexact, 6))]);
}

#[test]
fn overlap_counts_whole_blocks_of_one_unit() {
    let world = World::new();
    let overlaps =
        |from, to, count| world.extent(&[naa(0)], blocks((0, from), (0, to), count)).unwrap().overlaps();
    assert!(overlaps(0, 7, 8) && overlaps(7, 0, 8) && overlaps(3, 3, 1));
    assert!(!overlaps(0, 8, 8) && !overlaps(8, 0, 8));
    assert!(!world.extent(&[naa(0), naa(2)], blocks((1, 0), (0, 0), 8)).unwrap().overlaps());
}

#[test]
fn a_reservation_refuses_the_command_itself() {
    let mut rig = Rig::new(facts());
    rig.run_from(2, &[0x16, 0, 0, 0, 0, 0], &[]).unwrap();
    for cdb in [LID1, LID4, [0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
        let conflict = Failure::Status(super::super::status::RESERVATION_CONFLICT);
        assert_eq!(rig.start(&cdb), Outcome::Fail(conflict));
    }
}

fn record(end: CopyEnd) -> CopyRecord {
    CopyRecord { action: 1, end, segments: 2, bytes: 0x0102_0304, operations: 0x1_0005, block: 512 }
}

/// What RECEIVE COPY RESULTS says of a copy, or that it says nothing yet.
fn told(action: u8, record: &CopyRecord) -> Option<Vec<u8>> {
    let cdb = [0x84, action, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let Outcome::Copy(CopyCommand::Report(report)) = Rig::new(facts()).start(&cdb) else {
        panic!("no report")
    };
    assert_eq!(report.list, if action == 5 { 0x0900_0000 } else { 9 });
    let mut out = [0xee; 256];
    match report.write(record, None, false, &mut out)? {
        Outcome::Data(n) => Some(out[..n].to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn status_by_a_short_identifier() {
    let status = |end| told(0, &record(end)).unwrap();
    assert_eq!(status(CopyEnd::Running { background: false }), [0, 0, 0, 8, 0, 0, 2, 0, 1, 2, 3, 4]);
    assert_eq!(status(CopyEnd::Done)[4], 1);
    assert_eq!(status(CopyEnd::Aborted)[4], 2);
    assert_eq!(status(CopyEnd::Failed(Sense::none()))[4], 2);
    let much = CopyRecord { bytes: 5 << 32, ..record(CopyEnd::Done) };
    assert_eq!(told(0, &much).unwrap()[7..], [2, 0, 0, 0x50, 0], "in MiB");
    assert_eq!(told(1, &much).unwrap(), [0; 4], "no data is held");
}

#[test]
fn status_by_a_long_identifier() {
    let got = told(5, &record(CopyEnd::Running { background: true })).unwrap();
    let want = [0, 0, 0, 28, 1, 0x12, 0, 5, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 2];
    assert_eq!((&got[..26], got.len()), (&want[..], 32));
    let states = [CopyEnd::Running { background: false }, CopyEnd::Done, CopyEnd::Aborted].map(|end| {
        let got = told(5, &record(end)).unwrap();
        assert_eq!(got[8..12] == [0xff, 0xff, 0xff, 0xfe], end != CopyEnd::Running { background: false });
        (got[5], got[12])
    });
    assert_eq!(states, [(0x11, 0), (0x01, 0), (0x60, 0x40)]);
    let got = told(5, &record(CopyEnd::Failed(aborted(GONE, 4)))).unwrap();
    assert_eq!((got[3], got[5], got[12], got[13], got[14], got.len()), (48, 2, 2, 20, 18, 52));
    assert_eq!((got[34], got[44], got[45]), (SenseKey::COPY_ABORTED.0, 0x0d, 2));
}

#[test]
fn details_of_a_failure() {
    assert_eq!(told(4, &record(CopyEnd::Running { background: false })), None);
    assert_eq!(told(4, &record(CopyEnd::Done)), Some(vec![0; 4]));
    let got = told(4, &record(CopyEnd::Failed(aborted(GONE, 4)))).unwrap();
    assert_eq!((got[3], got[56], got[59], got.len()), (74, 2, 18, 78));
    assert_eq!((got[62], got[72], got[73]), (SenseKey::COPY_ABORTED.0, 0x0d, 2));
    let got = told(4, &record(CopyEnd::Aborted)).unwrap();
    assert_eq!((got[3], got[56], got.len()), (56, 0x40, 60));
}

#[test]
fn operating_parameters() {
    let got = Rig::new(facts()).data(&[0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(got.len(), 47);
    assert_eq!(got[..12], [0, 0, 0, 43, 1, 0, 0, 0, 0, 16, 0, 64]);
    assert_eq!(got[12..24], [0, 0, 9, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(got[32..], [0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 3, 0x02, 0x0a, 0xe4]);
}

#[test]
fn page_8f_says_what_the_table_has() {
    let got = Rig::new(facts()).data(&[0x12, 1, 0x8f, 4, 0, 0]);
    let mut kinds = vec![];
    let mut rest = &got[4..];
    while let [a, b, c, d, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        assert!(length.is_multiple_of(4));
        kinds.push((u16::from_be_bytes([*a, *b]), tail[..length].to_vec()));
        rest = &tail[length..];
    }
    let limits = [&[0; 6][..], &[0, 64, 0, 0, 2, 0x58, 0, 0, 0, 60], &[0, 0, 0, 0, 0, 8, 0, 0]].concat();
    assert_eq!(kinds[0], (0x0000, [&limits[..], &[0, 0, 0, 0, 0, 2, 0, 0]].concat()));
    let commands = vec![16, 0x83, 5, 0, 1, 0x10, 0x11, 0x1c, 0x84, 7, 0, 1, 3, 4, 5, 7, 8, 0, 0, 0];
    assert_eq!(kinds[1], (0x0001, commands));
    assert_eq!((kinds[2].0, kinds[2].1.len()), (0x0004, 28));
    assert_eq!(kinds[3], (0x0008, vec![3, 0x02, 0x0a, 0xe4]));
    assert_eq!(kinds[4], (0x000c, vec![0, 2, 0xff, 0xff]));
    let (kind, features) = &kinds[5];
    assert_eq!((*kind, features.len(), features[0]), (0x0106, 92, 0), "no remote tokens");
    assert_eq!(features[12..24], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0x58]);
    assert_eq!(features[42..48], [0, 48, 0, 0, 0, 44]);
    let (kind, types) = &kinds[6];
    assert_eq!((*kind, types.len(), &types[..4]), (0x0108, 132, &[0, 0, 0, 128][..]));
    assert_eq!((&types[4..9], &types[68..73]), (&[0, 1, 0, 0, 3][..], &[0xff, 0xff, 0, 1, 2][..]));
    assert_eq!((kinds[7].0, kinds[7].1.len(), kinds.len()), (0x8001, 32, 8));
}

fn near(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = good.len();
    (vec((0..length, any::<u8>()), 0..6), 0..=length).prop_map(move |(changes, cut)| {
        let mut list = good.clone();
        changes.iter().for_each(|(at, value)| list[*at] = *value);
        list.truncate(cut.max(length.saturating_sub(cut)));
        list
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, what is copied lies inside units that the nexus sees, and is written only where it may.
    #[test]
    fn a_copy_stays_where_the_nexus_may(
        which in 0..2usize,
        list in prop_oneof![
            near(lid1(&[naa(0), naa(1), naa(2), naa(3)], &[blocks((0, 0), (1, 0), 8), bytes((2, 0, 0), (0, 9, 0), 512)])),
            near(lid4(&[naa(0), naa(1), naa(2), naa(3)], &[blocks((3, 0), (1, 0), 8), blocks((0, 0), (3, 0), 8)])),
            vec(any::<u8>(), 0..200),
        ],
    ) {
        let world = World::new();
        if let Outcome::Copy(CopyCommand::Start(order)) = send(&[LID1, LID4][which], &list) {
            for index in 0..order.segments() {
                let Ok(e) = order.extent(index, LuId(0), &nexus(1), world.peers()) else { continue };
                prop_assert!(e.from.0 < 3 && e.to.0 < 2, "{:?}", e);
                for (id, offset, block) in [(e.from, e.from_offset, e.from_block), (e.to, e.to_offset, e.to_block)] {
                    let end = offset + e.len.next_multiple_of(block.into());
                    prop_assert!(end <= world.disks[id.0 as usize].facts.bytes() && offset.is_multiple_of(block.into()));
                }
            }
        }
    }
}

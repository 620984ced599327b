//! What must hold for any bytes whatever: no panic, and no range outside the medium.

use proptest::collection::vec;
use proptest::prelude::*;

use super::table::ROWS;
use super::testing::{Rig, facts, nexus};
use super::*;
use crate::ids::LuId;

/// CDBs: mostly of commands that exist, with fields near zero, near the end, or anything.
fn cdb() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..ROWS.len(), vec(field_byte(), 32), any::<u8>(), 0..20usize).prop_map(
        |(row, mut bytes, flags, length)| {
            let row = &ROWS[row];
            bytes[0] = row.opcode;
            match row.action {
                Some(action) if row.opcode == 0x7f => {
                    bytes[7] = 0x18;
                    bytes[8..10].copy_from_slice(&action.to_be_bytes());
                    bytes[10] = flags & row.usage[10];
                }
                Some(action) => bytes[1] = action as u8,
                None => bytes[1] = flags & row.usage[1],
            }
            bytes[usize::from(row.control)] = 0;
            bytes.truncate(if length < 2 { length } else { row.usage.len().max(16) });
            bytes
        },
    );
    prop_oneof![8 => known, 1 => vec(any::<u8>(), 0..40)]
}

fn field_byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0u8), 1 => 0..32u8, 1 => Just(0xffu8), 1 => any::<u8>()]
}

/// Parameter lists: anything, or UNMAP and MODE SELECT lists whose lengths fit.
fn list() -> impl Strategy<Value = Vec<u8>> {
    let unmap = vec((field_byte(), field_byte(), field_byte()), 0..20).prop_map(|extents| {
        let length = extents.len() as u16 * 16;
        let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
        for (a, b, c) in extents {
            list.extend([0, 0, 0, 0, 0, a & 0x3f, b, c, 0, 0, a & 1, c, 0, 0, 0, 0]);
        }
        list
    });
    let control = (field_byte(), field_byte())
        .prop_map(|(a, b)| vec![0, 0, 0, 0, 0x0a, 0x0a, a & 4 | 0x22, 0x10, b & 8, 0x40, 0, 0, 0, 0, 0, 0]);
    prop_oneof![vec(any::<u8>(), 0..64), vec(field_byte(), 24), unmap, control]
}

fn some_facts() -> impl Strategy<Value = LuFacts> {
    let blocks = prop_oneof![Just(0u64), 1..70_000u64, Just(1 << 21), Just((1 << 52) - 1)];
    (blocks, any::<[bool; 8]>(), 0..20u8, prop_oneof![Just(512u32), Just(4096u32), Just(2048u32)]).prop_map(
        |(
            blocks,
            [thin, cache, read_only, limited, removable, saves, first, second],
            physical_exponent,
            block_size,
        )| {
            // What nobody else has, drives have.
            let device = if block_size == 2048 { DeviceType::Cdrom } else { DeviceType::Disk };
            LuFacts {
                device,
                removable,
                blocks,
                block_size,
                physical_exponent,
                read_only,
                saves,
                write_cache: cache,
                thin: facts().thin.filter(|_| thin),
                max_transfer_blocks: if limited { 128 } else { 0 },
                atomic: limited.then_some(Atomic {
                    max_blocks: 64,
                    alignment_blocks: 8,
                    granularity_blocks: 8,
                    natural: cache,
                }),
                passed: (first && second).then_some(Device {
                    kind: if cache { DeviceKind::Disk } else { DeviceKind::Tape },
                    peripheral: u8::from(!cache),
                    long_inquiry: thin,
                    names: limited,
                    limits: removable,
                    most: if saves { WHOLE } else { 4096 },
                }),
                ..facts()
            }
        },
    )
}

fn ranges(io: &Io) -> Vec<Range> {
    match io {
        Io::Unmap(ranges) | Io::Anchor(ranges) => ranges.clone(),
        Io::Read { range, .. }
        | Io::Write { range, .. }
        | Io::Compare { range }
        | Io::CompareEach { range }
        | Io::WriteVerify { range, .. }
        | Io::Map { range, .. }
        | Io::CompareAndWrite { range, .. }
        | Io::Or { range, .. }
        | Io::WriteAtomic { range, .. }
        | Io::Verify { range }
        | Io::Flush { range, .. }
        | Io::Fill { range, .. }
        | Io::Zero { range, .. } => vec![*range],
    }
}

fn extents_are_inside(rig: &Rig, order: &CopyOrder) {
    let lu = &rig.lu;
    let peers = std::iter::once(Peer { id: LuId(0), lu, read_only_map: rig.read_only_map, via: None });
    for index in 0..order.segments() {
        let Ok(e) = order.extent(index, LuId(0), &nexus(1), peers.clone()) else { continue };
        let size = u64::from(lu.facts.block_size);
        let whole = e.len.next_multiple_of(size);
        for offset in [e.from_offset, e.to_offset] {
            assert!(offset.is_multiple_of(size) && offset + whole <= lu.facts.bytes(), "{e:?}");
        }
        assert!(!rig.read_only_map && !lu.facts.read_only, "{e:?}");
    }
}

fn check(rig: &mut Rig, number: u16, outcome: Outcome) {
    match outcome {
        Outcome::Io(io) => {
            let (size, facts) = (u64::from(rig.lu.facts.block_size), &rig.lu.facts);
            for range in ranges(&io) {
                let end = range.offset.checked_add(range.len).expect("no overflow");
                let some = range.len > 0 || matches!(io, Io::CompareAndWrite { .. });
                assert!(some && end <= facts.bytes(), "{io:?}");
                assert!(range.offset % size == 0 && range.len % size == 0, "{io:?}");
            }
        }
        Outcome::Data(length) => assert!(length <= rig.out.len()),
        Outcome::Params(length) | Outcome::ParamsUpTo(length) => assert!(length > 0 && length <= MAX_PARAMS),
        Outcome::Shared(op) => {
            if let Ok((state, _)) = rig.lu.state.apply(&rig.lu.facts, &op, &nexus(number)) {
                rig.lu.state = Arc::new(state);
            }
            if rig.lu.state.erasing().is_some() {
                // It ends before the next command, well or not.
                let end = SharedOp::Erased { failed: number == 1 };
                let ended = rig.lu.state.apply(&rig.lu.facts, &end, &ItNexus::nobody());
                rig.lu.state = Arc::new(ended.expect("an event is not refused").0);
            }
        }
        Outcome::Fail(Failure::Check(sense)) => {
            let mut bytes = [0; MAX_SENSE];
            assert!(sense.encode(true, &mut bytes) <= MAX_SENSE && sense.encode(false, &mut bytes) == 18);
        }
        Outcome::Copy(CopyCommand::Start(order)) => extents_are_inside(rig, &order),
        Outcome::Copy(CopyCommand::Populate(order)) => {
            let rod = Rod { source: LuId(0), creator: nexus(number), ranges: order.ranges };
            assert!(rod.fits(&rig.lu.facts));
        }
        Outcome::Copy(CopyCommand::WriteByToken(order)) => {
            let facts = &rig.lu.facts;
            let range = Range { offset: 0, len: facts.bytes() };
            let rod = Rod { source: LuId(0), creator: nexus(number), ranges: vec![range] };
            for rod in [None, Some((Arc::new(rod), &**facts))] {
                if let Ok(order) = CopyOrder::by_token(&order, rod, facts) {
                    extents_are_inside(rig, &order);
                }
            }
        }
        Outcome::Copy(CopyCommand::Report(_) | CopyCommand::Abort(_) | CopyCommand::Tokens { .. }) => {}
        Outcome::Pass(pass) => {
            assert!([6, 10, 12, 16].contains(&pass.order.cdb.len()), "{pass:?}");
            if let PassData::In(Amount::Known(len)) | PassData::Out(Amount::Known(len)) = pass.data {
                assert!(len <= WHOLE, "{pass:?}");
            }
        }
        Outcome::Good | Outcome::Met | Outcome::Fail(Failure::Status(_)) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sequences of commands from three nexuses, so that the state moves too.
    #[test]
    fn any_bytes_are_answered(
        facts in some_facts(),
        room in prop_oneof![0..80usize, Just(4096usize)],
        read_only_map in any::<bool>(),
        commands in vec((1..4u16, cdb(), list()), 1..12),
    ) {
        let mut rig = Rig { read_only_map, out: vec![0; room], ..Rig::new(facts) };
        for (number, cdb, list) in commands {
            let first = rig.start_from(number, &cdb);
            check(&mut rig, number, first);
            let second = rig.params_from(number, &cdb, &list);
            check(&mut rig, number, second);
        }
    }

    /// Nobody writes through a reservation that others hold, whatever came before.
    #[test]
    fn a_write_passes_only_those_who_may(commands in vec((1..4u16, 0..7u8, 0..9u8, 0..3u8, 0..3u8), 0..24)) {
        let mut rig = Rig::new(facts());
        for (number, action, kind, key, action_key) in commands {
            let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
            let mut list = [0; 24];
            (list[7], list[15]) = (key, action_key);
            let _ = rig.run_from(number, &cdb, &list);
            let state = Arc::clone(&rig.lu.state);
            let reservations = &state.reservations;
            for other in 1..4 {
                let inside = match &reservations.reservation {
                    None => true,
                    Some(held) if matches!(held.kind, PrType::WriteExclusive | PrType::ExclusiveAccess) => {
                        held.holder == nexus(other)
                    }
                    Some(_) => reservations.key_of(&nexus(other)).is_some(),
                };
                let passed = matches!(
                    rig.start_from(other, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
                    Outcome::Io(Io::Write { .. })
                );
                prop_assert_eq!(passed, inside);
            }
            let orphan = reservations.reservation.as_ref().is_some_and(|held| {
                let holders = &reservations.registrants;
                if held.kind.all_registrants() { holders.is_empty() } else { reservations.key_of(&held.holder).is_none() }
            });
            prop_assert!(!orphan, "a reservation without a holder");
        }
    }
}

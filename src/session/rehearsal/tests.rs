//! Rehearsals of every day: some thousands of them, from random bytes; and scenes of which each step is laid down.

use proptest::collection::vec;
use proptest::prelude::*;
use zerocopy::big_endian::U32;

use super::dice::Dice;
use super::{World, play};
use crate::ids::LuId;
use crate::session::SEGMENT;
use crate::session::host::{After, Host};
use crate::session::tmf::Aborted;
use crate::wire::bhs::{BHS_LEN, Bhs, DataIn, ScsiCommand, ScsiResponse};
use crate::wire::codes::Opcode;
use crate::wire::{flags, lun};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_keeps_its_promises(bytes in vec(any::<u8>(), 0..2_000)) {
        play(&bytes);
    }
}

/// A session without digests whose initiator takes `segment` bytes a PDU, and that has been told all unit attentions.
fn scene(segment: u32) -> World {
    let mut world = World::new(&mut Dice::new(&[]));
    let negotiated = &mut world.session.negotiated;
    (negotiated.header_digest, negotiated.data_digest) = (false, false);
    negotiated.max_xmit_data_segment_length = segment;
    world.session.luns.iter_mut().for_each(|l| l.attentions = Default::default());
    world
}

/// READ(16) of `blocks` blocks from the start, with an immediate command.
fn read(world: &mut World, itt: u32, unit: u16, blocks: u32) {
    let mut pdu = ScsiCommand { itt: U32::new(itt), lun: lun::to_wire(unit), ..ScsiCommand::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags = flags::FINAL | flags::READ;
    let block = world.stage.units[usize::from(unit)].lu.facts.block_size;
    pdu.expected_data_transfer_length = U32::new(blocks * block);
    pdu.cdb[0] = 0x88;
    pdu.cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    let input = world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal command");
    assert_eq!(input.used, BHS_LEN);
}

#[test]
fn those_who_are_aborted_are_told_when_their_own_fences_stand() {
    let mut world = scene(8192);
    read(&mut world, 10, 0, 8);
    read(&mut world, 11, 1, 8);
    let mut abort = |unit| world.session.abort_for_another(&mut world.stage, LuId(unit), true);
    let (Aborted::ToBeTold(first), Aborted::ToBeTold(second)) = (abort(0), abort(1)) else {
        panic!("each unit has a task")
    };
    assert_eq!(abort(1), Aborted::Nothing);
    for (ending, itt) in [(second, 11), (first, 10)] {
        world.session.tell_aborted(&mut world.stage, ending);
        let (told, _) = world.stage.send().expect("an answer");
        let told = ScsiResponse::from_bhs(told.first_chunk().expect("a header"));
        assert_eq!((told.itt.get(), told.status), (itt, crate::scsi::status::TASK_ABORTED));
        assert!(world.stage.send().is_none(), "more were told than were ended by this");
    }
}

#[test]
fn a_read_from_memory_is_cut_up_as_it_is_sent() {
    let mut world = scene(512);
    let most = 2 * (SEGMENT / 512) as usize * BHS_LEN;
    read(&mut world, 10, 2, 2048);
    let mut got = 0;
    loop {
        assert!(world.stage.backlog() <= most, "{} bytes of headers wait", world.stage.backlog());
        let Some((pdu, after)) = world.stage.send() else { break };
        let header = *DataIn::from_bhs(pdu.first_chunk().expect("a header"));
        assert_eq!(Bhs::from_bhs(header.as_bhs()).opcode(), Opcode::DATA_IN);
        assert_eq!((header.buffer_offset.get(), header.data_sn.get()), (got, got / 512));
        got += header.data_len() as u32;
        assert_eq!(header.flags & flags::STATUS != 0, got == 1 << 20);
        if let After::Proceed(task) = after {
            world.session.proceed(&mut world.stage, task);
        }
    }
    assert_eq!((got, world.session.open_tasks()), (1 << 20, 0));
}

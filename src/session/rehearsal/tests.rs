//! Rehearsals of every day: some thousands of them, from random bytes; and scenes of which each step is laid down.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use zerocopy::big_endian::U32;

use super::dice::Dice;
use super::{World, play};
use crate::ids::LuId;
use crate::session::host::{After, Host};
use crate::session::tmf::Aborted;
use crate::session::{SEGMENT, View};
use crate::target::Lun;
use crate::wire::bhs::{
    BHS_LEN, Bhs, DataIn, DataOut, NopIn, R2t, ScsiCommand, ScsiResponse, TaskMgmtRequest,
};
use crate::wire::codes::{Opcode, TAG_NONE, TmfFunction};
use crate::wire::sn::Sn;
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

/// WRITE(16) of `blocks` blocks to the start, with an immediate command that brings no data; the R2T.
fn write(world: &mut World, itt: u32, unit: u16, blocks: u32) -> R2t {
    let mut pdu = ScsiCommand { itt: U32::new(itt), lun: lun::to_wire(unit), ..ScsiCommand::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags = flags::FINAL | flags::WRITE;
    let block = world.stage.units[usize::from(unit)].lu.facts.block_size;
    pdu.expected_data_transfer_length = U32::new(blocks * block);
    pdu.cdb[0] = 0x8a;
    pdu.cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal command");
    let (asked, _) = world.stage.send().expect("an R2T");
    *R2t::from_bhs(asked.first_chunk().expect("a header"))
}

/// The header of a Data-Out for that R2T, without a payload yet.
fn data_out(r2t: &R2t, data_sn: u32, offset: u32, len: usize, bits: u8) -> DataOut {
    let mut pdu = DataOut { itt: r2t.itt, ttt: r2t.ttt, flags: bits, ..DataOut::default() };
    (pdu.data_sn, pdu.buffer_offset) = (U32::new(data_sn), U32::new(offset));
    pdu.set_data_len(len);
    pdu
}

/// A command for the first 4096 bytes of a unit, with that data and, if any, its digest, as an immediate one.
fn write_along(world: &mut World, unit: u16, opcode: u8, data: &[u8], digest: &[u8]) {
    let mut pdu = ScsiCommand { itt: U32::new(10), lun: lun::to_wire(unit), ..ScsiCommand::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags = flags::FINAL | flags::WRITE;
    pdu.expected_data_transfer_length = U32::new(4096);
    // Of COMPARE AND WRITE the half, of WRITE SAME and VERIFY one block.
    let (blocks, cdb) = (data.len() as u32 / 512, &mut pdu.cdb);
    (cdb[0], cdb[1]) = (opcode, if opcode == 0x8f { 2 } else { 0 });
    match opcode {
        0x89 => cdb[13] = blocks as u8 / 2,
        0x9c => cdb[13] = blocks as u8,
        _ => cdb[10..14].copy_from_slice(&blocks.to_be_bytes()),
    }
    pdu.set_data_len(data.len());
    let all = [pdu.as_bhs().as_slice(), data, digest].concat();
    assert_eq!(world.session.input(&mut world.stage, &all).expect("a legal command").used, all.len());
}

/// As [`scene`], with 4096 bytes for the start of the unit in memory.
fn memory_scene() -> (World, Vec<u8>) {
    let mut world = scene(8192);
    world.session.negotiated.immediate_data = true;
    world.session.limit(super::Limited::default());
    (world, super::medium::Content::New.bytes(LuId(2), 0, 4096))
}

/// How much was written at once, how many requests there are, and slots.
fn written(world: &World) -> (usize, usize, usize) {
    (world.stage.written.len(), world.stage.jobs.len(), world.stage.slots.taken())
}

const AT_ONCE: (usize, usize, usize) = (1, 0, 0);
const FROM_A_SLOT: (usize, usize, usize) = (0, 1, 1);

#[test]
fn a_write_that_is_all_there_goes_to_memory_at_once_and_any_other_from_a_slot() {
    for (hindered, expected) in [(false, AT_ONCE), (true, FROM_A_SLOT)] {
        let (mut world, data) = memory_scene();
        world.stage.hindered = hindered;
        write_along(&mut world, 2, 0x8a, &data, &[]);
        assert_eq!(written(&world), expected, "it came along");
        let (mut world, data) = memory_scene();
        world.stage.hindered = hindered;
        let r2t = write(&mut world, 10, 2, 8);
        let last = data_out(&r2t, 0, 0, 4096, flags::FINAL);
        world.session.input(&mut world.stage, &[last.as_bhs().as_slice(), &data].concat()).expect("data");
        assert_eq!(written(&world), expected, "it was asked for");
        assert_eq!(world.stage.send().is_some(), !hindered, "it is answered");
    }
    let (mut world, data) = memory_scene();
    let r2t = write(&mut world, 10, 2, 8);
    let (first, last) = data.split_at(512);
    for (at, part, bits) in [(0, first, 0), (512, last, flags::FINAL)] {
        let pdu = data_out(&r2t, at.min(1), at, part.len(), bits);
        world.session.input(&mut world.stage, &[pdu.as_bhs().as_slice(), part].concat()).expect("data");
    }
    assert_eq!(written(&world), FROM_A_SLOT, "in two PDUs");
    let (mut world, data) = memory_scene();
    let r2t = write(&mut world, 10, 2, 8);
    let last = data_out(&r2t, 0, 0, 4096, flags::FINAL);
    world.session.input(&mut world.stage, &[last.as_bhs().as_slice(), first].concat()).expect("data");
    world.session.input(&mut world.stage, &data[512..]).expect("data");
    assert_eq!(written(&world), FROM_A_SLOT, "in two receives");
}

#[test]
fn what_is_more_than_a_write_goes_from_a_slot() {
    // COMPARE AND WRITE, WRITE AND VERIFY, VERIFY with data.
    for opcode in [0x89, 0x8e, 0x8f] {
        let (mut world, data) = memory_scene();
        write_along(&mut world, 2, opcode, &data, &[]);
        assert_eq!((world.stage.written.len(), world.stage.jobs.len()), (0, 1), "{opcode:#x}");
    }
}

#[test]
fn spoilt_data_is_not_written() {
    let (mut world, data) = memory_scene();
    world.session.negotiated.data_digest = true;
    let mut digest = crate::wire::digest::to_wire(crate::wire::digest::crc32c(&data));
    digest[0] ^= 1;
    write_along(&mut world, 2, 0x8a, &data, &digest);
    assert_eq!((written(&world), world.session.open_tasks()), ((0, 0, 0), 0), "it came along");
    assert!(world.stage.send().is_some(), "it is rejected");
    let r2t = write(&mut world, 11, 2, 8);
    let last = data_out(&r2t, 0, 0, 4096, flags::FINAL);
    let all = [last.as_bhs().as_slice(), &data, &digest].concat();
    world.session.input(&mut world.stage, &all).expect("an error of the command only");
    assert_eq!((written(&world), world.session.open_tasks()), ((0, 0, 0), 0), "it was asked for");
    digest[0] ^= 1;
    write_along(&mut world, 2, 0x8a, &data, &digest);
    assert_eq!(written(&world), AT_ONCE);
}

#[test]
fn data_of_a_command_that_is_to_be_aborted_is_not_written() {
    let (mut world, data) = memory_scene();
    let r2t = write(&mut world, 10, 2, 8);
    let mut pdu = TaskMgmtRequest { itt: U32::new(12), lun: lun::to_wire(2), ..Default::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags |= TmfFunction::ABORT_TASK_SET.0;
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal function");
    assert!(world.stage.managing.is_empty(), "it waits for the data");
    let last = data_out(&r2t, 0, 0, 4096, flags::FINAL);
    world.session.input(&mut world.stage, &[last.as_bhs().as_slice(), &data].concat()).expect("data");
    assert_eq!((written(&world), world.stage.managing.len()), ((0, 0, 0), 1));
}

#[test]
fn a_write_that_waits_for_its_limits_is_not_done_before() {
    let (mut world, data) = memory_scene();
    world.session.limit(super::Limited { any: true, initiator: None });
    world.stage.broke = true;
    write_along(&mut world, 2, 0x8a, &data, &[]);
    assert_eq!(written(&world), (0, 0, 1));
    world.stage.broke = false;
    world.session.spend(&mut world.stage);
    assert_eq!(written(&world), FROM_A_SLOT);
}

#[test]
fn a_failed_transfer_holds_no_slots_while_the_rest_of_its_data_passes() {
    let mut world = scene(8192);
    let r2t = write(&mut world, 10, 0, 1024);
    assert!(world.stage.slots.taken() > 1);
    // The wrong offset, and much is still to come, of this PDU and of others.
    let wrong = data_out(&r2t, 0, 512, 512, 0);
    world.session.input(&mut world.stage, wrong.as_bhs()).expect("an error of the command only");
    assert_eq!((world.stage.slots.taken(), world.session.open_tasks()), (0, 1));
    world.session.input(&mut world.stage, &[0; 512]).expect("payload");
    assert!(world.stage.send().is_none(), "it is answered at its end");
    let last = data_out(&r2t, 1, 1024, 512, flags::FINAL);
    world.session.input(&mut world.stage, &[last.as_bhs().as_slice(), &[0; 512]].concat()).expect("data");
    let (answer, _) = world.stage.send().expect("an answer");
    let answer = ScsiResponse::from_bhs(answer.first_chunk().expect("a header"));
    assert_eq!((answer.itt.get(), answer.status), (10, crate::scsi::status::CHECK_CONDITION));
    assert_eq!((world.stage.slots.taken(), world.session.open_tasks()), (0, 0));
    assert!(world.stage.jobs.is_empty() && world.stage.written.is_empty());
}

#[test]
fn a_transfer_that_fails_while_a_payload_comes_keeps_that_slot_only() {
    let mut world = scene(8192);
    world.session.negotiated.max_outstanding_r2t = 2;
    let first = write(&mut world, 10, 0, 1024);
    let all = world.stage.slots.taken();
    // The first segment is on the medium; that fails while payload for the second is on its way.
    let whole = data_out(&first, 0, 0, SEGMENT as usize, flags::FINAL);
    world.session.negotiated.max_recv_data_segment_length = SEGMENT;
    let (asked, _) = world.stage.send().expect("the other R2T");
    let second = *R2t::from_bhs(asked.first_chunk().expect("a header"));
    let data = super::medium::Content::New.bytes(LuId(0), 0, SEGMENT as usize);
    world.session.input(&mut world.stage, &[whole.as_bhs().as_slice(), &data].concat()).expect("data");
    let part = data_out(&second, 0, SEGMENT, 1024, 0);
    let data = super::medium::Content::New.bytes(LuId(0), SEGMENT.into(), 1024);
    world.session.input(&mut world.stage, &[part.as_bhs().as_slice(), &data[..512]].concat()).expect("data");
    assert_eq!((all, world.stage.slots.taken(), world.stage.jobs.len()), (2, 2, 1));
    world.stage.submit(0);
    world.end_job(0, false, false);
    assert_eq!(world.stage.slots.taken(), 1, "what the rest of the payload goes into");
    world.session.input(&mut world.stage, &data[512..]).expect("data");
    assert_eq!((world.stage.slots.taken(), world.session.open_tasks()), (0, 1));
}

#[test]
fn an_initiator_that_takes_small_segments_is_not_closed_while_it_owes_data() {
    for unit in [0, 2] {
        let mut world = scene(512);
        world.stage = super::Stage::new(super::Slots::new(64 << 20, 1), super::units(), super::catalog(8));
        let r2t = write(&mut world, 9, 0, 8);
        // All of these are read, because the data of the write comes behind them.
        let reads = 10..60;
        for itt in reads.clone() {
            read(&mut world, itt, unit, 2048);
            while !world.stage.jobs.is_empty() {
                world.stage.submit(0);
                world.end_job(0, true, false);
            }
            assert!(world.stage.backlog() < 256 << 10, "{} bytes of headers wait", world.stage.backlog());
        }
        let mut got = 0;
        while let Some((pdu, after)) = world.stage.send() {
            let header = Bhs::from_bhs(pdu.first_chunk().expect("a header"));
            assert_eq!(header.opcode(), Opcode::DATA_IN);
            got += header.data_len();
            match after {
                After::Keep => {}
                After::Free(buf) => world.stage.slots.free(buf),
                After::Tell(task, buf) => world.session.sent(&mut world.stage, task, buf),
                After::Proceed(task) => world.session.proceed(&mut world.stage, task),
                After::Close => panic!("closed"),
            }
            while !world.stage.jobs.is_empty() {
                world.stage.submit(0);
                world.end_job(0, true, false);
            }
            world.session.send_on(&mut world.stage);
        }
        assert_eq!((got, world.session.open_tasks()), (reads.len() << 20, 1));
        let data = super::medium::Content::New.bytes(LuId(0), 0, 4096);
        let last = data_out(&r2t, 0, 0, 4096, flags::FINAL);
        world.session.input(&mut world.stage, &[last.as_bhs().as_slice(), &data].concat()).expect("data");
        assert_eq!(world.stage.jobs.len(), 1, "the write");
    }
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

/// A session whose command 11 is about to be answered that it has failed, which has ended its command 10 (QERR 01b).
fn a_failure_behind_fences(attribute: u8) -> World {
    let mut world = scene(8192);
    Arc::make_mut(&mut world.stage.units[0].lu.state).mode.current.abort_on_error = true;
    read(&mut world, 10, 0, 8);
    let mut pdu = ScsiCommand { itt: U32::new(11), ..ScsiCommand::default() };
    pdu.opcode |= flags::IMMEDIATE;
    (pdu.flags, pdu.cdb[0]) = (flags::FINAL | attribute, 0xff);
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal command");
    assert!(world.stage.send().is_none(), "the other one is not fenced yet");
    world
}

/// The answers to a failure and, if one is asked for, to a function, in that order.
fn answers_of_a_failure(world: &mut World, function: Option<u32>) {
    while !world.stage.managing.is_empty() {
        world.answer_management();
    }
    let (told, _) = world.stage.send().expect("an answer");
    let told = ScsiResponse::from_bhs(told.first_chunk().expect("a header"));
    assert_eq!((told.itt.get(), told.status), (11, crate::scsi::status::CHECK_CONDITION));
    let itt = world.stage.send().map(|(pdu, _)| {
        let pdu = Bhs::from_bhs(pdu.first_chunk().expect("a header"));
        assert_eq!(pdu.opcode(), Opcode::TASK_MGMT_RESPONSE);
        pdu.itt.get()
    });
    assert_eq!((itt, world.session.open_tasks()), (function, 0));
}

#[test]
fn who_is_aborted_after_it_has_ended_others_tells_of_them() {
    let mut world = a_failure_behind_fences(flags::ATTR_SIMPLE);
    let mut pdu = TaskMgmtRequest { itt: U32::new(12), ref_task_tag: U32::new(11), ..Default::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags |= TmfFunction::ABORT_TASK.0;
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal function");
    answers_of_a_failure(&mut world, Some(12));
}

#[test]
fn who_is_ended_by_another_after_it_has_ended_others_tells_of_them() {
    let mut world = a_failure_behind_fences(flags::ATTR_SIMPLE);
    assert_eq!(world.session.abort_for_another(&mut world.stage, LuId(0), true), Aborted::Nothing);
    answers_of_a_failure(&mut world, None);
}

/// LUNs come and go.
fn see(world: &mut World, luns: &[Lun]) {
    let view = View { luns: luns.to_vec(), ..world.session.blank_view().expect("it is no discovery") };
    let seen = world.session.see(&mut world.stage, view, false);
    assert!(seen.endings.is_empty(), "nothing else is open");
    world.session.luns.iter_mut().for_each(|l| l.attentions = Default::default());
}

#[test]
fn nobody_waits_for_a_failure_that_was_told_when_its_lun_had_gone() {
    let mut world = a_failure_behind_fences(flags::ATTR_HEAD_OF_QUEUE);
    let luns = world.session.established().luns.clone();
    see(&mut world, &luns[1..]);
    answers_of_a_failure(&mut world, None);
    see(&mut world, &luns);
    read(&mut world, 12, 0, 8);
    assert_eq!(world.stage.jobs.len(), 1, "it begins");
}

#[test]
fn who_is_reset_after_it_has_ended_others_tells_of_them() {
    let mut world = a_failure_behind_fences(flags::ATTR_SIMPLE);
    let mut pdu = TaskMgmtRequest { itt: U32::new(12), ..Default::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags |= TmfFunction::LOGICAL_UNIT_RESET.0;
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal function");
    // The reset is done first: it waits for what the failure waits for.
    world.stage.managing.reverse();
    world.answer_management();
    assert!(world.stage.send().is_none(), "the failure's own fences do not stand yet");
    answers_of_a_failure(&mut world, Some(12));
}

#[test]
fn a_function_goes_on_when_the_transfer_that_it_waits_for_is_given_up() {
    let mut world = scene(8192);
    write(&mut world, 10, 0, 8);
    let mut pdu = TaskMgmtRequest { itt: U32::new(12), ..Default::default() };
    pdu.opcode |= flags::IMMEDIATE;
    pdu.flags |= TmfFunction::ABORT_TASK_SET.0;
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("a legal function");
    assert!(world.stage.managing.is_empty(), "it waits for the data");
    while world.session.open_tasks() > 0 {
        world.stage.now += crate::session::pace::INTERVAL_NS;
        world.session.hurry(&mut world.stage).expect("others are not to blame for it");
    }
    assert_eq!(world.stage.managing.len(), 1, "it acts");
}

#[test]
fn the_window_moves_past_what_was_aborted_before_its_turn() {
    let mut world = scene(8192);
    (world.session.command_window, world.session.max_cmd_sn) = (2, Sn(2));
    read(&mut world, 9, 0, 8);
    let mut pdu = ScsiCommand { itt: U32::new(10), cmd_sn: U32::new(2), ..ScsiCommand::default() };
    pdu.flags = flags::FINAL;
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("it comes before its turn");
    let mut abort = TaskMgmtRequest { itt: U32::new(12), ref_task_tag: U32::new(10), ..Default::default() };
    abort.opcode |= flags::IMMEDIATE;
    abort.flags |= TmfFunction::ABORT_TASK.0;
    world.session.input(&mut world.stage, abort.as_bhs()).expect("a legal function");
    (pdu.itt, pdu.cmd_sn) = (U32::new(11), U32::new(1));
    world.session.input(&mut world.stage, pdu.as_bhs()).expect("what was missing");
    let mut last = None;
    while let Some((pdu, _)) = world.stage.send() {
        last = Some(*NopIn::from_bhs(pdu.first_chunk().expect("a header")));
    }
    let told = last.map(|pdu| (pdu.itt.get(), pdu.exp_cmd_sn.get(), pdu.max_cmd_sn.get()));
    assert_eq!(told, Some((TAG_NONE, 3, 3)));
}

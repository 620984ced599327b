//! Tokens: lists with exact sense data, what they come to, who may use them and for how long.

use std::sync::Arc;

use super::super::testing::{Rig, facts, nexus};
use super::super::{Asc, Counters, DriveOp, Failure, Lu, LuFacts, Power, Range, SenseKey, SharedOp, status};
use super::token::TOKEN;
use super::*;
use crate::ids::LuId;

const POPULATE: [u8; 16] = [0x83, 0x10, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0xff, 0xff, 0, 0];
const WRITE: [u8; 16] = [0x83, 0x11, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0xff, 0xff, 0, 0];
const SECRET: [u8; TOKEN_SECRET] = [7; TOKEN_SECRET];
const SECOND: u64 = 1_000_000_000;

/// A list with these block ranges behind a header of `start` bytes.
fn list(start: usize, ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = 16 * ranges.len();
    let mut list = vec![0; start];
    list[..2].copy_from_slice(&((start - 2 + length) as u16).to_be_bytes());
    list[start - 2..].copy_from_slice(&(length as u16).to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
    }
    list
}

fn populate(ranges: &[(u64, u32)]) -> Vec<u8> {
    list(16, ranges)
}

fn write(offset: u64, token: &TokenBytes, ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = list(536, ranges);
    list[8..16].copy_from_slice(&offset.to_be_bytes());
    list[16..528].copy_from_slice(token);
    list
}

fn zero_token() -> TokenBytes {
    let mut token = [0; TOKEN];
    token[..4].copy_from_slice(&[0xff, 0xff, 0, 1]);
    token[6..8].copy_from_slice(&[1, 0xf8]);
    token
}

fn sense(cdb: &[u8], list: &[u8]) -> Sense {
    match Rig::new(facts()).send(cdb, list) {
        Outcome::Fail(Failure::Check(sense)) => sense,
        other => panic!("{other:?}"),
    }
}

fn populated(list: &[u8]) -> PopulateOrder {
    match Rig::new(facts()).send(&POPULATE, list) {
        Outcome::Copy(CopyCommand::Populate(order)) => *order,
        other => panic!("{other:?}"),
    }
}

fn written(block_size: u32, list: &[u8]) -> TokenOrder {
    match Rig::new(LuFacts { block_size, ..facts() }).send(&WRITE, list) {
        Outcome::Copy(CopyCommand::WriteByToken(order)) => *order,
        other => panic!("{other:?}"),
    }
}

fn changed(mut list: Vec<u8>, at: usize, to: u8) -> Vec<u8> {
    list[at] = to;
    list
}

fn rod(ranges: &[(u64, u64)]) -> Rod {
    let ranges = ranges.iter().map(|(offset, len)| Range { offset: *offset, len: *len }).collect();
    Rod { source: LuId(1), creator: nexus(1), ranges }
}

#[test]
fn what_a_token_is_to_represent() {
    let mut list = populate(&[(8, 4), (0, 0), (2, 1)]);
    list[7] = 9;
    let ranges = [(4096, 2048), (0, 0), (1024, 512)].map(|(offset, len)| Range { offset, len }).to_vec();
    assert_eq!(populated(&list), PopulateOrder { list: 0x0102_0304, ranges, timeout: 9 });
    // ROD TYPE counts only with RTV.
    list[8..12].copy_from_slice(&[0, 0x80, 0, 1]);
    assert_eq!(populated(&list).timeout, 9);
    list[2] = 2;
    assert_eq!(sense(&POPULATE, &list), Sense::parameter_field(8, 7));
    list[8..12].copy_from_slice(&[0, 1, 0, 0]);
    assert_eq!(populated(&list).timeout, 9);
}

#[test]
fn lists_that_are_wrong() {
    let token = zero_token();
    type Make<'a> = &'a dyn Fn(&[(u64, u32)]) -> Vec<u8>;
    let lists: [(&[u8; 16], usize, Make<'_>); 2] =
        [(&POPULATE, 16, &|r| populate(r)), (&WRITE, 536, &|r| write(0, &token, r))];
    for (cdb, start, make) in lists {
        let at = start as u16 - 2;
        let good = make(&[(0, 8)]);
        let cut = Sense::illegal(Asc::PARAMETER_LIST_LENGTH);
        for length in [1, start - 1, start, good.len() - 1] {
            assert_eq!(sense(cdb, &good[..length]), cut, "{length}");
        }
        let short = changed(changed(good.clone(), 0, 0), 1, 0x0d);
        assert_eq!(sense(cdb, &short), Sense::parameter_field(0, 7), "DATA LENGTH");
        assert_eq!(sense(cdb, &changed(good.clone(), start - 1, 15)), Sense::parameter_field(at, 7));
        assert_eq!(sense(cdb, &changed(good, start - 1, 32)), Sense::parameter_field(at, 7));
        let out_of_range = Sense::illegal(Asc::LBA_OUT_OF_RANGE);
        assert_eq!(sense(cdb, &make(&[(0, 8), ((1 << 21) - 1, 2)])), out_of_range);
        assert_eq!(sense(cdb, &make(&[(u64::MAX, 1)])), out_of_range);
        let twice = make(&[(100, 8), (0, 8), (7, 1)]);
        assert_eq!(sense(cdb, &twice), Sense::parameter_field(at, 7), "a block in two ranges");
        let many: Vec<_> = (0..65).map(|n| (n * 8, 8)).collect();
        assert_eq!(sense(cdb, &make(&many)), Sense::illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
        assert!(matches!(Rig::new(facts()).send(cdb, &make(&many[..64])), Outcome::Copy(_)));
        let most = 1 << 19;
        assert!(matches!(Rig::new(facts()).send(cdb, &make(&[(0, most)])), Outcome::Copy(_)));
        assert_eq!(sense(cdb, &make(&[(0, most), (1 << 20, 1)])), Sense::parameter_field(at, 7));
        let none = [&cdb[..10], &[0; 6]].concat();
        assert_eq!(Rig::new(facts()).start(&none), Outcome::Good, "no list is no error");
    }
    let late = changed(changed(populate(&[(0, 8)]), 6, 2), 7, 0x59);
    assert_eq!(sense(&POPULATE, &late), Sense::parameter_field(4, 7), "601 seconds");
    let far = write(u64::MAX / 2, &token, &[(0, 8)]);
    assert_eq!(sense(&WRITE, &far), Sense::parameter_field(8, 7));
}

#[test]
fn a_token_has_the_form_of_the_standard() {
    let mut tokens = Tokens::default();
    let token = tokens.create(rod(&[(0, 4096), (8192, 512)]), &facts(), 0, &SECRET, 0).unwrap();
    assert_eq!(token[..16], [0, 1, 0, 0, 0, 0, 1, 0xf8, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(token[16..24], [0xe4, 0, 0, 0, 1, 3, 0, 8]);
    assert_eq!(token[24..32], *facts().identity.naa.bytes());
    assert_eq!((token[46..48].to_vec(), token[62..64].to_vec()), (vec![2, 0], vec![0x12, 0]));
    assert_eq!(token[96..104], [0, 0, 2, 0, 0, 3, 0xc0, 0]);
    assert_eq!(token[128..135], [0x53, 0xa8, 0, 32, b'i', b'q', b'n']);
    assert_eq!(token[480..], SECRET);
}

#[test]
fn every_way_in_which_a_token_is_invalid() {
    let mut tokens = Tokens::default();
    let invalid = |asc| Err(Sense::illegal(asc));
    let make = |tokens: &mut Tokens, timeout| {
        tokens.create(rod(&[(0, 4096)]), &facts(), timeout, &SECRET, 0).unwrap()
    };
    let good = make(&mut tokens, 0);
    assert_eq!(tokens.find(&good, 0).unwrap().unwrap().bytes(), 4096);
    let mut with = |at: usize, to| tokens.find(&changed(good.to_vec(), at, to).try_into().unwrap(), 0);
    assert_eq!(with(7, 0xf9), invalid(Asc::INVALID_TOKEN_LENGTH));
    assert_eq!(with(1, 0x80), invalid(Asc::UNSUPPORTED_TOKEN_TYPE));
    assert_eq!(with(15, 99), invalid(Asc::TOKEN_UNKNOWN));
    for at in [2, 16, 63, 200, 480, 511] {
        let asc = if at == 2 { Asc::UNSUPPORTED_TOKEN_TYPE } else { Asc::TOKEN_CORRUPT };
        assert_eq!(with(at, 0xaa), invalid(asc), "byte {at}");
    }
    let [deleted, revoked, late] = [0, 0, 7].map(|timeout| make(&mut tokens, timeout));
    tokens.delete(&deleted);
    tokens.revoke(&revoked);
    assert_eq!(tokens.find(&deleted, 0), invalid(Asc::TOKEN_DELETED));
    assert_eq!(tokens.find(&revoked, 0), invalid(Asc::TOKEN_REVOKED));
    // Each use begins its time anew.
    assert!(tokens.find(&late, 6 * SECOND).is_ok());
    assert!(tokens.find(&late, 13 * SECOND - 1).is_ok());
    assert_eq!(tokens.find(&late, 20 * SECOND), invalid(Asc::TOKEN_EXPIRED));
    assert!(tokens.find(&good, 59 * SECOND).is_ok());
    assert_eq!(tokens.find(&good, 119 * SECOND), invalid(Asc::TOKEN_EXPIRED));
    assert_eq!(tokens.find(&zero_token(), 0), Ok(None));
}

#[test]
fn there_are_never_too_many_tokens() {
    let mut tokens = Tokens::default();
    let mut make = |initiator: u16| {
        let rod = Rod { creator: nexus(initiator), ..rod(&[(0, 512)]) };
        tokens.create(rod, &facts(), 0, &SECRET, 0)
    };
    let first = make(1).unwrap();
    let others: Vec<_> = (0..MAX_TOKENS_OF_INITIATOR).map(|_| make(1).unwrap()).collect();
    let all: Vec<_> = (2..20).flat_map(|n| [n; MAX_TOKENS_OF_INITIATOR]).map(&mut make).collect();
    let refused = Err(Sense::aborted(Asc::INSUFFICIENT_RESOURCES_FOR_TOKEN));
    assert_eq!(all.iter().filter(|t| t.is_ok()).count(), MAX_TOKENS - MAX_TOKENS_OF_INITIATOR);
    assert!(all.iter().all(|t| t.is_ok() || *t == refused));
    // Its own oldest one makes room for whoever has enough.
    assert!(make(1).is_ok());
    assert_eq!(tokens.find(&first, 0), Err(Sense::illegal(Asc::TOKEN_REVOKED)));
    assert_eq!(tokens.find(&others[0], 0), Err(Sense::illegal(Asc::TOKEN_REVOKED)));
    assert!(tokens.find(&others[1], 0).is_ok());
    assert!(tokens.create(rod(&[]), &facts(), 0, &SECRET, 60 * SECOND).is_ok(), "the others have expired");
}

#[test]
fn a_report_shows_no_secrets() {
    let mut tokens = Tokens::default();
    let token = tokens.create(rod(&[(0, 512)]), &facts(), 0, &SECRET, 0).unwrap();
    tokens.create(Rod { source: LuId(2), ..rod(&[(0, 512)]) }, &facts(), 0, &SECRET, 0).unwrap();
    let mut out = [0xee; 4096];
    assert_eq!(tokens.report(LuId(1), 4096, 0, &mut out), Outcome::Data(104));
    assert_eq!((&out[..8], &out[8..104]), (&[0, 0, 0, 100, 0, 0, 0, 0][..], &token[..96]));
    assert_eq!(tokens.report(LuId(1), 5, 0, &mut out), Outcome::Data(5));
    assert_eq!(tokens.report(LuId(1), 4096, 61 * SECOND, &mut out), Outcome::Data(8));
}

/// Disk 0, which is written, and disk 1, the source.
fn disks(blocks: [(u32, u64); 2]) -> [Lu; 2] {
    blocks.map(|(block_size, blocks)| Lu {
        facts: Arc::new(LuFacts { block_size, blocks, ..facts() }),
        state: Arc::default(),
        counters: Counters::default(),
    })
}

fn peers(disks: &[Lu; 2]) -> impl Iterator<Item = Peer<'_>> + Clone {
    let peer = |(n, lu)| Peer { id: LuId(n as u32), lu, read_only_map: n == 1, via: None };
    disks.iter().enumerate().map(peer)
}

/// What a write by a token of these bytes comes to: from, to, length.
fn pieces(
    blocks: [u32; 2],
    ranges: &[(u64, u64)],
    offset: u64,
    to: &[(u64, u32)],
) -> Result<Vec<(u64, u64, u64)>, Sense> {
    let disks = disks(blocks.map(|block| (block, 1 << 20)));
    let order = written(blocks[0], &write(offset, &[0; TOKEN], to));
    let rod = Arc::new(rod(ranges));
    let copy = CopyOrder::by_token(&order, Some((rod, &disks[1].facts)), &disks[0].facts)?;
    let extent = |n| copy.extent(n, LuId(0), &nexus(1), peers(&disks)).unwrap();
    Ok((0..copy.segments()).map(extent).map(|e| (e.from_offset, e.to_offset, e.len)).collect())
}

#[test]
fn ranges_are_filled_one_after_the_other() {
    let source = [(1 << 20, 4096), (0, 0), (8192, 8192)];
    let got = pieces([512, 512], &source, 0, &[(0, 4), (100, 0), (8, 20)]);
    assert_eq!(got.unwrap(), [(1 << 20, 0, 2048), ((1 << 20) + 2048, 4096, 2048), (8192, 6144, 8192)]);
    // OFFSET INTO ROD, in blocks of the destination, leads into the second range.
    assert_eq!(pieces([512, 512], &source, 9, &[(1, 2)]).unwrap(), [(8704, 512, 1024)]);
    assert_eq!(pieces([4096, 512], &source, 1, &[(1, 2)]).unwrap(), [(8192, 4096, 8192)]);
    assert_eq!(pieces([512, 4096], &source, 8, &[(1, 8)]).unwrap(), [(8192, 512, 4096)]);
    assert_eq!(pieces([512, 512], &source, 24, &[(1, 0)]).unwrap(), []);
    let beyond = Err(Sense::parameter_field(534, 7));
    assert_eq!(pieces([512, 512], &source, 1, &[(0, 24)]), beyond, "more than there is");
    assert_eq!(pieces([512, 512], &source, 24, &[(0, 1)]), Err(Sense::parameter_field(8, 7)));
    assert_eq!(pieces([512, 512], &source, 25, &[(0, 0)]), Err(Sense::parameter_field(8, 7)));
    let inexact = Err(Sense::illegal(Asc::UNEXPECTED_INEXACT_SEGMENT));
    assert_eq!(pieces([512, 4096], &source, 1, &[(0, 8)]), inexact);
    assert_eq!(pieces([512, 4096], &source, 0, &[(0, 1)]), inexact);
    assert_eq!(pieces([4096, 512], &[(0, 512), (8192, 8192)], 0, &[(0, 1)]), inexact);
}

#[test]
fn zeroes_need_no_source() {
    let disks = disks([(512, 100), (512, 100)]);
    let order = written(512, &write(u64::from(u32::MAX), &zero_token(), &[(5, 2), (90, 10)]));
    let copy = CopyOrder::by_token(&order, None, &disks[0].facts).unwrap();
    let alone = || peers(&disks).take(1);
    let got: Vec<_> = (0..2).map(|n| copy.extent(n, LuId(0), &nexus(1), alone()).unwrap()).collect();
    assert!(got.iter().all(|e| e.zeroes && e.to == LuId(0) && !e.overlaps()));
    assert_eq!([(2560, 1024), (46_080, 5120)], [0, 1].map(|n: usize| (got[n].to_offset, got[n].len)));
}

fn refused() -> Sense {
    Sense::new(SenseKey::COPY_ABORTED, Asc::THIRD_PARTY_DEVICE_FAILURE)
}

#[test]
fn a_token_gives_no_right() {
    let mut disks = disks([(512, 100), (512, 100)]);
    let order = written(512, &write(0, &[0; TOKEN], &[(0, 8)]));
    let make = |disks: &[Lu; 2]| {
        CopyOrder::by_token(&order, Some((Arc::new(rod(&[(0, 4096)])), &disks[1].facts)), &disks[0].facts)
    };
    let copy = make(&disks).unwrap();
    let ask = |disks: &[Lu; 2], by: u16| copy.extent(0, LuId(0), &nexus(by), peers(disks)).map(drop);
    assert_eq!(ask(&disks, 1), Ok(()));
    let unseen = copy.extent(0, LuId(0), &nexus(1), peers(&disks).take(1));
    assert_eq!(unseen, Err(refused()), "the source is not there for this nexus");
    let mut change = |disk: usize, op: &SharedOp, by| {
        let (state, _) = disks[disk].state.apply(&disks[disk].facts, op, &nexus(by)).unwrap();
        disks[disk].state = Arc::new(state);
        [1, 2].map(|by| copy.extent(0, LuId(0), &nexus(by), peers(&disks)).map(drop))
    };
    assert_eq!(change(1, &SharedOp::Reserve, 1), [Ok(()), Err(refused())]);
    assert_eq!(change(0, &SharedOp::Reserve, 2), [Err(refused()), Err(refused())]);
    _ = change(1, &SharedOp::Release, 1);
    assert_eq!(change(1, &SharedOp::Reserve, 2), [Err(refused()), Ok(())]);
    let stop = SharedOp::Drive(DriveOp::Power { to: Power::Stopped, flush: false });
    assert_eq!(change(1, &stop, 2), [Err(refused()), Err(refused())]);
}

#[test]
fn the_creator_reads_by_its_own_rights_and_never_writes() {
    let mut disks = disks([(512, 100), (512, 100)]);
    let order = written(512, &write(0, &[0; TOKEN], &[(0, 8)]));
    let rod = Arc::new(rod(&[(0, 4096)]));
    let copy = CopyOrder::by_token(&order, Some((rod, &disks[1].facts)), &disks[0].facts).unwrap();
    assert_eq!(copy.creator(), Some((LuId(1), &nexus(1))));
    let creator = nexus(1);
    let ask = |disks: &[Lu; 2]| {
        let via = Peer { id: LuId(1), lu: &disks[1], read_only_map: true, via: Some(&creator) };
        let peers = peers(disks).take(1).chain([via]);
        copy.extent(0, LuId(0), &nexus(5), peers).map(drop)
    };
    assert_eq!(ask(&disks), Ok(()));
    let reserve = |disk: &mut Lu, by| {
        disk.state = Arc::new(disk.state.apply(&disk.facts, &SharedOp::Reserve, &nexus(by)).unwrap().0);
    };
    reserve(&mut disks[1], 1);
    assert_eq!(ask(&disks), Ok(()), "the creator holds the reservation");
    disks[1].state = Arc::default();
    reserve(&mut disks[1], 5);
    assert_eq!(ask(&disks), Err(refused()), "it is the creator that must be let in");
}

#[test]
fn what_was_cut_off_is_revoked() {
    let whole = disks([(512, 100), (512, 100)]);
    let cut = disks([(512, 100), (512, 7)]);
    let order = written(512, &write(0, &[0; TOKEN], &[(0, 8)]));
    let rod = Arc::new(rod(&[(0, 4096)]));
    assert!(rod.fits(&whole[1].facts) && !rod.fits(&cut[1].facts));
    let copy = CopyOrder::by_token(&order, Some((rod, &whole[1].facts)), &whole[0].facts).unwrap();
    let got = copy.extent(0, LuId(0), &nexus(1), peers(&cut));
    assert_eq!(got, Err(Sense::illegal(Asc::TOKEN_REVOKED)));
}

#[test]
fn failures_of_the_unit_itself_are_told_as_they_are() {
    let disks = disks([(512, 100), (512, 100)]);
    let order = written(512, &write(0, &zero_token(), &[(0, 8)]));
    let copy = CopyOrder::by_token(&order, None, &disks[0].facts).unwrap();
    let full = Some(Failure::Check(Sense::no_space()));
    assert_eq!(copy.failed(0, Side::Destination, full), Sense::no_space());
    assert_eq!(copy.failed(0, Side::Source, full), refused());
    assert_eq!(copy.failed(0, Side::Destination, Some(Failure::Status(status::BUSY))), refused());
}

#[test]
fn what_is_told_of_a_token() {
    let mut tokens = Tokens::default();
    let token = tokens.create(rod(&[(0, 4096)]), &facts(), 0, &SECRET, 0).unwrap();
    let cdb = [0x84, 7, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
    let Outcome::Copy(CopyCommand::Report(report)) = Rig::new(facts()).start(&cdb) else {
        panic!("no report")
    };
    assert_eq!(report.list, 0x0102_0304);
    let mut out = [0xee; 1024];
    let record = CopyRecord::populated(4096, 512);
    assert_eq!(report.write(&record, Some(&token), false, &mut out), Some(Outcome::Data(550)));
    assert_eq!(out[..8], [0, 0, 2, 0x22, 0x10, 1, 0, 1]);
    assert_eq!(out[12..32], [0, 0, 0, 0xf1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((&out[32..38], &out[38..550]), (&[0, 0, 2, 2, 0, 0][..], &token[..]));
    let failed = CopyRecord { end: CopyEnd::Failed(refused()), action: 0x11, segments: 3, ..record };
    assert_eq!(report.write(&failed, None, false, &mut out), Some(Outcome::Data(56)));
    assert_eq!((&out[..6], &out[12..16]), (&[0, 0, 0, 52, 0x11, 2][..], &[2, 20, 18, 0xf1][..]));
    assert_eq!((out[34], &out[50..56]), (0x0a, &[0; 6][..]));
}

#[test]
fn reservations_and_protection_hold_for_the_commands() {
    let mut rig = Rig::new(facts());
    let (read, write) = (populate(&[(0, 8)]), write(0, &zero_token(), &[(0, 8)]));
    rig.read_only_map = true;
    assert_eq!(rig.send(&WRITE, &write), Outcome::Fail(Sense::write_protected().into()));
    assert!(matches!(rig.send(&POPULATE, &read), Outcome::Copy(_)));
    rig.run_from(2, &[0x16, 0, 0, 0, 0, 0], &[]).unwrap();
    let conflict = Outcome::Fail(Failure::Status(status::RESERVATION_CONFLICT));
    assert_eq!((rig.send(&WRITE, &write), rig.send(&POPULATE, &read)), (conflict.clone(), conflict));
}

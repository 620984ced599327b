//! Third-party copies: what they move is what was there, however few slots there are; and once the abort of a copy, the
//! login that ends it, or what takes its nexus the right to write was answered, it writes nothing more.

use std::time::Duration;

use super::accesses::set_group;
use super::client::{Client, Event};
use super::data::some_clients;
use super::erasures::{NEW, sanitize};
use super::load::lun;
use super::reservations::{key, reserve_out, run};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::initiator::cdb::{self, CopySegment};
use crate::mem::PoolConfig;
use crate::scsi::{AccessState, status};
use crate::wire::codes::TmfFunction;

const WAIT: Duration = Duration::from_secs(60);

/// Blocks of each disk.
const BLOCKS: u64 = 1536;

/// The NAA designators of the rig's disks.
const NAMES: [&[u8]; 2] = [&[0x30, 0, 0, 0, 0, 0, 0, 0], &[0x30, 0, 0, 0, 0, 0, 0, 1]];

/// The first client comes through the second port, all others through the first.
fn scene(seed: u64) -> (Rig, Vec<Client>) {
    let few = PoolConfig { data: [8, 8, 8, 4], reserve: [1, 1, 1, 1] };
    let many = Plan::default().pool;
    let pool = if seed.is_multiple_of(3) { few } else { many };
    let disks = vec![BLOCKS, BLOCKS];
    let plan = Plan { reactors: 1 + seed as usize % 4, disks, pool, two_ports: true, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut clients = some_clients(&rig, 3);
    for (who, client) in clients.iter_mut().enumerate() {
        client.login(if who == COPIER { rig.second } else { rig.address }, TARGET);
    }
    rig.until(&mut clients, WAIT, "logins", |_, clients| clients.iter().all(Client::is_full));
    (rig, clients)
}

/// Waits for the status of one command, and forgets whatever else is said.
fn status_of(rig: &mut Rig, clients: &mut [Client], who: usize, itt: u32) -> u8 {
    let mut got = None;
    rig.until(clients, WAIT, "one command is answered", |_, clients| {
        while let Some(event) = clients[who].events.pop_front() {
            if let Event::Answer { itt: tag, status, .. } = event
                && tag == itt
            {
                got = Some(status);
            }
        }
        got.is_some()
    });
    got.unwrap()
}

fn send(rig: &mut Rig, clients: &mut [Client], who: usize, disk: usize, cdb: &[u8], out: &[u8]) -> u32 {
    rig.until(clients, WAIT, "the window opens", |_, clients| clients[who].credit() > 0);
    clients[who].command(lun(disk), cdb, out.to_vec(), 0)
}

/// Does a command that ends well, past unit attentions.
fn done(rig: &mut Rig, clients: &mut [Client], who: usize, disk: usize, cdb: &[u8], out: &[u8]) {
    for _ in 0..8 {
        let itt = send(rig, clients, who, disk, cdb, out);
        match status_of(rig, clients, who, itt) {
            status::GOOD => return,
            status::CHECK_CONDITION => {}
            other => panic!("status {other:#x}"),
        }
    }
    panic!("it never ends well");
}

fn write(rig: &mut Rig, clients: &mut [Client], who: usize, disk: usize, bytes: &[u8]) {
    for (n, part) in bytes.chunks(256 << 10).enumerate() {
        let cdb = cdb::write(n as u64 * 512, (part.len() / 512) as u32);
        done(rig, clients, who, disk, &cdb, part);
    }
}

/// Bytes that differ from place to place and from `kind` to `kind`.
fn pattern(kind: u8) -> Vec<u8> {
    (0..BLOCKS * 512).map(|n| (n / 512 * 7 + n % 251) as u8 ^ kind).collect()
}

fn some_segments(rig: &Rig, most: u64) -> Vec<CopySegment> {
    let segment = |_| {
        let blocks = 1 + rig.chance(most);
        let place = || (rig.chance(2) as u16, rig.chance(BLOCKS - blocks + 1));
        CopySegment { from: place(), to: place(), blocks: blocks as u16 }
    };
    (0..1 + rig.chance(6)).map(segment).collect()
}

/// What the segments make of the disks, one after the other.
fn apply(disks: &mut [Vec<u8>; 2], segments: &[CopySegment]) {
    for s in segments {
        let [from, to, len] = [s.from.1, s.to.1, s.blocks.into()].map(|n| n as usize * 512);
        let bytes = disks[usize::from(s.from.0)][from..from + len].to_vec();
        disks[usize::from(s.to.0)][to..to + len].copy_from_slice(&bytes);
    }
}

#[test]
fn a_copy_moves_what_is_there() {
    seeds(16, |seed| {
        let (mut rig, mut clients) = scene(seed);
        let mut disks = [pattern(1), pattern(2)];
        for disk in 0..2 {
            write(&mut rig, &mut clients, disk, disk, &disks[disk].clone());
        }
        for round in 0..4 {
            let most = if round == 0 { BLOCKS } else { 700 };
            let segments = some_segments(&rig, most);
            let list = cdb::copy_list(1, &NAMES, &segments);
            let cdb = cdb::extended_copy(list.len() as u32);
            let (who, disk) = (rig.chance(3) as usize, rig.chance(2) as usize);
            done(&mut rig, &mut clients, who, disk, &cdb, &list);
            apply(&mut disks, &segments);
            for disk in 0..2 {
                let got = rig.below.disk_content(rig.disks[disk]);
                let wrong = got.iter().zip(&disks[disk]).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "disk {disk} after {segments:?}");
            }
        }
        rig.finish(&mut clients);
    });
}

/// The answer to a command that gives data, past unit attentions.
fn asked(rig: &mut Rig, clients: &mut [Client], who: usize, disk: usize, cdb: &[u8], len: u32) -> Vec<u8> {
    loop {
        rig.until(clients, WAIT, "the window opens", |_, clients| clients[who].credit() > 0);
        let tag = clients[who].command(lun(disk), cdb, Vec::new(), len);
        let mut got = None;
        rig.until(clients, WAIT, "one command is answered", |_, clients| {
            while let Some(event) = clients[who].events.pop_front() {
                if let Event::Answer { itt, status, data, .. } = event
                    && itt == tag
                {
                    got = Some((status, data));
                }
            }
            got.is_some()
        });
        match got.unwrap() {
            (status::GOOD, data) => return data,
            (status::CHECK_CONDITION | status::BUSY, _) => {}
            (other, _) => panic!("status {other:#x}"),
        }
    }
}

/// Has a disk make a token.
fn token(rig: &mut Rig, clients: &mut [Client], who: usize, disk: usize, ranges: &[(u64, u32)]) -> Vec<u8> {
    let list = cdb::populate_list(0, ranges);
    done(rig, clients, who, disk, &cdb::populate_token(9, list.len() as u32), &list);
    asked(rig, clients, who, disk, &cdb::token_information(9, 1024), 1024)[38..].to_vec()
}

/// Ranges that have no block in common, in any order.
fn some_ranges(rig: &Rig) -> Vec<(u64, u32)> {
    let mut at = 0;
    let mut ranges = Vec::new();
    while ranges.is_empty() || (ranges.len() < 4 && at < BLOCKS - 300) {
        at += rig.chance(200);
        let blocks = rig.chance(300.min(BLOCKS - at));
        ranges.push((at, blocks as u32));
        at += blocks;
    }
    if rig.chance(2) == 0 {
        ranges.reverse();
    }
    ranges
}

/// Cuts the ranges off after so many blocks.
fn cut(ranges: Vec<(u64, u32)>, mut left: u32) -> Vec<(u64, u32)> {
    let cut = |(at, blocks): (u64, u32)| {
        let blocks = blocks.min(left);
        left -= blocks;
        (at, blocks)
    };
    ranges.into_iter().map(cut).collect()
}

fn blocks_of(bytes: &[u8], ranges: &[(u64, u32)]) -> Vec<u8> {
    let part = |r: &(u64, u32)| &bytes[r.0 as usize * 512..][..r.1 as usize * 512];
    ranges.iter().flat_map(part).copied().collect()
}

/// Tokens go from session to session and from reactor to reactor.
#[test]
fn a_write_by_token_moves_what_is_there() {
    seeds(16, |seed| {
        let (mut rig, mut clients) = scene(seed);
        let mut disks = [pattern(1), pattern(2)];
        for disk in 0..2 {
            write(&mut rig, &mut clients, disk, disk, &disks[disk].clone());
        }
        for _ in 0..4 {
            let [from, to, maker, user] = [2, 2, 3, 3].map(|n| rig.chance(n) as usize);
            let source = some_ranges(&rig);
            let rod = token(&mut rig, &mut clients, maker, from, &source);
            let bytes = blocks_of(&disks[from], &source);
            let offset = rig.chance(bytes.len() as u64 / 512 + 1);
            let left = (bytes.len() as u64 / 512 - offset) as u32;
            let target = cut(some_ranges(&rig), left);
            let shares =
                |a: &(u64, u32), b: &(u64, u32)| a.0 < b.0 + u64::from(b.1) && b.0 < a.0 + u64::from(a.1);
            // Over itself, what is read may have been written by the same command.
            if left == 0 || from == to && source.iter().any(|a| target.iter().any(|b| shares(a, b))) {
                continue;
            }
            let list = cdb::token_list(&rod, offset, 0, &target);
            let cdb = cdb::write_using_token(8, list.len() as u32);
            done(&mut rig, &mut clients, user, to, &cdb, &list);
            let mut moved = &bytes[offset as usize * 512..];
            for (at, blocks) in &target {
                let (part, rest) = moved.split_at(*blocks as usize * 512);
                disks[to][*at as usize * 512..][..part.len()].copy_from_slice(part);
                moved = rest;
            }
            let got = rig.below.disk_content(rig.disks[to]);
            let wrong = got.iter().zip(&disks[to]).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "{source:?} from block {offset} on to {target:?}");
        }
        rig.finish(&mut clients);
    });
}

/// Copies of one session and of several at a time, more than there are slots for.
#[test]
fn many_copies_share_few_slots() {
    seeds(8, |seed| {
        let (mut rig, mut clients) = scene(seed * 3);
        let source = pattern(3);
        write(&mut rig, &mut clients, 0, 0, &source);
        (0..3).for_each(|who| done(&mut rig, &mut clients, who, 1, &[0; 6], &[]));
        (0..3).for_each(|who| done(&mut rig, &mut clients, who, 0, &[0; 6], &[]));
        let begin = |rig: &mut Rig, clients: &mut [Client], n: u64| {
            let segment = CopySegment { from: (0, n * 170), to: (1, n * 170), blocks: 170 };
            let list = cdb::copy_list(n as u8, &NAMES, &[segment]);
            let who = n as usize % 3;
            (who, send(rig, clients, who, 0, &cdb::extended_copy(list.len() as u32), &list), n)
        };
        let mut waiting: Vec<u64> = (0..9).collect();
        while !waiting.is_empty() {
            let mut open: Vec<_> = waiting.drain(..).map(|n| begin(&mut rig, &mut clients, n)).collect();
            rig.until(&mut clients, WAIT, "all copies end", |_, clients| {
                for (who, client) in clients.iter_mut().enumerate() {
                    while let Some(event) = client.events.pop_front() {
                        let Event::Answer { itt, status, .. } = event else { continue };
                        let Some(at) = open.iter().position(|o| (o.0, o.1) == (who, itt)) else { continue };
                        let (.., n) = open.swap_remove(at);
                        match status {
                            status::GOOD => {}
                            // Its parameter list found no slot: it is to be sent again.
                            status::BUSY | status::TASK_SET_FULL => waiting.push(n),
                            other => panic!("status {other:#x}"),
                        }
                    }
                }
                open.is_empty()
            });
        }
        let copied = 9 * 170 * 512;
        assert!(rig.below.disk_content(rig.disks[1])[..copied] == source[..copied]);
        rig.finish(&mut clients);
    });
}

const COPIER: usize = 0;
const WRITER: usize = 1;
const OTHER: usize = 2;

/// Waits for the answer of a task management function.
fn managed(rig: &mut Rig, clients: &mut [Client], who: usize, itt: u32) {
    rig.until(clients, WAIT, "the function is answered", |_, clients| {
        let events = std::mem::take(&mut clients[who].events);
        events.iter().any(|e| matches!(e, Event::Managed { itt: tag, .. } if *tag == itt))
    });
}

/// Ends the copy one way or another; returns when that was answered.
fn end_copy(rig: &mut Rig, clients: &mut [Client], copy: u32, sent_to: usize, background: bool) {
    match rig.chance(if background { 5 } else { 6 }) {
        0 => {
            let itt = send(rig, clients, COPIER, sent_to, &cdb::abort_copy(5), &[]);
            // The copy may have ended before: then there is nothing to abort.
            let status = status_of(rig, clients, COPIER, itt);
            assert!(status == status::GOOD || status == status::CHECK_CONDITION);
        }
        n @ 1..3 => {
            let who = if n == 1 { OTHER } else { COPIER };
            let disk = rig.chance(2) as usize;
            let itt = clients[who].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(disk), u32::MAX);
            managed(rig, clients, who, itt);
        }
        3 => {
            let itt = clients[COPIER].manage(TmfFunction::ABORT_TASK_SET, lun(sent_to), u32::MAX);
            managed(rig, clients, COPIER, itt);
        }
        4 => {
            clients[COPIER].hang_up();
            clients[COPIER].login(rig.second, TARGET);
            rig.until(clients, WAIT, "the login is answered", |_, clients| clients[COPIER].is_full());
        }
        _ => {
            clients[COPIER].forget(copy);
            let itt = clients[COPIER].manage(TmfFunction::ABORT_TASK, lun(sent_to), copy);
            managed(rig, clients, COPIER, itt);
        }
    }
}

#[test]
fn a_copy_that_was_ended_writes_nothing_more() {
    seeds(40, |seed| {
        let (mut rig, mut clients) = scene(seed);
        write(&mut rig, &mut clients, COPIER, 0, &pattern(1));
        (0..3).for_each(|who| done(&mut rig, &mut clients, who, 1, &[0; 6], &[]));
        let background = rig.chance(2) == 0;
        let part = |n: u64| CopySegment { from: (0, n * 96), to: (1, n * 96), blocks: 96 };
        let segments: Vec<CopySegment> = (0..16).map(part).collect();
        let list = cdb::copy_list_lid4(5, background, &NAMES, &segments);
        let cdb = cdb::extended_copy_lid4(list.len() as u32);
        let copy = if seed.is_multiple_of(2) {
            send(&mut rig, &mut clients, COPIER, 0, &cdb, &list)
        } else {
            let all = [(0, BLOCKS as u32)];
            let rod = token(&mut rig, &mut clients, COPIER, 0, &all);
            let list = cdb::token_list(&rod, 0, u8::from(background), &all);
            send(&mut rig, &mut clients, COPIER, 1, &cdb::write_using_token(5, list.len() as u32), &list)
        };
        let sent_to = usize::from(!seed.is_multiple_of(2));
        if background {
            assert_eq!(status_of(&mut rig, &mut clients, COPIER, copy), status::GOOD);
        }
        let time = Duration::from_micros(rig.chance(400_000));
        rig.pass(&mut clients, time);
        end_copy(&mut rig, &mut clients, copy, sent_to, background);
        let news = pattern(0xff);
        write(&mut rig, &mut clients, WRITER, 1, &news);
        rig.pass(&mut clients, Duration::from_millis(300));
        let got = rig.below.disk_content(rig.disks[1]);
        let ghost = got.iter().zip(&news).position(|(a, b)| a != b);
        assert_eq!(ghost, None, "the copy wrote after its end was answered");
        rig.finish(&mut clients);
    });
}

/// What takes the copier the right to write to the first disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Preempt,
    PreemptAndAbort,
    Standby,
    Sanitize,
}

/// The token that stands for zeroes.
fn zeroes() -> Vec<u8> {
    let mut token = vec![0; 512];
    token[..4].copy_from_slice(&0xffff_0001_u32.to_be_bytes());
    token[6..8].copy_from_slice(&504_u16.to_be_bytes());
    token
}

/// Everybody has registered with the first disk, which the winner has reserved for those who have.
fn reserve(rig: &mut Rig, clients: &mut [Client]) {
    for who in 0..clients.len() {
        assert_eq!(run(rig, clients, who, |c| reserve_out(c, 0, 0, key(who))), status::GOOD);
    }
    assert_eq!(run(rig, clients, WRITER, |c| reserve_out(c, 1, key(WRITER), 0)), status::GOOD);
}

/// Begins a copy to the first disk that goes on in the background; it is sent to one or the other.
fn copy_in_background(rig: &mut Rig, clients: &mut [Client], kind: u64) {
    let (disk, cdb, list) = match kind {
        disk @ 0..2 => {
            let part = |n: u64| CopySegment { from: (1, n * 96), to: (0, n * 96), blocks: 96 };
            let list = cdb::copy_list_lid4(5, true, &NAMES, &(0..16).map(part).collect::<Vec<_>>());
            (disk as usize, cdb::extended_copy_lid4(list.len() as u32), list)
        }
        _ => {
            let ranges: Vec<(u64, u32)> = (0..16).map(|n| (n * 96, 96)).collect();
            let list = cdb::token_list(&zeroes(), 0, 1, &ranges);
            (0, cdb::write_using_token(5, list.len() as u32), list)
        }
    };
    done(rig, clients, COPIER, disk, &cdb, &list);
}

/// The winner takes the copier's right; returns when that was answered.
fn take(rig: &mut Rig, clients: &mut [Client], loss: Loss) {
    let send = |c: &mut Client| match loss {
        Loss::Preempt => reserve_out(c, 4, key(WRITER), key(COPIER)),
        Loss::PreemptAndAbort => reserve_out(c, 5, key(WRITER), key(COPIER)),
        Loss::Standby => set_group(c, AccessState::Standby),
        Loss::Sanitize => sanitize(c, false, 1),
    };
    rig.until(clients, WAIT, "the window opens", |_, clients| clients[WRITER].credit() > 0);
    let itt = send(&mut clients[WRITER]);
    assert_eq!(status_of(rig, clients, WRITER, itt), status::GOOD);
}

/// Whether the copy was still going on.
fn lose(seed: u64, loss: Loss) -> bool {
    let (mut rig, mut clients) = scene(seed);
    for disk in 0..2 {
        write(&mut rig, &mut clients, WRITER, disk, &pattern(1 + disk as u8));
        (0..3).for_each(|who| done(&mut rig, &mut clients, who, disk, &[0; 6], &[]));
    }
    if [Loss::Preempt, Loss::PreemptAndAbort].contains(&loss) {
        reserve(&mut rig, &mut clients);
    }
    copy_in_background(&mut rig, &mut clients, seed % 3);
    let time = Duration::from_micros(rig.chance(150_000));
    rig.pass(&mut clients, time);
    let before = rig.below.disk_content(rig.disks[0]);
    take(&mut rig, &mut clients, loss);
    // What was aborted may still be with the disk; but what is written from now on stands.
    if loss == Loss::PreemptAndAbort {
        write(&mut rig, &mut clients, WRITER, 0, &pattern(0xff));
    }
    let then = rig.below.disk_content(rig.disks[0]);
    if loss == Loss::Sanitize {
        assert!(then.iter().all(|byte| *byte == NEW), "when the command was answered");
    }
    rig.pass(&mut clients, Duration::from_millis(500));
    let now = rig.below.disk_content(rig.disks[0]);
    let late = now.iter().zip(&then).position(|(a, b)| a != b).map(|at| at / 512);
    assert_eq!(late, None, "block that the copy wrote after {loss:?} was answered");
    rig.finish(&mut clients);
    before[before.len() - 512..] == pattern(1)[before.len() - 512..]
}

fn who_loses_stops(loss: Loss) {
    let going_on = std::cell::Cell::new(0);
    seeds(36, |seed| going_on.set(going_on.get() + u64::from(lose(seed, loss))));
    let all = std::env::var_os("RINGTGT_SEED").is_some() || going_on.get() > 12;
    assert!(all, "only {} copies were still going on", going_on.get());
}

#[test]
fn after_preempt_no_copy_of_the_loser_writes() {
    who_loses_stops(Loss::Preempt);
}

#[test]
fn after_preempt_and_abort_no_copy_of_the_loser_writes() {
    who_loses_stops(Loss::PreemptAndAbort);
}

#[test]
fn no_copy_writes_through_a_port_in_standby() {
    who_loses_stops(Loss::Standby);
}

#[test]
fn no_copy_writes_to_a_medium_that_was_sanitized() {
    who_loses_stops(Loss::Sanitize);
}

#[test]
fn preempt_is_answered_although_a_copy_hangs_in_the_disk() {
    seeds(8, |seed| {
        let (mut rig, mut clients) = scene(seed);
        (0..2).for_each(|disk| {
            (0..3).for_each(|who| done(&mut rig, &mut clients, who, disk, &[0; 6], &[]));
        });
        reserve(&mut rig, &mut clients);
        rig.below.hang(rig.disks[0], true);
        copy_in_background(&mut rig, &mut clients, seed % 3);
        // It takes a while until the store has said that it cannot copy by itself.
        rig.pass(&mut clients, Duration::from_secs(10));
        take(&mut rig, &mut clients, Loss::Preempt);
        for reactor in rig.alive() {
            assert!(
                !reactor.world.units[0].fences.is_empty(),
                "what may still be written is fenced everywhere"
            );
        }
        rig.below.hang(rig.disks[0], false);
        rig.finish(&mut clients);
    });
}

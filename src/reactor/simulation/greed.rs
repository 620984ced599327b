//! Memory beside slots: some have more and more of it and give nothing back, and whoever is beside them goes on.

use std::time::Duration;

use super::client::{Client, Event, Manner};
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::mem::PoolConfig;
use crate::scsi::{LuState, ModePages, Settings, status};
use crate::target::TpgParams;
use crate::wire::codes::TmfFunction;

/// Blocks of a transfer of 256 KiB.
const LONG: u64 = 512;

/// So many mean no good; the one behind them is honest.
const GREEDY: usize = 6;

/// What all may use, bytes; less than the greedy ones want.
const MOST: usize = 512 << 10;

/// What one receive into staging is answered with, or a segment for a PDU size of 512 bytes in headers, bytes.
const STEP: usize = 32 << 10;

const SOON: Duration = Duration::from_secs(15);

fn scene(seed: u64) -> (Rig, Vec<Client>) {
    scene_with(seed, LuState::default(), &Manner::default())
}

fn scene_with(seed: u64, state: LuState, manner: &Manner) -> (Rig, Vec<Client>) {
    let params = TpgParams { command_window: 64, nop_interval: Duration::ZERO, ..TpgParams::default() };
    let pool = PoolConfig { data: [16, 16, 16, 16], reserve: [2; 4] };
    let plan = Plan { reactors: 1, pool, params, disks: vec![LONG * 2; 2], state, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    rig.alive().for_each(|r| r.world.beside.limit(MOST));
    let client = |n| {
        let manner = if n < GREEDY { manner.clone() } else { Manner::default() };
        rig.client("host", n as u8, manner)
    };
    let mut clients: Vec<Client> = (0..=GREEDY).map(client).collect();
    Load::new(1, LONG * 2).log_in(&mut rig, &mut clients);
    // The unit attention of a new session is the answer to its first command.
    for disk in 0..2 {
        clients.iter_mut().for_each(|c| _ = c.command(lun(disk), &[0; 6], Vec::new(), 0));
    }
    rig.until(&mut clients, SOON, "everybody has said hello", |_, clients| {
        clients.iter().all(|c| c.outstanding() == 0)
    });
    clients.iter_mut().for_each(|c| c.events.clear());
    (rig, clients)
}

/// So many writes of 4 KiB whose turn never comes.
fn write_behind_a_gap(client: &mut Client, count: usize) {
    client.leave_gap();
    for _ in 0..count {
        client.command(lun(0), &cdb10(0x2a, 0, 0, 8), vec![7; 8 * BLOCK], 0);
    }
}

/// What all connections really use, bytes; the books agree.
fn used(rig: &mut Rig) -> usize {
    let reactor = rig.alive().next().expect("one reactor");
    let ids = reactor.conns.ids();
    let each = |id| reactor.conns.get_mut(id).map_or((0, 0), |conn| (conn.memory(), conn.beside));
    let (used, charged): (Vec<usize>, Vec<usize>) = ids.into_iter().map(each).unzip();
    assert_eq!(charged.iter().sum::<usize>(), reactor.world.beside.used());
    used.iter().sum()
}

fn ended(rig: &mut Rig) -> u64 {
    rig.alive().map(|r| r.world.counters.greedy).sum()
}

/// The honest one writes, reads and manages tasks as if it were alone, and memory stays within its limit.
fn honest_one_finishes(rig: &mut Rig, clients: &mut [Client]) {
    honest_one_finishes_within(rig, clients, MOST, STEP);
}

fn honest_one_finishes_within(rig: &mut Rig, clients: &mut [Client], limit: usize, step: usize) {
    let (mut good, mut managed, mut most) = (0, 0, 0);
    rig.until(clients, SOON, "the honest one is done", |rig, clients| {
        most = most.max(used(rig));
        let honest = &mut clients[GREEDY];
        while let Some(event) = honest.events.pop_front() {
            match event {
                Event::Answer { status: status::GOOD, .. } => good += 1,
                Event::Managed { .. } => managed += 1,
                other => panic!("{other:?}"),
            }
        }
        if good + managed < 60 && honest.outstanding() == 0 && honest.credit() > 0 {
            match good % 3 {
                0 => honest.command(lun(0), &cdb10(0x2a, 0, 0, LONG), vec![7; LONG as usize * BLOCK], 0),
                1 => honest.command(lun(0), &cdb10(0x28, 0, 0, LONG), Vec::new(), LONG as u32 * BLOCK as u32),
                _ => honest.command(lun(0), &[0; 6], Vec::new(), 0),
            };
            honest.manage(TmfFunction::ABORT_TASK, lun(0), 0xdead);
        }
        // Whoever is greedy has had the time for it.
        good >= 30 && managed >= 30 && ended(rig) > 0
    });
    assert!(most > limit / 2 && most <= limit + step, "{most} bytes were used");
    assert!(clients[GREEDY].is_full());
}

#[test]
fn those_that_hold_requests_back_without_end_hurt_only_themselves() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed);
        clients[..GREEDY].iter_mut().for_each(|c| write_behind_a_gap(c, 50));
        honest_one_finishes(&mut rig, &mut clients);
        // Two of them fit.
        let left = clients[..GREEDY].iter().filter(|c| c.is_full()).count();
        assert!((1..GREEDY).contains(&left), "{left} are left");
        rig.finish(&mut clients);
        assert_eq!(used(&mut rig), 0);
    });
}

#[test]
fn those_that_ping_and_never_read_hurt_only_themselves() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed);
        for greedy in &mut clients[..GREEDY] {
            greedy.deaf = true;
            (0..20_000).for_each(|_| _ = greedy.ping());
        }
        honest_one_finishes(&mut rig, &mut clients);
        rig.finish(&mut clients);
        assert_eq!(used(&mut rig), 0);
    });
}

#[test]
fn nobody_ends_while_there_is_room() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = scene(seed);
        clients[..2].iter_mut().for_each(|c| write_behind_a_gap(c, 50));
        rig.pass(&mut clients, SOON);
        let held = used(&mut rig);
        assert!(held > 2 * 50 * 8 * BLOCK && held <= MOST, "{held} bytes");
        assert!(clients.iter().all(Client::is_full) && ended(&mut rig) == 0);
        // One goes by itself, and what it had is free.
        clients[0].hang_up();
        rig.until(&mut clients, SOON, "it is gone", |rig, _| used(rig) < held);
        assert!(used(&mut rig) > 50 * 8 * BLOCK, "the other one's is not");
        rig.finish(&mut clients);
    });
}

#[test]
fn when_memory_is_short_requests_are_left_unread_sooner() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = scene(seed);
        clients[..2].iter_mut().for_each(|c| write_behind_a_gap(c, 35));
        rig.until(&mut clients, SOON, "half is used", |rig, _| used(rig) > MOST / 2);
        clients[2].deaf = true;
        (0..20_000).for_each(|_| _ = clients[2].ping());
        rig.pass(&mut clients, Duration::from_millis(900));
        let backlog = rig.alive().flat_map(|r| {
            let ids = r.conns.ids();
            ids.into_iter().map(|id| r.conns.get_mut(id).unwrap().tx.memory()).collect::<Vec<_>>()
        });
        // A full queue of answers is on its way, another one may wait, and what one receive adds.
        let most = backlog.max().unwrap();
        assert!(most > 16 << 10 && most <= 48 << 10, "{most} bytes");
        assert!(clients.iter().all(Client::is_full) && ended(&mut rig) == 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn those_whose_commands_wait_for_others_hurt_only_themselves() {
    seeds(4, |seed| {
        let current = Settings { restricted_reordering: true, ..Settings::default() };
        let state = LuState { mode: ModePages { current, saved: current }, ..LuState::default() };
        let (mut rig, mut clients) = scene_with(seed, state, &Manner::default());
        // One command at a time, and the first one of each never ends.
        rig.below.hang(rig.disks[1], true);
        for greedy in &mut clients[..GREEDY] {
            for _ in 0..50 {
                greedy.command(lun(1), &cdb10(0x2a, 0, 0, 8), vec![7; 8 * BLOCK], 0);
            }
        }
        honest_one_finishes(&mut rig, &mut clients);
        let left = clients[..GREEDY].iter().filter(|c| c.is_full()).count();
        assert!((1..GREEDY).contains(&left), "{left} are left");
        // Those that are left go on, and their data is given back.
        rig.below.hang(rig.disks[1], false);
        rig.until(&mut clients, SOON, "their commands end", |_, c| c.iter().all(|c| c.outstanding() == 0));
        rig.pass(&mut clients, Duration::from_millis(10));
        let held = used(&mut rig);
        assert!(held < 8 * BLOCK, "{held} bytes");
        rig.finish(&mut clients);
        assert_eq!(used(&mut rig), 0);
    });
}

#[test]
fn those_that_have_long_answers_cut_small_and_never_read_hurt_only_themselves() {
    seeds(4, |seed| {
        let manner = Manner { segment: 512, ..Manner::default() };
        let (mut rig, mut clients) = scene_with(seed, LuState::default(), &manner);
        let limit = MOST / 2;
        rig.alive().for_each(|r| r.world.beside.limit(limit));
        for greedy in &mut clients[..GREEDY] {
            greedy.deaf = true;
            greedy.command(lun(0), &cdb10(0x28, 0, 0, LONG), Vec::new(), LONG as u32 * BLOCK as u32);
        }
        // A segment is as many parts as headers.
        honest_one_finishes_within(&mut rig, &mut clients, limit, 2 * STEP);
        rig.finish(&mut clients);
        assert_eq!(used(&mut rig), 0);
    });
}

//! Sends without copies: nobody touches what the network still reads, and all of it comes back, however a connection ends.
//!
//! The simulated driver holds the places of such a send until the peer has read its bytes or the connection is gone, and
//! notices when somebody changes them meanwhile.

use std::time::Duration;

use super::client::{Client, Event, Manner};
use super::fairness::{BAD, SOON, read_long, scene_with, some, victim_finishes};
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::reservations::{ready, run};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::mem::PoolConfig;
use crate::ring::sim::{Faults, Notices};
use crate::scsi::status;
use crate::target::TpgParams;
use crate::wire::codes::TmfFunction;

/// Blocks of a read of 64 KiB.
const LONG: u64 = 128;

fn plan(reactors: usize) -> Plan {
    let pool = PoolConfig { data: [16, 16, 24, 20], reserve: [2; 4] };
    let params = TpgParams { command_window: 16, nop_interval: Duration::ZERO, ..TpgParams::default() };
    Plan { reactors, pool, params, disks: vec![LONG * 4; 2], ..Plan::default() }
}

fn rig_with(seed: u64, plan: &Plan, copied: u16) -> Rig {
    let rig = Rig::new(seed, plan);
    rig.below.set_notices(Some(Notices { latency: 1..5_000_000, copied }));
    rig
}

fn uncopied(rig: &mut Rig) -> (u64, u64) {
    let counters = rig.alive().map(|r| (r.world.counters.uncopied, r.world.counters.copied_after_all));
    counters.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

/// Sends that were taken, and whose memory is still looked at.
fn lingering(rig: &mut Rig) -> usize {
    rig.alive().map(|r| r.conns.iter().map(|c| c.tx.lingering()).sum::<usize>()).sum()
}

#[test]
fn what_the_peer_has_not_yet_is_left_alone() {
    seeds(6, |seed| {
        let mut plan = plan(1 + seed as usize % 3);
        // While slots are short nothing is sent without copies.
        plan.params.command_window = 4;
        let mut rig = rig_with(seed, &plan, if seed % 2 == 0 { 0 } else { 100 });
        let mut load = Load::new(2, LONG * 4);
        load.longest = LONG * 2;
        let manner = |n| Manner { digests: n % 2 == 0, window: 8192_usize << (3 * n), ..Manner::default() };
        let mut clients: Vec<Client> = (0..4).map(|n| rig.client("host", n, manner(n))).collect();
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 150);
        load.settle(&mut rig, &mut clients);
        load.read_all(&mut rig, &mut clients);
        load.check();
        assert!(uncopied(&mut rig).0 > 3, "{:?}", uncopied(&mut rig));
        rig.finish(&mut clients);
    });
}

/// One client leaves long answers unread which were all taken by its socket; another is there beside it.
fn unread(seed: u64) -> (Rig, Vec<Client>) {
    let mut rig = rig_with(seed, &Plan { faults: Faults::none(), ..plan(1) }, 0);
    let manner = Manner { window: 1 << 20, ..Manner::default() };
    let mut clients: Vec<Client> = (0..2).map(|n| rig.client("host", n, manner.clone())).collect();
    Load::new(2, LONG * 4).log_in(&mut rig, &mut clients);
    for who in 0..2 {
        assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
    }
    clients[0].deaf = true;
    for n in 0..4 {
        let cdb = cdb10(0x28, 0, n * LONG % (3 * LONG), LONG);
        clients[0].command(lun(0), &cdb, Vec::new(), LONG as u32 * BLOCK as u32);
        rig.until(&mut clients, SOON, "an answer is taken", |rig, _| lingering(rig) > n as usize);
    }
    (rig, clients)
}

#[test]
fn nothing_leaks_however_a_connection_ends_before_its_peer_has_all() {
    seeds(24, |seed| {
        let (mut rig, mut clients) = unread(seed);
        match seed % 6 {
            0 => clients[0].reset(),
            1 => clients[0].hang_up(),
            // It stays open, and nobody ever reads.
            2 => {
                clients[0].leave();
            }
            // A new login takes its place, while the peer leaves the old connection alone.
            3 => {
                clients[0].leave();
                clients[0].deaf = false;
                clients[0].login(rig.address, TARGET);
            }
            4 => {
                clients[1].manage(TmfFunction::TARGET_COLD_RESET, 0, 0);
            }
            _ => {
                // All that was unread arrives after all, and then it logs out.
                clients[0].deaf = false;
                clients[0].log_out();
            }
        }
        if seed % 6 == 2 {
            // What is told of a reader of nothing is told at the end of the usual patience.
            rig.pass(&mut clients, Duration::from_secs(32));
        }
        rig.until(&mut clients, SOON, "all slots are free", |rig, _| {
            rig.alive().all(|r| r.world.pool.taken() == 0 && r.world.disks == 0)
        });
        assert_eq!(lingering(&mut rig), 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn an_aborted_task_leaves_what_is_on_its_way_alone() {
    seeds(8, |seed| {
        let (mut rig, mut clients) = unread(seed);
        let function =
            if seed % 2 == 0 { TmfFunction::ABORT_TASK_SET } else { TmfFunction::LOGICAL_UNIT_RESET };
        clients[0].manage(function, lun(0), 0);
        rig.pass(&mut clients, Duration::from_secs(1));
        assert_eq!(lingering(&mut rig), 4, "they were answered");
        // New data for the same slots, if they were free.
        for n in 0..6 {
            let cdb = cdb10(0x2a, 0, n % 3 * LONG, LONG);
            clients[1].command(lun(1), &cdb, vec![0xa5; LONG as usize * BLOCK], 0);
        }
        rig.until(&mut clients, SOON, "the other one's writes", |_, clients| clients[1].outstanding() == 0);
        clients[0].deaf = false;
        rig.until(&mut clients, SOON, "it has read all", |rig, _| lingering(rig) == 0);
        let whole = |e: &&Event| matches!(e, Event::Answer { status: 0, data, .. } if !data.is_empty());
        let read: Vec<&Event> = clients[0].events.iter().filter(whole).collect();
        let zeroes = |e: &&Event| matches!(e, Event::Answer { data, .. } if data.iter().all(|b| *b == 0));
        assert!(read.len() == 4 && read.iter().all(zeroes), "{} answers", read.len());
        rig.finish(&mut clients);
    });
}

#[test]
fn a_connection_whose_sends_are_copied_all_the_same_sends_plainly() {
    seeds(4, |seed| {
        let mut rig = rig_with(seed, &plan(1), 1000);
        let mut clients = vec![rig.client("host", 0, Manner { window: 1 << 20, ..Manner::default() })];
        Load::new(2, LONG * 4).log_in(&mut rig, &mut clients);
        assert_eq!(run(&mut rig, &mut clients, 0, ready), status::GOOD);
        for _ in 0..12 {
            clients[0].command(lun(0), &cdb10(0x28, 0, 0, LONG), Vec::new(), LONG as u32 * BLOCK as u32);
            rig.until(&mut clients, SOON, "a read", |rig, clients| {
                clients[0].outstanding() == 0 && lingering(rig) == 0
            });
        }
        assert_eq!(uncopied(&mut rig), (3, 3));
        rig.finish(&mut clients);
    });
}

#[test]
fn answers_that_nobody_reads_do_not_keep_slots_from_others() {
    seeds(4, |seed| {
        // Everything that is read fits into the windows: without copies it stays in the slots all the same.
        let notices = Notices { latency: 1..5_000_000, copied: 0 };
        let (mut rig, mut clients) = scene_with(seed, 4 << 20, Some(notices));
        for bad in &mut clients[..BAD] {
            bad.deaf = true;
            read_long(bad);
        }
        rig.pass(&mut clients, Duration::from_secs(1));
        assert!(lingering(&mut rig) > 4, "{}", lingering(&mut rig));
        clients[..BAD].iter_mut().for_each(|bad| some(bad, read_long));
        victim_finishes(&mut rig, &mut clients, 20, SOON, |_, _| ());
        rig.finish(&mut clients);
    });
}

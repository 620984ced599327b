//! A turn moves so much of long transfers and no more, however many have some at once; what is short goes in its turn.

use std::time::Duration;

use super::client::{Client, Manner};
use super::fairness::{read_long, write_long};
use super::history::BLOCK;
use super::load::{Load, lun};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::mem::PoolConfig;
use crate::ring::sim::Faults;
use crate::target::TpgParams;

/// Blocks of a transfer of 256 KiB, and how many of these each of those has at once who move a lot.
const LONG: u32 = 512;
const DEPTH: usize = 2;

const MANY: usize = 8;

/// Most of what a turn may move of both: a MiB of long ones and the piece that is begun in it, and what is short.
const MOST: usize = (1 << 20) + (256 << 10) + MANY * (160 << 10);

fn scene(seed: u64) -> (Rig, Vec<Client>) {
    // Those come at once whose disk ends at once.
    let faults = Faults { disk_latency: 10_000..10_001, socket_latency: 1_000..1_001, ..Faults::none() };
    let pool = PoolConfig { data: [16, 16, 16, 20], reserve: [2; 4] };
    let params = TpgParams { command_window: 32, ..TpgParams::default() };
    let disks = vec![u64::from(LONG) * 4];
    let mut rig = Rig::new(seed, &Plan { reactors: 1, faults, pool, params, disks, ..Plan::default() });
    let manner = Manner { initial_r2t: true, immediate: false, window: 8 << 20, ..Manner::default() };
    let manner = Manner { piece: LONG * BLOCK as u32, ..manner };
    let mut clients: Vec<Client> = (0..MANY).map(|n| rig.client("host", n as u8, manner.clone())).collect();
    Load::new(1, u64::from(LONG) * 4).log_in(&mut rig, &mut clients);
    // The unit attention of a new session is the answer to its first command.
    clients.iter_mut().for_each(|client| _ = client.command(lun(0), &[0; 6], Vec::new(), 0));
    everybody_is_answered(&mut rig, &mut clients);
    (rig, clients)
}

fn everybody_is_answered(rig: &mut Rig, clients: &mut [Client]) {
    rig.until(clients, Duration::from_secs(5), "all is answered", |_, clients| {
        clients.iter().all(|client| client.outstanding() == 0)
    });
    clients.iter_mut().for_each(|client| client.events.clear());
}

/// Bytes that the kernel has or may take: of sends, and of receives into slots.
fn under_way(rig: &mut Rig) -> usize {
    rig.alive().map(|reactor| reactor.world.driver.under_way()).sum()
}

/// Rounds until everybody is answered, in none of which more is begun than a turn may move.
fn each_turn_is_bounded(rig: &mut Rig, clients: &mut [Client]) {
    let (mut before, mut longest) = (under_way(rig), 0);
    rig.until(clients, Duration::from_secs(5), "all is answered", |rig, clients| {
        let now = under_way(rig);
        longest = longest.max(now.saturating_sub(before));
        before = now;
        clients.iter().all(|client| client.outstanding() == 0)
    });
    assert!(longest <= MOST, "{longest} bytes in a turn");
    assert!(longest >= 1 << 20, "{longest} bytes are no test of it");
}

/// All of them end in the turn that comes next.
fn long_reads_are_ready(rig: &mut Rig, clients: &mut [Client]) {
    rig.below.hang(rig.disks[0], true);
    for client in clients.iter_mut() {
        (0..DEPTH).for_each(|_| read_long(client));
    }
    rig.pass(clients, Duration::from_millis(20));
    rig.below.hang(rig.disks[0], false);
}

#[test]
fn many_long_reads_that_are_ready_at_once_are_sent_in_several_turns() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed);
        long_reads_are_ready(&mut rig, &mut clients);
        each_turn_is_bounded(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

#[test]
fn many_long_writes_are_received_in_several_turns() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed);
        for client in &mut clients {
            (0..DEPTH).for_each(|_| write_long(client));
        }
        each_turn_is_bounded(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_connection_that_ends_while_its_answers_wait_for_a_turn_leaves_nothing() {
    seeds(8, |seed| {
        let (mut rig, mut clients) = scene(seed);
        long_reads_are_ready(&mut rig, &mut clients);
        while rig.alive().all(|reactor| reactor.unsent.is_empty()) {
            rig.round(&mut clients);
        }
        clients.iter_mut().skip(seed as usize % 2).step_by(2).for_each(Client::hang_up);
        everybody_is_answered(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

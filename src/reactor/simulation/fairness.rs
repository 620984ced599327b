//! Whoever holds slots that others wait for must use them: silent writers and slow readers, many of them at once.

use std::time::Duration;

use super::client::{Client, Event, Manner};
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::mem::PoolConfig;
use crate::ring::sim::Notices;
use crate::scsi::status;
use crate::target::TpgParams;

/// Blocks of a transfer of 256 KiB.
const LONG: u32 = 512;

/// So many mean no good; the one behind them is the victim.
pub(super) const BAD: usize = 11;

/// In that time the victim's commands are done: two intervals of patience, and what they take.
pub(super) const SOON: Duration = Duration::from_secs(15);

/// ABORTED COMMAND, INITIATOR RESPONSE TIMEOUT (SPC-5).
const TIMEOUT: (u8, u8, u8) = (0x0b, 0x4b, 0x06);

/// Bad ones and a victim on one reactor. All data is asked for; eighteen long slots are there for it.
fn scene(seed: u64, window: usize) -> (Rig, Vec<Client>) {
    scene_with(seed, window, None)
}

pub(super) fn scene_with(seed: u64, window: usize, notices: Option<Notices>) -> (Rig, Vec<Client>) {
    let params =
        TpgParams { command_window: 32, nop_interval: Duration::from_secs(1), ..TpgParams::default() };
    let pool = PoolConfig { data: [16, 16, 16, 20], reserve: [2; 4] };
    let plan = Plan { reactors: 1, pool, params, disks: vec![u64::from(LONG) * 4], ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    rig.below.set_notices(notices);
    let manner = Manner { initial_r2t: true, immediate: false, window, ..Manner::default() };
    let mut clients: Vec<Client> = (0..=BAD).map(|n| rig.client("host", n as u8, manner.clone())).collect();
    Load::new(1, u64::from(LONG) * 4).log_in(&mut rig, &mut clients);
    // The unit attention of a new session is the answer to its first command.
    for client in &mut clients {
        client.command(lun(0), &[0; 6], Vec::new(), 0);
    }
    rig.until(&mut clients, SOON, "everybody has said hello", |_, clients| {
        clients.iter().all(|c| c.outstanding() == 0)
    });
    clients.iter_mut().for_each(|c| c.events.clear());
    (rig, clients)
}

pub(super) fn write_long(client: &mut Client) {
    client.command(lun(0), &cdb10(0x2a, 0, 0, LONG.into()), vec![7; LONG as usize * BLOCK], 0);
}

pub(super) fn read_long(client: &mut Client) {
    client.command(lun(0), &cdb10(0x28, 0, 0, LONG.into()), Vec::new(), LONG * BLOCK as u32);
}

/// Four commands, or as many as the window lets.
pub(super) fn some(client: &mut Client, command: fn(&mut Client)) {
    for _ in 0..4 {
        if client.credit() > 0 {
            command(client);
        }
    }
}

/// The victim does that many commands, one after the other, while `meanwhile` happens in every round.
pub(super) fn victim_finishes(
    rig: &mut Rig,
    clients: &mut [Client],
    commands: u32,
    within: Duration,
    mut meanwhile: impl FnMut(&mut Rig, &mut [Client]),
) {
    let mut left = commands;
    rig.until(clients, within, "the victim's commands are done", |rig, clients| {
        meanwhile(rig, &mut clients[..BAD]);
        let victim = &mut clients[BAD];
        while let Some(event) = victim.events.pop_front() {
            let Event::Answer { status, .. } = event else { continue };
            left -= u32::from(status == status::GOOD);
        }
        if left > 0 && victim.outstanding() == 0 && victim.credit() > 0 {
            if left.is_multiple_of(2) { write_long(victim) } else { read_long(victim) }
        }
        left == 0
    });
}

fn free_long(rig: &mut Rig) -> u32 {
    rig.alive().map(|r| r.world.pool.free_count(LONG * BLOCK as u32)).sum()
}

/// All bad ones have asked to write and send nothing; no long slot is left for anybody.
fn silence(seed: u64) -> (Rig, Vec<Client>) {
    let (mut rig, mut clients) = scene(seed, 64 << 10);
    for bad in &mut clients[..BAD] {
        bad.mute = true;
        some(bad, write_long);
        rig.round(std::slice::from_mut(bad));
    }
    rig.pass(&mut clients, Duration::from_secs(1));
    assert_eq!(free_long(&mut rig), 2, "only the reserve is left");
    (rig, clients)
}

/// The sense key and additional code of what was answered; none of it is anything else.
fn timeouts(client: &mut Client) -> usize {
    let mut count = 0;
    for event in client.events.drain(..) {
        let Event::Answer { status, sense, .. } = event else { continue };
        assert_eq!((status, (sense[2], sense[12], sense[13])), (status::CHECK_CONDITION, TIMEOUT));
        count += 1;
    }
    count
}

#[test]
fn silent_writers_cannot_keep_every_slot() {
    seeds(6, |seed| {
        let (mut rig, mut clients) = silence(seed);
        victim_finishes(&mut rig, &mut clients, 20, SOON, |_, _| ());
        let lapsed: usize = clients[..BAD].iter_mut().map(timeouts).sum();
        assert!(lapsed > 0, "nobody was told");
        assert!(clients[..BAD].iter().all(Client::is_full), "a silent writer keeps its session");
        rig.finish(&mut clients);
    });
}

#[test]
fn data_that_nobody_asked_for_is_no_progress() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = silence(seed);
        let babble = |_: &mut Rig, bad: &mut [Client]| {
            bad.iter_mut().filter(|c| c.is_full() && !c.is_sending()).for_each(Client::babble);
        };
        victim_finishes(&mut rig, &mut clients, 10, SOON, babble);
        rig.finish(&mut clients);
    });
}

#[test]
fn silent_writers_that_come_again_and_again_gain_nothing() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = silence(seed);
        let again = |_: &mut Rig, bad: &mut [Client]| {
            for client in bad {
                timeouts(client);
                if client.credit() > 0 && client.outstanding() < 4 {
                    write_long(client);
                }
            }
        };
        victim_finishes(&mut rig, &mut clients, 20, SOON * 4, again);
        rig.finish(&mut clients);
    });
}

#[test]
fn nothing_happens_to_silent_writers_while_nobody_waits() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = scene(seed, 64 << 10);
        for bad in &mut clients[..4] {
            bad.mute = true;
            write_long(bad);
        }
        rig.pass(&mut clients, Duration::from_secs(60));
        let answered = clients.iter().flat_map(|c| &c.events).any(|e| matches!(e, Event::Answer { .. }));
        assert!(!answered && clients.iter().all(Client::is_full));
        for bad in &mut clients[..4] {
            bad.mute = false;
        }
        rig.until(&mut clients, SOON, "the data comes after all", |_, clients| {
            clients.iter().all(|c| c.outstanding() == 0)
        });
        rig.finish(&mut clients);
    });
}

#[test]
fn a_payload_that_stops_in_the_middle_ends_its_connection_when_others_wait() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = silence(seed);
        // Everybody who may has sent a part of some payload when the lines break off.
        for bad in &mut clients[..BAD] {
            (bad.mute, bad.manner.piece) = (false, 256 << 10);
        }
        rig.round(&mut clients);
        clients[..BAD].iter_mut().for_each(|bad| bad.mute = true);
        let cut: Vec<usize> = (0..BAD).filter(|n| clients[*n].is_sending()).collect();
        cut.iter().for_each(|n| clients[*n].cut_off());
        victim_finishes(&mut rig, &mut clients, 20, SOON * 2, |_, _| ());
        assert!(cut.iter().any(|n| !clients[*n].is_full()), "{} lines were cut", cut.len());
        rig.finish(&mut clients);
    });
}

/// All bad ones have asked to read and leave the answers unread; no long slot is left for anybody.
fn deafness(seed: u64) -> (Rig, Vec<Client>) {
    let (mut rig, mut clients) = scene(seed, 64 << 10);
    for bad in &mut clients[..BAD] {
        bad.deaf = true;
        some(bad, read_long);
        rig.round(std::slice::from_mut(bad));
    }
    rig.pass(&mut clients, Duration::from_secs(1));
    assert_eq!(free_long(&mut rig), 2, "only the reserve is left");
    (rig, clients)
}

/// Reads that many bytes on every bad connection every so often.
fn sips(every: Duration, count: usize) -> impl FnMut(&mut Rig, &mut [Client]) {
    let mut next = 0;
    move |rig, bad| {
        if rig.below.now() >= next {
            next = rig.below.now() + every.as_nanos() as u64;
            bad.iter().for_each(|client| client.sip(count));
        }
    }
}

fn stalled(rig: &mut Rig) -> u64 {
    rig.alive().map(|r| r.world.counters.stalled).sum()
}

#[test]
fn readers_of_a_byte_now_and_then_cannot_keep_every_slot() {
    seeds(6, |seed| {
        let (mut rig, mut clients) = deafness(seed);
        victim_finishes(&mut rig, &mut clients, 20, SOON, sips(Duration::from_millis(900), 1));
        assert!(stalled(&mut rig) > 0, "nobody was given up");
        rig.finish(&mut clients);
    });
}

#[test]
fn nothing_happens_to_slow_readers_while_nobody_waits() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = scene(seed, 12 << 10);
        clients[0].deaf = true;
        (0..4).for_each(|_| read_long(&mut clients[0]));
        let mut sip = sips(Duration::from_secs(20), 1);
        let end = rig.below.now() + 100_000_000_000;
        while rig.below.now() < end {
            sip(&mut rig, &mut clients[..1]);
            rig.pass(&mut clients, Duration::from_secs(1));
        }
        assert_eq!(stalled(&mut rig), 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn readers_at_the_least_rate_keep_their_sessions() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = deafness(seed);
        // 128 KiB a second is slow, but more than the least that is asked for.
        let sip = sips(Duration::from_millis(250), 32 << 10);
        victim_finishes(&mut rig, &mut clients, 10, SOON * 4, sip);
        assert_eq!(stalled(&mut rig), 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_long_send_that_moves_is_not_given_up() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = scene(seed, 64 << 10);
        // The answers of fifteen long reads wait for the first, and leave together: at 128 KiB a second that takes as
        // long as a send may take that does not move at all.
        let reader = &mut clients[0];
        reader.deaf = true;
        (0..16).for_each(|_| read_long(reader));
        rig.pass(&mut clients, Duration::from_secs(1));
        let mut sip = sips(Duration::from_millis(250), 32 << 10);
        rig.until(&mut clients, Duration::from_secs(120), "all is read", |rig, clients| {
            sip(rig, &mut clients[..1]);
            stalled(rig) > 0 || rig.alive().all(|r| r.world.pool.taken() == 0)
        });
        assert_eq!(stalled(&mut rig), 0);
        rig.finish(&mut clients);
    });
}

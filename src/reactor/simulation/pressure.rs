//! Too few slots, and peers that do not play along: all others go on, and pings are answered in time.

use std::time::Duration;

use super::super::conn::Phase;
use super::client::{Client, Event, Manner};
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::reservations::{ready, run};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::mem::PoolConfig;
use crate::scsi::status;
use crate::target::TpgParams;

/// Blocks of a write of 256 KiB.
const LONG: u64 = 512;

/// How long a ping may take while slots are short, nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

fn tiny(reactors: usize) -> Plan {
    Plan {
        reactors,
        pool: PoolConfig { data: [4, 2, 2, 4], reserve: [1, 1, 1, 2] },
        disks: vec![LONG * 4],
        ..Plan::default()
    }
}

fn slow_manner() -> Manner {
    Manner { piece: 8 << 10, window: 12 << 10, ..Manner::default() }
}

/// A ping at a time, and how long it takes.
#[derive(Debug, Default)]
struct Pulse {
    sent: Option<u64>,
    slowest: u64,
    beats: u64,
}

impl Pulse {
    fn beat(&mut self, rig: &Rig, client: &mut Client) {
        if self.sent.is_none() && client.is_full() {
            client.ping();
            self.sent = Some(rig.below.now());
        }
    }

    fn hear(&mut self, rig: &Rig, event: &Event) {
        if matches!(event, Event::Pong(_))
            && let Some(sent) = self.sent.take()
        {
            self.slowest = self.slowest.max(rig.below.now() - sent);
            self.beats += 1;
        }
    }
}

#[test]
fn more_sessions_than_slots_all_finish_and_pings_are_answered() {
    seeds(6, |seed| {
        let mut rig = Rig::new(seed, &tiny(1));
        let mut load = Load::new(1, LONG * 4);
        let mut clients: Vec<Client> = (0..5).map(|n| rig.client("host", n, slow_manner())).collect();
        load.log_in(&mut rig, &mut clients);
        let mut pulses: Vec<Pulse> = clients.iter().map(|_| Pulse::default()).collect();
        let mut left = [2; 5];
        rig.until(&mut clients, Duration::from_secs(300), "all writes are done", |rig, clients| {
            for who in 0..clients.len() {
                let (answered, again) = (load.answered, load.full);
                for event in load.hear(who, &mut clients[who]) {
                    assert!(matches!(event, Event::Pong(_)), "{event:?}");
                    pulses[who].hear(rig, &event);
                }
                pulses[who].beat(rig, &mut clients[who]);
                left[who] -= load.answered - answered - (load.full - again);
                if left[who] > 0 && clients[who].outstanding() == 0 && clients[who].credit() > 0 {
                    load.send_write(&mut clients[who], who, 0, (rig.chance(LONG * 3), LONG), false);
                }
            }
            left.iter().all(|n| *n == 0)
        });
        let slowest = pulses.iter().map(|p| p.slowest).max().unwrap();
        assert!(pulses.iter().all(|p| p.beats > 0) && slowest < PATIENCE, "{slowest} ns");
        load.read_all_tolerant(&mut rig, &mut clients);
        load.check();
        rig.finish(&mut clients);
    });
}

/// Others do that many commands each within so long, whatever the first client is at.
fn others_go_on(rig: &mut Rig, clients: &mut [Client], commands: u64, within: Duration) {
    let mut left: Vec<u64> = clients.iter().map(|_| commands).collect();
    left[0] = 0;
    rig.until(clients, within, "the others go on", |_, clients| {
        for who in 1..clients.len() {
            while let Some(event) = clients[who].events.pop_front() {
                let Event::Answer { status, .. } = event else { continue };
                left[who] -= u64::from(status == status::GOOD);
            }
            if left[who] > 0 && clients[who].outstanding() == 0 && clients[who].credit() > 0 {
                let (c, turn) = (&mut clients[who], left[who]);
                match turn % 3 {
                    0 => c.command(lun(0), &cdb10(0x2a, 0, 0, 64), vec![1; 64 * BLOCK], 0),
                    1 => c.command(lun(0), &cdb10(0x28, 0, 0, LONG), Vec::new(), LONG as u32 * BLOCK as u32),
                    _ => c.command(lun(0), &cdb10(0x28, 0, 0, 8), Vec::new(), 8 * BLOCK as u32),
                };
            }
        }
        left.iter().all(|n| *n == 0)
    });
}

fn scene(seed: u64, window: u32) -> (Rig, Vec<Client>) {
    let params = TpgParams { command_window: window, nop_interval: Duration::ZERO, ..TpgParams::default() };
    let pool = PoolConfig { data: [16, 16, 16, 16], reserve: [2; 4] };
    let plan = Plan { reactors: 1, pool, params, disks: vec![LONG * 2], ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let load = Load::new(1, LONG * 2);
    let mut clients: Vec<Client> = (0..4).map(|n| rig.client("host", n, slow_manner())).collect();
    load.log_in(&mut rig, &mut clients);
    (rig, clients)
}

/// Bytes that the only connection of the rig has received and its session leaves unread.
fn left_unread(rig: &mut Rig) -> usize {
    let Some(reactor) = rig.alive().next() else { return 0 };
    let Some(&id) = reactor.conns.ids().first() else { return 0 };
    let conn = reactor.conns.get_mut(id).filter(|c| c.paused.is_some());
    conn.and_then(|c| c.recv.as_ref()).map_or(0, |recv| recv.staged().len())
}

#[test]
fn no_request_is_left_unread_for_longer_however_often_answers_leave() {
    seeds(2, |seed| {
        let pool = PoolConfig { data: [16, 16, 16, 16], reserve: [2; 4] };
        let params = TpgParams { command_window: 64, nop_interval: Duration::ZERO, ..TpgParams::default() };
        let plan = Plan { reactors: 1, pool, params, disks: vec![LONG * 2], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let load = Load::new(1, LONG * 2);
        let mut clients = vec![rig.client("host", 0, Manner { segment: 512, ..slow_manner() })];
        load.log_in(&mut rig, &mut clients);
        assert_eq!(run(&mut rig, &mut clients, 0, ready), status::GOOD);
        for _ in 0..30 {
            clients[0].command(lun(0), &cdb10(0x28, 0, 0, LONG), Vec::new(), LONG as u32 * BLOCK as u32);
        }
        // It reads 12 KiB every 5 ms, so that sends end several times a second.
        let (mut since, mut looks, mut before) = (rig.below.now(), 0, 0);
        while clients[0].outstanding() > 0 {
            clients[0].deaf = false;
            rig.round(&mut clients);
            clients[0].deaf = true;
            rig.pass(&mut clients, Duration::from_millis(5));
            let unread = left_unread(&mut rig);
            if unread == 0 || unread != before {
                since = rig.below.now();
            }
            (before, looks) = (unread, looks + u32::from(unread > 0));
            let waited = rig.below.now() - since;
            assert!(waited < PATIENCE + 300_000_000, "a request was left unread for {waited} ns");
            if unread == 0 && looks < 1_000 {
                clients[0].ping();
            }
        }
        assert!(looks > 10, "requests were left unread {looks} times");
        clients[0].deaf = false;
        rig.finish(&mut clients);
    });
}

#[test]
fn a_peer_that_never_reads_hurts_only_itself() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 64);
        clients[0].deaf = true;
        for _ in 0..60 {
            clients[0].command(lun(0), &cdb10(0x28, 0, 0, LONG), Vec::new(), LONG as u32 * BLOCK as u32);
        }
        rig.pass(&mut clients, Duration::from_secs(1));
        others_go_on(&mut rig, &mut clients, 30, Duration::from_secs(15));
        let stalled = |rig: &mut Rig| rig.alive().map(|r| r.world.counters.stalled).sum::<u64>();
        assert_eq!(stalled(&mut rig), 0, "the others had to wait for its end");
        rig.until(&mut clients, Duration::from_secs(40), "it is given up", |rig, _| stalled(rig) == 1);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_flood_of_pings_that_are_never_read_is_left_in_the_socket() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 64);
        clients[0].deaf = true;
        for _ in 0..20_000 {
            clients[0].ping();
        }
        rig.pass(&mut clients, Duration::from_secs(1));
        let backlog = rig.alive().flat_map(|r| {
            let ids = r.conns.ids();
            ids.into_iter().map(|id| r.conns.get_mut(id).unwrap().tx.backlog()).collect::<Vec<_>>()
        });
        // What may wait, and what was read all the same in that second.
        assert!(backlog.max().unwrap() < 128 << 10);
        others_go_on(&mut rig, &mut clients, 10, Duration::from_secs(5));
        rig.finish(&mut clients);
    });
}

#[test]
fn a_peer_that_never_sends_what_it_announced_hurts_only_itself() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 64);
        for _ in 0..60 {
            clients[0].command(lun(0), &cdb10(0x2a, 0, 0, LONG), vec![7; LONG as usize * BLOCK], 0);
            clients[0].stall();
        }
        rig.pass(&mut clients, Duration::from_secs(1));
        others_go_on(&mut rig, &mut clients, 30, Duration::from_secs(15));
        rig.finish(&mut clients);
    });
}

#[test]
fn a_window_never_stays_shut() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 4);
        for _ in 0..4 {
            clients[0].command(lun(0), &cdb10(0x2a, 0, 0, LONG), vec![7; LONG as usize * BLOCK], 0);
            clients[0].stall();
        }
        // Hold what is left but the reserve, so that the pool is low all the time.
        let mut held = Vec::new();
        for r in rig.alive() {
            while let Some(buf) = r.world.pool.alloc(4096) {
                held.push(buf);
            }
        }
        others_write_small(&mut rig, &mut clients);
        for r in rig.alive() {
            held.drain(..).for_each(|buf| r.world.pool.free(buf));
        }
        rig.finish(&mut clients);
    });
}

/// TEST UNIT READY needs no slot: its window is all that can stop it.
fn others_write_small(rig: &mut Rig, clients: &mut [Client]) {
    let mut left = 30;
    rig.until(clients, Duration::from_secs(3), "a window opens", |_, clients| {
        let c = &mut clients[1];
        while let Some(event) = c.events.pop_front() {
            left -= u64::from(matches!(event, Event::Answer { .. }));
        }
        while left > 0 && c.credit() > 0 && c.outstanding() < 4 {
            c.command(lun(0), &[0; 6], Vec::new(), 0);
        }
        left == 0
    });
}

/// A peer that reads nothing, with more answers waiting than requests are usually read for.
fn unheard(rig: &mut Rig, client: &mut Client) {
    client.deaf = true;
    (0..4000).for_each(|_| _ = client.ping());
    rig.pass(std::slice::from_mut(client), Duration::from_millis(200));
}

fn held_slots(rig: &mut Rig) -> u32 {
    rig.alive().map(|r| r.world.pool.taken()).sum()
}

#[test]
fn data_that_was_asked_for_is_read_whatever_waits_to_be_sent() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 64);
        // The unit attention of a new session.
        clients[0].command(lun(0), &[0; 6], Vec::new(), 0);
        clients[0].mute = true;
        clients[0].command(lun(0), &cdb10(0x2a, 0, 0, LONG), vec![7; LONG as usize * BLOCK], 0);
        rig.until(&mut clients, Duration::from_secs(5), "the command has its slot", |rig, clients| {
            held_slots(rig) > 0 && clients[0].outstanding() == 1
        });
        unheard(&mut rig, &mut clients[0]);
        clients[0].mute = false;
        rig.until(&mut clients, Duration::from_secs(3), "its data is written", |rig, _| held_slots(rig) == 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn no_request_is_left_unread_for_ever() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 64);
        clients[0].command(lun(0), &[0; 6], Vec::new(), 0);
        rig.pass(&mut clients, Duration::from_secs(1));
        unheard(&mut rig, &mut clients[0]);
        clients[0].log_out();
        // Its answer never leaves, but it has been heard: nothing more is read.
        let over = |rig: &mut Rig| {
            rig.alive().any(|r| {
                let ids = r.conns.ids();
                ids.into_iter().any(|id| match &r.conns.get_mut(id).unwrap().phase {
                    Phase::Full(session) => session.closing().is_some(),
                    _ => false,
                })
            })
        };
        // 4000 pings of 48 bytes: 64 KiB are read at once, and in each second what the window of 12 KiB holds.
        rig.until(&mut clients, Duration::from_secs(25), "the logout is read", |rig, _| over(rig));
        rig.finish(&mut clients);
    });
}

#[test]
fn verifying_waits_for_a_slot() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed, 64);
        clients[0].command(lun(0), &[0; 6], Vec::new(), 0);
        rig.pass(&mut clients, Duration::from_secs(1));
        clients[0].events.clear();
        let mut held = Vec::new();
        for r in rig.alive() {
            while let Some(buf) = r.world.pool.alloc(LONG as u32 * BLOCK as u32) {
                held.push(buf);
            }
        }
        clients[0].command(lun(0), &cdb10(0x2f, 0, 0, LONG * 2), Vec::new(), 0);
        rig.pass(&mut clients, Duration::from_secs(3));
        assert_eq!(clients[0].outstanding(), 1, "it was answered: {:?}", clients[0].events);
        for r in rig.alive() {
            held.drain(..).for_each(|buf| r.world.pool.free(buf));
        }
        rig.until(&mut clients, Duration::from_secs(3), "it has its slot", |_, c| c[0].outstanding() == 0);
        let good = |e: &Event| matches!(e, Event::Answer { status: status::GOOD, .. });
        assert!(clients[0].events.iter().any(good), "{:?}", clients[0].events);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_session_more_than_there_are_handles_for_is_refused() {
    let mut rig = Rig::new(1, &Plan::default());
    rig.alive().next().expect("a reactor").registry.crowd();
    let mut clients: Vec<Client> = (0..6).map(|n| rig.client("host", n, Manner::default())).collect();
    clients.iter_mut().for_each(|c| c.login(rig.address, TARGET));
    rig.until(&mut clients, Duration::from_secs(5), "all are refused", |_, clients| {
        clients.iter().all(|c| c.events.len() == 2)
    });
    for client in &clients {
        assert_eq!(client.events, [Event::Refused(3, 2), Event::Gone]);
    }
    rig.finish(&mut clients);
}

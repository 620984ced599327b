//! What meters count is what has happened: each command once, and all of its time.

use std::cell::Cell;
use std::time::Duration;

use super::super::meter::{Flow, Usage};
use super::client::{Client, Event, Manner};
use super::history::BLOCK;
use super::load::{Load, cdb10, lun};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::mem::PoolConfig;
use crate::scsi::status;
use crate::session::watch::PHASES;

/// Commands of each direction and client.
const COMMANDS: u64 = 12;

/// Blocks of a long write: more than one segment, which is asked for.
const LONG: u64 = 600;

/// What one logical unit has on all reactors, and what all sessions have.
fn totals(rig: &mut Rig) -> (Usage, Usage) {
    let (mut unit, mut sessions) = (Usage::default(), Usage::default());
    for reactor in rig.alive() {
        unit.add(&reactor.world.units[0].meter);
        reactor.conns.iter().filter_map(|c| c.meter.as_ref()).for_each(|meter| sessions.add(meter));
    }
    (unit, sessions)
}

fn phases_add_up(flow: &Flow) {
    let phases: u64 = flow.times[..PHASES].iter().map(|times| times.sum).sum();
    assert_eq!(phases, flow.times[PHASES].sum);
    assert_eq!(flow.times[PHASES].count(), flow.ops, "every answer has left");
}

#[test]
fn every_command_is_counted_once_with_all_of_its_time() {
    let have_waited = Cell::new(0);
    seeds(4, |seed| {
        // Few slots: some commands wait for them.
        let pool = PoolConfig { data: [2, 1, 1, 3], reserve: [1, 1, 1, 2] };
        let plan = Plan { reactors: 3, pool, disks: vec![LONG * 2], ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients: Vec<Client> = (0..6).map(|n| rig.client("host", n, Manner::default())).collect();
        Load::new(1, LONG * 2).log_in(&mut rig, &mut clients);
        let (before, of_sessions) = totals(&mut rig);
        assert_eq!((before.read.ops, before.write.ops, &before), (0, 0, &of_sessions));
        let mut left = vec![2 * COMMANDS; clients.len()];
        let (mut full, began) = (0, rig.below.now());
        rig.until(&mut clients, Duration::from_secs(300), "all is answered", |_, clients| {
            for (client, left) in clients.iter_mut().zip(&mut left) {
                while let Some(event) = client.events.pop_front() {
                    if let Event::Answer { status, .. } = event {
                        *left -= 1;
                        full += u64::from(status != status::GOOD);
                    }
                }
                // Two at a time.
                while *left > client.outstanding() as u64 && client.outstanding() < 2 && client.credit() > 0 {
                    match (*left - client.outstanding() as u64) % 2 {
                        0 => client.command(
                            lun(0),
                            &cdb10(0x2a, 0, 0, LONG),
                            vec![1; LONG as usize * BLOCK],
                            0,
                        ),
                        _ => client.command(lun(0), &cdb10(0x28, 0, 0, 8), Vec::new(), 8 * BLOCK as u32),
                    };
                }
            }
            left.iter().all(|n| *n == 0)
        });
        let all = clients.len() as u64 * COMMANDS;
        let lasted = rig.below.now() - began;
        rig.pass(&mut clients, Duration::from_secs(1));
        let (unit, sessions) = totals(&mut rig);
        assert_eq!(unit, sessions, "who has done it, and with what");
        // The first of each is told of a unit attention instead, and has never begun to move anything.
        assert_eq!((unit.others, unit.others_failed), (clients.len() as u64, clients.len() as u64));
        assert_eq!((unit.read.ops, unit.write.ops + unit.others), (all, all));
        assert_eq!(unit.read.failed + unit.write.failed + unit.others_failed, full);
        assert_eq!(unit.read.bytes, (unit.read.ops - unit.read.failed) * 8 * BLOCK as u64);
        assert_eq!(unit.write.bytes, (unit.write.ops - unit.write.failed) * LONG * BLOCK as u64);
        phases_add_up(&unit.read);
        phases_add_up(&unit.write);
        let [queued, data, disk, sending, total] = unit.write.times.each_ref().map(|times| times.sum);
        assert!(data > 0 && disk > 0 && sending > 0, "{data} {disk} {sending}");
        have_waited.set(have_waited.get() + queued + unit.read.times[0].sum);
        assert!(total <= lasted * 2 * clients.len() as u64, "never more than two at a time for each");
        rig.finish(&mut clients);
    });
    assert!(have_waited.get() > 0, "nobody had to wait for a slot");
}

//! A ring that is too small for all who come: as many get in as it can serve, and these lack nothing.

use std::time::Duration;

use super::client::{Client, Event, Manner};
use super::load::{cdb10, lun};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::mem::PoolConfig;
use crate::ring::sim::Faults;
use crate::scsi::status;
use crate::target::TpgParams;

/// Entries of the in-flight table. Twenty of them are for disks; of the others one is for the listener, and two are
/// for each connection and for one more that the listener lets in with the last: there is room for eight.
const OPERATIONS: usize = 40;
const ROOM: usize = 8;

const SOON: Duration = Duration::from_secs(20);

fn scene(seed: u64) -> (Rig, Vec<Client>) {
    let params = TpgParams {
        command_window: 32,
        nop_interval: Duration::from_secs(1),
        nop_timeout: Duration::from_secs(3),
        ..TpgParams::default()
    };
    let pool = PoolConfig { data: [128, 16, 16, 16], reserve: [2; 4] };
    let plan = Plan { reactors: 1, operations: OPERATIONS, pool, params, disks: vec![64], ..Plan::default() };
    let rig = Rig::new(seed, &Plan { faults: Faults::none(), ..plan });
    let mut clients: Vec<Client> =
        (0..OPERATIONS + 8).map(|n| rig.client("host", n as u8, Manner::default())).collect();
    clients.iter_mut().for_each(|client| client.login(rig.address, TARGET));
    (rig, clients)
}

fn inside(clients: &[Client]) -> usize {
    clients.iter().filter(|c| c.is_full()).count()
}

fn read(client: &mut Client) {
    client.command(lun(0), &cdb10(0x28, 0, 0, 1), Vec::new(), 512);
}

/// Every client inside reads that often, and has its answers soon.
fn all_are_served(rig: &mut Rig, clients: &mut [Client], times: usize) {
    let mut left: Vec<usize> = clients.iter().map(|c| if c.is_full() { times } else { 0 }).collect();
    rig.until(clients, SOON, "all are served", |_, clients| {
        for (client, left) in clients.iter_mut().zip(&mut left) {
            while let Some(event) = client.events.pop_front() {
                let Event::Answer { status, .. } = event else { continue };
                *left -= usize::from(status == status::GOOD);
            }
            if *left > 0 && client.outstanding() == 0 && client.credit() > 0 {
                read(client);
            }
        }
        left.iter().all(|left| *left == 0)
    });
}

#[test]
fn as_many_get_in_as_can_be_served() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed);
        rig.pass(&mut clients, Duration::from_secs(2));
        assert_eq!(inside(&clients), ROOM);
        all_are_served(&mut rig, &mut clients, 20);
        // Pings of both sides are answered, and nobody who is quiet is put out.
        for client in clients.iter_mut().filter(|c| c.is_full()) {
            client.ping();
        }
        rig.pass(&mut clients, Duration::from_secs(10));
        let pongs = clients.iter().flat_map(|c| &c.events).filter(|e| matches!(e, Event::Pong(_))).count();
        assert_eq!((inside(&clients), pongs), (ROOM, ROOM));
        assert!(rig.alive().all(|r| r.unarmed.is_empty() && r.unsent.is_empty()));
        // Who goes makes room for another.
        clients.iter_mut().filter(|c| c.is_full()).for_each(Client::log_out);
        rig.pass(&mut clients, Duration::from_secs(2));
        assert_eq!(inside(&clients), ROOM, "others have come");
        all_are_served(&mut rig, &mut clients, 5);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_disk_that_takes_all_its_room_leaves_the_rest_to_connections() {
    seeds(4, |seed| {
        let (mut rig, mut clients) = scene(seed);
        rig.pass(&mut clients, Duration::from_secs(2));
        all_are_served(&mut rig, &mut clients, 1);
        rig.below.hang(rig.disks[0], true);
        for client in clients.iter_mut().filter(|c| c.is_full()) {
            (0..8).for_each(|_| read(client));
        }
        rig.pass(&mut clients, Duration::from_secs(1));
        assert!(rig.alive().all(|r| !r.must_go_on()), "it turns for ever, though only the disk can go on");
        for client in clients.iter_mut().filter(|c| c.is_full()) {
            client.ping();
        }
        rig.pass(&mut clients, Duration::from_secs(8));
        let pongs = clients.iter().flat_map(|c| &c.events).filter(|e| matches!(e, Event::Pong(_))).count();
        assert_eq!((inside(&clients), pongs), (ROOM, ROOM));
        rig.below.hang(rig.disks[0], false);
        rig.until(&mut clients, SOON, "all is answered", |_, clients| {
            clients.iter().all(|c| c.outstanding() == 0)
        });
        rig.finish(&mut clients);
    });
}

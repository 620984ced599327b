//! Limits over several cores: together they let through what is allowed, wherever it is asked for; who waits is in
//! nobody's way, and goes when he is let.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::meter::Usage;
use super::client::{Client, Event, Manner};
use super::data::some_clients;
use super::history::BLOCK;
use super::lives::{is_done, switch};
use super::load::{Load, cdb10, lun};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::ids::LuId;
use crate::mem::PoolConfig;
use crate::ring::sim::Faults;
use crate::scsi::status;
use crate::session::watch::Phase;
use crate::target::{Acl, Catalog, Quota, Rate, TpgParams};
use crate::wire::codes::{TmfFunction, TmfResponse};

/// Blocks of a command.
const COUNT: u64 = 8;

/// Commands that an initiator has open at a time.
const DEPTH: usize = 16;

const BURST: Duration = Duration::from_millis(10);

fn both(commands: u64, bytes: u64) -> Quota {
    let rate = Rate { commands, bytes };
    Quota { read: rate, write: rate, burst: BURST }
}

/// Initiators on the reactors in turn, with nothing that a first command would be told.
fn scene(seed: u64, reactors: usize, names: &[&str]) -> (Plan, Rig, Vec<Client>) {
    scene_of(seed, names, Plan { reactors, ..Plan::default() })
}

fn scene_of(seed: u64, names: &[&str], plan: Plan) -> (Plan, Rig, Vec<Client>) {
    let params = TpgParams { command_window: 64, ..TpgParams::default() };
    let plan = Plan { faults: Faults::none(), params, ..plan };
    let mut rig = Rig::new(seed, &plan);
    let client = |(n, name): (usize, &&str)| rig.client(name, n as u8, Manner::default());
    let mut clients: Vec<Client> = names.iter().enumerate().map(client).collect();
    Load::new(1, 64).log_in(&mut rig, &mut clients);
    for client in &mut clients {
        for disk in 0..2 {
            client.command(lun(disk), &[0; 6], Vec::new(), 0);
        }
    }
    rig.until(&mut clients, Duration::from_secs(5), "everybody has said hello", |_, clients| {
        clients.iter().all(|c| c.outstanding() == 0)
    });
    clients.iter_mut().for_each(|c| c.events.clear());
    let alone = rig.alive().all(|r| r.conns.len() == clients.len() / plan.reactors);
    assert!(alone, "they are not on all reactors");
    (plan, rig, clients)
}

fn limited(rig: &Rig, plan: &Plan, quotas: &[(u32, Quota)]) -> Arc<Catalog> {
    let mut catalog = (*rig.shows(&[(0, 0), (1, 1)], true, plan)).clone();
    catalog.quotas = quotas.iter().map(|(lu, quota)| (LuId(*lu), *quota)).collect::<HashMap<_, _>>();
    Arc::new(catalog)
}

fn go_by(rig: &mut Rig, clients: &mut [Client], catalog: &Arc<Catalog>) {
    let done = switch(rig, catalog);
    rig.until(clients, Duration::from_secs(5), "it holds everywhere", |_, _| is_done(&done));
}

fn read(client: &mut Client, disk: usize) -> u32 {
    client.command(lun(disk), &cdb10(0x28, 0, 0, COUNT), Vec::new(), COUNT as u32 * BLOCK as u32)
}

fn write(client: &mut Client, disk: usize) -> u32 {
    client.command(lun(disk), &cdb10(0x2a, 0, 0, COUNT), vec![1; COUNT as usize * BLOCK], 0)
}

/// Good answers, and nothing else.
fn good(client: &mut Client) -> u64 {
    let is_good = |event| matches!(event, Event::Answer { status: status::GOOD, .. });
    client.events.drain(..).map(|event| assert!(is_good(event))).count() as u64
}

/// Those that are named have some commands open for so long; how many were answered of each.
fn busy(
    rig: &mut Rig,
    clients: &mut [Client],
    who: &[usize],
    time: Duration,
    command: fn(&mut Client, usize) -> u32,
) -> Vec<u64> {
    let mut done = vec![0; clients.len()];
    let end = rig.below.now() + time.as_nanos() as u64;
    rig.until(clients, time * 2, "the time has passed", |rig, clients| {
        for (client, done) in clients.iter_mut().zip(&mut done) {
            *done += good(client);
        }
        for who in who {
            while clients[*who].outstanding() < DEPTH && clients[*who].credit() > 0 {
                command(&mut clients[*who], 0);
            }
        }
        rig.below.now() >= end
    });
    done
}

/// Nothing is open any more.
fn rest(rig: &mut Rig, clients: &mut [Client]) {
    rig.until(clients, Duration::from_secs(60), "all is answered", |_, clients| {
        clients.iter_mut().all(|client| {
            good(client);
            client.outstanding() == 0
        })
    });
}

fn is_near(got: u64, wanted: u64) -> bool {
    got.abs_diff(wanted) <= wanted * 3 / 100
}

const SECONDS: u64 = 3;

const TIME: Duration = Duration::from_secs(SECONDS);

/// Of commands that nothing limits there are many.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn the_limit_holds_for_all_cores_together_wherever_the_load_is() {
    seeds(3, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "b"]);
        let rate = 300 + 200 * seed;
        let catalog = limited(&rig, &plan, &[(0, both(rate, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        for command in [read, write] {
            for who in [&[0, 1][..], &[0], &[1], &[0, 1]] {
                let done = busy(&mut rig, &mut clients, who, TIME, command);
                let sum = done.iter().sum();
                assert!(is_near(sum, rate * SECONDS), "{done:?} at {rate}, by {who:?}");
                if let [_, _] = who {
                    assert!(done.iter().all(|n| *n > sum * 2 / 5), "{done:?}: not the same for both");
                }
                rest(&mut rig, &mut clients);
            }
        }
        rig.finish(&mut clients);
    });
}

#[test]
fn bytes_are_limited_as_commands_are() {
    seeds(2, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "b"]);
        let catalog = limited(&rig, &plan, &[(0, both(0, 1 << 20))]);
        go_by(&mut rig, &mut clients, &catalog);
        let sum = busy(&mut rig, &mut clients, &[0, 1], TIME, read).iter().sum();
        assert!(is_near(sum, SECONDS * (1 << 20) / (COUNT * BLOCK as u64)), "{sum}");
        rest(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

#[test]
fn reads_wait_for_no_limit_of_writes_nor_one_disk_for_that_of_another() {
    seeds(2, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 1, &["a", "b"]);
        let free = busy(&mut rig, &mut clients, &[1], SHORT, read).iter().sum::<u64>();
        rest(&mut rig, &mut clients);
        let quota = Quota { write: Rate { commands: 5, bytes: 0 }, ..Quota::default() };
        let catalog = limited(&rig, &plan, &[(0, quota), (1, both(5, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        // Those of the same session, and those of another one.
        for who in [0, 1] {
            for n in 0..10 {
                write(&mut clients[0], n % 2);
                read(&mut clients[0], 1);
            }
            let others = DEPTH - if who == 0 { 8 } else { 0 };
            clients[0].events.clear();
            let mut done = 0;
            let end = rig.below.now() + SHORT.as_nanos() as u64;
            rig.until(&mut clients, TIME, "the time has passed", |rig, clients| {
                done += good(&mut clients[who]);
                while clients[who].outstanding() < others + 20 * (1 - who) && clients[who].credit() > 0 {
                    read(&mut clients[who], 0);
                }
                rig.below.now() >= end
            });
            assert!(done > free / 3, "{done} of {free}");
            rest(&mut rig, &mut clients);
        }
        rig.finish(&mut clients);
    });
}

#[test]
fn an_initiator_has_its_limit_over_all_of_its_sessions() {
    seeds(2, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "a", "b", "b"]);
        let mut target = (*limited(&rig, &plan, &[]).targets[0]).clone();
        let group = &mut target.tpgs[0];
        let acl = |name: &str, quota| Acl {
            initiator: format!("iqn.2026-01.org.example:{name}"),
            luns: group.luns.clone(),
            quota,
            ..Acl::default()
        };
        (group.acls, group.open) = (vec![acl("a", both(200, 0)), acl("b", both(3000, 0))], false);
        let catalog = Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() });
        go_by(&mut rig, &mut clients, &catalog);
        let done = busy(&mut rig, &mut clients, &[0, 1, 2, 3], TIME, read);
        assert!(is_near(done[0] + done[1], 200 * SECONDS), "{done:?}");
        assert!(is_near(done[2] + done[3], 3000 * SECONDS), "{done:?}");
        rest(&mut rig, &mut clients);
        assert!(rig.alive().all(|r| r.world.quotas.limited_initiators() > 0));
        let catalog = limited(&rig, &plan, &[]);
        go_by(&mut rig, &mut clients, &catalog);
        assert!(rig.alive().all(|r| r.world.quotas.limited_initiators() == 0));
        let done = busy(&mut rig, &mut clients, &[0, 1, 2, 3], SHORT, read);
        assert!(done.iter().all(|n| *n > 100), "{done:?}: nobody is limited");
        rest(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

/// Whoever is still there when its target goes is not given an account again.
#[test]
fn a_target_that_goes_takes_its_limits_along() {
    seeds(4, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "b"]);
        let admitted = rig.admits(&["iqn.2026-01.org.example:a", "iqn.2026-01.org.example:b"], &plan);
        let mut target = (*admitted.targets[0]).clone();
        target.tpgs[0].acls.iter_mut().for_each(|acl| acl.quota = both(200, 0));
        let catalog = Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() });
        go_by(&mut rig, &mut clients, &catalog);
        assert_eq!(rig.alive().map(|r| r.world.quotas.limited_initiators()).sum::<usize>(), 2);
        go_by(&mut rig, &mut clients, &Arc::default());
        assert!(rig.alive().all(|r| r.world.quotas.limited_initiators() == 0));
        rig.finish(&mut clients);
    });
}

#[test]
fn whoever_waits_is_aborted_and_holds_nothing() {
    seeds(4, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "b"]);
        let catalog = limited(&rig, &plan, &[(0, both(1, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        let client = &mut clients[0];
        // The first of each direction begins.
        let mut open: Vec<u32> = (0..4).flat_map(|_| [read(client, 0), write(client, 0)]).collect();
        rig.pass(&mut clients, Duration::from_millis(100));
        assert_eq!(good(&mut clients[0]), 2);
        open.drain(..2);
        let one = open.remove(rig.chance(6) as usize);
        let function = clients[0].manage(TmfFunction::ABORT_TASK, lun(0), one);
        rig.pass(&mut clients, Duration::from_millis(50));
        let complete = |itt| Event::Managed { itt, response: TmfResponse::COMPLETE };
        assert_eq!(clients[0].events.drain(..).collect::<Vec<_>>(), [complete(function)]);
        assert!(clients[0].forget(one));
        let function = match seed % 3 {
            0 => TmfFunction::LOGICAL_UNIT_RESET,
            1 => TmfFunction::ABORT_TASK_SET,
            _ => TmfFunction::TARGET_WARM_RESET,
        };
        let itt = clients[0].manage(function, lun(0), u32::MAX);
        rig.pass(&mut clients, Duration::from_millis(200));
        assert_eq!(clients[0].events.drain(..).collect::<Vec<_>>(), [complete(itt)], "{function:?}");
        assert!(open.iter().all(|itt| clients[0].forget(*itt)));
        assert!(rig.alive().all(|r| r.world.pool.taken() == 0), "slots");
        rig.finish(&mut clients);
    });
}

#[test]
fn reads_and_writes_without_unasked_data_wait_without_slots() {
    let (plan, mut rig, mut clients) = scene(1, 1, &["a"]);
    let catalog = limited(&rig, &plan, &[(0, both(1, 0))]);
    go_by(&mut rig, &mut clients, &catalog);
    for _ in 0..10 {
        read(&mut clients[0], 0);
    }
    rig.pass(&mut clients, Duration::from_millis(100));
    assert_eq!((good(&mut clients[0]), clients[0].outstanding()), (1, 9));
    assert!(rig.alive().all(|r| r.world.pool.taken() == 0));
    clients[0].log_out();
    rig.pass(&mut clients, Duration::from_millis(100));
    assert!(clients[0].events.contains(&Event::LoggedOut));
    rig.finish(&mut clients);
}

#[test]
fn another_limit_counts_at_once_for_those_who_wait() {
    seeds(4, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "b"]);
        let catalog = limited(&rig, &plan, &[(0, both(1, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        for client in &mut clients {
            for _ in 0..10 {
                read(client, 0);
                write(client, 0);
            }
        }
        rig.pass(&mut clients, Duration::from_millis(500));
        assert_eq!(clients.iter_mut().map(good).sum::<u64>(), 2, "one of each direction");
        let catalog = if seed % 2 == 0 {
            limited(&rig, &plan, &[])
        } else {
            limited(&rig, &plan, &[(0, both(100_000, 0))])
        };
        go_by(&mut rig, &mut clients, &catalog);
        rig.pass(&mut clients, Duration::from_millis(20));
        assert_eq!(clients.iter_mut().map(good).sum::<u64>(), 38, "all others");
        rig.finish(&mut clients);
    });
}

#[test]
fn limits_that_come_and_go_lose_nothing() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(2, 64);
        let mut clients = some_clients(&rig, 5);
        load.log_in(&mut rig, &mut clients);
        for round in 0..4 {
            let some = || Rate { commands: rig.chance(3) * 300, bytes: rig.chance(3) << 18 };
            let quota = || Quota { read: some(), write: some(), burst: BURST };
            let quotas = [(0, quota()), (1, quota())];
            let catalog = limited(&rig, &plan, &quotas[..round % 3]);
            let done = switch(&rig, &catalog);
            load.run(&mut rig, &mut clients, 60);
            assert!(is_done(&done), "round {round}: it still does not hold");
        }
        load.settle(&mut rig, &mut clients);
        load.read_all(&mut rig, &mut clients);
        load.check();
        assert_eq!(load.failed, 0, "{:?}", load.senses);
        rig.finish(&mut clients);
    });
}

#[test]
fn while_slots_are_short_those_who_wait_are_in_nobodys_way() {
    seeds(4, |seed| {
        let pool = PoolConfig { data: [12, 4, 2, 2], reserve: [2, 1, 1, 1] };
        let (plan, mut rig, mut clients) =
            scene_of(seed, &["a", "b"], Plan { reactors: 1, pool, ..Plan::default() });
        let catalog = limited(&rig, &plan, &[(0, both(10, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        // All of that data comes unasked.
        for _ in 0..40 {
            write(&mut clients[0], 0);
        }
        let (mut done, end) = (0, rig.below.now() + TIME.as_nanos() as u64 / 10);
        rig.until(&mut clients, TIME, "the time has passed", |rig, clients| {
            let other = &mut clients[1];
            done += good(other);
            while other.outstanding() < 4 && other.credit() > 0 {
                if rig.chance(2) == 0 {
                    read(other, 1)
                } else {
                    write(other, 1)
                };
            }
            rig.below.now() >= end
        });
        assert!(done > 1000, "{done}");
        let catalog = limited(&rig, &plan, &[]);
        go_by(&mut rig, &mut clients, &catalog);
        rig.until(&mut clients, TIME, "all is answered", |_, clients| {
            clients.iter().all(|c| c.outstanding() == 0)
        });
        let is_refused = |event: &Event| match event {
            Event::Answer { status, .. } => {
                assert!([status::GOOD, status::TASK_SET_FULL].contains(status), "{status}");
                *status != status::GOOD
            }
            other => panic!("{other:?}"),
        };
        let refused = clients[0].events.iter().filter(|event| is_refused(event)).count();
        assert_eq!(clients[0].events.len(), 40);
        assert!(refused < 40, "none of it was done");
        good(&mut clients[1]);
        rig.finish(&mut clients);
    });
}

/// Long work on a disk of 32 MiB that may do 4 MiB in a second.
fn slow_scene(seed: u64) -> (Rig, Vec<Client>) {
    let (plan, mut rig, mut clients) =
        scene_of(seed, &["a", "b"], Plan { reactors: 1, disks: vec![1 << 16, 64], ..Plan::default() });
    let catalog = limited(&rig, &plan, &[(0, both(0, 4 << 20))]);
    go_by(&mut rig, &mut clients, &catalog);
    (rig, clients)
}

/// Blocks of half of that disk.
const HALF: u64 = 1 << 15;

/// How long a client has to wait until nothing of it is open any more.
fn takes(rig: &mut Rig, clients: &mut [Client], who: usize) -> Duration {
    let began = rig.below.now();
    rig.until(clients, Duration::from_secs(60), "it is answered", |_, clients| {
        good(&mut clients[who]);
        clients[who].outstanding() == 0
    });
    Duration::from_nanos(rig.below.now() - began)
}

#[test]
fn long_work_is_paid_for_as_it_goes_on() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = slow_scene(seed);
        let begin = |client: &mut Client| client.command(lun(0), &cdb10(0x2f, 0, 0, HALF), Vec::new(), 0);
        begin(&mut clients[0]);
        assert!(is_near(takes(&mut rig, &mut clients, 0).as_millis() as u64, 4000), "a VERIFY by itself");
        // And while another one reads.
        begin(&mut clients[0]);
        let done = busy(&mut rig, &mut clients, &[1], TIME, read)[1];
        assert!(done > 150, "{done}: some of what there is for one that reads");
        assert!(clients[0].outstanding() == 1 && rig.alive().all(|r| r.world.pool.taken() < 20));
        rest(&mut rig, &mut clients);
        // What is aborted has not been paid for.
        let verify = begin(&mut clients[0]);
        rig.pass(&mut clients, Duration::from_millis(100));
        clients[0].manage(TmfFunction::ABORT_TASK, lun(0), verify);
        rig.pass(&mut clients, Duration::from_millis(100));
        assert!(clients[0].forget(verify));
        clients[0].events.clear();
        let done = busy(&mut rig, &mut clients, &[1], TIME, read)[1];
        assert!(is_near(done, 1024 * SECONDS), "{done}: all that there is");
        rest(&mut rig, &mut clients);
        rig.finish(&mut clients);
    });
}

#[test]
fn what_is_written_over_and_over_counts_and_what_is_zeroed_does_not() {
    seeds(2, |seed| {
        let (mut rig, mut clients) = slow_scene(seed);
        for (flags, byte, wanted) in [(0, 7, 4000), (8, 7, 4000), (8, 0, 0)] {
            clients[0].command(lun(0), &cdb10(0x41, flags, 0, HALF), vec![byte; BLOCK], 0);
            let took = takes(&mut rig, &mut clients, 0).as_millis() as u64;
            assert!(took.abs_diff(wanted) < 200, "{took} ms with {flags:#x} and {byte}");
        }
        rig.finish(&mut clients);
    });
}

#[test]
fn what_moves_nothing_costs_others_nothing() {
    let (mut rig, mut clients) = slow_scene(1);
    for opcode in [0x28, 0x2a] {
        clients[0].command(lun(0), &cdb10(opcode, 0, 0, 0xffff), Vec::new(), 0);
    }
    rig.pass(&mut clients, Duration::from_millis(10));
    read(&mut clients[1], 0);
    write(&mut clients[1], 0);
    let took = takes(&mut rig, &mut clients, 1);
    assert!(took < Duration::from_millis(50), "{took:?}");
    rest(&mut rig, &mut clients);
    rig.finish(&mut clients);
}

#[test]
fn a_write_that_waits_has_a_slot_for_what_came_unasked_and_no_more() {
    let pool = PoolConfig { data: [8, 8, 8, 16], reserve: [1; 4] };
    let (plan, mut rig, mut clients) =
        scene_of(1, &["a"], Plan { reactors: 1, pool, disks: vec![1 << 16; 2], ..Plan::default() });
    let catalog = limited(&rig, &plan, &[(0, both(1, 0))]);
    go_by(&mut rig, &mut clients, &catalog);
    let long = |client: &mut Client| client.command(lun(0), &cdb10(0x2a, 0, 0, 2048), vec![1; 1 << 20], 0);
    let sent: Vec<u32> = (0..4).map(|_| long(&mut clients[0])).collect();
    rig.pass(&mut clients, Duration::from_millis(500));
    assert_eq!((good(&mut clients[0]), clients[0].outstanding()), (1, sent.len() - 1));
    assert!(rig.alive().all(|r| r.world.pool.taken() == 3), "one for each that waits");
    rest(&mut rig, &mut clients);
    rig.finish(&mut clients);
}

/// Many that are limited, each with as much unasked data as it may have open, and one that is not.
#[test]
fn those_who_wait_keep_no_slots_that_others_need() {
    seeds(2, |seed| {
        const LONG: u64 = 128;
        let pool = PoolConfig { data: [16, 16, 24, 8], reserve: [2, 2, 4, 2] };
        let plan = Plan { reactors: 1, pool, disks: vec![1024; 2], ..Plan::default() };
        let (plan, mut rig, mut clients) = scene_of(seed, &["a", "b", "c", "d"], plan);
        let catalog = limited(&rig, &plan, &[(0, both(20, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        let long = |client: &mut Client, disk| {
            client.command(lun(disk), &cdb10(0x2a, 0, 0, LONG), vec![1; LONG as usize * BLOCK], 0)
        };
        let (mut done, mut slowest, mut sent, mut quiet) = ([0; 4], 0, 0, [0; 4]);
        let end = rig.below.now() + TIME.as_nanos() as u64 / 6;
        rig.until(&mut clients, TIME * 2, "the time has passed", |rig, clients| {
            let now = rig.below.now();
            for (who, client) in clients.iter_mut().enumerate() {
                for event in client.events.drain(..) {
                    let Event::Answer { status, .. } = event else { panic!("{event:?}") };
                    assert!([status::GOOD, status::TASK_SET_FULL].contains(&status), "{status}");
                    done[who] += u64::from(status == status::GOOD);
                    if status != status::GOOD {
                        quiet[who] = now + 100_000_000;
                    }
                    if who == 3 {
                        slowest = now.saturating_sub(sent).max(slowest);
                    }
                }
                let depth = if who == 3 { 1 } else { DEPTH };
                while now >= quiet[who] && client.outstanding() < depth && client.credit() > 0 {
                    if who == 3 {
                        sent = now;
                    }
                    long(client, usize::from(who == 3));
                }
            }
            now >= end
        });
        let [limited @ .., free] = done;
        assert!(free > 30 && slowest < 600_000_000, "{done:?}, {slowest} ns");
        let limited = limited.iter().sum::<u64>();
        assert!((5..=10 + 25).contains(&limited), "{done:?}");
        rig.until(&mut clients, TIME * 2, "all is answered", |_, clients| {
            clients.iter().all(|c| c.outstanding() == 0)
        });
        assert!(rig.alive().all(|r| r.world.pool.taken() == 0), "slots");
        rig.finish(&mut clients);
    });
}

#[test]
fn the_time_that_commands_wait_counts_as_such() {
    seeds(2, |seed| {
        let (plan, mut rig, mut clients) = scene(seed, 2, &["a", "b"]);
        let catalog = limited(&rig, &plan, &[(0, both(100, 0))]);
        go_by(&mut rig, &mut clients, &catalog);
        for command in [read, write] {
            busy(&mut rig, &mut clients, &[0, 1], TIME / 3, command);
            rest(&mut rig, &mut clients);
        }
        let mut usage = Usage::default();
        rig.alive().for_each(|r| usage.add(&r.world.units[0].meter));
        for flow in [&usage.read, &usage.write] {
            let spent = |phase: Phase| flow.times[phase as usize].sum;
            let worked = spent(Phase::Data) + spent(Phase::Disk) + spent(Phase::Sending);
            assert!(spent(Phase::Queued) > 20 * worked, "{} and {worked}", spent(Phase::Queued));
        }
        rig.finish(&mut clients);
    });
}

//! A disk that never finishes: task management, logins, changes and the stop of the daemon are answered within their
//! bounds all the same, and what the disk may still write stays fenced until it has.

use std::time::Duration;

use super::changes::{saved_without_cache, write_through};
use super::client::{Client, Event, Manner};
use super::load::{Load, cdb10, lun};
use super::reservations::{ready, release_6, reserve_6, reserve_for_good, reserve_out, run, status_of};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::mem::PoolConfig;
use crate::ring::sim::Faults;
use crate::scsi::status;
use crate::wire::codes::{TmfFunction, TmfResponse};

/// What initiators wait for a task management function or a login at least, by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some initiators on several cores, of which the first has sent writes to a disk that has begun to hang.
struct Scene {
    rig: Rig,
    clients: Vec<Client>,
    load: Load,
    /// The write.
    task: u32,
}

impl Scene {
    fn new(seed: u64) -> Self {
        Self::on(seed, Plan { reactors: 1 + seed as usize % 4, ..Plan::default() })
    }

    fn on(seed: u64, plan: Plan) -> Self {
        let plan = Plan { disks: vec![8, 8], faults: Faults::none(), ..plan };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(2, 8);
        let mut clients: Vec<Client> = (0..4).map(|n| rig.client("host", n, Manner::default())).collect();
        load.log_in(&mut rig, &mut clients);
        for who in 0..clients.len() {
            assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
        }
        rig.below.hang(rig.disks[0], true);
        let task = load.send_write(&mut clients[0], 0, 0, (0, 2), false);
        rig.pass(&mut clients, Duration::from_millis(20));
        Self { rig, clients, load, task }
    }

    /// A function of that client is answered in time.
    fn is_managed(&mut self, who: usize, function: TmfFunction, task: u32) {
        let itt = self.clients[who].manage(function, lun(0), task);
        self.is_answered(who, itt, &format!("{function:?}"));
    }

    fn is_answered(&mut self, who: usize, itt: u32, what: &str) {
        self.rig.until(&mut self.clients, PATIENCE, what, |_, clients| {
            let complete = Event::Managed { itt, response: TmfResponse::COMPLETE };
            clients[who].events.iter().any(|e| *e == complete)
        });
        self.clients[who].events.clear();
    }

    /// The write of the first client is aborted, or went with its session. Another writes the same block, and that
    /// waits for the disk; other blocks and another disk do not. The disk is well again: the newer write stands.
    fn stays_fenced(mut self) {
        let ghost = self.load.lose_one(0, self.task);
        self.clients[0].forget(self.task);
        self.load.bury(ghost.into_iter().collect());
        self.clients.iter_mut().for_each(|c| c.events.clear());
        assert_eq!(run(&mut self.rig, &mut self.clients, 1, ready), status::GOOD);
        let newer = self.load.send_write(&mut self.clients[1], 1, 0, (1, 1), false);
        self.load.send_read(&mut self.clients[2], 2, 1, (0, 8));
        self.rig.pass(&mut self.clients, Duration::from_secs(2));
        assert!(self.clients[1].events.is_empty(), "it waits for the ghost");
        assert!(matches!(self.clients[2].events.front(), Some(Event::Answer { status: 0 | 2, .. })));
        let fenced: usize = self.rig.alive().map(|r| r.world.units[0].fences.len()).sum();
        let reactors = self.rig.alive().count();
        assert!(fenced >= reactors, "fenced on every reactor");
        self.rig.below.hang(self.rig.disks[0], false);
        let (load, rig) = (&mut self.load, &mut self.rig);
        rig.until(&mut self.clients, PATIENCE, "the newer write", |_, clients| {
            (0..clients.len()).for_each(|who| drop(load.hear(who, &mut clients[who])));
            !load.open.contains_key(&(1, newer))
        });
        self.load.settle(&mut self.rig, &mut self.clients);
        self.load.read_all(&mut self.rig, &mut self.clients);
        self.load.check();
        self.rig.finish(&mut self.clients);
    }
}

/// An initiator reads from a disk that hangs, gives up, and tries again. Each time the disk keeps the slots.
#[test]
fn others_have_slots_although_a_disk_hangs() {
    seeds(8, |seed| {
        let pool = PoolConfig { data: [16; 4], reserve: [2; 4] };
        let plan = Plan { reactors: 1, pool, disks: vec![64; 2], faults: Faults::none(), ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients: Vec<Client> = (0..3).map(|n| rig.client("host", n, Manner::default())).collect();
        Load::new(2, 64).log_in(&mut rig, &mut clients);
        let read = |c: &mut Client, disk| c.command(lun(disk), &cdb10(0x28, 0, 0, 8), Vec::new(), 8 * 512);
        for who in 0..3 {
            run(&mut rig, &mut clients, who, ready);
            run(&mut rig, &mut clients, who, |c| read(c, 1));
        }
        rig.below.hang(rig.disks[0], true);
        let mut busy = 0;
        for _ in 0..6 {
            // Not one alone: what one has is bounded by its share.
            for who in 0..2 {
                let most = clients[who].credit().min(6);
                let tags: Vec<u32> = (0..most).map(|_| read(&mut clients[who], 0)).collect();
                rig.pass(&mut clients, Duration::from_millis(20));
                let abort = clients[who].manage(TmfFunction::ABORT_TASK_SET, lun(0), u32::MAX);
                let done = Event::Managed { itt: abort, response: TmfResponse::COMPLETE };
                rig.until(&mut clients, PATIENCE, "the abort", |_, clients| {
                    clients[who].events.contains(&done)
                });
                tags.iter().for_each(|tag| _ = clients[who].forget(*tag));
                let is_busy = |e: &Event| matches!(e, Event::Answer { status: status::BUSY, .. });
                busy += clients[who].events.drain(..).filter(is_busy).count();
            }
            assert_eq!(run(&mut rig, &mut clients, 2, |c| read(c, 1)), status::GOOD, "another disk");
        }
        assert!(busy > 0, "the disk that hangs gets no more slots");
        rig.below.hang(rig.disks[0], false);
        rig.pass(&mut clients, Duration::from_secs(1));
        assert_eq!(run(&mut rig, &mut clients, 0, |c| read(c, 0)), status::GOOD, "it is well again");
        rig.finish(&mut clients);
    });
}

/// Does so many commands on the second disk, one after the other, none of which is refused or waits for long.
fn works_on_another_disk(rig: &mut Rig, clients: &mut [Client], load: &mut Load, who: usize, commands: u64) {
    for n in 0..commands {
        let (at, refused) = ((n * 7 % 48, 16), (load.full, load.failed));
        let itt = match n % 2 {
            0 => load.send_write(&mut clients[who], who, 1, at, false),
            _ => load.send_read(&mut clients[who], who, 1, at),
        };
        rig.until(clients, Duration::from_secs(1), "a command for another disk", |_, clients| {
            load.hear(who, &mut clients[who]);
            !load.open.contains_key(&(who, itt))
        });
        assert_eq!((load.full, load.failed), refused, "client {who}, command {n}");
    }
}

/// More is asked of a disk that hangs, by more initiators, than there are slots, and they wait for it.
#[test]
fn those_who_fill_the_slots_for_a_disk_that_hangs_hurt_only_themselves() {
    seeds(12, |seed| {
        let pool = PoolConfig { data: [16; 4], reserve: [2; 4] };
        let reactors = 1 + seed as usize % 3;
        let plan = Plan { reactors, pool, disks: vec![64; 2], faults: Faults::none(), ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(2, 64);
        let mut clients: Vec<Client> = (0..6).map(|n| rig.client("host", n, Manner::default())).collect();
        load.log_in(&mut rig, &mut clients);
        for who in 0..clients.len() {
            run(&mut rig, &mut clients, who, ready);
            run(&mut rig, &mut clients, who, |c| c.command(lun(1), &[0; 6], Vec::new(), 0));
        }
        rig.below.hang(rig.disks[0], true);
        for who in 0..4 {
            for n in 0..u64::from(clients[who].credit()) {
                let at = (n * 5 % 48, 16);
                match n % 2 {
                    0 => load.send_write(&mut clients[who], who, 0, at, false),
                    _ => load.send_read(&mut clients[who], who, 0, at),
                };
            }
        }
        rig.pass(&mut clients, Duration::from_millis(100));
        let starved: u64 = rig.alive().map(|r| r.world.counters.starved).sum();
        assert!(starved > 0, "they want more slots than there are");
        for who in [4, 5, 4, 5] {
            works_on_another_disk(&mut rig, &mut clients, &mut load, who, 20);
        }
        for who in 0..2 {
            let itt = clients[who].manage(TmfFunction::ABORT_TASK_SET, lun(0), u32::MAX);
            let done = Event::Managed { itt, response: TmfResponse::COMPLETE };
            rig.until(&mut clients, PATIENCE, "the abort", |_, clients| {
                load.hear(who, &mut clients[who]).contains(&done)
            });
            let tags: Vec<u32> = load.open.keys().filter(|(c, _)| *c == who).map(|(_, itt)| *itt).collect();
            tags.into_iter().for_each(|tag| _ = clients[who].forget(tag));
            let ghosts = load.lose(who);
            load.bury(ghosts);
        }
        for who in [4, 5] {
            works_on_another_disk(&mut rig, &mut clients, &mut load, who, 20);
        }
        let waiting = load.open.len();
        assert!(waiting > 0, "the others wait all the while");
        rig.below.hang(rig.disks[0], false);
        rig.until(&mut clients, PATIENCE, "all that waited is answered", |_, clients| {
            (0..clients.len()).for_each(|who| drop(load.hear(who, &mut clients[who])));
            load.open.is_empty()
        });
        assert_eq!(load.failed, 0);
        load.read_all_tolerant(&mut rig, &mut clients);
        load.check();
        rig.finish(&mut clients);
    });
}

#[test]
fn an_abort_is_answered_although_the_disk_hangs() {
    seeds(8, |seed| {
        for function in [
            TmfFunction::ABORT_TASK,
            TmfFunction::ABORT_TASK_SET,
            TmfFunction::CLEAR_TASK_SET,
            TmfFunction::I_T_NEXUS_RESET,
        ] {
            let mut scene = Scene::new(seed);
            let task = if function == TmfFunction::ABORT_TASK { scene.task } else { u32::MAX };
            scene.is_managed(0, function, task);
            scene.stays_fenced();
        }
    });
}

#[test]
fn a_reset_is_answered_although_the_disk_hangs() {
    seeds(8, |seed| {
        for function in [TmfFunction::LOGICAL_UNIT_RESET, TmfFunction::TARGET_WARM_RESET] {
            let mut scene = Scene::new(seed);
            scene.is_managed(3, function, u32::MAX);
            scene.stays_fenced();
        }
    });
}

#[test]
fn a_reset_that_takes_the_write_cache_away_is_answered_although_the_disk_hangs() {
    seeds(8, |seed| {
        let state = saved_without_cache();
        let mut scene = Scene::on(seed, Plan { reactors: 1 + seed as usize % 4, state, ..Plan::default() });
        scene.is_managed(3, TmfFunction::LOGICAL_UNIT_RESET, u32::MAX);
        scene.stays_fenced();
    });
}

#[test]
fn a_login_takes_the_place_of_a_session_whose_disk_hangs() {
    seeds(8, |seed| {
        let mut scene = Scene::new(seed);
        // What it holds by RESERVE goes with it, which is a change, behind another that waits for the disk.
        let reserve = reserve_6(&mut scene.clients[0]);
        assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 0, reserve), status::GOOD);
        write_through(&mut scene.clients[0]);
        scene.rig.pass(&mut scene.clients, Duration::from_millis(50));
        let old = scene.clients[0].leave();
        scene.clients[0].login(scene.rig.address, TARGET);
        scene.rig.until(&mut scene.clients, PATIENCE, "the login", |_, c| c[0].is_full());
        assert_eq!(run(&mut scene.rig, &mut scene.clients, 1, ready), status::GOOD, "nothing is reserved");
        old.into_iter().for_each(|fd| scene.rig.below.close(fd).expect("it was open"));
        scene.stays_fenced();
    });
}

#[test]
fn a_nexus_reset_ends_what_was_reserved_although_the_disk_hangs() {
    seeds(8, |seed| {
        let mut scene = Scene::new(seed);
        let reserve = reserve_6(&mut scene.clients[0]);
        assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 0, reserve), status::GOOD);
        let change = write_through(&mut scene.clients[0]);
        scene.rig.pass(&mut scene.clients, Duration::from_millis(50));
        scene.is_managed(0, TmfFunction::I_T_NEXUS_RESET, u32::MAX);
        scene.clients[0].forget(change);
        // It was answered when nothing of it was left: whoever is quick must not meet the reservation any more.
        assert_eq!(run(&mut scene.rig, &mut scene.clients, 1, ready), status::GOOD, "nothing is reserved");
        scene.stays_fenced();
    });
}

/// Changes that wait for a disk that hangs, and then their tasks are aborted: in what way.
fn changes_are_let_go(seed: u64, function: TmfFunction) {
    let mut scene = Scene::new(seed);
    let tags: Vec<u32> = (1..4).map(|who| write_through(&mut scene.clients[who])).collect();
    scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
    assert!(scene.clients[1].events.is_empty(), "it waits for the flush");
    if function == TmfFunction::ABORT_TASK {
        for who in 1..4 {
            scene.is_managed(who, function, tags[who - 1]);
        }
        scene.is_managed(0, function, scene.task);
    } else {
        scene.is_managed(0, function, u32::MAX);
    }
    for who in 1..4 {
        scene.clients[who].forget(tags[who - 1]);
    }
    // Those of others are answered TASK ABORTED.
    scene.clients.iter_mut().for_each(|c| c.events.clear());
    scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
    scene.stays_fenced();
}

#[test]
fn changes_that_wait_for_a_hanging_disk_can_be_aborted_and_reset() {
    seeds(8, |seed| changes_are_let_go(seed, TmfFunction::ABORT_TASK));
    seeds(8, |seed| changes_are_let_go(seed, TmfFunction::LOGICAL_UNIT_RESET));
}

/// Of two that have registered the first, which has a write under way, holds the reservation.
fn reserve_for_two(scene: &mut Scene) {
    // Registered with the disk at hand, which is no medium access.
    for who in 0..2 {
        let key = who as u64 + 1;
        let itt = reserve_out(&mut scene.clients[who], 0, 0, key);
        assert_eq!(status_of(&mut scene.rig, &mut scene.clients, who, itt), status::GOOD);
    }
    let hold = reserve_out(&mut scene.clients[0], 1, 1, 0);
    assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 0, hold), status::GOOD);
}

/// The winner reads what the loser may still write when it has been written.
fn the_winner_waits_for_the_loser(mut scene: Scene) {
    let fenced: usize = scene.rig.alive().map(|r| r.world.units[0].fences.len()).sum();
    assert_eq!(fenced, scene.rig.alive().count(), "what the loser may still write is fenced everywhere");
    scene.load.send_read(&mut scene.clients[1], 1, 0, (0, 2));
    scene.rig.pass(&mut scene.clients, Duration::from_secs(1));
    assert!(scene.clients[1].events.is_empty());
    scene.rig.below.hang(scene.rig.disks[0], false);
    scene.load.settle(&mut scene.rig, &mut scene.clients);
    scene.load.check();
    scene.rig.finish(&mut scene.clients);
}

#[test]
fn preempt_is_answered_although_the_losers_disk_hangs() {
    seeds(8, |seed| {
        let mut scene = Scene::new(seed);
        reserve_for_two(&mut scene);
        let preempt = reserve_out(&mut scene.clients[1], 4, 2, 1);
        assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 1, preempt), status::GOOD);
        the_winner_waits_for_the_loser(scene);
    });
}

#[test]
fn a_preempt_that_is_aborted_holds_on_all_cores_before_the_abort_is_answered() {
    seeds(40, |seed| {
        let plan = Plan { reactors: 3 + seed as usize % 2, mail: 0..20_000_000, ..Plan::default() };
        let mut scene = Scene::on(seed, plan);
        reserve_for_two(&mut scene);
        let preempt = reserve_out(&mut scene.clients[1], 4, 2, 1);
        scene.rig.pass(&mut scene.clients, Duration::from_millis(1 + seed));
        let begin = scene.rig.below.now();
        scene.is_managed(1, TmfFunction::ABORT_TASK, preempt);
        scene.clients[1].forget(preempt);
        assert!(scene.rig.below.now() - begin < 1_000_000_000, "it has not waited for the disk");
        let registered = scene.rig.alive().map(|r| r.world.units[0].lu.state.reservations.registrants.len());
        let registered: Vec<usize> = registered.collect();
        // Either it never happened, or no core takes the loser's writes any more.
        assert!(registered.iter().all(|n| *n == registered[0]), "{registered:?}");
        if registered[0] == 1 {
            the_winner_waits_for_the_loser(scene);
        }
    });
}

#[test]
fn a_reset_hurries_a_preempt_that_waits_for_a_hanging_disk() {
    seeds(8, |seed| {
        let mut scene = Scene::new(seed);
        reserve_for_two(&mut scene);
        reserve_out(&mut scene.clients[1], 4, 2, 1);
        scene.rig.pass(&mut scene.clients, Duration::from_millis(20));
        let begin = scene.rig.below.now();
        scene.is_managed(3, TmfFunction::LOGICAL_UNIT_RESET, u32::MAX);
        assert!(scene.rig.below.now() - begin < 1_000_000_000, "it has not waited for the disk");
        scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
        scene.stays_fenced();
    });
}

/// A registration that waits for a state directory that hangs.
fn registering(seed: u64) -> (Scene, u32) {
    let mut scene = Scene::new(seed);
    scene.rig.below.hang(scene.rig.disks[0], false);
    scene.load.settle(&mut scene.rig, &mut scene.clients);
    let reserve = reserve_6(&mut scene.clients[2]);
    assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 2, reserve), status::GOOD);
    let release = release_6(&mut scene.clients[2]);
    assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 2, release), status::GOOD);
    scene.rig.saving_hangs = true;
    let itt = reserve_for_good(&mut scene.clients[0], 0, 0, 7);
    scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
    assert!(scene.clients[0].events.is_empty(), "it waits to be saved");
    (scene, itt)
}

/// The state directory is well again: what it has is what holds, and that is so many registrations.
fn is_saved_as_it_holds(mut scene: Scene, registrations: usize) {
    scene.clients.iter_mut().for_each(|c| c.events.clear());
    scene.rig.saving_hangs = false;
    scene.rig.until(&mut scene.clients, 6 * PATIENCE, "all is saved", |rig, _| {
        rig.alive().all(|r| r.world.units[0].asks.is_empty() && r.world.units[0].saving.is_none())
    });
    scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
    let saved = scene.rig.saved.lock().unwrap().last().cloned().expect("something was saved").1;
    for reactor in scene.rig.alive() {
        let state = &reactor.world.units[0].lu.state;
        assert_eq!(state.persistent(), saved);
        assert_eq!(state.reservations.registrants.len(), registrations);
    }
    scene.clients.iter_mut().for_each(|c| c.events.clear());
    assert_eq!(run(&mut scene.rig, &mut scene.clients, 1, ready), status::GOOD);
    let itt = reserve_for_good(&mut scene.clients[1], 0, 0, 8);
    assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 1, itt), status::GOOD, "and goes on");
    scene.rig.finish(&mut scene.clients);
}

#[test]
fn functions_are_answered_although_the_state_directory_hangs() {
    seeds(8, |seed| {
        for function in [
            TmfFunction::ABORT_TASK,
            TmfFunction::LOGICAL_UNIT_RESET,
            TmfFunction::TARGET_WARM_RESET,
            TmfFunction::I_T_NEXUS_RESET,
        ] {
            let (mut scene, itt) = registering(seed);
            scene.is_managed(0, function, itt);
            scene.clients[0].forget(itt);
            is_saved_as_it_holds(scene, 0);
        }
    });
}

#[test]
fn a_reset_by_another_ends_what_waits_for_the_state_directory() {
    seeds(8, |seed| {
        let (mut scene, itt) = registering(seed);
        scene.is_managed(3, TmfFunction::LOGICAL_UNIT_RESET, u32::MAX);
        scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
        let aborted =
            Event::Answer { itt, status: status::TASK_ABORTED, sense: Vec::new(), data: Vec::new() };
        assert_eq!(scene.clients[0].events.pop_front(), Some(aborted));
        is_saved_as_it_holds(scene, 0);
    });
}

#[test]
fn a_login_takes_the_place_of_a_session_that_waits_for_the_state_directory() {
    seeds(8, |seed| {
        let (mut scene, _) = registering(seed);
        let old = scene.clients[0].leave();
        scene.clients[0].login(scene.rig.address, TARGET);
        scene.rig.until(&mut scene.clients, PATIENCE, "the login", |_, c| c[0].is_full());
        old.into_iter().for_each(|fd| scene.rig.below.close(fd).expect("it was open"));
        is_saved_as_it_holds(scene, 0);
    });
}

#[test]
fn what_a_nexus_kept_goes_with_it_although_the_state_directory_hangs() {
    seeds(8, |seed| {
        let (mut scene, itt) = registering(seed);
        // This one waits behind the other.
        let reserve = reserve_6(&mut scene.clients[2]);
        scene.rig.pass(&mut scene.clients, Duration::from_millis(100));
        assert!(scene.clients[2].events.is_empty());
        scene.is_managed(2, TmfFunction::I_T_NEXUS_RESET, u32::MAX);
        scene.clients[2].forget(reserve);
        scene.rig.saving_hangs = false;
        assert_eq!(status_of(&mut scene.rig, &mut scene.clients, 0, itt), status::GOOD);
        is_saved_as_it_holds(scene, 1);
    });
}

#[test]
fn the_daemon_stops_although_a_disk_hangs() {
    seeds(8, |seed| {
        let Scene { mut rig, mut clients, .. } = Scene::new(seed);
        rig.abandons = true;
        let begin = rig.below.now();
        rig.drain(Duration::from_secs(5));
        rig.until(&mut clients, PATIENCE, "everybody stops", |rig, _| rig.alive().next().is_none());
        assert!(rig.below.now() - begin < 8_000_000_000);
    });
}

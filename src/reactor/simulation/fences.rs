//! What is aborted, reset or lost never overwrites what is written after that was answered.
//!
//! The history is strict: of a write whose task was aborted, nothing may happen after the function, or the login
//! that replaced its session, was answered.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::time::Duration;

use super::super::conn::Phase;
use super::super::live::{Chosen, Notice};
use super::client::{Client, Event, Manner};
use super::data::clients_of;
use super::history::{Fate, WriteId};
use super::lives::say;
use super::load::{Did, Load, cdb10, lun};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ring::sim::Faults;
use crate::scsi::{LuState, ModePages, Settings, status};
use crate::wire::codes::{TmfFunction, TmfResponse};

type Ghosts = Vec<(usize, WriteId)>;

/// A function under way.
#[derive(Debug)]
enum Function {
    /// These end with its answer.
    Abort(Ghosts),
    /// A reset of that disk, which ends tasks of everybody.
    Reset(usize),
    /// Asks whether that task was ended by the reset that was answered then.
    Autopsy { task: u32, at: u64 },
}

/// Initiators that abort, reset, vanish and come again.
struct Mob {
    load: Load,
    /// By client: functions under way, by tag.
    functions: Vec<Vec<(u32, Function)>>,
    /// By client: what ends when its next login is answered.
    lost: Vec<Ghosts>,
    zombies: Vec<RawFd>,
    resetting: bool,
    /// Functions and logins that were answered.
    answered: u64,
}

impl Mob {
    fn new(load: Load, clients: usize) -> Self {
        Self {
            load,
            functions: (0..clients).map(|_| Vec::new()).collect(),
            lost: vec![Vec::new(); clients],
            zombies: Vec::new(),
            resetting: false,
            answered: 0,
        }
    }

    fn open_tasks(&self, who: usize) -> Vec<u32> {
        self.load.open.keys().filter(|(c, _)| *c == who).map(|(_, itt)| *itt).collect()
    }

    /// Does one rude thing.
    fn disturb(&mut self, rig: &Rig, clients: &mut [Client], who: usize) {
        match rig.chance(10) {
            0..5 => self.abort_one(rig, clients, who),
            5 => self.abort_set(rig, clients, who),
            6 => self.reset_nexus(clients, who),
            7 => self.reset(rig, clients, who),
            _ => self.vanish(rig, clients, who),
        }
    }

    fn abort_one(&mut self, rig: &Rig, clients: &mut [Client], who: usize) {
        let tasks = self.open_tasks(who);
        if tasks.is_empty() || !clients[who].is_full() {
            return;
        }
        let task = tasks[rig.chance(tasks.len() as u64) as usize];
        let disk = self.load.open.get(&(who, task)).map_or(0, Did::disk);
        let ghosts = self.load.lose_one(who, task).into_iter().collect();
        clients[who].forget(task);
        let itt = clients[who].manage(TmfFunction::ABORT_TASK, lun(disk), task);
        self.functions[who].push((itt, Function::Abort(ghosts)));
    }

    /// Ends all tasks of the client, on all disks.
    fn reset_nexus(&mut self, clients: &mut [Client], who: usize) {
        if !clients[who].is_full() {
            return;
        }
        let mut ghosts = Vec::new();
        for task in self.open_tasks(who) {
            ghosts.extend(self.load.lose_one(who, task));
            clients[who].forget(task);
        }
        let itt = clients[who].manage(TmfFunction::I_T_NEXUS_RESET, 0, u32::MAX);
        self.functions[who].push((itt, Function::Abort(ghosts)));
    }

    fn abort_set(&mut self, rig: &Rig, clients: &mut [Client], who: usize) {
        if !clients[who].is_full() {
            return;
        }
        let disk = rig.chance(self.load.histories.len() as u64) as usize;
        let mut ghosts = Vec::new();
        for task in self.open_tasks(who) {
            if self.load.open.get(&(who, task)).is_some_and(|did| did.disk() == disk) {
                ghosts.extend(self.load.lose_one(who, task));
                clients[who].forget(task);
            }
        }
        let itt = clients[who].manage(TmfFunction::ABORT_TASK_SET, lun(disk), u32::MAX);
        self.functions[who].push((itt, Function::Abort(ghosts)));
    }

    fn reset(&mut self, rig: &Rig, clients: &mut [Client], who: usize) {
        if self.resetting || !clients[who].is_full() {
            return;
        }
        self.resetting = true;
        let disk = rig.chance(self.load.histories.len() as u64) as usize;
        let itt = clients[who].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(disk), u32::MAX);
        self.functions[who].push((itt, Function::Reset(disk)));
    }

    /// Loses the connection one way or another, and logs in again.
    fn vanish(&mut self, rig: &Rig, clients: &mut [Client], who: usize) {
        match rig.chance(3) {
            0 => clients[who].hang_up(),
            1 => clients[who].reset(),
            _ => self.zombies.extend(clients[who].leave()),
        }
        self.gone(who);
        clients[who].rejoins = rig.chance(2) == 0;
        clients[who].login(rig.address, TARGET);
    }

    /// A connection has ended: what it had under way ends with the next login.
    fn gone(&mut self, who: usize) {
        let lost = self.load.lose(who);
        self.lost[who].extend(lost);
        for (_, function) in std::mem::take(&mut self.functions[who]) {
            match function {
                Function::Abort(ghosts) => self.lost[who].extend(ghosts),
                // It may happen or not. Whose tasks it ended nobody can know, so they ask.
                Function::Reset(_) => self.resetting = false,
                Function::Autopsy { .. } => {}
            }
        }
    }

    fn hear(&mut self, rig: &Rig, clients: &mut [Client]) {
        for who in 0..clients.len() {
            for event in self.load.hear(who, &mut clients[who]) {
                match event {
                    Event::LoggedIn => {
                        self.answered += 1;
                        let ghosts = std::mem::take(&mut self.lost[who]);
                        self.load.bury(ghosts);
                    }
                    Event::Managed { itt, response } => self.managed(clients, who, itt, response),
                    Event::Gone => {
                        self.gone(who);
                        clients[who].login(rig.address, TARGET);
                    }
                    // The target has noticed before that the connection was gone.
                    Event::Refused(2, 10) if clients[who].rejoins => {
                        clients[who].rejoins = false;
                        clients[who].login(rig.address, TARGET);
                    }
                    other => panic!("{other:?} of client {who}"),
                }
            }
        }
    }

    fn managed(&mut self, clients: &mut [Client], who: usize, itt: u32, response: TmfResponse) {
        let Some(at) = self.functions[who].iter().position(|(tag, _)| *tag == itt) else { return };
        self.answered += 1;
        match self.functions[who].swap_remove(at).1 {
            Function::Abort(ghosts) => {
                assert!([TmfResponse::COMPLETE, TmfResponse::TASK_DOES_NOT_EXIST].contains(&response));
                self.load.bury(ghosts);
            }
            Function::Reset(disk) => {
                assert_eq!(response, TmfResponse::COMPLETE);
                self.was_reset(clients, disk);
            }
            Function::Autopsy { task, at } => self.autopsy(clients, who, task, response, at),
        }
    }

    /// Everybody asks for the tasks of that disk that are still open.
    fn was_reset(&mut self, clients: &mut [Client], disk: usize) {
        self.resetting = false;
        let at = self.load.histories[disk].now();
        for who in 0..clients.len() {
            if !clients[who].is_full() {
                continue;
            }
            for task in self.open_tasks(who) {
                if self.load.open.get(&(who, task)).is_some_and(|did| did.disk() == disk) {
                    let itt = clients[who].manage(TmfFunction::ABORT_TASK, lun(disk), task);
                    self.functions[who].push((itt, Function::Autopsy { task, at }));
                }
            }
        }
    }

    /// No answer and no such task: the reset has ended it, or another before it.
    fn autopsy(&mut self, clients: &mut [Client], who: usize, task: u32, response: TmfResponse, at: u64) {
        clients[who].forget(task);
        let Some((disk, id)) = self.load.lose_one(who, task) else { return };
        let dead = response == TmfResponse::TASK_DOES_NOT_EXIST;
        let end = if dead { at } else { self.load.histories[disk].now() };
        self.load.histories[disk].written_at(id, Fate::Unknown, end);
    }

    /// Commands and disturbances, `commands` in all; then peace, and everything that is left is answered.
    fn riot(&mut self, rig: &mut Rig, clients: &mut [Client], commands: u64) {
        let mut sent = 0;
        rig.until(clients, Duration::from_secs(600), "the riot", |rig, clients| {
            self.hear(rig, clients);
            for who in 0..clients.len() {
                match rig.chance(40) {
                    0 => self.disturb(rig, clients, who),
                    1..16 if clients[who].outstanding() < 12 => {
                        sent += u64::from(self.load.send(rig, clients, who).is_some());
                    }
                    _ => {}
                }
            }
            sent >= commands
        });
        self.calm_down(rig, clients);
    }

    fn calm_down(&mut self, rig: &mut Rig, clients: &mut [Client]) {
        // Logins of connections that were given up may still arrive, and take the place of later ones.
        let quiet = rig.below.now() + 1_000_000_000;
        let wait = Duration::from_secs(20);
        rig.until(clients, wait, "old logins have come", |rig, clients| {
            self.hear(rig, clients);
            rig.below.now() > quiet
        });
        rig.until(clients, wait, "functions and logins are answered", |rig, clients| {
            self.hear(rig, clients);
            self.functions.iter().all(Vec::is_empty) && clients.iter().all(Client::is_full)
        });
        // A reset whose answer was lost may have ended tasks of others: all are aborted.
        for who in 0..clients.len() {
            for disk in 0..self.load.histories.len() {
                for task in self.open_tasks(who) {
                    if self.load.open.get(&(who, task)).is_some_and(|did| did.disk() == disk) {
                        let at = self.load.histories[disk].now();
                        let itt = clients[who].manage(TmfFunction::ABORT_TASK, lun(disk), task);
                        self.functions[who].push((itt, Function::Autopsy { task, at }));
                    }
                }
            }
        }
        rig.until(clients, wait, "the rest is aborted", |rig, clients| {
            self.hear(rig, clients);
            self.functions.iter().all(Vec::is_empty) && self.load.open.is_empty()
        });
    }

    fn bury_zombies(&mut self, rig: &Rig) {
        for fd in self.zombies.drain(..) {
            rig.below.close(fd).expect("it was open");
        }
    }
}

impl Did {
    fn disk(&self) -> usize {
        match self {
            Self::Write { disk, .. } | Self::Read { disk, .. } | Self::Flush { disk, .. } => *disk,
        }
    }
}

fn riot(seed: u64, plan: &Plan, fenced: &Cell<u64>) {
    let mut rig = Rig::new(seed, plan);
    let mut load = Load::new(plan.disks.len(), plan.disks[0]);
    load.longest = 4;
    let mut clients = clients_of(&rig, plan, 5);
    load.log_in(&mut rig, &mut clients);
    let mut mob = Mob::new(load, clients.len());
    mob.riot(&mut rig, &mut clients, 250);
    assert!(mob.answered > 0);
    mob.load.read_all(&mut rig, &mut clients);
    mob.load.check();
    fenced.set(fenced.get() + rig.alive().map(|r| r.world.counters.fenced).sum::<u64>());
    mob.bury_zombies(&rig);
    rig.finish(&mut clients);
}

#[test]
fn ghosts_never_overwrite_newer_data() {
    let fenced = Cell::new(0);
    seeds(40, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![24, 24], ..Plan::default() };
        riot(seed, &plan, &fenced);
    });
    assert!(fenced.get() > 0, "no command ever met a fence");
}

#[test]
fn ghosts_never_overwrite_newer_data_although_mail_is_slow() {
    let fenced = Cell::new(0);
    seeds(20, |seed| {
        let faults = Faults { disk_latency: 1_000..400_000_000, ..Faults::rough() };
        let plan = Plan { mail: 0..60_000_000, disks: vec![12], faults, ..Plan::default() };
        riot(seed, &plan, &fenced);
    });
}

#[test]
fn what_was_aborted_never_overwrites_newer_data_in_memory() {
    let fenced = Cell::new(0);
    seeds(20, |seed| {
        let disks = vec![24, 24];
        riot(
            seed,
            &Plan { reactors: 1 + seed as usize % 4, disks, memory: true, ..Plan::default() },
            &fenced,
        );
    });
}

/// Three initiators on three cores, and a write of the first that the disk will take seconds for. Mail is quick.
fn ghost_scene(seed: u64) -> (Rig, Vec<Client>, Load, u32) {
    ghost_scene_in(seed, LuState::default())
}

fn ghost_scene_in(seed: u64, state: LuState) -> (Rig, Vec<Client>, Load, u32) {
    let plan = Plan { disks: vec![2], faults: Faults::none(), mail: 0..1000, state, ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut load = Load::new(1, 2);
    load.longest = 2;
    let mut clients: Vec<Client> = (0..3).map(|n| rig.client("host", n, Manner::default())).collect();
    load.log_in(&mut rig, &mut clients);
    load.run(&mut rig, &mut clients, 12);
    load.settle(&mut rig, &mut clients);
    rig.below.set_faults(Faults { disk_latency: 3_000_000_000..4_000_000_000, ..Faults::none() });
    let task = load.send_write(&mut clients[0], 0, 0, (0, 1), false);
    rig.pass(&mut clients, Duration::from_millis(20));
    rig.below.set_faults(Faults::none());
    (rig, clients, load, task)
}

/// The others write the same block, and read it for as long as the first write may still come.
fn newer_data_stands(mut rig: Rig, mut clients: Vec<Client>, mut load: Load, zombies: Vec<RawFd>) {
    for who in 1..3 {
        load.send_write(&mut clients[who], who, 0, (0, 1), false);
    }
    rig.post.delay = 0..1000;
    rig.pass(&mut clients, Duration::from_secs(5));
    load.settle(&mut rig, &mut clients);
    for who in 1..3 {
        load.send_read(&mut clients[who], who, 0, (0, 2));
    }
    load.settle(&mut rig, &mut clients);
    load.check();
    zombies.into_iter().for_each(|fd| rig.below.close(fd).expect("it was open"));
    rig.finish(&mut clients);
}

#[test]
fn a_function_waits_for_the_fences_of_an_earlier_one() {
    seeds(4, |seed| {
        let (mut rig, mut clients, mut load, task) = ghost_scene(seed);
        let ghost = load.lose_one(0, task);
        clients[0].forget(task);
        rig.post.delay = 500_000_000..500_000_001;
        clients[0].manage(TmfFunction::ABORT_TASK, lun(0), task);
        clients[0].manage(TmfFunction::ABORT_TASK_SET, lun(0), u32::MAX);
        rig.until(&mut clients, Duration::from_secs(3), "a function is answered", |_, clients| {
            matches!(clients[0].events.pop_front(), Some(Event::Managed { .. }))
        });
        load.bury(ghost.into_iter().collect());
        clients[0].events.clear();
        clients[0].hang_up();
        newer_data_stands(rig, clients, load, Vec::new());
    });
}

/// For the session that it replaces.
fn until_a_login_waits(rig: &mut Rig, clients: &mut [Client]) {
    rig.until(clients, Duration::from_secs(3), "a login waits", |rig, _| {
        rig.alive().any(|r| {
            let mut ids = r.conns.ids().into_iter();
            ids.any(|id| r.conns.get_mut(id).is_some_and(|c| matches!(c.phase, Phase::Reinstating(_))))
        })
    });
}

#[test]
fn who_has_waited_for_a_session_while_its_target_was_drained_is_asked_to_go() {
    seeds(4, |seed| {
        let (mut rig, mut clients, mut load, _) = ghost_scene(seed);
        let ghosts = load.lose(0);
        let zombie = clients[0].leave();
        rig.post.delay = 500_000_000..500_000_001;
        clients[0].login(rig.address, TARGET);
        until_a_login_waits(&mut rig, &mut clients);
        let whom = Chosen { target: Some(TARGET.into()), ..Chosen::default() };
        let elsewhere = "192.0.2.2:3260".parse().expect("an address");
        let heard = say(&rig, whom, Notice::Move(Duration::from_secs(600), elsewhere));
        rig.pass(&mut clients, Duration::from_millis(1));
        assert_eq!(
            heard.try_iter().map(|heard| heard.sessions).sum::<usize>(),
            3,
            "that is replaced among them"
        );
        assert!(!clients[0].is_full(), "it still waits");
        rig.until(&mut clients, Duration::from_secs(5), "the login", |_, clients| clients[0].is_full());
        rig.pass(&mut clients, Duration::from_millis(1));
        assert!(clients[0].events.contains(&Event::LogoutAsked));
        load.bury(ghosts);
        zombie.into_iter().for_each(|fd| rig.below.close(fd).expect("it was open"));
        rig.finish(&mut clients);
    });
}

#[test]
fn a_login_waits_for_the_session_that_the_one_it_replaces_has_replaced() {
    seeds(8, |seed| {
        let (mut rig, mut clients, mut load, _) = ghost_scene(seed);
        let ghosts = load.lose(0);
        let mut zombies: Vec<RawFd> = clients[0].leave().into_iter().collect();
        rig.post.delay = 500_000_000..500_000_001;
        clients[0].login(rig.address, TARGET);
        until_a_login_waits(&mut rig, &mut clients);
        rig.post.delay = 0..1000;
        zombies.extend(clients[0].leave());
        clients[0].login(rig.address, TARGET);
        rig.until(&mut clients, Duration::from_secs(3), "the third login", |_, c| c[0].is_full());
        load.bury(ghosts);
        clients[0].events.clear();
        newer_data_stands(rig, clients, load, zombies);
    });
}

/// Mail is slow; what the first client is told next that `is_it` knows, and whether the write that it has lost is fenced
/// on every reactor when it is.
fn told_when_fenced(rig: &mut Rig, clients: &mut [Client], is_it: impl Fn(&Event) -> bool) -> (Event, bool) {
    let mut told = None;
    rig.until(clients, Duration::from_secs(5), "the first client is told", |_, clients| {
        while let Some(event) = clients[0].events.pop_front() {
            told = told.take().or_else(|| Some(event).filter(&is_it));
        }
        told.is_some()
    });
    let fenced = rig.alive().all(|r| !r.world.units[0].fences.is_empty());
    (told.unwrap(), fenced)
}

#[test]
fn the_abort_of_a_task_that_another_ended_waits_for_its_fences() {
    let early = Cell::new(0);
    seeds(12, |seed| {
        let silent = seed % 2 == 0;
        let current = Settings { silent_aborts: silent, ..Settings::default() };
        let state = LuState { mode: ModePages { current, saved: current }, ..LuState::default() };
        let (mut rig, mut clients, mut load, task) = ghost_scene_in(seed, state);
        let ghost = load.lose_one(0, task);
        rig.post.delay = 500_000_000..500_000_001;
        clients[1].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX);
        rig.until(&mut clients, Duration::from_secs(3), "the reset comes to it", |rig, _| {
            rig.alive().any(|r| !r.world.units[0].fences.is_empty())
        });
        rig.pass(&mut clients, Duration::from_micros(seed));
        early.set(early.get() + u64::from(rig.alive().any(|r| r.world.units[0].fences.is_empty())));
        clients[0].events.clear();
        let abort = clients[0].manage(TmfFunction::ABORT_TASK, lun(0), task);
        let (told, fenced) = told_when_fenced(&mut rig, &mut clients, |e| matches!(e, Event::Managed { .. }));
        assert!(fenced, "{told:?} comes too early");
        let response = if silent { TmfResponse::TASK_DOES_NOT_EXIST } else { TmfResponse::COMPLETE };
        assert_eq!(told, Event::Managed { itt: abort, response });
        load.bury(ghost.into_iter().collect());
        rig.pass(&mut clients, Duration::from_millis(1200));
        assert_eq!(clients[0].events, [], "nothing more is heard of a task that was aborted");
        (0..2).for_each(|who| clients[who].events.clear());
        clients[0].hang_up();
        newer_data_stands(rig, clients, load, Vec::new());
    });
    assert!(early.get() > 6 || std::env::var_os("RINGTGT_SEED").is_some());
}

#[test]
fn an_error_that_aborts_other_tasks_is_told_when_they_are_fenced() {
    seeds(8, |seed| {
        let current = Settings { abort_on_error: true, ..Settings::default() };
        let state = LuState { mode: ModePages { current, saved: current }, ..LuState::default() };
        let (mut rig, mut clients, mut load, task) = ghost_scene_in(seed, state);
        let ghost = load.lose_one(0, task);
        clients[0].forget(task);
        rig.post.delay = 500_000_000..500_000_001;
        // READ(10) beyond the end.
        let wrong = clients[0].command(lun(0), &cdb10(0x28, 0, 2, 1), Vec::new(), 512);
        let (told, fenced) = told_when_fenced(&mut rig, &mut clients, |e| matches!(e, Event::Answer { .. }));
        let Event::Answer { itt, status: code, sense, .. } = told else { panic!("{told:?}") };
        assert_eq!((itt, code), (wrong, status::CHECK_CONDITION));
        assert_eq!((sense[2] & 15, sense[12]), (5, 0x21));
        assert!(fenced, "it comes too early");
        load.bury(ghost.into_iter().collect());
        clients[0].hang_up();
        newer_data_stands(rig, clients, load, Vec::new());
    });
}

//! Changes of a logical unit's state while everybody writes: the state holds everywhere first, and what began under
//! the old one keeps its promises.

use std::time::Duration;

use super::client::{Client, Event};
use super::data::some_clients;
use super::load::{Load, lun};
use super::reservations::{ready, run};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::scsi::{LuState, ModePages, Settings, status};
use crate::wire::codes::{TmfFunction, TmfResponse};

/// MODE SELECT(6) of the caching page with WCE zero.
pub(super) fn write_through(c: &mut Client) -> u32 {
    let mut list = vec![0, 0, 0, 0, 0x08, 0x12];
    list.resize(24, 0);
    c.command(lun(0), &[0x15, 0x10, 0, 0, 24, 0], list, 0)
}

/// START STOP UNIT with START and NO_FLUSH zero.
fn stop(c: &mut Client) -> u32 {
    c.command(lun(0), &[0x1b, 0, 0, 0, 0, 0], Vec::new(), 0)
}

/// Everybody writes; the first client changes the state, twice at the same time as another asks for the same. All
/// that is answered GOOD, earlier or later, has to survive the power cut at the end.
fn change_and_cut(seed: u64, change: impl Fn(&mut Client) -> u32, goes_on: bool) {
    let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![24], ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut load = Load::new(1, 24);
    load.longest = 6;
    let mut clients = some_clients(&rig, 5);
    load.log_in(&mut rig, &mut clients);
    for who in 0..2 {
        assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
    }
    load.run(&mut rig, &mut clients, 30 + seed * 7 % 60);
    rig.until(&mut clients, Duration::from_secs(60), "credit", |_, c| c[0].credit() > 0 && c[1].credit() > 0);
    let asked: Vec<u32> = (0..2).map(|who| change(&mut clients[who])).collect();
    let (mut good, mut answered, mut rounds) = (0, 0, 20 + rig.chance(200));
    rig.until(&mut clients, Duration::from_secs(60), "the change and what follows", |rig, clients| {
        for who in 0..clients.len() {
            let heard = hear(&mut load, who, &mut clients[who], asked.get(who).copied());
            answered += u64::from(heard.is_some());
            good += u64::from(heard == Some(true));
            if good > 0 {
                let writes = load.histories[0].answered();
                writes.into_iter().for_each(|id| load.histories[0].durable(id));
            }
            if (good == 0 || goes_on) && rig.chance(3) == 0 && clients[who].outstanding() < 16 {
                load.send(rig, clients, who);
            }
        }
        // Slots may be short, or the other's change be told first.
        rounds -= u64::from(good > 0 || answered == 2);
        rounds == 0
    });
    rig.power_cut();
    load.histories[0].check_survived(&rig.below.disk_content(rig.disks[0]));
}

/// Takes what a client has heard; of the change, whether it was answered GOOD.
fn hear(load: &mut Load, who: usize, client: &mut Client, asked: Option<u32>) -> Option<bool> {
    let is_mine = |e: &Event| matches!(e, Event::Answer { itt, .. } if Some(*itt) == asked);
    let mut heard = None;
    if let Some(at) = client.events.iter().position(is_mine) {
        // Only what was heard before counts as answered before.
        let later = client.events.split_off(at);
        assert!(load.hear(who, client).is_empty());
        client.events = later;
        let Some(Event::Answer { status: code, .. }) = client.events.pop_front() else { return None };
        heard = Some(code == status::GOOD);
    } else {
        assert!(load.hear(who, client).is_empty());
    }
    heard
}

#[test]
fn without_a_write_cache_everything_that_was_answered_stays() {
    seeds(40, |seed| change_and_cut(seed, write_through, true));
}

#[test]
fn what_was_answered_before_the_unit_stopped_stays() {
    seeds(40, |seed| change_and_cut(seed, stop, false));
}

/// Without a write cache, as far as it was saved; for now there is one.
pub(super) fn saved_without_cache() -> LuState {
    let saved = Settings { write_through: true, ..Settings::default() };
    LuState { mode: ModePages { saved, ..ModePages::default() }, ..LuState::default() }
}

#[test]
fn what_was_answered_before_a_reset_took_the_write_cache_away_stays() {
    seeds(40, |seed| {
        let state = saved_without_cache();
        let plan = Plan { reactors: 1 + seed as usize % 4, disks: vec![24], state, ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut load = Load::new(1, 24);
        load.longest = 6;
        let mut clients = some_clients(&rig, 5);
        load.log_in(&mut rig, &mut clients);
        load.run(&mut rig, &mut clients, 30 + seed * 7 % 60);
        let reset = clients[0].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX);
        let complete = Event::Managed { itt: reset, response: TmfResponse::COMPLETE };
        let (mut done, mut rounds) = (false, rig.chance(4));
        rig.until(&mut clients, Duration::from_secs(60), "the reset and what follows", |rig, clients| {
            for who in 0..clients.len() {
                done |= load.hear(who, &mut clients[who]).contains(&complete);
                if seed % 2 == 0 && rig.chance(3) == 0 && clients[who].outstanding() < 16 {
                    load.send(rig, clients, who);
                }
            }
            if done {
                let writes = load.histories[0].answered();
                writes.into_iter().for_each(|id| load.histories[0].durable(id));
            }
            rounds -= u64::from(done && rounds > 0);
            done && rounds == 0
        });
        rig.power_cut();
        load.histories[0].check_survived(&rig.below.disk_content(rig.disks[0]));
    });
}

/// One client resets over and over; another asks for one change after the other, some of which are aborted so.
#[test]
fn what_is_asked_behind_a_reset_is_not_refused() {
    let good = std::cell::Cell::new(0);
    seeds(24, |seed| {
        let reactors = 2 + seed as usize % 3;
        let plan = Plan { reactors, disks: vec![24], mail: 0..20_000_000, ..Plan::default() };
        let mut rig = Rig::new(seed, &plan);
        let mut clients = some_clients(&rig, 3);
        Load::new(1, 24).log_in(&mut rig, &mut clients);
        let mut reset = clients[0].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX);
        let mut left = 20;
        rig.until(&mut clients, Duration::from_secs(60), "some resets", |rig, clients| {
            let answered = |e: &Event| matches!(e, Event::Managed { itt, .. } if *itt == reset);
            if clients[0].events.iter().any(answered) {
                left -= 1;
                clients[0].events.clear();
                reset = clients[0].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX);
            }
            for who in 1..3 {
                while let Some(Event::Answer { status: code, .. }) = clients[who].events.pop_front() {
                    assert_ne!(code, status::BUSY, "client {who}");
                    good.set(good.get() + u64::from(code == status::GOOD));
                }
                if rig.chance(4) == 0 && clients[who].credit() > 0 && clients[who].outstanding() < 4 {
                    clients[who].command(lun(0), &SET_CLOCK, vec![0; 12], 0);
                }
            }
            left == 0
        });
        rig.finish(&mut clients);
    });
    assert!(good.get() > 50, "only {} have come through", good.get());
}

/// SET TIMESTAMP.
const SET_CLOCK: [u8; 12] = [0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];

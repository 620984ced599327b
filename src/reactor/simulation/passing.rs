//! A device that is passed through: its data, status and sense data arrive as they are, and what was forgotten is never
//! sent after what came later.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::accesses::set_group;
use super::client::{Client, Event, Manner};
use super::data::some_clients;
use super::load::lun;
use super::reservations::{key, ready, reserve_6, reserve_out, run, status_of};
use super::rig::{Plan, Rig, TARGET};
use super::seeds;
use crate::ring::sim::Faults;
use crate::scsi::{AccessState, Device, DeviceKind, PassOrder, PassReport, status};
use crate::store::Passage;
use crate::sys::ScsiData;
use crate::wire::codes::{TmfFunction, TmfResponse};
use crate::wire::flags;

/// A disk of 64 blocks, or another device, that answers as it is told, and else by itself.
#[derive(Debug, Clone)]
pub(super) struct Double(Arc<Mutex<Inside>>, Device);

#[derive(Debug, Default)]
struct Inside {
    blocks: Vec<u8>,
    /// The CDBs that it has got.
    got: Vec<Vec<u8>>,
    /// What it answers to the next commands, with the data-in.
    answers: VecDeque<Result<(PassReport, Vec<u8>), i32>>,
}

const DISK: Device = Device::whole(DeviceKind::Disk);

const TAPE: Device = Device::whole(DeviceKind::Tape);

impl Double {
    fn new(device: Device) -> Self {
        Self(Arc::default(), device)
    }

    pub(super) fn device(&self) -> Device {
        self.1
    }

    fn will(&self, status: u8, sense: &[u8], data: &[u8]) {
        let sense = sense.iter().copied().collect();
        let report = PassReport { status, sense, moved: data.len() as u32 };
        self.0.lock().unwrap().answers.push_back(Ok((report, data.to_vec())));
    }

    fn will_fail(&self, errno: i32) {
        self.0.lock().unwrap().answers.push_back(Err(errno));
    }

    /// How often it has got that operation code.
    fn count(&self, opcode: u8) -> usize {
        self.0.lock().unwrap().got.iter().filter(|cdb| cdb[0] == opcode).count()
    }
}

impl Passage for Double {
    fn run(&self, order: &PassOrder, data: ScsiData<'_>) -> io::Result<PassReport> {
        let mut inside = self.0.lock().unwrap();
        inside.got.push(order.cdb.to_vec());
        inside.blocks.resize(64 * 512, 0);
        if let Some(answer) = inside.answers.pop_front() {
            let (report, bytes) = answer.map_err(io::Error::from_raw_os_error)?;
            if let ScsiData::In(into) = data {
                let len = bytes.len().min(into.len());
                into[..len].copy_from_slice(&bytes[..len]);
            }
            return Ok(report);
        }
        let at = usize::from(order.cdb[5.min(order.cdb.len() - 1)]) * 512;
        let moved = match data {
            ScsiData::In(into) => {
                let len = into.len();
                into.copy_from_slice(&inside.blocks[at..at + len]);
                len
            }
            ScsiData::Out(from) => {
                inside.blocks[at..at + from.len()].copy_from_slice(from);
                from.len()
            }
            ScsiData::Nothing => 0,
        };
        Ok(PassReport { moved: moved as u32, ..PassReport::default() })
    }
}

fn read(block: u8, blocks: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, block, 0, 0, blocks, 0]
}

fn write(block: u8, blocks: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, block, 0, 0, blocks, 0]
}

/// A rig with one such device, and clients that have heard of the power on.
fn stage(seed: u64, plan: Plan, count: u8) -> (Rig, Vec<Client>, Double) {
    stage_of(DISK, seed, plan, count)
}

fn stage_of(device: Device, seed: u64, plan: Plan, count: u8) -> (Rig, Vec<Client>, Double) {
    let double = Double::new(device);
    let plan = Plan { passed: Some(double.clone()), disks: vec![64], ..plan };
    let mut rig = Rig::new(seed, &plan);
    let mut clients = match plan.faults == Faults::none() {
        true => (0..count).map(|n| rig.client("host", n, Manner::default())).collect(),
        false => some_clients(&rig, count),
    };
    clients.iter_mut().for_each(|c| c.login(rig.address, TARGET));
    rig.until(&mut clients, Duration::from_secs(10), "all are in", |_, clients| {
        clients.iter().all(Client::is_full)
    });
    for who in 0..clients.len() {
        assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
    }
    (rig, clients, double)
}

/// Sends a command and waits for its end: status, sense data, data-in, and the residual with its flag.
fn ask(
    rig: &mut Rig,
    clients: &mut [Client],
    who: usize,
    cdb: &[u8],
    out: &[u8],
    expect: u32,
) -> (u8, Vec<u8>, Vec<u8>, (u8, u32)) {
    let itt = clients[who].command(lun(0), cdb, out.to_vec(), expect);
    let mut got = None;
    rig.until(clients, Duration::from_secs(10), "a command is answered", |_, clients| {
        while let Some(event) = clients[who].events.pop_front() {
            if let Event::Answer { itt: tag, status, sense, data } = event {
                assert_eq!(tag, itt);
                got = Some((status, sense, data));
            }
        }
        got.is_some()
    });
    let (status, sense, data) = got.unwrap();
    (status, sense, data, clients[who].residuals.remove(&itt).unwrap_or_default())
}

#[test]
fn data_goes_both_ways_from_any_core() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, ..Plan::default() };
        let (mut rig, mut clients, _) = stage(seed, plan, 3);
        for who in 0..3u8 {
            let data: Vec<u8> = (0..8 * 512).map(|n| (n % 251) as u8 ^ who).collect();
            let (status, ..) = ask(&mut rig, &mut clients, who.into(), &write(who * 8, 8), &data, 0);
            assert_eq!(status, 0);
            let reader = usize::from(who + 1) % 3;
            let (status, _, got, rest) = ask(&mut rig, &mut clients, reader, &read(who * 8, 8), &[], 4096);
            assert!(status == 0 && got == data && rest == (0, 0));
        }
        rig.finish(&mut clients);
    });
}

#[test]
fn status_sense_and_residual_are_the_devices() {
    seeds(8, |seed| {
        let (mut rig, mut clients, double) = stage(seed, Plan { reactors: 2, ..Plan::default() }, 2);
        // Longer than any of our own, in descriptor format.
        let mut sense = vec![0x72, 3, 0x11, 0, 0, 0, 0, 100];
        sense.resize(108, 0x5a);
        double.will(2, &sense, &[7; 512]);
        let (status, told, data, rest) = ask(&mut rig, &mut clients, 0, &read(0, 8), &[], 4096);
        assert_eq!((status, told, data), (2, sense, vec![7; 512]), "data that came before the error, too");
        assert_eq!(rest, (flags::UNDERFLOW, 3584));
        for status in [status::BUSY, status::RESERVATION_CONFLICT, status::TASK_SET_FULL] {
            double.will(status, &[], &[]);
            assert_eq!(ask(&mut rig, &mut clients, 1, &write(0, 1), &[1; 512], 0).0, status);
        }
        // Less than was asked for is no error; more than the initiator expects is not sent.
        double.will(0, &[], &[9; 20]);
        let sense_6 = [0x1a, 0, 0x08, 0, 200, 0];
        let (status, _, data, rest) = ask(&mut rig, &mut clients, 0, &sense_6, &[], 200);
        assert_eq!((status, data, rest), (0, vec![9; 20], (flags::UNDERFLOW, 180)));
        double.will(0, &[], &[9; 200]);
        let (status, _, data, rest) = ask(&mut rig, &mut clients, 0, &sense_6, &[], 50);
        assert_eq!((status, data, rest), (0, vec![9; 50], (flags::OVERFLOW, 150)));
        double.will_fail(libc::ENODEV);
        let (status, told, ..) = ask(&mut rig, &mut clients, 0, &read(0, 1), &[], 512);
        assert_eq!((status, told[2] & 0x0f), (2, 2), "NOT READY");
        rig.finish(&mut clients);
    });
}

#[test]
fn whoever_lies_about_the_length_gets_no_more() {
    let plan = Plan { reactors: 1, faults: Faults::none(), ..Plan::default() };
    let (mut rig, mut clients, double) = stage(1, plan, 1);
    let before = double.count(0x2a);
    let (status, sense, ..) = ask(&mut rig, &mut clients, 0, &write(0, 8), &[1; 512], 0);
    assert_eq!((status, sense[2], sense[12]), (2, 5, 0x24), "less data than the device would ask for");
    assert_eq!(double.count(0x2a), before);
    let (status, _, _, rest) = ask(&mut rig, &mut clients, 0, &write(0, 1), &[1; 4096], 0);
    assert_eq!((status, rest), (0, (flags::UNDERFLOW, 3584)));
    let (status, _, data, rest) = ask(&mut rig, &mut clients, 0, &read(0, 2), &[], 4096);
    assert_eq!((status, data.len(), rest), (0, 1024, (flags::UNDERFLOW, 3072)));
    let (status, _, data, rest) = ask(&mut rig, &mut clients, 0, &read(0, 2), &[], 512);
    assert_eq!((status, data, rest), (0, vec![1; 512], (flags::OVERFLOW, 512)));
    rig.finish(&mut clients);
}

/// FORMAT UNIT with a list: the device takes what that says, and of less it would wait for the rest.
#[test]
fn a_list_goes_to_the_device_as_long_as_it_says() {
    let plan = Plan { reactors: 1, faults: Faults::none(), ..Plan::default() };
    let (mut rig, mut clients, double) = stage(1, plan, 1);
    let format = [0x04, 0x10, 0, 0, 0, 0];
    for (list, asc) in [(&[0, 0, 0, 8, 0, 0, 0, 0][..], 0x1a), (&[0, 0], 0x1a), (&[], 0x24)] {
        let (status, sense, ..) = ask(&mut rig, &mut clients, 0, &format, list, 0);
        assert_eq!((status, sense[2], sense[12]), (2, 5, asc), "{list:?}");
    }
    assert_eq!(double.count(0x04), 0);
    let (status, _, _, rest) = ask(&mut rig, &mut clients, 0, &format, &[0, 0, 0, 0, 9, 9], 0);
    assert_eq!((status, rest, double.count(0x04)), (0, (flags::UNDERFLOW, 2), 1));
    rig.finish(&mut clients);
}

/// With FIXED the CDB counts blocks: what is offered is so many equal ones.
#[test]
fn a_tape_is_given_whole_blocks() {
    let plan = Plan { reactors: 1, faults: Faults::none(), ..Plan::default() };
    let (mut rig, mut clients, double) = stage_of(TAPE, 1, plan, 1);
    let blocks = |count| [0x0a, 1, 0, 0, count, 0];
    for (count, offered) in [(3, 1024), (2, 0), (2, 1)] {
        let (status, sense, ..) = ask(&mut rig, &mut clients, 0, &blocks(count), &vec![1; offered], 0);
        assert_eq!((status, sense[2], sense[12]), (2, 5, 0x24), "{count} blocks in {offered} bytes");
    }
    assert_eq!(double.count(0x0a), 0);
    let (status, _, _, rest) = ask(&mut rig, &mut clients, 0, &blocks(2), &[1; 1024], 0);
    assert_eq!((status, rest), (0, (0, 0)));
    let (status, _, _, rest) = ask(&mut rig, &mut clients, 0, &blocks(0), &[1; 512], 0);
    assert_eq!((status, rest, double.count(0x0a)), (0, (flags::UNDERFLOW, 512), 2), "no block, no data");
    rig.finish(&mut clients);
}

#[test]
fn what_the_device_tells_one_initiator_is_told_to_all() {
    seeds(6, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, ..Plan::default() };
        let (mut rig, mut clients, double) = stage(seed, plan, 3);
        let changed = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x28, 0, 0, 0, 0, 0];
        double.will(2, &changed, &[]);
        assert_eq!(ask(&mut rig, &mut clients, 0, &read(0, 1), &[], 512).0, 2);
        rig.pass(&mut clients, Duration::from_millis(100));
        for who in [1, 2] {
            let (status, sense, ..) = ask(&mut rig, &mut clients, who, &read(0, 1), &[], 512);
            assert_eq!((status, sense[2], sense[12]), (2, 6, 0x28), "of {who}");
        }
        assert_eq!(ask(&mut rig, &mut clients, 0, &read(0, 1), &[], 512).0, 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn a_reservation_of_ours_keeps_others_from_the_device() {
    let (mut rig, mut clients, double) = stage(3, Plan { reactors: 2, ..Plan::default() }, 2);
    let reserve = reserve_6(&mut clients[0]);
    assert_eq!(status_of(&mut rig, &mut clients, 0, reserve), status::GOOD);
    assert_eq!(ask(&mut rig, &mut clients, 1, &write(0, 1), &[1; 512], 0).0, status::RESERVATION_CONFLICT);
    assert_eq!(ask(&mut rig, &mut clients, 0, &write(0, 1), &[1; 512], 0).0, status::GOOD);
    assert_eq!((double.count(0x2a), double.count(0x16)), (1, 0));
    rig.finish(&mut clients);
}

fn prevent(field: u8) -> [u8; 6] {
    [0x1e, 0, 0, 0, field, 0]
}

/// What the device has been told of the removal of its medium, by the PREVENT fields.
fn told_of_removal(double: &Double) -> Vec<u8> {
    let inside = double.0.lock().unwrap();
    inside.got.iter().filter(|cdb| cdb[0] == 0x1e).map(|cdb| cdb[4]).collect()
}

/// Whoever prevented the removal and is gone prevents it no longer; nor does the device, when that was the last.
#[test]
fn removal_is_allowed_when_the_last_who_prevented_it_is_gone() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, faults: Faults::none(), ..Plan::default() };
        let (mut rig, mut clients, double) = stage(seed, plan, 3);
        for who in 0..3 {
            assert_eq!(ask(&mut rig, &mut clients, who, &prevent(1), &[], 0).0, 0);
        }
        assert_eq!(ask(&mut rig, &mut clients, 0, &prevent(0), &[], 0).0, 0);
        let (one, other) = (1 + seed as usize % 2, 2 - seed as usize % 2);
        clients[one].hang_up();
        rig.pass(&mut clients, Duration::from_millis(100));
        assert_eq!(told_of_removal(&double), [1; 3], "one still prevents it");
        // Something has happened to the device meanwhile: it hears it all the same, and the others of that.
        double.will(2, &[0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0], &[]);
        match seed % 3 {
            0 => clients[other].hang_up(),
            1 => clients[other].log_out(),
            _ => drop(clients[0].manage(TmfFunction::LOGICAL_UNIT_RESET, lun(0), u32::MAX)),
        }
        rig.until(&mut clients, Duration::from_secs(10), "the device is told", |_, _| {
            told_of_removal(&double) == [1, 1, 1, 0, 0]
        });
        rig.pass(&mut clients, Duration::from_millis(50));
        clients[0].events.clear();
        let (status, sense, ..) = ask(&mut rig, &mut clients, 0, &[0; 6], &[], 0);
        assert_eq!((status, sense[2], sense[12]), (2, 6, 0x29));
        while run(&mut rig, &mut clients, 0, ready) != status::GOOD {}
        rig.finish(&mut clients);
    });
}

/// What the device says to PREVENT is told, and then nobody is counted who does not prevent it.
#[test]
fn a_device_may_refuse_to_keep_its_medium() {
    let plan = Plan { reactors: 2, faults: Faults::none(), ..Plan::default() };
    let (mut rig, mut clients, double) = stage(1, plan, 2);
    assert_eq!(ask(&mut rig, &mut clients, 1, &prevent(1), &[], 0).0, 0);
    double.will(2, &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0, 0, 0], &[]);
    let (status, sense, ..) = ask(&mut rig, &mut clients, 0, &prevent(1), &[], 0);
    assert_eq!((status, sense[2], sense[12]), (2, 5, 0x24));
    assert_eq!(ask(&mut rig, &mut clients, 1, &prevent(0), &[], 0).0, 0);
    assert_eq!(told_of_removal(&double), [1, 1, 0], "nobody else prevents it");
    rig.finish(&mut clients);
}

/// A drive was empty when it was opened; the medium that is put in has longer blocks than was thought.
#[test]
fn lengths_are_measured_by_the_medium_that_is_there() {
    seeds(12, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, ..Plan::default() };
        let (mut rig, mut clients, double) = stage(seed, plan, 3);
        let capacity = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for block in [2048u32, 1024, 2048] {
            let told = [&[0, 0, 0, 15][..], &block.to_be_bytes()].concat();
            double.will(0, &[], &told);
            let asks = seed as usize % 3;
            assert_eq!(ask(&mut rig, &mut clients, asks, &capacity, &[], 8).2, told);
            for who in 0..3 {
                let data = vec![who as u8; 2 * block as usize];
                assert_eq!(ask(&mut rig, &mut clients, who, &write(0, 2), &data, 0).0, 0);
                let (status, _, got, rest) = ask(&mut rig, &mut clients, who, &read(0, 2), &[], 2 * block);
                assert!(status == 0 && got == data && rest == (0, 0), "{block} by {who}");
            }
            double.will(0, &[], &[&[0, 0xb0, 0, 60][..], &[0; 60]].concat());
            let page = ask(&mut rig, &mut clients, asks, &[0x12, 1, 0xb0, 0, 64, 0], &[], 64).2;
            assert_eq!(page[8..12], ((256 << 10) / block).to_be_bytes(), "MAXIMUM TRANSFER LENGTH");
        }
        rig.finish(&mut clients);
    });
}

/// Who writes when its port is put in standby may write no longer, but goes on with what that state serves.
#[test]
fn pages_are_set_through_a_port_in_standby_even_by_who_was_writing() {
    let barred = std::cell::Cell::new(0);
    seeds(24, |seed| {
        let faults = Faults::none();
        let plan = Plan { reactors: 1 + seed as usize % 3, two_ports: true, faults, ..Plan::default() };
        let (mut rig, mut clients, double) = stage(seed, plan, 1);
        clients.push(rig.client("host", 1, Manner::default()));
        clients[1].login(rig.second, TARGET);
        rig.until(&mut clients, Duration::from_secs(10), "it is in", |_, clients| clients[1].is_full());
        assert_eq!(run(&mut rig, &mut clients, 1, ready), status::GOOD);
        for block in 0..8 {
            clients[1].command(lun(0), &write(block, 1), vec![1; 512], 0);
        }
        let itt = set_group(&mut clients[0], AccessState::Standby);
        assert_eq!(status_of(&mut rig, &mut clients, 0, itt), status::GOOD);
        barred.set(barred.get() + rig.alive().map(|r| r.world.units[0].barred.len()).sum::<usize>());
        rig.pass(&mut clients, Duration::from_millis(100));
        clients[1].events.clear();
        let select = [0x15, 0x10, 0, 0, 4, 0];
        let (status, sense, ..) = ask(&mut rig, &mut clients, 1, &select, &[0; 4], 0);
        assert_eq!((status, sense[2], sense[12], sense[13]), (2, 6, 0x2a, 0x06), "the states have changed");
        let (status, sense, ..) = ask(&mut rig, &mut clients, 1, &select, &[0; 4], 0);
        assert_eq!((status, double.count(0x15)), (status::GOOD, 1), "{sense:02x?}");
        let (status, sense, ..) = ask(&mut rig, &mut clients, 1, &write(0, 1), &[1; 512], 0);
        assert_eq!((status, sense[2], sense[12], sense[13]), (2, 2, 0x04, 0x0b));
        rig.finish(&mut clients);
    });
    assert!(barred.get() > 0, "somebody was writing");
}

/// PREEMPT takes the right to write, also to what waits for a thread: the device never gets it, and nobody waits for it.
#[test]
fn what_the_device_has_not_got_by_a_preempt_it_never_gets() {
    seeds(24, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, faults: Faults::none(), ..Plan::default() };
        let (mut rig, mut clients, double) = stage(seed, plan, 2);
        for who in 0..2 {
            assert_eq!(run(&mut rig, &mut clients, who, |c| reserve_out(c, 0, 0, key(who))), status::GOOD);
        }
        assert_eq!(run(&mut rig, &mut clients, 0, |c| reserve_out(c, 1, key(0), 0)), status::GOOD);
        rig.saving_hangs = true;
        let late = clients[0].command(lun(0), &write(0, 1), vec![1; 512], 0);
        let asks = clients[0].command(lun(0), &read(0, 1), Vec::new(), 512);
        rig.pass(&mut clients, Duration::from_millis(50));
        let before = rig.below.now();
        let preempt = reserve_out(&mut clients[1], 4, key(1), key(0));
        assert_eq!(status_of(&mut rig, &mut clients, 1, preempt), status::GOOD);
        assert!(rig.below.now() - before < 2_000_000_000, "it does not wait for the device");
        rig.saving_hangs = false;
        let mut told = Vec::new();
        rig.until(&mut clients, Duration::from_secs(10), "the loser is told", |_, clients| {
            told.extend(clients[0].events.drain(..).filter_map(|event| match event {
                Event::Answer { itt, status, .. } => Some((itt, status)),
                _ => None,
            }));
            told.len() == 2
        });
        told.sort_unstable();
        assert_eq!(told, [(late, status::RESERVATION_CONFLICT), (asks, status::GOOD)]);
        assert_eq!(double.count(0x2a), 0);
        rig.finish(&mut clients);
    });
}

#[test]
fn an_abort_is_answered_although_the_device_hangs() {
    seeds(8, |seed| {
        let plan = Plan { reactors: 1 + seed as usize % 3, faults: Faults::none(), ..Plan::default() };
        let (mut rig, mut clients, double) = stage(seed, plan, 2);
        // The thread that waits for the device does not come to an end.
        rig.saving_hangs = true;
        let old = clients[0].command(lun(0), &write(0, 1), vec![1; 512], 0);
        rig.pass(&mut clients, Duration::from_millis(50));
        let itt = clients[0].manage(TmfFunction::ABORT_TASK, lun(0), old);
        rig.until(&mut clients, Duration::from_secs(10), "the abort", |_, clients| {
            let complete = Event::Managed { itt, response: TmfResponse::COMPLETE };
            clients[0].events.iter().any(|e| *e == complete)
        });
        clients[0].forget(old);
        clients[0].events.clear();
        let newer = clients[1].command(lun(0), &write(0, 1), vec![2; 512], 0);
        let asks = clients[1].command(lun(0), &[0; 6], Vec::new(), 0);
        rig.pass(&mut clients, Duration::from_millis(200));
        let parked: usize = rig.alive().map(|r| r.world.units[0].parked.len()).sum();
        assert_eq!(parked, 1, "who writes waits for the ghost; who only asks does not");
        rig.saving_hangs = false;
        let mut told = 0;
        rig.until(&mut clients, Duration::from_secs(10), "the others", |_, clients| {
            while let Some(event) = clients[1].events.pop_front() {
                if let Event::Answer { itt, status, .. } = event {
                    assert!([newer, asks].contains(&itt) && status == 0);
                    told += 1;
                }
            }
            told == 2
        });
        assert_eq!(double.count(0x2a), 1, "what was recalled in time was never sent");
        let (_, _, data, _) = ask(&mut rig, &mut clients, 0, &read(0, 1), &[], 512);
        assert_eq!(data, vec![2; 512]);
        rig.finish(&mut clients);
    });
}

#[test]
fn what_the_device_has_said_is_forgotten_with_a_refusal() {
    use crate::reactor::disk::Client as Of;
    use crate::reactor::gates::Then;
    let (mut rig, _, _) = stage(1, Plan::default(), 1);
    let client = Of::Task {
        conn: crate::ids::ConnId { index: 0, generation: 0 },
        task: crate::ids::TaskId { index: 9, generation: 9 },
        part: 0,
    };
    let lu = crate::ids::LuId(0);
    let learned = || Then::Learned { client, lu };
    let reactor = rig.reactors[0].as_mut().expect("it runs");
    reactor.world.reports.push((client, lu, PassReport::default()));
    reactor.go_on(learned(), Err(crate::scsi::Failure::Status(status::BUSY)));
    assert!(reactor.world.reports.is_empty());
}

//! COMPARE AND WRITE from several cores at once: no count is lost, and plain writes do not come in between.

use std::time::Duration;

use super::client::{Client, Event, Manner};
use super::load::{Load, lun};
use super::reservations::{ready, run};
use super::rig::{Plan, Rig};
use super::seeds;
use crate::scsi::status;

/// The blocks that all count in, which must always be equal.
const AT: u8 = 8;
const BLOCKS: u8 = 5;
const BYTES: usize = BLOCKS as usize * 512;

/// Plain writes count in this, swaps in ones.
const STEP: u64 = 1 << 32;

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Reading(u32),
    Swapping(u32),
    Ored(u32),
    Writing(u32),
}

/// Somebody who counts.
#[derive(Debug)]
struct Counter {
    doing: Doing,
    /// What the blocks held when last looked at.
    seen: Option<u64>,
    swapped: u64,
    written: u64,
    /// Somebody writes plainly: a READ may see half of that, as it always may.
    torn: bool,
}

fn blocks_of(value: u64) -> Vec<u8> {
    value.to_be_bytes().repeat(BYTES / 8)
}

/// The count in the blocks, if it is the same everywhere.
fn value_of(data: &[u8]) -> Option<u64> {
    let words = data.as_chunks::<8>().0;
    let whole = data.len() == BYTES && words.iter().all(|w| w == &words[0]);
    whole.then(|| u64::from_be_bytes(words[0]))
}

/// READ, WRITE and ORWRITE(16) of the blocks.
fn cdb(opcode: u8) -> [u8; 16] {
    [opcode, 0, 0, 0, 0, 0, 0, 0, 0, AT, 0, 0, 0, BLOCKS, 0, 0]
}

impl Counter {
    fn new(torn: bool) -> Self {
        Self { doing: Doing::Nothing, seen: None, swapped: 0, written: 0, torn }
    }

    fn read(&mut self, c: &mut Client) {
        self.doing = Doing::Reading(c.command(lun(0), &cdb(0x88), Vec::new(), BYTES as u32));
    }

    /// Counts one up, if nobody else has meanwhile.
    fn swap(&mut self, c: &mut Client) {
        let Some(seen) = self.seen.take() else { return self.read(c) };
        let data = [blocks_of(seen), blocks_of(seen + 1)].concat();
        self.doing = Doing::Swapping(c.command(lun(0), &cdb(0x89), data, 0));
    }

    /// ORs nothing in: as good as any other reason to read, change and write.
    fn or(&mut self, c: &mut Client) {
        self.doing = Doing::Ored(c.command(lun(0), &cdb(0x8b), blocks_of(0), 0));
    }

    fn write(&mut self, c: &mut Client) {
        let data = blocks_of((self.written + 1) * STEP);
        self.doing = Doing::Writing(c.command(lun(0), &cdb(0x8a), data, 0));
    }

    fn hear(&mut self, tag: u32, got: u8, sense: &[u8], data: &[u8]) {
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        let good = got == status::GOOD;
        match doing {
            Doing::Reading(itt) if itt == tag && good => {
                self.seen = value_of(data);
                assert!(self.torn || self.seen.is_some(), "{data:x?}");
            }
            Doing::Swapping(itt) if itt == tag && good => self.swapped += 1,
            Doing::Swapping(itt) if itt == tag => {
                assert_eq!((got, sense[2], sense[12]), (status::CHECK_CONDITION, 0x0e, 0x1d), "{sense:x?}");
                // The first byte that differs is told.
                assert_eq!(sense[0], 0xf0);
                assert!(u32::from_be_bytes([sense[3], sense[4], sense[5], sense[6]]) < 8);
            }
            Doing::Ored(itt) if itt == tag && good => {}
            Doing::Writing(itt) if itt == tag && good => self.written += 1,
            other => panic!("{other:?} {tag} {got:#x} {sense:x?}"),
        }
    }
}

/// Everybody counts, until `enough` swaps have been made; the last client writes if `writes`.
fn count(seed: u64, writes: bool) {
    let plan = Plan { reactors: 3 + seed as usize % 3, disks: vec![24], ..Plan::default() };
    let mut rig = Rig::new(seed, &plan);
    let mut clients: Vec<Client> = (0..5).map(|n| rig.client("host", n, Manner::default())).collect();
    Load::new(1, 24).log_in(&mut rig, &mut clients);
    for who in 0..clients.len() {
        assert_eq!(run(&mut rig, &mut clients, who, ready), status::GOOD);
    }
    let itt = clients[0].command(lun(0), &cdb(0x8a), blocks_of(0), 0);
    assert_eq!(super::reservations::status_of(&mut rig, &mut clients, 0, itt), status::GOOD);
    let mut counters: Vec<Counter> = clients.iter().map(|_| Counter::new(writes)).collect();
    let writer = counters.len() - 1;
    rig.until(&mut clients, Duration::from_secs(600), "all have counted", |rig, clients| {
        let swaps: u64 = counters.iter().map(|c| c.swapped).sum();
        for (who, (client, counter)) in clients.iter_mut().zip(&mut counters).enumerate() {
            while let Some(event) = client.events.pop_front() {
                let Event::Answer { itt, status, sense, data } = event else { panic!("{event:?}") };
                counter.hear(itt, status, &sense, &data);
            }
            let busy = counter.doing != Doing::Nothing || client.credit() == 0 || swaps >= 40;
            match rig.chance(4) {
                _ if busy => {}
                0 => {}
                // As often as somebody else was in time: else nobody would ever be.
                _ if who == writer && writes && swaps < 2 * counter.written => {}
                _ if who == writer && writes => counter.write(client),
                1 => counter.or(client),
                _ => counter.swap(client),
            }
        }
        swaps >= 40 && counters.iter().all(|c| c.doing == Doing::Nothing)
    });
    let mut last = Counter::new(false);
    last.read(&mut clients[0]);
    rig.until(&mut clients, Duration::from_secs(10), "the count is read", |_, clients| {
        if let Some(Event::Answer { itt, status, sense, data }) = clients[0].events.pop_front() {
            last.hear(itt, status, &sense, &data);
        }
        last.seen.is_some()
    });
    let (swapped, written) = (counters.iter().map(|c| c.swapped).sum::<u64>(), counters[writer].written);
    let counted = last.seen.unwrap();
    assert_eq!(counted / STEP, written, "a write that was answered is gone");
    assert!(
        if writes { counted % STEP <= swapped } else { counted == swapped },
        "{counted:#x}: {counters:?}"
    );
    rig.finish(&mut clients);
}

#[test]
fn no_swap_is_lost() {
    seeds(16, |seed| count(seed, false));
}

#[test]
fn no_write_comes_between() {
    seeds(16, |seed| count(seed, true));
}

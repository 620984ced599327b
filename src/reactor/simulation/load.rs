//! Random commands from many initiators, and the history of what came of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{Client, Event};
use super::history::{BLOCK, Fate, History, WriteId};
use super::rig::{Rig, TARGET};
use crate::scsi::status;

/// What one command was.
#[derive(Debug, Clone)]
pub(super) enum Did {
    Write {
        disk: usize,
        id: WriteId,
        fua: bool,
    },
    Read {
        disk: usize,
        start: u64,
        first: u64,
    },
    /// A flush, and the writes that were answered before it was sent.
    Flush {
        disk: usize,
        before: Vec<WriteId>,
    },
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Nothing was done, and the same may be tried again.
    Again,
    /// It failed for good.
    Failed,
}

/// The commands of all initiators on all disks.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) histories: Vec<History>,
    blocks: u64,
    /// The longest transfer, blocks.
    pub(super) longest: u64,
    /// By client and tag.
    pub(super) open: BTreeMap<(usize, u32), Did>,
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// Senses other than unit attentions that came, by key, code and qualifier.
    pub(super) senses: BTreeMap<(u8, u8, u8), u64>,
    pub(super) full: u64,
    /// Unmaps and WRITE SAMEs are sent too.
    pub(super) clears: bool,
}

/// LBA and length of a 10-byte CDB.
pub(super) fn cdb10(opcode: u8, flags: u8, first: u64, count: u64) -> [u8; 10] {
    let (lba, len) = ((first as u32).to_be_bytes(), (count as u16).to_be_bytes());
    [opcode, flags, lba[0], lba[1], lba[2], lba[3], 0, len[0], len[1], 0]
}

impl Load {
    pub(super) fn new(disks: usize, blocks: u64) -> Self {
        Self {
            histories: (0..disks).map(|_| History::default()).collect(),
            blocks,
            longest: 16,
            open: BTreeMap::new(),
            answered: 0,
            failed: 0,
            senses: BTreeMap::new(),
            full: 0,
            clears: true,
        }
    }

    /// Logs everybody in, and takes the first unit attention of every LUN.
    pub(super) fn log_in(&self, rig: &mut Rig, clients: &mut [Client]) {
        clients.iter_mut().for_each(|c| c.login(rig.address, TARGET));
        rig.until(clients, Duration::from_secs(20), "everybody logs in", |_, c| {
            c.iter().all(Client::is_full)
        });
        clients.iter_mut().for_each(|c| c.events.clear());
    }

    fn some_range(&self, rig: &Rig) -> (u64, u64) {
        let count = 1 + rig.chance(self.longest);
        (rig.chance(self.blocks - count + 1), count)
    }

    /// Sends one random command, if the window lets it.
    pub(super) fn send(&mut self, rig: &Rig, clients: &mut [Client], who: usize) -> Option<u32> {
        if clients[who].credit() == 0 {
            return None;
        }
        let disk = rig.chance(self.histories.len() as u64) as usize;
        let (first, count) = self.some_range(rig);
        Some(match rig.chance(20) {
            0..9 => self.send_write(&mut clients[who], who, disk, (first, count), rig.chance(4) == 0),
            9..17 => self.send_read(&mut clients[who], who, disk, (first, count)),
            17 if self.clears => self.send_unmap(&mut clients[who], who, disk, (first, count)),
            18 if self.clears => self.send_same(&mut clients[who], who, disk, (first, count)),
            _ => self.send_flush(&mut clients[who], who, disk),
        })
    }

    pub(super) fn send_write(
        &mut self,
        c: &mut Client,
        who: usize,
        disk: usize,
        at: (u64, u64),
        fua: bool,
    ) -> u32 {
        let id = self.histories[disk].write(at.0, at.1, false);
        let cdb = cdb10(0x2a, if fua { 8 } else { 0 }, at.0, at.1);
        let itt = c.command(lun(disk), &cdb, id.block().repeat(at.1 as usize), 0);
        self.open.insert((who, itt), Did::Write { disk, id, fua });
        itt
    }

    pub(super) fn send_read(&mut self, c: &mut Client, who: usize, disk: usize, at: (u64, u64)) -> u32 {
        let start = self.histories[disk].now();
        let itt = c.command(lun(disk), &cdb10(0x28, 0, at.0, at.1), Vec::new(), at.1 as u32 * BLOCK as u32);
        self.open.insert((who, itt), Did::Read { disk, start, first: at.0 });
        itt
    }

    fn send_unmap(&mut self, c: &mut Client, who: usize, disk: usize, at: (u64, u64)) -> u32 {
        let id = self.histories[disk].write(at.0, at.1, true);
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend(at.0.to_be_bytes());
        list.extend((at.1 as u32).to_be_bytes());
        list.extend([0; 4]);
        let itt = c.command(lun(disk), &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], list, 0);
        self.open.insert((who, itt), Did::Write { disk, id, fua: false });
        itt
    }

    fn send_same(&mut self, c: &mut Client, who: usize, disk: usize, at: (u64, u64)) -> u32 {
        let id = self.histories[disk].write(at.0, at.1, false);
        let itt = c.command(lun(disk), &cdb10(0x41, 0, at.0, at.1), id.block().to_vec(), 0);
        self.open.insert((who, itt), Did::Write { disk, id, fua: false });
        itt
    }

    pub(super) fn send_flush(&mut self, c: &mut Client, who: usize, disk: usize) -> u32 {
        let before = self.histories[disk].answered();
        let itt = c.command(lun(disk), &cdb10(0x35, 0, 0, 0), Vec::new(), 0);
        self.open.insert((who, itt), Did::Flush { disk, before });
        itt
    }

    /// Takes what one client has heard of its commands; other events are given back.
    pub(super) fn hear(&mut self, who: usize, client: &mut Client) -> Vec<Event> {
        let mut others = Vec::new();
        while let Some(event) = client.events.pop_front() {
            match event {
                Event::Answer { itt, status, sense, data } => self.answer(who, itt, status, &sense, &data),
                other => others.push(other),
            }
        }
        others
    }

    fn answer(&mut self, who: usize, itt: u32, code: u8, sense: &[u8], data: &[u8]) {
        let Some(did) = self.open.remove(&(who, itt)) else { return };
        self.answered += 1;
        let verdict = self.judge(code, sense);
        match (did, verdict) {
            (Did::Write { disk, id, fua }, Verdict::Good) => {
                self.histories[disk].written(id, Fate::Good);
                if fua {
                    self.histories[disk].durable(id);
                }
            }
            (Did::Write { disk, id, .. }, _) => self.histories[disk].written(id, Fate::Unknown),
            (Did::Read { disk, start, first }, Verdict::Good) => {
                assert!(!data.is_empty() && data.len().is_multiple_of(BLOCK), "{} bytes read", data.len());
                self.histories[disk].read(start, first, data);
            }
            (Did::Flush { disk, before }, Verdict::Good) => {
                before.into_iter().for_each(|id| self.histories[disk].durable(id));
            }
            (Did::Read { .. } | Did::Flush { .. }, _) => {}
        }
    }

    fn judge(&mut self, code: u8, sense: &[u8]) -> Verdict {
        match code {
            status::GOOD => Verdict::Good,
            status::TASK_SET_FULL | status::BUSY => {
                self.full += 1;
                Verdict::Again
            }
            status::CHECK_CONDITION if sense[2] & 15 == 6 => Verdict::Again,
            status::CHECK_CONDITION => {
                *self.senses.entry((sense[2] & 15, sense[12], sense[13])).or_default() += 1;
                self.failed += 1;
                Verdict::Failed
            }
            _ => {
                self.failed += 1;
                Verdict::Failed
            }
        }
    }

    /// Of a client that lost its connection: writes may still happen until `ended`.
    pub(super) fn lose(&mut self, who: usize) -> Vec<(usize, WriteId)> {
        let mine: Vec<u32> = self.open.keys().filter(|(c, _)| *c == who).map(|(_, itt)| *itt).collect();
        mine.into_iter().filter_map(|itt| self.lose_one(who, itt)).collect()
    }

    /// Of one task that will not be answered: its write, if it is one.
    pub(super) fn lose_one(&mut self, who: usize, itt: u32) -> Option<(usize, WriteId)> {
        match self.open.remove(&(who, itt)) {
            Some(Did::Write { disk, id, .. }) => Some((disk, id)),
            _ => None,
        }
    }

    /// From now on these must not change anything any more.
    pub(super) fn bury(&mut self, ghosts: Vec<(usize, WriteId)>) {
        for (disk, id) in ghosts {
            self.histories[disk].written(id, Fate::Unknown);
        }
    }

    /// Reads every block by every client, so that what is there at the end is part of the history.
    pub(super) fn read_all(&mut self, rig: &mut Rig, clients: &mut [Client]) {
        let step = self.longest.max(16);
        for who in 0..clients.len() {
            for disk in 0..self.histories.len() {
                for first in (0..self.blocks).step_by(step as usize) {
                    self.until_heard(rig, clients, "credit", |_, c| c[who].credit() > 0);
                    self.send_read(&mut clients[who], who, disk, (first, step.min(self.blocks - first)));
                }
            }
        }
        self.settle(rig, clients);
    }

    /// As [`Load::read_all`], one command at a time, again and again until it is served.
    pub(super) fn read_all_tolerant(&mut self, rig: &mut Rig, clients: &mut [Client]) {
        for disk in 0..self.histories.len() {
            for first in (0..self.blocks).step_by(64) {
                self.until_heard(rig, clients, "credit", |_, c| c[0].credit() > 0);
                self.send_read(&mut clients[0], 0, disk, (first, 64.min(self.blocks - first)));
                self.settle(rig, clients);
            }
        }
    }

    /// Sends that many commands, from anybody.
    pub(super) fn run(&mut self, rig: &mut Rig, clients: &mut [Client], commands: u64) {
        let mut sent = 0;
        rig.until(clients, Duration::from_secs(600), "the load is done", |rig, clients| {
            for who in 0..clients.len() {
                let heard = self.hear(who, &mut clients[who]);
                assert!(heard.iter().all(Event::is_told), "{heard:?} of client {who}");
                if rig.chance(3) == 0 && clients[who].outstanding() < 16 {
                    sent += u64::from(self.send(rig, clients, who).is_some());
                }
            }
            sent >= commands
        });
    }

    /// Until everything is answered.
    pub(super) fn settle(&mut self, rig: &mut Rig, clients: &mut [Client]) {
        self.until_heard(rig, clients, "all commands are answered", |load, _| load.open.is_empty());
    }

    pub(super) fn until_heard(
        &mut self,
        rig: &mut Rig,
        clients: &mut [Client],
        what: &str,
        mut done: impl FnMut(&mut Self, &mut [Client]) -> bool,
    ) {
        rig.until(clients, Duration::from_secs(60), what, |_, clients| {
            for (who, client) in clients.iter_mut().enumerate() {
                for event in self.hear(who, client) {
                    assert!(matches!(event, Event::Pong(_) | Event::Told(_)), "{event:?} of client {who}");
                }
            }
            done(self, clients)
        });
    }

    pub(super) fn check(&self) {
        self.histories.iter().for_each(History::check);
    }
}

/// The LUN of a disk as it stands in a PDU.
pub(super) fn lun(disk: usize) -> u64 {
    (disk as u64) << 48
}

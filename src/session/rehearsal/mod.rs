//! A rehearsal: one session in full feature phase, an initiator that is mostly honest, and a host in memory that
//! checks every call. What happens, and in which order, follows from bytes; so this is both a fuzz target and a
//! property test.
//!
//! It promises to notice: a slot that is freed twice, used after it was freed, or touched while the kernel has it; a
//! command that is answered twice, never, or after it was aborted; numbers out of order and a window that moves back
//! or stays shut; payload at a wrong place, a block cut in two, a range outside the medium; an initiator that does
//! nothing wrong and is refused.

mod answers;
mod commands;
mod dice;
mod medium;
mod requests;
mod slots;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use self::dice::Dice;
use self::medium::units;
use self::requests::Initiator;
use self::slots::Slots;
use self::stage::{Stage, State};
use super::host::{After, Host, Manage};
use super::keys::{LEVEL_RFC7144, Negotiated};
use super::login::Established;
use super::order::TOO_MUCH_HELD;
use super::tmf::{Aborted, Ending};
use super::{Close, Limited, Session};
use crate::ids::{BufId, LuId};
use crate::scsi::{Asc, Failure, Sense, SharedOp};
use crate::target::{Catalog, Lun, Target, Tpg, TpgParams};

/// Operations of one rehearsal.
const MOST_STEPS: usize = 600;

/// Rounds after which everything must have come to rest.
const PATIENCE: usize = 4_000;

/// Plays the rehearsal that `bytes` describe. Panics when something is not as it should be.
pub fn play(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let mut world = World::new(&mut dice);
    let mut steps = 0;
    while !dice.over() && steps < MOST_STEPS && !world.closed {
        world.step(&mut dice);
        steps += 1;
    }
    world.come_to_rest(&mut dice);
    world.close();
    world.bury();
}

struct World {
    session: Session,
    stage: Stage,
    initiator: Initiator,
    /// A receive is with the kernel: where it fills first.
    armed: Option<Option<(BufId, u32, u32)>>,
    staging: Vec<u8>,
    paused: bool,
    closed: bool,
    /// Commands that the reset of another session ended have yet to be answered.
    untold: Vec<Ending>,
    /// Disk requests may fail.
    faults: bool,
}

fn negotiated(dice: &mut Dice<'_>) -> Negotiated {
    let lengths = [8192, 512, 513, 4096, 65_536, 262_144];
    let max_burst_length = dice.pick(&[262_144, 512, 8192, 65_536, 1 << 20, 100_000]);
    Negotiated {
        header_digest: dice.once_in(4),
        data_digest: dice.once_in(3),
        max_recv_data_segment_length: dice.pick(&lengths),
        max_xmit_data_segment_length: dice.pick(&lengths),
        max_burst_length,
        first_burst_length: dice.pick(&[65_536, 512, 8192, 262_144, 1000]).min(max_burst_length),
        initial_r2t: dice.once_in(2),
        immediate_data: !dice.once_in(4),
        max_outstanding_r2t: dice.pick(&[1, 2, 8, 100]),
        data_pdu_in_order: !dice.once_in(4),
        protocol_level: LEVEL_RFC7144,
        ..Negotiated::default()
    }
}

fn catalog(window: u32) -> Arc<Catalog> {
    let lun = |n: u16| Lun { lun: n, lu: LuId(n.into()), read_only: false, group: 0 };
    let group = Tpg {
        tag: 1,
        relative_port: 1,
        portals: vec![([192, 0, 2, 1], 3260).into()],
        params: TpgParams {
            command_window: window,
            nop_interval: Duration::from_secs(5),
            nop_timeout: Duration::from_secs(3600),
            ..TpgParams::default()
        },
        luns: vec![lun(0), lun(1), lun(2), lun(3)],
        open: true,
        ..Tpg::default()
    };
    // Many names, so that an answer to SendTargets can be longer than a PDU.
    let target = |n: u32, tpgs| {
        Arc::new(Target {
            iqn: format!("iqn.2026-01.org.example:disk{n}"),
            alias: None,
            redirect: None,
            tpgs,
        })
    };
    let others = (1..20).map(|n| target(n, vec![Tpg { luns: vec![], acls: vec![], ..another() }]));
    Arc::new(Catalog {
        targets: std::iter::once(target(0, vec![group])).chain(others).collect(),
        ..Catalog::default()
    })
}

fn another() -> Tpg {
    Tpg { tag: 1, relative_port: 2, portals: vec![([0, 0, 0, 0], 3260).into()], open: true, ..Tpg::default() }
}

impl World {
    fn new(dice: &mut Dice<'_>) -> Self {
        let negotiated = negotiated(dice);
        let window = dice.pick(&[8, 1, 2, 64]);
        let honest = dice.once_in(2);
        let capacity = dice.pick(&[8 << 20, 2 << 20, 600 << 10]);
        let (cmd_sn, stat_sn) = (dice.pick(&[1, u32::MAX - 2, 0x7fff_fffe]), dice.pick(&[7, u32::MAX]));
        let catalog = catalog(window);
        let established = Box::new(Established {
            negotiated: negotiated.clone(),
            isid: [0x40, 0, 0, 0, 0, 1],
            cid: 1,
            joins: None,
            target: catalog.targets.first().cloned(),
            discovery: catalog.discovery.clone(),
            tpg: 0,
            luns: catalog.targets[0].tpgs[0].luns.clone(),
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn.wrapping_add(window - 1),
            stat_sn,
            initiator: "iqn.2026-01.org.example:host".into(),
            chap: None,
            local: ([192, 0, 2, 1], 3260).into(),
            peer: [192, 0, 2, 2].into(),
            itt: 0,
        });
        let stage = Stage::new(Slots::new(capacity, capacity / 8), units(), catalog);
        let mut session = Session::new(established, stage.now);
        session.limit(Limited { any: dice.once_in(2), initiator: None });
        Self {
            session,
            stage,
            initiator: Initiator::new(negotiated, window, cmd_sn, stat_sn, honest),
            armed: Some(None),
            staging: Vec::new(),
            paused: false,
            closed: false,
            untold: Vec::new(),
            faults: dice.once_in(3),
        }
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        self.initiator.log = self.stage.written.len();
        match dice.below(32) {
            0..=6 => self.initiator.command(dice),
            7..=11 => {
                self.initiator.data_out(dice);
            }
            12 => self.initiator.ping(dice),
            13 => self.initiator.text(dice),
            14 if dice.once_in(3) => self.initiator.manage(dice),
            15 if dice.once_in(12) => self.initiator.log_out(dice),
            16 => self.initiator.rubbish(dice),
            17..=20 => {
                let most = dice.pick(&[70_000, 1, 47, 48, 500, 1 << 20]);
                self.receive(most);
            }
            21 | 22 => {
                let count = self.stage.jobs.len() as u32;
                if count > 0 {
                    self.stage.submit(dice.below(count) as usize);
                }
            }
            23..=25 => self.finish_job(dice),
            26 | 27 => self.send(1 + dice.below(20)),
            28 => self.answer_shared(),
            29 => self.answer_management(),
            30 => self.pass_time(dice),
            31 => self.interfere(dice),
            14 => self.tell_aborted(dice),
            15 if dice.once_in(2) => {
                (self.stage.broke, self.stage.lends) = (dice.once_in(2), dice.once_in(2));
            }
            15 => (self.stage.slots.pressed, self.stage.hindered) = (dice.once_in(2), dice.once_in(4)),
            _ => {}
        }
        self.feed();
    }

    /// Bytes arrive: first in the slot that was named when the receive was armed, then in staging.
    fn receive(&mut self, most: usize) {
        let Some(into) = self.armed.filter(|_| !self.initiator.wire.is_empty()) else { return };
        self.armed = None;
        let mut left = most.min(self.initiator.wire.len());
        if let Some((buf, at, len)) = into {
            let count = left.min(len as usize);
            let bytes: Vec<u8> = self.initiator.wire.drain(..count).collect();
            self.stage.slots.fill(buf)[at as usize..][..count].copy_from_slice(&bytes);
            self.stage.slots.end_filling(buf);
            self.session.placed(&self.stage, count as u32);
            left -= count;
        }
        let count = left.min(self.session.staging() - self.staging.len());
        self.staging.extend(self.initiator.wire.drain(..count));
        self.use_staged();
    }

    fn use_staged(&mut self) {
        if self.closed {
            return;
        }
        match self.session.input(&mut self.stage, &self.staging) {
            Ok(input) => {
                self.staging.drain(..input.used);
                self.paused = !(input.read_on || self.session.closing().is_some());
                let has_room = self.staging.len() < self.session.staging();
                assert!(has_room || self.paused, "staging is full and nothing is taken");
            }
            Err(why) => {
                let excused = !self.initiator.honest && (why == Close::Unread || why == TOO_MUCH_HELD);
                let broken = self.initiator.ruined || self.staging.is_empty() || excused;
                assert!(broken, "{why:?} for an initiator that did nothing to deserve it");
                return self.close();
            }
        }
        self.arm();
    }

    fn arm(&mut self) {
        if self.armed.is_some() || self.paused || self.session.closing().is_some() {
            return;
        }
        let place = self.session.next_place();
        if let Some((buf, at, len)) = place {
            assert!(len > 0 && (at + len) as usize <= self.stage.slots.read(buf).len());
            self.stage.slots.begin_filling(buf);
        }
        self.armed = Some(place);
    }

    fn finish_job(&mut self, dice: &mut Dice<'_>) {
        let count = self.stage.jobs.len() as u32;
        if count == 0 {
            return;
        }
        let index = dice.below(count) as usize;
        let well = !(self.faults && dice.once_in(6));
        self.initiator.excused |= !well;
        self.stage.submit(index);
        self.end_job(index, well, well && dice.once_in(4));
    }

    /// A disk request ends. Now and then its session is told later, in a later step.
    fn end_job(&mut self, index: usize, well: bool, late: bool) {
        if self.stage.jobs[index].state == State::Ended || (self.stage.end(index, well) && !late) {
            let job = self.stage.jobs.remove(index);
            // A request whose end was kept back has ended well: a failure is told at once.
            let result = if well { Ok(()) } else { Err(Failure::Check(Sense::read_error(0))) };
            if !self.closed {
                self.session.disk_done(&mut self.stage, job.task, job.part, result);
            }
        }
    }

    /// PDUs leave, and what was to be done then is done.
    fn send(&mut self, count: u32) {
        for _ in 0..count {
            let Some((bytes, after)) = self.stage.send() else { break };
            self.initiator.hear(&bytes, &self.stage.written);
            match after {
                After::Keep => {}
                After::Free(buf) => self.stage.slots.free(buf),
                After::Tell(task, buf) => self.session.sent(&mut self.stage, task, buf),
                After::Proceed(task) => self.session.proceed(&mut self.stage, task),
                After::Close => return self.close(),
            }
        }
        self.session.send_on(&mut self.stage);
        if std::mem::take(&mut self.paused) {
            self.use_staged();
        }
    }

    /// The owner of a unit decides on the oldest change.
    fn answer_shared(&mut self) {
        if self.stage.asked.is_empty() {
            return;
        }
        let (task, lu, op) = self.stage.asked.remove(0);
        let nexus = self.session.nexus().clone();
        let unit = &mut self.stage.units[lu.0 as usize].lu;
        let result = unit.state.apply(&unit.facts, &op, &nexus).map(|(mut state, _)| {
            // An operation on the whole medium takes no time here, and leaves this one as it is.
            state.erasure = None;
            unit.state = Arc::new(state);
        });
        self.session.shared_done(&mut self.stage, task, result);
    }

    /// The fences of the oldest management function stand.
    fn answer_management(&mut self) {
        if self.stage.managing.is_empty() || self.closed {
            return;
        }
        let (token, what) = self.stage.managing.remove(0);
        match what {
            Manage::Fence => {}
            Manage::NexusReset(units) => units.iter().for_each(|lu| self.lose_nexus(*lu)),
            Manage::LuReset(lu) => self.reset(&[lu]),
            Manage::TargetReset { units, .. } => self.reset(&units),
        }
        self.session.managed(&mut self.stage, token);
    }

    fn lose_nexus(&mut self, lu: LuId) {
        let nexus = self.session.nexus().clone();
        let unit = &mut self.stage.units[lu.0 as usize].lu;
        let next = unit.state.apply(&unit.facts, &SharedOp::NexusLoss, &nexus);
        unit.state = Arc::new(next.expect("it cannot be refused").0);
    }

    fn reset(&mut self, units: &[LuId]) {
        for lu in units {
            self.abort_for_another(*lu);
            self.session.attention(*lu, Asc::DEVICE_RESET);
        }
    }

    /// Every command that this ends has an answer, TASK ABORTED, once the fences stand.
    fn abort_for_another(&mut self, lu: LuId) {
        let ended = self.initiator.commands.values_mut().filter(|c| c.unit == Some(lu));
        ended.for_each(|c| c.told_late = true);
        if let Aborted::ToBeTold(ending) = self.session.abort_for_another(&mut self.stage, lu, true) {
            self.untold.push(ending);
        }
    }

    fn pass_time(&mut self, dice: &mut Dice<'_>) {
        self.stage.now += u64::from(dice.below(10_000)) * 1_000_000;
        let result = self.session.tick(&mut self.stage);
        assert!(matches!(result, Ok(()) | Err(Close::NoAnswer)));
        if result.is_err() {
            return self.close();
        }
        if dice.once_in(2) {
            self.hurry();
        }
    }

    /// Others wait for slots: what is owed for too long is given up.
    fn hurry(&mut self) {
        match self.session.hurry(&mut self.stage) {
            Ok(lapsed) => self.initiator.excused |= lapsed > 0,
            Err(why) => {
                assert_eq!(why, Close::TooSlow);
                self.close();
            }
        }
    }

    /// Something that others do: a reset by another session, or a unit attention.
    fn interfere(&mut self, dice: &mut Dice<'_>) {
        let lu = LuId(dice.below(3));
        if dice.once_in(4) {
            self.abort_for_another(lu);
        }
        self.session.attention(lu, Asc::DEVICE_RESET);
    }

    /// The fences for one of the resets of others stand.
    fn tell_aborted(&mut self, dice: &mut Dice<'_>) {
        if !self.closed && !self.untold.is_empty() {
            let ending = self.untold.swap_remove(dice.below(self.untold.len() as u32) as usize);
            self.session.tell_aborted(&mut self.stage, ending);
        }
    }

    /// Slots for those who wait.
    fn feed(&mut self) {
        if !self.closed && std::mem::take(&mut self.stage.hungry) && !self.session.resume(&mut self.stage) {
            self.stage.hungry = true;
        }
        if !self.closed && !self.stage.broke && std::mem::take(&mut self.stage.unpaid) {
            self.session.spend(&mut self.stage);
        }
    }

    /// Everybody does what is left to do. Whoever did nothing wrong has every answer then, and may go on.
    fn come_to_rest(&mut self, dice: &mut Dice<'_>) {
        (self.stage.slots.pressed, self.stage.broke) = (false, false);
        for _ in 0..PATIENCE {
            if self.closed {
                return;
            }
            self.initiator.fill_gaps(dice);
            let busy = self.initiator.wire.len() + self.stage.left_to_do() + self.untold.len();
            let busy = busy + usize::from(self.stage.unpaid);
            let said = (0..32).filter(|_| self.initiator.data_out(dice)).count() > 0;
            (0..32).for_each(|_| self.receive(1 << 20));
            self.send(1000);
            if !self.stage.jobs.is_empty() {
                self.stage.submit(0);
                self.end_job(0, true, false);
            }
            self.answer_shared();
            self.answer_management();
            self.tell_aborted(dice);
            self.feed();
            if busy == 0 && !said {
                return self.rested(dice);
            }
        }
        panic!("no rest");
    }

    fn rested(&mut self, dice: &mut Dice<'_>) {
        let initiator = &self.initiator;
        if initiator.honest {
            assert!(initiator.is_content(), "{:?} {:?} wait for ever", initiator.commands, initiator.asked);
            let none_of_luns = self.session.luns.iter().all(|l| l.open == 0);
            assert!(
                self.session.open_tasks() == 0 && none_of_luns && self.stage.slots.taken() == 0,
                "something is left over"
            );
        }
        if initiator.honest && !initiator.logging_out {
            // A window that was shut for want of slots must be opened again without being asked.
            self.pass_time(dice);
            self.send(1000);
            assert!(self.initiator.may_send(), "the window stays shut");
        }
    }

    /// The connection ends.
    fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.session.abort_all(&mut self.stage);
            assert_eq!(self.session.open_tasks(), 0);
            assert!(self.session.luns.iter().all(|l| l.open == 0 && l.deepest <= self.session.deepest()));
        }
    }

    /// What is in flight ends, and then everything has gone back.
    fn bury(mut self) {
        if let Some(Some((buf, ..))) = self.armed {
            self.stage.slots.end_filling(buf);
        }
        while let Some((_, after)) = self.stage.send() {
            if let After::Free(buf) | After::Tell(_, buf) = after {
                self.stage.slots.free(buf);
            }
        }
        self.session.finish(&mut self.stage);
        while !self.stage.jobs.is_empty() {
            assert_eq!(self.stage.jobs[0].state, State::Ghost, "a request of a session that is gone");
            self.stage.end(0, true);
        }
        assert_eq!(self.stage.slots.taken(), 0, "slots are left over");
        assert_eq!(self.stage.take_scratch().len(), 64 << 10);
    }
}

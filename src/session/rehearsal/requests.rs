//! The initiator's words: PDUs that are mostly right, with a property flipped now and then.

use std::collections::{BTreeMap, VecDeque};

use zerocopy::big_endian::U32;

use super::commands::Command;
use super::dice::Dice;
use super::medium::BLANK;
use crate::ids::LuId;
use crate::session::keys::Negotiated;
use crate::session::order::HELD_MAX;
use crate::wire::bhs::{BHS_LEN, LogoutRequest, NopOut, TaskMgmtRequest, TextRequest, padding};
use crate::wire::codes::TAG_NONE;
use crate::wire::digest::{crc32c, to_wire};
use crate::wire::sn::Sn;
use crate::wire::{flags, lun};

/// The LUNs of the rehearsal: which unit, its block length, its blocks.
pub(super) const LUNS: [(u16, LuId, u64, u64); 4] =
    [(0, LuId(0), 512, 4096), (1, LuId(1), 4096, 1024), (2, LuId(2), 512, 2048), (3, BLANK, 512, 2048)];

/// Another request that has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Ping { len: usize },
    Text,
    Management,
    Logout,
}

#[derive(Debug)]
pub(super) struct Initiator {
    pub(super) negotiated: Negotiated,
    /// Bytes on their way to the target.
    pub(super) wire: VecDeque<u8>,
    pub(super) commands: BTreeMap<u32, Command>,
    pub(super) asked: BTreeMap<u32, Asked>,
    /// Target transfer tags of pings to be answered.
    pub(super) pinged: Vec<u32>,
    /// The text answer goes on, or the text request does: under that tag.
    pub(super) text_tag: Option<u32>,
    pub(super) cmd_sn: Sn,
    pub(super) heard_exp: Sn,
    pub(super) heard_max: Sn,
    pub(super) stat_sn: u32,
    pub(super) window: u32,
    /// Numbers out of turn that requests were sent with by mistake.
    pub(super) strays: Vec<Sn>,
    /// Numbers that were passed over, or rejected: what follows them waits.
    pub(super) gaps: Vec<Sn>,
    /// Bytes that were sent since there are gaps.
    pub(super) behind: usize,
    /// Does nothing wrong.
    pub(super) honest: bool,
    /// Something else than the initiator may make commands fail.
    pub(super) excused: bool,
    /// A header with a wrong digest is on its way: nothing behind it counts.
    pub(super) ruined: bool,
    pub(super) logging_out: bool,
    /// Functions that also end what is sent under a number before theirs: that number, and the unit if it is one.
    pub(super) ends: Vec<(Sn, Option<LuId>)>,
    /// A reset of the target has used up all numbers before this one, whether they were received or not.
    pub(super) used_up: Option<Sn>,
    /// A command that fails may end others without an answer.
    pub(super) errors_end: bool,
    next_itt: u32,
    pub(super) log: usize,
}

impl Initiator {
    pub(super) fn new(negotiated: Negotiated, window: u32, cmd_sn: u32, stat_sn: u32, honest: bool) -> Self {
        Self {
            negotiated,
            wire: VecDeque::new(),
            commands: BTreeMap::new(),
            asked: BTreeMap::new(),
            pinged: Vec::new(),
            text_tag: None,
            cmd_sn: Sn(cmd_sn),
            heard_exp: Sn(cmd_sn),
            heard_max: Sn(cmd_sn).add(window).back(1),
            stat_sn,
            window,
            gaps: Vec::new(),
            strays: Vec::new(),
            behind: 0,
            honest,
            excused: false,
            ruined: false,
            logging_out: false,
            ends: Vec::new(),
            used_up: None,
            errors_end: false,
            next_itt: 0,
            log: 0,
        }
    }

    /// Whether this time something goes wrong.
    pub(super) fn slips(&self, dice: &mut Dice<'_>) -> bool {
        !self.honest && dice.once_in(12)
    }

    pub(super) fn itt(&mut self) -> U32 {
        self.next_itt += 1;
        U32::new(self.next_itt)
    }

    pub(super) fn may_send(&self) -> bool {
        let room = self.gaps.is_empty() || self.behind + 100_000 < HELD_MAX;
        self.cmd_sn.precedes_or_is(self.heard_max) && room
    }

    /// A CmdSN for the next request, and whether it counts: one that was used, or is beyond every window, is ignored.
    /// Now and then a number is passed over, and used later.
    pub(super) fn number(&mut self, dice: &mut Dice<'_>, immediate: bool) -> (U32, bool) {
        let next = self.cmd_sn;
        if immediate {
            return (U32::new(next.0), true);
        }
        if !self.gaps.is_empty() && dice.once_in(3) {
            return (U32::new(self.take_gap().0), true);
        }
        if self.gaps.is_empty() && self.slips(dice) {
            let beyond = next.add(self.window + dice.below(500));
            let wrong = if dice.once_in(2) { next.back(1 + dice.below(5)) } else { beyond };
            self.strays.push(wrong);
            return (U32::new(wrong.0), false);
        }
        if self.gaps.is_empty() && next.precedes(self.heard_max) && dice.once_in(16) {
            self.gaps.push(next);
            self.cmd_sn = next.next();
        }
        (self.next_number(immediate), true)
    }

    /// The next CmdSN.
    fn next_number(&mut self, immediate: bool) -> U32 {
        let number = self.cmd_sn;
        self.cmd_sn = if immediate { number } else { number.next() };
        U32::new(number.0)
    }

    fn take_gap(&mut self) -> Sn {
        let gap = self.gaps.swap_remove(0);
        if self.gaps.is_empty() {
            self.behind = 0;
        }
        gap
    }

    /// Every number that is missing is used.
    pub(super) fn fill_gaps(&mut self, dice: &mut Dice<'_>) {
        while !self.gaps.is_empty() {
            let pdu = NopOut { itt: self.itt(), cmd_sn: self.take_gap().into(), ..NopOut::default() };
            self.put(dice, pdu.as_bhs(), &[]);
            self.asked.insert(pdu.itt.get(), Asked::Ping { len: 0 });
        }
    }

    /// Puts a PDU on the wire.
    pub(super) fn put(&mut self, dice: &mut Dice<'_>, header: &[u8; BHS_LEN], data: &[u8]) -> bool {
        self.behind += if self.gaps.is_empty() { 0 } else { 1_500 + data.len() };
        let mut head = header.to_vec();
        if self.slips(dice) {
            let words = 1 + dice.below(4);
            head[4] = words as u8;
            head.resize(BHS_LEN + 4 * words as usize, 0);
            head[BHS_LEN..].iter_mut().for_each(|b| *b = dice.byte());
        }
        self.wire.extend(&head);
        if self.negotiated.header_digest {
            let mut digest = to_wire(crc32c(&head));
            if self.slips(dice) && dice.once_in(8) {
                digest[0] ^= 1;
                self.ruined = true;
            }
            self.wire.extend(digest);
        }
        if data.is_empty() {
            return true;
        }
        let padded = [data, &[0; 3][..padding(data.len())]].concat();
        let mut digest = to_wire(crc32c(&padded));
        let mut padded = padded;
        let spoilt = self.negotiated.data_digest && self.slips(dice);
        if spoilt {
            if dice.once_in(2) {
                digest[2] ^= 4;
            } else {
                let at = dice.below(data.len() as u32) as usize;
                padded[at] ^= 0x10;
            }
        }
        self.wire.extend(padded);
        if self.negotiated.data_digest {
            self.wire.extend(digest);
        }
        !spoilt
    }

    /// A ping, or the answer to one.
    pub(super) fn ping(&mut self, dice: &mut Dice<'_>) {
        let immediate = dice.once_in(2);
        if let Some(tag) = self.pinged.pop() {
            let mut pdu = NopOut { ttt: U32::new(tag), cmd_sn: U32::new(self.cmd_sn.0), ..NopOut::default() };
            pdu.opcode |= flags::IMMEDIATE;
            self.put(dice, pdu.as_bhs(), &[]);
            return;
        }
        if (!immediate && !self.may_send()) || self.logging_out {
            return;
        }
        let most = self.negotiated.max_recv_data_segment_length.min(70_000);
        let len = if dice.once_in(4) { dice.below(most + 1) } else { dice.below(20) } as usize;
        let (cmd_sn, _) = self.number(dice, immediate);
        let mut pdu = NopOut { itt: self.itt(), cmd_sn, ..NopOut::default() };
        pdu.opcode |= if immediate { flags::IMMEDIATE } else { 0 };
        pdu.set_data_len(len);
        // With spoilt data it is rejected as a whole, its number too.
        if self.put(dice, pdu.as_bhs(), &vec![0x5a; len]) {
            self.asked.insert(pdu.itt.get(), Asked::Ping { len });
        }
    }

    /// A Text Request, or the next of an exchange.
    pub(super) fn text(&mut self, dice: &mut Dice<'_>) {
        if !self.may_send() || self.logging_out || self.asked.values().any(|a| *a == Asked::Text) {
            return;
        }
        let goes_on = self.text_tag.take();
        // What holds already: what changes in the middle of transfers is not for this rehearsal to foretell.
        let same = format!("MaxRecvDataSegmentLength={}\0", self.negotiated.max_xmit_data_segment_length);
        let data: &[u8] = match (goes_on, dice.below(8)) {
            (Some(_), _) => b"",
            (_, 0) => b"SendTargets=\0",
            (_, 1) => same.as_bytes(),
            (_, 2) if !self.honest => b"SendTargets",
            (_, 3) if !self.honest => b"X-a=1\0SendTargets=All\0SendTargets=All\0",
            _ => b"SendTargets=All\0",
        };
        let (cmd_sn, _) = self.number(dice, false);
        let mut pdu = TextRequest { itt: self.itt(), cmd_sn, flags: flags::FINAL, ..TextRequest::default() };
        pdu.ttt = U32::new(goes_on.unwrap_or(TAG_NONE));
        if goes_on.is_none() && dice.once_in(4) {
            pdu.flags = flags::CONTINUE;
        }
        pdu.set_data_len(data.len());
        if self.put(dice, pdu.as_bhs(), data) {
            self.asked.insert(pdu.itt.get(), Asked::Text);
        }
    }

    /// A task management function.
    pub(super) fn manage(&mut self, dice: &mut Dice<'_>) {
        let immediate = !dice.once_in(4);
        if (!immediate && (!self.may_send() || !self.gaps.is_empty())) || self.logging_out {
            return;
        }
        let function = dice.pick(&[1, 1, 1, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        let waiting = self.asked.values().filter(|a| **a == Asked::Management).count();
        // More than a session lets wait: those are rejected.
        if self.honest && (function == 7 || waiting >= 60) {
            return;
        }
        let resets_target = [6, 7].contains(&function);
        if resets_target && !self.gaps.is_empty() {
            return;
        }
        let (number, unit, ..) = dice.pick(&LUNS);
        let cmd_sn = self.next_number(immediate);
        let mut pdu =
            TaskMgmtRequest { itt: self.itt(), cmd_sn, lun: lun::to_wire(number), ..Default::default() };
        // Long gone: a number that is still to come would be used up.
        pdu.ref_cmd_sn = U32::new(self.cmd_sn.back(1000).0);
        pdu.opcode |= if immediate { flags::IMMEDIATE } else { 0 };
        pdu.flags |= function;
        let open: Vec<u32> = self.commands.keys().copied().collect();
        let mut unit = unit;
        if !open.is_empty() && !dice.once_in(8) {
            let task = dice.pick(&open);
            pdu.ref_task_tag = U32::new(task);
            if let Some(of_task) = self.commands[&task].unit.filter(|_| [1, 9].contains(&function)) {
                (unit, pdu.lun) = (of_task, lun::to_wire(of_task.0 as u16));
            }
        }
        if resets_target {
            self.used_up = Some(cmd_sn.into());
        }
        if [2, 4, 5, 11].contains(&function) {
            self.ends.push((cmd_sn.into(), (function != 11).then_some(unit)));
        }
        for (itt, command) in &mut self.commands {
            command.doomed |= match function {
                1 => *itt == pdu.ref_task_tag.get() && command.unit == Some(unit),
                2..=5 => command.unit == Some(unit),
                6 | 7 | 11 => true,
                _ => false,
            };
        }
        self.put(dice, pdu.as_bhs(), &[]);
        self.asked.insert(pdu.itt.get(), Asked::Management);
    }

    pub(super) fn log_out(&mut self, dice: &mut Dice<'_>) {
        let immediate = dice.once_in(2);
        if (!immediate && (!self.may_send() || !self.gaps.is_empty())) || self.logging_out {
            return;
        }
        let cmd_sn = self.next_number(immediate);
        let mut pdu = LogoutRequest { itt: self.itt(), cmd_sn, cid: 1.into(), ..LogoutRequest::default() };
        pdu.opcode |= if immediate { flags::IMMEDIATE } else { 0 };
        pdu.flags |= if self.honest { 0 } else { dice.below(4) as u8 };
        self.asked.insert(pdu.itt.get(), Asked::Logout);
        self.logging_out = pdu.flags & flags::REASON_MASK < 2;
        self.commands.values_mut().for_each(|c| c.doomed |= self.logging_out);
        self.put(dice, pdu.as_bhs(), &[]);
    }

    /// A PDU that no initiator sends.
    pub(super) fn rubbish(&mut self, dice: &mut Dice<'_>) {
        if self.honest {
            return;
        }
        let mut header = [0; BHS_LEN];
        header.iter_mut().for_each(|b| *b = dice.byte());
        // Those that are understood have their own functions, which know what is to come of them.
        header[0] = dice.pick(&[0x10, 0x07, 0x1c, 0x20, 0x3f, 0x31, 0x03]) | header[0] & 0x40;
        header[4] = 0;
        let len = if dice.once_in(8) { dice.below(1 << 24) } else { dice.below(600) };
        header[5..8].copy_from_slice(&len.to_be_bytes()[1..]);
        if len > self.negotiated.max_recv_data_segment_length || header[0] & 0x3f == 3 {
            self.ruined = true;
            self.wire.extend(header);
            self.wire.extend([0; 4]);
        } else {
            self.put(dice, &header, &vec![0x77; len as usize]);
        }
    }
}

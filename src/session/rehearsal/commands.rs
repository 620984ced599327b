//! The initiator's SCSI commands and their data.

use zerocopy::big_endian::{U32, U64};

use super::dice::Dice;
use super::medium::{Content, FILLING};
use super::requests::{Initiator, LUNS};
use crate::ids::LuId;
use crate::session::order::HELD_MAX;
use crate::wire::bhs::{DataOut, ScsiCommand};
use crate::wire::codes::TAG_NONE;
use crate::wire::sn::Sn;
use crate::wire::{flags, lun};

/// Lengths of transfers in blocks.
const BLOCKS: [u64; 16] = [1, 1, 1, 2, 3, 7, 8, 8, 8, 16, 32, 64, 129, 512, 513, 1030];

/// What a command is about, as far as its answer can be foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// READ: so many bytes from there.
    Read { lu: LuId, base: u64, len: u64 },
    /// WRITE: so many bytes to there.
    Write { lu: LuId, base: u64, len: u64 },
    /// VERIFY with data, which differs from the medium or does not.
    Compare { lu: LuId, base: u64, len: u64, differs: bool },
    /// WRITE SAME with a block.
    Same,
    /// Anything else: it has an answer.
    Other,
}

/// A burst of Data-Out that is owed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) ttt: u32,
    pub(super) next: u32,
    pub(super) end: u32,
    pub(super) data_sn: u32,
}

/// A SCSI command under way.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) unit: Option<LuId>,
    pub(super) edtl: u32,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) owed: Vec<Owed>,
    /// The data that goes with it, if it is not to be had from its kind.
    list: Vec<u8>,
    pub(super) got: u32,
    pub(super) data_sn: u32,
    pub(super) r2t_sn: u32,
    /// How much the log of writes held when it was sent.
    pub(super) since: usize,
    /// Whether it may end without an answer, because somebody aborts it.
    pub(super) doomed: bool,
    /// Whether something about it is not as it should be, so that it may well fail.
    pub(super) odd: bool,
    /// Its task attribute.
    attribute: u8,
    /// Its place among the others, if it has one.
    number: Option<Sn>,
    /// Another nexus may have ended it: it is told when the fences stand.
    pub(super) told_late: bool,
    /// One that had to wait for it was answered before it: then an error has ended it, which is yet to be told.
    pub(super) overtaken: bool,
}

impl Initiator {
    /// A SCSI command of some kind.
    pub(super) fn command(&mut self, dice: &mut Dice<'_>) {
        let immediate = dice.once_in(16);
        if (!immediate && !self.may_send()) || self.logging_out {
            return;
        }
        let (number, unit, block, blocks) = dice.pick(&LUNS);
        let count = dice.pick(&BLOCKS);
        let at = u64::from(dice.below((blocks - count.min(blocks - 1)) as u32));
        // Small PDUs, short transfers: it is the number of PDUs that takes time.
        let n = &self.negotiated;
        let pdus = u64::from(
            n.max_recv_data_segment_length.min(n.max_xmit_data_segment_length).min(n.max_burst_length),
        );
        let count = count.min(blocks - at).min((pdus * 64 / block).max(1));
        let (base, len) = (at * block, count * block);
        let mut cdb = [0u8; 16];
        cdb[2..10].copy_from_slice(&at.to_be_bytes());
        cdb[10..14].copy_from_slice(&(count as u32).to_be_bytes());
        let mut list = Vec::new();
        let (kind, edtl, reads, writes) = match dice.below(16) {
            0..=4 => {
                cdb[0] = 0x88;
                (Kind::Read { lu: unit, base, len }, len, true, false)
            }
            5..=9 => {
                (cdb[0], cdb[1]) = dice.pick(&[(0x8a, 0), (0x8a, 8), (0x8e, 0)]);
                (Kind::Write { lu: unit, base, len }, len, false, true)
            }
            10 => {
                (cdb[0], cdb[1]) = (0x8f, 2);
                (Kind::Compare { lu: unit, base, len, differs: dice.once_in(4) }, len, false, true)
            }
            11 => {
                (cdb[0], cdb[1]) = (0x93, if number == 1 { 0 } else { dice.pick(&[0, 8]) });
                (Kind::Same, block, false, true)
            }
            12 => {
                let len = (count.min(32) * block) as usize;
                cdb[0] = 0x89;
                cdb[10..14].copy_from_slice(&(count.min(32) as u32).to_be_bytes());
                list = [Content::Old, Content::New].map(|c| c.bytes(unit, base, len)).concat();
                (Kind::Other, 2 * len as u64, false, true)
            }
            _ => {
                let (edtl, reads, writes);
                (cdb, list, edtl, reads, writes) = other(dice, cdb, block);
                (Kind::Other, edtl, reads, writes)
            }
        };
        let mut command = Command {
            kind,
            unit: Some(unit),
            edtl: edtl as u32,
            reads,
            writes,
            owed: vec![],
            list,
            got: 0,
            data_sn: 0,
            r2t_sn: 0,
            since: self.log,
            doomed: false,
            odd: false,
            attribute: 0,
            number: None,
            told_late: false,
            overtaken: false,
        };
        self.errors_end |= command.ends_others_on_error(&cdb);
        let mut wire_lun = lun::to_wire(number);
        if self.slips(dice) {
            command.odd = true;
            match dice.below(5) {
                0 => command.edtl = dice.below(command.edtl + 1),
                1 => command.edtl += 1 + dice.below(10_000),
                2 => (command.reads, command.writes) = (dice.once_in(2), dice.once_in(2)),
                3 => (wire_lun, command.unit) = (U64::new(0xff00_0000_0000_0000), None),
                _ => command.edtl = 0,
            }
            if command.unit.is_none() {
                command.kind = Kind::Other;
            }
        }
        self.open(dice, command, wire_lun, cdb, immediate);
    }

    fn open(
        &mut self,
        dice: &mut Dice<'_>,
        mut command: Command,
        wire_lun: U64,
        cdb: [u8; 16],
        immediate: bool,
    ) {
        let (number, counts) = self.number(dice, immediate);
        let n = &self.negotiated;
        let (first_burst, most, unasked) =
            (n.first_burst_length, n.max_recv_data_segment_length, !n.initial_r2t);
        let total = if command.writes { command.edtl } else { 0 };
        let room = self.gaps.is_empty() || self.behind + 4 * total as usize + 1_000 < HELD_MAX;
        let (with_data, unasked) = (n.immediate_data && room, unasked && room);
        let itt = self.itt();
        let mut pdu = ScsiCommand { itt, lun: wire_lun, cdb, ..ScsiCommand::default() };
        pdu.opcode |= if immediate { flags::IMMEDIATE } else { 0 };
        command.attribute = dice.pick(&[1, 0, 2, 3]);
        command.number = (!immediate).then_some(Sn(number.get()));
        pdu.flags = flags::FINAL | command.attribute;
        pdu.flags |=
            if command.reads { flags::READ } else { 0 } | if command.writes { flags::WRITE } else { 0 };
        pdu.expected_data_transfer_length = U32::new(command.edtl);
        let mut data = 0;
        if total > 0 && with_data && dice.once_in(2) {
            data = total.min(first_burst).min(most);
            if dice.once_in(2) {
                data = 1 + dice.below(data);
            }
        }
        if total > data && unasked && dice.once_in(2) && data < first_burst {
            pdu.flags &= !flags::FINAL;
            let end = total.min(first_burst);
            command.owed.push(Owed { ttt: TAG_NONE, next: data, end, data_sn: 0 });
        }
        if self.slips(dice) && room {
            command.odd = true;
            match dice.below(3) {
                0 => pdu.flags ^= flags::FINAL,
                1 => data = dice.below(most + 1),
                _ => {
                    pdu.flags &= !flags::FINAL;
                    command.owed.push(Owed { ttt: TAG_NONE, next: data, end: total, data_sn: 0 });
                }
            }
        }
        pdu.set_data_len(data as usize);
        pdu.cmd_sn = number;
        let payload = command.payload(0, data as usize);
        let whole = self.put(dice, pdu.as_bhs(), &payload);
        command.odd |= !whole;
        // A used number may be one that was rejected after all.
        command.doomed = !counts || self.comes_too_late(&command);
        self.commands.insert(itt.get(), command);
    }

    /// Whether a function that was sent before it ends it by its number.
    fn comes_too_late(&self, command: &Command) -> bool {
        let ended = |(end, unit): &(Sn, Option<LuId>)| {
            command.number.is_some_and(|number| number.precedes(*end))
                && (unit.is_none() || *unit == command.unit)
        };
        self.ends.iter().any(ended)
    }

    /// A Data-Out of one of the bursts that are owed.
    pub(super) fn data_out(&mut self, dice: &mut Dice<'_>) -> bool {
        let owing: Vec<u32> =
            self.commands.iter().filter(|(_, c)| !c.owed.is_empty()).map(|(i, _)| *i).collect();
        if owing.is_empty() {
            return false;
        }
        let itt = dice.pick(&owing);
        let slips = self.slips(dice);
        let most = self.negotiated.max_recv_data_segment_length;
        let from_the_end = !self.negotiated.data_pdu_in_order && dice.once_in(2);
        let Some(command) = self.commands.get_mut(&itt) else { return false };
        let which = dice.below(command.owed.len() as u32) as usize;
        let owed = &mut command.owed[which];
        let mut len = (owed.end.saturating_sub(owed.next)).min(most);
        if dice.once_in(4) && len > 1 {
            len = 1 + dice.below(len);
        }
        let mut pdu = DataOut { itt: U32::new(itt), ttt: U32::new(owed.ttt), ..DataOut::default() };
        let mut offset = if from_the_end { owed.end - len } else { owed.next };
        (pdu.data_sn, pdu.buffer_offset) = (U32::new(owed.data_sn), U32::new(offset));
        if from_the_end {
            owed.end -= len;
        } else {
            owed.next += len;
        }
        owed.data_sn += 1;
        let mut last = owed.next >= owed.end;
        if slips {
            command.odd = true;
            match dice.below(6) {
                0 => pdu.data_sn = U32::new(dice.below(4)),
                1 => offset = dice.below(command.edtl + 10),
                2 => last = !last,
                3 => pdu.ttt = U32::new(dice.below(1 << 30)),
                4 => len = dice.below(most + 1),
                _ => pdu.itt = U32::new(itt + 1),
            }
            pdu.buffer_offset = U32::new(offset);
        }
        if last {
            command.owed.remove(which);
            pdu.flags = flags::FINAL;
        }
        pdu.set_data_len(len as usize);
        let named = self.commands.get(&pdu.itt.get());
        let payload = named.map_or_else(|| vec![0; len as usize], |c| c.payload(offset.into(), len as usize));
        let whole = self.put(dice, pdu.as_bhs(), &payload);
        if let Some(command) = self.commands.get_mut(&itt) {
            command.odd |= !whole;
        }
        if let Some(command) = self.commands.get_mut(&pdu.itt.get()) {
            command.odd |= slips;
        }
        true
    }
}

impl Command {
    /// MODE SELECT with QERR other than zero.
    fn ends_others_on_error(&self, cdb: &[u8; 16]) -> bool {
        cdb[0] == 0x15 && self.list.get(7).is_some_and(|byte| byte & 6 != 0)
    }

    /// Whether this one has been answered before `older`, which it had to wait for (SAM-5 section 8).
    pub(super) fn overtakes(&self, older: &Self) -> bool {
        let judged = |c: &Self| !c.doomed && !c.odd && !c.told_late;
        let (Some(own), Some(first)) = (self.number, older.number) else { return false };
        let waits = self.attribute == flags::ATTR_ORDERED
            || [flags::ATTR_ORDERED, flags::ATTR_HEAD_OF_QUEUE].contains(&older.attribute);
        judged(self)
            && judged(older)
            && self.unit == older.unit
            && first.precedes(own)
            && self.attribute != flags::ATTR_HEAD_OF_QUEUE
            && waits
    }

    /// The bytes at `offset` of the transfer.
    fn payload(&self, offset: u64, len: usize) -> Vec<u8> {
        match self.kind {
            Kind::Write { lu, base, .. } => Content::New.bytes(lu, base + offset, len),
            Kind::Compare { lu, base, differs, .. } => {
                let mut bytes = Content::Old.bytes(lu, base + offset, len);
                if differs && offset == 0 && len > 0 {
                    bytes[0] ^= 1;
                }
                bytes
            }
            Kind::Same => vec![FILLING; len],
            Kind::Read { .. } | Kind::Other => {
                let from = self.list.len().min(offset as usize);
                let mut bytes = self.list[from..].to_vec();
                bytes.resize(len, 0);
                bytes
            }
        }
    }
}

/// A command that does not move the medium's bytes: CDB, parameter list, EDTL, R and W.
fn other(dice: &mut Dice<'_>, io: [u8; 16], block: u64) -> ([u8; 16], Vec<u8>, u64, bool, bool) {
    let short = |bytes: &[u8]| {
        let mut cdb = [0; 16];
        cdb[..bytes.len()].copy_from_slice(bytes);
        cdb
    };
    match dice.below(14) {
        0 => (short(&[0x12, 0, 0, 0, 96]), vec![], 96, true, false),
        1 => (short(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 64, 0]), vec![], 64, true, false),
        2 => (short(&[0x1a, 0, 0x3f, 0, 255]), vec![], 255, true, false),
        3 => (short(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32]), vec![], 32, true, false),
        4 => (short(&[0xa3, 0x0c, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), vec![], 65536, true, false),
        5 => {
            let list = [&[0, 22, 0, 16, 0, 0, 0, 0][..], &io[2..10], &io[10..14], &[0; 4]].concat();
            (short(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24]), list, 24, false, true)
        }
        6 => {
            let mut list = vec![0; 24];
            list[15] = dice.below(2) as u8;
            (short(&[0x5f, 6, 0, 0, 0, 0, 0, 0, 24]), list, 24, false, true)
        }
        7 => {
            let settings =
                [0, 0, 0, 0, 0x0a, 0x0a, 0x22 | dice.pick(&[0, 4]), order(dice), 0, 0x40, 0, 0, 0, 0, 0, 0];
            (short(&[0x15, 0x10, 0, 0, 16]), settings.to_vec(), 16, false, true)
        }
        8 => {
            let mut cdb = io;
            cdb[0] = 0x91;
            (cdb, vec![], 0, false, false)
        }
        9 => {
            let mut cdb = io;
            cdb[0] = 0x8f;
            (cdb, vec![], 0, false, false)
        }
        10 => {
            let mut cdb = io;
            (cdb[0], cdb[1]) = (0x8f, 6);
            (cdb, vec![FILLING; block as usize], block, false, true)
        }
        11 => (short(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]), vec![], 512, true, false),
        12 => (short(&[dice.pick(&[0x1b, 0xe0, 0x04]), 0, 0, 0, 1]), vec![], 0, false, false),
        _ => (short(&[0]), vec![], 0, false, false),
    }
}

/// QUEUE ALGORITHM MODIFIER and QERR, mostly as they are by default.
fn order(dice: &mut Dice<'_>) -> u8 {
    dice.pick(&[0x10, 0x10, 0x00, 0x12, 0x06])
}

//! SCSI Command PDUs: a task is opened, planned by [`crate::scsi`], and set to work.

use std::mem;

use arrayvec::ArrayVec;

use super::enclosed::Whole;
use super::host::{Claim, Host};
use super::keys::LEVEL_RFC7144;
use super::rx::Dest;
use super::set::Attribute;
use super::taking::{Unasked, Use};
use super::task::{MAX_CDB, Task, Work};
use super::watch::{Direction, Watch};
use super::{SEGMENT, Session};
use crate::ids::{BufId, LuId, TaskId};
use crate::scsi::{
    self, Amount, Asc, Context, Failure, Io, Outcome, PassData, Sense, SenseKey, SharedOp, Straight, Way,
    status,
};
use crate::wire::ahs::{self, Ahs};
use crate::wire::bhs::{Bhs, ScsiCommand};
use crate::wire::codes::RejectReason;
use crate::wire::{flags, lun};

/// Immediate commands that may be open beyond the window.
const MAX_IMMEDIATE: u32 = 64;

/// The PDU asks for what the command in it does not do: both directions, or the other one (SPC-5: INVALID FIELD IN
/// COMMAND INFORMATION UNIT).
const INVALID_COMMAND_IU_FIELD: Sense = Sense::illegal(Asc(0x0e, 0x03));

impl Session {
    /// A SCSI Command header: where its immediate data goes, if not nowhere.
    pub(super) fn scsi_command<H: Host>(&mut self, h: &mut H, bhs: &Bhs, extra: &[u8], dest: &mut Dest) {
        let pdu = ScsiCommand::from_bhs(bhs.as_bhs());
        (self.opened, self.unproven) = (None, false);
        if self.discovery {
            return *dest = self.refuse(h, bhs, RejectReason::COMMAND_NOT_SUPPORTED);
        }
        if self.tasks.len() >= self.command_window + MAX_IMMEDIATE {
            return *dest = self.refuse(h, bhs, RejectReason::TOO_MANY_IMMEDIATE);
        }
        self.unasked =
            Unasked { immediate: pdu.data_len() as u32, follows: pdu.flags & flags::FINAL == 0, held: None };
        if !extra.is_empty() && extended_cdb(pdu, extra).is_none() {
            return *dest = self.refuse(h, bhs, RejectReason::INVALID_PDU_FIELD);
        }
        let Some(id) = self.task_for(pdu, extra, h.now()) else {
            return *dest = self.refuse(h, bhs, RejectReason::TOO_MANY_IMMEDIATE);
        };
        let at_once = self.begins_at_once(h, id);
        self.unproven = self.negotiated.data_digest && pdu.data_len() > 0;
        if !self.unproven {
            self.take_number(bhs);
        }
        if at_once {
            self.start_task(h, id);
        } else if let Some(waits) = self.line_up(h, id) {
            return *dest = waits;
        }
        if pdu.data_len() > 0 {
            self.place_immediate(id, pdu.data_len() as u32, dest);
        }
    }

    /// Rejects a command by its header: whatever else is wrong with it, once is enough.
    fn refuse<H: Host>(&mut self, h: &mut H, bhs: &Bhs, reason: RejectReason) -> Dest {
        self.reject(h, bhs, reason);
        Dest::Rejected
    }

    /// A task of its own for a command, if there is room.
    #[inline]
    fn task_for(&mut self, pdu: &ScsiCommand, extra: &[u8], now: u64) -> Option<TaskId> {
        let map = lun::from_wire(pdu.lun).and_then(|n| self.place_of(n));
        let (id, task) = self.tasks.open(false)?;
        if let Some(l) = map.and_then(|m| self.luns.get_mut(m)) {
            l.open += 1;
            l.deepest = l.deepest.max(l.open);
        }
        task.itt = pdu.itt.get();
        task.lun = pdu.lun.get();
        task.map = map.map(|m| m as u16);
        task.lu = map.map_or(LuId(u32::MAX), |m| self.luns[m].lu);
        task.edtl = pdu.expected_data_transfer_length.get();
        task.actual = 0;
        task.reads = pdu.flags & flags::READ != 0;
        task.writes = pdu.flags & flags::WRITE != 0;
        task.cdb.clear();
        task.cdb.extend(pdu.cdb);
        if !extra.is_empty()
            && let Some(cdb) = extended_cdb(pdu, extra)
        {
            task.cdb = cdb;
        }
        task.attribute = Attribute::of(pdu.flags);
        task.immediate = pdu.opcode & flags::IMMEDIATE != 0;
        (task.doomed, task.begun) = (false, false);
        task.watch = Watch::new(now);
        Some(id)
    }

    /// Where a LUN stands in the map. In most maps none is left out, and with thousands every step of a search is memory that
    /// is in no cache.
    fn place_of(&self, lun: u16) -> Option<usize> {
        let there = self.luns.get(usize::from(lun)).is_some_and(|l| l.lun == lun);
        if there { Some(lun.into()) } else { self.luns.binary_search_by_key(&lun, |l| l.lun).ok() }
    }

    /// A command begins.
    pub(super) fn start_task<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if let Some(straight) = self.straight(h, id) {
            self.opened = Some(id);
            self.go_straight(h, id, straight);
            return self.forget_what_needs_nothing();
        }
        if self.tasks.get(id).is_some_and(|t| t.reads && t.writes) {
            // Bidirectional commands: SBC has none that anybody sends, and none is in our table.
            return self.begin_with(h, id, Planned::failed(INVALID_COMMAND_IU_FIELD));
        }
        let planned = self.plan(h, id, None);
        match self.contradiction(h, id, &planned) {
            None => self.begin_with(h, id, planned),
            Some(sense) => self.begin_with(h, id, Planned::failed(sense)),
        }
    }

    /// What a usual READ or WRITE is to do, if nothing is in its way: nearly every command is one, and what this finds is
    /// not put down in between. All others are planned.
    #[inline(always)]
    fn straight<H: Host>(&mut self, h: &H, id: TaskId) -> Option<Straight> {
        if self.unproven || self.limited || h.is_low() {
            return None;
        }
        let straight = self.with_context(h, id, |cdb, cx| scsi::straight(cdb, cx))??;
        let task = self.tasks.get(id)?;
        (!(task.reads && (task.writes || straight.way.writes()))).then_some(straight)
    }

    #[inline(always)]
    fn go_straight<H: Host>(&mut self, h: &mut H, id: TaskId, Straight { way, range }: Straight) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let counters = h.lu(task.lu).map(|lu| &lu.counters);
        if way.writes() {
            task.watch.direction = Direction::Write;
            counters.inspect(|c| c.write(range.len));
            let usage = Use::Write { fua: way == Way::WriteThrough };
            self.start_taking(h, id, usage, range.offset, range.len);
        } else {
            task.watch.direction = Direction::Read;
            counters.inspect(|c| c.read(range.len));
            self.start_reading(h, id, range);
        }
    }

    /// A command begins, and it is known already what is to become of it.
    pub(super) fn begin_with<H: Host>(&mut self, h: &mut H, id: TaskId, planned: Planned) {
        self.opened = Some(id);
        match self.tasks.get_mut(id) {
            Some(task) if self.unproven && !planned.takes_data() => task.work = Work::Deferred(planned),
            _ => self.follow(h, id, planned),
        }
        self.forget_what_needs_nothing();
    }

    /// The command that was opened last is of no interest any more if nothing that comes with it can matter to it.
    #[inline]
    fn forget_what_needs_nothing(&mut self) {
        let waits = |t: &Task| matches!(t.work, Work::Taking(_) | Work::Deferred(_));
        self.opened = self.opened.filter(|id| self.tasks.get(*id).is_some_and(waits));
    }

    /// Something happens to another command, in the middle of whatever is going on.
    pub(super) fn meanwhile(&mut self, call: impl FnOnce(&mut Self)) {
        let interrupted = (self.opened.take(), mem::take(&mut self.unproven), mem::take(&mut self.unasked));
        call(self);
        (self.opened, self.unproven, self.unasked) = interrupted;
    }

    /// The immediate data of a command was what it should be: a command that does not take any goes on.
    pub(super) fn start_deferred<H: Host>(&mut self, h: &mut H, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(id)
            && let Work::Deferred(planned) = &mut task.work
        {
            let planned = mem::replace(planned, Planned::Gone);
            self.follow(h, id, planned);
        }
    }

    /// A command ends whose immediate data has not proved right: the unit attention that it was to report, if it was, has
    /// yet to be told.
    pub(super) fn keep_attention(&mut self, id: TaskId) {
        let Some(Task { work: Work::Deferred(planned), map: Some(map), .. }) = self.tasks.get(id) else {
            return;
        };
        if let (Some(asc), Some(l)) = (planned.attention(), self.luns.get_mut(usize::from(*map))) {
            l.attentions.give_back(asc);
        }
    }

    /// Why a plan is not to be followed, if the header of its command contradicts it.
    #[inline]
    fn contradiction<H: Host>(&self, h: &H, id: TaskId, planned: &Planned) -> Option<Sense> {
        let task = self.tasks.get(id)?;
        if planned.takes_data() && task.reads {
            Some(INVALID_COMMAND_IU_FIELD)
        } else if planned.refuses(if task.writes { task.edtl } else { 0 }, || self.block_size(h, id)) {
            Some(Sense::illegal(Asc::INVALID_FIELD_IN_CDB))
        } else {
            None
        }
    }

    /// What a parameter list of `len` bytes in `buf` comes to.
    pub(super) fn plan_params<H: Host>(
        &mut self,
        h: &mut H,
        id: TaskId,
        buf: Option<BufId>,
        len: u32,
    ) -> Planned {
        let list = buf.map_or_else(Vec::new, |b| h.bytes(b)[..len as usize].to_vec());
        self.plan(h, id, Some(&list))
    }

    /// Asks the SCSI layer; an answer that it makes is put into a slot. Inlined, as what follows is, so that a plan stays
    /// where it was made.
    #[inline]
    pub(super) fn plan<H: Host>(&mut self, h: &mut H, id: TaskId, params: Option<&[u8]>) -> Planned {
        let mut scratch = h.take_scratch();
        let outcome = self.with_context(h, id, |cdb, cx| match params {
            None => scsi::start(cdb, cx, &mut scratch),
            Some(list) => scsi::params(cdb, cx, list, &mut scratch),
        });
        if matches!(outcome, Some(Outcome::Data(_))) {
            self.inventory_told(id);
        }
        let planned = outcome.map_or(Planned::Gone, |outcome| Self::keep_outcome(h, outcome, &scratch));
        h.give_scratch(scratch);
        planned
    }

    /// REPORT LUNS tells of all logical units, whichever answers it: none has to say any more that they are others (SPC-5,
    /// REPORT LUNS).
    fn inventory_told(&mut self, id: TaskId) {
        if self.tasks.get(id).is_some_and(|task| task.cdb.first() == Some(&scsi::REPORT_LUNS)) {
            self.luns.iter_mut().for_each(|l| l.attentions.withdraw(Asc::REPORTED_LUNS_CHANGED));
        }
    }

    /// Gives `call` the CDB of a task and what it is judged by.
    #[inline]
    pub(super) fn with_context<H: Host, R>(
        &mut self,
        h: &H,
        id: TaskId,
        call: impl FnOnce(&[u8], &mut Context<'_>) -> R,
    ) -> Option<R> {
        let task = self.tasks.get(id)?;
        let mut nobodys = scsi::Attentions::default();
        let (attentions, read_only_map, lu) = match task.map.and_then(|m| self.luns.get_mut(usize::from(m))) {
            Some(l) => (&mut l.attentions, l.read_only, h.lu(l.lu)),
            None => (&mut nobodys, false, None),
        };
        let mut cx = Context {
            lu,
            well_known: task.lun == scsi::REPORT_LUNS_LUN,
            nexus: &self.nexus,
            luns: &self.lun_numbers,
            read_only_map,
            attentions,
            ports: &self.ports,
            echo: &mut self.echo,
            queries: self.negotiated.protocol_level >= LEVEL_RFC7144,
            now: h.now(),
        };
        Some(call(&task.cdb, &mut cx))
    }

    /// An outcome whose data, if any, is at the beginning of `scratch`.
    #[inline]
    pub(super) fn keep_outcome<H: Host>(h: &mut H, outcome: Outcome, scratch: &[u8]) -> Planned {
        match outcome {
            Outcome::Data(n) => Self::keep_answer(h, &scratch[..n]),
            other => Planned::Outcome(other),
        }
    }

    #[cold]
    fn keep_answer<H: Host>(h: &mut H, answer: &[u8]) -> Planned {
        if answer.is_empty() {
            return Planned::Outcome(Outcome::Good);
        }
        match h.alloc(answer.len() as u32, Claim::Urgent) {
            Some(buf) => {
                h.bytes_mut(buf)[..answer.len()].copy_from_slice(answer);
                Planned::Made(buf, answer.len() as u32)
            }
            None => Planned::Outcome(Outcome::Fail(Failure::Status(status::BUSY))),
        }
    }

    /// Does what the SCSI layer said, if limits let it.
    #[inline]
    pub(super) fn follow<H: Host>(&mut self, h: &mut H, id: TaskId, planned: Planned) {
        if self.limited { self.follow_limits(h, id, planned) } else { self.pursue(h, id, planned) }
    }

    /// Whether it is to be answered BUSY: what this unit keeps others from must not grow.
    #[inline]
    pub(super) fn is_unwelcome<H: Host>(&self, h: &H, id: TaskId, planned: &Planned) -> bool {
        h.is_low() && planned.moves() && self.tasks.get(id).is_some_and(|task| h.is_clogged(task.lu))
    }

    /// Does what the SCSI layer said.
    pub(super) fn pursue<H: Host>(&mut self, h: &mut H, id: TaskId, planned: Planned) {
        if self.is_unwelcome(h, id, &planned) {
            return self.answer_failure(h, id, &Failure::Status(status::BUSY));
        }
        match planned {
            Planned::Gone => {}
            Planned::Made(buf, len) => self.send_made(h, id, buf, len),
            Planned::Outcome(Outcome::Good | Outcome::Data(_)) => self.answer_good(h, id),
            Planned::Outcome(Outcome::Met) => self.answer_met(h, id),
            Planned::Outcome(Outcome::Fail(failure)) => self.answer_failure(h, id, &failure),
            Planned::Outcome(Outcome::Io(io)) => self.start_io(h, id, io),
            Planned::Outcome(Outcome::Copy(command)) => self.copy_command(h, id, command),
            Planned::Outcome(Outcome::Pass(pass)) => self.start_passing(h, id, pass),
            Planned::Outcome(Outcome::Params(len)) => {
                self.start_taking(h, id, Use::Params, 0, u64::from(len.min(SEGMENT)));
            }
            Planned::Outcome(Outcome::ParamsUpTo(most)) => {
                let has = self.tasks.get(id).map_or(0, |t| if t.writes { t.edtl } else { 0 });
                self.start_taking(h, id, Use::Params, 0, most.min(SEGMENT).min(has).into());
            }
            Planned::Outcome(Outcome::Shared(mut op)) => {
                let Some(task) = self.tasks.get_mut(id) else { return };
                task.work = Work::Shared;
                if let SharedOp::Persistent(out) = &mut op {
                    out.ports = h.catalog().ports_of(task.lu);
                }
                h.shared(id, task.lu, op, &self.nexus);
            }
        }
    }

    #[inline]
    fn start_io<H: Host>(&mut self, h: &mut H, id: TaskId, io: Io) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.watch.direction = direction(&io);
            if let Some(lu) = h.lu(task.lu) {
                lu.counters.command(&io);
            }
        }
        match io {
            Io::Read { range, .. } => self.start_reading(h, id, range),
            Io::Write { range, fua } => self.start_taking(h, id, Use::Write { fua }, range.offset, range.len),
            Io::Compare { range } => self.start_taking(h, id, Use::Compare, range.offset, range.len),
            Io::Fill { range, unmap, anchor } => {
                let block = self.block_size(h, id);
                self.start_taking(h, id, Use::Fill { range, unmap, anchor }, range.offset, block.into());
            }
            Io::WriteVerify { range, compare } => {
                self.start_taking(h, id, Use::WriteVerify { compare }, range.offset, range.len);
            }
            Io::CompareAndWrite { range, fua } => {
                let usage = Use::Whole { whole: Whole::CompareAndWrite, fua };
                self.start_taking(h, id, usage, range.offset, 2 * range.len);
            }
            Io::WriteAtomic { range, fua } => {
                let usage = Use::Whole { whole: Whole::Write, fua };
                self.start_taking(h, id, usage, range.offset, range.len);
            }
            Io::Or { range, fua } => {
                let usage = Use::Whole { whole: Whole::Or, fua };
                self.start_taking(h, id, usage, range.offset, range.len);
            }
            Io::CompareEach { range } => {
                let block = self.block_size(h, id);
                self.start_taking(h, id, Use::CompareEach { range }, range.offset, block.into());
            }
            Io::Verify { range } => self.start_verifying(h, id, range),
            Io::Flush { immediate, .. } => self.start_flushing(h, id, immediate),
            Io::Map { range, most } => self.start_mapping(h, id, range, most),
            Io::Unmap(ranges) => self.start_clearing(h, id, ranges, false, true),
            // What is zeroed without being given back has space and no data.
            Io::Anchor(ranges) => self.start_clearing(h, id, ranges, true, false),
            Io::Zero { range, unmap } => self.start_clearing(h, id, vec![range], true, unmap),
        }
    }

    /// Bytes of a logical block of a task's logical unit.
    pub(super) fn block_size<H: Host>(&self, h: &H, id: TaskId) -> u32 {
        let lu = self.tasks.get(id).and_then(|t| h.lu(t.lu));
        lu.map_or(1, |lu| lu.facts.block_size.max(1))
    }

    /// The owner of the logical unit has decided.
    pub fn shared_done<H: Host>(&mut self, h: &mut H, id: TaskId, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.answer_good(h, id),
            Err(failure) => self.answer_failure(h, id, &failure),
        }
    }
}

/// Which way the data of the medium goes.
#[inline]
fn direction(io: &Io) -> Direction {
    match io {
        Io::Read { .. } => Direction::Read,
        Io::Write { .. }
        | Io::WriteVerify { .. }
        | Io::WriteAtomic { .. }
        | Io::CompareAndWrite { .. }
        | Io::Or { .. } => Direction::Write,
        _ => Direction::Other,
    }
}

/// An outcome whose data, if any, has its slot.
#[derive(Debug)]
pub(super) enum Planned {
    /// The task is not there any more.
    Gone,
    /// Data-In that lies in a slot.
    Made(BufId, u32),
    /// Anything else.
    Outcome(Outcome),
}

impl Planned {
    fn failed(sense: Sense) -> Self {
        Self::Outcome(Outcome::Fail(Failure::Check(sense)))
    }

    /// The unit attention that is to be reported.
    fn attention(&self) -> Option<Asc> {
        match self {
            Self::Outcome(Outcome::Fail(Failure::Check(sense))) => {
                (sense.key == SenseKey::UNIT_ATTENTION).then_some(sense.asc)
            }
            _ => None,
        }
    }

    /// Whether the disk or the device gets something to do.
    #[inline]
    fn moves(&self) -> bool {
        matches!(self, Self::Outcome(Outcome::Io(_) | Outcome::Pass(_)))
    }

    /// Whether the initiator's data is needed to go on. One whose R bit says that it expects data has none to give, and
    /// the command must not go on as if it had (RFC 7143 section 11.3.1). The other way round nothing is lost: of a
    /// READ with the W bit nothing is expected, which the residual says.
    pub(super) fn takes_data(&self) -> bool {
        let io = |io: &Io| {
            matches!(
                io,
                Io::Write { .. }
                    | Io::WriteVerify { .. }
                    | Io::Compare { .. }
                    | Io::CompareEach { .. }
                    | Io::CompareAndWrite { .. }
                    | Io::Or { .. }
                    | Io::WriteAtomic { .. }
                    | Io::Fill { .. }
            )
        };
        match self {
            Self::Outcome(Outcome::Params(_) | Outcome::ParamsUpTo(_)) => true,
            Self::Outcome(Outcome::Io(what)) => io(what),
            Self::Outcome(Outcome::Pass(pass)) => matches!(pass.data, PassData::Out(_)),
            _ => false,
        }
    }

    /// Whether it cannot be done with that many bytes of data-out, on blocks of `block()` bytes. One block is one block;
    /// of WRITE SAME none at all means zeroes. What happens as a whole is not done in part.
    #[inline]
    fn refuses(&self, offered: u32, block: impl Fn() -> u32) -> bool {
        match self {
            Self::Outcome(Outcome::Io(Io::Fill { .. })) => ![0, block()].contains(&offered),
            Self::Outcome(Outcome::Io(Io::CompareEach { .. })) => offered != block(),
            Self::Outcome(Outcome::Io(Io::CompareAndWrite { range, .. })) => {
                u64::from(offered) != 2 * range.len
            }
            Self::Outcome(Outcome::Io(Io::WriteAtomic { range, .. })) => u64::from(offered) != range.len,
            // The device would wait for the rest, or take what follows in memory for it.
            Self::Outcome(Outcome::Pass(pass)) => {
                matches!(pass.data, PassData::Out(Amount::Known(needed)) if offered < needed)
            }
            _ => false,
        }
    }
}

/// The CDB of the header, with what extended-CDB segments add (RFC 7143 section 11.2.2.3), if they are what they should be.
#[cold]
fn extended_cdb(pdu: &ScsiCommand, extra: &[u8]) -> Option<ArrayVec<u8, MAX_CDB>> {
    let mut cdb = ArrayVec::<u8, MAX_CDB>::new();
    cdb.try_extend_from_slice(&pdu.cdb).ok()?;
    for segment in ahs::segments(extra) {
        if let Ahs::ExtendedCdb(more) = segment.ok()? {
            cdb.try_extend_from_slice(more).ok()?;
        }
    }
    Some(cdb)
}

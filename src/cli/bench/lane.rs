//! One session under load.
//!
//! Owns: a connection's protocol core, its socket, and its I/Os that have not ended. Promises: nothing is allocated
//! for an I/O; what comes back is looked at, and with `--verify` compared. Refuses to know: rings, clocks.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::pattern;
use super::places::{Io, Places};
use super::tally::Tally;
use crate::initiator::{Command, Core, Direction, Done, Event, cdb};
use crate::scsi::status;
use crate::wire::codes::{AsyncEvent, LogoutReason, RejectReason};

/// Sense key of a unit attention (SPC-5 table 49).
const UNIT_ATTENTION: u8 = 6;

/// What all I/Os of a step have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) lun: u16,
    /// That one and those behind it are used, by turns.
    pub(super) luns: u16,
    /// Bytes of a block.
    pub(super) block: u32,
    /// Blocks of an I/O.
    pub(super) blocks: u32,
    pub(super) verify: bool,
    /// What is written without `verify`.
    pub(super) pattern: Arc<[u8]>,
}

impl Shape {
    /// Bytes of an I/O.
    pub(super) fn bytes(&self) -> u32 {
        self.block * self.blocks
    }
}

/// An I/O on its way.
#[derive(Debug)]
struct Slot {
    io: Io,
    lun: u16,
    /// When it began, or should have.
    start: u64,
    generation: u64,
    /// Its memory, while it is free.
    buffer: Vec<u8>,
}

/// A session.
#[derive(Debug)]
pub(super) struct Lane {
    stream: TcpStream,
    pub(super) core: Core,
    shape: Shape,
    places: Places,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The next I/O's place among the logical units.
    turn: u16,
    /// It was asked to log out.
    leaving: bool,
    /// The answer to that has come.
    pub(super) gone: bool,
}

impl Lane {
    pub(super) fn new(stream: TcpStream, mut core: Core, shape: Shape, places: Places, qd: u32) -> Self {
        core.set_pattern(shape.pattern.clone());
        let bytes = if shape.verify { shape.bytes() as usize } else { 0 };
        let io = Io { place: 0, write: false };
        let slot = |_| Slot { io, lun: 0, start: 0, generation: 0, buffer: vec![0; bytes] };
        let (slots, free) = ((0..qd).map(slot).collect(), (0..qd).rev().collect());
        Self { stream, core, shape, places, slots, free, turn: 0, leaving: false, gone: false }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Whether it was asked to log out.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether another I/O may begin.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether all I/Os have ended.
    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Begins an I/O that was due at `start`; false: none can begin now.
    pub(super) fn begin(&mut self, start: u64) -> Result<bool> {
        self.begin_with(start, Places::next)
    }

    /// Begins to read back the next of what was written; false: none can begin now, or all has been.
    pub(super) fn begin_back(&mut self, start: u64) -> Result<bool> {
        self.begin_with(start, Places::next_back)
    }

    fn begin_with(&mut self, start: u64, next: impl FnOnce(&mut Places) -> Option<Io>) -> Result<bool> {
        let Some(&slot) = self.free.last() else { return Ok(false) };
        let Some(io) = next(&mut self.places) else { return Ok(false) };
        self.free.pop();
        let generation = if io.write { self.places.fresh_generation() } else { 0 };
        let entry = &mut self.slots[slot as usize];
        (entry.io, entry.start, entry.generation) = (io, start, generation);
        entry.lun = self.shape.lun + self.turn;
        self.turn = (self.turn + 1) % self.shape.luns;
        self.submit(slot)?;
        Ok(true)
    }

    fn submit(&mut self, number: u32) -> Result<()> {
        let shape = &self.shape;
        let slot = &mut self.slots[number as usize];
        let lba = self.places.lba(slot.io.place);
        let mut buffer = std::mem::take(&mut slot.buffer);
        if shape.verify && slot.io.write {
            pattern::fill(&mut buffer, shape.block as usize, lba, slot.generation);
        }
        let (cdb, direction) = match (slot.io.write, shape.verify) {
            (true, true) => (cdb::write(lba, shape.blocks), Direction::Out),
            (true, false) => (cdb::write(lba, shape.blocks), Direction::Pattern(shape.bytes())),
            (false, true) => (cdb::read(lba, shape.blocks), Direction::In),
            (false, false) => (cdb::read(lba, shape.blocks), Direction::Discard(shape.bytes())),
        };
        let command = Command { lun: slot.lun, cdb, direction, buffer, user: u64::from(number) };
        self.core.submit(command).ok().context("more commands than the session has room for")?;
        Ok(())
    }

    /// Takes what has come, of which `ended` hears: whether it was a write, and when it began.
    pub(super) fn take(
        &mut self,
        tally: &mut Tally,
        mut ended: impl FnMut(&mut Tally, bool, u64),
    ) -> Result<()> {
        while let Some(event) = self.core.poll()? {
            match event {
                Event::Done(done) => {
                    if let Some((write, start)) = self.complete(done, tally)? {
                        ended(tally, write, start);
                    }
                }
                Event::LoggedOut(..) => self.gone = true,
                other => bail!("{}", unasked(&other)),
            }
        }
        Ok(())
    }

    fn complete(&mut self, done: Done, tally: &mut Tally) -> Result<Option<(bool, u64)>> {
        let number = done.user as u32;
        let &Slot { io, lun, start, generation, .. } = &self.slots[number as usize];
        if !done.is_good() && is_passing(&done) {
            tally.retries += 1;
            self.slots[number as usize].buffer = done.buffer;
            self.submit(number)?;
            return Ok(None);
        }
        self.judge(io, lun, &done, tally)?;
        self.places.ended(io.place, io.write.then_some(generation));
        self.slots[number as usize].buffer = done.buffer;
        self.free.push(number);
        Ok(Some((io.write, start)))
    }

    fn judge(&self, io: Io, lun: u16, done: &Done, tally: &mut Tally) -> Result<()> {
        let (shape, lba) = (&self.shape, self.places.lba(io.place));
        let what = || {
            let verb = if io.write { "write" } else { "read" };
            format!("the {verb} of {} blocks at LBA {lba} of LUN {lun}", shape.blocks)
        };
        if !done.is_good() {
            let sense = done.sense_code().map_or_else(String::new, |(key, asc, ascq)| {
                format!(", sense key {key:#x}, ASC/ASCQ {asc:#04x}/{ascq:#04x}")
            });
            bail!("{} failed: status {:#04x}{sense}", what(), done.status);
        }
        ensure!(done.residual == 0, "{} fell short: residual {}", what(), done.residual);
        if io.write {
            return Ok(());
        }
        ensure!(done.received == shape.bytes() as usize, "{} brought {} bytes", what(), done.received);
        if shape.verify {
            let due = self.places.due(io.place);
            if let Err(wrong) = pattern::check(&done.buffer, shape.block as usize, lba, due) {
                bail!("{wrong}");
            }
            tally.verified += u64::from(shape.blocks);
        }
        Ok(())
    }

    /// Asks to log out.
    pub(super) fn log_out(&mut self) {
        self.leaving = true;
        self.core.logout(LogoutReason::CLOSE_SESSION);
    }
}

/// Whether the same command may well succeed now.
fn is_passing(done: &Done) -> bool {
    match done.status {
        status::BUSY | status::TASK_SET_FULL => true,
        status::CHECK_CONDITION => done.sense_code().is_some_and(|(key, _, _)| key == UNIT_ATTENTION),
        _ => false,
    }
}

/// What the target sent that ends a measurement, in words.
fn unasked(event: &Event) -> String {
    let what = match event {
        Event::Async(message, _) => {
            return format!("the target sent an asynchronous message: {}", AsyncEvent(message.async_event));
        }
        Event::Rejected(reject, _) => {
            return format!("the target rejected a PDU: {}", RejectReason(reject.reason));
        }
        Event::Pong(..) => "a NOP-In",
        Event::Text(..) => "a Text Response",
        Event::Managed(..) => "a Task Management Function Response",
        Event::Done(_) => "a SCSI Response",
        Event::LoggedOut(..) => "a Logout Response",
    };
    format!("the target sent {what} that was not asked for")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bhs::{AsyncMessage, Reject};

    #[test]
    fn what_the_target_sends_is_said_in_words() {
        let message = AsyncMessage { async_event: AsyncEvent::LOGOUT_REQUESTED.0, ..AsyncMessage::default() };
        let said = unasked(&Event::Async(message, Vec::new()));
        assert_eq!(said, "the target sent an asynchronous message: target requests logout");
        let reject = Reject { reason: RejectReason::PROTOCOL_ERROR.0, ..Reject::default() };
        assert_eq!(
            unasked(&Event::Rejected(reject, Vec::new())),
            "the target rejected a PDU: protocol error"
        );
    }
}

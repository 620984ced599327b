//! A blocking driver for [`Core`]: one session over one connection.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::cdb::{self, Cdb};
use super::core::{Core, Event};
use super::error::Error;
use super::login::LoginOptions;
use super::raw::{RawConn, receive};
use super::task::{Command, Direction, Done, Tag};
use crate::wire::bhs::AsyncMessage;
use crate::wire::codes::{LogoutReason, LogoutResponseCode, Opcode, RejectReason, TmfFunction, TmfResponse};
use crate::wire::lun::{self, LUN_MAX};

/// Commands that a driver keeps outstanding.
const CAPACITY: usize = 1024;

/// Unit attentions that are reported away before the next command shows what is wrong.
const ATTENTIONS_MAX: u32 = 8;

/// The longest answer to REPORT LUNS: its header, and all LUNs that there can be.
const LUNS_LEN: u32 = 8 * (LUN_MAX as u32 + 2);

/// An initiator that waits for its answers.
#[derive(Debug)]
pub struct Initiator<S = TcpStream> {
    stream: S,
    core: Core,
    /// Events that came while another was waited for.
    early: VecDeque<Event>,
}

impl Initiator {
    /// Connects and logs in. Every wait ends in an error after `timeout`.
    ///
    /// # Errors
    /// When there is no connection or no login.
    pub fn login(address: SocketAddr, options: LoginOptions, timeout: Duration) -> Result<Self, Error> {
        Self::begin(RawConn::connect(address, timeout)?, options)
    }
}

impl<S: Read + Write> Initiator<S> {
    /// Logs in over a stream that is there already, whose reads and writes end in time.
    ///
    /// # Errors
    /// When there is no login.
    pub fn over(stream: S, options: LoginOptions) -> Result<Self, Error> {
        Self::begin(RawConn::over(stream), options)
    }

    fn begin(mut raw: RawConn<S>, options: LoginOptions) -> Result<Self, Error> {
        let login = raw.login(options)?;
        let (stream, incoming) = raw.into_parts();
        Ok(Self { stream, core: Core::new(login, incoming, CAPACITY), early: VecDeque::new() })
    }

    /// The protocol core.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The protocol core, to ask for something; [`Initiator::flush`] sends it.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// The socket.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The socket and the core, for those who drive it otherwise.
    pub fn into_parts(self) -> (S, Core) {
        (self.stream, self.core)
    }

    /// Sends what waits to be sent.
    ///
    /// # Errors
    /// As the network says.
    pub fn flush(&mut self) -> Result<(), Error> {
        let bytes = self.core.outgoing();
        let count = bytes.len();
        self.stream.write_all(bytes)?;
        self.core.sent(count);
        Ok(())
    }

    /// Begins a command.
    ///
    /// # Errors
    /// When too many are outstanding, or the network fails.
    pub fn submit(&mut self, command: Command) -> Result<Tag, Error> {
        let tag = self.core.submit(command).map_err(|_| Error::Full)?;
        self.flush()?;
        Ok(tag)
    }

    /// The next thing that the target says.
    ///
    /// # Errors
    /// When nothing comes in time, the connection ends, or the target breaks a rule.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        match self.early.pop_front() {
            Some(event) => Ok(event),
            None => self.fresh_event(),
        }
    }

    fn fresh_event(&mut self) -> Result<Event, Error> {
        loop {
            let event = self.core.poll()?;
            self.flush()?;
            if let Some(event) = event {
                return Ok(event);
            }
            if receive(&mut self.stream, self.core.incoming())? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    /// Waits for an event that `wanted` turns into something; others are kept for later.
    fn wait_for<T>(&mut self, mut wanted: impl FnMut(Event) -> Result<T, Event>) -> Result<T, Error> {
        for _ in 0..self.early.len() {
            let Some(event) = self.early.pop_front() else { break };
            match wanted(event) {
                Ok(found) => return Ok(found),
                Err(event) => self.early.push_back(event),
            }
        }
        loop {
            match wanted(self.fresh_event()?) {
                Ok(found) => return Ok(found),
                Err(Event::Rejected(pdu, _)) => return Err(Error::Rejected(RejectReason(pdu.reason))),
                Err(event) => self.early.push_back(event),
            }
        }
    }

    /// Waits for the end of a command.
    ///
    /// # Errors
    /// As for [`Initiator::next_event`], and when the target rejects a PDU.
    pub fn wait(&mut self, tag: Tag) -> Result<Done, Error> {
        self.wait_for(|event| match event {
            Event::Done(done) if done.tag == tag => Ok(done),
            other => Err(other),
        })
    }

    /// Does a command and waits for its end.
    ///
    /// # Errors
    /// As for [`Initiator::submit`] and [`Initiator::wait`]. A SCSI status is no error.
    pub fn execute(
        &mut self,
        lun: u16,
        cdb: Cdb,
        direction: Direction,
        buffer: Vec<u8>,
    ) -> Result<Done, Error> {
        let tag = self.submit(Command { lun, cdb, direction, buffer, user: 0 })?;
        self.wait(tag)
    }

    /// Reads `len` bytes from a block on.
    ///
    /// # Errors
    /// As for [`Initiator::execute`].
    pub fn read(&mut self, lun: u16, lba: u64, blocks: u32, len: usize) -> Result<Done, Error> {
        self.execute(lun, cdb::read(lba, blocks), Direction::In, vec![0; len])
    }

    /// Writes these bytes from a block on.
    ///
    /// # Errors
    /// As for [`Initiator::execute`].
    pub fn write(&mut self, lun: u16, lba: u64, blocks: u32, data: Vec<u8>) -> Result<Done, Error> {
        self.execute(lun, cdb::write(lba, blocks), Direction::Out, data)
    }

    /// Reports the unit attentions of a logical unit away.
    ///
    /// # Errors
    /// As for [`Initiator::execute`].
    pub fn clear_attention(&mut self, lun: u16) -> Result<(), Error> {
        for _ in 0..ATTENTIONS_MAX {
            if self.execute(lun, cdb::TEST_UNIT_READY, Direction::None, Vec::new())?.is_good() {
                break;
            }
        }
        Ok(())
    }

    /// The numbers of the logical units that it sees.
    ///
    /// # Errors
    /// As for [`Initiator::execute`]; a target that does not tell breaks a rule.
    pub fn luns(&mut self) -> Result<Vec<u16>, Error> {
        let done = self.execute(0, cdb::report_luns(LUNS_LEN), Direction::In, vec![0; LUNS_LEN as usize])?;
        let Some(entries) = done.buffer.get(8..done.received).filter(|_| done.is_good()) else {
            return Err(Error::Protocol { opcode: Opcode::SCSI_RESPONSE, rule: "no answer to REPORT LUNS" });
        };
        let (entries, _) = entries.as_chunks::<8>();
        Ok(entries.iter().filter_map(|entry| lun::from_wire((*entry).into())).collect())
    }

    /// Blocks of a logical unit, and bytes in each.
    ///
    /// # Errors
    /// As for [`Initiator::execute`]; a target that does not tell breaks a rule.
    pub fn capacity(&mut self, lun: u16) -> Result<(u64, u32), Error> {
        let done = self.execute(lun, cdb::read_capacity(), Direction::In, vec![0; 32])?;
        let (last, block) =
            (done.buffer.first_chunk::<8>(), done.buffer.get(8..).and_then(<[u8]>::first_chunk::<4>));
        match (done.is_good(), last, block) {
            (true, Some(last), Some(block)) => {
                Ok((u64::from_be_bytes(*last).wrapping_add(1), u32::from_be_bytes(*block)))
            }
            _ => Err(Error::Protocol { opcode: Opcode::SCSI_RESPONSE, rule: "no answer to READ CAPACITY" }),
        }
    }

    /// Pings and waits for the echo.
    ///
    /// # Errors
    /// As for [`Initiator::wait`].
    pub fn ping(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let tag = self.core.nop(data);
        self.flush()?;
        self.wait_for(|event| match event {
            Event::Pong(found, data) if found == tag => Ok(data),
            other => Err(other),
        })
    }

    /// Sends a text and waits for the whole answer.
    ///
    /// # Errors
    /// As for [`Initiator::wait`].
    pub fn text(&mut self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let tag = self.core.text(text);
        self.flush()?;
        self.wait_for(|event| match event {
            Event::Text(found, answer) if found == tag => Ok(answer),
            other => Err(other),
        })
    }

    /// What `SendTargets=All` says, as text.
    ///
    /// # Errors
    /// As for [`Initiator::wait`].
    pub fn send_targets(&mut self) -> Result<String, Error> {
        let answer = self.text(b"SendTargets=All\0")?;
        Ok(String::from_utf8_lossy(&answer).replace('\0', "\n"))
    }

    /// A task management function, to its end.
    ///
    /// # Errors
    /// As for [`Initiator::wait`].
    pub fn manage(
        &mut self,
        function: TmfFunction,
        lun: u16,
        task: Option<Tag>,
    ) -> Result<TmfResponse, Error> {
        let tag = self.core.manage(function, lun, task);
        self.flush()?;
        self.wait_for(|event| match event {
            Event::Managed(found, response) if found == tag => Ok(response),
            other => Err(other),
        })
    }

    /// Waits for an asynchronous message.
    ///
    /// # Errors
    /// As for [`Initiator::wait`].
    pub fn wait_async(&mut self) -> Result<AsyncMessage, Error> {
        self.wait_for(|event| match event {
            Event::Async(message, _) => Ok(message),
            other => Err(other),
        })
    }

    /// Logs out and waits until the target has closed the connection.
    ///
    /// # Errors
    /// As for [`Initiator::wait`].
    pub fn logout(mut self) -> Result<LogoutResponseCode, Error> {
        let tag = self.core.logout(LogoutReason::CLOSE_SESSION);
        self.flush()?;
        let code = self.wait_for(|event| match event {
            Event::LoggedOut(found, code) if found == tag => Ok(code),
            other => Err(other),
        })?;
        while receive(&mut self.stream, self.core.incoming())? > 0 {}
        Ok(code)
    }
}

//! A connection that sends any PDU, right or wrong, and shows whatever comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::error::Error;
use super::frame::{Digests, Incoming, Pdu, append};
use super::login::{LoggedIn, LoginClient, LoginOptions, Progress};
use crate::wire::bhs::LoginResponse;
use crate::wire::codes::Opcode;

/// Data segments that are taken as long as nothing else is said, bytes.
const ANY_SEGMENT: usize = (1 << 24) - 1;

/// A blocking connection without rules.
#[derive(Debug)]
pub struct RawConn<S = TcpStream> {
    stream: S,
    incoming: Incoming,
    digests: Digests,
}

impl RawConn {
    /// Connects. Every later read and write ends in an error after `timeout`.
    ///
    /// # Errors
    /// As the network says.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> RawConn<S> {
    /// Over a stream that is there already.
    pub fn over(stream: S) -> Self {
        Self { stream, incoming: Incoming::new(ANY_SEGMENT), digests: Digests::default() }
    }

    /// The socket.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Digests for everything that is sent and received from now on.
    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// The digests in use.
    pub fn digests(&self) -> Digests {
        self.digests
    }

    /// Sends a PDU as it is: only padding and digests are added.
    ///
    /// # Errors
    /// As the network says.
    pub fn send(&mut self, pdu: &Pdu) -> io::Result<()> {
        let bytes = self.encode(pdu);
        self.send_bytes(&bytes)
    }

    /// A PDU as it would be sent.
    pub fn encode(&self, pdu: &Pdu) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(&mut bytes, &pdu.bhs, &pdu.ahs, &pdu.data, self.digests);
        bytes
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// As the network says.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next PDU; `None` when the target has closed the connection.
    ///
    /// # Errors
    /// When nothing comes in time, the network fails, or a digest is wrong.
    pub fn recv(&mut self) -> Result<Option<Pdu>, Error> {
        loop {
            if let Some(frame) = self.incoming.next_frame(self.digests)? {
                let (ahs, data) = (self.incoming.bytes(&frame.ahs), self.incoming.bytes(&frame.data));
                return Ok(Some(Pdu { bhs: frame.bhs, ahs: ahs.to_vec(), data: data.to_vec() }));
            }
            if receive(&mut self.stream, &mut self.incoming)? == 0 {
                return Ok(None);
            }
        }
    }

    /// Logs in by the rules.
    ///
    /// # Errors
    /// When the target refuses or breaks a rule, or the network fails.
    pub fn login(&mut self, options: LoginOptions) -> Result<LoggedIn, Error> {
        let mut client = LoginClient::new(options);
        let mut next = client.start();
        loop {
            self.send(&next)?;
            let answer = self.recv()?.ok_or(Error::Closed)?;
            if answer.opcode() != Opcode::LOGIN_RESPONSE {
                return Err(Error::Protocol { opcode: answer.opcode(), rule: "not a Login Response" });
            }
            let response = LoginResponse::from_bhs(&answer.bhs);
            match client.response(response, &answer.data, &mut entropy)? {
                Progress::Send(pdu) => next = pdu,
                Progress::Done(login) => {
                    self.digests = Digests::from(&login.negotiated);
                    return Ok(*login);
                }
            }
        }
    }

    pub(super) fn into_parts(self) -> (S, Incoming) {
        (self.stream, self.incoming)
    }
}

/// Receives once; the count, zero at the end of the stream. A reset is an end too: a target that closes while
/// something unread lies in its socket resets the connection.
pub(super) fn receive(stream: &mut impl Read, incoming: &mut Incoming) -> io::Result<usize> {
    loop {
        match stream.read(incoming.space()) {
            Ok(count) => {
                incoming.filled(count);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
            Err(error) => return Err(error),
        }
    }
}

/// Challenges from the kernel's random source.
fn entropy(bytes: &mut [u8]) {
    // A kernel that runs io_uring has getrandom; if it fails there is nothing to go on with.
    getrandom::fill(bytes).unwrap_or_else(|error| panic!("no random bytes: {error}"));
}

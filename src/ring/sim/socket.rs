//! Connections as two byte streams with windows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::rc::Rc;

use crate::ring::Ends;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    window: usize,
    /// All bytes that were ever written.
    written: u64,
    /// No more will be written.
    ended: bool,
    /// Nobody will read.
    deaf: bool,
    reset: bool,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    pub(super) ends: Ends,
    /// Its close throws away what is on its way.
    aborts: bool,
}

/// Bytes on their way to a peer, which are looked at until they are there.
#[derive(Debug)]
pub(super) struct OnTheWay {
    pipe: Rc<RefCell<Pipe>>,
    end: u64,
}

impl OnTheWay {
    /// The peer has them, or nobody ever will.
    pub(super) fn is_over(&self) -> bool {
        let pipe = self.pipe.borrow();
        pipe.written - pipe.bytes.len() as u64 >= self.end
    }
}

/// A socket that waits for connections.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    pub(super) queue: VecDeque<Stream>,
}

impl Listener {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, queue: VecDeque::new() }
    }

    /// Whether a connection to this address comes here: exactly, or by the wildcard.
    pub(super) fn serves(&self, to: SocketAddr) -> bool {
        let any = self.address.ip().is_unspecified() && self.address.is_ipv6() == to.is_ipv6();
        self.address.port() == to.port() && (any || self.address.ip() == to.ip())
    }
}

impl Stream {
    /// Both ends of a new connection: the caller's and the listener's.
    pub(super) fn pair(from: SocketAddr, to: SocketAddr, window: usize) -> (Self, Self) {
        let pipe = || Rc::new(RefCell::new(Pipe { window: window.max(1), ..Pipe::default() }));
        let (there, back) = (pipe(), pipe());
        let near = Self {
            incoming: Rc::clone(&back),
            outgoing: Rc::clone(&there),
            ends: Ends { local: from, peer: to },
            aborts: false,
        };
        let ends = Ends { local: to, peer: from };
        (near, Self { incoming: there, outgoing: back, ends, aborts: false })
    }

    /// Bytes that can be read; 0 at the end; `None` when one must wait.
    pub(super) fn available(&self) -> io::Result<Option<usize>> {
        let pipe = self.incoming.borrow();
        if pipe.reset {
            return Err(io::Error::from_raw_os_error(libc::ECONNRESET));
        }
        Ok(Some(pipe.bytes.len()).filter(|&n| n > 0 || pipe.ended || pipe.deaf))
    }

    /// Bytes that can be written; `None` when one must wait.
    pub(super) fn room(&self) -> io::Result<Option<usize>> {
        let pipe = self.outgoing.borrow();
        match (pipe.reset, pipe.ended || pipe.deaf) {
            (true, _) => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
            (_, true) => Err(io::Error::from_raw_os_error(libc::EPIPE)),
            _ => Ok(Some(pipe.window - pipe.bytes.len()).filter(|&n| n > 0)),
        }
    }

    /// Reads bytes that are available.
    pub(super) fn take(&self, into: &mut [u8]) {
        let mut pipe = self.incoming.borrow_mut();
        let n = into.len().min(pipe.bytes.len());
        pipe.bytes.read_exact(&mut into[..n]).expect("so many are there");
    }

    /// Writes bytes for which there is room.
    pub(super) fn put(&self, bytes: &[u8]) {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.bytes.extend(bytes);
        pipe.written += bytes.len() as u64;
    }

    /// Bytes that have reached the peer's side, read or not.
    pub(super) fn delivered(&self) -> u64 {
        self.outgoing.borrow().written
    }

    /// Ends both directions; what was sent before still arrives.
    pub(super) fn shut_down(&self) {
        self.outgoing.borrow_mut().ended = true;
        let mut pipe = self.incoming.borrow_mut();
        pipe.deaf = true;
        pipe.bytes.clear();
    }

    /// All that has been written so far.
    pub(super) fn on_the_way(&self) -> OnTheWay {
        OnTheWay { pipe: Rc::clone(&self.outgoing), end: self.delivered() }
    }

    /// The close that follows breaks the connection off.
    pub(super) fn abort(&mut self) {
        self.aborts = true;
    }

    /// The descriptor was closed.
    pub(super) fn hang_up(self) {
        if self.aborts {
            self.reset();
        }
        self.shut_down();
    }

    pub(super) fn reset(&self) {
        for pipe in [&self.incoming, &self.outgoing] {
            pipe.borrow_mut().bytes.clear();
            pipe.borrow_mut().reset = true;
        }
    }
}

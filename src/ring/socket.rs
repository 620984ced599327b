//! Setting up a connection's socket.
//!
//! Owns: what every connection is set to. Refuses to know: what is said on it, and what its portal is set to, which a
//! connection has from its listener.

use std::io;
use std::net::Shutdown;
use std::os::fd::RawFd;

use super::Ends;
use super::ring::with_stream;

/// Makes a socket blocking and prompt, and tells both ends. Operations must wait, not fail, and batching is done here.
pub(super) fn adopt(fd: RawFd) -> io::Result<Ends> {
    with_stream(fd, |stream| {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        Ok(Ends { local: stream.local_addr()?, peer: stream.peer_addr()? })
    })
}

/// Ends both directions. An error means that the connection has ended already, which is as good.
pub(super) fn shutdown(fd: RawFd) {
    let _ = with_stream(fd, |stream| stream.shutdown(Shutdown::Both));
}

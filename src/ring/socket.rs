//! Setting up a connection's socket.
//!
//! Owns: which options a connection has. Refuses to know: what is said on it.

use std::io;
use std::net::Shutdown;
use std::os::fd::RawFd;

use super::ring::{set_option, with_stream};
use super::{Ends, SocketOptions};

/// Sets the options and tells both ends.
pub(super) fn adopt(fd: RawFd, options: &SocketOptions) -> io::Result<Ends> {
    with_stream(fd, |stream| {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        Ok(Ends { local: stream.local_addr()?, peer: stream.peer_addr()? })
    })
    .and_then(|ends| apply(fd, options).map(|()| ends))
}

fn apply(fd: RawFd, options: &SocketOptions) -> io::Result<()> {
    let number = |value: u32| value.min(i32::MAX as u32).to_ne_bytes();
    if options.keepalive {
        set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &number(1))?;
    }
    if let Some(bytes) = options.send_buffer {
        set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &number(bytes))?;
    }
    if let Some(bytes) = options.receive_buffer {
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &number(bytes))?;
    }
    match &options.congestion {
        Some(name) => set_option(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_bytes()),
        None => Ok(()),
    }
}

/// Ends both directions. An error means that the connection has ended already, which is as good.
pub(super) fn shutdown(fd: RawFd) {
    let _ = with_stream(fd, |stream| stream.shutdown(Shutdown::Both));
}

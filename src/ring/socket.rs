//! Setting up a connection's socket.
//!
//! Owns: what every connection is set to. Refuses to know: what is said on it, and what its portal is set to, which a
//! connection has from its listener; what the kernel does not hand down is copied from there.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, RawFd};
use std::sync::Once;

use super::Ends;
use super::ring::with_stream;
use crate::sys;

/// Makes a socket blocking and prompt, and tells both ends. Operations must wait, not fail, and batching is done here.
pub(super) fn adopt(fd: RawFd) -> io::Result<Ends> {
    with_stream(fd, |stream| {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        Ok(Ends { local: stream.local_addr()?, peer: stream.peer_addr()? })
    })
}

/// The priority of the listener (SO_PRIORITY), which the kernel begins anew for every connection. One that cannot be set
/// would have been refused at the listener.
pub(super) fn hand_down_priority(listener: RawFd, fd: RawFd) {
    let mut priority = [0; 4];
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PRIORITY);
    let read = with_stream(listener, |stream| sys::option(stream.as_fd(), level, option, &mut priority));
    if read.is_ok() && priority != [0; 4] {
        let _ = with_stream(fd, |stream| sys::set_option(stream.as_fd(), level, option, &priority));
    }
}

/// Where `tcpi_snd_mss` is in the kernel's `struct tcp_info`, whose beginning never changes.
const SEND_MSS: usize = 16;

/// Where `tcpi_bytes_acked` is in it (since 4.1).
const BYTES_ACKED: usize = 120;

/// A field of what the kernel knows of a connection.
fn tcp_info<const N: usize>(fd: RawFd, at: usize) -> Option<[u8; N]> {
    let mut info = [0; 128];
    let read =
        with_stream(fd, |stream| sys::option(stream.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut info));
    info.get(..read.ok()?)?.get(at..)?.first_chunk().copied()
}

/// Bytes that the peer has acknowledged since the connection began.
pub(super) fn delivered(fd: RawFd) -> Option<u64> {
    tcp_info(fd, BYTES_ACKED).map(u64::from_ne_bytes)
}

/// Bytes of payload that a packet to the peer carries: the MTU of the way there, less the headers.
pub(super) fn segment(fd: RawFd) -> Option<u32> {
    tcp_info(fd, SEND_MSS).map(u32::from_ne_bytes).filter(|bytes| *bytes > 0)
}

/// Whether the connection's portal is set to sends without copies.
pub(super) fn wishes_zero_copy(fd: RawFd) -> bool {
    let mut value = [0; 4];
    let read = with_stream(fd, |stream| {
        sys::option(stream.as_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, &mut value)
    });
    read.is_ok() && value != [0; 4]
}

/// Says once per process that a portal asks for what the kernel does not have.
pub(super) fn warn_of_copies() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "zero_copy of a portal has no effect: this kernel's io_uring cannot send without copies and tell \
             whether it did (Linux 6.2 or newer can)"
        );
    });
}

/// Has the close that follows break the connection off, with everything that is still on its way.
pub(super) fn abort(fd: RawFd) {
    // On, and no time for what is left (`struct linger`). An error means that nothing is left.
    let linger = [1_i32, 0].map(i32::to_ne_bytes);
    let _ = with_stream(fd, |stream| {
        sys::set_option(stream.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger.as_flattened())
    });
}

/// Ends both directions. An error means that the connection has ended already, which is as good.
pub(super) fn shutdown(fd: RawFd) {
    let _ = with_stream(fd, |stream| stream.shutdown(Shutdown::Both));
}

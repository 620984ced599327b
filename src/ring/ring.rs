//! The ring itself. One of the three files with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use super::op::Message;

impl Message {
    /// No addresses yet; room for `slices` of them.
    pub(super) fn new(slices: usize) -> Self {
        // SAFETY: a C struct of integers and pointers, for which zeroes are valid: no name, no data.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = ptr::null_mut();
        Self { header, slices: Vec::with_capacity(slices) }
    }
}

/// An eventfd that counts from zero and blocks its readers.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just created, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

//! Sends without copies (zero copy, where a connection's portal is set to it).
//!
//! ```text
//!   send ─► taken by the socket ─► the next send begins ┄┄► the peer has it ─► slots go back, sessions go on
//!             │ not all of it: the rest goes plainly                │ the kernel says that it copied: after a few of
//!             │ refused: all of it goes plainly, and all that follow│ these all that follows goes plainly
//! ```
//!
//! Slots, headers and what is to be done then are kept until the last completion, whatever becomes of the connection.
//! One that has ended is given a moment to bring what it has sent to its peer, and is broken off then.

use std::sync::Once;

use super::Reactor;
use super::conn::Conn;
use super::world::World;
use crate::ids::ConnId;
use crate::ring::{Driver, SendOp};

/// What the kernel answers to a send without copies that would go plainly: it does not know how to tell of copies (before
/// 6.2), the socket cannot do it, or there is no memory that may be pinned (RLIMIT_MEMLOCK, net.core.optmem_max).
const REFUSALS: [i32; 4] = [-libc::EINVAL, -libc::EOPNOTSUPP, -libc::ENOMEM, -libc::ENOBUFS];

impl<D: Driver> Reactor<D> {
    /// The socket has taken that many bytes of the send under way, without copying them.
    pub(super) fn taken(&mut self, id: ConnId, result: i32) {
        let now = self.world.driver.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        // Less than all: the rest is sent when this has come back.
        let Some(afters) = conn.tx.taken(result.max(0) as usize) else { return };
        if conn.is_closing() {
            conn.tx.flown.clear();
            conn.tx.put_off(afters);
            return self.closing.push(id);
        }
        self.world.count_left(conn, now);
        self.after_send(id, afters);
    }

    /// Nothing looks at the memory of a send without copies any more. One of which something is left to do comes back,
    /// as a plain one.
    pub(super) fn uncopied_ended(
        &mut self,
        id: ConnId,
        mut op: Box<SendOp>,
        result: i32,
        copied: bool,
    ) -> Option<Box<SendOp>> {
        let now = self.world.driver.now();
        self.world.disks -= 1;
        self.world.counters.copied_after_all += u64::from(copied);
        op.zero_copy = false;
        let conn = self.conns.get_mut(id)?;
        if copied && conn.tx.note_copied() {
            say_copied(conn);
        }
        match conn.tx.noticed(op, now) {
            Ok(afters) if conn.is_closing() => {
                conn.tx.put_off(afters);
                self.closing.push(id);
                None
            }
            Ok(afters) => {
                self.after_send(id, afters);
                None
            }
            Err(op) if REFUSALS.contains(&result) && !conn.is_closing() => {
                if conn.tx.give_up_zero_copy() {
                    say_refused(conn, -result);
                }
                self.send_plainly(id, op);
                None
            }
            Err(op) => Some(op),
        }
    }
}

impl<D> World<D> {
    /// Whether disks have entries of the ring to spare.
    pub(super) fn has_room_for_disks(&self) -> bool {
        self.disks < self.most_disks
    }
}

fn say_copied(conn: &Conn) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::info!(
            peer = %conn.ends.peer,
            "zero_copy: the kernel copies all the same on the way to this peer, as over loopback or a device that \
             cannot gather; its connection sends plainly from now on (said only once)"
        );
    });
}

fn say_refused(conn: &Conn, errno: i32) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            peer = %conn.ends.peer,
            error = %std::io::Error::from_raw_os_error(errno),
            "zero_copy: the kernel refuses a send without copies; its connection sends plainly from now on (said only \
             once; Linux 6.2 or newer is needed, and memory that may be locked: LimitMEMLOCK=infinity)"
        );
    });
}

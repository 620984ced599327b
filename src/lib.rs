//! ringtgt: an iSCSI target for Linux on io_uring.
//!
//! This page is the architecture: what is where, who may know whom, and what always holds.
//!
//! # Bird's eye
//!
//! ```text
//!                  Linux / Windows / VMware initiators, libiscsi, QEMU
//!                    │ TCP 3260, RFC 7143
//!  ┌─────────────────▼────────────── one reactor per core: one thread, one ring, nothing shared ────────────┐
//!  │  recv ─► session (bytes in, calls out) ─► scsi (CDB → Io | data | sense) ─► store (→ operation)        │
//!  │   ▲            │ places, not bytes                                            │ O_DIRECT, registered    │
//!  │   └── send ◄───┴──── Data-In / Response, payload = the slot the disk filled ◄──┘ slots                  │
//!  └────────▲───────────────────────────────────────────────────────────────────────────────────────────────┘
//!           │ bounded mailboxes and a doorbell; never data
//!     control thread: configuration, state directory, signals, systemd
//! ```
//!
//! A **READ** is a straight line. A receive completes; [`session`] finds a command in staging; [`scsi`] makes a range
//! of it; a slot is taken and the read goes into this turn's one system call. When it completes, Data-In headers are
//! written and the slot is named behind them; all answers of a turn leave in one send, and then the slots go back.
//! No payload byte is copied.
//!
//! A **WRITE** likewise. What of its data already sits in staging is copied to the slot, at most 16 KiB for each data
//! PDU (32 KiB where a long one comes after many short ones); the rest is received straight into the slot. What the
//! initiator does not send by itself is asked for by R2T, segment by segment of 256 KiB. A full segment is written; when
//! all are, the response leaves. A ramdisk changes only when all of a segment is there and has proved right: then it is
//! copied from the slot, or straight from staging, if the whole write lies there, as a short one does. That is one copy.
//!
//! # Code map
//!
//! | module | what it is |
//! |---|---|
//! | [`ids`] | opaque names for things in tables |
//! | [`sys`] | the few raw system calls |
//! | [`wire`] | bytes ↔ types: headers, codes, text keys, names, serial numbers, digests |
//! | [`scsi`] | CDB → what is to be done, or sense; inquiry, mode pages, reservations; one table row per command |
//! | [`session`] | the protocol as a state machine: login, framing, tasks, data both ways, task management |
//! | [`initiator`] | the other side of the protocol |
//! | [`target`] | the catalogue: targets, portal groups, LUN maps, who may log in; immutable |
//! | [`mem`] | regions of memory, and their division into slots |
//! | [`ring`] | io_uring: the table of what is in flight, the ring, its abilities, and a simulation of all that |
//! | [`store`] | what a logical unit sits on: device, file, memory, nothing; or a SCSI device that gets the commands |
//! | [`reactor`] | one core's world: the turn, connections, disk requests, limits, changes, logins that are sent elsewhere, fences, erasing of media, mail |
//! | [`loopback`] | disks of this very host: what the kernel asks of them becomes commands of a session |
//! | [`admin`] | ordinary threads: configuration, state directory, start and stop, changes of what is served |
//! | [`cli`] | the command line, and the live view |
//!
//! # Who may know whom
//!
//! `cli → admin → {reactor, loopback} → {session, store, target, ring, mem, initiator} → {scsi, wire, sys} → ids`; inside a
//! level only session → target, ring → mem, store → {ring, mem} and initiator → session. `tests/layering.rs` keeps this.
//!
//! # What always holds
//!
//! 1. **The protocol is a pure state machine.** [`wire`], [`scsi`] and [`session`] own no socket, clock, thread or
//!    randomness. The same input gives the same output.
//! 2. **Places, not bytes.** A session tells where the next bytes belong before they arrive. What is copied all the
//!    same is counted.
//! 3. **The kernel sees only memory that the in-flight table owns.** An operation is moved into the table, its entry
//!    is built from there, and it comes back whole with its last completion. Slots that a ghost uses are freed then.
//!    Regions are never unmapped.
//! 4. **Nothing is shared, allocated or logged for each I/O**: no lock, no shared written cache line. One system call
//!    a turn (two where it looked a while for something to do, and then slept), one whenever a ring is looked at that polls,
//!    and one for what is submitted to a ring for commands. Only a limit is one number for all reactors, of which each
//!    draws for some milliseconds at a time.
//! 5. **A write that the kernel has cannot be called back.** When its task is forgotten (abort, reset, loss or
//!    reinstatement of the session, PREEMPT AND ABORT, a LUN that its initiator may not see or not write any more) it
//!    becomes a ghost: nothing of it is submitted any more, its range is fenced on every reactor until it has ended, and
//!    only then is the function, the login or the change answered.
//! 6. **Every number that a peer controls has a named limit.** A task takes all its slots at once or waits with none;
//!    unasked data may use the reserve, and is dropped and answered TASK SET FULL when that is empty too; a connection
//!    whose initiator owes data is read on, and none is left unread for a second. While some session waits for slots,
//!    the others must use theirs: a transfer whose data does not come fails, a peer that reads too slowly is dropped.
//!    A logical unit whose disk keeps slots that nobody waits for any more is answered BUSY while slots are short. What
//!    waits for a limit waits without slots; only unasked data waits in some, and is answered TASK SET FULL instead as
//!    soon as slots are short.
//!    What waits in memory beside slots, unread answers and requests out of order, is bounded for all connections of a
//!    reactor together: when it runs short requests are left unread sooner, and when it is used up the connection that
//!    has most of it is dropped.
//! 7. **One owner decides.** The state of a logical unit (reservations, mode pages, access states) is a snapshot on
//!    every reactor; the owner makes the next one, and the command is answered when all reactors have it and what it
//!    forbids has ended or is fenced. A client that must be alone in a range of the medium gets it from the same
//!    owner.
//! 8. **A store is open once**, exclusively, and not ready for anybody before it is held: queued writes of a killed
//!    predecessor hold it until they have landed. Only a SCSI device without a block node is free sooner: there the
//!    kernel lets the process go, and leaves the device alone with its command.
//! 9. **A panic** in the pure core closes one connection; one anywhere below ends the process.
//! 10. **`unsafe`** is in `mem/region.rs`, `ring/ring.rs` and `sys.rs`, each block with its reason; nowhere else.
#![warn(missing_docs)]

pub mod admin;
pub mod cli;
pub mod ids;
pub mod initiator;
pub mod loopback;
pub mod mem;
pub mod reactor;
pub mod ring;
pub mod scsi;
pub mod session;
pub mod store;
pub mod sys;
pub mod target;
pub mod wire;

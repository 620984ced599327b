//! The ring itself. One of the three files with `unsafe`.
//!
//! Owns: the queues, the turn, the ring's own requests (the read of the bell, timers, cancellations).
//! Promises: what the module page promises of the kernel and memory; one system call per turn, two when it
//! polled before sleeping. Refuses to know: what an operation looks like to the kernel (`entry`), who owns it
//! (`table`), how long to poll (`poll`).
//!
//! ```text
//!   turn: rung, or not to wait? ── yes ─► submit ───────────────────────────────┐
//!           │ no                                                                ▼
//!           ├─ worth polling? ─► submit ─► anything? ─► poll ─► came? ─► enter ─► reap
//!           │                                             │ no                  ▲
//!           └────────────────────► arm the bell, park, submit and sleep ────────┘
//! ```
//!
//! Stores that are polled have a second ring ([`side`](super::side)); while something is in it, the turn looks there
//! again and again instead of sleeping. Stores that take commands have another; it rings the bell of a turn that sleeps.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::types::{Fd, SubmitArgs, TimeoutFlags, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use super::entry::{Addresses, build};
use super::nvme;
use super::op::Message;
use super::poll::Poller;
use super::setup::{
    RingConfig, make, pieces, register_files, timespec, tolerate, warn_uncommanded, warn_unpolled,
    warn_unregistered,
};
use super::side::{Commands, Side};
use super::table::{Owner, Table};
use super::{
    Bell, Caps, Done, Driver, Ends, File, Key, Kind, Namespace, Op, Stats, Unusable, Wait, Way, socket,
};
use crate::mem::{Memory, Region, RegionId};

/// Timers in flight at once, where a wait cannot take a deadline.
pub(super) const TIMERS: usize = 4;
/// IORING_NOTIF_USAGE_ZC_COPIED.
const COPIED: u32 = 1 << 31;
const FOREVER: u64 = u64::MAX;

/// How long it sleeps while a device that is polled says nothing, nanoseconds.
const NAP_NS: u64 = 1_000_000;

/// The forms of entries and completions: there are long ones, too.
pub(super) trait Sqe: squeue::EntryMarker + 'static {}
impl<S: squeue::EntryMarker + 'static> Sqe for S {}
pub(super) trait Cqe: cqueue::EntryMarker + 'static {}
impl<C: cqueue::EntryMarker + 'static> Cqe for C {}

/// The queues' storage, dropped after the halves that borrow it.
struct Storage<S: Sqe, C: Cqe>(*mut IoUring<S, C>);

impl<S: Sqe, C: Cqe> Drop for Storage<S, C> {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw` in `Queues::new`. The halves are declared before this field, so they are
        // gone by now.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// The two queues of one of the reactor's rings.
pub(super) struct Queues<S: Sqe = squeue::Entry, C: Cqe = cqueue::Entry> {
    pub(super) submitter: Submitter<'static>,
    pub(super) sq: SubmissionQueue<'static, S>,
    pub(super) cq: CompletionQueue<'static, C>,
    _storage: Storage<S, C>,
}

impl<S: Sqe, C: Cqe> Queues<S, C> {
    pub(super) fn new(ring: IoUring<S, C>) -> Self {
        let storage = Storage(Box::into_raw(Box::new(ring)));
        // SAFETY: just boxed, and kept until after the three halves are dropped; nothing else refers to it.
        let (submitter, sq, cq) = unsafe { &mut *storage.0 }.split();
        Self { submitter, sq, cq, _storage: storage }
    }

    /// Puts an entry in the submission queue: whoever calls this sees to it that every address in the entry is of memory
    /// that the table or `lasting` owns until the completion, or of a region, which is never unmapped. False when it is full.
    #[inline]
    pub(super) fn publish(&mut self, entry: &S) -> bool {
        // SAFETY: what the entry points to stays until its completion, as said above.
        unsafe { self.sq.push(entry) }.is_ok()
    }

    /// One system call.
    #[inline]
    pub(super) fn enter(
        &self,
        waiting: u32,
        want: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<usize> {
        match args {
            // SAFETY: no argument; the entries were built from what the table or `lasting` owns.
            None => unsafe { self.submitter.enter::<libc::sigset_t>(waiting, want, flags.bits(), None) },
            // SAFETY: as above; the argument lives until the call returns.
            Some(args) => unsafe {
                self.submitter.enter(waiting, want, (flags | EnterFlags::EXT_ARG).bits(), Some(args))
            },
        }
    }
}

/// The ring's own memory that the kernel touches. It is leaked: the read of the bell is in flight to the end.
struct Lasting {
    rung: u64,
    timers: [Timespec; TIMERS],
}

/// io_uring for one reactor. Made on the reactor's own thread and never leaves it.
pub struct Ring {
    main: Queues,
    /// For stores that are polled, once there is one.
    polled: Option<Side>,
    /// For stores that take commands, likewise.
    commands: Option<Commands>,
    table: ManuallyDrop<Table>,
    at: Addresses,
    /// Disks can work on registered memory.
    registered: bool,
    bell: Arc<Bell>,
    lasting: *mut Lasting,
    bell_armed: bool,
    /// When each timer in flight fires.
    timers: [Option<u64>; TIMERS],
    poller: Poller,
    free_files: Vec<u32>,
    caps: Caps,
    stats: Stats,
    now: u64,
    files: u32,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, caps, stats, .. } = self;
        f.debug_struct("Ring").field("live", &table.live()).field("caps", caps).field("stats", stats).finish()
    }
}

impl Ring {
    /// Makes a ring for this thread, which uses `memory`'s own region and is woken by `bell`.
    ///
    /// # Errors
    /// When the kernel refuses, with the cause and the remedy. What is only slower is logged.
    pub fn new(config: &RingConfig, memory: &Memory, bell: Arc<Bell>) -> Result<Self, Unusable> {
        let caps = Caps::probe()?;
        let caps = config.level.map_or(caps, |level| caps.masked(level));
        let completions = (config.in_flight + TIMERS as u32).next_power_of_two() * 2;
        let mut main = Queues::new(make(&caps, completions, |_| {}).map_err(Unusable::refused)?);
        if caps.ring_fd {
            // Worth a little; the plain descriptor does as well.
            let _ = main.submitter.register_ring_fd();
        }
        let at = Addresses::new(Arc::clone(memory.own()));
        let registered = register_memory(&main.submitter, memory.own());
        let free_files = register_files(&main.submitter, config.files);
        // Two completions for each operation; what is left over is for the bell, the timers and their removals.
        let capacity = main.cq.capacity() / 2 - TIMERS;
        Ok(Self {
            main,
            polled: None,
            commands: None,
            registered,
            table: ManuallyDrop::new(Table::new(capacity)),
            at,
            bell,
            lasting: Box::into_raw(Box::new(Lasting { rung: 0, timers: [Timespec::new(); TIMERS] })),
            bell_armed: false,
            timers: [None; TIMERS],
            poller: Poller::new(config.poll_ns),
            free_files,
            caps,
            stats: Stats::default(),
            now: monotonic_ns(),
            files: config.files,
        })
    }

    /// Whether disks can work on registered memory.
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Completions that found no room: zero, or the accounting is wrong.
    #[cfg(test)]
    pub(super) fn overflowed(&self) -> u32 {
        self.main.cq.overflow()
    }

    /// Does without registered memory from now on.
    #[cfg(test)]
    pub(super) fn unregister(&mut self) {
        self.registered = false;
    }

    /// Something is there, or an enter would bring something.
    #[inline]
    fn is_due(&mut self) -> bool {
        self.main.cq.sync();
        !self.main.cq.is_empty()
            || self.is_enter_due()
            || self.commands.as_mut().is_some_and(|side| side.is_due())
    }

    #[inline]
    fn is_enter_due(&self) -> bool {
        self.main.sq.taskrun() || self.main.sq.cq_overflow()
    }

    fn submit(&mut self) {
        if !self.main.sq.is_empty() || self.is_enter_due() {
            self.enter(0, FOREVER);
        }
    }

    /// The one system call: submits everything, and waits for `want` completions until `deadline`.
    fn enter(&mut self, want: u32, deadline: u64) {
        self.main.sq.sync();
        let mut waiting = self.main.sq.len();
        let mut want = want;
        loop {
            self.stats.enters += 1;
            let taken = match self.enter_once(waiting as u32, want, deadline) {
                Ok(taken) => taken,
                Err(error) => return tolerate(&error),
            };
            self.main.sq.sync();
            waiting = self.main.sq.len();
            if waiting == 0 || taken == 0 {
                return;
            }
            // An entry that fails at once ends the batch on kernels before 5.18, and then nothing was waited
            // for; its completion is there.
            want = 0;
        }
    }

    fn enter_once(&self, waiting: u32, want: u32, deadline: u64) -> io::Result<usize> {
        let mut flags = EnterFlags::GETEVENTS;
        if want > 0 && self.caps.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        if want == 0 || deadline == FOREVER || !self.caps.ext_arg {
            return self.main.enter(waiting, want, flags, None);
        }
        let left = timespec(deadline.saturating_sub(monotonic_ns()));
        self.main.enter(waiting, want, flags, Some(&SubmitArgs::new().timespec(&left)))
    }

    /// Puts an entry in the submission queue, making room if needed. False when the kernel takes nothing.
    #[inline]
    fn publish(&mut self, entry: &squeue::Entry) -> bool {
        if self.main.sq.is_full() && !self.make_room() {
            return false;
        }
        self.main.publish(entry)
    }

    fn make_room(&mut self) -> bool {
        self.main.sq.sync();
        if self.main.sq.is_full() {
            self.stats.early_submits += 1;
            self.enter(0, FOREVER);
        }
        !self.main.sq.is_full()
    }

    fn wait(&mut self, deadline: u64, done: &mut Vec<Done>) {
        if self.is_polling() {
            return self.wait_polling(deadline, done);
        }
        let (start, had) = (monotonic_ns(), done.len());
        self.look_aside(done);
        if done.len() > had {
            return self.submit();
        }
        let budget = self.poller.budget(start).min(deadline.saturating_sub(start));
        let mut in_vain = 0;
        if budget > 0 {
            self.submit();
            self.reap(done);
            if done.len() > had {
                return;
            }
            if self.poll(start.saturating_add(budget)) {
                self.submit();
                self.look_aside(done);
                return self.poller.waited(monotonic_ns() - start, 0);
            }
            in_vain = budget;
            self.stats.polled_in_vain += budget;
        }
        self.sleep(deadline);
        self.look_aside(done);
        self.poller.waited(monotonic_ns() - start, in_vain);
    }

    /// Looks without system calls until something is there (true) or the time has come (false).
    fn poll(&mut self, until: u64) -> bool {
        self.stats.polls += 1;
        loop {
            if self.is_due() || self.bell.is_pending() {
                self.stats.polls_paid += 1;
                return true;
            }
            if monotonic_ns() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn is_polling(&self) -> bool {
        self.polled.as_ref().is_some_and(|side| side.live() > 0)
    }

    /// Waits while polled operations are in flight: nobody tells of their end. For a device that has not answered for long,
    /// it sleeps in between.
    fn wait_polling(&mut self, deadline: u64, done: &mut Vec<Done>) {
        self.submit();
        let had = done.len();
        loop {
            self.look_aside(done);
            let came = done.len() > had || self.is_due() || self.bell.is_pending();
            // What was refused there has gone to the first ring.
            if came || !self.is_polling() {
                return self.submit();
            }
            let now = monotonic_ns();
            if now >= deadline {
                return;
            }
            if self.polled.as_ref().is_some_and(|side| side.is_silent(now)) {
                return self.sleep(deadline.min(now + NAP_NS));
            }
        }
    }

    /// Submits what the other rings have to do, and hands back what of it has ended.
    #[inline]
    fn look_aside(&mut self, done: &mut Vec<Done>) {
        let had = done.len();
        if let Some(side) = self.polled.as_mut().filter(|side| side.live() > 0) {
            collect(side, &mut self.table, &mut self.stats, done, |_, result| result);
        }
        if let Some(side) = self.commands.as_mut().filter(|side| side.live() > 0) {
            collect(side, &mut self.table, &mut self.stats, done, nvme::result);
        }
        if done[had..].iter().any(|one| nvme::is_for_block_layer(one.result)) {
            self.go_direct(done);
        }
    }

    /// What the kernel does not do on that device in that way after all goes the other way.
    #[cold]
    fn go_direct(&mut self, done: &mut Vec<Done>) {
        let aside = |kind: &Kind| kind.is_polled() || nvme::namespace(kind).is_some();
        let refused = |done: &mut Done| nvme::is_for_block_layer(done.result) && aside(&done.op.kind);
        let refused: Vec<Done> = done.extract_if(.., refused).collect();
        for mut one in refused {
            let warn = if one.op.kind.is_polled() { warn_unpolled } else { warn_uncommanded };
            if one.result == -libc::EOPNOTSUPP {
                warn(&io::Error::from_raw_os_error(libc::EOPNOTSUPP));
            }
            one.op.kind.go_direct();
            if let Err(op) = self.push(one.op) {
                done.push(Done { op, result: -libc::EAGAIN, more_in_socket: false, copied: false });
            }
        }
    }

    /// The ring for what is polled, which is made when it is wanted first.
    fn polled(&mut self) -> Option<&mut Side> {
        if self.polled.is_none() {
            let completions = self.main.cq.capacity() as u32;
            let ring = make(&self.caps, completions, |builder| {
                builder.setup_iopoll();
            });
            let register = |submitter: &Submitter<'_>| register_memory(submitter, self.at.own());
            match ring.map(|ring| Side::new(ring, true, self.files, register)) {
                Ok(side) => self.polled = Some(side),
                Err(error) => warn_unpolled(&error),
            }
        }
        self.polled.as_mut()
    }

    /// The ring for commands, likewise. Its completions are worked off whenever this thread is in the kernel, also asleep in
    /// the first ring: they have to come by themselves.
    fn commands(&mut self) -> Option<&mut Commands> {
        if self.commands.is_none() {
            match self.make_commands() {
                Ok(side) => self.commands = Some(side),
                Err(error) => warn_uncommanded(&error),
            }
        }
        self.commands.as_mut()
    }

    fn make_commands(&self) -> io::Result<Commands> {
        let bell = self.bell.event().filter(|_| self.caps.commands).ok_or(io::ErrorKind::Unsupported)?;
        let ring = make(&Caps { defer_taskrun: false, ..self.caps }, self.main.cq.capacity() as u32, |_| {})?;
        let register = |submitter: &Submitter<'_>| register_memory(submitter, self.at.own());
        // Each file has two entries there.
        let side = Side::new(ring, false, 2 * self.files, register);
        side.ring(bell).map(|()| side)
    }

    /// Registers a descriptor with all rings by which it goes, under one number.
    fn register(&self, slot: u32, fd: RawFd, way: Way) -> bool {
        let aside = match way {
            Way::Direct => true,
            Way::Polled => self.polled.as_ref().is_some_and(|side| side.register(slot, fd)),
            Way::Passthrough(namespace) => self.register_namespace(slot, fd, namespace),
        };
        aside && self.main.submitter.register_files_update(slot, &[fd]).is_ok()
    }

    /// The ring for commands has a namespace's generic node under that number. It has its block device, too: nobody else gets
    /// that before the last command has ended, even when this process has been killed.
    fn register_namespace(&self, slot: u32, fd: RawFd, namespace: Namespace) -> bool {
        let node = if fd < 0 { fd } else { namespace.fd };
        let entries = [(slot, node), (slot + self.files, fd)];
        let register = |side: &Commands| entries.iter().all(|(slot, fd)| side.register(*slot, *fd));
        self.commands.as_ref().is_some_and(register)
    }

    fn sleep(&mut self, deadline: u64) {
        self.stats.waits += 1;
        let armed = self.arm_bell() && (self.caps.ext_arg || deadline == FOREVER || self.arm_timer(deadline));
        let quiet = self.commands.as_mut().is_none_or(|side| side.listen());
        if armed && quiet && self.bell.park() {
            self.enter(1, deadline);
            self.bell.unpark();
        } else {
            self.submit();
        }
        if let Some(side) = &self.commands {
            side.stop_listening();
        }
    }

    /// Keeps a read of the eventfd in flight while asleep.
    fn arm_bell(&mut self) -> bool {
        if let (false, Some(event)) = (self.bell_armed, self.bell.event()) {
            // SAFETY: only the address of a field of a leaked box; no reference, and nobody reads it.
            let rung = unsafe { &raw mut (*self.lasting).rung };
            let read = opcode::Read::new(Fd(event), rung.cast(), 8).build();
            self.bell_armed = self.publish(&read.user_data(Owner::Bell.to_word()));
        }
        self.bell_armed || self.bell.event().is_none()
    }

    /// Sees to it that a timer fires at `deadline` or earlier. False when all are taken by later ones, of which
    /// one is then removed.
    fn arm_timer(&mut self, deadline: u64) -> bool {
        if self.timers.iter().flatten().any(|&fires| fires <= deadline) {
            return true;
        }
        let Some(slot) = self.timers.iter().position(Option::is_none) else {
            let remove = opcode::TimeoutRemove::new(Owner::Timer(0).to_word()).build();
            self.publish(&remove.user_data(Owner::Nobody.to_word()));
            return false;
        };
        // SAFETY: a timer that is not in flight is not the kernel's; the box is leaked, so the address stays.
        let at = unsafe {
            let at = &raw mut (*self.lasting).timers[slot];
            at.write(timespec(deadline));
            at.cast_const()
        };
        let timer = opcode::Timeout::new(at).flags(TimeoutFlags::ABS).build();
        let armed = self.publish(&timer.user_data(Owner::Timer(slot as u8).to_word()));
        self.timers[slot] = armed.then_some(deadline);
        armed
    }

    /// Hands back what has completed.
    #[inline]
    fn reap(&mut self, done: &mut Vec<Done>) {
        self.main.cq.sync();
        while let Some(cqe) = self.main.cq.next() {
            self.complete(&cqe, done);
        }
        self.main.cq.sync();
    }

    #[inline]
    fn complete(&mut self, cqe: &cqueue::Entry, done: &mut Vec<Done>) {
        match Owner::from_word(cqe.user_data()) {
            Owner::Op(key) if cqueue::more(cqe.flags()) => self.taken(key, cqe.result(), done),
            Owner::Op(key) => {
                let Some(op) = self.table.complete(key) else {
                    return tracing::error!(?key, "a completion for nothing");
                };
                self.stats.completions += 1;
                if cqueue::notif(cqe.flags()) {
                    return done.push(noticed(op, cqe));
                }
                let more_in_socket = self.more_in_socket(&op, cqe);
                done.push(Done { op, result: cqe.result(), more_in_socket, copied: false });
            }
            Owner::Cancel(key) => self.table.cancel_answered(key),
            Owner::Bell => self.bell_armed = false,
            Owner::Timer(slot) => self.timers[usize::from(slot)] = None,
            Owner::Nobody => {}
        }
    }

    /// The first completion of a send without copies: its memory is still looked at.
    fn taken(&mut self, key: Key, result: i32, done: &mut Vec<Done>) {
        let Some(op) = self.table.op(key) else {
            return tracing::error!(?key, "a completion for nothing");
        };
        if let Kind::Send(send) = &mut op.kind {
            send.taken = result;
        }
        let op = Op { tag: op.tag, kind: Kind::Taken };
        done.push(Done { op, result, more_in_socket: false, copied: false });
    }

    #[inline]
    fn more_in_socket(&self, op: &Op, cqe: &cqueue::Entry) -> bool {
        match &op.kind {
            Kind::Recv(_) if self.caps.socket_hints => cqueue::sock_nonempty(cqe.flags()),
            Kind::Recv(recv) => cqe.result() > 0 && cqe.result() as u32 == recv.wanted(),
            _ => false,
        }
    }
}

impl Driver for Ring {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn room(&self) -> usize {
        self.table.room()
    }

    fn in_flight(&self) -> usize {
        self.table.live()
    }

    fn push(&mut self, op: Op) -> Result<Key, Op> {
        if op.kind.is_polled()
            && let Some(side) = &mut self.polled
        {
            return side.push(op, &mut self.table, &self.at, self.now, build);
        }
        if let Some(side) = &mut self.commands
            && nvme::namespace(&op.kind).is_some()
        {
            return side.push(op, &mut self.table, &self.at, self.now, nvme::build);
        }
        // Room first: an operation in the table without an entry in the queue would never complete.
        if self.main.sq.is_full() && !self.make_room() {
            return Err(op);
        }
        let (key, op) = self.table.insert(op)?;
        let entry = build(&mut op.kind, &self.at, self.registered).user_data(Owner::Op(key).to_word());
        assert!(self.publish(&entry), "the submission queue has room");
        Ok(key)
    }

    fn cancel(&mut self, key: Key) {
        // A ring that polls has no cancellations, and commands know none.
        let aside = |op: &mut Op| op.kind.is_polled() || nvme::namespace(&op.kind).is_some();
        let aside = self.table.op(key).is_some_and(aside);
        if aside || (self.main.sq.is_full() && !self.make_room()) || !self.table.cancel(key) {
            return;
        }
        let cancel = opcode::AsyncCancel::new(Owner::Op(key).to_word()).build();
        assert!(
            self.publish(&cancel.user_data(Owner::Cancel(key).to_word())),
            "the submission queue has room"
        );
    }

    fn turn(&mut self, wait: Wait, _memory: &mut Memory, done: &mut Vec<Done>) {
        self.stats.turns += 1;
        let deadline = match wait {
            Wait::No => 0,
            Wait::Until(deadline) => deadline,
            Wait::Forever => FOREVER,
        };
        if deadline <= self.now || self.bell.is_pending() {
            self.submit();
            self.look_aside(done);
        } else {
            self.wait(deadline, done);
        }
        self.reap(done);
        self.now = monotonic_ns();
    }

    fn attach(&mut self, id: RegionId, region: Option<Arc<Region>>) {
        self.at.attach(id, region);
    }

    fn open_file(&mut self, fd: RawFd, way: Way) -> File {
        let possible = match way {
            Way::Direct => true,
            Way::Polled => self.polled().is_some(),
            Way::Passthrough(_) => self.commands().is_some(),
        };
        let way = if possible { way } else { Way::Direct };
        let slot = self.free_files.pop();
        let slot = slot.filter(|&slot| self.register(slot, fd, way));
        if let (Way::Passthrough(_), None) = (way, slot) {
            // What takes commands goes by its number, which keeps the device held, or not at all.
            warn_uncommanded(&io::Error::other("the ring has no number left for a device"));
            return File { fd, slot, way: Way::Direct };
        }
        File { fd, slot, way }
    }

    fn close_file(&mut self, file: File) {
        if let Some(slot) = file.slot
            && self.register(slot, -1, file.way)
        {
            self.free_files.push(slot);
        }
    }

    fn adopt(&mut self, fd: RawFd) -> io::Result<Ends> {
        socket::adopt(fd)
    }

    fn hand_down(&mut self, listener: RawFd, fd: RawFd) {
        socket::hand_down_priority(listener, fd);
    }

    fn shutdown(&mut self, fd: RawFd) {
        socket::shutdown(fd);
    }

    fn delivered(&mut self, fd: RawFd) -> Option<u64> {
        socket::delivered(fd)
    }

    fn segment(&self, fd: RawFd) -> Option<u32> {
        socket::segment(fd)
    }

    fn zero_copy(&mut self, fd: RawFd) -> bool {
        let wished = socket::wishes_zero_copy(fd);
        if wished && !self.caps.zero_copy {
            socket::warn_of_copies();
        }
        wished && self.caps.zero_copy
    }

    fn abort(&mut self, fd: RawFd) {
        socket::abort(fd);
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.table.live() > 0 {
            // Closing the ring cancels, but does not say when the kernel has let go.
            return tracing::warn!(live = self.table.live(), "operations in flight: their memory is left");
        }
        // SAFETY: not dropped before, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.table) };
    }
}

/// Submits what a second ring has, and takes what of it has ended; `judge` says what came of it.
fn collect<S: Sqe, C: Cqe>(
    side: &mut Side<S, C>,
    table: &mut Table,
    stats: &mut Stats,
    done: &mut Vec<Done>,
    judge: impl Fn(&Kind, i32) -> i32,
) {
    stats.enters += side.turn();
    while let Some(cqe) = side.next(monotonic_ns) {
        if let Owner::Op(key) = Owner::from_word(cqe.user_data())
            && let Some(op) = table.complete(key)
        {
            stats.completions += 1;
            let result = judge(&op.kind, cqe.result());
            done.push(Done { op, result, more_in_socket: false, copied: false });
        }
    }
}

/// The last completion of a send without copies.
fn noticed(op: Op, cqe: &cqueue::Entry) -> Done {
    let taken = match &op.kind {
        Kind::Send(send) => send.taken,
        _ => 0,
    };
    Done { op, result: taken, more_in_socket: false, copied: cqe.result() as u32 & COPIED != 0 }
}

/// Registers the region's pieces.
fn register_memory(submitter: &Submitter<'_>, region: &Region) -> bool {
    // SAFETY: the pieces lie in the region, which is never unmapped.
    let registered = unsafe { submitter.register_buffers(&pieces(region)) };
    if let Err(error) = &registered {
        warn_unregistered(error, region.len());
    }
    registered.is_ok()
}

/// The clock of [`Driver::now`]: nanoseconds, the same on all threads, never going back.
#[inline]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Message {
    /// No addresses yet; room for `slices` of them.
    pub(super) fn new(slices: usize) -> Self {
        // SAFETY: a C struct of integers and pointers, for which zeroes are valid: no name, no data.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        Self { header, slices: Vec::with_capacity(slices) }
    }
}

/// An eventfd that counts from zero and lets its readers wait.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just created, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lends a socket to the standard library's calls.
pub(super) fn with_stream<T>(fd: RawFd, call: impl FnOnce(&TcpStream) -> T) -> T {
    // SAFETY: the descriptor is the caller's and open; it is lent, not given: never closed here.
    let stream = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd) });
    call(&stream)
}

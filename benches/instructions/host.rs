//! A host that does everything at once and nothing else: what is counted is the session's.

use std::sync::Arc;

use ringtgt::ids::{BufId, LuId, TaskId};
use ringtgt::scsi::{
    Asc, Counters, DeviceType, Groups, Identity, ItNexus, Lu, LuFacts, Naa, PassReport, SharedOp, Tokens,
};
use ringtgt::session::Session;
use ringtgt::session::host::{After, Body, Claim, DiskOp, Held, Host, Manage, PassRequest};
use ringtgt::target::Catalog;

/// Slots that there are.
const SLOTS: u32 = 64;

/// Bytes of the medium.
const CAPACITY: u64 = 1 << 30;

/// Bytes of a logical block.
pub(crate) const BLOCK: u32 = 512;

pub(crate) struct NullHost {
    slots: Vec<Vec<u8>>,
    free: Vec<BufId>,
    lu: Lu,
    /// What goes to the initiator; without payload unless it is kept.
    pub(crate) out: Vec<u8>,
    /// Payload is part of `out`: for a rehearsal.
    pub(crate) keeps: bool,
    afters: Vec<After>,
    leaving: Vec<After>,
    jobs: Vec<(TaskId, u8)>,
    ended: Vec<(TaskId, u8)>,
    managing: Vec<u32>,
    scratch: Vec<u8>,
    tokens: Tokens,
    catalog: Arc<Catalog>,
}

impl NullHost {
    pub(crate) fn new(keeps: bool) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| vec![0; ringtgt::session::SEGMENT as usize]).collect(),
            free: (0..SLOTS).map(BufId).collect(),
            lu: unit(),
            out: Vec::with_capacity(1 << 20),
            keeps,
            afters: Vec::with_capacity(256),
            leaving: Vec::with_capacity(256),
            jobs: Vec::with_capacity(64),
            ended: Vec::with_capacity(64),
            managing: Vec::new(),
            scratch: vec![0; 64 << 10],
            tokens: Tokens::default(),
            catalog: crate::play::catalog(),
        }
    }

    /// Everything that was asked for has been done, and everything that was to be sent has left.
    pub(crate) fn do_all(&mut self, session: &mut Session) {
        loop {
            std::mem::swap(&mut self.jobs, &mut self.ended);
            for at in 0..self.ended.len() {
                let (task, part) = self.ended[at];
                session.disk_done(self, task, part, Ok(()));
            }
            self.ended.clear();
            while let Some(token) = self.managing.pop() {
                session.managed(self, token);
            }
            self.send_all(session);
            if self.jobs.is_empty() && self.afters.is_empty() {
                return;
            }
        }
    }

    fn send_all(&mut self, session: &mut Session) {
        std::mem::swap(&mut self.afters, &mut self.leaving);
        for at in 0..self.leaving.len() {
            match self.leaving[at] {
                After::Keep | After::Close => {}
                After::Free(buf) => self.free.push(buf),
                After::Tell(task, buf) => session.sent(self, task, buf),
                After::Proceed(task) => session.proceed(self, task),
            }
        }
        self.leaving.clear();
        if !self.keeps {
            self.out.clear();
        }
    }
}

/// Requests with the disk are done when they are asked for; the tasks hear of it in [`NullHost::do_all`].
impl Host for NullHost {
    fn now(&self) -> u64 {
        1
    }
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }
    fn alloc(&mut self, _len: u32, _claim: Claim) -> Option<BufId> {
        self.free.pop()
    }
    fn free(&mut self, buf: BufId) {
        self.free.push(buf);
    }
    fn bytes(&self, buf: BufId) -> &[u8] {
        &self.slots[buf.0 as usize]
    }
    fn bytes_mut(&mut self, buf: BufId) -> &mut [u8] {
        &mut self.slots[buf.0 as usize]
    }
    fn copy_in(&mut self, buf: BufId, at: u32, from: &[u8]) {
        self.slots[buf.0 as usize][at as usize..][..from.len()].copy_from_slice(from);
    }
    fn backlog(&self) -> usize {
        0
    }
    fn is_crowded(&self) -> bool {
        false
    }
    fn is_low(&self) -> bool {
        false
    }
    fn is_clogged(&self, _lu: LuId) -> bool {
        false
    }
    fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }
    fn give_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }
    fn lu(&self, lu: LuId) -> Option<&Lu> {
        (lu == LuId(0)).then_some(&self.lu)
    }
    fn clones(&self, _from: LuId, _to: LuId) -> bool {
        false
    }
    fn is_logged_in(&self, _nexus: &ItNexus) -> bool {
        true
    }
    fn tokens<R>(&mut self, call: impl FnOnce(&mut Tokens) -> R) -> R {
        call(&mut self.tokens)
    }
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn in_memory(&self, _lu: LuId) -> bool {
        false
    }
    fn is_blank(&self, _lu: LuId) -> bool {
        false
    }
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
    fn put_body(&mut self, body: Body) {
        if let (Body::Slot { buf, at, len }, true) = (body, self.keeps) {
            self.out.extend_from_slice(&self.slots[buf.0 as usize][at as usize..][..len as usize]);
        }
    }
    fn end(&mut self, after: After) {
        self.afters.push(after);
    }
    fn disk(&mut self, task: TaskId, part: u8, _lu: LuId, _op: DiskOp) {
        self.jobs.push((task, part));
    }
    fn pass(&mut self, _task: TaskId, _lu: LuId, _request: PassRequest) {}
    fn take_passed(&mut self, _task: TaskId) -> Option<PassReport> {
        None
    }
    fn tell_others(&mut self, _lu: LuId, _asc: Asc, _nexus: &ItNexus) {}
    fn flush_unwatched(&mut self, _lu: LuId) {}
    fn abandon(&mut self, tasks: &[TaskId]) -> Held {
        self.jobs.retain(|(task, _)| !tasks.contains(task));
        Held::new()
    }
    fn shared(&mut self, _task: TaskId, _lu: LuId, _op: SharedOp, _nexus: &ItNexus) {}
    fn manage(&mut self, token: u32, _what: Manage, _nexus: &ItNexus) {
        self.managing.push(token);
    }
    fn wants_slots(&mut self) {}
}

fn unit() -> Lu {
    let identity = Identity {
        vendor: "RINGTGT".into(),
        product: "VIRTUAL-DISK".into(),
        revision: "0".into(),
        serial: "1".into(),
        naa: Naa::Short([0x30, 0, 0, 0, 0, 0, 0, 1]),
        uuid: [1; 16],
        t10: None,
    };
    let facts = LuFacts {
        name: "disk".into(),
        device: DeviceType::Disk,
        block_size: BLOCK,
        blocks: CAPACITY / u64::from(BLOCK),
        physical_exponent: 0,
        read_only: false,
        write_cache: true,
        thin: None,
        identity,
        optimal_transfer_blocks: 512,
        max_transfer_blocks: 65536,
        rotational: false,
        ranges: Vec::new(),
        removable: false,
        saves: true,
        resident: false,
        groups: Groups::default(),
        atomic: None,
        passed: None,
    };
    Lu { facts: Arc::new(facts), state: Arc::default(), counters: Counters::default() }
}

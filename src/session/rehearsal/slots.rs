//! Slots that know who uses them: every use after free, double free, and clash with the kernel is noticed.

use std::collections::HashMap;

use crate::ids::BufId;
use crate::mem::CLASSES;
use crate::session::SEGMENT;
use crate::session::host::Claim;

/// A slot and who has it besides the session.
#[derive(Debug, Default)]
struct Slot {
    bytes: Vec<u8>,
    /// Disk reads and receives that fill it.
    filled_by: u32,
    /// Disk writes that read it.
    read_by: u32,
    /// PDUs that wait to be sent from it.
    sent_by: u32,
}

/// The pool of the rehearsal. A slot's name is never used again, so that a stale one is noticed.
#[derive(Debug)]
pub(super) struct Slots {
    live: HashMap<u32, Slot>,
    spare: HashMap<usize, Vec<Vec<u8>>>,
    next: u32,
    /// Bytes that are free, and how many of them are for urgent needs only.
    left: usize,
    reserve: usize,
    /// Other sessions have made slots short.
    pub(super) pressed: bool,
}

impl Slots {
    pub(super) fn new(capacity: usize, reserve: usize) -> Self {
        Self { live: HashMap::new(), spare: HashMap::new(), next: 0, left: capacity, reserve, pressed: false }
    }

    pub(super) fn alloc(&mut self, len: u32, claim: Claim) -> Option<BufId> {
        assert!(len > 0 && len <= SEGMENT, "a slot of {len} bytes");
        let size =
            CLASSES.into_iter().find(|class| *class >= len).expect("a class for every length") as usize;
        let keep = if claim == Claim::Urgent { 0 } else { self.reserve };
        self.left = self.left.checked_sub(size).filter(|left| *left >= keep)?;
        let bytes = self.spare.get_mut(&size).and_then(Vec::pop).unwrap_or_else(|| vec![0xdd; size]);
        self.next += 1;
        self.live.insert(self.next, Slot { bytes, ..Slot::default() });
        Some(BufId(self.next))
    }

    /// The owner has done with it.
    pub(super) fn free(&mut self, buf: BufId) {
        let slot = self.live.remove(&buf.0).unwrap_or_else(|| panic!("{buf:?} is freed twice"));
        let users = (slot.filled_by, slot.read_by, slot.sent_by);
        assert_eq!(users, (0, 0, 0), "{buf:?} is freed although it is in use (filled, read, sent)");
        self.left += slot.bytes.len();
        self.spare.entry(slot.bytes.len()).or_default().push(slot.bytes);
    }

    pub(super) fn is_low(&self) -> bool {
        self.pressed || self.left <= 3 * self.reserve
    }

    pub(super) fn taken(&self) -> usize {
        self.live.len()
    }

    fn slot(&mut self, buf: BufId) -> &mut Slot {
        self.live.get_mut(&buf.0).unwrap_or_else(|| panic!("{buf:?} is used after it was freed"))
    }

    /// Its bytes, for one who only reads.
    pub(super) fn read(&self, buf: BufId) -> &[u8] {
        let slot = self.live.get(&buf.0).unwrap_or_else(|| panic!("{buf:?} is read after it was freed"));
        assert_eq!(slot.filled_by, 0, "{buf:?} is read while it is filled");
        &slot.bytes
    }

    /// Its bytes, for the session to write.
    pub(super) fn write(&mut self, buf: BufId) -> &mut [u8] {
        let slot = self.slot(buf);
        assert_eq!(
            (slot.read_by, slot.sent_by),
            (0, 0),
            "{buf:?} is written while it is written out or sent"
        );
        &mut slot.bytes
    }

    /// Its bytes, for the kernel to fill.
    pub(super) fn fill(&mut self, buf: BufId) -> &mut [u8] {
        let slot = self.slot(buf);
        assert!(slot.filled_by > 0);
        &mut slot.bytes
    }

    /// A disk read or a receive into it begins.
    pub(super) fn begin_filling(&mut self, buf: BufId) {
        let slot = self.slot(buf);
        let users = (slot.filled_by, slot.read_by, slot.sent_by);
        assert_eq!(users, (0, 0, 0), "{buf:?} is to be filled although it is in use (filled, read, sent)");
        slot.filled_by = 1;
    }

    pub(super) fn end_filling(&mut self, buf: BufId) {
        self.slot(buf).filled_by -= 1;
    }

    /// A disk write from it begins.
    pub(super) fn begin_reading(&mut self, buf: BufId) {
        let slot = self.slot(buf);
        assert_eq!(
            (slot.filled_by, slot.read_by),
            (0, 0),
            "{buf:?} is to be written out although it is in use"
        );
        slot.read_by = 1;
    }

    pub(super) fn end_reading(&mut self, buf: BufId) {
        self.slot(buf).read_by -= 1;
    }

    /// A PDU with bytes of it waits.
    pub(super) fn begin_sending(&mut self, buf: BufId) {
        let slot = self.slot(buf);
        assert_eq!(slot.filled_by, 0, "{buf:?} is to be sent while it is filled");
        slot.sent_by += 1;
    }

    pub(super) fn end_sending(&mut self, buf: BufId) {
        self.slot(buf).sent_by -= 1;
    }
}

//! A logical unit on one reactor: its replica of the shared state, its fences, and, on its owner, the changes that wait.

use std::collections::VecDeque;
use std::sync::Arc;

use super::disk::JobId;
use super::mail::{Ask, Fence, FenceId};
use crate::ids::{CoreId, LuId};
use crate::scsi::{Lu, LuState};
use crate::store::Store;

/// A logical unit as this reactor has it.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) lu: Lu,
    pub(super) store: Store,
    /// Ranges that ghosts may still write to.
    pub(super) fences: Vec<Fence>,
    /// Disk requests that wait for a fence, in order.
    pub(super) parked: VecDeque<JobId>,
    /// Changes that wait for their turn; the first is under way. Only on the owner.
    pub(super) asks: VecDeque<Ask>,
    /// What the change under way will have made of the state.
    pub(super) next: Option<Pending>,
}

/// A change under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) state: Arc<LuState>,
    pub(super) effects: Arc<crate::scsi::Effects>,
}

impl Unit {
    pub(super) fn new(lu: Lu, store: Store) -> Self {
        Self { lu, store, fences: Vec::new(), parked: VecDeque::new(), asks: VecDeque::new(), next: None }
    }

    /// Whether a request for that range must wait.
    #[inline]
    pub(super) fn is_fenced(&self, range: Option<(u64, u64)>) -> bool {
        !self.fences.is_empty()
            && range.is_some_and(|(offset, len)| {
                self.fences.iter().any(|f| f.offset < offset + len && offset < f.offset + f.len)
            })
    }

    pub(super) fn lift(&mut self, id: FenceId) {
        self.fences.retain(|f| f.id != id);
    }
}

/// The reactor that owns a logical unit: all agree without asking.
pub(super) fn owner_of(lu: LuId, reactors: usize) -> CoreId {
    CoreId((lu.0 as usize % reactors.max(1)) as u16)
}

/// What a reactor is given of a logical unit at start.
#[derive(Debug, Clone)]
pub struct UnitSeed {
    /// Facts and first state.
    pub lu: Lu,
    /// What it sits on.
    pub backing: Arc<crate::store::Backing>,
}

//! Memory that disks and sockets work on directly.
//!
//! Owns: the mappings ([`Region`]), a reactor's view of them ([`Memory`]) and the division of its own region
//! into slots ([`Pool`]). Promises: a [`Place`] is always checked against its region; memory that the kernel
//! may have been told about is never unmapped; nothing here allocates after start.
//! Refuses to know: protocols, rings, who holds which slot and why.
//!
//! ```text
//!   Region 0 (this reactor's):  | 256K 256K … | 64K 64K … | 16K 16K … | 4K 4K 4K … |
//!   Region 1.. (ramdisks):      | shared by all reactors, reached by copying only        |
//! ```

mod place;
mod pool;
mod region;

pub use place::{Place, RegionId};
pub use pool::{CLASSES, Holding, Needs, Pool, PoolConfig, Refused, Share, SlotStats, TooLittle};
pub(crate) use region::Lent;
pub use region::{Backing, Memory, Pages, Region, Window};

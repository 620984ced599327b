//! The mode pages that only drives of the multimedia command set have.

use super::super::multimedia::Disc;
use super::pages::{Page, of_drives};

/// 1Dh, Timeout and Protect (MMC-6): how long commands may take, in seconds, by their group. Neither timeouts
/// nor protection can be switched on.
pub(super) const TIMEOUT: Page = of_drives(&[0x1d, 0x0a, 0, 0, 0, 0, 0, 30, 0, 30, 0, 0], |_, _| {});

/// LOCK STATE of page 2Ah.
const LOCKED: u8 = 0x02;

/// 2Ah, MM Capabilities and Mechanical Status (MMC-3, since obsolete; it is what software asks first).
/// Reads CD-R, CD-RW and fixed packets, DVD-ROM and DVD-R; writes nothing, plays nothing. A tray, that can be locked, and
/// opened by command. A buffer of 256 KiB.
pub(super) const CAPABILITIES: Page = of_drives(
    &[
        0x2a, 0x1e, 0x1f, 0, 0, 0, 0x29, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0,
    ],
    |lu, page| {
        page[6] |= if lu.state.drive.is_prevented() { LOCKED } else { 0 };
        let speed = Disc::of(&lu.facts).speed().to_be_bytes();
        page[8..10].copy_from_slice(&speed);
        page[14..16].copy_from_slice(&speed);
    },
);

//! The 8-byte logical unit number (SAM-5 section 4.7) and the number that people use.
//!
//! Single-level peripheral (0–255) and flat (0–16383) addressing are understood; a LUN in any
//! other method, or with more levels, names nothing here.

use zerocopy::big_endian::U64;

/// The largest LUN that flat addressing can express.
pub const LUN_MAX: u16 = 0x3fff;

const METHOD_SHIFT: u32 = 14;
const METHOD_PERIPHERAL: u16 = 0;
const METHOD_FLAT: u16 = 1;

/// The LUN that `wire` names, or `None` when it is of a form that no logical unit here has.
pub fn from_wire(wire: U64) -> Option<u16> {
    let raw = wire.get();
    let first_level = (raw >> 48) as u16;
    let deeper_levels = raw << 16;
    if deeper_levels != 0 {
        return None;
    }
    match first_level >> METHOD_SHIFT {
        METHOD_PERIPHERAL if first_level < 256 => Some(first_level),
        METHOD_FLAT => Some(first_level & LUN_MAX),
        _ => None,
    }
}

/// How `lun` travels: peripheral addressing while it fits, flat above (what REPORT LUNS shows too).
/// Only the low 14 bits of `lun` exist on the wire.
pub fn to_wire(lun: u16) -> U64 {
    let lun = lun & LUN_MAX;
    let method = if lun < 256 { METHOD_PERIPHERAL } else { METHOD_FLAT };
    U64::new(u64::from(method << METHOD_SHIFT | lun) << 48)
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn every_lun_survives_the_wire() {
        for lun in 0..=LUN_MAX {
            assert_eq!(from_wire(to_wire(lun)), Some(lun));
        }
    }

    #[test]
    fn forms_on_the_wire() {
        assert_eq!(to_wire(5).as_bytes(), [0, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(to_wire(256).as_bytes(), [0x41, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(from_wire(U64::from_bytes([0x40, 5, 0, 0, 0, 0, 0, 0])), Some(5), "flat below 256");
    }

    #[test]
    fn other_forms_name_nothing() {
        for bytes in [
            [0x01, 5, 0, 0, 0, 0, 0, 0], // peripheral on bus 1
            [0x80, 5, 0, 0, 0, 0, 0, 0], // logical unit method
            [0xc1, 1, 0, 0, 0, 0, 0, 0], // REPORT LUNS well known logical unit
            [0x00, 5, 0, 1, 0, 0, 0, 0], // a second level
            [0x00, 5, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(from_wire(U64::from_bytes(bytes)), None, "{bytes:02x?}");
        }
    }
}

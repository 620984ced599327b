//! Addresses on a disc: blocks, and minutes, seconds and frames (MMC-6 section 4).

/// Frames of a second.
const FRAMES: u64 = 75;

/// Where the first block is: two seconds from the beginning.
const LEAD: u64 = 2 * FRAMES;

/// The last address that minutes, seconds and frames can say.
const LAST: u64 = (255 * 60 + 59) * FRAMES + 74;

/// A reserved byte, minutes, seconds and frames of a block. What is beyond the last that can be said is said as that one.
pub(super) fn to_msf(lba: u64) -> [u8; 4] {
    let frames = lba.saturating_add(LEAD).min(LAST);
    let (seconds, frame) = (frames / FRAMES, frames % FRAMES);
    [0, (seconds / 60) as u8, (seconds % 60) as u8, frame as u8]
}

/// The block at that address; none, if there is no such address, or it is before the first block.
pub(super) fn of_msf([minutes, seconds, frames]: [u8; 3]) -> Option<u64> {
    if seconds >= 60 || u64::from(frames) >= FRAMES {
        return None;
    }
    ((u64::from(minutes) * 60 + u64::from(seconds)) * FRAMES + u64::from(frames)).checked_sub(LEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_is_at_two_seconds() {
        assert_eq!((to_msf(0), to_msf(74), to_msf(4350)), ([0, 0, 2, 0], [0, 0, 2, 74], [0, 1, 0, 0]));
        assert_eq!(of_msf([0, 2, 0]), Some(0));
        for wrong in [[0, 1, 74], [0, 60, 0], [0, 2, 75]] {
            assert_eq!(of_msf(wrong), None);
        }
    }

    #[test]
    fn there_and_back() {
        for lba in [0, 1, 74, 75, 4350, 359_999, LAST - LEAD] {
            let [_, minutes, seconds, frames] = to_msf(lba);
            assert_eq!(of_msf([minutes, seconds, frames]), Some(lba));
        }
        assert_eq!(to_msf(LAST), [0, 255, 59, 74]);
    }
}

//! Data that tells where it belongs and when it was written.
//!
//! Owns: the content of blocks under `--verify`. Each block begins with its number and the generation of its write;
//! every further word is made from these two and its place. Promises: a block that is another's, older, torn or
//! damaged is told from the right one, and in which way it is wrong. Refuses to know: which generation is due.

use std::fmt;

/// Bytes of one word.
const WORD: usize = 8;

/// The smallest block that has room for a pattern.
pub(super) const LEAST: u32 = 2 * WORD as u32;

/// How a block is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wrong {
    /// The block.
    pub(super) lba: u64,
    /// What it begins with.
    block: u64,
    generation: u64,
    /// What was due; none: any generation of this block.
    due: Option<u64>,
    /// The first byte that differs, and the words there.
    at: usize,
    expected: u64,
    got: u64,
}

/// Fills whole blocks from `lba` on.
pub(super) fn fill(data: &mut [u8], block: usize, lba: u64, generation: u64) {
    for (n, bytes) in data.chunks_exact_mut(block).enumerate() {
        for (at, word) in bytes.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
            *word = value(lba + n as u64, generation, at).to_le_bytes();
        }
    }
}

/// Compares whole blocks from `lba` on. Without a generation, each block must be whole and its own.
pub(super) fn check(data: &[u8], block: usize, lba: u64, due: Option<u64>) -> Result<(), Wrong> {
    let mut blocks = data.chunks_exact(block).enumerate();
    blocks.try_for_each(|(n, bytes)| check_block(bytes.as_chunks::<WORD>().0, lba + n as u64, due))
}

fn check_block(words: &[[u8; WORD]], lba: u64, due: Option<u64>) -> Result<(), Wrong> {
    let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
    let generation = due.unwrap_or_else(|| word(1));
    let first = (0..words.len()).find(|&at| word(at) != value(lba, generation, at));
    match first {
        None => Ok(()),
        Some(at) => Err(Wrong {
            lba,
            block: word(0),
            generation: word(1),
            due,
            at: at * WORD,
            expected: value(lba, generation, at),
            got: word(at),
        }),
    }
}

/// The word at a place of a block.
fn value(lba: u64, generation: u64, at: usize) -> u64 {
    match at {
        0 => lba,
        1 => generation,
        // Odd multipliers keep all bits of both; the place keeps words apart.
        _ => {
            (lba ^ generation.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ (at as u64).wrapping_mul(0xd6e8_feb8_6659_fd93)
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lba, at, expected, got, .. } = self;
        write!(
            f,
            "wrong data at LBA {lba}, byte {at} of the block: expected {expected:#018x}, got {got:#018x} ("
        )?;
        match (self.block, self.generation, self.due) {
            (0, 0, _) if *lba != 0 || self.due.is_some() => {
                f.write_str("zeroes, as if it had never been written")?;
            }
            (block, _, _) if block != *lba && self.at == 0 => write!(f, "it says that it is LBA {block}")?,
            (_, found, Some(due)) if found != due => {
                write!(f, "expected generation {due:#x}, got {found:#x}: not the last write")?;
            }
            _ => f.write_str("the block begins right: torn or damaged")?,
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_right_and_anything_else_is_not() {
        let mut data = [0; 3 * 512];
        fill(&mut data, 512, 40, 7);
        assert_eq!(check(&data, 512, 40, Some(7)), Ok(()));
        assert_eq!(check(&data, 512, 40, None), Ok(()));
        for at in 0..data.len() {
            let mut spoilt = data;
            spoilt[at] ^= 0x10;
            let wrong = check(&spoilt, 512, 40, Some(7)).unwrap_err();
            assert_eq!((wrong.lba, wrong.at), (40 + at as u64 / 512, at % 512 / WORD * WORD));
            assert!(check(&spoilt, 512, 40, None).is_err() || (8..16).contains(&(at % 512)), "{at}");
        }
    }

    #[test]
    fn the_message_says_where_what_and_how() {
        let mut data = [0; 512];
        let said = |data: &[u8], due| check(data, 512, 9, due).unwrap_err().to_string();
        assert!(said(&data, Some(3)).contains("LBA 9") && said(&data, Some(3)).contains("zeroes"));
        fill(&mut data, 512, 8, 3);
        assert!(said(&data, Some(3)).contains("expected 0x0000000000000009, got 0x0000000000000008"));
        assert!(said(&data, None).contains("it says that it is LBA 8"));
        fill(&mut data, 512, 9, 2);
        assert!(said(&data, Some(3)).contains("expected generation 0x3, got 0x2"));
        fill(&mut data, 512, 9, 3);
        data[511] ^= 1;
        assert!(said(&data, Some(3)).contains("byte 504") && said(&data, Some(3)).contains("torn"));
    }
}

//! Decisions out of bytes: a fuzzer's or a property test's input becomes a sequence of choices.

/// Reads choices from bytes; when they are used up, every choice is the first.
#[derive(Debug)]
pub(super) struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether no choice is left.
    pub(super) fn over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        match end {
            0 | 1 => 0,
            2..=256 => u32::from(self.byte()) % end,
            257..=65_536 => u32::from(u16::from_be_bytes([self.byte(), self.byte()])) % end,
            _ => u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]) % end,
        }
    }

    /// True once in `times`; never when the choices are used up.
    pub(super) fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == times - 1
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }
}

//! What of a text is another in the next one.
//!
//! Configurations are megabytes, and changes of them a few lines. Promises: [`Edit::of`] two texts makes the one of the
//! other. Refuses to know: what they say.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// In the place of these bytes of a text comes that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Where they begin.
    pub begin: usize,
    /// Where they end.
    pub end: usize,
    /// What comes.
    pub toml: String,
}

impl Edit {
    /// The way from one text to another: one stretch, as short as it can be.
    pub fn of(old: &str, new: &str) -> Self {
        let before = common_begin(old.as_bytes(), new.as_bytes());
        // Half a character cannot be written.
        let before = (0..=before).rev().find(|at| old.is_char_boundary(*at)).unwrap_or_default();
        let (rest, other) = (&old[before..], &new[before..]);
        let behind = common_end(rest.as_bytes(), other.as_bytes());
        let behind =
            (0..=behind).rev().find(|len| rest.is_char_boundary(rest.len() - len)).unwrap_or_default();
        let Range { start, end } = before..old.len() - behind;
        Self { begin: start, end, toml: other[..other.len() - behind].to_owned() }
    }

    /// What it makes of that text; nothing, when that has no such stretch.
    pub fn made(&self, old: &str) -> Option<String> {
        let stretch = old.get(self.begin..self.end)?;
        let mut new = String::with_capacity(old.len() - stretch.len() + self.toml.len());
        new.push_str(&old[..self.begin]);
        new.push_str(&self.toml);
        new.push_str(&old[self.end..]);
        Some(new)
    }
}

/// Bytes that are compared at once.
const PIECE: usize = 4096;

/// How many bytes both begin with.
pub(super) fn common_begin(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.chunks(PIECE).zip(other.chunks(PIECE)).take_while(|(a, b)| a == b);
    let len: usize = pieces.map(|(a, _)| a.len()).sum();
    len + one[len..].iter().zip(&other[len..]).take_while(|(a, b)| a == b).count()
}

/// How many bytes both end with.
pub(super) fn common_end(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.rchunks(PIECE).zip(other.rchunks(PIECE)).take_while(|(a, b)| a == b);
    let len: usize = pieces.map(|(a, _)| a.len()).sum();
    let rest = one[..one.len() - len].iter().rev().zip(other[..other.len() - len].iter().rev());
    len + rest.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_character_is_written_for_one_that_is_another() {
        let edit = Edit::of("a = \"ä\"\nb = 1\n", "a = \"ö\"\nb = 1\n");
        assert_eq!(edit, Edit { begin: 5, end: 7, toml: "ö".into() });
        assert_eq!(Edit::of("", ""), Edit { begin: 0, end: 0, toml: String::new() });
    }

    #[test]
    fn there_is_nothing_to_be_made_of_a_text_that_has_no_such_stretch() {
        let edit = |begin, end| Edit { begin, end, toml: "x".into() };
        for (begin, end) in [(0, 4), (2, 1), (1, 2), (usize::MAX, usize::MAX)] {
            assert_eq!(edit(begin, end).made("aä"), None, "{begin} to {end}");
        }
        assert_eq!(edit(1, 3).made("aäb").as_deref(), Some("axb"));
    }

    proptest! {
        #[test]
        fn an_edit_makes_the_one_text_of_the_other(old in "[aäöΩ\n]{0,40}", new in "[aäöΩ\n]{0,40}", pad in 0..3_usize) {
            // Long ones, too: they are compared piece by piece.
            let pad = "0123456789abcde\n".repeat(pad * 300);
            let (old, new) = (format!("{pad}{old}{pad}"), format!("{pad}{new}{pad}"));
            prop_assert_eq!(Edit::of(&old, &new).made(&old), Some(new));
        }
    }
}

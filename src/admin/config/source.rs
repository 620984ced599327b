//! The text of a configuration file: where its lines are, and which parts of it must never be shown.

use std::ops::Range;
use std::sync::OnceLock;

/// A source text with the places of its secrets.
#[derive(Default, Clone)]
pub struct Source {
    name: String,
    text: zeroize::Zeroizing<String>,
    /// Where its lines begin, but for the first: found when a place is asked for. Behind a pointer, because a text goes with
    /// every report, and so with every error that is one.
    lines: Box<OnceLock<Box<[usize]>>>,
    /// Guessed when a line is shown, unless a parser has said it.
    hidden: OnceLock<Box<[Range<usize>]>>,
    sealed: bool,
}

/// What a secret looks like in an excerpt, whatever its length.
const MASK: &str = "********";

/// Parts of key names that announce a secret.
const SECRET_WORDS: [&str; 5] = ["secret", "pass", "pwd", "psk", "chap"];

impl Source {
    /// The text `text` of the file called `name`. Until a parser knows better, whatever follows a word
    /// that announces a secret is hidden to the end of its line.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = zeroize::Zeroizing::new(text.into());
        Self { name: name.into(), text, lines: Box::default(), hidden: OnceLock::new(), sealed: false }
    }

    /// What the file is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text was parsed, so these and no other ranges are secrets.
    pub fn trust(&mut self, secrets: Vec<Range<usize>>) {
        self.hidden = secrets.into_boxed_slice().into();
    }

    /// The text could not be parsed, so where its secrets begin and end is a guess. If it may have any, no value
    /// is shown, and with texts of several lines, in which a value can look like anything, no line.
    pub fn distrust(&mut self) {
        if !sounds_secret(&self.text) {
            return;
        }
        self.sealed = self.text.contains("\"\"\"") || self.text.contains("'''");
        let hidden: Box<[_]> = lines(&self.text).filter_map(|(at, line)| value_of_line(at, line)).collect();
        self.hidden = hidden.into();
    }

    /// Line and column (characters) of a byte, both from 1.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let lines = self.lines.get_or_init(|| self.text.match_indices('\n').map(|(at, _)| at + 1).collect());
        let before = lines.partition_point(|start| *start <= offset);
        let start = before.checked_sub(1).map_or(0, |last| lines[last]);
        let column = self.text.get(start..offset).unwrap_or_default().chars().count() + 1;
        (before + 1, column)
    }

    /// The line on which `span` begins, and carets under as much of it as is on that line.
    pub fn excerpt(&self, span: &Range<usize>) -> String {
        if self.sealed || self.text.is_empty() {
            return String::new();
        }
        let start = self.floor(span.start);
        let from = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let to = self.text[start..].find('\n').map_or(self.text.len(), |i| start + i);
        let (line, carets) = self.draw(from..to, span);
        let number = self.position(start).0;
        let margin = " ".repeat(number.to_string().len().max(3));
        let shown = format!("{number:>3} | {line}");
        format!("{}\n{margin} | {}\n", shown.trim_end(), carets.trim_end())
    }

    /// The characters of `line` with secrets masked, and the marks below them.
    fn draw(&self, line: Range<usize>, span: &Range<usize>) -> (String, String) {
        let hidden = self.hidden.get_or_init(|| suspicious(&self.text).into_boxed_slice());
        let (mut shown, mut carets) = (String::new(), String::new());
        let mut masking = false;
        for (i, c) in self.text[line.clone()].char_indices() {
            let at = line.start + i;
            let secret = hidden.iter().any(|h| h.contains(&at));
            let marked = span.contains(&at) || at == span.start;
            if !secret {
                shown.push(c);
                carets.push(mark(marked, c));
            } else if !masking {
                shown.push_str(MASK);
                carets.extend(std::iter::repeat_n(mark(marked, ' '), MASK.len()));
            }
            masking = secret;
        }
        if !carets.contains('^') {
            carets.push('^'); // at the end of the line, or of the file
        }
        (shown, carets)
    }

    /// The nearest character boundary at or below `offset`.
    fn floor(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        (0..=offset).rev().find(|i| self.text.is_char_boundary(*i)).unwrap_or(0)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

fn mark(marked: bool, under: char) -> char {
    match (marked, under) {
        (true, _) => '^',
        (false, '\t') => '\t',
        (false, _) => ' ',
    }
}

/// Whether a key's value is a secret, by the name of the key.
pub(super) fn is_secret_key(key: &str) -> bool {
    !key.ends_with("_file") && key != "chap_algorithms" && sounds_secret(key)
}

fn sounds_secret(text: &str) -> bool {
    let text = zeroize::Zeroizing::new(text.to_ascii_lowercase());
    SECRET_WORDS.iter().any(|word| text.contains(word))
}

/// For each line with a word that announces a secret, what follows the first `=` after it. Coarse, and
/// meant to be: it also works on text that is no TOML.
fn suspicious(text: &str) -> Vec<Range<usize>> {
    lines(text).filter_map(|(at, line)| secret_of_line(line).map(|s| at + s.start..at + s.end)).collect()
}

/// Each line with its place, without its end.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').scan(0, |next, line| {
        let at = *next;
        *next += line.len() + 1;
        Some((at, line))
    })
}

fn secret_of_line(line: &str) -> Option<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let starts = SECRET_WORDS.iter().flat_map(|word| lower.match_indices(word).map(|(at, _)| at));
    starts
        .filter_map(|word| {
            let equals = word + line[word..].find('=')?;
            let key_is_file = line[word..equals].trim_end().trim_end_matches('"').ends_with("_file");
            (!key_is_file).then(|| after(line, equals + 1))
        })
        .min_by_key(|value| value.start)
}

/// What follows the first `=` of a line that begins with a key; all of any other that is no table's header.
fn value_of_line(at: usize, line: &str) -> Option<Range<usize>> {
    let bare = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_-. \t[]".contains(c));
    let value = match line.split_once('=') {
        Some((key, _)) if bare(key) => after(line, key.len() + 1),
        None if line.trim_start().starts_with('[') && bare(line) => return None,
        _ => after(line, 0),
    };
    Some(at + value.start..at + value.end)
}

/// The line from `from` on, without the space around it.
fn after(line: &str, from: usize) -> Range<usize> {
    let rest = &line[from..];
    from + (rest.len() - rest.trim_start().len())..from + rest.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let source = Source::new("x", "é = 1\nb = 2");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(3), (1, 3));
        assert_eq!(source.position(7), (2, 1));
        assert_eq!(source.position(1), (1, 1), "inside a character");
        assert_eq!(source.position(1000), (2, 6));
    }

    #[test]
    fn carets_go_under_the_span() {
        let source = Source::new("x", "\tkey = \"välue\"\nrest");
        let expected = "  1 | \tkey = \"välue\"\n    | \t      ^^^^^^^\n";
        assert_eq!(source.excerpt(&(7..15)), expected);
        assert_eq!(source.excerpt(&(7..20)), expected, "a span of several lines");
    }

    #[test]
    fn the_end_of_the_file_can_be_pointed_at() {
        assert_eq!(Source::new("x", "a =").excerpt(&(3..3)), "  1 | a =\n    |    ^\n");
        assert_eq!(Source::new("x", "a\n").excerpt(&(2..2)), "  2 |\n    | ^\n");
    }

    #[test]
    fn secrets_are_masked() {
        let text = "chap = { user = \"u\", secret = \"hunter2\" }\n";
        let excerpt = Source::new("x", text).excerpt(&(0..4));
        assert!(!excerpt.contains("hunter2") && excerpt.contains(MASK), "{excerpt}");
        let mut source = Source::new("x", "chap = { user = \"u\", sceret = \"hunter2\" }\n");
        source.trust(std::iter::once(30..39).collect());
        let excerpt = source.excerpt(&(21..27));
        assert!(excerpt.contains("sceret = ******** }") && excerpt.contains("  ^^^^^^\n"), "{excerpt}");
    }

    #[test]
    fn names_of_secret_files_are_shown() {
        let text = "secret_file = \"/etc/s\", secret = \"hunter2\"";
        let excerpt = Source::new("x", text).excerpt(&(0..1));
        assert!(excerpt.contains("/etc/s") && !excerpt.contains("hunter2"), "{excerpt}");
    }

    #[test]
    fn no_value_is_shown_of_a_text_that_may_have_secrets_anywhere() {
        let excerpt = |text: &str| {
            let mut source = Source::new("x", text);
            source.distrust();
            source.excerpt(&(0..1))
        };
        assert_eq!(excerpt("a = \"b\"\nchap = 1"), "  1 | a = ********\n    | ^\n");
        assert_eq!(excerpt("[a b]\nchap = 1"), "  1 | [a b]\n    | ^\n");
        assert_eq!(excerpt("hunter2\nchap = 1"), "  1 | ********\n    | ^^^^^^^^\n");
        assert_eq!(excerpt("a = \"b\""), "  1 | a = \"b\"\n    | ^\n", "there is no secret");
    }

    #[test]
    fn nothing_is_shown_of_a_sealed_source() {
        let mut source = Source::new("x", "a = 1\nsecret = \"\"\"hun\nter2");
        source.distrust();
        assert_eq!(source.excerpt(&(0..1)), "");
        assert!(!format!("{:?}", Source::new("x", "hunter2")).contains("hunter2"));
    }
}

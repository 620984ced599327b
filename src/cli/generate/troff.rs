//! Text as troff takes it.

/// As it is.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// In paragraphs.
pub(super) fn paragraphs(texts: &[&str]) -> String {
    texts.iter().map(|text| format!(".PP\n{}\n", escaped(text))).collect()
}

/// What is told of one thing, with that before it.
pub(super) fn item(what: &str, text: &str) -> String {
    format!(".TP\n.B {}\n{}\n", escaped(what), escaped(text))
}

/// The two columns of a line that is a row of a table: it is indented, and they stand apart.
pub(super) fn row(line: &str) -> Option<(&str, &str)> {
    let (what, text) = line.strip_prefix("  ")?.trim_start().split_once("  ")?;
    Some((what, text.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_for_a_request() {
        assert_eq!(escaped(".x 'a-b\\"), "\\&.x 'a\\-b\\e");
        assert_eq!(paragraphs(&["a", ".b"]), ".PP\na\n.PP\n\\&.b\n");
        assert_eq!(item("a-b", ".c"), ".TP\n.B a\\-b\n\\&.c\n");
    }

    #[test]
    fn rows_are_told_from_words() {
        assert_eq!(row("  ram:SIZE    memory, gone  soon"), Some(("ram:SIZE", "memory, gone  soon")));
        assert_eq!(["words", " words  and words", "  words", ""].map(row), [None; 4]);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_for_a_request() {
        assert_eq!(escaped(".x 'a-b\\"), "\\&.x 'a\\-b\\e");
        assert_eq!(paragraphs(&["a", ".b"]), ".PP\na\n.PP\n\\&.b\n");
    }
}

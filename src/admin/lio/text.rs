//! Writing the TOML of a configuration.

use std::fmt::Display;

use zeroize::Zeroizing;

/// The text of a configuration, which may have secrets in it.
#[derive(Default)]
pub(super) struct Text(Zeroizing<String>);

impl Text {
    pub(super) fn comment(&mut self, text: &str) {
        // A name of a file could have a line break in it.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.line(&format!("# {text}"));
    }

    /// A header, with an empty line before it.
    pub(super) fn section(&mut self, header: &str) {
        self.line("");
        self.line(header);
    }

    pub(super) fn value(&mut self, key: &str, value: impl Display) {
        self.line(&format!("{key} = {value}"));
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.value(key, quoted(text));
    }

    pub(super) fn texts<'a>(&mut self, key: &str, texts: impl IntoIterator<Item = &'a str>) {
        let texts: Vec<String> = texts.into_iter().map(quoted).collect();
        self.value(key, format!("[{}]", texts.join(", ")));
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(super) fn finish(self) -> Zeroizing<String> {
        self.0
    }
}

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

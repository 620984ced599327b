//! One line as it is typed: words, quoted or not, and `name=value`.

/// What a line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The words that are no `name=value`, in order.
    pub(super) words: Vec<String>,
    /// The others.
    pub(super) named: Vec<(String, String)>,
}

impl Line {
    /// Reads a line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut line = Self::default();
        for word in words(text)? {
            line.take(word);
        }
        Ok(line)
    }

    /// The line of words that somebody else has told apart: arguments of a process.
    pub(super) fn of_words(words: impl IntoIterator<Item = String>) -> Self {
        let mut line = Self::default();
        words.into_iter().for_each(|word| line.take(word));
        line
    }

    fn take(&mut self, word: String) {
        match word.split_once('=') {
            Some((name, value)) if is_name(name) => self.named.push((name.into(), value.into())),
            _ => self.words.push(word),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The words of a text. A quote keeps what is in it together, and goes. A word that begins with # begins a comment.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values() {
        let line = Line::parse("create 'a b' dev=/dev/sda x=\"1 2\" /dev/disk/by-id/a=b ''").unwrap();
        assert_eq!(line.words, ["create", "a b", "/dev/disk/by-id/a=b", ""]);
        assert_eq!(line.named, [("dev".into(), "/dev/sda".into()), ("x".into(), "1 2".into())]);
        assert_eq!(Line::parse("  # create 'a").unwrap(), Line::default());
        let line = Line::parse("set auth password=#a#b '#c' # d").unwrap();
        assert_eq!(line.words, ["set", "auth", "#c"]);
        assert_eq!(line.named, [("password".into(), "#a#b".into())]);
        assert!(Line::parse("create 'a").unwrap_err().contains("not closed"));
    }
}

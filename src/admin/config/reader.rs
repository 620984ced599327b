//! Reading TOML tables field by field, so that one mistake does not hide the next.
//!
//! A [`FileSection`] takes the fields that it knows out of a [`Section`]; a wrong type is noted and the
//! field treated as absent; what is left at the end is unknown. The values themselves are read by serde.

use std::ops::Range;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::Problem;
use super::source::is_secret_key;
use super::words;
use crate::admin::secret::SecretText;

/// A table that is being read.
pub(super) struct Section<'i> {
    table: DeTable<'i>,
    span: Range<usize>,
    title: &'static str,
    known: Vec<&'static str>,
    wrong: Vec<&'static str>,
}

/// Where a table stands.
pub(super) struct Here {
    /// Its header, or all of it when it is in braces.
    pub(super) span: Range<usize>,
    /// Keys that are there with a value of the wrong type: not missing, but told already.
    pub(super) wrong: Vec<&'static str>,
}

impl Here {
    /// The place of a value of this table, or of the table where the value is absent.
    pub(super) fn or_at<T>(&self, value: &Option<Spanned<T>>) -> Range<usize> {
        value.as_ref().map_or_else(|| self.span.clone(), Spanned::span)
    }
}

/// A table with its own set of keys.
pub(super) trait FileSection: Sized {
    /// How it is called in messages.
    const TITLE: &'static str;
    /// Takes the fields that it knows.
    fn read(section: &mut Section<'_>, problems: &mut Vec<Problem>) -> Self;
}

/// A value of one type, as it stands in a file.
pub(super) trait Leaf: DeserializeOwned {
    /// What it must be, in words.
    const EXPECTED: &'static str;
    /// One that is right.
    const EXAMPLE: &'static str;
}

macro_rules! leaf {
    ($($type:ty: $expected:literal, $example:literal;)*) => {$(
        impl Leaf for $type {
            const EXPECTED: &'static str = $expected;
            const EXAMPLE: &'static str = $example;
        }
    )*};
}

leaf! {
    bool: "true or false, without quotes", "true";
    String: "a text in quotes", "\"…\"";
    u16: "a whole number from 0 to 65535", "1";
    u32: "a whole number from 0 to 4294967295", "1";
    Word: "a whole number or a text in quotes", "\"…\"";
    Vec<Spanned<String>>: "a list of texts in quotes", "[\"…\"]";
    SecretText: "a text in quotes", "\"…\"";
}

/// A text, or a whole number that is taken as the text of it: a size, a time, a list of processors.
#[derive(Debug, Clone)]
pub(super) struct Word(pub(super) String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Word;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or a string")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.into()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl<'i> Section<'i> {
    /// Where it is. To be asked after all fields.
    pub(super) fn here(&mut self) -> Here {
        Here { span: self.span.clone(), wrong: std::mem::take(&mut self.wrong) }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// A single value.
    pub(super) fn leaf<T: Leaf>(
        &mut self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let (span, found) = (value.span(), value.get_ref().type_str());
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(read) => Some(Spanned::new(span, read)),
            Err(error) => {
                let at = error.span().unwrap_or(span);
                let what = format!("`{key}` must be {}, and this is {}", T::EXPECTED, describe::<T>(found));
                problems.push(Problem::error(at, what, "", format!("write {key} = {}", T::EXAMPLE)));
                self.wrong.push(key);
                None
            }
        }
    }

    /// A single table.
    pub(super) fn table<T: FileSection>(
        &mut self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let value = self.take(key)?;
        read_item(value, key, problems)
    }

    /// A list of tables; `None` when the key is absent.
    pub(super) fn tables<T: FileSection>(
        &mut self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(items) => {
                Some(items.into_iter().filter_map(|item| read_item(item, key, problems)).collect())
            }
            other => {
                problems.push(not_a_section::<T>(span, key, other.type_str()));
                Some(Vec::new())
            }
        }
    }

    /// One table or a list of them.
    pub(super) fn one_or_more<T: FileSection>(
        &mut self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Vec<T> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Table(_)) => self.table(key, problems).into_iter().collect(),
            _ => self.tables(key, problems).unwrap_or_default(),
        }
    }

    /// Whatever was not taken is unknown.
    fn finish(self, problems: &mut Vec<Problem>) {
        for key in self.table.keys() {
            let what = format!("\"{}\" is not a setting of {}", key.get_ref(), self.title);
            let reason = "it would have no effect";
            let remedy = words::suggestion(key.get_ref(), self.known.iter().copied());
            problems.push(Problem::error(key.span(), what, reason, remedy));
        }
    }
}

/// Reads one table to its end.
pub(super) fn read_table<T: FileSection>(
    table: DeTable<'_>,
    span: Range<usize>,
    problems: &mut Vec<Problem>,
) -> T {
    let mut section = Section { table, span, title: T::TITLE, known: Vec::new(), wrong: Vec::new() };
    let read = T::read(&mut section, problems);
    section.finish(problems);
    read
}

fn read_item<T: FileSection>(
    item: Spanned<DeValue<'_>>,
    key: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let span = item.span();
    match item.into_inner() {
        DeValue::Table(table) => Some(read_table(table, span, problems)),
        other => {
            problems.push(not_a_section::<T>(span, key, other.type_str()));
            None
        }
    }
}

fn not_a_section<T: FileSection>(span: Range<usize>, key: &str, found: &str) -> Problem {
    let what = format!("`{key}` is {} here", article(found));
    let reason = format!("it is written as {}", T::TITLE);
    let remedy = if T::TITLE.starts_with('[') {
        format!("start it with the line {} and write its settings below", T::TITLE)
    } else {
        format!("write {key} = {}", T::TITLE)
    };
    Problem::error(span, what, reason, remedy)
}

fn describe<T: Leaf>(found: &str) -> String {
    match found {
        "integer" if T::EXPECTED.contains("number") => "out of that range".into(),
        "array" if T::EXPECTED.contains("list") => "something else".into(),
        other => article(other),
    }
}

fn article(found: &str) -> String {
    let an = found.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {found}", if an { "an" } else { "a" })
}

/// The places of all values that may be secrets: whatever has a key that sounds so, and everything in a
/// credential but the user name and the name of a file.
pub(super) fn secrets(table: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    collect_table(table, false, &mut found);
    found
}

fn collect_table(table: &DeTable<'_>, credential: bool, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        let credential = credential || key == "chap" || key == "mutual_chap";
        let harmless = key == "user" || key.ends_with("_file");
        collect_value(value, credential, !harmless && (credential || is_secret_key(key)), found);
    }
}

fn collect_value(
    value: &Spanned<DeValue<'_>>,
    credential: bool,
    secret: bool,
    found: &mut Vec<Range<usize>>,
) {
    match value.get_ref() {
        DeValue::Table(inner) => collect_table(inner, credential, found),
        DeValue::Array(items) => {
            items.iter().for_each(|item| collect_value(item, credential, secret, found));
        }
        _ if secret => found.push(value.span()),
        _ => {}
    }
}

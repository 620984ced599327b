//! Reading JSON with the place of every value, so that one mistake does not hide the next.
//!
//! An [`Object`] gives out its members one by one; what nobody has asked for when it is finished is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Listed;
use crate::admin::config::Problem;

/// What is found on the way.
pub(super) struct Findings<'t> {
    /// The whole file.
    pub(super) file: &'t str,
    pub(super) problems: Vec<Problem>,
    pub(super) listed: Vec<Listed>,
    /// What stands there as LIO has it by itself, with no counterpart: for all objects of a list together, where the
    /// first is and the names.
    usual: BTreeMap<String, (Range<usize>, BTreeSet<String>)>,
}

impl<'t> Findings<'t> {
    pub(super) fn new(file: &'t str) -> Self {
        Self { file, problems: Vec::new(), listed: Vec::new(), usual: BTreeMap::new() }
    }

    /// A member that is as LIO has it by itself, and has no counterpart.
    pub(super) fn usual(&mut self, object: &Node<'_>, name: String) {
        let span = object.span(self.file);
        self.usual
            .entry(without_numbers(&object.path))
            .or_insert_with(|| (span, BTreeSet::new()))
            .1
            .insert(name);
    }

    /// All that was listed, in the order of the file.
    pub(super) fn finish(self) -> Vec<Listed> {
        let mut listed = self.listed;
        for (path, (span, names)) in self.usual {
            let names: Vec<String> = names.into_iter().collect();
            let reason = format!("as LIO has it by itself, with no counterpart: {}", names.join(", "));
            listed.push(Listed { span, path, reason });
        }
        listed.sort_by_key(|listed| listed.span.start);
        listed
    }

    pub(super) fn list(&mut self, node: &Node<'_>, reason: impl Into<String>) {
        let (span, path, reason) = (node.span(self.file), node.path.clone(), reason.into());
        self.listed.push(Listed { span, path, reason });
    }

    pub(super) fn error(&mut self, node: &Node<'_>, what: &str, remedy: &str) {
        let what = if node.path.is_empty() { what.to_owned() } else { format!("{}: {what}", node.path) };
        self.problems.push(Problem::error(node.span(self.file), what, "", remedy));
    }
}

/// `a[].b[]` for `a[3].b[7]`.
fn without_numbers(path: &str) -> String {
    let mut inside = false;
    let kept = path.chars().filter(|c| {
        inside = (inside || *c == '[') && *c != ']';
        !inside || *c == '['
    });
    kept.collect()
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    raw: &'t str,
    pub(super) path: String,
}

/// The members of an object, in order, twins too.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'t> Node<'t> {
    /// The file as one value.
    pub(super) fn root(text: &'t str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Ok(Self { raw: raw.get(), path: String::new() })
    }

    /// Where it stands in `file`, of which it is a part.
    pub(super) fn span(&self, file: &str) -> Range<usize> {
        let start = (self.raw.as_ptr() as usize).saturating_sub(file.as_ptr() as usize);
        start..start + self.raw.len()
    }

    fn below(&self, key: &str, raw: &'t RawValue) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { raw: raw.get(), path }
    }

    /// The value as text, whatever it is: numbers and truths are written like that, too.
    pub(super) fn word(&self) -> String {
        serde_json::from_str(self.raw).unwrap_or_else(|_| self.raw.to_owned())
    }

    pub(super) fn text(&self, found: &mut Findings<'_>) -> Option<String> {
        let text = serde_json::from_str(self.raw).ok();
        if text.is_none() {
            found.error(self, "this is no text", "write a text in quotes");
        }
        text
    }

    /// A number, which may stand in quotes, or be a truth.
    pub(super) fn number(&self, found: &mut Findings<'_>) -> Option<u64> {
        let number = match self.word().as_str() {
            "true" => Some(1),
            "false" => Some(0),
            word => word.parse().ok(),
        };
        if number.is_none() {
            found.error(self, "this is no whole number", "write one that is not negative");
        }
        number
    }

    /// A truth, which may be a number or a word.
    pub(super) fn flag(&self, found: &mut Findings<'_>) -> Option<bool> {
        match self.word().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => {
                found.error(self, "this is neither true nor false", "write true or false");
                None
            }
        }
    }

    pub(super) fn items(&self, found: &mut Findings<'_>) -> Vec<Self> {
        match serde_json::from_str::<Vec<&RawValue>>(self.raw) {
            Ok(items) => {
                let item = |(n, raw): (usize, &'t RawValue)| Self {
                    raw: raw.get(),
                    path: format!("{}[{n}]", self.path),
                };
                items.into_iter().enumerate().map(item).collect()
            }
            Err(_) => {
                found.error(self, "this is no list", "write a list in brackets");
                Vec::new()
            }
        }
    }

    pub(super) fn object(&self, found: &mut Findings<'_>) -> Option<Object<'t>> {
        match serde_json::from_str::<Members<'t>>(self.raw) {
            Ok(Members(members)) => {
                let members = members.into_iter().map(|(key, raw)| (key.clone(), self.below(&key, raw)));
                Some(Object { node: self.clone(), members: members.collect() })
            }
            Err(_) => {
                found.error(self, "this is no object", "write an object in braces");
                None
            }
        }
    }
}

/// An object that is being read.
pub(super) struct Object<'t> {
    pub(super) node: Node<'t>,
    members: Vec<(String, Node<'t>)>,
}

impl<'t> Object<'t> {
    /// Takes a member out. Of twins the last counts, as it does for who wrote the file; null is nothing.
    pub(super) fn take(&mut self, key: &str) -> Option<Node<'t>> {
        let at = self.members.iter().rposition(|(name, _)| name == key)?;
        let (_, node) = self.members.remove(at);
        (node.raw != "null").then_some(node)
    }

    /// A member that stays there.
    pub(super) fn peek(&self, key: &str) -> Option<&Node<'t>> {
        self.members.iter().rev().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(super) fn text(&mut self, key: &str, found: &mut Findings<'t>) -> Option<String> {
        self.take(key)?.text(found)
    }

    pub(super) fn number(&mut self, key: &str, found: &mut Findings<'t>) -> Option<u64> {
        self.take(key)?.number(found)
    }

    pub(super) fn flag(&mut self, key: &str, found: &mut Findings<'t>) -> Option<bool> {
        self.take(key)?.flag(found)
    }

    /// The items of a list, none when there is no list.
    pub(super) fn list(&mut self, key: &str, found: &mut Findings<'t>) -> Vec<Node<'t>> {
        self.take(key).map(|node| node.items(found)).unwrap_or_default()
    }

    /// An object below this one; none is an empty one.
    pub(super) fn object(&mut self, key: &str, found: &mut Findings<'t>) -> Option<Self> {
        self.take(key)?.object(found)
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, key: &str, found: &mut Findings<'t>) -> Option<String> {
        match self.take(key) {
            Some(node) => node.text(found),
            None => {
                found.error(
                    &self.node,
                    &format!("there is no \"{key}\" in it"),
                    "rtslib-fb always writes one",
                );
                None
            }
        }
    }

    /// What nobody has taken.
    pub(super) fn rest(&mut self) -> Vec<(String, Node<'t>)> {
        std::mem::take(&mut self.members).into_iter().filter(|(_, node)| node.raw != "null").collect()
    }

    /// Lists what nobody has taken.
    pub(super) fn finish(mut self, found: &mut Findings<'_>) {
        for (_, node) in self.rest() {
            found.list(&node, "this is not known here");
        }
    }
}

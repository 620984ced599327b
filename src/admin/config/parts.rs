//! A configuration's text in parts: a backstore or a target with everything that stands below it, or something else.
//!
//! Promises: the parts of a text mean what they mean together, in whatever text they stand. Refuses to know: what that is.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::admin::difference::{common_begin, common_end};

/// What a part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Store,
    Target,
    /// What is before them, or about the daemon.
    Other,
    /// Something that may belong to a part elsewhere.
    Stray,
}

/// From there on, up to the next one.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    kind: Kind,
}

/// A text, and where its parts are.
#[derive(Debug)]
pub(super) struct Parts {
    text: String,
    parts: Vec<Part>,
}

/// What becomes of the stores, or of the targets, which are counted from the begin of the text.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    /// In the place of these
    span: Range<usize>,
    /// come these of them, and where nothing is named one that is written otherwise.
    instead: Vec<Option<usize>>,
    /// Those that are written otherwise, in their order, and where they begin.
    fresh: Vec<(usize, &'a str)>,
}

/// The way to another text.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) stores: Turn<'a>,
    pub(super) targets: Turn<'a>,
    parts: Range<usize>,
    instead: Vec<Part>,
    /// Where those of the parts begin then that are there as they were.
    stay: HashMap<usize, usize>,
}

impl Turn<'_> {
    /// Those that are not there any more as they were.
    pub(super) fn gone(&self) -> HashSet<usize> {
        let stay: HashSet<usize> = self.instead.iter().flatten().copied().collect();
        self.span.clone().filter(|n| !stay.contains(n)).collect()
    }

    /// How many are written otherwise.
    pub(super) fn count(&self) -> usize {
        self.fresh.len()
    }

    /// What is written otherwise.
    pub(super) fn text(&self) -> String {
        self.fresh.iter().map(|(_, written)| *written).collect()
    }

    /// Where a byte of that stands in the whole.
    pub(super) fn place(&self, mut at: usize) -> Option<usize> {
        for (start, written) in &self.fresh {
            if at < written.len() {
                return Some(start + at);
            }
            at -= written.len();
        }
        None
    }

    /// All that are there then, of so many that were there.
    pub(super) fn order(&self, all: usize) -> Vec<Option<usize>> {
        let (before, behind) = ((0..self.span.start).map(Some), (self.span.end..all).map(Some));
        before.chain(self.instead.iter().copied()).chain(behind).collect()
    }
}

impl Parts {
    /// Nothing, when something in it may belong to a part elsewhere.
    pub(super) fn of(text: &str) -> Option<Self> {
        let parts = split(text, 0..text.len());
        let plain = is_plain(text) && parts.iter().all(|p| p.kind != Kind::Stray);
        plain.then(|| Self { text: text.to_owned(), parts })
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        count(kind, &self.parts)
    }

    /// What of a text is written otherwise; nothing, when that is more than stores and targets.
    pub(super) fn compare<'a>(&self, text: &'a str) -> Option<Change<'a>> {
        if !is_plain(text) {
            return None;
        }
        let (parts, stretch) = self.touched(text)?;
        let mut known = self.known(&parts);
        let instead = split(text, stretch.clone());
        let (mut stores, mut targets) = (self.turn(Kind::Store, &parts), self.turn(Kind::Target, &parts));
        let mut stay = HashMap::new();
        for (n, part) in instead.iter().enumerate() {
            let written = &text[part.start..instead.get(n + 1).map_or(stretch.end, |next| next.start)];
            let same = known.remove(written);
            stay.extend(same.map(|(_, _, old)| (old, part.start)));
            let same = same.map(|(_, place, _)| place);
            match (part.kind, same) {
                (Kind::Store, same) => stores.add(same, part.start, written),
                (Kind::Target, same) => targets.add(same, part.start, written),
                (Kind::Other, Some(_)) => {}
                (Kind::Other | Kind::Stray, _) => return None,
            }
        }
        let only_objects = known.values().all(|(kind, ..)| *kind != Kind::Other);
        only_objects.then_some(Change { stores, targets, parts, instead, stay })
    }

    /// The parts that may be written otherwise, and the stretch of the text that is in their place.
    fn touched(&self, text: &str) -> Option<(Range<usize>, Range<usize>)> {
        let (old, new) = (self.text.as_bytes(), text.as_bytes());
        let before = common_begin(old, new);
        let behind = common_end(&old[before..], &new[before..]);
        // A part ends where another begins: the one before is compared, too.
        let begin = self.parts.partition_point(|p| p.start <= before).saturating_sub(2);
        let end = self.parts.partition_point(|p| p.start <= old.len() - behind);
        let from = self.parts.get(begin)?.start;
        let to = self.parts.get(end).map_or(new.len(), |p| p.start + new.len() - old.len());
        Some((begin..end, from..to))
    }

    fn turn<'a>(&self, kind: Kind, parts: &Range<usize>) -> Turn<'a> {
        let first = count(kind, &self.parts[..parts.start]);
        let span = first..first + count(kind, &self.parts[parts.clone()]);
        Turn { span, instead: Vec::new(), fresh: Vec::new() }
    }

    /// These parts by what is written there, which ones of their kind they are, and of all.
    fn known(&self, parts: &Range<usize>) -> HashMap<&str, (Kind, usize, usize)> {
        let first = |kind| count(kind, &self.parts[..parts.start]);
        let (mut stores, mut targets) = (first(Kind::Store).., first(Kind::Target)..);
        let mut place = |kind| match kind {
            Kind::Store => stores.next(),
            Kind::Target => targets.next(),
            Kind::Other | Kind::Stray => None,
        };
        let all = parts.clone().map(|n| (n, self.parts[n].kind));
        all.map(|(n, kind)| (self.written(n), (kind, place(kind).unwrap_or_default(), n))).collect()
    }

    fn written(&self, n: usize) -> &str {
        let end = self.parts.get(n + 1).map_or(self.text.len(), |p| p.start);
        &self.text[self.parts[n].start..end]
    }

    /// Where a byte stands after that change, if its part is there as it was.
    pub(super) fn place(&self, at: usize, text: &str, change: &Change<'_>) -> Option<usize> {
        let part = self.parts.partition_point(|p| p.start <= at).checked_sub(1)?;
        if part < change.parts.start {
            Some(at)
        } else if part >= change.parts.end {
            Some(at + text.len() - self.text.len())
        } else {
            change.stay.get(&part).map(|start| start + at - self.parts[part].start)
        }
    }

    /// It is that text from now on.
    pub(super) fn follow(&mut self, text: &str, change: Change<'_>) {
        for part in &mut self.parts[change.parts.end..] {
            part.start = part.start + text.len() - self.text.len();
        }
        self.parts.splice(change.parts, change.instead);
        text.clone_into(&mut self.text);
    }
}

impl<'a> Turn<'a> {
    fn add(&mut self, same: Option<usize>, start: usize, written: &'a str) {
        self.instead.push(same);
        if same.is_none() {
            self.fresh.push((start, written));
        }
    }
}

fn count(kind: Kind, parts: &[Part]) -> usize {
    parts.iter().filter(|p| p.kind == kind).count()
}

/// Whether every line is one for TOML, too.
fn is_plain(text: &str) -> bool {
    !text.contains("\"\"\"") && !text.contains("'''")
}

/// The parts of a stretch of a text, which begins with one.
fn split(text: &str, range: Range<usize>) -> Vec<Part> {
    let (mut parts, mut start): (Vec<Part>, _) = (Vec::new(), range.start);
    for line in text[range].split_inclusive('\n') {
        let within = parts.last().map(|p| p.kind);
        let kind = begins(line, within).or_else(|| within.is_none().then_some(Kind::Other));
        parts.extend(kind.map(|kind| Part { start, kind }));
        start += line.len();
    }
    parts
}

/// What begins with that line, if anything does; `within` what it stands.
fn begins(line: &str, within: Option<Kind>) -> Option<Kind> {
    let head = line.trim_start();
    let is = |heads: &[&str]| heads.iter().any(|begin| head.starts_with(begin));
    if !head.starts_with('[')
        || (within == Some(Kind::Store) && is(&["[[backstore.", "[backstore."]))
        || (within == Some(Kind::Target) && is(&["[[target.", "[target."]))
    {
        return None;
    }
    Some(if is(&["[[backstore]]"]) {
        Kind::Store
    } else if is(&["[[target]]"]) {
        Kind::Target
    } else if is(&["[server]", "[server.", "[discovery]", "[discovery.", "[[discovery."]) {
        Kind::Other
    } else {
        Kind::Stray
    })
}

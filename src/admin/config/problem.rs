//! What is wrong with a configuration, said so that it can be put right: where, what, why, and what to do.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde_json::{Value, json};

use super::source::Source;

/// Whether it can be lived with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Nothing is served before it is put right.
    Error,
    /// It works, but not as well or as safely as it should.
    Warning,
}

/// Where a problem is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// Bytes of the configuration file.
    File(Range<usize>),
    /// A command line argument, as it was typed.
    Argument(String),
    /// The file as a whole.
    Whole,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Whether it can be lived with.
    pub severity: Severity,
    /// Where.
    pub at: At,
    /// What is wrong.
    pub what: String,
    /// Why that is wrong; empty where `what` says it all.
    pub reason: String,
    /// What to do; never empty for an error.
    pub remedy: String,
}

impl Problem {
    /// Something that must be put right.
    pub fn error(
        at: impl Into<At>,
        what: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (at, what, reason, remedy) = (at.into(), what.into(), reason.into(), remedy.into());
        Self { severity: Severity::Error, at, what, reason, remedy }
    }

    /// Something that can be lived with.
    pub fn warning(
        at: impl Into<At>,
        what: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, what, reason, remedy) }
    }
}

impl Problem {
    /// The same in another text, where a byte of this one has another place; nothing, if it has none.
    pub(super) fn moved(&self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let At::File(span) = &self.at else { return None };
        let start = place(span.start)?;
        Some(Self { at: At::File(start..start + span.len()), ..self.clone() })
    }
}

impl From<Range<usize>> for At {
    fn from(span: Range<usize>) -> Self {
        Self::File(span)
    }
}

impl<T> From<&toml::Spanned<T>> for At {
    fn from(value: &toml::Spanned<T>) -> Self {
        Self::File(value.span())
    }
}

impl fmt::Display for Problem {
    /// Without the place: `what; reason; remedy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for part in [&self.reason, &self.remedy] {
            if !part.is_empty() {
                write!(f, "; {part}")?;
            }
        }
        Ok(())
    }
}

/// All that was found wrong in one source, errors and warnings, in the order of the source.
#[derive(Debug, Default)]
pub struct Report {
    source: Source,
    problems: Vec<Problem>,
    /// So many errors of syntax are not told.
    more: usize,
}

impl Report {
    /// Problems of a configuration file, or of the command line when `source` is empty.
    pub fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| match &p.at {
            At::Whole => 0,
            At::File(span) => span.start,
            At::Argument(_) => usize::MAX,
        });
        Self { source, problems, more: 0 }
    }

    /// The same with so many errors of syntax more, which are not told.
    pub(super) fn and_more(self, more: usize) -> Self {
        Self { more, ..self }
    }

    /// All of them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What was read.
    pub fn text(&self) -> &str {
        self.source.text()
    }

    /// The same source with these problems, and no others.
    pub fn also(&self, problems: Vec<Problem>) -> Self {
        Self::new(self.source.clone(), problems)
    }

    /// How many must be put right.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.severity == Severity::Error).count() + self.more
    }

    /// How many can be lived with.
    pub fn warnings(&self) -> usize {
        self.problems.iter().filter(|p| p.severity == Severity::Warning).count()
    }

    /// "2 errors, 1 warning"; empty when there is nothing to say.
    pub fn summary(&self) -> String {
        let count = |n: usize, word: &str| match n {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let parts = [count(self.errors(), "error"), count(self.warnings(), "warning")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Report {
    /// Each problem as `file:line:column: what; reason; remedy`, with its source line and a caret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().try_for_each(|problem| self.tell(problem, f))?;
        match self.more {
            0 => Ok(()),
            more => writeln!(f, "{}: and {more} more of this kind", self.source.name()),
        }
    }
}

/// What was said, and how often, wherever it stood.
pub type Told = HashMap<String, usize>;

impl Report {
    fn tell(&self, problem: &Problem, out: &mut impl fmt::Write) -> fmt::Result {
        let word = match problem.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        match &problem.at {
            At::File(span) => {
                let (line, column) = self.source.position(span.start);
                writeln!(out, "{}:{line}:{column}: {word}{problem}", self.source.name())?;
                out.write_str(&self.source.excerpt(span))
            }
            At::Argument(argument) => writeln!(out, "{argument}: {word}{problem}"),
            At::Whole => writeln!(out, "{}: {word}{problem}", self.source.name()),
        }
    }

    /// For programs: a list, in the order of the source. What is in no line has neither that nor a column.
    pub fn to_json(&self) -> Value {
        self.problems.iter().map(|problem| self.one_json(problem)).collect()
    }

    fn one_json(&self, Problem { severity, at, what, reason, remedy }: &Problem) -> Value {
        let place = match at {
            At::File(span) => Some(self.source.position(span.start)),
            At::Argument(_) | At::Whole => None,
        };
        let file = Some(self.source.name()).filter(|name| !name.is_empty());
        let severity = if *severity == Severity::Error { "error" } else { "warning" };
        json!({
            "file": file, "line": place.map(|(line, _)| line), "column": place.map(|(_, column)| column),
            "what": what, "reason": reason, "remedy": remedy, "severity": severity,
        })
    }

    /// What it says.
    pub fn told(&self) -> Told {
        let mut told = Told::new();
        self.problems.iter().for_each(|problem| *told.entry(problem.to_string()).or_default() += 1);
        told
    }

    /// As it is shown, less what was told before.
    pub fn news(&self, told: &Told) -> String {
        let (mut told, mut out) = (told.clone(), String::new());
        for problem in &self.problems {
            match told.get_mut(&problem.to_string()) {
                Some(left @ 1..) => *left -= 1,
                // A string takes everything.
                _ => drop(self.tell(problem, &mut out)),
            }
        }
        out
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_in_the_order_of_the_source() {
        let source = Source::new("a.toml", "one = 1\ntwo = 2\n");
        let problems = vec![
            Problem::warning(8..11, "two is odd", "", ""),
            Problem::error(0..3, "one is lonely", "two is company", "add another"),
        ];
        let report = Report::new(source, problems);
        assert_eq!(report.summary(), "1 error, 1 warning");
        assert_eq!(
            report.to_string(),
            "a.toml:1:1: one is lonely; two is company; add another\n  1 | one = 1\n    | ^^^\n\
             a.toml:2:1: warning: two is odd\n  2 | two = 2\n    | ^^^\n"
        );
    }

    #[test]
    fn what_was_told_is_no_news_wherever_it_stands() {
        let report = |text: &str, starts: &[usize]| {
            let problems = starts.iter().map(|at| Problem::warning(*at..at + 3, "odd", "", "make it even"));
            Report::new(Source::new("a.toml", text), problems.collect())
        };
        let first = report("one = 1\n", &[0]);
        assert_eq!(first.news(&Told::new()), first.to_string());
        let moved = report("\n\none = 1\n", &[2]);
        assert_eq!(moved.news(&first.told()), "");
        let more = report("one = 1\nthree = 3\n", &[0, 8]);
        assert_eq!(more.news(&first.told()).lines().count(), 3, "one more of the same kind");
    }

    #[test]
    fn arguments_have_no_line() {
        let at = At::Argument("--listen nowhere".into());
        let report = Report::new(Source::default(), vec![Problem::error(at, "no address", "", "write one")]);
        assert_eq!(report.to_string(), "--listen nowhere: no address; write one\n");
    }
}

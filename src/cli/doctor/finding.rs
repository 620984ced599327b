//! What was found, and how it is told.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// The version of the JSON form.
const VERSION: u32 = 1;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Hint,
    /// Something does not work, or data is at risk.
    Wrong,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Hint => "hint",
            Self::Wrong => "WRONG",
        }
    }
}

/// So many of something, in words.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    /// What it is about: `kernel`, `nvme1n1`, an initiator.
    pub(super) about: String,
    /// How it is.
    pub(super) is: String,
    /// Why that matters. Empty when all is good.
    pub(super) why: String,
    /// By how much, or that nobody has measured it. Empty when all is good.
    pub(super) cost: String,
    /// What to do about it. Empty when there is nothing.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn good(about: impl Into<String>, is: impl Into<String>) -> Self {
        let (why, cost, remedy) = (String::new(), String::new(), String::new());
        Self { grade: Grade::Good, about: about.into(), is: is.into(), why, cost, remedy }
    }

    pub(super) fn hint(
        about: impl Into<String>,
        is: impl Into<String>,
        why: impl Into<String>,
        cost: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (about, is, why, cost, remedy) =
            (about.into(), is.into(), why.into(), cost.into(), remedy.into());
        Self { grade: Grade::Hint, about, is, why, cost, remedy }
    }

    /// The same, but bad.
    pub(super) fn wrong(self) -> Self {
        Self { grade: Grade::Wrong, ..self }
    }
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    pub(super) fn is_bad(&self) -> bool {
        self.0.iter().any(|finding| finding.grade == Grade::Wrong)
    }

    pub(super) fn json(&self) -> Value {
        json!({ "version": VERSION, "findings": self.0 })
    }

    fn count(&self, grade: Grade) -> usize {
        self.0.iter().filter(|finding| finding.grade == grade).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { grade, about, is, why, cost, remedy } in &self.0 {
            writeln!(f, "{:<5}  {about}: {is}", grade.word())?;
            for (word, text) in [("why", why), ("cost", cost), ("do", remedy)] {
                if !text.is_empty() {
                    writeln!(f, "       {word:<4} {text}")?;
                }
            }
        }
        let [good, hints, wrong] = [Grade::Good, Grade::Hint, Grade::Wrong].map(|grade| self.count(grade));
        writeln!(f, "{good} good, {hints} to be better, {wrong} wrong")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let hint = |about| Finding::hint(about, "2", "it is slow", "half", "make it 3");
        Report(vec![Finding::good("kernel", "Linux 6.12"), hint("disk"), hint("limits").wrong()])
    }

    #[test]
    fn people_are_told_in_lines() {
        assert_eq!(
            report().to_string(),
            "good   kernel: Linux 6.12\n\
             hint   disk: 2\n       why  it is slow\n       cost half\n       do   make it 3\n\
             WRONG  limits: 2\n       why  it is slow\n       cost half\n       do   make it 3\n\
             1 good, 1 to be better, 1 wrong\n"
        );
        assert!(report().is_bad() && !Report(vec![Finding::good("a", "b")]).is_bad());
    }

    #[test]
    fn programs_are_told_in_json() {
        let told = report().json();
        assert_eq!((&told["version"], told["findings"].as_array().map(Vec::len)), (&json!(1), Some(3)));
        assert_eq!(
            told["findings"][2],
            json!({
                "grade": "wrong", "about": "limits", "is": "2", "why": "it is slow", "cost": "half", "remedy": "make it 3"
            })
        );
    }
}

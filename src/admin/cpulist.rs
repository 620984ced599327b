//! How many reactors, and on which processors: `auto`, a number, or a list like `0-3,6`.

use std::fmt;

/// The reactors that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reactors {
    /// One on every processor that the process may use.
    #[default]
    Auto,
    /// That many, on the first processors that the process may use.
    Count(u16),
    /// One on each of these processors (the kernel's numbers), ascending, none twice.
    Cpus(Vec<u16>),
}

/// More reactors than this is a slip of the hand: mailboxes go from each to each.
pub const MAX_REACTORS: u16 = 1024;

/// Why a text names no reactors, or why those cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// It is none of the three forms.
    #[error("\"{0}\" is neither \"auto\", a number of reactors, nor a list of processors like \"0-3,6\"")]
    Syntax(String),
    /// A range that ends before it starts.
    #[error("the range \"{0}\" runs backwards")]
    Backwards(String),
    /// A processor that is named twice: its reactors would fight over it.
    #[error("processor {0} is named twice")]
    Twice(u16),
    /// No reactor or too many.
    #[error("the number of reactors must be 1 to {MAX_REACTORS}, not {0}")]
    Number(String),
    /// A processor that this process may not run on.
    #[error("processor {cpu} is not one of those that ringtgt may use here ({allowed})")]
    NotAllowed {
        /// The processor.
        cpu: u16,
        /// Those that may be used, as a list.
        allowed: String,
    },
}

impl Reactors {
    /// Reads `auto`, `N` or a list. A single number is a count; one processor alone is `6-6`.
    pub fn parse(text: &str) -> Result<Self, CpuListError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let count = text.parse().ok().filter(|n| (1..=MAX_REACTORS).contains(n));
            return count.map(Self::Count).ok_or_else(|| CpuListError::Number(text.into()));
        }
        parse_list(text).map(Self::Cpus)
    }

    /// How many there will be, on this machine if that decides.
    pub fn count(&self) -> usize {
        match self {
            Self::Auto => {
                std::thread::available_parallelism().map_or(1, usize::from).min(MAX_REACTORS.into())
            }
            Self::Count(n) => (*n).into(),
            Self::Cpus(cpus) => cpus.len(),
        }
    }

    /// The processor of each reactor, given those that the process may use. A count beyond them
    /// starts again at the first: slow, but what was asked for.
    pub fn place(&self, allowed: &[u16]) -> Result<Vec<u16>, CpuListError> {
        match self {
            Self::Auto => Ok(allowed.iter().copied().take(MAX_REACTORS.into()).collect()),
            Self::Count(n) => Ok(allowed.iter().copied().cycle().take((*n).into()).collect()),
            Self::Cpus(cpus) => match cpus.iter().find(|c| !allowed.contains(c)) {
                Some(cpu) => Err(CpuListError::NotAllowed { cpu: *cpu, allowed: show_list(allowed) }),
                None => Ok(cpus.clone()),
            },
        }
    }
}

impl fmt::Display for Reactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(n) => write!(f, "{n}"),
            Self::Cpus(cpus) => f.write_str(&show_list(cpus)),
        }
    }
}

fn parse_list(text: &str) -> Result<Vec<u16>, CpuListError> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = parse_range(text, part.trim())?;
        if usize::from(last - first) + cpus.len() >= MAX_REACTORS.into() {
            return Err(CpuListError::Number(format!("more ({text})")));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    match cpus.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(CpuListError::Twice(w[0])),
        None => Ok(cpus),
    }
}

fn parse_range(text: &str, part: &str) -> Result<(u16, u16), CpuListError> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let number = |s: &str| s.trim().parse::<u16>().map_err(|_| CpuListError::Syntax(text.into()));
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(CpuListError::Backwards(part.into())) } else { Ok((first, last)) }
}

/// Numbers in their order, as in `0-3,8`.
pub(crate) fn show_list(numbers: &[u16]) -> String {
    numbers
        .chunk_by(|a, b| a.checked_add(1) == Some(*b))
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms() {
        assert_eq!(Reactors::parse("auto"), Ok(Reactors::Auto));
        assert_eq!(Reactors::parse("4"), Ok(Reactors::Count(4)));
        assert_eq!(Reactors::parse("6, 0-3"), Ok(Reactors::Cpus(vec![0, 1, 2, 3, 6])));
        assert_eq!(Reactors::parse("6-6"), Ok(Reactors::Cpus(vec![6])));
    }

    #[test]
    fn what_is_none_of_them() {
        for bad in ["", "0", "2000", "a", "1,", "3-1", "1,1", "0-2,1", "0-65535", "-1", "70000-70001"] {
            assert!(Reactors::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn placing() {
        assert_eq!(Reactors::Auto.place(&[2, 3]), Ok(vec![2, 3]));
        assert_eq!(Reactors::Count(3).place(&[2, 3]), Ok(vec![2, 3, 2]));
        let error = Reactors::Cpus(vec![1]).place(&[0, 2, 3, 4]).unwrap_err();
        assert!(error.to_string().contains("0,2-4"), "{error}");
    }

    #[test]
    fn shown_as_written() {
        for text in ["auto", "7", "0-3,6,8-9"] {
            assert_eq!(Reactors::parse(text).unwrap().to_string(), text);
        }
    }
}

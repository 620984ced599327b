//! The way from the configuration as written to the resolved one, and what is gathered on it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{FileConfig, Value};
use super::problem::{At, Problem};
use super::reader::{Here, Word};
use super::store::Stores;
use super::{Config, auth, loopback, portal, server, target};
use crate::admin::{period, secret, size};

/// What a resolution knows of its file, and what it found wrong.
pub(super) struct Resolver<'a> {
    dir: &'a Path,
    mode: Option<u32>,
    problems: Vec<Problem>,
    inline_secret: Option<Range<usize>>,
    /// The targets that send initiators elsewhere, and where that stands.
    pub(super) moved: Vec<(String, Range<usize>)>,
}

/// A number between two others, with the reason for both.
pub(super) struct Bounds {
    /// The smallest that is allowed.
    pub(super) min: u64,
    /// The largest that is allowed.
    pub(super) max: u64,
    /// Why.
    pub(super) reason: &'static str,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(dir: &'a Path, mode: Option<u32>, problems: Vec<Problem>) -> Self {
        Self { dir, mode, problems, inline_secret: None, moved: Vec::new() }
    }

    /// Resolves the whole file.
    pub(super) fn config(&mut self, file: FileConfig) -> Config {
        let server = server::resolve(file.server, self);
        let stores = Stores::resolve(file.backstore.unwrap_or_default(), self);
        let targets = target::resolve(file.target.unwrap_or_default(), &stores, self);
        let loopbacks = loopback::resolve(file.loopback.unwrap_or_default(), &stores, self);
        stores.alua.check_used(&targets, self);
        let discovery = file.discovery.map(|d| auth::discovery(d, self)).unwrap_or_default();
        let portals = portal::resolve(file.portal.unwrap_or_default(), &targets, self);
        let Stores { configs, quotas, paths: media, .. } = stores;
        let stores = configs.into_iter().map(Arc::new).collect();
        Config { server, stores, quotas, loopbacks, targets, discovery, portals, media }
    }

    /// Everything found wrong.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.check_mode();
        self.problems
    }

    pub(super) fn error(
        &mut self,
        at: impl Into<At>,
        what: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::error(at, what, reason, remedy));
    }

    pub(super) fn warning(
        &mut self,
        at: impl Into<At>,
        what: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::warning(at, what, reason, remedy));
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Something in `section` that cannot be left out.
    pub(super) fn missing(&mut self, section: &Here, title: &str, key: &str, example: &str) {
        if section.wrong.contains(&key) {
            return;
        }
        let what = format!("this {title} has no `{key}`");
        self.error(section.span.clone(), what, "", format!("add a line {key} = {example}"));
    }

    /// A path, from where the file is.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.dir.join(text)
    }

    /// A size in bytes within bounds.
    pub(super) fn size(&mut self, value: &Value<Word>, bounds: &Bounds) -> Option<u64> {
        let value = value.as_ref()?;
        match size::parse(&value.get_ref().0) {
            Ok(bytes) => self.bounded(value.span(), bytes, size::show, bounds),
            Err(error) => {
                self.error(value, error.what, "", error.remedy);
                None
            }
        }
    }

    /// A period within bounds, which are in milliseconds.
    pub(super) fn period(&mut self, value: &Value<Word>, bounds: &Bounds) -> Option<std::time::Duration> {
        let value = value.as_ref()?;
        let text = &value.get_ref().0;
        let Some(period) = period::parse(text) else {
            let what = format!("\"{text}\" is not a period of time");
            self.error(value, what, "", "write seconds, or a number and ms, s, m or h, like 500ms or 15s");
            return None;
        };
        let show = |millis| period::show(std::time::Duration::from_millis(millis));
        let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        self.bounded(value.span(), millis, show, bounds).map(|_| period)
    }

    /// A number within bounds.
    pub(super) fn number<T: Copy + Into<u64>>(&mut self, value: &Value<T>, bounds: &Bounds) -> Option<T> {
        let value = value.as_ref()?;
        let number = *value.get_ref();
        self.bounded(value.span(), number.into(), |n| n.to_string(), bounds).map(|_| number)
    }

    fn bounded(
        &mut self,
        span: Range<usize>,
        number: u64,
        show: impl Fn(u64) -> String,
        bounds: &Bounds,
    ) -> Option<u64> {
        if (bounds.min..=bounds.max).contains(&number) {
            return Some(number);
        }
        let side = if number < bounds.min { "small" } else { "large" };
        let remedy = format!("choose from {} to {}", show(bounds.min), show(bounds.max));
        self.error(span, format!("{} is too {side}", show(number)), bounds.reason, remedy);
        None
    }

    /// Notes that a secret stands in the file itself.
    pub(super) fn saw_secret(&mut self, span: Range<usize>) {
        self.inline_secret.get_or_insert(span);
    }

    fn check_mode(&mut self) {
        let Some(span) = self.inline_secret.clone() else { return };
        let Some(mode) = self.mode.filter(|m| secret::exposed(*m)) else { return };
        self.error(
            span,
            format!("a secret stands in a file whose mode is {mode:04o}"),
            "others than its owner can read or change it",
            "chmod 600 this file, or move the secret to a file of its own and name that as secret_file",
        );
    }
}

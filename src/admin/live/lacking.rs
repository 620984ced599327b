//! What of a configuration that is right cannot be had: all of it at once, each with its place.

use std::net::SocketAddr;

use crate::admin::config::{Places, Problem, Report};
use crate::admin::listen::{Bound, ListenErrors};

/// What of it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Of {
    Store(String),
    Portal(SocketAddr),
}

/// Everything that cannot be had, and why.
#[derive(Debug, Default)]
pub(in crate::admin) struct Lacking(Vec<(Of, String)>);

impl Lacking {
    /// What was to be had of a store; if it was not, the reason is noted.
    pub(super) fn of_store<T, E>(&mut self, name: &str, had: Result<T, E>) -> Option<T>
    where
        anyhow::Error: From<E>,
    {
        let note = |error| self.note(Of::Store(name.to_owned()), format!("{:#}", anyhow::Error::from(error)));
        had.map_err(note).ok()
    }

    /// The sockets that were to be had.
    pub(in crate::admin) fn of_portals(&mut self, had: Result<Vec<Bound>, ListenErrors>) -> Vec<Bound> {
        had.unwrap_or_else(|errors| {
            errors.0.into_iter().for_each(|error| self.note(Of::Portal(error.address), error.to_string()));
            Vec::new()
        })
    }

    /// Whether anything of that store is lacking.
    pub(super) fn is_of_store(&self, name: &str) -> bool {
        self.0.iter().any(|(of, _)| matches!(of, Of::Store(store) if store == name))
    }

    fn note(&mut self, of: Of, why: String) {
        // Who tries again what could not be thought of hears the same.
        if !self.0.contains(&(of.clone(), why.clone())) {
            self.0.push((of, why));
        }
    }

    /// All of it in the text of that report, if there is one; nothing, when nothing is lacking.
    ///
    /// # Errors
    /// What is lacking.
    pub(in crate::admin) fn check(self, written: &Report) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let Some(places) = Some(written.text()).filter(|text| !text.is_empty()).map(Places::of) else {
            let all: Vec<String> = self.0.into_iter().map(|(_, why)| why).collect();
            return Err(anyhow::Error::msg(all.join("\n")));
        };
        let problem = |(of, why)| {
            let at = match of {
                Of::Store(name) => places.store(&name),
                Of::Portal(address) => places.portal(address),
            };
            Problem::error(at, why, "", "")
        };
        Err(written.also(self.0.into_iter().map(problem).collect()).into())
    }
}

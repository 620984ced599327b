//! Logins that are sent elsewhere for as long as their target, or the portal at which they come, is drained.
//!
//! Owns: what an administrator has said of that, and until when. Promises: logins go by the catalogue that is served, but
//! for where they are sent; nobody is sent to where he is already; what has ended costs nothing any more. Refuses to know:
//! sessions, and who says so.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::target::{Catalog, Redirect, portal_covers};

/// Whose logins are sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// Those to this target, wherever they come.
    Target(String),
    /// All that come here.
    Portal(SocketAddr),
}

#[derive(Debug)]
struct Detour {
    from: From,
    to: Redirect,
    /// The reactor's time at which it ends, nanoseconds.
    until: u64,
}

/// All of a reactor. There are as many as an administrator has named places within an hour.
#[derive(Debug, Default)]
pub(super) struct Detours {
    all: Vec<Detour>,
    /// What logins go by, and what is served, as which that holds.
    catalog: Option<(Arc<Catalog>, Arc<Catalog>)>,
}

impl Detours {
    /// From now until then those are sent there, wherever they were sent before.
    pub(super) fn enter(&mut self, from: From, to: SocketAddr, now: u64, until: u64) {
        self.all.retain(|detour| detour.from != from);
        self.all.push(Detour { from, to: Redirect { to, permanent: false }, until });
        self.catalog = None;
        self.forget_ended(now);
    }

    /// What a login goes by that begins now.
    pub(super) fn catalog(&mut self, served: &Arc<Catalog>, now: u64) -> Arc<Catalog> {
        self.forget_ended(now);
        if self.all.is_empty() {
            return served.clone();
        }
        match &self.catalog {
            Some((seen, of)) if Arc::ptr_eq(of, served) => seen.clone(),
            _ => {
                let seen = Arc::new(self.laid_over(served));
                self.catalog = Some((seen.clone(), served.clone()));
                seen
            }
        }
    }

    /// Whether a login to that target, which came at `local`, would be sent elsewhere now.
    pub(super) fn holds(&self, target: Option<&str>, local: SocketAddr, now: u64) -> bool {
        let meant = |from: &From| match from {
            From::Target(iqn) => target == Some(iqn),
            From::Portal(portal) => portal_covers(*portal, local),
        };
        self.all.iter().any(|detour| detour.until > now && meant(&detour.from) && detour.to.moves(local))
    }

    fn forget_ended(&mut self, now: u64) {
        if self.all.extract_if(.., |detour| detour.until <= now).count() > 0 {
            self.catalog = None;
        }
    }

    fn laid_over(&self, served: &Catalog) -> Catalog {
        let mut catalog = served.clone();
        for Detour { from, to, .. } in &self.all {
            match from {
                From::Target(iqn) => {
                    let named = catalog.targets.iter_mut().filter(|target| target.iqn == *iqn);
                    named.for_each(|target| Arc::make_mut(target).redirect = Some(*to));
                }
                From::Portal(portal) => {
                    catalog.redirects.retain(|(other, _)| other != portal);
                    catalog.redirects.push((*portal, *to));
                }
            }
        }
        catalog
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    const HERE: &str = "192.0.2.1:3260";
    const THERE: &str = "192.0.2.2:3260";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn served() -> Arc<Catalog> {
        let target =
            |name: &str| Arc::new(Target { iqn: name.into(), alias: None, redirect: None, tpgs: Vec::new() });
        Arc::new(Catalog { targets: vec![target("iqn.a"), target("iqn.b")], ..Catalog::default() })
    }

    #[test]
    fn a_target_is_elsewhere_until_that_ends() {
        let (served, mut detours) = (served(), Detours::default());
        assert!(Arc::ptr_eq(&detours.catalog(&served, 0), &served));
        detours.enter(From::Target("iqn.a".into()), at(THERE), 0, 100);
        let seen = detours.catalog(&served, 50);
        assert_eq!(seen.targets[0].redirect, Some(Redirect { to: at(THERE), permanent: false }));
        assert!(Arc::ptr_eq(&seen.targets[1], &served.targets[1]), "the other is as it was");
        assert!(Arc::ptr_eq(&detours.catalog(&served, 99), &seen), "made once");
        assert!(detours.holds(Some("iqn.a"), at(HERE), 99) && !detours.holds(Some("iqn.b"), at(HERE), 99));
        assert!(!detours.holds(Some("iqn.a"), at(THERE), 99), "nobody is sent to where he is");
        assert!(!detours.holds(Some("iqn.a"), at(HERE), 100));
        assert!(Arc::ptr_eq(&detours.catalog(&served, 100), &served));
    }

    #[test]
    fn it_goes_by_what_is_served_meanwhile() {
        let mut detours = Detours::default();
        detours.enter(From::Target("iqn.a".into()), at(THERE), 0, 100);
        detours.catalog(&served(), 0);
        let other = Arc::new(Catalog { targets: vec![served().targets[0].clone()], ..Catalog::default() });
        let seen = detours.catalog(&other, 0);
        assert!(seen.targets.len() == 1 && seen.targets[0].redirect.is_some());
    }

    #[test]
    fn a_portal_sends_all_on_and_the_last_word_counts() {
        let (served, mut detours) = (served(), Detours::default());
        detours.enter(From::Portal(at("0.0.0.0:3260")), at("192.0.2.3:3260"), 0, 100);
        detours.enter(From::Portal(at("0.0.0.0:3260")), at(THERE), 0, 100);
        let seen = detours.catalog(&served, 0);
        assert_eq!(seen.redirect_at(at(HERE)).map(|redirect| redirect.to), Some(at(THERE)));
        assert_eq!(seen.redirect_at(at(THERE)), None);
        assert!(detours.holds(None, at(HERE), 0) && !detours.holds(None, at("192.0.2.1:3261"), 0));
        // It ends when that is said.
        detours.enter(From::Portal(at("0.0.0.0:3260")), at(THERE), 5, 5);
        assert!(Arc::ptr_eq(&detours.catalog(&served, 5), &served));
    }
}

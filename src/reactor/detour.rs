//! Logins that are sent elsewhere for as long as their target, or the portal at which they come, is drained.
//!
//! Owns: what an administrator has said of that, and until when. Promises: logins go by the catalogue that is served, but
//! for where they are sent; nobody is sent to where he is already; what has ended is forgotten soon, and costs nothing any
//! more. Refuses to know: sessions, and who says so.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::target::{Catalog, Redirect, portal_covers};

/// Whose logins are sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Logins {
    /// Those to this target, wherever they come.
    To(String),
    /// All that come here.
    At(SocketAddr),
}

impl Logins {
    fn have(&self, target: Option<&str>, local: SocketAddr) -> bool {
        match self {
            Self::To(iqn) => target == Some(iqn),
            Self::At(portal) => portal_covers(*portal, local),
        }
    }
}

#[derive(Debug)]
struct Detour {
    whose: Logins,
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
    /// From now until then those are sent there, wherever they were sent before; whether they were.
    pub(super) fn enter(&mut self, whose: Logins, to: SocketAddr, now: u64, until: u64) -> bool {
        self.forget_ended(now);
        let before = self.all.extract_if(.., |detour| detour.whose == whose).count();
        self.all.push(Detour { whose, to: Redirect { to, permanent: false }, until });
        self.catalog = None;
        self.forget_ended(now);
        before > 0
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
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

    /// Until when a login to that target, which came at `local`, is sent elsewhere, if it is.
    pub(super) fn sends_on_until(
        &mut self,
        served: &Arc<Catalog>,
        target: Option<&str>,
        local: SocketAddr,
        now: u64,
    ) -> Option<u64> {
        self.forget_ended(now);
        if self.all.is_empty() {
            return None;
        }
        let seen = self.catalog(served, now);
        let of_target = || target.and_then(|iqn| seen.target(iqn)?.redirect.filter(|to| to.moves(local)));
        let sent = seen.redirect_at(local).or_else(of_target)?;
        let send = self.all.iter().filter(|detour| detour.to == sent && detour.whose.have(target, local));
        send.map(|detour| detour.until).max()
    }

    /// What has ended is forgotten.
    pub(super) fn forget_ended(&mut self, now: u64) {
        if self.all.extract_if(.., |detour| detour.until <= now).count() > 0 {
            self.catalog = None;
        }
    }

    fn laid_over(&self, served: &Catalog) -> Catalog {
        let mut catalog = served.clone();
        for Detour { whose, to, .. } in &self.all {
            match whose {
                Logins::To(iqn) => {
                    let named = catalog.targets.iter_mut().filter(|target| target.iqn == *iqn);
                    named.for_each(|target| Arc::make_mut(target).redirect = Some(*to));
                }
                Logins::At(portal) => {
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
        detours.enter(Logins::To("iqn.a".into()), at(THERE), 0, 100);
        let seen = detours.catalog(&served, 50);
        assert_eq!(seen.targets[0].redirect, Some(Redirect { to: at(THERE), permanent: false }));
        assert!(Arc::ptr_eq(&seen.targets[1], &served.targets[1]), "the other is as it was");
        assert!(Arc::ptr_eq(&detours.catalog(&served, 99), &seen), "made once");
        let mut until = |target, local, now| detours.sends_on_until(&served, Some(target), at(local), now);
        assert_eq!((until("iqn.a", HERE, 99), until("iqn.b", HERE, 99)), (Some(100), None));
        assert_eq!(until("iqn.a", THERE, 99), None, "nobody is sent to where he is");
        assert_eq!(until("iqn.a", HERE, 100), None);
        assert!(Arc::ptr_eq(&detours.catalog(&served, 100), &served));
    }

    #[test]
    fn it_goes_by_what_is_served_meanwhile() {
        let mut detours = Detours::default();
        detours.enter(Logins::To("iqn.a".into()), at(THERE), 0, 100);
        detours.catalog(&served(), 0);
        let other = Arc::new(Catalog { targets: vec![served().targets[0].clone()], ..Catalog::default() });
        let seen = detours.catalog(&other, 0);
        assert!(seen.targets.len() == 1 && seen.targets[0].redirect.is_some());
    }

    #[test]
    fn a_portal_sends_all_on_and_the_last_word_counts() {
        let (served, mut detours) = (served(), Detours::default());
        assert!(!detours.enter(Logins::At(at("0.0.0.0:3260")), at("192.0.2.3:3260"), 0, 100));
        assert!(detours.enter(Logins::At(at("0.0.0.0:3260")), at(THERE), 0, 100));
        let seen = detours.catalog(&served, 0);
        assert_eq!(seen.redirect_at(at(HERE)).map(|redirect| redirect.to), Some(at(THERE)));
        assert_eq!(seen.redirect_at(at(THERE)), None);
        let mut until = |local| detours.sends_on_until(&served, None, at(local), 0);
        assert_eq!((until(HERE), until("192.0.2.1:3261")), (Some(100), None));
        // It ends when that is said, of that portal.
        assert!(!detours.enter(Logins::At(at(HERE)), at(THERE), 5, 5) && !detours.is_empty());
        assert!(detours.enter(Logins::At(at("0.0.0.0:3260")), at(THERE), 5, 5) && detours.is_empty());
        assert!(Arc::ptr_eq(&detours.catalog(&served, 5), &served));
    }

    #[test]
    fn a_portal_that_names_the_address_counts_before_a_wildcard() {
        let (served, mut detours) = (served(), Detours::default());
        detours.enter(Logins::At(at("0.0.0.0:3260")), at(THERE), 0, 100);
        detours.enter(Logins::At(at(HERE)), at(HERE), 0, 50);
        assert_eq!(detours.sends_on_until(&served, None, at(HERE), 0), None, "who comes here stays");
        assert_eq!(detours.sends_on_until(&served, None, at(HERE), 50), Some(100), "until that has ended");
        detours.enter(Logins::To("iqn.a".into()), at("192.0.2.3:3260"), 50, 200);
        assert_eq!(
            detours.sends_on_until(&served, Some("iqn.a"), at(HERE), 50),
            Some(100),
            "the portal comes first"
        );
        assert_eq!(detours.sends_on_until(&served, Some("iqn.a"), at(HERE), 100), Some(200));
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let (served, mut detours) = (served(), Detours::default());
        detours.enter(Logins::To("iqn.a".into()), at(THERE), 0, 100);
        let seen = Arc::downgrade(&detours.catalog(&served, 0));
        detours.forget_ended(99);
        assert!(seen.upgrade().is_some() && !detours.is_empty());
        detours.forget_ended(100);
        assert!(seen.upgrade().is_none() && detours.is_empty());
    }
}

//! Who is logging in, and to what: the first text of a login, held against the catalogue.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::fault::Fault;
use super::statements::Statements;
use crate::session::keys::{Negotiated, SessionType, Wishes};
use crate::target::{Auth, Catalog, ChapAlgorithm, Lun, Redirect, Target, Tpg};
use crate::wire::name::normalise;
use crate::wire::text::TextWriter;

/// Commands that a discovery session may have outstanding. It sends Text Requests one by one.
const DISCOVERY_WINDOW: u32 = 8;

/// Of an alias (section 6.1 ends values at 255 bytes) no more is kept, characters.
const ALIAS_MAX: usize = 255;

/// The two ends of a login that has said its names.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) initiator: String,
    alias: Option<String>,
    /// The target and the index of its group; none for discovery.
    door: Option<(Arc<Target>, usize)>,
}

/// What the initiator calls itself, as it can be shown. It is for people, who see it in lists and logs: what moves the
/// cursor or ends a line has no place there. (Linux ends it with a line feed, and must be let in.)
fn alias(said: &str) -> String {
    let shown = said.trim_end_matches(char::is_control).chars();
    shown.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).take(ALIAS_MAX).collect()
}

impl Party {
    /// Finds out who wants to go where. What is unknown, not at this portal or not allowed is refused.
    pub(super) fn enter(
        initiator: String,
        said: &Statements<'_>,
        catalog: &Catalog,
        local: SocketAddr,
        peer: IpAddr,
    ) -> Result<Self, Fault> {
        let session_type = session_type(said.session_type)?;
        if let Some(redirect) = catalog.redirect_at(local) {
            return Err(Fault::Moved(redirect));
        }
        let door = match session_type {
            SessionType::Discovery => None,
            SessionType::Normal => Some(find_door(said, catalog, local, (&initiator, peer))?),
        };
        Ok(Self { initiator, alias: said.initiator_alias.map(alias), door })
    }

    /// Later texts may state the names again (some initiators do in each stage), but not others.
    pub(super) fn check_again(&self, said: &Statements<'_>) -> Result<(), Fault> {
        let same = |said: Option<&str>, known: Option<&str>| {
            said.is_none_or(|s| known.is_none_or(|k| normalise(s).is_ok_and(|s| s == k)))
        };
        let target = self.door.as_ref().map(|(target, _)| target.iqn.as_str());
        let session_type =
            said.session_type.map_or_else(|| Ok(self.session_type()), |t| session_type(Some(t)))?;
        let unchanged = same(said.initiator_name, Some(&self.initiator))
            && same(said.target_name, target)
            && session_type == self.session_type();
        unchanged.then_some(()).ok_or(Fault::IdentityChanged)
    }

    pub(super) fn session_type(&self) -> SessionType {
        if self.door.is_some() { SessionType::Normal } else { SessionType::Discovery }
    }

    /// What is said about the target in the first answer (sections 13.6 and 13.9).
    pub(super) fn introduce(&self, out: &mut TextWriter) {
        let Some(tpg) = self.tpg() else { return };
        if let Some(alias) = self.door.as_ref().and_then(|(target, _)| target.alias.as_ref()) {
            out.pair("TargetAlias", alias);
        }
        out.pair("TargetPortalGroupTag", tpg.tag);
    }

    fn tpg(&self) -> Option<&Tpg> {
        self.door.as_ref().and_then(|(target, index)| target.tpgs.get(*index))
    }

    /// The target's name and the tag of its group; none for discovery.
    pub(super) fn place(&self) -> Option<(&str, u16)> {
        let (target, _) = self.door.as_ref()?;
        Some((&target.iqn, self.tpg()?.tag))
    }

    /// What the initiator must prove.
    pub(super) fn auth<'a>(&'a self, catalog: &'a Catalog) -> Result<&'a Auth, Fault> {
        match self.tpg() {
            None => Ok(&catalog.discovery.auth),
            Some(tpg) => tpg.access(&self.initiator).map(|access| access.auth).ok_or(Fault::NoAccess),
        }
    }

    /// The algorithms by which it may prove it.
    pub(super) fn algorithms<'a>(&'a self, catalog: &'a Catalog) -> &'a [ChapAlgorithm] {
        self.tpg().map_or(&catalog.discovery.chap_algorithms, |tpg| &tpg.params.chap_algorithms)
    }

    /// Where it is to log in instead, when it has arrived at `local`.
    pub(super) fn redirect(&self, local: SocketAddr) -> Option<Redirect> {
        let (target, _) = self.door.as_ref()?;
        target.redirect.filter(|redirect| redirect.moves(local))
    }

    pub(super) fn wishes(&self) -> Wishes {
        self.tpg().map_or_else(Wishes::default, |tpg| Wishes::from(&tpg.params))
    }

    /// Commands that the session may have outstanding, at least one.
    pub(super) fn window(&self) -> u32 {
        self.tpg().map_or(DISCOVERY_WINDOW, |tpg| tpg.params.command_window.max(1))
    }

    /// The part of the result that is stated, not negotiated.
    pub(super) fn start(&self) -> Negotiated {
        Negotiated {
            session_type: self.session_type(),
            initiator_name: self.initiator.clone(),
            initiator_alias: self.alias.clone(),
            target_name: self.door.as_ref().map(|(target, _)| target.iqn.clone()),
            ..Negotiated::default()
        }
    }

    /// The LUN map that the initiator sees.
    pub(super) fn luns(&self) -> Vec<Lun> {
        self.tpg().and_then(|tpg| tpg.access(&self.initiator)).map_or_else(Vec::new, |a| a.luns.to_vec())
    }

    /// The target and the index of its group.
    pub(super) fn into_door(self) -> (String, Option<(Arc<Target>, usize)>) {
        (self.initiator, self.door)
    }
}

/// The name that the initiator gives itself, in the form in which names are compared.
pub(super) fn initiator_name(said: &Statements<'_>) -> Result<String, Fault> {
    let name = said.initiator_name.ok_or(Fault::Missing("InitiatorName"))?;
    normalise(name).map_err(|e| Fault::Name("InitiatorName", e))
}

fn session_type(value: Option<&str>) -> Result<SessionType, Fault> {
    match value {
        None | Some("Normal") => Ok(SessionType::Normal),
        Some("Discovery") => Ok(SessionType::Discovery),
        Some(_) => Err(Fault::SessionType),
    }
}

fn find_door(
    said: &Statements<'_>,
    catalog: &Catalog,
    local: SocketAddr,
    (initiator, peer): (&str, IpAddr),
) -> Result<(Arc<Target>, usize), Fault> {
    let name = said.target_name.ok_or(Fault::Missing("TargetName"))?;
    // A name that cannot be one is not there either.
    let name = normalise(name).map_err(|_| Fault::NotFound)?;
    let absent = || if catalog.removed.contains(&name) { Fault::Removed } else { Fault::NotFound };
    let target = catalog.target(&name).ok_or_else(absent)?;
    let group = target.tpgs.iter().position(|g| g.listens_at(local));
    // What has left altogether has no groups here, and so nobody who would be let in.
    let left = || if target.tpgs.is_empty() { target.redirect.map(Fault::Moved) } else { None };
    let group = group.ok_or_else(|| left().unwrap_or(Fault::NotFound))?;
    let may_enter = target.tpgs[group].admits(initiator, peer);
    may_enter.then(|| (Arc::clone(target), group)).ok_or(Fault::NoAccess)
}

//! Lines that are taken together.
//!
//! A pipe brings thousands of lines, and the checker looks at a whole configuration. So what only adds something to it
//! is done in the document and in the objects at once, line after line, and the checker sees the outcome: when a line
//! needs to know what it says, or when there is no further line yet. A daemon gets it then, too, as one change.
//!
//! What that comes to is what it comes to line by line. Where the checker or the daemon refuses, warns, or has made
//! other objects of it than were thought, nothing of it has happened, and the same lines are taken in halves, until one
//! of them is taken alone. For each line that has to be, that is the binary logarithm of their number of times; and when
//! it becomes too much, all are taken alone.

use std::net::SocketAddr;

use super::node::Node;
use super::{Next, Shell};
use crate::admin::config::{Config, DEFAULT_PORT};
use crate::admin::edit::{Document, EditError};
use crate::ids::LuId;
use crate::scsi::DEFAULT_GROUP;
use crate::store::{StoreConfig, StoreKind};
use crate::target::{Acl, Lun, Target, Tpg};

/// What a line is answered that has to be taken alone; nobody sees it.
const ALONE: &str = "this line has to be taken alone";

/// How often lines that were taken together may have to be taken again: several times what one mistake needs in a
/// hundred thousand of them.
const MOST_VAIN: usize = 64;

/// Whether lines are taken together now.
#[derive(Debug, Default)]
pub(super) struct Together {
    is_on: bool,
    /// An edit was left half done.
    torn: bool,
    /// Edits that the checker has not seen.
    edits: usize,
    /// How often it was in vain.
    vain: usize,
}

/// What becomes of lines that are taken together.
enum Outcome {
    /// So many of them are done.
    Done(usize),
    /// Nothing has happened: among so many of them is one that has to be taken alone.
    Vain(usize),
}

/// What was there before.
struct Before {
    config: Config,
    here: Node,
    trail: Vec<String>,
    before: String,
    dirty: bool,
}

impl Shell {
    /// Takes lines, each of which may be none that can be read; `tell` gets what they print when they are done. The number
    /// of the first that is wrong, counted from 0, with what is wrong; what was done before it is done.
    pub(super) fn lines(
        &mut self,
        lines: &[Result<String, String>],
        mut tell: impl FnMut(&str),
    ) -> Result<Next, (usize, String)> {
        let (mut at, mut suspects) = (0, 0_usize);
        while at < lines.len() {
            let rest = &lines[at..];
            let most = if suspects > 0 { suspects / 2 } else { rest.len() };
            match self.together(&rest[..most]) {
                Outcome::Vain(among) => {
                    suspects = among;
                    continue;
                }
                Outcome::Done(taken) => {
                    (at, suspects) = (at + taken, suspects.saturating_sub(taken));
                    tell(&std::mem::take(&mut self.said));
                    if taken > 0 && taken == most {
                        continue;
                    }
                }
            }
            let next = lines[at].clone().and_then(|line| self.line(&line));
            tell(&std::mem::take(&mut self.said));
            if next.map_err(|error| (at, error))? == Next::Exit {
                return Ok(Next::Exit);
            }
            (at, suspects) = (at + 1, suspects.saturating_sub(1));
        }
        Ok(Next::Go)
    }

    /// Takes as many of these lines together as can be.
    fn together(&mut self, lines: &[Result<String, String>]) -> Outcome {
        if lines.len() < 2 || self.together.vain >= MOST_VAIN {
            return Outcome::Done(0);
        }
        let before = self.before();
        let taken = self.ahead(lines);
        let Together { torn, edits, .. } = self.together;
        if !torn && (edits == 0 || self.settled()) {
            return Outcome::Done(taken);
        }
        self.put_back(before);
        if torn {
            // What comes before the line that cannot be done is taken anew.
            return self.together(&lines[..taken]);
        }
        self.together.vain += 1;
        Outcome::Vain(taken)
    }

    /// Does what lines say, as far as it can be done without the checker; how many that are.
    fn ahead(&mut self, lines: &[Result<String, String>]) -> usize {
        self.together = Together { is_on: true, torn: false, edits: 0, ..self.together };
        let mut taken = 0;
        for line in lines.iter().map_while(|line| line.as_ref().ok()) {
            let said = self.said.len();
            if !matches!(self.line(line), Ok(Next::Go)) {
                self.said.truncate(said);
                break;
            }
            taken += 1;
        }
        self.together.is_on = false;
        taken
    }

    /// Has the checker and the daemon take what was done ahead, if it is what they would have made of it.
    fn settled(&mut self) -> bool {
        let text = self.doc.text();
        let Ok((config, warnings)) = self.check(&text) else { return false };
        if !is_same(&config, &self.config) {
            // What is wrong here would be so again.
            self.together.vain = MOST_VAIN;
            return false;
        }
        if !self.news(&warnings).is_empty() {
            return false;
        }
        let Ok(told) = self.backend.edited(&text) else { return false };
        told.iter().for_each(|told| self.say(told));
        (self.text, self.config, self.warnings) = (text, config, warnings);
        true
    }

    fn before(&self) -> Before {
        Before {
            config: self.config.clone(),
            here: self.here.clone(),
            trail: self.trail.clone(),
            before: self.before.clone(),
            dirty: self.dirty,
        }
    }

    fn put_back(&mut self, was: Before) {
        let Before { config, here, trail, before, dirty } = was;
        self.forget_edit();
        (self.config, self.dirty) = (config, dirty);
        (self.here, self.trail, self.before) = (here, trail, before);
        self.said.clear();
    }

    /// Whether a verb can be done now: not when it needs what the checker says.
    pub(super) fn allow(&self, verb: &str) -> Result<(), String> {
        let can = !self.together.is_on || ["create", "cd", "pwd"].contains(&verb);
        if can { Ok(()) } else { Err(ALONE.into()) }
    }

    /// Makes an edit that only adds something. `effect` is what the checker will make of it, if it takes it: the names of
    /// stores, and all of targets.
    pub(super) fn add(
        &mut self,
        change: impl FnOnce(&mut Document) -> Result<(), EditError>,
        effect: impl FnOnce(&mut Config),
    ) -> Result<(), String> {
        if !self.together.is_on {
            return self.edit(change);
        }
        change(&mut self.doc).map_err(|error| {
            self.together.torn = true;
            error.to_string()
        })?;
        effect(&mut self.config);
        (self.dirty, self.together.edits) = (true, self.together.edits + 1);
        Ok(())
    }
}

/// Whether the objects are the same, as far as a line that only adds something can tell.
fn is_same(one: &Config, other: &Config) -> bool {
    let stores = |config: &Config| config.stores.iter().map(|s| (s.kind, s.name.clone())).collect::<Vec<_>>();
    one.targets == other.targets && stores(one) == stores(other)
}

/// What edits that add something make of the objects. What is not there cannot be added to: the document has said so.
impl Config {
    pub(super) fn with_store(&mut self, kind: StoreKind, name: &str) {
        self.stores.push(StoreConfig::new(kind, name).into());
    }

    pub(super) fn with_target(&mut self, iqn: &str) {
        self.targets.push(Target { iqn: iqn.into(), alias: None, redirect: None, tpgs: Vec::new() });
    }

    pub(super) fn with_tpg(&mut self, iqn: &str, tag: u16, portal: bool) {
        let portals = portal.then(|| SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT))).into_iter().collect();
        if let Some(target) = self.target_mut(iqn) {
            target.tpgs.push(Tpg { tag, portals, ..Tpg::default() });
        }
    }

    pub(super) fn with_portal(&mut self, iqn: &str, tag: u16, portal: SocketAddr) {
        if let Some(tpg) = self.tpg_mut(iqn, tag) {
            tpg.portals.push(portal);
        }
    }

    /// `seen`: the initiators that see it, and by which number.
    pub(super) fn with_lun(&mut self, iqn: &str, tag: u16, lun: u16, store: &str, seen: &[(u16, String)]) {
        let Some(at) = self.stores.iter().rposition(|s| s.name == store) else { return };
        let group = self.stores[at].groups.iter().find(|g| g.name == DEFAULT_GROUP).map_or(0, |g| g.id);
        let lun = Lun { lun, lu: LuId(at as u32), read_only: false, group };
        let Some(tpg) = self.tpg_mut(iqn, tag) else { return };
        put(&mut tpg.luns, lun);
        // They are those of all ACLs, in their order, or none.
        for (acl, (number, _)) in tpg.acls.iter_mut().zip(seen) {
            put(&mut acl.luns, Lun { lun: *number, ..lun });
        }
    }

    pub(super) fn with_acl(&mut self, iqn: &str, tag: u16, initiator: &str, sees: bool) {
        let Some(tpg) = self.tpg_mut(iqn, tag) else { return };
        let luns = if sees { tpg.luns.clone() } else { Vec::new() };
        tpg.acls.push(Acl { initiator: initiator.into(), luns, ..Acl::default() });
    }

    /// LUN `lun` of the group, for this initiator.
    pub(super) fn with_mapped(
        &mut self,
        (iqn, tag, initiator): (&str, u16, &str),
        mapped: u16,
        lun: u16,
        read_only: bool,
    ) {
        let Some(tpg) = self.tpg_mut(iqn, tag) else { return };
        let Some(behind) = tpg.luns.iter().find(|l| l.lun == lun).copied() else { return };
        let read_only = read_only || behind.read_only;
        if let Some(acl) = tpg.acls.iter_mut().find(|a| a.initiator == initiator) {
            put(&mut acl.luns, Lun { lun: mapped, read_only, ..behind });
        }
    }

    fn target_mut(&mut self, iqn: &str) -> Option<&mut Target> {
        self.targets.iter_mut().rev().find(|t| t.iqn == iqn)
    }

    fn tpg_mut(&mut self, iqn: &str, tag: u16) -> Option<&mut Tpg> {
        self.target_mut(iqn)?.tpgs.iter_mut().find(|g| g.tag == tag)
    }
}

/// Maps are in the order of their numbers.
fn put(luns: &mut Vec<Lun>, lun: Lun) {
    if let Err(place) = luns.binary_search_by_key(&lun.lun, |l| l.lun) {
        luns.insert(place, lun);
    }
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;

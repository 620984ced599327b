//! What a session sees changes while it goes on: logical units come and go, and so do rights.
//!
//! A logical unit that is not to be seen any more takes the tasks with it that this session has there; each is
//! answered when the host says that nothing of it can reach the medium any more. One that may only be read any more takes
//! those along that write. All that stays goes on as if nothing had happened, but for the unit attention that tells of
//! other LUNs (SPC-5 section 6.33), and the asynchronous message that says so at once (RFC 7143 section 11.9): an
//! initiator that heeds it scans anew by itself.

use std::mem;
use std::sync::Arc;

use zerocopy::big_endian::U32;

use super::host::{After, Host, Manage};
use super::keys::TaskReporting;
use super::login::Established;
use super::task::Task;
use super::tmf::{Answer, Ending};
use super::{MappedLun, Session, ports_of, power_on};
use crate::ids::LuId;
use crate::scsi::{self, Asc, Attentions, Failure, MAX_SENSE, Sense};
use crate::target::{Auth, Catalog, Lun, Target, Tpg};
use crate::wire::bhs::AsyncMessage;
use crate::wire::codes::AsyncEvent;
use crate::wire::lun;

/// What a command is answered with whose logical unit is not to be seen any more.
const UNMAPPED: Failure = Failure::Check(Sense::illegal(Asc::LU_NOT_SUPPORTED));

/// The same where its LUN leads to another one now, which may be a stand-in for a device that has vanished: what a command
/// hears that finds it gone. Nobody is to repeat it there.
const REPLACED: Failure = Failure::Check(Sense::not_ready(Asc::NOT_READY));

/// What a command hears that was to write where its initiator may only read any more.
const WRITE_PROTECTED: Failure = Failure::Check(Sense::write_protected());

/// What an initiator acts upon of which it may be long in hearing: another size, other ways that lead to the unit, and
/// space that runs short.
const URGENT: [Asc; 3] = [Asc::CAPACITY_CHANGED, Asc::ACCESS_STATE_CHANGED, Asc::SOFT_THRESHOLD_REACHED];

/// What an initiator finds where it has logged in.
#[derive(Debug, Clone)]
pub struct View {
    /// The target.
    pub target: Arc<Target>,
    /// Index of the portal group in `target.tpgs`.
    pub tpg: usize,
    /// The LUNs.
    pub luns: Vec<Lun>,
}

/// What a revision has come to.
#[derive(Debug, Default)]
pub struct Revision {
    /// Tasks that have ended: to be answered by [`Session::tell_aborted`] when the fences stand.
    pub endings: Vec<Ending>,
    /// Logical units that the nexus has lost.
    pub lost: Vec<LuId>,
}

impl Established {
    /// What the same initiator finds in the same place, when its target is that now; nothing, when it may not be there any
    /// more. A group that is another port than before is another place.
    pub fn view(&self, target: &Arc<Target>) -> Option<View> {
        let group = self.target.as_ref()?.tpgs.get(self.tpg)?;
        let is_it = |g: &Tpg| (g.tag, g.relative_port) == (group.tag, group.relative_port);
        let tpg = target.tpgs.iter().position(is_it)?;
        let group = &target.tpgs[tpg];
        let access = group.access(&self.initiator).filter(|_| group.admits(&self.initiator, self.peer))?;
        Some(View { target: target.clone(), tpg, luns: access.luns.to_vec() })
    }

    /// Brings a login up to date that has begun under an older catalogue. Whether it may still come in.
    pub fn renew(&mut self, catalog: &Catalog) -> bool {
        let Some(was) = &self.target else { return self.may_discover(catalog) };
        let Some(now) = catalog.target(&was.iqn) else { return false };
        if Arc::ptr_eq(now, was) {
            return true;
        }
        let Some(View { target, tpg, luns }) = self.view(now) else { return false };
        let asked = |group| Tpg::access(group, &self.initiator).map(|access| access.auth);
        let (then, now) = (was.tpgs.get(self.tpg).and_then(asked), asked(&target.tpgs[tpg]));
        let proved = now.is_some_and(|now| self.has_proved(then, now));
        (self.target, self.tpg, self.luns) = (Some(target), tpg, luns);
        proved
    }

    /// Whether whoever has come for discovery may be told of targets by that catalogue.
    pub(super) fn may_discover(&self, catalog: &Catalog) -> bool {
        self.has_proved(Some(&self.discovery.auth), &catalog.discovery.auth)
    }

    /// Whether what is asked for now has been proved, which it only can if it was asked for then: a secret that was taken
    /// back, or asked for later, lets nobody in.
    fn has_proved(&self, then: Option<&Auth>, now: &Auth) -> bool {
        !now.required() || (self.chap.is_some() && then.is_some_and(|then| then.chap == now.chap))
    }
}

impl Session {
    /// What an initiator finds that may not be there any more: nothing.
    pub fn blank_view(&self) -> Option<View> {
        let Established { target, tpg, .. } = &*self.established;
        Some(View { target: target.clone()?, tpg: *tpg, luns: Vec::new() })
    }

    /// From now on the initiator sees that; `tell`: it is in full feature phase, and can be told.
    pub fn see<H: Host>(&mut self, h: &mut H, view: View, tell: bool) -> Revision {
        let View { target, tpg, luns } = view;
        self.ports = ports_of(&target);
        (self.established.target, self.established.tpg) = (Some(target), tpg);
        self.established.luns.clone_from(&luns);
        let map = mapping(&self.luns, &luns);
        let same_luns = map.iter().map(|l| l.key()).eq(self.luns.iter().map(|l| l.key()));
        // First of all: what begins when others end is judged by what holds now.
        let closed = self.protect(&map);
        let mut endings = self.end_unmapped(h, &map);
        endings.extend(self.end_writes(h, &closed, &map));
        if same_luns {
            return Revision { endings, ..Revision::default() };
        }
        // As it is now: what has ended may have given back what it was to be told.
        let lost = self.remap(mapping(&self.luns, &luns));
        self.copies.forget_units(&lost);
        if tell && self.closing.is_none() {
            // There are other LUNs than before, whichever of them the message names.
            let first = self.luns.first().map_or(0, |l| l.lun);
            self.tell_sense(h, first, &Sense::attention(Asc::REPORTED_LUNS_CHANGED));
        }
        Revision { endings, lost }
    }

    /// Some LUNs that stay may be for reading only now, or no longer. Says of each whether it may not be written any more.
    fn protect(&mut self, map: &[MappedLun]) -> Vec<bool> {
        let now: Vec<_> = side_by_side(&self.luns, map).map(|same| same.map(|l| l.read_only)).collect();
        let pairs = self.luns.iter_mut().zip(now);
        pairs.map(|(own, now)| now.is_some_and(|now| own.protect(now) && now)).collect()
    }

    /// Tasks end that write to LUNs which are `closed` to writes now, or copy to a logical unit which no LUN of that map
    /// lets them write any more.
    fn end_writes<H: Host>(&mut self, h: &mut H, closed: &[bool], map: &[MappedLun]) -> Vec<Ending> {
        let units = self.luns.iter().zip(closed).filter(|(_, closed)| **closed).map(|(l, _)| l.lu).collect();
        let mut endings = Vec::new();
        for (lu, unwritable) in with_unseen(units, map.iter().filter(|l| !l.read_only)) {
            let device = h.lu(lu).and_then(|lu| lu.facts.passed);
            let ends = |t: &Task| {
                let here = t.lu == lu && t.map.is_some_and(|m| closed.get(usize::from(m)) == Some(&true));
                (here && scsi::writes(&t.cdb, device)) || (unwritable && t.copies_to(lu))
            };
            endings.extend(self.end_with(h, lu, WRITE_PROTECTED, ends));
        }
        endings
    }

    /// Tasks end whose LUN is not in that map, or that copy to or from a logical unit that is not.
    fn end_unmapped<H: Host>(&mut self, h: &mut H, map: &[MappedLun]) -> Vec<Ending> {
        let lost: Vec<bool> = side_by_side(&self.luns, map).map(|same| same.is_none()).collect();
        let gone = self.luns.iter().zip(&lost).filter(|(_, lost)| **lost).map(|(l, _)| l.lu).collect();
        let replaced = self.replaced(&lost, map);
        let mut endings = Vec::new();
        for (lu, unseen) in with_unseen(gone, map) {
            let ends = |t: &Task| {
                let here =
                    t.lu == lu && t.map.is_some_and(|m| lost.get(usize::from(m)).copied().unwrap_or(true));
                here || (unseen && t.uses(lu))
            };
            let failure = if replaced.binary_search(&lu).is_ok() { REPLACED } else { UNMAPPED };
            endings.extend(self.end_tasks(h, lu, failure, ends));
            if unseen {
                self.answer_functions(h, lu);
            }
        }
        endings
    }

    /// Of the LUNs that are lost, those that lead to another logical unit now: where they have led, sorted.
    fn replaced(&self, lost: &[bool], map: &[MappedLun]) -> Vec<LuId> {
        let still = |l: &MappedLun| map.binary_search_by_key(&l.lun, |m| m.lun).is_ok();
        let all = self.luns.iter().zip(lost).filter(|(l, lost)| **lost && still(l));
        let mut units: Vec<LuId> = all.map(|(l, _)| l.lu).collect();
        units.sort_unstable();
        units
    }

    fn end_tasks<H: Host>(
        &mut self,
        h: &mut H,
        lu: LuId,
        failure: Failure,
        which: impl Fn(&Task) -> bool,
    ) -> Option<Ending> {
        let reports = self.negotiated.task_reporting == TaskReporting::FastAbort;
        if reports && !self.others_tasks(&which).is_empty() {
            self.tell_terminated(h, lu);
        }
        self.end_with(h, lu, failure, which)
    }

    /// Functions that wait to act on that logical unit have nothing left to act on.
    fn answer_functions<H: Host>(&mut self, h: &mut H, lu: LuId) {
        for itt in self.take_pending(lu) {
            self.manage_then(h, Manage::Fence, Answer::complete(itt));
        }
    }

    /// Takes over the map. Logical units that are in it no more.
    fn remap(&mut self, map: Vec<MappedLun>) -> Vec<LuId> {
        let before = mem::replace(&mut self.luns, map);
        self.lun_numbers = self.luns.iter().map(|l| l.lun).collect();
        let at = |lun: u16| self.luns.binary_search_by_key(&lun, |l| l.lun).ok().map(|at| at as u16);
        for task in self.tasks.iter_mut() {
            task.map = task.map.and_then(|m| before.get(usize::from(m))).and_then(|l| at(l.lun));
        }
        for place in self.tasks.iter().filter_map(|(_, task)| task.place()) {
            self.luns[place].open += 1;
        }
        lost(&before, &self.luns)
    }

    /// Establishes a unit attention condition for this nexus. One that should not wait for the next command is told at
    /// once besides, if that was not done already: an initiator that hears nothing answers to nothing.
    pub fn attention_at_once<H: Host>(&mut self, h: &mut H, lu: LuId, asc: Asc) {
        let urgent = URGENT.contains(&asc) && self.closing.is_none();
        let is_new = |l: &&MappedLun| l.lu == lu && !l.attentions.has(asc);
        let to_tell: Vec<u16> = self.luns.iter().filter(is_new).map(|l| l.lun).collect();
        self.attention(lu, asc);
        let Some(sense) = h.lu(lu).filter(|_| urgent).map(|lu| lu.attention_sense(asc)) else { return };
        to_tell.into_iter().for_each(|number| self.tell_sense(h, number, &sense));
    }

    /// A SCSI event of that LUN (section 11.9.1, event 0).
    fn tell_sense<H: Host>(&mut self, h: &mut H, number: u16, sense: &Sense) {
        let mut bytes = [0; MAX_SENSE];
        let len = sense.encode(false, &mut bytes);
        let mut data = (len as u16).to_be_bytes().to_vec();
        data.extend_from_slice(&bytes[..len]);
        let mut pdu = AsyncMessage { async_event: AsyncEvent::SCSI_EVENT.0, ..AsyncMessage::default() };
        pdu.lun = lun::to_wire(number);
        pdu.stat_sn = U32::new(self.next_stat_sn());
        self.put_window(h, &mut pdu.exp_cmd_sn, &mut pdu.max_cmd_sn, false);
        pdu.set_data_len(data.len());
        self.emit_small(h, pdu.as_bhs(), &data, After::Keep);
    }
}

impl MappedLun {
    pub(super) fn key(&self) -> (u16, LuId) {
        (self.lun, self.lu)
    }

    /// Whether it is for reading only; returns whether that is new.
    fn protect(&mut self, read_only: bool) -> bool {
        let is_new = mem::replace(&mut self.read_only, read_only) != read_only;
        if is_new {
            self.attentions.raise(Asc::MODE_PARAMETERS_CHANGED);
        }
        is_new
    }
}

/// For each entry of `one` the same in `other`, if it is there. Both are in the order of their numbers, and each is
/// looked at once: a map may have ten thousand of them.
fn side_by_side<'a>(
    one: &'a [MappedLun],
    other: &'a [MappedLun],
) -> impl Iterator<Item = Option<&'a MappedLun>> {
    let mut rest = other.iter().peekable();
    one.iter().map(move |l| {
        while rest.next_if(|o| o.lun < l.lun).is_some() {}
        rest.peek().copied().filter(|o| o.key() == l.key())
    })
}

/// Logical units, each once, and whether none of them is in the map.
fn with_unseen<'a>(
    mut units: Vec<LuId>,
    map: impl IntoIterator<Item = &'a MappedLun>,
) -> impl Iterator<Item = (LuId, bool)> {
    units.sort_unstable();
    units.dedup();
    let mut unseen = vec![true; units.len()];
    for at in map.into_iter().filter_map(|l| units.binary_search(&l.lu).ok()) {
        unseen[at] = false;
    }
    units.into_iter().zip(unseen)
}

/// Logical units that one map shows and the next does not.
pub(super) fn lost(before: &[MappedLun], now: &[MappedLun]) -> Vec<LuId> {
    let seen = before.iter().map(|l| l.lu).collect();
    with_unseen(seen, now).filter(|(_, unseen)| *unseen).map(|(lu, _)| lu).collect()
}

/// The new map. What was there before keeps what its nexus has yet to be told, and hears that there are others.
fn mapping(before: &[MappedLun], luns: &[Lun]) -> Vec<MappedLun> {
    let new = |l: &Lun| MappedLun {
        lun: l.lun,
        lu: l.lu,
        read_only: l.read_only,
        attentions: power_on(),
        open: 0,
        deepest: 0,
    };
    let mut map: Vec<MappedLun> = luns.iter().map(new).collect();
    map.sort_by_key(|l| l.lun);
    let what = |was: &MappedLun| (was.read_only, was.attentions.clone(), was.deepest);
    let known: Vec<_> = side_by_side(&map, before).map(|was| was.map(what)).collect();
    for (l, (read_only, attentions, deepest)) in
        map.iter_mut().zip(known).filter_map(|(l, was)| Some((l, was?)))
    {
        (l.attentions, l.deepest) = (attentions, deepest);
        l.attentions.raise(Asc::REPORTED_LUNS_CHANGED);
        if read_only != l.read_only {
            l.attentions.raise(Asc::MODE_PARAMETERS_CHANGED);
        }
    }
    map
}

/// The map of a session that goes on with another connection is what it is now. Its nexus has yet to be told what it
/// was to be told by the last connection, what has happened meanwhile, and, if there are other LUNs than there were, that.
pub(super) fn merge(own: &mut [MappedLun], legacy: &[MappedLun]) {
    let others = !own.iter().map(MappedLun::key).eq(legacy.iter().map(MappedLun::key));
    let known: Vec<_> = side_by_side(own, legacy).map(|was| was.map(|was| was.attentions.clone())).collect();
    for (l, was) in own.iter_mut().zip(known) {
        let Some(was) = was else {
            l.attentions.raise(Asc::POWER_ON_OR_RESET);
            continue;
        };
        let meanwhile: Attentions = mem::replace(&mut l.attentions, was);
        l.attentions.raise_all(&meanwhile);
        if others {
            l.attentions.raise(Asc::REPORTED_LUNS_CHANGED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Negotiated;
    use super::*;
    use crate::target::{Acl, ChapAlgorithm, Credential, Discovery};

    const INITIATOR: &str = "iqn.i";

    fn catalog(secret: Option<&str>, alias: &str) -> Catalog {
        let credential = |secret: &str| Credential { user: "u".into(), secret: secret.into() };
        let auth = Auth { chap: secret.map(credential).into_iter().collect(), mutual: None };
        let discovery = Discovery { auth: auth.clone(), ..Discovery::default() }.into();
        let acls = vec![Acl { initiator: INITIATOR.into(), auth, ..Acl::default() }];
        let tpgs = vec![Tpg { tag: 1, relative_port: 1, acls, ..Tpg::default() }];
        let target = Target { iqn: "iqn.t".into(), alias: Some(alias.into()), redirect: None, tpgs };
        Catalog { targets: vec![Arc::new(target)], discovery, ..Catalog::default() }
    }

    /// A login under that catalogue that has proved what that asks for.
    fn login(catalog: &Catalog, proof: bool) -> Established {
        Established {
            negotiated: Negotiated::default(),
            isid: [0; 6],
            cid: 0,
            joins: None,
            target: catalog.target("iqn.t").cloned(),
            discovery: catalog.discovery.clone(),
            tpg: 0,
            luns: Vec::new(),
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            stat_sn: 0,
            initiator: INITIATOR.into(),
            chap: proof.then_some(ChapAlgorithm::Sha256),
            local: ([127, 0, 0, 1], 3260).into(),
            peer: [127, 0, 0, 1].into(),
            itt: 0,
        }
    }

    #[test]
    fn a_login_that_began_before_has_proved_what_was_asked_for_then() {
        let comes_in = |then: Option<&str>, now: Option<&str>| {
            let mut established = login(&catalog(then, "then"), then.is_some());
            let comes_in = established.renew(&catalog(now, "now"));
            established.target = None;
            assert_eq!(established.renew(&catalog(now, "now")), comes_in, "for discovery");
            comes_in
        };
        assert!(comes_in(Some("twelve letters"), Some("twelve letters")), "the same secret");
        assert!(!comes_in(Some("twelve letters"), Some("other letters")), "one that was taken back");
        assert!(!comes_in(None, Some("twelve letters")), "one that came later");
        assert!(comes_in(Some("twelve letters"), None), "nothing is asked for any more");
        assert!(comes_in(None, None));
    }
}

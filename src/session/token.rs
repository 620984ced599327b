//! ROD tokens: making one, copying what one stands for, telling which there are.
//!
//! A token can be passed on, so it gives no right by itself. The source must be a logical unit of this very session; or
//! the initiator must be the one that asked for the token, its nexus of then must still be logged in and see the
//! source, and what is read is read by the rights of that nexus. That is asked again for every request of the copy.

use super::Session;
use super::host::Host;
use crate::ids::{LuId, TaskId};
use crate::scsi::{
    Asc, CopyOrder, CopyRecord, Failure, ItNexus, Peer, PopulateOrder, Rod, Sense, TOKEN_SECRET, TokenOrder,
};

impl Session {
    /// POPULATE TOKEN.
    pub(super) fn populate<H: Host>(&mut self, h: &mut H, id: TaskId, order: PopulateOrder) {
        let PopulateOrder { list, ranges, timeout } = order;
        let Some(lu) = self.tasks.get(id).map(|t| t.lu) else { return };
        let Some(facts) = h.lu(lu).map(|lu| lu.facts.clone()) else { return };
        if let Err(sense) = self.list_is_free(lu, list) {
            return self.answer_failure(h, id, &Failure::Check(sense));
        }
        let mut secret = [0; TOKEN_SECRET];
        h.random(&mut secret);
        let (rod, now) = (Rod { source: lu, creator: self.nexus.clone(), ranges }, h.now());
        let record = CopyRecord::populated(rod.bytes(), facts.block_size);
        match h.tokens(|tokens| tokens.create(rod, &facts, timeout, &secret, now)) {
            Ok(token) => {
                self.copies.keep(lu, list, record, Some(token));
                self.answer_good(h, id);
            }
            Err(sense) => self.answer_failure(h, id, &Failure::Check(sense)),
        }
    }

    /// WRITE USING TOKEN.
    pub(super) fn write_by_token<H: Host>(&mut self, h: &mut H, id: TaskId, order: &TokenOrder) {
        let Some(lu) = self.tasks.get(id).map(|t| t.lu) else { return };
        let copy = self.resolve_token(h, lu, order);
        let admitted = copy.and_then(|copy| self.admit_copy(lu, Some(order.list)).map(|()| copy));
        match admitted {
            Ok(copy) => {
                if order.delete {
                    h.tokens(|tokens| tokens.delete(&order.token));
                }
                self.start_copy(h, id, Box::new(copy));
            }
            Err(sense) => self.answer_failure(h, id, &Failure::Check(sense)),
        }
    }

    /// The copy that a write by token comes to, if this session may read what the token stands for.
    fn resolve_token<H: Host>(&self, h: &mut H, to: LuId, order: &TokenOrder) -> Result<CopyOrder, Sense> {
        let now = h.now();
        let rod = h.tokens(|tokens| tokens.find(&order.token, now))?;
        // Whoever may not know of the source is told what it would be told of a token that never was.
        if rod
            .as_ref()
            .is_some_and(|rod| !self.sees(rod.source) && !self.acts_for(h, rod.source, &rod.creator))
        {
            return Err(Sense::illegal(Asc::TOKEN_UNKNOWN));
        }
        let gone = Sense::illegal(Asc::TOKEN_REVOKED);
        let to = h.lu(to).map(|lu| lu.facts.clone()).ok_or(Sense::target_failure())?;
        let Some(rod) = rod else { return CopyOrder::by_token(order, None, &to) };
        let Some(from) = h.lu(rod.source).map(|lu| lu.facts.clone()).filter(|facts| rod.fits(facts)) else {
            h.tokens(|tokens| tokens.revoke(&order.token));
            return Err(gone);
        };
        CopyOrder::by_token(order, Some((rod, &from)), &to)
    }

    fn sees(&self, lu: LuId) -> bool {
        self.luns.iter().any(|l| l.lu == lu)
    }

    /// Whether this session may read `source` as `creator`, which made the token, may: another nexus of its initiator.
    fn acts_for<H: Host>(&self, h: &H, source: LuId, creator: &ItNexus) -> bool {
        let shows = || {
            let group =
                h.catalog().target(&creator.target)?.tpgs.iter().find(|g| g.tag == creator.tpg_tag)?;
            group.access(&creator.initiator).map(|access| access.luns.iter().any(|l| l.lu == source))
        };
        creator.initiator == self.nexus.initiator && h.is_logged_in(creator) && shows() == Some(true)
    }

    /// The source of a write by token, as the nexus that made the token may read it, if this session may use that.
    pub(super) fn creators_peer<'a, H: Host>(&self, h: &'a H, order: &'a CopyOrder) -> Option<Peer<'a>> {
        let (id, creator) = order.creator().filter(|(id, _)| !self.sees(*id))?;
        let lu = h.lu(id).filter(|_| self.acts_for(h, id, creator))?;
        Some(Peer { id, lu, read_only_map: true, via: Some(creator) })
    }

    /// REPORT ALL ROD TOKENS.
    pub(super) fn tell_of_tokens<H: Host>(&mut self, h: &mut H, id: TaskId, allocation: u32) {
        let Some(lu) = self.tasks.get(id).map(|t| t.lu) else { return };
        let (mut scratch, now) = (h.take_scratch(), h.now());
        let outcome = h.tokens(|tokens| tokens.report(lu, allocation, now, &mut scratch));
        let planned = Self::keep_outcome(h, outcome, &scratch);
        h.give_scratch(scratch);
        self.follow(h, id, planned);
    }
}

//! Random conversations of three nexuses, against a model that knows SPC-5 section 5.14 as sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::testing::nexus;
use super::super::{Asc, Effects, Failure, ItNexus, Sense, status};
use super::Needs::{Reading, Writing};
use super::{PrAction, PrOut, PrType, Reservations, TransportId};

/// A nexus, by its number.
type Who = u16;

/// The nexuses that send commands; one more is only named in them.
const SENDERS: [Who; 3] = [1, 2, 3];
const NAMED: Who = 4;

/// A command.
#[derive(Clone, Debug)]
struct Op {
    action: PrAction,
    from: Who,
    key: u64,
    action_key: u64,
    kind: PrType,
    aptpl: bool,
    /// With SPEC_I_PT, whom else; with REGISTER AND MOVE, the first is the destination.
    named: Option<Vec<Who>>,
    unregister: bool,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Good { told: BTreeSet<(Who, Code)>, aborted: BTreeSet<Who> },
    Conflict,
    Check(Asc),
}

/// Additional sense code and qualifier of a unit attention.
type Code = (u8, u8);

const RESERVATIONS_PREEMPTED: Code = (0x2a, 0x03);
const RESERVATIONS_RELEASED: Code = (0x2a, 0x04);
const REGISTRATIONS_PREEMPTED: Code = (0x2a, 0x05);

const NOTHING: Said = Said::Good { told: BTreeSet::new(), aborted: BTreeSet::new() };

/// Who is registered with which key, and what is held by whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model {
    keys: BTreeMap<Who, u64>,
    held: Option<(PrType, Who)>,
    generation: u32,
    aptpl: bool,
}

fn all_registrants(kind: PrType) -> bool {
    [PrType::WriteExclusiveAll, PrType::ExclusiveAccessAll].contains(&kind)
}

fn registrants_only(kind: PrType) -> bool {
    [PrType::WriteExclusiveRegistrants, PrType::ExclusiveAccessRegistrants].contains(&kind)
}

impl Model {
    /// Section 5.14.10.
    fn holders(&self) -> BTreeSet<Who> {
        match self.held {
            None => BTreeSet::new(),
            Some((kind, _)) if all_registrants(kind) => self.keys.keys().copied().collect(),
            Some((_, who)) => BTreeSet::from([who]),
        }
    }

    fn registered_but(&self, who: Who) -> impl Iterator<Item = Who> + '_ {
        self.keys.keys().copied().filter(move |n| *n != who)
    }

    fn tell(&self, but: Who, code: Code) -> Said {
        let told = self.registered_but(but).map(|n| (n, code)).collect();
        Said::Good { told, aborted: BTreeSet::new() }
    }

    fn run(&mut self, op: &Op) -> Said {
        match op.action {
            PrAction::Register => self.register(op),
            PrAction::RegisterIgnore => self.register_ignore(op),
            PrAction::ReplaceLost => Said::Check(Asc::INVALID_RELEASE),
            // Section 5.14.7, last rule but three: whoever is not registered, or errs in its key.
            _ if self.keys.get(&op.from) != Some(&op.key) => Said::Conflict,
            PrAction::Reserve => self.reserve(op),
            PrAction::Release => self.release(op),
            PrAction::Clear => self.clear(op),
            PrAction::Preempt | PrAction::PreemptAndAbort => self.preempt(op),
            PrAction::RegisterAndMove => self.move_to(op),
        }
    }

    /// Section 5.14.7, the table of REGISTER.
    fn register(&mut self, op: &Op) -> Said {
        let named = op.named.as_deref();
        match (self.keys.get(&op.from), op.key, op.action_key) {
            (None, 0, 0) => NOTHING,
            (None, 0, _) if named.unwrap_or_default().iter().any(|n| self.keys.contains_key(n)) => {
                Said::Check(Asc::INVALID_FIELD_IN_PARAMETERS)
            }
            (None, 0, new) => {
                self.keys.extend(named.unwrap_or_default().iter().map(|n| (*n, new)));
                self.set(op, new)
            }
            (None, ..) => Said::Conflict,
            (Some(own), key, _) if *own != key => Said::Conflict,
            (Some(_), ..) if named.is_some() => Said::Check(Asc::INVALID_FIELD_IN_PARAMETERS),
            (Some(_), _, 0) => self.leave(op),
            (Some(_), _, new) => self.set(op, new),
        }
    }

    /// The table of REGISTER AND IGNORE EXISTING KEY.
    fn register_ignore(&mut self, op: &Op) -> Said {
        match (self.keys.contains_key(&op.from), op.action_key) {
            (false, 0) => NOTHING,
            (true, 0) => self.leave(op),
            (_, new) => self.set(op, new),
        }
    }

    fn set(&mut self, op: &Op, key: u64) -> Said {
        self.keys.insert(op.from, key);
        self.processed(op);
        NOTHING
    }

    fn processed(&mut self, op: &Op) {
        self.generation += 1;
        self.aptpl = op.aptpl;
    }

    /// Section 5.14.11.2.3.
    fn leave(&mut self, op: &Op) -> Said {
        let was_holder = self.holders().contains(&op.from);
        self.keys.remove(&op.from);
        self.processed(op);
        let Some((kind, _)) = self.held.filter(|_| was_holder) else { return NOTHING };
        if all_registrants(kind) && !self.keys.is_empty() {
            return NOTHING;
        }
        self.held = None;
        if registrants_only(kind) { self.tell(op.from, RESERVATIONS_RELEASED) } else { NOTHING }
    }

    /// Section 5.14.9.
    fn reserve(&mut self, op: &Op) -> Said {
        match self.held {
            None => self.held = Some((op.kind, op.from)),
            Some((kind, _)) if kind == op.kind && self.holders().contains(&op.from) => {}
            Some(_) => return Said::Conflict,
        }
        NOTHING
    }

    /// Section 5.14.11.2.2.
    fn release(&mut self, op: &Op) -> Said {
        let Some((kind, _)) = self.held.filter(|_| self.holders().contains(&op.from)) else { return NOTHING };
        if kind != op.kind {
            return Said::Check(Asc::INVALID_RELEASE);
        }
        self.held = None;
        let shared = registrants_only(kind) || all_registrants(kind);
        if shared { self.tell(op.from, RESERVATIONS_RELEASED) } else { NOTHING }
    }

    /// Section 5.14.11.2.7.
    fn clear(&mut self, op: &Op) -> Said {
        let said = self.tell(op.from, RESERVATIONS_PREEMPTED);
        *self = Self { generation: self.generation + 1, aptpl: self.aptpl, ..Self::default() };
        said
    }

    /// Section 5.14.11.2.4, its first table.
    fn preempt(&mut self, op: &Op) -> Said {
        let all = self.held.is_some_and(|(kind, _)| all_registrants(kind));
        let holders_key = match self.held {
            Some((_, who)) if !all => self.keys.get(&who).copied(),
            _ => None,
        };
        let named: BTreeSet<Who> = match op.action_key {
            0 if all => self.keys.keys().copied().collect(),
            0 => return Said::Check(Asc::INVALID_FIELD_IN_PARAMETERS),
            key => self.keys.iter().filter(|(_, k)| **k == key).map(|(n, _)| *n).collect(),
        };
        if named.is_empty() {
            return Said::Conflict;
        }
        let takes_over = op.action_key == 0 || holders_key == Some(op.action_key);
        let others: BTreeSet<Who> = named.iter().copied().filter(|n| *n != op.from).collect();
        let mut told: BTreeSet<_> = others.iter().map(|n| (*n, REGISTRATIONS_PREEMPTED)).collect();
        let lost = if takes_over { &others } else { &named };
        self.keys.retain(|n, _| !lost.contains(n));
        self.generation += 1;
        if takes_over {
            if self.held.is_some_and(|(kind, _)| kind != op.kind) {
                told.extend(self.registered_but(op.from).map(|n| (n, RESERVATIONS_RELEASED)));
            }
            self.held = Some((op.kind, op.from));
        } else if all && self.keys.is_empty() {
            self.held = None;
        }
        let aborted = if op.action == PrAction::PreemptAndAbort { others } else { BTreeSet::new() };
        Said::Good { told, aborted }
    }

    /// Section 5.14.8.
    fn move_to(&mut self, op: &Op) -> Said {
        let Some((kind, who)) = self.held else { return Said::Check(Asc::INVALID_FIELD_IN_CDB) };
        if all_registrants(kind) || who != op.from {
            return Said::Conflict;
        }
        let to = op.named.as_ref().and_then(|n| n.first().copied()).filter(|n| *n != op.from);
        let Some(to) = to.filter(|_| op.action_key != 0) else {
            return Said::Check(Asc::INVALID_FIELD_IN_PARAMETERS);
        };
        self.keys.insert(to, op.action_key);
        self.held = Some((kind, to));
        if op.unregister {
            self.keys.remove(&op.from);
        }
        self.processed(op);
        NOTHING
    }

    /// Section 5.14.1: whether a nexus may read and write.
    fn access(&self, who: Who) -> (bool, bool) {
        let Some((kind, holder)) = self.held else { return (true, true) };
        let alone = [PrType::WriteExclusive, PrType::ExclusiveAccess].contains(&kind);
        let inside = if alone { who == holder } else { self.keys.contains_key(&who) };
        let write_exclusive =
            [PrType::WriteExclusive, PrType::WriteExclusiveRegistrants, PrType::WriteExclusiveAll];
        (inside || write_exclusive.contains(&kind), inside)
    }
}

fn number(nexus_of: &ItNexus) -> Who {
    (1..=NAMED).find(|n| nexus(*n) == *nexus_of).expect("one of ours")
}

impl Op {
    fn command(&self) -> PrOut {
        let ids = |named: &Vec<Who>| {
            let ids = named.iter().map(|n| nexus(*n));
            ids.map(|n| TransportId { name: n.initiator, isid: Some(n.isid), at: 28 }).collect()
        };
        let moves = self.action == PrAction::RegisterAndMove;
        let mut initiators: Option<Vec<_>> = self.named.as_ref().map(ids);
        if moves {
            initiators = Some(initiators.unwrap_or_default().into_iter().take(1).collect());
        }
        PrOut {
            scope_type: self.kind as u8,
            key: self.key,
            action_key: self.action_key,
            through_power_loss: self.aptpl,
            initiators: initiators.filter(|_| moves || self.action == PrAction::Register),
            relative_port: 1,
            unregister: self.unregister,
            ports: vec![nexus(1).target_port()],
            ..PrOut::new(self.action)
        }
    }
}

/// What the implementation did, in the model's words.
fn said(result: Result<Effects, Failure>) -> Said {
    match result {
        Ok(effects) => {
            let told: Vec<_> =
                effects.attentions.iter().map(|(n, asc)| (number(n), (asc.0, asc.1))).collect();
            let set: BTreeSet<_> = told.iter().copied().collect();
            assert_eq!(set.len(), told.len(), "nobody is told twice");
            Said::Good { told: set, aborted: effects.abort.iter().map(number).collect() }
        }
        Err(Failure::Check(Sense { asc, .. })) => Said::Check(asc),
        Err(Failure::Status(status)) => {
            assert_eq!(status, status::RESERVATION_CONFLICT);
            Said::Conflict
        }
    }
}

fn state(of: &Reservations) -> Model {
    Model {
        keys: of.registrants.iter().map(|r| (number(&r.nexus), r.key)).collect(),
        held: of.reservation.as_ref().map(|r| (r.kind, number(&r.holder))),
        generation: of.generation,
        aptpl: of.through_power_loss,
    }
}

fn ops() -> impl Strategy<Value = Op> {
    let action = (0..9u8).prop_map(|code| PrAction::from_code(code).expect("a code"));
    let kind =
        prop::sample::select(vec![1u8, 3, 5, 6, 7, 8]).prop_map(|c| PrType::from_code(c).expect("one"));
    let named = prop::option::weighted(0.3, prop::collection::vec(1..=NAMED, 0..3));
    // Few keys, so that several nexuses share one and a sender often gives its own.
    let plain = (action, prop::sample::select(SENDERS.to_vec()), 0..3u64, 0..3u64, kind, any::<[bool; 2]>());
    (plain, named).prop_map(|((action, from, key, action_key, kind, [aptpl, unregister]), named)| Op {
        action,
        from,
        key,
        action_key,
        kind,
        aptpl,
        named,
        unregister,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn reservations_do_what_the_standard_says(ops in prop::collection::vec(ops(), 1..60)) {
        let (mut real, mut model) = (Reservations::default(), Model::default());
        for op in ops {
            let before = real.clone();
            let got = said(real.persistent_out(&op.command(), &nexus(op.from)));
            prop_assert_eq!(&got, &model.run(&op), "{:?}", op);
            prop_assert_eq!(state(&real), model.clone(), "{:?}", op);
            prop_assert!(matches!(got, Said::Good { .. }) || real == before, "{:?} was refused", op);
            for who in SENDERS {
                let may = |needs| real.check(&nexus(who), needs).is_ok();
                prop_assert_eq!((may(Reading), may(Writing)), model.access(who), "{} after {:?}", who, op);
            }
        }
    }
}

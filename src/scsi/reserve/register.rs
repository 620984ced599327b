//! What PERSISTENT RESERVE OUT does to registrations (SPC-5 sections 5.14.7, 5.14.8 and 5.14.11.3).

use std::collections::HashSet;

use super::super::check::bad_field;
use super::super::{Asc, Effects, Failure, ItNexus, Sense, TargetPort};
use super::{MAX_REGISTRANTS, PrOut, Registrant, Reservation, Reservations, TransportId, conflict};

impl Reservations {
    /// PRGENERATION counts what may have changed registrations.
    pub(super) fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// REGISTER, and with `ignore` REGISTER AND IGNORE EXISTING KEY.
    pub(super) fn register(
        &mut self,
        out: &PrOut,
        nexus: &ItNexus,
        ignore: bool,
    ) -> Result<Effects, Failure> {
        let present = self.key_of(nexus);
        // A nexus that is not registered has the key 0, so to say.
        if !ignore && present.unwrap_or(0) != out.key {
            return Err(conflict());
        }
        if present.is_some() && out.initiators.is_some() {
            return Err(Sense::parameter_field(20, 3).into());
        }
        let effects = match out.action_key {
            // There is nothing to do, so APTPL and PRGENERATION stay as well (section 5.14.7).
            0 if present.is_none() => return Ok(Effects::default()),
            0 => self.unregister(out, nexus),
            key => self.set_keys(out, nexus, key).map(|()| Effects::default())?,
        };
        self.through_power_loss = out.through_power_loss;
        self.count();
        Ok(effects)
    }

    /// Registers the sender and those it names with that key. Only the sender may be registered yet.
    fn set_keys(&mut self, out: &PrOut, nexus: &ItNexus, key: u64) -> Result<(), Failure> {
        let fresh = self.fresh(out, nexus)?;
        if self.registrants.len() + fresh.len() > MAX_REGISTRANTS {
            return Err(full());
        }
        self.registrants.iter_mut().filter(|r| sends_for(out, nexus, &r.nexus)).for_each(|r| r.key = key);
        self.registrants.extend(fresh.into_iter().map(|nexus| Registrant { nexus, key }));
        Ok(())
    }

    /// The nexuses, each once, that the command registers and that are not registered yet.
    fn fresh(&self, out: &PrOut, nexus: &ItNexus) -> Result<Vec<ItNexus>, Failure> {
        let here = [nexus.target_port()];
        let ports: &[TargetPort] = if out.all_ports { &out.ports } else { &here };
        let named = out.initiators.as_deref().unwrap_or_default();
        if named.len().saturating_mul(ports.len()) > MAX_REGISTRANTS {
            return Err(full());
        }
        let known: HashSet<&ItNexus> = self.registrants.iter().map(|r| &r.nexus).collect();
        let own = ports.iter().map(|port| ItNexus::between(&nexus.initiator, nexus.isid, port));
        let own = std::iter::once(nexus.clone()).chain(own);
        let mut fresh: Vec<ItNexus> = own.filter(|n| !known.contains(n)).collect();
        for id in named {
            let isid = id.isid.ok_or_else(|| id.refused())?;
            for port in ports {
                let other = ItNexus::between(&id.name, isid, port);
                if known.contains(&other) {
                    return Err(id.refused());
                }
                fresh.push(other);
            }
        }
        let mut seen = HashSet::new();
        fresh.retain(|n| seen.insert(n.clone()));
        Ok(fresh)
    }

    fn unregister(&mut self, out: &PrOut, nexus: &ItNexus) -> Effects {
        self.registrants.retain(|r| !sends_for(out, nexus, &r.nexus));
        self.end_if_orphaned(nexus)
    }

    /// REGISTER AND MOVE, by a nexus that has given its key.
    pub(super) fn register_and_move(&mut self, out: &PrOut, nexus: &ItNexus) -> Result<Effects, Failure> {
        // INVALID FIELD IN CDB: it is the service action that there is no use for.
        let Some(held) = &self.reservation else { return Err(bad_field(1, 4)) };
        if held.kind.all_registrants() || held.holder != *nexus {
            return Err(conflict());
        }
        if out.action_key == 0 {
            return Err(Sense::parameter_field(8, 7).into());
        }
        let (kind, holder) = (held.kind, destination(out, nexus)?);
        let has_room = self.registrants.len() < MAX_REGISTRANTS;
        match self.registrants.iter_mut().find(|r| r.nexus == holder) {
            Some(known) => known.key = out.action_key,
            None if !has_room => return Err(full()),
            None => self.registrants.push(Registrant { nexus: holder.clone(), key: out.action_key }),
        }
        self.reservation = Some(Reservation { kind, holder });
        if out.unregister {
            self.registrants.retain(|r| r.nexus != *nexus);
        }
        self.through_power_loss = out.through_power_loss;
        self.count();
        Ok(Effects::default())
    }

    /// REPLACE LOST RESERVATION: whoever comes first begins anew. No key is asked for, as all are lost.
    pub(super) fn replace_lost(&mut self, out: &PrOut, nexus: &ItNexus) -> Result<Effects, Failure> {
        if !self.lost {
            return Err(Sense::illegal(Asc::INVALID_RELEASE).into());
        }
        for (key, at, wanted) in [(out.key, 0, false), (out.action_key, 8, true)] {
            if (key != 0) != wanted {
                return Err(Sense::parameter_field(at, 7).into());
            }
        }
        let reservation = Some(Reservation { kind: out.kind()?, holder: nexus.clone() });
        let registrants = vec![Registrant { nexus: nexus.clone(), key: out.action_key }];
        let through_power_loss = out.through_power_loss;
        *self = Self { registrants, reservation, through_power_loss, ..Self::default() };
        Ok(Effects::default())
    }
}

/// Whether what the sender says of its registration is meant for that one: its own, and with
/// ALL_TG_PT those of its initiator port at other target ports. (It has given its key at one.)
fn sends_for(out: &PrOut, sender: &ItNexus, nexus: &ItNexus) -> bool {
    sender == nexus || (out.all_ports && sender.shares_initiator_port(nexus))
}

/// The nexus that REGISTER AND MOVE names: one port of another initiator port, at a port of ours.
fn destination(out: &PrOut, nexus: &ItNexus) -> Result<ItNexus, Failure> {
    let wrong = Failure::from(Sense::parameter_field(24, 7));
    let Some([TransportId { name, isid: Some(isid), .. }]) = out.initiators.as_deref() else {
        return Err(wrong);
    };
    let port = out.ports.iter().find(|port| port.relative_port == out.relative_port);
    let port = port.ok_or_else(|| Failure::from(Sense::parameter_field(18, 7)))?;
    let to = ItNexus::between(name, *isid, port);
    if to.shares_initiator_port(nexus) { Err(wrong) } else { Ok(to) }
}

fn full() -> Failure {
    Sense::illegal(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::nexus;
    use super::super::{PrAction, PrType};
    use super::*;

    const A: u64 = 0xa;
    const B: u64 = 0xb;

    fn out(action: PrAction, key: u64, action_key: u64) -> PrOut {
        PrOut { key, action_key, ports: vec![port(1), port(2)], ..PrOut::new(action) }
    }

    /// Port 1 is the one of all nexuses; port 2 is another group of the same target.
    fn port(number: u16) -> TargetPort {
        TargetPort { tpg_tag: number, relative_port: number, ..nexus(1).target_port() }
    }

    fn at(number: u16, port_number: u16) -> ItNexus {
        let nexus = nexus(number);
        ItNexus::between(&nexus.initiator, nexus.isid, &port(port_number))
    }

    fn id(number: u16) -> TransportId {
        let nexus = nexus(number);
        TransportId { name: nexus.initiator, isid: Some(nexus.isid), at: 28 }
    }

    fn registered(numbers: &[(u16, u64)]) -> Reservations {
        let mut state = Reservations::default();
        for (n, key) in numbers {
            state.persistent_out(&out(PrAction::Register, 0, *key), &nexus(*n)).unwrap();
        }
        state
    }

    fn reserved(kind: PrType) -> Reservations {
        let mut state = registered(&[(1, A), (2, B)]);
        let reserve = PrOut { scope_type: kind as u8, ..out(PrAction::Reserve, A, 0) };
        state.persistent_out(&reserve, &nexus(1)).unwrap();
        state
    }

    fn parameter(byte: u16, bit: u8) -> Result<Effects, Failure> {
        Err(Sense::parameter_field(byte, bit).into())
    }

    #[test]
    fn registering_needs_the_present_key() {
        let mut state = registered(&[(1, A), (2, B), (3, B)]);
        let wrong = out(PrAction::Register, B, 7);
        assert_eq!(state.persistent_out(&wrong, &nexus(1)), Err(conflict()));
        assert_eq!(state.persistent_out(&wrong, &nexus(4)), Err(conflict()));
        let ignore = PrOut { action: PrAction::RegisterIgnore, ..wrong };
        state.persistent_out(&ignore, &nexus(1)).unwrap();
        assert_eq!(state.key_of(&nexus(1)), Some(7));
        assert_eq!(state.generation, 4);
    }

    #[test]
    fn a_stranger_that_leaves_changes_nothing() {
        let mut state = Reservations { through_power_loss: true, ..registered(&[(1, A)]) };
        let before = state.clone();
        for action in [PrAction::Register, PrAction::RegisterIgnore] {
            assert_eq!(state.persistent_out(&out(action, 0, 0), &nexus(4)), Ok(Effects::default()));
            assert_eq!(state, before);
        }
    }

    #[test]
    fn registrations_are_limited() {
        let mut state = Reservations::default();
        let register = out(PrAction::Register, 0, 1);
        (0..MAX_REGISTRANTS).for_each(|n| {
            state.persistent_out(&register, &nexus(n as u16)).unwrap();
        });
        let next = nexus(MAX_REGISTRANTS as u16);
        assert_eq!(state.persistent_out(&register, &next), Err(full()));
        state.persistent_out(&out(PrAction::Register, 1, 2), &nexus(0)).unwrap();
        let reserve = PrOut { scope_type: 1, ..out(PrAction::Reserve, 2, 0) };
        state.persistent_out(&reserve, &nexus(0)).unwrap();
        let hand_over = PrOut {
            initiators: Some(vec![id(MAX_REGISTRANTS as u16)]),
            relative_port: 1,
            ..out(PrAction::RegisterAndMove, 2, 3)
        };
        assert_eq!(state.persistent_out(&hand_over, &nexus(0)), Err(full()));
    }

    #[test]
    fn others_are_registered_all_or_none() {
        let mut state = registered(&[(3, B)]);
        let named = |ids: &[u16]| {
            let ids = ids.iter().map(|n| TransportId { at: 28 + 40 * *n, ..id(*n) }).collect();
            PrOut { initiators: Some(ids), ..out(PrAction::Register, 0, A) }
        };
        let before = state.clone();
        assert_eq!(state.persistent_out(&named(&[2, 3]), &nexus(1)), parameter(28 + 40 * 3, 7), "3 is in");
        let everybody: Vec<u16> = (10..10 + MAX_REGISTRANTS as u16).collect();
        assert_eq!(state.persistent_out(&named(&everybody), &nexus(1)), Err(full()));
        assert_eq!(state, before);
        state.persistent_out(&named(&[2, 2, 1]), &nexus(1)).unwrap();
        let all: Vec<_> = state.registrants.iter().map(|r| (r.nexus.clone(), r.key)).collect();
        assert_eq!(all, [(nexus(3), B), (nexus(1), A), (nexus(2), A)]);
        let again = PrOut { key: A, ..named(&[4]) };
        assert_eq!(
            state.persistent_out(&again, &nexus(1)),
            parameter(20, 3),
            "who is registered names nobody"
        );
    }

    #[test]
    fn an_initiator_of_which_no_port_is_known_is_not_registered() {
        let mut state = Reservations::default();
        let nobody = TransportId { isid: None, ..id(2) };
        let mut named = PrOut { initiators: Some(vec![nobody]), ..out(PrAction::Register, 0, A) };
        named.name_ports(|_| vec![]);
        assert_eq!(state.persistent_out(&named, &nexus(1)), parameter(28, 7));
        named.name_ports(|name| if name == id(2).name { vec![[1; 6], [2; 6]] } else { vec![] });
        state.persistent_out(&named, &nexus(1)).unwrap();
        let isids: Vec<_> = state.registrants.iter().map(|r| r.nexus.isid).collect();
        assert_eq!(isids, [nexus(1).isid, [1; 6], [2; 6]]);
    }

    #[test]
    fn naming_ports_looks_each_name_up_once_and_ends_when_the_outcome_is_known() {
        let asked = std::cell::Cell::new(0);
        let everywhere = |_: &str| {
            asked.set(asked.get() + 1);
            (0..1000u16).map(|n| [0, 0, 0, 0, (n >> 8) as u8, n as u8]).collect::<Vec<_>>()
        };
        let nameless = |n: u16| TransportId { name: format!("iqn.h:{n}"), isid: None, at: 28 };
        let named = |ids: Vec<TransportId>| PrOut { initiators: Some(ids), ..out(PrAction::Register, 0, A) };
        let mut repeats = named((0..500).map(|at| TransportId { at, ..nameless(1) }).collect());
        repeats.name_ports(everywhere);
        assert_eq!((asked.replace(0), repeats.initiators.as_ref().map(Vec::len)), (1, Some(1000)));
        Reservations::default().persistent_out(&repeats, &nexus(1)).unwrap();
        let mut many = named((0..500).map(nameless).collect());
        many.name_ports(everywhere);
        assert_eq!(
            (asked.replace(0), many.initiators.as_ref().map(Vec::len)),
            (2, Some(MAX_REGISTRANTS + 1))
        );
        assert_eq!(Reservations::default().persistent_out(&many, &nexus(1)), Err(full()));
        let mut strangers = named((0..500).map(nameless).collect());
        strangers.name_ports(|_| {
            asked.set(asked.get() + 1);
            vec![]
        });
        assert_eq!(asked.get(), 1, "the first unknown one is the end");
        assert_eq!(Reservations::default().persistent_out(&strangers, &nexus(1)), parameter(28, 7));
    }

    #[test]
    fn all_target_ports_are_registered_changed_and_left_together() {
        let all = |key, action_key| PrOut { all_ports: true, ..out(PrAction::Register, key, action_key) };
        let mut state = registered(&[(2, B)]);
        state.persistent_out(&all(0, A), &nexus(1)).unwrap();
        let keys = |state: &Reservations| [at(1, 1), at(1, 2), at(2, 1)].map(|n| state.key_of(&n));
        assert_eq!(keys(&state), [Some(A), Some(A), Some(B)]);
        state.persistent_out(&all(A, 7), &at(1, 2)).unwrap();
        assert_eq!(keys(&state), [Some(7), Some(7), Some(B)]);
        state.persistent_out(&out(PrAction::Register, 7, A), &nexus(1)).unwrap();
        assert_eq!(keys(&state), [Some(A), Some(7), Some(B)], "the bit is not remembered");
        state.persistent_out(&all(7, 0), &at(1, 2)).unwrap();
        assert_eq!(keys(&state), [None, None, Some(B)]);
    }

    #[test]
    fn others_are_registered_at_all_target_ports() {
        let mut state = Reservations::default();
        let named = PrOut { all_ports: true, initiators: Some(vec![id(2)]), ..out(PrAction::Register, 0, A) };
        state.persistent_out(&named, &nexus(1)).unwrap();
        let all: Vec<_> = state.registrants.iter().map(|r| r.nexus.clone()).collect();
        assert_eq!(all, [at(1, 1), at(1, 2), at(2, 1), at(2, 2)]);
    }

    fn hand_over(to: u16, port: u16, unregister: bool) -> PrOut {
        PrOut {
            initiators: Some(vec![id(to)]),
            relative_port: port,
            unregister,
            through_power_loss: true,
            ..out(PrAction::RegisterAndMove, A, 7)
        }
    }

    #[test]
    fn a_reservation_moves_to_one_who_may_be_registered_or_not() {
        for (to, port, unregister) in [(2, 1, false), (2, 2, true), (5, 2, false), (5, 1, true)] {
            let mut state = reserved(PrType::WriteExclusiveRegistrants);
            let generation = state.generation;
            let effects = state.persistent_out(&hand_over(to, port, unregister), &nexus(1));
            assert_eq!(effects, Ok(Effects::default()), "nobody is told");
            let holder = at(to, port);
            assert_eq!(state.key_of(&holder), Some(7));
            assert_eq!(state.key_of(&nexus(1)).is_none(), unregister);
            let want = Reservation { kind: PrType::WriteExclusiveRegistrants, holder };
            assert_eq!(state.reservation, Some(want));
            assert_eq!((state.generation, state.through_power_loss), (generation + 1, true));
        }
    }

    #[test]
    fn a_move_that_is_refused_changes_nothing() {
        let cases = [
            (PrOut { key: B, ..hand_over(2, 1, false) }, nexus(1), Err(conflict())),
            (PrOut { key: B, ..hand_over(1, 1, false) }, nexus(2), Err(conflict())),
            (PrOut { key: 0, ..hand_over(1, 1, false) }, nexus(3), Err(conflict())),
            (PrOut { action_key: 0, ..hand_over(2, 1, false) }, nexus(1), parameter(8, 7)),
            (hand_over(2, 3, false), nexus(1), parameter(18, 7)),
            (hand_over(1, 1, false), nexus(1), parameter(24, 7)),
            (hand_over(1, 2, false), nexus(1), parameter(24, 7)),
            (
                PrOut { initiators: Some(vec![id(2), id(3)]), ..hand_over(2, 1, false) },
                nexus(1),
                parameter(24, 7),
            ),
            (
                PrOut {
                    initiators: Some(vec![TransportId { isid: None, ..id(2) }]),
                    ..hand_over(2, 1, false)
                },
                nexus(1),
                parameter(24, 7),
            ),
        ];
        for (command, from, want) in cases {
            let mut state = reserved(PrType::WriteExclusive);
            let before = state.clone();
            assert_eq!(state.persistent_out(&command, &from), want, "{command:?}");
            assert_eq!(state, before);
        }
    }

    #[test]
    fn what_all_hold_or_nobody_does_not_move() {
        for kind in [PrType::WriteExclusiveAll, PrType::ExclusiveAccessAll] {
            assert_eq!(reserved(kind).persistent_out(&hand_over(2, 1, false), &nexus(1)), Err(conflict()));
        }
        let nothing = Err(Sense::cdb_field(1, 4).into());
        assert_eq!(registered(&[(1, A)]).persistent_out(&hand_over(2, 1, false), &nexus(1)), nothing);
    }

    fn replace(key: u64, action_key: u64) -> PrOut {
        PrOut {
            scope_type: PrType::ExclusiveAccess as u8,
            through_power_loss: true,
            ..out(PrAction::ReplaceLost, key, action_key)
        }
    }

    #[test]
    fn a_lost_reservation_is_replaced_once() {
        let mut state = Reservations { generation: 9, ..Reservations::lost() };
        assert_eq!(state.persistent_out(&replace(1, A), &nexus(1)), parameter(0, 7));
        assert_eq!(state.persistent_out(&replace(0, 0), &nexus(1)), parameter(8, 7));
        let unknown = PrOut { scope_type: 2, ..replace(0, A) };
        assert_eq!(state.persistent_out(&unknown, &nexus(1)), Err(Sense::cdb_field(2, 3).into()));
        assert_eq!(state.persistent_out(&replace(0, A), &nexus(1)), Ok(Effects::default()));
        let want = Reservation { kind: PrType::ExclusiveAccess, holder: nexus(1) };
        assert_eq!((&state.reservation, state.key_of(&nexus(1))), (&Some(want), Some(A)));
        assert_eq!((state.generation, state.lost, state.through_power_loss), (0, false, true));
        let needless = Err(Sense::illegal(Asc::INVALID_RELEASE).into());
        assert_eq!(state.persistent_out(&replace(0, A), &nexus(1)), needless);
        assert_eq!(state.persistent_out(&replace(0, B), &nexus(2)), needless);
    }
}

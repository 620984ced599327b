//! What PERSISTENT RESERVE OUT does to reservations (SPC-5 sections 5.14.9 to 5.14.11); what it does
//! to registrations is in `register`.

use super::super::{Asc, Effects, Failure, ItNexus, Sense};
use super::{PrAction, PrOut, PrType, Registrant, Reservation, Reservations, conflict};

impl Reservations {
    /// Does what the command asks, or leaves everything as it is and says why.
    pub(in super::super) fn persistent_out(
        &mut self,
        out: &PrOut,
        nexus: &ItNexus,
    ) -> Result<Effects, Failure> {
        if self.legacy.is_some() {
            return Err(conflict());
        }
        match out.action {
            PrAction::Register => self.register(out, nexus, false),
            PrAction::RegisterIgnore => self.register(out, nexus, true),
            PrAction::ReplaceLost => self.replace_lost(out, nexus),
            _ if self.key_of(nexus) != Some(out.key) => Err(conflict()),
            PrAction::RegisterAndMove => self.register_and_move(out, nexus),
            PrAction::Reserve => self.make(out, nexus),
            PrAction::Release => self.end(out, nexus),
            PrAction::Clear => Ok(self.clear(nexus)),
            PrAction::Preempt => self.preempt(out, nexus).map(|(effects, _)| effects),
            PrAction::PreemptAndAbort => {
                self.preempt(out, nexus).map(|(effects, abort)| Effects { abort, ..effects })
            }
        }
    }

    /// Ends the reservation if nobody is registered any more who holds it.
    pub(super) fn end_if_orphaned(&mut self, by: &ItNexus) -> Effects {
        let held = |r: &Reservation| {
            if r.kind.all_registrants() {
                !self.registrants.is_empty()
            } else {
                self.key_of(&r.holder).is_some()
            }
        };
        if self.reservation.as_ref().is_none_or(held) {
            Effects::default()
        } else {
            self.drop_reservation(by)
        }
    }

    /// Ends the reservation; those registered, but for `by`, are told if they had a part in it.
    fn drop_reservation(&mut self, by: &ItNexus) -> Effects {
        match self.reservation.take() {
            Some(old) if !old.kind.single() => self.tell(by, Asc::RESERVATIONS_RELEASED),
            _ => Effects::default(),
        }
    }

    fn tell(&self, by: &ItNexus, asc: Asc) -> Effects {
        let others = self.registrants.iter().filter(|r| r.nexus != *by);
        Effects { attentions: others.map(|r| (r.nexus.clone(), asc)).collect(), ..Effects::default() }
    }

    /// RESERVE: repeating what one already holds is no error (section 5.14.9).
    fn make(&mut self, out: &PrOut, nexus: &ItNexus) -> Result<Effects, Failure> {
        let kind = out.kind()?;
        match &self.reservation {
            Some(held) if !self.holds(nexus) || held.kind != kind => return Err(conflict()),
            Some(_) => {}
            None => self.reservation = Some(Reservation { kind, holder: nexus.clone() }),
        }
        Ok(Effects::default())
    }

    /// RELEASE by one who does not hold it is no error; by its holder with another type it is.
    fn end(&mut self, out: &PrOut, nexus: &ItNexus) -> Result<Effects, Failure> {
        let Some(held) = &self.reservation else { return Ok(Effects::default()) };
        if !self.holds(nexus) {
            return Ok(Effects::default());
        }
        if out.scope_type != held.kind as u8 {
            return Err(Sense::illegal(Asc::INVALID_RELEASE).into());
        }
        Ok(self.drop_reservation(nexus))
    }

    fn clear(&mut self, nexus: &ItNexus) -> Effects {
        let effects = self.tell(nexus, Asc::RESERVATIONS_PREEMPTED);
        self.registrants.clear();
        self.reservation = None;
        self.count();
        effects
    }

    /// PREEMPT (section 5.14.11.2.4): what must happen, and which others were preempted.
    fn preempt(&mut self, out: &PrOut, nexus: &ItNexus) -> Result<(Effects, Vec<ItNexus>), Failure> {
        let takes_over = self.preempts_reservation(out.action_key)?;
        let kind = if takes_over { Some(out.kind()?) } else { None };
        // With key 0 an all-registrants reservation is taken from everybody.
        let hit = |r: &Registrant| out.action_key == 0 || r.key == out.action_key;
        if !self.registrants.iter().any(hit) {
            return Err(conflict());
        }
        // Who takes over stays registered; who only removes registrations may remove its own with them.
        let goes = |r: &Registrant| hit(r) && !(takes_over && r.nexus == *nexus);
        let (gone, stay): (Vec<_>, _) = std::mem::take(&mut self.registrants).into_iter().partition(goes);
        self.registrants = stay;
        let mut effects = match kind {
            Some(kind) => self.take_over(kind, nexus),
            None => self.end_if_orphaned(nexus),
        };
        let gone: Vec<ItNexus> = gone.into_iter().map(|r| r.nexus).filter(|n| n != nexus).collect();
        effects.attentions.extend(gone.iter().map(|n| (n.clone(), Asc::REGISTRATIONS_PREEMPTED)));
        self.count();
        Ok((effects, gone))
    }

    /// Whether preempting that key takes the reservation as well. Key 0 names nobody, except that
    /// it names all of an all-registrants reservation.
    fn preempts_reservation(&self, key: u64) -> Result<bool, Failure> {
        match &self.reservation {
            Some(held) if held.kind.all_registrants() => Ok(key == 0),
            _ if key == 0 => Err(Sense::parameter_field(8, 7).into()),
            Some(held) => Ok(self.key_of(&held.holder) == Some(key)),
            None => Ok(false),
        }
    }

    /// Replaces the reservation. If that changes its type, all who keep their registration are told.
    fn take_over(&mut self, kind: PrType, nexus: &ItNexus) -> Effects {
        let changed = self.reservation.as_ref().is_some_and(|old| old.kind != kind);
        let effects = if changed { self.tell(nexus, Asc::RESERVATIONS_RELEASED) } else { Effects::default() };
        self.reservation = Some(Reservation { kind, holder: nexus.clone() });
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::nexus;
    use super::*;

    const A: u64 = 0xa;
    const B: u64 = 0xb;

    fn out(action: PrAction, kind: PrType, key: u64, action_key: u64) -> PrOut {
        PrOut { scope_type: kind as u8, key, action_key, ..PrOut::new(action) }
    }

    /// Nexuses 1 (key A), 2 (key B) and 3 (key B) are registered; 1 holds `kind`, if any.
    fn scene(kind: Option<PrType>) -> Reservations {
        let mut state = Reservations::default();
        for (n, key) in [(1, A), (2, B), (3, B)] {
            let register = out(PrAction::Register, PrType::WriteExclusive, 0, key);
            state.persistent_out(&register, &nexus(n)).unwrap();
        }
        if let Some(kind) = kind {
            state.persistent_out(&out(PrAction::Reserve, kind, A, 0), &nexus(1)).unwrap();
        }
        state
    }

    const ALL: [PrType; 6] = [
        PrType::WriteExclusive,
        PrType::ExclusiveAccess,
        PrType::WriteExclusiveRegistrants,
        PrType::ExclusiveAccessRegistrants,
        PrType::WriteExclusiveAll,
        PrType::ExclusiveAccessAll,
    ];

    #[test]
    fn a_stranger_may_not_reserve() {
        for action in [PrAction::Reserve, PrAction::Release, PrAction::Clear, PrAction::Preempt] {
            let command = out(action, PrType::WriteExclusive, 0, B);
            assert_eq!(scene(None).persistent_out(&command, &nexus(4)), Err(conflict()));
            assert_eq!(scene(None).persistent_out(&command, &nexus(1)), Err(conflict()), "wrong key");
        }
    }

    #[test]
    fn reserving_again_must_be_the_same() {
        for kind in ALL {
            for again in ALL {
                let mut state = scene(Some(kind));
                let got = state.persistent_out(&out(PrAction::Reserve, again, A, 0), &nexus(1));
                assert_eq!(got.is_ok(), kind == again);
                let other = state.persistent_out(&out(PrAction::Reserve, kind, B, 0), &nexus(2));
                assert_eq!(other.is_ok(), kind.all_registrants());
            }
        }
    }

    #[test]
    fn release_tells_those_who_had_a_part() {
        for kind in ALL {
            let mut state = scene(Some(kind));
            let effects = state.persistent_out(&out(PrAction::Release, kind, A, 0), &nexus(1)).unwrap();
            assert_eq!(state.reservation, None);
            let told: Vec<_> = effects.attentions.iter().map(|(n, asc)| (n.clone(), *asc)).collect();
            let want = if kind.single() { vec![] } else { vec![nexus(2), nexus(3)] };
            assert_eq!(told, want.into_iter().map(|n| (n, Asc::RESERVATIONS_RELEASED)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn release_of_another_type_is_an_error_only_for_the_holder() {
        let mut state = scene(Some(PrType::WriteExclusive));
        let other = out(PrAction::Release, PrType::ExclusiveAccess, A, 0);
        let invalid = Failure::Check(Sense::illegal(Asc::INVALID_RELEASE));
        assert_eq!(state.persistent_out(&other, &nexus(1)), Err(invalid));
        assert!(state.persistent_out(&PrOut { key: B, ..other }, &nexus(2)).is_ok());
        assert!(state.reservation.is_some());
    }

    #[test]
    fn the_reservation_ends_with_its_holders_registration() {
        for kind in ALL {
            let mut state = scene(Some(kind));
            let leave = out(PrAction::Register, kind, A, 0);
            let effects = state.persistent_out(&leave, &nexus(1)).unwrap();
            assert_eq!(state.reservation.is_some(), kind.all_registrants());
            let told = !kind.single() && !kind.all_registrants();
            assert_eq!(effects.attentions.len(), if told { 2 } else { 0 });
        }
    }

    #[test]
    fn the_last_registrant_takes_an_all_registrants_reservation_away() {
        let mut state = scene(Some(PrType::WriteExclusiveAll));
        for (n, key) in [(1, A), (2, B), (3, B)] {
            assert!(state.reservation.is_some());
            state
                .persistent_out(&out(PrAction::Register, PrType::WriteExclusive, key, 0), &nexus(n))
                .unwrap();
        }
        assert_eq!(state.reservation, None);
    }

    #[test]
    fn clear_tells_all_others() {
        let mut state = scene(Some(PrType::ExclusiveAccess));
        let clear = out(PrAction::Clear, PrType::WriteExclusive, B, 0);
        let effects = state.persistent_out(&clear, &nexus(2)).unwrap();
        assert!(state.registrants.is_empty() && !state.active());
        let want = [nexus(1), nexus(3)].map(|n| (n, Asc::RESERVATIONS_PREEMPTED));
        assert_eq!(effects.attentions, want);
    }

    #[test]
    fn preempting_the_holder_takes_the_reservation() {
        let mut state = scene(Some(PrType::WriteExclusiveRegistrants));
        let take = out(PrAction::PreemptAndAbort, PrType::ExclusiveAccess, B, A);
        let effects = state.persistent_out(&take, &nexus(2)).unwrap();
        let want = Reservation { kind: PrType::ExclusiveAccess, holder: nexus(2) };
        assert_eq!(state.reservation, Some(want));
        assert_eq!(state.key_of(&nexus(1)), None);
        assert_eq!(effects.abort, [nexus(1)]);
        let want = [(nexus(3), Asc::RESERVATIONS_RELEASED), (nexus(1), Asc::REGISTRATIONS_PREEMPTED)];
        assert_eq!(effects.attentions, want);
    }

    #[test]
    fn preempting_others_leaves_the_reservation() {
        let mut state = scene(Some(PrType::WriteExclusive));
        let before = state.reservation.clone();
        let oust = out(PrAction::Preempt, PrType::ExclusiveAccess, A, B);
        let effects = state.persistent_out(&oust, &nexus(1)).unwrap();
        assert_eq!(state.reservation, before);
        assert_eq!(state.registrants.len(), 1);
        assert_eq!(effects.attentions.len(), 2);
        assert!(effects.abort.is_empty());
        assert_eq!(state.persistent_out(&oust, &nexus(1)), Err(conflict()), "nobody has that key any more");
    }

    #[test]
    fn removing_the_registrations_of_ones_own_key_removes_ones_own() {
        for kind in [None, Some(PrType::WriteExclusive), Some(PrType::ExclusiveAccessAll)] {
            let mut state = scene(kind);
            let effects = state
                .persistent_out(&out(PrAction::Preempt, PrType::WriteExclusive, B, B), &nexus(2))
                .unwrap();
            assert_eq!((state.key_of(&nexus(2)), state.key_of(&nexus(3))), (None, None));
            assert_eq!(effects.attentions, [(nexus(3), Asc::REGISTRATIONS_PREEMPTED)], "not who did it");
            assert_eq!(state.reservation.map(|r| r.kind), kind);
        }
    }

    #[test]
    fn a_holder_that_preempts_itself_stays_registered() {
        let mut state = scene(Some(PrType::WriteExclusive));
        let change = out(PrAction::Preempt, PrType::ExclusiveAccess, A, A);
        let effects = state.persistent_out(&change, &nexus(1)).unwrap();
        let want = Reservation { kind: PrType::ExclusiveAccess, holder: nexus(1) };
        assert_eq!((state.reservation, state.registrants.len()), (Some(want), 3));
        let told = [nexus(2), nexus(3)].map(|n| (n, Asc::RESERVATIONS_RELEASED));
        assert_eq!(effects.attentions, told, "the type has changed");
    }

    #[test]
    fn removing_the_last_registrations_ends_an_all_registrants_reservation() {
        let mut state = Reservations::default();
        let all = PrType::WriteExclusiveAll;
        for n in [1, 2] {
            state.persistent_out(&out(PrAction::Register, all, 0, A), &nexus(n)).unwrap();
        }
        state.persistent_out(&out(PrAction::Reserve, all, A, 0), &nexus(1)).unwrap();
        let effects = state.persistent_out(&out(PrAction::Preempt, all, A, A), &nexus(1)).unwrap();
        assert!(state.registrants.is_empty() && !state.active());
        assert_eq!(effects.attentions, [(nexus(2), Asc::REGISTRATIONS_PREEMPTED)]);
    }

    #[test]
    fn key_zero_preempts_all_registrants_only() {
        let all = PrType::ExclusiveAccessAll;
        let zero = out(PrAction::Preempt, all, B, 0);
        let mut state = scene(Some(all));
        state.persistent_out(&zero, &nexus(2)).unwrap();
        assert_eq!(state.registrants.len(), 1);
        assert_eq!(state.reservation, Some(Reservation { kind: all, holder: nexus(2) }));
        for kind in [None, Some(PrType::WriteExclusive)] {
            let refused = Failure::Check(Sense::parameter_field(8, 7));
            assert_eq!(scene(kind).persistent_out(&zero, &nexus(2)), Err(refused));
        }
    }

    #[test]
    fn a_refused_preempt_changes_nothing() {
        let mut state = scene(Some(PrType::WriteExclusive));
        let before = state.clone();
        let bad = PrOut { scope_type: 0x10, ..out(PrAction::Preempt, PrType::WriteExclusive, B, A) };
        assert_eq!(state.persistent_out(&bad, &nexus(2)), Err(Sense::cdb_field(2, 7).into()));
        assert_eq!(state, before);
    }
}

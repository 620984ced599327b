//! From the text of SPC-5 section 5.17 and of both commands.

use std::sync::Arc;

use super::super::table::ROWS;
use super::super::testing::{Rig, facts, nexus};
use super::super::{Attentions, Bar, LuFacts, LuState, MAX_PARAMS, Outcome, SenseKey, SharedOp};
use super::*;

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Port 1 is in the default group, 2 in group 5, which initiators may change, 3 in group 0x107, which is in standby.
fn groups() -> Groups {
    let supported = Supported::all();
    let default = Group { implicit: true, supported, ports: vec![1], ..Group::new(0, DEFAULT_GROUP) };
    let second = Group {
        implicit: true,
        explicit: true,
        supported,
        preferred: true,
        configured: AccessState::NonOptimized,
        ports: vec![2, 0x102],
        ..Group::new(5, "second")
    };
    let third = Group {
        explicit: true,
        supported: Supported::OPTIMIZED | Supported::STANDBY,
        configured: AccessState::Standby,
        ports: vec![3],
        ..Group::new(0x107, "third")
    };
    Groups::new(default, vec![second, third], 30)
}

fn rig() -> Rig {
    Rig::new(LuFacts { groups: groups(), ..facts() })
}

/// Reports in that format.
fn rtpg(format: u8) -> [u8; 12] {
    [0xa3, format << 5 | 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
}

fn stpg(length: u32) -> Vec<u8> {
    [&[0xa4, 0x0a, 0, 0, 0, 0][..], &length.to_be_bytes(), &[0, 0]].concat()
}

/// Sets these groups to these states.
fn stpg_to(rig: &mut Rig, to: &[(u16, u8)]) -> Result<super::super::Effects, Failure> {
    let list = list(to);
    rig.run_from(1, &stpg(list.len() as u32), &list)
}

fn list(to: &[(u16, u8)]) -> Vec<u8> {
    let descriptors = to.iter().flat_map(|(id, state)| [*state, 0, (id >> 8) as u8, *id as u8]);
    [0; 4].into_iter().chain(descriptors).collect()
}

/// What an administrator changes.
fn order(rig: &mut Rig, to: &[(u16, AccessState)]) -> Result<super::super::Effects, Failure> {
    let op = SharedOp::Access(AccessChange { to: to.to_vec(), by: ChangedBy::Administrator });
    let (state, effects) = rig.lu.state.apply(&rig.lu.facts, &op, &ItNexus::nobody())?;
    rig.lu.state = Arc::new(state);
    Ok(effects)
}

fn wrong(byte: u16, bit: u8) -> Failure {
    Sense::parameter_field(byte, bit).into()
}

#[test]
fn report_of_groups_in_both_formats() {
    let mut rig = rig();
    let groups = [
        [0x00, 0x8f, 0, 0, 0, 0, 0, 1].as_slice(),
        &[0, 0, 0, 1],
        &[0x81, 0x8f, 0, 5, 0, 0, 0, 2],
        &[0, 0, 0, 2, 0, 0, 1, 2],
        &[0x02, 0x05, 1, 7, 0, 0, 0, 1],
        &[0, 0, 0, 3],
    ]
    .concat();
    assert_eq!(rig.data(&rtpg(0)), [&[0, 0, 0, 40], groups.as_slice()].concat());
    assert_eq!(rig.data(&rtpg(1)), [&[0, 0, 0, 44, 0x10, 30, 0, 0], groups.as_slice()].concat());
    for format in 2..8 {
        assert_eq!(rig.sense(&rtpg(format)), Sense::cdb_field(1, 7));
    }
    let mut short = rtpg(0);
    (short[8], short[9]) = (0, 6);
    assert_eq!(rig.data(&short), [0, 0, 0, 40, 0, 0x8f]);
}

#[test]
fn a_unit_of_which_nothing_is_said_has_the_default_group_only() {
    let mut groups = Groups::default();
    [2, 1, 2].into_iter().for_each(|port| groups.join(7, port));
    let mut rig = Rig::new(LuFacts { groups, ..facts() });
    assert_eq!(rig.data(&rtpg(0)), [0, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(rig.sense(&stpg(0)), Sense::cdb_field(1, 4), "there is nothing that it could set");
    assert_eq!(rig.data(&[0x12, 0, 0, 0, 36, 0])[5], 0x08, "no asymmetric access");
}

#[test]
fn a_group_without_ports_is_not_reported() {
    let mut rig = Rig::new(facts());
    assert_eq!(rig.data(&rtpg(0)), [0; 4]);
}

#[test]
fn inquiry_tells_the_group_of_the_port_and_what_changes_it() {
    let mut rig = rig();
    for (port, group, tpgs) in [(1, [0, 0], 1), (2, [0, 5], 3), (0x102, [0, 5], 3), (3, [1, 7], 2)] {
        rig.port = port;
        assert_eq!(rig.data(&[0x12, 0, 0, 0, 36, 0])[5], tpgs << 4 | 8, "3PC is told too");
        let page = rig.data(&[0x12, 1, 0x83, 1, 0, 0]);
        let designator = [&[0x51, 0x95, 0, 4, 0, 0][..], &group].concat();
        assert!(page.windows(8).any(|w| w == designator), "{page:02x?}");
        let [high, low] = port.to_be_bytes();
        assert!(page.windows(8).any(|w| w == [0x51, 0x94, 0, 4, 0, 0, high, low]), "{page:02x?}");
    }
}

#[test]
fn active_states_serve_everything() {
    let mut rig = rig();
    for port in [1, 2] {
        rig.port = port;
        assert!(matches!(rig.start(&READ), Outcome::Io(_)));
        assert!(matches!(rig.start(&WRITE), Outcome::Io(_)));
        assert_eq!(rig.start(&[0; 6]), Outcome::Good);
    }
}

#[test]
fn each_other_state_has_its_sense() {
    let mut rig = rig();
    rig.port = 2;
    for (state, qualifier) in
        [(AccessState::Standby, 0x0b), (AccessState::Unavailable, 0x0c), (AccessState::Transitioning, 0x0a)]
    {
        order(&mut rig, &[(5, state)]).unwrap();
        let sense = Sense::new(SenseKey(2), Asc(4, qualifier));
        for cdb in [&READ[..], &WRITE, &[0; 6]] {
            assert_eq!(rig.sense(cdb), sense, "{state:?}");
        }
        let requested = rig.data(&[3, 0, 0, 0, 18, 0]);
        assert_eq!((requested[2], requested[12], requested[13]), (2, 4, qualifier));
    }
}

/// The commands that the states other than the active ones serve, by opcode and service action: as SPC-5 section
/// 5.17.2.4 lists them, and READ CAPACITY in standby.
fn served(state: AccessState, opcode: u8, action: Option<u16>) -> bool {
    let always =
        matches!((opcode, action), (0x03 | 0x12 | 0x3b | 0x3c | 0x9b | 0xa0, _) | (0xa3, Some(0x0a)));
    let sets = matches!((opcode, action), (0xa4, Some(0x0a)));
    let pages = matches!(opcode, 0x15 | 0x1a | 0x1c | 0x1d | 0x4c | 0x4d | 0x55 | 0x5a | 0x5e | 0x5f);
    let capacity = matches!((opcode, action), (0x25, _) | (0x9e, Some(0x10)));
    match state {
        AccessState::Optimized | AccessState::NonOptimized => true,
        AccessState::Standby => always || sets || pages || capacity,
        AccessState::Unavailable => always || sets,
        AccessState::Transitioning => always,
    }
}

#[test]
fn each_state_serves_the_commands_of_its_list() {
    let mut rig = Rig::new(LuFacts { removable: true, groups: groups(), ..facts() });
    rig.port = 2;
    for state in [AccessState::Standby, AccessState::Unavailable, AccessState::Transitioning] {
        order(&mut rig, &[(5, state)]).unwrap();
        let facts = rig.lu.facts.clone();
        for row in ROWS.iter().filter(|row| row.on(&facts)) {
            let mut cdb = row.usage.iter().map(|_| 0).collect::<Vec<u8>>();
            cdb[0] = row.opcode;
            match (row.opcode, row.action) {
                (0x7f, Some(action)) => (cdb[7], cdb[9]) = (0x18, action as u8),
                (0x3b | 0x3c | 0x9b, _) => cdb[1] = 0x0a,
                (_, Some(action)) => cdb[1] = action as u8,
                _ => {}
            }
            let refused = Outcome::Fail(Sense::not_ready(state.barrier().unwrap()).into());
            let is_served = rig.start_from(1, &cdb) != refused;
            assert_eq!(is_served, served(state, row.opcode, row.action), "{state:?}: {cdb:02x?}");
        }
    }
}

#[test]
fn without_a_medium_all_ports_serve_what_an_unavailable_one_does_and_keep_their_states() {
    let mut rig = rig();
    let (states, needs) = (rig.data(&rtpg(0)), Sense::not_ready(Asc(0x04, 0x03)));
    rig = Rig::new(LuFacts { groups: groups().without_medium(), ..facts() });
    assert_eq!(rig.data(&rtpg(0)), states);
    for port in [1, 2, 3] {
        rig.port = port;
        for cdb in [
            &READ[..],
            &WRITE,
            &[0; 6],
            &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x5e, 0, 0, 0, 0, 0, 0, 0, 16, 0],
        ] {
            assert_eq!(rig.sense(cdb), needs, "port {port}: {cdb:02x?}");
        }
        assert_eq!(rig.data(&[0x03, 0, 0, 0, 18, 0])[12..14], [4, 3], "REQUEST SENSE");
        assert!(matches!(rig.start(&[0x12, 0, 0, 0, 36, 0]), Outcome::Data(36)));
    }
    assert!(stpg_to(&mut rig, &[(5, 2)]).is_err(), "it could not be kept");
    assert!(order(&mut rig, &[(0, AccessState::Standby)]).is_err(), "not for an administrator either");
}

#[test]
fn only_the_echo_of_a_buffer_is_served() {
    let mut rig = rig();
    rig.port = 3;
    let standby = Sense::not_ready(Asc::TARGET_PORT_IN_STANDBY);
    let read = |mode| [0x3c, mode, 0, 0, 0, 0, 0, 0, 4, 0];
    rig.send(&[0x3b, 0x0a, 0, 0, 0, 0, 0, 0, 4, 0], b"echo");
    assert_eq!(rig.data(&read(0x0a)), b"echo");
    assert_eq!(rig.data(&read(0x0b)).len(), 4);
    assert_eq!(rig.sense(&read(0x02)), standby);
    assert_eq!(rig.sense(&read(0x03)), standby);
    assert_eq!(rig.sense(&[0x3b, 0x02, 0, 0, 0, 0, 0, 0, 4, 0]), standby);
}

#[test]
fn reservations_are_made_through_a_port_in_standby() {
    let mut rig = rig();
    rig.port = 3;
    let list = [&[0; 15][..], &[1], &[0; 8]].concat();
    rig.run_from(1, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list).unwrap();
    assert_eq!(rig.data(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 16, 0])[15], 1);
}

#[test]
fn the_port_is_asked_after_the_attention_and_before_reservation_and_drive() {
    let mut rig = rig();
    rig.run_from(2, &[0x16, 0, 0, 0, 0, 0], &[]).unwrap();
    rig.attentions.raise(Asc::POWER_ON_OR_RESET);
    rig.port = 3;
    assert_eq!(rig.sense(&READ), Sense::attention(Asc::POWER_ON_OR_RESET));
    assert_eq!(rig.sense(&READ), Sense::not_ready(Asc::TARGET_PORT_IN_STANDBY));
    assert_eq!(rig.sense(&[0xc0; 6]).asc, Asc::INVALID_OPCODE);
}

#[test]
fn a_set_state_is_reported_with_who_set_it() {
    let mut rig = rig();
    rig.port = 2;
    let effects = stpg_to(&mut rig, &[(5, 2), (0x107, 0)]).unwrap();
    assert_eq!(effects.attention_others, Some(Asc(0x2a, 6)));
    assert!(effects.attentions.is_empty() && effects.persist && !effects.flush);
    let report = rig.data(&rtpg(0));
    assert_eq!(report[16..22], [0x82, 0x8f, 0, 5, 0, 1]);
    assert_eq!(report[32..38], [0x00, 0x05, 1, 7, 0, 1]);
    assert_eq!(report[9], 0, "nobody has changed the default group");
    assert_eq!(rig.sense(&READ), Sense::not_ready(Asc::TARGET_PORT_IN_STANDBY));
    rig.port = 3;
    assert!(matches!(rig.start(&WRITE), Outcome::Io(_)));
    let effects = order(&mut rig, &[(5, AccessState::Optimized)]).unwrap();
    assert_eq!(effects.attention_others, Some(Asc(0x2a, 6)));
    assert_eq!(rig.data(&rtpg(0))[16..22], [0x80, 0x8f, 0, 5, 0, 2]);
}

#[test]
fn what_is_so_already_is_no_change() {
    let mut rig = rig();
    let before = rig.lu.state.clone();
    assert_eq!(stpg_to(&mut rig, &[(5, 1)]).unwrap(), super::super::Effects::default());
    assert_eq!(rig.lu.state, before);
}

#[test]
fn a_list_without_descriptors_changes_nothing() {
    let mut rig = rig();
    assert_eq!(rig.start(&stpg(0)), Outcome::Good);
    assert_eq!(rig.send(&stpg(4), &[0; 4]), Outcome::Good);
}

#[test]
fn lists_of_wrong_length() {
    let mut rig = rig();
    let refused = Outcome::Fail(Sense::illegal(Asc(0x1a, 0)).into());
    for length in [1, 3, 6, 9] {
        assert_eq!(rig.send(&stpg(length), &vec![0; length as usize]), refused, "{length}");
    }
    assert_eq!(rig.start(&stpg(MAX_PARAMS + 1)), refused);
    assert_eq!(rig.send(&stpg(12), &list(&[(5, 0)])), refused, "less came than was announced");
}

#[test]
fn wrong_descriptors_are_pointed_at_and_change_nothing() {
    let mut rig = rig();
    let before = rig.lu.state.clone();
    for (to, byte, bit) in [
        (vec![(5, 0x4)], 4, 3),             // LBA dependent
        (vec![(5, 0x5)], 4, 3),             // reserved
        (vec![(5, 0xe)], 4, 3),             // offline
        (vec![(5, 0xf)], 4, 3),             // transitioning: nobody can stay there
        (vec![(0x107, 3)], 4, 3),           // not supported by that group
        (vec![(9, 0)], 6, 7),               // no such group
        (vec![(0, 0)], 6, 7),               // not for initiators
        (vec![(5, 0), (9, 0)], 10, 7),      // the second
        (vec![(5, 0), (5, 0)], 10, 7),      // twice
        (vec![(5, 0), (0x107, 0xf)], 8, 3), // the second
    ] {
        assert_eq!(stpg_to(&mut rig, &to), Err(wrong(byte, bit)), "{to:x?}");
        assert_eq!(rig.lu.state, before);
    }
}

#[test]
fn an_administrator_changes_what_changes_by_itself_only() {
    let mut rig = rig();
    let refused = Err(Sense::illegal(Asc(0x26, 0)).into());
    assert_eq!(order(&mut rig, &[(0x107, AccessState::Optimized)]), refused, "explicit only");
    assert_eq!(order(&mut rig, &[(7, AccessState::Optimized)]), refused, "no such group");
    assert!(order(&mut rig, &[(0, AccessState::Unavailable)]).is_ok());
}

#[test]
fn a_transition_ends_where_it_is_said_or_began() {
    let mut rig = rig();
    rig.port = 2;
    order(&mut rig, &[(5, AccessState::Transitioning)]).unwrap();
    assert_eq!(rig.data(&rtpg(0))[16], 0x8f);
    assert_eq!(rig.sense(&stpg(0)), Sense::not_ready(Asc::ACCESS_STATE_TRANSITION), "by its own port");
    let saved = reborn(&rig);
    assert_eq!(saved.accesses.of(groups().get(5).unwrap()), AccessState::NonOptimized);
    rig.port = 1;
    stpg_to(&mut rig, &[(5, 0)]).unwrap();
    assert_eq!(rig.data(&rtpg(0))[16..22], [0x80, 0x8f, 0, 5, 0, 1]);
}

/// Over the disk and back, as text.
fn reborn(rig: &Rig) -> LuState {
    let text = serde_json::to_string(&rig.lu.state.persistent()).unwrap();
    LuState::restored(serde_json::from_str(&text).unwrap())
}

#[test]
fn states_outlive_a_power_loss_and_a_reset_unless_configured_anew() {
    let mut rig = rig();
    stpg_to(&mut rig, &[(5, 2), (0x107, 0)]).unwrap();
    let (after, _) = rig.lu.state.apply(&rig.lu.facts, &SharedOp::Reset, &nexus(1)).unwrap();
    assert_eq!(after.accesses, rig.lu.state.accesses);
    let mut again = reborn(&rig);
    again.configure(&groups());
    assert_eq!(again.accesses, rig.lu.state.accesses);
    let other = Group { configured: AccessState::Optimized, ..Group::new(5, "second") };
    again.configure(&Groups::new(Group::new(0, DEFAULT_GROUP), vec![other], 0));
    assert!(again.accesses.is_unchanged(), "group 5 is configured otherwise, and 0107h is gone");
}

#[test]
fn what_cannot_be_saved_holds_all_the_same_where_nothing_is() {
    let mut rig = Rig::new(LuFacts { saves: false, groups: groups(), ..facts() });
    assert!(!stpg_to(&mut rig, &[(5, 0)]).unwrap().persist);
    assert_eq!(rig.data(&rtpg(0))[16], 0x80);
}

#[test]
fn a_change_that_cannot_be_saved_fails_with_its_own_sense() {
    let op = |by| SharedOp::Access(AccessChange { to: vec![], by });
    for by in [ChangedBy::Initiator, ChangedBy::Administrator] {
        assert_eq!(op(by).unsaved(), Sense::new(SenseKey(4), Asc(0x67, 0x0a)).into());
    }
    assert_eq!(op(ChangedBy::Initiator).after_failure(), None);
    let told = op(ChangedBy::Administrator).after_failure().unwrap();
    let (state, effects) = LuState::default().apply(&facts(), &told, &ItNexus::nobody()).unwrap();
    assert_eq!((state, effects.attention_others), (LuState::default(), Some(Asc(0x2a, 7))));
}

#[test]
fn a_write_that_began_is_barred_when_its_port_is_not_active_any_more() {
    let mut rig = rig();
    stpg_to(&mut rig, &[(5, 3)]).unwrap();
    let barred = |relative_port| {
        let nexus = ItNexus { relative_port, ..nexus(1) };
        rig.lu.state.bars_writing(&rig.lu.facts, &nexus)
    };
    let refused = |qualifier| Failure::from(Sense::not_ready(Asc(4, qualifier)));
    assert_eq!(barred(1), None);
    assert_eq!(barred(2), Some(Bar { medium: refused(0x0c), in_standby: Some(refused(0x0c)) }));
    assert_eq!(
        barred(3),
        Some(Bar { medium: refused(0x0b), in_standby: None }),
        "but not from what it serves"
    );
}

#[test]
fn a_report_waits_for_the_attention() {
    let mut rig = rig();
    let mut attentions = Attentions::new();
    attentions.raise(Asc::ACCESS_STATE_CHANGED);
    rig.attentions = attentions;
    assert_eq!(rig.sense(&rtpg(0)), Sense::attention(Asc(0x2a, 6)));
    assert_eq!(rig.data(&rtpg(0)).len(), 44);
}

#[test]
fn a_configuration_that_is_given_up_has_forgotten_no_state() {
    let facts = LuFacts { groups: groups(), ..facts() };
    let change = |state: LuState, op: SharedOp| state.apply(&facts, &op, &nexus(9)).unwrap().0;
    let to = |state| AccessChange { to: vec![(5, state)], by: ChangedBy::Administrator };
    let standby = change(LuState::default(), SharedOp::Access(to(AccessState::Standby)));
    let back = SharedOp::PutBack(Arc::new(facts.clone()), standby.accesses.clone());
    let without = SharedOp::Refit(Arc::new(LuFacts { groups: Groups::default(), ..facts.clone() }));
    let forgotten = change(standby.clone(), without);
    assert!(forgotten.accesses.is_unchanged());
    assert_eq!(change(forgotten, back.clone()), standby);
    let newer = change(standby.clone(), SharedOp::Access(to(AccessState::Optimized)));
    assert_eq!(change(newer.clone(), back.clone()), newer, "what was changed since then stays");
    // Unless it was changed as of what is given up.
    let mut others: Vec<Group> = groups().iter().cloned().collect();
    others.iter_mut().filter(|g| g.id == 5).for_each(|g| g.configured = AccessState::Optimized);
    let default = others.remove(0);
    let given_up = LuFacts { groups: Groups::new(default, others, 30), ..facts.clone() };
    let refitted = change(standby.clone(), SharedOp::Refit(Arc::new(given_up.clone())));
    let unavailable = SharedOp::Access(to(AccessState::Unavailable));
    let changed = refitted.apply(&given_up, &unavailable, &nexus(9)).unwrap().0;
    assert_eq!(change(changed, back), standby, "the state of before");
}

#[test]
fn a_port_that_comes_or_goes_is_felt_by_nobody_and_one_that_moves_is() {
    let facts = LuFacts { groups: groups(), ..facts() };
    let unfelt = |change: fn(&mut [Group])| {
        let mut groups: Vec<Group> = groups().iter().cloned().collect();
        change(&mut groups);
        let others = groups.split_off(1);
        let to = LuFacts { groups: Groups::new(groups.remove(0), others, 30), ..facts.clone() };
        let op = SharedOp::Refit(Arc::new(to));
        LuState::default().apply(&facts, &op, &nexus(9)).unwrap().1.unfelt
    };
    assert!(unfelt(|groups| groups[0].ports.push(9)), "one comes");
    assert!(unfelt(|groups| groups[1].ports.truncate(1)), "one goes");
    let moves = |groups: &mut [Group]| {
        groups[0].ports.clear();
        groups[2].ports = vec![1, 3];
    };
    assert!(!unfelt(moves), "from one group to another");
    assert!(!unfelt(|groups| groups[0].configured = AccessState::Standby), "a group changes");
}

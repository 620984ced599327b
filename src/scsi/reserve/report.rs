//! PERSISTENT RESERVE IN: what is registered and reserved (SPC-5 section 6.16).

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::{Answered, Context, Failure, Lu};
use super::{Registrant, Reservations, conflict, transport};

/// READ KEYS.
pub(in super::super) fn read_keys(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    listed(cdb, lu, out, |answer, state| {
        state.registrants.iter().for_each(|r| answer.put(&r.key.to_be_bytes()));
    })
}

/// READ RESERVATION.
pub(in super::super) fn read_reservation(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    listed(cdb, lu, out, |answer, state| {
        let Some(held) = &state.reservation else { return };
        // An all-registrants reservation is nobody's key.
        let key = if held.kind.all_registrants() { None } else { state.key_of(&held.holder) };
        answer.put(&key.unwrap_or(0).to_be_bytes());
        answer.put(&[0, 0, 0, 0, 0, held.kind as u8, 0, 0]);
    })
}

/// READ FULL STATUS.
pub(in super::super) fn read_full_status(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    listed(cdb, lu, out, |answer, state| {
        state.registrants.iter().for_each(|r| full_status(answer, state, r));
    })
}

/// What three of the four answers have in common: PRGENERATION and the length of what `put` puts.
fn listed(cdb: &Cdb, lu: &Lu, out: &mut [u8], put: impl FnOnce(&mut Answer<'_>, &Reservations)) -> Answered {
    let state = readable(lu)?;
    let mut answer = Answer::new(out, allocation(cdb));
    answer.put(&state.generation.to_be_bytes());
    answer.zeroes(4);
    put(&mut answer, state);
    answer.close_u32(4, 8);
    Ok(answer.finish())
}

/// A full status descriptor: one for each I_T nexus, so ALL_TG_PT is zero in all of them.
fn full_status(answer: &mut Answer<'_>, state: &Reservations, who: &Registrant) {
    let held = state.reservation.as_ref().filter(|_| state.holds(&who.nexus));
    answer.put(&who.key.to_be_bytes());
    answer.zeroes(4);
    answer.put(&[u8::from(held.is_some()), held.map_or(0, |r| r.kind as u8), 0, 0, 0, 0]);
    answer.put(&who.nexus.relative_port.to_be_bytes());
    let transport_id = transport::of_port(&who.nexus);
    answer.put(&(transport_id.len() as u32).to_be_bytes());
    answer.put(&transport_id);
}

/// ALLOW COMMANDS 100b: TEST UNIT READY and RECEIVE COPY RESULTS are never refused, and what only
/// shows parameters is let through by the write exclusive types.
const ALLOW_COMMANDS: u8 = 4 << 4;

/// RLR_C, CRH (RESERVE and RELEASE get along), SIP_C and ATP_C.
const CAPABLE: u8 = 0x80 | 0x10 | 0x08 | 0x04;

/// REPORT CAPABILITIES: PTPL_C where there is a place to save to; TMV with all six types; whether
/// APTPL is in effect.
pub(in super::super) fn report_capabilities(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    let active = u8::from(readable(lu)?.through_power_loss);
    let capable = CAPABLE | u8::from(lu.facts.saves);
    let mut answer = Answer::new(out, allocation(cdb));
    answer.put(&[0, 8, capable, 0x80 | ALLOW_COMMANDS | active, 0xea, 0x01, 0, 0]);
    Ok(answer.finish())
}

/// While RESERVE holds the logical unit, persistent reservations are not to be had (SPC-2 section 5.5.1).
fn readable(lu: &Lu) -> Result<&Reservations, Failure> {
    let state = &lu.state.reservations;
    if state.legacy.is_some() { Err(conflict()) } else { Ok(state) }
}

fn allocation(cdb: &Cdb) -> usize {
    usize::from(cdb.u16::<7>())
}

//! PERSISTENT RESERVE IN: what is registered and reserved (SPC-5 section 6.16).

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::{Answered, Context, Failure, Lu};
use super::{Registrant, Reservations, conflict};

/// READ KEYS.
pub(in super::super) fn read_keys(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let state = readable(lu)?;
    let mut answer = generation(state, cdb, out);
    state.registrants.iter().for_each(|r| answer.put(&r.key.to_be_bytes()));
    answer.close_u32(4, 8);
    Ok(answer.finish())
}

/// READ RESERVATION.
pub(in super::super) fn read_reservation(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    let state = readable(lu)?;
    let mut answer = generation(state, cdb, out);
    if let Some(held) = &state.reservation {
        // An all-registrants reservation is nobody's key.
        let key = if held.kind.all_registrants() { None } else { state.key_of(&held.holder) };
        answer.put(&key.unwrap_or(0).to_be_bytes());
        answer.put(&[0, 0, 0, 0, 0, held.kind as u8, 0, 0]);
    }
    answer.close_u32(4, 8);
    Ok(answer.finish())
}

/// ALLOW COMMANDS 100b: TEST UNIT READY and RECEIVE COPY RESULTS are never refused, and what only
/// shows parameters is let through by the write exclusive types.
const ALLOW_COMMANDS: u8 = 4 << 4;

/// REPORT CAPABILITIES: CRH (RESERVE and RELEASE get along) and PTPL_C; TMV with all six types;
/// whether APTPL is in effect.
pub(in super::super) fn report_capabilities(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    let active = u8::from(readable(lu)?.through_power_loss);
    let mut answer = Answer::new(out, allocation(cdb));
    answer.put(&[0, 8, 0x11, 0x80 | ALLOW_COMMANDS | active, 0xea, 0x01, 0, 0]);
    Ok(answer.finish())
}

/// READ FULL STATUS.
pub(in super::super) fn read_full_status(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    out: &mut [u8],
) -> Answered {
    let state = readable(lu)?;
    let mut answer = generation(state, cdb, out);
    state.registrants.iter().for_each(|r| full_status(&mut answer, state, r));
    answer.close_u32(4, 8);
    Ok(answer.finish())
}

fn full_status(answer: &mut Answer<'_>, state: &Reservations, who: &Registrant) {
    let held = state.reservation.as_ref().filter(|_| state.holds(&who.nexus));
    answer.put(&who.key.to_be_bytes());
    answer.zeroes(4);
    answer.put(&[u8::from(held.is_some()), held.map_or(0, |r| r.kind as u8), 0, 0, 0, 0]);
    answer.put(&who.nexus.relative_port.to_be_bytes());
    let transport_id = who.nexus.transport_id();
    answer.put(&(transport_id.len() as u32).to_be_bytes());
    answer.put(&transport_id);
}

/// While RESERVE holds the logical unit, persistent reservations are not to be had (SPC-2 section 5.5.1).
fn readable(lu: &Lu) -> Result<&Reservations, Failure> {
    let state = &lu.state.reservations;
    if state.legacy.is_some() { Err(conflict()) } else { Ok(state) }
}

/// The header that three of the four answers have: PRGENERATION and the length of what follows.
fn generation<'a>(state: &Reservations, cdb: &Cdb, out: &'a mut [u8]) -> Answer<'a> {
    let mut answer = Answer::new(out, allocation(cdb));
    answer.put(&state.generation.to_be_bytes());
    answer.zeroes(4);
    answer
}

fn allocation(cdb: &Cdb) -> usize {
    usize::from(cdb.u16::<7>())
}

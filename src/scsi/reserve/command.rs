//! The CDBs and parameter lists of the commands that change reservations.
//!
//! What can be judged without the state is judged here; the rest by the owner of the logical unit.

use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length};
use super::super::{Answered, Context, Failure, Lu, Outcome, Sense, SharedOp};
use super::{PrType, conflict};

/// A PERSISTENT RESERVE OUT service action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrAction {
    /// Register, change or remove the nexus's key, if it gives its present one.
    Register,
    /// Make the reservation.
    Reserve,
    /// End the reservation.
    Release,
    /// End the reservation and remove all registrations.
    Clear,
    /// Remove the registrations of a key, and take over the reservation if that key holds it.
    Preempt,
    /// The same, and abort the tasks of those preempted.
    PreemptAndAbort,
    /// Register, change or remove the nexus's key, whatever it is now.
    RegisterIgnore,
}

impl PrAction {
    /// The action of that service action code, if it is one that is offered.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Register,
            1 => Self::Reserve,
            2 => Self::Release,
            3 => Self::Clear,
            4 => Self::Preempt,
            5 => Self::PreemptAndAbort,
            6 => Self::RegisterIgnore,
            _ => return None,
        })
    }
}

/// A PERSISTENT RESERVE OUT command with its parameter list, as far as it can be checked without
/// the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrOut {
    /// What to do.
    pub action: PrAction,
    /// SCOPE and TYPE as they are in the CDB: they count only where a reservation is made or ended.
    pub scope_type: u8,
    /// RESERVATION KEY: the key with which the sender is registered.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY: the new key, or the one to be preempted.
    pub action_key: u64,
    /// APTPL.
    pub through_power_loss: bool,
}

impl PrOut {
    /// The type, if scope and type are ones that are offered.
    pub(super) fn kind(&self) -> Result<PrType, Failure> {
        kind(self.scope_type)
    }
}

/// SCOPE must be the logical unit, TYPE a known one.
fn kind(scope_type: u8) -> Result<PrType, Failure> {
    if scope_type >> 4 != 0 {
        return Err(bad_field(2, 7));
    }
    PrType::from_code(scope_type & 0x0f).ok_or_else(|| bad_field(2, 3))
}

/// The length of the parameter list without TransportIDs, the only form that is offered.
const LIST_LENGTH: u32 = 24;

/// RESERVE(6). Third parties and extents are obsolete and not offered.
pub(in super::super) fn reserve6(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    whole_unit(cdb, 0x11, 4).map(|()| Outcome::Shared(SharedOp::Reserve))
}

/// RELEASE(6).
pub(in super::super) fn release6(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, _: &mut [u8]) -> Answered {
    whole_unit(cdb, 0x11, 4)?;
    release(lu, cx)
}

/// RESERVE(10).
pub(in super::super) fn reserve10(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    whole_unit(cdb, 0x13, 4).map(|()| Outcome::Shared(SharedOp::Reserve))
}

/// RELEASE(10).
pub(in super::super) fn release10(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, _: &mut [u8]) -> Answered {
    whole_unit(cdb, 0x13, 4)?;
    release(lu, cx)
}

fn whole_unit(cdb: &Cdb, unwanted: u8, bit: u8) -> Result<(), Failure> {
    if cdb.u8::<1>() & unwanted == 0 { Ok(()) } else { Err(bad_field(1, bit)) }
}

/// A RELEASE that has nothing to release need not trouble the owner.
fn release(lu: &Lu, cx: &Context<'_>) -> Answered {
    let state = &lu.state.reservations;
    let idle = state.registrants.is_empty() && state.legacy.as_ref() != Some(cx.nexus);
    Ok(if idle { Outcome::Good } else { Outcome::Shared(SharedOp::Release) })
}

/// PERSISTENT RESERVE OUT: the table has seen to it that the service action is one of ours.
pub(in super::super) fn out(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    if lu.state.reservations.legacy.is_some() {
        return Err(conflict());
    }
    if PrAction::from_code(cdb.action()) == Some(PrAction::Reserve) {
        kind(cdb.u8::<2>())?;
    }
    if cdb.u32::<5>() != LIST_LENGTH {
        return Err(bad_length());
    }
    Ok(Outcome::Params(LIST_LENGTH))
}

/// The parameter list (SPC-5 section 6.17.3): two keys and three flags, of which SPEC_I_PT and
/// ALL_TG_PT are not offered (REPORT CAPABILITIES says so).
pub(in super::super) fn out_params(
    cdb: &Cdb,
    _: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    let Some(list) = data.first_chunk::<{ LIST_LENGTH as usize }>() else { return Err(bad_length()) };
    let Some(action) = PrAction::from_code(cdb.action()) else { return Err(bad_field(1, 4)) };
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *list;
    let flags = list[20];
    if flags & 0x08 != 0 {
        return Err(Sense::parameter_field(20, 3).into());
    }
    if flags & 0x04 != 0 {
        return Err(Sense::parameter_field(20, 2).into());
    }
    Ok(Outcome::Shared(SharedOp::Persistent(PrOut {
        action,
        scope_type: cdb.u8::<2>(),
        key: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        action_key: u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        through_power_loss: flags & 0x01 != 0,
    })))
}

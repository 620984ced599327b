//! The CDBs and parameter lists of the commands that change reservations.
//!
//! What can be judged without the state is judged here; the rest by the owner of the logical unit.

use std::collections::HashSet;

use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length};
use super::super::{Answered, Asc, Context, Failure, Lu, MAX_PARAMS, Outcome, Sense, SharedOp, TargetPort};
use super::{MAX_REGISTRANTS, PrType, TransportId, conflict};

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
    /// Register another nexus and give it the reservation.
    RegisterAndMove,
    /// Begin anew, where what was saved is lost.
    ReplaceLost,
}

impl PrAction {
    /// The action of that service action code, if it is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Register,
            1 => Self::Reserve,
            2 => Self::Release,
            3 => Self::Clear,
            4 => Self::Preempt,
            5 => Self::PreemptAndAbort,
            6 => Self::RegisterIgnore,
            7 => Self::RegisterAndMove,
            8 => Self::ReplaceLost,
            _ => return None,
        })
    }

    /// Whether APTPL counts.
    fn sets_persistence(self) -> bool {
        matches!(self, Self::Register | Self::RegisterIgnore | Self::RegisterAndMove | Self::ReplaceLost)
    }
}

/// A PERSISTENT RESERVE OUT command with its parameter list, as far as it can be checked without
/// the state.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// ALL_TG_PT: the registration is for all of `ports`.
    pub all_ports: bool,
    /// The initiator ports of SPEC_I_PT, if that is set, or the one of REGISTER AND MOVE.
    pub initiators: Option<Vec<TransportId>>,
    /// RELATIVE TARGET PORT IDENTIFIER of REGISTER AND MOVE.
    pub relative_port: u16,
    /// UNREG.
    pub unregister: bool,
    /// The target ports by which the logical unit is reached. The bytes do not tell: who knows the
    /// configuration fills them in.
    pub ports: Vec<TargetPort>,
}

impl PrOut {
    /// The command with nothing but zeroes.
    pub fn new(action: PrAction) -> Self {
        Self {
            action,
            scope_type: 0,
            key: 0,
            action_key: 0,
            through_power_loss: false,
            all_ports: false,
            initiators: None,
            relative_port: 0,
            unregister: false,
            ports: Vec::new(),
        }
    }

    /// The type, if scope and type are ones that there are.
    pub(super) fn kind(&self) -> Result<PrType, Failure> {
        kind(self.scope_type)
    }

    /// Puts the ports that `known` tells of an initiator in the place of those that are named by the
    /// initiator alone, each once. One of which none is known stays, and is refused in the end. The
    /// list ends where it is certain to be refused: with such a one, or with one more than there may
    /// be registrations.
    pub fn name_ports(&mut self, known: impl Fn(&str) -> Vec<[u8; 6]>) {
        let Some(ids) = &mut self.initiators else { return };
        let (mut ports, mut seen, mut asked) = (Vec::new(), HashSet::new(), HashSet::new());
        for id in std::mem::take(ids) {
            let isids = match id.isid {
                Some(isid) => vec![isid],
                None if !asked.insert(id.name.clone()) => continue,
                None => known(&id.name),
            };
            if isids.is_empty() {
                ports.push(id);
                break;
            }
            let named = isids.into_iter().map(|isid| TransportId { isid: Some(isid), ..id.clone() });
            let fresh = named.filter(|id| seen.insert((id.name.clone(), id.isid)));
            ports.extend(fresh.take(MAX_REGISTRANTS + 1 - ports.len()));
            if ports.len() > MAX_REGISTRANTS {
                break;
            }
        }
        *ids = ports;
    }
}

/// SCOPE must be the logical unit, TYPE a known one.
fn kind(scope_type: u8) -> Result<PrType, Failure> {
    if scope_type >> 4 != 0 {
        return Err(bad_field(2, 7));
    }
    PrType::from_code(scope_type & 0x0f).ok_or_else(|| bad_field(2, 3))
}

/// The length of the parameter list without TransportIDs.
const HEADER: usize = 24;

/// TRANSPORTID LENGTH of REGISTER AND MOVE is at least this.
const LEAST_DESTINATION: usize = 24;

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
    if matches!(PrAction::from_code(cdb.action()), Some(PrAction::Reserve | PrAction::ReplaceLost)) {
        kind(cdb.u8::<2>())?;
    }
    // Whether the list may be longer than its header is said by a bit in it.
    let length = cdb.u32::<5>();
    if (HEADER as u32..=MAX_PARAMS).contains(&length) {
        Ok(Outcome::Params(length))
    } else {
        Err(bad_length())
    }
}

/// The parameter list (SPC-5 sections 6.17.3 and 6.17.4).
pub(in super::super) fn out_params(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    let Some(header) = data.first_chunk::<HEADER>() else { return Err(bad_length()) };
    if data.len() < cdb.u32::<5>() as usize {
        return Err(bad_length());
    }
    let Some(action) = PrAction::from_code(cdb.action()) else { return Err(bad_field(1, 4)) };
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *header;
    let mut out = PrOut {
        scope_type: cdb.u8::<2>(),
        key: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        action_key: u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        ..PrOut::new(action)
    };
    let aptpl_at = if action == PrAction::RegisterAndMove {
        destination(&mut out, header, data)?;
        17
    } else {
        basic(&mut out, header, data)?;
        20
    };
    if out.through_power_loss && action.sets_persistence() && !lu.facts.saves {
        return Err(Sense::parameter_field(aptpl_at, 0).into());
    }
    Ok(Outcome::Shared(SharedOp::Persistent(Box::new(out))))
}

/// The list of all actions but one: the flags, and TransportIDs if SPEC_I_PT says so.
fn basic(out: &mut PrOut, header: &[u8; HEADER], data: &[u8]) -> Result<(), Failure> {
    let flags = header[20];
    let names_ports = flags & 0x08 != 0;
    if names_ports && out.action != PrAction::Register {
        return Err(Sense::parameter_field(20, 3).into());
    }
    if !names_ports && data.len() != HEADER {
        return Err(bad_length());
    }
    out.all_ports = flags & 0x04 != 0;
    out.through_power_loss = flags & 0x01 != 0;
    if names_ports {
        let length = data.get(HEADER..HEADER + 4).and_then(|b| b.first_chunk()).ok_or_else(bad_length)?;
        out.initiators = Some(transport_ids(data, HEADER + 4, u32::from_be_bytes(*length))?);
    }
    Ok(())
}

/// The `length` bytes of TransportIDs from `from`. They must all be there, and the last one whole.
fn transport_ids(data: &[u8], from: usize, length: u32) -> Result<Vec<TransportId>, Failure> {
    let end = from.saturating_add(length as usize);
    let mut rest = data.get(from..end).ok_or_else(bad_length)?;
    let (mut ids, mut at) = (Vec::new(), from);
    while !rest.is_empty() {
        if ids.len() == MAX_REGISTRANTS {
            return Err(Sense::illegal(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into());
        }
        let read = TransportId::read(rest, at as u16)?;
        // The length is the field that is wrong when the last one does not fit into it.
        let (id, length) = read.ok_or_else(|| Sense::parameter_field(from as u16 - 4, 7))?;
        ids.push(id);
        rest = rest.get(length..).unwrap_or_default();
        at += length;
    }
    Ok(ids)
}

/// The list of REGISTER AND MOVE: UNREG, APTPL, and one TransportID.
fn destination(out: &mut PrOut, header: &[u8; HEADER], data: &[u8]) -> Result<(), Failure> {
    let [.., flags, p0, p1, l0, l1, l2, l3] = *header;
    out.unregister = flags & 0x02 != 0;
    out.through_power_loss = flags & 0x01 != 0;
    out.relative_port = u16::from_be_bytes([p0, p1]);
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if (length as usize) < LEAST_DESTINATION || !length.is_multiple_of(4) {
        return Err(Sense::parameter_field(20, 7).into());
    }
    let ids = transport_ids(data, HEADER, length)?;
    if ids.len() > 1 {
        return Err(Sense::parameter_field(20, 7).into());
    }
    out.initiators = Some(ids);
    Ok(())
}

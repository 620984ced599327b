//! The way every command takes, whatever it is: the rules that hold for all, in the order of SAM
//! and SPC, then the handler of its row.
//!
//! 1. Is there such a logical unit? 2. Is there a unit attention to report? 3. Do we know the
//!    command? 4. Does a reservation forbid it? 5. Is the medium accessible? 6. The CDB's fields.
//! 7. May the medium be written?

use super::cdb::Cdb;
use super::check::{bad_field, write_protected};
use super::table::{self, Row};
use super::{Answered, Asc, Context, Failure, Lu, Outcome, Sense, inquiry, misc};

/// Starts a command. `out` takes data-in that is at hand (answers longer than `out` are cut).
pub fn start(cdb: &[u8], cx: &mut Context<'_>, out: &mut [u8]) -> Outcome {
    let cdb = Cdb::new(cdb);
    let answered = match cx.lu {
        Some(lu) => begin(&cdb, lu, cx, out),
        None => absent(&cdb, cx, out),
    };
    answered.unwrap_or_else(Outcome::Fail)
}

/// Goes on with a command that asked for a parameter list, which is `data` now. It may be shorter
/// than asked for.
pub fn params(cdb: &[u8], cx: &mut Context<'_>, data: &[u8], out: &mut [u8]) -> Outcome {
    let cdb = Cdb::new(cdb);
    let answered = match cx.lu {
        Some(lu) => go_on(&cdb, lu, cx, data, out),
        None => absent(&cdb, cx, out),
    };
    answered.unwrap_or_else(Outcome::Fail)
}

#[inline]
fn begin(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let row = table::find(cdb, &lu.facts);
    if !cx.attentions.is_empty() {
        attention(row.as_ref().ok(), cx)?;
    }
    let row = row?;
    admit(row, cdb, lu, cx)?;
    let outcome = (row.start)(cdb, lu, cx, out)?;
    guard(row, lu, cx).map(|()| outcome)
}

/// The state may have changed while the data was on its way, so the rules are applied again; but a
/// unit attention does not stop a command that has been accepted.
fn go_on(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, data: &[u8], out: &mut [u8]) -> Answered {
    let row = table::find(cdb, &lu.facts)?;
    admit(row, cdb, lu, cx)?;
    let Some(handler) = row.params else {
        return Err(Sense::illegal(Asc::INVALID_OPCODE).into());
    };
    let outcome = handler(cdb, lu, cx, data, out)?;
    guard(row, lu, cx).map(|()| outcome)
}

/// Reports a unit attention, unless the command is one of those that leave it pending.
#[cold]
fn attention(row: Option<&&'static Row>, cx: &mut Context<'_>) -> Result<(), Failure> {
    if row.is_some_and(|r| r.traits.contains(table::Traits::PASSES_ATTENTION)) {
        return Ok(());
    }
    cx.attentions.take().map_or(Ok(()), |asc| Err(Sense::attention(asc).into()))
}

#[inline]
fn admit(row: &Row, cdb: &Cdb, lu: &Lu, cx: &Context<'_>) -> Result<(), Failure> {
    lu.state.reservations.check(cx.nexus, row.needs)?;
    if lu.state.stopped && row.traits.contains(table::Traits::MEDIUM) {
        return Err(Sense::not_ready(Asc::INITIALIZING_COMMAND_REQUIRED).into());
    }
    let control = row.usage.len() - 1;
    // NACA asks for ACA, which the standard INQUIRY data says is not there (SAM-6 section 5.2).
    if cdb.get(control) & 0x04 != 0 {
        return Err(bad_field(control as u16, 2));
    }
    Ok(())
}

#[inline]
fn guard(row: &Row, lu: &Lu, cx: &Context<'_>) -> Result<(), Failure> {
    if row.traits.contains(table::Traits::WRITES) && write_protected(lu, cx) {
        return Err(Sense::write_protected().into());
    }
    Ok(())
}

/// A LUN that names no logical unit (SPC-5 section 6.6.1, SAM-6 section 5.13).
#[cold]
fn absent(cdb: &Cdb, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let wrong = Sense::illegal(Asc::LU_NOT_SUPPORTED);
    match cdb.opcode() {
        table::INQUIRY => inquiry::absent(cdb, out),
        table::REPORT_LUNS => misc::luns(cdb, cx, out),
        table::REQUEST_SENSE => Ok(misc::sense_data(cdb, wrong, out)),
        _ => Err(wrong.into()),
    }
}

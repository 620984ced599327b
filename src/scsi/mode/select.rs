//! MODE SELECT(6) and (10) (SPC-5 sections 6.12 and 6.13): they differ in where the list's length
//! stands, and in its header.

use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length};
use super::super::{Answered, Context, Failure, Lu, LuFacts, Outcome, Sense, SharedOp, table};
use super::Settings;
use super::pages::{PageSet, pages};

/// What a mode parameter list sets: the pages that are in it, each as a whole. Another client may be changing what is
/// on other pages at the same time, and that is to stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selected {
    /// What is on its pages; the rest is how it was when the list came.
    values: Settings,
    pages: PageSet,
}

impl Selected {
    /// Every page.
    #[cfg(test)]
    pub(crate) fn all(values: Settings) -> Self {
        Self { values, pages: PageSet::ALL }
    }

    pub(super) fn set(&self, settings: &mut Settings, facts: &LuFacts) {
        self.pages.of(facts).for_each(|page| page.copy(&self.values, settings, facts));
    }
}

/// PF must be one: there are no vendor specific parameters. RTD (revert to defaults) is not offered.
/// SP is refused where nothing can be saved.
pub(in super::super) fn select(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    if cdb.bit::<1>(1) {
        return Err(bad_field(1, 1));
    }
    if cdb.bit::<1>(0) && !lu.facts.saves {
        return Err(bad_field(1, 0));
    }
    let length = if is_short(cdb) { u32::from(cdb.u8::<4>()) } else { u32::from(cdb.u16::<7>()) };
    if length == 0 {
        return Ok(Outcome::Good);
    }
    if !cdb.bit::<1>(4) {
        return Err(bad_field(1, 4));
    }
    Ok(Outcome::Params(length))
}

/// Whether it is MODE SELECT(6), which has a header of its own.
fn is_short(cdb: &Cdb) -> bool {
    cdb.opcode() == table::MODE_SELECT6
}

pub(in super::super) fn select_params(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    let list = if is_short(cdb) { List::short(data) } else { List::long(data) }?;
    list.check_descriptor(&lu.facts)?;
    let to = list.selected(lu)?;
    let (values, mode, save) = (to.values, &lu.state.mode, cdb.bit::<1>(0));
    // What makes writes durable is for the owner at any rate: another may be about to, and not have flushed yet.
    let idle = values == mode.current && (!save || values == mode.saved) && !values.write_through;
    Ok(if idle { Outcome::Good } else { Outcome::Shared(SharedOp::ModeSelect { to, save }) })
}

fn known_medium(medium: u8, at: u16) -> Result<(), Failure> {
    if medium == 0 { Ok(()) } else { Err(Sense::parameter_field(at, 7).into()) }
}

/// A mode parameter list, and where in it the block descriptor and the pages begin.
struct List<'a> {
    data: &'a [u8],
    descriptor: usize,
    pages: usize,
    long: bool,
}

impl<'a> List<'a> {
    /// What follows the header of MODE SELECT(6).
    fn short(data: &'a [u8]) -> Result<Self, Failure> {
        let Some([_, medium, _, length]) = data.first_chunk() else { return Err(bad_length()) };
        known_medium(*medium, 1)?;
        Ok(Self { data, descriptor: 4, pages: 4 + usize::from(*length), long: false })
    }

    /// What follows the header of MODE SELECT(10).
    fn long(data: &'a [u8]) -> Result<Self, Failure> {
        let Some([_, _, medium, _, flags, _, high, low]) = data.first_chunk() else {
            return Err(bad_length());
        };
        known_medium(*medium, 2)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        Ok(Self { data, descriptor: 8, pages: 8 + length, long: flags & 1 != 0 })
    }

    /// At most one block descriptor, which must say what is so: neither size nor capacity can be set.
    fn check_descriptor(&self, facts: &LuFacts) -> Result<(), Failure> {
        let Some(descriptor) = self.data.get(self.descriptor..self.pages) else { return Err(bad_length()) };
        let (blocks, size, unknown) = match (descriptor, self.long) {
            ([], _) => return Ok(()),
            ([a, b, c, d, _, e, f, g], false) => {
                let blocks = u32::from_be_bytes([*a, *b, *c, *d]);
                (u64::from(blocks), u32::from_be_bytes([0, *e, *f, *g]), blocks == u32::MAX)
            }
            ([a, b, c, d, e, f, g, h, _, _, _, _, i, j, k, l], true) => {
                let blocks = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (blocks, u32::from_be_bytes([*i, *j, *k, *l]), blocks == u64::MAX)
            }
            _ => return Err(self.wrong(self.descriptor - 1)),
        };
        if blocks != 0 && !unknown && blocks != facts.blocks {
            return Err(self.wrong(self.descriptor));
        }
        if size != facts.block_size {
            return Err(self.wrong(self.pages - if self.long { 4 } else { 3 }));
        }
        Ok(())
    }

    fn selected(&self, lu: &Lu) -> Result<Selected, Failure> {
        let mut to = Selected { values: lu.state.mode.current, pages: PageSet::default() };
        let mut at = self.pages;
        while let Some(rest) = self.data.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(page) = pages(&lu.facts).find(|page| page.begins(rest)) else {
                return Err(self.wrong(at));
            };
            let Some(bytes) = rest.get(..page.len()) else { return Err(bad_length()) };
            page.set(bytes, &mut to.values, lu).map_err(|byte| self.wrong(at + byte))?;
            to.pages.add(page);
            at += page.len();
        }
        Ok(to)
    }

    /// INVALID FIELD IN PARAMETER LIST at that byte.
    fn wrong(&self, at: usize) -> Failure {
        Sense::parameter_field(at as u16, 7).into()
    }
}

//! MODE SELECT(6) and (10) (SPC-5 sections 6.12 and 6.13).

use super::super::cdb::Cdb;
use super::super::check::{bad_field, bad_length};
use super::super::{Answered, Context, Failure, Lu, LuFacts, Outcome, Sense, SharedOp};
use super::Settings;
use super::pages::PAGES;

pub(in super::super) fn select6(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    select(cdb, u32::from(cdb.u8::<4>()))
}

pub(in super::super) fn select10(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    select(cdb, u32::from(cdb.u16::<7>()))
}

/// PF must be one: there are no vendor specific parameters. RTD (revert to defaults) is not offered.
fn select(cdb: &Cdb, length: u32) -> Answered {
    if cdb.bit::<1>(1) {
        return Err(bad_field(1, 1));
    }
    if length == 0 {
        return Ok(Outcome::Good);
    }
    if !cdb.bit::<1>(4) {
        return Err(bad_field(1, 4));
    }
    Ok(Outcome::Params(length))
}

pub(in super::super) fn select6_params(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    let Some([_, medium, _, length]) = data.first_chunk() else { return Err(bad_length()) };
    known_medium(*medium, 1)?;
    let list = List { data, descriptor: 4, pages: 4 + usize::from(*length), long: false };
    finish(cdb, lu, &list)
}

pub(in super::super) fn select10_params(
    cdb: &Cdb,
    lu: &Lu,
    _: &mut Context<'_>,
    data: &[u8],
    _: &mut [u8],
) -> Answered {
    let Some([_, _, medium, _, flags, _, high, low]) = data.first_chunk() else { return Err(bad_length()) };
    known_medium(*medium, 2)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let list = List { data, descriptor: 8, pages: 8 + length, long: flags & 1 != 0 };
    finish(cdb, lu, &list)
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

fn finish(cdb: &Cdb, lu: &Lu, list: &List<'_>) -> Answered {
    list.check_descriptor(&lu.facts)?;
    let mut to = lu.state.mode.current;
    list.take_pages(&mut to, &lu.facts)?;
    let save = cdb.bit::<1>(0);
    let idle = to == lu.state.mode.current && (!save || to == lu.state.mode.saved);
    Ok(if idle { Outcome::Good } else { Outcome::Shared(SharedOp::ModeSelect { to, save }) })
}

impl List<'_> {
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

    fn take_pages(&self, to: &mut Settings, facts: &LuFacts) -> Result<(), Failure> {
        let mut at = self.pages;
        while let Some(rest) = self.data.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(page) = PAGES.iter().find(|page| page.begins(rest)) else { return Err(self.wrong(at)) };
            let Some(bytes) = rest.get(..page.len()) else { return Err(bad_length()) };
            page.set(bytes, to, facts).map_err(|byte| self.wrong(at + byte))?;
            at += page.len();
        }
        Ok(())
    }

    /// INVALID FIELD IN PARAMETER LIST at that byte.
    fn wrong(&self, at: usize) -> Failure {
        Sense::parameter_field(at as u16, 7).into()
    }
}

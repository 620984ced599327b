//! Commands that read, write, compare or flush ranges of the medium (SBC-4 section 5).
//!
//! READ and WRITE pass here for every I/O: no allocation, no loops.

use super::cdb::Cdb;
use super::check::{bad_field, range, transfer, unprotected};
use super::{Answered, Context, Io, Lu, Outcome};

/// The blocks that a CDB names, and where its length field begins.
struct Extent {
    lba: u64,
    blocks: u64,
    length_at: u16,
}

impl Extent {
    /// 6-byte CDBs: 21 bits of LBA, and a length of 0 that means 256.
    #[inline]
    fn of6(cdb: &Cdb) -> Self {
        let length = cdb.u8::<4>();
        let blocks = if length == 0 { 256 } else { u64::from(length) };
        Self { lba: u64::from(cdb.u32::<0>() & 0x1f_ffff), blocks, length_at: 4 }
    }

    #[inline]
    fn of10(cdb: &Cdb) -> Self {
        Self { lba: u64::from(cdb.u32::<2>()), blocks: u64::from(cdb.u16::<7>()), length_at: 7 }
    }

    #[inline]
    fn of12(cdb: &Cdb) -> Self {
        Self { lba: u64::from(cdb.u32::<2>()), blocks: u64::from(cdb.u32::<6>()), length_at: 6 }
    }

    #[inline]
    fn of16(cdb: &Cdb) -> Self {
        Self { lba: cdb.u64::<2>(), blocks: u64::from(cdb.u32::<10>()), length_at: 10 }
    }
}

#[inline]
fn read(lu: &Lu, extent: &Extent, fua: bool) -> Answered {
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Read { range, fua }) })
}

#[inline]
fn write(lu: &Lu, extent: &Extent, fua: bool) -> Answered {
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    // A store without a volatile cache is durable by itself; only a switched-off one needs help.
    let fua = fua || lu.state.mode.current.write_through;
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Write { range, fua }) })
}

const FUA: u8 = 3;

pub(super) fn read6(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    read(lu, &Extent::of6(cdb), false)
}

pub(super) fn read10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    read(lu, &Extent::of10(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn read12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    read(lu, &Extent::of12(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn read16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    read(lu, &Extent::of16(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn write6(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    write(lu, &Extent::of6(cdb), false)
}

pub(super) fn write10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    write(lu, &Extent::of10(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn write12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    write(lu, &Extent::of12(cdb), cdb.bit::<1>(FUA))
}

pub(super) fn write16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    unprotected(cdb)?;
    write(lu, &Extent::of16(cdb), cdb.bit::<1>(FUA))
}

/// VERIFY: with BYTCHK 01b the data-out is compared, with 00b the medium is only read. 11b (one
/// block compared with all) is not offered, 10b is reserved (SBC-4 section 5.36).
fn verify(cdb: &Cdb, lu: &Lu, extent: &Extent) -> Answered {
    unprotected(cdb)?;
    let compare = match cdb.u8::<1>() >> 1 & 3 {
        0 => false,
        1 => true,
        _ => return Err(bad_field(1, 2)),
    };
    let range = range(&lu.facts, extent.lba, extent.blocks)?;
    if range.len == 0 {
        return Ok(Outcome::Good);
    }
    if !compare {
        return Ok(Outcome::Io(Io::Verify { range }));
    }
    transfer(&lu.facts, extent.blocks, extent.length_at)?;
    Ok(Outcome::Io(Io::Compare { range }))
}

pub(super) fn verify10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(cdb, lu, &Extent::of10(cdb))
}

pub(super) fn verify12(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(cdb, lu, &Extent::of12(cdb))
}

pub(super) fn verify16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    verify(cdb, lu, &Extent::of16(cdb))
}

/// SYNCHRONIZE CACHE: a length of 0 means up to the end (SBC-4 section 5.34).
fn synchronize(cdb: &Cdb, lu: &Lu, extent: &Extent) -> Answered {
    let rest = lu.facts.blocks.saturating_sub(extent.lba);
    let blocks = if extent.blocks == 0 { rest } else { extent.blocks };
    let range = range(&lu.facts, extent.lba, blocks)?;
    let immediate = cdb.bit::<1>(1);
    Ok(if range.len == 0 { Outcome::Good } else { Outcome::Io(Io::Flush { range, immediate }) })
}

pub(super) fn synchronize10(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    synchronize(cdb, lu, &Extent::of10(cdb))
}

pub(super) fn synchronize16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    synchronize(cdb, lu, &Extent::of16(cdb))
}

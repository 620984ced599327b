//! MODE SENSE(6) and (10) (SPC-5 sections 6.14 and 6.15).

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::{bad_field, write_protection};
use super::super::{Answered, Asc, Context, DeviceType, Failure, Lu, Sense};
use super::Settings;
use super::pages::{self, Page, Values};

/// All pages; and as a subpage code, all subpages.
const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

pub(in super::super) fn sense6(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u8::<4>()));
    let descriptor = descriptor_length(cdb, lu, false);
    answer.put(&[0, 0, device_specific(lu, cx), descriptor]);
    block_descriptor(&mut answer, lu, descriptor);
    pages(cdb, lu, &mut answer)?;
    // More than the one byte can say is for MODE SENSE(10) to ask for.
    let length = u8::try_from(answer.len() - 1).unwrap_or(u8::MAX);
    answer.patch(0, &[length]);
    Ok(answer.finish())
}

pub(in super::super) fn sense10(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    let long = cdb.bit::<1>(4);
    let descriptor = descriptor_length(cdb, lu, long);
    let long_lba = u8::from(descriptor == 16);
    answer.put(&[0, 0, 0, device_specific(lu, cx), long_lba, 0, 0, descriptor]);
    block_descriptor(&mut answer, lu, descriptor);
    pages(cdb, lu, &mut answer)?;
    answer.close_u16(0);
    Ok(answer.finish())
}

/// WP for this nexus, and DPOFUA: both bits are known in READ and WRITE (SBC-4 section 6.5.1). Of drives nothing is said
/// here (MMC-6, MODE SENSE).
fn device_specific(lu: &Lu, cx: &Context<'_>) -> u8 {
    if lu.facts.device == DeviceType::Cdrom {
        return 0;
    }
    let write_protect = if write_protection(lu, cx).is_some() { 0x80 } else { 0 };
    write_protect | 0x10
}

/// None with DBD, and of drives; long ones only for those who say that they know them (LLBAA).
fn descriptor_length(cdb: &Cdb, lu: &Lu, long: bool) -> u8 {
    match (cdb.bit::<1>(3) || lu.facts.device == DeviceType::Cdrom, long) {
        (true, _) => 0,
        (false, false) => 8,
        (false, true) => 16,
    }
}

/// A short or long LBA mode parameter block descriptor (SBC-4 sections 6.5.2.2 and 6.5.2.3).
fn block_descriptor(answer: &mut Answer<'_>, lu: &Lu, length: u8) {
    let (blocks, size) = (lu.facts.blocks, lu.facts.block_size.to_be_bytes());
    match length {
        8 => {
            answer.put(&u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes());
            answer.put(&size);
        }
        16 => {
            answer.put(&blocks.to_be_bytes());
            answer.zeroes(4);
            answer.put(&size);
        }
        _ => {}
    }
}

fn pages(cdb: &Cdb, lu: &Lu, answer: &mut Answer<'_>) -> Result<(), Failure> {
    let (code, subpage) = (cdb.u8::<2>() & 0x3f, cdb.u8::<3>());
    let mut wanted = pages::pages(&lu.facts).filter(|page| asked(page, code, subpage)).peekable();
    if wanted.peek().is_none() {
        let known = pages::pages(&lu.facts).any(|page| page.code() == code);
        return Err(if known || code == ALL_PAGES { bad_field(3, 7) } else { bad_field(2, 5) });
    }
    let values = values(cdb.u8::<2>() >> 6, lu)?;
    wanted.for_each(|page| answer.put(&page.bytes(values, lu)[..page.len()]));
    Ok(())
}

/// Subpage codes go with one page code; with all pages there are only "none" and "all".
fn asked(page: &Page, code: u8, subpage: u8) -> bool {
    let this_subpage = subpage == ALL_SUBPAGES || subpage == page.subpage();
    match code {
        ALL_PAGES => this_subpage && matches!(subpage, 0 | ALL_SUBPAGES),
        _ => this_subpage && code == page.code(),
    }
}

/// PC. Where nothing can be saved there are no saved values either.
fn values(control: u8, lu: &Lu) -> Result<Values<'_>, Failure> {
    match control {
        0 => Ok(Values::Of(&lu.state.mode.current)),
        1 => Ok(Values::Changeable),
        2 => Ok(Values::Of(&Settings::DEFAULTS)),
        _ if lu.facts.saves => Ok(Values::Of(&lu.state.mode.saved)),
        _ => Err(Sense::illegal(Asc::SAVING_NOT_SUPPORTED).into()),
    }
}

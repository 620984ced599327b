//! Commands that neither touch the medium nor have a page of their own: readiness, capacity,
//! sense data, the LUN inventory.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::bad_field;
use super::{Answered, Context, Lu, MAX_SENSE, Outcome, REPORT_LUNS_LUN, Sense};

/// That the medium is accessible has been checked before.
pub(super) fn test_unit_ready(_: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    Ok(Outcome::Good)
}

/// REQUEST SENSE (SPC-5 section 6.39): a pending unit attention is reported and is then no longer
/// pending; else how the port stands, the medium, and the drive.
pub(super) fn request_sense(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let standing = || match &lu.state.erasure {
        Some(erasure) => erasure.sense(lu.counters.progress()),
        None => lu.state.drive.sense(lu.power()),
    };
    let sense = match cx.attentions.take() {
        Some(asc) => lu.attention_sense(asc),
        None => lu.barrier(cx.nexus).map_or_else(standing, Sense::not_ready),
    };
    Ok(sense_data(cdb, sense, out))
}

/// Sense data as data-in, in the format that DESC asks for.
pub(super) fn sense_data(cdb: &Cdb, sense: Sense, out: &mut [u8]) -> Outcome {
    let mut bytes = [0; MAX_SENSE];
    let length = sense.encode(cdb.bit::<1>(0), &mut bytes);
    let mut answer = Answer::new(out, usize::from(cdb.u8::<4>()));
    answer.put(&bytes[..length]);
    answer.finish()
}

/// READ CAPACITY(10) (SBC-4 section 5.20): the last LBA, or FFFF_FFFFh where 32 bits do not do.
pub(super) fn capacity10(_: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let last = u32::try_from(lu.facts.blocks.saturating_sub(1)).unwrap_or(u32::MAX);
    let mut answer = Answer::new(out, 8);
    answer.put(&last.to_be_bytes());
    answer.put(&lu.facts.block_size.to_be_bytes());
    Ok(answer.finish())
}

/// READ CAPACITY(16) (SBC-4 section 5.21.2).
pub(super) fn capacity16(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let facts = &lu.facts;
    let mut answer = Answer::new(out, cdb.u32::<10>() as usize);
    answer.put(&facts.blocks.saturating_sub(1).to_be_bytes());
    answer.put(&facts.block_size.to_be_bytes());
    // No protection (byte 12); the first physical block begins with the first logical one.
    answer.put(&[0, facts.physical_exponent & 0x0f]);
    let provisioning = facts.thin.as_ref().map_or(0, |thin| 0x80 | u8::from(thin.lbprz) << 6);
    answer.put(&[provisioning, 0]);
    answer.zeroes(16);
    Ok(answer.finish())
}

/// REPORT LUNS (SPC-5 section 6.33); it answers a pending "reported LUNs data has changed" as well.
pub(super) fn report_luns(cdb: &Cdb, _: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    luns(cdb, cx, out)
}

/// The same where the addressed LUN names no logical unit, or the well known one.
pub(super) fn luns(cdb: &Cdb, cx: &Context<'_>, out: &mut [u8]) -> Answered {
    let Some((plain, well_known)) = selected(cdb.u8::<2>()) else { return Err(bad_field(2, 7)) };
    let allocation = cdb.u32::<6>() as usize;
    let mut answer = Answer::new(out, allocation);
    answer.zeroes(8);
    if plain {
        cx.luns.iter().for_each(|lun| answer.put(&lun_bytes(*lun)));
    }
    if well_known {
        answer.put(&REPORT_LUNS_LUN.to_be_bytes());
    }
    answer.close_u32(0, 8);
    Ok(answer.finish())
}

/// What SELECT REPORT asks for: the plain logical units, and the well known ones (SPC-5 table 265).
/// There are no conglomerates: no administrative logical unit (10h), and none that is subsidiary to
/// one (12h); the units that belong to no conglomerate (11h) are all that are not well known.
fn selected(report: u8) -> Option<(bool, bool)> {
    match report {
        0x00 | 0x11 => Some((true, false)),
        0x01 => Some((false, true)),
        0x02 => Some((true, true)),
        0x10 | 0x12 => Some((false, false)),
        _ => None,
    }
}

/// A LUN in the peripheral format below 256, in the flat format above (SAM-6 section 4.7.7).
fn lun_bytes(lun: u16) -> [u8; 8] {
    let method = if lun < 0x100 { 0 } else { 0x4000 };
    let [high, low] = (lun & 0x3fff | method).to_be_bytes();
    [high, low, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::super::LuFacts;
    use super::super::testing::{Rig, facts};
    use super::*;

    #[test]
    fn capacity_in_both_lengths() {
        let mut rig = Rig::new(facts());
        let ten = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(rig.data(&ten), [0, 0x1f, 0xff, 0xff, 0, 0, 2, 0]);
        let sixteen = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
        let got = rig.data(&sixteen);
        assert_eq!(got[..16], [0, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0, 0, 3, 0xc0, 0]);
        assert_eq!(got.len(), 32);
        let short = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0];
        assert_eq!(rig.data(&short), got[..15]);
    }

    #[test]
    fn a_capacity_beyond_32_bits_and_a_thick_unit() {
        let mut rig = Rig::new(LuFacts { blocks: 1 << 33, thin: None, ..facts() });
        assert_eq!(rig.data(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0])[..4], [0xff; 4]);
        let got = rig.data(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
        assert_eq!((&got[..8], got[14]), (&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff][..], 0));
    }

    #[test]
    fn luns_in_peripheral_and_flat_format() {
        let mut rig = Rig::new(facts());
        let got = rig.data(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(got[..8], [0, 0, 0, 24, 0, 0, 0, 0]);
        let luns: Vec<_> = got[8..].chunks(8).map(|lun| (lun[0], lun[1])).collect();
        assert_eq!(luns, [(0, 0), (0, 1), (0x41, 0x2c)]);
    }

    #[test]
    fn report_luns_fields() {
        let mut rig = Rig::new(facts());
        let report = |select, allocation| [0xa0, 0, select, 0, 0, 0, 0, 0, 0, allocation, 0, 0];
        assert_eq!(rig.data(&report(0, 16)).len(), 16);
        let well_known = [0, 0, 0, 8, 0, 0, 0, 0, 0xc1, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(rig.data(&report(1, 64)), well_known);
        assert_eq!(
            rig.data(&report(2, 64)),
            [&[0, 0, 0, 32], &rig.data(&report(0, 64))[4..], &well_known[8..]].concat()
        );
        assert_eq!(rig.data(&report(0x11, 64)), rig.data(&report(0, 64)));
        for none in [0x10, 0x12] {
            assert_eq!(rig.data(&report(none, 64)), [0; 8]);
        }
        assert_eq!(rig.sense(&report(3, 16)), Sense::cdb_field(2, 7));
        assert_eq!(rig.data(&report(0, 15)), rig.data(&report(0, 16))[..15]);
    }
}

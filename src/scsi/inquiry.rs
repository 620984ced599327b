//! INQUIRY: what the logical unit is called and what it can (SPC-5 section 6.6).

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::bad_field;
use super::{Answered, Context, DeviceType, Lu, Outcome, vpd};

/// Peripheral qualifier 011b with device type 1Fh: the LUN can name no logical unit.
const NOT_THERE: u8 = 0x7f;

/// The claim of SPC-4, which is the newest that initiators in use accept; what SPC-5 adds is told
/// by the version descriptors and the fields themselves.
const VERSION: u8 = 0x06;

/// The standards (SPC-5 table 145): SAM-6, iSCSI, SPC-5, SBC-4; and, for those who look for these, SPC-4 and SBC-3.
const VERSION_DESCRIPTORS: [u16; 6] = [0x00c0, 0x0960, 0x05c0, 0x0600, 0x0460, 0x04c0];

/// Likewise of a drive: MMC-6 in the place of SBC-4, and of the older ones SPC-4 only.
const DRIVE_DESCRIPTORS: [u16; 6] = [0x00c0, 0x0960, 0x05c0, 0x04e0, 0x0460, 0x0000];

/// Length of the standard data: up to and with the eight version descriptors and what is reserved.
const STANDARD_LENGTH: usize = 96;

pub(super) fn inquiry(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
    if !pages_asked(cdb)? {
        let identity = &lu.facts.identity;
        let names = [&*identity.vendor, &identity.product, &identity.revision];
        let tpgs = lu.facts.groups.of_port(cx.nexus.relative_port).tpgs();
        standard(&mut answer, lu.facts.device.code(), lu.facts.removable, tpgs, names);
    } else {
        vpd::page(cdb.u8::<2>(), lu, cx, &mut answer)?;
    }
    Ok(answer.finish())
}

/// INQUIRY where there is no logical unit: GOOD, with a qualifier that says so.
pub(super) fn absent(cdb: &Cdb, out: &mut [u8]) -> Answered {
    if pages_asked(cdb)? {
        return Err(bad_field(2, 7));
    }
    let mut answer = Answer::new(out, usize::from(cdb.u16::<3>()));
    standard(&mut answer, NOT_THERE, false, 0, ["ringtgt", "", ""]);
    Ok::<Outcome, _>(answer.finish())
}

/// EVPD; without it there is no page code, and CMDDT is obsolete.
pub(super) fn pages_asked(cdb: &Cdb) -> Result<bool, super::Failure> {
    let evpd = cdb.bit::<1>(0);
    if cdb.bit::<1>(1) {
        return Err(bad_field(1, 1));
    }
    if !evpd && cdb.u8::<2>() != 0 {
        return Err(bad_field(2, 7));
    }
    Ok(evpd)
}

/// `tpgs` says what changes how well this port reaches the logical unit.
pub(super) fn standard(answer: &mut Answer<'_>, peripheral: u8, removable: bool, tpgs: u8, names: [&str; 3]) {
    let [vendor, product, revision] = names;
    // RMB; HISUP: 64-bit LUNs; response data format 2.
    answer.put(&[peripheral, u8::from(removable) << 7, VERSION, 0x12, (STANDARD_LENGTH - 5) as u8]);
    // No SCC or protection, but TPGS; 3PC: third-party copy, which drives have not; MULTIP: several ports; CMDQUE: a
    // task set.
    let drive = peripheral == DeviceType::Cdrom.code();
    answer.put(&[tpgs << 4 | if drive { 0 } else { 0x08 }, 0x10, 0x02]);
    answer.put_ascii(vendor, 8);
    answer.put_ascii(product, 16);
    answer.put_ascii(revision, 4);
    answer.zeroes(58 - answer.len());
    let standards = if drive { DRIVE_DESCRIPTORS } else { VERSION_DESCRIPTORS };
    standards.iter().for_each(|standard| answer.put(&standard.to_be_bytes()));
    answer.zeroes(STANDARD_LENGTH - answer.len());
}

#[cfg(test)]
mod tests {
    use super::super::Sense;
    use super::super::testing::{Rig, cdrom, facts};

    #[test]
    fn standard_data() {
        let got = Rig::new(facts()).data(&[0x12, 0, 0, 1, 4, 0]);
        assert_eq!(got.len(), 96);
        assert_eq!(got[..8], [0, 0, 6, 0x12, 91, 8, 0x10, 2]);
        assert_eq!(&got[8..36], b"RINGTGT disk            1   ");
        assert_eq!(got[58..70], [0, 0xc0, 9, 0x60, 5, 0xc0, 6, 0, 4, 0x60, 4, 0xc0]);
    }

    #[test]
    fn standard_data_of_a_drive() {
        let got = Rig::new(cdrom(1000)).data(&[0x12, 0, 0, 1, 4, 0]);
        assert_eq!(got.len(), 96);
        assert_eq!(got[..8], [5, 0x80, 6, 0x12, 91, 0, 0x10, 2], "type 05h, RMB, no 3PC");
        assert_eq!(got[58..70], [0, 0xc0, 9, 0x60, 5, 0xc0, 4, 0xe0, 4, 0x60, 0, 0], "MMC-6");
    }

    #[test]
    fn the_allocation_length_only_cuts() {
        let mut rig = Rig::new(facts());
        let whole = rig.data(&[0x12, 0, 0, 0, 255, 0]);
        for length in 0..=255 {
            let got = rig.data(&[0x12, 0, 0, 0, length, 0]);
            assert_eq!(got, whole[..whole.len().min(usize::from(length))]);
        }
    }

    #[test]
    fn page_codes_need_evpd_and_cmddt_is_gone() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.sense(&[0x12, 0, 0x83, 0, 255, 0]), Sense::cdb_field(2, 7));
        assert_eq!(rig.sense(&[0x12, 2, 0, 0, 255, 0]), Sense::cdb_field(1, 1));
        assert_eq!(rig.sense(&[0x12, 1, 0xc0, 0, 255, 0]), Sense::cdb_field(2, 7));
    }
}

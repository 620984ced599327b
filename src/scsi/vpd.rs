//! Vital product data (SPC-5 section 7.7, SBC-4 section 6.6): one row per page.

use super::answer::Answer;
use super::check::bad_field;
use super::{Context, Failure, Lu};

/// Writes what follows the four bytes of page header.
type Page = fn(&Lu, &Context<'_>, &mut Answer<'_>);

/// The pages, in the order in which page 00h lists them: ascending.
static PAGES: &[(u8, Page)] = &[
    (0x00, supported),
    (0x80, serial),
    (0x83, identification),
    (0x86, extended),
    (0xb0, limits),
    (0xb1, characteristics),
    (0xb2, provisioning),
];

/// Writes that page, or says that there is none.
pub(super) fn page(code: u8, lu: &Lu, cx: &Context<'_>, answer: &mut Answer<'_>) -> Result<(), Failure> {
    let Some((_, page)) = PAGES.iter().find(|(known, _)| *known == code) else {
        return Err(bad_field(2, 7));
    };
    answer.put(&[0, code, 0, 0]);
    page(lu, cx, answer);
    answer.close_u16(2);
    Ok(())
}

/// 00h: Supported VPD Pages.
fn supported(_: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    PAGES.iter().for_each(|(code, _)| answer.put(&[*code]));
}

/// 80h: Unit Serial Number.
fn serial(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    let serial = &lu.facts.identity.serial;
    answer.put_ascii(serial, serial.len());
}

/// 83h: Device Identification. The NAA name comes first: it is what multipath software takes.
fn identification(lu: &Lu, cx: &Context<'_>, answer: &mut Answer<'_>) {
    let identity = &lu.facts.identity;
    designator(answer, UNIT, BINARY, 0x03, |a| a.put(identity.naa.bytes()));
    designator(answer, UNIT, BINARY, 0x0a, |a| {
        a.put(&[0x10, 0]);
        a.put(&identity.uuid);
    });
    designator(answer, UNIT, ASCII, 0x01, |a| {
        a.put_ascii(&identity.vendor, 8);
        // The whole designator is held to 64 bytes, however long the serial number is.
        a.put_ascii(&identity.serial, identity.serial.len().min(56));
    });
    let port = cx.nexus.relative_port.to_be_bytes();
    designator(answer, PORT, BINARY, 0x04, |a| a.put(&[0, 0, port[0], port[1]]));
    // All ports are in one target port group: none is better than another.
    designator(answer, PORT, BINARY, 0x05, |a| a.put(&[0, 0, 0, 1]));
    let port_name = format!("{},t,0x{:04x}", cx.nexus.target, cx.nexus.tpg_tag);
    designator(answer, PORT, UTF8, 0x08, |a| name(a, &port_name));
    designator(answer, DEVICE, UTF8, 0x08, |a| name(a, &cx.nexus.target));
}

/// Code sets (SPC-5 table 25).
const BINARY: u8 = 1;
const ASCII: u8 = 2;
const UTF8: u8 = 3;

/// Associations (SPC-5 table 522), with PIV where the protocol identifier counts.
const UNIT: u8 = 0x00;
const PORT: u8 = 0x90;
const DEVICE: u8 = 0xa0;

/// The protocol identifier of iSCSI.
const ISCSI: u8 = 5;

/// A designation descriptor; `body` writes the designator.
fn designator(
    answer: &mut Answer<'_>,
    whose: u8,
    code_set: u8,
    kind: u8,
    body: impl FnOnce(&mut Answer<'_>),
) {
    let protocol = if whose & 0x80 != 0 { ISCSI << 4 } else { 0 };
    answer.put(&[protocol | code_set, whose | kind, 0, 0]);
    let start = answer.len();
    body(answer);
    let length = answer.len() - start;
    answer.patch(start - 1, &[length as u8]);
}

/// A SCSI name string: ended by a NUL, filled up to a multiple of four (SPC-5 section 7.7.6.11).
fn name(answer: &mut Answer<'_>, name: &str) {
    answer.put(name.as_bytes());
    answer.zeroes((name.len() + 1).next_multiple_of(4) - name.len());
}

/// 86h: Extended INQUIRY Data.
fn extended(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    answer.zeroes(60);
    // Task attributes HEAD OF QUEUE, ORDERED and SIMPLE.
    answer.patch(5, &[0x07]);
    // V_SUP: there is a volatile cache.
    answer.patch(6, &[u8::from(lu.facts.write_cache)]);
}

/// B0h: Block Limits.
fn limits(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    let facts = &lu.facts;
    let granularity = 1u16 << facts.physical_exponent.min(15);
    // WSNZ: a WRITE SAME of length 0 is refused. No COMPARE AND WRITE.
    answer.put(&[0x01, 0x00]);
    answer.put(&granularity.to_be_bytes());
    answer.put(&facts.max_transfer_blocks.to_be_bytes());
    answer.put(&facts.optimal_transfer_blocks.to_be_bytes());
    answer.zeroes(4);
    match &facts.thin {
        Some(thin) => {
            answer.put(&thin.max_unmap_blocks.to_be_bytes());
            answer.put(&thin.max_unmap_descriptors.to_be_bytes());
            answer.put(&thin.granularity_blocks.to_be_bytes());
            // UGAVALID with the alignment.
            answer.put(&(0x8000_0000 | thin.alignment_blocks).to_be_bytes());
        }
        None => answer.zeroes(16),
    }
    answer.put(&facts.max_write_same_blocks().to_be_bytes());
    answer.zeroes(20);
}

/// B1h: Block Device Characteristics.
fn characteristics(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    // Rotation rate: 1 is "does not rotate", 0 is "not reported". FUAB: SYNCHRONIZE CACHE and FUA
    // mean the same.
    let rate = u16::from(!lu.facts.rotational);
    answer.put(&rate.to_be_bytes());
    answer.put(&[0, 0, 0x02]);
    answer.zeroes(55);
}

/// B2h: Logical Block Provisioning.
fn provisioning(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    match &lu.facts.thin {
        // LBPU, LBPWS, LBPWS10: unmapping by UNMAP and both WRITE SAMEs; no anchoring; thin.
        Some(thin) => answer.put(&[0, 0xe0 | u8::from(thin.lbprz) << 2, 2, 0]),
        None => answer.zeroes(4),
    }
}

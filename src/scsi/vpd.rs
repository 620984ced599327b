//! Vital product data (SPC-5 section 7.7, SBC-4 section 6.6): one row per page.

use super::answer::Answer;
use super::check::bad_field;
use super::{Context, DeviceType, Failure, Lu, LuFacts, MAX_SENSE, copy};

/// Writes what follows the four bytes of page header.
type Page = fn(&Lu, &Context<'_>, &mut Answer<'_>);

/// The pages, in the order in which page 00h lists them: ascending.
static PAGES: &[(u8, Page)] = &[
    (0x00, supported),
    (0x80, serial),
    (0x83, identification),
    (0x85, management),
    (0x86, extended),
    (0x87, policy),
    (0x88, ports),
    (0x8f, copy::page),
    (0xb0, limits),
    (0xb1, characteristics),
    (0xb2, provisioning),
    (REFERRALS, referrals),
    (0xb7, further_limits),
    (RANGES, ranges),
];

/// Only of a disk with several actuators.
const RANGES: u8 = 0xb9;

/// Only where there is one target port group: see [`super::alua::referrals`].
const REFERRALS: u8 = 0xb3;

/// Of these a drive has none (SBC-4): Third-Party Copy, and what block devices tell of themselves.
const OF_DISKS: [u8; 7] = [0x8f, 0xb0, 0xb1, 0xb2, REFERRALS, 0xb7, RANGES];

/// The pages that the logical unit has.
fn pages(facts: &LuFacts) -> impl Iterator<Item = &'static (u8, Page)> {
    let disk = facts.device == DeviceType::Disk;
    let (refers, ranges) = (facts.groups.is_one(), facts.concurrent_ranges().is_some());
    PAGES.iter().filter(move |(code, _)| match *code {
        code if OF_DISKS.contains(&code) && !disk => false,
        REFERRALS => refers,
        RANGES => ranges,
        _ => true,
    })
}

/// Writes that page, or says that there is none.
pub(super) fn page(code: u8, lu: &Lu, cx: &Context<'_>, answer: &mut Answer<'_>) -> Result<(), Failure> {
    let Some((_, page)) = pages(&lu.facts).find(|(known, _)| *known == code) else {
        return Err(bad_field(2, 7));
    };
    answer.put(&[lu.facts.device.code(), code, 0, 0]);
    page(lu, cx, answer);
    answer.close_u16(2);
    Ok(())
}

/// 00h: Supported VPD Pages.
fn supported(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    pages(&lu.facts).for_each(|(code, _)| answer.put(&[*code]));
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
        a.put_ascii(identity.t10(), identity.t10().len());
    });
    port_designators(Some(lu), cx, answer);
}

/// The names of the port that the nexus came through, of its target port group, and of the target.
pub(super) fn port_designators(lu: Option<&Lu>, cx: &Context<'_>, answer: &mut Answer<'_>) {
    let port = cx.nexus.relative_port.to_be_bytes();
    designator(answer, PORT, BINARY, 0x04, |a| a.put(&[0, 0, port[0], port[1]]));
    if let Some(lu) = lu {
        let group = lu.facts.groups.of_port(cx.nexus.relative_port).id.to_be_bytes();
        designator(answer, PORT, BINARY, 0x05, |a| a.put(&[0, 0, group[0], group[1]]));
    }
    designator(answer, PORT, UTF8, 0x08, |a| name(a, &cx.nexus.port_name(cx.nexus.tpg_tag)));
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

/// 85h: Management Network Addresses: none. The daemon is managed through a socket of its host's file system.
fn management(_: &Lu, _: &Context<'_>, _: &mut Answer<'_>) {}

/// 86h: Extended INQUIRY Data.
fn extended(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    answer.zeroes(60);
    // Task attributes HEAD OF QUEUE, ORDERED and SIMPLE.
    answer.patch(5, &[0x07]);
    // V_SUP: there is a volatile cache.
    answer.patch(6, &[u8::from(lu.facts.write_cache)]);
    // R_SUP: there are referrals.
    answer.patch(8, &[u8::from(pages(&lu.facts).any(|(code, _)| *code == REFERRALS)) << 4]);
    // Sense data is never longer.
    answer.patch(13, &[MAX_SENSE as u8]);
}

/// 87h: Mode Page Policy. All pages (3Fh, with all subpages) are shared by all I_T nexuses.
fn policy(_: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    answer.put(&[0x3f, 0xff, 0, 0]);
}

/// 88h: SCSI Ports. What initiator ports there are is not said; a target port is known by its name.
fn ports(_: &Lu, cx: &Context<'_>, answer: &mut Answer<'_>) {
    for port in cx.ports {
        let [high, low] = port.relative.to_be_bytes();
        answer.put(&[0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0]);
        let start = answer.len();
        designator(answer, PORT, UTF8, 0x08, |a| name(a, &cx.nexus.port_name(port.tag)));
        answer.close_u16(start - 2);
    }
}

/// B0h: Block Limits.
fn limits(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    let facts = &lu.facts;
    let granularity = 1u16 << facts.physical_exponent.min(15);
    // Not WSNZ: a WRITE SAME of length 0 goes to the end.
    answer.put(&[0x00, facts.max_compare_and_write_blocks()]);
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
    if let Some(atomic) = &facts.atomic {
        answer.put(&atomic.max_blocks.to_be_bytes());
        answer.put(&atomic.alignment_blocks.to_be_bytes());
        answer.put(&atomic.granularity_blocks.to_be_bytes());
    }
    answer.zeroes(64 - answer.len());
}

/// B1h: Block Device Characteristics.
fn characteristics(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    // Rotation rate: 1 is "does not rotate", 0 is "not reported". FUAB: SYNCHRONIZE CACHE and FUA
    // mean the same. VBULS: VERIFY compares unmapped blocks, too, as what they read as.
    let rate = u16::from(!lu.facts.rotational);
    answer.put(&rate.to_be_bytes());
    // WABEREQ 01b: after BLOCK ERASE blocks can be read before they are written. There is no CRYPTOGRAPHIC ERASE.
    let erases = u8::from(lu.facts.thin.is_some()) << 6;
    answer.put(&[0, erases, 0x03]);
    answer.zeroes(55);
}

/// B2h: Logical Block Provisioning.
fn provisioning(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    match &lu.facts.thin {
        // THRESHOLD EXPONENT. LBPU, LBPWS, LBPWS10: unmapping by UNMAP and both WRITE SAMEs; ANC_SUP; thin.
        Some(thin) => {
            let zeroes = u8::from(thin.lbprz) << 2;
            answer.put(&[thin.threshold_exponent, 0xe0 | zeroes | u8::from(thin.anchors) << 1, 2, 0]);
        }
        None => answer.zeroes(4),
    }
}

/// B3h: Referrals. Where the one segment begins and ends is told by REPORT REFERRALS.
fn referrals(_: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    answer.zeroes(12);
}

/// B7h: Block Limits Extension: there are no streams and no scattered writes.
fn further_limits(_: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    answer.zeroes(28);
}

/// B9h: Concurrent Positioning Ranges.
fn ranges(lu: &Lu, _: &Context<'_>, answer: &mut Answer<'_>) {
    answer.zeroes(60);
    for (number, (start, blocks)) in lu.facts.concurrent_ranges().into_iter().flatten().enumerate() {
        answer.put(&[number as u8, 0, 0, 0, 0, 0, 0, 0]);
        answer.put(&start.to_be_bytes());
        answer.put(&blocks.to_be_bytes());
        answer.zeroes(8);
    }
}

#[cfg(test)]
mod tests {
    use super::super::LuFacts;
    use super::super::Sense;
    use super::super::testing::{Rig, cdrom, facts};

    fn page(facts: LuFacts, code: u8) -> Vec<u8> {
        Rig::new(facts).data(&[0x12, 1, code, 2, 0, 0])
    }

    #[test]
    fn every_listed_page_is_there_and_as_long_as_it_says() {
        let listed = page(facts(), 0);
        let all = [0x00, 0x80, 0x83, 0x85, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2, 0xb3, 0xb7];
        assert_eq!(listed[4..], all);
        for code in &listed[4..] {
            let got = page(facts(), *code);
            assert_eq!(got[1], *code);
            assert_eq!(usize::from(u16::from_be_bytes([got[2], got[3]])), got.len() - 4);
        }
    }

    #[test]
    fn a_drive_has_no_pages_of_block_devices() {
        let listed = page(cdrom(1000), 0);
        assert_eq!(listed, [5, 0, 0, 7, 0x00, 0x80, 0x83, 0x85, 0x86, 0x87, 0x88]);
        for code in &listed[4..] {
            assert_eq!(page(cdrom(1000), *code)[..2], [5, *code]);
        }
        for code in [0x8f, 0xb0, 0xb1, 0xb2, 0xb3, 0xb7] {
            let refused = Rig::new(cdrom(1000)).sense(&[0x12, 1, code, 2, 0, 0]);
            assert_eq!(refused, Sense::cdb_field(2, 7));
        }
    }

    #[test]
    fn the_serial_number() {
        assert_eq!(&page(facts(), 0x80)[4..], b"0123456789abcdef");
    }

    /// The descriptors of page 83h: protocol and code set, association and type, designator.
    fn designators() -> Vec<(u8, u8, Vec<u8>)> {
        let got = page(facts(), 0x83);
        let mut rest = &got[4..];
        let mut list = vec![];
        while let [set, kind, _, length, tail @ ..] = rest {
            let (body, next) = tail.split_at(usize::from(*length));
            list.push((*set, *kind, body.to_vec()));
            rest = next;
        }
        list
    }

    #[test]
    fn names_of_unit_port_and_target() {
        let list = designators();
        assert_eq!(list[0], (1, 3, vec![0x30, 1, 2, 3, 4, 5, 6, 7]), "NAA first");
        assert_eq!(list[1], (1, 0x0a, [vec![0x10, 0], vec![7; 16]].concat()));
        assert_eq!(list[2], (2, 1, b"RINGTGT 0123456789abcdef".to_vec()));
        assert_eq!(list[3], (0x51, 0x94, vec![0, 0, 0, 1]));
        assert_eq!(list[4], (0x51, 0x95, vec![0, 0, 0, 0]), "the default target port group");
        let port = b"iqn.2026-01.org.example:disk,t,0x0001\0\0\0".to_vec();
        assert_eq!(list[5], (0x53, 0x98, port));
        assert_eq!(list[6], (0x53, 0xa8, b"iqn.2026-01.org.example:disk\0\0\0\0".to_vec()));
        assert_eq!(list.len(), 7);
    }

    #[test]
    fn all_ports_by_number_and_name() {
        let got = page(facts(), 0x88);
        let name = b"iqn.2026-01.org.example:disk,t,0x0007\0\0\0";
        let port = |high, low| [&[0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 44, 0x53, 0x98, 0, 40][..]].concat();
        assert_eq!(got[4..20], port(0, 1));
        assert_eq!(got[60..76], port(1, 2));
        assert_eq!(&got[76..], name);
    }

    #[test]
    fn mode_pages_are_shared() {
        assert_eq!(page(facts(), 0x87)[4..], [0x3f, 0xff, 0, 0]);
    }

    #[test]
    fn block_limits_of_a_thin_unit() {
        let got = page(facts(), 0xb0);
        assert_eq!(got.len(), 64);
        let u32_at = |at: usize| u32::from_be_bytes([got[at], got[at + 1], got[at + 2], got[at + 3]]);
        assert_eq!(got[4..8], [0, 255, 0, 8]);
        assert_eq!((u32_at(8), u32_at(12), u32_at(16)), (1 << 16, 512, 0));
        assert_eq!((u32_at(20), u32_at(24), u32_at(28), u32_at(32)), (1 << 16, 16, 8, 1 << 31));
        assert_eq!((u32_at(36), u32_at(40)), (0, 1 << 16));
    }

    #[test]
    fn a_thick_unit_has_no_unmap_limits() {
        let thick = LuFacts { thin: None, ..facts() };
        assert_eq!(page(thick.clone(), 0xb0)[20..36], [0; 16]);
        assert_eq!(page(thick, 0xb2)[4..], [0; 4]);
    }

    #[test]
    fn characteristics_and_provisioning() {
        let got = page(facts(), 0xb1);
        assert_eq!((got.len(), &got[4..9]), (64, &[0, 1, 0, 0x40, 3][..]));
        let thick = LuFacts { thin: None, ..facts() };
        assert_eq!(page(thick, 0xb1)[4..9], [0, 1, 0, 0, 3]);
        assert_eq!(page(facts(), 0xb2)[4..], [0, 0xe4, 2, 0]);
    }

    #[test]
    fn what_there_is_not_is_told_as_zero() {
        assert_eq!(page(facts(), 0x85), [0, 0x85, 0, 0], "no management networks");
        assert_eq!(page(facts(), 0xb3), [&[0, 0xb3, 0, 12][..], &[0; 12]].concat(), "no size of segments");
        assert_eq!(page(facts(), 0xb7), [&[0, 0xb7, 0, 28][..], &[0; 28]].concat(), "no streams");
    }

    #[test]
    fn a_disk_with_several_actuators_tells_which_blocks_each_has() {
        let two = LuFacts { ranges: vec![(0, 1 << 20), (1 << 20, 1 << 20)], ..facts() };
        let got = page(two.clone(), 0xb9);
        assert_eq!((got.len(), &got[..4]), (64 + 2 * 32, &[0, 0xb9, 0, 124][..]));
        assert_eq!(got[64..88], [[0; 8], 0u64.to_be_bytes(), (1u64 << 20).to_be_bytes()].concat());
        assert_eq!(
            got[96..120],
            [[1, 0, 0, 0, 0, 0, 0, 0], (1u64 << 20).to_be_bytes(), (1u64 << 20).to_be_bytes()].concat()
        );
        assert_eq!(page(two.clone(), 0).last(), Some(&0xb9));
        let part = LuFacts { blocks: 1000, ..two };
        assert_eq!(
            Rig::new(part).sense(&[0x12, 1, 0xb9, 2, 0, 0]),
            Sense::cdb_field(2, 7),
            "not of a part of it"
        );
    }

    #[test]
    fn extended_data() {
        let got = page(facts(), 0x86);
        assert_eq!((got.len(), got[5], got[6], got[8], got[13]), (64, 7, 1, 0x10, 40));
    }
}

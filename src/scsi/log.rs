//! Log pages (SPC-5 section 7.3, SBC-4 section 6.4): LOG SENSE and LOG SELECT.
//!
//! The numbers are those of [`Counters`](super::Counters), less what they were when LOG SELECT set
//! them back. Nothing is saved, and no threshold is watched.

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::{bad_field, bad_length};
use super::counters::{Count, Totals};
use super::{Answered, Context, Failure, Lu, LuFacts, Outcome, Sense, SharedOp};

/// A log page: its code, its subpage code, and what writes its parameters.
struct Page {
    code: u8,
    subpage: u8,
    /// Whether LOG SELECT can set it back, and which of the bases it then takes.
    base: Option<usize>,
    body: fn(&mut Parameters<'_, '_>, &Totals, &Lu),
}

/// The pages, in ascending order.
static PAGES: &[Page] = &[
    Page { code: 0x00, subpage: 0x00, base: None, body: supported_pages },
    Page { code: 0x00, subpage: 0xff, base: None, body: supported_subpages },
    Page { code: 0x02, subpage: 0x00, base: Some(0), body: write_errors },
    Page { code: 0x03, subpage: 0x00, base: Some(1), body: read_errors },
    Page { code: 0x05, subpage: 0x00, base: Some(2), body: verify_errors },
    Page { code: LBP, subpage: 0x00, base: None, body: provisioning },
    Page { code: 0x0d, subpage: 0x00, base: None, body: temperature },
    Page { code: 0x10, subpage: 0x00, base: None, body: self_tests },
    Page { code: 0x19, subpage: 0x00, base: Some(3), body: statistics },
    Page { code: 0x2f, subpage: 0x00, base: None, body: exceptions },
];

/// 0Ch, Logical Block Provisioning (SBC-4 section 6.4.4): of a unit of which it is known how much space there is.
const LBP: u8 = 0x0c;

/// The pages that the logical unit has.
fn pages(facts: &LuFacts) -> impl Iterator<Item = &'static Page> {
    let counts_space = facts.thin.is_some_and(|thin| thin.threshold_exponent != 0);
    PAGES.iter().filter(move |page| page.code != LBP || counts_space)
}

/// What the counters were when each page that can be was set back.
pub type LogBases = [Totals; 4];

/// The parameters of a page, from the one that is asked for on.
struct Parameters<'a, 'b> {
    answer: &'a mut Answer<'b>,
    /// PARAMETER POINTER.
    from: u16,
    /// The last code there is.
    last: u16,
}

/// TSD: the target does not save it; and the formats (SPC-5 table 343).
const COUNTER: u8 = 0x22;
const LIST: u8 = 0x23;

impl Parameters<'_, '_> {
    fn put(&mut self, code: u16, control: u8, value: &[u8]) {
        self.last = code;
        if code >= self.from {
            let [high, low] = code.to_be_bytes();
            self.answer.put(&[high, low, control, value.len() as u8]);
            self.answer.put(value);
        }
    }
}

fn supported_pages(page: &mut Parameters<'_, '_>, _: &Totals, lu: &Lu) {
    pages(&lu.facts).filter(|p| p.subpage == 0).for_each(|p| page.answer.put(&[p.code]));
}

fn supported_subpages(page: &mut Parameters<'_, '_>, _: &Totals, lu: &Lu) {
    pages(&lu.facts).for_each(|p| page.answer.put(&[p.code, p.subpage]));
}

/// Total bytes processed (0005h), and errors that nothing mended (0006h). What disks below have mended is
/// not known here.
fn errors(page: &mut Parameters<'_, '_>, bytes: u64, uncorrected: u64) {
    page.put(0x0005, COUNTER, &bytes.to_be_bytes());
    page.put(0x0006, COUNTER, &uncorrected.to_be_bytes());
}

/// 02h, Write Error Counters.
fn write_errors(page: &mut Parameters<'_, '_>, totals: &Totals, _: &Lu) {
    errors(page, totals.get(Count::BytesWritten), totals.get(Count::WriteErrors));
}

/// 03h, Read Error Counters.
fn read_errors(page: &mut Parameters<'_, '_>, totals: &Totals, _: &Lu) {
    errors(page, totals.get(Count::BytesRead), totals.get(Count::ReadErrors));
}

/// 05h, Verify Error Counters.
fn verify_errors(page: &mut Parameters<'_, '_>, totals: &Totals, _: &Lu) {
    errors(page, totals.get(Count::BytesVerified), totals.get(Count::VerifyErrors));
}

/// Resource counts, and whose they are: what is available (0001h) is for others too (10b), what is used (0002h) is so by
/// this unit alone (01b).
fn provisioning(page: &mut Parameters<'_, '_>, _: &Totals, lu: &Lu) {
    let Some(resources) = lu.state.space.resources else { return };
    let counts = [(resources.available, 2), (resources.used, 1)];
    for (code, (count, scope)) in (1..).zip(counts) {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&count.to_be_bytes());
        value[4] = scope;
        page.put(code, LIST, &value);
    }
}

/// A temperature that is not known.
const NO_TEMPERATURE: u8 = 0xff;

/// 0Dh, Temperature: of what is below no temperature is known, and there is no reference either.
fn temperature(page: &mut Parameters<'_, '_>, _: &Totals, _: &Lu) {
    page.put(0x0000, LIST, &[0, NO_TEMPERATURE]);
    page.put(0x0001, LIST, &[0, NO_TEMPERATURE]);
}

/// 10h, Self-Test Results: twenty, none of which has been run.
fn self_tests(page: &mut Parameters<'_, '_>, _: &Totals, _: &Lu) {
    (1..=20).for_each(|test| page.put(test, LIST, &[0; 16]));
}

/// 19h, General Statistics and Performance: commands, and the blocks that came and went for them: of WRITE SAME one.
/// How long they took is not counted, and so the fields for that are zero, and there is no Time Interval parameter.
fn statistics(page: &mut Parameters<'_, '_>, totals: &Totals, lu: &Lu) {
    let blocks = |bytes: u64| bytes / u64::from(lu.facts.block_size.max(1));
    // They are added up one after the other, while others count on.
    let one_by_one = totals.get(Count::BytesWritten).saturating_sub(totals.get(Count::BytesFilled));
    let came = blocks(one_by_one).wrapping_add(totals.get(Count::FillBlocks));
    let commands = [totals.get(Count::Reads), totals.get(Count::Writes)];
    let counts = commands.into_iter().chain([came, blocks(totals.get(Count::BytesRead))]);
    let mut value = [0; 64];
    for (field, count) in value.chunks_exact_mut(8).zip(counts) {
        field.copy_from_slice(&count.to_be_bytes());
    }
    page.put(0x0001, LIST, &value);
}

/// 2Fh, Informational Exceptions: none.
fn exceptions(page: &mut Parameters<'_, '_>, _: &Totals, _: &Lu) {
    page.put(0x0000, LIST, &[0, 0, NO_TEMPERATURE, 0]);
}

/// The page that byte 2 and byte 3 name.
fn find(cdb: &Cdb, facts: &LuFacts) -> Result<&'static Page, Failure> {
    let (code, subpage) = (cdb.u8::<2>() & 0x3f, cdb.u8::<3>());
    if let Some(page) = pages(facts).find(|p| p.code == code && p.subpage == subpage) {
        return Ok(page);
    }
    let known = pages(facts).any(|p| p.code == code);
    Err(if known { bad_field(3, 7) } else { bad_field(2, 5) })
}

/// Values that PC names (SPC-5 table 183).
const CURRENT_THRESHOLD: u8 = 0;
const DEFAULT_THRESHOLD: u8 = 2;
const DEFAULT_CUMULATIVE: u8 = 3;

/// LOG SENSE (SPC-5 section 6.9).
pub(super) fn sense(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    if cdb.u8::<1>() & 0x03 != 0 {
        return Err(bad_field(1, if cdb.bit::<1>(1) { 1 } else { 0 }));
    }
    let page = find(cdb, &lu.facts)?;
    let control = cdb.u8::<2>() >> 6;
    if page.base.is_some() && matches!(control, CURRENT_THRESHOLD | DEFAULT_THRESHOLD) {
        return Err(bad_field(2, 7));
    }
    let totals = match page.base {
        Some(base) if control != DEFAULT_CUMULATIVE => lu.counters.totals().since(&lu.state.log_bases[base]),
        _ => Totals::default(),
    };
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    // DS: the page is not saved; SPF: it has a subpage code.
    let spf = if page.subpage == 0 { 0 } else { 0x40 };
    answer.put(&[0x80 | spf | page.code, page.subpage, 0, 0]);
    let from = cdb.u16::<5>();
    let mut parameters = Parameters { answer: &mut answer, from, last: 0 };
    (page.body)(&mut parameters, &totals, lu);
    if from > parameters.last {
        return Err(bad_field(5, 7));
    }
    answer.close_u16(2);
    Ok(answer.finish())
}

/// LOG SELECT (SPC-5 section 6.8): PCR, or default cumulative values without a list, sets counters back. There is no
/// parameter that could be given another value.
pub(super) fn select(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    if cdb.bit::<1>(0) {
        return Err(bad_field(1, 0));
    }
    let (reset, length) = (cdb.bit::<1>(1), cdb.u16::<7>());
    if reset && length != 0 {
        return Err(bad_field(7, 7));
    }
    let (code, subpage) = (cdb.u8::<2>() & 0x3f, cdb.u8::<3>());
    // A list names its pages itself.
    if length != 0 && code != 0 {
        return Err(bad_field(2, 5));
    }
    if length != 0 && subpage != 0 {
        return Err(bad_field(3, 7));
    }
    let all = code == 0 && subpage == 0;
    let bases = if all { 0..4 } else { find(cdb, &lu.facts)?.base.map_or(0..0, |base| base..base + 1) };
    if length != 0 {
        return Ok(Outcome::Params(length.into()));
    }
    if !reset && cdb.u8::<2>() >> 6 != DEFAULT_CUMULATIVE {
        return Ok(Outcome::Good);
    }
    let (mut to, totals) = (lu.state.log_bases, lu.counters.totals());
    bases.for_each(|base| to[base] = totals);
    Ok(if to == lu.state.log_bases {
        Outcome::Good
    } else {
        Outcome::Shared(SharedOp::LogSelect(Box::new(to)))
    })
}

pub(super) fn select_params(_: &Cdb, lu: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    let Some([code, subpage, high, low]) = data.first_chunk() else { return Err(bad_length()) };
    let spf = code & 0x40 != 0;
    let known = |p: &&Page| p.code == code & 0x3f && p.subpage == if spf { *subpage } else { 0 };
    if !pages(&lu.facts).any(|p| known(&p)) {
        return Err(Sense::parameter_field(0, 5).into());
    }
    match usize::from(u16::from_be_bytes([*high, *low])) {
        length if data.len() < 4 + length => Err(Sense::parameter_field(2, 7).into()),
        0 if data.len() == 4 => Ok(Outcome::Good),
        _ => Err(Sense::parameter_field(4, 7).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts};
    use super::super::{Asc, Io, Range};
    use super::*;

    fn sense(control: u8, code: u8, subpage: u8) -> [u8; 10] {
        [0x4d, 0, control << 6 | code, subpage, 0, 0, 0, 2, 0, 0]
    }

    /// The parameters of a page: code, control, value.
    fn parameters(rig: &mut Rig, code: u8) -> Vec<(u16, u8, Vec<u8>)> {
        let got = rig.data(&sense(1, code, 0));
        assert_eq!(
            (got[0], got[1], got.len()),
            (0x80 | code, 0, 4 + usize::from(u16::from_be_bytes([got[2], got[3]])))
        );
        let (mut rest, mut list) = (&got[4..], vec![]);
        while let [high, low, control, length, tail @ ..] = rest {
            let (value, next) = tail.split_at(usize::from(*length));
            list.push((u16::from_be_bytes([*high, *low]), *control, value.to_vec()));
            rest = next;
        }
        list
    }

    fn number(value: &[u8]) -> u64 {
        u64::from_be_bytes(value.try_into().unwrap())
    }

    /// A unit that has read 3 blocks in 2 commands, written 5, and failed once at each.
    fn used() -> Rig {
        let rig = Rig::new(facts());
        let counts = [
            (Count::Reads, 2),
            (Count::BytesRead, 3 * 512),
            (Count::Writes, 1),
            (Count::BytesWritten, 5 * 512),
            (Count::BytesVerified, 7 * 512),
            (Count::ReadErrors, 1),
            (Count::WriteErrors, 1),
            (Count::VerifyErrors, 1),
        ];
        counts.iter().for_each(|(what, number)| rig.lu.counters.add(*what, *number));
        rig
    }

    #[test]
    fn pages_and_subpages() {
        let mut rig = Rig::new(facts());
        let got = rig.data(&sense(1, 0, 0));
        assert_eq!(got, [0x80, 0, 0, 8, 0x00, 0x02, 0x03, 0x05, 0x0d, 0x10, 0x19, 0x2f]);
        let got = rig.data(&sense(1, 0, 0xff));
        assert_eq!(got[..8], [0xc0, 0xff, 0, 18, 0, 0, 0, 0xff]);
        for pair in got[4..].chunks(2) {
            rig.data(&sense(1, pair[0], pair[1]));
        }
        assert_eq!(rig.sense(&sense(1, 0x3e, 0)), Sense::cdb_field(2, 5));
        assert_eq!(rig.sense(&sense(1, 0x02, 1)), Sense::cdb_field(3, 7));
    }

    #[test]
    fn counters_of_errors_and_bytes() {
        let mut rig = used();
        for (code, blocks) in [(2, 5), (3, 3), (5, 7)] {
            let got = parameters(&mut rig, code);
            assert_eq!(
                got.iter().map(|p| (p.0, p.1, number(&p.2))).collect::<Vec<_>>(),
                [(5, 0x22, blocks * 512), (6, 0x22, 1)]
            );
        }
        let zeroes = rig.data(&sense(3, 2, 0));
        assert_eq!(zeroes[8..16], [0; 8], "the default cumulative values");
        for threshold in [0, 2] {
            assert_eq!(rig.sense(&sense(threshold, 2, 0)), Sense::cdb_field(2, 7));
        }
    }

    #[test]
    fn statistics_of_commands_and_blocks() {
        let got = parameters(&mut used(), 0x19);
        assert_eq!((got.len(), got[0].0, got[0].1, got[0].2.len()), (1, 1, 0x23, 64));
        let fields: Vec<u64> = got[0].2.chunks(8).map(number).collect();
        assert_eq!(fields, [2, 1, 5, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn of_write_same_one_block_has_come() {
        let mut rig = used();
        rig.lu.counters.command(&Io::Fill {
            range: Range { offset: 0, len: 100 * 512 },
            unmap: false,
            anchor: false,
        });
        let fields: Vec<u64> = parameters(&mut rig, 0x19)[0].2.chunks(8).map(number).collect();
        assert_eq!(fields[..4], [2, 2, 6, 3]);
        assert_eq!(number(&parameters(&mut rig, 2)[0].2), 105 * 512, "all of them were written");
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let mut rig = used();
        assert_eq!(parameters(&mut rig, 0x0d), [(0, 0x23, vec![0, 0xff]), (1, 0x23, vec![0, 0xff])]);
        assert_eq!(parameters(&mut rig, 0x2f), [(0, 0x23, vec![0, 0, 0xff, 0])]);
        let tests = parameters(&mut rig, 0x10);
        assert_eq!((tests.len(), &tests[19]), (20, &(20, 0x23, vec![0; 16])));
    }

    #[test]
    fn parameters_from_the_one_that_is_asked_for() {
        let mut rig = used();
        let from = |code| [0x4d, 0, 0x42, 0, 0, 0, code, 0, 255, 0];
        assert_eq!(rig.data(&from(6)).len(), 4 + 12);
        assert_eq!(rig.data(&from(1)).len(), 4 + 24);
        assert_eq!(rig.sense(&from(7)), Sense::cdb_field(5, 7));
        assert_eq!(rig.sense(&[0x4d, 1, 0x42, 0, 0, 0, 0, 0, 255, 0]), Sense::cdb_field(1, 0), "SP");
        assert_eq!(rig.sense(&[0x4d, 2, 0x42, 0, 0, 0, 0, 0, 255, 0]), Sense::cdb_field(1, 1), "PPC");
    }

    #[test]
    fn reset_of_one_page_and_of_all() {
        let mut rig = used();
        let select = |flags, code| [0x4c, flags, code, 0, 0, 0, 0, 0, 0, 0];
        let effects = rig.run_from(1, &select(2, 0x42), &[]).unwrap();
        assert_eq!(effects.attention_others, Some(Asc(0x2a, 2)));
        assert_eq!(number(&parameters(&mut rig, 2)[0].2), 0);
        assert_eq!(number(&parameters(&mut rig, 3)[0].2), 3 * 512);
        rig.lu.counters.add(Count::BytesWritten, 512);
        assert_eq!(number(&parameters(&mut rig, 2)[0].2), 512);
        rig.run_from(1, &select(2, 0), &[]).unwrap();
        for code in [2, 3, 5] {
            assert_eq!(number(&parameters(&mut rig, code)[0].2), 0);
        }
        assert_eq!(parameters(&mut rig, 0x19)[0].2, [0; 64]);
        assert_eq!(rig.start(&select(2, 0)), Outcome::Good, "nothing new");
        assert_eq!(rig.start(&select(2, 0x0d)), Outcome::Good, "nothing to set back");
    }

    #[test]
    fn default_values_without_a_list_are_a_reset_too() {
        let mut rig = used();
        assert_eq!(rig.start(&[0x4c, 0, 0x42, 0, 0, 0, 0, 0, 0, 0]), Outcome::Good);
        rig.run_from(1, &[0x4c, 0, 0xc2, 0, 0, 0, 0, 0, 0, 0], &[]).unwrap();
        assert_eq!(number(&parameters(&mut rig, 2)[0].2), 0);
    }

    #[test]
    fn what_select_refuses() {
        let mut rig = used();
        let select = |flags, length| [0x4c, flags, 0x40, 0, 0, 0, 0, 0, length, 0];
        assert_eq!(rig.sense(&select(1, 0)), Sense::cdb_field(1, 0), "SP");
        assert_eq!(rig.sense(&select(2, 4)), Sense::cdb_field(7, 7), "PCR with a list");
        assert_eq!(rig.sense(&[0x4c, 2, 0x7e, 0, 0, 0, 0, 0, 0, 0]), Sense::cdb_field(2, 5));
        let at = |byte, bit| Outcome::Fail(Sense::parameter_field(byte, bit).into());
        assert_eq!(rig.send(&select(0, 4), &[0x3e, 0, 0, 0]), at(0, 5));
        assert_eq!(rig.send(&select(0, 8), &[0x02, 0, 0, 4, 0, 5, 2, 0]), at(4, 7));
        assert_eq!(rig.send(&select(0, 4), &[0x02, 0, 0, 0]), Outcome::Good);
        let short = Outcome::Fail(Sense::illegal(Asc::PARAMETER_LIST_LENGTH).into());
        assert_eq!(rig.send(&select(0, 3), &[0; 3]), short);
        assert_eq!(rig.send(&select(0, 4), &[0x02, 0, 0, 1]), at(2, 7));
        assert_eq!(
            rig.sense(&[0x4c, 0, 0x42, 0, 0, 0, 0, 0, 4, 0]),
            Sense::cdb_field(2, 5),
            "a page and a list"
        );
        assert_eq!(rig.sense(&[0x4c, 0, 0x40, 1, 0, 0, 0, 0, 4, 0]), Sense::cdb_field(3, 7));
    }
}

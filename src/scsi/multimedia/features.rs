//! GET CONFIGURATION (MMC-6 sections 5.3 and 6.5): the features of the drive, and which of them the disc brings to bear.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::bad_field;
use super::super::{Answered, Context, Lu};
use super::Disc;

/// Profiles: the foremost first.
const PROFILES: [(u16, Disc); 2] = [(0x0010, Disc::Dvd), (0x0008, Disc::Cd)];

/// When a feature counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// Always: it is persistent.
    Always,
    /// With any disc.
    Loaded,
    /// With such a disc.
    With(Disc),
}

impl When {
    fn holds(self, disc: Option<Disc>) -> bool {
        match self {
            Self::Always => true,
            Self::Loaded => disc.is_some(),
            Self::With(kind) => disc == Some(kind),
        }
    }
}

/// A feature.
#[derive(Debug)]
struct Feature {
    code: u16,
    version: u8,
    when: When,
    /// Writes what follows the first four bytes.
    body: fn(&mut Answer<'_>, &Lu),
}

/// The features, ascending.
static FEATURES: &[Feature] = &[
    Feature { code: 0x0000, version: 0, when: When::Always, body: profiles },
    // Core. The physical interface is SCSI; INQ2: INQUIRY as in SPC; DBE: the device busy class of events.
    Feature { code: 0x0001, version: 2, when: When::Always, body: |a, _| a.put(&[0, 0, 0, 1, 3, 0, 0, 0]) },
    // Morphing. OCEvent: operational changes are told; not ASYNC: those who ask are told.
    Feature { code: 0x0002, version: 1, when: When::Always, body: |a, _| a.put(&[2, 0, 0, 0]) },
    // Removable Medium. A tray; Load, Eject, Pvnt Jmpr: no jumper keeps the tray closed; Lock.
    Feature { code: 0x0003, version: 2, when: When::Always, body: |a, _| a.put(&[0x3d, 0, 0, 0]) },
    Feature { code: 0x0010, version: 0, when: When::Loaded, body: random_readable },
    // Multi-Read: the older name for reading all kinds of CDs.
    Feature { code: 0x001d, version: 0, when: When::With(Disc::Cd), body: |_, _| {} },
    // CD Read. No C2 pointers, no CD-Text.
    Feature { code: 0x001e, version: 2, when: When::With(Disc::Cd), body: |a, _| a.zeroes(4) },
    // DVD Read.
    Feature { code: 0x001f, version: 1, when: When::With(Disc::Dvd), body: |a, _| a.zeroes(4) },
    // Power Management.
    Feature { code: 0x0100, version: 0, when: When::Always, body: |_, _| {} },
    // Timeout. There is no group 3.
    Feature { code: 0x0105, version: 1, when: When::Always, body: |a, _| a.zeroes(4) },
    // Real Time Streaming. SCS: SET CD SPEED.
    Feature { code: 0x0107, version: 3, when: When::Loaded, body: |a, _| a.put(&[8, 0, 0, 0]) },
    Feature { code: 0x0108, version: 0, when: When::Always, body: serial_number },
];

/// 0000h, Profile List: every profile, and whether the disc is of it.
fn profiles(answer: &mut Answer<'_>, lu: &Lu) {
    for (code, disc) in PROFILES {
        let [high, low] = code.to_be_bytes();
        answer.put(&[high, low, u8::from(Disc::loaded(lu) == Some(disc)), 0]);
    }
}

/// 0010h, Random Readable: the block size, the blocks that lie together on the disc, and PP: the error recovery mode page.
fn random_readable(answer: &mut Answer<'_>, lu: &Lu) {
    let together = if Disc::of(&lu.facts) == Disc::Cd { 1 } else { 16 };
    answer.put(&lu.facts.block_size.to_be_bytes());
    answer.put(&[0, together, 1, 0]);
}

/// 0108h, Drive Serial Number: a multiple of four letters.
fn serial_number(answer: &mut Answer<'_>, lu: &Lu) {
    let serial = &lu.facts.identity.serial;
    answer.put_ascii(serial, serial.len().next_multiple_of(4));
}

/// RT 00b: all from the starting one on; 01b: those of them that count; 10b: the starting one, if there is one.
pub(in super::super) fn configuration(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let (which, from) = (cdb.u8::<1>() & 3, cdb.u16::<2>());
    if which == 3 {
        return Err(bad_field(1, 1));
    }
    let disc = Disc::loaded(lu);
    let wanted = |f: &&Feature| match which {
        0 => f.code >= from,
        1 => f.code >= from && f.when.holds(disc),
        _ => f.code == from,
    };
    let mut answer = Answer::new(out, usize::from(cdb.u16::<7>()));
    answer.zeroes(6);
    let current = PROFILES.iter().find(|(_, kind)| disc == Some(*kind)).map_or(0, |(code, _)| *code);
    answer.put(&current.to_be_bytes());
    FEATURES.iter().filter(wanted).for_each(|feature| feature.put(&mut answer, lu));
    answer.close_u32(0, 4);
    Ok(answer.finish())
}

impl Feature {
    fn put(&self, answer: &mut Answer<'_>, lu: &Lu) {
        let [high, low] = self.code.to_be_bytes();
        let current = u8::from(self.when.holds(Disc::loaded(lu)));
        let persistent = u8::from(self.when == When::Always) << 1;
        answer.put(&[high, low, self.version << 2 | persistent | current, 0]);
        let start = answer.len();
        (self.body)(answer, lu);
        let length = answer.len() - start;
        answer.patch(start - 1, &[length as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, cdrom};
    use super::super::super::{Asc, Sense};

    fn ask(which: u8, from: u16, allocation: u16) -> [u8; 10] {
        let ([a, b], [c, d]) = (from.to_be_bytes(), allocation.to_be_bytes());
        [0x46, which, a, b, 0, 0, 0, c, d, 0]
    }

    /// The features of an answer: code, third byte, and the rest.
    fn features(got: &[u8]) -> Vec<(u16, u8, Vec<u8>)> {
        assert_eq!(u32::from_be_bytes([got[0], got[1], got[2], got[3]]) as usize, got.len() - 4);
        let (mut rest, mut list) = (&got[8..], vec![]);
        while let [a, b, flags, length, tail @ ..] = rest {
            let (body, next) = tail.split_at(usize::from(*length));
            assert_eq!(length % 4, 0);
            list.push((u16::from_be_bytes([*a, *b]), *flags, body.to_vec()));
            rest = next;
        }
        list
    }

    fn codes(got: &[u8]) -> Vec<u16> {
        features(got).iter().map(|(code, ..)| *code).collect()
    }

    const ALL: [u16; 12] = [0x00, 0x01, 0x02, 0x03, 0x10, 0x1d, 0x1e, 0x1f, 0x100, 0x105, 0x107, 0x108];

    #[test]
    fn all_features_of_a_cd() {
        let got = Rig::new(cdrom(1000)).data(&ask(0, 0, 512));
        assert_eq!((&got[6..8], codes(&got)), (&[0, 8][..], ALL.to_vec()));
        let all = features(&got);
        assert_eq!(all[0], (0, 3, vec![0, 0x10, 0, 0, 0, 8, 1, 0]));
        assert_eq!(all[1], (1, 0x0b, vec![0, 0, 0, 1, 3, 0, 0, 0]));
        assert_eq!(all[4], (0x10, 1, vec![0, 0, 8, 0, 0, 1, 1, 0]));
        assert_eq!((all[6].1, all[7].1), (0x09, 0x04), "CD Read counts, DVD Read does not");
        assert_eq!(all[11], (0x108, 3, b"0123456789abcdef".to_vec()));
    }

    #[test]
    fn the_features_that_count() {
        let current = |rig: &mut Rig| codes(&rig.data(&ask(1, 0, 512)));
        let without =
            |left_out: &[u16]| ALL.into_iter().filter(|c| !left_out.contains(c)).collect::<Vec<_>>();
        assert_eq!(current(&mut Rig::new(cdrom(1000))), without(&[0x1f]));
        let mut rig = Rig::new(cdrom(1 << 20));
        assert_eq!(current(&mut rig), without(&[0x1d, 0x1e]));
        assert_eq!(rig.data(&ask(0, 0, 8))[6..], [0, 0x10]);
        rig.run_from(1, &[0x1b, 0, 0, 0, 2, 0], &[]).unwrap();
        assert_eq!(current(&mut rig), without(&[0x10, 0x1d, 0x1e, 0x1f, 0x107]));
        assert_eq!(rig.data(&ask(0, 0, 8))[6..], [0, 0], "no profile without a disc");
    }

    #[test]
    fn from_one_on_or_one_alone() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(codes(&rig.data(&ask(0, 0x11, 512))), ALL[5..]);
        assert_eq!(codes(&rig.data(&ask(2, 0x1e, 512))), [0x1e]);
        assert_eq!(codes(&rig.data(&ask(2, 0x1f, 512))), [0x1f], "though it does not count");
        assert_eq!(rig.data(&ask(2, 0x20, 512)), [0, 0, 0, 4, 0, 0, 0, 8]);
        assert_eq!(rig.sense(&ask(3, 0, 512)), Sense::cdb_field(1, 1));
    }

    #[test]
    fn the_whole_length_is_told_whatever_is_wanted() {
        let mut rig = Rig::new(cdrom(1000));
        let whole = rig.data(&ask(0, 0, 512));
        assert_eq!(rig.data(&ask(0, 0, 8)), whole[..8]);
    }

    #[test]
    fn it_leaves_unit_attentions_pending() {
        let mut rig = Rig::new(cdrom(1000));
        rig.attentions.raise(Asc::MEDIUM_MAY_HAVE_CHANGED);
        rig.data(&ask(0, 0, 8));
        assert_eq!(rig.sense(&[0; 6]), Sense::attention(Asc::MEDIUM_MAY_HAVE_CHANGED));
    }
}

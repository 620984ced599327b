//! GET EVENT STATUS NOTIFICATION (MMC-6 section 6.6): what has become of the medium and the drive, for those who ask
//! again and again.
//!
//! Every nexus is told each change once, and by one answer one event, of the lowest class that has one. Nobody stands at
//! the drive, so nobody presses a button: there are no eject requests, and no events of the external request class.

use super::super::answer::Answer;
use super::super::cdb::Cdb;
use super::super::check::bad_field;
use super::super::drive::Drive;
use super::super::{Answered, Context, Lu, Power};

/// Classes of events.
const OPERATIONAL: u8 = 1;
const POWER: u8 = 2;
const MEDIA: u8 = 4;
const BUSY: u8 = 6;

/// Those that the drive has, a bit each.
const SUPPORTED: u8 = 1 << OPERATIONAL | 1 << POWER | 1 << MEDIA | 1 << BUSY;

/// Nothing of the classes that were asked for is supported.
const NEA: u8 = 0x80;

/// Codes of events of the media class.
const NEW_MEDIA: u8 = 2;
const MEDIA_REMOVAL: u8 = 3;

/// What one nexus has been told: which of the drive's changes was the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Told {
    /// By events of the media class: the disc that was there at first, and every ejecting and loading since, counted.
    media: u32,
    /// By events of the operational change class: every ejecting and loading, for each brings other features.
    features: u32,
}

impl Told {
    /// The next event of the media class. Who has never asked is told the last, who has not asked for long, the last two.
    fn media(&mut self, drive: &Drive) -> u8 {
        let latest = drive.moves.saturating_add(1);
        self.media = self.media.max(latest.saturating_sub(if self.media == 0 { 1 } else { 2 }));
        if self.media >= latest {
            return 0;
        }
        self.media += 1;
        if self.media % 2 == 1 { NEW_MEDIA } else { MEDIA_REMOVAL }
    }

    /// Whether features have changed.
    fn features(&mut self, drive: &Drive) -> bool {
        std::mem::replace(&mut self.features, drive.moves) != drive.moves
    }
}

pub(in super::super) fn event_status(cdb: &Cdb, lu: &Lu, cx: &mut Context<'_>, out: &mut [u8]) -> Answered {
    // Not polled: it would be answered when something happens, which is not offered.
    if !cdb.bit::<1>(0) {
        return Err(bad_field(1, 0));
    }
    let mut told = cx.attentions.told;
    let asked = (0..8).filter(|class| cdb.u8::<4>() & SUPPORTED & 1 << class != 0);
    let mut events = asked.map(|class| (class, event(class, lu, &mut told)));
    // That of the lowest class which has one; else that the lowest has none.
    let lowest = events.next();
    let found = lowest.filter(is_news).or_else(|| events.find(is_news)).or(lowest);
    let allocation = usize::from(cdb.u16::<7>());
    let mut answer = Answer::new(out, allocation);
    let Some((class, event)) = found else {
        answer.put(&[0, 2, NEA, SUPPORTED]);
        return Ok(answer.finish());
    };
    answer.put(&[0, 6, class, SUPPORTED]);
    answer.put(&event);
    // Who had no room for it is told again.
    if allocation >= answer.len() {
        cx.attentions.told = told;
    }
    Ok(answer.finish())
}

fn is_news((_, event): &(u8, [u8; 4])) -> bool {
    event[0] != 0
}

/// The event of a class, which begins with its code (0: there is none), and how things stand.
fn event(class: u8, lu: &Lu, told: &mut Told) -> [u8; 4] {
    let drive = &lu.state.drive;
    match class {
        // Operational change (2h): features have changed (0001h); Persistent Prevented; available.
        OPERATIONAL => {
            let change = if told.features(drive) { 1 } else { 0 };
            [change << 1, u8::from(drive.is_prevented_for_long()) << 7, 0, change]
        }
        POWER => [0, power_status(lu.power()), 0, 0],
        // The tray is open without a disc, closed with one; there are no slots.
        MEDIA => [told.media(drive), if drive.ejected { 1 } else { 2 }, 0, 0],
        // Never busy.
        _ => [0; 4],
    }
}

fn power_status(power: Power) -> u8 {
    match power {
        Power::Active => 1,
        Power::Idle => 2,
        Power::Standby | Power::Stopped => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Rig, cdrom};
    use super::super::super::{Asc, Attentions, Sense};

    fn poll(rig: &mut Rig, classes: u8) -> Vec<u8> {
        rig.data(&[0x4a, 1, 0, 0, classes, 0, 0, 0, 8, 0])
    }

    /// The media class: the code of the event, and the media status.
    fn media(rig: &mut Rig) -> (u8, u8) {
        let got = poll(rig, 0x10);
        assert_eq!((&got[..4], got.len()), (&[0, 6, 4, 0x56][..], 8));
        (got[4], got[5])
    }

    fn unit(rig: &mut Rig, byte: u8) {
        rig.run_from(1, &[0x1b, 0, 0, 0, byte, 0], &[]).unwrap();
    }

    #[test]
    fn a_disc_is_new_once() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(media(&mut rig), (2, 2));
        assert_eq!(media(&mut rig), (0, 2));
    }

    #[test]
    fn removal_and_loading_are_told_in_their_order() {
        let mut rig = Rig::new(cdrom(1000));
        media(&mut rig);
        unit(&mut rig, 2);
        assert_eq!(media(&mut rig), (3, 1), "the tray is open");
        assert_eq!(media(&mut rig), (0, 1));
        unit(&mut rig, 3);
        assert_eq!(media(&mut rig), (2, 2));
        for _ in 0..5 {
            unit(&mut rig, 2);
            unit(&mut rig, 3);
        }
        let told = [media(&mut rig), media(&mut rig), media(&mut rig)];
        assert_eq!(told, [(3, 2), (2, 2), (0, 2)], "of many the last two");
    }

    #[test]
    fn each_nexus_is_told_and_the_newest_only_of_now() {
        let mut rig = Rig::new(cdrom(1000));
        media(&mut rig);
        unit(&mut rig, 2);
        let first = std::mem::replace(&mut rig.attentions, Attentions::new());
        assert_eq!((media(&mut rig), media(&mut rig)), ((3, 1), (0, 1)), "a nexus that was not there");
        rig.attentions = first;
        assert_eq!((media(&mut rig), media(&mut rig)), ((3, 1), (0, 1)));
    }

    #[test]
    fn the_lowest_class_with_an_event_is_told() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(poll(&mut rig, 0xff), [0, 6, 4, 0x56, 2, 2, 0, 0], "new media");
        assert_eq!(poll(&mut rig, 0xff), [0, 6, 1, 0x56, 0, 0, 0, 0], "nothing, of the lowest");
        unit(&mut rig, 2);
        assert_eq!(poll(&mut rig, 0xff), [0, 6, 1, 0x56, 2, 0, 0, 1], "other features");
        assert_eq!(poll(&mut rig, 0xff), [0, 6, 4, 0x56, 3, 1, 0, 0], "removal");
        assert_eq!(poll(&mut rig, 0x44), [0, 6, 2, 0x56, 0, 1, 0, 0], "active");
        assert_eq!(poll(&mut rig, 0x40), [0, 6, 6, 0x56, 0, 0, 0, 0], "not busy");
    }

    #[test]
    fn classes_that_are_not_there() {
        let mut rig = Rig::new(cdrom(1000));
        for classes in [0, 0x08, 0x28, 0x80] {
            assert_eq!(poll(&mut rig, classes), [0, 2, 0x80, 0x56]);
        }
    }

    #[test]
    fn without_room_an_event_stays() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.data(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4, 0]), [0, 6, 4, 0x56]);
        assert_eq!(media(&mut rig), (2, 2));
    }

    #[test]
    fn only_polling_is_offered_and_unit_attentions_stay() {
        let mut rig = Rig::new(cdrom(1000));
        assert_eq!(rig.sense(&[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0]), Sense::cdb_field(1, 0));
        rig.attentions.raise(Asc::MEDIUM_MAY_HAVE_CHANGED);
        media(&mut rig);
        assert_eq!(rig.sense(&[0; 6]), Sense::attention(Asc::MEDIUM_MAY_HAVE_CHANGED));
    }

    #[test]
    fn persistent_prevention_shows() {
        let mut rig = Rig::new(cdrom(1000));
        rig.run_from(1, &[0x1e, 0, 0, 0, 3, 0], &[]).unwrap();
        assert_eq!(poll(&mut rig, 0x02)[5], 0x80);
        rig.run_from(1, &[0x1e, 0, 0, 0, 2, 0], &[]).unwrap();
        assert_eq!(poll(&mut rig, 0x02)[5], 0);
    }
}

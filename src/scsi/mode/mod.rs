//! Mode parameters (SPC-5 section 7.5, SBC-4 section 6.5).
//!
//! Owns what can be set, the bytes of the pages, MODE SENSE and MODE SELECT. What cannot be
//! changed is in the bytes only; what can is [`Settings`].

mod optical;
mod pages;
mod select;
mod sense;

use serde::{Deserialize, Serialize};

pub use select::Selected;
pub(super) use select::{select, select_params};
pub(super) use sense::{sense6, sense10};

use super::{LuFacts, Threshold};

/// Everything that MODE SELECT can change. The default values are all false.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// D_SENSE of the Control page: sense data in descriptor format.
    pub descriptor_sense: bool,
    /// SWP of the Control page: the logical unit refuses writing.
    pub write_protect: bool,
    /// WCE of the Caching page cleared, though the store has a write cache: every write is durable
    /// before it is answered.
    pub write_through: bool,
    /// TAS of the Control page cleared: tasks that another nexus aborts are not answered.
    pub silent_aborts: bool,
    /// QUEUE ALGORITHM MODIFIER 0h of the Control page: SIMPLE commands are kept in order.
    pub restricted_reordering: bool,
    /// QERR 01b or 11b of the Control page: a command that ends with CHECK CONDITION aborts the others of its
    /// task set.
    pub abort_on_error: bool,
    /// QERR 11b. As each nexus has its own task set, there is no difference but the value itself.
    pub abort_own_on_error: bool,
    /// LBPERE of the Read-Write Error Recovery page cleared: a threshold that is reached is not told.
    pub silent_thresholds: bool,
    /// The threshold of the available resources, where it is not the configured one.
    pub available: Option<Threshold>,
    /// The threshold of the used resources, where there is one.
    pub used: Option<Threshold>,
}

impl Settings {
    /// The default values.
    pub(super) const DEFAULTS: Self = Self {
        descriptor_sense: false,
        write_protect: false,
        write_through: false,
        silent_aborts: false,
        restricted_reordering: false,
        abort_on_error: false,
        abort_own_on_error: false,
        silent_thresholds: false,
        available: None,
        used: None,
    };

    /// WCE as it is in effect.
    #[inline]
    pub fn caches(&self, facts: &LuFacts) -> bool {
        facts.write_cache && !self.write_through
    }

    /// The threshold of the available resources.
    pub(super) fn available_threshold(&self, facts: &LuFacts) -> Threshold {
        let configured = facts.thin.map_or(0, |thin| thin.threshold);
        self.available.unwrap_or(Threshold { enabled: configured > 0, count: configured })
    }

    /// The threshold of the used resources.
    pub(super) fn used_threshold(&self) -> Threshold {
        self.used.unwrap_or_default()
    }
}

/// The mode parameters of a logical unit, shared by all its I_T nexuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModePages {
    /// The values in effect.
    pub current: Settings,
    /// The values after the next power on or reset.
    pub saved: Settings,
}

impl ModePages {
    /// The saved values, in effect.
    pub(super) fn powered_on(saved: Settings) -> Self {
        Self { current: saved, saved }
    }

    /// Takes new values, and says whether any value in effect is new. With `save` all values in effect are saved,
    /// also those of pages that were not sent (SPC-5 section 6.12).
    pub(super) fn select(&mut self, to: &Selected, save: bool, facts: &LuFacts) -> bool {
        let before = self.current;
        to.set(&mut self.current, facts);
        if save {
            self.saved = self.current;
        }
        self.current != before
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Rig, cdrom, facts, nexus};
    use super::super::{Asc, Effects, Failure, LuFacts, Outcome, Sense, SharedOp};

    fn sense(control: u8, page: u8, subpage: u8) -> [u8; 6] {
        [0x1a, 8, control << 6 | page, subpage, 255, 0]
    }

    fn select(flags: u8, length: usize) -> [u8; 6] {
        [0x15, flags, 0, 0, length as u8, 0]
    }

    /// The page as MODE SENSE without block descriptor gives it.
    fn page(rig: &mut Rig, control: u8, code: u8) -> Vec<u8> {
        rig.data(&sense(control, code, 0))[4..].to_vec()
    }

    /// A MODE SELECT(6) parameter list of one page without block descriptor.
    fn list(page: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0], page].concat()
    }

    #[test]
    fn the_header_and_both_block_descriptors() {
        let mut rig = Rig::new(facts());
        let got = rig.data(&[0x1a, 0, 0x08, 0, 255, 0]);
        assert_eq!(got[..12], [31, 0, 0x10, 8, 0, 0x20, 0, 0, 0, 0, 2, 0]);
        assert_eq!((got.len(), &got[12..15]), (32, &[0x88, 0x12, 4][..]));
        let got = rig.data(&[0x5a, 0x10, 0x08, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(got[..8], [0, 42, 0, 0x10, 1, 0, 0, 16]);
        assert_eq!(got[8..24], [0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        let got = rig.data(&[0x5a, 0, 0x08, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((got[4], got[7], got.len()), (0, 8, 36));
    }

    #[test]
    fn write_protection_shows_in_the_header() {
        let mut rig = Rig { read_only_map: true, ..Rig::new(facts()) };
        assert_eq!(rig.data(&sense(0, 8, 0))[2], 0x90);
    }

    #[test]
    fn all_pages_in_order_with_and_without_subpages() {
        let mut rig = Rig::new(facts());
        for (subpage, want) in [
            (0, &[(1, 0), (2, 0), (3, 0), (4, 0), (7, 0), (8, 0), (10, 0), (16, 0), (26, 0), (28, 0)][..]),
            (
                0xff,
                &[
                    (1, 0),
                    (2, 0),
                    (3, 0),
                    (4, 0),
                    (7, 0),
                    (8, 0),
                    (10, 0),
                    (10, 1),
                    (10, 5),
                    (16, 0),
                    (26, 0),
                    (28, 0),
                    (28, 2),
                ],
            ),
        ] {
            let got = rig.data(&[0x5a, 8, 0x3f, subpage, 0, 0, 0, 8, 0, 0]);
            assert_eq!(usize::from(u16::from_be_bytes([got[0], got[1]])) + 2, got.len());
            let (mut rest, mut codes) = (&got[8..], vec![]);
            while let [code, sub, ..] = *rest {
                let long = code & 0x40 != 0;
                codes.push((code & 0x3f, if long { sub } else { 0 }));
                let length = if long {
                    4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]))
                } else {
                    2 + usize::from(sub)
                };
                rest = &rest[length..];
            }
            assert_eq!(codes, want);
        }
        let all_control = rig.data(&[0x5a, 8, 0x0a, 0xff, 0, 0, 0, 8, 0, 0]);
        assert_eq!(all_control.len(), 8 + 12 + 32 + 1040);
        assert_eq!(rig.data(&sense(0, 0x0a, 0xff))[0], 0xff, "as much as one byte can say");
    }

    #[test]
    fn a_drive_has_pages_of_its_own_and_no_block_descriptor() {
        let mut rig = Rig::new(cdrom(1000));
        let got = rig.data(&[0x5a, 0, 0x3f, 0, 0, 0, 0, 8, 0, 0]);
        assert_eq!((&got[2..8], usize::from(got[1]) + 2), (&[0; 6][..], got.len()));
        let (mut rest, mut codes) = (&got[8..], vec![]);
        while let [code, length, ..] = *rest {
            codes.push(code & 0x3f);
            rest = &rest[2 + usize::from(length)..];
        }
        assert_eq!(codes, [1, 2, 10, 26, 28, 29, 42]);
        assert_eq!(rig.sense(&sense(0, 0x08, 0)), Sense::cdb_field(2, 5));
        assert_eq!(rig.data(&[0x1a, 0, 0x2a, 0, 4, 0]), [35, 0, 0, 0], "also without DBD");
        assert_eq!(Rig::new(facts()).sense(&sense(0, 0x2a, 0)), Sense::cdb_field(2, 5));
    }

    #[test]
    fn what_a_drive_can() {
        let mut rig = Rig::new(cdrom(1000));
        let got = page(&mut rig, 0, 0x2a);
        assert_eq!((got.len(), &got[..7]), (32, &[0x2a, 0x1e, 0x1f, 0, 0, 0, 0x29][..]));
        assert_eq!(
            (&got[8..10], &got[14..16], &got[18..20]),
            (&[0x22, 0x60][..], &[0x22, 0x60][..], &[0, 0][..])
        );
        assert_eq!(page(&mut rig, 1, 0x2a)[2..], [0; 30], "none of it can be set");
        rig.run_from(2, &[0x1e, 0, 0, 0, 1, 0], &[]).unwrap();
        assert_eq!(page(&mut rig, 0, 0x2a)[6], 0x2b, "somebody keeps the tray closed");
        let unchanged = page(&mut rig, 0, 0x2a);
        assert_eq!(rig.send(&select(0x10, 36), &list(&unchanged)), Outcome::Good);
    }

    #[test]
    fn unknown_pages() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.sense(&sense(0, 0x05, 0)), Sense::cdb_field(2, 5));
        assert_eq!(rig.sense(&sense(0, 0x0a, 2)), Sense::cdb_field(3, 7));
        assert_eq!(rig.sense(&sense(0, 0x3f, 1)), Sense::cdb_field(3, 7));
    }

    #[test]
    fn the_control_page() {
        let mut rig = Rig::new(facts());
        assert_eq!(page(&mut rig, 0, 0x0a)[..6], [0x8a, 0x0a, 0x22, 0x10, 0, 0x40]);
        assert_eq!(page(&mut rig, 1, 0x0a), [0x8a, 0x0a, 4, 0x16, 8, 0x40, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_geometry_fits_the_capacity_and_the_block_size() {
        let mut rig = Rig::new(facts());
        let (format, geometry) = (page(&mut rig, 0, 3), page(&mut rig, 0, 4));
        assert_eq!((format.len(), geometry.len()), (24, 24));
        assert_eq!((&format[10..14], format[20]), (&[0, 63, 2, 0][..], 0x40));
        assert_eq!(geometry[2..6], [0, 0, 130, 255], "2^21 blocks are 130 cylinders of 255 times 63");
        let mut large = Rig::new(LuFacts { blocks: 1 << 50, block_size: 4096, ..facts() });
        assert_eq!(page(&mut large, 0, 4)[2..6], [0xff; 4]);
        assert_eq!(page(&mut large, 0, 3)[12..14], [0x10, 0]);
        assert_eq!(page(&mut large, 1, 4)[2..], [0; 22], "none of it can be set");
    }

    #[test]
    fn only_a_thin_unit_has_thresholds() {
        let mut thick = Rig::new(LuFacts { thin: None, ..facts() });
        assert_eq!(thick.sense(&sense(0, 0x1c, 2)), Sense::cdb_field(3, 7));
        let got = Rig::new(facts()).data(&sense(0, 0x1c, 2));
        assert_eq!(got[4..8], [0x5c, 2, 0, 12]);
    }

    #[test]
    fn where_nothing_can_be_saved_nothing_is_offered() {
        let mut rig = Rig::new(LuFacts { saves: false, ..facts() });
        assert_eq!(page(&mut rig, 0, 0x0a)[0], 0x0a, "no PS");
        assert_eq!(rig.sense(&sense(3, 0x0a, 0)), Sense::illegal(Asc(0x39, 0)));
        assert_eq!(rig.sense(&select(0x11, 16)), Sense::cdb_field(1, 0), "SP");
    }

    #[test]
    fn tas_can_be_switched_off() {
        let mut rig = Rig::new(facts());
        let mut control = page(&mut rig, 0, 0x0a);
        assert!(rig.lu.state.tells_aborted());
        control[5] = 0;
        rig.run_from(1, &select(0x10, 16), &list(&control)).unwrap();
        assert!(!rig.lu.state.tells_aborted());
        assert_eq!(page(&mut rig, 0, 0x0a), control);
    }

    #[test]
    fn the_order_of_commands_and_what_an_error_ends_can_be_set() {
        let mut rig = Rig::new(facts());
        let mut control = page(&mut rig, 0, 0x0a);
        for (byte, restricted, abort, own) in
            [(0x00, true, false, false), (0x12, false, true, false), (0x06, true, true, true)]
        {
            control[3] = byte;
            rig.run_from(1, &select(0x10, 16), &list(&control)).unwrap();
            let got = rig.lu.state.mode.current;
            let want = (restricted, abort, own);
            assert_eq!((got.restricted_reordering, got.abort_on_error, got.abort_own_on_error), want);
            assert_eq!(page(&mut rig, 0, 0x0a), control);
        }
    }

    #[test]
    fn the_write_cache_can_be_switched_off_where_there_is_one() {
        let mut rig = Rig::new(facts());
        assert_eq!((page(&mut rig, 0, 8)[2], page(&mut rig, 1, 8)[2]), (4, 4));
        let mut none = Rig::new(LuFacts { write_cache: false, ..facts() });
        assert_eq!((page(&mut none, 0, 8)[2], page(&mut none, 1, 8)[2]), (0, 0));
        let mut off = page(&mut rig, 0, 8);
        off[2] = 0;
        assert!(rig.run_from(1, &select(0x10, 24), &list(&off)).unwrap().flush);
        assert_eq!((page(&mut rig, 0, 8)[2], page(&mut rig, 2, 8)[2], page(&mut rig, 3, 8)[2]), (0, 4, 4));
        let mut on = off.clone();
        on[2] = 4;
        let fixed = Failure::Check(Sense::parameter_field(6, 7));
        assert_eq!(none.run_from(1, &select(0x10, 24), &list(&on)), Err(fixed));
    }

    #[test]
    fn selected_values_take_effect_and_are_saved_with_sp() {
        let mut rig = Rig::new(facts());
        let mut control = page(&mut rig, 0, 0x0a);
        (control[2], control[4]) = (0x26, 0x08);
        let effects = rig.run_from(1, &select(0x11, 16), &list(&control)).unwrap();
        assert!(effects.persist);
        assert_eq!(effects.attention_others, Some(Asc::MODE_PARAMETERS_CHANGED));
        assert_eq!(page(&mut rig, 0, 0x0a), control);
        assert_eq!(page(&mut rig, 3, 0x0a), control);
        assert_eq!(page(&mut rig, 2, 0x0a)[2], 0x22);
        let protected = Sense::protected(Asc(0x27, 2));
        assert_eq!(rig.sense(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]), protected);
        assert_eq!(rig.send(&select(0x11, 16), &list(&control)), Outcome::Good, "nothing new");
    }

    /// MODE SELECT(6) with SP of one page, as it comes to the owner.
    fn asked(rig: &mut Rig, page: &[u8]) -> SharedOp {
        match rig.send(&select(0x11, 4 + page.len()), &list(page)) {
            Outcome::Shared(op) => op,
            other => panic!("{other:?}"),
        }
    }

    /// The owner applies it.
    fn apply(rig: &mut Rig, op: &SharedOp) -> Effects {
        let (state, effects) = rig.lu.state.apply(&rig.lu.facts, op, &nexus(1)).unwrap();
        rig.lu.state = Arc::new(state);
        effects
    }

    #[test]
    fn pages_that_were_not_sent_stay_as_another_has_set_them_meanwhile() {
        let mut rig = Rig::new(facts());
        let (mut caching, mut control) = (page(&mut rig, 0, 8), page(&mut rig, 0, 0x0a));
        (caching[2], control[2]) = (0, 0x26);
        let (first, second) = (asked(&mut rig, &caching), asked(&mut rig, &control));
        assert!(apply(&mut rig, &first).flush);
        let effects = apply(&mut rig, &second);
        assert_eq!((page(&mut rig, 0, 8), page(&mut rig, 0, 0x0a)), (caching.clone(), control.clone()));
        assert_eq!(
            (page(&mut rig, 3, 8), page(&mut rig, 3, 0x0a)),
            (caching, control),
            "and so they are saved"
        );
        assert!(effects.persist && effects.flush);
        assert_eq!(effects.attention_others, Some(Asc::MODE_PARAMETERS_CHANGED));
        assert_eq!(apply(&mut rig, &second).attention_others, None, "nothing new");
    }

    #[test]
    fn of_one_page_that_two_have_sent_all_is_as_in_the_last() {
        let mut rig = Rig::new(facts());
        let control = page(&mut rig, 0, 0x0a);
        let (mut protects, mut describes) = (control.clone(), control);
        (protects[4], describes[2]) = (0x08, 0x26);
        let (first, last) = (asked(&mut rig, &protects), asked(&mut rig, &describes));
        apply(&mut rig, &first);
        assert_eq!(page(&mut rig, 0, 0x0a), protects);
        apply(&mut rig, &last);
        assert_eq!(page(&mut rig, 0, 0x0a), describes);
    }

    #[test]
    fn select10_with_a_block_descriptor_that_changes_nothing() {
        let mut rig = Rig::new(facts());
        let mut control = page(&mut rig, 0, 0x0a);
        control[2] |= 4;
        let head = [0, 0, 0, 0, 0, 0, 0, 8, 0, 0x20, 0, 0, 0, 0, 2, 0];
        let data = [&head[..], &control].concat();
        let cdb = [0x55, 0x10, 0, 0, 0, 0, 0, 0, data.len() as u8, 0];
        let effects = rig.run_from(1, &cdb, &data).unwrap();
        assert!(!effects.persist && rig.lu.state.descriptor_sense());
        let mut resized = data;
        resized[14] = 0x10;
        let refused = Outcome::Fail(Sense::parameter_field(13, 7).into());
        assert_eq!(rig.send(&cdb, &resized), refused);
    }

    #[test]
    fn what_select_refuses() {
        let mut rig = Rig::new(facts());
        let control = page(&mut rig, 0, 0x0a);
        assert_eq!(rig.sense(&select(0x00, 16)), Sense::cdb_field(1, 4), "PF");
        assert_eq!(rig.sense(&select(0x12, 16)), Sense::cdb_field(1, 1), "RTD");
        assert_eq!(rig.start(&select(0x10, 0)), Outcome::Good);
        let mut other = control.clone();
        other[3] = 0x20;
        let at = |byte| Outcome::Fail(Sense::parameter_field(byte, 7).into());
        assert_eq!(rig.send(&select(0x10, 16), &list(&other)), at(7), "not changeable");
        other[3] = 0x14;
        assert_eq!(rig.send(&select(0x10, 16), &list(&other)), at(7), "QERR 10b");
        let mut longer = control.clone();
        longer[1] = 11;
        assert_eq!(rig.send(&select(0x10, 16), &list(&longer)), at(5), "page length");
        assert_eq!(rig.send(&select(0x10, 16), &list(&[0x05; 12])), at(4), "unknown page");
        assert_eq!(rig.send(&select(0x10, 16), &[0, 1, 0, 0]), at(1), "medium type");
        assert_eq!(rig.send(&select(0x10, 16), &[0, 0, 0, 3, 0, 0, 0]), at(3), "block descriptor length");
        let short = Outcome::Fail(Sense::illegal(Asc::PARAMETER_LIST_LENGTH).into());
        assert_eq!(rig.send(&select(0x10, 16), &list(&control[..11])), short);
        assert_eq!(rig.send(&select(0x10, 3), &[0; 3]), short);
        assert_eq!(rig.send(&select(0x10, 16), &[0, 0, 0, 8, 0]), short);
    }
}

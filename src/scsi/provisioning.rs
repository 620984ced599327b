//! Thin provisioning as initiators see it: how much space there is, and when they are told that it runs short
//! (SBC-4 section 4.7.3).
//!
//! Space is counted in threshold sets of 2 to the THRESHOLD EXPONENT blocks. It is measured from time to time, never for
//! an I/O.

use serde::{Deserialize, Serialize};

use super::{Asc, LuFacts, Settings};

/// LBA mapping resources, in threshold sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resources {
    /// What is left, for this logical unit and for all others that share it.
    pub available: u32,
    /// What this logical unit takes.
    pub used: u32,
}

/// A soft threshold, as a descriptor of the Logical Block Provisioning mode page has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Threshold {
    /// Whether it is watched.
    pub enabled: bool,
    /// Threshold sets.
    pub count: u32,
}

/// How much space there is, and which thresholds it has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// As it was measured last; not yet: unknown.
    pub resources: Option<Resources>,
    /// Those of the available and of the used resources.
    reached: [bool; 2],
}

/// Byte offsets of the threshold descriptors in the mode page: available, used.
pub(super) const DESCRIPTORS: [usize; 2] = [16, 24];

impl Space {
    /// Compares the resources with the thresholds. What nexuses are to be told, if one is reached that was not.
    pub(super) fn compare(&mut self, settings: &Settings, facts: &LuFacts) -> Option<Asc> {
        let Resources { available, used } = self.resources?;
        let (low, high) = (settings.available_threshold(facts), settings.used_threshold());
        let reached = [low.enabled && available <= low.count, high.enabled && used >= high.count];
        let is_news = reached.iter().zip(&self.reached).any(|(now, before)| *now && !before);
        self.reached = reached;
        (is_news && !settings.silent_thresholds).then_some(Asc::SOFT_THRESHOLD_REACHED)
    }

    /// INFORMATION of the unit attention: where in the mode page the threshold stands that is reached.
    pub(super) fn pointer(&self) -> Option<u64> {
        let at = self.reached.iter().position(|reached| *reached)?;
        Some(DESCRIPTORS[at] as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts, nexus};
    use super::super::{Effects, Failure, Outcome, Sense, SharedOp, Thin};
    use super::*;

    /// A thin unit whose space is known, in sets of 2^11 blocks.
    fn known() -> LuFacts {
        let thin = Thin { threshold_exponent: 11, ..facts().thin.unwrap() };
        LuFacts { thin: Some(thin), ..facts() }
    }

    fn measured(rig: &mut Rig, available: u32, used: u32) -> Effects {
        let op = SharedOp::Measured(Resources { available, used });
        let (state, effects) = rig.lu.state.apply(&rig.lu.facts, &op, &nexus(9)).unwrap();
        rig.lu.state = std::sync::Arc::new(state);
        effects
    }

    fn told(rig: &mut Rig, available: u32, used: u32) -> Option<Asc> {
        measured(rig, available, used).attention_all
    }

    /// MODE SENSE(10) of page 1Ch/02h without block descriptor, with that PC.
    fn page(rig: &mut Rig, control: u8) -> Vec<u8> {
        rig.data(&[0x5a, 8, control << 6 | 0x1c, 2, 0, 0, 0, 0, 255, 0])[8..].to_vec()
    }

    fn select(rig: &mut Rig, page: &[u8]) -> Result<Effects, Failure> {
        let list = [&[0; 8], page].concat();
        rig.run_from(1, &[0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], &list)
    }

    #[test]
    fn the_page_has_both_thresholds_where_the_space_is_known() {
        let mut rig = Rig::new(known());
        let want = [
            &[0xdc, 2, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x00, 1, 0, 0, 0, 0, 0, 0],
            &[0x01, 2, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(page(&mut rig, 0), want.concat());
        let mut free = [0; 32];
        free[..4].copy_from_slice(&want[0][..4]);
        for at in DESCRIPTORS {
            free[at] = 0x80;
            free[at + 4..at + 8].fill(0xff);
        }
        assert_eq!(page(&mut rig, 1), free);
        assert_eq!(page(&mut Rig::new(facts()), 0).len(), 16, "nothing is known of the space");
    }

    #[test]
    fn a_threshold_is_told_when_it_is_reached_and_again_when_it_is_reached_again() {
        let mut rig = Rig::new(known());
        assert_eq!(told(&mut rig, 5, 5), None, "none is watched");
        let mut wanted = page(&mut rig, 0);
        wanted[16] = 0x80;
        wanted[23] = 10;
        let effects = select(&mut rig, &wanted).unwrap();
        assert_eq!(effects.attention_all, Some(Asc(0x38, 0x07)), "it is reached already");
        assert_eq!(effects.attention_others, Some(Asc::MODE_PARAMETERS_CHANGED));
        assert_eq!(page(&mut rig, 0), wanted);
        assert_eq!(told(&mut rig, 4, 6), None, "that has been told");
        assert_eq!(told(&mut rig, 11, 6), None);
        assert_eq!(told(&mut rig, 10, 6), Some(Asc::SOFT_THRESHOLD_REACHED));
    }

    #[test]
    fn both_thresholds_stand_for_themselves() {
        let mut rig = Rig::new(known());
        let mut wanted = page(&mut rig, 0);
        (wanted[16], wanted[23], wanted[24], wanted[31]) = (0x80, 10, 0x81, 100);
        select(&mut rig, &wanted).unwrap();
        assert_eq!(told(&mut rig, 50, 99), None);
        assert_eq!(told(&mut rig, 50, 100), Some(Asc::SOFT_THRESHOLD_REACHED));
        rig.attentions.raise(Asc::SOFT_THRESHOLD_REACHED);
        assert_eq!(rig.sense(&[0; 6]), Sense::attention(Asc(0x38, 0x07)).at(24));
        assert_eq!(told(&mut rig, 10, 100), Some(Asc::SOFT_THRESHOLD_REACHED));
        rig.attentions.raise(Asc::SOFT_THRESHOLD_REACHED);
        assert_eq!(rig.sense(&[0; 6]).information, Some(16));
        assert_eq!(rig.start(&[0; 6]), Outcome::Good);
    }

    #[test]
    fn what_cannot_be_changed_in_a_threshold_is_refused() {
        let mut rig = Rig::new(known());
        for (at, wrong) in [(4, 1), (16, 0x01), (16, 0x0a), (16, 0x02), (17, 2), (24, 0x02), (25, 1)] {
            let mut wanted = page(&mut rig, 0);
            wanted[at] = wrong;
            let refused = Failure::Check(Sense::parameter_field(8 + at as u16, 7));
            assert_eq!(select(&mut rig, &wanted), Err(refused), "byte {at}");
        }
    }

    #[test]
    fn lbpere_silences_thresholds() {
        let mut rig = Rig::new(known());
        let mut wanted = page(&mut rig, 0);
        (wanted[16], wanted[23]) = (0x80, 10);
        select(&mut rig, &wanted).unwrap();
        let mut recovery = rig.data(&[0x5a, 8, 1, 0, 0, 0, 0, 0, 255, 0])[8..].to_vec();
        assert_eq!(recovery[7], 0x80, "LBPERE");
        recovery[7] = 0;
        select(&mut rig, &recovery).unwrap();
        assert_eq!(told(&mut rig, 5, 0), None);
        let plain = Rig::new(facts()).data(&[0x5a, 8, 1, 0, 0, 0, 0, 0, 255, 0]);
        assert_eq!(plain[8 + 7], 0, "where there are no thresholds");
    }

    #[test]
    fn the_configured_threshold_is_the_default_one() {
        let thin = Thin { threshold: 7, ..known().thin.unwrap() };
        let mut rig = Rig::new(LuFacts { thin: Some(thin), ..facts() });
        for control in [0, 2, 3] {
            assert_eq!(page(&mut rig, control)[16..24], [0x80, 1, 0, 0, 0, 0, 0, 7], "PC {control}");
        }
        assert_eq!(told(&mut rig, 8, 0), None);
        assert_eq!(told(&mut rig, 7, 0), Some(Asc::SOFT_THRESHOLD_REACHED));
        let mut off = page(&mut rig, 0);
        off[16] = 0x00;
        select(&mut rig, &off).unwrap();
        assert_eq!(told(&mut rig, 9, 0), None);
        assert_eq!(told(&mut rig, 1, 0), None);
        assert_eq!(page(&mut rig, 2)[16], 0x80, "the default stays");
    }

    #[test]
    fn the_log_page_counts_both() {
        let sense = [0x4d, 0, 0x40 | 0x0c, 0, 0, 0, 0, 0, 255, 0];
        assert_eq!(Rig::new(facts()).sense(&sense), Sense::cdb_field(2, 5), "nothing is known");
        let mut rig = Rig::new(known());
        assert_eq!(rig.data(&sense), [0x8c, 0, 0, 0], "not yet");
        measured(&mut rig, 0x0102_0304, 9);
        let want = [
            &[0x8c, 0, 0, 24][..],
            &[0, 1, 0x23, 8, 1, 2, 3, 4, 2, 0, 0, 0],
            &[0, 2, 0x23, 8, 0, 0, 0, 9, 1, 0, 0, 0],
        ];
        assert_eq!(rig.data(&sense), want.concat());
        let pages = rig.data(&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0]);
        assert!(pages[4..].contains(&0x0c));
    }

    #[test]
    fn the_vital_product_data_say_what_a_set_is() {
        let page = |facts| Rig::new(facts).data(&[0x12, 1, 0xb2, 0, 255, 0]);
        assert_eq!(page(known())[4..], [11, 0xe4, 2, 0]);
        let anchors = Thin { anchors: true, ..known().thin.unwrap() };
        assert_eq!(page(LuFacts { thin: Some(anchors), ..facts() })[4..], [11, 0xe6, 2, 0]);
    }
}

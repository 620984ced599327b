//! What administrators call a logical unit: REPORT and SET IDENTIFYING INFORMATION (SPC-5 sections 6.32 and 6.42).

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::cdb::Cdb;
use super::check::{bad_field, bad_length};
use super::{Answered, Context, Failure, Lu, Outcome, Sense, SharedOp};

/// The most bytes of each kind (SPC-5 table 256).
const MAX_BINARY: usize = 64;
const MAX_TEXT: usize = 256;

/// Identifying information, as set; empty: none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    binary: Vec<u8>,
    text: Vec<u8>,
}

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// Type 0000000b: peripheral device identifying information, any bytes.
    Binary,
    /// Type 0000010b: peripheral device text identifying information, UTF-8 that a NUL ends.
    Text,
}

impl Label {
    /// What the INFORMATION TYPE field (bits 7 to 1 of byte 10) names.
    fn of(cdb: &Cdb) -> Result<Self, Failure> {
        match information_type(cdb) {
            0 => Ok(Self::Binary),
            2 => Ok(Self::Text),
            _ => Err(bad_field(10, 7)),
        }
    }

    fn max(self) -> usize {
        match self {
            Self::Binary => MAX_BINARY,
            Self::Text => MAX_TEXT,
        }
    }
}

fn information_type(cdb: &Cdb) -> u8 {
    cdb.u8::<10>() >> 1
}

/// Which types there are, and how long they may be.
const SUPPORTED: u8 = 0x7f;

impl Labels {
    fn get(&self, label: Label) -> &[u8] {
        match label {
            Label::Binary => &self.binary,
            Label::Text => &self.text,
        }
    }

    pub(super) fn set(&mut self, label: Label, to: Vec<u8>) {
        match label {
            Label::Binary => self.binary = to,
            Label::Text => self.text = to,
        }
    }
}

pub(super) fn report(cdb: &Cdb, lu: &Lu, _: &mut Context<'_>, out: &mut [u8]) -> Answered {
    let mut answer = Answer::new(out, cdb.u32::<6>() as usize);
    answer.zeroes(4);
    if information_type(cdb) == SUPPORTED {
        for (code, max) in [(0u8, MAX_BINARY), (2, MAX_TEXT)] {
            let [high, low] = (max as u16).to_be_bytes();
            answer.put(&[code << 1, 0, high, low]);
        }
    } else {
        answer.put(lu.state.labels.get(Label::of(cdb)?));
    }
    answer.close_u16(2);
    Ok(answer.finish())
}

/// An empty list takes the information away.
pub(super) fn set(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, _: &mut [u8]) -> Answered {
    let label = Label::of(cdb)?;
    match cdb.u32::<6>() {
        0 => Ok(Outcome::Shared(SharedOp::SetLabel { label, to: Vec::new() })),
        length if length as usize > label.max() => Err(bad_length()),
        length => Ok(Outcome::Params(length)),
    }
}

pub(super) fn set_params(cdb: &Cdb, _: &Lu, _: &mut Context<'_>, data: &[u8], _: &mut [u8]) -> Answered {
    let label = Label::of(cdb)?;
    let announced = cdb.u32::<6>() as usize;
    if data.len() < announced || announced > label.max() {
        return Err(bad_length());
    }
    let data = &data[..announced];
    if label == Label::Text && !is_text(data) {
        return Err(Sense::parameter_field(0, 7).into());
    }
    Ok(Outcome::Shared(SharedOp::SetLabel { label, to: data.to_vec() }))
}

/// UTF-8 that ends with its only NUL.
fn is_text(data: &[u8]) -> bool {
    data.split_last()
        .is_some_and(|(last, text)| *last == 0 && !text.contains(&0) && std::str::from_utf8(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, facts};
    use super::super::{Asc, LuFacts};
    use super::*;

    fn report(kind: u8) -> [u8; 12] {
        [0xa3, 0x05, 0, 0, 0, 0, 0, 0, 1, 0, kind << 1, 0]
    }

    fn set(kind: u8, length: u16) -> [u8; 12] {
        let [high, low] = length.to_be_bytes();
        [0xa4, 0x06, 0, 0, 0, 0, 0, 0, high, low, kind << 1, 0]
    }

    #[test]
    fn what_is_set_is_saved_reported_and_announced() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.data(&report(0)), [0; 4]);
        let effects = rig.run_from(1, &set(0, 3), b"abc").unwrap();
        assert!(effects.persist);
        assert_eq!(effects.attention_others, Some(Asc(0x3f, 0x05)));
        assert_eq!(rig.data(&report(0)), [&[0, 0, 0, 3][..], b"abc"].concat());
        rig.run_from(1, &set(2, 4), b"\xc3\xa4b\0").unwrap();
        assert_eq!(rig.data(&report(2)), [0, 0, 0, 4, 0xc3, 0xa4, b'b', 0]);
        rig.run_from(1, &set(0, 0), &[]).unwrap();
        assert_eq!(rig.data(&report(0)), [0; 4], "taken away");
    }

    #[test]
    fn it_outlives_a_power_loss_and_a_reset() {
        let mut rig = Rig::new(facts());
        rig.run_from(1, &set(0, 3), b"abc").unwrap();
        let text = serde_json::to_string(&rig.lu.state.persistent()).unwrap();
        let again = super::super::LuState::restored(serde_json::from_str(&text).unwrap());
        assert_eq!(again.labels, rig.lu.state.labels);
        let nexus = super::super::testing::nexus(2);
        let (state, _) = rig.lu.state.apply(&rig.lu.facts, &SharedOp::Reset, &nexus).unwrap();
        assert_eq!(state.labels, rig.lu.state.labels);
    }

    #[test]
    fn kinds_and_their_lengths() {
        let mut rig = Rig::new(facts());
        assert_eq!(rig.data(&report(0x7f)), [0, 0, 0, 8, 0, 0, 0, 64, 4, 0, 1, 0]);
        assert_eq!(rig.sense(&report(1)), Sense::cdb_field(10, 7));
        assert_eq!(rig.sense(&set(0x7f, 4)), Sense::cdb_field(10, 7));
        let long = Sense::illegal(Asc::PARAMETER_LIST_LENGTH);
        assert_eq!(rig.sense(&set(0, 65)), long);
        assert_eq!(rig.sense(&set(2, 257)), long);
        assert_eq!(rig.send(&set(0, 5), b"abc"), Outcome::Fail(long.into()));
    }

    #[test]
    fn text_ends_with_its_only_nul() {
        let mut rig = Rig::new(facts());
        for bad in [&b"abc"[..], b"a\0b\0", b"\xff\0"] {
            let refused = Outcome::Fail(Sense::parameter_field(0, 7).into());
            assert_eq!(rig.send(&set(2, bad.len() as u16), bad), refused);
        }
    }

    #[test]
    fn a_reservation_of_another_forbids_setting_only() {
        let mut rig = Rig::new(facts());
        let keys = |key, action| [[0, 0, 0, 0, 0, 0, 0, key], [0, 0, 0, 0, 0, 0, 0, action], [0; 8]].concat();
        rig.run_from(2, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &keys(0, 9)).unwrap();
        rig.run_from(2, &[0x5f, 1, 3, 0, 0, 0, 0, 0, 24, 0], &keys(9, 0)).unwrap();
        let conflict = Outcome::Fail(Failure::Status(super::super::status::RESERVATION_CONFLICT));
        assert_eq!(rig.data(&report(0)), [0; 4]);
        assert_eq!(rig.data(&[0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]).len(), 12, "REPORT TIMESTAMP");
        assert_eq!(rig.start(&set(0, 3)), conflict);
        assert_eq!(rig.start(&[0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]), conflict);
    }

    #[test]
    fn what_cannot_be_saved_cannot_be_set() {
        let mut rig = Rig::new(LuFacts { saves: false, ..facts() });
        assert_eq!(rig.sense(&set(0, 3)), Sense::cdb_field(1, 4), "there is no such service action");
        assert_eq!(rig.data(&report(0)), [0; 4]);
    }
}

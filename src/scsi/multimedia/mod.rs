//! The multimedia command set (MMC-6): what a drive for CDs and DVDs answers besides what every device does.
//!
//! Owns what the disc is taken for: one session of one track, data of mode 1 from its first block to its last, that
//! nobody can write; a CD-ROM as long as one has room for it, else a DVD-ROM. Promises that a drive has the commands of
//! the features that it tells of. Refuses to know how blocks are read: that is done as for a disk.

mod address;
mod disc;
mod events;
mod features;
mod sectors;
mod speed;
mod structure;
mod toc;

pub(super) use disc::{disc_information, track_information};
pub(super) use events::{Told, event_status};
pub(super) use features::configuration;
pub(super) use sectors::{read_cd, read_cd_msf, seek};
pub(super) use speed::{mechanism_status, performance, set_speed, set_streaming, set_streaming_params};
pub(super) use structure::disc_structure;
pub(super) use toc::read_toc;

use super::{Lu, LuFacts};

/// Blocks of a CD of 80 minutes, the longest that there is: 75 of them are a second.
const CD_BLOCKS: u64 = 80 * 60 * 75;

/// What the disc is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Disc {
    Cd,
    Dvd,
}

impl Disc {
    /// By its size.
    pub(super) fn of(facts: &LuFacts) -> Self {
        if facts.blocks <= CD_BLOCKS { Self::Cd } else { Self::Dvd }
    }

    /// What is in the drive now, if anything.
    fn loaded(lu: &Lu) -> Option<Self> {
        (!lu.state.drive.ejected).then(|| Self::of(&lu.facts))
    }

    /// The speed that is told, in 1000 bytes a second: 50 times that of music, 16 times that of a film. What is really
    /// reached depends on the network.
    pub(super) fn speed(self) -> u16 {
        match self {
            Self::Cd => 50 * 176,
            Self::Dvd => 16 * 1385,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, cdrom};
    use super::super::{Asc, Outcome};
    use super::*;

    #[test]
    fn what_is_longer_than_a_cd_is_a_dvd() {
        let of = |blocks| Disc::of(&cdrom(blocks));
        assert_eq!((of(0), of(360_000), of(360_001)), (Disc::Cd, Disc::Cd, Disc::Dvd));
    }

    /// The profiles of ROMs have no writing commands, and what SBC-4 has besides is for block devices.
    #[test]
    fn what_would_write_is_no_command_of_a_drive() {
        let mut rig = Rig::new(cdrom(1000));
        let writes = [
            0x04, 0x0a, 0x2a, 0x2e, 0x35, 0x41, 0x42, 0x48, 0x7f, 0x83, 0x84, 0x89, 0x8a, 0x8b, 0x8e, 0x91,
            0x93, 0x9c, 0x9e, 0xa4, 0xaa, 0xae,
        ];
        for opcode in writes {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            assert_eq!(rig.sense(&cdb).asc, Asc::INVALID_OPCODE, "{opcode:#x}");
        }
        for of_disks in [0x08, 0x34, 0x37, 0x88, 0x8f, 0x90, 0xaf, 0xb7] {
            let mut cdb = [0; 16];
            cdb[0] = of_disks;
            assert_eq!(rig.sense(&cdb).asc, Asc::INVALID_OPCODE, "{of_disks:#x}");
        }
    }

    #[test]
    fn a_disk_has_none_of_these_commands() {
        let mut rig = Rig::new(super::super::testing::facts());
        for opcode in [0x2b, 0x43, 0x46, 0x4a, 0x51, 0x52, 0xac, 0xad, 0xb6, 0xb9, 0xbb, 0xbd, 0xbe] {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            assert_eq!(rig.sense(&cdb).asc, Asc::INVALID_OPCODE, "{opcode:#x}");
        }
    }

    #[test]
    fn the_commands_are_those_of_a_drive() {
        let mut rig = Rig::new(cdrom(1000));
        let listed = rig.data(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]);
        let mut opcodes: Vec<u8> = listed[4..].chunks(8).map(|descriptor| descriptor[0]).collect();
        opcodes.dedup();
        let want = [
            0x00, 0x03, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x25, 0x28, 0x2b, 0x2f, 0x3b,
            0x3c, 0x43, 0x46, 0x4a, 0x4c, 0x4d, 0x51, 0x52, 0x55, 0x56, 0x57, 0x5a, 0x5e, 0x5f, 0xa0, 0xa3,
            0xa8, 0xac, 0xad, 0xb6, 0xb9, 0xbb, 0xbd, 0xbe,
        ];
        assert_eq!(opcodes, want);
    }

    #[test]
    fn without_a_disc_what_needs_one_is_not_ready() {
        let mut rig = Rig::new(cdrom(1000));
        rig.run_from(1, &[0x1b, 0, 0, 0, 2, 0], &[]).unwrap();
        let absent = super::super::Sense::not_ready(Asc(0x3a, 0x02));
        for opcode in [0x25, 0x28, 0x2b, 0x43, 0x51, 0x52, 0xa8, 0xac, 0xad, 0xb6, 0xb9, 0xbe] {
            let mut cdb = [0; 12];
            cdb[0] = opcode;
            assert_eq!(rig.sense(&cdb), absent, "{opcode:#x}");
        }
        for cdb in [[0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0], [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0]] {
            assert_eq!(rig.start(&cdb), Outcome::Data(8));
        }
        assert_eq!(rig.start(&[0xbb, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]), Outcome::Good);
    }
}

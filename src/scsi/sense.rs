//! Sense data: what went wrong, as bytes that the initiator can act on.
//!
//! Owns the codes of additional sense that this target gives and both wire formats, fixed and
//! descriptor (SPC-5 sections 4.4.2 and 4.4.3). Refuses to know why something failed: that is said
//! by the [`Sense`] it is given.

use std::fmt;

/// The longest sense data that [`Sense::encode`] writes, in bytes.
pub const MAX_SENSE: usize = 40;

/// SCSI status codes (SAM-6 section 5.3.1).
pub mod status {
    /// The task ended well.
    pub const GOOD: u8 = 0x00;
    /// Sense data says what happened.
    pub const CHECK_CONDITION: u8 = 0x02;
    /// PRE-FETCH: all blocks are at hand.
    pub const CONDITION_MET: u8 = 0x04;
    /// The logical unit cannot take the command now.
    pub const BUSY: u8 = 0x08;
    /// Another I_T nexus holds a reservation that forbids the command.
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    /// No room for the command in the task set.
    pub const TASK_SET_FULL: u8 = 0x28;
    /// The command was aborted by another I_T nexus, and TAS is one.
    pub const TASK_ABORTED: u8 = 0x40;
}

/// A sense key (SPC-5 section 4.4.6, table 48).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SenseKey(pub u8);

impl SenseKey {
    /// Nothing to report.
    pub const NO_SENSE: Self = Self(0x0);
    /// The logical unit cannot be accessed.
    pub const NOT_READY: Self = Self(0x2);
    /// A flaw of the medium.
    pub const MEDIUM_ERROR: Self = Self(0x3);
    /// A failure that retrying does not mend.
    pub const HARDWARE_ERROR: Self = Self(0x4);
    /// The command or its parameters are wrong.
    pub const ILLEGAL_REQUEST: Self = Self(0x5);
    /// Something that the initiator must know has happened.
    pub const UNIT_ATTENTION: Self = Self(0x6);
    /// The blocks may not be written, or there is no room for them.
    pub const DATA_PROTECT: Self = Self(0x7);
    /// A third-party copy ended before it was complete.
    pub const COPY_ABORTED: Self = Self(0xa);
    /// The command was aborted; it may be tried again.
    pub const ABORTED_COMMAND: Self = Self(0xb);
    /// The data-out did not equal the medium.
    pub const MISCOMPARE: Self = Self(0xe);
}

/// Additional sense code and its qualifier (SPC-5 annex F, table F.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Asc(pub u8, pub u8);

impl Asc {
    /// 00/00
    pub const NONE: Self = Self(0x00, 0x00);
    /// 00/16
    pub const OPERATION_IN_PROGRESS: Self = Self(0x00, 0x16);
    /// 04/00: not ready, cause not reportable
    pub const NOT_READY: Self = Self(0x04, 0x00);
    /// 04/04
    pub const FORMAT_IN_PROGRESS: Self = Self(0x04, 0x04);
    /// 04/1B
    pub const SANITIZE_IN_PROGRESS: Self = Self(0x04, 0x1b);
    /// 04/02: stopped; START STOP UNIT with START one makes it ready
    pub const INITIALIZING_COMMAND_REQUIRED: Self = Self(0x04, 0x02);
    /// 04/03
    pub const MANUAL_INTERVENTION_REQUIRED: Self = Self(0x04, 0x03);
    /// 04/0A: the port's target port group changes its state
    pub const ACCESS_STATE_TRANSITION: Self = Self(0x04, 0x0a);
    /// 04/0B
    pub const TARGET_PORT_IN_STANDBY: Self = Self(0x04, 0x0b);
    /// 04/0C
    pub const TARGET_PORT_UNAVAILABLE: Self = Self(0x04, 0x0c);
    /// 08/04: a segment descriptor names no CSCD descriptor, or a null device
    pub const UNREACHABLE_COPY_TARGET: Self = Self(0x08, 0x04);
    /// 0C/00
    pub const WRITE_ERROR: Self = Self(0x0c, 0x00);
    /// 0D/01: the source or destination of a copy refused a command
    pub const THIRD_PARTY_DEVICE_FAILURE: Self = Self(0x0d, 0x01);
    /// 0D/02: the source or destination of a copy is not there for this nexus
    pub const COPY_TARGET_DEVICE_NOT_REACHABLE: Self = Self(0x0d, 0x02);
    /// 0D/03
    pub const INCORRECT_COPY_TARGET_DEVICE_TYPE: Self = Self(0x0d, 0x03);
    /// 11/00
    pub const UNRECOVERED_READ_ERROR: Self = Self(0x11, 0x00);
    /// 1A/00
    pub const PARAMETER_LIST_LENGTH: Self = Self(0x1a, 0x00);
    /// 1D/00
    pub const MISCOMPARE: Self = Self(0x1d, 0x00);
    /// 20/00
    pub const INVALID_OPCODE: Self = Self(0x20, 0x00);
    /// 21/00
    pub const LBA_OUT_OF_RANGE: Self = Self(0x21, 0x00);
    /// 23/01
    pub const UNSUPPORTED_TOKEN_TYPE: Self = Self(0x23, 0x01);
    /// 23/04
    pub const TOKEN_UNKNOWN: Self = Self(0x23, 0x04);
    /// 23/05
    pub const TOKEN_CORRUPT: Self = Self(0x23, 0x05);
    /// 23/06
    pub const TOKEN_REVOKED: Self = Self(0x23, 0x06);
    /// 23/07
    pub const TOKEN_EXPIRED: Self = Self(0x23, 0x07);
    /// 23/09
    pub const TOKEN_DELETED: Self = Self(0x23, 0x09);
    /// 23/0A
    pub const INVALID_TOKEN_LENGTH: Self = Self(0x23, 0x0a);
    /// 24/00
    pub const INVALID_FIELD_IN_CDB: Self = Self(0x24, 0x00);
    /// 25/00
    pub const LU_NOT_SUPPORTED: Self = Self(0x25, 0x00);
    /// 26/00
    pub const INVALID_FIELD_IN_PARAMETERS: Self = Self(0x26, 0x00);
    /// 26/04
    pub const INVALID_RELEASE: Self = Self(0x26, 0x04);
    /// 26/06
    pub const TOO_MANY_TARGET_DESCRIPTORS: Self = Self(0x26, 0x06);
    /// 26/07
    pub const UNSUPPORTED_TARGET_DESCRIPTOR_TYPE: Self = Self(0x26, 0x07);
    /// 26/08
    pub const TOO_MANY_SEGMENT_DESCRIPTORS: Self = Self(0x26, 0x08);
    /// 26/09
    pub const UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE: Self = Self(0x26, 0x09);
    /// 26/0A: the bytes of a segment are no whole number of blocks on both sides
    pub const UNEXPECTED_INEXACT_SEGMENT: Self = Self(0x26, 0x0a);
    /// 26/0B
    pub const INLINE_DATA_LENGTH_EXCEEDED: Self = Self(0x26, 0x0b);
    /// 27/00
    pub const WRITE_PROTECTED: Self = Self(0x27, 0x00);
    /// 27/02: by SWP of the Control mode page
    pub const SOFTWARE_WRITE_PROTECTED: Self = Self(0x27, 0x02);
    /// 27/07
    pub const SPACE_ALLOCATION_FAILED: Self = Self(0x27, 0x07);
    /// 28/00: a medium was loaded, perhaps another one
    pub const MEDIUM_MAY_HAVE_CHANGED: Self = Self(0x28, 0x00);
    /// 29/00
    pub const POWER_ON_OR_RESET: Self = Self(0x29, 0x00);
    /// 29/03
    pub const DEVICE_RESET: Self = Self(0x29, 0x03);
    /// 29/07
    pub const NEXUS_LOSS: Self = Self(0x29, 0x07);
    /// 2A/01
    pub const MODE_PARAMETERS_CHANGED: Self = Self(0x2a, 0x01);
    /// 2A/02
    pub const LOG_PARAMETERS_CHANGED: Self = Self(0x2a, 0x02);
    /// 2A/03
    pub const RESERVATIONS_PREEMPTED: Self = Self(0x2a, 0x03);
    /// 2A/04
    pub const RESERVATIONS_RELEASED: Self = Self(0x2a, 0x04);
    /// 2A/05
    pub const REGISTRATIONS_PREEMPTED: Self = Self(0x2a, 0x05);
    /// 2A/06: of a target port group
    pub const ACCESS_STATE_CHANGED: Self = Self(0x2a, 0x06);
    /// 2A/07: a change that no initiator asked for
    pub const IMPLICIT_ACCESS_CHANGE_FAILED: Self = Self(0x2a, 0x07);
    /// 2A/09
    pub const CAPACITY_CHANGED: Self = Self(0x2a, 0x09);
    /// 2A/10
    pub const TIMESTAMP_CHANGED: Self = Self(0x2a, 0x10);
    /// 2C/00
    pub const COMMAND_SEQUENCE_ERROR: Self = Self(0x2c, 0x00);
    /// 2F/00
    pub const COMMANDS_CLEARED: Self = Self(0x2f, 0x00);
    /// 30/02: of a disc that is no DVD
    pub const INCOMPATIBLE_FORMAT: Self = Self(0x30, 0x02);
    /// 31/00 (key MEDIUM ERROR): a format operation has failed
    pub const MEDIUM_FORMAT_CORRUPTED: Self = Self(0x31, 0x00);
    /// 31/01 (key MEDIUM ERROR)
    pub const FORMAT_COMMAND_FAILED: Self = Self(0x31, 0x01);
    /// 31/03 (key MEDIUM ERROR)
    pub const SANITIZE_COMMAND_FAILED: Self = Self(0x31, 0x03);
    /// 3A/02: the medium was ejected
    pub const MEDIUM_NOT_PRESENT_TRAY_OPEN: Self = Self(0x3a, 0x02);
    /// 38/07: of a thin unit
    pub const SOFT_THRESHOLD_REACHED: Self = Self(0x38, 0x07);
    /// 39/00
    pub const SAVING_NOT_SUPPORTED: Self = Self(0x39, 0x00);
    /// 2F/02
    pub const COMMANDS_CLEARED_BY_DEVICE_SERVER: Self = Self(0x2f, 0x02);
    /// 3F/03
    pub const INQUIRY_CHANGED: Self = Self(0x3f, 0x03);
    /// 3F/05
    pub const DEVICE_IDENTIFIER_CHANGED: Self = Self(0x3f, 0x05);
    /// 3F/0E
    pub const REPORTED_LUNS_CHANGED: Self = Self(0x3f, 0x0e);
    /// 3F/0F
    pub const ECHO_BUFFER_OVERWRITTEN: Self = Self(0x3f, 0x0f);
    /// 44/00
    pub const INTERNAL_TARGET_FAILURE: Self = Self(0x44, 0x00);
    /// 44/01: nobody knows any more who had reserved the logical unit
    pub const PERSISTENT_RESERVATION_LOST: Self = Self(0x44, 0x01);
    /// 47/05
    pub const PROTOCOL_SERVICE_CRC_ERROR: Self = Self(0x47, 0x05);
    /// 53/02
    pub const MEDIUM_REMOVAL_PREVENTED: Self = Self(0x53, 0x02);
    /// 55/03
    pub const INSUFFICIENT_RESOURCES: Self = Self(0x55, 0x03);
    /// 55/04
    pub const INSUFFICIENT_REGISTRATION_RESOURCES: Self = Self(0x55, 0x04);
    /// 64/00: the track has no sectors of that kind
    pub const ILLEGAL_MODE_FOR_THIS_TRACK: Self = Self(0x64, 0x00);
    /// 67/0A
    pub const SET_TARGET_PORT_GROUPS_FAILED: Self = Self(0x67, 0x0a);
    /// 55/0D
    pub const INSUFFICIENT_RESOURCES_FOR_TOKEN: Self = Self(0x55, 0x0d);
    /// 5E/03 (key NO SENSE)
    pub const IDLE_BY_COMMAND: Self = Self(0x5e, 0x03);
    /// 5E/04 (key NO SENSE)
    pub const STANDBY_BY_COMMAND: Self = Self(0x5e, 0x04);
}

impl fmt::Display for Asc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}/{:02X}", self.0, self.1)
    }
}

/// Which field was wrong (SPC-5 section 4.4.2.4.2, field pointer).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Whether the field is in the CDB; otherwise it is in the parameter list.
    pub in_cdb: bool,
    /// Whether `byte` counts from the start of the segment descriptor (SD of a segment pointer).
    pub in_segment: bool,
    /// The field's first byte.
    pub byte: u16,
    /// The field's most significant bit in that byte, if it is not the whole byte.
    pub bit: Option<u8>,
}

impl Field {
    /// The three sense-key specific bytes.
    fn bytes(self) -> [u8; 3] {
        let place = self.byte.to_be_bytes();
        let bit = self.bit.map_or(0, |b| 0x08 | (b & 7));
        let whose = u8::from(self.in_cdb) << 6 | u8::from(self.in_segment) << 5;
        [0x80 | whose | bit, place[0], place[1]]
    }
}

/// Sense data, before it has a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense {
    /// The sense key.
    pub key: SenseKey,
    /// The additional sense code with qualifier.
    pub asc: Asc,
    /// The INFORMATION field: an LBA, or the byte offset of a miscompare.
    pub information: Option<u64>,
    /// The field pointer.
    pub field: Option<Field>,
    /// The segment descriptor that was processed (COMMAND-SPECIFIC INFORMATION of a third-party copy).
    pub segment: Option<u16>,
    /// How far the operation is that is under way, in 65536ths; where there is a field pointer it is not told.
    pub progress: Option<u16>,
}

impl Sense {
    /// Sense data with nothing but key and code.
    pub const fn new(key: SenseKey, asc: Asc) -> Self {
        Self { key, asc, information: None, field: None, segment: None, progress: None }
    }

    /// NO SENSE: all is well.
    pub const fn none() -> Self {
        Self::new(SenseKey::NO_SENSE, Asc::NONE)
    }

    /// ILLEGAL REQUEST with that code.
    pub const fn illegal(asc: Asc) -> Self {
        Self::new(SenseKey::ILLEGAL_REQUEST, asc)
    }

    /// INVALID FIELD IN CDB: the field that begins at `byte`, whose most significant bit is `bit`.
    pub const fn cdb_field(byte: u16, bit: u8) -> Self {
        let field = Some(Field { in_cdb: true, in_segment: false, byte, bit: Some(bit) });
        Self { field, ..Self::illegal(Asc::INVALID_FIELD_IN_CDB) }
    }

    /// INVALID FIELD IN PARAMETER LIST: likewise, in the parameter list.
    pub const fn parameter_field(byte: u16, bit: u8) -> Self {
        let field = Some(Field { in_cdb: false, in_segment: false, byte, bit: Some(bit) });
        Self { field, ..Self::illegal(Asc::INVALID_FIELD_IN_PARAMETERS) }
    }

    /// UNIT ATTENTION.
    pub const fn attention(asc: Asc) -> Self {
        Self::new(SenseKey::UNIT_ATTENTION, asc)
    }

    /// The medium could not be read at `lba`.
    pub const fn read_error(lba: u64) -> Self {
        Self::new(SenseKey::MEDIUM_ERROR, Asc::UNRECOVERED_READ_ERROR).at(lba)
    }

    /// The medium could not be written at `lba`.
    pub const fn write_error(lba: u64) -> Self {
        Self::new(SenseKey::MEDIUM_ERROR, Asc::WRITE_ERROR).at(lba)
    }

    /// There is no room to store the blocks (thin provisioning, SBC-4 section 4.7.3.6).
    pub const fn no_space() -> Self {
        Self::new(SenseKey::DATA_PROTECT, Asc::SPACE_ALLOCATION_FAILED)
    }

    /// The logical unit may not be written.
    pub const fn write_protected() -> Self {
        Self::protected(Asc::WRITE_PROTECTED)
    }

    /// The logical unit may not be written; the code says why.
    pub const fn protected(asc: Asc) -> Self {
        Self::new(SenseKey::DATA_PROTECT, asc)
    }

    /// The logical unit is there but cannot be accessed.
    pub const fn not_ready(asc: Asc) -> Self {
        Self::new(SenseKey::NOT_READY, asc)
    }

    /// The command was aborted and may be tried again.
    pub const fn aborted(asc: Asc) -> Self {
        Self::new(SenseKey::ABORTED_COMMAND, asc)
    }

    /// The device has gone, or failed in a way that says nothing about a block.
    pub const fn target_failure() -> Self {
        Self::new(SenseKey::HARDWARE_ERROR, Asc::INTERNAL_TARGET_FAILURE)
    }

    /// Data-out and medium differ first at that byte of the data-out buffer.
    pub const fn miscompare(offset: u64) -> Self {
        Self::new(SenseKey::MISCOMPARE, Asc::MISCOMPARE).at(offset)
    }

    /// COPY ABORTED while segment descriptor `segment` was processed.
    pub const fn copy_aborted(asc: Asc, segment: u16) -> Self {
        Self { segment: Some(segment), ..Self::new(SenseKey::COPY_ABORTED, asc) }
    }

    /// The same with a pointer to the field at `byte` of the segment descriptor, whose most
    /// significant bit is `bit`.
    pub const fn in_segment(self, byte: u16, bit: u8) -> Self {
        let field = Some(Field { in_cdb: false, in_segment: true, byte, bit: Some(bit) });
        Self { field, ..self }
    }

    /// The same with the INFORMATION field set.
    pub const fn at(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// The same with the PROGRESS INDICATION field set.
    pub const fn progress(self, progress: u16) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// The sense-key specific bytes: a field pointer, or a progress indication (SPC-5 section 4.4.2.4).
    fn specific(&self) -> Option<[u8; 3]> {
        let progress = |progress: u16| {
            let [high, low] = progress.to_be_bytes();
            [0x80, high, low]
        };
        self.field.map(Field::bytes).or_else(|| self.progress.map(progress))
    }

    /// Writes the sense data, in descriptor format if asked, and says how many bytes it is.
    pub fn encode(&self, descriptor: bool, out: &mut [u8; MAX_SENSE]) -> usize {
        *out = [0; MAX_SENSE];
        if descriptor { self.encode_descriptors(out) } else { self.encode_fixed(out) }
    }

    /// Fixed format, SPC-5 section 4.4.3. An INFORMATION that needs more than 32 bits is left out.
    fn encode_fixed(&self, out: &mut [u8; MAX_SENSE]) -> usize {
        out[0] = 0x70;
        out[2] = self.key.0;
        if let Some(information) = self.information.and_then(|i| u32::try_from(i).ok()) {
            out[0] |= 0x80;
            out[3..7].copy_from_slice(&information.to_be_bytes());
        }
        out[7] = 10;
        out[10..12].copy_from_slice(&self.segment.unwrap_or(0).to_be_bytes());
        (out[12], out[13]) = (self.asc.0, self.asc.1);
        if let Some(specific) = self.specific() {
            out[15..18].copy_from_slice(&specific);
        }
        18
    }

    /// Descriptor format, SPC-5 section 4.4.2.
    fn encode_descriptors(&self, out: &mut [u8; MAX_SENSE]) -> usize {
        out[..4].copy_from_slice(&[0x72, self.key.0, self.asc.0, self.asc.1]);
        let mut end = 8;
        if let Some(information) = self.information {
            out[end..end + 3].copy_from_slice(&[0x00, 0x0a, 0x80]);
            out[end + 4..end + 12].copy_from_slice(&information.to_be_bytes());
            end += 12;
        }
        if let Some(segment) = self.segment {
            out[end..end + 2].copy_from_slice(&[0x01, 0x0a]);
            out[end + 10..end + 12].copy_from_slice(&segment.to_be_bytes());
            end += 12;
        }
        if let Some(specific) = self.specific() {
            out[end..end + 2].copy_from_slice(&[0x02, 0x06]);
            out[end + 4..end + 7].copy_from_slice(&specific);
            end += 8;
        }
        out[7] = (end - 8) as u8;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sense: Sense, descriptor: bool) -> Vec<u8> {
        let mut out = [0xff; MAX_SENSE];
        let n = sense.encode(descriptor, &mut out);
        out[..n].to_vec()
    }

    #[test]
    fn fixed_with_field_pointer() {
        let got = bytes(Sense::cdb_field(1, 7), false);
        assert_eq!(got, [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcf, 0, 1]);
    }

    #[test]
    fn fixed_information_only_if_it_fits() {
        let small = bytes(Sense::read_error(0x0102_0304), false);
        assert_eq!((small[0], &small[3..7]), (0xf0, &[1, 2, 3, 4][..]));
        let large = bytes(Sense::read_error(1 << 40), false);
        assert_eq!((large[0], &large[3..7]), (0x70, &[0, 0, 0, 0][..]));
    }

    #[test]
    fn descriptors_one_after_the_other() {
        let sense = Sense { information: Some(9), ..Sense::parameter_field(0x0102, 3) };
        let mut want = vec![0x72, 5, 0x26, 0, 0, 0, 0, 20];
        want.extend([0, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        want.extend([2, 6, 0, 0, 0x8b, 1, 2, 0]);
        assert_eq!(bytes(sense, true), want);
    }

    #[test]
    fn progress_takes_the_place_of_a_field_pointer() {
        let sense = Sense::not_ready(Asc::SANITIZE_IN_PROGRESS).progress(0x0102);
        let fixed = bytes(sense, false);
        assert_eq!(fixed, [0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 1, 2]);
        let descriptor = [0x72, 2, 4, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 1, 2, 0];
        assert_eq!(bytes(sense, true), descriptor);
    }

    #[test]
    fn a_copy_tells_the_segment_and_points_into_it() {
        let sense = Sense::copy_aborted(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE, 0x0102).in_segment(6, 7);
        let fixed = bytes(sense, false);
        assert_eq!(fixed, [0x70, 0, 10, 0, 0, 0, 0, 10, 0, 0, 1, 2, 0x0d, 2, 0, 0xaf, 0, 6]);
        let mut want = vec![0x72, 10, 0x0d, 2, 0, 0, 0, 20];
        want.extend([1, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        want.extend([2, 6, 0, 0, 0xaf, 0, 6, 0]);
        assert_eq!(bytes(sense, true), want);
    }

    #[test]
    fn plain_descriptor_format_is_the_header() {
        assert_eq!(bytes(Sense::attention(Asc(0x29, 0)), true), [0x72, 6, 0x29, 0, 0, 0, 0, 0]);
    }
}

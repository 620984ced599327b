//! Bits of the first two header bytes (RFC 7143 section 11.2.1 and the section of each PDU).

/// Byte 0: immediate delivery, the "I" bit (section 11.2.1.1).
pub const IMMEDIATE: u8 = 0x40;
/// Byte 0: the opcode itself.
pub const OPCODE_MASK: u8 = 0x3f;

/// Final PDU of a sequence, the "F" bit; also the bit 1 that several PDUs fix.
pub const FINAL: u8 = 0x80;
/// Text and Login: the text goes on in the next PDU, the "C" bit.
pub const CONTINUE: u8 = 0x40;

/// SCSI Command: data is expected from the target (section 11.3.1).
pub const READ: u8 = 0x40;
/// SCSI Command: data is expected from the initiator (section 11.3.1).
pub const WRITE: u8 = 0x20;
/// SCSI Command: task attribute (section 11.3.1): one of the `ATTR_` values below.
pub const ATTR_MASK: u8 = 0x07;
/// Task attribute: untagged.
pub const ATTR_UNTAGGED: u8 = 0;
/// Task attribute: SIMPLE.
pub const ATTR_SIMPLE: u8 = 1;
/// Task attribute: ORDERED.
pub const ATTR_ORDERED: u8 = 2;
/// Task attribute: HEAD OF QUEUE.
pub const ATTR_HEAD_OF_QUEUE: u8 = 3;
/// Task attribute: ACA.
pub const ATTR_ACA: u8 = 4;

/// SCSI Response: residual overflow of a bidirectional command's read part (section 11.4.1).
pub const BIDI_OVERFLOW: u8 = 0x10;
/// SCSI Response: residual underflow of a bidirectional command's read part.
pub const BIDI_UNDERFLOW: u8 = 0x08;
/// SCSI Response and Data-In: more bytes were needed than the initiator expected.
pub const OVERFLOW: u8 = 0x04;
/// SCSI Response and Data-In: fewer bytes were moved than the initiator expected.
pub const UNDERFLOW: u8 = 0x02;

/// Data-In: the target asks for an acknowledgement, ErrorRecoveryLevel 1 and up (section 11.7.2).
pub const ACKNOWLEDGE: u8 = 0x40;
/// Data-In: the status is in this PDU (section 11.7.3).
pub const STATUS: u8 = 0x01;

/// Login: ready to go to the next stage (section 11.12.1).
pub const TRANSIT: u8 = 0x80;
/// Login: where the current stage sits in byte 1 (section 11.12.3).
pub const CSG_SHIFT: u8 = 2;
/// Login: width of a stage field.
pub const STAGE_MASK: u8 = 0x03;

/// Task Management Request: the function, byte 1 (section 11.5.1).
pub const FUNCTION_MASK: u8 = 0x7f;
/// Logout Request: the reason, byte 1 (section 11.14.1).
pub const REASON_MASK: u8 = 0x7f;
/// SNACK Request: the type, byte 1 (section 11.16.1).
pub const SNACK_TYPE_MASK: u8 = 0x0f;

//! The basic header segment of every PDU (RFC 7143 section 11), as the 48 bytes that travel.
//!
//! Each struct is the wire layout itself, so reading and writing a header is a cast. Fields hold
//! raw values; their meaning is in [`crate::wire::codes`] and [`crate::wire::flags`]. `Default`
//! gives zeroes, but the right opcode, and the bits and tags that the standard fixes.

#![allow(missing_debug_implementations)] // zerocopy's derive makes hidden types; every header here has Debug

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute_ref};

use super::codes::{Opcode, TAG_NONE};
use super::flags;

/// Bytes of a basic header segment.
pub const BHS_LEN: usize = 48;

/// A reserved or absent tag on the wire.
const NO_TAG: U32 = U32::new(TAG_NONE);

/// What all headers have in common.
pub trait Header: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Copy {
    /// The opcode of this header.
    const OPCODE: Opcode;
}

/// Bytes of the data segment that the three header bytes announce, without padding.
fn read_len(field: [u8; 3]) -> usize {
    let [high, middle, low] = field;
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

/// The header bytes for a data segment of `len` bytes. A PDU cannot carry 2²⁴ bytes or more;
/// nothing here builds one: MaxRecvDataSegmentLength ends below.
fn write_len(len: usize) -> [u8; 3] {
    debug_assert!(len < 1 << 24, "a data segment of {len} bytes");
    [(len >> 16) as u8, (len >> 8) as u8, len as u8]
}

macro_rules! value_or_zero {
    () => {
        FromZeros::new_zeroed()
    };
    ($value:expr) => {
        $value
    };
}

/// Defines header structs, each with its default, its views and its size check.
macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident = $opcode:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty $(= $value:expr)?,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name {
            /// Byte 0: the opcode, and the I bit in requests.
            pub opcode: u8,
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        const _: () = assert!(size_of::<$name>() == BHS_LEN);

        impl Header for $name {
            const OPCODE: Opcode = Opcode::$opcode;
        }

        impl Default for $name {
            fn default() -> Self {
                Self { opcode: Opcode::$opcode.0, $($field: value_or_zero!($($value)?),)* }
            }
        }

        impl $name {
            /// These bytes seen as this header, whatever their opcode says.
            pub fn from_bhs(bytes: &[u8; BHS_LEN]) -> &Self {
                transmute_ref!(bytes)
            }

            /// The bytes that travel.
            pub fn as_bhs(&self) -> &[u8; BHS_LEN] {
                transmute_ref!(self)
            }

            /// Bytes of the data segment, without padding.
            pub fn data_len(&self) -> usize {
                read_len(self.data_segment_len)
            }

            /// Announces a data segment of `len` bytes.
            pub fn set_data_len(&mut self, len: usize) {
                self.data_segment_len = write_len(len);
            }
        }
    )*};
}

/// Any header, before its opcode has been looked at (section 11.2.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Bhs {
    /// Byte 0: the I bit and the opcode.
    pub opcode: u8,
    /// Byte 1: the F bit, and opcode-specific bits.
    pub flags: u8,
    /// Opcode-specific.
    pub specific: [u8; 2],
    /// Length of all additional header segments in 4-byte words.
    pub total_ahs_len: u8,
    /// Length of the data segment in bytes, without padding.
    pub data_segment_len: [u8; 3],
    /// LUN, or opcode-specific.
    pub lun: U64,
    /// Initiator Task Tag.
    pub itt: U32,
    /// Opcode-specific.
    pub rest: [u8; 28],
}

const _: () = assert!(size_of::<Bhs>() == BHS_LEN);

impl Bhs {
    /// These bytes seen as a header.
    pub fn from_bhs(bytes: &[u8; BHS_LEN]) -> &Self {
        transmute_ref!(bytes)
    }

    /// The bytes that travel.
    pub fn as_bhs(&self) -> &[u8; BHS_LEN] {
        transmute_ref!(self)
    }

    /// What kind of PDU this is.
    pub fn opcode(&self) -> Opcode {
        Opcode(self.opcode & flags::OPCODE_MASK)
    }

    /// Whether the request is for immediate delivery (section 4.2.2.1).
    pub fn immediate(&self) -> bool {
        self.opcode & flags::IMMEDIATE != 0
    }

    /// Bytes of all additional header segments.
    pub fn ahs_len(&self) -> usize {
        usize::from(self.total_ahs_len) * 4
    }

    /// Bytes of the data segment, without padding.
    pub fn data_len(&self) -> usize {
        read_len(self.data_segment_len)
    }
}

/// Bytes that pad `len` bytes to the next 4-byte boundary (section 11.1).
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

headers! {
    /// SCSI Command (section 11.3).
    ScsiCommand = SCSI_COMMAND {
        /// F, R, W and the task attribute.
        flags: u8,
        /// Reserved; the task priority in RFC 7144's low four bits of the first byte.
        reserved2: [u8; 2],
        /// Length of all additional header segments in 4-byte words.
        total_ahs_len: u8,
        /// Length of the immediate data.
        data_segment_len: [u8; 3],
        /// The logical unit.
        lun: U64,
        /// Initiator Task Tag.
        itt: U32,
        /// Bytes that the initiator will send, or take when it only reads.
        expected_data_transfer_length: U32,
        /// Command sequence number.
        cmd_sn: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// The first 16 bytes of the CDB.
        cdb: [u8; 16],
    }

    /// SCSI Response (section 11.4).
    ScsiResponse = SCSI_RESPONSE {
        /// Bit 1 fixed; o, u, O, U.
        flags: u8 = flags::FINAL,
        /// iSCSI service response.
        response: u8,
        /// SCSI status, when the command completed.
        status: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// Length of sense and response data.
        data_segment_len: [u8; 3],
        /// What SAM-5 has besides the status, at iSCSIProtocolLevel 2 (RFC 7144); else reserved.
        status_qualifier: U16,
        /// Reserved.
        reserved10: [u8; 6],
        /// Initiator Task Tag of the command.
        itt: U32,
        /// SNACK Tag of a resent response; else reserved.
        snack_tag: U32,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Number of Data-In and R2T PDUs of the command.
        exp_data_sn: U32,
        /// Residual of the read part of a bidirectional command.
        bidi_read_residual_count: U32,
        /// Residual, in bytes.
        residual_count: U32,
    }

    /// Task Management Function Request (section 11.5).
    TaskMgmtRequest = TASK_MGMT_REQUEST {
        /// Bit 1 fixed; the function.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// No data.
        data_segment_len: [u8; 3],
        /// The logical unit, for functions on one.
        lun: U64,
        /// Initiator Task Tag of this request.
        itt: U32,
        /// The task to act on.
        ref_task_tag: U32 = NO_TAG,
        /// Command sequence number.
        cmd_sn: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// CmdSN of the task to act on.
        ref_cmd_sn: U32,
        /// TASK REASSIGN: the next DataSN expected.
        exp_data_sn: U32,
        /// Reserved.
        reserved40: U64,
    }

    /// Task Management Function Response (section 11.6).
    TaskMgmtResponse = TASK_MGMT_RESPONSE {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// How the function ended.
        response: u8,
        /// Reserved.
        reserved3: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// No data.
        data_segment_len: [u8; 3],
        /// What a query has found (RFC 7144): UADE DEPTH and sense key, additional sense code and qualifier.
        additional_response: [u8; 3],
        /// Reserved.
        reserved11: [u8; 5],
        /// Initiator Task Tag of the request.
        itt: U32,
        /// Reserved.
        reserved20: U32,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Reserved.
        reserved36: [u8; 12],
    }

    /// SCSI Data-Out (section 11.7).
    DataOut = DATA_OUT {
        /// F ends the sequence.
        flags: u8,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the data.
        data_segment_len: [u8; 3],
        /// The logical unit, when an R2T asked.
        lun: U64,
        /// Initiator Task Tag of the command.
        itt: U32,
        /// Tag of the R2T; none for unsolicited data.
        ttt: U32 = NO_TAG,
        /// Reserved.
        reserved24: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// Reserved.
        reserved32: U32,
        /// Number of this PDU in its sequence.
        data_sn: U32,
        /// Where the data lies in the transfer, in bytes.
        buffer_offset: U32,
        /// Reserved.
        reserved44: U32,
    }

    /// SCSI Data-In (section 11.7).
    DataIn = DATA_IN {
        /// F, A, O, U, S.
        flags: u8,
        /// Reserved.
        reserved2: u8,
        /// SCSI status, when S is set.
        status: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the data.
        data_segment_len: [u8; 3],
        /// The logical unit, when A is set.
        lun: U64,
        /// Initiator Task Tag of the command.
        itt: U32,
        /// Tag for the acknowledgement, when A is set.
        ttt: U32 = NO_TAG,
        /// Status sequence number, when S is set.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Number of this PDU among the command's Data-In and R2T PDUs.
        data_sn: U32,
        /// Where the data lies in the transfer, in bytes.
        buffer_offset: U32,
        /// Residual in bytes, when S is set.
        residual_count: U32,
    }

    /// Ready To Transfer (section 11.8).
    R2t = R2T {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// No data.
        data_segment_len: [u8; 3],
        /// The logical unit.
        lun: U64,
        /// Initiator Task Tag of the command.
        itt: U32,
        /// Tag that the solicited Data-Out PDUs carry.
        ttt: U32,
        /// The next StatSN; it does not advance.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Number of this R2T among the command's Data-In and R2T PDUs.
        r2t_sn: U32,
        /// Where the wanted data lies in the transfer, in bytes.
        buffer_offset: U32,
        /// Bytes wanted.
        desired_data_transfer_length: U32,
    }

    /// Asynchronous Message (section 11.9).
    AsyncMessage = ASYNC_MESSAGE {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// Length of sense and event data.
        data_segment_len: [u8; 3],
        /// The logical unit of a SCSI event.
        lun: U64,
        /// No task.
        itt: U32 = NO_TAG,
        /// Reserved.
        reserved20: U32,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// What happened.
        async_event: u8,
        /// Vendor code of a vendor-specific event.
        async_v_code: u8,
        /// By event: a CID, or reserved.
        parameter1: U16,
        /// By event: Time2Wait in seconds, or reserved.
        parameter2: U16,
        /// By event: Time2Retain or a grace time in seconds, or reserved.
        parameter3: U16,
        /// Reserved.
        reserved44: U32,
    }

    /// Text Request (section 11.10).
    TextRequest = TEXT_REQUEST {
        /// F and C.
        flags: u8,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the text.
        data_segment_len: [u8; 3],
        /// The logical unit that goes with a Target Transfer Tag.
        lun: U64,
        /// Initiator Task Tag, one for the whole negotiation.
        itt: U32,
        /// The tag of the target's last answer; none to begin.
        ttt: U32 = NO_TAG,
        /// Command sequence number.
        cmd_sn: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// Reserved.
        reserved32: [u8; 16],
    }

    /// Text Response (section 11.11).
    TextResponse = TEXT_RESPONSE {
        /// F and C.
        flags: u8,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the text.
        data_segment_len: [u8; 3],
        /// The logical unit that goes with a Target Transfer Tag.
        lun: U64,
        /// Initiator Task Tag of the negotiation.
        itt: U32,
        /// The tag for the next request; none at the end.
        ttt: U32 = NO_TAG,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Reserved.
        reserved36: [u8; 12],
    }

    /// Login Request (section 11.12).
    LoginRequest = LOGIN_REQUEST {
        /// T, C, CSG, NSG.
        flags: u8,
        /// Highest version that the initiator speaks.
        version_max: u8,
        /// Lowest version that the initiator speaks.
        version_min: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the text.
        data_segment_len: [u8; 3],
        /// Initiator session ID.
        isid: [u8; 6],
        /// Target session identifying handle; zero for a new session.
        tsih: U16,
        /// Initiator Task Tag, one for the whole login.
        itt: U32,
        /// Connection ID.
        cid: U16,
        /// Reserved.
        reserved22: U16,
        /// Command sequence number.
        cmd_sn: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// Reserved.
        reserved32: [u8; 16],
    }

    /// Login Response (section 11.13).
    LoginResponse = LOGIN_RESPONSE {
        /// T, C, CSG, NSG.
        flags: u8,
        /// Highest version that the target speaks.
        version_max: u8,
        /// The version in use.
        version_active: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the text.
        data_segment_len: [u8; 3],
        /// Initiator session ID.
        isid: [u8; 6],
        /// Target session identifying handle; set in the last response.
        tsih: U16,
        /// Initiator Task Tag of the login.
        itt: U32,
        /// Reserved.
        reserved20: U32,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Class of the login status.
        status_class: u8,
        /// Detail of the login status.
        status_detail: u8,
        /// Reserved.
        reserved38: [u8; 10],
    }

    /// Logout Request (section 11.14).
    LogoutRequest = LOGOUT_REQUEST {
        /// Bit 1 fixed; the reason.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// No data.
        data_segment_len: [u8; 3],
        /// Reserved.
        reserved8: U64,
        /// Initiator Task Tag.
        itt: U32,
        /// The connection to close.
        cid: U16,
        /// Reserved.
        reserved22: U16,
        /// Command sequence number.
        cmd_sn: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// Reserved.
        reserved32: [u8; 16],
    }

    /// Logout Response (section 11.15).
    LogoutResponse = LOGOUT_RESPONSE {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// How the logout ended.
        response: u8,
        /// Reserved.
        reserved3: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// No data.
        data_segment_len: [u8; 3],
        /// Reserved.
        reserved8: U64,
        /// Initiator Task Tag of the request.
        itt: U32,
        /// Reserved.
        reserved20: U32,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Reserved.
        reserved36: U32,
        /// Seconds to wait before reconnecting.
        time2wait: U16,
        /// Seconds that tasks are kept after that.
        time2retain: U16,
        /// Reserved.
        reserved44: U32,
    }

    /// SNACK Request (section 11.16).
    SnackRequest = SNACK_REQUEST {
        /// Bit 1 fixed; the type.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// No data.
        data_segment_len: [u8; 3],
        /// The logical unit, of a DataACK.
        lun: U64,
        /// Initiator Task Tag, or none.
        itt: U32 = NO_TAG,
        /// Target Transfer Tag or SNACK Tag.
        ttt: U32 = NO_TAG,
        /// Reserved.
        reserved24: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// Reserved.
        reserved32: U64,
        /// First number missed.
        beg_run: U32,
        /// How many were missed; zero: all from there on.
        run_length: U32,
    }

    /// Reject (section 11.17).
    Reject = REJECT {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// Why.
        reason: u8,
        /// Reserved.
        reserved3: u8,
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the rejected header, which is the data.
        data_segment_len: [u8; 3],
        /// Reserved.
        reserved8: U64,
        /// No task.
        itt: U32 = NO_TAG,
        /// Reserved.
        reserved20: U32,
        /// Status sequence number.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Next DataSN or R2TSN, for a rejected SNACK or data PDU.
        data_sn: U32,
        /// Reserved.
        reserved40: U64,
    }

    /// NOP-Out (section 11.18).
    NopOut = NOP_OUT {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the ping data.
        data_segment_len: [u8; 3],
        /// The LUN of the NOP-In that this answers.
        lun: U64,
        /// Initiator Task Tag of a ping; none when no answer is wanted.
        itt: U32 = NO_TAG,
        /// The tag of the NOP-In that this answers, or none.
        ttt: U32 = NO_TAG,
        /// Command sequence number.
        cmd_sn: U32,
        /// Next StatSN that the initiator expects.
        exp_stat_sn: U32,
        /// Reserved.
        reserved32: [u8; 16],
    }

    /// NOP-In (section 11.19).
    NopIn = NOP_IN {
        /// Bit 1 fixed.
        flags: u8 = flags::FINAL,
        /// Reserved.
        reserved2: [u8; 2],
        /// No additional header.
        total_ahs_len: u8,
        /// Length of the echoed ping data.
        data_segment_len: [u8; 3],
        /// Zero, or a LUN to be echoed when the target asks for an answer.
        lun: U64,
        /// Initiator Task Tag of the NOP-Out that this answers, or none.
        itt: U32 = NO_TAG,
        /// A tag when the target asks for an answer, or none.
        ttt: U32 = NO_TAG,
        /// Status sequence number; the next one, not advanced, when `itt` is none.
        stat_sn: U32,
        /// Next CmdSN that the target expects.
        exp_cmd_sn: U32,
        /// Last CmdSN that the target takes.
        max_cmd_sn: U32,
        /// Reserved.
        reserved36: [u8; 12],
    }
}

impl ScsiCommand {
    /// Bytes of all additional header segments.
    pub fn ahs_len(&self) -> usize {
        usize::from(self.total_ahs_len) * 4
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_scsi_command_from_the_standard() {
        // RFC 7143 appendix A.4: READ(10) of 1 KiB, CmdSN 0x14, ExpStatSN 0x18.
        let mut bytes = [0; BHS_LEN];
        bytes[..2].copy_from_slice(&[0x01, 0xc0]);
        bytes[16] = 0x14;
        bytes[22] = 0x04;
        bytes[27] = 0x14;
        bytes[31] = 0x18;
        bytes[32] = 0x28;
        let command = ScsiCommand::from_bhs(&bytes);
        assert_eq!(command.flags, flags::FINAL | flags::READ);
        assert_eq!(command.itt, 0x1400_0000);
        assert_eq!(command.expected_data_transfer_length, 1024);
        assert_eq!((command.cmd_sn, command.exp_stat_sn), (0x14.into(), 0x18.into()));
        assert_eq!(command.cdb[0], 0x28);
        assert_eq!(command.as_bhs(), &bytes);
    }

    #[test]
    fn fields_lie_where_the_standard_draws_them() {
        assert_eq!(offset_of!(ScsiResponse, status_qualifier), 8);
        assert_eq!(offset_of!(ScsiResponse, residual_count), 44);
        assert_eq!(offset_of!(ScsiResponse, exp_data_sn), 36);
        assert_eq!(offset_of!(TaskMgmtRequest, ref_cmd_sn), 32);
        assert_eq!(offset_of!(TaskMgmtResponse, additional_response), 8);
        assert_eq!(offset_of!(TaskMgmtResponse, itt), 16);
        assert_eq!(offset_of!(DataOut, data_sn), 36);
        assert_eq!(offset_of!(DataOut, ttt), 20);
        assert_eq!(offset_of!(DataIn, status), 3);
        assert_eq!(offset_of!(DataIn, buffer_offset), 40);
        assert_eq!(offset_of!(R2t, desired_data_transfer_length), 44);
        assert_eq!(offset_of!(AsyncMessage, async_event), 36);
        assert_eq!(offset_of!(AsyncMessage, parameter3), 42);
        assert_eq!(offset_of!(LoginRequest, tsih), 14);
        assert_eq!(offset_of!(LoginRequest, exp_stat_sn), 28);
        assert_eq!(offset_of!(LoginResponse, status_class), 36);
        assert_eq!(offset_of!(LogoutResponse, time2wait), 40);
        assert_eq!(offset_of!(SnackRequest, beg_run), 40);
        assert_eq!(offset_of!(Reject, data_sn), 36);
        assert_eq!(offset_of!(TextRequest, cmd_sn), 24);
        assert_eq!(offset_of!(NopIn, max_cmd_sn), 32);
    }

    #[test]
    fn defaults_carry_what_is_fixed() {
        assert_eq!(NopIn::default().as_bhs()[..2], [0x20, 0x80]);
        assert_eq!(Reject::default().as_bhs()[16..20], [0xff; 4]);
        assert_eq!(DataIn::default().as_bhs()[..2], [0x25, 0]);
        assert_eq!(Bhs::from_bhs(LoginRequest::default().as_bhs()).opcode(), LoginRequest::OPCODE);
    }

    #[test]
    fn the_general_view() {
        let mut text = TextRequest { opcode: 0x44, ..TextRequest::default() };
        text.set_data_len(0x01_02_03);
        text.total_ahs_len = 3;
        let bhs = Bhs::from_bhs(text.as_bhs());
        assert_eq!(bhs.opcode(), Opcode::TEXT_REQUEST);
        assert!(bhs.immediate());
        assert_eq!((bhs.ahs_len(), bhs.data_len()), (12, 0x01_02_03));
        assert_eq!(text.data_len(), 0x01_02_03);
    }

    #[test]
    fn padding_goes_to_the_next_word() {
        assert_eq!([0, 1, 2, 3, 4].map(padding), [0, 3, 2, 1, 0]);
    }
}

//! Any PDU header as one line for a log: its name, the flags that are set, and its fields.
//!
//! What to show is a table by opcode; where a field lies comes from the structs of
//! [`crate::wire::bhs`]. Data segments are never shown: they may hold secrets.

use std::fmt::{self, Display, Formatter};
use std::mem::offset_of;

use zerocopy::big_endian::U64;

use super::bhs::{
    AsyncMessage, BHS_LEN, Bhs, DataIn, DataOut, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
    NopIn, NopOut, R2t, Reject, ScsiCommand, ScsiResponse, SnackRequest, TaskMgmtRequest, TaskMgmtResponse,
    TextRequest, TextResponse,
};
use super::codes::{
    AsyncEvent, LoginStatus, LogoutReason, LogoutResponseCode, Opcode, RejectReason, ServiceResponse,
    SnackType, Stage, TAG_NONE, TmfFunction, TmfResponse,
};
use super::{flags, lun};

/// A header, to be formatted.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(pub &'a [u8; BHS_LEN]);

/// How the bytes of a field are read and written.
#[derive(Clone, Copy)]
enum As {
    /// 32 bits, a tag; nothing is shown for none.
    Tag,
    /// 32 bits, decimal.
    Count,
    /// 32 bits, hexadecimal: serial numbers.
    Number,
    /// 16 bits, decimal.
    Word,
    /// The 8 bytes of a LUN; nothing is shown for the all-zero one, which is LUN 0 or reserved.
    Lun,
    /// So many bytes, hexadecimal.
    Bytes(usize),
    /// A byte by its meaning.
    Code(fn(u8) -> String),
    /// Two bytes: class and detail of a login status.
    Login,
}

type Field = (&'static str, usize, As);

struct Form {
    opcode: Opcode,
    flags: &'static [(u8, &'static str)],
    fields: &'static [Field],
}

macro_rules! form {
    ($header:ident $opcode:ident [$($bit:expr => $letter:literal),*] $($field:ident: $how:expr),* $(,)?) => {
        Form {
            opcode: Opcode::$opcode,
            flags: &[$(($bit, $letter)),*],
            fields: &[$((stringify!($field), offset_of!($header, $field), $how)),*],
        }
    };
}

fn attribute(flags: u8) -> String {
    match flags & flags::ATTR_MASK {
        flags::ATTR_UNTAGGED => "untagged".into(),
        flags::ATTR_SIMPLE => "simple".into(),
        flags::ATTR_ORDERED => "ordered".into(),
        flags::ATTR_HEAD_OF_QUEUE => "head-of-queue".into(),
        flags::ATTR_ACA => "aca".into(),
        other => format!("{other:#x}"),
    }
}

fn stages(flags: u8) -> String {
    let current = Stage(flags >> flags::CSG_SHIFT & flags::STAGE_MASK);
    if flags & flags::TRANSIT == 0 {
        return current.to_string();
    }
    format!("{current} to {}", Stage(flags & flags::STAGE_MASK))
}

fn hex(byte: u8) -> String {
    format!("{byte:#04x}")
}

use As::{Bytes, Code, Count, Login, Number, Tag, Word};
use flags::{ACKNOWLEDGE, CONTINUE, FINAL, OVERFLOW, READ, STATUS, UNDERFLOW, WRITE};

const LUN: As = As::Lun;

static FORMS: [Form; 18] = [
    form!(ScsiCommand SCSI_COMMAND [FINAL => "F", READ => "R", WRITE => "W"]
        flags: Code(attribute), lun: LUN, itt: Tag, expected_data_transfer_length: Count, cmd_sn: Number,
        exp_stat_sn: Number, cdb: Bytes(16)),
    form!(ScsiResponse SCSI_RESPONSE [OVERFLOW => "O", UNDERFLOW => "U"]
        itt: Tag, response: Code(|b| ServiceResponse(b).to_string()), status: Code(hex), stat_sn: Number,
        exp_cmd_sn: Number, max_cmd_sn: Number, exp_data_sn: Count, residual_count: Count),
    form!(TaskMgmtRequest TASK_MGMT_REQUEST []
        flags: Code(|b| TmfFunction(b & flags::FUNCTION_MASK).to_string()), lun: LUN, itt: Tag,
        ref_task_tag: Tag, cmd_sn: Number, exp_stat_sn: Number, ref_cmd_sn: Number),
    form!(TaskMgmtResponse TASK_MGMT_RESPONSE []
        itt: Tag, response: Code(|b| TmfResponse(b).to_string()), stat_sn: Number, exp_cmd_sn: Number,
        max_cmd_sn: Number),
    form!(DataOut DATA_OUT [FINAL => "F"]
        lun: LUN, itt: Tag, ttt: Tag, exp_stat_sn: Number, data_sn: Count, buffer_offset: Count),
    form!(DataIn DATA_IN
        [FINAL => "F", ACKNOWLEDGE => "A", OVERFLOW => "O", UNDERFLOW => "U", STATUS => "S"]
        itt: Tag, ttt: Tag, status: Code(hex), stat_sn: Number, exp_cmd_sn: Number, max_cmd_sn: Number,
        data_sn: Count, buffer_offset: Count, residual_count: Count),
    form!(R2t R2T []
        lun: LUN, itt: Tag, ttt: Tag, stat_sn: Number, exp_cmd_sn: Number, max_cmd_sn: Number, r2t_sn: Count,
        buffer_offset: Count, desired_data_transfer_length: Count),
    form!(AsyncMessage ASYNC_MESSAGE []
        async_event: Code(|b| AsyncEvent(b).to_string()), lun: LUN, stat_sn: Number, exp_cmd_sn: Number,
        max_cmd_sn: Number, parameter1: Word, parameter2: Word, parameter3: Word),
    form!(TextRequest TEXT_REQUEST [FINAL => "F", CONTINUE => "C"]
        itt: Tag, ttt: Tag, cmd_sn: Number, exp_stat_sn: Number),
    form!(TextResponse TEXT_RESPONSE [FINAL => "F", CONTINUE => "C"]
        itt: Tag, ttt: Tag, stat_sn: Number, exp_cmd_sn: Number, max_cmd_sn: Number),
    form!(LoginRequest LOGIN_REQUEST [flags::TRANSIT => "T", CONTINUE => "C"]
        flags: Code(stages), isid: Bytes(6), tsih: Word, itt: Tag, cid: Word, cmd_sn: Number, exp_stat_sn: Number),
    form!(LoginResponse LOGIN_RESPONSE [flags::TRANSIT => "T", CONTINUE => "C"]
        flags: Code(stages), status_class: Login, isid: Bytes(6), tsih: Word, itt: Tag, stat_sn: Number,
        exp_cmd_sn: Number, max_cmd_sn: Number),
    form!(LogoutRequest LOGOUT_REQUEST []
        flags: Code(|b| LogoutReason(b & flags::REASON_MASK).to_string()), itt: Tag, cid: Word, cmd_sn: Number,
        exp_stat_sn: Number),
    form!(LogoutResponse LOGOUT_RESPONSE []
        itt: Tag, response: Code(|b| LogoutResponseCode(b).to_string()), stat_sn: Number, exp_cmd_sn: Number,
        max_cmd_sn: Number, time2wait: Word, time2retain: Word),
    form!(SnackRequest SNACK_REQUEST []
        flags: Code(|b| SnackType(b & flags::SNACK_TYPE_MASK).to_string()), lun: LUN, itt: Tag, ttt: Tag,
        exp_stat_sn: Number, beg_run: Count, run_length: Count),
    form!(Reject REJECT []
        reason: Code(|b| RejectReason(b).to_string()), stat_sn: Number, exp_cmd_sn: Number, max_cmd_sn: Number,
        data_sn: Count),
    form!(NopOut NOP_OUT [] lun: LUN, itt: Tag, ttt: Tag, cmd_sn: Number, exp_stat_sn: Number),
    form!(NopIn NOP_IN [] lun: LUN, itt: Tag, ttt: Tag, stat_sn: Number, exp_cmd_sn: Number, max_cmd_sn: Number),
];

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bhs = Bhs::from_bhs(self.0);
        write!(f, "{}", bhs.opcode())?;
        if bhs.immediate() {
            f.write_str(" I")?;
        }
        match FORMS.iter().find(|form| form.opcode == bhs.opcode()) {
            Some(form) => form.write(self.0, f)?,
            None => field(self.0, &("bytes", 0, Bytes(BHS_LEN)), f)?,
        }
        if bhs.ahs_len() != 0 {
            write!(f, " ahs={}", bhs.ahs_len())?;
        }
        if bhs.data_len() != 0 {
            write!(f, " data={}", bhs.data_len())?;
        }
        Ok(())
    }
}

impl Form {
    fn write(&self, bytes: &[u8; BHS_LEN], f: &mut Formatter<'_>) -> fmt::Result {
        for (bit, letter) in self.flags {
            if bytes[1] & bit != 0 {
                write!(f, " {letter}")?;
            }
        }
        self.fields.iter().try_for_each(|entry| field(bytes, entry, f))
    }
}

fn field(bytes: &[u8; BHS_LEN], &(name, at, how): &Field, f: &mut Formatter<'_>) -> fmt::Result {
    let long = || u32::from_be_bytes(take(bytes, at));
    match how {
        Tag if long() == TAG_NONE => Ok(()),
        As::Lun if take::<8>(bytes, at) == [0; 8] => Ok(()),
        Tag | Number => write!(f, " {name}={:#x}", long()),
        Count => write!(f, " {name}={}", long()),
        Word => write!(f, " {name}={}", u16::from_be_bytes(take(bytes, at))),
        As::Lun => write_lun(name, U64::from_bytes(take(bytes, at)), f),
        Bytes(count) => {
            write!(f, " {name}=")?;
            bytes.iter().skip(at).take(count).try_for_each(|b| write!(f, "{b:02x}"))
        }
        Code(meaning) => write!(f, " ({})", meaning(bytes[at])),
        Login => write!(f, " ({})", LoginStatus(u16::from_be_bytes(take(bytes, at)))),
    }
}

fn write_lun(name: &str, wire: U64, f: &mut Formatter<'_>) -> fmt::Result {
    match lun::from_wire(wire) {
        Some(number) => write!(f, " {name}={number}"),
        None => write!(f, " {name}={:#018x}", wire.get()),
    }
}

/// The `N` bytes from `at` on. All places come from the table, within a header.
fn take<const N: usize>(bytes: &[u8; BHS_LEN], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command() {
        let mut command = ScsiCommand {
            flags: FINAL | WRITE | flags::ATTR_SIMPLE,
            lun: lun::to_wire(3),
            itt: 0x14.into(),
            expected_data_transfer_length: 4096.into(),
            cmd_sn: 0x20.into(),
            ..ScsiCommand::default()
        };
        command.set_data_len(512);
        assert_eq!(
            Line(command.as_bhs()).to_string(),
            "SCSI Command F W (simple) lun=3 itt=0x14 expected_data_transfer_length=4096 cmd_sn=0x20 \
             exp_stat_sn=0x0 cdb=00000000000000000000000000000000 data=512"
        );
    }

    #[test]
    fn codes_by_their_names() {
        let reject = Reject { reason: 4, ..Reject::default() };
        assert!(Line(reject.as_bhs()).to_string().starts_with("Reject (protocol error) stat_sn=0x0"));
        let login =
            LoginResponse { flags: 0x87, status_class: 2, status_detail: 1, ..LoginResponse::default() };
        let line = Line(login.as_bhs()).to_string();
        assert!(
            line.contains("T (operational negotiation to full feature phase) (authentication failure)"),
            "{line}"
        );
    }

    #[test]
    fn an_opcode_that_nobody_knows_shows_its_bytes() {
        let mut bytes = [0; BHS_LEN];
        bytes[0] = 0x5c;
        assert!(Line(&bytes).to_string().starts_with("0x1c I bytes=5c00"));
    }

    #[test]
    fn every_opcode_has_a_form() {
        for opcode in (0..64).map(Opcode).filter(|o| o.name().is_some()) {
            assert!(FORMS.iter().any(|form| form.opcode == opcode), "{opcode}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_one_line(bytes in any::<[u8; 32]>(), opcode: u8) {
            let mut header = [0; BHS_LEN];
            header[..32].copy_from_slice(&bytes);
            header[0] = opcode;
            prop_assert!(!Line(&header).to_string().contains('\n'));
        }
    }
}

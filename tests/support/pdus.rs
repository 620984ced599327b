//! Every PDU by the names of its fields, so that a text can set and look at them.

use std::mem::offset_of;

use ringtgt::wire::bhs::{
    AsyncMessage, BHS_LEN, DataIn, DataOut, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
    NopIn, NopOut, R2t, Reject, ScsiCommand, ScsiResponse, SnackRequest, TaskMgmtRequest, TaskMgmtResponse,
    TextRequest, TextResponse,
};

/// A field: its name, first byte and length.
pub(crate) type Field = (&'static str, usize, usize);

/// A kind of PDU.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) blank: [u8; BHS_LEN],
    pub(crate) fields: Vec<Field>,
}

impl Shape {
    pub(crate) fn field(&self, name: &str) -> Option<Field> {
        let common = [("opcode", 0, 1), ("total_ahs_len", 4, 1), ("data_segment_len", 5, 3)];
        self.fields.iter().chain(&common).find(|(known, ..)| *known == name).copied()
    }
}

fn size<P, F>(_: fn(&P) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! shapes {
    ($($pdu:ident: $($field:ident)*;)*) => {
        vec![$(Shape {
            name: stringify!($pdu),
            blank: *$pdu::default().as_bhs(),
            fields: vec![$((stringify!($field), offset_of!($pdu, $field), size(|p: &$pdu| &p.$field))),*],
        }),*]
    };
}

/// All of them.
pub(crate) fn shapes() -> Vec<Shape> {
    shapes! {
        ScsiCommand: flags lun itt expected_data_transfer_length cmd_sn exp_stat_sn cdb;
        ScsiResponse: flags response status status_qualifier itt stat_sn exp_cmd_sn max_cmd_sn exp_data_sn residual_count;
        TaskMgmtRequest: flags lun itt ref_task_tag cmd_sn exp_stat_sn ref_cmd_sn exp_data_sn;
        TaskMgmtResponse: flags response additional_response itt stat_sn exp_cmd_sn max_cmd_sn;
        DataOut: flags lun itt ttt exp_stat_sn data_sn buffer_offset;
        DataIn: flags status lun itt ttt stat_sn exp_cmd_sn max_cmd_sn data_sn buffer_offset residual_count;
        R2t: flags lun itt ttt stat_sn exp_cmd_sn max_cmd_sn r2t_sn buffer_offset desired_data_transfer_length;
        AsyncMessage: flags lun itt stat_sn exp_cmd_sn max_cmd_sn async_event async_v_code parameter1 parameter2 parameter3;
        TextRequest: flags lun itt ttt cmd_sn exp_stat_sn;
        TextResponse: flags lun itt ttt stat_sn exp_cmd_sn max_cmd_sn;
        LoginRequest: flags version_max version_min isid tsih itt cid cmd_sn exp_stat_sn;
        LoginResponse: flags version_max version_active isid tsih itt stat_sn exp_cmd_sn max_cmd_sn status_class status_detail;
        LogoutRequest: flags itt cid cmd_sn exp_stat_sn;
        LogoutResponse: flags response itt stat_sn exp_cmd_sn max_cmd_sn time2wait time2retain;
        SnackRequest: flags lun itt ttt exp_stat_sn beg_run run_length;
        Reject: flags reason stat_sn exp_cmd_sn max_cmd_sn data_sn;
        NopOut: flags lun itt ttt cmd_sn exp_stat_sn;
        NopIn: flags lun itt ttt stat_sn exp_cmd_sn max_cmd_sn;
    }
}

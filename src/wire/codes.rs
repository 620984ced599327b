//! Codes of RFC 7143 (and 7144) as open newtypes: an unknown value round-trips and prints as hex.

use std::fmt;

/// The reserved task tag: no task, no transfer (RFC 7143 sections 11.2.1.8 and 11.7.4).
pub const TAG_NONE: u32 = 0xffff_ffff;

/// Defines an open newtype over an integer with named values and a `Display` that knows them.
macro_rules! open_codes {
    ($($(#[$doc:meta])* $name:ident($int:ty) { $($(#[$vdoc:meta])* $value:ident = $number:literal, $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$vdoc])* #[doc = concat!($text, ".")] pub const $value: Self = Self($number);)*

            /// The standard's name for this value, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#0width$x}", self.0, width = 2 + 2 * size_of::<$int>()),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}

open_codes! {
    /// What a PDU is (section 11.2.1.2); six bits.
    Opcode(u8) {
        NOP_OUT = 0x00, "NOP-Out";
        SCSI_COMMAND = 0x01, "SCSI Command";
        TASK_MGMT_REQUEST = 0x02, "Task Management Request";
        LOGIN_REQUEST = 0x03, "Login Request";
        TEXT_REQUEST = 0x04, "Text Request";
        DATA_OUT = 0x05, "Data-Out";
        LOGOUT_REQUEST = 0x06, "Logout Request";
        SNACK_REQUEST = 0x10, "SNACK Request";
        NOP_IN = 0x20, "NOP-In";
        SCSI_RESPONSE = 0x21, "SCSI Response";
        TASK_MGMT_RESPONSE = 0x22, "Task Management Response";
        LOGIN_RESPONSE = 0x23, "Login Response";
        TEXT_RESPONSE = 0x24, "Text Response";
        DATA_IN = 0x25, "Data-In";
        LOGOUT_RESPONSE = 0x26, "Logout Response";
        R2T = 0x31, "R2T";
        ASYNC_MESSAGE = 0x32, "Async Message";
        REJECT = 0x3f, "Reject";
    }

    /// Why a PDU was rejected (section 11.17.1).
    RejectReason(u8) {
        DATA_DIGEST_ERROR = 0x02, "data digest error";
        SNACK_REJECT = 0x03, "SNACK reject";
        PROTOCOL_ERROR = 0x04, "protocol error";
        COMMAND_NOT_SUPPORTED = 0x05, "command not supported";
        TOO_MANY_IMMEDIATE = 0x06, "too many immediate commands";
        TASK_IN_PROGRESS = 0x07, "task in progress";
        INVALID_DATA_ACK = 0x08, "invalid data ack";
        INVALID_PDU_FIELD = 0x09, "invalid PDU field";
        LONG_OPERATION = 0x0a, "long operation reject";
        WAITING_FOR_LOGOUT = 0x0c, "waiting for logout";
    }

    /// What a Task Management Request asks for (section 11.5.1; from 9 on RFC 7144).
    TmfFunction(u8) {
        ABORT_TASK = 1, "ABORT TASK";
        ABORT_TASK_SET = 2, "ABORT TASK SET";
        CLEAR_ACA = 3, "CLEAR ACA";
        CLEAR_TASK_SET = 4, "CLEAR TASK SET";
        LOGICAL_UNIT_RESET = 5, "LOGICAL UNIT RESET";
        TARGET_WARM_RESET = 6, "TARGET WARM RESET";
        TARGET_COLD_RESET = 7, "TARGET COLD RESET";
        TASK_REASSIGN = 8, "TASK REASSIGN";
        QUERY_TASK = 9, "QUERY TASK";
        QUERY_TASK_SET = 10, "QUERY TASK SET";
        I_T_NEXUS_RESET = 11, "I_T NEXUS RESET";
        QUERY_ASYNCHRONOUS_EVENT = 12, "QUERY ASYNCHRONOUS EVENT";
    }

    /// How a task management function ended (section 11.6.1; 7 is RFC 7144).
    TmfResponse(u8) {
        COMPLETE = 0, "function complete";
        TASK_DOES_NOT_EXIST = 1, "task does not exist";
        LUN_DOES_NOT_EXIST = 2, "LUN does not exist";
        TASK_STILL_ALLEGIANT = 3, "task still allegiant";
        REASSIGNMENT_NOT_SUPPORTED = 4, "task allegiance reassignment not supported";
        NOT_SUPPORTED = 5, "task management function not supported";
        AUTHORIZATION_FAILED = 6, "function authorization failed";
        SUCCEEDED = 7, "function succeeded";
        REJECTED = 255, "function rejected";
    }

    /// The iSCSI service response of a SCSI Response (section 11.4.3).
    ServiceResponse(u8) {
        COMPLETED = 0, "command completed at target";
        TARGET_FAILURE = 1, "target failure";
    }

    /// Why an initiator logs out (section 11.14.1).
    LogoutReason(u8) {
        CLOSE_SESSION = 0, "close the session";
        CLOSE_CONNECTION = 1, "close the connection";
        REMOVE_FOR_RECOVERY = 2, "remove the connection for recovery";
    }

    /// How a logout ended (section 11.15.1).
    LogoutResponseCode(u8) {
        SUCCESS = 0, "closed successfully";
        CID_NOT_FOUND = 1, "CID not found";
        RECOVERY_NOT_SUPPORTED = 2, "connection recovery not supported";
        CLEANUP_FAILED = 3, "cleanup failed";
    }

    /// What an Async Message reports (section 11.9.1).
    AsyncEvent(u8) {
        SCSI_EVENT = 0, "SCSI asynchronous event";
        LOGOUT_REQUESTED = 1, "target requests logout";
        CONNECTION_DROPPED = 2, "target drops a connection";
        SESSION_DROPPED = 3, "target drops all connections of the session";
        NEGOTIATION_REQUESTED = 4, "target requests parameter negotiation";
        TASKS_TERMINATED = 5, "target terminated the tasks of a logical unit";
        VENDOR = 255, "vendor-specific event";
    }

    /// What a SNACK asks for (section 11.16.1).
    SnackType(u8) {
        DATA_OR_R2T = 0, "Data/R2T SNACK";
        STATUS = 1, "Status SNACK";
        DATA_ACK = 2, "DataACK";
        R_DATA = 3, "R-Data SNACK";
    }

    /// A stage of the login phase (section 11.12.3); 2 is reserved.
    Stage(u8) {
        SECURITY = 0, "security negotiation";
        OPERATIONAL = 1, "operational negotiation";
        FULL_FEATURE = 3, "full feature phase";
    }

    /// Status-Class and Status-Detail of a Login Response as one number (section 11.13.5).
    LoginStatus(u16) {
        SUCCESS = 0x0000, "success";
        MOVED_TEMPORARILY = 0x0101, "target moved temporarily";
        MOVED_PERMANENTLY = 0x0102, "target moved permanently";
        INITIATOR_ERROR = 0x0200, "initiator error";
        AUTHENTICATION_FAILURE = 0x0201, "authentication failure";
        AUTHORIZATION_FAILURE = 0x0202, "authorization failure";
        NOT_FOUND = 0x0203, "target not found";
        TARGET_REMOVED = 0x0204, "target removed";
        UNSUPPORTED_VERSION = 0x0205, "unsupported version";
        TOO_MANY_CONNECTIONS = 0x0206, "too many connections";
        MISSING_PARAMETER = 0x0207, "missing parameter";
        CANNOT_INCLUDE = 0x0208, "connection cannot be included in the session";
        SESSION_TYPE_NOT_SUPPORTED = 0x0209, "session type not supported";
        SESSION_DOES_NOT_EXIST = 0x020a, "session does not exist";
        INVALID_DURING_LOGIN = 0x020b, "invalid during login";
        TARGET_ERROR = 0x0300, "target error";
        SERVICE_UNAVAILABLE = 0x0301, "service unavailable";
        OUT_OF_RESOURCES = 0x0302, "out of resources";
    }
}

impl LoginStatus {
    /// Status-Class: 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub const fn class(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Status-Detail within the class.
    pub const fn detail(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// From the two bytes of a Login Response.
    pub const fn from_parts(class: u8, detail: u8) -> Self {
        Self(u16::from_be_bytes([class, detail]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_print_their_names_and_unknown_ones_hex() {
        assert_eq!(Opcode::R2T.to_string(), "R2T");
        assert_eq!(Opcode(0x1c).to_string(), "0x1c");
        assert_eq!(LoginStatus(0x0777).to_string(), "0x0777");
        assert_eq!(format!("{:?}", Stage(2)), "Stage(0x02)");
    }

    #[test]
    fn login_status_is_class_and_detail() {
        let status = LoginStatus::SESSION_DOES_NOT_EXIST;
        assert_eq!((status.class(), status.detail()), (2, 10));
        assert_eq!(LoginStatus::from_parts(2, 10), status);
    }
}

//! Why a login is refused, and the status that says so (RFC 7143 section 11.13.5).

use crate::session::chap::ChapError;
use crate::session::keys::negotiate::KeyError;
use crate::target::Redirect;
use crate::wire::codes::{LoginStatus, Stage};
use crate::wire::name::NameError;
use crate::wire::text::TextError;

/// Why a login is refused. The text is for the log; the initiator sees [`Fault::status`] only.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The login has ended before.
    #[error("the login is over")]
    Over,
    /// The initiator does not speak version 0.
    #[error("the initiator speaks versions from {0} on; version 0 is spoken here")]
    Version(u8),
    /// ISID, TSIH or CID are not those of the first request.
    #[error("ISID, TSIH or CID changed during login")]
    IdentityChanged,
    /// The request is of a stage in which the login is not.
    #[error("a request of stage {request} in stage {current}")]
    WrongStage {
        /// CSG of the request.
        request: Stage,
        /// The stage that the login is in.
        current: Stage,
    },
    /// The transition asked for does not exist.
    #[error("no way from stage {from} to stage {to}")]
    BadTransit {
        /// The current stage.
        from: Stage,
        /// NSG of the request.
        to: Stage,
    },
    /// T and C at once.
    #[error("a request that goes on cannot end a stage")]
    TransitAndContinue,
    /// Text came while an answer of several PDUs was still being fetched.
    #[error("new text before the whole answer was fetched")]
    Interrupted,
    /// More requests than a login needs.
    #[error("too many login requests")]
    TooManyRequests,
    /// A data segment above what login allows.
    #[error("a data segment of {0} bytes during login")]
    TooMuchData(usize),
    /// The text is malformed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A key is out of place or has an impossible value.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A name is not an iSCSI name.
    #[error("{0}: {1}")]
    Name(&'static str, NameError),
    /// A key that is required is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A SessionType that does not exist.
    #[error("unknown session type")]
    SessionType,
    /// No such target, or not at this portal.
    #[error("no such target at this portal")]
    NotFound,
    /// There was such a target.
    #[error("the target has been removed")]
    Removed,
    /// The initiator is to log in elsewhere.
    #[error("it is sent to {}", .0.to)]
    Moved(Redirect),
    /// The initiator has no access to the target.
    #[error("the initiator has no access to this target")]
    NoAccess,
    /// Authentication is required and was passed over.
    #[error("authentication is required")]
    NotAuthenticated,
    /// The offered AuthMethods are of no use here.
    #[error("no authentication method in common")]
    NoCommonMethod,
    /// A key of the security stage at the wrong moment.
    #[error("{0} at the wrong moment of the authentication")]
    OutOfTurn(&'static str),
    /// CHAP failed.
    #[error("CHAP: {0}")]
    Chap(#[from] ChapError),
    /// A TSIH that no session of this initiator has.
    #[error("no such session")]
    NoSuchSession,
    /// A connection by another portal group than that of the session.
    #[error("the session is one of another portal group")]
    OtherGroup,
    /// A second connection for a session.
    #[error("a session has one connection here")]
    OneConnection,
}

impl Fault {
    /// What the initiator is told.
    pub fn status(&self) -> LoginStatus {
        match self {
            Self::Version(_) => LoginStatus::UNSUPPORTED_VERSION,
            Self::Missing(_) => LoginStatus::MISSING_PARAMETER,
            Self::SessionType => LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
            Self::Moved(Redirect { permanent: false, .. }) => LoginStatus::MOVED_TEMPORARILY,
            Self::Moved(Redirect { permanent: true, .. }) => LoginStatus::MOVED_PERMANENTLY,
            Self::NotFound => LoginStatus::NOT_FOUND,
            Self::Removed => LoginStatus::TARGET_REMOVED,
            Self::NoAccess => LoginStatus::AUTHORIZATION_FAILURE,
            Self::NotAuthenticated | Self::NoCommonMethod | Self::Chap(_) => {
                LoginStatus::AUTHENTICATION_FAILURE
            }
            Self::NoSuchSession => LoginStatus::SESSION_DOES_NOT_EXIST,
            Self::OtherGroup => LoginStatus::CANNOT_INCLUDE,
            Self::OneConnection => LoginStatus::TOO_MANY_CONNECTIONS,
            Self::Over => LoginStatus::INVALID_DURING_LOGIN,
            Self::IdentityChanged
            | Self::WrongStage { .. }
            | Self::BadTransit { .. }
            | Self::TransitAndContinue
            | Self::Interrupted
            | Self::TooManyRequests
            | Self::TooMuchData(_)
            | Self::Text(_)
            | Self::Key(_)
            | Self::Name(..)
            | Self::OutOfTurn(_) => LoginStatus::INITIATOR_ERROR,
        }
    }
}

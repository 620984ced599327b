//! What a login brings forth: responses, refusals and the facts of an established connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::session::keys::Negotiated;
use crate::target::{ChapAlgorithm, Discovery, Lun, Redirect, Target};
use crate::wire::bhs::{BHS_LEN, LoginRequest, LoginResponse};
use crate::wire::codes::LoginStatus;
use crate::wire::flags;
use crate::wire::sn::Sn;
use crate::wire::text::TextWriter;

/// The version of the protocol (sections 11.12.4 and 11.12.5).
pub(super) const VERSION: u8 = 0;

/// One PDU to send: header and data segment, without padding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pdu {
    /// The header, data length included.
    pub bhs: [u8; BHS_LEN],
    /// The data segment.
    pub data: Vec<u8>,
}

impl Pdu {
    /// Names the session in a final Login Response.
    pub fn set_tsih(&mut self, tsih: u16) {
        self.bhs[14..16].copy_from_slice(&tsih.to_be_bytes());
    }

    /// Tells from where on a session's commands are numbered, in a final Login Response.
    pub fn set_window(&mut self, exp_cmd_sn: u32, max_cmd_sn: u32) {
        self.bhs[28..32].copy_from_slice(&exp_cmd_sn.to_be_bytes());
        self.bhs[32..36].copy_from_slice(&max_cmd_sn.to_be_bytes());
    }

    /// Turns a final Login Response that has not been sent into a refusal: what the login could not
    /// know (no room for another session, say) was decided after it.
    #[must_use]
    pub fn into_refusal(self, status: LoginStatus) -> Self {
        let mut response = *LoginResponse::from_bhs(&self.bhs);
        response.flags &= flags::STAGE_MASK << flags::CSG_SHIFT;
        response.set_data_len(0);
        set_status(&mut response, status);
        Self { bhs: *response.as_bhs(), data: Vec::new() }
    }
}

/// Refuses `request` outright, without a login.
pub fn refuse(request: &LoginRequest, status: LoginStatus) -> Pdu {
    let cmd_sn = Sn::from(request.cmd_sn);
    let frame = Frame { stat_sn: request.exp_stat_sn.into(), exp_cmd_sn: cmd_sn, max_cmd_sn: cmd_sn };
    frame.refusal(request, status)
}

/// What is to be done with a Login Request.
#[derive(Debug)]
pub enum LoginReply {
    /// Send this and read on.
    Continue(Pdu),
    /// The login is complete. Set the TSIH ([`Pdu::set_tsih`]), send this, and the full feature
    /// phase begins.
    Done(Pdu, Box<Established>),
    /// Send this, then close. [`super::Login::fault`] says why.
    Refuse(Pdu),
}

/// A connection that has logged in: the first of a new session (or of a reinstated one: the same initiator, ISID,
/// target and group), or one that takes the place of a session's connection.
#[derive(Debug)]
pub struct Established {
    /// What was agreed on.
    pub negotiated: Negotiated,
    /// The initiator's part of the session's name.
    pub isid: [u8; 6],
    /// The connection's name in the session.
    pub cid: u16,
    /// The TSIH of the session that it continues, if it does.
    pub joins: Option<u16>,
    /// The target; none for a discovery session.
    pub target: Option<Arc<Target>>,
    /// What discovery sessions were asked for then.
    pub discovery: Arc<Discovery>,
    /// Index of the portal group in `target.tpgs`.
    pub tpg: usize,
    /// What the initiator sees.
    pub luns: Vec<Lun>,
    /// CmdSN of the first command.
    pub exp_cmd_sn: u32,
    /// The last CmdSN that the final response allows.
    pub max_cmd_sn: u32,
    /// StatSN of the next response.
    pub stat_sn: u32,
    /// The initiator's name, normalised.
    pub initiator: String,
    /// How the initiator proved who it is; none when nothing was asked.
    pub chap: Option<ChapAlgorithm>,
    /// Where the connection arrived.
    pub local: SocketAddr,
    /// Where it has come from.
    pub peer: IpAddr,
    /// Initiator Task Tag of the login.
    pub itt: u32,
}

/// The numbers of the next response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame {
    pub(super) stat_sn: Sn,
    pub(super) exp_cmd_sn: Sn,
    pub(super) max_cmd_sn: Sn,
}

impl Frame {
    pub(super) fn response(self, bhs: &LoginRequest) -> LoginResponse {
        LoginResponse {
            version_max: VERSION,
            version_active: VERSION,
            isid: bhs.isid,
            tsih: bhs.tsih,
            itt: bhs.itt,
            stat_sn: self.stat_sn.into(),
            exp_cmd_sn: self.exp_cmd_sn.into(),
            max_cmd_sn: self.max_cmd_sn.into(),
            ..LoginResponse::default()
        }
    }

    pub(super) fn refusal(self, bhs: &LoginRequest, status: LoginStatus) -> Pdu {
        let mut response = self.response(bhs);
        response.flags = bhs.flags & flags::STAGE_MASK << flags::CSG_SHIFT;
        set_status(&mut response, status);
        Pdu { bhs: *response.as_bhs(), data: Vec::new() }
    }

    /// A refusal that says where to go. A portal group tag is not told with it (section 13.8).
    pub(super) fn redirection(self, bhs: &LoginRequest, redirect: &Redirect, status: LoginStatus) -> Pdu {
        let mut text = TextWriter::new();
        text.pair("TargetAddress", redirect.to);
        let pdu = self.refusal(bhs, status);
        let mut response = *LoginResponse::from_bhs(&pdu.bhs);
        let data = text.into_bytes();
        response.set_data_len(data.len());
        Pdu { bhs: *response.as_bhs(), data }
    }
}

fn set_status(response: &mut LoginResponse, status: LoginStatus) {
    response.status_class = status.class();
    response.status_detail = status.detail();
}

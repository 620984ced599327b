//! The login phase, initiator side (RFC 7143 section 6), as a pure state machine.
//!
//! With credentials it starts in the security stage, without them in the operational stage. Text in, text out;
//! it knows neither sockets nor time.

use std::mem;

use zerocopy::big_endian::{U16, U32};

use super::error::LoginError;
use super::frame::Pdu;
use crate::session::chap::{self, Challenge, ChapError, Entropy, Prover};
use crate::session::keys::negotiate::{accept, offers, respond};
use crate::session::keys::{DIGEST_NONE, Negotiated, SessionType, Wishes, lookup};
use crate::target::{ChapAlgorithm, Credential};
use crate::wire::bhs::{LoginRequest, LoginResponse};
use crate::wire::codes::{LoginStatus, Stage};
use crate::wire::flags;
use crate::wire::sn::Sn;
use crate::wire::text::{TextBuffer, TextWriter, pairs};

/// Responses of one login: more than the longest legal exchange takes.
const RESPONSES_MAX: u32 = 64;

/// Who logs in, to what, and with which wishes.
#[derive(Clone, Debug)]
pub struct LoginOptions {
    /// InitiatorName.
    pub initiator: String,
    /// TargetName; none: a discovery session.
    pub target: Option<String>,
    /// Initiator session ID: two sessions of one name need two.
    pub isid: [u8; 6],
    /// Target session identifying handle: zero asks for a new session.
    pub tsih: u16,
    /// Connection ID.
    pub cid: u16,
    /// CmdSN of the first command.
    pub cmd_sn: u32,
    /// What is offered.
    pub wishes: Wishes,
    /// The credential to show; none: AuthMethod None.
    pub chap: Option<Credential>,
    /// What the target must show in turn.
    pub mutual: Option<Credential>,
    /// CHAP algorithms to offer, best first.
    pub algorithms: Vec<ChapAlgorithm>,
}

impl LoginOptions {
    /// A login without authentication and digests; `target` none means discovery.
    pub fn new(initiator: &str, target: Option<&str>) -> Self {
        Self {
            initiator: initiator.to_owned(),
            target: target.map(str::to_owned),
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
            cmd_sn: 1,
            wishes: Wishes {
                header_digest: DIGEST_NONE,
                data_digest: DIGEST_NONE,
                // What has been asked for is sent, whatever function is on its way.
                task_reporting: &["ResponseFence", "RFC3720"],
                ..Wishes::default()
            },
            chap: None,
            mutual: None,
            algorithms: vec![
                ChapAlgorithm::Sha3_256,
                ChapAlgorithm::Sha256,
                ChapAlgorithm::Sha1,
                ChapAlgorithm::Md5,
            ],
        }
    }

    fn session_type(&self) -> SessionType {
        if self.target.is_some() { SessionType::Normal } else { SessionType::Discovery }
    }
}

/// A login that is complete: where full feature phase starts.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What holds.
    pub negotiated: Negotiated,
    /// The session's handle.
    pub tsih: u16,
    /// The connection's ID.
    pub cid: u16,
    /// CmdSN of the next command.
    pub cmd_sn: Sn,
    /// Last CmdSN that the target takes.
    pub max_cmd_sn: Sn,
    /// The StatSN that the target uses next.
    pub exp_stat_sn: Sn,
    /// TargetPortalGroupTag, when the target told it.
    pub portal_group: Option<u16>,
}

/// What comes next.
#[derive(Debug)]
pub enum Progress {
    /// This is to be sent.
    Send(Pdu),
    /// Full feature phase.
    Done(Box<LoggedIn>),
}

/// What the last request was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Method,
    Algorithm,
    Proof,
    Operational,
}

/// A login in progress.
#[derive(Debug)]
pub struct LoginClient {
    options: LoginOptions,
    step: Step,
    prover: Option<Prover>,
    gathered: TextBuffer,
    negotiated: Negotiated,
    exp_stat_sn: Option<Sn>,
    portal_group: Option<u16>,
    responses: u32,
}

impl LoginClient {
    /// Nothing sent yet.
    pub fn new(options: LoginOptions) -> Self {
        let step = if options.chap.is_some() { Step::Method } else { Step::Operational };
        let prover = options.chap.clone().map(|own| Prover::new(own, options.mutual.clone()));
        let negotiated = Negotiated {
            session_type: options.session_type(),
            initiator_name: options.initiator.clone(),
            target_name: options.target.clone(),
            max_recv_data_segment_length: options.wishes.max_recv_data_segment_length,
            ..Negotiated::default()
        };
        Self {
            options,
            step,
            prover,
            gathered: TextBuffer::default(),
            negotiated,
            exp_stat_sn: None,
            portal_group: None,
            responses: 0,
        }
    }

    /// The first request.
    pub fn start(&self) -> Pdu {
        let mut out = TextWriter::new();
        out.pair("InitiatorName", &self.options.initiator);
        match &self.options.target {
            Some(target) => {
                out.pair("TargetName", target);
                out.pair("SessionType", "Normal");
            }
            None => out.pair("SessionType", "Discovery"),
        }
        if self.step == Step::Method {
            out.pair("AuthMethod", "CHAP");
            return self.request(0, out);
        }
        self.offer(&mut out);
        self.request(flags::TRANSIT | Stage::FULL_FEATURE.0, out)
    }

    fn offer(&self, out: &mut TextWriter) {
        for (key, value) in offers(&self.options.wishes, self.options.session_type()) {
            out.pair(key, value);
        }
    }

    fn stage(&self) -> Stage {
        if self.step == Step::Operational { Stage::OPERATIONAL } else { Stage::SECURITY }
    }

    fn request(&self, bits: u8, text: TextWriter) -> Pdu {
        let text = text.into_bytes();
        let mut bhs = LoginRequest {
            flags: bits | self.stage().0 << flags::CSG_SHIFT,
            isid: self.options.isid,
            tsih: U16::new(self.options.tsih),
            itt: U32::new(0),
            cid: U16::new(self.options.cid),
            cmd_sn: U32::new(self.options.cmd_sn),
            exp_stat_sn: self.exp_stat_sn.unwrap_or_default().into(),
            ..LoginRequest::default()
        };
        bhs.opcode |= flags::IMMEDIATE;
        bhs.set_data_len(text.len());
        Pdu::new(bhs.as_bhs(), text)
    }

    /// Takes a Login Response; `entropy` is for a challenge of our own.
    ///
    /// # Errors
    /// When the target refuses, does not prove itself, or breaks a rule.
    pub fn response(
        &mut self,
        bhs: &LoginResponse,
        data: &[u8],
        entropy: &mut Entropy<'_>,
    ) -> Result<Progress, LoginError> {
        self.check(bhs, data)?;
        self.gathered.push(data)?;
        if bhs.flags & flags::CONTINUE != 0 {
            return Ok(Progress::Send(self.request(0, TextWriter::new())));
        }
        let text = self.gathered.take();
        match self.step {
            Step::Method => self.method(&text),
            Step::Algorithm => self.prove(&text, entropy),
            Step::Proof => self.proven(bhs, &text),
            Step::Operational => self.operational(bhs, &text),
        }
    }

    fn check(&mut self, bhs: &LoginResponse, data: &[u8]) -> Result<(), LoginError> {
        match LoginStatus::from_parts(bhs.status_class, bhs.status_detail) {
            LoginStatus::SUCCESS => {}
            status @ (LoginStatus::MOVED_TEMPORARILY | LoginStatus::MOVED_PERMANENTLY) => {
                let address = value_of(data, "TargetAddress")?;
                let address = address.ok_or(LoginError::Protocol("sent elsewhere, and not told where"))?;
                return Err(LoginError::Moved { status, address: address.to_owned() });
            }
            status => return Err(LoginError::Refused(status)),
        }
        self.responses += 1;
        let stat_sn = Sn::from(bhs.stat_sn);
        let numbered = self.exp_stat_sn.is_none_or(|expected| expected == stat_sn);
        self.exp_stat_sn = Some(stat_sn.next());
        let stage = Stage(bhs.flags >> flags::CSG_SHIFT & flags::STAGE_MASK);
        let broken = [
            (numbered, "StatSN does not follow"),
            (bhs.isid == self.options.isid, "another ISID"),
            (bhs.itt.get() == 0, "another Initiator Task Tag"),
            (stage == self.stage(), "another stage"),
            (self.responses <= RESPONSES_MAX, "no end"),
            (
                bhs.flags & (flags::TRANSIT | flags::CONTINUE) != flags::TRANSIT | flags::CONTINUE,
                "T and C together",
            ),
        ];
        broken.iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, rule)| Err(LoginError::Protocol(rule)))
    }

    fn method(&mut self, text: &[u8]) -> Result<Progress, LoginError> {
        self.note_group(text)?;
        match value_of(text, "AuthMethod")? {
            Some("CHAP") => {}
            other => return Err(LoginError::AuthMethod(other.unwrap_or_default().to_owned())),
        }
        let numbers: Vec<_> = self.options.algorithms.iter().map(|a| chap::number(*a).to_string()).collect();
        let mut out = TextWriter::new();
        out.pair("CHAP_A", numbers.join(","));
        self.step = Step::Algorithm;
        Ok(Progress::Send(self.request(0, out)))
    }

    fn prove(&mut self, text: &[u8], entropy: &mut Entropy<'_>) -> Result<Progress, LoginError> {
        let get = |key| value_of(text, key)?.ok_or_else(|| LoginError::from(ChapError::Missing(key)));
        let algorithm = chap::choose(get("CHAP_A")?, &self.options.algorithms)?;
        let challenge = Challenge::from_text(algorithm, get("CHAP_I")?, get("CHAP_C")?)?;
        let mut out = TextWriter::new();
        let prover = self.prover.as_mut().ok_or(LoginError::Protocol("a challenge unasked"))?;
        prover.answer(&challenge, entropy, &mut out)?;
        self.step = Step::Proof;
        Ok(Progress::Send(self.request(flags::TRANSIT | Stage::OPERATIONAL.0, out)))
    }

    fn proven(&mut self, bhs: &LoginResponse, text: &[u8]) -> Result<Progress, LoginError> {
        if bhs.flags & flags::TRANSIT == 0 {
            return Err(LoginError::Protocol("the security stage does not end"));
        }
        if let Some(prover) = &self.prover {
            prover.check(value_of(text, "CHAP_N")?, value_of(text, "CHAP_R")?)?;
        }
        self.step = Step::Operational;
        let mut out = TextWriter::new();
        self.offer(&mut out);
        Ok(Progress::Send(self.request(flags::TRANSIT | Stage::FULL_FEATURE.0, out)))
    }

    fn operational(&mut self, bhs: &LoginResponse, text: &[u8]) -> Result<Progress, LoginError> {
        self.note_group(text)?;
        let mut out = TextWriter::new();
        for pair in pairs(text) {
            let pair = pair?;
            let Some((_, row)) = lookup(pair.key) else { continue };
            let offered =
                offers(&self.options.wishes, self.options.session_type()).any(|(key, _)| key == row.name);
            if offered {
                accept(row, pair.value, &self.options.wishes, &mut self.negotiated)?;
            } else if let Some(reply) = respond(row, pair.value, &self.options.wishes, &mut self.negotiated)?
            {
                out.pair(row.name, reply);
            }
        }
        if bhs.flags & flags::TRANSIT == 0 {
            return Ok(Progress::Send(self.request(flags::TRANSIT | Stage::FULL_FEATURE.0, out)));
        }
        self.finish(bhs)
    }

    fn finish(&mut self, bhs: &LoginResponse) -> Result<Progress, LoginError> {
        if Stage(bhs.flags & flags::STAGE_MASK) != Stage::FULL_FEATURE {
            return Err(LoginError::Protocol("the login ends elsewhere than in full feature phase"));
        }
        if bhs.tsih.get() == 0 {
            return Err(LoginError::Protocol("no TSIH at the end"));
        }
        Ok(Progress::Done(Box::new(LoggedIn {
            negotiated: mem::take(&mut self.negotiated),
            tsih: bhs.tsih.get(),
            cid: self.options.cid,
            cmd_sn: Sn(self.options.cmd_sn),
            max_cmd_sn: bhs.max_cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.unwrap_or_default(),
            portal_group: self.portal_group,
        })))
    }

    fn note_group(&mut self, text: &[u8]) -> Result<(), LoginError> {
        if let Some(tag) = value_of(text, "TargetPortalGroupTag")? {
            self.portal_group = tag.parse().ok();
        }
        Ok(())
    }
}

fn value_of<'a>(text: &'a [u8], key: &str) -> Result<Option<&'a str>, LoginError> {
    for pair in pairs(text) {
        let pair = pair?;
        if pair.key == key {
            return Ok(Some(pair.value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::login::{Login, LoginReply};
    use crate::target::{Auth, Catalog, Target, Tpg};

    const TARGET: &str = "iqn.2026-01.a.target:disk";

    fn credential(user: &str, secret: &str) -> Credential {
        Credential { user: user.into(), secret: secret.to_owned().into() }
    }

    fn catalog(auth: Auth) -> Arc<Catalog> {
        let group = Tpg {
            tag: 5,
            relative_port: 1,
            portals: vec!["0.0.0.0:3260".parse().unwrap()],
            open: true,
            auth,
            ..Tpg::default()
        };
        let target = Target { iqn: TARGET.into(), alias: None, redirect: None, tpgs: vec![group] };
        Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() })
    }

    fn options() -> LoginOptions {
        LoginOptions::new("iqn.2026-01.a.initiator:one", Some(TARGET))
    }

    /// Both sides in memory, to the end.
    fn converse(options: LoginOptions, auth: Auth) -> Result<LoggedIn, LoginError> {
        let mut target = Login::new(catalog(auth), "192.0.2.1:3260".parse().unwrap());
        let mut client = LoginClient::new(options);
        let mut count = 0;
        // Each side has its own kind of randomness: a reflected challenge would be refused.
        let mut of_client = |bytes: &mut [u8]| bytes.fill(0xc1);
        let mut of_target = |bytes: &mut [u8]| {
            count += 1;
            bytes.fill(count);
        };
        let mut request = client.start();
        loop {
            let reply = target.request(LoginRequest::from_bhs(&request.bhs), &request.data, &mut of_target);
            let (LoginReply::Continue(mut pdu) | LoginReply::Refuse(mut pdu) | LoginReply::Done(mut pdu, _)) =
                reply;
            if pdu.bhs[1] & 0x83 == 0x83 {
                pdu.bhs[15] = 9; // the driver's part: a TSIH
            }
            match client.response(LoginResponse::from_bhs(&pdu.bhs), &pdu.data, &mut of_client)? {
                Progress::Send(next) => request = next,
                Progress::Done(login) => return Ok(*login),
            }
        }
    }

    fn one_way() -> Auth {
        Auth { chap: vec![credential("user", "supersecret")], mutual: None }
    }

    fn both_ways() -> Auth {
        Auth { mutual: Some(credential("target-user", "another-secret")), ..one_way() }
    }

    #[test]
    fn without_authentication() {
        let login = converse(options(), Auth::default()).unwrap();
        assert_eq!((login.tsih, login.portal_group), (9, Some(5)));
        let n = &login.negotiated;
        assert_eq!((n.max_xmit_data_segment_length, n.initial_r2t, n.immediate_data), (262_144, false, true));
        assert!(login.max_cmd_sn.0 >= login.cmd_sn.0 + 127);
    }

    #[test]
    fn by_chap_with_every_algorithm() {
        for algorithm in options().algorithms {
            let mut options = LoginOptions { chap: Some(credential("user", "supersecret")), ..options() };
            options.algorithms = vec![algorithm];
            converse(options.clone(), one_way()).unwrap();
            options.mutual = Some(credential("target-user", "another-secret"));
            converse(options, both_ways()).unwrap();
        }
    }

    #[test]
    fn an_impostor_is_noticed() {
        let mut options = LoginOptions { chap: Some(credential("user", "supersecret")), ..options() };
        options.mutual = Some(credential("target-user", "something-else"));
        let error = converse(options, both_ways()).unwrap_err();
        assert!(matches!(error, LoginError::Chap(ChapError::WrongAnswer)), "{error}");
    }

    #[test]
    fn refusals_are_told() {
        let wrong = LoginOptions { chap: Some(credential("user", "not-the-secret")), ..options() };
        for options in [wrong, options()] {
            let error = converse(options, one_way()).unwrap_err();
            assert!(matches!(error, LoginError::Refused(LoginStatus::AUTHENTICATION_FAILURE)), "{error}");
        }
    }

    #[test]
    fn a_target_that_breaks_rules_is_noticed() {
        let mut client = LoginClient::new(options());
        client.start();
        let wrong = LoginResponse { flags: flags::TRANSIT | 7, ..LoginResponse::default() };
        let error = client.response(&wrong, &[], &mut |_| {}).unwrap_err();
        assert!(matches!(error, LoginError::Protocol("another ISID")), "{error}");
    }
}

//! The login phase, target side (RFC 7143 sections 6 and 11.12–13): a pure state machine.
//!
//! ```text
//!  request ─► frame rules ─► text complete? ─► Statements ─► Party ─► Security ┐
//!             version, ids,   no: empty        by key        names,   CHAP     ├─► answer text
//!             stage, T and C  answer           and stage     access            │   in pieces of 8 KiB
//!                                                            Negotiation ──────┘   T bit, Done
//! ```
//! It promises to survive any bytes with bounded memory: see [`DATA_MAX`], [`REQUESTS_MAX`] and the
//! limits of [`crate::wire::text`]. It knows neither sockets nor time; the caller bounds how long a
//! login may take, keeps other PDUs away, assigns the TSIH and looks after sessions of the same name.

pub mod fault;
mod party;
mod reply;
mod security;
mod statements;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use self::fault::Fault;
use self::party::{Party, initiator_name};
pub use self::reply::{Established, LoginReply, Pdu, refuse};
use self::reply::{Frame, VERSION};
use self::security::Security;
use self::statements::Statements;
use super::chap::{Entropy, Outstanding};
use super::keys::negotiate::Negotiation;
use super::keys::{DEFAULT_SEGMENT_LENGTH, Negotiated};
use crate::target::{Catalog, ChapAlgorithm};
use crate::wire::bhs::LoginRequest;
use crate::wire::codes::Stage;
use crate::wire::flags;
use crate::wire::text::{NOT_UNDERSTOOD, Outgoing, TextBuffer, TextWriter};

/// The largest data segment of a Login PDU in either direction, bytes: nothing larger has been
/// declared yet (section 13.12).
pub const DATA_MAX: usize = DEFAULT_SEGMENT_LENGTH as usize;

/// Login Requests of one login. The longest legal exchange, mutual CHAP and a text that fills its
/// limit in whole PDUs, takes about twenty.
pub const REQUESTS_MAX: u32 = 64;

/// A session that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownSession {
    /// The target.
    pub target: String,
    /// The tag of its group.
    pub tpg_tag: u16,
    /// The connection.
    pub cid: u16,
}

/// The session of this initiator that has that ISID and TSIH.
type SessionCheck = Box<dyn Fn(&str, [u8; 6], u16) -> Option<KnownSession> + Send>;

/// A login in progress.
pub struct Login {
    catalog: Arc<Catalog>,
    local: SocketAddr,
    peer: IpAddr,
    sessions: SessionCheck,
    challenges: Box<dyn Outstanding>,
    requests: u32,
    stage: Stage,
    identity: Option<Identity>,
    frame: Frame,
    gathered: TextBuffer,
    outgoing: Outgoing,
    /// The stage may end after the answer that is on its way out.
    ready: bool,
    talk: Option<Talk>,
    initiator: Option<String>,
    /// The target that it wants, as it has said it.
    wanted: Option<String>,
    over: bool,
    fault: Option<Fault>,
}

/// What no request may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    isid: [u8; 6],
    tsih: u16,
    cid: u16,
}

/// What has been said since the names are known.
#[derive(Debug)]
struct Talk {
    party: Party,
    security: Security,
    negotiation: Negotiation,
}

/// The longest iSCSI name, bytes (RFC 7143 section 4.2.7.2): more of one that is wrong is not kept.
const MOST_NAME: usize = 223;

/// The T and C bits of a request, checked.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// The stage to go to.
    transit: Option<Stage>,
    /// The text goes on in the next request.
    continues: bool,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("local", &self.local)
            .field("stage", &self.stage)
            .field("requests", &self.requests)
            .field("talk", &self.talk)
            .field("over", &self.over)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// A login on a connection that arrived at `local`, from an address that is no network's. No request is yet known.
    pub fn new(catalog: Arc<Catalog>, local: SocketAddr) -> Self {
        Self {
            catalog,
            local,
            peer: Ipv4Addr::UNSPECIFIED.into(),
            sessions: Box::new(|_, _, _| None),
            challenges: Box::new(()),
            requests: 0,
            stage: Stage::SECURITY,
            identity: None,
            frame: Frame::default(),
            gathered: TextBuffer::default(),
            outgoing: Outgoing::default(),
            ready: false,
            talk: None,
            initiator: None,
            wanted: None,
            over: false,
            fault: None,
        }
    }

    /// It comes from that address.
    #[must_use]
    pub fn from_peer(self, peer: IpAddr) -> Self {
        Self { peer, ..self }
    }

    /// Tells which sessions exist, by initiator name, ISID and TSIH, so that one can be joined, or the request is
    /// refused with the right status. Asked only after authentication.
    #[must_use]
    pub fn with_sessions(
        self,
        known: impl Fn(&str, [u8; 6], u16) -> Option<KnownSession> + Send + 'static,
    ) -> Self {
        Self { sessions: Box::new(known), ..self }
    }

    /// Where the challenges of all logins are known.
    #[must_use]
    pub fn with_challenges(self, challenges: impl Outstanding + 'static) -> Self {
        Self { challenges: Box::new(challenges), ..self }
    }

    /// Why the login was refused.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The initiator's name once it is known, also after a refusal: for the log.
    pub fn initiator(&self) -> Option<&str> {
        self.initiator.as_deref()
    }

    /// The target that it wants, as it has said it, also after a refusal: for the log.
    pub fn target(&self) -> Option<&str> {
        self.wanted.as_deref()
    }

    /// One whole Login Request: header and data segment (digests never apply in login).
    pub fn request(&mut self, bhs: &LoginRequest, data: &[u8], entropy: &mut Entropy<'_>) -> LoginReply {
        #[cfg(test)]
        assert!(!crate::scsi::STUMBLES.take(), "a test wants a mistake here");
        match self.step(bhs, data, entropy) {
            Ok(reply) => reply,
            Err(fault) => self.refusal(bhs, fault),
        }
    }

    fn refusal(&mut self, bhs: &LoginRequest, fault: Fault) -> LoginReply {
        self.over = true;
        self.talk = None;
        let pdu = match &fault {
            Fault::Moved(redirect) => self.frame.redirection(bhs, redirect, fault.status()),
            _ => self.frame.refusal(bhs, fault.status()),
        };
        self.fault.get_or_insert(fault);
        LoginReply::Refuse(pdu)
    }

    fn step(
        &mut self,
        bhs: &LoginRequest,
        data: &[u8],
        entropy: &mut Entropy<'_>,
    ) -> Result<LoginReply, Fault> {
        if self.over {
            return Err(Fault::Over);
        }
        self.identify(bhs)?;
        self.limit(data)?;
        let turn = self.turn(bhs)?;
        if self.outgoing.more() {
            if !data.is_empty() || turn.continues {
                return Err(Fault::Interrupted);
            }
        } else {
            self.gathered.push(data)?;
            if turn.continues {
                return Ok(LoginReply::Continue(self.answer(bhs, 0, Vec::new())));
            }
            let text = self.gathered.take();
            let answer = self.read(&text, turn, entropy)?;
            self.send_on(turn)?;
            self.outgoing = Outgoing::new(answer);
        }
        self.send(bhs, turn)
    }

    fn limit(&mut self, data: &[u8]) -> Result<(), Fault> {
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            return Err(Fault::TooManyRequests);
        }
        if data.len() > DATA_MAX {
            return Err(Fault::TooMuchData(data.len()));
        }
        Ok(())
    }

    /// The first request says who this is and where the numbers begin; the others must agree.
    fn identify(&mut self, bhs: &LoginRequest) -> Result<(), Fault> {
        let identity = Identity { isid: bhs.isid, tsih: bhs.tsih.get(), cid: bhs.cid.get() };
        match self.identity {
            Some(known) if known != identity => Err(Fault::IdentityChanged),
            Some(_) => Ok(()),
            None => {
                let cmd_sn = bhs.cmd_sn.into();
                self.frame =
                    Frame { stat_sn: bhs.exp_stat_sn.into(), exp_cmd_sn: cmd_sn, max_cmd_sn: cmd_sn };
                self.identity = Some(identity);
                self.begin(bhs)
            }
        }
    }

    fn begin(&mut self, bhs: &LoginRequest) -> Result<(), Fault> {
        if bhs.version_min > VERSION {
            return Err(Fault::Version(bhs.version_min));
        }
        // Security may be passed over by those who need not prove anything.
        if current_stage(bhs) == Stage::OPERATIONAL {
            self.stage = Stage::OPERATIONAL;
        }
        Ok(())
    }

    fn turn(&self, bhs: &LoginRequest) -> Result<Turn, Fault> {
        let (request, current) = (current_stage(bhs), self.stage);
        if request != current {
            return Err(Fault::WrongStage { request, current });
        }
        let continues = bhs.flags & flags::CONTINUE != 0;
        if bhs.flags & flags::TRANSIT == 0 {
            return Ok(Turn { transit: None, continues });
        }
        if continues {
            return Err(Fault::TransitAndContinue);
        }
        match Stage(bhs.flags & flags::STAGE_MASK) {
            to @ (Stage::OPERATIONAL | Stage::FULL_FEATURE) if to.0 > current.0 => {
                Ok(Turn { transit: Some(to), continues })
            }
            to => Err(Fault::BadTransit { from: current, to }),
        }
    }

    /// Reads one whole text and answers it.
    fn read(&mut self, text: &[u8], turn: Turn, entropy: &mut Entropy<'_>) -> Result<Vec<u8>, Fault> {
        let said = Statements::read(text, self.stage)?;
        let mut out = TextWriter::new();
        match &self.talk {
            Some(talk) => talk.party.check_again(&said)?,
            None => self.talk = Some(self.introduce(&said, &mut out)?),
        }
        // Just put there; the other arm is for the type only.
        let talk = self.talk.as_mut().ok_or(Fault::Missing("InitiatorName"))?;
        self.ready = if self.stage == Stage::SECURITY {
            talk.security(&said, &self.catalog, turn, (entropy, &*self.challenges), &mut out)?
        } else {
            talk.operational(&said, turn, &mut out)?
        };
        for key in said.unknown {
            out.pair(key, NOT_UNDERSTOOD);
        }
        Ok(out.into_bytes())
    }

    /// Whoever has proved what is to be proved is told if the target is elsewhere.
    fn send_on(&self, turn: Turn) -> Result<(), Fault> {
        let proved = self.stage != Stage::SECURITY || (self.ready && turn.transit.is_some());
        let redirect = self.talk.as_ref().and_then(|talk| talk.party.redirect(self.local));
        redirect.filter(|_| proved).map_or(Ok(()), |redirect| Err(Fault::Moved(redirect)))
    }

    fn introduce(&mut self, said: &Statements<'_>, out: &mut TextWriter) -> Result<Talk, Fault> {
        let initiator = initiator_name(said)?;
        self.initiator = Some(initiator.clone());
        self.wanted = said.target_name.map(|name| name.chars().take(MOST_NAME).collect());
        let party = Party::enter(initiator, said, &self.catalog, self.local, self.peer)?;
        if self.stage != Stage::SECURITY && party.auth(&self.catalog)?.required() {
            return Err(Fault::NotAuthenticated);
        }
        party.introduce(out);
        let joins = self.identity.is_some_and(|identity| identity.tsih != 0);
        let negotiation = Negotiation::new(party.wishes(), party.start()).joining(joins);
        Ok(Talk { party, security: Security::default(), negotiation })
    }

    /// Sends the next piece of the answer, and goes to the next stage with the last.
    fn send(&mut self, bhs: &LoginRequest, turn: Turn) -> Result<LoginReply, Fault> {
        let piece = self.outgoing.next_piece(DATA_MAX);
        if self.outgoing.more() {
            return Ok(LoginReply::Continue(self.answer(bhs, flags::CONTINUE, piece)));
        }
        match turn.transit.filter(|_| self.ready) {
            None => Ok(LoginReply::Continue(self.answer(bhs, 0, piece))),
            Some(Stage::FULL_FEATURE) => self.finish(bhs, piece),
            Some(next) => {
                let pdu = self.answer(bhs, flags::TRANSIT | next.0, piece);
                (self.stage, self.ready) = (next, false);
                Ok(LoginReply::Continue(pdu))
            }
        }
    }

    fn finish(&mut self, bhs: &LoginRequest, piece: Vec<u8>) -> Result<LoginReply, Fault> {
        let talk = self.talk.take().ok_or(Fault::Over)?;
        let joins = self.joined_session(&talk.party, bhs)?;
        let negotiated = talk.negotiation.conclude()?;
        self.frame.max_cmd_sn = self.frame.exp_cmd_sn.add(talk.party.window() - 1);
        let pdu = self.answer(bhs, flags::TRANSIT | Stage::FULL_FEATURE.0, piece);
        self.over = true;
        Ok(LoginReply::Done(
            pdu,
            Box::new(self.established(bhs, talk.party, talk.security.algorithm(), negotiated, joins)),
        ))
    }

    /// A TSIH asks to join a session. Here sessions have one connection, so all that can be is that this one takes
    /// its place (section 6.3.4): same CID, same portal group.
    fn joined_session(&self, party: &Party, bhs: &LoginRequest) -> Result<Option<u16>, Fault> {
        let tsih = bhs.tsih.get();
        if tsih == 0 {
            return Ok(None);
        }
        let known = (self.sessions)(&party.initiator, bhs.isid, tsih).ok_or(Fault::NoSuchSession)?;
        match party.place() {
            Some((target, _)) if known.target != target => Err(Fault::NoSuchSession),
            Some((_, tag)) if known.tpg_tag != tag => Err(Fault::OtherGroup),
            Some(_) if known.cid != bhs.cid.get() => Err(Fault::OneConnection),
            Some(_) => Ok(Some(tsih)),
            // Discovery sessions are as long as one connection.
            None => Err(Fault::NoSuchSession),
        }
    }

    fn established(
        &self,
        bhs: &LoginRequest,
        party: Party,
        chap: Option<ChapAlgorithm>,
        negotiated: Negotiated,
        joins: Option<u16>,
    ) -> Established {
        let luns = party.luns();
        let (initiator, door) = party.into_door();
        let (target, tpg) = door.map_or((None, 0), |(target, tpg)| (Some(target), tpg));
        Established {
            negotiated,
            isid: bhs.isid,
            cid: bhs.cid.get(),
            joins,
            target,
            discovery: self.catalog.discovery.clone(),
            tpg,
            luns,
            exp_cmd_sn: self.frame.exp_cmd_sn.0,
            max_cmd_sn: self.frame.max_cmd_sn.0,
            stat_sn: self.frame.stat_sn.0,
            initiator,
            chap,
            local: self.local,
            peer: self.peer,
            itt: bhs.itt.get(),
        }
    }

    /// A response to `bhs` with these bits beside the current stage.
    fn answer(&mut self, bhs: &LoginRequest, bits: u8, data: Vec<u8>) -> Pdu {
        let mut response = self.frame.response(bhs);
        response.flags = bits | self.stage.0 << flags::CSG_SHIFT;
        response.set_data_len(data.len());
        self.frame.stat_sn = self.frame.stat_sn.next();
        Pdu { bhs: *response.as_bhs(), data }
    }
}

impl Talk {
    /// Whether the security stage may end. One who asks to leave it without a step forward, and
    /// without having proved what must be proved, is refused rather than asked forever.
    fn security(
        &mut self,
        said: &Statements<'_>,
        catalog: &Catalog,
        turn: Turn,
        chance: (&mut Entropy<'_>, &dyn Outstanding),
        out: &mut TextWriter,
    ) -> Result<bool, Fault> {
        let auth = self.party.auth(catalog)?;
        let moved = self.security.step(said, auth, self.party.algorithms(catalog), chance, out)?;
        let passed = self.security.passed(auth);
        if turn.transit.is_some() && !passed && !moved {
            return Err(Fault::NotAuthenticated);
        }
        Ok(passed)
    }

    /// Whether the operational stage may end.
    fn operational(
        &mut self,
        said: &Statements<'_>,
        turn: Turn,
        out: &mut TextWriter,
    ) -> Result<bool, Fault> {
        for (key, value) in &said.negotiable {
            self.negotiation.key(key, value, out)?;
        }
        self.negotiation.declare(out);
        Ok(turn.transit.is_some() && !self.negotiation.offer_missing(out))
    }
}

fn current_stage(bhs: &LoginRequest) -> Stage {
    Stage(bhs.flags >> flags::CSG_SHIFT & flags::STAGE_MASK)
}

#[cfg(test)]
mod tests;

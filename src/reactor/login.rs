//! Connections before full feature phase: accepted, logged in, placed.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::sync::Once;
use std::time::Duration;

use super::conn::{Conn, Finishing, Phase};
use super::desk::{desk, guarded};
use super::gates::Then;
use super::live::Done as LiveDone;
use super::mail::{Letter, Moving};
use super::meter::Meter;
use super::registry::SessionKey;
use super::tag::Tag;
use super::tx::Tx;
use super::{Reactor, Why};
use crate::ids::ConnId;
use crate::mem::Holding;
use crate::ring::{Done, Driver, Ends, Key, Kind, Op, RecvOp};
use crate::session::Session;
use crate::session::host::After;
use crate::session::login::fault::Fault;
use crate::session::login::{Established, Login, LoginReply, Pdu, refuse};
use crate::session::pace::Pace;
use crate::session::rx::STAGING;
use crate::target::{ChapAlgorithm, LOCAL_PORTAL};
use crate::wire::bhs::{BHS_LEN, Bhs, LoginRequest, padding};
use crate::wire::codes::{LoginStatus, Opcode};

/// The longest data segment during login: MaxRecvDataSegmentLength before anything is declared (RFC 7143 section 13.12).
const MAX_LOGIN_DATA: usize = 8192;

/// A listening socket of this reactor.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) fd: RawFd,
    /// The wait for a connection, while there is one.
    pub(super) armed: Option<Key>,
    /// It is to go when that wait is over.
    pub(super) leaves: Option<LiveDone>,
}

impl Listener {
    /// Its place is free for another.
    pub(super) fn is_vacant(&self) -> bool {
        self.fd < 0
    }

    /// It goes; whoever waits for that hears of it.
    pub(super) fn vacate(&mut self) {
        *self = Self { fd: -1, armed: None, leaves: None };
    }

    fn may_be_armed(&self) -> bool {
        !self.is_vacant() && self.armed.is_none() && self.leaves.is_none()
    }
}

impl<D: Driver> Reactor<D> {
    /// Waits for a connection on every listener that waits for none yet, as far as there is room for more.
    pub(super) fn arm_listeners(&mut self) {
        if self.draining.is_some() || self.conns.strangers() >= self.max_connections {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate().filter(|(_, l)| l.may_be_armed()) {
            let op =
                Op { tag: Tag::Accept(index as u32).pack(), kind: Kind::Accept { listener: listener.fd } };
            listener.armed = self.world.driver.push(op).ok();
        }
    }

    /// Waits for connections no longer.
    pub(super) fn disarm_listeners(&mut self) {
        for key in self.listeners.iter().filter_map(|l| l.armed) {
            self.world.driver.cancel(key);
        }
    }

    /// A listener's wait is over; whether all is well with it.
    pub(super) fn accepted(&mut self, listener: u32, done: &Done) -> bool {
        let (mut leaves, mut from) = (false, -1);
        if let Some(l) = self.listeners.get_mut(listener as usize) {
            (l.armed, from) = (None, l.fd);
            leaves = l.leaves.is_some();
            if leaves {
                l.vacate();
            }
        }
        if done.result < 0 {
            if ![-libc::EINTR, -libc::EAGAIN, -libc::ECANCELED, -libc::ECONNABORTED].contains(&done.result) {
                tracing::warn!(errno = -done.result, "cannot accept a connection");
            }
            return false;
        }
        let fd = done.result;
        if self.draining.is_some() || leaves {
            self.close_fd(fd);
            return false;
        }
        match self.world.driver.adopt(fd) {
            Ok(ends) => {
                self.world.driver.hand_down(from, fd);
                self.begin_login(fd, ends);
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it could be served");
                self.close_fd(fd);
            }
        }
        true
    }

    /// A connection of a disk of this host, which no listener has accepted. Where there is no room for it, it is closed.
    pub(super) fn welcome(&mut self, socket: OwnedFd, ends: Ends) {
        if self.draining.is_none() && self.conns.locals() < self.limits.local_connections as usize {
            self.begin_login(socket.into_raw_fd(), ends);
        }
    }

    pub(super) fn close_fd(&mut self, fd: RawFd) {
        if self.world.driver.push(Op { tag: Tag::Close.pack(), kind: Kind::Close { fd } }).is_err() {
            self.unclosed.push(fd);
        }
    }

    fn begin_login(&mut self, fd: RawFd, ends: Ends) {
        self.world.counters.accepted += 1;
        let registry = self.registry.clone();
        let catalog = self.detours.catalog(&self.world.catalog, self.world.driver.now());
        let login = Login::new(catalog, ends.local)
            .from_peer(ends.peer.ip())
            .with_challenges(registry.clone())
            .with_sessions(move |initiator, isid, tsih| registry.known(initiator, isid, tsih));
        let deadline = self.world.driver.now() + self.login_timeout;
        let id = self.enter_conn(fd, ends, Phase::Login(Box::new(login)), deadline);
        tracing::debug!(peer = %ends.peer, local = %ends.local, "connection");
        if ends.local != LOCAL_PORTAL {
            self.pending.push_back(id);
            self.thin_out_logins();
        }
        self.arm_recv(id);
    }

    /// A crowd of peers that prove nothing must not keep others out: beyond the limit the oldest has to go.
    fn thin_out_logins(&mut self) {
        if self.pending.len() <= self.max_pending {
            return;
        }
        let conns = &mut self.conns;
        self.pending.retain(|id| conns.get_mut(*id).is_some_and(|c| matches!(c.phase, Phase::Login(_))));
        if self.pending.len() > self.max_pending
            && let Some(oldest) = self.pending.pop_front()
        {
            self.close(oldest, Why::Crowded);
        }
    }

    fn enter_conn(&mut self, fd: RawFd, ends: Ends, phase: Phase, deadline: u64) -> ConnId {
        let id = self.conns.insert(|id| Conn {
            id,
            fd,
            ends,
            phase,
            recv: Some(RecvOp::new(fd, STAGING)),
            receiving: false,
            paused: None,
            more: false,
            tx: Tx::new(fd),
            dirty: false,
            hungry: false,
            beside: 0,
            slots: Holding::default(),
            on_probation: false,
            probation_ends: 0,
            send_pace: Pace::default(),
            send_judged: 0,
            asks: 0,
            recalled: 0,
            after_asks: Vec::new(),
            deadline,
            since: 0,
            meter: None,
            leaves_by: None,
            key: None,
            placed: false,
            mourners: Vec::new(),
            heir: None,
            fenced: false,
            harmless: false,
            remains: None,
        });
        self.world.recorder.meet(id, ends);
        id
    }

    /// Takes one Login Request at a time from staging.
    pub(super) fn login_bytes(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.tx.is_idle() {
            return;
        }
        let Some(recv) = conn.recv.as_mut() else { return };
        let request = match whole_login(&recv.staging[..recv.filled]) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(why) => return self.close(id, Why::NoLogin(why)),
        };
        let bhs = LoginRequest::from_bhs(&request.bhs);
        let data = &recv.staging[request.data.clone()];
        let Phase::Login(login) = &mut conn.phase else { return };
        self.world.recorder.note_stranger(self.world.driver.now(), id, false, &request.bhs);
        let reply = guarded(|| login.request(bhs, data, &mut self.world.entropy));
        recv.consume(request.whole);
        match reply {
            Some(reply) => self.follow_login(id, reply),
            None => {
                let refused = refuse(LoginRequest::from_bhs(&request.bhs), LoginStatus::TARGET_ERROR);
                self.refuse_login(id, &refused);
            }
        }
    }

    /// Whoever administers this may want to let it in.
    fn remember_refused(&mut self, id: ConnId) {
        if let Some(Phase::Login(login)) = self.conns.get_mut(id).map(|conn| &conn.phase)
            && let Some(initiator) = login.initiator()
            && !matches!(login.fault(), Some(Fault::Moved(_)))
        {
            self.registry.refuse(initiator);
        }
    }

    fn follow_login(&mut self, id: ConnId, reply: LoginReply) {
        match reply {
            LoginReply::Continue(pdu) => self.answer_login(id, &pdu, After::Keep),
            LoginReply::Refuse(pdu) => {
                self.remember_refused(id);
                self.refuse_login(id, &pdu);
            }
            LoginReply::Done(pdu, established) => self.place(id, pdu, established),
        }
    }

    fn refuse_login(&mut self, id: ConnId, pdu: &Pdu) {
        // Who is sent elsewhere is welcome there.
        self.world.counters.refused += u64::from(refusal(pdu).class() > 1);
        let others = self.refusals.one_more(self.world.driver.now());
        if let (Some(conn), Some(others)) = (self.conns.get_mut(id), others) {
            log_refusal(conn, refusal(pdu), others);
        }
        self.answer_login(id, pdu, After::Close);
    }

    fn answer_login(&mut self, id: ConnId, pdu: &Pdu, after: After) {
        let now = self.world.driver.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        self.world.recorder.note_stranger(now, id, true, &pdu.bhs);
        conn.tx.put(&rendered(pdu));
        conn.tx.end(after, now);
        self.mark_dirty(id);
    }

    /// The login is complete: the connection goes to the reactor with the least to do. Nothing of it is in flight.
    fn place(&mut self, id: ConnId, response: Pdu, established: Box<Established>) {
        let core = self.registry.place(self.world.mail.core);
        if core == self.world.mail.core {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.placed = true;
            }
            return self.finish_login(id, response, established);
        }
        let Some(conn) = self.conns.remove(id) else { return };
        debug_assert_eq!(conn.in_flight(), 0, "a connection moves with nothing in flight");
        let early = conn.recv.map_or_else(Vec::new, |r| r.staging[..r.filled].to_vec());
        let moving = Moving { fd: conn.fd, ends: conn.ends, established, response, early };
        self.world.mail.post(core, Letter::Adopt(Box::new(moving)));
    }

    /// A connection from another reactor.
    pub(super) fn adopt(&mut self, moving: Moving) {
        let Moving { fd, ends, established, response, early } = moving;
        let deadline = self.world.driver.now() + self.login_timeout;
        // Should it be refused after all, it goes like any other login.
        let login = Login::new(self.world.catalog.clone(), ends.local);
        let id = self.enter_conn(fd, ends, Phase::Login(Box::new(login)), deadline);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.placed = true;
            if let Some(recv) = conn.recv.as_mut() {
                recv.staging[..early.len()].copy_from_slice(&early);
                recv.filled = early.len();
            }
        }
        // Letters cross: more may have come meanwhile than the ring has room for.
        if self.is_overcrowded(ends) {
            return self.refuse_login(id, &response.into_refusal(LoginStatus::OUT_OF_RESOURCES));
        }
        self.finish_login(id, response, established);
    }

    /// Whether there are more than there is room for where connections come from that have these ends.
    fn is_overcrowded(&self, ends: Ends) -> bool {
        match ends.local == LOCAL_PORTAL {
            true => self.conns.locals() > self.limits.local_connections as usize,
            false => self.conns.strangers() > self.max_connections + self.listeners.len(),
        }
    }

    /// Enters the session; one that it replaces, or goes on with, must be harmless first.
    fn finish_login(&mut self, id: ConnId, mut response: Pdu, mut established: Box<Established>) {
        let core = self.world.mail.core;
        // What is exported may have changed since it began.
        if !established.renew(&self.world.catalog) {
            return self.refuse_login(id, &response.into_refusal(LoginStatus::AUTHORIZATION_FAILURE));
        }
        let Some(ends) = self.conns.get_mut(id).map(|c| c.ends) else { return };
        // Its target, or its portal, may be drained since: the next attempt is told where to go.
        let now = self.world.driver.now();
        let target = established.target.as_ref().map(|target| target.iqn.as_str());
        if self.detours.sends_on_until(&self.world.catalog, target, ends.local, now).is_some() {
            return self.refuse_login(id, &response.into_refusal(LoginStatus::SERVICE_UNAVAILABLE));
        }
        let key = key_of(&established, &ends);
        let joins = established.joins;
        let entered = match joins {
            None => self
                .registry
                .enter(key.clone(), core, id, established.cid)
                .ok_or(LoginStatus::OUT_OF_RESOURCES),
            Some(tsih) => match self.registry.take_over(&key, tsih, core, id) {
                Some(home) => Ok((tsih, Some(home))),
                None => Err(LoginStatus::SESSION_DOES_NOT_EXIST),
            },
        };
        let (tsih, old) = match entered {
            Ok(entered) => entered,
            Err(status) => return self.refuse_login(id, &response.into_refusal(status)),
        };
        response.set_tsih(tsih);
        if let Some(target) = &established.target {
            self.conns.arrive(id, &target.iqn);
        }
        let session = Box::new(Session::new(established, now));
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.key = Some((key, tsih));
        conn.phase = Phase::Reinstating(Box::new(Finishing { session, response }));
        match old {
            Some(home) => {
                let what = if joins.is_some() { "a connection" } else { "a session" };
                tracing::info!(peer = %conn.ends.peer, "a login replaces {what}");
                let gate = self.world.gates.shut(1, Then::Reinstated { conn: id });
                let heir = joins.map(|_| id);
                self.world.mail.post(home.core, Letter::Kill { conn: home.conn, from: core, gate, heir });
            }
            None => self.enter_full_feature(id),
        }
    }

    /// The final Login Response leaves, and full feature phase begins; unless the connection has ended meanwhile.
    pub(super) fn enter_full_feature(&mut self, id: ConnId) {
        let now = self.world.driver.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.is_closing() {
            return self.world.announce(Then::Fenced { conn: id });
        }
        if !matches!(conn.phase, Phase::Reinstating(_)) {
            return;
        }
        let Phase::Reinstating(finishing) = std::mem::replace(&mut conn.phase, Phase::Closing) else {
            return;
        };
        let Finishing { mut session, mut response } = *finishing;
        if session.awaits_legacy() {
            // It has ended meanwhile, and left nothing.
            conn.phase = Phase::Login(Box::new(Login::new(self.world.catalog.clone(), conn.ends.local)));
            return self.refuse_login(id, &response.into_refusal(LoginStatus::SESSION_DOES_NOT_EXIST));
        }
        let established = session.established();
        let target = established.target.as_ref().map_or("discovery", |t| t.iqn.as_str());
        if let Some(others) = self.talk.one_more(now) {
            let (initiator, peer, reactor) = (&established.initiator, conn.ends.peer, self.world.mail.core.0);
            tracing::info!(initiator, target, %peer, reactor, others, "login");
        }
        warn_of_md5(established);
        let (exp_cmd_sn, max_cmd_sn) = session.window();
        response.set_window(exp_cmd_sn, max_cmd_sn);
        session.begin_full_feature(now);
        session.limit(self.world.quotas.limits_of(&session, &self.registry));
        conn.phase = Phase::Full(session);
        conn.since = now;
        if self.world.driver.zero_copy(conn.fd) {
            conn.tx.allow_zero_copy();
        }
        conn.meter = Some(Meter::new());
        self.world.recorder.note(now, id, true, &response.bhs);
        conn.tx.put(&rendered(&response));
        conn.tx.end(After::Keep, now);
        self.world.counters.logins += 1;
        self.world.sessions += 1;
        self.mark_dirty(id);
        self.use_staged(id);
        if self.draining.is_some() {
            self.ask_to_log_out(id);
        } else {
            self.send_on(id);
        }
    }

    /// While a session has waited for one that it replaces, its target or its portal may have been drained: nobody has told
    /// it so far.
    fn send_on(&mut self, id: ConnId) {
        let now = self.world.driver.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(session) = conn.session() else { return };
        let target = session.established().target.as_ref().map(|target| target.iqn.as_str());
        if let Some(until) = self.detours.sends_on_until(&self.world.catalog, target, conn.ends.local, now) {
            self.ask_to_leave(id, Duration::from_nanos(until.saturating_sub(now)));
        }
    }

    /// A session is told to go; one in another phase just goes.
    pub(super) fn ask_to_log_out(&mut self, id: ConnId) {
        let Some(deadline) = self.draining else { return };
        let left = deadline.saturating_sub(self.world.driver.now()) / 1_000_000_000;
        let Some(conn) = self.conns.get_mut(id) else { return };
        match desk(&mut self.world, conn) {
            (mut desk, Phase::Full(session)) => {
                let left = left.min(u64::from(u16::MAX)) as u16;
                match desk.guarded(|desk| session.request_logout(desk, left)) {
                    Some(()) => self.mark_dirty(id),
                    None => self.close(id, Why::Broken),
                }
            }
            _ => self.close(id, Why::Stopping),
        }
    }
}

/// A Login Request in staging.
struct WholeLogin {
    bhs: [u8; BHS_LEN],
    data: std::ops::Range<usize>,
    /// Bytes of the whole PDU.
    whole: usize,
}

/// Finds a whole Login Request; `Ok(None)`: more bytes are needed.
fn whole_login(bytes: &[u8]) -> Result<Option<WholeLogin>, &'static str> {
    let Some(&raw) = bytes.first_chunk::<BHS_LEN>() else { return Ok(None) };
    let bhs = Bhs::from_bhs(&raw);
    if bhs.opcode() != Opcode::LOGIN_REQUEST {
        return Err("a PDU other than Login Request before the login was complete");
    }
    let len = bhs.data_len();
    if len > MAX_LOGIN_DATA {
        return Err("a Login Request with more than 8192 bytes");
    }
    let start = BHS_LEN + bhs.ahs_len();
    let whole = start + len + padding(len);
    Ok((bytes.len() >= whole).then_some(WholeLogin { bhs: raw, data: start..start + len, whole }))
}

/// Says once that an initiator still proves itself by MD5.
fn warn_of_md5(established: &Established) {
    static SAID: Once = Once::new();
    if established.chap == Some(ChapAlgorithm::Md5) {
        let initiator = &established.initiator;
        SAID.call_once(|| {
            tracing::warn!(
                initiator,
                "CHAP by MD5; let initiators offer SHA3-256 or SHA-256 first (said only once)"
            );
        });
    }
}

/// A PDU without digests, which login never has.
fn rendered(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BHS_LEN + pdu.data.len() + 3);
    bytes.extend_from_slice(&pdu.bhs);
    bytes.extend_from_slice(&pdu.data);
    bytes.resize(bytes.len() + padding(pdu.data.len()), 0);
    bytes
}

/// The status says little on purpose; whoever reads the log is told who was refused, and why.
fn log_refusal(conn: &Conn, answer: LoginStatus, others: Option<u64>) {
    let Phase::Login(login) = &conn.phase else { return };
    let initiator = login.initiator().unwrap_or("unknown");
    let target = login.target().unwrap_or("unknown");
    let peer = conn.ends.peer;
    match login.fault() {
        Some(fault) => {
            tracing::info!(initiator, target, %peer, %answer, reason = %fault, others, "login refused");
        }
        None => tracing::info!(initiator, target, %peer, %answer, others, "login refused"),
    }
}

fn refusal(pdu: &Pdu) -> LoginStatus {
    let response = crate::wire::bhs::LoginResponse::from_bhs(&pdu.bhs);
    LoginStatus::from_parts(response.status_class, response.status_detail)
}

/// Discovery sessions of one initiator may overlap: each is named by its peer's address instead of a target.
fn key_of(e: &Established, ends: &Ends) -> SessionKey {
    let target = e.target.as_ref().map_or_else(|| ends.peer.to_string(), |t| t.iqn.clone());
    let tpg_tag = e.target.as_ref().and_then(|t| t.tpgs.get(e.tpg)).map_or(0, |t| t.tag);
    SessionKey { initiator: e.initiator.clone(), isid: e.isid, target, tpg_tag }
}

//! A conversation that was rehearsed once, so that of the second performance only the target's part is counted.

use std::sync::Arc;

use ringtgt::initiator::{
    Command, Core, Direction, Event, Incoming, LoggedIn, LoginClient, LoginOptions, Progress, cdb,
};
use ringtgt::session::Session;
use ringtgt::session::keys::Negotiated;
use ringtgt::session::login::{Established, Login, LoginReply};
use ringtgt::target::{Catalog, Lun, Target, Tpg, TpgParams};
use ringtgt::wire::bhs::{LoginRequest, LoginResponse};
use ringtgt::wire::codes::TmfFunction;
use ringtgt::wire::sn::Sn;

use crate::host::{BLOCK, NullHost};

/// Commands that are outstanding at a time, in one receive.
pub(crate) const DEPTH: usize = 32;

const WINDOW: u32 = 128;

/// What is asked, [`DEPTH`] times.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Ready,
    Ping,
    Read(u32),
    Write(u32),
    /// A read that is aborted before the disk has done it.
    Abort,
    /// A read, and a reset of its logical unit before the disk has done it.
    Reset,
}

impl Ask {
    /// What makes everything ready for it.
    fn prelude(self) -> Self {
        match self {
            Self::Abort | Self::Reset => Self::Read(4096),
            other => other,
        }
    }
}

/// How it is negotiated.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    pub(crate) digests: bool,
    /// Writes wait for R2T.
    pub(crate) solicited: bool,
}

/// A target's session, and what comes to it.
pub(crate) struct Play {
    session: Session,
    host: NullHost,
    chunks: Vec<Vec<u8>>,
}

impl Play {
    /// Rehearses.
    pub(crate) fn new(ask: Ask, how: How) -> Self {
        let mut rehearsal = Self::stage(how, true);
        rehearsal.warm_up(ask, how);
        let mut play = Self::stage(how, false);
        play.warm_up(ask, how);
        // A ping is immediate: it uses no number.
        let used = if let Ask::Ping = ask { 0 } else { DEPTH as u32 };
        let mut initiator = initiator(how, 1 + used, 1 + DEPTH as u32);
        play.chunks = rehearsal.record(&mut initiator, ask);
        // What grows once and stays is no part of a command.
        play.host.out = Vec::with_capacity(1 << 20);
        play
    }

    fn stage(how: How, keeps: bool) -> Self {
        Self { session: session(how), host: NullHost::new(keeps), chunks: Vec::new() }
    }

    /// Unit attentions are told, and tables have grown.
    fn warm_up(&mut self, ask: Ask, how: How) {
        let keeps = std::mem::replace(&mut self.host.keeps, true);
        self.record(&mut initiator(how, 1, 1), ask.prelude());
        self.host.keeps = keeps;
    }

    /// Plays both parts, and keeps what the initiator says.
    fn record(&mut self, core: &mut Core, ask: Ask) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        begin(core, ask);
        while !core.outgoing().is_empty() {
            let chunk = core.outgoing().to_vec();
            core.sent(chunk.len());
            feed(&mut self.session, &mut self.host, &chunk);
            self.host.do_all(&mut self.session);
            chunks.push(chunk);
            answer(core, &std::mem::take(&mut self.host.out));
        }
        chunks
    }

    /// The performance.
    pub(crate) fn perform(mut self) -> Self {
        for chunk in &self.chunks {
            feed(&mut self.session, &mut self.host, chunk);
            self.host.do_all(&mut self.session);
        }
        self
    }

    /// What is counted must have happened.
    pub(crate) fn check(self) {
        assert_eq!(self.session.open_tasks(), 0);
        assert!(self.session.closing().is_none() && !self.chunks.is_empty());
    }
}

/// Bytes arrive, and payload where it belongs, as a reactor has it.
fn feed(session: &mut Session, host: &mut NullHost, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        if let Some((buf, at, len)) = session.next_place() {
            let (now, rest) = bytes.split_at(bytes.len().min(len as usize));
            ringtgt::session::host::Host::copy_in(host, buf, at, now);
            session.placed(host, now.len() as u32);
            bytes = rest;
        }
        let input = session.input(host, bytes).expect("nothing wrong is said");
        bytes = &bytes[input.used..];
    }
}

fn begin(core: &mut Core, ask: Ask) {
    for n in 0..DEPTH as u64 {
        let command = |cdb, direction, len: u32| Command {
            lun: 0,
            cdb,
            direction,
            buffer: vec![0x5a; len as usize],
            user: n,
        };
        let command = match ask {
            Ask::Ping => {
                core.nop(b"ping");
                continue;
            }
            Ask::Ready => command(cdb::Cdb::default(), Direction::None, 0),
            Ask::Read(len) => command(cdb::read(n * 8192, len / BLOCK), Direction::In, len),
            Ask::Write(len) => command(cdb::write(n * 8192, len / BLOCK), Direction::Out, len),
            Ask::Abort | Ask::Reset => command(cdb::read(n * 8192, 8), Direction::In, 4096),
        };
        let tag = core.submit(command).expect("room for it");
        match ask {
            Ask::Abort => drop(core.manage(TmfFunction::ABORT_TASK, 0, Some(tag))),
            Ask::Reset => drop(core.manage(TmfFunction::LOGICAL_UNIT_RESET, 0, None)),
            _ => {}
        }
    }
}

/// The initiator hears what the target said, and answers R2Ts.
fn answer(core: &mut Core, mut said: &[u8]) {
    while !said.is_empty() {
        let space = core.incoming().space();
        let count = said.len().min(space.len());
        space[..count].copy_from_slice(&said[..count]);
        core.incoming().filled(count);
        said = &said[count..];
        while let Some(event) = core.poll().expect("nothing wrong is answered") {
            if let Event::Rejected(pdu, _) = event {
                panic!("rejected: {pdu:?}");
            }
        }
    }
}

fn negotiated(how: How) -> Negotiated {
    Negotiated {
        header_digest: how.digests,
        data_digest: how.digests,
        initial_r2t: how.solicited,
        immediate_data: !how.solicited,
        max_recv_data_segment_length: 256 << 10,
        max_xmit_data_segment_length: 256 << 10,
        first_burst_length: 256 << 10,
        max_burst_length: 1 << 20,
        ..Negotiated::default()
    }
}

fn initiator(how: How, cmd_sn: u32, stat_sn: u32) -> Core {
    let login = LoggedIn {
        negotiated: negotiated(how),
        tsih: 1,
        cid: 1,
        cmd_sn: Sn(cmd_sn),
        max_cmd_sn: Sn(cmd_sn + WINDOW - 1),
        exp_stat_sn: Sn(stat_sn),
        portal_group: None,
    };
    Core::new(login, Incoming::new(256 << 10), 2 * DEPTH)
}

pub(crate) fn catalog() -> Arc<Catalog> {
    let group = Tpg {
        tag: 1,
        relative_port: 1,
        portals: vec![([192, 0, 2, 1], 3260).into()],
        params: TpgParams { command_window: WINDOW, ..TpgParams::default() },
        luns: vec![Lun { lun: 0, lu: ringtgt::ids::LuId(0), read_only: false, group: 0 }],
        open: true,
        ..Tpg::default()
    };
    let target =
        Target { iqn: "iqn.2026-01.org.example:disk".into(), alias: None, redirect: None, tpgs: vec![group] };
    Arc::new(Catalog { targets: vec![Arc::new(target)], ..Catalog::default() })
}

fn session(how: How) -> Session {
    let catalog = catalog();
    let target = catalog.targets.first().cloned();
    let established = Established {
        negotiated: negotiated(how),
        isid: [0x40, 0, 0, 0, 0, 1],
        cid: 1,
        joins: None,
        luns: catalog.targets[0].tpgs[0].luns.clone(),
        target,
        discovery: Arc::default(),
        tpg: 0,
        exp_cmd_sn: 1,
        max_cmd_sn: WINDOW,
        stat_sn: 1,
        initiator: "iqn.2026-01.org.example:host".into(),
        chap: None,
        local: ([192, 0, 2, 1], 3260).into(),
        peer: [192, 0, 2, 2].into(),
        itt: 0,
    };
    Session::new(Box::new(established), 1)
}

/// A login without authentication, both sides of it; whether its answer was the last.
pub(crate) fn login() -> bool {
    let mut entropy = |bytes: &mut [u8]| bytes.fill(9);
    let options = LoginOptions::new("iqn.2026-01.org.example:host", Some("iqn.2026-01.org.example:disk"));
    let mut client = LoginClient::new(options);
    let mut login = Login::new(catalog(), ([192, 0, 2, 1], 3260).into());
    let mut request = client.start();
    loop {
        let answer = login.request(LoginRequest::from_bhs(&request.bhs), &request.data, &mut entropy);
        let (pdu, last) = match answer {
            LoginReply::Continue(pdu) => (pdu, false),
            LoginReply::Done(mut pdu, _) => {
                // Whoever keeps the sessions gives them their handles.
                pdu.bhs[15] = 1;
                (pdu, true)
            }
            LoginReply::Refuse(pdu) => panic!("refused: {pdu:?}"),
        };
        let heard = client.response(LoginResponse::from_bhs(&pdu.bhs), &pdu.data, &mut entropy);
        match heard.expect("a login that goes well") {
            Progress::Send(next) => request = next,
            Progress::Done(_) => return last,
        }
    }
}

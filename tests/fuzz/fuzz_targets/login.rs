//! Logins as sequences of Login Requests: mostly what an initiator says, sometimes something else. Nobody gets in
//! who has not proved who it is, numbers are in order, and every login ends.

#![no_main]

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ringtgt::ids::LuId;
use ringtgt::session::chap::{self, Challenge, Prover};
use ringtgt::session::discovery;
use ringtgt::session::login::{DATA_MAX, KnownSession, Login, LoginReply, Pdu, REQUESTS_MAX};
use ringtgt::target::{Acl, Auth, Catalog, Credential, Discovery, Lun, Redirect, Target, Tpg, TpgParams};
use ringtgt::wire::bhs::{LoginRequest, LoginResponse};
use ringtgt::wire::flags;
use ringtgt::wire::text::{TextWriter, pairs};

const INITIATOR: &str = "iqn.2026-01.a.initiator:one";
const TARGET: &str = "iqn.2026-01.a.target:disk";

/// Pairs that initiators send, right and wrong.
const SAID: &[&str] = &[
    "SessionType=Normal",
    "SessionType=Discovery",
    "AuthMethod=None",
    "AuthMethod=CHAP",
    "AuthMethod=CHAP,None",
    "AuthMethod=KRB5",
    "HeaderDigest=CRC32C,None",
    "HeaderDigest=None",
    "DataDigest=CRC32C",
    "MaxConnections=8",
    "InitialR2T=No",
    "InitialR2T=Yes",
    "ImmediateData=Yes",
    "ImmediateData=maybe",
    "MaxBurstLength=262144",
    "MaxBurstLength=512",
    "FirstBurstLength=65536",
    "FirstBurstLength=16777215",
    "FirstBurstLength=0",
    "MaxRecvDataSegmentLength=262144",
    "MaxRecvDataSegmentLength=511",
    "MaxOutstandingR2T=1",
    "DefaultTime2Wait=0",
    "DefaultTime2Retain=0",
    "ErrorRecoveryLevel=2",
    "DataPDUInOrder=No",
    "DataSequenceInOrder=Yes",
    "IFMarker=Yes",
    "OFMarkInt=1~2",
    "InitiatorAlias=me",
    "TargetName=iqn.2026-01.a.target:none",
    "InitiatorName=",
    "InitiatorName=IQN.2026-01.a.initiator:ONE",
    "InitiatorName=iqn.2026-01.a.initiator:ｏｎｅ",
    "InitiatorName=iqn.2026-01.a.initiator:\u{fdfa}",
    "TargetName=iqn.2026-01.a.target:di\u{ad}sk",
    "X-com.a=1",
    "iSCSIProtocolLevel=2",
    "TaskReporting=FastAbort",
    "TargetAlias=x",
    "TargetAddress=1.2.3.4:1,1",
    "SendTargets=All",
    "CHAP_A=5",
    "CHAP_A=5,6,7,8",
    "CHAP_A=9",
    "CHAP_N=user",
    "CHAP_R=0x00",
    "CHAP_I=1",
    "CHAP_C=0xabcdefabcdef0123456789abcdef0123",
    "CHAP_R=0bAAAA",
    "noequals",
    "=novalue",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Chap,
    Mutual,
}

fn credential(user: &str, secret: &str) -> Credential {
    Credential { user: user.into(), secret: secret.into() }
}

fn auth(need: Need) -> Auth {
    match need {
        Need::Nothing => Auth::default(),
        Need::Chap => Auth { chap: vec![credential("user", "supersecret123")], mutual: None },
        Need::Mutual => {
            Auth { mutual: Some(credential("target-user", "another-secret")), ..auth(Need::Chap) }
        }
    }
}

/// Where the target, or every visitor, is sent, if at all. The second is where the login has come in already.
#[derive(Clone, Copy)]
struct Sent {
    target: Option<Redirect>,
    portal: Option<Redirect>,
}

impl Sent {
    fn choose(u: &mut Unstructured<'_>) -> Result<Self> {
        let mut one = |rare| {
            let to = *u.choose(&["[2001:db8::7]:3261", "192.0.2.1:3260"])?;
            let redirect = Redirect { to: to.parse().expect("an address"), permanent: u.arbitrary()? };
            Ok(u.ratio(1, rare)?.then_some(redirect))
        };
        Ok(Self { target: one(8)?, portal: one(32)? })
    }
}

fn catalog(need: Need, params: TpgParams, open: bool, sent: Sent) -> Arc<Catalog> {
    let lun = Lun { lun: 3, lu: LuId(0), read_only: false, group: 0 };
    let group = Tpg {
        tag: 5,
        relative_port: 1,
        portals: vec!["0.0.0.0:3260".parse().expect("an address")],
        params,
        luns: vec![lun],
        acls: vec![Acl { initiator: INITIATOR.into(), auth: auth(need), luns: vec![lun], ..Acl::default() }],
        open,
        auth: auth(need),
        ..Tpg::default()
    };
    let target = Target {
        iqn: TARGET.into(),
        alias: Some("The Disk".into()),
        redirect: sent.target,
        tpgs: vec![group],
    };
    let portal = "0.0.0.0:3260".parse().expect("an address");
    let redirects = sent.portal.into_iter().map(|redirect| (portal, redirect)).collect();
    Arc::new(Catalog {
        targets: vec![Arc::new(target)],
        discovery: Discovery { auth: auth(need), ..Discovery::default() }.into(),
        redirects,
        ..Catalog::default()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let _ = lead(&mut Unstructured::new(bytes));
});

struct Peer {
    request: LoginRequest,
    stat_sn: u32,
    /// What the target said last.
    heard: Vec<u8>,
    algorithm: Option<&'static str>,
    knows: bool,
    proved: bool,
    stage: u8,
}

fn lead(u: &mut Unstructured<'_>) -> Result<()> {
    let need = *u.choose(&[Need::Nothing, Need::Chap, Need::Mutual])?;
    let params =
        TpgParams { require_digests: u.ratio(1, 8)?, initial_r2t: u.arbitrary()?, ..TpgParams::default() };
    let sent = Sent::choose(u)?;
    let catalog = catalog(need, params, u.ratio(1, 2)?, sent);
    let (tpg_tag, cid) = (*u.choose(&[5, 5, 5, 6])?, *u.choose(&[0, 0, 0, 1])?);
    let known = move |name: &str, _, tsih| {
        let is_it = name == INITIATOR && tsih == 7;
        is_it.then(|| KnownSession { target: TARGET.into(), tpg_tag, cid })
    };
    let local = "192.0.2.1:3260".parse().expect("an address");
    let mut login = Login::new(catalog.clone(), local).with_sessions(known);
    let request = LoginRequest {
        tsih: u16::from(*u.choose(&[0u8, 0, 0, 7])?).into(),
        isid: [0x40, 1, 2, 3, 4, 5],
        cmd_sn: u.arbitrary::<u32>()?.into(),
        exp_stat_sn: u.arbitrary::<u32>()?.into(),
        ..LoginRequest::default()
    };
    let stat_sn = request.exp_stat_sn.get();
    let mut peer = Peer {
        request,
        stat_sn,
        heard: vec![],
        algorithm: None,
        knows: u.arbitrary()?,
        proved: false,
        stage: 0,
    };
    let mut seed = u.arbitrary::<u8>()?;
    for round in 0..REQUESTS_MAX + 2 {
        let text = peer.text(u, round == 0)?;
        peer.header(u)?;
        let reply = login.request(&peer.request, &text, &mut |buffer: &mut [u8]| {
            for byte in buffer {
                seed = seed.wrapping_mul(5).wrapping_add(113);
                *byte = seed;
            }
        });
        match reply {
            LoginReply::Continue(pdu) => peer.hear(&pdu, false),
            LoginReply::Refuse(pdu) => {
                peer.hear(&pdu, true);
                assert!(login.fault().is_some());
                let moved = LoginResponse::from_bhs(&pdu.bhs).status_class == 1;
                assert_eq!(moved, pdu.data.starts_with(b"TargetAddress="));
                assert!(!moved || sent.target.is_some() || sent.portal.is_some());
                // Over is over.
                let again = login.request(&peer.request, &[], &mut |_| ());
                assert!(matches!(again, LoginReply::Refuse(_)));
                return Ok(());
            }
            LoginReply::Done(pdu, mut established) => {
                peer.hear(&pdu, false);
                assert!(need == Need::Nothing || (peer.proved && peer.knows), "in without proof");
                assert_eq!(established.chap.is_some(), peer.proved);
                assert_eq!(established.stat_sn, peer.stat_sn);
                assert_eq!(established.exp_cmd_sn, peer.request.cmd_sn.get());
                let elsewhere = |r: Option<Redirect>| r.is_some_and(|r| r.moves(local));
                let discovers = established.target.is_none();
                assert!(
                    !elsewhere(sent.portal) && (discovers || !elsewhere(sent.target)),
                    "served, not sent on"
                );
                let tsih = peer.request.tsih.get();
                assert_eq!(established.joins, (tsih != 0).then_some(tsih));
                assert!(tsih == 0 || (tsih, tpg_tag, cid) == (7, 5, established.cid));
                let n = &established.negotiated;
                assert!(n.first_burst_length <= n.max_burst_length && n.first_burst_length <= 256 << 10);
                assert!(n.max_recv_data_segment_length <= 256 << 10 && n.max_xmit_data_segment_length >= 512);
                let text: &[u8] = u.arbitrary()?;
                let _ = discovery::answer(&catalog, &mut established, text);
                let _ = discovery::answer(&catalog, &mut established, b"SendTargets=All\0");
                return Ok(());
            }
        }
    }
    panic!("a login without an end");
}

impl Peer {
    /// Says the next thing; mostly what fits.
    fn text(&mut self, u: &mut Unstructured<'_>, first: bool) -> Result<Vec<u8>> {
        let mut out = TextWriter::new();
        if first && u.ratio(15, 16)? {
            out.pair("InitiatorName", INITIATOR);
            if u.ratio(15, 16)? {
                out.pair("TargetName", TARGET);
            }
        }
        if let Some(challenge) = self.challenge().filter(|_| self.stage == 0)
            && u.ratio(7, 8)?
        {
            let secret = if self.knows { "supersecret123" } else { "guess" };
            let expected = u.arbitrary::<bool>()?.then(|| credential("target-user", "another-secret"));
            let mut prover = Prover::new(credential("user", secret), expected);
            self.proved |= prover.answer(&challenge, &mut |b: &mut [u8]| b.fill(0xa5), &mut out).is_ok();
        }
        let mut text = out.into_bytes();
        for _ in 0..u.int_in_range(0..=4)? {
            if u.ratio(1, 32)? {
                text.extend_from_slice(u.arbitrary()?);
            } else {
                text.extend_from_slice(u.choose(SAID)?.as_bytes());
            }
            text.push(0);
        }
        if u.ratio(1, 64)? {
            text.resize(u.int_in_range(0..=DATA_MAX + 1)?, b'a');
        }
        Ok(text)
    }

    fn header(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let next = if u.ratio(1, 2)? { 3 } else { 1 };
        let transit = u.ratio(3, 4)? && next > self.stage;
        self.request.flags = self.stage << flags::CSG_SHIFT | if transit { flags::TRANSIT | next } else { 0 };
        if !transit && u.ratio(1, 8)? {
            self.request.flags |= flags::CONTINUE;
        }
        if u.ratio(1, 32)? {
            match u.int_in_range(0..=5)? {
                0 => self.request.flags = u.arbitrary()?,
                1 => self.request.version_min = u.arbitrary()?,
                2 => self.request.cid = u.arbitrary::<u16>()?.into(),
                3 => self.request.tsih = u.arbitrary::<u16>()?.into(),
                4 => self.request.isid = u.arbitrary()?,
                _ => self.request.itt = u.arbitrary::<u32>()?.into(),
            }
        }
        Ok(())
    }

    fn hear(&mut self, pdu: &Pdu, refused: bool) {
        let response = LoginResponse::from_bhs(&pdu.bhs);
        assert_eq!((response.opcode, response.itt), (0x23, self.request.itt));
        assert_eq!(response.data_len(), pdu.data.len());
        assert!(pdu.data.len() <= DATA_MAX);
        assert_eq!(response.status_class != 0, refused);
        assert_eq!(response.stat_sn.get(), self.stat_sn);
        assert!(response.flags & flags::TRANSIT == 0 || response.flags & flags::CONTINUE == 0);
        self.stat_sn = self.stat_sn.wrapping_add(1);
        if response.flags & flags::TRANSIT != 0 {
            assert!(self.request.flags & flags::TRANSIT != 0, "a transit that nobody asked for");
            self.stage = response.flags & flags::STAGE_MASK;
        }
        self.heard = pdu.data.clone();
        if let Some(a) = self.value("CHAP_A") {
            self.algorithm = ["5", "6", "7", "8"].into_iter().find(|n| *n == a);
        }
    }

    fn value(&self, key: &str) -> Option<&str> {
        pairs(&self.heard).filter_map(|p| p.ok()).find(|p| p.key == key).map(|p| p.value)
    }

    fn challenge(&self) -> Option<Challenge> {
        let algorithm = chap::by_number(self.algorithm?)?;
        Challenge::from_text(algorithm, self.value("CHAP_I")?, self.value("CHAP_C")?).ok()
    }
}

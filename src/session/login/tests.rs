//! Conversations, as an initiator would lead them.

mod authentication;
mod frames;
mod operational;

use super::*;
use crate::ids::LuId;
use crate::target::{Acl, Auth, Credential, Discovery, Lun, Target, Tpg, TpgParams};
use crate::wire::bhs::LoginResponse;
use crate::wire::codes::LoginStatus;
use crate::wire::text::pairs;

const LOCAL: &str = "192.0.2.1:3260";
const INITIATOR: &str = "iqn.2026-01.a.initiator:one";
const TARGET: &str = "iqn.2026-01.a.target:disk";

const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const TO_OPERATIONAL: u8 = flags::TRANSIT | 1;
const TO_FULL: u8 = flags::TRANSIT | 3;

fn credential(user: &str, secret: &str) -> Credential {
    Credential { user: user.into(), secret: secret.into() }
}

fn one_way() -> Auth {
    Auth { chap: vec![credential("user", "supersecret")], mutual: None }
}

fn mutual() -> Auth {
    Auth { mutual: Some(credential("target-user", "another-secret")), ..one_way() }
}

fn lun(lun: u16) -> Lun {
    Lun { lun, lu: LuId(7), read_only: false, group: 0 }
}

/// One target with one group: `INITIATOR` has an ACL with LUN 3; nobody else may come.
fn catalog(auth: Auth, params: TpgParams) -> Catalog {
    let group = Tpg {
        tag: 5,
        relative_port: 1,
        portals: vec!["0.0.0.0:3260".parse().unwrap()],
        params,
        luns: vec![lun(0)],
        acls: vec![Acl { initiator: INITIATOR.into(), auth, luns: vec![lun(3)], ..Acl::default() }],
        open: false,
        ..Tpg::default()
    };
    let elsewhere = Target {
        iqn: "iqn.2026-01.a.target:elsewhere".into(),
        alias: None,
        redirect: None,
        tpgs: vec![Tpg { portals: vec!["192.0.2.1:3261".parse().unwrap()], ..open_group() }],
    };
    let target =
        Target { iqn: TARGET.into(), alias: Some("The Disk".into()), redirect: None, tpgs: vec![group] };
    let removed = vec!["iqn.2026-01.a.target:gone".to_owned()];
    Catalog { targets: vec![Arc::new(elsewhere), Arc::new(target)], removed, ..Catalog::default() }
}

fn open_group() -> Tpg {
    Tpg { tag: 1, relative_port: 2, open: true, ..Tpg::default() }
}

/// An initiator that says what it is told to say, and checks the numbers of every answer.
struct Peer {
    login: Login,
    request: LoginRequest,
    seed: u8,
    next_stat_sn: u32,
}

/// An answer, taken apart.
struct Heard {
    reply: LoginReply,
    response: LoginResponse,
    text: Vec<(String, String)>,
}

impl Peer {
    fn new(catalog: Catalog) -> Self {
        let request = LoginRequest {
            isid: [0x40, 1, 2, 3, 4, 5],
            itt: 0x1234.into(),
            cid: 9.into(),
            cmd_sn: 100.into(),
            exp_stat_sn: 500.into(),
            ..LoginRequest::default()
        };
        let login = Login::new(Arc::new(catalog), LOCAL.parse().unwrap());
        Self { login, request, seed: 0, next_stat_sn: 500 }
    }

    fn open() -> Self {
        Self::new(catalog(Auth::default(), TpgParams::default()))
    }

    fn with_auth(auth: Auth) -> Self {
        Self::new(catalog(auth, TpgParams::default()))
    }

    /// Sends `text` (pairs end with `;`) in stage `csg` with the flag bits `bits`.
    fn say(&mut self, csg: u8, bits: u8, text: &str) -> Heard {
        self.raw(bits | csg << flags::CSG_SHIFT, text.replace(';', "\0").as_bytes())
    }

    fn raw(&mut self, flags: u8, data: &[u8]) -> Heard {
        self.request.flags = flags;
        let seed = &mut self.seed;
        let mut entropy = |buffer: &mut [u8]| {
            for byte in buffer {
                *seed = seed.wrapping_mul(5).wrapping_add(113);
                *byte = *seed;
            }
        };
        let reply = self.login.request(&self.request, data, &mut entropy);
        let heard = Heard::new(reply);
        heard.check(&self.request, self.next_stat_sn);
        self.next_stat_sn += 1;
        heard
    }

    /// Names, and the way into the operational stage or further.
    fn names(&mut self, csg: u8, bits: u8, more: &str) -> Heard {
        self.say(
            csg,
            bits,
            &format!("InitiatorName={INITIATOR};TargetName={TARGET};SessionType=Normal;{more}"),
        )
    }
}

impl Heard {
    fn new(reply: LoginReply) -> Self {
        let (LoginReply::Continue(pdu) | LoginReply::Done(pdu, _) | LoginReply::Refuse(pdu)) = &reply;
        let response = *LoginResponse::from_bhs(&pdu.bhs);
        assert_eq!(response.data_len(), pdu.data.len());
        assert!(pdu.data.len() <= DATA_MAX);
        let text = pairs(&pdu.data).filter_map(Result::ok).map(|p| (p.key.into(), p.value.into())).collect();
        Self { reply, response, text }
    }

    fn check(&self, request: &LoginRequest, stat_sn: u32) {
        let response = &self.response;
        assert_eq!((response.opcode, response.itt, response.isid), (0x23, request.itt, request.isid));
        assert_eq!((response.stat_sn.get(), response.exp_cmd_sn), (stat_sn, request.cmd_sn));
        let refused = matches!(self.reply, LoginReply::Refuse(_));
        assert_eq!(refused, self.status() != LoginStatus::SUCCESS);
    }

    fn status(&self) -> LoginStatus {
        LoginStatus::from_parts(self.response.status_class, self.response.status_detail)
    }

    fn get(&self, key: &str) -> &str {
        self.text.iter().find(|(k, _)| k == key).map_or("(absent)", |(_, v)| v)
    }

    fn done(self) -> (LoginResponse, Established) {
        let LoginReply::Done(_, established) = self.reply else { panic!("{:?}", self.reply) };
        (self.response, *established)
    }

    #[track_caller]
    fn refused(self, status: LoginStatus) {
        assert_eq!(self.status(), status);
        assert!(matches!(self.reply, LoginReply::Refuse(_)));
        assert!(self.text.is_empty() && self.response.flags & (flags::TRANSIT | flags::CONTINUE) == 0);
    }
}

//! Stages, versions, numbers, continuation, and bytes without sense.

use proptest::prelude::*;

use super::*;

#[test]
fn straight_to_full_feature() {
    let mut peer = Peer::open();
    let heard = peer.names(OPERATIONAL, TO_FULL, "");
    assert_eq!(heard.get("TargetPortalGroupTag"), "5");
    assert_eq!(heard.get("TargetAlias"), "The Disk");
    assert_eq!(heard.get("MaxRecvDataSegmentLength"), "262144");
    let (response, session) = heard.done();
    assert_eq!(response.flags, 0x87);
    assert_eq!(response.max_cmd_sn.get(), 100 + 255);
    assert_eq!((session.exp_cmd_sn, session.max_cmd_sn, session.stat_sn), (100, 355, 501));
    assert_eq!((session.isid, session.cid, session.itt), ([0x40, 1, 2, 3, 4, 5], 9, 0x1234));
    assert_eq!((session.initiator.as_str(), session.tpg), (INITIATOR, 0));
    assert_eq!(session.target.unwrap().iqn, TARGET);
    assert_eq!(session.luns, [lun(3)]);
}

#[test]
fn security_then_operational() {
    let mut peer = Peer::open();
    let heard = peer.names(SECURITY, TO_OPERATIONAL, "AuthMethod=None;");
    assert_eq!((heard.response.flags, heard.get("AuthMethod")), (0x81, "None"));
    let heard = peer.say(OPERATIONAL, TO_FULL, "HeaderDigest=CRC32C,None;MaxRecvDataSegmentLength=65536;");
    assert_eq!(heard.get("HeaderDigest"), "CRC32C");
    let (_, session) = heard.done();
    assert!(session.negotiated.header_digest && !session.negotiated.data_digest);
    assert_eq!(session.negotiated.max_xmit_data_segment_length, 65536);
    assert_eq!(session.negotiated.max_recv_data_segment_length, 262_144);
}

#[test]
fn security_straight_to_full_feature_keeps_the_defaults() {
    let (response, session) = Peer::open().names(SECURITY, TO_FULL, "AuthMethod=None;").done();
    assert_eq!(response.flags, 0x83);
    assert_eq!(session.negotiated.max_recv_data_segment_length, 8192);
    assert!(session.negotiated.initial_r2t);
}

#[test]
fn names_may_be_stated_again_but_not_changed() {
    let mut peer = Peer::open();
    peer.names(SECURITY, TO_OPERATIONAL, "AuthMethod=None;");
    peer.names(OPERATIONAL, TO_FULL, "InitiatorAlias=x;").done();
    let mut peer = Peer::open();
    peer.names(SECURITY, TO_OPERATIONAL, "AuthMethod=None;");
    peer.say(OPERATIONAL, TO_FULL, "TargetName=iqn.2026-01.a.target:elsewhere;")
        .refused(LoginStatus::INITIATOR_ERROR);
}

#[test]
fn missing_names() {
    let missing = LoginStatus::MISSING_PARAMETER;
    Peer::open().say(OPERATIONAL, TO_FULL, "").refused(missing);
    Peer::open().say(OPERATIONAL, TO_FULL, &format!("TargetName={TARGET};")).refused(missing);
    Peer::open().say(OPERATIONAL, TO_FULL, &format!("InitiatorName={INITIATOR};")).refused(missing);
}

#[test]
fn names_that_lead_nowhere() {
    let login = |initiator: &str, target: &str| {
        Peer::open().say(OPERATIONAL, TO_FULL, &format!("InitiatorName={initiator};TargetName={target};"))
    };
    login(INITIATOR, "iqn.2026-01.a.target:none").refused(LoginStatus::NOT_FOUND);
    login(INITIATOR, "iqn.2026-01.a.target:gone").refused(LoginStatus::TARGET_REMOVED);
    login(INITIATOR, "nonsense").refused(LoginStatus::NOT_FOUND);
    login(INITIATOR, "iqn.2026-01.a.target:elsewhere").refused(LoginStatus::NOT_FOUND);
    login("iqn.2026-01.a.initiator:two", TARGET).refused(LoginStatus::AUTHORIZATION_FAILURE);
    login("nonsense", TARGET).refused(LoginStatus::INITIATOR_ERROR);
    login(&INITIATOR.to_uppercase(), &TARGET.to_uppercase().replace("IQN", "iqn")).done();
}

#[test]
fn session_types() {
    let name = format!("InitiatorName={INITIATOR};");
    let (_, session) =
        Peer::open().say(OPERATIONAL, TO_FULL, &format!("{name}SessionType=Discovery;")).done();
    assert!(session.target.is_none() && session.luns.is_empty());
    assert_eq!(session.initiator, INITIATOR);
    Peer::open()
        .say(OPERATIONAL, TO_FULL, &format!("{name}SessionType=Magic;"))
        .refused(LoginStatus::SESSION_TYPE_NOT_SUPPORTED);
}

#[test]
fn versions() {
    let mut peer = Peer::open();
    (peer.request.version_min, peer.request.version_max) = (1, 2);
    peer.names(OPERATIONAL, TO_FULL, "").refused(LoginStatus::UNSUPPORTED_VERSION);
    let mut peer = Peer::open();
    peer.request.version_max = 7;
    let (response, _) = peer.names(OPERATIONAL, TO_FULL, "").done();
    assert_eq!((response.version_max, response.version_active), (0, 0));
}

#[test]
fn stages_out_of_order() {
    for (csg, bits) in [
        (2, 0),
        (3, 0),
        (SECURITY, flags::TRANSIT),
        (SECURITY, flags::TRANSIT | 2),
        (OPERATIONAL, flags::TRANSIT),
        (OPERATIONAL, TO_OPERATIONAL),
        (OPERATIONAL, TO_FULL | flags::CONTINUE),
    ] {
        Peer::open().names(csg, bits, "").refused(LoginStatus::INITIATOR_ERROR);
    }
    let mut peer = Peer::open();
    peer.names(SECURITY, TO_OPERATIONAL, "AuthMethod=None;");
    peer.say(SECURITY, TO_OPERATIONAL, "").refused(LoginStatus::INITIATOR_ERROR);
    assert!(matches!(peer.login.fault(), Some(Fault::WrongStage { .. })));
}

#[test]
fn without_the_t_bit_a_stage_goes_on() {
    let mut peer = Peer::open();
    assert_eq!(peer.names(OPERATIONAL, 0, "").response.flags, 0x04);
    assert_eq!(peer.say(OPERATIONAL, 0, "").response.flags, 0x04);
    peer.say(OPERATIONAL, TO_FULL, "").done();
}

#[test]
fn what_names_a_connection_may_not_change() {
    let changes: [fn(&mut LoginRequest); 3] =
        [|r| r.isid[5] = 1, |r| r.cid = 1.into(), |r| r.tsih = 1.into()];
    for change in changes {
        let mut peer = Peer::open();
        peer.names(OPERATIONAL, 0, "");
        change(&mut peer.request);
        peer.say(OPERATIONAL, TO_FULL, "").refused(LoginStatus::INITIATOR_ERROR);
    }
}

#[test]
fn a_tsih_asks_for_a_session_that_cannot_be_joined() {
    let mut peer = Peer::open();
    peer.request.tsih = 7.into();
    peer.names(OPERATIONAL, TO_FULL, "").refused(LoginStatus::SESSION_DOES_NOT_EXIST);
    let mut peer = Peer::open();
    peer.login = peer.login.with_sessions(known(TARGET, 5, 8));
    peer.request.tsih = 7.into();
    peer.names(OPERATIONAL, TO_FULL, "").refused(LoginStatus::TOO_MANY_CONNECTIONS);
    for (target, tag, status) in [
        ("iqn.2026-01.a.target:elsewhere", 5, LoginStatus::SESSION_DOES_NOT_EXIST),
        (TARGET, 6, LoginStatus::CANNOT_INCLUDE),
    ] {
        let mut peer = Peer::open();
        peer.login = peer.login.with_sessions(known(target, tag, 9));
        peer.request.tsih = 7.into();
        peer.names(OPERATIONAL, TO_FULL, "").refused(status);
    }
}

/// The session with handle 7 of the initiator of these tests.
fn known(
    target: &'static str,
    tpg_tag: u16,
    cid: u16,
) -> impl Fn(&str, [u8; 6], u16) -> Option<KnownSession> + Send {
    move |name, isid, tsih| {
        let is_it = (name, isid[0], tsih) == (INITIATOR, 0x40, 7);
        is_it.then(|| KnownSession { target: target.into(), tpg_tag, cid })
    }
}

/// Section 6.3.4: the same CID takes the place of its connection, and what the leading login has decided stays.
#[test]
fn a_connection_is_reinstated() {
    let mut peer = Peer::open();
    peer.login = peer.login.with_sessions(known(TARGET, 5, 9));
    peer.request.tsih = 7.into();
    let heard = peer.names(OPERATIONAL, TO_FULL, "MaxBurstLength=512;InitialR2T=Yes;HeaderDigest=CRC32C;");
    assert_eq!((heard.get("MaxBurstLength"), heard.get("InitialR2T")), ("Irrelevant", "Irrelevant"));
    assert_eq!((heard.get("HeaderDigest"), heard.get("MaxRecvDataSegmentLength")), ("CRC32C", "262144"));
    let (response, session) = heard.done();
    assert_eq!((response.tsih.get(), session.joins), (7, Some(7)));
}

#[test]
fn the_caller_names_the_session_or_refuses_it_after_all() {
    let LoginReply::Done(mut pdu, _) = Peer::open().names(OPERATIONAL, TO_FULL, "").reply else { panic!() };
    pdu.set_tsih(0x1234);
    assert_eq!(LoginResponse::from_bhs(&pdu.bhs).tsih, 0x1234);
    let refusal = Heard::new(LoginReply::Refuse(pdu.into_refusal(LoginStatus::OUT_OF_RESOURCES)));
    assert_eq!(refusal.response.stat_sn, 500);
    refusal.refused(LoginStatus::OUT_OF_RESOURCES);
    let outright = refuse(&Peer::open().request, LoginStatus::SERVICE_UNAVAILABLE);
    Heard::new(LoginReply::Refuse(outright)).refused(LoginStatus::SERVICE_UNAVAILABLE);
}

#[test]
fn a_login_is_over_only_once() {
    let mut peer = Peer::open();
    peer.names(OPERATIONAL, TO_FULL, "").done();
    peer.say(OPERATIONAL, TO_FULL, "").refused(LoginStatus::INVALID_DURING_LOGIN);
}

#[test]
fn a_text_in_pieces() {
    let text = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0");
    let mut peer = Peer::open();
    for piece in text.as_bytes().chunks(10) {
        let heard = peer.raw(flags::CONTINUE | OPERATIONAL << flags::CSG_SHIFT, piece);
        assert_eq!((heard.response.flags, heard.text.len()), (0x04, 0));
    }
    peer.say(OPERATIONAL, TO_FULL, "").done();
}

/// Unknown keys by the score: their answer does not fit one PDU.
fn many_unknown() -> String {
    (0..250).map(|n| format!("X-com.example.a-rather-long-key-name.{n:03}=1;")).collect()
}

#[test]
fn an_answer_in_pieces() {
    let mut peer = Peer::open();
    peer.names(OPERATIONAL, 0, "");
    let unknown = many_unknown();
    let (first, second) = unknown.split_at(DATA_MAX);
    peer.say(OPERATIONAL, flags::CONTINUE, first);
    let mut heard = peer.say(OPERATIONAL, TO_FULL, second);
    let mut text = Vec::new();
    while let LoginReply::Continue(pdu) = &heard.reply {
        assert_eq!(heard.response.flags, 0x44);
        text.extend_from_slice(&pdu.data);
        heard = peer.say(OPERATIONAL, TO_FULL, "");
    }
    let LoginReply::Done(pdu, _) = &heard.reply else { panic!() };
    text.extend_from_slice(&pdu.data);
    let answers: Vec<_> = pairs(&text).map(Result::unwrap).filter(|p| p.value == "NotUnderstood").collect();
    assert_eq!(answers.len(), 250);
}

#[test]
fn new_text_does_not_interrupt_an_answer() {
    let mut peer = Peer::open();
    peer.names(OPERATIONAL, 0, "");
    let unknown = many_unknown();
    let (first, second) = unknown.split_at(DATA_MAX);
    peer.say(OPERATIONAL, flags::CONTINUE, first);
    peer.say(OPERATIONAL, TO_FULL, second);
    peer.say(OPERATIONAL, TO_FULL, "A=1;").refused(LoginStatus::INITIATOR_ERROR);
}

#[test]
fn limits() {
    let refused = LoginStatus::INITIATOR_ERROR;
    Peer::open().raw(0x04, &vec![b'a'; DATA_MAX + 1]).refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, &"a=1;".repeat(300)).refused(refused);
    let mut peer = Peer::open();
    for _ in 0..8 {
        assert_eq!(peer.raw(flags::CONTINUE | 0x04, &vec![b'a'; DATA_MAX]).status(), LoginStatus::SUCCESS);
    }
    peer.raw(flags::CONTINUE | 0x04, b"a").refused(refused);
    let mut peer = Peer::open();
    for _ in 0..REQUESTS_MAX {
        assert_eq!(peer.raw(flags::CONTINUE | 0x04, b"").status(), LoginStatus::SUCCESS);
    }
    peer.raw(flags::CONTINUE | 0x04, b"").refused(refused);
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let item = prop_oneof![
        Just(format!("InitiatorName={INITIATOR}\0").into_bytes()),
        Just(format!("TargetName={TARGET}\0").into_bytes()),
        (0..crate::session::keys::TABLE.len(), "[ -~]{0,12}").prop_map(|(row, value)| format!(
            "{}={value}\0",
            crate::session::keys::TABLE[row].name
        )
        .into_bytes()),
        Just(b"AuthMethod=CHAP,None\0CHAP_A=5,6,7,8\0".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..30),
    ];
    proptest::collection::vec(item, 0..6).prop_map(|items| items.concat())
}

proptest! {
    #[test]
    fn any_requests_are_survived(
        guarded: bool,
        requests in proptest::collection::vec((any::<u8>(), any_text(), prop::bool::weighted(0.9)), 1..12),
    ) {
        let auth = if guarded { mutual() } else { Auth::default() };
        let mut peer = Peer::with_auth(auth);
        for (flags, text, tame) in requests {
            let flags = if tame { peer.login.stage.0 << flags::CSG_SHIFT | flags & 0xc3 } else { flags };
            let heard = peer.raw(flags, &text);
            let done = matches!(heard.reply, LoginReply::Done(..));
            prop_assert!(!(guarded && done), "nobody knows the secret");
            if !matches!(heard.reply, LoginReply::Continue(_)) {
                break;
            }
        }
    }
}

//! Keys of the operational stage as initiators of the field offer them.

use super::*;
use crate::session::keys::{SessionType, TaskReporting};

/// What the Linux kernel's initiator offers for a normal session.
const LINUX: &str = "HeaderDigest=None;DataDigest=None;DefaultTime2Wait=2;DefaultTime2Retain=0;IFMarker=No;OFMarker=No;\
    ErrorRecoveryLevel=0;InitialR2T=No;ImmediateData=Yes;MaxBurstLength=16776192;FirstBurstLength=262144;\
    MaxOutstandingR2T=1;MaxConnections=1;DataPDUInOrder=Yes;DataSequenceInOrder=Yes;MaxRecvDataSegmentLength=262144;";

#[test]
fn the_linux_initiator() {
    let mut peer = Peer::open();
    peer.names(SECURITY, TO_OPERATIONAL, "InitiatorAlias=host;AuthMethod=None;");
    let heard = peer.say(OPERATIONAL, TO_FULL, LINUX);
    for (key, value) in [
        ("HeaderDigest", "None"),
        ("DefaultTime2Wait", "2"),
        ("OFMarker", "No"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "16776192"),
        ("FirstBurstLength", "262144"),
        ("MaxOutstandingR2T", "1"),
        ("MaxRecvDataSegmentLength", "262144"),
    ] {
        assert_eq!(heard.get(key), value, "{key}");
    }
    let n = heard.done().1.negotiated;
    assert_eq!((n.max_burst_length, n.first_burst_length), (16_776_192, 262_144));
    assert!(!n.initial_r2t && n.immediate_data);
    assert_eq!(n.max_xmit_data_segment_length, 262_144);
    assert_eq!(n.initiator_alias.as_deref(), Some("host"));
    assert_eq!((n.initiator_name.as_str(), n.target_name.as_deref()), (INITIATOR, Some(TARGET)));
    assert_eq!((n.session_type, n.task_reporting), (SessionType::Normal, TaskReporting::Rfc3720));
}

#[test]
fn keys_nobody_knows() {
    let mut peer = Peer::open();
    let heard = peer.names(
        OPERATIONAL,
        TO_FULL,
        "X-com.example.magic=1;Y=2;Z=NotUnderstood;X#NodeArchitecture=pdp11;",
    );
    assert_eq!((heard.get("X-com.example.magic"), heard.get("Y")), ("NotUnderstood", "NotUnderstood"));
    assert_eq!((heard.get("Z"), heard.get("X#NodeArchitecture")), ("(absent)", "(absent)"));
    heard.done();
}

#[test]
fn an_alias_is_for_people() {
    for (said, shown) in [
        ("host\nlogin initiator=root", "host\u{fffd}login initiator=root"),
        ("\u{1b}[2Jhost\u{9b}2J", "\u{fffd}[2Jhost\u{fffd}2J"),
        ("linux\n", "linux"),
        ("B\u{fc}ro 7 (fr\u{fc}her: 5)", "B\u{fc}ro 7 (fr\u{fc}her: 5)"),
    ] {
        let mut peer = Peer::open();
        let heard = peer.names(OPERATIONAL, TO_FULL, &format!("InitiatorAlias={said};"));
        assert_eq!(heard.done().1.negotiated.initiator_alias.as_deref(), Some(shown));
    }
}

#[test]
fn keys_twice() {
    let refused = LoginStatus::INITIATOR_ERROR;
    Peer::open().names(OPERATIONAL, TO_FULL, "InitialR2T=No;InitialR2T=No;").refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, &format!("TargetName={TARGET};")).refused(refused);
    let mut peer = Peer::open();
    peer.names(OPERATIONAL, 0, "MaxBurstLength=1024;");
    peer.say(OPERATIONAL, TO_FULL, "MaxBurstLength=2048;").refused(refused);
    assert!(peer.login.fault().unwrap().to_string().contains("MaxBurstLength"));
}

#[test]
fn keys_out_of_place() {
    let refused = LoginStatus::INITIATOR_ERROR;
    Peer::open().names(SECURITY, TO_OPERATIONAL, "InitialR2T=No;").refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, "AuthMethod=None;").refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, "SendTargets=All;").refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, "TargetAlias=mine;").refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, "TargetAlias=NotUnderstood;").done();
    Peer::open().names(OPERATIONAL, TO_FULL, "MaxRecvDataSegmentLength=1;").refused(refused);
    Peer::open().names(OPERATIONAL, TO_FULL, "no equals sign;").refused(refused);
}

#[test]
fn an_illegal_offer_is_rejected_and_the_default_stays() {
    let heard = Peer::open().names(OPERATIONAL, TO_FULL, "MaxBurstLength=12;ErrorRecoveryLevel=3;");
    assert_eq!((heard.get("MaxBurstLength"), heard.get("ErrorRecoveryLevel")), ("Reject", "Reject"));
    assert_eq!(heard.done().1.negotiated.max_burst_length, 262_144);
}

#[test]
fn the_target_offers_what_it_cannot_leave_to_defaults() {
    let params = TpgParams { immediate_data: false, ..TpgParams::default() };
    let mut peer = Peer::new(catalog(Auth::default(), params));
    let heard = peer.names(OPERATIONAL, TO_FULL, "");
    assert_eq!((heard.response.flags, heard.get("ImmediateData")), (0x04, "No"));
    let heard = peer.say(OPERATIONAL, TO_FULL, "ImmediateData=No;");
    assert!(heard.text.is_empty());
    assert!(!heard.done().1.negotiated.immediate_data);
}

#[test]
fn an_offer_of_the_target_cannot_be_passed_over() {
    let params = TpgParams { require_digests: true, ..TpgParams::default() };
    let mut peer = Peer::new(catalog(Auth::default(), params.clone()));
    assert_eq!(peer.names(OPERATIONAL, TO_FULL, "").get("DataDigest"), "CRC32C");
    peer.say(OPERATIONAL, TO_FULL, "").refused(LoginStatus::INITIATOR_ERROR);
    let mut peer = Peer::new(catalog(Auth::default(), params));
    let n =
        peer.names(OPERATIONAL, TO_FULL, "HeaderDigest=None,CRC32C;DataDigest=CRC32C;").done().1.negotiated;
    assert!(n.header_digest && n.data_digest);
}

#[test]
fn discovery_is_asked_for_little() {
    let mut peer = Peer::open();
    let heard = peer.say(
        OPERATIONAL,
        TO_FULL,
        &format!("InitiatorName={INITIATOR};SessionType=Discovery;MaxBurstLength=512;HeaderDigest=None;"),
    );
    assert_eq!((heard.get("MaxBurstLength"), heard.get("HeaderDigest")), ("Irrelevant", "None"));
    assert_eq!(heard.get("TargetPortalGroupTag"), "(absent)");
    assert_eq!(heard.done().1.negotiated.session_type, SessionType::Discovery);
}

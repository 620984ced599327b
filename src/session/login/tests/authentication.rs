//! CHAP, led by a real prover.

use super::*;
use crate::session::chap::{self, Challenge, ChapError, Prover};

const ALGORITHMS: [ChapAlgorithm; 4] =
    [ChapAlgorithm::Md5, ChapAlgorithm::Sha1, ChapAlgorithm::Sha256, ChapAlgorithm::Sha3_256];

/// Leads a login to the point where CHAP_N and CHAP_R are due.
fn challenged(peer: &mut Peer, algorithm: ChapAlgorithm) -> Challenge {
    let heard = peer.names(SECURITY, TO_OPERATIONAL, "AuthMethod=CHAP,None;");
    assert_eq!((heard.response.flags, heard.get("AuthMethod")), (0, "CHAP"));
    assert_eq!(heard.get("TargetPortalGroupTag"), "5");
    algorithm_agreed(peer, algorithm)
}

fn algorithm_agreed(peer: &mut Peer, algorithm: ChapAlgorithm) -> Challenge {
    let heard = peer.say(SECURITY, TO_OPERATIONAL, &format!("CHAP_A={};", chap::number(algorithm)));
    assert_eq!(
        (heard.response.flags, heard.get("CHAP_A")),
        (0, chap::number(algorithm).to_string().as_str())
    );
    Challenge::from_text(algorithm, heard.get("CHAP_I"), heard.get("CHAP_C")).unwrap()
}

fn prove(prover: &mut Prover, challenge: &Challenge) -> Vec<u8> {
    let mut out = TextWriter::new();
    prover.answer(challenge, &mut |b| b.fill(0xa5), &mut out).unwrap();
    out.into_bytes()
}

#[test]
fn one_way_with_every_algorithm() {
    for algorithm in ALGORITHMS {
        let mut peer = Peer::with_auth(one_way());
        let challenge = challenged(&mut peer, algorithm);
        let text = prove(&mut Prover::new(credential("user", "supersecret"), None), &challenge);
        let heard = peer.raw(TO_OPERATIONAL, &text);
        assert_eq!((heard.response.flags, heard.text.len()), (0x81, 0));
        assert_eq!(peer.say(OPERATIONAL, TO_FULL, "").done().1.chap, Some(algorithm));
    }
}

#[test]
fn mutual_with_every_algorithm() {
    for algorithm in ALGORITHMS {
        let mut peer = Peer::with_auth(mutual());
        let challenge = challenged(&mut peer, algorithm);
        let expected = Some(credential("target-user", "another-secret"));
        let mut prover = Prover::new(credential("user", "supersecret"), expected);
        let text = prove(&mut prover, &challenge);
        let heard = peer.raw(TO_FULL, &text);
        assert_eq!(prover.check(Some(heard.get("CHAP_N")), Some(heard.get("CHAP_R"))), Ok(()));
        heard.done();
    }
}

#[test]
fn wrong_secret_and_unknown_user() {
    for shown in
        [credential("user", "supersecreT"), credential("stranger", "supersecret"), credential("", "")]
    {
        let mut peer = Peer::with_auth(mutual());
        let challenge = challenged(&mut peer, ChapAlgorithm::Md5);
        let text = prove(&mut Prover::new(shown, None), &challenge);
        peer.raw(TO_OPERATIONAL, &text).refused(LoginStatus::AUTHENTICATION_FAILURE);
        assert_eq!(peer.login.fault(), Some(&Fault::Chap(ChapError::WrongAnswer)));
        assert_eq!(peer.login.initiator(), Some(INITIATOR), "for the log");
    }
}

#[test]
fn our_own_challenge_is_not_answered() {
    let mut peer = Peer::with_auth(mutual());
    let challenge = challenged(&mut peer, ChapAlgorithm::Sha256);
    let mut out = TextWriter::new();
    Prover::new(credential("user", "supersecret"), None).answer(&challenge, &mut |_| {}, &mut out).unwrap();
    challenge.write(&mut out);
    peer.raw(TO_OPERATIONAL, &out.into_bytes()).refused(LoginStatus::AUTHENTICATION_FAILURE);
    assert_eq!(peer.login.fault(), Some(&Fault::Chap(ChapError::Reflected)));
}

#[test]
fn mutual_must_be_configured_and_with_another_secret() {
    let same = Auth { mutual: Some(credential("target-user", "supersecret")), ..one_way() };
    for (auth, error) in [(one_way(), ChapError::NoMutual), (same, ChapError::SameSecret)] {
        let mut peer = Peer::with_auth(auth);
        let challenge = challenged(&mut peer, ChapAlgorithm::Md5);
        let mut prover = Prover::new(credential("user", "supersecret"), Some(credential("t", "other")));
        let text = prove(&mut prover, &challenge);
        peer.raw(TO_OPERATIONAL, &text).refused(LoginStatus::AUTHENTICATION_FAILURE);
        assert_eq!(peer.login.fault(), Some(&Fault::Chap(error)));
    }
}

#[test]
fn required_authentication_cannot_be_passed_over() {
    let refused = LoginStatus::AUTHENTICATION_FAILURE;
    Peer::with_auth(one_way()).names(OPERATIONAL, TO_FULL, "").refused(refused);
    Peer::with_auth(one_way()).names(SECURITY, TO_OPERATIONAL, "").refused(refused);
    Peer::with_auth(one_way()).names(SECURITY, TO_OPERATIONAL, "AuthMethod=None;").refused(refused);
    Peer::with_auth(one_way()).names(SECURITY, TO_OPERATIONAL, "AuthMethod=KRB5,SRP;").refused(refused);
    let mut peer = Peer::with_auth(one_way());
    challenged(&mut peer, ChapAlgorithm::Md5);
    peer.say(SECURITY, TO_OPERATIONAL, "").refused(refused);
    let mut peer = Peer::with_auth(one_way());
    challenged(&mut peer, ChapAlgorithm::Md5);
    peer.say(OPERATIONAL, TO_FULL, "").refused(LoginStatus::INITIATOR_ERROR);
}

#[test]
fn where_nothing_is_required_none_is_chosen() {
    let heard = Peer::open().names(SECURITY, TO_OPERATIONAL, "AuthMethod=CHAP,None;");
    assert_eq!((heard.get("AuthMethod"), heard.response.flags), ("None", 0x81));
    Peer::open()
        .names(SECURITY, TO_OPERATIONAL, "AuthMethod=CHAP;")
        .refused(LoginStatus::AUTHENTICATION_FAILURE);
}

#[test]
fn only_allowed_algorithms() {
    let params = TpgParams { chap_algorithms: vec![ChapAlgorithm::Sha256], ..TpgParams::default() };
    let mut peer = Peer::new(catalog(one_way(), params));
    peer.names(SECURITY, 0, "AuthMethod=CHAP;");
    assert_eq!(peer.say(SECURITY, 0, "CHAP_A=5,6,7,8;").get("CHAP_A"), "7");
    let params = TpgParams { chap_algorithms: vec![ChapAlgorithm::Sha3_256], ..TpgParams::default() };
    let mut peer = Peer::new(catalog(one_way(), params));
    peer.names(SECURITY, 0, "AuthMethod=CHAP;");
    peer.say(SECURITY, 0, "CHAP_A=5;").refused(LoginStatus::AUTHENTICATION_FAILURE);
}

#[test]
fn steps_out_of_turn() {
    let refused = LoginStatus::INITIATOR_ERROR;
    Peer::with_auth(one_way()).names(SECURITY, 0, "CHAP_A=5;").refused(refused);
    Peer::with_auth(one_way())
        .names(SECURITY, 0, "AuthMethod=CHAP;CHAP_N=user;CHAP_R=0x00;")
        .refused(refused);
    let mut peer = Peer::with_auth(one_way());
    challenged(&mut peer, ChapAlgorithm::Md5);
    peer.say(SECURITY, 0, "CHAP_A=5;").refused(refused);
    let mut peer = Peer::with_auth(one_way());
    challenged(&mut peer, ChapAlgorithm::Md5);
    peer.say(SECURITY, 0, "AuthMethod=None;").refused(refused);
}

#[test]
fn malformed_proofs() {
    for proof in
        ["CHAP_N=user;", "CHAP_R=0x00;", "CHAP_N=user;CHAP_R=0x00;", "CHAP_N=user;CHAP_R=zz;", "CHAP_I=1;"]
    {
        let mut peer = Peer::with_auth(mutual());
        challenged(&mut peer, ChapAlgorithm::Md5);
        peer.say(SECURITY, TO_OPERATIONAL, proof).refused(LoginStatus::AUTHENTICATION_FAILURE);
    }
}

#[test]
fn discovery_has_its_own_credentials() {
    let guarded = || Catalog {
        discovery: Discovery { auth: one_way(), ..Discovery::default() }.into(),
        ..catalog(Auth::default(), TpgParams::default())
    };
    let names = format!("InitiatorName={INITIATOR};SessionType=Discovery;");
    Peer::new(guarded()).say(OPERATIONAL, TO_FULL, &names).refused(LoginStatus::AUTHENTICATION_FAILURE);
    let mut peer = Peer::new(guarded());
    peer.say(SECURITY, 0, &format!("{names}AuthMethod=CHAP;"));
    let challenge = algorithm_agreed(&mut peer, ChapAlgorithm::Sha1);
    let text = prove(&mut Prover::new(credential("user", "supersecret"), None), &challenge);
    assert!(peer.raw(TO_FULL, &text).done().1.target.is_none());
}

use proptest::prelude::*;

use super::*;
use crate::wire::text::pairs;

const ALL: [ChapAlgorithm; 4] =
    [ChapAlgorithm::Md5, ChapAlgorithm::Sha1, ChapAlgorithm::Sha256, ChapAlgorithm::Sha3_256];

fn credential(user: &str, secret: &str) -> Credential {
    Credential { user: user.into(), secret: secret.into() }
}

fn auth() -> Auth {
    Auth {
        chap: vec![credential("other", "other-secret"), credential("user", "supersecret")],
        mutual: Some(credential("target", "another-secret")),
    }
}

/// Entropy that counts up from `start`.
fn counting(mut start: u8) -> impl FnMut(&mut [u8]) {
    move |buffer| {
        for byte in buffer {
            *byte = start;
            start = start.wrapping_add(1);
        }
    }
}

fn value(text: &[u8], key: &str) -> Option<String> {
    pairs(text).map(Result::unwrap).find(|p| p.key == key).map(|p| p.value.to_owned())
}

#[test]
fn responses_as_calculated_elsewhere() {
    // python: hashlib.new(name, bytes([0x27]) + b"supersecret-sample" + bytes(range(0x10, 0x20)))
    let expected = [
        "46b91892de42c79e58b7689b528d13a9",
        "3d542db4d575ad5141063b506837cd7fca0cf851",
        "1d83b6118ba0980247bb763b3901ac8e81d88b2f091317d4d776b3bc8b805125",
        "255e83ef6d1a09bac681074fc34abcbfd8b160f43bfab9ef626ec1eced390d5e",
    ];
    for (algorithm, hex) in ALL.into_iter().zip(expected) {
        for challenge in ["0x101112131415161718191a1b1c1d1e1f", "0bEBESExQVFhcYGRobHB0eHw=="] {
            let challenge = Challenge::from_text(algorithm, "0x27", challenge).unwrap();
            assert_eq!(encode_hex(&challenge.response(&"supersecret-sample".into())), format!("0x{hex}"));
        }
    }
}

#[test]
fn the_initiators_order_decides_among_the_allowed() {
    assert_eq!(choose("5,7", &ALL), Ok(ChapAlgorithm::Md5));
    assert_eq!(choose("5,7", &[ChapAlgorithm::Sha256]), Ok(ChapAlgorithm::Sha256));
    assert_eq!(choose("99,x,,8", &ALL), Ok(ChapAlgorithm::Sha3_256));
    assert_eq!(choose("5", &[ChapAlgorithm::Sha1]), Err(ChapError::NoCommonAlgorithm));
    assert_eq!(choose("", &ALL), Err(ChapError::NoCommonAlgorithm));
}

#[test]
fn both_directions_with_every_algorithm() {
    for algorithm in ALL {
        let challenge = Challenge::fresh(algorithm, &mut counting(1));
        let mut prover =
            Prover::new(credential("user", "supersecret"), Some(credential("target", "another-secret")));
        let mut shown = TextWriter::new();
        prover.answer(&challenge, &mut counting(99), &mut shown).unwrap();
        let shown = shown.into_bytes();
        let [name, response, identifier, theirs] =
            ["CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"].map(|key| value(&shown, key).unwrap());
        let proof = Proof {
            name: Some(&name),
            response: Some(&response),
            identifier: Some(&identifier),
            challenge: Some(&theirs),
        };
        let mut back = TextWriter::new();
        judge(&challenge, &proof, &auth(), &(), &mut back).unwrap();
        let back = back.into_bytes();
        let (name, response) = (value(&back, "CHAP_N").unwrap(), value(&back, "CHAP_R").unwrap());
        assert_eq!(prover.check(Some(&name), Some(&response)), Ok(()));
        assert_eq!(prover.check(Some("stranger"), Some(&response)), Err(ChapError::WrongAnswer));
        assert_eq!(prover.check(Some(&name), None), Err(ChapError::Missing("CHAP_R")));
    }
}

fn proof_by(challenge: &Challenge, secret: &str) -> String {
    encode_hex(&challenge.response(&secret.into()))
}

#[test]
fn an_empty_secret_proves_nobody() {
    let challenge = Challenge::fresh(ChapAlgorithm::Sha256, &mut counting(1));
    for user in ["user", ""] {
        let half = Auth { chap: vec![credential(user, "")], mutual: None };
        let response = proof_by(&challenge, "");
        let proof = Proof { name: Some(user), response: Some(&response), ..Proof::default() };
        let verdict = judge(&challenge, &proof, &half, &(), &mut TextWriter::new());
        assert!(half.required() && verdict == Err(ChapError::WrongAnswer), "{user}");
    }
}

#[test]
fn wrong_secret_and_unknown_user_are_one_error() {
    let challenge = Challenge::fresh(ChapAlgorithm::Sha256, &mut counting(1));
    let verdict = |name, secret| {
        let response = proof_by(&challenge, secret);
        let proof = Proof { name: Some(name), response: Some(&response), ..Proof::default() };
        judge(&challenge, &proof, &auth(), &(), &mut TextWriter::new())
    };
    assert_eq!(verdict("user", "supersecret"), Ok(()));
    assert_eq!(verdict("user", "other-secret"), Err(ChapError::WrongAnswer));
    assert_eq!(verdict("nobody", "supersecret"), Err(ChapError::WrongAnswer));
}

#[test]
fn a_reflected_challenge_is_refused() {
    let challenge = Challenge::fresh(ChapAlgorithm::Md5, &mut counting(1));
    let (response, ours) = (proof_by(&challenge, "supersecret"), encode_hex(&challenge.bytes));
    let proof = Proof {
        name: Some("user"),
        response: Some(&response),
        identifier: Some("77"),
        challenge: Some(&ours),
    };
    let mut out = TextWriter::new();
    assert_eq!(judge(&challenge, &proof, &auth(), &(), &mut out), Err(ChapError::Reflected));
    assert!(out.is_empty());
}

#[test]
fn one_secret_for_both_directions_is_refused() {
    let challenge = Challenge::fresh(ChapAlgorithm::Md5, &mut counting(1));
    let response = proof_by(&challenge, "supersecret");
    let proof = Proof {
        name: Some("user"),
        response: Some(&response),
        identifier: Some("1"),
        challenge: Some("0x00112233445566778899aabbccddeeff"),
    };
    let same = Auth { mutual: Some(credential("target", "supersecret")), ..auth() };
    let none = Auth { mutual: None, ..auth() };
    assert_eq!(judge(&challenge, &proof, &same, &(), &mut TextWriter::new()), Err(ChapError::SameSecret));
    assert_eq!(judge(&challenge, &proof, &none, &(), &mut TextWriter::new()), Err(ChapError::NoMutual));
    let mut prover = Prover::new(credential("u", "same"), Some(credential("t", "same")));
    let refused = prover.answer(&challenge, &mut counting(3), &mut TextWriter::new());
    assert_eq!(refused, Err(ChapError::SameSecret));
}

#[test]
fn binary_values_and_their_limit() {
    assert_eq!(decode_binary("0xAbCd", 2), Some(vec![0xab, 0xcd]));
    assert_eq!(decode_binary("0bq80=", 2), Some(vec![0xab, 0xcd]));
    assert_eq!(decode_binary("0bq80", 2), Some(vec![0xab, 0xcd]));
    for bad in ["", "0", "0x1", "0xgg", "0b*", "abcd", "0xabcdef", "0bq83v", "ä"] {
        assert_eq!(decode_binary(bad, 2), None, "{bad}");
    }
    let longest = encode_hex(&[7; CHALLENGE_MAX]);
    assert!(Challenge::from_text(ChapAlgorithm::Md5, "0", &longest).is_ok());
    let too_long = Challenge::from_text(ChapAlgorithm::Md5, "0", &format!("{longest}07"));
    assert_eq!(too_long.unwrap_err(), ChapError::Malformed("CHAP_C"));
    assert_eq!(
        Challenge::from_text(ChapAlgorithm::Md5, "256", "0x01").unwrap_err(),
        ChapError::Malformed("CHAP_I")
    );
}

proptest! {
    #[test]
    fn binary_values_survive(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(decode_binary(&encode_hex(&bytes), 100), Some(bytes.clone()));
        prop_assert_eq!(decode_binary(&format!("0b{}", BASE64.encode(&bytes)), 100), Some(bytes));
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,60}") {
        let _ = (decode_binary(&text, 20), by_number(&text), choose(&text, &ALL));
    }
}

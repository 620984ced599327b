//! CHAP (RFC 7143 section 12.1.3, RFC 1994): challenges, responses and what makes one acceptable.
//!
//! Pure: challenges come from entropy that the caller passes in. Secrets are read here and nowhere
//! kept; they are compared in constant time, and how long a refusal takes does not tell whether the
//! user exists.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::Digest;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

use super::keys::negotiate::parse_number;
use crate::target::{Auth, ChapAlgorithm, Credential};
use crate::wire::text::TextWriter;

/// The longest CHAP_C that is taken, binary (section 12.1.3), bytes.
pub const CHALLENGE_MAX: usize = 1024;

/// The shortest challenge that is worth the name; shorter ones can be collected and replayed.
const CHALLENGE_MIN: usize = 16;

/// Where the random bytes come from.
pub type Entropy<'a> = dyn FnMut(&mut [u8]) + 'a;

/// Why an authentication did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChapError {
    /// Nothing in the offered CHAP_A is allowed.
    #[error("no CHAP algorithm in common")]
    NoCommonAlgorithm,
    /// A key that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value does not parse or is of an impossible length.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// An unknown user or a wrong response: deliberately one error.
    #[error("unknown user or wrong secret")]
    WrongAnswer,
    /// The peer's challenge is our own, sent back to be answered by us.
    #[error("a challenge of our own came back")]
    Reflected,
    /// Both directions have one secret, so that either side could answer for the other.
    #[error("both directions use the same secret")]
    SameSecret,
    /// The initiator wants the target to prove itself, and there is nothing to prove it with.
    #[error("the initiator asks for mutual authentication, which is not configured")]
    NoMutual,
}

/// The challenges that are out on all connections: none is answered that comes back, on whichever (section 9.2.1).
pub trait Outstanding: Send {
    /// This one is put to an initiator.
    fn issue(&self, challenge: &[u8]);
    /// Whether this was put to somebody lately.
    fn is_out(&self, challenge: &[u8]) -> bool;
}

/// Of one that stands alone.
impl Outstanding for () {
    fn issue(&self, _challenge: &[u8]) {}

    fn is_out(&self, _challenge: &[u8]) -> bool {
        false
    }
}

/// One hash, by its IANA number.
struct Hash {
    algorithm: ChapAlgorithm,
    number: u8,
    /// Bytes of a response.
    len: usize,
    of: fn(&[&[u8]]) -> Vec<u8>,
}

static HASHES: [Hash; 4] = [
    Hash { algorithm: ChapAlgorithm::Md5, number: 5, len: 16, of: digest::<md5::Md5> },
    Hash { algorithm: ChapAlgorithm::Sha1, number: 6, len: 20, of: digest::<sha1::Sha1> },
    Hash { algorithm: ChapAlgorithm::Sha256, number: 7, len: 32, of: digest::<sha2::Sha256> },
    Hash { algorithm: ChapAlgorithm::Sha3_256, number: 8, len: 32, of: digest::<sha3::Sha3_256> },
];

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
}

fn hash_of(algorithm: ChapAlgorithm) -> &'static Hash {
    match algorithm {
        ChapAlgorithm::Md5 => &HASHES[0],
        ChapAlgorithm::Sha1 => &HASHES[1],
        ChapAlgorithm::Sha256 => &HASHES[2],
        ChapAlgorithm::Sha3_256 => &HASHES[3],
    }
}

/// The number that CHAP_A shows for `algorithm`.
pub fn number(algorithm: ChapAlgorithm) -> u8 {
    hash_of(algorithm).number
}

/// The algorithm of a CHAP_A number as text.
pub fn by_number(text: &str) -> Option<ChapAlgorithm> {
    let number = parse_number(text)?;
    HASHES.iter().find(|h| u32::from(h.number) == number).map(|h| h.algorithm)
}

/// The first of the offered CHAP_A list that is `allowed` (section 6.2.1).
pub fn choose(offered: &str, allowed: &[ChapAlgorithm]) -> Result<ChapAlgorithm, ChapError> {
    offered.split(',').filter_map(by_number).find(|a| allowed.contains(a)).ok_or(ChapError::NoCommonAlgorithm)
}

/// A challenge, and all that a response to it depends on but the secret.
#[derive(Clone, Debug)]
pub struct Challenge {
    algorithm: ChapAlgorithm,
    identifier: u8,
    bytes: Vec<u8>,
}

impl Challenge {
    /// A new one, as long as the algorithm's digest.
    pub fn fresh(algorithm: ChapAlgorithm, entropy: &mut Entropy<'_>) -> Self {
        let mut bytes = vec![0; hash_of(algorithm).len.max(CHALLENGE_MIN)];
        let mut identifier = [0];
        entropy(&mut bytes);
        entropy(&mut identifier);
        Self { algorithm, identifier: identifier[0], bytes }
    }

    /// The one that CHAP_I and CHAP_C describe.
    pub fn from_text(algorithm: ChapAlgorithm, identifier: &str, bytes: &str) -> Result<Self, ChapError> {
        let identifier = parse_number(identifier).and_then(|n| u8::try_from(n).ok());
        let bytes = decode_binary(bytes, CHALLENGE_MAX).filter(|b| !b.is_empty());
        Ok(Self {
            algorithm,
            identifier: identifier.ok_or(ChapError::Malformed("CHAP_I"))?,
            bytes: bytes.ok_or(ChapError::Malformed("CHAP_C"))?,
        })
    }

    /// Writes CHAP_I and CHAP_C.
    pub fn write(&self, out: &mut TextWriter) {
        out.pair("CHAP_I", self.identifier);
        out.pair("CHAP_C", encode_hex(&self.bytes));
    }

    /// What CHAP_C shows.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The algorithm of the response.
    pub fn algorithm(&self) -> ChapAlgorithm {
        self.algorithm
    }

    /// The response of one who knows `secret` (RFC 1994 section 4.1).
    pub fn response(&self, secret: &SecretString) -> Vec<u8> {
        (hash_of(self.algorithm).of)(&[&[self.identifier], secret.expose_secret().as_bytes(), &self.bytes])
    }

    fn read_response(&self, text: &str) -> Result<Vec<u8>, ChapError> {
        let len = hash_of(self.algorithm).len;
        decode_binary(text, len).filter(|r| r.len() == len).ok_or(ChapError::Malformed("CHAP_R"))
    }

    fn proven(&self, name: &str, response: &[u8], credential: &Credential) -> Choice {
        let user = credential.user.as_bytes().ct_eq(name.as_bytes());
        // Everybody knows an empty secret.
        let secret = Choice::from(u8::from(!credential.secret.expose_secret().is_empty()));
        user & secret & self.response(&credential.secret).ct_eq(response)
    }
}

fn same_secret(one: &Credential, other: &Credential) -> bool {
    one.secret.expose_secret().as_bytes().ct_eq(other.secret.expose_secret().as_bytes()).into()
}

/// What the initiator shows in the last step: its name and response, and perhaps a challenge of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proof<'a> {
    /// CHAP_N.
    pub name: Option<&'a str>,
    /// CHAP_R.
    pub response: Option<&'a str>,
    /// CHAP_I.
    pub identifier: Option<&'a str>,
    /// CHAP_C.
    pub challenge: Option<&'a str>,
}

impl Proof<'_> {
    fn counter(&self, algorithm: ChapAlgorithm) -> Result<Option<Challenge>, ChapError> {
        match (self.identifier, self.challenge) {
            (None, None) => Ok(None),
            (Some(i), Some(c)) => Challenge::from_text(algorithm, i, c).map(Some),
            (None, Some(_)) => Err(ChapError::Missing("CHAP_I")),
            (Some(_), None) => Err(ChapError::Missing("CHAP_C")),
        }
    }
}

/// The target's judgement of `proof`, which answers `challenge`. When it holds and the initiator
/// wants a proof in turn, that is written to `out`.
pub fn judge(
    challenge: &Challenge,
    proof: &Proof<'_>,
    auth: &Auth,
    outstanding: &dyn Outstanding,
    out: &mut TextWriter,
) -> Result<(), ChapError> {
    let name = proof.name.ok_or(ChapError::Missing("CHAP_N"))?;
    let response = challenge.read_response(proof.response.ok_or(ChapError::Missing("CHAP_R"))?)?;
    let counter = proof.counter(challenge.algorithm)?;
    let shown = find_proven(challenge, name, &response, &auth.chap).ok_or(ChapError::WrongAnswer)?;
    let Some(counter) = counter else { return Ok(()) };
    if counter.bytes == challenge.bytes || outstanding.is_out(&counter.bytes) {
        return Err(ChapError::Reflected);
    }
    let mutual = auth.mutual.as_ref().ok_or(ChapError::NoMutual)?;
    if same_secret(shown, mutual) {
        return Err(ChapError::SameSecret);
    }
    write_response(&counter, mutual, out);
    Ok(())
}

/// Tries all credentials, whether or not one has fitted already.
fn find_proven<'a>(
    challenge: &Challenge,
    name: &str,
    response: &[u8],
    known: &'a [Credential],
) -> Option<&'a Credential> {
    known.iter().fold(None, |found, credential| {
        let proven = bool::from(challenge.proven(name, response, credential));
        if proven { Some(credential) } else { found }
    })
}

fn write_response(challenge: &Challenge, credential: &Credential, out: &mut TextWriter) {
    out.pair("CHAP_N", &credential.user);
    out.pair("CHAP_R", encode_hex(&challenge.response(&credential.secret)));
}

/// The initiator's side of one authentication.
#[derive(Debug)]
pub struct Prover {
    credential: Credential,
    /// What the target must show, if it must.
    expected: Option<Credential>,
    ours: Option<Challenge>,
}

impl Prover {
    /// Shows `credential`; with `expected` the target has to show that one in turn.
    pub fn new(credential: Credential, expected: Option<Credential>) -> Self {
        Self { credential, expected, ours: None }
    }

    /// Answers the target's CHAP_A, CHAP_I and CHAP_C, and challenges it when it has to prove itself.
    pub fn answer(
        &mut self,
        challenge: &Challenge,
        entropy: &mut Entropy<'_>,
        out: &mut TextWriter,
    ) -> Result<(), ChapError> {
        if self.expected.as_ref().is_some_and(|e| same_secret(e, &self.credential)) {
            return Err(ChapError::SameSecret);
        }
        write_response(challenge, &self.credential, out);
        if self.expected.is_some() {
            let ours = Challenge::fresh(challenge.algorithm, entropy);
            ours.write(out);
            self.ours = Some(ours);
        }
        Ok(())
    }

    /// Judges the target's CHAP_N and CHAP_R at the end of the stage.
    pub fn check(&self, name: Option<&str>, response: Option<&str>) -> Result<(), ChapError> {
        let (Some(ours), Some(expected)) = (&self.ours, &self.expected) else { return Ok(()) };
        let name = name.ok_or(ChapError::Missing("CHAP_N"))?;
        let response = ours.read_response(response.ok_or(ChapError::Missing("CHAP_R"))?)?;
        bool::from(ours.proven(name, &response, expected)).then_some(()).ok_or(ChapError::WrongAnswer)
    }
}

/// A binary value as text: `0x` and hexadecimal digits.
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    "0x".chars().chain(nibbles.map(|n| char::from(DIGITS[usize::from(n)]))).collect()
}

/// The bytes of a binary value, hexadecimal (`0x`) or base64 (`0b`), if there are at most `max`.
pub fn decode_binary(text: &str, max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = text.split_at_checked(2)?;
    // Hexadecimal is the longer form; what is longer still is not even decoded.
    if digits.len() > max * 2 + 2 {
        return None;
    }
    let bytes = match prefix {
        "0x" | "0X" => decode_hex(digits)?,
        "0b" | "0B" => BASE64.decode(digits).ok()?,
        _ => return None,
    };
    (bytes.len() <= max).then_some(bytes)
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok())
}

#[cfg(test)]
mod tests;

//! ROD tokens: what stands for data that is to be copied (SPC-5, ROD tokens; SBC-4, block device ROD tokens).
//!
//! Two types are known. *Access upon reference*: the token stands for the places, and a copy gets what is there
//! when it reads. No other type is made: a point in time copy would have to notice, or keep, what every later
//! write to those places changes, so each write would pay for tokens that hardly anybody holds. And the *block
//! device zero* token, which everybody knows without asking.
//!
//! A token carries 32 random bytes, so it cannot be guessed; but to hold one is not enough: who uses it must be able
//! to read the source as it is, which is asked for every piece that is copied.

use std::collections::VecDeque;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::super::answer::Answer;
use super::super::{Asc, ItNexus, LuFacts, Naa, Outcome, Range, Sense};
use super::list::{IDENTIFICATION, u16_at, u32_at, u64_at};
use super::{DEFAULT_TOKEN_SECONDS, MAX_TOKENS, MAX_TOKENS_OF_INITIATOR};
use crate::ids::LuId;

/// Bytes of a ROD token.
pub(super) const TOKEN: usize = 512;

/// A ROD token as it travels.
pub type TokenBytes = [u8; TOKEN];

/// Random bytes in a token.
pub const TOKEN_SECRET: usize = 32;

/// ROD types.
pub(super) const ACCESS_UPON_REFERENCE: u32 = 0x0001_0000;
pub(super) const ZEROES: u32 = 0xffff_0001;

/// ROD TOKEN LENGTH: what follows it.
const LENGTH: u16 = TOKEN as u16 - 8;

/// Bytes of a token that may be shown to anybody: its ROD management token.
const MANAGEMENT: usize = 96;

/// Tokens that are no more and of which it is still known why.
const MAX_ENDED: usize = 256;

/// What a token represents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rod {
    /// The logical unit.
    pub source: LuId,
    /// Who asked for the token.
    pub creator: ItNexus,
    /// The places, in order.
    pub ranges: Vec<Range>,
}

impl Rod {
    /// Bytes represented.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|r| r.len).sum()
    }

    /// Whether the logical unit still has all the places.
    pub fn fits(&self, facts: &LuFacts) -> bool {
        self.ranges.iter().all(|r| r.offset.checked_add(r.len).is_some_and(|end| end <= facts.bytes()))
    }
}

#[derive(Debug)]
struct Token {
    id: u64,
    bytes: Box<TokenBytes>,
    rod: Arc<Rod>,
    /// Nanoseconds without use after which it expires, and when it does.
    patience: u64,
    expires: u64,
}

/// The tokens there are, least recently used first. One table for all logical units: a token that was made for one
/// is used on another.
#[derive(Debug, Default)]
pub struct Tokens {
    last: u64,
    live: Vec<Token>,
    ended: VecDeque<(u64, Asc)>,
}

impl Tokens {
    /// Makes a token. If its initiator has as many as it may, the one it used least recently is revoked.
    ///
    /// # Errors
    /// INSUFFICIENT RESOURCES TO CREATE ROD TOKEN: there are too many altogether.
    pub fn create(
        &mut self,
        rod: Rod,
        facts: &LuFacts,
        timeout: u32,
        secret: &[u8; TOKEN_SECRET],
        now: u64,
    ) -> Result<Box<TokenBytes>, Sense> {
        self.expire(now);
        let own = |t: &Token| t.rod.creator.initiator == rod.creator.initiator;
        if self.live.iter().filter(|t| own(t)).count() >= MAX_TOKENS_OF_INITIATOR
            && let Some(at) = self.live.iter().position(own)
        {
            self.end(at, Asc::TOKEN_REVOKED);
        }
        if self.live.len() >= MAX_TOKENS {
            return Err(Sense::aborted(Asc::INSUFFICIENT_RESOURCES_FOR_TOKEN));
        }
        self.last += 1;
        let bytes = encode(self.last, &rod, facts, secret);
        let seconds = if timeout == 0 { DEFAULT_TOKEN_SECONDS } else { timeout };
        let patience = u64::from(seconds) * 1_000_000_000;
        let expires = now.saturating_add(patience);
        self.live.push(Token { id: self.last, bytes: bytes.clone(), rod: Arc::new(rod), patience, expires });
        Ok(bytes)
    }

    /// What a token represents; its time begins anew. `None`: zeroes.
    ///
    /// # Errors
    /// ILLEGAL REQUEST with the INVALID TOKEN OPERATION that applies.
    pub fn find(&mut self, bytes: &TokenBytes, now: u64) -> Result<Option<Arc<Rod>>, Sense> {
        if u16_at(bytes, 6) != LENGTH {
            return Err(Sense::illegal(Asc::INVALID_TOKEN_LENGTH));
        }
        match u32_at(bytes, 0) {
            ZEROES => return Ok(None),
            ACCESS_UPON_REFERENCE => {}
            _ => return Err(Sense::illegal(Asc::UNSUPPORTED_TOKEN_TYPE)),
        }
        self.expire(now);
        let at = self.position(bytes).map_err(Sense::illegal)?;
        let mut token = self.live.remove(at);
        token.expires = now.saturating_add(token.patience);
        let rod = token.rod.clone();
        self.live.push(token);
        Ok(Some(rod))
    }

    /// The token is used no more.
    pub fn delete(&mut self, bytes: &TokenBytes) {
        if let Ok(at) = self.position(bytes) {
            self.end(at, Asc::TOKEN_DELETED);
        }
    }

    /// The token stands for something that is not there any more.
    pub fn revoke(&mut self, bytes: &TokenBytes) {
        if let Ok(at) = self.position(bytes) {
            self.end(at, Asc::TOKEN_REVOKED);
        }
    }

    /// A logical unit is gone, and with it what its tokens stand for.
    pub fn revoke_all(&mut self, source: LuId) {
        while let Some(at) = self.live.iter().position(|t| t.rod.source == source) {
            self.end(at, Asc::TOKEN_REVOKED);
        }
    }

    fn position(&self, bytes: &TokenBytes) -> Result<usize, Asc> {
        let id = u64_at(bytes, 8);
        match self.live.iter().position(|t| t.id == id) {
            Some(at) if bool::from(self.live[at].bytes.ct_eq(bytes)) => Ok(at),
            Some(_) => Err(Asc::TOKEN_CORRUPT),
            None => {
                let why = self.ended.iter().find(|(ended, _)| *ended == id).map(|(_, why)| *why);
                Err(why.unwrap_or(Asc::TOKEN_UNKNOWN))
            }
        }
    }

    fn end(&mut self, at: usize, why: Asc) {
        let token = self.live.remove(at);
        self.ended.truncate(MAX_ENDED - 1);
        self.ended.push_front((token.id, why));
    }

    fn expire(&mut self, now: u64) {
        while let Some(at) = self.live.iter().position(|t| t.expires <= now) {
            self.end(at, Asc::TOKEN_EXPIRED);
        }
    }

    /// REPORT ALL ROD TOKENS: the management tokens of those that stand for `source`. They are no use to copy with.
    pub fn report(&mut self, source: LuId, allocation: u32, now: u64, out: &mut [u8]) -> Outcome {
        self.expire(now);
        let mut answer = Answer::new(out, allocation as usize);
        answer.zeroes(8);
        let there = self.live.iter().filter(|t| t.rod.source == source);
        there.for_each(|t| answer.put(&t.bytes[..MANAGEMENT]));
        answer.close_u32(0, 4);
        answer.finish()
    }
}

/// A token: type, identifier, creator logical unit, bytes represented, device type specific data (that of READ
/// CAPACITY(16)), target device, and what makes it impossible to guess.
fn encode(id: u64, rod: &Rod, facts: &LuFacts, secret: &[u8; TOKEN_SECRET]) -> Box<TokenBytes> {
    let mut token = Box::new([0; TOKEN]);
    let mut put = |at: usize, bytes: &[u8]| {
        token[at..].iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    };
    put(0, &ACCESS_UPON_REFERENCE.to_be_bytes());
    put(6, &LENGTH.to_be_bytes());
    put(8, &id.to_be_bytes());
    put(16, &creator(&facts.identity.naa, facts.block_size));
    put(48, &u128::from(rod.bytes()).to_be_bytes());
    put(96, &facts.block_size.to_be_bytes());
    put(101, &[facts.physical_exponent & 0x0f]);
    if let Some(thin) = &facts.thin {
        put(102, &[0x80 | u8::from(thin.lbprz) << 6]);
    }
    let name = &rod.creator.target.as_bytes()[..rod.creator.target.len().min(MAX_NAME)];
    // A SCSI name string of the target device, ended and filled up by zeroes.
    put(128, &[0x53, 0xa8, 0, (name.len() + 1).next_multiple_of(4) as u8]);
    put(132, name);
    put(TOKEN - TOKEN_SECRET, secret);
    token
}

/// Longest iSCSI name, bytes (RFC 7143 section 4.2.7.1).
const MAX_NAME: usize = 223;

/// An identification CSCD descriptor of the logical unit.
fn creator(naa: &Naa, block_size: u32) -> [u8; 32] {
    let mut descriptor = [0; 32];
    let name = naa.bytes();
    (descriptor[0], descriptor[4], descriptor[5], descriptor[7]) =
        (IDENTIFICATION, 0x01, 0x03, name.len() as u8);
    descriptor[8..8 + name.len()].copy_from_slice(name);
    descriptor[28..].copy_from_slice(&block_size.to_be_bytes());
    descriptor
}

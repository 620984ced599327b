//! The security stage: AuthMethod, then CHAP's two steps (RFC 7143 section 12).

use super::fault::Fault;
use super::statements::Statements;
use crate::session::chap::{Challenge, Entropy, Outstanding, choose, judge};
use crate::target::{Auth, ChapAlgorithm};
use crate::wire::text::TextWriter;

/// How far the authentication has come: each state is named for what it expects.
#[derive(Debug, Default)]
pub(super) enum Security {
    /// AuthMethod, if the initiator has any to offer.
    #[default]
    Method,
    /// CHAP_A.
    Algorithm,
    /// CHAP_N and CHAP_R.
    Response(Challenge),
    /// Nothing more; by this algorithm, if anything had to be proved.
    Passed(Option<ChapAlgorithm>),
}

impl Security {
    /// Whether the stage may end.
    pub(super) fn passed(&self, auth: &Auth) -> bool {
        match self {
            Self::Passed(_) => true,
            Self::Method => !auth.required(),
            Self::Algorithm | Self::Response(_) => false,
        }
    }

    /// By which algorithm the initiator has proved who it is.
    pub(super) fn algorithm(&self) -> Option<ChapAlgorithm> {
        match self {
            Self::Passed(algorithm) => *algorithm,
            Self::Method | Self::Algorithm | Self::Response(_) => None,
        }
    }

    /// Takes the security keys of one text and answers them. Whether there were any.
    pub(super) fn step(
        &mut self,
        said: &Statements<'_>,
        auth: &Auth,
        allowed: &[ChapAlgorithm],
        (entropy, outstanding): (&mut Entropy<'_>, &dyn Outstanding),
        out: &mut TextWriter,
    ) -> Result<bool, Fault> {
        if let Some(methods) = said.auth_method {
            self.method(methods, auth, out)?;
        }
        if let Some(offered) = said.chap_algorithms {
            let challenge = self.challenge(offered, allowed, entropy, out)?;
            outstanding.issue(challenge.bytes());
            *self = Self::Response(challenge);
        }
        if said.has_proof() {
            self.response(said, auth, outstanding, out)?;
        }
        Ok(said.auth_method.is_some() || said.chap_algorithms.is_some() || said.has_proof())
    }

    /// Credentials make CHAP the only method, and without them there is nothing that CHAP could check.
    fn method(&mut self, methods: &str, auth: &Auth, out: &mut TextWriter) -> Result<(), Fault> {
        let Self::Method = self else { return Err(Fault::OutOfTurn("AuthMethod")) };
        let offered = |method| methods.split(',').any(|m| m == method);
        let (method, next) = if auth.required() {
            offered("CHAP").then_some(("CHAP", Self::Algorithm)).ok_or(Fault::NotAuthenticated)?
        } else {
            offered("None").then_some(("None", Self::Passed(None))).ok_or(Fault::NoCommonMethod)?
        };
        out.pair("AuthMethod", method);
        *self = next;
        Ok(())
    }

    fn challenge(
        &self,
        offered: &str,
        allowed: &[ChapAlgorithm],
        entropy: &mut Entropy<'_>,
        out: &mut TextWriter,
    ) -> Result<Challenge, Fault> {
        let Self::Algorithm = self else { return Err(Fault::OutOfTurn("CHAP_A")) };
        let challenge = Challenge::fresh(choose(offered, allowed)?, entropy);
        out.pair("CHAP_A", crate::session::chap::number(challenge.algorithm()));
        challenge.write(out);
        Ok(challenge)
    }

    /// The challenge is used up, whatever comes of it: a failure ends the login.
    fn response(
        &mut self,
        said: &Statements<'_>,
        auth: &Auth,
        outstanding: &dyn Outstanding,
        out: &mut TextWriter,
    ) -> Result<(), Fault> {
        let Self::Response(challenge) = std::mem::replace(self, Self::Algorithm) else {
            return Err(Fault::OutOfTurn("CHAP_R"));
        };
        judge(&challenge, &said.proof, auth, outstanding, out)?;
        *self = Self::Passed(Some(challenge.algorithm()));
        Ok(())
    }
}

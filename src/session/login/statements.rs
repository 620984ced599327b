//! One text of a login, sorted by what its keys are for.

use super::fault::Fault;
use crate::session::chap::Proof;
use crate::session::keys::negotiate::KeyError;
use crate::session::keys::{Row, Sender, TABLE, When, lookup};
use crate::wire::codes::Stage;
use crate::wire::text::{IRRELEVANT, NOT_UNDERSTOOD, REJECT, pairs};

/// The keys of one text.
#[derive(Debug, Default)]
pub(super) struct Statements<'a> {
    pub(super) session_type: Option<&'a str>,
    pub(super) initiator_name: Option<&'a str>,
    pub(super) initiator_alias: Option<&'a str>,
    pub(super) target_name: Option<&'a str>,
    pub(super) auth_method: Option<&'a str>,
    pub(super) chap_algorithms: Option<&'a str>,
    pub(super) proof: Proof<'a>,
    /// Keys that a rule decides, in the table's order.
    pub(super) negotiable: Vec<(&'static str, &'a str)>,
    /// Keys that nobody here knows.
    pub(super) unknown: Vec<&'a str>,
}

impl<'a> Statements<'a> {
    /// Reads `text`, every key of which must belong to `stage`, be the initiator's to send, and come once.
    pub(super) fn read(text: &'a [u8], stage: Stage) -> Result<Self, Fault> {
        let mut said = Self::default();
        let mut values = [None; TABLE.len()];
        for pair in pairs(text) {
            let pair = pair?;
            match lookup(pair.key) {
                Some((index, row)) => place(row, pair.value, &mut values[index], stage)?,
                None if pair.value == NOT_UNDERSTOOD => {}
                None => said.unknown.push(pair.key),
            }
        }
        for (row, value) in TABLE.iter().zip(values) {
            if let Some(value) = value {
                said.sort(row.name, value);
            }
        }
        Ok(said)
    }

    fn sort(&mut self, key: &'static str, value: &'a str) {
        let slot = match key {
            "SessionType" => &mut self.session_type,
            "InitiatorName" => &mut self.initiator_name,
            "InitiatorAlias" => &mut self.initiator_alias,
            "TargetName" => &mut self.target_name,
            "AuthMethod" => &mut self.auth_method,
            "CHAP_A" => &mut self.chap_algorithms,
            "CHAP_N" => &mut self.proof.name,
            "CHAP_R" => &mut self.proof.response,
            "CHAP_I" => &mut self.proof.identifier,
            "CHAP_C" => &mut self.proof.challenge,
            _ => return self.negotiable.push((key, value)),
        };
        *slot = Some(value);
    }

    /// Whether any key of CHAP's last step is there.
    pub(super) fn has_proof(&self) -> bool {
        let Proof { name, response, identifier, challenge } = self.proof;
        name.or(response).or(identifier).or(challenge).is_some()
    }
}

fn place<'a>(row: &Row, value: &'a str, slot: &mut Option<&'a str>, stage: Stage) -> Result<(), Fault> {
    if row.sender == Sender::Target {
        // An initiator may comment on what it was told, but not tell it itself.
        let comment = matches!(value, NOT_UNDERSTOOD | IRRELEVANT | REJECT);
        return if comment { Ok(()) } else { Err(KeyError::WrongSender(row.name).into()) };
    }
    if !row.when.contains(when(stage)) {
        return Err(KeyError::WrongStage(row.name).into());
    }
    if slot.replace(value).is_some() {
        return Err(KeyError::Repeated(row.name).into());
    }
    Ok(())
}

fn when(stage: Stage) -> When {
    match stage {
        Stage::SECURITY => When::SECURITY,
        Stage::OPERATIONAL => When::OPERATIONAL,
        _ => When::FULL_FEATURE,
    }
}

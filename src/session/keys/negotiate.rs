//! The rules of [`super::TABLE`] at work: answering an offer, judging an answer, making offers.

use std::borrow::Cow;

use super::{Flag, Negotiated, Number, Row, Rule, Scope, SessionType, TABLE, When, Wishes, lookup};
use crate::wire::text::{IRRELEVANT, NOT_UNDERSTOOD, REJECT, TextWriter};

/// What is wrong with a key. All of them end a login.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The key does not belong to this stage.
    #[error("{0} does not belong to this stage")]
    WrongStage(&'static str),
    /// The key is one that only the other side sends.
    #[error("{0} is not this side's to send")]
    WrongSender(&'static str),
    /// The key came a second time.
    #[error("{0} was sent twice")]
    Repeated(&'static str),
    /// The value cannot be declared.
    #[error("{0} has an illegal value")]
    Illegal(&'static str),
    /// The answer is not one that the offer allows.
    #[error("{0} was answered with something that was not offered")]
    NotOffered(&'static str),
    /// The result of this key cannot be accepted.
    #[error("{0}: nothing acceptable could be agreed on")]
    NoAgreement(&'static str),
}

/// What is said to an offer; `None`: nothing.
pub type Reply = Option<Cow<'static, str>>;

/// A number as text: decimal, or hexadecimal after `0x` (section 6.1). No sign, no blanks.
pub fn parse_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

fn flag_text(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

impl Number {
    fn parse(&self, text: &str) -> Option<u32> {
        parse_number(text).filter(|n| self.range.contains(n))
    }

    /// A value out of range is answered with Reject and leaves the default.
    fn combine(
        &self,
        text: &str,
        wishes: &Wishes,
        result: &mut Negotiated,
        by: fn(u32, u32) -> u32,
    ) -> Reply {
        let Some(offered) = self.parse(text) else { return Some(REJECT.into()) };
        let value = by(offered, (self.want)(wishes)).min((self.most)(result));
        (self.put)(result, value);
        Some(value.to_string().into())
    }
}

impl Flag {
    fn combine(
        &self,
        text: &str,
        wishes: &Wishes,
        result: &mut Negotiated,
        by: fn(bool, bool) -> bool,
    ) -> Reply {
        let Some(offered) = parse_flag(text) else { return Some(REJECT.into()) };
        let value = by(offered, (self.want)(wishes));
        (self.put)(result, value);
        Some(flag_text(value).into())
    }
}

/// Answers the other side's offer (or takes its declaration) by the row's rule and keeps the result.
pub fn respond(
    row: &Row,
    offered: &str,
    wishes: &Wishes,
    result: &mut Negotiated,
) -> Result<Reply, KeyError> {
    if row.irrelevant_in_discovery && result.session_type == SessionType::Discovery {
        return Ok(Some(IRRELEVANT.into()));
    }
    Ok(match &row.rule {
        Rule::Min(number) => number.combine(offered, wishes, result, u32::min),
        Rule::Max(number) => number.combine(offered, wishes, result, u32::max),
        Rule::And(flag) => flag.combine(offered, wishes, result, |a, b| a && b),
        Rule::Or(flag) => flag.combine(offered, wishes, result, |a, b| a || b),
        Rule::List(choice) => {
            let wanted = (choice.want)(wishes);
            let Some(chosen) = offered.split(',').find_map(|o| wanted.iter().find(|w| **w == o)) else {
                return Ok(Some(REJECT.into()));
            };
            (choice.put)(result, chosen);
            Some((*chosen).into())
        }
        Rule::Declare(number) => {
            (number.put)(result, number.parse(offered).ok_or(KeyError::Illegal(row.name))?);
            None
        }
        Rule::Statement => None,
        Rule::Obsolete(answer) => Some((*answer).into()),
    })
}

/// Judges the other side's answer to an offer of `wishes`, and keeps it.
pub fn accept(row: &Row, answer: &str, wishes: &Wishes, result: &mut Negotiated) -> Result<(), KeyError> {
    if matches!(answer, NOT_UNDERSTOOD | IRRELEVANT | REJECT) {
        return default_will_do(row, wishes);
    }
    let illegal = KeyError::NotOffered(row.name);
    match &row.rule {
        Rule::Min(n) => take(n.parse(answer), |v| v <= (n.want)(wishes), |v| (n.put)(result, v)),
        Rule::Max(n) => take(n.parse(answer), |v| v >= (n.want)(wishes), |v| (n.put)(result, v)),
        Rule::And(f) => take(parse_flag(answer), |v| !v || (f.want)(wishes), |v| (f.put)(result, v)),
        Rule::Or(f) => take(parse_flag(answer), |v| v || !(f.want)(wishes), |v| (f.put)(result, v)),
        Rule::List(c) => take(Some(answer), |v| (c.want)(wishes).contains(&v), |v| (c.put)(result, v)),
        Rule::Declare(n) => take(n.parse(answer), |_| true, |v| (n.put)(result, v)),
        Rule::Statement | Rule::Obsolete(_) => Some(()),
    }
    .ok_or(illegal)
}

fn take<T: Copy>(value: Option<T>, allowed: impl FnOnce(T) -> bool, put: impl FnOnce(T)) -> Option<()> {
    value.filter(|v| allowed(*v)).map(put)
}

/// Whether this side can live with the key's default: then it need not be negotiated at all.
fn default_will_do(row: &Row, wishes: &Wishes) -> Result<(), KeyError> {
    let Some(default) = row.default else { return Ok(()) };
    if matches!(row.rule, Rule::Declare(_) | Rule::Obsolete(_)) || no_harm_by_default(row.name) {
        return Ok(());
    }
    accept(row, default, wishes, &mut Negotiated::default()).map_err(|_| KeyError::NoAgreement(row.name))
}

/// At error recovery level 0 no task outlives its session, so the two times bind nobody.
fn no_harm_by_default(name: &str) -> bool {
    matches!(name, "DefaultTime2Wait" | "DefaultTime2Retain")
}

/// What `wishes` would say for this key in an offer or a declaration; `None` for keys that no rule decides.
pub fn offer(row: &Row, wishes: &Wishes) -> Option<String> {
    match &row.rule {
        Rule::Min(n) | Rule::Max(n) | Rule::Declare(n) => Some((n.want)(wishes).to_string()),
        Rule::And(f) | Rule::Or(f) => Some(flag_text((f.want)(wishes)).to_owned()),
        Rule::List(c) => Some((c.want)(wishes).join(",")),
        Rule::Statement | Rule::Obsolete(_) => None,
    }
}

/// All operational keys as an initiator offers them: those that matter for its session type.
pub fn offers(wishes: &Wishes, session: SessionType) -> impl Iterator<Item = (&'static str, String)> {
    TABLE
        .iter()
        .filter(|row| row.when.contains(When::OPERATIONAL))
        .filter(move |row| session == SessionType::Normal || !row.irrelevant_in_discovery)
        .filter_map(|row| Some((row.name, offer(row, wishes)?)))
}

/// A set of rows of [`TABLE`].
#[derive(Clone, Copy, Debug, Default)]
struct RowSet(u64);

const _: () = assert!(TABLE.len() <= 64, "a RowSet has one bit for each row");

impl RowSet {
    fn insert(&mut self, index: usize) -> bool {
        let before = self.0;
        self.0 |= 1 << index;
        self.0 != before
    }

    fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }
}

/// The target's side of the operational keys over one whole login.
#[derive(Debug)]
pub struct Negotiation {
    wishes: Wishes,
    result: Negotiated,
    heard: RowSet,
    offered: RowSet,
    /// Answered with Reject: the default holds.
    rejected: RowSet,
    declared: bool,
    /// The session is there already, and what holds for all of it is decided.
    joins: bool,
}

impl Negotiation {
    /// Nothing heard yet; `start` brings what was stated before: names and session type.
    pub fn new(wishes: Wishes, start: Negotiated) -> Self {
        Self {
            wishes,
            result: start,
            heard: RowSet::default(),
            offered: RowSet::default(),
            rejected: RowSet::default(),
            declared: false,
            joins: false,
        }
    }

    /// The connection is for a session that is there: the keys of its leading login mean nothing any more.
    #[must_use]
    pub fn joining(self, joins: bool) -> Self {
        Self { joins, ..self }
    }

    /// Whether the session's leading login has decided this.
    fn is_decided(&self, row: &Row) -> bool {
        self.joins && row.scope == Scope::Session && !matches!(row.rule, Rule::Statement | Rule::Obsolete(_))
    }

    /// The result so far.
    pub fn result(&mut self) -> &mut Negotiated {
        &mut self.result
    }

    /// Answers one key of the operational stage into `out`.
    pub fn key(&mut self, name: &str, value: &str, out: &mut TextWriter) -> Result<(), KeyError> {
        let Some((index, row)) = lookup(name) else { return Ok(()) };
        if !self.heard.insert(index) {
            return Err(KeyError::Repeated(row.name));
        }
        if self.is_decided(row) {
            out.pair(row.name, IRRELEVANT);
            return Ok(());
        }
        if self.offered.contains(index) {
            return accept(row, value, &self.wishes, &mut self.result);
        }
        if let Some(reply) = respond(row, value, &self.wishes, &mut self.result)? {
            if reply == REJECT {
                self.rejected.insert(index);
            }
            out.pair(row.name, reply);
        }
        Ok(())
    }

    /// Declares what the other side may send; once.
    pub fn declare(&mut self, out: &mut TextWriter) {
        if !std::mem::replace(&mut self.declared, true) {
            self.result.max_recv_data_segment_length = self.wishes.max_recv_data_segment_length;
            out.pair("MaxRecvDataSegmentLength", self.wishes.max_recv_data_segment_length);
        }
    }

    /// Offers, once, the keys that the initiator has passed over but whose default this side cannot
    /// accept. Whether there were any: then the stage cannot end yet.
    pub fn offer_missing(&mut self, out: &mut TextWriter) -> bool {
        let mut any = false;
        for (index, row) in TABLE.iter().enumerate() {
            let unheard = !self.heard.contains(index);
            if unheard && self.missing(index, row) && self.offered.insert(index) {
                any = true;
                out.pair(row.name, offer(row, &self.wishes).unwrap_or_default());
            }
        }
        any
    }

    fn missing(&self, index: usize, row: &Row) -> bool {
        row.when.contains(When::OPERATIONAL)
            && !self.is_decided(row)
            && self.result.session_type == SessionType::Normal
            && (!self.heard.contains(index) || self.rejected.contains(index))
            && default_will_do(row, &self.wishes).is_err()
    }

    /// The agreement, when every key has ended in something that this side can live with.
    pub fn conclude(self) -> Result<Negotiated, KeyError> {
        let unanswered = TABLE.iter().enumerate().find(|(index, row)| self.missing(*index, row));
        if let Some((_, row)) = unanswered {
            return Err(KeyError::NoAgreement(row.name));
        }
        digests_agreed(&self.wishes, &self.result)?;
        let mut result = self.result;
        // An initiator that sets MaxBurstLength below the default of the other keeps to both.
        result.first_burst_length = result.first_burst_length.min(result.max_burst_length);
        Ok(result)
    }
}

/// A rejected list leaves the default `None`, which a side that demands digests refuses.
fn digests_agreed(wishes: &Wishes, result: &Negotiated) -> Result<(), KeyError> {
    let none = |values: &[&str]| values.contains(&"None");
    if !result.header_digest && !none(wishes.header_digest) {
        return Err(KeyError::NoAgreement("HeaderDigest"));
    }
    if !result.data_digest && !none(wishes.data_digest) {
        return Err(KeyError::NoAgreement("DataDigest"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `set` and `get`.

use super::access::STATE;
use super::create::spell_out;
use super::facts::Facts;
use super::line::Line;
use super::node::{self, Node};
use super::settings::{self, Form, Setting};
use super::{Shell, groups, prefs};
use crate::admin::config::words;
use crate::admin::edit::{Document, Door, EditError, Owner, Scalar};
use crate::admin::lio::{self, Known};
use crate::store::StoreKind;

/// What is shown in the place of a secret.
const MASK: &str = "********";

fn door(setting: &Setting) -> Door {
    if setting.name.starts_with("mutual_") { Door::Out } else { Door::In }
}

pub(super) fn is_secret(setting: &Setting) -> bool {
    setting.form == Form::Credential && setting.key == "secret"
}

impl Shell {
    pub(super) fn set_or_get(&mut self, verb: &str, node: &Node, line: &Line) -> Result<(), String> {
        let Some((group, rest)) = line.words.split_first() else {
            if let Some((name, _)) = line.named.first() {
                return Err(format!("the group of {name} is missing; the syntax is: set group name=value"));
            }
            self.list_groups(node);
            return Ok(());
        };
        if verb == "get" {
            if let Some((name, _)) = line.named.first() {
                return Err(format!("{name}=… is for `set`; the syntax is: get group [name …]"));
            }
            return self.get(node, group, rest);
        }
        if let Some(word) = rest.first() {
            return Err(without_value(group, word));
        }
        if line.named.is_empty() {
            return self.get(node, group, &[]);
        }
        if group == "global" { self.set_global(&line.named) } else { self.set(node, group, &line.named) }
    }

    fn groups(node: &Node) -> Vec<&'static str> {
        let mut groups: Vec<&str> = settings::of(node).iter().map(|s| s.group).collect();
        groups.dedup();
        groups.push("global");
        groups
    }

    fn list_groups(&mut self, node: &Node) {
        self.say(format!("Groups here: {}", Self::groups(node).join(", ")));
    }

    /// All settings of a node with what they are about.
    pub(super) fn list_settings(&mut self, node: &Node) {
        self.say("");
        for setting in settings::of(node) {
            self.say(format!("{} {}: {}", setting.group, setting.name, setting.help));
        }
        for (name, help) in prefs::NAMES {
            self.say(format!("global {name}: {help}"));
        }
    }

    fn members(node: &Node, group: &str) -> Result<Vec<&'static Setting>, String> {
        let members: Vec<&Setting> = settings::of(node).iter().filter(|s| s.group == group).collect();
        if members.is_empty() {
            let groups = Self::groups(node);
            let hint = words::suggestion(group, groups.iter().copied());
            return Err(format!("there is no group {group} here; {hint}"));
        }
        Ok(members)
    }

    fn member(members: &[&'static Setting], name: &str) -> Result<&'static Setting, String> {
        let by_name = members.iter().find(|s| s.name.eq_ignore_ascii_case(name));
        let found = by_name.or_else(|| members.iter().find(|s| s.key == name));
        found.copied().ok_or_else(|| {
            let hint = words::suggestion(name, members.iter().map(|s| s.name));
            format!("there is no parameter {name} in this group; {hint}")
        })
    }

    fn get(&mut self, node: &Node, group: &str, names: &[String]) -> Result<(), String> {
        if group == "global" {
            return self.get_global(names);
        }
        let (chosen, facts) = (Self::chosen(node, group, names)?, self.facts(node));
        for setting in chosen {
            let value = self.shown_value(node, setting, &facts);
            self.say(format!("{}={value}", setting.name));
        }
        Ok(())
    }

    /// The settings of a group with these names, or all of it.
    pub(super) fn chosen(
        node: &Node,
        group: &str,
        names: &[String],
    ) -> Result<Vec<&'static Setting>, String> {
        let members = Self::members(node, group)?;
        match names {
            [] => Ok(members),
            names => names.iter().map(|n| Self::member(&members, n)).collect(),
        }
    }

    fn get_global(&mut self, names: &[String]) -> Result<(), String> {
        let all: Vec<String> = prefs::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
        for name in if names.is_empty() { &all } else { names } {
            let value = self.prefs.get(name).or_else(|| prefs::moot(name).map(|_| String::new()));
            self.say(format!("{name}={}", value.ok_or_else(|| no_pref(name))?));
        }
        Ok(())
    }

    /// What counts for a setting, and what is served yet in its place.
    pub(super) fn shown_value(&self, node: &Node, setting: &Setting, facts: &Facts) -> String {
        let value = self.value_of(node, setting, facts);
        match self.served_instead(node, setting, facts) {
            Some(served) => format!("{value} [served: {served}]"),
            None => value,
        }
    }

    /// What is served in the place of what is written for a backstore.
    pub(super) fn served_instead<'f>(
        &self,
        node: &Node,
        setting: &Setting,
        facts: &'f Facts,
    ) -> Option<&'f str> {
        let Node::Store(name) = node else { return None };
        facts.instead(node::store(&self.config, name)?, setting.key)
    }

    /// What counts for a setting by the configuration.
    pub(super) fn value(&self, node: &Node, setting: &Setting) -> String {
        self.value_of(node, setting, &Facts::default())
    }

    /// What counts for a setting, where that is served of its backstore.
    pub(super) fn value_of(&self, node: &Node, setting: &Setting, facts: &Facts) -> String {
        if let Node::AluaGroup(store, group) = node
            && setting.name == STATE
        {
            return self.access_state(store, group);
        }
        let Some(owner) = settings::owner(node, setting) else { return String::new() };
        if setting.form == Form::Credential {
            let Ok((user, secret)) = self.doc.credential(&owner, door(setting)) else {
                return "(several, in the file)".into();
            };
            let shown = if secret { MASK.to_owned() } else { String::new() };
            return if is_secret(setting) { shown } else { user.unwrap_or_default() };
        }
        let is_all = !matches!(setting.form, Form::Digest | Form::Demand);
        let written = self.doc.get(&owner, setting.key).filter(|_| is_all);
        let written = written.map(|w| setting.form.show(&w));
        let served = || facts.of(setting.key).map(ToOwned::to_owned);
        written.or_else(served).unwrap_or_else(|| settings::default(node, setting, &self.config))
    }

    fn set(&mut self, node: &Node, group: &str, named: &[(String, String)]) -> Result<(), String> {
        let members = Self::members(node, group)?;
        let mut changes = Vec::new();
        for (name, value) in named {
            changes.push((Self::member(&members, name)?, value.as_str()));
        }
        if let Node::AluaGroup(store, group) = node
            && let Some((_, state)) = changes.iter().find(|(s, _)| s.name == STATE)
        {
            if changes.len() > 1 {
                return Err(format!(
                    "{STATE} is not configured, but changed by itself: set it in a line of its own"
                ));
            }
            return self.set_access_state(store, group, state);
        }
        self.keep_fixed(node, &changes)?;
        let told: Vec<String> = changes.iter().map(|(s, value)| self.told_of(node, s, value)).collect();
        changes.retain(|(s, value)| !s.form.is_fixed() && self.moot(node, s, value).is_none());
        let map = if changes.is_empty() { None } else { self.map_of(node) };
        let below = self.is_demanded_below(node);
        let ended =
            changes.iter().any(|(s, value)| s.form == Form::Demand && settings::flag(value) == Ok(false));
        self.edit(|doc| {
            let written = is_written(doc, node);
            if let Some((iqn, tag, initiator, luns)) = &map {
                spell_out(doc, iqn, *tag, initiator, luns)?;
            }
            changes.iter().try_for_each(|(s, value)| change(doc, node, s, value))?;
            demand_chap(doc, node, &changes, below, written)?;
            demand_digests(doc, node, &changes)
        })?;
        told.iter().for_each(|told| self.say(told));
        if changes.iter().any(|(setting, _)| setting.form == Form::Credential) {
            self.tell_of_unproved(node);
        }
        if let Some(still) = self.still_asked(node).filter(|_| ended) {
            self.say(still);
        }
        Ok(())
    }

    /// Who is asked for credentials here because there are some.
    fn still_asked(&self, node: &Node) -> Option<&'static str> {
        match node {
            Node::Tpg(iqn, tag) if node::tpg(&self.config, iqn, *tag).is_some_and(|g| g.auth.required()) => {
                Some(settings::STILL_GROUP)
            }
            _ => self.is_demanded_below(node).then_some(settings::STILL_EACH),
        }
    }

    /// What is said of a setting that is given a value.
    fn told_of(&self, node: &Node, setting: &Setting, value: &str) -> String {
        let name = setting.name;
        match (self.moot(node, setting, value), is_secret(setting), value) {
            (Some(reason), ..) => format!("Parameter {name} makes no difference: {reason}."),
            (None, true, "") => format!("Parameter {name} is now unset."),
            (None, true, _) => format!("Parameter {name} is now set."),
            (None, false, value) => format!("Parameter {name} is now '{value}'."),
        }
    }

    /// Why it makes no difference that a setting is given this value, if it makes none.
    fn moot(&self, node: &Node, setting: &Setting, value: &str) -> Option<&'static str> {
        match setting.form {
            Form::Lio(Known { is_moot: true, reason, .. }) => Some(reason),
            Form::Fixed(why) if self.is_usual(node, setting, value) => Some(why),
            _ => self.is_no_wish(node, setting, value).then_some(lio::FILES_ARE_THIN),
        }
    }

    /// What every group of LIO has by itself, and is said of this one, which has something else: scripts say all that there is,
    /// and wish nothing.
    fn is_usual(&self, node: &Node, setting: &Setting, value: &str) -> bool {
        let usual = groups::usual(setting.name);
        usual.is_some_and(|usual| settings::is_same(value, usual))
            && !settings::is_same(value, &self.value(node, setting))
    }

    /// LIO lets nobody give space of a file back, by itself, and scripts say so: that is no wish to have it allocated whole.
    fn is_no_wish(&self, node: &Node, setting: &Setting, value: &str) -> bool {
        let Node::Store(name) = node else { return false };
        let is_file = node::store(&self.config, name).is_some_and(|store| store.kind == StoreKind::Fileio);
        let is_theirs = ["emulate_tpu", "emulate_tpws"].contains(&setting.name);
        is_file
            && is_theirs
            && settings::flag(value) == Ok(false)
            && !settings::is_same(value, &self.value(node, setting))
    }

    /// Whether an ACL of this group has credentials.
    fn is_demanded_below(&self, node: &Node) -> bool {
        let Node::Tpg(iqn, tag) = node else { return false };
        let group = node::tpg(&self.config, iqn, *tag);
        group.is_some_and(|group| group.acls.iter().any(|acl| acl.auth.required()))
    }

    /// The map that a mapped LUN is in: its ACL, and what that sees.
    fn map_of(&self, node: &Node) -> Option<(String, u16, String, Vec<u16>)> {
        let Node::Mapped(iqn, tag, initiator, _) = node else { return None };
        let luns = node::acl(&self.config, iqn, *tag, initiator)?.luns.iter().map(|l| l.lun).collect();
        Some((iqn.clone(), *tag, initiator.clone(), luns))
    }

    /// What cannot be set may be said all the same, when it is true, or nobody would notice.
    fn keep_fixed(&self, node: &Node, changes: &[(&'static Setting, &str)]) -> Result<(), String> {
        for (setting, value) in changes.iter().filter(|(s, value)| self.moot(node, s, value).is_none()) {
            let why = match setting.form {
                Form::Fixed(why) => why,
                Form::Lio(known) => known.reason,
                _ => continue,
            };
            let is = self.value(node, setting);
            if !settings::is_same(value, &is) {
                return Err(format!("{}: {why}; it is {is} here, not {value}", setting.name));
            }
        }
        Ok(())
    }

    fn set_global(&mut self, named: &[(String, String)]) -> Result<(), String> {
        let mut prefs = self.prefs.clone();
        for (name, value) in named.iter().filter(|(name, _)| prefs::moot(name).is_none()) {
            if prefs.get(name).is_none() {
                return Err(no_pref(name));
            }
            prefs.set(name, value).map_err(|e| format!("{name}: {e}"))?;
        }
        self.prefs = prefs;
        self.keep_prefs()?;
        for (name, _) in named {
            match (prefs::moot(name), self.prefs.get(name)) {
                (Some(reason), _) => self.say(format!("Parameter {name} makes no difference: {reason}.")),
                (None, value) => {
                    self.say(format!("Parameter {name} is now '{}'.", value.unwrap_or_default()));
                }
            }
        }
        Ok(())
    }
}

/// The rest of a secret with a space in it looks like such a word.
fn without_value(group: &str, word: &str) -> String {
    if settings::SECRET_GROUPS.contains(&group) {
        return "a word has no value; the syntax is: set group name=value, with quotes around a value with spaces"
            .into();
    }
    format!("\"{word}\" has no value; the syntax is: set group name=value")
}

fn no_pref(name: &str) -> String {
    let hint = words::suggestion(name, prefs::NAMES.iter().map(|(name, _)| *name));
    format!("there is no preference {name}; {hint}")
}

fn change(doc: &mut Document, node: &Node, setting: &Setting, value: &str) -> Result<(), EditError> {
    let Some(owner) = settings::owner(node, setting) else { return Ok(()) };
    if setting.form == Form::Credential {
        return doc.set_credential(&owner, door(setting), setting.key, value);
    }
    let refused = |why: String| EditError::Refused(format!("{}: {why}", setting.name));
    doc.set(&owner, setting.key, setting.form.scalar(value).map_err(refused)?.as_ref())
}

/// Whether a group itself demands credentials, whoever has some.
fn is_written(doc: &Document, node: &Node) -> bool {
    let Node::Tpg(iqn, tag) = node else { return false };
    let written = doc.get(&Owner::Tpg(iqn.clone(), *tag), settings::REQUIRE_CHAP);
    written.is_some_and(|written| written == "true")
}

/// Credentials that are there are demanded: nobody is told that they are not. `below`: some ACL has some; `written`: the
/// group demanded them of everybody, which can be taken back.
fn demand_chap(
    doc: &Document,
    node: &Node,
    changes: &[(&Setting, &str)],
    below: bool,
    written: bool,
) -> Result<(), EditError> {
    let is_end =
        |(s, value): &&(&Setting, &str)| s.form == Form::Demand && settings::flag(value) == Ok(false);
    let Some((setting, _)) = changes.iter().rfind(is_end) else { return Ok(()) };
    let Some(owner) = settings::owner(node, setting) else { return Ok(()) };
    let there = doc.credential(&owner, Door::In).map_or(true, |(user, secret)| user.is_some() || secret);
    if (there || below) && !written {
        let why = if *node == Node::Iscsi { settings::DEMANDED_BY_ALL } else { settings::DEMANDED };
        return Err(EditError::Refused(format!("{}: {why}", setting.name)));
    }
    Ok(())
}

const TOGETHER: &str = "digests are demanded of headers and data, or of neither: set HeaderDigest and DataDigest in one line, \
                        both to CRC32C or neither; CRC32C,None offers one";

/// Demands digests, or no longer. What is said of one must agree with what is said, or holds, of the other.
fn demand_digests(doc: &mut Document, node: &Node, changes: &[(&Setting, &str)]) -> Result<(), EditError> {
    let Node::Tpg(iqn, tag) = node else { return Ok(()) };
    let owner = Owner::Parameters(iqn.clone(), *tag);
    let is = doc.get(&owner, settings::REQUIRE_DIGESTS).is_some_and(|written| written == "true");
    let demanded = |name| {
        let said = changes.iter().rfind(|(setting, _)| setting.name == name);
        said.map_or(is, |(_, value)| settings::demands_digest(value))
    };
    let (headers, data) = (demanded("HeaderDigest"), demanded("DataDigest"));
    if headers != data {
        return Err(EditError::Refused(TOGETHER.into()));
    }
    if headers == is {
        return Ok(());
    }
    doc.set(&owner, settings::REQUIRE_DIGESTS, headers.then_some(Scalar::Flag(true)).as_ref())
}

//! `sessions`: who is logged in where one stands.

use serde_json::{Value, json};

use super::Shell;
use super::node::{self, Node};
use super::verbs::Values;
use crate::admin::config::words;
use crate::cli::sessions::negotiated;
use crate::target::Lun;

/// What can be done with sessions.
pub(super) const ACTIONS: &[&str] = &["list", "detail", "kick", "drain"];

impl Shell {
    pub(super) fn sessions(&mut self, node: &Node, values: &Values) -> Result<(), String> {
        let action = values.get("action").unwrap_or("list");
        let sid = values.number("sid")?;
        let chosen = self.sessions_at(node, sid)?;
        match action {
            "list" | "detail" if chosen.is_empty() => self.say("(no open sessions)"),
            "list" => chosen.iter().for_each(|session| self.say(heading(session))),
            "detail" => chosen.iter().for_each(|session| self.detail(session)),
            "kick" => self.put_out("sessions.kick", &chosen, "Dropped session")?,
            "drain" => self.put_out("sessions.drain", &chosen, "Asked to log out: session")?,
            other => {
                let hint = words::suggestion(other, ACTIONS.iter().copied());
                return Err(format!("nothing can be done with sessions by {other}; {hint}"));
            }
        }
        Ok(())
    }

    fn sessions_at(&self, node: &Node, sid: Option<u16>) -> Result<Vec<Value>, String> {
        let mut answer = self.backend.ask("sessions.list", json!({}))?;
        let all: Vec<Value> = answer["sessions"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let here = all.into_iter().filter(|session| is_at(session, node));
        let Some(sid) = sid else { return Ok(here.collect()) };
        let found: Vec<Value> = here.filter(|session| session["tsih"] == sid).collect();
        if found.is_empty() { Err(format!("there is no session {sid} here")) } else { Ok(found) }
    }

    /// Credentials that are demanded from now on are asked for at the next login: says so of sessions that are in without.
    pub(super) fn tell_of_unproved(&mut self, node: &Node) {
        let demanded = match node {
            Node::Acl(iqn, tag, initiator) => {
                node::acl(&self.config, iqn, *tag, initiator).is_some_and(|acl| acl.auth.required())
            }
            Node::Tpg(iqn, tag) => node::tpg(&self.config, iqn, *tag).is_some_and(|tpg| tpg.auth.required()),
            _ => false,
        };
        if !demanded || !self.backend.standing().is_live() {
            return;
        }
        let here = self.sessions_at(node, None).unwrap_or_default();
        match here.iter().filter(|session| session["chap"].is_null()).count() {
            0 => {}
            1 => self.say("1 session goes on without having shown them; `sessions kick` here ends it."),
            n => self.say(format!(
                "{n} sessions go on without having shown them; `sessions kick` here ends them."
            )),
        }
    }

    fn detail(&mut self, session: &Value) {
        self.say(heading(session));
        let text = |key: &str| session[key].as_str().unwrap_or_default();
        let proved = if session["chap"].is_null() { "NOT AUTHENTICATED" } else { "authenticated" };
        let mut lines = vec![format!("name: {} ({proved})", text("initiator"))];
        if let Some(target) = session["target"].as_str() {
            lines.push(format!("target: {target}/tpg{}", session["tpg"]));
            lines.extend(self.seen_by(target, session));
        }
        lines.push(format!("address: {} (TCP)  connection-state: LOGGED_IN", text("peer")));
        lines.extend(negotiated(&session["negotiated"]));
        lines.iter().for_each(|line| self.say(format!("    {line}")));
    }

    /// The LUNs that a session sees, as the configuration has them.
    fn seen_by(&self, target: &str, session: &Value) -> Vec<String> {
        let tag = session["tpg"].as_u64().and_then(|tag| u16::try_from(tag).ok()).unwrap_or(0);
        let initiator = session["initiator"].as_str().unwrap_or_default();
        let acl = node::acl(&self.config, target, tag, initiator).map(|acl| &acl.luns);
        let luns = acl.or_else(|| node::tpg(&self.config, target, tag).map(|tpg| &tpg.luns));
        let line = |lun: &Lun| {
            let store = self.config.stores.get(lun.lu.0 as usize)?;
            let mode = if lun.read_only { "r" } else { "rw" };
            let (kind, name) = (store.kind.word(), &store.name);
            Some(format!("mapped-lun: {} backstore: {kind}/{name} mode: {mode}", lun.lun))
        };
        luns.into_iter().flatten().filter_map(line).collect()
    }

    fn put_out(&mut self, method: &str, chosen: &[Value], done: &str) -> Result<(), String> {
        if chosen.is_empty() {
            return Err("there is no session here".into());
        }
        for session in chosen {
            let answer = self.backend.ask(method, json!({ "tsih": session["tsih"] }))?;
            // It may have gone by itself.
            if answer["sessions"].as_u64() > Some(0) {
                let initiator = session["initiator"].as_str().unwrap_or_default();
                self.say(format!("{done} {} of {initiator}.", session["tsih"]));
            }
        }
        Ok(())
    }

    /// The numbers of the sessions that are here.
    pub(super) fn numbers_at(&self, node: &Node) -> Vec<String> {
        let here = self.sessions_at(node, None).unwrap_or_default();
        here.iter().map(|session| session["tsih"].to_string()).collect()
    }

    /// Initiators that were refused of late.
    pub(super) fn refused(&self) -> Vec<String> {
        let answer = self.backend.ask("sessions.list", json!({})).unwrap_or_default();
        let names = answer["refused"].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect()
    }
}

fn is_at(session: &Value, node: &Node) -> bool {
    let is = |iqn: &String| session["target"] == iqn.as_str();
    match node {
        Node::Target(iqn) => is(iqn),
        Node::Tpg(iqn, tag) => is(iqn) && session["tpg"] == *tag,
        Node::Acl(iqn, tag, initiator) => {
            is(iqn) && session["tpg"] == *tag && session["initiator"] == initiator.as_str()
        }
        _ => true,
    }
}

fn heading(session: &Value) -> String {
    // It says what it likes of itself.
    let alias = session["alias"].as_str().unwrap_or("-").escape_debug();
    let kind = if session["target"].is_null() { "Discovery" } else { "Normal" };
    format!("alias: {alias}\tsid: {} type: {kind} session-state: LOGGED_IN", session["tsih"])
}

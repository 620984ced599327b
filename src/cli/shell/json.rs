//! What a line does, for programs: one object with the version of its form.
//!
//! `ls`: `{"version":1,"path":…,"tree":{"name":…,"summary":…,"children":[…]}}`. `get`: `{"version":1,"path":…,
//! "group":…,"values":{…}}`, where a secret is `true` or `false`. `info`: `{"version":1,"path":…,"summary":…,
//! "settings":{…}}`. A backstore that is served and not ready has `not_ready` beside its summary: why; one
//! that is served otherwise than is written, until the next start, has that in `served`. Everything else:
//! `{"version":1,"lines":[…]}`, what would be printed.

use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::line::Line;
use super::node::Node;
use super::settings::{self, Form, Setting};
use super::tree::{Places, View};
use super::{Next, Shell, tree, verbs};

/// The version of these forms: keys may come, none goes or changes its meaning.
const VERSION: u32 = 1;

impl Shell {
    /// Does what a line says; what came of it.
    pub(super) fn json(&mut self, line: Line) -> Result<Value, String> {
        let mut rest = Line { words: line.words.clone(), named: line.named.clone() };
        let path = verbs::split_path(&mut rest, |word| self.here.child(word, &self.config).is_some());
        let (trail, node) = self.resolve(path.as_deref().unwrap_or("."))?;
        let path = format!("/{}", trail.join("/"));
        match rest.words.first().map(String::as_str) {
            Some("ls") => {
                let values = verbs::bind(&verbs::find(&node, "ls")?, &rest.words[1..], &rest.named)?;
                let (node, depth) = self.listed(&trail, &values)?;
                let (served, places) = (self.served(&node), Places::of(&self.config));
                let tree = branch(&node, depth, self.view(&served, &places));
                Ok(json!({ "version": VERSION, "path": self.path_of(&trail, &values)?, "tree": tree }))
            }
            Some("get") if rest.words.len() > 1 && rest.words[1] != "global" => {
                let (group, facts) = (&rest.words[1], self.facts(&node));
                let chosen = Self::chosen(&node, group, &rest.words[2..])?;
                let values = self.values(&node, &chosen, &facts);
                let told = json!({ "version": VERSION, "path": path, "group": group, "values": values });
                Ok(self.with_served(told, &node, &chosen, &facts))
            }
            Some("info") => {
                let (served, places) = (self.served(&node), Places::of(&self.config));
                let summary = tree::summary(&node, self.view(&served, &places)).text;
                let all = settings::of(&node).iter().filter(|s| !matches!(s.form, Form::Lio(_)));
                let (all, facts) = (all.collect::<Vec<_>>(), self.facts(&node));
                let values = self.values(&node, &all, &facts);
                let told =
                    json!({ "version": VERSION, "path": path, "summary": summary, "settings": values });
                let told = self.with_served(told, &node, &all, &facts);
                Ok(with_reason(told, served.not_ready(&node)))
            }
            _ => {
                let _: Next = self.run(line)?;
                let said = std::mem::take(&mut self.said);
                Ok(json!({ "version": VERSION, "lines": said.lines().collect::<Vec<_>>() }))
            }
        }
    }

    fn path_of(&self, trail: &[String], values: &verbs::Values) -> Result<String, String> {
        let path = super::below(trail, values.get("path").unwrap_or(""));
        Ok(format!("/{}", self.resolve(&path)?.0.join("/")))
    }

    fn values(&self, node: &Node, settings: &[&Setting], facts: &Facts) -> Map<String, Value> {
        settings.iter().map(|s| (s.name.to_owned(), self.shown(node, s, facts))).collect()
    }

    /// The same with what is served in the place of what is written, if anything is.
    fn with_served(&self, mut told: Value, node: &Node, settings: &[&Setting], facts: &Facts) -> Value {
        for setting in settings {
            if let Some(served) = self.served_instead(node, setting, facts) {
                told["served"][setting.name] = served.into();
            }
        }
        told
    }

    fn shown(&self, node: &Node, setting: &Setting, facts: &Facts) -> Value {
        let value = self.value_of(node, setting, facts);
        let secret = setting.form == Form::Credential && setting.key == "secret";
        if secret { Value::from(!value.is_empty()) } else { Value::from(value) }
    }
}

/// The same of what is not ready, if it is not.
fn with_reason(mut told: Value, why: Option<&str>) -> Value {
    why.iter().for_each(|why| told["not_ready"] = (*why).into());
    told
}

fn branch(node: &Node, depth: Option<usize>, view: View<'_>) -> Value {
    let summary = tree::summary(node, view).text;
    let children = if depth == Some(0) { Vec::new() } else { view.children(node) };
    let below = depth.map(|depth| depth.saturating_sub(1));
    let children: Vec<Value> = children.iter().map(|child| branch(child, below, view)).collect();
    let told = json!({ "name": node.name(), "summary": summary, "children": children });
    with_reason(told, view.served.not_ready(node))
}

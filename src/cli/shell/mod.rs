//! `ringtgt shell`: the language of targetcli.
//!
//! Owns: paths, verbs, what they print, preferences. Promises: a line is done whole or not at all; a mistake is
//! explained; a secret is never printed; what comes from a pipe stops at the first mistake. Refuses to know: how a
//! configuration is checked, and what a daemon makes of it.

mod access;
mod addresses;
mod arriving;
mod backend;
mod complete;
mod create;
mod daemon;
mod delete;
mod device;
mod facts;
mod groups;
mod json;
mod line;
mod loopback;
mod node;
mod prefs;
mod restore;
mod run;
mod sessions;
mod set;
mod settings;
mod together;
mod tree;
mod verbs;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use access::Served;
use backend::{Backend, Standing};
use device::Seen;
use line::Line;
use node::Node;
use prefs::Prefs;
use settings::{Form, Setting};
use together::Together;
use tree::{Places, Style, View};
use verbs::Values;

use crate::admin::config::{self, Config, Kept, dir_of, words};
use crate::admin::edit::{self, Document, EditError};

pub(super) use run::{Mode, run};

/// What is said of objects that are made line by line, and not whole yet.
const STEPS: [&str; 4] = [config::UNFINISHED, config::NO_PORTAL, config::NO_ACL, config::NO_PORT];

/// What is said to whoever wants to disable a group.
const ENABLED: &str = "every group that is configured is enabled; delete its portals, and nobody logs in to it any \
                       more; `sessions drain` asks those to log out who are there, and `ringtgt drain --target IQN \
                       --to ADDR` sends them elsewhere for a while";

/// What a line has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    Exit,
}

/// What the shell asks the host.
#[derive(Clone, Copy)]
struct Host {
    look: fn(&Path) -> Seen,
    block_devices: fn() -> Vec<String>,
    addresses: fn() -> Vec<String>,
    name: fn() -> String,
}

/// A shell: the configuration under edit, and where in it one is.
struct Shell {
    backend: Box<dyn Backend>,
    host: Host,
    doc: Document,
    /// What it says, but for edits that nobody has taken yet.
    text: String,
    config: Config,
    warnings: Vec<String>,
    /// What was checked last.
    kept: RefCell<Kept>,
    together: Together,
    /// What is to be told of the edits of a line, behind what the line itself says.
    told: Vec<String>,
    /// Edits were made that are not saved.
    dirty: bool,
    /// The file was changed.
    changed: bool,
    /// An edit is saved before anybody could look at it.
    saves_at_once: bool,
    here: Node,
    /// The names on the way to `here`.
    trail: Vec<String>,
    before: String,
    prefs: Prefs,
    prefs_file: Option<PathBuf>,
    style: Style,
    said: String,
    /// How often the checker has looked at all of it.
    #[cfg(test)]
    checks: std::cell::Cell<usize>,
}

impl Shell {
    /// A shell over what `backend` has.
    fn open(backend: Box<dyn Backend>, host: Host, prefs: Prefs, style: Style) -> Result<Self, String> {
        let mut shell = Self {
            backend,
            host,
            doc: Document::default(),
            text: String::new(),
            config: Config::default(),
            warnings: Vec::new(),
            kept: RefCell::default(),
            together: Together::default(),
            told: Vec::new(),
            dirty: false,
            changed: false,
            saves_at_once: false,
            here: Node::Root,
            trail: Vec::new(),
            before: "/".into(),
            prefs,
            prefs_file: None,
            style,
            said: String::new(),
            #[cfg(test)]
            checks: std::cell::Cell::default(),
        };
        shell.load()?;
        Ok(shell)
    }

    /// Reads the configuration anew.
    fn load(&mut self) -> Result<(), String> {
        // Lines end in one way in what is written.
        let text = self.backend.load(self.kept.get_mut())?.replace("\r\n", "\n");
        let doc = Document::read(&self.backend.file().display().to_string(), &text)?;
        let (config, warnings) = self.check(&text).map_err(|error| match error {
            EditError::Invalid(report) => report.to_string(),
            refused => refused.to_string(),
        })?;
        self.backend.taken();
        (self.doc, self.text, self.config, self.warnings) = (doc, text, config, warnings);
        // What is served and was not saved is still there.
        self.dirty &= self.differs();
        self.settle();
        Ok(())
    }

    /// Whether something is served that the file does not say.
    fn differs(&self) -> bool {
        matches!(self.backend.standing(), Standing::Live { differs: true, .. })
    }

    /// Takes what is served by now, when that has become something else without this shell.
    fn follow(&mut self) {
        let lost = self.dirty && !self.backend.standing().is_live();
        if !lost && self.backend.is_outrun() && self.load().is_ok() {
            self.say("What is served was changed by somebody else; from here on it is what it is now.");
        }
    }

    fn check(&self, text: &str) -> Result<(Config, Vec<String>), EditError> {
        #[cfg(test)]
        self.checks.update(|n| n + 1);
        let file = self.backend.file();
        let kept = &mut self.kept.borrow_mut();
        let (config, report) = edit::check(text, kept, &file.display().to_string(), &dir_of(file))?;
        Ok((config, report.problems().iter().map(ToString::to_string).collect()))
    }

    /// Goes as far up as needed to be somewhere that is.
    fn settle(&mut self) {
        while self.resolve(&self.path()).is_err() && self.trail.pop().is_some() {}
        if let Ok((trail, node)) = self.resolve(&self.path()) {
            (self.trail, self.here) = (trail, node);
        }
    }

    /// Makes an edit, if the checker takes it, and the daemon that serves this, if one does.
    fn edit(&mut self, change: impl FnOnce(&mut Document) -> Result<(), EditError>) -> Result<(), String> {
        self.allow("edit")?;
        if self.saves_at_once && self.differs() {
            return Err(self.not_at_once());
        }
        let done = change(&mut self.doc).map_err(|e| e.to_string()).and_then(|()| self.take_edit());
        if done.is_err() {
            self.forget_edit();
        }
        done
    }

    /// What the document has become is what counts, if the checker and the daemon take it.
    fn take_edit(&mut self) -> Result<(), String> {
        let text = self.doc.text();
        let (config, warnings) = self.check(&text).map_err(|e| e.to_string())?;
        let told = self.backend.edited(&text)?;
        let new = self.news(&warnings);
        self.told.extend(new.into_iter().chain(told));
        (self.text, self.config, self.warnings, self.dirty) = (text, config, warnings, true);
        self.settle();
        Ok(())
    }

    /// The document says again what was taken last. That is less often needed than a copy would be made.
    fn forget_edit(&mut self) {
        if let Ok(doc) = Document::parse(&self.text) {
            self.doc = doc;
        }
    }

    /// What of these warnings is to be told, as it was not yet. What is missing is no mistake while it is to be typed yet.
    fn news(&self, warnings: &[String]) -> Vec<String> {
        let known: HashSet<&String> = self.warnings.iter().collect();
        let is_step = |w: &str| STEPS.iter().any(|step| w.starts_with(step));
        let new = warnings.iter().filter(|w| !is_step(w) && !known.contains(w));
        new.map(|w| format!("Warning: {w}")).collect()
    }

    /// Why nothing is changed by a line whose change would be saved: what somebody has written in the file would be gone.
    fn not_at_once(&self) -> String {
        let file = self.backend.file().display();
        format!(
            "nothing was changed: what is served differs from {file} (`ringtgt diff {file}` tells how), and would be saved there. \
             First have the file served (`ringtgt reload`), or replaced by what is served (`ringtgt save`)"
        )
    }

    /// Why what was changed is not saved at the end, if there is a reason: somebody has written something else in the file.
    fn not_at_the_end(&self) -> Option<String> {
        let is_other = self.prefs.auto_save_on_exit && self.dirty && self.backend.has_other_text();
        let file = self.backend.file().display();
        is_other.then(|| {
            format!(
                "what was changed is served, but not saved: {file} says something else than what was served before (`ringtgt diff \
                 {file}` tells what). `ringtgt save` replaces the file by what is served, `ringtgt reload` serves the file instead"
            )
        })
    }

    fn say(&mut self, text: impl AsRef<str>) {
        self.said.push_str(text.as_ref());
        self.said.push('\n');
    }

    fn path(&self) -> String {
        format!("/{}", self.trail.join("/"))
    }

    fn view<'a>(&'a self, served: &'a Served, places: &'a Places<'a>) -> View<'a> {
        View { config: &self.config, look: self.host.look, served, places }
    }

    /// The node of a path, and the names on the way.
    fn resolve(&self, path: &str) -> Result<(Vec<String>, Node), String> {
        let path = self.expand(path)?;
        let mut trail = if path.starts_with('/') { Vec::new() } else { self.trail.clone() };
        for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                trail.pop();
            } else {
                trail.push(part.to_owned());
            }
        }
        let mut node = Node::Root;
        for name in &mut trail {
            let child = node.child(name, &self.config).ok_or_else(|| self.no_such(&node, name))?;
            *name = child.name();
            node = child;
        }
        Ok((trail, node))
    }

    fn expand(&self, path: &str) -> Result<String, String> {
        if path == "-" {
            return Ok(self.before.clone());
        }
        let Some(bookmark) = path.strip_prefix('@') else { return Ok(path.to_owned()) };
        let (name, rest) = bookmark.split_once('/').unwrap_or((bookmark, ""));
        let there = self.prefs.bookmarks.get(name).ok_or_else(|| {
            let hint = words::suggestion(name, self.prefs.bookmarks.keys().map(String::as_str));
            format!("there is no bookmark {name}; {hint}")
        })?;
        Ok(format!("{there}/{rest}"))
    }

    fn no_such(&self, node: &Node, name: &str) -> String {
        let names: Vec<String> = node.children(&self.config).iter().map(Node::name).collect();
        let hint = words::suggestion(name, names.iter().map(String::as_str));
        format!("there is no {name} in {}; {hint}", node.name())
    }

    /// Does what a line says. What is to be printed is in `said` afterwards, also when it fails.
    fn line(&mut self, text: &str) -> Result<Next, String> {
        self.run(Line::parse(text)?)
    }

    fn run(&mut self, line: Line) -> Result<Next, String> {
        let done = self.perform(line);
        std::mem::take(&mut self.told).iter().for_each(|told| self.say(told));
        done
    }

    fn perform(&mut self, mut line: Line) -> Result<Next, String> {
        let path = verbs::split_path(&mut line, |word| self.here.child(word, &self.config).is_some());
        let (trail, node) = match &path {
            Some(path) => self.resolve(path)?,
            None => (self.trail.clone(), self.here.clone()),
        };
        if line.words.is_empty() {
            if let Some(path) = path {
                self.cd(&path)?;
            } else if let Some((name, _)) = line.named.first() {
                return Err(format!("{name}=… stands here without a command; `help` lists them"));
            }
            return Ok(Next::Go);
        }
        let word = line.words.remove(0);
        let verb = verbs::find(&node, &word)?;
        self.allow(verb.name)?;
        if ["set", "get"].contains(&verb.name) {
            return self.set_or_get(verb.name, &node, &line).map(|()| Next::Go);
        }
        let values = verbs::bind(&verb, &line.words, &line.named)?;
        self.act(verb.name, &node, &trail, &values)
    }

    fn act(&mut self, verb: &str, node: &Node, trail: &[String], values: &Values) -> Result<Next, String> {
        match verb {
            "create" => self.create(node, trail, values)?,
            "delete" => self.delete(node, values)?,
            "ls" => self.ls(trail, values)?,
            "cd" => self.cd(values.get("path").unwrap_or("/"))?,
            "pwd" => self.say(format!("/{}", trail.join("/"))),
            "info" => self.info(node, trail),
            "help" => self.help(node, values.get("topic"))?,
            "bookmarks" => self.bookmarks(values)?,
            "refresh" => self.load()?,
            "sessions" => self.sessions(node, values)?,
            "version" => self.say(format!("ringtgt {}", env!("CARGO_PKG_VERSION"))),
            "enable" => self.say("The TPGT is already enabled."),
            "disable" => return Err(ENABLED.into()),
            "saveconfig" => self.saveconfig(values.get("savefile"))?,
            "restoreconfig" => self.restoreconfig(values)?,
            "clearconfig" => self.clearconfig(values)?,
            "exit" => return Ok(Next::Exit),
            other => return Err(format!("there is no command {other}")),
        }
        Ok(Next::Go)
    }

    fn ls(&mut self, trail: &[String], values: &Values) -> Result<(), String> {
        let (node, depth) = self.listed(trail, values)?;
        let colour = self.style.colour && self.prefs.color_mode;
        let style = Style { width: self.style.width, colour };
        let served = self.served(&node);
        let drawn = tree::draw(&node, depth, self.view(&served, &Places::of(&self.config)), &style);
        self.said.push_str(&drawn);
        Ok(())
    }

    /// What `ls` is to list, and how many levels of it.
    fn listed(&self, trail: &[String], values: &Values) -> Result<(Node, Option<usize>), String> {
        let (mut path, mut depth) = (values.get("path").unwrap_or(""), values.get("depth"));
        // `ls 2`: a depth alone.
        if depth.is_none() && path.parse::<usize>().is_ok() {
            (path, depth) = ("", Some(path));
        }
        let (_, node) = self.resolve(&below(trail, path))?;
        let said = depth.map(|text| text.parse().map_err(|_| format!("depth: \"{text}\" is no number")));
        let liked = Some(self.prefs.tree_max_depth as usize).filter(|depth| *depth > 0);
        Ok((node, said.transpose()?.or(liked)))
    }

    fn cd(&mut self, path: &str) -> Result<(), String> {
        let (trail, node) = self.resolve(path)?;
        self.before = self.path();
        (self.trail, self.here) = (trail, node);
        Ok(())
    }

    fn info(&mut self, node: &Node, trail: &[String]) {
        let (served, places) = (self.served(node), Places::of(&self.config));
        let summary = tree::summary(node, self.view(&served, &places)).text;
        self.say(format!("path: /{}", trail.join("/")));
        self.say(format!("summary: {summary}"));
        served.not_ready(node).into_iter().for_each(|why| self.say(format!("not ready: {why}")));
        if *node == Node::Root {
            self.say(self.standing());
        }
        let is_told = |form| !matches!(form, Form::Credential | Form::Lio(_));
        let (settings, facts) = (settings::of(node), self.facts(node));
        // Some have a name in two groups.
        let is_first = |n: usize, s: &Setting| settings[..n].iter().all(|other| other.name != s.name);
        let told = settings.iter().enumerate().filter(|(n, s)| is_told(s.form) && is_first(*n, s));
        for (_, setting) in told {
            let value = self.shown_value(node, setting, &facts);
            if !value.is_empty() {
                self.say(format!("{}: {value}", setting.name));
            }
        }
    }

    /// Who serves what is edited here, as a sentence.
    fn standing(&self) -> String {
        self.backend.standing().tell(self.backend.file())
    }

    fn help(&mut self, node: &Node, topic: Option<&str>) -> Result<(), String> {
        let verbs = match topic {
            Some(topic) => vec![verbs::find(node, topic)?],
            None => verbs::all(node),
        };
        for verb in verbs {
            self.say(verbs::syntax(&verb));
            self.say(format!("    {}", verb.help));
        }
        if topic.is_none() {
            self.say("");
            self.say("/PATH COMMAND … does it there; NAME=VALUE names a parameter; a word that begins with # begins a comment.");
            self.say(self.standing());
        } else if ["set", "get"].contains(&topic.unwrap_or_default()) {
            self.list_settings(node);
        }
        Ok(())
    }

    fn bookmarks(&mut self, values: &Values) -> Result<(), String> {
        let name = values.get("bookmark").map(str::to_owned);
        match (values.get("action").unwrap_or("show"), name) {
            ("show", _) => {
                let list: Vec<String> =
                    self.prefs.bookmarks.iter().map(|(name, path)| format!("{name}: {path}")).collect();
                list.iter().for_each(|line| self.say(line));
                Ok(())
            }
            ("add", Some(name)) => {
                let path = self.path();
                self.say(format!("Bookmark {name} is {path}."));
                self.prefs.bookmarks.insert(name, path);
                self.keep_prefs()
            }
            ("del", Some(name)) => {
                self.expand(&format!("@{name}"))?;
                self.prefs.bookmarks.remove(&name);
                self.say(format!("Deleted bookmark {name}."));
                self.keep_prefs()
            }
            ("go", Some(name)) => self.cd(&format!("@{name}")),
            ("add" | "del" | "go", None) => Err("bookmark is missing: which one?".into()),
            (other, _) => {
                let hint = words::suggestion(other, verbs::BOOKMARK_ACTIONS.iter().copied());
                Err(format!("nothing can be done with a bookmark by {other}; {hint}"))
            }
        }
    }

    fn keep_prefs(&self) -> Result<(), String> {
        self.prefs_file.as_ref().map_or(Ok(()), |file| self.prefs.store(file))
    }

    fn saveconfig(&mut self, elsewhere: Option<&str>) -> Result<(), String> {
        let elsewhere = elsewhere.map(PathBuf::from);
        // The file itself is no other place, however it is spelled.
        let elsewhere = elsewhere.filter(|file| !super::is_same_file(file, self.backend.file()));
        let saved = self.save(elsewhere.as_deref())?;
        if elsewhere.is_none() {
            self.dirty = false;
        }
        self.unfinished();
        self.say(format!("Configuration saved to {}", saved.display()));
        Ok(())
    }

    /// Saves it, here or elsewhere.
    pub(super) fn save(&mut self, elsewhere: Option<&Path>) -> Result<PathBuf, String> {
        let backups = self.prefs.max_backup_files as usize;
        match elsewhere {
            Some(file) => self.backend.save(&self.text_for(file)?, elsewhere, backups),
            None => {
                let saved = self.backend.save(&self.text, None, backups)?;
                self.changed |= self.dirty;
                Ok(saved)
            }
        }
    }

    /// Who cannot log in because of what is being saved.
    fn unfinished(&mut self) {
        let is_half = |w: &&String| w.starts_with(config::UNFINISHED) || w.starts_with(config::NO_CHAP);
        let half = self.warnings.iter().filter(is_half);
        let half = half.map(|w| format!("Warning: {w}"));
        // The line that has led to it may have said so.
        let half: Vec<String> = half.filter(|warning| !self.said.contains(warning)).collect();
        half.iter().for_each(|warning| self.say(warning));
    }

    /// The end of a session: saves what was changed, if that is liked.
    fn finish(&mut self) -> Result<(), String> {
        if self.prefs.auto_save_on_exit {
            self.say("Global pref auto_save_on_exit=true");
            if !self.dirty && self.differs() {
                self.say(self.standing());
                return Ok(());
            }
            if let Some(why) = self.not_at_the_end() {
                self.say(why);
                return Ok(());
            }
            if !self.dirty && self.text.is_empty() {
                return Ok(());
            }
            let saved = match self.dirty {
                true => self.save(None)?,
                false => self.backend.file().to_owned(),
            };
            self.unfinished();
            let dir = edit::backup_dir(&saved);
            let kept = self.prefs.max_backup_files.max(1); // the last one stays
            self.say(format!("Last {kept} configs saved in {}/.", dir.display()));
            self.say(format!("Configuration saved to {}", saved.display()));
            self.dirty = false;
        } else if self.dirty {
            self.say("What was changed is not saved: auto_save_on_exit is false.");
            if self.backend.standing().is_live() {
                self.say("It is served until the daemon ends or reloads its file.");
            }
        }
        Ok(())
    }
}

/// A path as it is meant from `trail`.
fn below(trail: &[String], path: &str) -> String {
    if path.starts_with(['/', '@']) { path.to_owned() } else { format!("/{}/{path}", trail.join("/")) }
}

/// The name of an iSCSI node as it is kept.
fn iqn(text: &str) -> Result<String, String> {
    config::check_iqn(text, config::At::Whole).map_err(|problem| problem.to_string())
}

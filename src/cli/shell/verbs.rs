//! What can be done where: verbs, their parameters, and how those are filled from a line.

use std::collections::HashMap;

use super::line::Line;
use super::node::Node;
use super::sessions::ACTIONS;
use crate::admin::config::words;
use crate::store::{Io, StoreKind};

/// What a parameter is, for completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    Device,
    File,
    Path,
    StorePath,
    Child,
    Initiator,
    Address,
    Port,
    /// A number or a name that nothing here has yet.
    Free,
    /// A LUN of the group, or a backstore.
    Behind,
    Session,
    /// A target of the file that is restored.
    SavedTarget,
    /// A backstore of it.
    SavedStore,
    /// One of these.
    Word(&'static [&'static str]),
}

/// A parameter of a verb.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) kind: Kind,
}

/// A verb, as it is at one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    pub(super) help: &'static str,
}

const fn must(name: &'static str, kind: Kind) -> Param {
    Param { name, required: true, kind }
}

const fn may(name: &'static str, kind: Kind) -> Param {
    Param { name, required: false, kind }
}

/// The ways in which a block device can be worked on.
pub(super) const WAYS: &[&str] = &[Io::Direct.word(), Io::Polled.word(), Io::Passthrough.word()];

/// What can be done with bookmarks.
pub(super) const BOOKMARK_ACTIONS: &[&str] = &["add", "del", "go", "show"];

/// What can be done everywhere.
pub(super) static COMMON: &[Verb] = &[
    Verb {
        name: "bookmarks",
        params: &[may("action", Kind::Word(BOOKMARK_ACTIONS)), may("bookmark", Kind::Text)],
        help: "add NAME, go NAME, del NAME or show: names for paths; @NAME is a path too",
    },
    Verb { name: "cd", params: &[may("path", Kind::Path)], help: "go to a path; `cd -` goes back" },
    Verb {
        name: "clearconfig",
        params: &[may("confirm", Kind::Flag)],
        help: "confirm=True deletes all backstores and targets",
    },
    Verb { name: "exit", params: &[], help: "leave the shell; by default the configuration is saved" },
    Verb {
        name: "get",
        params: &[may("group", Kind::Text), may("parameter", Kind::Text)],
        help: "show settings: all groups, a group, or some of a group",
    },
    Verb { name: "help", params: &[may("topic", Kind::Text)], help: "this, or more about one command" },
    Verb { name: "info", params: &[], help: "say what this object is" },
    Verb {
        name: "ls",
        params: &[may("path", Kind::Path), may("depth", Kind::Text)],
        help: "show the tree from here or from a path, so many levels deep",
    },
    Verb { name: "pwd", params: &[], help: "show the path of this place" },
    Verb {
        name: "refresh",
        params: &[],
        help: "read the configuration again: what is served, or the file when nobody serves it",
    },
    Verb {
        name: "restoreconfig",
        params: &[
            may("savefile", Kind::File),
            may("clear_existing", Kind::Flag),
            may("target", Kind::SavedTarget),
            may("storage_object", Kind::SavedStore),
        ],
        help: "take objects from a saved file, all or those that are named; clear_existing puts them in the place of what is there",
    },
    Verb {
        name: "saveconfig",
        params: &[may("savefile", Kind::File)],
        help: "save the configuration, here or to another file",
    },
    Verb {
        name: "set",
        params: &[may("group", Kind::Text)],
        help: "set group name=value …; an empty value is the default. `set global …` for preferences",
    },
    Verb { name: "version", params: &[], help: "say which ringtgt this is" },
];

macro_rules! verb {
    ($name:literal [$($param:expr),*] $help:literal) => {
        Verb { name: $name, params: &[$($param),*], help: $help }
    };
}

const SESSIONS: Verb = verb!("sessions" [may("action", Kind::Word(ACTIONS)), may("sid", Kind::Session)]
    "list those who are logged in here, in detail if so asked; kick drops them, drain asks them to log out first");

static SESSIONS_ONLY: &[Verb] = &[SESSIONS];
static TPG: &[Verb] = &[
    verb!("disable" [] "say how a group that is configured is kept from initiators"),
    verb!("enable" [] "nothing: a group that is configured is enabled"),
    SESSIONS,
];
static BLOCK: &[Verb] = &[
    verb!("create" [must("name", Kind::Text), must("dev", Kind::Device), may("readonly", Kind::Flag),
        may("wwn", Kind::Text), may("io", Kind::Word(WAYS))] "make a backstore of a block device"),
    verb!("delete" [must("name", Kind::Child), may("forget", Kind::Flag)]
        "delete a backstore and the LUNs that show it; the device is left alone; forget=true: nothing is kept for another of its name"),
];
static FILEIO: &[Verb] = &[
    verb!("create" [must("name", Kind::Text), must("file_or_dev", Kind::File), may("size", Kind::Text),
        may("write_back", Kind::Flag), may("sparse", Kind::Flag), may("wwn", Kind::Text)]
        "make a backstore of a file, which is created when it is absent"),
    verb!("delete" [must("name", Kind::Child), may("forget", Kind::Flag)]
        "delete a backstore and the LUNs that show it; the file is left alone; forget=true: nothing is kept for another of its name"),
];
static PSCSI: &[Verb] = &[
    verb!("create" [must("name", Kind::Text), must("dev", Kind::Device)] "pass a SCSI device through"),
    verb!("delete" [must("name", Kind::Child)] "delete a backstore and the LUNs that show it"),
];
static RAMDISK: &[Verb] = &[
    verb!("create" [must("name", Kind::Text), must("size", Kind::Text), may("nullio", Kind::Flag),
        may("wwn", Kind::Text)] "make a backstore of memory"),
    verb!("delete" [must("name", Kind::Child), may("forget", Kind::Flag)]
        "delete a backstore and the LUNs that show it; its data is gone; forget=true: nothing is kept for another of its name"),
];
static NULL: &[Verb] = &[
    verb!("create" [must("name", Kind::Text), must("size", Kind::Text), may("wwn", Kind::Text)]
        "make a backstore of nothing"),
    verb!("delete" [must("name", Kind::Child), may("forget", Kind::Flag)]
        "delete a backstore and the LUNs that show it; forget=true: nothing is kept for another of its name"),
];
static ISCSI: &[Verb] = &[
    verb!("create" [may("wwn", Kind::Free)] "make a target with a group; without a name it gets one"),
    verb!("delete" [must("wwn", Kind::Child)] "delete a target with everything in it"),
    SESSIONS,
];
static TARGET: &[Verb] = &[
    verb!("create" [may("tag", Kind::Free)] "make a target portal group"),
    verb!("delete" [must("tag", Kind::Child)] "delete a target portal group"),
    SESSIONS,
];
static LUNS: &[Verb] = &[
    verb!("create" [must("storage_object", Kind::StorePath), may("lun", Kind::Free),
        may("add_mapped_luns", Kind::Flag)] "show a backstore as a LUN"),
    verb!("delete" [must("lun", Kind::Child)] "delete a LUN, and the mapped LUNs that show it"),
];
static ACLS: &[Verb] = &[
    verb!("create" [must("wwn", Kind::Initiator), may("add_mapped_luns", Kind::Flag)] "let an initiator in"),
    verb!("delete" [must("wwn", Kind::Child)] "let an initiator in no longer"),
];
static ACL: &[Verb] = &[
    verb!("create" [must("mapped_lun", Kind::Free), must("tpg_lun_or_backstore", Kind::Behind),
        may("write_protect", Kind::Flag)] "show this initiator a LUN of the group"),
    verb!("delete" [must("mapped_lun", Kind::Child)] "show this initiator a LUN no longer"),
    SESSIONS,
];
static LOOPBACK: &[Verb] = &[
    verb!("create" [must("storage_object", Kind::StorePath), may("device", Kind::Free), may("readonly", Kind::Flag)]
        "make a backstore a disk of this host, too: /dev/ublkbN, with that N or the first that is free"),
    verb!("delete" [must("disk", Kind::Child)] "make it a disk of this host no longer; the backstore stays"),
];
static ALUA: &[Verb] = &[
    verb!("create" [must("name", Kind::Text), must("tag", Kind::Free)]
        "make a target port group with that number; `set alua alua_tg_pt_gp_name=` at a LUN puts it there"),
    verb!("delete" [must("name", Kind::Child)] "delete a target port group that no LUN is in"),
];
static PORTALS: &[Verb] = &[
    verb!("create" [may("ip_address", Kind::Address), may("ip_port", Kind::Port)] "listen at an address"),
    verb!("delete" [must("ip_address", Kind::Child), may("ip_port", Kind::Port)] "listen there no longer"),
];

/// What can be done at a node beside what can be done everywhere.
pub(super) fn own(node: &Node) -> &'static [Verb] {
    match node {
        Node::Root => SESSIONS_ONLY,
        Node::Tpg(..) => TPG,
        Node::Kind(StoreKind::Block) => BLOCK,
        Node::Kind(StoreKind::Fileio) => FILEIO,
        Node::Kind(StoreKind::Pscsi) => PSCSI,
        Node::Kind(StoreKind::Ramdisk) => RAMDISK,
        Node::Kind(StoreKind::Null) => NULL,
        Node::Iscsi => ISCSI,
        Node::Target(_) => TARGET,
        Node::Luns(..) => LUNS,
        Node::Acls(..) => ACLS,
        Node::Acl(..) => ACL,
        Node::Portals(..) => PORTALS,
        Node::Loopback => LOOPBACK,
        Node::Alua(_) => ALUA,
        _ => &[],
    }
}

/// Everything that can be done at a node, in the order of their names.
pub(super) fn all(node: &Node) -> Vec<Verb> {
    let mut all = [own(node), COMMON].concat();
    all.sort_by_key(|v| v.name);
    all
}

/// Whether a line with such a word may change the configuration.
pub(super) fn is_change(word: &str) -> bool {
    ["create", "delete", "set", "restoreconfig", "clearconfig", "saveconfig"].contains(&word)
}

/// Whether there is such a verb anywhere.
pub(super) fn is_verb(word: &str) -> bool {
    COMMON.iter().any(|v| v.name == word)
        || ["create", "delete", "disable", "enable", "sessions"].contains(&word)
}

/// Why there is no such verb, of those that targetcli has.
fn not_here(word: &str) -> Option<&'static str> {
    Some(match word {
        "status" => "`info` says what an object is, and `ls` how it stands",
        "tag" | "untag" => {
            "there are no groups of ACLs here: each stands for itself, and what is one for all is set at their group"
        }
        "enable_iser" => "iSER is not offered here: a portal is TCP",
        "enable_offload" => "nothing is handed to a network card here: a portal is TCP of the kernel",
        _ => return None,
    })
}

/// The verb of that name.
pub(super) fn find(node: &Node, word: &str) -> Result<Verb, String> {
    let all = all(node);
    all.iter().find(|v| v.name == word).copied().ok_or_else(|| {
        let hint = words::suggestion(word, all.iter().map(|v| v.name));
        if word == "sessions" {
            return "there are no sessions here; there are at /, /iscsi, a target, a group and an ACL".into();
        }
        if is_verb(word) {
            return format!("nothing can be {word}d here; `help` lists what can be done");
        }
        if let Some(why) = not_here(word) {
            return format!("there is no {word}: {why}");
        }
        format!("there is no command {word} here; {hint}")
    })
}

/// How a verb is typed.
pub(super) fn syntax(verb: &Verb) -> String {
    let params = verb.params.iter().map(|p| match p.required {
        true => format!(" {}", p.name),
        false => format!(" [{}]", p.name),
    });
    format!("{}{}", verb.name, params.collect::<String>())
}

/// The values of a verb's parameters.
#[derive(Debug, Default)]
pub(super) struct Values(HashMap<&'static str, String>);

impl Values {
    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One that must be there.
    pub(super) fn must(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A flag, if it is given.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        self.get(name).map(|text| super::settings::flag(text).map_err(|e| format!("{name}: {e}"))).transpose()
    }

    /// A number, if it is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<u16>, String> {
        let read = |text: &str| number(text).map_err(|why| format!("{name}: \"{text}\" {why}"));
        self.get(name).map(read).transpose()
    }
}

/// A number, or what is wrong with that.
pub(super) fn number(text: &str) -> Result<u16, String> {
    use std::num::IntErrorKind::PosOverflow;
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        PosOverflow => format!("is too large: the largest is {}", u16::MAX),
        _ => "is no number".into(),
    })
}

/// Gives each value of the line (after its verb) to a parameter.
pub(super) fn bind(verb: &Verb, words: &[String], named: &[(String, String)]) -> Result<Values, String> {
    let mut values = Values::default();
    for (name, value) in named {
        let Some(param) = verb.params.iter().find(|p| p.name == name) else {
            let hint = words::suggestion(name, verb.params.iter().map(|p| p.name));
            return Err(format!("{} has no parameter {name}; {hint}", verb.name));
        };
        if values.0.insert(param.name, value.clone()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let mut open = verb.params.iter().filter(|p| !named.iter().any(|(name, _)| p.name == name));
    for word in words {
        let Some(param) = open.next() else {
            return Err(format!("\"{word}\" is too much; the syntax is: {}", syntax(verb)));
        };
        values.0.insert(param.name, word.clone());
    }
    match verb.params.iter().find(|p| p.required && values.get(p.name).is_none_or(str::is_empty)) {
        Some(missing) => Err(format!("{} is missing; the syntax is: {}", missing.name, syntax(verb))),
        None => Ok(values),
    }
}

/// The path at the beginning of a line, if there is one, and the rest.
pub(super) fn split_path(line: &mut Line, is_child: impl Fn(&str) -> bool) -> Option<String> {
    let first = line.words.first()?;
    let is_path = first.starts_with(['/', '.', '@']) || first.contains('/');
    let is_path = is_path || (!is_verb(first) && is_child(first));
    is_path.then(|| line.words.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(line: &str) -> Result<Values, String> {
        let line = Line::parse(line).unwrap();
        bind(&BLOCK[0], &line.words, &line.named)
    }

    #[test]
    fn by_place_and_by_name() {
        for line in ["a /dev/sda", "name=a dev=/dev/sda", "dev=/dev/sda a", "a dev=/dev/sda"] {
            let values = bound(line).unwrap();
            assert_eq!((values.must("name"), values.must("dev")), ("a", "/dev/sda"), "{line}");
        }
        assert_eq!(bound("a b true").unwrap().flag("readonly"), Ok(Some(true)));
    }

    #[test]
    fn mistakes_are_explained() {
        for (line, told) in [
            ("a", "dev is missing; the syntax is: create name dev [readonly] [wwn] [io]"),
            ("a b c d e f", "\"f\" is too much"),
            ("nam=a dev=b", "create has no parameter nam; did you mean \"name\"?"),
            ("name=a name=b", "name is given twice"),
        ] {
            assert!(bound(line).unwrap_err().contains(told), "{line}: {:?}", bound(line));
        }
        assert!(bound("a b maybe").unwrap().flag("readonly").unwrap_err().contains("neither"));
        assert!(find(&Node::Root, "sl").unwrap_err().contains("no command sl here"));
        assert!(find(&Node::Root, "create").unwrap_err().contains("nothing can be created here"));
        assert!(find(&Node::Iscsi, "creat").unwrap_err().contains("did you mean \"create\"?"));
    }
}

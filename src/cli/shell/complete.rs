//! What a word that is being typed can become.

use std::path::PathBuf;

use super::access::STATE;
use super::create::free_number;
use super::node::{self, Node};
use super::set::is_secret;
use super::settings::Setting;
use super::verbs::{self, Kind, Param, Verb};
use super::{Shell, dir_of, prefs, settings};
use crate::admin::config::{self, Config, DEFAULT_PORT, Source};
use crate::scsi::AccessState;

/// Where the last word of `line` begins, and what it could be.
pub(super) fn complete(shell: &Shell, line: &str) -> (usize, Vec<String>) {
    let space = line.char_indices().rfind(|(_, c)| c.is_whitespace());
    let start = space.map_or(0, |(at, c)| at + c.len_utf8());
    let (before, partial) = line.split_at(start);
    let mut before: Vec<&str> = before.split_whitespace().collect();
    let mut node = shell.here.clone();
    let mut on_path = false;
    if let Some(first) = before.first()
        && !verbs::is_verb(first)
        && let Ok((_, there)) = shell.resolve(first)
    {
        (node, on_path) = (there, true);
        before.remove(0);
    }
    let mut found = match before.split_first() {
        None => first_word(shell, &node, partial, on_path),
        Some((verb, rest)) => match verbs::find(&node, verb) {
            Ok(verb) => argument(shell, &node, &verb, rest, partial),
            Err(_) => Vec::new(),
        },
    };
    found.retain(|candidate| candidate.starts_with(partial));
    found.sort();
    found.dedup();
    (start, found)
}

/// A verb, or a path when there is none yet.
fn first_word(shell: &Shell, node: &Node, partial: &str, on_path: bool) -> Vec<String> {
    let mut found: Vec<String> = verbs::all(node).iter().map(|v| format!("{} ", v.name)).collect();
    if !on_path {
        found.extend(paths(shell, node, partial, "/"));
    }
    found
}

/// Paths that begin with `partial`; `end` is what follows the name of one that has something below it.
fn paths(shell: &Shell, from: &Node, partial: &str, end: &str) -> Vec<String> {
    if partial.starts_with('@') && !partial.contains('/') {
        return shell.prefs.bookmarks.keys().map(|name| format!("@{name}")).collect();
    }
    let (dir, _) = partial.rfind('/').map_or(("", partial), |at| partial.split_at(at + 1));
    let node =
        if dir.is_empty() { Some(from.clone()) } else { shell.resolve(dir).ok().map(|(_, node)| node) };
    let children = node.map(|n| n.children(&shell.config)).unwrap_or_default();
    let below = |child: &Node| !child.children(&shell.config).is_empty() || !verbs::own(child).is_empty();
    children.iter().map(|c| format!("{dir}{}{}", c.name(), if below(c) { end } else { " " })).collect()
}

fn argument(shell: &Shell, node: &Node, verb: &Verb, before: &[&str], partial: &str) -> Vec<String> {
    match verb.name {
        "set" if partial.contains('=') => return given(shell, node, before, partial),
        "set" | "get" => return setting(node, verb.name == "set", before),
        "help" => return verbs::all(node).iter().map(|v| v.name.to_owned()).collect(),
        _ => {}
    }
    if let Some((name, _)) = partial.split_once('=') {
        let param = verb.params.iter().find(|p| p.name == name);
        let values =
            param.map(|p| values(shell, node, p, before, &partial[name.len() + 1..])).unwrap_or_default();
        return values.into_iter().map(|value| format!("{name}={value}")).collect();
    }
    let named = |p: &Param| before.iter().any(|word| word.starts_with(&format!("{}=", p.name)));
    let open: Vec<&Param> = verb.params.iter().filter(|p| !named(p)).collect();
    let by_place = before.iter().filter(|word| !word.contains('=')).count();
    let mut found = open.get(by_place).map(|p| values(shell, node, p, before, partial)).unwrap_or_default();
    found.extend(open.iter().skip(by_place).map(|p| format!("{}=", p.name)));
    found
}

fn values(shell: &Shell, node: &Node, param: &Param, before: &[&str], partial: &str) -> Vec<String> {
    match param.kind {
        Kind::Flag => vec!["true".into(), "false".into()],
        Kind::Device => (shell.host.block_devices)(),
        Kind::File => files(partial),
        Kind::Path => paths(shell, node, partial, "/"),
        Kind::Child => node.children(&shell.config).iter().map(Node::name).collect(),
        Kind::StorePath => paths_of(&shell.config),
        Kind::Initiator => {
            let tpgs = shell.config.targets.iter().flat_map(|t| &t.tpgs);
            let known = tpgs.flat_map(|g| &g.acls).map(|a| a.initiator.clone());
            known.chain(shell.refused()).collect()
        }
        Kind::Address => {
            let any = ["0.0.0.0".to_owned(), "::0".to_owned()];
            any.into_iter().chain((shell.host.addresses)()).collect()
        }
        Kind::Port => ports(shell, node),
        Kind::Free => free(shell, node),
        Kind::Behind => behind(shell, node),
        Kind::Session => shell.numbers_at(node),
        Kind::SavedTarget => saved(shell, before).targets.into_iter().map(|target| target.iqn).collect(),
        Kind::SavedStore => paths_of(&saved(shell, before)),
        Kind::Word(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Kind::Text if param.name == "bookmark" => shell.prefs.bookmarks.keys().cloned().collect(),
        Kind::Text => Vec::new(),
    }
}

/// Where portals listen usually, and where those do that are here.
fn ports(shell: &Shell, node: &Node) -> Vec<String> {
    let here = node.children(&shell.config).into_iter().filter_map(|portal| match portal {
        Node::Portal(.., portal) => Some(portal.port()),
        _ => None,
    });
    here.chain([DEFAULT_PORT]).map(|port| port.to_string()).collect()
}

/// What something that is made at `node` can be called.
fn free(shell: &Shell, node: &Node) -> Vec<String> {
    match node {
        Node::Iscsi => vec![shell.free_iqn()],
        Node::Target(iqn) => vec![shell.free_tag(iqn).to_string()],
        Node::Luns(iqn, tag) => shell.free_lun(iqn, *tag, None).iter().map(u16::to_string).collect(),
        Node::Acl(iqn, tag, initiator) => unmapped(shell, iqn, *tag, initiator),
        Node::Loopback => vec![shell.free_device().to_string()],
        Node::Alua(store) => {
            let taken = |id: &u16| {
                node::store(&shell.config, store).is_some_and(|s| s.groups.iter().any(|g| g.id == *id))
            };
            (1..=u16::MAX).find(|id| !taken(id)).iter().map(u16::to_string).collect()
        }
        _ => Vec::new(),
    }
}

/// The numbers of the LUNs that an initiator does not see yet, and one that is free in any case.
fn unmapped(shell: &Shell, iqn: &str, tag: u16, initiator: &str) -> Vec<String> {
    let seen = node::acl(&shell.config, iqn, tag, initiator).map(|acl| &acl.luns[..]).unwrap_or_default();
    let luns = node::tpg(&shell.config, iqn, tag).map(|group| &group.luns[..]).unwrap_or_default();
    let unseen = luns.iter().map(|l| l.lun).filter(|lun| node::numbered(seen, *lun).is_none());
    let numbers: Vec<u16> = seen.iter().map(|l| l.lun).collect();
    unseen.chain([free_number(&numbers)]).map(|lun| lun.to_string()).collect()
}

/// What a mapped LUN can show.
fn behind(shell: &Shell, node: &Node) -> Vec<String> {
    let luns = match node {
        Node::Acl(iqn, tag, _) => Node::Luns(iqn.clone(), *tag).children(&shell.config),
        _ => Vec::new(),
    };
    luns.iter().map(Node::name).chain(paths_of(&shell.config)).collect()
}

fn paths_of(config: &Config) -> Vec<String> {
    config.stores.iter().map(|s| format!("/backstores/{}/{}", s.kind.word(), s.name)).collect()
}

/// What the file says that the line restores.
fn saved(shell: &Shell, before: &[&str]) -> Config {
    let named = before.iter().find_map(|word| word.strip_prefix("savefile="));
    let file = named.or_else(|| before.iter().copied().find(|word| !word.contains('=')));
    let file = file.map_or_else(|| shell.backend.file().to_owned(), PathBuf::from);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let read = config::parse(Source::new("", text), &dir_of(&file), None);
    read.map(|(config, _)| config).unwrap_or_default()
}

fn files(partial: &str) -> Vec<String> {
    let (dir, _) = partial.rfind('/').map_or(("", partial), |at| partial.split_at(at + 1));
    let entries = std::fs::read_dir(if dir.is_empty() { "." } else { dir }).into_iter().flatten().flatten();
    entries
        .map(|e| {
            let end = if e.path().is_dir() { "/" } else { "" };
            format!("{dir}{}{end}", e.file_name().to_string_lossy())
        })
        .collect()
}

fn setting(node: &Node, set: bool, before: &[&str]) -> Vec<String> {
    let end = if set { "=" } else { "" };
    match before.first() {
        None => {
            let groups = settings::of(node).iter().map(|s| s.group).chain(["global"]);
            groups.map(|group| format!("{group} ")).collect()
        }
        Some(&"global") => prefs::NAMES.iter().map(|(name, _)| format!("{name}{end}")).collect(),
        Some(group) => {
            let members = settings::of(node).iter().filter(|s| s.group == *group);
            members.map(|s| format!("{}{end}", s.name)).collect()
        }
    }
}

/// A setting with a value.
fn given(shell: &Shell, node: &Node, before: &[&str], partial: &str) -> Vec<String> {
    let (Some(group), Some((name, _))) = (before.first(), partial.split_once('=')) else { return Vec::new() };
    let setting = settings::of(node).iter().find(|s| s.group == *group && s.name == name);
    let values = match setting {
        _ if *group == "global" => shell.prefs.choices(name),
        Some(setting) => choices(shell, node, setting),
        None => Vec::new(),
    };
    values.iter().map(|value| format!("{name}={value}")).collect()
}

/// What a setting can be, or else what it is.
fn choices(shell: &Shell, node: &Node, setting: &Setting) -> Vec<String> {
    let words = match setting.key {
        _ if setting.name == STATE => AccessState::ALL.map(AccessState::word).into(),
        "io" => verbs::WAYS.to_vec(),
        "alua_group" => return groups_of(shell, node),
        _ => setting.form.choices(),
    };
    if !words.is_empty() || is_secret(setting) {
        return words.into_iter().map(ToOwned::to_owned).collect();
    }
    let is_word = |value: &String| !value.is_empty() && !value.contains(char::is_whitespace);
    Some(shell.value(node, setting)).filter(is_word).into_iter().collect()
}

/// The target port groups in which a LUN can be.
fn groups_of(shell: &Shell, node: &Node) -> Vec<String> {
    let Node::Lun(iqn, tag, number) = node else { return Vec::new() };
    let lun = node::tpg(&shell.config, iqn, *tag).and_then(|group| node::numbered(&group.luns, *number));
    let store = lun.and_then(|lun| shell.config.stores.get(lun.lu.0 as usize));
    store.into_iter().flat_map(|store| store.groups.iter()).map(|group| group.name.clone()).collect()
}

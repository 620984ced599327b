//! `create`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::device::Seen;
use super::node::{self, Node};
use super::verbs::{self, Values};
use super::{Shell, iqn};
use crate::admin::config::{self, Config, DEFAULT_PORT, words};
use crate::admin::edit::{Document, EditError, Scalar};
use crate::store::StoreKind;

/// The largest LUN of flat addressing.
const LUN_MAX: u16 = 16_383;

fn text(value: impl Into<String>) -> Scalar {
    Scalar::Text(value.into())
}

impl Shell {
    pub(super) fn create(&mut self, node: &Node, trail: &[String], values: &Values) -> Result<(), String> {
        let made = match node {
            Node::Kind(kind) => self.create_store(*kind, values)?,
            Node::Iscsi => self.create_target(values)?,
            Node::Target(iqn) => self.create_tpg(iqn, values)?,
            Node::Luns(iqn, tag) => self.create_lun(iqn, *tag, values)?,
            Node::Acls(iqn, tag) => self.create_acl(iqn, *tag, values)?,
            Node::Acl(iqn, tag, initiator) => self.create_mapped(iqn, *tag, initiator, values)?,
            Node::Portals(iqn, tag) => self.create_portal(iqn, *tag, values)?,
            Node::Loopback => self.create_loopback(values)?,
            Node::Alua(store) => self.create_group(store, values)?,
            _ => return Err("nothing can be created here".into()),
        };
        if self.prefs.auto_cd_after_create {
            self.cd(&format!("/{}/{made}", trail.join("/")))?;
        }
        Ok(())
    }

    fn create_store(&mut self, kind: StoreKind, values: &Values) -> Result<String, String> {
        let name = values.must("name").to_owned();
        if let Some(other) = node::store(&self.config, &name) {
            return Err(format!("there is a {} backstore {name} already", other.kind.word()));
        }
        let mut settings = vec![("kind", text(kind.word())), ("name", text(&name))];
        let said = match kind {
            StoreKind::Block | StoreKind::Pscsi => self.device(kind, values, &mut settings)?,
            StoreKind::Fileio => self.file(values, &mut settings)?,
            StoreKind::Ramdisk | StoreKind::Null => {
                if values.flag("nullio")? == Some(true) {
                    return Err("a disk of nothing is made by: /backstores/null create name size".into());
                }
                settings.push(("size", size_of(values)));
                format!("Created {} {name} with size {}.", kind.word(), size_said(values))
            }
        };
        let said = said + &told_of_size(values);
        settings.extend(values.get("wwn").map(|wwn| ("serial", text(wwn))));
        let change = |doc: &mut Document| {
            doc.add_store(&settings);
            Ok(())
        };
        self.add(change, |config| config.with_store(kind, &name))?;
        self.say(said);
        Ok(name)
    }

    fn device(
        &self,
        kind: StoreKind,
        values: &Values,
        settings: &mut Vec<(&str, Scalar)>,
    ) -> Result<String, String> {
        let path = absolute(values.must("dev"));
        match (self.host.look)(Path::new(&path)) {
            Seen::Absent => {
                let devices = (self.host.block_devices)();
                let hint = words::suggestion(&path, devices.iter().map(String::as_str));
                return Err(format!("there is no {path}; {hint}"));
            }
            Seen::File { .. } => {
                return Err(format!("{path} is a file; make it a backstore by /backstores/fileio create"));
            }
            Seen::Other if kind == StoreKind::Block => return Err(format!("{path} is no block device")),
            _ => {}
        }
        settings.push(("path", text(&path)));
        if values.flag("readonly")? == Some(true) {
            settings.push(("read_only", Scalar::Flag(true)));
        }
        if let Some(io) = values.get("io") {
            settings.push(("io", text(io)));
        }
        Ok(format!("Created {} storage object {} using {path}.", kind.word(), values.must("name")))
    }

    fn file(&self, values: &Values, settings: &mut Vec<(&str, Scalar)>) -> Result<String, String> {
        let path = absolute(values.must("file_or_dev"));
        let seen = (self.host.look)(Path::new(&path));
        if seen == Seen::Other {
            return Err(format!(
                "{path} is neither a file nor a block device; name a file in it, or another"
            ));
        }
        let size = match (values.get("size"), seen) {
            (Some(_), _) => size_said(values).to_owned(),
            (None, Seen::File { size }) => size.to_string(),
            (None, Seen::Block { .. }) => {
                return Err(format!(
                    "{path} is a block device; make it a backstore by /backstores/block create"
                ));
            }
            (None, _) => return Err(format!("there is no file {path} yet; say its size, as in size=10G")),
        };
        settings.push(("path", text(path)));
        if values.get("size").is_some() {
            settings.push(("size", size_of(values)));
        }
        if let Some(flag) = values.flag("write_back")? {
            settings.push(("write_back", Scalar::Flag(flag)));
        }
        if values.flag("sparse")? == Some(false) {
            settings.push(("thin", Scalar::Flag(false)));
        }
        Ok(format!("Created fileio {} with size {size}.", values.must("name")))
    }

    fn create_target(&mut self, values: &Values) -> Result<String, String> {
        let name = match values.get("wwn").filter(|w| !w.is_empty()) {
            Some(wwn) => iqn(wwn)?,
            None => self.free_iqn(),
        };
        if node::target(&self.config, &name).is_some() {
            return Err(format!("there is a target {name} already"));
        }
        let portal = self.prefs.auto_add_default_portal;
        let change = |doc: &mut Document| {
            doc.add_target(&name);
            add_tpg(doc, &name, 1, portal)
        };
        let effect = |config: &mut Config| {
            config.with_target(&name);
            config.with_tpg(&name, 1, portal);
        };
        self.add(change, effect)?;
        self.say(format!("Created target {name}."));
        self.tell_of_tpg(1);
        Ok(name)
    }

    fn tell_of_tpg(&mut self, tag: u16) {
        self.say(format!("Created TPG {tag}."));
        if self.prefs.auto_add_default_portal {
            self.say("Global pref auto_add_default_portal=true");
            self.say(format!("Created default portal listening on all IPs (0.0.0.0), port {DEFAULT_PORT}."));
        }
    }

    /// The name of this host, or that with a number when it is taken.
    pub(super) fn free_iqn(&self) -> String {
        let base = config::default_iqn(&(self.host.name)());
        let numbered = (2..).map(|n: u32| format!("{base}.{n}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(|name| node::target(&self.config, name).is_none()).unwrap_or(base)
    }

    fn create_tpg(&mut self, iqn: &str, values: &Values) -> Result<String, String> {
        let tpgs = node::target(&self.config, iqn).map(|t| &t.tpgs[..]).unwrap_or_default();
        let asked = values.get("tag").map(|tag| number_behind(tag, "tpg", "tag")).transpose()?;
        let tag = asked.unwrap_or_else(|| self.free_tag(iqn));
        if node::tpg(&self.config, iqn, tag).is_some() {
            return Err(format!("there is a TPG {tag} already"));
        }
        // Two groups of a target cannot listen at the same address.
        let default = SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT));
        let free = !tpgs.iter().flat_map(|g| &g.portals).any(|p| p.port() == default.port());
        let portal = self.prefs.auto_add_default_portal && free;
        self.add(|doc| add_tpg(doc, iqn, tag, portal), |config| config.with_tpg(iqn, tag, portal))?;
        if portal {
            self.tell_of_tpg(tag);
        } else {
            self.say(format!("Created TPG {tag}."));
        }
        Ok(format!("tpg{tag}"))
    }

    pub(super) fn free_tag(&self, iqn: &str) -> u16 {
        (1..=u16::MAX).find(|tag| node::tpg(&self.config, iqn, *tag).is_none()).unwrap_or(1)
    }

    fn create_lun(&mut self, iqn: &str, tag: u16, values: &Values) -> Result<String, String> {
        let store = self.store_named(values.must("storage_object"))?;
        let asked = values.get("lun").map(|lun| number_behind(lun, "lun", "lun")).transpose()?;
        let lun = self.free_lun(iqn, tag, asked)?;
        let add = values.flag("add_mapped_luns")?.unwrap_or(self.prefs.auto_add_mapped_luns);
        let maps = self.maps(iqn, tag);
        let number = |luns: &[u16]| if luns.contains(&lun) { free_number(luns) } else { lun };
        let seen = maps.iter().filter(|_| add).map(|(initiator, luns)| (number(luns), initiator.clone()));
        let mapped: Vec<(u16, String)> = seen.collect();
        let change = |doc: &mut Document| {
            if !add {
                for (initiator, luns) in &maps {
                    spell_out(doc, iqn, tag, initiator, luns)?;
                }
            }
            doc.add_lun(iqn, tag, lun, &store)?;
            for (number, initiator) in &mapped {
                if doc.has_map(iqn, tag, initiator)? {
                    doc.map_lun(iqn, tag, initiator, *number, lun, false)?;
                }
            }
            Ok(())
        };
        self.add(change, |config| config.with_lun(iqn, tag, lun, &store, &mapped))?;
        self.say(format!("Created LUN {lun}."));
        for (number, initiator) in mapped {
            self.say(format!("Created LUN {lun}->{number} mapping in node ACL {initiator}"));
        }
        Ok(format!("lun{lun}"))
    }

    /// The ACLs of a group, with the LUN numbers that each sees.
    fn maps(&self, iqn: &str, tag: u16) -> Vec<(String, Vec<u16>)> {
        let acls = node::tpg(&self.config, iqn, tag).into_iter().flat_map(|g| &g.acls);
        acls.map(|a| (a.initiator.clone(), a.luns.iter().map(|l| l.lun).collect())).collect()
    }

    pub(super) fn free_lun(&self, iqn: &str, tag: u16, asked: Option<u16>) -> Result<u16, String> {
        let luns = node::tpg(&self.config, iqn, tag).map(|g| &g.luns[..]).unwrap_or_default();
        let taken: Vec<u16> = luns.iter().map(|l| l.lun).collect();
        match asked {
            Some(lun) if taken.contains(&lun) => Err(format!("there is a LUN {lun} already")),
            Some(lun) => Ok(lun),
            None => Ok(free_number(&taken)),
        }
    }

    /// The name of the backstore that is meant by a path, `kind/name`, or a name.
    pub(super) fn store_named(&self, said: &str) -> Result<String, String> {
        let tail = said.trim_matches('/');
        let tail = tail.strip_prefix("backstores/").unwrap_or(tail);
        let (kind, name) = tail.split_once('/').map_or((None, tail), |(kind, name)| (Some(kind), name));
        let found = node::store(&self.config, name).filter(|s| kind.is_none_or(|k| s.kind.word() == k));
        found.map(|s| s.name.clone()).ok_or_else(|| {
            let all: Vec<String> = self
                .config
                .stores
                .iter()
                .map(|s| format!("/backstores/{}/{}", s.kind.word(), s.name))
                .collect();
            let hint = if all.is_empty() {
                "there is none yet: make one below /backstores".into()
            } else {
                words::suggestion(said, all.iter().map(String::as_str))
            };
            format!("there is no backstore {said}; {hint}")
        })
    }

    fn create_acl(&mut self, iqn_: &str, tag: u16, values: &Values) -> Result<String, String> {
        let initiator = iqn(values.must("wwn"))?;
        if node::acl(&self.config, iqn_, tag, &initiator).is_some() {
            return Err(format!("there is an ACL for {initiator} already"));
        }
        let add = values.flag("add_mapped_luns")?.unwrap_or(self.prefs.auto_add_mapped_luns);
        let change = |doc: &mut Document| {
            doc.add_acl(iqn_, tag, &initiator)?;
            if add { Ok(()) } else { doc.spell_out_map(iqn_, tag, &initiator, &[]) }
        };
        self.add(change, |config| config.with_acl(iqn_, tag, &initiator, add))?;
        self.say(format!("Created Node ACL for {initiator}"));
        let luns = node::acl(&self.config, iqn_, tag, &initiator).map(|a| a.luns.clone());
        for lun in luns.unwrap_or_default() {
            self.say(format!("Created mapped LUN {}.", lun.lun));
        }
        Ok(initiator)
    }

    fn create_mapped(
        &mut self,
        iqn: &str,
        tag: u16,
        initiator: &str,
        values: &Values,
    ) -> Result<String, String> {
        let number = number_behind(values.must("mapped_lun"), "mapped_lun", "mapped_lun")?;
        let read_only = values.flag("write_protect")?.unwrap_or(false);
        let has = node::acl(&self.config, iqn, tag, initiator).map(|a| a.luns.clone()).unwrap_or_default();
        let has: Vec<u16> = has.iter().map(|l| l.lun).collect();
        if has.contains(&number) {
            return Err(format!("this initiator has a mapped LUN {number} already"));
        }
        let (lun, new) = self.lun_behind(iqn, tag, values.must("tpg_lun_or_backstore"))?;
        let maps = self.maps(iqn, tag);
        let change = |doc: &mut Document| {
            // A new LUN is shown to those who see all of them, and it is asked for by one only.
            for (other, luns) in maps.iter().filter(|(other, _)| new.is_some() || other == initiator) {
                spell_out(doc, iqn, tag, other, luns)?;
            }
            if let Some(store) = &new {
                doc.add_lun(iqn, tag, lun, store)?;
            }
            doc.map_lun(iqn, tag, initiator, number, lun, read_only)
        };
        let effect = |config: &mut Config| {
            new.iter().for_each(|store| config.with_lun(iqn, tag, lun, store, &[]));
            config.with_mapped((iqn, tag, initiator), number, lun, read_only);
        };
        self.add(change, effect)?;
        if new.is_some() {
            self.say(format!("Created LUN {lun}."));
        }
        self.say(format!("Created Mapped LUN {number}."));
        Ok(format!("mapped_lun{number}"))
    }

    /// The LUN of the group that is meant, or the free number and the backstore of one that is to be made.
    fn lun_behind(&self, iqn: &str, tag: u16, said: &str) -> Result<(u16, Option<String>), String> {
        let tail = said.rsplit('/').next().unwrap_or(said);
        // A backstore may be called by a number: with its kind before it, it is no LUN.
        let is_store = said.contains('/') && self.store_named(said).is_ok();
        if !is_store && let Ok(lun) = number_behind(tail, "lun", "lun") {
            return Ok((lun, None));
        }
        let store = self.store_named(said)?;
        let number = self.config.stores.iter().position(|s| s.name == store);
        let luns = node::tpg(&self.config, iqn, tag).map(|g| &g.luns[..]).unwrap_or_default();
        match luns.iter().find(|l| Some(l.lu.0 as usize) == number) {
            Some(lun) => Ok((lun.lun, None)),
            None => Ok((self.free_lun(iqn, tag, None)?, Some(store))),
        }
    }

    fn create_portal(&mut self, iqn: &str, tag: u16, values: &Values) -> Result<String, String> {
        let (portal, told) = portal_of(values.get("ip_address"), values.number("ip_port")?)?;
        let portals = node::tpg(&self.config, iqn, tag).map(|g| &g.portals[..]).unwrap_or_default();
        if portals.contains(&portal) {
            return Err(format!("there is a portal {portal} already"));
        }
        let written = written(values.get("ip_address"), portal);
        self.add(|doc| doc.add_portal(iqn, tag, &written), |config| config.with_portal(iqn, tag, portal))?;
        told.iter().for_each(|line| self.say(line));
        self.say(format!("Created network portal {portal}."));
        if self.is_elsewhere(portal.ip()) {
            self.say(format!(
                "Warning: this machine has no address {}: nobody reaches that portal before it has",
                portal.ip()
            ));
        }
        Ok(portal.to_string())
    }

    /// Whether this host does not have an address, as far as it can tell.
    fn is_elsewhere(&self, address: IpAddr) -> bool {
        let all = (self.host.addresses)();
        let is_it = |own: &String| own.split('%').next().and_then(|own| own.parse().ok()) == Some(address);
        !address.is_unspecified() && !address.is_loopback() && !all.is_empty() && !all.iter().any(is_it)
    }
}

fn size_of(values: &Values) -> Scalar {
    let size = size_said(values);
    size.parse().map_or_else(|_| text(size), Scalar::Number)
}

/// A size; GB and its kin are powers of 1024, as they are for targetcli.
fn size_said(values: &Values) -> &str {
    let size = values.must("size");
    let without = size.strip_suffix(['B', 'b']);
    without.filter(|rest| rest.ends_with(|c: char| "KMGTP".contains(c.to_ascii_uppercase()))).unwrap_or(size)
}

/// What is to be told of a size that some take for another.
fn told_of_size(values: &Values) -> String {
    let (typed, taken) = (values.must("size"), size_said(values));
    if typed == taken {
        return String::new();
    }
    format!("\n{typed} is taken for {taken}: units are powers of 1024, as they are for targetcli.")
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |p| p.display().to_string())
}

fn add_tpg(doc: &mut Document, iqn: &str, tag: u16, portal: bool) -> Result<(), EditError> {
    doc.add_tpg(iqn, tag)?;
    if portal { doc.add_portal(iqn, tag, &format!("0.0.0.0:{DEFAULT_PORT}")) } else { Ok(()) }
}

/// Gives an ACL that sees all LUNs the map that it has so far.
pub(super) fn spell_out(
    doc: &mut Document,
    iqn: &str,
    tag: u16,
    initiator: &str,
    luns: &[u16],
) -> Result<(), EditError> {
    if doc.has_map(iqn, tag, initiator)? { Ok(()) } else { doc.spell_out_map(iqn, tag, initiator, luns) }
}

/// The lowest that is free; they are in their order.
pub(super) fn free_number(taken: &[u16]) -> u16 {
    let free = (0..=LUN_MAX).zip(taken).find(|(n, taken)| n != *taken);
    free.map_or_else(|| (taken.len() as u16).min(LUN_MAX), |(n, _)| n)
}

/// The number in `3` or `lun3`.
pub(super) fn number_behind(text: &str, prefix: &str, what: &str) -> Result<u16, String> {
    verbs::number(text.strip_prefix(prefix).unwrap_or(text))
        .map_err(|why| format!("{what}: \"{text}\" {why}"))
}

/// The portal of an address and a port, and what was taken for granted.
pub(super) fn portal_of(
    address: Option<&str>,
    port: Option<u16>,
) -> Result<(SocketAddr, Vec<String>), String> {
    let mut told = Vec::new();
    let said = address.filter(|a| !a.is_empty()).unwrap_or("0.0.0.0");
    let mut portal = config::parse_portal(said, config::At::Whole).map_err(|p| p.to_string())?;
    let in_address = said.parse::<SocketAddr>().is_ok() || said.contains("]:");
    match port {
        Some(port) => portal.set_port(port),
        None if !in_address => told.push(format!("Using default IP port {DEFAULT_PORT}")),
        None => {}
    }
    if address.is_none() {
        told.push("Binding to INADDR_ANY (0.0.0.0)".into());
    }
    Ok((portal, told))
}

/// How a portal is written: a link-local address with the name of its interface, as it was said.
fn written(said: Option<&str>, portal: SocketAddr) -> String {
    let interface = said.and_then(|s| s.split_once('%')).map(|(_, rest)| rest);
    match interface.map(|rest| rest.split([']', ':']).next().unwrap_or(rest)) {
        Some(name) => format!("[{}%{name}]:{}", portal.ip(), portal.port()),
        None => portal.to_string(),
    }
}

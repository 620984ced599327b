//! The objects of a configuration, made, changed and deleted in its document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use toml_edit::{Array, Decor, InlineTable, Item, Key, RawString, Table, TableLike, Value};

use super::{Document, EditError, tables};
use crate::admin::config;
use crate::scsi::{AccessState, DEFAULT_GROUP};

/// What one setting can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// A list of texts.
    List(Vec<String>),
}

/// A table that has settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `[[backstore]]`, by name.
    Store(String),
    /// `[backstore.qos]`.
    StoreQos(String),
    /// `[[backstore.alua.group]]`, by backstore and name.
    AluaGroup(String, String),
    /// `[discovery]`.
    Discovery,
    /// `[[target]]`, by IQN.
    Target(String),
    /// `[[target.tpg]]`, by IQN and tag.
    Tpg(String, u16),
    /// `[target.tpg.parameters]`.
    Parameters(String, u16),
    /// `[[target.tpg.lun]]`.
    Lun(String, u16, u16),
    /// `[[target.tpg.acl]]`, by initiator.
    Acl(String, u16, String),
    /// `[target.tpg.acl.qos]`.
    AclQos(String, u16, String),
    /// `[[target.tpg.acl.mapped_lun]]`.
    Mapped(String, u16, String, u16),
}

/// In which direction a credential proves somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The initiator to the target.
    In,
    /// The target to the initiator.
    Out,
}

impl Door {
    fn key(self) -> &'static str {
        match self {
            Self::In => "chap",
            Self::Out => "mutual_chap",
        }
    }
}

impl Scalar {
    fn value(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::List(list) => Value::Array(list.iter().map(String::as_str).collect::<Array>()),
        }
    }
}

pub(super) type Edited<T = ()> = Result<T, EditError>;

/// What is said of a file of which nothing can be taken.
pub(super) const NOTHING: &str = "there is nothing in it";

pub(super) fn refuse<T>(what: impl Into<String>) -> Edited<T> {
    Err(EditError::Refused(what.into()))
}

fn absent(what: impl std::fmt::Display) -> EditError {
    EditError::Refused(format!("there is no {what}"))
}

fn table_of(settings: &[(&str, Scalar)]) -> Table {
    let mut table = Table::new();
    for (key, scalar) in settings {
        table.insert(key, Item::Value(scalar.value()));
    }
    table
}

/// One with an empty line above it.
fn section_of(settings: &[(&str, Scalar)]) -> Table {
    let mut table = table_of(settings);
    *table.decor_mut() = Decor::new("\n", "");
    table
}

fn text_at<'a>(table: &'a dyn TableLike, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str()
}

fn number_at(table: &dyn TableLike, key: &str) -> Option<u16> {
    u16::try_from(table.get(key)?.as_integer()?).ok()
}

/// A name as it is compared.
fn normal(name: &str) -> String {
    config::check_iqn(name, config::At::Whole).unwrap_or_else(|_| name.to_owned())
}

fn same_name(written: Option<&str>, name: &str) -> bool {
    let Some(written) = written else { return false };
    // Of names in ASCII only case has more than one form.
    let may_be = !written.is_ascii() || !name.is_ascii() || written.eq_ignore_ascii_case(name);
    written == name || (may_be && normal(written) == normal(name))
}

fn address_of(text: &str) -> Option<SocketAddr> {
    config::parse_portal(text, config::At::Whole).ok()
}

/// Whether some group has this portal.
fn is_listed(root: &dyn TableLike, portal: SocketAddr) -> bool {
    let has = |group: &dyn TableLike| {
        let portals = group.get("portals").and_then(Item::as_array);
        portals.is_some_and(|a| a.iter().any(|v| v.as_str().and_then(address_of) == Some(portal)))
    };
    tables::all(root, "target").any(|target| tables::all(target, "tpg").any(has))
}

fn is_braced(table: &dyn TableLike, key: &str) -> bool {
    matches!(table.get(key), Some(Item::Value(Value::Array(array))) if !array.is_empty())
}

fn tag_of(tpg: &dyn TableLike, index: usize) -> u16 {
    number_at(tpg, "tag").unwrap_or_else(|| u16::try_from(index + 1).unwrap_or(u16::MAX))
}

impl Document {
    fn root(&mut self) -> &mut dyn TableLike {
        self.doc.as_table_mut()
    }

    fn store(&mut self, name: &str) -> Edited<&mut dyn TableLike> {
        let root = self.root();
        tables::find(root, "backstore", |t, _| text_at(t, "name") == Some(name))
            .and_then(|n| tables::nth_mut(root, "backstore", n))
            .ok_or_else(|| absent(format_args!("backstore {name}")))
    }

    fn target(&mut self, iqn: &str) -> Edited<&mut dyn TableLike> {
        let root = self.root();
        tables::find(root, "target", |t, _| same_name(text_at(t, "iqn"), iqn))
            .and_then(|n| tables::nth_mut(root, "target", n))
            .ok_or_else(|| absent(format_args!("target {iqn}")))
    }

    fn tpg(&mut self, iqn: &str, tag: u16) -> Edited<&mut dyn TableLike> {
        let target = self.target(iqn)?;
        tables::find(target, "tpg", |t, n| tag_of(t, n) == tag)
            .and_then(|n| tables::nth_mut(target, "tpg", n))
            .ok_or_else(|| absent(format_args!("TPG {tag} of {iqn}")))
    }

    fn acl(&mut self, iqn: &str, tag: u16, initiator: &str) -> Edited<&mut dyn TableLike> {
        let tpg = self.tpg(iqn, tag)?;
        tables::find(tpg, "acl", |t, _| same_name(text_at(t, "initiator"), initiator))
            .and_then(|n| tables::nth_mut(tpg, "acl", n))
            .ok_or_else(|| absent(format_args!("ACL for {initiator}")))
    }

    fn numbered<'a>(
        within: &'a mut dyn TableLike,
        key: &str,
        number: u16,
        what: &str,
    ) -> Edited<&'a mut dyn TableLike> {
        tables::find(within, key, |t, _| number_at(t, "lun") == Some(number))
            .and_then(|n| tables::nth_mut(within, key, n))
            .ok_or_else(|| absent(format_args!("{what} {number}")))
    }

    fn owner(&mut self, owner: &Owner) -> Edited<&mut dyn TableLike> {
        match owner {
            Owner::Store(name) => self.store(name),
            Owner::StoreQos(name) => sub_table(self.store(name)?, "qos"),
            Owner::AluaGroup(store, group) => self.group(store, group),
            Owner::Discovery => sub_table(self.root(), "discovery"),
            Owner::Target(iqn) => self.target(iqn),
            Owner::Tpg(iqn, tag) => self.tpg(iqn, *tag),
            Owner::Parameters(iqn, tag) => sub_table(self.tpg(iqn, *tag)?, "parameters"),
            Owner::Lun(iqn, tag, lun) => Self::numbered(self.tpg(iqn, *tag)?, "lun", *lun, "LUN"),
            Owner::Acl(iqn, tag, initiator) => self.acl(iqn, *tag, initiator),
            Owner::AclQos(iqn, tag, initiator) => sub_table(self.acl(iqn, *tag, initiator)?, "qos"),
            Owner::Mapped(iqn, tag, initiator, lun) => {
                Self::numbered(self.acl(iqn, *tag, initiator)?, "mapped_lun", *lun, "mapped LUN")
            }
        }
    }

    /// Adds a backstore.
    pub fn add_store(&mut self, settings: &[(&str, Scalar)]) {
        let braced = is_braced(self.root(), "backstore");
        tables::push(self.root(), "backstore", section_of(settings), braced);
    }

    fn groups(&mut self, store: &str) -> Edited<&mut dyn TableLike> {
        let store = self.store(store)?;
        if !store.contains_key("alua") {
            let mut groups = Table::new();
            groups.set_implicit(true);
            store.insert("alua", Item::Table(groups));
        }
        sub_table(store, "alua")
    }

    /// The default one is there though it is not written, and is written when something is to be said of it.
    fn group(&mut self, store: &str, name: &str) -> Edited<&mut dyn TableLike> {
        let is_it = |t: &dyn TableLike, _| text_at(t, "name") == Some(name);
        if name == DEFAULT_GROUP && tables::find(self.groups(store)?, "group", is_it).is_none() {
            self.add_group(store, name, None)?;
        }
        let groups = self.groups(store)?;
        tables::find(groups, "group", is_it)
            .and_then(|n| tables::nth_mut(groups, "group", n))
            .ok_or_else(|| absent(format_args!("target port group {name}")))
    }

    /// Where nothing is said of any group, the default one stays in its state; it does so too when it is written only
    /// because something else is to be said of it.
    fn write_default_group(&mut self, store: &str) -> Edited {
        let is_lasting = !self.store(store)?.contains_key("alua");
        let group = self.group(store, DEFAULT_GROUP)?;
        if is_lasting {
            let states = vec![AccessState::Optimized.word().to_owned()];
            put(group, "access", Scalar::Text("none".into()).value());
            put(group, "supported_states", Scalar::List(states).value());
        }
        Ok(())
    }

    /// Adds a target port group to a backstore.
    ///
    /// # Errors
    /// There is no such backstore.
    pub fn add_group(&mut self, store: &str, name: &str, id: Option<u16>) -> Edited {
        let braced = is_braced(self.root(), "backstore");
        let mut settings = vec![("name", Scalar::Text(name.into()))];
        settings.extend(id.map(|id| ("id", Scalar::Number(id.into()))));
        tables::push(self.groups(store)?, "group", table_of(&settings), braced);
        Ok(())
    }

    /// Deletes a target port group.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_group(&mut self, store: &str, name: &str) -> Edited {
        let groups = self.groups(store)?;
        let n = tables::position(groups, "group", |t, _| text_at(t, "name") == Some(name));
        tables::remove(groups, "group", n.ok_or_else(|| absent(format_args!("target port group {name}")))?);
        if groups.is_empty() {
            self.store(store)?.remove("alua");
        }
        Ok(())
    }

    /// Makes a backstore a disk of this host, too.
    pub fn add_loopback(&mut self, settings: &[(&str, Scalar)]) {
        let braced = is_braced(self.root(), "loopback");
        tables::push(self.root(), "loopback", section_of(settings), braced);
    }

    /// Makes a backstore a disk of this host no longer.
    ///
    /// # Errors
    /// It is none.
    pub fn remove_loopback(&mut self, store: &str) -> Edited {
        let root = self.root();
        let n = tables::position(root, "loopback", |t, _| text_at(t, "backstore") == Some(store));
        tables::remove(root, "loopback", n.ok_or_else(|| absent(format_args!("local disk {store}")))?);
        Ok(())
    }

    /// Deletes a backstore, with the LUNs that show it, which are given back, and the local disk that it is.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_store(&mut self, name: &str) -> Edited<Vec<(String, u16, u16)>> {
        self.store(name)?;
        // Most are none.
        let _ = self.remove_loopback(name);
        let shown = self.luns_of(name);
        for (iqn, tag, lun) in &shown {
            self.remove_lun(iqn, *tag, *lun)?;
        }
        let root = self.root();
        if let Some(n) = tables::position(root, "backstore", |t, _| text_at(t, "name") == Some(name)) {
            tables::remove(root, "backstore", n);
        }
        Ok(shown)
    }

    fn luns_of(&mut self, name: &str) -> Vec<(String, u16, u16)> {
        let mut found = Vec::new();
        let root = &*self.root();
        for target in tables::all(root, "target") {
            let iqn = text_at(target, "iqn").unwrap_or_default();
            for (n, tpg) in
                (0..tables::len(target, "tpg")).filter_map(|n| tables::nth(target, "tpg", n).map(|t| (n, t)))
            {
                let shown = tables::all(tpg, "lun").filter(|l| text_at(*l, "backstore") == Some(name));
                found.extend(
                    shown.filter_map(|l| Some((iqn.to_owned(), tag_of(tpg, n), number_at(l, "lun")?))),
                );
            }
        }
        found
    }

    /// Adds a target without groups.
    pub fn add_target(&mut self, iqn: &str) {
        let braced = is_braced(self.root(), "target");
        tables::push(self.root(), "target", section_of(&[("iqn", Scalar::Text(iqn.into()))]), braced);
    }

    /// Deletes a target with everything in it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_target(&mut self, iqn: &str) -> Edited {
        self.target(iqn)?;
        let root = self.root();
        if let Some(n) = tables::position(root, "target", |t, _| same_name(text_at(t, "iqn"), iqn)) {
            tables::remove(root, "target", n);
        }
        Ok(())
    }

    /// Adds a group without portals.
    ///
    /// # Errors
    /// There is no such target.
    pub fn add_tpg(&mut self, iqn: &str, tag: u16) -> Edited {
        let braced = is_braced(self.root(), "target");
        let target = self.target(iqn)?;
        let braced = braced || is_braced(target, "tpg");
        tables::push(target, "tpg", table_of(&[("tag", Scalar::Number(tag.into()))]), braced);
        Ok(())
    }

    /// Deletes a group with everything in it.
    ///
    /// # Errors
    /// There is no such group.
    pub fn remove_tpg(&mut self, iqn: &str, tag: u16) -> Edited {
        self.spell_out_tags(iqn)?;
        self.tpg(iqn, tag)?;
        let target = self.target(iqn)?;
        if let Some(n) = tables::position(target, "tpg", |t, n| tag_of(t, n) == tag) {
            tables::remove(target, "tpg", n);
        }
        Ok(())
    }

    /// A group that has its place in the list as a tag keeps it when one before it goes.
    fn spell_out_tags(&mut self, iqn: &str) -> Edited {
        let target = self.target(iqn)?;
        for n in 0..tables::len(target, "tpg") {
            let Some(tpg) = tables::nth_mut(target, "tpg", n) else { continue };
            if !tpg.contains_key("tag") {
                let tag = tag_of(tpg, n);
                tpg.insert("tag", Item::Value(i64::from(tag).into()));
            }
        }
        Ok(())
    }

    /// Adds a portal.
    ///
    /// # Errors
    /// There is no such group.
    pub fn add_portal(&mut self, iqn: &str, tag: u16, portal: &str) -> Edited {
        let tpg = self.tpg(iqn, tag)?;
        if let Some(portals) = tpg.get_mut("portals").and_then(Item::as_array_mut) {
            portals.push(portal);
        } else {
            tpg.insert("portals", Item::Value(Value::Array(Array::from_iter([portal]))));
        }
        Ok(())
    }

    /// Deletes a portal, and what is said of it when no other group has it.
    ///
    /// # Errors
    /// There is no such group, or it has no such portal.
    pub fn remove_portal(&mut self, iqn: &str, tag: u16, portal: SocketAddr) -> Edited {
        let is_it = |text: Option<&str>| text.and_then(address_of) == Some(portal);
        let portals = self.tpg(iqn, tag)?.get_mut("portals").and_then(Item::as_array_mut);
        let portals = portals.ok_or_else(|| absent(format_args!("portal {portal}")))?;
        let n = portals.iter().position(|v| is_it(v.as_str()));
        portals.remove(n.ok_or_else(|| absent(format_args!("portal {portal}")))?);
        let root = self.root();
        if !is_listed(root, portal)
            && let Some(n) = tables::position(root, "portal", |t, _| is_it(text_at(t, "address")))
        {
            tables::remove(root, "portal", n);
        }
        Ok(())
    }

    /// Adds a LUN.
    ///
    /// # Errors
    /// There is no such group.
    pub fn add_lun(&mut self, iqn: &str, tag: u16, lun: u16, store: &str) -> Edited {
        let braced = self.braces_above(iqn)?;
        let tpg = self.tpg(iqn, tag)?;
        let settings = [("lun", Scalar::Number(lun.into())), ("backstore", Scalar::Text(store.into()))];
        let braced = braced || is_braced(tpg, "lun");
        tables::push(tpg, "lun", table_of(&settings), braced);
        Ok(())
    }

    fn braces_above(&mut self, iqn: &str) -> Edited<bool> {
        Ok(is_braced(self.root(), "target") || is_braced(self.target(iqn)?, "tpg"))
    }

    /// Deletes a LUN, with the mapped LUNs that show it.
    ///
    /// # Errors
    /// There is no such LUN.
    pub fn remove_lun(&mut self, iqn: &str, tag: u16, lun: u16) -> Edited {
        let tpg = self.tpg(iqn, tag)?;
        let n = tables::position(tpg, "lun", |t, _| number_at(t, "lun") == Some(lun));
        tables::remove(tpg, "lun", n.ok_or_else(|| absent(format_args!("LUN {lun}")))?);
        for n in 0..tables::len(tpg, "acl") {
            let Some(acl) = tables::nth_mut(tpg, "acl", n) else { continue };
            let shows =
                |t: &dyn TableLike, _| number_at(t, "tpg_lun").or_else(|| number_at(t, "lun")) == Some(lun);
            while let Some(mapped) = tables::position(acl, "mapped_lun", shows) {
                unmap_nth(acl, mapped);
            }
        }
        Ok(())
    }

    /// Adds an ACL, which sees all LUNs of the group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn add_acl(&mut self, iqn: &str, tag: u16, initiator: &str) -> Edited {
        let braced = self.braces_above(iqn)?;
        let tpg = self.tpg(iqn, tag)?;
        let braced = braced || is_braced(tpg, "acl");
        tables::push(tpg, "acl", table_of(&[("initiator", Scalar::Text(initiator.into()))]), braced);
        Ok(())
    }

    /// Deletes an ACL.
    ///
    /// # Errors
    /// There is no such ACL.
    pub fn remove_acl(&mut self, iqn: &str, tag: u16, initiator: &str) -> Edited {
        self.acl(iqn, tag, initiator)?;
        let tpg = self.tpg(iqn, tag)?;
        if let Some(n) = tables::position(tpg, "acl", |t, _| same_name(text_at(t, "initiator"), initiator)) {
            tables::remove(tpg, "acl", n);
        }
        Ok(())
    }

    /// Whether an ACL has a LUN map of its own; without one it sees all LUNs of its group, those to come too.
    ///
    /// # Errors
    /// There is no such ACL.
    pub fn has_map(&mut self, iqn: &str, tag: u16, initiator: &str) -> Edited<bool> {
        Ok(self.acl(iqn, tag, initiator)?.contains_key("mapped_lun"))
    }

    /// Gives an ACL a LUN map of its own, that shows these LUNs by their numbers in the group.
    ///
    /// # Errors
    /// There is no such ACL.
    pub fn spell_out_map(&mut self, iqn: &str, tag: u16, initiator: &str, luns: &[u16]) -> Edited {
        if luns.is_empty() {
            let acl = self.acl(iqn, tag, initiator)?;
            acl.insert("mapped_lun", Item::Value(Value::Array(Array::new())));
        }
        luns.iter().try_for_each(|lun| self.map_lun(iqn, tag, initiator, *lun, *lun, false))
    }

    /// Adds a mapped LUN to an ACL that has a map.
    ///
    /// # Errors
    /// There is no such ACL.
    pub fn map_lun(
        &mut self,
        iqn: &str,
        tag: u16,
        initiator: &str,
        mapped: u16,
        lun: u16,
        read_only: bool,
    ) -> Edited {
        let above = self.braces_above(iqn)?;
        let above = above || is_braced(self.tpg(iqn, tag)?, "acl");
        let acl = self.acl(iqn, tag, initiator)?;
        let mut settings = vec![("lun", Scalar::Number(mapped.into()))];
        if mapped != lun {
            settings.push(("tpg_lun", Scalar::Number(lun.into())));
        }
        if read_only {
            settings.push(("read_only", Scalar::Flag(true)));
        }
        let braced = above || is_braced(acl, "mapped_lun");
        tables::push(acl, "mapped_lun", table_of(&settings), braced);
        Ok(())
    }

    /// Deletes a mapped LUN of an ACL that has a map.
    ///
    /// # Errors
    /// There is no such mapped LUN.
    pub fn unmap_lun(&mut self, iqn: &str, tag: u16, initiator: &str, mapped: u16) -> Edited {
        let acl = self.acl(iqn, tag, initiator)?;
        let n = tables::position(acl, "mapped_lun", |t, _| number_at(t, "lun") == Some(mapped));
        unmap_nth(acl, n.ok_or_else(|| absent(format_args!("mapped LUN {mapped}")))?);
        Ok(())
    }

    /// Sets one setting, or takes it out so that it has its default.
    ///
    /// # Errors
    /// There is nothing to set it of.
    pub fn set(&mut self, owner: &Owner, key: &str, value: Option<&Scalar>) -> Edited {
        if let Owner::AluaGroup(store, name) = owner
            && name == DEFAULT_GROUP
            && self.written(owner).is_none()
        {
            match value {
                // Nothing is written of it as it is.
                None => return Ok(()),
                Some(_) if key != "access" => self.write_default_group(store)?,
                Some(_) => {}
            }
        }
        let table = self.owner(owner)?;
        match value {
            Some(value) => put(table, key, value.value()),
            None => {
                table.remove(key);
            }
        }
        self.drop_empty_qos(owner)
    }

    /// A table of limits goes with the last of them.
    fn drop_empty_qos(&mut self, owner: &Owner) -> Edited {
        let above = match owner {
            Owner::StoreQos(name) => self.store(name)?,
            Owner::AclQos(iqn, tag, initiator) => self.acl(iqn, *tag, initiator)?,
            _ => return Ok(()),
        };
        if above.get("qos").and_then(Item::as_table_like).is_some_and(|table| table.is_empty()) {
            above.remove("qos");
        }
        Ok(())
    }

    /// What is written for a setting.
    pub fn get(&self, owner: &Owner, key: &str) -> Option<String> {
        let value = self.written(owner)?.get(key)?.as_value()?;
        Some(value.as_str().map_or_else(|| value.to_string().trim().to_owned(), str::to_owned))
    }

    /// The table of an owner, if it is written.
    fn written(&self, owner: &Owner) -> Option<&dyn TableLike> {
        let root: &dyn TableLike = self.doc.as_table();
        let store = |name: &str| tables::found(root, "backstore", |t, _| text_at(t, "name") == Some(name));
        let target = |iqn: &str| tables::found(root, "target", |t, _| same_name(text_at(t, "iqn"), iqn));
        let tpg = |iqn: &str, tag: u16| tables::found(target(iqn)?, "tpg", |t, n| tag_of(t, n) == tag);
        let acl = |iqn: &str, tag: u16, initiator: &str| {
            tables::found(tpg(iqn, tag)?, "acl", |t, _| same_name(text_at(t, "initiator"), initiator))
        };
        let numbered =
            |within, key, lun: u16| tables::found(within, key, |t, _| number_at(t, "lun") == Some(lun));
        match owner {
            Owner::Store(name) => store(name),
            Owner::StoreQos(name) => below(store(name)?, "qos"),
            Owner::AluaGroup(name, group) => {
                tables::found(below(store(name)?, "alua")?, "group", |t, _| text_at(t, "name") == Some(group))
            }
            Owner::Discovery => below(root, "discovery"),
            Owner::Target(iqn) => target(iqn),
            Owner::Tpg(iqn, tag) => tpg(iqn, *tag),
            Owner::Parameters(iqn, tag) => below(tpg(iqn, *tag)?, "parameters"),
            Owner::Lun(iqn, tag, lun) => numbered(tpg(iqn, *tag)?, "lun", *lun),
            Owner::Acl(iqn, tag, initiator) => acl(iqn, *tag, initiator),
            Owner::AclQos(iqn, tag, initiator) => below(acl(iqn, *tag, initiator)?, "qos"),
            Owner::Mapped(iqn, tag, initiator, lun) => {
                numbered(acl(iqn, *tag, initiator)?, "mapped_lun", *lun)
            }
        }
    }

    /// The user name that is written for a door, and whether a secret is.
    ///
    /// # Errors
    /// There are several.
    pub fn credential(&self, owner: &Owner, door: Door) -> Edited<(Option<String>, bool)> {
        let Some(table) = self.written(owner) else { return Ok((None, false)) };
        let alone = below(table, door.key());
        let only = match tables::len(table, door.key()) {
            0 => alone,
            1 => tables::nth(table, door.key(), 0),
            _ => return refuse(SEVERAL),
        };
        let Some(table) = only else { return Ok((None, false)) };
        let has_secret = table.contains_key("secret") || table.contains_key("secret_file");
        Ok((text_at(table, "user").map(str::to_owned), has_secret))
    }

    /// Sets the user name or the secret of a door; an empty text takes it out. Half a credential is written as one.
    ///
    /// # Errors
    /// There is nothing that could have one, or there are several.
    pub fn set_credential(&mut self, owner: &Owner, door: Door, key: &str, text: &str) -> Edited {
        let table = self.owner(owner)?;
        if credential_of(table, door)?.is_none() {
            table.insert(door.key(), Item::Value(Value::InlineTable(InlineTable::new())));
        }
        let Some(credential) = credential_of(table, door)? else { return refuse("it cannot be written") };
        if key == "secret" {
            credential.remove("secret_file");
        }
        if text.is_empty() {
            credential.remove(key);
        } else {
            put(credential, key, text.into());
        }
        let secret = credential.contains_key("secret") || credential.contains_key("secret_file");
        match (credential.contains_key("user"), secret) {
            (false, false) => {
                table.remove(door.key());
            }
            (true, true) => {
                credential.remove("unfinished");
                tidy(credential);
            }
            _ => {
                put(credential, "unfinished", true.into());
                tidy(credential);
            }
        }
        Ok(())
    }

    /// Takes out everything but `[server]`.
    pub fn clear(&mut self) {
        self.clear_objects();
        for key in ["portal", "discovery"] {
            self.root().remove(key);
        }
    }

    /// Takes out the backstores and the targets.
    pub fn clear_objects(&mut self) {
        for key in ["backstore", "loopback", "target"] {
            self.root().remove(key);
        }
    }
}

/// Replaces a value and keeps what is written around it.
fn put(table: &mut dyn TableLike, key: &str, mut value: Value) {
    if let Some(Item::Value(old)) = table.get_mut(key) {
        *value.decor_mut() = old.decor().clone();
        *old = value;
    } else {
        table.insert(key, Item::Value(value));
    }
}

/// Puts spaces where they belong in a table in braces. Where there are comments, nothing is touched.
fn tidy(table: &mut dyn TableLike) {
    let has_comment = |decor: &Decor| {
        let parts = [decor.prefix(), decor.suffix()];
        parts.into_iter().flatten().any(|raw| raw.as_str().is_none_or(|text| text.contains('#')))
    };
    let commented = table.iter().any(|(key, item)| {
        let of_key = table
            .key(key)
            .is_some_and(|key| has_comment(key.leaf_decor()) || has_comment(key.dotted_decor()));
        of_key || item.as_value().is_some_and(|value| has_comment(value.decor()))
    });
    if !commented {
        table.fmt();
    }
}

/// A map that has lost its last LUN shows none: without a map it would show all.
fn unmap_nth(acl: &mut dyn TableLike, n: usize) {
    tables::remove(acl, "mapped_lun", n);
    if !acl.contains_key("mapped_lun") {
        acl.insert("mapped_lun", Item::Value(Value::Array(Array::new())));
    }
}

fn sub_table<'a>(table: &'a mut dyn TableLike, key: &str) -> Edited<&'a mut dyn TableLike> {
    if !table.contains_key(key) {
        let mut new = Table::new();
        if key == "discovery" {
            *new.decor_mut() = Decor::new("\n", "");
        }
        table.insert(key, Item::Table(new));
    }
    let found = table.get_mut(key).and_then(Item::as_table_like_mut);
    found.ok_or_else(|| EditError::Refused(format!("`{key}` is not written as a table")))
}

fn below<'a>(table: &'a dyn TableLike, key: &str) -> Option<&'a dyn TableLike> {
    table.get(key)?.as_table_like()
}

const SEVERAL: &str = "there are several users here: change them in the file";

/// The one credential of a door, if there is one.
fn credential_of(table: &mut dyn TableLike, door: Door) -> Edited<Option<&mut dyn TableLike>> {
    match table.get_mut(door.key()) {
        None => Ok(None),
        Some(Item::Value(Value::Array(array))) => match array.len() {
            1 => Ok(array.get_mut(0).and_then(Value::as_inline_table_mut).map(|t| t as &mut dyn TableLike)),
            _ => refuse(SEVERAL),
        },
        Some(Item::ArrayOfTables(tables)) => match tables.len() {
            1 => Ok(tables.get_mut(0).map(|t| t as &mut dyn TableLike)),
            _ => refuse(SEVERAL),
        },
        Some(item) => Ok(item.as_table_like_mut()),
    }
}

impl Document {
    /// Takes the backstore and the target of these names out of `other`. One that is here already is replaced where it
    /// stands, or is left as it is; returns the names of those that are left.
    ///
    /// # Errors
    /// `other` has not what is named.
    pub fn take_from(
        &mut self,
        other: &Self,
        store: Option<&str>,
        target: Option<&str>,
        replace: bool,
    ) -> Edited<Vec<String>> {
        let mut left = Vec::new();
        for (key, name, wanted) in [("backstore", "name", store), ("target", "iqn", target)] {
            let Some(wanted) = wanted else { continue };
            let is_it = |called: &str| same_name(Some(called), wanted);
            if self.take_list(other, key, name, is_it, replace, &mut left) == 0 {
                return refuse(format!("it has no {key} {wanted}"));
            }
        }
        Ok(left)
    }

    /// Takes everything out of `other` that is not here yet, but for `[server]`; returns the names of what is here, and
    /// of portals that no group has.
    ///
    /// # Errors
    /// There is nothing in `other`.
    pub fn take_all(&mut self, other: &Self) -> Edited<Vec<String>> {
        let mut left = Vec::new();
        let found = self.take_list(other, "backstore", "name", |_| true, false, &mut left)
            + self.take_list(other, "loopback", "backstore", |_| true, false, &mut left)
            + self.take_list(other, "target", "iqn", |_| true, false, &mut left)
            + self.take_list(other, "portal", "address", |_| true, false, &mut left);
        left.extend(self.drop_idle_portals());
        let discovery = other.doc.get("discovery");
        if found == 0 && discovery.is_none() {
            return refuse(NOTHING);
        }
        match discovery {
            Some(_) if self.doc.contains_key("discovery") => left.push("[discovery]".into()),
            Some(item) => {
                let mut item = item.clone();
                unplace(&mut item);
                self.root().insert("discovery", item);
            }
            None => {}
        }
        Ok(left)
    }

    /// The names of what [`take_all`](Self::take_all) takes beside backstores and targets, as far as it is there.
    pub fn beside(&self) -> Vec<String> {
        let root: &dyn TableLike = self.doc.as_table();
        let portals = tables::all(root, "portal")
            .map(|p| format!("portal {}", text_at(p, "address").unwrap_or_default()));
        let discovery = self.doc.contains_key("discovery").then(|| "[discovery]".to_owned());
        portals.chain(discovery).collect()
    }

    /// Takes out what is said of portals that no group has, which the checker would refuse; returns which they were.
    pub fn drop_idle_portals(&mut self) -> Vec<String> {
        let mut dropped = Vec::new();
        let root = self.root();
        let idle = |t: &dyn TableLike, root: &dyn TableLike| {
            text_at(t, "address").and_then(address_of).is_some_and(|portal| !is_listed(root, portal))
        };
        for n in (0..tables::len(root, "portal")).rev() {
            let Some(portal) = tables::nth(root, "portal", n).filter(|t| idle(*t, root)) else { continue };
            dropped.push(format!("portal {}", text_at(portal, "address").unwrap_or_default()));
            tables::remove(root, "portal", n);
        }
        dropped
    }

    fn take_list(
        &mut self,
        other: &Self,
        key: &str,
        name: &str,
        chosen: impl Fn(&str) -> bool,
        replace: bool,
        left: &mut Vec<String>,
    ) -> usize {
        let theirs: &dyn TableLike = other.doc.as_table();
        let root = self.root();
        let known = |text: &str| match address_of(text).filter(|_| key == "portal") {
            Some(portal) => portal.to_string(),
            None => normal(text),
        };
        let mut here = HashMap::new();
        for n in 0..tables::len(root, key) {
            let called = tables::nth(root, key, n).and_then(|t| text_at(t, name));
            here.entry(called.map(known)).or_insert(n);
        }
        let mut found = 0;
        for table in tables::all(theirs, key) {
            let called = text_at(table, name).unwrap_or_default();
            if !chosen(called) {
                continue;
            }
            found += 1;
            match here.entry(Some(known(called))) {
                Entry::Occupied(at) if replace => tables::replace(root, key, *at.get(), copy_of(table)),
                Entry::Occupied(_) => left.push(called.to_owned()),
                Entry::Vacant(place) => {
                    place.insert(tables::len(root, key));
                    let braced = is_braced(root, key);
                    tables::push(root, key, copy_of(table), braced);
                }
            }
        }
        found
    }
}

/// The same table, with its comments, to stand in another document.
fn copy_of(table: &dyn TableLike) -> Table {
    let mut copy = Table::new();
    for (key, item) in table.iter().filter_map(|(name, _)| table.get_key_value(name)) {
        let mut item = item.clone();
        unplace(&mut item);
        match is_commented(key) {
            true => copy.insert_formatted(key, item),
            // What is around it belongs to the form in which it was written.
            false => copy.insert(key.get(), item),
        };
    }
    *copy.decor_mut() = Decor::new("\n", "");
    copy
}

/// Whether there is a comment above a key.
fn is_commented(key: &Key) -> bool {
    let above = key.leaf_decor().prefix().and_then(RawString::as_str);
    above.is_some_and(|text| text.contains('#'))
}

/// Forgets where tables stood in their document.
pub(super) fn unplace(item: &mut Item) {
    match item {
        Item::Table(table) => unplace_table(table),
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(unplace_table),
        _ => {}
    }
}

fn unplace_table(table: &mut Table) {
    table.set_position(None);
    table.iter_mut().for_each(|(_, item)| unplace(item));
}

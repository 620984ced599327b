//! `delete` and `clearconfig`.

use serde_json::json;

use super::create::{number_behind, portal_of, spell_out};
use super::node::{self, Node};
use super::restore::IDLE;
use super::verbs::Values;
use super::{Shell, iqn};
use crate::admin::edit::{Document, EditError};
use crate::admin::state;
use crate::store::StoreKind;

impl Shell {
    pub(super) fn delete(&mut self, node: &Node, values: &Values) -> Result<(), String> {
        match node {
            Node::Kind(kind) => self.delete_store(*kind, values),
            Node::Iscsi => self.delete_target(values.must("wwn")),
            Node::Target(iqn) => {
                let tag = number_behind(values.must("tag"), "tpg", "tag")?;
                let idle = self.delete_with_portals(|doc| doc.remove_tpg(iqn, tag))?;
                self.say(format!("Deleted TPG {tag}."));
                self.say_listed(IDLE, &idle);
                Ok(())
            }
            Node::Luns(iqn, tag) => {
                let lun = number_behind(values.must("lun"), "lun", "lun")?;
                self.edit(|doc| doc.remove_lun(iqn, *tag, lun))?;
                self.say(format!("Deleted LUN {lun}."));
                Ok(())
            }
            Node::Acls(target, tag) => {
                let initiator = iqn(values.must("wwn"))?;
                self.edit(|doc| doc.remove_acl(target, *tag, &initiator))?;
                self.say(format!("Deleted Node ACL {initiator}."));
                Ok(())
            }
            Node::Acl(iqn, tag, initiator) => {
                self.delete_mapped(iqn, *tag, initiator, values.must("mapped_lun"))
            }
            Node::Portals(iqn, tag) => {
                let (portal, _) = portal_of(values.get("ip_address"), values.number("ip_port")?)?;
                self.edit(|doc| doc.remove_portal(iqn, *tag, portal))?;
                self.say(format!("Deleted network portal {portal}"));
                Ok(())
            }
            Node::Loopback => self.delete_loopback(values.must("disk")),
            Node::Alua(store) => self.delete_group(store, values.must("name")),
            _ => Err("nothing can be deleted here".into()),
        }
    }

    /// Deletes a backstore, and says what is kept of it. One that is gone can still be forgotten.
    fn delete_store(&mut self, kind: StoreKind, values: &Values) -> Result<(), String> {
        let (name, forget) = (values.must("name"), values.flag("forget")?.unwrap_or(false));
        let is_live = self.backend.standing().is_live();
        let identity = state::identity_file(&self.config.server.state_dir, name);
        if forget && !is_live {
            return Err(format!("no daemon is asked to forget it: delete it, and rm {}", identity.display()));
        }
        let store = node::store(&self.config, name);
        let serial = store.and_then(|store| store.identity.serial.clone());
        if store.is_some() || !forget {
            self.remove_store(kind, name)?;
        }
        if forget {
            self.backend.ask("backstores.forget", json!({ "name": name, "serial": serial }))?;
            self.say(format!("Forgot what initiators knew {name} by, and had reserved."));
        } else if kind != StoreKind::Pscsi {
            let how = if is_live {
                format!("delete {name} forget=true")
            } else {
                format!("rm {}", identity.display())
            };
            self.say(format!(
                "What initiators know it by and have reserved is kept for the next backstore {name}; to forget it: {how}"
            ));
        }
        Ok(())
    }

    fn remove_store(&mut self, kind: StoreKind, name: &str) -> Result<(), String> {
        self.store_named(&format!("{}/{name}", kind.word()))?;
        let is_local = self.config.loopbacks.iter().any(|disk| disk.store == name);
        let mut shown = Vec::new();
        self.edit(|doc| {
            shown = doc.remove_store(name)?;
            Ok(())
        })?;
        for (iqn, tag, lun) in shown {
            self.say(format!("Deleted LUN {lun} of {iqn}/tpg{tag}."));
        }
        if is_local {
            self.say(format!("Deleted local disk {name}."));
        }
        self.say(format!("Deleted storage object {name}."));
        Ok(())
    }

    fn delete_target(&mut self, wwn: &str) -> Result<(), String> {
        let name = iqn(wwn)?;
        if node::target(&self.config, &name).is_none() {
            return Err(self.no_such(&Node::Iscsi, &name));
        }
        let idle = self.delete_with_portals(|doc| doc.remove_target(&name))?;
        self.say(format!("Deleted Target {name}."));
        self.say_listed(IDLE, &idle);
        Ok(())
    }

    /// Deletes something that has portals, and what is said of those that nobody has any more: which they were.
    fn delete_with_portals(
        &mut self,
        delete: impl FnOnce(&mut Document) -> Result<(), EditError>,
    ) -> Result<Vec<String>, String> {
        let mut idle = Vec::new();
        self.edit(|doc| {
            delete(doc)?;
            idle = doc.drop_idle_portals();
            Ok(())
        })?;
        Ok(idle)
    }

    fn delete_mapped(&mut self, iqn: &str, tag: u16, initiator: &str, said: &str) -> Result<(), String> {
        let number = number_behind(said, "mapped_lun", "mapped_lun")?;
        let luns = node::acl(&self.config, iqn, tag, initiator).map(|a| a.luns.clone()).unwrap_or_default();
        let luns: Vec<u16> = luns.iter().map(|l| l.lun).collect();
        self.edit(|doc| {
            spell_out(doc, iqn, tag, initiator, &luns)?;
            doc.unmap_lun(iqn, tag, initiator, number)
        })?;
        self.say(format!("Deleted Mapped LUN {number}."));
        Ok(())
    }

    pub(super) fn clearconfig(&mut self, values: &Values) -> Result<(), String> {
        if values.flag("confirm")? != Some(true) {
            return Err(
                "this deletes all backstores and targets; to do it, say: clearconfig confirm=True".into()
            );
        }
        self.edit(|doc| {
            doc.clear();
            Ok(())
        })?;
        self.say("All configuration cleared");
        Ok(())
    }
}

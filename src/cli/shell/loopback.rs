//! `/loopback`: backstores that are disks of this host, too.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Shell;
use super::device::Seen;
use super::node::Node;
use super::verbs::Values;
use crate::admin::edit::Scalar;

/// What is told where this host has no ublk, and no daemon says it.
const NO_UBLK: &str = "This host has no /dev/ublk-control, so there will be no such disk: run `modprobe ublk_drv` (Linux 6.0 or \
                       newer, made with CONFIG_BLK_DEV_UBLK).";

/// The devices of local disks, where a daemon serves them: each is there, or it is known why not.
#[derive(Debug, Default)]
pub(super) struct Devices(Option<HashMap<String, Result<String, String>>>);

impl Devices {
    fn read(answer: &Value) -> Self {
        let disk = |disk: &Value| {
            let name = disk["backstore"].as_str()?.to_owned();
            let why = || disk["why"].as_str().unwrap_or_default().to_owned();
            Some((name, disk["device"].as_str().map(ToOwned::to_owned).ok_or_else(why)))
        };
        Self(Some(answer["loopbacks"].as_array().into_iter().flatten().filter_map(disk).collect()))
    }

    /// That of a backstore. None: nobody serves it.
    pub(super) fn of(&self, store: &str) -> Option<&Result<String, String>> {
        self.0.as_ref()?.get(store)
    }
}

impl Shell {
    /// What is to be known of local disks where `node` and what is below it are shown.
    pub(super) fn devices(&self, node: &Node) -> Devices {
        let is_concerned = matches!(node, Node::Root | Node::Loopback | Node::LocalDisk(_));
        if !is_concerned || self.config.loopbacks.is_empty() || !self.backend.standing().is_live() {
            return Devices::default();
        }
        Devices::read(&self.backend.ask("loopback.list", json!({})).unwrap_or_default())
    }

    pub(super) fn create_loopback(&mut self, values: &Values) -> Result<String, String> {
        let store = self.store_named(values.must("storage_object"))?;
        if self.config.loopbacks.iter().any(|disk| disk.store == store) {
            return Err(format!("backstore {store} is a local disk already"));
        }
        let mut settings = vec![("backstore", Scalar::Text(store.clone()))];
        if let Some(number) = values.get("device") {
            let digits = number.strip_prefix("/dev/ublkb").unwrap_or(number);
            let number: u32 = digits.parse().map_err(|_| format!("device: \"{number}\" is no number"))?;
            settings.push(("device", Scalar::Number(number.into())));
        }
        if values.flag("readonly")? == Some(true) {
            settings.push(("read_only", Scalar::Flag(true)));
        }
        self.edit(|doc| {
            doc.add_loopback(&settings);
            Ok(())
        })?;
        match self.devices(&Node::Loopback).of(&store) {
            Some(Ok(device)) => self.say(format!("Created local disk {store}: {device}.")),
            Some(Err(_)) => self.say(format!("Created local disk {store}, which is not there yet.")),
            None => {
                self.say(format!("Created local disk {store}."));
                if (self.host.look)(Path::new("/dev/ublk-control")) == Seen::Absent {
                    self.say(NO_UBLK);
                }
            }
        }
        Ok(store)
    }

    /// The lowest number of a device that is not there, and will not be.
    pub(super) fn free_device(&self) -> u32 {
        let is_free = |number: &u32| {
            let is_meant = self.config.loopbacks.iter().any(|disk| disk.device == Some(*number));
            !is_meant && (self.host.look)(Path::new(&format!("/dev/ublkb{number}"))) == Seen::Absent
        };
        (0..).find(is_free).unwrap_or_default()
    }

    pub(super) fn delete_loopback(&mut self, said: &str) -> Result<(), String> {
        let name = said.rsplit('/').next().unwrap_or(said);
        let Some(Node::LocalDisk(store)) = Node::Loopback.child(name, &self.config) else {
            return Err(self.no_such(&Node::Loopback, name));
        };
        self.edit(|doc| doc.remove_loopback(&store))?;
        self.say(format!("Deleted local disk {store}."));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_there_or_it_is_known_why_not() {
        let disks = json!([
            { "backstore": "a", "device": "/dev/ublkb3", "why": null },
            { "backstore": "b", "device": null, "why": "its store is not ready" },
        ]);
        let devices = Devices::read(&json!({ "loopbacks": disks }));
        assert_eq!(devices.of("a"), Some(&Ok("/dev/ublkb3".to_owned())));
        assert_eq!(devices.of("b"), Some(&Err("its store is not ready".to_owned())));
        assert_eq!((devices.of("c"), Devices::default().of("a")), (None, None));
    }
}

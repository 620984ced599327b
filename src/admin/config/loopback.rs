//! `[[loopback]]`: backstores that are disks of this host, too.

use std::collections::HashSet;
use std::sync::Arc;

use super::file::FileLoopback;
use super::resolve::{Bounds, Resolver};
use super::store::Stores;
use super::words;
use crate::ids::LuId;
use crate::scsi::{DEFAULT_GROUP, DeviceType};
use crate::store::StoreConfig;
use crate::target::{Lun, Target, local_target};

/// Numbers of devices.
const DEVICE: Bounds = Bounds { min: 0, max: (1 << 20) - 1, reason: "the kernel has as many" };

/// A local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackConfig {
    /// The name of its backstore, which is its own, too.
    pub store: String,
    /// The N of /dev/ublkbN; none: the first that is free.
    pub device: Option<u32>,
    /// It cannot be written here.
    pub read_only: bool,
}

/// All of them, each of a backstore and with a number of its own.
pub(super) fn resolve(
    files: Vec<FileLoopback>,
    stores: &Stores,
    cx: &mut Resolver<'_>,
) -> Vec<LoopbackConfig> {
    let (mut taken, mut numbers) = (HashSet::new(), HashSet::new());
    let mut disks = Vec::new();
    for file in files {
        let Some(store) = store(&file, stores, &mut taken, cx) else { continue };
        let device = cx.number(&file.device, &DEVICE);
        if let Some(number) = device.filter(|number| !numbers.insert(*number)) {
            let what = format!("another [[loopback]] is /dev/ublkb{number} already");
            let remedy = "choose another number, or leave the line out for the first that is free";
            cx.error(file.here.or_at(&file.device), what, "a device is one disk", remedy);
        }
        let read_only = file.read_only.as_ref().is_some_and(|v| *v.get_ref());
        disks.push(LoopbackConfig { store, device, read_only });
    }
    disks
}

fn store(
    file: &FileLoopback,
    stores: &Stores,
    taken: &mut HashSet<String>,
    cx: &mut Resolver<'_>,
) -> Option<String> {
    let Some(value) = &file.backstore else {
        cx.missing(&file.here, "[[loopback]]", "backstore", "\"…\"");
        return None;
    };
    let name = value.get_ref();
    let Some(at) = stores.find(name) else {
        let remedy = words::suggestion(name, stores.names().filter(|n| !n.is_empty()));
        let reason = "a local disk names a [[backstore]] of this file";
        cx.error(value, format!("there is no backstore \"{name}\""), reason, remedy);
        return None;
    };
    if stores.configs[at].device == DeviceType::Cdrom {
        let reason = "its blocks have 2048 bytes, and it is read by commands of drives";
        cx.error(value, format!("backstore \"{name}\" is no disk"), reason, "mount its file, or its device");
    } else if !taken.insert(name.clone()) {
        let reason = "two would cache the same blocks, and not see what the other writes";
        cx.error(
            value,
            format!("backstore \"{name}\" is a local disk already"),
            reason,
            "remove one of them",
        );
    }
    Some(name.clone())
}

/// The targets by which local disks reach their backstores.
pub(super) fn targets(disks: &[LoopbackConfig], stores: &[Arc<StoreConfig>]) -> Vec<Target> {
    let target = |disk: &LoopbackConfig| {
        let at = stores.iter().position(|s| s.name == disk.store)?;
        let group = stores[at].groups.iter().find(|g| g.name == DEFAULT_GROUP).map_or(0, |g| g.id);
        let lun = Lun { lun: 0, lu: LuId(at as u32), read_only: disk.read_only, group };
        Some(local_target(&disk.store, lun))
    };
    disks.iter().filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::admin::config::{Config, Report, Source, parse};
    use crate::target::{LOCAL_PORTAL, store_of_local};

    const STORES: &str = "backstore = [{ kind = \"null\", name = \"a\", size = \"1G\" }, \
                          { kind = \"fileio\", name = \"b\", path = \"/b\", device_type = \"cdrom\" }]\n";

    fn read(text: &str) -> Result<Config, Report> {
        parse(Source::new("t", format!("{STORES}{text}")), Path::new("/"), None).map(|(config, _)| config)
    }

    #[test]
    fn a_disk_is_a_target_that_no_listener_leads_to() {
        let mut config = read("[[loopback]]\nbackstore = \"a\"\ndevice = 7\nread_only = true\n").unwrap();
        assert_eq!((config.loopbacks[0].store.as_str(), config.loopbacks[0].device), ("a", Some(7)));
        assert!(config.targets.is_empty());
        config.expose_local();
        assert_eq!(store_of_local(&config.targets[0].iqn).as_deref(), Some("a"));
        assert_eq!(config.targets[0].tpgs[0].portals, [LOCAL_PORTAL]);
        assert!(config.targets[0].tpgs[0].luns[0].read_only && config.listeners().is_empty());
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        for (text, told) in [
            ("[[loopback]]\n", "t:2:1: this [[loopback]] has no `backstore`"),
            ("[[loopback]]\nbackstore = \"c\"\n", "t:3:13: there is no backstore \"c\""),
            ("[[loopback]]\nbackstore = \"b\"\n", "t:3:13: backstore \"b\" is no disk"),
            ("[[loopback]]\nbackstore = \"a\"\ndevice = 1048576\n", "t:4:10: 1048576 is too large"),
            (
                "loopback = [{ backstore = \"a\" }, { backstore = \"a\" }]\n",
                "backstore \"a\" is a local disk already",
            ),
            (
                "[[target]]\niqn = \"iqn.2026-11.org.ringtgt.loopback:a\"\n",
                "t:3:7: iqn.2026-11.org.ringtgt.loopback:a is the name of a local disk's target",
            ),
        ] {
            let report = read(text).unwrap_err().to_string();
            assert!(report.contains(told), "{text}: {report}");
        }
    }
}

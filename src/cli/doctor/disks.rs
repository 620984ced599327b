//! The block devices that are served: settings of their queues, and their caches.

use std::path::Path;

use super::daemon::Served;
use super::finding::Finding;
use super::host::Host;
use crate::store::{Io, StoreConfig, block_node};

pub(super) fn findings(host: &Host, served: &Served) -> Vec<Finding> {
    served.devices().flat_map(|(store, path)| of_device(host, store, path)).collect()
}

fn of_device(host: &Host, store: &StoreConfig, path: &Path) -> Vec<Finding> {
    let block = block_node(path);
    let path = block.as_deref().unwrap_or(path);
    let Some(name) = path.to_str().and_then(|path| host.real(path)) else {
        let remedy = "see why it is gone; the LUN comes back by itself when the device does";
        let is = format!("{} is not there", path.display());
        return vec![Finding::hint(&store.name, is, "initiators are told NOT READY", remedy).wrong()];
    };
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(disk) = whole_disk(host, &name) else { return vec![] };
    let about = if disk == name { name } else { format!("{disk} (for {name})") };
    let checks = [
        scheduler(host, &disk),
        affinity(host, &disk),
        merges(host, &disk),
        cache(host, &disk, store),
        polls(host, &disk, store),
    ];
    checks.into_iter().flatten().map(|finding| Finding { about: about.clone(), ..finding }).collect()
}

/// The disk that a device is, or that it is a partition of: partitions have no queue.
fn whole_disk(host: &Host, name: &str) -> Option<String> {
    let dir = host.real(&format!("/sys/class/block/{name}"))?;
    if host.exists(&format!("{dir}/queue")) {
        return Some(name.to_owned());
    }
    let parent = Path::new(&dir).parent()?;
    let is_disk = host.exists(&format!("{}/queue", parent.display()));
    is_disk.then(|| parent.file_name()?.to_str().map(ToOwned::to_owned)).flatten()
}

fn queue(disk: &str, setting: &str) -> String {
    format!("/sys/class/block/{disk}/queue/{setting}")
}

fn apply(disk: &str) -> String {
    format!("/usr/share/ringtgt/tuning/disk-queue apply {disk}")
}

fn scheduler(host: &Host, disk: &str) -> Option<Finding> {
    let chosen = host.chosen(&queue(disk, "scheduler"))?;
    let is = format!("scheduler {chosen}");
    Some(if chosen == "none" {
        Finding::good(disk, is)
    } else {
        let why = "initiators have schedulers of their own: a second one only costs, with a lock for all processors";
        Finding::hint(disk, is, why, apply(disk))
    })
}

fn affinity(host: &Host, disk: &str) -> Option<Finding> {
    is_two(
        host,
        disk,
        "rq_affinity",
        "a request may end on another processor than the reactor's that waits for it",
    )
}

fn merges(host: &Host, disk: &str) -> Option<Finding> {
    let why = "each request looks for neighbours to be merged with, and reactors send large pieces already";
    is_two(host, disk, "nomerges", why)
}

fn is_two(host: &Host, disk: &str, setting: &str, why: &str) -> Option<Finding> {
    let value = host.number(&queue(disk, setting))?;
    let is = format!("{setting} {value}");
    Some(if value == 2 { Finding::good(disk, is) } else { Finding::hint(disk, is, why, apply(disk)) })
}

/// Whether what is to be polled can be.
fn polls(host: &Host, disk: &str, store: &StoreConfig) -> Option<Finding> {
    if store.io != Io::Polled {
        return None;
    }
    let queues = host.number(&queue(disk, "io_poll")).unwrap_or(0) != 0;
    Some(if queues {
        Finding::good(disk, "queues that can be polled")
    } else {
        Finding::hint(
            disk,
            format!("no queues that can be polled, and io = \"polled\" of backstore \"{}\"", store.name),
            "it is served by interrupts",
            "NVMe has them by `options nvme poll_queues=N` in /etc/modprobe.d, see tuning/disk-queue",
        )
    })
}

/// Whether a write is safe when the device says that it is done.
fn cache(host: &Host, disk: &str, store: &StoreConfig) -> Option<Finding> {
    let volatile = host.text(&queue(disk, "write_cache"))? == "write back";
    let is = if volatile { "a volatile write cache" } else { "no volatile write cache" };
    Some(match store.write_back {
        Some(true) if !volatile => Finding::hint(
            disk,
            format!("{is}, and write_back = true"),
            "initiators flush a cache that is not there: each flush is a round trip",
            format!("leave write_back of backstore \"{}\" to be found out", store.name),
        ),
        Some(false) if volatile => Finding::hint(
            disk,
            format!("{is}, and write_back = false"),
            "every write is carried through the cache: safe, and slower than flushing when initiators ask",
            format!("leave write_back of backstore \"{}\" to be found out", store.name),
        ),
        _ => Finding::good(disk, is),
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::super::host::testing::Fake;
    use super::*;
    use crate::store::StoreKind;

    fn machine(scheduler: &str, affinity: &str, merges: &str, cache: &str) -> Fake {
        let dir = "/sys/devices/pci/nvme/nvme1n1";
        let fake = Fake::with(&[("/dev/nvme1n1", ""), ("/dev/nvme1n1p1", "")]);
        for (name, text) in [
            ("scheduler", scheduler),
            ("rq_affinity", affinity),
            ("nomerges", merges),
            ("write_cache", cache),
        ] {
            fake.put(&format!("{dir}/queue/{name}"), text);
        }
        fake.put(&format!("{dir}/nvme1n1p1/partition"), "1");
        fake.link("/sys/class/block/nvme1n1", "../../devices/pci/nvme/nvme1n1");
        fake.link("/sys/class/block/nvme1n1p1", "../../devices/pci/nvme/nvme1n1/nvme1n1p1");
        fake
    }

    fn served(path: &str, write_back: Option<bool>) -> Served {
        let store =
            StoreConfig { path: Some(path.into()), write_back, ..StoreConfig::new(StoreKind::Block, "disk") };
        Served { pid: 7, reactors: 2, buffers: 0, stores: Some(vec![store]), sessions: vec![] }
    }

    #[test]
    fn a_tuned_disk_has_nothing_to_hear() {
        let fake = machine("[none] mq-deadline", "2", "2", "write back");
        let found = findings(&fake.host, &served("/dev/nvme1n1", None));
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|f| f.grade == Grade::Good && f.about == "nvme1n1"), "{found:#?}");
    }

    #[test]
    fn what_is_to_be_polled_needs_queues_for_it() {
        let mut served = served("/dev/nvme1n1", None);
        served.stores.iter_mut().flatten().for_each(|store| store.io = Io::Polled);
        let fake = machine("[none]", "2", "2", "write back");
        let last = |fake: &Fake| findings(&fake.host, &served).pop().expect("a finding");
        assert!(last(&fake).grade == Grade::Hint && last(&fake).remedy.contains("poll_queues=N"));
        fake.put("/sys/devices/pci/nvme/nvme1n1/queue/io_poll", "1");
        assert_eq!(last(&fake).grade, Grade::Good);
    }

    #[test]
    fn a_partition_has_the_queue_of_its_disk() {
        let fake = machine("none [mq-deadline]", "1", "0", "write through");
        let found = findings(&fake.host, &served("/dev/nvme1n1p1", Some(true)));
        assert_eq!(found.len(), 4);
        assert!(
            found.iter().all(|f| f.grade == Grade::Hint && f.about == "nvme1n1 (for nvme1n1p1)"),
            "{found:#?}"
        );
        assert_eq!(found[0].remedy, "/usr/share/ringtgt/tuning/disk-queue apply nvme1n1");
    }

    #[test]
    fn a_device_that_is_gone_is_wrong() {
        let fake = machine("[none]", "2", "2", "write back");
        let found = findings(&fake.host, &served("/dev/nvme9n1", None));
        assert_eq!((found.len(), found[0].grade), (1, Grade::Wrong));
        assert_eq!((found[0].about.as_str(), found[0].is.as_str()), ("disk", "/dev/nvme9n1 is not there"));
    }
}

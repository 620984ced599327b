//! The queue of a disk, as the block layer has it: its settings, which only what goes by it meets.

use super::finding::Finding;
use super::host::Host;
use super::system::WAKING;
use crate::store::StoreConfig;

/// What nobody has measured here, and how to.
const UNMEASURED: &str = "not measured; see it by fio/randread-qd32.fio on an initiator, before and after";

fn setting(disk: &str, name: &str) -> String {
    format!("/sys/class/block/{disk}/queue/{name}")
}

fn apply(disk: &str) -> String {
    format!("/usr/share/ringtgt/tuning/disk-queue apply {disk}")
}

/// Who sorts requests.
pub(super) fn scheduler(host: &Host, disk: &str) -> Option<Finding> {
    let chosen = host.chosen(&setting(disk, "scheduler"))?;
    let is = format!("scheduler {chosen}");
    Some(if chosen == "none" {
        Finding::good(disk, is)
    } else {
        let why = "initiators have schedulers of their own: a second one only costs, with a lock for all processors";
        Finding::hint(disk, is, why, UNMEASURED, apply(disk))
    })
}

/// Where requests end.
pub(super) fn affinity(host: &Host, disk: &str) -> Option<Finding> {
    let why = "a request may end on another processor than the reactor's that waits for it";
    is_two(host, disk, "rq_affinity", why, WAKING)
}

/// Whether requests are merged.
pub(super) fn merges(host: &Host, disk: &str) -> Option<Finding> {
    let why = "each request looks for neighbours to be merged with, and reactors send large pieces already";
    is_two(host, disk, "nomerges", why, UNMEASURED)
}

fn is_two(host: &Host, disk: &str, name: &str, why: &str, cost: &str) -> Option<Finding> {
    let value = host.number(&setting(disk, name))?;
    let is = format!("{name} {value}");
    Some(if value == 2 { Finding::good(disk, is) } else { Finding::hint(disk, is, why, cost, apply(disk)) })
}

/// Whether it can be polled.
pub(super) fn polls(host: &Host, disk: &str) -> bool {
    host.number(&setting(disk, "io_poll")).unwrap_or(0) != 0
}

/// Whether what is to be polled can be.
pub(super) fn polled(host: &Host, disk: &str, store: &StoreConfig) -> Finding {
    if polls(host, disk) {
        return Finding::good(disk, "queues that can be polled");
    }
    Finding::hint(
        disk,
        format!("no queues that can be polled, and io = \"polled\" of backstore \"{}\"", store.name),
        "it is served by interrupts, which may have to wake the reactor's processor",
        WAKING,
        "/usr/share/ringtgt/tuning/poll-queues apply N, for NVMe",
    )
}

/// Whether a write is safe when the device says that it is done.
pub(super) fn cache(host: &Host, disk: &str, store: &StoreConfig) -> Option<Finding> {
    let volatile = host.text(&setting(disk, "write_cache"))? == "write back";
    let is = if volatile { "a volatile write cache" } else { "no volatile write cache" };
    let remedy = format!("leave write_back of backstore \"{}\" to be found out", store.name);
    Some(match store.write_back {
        Some(true) if !volatile => {
            let why = "initiators flush a cache that is not there";
            let cost = "a round trip for each flush";
            Finding::hint(disk, format!("{is}, and write_back = true"), why, cost, remedy)
        }
        Some(false) if volatile => {
            let why = "every write is carried through the cache: safe, and slower than flushing when initiators ask";
            let cost = "for each write as long as the disk takes for a flush";
            Finding::hint(disk, format!("{is}, and write_back = false"), why, cost, remedy)
        }
        _ => Finding::good(disk, is),
    })
}

//! The devices and files that are served: whether they are there, and what on the way to them costs.
//!
//! What goes around the block layer meets no setting of its queue: commands of NVMe (`io = "passthrough"`) and of SCSI
//! (`kind = "pscsi"`). What is polled for ends where it is asked for.

use std::path::Path;

use super::daemon::Served;
use super::finding::Finding;
use super::host::Host;
use super::queue;
use crate::store::{Io, StoreConfig, StoreKind};

/// CAP_SYS_RAWIO, by its number.
const RAW_IO: u32 = 17;

/// `has_commands`: the kernel lets commands of a device through, and tells how they have ended.
pub(super) fn findings(host: &Host, served: &Served, has_commands: bool) -> Vec<Finding> {
    let each = |(store, path)| of_store(host, served, store, path, has_commands);
    served.on_disk().flat_map(each).collect()
}

fn of_store(
    host: &Host,
    served: &Served,
    store: &StoreConfig,
    path: &Path,
    has_commands: bool,
) -> Vec<Finding> {
    let Some(real) = path.to_str().and_then(|path| host.real(path)) else {
        return vec![missing(store, path, host.is_forbidden(path))];
    };
    if let Some(why) = served.away.of(&store.name) {
        return vec![not_ready(store, why)];
    }
    let pid = served.pid;
    match store.kind {
        StoreKind::Pscsi => vec![passed(host, pid, store)],
        StoreKind::Fileio => of_file(host, pid, store, &real),
        StoreKind::Block | StoreKind::Ramdisk | StoreKind::Null => {
            of_device(host, store, &real, has_commands)
        }
    }
}

/// Who may not look cannot say that it is gone.
fn missing(store: &StoreConfig, path: &Path, is_forbidden: bool) -> Finding {
    if is_forbidden {
        let is = format!("{} may not be looked at by who asks", path.display());
        let why = "whether it is there, and how it is set, is not known";
        return Finding::hint(&store.name, is, why, "nothing: the daemon may see it", "ask again as root");
    }
    let is = format!("{} is not there", path.display());
    let remedy = "see why it is gone; the LUN comes back by itself when the device does";
    unserved(store, is, remedy)
}

/// It is there, and the daemon says why it does not serve it, and mostly what to do.
fn not_ready(store: &StoreConfig, why: &str) -> Finding {
    let (is, remedy) = why.split_once("; ").unwrap_or((why, "see the log: journalctl -u ringtgt"));
    unserved(store, is, remedy)
}

fn unserved(store: &StoreConfig, is: impl Into<String>, remedy: &str) -> Finding {
    let (why, cost) = ("initiators are told NOT READY", "all of what they ask of it fails");
    Finding::hint(&store.name, is, why, cost, remedy).wrong()
}

fn of_device(host: &Host, store: &StoreConfig, real: &str, has_commands: bool) -> Vec<Finding> {
    let name = real.rsplit('/').next().unwrap_or_default();
    let block = node(host, &format!("/sys/class/nvme-generic/{name}"), "ng", "nvme");
    let block = block.as_deref().unwrap_or(name);
    let Some(disk) = whole_disk(host, block) else { return vec![] };
    let on_way = match store.io {
        Io::Passthrough => commanded(host, &disk, store, has_commands),
        Io::Polled if queue::polls(host, &disk) => {
            vec![queue::scheduler(host, &disk), queue::merges(host, &disk)]
        }
        Io::Direct | Io::Polled => queued(host, &disk),
    };
    let polled = (store.io == Io::Polled).then(|| queue::polled(host, &disk, store));
    let about = if disk == name { name.to_owned() } else { format!("{disk} (for {name})") };
    named(on_way.into_iter().chain([queue::cache(host, &disk, store), polled]), &about)
}

fn named(all: impl IntoIterator<Item = Option<Finding>>, about: &str) -> Vec<Finding> {
    all.into_iter().flatten().map(|finding| Finding { about: about.to_owned(), ..finding }).collect()
}

/// What all meet that goes by the block layer and ends by interrupts.
fn queued(host: &Host, disk: &str) -> Vec<Option<Finding>> {
    vec![queue::scheduler(host, disk), queue::affinity(host, disk), queue::merges(host, disk)]
}

/// A namespace that is to get commands of its own: that needs its generic node, and a kernel that tells how they end.
fn commanded(host: &Host, disk: &str, store: &StoreConfig, has_commands: bool) -> Vec<Option<Finding>> {
    let has_node = node(host, &format!("/sys/class/block/{disk}"), "nvme", "ng").is_some();
    let (lacks, remedy) = match (has_node, has_commands) {
        (true, true) => {
            return vec![Some(Finding::good(disk, "gets commands of its own, around the block layer"))];
        }
        (false, _) => ("no generic node", "it is for NVMe, which has /dev/ngXnY; else leave io out"),
        (true, false) => {
            ("a kernel that does not tell truly how commands end", "Linux 6.12 or newer; else leave io out")
        }
    };
    let is = format!("{lacks}, and io = \"passthrough\" of backstore \"{}\"", store.name);
    let why = "it is served by the block layer, as by io = \"direct\"";
    let cost = "processor time for each I/O; how much was not measured";
    let hint = Finding::hint(disk, is, why, cost, remedy);
    [Some(hint)].into_iter().chain(queued(host, disk)).collect()
}

/// The other node of a namespace of NVMe, `nvmeXnY` and `ngXnY`, by the link of one in sysfs: beside it, of the same number.
fn node(host: &Host, link: &str, ours: &str, theirs: &str) -> Option<String> {
    let number = |name: &str, prefix: &str| {
        let (controller, number) = name.strip_prefix(prefix)?.split_once('n')?;
        controller.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_owned())
    };
    let dir = host.real(link)?;
    let wanted = number(dir.rsplit('/').next()?, ours)?;
    let beside = host.names(Path::new(&dir).parent()?.to_str()?);
    beside.into_iter().find(|name| number(name, theirs).as_ref() == Some(&wanted))
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

/// A SCSI device that gets the commands themselves: some only with a capability.
fn passed(host: &Host, pid: u64, store: &StoreConfig) -> Finding {
    let status = host.text(&format!("/proc/{pid}/status")).unwrap_or_default();
    let mask =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    if mask.is_none_or(|mask| mask >> RAW_IO & 1 == 1) {
        return Finding::good(&store.name, "gets the commands themselves");
    }
    Finding::hint(
        &store.name,
        "the daemon has no CAP_SYS_RAWIO",
        "the kernel lets only those commands through to a SCSI device that it knows",
        "all others fail; reads and writes are not among them",
        "in a drop-in of the unit: CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_SYS_RAWIO",
    )
}

/// A file: how it is open, and the queue of the disk that it lies on.
fn of_file(host: &Host, pid: u64, store: &StoreConfig, path: &str) -> Vec<Finding> {
    let disk = disk_under(host, path);
    let below = disk.iter().flat_map(|disk| {
        let about = format!("{disk} (for {path})");
        named(queued(host, disk), &about)
    });
    open_file(host, pid, store, path).into_iter().chain(below).collect()
}

fn open_file(host: &Host, pid: u64, store: &StoreConfig, path: &str) -> Option<Finding> {
    if is_direct(host, pid, path)? {
        return Some(Finding::good(&store.name, "is open for direct I/O"));
    }
    Some(Finding::hint(
        &store.name,
        "goes through the page cache: its file system takes no direct I/O",
        "what initiators have written is in the memory of this machine until they flush it",
        "a copy of each byte, and what was written since the last flush if the machine fails",
        "a file system that takes it (XFS, ext4), without compression or encryption of the file",
    ))
}

/// Whether the daemon has that file open for direct I/O; nothing, if it is not seen to have it open.
fn is_direct(host: &Host, pid: u64, path: &str) -> Option<bool> {
    let dir = format!("/proc/{pid}/fd");
    let is_it = |fd: &String| host.link(&format!("{dir}/{fd}")).as_deref() == Some(path);
    let fd = host.names(&dir).into_iter().find(is_it)?;
    let info = host.text(&format!("/proc/{pid}/fdinfo/{fd}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(u32::from_str_radix(flags.trim(), 8).ok()? & libc::O_DIRECT as u32 != 0)
}

/// The disk on which a file lies, by what is mounted: mountinfo has a device number in its third column, and the place in
/// its fifth.
fn disk_under(host: &Host, path: &str) -> Option<String> {
    let mounts = host.text("/proc/self/mountinfo")?;
    let columns = mounts.lines().filter_map(|line| {
        let mut columns = line.split(' ').skip(2);
        Some((columns.next()?, columns.nth(1)?))
    });
    let holds = |place: &&str| Path::new(path).starts_with(place);
    let (number, _) = columns.filter(|(_, place)| holds(place)).max_by_key(|(_, place)| place.len())?;
    let device = host.real(&format!("/sys/dev/block/{number}"))?;
    whole_disk(host, device.rsplit('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::super::daemon::testing::served;
    use super::super::finding::Grade;
    use super::super::host::testing::Fake;
    use super::*;
    use crate::cli::away::Away;

    const DIR: &str = "/sys/devices/pci/nvme/nvme1/nvme1n1";

    fn machine(scheduler: &str, affinity: &str, merges: &str, cache: &str) -> Fake {
        let fake =
            Fake::with(&[("/dev/nvme1n1", ""), ("/dev/nvme1n1p1", ""), ("/dev/ng1n1", ""), ("/dev/sg1", "")]);
        for (name, text) in [
            ("scheduler", scheduler),
            ("rq_affinity", affinity),
            ("nomerges", merges),
            ("write_cache", cache),
        ] {
            fake.put(&format!("{DIR}/queue/{name}"), text);
        }
        fake.put(&format!("{DIR}/nvme1n1p1/partition"), "1");
        fake.link("/sys/class/block/nvme1n1", "../../devices/pci/nvme/nvme1/nvme1n1");
        fake.link("/sys/class/block/nvme1n1p1", "../../devices/pci/nvme/nvme1/nvme1n1/nvme1n1p1");
        fake
    }

    /// With the generic node of the namespace.
    fn with_node(fake: Fake) -> Fake {
        fake.put("/sys/devices/pci/nvme/nvme1/ng1n1/dev", "240:1");
        fake.link("/sys/class/nvme-generic/ng1n1", "../../devices/pci/nvme/nvme1/ng1n1");
        fake
    }

    fn store(kind: StoreKind, path: &str) -> StoreConfig {
        StoreConfig { path: Some(path.into()), ..StoreConfig::new(kind, "disk") }
    }

    fn found(fake: &Fake, store: StoreConfig) -> Vec<Finding> {
        found_by(true, fake, store)
    }

    fn found_by(has_commands: bool, fake: &Fake, store: StoreConfig) -> Vec<Finding> {
        findings(&fake.host, &serving(store, Away::default()), has_commands)
    }

    fn serving(store: StoreConfig, away: Away) -> Served {
        Served { stores: Some(vec![store.into()]), away, ..served(2) }
    }

    fn is(found: &[Finding]) -> Vec<&str> {
        found.iter().map(|f| f.is.as_str()).collect()
    }

    #[test]
    fn a_tuned_disk_has_nothing_to_hear() {
        let fake = machine("[none] mq-deadline", "2", "2", "write back");
        let found = found(&fake, store(StoreKind::Block, "/dev/nvme1n1"));
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|f| f.grade == Grade::Good && f.about == "nvme1n1"), "{found:#?}");
    }

    #[test]
    fn what_is_to_be_polled_needs_queues_for_it() {
        let polled = || StoreConfig { io: Io::Polled, ..store(StoreKind::Block, "/dev/nvme1n1") };
        let fake = machine("[none]", "1", "2", "write back");
        let last = |fake: &Fake| found(fake, polled()).pop().expect("a finding");
        assert!(last(&fake).grade == Grade::Hint && last(&fake).remedy.contains("poll-queues apply"));
        fake.put(&format!("{DIR}/queue/io_poll"), "1");
        assert_eq!(last(&fake).grade, Grade::Good);
        assert!(
            found(&fake, polled()).iter().all(|f| f.grade == Grade::Good),
            "it ends where it is asked for"
        );
    }

    #[test]
    fn commands_of_nvme_meet_no_setting_of_the_queue() {
        let bad = || machine("none [mq-deadline]", "1", "0", "write through");
        let passed = |path| StoreConfig { io: Io::Passthrough, ..store(StoreKind::Block, path) };
        let both = ["gets commands of its own, around the block layer", "no volatile write cache"];
        for path in ["/dev/nvme1n1", "/dev/ng1n1"] {
            assert_eq!(is(&found(&with_node(bad()), passed(path))), both, "{path}");
        }
        let without = found(&bad(), passed("/dev/nvme1n1"));
        assert!(without[0].is.contains("no generic node") && is(&without)[1..].contains(&"rq_affinity 1"));
        // An older kernel has the node, too, and it is served by the block layer all the same.
        let older = found_by(false, &with_node(bad()), passed("/dev/nvme1n1"));
        assert!(
            older[0].remedy.contains("Linux 6.12") && is(&older)[1..].contains(&"rq_affinity 1"),
            "{older:#?}"
        );
        // By whichever node it is named, direct I/O meets them.
        let direct = found(&with_node(bad()), store(StoreKind::Block, "/dev/ng1n1"));
        assert_eq!((direct.len(), direct[0].about.as_str()), (4, "nvme1n1 (for ng1n1)"));
    }

    #[test]
    fn a_partition_has_the_queue_of_its_disk() {
        let fake = machine("none [mq-deadline]", "1", "0", "write through");
        let through = StoreConfig { write_back: Some(true), ..store(StoreKind::Block, "/dev/nvme1n1p1") };
        let found = found(&fake, through);
        assert_eq!(found.len(), 4);
        let told = |f: &Finding| {
            f.grade == Grade::Hint && !f.cost.is_empty() && f.about == "nvme1n1 (for nvme1n1p1)"
        };
        assert!(found.iter().all(told), "{found:#?}");
        assert_eq!(found[0].remedy, "/usr/share/ringtgt/tuning/disk-queue apply nvme1n1");
    }

    #[test]
    fn a_device_that_is_passed_through_needs_a_capability() {
        let fake = machine("[none]", "2", "2", "write back");
        let of = |fake: &Fake| found(fake, store(StoreKind::Pscsi, "/dev/sg1"));
        fake.put("/proc/7/status", "Name: ringtgt\nCapEff:\t0000000000000002\n");
        assert_eq!(is(&of(&fake)), ["the daemon has no CAP_SYS_RAWIO"]);
        fake.put("/proc/7/status", "Name: ringtgt\nCapEff:\t000001ffffffffff\n");
        assert_eq!(is(&of(&fake)), ["gets the commands themselves"]);
    }

    #[test]
    fn a_file_is_looked_at_as_it_is_open_and_on_its_disk() {
        let fake = machine("none [mq-deadline]", "2", "2", "write back");
        fake.put("/srv/disk.img", "");
        fake.put(
            "/proc/self/mountinfo",
            "21 1 0:5 / / rw - tmpfs none rw\n22 21 259:1 / /srv rw - ext4 x rw\n",
        );
        fake.link("/sys/dev/block/259:1", "../../devices/pci/nvme/nvme1/nvme1n1/nvme1n1p1");
        fake.link("/proc/7/fd/9", "/srv/disk.img");
        fake.put("/proc/7/fdinfo/9", "pos:\t0\nflags:\t02\n");
        let file = || store(StoreKind::Fileio, "/srv/disk.img");
        let through = found(&fake, file());
        assert!(through[0].is.starts_with("goes through the page cache"), "{through:#?}");
        assert_eq!(
            (&*through[1].is, &*through[1].about),
            ("scheduler mq-deadline", "nvme1n1 (for /srv/disk.img)")
        );
        fake.put("/proc/7/fdinfo/9", &format!("pos:\t0\nflags:\t0{:o}\n", libc::O_DIRECT | libc::O_RDWR));
        assert_eq!(is(&found(&fake, file()))[0], "is open for direct I/O");
    }

    #[test]
    fn what_may_not_be_looked_at_is_not_said_to_be_gone() {
        let store = store(StoreKind::Block, "/dev/nvme9n1");
        let found = missing(&store, Path::new("/dev/nvme9n1"), true);
        assert_eq!(found.grade, Grade::Hint);
        assert!(found.is.contains("may not be looked at") && found.remedy.contains("root"), "{found:#?}");
    }

    #[test]
    fn what_is_there_and_not_served_is_wrong_for_the_reason_that_the_daemon_has() {
        let fake = machine("[none]", "2", "2", "write back");
        let why = |why: &str| {
            let told = serde_json::json!({ "backstores": [{ "name": "disk", "why": why }] });
            let served = serving(store(StoreKind::Block, "/dev/nvme1n1"), Away::read(&told));
            findings(&fake.host, &served, true).pop().expect("a finding")
        };
        let held = why("/dev/nvme1n1: is in use by process 7 (dd); stop that process");
        assert_eq!((held.grade, held.about.as_str()), (Grade::Wrong, "disk"));
        let told = ("/dev/nvme1n1: is in use by process 7 (dd)", "stop that process");
        assert_eq!((held.is.as_str(), held.remedy.as_str()), told);
        assert!(why("it is odd").remedy.contains("journalctl"));
    }

    #[test]
    fn what_is_gone_is_wrong_whatever_it_is() {
        let fake = machine("[none]", "2", "2", "write back");
        for kind in [StoreKind::Block, StoreKind::Fileio, StoreKind::Pscsi] {
            let found = found(&fake, store(kind, "/dev/nvme9n1"));
            assert_eq!((found.len(), found[0].grade), (1, Grade::Wrong));
            assert_eq!(
                (found[0].about.as_str(), found[0].is.as_str()),
                ("disk", "/dev/nvme9n1 is not there")
            );
        }
    }
}

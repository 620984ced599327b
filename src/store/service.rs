//! What systemd keeps from the daemon where it runs as a service: files that are there for everybody else, and files that are
//! gone when it stops. The packaged unit says so, and nothing that the kernel answers does.

use std::env;
use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::LazyLock;

use super::{StoreConfig, StoreKind};

/// Directories that a service does not see (`ProtectHome=`).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Directories of which it has its own (`PrivateTmp=`).
const OWN: [&str; 2] = ["/tmp", "/var/tmp"];
/// Directories that are in memory.
const VOLATILE: [&str; 2] = ["/run", "/dev/shm"];

/// What is to be done about that error where it may be a service's: what is to be done elsewhere, and what of the unit.
pub(super) fn with_service(remedy: String, path: &Path, error: i32) -> String {
    // Whoever is started from a service's shell has its number too, but another parent.
    let is_service = env::var_os("INVOCATION_ID").is_some() && parent_id() == 1;
    match unit_remedy(path, error).filter(|_| is_service) {
        Some(unit) => format!("{remedy}; {unit}"),
        None => remedy,
    }
}

fn unit_remedy(path: &Path, error: i32) -> Option<String> {
    if ![libc::EROFS, libc::EACCES, libc::EPERM, libc::ENOENT].contains(&error) {
        return None;
    }
    if below(path, &HOMES) {
        return Some(
            "nothing of home directories is seen by the service (ProtectHome=): use another, such as /srv"
                .into(),
        );
    }
    if below(path, &OWN) {
        return Some(
            "the service has a /tmp and a /var/tmp of its own (PrivateTmp=): use another, such as /srv"
                .into(),
        );
    }
    let dir = path.parent()?.display();
    (error == libc::EROFS).then(|| {
        format!(
            "the service writes only where its unit says: ReadWritePaths={dir} below [Service] by `systemctl edit ringtgt`, \
             and restart it"
        )
    })
}

/// A service's own directories are there before it is.
static MOUNTS: LazyLock<String> =
    LazyLock::new(|| fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());

/// What is to be said of a store in a file that does not last.
pub fn fleeting(config: &StoreConfig) -> Option<String> {
    let path = config.path.as_deref().filter(|_| config.kind == StoreKind::Fileio && !config.read_only)?;
    let why = if below(path, &VOLATILE) {
        "lies in memory: it is gone, with all data, when this machine starts anew"
    } else if below(path, &OWN) && has_own(&MOUNTS, path) {
        "lies in a directory of the service's own (PrivateTmp=): nobody else sees it, and it is gone, with all data, when \
         ringtgt stops"
    } else {
        return None;
    };
    Some(format!("backstore {}: {} {why}; use another, such as below /srv", config.name, path.display()))
}

fn below(path: &Path, dirs: &[&str]) -> bool {
    dirs.iter().any(|dir| path.starts_with(dir))
}

/// Whether systemd has mounted a directory of a service's own there (`/proc/self/mountinfo`, proc(5): fields 4 and 5).
fn has_own(mountinfo: &str, path: &Path) -> bool {
    mountinfo.lines().any(|line| {
        let mut words = line.split(' ').skip(3);
        let (root, at) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        root.contains("/systemd-private-") && path.starts_with(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_unit_keeps_from_the_daemon_is_said() {
        let said = |path: &str, error| unit_remedy(Path::new(path), error).unwrap_or_default();
        assert!(said("/home/me/a.img", libc::ENOENT).contains("ProtectHome="));
        assert!(said("/root/a.img", libc::EACCES).contains("ProtectHome="));
        assert!(said("/var/tmp/a.img", libc::ENOENT).contains("PrivateTmp="));
        let said_of_data = said("/data/disks/a.img", libc::EROFS);
        assert!(said_of_data.contains("ReadWritePaths=/data/disks below [Service]"), "{said_of_data}");
        assert_eq!([said("/data/a.img", libc::ENOENT), said("/home/a.img", libc::ENOSPC)], ["", ""]);
    }

    #[test]
    fn files_that_do_not_last_are_warned_of() {
        let file =
            |path: &str| StoreConfig { path: Some(path.into()), ..StoreConfig::new(StoreKind::Fileio, "f") };
        let said = fleeting(&file("/dev/shm/a.img")).unwrap();
        assert!(said.starts_with("backstore f: /dev/shm/a.img lies in memory"), "{said}");
        assert!(fleeting(&StoreConfig { read_only: true, ..file("/dev/shm/a.img") }).is_none());
        assert!(fleeting(&file("/srv/a.img")).is_none());
        let mounts = "40 30 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      41 40 8:1 /tmp/systemd-private-1-ringtgt.service-x/tmp /tmp rw - ext4 /dev/sda1 rw\n";
        assert!(has_own(mounts, Path::new("/tmp/a.img")) && !has_own(mounts, Path::new("/var/tmp/a.img")));
    }
}

//! Reading `/proc` and `/sys`, and asking for what stands in neither. What is not there is nothing: other kernels have
//! other files.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::sys;

/// This machine, or in tests a directory that looks like one.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
    /// Its addresses, each with the name of its interface.
    pub(super) addresses: fn() -> Vec<(String, IpAddr)>,
    /// How many queues a network card may have, if it says that.
    pub(super) most_queues: fn(&str) -> Option<usize>,
}

impl Host {
    /// The one that this runs on.
    pub(super) fn here() -> Self {
        let most_queues =
            |card: &str| sys::most_queues(card).ok().filter(|most| *most > 0).map(|most| most as usize);
        Self { root: "/".into(), addresses: || sys::addresses().unwrap_or_default(), most_queues }
    }

    /// A path of it, by its absolute name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    /// A file's text without white space around it.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        Some(fs::read_to_string(self.path(name)).ok()?.trim().to_owned())
    }

    /// A file that holds a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// What the choice in brackets is, as in `always [madvise] never`.
    pub(super) fn chosen(&self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }

    /// The names in a directory, in order.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// What a link says, wherever that is.
    pub(super) fn link(&self, name: &str) -> Option<String> {
        fs::read_link(self.path(name)).ok()?.to_str().map(ToOwned::to_owned)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Whether it cannot be said what is there, for want of permission.
    pub(super) fn is_forbidden(&self, path: &Path) -> bool {
        let path = path.strip_prefix("/").unwrap_or(path);
        let found = fs::metadata(self.root.join(path));
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// Where a path really is, with all links followed: as an absolute name of this machine.
    pub(super) fn real(&self, name: &str) -> Option<String> {
        let real = fs::canonicalize(self.path(name)).ok()?;
        let root = fs::canonicalize(&self.root).ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?).to_str()?.to_owned())
    }
}

/// Processors of a list like `0-3,6`.
pub(super) fn count_cpus(list: &str) -> usize {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.trim().parse::<usize>().ok()?.checked_sub(first.trim().parse().ok()?)? + 1)
    };
    list.split(',').filter_map(range).sum()
}

/// Processors of a mask as the kernel writes one: groups of 32 bits in hexadecimal, the highest first.
pub(super) fn masked_cpus(mask: &str) -> BTreeSet<usize> {
    let groups = mask.split(',').rev().map(|group| u32::from_str_radix(group, 16).unwrap_or(0));
    let bits = |(at, group): (usize, u32)| {
        (0..32).filter(move |bit| group >> bit & 1 == 1).map(move |bit| at * 32 + bit)
    };
    groups.enumerate().flat_map(bits).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A machine that has these files.
    pub(crate) struct Fake {
        pub(crate) host: Host,
        dir: tempfile::TempDir,
    }

    impl Fake {
        pub(crate) fn with(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let host = Host { root: dir.path().into(), addresses: Vec::new, most_queues: |_| None };
            let fake = Self { host, dir };
            files.iter().for_each(|(name, text)| fake.put(name, text));
            fake
        }

        pub(crate) fn put(&self, name: &str, text: &str) {
            let path = self.host.path(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
            fs::write(path, text).expect("a file");
        }

        /// A link in it, relative to where it stands.
        pub(crate) fn link(&self, name: &str, to: &str) {
            let path = self.dir.path().join(name.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
            std::os::unix::fs::symlink(to, path).expect("a link");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Fake;
    use super::*;

    #[test]
    fn files_are_read_as_what_they_are() {
        let fake = Fake::with(&[("/a/text", " b c\n"), ("/a/number", "12\n"), ("/a/choice", "x [y] z")]);
        fake.link("/a/link", "text");
        let host = &fake.host;
        assert_eq!(host.text("/a/text").as_deref(), Some("b c"));
        assert_eq!((host.number("/a/number"), host.number("/a/text")), (Some(12), None));
        assert_eq!((host.chosen("/a/choice").as_deref(), host.chosen("/a/text")), (Some("y"), None));
        assert_eq!(host.names("/a"), ["link", "text", "choice", "number"]);
        assert_eq!(host.real("/a/link").as_deref(), Some("/a/text"));
        assert_eq!((host.link("/a/link").as_deref(), host.link("/a/text")), (Some("text"), None));
        assert_eq!((host.text("/b"), host.real("/b"), host.names("/b").len()), (None, None, 0));
    }

    #[test]
    fn processors_are_counted() {
        assert_eq!(["0", "0-3", "0-3,6", "", "x", "3-1"].map(count_cpus), [1, 4, 5, 0, 0, 0]);
        assert_eq!(masked_cpus("a,00000005"), BTreeSet::from([0, 2, 33, 35]));
        assert_eq!(["0", "00000000,00000000", "", "x"].map(|mask| masked_cpus(mask).len()), [0; 4]);
    }
}

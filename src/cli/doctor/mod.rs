//! `ringtgt doctor`: what of this machine, of the daemon and of its initiators costs speed or safety, and what to do.
//!
//! It only reads: from `/proc` and `/sys`, what the kernel tells of network cards, from the control socket, and from the
//! configuration that is served. What it
//! cannot see it says, and does not guess. Figures that it quotes follow from those that it has read, or were measured on
//! loopback with ringtgt itself (benches/), so they tell what matters, not what another machine will gain. Where nobody
//! has measured it, it says so.

mod cards;
mod daemon;
mod disks;
mod finding;
mod host;
mod initiators;
mod network;
mod queue;
mod system;

use std::process::ExitCode;

use self::daemon::Served;
use self::finding::{Finding, Report};
use self::host::Host;
use super::args::Daemon;
use super::{FAILED, say};
use crate::ring::Caps;

/// Looks at everything and prints what there is to say. Its status is 1 when something is wrong, not merely slow.
pub(super) fn run(daemon: &Daemon) -> ExitCode {
    let report = Report(examine(&Host::here(), daemon));
    match daemon.json {
        true => say(&format!("{:#}\n", report.json())),
        false => say(&report.to_string()),
    }
    if report.is_bad() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

fn examine(host: &Host, daemon: &Daemon) -> Vec<Finding> {
    let (served, mut findings) = Served::ask(daemon);
    findings.extend(system::findings(host, served.as_ref()));
    findings.extend(network::findings(host));
    findings.extend(cards::findings(host, served.as_ref()));
    if let Some(served) = &served {
        let has_commands = Caps::probe().is_ok_and(|caps| caps.commands);
        findings.extend(disks::findings(host, served, has_commands));
        findings.extend(served.local_disks());
        findings.extend(initiators::findings(&served.sessions, &served.load));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// What a package has under /usr/share/ringtgt/tuning, by its place in the source.
    fn packed(assets: &toml::Value, source: impl Fn(&toml::Value) -> [&str; 2]) -> BTreeSet<String> {
        let all = assets.as_array().expect("a list").iter().map(source);
        let ours =
            all.filter(|[_, dest]| dest.trim_start_matches('/').starts_with("usr/share/ringtgt/tuning/"));
        ours.map(|[source, _]| source.to_owned()).collect()
    }

    #[test]
    fn both_packages_have_what_is_named_here() {
        let manifest: toml::Value = toml::from_str(include_str!("../../../Cargo.toml")).expect("TOML");
        let metadata = &manifest["package"]["metadata"];
        let deb =
            packed(&metadata["deb"]["assets"], |asset| [0, 1].map(|at| asset[at].as_str().expect("a path")));
        let rpm = packed(&metadata["generate-rpm"]["assets"], |asset| {
            ["source", "dest"].map(|key| asset[key].as_str().expect("a path"))
        });
        assert_eq!(deb, rpm);
        // What has a place of its own, and what makes the packages.
        let others = ["ringtgt.service", "ringtgt.socket", "ringtgt.toml", "package"];
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
        for file in dir.read_dir().expect("a directory").flatten().filter(|file| file.path().is_file()) {
            let name = file.file_name().into_string().expect("text");
            assert!(others.contains(&&*name) || deb.contains(&format!("tuning/{name}")), "{name}");
        }
        let named = [
            include_str!("cards.rs"),
            include_str!("network.rs"),
            include_str!("queue.rs"),
            include_str!("system.rs"),
        ]
        .concat();
        for part in named.split("/usr/share/ringtgt/").skip(1) {
            let end =
                part.find(|c: char| !(c.is_ascii_alphanumeric() || "/-.".contains(c))).unwrap_or(part.len());
            assert!(deb.contains(&part[..end]), "{}", &part[..end]);
        }
    }
}

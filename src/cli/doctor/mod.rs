//! `ringtgt doctor`: what of this machine, of the daemon and of its initiators costs speed or safety, and what to do.
//!
//! It only reads: from `/proc` and `/sys`, from the control socket, and from the configuration that is served. What it
//! cannot see it says, and does not guess. Figures that it quotes were measured on loopback with ringtgt itself
//! (benches/), so they tell what matters, not what another machine will gain.

mod daemon;
mod disks;
mod finding;
mod host;
mod initiators;
mod network;
mod system;

use std::process::ExitCode;

use self::daemon::Served;
use self::finding::{Finding, Report};
use self::host::Host;
use super::args::Daemon;
use super::{FAILED, say};

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
    findings.extend(network::findings(host, served.as_ref()));
    if let Some(served) = &served {
        findings.extend(disks::findings(host, served));
        findings.extend(initiators::findings(&served.sessions, served.reactors));
    }
    findings
}

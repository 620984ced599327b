//! A daemon whose configuration changes while it serves.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringtgt::admin::rpc::Client;
use ringtgt::initiator::{Error, Initiator, LoginOptions};

use crate::daemon::{Daemon, TARGET};

const PATIENCE: Duration = Duration::from_secs(30);

/// Stands for the directory of the disks in a text.
const DISKS: &str = "@DISKS@";

/// A daemon, its configuration file and its log.
pub(crate) struct Server {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

/// A configuration: files of 8 MiB by name, LUNs, and the initiators that may log in (none: anybody).
pub(crate) fn text(stores: &[&str], luns: &[(u16, &str)], initiators: &[u8]) -> String {
    let mut text = String::new();
    for name in stores {
        text += &format!(
            "[[backstore]]\nkind = \"fileio\"\nname = \"{name}\"\npath = \"{DISKS}/{name}.img\"\nsize = \"8M\"\n"
        );
    }
    text += &format!("[[target]]\niqn = \"{TARGET}\"\n[[target.tpg]]\nportals = [\"127.0.0.1:0\"]\n");
    if initiators.is_empty() {
        text += "any_initiator = true\n";
    }
    for (lun, store) in luns {
        text += &format!("[[target.tpg.lun]]\nlun = {lun}\nbackstore = \"{store}\"\n");
    }
    for number in initiators {
        text += &format!("[[target.tpg.acl]]\ninitiator = \"iqn.2026-11.org.example:i{number}\"\n");
    }
    text
}

/// A session whose first unit attention is out of the way.
pub(crate) fn login(server: &Server, number: u8) -> Initiator {
    let mut initiator = server.try_login(number).expect("a login");
    initiator.clear_attention(0).expect("a ready logical unit");
    initiator
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

impl Server {
    pub(crate) fn start(text: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), text)
    }

    /// Kills it, and starts it anew with this configuration.
    pub(crate) fn restart(self, text: &str, meanwhile: impl FnOnce()) -> Self {
        let Self { daemon, dir } = self;
        drop(daemon);
        meanwhile();
        Self::start_in(dir, text)
    }

    fn start_in(dir: tempfile::TempDir, text: &str) -> Self {
        let file = dir.path().join("ringtgt.toml");
        fs::write(&file, text.replace(DISKS, &dir.path().display().to_string())).expect("a configuration");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command
            .args(["serve", "--log", "info", "--reactors", "2", "--state-dir"])
            .arg(dir.path().join("state"));
        command.arg("--config").arg(&file).stderr(File::create(dir.path().join("log")).expect("a log"));
        Self { daemon: Daemon::start(command), dir }
    }

    /// The same of STOREs that are named on the command line.
    pub(crate) fn ad_hoc(stores: &[&str]) -> Self {
        Self::ad_hoc_in(tempfile::tempdir().expect("a directory"), stores)
    }

    /// Kills it, and starts it anew with these STOREs.
    pub(crate) fn restart_ad_hoc(self, stores: &[&str], meanwhile: impl FnOnce()) -> Self {
        let Self { daemon, dir } = self;
        drop(daemon);
        meanwhile();
        Self::ad_hoc_in(dir, stores)
    }

    fn ad_hoc_in(dir: tempfile::TempDir, stores: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--iqn", TARGET, "--state-dir"]);
        let here = dir.path().display().to_string();
        command.arg(dir.path().join("state")).args(stores.iter().map(|store| store.replace(DISKS, &here)));
        command.stderr(File::create(dir.path().join("log")).expect("a log"));
        Self { daemon: Daemon::start(command), dir }
    }

    /// Whoever asks it over its control socket, which is there soon after it has said that it is ready.
    pub(crate) fn client(&self) -> Client {
        let (path, deadline) = (self.dir.path().join("state/control.sock"), Instant::now() + PATIENCE);
        while !path.exists() {
            assert!(Instant::now() < deadline, "no control socket: {:?}", fs::read_to_string(self.log()));
            thread::sleep(Duration::from_millis(5));
        }
        Client::connect(path).expect("somebody listens")
    }

    /// Where it is asked.
    pub(crate) fn socket(&self) -> PathBuf {
        self.client().path().to_owned()
    }

    /// Where it listens first.
    pub(crate) fn portal(&self) -> SocketAddr {
        self.daemon.portal()
    }

    /// A configuration file beside its own.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text.replace(DISKS, &self.dir.path().display().to_string())).expect("a file");
        path.display().to_string()
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("ringtgt.toml")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The path of a disk.
    pub(crate) fn disk(&self, name: &str) -> String {
        format!("{}/{name}.img", self.dir.path().display())
    }

    /// Whether nobody has the disk open.
    pub(crate) fn is_free(&self, name: &str) -> bool {
        let path = self.disk(name);
        let fds = fs::read_dir(format!("/proc/{}/fd", self.daemon.child.id())).expect("its descriptors");
        !fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.display().to_string() == path))
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.daemon.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn write(&self, text: &str) -> usize {
        let text = text.replace(DISKS, &self.dir.path().display().to_string());
        fs::write(self.dir.path().join("ringtgt.toml"), text).expect("a configuration");
        let said = fs::read_to_string(self.log()).expect("a log").len();
        let hup = Command::new("kill").args(["-HUP", &self.daemon.child.id().to_string()]).status();
        assert!(hup.expect("kill runs").success());
        said
    }

    /// Waits until the log says one of these after `from`.
    fn until_said(&self, from: usize, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.log()).expect("a log");
            if words.iter().any(|word| log[from..].contains(word)) {
                return log[from..].to_owned();
            }
            assert!(Instant::now() < deadline, "none of {words:?} in {}", &log[from..]);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has this served from now on.
    pub(crate) fn reload(&self, text: &str) {
        let from = self.write(text);
        let said = self.until_said(from, &["configuration is served now", "stays as it was"]);
        assert!(said.contains("configuration is served now"), "{said}");
    }

    /// The same, which must be refused with that reason.
    pub(crate) fn reload_refused(&self, text: &str, why: &str) {
        let from = self.write(text);
        self.until_said(from, &["stays as it was"]);
        self.until_said(from, &[why]);
    }

    pub(crate) fn try_login(&self, number: u8) -> Result<Initiator, Error> {
        self.login_at(&self.daemon.portal().to_string(), number)
    }

    pub(crate) fn login_at(&self, portal: &str, number: u8) -> Result<Initiator, Error> {
        let mut options = LoginOptions::new(&format!("iqn.2026-11.org.example:i{number}"), Some(TARGET));
        options.isid[5] = number;
        Initiator::login(portal.parse::<SocketAddr>().expect("an address"), options, PATIENCE)
    }
}

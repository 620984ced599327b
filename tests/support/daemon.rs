//! A ringtgt process for a test: started on a free port, ended with the test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

/// The target's name in every test.
pub(crate) const TARGET: &str = "iqn.2026-11.org.example:target";

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    /// Where it listens, each place once, in the order in which it says so.
    pub(crate) portals: Vec<SocketAddr>,
    state: Option<tempfile::TempDir>,
}

impl Daemon {
    /// `ringtgt serve` with these arguments, which are options and STOREs, or name a configuration; returns when it says
    /// `ready`.
    #[allow(dead_code, reason = "not every test that includes this file serves STOREs")]
    pub(crate) fn serve(arguments: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a state directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(["serve", "--log", "error", "--state-dir"]).arg(state.path());
        if !arguments.contains(&"--config") {
            command.args(["--listen", "127.0.0.1:0", "--iqn", TARGET]);
        }
        command.args(arguments);
        let mut daemon = Self::start(command);
        daemon.state = Some(state);
        daemon
    }

    /// `ringtgt serve` of a configuration file; returns when it says `ready`.
    #[allow(dead_code, reason = "not every test that includes this file has one")]
    pub(crate) fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("ringtgt.toml");
        std::fs::write(&file, text).expect("a configuration");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
        command.args(["serve", "--log", "error", "--state-dir"]).arg(dir.path().join("state"));
        command.arg("--config").arg(file);
        let mut daemon = Self::start(command);
        daemon.state = Some(dir);
        daemon
    }

    /// Has its configuration served as `change` makes it.
    #[allow(dead_code, reason = "not every test that includes this file changes what is served")]
    pub(crate) fn reload(&self, change: impl FnOnce(&str) -> String) {
        let dir = self.state.as_ref().expect("a configuration").path();
        let (file, socket) = (dir.join("ringtgt.toml"), dir.join("state/control.sock"));
        let text = std::fs::read_to_string(&file).expect("a configuration");
        std::fs::write(&file, change(&text)).expect("a configuration");
        let client = ringtgt::admin::rpc::Client::connect(socket).expect("its control socket");
        client.call("config.reload", serde_json::json!({})).expect("a reload");
    }

    /// Runs a command that serves, until it says `ready`.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::start_with_input(command)
    }

    /// The same of one that has something else for its input.
    pub(crate) fn start_with_input(mut command: Command) -> Self {
        let mut child = command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        let (mut portals, mut all) = (Vec::new(), String::new());
        loop {
            let mut line = String::new();
            let count = said.read_line(&mut line).expect("what it says");
            assert!(count > 0, "it ended before it was ready: {all}{:?}", child.wait());
            if let Some(address) = line.trim().strip_prefix("portal ") {
                let address = address.parse().expect("an address");
                if !portals.contains(&address) {
                    portals.push(address);
                }
            }
            all.push_str(&line);
            if line == "ready\n" {
                break;
            }
        }
        // It may go on talking: a full pipe must not stop it.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        assert!(!portals.is_empty(), "no portal in: {all}");
        Self { child, portals, state: None }
    }

    /// Where it listens first.
    #[allow(dead_code, reason = "not every test that includes this file has only one")]
    pub(crate) fn portal(&self) -> SocketAddr {
        self.portals[0]
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Sockets that somebody else has opened and holds: whoever connects while the daemon is not there is served when it is.

#[path = "support/daemon.rs"]
mod daemon;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use daemon::{Daemon, TARGET};
use ringtgt::initiator::{Initiator, LoginOptions, RawConn};

const PATIENCE: Duration = Duration::from_secs(30);

/// Hands its input over as descriptor 3, and what would be its errors as 4, as a service manager does; what it logs goes
/// to the file of its first argument.
const MANAGER: &str = r#"log=$1; shift
exec 3<&0 4<&2 </dev/null 2>>"$log"
LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=first.socket:second.socket exec "$@""#;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().expect("a duplicate").into()
}

/// A daemon that is handed these, with its only portal at `portal`.
fn start(dir: &Path, sockets: [&TcpListener; 2], portal: SocketAddr) -> Daemon {
    let mut command = Command::new("sh");
    command.args(["-c", MANAGER, "manager"]).arg(dir.join("log"));
    command.arg(env!("CARGO_BIN_EXE_ringtgt")).args([
        "serve",
        "--log",
        "warn",
        "--reactors",
        "1",
        "--state-dir",
    ]);
    command.arg(dir.join("state")).args(["--iqn", TARGET, "--listen", &portal.to_string(), "ram:8M"]);
    command.stdin(copy(sockets[0])).stderr(copy(sockets[1]));
    Daemon::start_with_input(command)
}

fn options() -> LoginOptions {
    LoginOptions::new("iqn.2026-11.org.example:i", Some(TARGET))
}

#[test]
fn who_connects_before_the_daemon_is_there_is_served() {
    let dir = tempfile::tempdir().expect("a directory");
    File::create(dir.path().join("log")).expect("a log");
    let ((portal, address), (other, elsewhere)) = (listener(), listener());
    let mut early = RawConn::connect(address, PATIENCE).expect("nobody is refused");
    let daemon = start(dir.path(), [&portal, &other], address);
    assert_eq!(daemon.portals, [address]);
    early.login(options()).expect("a login");
    let mut initiator = Initiator::login(address, options(), PATIENCE).expect("another");
    initiator.clear_attention(0).expect("a ready logical unit");

    // The next one takes its place; who comes between them waits.
    drop(daemon);
    let mut between = RawConn::connect(address, PATIENCE).expect("nobody is refused now either");
    let _next = start(dir.path(), [&portal, &other], address);
    between.login(options()).expect("a login");

    let log = fs::read_to_string(dir.path().join("log")).expect("a log");
    assert!(log.contains(&format!("second.socket, of the service manager, listens at {elsewhere}")), "{log}");
    assert!(!log.contains("first.socket"), "{log}");
    drop(other);
    TcpStream::connect(elsewhere).expect("it is kept: a portal may come");
}

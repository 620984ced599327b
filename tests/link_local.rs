//! Portals at link-local addresses, over links between two network namespaces: an address is announced as it is of use
//! on the initiator's side, and leads to the target there. Needs to be root, or to be let make user namespaces.

#[path = "support/daemon.rs"]
mod daemon;

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use ringtgt::initiator::{Initiator, LoginOptions};

use daemon::{Daemon, TARGET};

const PATIENCE: Duration = Duration::from_secs(60);

/// Set where the test has its network namespace.
const INSIDE: &str = "RINGTGT_TEST_INSIDE";

const INITIATOR: &str = "iqn.2026-11.org.example:i1";

/// The target's address, on each of its links.
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Runs a test again, by its name, in a network namespace of its own.
fn in_a_namespace(test: &str, scene: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return scene();
    }
    let mut unshare = Command::new("unshare");
    let is_root = std::fs::metadata("/proc/self").expect("/proc").uid() == 0;
    unshare.args((!is_root).then_some("--map-root-user")).arg("--net");
    unshare.arg(std::env::current_exe().expect("this program")).args(["--exact", test]);
    let output = unshare.env(INSIDE, "1").output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The target's side: another network namespace, which is there until this is dropped.
struct Side(Child);

impl Side {
    fn new() -> Self {
        let side =
            Self(Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect("unshare runs"));
        let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("a namespace");
        let deadline = Instant::now() + PATIENCE;
        while space(&side.pid()) == space("self") {
            assert!(Instant::now() < deadline, "it gets no network namespace");
            thread::sleep(Duration::from_millis(5));
        }
        side
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn run(&self, line: &str) {
        run(&format!("nsenter --target {} --net {line}", self.pid()));
    }

    /// A link to here: `far` is its end there, and has the target's address, `near` the one here.
    fn link(&self, far: &str, near: &str) {
        run(&format!("ip link add name {far} type veth peer name {near}"));
        run(&format!("ip link set dev {far} netns {}", self.pid()));
        self.run(&format!("ip -6 addr add {ADDRESS}/64 dev {far} nodad"));
        self.run(&format!("ip link set dev {far} up"));
        run(&format!("ip -6 addr add fe80::2/64 dev {near} nodad"));
        run(&format!("ip link set dev {near} up"));
    }

    fn serve(&self, state: &str) -> Daemon {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--net", env!("CARGO_BIN_EXE_ringtgt"), "serve"]);
        command.args(["--log", "error", "--state-dir", state, "--iqn", TARGET, "ram:16M"]);
        command.args(["--listen", "[fe80::1%far0]:0", "--listen", "[::]:0", "--allow", INITIATOR]);
        Daemon::start(command)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The target's address, as it is reached from here by that interface.
fn by(near: &str, port: u16) -> SocketAddr {
    let shown = run(&format!("ip -o link show dev {near}"));
    let number = shown.split(':').next().and_then(|n| n.trim().parse().ok()).expect("an interface's number");
    SocketAddrV6::new(ADDRESS, port, 0, number).into()
}

fn login(to: SocketAddr, target: Option<&str>) -> Initiator {
    let options = LoginOptions::new(INITIATOR, target);
    Initiator::login(to, options, PATIENCE).expect("a login")
}

/// The ports that are announced to one who asks there; the address has no interface, for that is the target's.
fn announced(to: SocketAddr) -> Vec<u16> {
    let mut discovery = login(to, None);
    let said = discovery.send_targets().expect("an answer");
    discovery.logout().expect("a logout");
    let address = |part: &str| {
        let (address, tag) = part.strip_prefix("TargetAddress=")?.rsplit_once(',').expect("a group's tag");
        assert_eq!(tag, "1");
        let port = address.strip_prefix(&format!("[{ADDRESS}]:")).expect("the address and nothing more");
        Some(port.parse().expect("a port"))
    };
    let mut ports: Vec<u16> = said.lines().filter_map(address).collect();
    ports.sort_unstable();
    ports
}

fn writes_and_reads(to: SocketAddr) {
    let mut initiator = login(to, Some(TARGET));
    initiator.clear_attention(0).expect("an answer");
    let data: Vec<u8> = (0..4096).map(|n| (n % 251) as u8).collect();
    assert!(initiator.write(0, 8, 8, data.clone()).expect("a write").is_good());
    assert!(initiator.read(0, 8, 8, 4096).expect("a read").buffer == data);
    initiator.logout().expect("a logout");
}

fn scene() {
    let side = Side::new();
    run("ip link set dev lo up");
    // So that the numbers of the interfaces are others here than there.
    run("ip link add name spare0 type veth peer name spare1");
    side.link("far0", "near0");
    side.link("far1", "near1");
    let state = tempfile::tempdir().expect("a directory");
    let daemon = side.serve(state.path().to_str().expect("text"));
    let [own, any] = daemon.portals[..] else { panic!("{:?}", daemon.portals) };
    let mut both = [own.port(), any.port()];
    both.sort_unstable();
    for port in both {
        assert_eq!(announced(by("near0", port)), both);
        writes_and_reads(by("near0", port));
    }
    // The same address on another link is another one.
    assert_eq!(announced(by("near1", any.port())), [any.port()]);
    writes_and_reads(by("near1", any.port()));
    let refused = TcpStream::connect_timeout(&by("near1", own.port()), PATIENCE).expect_err("nobody there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_link_local_portal_is_announced_and_reached_on_its_link() {
    in_a_namespace("a_link_local_portal_is_announced_and_reached_on_its_link", scene);
}

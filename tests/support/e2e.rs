//! Disks to compare with, logins, and what a test needs to know of its machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ringtgt::initiator::{Initiator, LoginOptions};

use crate::daemon::{Daemon, TARGET};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a daemon ends.
pub(crate) trait Life {
    /// SIGKILL, and waits until it is gone.
    fn kill(&mut self);
    /// SIGTERM.
    fn ask_to_stop(&self);
    /// Waits until it has ended by itself.
    fn wait(self) -> ExitStatus;
    /// Its process.
    fn pid(&self) -> u32;
}

impl Life for Daemon {
    fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    fn ask_to_stop(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("its end")
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The command that serves a configuration.
pub(crate) fn serve_config(path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--log", "error", "--config"]).arg(path);
    command
}

/// A login of one of several initiators.
pub(crate) fn options(number: u8) -> LoginOptions {
    let mut options = LoginOptions::new(&format!("iqn.2026-11.org.example:i{number}"), Some(TARGET));
    options.isid[5] = number;
    options
}

/// A session whose unit attentions are out of the way.
pub(crate) fn login(daemon: &Daemon, options: LoginOptions) -> Initiator {
    let discovery = options.target.is_none();
    let mut initiator = Initiator::login(daemon.portal(), options, PATIENCE).expect("a login");
    if !discovery {
        for lun in [0, 1] {
            initiator.clear_attention(lun).expect("a ready logical unit");
        }
    }
    initiator
}

/// Bytes that tell where they belong.
pub(crate) fn fill(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// What a disk should contain.
pub(crate) struct Disk {
    bytes: Vec<u8>,
    blocks: u64,
    block: u32,
}

impl Disk {
    /// Nothing known of it yet.
    pub(crate) fn new(blocks: u64, block: u32) -> Self {
        Self { bytes: Vec::new(), blocks, block }
    }

    /// A place for round `round`: all sizes from one block to 4 MiB come up, small ones most.
    pub(crate) fn place(&self, round: u64) -> (u64, u32) {
        let random = u64::from_le_bytes(fill(round + 1000, 8)[..8].try_into().expect("eight bytes"));
        let most = (4 << 20) / self.block;
        let count = match round % 8 {
            0 => 1,
            1 => most,
            n => 1 + (random >> 40) as u32 % (most >> (7 - n)).max(1),
        };
        (random % (self.blocks - u64::from(count)), count)
    }

    fn range(&self, lba: u64, len: usize) -> std::ops::Range<usize> {
        let start = (lba * u64::from(self.block)) as usize;
        start..start + len
    }

    pub(crate) fn wrote(&mut self, lba: u64, data: &[u8]) {
        let range = self.range(lba, data.len());
        self.bytes[range].copy_from_slice(data);
    }

    pub(crate) fn bytes(&self, lba: u64, count: u32) -> &[u8] {
        &self.bytes[self.range(lba, count as usize * self.block as usize)]
    }

    /// Takes what the target has as the start.
    pub(crate) fn load(&mut self, initiator: &mut Initiator, lun: u16) {
        self.bytes = self.read_all(initiator, lun);
    }

    pub(crate) fn check_all(&self, initiator: &mut Initiator, lun: u16) {
        assert!(self.read_all(initiator, lun) == self.bytes, "the disk as a whole differs");
    }

    fn read_all(&self, initiator: &mut Initiator, lun: u16) -> Vec<u8> {
        let step = (1 << 20) / self.block;
        let mut bytes = Vec::new();
        let mut lba = 0;
        while lba < self.blocks {
            let count = u64::from(step).min(self.blocks - lba) as u32;
            let done = initiator.read(lun, lba, count, count as usize * self.block as usize).expect("a read");
            assert!(done.is_good(), "{:?}", done.sense_code());
            bytes.extend(done.buffer);
            lba += u64::from(count);
        }
        bytes
    }
}

/// A file that holds a secret, readable by its owner only.
pub(crate) fn secret_file(secret: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = private_file(&dir, "secret", secret);
    (dir, path.to_string_lossy().into_owned())
}

fn private_file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    path
}

/// A configuration with CHAP in both directions.
pub(crate) fn mutual_config() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!(
        r#"
[server]
state_dir = "{}"
[[backstore]]
kind = "ramdisk"
name = "disk"
size = "1M"
[[target]]
iqn = "{TARGET}"
[[target.tpg]]
portals = ["127.0.0.1:0"]
[[target.tpg.lun]]
lun = 0
backstore = "disk"
[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:i1"
chap = {{ user = "user", secret = "the-initiators-secret" }}
mutual_chap = {{ user = "target-user", secret = "the-targets-own-secret" }}
"#,
        dir.path().join("state").display()
    );
    let path = private_file(&dir, "ringtgt.toml", &text);
    (dir, path)
}

/// A file system of its own, of so many bytes; gone with the test. Needs root.
pub(crate) struct SmallFs(tempfile::TempDir);

impl SmallFs {
    pub(crate) fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .expect("mount runs");
        assert!(status.success(), "this test mounts a tmpfs, for which it must be root");
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        // Lazily: the daemon may not be quite gone.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A loop device over a sparse file of its own; both are gone with the test. Needs root.
pub(crate) struct LoopDevice {
    path: String,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl LoopDevice {
    pub(crate) fn new(at: &Path, size: u64) -> Self {
        let dir = tempfile::tempdir_in(at).expect("a directory");
        let file = dir.path().join("loop.img");
        fs::File::create(&file).and_then(|file| file.set_len(size)).expect("a file");
        let output =
            Command::new("losetup").args(["--find", "--show"]).arg(&file).output().expect("losetup runs");
        assert!(output.status.success(), "this test needs root and loop devices");
        let path = String::from_utf8(output.stdout).expect("a path").trim().to_owned();
        Self { path, file, _dir: dir }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Makes it that long, open or not.
    pub(crate) fn resize(&self, size: u64) {
        fs::File::options().write(true).open(&self.file).and_then(|f| f.set_len(size)).expect("a length");
        let status = Command::new("losetup").args(["--set-capacity", &self.path]).status();
        assert!(status.expect("losetup runs").success());
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Takes effect when the last user is gone.
        let _ = Command::new("losetup").args(["--detach", &self.path]).status();
    }
}

/// What a process has in memory, KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// This process needs so many files; the daemon raises its own limit too.
pub(crate) fn open_files_allowed(count: u64) {
    let limit = ringtgt::sys::raise_open_files().expect("a higher limit");
    assert!(limit >= count, "ulimit -Hn is {limit}, and {count} are needed");
}

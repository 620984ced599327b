//! What has to outlive the process: identities of stores, and saved state of logical units.
//!
//! ```text
//!   /var/lib/ringtgt/version               the layout, as a number
//!                    identity/NAME.json    one per configured store
//!                    place/NAME.json       where it was when it was served last
//!                    unit/SERIAL.json      reservations, mode pages and access states that were asked to survive, and what
//!                                          is being erased
//!                    ports.json            the relative identifier of each target port
//! ```
//!
//! Promises: a file is either the old one or the new one, whenever the power goes; an identity that
//! was once given is never changed by this module; what cannot be read is an error, never taken for absent (but for
//! places, which are for a warning only); a unit's state is what was saved, to the bit. Refuses to know what the saved state of a unit means.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ports::Ports;
use crate::scsi::Identity;
use crate::store::{Place, StoreConfig};
use crate::sys;
use crate::wire::digest::crc32c;

/// The layout that this version writes and reads.
const VERSION: u32 = 1;
/// Where a service keeps its state.
const SYSTEM: &str = "/var/lib/ringtgt";

/// What is wrong with the state directory or a file in it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct StateError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong, with the remedy where there is one.
    pub what: String,
    /// Whether the file is there and can be read, but not understood.
    pub damaged: bool,
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedIdentity {
    name: String,
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedUnit {
    serial: String,
    /// CRC32C of the bytes that are in `state`: another key or name would be as good JSON as the right one.
    crc32c: u32,
    /// JSON, in base64.
    state: String,
}

impl SavedUnit {
    fn of(serial: &str, state: &impl Serialize) -> Self {
        let bytes = encode(state);
        Self { serial: serial.into(), crc32c: crc32c(&bytes), state: STANDARD.encode(&bytes) }
    }

    /// The state, or what is wrong with it.
    fn state<T: DeserializeOwned>(&self, serial: &str) -> Result<T, String> {
        let bytes = STANDARD.decode(&self.state).map_err(|e| e.to_string())?;
        if self.serial != serial {
            return Err(format!("it is the state of {}", self.serial));
        }
        if self.crc32c != crc32c(&bytes) {
            return Err("its checksum is wrong".into());
        }
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    }
}

/// The directory of a service: systemd's `StateDirectory=`, else `/var/lib/ringtgt`.
pub fn service_dir() -> PathBuf {
    service_dir_in(|name| std::env::var(name).ok())
}

/// The directory for stores that are served ad hoc: a user's own, and for root the service's.
pub fn ad_hoc_dir() -> PathBuf {
    ad_hoc_dir_in(|name| std::env::var(name).ok(), sys::effective_uid() == 0)
}

fn service_dir_in(env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let given = env("STATE_DIRECTORY").filter(|dirs| dirs.starts_with('/'));
    given.and_then(|dirs| dirs.split(':').next().map(PathBuf::from)).unwrap_or_else(|| SYSTEM.into())
}

fn ad_hoc_dir_in(env: impl Fn(&str) -> Option<String>, root: bool) -> PathBuf {
    if root {
        return service_dir_in(env);
    }
    // Relative paths are to be ignored (XDG Base Directory Specification).
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| SYSTEM.into(), |base| base.join("ringtgt"))
}

/// What is saved under `root` of the identity of the store of that name, if anything. Nothing is made.
///
/// # Errors
/// When it is there and cannot be read.
pub fn saved_identity(root: &Path, name: &str) -> Result<Option<Identity>, StateError> {
    Ok(load::<SavedIdentity>(&identity_file(root, name))?.map(|saved| saved.identity))
}

/// Where that is saved.
pub fn identity_file(root: &Path, name: &str) -> PathBuf {
    StateDir { root: root.into() }.file("identity", name)
}

impl StateDir {
    /// Opens `root`, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written, or was written by a newer version.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let state = Self { root: root.into() };
        let kinds = ["identity", "place", "unit"].map(|kind| state.root.join(kind));
        for dir in [state.root.clone()].into_iter().chain(kinds) {
            make_dir(&dir).map_err(|e| failed(&dir, "cannot be made", &e))?;
            sweep(&dir, |name| name == "version" || name.ends_with(".json"));
        }
        state.check_version()?;
        Ok(state)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The identity of the store of that name: the saved one, or a new one that is saved before
    /// anybody sees it; and then what the administrator chose instead.
    ///
    /// # Errors
    /// When it cannot be read or saved, or what was chosen is not well formed.
    pub fn identity(&self, config: &StoreConfig) -> Result<Identity, StateError> {
        let path = self.file("identity", &config.name);
        let saved = match load::<SavedIdentity>(&path)? {
            Some(saved) => saved.identity,
            None => first_identity(&path, &config.name)?,
        };
        saved.with(&config.identity).map_err(|what| StateError { path, what: what.into(), damaged: false })
    }

    /// Saves an identity for the store of that name, if it has none.
    ///
    /// # Errors
    /// When it cannot be saved.
    pub fn keep_identity(&self, name: &str, identity: &Identity) -> Result<(), StateError> {
        let path = self.file("identity", name);
        match create_identity(&path, name, identity) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed(&path, "cannot be written", &e)),
            _ => Ok(()),
        }
    }

    /// Gives identities to the stores with these names that have none yet, if they are many: the disk is waited for once
    /// then, and not for each. A few get theirs when they are asked for.
    ///
    /// # Errors
    /// When one cannot be saved.
    pub fn identify<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), StateError> {
        let named = names.map(|name| (name, self.file("identity", name)));
        let new: Vec<(&str, PathBuf)> = named.filter(|(_, path)| !path.exists()).collect();
        if new.len() < MANY { Ok(()) } else { first_identities(&self.root.join("identity"), &new) }
    }

    /// Where the store of that name was when it was served last, as far as that is known.
    pub fn place(&self, name: &str) -> Option<Place> {
        load(&self.file("place", name)).ok().flatten()
    }

    /// It is served from there. What of that does not survive a power cut is not known then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_place(&self, name: &str, place: &Place) -> Result<(), StateError> {
        let path = self.file("place", name);
        write_new(&path, &encode(place)).map(drop).map_err(|e| failed(&path, "cannot be written", &e))
    }

    /// Forgets the identity of a store that was never served.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_identity(&self, name: &str) -> Result<(), StateError> {
        remove(&self.file("identity", name))
    }

    /// Forgets who the store of that name was, and what was saved for its unit, which may have a serial number that was
    /// chosen for it.
    ///
    /// # Errors
    /// When something of that cannot be read or removed.
    pub fn forget(&self, name: &str, chosen: Option<&str>) -> Result<(), StateError> {
        let own = saved_identity(&self.root, name)?.map(|identity| identity.serial);
        for serial in own.as_deref().into_iter().chain(chosen) {
            self.forget_unit(serial)?;
        }
        remove(&self.file("place", name))?;
        // Last of all: as long as it is there, this can be done again.
        self.forget_identity(name)
    }

    /// The numbers that ports have had.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn ports(&self) -> Result<Ports, StateError> {
        Ok(load(&self.root.join("ports.json"))?.unwrap_or_default())
    }

    /// Saves the numbers of ports, before anybody sees them.
    ///
    /// # Errors
    /// When they cannot be read or saved.
    pub(super) fn keep_ports(&self, ports: &Ports) -> Result<(), StateError> {
        if self.ports()? == *ports {
            return Ok(());
        }
        let path = self.root.join("ports.json");
        replace(&path, &encode(ports)).map_err(|e| failed(&path, "cannot be written", &e))
    }

    /// What was saved for the unit of that serial number.
    ///
    /// # Errors
    /// When something is there and cannot be read, or is not what was saved.
    pub fn load_unit<T: DeserializeOwned>(&self, serial: &str) -> Result<Option<T>, StateError> {
        let path = self.file("unit", serial);
        let Some(saved) = load::<SavedUnit>(&path)? else { return Ok(None) };
        saved.state(serial).map(Some).map_err(|e| damaged(&path, &e))
    }

    /// Saves the state of a unit; when this returns it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written. What was saved before is then still there.
    pub fn save_unit(&self, serial: &str, state: &impl Serialize) -> Result<(), StateError> {
        let saved = SavedUnit::of(serial, state);
        let path = self.file("unit", serial);
        replace(&path, &encode(&saved)).map_err(|e| failed(&path, "cannot be written", &e))
    }

    /// Forgets what was saved for a unit; when this returns that survives a power cut.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_unit(&self, serial: &str) -> Result<(), StateError> {
        remove(&self.file("unit", serial))
    }

    fn file(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(format!("{}.json", escape(name)))
    }

    fn check_version(&self) -> Result<(), StateError> {
        let path = self.root.join("version");
        match load::<u32>(&path)? {
            Some(VERSION) => Ok(()),
            Some(other) => Err(StateError {
                path,
                what: format!(
                    "layout {other} is not known to this version, which has {VERSION}; use a newer ringtgt"
                ),
                damaged: false,
            }),
            None => replace(&path, &encode(&VERSION)).map_err(|e| failed(&path, "cannot be written", &e)),
        }
    }
}

fn create_identity(path: &Path, name: &str, identity: &Identity) -> io::Result<()> {
    create(path, &encode(&SavedIdentity { name: name.into(), identity: identity.clone() }))
}

/// Saves a new identity, unless another process was faster; then takes that one.
fn first_identity(path: &Path, name: &str) -> Result<Identity, StateError> {
    let identity = Identity::fresh().map_err(|e| failed(path, "no random bytes", &e))?;
    match create_identity(path, name, &identity) {
        Ok(()) => Ok(identity),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match load::<SavedIdentity>(path)? {
            Some(saved) => Ok(saved.identity),
            None => Err(failed(path, "came and went", &e)),
        },
        Err(e) => Err(failed(path, "cannot be written", &e)),
    }
}

/// So many new identities are made durable together. Nobody knows how much else of their file system is written with them,
/// so that a few are sooner so one by one.
const MANY: usize = 32;

/// Saves many new identities as [`first_identity`] does one. They get their names when what is in them is durable.
fn first_identities(dir: &Path, new: &[(&str, PathBuf)]) -> Result<(), StateError> {
    let (mut aside, mut result) = (Vec::with_capacity(new.len()), Ok(()));
    for (name, path) in new {
        match identity_aside(name, path) {
            Ok(temporary) => aside.push((temporary, path)),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    let sync = || File::open(dir).and_then(|dir| sys::sync_file_system(dir.as_fd()));
    let written = result.and_then(|()| sync().map_err(|e| failed(dir, "cannot be written", &e)));
    let named =
        written.and_then(|()| aside.iter().try_for_each(|(temporary, path)| name_first(temporary, path)));
    for (temporary, _) in &aside {
        // Under this name it is of no use any more.
        let _ = fs::remove_file(temporary);
    }
    named.and_then(|()| sync_dir(dir).map_err(|e| failed(dir, "cannot be written", &e)))
}

/// A new identity in a file that has another name yet, and need not be durable.
fn identity_aside(name: &str, path: &Path) -> Result<PathBuf, StateError> {
    let identity = Identity::fresh().map_err(|e| failed(path, "no random bytes", &e))?;
    let (temporary, saved) = (aside(path), SavedIdentity { name: name.into(), identity });
    let written = write_new(&temporary, &encode(&saved));
    written.map(|_| temporary).map_err(|e| failed(path, "cannot be written", &e))
}

/// Gives a file its name, unless another process was faster.
fn name_first(temporary: &Path, path: &Path) -> Result<(), StateError> {
    match fs::hard_link(temporary, path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed(path, "cannot be written", &e)),
        _ => Ok(()),
    }
}

/// A file name for any string: whatever is not plain becomes `%` and two hex digits.
fn escape(name: &str) -> String {
    let plain = |i: usize, b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b) || (b == b'.' && i > 0);
    name.bytes()
        .enumerate()
        .map(|(i, b)| if plain(i, b) { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

/// Makes a directory, and that durable, unless it is there. Nobody else may look inside.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // A name without a path stands where the daemon does.
    dir.parent().map_or(Ok(()), |parent| sync_dir(&Path::new(".").join(parent)))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Numbers, strings and byte arrays in structs: none of them can fail to become JSON.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(path, &e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, "cannot be read", &e)),
    }
}

/// Puts `bytes` in the place of whatever is at `path`, which is absolute; only its owner can read it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_for(path, bytes, None)
}

/// The same for a file of somebody, whose it stays: a user, and a group.
pub(crate) fn replace_for(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    with_finished(path, bytes, |temporary| {
        owner.map_or(Ok(()), |owner| give(temporary, owner))?;
        fs::rename(temporary, path)
    })
}

/// Gives a file or directory that nobody else may read to its owner.
pub(crate) fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let now = fs::metadata(path)?;
    if now.gid() != group {
        // The group may do nothing with it, so that a group one is not in is no reason to fail.
        let _ = chown(path, None, Some(group));
    }
    if now.uid() == user {
        return Ok(());
    }
    chown(path, Some(user), None)
        .map_err(|e| io::Error::new(e.kind(), format!("it cannot be left to its owner, user {user} ({e})")))
}

/// Puts `bytes` at `path`, where nothing may be yet.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    with_finished(path, bytes, |temporary| {
        let linked = fs::hard_link(temporary, path);
        let _ = fs::remove_file(temporary);
        linked
    })
}

/// Writes a file aside, durably, and lets `publish` give it its name, durably.
fn with_finished(path: &Path, bytes: &[u8], publish: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    let temporary = aside(path);
    let published = write_through(&temporary, bytes).and_then(|()| publish(&temporary));
    if published.is_err() {
        // What is left is of no use; the first error is the one that counts.
        let _ = fs::remove_file(&temporary);
    }
    published.and_then(|()| sync_dir(dir))
}

/// A name beside that of a file, which nobody else uses.
fn aside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let turn = NEXT.fetch_add(1, Ordering::Relaxed);
    // A dot is never the first character of a name of ours, so this is nobody's.
    path.with_file_name(format!(".{name}.{}.{turn}", std::process::id()))
}

/// The name of the file for which [`aside`] has made this one, if it has.
fn of_aside(name: &str) -> Option<&str> {
    let (rest, turn) = name.strip_prefix('.')?.rsplit_once('.')?;
    let (file, process) = rest.rsplit_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(turn) && is_number(process)).then_some(file)
}

/// What is written aside gets its name within seconds. What is older was left by a process that was killed: its number can
/// be another's by now, or one in another container.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Removes from `dir` what was left behind aside of files with such names. What cannot be removed is in nobody's way.
pub(crate) fn sweep(dir: &Path, is_ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(of_aside).is_some_and(&is_ours) && is_left(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_left(entry: &fs::DirEntry) -> bool {
    let written = entry.metadata().and_then(|meta| meta.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > LEFT_BEHIND))
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(path, bytes)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn remove(path: &Path) -> Result<(), StateError> {
    let removed = match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed,
    };
    removed
        .and_then(|()| path.parent().map_or(Ok(()), sync_dir))
        .map_err(|e| failed(path, "cannot be removed", &e))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(path: &Path, what: &str, error: &io::Error) -> StateError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable, or choose another directory with --state-dir"
        }
        _ => "",
    };
    StateError { path: path.into(), what: format!("{what}: {error}{remedy}"), damaged: false }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> StateError {
    let remedy = "restore it from a backup, or remove it to begin anew";
    StateError { path: path.into(), what: format!("is damaged: {error}; {remedy}"), damaged: true }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

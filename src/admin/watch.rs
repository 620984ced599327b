//! Noticing by itself what becomes of the stores that are served.
//!
//! Owns: one thread that looks at every store, when the kernel announces a change of a block device, and every few
//! seconds at any rate: files have no such announcements, and in a network namespace of its own a process gets none.
//! Promises: a change is told to the reactors once; nothing is changed on the stores. It takes no part in any I/O.
//! A file on a server that does not answer can hold it up, and then nothing is noticed until it does.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::ids::LuId;
use crate::reactor::{Messenger, UnitSeed};
use crate::scsi::{Resources, SharedOp};
use crate::store::{Backing, Length};
use crate::sys::Uevents;

/// How often every store is looked at. With this a change is known everywhere within 5 s.
const PACE: Duration = Duration::from_secs(3);

/// After an announcement, how long further ones are waited for: a change of many devices is many of them.
const CALM: Duration = Duration::from_millis(50);

/// Watches the stores of `units` until the process ends.
///
/// # Errors
/// When the thread cannot be had.
pub(super) fn start(units: &[UnitSeed], messenger: Messenger) -> std::io::Result<()> {
    let mut watched: Vec<Watched> = (0..).zip(units).map(|(n, unit)| Watched::new(LuId(n), unit)).collect();
    watched.retain(|w| matches!(w.backing.length(), Ok(Some(_)) | Err(_)));
    if watched.is_empty() {
        return Ok(());
    }
    let uevents = watched.iter().any(Watched::is_block).then(announcements).flatten();
    thread::Builder::new().name("watch".into()).spawn(move || watch(&mut watched, &messenger, uevents))?;
    Ok(())
}

/// What the kernel announces; without it the pace alone has to do.
fn announcements() -> Option<Uevents> {
    Uevents::new().inspect_err(|error| tracing::debug!(%error, "no announcements of the kernel")).ok()
}

fn watch(watched: &mut [Watched], messenger: &Messenger, mut uevents: Option<Uevents>) {
    loop {
        wait(&mut uevents);
        for store in watched.iter_mut() {
            for op in store.look().into_iter().chain(store.measure()) {
                messenger.tell(store.lu, op);
            }
        }
    }
}

/// Waits until block devices have changed, and no longer than the pace.
fn wait(uevents: &mut Option<Uevents>) {
    let Some(socket) = uevents else { return thread::sleep(PACE) };
    let deadline = Instant::now() + PACE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match socket.block_device_changed(left) {
            Ok(false) if Instant::now() < deadline => {}
            Ok(false) => return,
            Ok(true) => return thread::sleep(CALM),
            Err(error) => {
                tracing::warn!(%error, "no more announcements of the kernel: devices are looked at every 3 s");
                *uevents = None;
                return;
            }
        }
    }
}

/// One store, and what is known of it.
struct Watched {
    lu: LuId,
    backing: Arc<Backing>,
    /// What the reactors have been told last.
    blocks: u64,
    /// What was last found, so that each finding is logged once.
    found: Option<Length>,
    /// Likewise the space.
    resources: Option<Resources>,
}

impl Watched {
    fn new(lu: LuId, unit: &UnitSeed) -> Self {
        Self { lu, backing: unit.backing.clone(), blocks: unit.backing.blocks, found: None, resources: None }
    }

    fn is_block(&self) -> bool {
        self.backing.kind == crate::store::StoreKind::Block
    }

    /// What the reactors have to be told, if anything.
    fn look(&mut self) -> Option<SharedOp> {
        let found =
            self.backing.length().ok().flatten().unwrap_or(Length { blocks: 0, over: 0, kept_out: 0 });
        let is_news = self.found.replace(found) != Some(found);
        if is_news {
            self.remark(found);
        }
        // What has no medium keeps its size: commands fail, and go on when it comes back.
        if found.blocks == 0 || found.blocks == self.blocks {
            return None;
        }
        if found.blocks > self.blocks
            && let Err(error) = self.backing.allocate(found.blocks)
        {
            if is_news {
                let store = &self.backing.name;
                tracing::warn!(store, %error, "has grown, but cannot be allocated as a whole: it is served as it was");
            }
            return None;
        }
        tracing::info!(
            store = self.backing.name,
            from = self.blocks,
            to = found.blocks,
            "the capacity has changed, in blocks"
        );
        self.blocks = found.blocks;
        Some(SharedOp::Resize { blocks: found.blocks })
    }

    /// The space that it takes and that is left, when that has changed.
    fn measure(&mut self) -> Option<SharedOp> {
        let resources = self.backing.resources().ok().flatten()?;
        let is_news = self.resources.replace(resources) != Some(resources);
        is_news.then_some(SharedOp::Measured(resources))
    }

    /// What an administrator should know of a new finding.
    fn remark(&self, found: Length) {
        let (store, block) = (&self.backing.name, self.backing.block_size);
        if found.blocks == 0 {
            tracing::warn!(store, "has no medium any more: commands fail until it comes back");
        }
        if found.over > 0 && found.blocks > 0 {
            tracing::warn!(
                store,
                "its last {} bytes are no whole block of {block}: they are left out",
                found.over
            );
        }
        if found.kept_out > 0 {
            tracing::warn!(
                store,
                "is {} bytes longer than its configured size, which is kept; leave the size out to serve all of it",
                found.kept_out
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::store::{StoreConfig, StoreKind, open};

    const MIB: u64 = 1 << 20;

    /// A file of 1 MiB, and the store on it as it is watched.
    fn watched() -> (tempfile::NamedTempFile, Watched, u64) {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        file.as_file().set_len(MIB).unwrap();
        let config =
            StoreConfig { path: Some(file.path().into()), ..StoreConfig::new(StoreKind::Fileio, "f") };
        let backing = Arc::new(open(&config, Duration::from_secs(5)).unwrap());
        let block = u64::from(backing.block_size);
        let watched = Watched { lu: LuId(0), blocks: backing.blocks, backing, found: None, resources: None };
        (file, watched, block)
    }

    fn set_len(file: &tempfile::NamedTempFile, len: u64) {
        File::options().write(true).open(file.path()).and_then(|f| f.set_len(len)).unwrap();
    }

    #[test]
    fn growth_and_shrinking_are_told_once() {
        let (file, mut watched, block) = watched();
        assert_eq!(watched.look(), None);
        for len in [3 * MIB, 2 * MIB + 100] {
            set_len(&file, len);
            assert_eq!(watched.look(), Some(SharedOp::Resize { blocks: len / block }));
            assert_eq!(watched.look(), None);
        }
    }

    #[test]
    fn space_is_told_when_it_changes() {
        let (file, mut watched, _) = watched();
        let Some(SharedOp::Measured(before)) = watched.measure() else { panic!("a file has space") };
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &vec![1; MIB as usize], 0).unwrap();
        file.as_file().sync_all().unwrap();
        let Some(SharedOp::Measured(after)) = watched.measure() else { panic!("it takes more") };
        assert_eq!((before.used, after.used), (0, 1));
    }

    #[test]
    fn what_vanishes_keeps_its_size_until_it_comes_back() {
        let (file, mut watched, block) = watched();
        set_len(&file, 0);
        assert_eq!(watched.look(), None);
        set_len(&file, MIB);
        assert_eq!(watched.look(), None, "as it was");
        set_len(&file, 0);
        assert_eq!(watched.look(), None);
        set_len(&file, 2 * MIB);
        assert_eq!(watched.look(), Some(SharedOp::Resize { blocks: 2 * MIB / block }));
    }
}

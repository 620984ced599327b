//! Noticing by itself what becomes of the stores that are served.
//!
//! Owns: one thread that looks at every store, when the kernel announces a change of a block device, and every few
//! seconds at any rate: files have no such announcements, and in a network namespace of its own a process gets none.
//! Promises: a change is told to the reactors once; nothing is changed on the stores. It takes no part in any I/O.
//! A file on a server that does not answer can hold it up, and then nothing is noticed until it does.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::ids::LuId;
use crate::reactor::{Messenger, UnitSeed};
use crate::scsi::{Resources, SharedOp};
use crate::store::{Backing, Length};
use crate::sys::Uevents;

/// How often every store is looked at. With this a change is known everywhere within 5 s.
const PACE: Duration = Duration::from_secs(3);

/// After an announcement, how long further ones are waited for: a change of many devices is many of them.
const CALM: Duration = Duration::from_millis(50);

/// The thread that watches.
#[derive(Debug, Clone)]
pub(super) struct Watcher(Sender<Order>);

/// What it is told, and follows before it looks the next time.
#[derive(Debug)]
enum Order {
    Add(Watched),
    /// Nothing is told of these any more, once that is dropped.
    Remove(Vec<LuId>, Sender<()>),
}

impl Watcher {
    /// Watches the stores of `units`, and what comes later, until the process ends.
    ///
    /// # Errors
    /// When the thread cannot be had.
    pub(super) fn start(units: &[UnitSeed], messenger: Messenger) -> std::io::Result<Self> {
        let (tell, told) = unbounded();
        let watcher = Self(tell);
        (0..).zip(units).for_each(|(n, unit)| watcher.add(LuId(n), unit));
        thread::Builder::new().name("watch".into()).spawn(move || watch(&told, &messenger))?;
        Ok(watcher)
    }

    /// One more.
    pub(super) fn add(&self, lu: LuId, unit: &UnitSeed) {
        if matches!(unit.backing.length(), Ok(Some(_)) | Err(_)) {
            // It ends with the process only.
            let _ = self.0.send(Order::Add(Watched::new(lu, unit)));
        }
    }

    /// Waits until nothing can be told of these any more.
    pub(super) fn remove(&self, units: &[LuId]) {
        let (done, seen) = bounded(0);
        if self.0.send(Order::Remove(units.to_vec(), done)).is_ok() {
            let _: Result<(), _> = seen.recv();
        }
    }
}

/// What the kernel announces; without it the pace alone has to do.
pub(super) fn announcements() -> Option<Uevents> {
    Uevents::new().inspect_err(|error| tracing::debug!(%error, "no announcements of the kernel")).ok()
}

fn watch(orders: &Receiver<Order>, messenger: &Messenger) {
    let (mut watched, mut uevents): (Vec<Watched>, _) = (Vec::new(), None);
    loop {
        if watched.is_empty() {
            let Ok(order) = orders.recv() else { return };
            follow(order, &mut watched, &mut uevents);
        }
        orders.try_iter().for_each(|order| follow(order, &mut watched, &mut uevents));
        if !watched.is_empty() {
            wait(&mut uevents, &["change", "add"], PACE);
        }
        // What has gone meanwhile is not looked at.
        orders.try_iter().for_each(|order| follow(order, &mut watched, &mut uevents));
        for store in &mut watched {
            for op in store.news() {
                messenger.tell(store.lu, op);
            }
        }
    }
}

fn follow(order: Order, watched: &mut Vec<Watched>, uevents: &mut Option<Uevents>) {
    match order {
        Order::Add(store) => {
            if uevents.is_none() && store.block {
                *uevents = announcements();
            }
            watched.push(store);
        }
        Order::Remove(units, done) => {
            watched.retain(|w| !units.contains(&w.lu));
            drop(done);
        }
    }
}

/// Waits until one of these actions is announced of a block device, and no longer than the pace.
pub(super) fn wait(uevents: &mut Option<Uevents>, actions: &[&str], pace: Duration) {
    let Some(socket) = uevents else { return thread::sleep(pace) };
    let deadline = Instant::now() + pace;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match socket.block_device(actions, left) {
            Ok(false) if Instant::now() < deadline => {}
            Ok(false) => return,
            Ok(true) => return thread::sleep(CALM),
            Err(error) => {
                tracing::warn!(%error, "no more announcements of the kernel: devices are looked at every {pace:?}");
                *uevents = None;
                return;
            }
        }
    }
}

/// One store, and what is known of it.
#[derive(Debug)]
struct Watched {
    lu: LuId,
    /// Only looked at: it is not held open.
    backing: Weak<Backing>,
    block: bool,
    /// What the reactors have been told last.
    blocks: u64,
    /// What was last found, so that each finding is logged once.
    found: Option<Length>,
    /// Likewise the space.
    resources: Option<Resources>,
}

impl Watched {
    fn new(lu: LuId, unit: &UnitSeed) -> Self {
        let block = unit.backing.kind == crate::store::StoreKind::Block;
        let backing = Arc::downgrade(&unit.backing);
        Self { lu, backing, block, blocks: unit.backing.blocks, found: None, resources: None }
    }

    /// What the reactors have to be told.
    fn news(&mut self) -> impl Iterator<Item = SharedOp> + use<> {
        let backing = self.backing.upgrade();
        let look = backing.as_ref().and_then(|backing| self.look(backing));
        let measure = backing.as_ref().and_then(|backing| self.measure(backing));
        look.into_iter().chain(measure)
    }

    /// Another capacity, if it has one.
    fn look(&mut self, backing: &Backing) -> Option<SharedOp> {
        let found = backing.length().ok().flatten().unwrap_or(Length { blocks: 0, over: 0, kept_out: 0 });
        let is_news = self.found.replace(found) != Some(found);
        if is_news {
            remark(backing, found);
        }
        // What has no medium keeps its size: commands fail, and go on when it comes back.
        if found.blocks == 0 || found.blocks == self.blocks {
            return None;
        }
        if found.blocks > self.blocks
            && let Err(error) = backing.allocate(found.blocks)
        {
            if is_news {
                let store = &backing.name;
                tracing::warn!(store, %error, "has grown, but cannot be allocated as a whole: it is served as it was");
            }
            return None;
        }
        tracing::info!(
            store = backing.name,
            from = self.blocks,
            to = found.blocks,
            "the capacity has changed, in blocks"
        );
        self.blocks = found.blocks;
        Some(SharedOp::Resize { blocks: found.blocks })
    }

    /// The space that it takes and that is left, when that has changed.
    fn measure(&mut self, backing: &Backing) -> Option<SharedOp> {
        let resources = backing.resources().ok().flatten()?;
        let is_news = self.resources.replace(resources) != Some(resources);
        is_news.then_some(SharedOp::Measured(resources))
    }
}

/// What an administrator should know of a new finding.
fn remark(backing: &Backing, found: Length) {
    let (store, block) = (&backing.name, backing.block_size);
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::store::{StoreConfig, StoreKind, open};

    const MIB: u64 = 1 << 20;

    /// A file of 1 MiB, and the store on it as it is watched.
    fn watched() -> (tempfile::NamedTempFile, Watched, Arc<Backing>, u64) {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        file.as_file().set_len(MIB).unwrap();
        let config =
            StoreConfig { path: Some(file.path().into()), ..StoreConfig::new(StoreKind::Fileio, "f") };
        let backing = Arc::new(open(&config, Duration::from_secs(5)).unwrap());
        let block = u64::from(backing.block_size);
        let watched = Watched {
            lu: LuId(0),
            block: false,
            blocks: backing.blocks,
            backing: Arc::downgrade(&backing),
            found: None,
            resources: None,
        };
        (file, watched, backing, block)
    }

    fn set_len(file: &tempfile::NamedTempFile, len: u64) {
        File::options().write(true).open(file.path()).and_then(|f| f.set_len(len)).unwrap();
    }

    #[test]
    fn growth_and_shrinking_are_told_once() {
        let (file, mut watched, backing, block) = watched();
        assert_eq!(watched.look(&backing), None);
        for len in [3 * MIB, 2 * MIB + 100] {
            set_len(&file, len);
            assert_eq!(watched.look(&backing), Some(SharedOp::Resize { blocks: len / block }));
            assert_eq!(watched.look(&backing), None);
        }
    }

    #[test]
    fn space_is_told_when_it_changes() {
        let (file, mut watched, backing, _) = watched();
        let Some(SharedOp::Measured(before)) = watched.measure(&backing) else { panic!("a file has space") };
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &vec![1; MIB as usize], 0).unwrap();
        file.as_file().sync_all().unwrap();
        let Some(SharedOp::Measured(after)) = watched.measure(&backing) else { panic!("it takes more") };
        assert_eq!((before.used, after.used), (0, 1));
    }

    #[test]
    fn what_vanishes_keeps_its_size_until_it_comes_back() {
        let (file, mut watched, backing, block) = watched();
        set_len(&file, 0);
        assert_eq!(watched.look(&backing), None);
        set_len(&file, MIB);
        assert_eq!(watched.look(&backing), None, "as it was");
        set_len(&file, 0);
        assert_eq!(watched.look(&backing), None);
        set_len(&file, 2 * MIB);
        assert_eq!(watched.look(&backing), Some(SharedOp::Resize { blocks: 2 * MIB / block }));
    }
}

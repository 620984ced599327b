//! Looking whether stores are there, and opening them.
//!
//! Owns: what is being looked at, each by one thread. Promises: a device, or a file system, that does not answer keeps no other
//! store waiting for longer than a moment, and no second thread; what is found after that is told by the next look, if the
//! same is still looked for then. What nobody looks for any more is not asked, and of what was found nothing is left: it is
//! closed, and a file that was made for it goes. Refuses to know: what is found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::crew::Crew;
use super::locked;
use super::units::{Found, Lost};
use crate::ids::LuId;
use crate::store::StoreConfig;

/// How long those are waited for that are looked at anew. To open what answers takes milliseconds.
const MOMENT: Duration = Duration::from_secs(2);

/// How long those are waited for that a daemon begins with, after one of them has answered: as long as they come one after
/// the other they are many, and not mute.
const SILENCE: Duration = Duration::from_secs(5);

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Sought {
    pub(super) config: Arc<StoreConfig>,
    /// As it was when it vanished, if it was served before.
    pub(super) lost: Option<Lost>,
}

/// See the module page.
#[derive(Debug, Default)]
pub(super) struct Looks {
    under_way: Mutex<HashMap<LuId, Look>>,
    /// All that somebody wants, or asks, or that was found and is open yet.
    held: Mutex<Vec<Weak<Sought>>>,
    crew: Crew,
}

/// It is wanted as long as this is there.
#[derive(Debug)]
struct Look {
    what: Arc<Sought>,
    found: Receiver<Untaken>,
}

/// What was found, until somebody takes it.
#[derive(Debug)]
struct Untaken {
    found: Option<Found>,
    /// It goes last.
    _what: Option<Arc<Sought>>,
}

impl Untaken {
    fn take(mut self) -> Option<Found> {
        self.found.take()
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let Some(Found::It(backing)) = self.found.take() else { return };
        if let Err(error) = backing.unmake() {
            tracing::warn!(store = backing.name, %error, "its new file, which nobody wants any more, cannot be removed");
        }
    }
}

impl Looks {
    /// What has become of these. Of what does not answer there is nothing.
    pub(super) fn find(
        &self,
        sought: Vec<(LuId, Sought)>,
        look: impl Fn(&Sought) -> Found + Clone + Send + 'static,
    ) -> Vec<(LuId, Found)> {
        let deadline = Instant::now() + MOMENT;
        self.find_until(sought, look, || deadline)
    }

    /// The same of all that a daemon begins with.
    pub(super) fn first(
        &self,
        sought: Vec<(LuId, Sought)>,
        look: impl Fn(&Sought) -> Found + Clone + Send + 'static,
    ) -> Vec<(LuId, Found)> {
        self.find_until(sought, look, || Instant::now() + SILENCE)
    }

    /// The same. `deadline`: until when the next of those is waited for that are looked at anew.
    fn find_until(
        &self,
        sought: Vec<(LuId, Sought)>,
        look: impl Fn(&Sought) -> Found + Clone + Send + 'static,
        deadline: impl Fn() -> Instant,
    ) -> Vec<(LuId, Found)> {
        let (mut under_way, (tick, ticks)) = (locked(&self.under_way), unbounded());
        let wanted: HashMap<_, _> = sought.iter().map(|(lu, what)| (*lu, &what.config)).collect();
        let is_unwanted = |lu: &LuId, look: &mut Look| wanted.get(lu) != Some(&&look.what.config);
        self.dismiss(under_way.extract_if(is_unwanted));
        for (lu, what) in sought {
            if let Entry::Vacant(free) = under_way.entry(lu) {
                free.insert(self.begin(what, look.clone(), tick.clone()));
            }
        }
        drop(tick);
        while ticks.recv_deadline(deadline()).is_ok() {}
        let heard = |(lu, look): (&LuId, &Look)| Some((*lu, look.found.try_recv().ok()?.take()?));
        let mut found: Vec<_> = under_way.iter().filter_map(heard).collect();
        found.iter().for_each(|(lu, _)| drop(under_way.remove(lu)));
        found.sort_unstable_by_key(|(lu, _)| *lu);
        found
    }

    /// Has one looked at, and `tick` told when it has been.
    fn begin(
        &self,
        what: Sought,
        look: impl Fn(&Sought) -> Found + Send + 'static,
        tick: Sender<()>,
    ) -> Look {
        let ((tell, found), what) = (bounded(1), Arc::new(what));
        let (failed, wanted) = (tell.clone(), Arc::downgrade(&what));
        self.hold(wanted.clone());
        let job = move || {
            let Some(what) = wanted.upgrade() else { return };
            let found = Some(look(&what));
            drop(tell.send(Untaken { found, _what: Some(what) }));
            let _ = tick.send(());
        };
        if let Err(error) = self.crew.submit(job) {
            let _ = failed.send(Untaken { found: Some(Found::Other(error.to_string())), _what: None });
        }
        Look { what, found }
    }

    fn hold(&self, what: Weak<Sought>) {
        let mut held = locked(&self.held);
        held.retain(|what| what.strong_count() > 0);
        held.push(what);
    }

    /// Nobody wants these any more. What was found is not closed, nor its file removed, by whoever waits for others.
    fn dismiss(&self, unwanted: impl Iterator<Item = (LuId, Look)>) {
        let found: Vec<_> = unwanted.map(|(_, look)| look.found).collect();
        if !found.is_empty() {
            // Where there is no thread for that, it has happened here.
            let _ = self.crew.submit(move || drop(found));
        }
    }

    /// Something else is to be at that path: nobody wants any more what is found there. Of which store that is, as long as
    /// anything of it is left.
    pub(super) fn give_up(&self, path: &Path) -> Option<String> {
        let is_there = |what: &Sought| what.config.path.as_deref() == Some(path);
        let held = locked(&self.held);
        let name = held.iter().filter_map(Weak::upgrade).find(|what| is_there(what))?.config.name.clone();
        drop(held);
        let mut under_way = locked(&self.under_way);
        self.dismiss(under_way.extract_if(|_, look| is_there(&look.what)));
        Some(name)
    }

    /// Whether somebody is asking for that store: one that waits until others have answered has not been asked.
    pub(super) fn are_asking(&self, config: &StoreConfig) -> bool {
        let is_asked = |look: &Look| *look.what.config == *config && Arc::strong_count(&look.what) > 1;
        locked(&self.under_way).values().any(is_asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::live::crew::MOST;
    use crate::store::StoreKind;

    const SOON: Duration = Duration::from_secs(20);

    /// How long one takes that is slow.
    const PACE: Duration = Duration::from_millis(400);

    fn sought(name: &str) -> Sought {
        Sought { config: StoreConfig::new(StoreKind::Ramdisk, name).into(), lost: None }
    }

    fn numbers(found: Vec<(LuId, Found)>) -> Vec<u32> {
        found.into_iter().map(|(lu, _)| lu.0).collect()
    }

    #[test]
    fn a_device_that_does_not_answer_keeps_nobody_waiting() {
        let (looks, (release, gate), (tell, asked)) = (Looks::default(), bounded::<()>(0), bounded(10));
        let look = move |what: &Sought| {
            if what.config.name == "mute" {
                tell.send(()).unwrap();
                let _ = gate.recv();
            }
            Found::Nothing(String::new())
        };
        let all = || vec![(LuId(0), sought("mute")), (LuId(1), sought("well"))];
        assert_eq!(numbers(looks.find(all(), look.clone())), [1]);
        let began = Instant::now();
        assert_eq!(numbers(looks.find(all(), look.clone())), [1]);
        assert!(began.elapsed() < MOMENT, "it is not waited for again");
        assert_eq!(asked.len(), 1, "nor asked by another thread");
        release.send(()).unwrap();
        let mut found = Vec::new();
        while found != [0, 1] {
            assert!(began.elapsed() < SOON);
            found = numbers(looks.find(all(), look.clone()));
            found.sort_unstable();
            std::thread::sleep(Duration::from_millis(1));
            let _ = release.try_send(());
        }
    }

    #[test]
    fn what_is_not_looked_for_any_more_is_not_found() {
        let (looks, (release, gate)) = (Looks::default(), bounded::<()>(0));
        let look = move |what: &Sought| {
            if what.config.name == "mute" {
                let _ = gate.recv();
            }
            Found::Nothing(String::new())
        };
        assert!(looks.find(vec![(LuId(0), sought("mute"))], look.clone()).is_empty());
        let other = || vec![(LuId(0), sought("other"))];
        assert_eq!(numbers(looks.find(other(), look.clone())), [0], "another has its number");
        assert!(locked(&looks.under_way).is_empty());
        drop(release);
    }

    #[test]
    fn nothing_is_asked_of_a_file_system_by_whoever_waits_for_what_is_found() {
        let (looks, asks) = (Looks::default(), std::thread::current().id());
        let gone = StoreConfig {
            path: Some("/nonexistent/image".into()),
            ..StoreConfig::new(StoreKind::Fileio, "a")
        };
        let look = move |_: &Sought| {
            assert_ne!(std::thread::current().id(), asks, "it may hang");
            Found::Nothing(String::new())
        };
        assert_eq!(
            numbers(looks.find(vec![(LuId(0), Sought { config: gone.into(), lost: None })], look)),
            [0]
        );
    }

    #[test]
    fn of_many_those_are_waited_for_that_come_one_after_the_other() {
        let (looks, (release, gate)) = (Looks::default(), bounded::<()>(0));
        // Longer for all of them than anybody is silent, with four for each thread; and one is mute.
        let all = (0..4 * MOST as u32).map(|n| (LuId(n), sought(if n == 0 { "mute" } else { "slow" })));
        let look = move |what: &Sought| {
            let _ = gate.recv_timeout(if what.config.name == "mute" { SOON } else { PACE });
            Found::Nothing(String::new())
        };
        let began = Instant::now();
        let found = numbers(looks.find_until(all.collect(), look, || Instant::now() + 5 * PACE / 2));
        assert_eq!(found, (1..4 * MOST as u32).collect::<Vec<_>>());
        assert!(began.elapsed() < SOON, "the mute one is given up");
        drop(release);
    }

    /// A file that is to be made, and how long it takes until it is told that it has been.
    fn made_late(path: &Path, gate: Receiver<()>) -> (Sought, impl Fn(&Sought) -> Found + Clone + use<>) {
        let (path, size) = (Some(path.to_owned()), Some(1 << 20));
        let config = StoreConfig { path, size, ..StoreConfig::new(StoreKind::Fileio, "late") };
        let look = move |what: &Sought| {
            let made = crate::store::open(&what.config, Duration::ZERO).unwrap();
            let _ = gate.recv();
            Found::It(made.into())
        };
        (Sought { config: config.into(), lost: None }, look)
    }

    fn wait_until(so: impl Fn() -> bool) {
        let began = Instant::now();
        while !so() {
            assert!(began.elapsed() < SOON, "it does not come to that");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_file_that_is_made_when_nobody_wants_it_any_more_goes() {
        let (dir, (release, gate)) = (tempfile::tempdir().unwrap(), bounded::<()>(0));
        let path = dir.path().join("image");
        let (looks, (what, look)) = (Looks::default(), made_late(&path, gate));
        assert!(looks.find_until(vec![(LuId(0), what)], look.clone(), Instant::now).is_empty());
        wait_until(|| path.exists());
        assert!(looks.find(Vec::new(), look).is_empty());
        drop(release);
        wait_until(|| !path.exists());
    }

    #[test]
    fn what_was_found_is_closed_and_unmade_where_something_else_is_to_be() {
        let (dir, (release, gate)) = (tempfile::tempdir().unwrap(), bounded::<()>(0));
        let path = dir.path().join("image");
        let (looks, (what, look)) = (Looks::default(), made_late(&path, gate));
        let config = what.config.clone();
        assert!(looks.find_until(vec![(LuId(0), what)], look, Instant::now).is_empty());
        wait_until(|| path.exists());
        assert_eq!(looks.give_up(&dir.path().join("other")), None);
        assert_eq!(looks.give_up(&path).as_deref(), Some("late"), "it is open as long as it is looked at");
        drop(release);
        wait_until(|| looks.give_up(&path).is_none());
        assert!(!path.exists());
        assert!(crate::store::open(&config, Duration::ZERO).is_ok(), "and can be had at once");
    }

    #[test]
    fn what_was_found_and_not_taken_is_unmade_when_nobody_wants_it_any_more() {
        let (dir, (release, gate)) = (tempfile::tempdir().unwrap(), bounded::<()>(0));
        let path = dir.path().join("image");
        let (looks, (what, look)) = (Looks::default(), made_late(&path, gate));
        assert!(looks.find_until(vec![(LuId(0), what)], look.clone(), Instant::now).is_empty());
        drop(release);
        wait_until(|| locked(&looks.under_way).values().all(|look| !look.found.is_empty()));
        assert!(path.exists() && looks.find(Vec::new(), look).is_empty());
        wait_until(|| !path.exists());
    }

    #[test]
    fn what_waits_behind_mute_ones_is_not_asked_when_nobody_wants_it_any_more() {
        let (looks, (release, gate), (tell, asked)) = (Looks::default(), bounded::<()>(0), unbounded());
        let look = move |what: &Sought| {
            let _ = gate.recv();
            tell.send(what.config.name.clone()).unwrap();
            Found::Nothing(String::new())
        };
        let mute = |n| (LuId(n), sought("mute"));
        let (mutes, waits) = (0..MOST as u32, (LuId(MOST as u32), sought("waits")));
        let all: Vec<_> = mutes.clone().map(mute).chain([waits.clone()]).collect();
        assert!(looks.find_until(all, look.clone(), Instant::now).is_empty());
        wait_until(|| looks.are_asking(&sought("mute").config));
        assert!(!looks.are_asking(&waits.1.config), "nobody has asked that one");
        assert!(looks.find_until(mutes.map(mute).collect(), look, Instant::now).is_empty());
        drop(release);
        let asked: Vec<_> = asked.iter().collect();
        assert_eq!(asked, vec!["mute"; MOST]);
    }
}

//! Looking whether stores are there, and opening them.
//!
//! Owns: what is being looked at, each by one thread. Promises: a device, or a file system, that does not answer keeps no other
//! store waiting for longer than a moment, and no second thread; what is found after that is told by the next look, if the
//! same is still looked for then. Refuses to know: what is found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
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
    crew: Crew,
}

#[derive(Debug)]
struct Look {
    config: Arc<StoreConfig>,
    found: Receiver<Found>,
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
        under_way.retain(|lu, look| wanted.get(lu) == Some(&&look.config));
        for (lu, what) in sought {
            if let Entry::Vacant(free) = under_way.entry(lu) {
                let config = what.config.clone();
                free.insert(Look { config, found: self.begin(what, look.clone(), tick.clone()) });
            }
        }
        drop(tick);
        while ticks.recv_deadline(deadline()).is_ok() {}
        let heard = |(lu, look): (&LuId, &Look)| Some((*lu, look.found.try_recv().ok()?));
        let mut found: Vec<_> = under_way.iter().filter_map(heard).collect();
        found.iter().for_each(|(lu, _)| drop(under_way.remove(lu)));
        found.sort_unstable_by_key(|(lu, _)| *lu);
        found
    }

    /// Has one looked at, and `tick` told when it has been. What is found when nobody wants it any more is closed again.
    fn begin(
        &self,
        what: Sought,
        look: impl Fn(&Sought) -> Found + Send + 'static,
        tick: Sender<()>,
    ) -> Receiver<Found> {
        let (tell, found) = bounded(1);
        let failed = tell.clone();
        let job = move || {
            drop(tell.send(look(&what)));
            let _ = tick.send(());
        };
        if let Err(error) = self.crew.submit(job) {
            let _ = failed.send(Found::Other(error.to_string()));
        }
        found
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
}

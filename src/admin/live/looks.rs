//! Looking whether stores are there again, and opening them.
//!
//! Owns: the threads that look, one for each store that may be there. Promises: a device that does not answer keeps no other
//! store waiting for longer than a moment, and no second thread; what is found after that is told by the next look, if the
//! same is still looked for then. Refuses to know: what is found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::locked;
use super::units::{Found, Lost, is_missing};
use crate::ids::LuId;
use crate::store::StoreConfig;

/// How long those are waited for that are looked at anew. To open what answers takes milliseconds.
const MOMENT: Duration = Duration::from_secs(2);

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Sought {
    pub(super) config: StoreConfig,
    /// As it was when it vanished, if it was served before.
    pub(super) lost: Option<Lost>,
}

/// See the module page.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<LuId, Look>>);

#[derive(Debug)]
struct Look {
    config: StoreConfig,
    found: Receiver<Found>,
}

impl Looks {
    /// What has become of these. Of what does not answer there is nothing.
    pub(super) fn find(
        &self,
        sought: Vec<(LuId, Sought)>,
        look: impl Fn(&Sought) -> Found + Clone + Send + 'static,
    ) -> Vec<(LuId, Found)> {
        let (mut under_way, deadline) = (locked(&self.0), Instant::now() + MOMENT);
        under_way.retain(|lu, old| sought.iter().any(|(new, what)| new == lu && what.config == old.config));
        let mut at_once = Vec::new();
        let mut all: Vec<_> =
            under_way.iter().map(|(lu, look)| (*lu, look.found.clone(), Instant::now())).collect();
        for (lu, what) in sought {
            if is_missing(&what.config) {
                // There is nothing that could be mute.
                at_once.push((lu, look(&what)));
            } else if let Entry::Vacant(free) = under_way.entry(lu) {
                let (config, found) = (what.config.clone(), begin(what, look.clone()));
                free.insert(Look { config, found: found.clone() });
                all.push((lu, found, deadline));
            }
        }
        let heard = |(lu, found, until): (LuId, Receiver<Found>, Instant)| {
            Some((lu, found.recv_deadline(until).ok()?))
        };
        let found: Vec<_> = all.into_iter().filter_map(heard).collect();
        found.iter().for_each(|(lu, _)| drop(under_way.remove(lu)));
        at_once.into_iter().chain(found).collect()
    }
}

/// Has one looked at. What is found when nobody wants it any more is closed again.
fn begin(what: Sought, look: impl Fn(&Sought) -> Found + Send + 'static) -> Receiver<Found> {
    let (tell, found) = bounded(1);
    let failed = tell.clone();
    let work = move || drop(tell.send(look(&what)));
    if let Err(error) = thread::Builder::new().name("look".into()).spawn(work) {
        let _ = failed.send(Found::Other(error.to_string()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreKind;

    fn sought(name: &str) -> Sought {
        Sought { config: StoreConfig::new(StoreKind::Ramdisk, name), lost: None }
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
            assert!(began.elapsed() < Duration::from_secs(20));
            found = numbers(looks.find(all(), look.clone()));
            found.sort_unstable();
            thread::sleep(Duration::from_millis(1));
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
        assert!(locked(&looks.0).is_empty());
        drop(release);
    }
}

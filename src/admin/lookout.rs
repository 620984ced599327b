//! The picture that all who look are shown, whoever they are and however many: it is drawn once for all who ask at about
//! the same time.
//!
//! Owns the last picture and what was written of it. Promises: reactors are asked by one at a time, for those who watch at
//! most every `FRESH`; who wants to see what he has just done does; a text is written once, and is gone with the last one
//! who reads it. So what looking takes, in time and in memory, does not grow with those who look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::live::Live;
use super::stats::{Mark, Named, Stats};
use crate::reactor::Late;

/// How old a picture may be that is shown again to those who watch.
const FRESH: Duration = Duration::from_millis(200);

/// Who has done most since this time, or twice of it, is told whole.
const LATELY: Duration = Duration::from_secs(10);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What can be written of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// JSON in brief.
    Brief,
    /// JSON with distributions.
    Whole,
    /// Metrics, for those who read one of the formats, and the other.
    Metrics(super::http::metrics::Format),
}

impl Text {
    const KINDS: usize = 4;

    fn index(self) -> usize {
        use super::http::metrics::Format;
        match self {
            Self::Brief => 0,
            Self::Whole => 1,
            Self::Metrics(Format::Text) => 2,
            Self::Metrics(Format::Open) => 3,
        }
    }

    fn of(self, stats: &Stats) -> String {
        match self {
            Self::Brief => stats.to_text(false),
            Self::Whole => stats.to_text(true),
            Self::Metrics(format) => super::http::metrics::render(stats, format),
        }
    }
}

/// A picture, and what is being read of it.
#[derive(Debug)]
pub(super) struct Picture {
    stats: Stats,
    texts: [Mutex<Weak<String>>; Text::KINDS],
}

impl Picture {
    fn new(stats: Stats) -> Self {
        Self { stats, texts: Default::default() }
    }

    /// It in writing. Whoever asks while it is written waits for that.
    pub(super) fn text(&self, text: Text) -> Arc<String> {
        let mut place = locked(&self.texts[text.index()]);
        if let Some(written) = place.upgrade() {
            return written;
        }
        let written = Arc::new(text.of(&self.stats));
        *place = Arc::downgrade(&written);
        written
    }
}

/// What was seen when it was last looked, and when that look began.
type Seen<T> = Mutex<Option<(Instant, T)>>;

fn fresh<T: Clone>(seen: &Seen<T>, age: Duration, now: Instant) -> Option<T> {
    let seen = locked(seen);
    // What began later than `now` is no older than nothing.
    seen.as_ref()
        .filter(|(began, _)| now.saturating_duration_since(*began) <= age)
        .map(|(_, what)| what.clone())
}

/// What is looked at anew when it was older than `age` when it was asked for, by one for all; nobody waits who need not.
fn look<T: Clone, W>(seen: &Seen<T>, work: &Mutex<W>, age: Duration, draw: impl FnOnce(&mut W) -> T) -> T {
    let asked = Instant::now();
    if let Some(what) = fresh(seen, age, asked) {
        return what;
    }
    let mut work = locked(work);
    // Somebody else may have looked meanwhile.
    if let Some(what) = fresh(seen, age, asked) {
        return what;
    }
    let began = Instant::now();
    let what = draw(&mut work);
    *locked(seen) = Some((began, what.clone()));
    what
}

/// What tells who is busy: two marks, of which the older one counts.
#[derive(Debug, Default)]
struct Marks {
    older: Mark,
    newer: Option<(Instant, Mark)>,
}

impl Marks {
    fn note(&mut self, stats: &Stats) {
        if self.newer.as_ref().is_some_and(|(when, _)| when.elapsed() < LATELY) {
            return;
        }
        let newer = self.newer.replace((Instant::now(), stats.mark()));
        self.older = newer.map(|(_, mark)| mark).unwrap_or_default();
    }
}

/// See the module page.
#[derive(Debug)]
pub(super) struct Lookout {
    live: Arc<Live>,
    marks: Mutex<Marks>,
    last: Seen<Result<Arc<Picture>, Late>>,
    asking: Mutex<()>,
    health: Seen<bool>,
}

impl Lookout {
    pub(super) fn new(live: Arc<Live>) -> Self {
        let (marks, last, asking, health) = Default::default();
        Self { live, marks, last, asking, health }
    }

    /// What is looked at.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// A picture for those who watch.
    ///
    /// # Errors
    /// When a reactor is late.
    pub(super) fn picture(&self) -> Result<Arc<Picture>, Late> {
        self.picture_of(FRESH)
    }

    /// The picture of now: all is in it that was done before it was asked for.
    ///
    /// # Errors
    /// When a reactor is late.
    pub(super) fn picture_of_now(&self) -> Result<Arc<Picture>, Late> {
        self.picture_of(Duration::ZERO)
    }

    fn picture_of(&self, age: Duration) -> Result<Arc<Picture>, Late> {
        look(&self.last, &self.marks, age, |marks| {
            let stats = Stats::of(&self.live, &marks.older)?;
            marks.note(&stats);
            Ok(Arc::new(Picture::new(stats)))
        })
    }

    /// Those who are named, as they are now. Nobody else wants to see just these: nothing of it is kept.
    ///
    /// # Errors
    /// When a reactor is late.
    pub(super) fn these(&self, named: &Named) -> Result<Stats, Late> {
        let _one_at_a_time = locked(&self.marks);
        Stats::of_these(&self.live, named)
    }

    /// Whether all reactors answer.
    pub(super) fn is_alive(&self) -> bool {
        look(&self.health, &self.asking, FRESH, |()| self.live.control().is_alive())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::admin::stats::tests::stats;

    #[test]
    fn a_text_is_written_once_for_all_who_read_it_and_gone_after_them() {
        let picture = Picture::new(stats(3, &Mark::default()));
        let (first, second) = (picture.text(Text::Whole), picture.text(Text::Whole));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &picture.text(Text::Brief)));
        let gone = Arc::downgrade(&first);
        drop((first, second));
        assert_eq!(gone.strong_count(), 0);
    }

    #[test]
    fn many_who_ask_at_the_same_time_have_it_looked_at_once() {
        let (seen, work, looks) = (Seen::default(), Mutex::new(()), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    look(&seen, &work, FRESH, |()| {
                        thread::sleep(Duration::from_millis(20));
                        looks.fetch_add(1, Ordering::Relaxed)
                    })
                });
            }
        });
        assert_eq!(looks.into_inner(), 1);
    }

    #[test]
    fn who_finds_a_fresh_one_does_not_wait_for_the_next() {
        let (seen, work) = (Seen::default(), Mutex::new(()));
        look(&seen, &work, FRESH, |()| 1);
        let _somebody_draws = work.lock().unwrap();
        assert_eq!(look(&seen, &work, FRESH, |()| 2), 1);
    }

    #[test]
    fn who_wants_to_see_what_he_has_done_is_shown_nothing_older() {
        let (seen, work) = (Seen::default(), Mutex::new(()));
        look(&seen, &work, FRESH, |()| 1);
        assert_eq!(look(&seen, &work, Duration::ZERO, |()| 2), 2);
    }
}

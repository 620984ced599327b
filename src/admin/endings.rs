//! Local disks that go.
//!
//! Owns: the thread that ends each of them, and the numbers that they still have. Promises: nobody waits longer than he wants,
//! and for all of them together, and no disk loses what it still writes back as long as its store answers; one that is late
//! then is cut off from its target, so that nothing of it reaches what has the name of its store later, and ends on its
//! thread. Refuses to know: how a disk is ended.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::loopback::Tie;
use crate::ring::monotonic_ns;
use crate::ring::ublk::block_device;

/// A store that has answered since then is at work.
const LATELY: Duration = Duration::from_secs(1);

/// See the module page.
#[derive(Debug, Default)]
pub(super) struct Endings {
    numbers: Mutex<BTreeSet<u32>>,
    ended: Condvar,
}

/// What goes.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    /// The name of its backstore.
    pub(super) disk: String,
    pub(super) number: u32,
    pub(super) tie: Tie,
}

/// A disk that is being ended.
#[derive(Debug)]
pub(super) struct Ending {
    what: Leaving,
    /// Nanoseconds of the monotonic clock.
    began: u64,
    told: Receiver<io::Result<()>>,
}

impl Endings {
    fn numbers(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has one ended.
    pub(super) fn begin(
        self: &Arc<Self>,
        what: Leaving,
        end: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Ending {
        let (tell, told) = bounded(1);
        self.numbers().insert(what.number);
        let (this, leaving, failed) = (self.clone(), what.clone(), tell.clone());
        let work = move || {
            let ended = end();
            this.forget(leaving.number);
            if let Err(unheard) = tell.send(ended) {
                tracing::info!(disk = leaving.disk, ended = ?unheard.0, "a local disk has ended at last");
            }
        };
        if let Err(error) = thread::Builder::new().name("loopback-end".into()).spawn(work) {
            self.forget(what.number);
            let _ = failed.send(Err(error));
        }
        Ending { what, began: monotonic_ns(), told }
    }

    fn forget(&self, number: u32) {
        self.numbers().remove(&number);
        self.ended.notify_all();
    }

    /// Whether there are none.
    pub(super) fn are_over(&self) -> bool {
        self.numbers().is_empty()
    }

    /// Waits until there are none, but no longer than that.
    pub(super) fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        drop(self.ended.wait_timeout_while(self.numbers(), left, |numbers| !numbers.is_empty()));
    }

    /// Whether that number can be had, as far as those are concerned that go.
    ///
    /// # Errors
    /// It cannot: why, and what to do.
    pub(super) fn check(&self, number: Option<u32>) -> io::Result<()> {
        let Some(number) = number.filter(|number| self.numbers().contains(number)) else { return Ok(()) };
        let path = block_device(number);
        let what = format!(
            "{0} is that of a disk that was taken away and has yet to end, for it is still open somewhere (`fuser {0}` tells where); \
             end that, or choose another `device`, or leave it out",
            path.display()
        );
        Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
    }
}

impl Ending {
    /// Waits until it has ended, as long as it is not silent for so long, and no longer than until that time. One that has
    /// not is cut off. What an administrator must know of that.
    pub(super) fn hear(self, silence: Duration, deadline: Instant) -> Option<String> {
        let ended = self.wait(silence, deadline);
        if let Ok(Ok(())) = ended {
            return None;
        }
        self.what.tie.cut();
        let why = match ended {
            Ok(ended) => format!("cannot be deleted: {}", ended.err()?),
            Err(_) if self.is_busy() => {
                "still writes back, and has had its time for that: what is not on its store yet is lost, and it goes when nobody \
                 has it open any more"
                    .into()
            }
            Err(_) => "is still open somewhere, or its store does not answer: what it asks from here on fails, and it goes when \
                 nobody has it open any more"
                .into(),
        };
        let Leaving { disk, number, .. } = &self.what;
        Some(format!("local disk {disk}: {} {why}", block_device(*number).display()))
    }

    fn wait(&self, silence: Duration, deadline: Instant) -> Result<io::Result<()>, RecvTimeoutError> {
        loop {
            let until = (Instant::now() + silence.saturating_sub(self.silent())).min(deadline);
            match self.told.recv_deadline(until) {
                Err(RecvTimeoutError::Timeout) if until < deadline && self.silent() < silence => {}
                ended => return ended,
            }
        }
    }

    /// Whether its store does what is asked of it.
    fn is_busy(&self) -> bool {
        self.what.tie.answered() > self.began && self.silent() < LATELY
    }

    /// How long nothing that was asked of it has been answered.
    fn silent(&self) -> Duration {
        let last = self.what.tie.answered().max(self.began);
        Duration::from_nanos(monotonic_ns().saturating_sub(last))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn leaving(disk: &str, number: u32) -> Leaving {
        let tie = Tie::new(Arc::new(|| Ok(UnixStream::pair()?.0)));
        Leaving { disk: disk.into(), number, tie }
    }

    /// Hangs until then.
    fn until(gate: &Receiver<()>) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let gate = gate.clone();
        move || {
            let _ = gate.recv();
            Ok(())
        }
    }

    #[test]
    fn disks_that_hang_are_waited_for_together_and_end_at_last() {
        let (endings, (release, gate)) = (Arc::new(Endings::default()), bounded::<()>(0));
        let hung = |number| endings.begin(leaving("hung", number), until(&gate));
        let (began, silence, deadline) = (Instant::now(), Duration::from_millis(300), Instant::now() + SOON);
        let all = [hung(0), hung(1), endings.begin(leaving("well", 2), || Ok(())), hung(3)];
        let told: Vec<_> = all.into_iter().map(|ending| ending.hear(silence, deadline)).collect();
        assert!(began.elapsed() < Duration::from_millis(900), "together, not one after the other");
        assert_eq!(told.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
        let said = endings.check(Some(1)).unwrap_err().to_string();
        assert!(said.contains("/dev/ublkb1") && said.contains("choose another `device`"), "{said}");
        assert!(endings.check(Some(2)).is_ok() && endings.check(None).is_ok() && !endings.are_over());
        drop(release);
        endings.wait(Instant::now() + SOON);
        assert!(endings.are_over() && endings.check(Some(1)).is_ok());
    }

    #[test]
    fn one_that_is_late_is_cut_off_from_its_target_and_no_other_is() {
        let (endings, (release, gate)) = (Arc::new(Endings::default()), bounded::<()>(0));
        let (late, well) = (leaving("late", 0), leaving("well", 1));
        let hangs = endings.begin(late.clone(), until(&gate));
        let ends = endings.begin(well.clone(), || Ok(()));
        assert_eq!(ends.hear(SOON, Instant::now() + SOON), None);
        assert!(
            hangs
                .hear(SOON, Instant::now())
                .is_some_and(|told| told.contains("/dev/ublkb0 is still open somewhere"))
        );
        assert!(late.tie.is_cut() && !well.tie.is_cut());
        drop(release);
    }

    /// Answers requests of that disk, for so long.
    fn writes(tie: &Tie, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            tie.answer(monotonic_ns());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_that_writes_back_is_not_cut_off_as_long_as_its_store_answers() {
        let endings = Arc::new(Endings::default());
        let (silence, what) = (Duration::from_millis(300), leaving("busy", 0));
        let tie = what.tie.clone();
        let end = move || {
            writes(&tie, 3 * silence);
            Ok(())
        };
        let told = endings.begin(what.clone(), end).hear(silence, Instant::now() + SOON);
        assert!(told.is_none() && !what.tie.is_cut(), "{told:?}");
    }

    #[test]
    fn one_that_writes_back_for_ever_is_cut_off_and_the_reason_is_told() {
        let (endings, (release, gate)) = (Arc::new(Endings::default()), bounded::<()>(0));
        let what = leaving("busy", 0);
        let ending = endings.begin(what.clone(), until(&gate));
        thread::scope(|scope| {
            scope.spawn(|| writes(&what.tie, Duration::from_secs(1)));
            let told = ending.hear(SOON, Instant::now() + Duration::from_millis(300));
            assert!(what.tie.is_cut() && told.is_some_and(|told| told.contains("still writes back")));
        });
        drop(release);
    }

    #[test]
    fn what_cannot_be_deleted_is_told_and_cut_off() {
        let endings = Arc::new(Endings::default());
        let refused = || Err(io::Error::from_raw_os_error(libc::ENODEV));
        let what = leaving("a", 7);
        let told = endings.begin(what.clone(), refused).hear(SOON, Instant::now() + SOON);
        assert!(what.tie.is_cut(), "it is there, and what has the name of its target later is not reached");
        assert!(told.is_some_and(|told| told.starts_with("local disk a: /dev/ublkb7 cannot be deleted: ")));
        assert!(endings.are_over());
    }
}

//! Threads that wait for disks.
//!
//! Owns: what is to be done, and the threads that do it, which end when there is nothing. Promises: there are never more than
//! so many, whatever there is to do. Refuses to know: what is done.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use super::locked;
use crate::sys::AbortOnUnwind;

/// Threads at a time: as many disks may hang before another one waits for them.
pub(super) const MOST: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// See the module page.
#[derive(Clone, Default)]
pub(super) struct Crew(Arc<Mutex<Work>>);

#[derive(Default)]
struct Work {
    waits: VecDeque<Job>,
    threads: usize,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").finish_non_exhaustive()
    }
}

impl Crew {
    /// Has that done as soon as there is a thread for it.
    ///
    /// # Errors
    /// When there can be none: then it is not done.
    pub(super) fn submit(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut work = locked(&self.0);
        if work.threads < MOST {
            let crew = self.clone();
            match thread::Builder::new().name("look".into()).spawn(move || crew.live()) {
                Ok(_) => work.threads += 1,
                Err(error) if work.threads == 0 => return Err(error),
                // Those that there are do it.
                Err(_) => {}
            }
        }
        work.waits.push_back(Box::new(job));
        Ok(())
    }

    fn live(&self) {
        // Whoever has lost a thread would wait for ever.
        let _bomb = AbortOnUnwind;
        while let Some(job) = self.next() {
            job();
        }
    }

    /// What is to be done next; if there is nothing the thread that asks is one no more.
    fn next(&self) -> Option<Job> {
        let mut work = locked(&self.0);
        let job = work.waits.pop_front();
        work.threads -= usize::from(job.is_none());
        job
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::{bounded, unbounded};

    use super::*;

    #[test]
    fn all_is_done_by_no_more_threads_than_that() {
        let (crew, (tell, begun), (release, gate)) = (Crew::default(), unbounded(), bounded::<()>(0));
        for n in 0..10 * MOST {
            let (tell, gate) = (tell.clone(), gate.clone());
            let job = move || {
                tell.send(n).unwrap();
                let _ = gate.recv();
            };
            crew.submit(job).unwrap();
        }
        assert_eq!(begun.iter().take(MOST).count(), MOST);
        assert!(begun.recv_timeout(Duration::from_millis(50)).is_err(), "the others wait");
        drop((tell, release));
        assert_eq!(begun.iter().count(), 9 * MOST);
        crew.submit(move || drop(gate)).expect("another thread does it");
    }
}

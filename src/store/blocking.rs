//! A few threads for system calls that have no io_uring form.
//!
//! Owns: the threads and bounded queues before them, one for what waits for disks and one for what saves state, so
//! that a disk that hangs keeps no other disk's reservations from being saved. Promises: [`BlockingPool::submit`] never waits; each
//! accepted job runs once and its reply is called once, on the pool's thread. Refuses to know what
//! the jobs are. A job that panics ends the process, as a panic in a store does anywhere.

use std::fmt;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// How many threads wait for system calls. They serve rare commands: two keep one slow discard from
/// holding up all others.
const THREADS: usize = 2;

/// Jobs that may wait in one queue. Each stands for a SCSI command that holds a task; beyond this the command
/// is answered BUSY.
const QUEUE: usize = 1024;

type Call = Box<dyn FnOnce() -> i32 + Send>;
type Reply = Box<dyn FnOnce(i32) + Send>;

/// One system call to be waited for, and whom to tell its result (≥ 0, or a negative errno).
pub struct BlockingJob {
    call: Call,
    reply: Reply,
}

/// The threads. Dropping the pool lets them finish what was accepted, and does not wait for it.
#[derive(Clone, Debug)]
pub struct BlockingPool {
    queue: Sender<BlockingJob>,
    saving: Sender<BlockingJob>,
}

impl BlockingJob {
    /// `call` waits for the kernel; `reply` passes the result on. It may wait while a mailbox is full, for whoever
    /// empties that never waits for these threads.
    pub fn new(
        call: impl FnOnce() -> i32 + Send + 'static,
        reply: impl FnOnce(i32) + Send + 'static,
    ) -> Self {
        Self { call: Box::new(call), reply: Box::new(reply) }
    }

    fn run(self) {
        (self.reply)((self.call)());
    }
}

impl fmt::Debug for BlockingJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingJob").finish_non_exhaustive()
    }
}

impl BlockingPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no room for another thread.
    pub fn start() -> std::io::Result<Self> {
        let ((queue, jobs), (saving, saves)) = (bounded(QUEUE), bounded(QUEUE));
        for n in 0..THREADS {
            let jobs = jobs.clone();
            thread::Builder::new().name(format!("blocking-{n}")).spawn(move || work(&jobs))?;
        }
        thread::Builder::new().name("saving".into()).spawn(move || work(&saves))?;
        Ok(Self { queue, saving })
    }

    /// A pool for one device that may keep so many commands for long. No signal interrupts these threads: the generic SCSI
    /// driver would leave the command alone with the device, and the call would begin it anew.
    ///
    /// # Errors
    /// When the system has no room for another thread.
    pub fn of_device(threads: usize) -> std::io::Result<Self> {
        let (queue, jobs) = bounded(QUEUE);
        for n in 0..threads {
            let jobs = jobs.clone();
            let life = move || {
                crate::sys::block_signals();
                work(&jobs);
            };
            thread::Builder::new().name(format!("device-{n}")).spawn(life)?;
        }
        Ok(Self { saving: queue.clone(), queue })
    }

    /// Hands a job over, or gives it back when too many are waiting.
    pub fn submit(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.queue.try_send(job).map_err(TrySendError::into_inner)
    }

    /// Likewise a job that saves state: it waits for others of its kind only.
    pub fn submit_saving(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.saving.try_send(job).map_err(TrySendError::into_inner)
    }
}

#[cfg(test)]
impl BlockingPool {
    /// A pool without threads, for the simulation: its jobs are done when [`Jobs::run_one`] says so.
    pub(crate) fn by_hand() -> (Self, Jobs) {
        let (queue, jobs) = bounded(QUEUE);
        (Self { saving: queue.clone(), queue }, Jobs(jobs))
    }
}

/// What waits for a pool without threads.
#[cfg(test)]
pub(crate) struct Jobs(Receiver<BlockingJob>);

#[cfg(test)]
impl Jobs {
    /// Does the job that waits longest; false when none does.
    pub(crate) fn run_one(&self) -> bool {
        self.0.try_recv().map(BlockingJob::run).is_ok()
    }
}

/// A worker's life: until every handle of the pool is gone.
fn work(jobs: &Receiver<BlockingJob>) {
    // Every command that waits for it would wait for ever.
    let _bomb = crate::sys::AbortOnUnwind;
    for job in jobs {
        job.run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_answered_once() {
        let pool = BlockingPool::start().unwrap();
        let (tell, told) = crossbeam_channel::unbounded();
        for n in 0..100 {
            let tell = tell.clone();
            pool.submit(BlockingJob::new(move || n, move |n| tell.send(n).unwrap())).unwrap();
        }
        drop((tell, pool));
        let mut results: Vec<i32> = told.iter().collect();
        results.sort_unstable();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_disk_that_hangs_does_not_hold_up_saving() {
        let pool = BlockingPool::start().unwrap();
        let (release, gate) = bounded::<()>(0);
        for _ in 0..THREADS + 1 {
            let gate = gate.clone();
            pool.submit(BlockingJob::new(move || i32::from(gate.recv().is_ok()), drop)).unwrap();
        }
        let (tell, told) = bounded(1);
        pool.submit_saving(BlockingJob::new(|| 7, move |n| tell.send(n).unwrap())).unwrap();
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(20)), Ok(7));
        drop(release);
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = BlockingPool::start().unwrap();
        let (release, gate) = bounded::<()>(0);
        let waiting = || {
            let gate = gate.clone();
            BlockingJob::new(move || i32::from(gate.recv().is_ok()), drop)
        };
        let accepted = (0..QUEUE + THREADS + 1).take_while(|_| pool.submit(waiting()).is_ok()).count();
        assert!((QUEUE..=QUEUE + THREADS).contains(&accepted));
        drop(release);
    }
}

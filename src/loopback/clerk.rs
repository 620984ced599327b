//! Commands of the kernel that wait there for others, and cannot be called back.
//!
//! Owns: the thread of each such command, which has what the kernel works on until it is done. Promises: there is one at a
//! time, so that a kernel that is stuck has one of ours and no more; nobody waits longer than he wants, and what comes of
//! a command later than that is dropped, as if it had never been. Refuses to know: which commands.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::sys::AbortOnUnwind;

/// See the module page.
pub(super) struct Clerk {
    /// Something is here while no command is under way.
    free: Receiver<()>,
    freed: Sender<()>,
}

/// The right to have a command done. It goes back when it is dropped.
struct Turn(Sender<()>);

impl Drop for Turn {
    fn drop(&mut self) {
        // There is room: who holds it has taken the only one.
        let _ = self.0.send(());
    }
}

impl Clerk {
    pub(super) fn new() -> Self {
        let (freed, free) = bounded(1);
        drop(Turn(freed.clone()));
        Self { free, freed }
    }

    /// Has `work` done, when the one before is.
    ///
    /// # Errors
    /// Its own; or that it takes longer: then it is never begun, or goes on alone.
    pub(super) fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let deadline = Instant::now() + limit;
        self.free.recv_deadline(deadline).map_err(|_| busy())?;
        let turn = Turn(self.freed.clone());
        let (tell, told) = bounded(1);
        let life = move || {
            // Nobody would ever have his turn again.
            let _bomb = AbortOnUnwind;
            let done = work();
            drop(turn);
            drop(tell.send(done));
        };
        thread::Builder::new().name("ublk".into()).spawn(life)?;
        told.recv_deadline(deadline).unwrap_or_else(|_| Err(busy()))
    }
}

fn busy() -> io::Error {
    let what = "the kernel's ublk does not answer: it waits for another device, whose store may hang; try again when that \
                answers";
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Tells when it is dropped.
    struct Tells(Sender<()>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }

    #[test]
    fn a_command_that_hangs_keeps_nobody_and_what_comes_of_it_goes() {
        let (clerk, (release, gate), (tell, dropped)) = (Clerk::new(), bounded(0), bounded(1));
        let made = Tells(tell);
        let hangs = move || {
            gate.recv().unwrap();
            Ok(made)
        };
        let error = clerk.within(Duration::from_millis(10), hangs).err().expect("it is late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = clerk.within(Duration::from_millis(10), || -> io::Result<()> { unreachable!() });
        assert!(error.unwrap_err().to_string().contains("another device"), "one is stuck, not two");
        assert!(dropped.is_empty(), "the kernel has it");
        release.send(()).unwrap();
        dropped.recv_timeout(SOON).unwrap();
        assert_eq!(clerk.within(SOON, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn an_error_is_that_of_the_command() {
        let clerk = Clerk::new();
        let failed =
            |()| clerk.within(SOON, || Err::<(), _>(io::ErrorKind::AlreadyExists.into())).unwrap_err();
        assert_eq!([(), ()].map(failed).map(|error| error.kind()), [io::ErrorKind::AlreadyExists; 2]);
    }
}

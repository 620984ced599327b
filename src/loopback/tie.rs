//! The way of a device to its target.
//!
//! Owns: the connection that was made last. Promises: when it is cut, whoever waits at that connection hears so at once, and
//! there is no other: what has the name of its target later is never reached by a device of before, which could write there
//! what was meant for another store. Whoever is to cut it can tell whether anything comes of it. Refuses to know: sessions, and
//! why it is cut.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Connect;

/// See the module page.
#[derive(Clone)]
pub struct Tie {
    connect: Connect,
    way: Arc<Way>,
}

#[derive(Debug, Default)]
struct Way {
    last: Mutex<Option<UnixStream>>,
    /// It becomes so while `last` is locked.
    is_cut: AtomicBool,
    /// When a request was answered last, nanoseconds of the monotonic clock.
    answered: AtomicU64,
}

impl fmt::Debug for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tie").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Tie {
    /// One that has no connection yet.
    pub fn new(connect: Connect) -> Self {
        Self { connect, way: Arc::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.way.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another connection, in the place of the one before.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let mut last = self.last();
        if self.is_cut() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "it is none of the local disks any more",
            ));
        }
        let stream = (self.connect)()?;
        *last = Some(stream.try_clone()?);
        Ok(stream)
    }

    /// From here on there is none.
    pub fn cut(&self) {
        let mut last = self.last();
        self.way.is_cut.store(true, Ordering::Release);
        if let Some(last) = last.take() {
            // One that has ended is as good.
            let _ = last.shutdown(Shutdown::Both);
        }
    }

    /// A request is answered at that time, nanoseconds of the monotonic clock.
    pub fn answer(&self, now: u64) {
        self.way.answered.store(now, Ordering::Relaxed);
    }

    /// When that was last.
    pub fn answered(&self) -> u64 {
        self.way.answered.load(Ordering::Relaxed)
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        self.way.is_cut.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_hears_that_it_is_cut_and_there_is_no_other() {
        let targets = Arc::new(Mutex::new(Vec::new()));
        let met = targets.clone();
        let tie = Tie::new(Arc::new(move || {
            let (ours, theirs) = UnixStream::pair()?;
            met.lock().unwrap().push(theirs);
            Ok(ours)
        }));
        let mut stream = tie.connect().unwrap();
        let waits = thread::spawn(move || stream.read(&mut [0]).unwrap());
        assert!(!tie.is_cut());
        tie.cut();
        assert_eq!(waits.join().unwrap(), 0);
        assert!(tie.is_cut() && tie.connect().is_err());
        assert_eq!(targets.lock().unwrap().len(), 1, "nobody has asked a second time");
    }
}

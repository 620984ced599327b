//! No wake-up is lost, in whatever order the steps of senders and the reactor happen, and whatever the processor and
//! the compiler make of them: loom tries all.

/// The daemon's own code, on loom's atomics.
#[allow(dead_code)]
#[path = "../src/ring/bell/flags.rs"]
mod flags;

/// What the flags are made of.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use flags::Flags;

struct Reactor {
    flags: Flags,
    /// Messages in the mailbox, as weakly ordered as can be.
    mailbox: AtomicUsize,
    /// The count of the eventfd. The kernel orders that.
    event: AtomicUsize,
}

impl Reactor {
    fn send(&self) {
        self.mailbox.fetch_add(1, Ordering::Relaxed);
        if self.flags.ring() {
            self.event.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn read_mail(&self) -> usize {
        if self.flags.answer() { self.mailbox.swap(0, Ordering::Relaxed) } else { 0 }
    }

    /// Turns until it may sleep; how many messages it has read.
    fn run(&self) -> usize {
        let mut read = 0;
        loop {
            read += self.read_mail();
            if self.flags.park() {
                return read;
            }
        }
    }
}

fn nobody_sleeps_on(senders: usize, preemptions: Option<usize>) {
    let mut model = Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let reactor = Arc::new(Reactor {
            flags: Flags::new(),
            mailbox: AtomicUsize::new(0),
            event: AtomicUsize::new(0),
        });
        let sending: Vec<_> = (0..senders)
            .map(|_| {
                let reactor = reactor.clone();
                thread::spawn(move || reactor.send())
            })
            .collect();
        let mut read = reactor.run();
        sending.into_iter().for_each(|t| t.join().expect("a sender"));
        // All have sent. It sleeps, unless the eventfd has been written.
        if reactor.event.load(Ordering::SeqCst) > 0 {
            reactor.flags.unpark();
            read += reactor.read_mail();
        }
        assert_eq!(read, senders, "it sleeps, and a message lies in its mailbox");
    });
}

#[test]
fn a_message_is_read_before_the_reactor_sleeps_or_wakes_it() {
    nobody_sleeps_on(1, None);
}

#[test]
fn of_two_senders_at_least_one_wakes() {
    // All orders would take hours: those in which a thread is interrupted at most so many times.
    nobody_sleeps_on(2, Some(3));
}

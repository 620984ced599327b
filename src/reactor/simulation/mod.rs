//! Whole reactors in a simulated world: what several cores, late mail, slow disks and rude initiators can do to
//! the promises of this crate.
//!
//! One to four reactors share one [`sim::World`](crate::ring::sim::World). They are turned one after the other in
//! random order, letters between them take their time, and initiators of [`client`] send what they like. A run
//! is decided by its seed, which a failing test prints. `RINGTGT_SEEDS=n` runs every test with n seeds,
//! `RINGTGT_SEED=s` with that one.
//!
//! | file | promise |
//! |---|---|
//! | `accesses` | after a port is put into standby no core takes writes through it, and nothing comes late |
//! | `changes` | a change holds everywhere before it is answered: nothing that was answered is lost by it |
//! | `crowds` | thousands of requests may wait for thousands of fences, and nothing of it stays |
//! | `data` | one disk for all sessions: every block is linearizable, from any core |
//! | `enclosures` | what a client does in a range of its own is one step to all others |
//! | `copies` | a third-party copy moves what is there, and writes nothing once its end was answered |
//! | `entries` | more connections than the ring has room for: those that get in are served like any others |
//! | `erasures` | what was written before a sanitize or format operation is gone after it, and only its end ends it |
//! | `fences` | what was aborted never overwrites what was written afterwards |
//! | `hangs` | a disk that never finishes holds up no function, login, PREEMPT or stop |
//! | `lives` | what comes and goes under way touches those alone who see it, and nothing of it stays |
//! | `memory` | a write that was refused, aborted, or came spoilt has not changed a ramdisk |
//! | `meters` | each command is counted once, and all of its time |
//! | `passing` | a device that is passed through is heard as it speaks, and is asked in order |
//! | `resizing` | a new capacity is the same on every core, and told once |
//! | `reservations` | after PREEMPT no core takes the loser's writes; what a nexus held goes with it |
//! | `pressure` | too few slots and bad peers: the others go on |
//! | `quotas` | all cores together let through what is allowed; who waits for that is in nobody's way |
//! | `fairness` | whoever holds what others wait for must use it |
//! | `shares` | a turn moves so much of long transfers and no more; what is short goes in its turn |
//! | `uncopied` | what the network still reads is left alone, and comes back however its connection ends |
//! | `faults` | disks that fail, connections that break, power that goes, a daemon that stops |
//!
//! At the end of every run everything is at rest: no operation in flight, no slot taken, no gate shut.

// Loops by the number of a client, which names it in several tables at once.
#![allow(clippy::needless_range_loop)]

mod accesses;
mod changes;
mod client;
mod clones;
mod copies;
mod crowds;
mod data;
mod enclosures;
mod entries;
mod erasures;
mod fairness;
mod faults;
mod fences;
mod greed;
mod hangs;
mod history;
mod lives;
mod load;
mod memory;
mod meters;
mod passing;
mod post;
mod pressure;
mod quotas;
mod reservations;
mod resizing;
mod rig;
mod shares;
mod swaps;
mod uncopied;

/// Runs `test` with `usual` seeds, or as many as the environment says.
fn seeds(usual: u64, test: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("RINGTGT_SEED") {
        return test(seed);
    }
    // A panic says the seed: the world prints it when it goes.
    (0..number("RINGTGT_SEEDS").unwrap_or(usual)).for_each(test);
}

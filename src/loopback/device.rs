//! A local disk from its number to its end.
//!
//! Owns: the order of what the kernel is told. Promises: no device keeps another from being made; a number that was reserved
//! is free again if nothing comes of it; a disk that somebody has for himself (a mounted file system, a swap area, a device
//! made of it) is not taken away; what was written has been answered when a disk has ended. Refuses to know: requests.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{LazyLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::clerk::Clerk;
use super::link::explore;
use super::server::{Seed, Server};
use super::{DEPTH, MAX_IO, PATIENCE, Tie};
use crate::ring::ublk::{Made, Requests, Ublk, wait_for_node};
use crate::sys;

/// How long the kernel may take to make a device, or to say what it has: unless it waits for another device, that is nothing.
const MAKE: Duration = Duration::from_secs(5);

/// What waits in the kernel for other devices, when it is not to keep us.
static CLERK: LazyLock<Clerk> = LazyLock::new(Clerk::new);

/// How long a number that was reserved may take to be free again.
const DELETE: Duration = Duration::from_secs(5);

/// How long the sweep waits for one of those: the number goes as well when nobody waits. Others that are to be made wait
/// meanwhile.
const SWEEP: Duration = Duration::from_millis(100);

/// A device of which there is only the number.
#[derive(Debug)]
pub struct Reserved {
    made: Option<Made>,
    /// Its character device, open: so nobody takes it for one that was left.
    device: Option<File>,
}

/// A device that can be used.
#[derive(Debug)]
pub struct Device {
    made: Made,
    server: JoinHandle<()>,
    tie: Tie,
}

/// Nobody else has a device for himself while this is there.
#[derive(Debug)]
pub struct Claim(#[allow(dead_code)] File); // it is closed when it is dropped

impl Reserved {
    /// Has the kernel make a device of that number, or of any that is free.
    ///
    /// # Errors
    /// Where there is no ublk, or it may not be used, or is busy, or the number is taken: what to do.
    pub fn new(number: Option<u32>) -> io::Result<Self> {
        CLERK.within(MAKE, move || {
            let made = Ublk::open()?.add(number, DEPTH, MAX_IO)?;
            let mut reserved = Self { made: Some(made), device: None };
            reserved.device = Some(made.open()?);
            Ok(reserved)
        })
    }

    /// Frees the numbers of devices whose daemon was killed.
    pub fn sweep() {
        let work = || {
            for number in Ublk::open()?.sweep(SWEEP) {
                tracing::info!(number, "a local disk is deleted whose daemon has gone without that");
            }
            Ok(())
        };
        // What there is to be said against it is said when one is made.
        let _ = CLERK.within(MAKE, work);
    }

    /// Shows it as what that target has as LUN 0, which takes as long as the store does that is read meanwhile. `name` is
    /// what the log calls it. `permit` is asked when all is ready, before anybody can see it.
    ///
    /// # Errors
    /// When the target does not answer, has no disk, or the kernel refuses; or there is no permit.
    pub fn start(
        mut self,
        name: &str,
        target: &str,
        tie: &Tie,
        permit: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Device> {
        let (Some(made), Some(device)) = (self.made, self.device.take()) else {
            unreachable!("it has not started yet")
        };
        let disk = explore(tie, target).context("its target")?;
        let mut ublk = Ublk::open()?;
        ublk.set(made, &disk.geometry, MAX_IO).context("the kernel does not take such a disk")?;
        let requests = Requests::of(&device, DEPTH)?;
        let seed = Seed {
            name: name.to_owned(),
            made,
            device,
            requests,
            block_shift: disk.block_shift,
            target: target.to_owned(),
            tie: tie.clone(),
        };
        permit()?;
        let server = serve(seed)?;
        let shown = show(&mut ublk, made);
        if let Err(error) = shown {
            // When the device is deleted the driver has nothing for its server any more, which ends by itself: what the target
            // owes an answer to is waited for by nobody else.
            drop(self);
            return Err(error).context("the kernel does not show the device");
        }
        self.made = None;
        Ok(Device { made, server, tie: tie.clone() })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some(made) = self.made else { return };
        // The kernel waits for whoever has it open.
        self.device = None;
        if let Err(error) = Ublk::open().and_then(|mut ublk| ublk.delete(made, DELETE)) {
            tracing::warn!(number = made.number, %error, "a local disk that was begun is left");
        }
    }
}

/// Has the kernel show a device that is served. It reads partitions meanwhile, and takes for none those that it could not
/// read: a device whose requests may have failed then is not to be used.
fn show(ublk: &mut Ublk, made: Made) -> io::Result<()> {
    let began = Instant::now();
    ublk.start(made)?;
    wait_for_node(&made.block_device())?;
    if began.elapsed() >= PATIENCE {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "its store did not answer in time"));
    }
    Ok(())
}

/// A thread that serves; when this returns it is about to wait for requests.
fn serve(seed: Seed) -> anyhow::Result<JoinHandle<()>> {
    let (tell, told) = mpsc::channel();
    let work = move || {
        // A disk whose thread has gone in silence would answer nobody.
        let _bomb = sys::AbortOnUnwind;
        sys::block_signals();
        match Server::new(seed) {
            Ok(server) => {
                let _ = tell.send(Ok(()));
                server.run();
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    };
    let server = thread::Builder::new().name("loopback".into()).spawn(work)?;
    told.recv()??;
    Ok(server)
}

impl Device {
    /// Whether it is served: it may have been deleted by somebody else.
    pub fn is_served(&self) -> bool {
        !self.server.is_finished()
    }

    /// Where it is used.
    pub fn path(&self) -> PathBuf {
        self.made.block_device()
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.made.number
    }

    /// Its way to its target.
    pub fn tie(&self) -> &Tie {
        &self.tie
    }

    /// Has it for oneself.
    ///
    /// # Errors
    /// When somebody else has.
    pub fn claim(&self) -> io::Result<Claim> {
        File::options().read(true).custom_flags(libc::O_EXCL).open(self.path()).map(Claim)
    }

    /// Ends it, when all that was written to it is answered and nobody has it open any more, however long that takes. Then
    /// its number is free.
    ///
    /// # Errors
    /// The kernel's.
    pub fn end(self, claim: Option<Claim>) -> io::Result<()> {
        let mut ublk = Ublk::open()?;
        ublk.stop(self.made)?;
        drop(claim);
        let _ = self.server.join();
        ublk.delete(self.made, Duration::MAX)
    }
}

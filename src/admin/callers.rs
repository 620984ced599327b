//! Programs that connect and ask: how many at a time, and how long they may take to hear the answer.
//!
//! Owns the accept loop, the count of connections, and a deadline for what is written. Promises: each connection is a thread
//! that ends, and of those there are no more than was said. Refuses to know: what is asked, and who may.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing is accepted after that could not be done: whatever is short may be there again.
const CALM: Duration = Duration::from_secs(1);

/// Bytes that are written at once: after each the clock is looked at.
const PIECE: usize = 64 << 10;

/// What those ask who connect.
pub(super) trait Serve: Send + Sync + 'static {
    /// What they come in by.
    type Stream: Send + 'static;

    /// What it is called in the log.
    const WHAT: &'static str;

    /// Connections at a time.
    const MOST: usize;

    /// Whether that one may ask at all. Nothing is said to one that may not.
    fn welcomes(&self, _stream: &Self::Stream) -> bool {
        true
    }

    /// It is one too many, and goes.
    fn turn_away(&self, _stream: &Self::Stream) {}

    /// Talks with it until it has no more to ask; so many were there before it.
    fn converse(&self, stream: &Self::Stream, before: usize) -> io::Result<()>;
}

/// Serves all that come in, on threads of their own.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn attend<S: Serve>(
    serve: S,
    mut next: impl FnMut() -> io::Result<S::Stream> + Send + 'static,
) -> io::Result<()> {
    let (serve, count) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
    let work = move || {
        loop {
            match next() {
                Ok(stream) => admit(stream, &serve, &count),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for {}", S::WHAT);
                    thread::sleep(CALM);
                }
            }
        }
    };
    thread::Builder::new().name(S::WHAT.into()).spawn(work).map(drop)
}

/// One connection fewer, when it is dropped.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit<S: Serve>(stream: S::Stream, serve: &Arc<S>, count: &Arc<AtomicUsize>) {
    if !serve.welcomes(&stream) {
        return;
    }
    let (before, leaves) = (count.fetch_add(1, Ordering::Relaxed), Leaves(count.clone()));
    if before >= S::MOST {
        return serve.turn_away(&stream);
    }
    let serve = serve.clone();
    let spawned = thread::Builder::new().name("request".into()).spawn(move || {
        let _leaves = leaves;
        if let Err(error) = serve.converse(&stream, before) {
            tracing::debug!(%error, "a connection for {} ends", S::WHAT);
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for {}", S::WHAT);
    }
}

/// What can be written to, but not for longer than that.
pub(super) trait Patient {
    /// The limit of the next writes.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Patient for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(patience))
    }
}

impl Patient for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(patience))
    }
}

/// Writes all of it, or fails when that has taken so long: whoever reads a little now and then gets no more time by that.
///
/// # Errors
/// When the time is over or the other side gone.
pub(super) fn tell<S: Patient>(stream: &S, parts: &[&[u8]], within: Duration) -> io::Result<()>
where
    for<'a> &'a S: Write,
{
    let deadline = Instant::now() + within;
    parts.iter().flat_map(|part| part.chunks(PIECE)).try_for_each(|piece| tell_piece(stream, piece, deadline))
}

fn tell_piece<S: Patient>(mut stream: &S, mut piece: &[u8], deadline: Instant) -> io::Result<()>
where
    for<'a> &'a S: Write,
{
    while !piece.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_patience(left)?;
        match stream.write(piece) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => piece = &piece[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn who_reads_a_little_now_and_then_gets_no_more_time() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || {
            let mut some = vec![0; 32 << 10];
            while theirs.read(&mut some).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        let told = tell(&ours, &[b"head", &vec![7; 64 << 20]], Duration::from_millis(500));
        assert!(told.is_err() && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(ours);
        reader.join().unwrap();
    }

    /// Holds everybody until it is told to let them go.
    struct Hold(crossbeam_channel::Receiver<()>, crossbeam_channel::Sender<&'static str>);

    impl Serve for Hold {
        type Stream = u8;
        const WHAT: &'static str = "a test";
        const MOST: usize = 2;

        fn welcomes(&self, stream: &u8) -> bool {
            *stream != 9
        }

        fn turn_away(&self, _stream: &u8) {
            self.1.send("away").unwrap();
        }

        fn converse(&self, _stream: &u8, before: usize) -> io::Result<()> {
            self.1.send(["first", "second"][before]).unwrap();
            self.0.recv().map_err(io::Error::other)
        }
    }

    #[test]
    fn there_are_no_more_than_was_said_and_places_come_back() {
        let ((come, coming), (go, going), (say, said)) =
            (crossbeam_channel::unbounded(), crossbeam_channel::unbounded(), crossbeam_channel::unbounded());
        attend(Hold(going, say), move || coming.recv().map_err(io::Error::other)).unwrap();
        let heard = || said.recv_timeout(Duration::from_secs(30)).unwrap();
        come.send(1).unwrap();
        assert_eq!(heard(), "first");
        come.send(1).unwrap();
        assert_eq!(heard(), "second");
        // One that may not ask takes no place; one too many is told so.
        come.send(9).unwrap();
        come.send(1).unwrap();
        assert_eq!(heard(), "away");
        go.send(()).unwrap();
        go.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            come.send(1).unwrap();
            match heard() {
                "away" if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                word => return assert_ne!(word, "away"),
            }
        }
    }
}

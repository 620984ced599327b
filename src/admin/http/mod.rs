//! What can be looked at with a browser or by Prometheus: `/metrics`, `/healthz`, and a page with the live view.
//!
//! A few lines of HTTP/1.0 instead of a server: GET and HEAD, one request a connection, nothing of it changes anything. Only
//! what is in `PAGES` is there. Who may ask is decided by the address (`server.metrics`): there is no password, so that
//! it belongs on the loopback address or into a network of those who watch. Bounds: `MOST_CONNECTIONS` at a time, a head of
//! `MOST_HEAD` bytes, `PATIENCE` for all of it; and the reactors are asked at most every `FRESH`.

pub mod metrics;
mod page;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::metrics::Format;
use super::live::Live;
use super::stats::Stats;

/// Connections at a time: each is a thread for as long as it takes.
const MOST_CONNECTIONS: usize = 16;

/// Bytes of a request: who sends more is no browser.
const MOST_HEAD: usize = 8 << 10;

/// How long a connection may take for its request, and again for reading the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How old a picture may be that is told again.
const FRESH: Duration = Duration::from_millis(200);

/// What there is.
const PAGES: &str = "there are /, /metrics, /healthz and /stats.json\n";

/// What is asked of the daemon.
struct Source {
    live: Arc<Live>,
    last: Mutex<Option<(Instant, Arc<Stats>)>>,
    health: Mutex<Option<(Instant, bool)>>,
}

impl Source {
    fn stats(&self) -> Arc<Stats> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, stats)) = last.as_ref()
            && when.elapsed() < FRESH
        {
            return stats.clone();
        }
        let stats = Arc::new(Stats::of(&self.live));
        *last = Some((Instant::now(), stats.clone()));
        stats
    }

    /// Whether all reactors answer.
    fn is_alive(&self) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let told = health.filter(|(when, _)| when.elapsed() < FRESH).map(|(_, alive)| alive);
        let alive = told.unwrap_or_else(|| self.live.control().is_alive());
        if told.is_none() {
            *health = Some((Instant::now(), alive));
        }
        alive
    }
}

/// Listens at `address` from now on; where that is.
///
/// # Errors
/// When the address cannot be had.
pub(super) fn serve(address: SocketAddr, live: Arc<Live>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    let (source, count) = (
        Arc::new(Source { live, last: Mutex::default(), health: Mutex::default() }),
        Arc::new(AtomicUsize::new(0)),
    );
    thread::Builder::new().name("http".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => admit(stream, &source, &count),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the address for metrics");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    })?;
    Ok(bound)
}

/// One connection fewer, when it is dropped.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(stream: TcpStream, source: &Arc<Source>, count: &Arc<AtomicUsize>) {
    let leaves = Leaves(count.clone());
    // Nothing is said to one too many: whoever waits for answers would keep others from theirs.
    if count.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
        return;
    }
    let source = source.clone();
    let spawned = thread::Builder::new().name("page".into()).spawn(move || {
        let _leaves = leaves;
        if let Err(error) = converse(&stream, &source) {
            tracing::debug!(%error, "a connection for metrics ends");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for metrics");
    }
}

fn converse(mut stream: &TcpStream, source: &Source) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let answer = match read_head(stream)? {
        Some(head) => answer(&head, |page| page.made_of(source)),
        None => Answer::plain(431, format!("a request has at most {MOST_HEAD} bytes\n")).whole(true),
    };
    let deadline = Instant::now() + PATIENCE;
    for part in answer.chunks(64 << 10) {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.write_all(part)?;
    }
    Ok(())
}

/// The head of a request; nothing, if it is too long.
fn read_head(mut stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut head, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let mut some = [0; 1024];
    while !is_whole(&head) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&some[..count]);
        if head.len() > MOST_HEAD {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

/// An empty line ends it; some send no carriage returns.
fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|w| w == b"\r\n\r\n") || head.windows(2).any(|w| w == b"\n\n")
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Metrics(Format),
    Health,
    Live,
    Stats,
}

impl Page {
    fn made_of(self, source: &Source) -> Answer {
        match self {
            Self::Metrics(format) => Answer {
                status: 200,
                kind: format.content_type(),
                body: metrics::render(&source.stats(), format),
            },
            Self::Health if source.is_alive() => Answer::plain(200, "ok\n".into()),
            Self::Health => Answer::plain(503, "a reactor does not answer\n".into()),
            Self::Live => Answer { status: 200, kind: "text/html; charset=utf-8", body: page::HTML.into() },
            Self::Stats => {
                let body = source.stats().to_json(true).to_string();
                Answer { status: 200, kind: "application/json", body }
            }
        }
    }
}

/// What is answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: u16, body: String) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body }
    }

    fn whole(&self, with_body: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let Self { status, kind, body } = self;
        let len = body.len();
        // The page has its script and style in itself, and asks nobody but us.
        let mut out = format!(
            "HTTP/1.0 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes();
        if with_body {
            out.extend_from_slice(body.as_bytes());
        }
        out
    }
}

/// The answer to a request, whole.
fn answer(head: &[u8], make: impl FnOnce(Page) -> Answer) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, version] = words.as_slice() else {
        return Answer::plain(400, "this is no HTTP request\n".into()).whole(true);
    };
    if !version.starts_with("HTTP/1.") {
        return Answer::plain(400, "HTTP/1.0 and 1.1 are spoken here\n".into()).whole(true);
    }
    if !["GET", "HEAD"].contains(&method) {
        return Answer::plain(405, "GET and HEAD are answered\n".into()).whole(true);
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let page = match path {
        "/" => Some(Page::Live),
        "/metrics" => Some(Page::Metrics(Format::of(accepted(lines)))),
        "/healthz" => Some(Page::Health),
        "/stats.json" => Some(Page::Stats),
        _ => None,
    };
    page.map_or_else(|| Answer::plain(404, PAGES.into()), make).whole(method == "GET")
}

/// What the header says that whoever asks can read.
fn accepted<'a>(mut lines: impl Iterator<Item = &'a str>) -> &'a str {
    let header = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("accept").then_some(value)
    });
    header.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(request: &str) -> String {
        let made = |page| Answer::plain(200, format!("{page:?}"));
        String::from_utf8(answer(request.as_bytes(), made)).unwrap()
    }

    #[test]
    fn pages_are_found_and_nothing_else() {
        assert!(ask("GET / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nLive"));
        assert!(ask("GET /healthz?x=y HTTP/1.0\n\n").ends_with("Health"));
        assert!(ask("GET /metrics HTTP/1.1\r\n\r\n").ends_with("Metrics(Text)"));
        let open =
            "GET /metrics HTTP/1.1\r\nHost: a\r\nACCEPT: application/openmetrics-text;version=1.0.0\r\n\r\n";
        assert!(ask(open).ends_with("Metrics(Open)"));
        let head = ask("HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.0 200 OK\r\n") && head.ends_with("Content-Length: 13\r\n").eq(&false)
        );
        assert!(head.ends_with("\r\n\r\n") && head.contains("Content-Length: 13\r\n"));
        for (request, status) in [
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", 404),
            ("GET /../metrics HTTP/1.1\r\n\r\n", 404),
            ("POST /metrics HTTP/1.1\r\n\r\n", 405),
            ("GET /metrics SPDY/3\r\n\r\n", 400),
            ("GET  /metrics HTTP/1.1\r\n\r\n", 400),
            ("\r\n\r\n", 400),
        ] {
            assert!(ask(request).starts_with(&format!("HTTP/1.0 {status} ")), "{request}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_answered_by_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let made = |_| Answer::plain(200, "found".into());
            let out = answer(&bytes, made);
            let refused = ["HTTP/1.0 400 ", "HTTP/1.0 404 ", "HTTP/1.0 405 "];
            prop_assert!(refused.iter().any(|status| out.starts_with(status.as_bytes())));
        }

        #[test]
        fn what_stands_behind_the_path_changes_nothing(more in "[ -~\r\n]{0,300}") {
            let out = answer(format!("GET /metrics HTTP/1.1\r\n{more}").as_bytes(), |_| Answer::plain(200, "found".into()));
            prop_assert!(out.starts_with(b"HTTP/1.0 200 OK\r\n") && out.ends_with(b"\r\n\r\nfound"));
        }
    }
}

//! What can be looked at with a browser or by Prometheus: `/metrics`, `/healthz`, and a page with the live view.
//!
//! A few lines of HTTP/1.0 instead of a server: GET and HEAD, one request a connection, nothing of it changes anything. Only
//! what is in `PAGES` is there. Who may ask is decided by the address (`server.metrics`): there is no password, so that
//! it belongs on the loopback address or into a network of those who watch. Bounds: `MOST_CONNECTIONS` at a time, and a
//! `RESERVE` for those who ask whether it is alive; a head of `MOST_HEAD` bytes, `PATIENCE` for all of it and `TO_READ` for
//! all of the answer; and one picture for all who look (see `lookout`).

pub mod metrics;
mod page;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::metrics::Format;
use super::callers::{self, Serve};
use super::lookout::{Lookout, Text};

/// Connections at a time that may ask for anything: each is a thread for as long as it takes.
const MOST_CONNECTIONS: usize = 16;

/// And so many more that may only ask for `/healthz`, so that those who take long keep nobody from asking that.
const RESERVE: usize = 4;

/// Bytes of a request: who sends more is no browser.
const MOST_HEAD: usize = 8 << 10;

/// How long a connection may take for its request; in the reserve.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_IN_RESERVE: Duration = Duration::from_secs(1);

/// How long it may take for reading the answer, all of it.
const TO_READ: Duration = Duration::from_secs(10);

/// What there is.
const PAGES: &str = "there are /, /metrics, /healthz and /stats.json\n";

/// Listens at `address` from now on; where that is.
///
/// # Errors
/// When the address cannot be had.
pub(super) fn serve(address: SocketAddr, lookout: Arc<Lookout>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    callers::attend(Pages(lookout), move || listener.accept().map(|(stream, _)| stream))?;
    Ok(bound)
}

struct Pages(Arc<Lookout>);

/// Nothing is said to one too many: whoever waits for answers would keep others from theirs.
impl Serve for Pages {
    type Stream = TcpStream;
    const WHAT: &'static str = "metrics";
    const MOST: usize = MOST_CONNECTIONS + RESERVE;

    fn converse(&self, stream: &TcpStream, before: usize) -> io::Result<()> {
        let in_reserve = before >= MOST_CONNECTIONS;
        let patience = if in_reserve { PATIENCE_IN_RESERVE } else { PATIENCE };
        let answer = match read_head(stream, patience)? {
            Some(head) => answer(&head, |page| page.made_of(&self.0, in_reserve)),
            None => Answer::plain(431, format!("a request has at most {MOST_HEAD} bytes\n")).whole(),
        };
        callers::tell(stream, &[&answer.head, answer.body()], TO_READ)
    }
}

/// The head of a request; nothing, if it is too long.
fn read_head(mut stream: &TcpStream, patience: Duration) -> io::Result<Option<Vec<u8>>> {
    let (mut head, deadline) = (Vec::new(), Instant::now() + patience);
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
    /// In the reserve there is nothing but what is soon said.
    fn made_of(self, lookout: &Lookout, in_reserve: bool) -> Answer {
        match self {
            Self::Health if lookout.is_alive() => Answer::plain(200, "ok\n".into()),
            Self::Health => Answer::plain(503, "a reactor does not answer\n".into()),
            _ if in_reserve => Answer::plain(503, "too many ask at the same time; try again\n".into()),
            Self::Live => Answer::new("text/html; charset=utf-8", Arc::new(page::HTML.into())),
            Self::Metrics(format) => Self::written(lookout, Text::Metrics(format), format.content_type()),
            Self::Stats => Self::written(lookout, Text::Whole, "application/json"),
        }
    }

    fn written(lookout: &Lookout, text: Text, kind: &'static str) -> Answer {
        match lookout.picture() {
            Ok(picture) => Answer::new(kind, picture.text(text)),
            Err(late) => Answer::plain(503, format!("{late}\n")),
        }
    }
}

/// What is answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    kind: &'static str,
    body: Arc<String>,
}

/// As it is sent: many may have the same body.
#[derive(Debug)]
struct Whole {
    head: Vec<u8>,
    body: Option<Arc<String>>,
}

impl Whole {
    fn body(&self) -> &[u8] {
        self.body.as_deref().map_or(&[], |body| body.as_bytes())
    }
}

impl Answer {
    fn new(kind: &'static str, body: Arc<String>) -> Self {
        Self { status: 200, kind, body }
    }

    fn plain(status: u16, body: String) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }

    fn whole(self) -> Whole {
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
        let head = format!(
            "HTTP/1.0 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'\r\n\
             Connection: close\r\n\r\n"
        );
        Whole { head: head.into_bytes(), body: Some(body) }
    }
}

/// The answer to a request, whole.
fn answer(head: &[u8], make: impl FnOnce(Page) -> Answer) -> Whole {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, version] = words.as_slice() else {
        return Answer::plain(400, "this is no HTTP request\n".into()).whole();
    };
    if !version.starts_with("HTTP/1.") {
        return Answer::plain(400, "HTTP/1.0 and 1.1 are spoken here\n".into()).whole();
    }
    if !["GET", "HEAD"].contains(&method) {
        return Answer::plain(405, "GET and HEAD are answered\n".into()).whole();
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let page = match path {
        "/" => Some(Page::Live),
        "/metrics" => Some(Page::Metrics(Format::of(accepted(lines)))),
        "/healthz" => Some(Page::Health),
        "/stats.json" => Some(Page::Stats),
        _ => None,
    };
    let answer = page.map_or_else(|| Answer::plain(404, PAGES.into()), make).whole();
    Whole { body: answer.body.filter(|_| method == "GET"), ..answer }
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

    fn sent(answer: &Whole) -> Vec<u8> {
        [&answer.head, answer.body()].concat()
    }

    fn ask(request: &str) -> String {
        let made = |page| Answer::plain(200, format!("{page:?}"));
        String::from_utf8(sent(&answer(request.as_bytes(), made))).unwrap()
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
            let out = sent(&answer(&bytes, made));
            let refused = ["HTTP/1.0 400 ", "HTTP/1.0 404 ", "HTTP/1.0 405 "];
            prop_assert!(refused.iter().any(|status| out.starts_with(status.as_bytes())));
        }

        #[test]
        fn what_stands_behind_the_path_changes_nothing(more in "[ -~\r\n]{0,300}") {
            let request = format!("GET /metrics HTTP/1.1\r\n{more}");
            let out = sent(&answer(request.as_bytes(), |_| Answer::plain(200, "found".into())));
            prop_assert!(out.starts_with(b"HTTP/1.0 200 OK\r\n") && out.ends_with(b"\r\n\r\nfound"));
        }
    }
}

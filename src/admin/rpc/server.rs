//! The listening side: who may ask, how much, and for how long.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::methods::{self, Told};
use super::{BUSY, Fault, INVALID_REQUEST, MOST_REQUEST, PARSE_ERROR};
use crate::admin::callers::{self, Serve};
use crate::admin::lookout::Lookout;
use crate::sys;

/// The name of the socket in a directory of state.
pub(in crate::admin) const SOCKET: &str = "control.sock";

/// Connections at a time. Each is a thread, and its request may be as long as a configuration.
const MOST_CONNECTIONS: usize = 16;

/// Requests of a batch: the answers to all of them are in memory together.
const MOST_BATCH: usize = 100;

/// How long a connection may say nothing, or take for a part of a request, or for reading an answer, all of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket that goes with the daemon.
#[derive(Debug)]
pub(in crate::admin) struct ControlSocket {
    path: PathBuf,
    inode: u64,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Another daemon may have put its own in the place of it.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path` from now on.
///
/// # Errors
/// When another daemon does, or the socket cannot be made.
pub(in crate::admin) fn serve(path: &Path, lookout: Arc<Lookout>) -> anyhow::Result<ControlSocket> {
    let listener = listen(path).with_context(|| format!("{}: cannot be listened at", path.display()))?;
    let inode = fs::symlink_metadata(path)?.ino();
    callers::attend(Desk(lookout), move || listener.accept().map(|(stream, _)| stream))?;
    Ok(ControlSocket { path: path.into(), inode })
}

/// A socket that nobody else could ever connect to: it gets its name when its mode is right.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another ringtgt listens there; name another with server.control_socket or --control-socket",
        ));
    }
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.file_type().is_socket()) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "what is there is no socket, and is not replaced; move it away, or name another place with \
             server.control_socket or --control-socket",
        ));
    }
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let unnamed = dir.join(format!(".{}.{SOCKET}", std::process::id()));
    // What is there is of a process that is gone.
    let _ = fs::remove_file(&unnamed);
    let listener = UnixListener::bind(&unnamed)?;
    let named = fs::set_permissions(&unnamed, Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&unnamed, path));
    if named.is_err() {
        let _ = fs::remove_file(&unnamed);
    }
    named.map(|()| listener)
}

/// Where those come who may ask.
struct Desk(Arc<Lookout>);

impl Serve for Desk {
    type Stream = UnixStream;
    const WHAT: &'static str = "control";
    const MOST: usize = MOST_CONNECTIONS;

    fn welcomes(&self, stream: &UnixStream) -> bool {
        match peer(stream) {
            Ok(Caller { uid, .. }) if uid == 0 || uid == sys::effective_uid() => {
                stream.set_read_timeout(Some(PATIENCE)).is_ok()
            }
            Ok(Caller { uid, pid }) => {
                tracing::warn!(uid, pid, "somebody else wanted to use the control socket");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "who uses the control socket cannot be known");
                false
            }
        }
    }

    fn turn_away(&self, stream: &UnixStream) {
        let busy = Fault::new(BUSY, format!("there are {MOST_CONNECTIONS} connections already; try again"));
        let _ = tell(stream, &answer(&Value::Null, Err(busy)));
    }

    fn converse(&self, stream: &UnixStream, _before: usize) -> io::Result<()> {
        converse(stream, peer(stream)?, &self.0)
    }
}

/// Who is at the other end: what is done for him is logged with that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) pid: u32,
}

fn peer(stream: &UnixStream) -> io::Result<Caller> {
    // struct ucred: process, user, group.
    let mut credentials = [0; 12];
    sys::option(stream.as_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, &mut credentials)?;
    let [pid, uid, _] = credentials.as_chunks::<4>().0 else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(Caller { uid: u32::from_ne_bytes(*uid), pid: u32::from_ne_bytes(*pid) })
}

fn converse(stream: &UnixStream, caller: Caller, lookout: &Lookout) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        // Secrets may stand in it.
        let mut line = zeroize::Zeroizing::new(Vec::new());
        let len = (&mut reader).take(MOST_REQUEST).read_until(b'\n', &mut line)?;
        if len == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let what = format!("a request is one line of at most {} MiB", MOST_REQUEST >> 20);
            return tell(stream, &answer(&Value::Null, Err(Fault::new(INVALID_REQUEST, what))));
        }
        tell(stream, &heed(&line, caller, lookout))?;
    }
}

/// What a line comes to; nothing, when there are only notifications in it.
fn heed(line: &[u8], caller: Caller, lookout: &Lookout) -> Answer {
    match serde_json::from_slice(line) {
        Ok(Value::Array(requests)) if (1..=MOST_BATCH).contains(&requests.len()) => {
            batch(requests, caller, lookout)
        }
        Ok(Value::Array(_)) => {
            let what = format!("a batch is 1 to {MOST_BATCH} requests");
            answer(&Value::Null, Err(Fault::new(INVALID_REQUEST, what)))
        }
        Ok(request) => heed_one(request, caller, lookout).unwrap_or_default(),
        Err(error) => answer(&Value::Null, Err(Fault::new(PARSE_ERROR, error.to_string()))),
    }
}

/// Several requests, one after the other; their answers are together.
fn batch(requests: Vec<Value>, caller: Caller, lookout: &Lookout) -> Answer {
    let answers: Vec<Answer> =
        requests.into_iter().filter_map(|request| heed_one(request, caller, lookout)).collect();
    if answers.is_empty() {
        return Answer::new();
    }
    let piece = |text: &str| vec![Piece::Own(text.to_owned())];
    let between =
        answers.into_iter().enumerate().flat_map(|(n, a)| [piece(if n == 0 { "[" } else { "," }), a]);
    between.chain([piece("]")]).flatten().collect()
}

/// What a request comes to; nothing, when it is a notification.
fn heed_one(mut request: Value, caller: Caller, lookout: &Lookout) -> Option<Answer> {
    // A text in it is long: it is moved, not copied.
    let params = request.get_mut("params").map_or_else(|| json!({}), Value::take);
    let (id, method) = (request.get("id").cloned(), request.get("method").and_then(Value::as_str));
    let (Some("2.0"), Some(method)) = (request.get("jsonrpc").and_then(Value::as_str), method) else {
        let what = "a request is an object with \"jsonrpc\": \"2.0\", \"id\", \"method\" and \"params\"";
        return Some(answer(&id.unwrap_or(Value::Null), Err(Fault::new(INVALID_REQUEST, what))));
    };
    let result = methods::call(lookout, caller, method, params);
    id.map(|id| answer(&id, result))
}

/// A part of an answer.
enum Piece {
    Own(String),
    /// It is as long as a book, and many may read it.
    Shared(Arc<String>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(text) => text.as_bytes(),
            Self::Shared(text) => text.as_bytes(),
        }
    }
}

/// The parts of a line, but for its end; none: there is no answer.
type Answer = Vec<Piece>;

fn answer(id: &Value, result: Result<Told, Fault>) -> Answer {
    let text = match result {
        Ok(Told::Value(result)) => json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string(),
        Ok(Told::Text(result)) => {
            let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
            return vec![Piece::Own(head), Piece::Shared(result), Piece::Own("}".into())];
        }
        Err(fault) => json!({ "jsonrpc": "2.0", "id": id, "error": fault }).to_string(),
    };
    vec![Piece::Own(text)]
}

fn tell(stream: &UnixStream, answer: &[Piece]) -> io::Result<()> {
    if answer.is_empty() {
        return Ok(());
    }
    let line: Vec<&[u8]> = answer.iter().map(Piece::bytes).chain([&b"\n"[..]]).collect();
    callers::tell(stream, &line, PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, socket) = (dir.path().join("file"), dir.path().join("socket"));
        fs::write(&file, "precious").unwrap();
        let refused = listen(&file).unwrap_err();
        assert!(refused.to_string().contains("is no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        drop(listen(&socket).unwrap());
        listen(&socket).expect("what a process has left that is gone");
    }
}

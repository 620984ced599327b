//! Asking a running daemon.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{API, BUSY, Fault};
use crate::admin::config::ServerConfig;
use crate::admin::state;

/// How long an answer may take: a change may wait for stores and reactors.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a daemon that has too many connections is left alone, and how often that is borne: nobody keeps his place
/// for long.
const PAUSE: Duration = Duration::from_millis(50);
const MOST_WAITS: usize = 100;

/// A call that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The daemon cannot be asked.
    #[error("{}: {error}; {remedy}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// It has refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A daemon that is asked over its control socket. Every call has a connection of its own, so that the daemon may be
/// started again in between.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    /// It has been listened to before.
    was_heard: bool,
}

/// Where the daemon is asked when nothing else is said: `/run/ringtgt/control.sock`, or for users other than root that
/// of their own one.
pub fn default_socket() -> PathBuf {
    let service = ServerConfig::default().control_socket();
    let own = state::ad_hoc_dir().join(super::server::SOCKET);
    if !service.exists() && own.exists() { own } else { service }
}

impl Client {
    /// The daemon that listens there, if it is one that can be understood.
    ///
    /// # Errors
    /// When nobody listens, or somebody else.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, CallError> {
        let client = Self { path: path.as_ref().into(), was_heard: false };
        let api = client.call("version", json!({}))?["api"].as_u64();
        match api {
            Some(api) if api == u64::from(API) => Ok(Self { was_heard: true, ..client }),
            _ => Err(client.unreachable(io::Error::other("it speaks another version of this protocol"))),
        }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls a method; its result.
    ///
    /// # Errors
    /// When the daemon cannot be asked, or refuses.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.exchange(&request).map_err(|error| self.unreachable(error))?;
        let mut waits = 0;
        while answer["error"]["code"] == BUSY && waits < MOST_WAITS {
            waits += 1;
            thread::sleep(PAUSE);
            answer = self.exchange(&request).map_err(|error| self.unreachable(error))?;
        }
        match answer.get("error") {
            Some(error) => {
                let fault = serde_json::from_value(error.clone());
                Err(fault.map_or_else(|e| self.unreachable(e.into()), CallError::Fault))
            }
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    fn exchange(&self, request: &Value) -> io::Result<Value> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Whoever has no time says so without listening to the end.
        let sent = stream.write_all(format!("{request}\n").as_bytes());
        let mut line = String::new();
        if BufReader::new(stream).read_line(&mut line)? == 0 {
            sent?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn unreachable(&self, error: io::Error) -> CallError {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "is ringtgt running? its socket can be named with --control-socket"
            }
            io::ErrorKind::PermissionDenied => "ask as root, or as the user that ringtgt runs as",
            // How it ends when nothing is said depends on who was faster.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                if !self.was_heard =>
            {
                "only root and the user that ringtgt runs as are listened to"
            }
            _ => "see what ringtgt has logged",
        };
        CallError::Unreachable { path: self.path.clone(), error, remedy }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_is_not_listened_to_is_told_who_is() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let whole =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "version", "params": {} }).to_string().len() + 1;
        // Nothing of the request is read, a part of it, and all of it.
        for read in [0, 1, whole] {
            let refused = thread::scope(|scope| {
                let client = scope.spawn(|| Client::connect(dir.path().join("socket")).unwrap_err());
                listener.accept().unwrap().0.read_exact(&mut vec![0; read]).unwrap();
                client.join().unwrap().to_string()
            });
            assert!(
                refused.ends_with("; only root and the user that ringtgt runs as are listened to"),
                "{refused}"
            );
        }
    }
}

//! Lines from a pipe or a file: those that are there.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use crate::sys;

/// Bytes of lines that are taken together at most: some ten thousand of them.
const MOST: usize = 1 << 20;

/// Bytes of one read.
const READ: usize = 64 << 10;

/// See the module page.
#[derive(Debug)]
pub(super) struct Arriving {
    from: File,
    /// What has been read and is no whole line yet.
    rest: Vec<u8>,
    over: bool,
}

impl Arriving {
    /// The lines of standard input.
    pub(super) fn on_input() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self::new(input.into()))
    }

    fn new(from: File) -> Self {
        Self { from, rest: Vec::new(), over: false }
    }

    /// Waits for a line, and gives it with all that are there without further waiting; none: there are no more. What is no
    /// text is an error in the place of its line.
    pub(super) fn next(&mut self) -> io::Result<Vec<Result<String, String>>> {
        while !self.over && self.is_wanting() {
            self.read()?;
        }
        let last = self.rest.iter().rposition(|byte| *byte == b'\n');
        let end = if self.over { self.rest.len() } else { last.map_or(0, |at| at + 1) };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        Ok(whole.split_inclusive(|byte| *byte == b'\n').map(text).collect())
    }

    /// Whether there is no line yet, or more can be had at once.
    fn is_wanting(&self) -> bool {
        let more = || self.rest.len() < MOST && sys::is_readable(self.from.as_fd());
        !self.rest.contains(&b'\n') || more()
    }

    fn read(&mut self) -> io::Result<()> {
        let at = self.rest.len();
        self.rest.resize(at + READ, 0);
        let got = self.from.read(&mut self.rest[at..]);
        self.rest.truncate(at + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => self.over = true,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        Ok(())
    }
}

fn text(line: &[u8]) -> Result<String, String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| "this is no UTF-8 text".into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn piped() -> (io::PipeWriter, Arriving) {
        let (reader, writer) = io::pipe().unwrap();
        (writer, Arriving::new(File::from(std::os::fd::OwnedFd::from(reader))))
    }

    fn lines(arriving: &mut Arriving) -> Vec<String> {
        arriving.next().unwrap().into_iter().map(|line| line.unwrap_or_else(|error| error)).collect()
    }

    #[test]
    fn what_is_there_comes_at_once_and_nothing_else_is_waited_for() {
        let (mut writer, mut arriving) = piped();
        writer.write_all(b"one\ntwo\r\n\nthr").unwrap();
        assert_eq!(lines(&mut arriving), ["one", "two", ""]);
        writer.write_all(b"ee\n").unwrap();
        assert_eq!(lines(&mut arriving), ["three"]);
        writer.write_all(b"\xff\nthe last").unwrap();
        drop(writer);
        assert_eq!(lines(&mut arriving), ["this is no UTF-8 text", "the last"]);
        assert_eq!(lines(&mut arriving), Vec::<String>::new());
    }

    #[test]
    fn a_file_comes_whole() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all("a line\n".repeat(10_000).as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut arriving = Arriving::new(file);
        assert_eq!(lines(&mut arriving).len(), 10_000);
        assert!(lines(&mut arriving).is_empty());
    }
}

//! Bytes in order, from a file or from standard input.
//!
//! Promises: what is skipped of a file is not read; memory is taken for bytes that have come, never
//! for bytes that were announced. Does not know what the bytes are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::Failure;
use crate::show::{plain, wide};

pub(crate) struct Input {
    name: String,
    source: Source,
    /// Read already, and to be given out next.
    ahead: Vec<u8>,
    at: u64,
}

enum Source {
    /// Its length is known and it can be skipped in.
    File {
        reader: BufReader<File>,
        len: u64,
    },
    Stream(Box<dyn BufRead>),
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Input, Failure> {
        let is_stdin = path == Path::new(STANDARD_INPUT);
        let name =
            if is_stdin { "standard input".to_owned() } else { plain(&path.to_string_lossy()) };
        match Source::open(path) {
            Ok(source) => Ok(Input { name, source, ahead: Vec::new(), at: 0 }),
            Err(error) => Err(Failure::Input(name, error)),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Input {
        let source = Source::Stream(Box::new(io::Cursor::new(bytes.to_vec())));
        Input { name: "memory".to_owned(), source, ahead: Vec::new(), at: 0 }
    }

    /// What to call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Position of the next byte.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes in all, where that is known before they are read.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.source {
            Source::File { len, .. } => Some(*len),
            Source::Stream(_) => None,
        }
    }

    /// The next `count` bytes; fewer at the end only.
    pub(crate) fn read(&mut self, count: u64) -> Result<Vec<u8>, Failure> {
        let bytes = self.take(count).map_err(|error| self.failure(error))?;
        self.at += wide(bytes.len());
        Ok(bytes)
    }

    /// The same bytes as the next [`read`](Self::read) has.
    pub(crate) fn peek(&mut self, count: u64) -> Result<&[u8], Failure> {
        self.ahead = self.take(count).map_err(|error| self.failure(error))?;
        Ok(&self.ahead)
    }

    /// Goes on to position `to`, or to the end if that comes first, and says where it is then.
    pub(crate) fn skip_to(&mut self, to: u64) -> Result<u64, Failure> {
        let to = to.min(self.len().unwrap_or(u64::MAX));
        let ahead =
            self.ahead.len().min(usize::try_from(to.saturating_sub(self.at)).unwrap_or(usize::MAX));
        self.ahead.drain(..ahead);
        self.at += wide(ahead);
        let skipped = self.skip(to.saturating_sub(self.at)).map_err(|error| self.failure(error))?;
        self.at += skipped;
        Ok(self.at)
    }

    fn take(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.ahead);
        if let Some(at) = usize::try_from(count).ok().filter(|&count| count < bytes.len()) {
            self.ahead = bytes.split_off(at);
        }
        let missing = count.saturating_sub(wide(bytes.len()));
        self.source.reader().take(missing).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> io::Result<u64> {
        match &mut self.source {
            Source::File { reader, .. } => {
                let mut left = count;
                while left > 0 {
                    let step = i64::try_from(left).unwrap_or(i64::MAX);
                    reader.seek_relative(step)?;
                    left -= step.unsigned_abs();
                }
                Ok(count)
            }
            Source::Stream(reader) => io::copy(&mut reader.take(count), &mut io::sink()),
        }
    }

    fn failure(&self, error: io::Error) -> Failure {
        Failure::Input(self.name.clone(), error)
    }
}

impl Source {
    fn open(path: &Path) -> io::Result<Source> {
        if path == Path::new(STANDARD_INPUT) {
            return Ok(Source::Stream(Box::new(BufReader::new(io::stdin()))));
        }
        let file = File::open(path)?;
        let about = file.metadata()?;
        let (regular, len) = (about.is_file(), about.len());
        let reader = BufReader::new(file);
        // Pipes and devices say nothing of their length.
        Ok(if regular { Source::File { reader, len } } else { Source::Stream(Box::new(reader)) })
    }

    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Source::File { reader, .. } => reader,
            Source::Stream(reader) => reader,
        }
    }
}

/// Instead of a path.
const STANDARD_INPUT: &str = "-";

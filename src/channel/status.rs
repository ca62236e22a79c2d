//! The status page: what a worker is doing, for the parent to read when it died.
//!
//! Only the worker writes. The words are stored so that a death between two stores blames nobody:
//! first the progress, then the task it belongs to; and a task whose completion has arrived is not
//! blamed either.
//! Promises: whatever was running when the worker died is named, with its item.
//! Does not know: whether the worker is alive.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::line::Line;

/// What a worker was doing.
///
/// # Examples
///
/// ```
/// assert_eq!(pannier::Phase::Decoding.to_string(), "decoding the arguments");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It had not reported for work yet.
    Initialising,
    /// Waiting for a task.
    Idle,
    /// Making the arguments from the frame that brought them.
    Decoding,
    /// In the task's function.
    Running,
    /// Making a frame of the result.
    Encoding,
    /// Handing the result over.
    Sending,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Initialising => "starting",
            Phase::Idle => "idle",
            Phase::Decoding => "decoding the arguments",
            Phase::Running => "running",
            Phase::Encoding => "encoding the result",
            Phase::Sending => "sending the result",
        })
    }
}

/// What the page says: the task, its phase, and the item within the task's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) task: u64,
    pub(crate) phase: Phase,
    pub(crate) item: u32,
}

/// The worker's side.
#[derive(Debug)]
pub(crate) struct StatusWriter {
    line: Arc<Line>,
}

impl StatusWriter {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        StatusWriter { line }
    }

    /// From now on the task is to blame for a death.
    pub(crate) fn begin(&self, task: u64, item: u32) {
        self.progress(Phase::Decoding, item);
        let [current, _] = self.line.status();
        current.store(task.wrapping_add(1), Ordering::Release);
    }

    pub(crate) fn progress(&self, phase: Phase, item: u32) {
        // Release: a reader that sees this word sees the stores of the task before it.
        let word = u64::from(code(phase)) << 32 | u64::from(item);
        let [_, progress] = self.line.status();
        progress.store(word, Ordering::Release);
    }

    /// From now on nobody is to blame.
    pub(crate) fn idle(&self) {
        let [task, _] = self.line.status();
        task.store(NO_TASK, Ordering::Release);
        self.progress(Phase::Idle, 0);
    }
}

/// The parent's side.
#[derive(Debug)]
pub(crate) struct StatusReader {
    line: Arc<Line>,
}

impl StatusReader {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        StatusReader { line }
    }

    /// What the worker was last seen doing; `None`: nothing for anybody. Exact once it is dead.
    pub(crate) fn read(&self) -> Option<Progress> {
        let [task, progress] = self.line.status();
        let task = task.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let word = progress.load(Ordering::Relaxed);
        let item = u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
        let phase = phase(word >> 32);
        let task = task.checked_sub(1)?;
        Some(Progress { task, phase, item })
    }
}

/// As a new page; tasks are written as the number after theirs.
const NO_TASK: u64 = 0;

fn code(phase: Phase) -> u32 {
    match phase {
        Phase::Initialising => 0,
        Phase::Idle => 1,
        Phase::Decoding => 2,
        Phase::Running => 3,
        Phase::Encoding => 4,
        Phase::Sending => 5,
    }
}

/// A worker may have scribbled over its page: what makes no sense counts as running.
fn phase(code: u64) -> Phase {
    match code {
        0 => Phase::Initialising,
        1 => Phase::Idle,
        2 => Phase::Decoding,
        4 => Phase::Encoding,
        5 => Phase::Sending,
        _ => Phase::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_sees_what_the_writer_does() {
        let (line, _fds) = Line::create().unwrap();
        let (writer, reader) = (StatusWriter::new(line.clone()), StatusReader::new(line));
        assert_eq!(reader.read(), None);
        writer.begin(0, 3);
        assert_eq!(reader.read(), Some(Progress { task: 0, phase: Phase::Decoding, item: 3 }));
        writer.progress(Phase::Running, 4);
        assert_eq!(reader.read(), Some(Progress { task: 0, phase: Phase::Running, item: 4 }));
        writer.idle();
        assert_eq!(reader.read(), None);
    }
}

//! What a submission waits for: its items' results as they came, still encoded.
//!
//! Promises: each item is answered once; whoever waits is woken, by a condition variable or a waker.
//! Does not know: the types; the thread that owns the handle decodes.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::error::{StartFailed, WorkerDied};
use super::scheduler::{Split, TaskId};
use crate::codec::{Body, CodecError};
use crate::error::Error;
use crate::task::{PanicReport, with_sources};

/// The items of one payload, and what has become of them.
#[derive(Debug)]
pub(crate) struct Pending {
    state: Mutex<State>,
    changed: Condvar,
    /// Of their buffers: what workers get through before there is an answer.
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct State {
    /// The ranges of items without an answer.
    open: Vec<Range<u32>>,
    answers: Vec<Answer>,
    /// The tasks that the items are part of: one, or several after a death.
    tasks: Vec<TaskId>,
    waker: Option<Waker>,
    /// Threads that sleep until there are answers.
    sleepers: u32,
    /// The thread that waits drives the pool, and sleeps on its bells.
    drives: bool,
    /// The pool's thread has failed, and nothing that comes later counts.
    abandoned: bool,
}

/// What became of a range of items.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) result: Result<RawResult, Fault>,
}

/// A result frame that was checked, but for its metadata, and its bodies.
#[derive(Debug)]
pub(crate) struct RawResult {
    pub(crate) metadata: Vec<u8>,
    pub(crate) bodies: Vec<Body<'static>>,
    /// How long the items took in the worker.
    pub(crate) elapsed: Duration,
}

/// Why items have no result.
#[derive(Debug)]
pub(crate) enum Fault {
    Cancelled,
    Killed,
    TimedOut(Duration),
    Closed,
    /// The pool is the parent's of this forked process.
    Forked,
    Broken(StartFailed),
    /// As the error, but that its task is named by whoever owns the handle.
    Died(Box<WorkerDied>),
    /// The arguments never left: what was wrong with them.
    Unwritable(CodecError),
    Panicked(PanicReport),
    /// There are results, but no memory to bring them here.
    Unsendable(String),
}

impl Fault {
    /// Whether there was no shared memory for the arguments.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let Fault::Unwritable(CodecError::Buffer(error)) = self else { return false };
        matches!(error.downcast_ref(), Some(Error::OutOfMemory { .. }))
    }

    /// The same again, for another item of the same range.
    pub(crate) fn copy(&self) -> Fault {
        match self {
            Fault::Cancelled => Fault::Cancelled,
            Fault::Killed => Fault::Killed,
            Fault::TimedOut(after) => Fault::TimedOut(*after),
            Fault::Closed => Fault::Closed,
            Fault::Forked => Fault::Forked,
            Fault::Broken(failure) => Fault::Broken(failure.clone()),
            Fault::Died(death) => Fault::Died(death.clone()),
            Fault::Unwritable(error) => Fault::Unwritable(copy_of(error)),
            Fault::Panicked(report) => Fault::Panicked(report.clone()),
            Fault::Unsendable(message) => Fault::Unsendable(message.clone()),
        }
    }
}

/// As much of an error as can be said twice.
pub(super) fn copy_of(error: &CodecError) -> CodecError {
    let out_of_memory = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref() {
        Some(&Error::OutOfMemory { wanted, limit }) => Some(Error::OutOfMemory { wanted, limit }),
        _ => None,
    };
    match error {
        CodecError::Frame(fault) => CodecError::Frame(*fault),
        CodecError::Buffer(error) => match out_of_memory(&**error) {
            Some(error) => CodecError::Buffer(Box::new(error)),
            None => CodecError::Encode(with_sources(&**error)),
        },
        CodecError::Encode(message) => CodecError::Encode(message.clone()),
        CodecError::Decode { at, message } => {
            CodecError::Decode { at: *at, message: message.clone() }
        }
        other => CodecError::Encode(other.to_string()),
    }
}

/// Who waits for an answer elsewhere.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// The thread that sleeps as a driver.
    pub(super) driver: bool,
    /// Foreign code, to be called without any lock.
    pub(super) waker: Option<Waker>,
}

impl Pending {
    pub(crate) fn new(items: u32) -> Self {
        Self::of_bytes(items, 0)
    }

    /// For items with so many bytes in buffers.
    pub(super) fn of_bytes(items: u32, bytes: u64) -> Self {
        let open = std::iter::once(0..items).filter(|items| !items.is_empty()).collect();
        let state = State {
            open,
            answers: Vec::new(),
            tasks: Vec::new(),
            waker: None,
            sleepers: 0,
            drives: false,
            abandoned: false,
        };
        Pending { state: Mutex::new(state), changed: Condvar::new(), bytes }
    }

    pub(super) fn assign(&self, task: TaskId) {
        self.lock().tasks.push(task);
    }

    pub(super) fn split(&self, split: &Split) {
        let mut state = self.lock();
        state.tasks.retain(|task| *task != split.from);
        let parts = [split.before, Some(split.blamed), split.after];
        state.tasks.extend(parts.into_iter().flatten());
    }

    /// The tasks that items without an answer are part of.
    pub(super) fn tasks(&self) -> Vec<TaskId> {
        let state = self.lock();
        if state.open.is_empty() { Vec::new() } else { state.tasks.clone() }
    }

    /// Gives an answer; who has to be woken for it beside the threads that sleep here is told.
    #[must_use]
    pub(super) fn answer(&self, answer: Answer) -> Wake {
        let mut state = self.lock();
        if state.abandoned {
            return Wake::default();
        }
        state.close(answer.first..answer.first + answer.count);
        state.answers.push(answer);
        self.wake(state)
    }

    /// Answers every item that has no answer.
    #[must_use]
    pub(super) fn abandon(&self) -> Wake {
        let mut state = self.lock();
        state.abandoned = true;
        for open in std::mem::take(&mut state.open) {
            let (first, count) = (open.start, open.end - open.start);
            state.answers.push(Answer { first, count, result: Err(Fault::Closed) });
        }
        self.wake(state)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) -> Wake {
        let wake = Wake { driver: state.drives, waker: state.waker.take() };
        let sleepers = state.sleepers;
        drop(state);
        if sleepers > 0 {
            // A system call even if nobody sleeps.
            self.changed.notify_all();
        }
        wake
    }

    /// The thread that waits is about to sleep as a driver, unless there are answers.
    pub(super) fn begin_drive(&self) -> bool {
        let mut state = self.lock();
        state.drives = state.answers.is_empty();
        state.drives
    }

    pub(super) fn end_drive(&self) {
        self.lock().drives = false;
    }

    /// Whether answers have come since they were last taken.
    pub(super) fn has_answers(&self) -> bool {
        !self.lock().answers.is_empty()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// The answers that have come since the last call.
    pub(crate) fn take_answers(&self) -> Vec<Answer> {
        std::mem::take(&mut self.lock().answers)
    }

    /// Waits for answers, until `deadline` if there is one; whether there are any.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        state.sleepers += 1;
        let (mut state, there) = self.sleep(state, deadline);
        state.sleepers -= 1;
        there
    }

    fn sleep<'s>(
        &self,
        mut state: MutexGuard<'s, State>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'s, State>, bool) {
        while state.answers.is_empty() {
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return (state, false);
                    }
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        (state, true)
    }

    /// Whether there are answers; if not, the waker is called when there are.
    pub(crate) fn poll(&self, waker: &Waker) -> bool {
        // Cloned before and dropped behind the lock: both are foreign code.
        let waker = waker.clone();
        let mut state = self.lock();
        let there = !state.answers.is_empty();
        let unused = if there { Some(waker) } else { state.waker.replace(waker) };
        drop(state);
        drop(unused);
        there
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, range: Range<u32>) {
        let around = |open: &Range<u32>| open.start <= range.start && range.end <= open.end;
        let at = self.open.iter().position(around).expect("an item is answered once");
        let open = self.open.swap_remove(at);
        let rest = [open.start..range.start, range.end..open.end];
        self.open.extend(rest.into_iter().filter(|part| !part.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(first: u32, count: u32) -> Answer {
        Answer { first, count, result: Err(Fault::Cancelled) }
    }

    #[test]
    fn the_parts_of_a_payload_may_be_answered_in_any_order() {
        let pending = Pending::new(5);
        let _nobody = pending.answer(answer(3, 1));
        let _nobody = pending.answer(answer(4, 1));
        assert!(!pending.is_complete());
        let _nobody = pending.answer(answer(0, 3));
        assert!(pending.is_complete());
        assert_eq!(pending.take_answers().len(), 3);
    }

    #[test]
    #[should_panic(expected = "an item is answered once")]
    fn an_item_that_is_answered_twice_is_a_bug() {
        let pending = Pending::new(2);
        let _nobody = pending.answer(answer(0, 1));
        let _nobody = pending.answer(answer(0, 2));
    }
}

//! The shared memory of a worker's connection: two objects, one for each writer, and one for all.
//!
//! ```text
//!   down, written by the parent; the kernel refuses every other writer
//!     word   0  messages published
//!           16  answers consumed
//!           32  the parent waits for room (rounds)
//!          64…  lines of messages
//!   up, written by the worker
//!     word   0  answers published
//!           16  messages consumed
//!           32  the worker sleeps (rounds)
//!           48  the worker waits for room (rounds)
//!           64  the status: the task, and at 72 its progress
//!         128…  claims, written by both
//!         640…  lines of answers
//!     bell      room for answers, rung by the parent
//!   pulse, written by the parent for all its workers
//!     word   0  nobody in the parent looks for answers (rounds)
//! ```
//!
//! Promises: a worker can write nothing that another worker reads; words that two sides use at a
//! time share no cache line. What is read is what its writer says, and no more.
//! Does not know: what messages mean.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::claim::Claim;
use super::ring::{LINE, Memory};
use crate::sys::area::Area;

const PUBLISHED: usize = 0;
const CONSUMED: usize = 16;
const PARENT_WAITS: usize = 32;
const WORKER_SLEEPS: usize = 32;
const WORKER_WAITS: usize = 48;
const STATUS_TASK: usize = 64;
const STATUS_PROGRESS: usize = 72;
const CLAIMS_AT: usize = 128;
/// Messages that can be claimed at a time, each by a word in a cache line of its own.
pub(crate) const CLAIMS: usize = 64;
const MESSAGES_AT: usize = 64;
const ANSWERS_AT: usize = CLAIMS_AT + CLAIMS * LINE;
/// 128 KiB, each way: what is sent stays in the cache of the CPU that reads it.
const RECORDS: usize = 2048 * LINE;
const DOWN: usize = MESSAGES_AT + RECORDS;
const UP: usize = ANSWERS_AT + RECORDS;
const PULSE: usize = LINE;

/// The memory of one connection, as mapped on either side.
#[derive(Debug)]
pub(crate) struct Line {
    down: Area,
    up: Area,
}

impl Line {
    /// The parent's side of a new connection, and the descriptors of `down` and `up` for the worker.
    pub(crate) fn create() -> io::Result<(Arc<Self>, [OwnedFd; 2])> {
        let (down, for_worker) = Area::create_alone("pannier-down", DOWN)?;
        let up_fd = Area::create("pannier-up", UP)?;
        let up = Area::attach(&up_fd, UP)?;
        Ok((Arc::new(Line { down, up }), [for_worker, up_fd]))
    }

    /// The worker's side.
    pub(crate) fn attach(down: impl AsFd, up: impl AsFd) -> io::Result<Arc<Self>> {
        let down = Area::attach_readable(down, DOWN)?;
        Ok(Arc::new(Line { down, up: Area::attach(up, UP)? }))
    }

    pub(super) fn parent_waits(&self) -> &AtomicU64 {
        &self.down.words()[PARENT_WAITS]
    }

    pub(super) fn worker_sleeps(&self) -> &AtomicU64 {
        &self.up.words()[WORKER_SLEEPS]
    }

    pub(super) fn worker_waits(&self) -> &AtomicU64 {
        &self.up.words()[WORKER_WAITS]
    }

    /// What the worker sleeps on while it waits for room.
    pub(super) fn room_bell(&self) -> &AtomicU32 {
        self.up.bell()
    }

    /// The task of the status page, and its progress.
    pub(super) fn status(&self) -> [&AtomicU64; 2] {
        [&self.up.words()[STATUS_TASK], &self.up.words()[STATUS_PROGRESS]]
    }

    /// Whether the message with that number is the worker's, for good; by the worker.
    pub(crate) fn claim(&self, number: u64) -> bool {
        self.claim_of(number).claim(number)
    }

    /// The claim of the message with that number.
    pub(super) fn claim_of(&self, number: u64) -> Claim<'_, AtomicU64> {
        let at = usize::try_from(number % wide(CLAIMS)).unwrap_or(0);
        Claim(&self.up.words()[CLAIMS_AT + at * LINE])
    }

    /// Whether more messages were published than that.
    pub(super) fn has_messages_beyond(&self, position: u64) -> bool {
        self.down.words()[PUBLISHED].load(Ordering::Relaxed) != position
    }

    /// Whether more answers were published than that.
    pub(super) fn has_answers_beyond(&self, position: u64) -> bool {
        self.up.words()[PUBLISHED].load(Ordering::Relaxed) != position
    }
}

/// The ring of messages to the worker.
#[derive(Debug)]
pub(super) struct Messages(pub(super) Arc<Line>);

impl Memory for Messages {
    type Word = AtomicU64;

    fn lines(&self) -> &[AtomicU64] {
        &self.0.down.words()[MESSAGES_AT..]
    }

    fn published(&self) -> &AtomicU64 {
        &self.0.down.words()[PUBLISHED]
    }

    fn consumed(&self) -> &AtomicU64 {
        &self.0.up.words()[CONSUMED]
    }
}

/// The ring of answers from the worker.
#[derive(Debug)]
pub(super) struct Answers(pub(super) Arc<Line>);

impl Memory for Answers {
    type Word = AtomicU64;

    fn lines(&self) -> &[AtomicU64] {
        &self.0.up.words()[ANSWERS_AT..]
    }

    fn published(&self) -> &AtomicU64 {
        &self.0.up.words()[PUBLISHED]
    }

    fn consumed(&self) -> &AtomicU64 {
        &self.0.down.words()[CONSUMED]
    }
}

/// Whether anybody in the parent looks for answers, for all its workers to see.
#[derive(Debug)]
pub(crate) struct Pulse {
    area: Area,
}

impl Pulse {
    /// The parent's side, and the descriptor for its workers.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let (area, fd) = Area::create_alone("pannier-pulse", PULSE)?;
        Ok((Pulse { area }, fd))
    }

    /// A worker's side.
    pub(crate) fn attach(fd: impl AsFd) -> io::Result<Self> {
        Ok(Pulse { area: Area::attach_readable(fd, PULSE)? })
    }

    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.area.words()[0]
    }
}

pub(super) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

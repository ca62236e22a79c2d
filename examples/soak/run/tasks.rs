//! The tasks: of all kinds and sizes, each of which says that it begins, and some of which end their
//! worker.

use std::time::Duration;

use pannier::{Buffer, BufferMut};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use super::ledger::begin;

/// How often a task may be started.
pub(crate) const ATTEMPTS: u32 = 2;
/// How long a task may run that is not meant to run longer: a stopped worker does.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// What a task does to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    None,
    Kill,
    Abort,
    Segv,
    Exit,
    /// It never ends.
    Linger,
    /// It stops its worker.
    Stop,
}

impl End {
    /// Whether the worker is dead after it.
    pub(crate) fn kills(self) -> bool {
        matches!(self, End::Kill | End::Abort | End::Segv | End::Exit)
    }

    /// Whether there is no end without a timeout.
    pub(crate) fn lingers(self) -> bool {
        matches!(self, End::Linger | End::Stop)
    }
}

/// Who a task is, and what it does to its worker: the first time, or each time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) end: End,
    pub(crate) always: bool,
    /// Turns of a loop, so that kills hit tasks at work.
    pub(crate) work: u32,
}

/// Which task has run, and where.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) number: u64,
    pub(crate) pid: u32,
}

impl Job {
    /// Says that it begins, works, and does to the worker what is its part.
    fn run(self) -> Proof {
        let attempt = pannier::worker().map_or(0, |worker| worker.attempt);
        let end = if self.always || attempt == 1 { self.end } else { End::None };
        let record = begin(self.number, end);
        for turn in 0..self.work {
            std::hint::black_box(turn);
        }
        end_worker(end);
        Proof { number: self.number, pid: record.pid }
    }
}

fn end_worker(end: End) {
    let signal = match end {
        End::None => return,
        End::Linger => loop {
            std::thread::park();
        },
        End::Exit => std::process::exit(3),
        End::Abort => std::process::abort(),
        End::Kill => Signal::KILL,
        End::Segv => Signal::SEGV,
        End::Stop => Signal::STOP,
    };
    // Again: at the first SIGSEGV the standard library only gives up its own disposition.
    loop {
        let _still_here = kill_process(getpid(), signal);
    }
}

/// What the items of a buffer are.
pub(crate) fn item(number: u64, at: usize) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64)
}

pub(crate) fn fill(number: u64, mut space: BufferMut<u64>) -> Buffer<u64> {
    space.iter_mut().enumerate().for_each(|(at, to)| *to = item(number, at));
    space.freeze()
}

pub(crate) fn is_filled(number: u64, items: &[u64]) -> bool {
    items.iter().enumerate().all(|(at, &found)| found == item(number, at))
}

/// In band, both ways.
pub(crate) fn echo((job, text): (Job, String)) -> (Proof, String) {
    (job.run(), text)
}

/// Buffers in; whether they are right.
pub(crate) fn check((job, numbers): (Job, Buffer<u64>)) -> (Proof, bool) {
    (job.run(), is_filled(job.number, &numbers))
}

/// A buffer out, built in place.
pub(crate) fn make((job, len): (Job, usize)) -> (Proof, Buffer<u64>) {
    let space = pannier::alloc(len).expect("there is memory");
    let made = fill(job.number, space);
    (job.run(), made)
}

/// The same buffer back.
pub(crate) fn give_back((job, numbers): (Job, Buffer<u64>)) -> (Proof, Buffer<u64>) {
    (job.run(), numbers)
}

/// An item of a map.
pub(crate) fn of_map(job: Job) -> Proof {
    job.run()
}

/// An item of a map with a context.
pub(crate) fn of_context(context: &Buffer<u64>, job: Job) -> (Proof, bool) {
    (job.run(), is_filled(7, context))
}

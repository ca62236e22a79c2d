//! The words between the scheduler and its supervisor: what may be told, what may be asked for.
//!
//! Plain data. It promises nothing and knows nothing; the rules are in `machine`.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::task::{Split, TaskId, TaskSpec};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// How many workers there are to be at first, at least one.
    pub(crate) workers: usize,
    /// A worker that was sent so many items gets no more: another takes its place.
    pub(crate) max_items: Option<u64>,
    /// A worker that has had nothing to do for so long ends, until there is work again.
    pub(crate) idle: Option<Duration>,
    /// So many failed starts in a row, anywhere in the pool and without one worker that became
    /// ready in between, break the pool, once no worker is ready.
    pub(crate) max_start_failures: u32,
    /// So many fruitless deaths in a row break the pool. A death is fruitless when the worker had
    /// been sent work, had completed none since it was ready, and nobody is to blame. Without this
    /// limit such work would go round for ever.
    pub(crate) max_fruitless_deaths: u32,
    pub(crate) backoff: Backoff,
    /// A worker that has not begun its first task after so long hangs, and so after the task's own
    /// timeout if that is shorter; and one that was asked to end and has not.
    pub(crate) hang: Duration,
}

/// How long a slot waits before it starts a worker again: `first`, then twice as long each time, at most `max`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The delay after the `failures`-th failure in a row; none before the first.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.first.saturating_mul(factor).min(self.max)
            }
        }
    }
}

/// One worker process: its slot, and which of the slot's workers it is.
///
/// A slot's first worker has generation 1. An event that names a former generation is stale and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkerId {
    pub(crate) slot: usize,
    pub(crate) generation: u32,
}

/// What happened to a worker. Results are told by [`Scheduler::complete`](super::Scheduler::complete).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The handshake is done: it may be sent work.
    WorkerReady { worker: WorkerId },
    /// A hint of death or nonsense (end of file, protocol error, silence). It is condemned at once.
    WorkerSuspect { worker: WorkerId },
    /// The process is gone, and all that it had completed has been told before.
    WorkerDied { worker: WorkerId, blame: Option<Blame> },
    /// The process never became ready, and is gone or never was. The next one will fare no better, if
    /// that is fatal.
    StartFailed { worker: WorkerId, is_fatal: bool },
}

impl Event {
    pub(super) fn worker(&self) -> WorkerId {
        match *self {
            Self::WorkerReady { worker }
            | Self::WorkerSuspect { worker }
            | Self::WorkerDied { worker, .. }
            | Self::StartFailed { worker, .. } => worker,
        }
    }
}

/// What a worker was running when it died, by its own word: an allegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blame {
    pub(crate) task: TaskId,
    /// Absolute, as `first` of a [`TaskSpec`] is; clamped into the task's range.
    pub(crate) item: u32,
    /// What is run again is run alone: the worker seems to have died for want of memory, or of what another
    /// task did to it.
    pub(crate) retry_alone: bool,
}

/// What the supervisor is to do with a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The task is resolved by these results. No [`Action::Resolve`] follows.
    Deliver,
    /// The task was resolved before, or the worker is history: drop the results, release their memory.
    Discard,
    /// The worker completed what was not its to complete. It is condemned.
    Violation,
}

/// How a pool is shut down, in order of severity. A later, more severe call escalates.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use std::time::Duration;
///
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let forever = pool.submit(|()| -> () { loop { std::thread::park() } }, ());
/// pool.shutdown(pannier::Shutdown::Kill, Duration::from_secs(10))?;
/// assert!(matches!(forever.join(), Err(pannier::TaskError::Killed | pannier::TaskError::Cancelled)));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Shutdown {
    /// What was submitted is finished.
    Graceful,
    /// What is queued is cancelled; what was sent is finished, on another worker if its own dies.
    Cancel,
    /// Everything is resolved now and the workers are killed.
    Kill,
}

/// Why a task was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    ShutDown,
    Broken,
}

/// What the supervisor is asked to do. Each is given once, and is current when it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process; answer with `WorkerReady` or `StartFailed`.
    Start { worker: WorkerId },
    /// Hand the task to this worker. `attempt` counts from 1; a run that another task spoilt is not counted.
    Send { worker: WorkerId, task: TaskId, attempt: u32, spec: TaskSpec },
    /// Take the task back from this worker, unless it has started it: an idle one could have it, or what
    /// the worker runs takes long, or it does not begin what it has. Answer with
    /// [`Scheduler::revoked`](super::Scheduler::revoked) or [`Scheduler::begun`](super::Scheduler::begun).
    Revoke { worker: WorkerId, task: TaskId },
    /// Its time is over: look which item this worker runs, and answer with
    /// [`Scheduler::progress`](super::Scheduler::progress).
    Look { worker: WorkerId, task: TaskId },
    /// Kill the process (and its group); answer with `WorkerDied` once it is gone and drained.
    KillWorker { worker: WorkerId },
    /// Ask the process to end; it has nothing left to do. Answer with `WorkerDied`. One that does not
    /// end is killed after a while.
    StopWorker { worker: WorkerId },
    /// The task `from` is no more; its items go on under new ids.
    Split(Split),
    /// The task ended without results.
    Resolve { task: TaskId, spec: TaskSpec, resolution: Resolution },
}

/// How a task ends when it does not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Withdrawn before it was sent.
    Cancelled,
    /// Ended by [`Scheduler::kill`](super::Scheduler::kill) or [`Shutdown::Kill`].
    Killed,
    /// Its worker died under it `attempts` times, which is its limit; this one was the last.
    WorkerDied { worker: WorkerId, attempts: u32 },
    /// It ran for longer than it may; its worker is dead.
    TimedOut { after: Duration },
    /// The pool cannot keep workers alive.
    Broken,
}

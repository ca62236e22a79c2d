//! What a task or a worker's start can end with.
//!
//! Each error carries the evidence that there is: which task, which worker, how it ended, what it
//! was doing. Texts say what happened, the likely cause, and what to do.
//! Does not know: how errors come about.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::Phase;
use crate::codec::CodecError;
use crate::sys::child::ExitStatus;

/// Why one task has no result. Each failed handle has an error of its own.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{Pool, TaskError};
///
/// let pool = Pool::builder().workers(1).build()?;
/// let crashed = pool.submit(|code: i32| -> () { std::process::exit(code) }, 3).join();
/// let Err(TaskError::WorkerDied(death)) = crashed else { panic!("the worker exited") };
/// assert_eq!(death.status, pannier::ExitStatus::Exited(3));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked, or the code that reads its arguments or writes its result did.
    ///
    /// Not in programs that abort on panics (`panic = "abort"`): there it is the death of the worker, and
    /// the panic's message is written to standard error.
    #[error(transparent)]
    Panicked(Panicked),
    /// The worker died under the task, as often as the task may be attempted.
    #[error(transparent)]
    WorkerDied(WorkerDied),
    /// The task ran longer than it may.
    #[error("{task} was still running after {after:?}; its worker was killed")]
    #[non_exhaustive]
    TimedOut {
        /// How long it was allowed to run.
        after: Duration,
        /// Which task.
        task: Box<TaskInfo>,
    },
    /// The task was withdrawn before it started.
    #[error("the task was cancelled before it started")]
    Cancelled,
    /// The task was stopped on request, and its worker with it.
    #[error("the task was killed on request")]
    Killed,
    /// The arguments or the result could not be written.
    #[error(transparent)]
    Encode(ValueError),
    /// The arguments or the result could not be read.
    #[error(transparent)]
    Decode(ValueError),
    /// The pool was shut down before the task was submitted.
    #[error("the pool is shut down")]
    PoolClosed,
    /// The pool cannot keep workers alive; this is the last thing that went wrong.
    #[error("the pool is broken: {0}")]
    PoolBroken(StartFailed),
    /// This process was forked from the one that made the handle, and has no part in its pool.
    #[error(
        "the handle belongs to the parent of this forked process; build a pool of its own here"
    )]
    ForkedHandle,
}

impl TaskError {
    /// Which task it was; `None` for `Cancelled`, `Killed`, and where the pool is at fault.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(pannier::TaskError::Cancelled.task().is_none());
    /// ```
    #[must_use]
    pub fn task(&self) -> Option<&TaskInfo> {
        match self {
            TaskError::Panicked(panicked) => panicked.task.as_deref(),
            TaskError::WorkerDied(death) => Some(&death.task),
            TaskError::TimedOut { task, .. } => Some(task),
            TaskError::Encode(value) | TaskError::Decode(value) => Some(&value.task),
            TaskError::Cancelled
            | TaskError::Killed
            | TaskError::PoolClosed
            | TaskError::PoolBroken(_)
            | TaskError::ForkedHandle => None,
        }
    }
}

/// Names a task in an error.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let failed = pool.map(|x: u32| 100 / x, [5, 0]).nth(1).unwrap().unwrap_err();
/// assert_eq!(failed.task().unwrap().item, Some(1));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The number of the submission, as `JoinHandle::id`.
    pub id: u64,
    /// The position in the input of a map.
    pub item: Option<u64>,
    /// The name of the function, by the compiler.
    pub function: &'static str,
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Some(item) => write!(f, "item {item} of {}", self.function),
            None => write!(f, "task {} ({})", self.id, self.function),
        }
    }
}

/// A value that could not cross to or from a worker.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::TaskError;
///
/// #[derive(serde::Deserialize)]
/// struct Secret;
/// impl serde::Serialize for Secret {
///     fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
///         Err(serde::ser::Error::custom("not to be written"))
///     }
/// }
///
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let Err(TaskError::Encode(error)) = pool.submit(|_: Secret| (), Secret).join() else { panic!() };
/// assert!(error.source.to_string().contains("not to be written"));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{task}: a value of type {type_name} did not travel")]
#[non_exhaustive]
pub struct ValueError {
    /// Which task.
    pub task: Box<TaskInfo>,
    /// The type of the value, by the compiler.
    pub type_name: &'static str,
    /// What is wrong with it.
    pub source: CodecError,
}

/// A panic in a worker; the worker goes on.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::TaskError;
///
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let task = pool.submit(|x: Option<u32>| x.expect("a number"), None);
/// let Err(TaskError::Panicked(panicked)) = task.join() else { panic!("it panics") };
/// assert_eq!(panicked.message, "a number");
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Panicked {
    /// The panic's message.
    pub message: String,
    /// File, line and column.
    pub location: Option<String>,
    /// The stack, if `RUST_BACKTRACE` asks for it.
    pub backtrace: Option<String>,
    /// Which task.
    pub task: Option<Box<TaskInfo>>,
}

impl std::error::Error for Panicked {}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(task) = &self.task {
            write!(f, "{task} ")?;
        }
        write!(f, "panicked: {}", self.message)?;
        match &self.location {
            Some(location) => write!(f, ", at {location}"),
            None => Ok(()),
        }
    }
}

/// The death of a worker under a task.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{ExitStatus, Phase, TaskError};
///
/// let pool = pannier::Pool::builder().workers(1).attempts(1).build()?;
/// let Err(TaskError::WorkerDied(death)) = pool.submit(|()| -> () { std::process::abort() }, ()).join() else {
///     panic!("the worker aborted")
/// };
/// assert!(matches!(death.status, ExitStatus::Signaled { signal: 6, .. }));
/// assert_eq!((death.phase, death.attempts), (Phase::Running, 1));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerDied {
    /// How the process ended.
    pub status: ExitStatus,
    /// Whether it was killed, not by the pool, and the machine has killed some process for want of
    /// memory since it started.
    pub oom_suspected: bool,
    /// What the worker was doing.
    pub phase: Phase,
    /// How often the task was started.
    pub attempts: u32,
    /// The process.
    pub pid: u32,
    /// Which worker of its slot it was, from 1.
    pub generation: u32,
    /// The last lines of its standard error, if that was captured.
    pub stderr_tail: Option<String>,
    /// Which task.
    pub task: Box<TaskInfo>,
}

impl std::error::Error for WorkerDied {}

impl fmt::Display for WorkerDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorkerDied { status, phase, attempts, pid, task, .. } = self;
        write!(
            f,
            "worker {pid} died with {status} while {phase} (attempt {attempts} of {task}); "
        )?;
        f.write_str(match status {
            _ if self.oom_suspected => {
                "the machine ran out of memory meanwhile: use fewer workers or less memory in each"
            }
            ExitStatus::Exited(_) => "the task ended its process: return an error instead",
            ExitStatus::Signaled { signal: libc::SIGKILL, .. } => {
                "somebody killed it, as the kernel does when memory runs out"
            }
            ExitStatus::Signaled { signal: libc::SIGSEGV | libc::SIGBUS, .. } => {
                "likely a fault in unsafe or foreign code, a write to an input, or a stack overflow"
            }
            ExitStatus::Signaled { signal: libc::SIGABRT, .. } => {
                "it aborted: a failed assertion in foreign code, or a panic that must not unwind"
            }
            _ => "look at what it printed",
        })?;
        self.stderr_tail.as_ref().map_or(Ok(()), |tail| write!(f, "; it printed: {tail}"))
    }
}

/// A worker that never became ready.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{Error, Pool, StartFailure};
///
/// let pool = match Pool::builder().workers(1).build() {
///     Err(Error::StartFailed(failed)) if matches!(failed.cause, StartFailure::TimedOut { .. }) => {
///         panic!("is something slow before `init`? {failed}")
///     }
///     built => built?,
/// };
/// assert_eq!(pool.workers(), 1);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StartFailed {
    /// What went wrong.
    pub cause: StartFailure,
    /// How the process ended, if there was one.
    pub status: ExitStatus,
    /// The last lines that it wrote to standard error.
    pub stderr_tail: Option<String>,
}

impl std::error::Error for StartFailed {}

impl StartFailed {
    /// The same with a better reason, if what was executed is a loader.
    pub(super) fn explained_by(self, loader: Option<PathBuf>) -> Self {
        let blind = matches!(self.cause, StartFailure::Exited | StartFailure::WrongProgram);
        match loader.filter(|_| blind) {
            Some(executed) => StartFailed { cause: StartFailure::Loader { executed }, ..self },
            None => self,
        }
    }

    /// No process was started for it.
    pub(super) fn before_birth(cause: StartFailure) -> Self {
        StartFailed { cause, status: ExitStatus::Unknown, stderr_tail: None }
    }
}

impl fmt::Display for StartFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if matches!(self.cause, StartFailure::NoProgress { .. }) {
            "workers start and do nothing"
        } else {
            "a worker did not start"
        };
        write!(f, "{what}: {}", self.cause)?;
        // In other cases there was no process, or it was ended for that cause.
        let tells = matches!(
            self.cause,
            StartFailure::Exited
                | StartFailure::TimedOut { .. }
                | StartFailure::WrongProgram
                | StartFailure::ServerDied
                | StartFailure::InitializerDied
                | StartFailure::NoProgress { .. }
        );
        if tells {
            write!(f, " ({})", self.status)?;
        }
        match self.stderr_tail.as_deref().map(str::trim_end) {
            Some(tail) if !tail.is_empty() => write!(f, "; it printed: {tail}"),
            _ => Ok(()),
        }
    }
}

/// Why a worker never became ready.
///
/// # Examples
///
/// ```
/// let text = pannier::StartFailure::WrongProgram.to_string();
/// assert!(text.contains("another program"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StartFailure {
    /// No process could be started; the system's error number.
    Exec(i32),
    /// The process ended before it reported.
    Exited,
    /// It did not report in time, and was killed.
    #[non_exhaustive]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// The workers did not start, and this program was started through a loader, which does not know by
    /// itself what to load for them.
    #[non_exhaustive]
    Loader {
        /// The file that was executed.
        executed: PathBuf,
    },
    /// The program file has no build-id, so a worker cannot prove to be the same program.
    NoBuildId,
    /// What was started is another program or another build of this one.
    WrongProgram,
    /// The initializer panicked, or the function to [preload](crate::PoolBuilder::preload) or to
    /// [confine](crate::Hardening::confine) the worker.
    Initializer(Panicked),
    /// The process that workers are to be forked from has more than one thread: what the others do and
    /// hold would be missing in the workers.
    #[non_exhaustive]
    Threads {
        /// How many it has.
        count: usize,
    },
    /// The process that workers are forked from has died, and cannot be made again
    /// ([`PoolBuilder::fork`](crate::PoolBuilder::fork)).
    ServerDied,
    /// The initializer returned an error.
    InitializerFailed(RemoteError),
    /// Its process ended in its initializer; the status says how.
    InitializerDied,
    /// Workers started and were sent tasks, and died before they had completed any, so many in a row; no
    /// task was to blame, so none of them could be failed instead. The status is that of the last one.
    #[non_exhaustive]
    NoProgress {
        /// How many.
        deaths: u32,
    },
}

impl std::error::Error for StartFailure {}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartFailure::Exec(errno) => {
                write!(f, "no process: {}", std::io::Error::from_raw_os_error(*errno))?;
                let hint = if *errno == libc::ENOENT { "; is the worker's program there?" } else { "" };
                f.write_str(hint)
            }
            StartFailure::Exited => f.write_str(
                "it ended before it reported; does the program do anything before `pannier::init()`, \
                 or has it too little by its `Hardening`?",
            ),
            StartFailure::TimedOut { after } => write!(
                f,
                "it did not report within {after:?}; does the program wait before `pannier::init()`, \
                 or take what is preloaded so long?"
            ),
            StartFailure::Loader { executed } => write!(
                f,
                "this program was started through {}; say how its workers are to be started by \
                 `PoolBuilder::worker_command`",
                executed.display()
            ),
            StartFailure::NoBuildId => f.write_str(
                "the program has no build-id: link it with `-C link-arg=-Wl,--build-id`",
            ),
            StartFailure::WrongProgram => f.write_str(
                "it is another program or another build; was the file replaced, or does \
                 `PoolBuilder::worker_command` name another?",
            ),
            StartFailure::Threads { count } => write!(
                f,
                "what workers are forked from has {count} threads and must have one; does something \
                 start threads before that, or leave them behind? Libraries may when they are loaded: \
                 OpenBLAS does not with `PoolBuilder::env(\"OPENBLAS_NUM_THREADS\", \"1\")`"
            ),
            StartFailure::ServerDied => f.write_str(
                "the process that workers are forked from has died; build another pool",
            ),
            StartFailure::Initializer(panicked) => {
                write!(f, "what it runs first (initializer, preload, confine) {panicked}")
            },
            StartFailure::InitializerFailed(error) => write!(f, "its initializer failed: {error}"),
            StartFailure::InitializerDied => f.write_str("it died in its initializer"),
            StartFailure::NoProgress { deaths } => write!(
                f,
                "{deaths} in a row died before they had completed a task, and not in one; is somebody \
                 killing them, or has the machine no time or memory for them?"
            ),
        }
    }
}

/// Any error as text, with its chain of sources: for functions whose own error serde cannot carry.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::RemoteError;
///
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let read = |path: String| std::fs::read(path).map_err(RemoteError::new);
/// let error = pool.submit(read, "/no/such/file".to_owned()).join()?.unwrap_err();
/// assert!(error.message.contains("No such file"));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemoteError {
    /// What the error said.
    pub message: String,
    /// The error behind it.
    pub source: Option<Box<RemoteError>>,
}

impl RemoteError {
    /// The text of an error and of everything behind it.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = pannier::RemoteError::new("no more seats");
    /// assert_eq!(error.to_string(), "no more seats");
    /// ```
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = error.into();
        RemoteError::of_chain(&*error, MAX_SOURCES)
    }

    fn of_chain(error: &(dyn std::error::Error + 'static), left: u32) -> Self {
        let source = error.source().filter(|_| left > 0);
        let source = source.map(|source| Box::new(RemoteError::of_chain(source, left - 1)));
        RemoteError { message: error.to_string(), source }
    }
}

/// A longer chain is a circle.
const MAX_SOURCES: u32 = 32;

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

//! [`TaskBuilder`]: one task with settings of its own, and how it is submitted.
//!
//! Promises: what cannot be submitted without waiting comes back whole.
//! Does not know: how arguments are packed.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::handle::JoinHandle;
use super::inner::{Admission, Inner, Settings};
use crate::codec::Data;
use crate::sys::epoch::OwnedHere;
use crate::task::{Function, Plain};

/// One task with settings of its own, from [`Pool::task`](crate::Pool::task).
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use std::time::Duration;
///
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let hang = |()| -> () { loop { std::thread::park() } };
/// let hung = pool.task().timeout(Duration::from_millis(50)).submit(hang, ());
/// assert!(matches!(hung.join(), Err(pannier::TaskError::TimedOut { .. })));
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing runs before `submit`"]
pub struct TaskBuilder<'p> {
    pool: &'p OwnedHere<Arc<Inner>>,
    settings: Settings,
}

impl<'p> TaskBuilder<'p> {
    pub(super) fn new(pool: &'p OwnedHere<Arc<Inner>>) -> Self {
        TaskBuilder { pool, settings: pool.settings }
    }
}

impl TaskBuilder<'_> {
    /// How long the task may run; see [`PoolBuilder::task_timeout`](crate::PoolBuilder::task_timeout).
    ///
    /// # Examples
    ///
    /// See [`TaskBuilder`].
    pub fn timeout(mut self, d: Duration) -> Self {
        self.settings.timeout = Some(d);
        self
    }

    /// How often the task may be started when its worker dies under it, at least once.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let task = pool.task().attempts(1);
    /// assert!(task.submit(|()| -> () { std::process::abort() }, ()).join().is_err());
    /// assert_eq!(pool.stats().tasks_retried, 0);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn attempts(mut self, n: u32) -> Self {
        self.settings.attempts = n.max(1);
        self
    }

    /// Runs `f(args)` in a worker; see [`Pool::submit`](crate::Pool::submit).
    ///
    /// # Examples
    ///
    /// See [`TaskBuilder`].
    pub fn submit<A: Data, R: Data, F: Function<A, R>>(self, f: F, args: A) -> JoinHandle<R> {
        // The type is all there is to it.
        let _ = f;
        let is_here = self.pool.is_here();
        if is_here {
            self.pool.wait_for_room();
        }
        self.pool.submit_one::<Plain<F, A, R>>(args, self.settings, is_here)
    }

    /// The same without waiting; see [`Pool::try_submit`](crate::Pool::try_submit).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let handle = pool.task().attempts(1).try_submit(u32::count_ones, 7).expect("there is room");
    /// assert_eq!(handle.join()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn try_submit<A: Data, R: Data, F: Function<A, R>>(
        self,
        f: F,
        args: A,
    ) -> Result<JoinHandle<R>, TrySubmitError<A>> {
        let _ = f;
        if !self.pool.is_here() {
            return Err(TrySubmitError::Closed(args));
        }
        match self.pool.admits() {
            Admission::Yes => {}
            Admission::Full => return Err(TrySubmitError::Full(args)),
            Admission::Closed => return Err(TrySubmitError::Closed(args)),
        }
        let submitted = self.pool.try_submit_one::<Plain<F, A, R>>(args, self.settings);
        submitted.map_err(TrySubmitError::Full)
    }
}

/// A task that could not be submitted without waiting; the arguments come back.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{Pool, Shutdown, TrySubmitError};
/// use std::time::Duration;
///
/// let pool = Pool::builder().workers(1).build()?;
/// pool.shutdown(Shutdown::Graceful, Duration::from_secs(60))?;
/// let refused = pool.try_submit(|text: String| text.len(), "again".to_owned());
/// assert!(matches!(refused, Err(TrySubmitError::Closed(text)) if text == "again"));
/// # Ok::<(), pannier::Error>(())
/// ```
#[non_exhaustive]
pub enum TrySubmitError<A> {
    /// The queue is full, or there is no shared memory for the arguments now.
    Full(A),
    /// The pool is shut down, broken, or the parent's of this forked process.
    Closed(A),
}

impl<A> fmt::Debug for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySubmitError::Full(_) => "Full(..)",
            TrySubmitError::Closed(_) => "Closed(..)",
        })
    }
}

impl<A> fmt::Display for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySubmitError::Full(_) => {
                "the pool has no room for another task now; wait for one, or use `submit`"
            }
            TrySubmitError::Closed(_) => "the pool takes no more tasks",
        })
    }
}

impl<A> std::error::Error for TrySubmitError<A> {}

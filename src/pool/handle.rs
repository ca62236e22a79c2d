//! [`JoinHandle`]: the caller's side of a task.
//!
//! Promises: it resolves exactly once; whoever joins decodes, on his own thread.
//! Does not know: how the task is run.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Wake};
use std::time::{Duration, Instant};

use super::callback::Callback;
use super::error::TaskError;
use super::inner::Inner;
use super::pending::{Answer, Pending};
use super::resolve::{Names, outcomes_of};
use crate::codec::Data;
use crate::sys::epoch::OwnedHere;

/// A task that was submitted; joining gives its result. Dropping the handle lets the task run on.
///
/// It is a [`Future`] too, for any executor. It is `Send + Sync + Unpin` whatever `R` is.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let handle = pool.submit(|(a, b): (u64, u64)| a * b, (6, 7));
/// assert_eq!(handle.join()?, 42);
/// # Ok::<(), pannier::Error>(())
/// ```
#[must_use = "a dropped handle detaches its task; join it for the result"]
pub struct JoinHandle<R> {
    task: OwnedHere<Task>,
    names: Names,
    taken: bool,
    /// Dropping it ends the task.
    kills: bool,
    /// Chosen where `R` is known to be data, so that a handle needs no bounds.
    decode: fn(Answer, &Inner, &Names) -> Result<R, TaskError>,
}

#[derive(Clone)]
struct Task {
    pool: Arc<Inner>,
    pending: Arc<Pending>,
}

impl<R> JoinHandle<R> {
    pub(super) fn new(pool: Arc<Inner>, pending: Arc<Pending>, names: Names) -> Self
    where
        R: Data,
    {
        let task = OwnedHere::new(Task { pool, pending });
        JoinHandle { task, names, taken: false, kills: false, decode: outcome_of::<R> }
    }

    /// Whether joining would return at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let handle = pool.submit(|()| (), ());
    /// while !handle.is_finished() {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.task.is_here() || self.task.pending.is_complete()
    }

    /// Withdraws the task if no worker has started it; whether it was in time.
    ///
    /// A task that was in time ends as [`TaskError::Cancelled`].
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let forever = |()| loop { std::thread::park() };
    /// let running: pannier::JoinHandle<()> = pool.submit(forever, ());
    /// let next: pannier::JoinHandle<()> = pool.submit(forever, ());
    /// let queued: pannier::JoinHandle<()> = pool.submit(forever, ());
    /// assert!(queued.cancel());
    /// running.kill();
    /// next.kill();
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.task.is_here() && cancel(&self.task.pool, &self.task.pending)
    }

    /// Ends the task, and the worker with it if it runs; only this task fails.
    ///
    /// It ends as [`TaskError::Killed`], unless its result is there already.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use pannier::TaskError;
    ///
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let handle = pool.submit(|()| -> () { loop { std::thread::park() } }, ());
    /// handle.kill();
    /// assert!(matches!(handle.join(), Err(TaskError::Killed)));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn kill(&self) {
        if self.task.is_here() {
            self.task.kill();
        }
    }

    /// Whether dropping the handle kills the task, as [`kill`](Self::kill) does, instead of letting it
    /// run on. It does not if this is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let forever = pool.submit(|()| -> () { loop { std::thread::park() } }, ()).kill_on_drop(true);
    /// drop(forever);
    /// assert_eq!(pool.submit(u32::count_ones, 7).join()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn kill_on_drop(mut self, on: bool) -> Self {
        self.kills = on;
        self
    }

    /// For another thread, to cancel or kill the task while this one joins.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let forever = pool.submit(|()| -> () { loop { std::thread::park() } }, ());
    /// let abort = forever.abort_handle();
    /// std::thread::spawn(move || abort.kill());
    /// assert!(matches!(forever.join(), Err(pannier::TaskError::Killed)));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle { task: self.task.share(), id: self.names.id }
    }

    /// Has `f` called with the result, on a thread that the pool has for callbacks: one after the
    /// other, in the order in which the tasks end, outside of all locks. It may submit tasks and join
    /// them. When it panics, nothing else happens.
    ///
    /// Where the system has no thread for that any more, this waits for the result and calls `f` itself.
    /// In a forked child the result is [`TaskError::ForkedHandle`], at once.
    ///
    /// # Panics
    ///
    /// If the result was taken before.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// pool.submit(u32::count_ones, 7).on_done(move |result| sender.send(result).unwrap());
    /// assert_eq!(receiver.recv().unwrap()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn on_done(self, f: impl FnOnce(Result<R, TaskError>) + Send + 'static)
    where
        R: 'static,
    {
        assert!(!self.taken, "the result of this task was taken before");
        if !self.task.is_here() {
            return f(Err(TaskError::ForkedHandle));
        }
        let Ok(thread) = self.task.pool.callbacks.sender() else { return f(self.join()) };
        let pending = self.task.pending.clone();
        let call = move || {
            let mut handle = self;
            f(handle.try_join().expect("it is called when the task is over"));
        };
        let callback = Callback::new(Box::new(call), thread);
        if pending.poll(&callback.clone().into()) {
            // It is over already.
            callback.wake();
        }
    }

    /// The number of this submission; unique within its pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// assert_ne!(pool.submit(|()| (), ()).id(), pool.submit(|()| (), ()).id());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u64 {
        self.names.id
    }
}

/// Cancels or kills a task while its handle is elsewhere: from [`JoinHandle::abort_handle`].
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder().workers(1).build()?;
/// let handle = pool.submit(u32::count_ones, 7);
/// let abort = handle.abort_handle();
/// assert_eq!((abort.id(), handle.join()?), (abort.clone().id(), 3));
/// assert!(abort.is_finished() && !abort.cancel());
/// # Ok::<(), pannier::Error>(())
/// ```
pub struct AbortHandle {
    task: OwnedHere<Task>,
    id: u64,
}

impl AbortHandle {
    /// Withdraws the task if no worker has begun it; see [`JoinHandle::cancel`].
    ///
    /// # Examples
    ///
    /// See [`AbortHandle`].
    pub fn cancel(&self) -> bool {
        self.task.is_here() && cancel(&self.task.pool, &self.task.pending)
    }

    /// Ends the task wherever it is; see [`JoinHandle::kill`].
    ///
    /// # Examples
    ///
    /// See [`JoinHandle::abort_handle`].
    pub fn kill(&self) {
        if self.task.is_here() {
            self.task.kill();
        }
    }

    /// Whether the task is over.
    ///
    /// # Examples
    ///
    /// See [`AbortHandle`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.task.is_here() || self.task.pending.is_complete()
    }

    /// The task's number in its pool.
    ///
    /// # Examples
    ///
    /// See [`AbortHandle`].
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Clone for AbortHandle {
    fn clone(&self) -> Self {
        AbortHandle { task: self.task.share(), id: self.id }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("AbortHandle").field("id", &self.id).field("finished", &finished).finish()
    }
}

impl Task {
    fn kill(&self) {
        let Task { pool, pending } = self;
        if pending.is_complete() {
            return;
        }
        pool.with_core(|core| {
            for task in pending.tasks() {
                core.recall(pool, task);
                core.scheduler.kill(task);
            }
        });
    }
}

impl<R> Drop for JoinHandle<R> {
    fn drop(&mut self) {
        if self.kills {
            self.kill();
        }
    }
}

/// Withdraws what is still queued; whether that was everything.
pub(crate) fn cancel(pool: &Inner, pending: &Pending) -> bool {
    if pending.is_complete() {
        return false;
    }
    pool.with_core(|core| {
        // Asked for under the lock: a death may split a task meanwhile.
        let tasks = pending.tasks();
        let mut cancel = |task| {
            core.recall(pool, task);
            core.scheduler.cancel(task)
        };
        let late = tasks.iter().filter(|&&task| !cancel(task)).count();
        !tasks.is_empty() && late == 0
    })
}

impl<R> JoinHandle<R> {
    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// Why there is none; see [`TaskError`].
    ///
    /// # Panics
    ///
    /// If [`join_timeout`](Self::join_timeout), [`try_join`](Self::try_join) or polling has given
    /// the result already.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// assert_eq!(pool.submit(str_len, "long".to_owned()).join()?, 4);
    ///
    /// fn str_len(text: String) -> usize {
    ///     text.len()
    /// }
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn join(mut self) -> Result<R, TaskError> {
        self.take(|pool, pending| pool.wait(pending, None))
            .expect("waiting without end ends with a result")
    }

    /// Waits for the result so long; `None` when the time is over, and the handle can be joined again.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::time::Duration;
    ///
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let mut handle = pool.submit(|()| -> () { loop { std::thread::park() } }, ());
    /// assert!(handle.join_timeout(Duration::from_millis(1)).is_none());
    /// handle.kill();
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn join_timeout(&mut self, d: Duration) -> Option<Result<R, TaskError>> {
        let deadline = Instant::now().checked_add(d);
        self.take(|pool, pending| pool.wait(pending, deadline))
    }

    /// The result if it is there.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let mut handle = pool.submit(|x: u32| x + 1, 1);
    /// let two = loop {
    ///     if let Some(result) = handle.try_join() {
    ///         break result?;
    ///     }
    ///     std::thread::yield_now();
    /// };
    /// assert_eq!(two, 2);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn try_join(&mut self) -> Option<Result<R, TaskError>> {
        self.take(|_pool, pending| pending.is_complete())
    }

    /// The result, once `there` says that it is.
    fn take(
        &mut self,
        there: impl FnOnce(&Inner, &Pending) -> bool,
    ) -> Option<Result<R, TaskError>> {
        if !self.task.is_here() {
            return Some(Err(TaskError::ForkedHandle));
        }
        assert!(!self.taken, "the result of this task was taken before");
        let Task { pool, pending } = &*self.task;
        if !there(pool, pending) {
            return None;
        }
        self.taken = true;
        let answer = pending.take_answers().pop().expect("a task of one item has one answer");
        Some((self.decode)(answer, pool, &self.names))
    }
}

/// The result of a task of one item.
fn outcome_of<R: Data>(answer: Answer, pool: &Inner, names: &Names) -> Result<R, TaskError> {
    let mut outcomes = outcomes_of(answer, pool, |_item| names.clone());
    outcomes.pop().expect("an answer has as many outcomes as items")
}

impl<R> Future for JoinHandle<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let taken = self.take(|_pool, pending| pending.poll(cx.waker()));
        taken.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<R> fmt::Debug for JoinHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.names.id)
            .field("function", &self.names.function)
            .field("finished", &self.is_finished())
            .finish()
    }
}

//! [`Pool`]: the front door.
//!
//! Promises: in a forked child every operation says so, and touches nothing.
//! Does not know: what happens behind the door.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;

use super::builder::{PoolBuilder, check_workers};
use super::handle::JoinHandle;
use super::inner::Inner;
use super::one::{TaskBuilder, TrySubmitError};
use super::scheduler::Shutdown;
use super::stats::Stats;
use crate::buffer::{BufferMut, element_bytes};
use crate::codec::Data;
use crate::error::{Error, Result};
use crate::sys::epoch::OwnedHere;
use crate::task::Function;

/// How long a pool that is dropped lets running tasks go on.
const DROP_GRACE: Duration = Duration::from_secs(1);

/// Worker processes that run functions, and survive each other.
///
/// A worker is this program, started again: [`init`](crate::init) must be the first line of `main`.
/// Shared by reference or in an `Arc`. Dropping the last one cancels what is queued, gives running
/// tasks one second to finish, and then kills: call [`shutdown`](Self::shutdown) to wait for longer.
///
/// # Examples
///
/// ```
/// use pannier::{Buffer, Pool};
///
/// fn main() -> pannier::Result<()> {
///     pannier::init();
///     let pool = Pool::builder().workers(2).build()?;
///
///     let mut column = pool.alloc::<f64>(1 << 20)?; // in shared memory, filled in place
///     column.fill(0.5);
///     let sum = |column: Buffer<f64>| column.iter().sum::<f64>();
///     let handle = pool.submit(sum, column.freeze()); // not copied
///     assert_eq!(handle.join()?, (1 << 19) as f64);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Pool {
    inner: OwnedHere<Arc<Inner>>,
}

impl Pool {
    pub(super) fn over(inner: Arc<Inner>) -> Self {
        Pool { inner: OwnedHere::new(inner) }
    }

    /// A pool with one worker per available CPU.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// assert!(pannier::Pool::new()?.workers() >= 1);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn new() -> Result<Pool> {
        Pool::builder().build()
    }

    /// A pool with settings of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Runs `f(args)` in a worker.
    ///
    /// Several arguments are a tuple. Buffers in shared memory are not copied; others are copied
    /// there once, however many tasks they go to. An error is told by the handle.
    ///
    /// It does not wait for a worker, but in two cases for what workers do: while as many tasks as the
    /// [`queue_limit`](PoolBuilder::queue_limit) have not begun; and, where the arguments need shared
    /// memory and the pool has none left, while tasks may give some back (see
    /// [`wait_for_memory`](PoolBuilder::wait_for_memory)). In wakers that the pool calls it waits for
    /// neither. [`try_submit`](Self::try_submit) never does.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let handle = pool.submit(|(a, b): (u32, u32)| a.pow(b), (2, 10));
    /// assert_eq!(handle.join()?, 1024);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn submit<A: Data, R: Data, F: Function<A, R>>(&self, f: F, args: A) -> JoinHandle<R> {
        self.task().submit(f, args)
    }

    /// As [`submit`](Self::submit), without ever waiting: neither for the queue nor for memory.
    ///
    /// # Errors
    ///
    /// [`TrySubmitError::Full`] when the [queue](PoolBuilder::queue_limit) is full or there is no shared
    /// memory for the arguments now, [`TrySubmitError::Closed`] when the pool is shut down, broken, or
    /// the parent's of this forked process. Either has the arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let handle = pool.try_submit(u32::count_ones, 7).expect("an idle pool has room");
    /// assert_eq!(handle.join()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn try_submit<A: Data, R: Data, F: Function<A, R>>(
        &self,
        f: F,
        args: A,
    ) -> std::result::Result<JoinHandle<R>, TrySubmitError<A>> {
        self.task().try_submit(f, args)
    }

    /// One task with settings of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::time::Duration;
    ///
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let task = pool.task().timeout(Duration::from_secs(60)).attempts(1);
    /// assert_eq!(task.submit(u32::count_ones, 7).join()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn task(&self) -> TaskBuilder<'_> {
        TaskBuilder::new(&self.inner)
    }

    /// A writable buffer of `len` items in shared memory; frozen, it goes to workers without a copy.
    ///
    /// A recycled block keeps its old contents: write every element, or use
    /// [`alloc_zeroed`](Self::alloc_zeroed). Blocks begin at multiples of 4096 bytes; with items that
    /// must be aligned to more the program does not build. Waits for memory as [`submit`](Self::submit)
    /// does.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] beyond the pool's [memory limit](PoolBuilder::memory_limit), when there
    /// is nothing to wait for.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let mut column = pool.alloc::<u32>(1_000)?;
    /// column.fill(7);
    /// assert!(column.freeze().is_shared());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn alloc<T: Pod>(&self, len: usize) -> Result<BufferMut<T>> {
        self.allocate(len, false)
    }

    /// As [`alloc`](Self::alloc), with every byte zero.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// assert_eq!(*pool.alloc_zeroed::<u32>(2)?, [0, 0]);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn alloc_zeroed<T: Pod>(&self, len: usize) -> Result<BufferMut<T>> {
        self.allocate(len, true)
    }

    /// How many workers the pool is to have: as many as were asked for last. Those that are ready
    /// [`stats`](Self::stats) counts.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// assert_eq!(pannier::Pool::builder().workers(1).build()?.workers(), 1);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.workers()
    }

    /// Changes how many workers the pool has, at least one. New ones are started at once; who is not
    /// needed any more finishes what it runs, and what it has not begun runs elsewhere. Waits for neither.
    /// A worker that is not needed and does not end within ten seconds of being asked to is killed.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for no workers, [`Error::ForkedHandle`] in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// pool.resize(3)?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn resize(&self, workers: usize) -> Result<()> {
        if !self.inner.is_here() {
            return Err(Error::ForkedHandle);
        }
        check_workers(workers)?;
        self.inner.resize(workers);
        Ok(())
    }

    /// The process numbers of the workers that are ready now.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.worker_pids().len(), 2);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        if self.inner.is_here() { self.inner.lock().ready_pids().collect() } else { Vec::new() }
    }

    /// The pool's counters.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// pool.submit(|()| (), ()).join()?;
    /// assert_eq!(pool.stats().tasks_completed, 1);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        if self.inner.is_here() { self.inner.stats() } else { Stats::default() }
    }

    /// Ends the pool, and returns when its workers are gone.
    ///
    /// By `how`, queued tasks run still, or end as [`TaskError::Cancelled`], and running ones may
    /// finish, or end as [`TaskError::Killed`]. What has not ended by the deadline is killed. From any
    /// holder, more than once; tasks submitted later end as [`TaskError::PoolClosed`]. In a waker that
    /// the pool calls it does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::WorkersRemain`] for workers that the kernel did not end within five seconds more,
    /// [`Error::ForkedHandle`] in a forked child.
    ///
    /// [`TaskError::Cancelled`]: crate::TaskError::Cancelled
    /// [`TaskError::Killed`]: crate::TaskError::Killed
    /// [`TaskError::PoolClosed`]: crate::TaskError::PoolClosed
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::time::Duration;
    ///
    /// let pool = pannier::Pool::builder().workers(1).build()?;
    /// let handle = pool.submit(|x: i32| -x, 1);
    /// pool.shutdown(pannier::Shutdown::Graceful, Duration::from_secs(60))?;
    /// assert_eq!(handle.join()?, -1);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown, deadline: Duration) -> Result<()> {
        if !self.inner.is_here() {
            return Err(Error::ForkedHandle);
        }
        self.inner.shutdown(how, deadline)
    }

    pub(crate) fn inner(&self) -> &OwnedHere<Arc<Inner>> {
        &self.inner
    }

    fn allocate<T: Pod>(&self, len: usize, zeroed: bool) -> Result<BufferMut<T>> {
        const { assert!(align_of::<T>() <= 4096, "blocks begin at multiples of 4096 bytes") };
        if !self.inner.is_here() {
            return Err(Error::ForkedHandle);
        }
        let bytes = element_bytes::<T>(len)?;
        self.inner.alloc(bytes, zeroed, true)?.cast_aligned()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.inner.is_here() {
            // Workers that remain have nobody left to be reported to.
            let _remain = self.inner.shutdown(Shutdown::Cancel, DROP_GRACE);
        }
    }
}

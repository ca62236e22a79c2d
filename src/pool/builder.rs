//! [`Pool`] and [`PoolBuilder`]: the front door.
//!
//! Promises: a setting that makes no sense is refused when the pool is built.
//! Does not know: what happens behind the door.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;

use super::error::{RemoteError, StartFailed, StartFailure};
use super::handle::JoinHandle;
use super::initializer::Initializer;
use super::inner::{Inner, Plan, Settings};
use super::memory::Policy;
use super::one::{TaskBuilder, TrySubmitError};
use super::scheduler::{Backoff, Config, Shutdown};
use super::stats::Stats;
use super::supervisor;
use crate::buffer::{BufferMut, element_bytes};
use crate::codec::Data;
use crate::error::{Error, Result};
use crate::process::{self, Program};
use crate::sys::child::ExitStatus;
use crate::sys::epoch::OwnedHere;
use crate::sys::{memory, spill};
use crate::task::Function;

/// How workers are started.
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// use pannier::{Pool, StartMethod};
///
/// let pool = Pool::builder().workers(1).start_method(StartMethod::Spawn).build()?;
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMethod {
    /// This program is executed again. Safe whatever threads and locks the program has.
    Spawn,
}

/// The settings of a pool, from [`Pool::builder`].
///
/// # Examples
///
/// ```
/// # pannier::premain!();
/// let pool = pannier::Pool::builder()
///     .workers(2)
///     .attempts(3)
///     .memory_limit(1 << 30)
///     .env("OMP_NUM_THREADS", "1")
///     .build()?;
/// assert_eq!(pool.workers(), 2);
/// # Ok::<(), pannier::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing before `build`"]
pub struct PoolBuilder {
    workers: Option<usize>,
    settings: Settings,
    queue_limit: usize,
    initializer: Option<Initializer>,
    memory_limit: Option<u64>,
    waits_for_memory: bool,
    spill: Option<PathBuf>,
    start_method: StartMethod,
    program: Program,
}

/// How deep pools may be nested in each other's workers.
const MAX_DEPTH: u32 = 10;
/// More would not fit the words of the pool's thread.
const MAX_WORKERS: usize = 1 << 20;
/// So many starts may fail one after the other, for each worker: they back off in between.
const MAX_START_FAILURES: u32 = 4;
/// So many workers may die one after the other, each before it has done anything.
const MAX_FRUITLESS_DEATHS: u32 = 16;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_secs(5) };
/// So long a worker may take to begin what it was sent.
const HANG: Duration = Duration::from_secs(10);
/// How long a pool that is dropped lets running tasks go on.
const DROP_GRACE: Duration = Duration::from_secs(1);

impl PoolBuilder {
    /// How many workers; one per available CPU if this is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// assert_eq!(pannier::Pool::builder().workers(1).build()?.workers(), 1);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = Some(n);
        self
    }

    /// How workers are started; [`StartMethod::Spawn`] if this is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = pannier::Pool::builder().start_method(pannier::StartMethod::Spawn);
    /// ```
    pub fn start_method(mut self, m: StartMethod) -> Self {
        self.start_method = m;
        self
    }

    /// What each worker runs before its first task, as `f(args)`: to load a model, or to open a file.
    ///
    /// When it panics or its process ends in it, the pool breaks with that cause if no worker is ready:
    /// [`build`](Self::build) fails. Where others are ready it is tried again, later each time. How long
    /// it takes is not limited.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::sync::OnceLock;
    ///
    /// static FACTOR: OnceLock<u64> = OnceLock::new();
    ///
    /// let set = |factor: u64| { FACTOR.get_or_init(|| factor); };
    /// let pool = pannier::Pool::builder().workers(1).initializer(set, 6).build()?;
    /// assert_eq!(pool.submit(|n: u64| n * FACTOR.get().unwrap(), 7).join()?, 42);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn initializer<A: Data, F: Function<A, ()>>(mut self, f: F, args: A) -> Self {
        // What it captures is as large as nothing, and so is it.
        let run = move |args: A| {
            f(args);
            Ok(())
        };
        self.initializer = Some(Initializer::new(run, args));
        self
    }

    /// The same with a function that may fail; its error is the cause in
    /// [`StartFailed`](crate::StartFailed).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use pannier::{Error, Pool, StartFailure};
    ///
    /// let open = |path: String| std::fs::File::open(path).map(|_| ());
    /// let built = Pool::builder().workers(1).try_initializer(open, "/nonexistent".into()).build();
    /// let Err(Error::StartFailed(failed)) = built else { panic!("there is no such file") };
    /// assert!(matches!(failed.cause, StartFailure::InitializerFailed(_)));
    /// ```
    pub fn try_initializer<A: Data, E, F: Function<A, std::result::Result<(), E>>>(
        mut self,
        f: F,
        args: A,
    ) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let run = move |args: A| f(args).map_err(RemoteError::new);
        self.initializer = Some(Initializer::new(run, args));
        self
    }

    /// How often a task may be started when its worker dies under it; 2 if this is not called.
    ///
    /// Only the task that ran is charged with a death. Of a map that is one item.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).attempts(1).build()?;
    /// assert!(pool.submit(|()| -> () { std::process::abort() }, ()).join().is_err());
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn attempts(mut self, n: u32) -> Self {
        self.settings.attempts = n;
        self
    }

    /// How long a task may run, each item of a map for itself; for ever if this is not called.
    ///
    /// The time begins when a worker has the task before all others. When it is over, the worker is
    /// killed and replaced, and the task ends as [`TaskError::TimedOut`]; it is not tried again, and no
    /// other task is charged. A result that was there in time counts. For one task see
    /// [`Pool::task`], for a map [`Map::timeout`](crate::Map::timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::time::Duration;
    ///
    /// let pool = pannier::Pool::builder()
    ///     .workers(1)
    ///     .task_timeout(Duration::from_millis(50))
    ///     .build()?;
    /// let forever = pool.submit(|()| -> () { loop { std::thread::park() } }, ());
    /// assert!(matches!(forever.join(), Err(pannier::TaskError::TimedOut { .. })));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    ///
    /// [`TaskError::TimedOut`]: crate::TaskError::TimedOut
    pub fn task_timeout(mut self, d: Duration) -> Self {
        self.settings.timeout = Some(d);
        self
    }

    /// How many submitted tasks may wait, not yet started; any number if this is not called. When there
    /// are so many, `submit` waits and [`try_submit`](Pool::try_submit) gives the arguments back. Maps
    /// are bounded by their look-ahead instead.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).queue_limit(10).build()?;
    /// let handles: Vec<_> = (0..100).map(|n: u32| pool.submit(|n: u32| n, n)).collect();
    /// assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u32>(), 4950);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn queue_limit(mut self, tasks: usize) -> Self {
        self.queue_limit = tasks;
        self
    }

    /// How many bytes of shared memory the pool may have; those of the machine if this is not called.
    /// Less where a control group leaves less: that is asked for whenever the pool needs more.
    ///
    /// Whoever needs more waits while tasks are under way that may give some back (see
    /// [`wait_for_memory`](Self::wait_for_memory)); then it lies in a file, if there is a folder for
    /// that (see [`spill`](Self::spill)), or there is an [`Error::OutOfMemory`].
    ///
    /// When half of it is in use, an argument waits until results find room beside it: one for each
    /// worker, as large as the argument or the largest so far, but no more than the other half.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).memory_limit(1 << 20).build()?;
    /// assert!(matches!(pool.alloc::<u8>(2 << 20), Err(pannier::Error::OutOfMemory { .. })));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Whether a thread that submits or allocates waits when the pool's memory is used up; it does if
    /// this is not called.
    ///
    /// It waits while tasks or queued releases may give memory back, and no longer: what the program
    /// itself keeps, results for example, is not waited for. So do the workers, for the memory of
    /// their results; if all of them wait for each other, the first is refused. Say no where a
    /// task may run on for as long as the thread that would wait does not, or in an event loop.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).memory_limit(3 << 20).build()?;
    /// let sum = |bytes: pannier::Buffer<u8>| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    /// let handles: Vec<_> = (0..10)
    ///     .map(|_| pool.submit(sum, vec![1; 1 << 20].into())) // each waits for one before it
    ///     .collect();
    /// for handle in handles {
    ///     assert_eq!(handle.join()?, 1 << 20);
    /// }
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn wait_for_memory(mut self, yes: bool) -> Self {
        self.waits_for_memory = yes;
        self
    }

    /// Puts arguments for which there is no memory, and is none to wait for, into files in this
    /// folder. They have no name, so nothing can stay behind, and their space is taken before they are
    /// used, so a full disk is an error and not a signal.
    ///
    /// Results are never put there: a worker that can write a file could truncate it under the buffers
    /// of this process. Workers get files to read only. A file system that copies on write, or a disk
    /// that fails, can still end the process with SIGBUS.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let here = std::env::current_dir()?;
    /// let pool = pannier::Pool::builder().workers(1).memory_limit(1 << 20).spill(here).build()?;
    /// let mut column = pool.alloc_zeroed::<u8>(2 << 20)?;
    /// column[7] = 1;
    /// let sum = |column: pannier::Buffer<u8>| column.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    /// assert_eq!(pool.submit(sum, column.freeze()).join()?, 1);
    /// assert_eq!(pool.stats().file_bytes, 2 << 20);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn spill(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spill = Some(folder.into());
        self
    }

    /// Sets a variable in the environment of the workers.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).env("OMP_NUM_THREADS", "1").build()?;
    /// let threads = |()| std::env::var("OMP_NUM_THREADS").ok();
    /// assert_eq!(pool.submit(threads, ()).join()?.as_deref(), Some("1"));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.program.env.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the environment of the workers.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).env_remove("PATH").build()?;
    /// let has_path = |()| std::env::var_os("PATH").is_some();
    /// assert!(!pool.submit(has_path, ()).join()?);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.program.env.push((key.into(), None));
        self
    }

    /// Starts the workers with an empty environment, but for what is set here.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).env_clear().env("ONLY", "this").build()?;
    /// let has_path = |()| std::env::var_os("PATH").is_some();
    /// assert!(!pool.submit(has_path, ()).join()?);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn env_clear(mut self) -> Self {
        self.program.clear_env = true;
        self.program.env.clear();
        self
    }

    /// Starts the workers, side by side, and waits until they are ready.
    ///
    /// # Errors
    ///
    /// [`Error::NotInitialised`] where neither [`init`](crate::init) nor
    /// [`premain!`](crate::premain) has run: the workers would run this program's `main`.
    /// [`Error::TooDeep`] inside ten pools' workers, [`Error::Setting`] for no workers, no attempts or a
    /// queue for no task, [`Error::StartFailed`] when the workers do not start. For a folder to
    /// [spill](Self::spill) to: [`Error::SpillInMemory`] if it is memory itself, [`Error::Io`] if it
    /// cannot be opened or its file system has no files without a name (`O_TMPFILE`).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let none = pannier::Pool::builder().workers(0).build();
    /// assert!(matches!(none, Err(pannier::Error::Setting { name: "workers", .. })));
    /// ```
    pub fn build(self) -> Result<Pool> {
        let workers = self.check()?;
        let in_words = |workers: usize| u32::try_from(workers).unwrap_or(u32::MAX);
        let config = Config {
            workers,
            max_start_failures: MAX_START_FAILURES.saturating_mul(in_words(workers)),
            max_fruitless_deaths: MAX_FRUITLESS_DEATHS,
            backoff: BACKOFF,
            hang: HANG,
        };
        let policy = Policy {
            limit: self.memory_limit.unwrap_or_else(memory::total_memory),
            waits: self.waits_for_memory,
        };
        let PoolBuilder { settings, queue_limit, program, initializer, .. } = self;
        let inner = Inner::new(Plan { config, settings, queue_limit, program, policy })?;
        if let Some(folder) = &self.spill {
            inner.memory.spill_to(spill::open_folder(folder)?);
        }
        if let Some(prepared) = initializer.map(|initializer| initializer.pack(&inner)) {
            let prepared = prepared.map_err(|error| {
                let cause = StartFailure::InitializerFailed(RemoteError::new(error));
                let status = ExitStatus::Unknown;
                Error::StartFailed(StartFailed { cause, status, stderr_tail: None })
            })?;
            let _only = inner.initializer.set(prepared);
        }
        supervisor::start(&inner)?;
        let pool = Pool { inner: OwnedHere::new(inner) };
        pool.inner.wait_until_started()?;
        Ok(pool)
    }

    /// The number of workers, if everything makes sense.
    fn check(&self) -> Result<usize> {
        if !process::is_initialised() {
            return Err(Error::NotInitialised);
        }
        let depth = process::depth();
        if depth >= MAX_DEPTH {
            return Err(Error::TooDeep { depth, limit: MAX_DEPTH });
        }
        let StartMethod::Spawn = self.start_method;
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or_else(cpus);
        let setting = |name, value: usize| Error::Setting { name, value: value as u64 };
        if workers == 0 || workers > MAX_WORKERS {
            return Err(setting("workers", workers));
        }
        if self.settings.attempts == 0 {
            return Err(setting("attempts", 0));
        }
        if self.queue_limit == 0 {
            return Err(setting("queue_limit", 0));
        }
        Ok(workers)
    }
}

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
        PoolBuilder {
            workers: None,
            settings: Settings { attempts: 2, timeout: None },
            queue_limit: usize::MAX,
            initializer: None,
            memory_limit: None,
            waits_for_memory: true,
            spill: None,
            start_method: StartMethod::Spawn,
            program: Program::default(),
        }
    }

    /// Runs `f(args)` in a worker.
    ///
    /// Several arguments are a tuple. Buffers in shared memory are not copied; others are copied
    /// there once, however many tasks they go to. Never waits for a worker.
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
    /// must be aligned to more the program does not build.
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

    /// How many workers the pool has.
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
        self.inner.workers
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
    /// holder, more than once; tasks submitted later end as [`TaskError::PoolClosed`].
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

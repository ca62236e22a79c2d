//! [`PoolBuilder`]: the settings of a pool.
//!
//! Promises: a setting that makes no sense is refused when the pool is built.
//! Does not know: what follows from a setting.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::births::Births;
use super::error::{RemoteError, StartFailed, StartFailure};
use super::front::Pool;
use super::hardening::Hardening;
use super::initializer::Initializer;
use super::inner::{Inner, Plan, Settings};
use super::memory::Policy;
use super::once::Once;
use super::scheduler::{Backoff, Config};
use super::supervisor;
use crate::codec::Data;
use crate::error::{Error, Result};
use crate::process::{self, Program};
use crate::sys::child::ExitStatus;
use crate::sys::clone::MayFork;
use crate::sys::{host, memory, spill};
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
    /// This program is executed again once, as a server that makes copies of itself: the workers. As
    /// safe, a quicker start, and workers share the memory of what was
    /// [preloaded](PoolBuilder::preload) until they write to it.
    ///
    /// The server has one thread only. It comes with the first worker, and again when it has died; the
    /// workers do not notice. When this process is killed, the server kills the workers, stopped ones
    /// too. In workers numbers that were drawn in the server are the same: do not draw keys in
    /// `preload`.
    ///
    /// A library that starts threads when it is loaded has to be told not to, or there is no pool
    /// ([`StartFailure::Threads`]): OpenBLAS by the variable `OPENBLAS_NUM_THREADS=1`, for which there
    /// is [`PoolBuilder::env`].
    ForkServer,
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
    max_tasks_per_worker: Option<u64>,
    max_worker_memory: Option<u64>,
    idle_timeout: Option<Duration>,
    memory_limit: Option<u64>,
    waits_for_memory: bool,
    spill: Option<PathBuf>,
    start_method: StartMethod,
    program: Program,
    hardening: Option<Hardening>,
    preload: Option<Once>,
    /// Instead of the start method.
    pub(super) fork: Option<MayFork>,
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

impl PoolBuilder {
    pub(super) fn new() -> Self {
        PoolBuilder {
            workers: None,
            settings: Settings { attempts: 2, timeout: None },
            queue_limit: usize::MAX,
            initializer: None,
            max_tasks_per_worker: None,
            max_worker_memory: None,
            idle_timeout: None,
            memory_limit: None,
            waits_for_memory: true,
            spill: None,
            start_method: StartMethod::Spawn,
            program: Program::default(),
            hardening: None,
            preload: None,
            fork: None,
        }
    }

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
    /// [`StartFailed`].
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
    /// other task is charged. A result that was there in time counts. An item of a map may run for
    /// nearly twice as long: a worker is looked at when the time may be over. For one task see
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

    /// After how many tasks a worker is replaced; never if this is not called. An item of a map counts as
    /// a task, and a chunk is not divided.
    ///
    /// Its successor is started when it has been sent the last of them, and is ready before it leaves.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).max_tasks_per_worker(1).build()?;
    /// let who = |()| std::process::id();
    /// assert_ne!(pool.submit(who, ()).join()?, pool.submit(who, ()).join()?);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn max_tasks_per_worker(mut self, n: u64) -> Self {
        self.max_tasks_per_worker = Some(n);
        self
    }

    /// How much memory of its own a worker may have, in bytes; any if this is not called. One that has
    /// more is replaced when it has done what it was sent, as after
    /// [`max_tasks_per_worker`](Self::max_tasks_per_worker).
    ///
    /// It is looked every tenth of a second while workers are at work (proc(5), `statm`: resident pages
    /// that are not shared).
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// let pool = pannier::Pool::builder().workers(1).max_worker_memory(1 << 30).build()?;
    /// assert_eq!(pool.submit(u32::count_ones, 7).join()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn max_worker_memory(mut self, bytes: u64) -> Self {
        self.max_worker_memory = Some(bytes);
        self
    }

    /// Ends workers that have had nothing to do for so long, all of them if need be, until there is work
    /// that the others cannot do at once; never if this is not called. Such work waits for a start.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::time::Duration;
    ///
    /// let pool = pannier::Pool::builder().workers(2).idle_timeout(Duration::from_secs(60)).build()?;
    /// assert_eq!(pool.submit(u32::count_ones, 7).join()?, 3);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn idle_timeout(mut self, d: Duration) -> Self {
        self.idle_timeout = Some(d);
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

    /// Trusts no worker: results are copied before they are looked at, and workers give up what
    /// [`Hardening`] says. They are trusted if this is not called: a worker that writes over its own
    /// results after it has sent them changes them under their reader. It cannot be had together with
    /// [`spill`](Self::spill).
    ///
    /// # Examples
    ///
    /// See [`Hardening`].
    pub fn hardened(mut self, hardening: Hardening) -> Self {
        self.hardening = Some(hardening);
        self
    }

    /// Has workers die, wait and fail to start by chance, to see whether tasks stand being run twice.
    ///
    /// # Examples
    ///
    /// See [`Chaos`](crate::Chaos).
    #[cfg(feature = "testing")]
    pub fn chaos(self, plan: process::Chaos) -> Self {
        self.env(process::PLAN, plan.to_text())
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

    /// A worker program that is not this process's: the command is spawned once for each worker, or for the
    /// [fork server](StartMethod::ForkServer).
    ///
    /// For programs that are hosts: an interpreter that has loaded this library, or a program that was
    /// started through a loader. What it starts must be the same program file, and must come to
    /// [`init`](crate::init) with the standard input and the environment that it was given; else there is
    /// an [`Error::StartFailed`] that says what became of it. Standard input, standard error and process
    /// group of the command are the pool's to set, and so is what [`env`](Self::env) names;
    /// [`env_clear`](Self::env_clear) clears the command's too.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::process::Command;
    ///
    /// let mut command = Command::new(std::env::current_exe()?);
    /// command.arg("--as-worker");
    /// let pool = pannier::Pool::builder().workers(1).worker_command(command).build()?;
    /// let has_argument = |()| std::env::args().any(|argument| argument == "--as-worker");
    /// assert!(pool.submit(has_argument, ()).join()?);
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn worker_command(mut self, command: Command) -> Self {
        self.program.command = Some(command);
        self
    }

    /// Runs a function in the [fork server](StartMethod::ForkServer) before it makes workers: what it
    /// loads and computes is there in each of them, and takes memory once.
    ///
    /// Again in each server, if one dies. It has 20 seconds ([`StartFailure::TimedOut`]). It must leave no
    /// threads behind ([`StartFailure::Threads`]), and nothing that does not survive being copied, as
    /// connections do not. With other start methods it is not run.
    ///
    /// # Examples
    ///
    /// ```
    /// # pannier::premain!();
    /// use std::sync::OnceLock;
    /// use pannier::{Pool, StartMethod};
    ///
    /// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    /// fn table() -> &'static [u64] {
    ///     TABLE.get_or_init(|| (0..1_000).map(|x| x * x).collect())
    /// }
    ///
    /// let server = Pool::builder().start_method(StartMethod::ForkServer);
    /// let pool = server.workers(2).preload(|()| drop(table())).build()?;
    /// let found = pool.submit(|at: usize| (TABLE.get().is_some(), table()[at]), 30);
    /// assert_eq!(found.join()?, (true, 900));
    /// # Ok::<(), pannier::Error>(())
    /// ```
    pub fn preload<F: Function<(), ()>>(mut self, f: F) -> Self {
        self.preload = Some(Once::new(f));
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
    /// cannot be opened or its file system has no files without a name (`O_TMPFILE`),
    /// [`Error::SpillHardened`] if workers are not trusted.
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
        let is_this_program = self.program.command.is_none();
        // Before there is anything of this pool that a copy would have too.
        let births = match (&self.fork, self.start_method) {
            (Some(promise), _) => Births::by_copy(self.program, promise)?,
            (None, StartMethod::Spawn) => Births::by_spawn(self.program),
            (None, StartMethod::ForkServer) => {
                let preload = self.preload.as_ref().map(Once::to_words).transpose()?;
                Births::by_fork_server(self.program, preload)
            }
        };
        let in_words = |workers: usize| u32::try_from(workers).unwrap_or(u32::MAX);
        let config = Config {
            workers,
            max_items: self.max_tasks_per_worker,
            idle: self.idle_timeout,
            max_start_failures: MAX_START_FAILURES.saturating_mul(in_words(workers)),
            max_fruitless_deaths: MAX_FRUITLESS_DEATHS,
            backoff: BACKOFF,
            hang: HANG,
        };
        let policy = Policy {
            limit: self.memory_limit.unwrap_or_else(memory::total_memory),
            waits: self.waits_for_memory,
        };
        let PoolBuilder { settings, queue_limit, initializer, .. } = self;
        let max_worker_memory = self.max_worker_memory;
        let confinement = self.hardening.map(Hardening::into_confinement).transpose()?;
        let plan = Plan { config, settings, queue_limit, max_worker_memory, confinement, policy };
        let inner = Inner::new(plan)?;
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
        supervisor::start(&inner, births)?;
        // From here on an error ends the pool.
        let pool = Pool::over(inner);
        match pool.inner().wait_until_started() {
            Err(Error::StartFailed(failed)) if is_this_program => {
                Err(Error::StartFailed(failed.explained_by(host::loader())))
            }
            started => started.map(|()| pool),
        }
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
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or_else(cpus);
        let setting = |name, value: usize| Error::Setting { name, value: value as u64 };
        check_workers(workers)?;
        if self.settings.attempts == 0 {
            return Err(setting("attempts", 0));
        }
        if self.queue_limit == 0 {
            return Err(setting("queue_limit", 0));
        }
        if self.max_tasks_per_worker == Some(0) {
            return Err(setting("max_tasks_per_worker", 0));
        }
        if self.hardening.is_some() && self.spill.is_some() {
            return Err(Error::SpillHardened);
        }
        Ok(workers)
    }
}

pub(super) fn check_workers(workers: usize) -> Result<()> {
    let is_possible = (1..=MAX_WORKERS).contains(&workers);
    is_possible.then_some(()).ok_or(Error::Setting { name: "workers", value: workers as u64 })
}

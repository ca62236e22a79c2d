//! What the handles of a pool and its own thread share.
//!
//! One lock, around [`Core`]; it is held for bookkeeping and sends that do not wait, and never while
//! foreign code runs: answers are given after it is released.
//! Does not know: the rules; the scheduler in the core does.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task;
use std::thread::JoinHandle as Thread;
use std::time::{Duration, Instant};

use super::callback::Callbacks;
use super::core::{Core, Source};
use super::drive::Bells;
use super::memory::Policy;
use super::payload::Payload;
use super::pending::{Answer, Fault, Wake};
use super::scheduler::{Config, Refused, Shutdown};
use super::stats::{Counters, Stats};
use crate::channel::Pulse;
use crate::error::{Error, Result};
use crate::process::Confinement;
use crate::shm::Memory;
use crate::sys::fault::fault;
use crate::sys::poller::{Interest, Poller, Waker};

/// A pool.
#[derive(Debug)]
pub(crate) struct Inner {
    core: Mutex<Core>,
    /// The last worker is gone, or all but those in quarantine, or all are ready for the first time.
    pub(super) changed: Condvar,
    /// Memory or room in the queue may have come back.
    pub(super) turned: Condvar,
    /// Threads that wait for a turn, and workers.
    pub(super) waiters: AtomicU32,
    /// Threads that are about to give memory back.
    pub(super) giving: AtomicU32,
    pub(super) poller: Poller,
    pub(super) waker: Arc<Waker>,
    pub(super) bells: Bells,
    /// For the workers: whether anybody looks for answers.
    pub(super) pulse: OwnedFd,
    pub(crate) memory: Arc<Memory>,
    pub(super) policy: Policy,
    pub(crate) counters: Counters,
    /// How many there are to be.
    workers: AtomicUsize,
    pub(super) max_worker_memory: Option<u64>,
    /// What workers are to give up; `None`: they are trusted.
    pub(super) confinement: Option<Confinement>,
    pub(crate) settings: Settings,
    /// Tasks that have not begun, at most.
    queue_limit: usize,
    next_id: AtomicU64,
    /// Contexts that nobody needs any more, for the workers to hear of.
    forgotten: Mutex<Vec<u64>>,
    /// Of futures that have their answer, for the pool's thread to call.
    wakers: Mutex<Vec<task::Waker>>,
    thread: Mutex<Option<Thread<()>>>,
    pub(super) callbacks: Callbacks,
    /// The initializer: what each worker runs first.
    pub(super) initializer: OnceLock<Arc<Payload>>,
}

/// What each task of a submission may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How often an item may be started when its worker dies under it.
    pub(crate) attempts: u32,
    /// How long an item may run.
    pub(crate) timeout: Option<Duration>,
}

/// What a pool is made with.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) settings: Settings,
    pub(super) queue_limit: usize,
    pub(super) max_worker_memory: Option<u64>,
    pub(super) confinement: Option<Confinement>,
    pub(super) policy: Policy,
}

/// An answer that is to be given, and the payload that it ends.
pub(super) struct Resolved {
    pub(super) payload: Arc<Payload>,
    pub(super) answer: Answer,
}

/// Whether a pool takes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Yes,
    Full,
    Closed,
}

/// How long the death of a killed worker may take before it is reported as remaining.
const KILL_GRACE: Duration = Duration::from_secs(5);

impl Inner {
    pub(super) fn new(plan: Plan) -> io::Result<Arc<Self>> {
        let Plan { config, settings, queue_limit, max_worker_memory, confinement, policy } = plan;
        let (pulse, pulse_fd) = Pulse::create()?;
        let (memory, waker) = (Memory::new(policy.limit), Arc::new(Waker::new()?));
        let for_memory = waker.clone();
        memory.tell(move || for_memory.wake());
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Inner {
            workers: AtomicUsize::new(config.workers),
            max_worker_memory,
            confinement,
            bells: Bells::new(config.workers < cpus)?,
            pulse: pulse_fd,
            core: Mutex::new(Core::new(config, pulse)),
            changed: Condvar::new(),
            turned: Condvar::new(),
            waiters: AtomicU32::new(0),
            giving: AtomicU32::new(0),
            poller: Poller::new()?,
            waker,
            memory,
            policy,
            counters: Counters::default(),
            settings,
            queue_limit,
            callbacks: Callbacks::default(),
            initializer: OnceLock::new(),
            next_id: AtomicU64::new(1),
            forgotten: Mutex::default(),
            wakers: Mutex::default(),
            thread: Mutex::default(),
        }))
    }

    /// How many workers there are to be.
    pub(crate) fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    pub(super) fn resize(&self, workers: usize) {
        self.with_core(|core| {
            self.workers.store(workers, Ordering::Relaxed);
            core.scheduler.resize(workers);
        });
    }

    pub(super) fn set_thread(&self, thread: Thread<()>) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// A number for a submission or a context.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Does something with the core, then all that follows from it.
    pub(super) fn with_core<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.lock();
        let acted = catch_unwind(AssertUnwindSafe(|| {
            let now = core.now();
            core.scheduler.tick(now);
            let result = act(&mut core);
            if !core.is_closed() {
                core.pump(self);
                #[cfg(feature = "fault-points")]
                core.audit(self);
            }
            result
        }));
        let result = match acted {
            Ok(result) => result,
            Err(panic) => {
                // A bug, on whosever thread: nothing here can be relied upon any more.
                drop(core);
                self.abandon();
                self.waker.wake();
                resume_unwind(panic);
            }
        };
        let resolved = core.take_resolved();
        let wake = core.needs_thread();
        if core.waiting_for_change > 0 && core.is_settled() {
            // A system call even if nobody waits.
            self.changed.notify_all();
        }
        if core.wants.take_news() && self.waiters.load(Ordering::SeqCst) > 0 {
            self.turned.notify_all();
        }
        // Before the lock is released: what is over here has not given its memory back yet.
        let giving = (!resolved.is_empty()).then(|| self.giving());
        drop(core);
        self.give(resolved);
        drop(giving);
        if wake {
            self.waker.wake();
        }
        result
    }

    /// Gives answers, to whom nothing of their payload is left: its blocks are his alone.
    fn give(&self, resolved: Vec<Resolved>) {
        for Resolved { payload, answer } in resolved {
            let pending = payload.pending.clone();
            drop(payload);
            fault!("parent.before_answer");
            let wake = pending.answer(answer);
            fault!("parent.after_answer");
            self.wake(wake);
        }
    }

    /// Wakers are called by the pool's thread only: another one may be a driver, who must not be kept
    /// from the bells.
    fn wake(&self, Wake { driver, waker }: Wake) {
        if driver {
            self.nudge();
        }
        let Some(waker) = waker else { return };
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        self.waker.wake();
        if self.lock().is_closed() {
            // That thread may have ended before it could see this one.
            self.call_wakers();
        }
    }

    /// Calls the wakers of what was answered.
    pub(super) fn call_wakers(&self) {
        let wakers =
            std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in wakers {
            // Its panic must not end the pool's thread.
            let _panicked = crate::task::catch(|| waker.wake());
        }
    }

    /// What the pool's thread does about bells.
    pub(super) fn watch_bells(&self, interest: Interest) -> io::Result<()> {
        self.poller.change(&self.bells.sockets, Source::Bells.token(), interest)
    }

    /// Puts the items of a payload into the queue, or answers them at once.
    pub(super) fn submit(&self, id: u64, payload: Arc<Payload>, items: u32, settings: Settings) {
        self.counters.tasks_submitted.add(items.into());
        let pending = payload.pending.clone();
        let refused = self.with_core(|core| core.submit(id, payload, items, settings));
        if let Err(refused) = refused {
            self.counters.tasks_failed.add(items.into());
            let fault = match refused {
                Refused::ShutDown => Fault::Closed,
                Refused::Broken => self.lock().broken(),
            };
            let _nobody_waits =
                pending.answer(Answer { first: 0, count: items, result: Err(fault) });
        }
    }

    /// Whether a task may be submitted now.
    pub(super) fn admits(&self) -> Admission {
        let core = self.lock();
        if core.takes_nothing() {
            return Admission::Closed;
        }
        // Counted only where somebody asks for it.
        let is_full = self.queue_limit < usize::MAX && core.scheduler.unbegun() >= self.queue_limit;
        if is_full { Admission::Full } else { Admission::Yes }
    }

    /// Waits until the queue has room.
    pub(super) fn wait_for_room(&self) {
        if self.queue_limit == usize::MAX || self.is_own_thread() {
            return;
        }
        let _waiting = self.waiting();
        loop {
            let turn = self.lock().wants.turns();
            if self.admits() != Admission::Full {
                return;
            }
            self.wait_for_turn(turn);
        }
    }

    /// Notes that no task will ask for a context again. Called with any lock held.
    pub(super) fn forget_context(&self, context: u64) {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner).push(context);
        self.waker.wake();
    }

    /// Whether contexts are on their way to be forgotten.
    pub(super) fn has_forgotten(&self) -> bool {
        !self.forgotten.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take_forgotten(&self) -> Vec<u64> {
        std::mem::take(&mut self.forgotten.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until every worker has been ready once, or the pool is broken.
    pub(super) fn wait_until_started(&self) -> Result<()> {
        let mut core = self.lock();
        core.waiting_for_change += 1;
        while !core.is_settled() {
            core = self.changed.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        core.waiting_for_change -= 1;
        core.start_failure().map_or(Ok(()), |failure| Err(Error::StartFailed(failure)))
    }

    /// Ends the pool; see [`Pool::shutdown`](crate::Pool::shutdown).
    pub(super) fn shutdown(&self, how: Shutdown, deadline: Duration) -> Result<()> {
        self.with_core(|core| core.shutdown(self, how));
        self.waker.wake();
        if self.is_own_thread() {
            // A waker that dropped the pool: this thread has to go on for the pool to end.
            return Ok(());
        }
        if !self.wait_until_closed(deadline) {
            self.with_core(|core| core.shutdown(self, Shutdown::Kill));
            self.waker.wake();
            if !self.wait_until_closed(KILL_GRACE) {
                return Err(Error::WorkersRemain { pids: self.lock().all_pids() });
            }
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has nothing left to do, and says so only when it has.
            let _panicked = thread.join();
        }
        Ok(())
    }

    pub(super) fn is_own_thread(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id())
    }

    pub(super) fn stats(&self) -> Stats {
        let memory = self.memory.stats();
        let (alive, rung, quarantined) = {
            let core = self.lock();
            (core.ready_pids().count(), core.bells_rung(), core.quarantine.len())
        };
        let (spins_paid, spins_in_vain) = self.bells.spun();
        Stats {
            workers_alive: alive.try_into().unwrap_or(u64::MAX),
            workers_quarantined: quarantined.try_into().unwrap_or(u64::MAX),
            bells_rung: self.counters.bells_rung.get() + rung,
            spins_paid,
            spins_in_vain,
            blocks_live: memory.blocks_live,
            blocks_peak: memory.blocks_peak,
            segments_live: memory.segments_live,
            segment_bytes: memory.segment_bytes,
            file_bytes: memory.file_bytes,
            ..self.counters.snapshot()
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers everything that waits, after a bug has ended the pool's thread.
    pub(super) fn abandon(&self) {
        let waiting = self.lock().abandon();
        self.turned.notify_all();
        for payload in waiting {
            let wake = payload.pending.abandon();
            self.wake(wake);
        }
        self.call_wakers();
    }

    /// The pool's thread has come to its end.
    pub(super) fn close(&self) {
        self.lock().close();
        self.memory.close();
        self.changed.notify_all();
        self.turned.notify_all();
    }

    fn wait_until_closed(&self, patience: Duration) -> bool {
        let mut deadline = Instant::now().checked_add(patience);
        let mut core = self.lock();
        let mut is_patient = true;
        while !core.is_closed() {
            if is_patient && core.waits_for_the_undying() {
                // They had time enough to die.
                let soon = Instant::now() + KILL_GRACE;
                deadline = Some(deadline.map_or(soon, |deadline| deadline.min(soon)));
                is_patient = false;
            }
            core = match deadline {
                None => self.changed.wait(core).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let woken = self.changed.wait_timeout(core, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

//! The state behind the pool's lock: the scheduler, the workers, the payloads.
//!
//! Promises: every action of the scheduler is performed, in order; nothing here waits.
//! Does not know: threads; whoever holds the lock calls.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{StartFailed, StartFailure, TaskInfo, WorkerDied};
use super::inner::{Inner, Resolved, Settings};
use super::memory::Wants;
use super::payload::Payload;
use super::peer::{Dispatch, Peer, Stage};
use super::pending::{Answer, Fault, RawResult};
use super::receive;
use super::scheduler::{
    Action, Config, Event, Refused, Resolution, Scheduler, Shutdown, Split, TaskId, TaskSpec,
    WorkerId,
};
use crate::channel::{Phase, Pulse, SendState, Watch};
#[cfg(feature = "fault-points")]
use crate::shm::Holder;
use crate::sys::child::ExitStatus;
use crate::sys::fault::fault;
use crate::sys::poller::Interest;

/// Everything about a pool that changes.
pub(super) struct Core {
    pub(super) scheduler: Scheduler,
    /// By slot.
    pub(super) peers: Vec<Option<Peer>>,
    /// Workers that were given up, and are not dead; others have their slots.
    pub(super) quarantine: Vec<Peer>,
    /// When it is to be looked whether a worker that was killed has died.
    pub(super) gives_up_at: Option<Instant>,
    payloads: HashMap<u64, Live>,
    /// Workers that the pool's thread is to start.
    starts: Vec<WorkerId>,
    /// Workers that are not wanted any more, though they are being started.
    unwanted: BTreeSet<WorkerId>,
    /// The answers that follow from what was done, to be given without the lock.
    resolved: Vec<Resolved>,
    /// The last death, while the scheduler tells what follows from it.
    pub(super) obituary: Option<Obituary>,
    pub(super) last_failure: Option<StartFailed>,
    began: Instant,
    /// Slots that have had a ready worker.
    ready_once: HashSet<usize>,
    /// Workers that are started when the pool is built.
    at_first: usize,
    watch: Watch,
    /// Somebody looks for answers all the time.
    watched: bool,
    /// Answers were left, though workers do not ring for them.
    unheard: bool,
    /// Blocks that workers ask for.
    pub(super) wants: Wants,
    /// When the pool's thread looks by itself, by the scheduler's time; zero while it is awake.
    pub(super) wakes_at: Duration,
    /// Threads that wait for a start or for the end.
    pub(super) waiting_for_change: u32,
    /// For the messages of workers, one at a time.
    record: Vec<u8>,
    closed: bool,
}

/// A payload with items that are not answered.
struct Live {
    payload: Arc<Payload>,
    missing: u32,
}

/// What is known of a worker that died.
pub(super) struct Obituary {
    pub(super) pid: u32,
    pub(super) generation: u32,
    pub(super) status: ExitStatus,
    pub(super) oom_suspected: bool,
    pub(super) phase: Phase,
    /// What it had been sent and not completed.
    pub(super) sent: Vec<Dispatch>,
}

/// Which descriptor of which worker is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Wake,
    /// Some of the sockets.
    Bells,
    /// The death of the fork server, or something that it said.
    ForkServer,
    Socket(WorkerId),
    Death(WorkerId),
    Stderr(WorkerId),
}

/// Times that all rings are looked at before the lock is given up.
const SCANS: usize = 64;

impl Source {
    pub(super) fn token(self) -> u64 {
        let (kind, worker) = match self {
            Source::Wake => return 0,
            // As wakes for workers that do not wake.
            Source::Bells => return 4,
            Source::ForkServer => return 8,
            Source::Socket(worker) => (1, worker),
            Source::Death(worker) => (2, worker),
            Source::Stderr(worker) => (3, worker),
        };
        let slot = u64::try_from(worker.slot).expect("slots are counted in 32 bits");
        kind | slot << 2 | u64::from(worker.generation) << 32
    }

    pub(super) fn from_token(token: u64) -> Self {
        let slot = usize::try_from((token & u64::from(u32::MAX)) >> 2).unwrap_or(usize::MAX);
        let generation = u32::try_from(token >> 32).unwrap_or(u32::MAX);
        let worker = WorkerId { slot, generation };
        match token & 3 {
            1 => Source::Socket(worker),
            2 => Source::Death(worker),
            3 => Source::Stderr(worker),
            _ if token == 0 => Source::Wake,
            _ if token == 4 => Source::Bells,
            _ => Source::ForkServer,
        }
    }
}

impl Core {
    pub(super) fn new(config: Config, pulse: Pulse) -> Self {
        Core {
            peers: Vec::new(),
            quarantine: Vec::new(),
            gives_up_at: None,
            at_first: config.workers,
            scheduler: Scheduler::new(config),
            payloads: HashMap::new(),
            starts: Vec::new(),
            unwanted: BTreeSet::new(),
            resolved: Vec::new(),
            obituary: None,
            last_failure: None,
            began: Instant::now(),
            ready_once: HashSet::new(),
            watch: Watch::new(pulse),
            watched: false,
            unheard: false,
            wants: Wants::default(),
            wakes_at: Duration::ZERO,
            waiting_for_change: 0,
            record: Vec::new(),
            closed: false,
        }
    }

    /// The scheduler's time.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn submit(
        &mut self,
        id: u64,
        payload: Arc<Payload>,
        items: u32,
        Settings { attempts, timeout }: Settings,
    ) -> Result<(), Refused> {
        if self.closed {
            return Err(if self.scheduler.is_broken() {
                Refused::Broken
            } else {
                Refused::ShutDown
            });
        }
        let spec = TaskSpec { payload: id, first: 0, count: items, attempts, timeout };
        let task = self.scheduler.submit(spec)?;
        payload.pending.assign(task);
        self.payloads.insert(id, Live { payload, missing: items });
        Ok(())
    }

    /// Performs what the scheduler asks for.
    pub(super) fn pump(&mut self, inner: &Inner) {
        self.detach_retired(inner);
        while let Some(action) = self.scheduler.poll_action() {
            match action {
                Action::Start { worker } => {
                    let places = self.peers.len().max(worker.slot + 1);
                    self.peers.resize_with(places, || None);
                    self.starts.push(worker);
                }
                Action::Send { worker, task, attempt, spec } => {
                    self.send(inner, worker, (task, attempt, spec));
                }
                Action::Revoke { worker, task } => self.take_back(inner, worker, task),
                Action::Look { worker, task } => self.look_at(worker, task),
                Action::KillWorker { worker } => match self.peer(worker) {
                    Some(peer) => {
                        peer.kill();
                        self.expect_death();
                    }
                    None => self.not_wanted(worker),
                },
                Action::StopWorker { worker } => self.stop(inner, worker),
                Action::Split(split) => self.split(&split),
                Action::Resolve { task: _, spec, resolution } => {
                    self.resolve(inner, spec, resolution);
                }
            }
        }
        self.obituary = None;
    }

    /// Panics if a task, a payload or a block is nowhere, or in two places.
    #[cfg(feature = "fault-points")]
    pub(super) fn audit(&self, inner: &Inner) {
        let workers = self.peers.iter().flatten();
        let present = workers.clone().map(|peer| Holder::Present(peer.slot()));
        let aside = self
            .quarantine
            .iter()
            .map(|peer| Holder::SetAside { slot: peer.slot(), generation: peer.worker.generation });
        inner.memory.audit(&present.chain(aside).collect());
        let (queued, sent) = (self.scheduler.queued(), self.scheduler.sent());
        assert_eq!(self.payloads.is_empty(), queued + sent == 0, "payloads, and tasks for them");
        let held: usize = workers.map(|peer| peer.sent.len()).sum();
        assert!(held >= sent, "{sent} tasks were sent, and workers have {held}");
    }

    /// Takes in what workers have published. Behind it each answer rings, or somebody watches, or the
    /// pool's thread is told to go on.
    pub(super) fn scan(&mut self, inner: &Inner) {
        self.watch.begin();
        for _ in 0..SCANS {
            let mut more = false;
            for slot in 0..self.peers.len() {
                more |= receive::some(self, inner, slot);
            }
            if self.watched {
                return;
            }
            if more {
                break;
            }
            self.watch.rest();
            if !self.has_answers() {
                self.unheard = false;
                return;
            }
            self.watch.begin();
        }
        // They go on and on. Others want the lock too.
        self.unheard = true;
    }

    /// Whether answers were left that do not ring.
    pub(super) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// From now on somebody looks for answers all the time; they do not ring.
    pub(super) fn begin_watch(&mut self) {
        self.watched = true;
        self.watch.begin();
    }

    /// To be followed by a scan under the same lock.
    pub(super) fn end_watch(&mut self) {
        self.watched = false;
    }

    /// Whether there is something that only the pool's thread does.
    pub(super) fn needs_thread(&self) -> bool {
        let is_due = self.scheduler.poll_timeout().is_some_and(|at| at < self.wakes_at);
        let is_late = self.gives_up_at.is_some_and(|at| at < self.began + self.wakes_at);
        is_due || is_late || self.has_orders()
    }

    /// Whether the pool's thread has something to do now.
    pub(super) fn has_orders(&self) -> bool {
        let has_orders = self.wants_starts() || self.wants.are_due();
        has_orders || self.unheard || self.is_over()
    }

    /// Whether a worker that is listened to has published something.
    pub(super) fn has_answers(&self) -> bool {
        self.peers.iter().flatten().any(|peer| peer.is_heard() && peer.end.has_answers())
    }

    /// The space for a message, to be given back.
    pub(super) fn take_record(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.record)
    }

    pub(super) fn give_record(&mut self, record: Vec<u8>) {
        self.record = record;
    }

    /// The worker in its slot, unless it has been succeeded.
    pub(super) fn peer(&mut self, worker: WorkerId) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(worker.slot)?.as_mut();
        peer.filter(|peer| peer.worker == worker)
    }

    /// Takes the workers that are to be started now.
    pub(super) fn take_starts(&mut self) -> Vec<WorkerId> {
        let (unwanted, wanted) =
            std::mem::take(&mut self.starts).into_iter().partition(|w| self.unwanted.remove(w));
        let unwanted: Vec<WorkerId> = unwanted;
        for worker in unwanted {
            self.tell(Event::StartFailed { worker, is_fatal: false });
        }
        wanted
    }

    pub(super) fn wants_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Whether a worker that has just been started is to be ended again.
    pub(super) fn take_unwanted(&mut self, worker: WorkerId) -> bool {
        self.unwanted.remove(&worker)
    }

    pub(super) fn is_unwanted(&self, worker: WorkerId) -> bool {
        self.unwanted.contains(&worker)
    }

    pub(super) fn tell(&mut self, event: Event) {
        if let Event::WorkerReady { worker } = event {
            self.ready_once.insert(worker.slot);
        }
        let now = self.now();
        self.scheduler.handle_event(event, now);
    }

    /// Ends a task that a worker has run.
    pub(super) fn deliver(
        &mut self,
        inner: &Inner,
        spec: TaskSpec,
        result: Result<RawResult, Fault>,
    ) {
        inner.counters.tasks_completed.add(spec.count.into());
        self.answer(spec, result);
    }

    pub(super) fn take_resolved(&mut self) -> Vec<Resolved> {
        std::mem::take(&mut self.resolved)
    }

    /// What follows from a send: more when there is room, or the end of the worker.
    pub(super) fn after_send(
        &mut self,
        inner: &Inner,
        worker: WorkerId,
        sent: io::Result<SendState>,
    ) {
        let Some(peer) = self.peer(worker) else { return };
        let interest = match sent {
            Ok(SendState::Done | SendState::NoRoom) => Interest::Read,
            Ok(SendState::SocketFull) => Interest::ReadAndWrite,
            Err(_dead_or_dying) => {
                peer.leaves();
                return self.tell(Event::WorkerSuspect { worker });
            }
        };
        if peer.interest != interest {
            peer.interest = interest;
            // It fails only if the descriptor left the set at end of file; death will tell.
            let token = Source::Socket(worker).token();
            let _left = inner.bells.sockets.change(&peer.end, token, interest);
        }
    }

    /// The process numbers of workers that take tasks.
    pub(super) fn ready_pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.peers.iter().flatten().filter(|peer| peer.is_ready()).map(|peer| peer.child.id())
    }

    /// How often the workers that are there were woken.
    pub(super) fn bells_rung(&self) -> u64 {
        self.peers.iter().flatten().map(|peer| peer.end.rung()).sum()
    }

    pub(super) fn all_pids(&self) -> Vec<u32> {
        let all = self.peers.iter().flatten().chain(&self.quarantine);
        all.map(|peer| peer.child.id()).collect()
    }

    pub(super) fn shutdown(&mut self, inner: &Inner, how: Shutdown) {
        if self.closed {
            return;
        }
        if how != Shutdown::Graceful {
            // What no worker has begun is as good as queued.
            let sent = self.peers.iter().flatten().flat_map(|peer| &peer.sent);
            let sent: Vec<TaskId> = sent.map(|dispatch| dispatch.task).collect();
            sent.into_iter().rev().for_each(|task| self.recall(inner, task));
        }
        self.scheduler.shutdown(how);
    }

    /// Whether there is nothing to wait for when the pool starts: all workers have been ready, or
    /// those that have not will not be soon.
    pub(super) fn is_settled(&self) -> bool {
        self.closed
            || self.scheduler.is_broken()
            || self.scheduler.is_short_of_workers()
            || self.ready_once.len() >= self.at_first
    }

    /// Whether every submission is refused.
    pub(super) fn takes_nothing(&self) -> bool {
        self.closed || !self.scheduler.is_running()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.wants.turn();
    }

    /// Why the workers did not start, if they did not.
    pub(super) fn start_failure(&self) -> Option<StartFailed> {
        (self.scheduler.is_broken() || self.closed).then(|| self.failure())
    }

    /// Why a worker did not start. One that is not wanted any more has not failed.
    pub(super) fn note_failure(&mut self, worker: WorkerId, failed: StartFailed) {
        if self.scheduler.awaits(worker) {
            self.last_failure = Some(failed);
        }
    }

    /// Why the pool is broken.
    pub(super) fn broken(&self) -> Fault {
        Fault::Broken(self.failure())
    }

    /// Ends the workers, when nobody will ever hear them again; what waits is the caller's to answer.
    pub(super) fn abandon(&mut self) -> Vec<Arc<Payload>> {
        self.close();
        self.peers.clear();
        // Each is a child to be waited for, which could take for ever.
        std::mem::forget(std::mem::take(&mut self.quarantine));
        let resolved = std::mem::take(&mut self.resolved).into_iter().map(|done| done.payload);
        let live = std::mem::take(&mut self.payloads).into_values().map(|live| live.payload);
        resolved.chain(live).collect()
    }

    fn failure(&self) -> StartFailed {
        self.last_failure.clone().unwrap_or(StartFailed {
            cause: StartFailure::Exited,
            status: ExitStatus::Unknown,
            stderr_tail: None,
        })
    }

    fn send(
        &mut self,
        inner: &Inner,
        worker: WorkerId,
        (task, attempt, spec): (TaskId, u32, TaskSpec),
    ) {
        let live = self.payloads.get(&spec.payload).expect("a task's payload is kept");
        let payload = live.payload.clone();
        if attempt > 1 {
            inner.counters.tasks_retried.add(spec.count.into());
        }
        fault!("parent.before_dispatch");
        let peer = self.peer(worker).expect("a task is sent to a worker that is there");
        let claim = peer.end.offer();
        let dispatch = Dispatch { task, attempt, spec, payload, claim };
        let sent = peer.dispatch(dispatch, &inner.memory);
        fault!("parent.after_dispatch");
        self.after_send(inner, worker, sent);
    }

    /// Sees to it that a task that no worker has started is in the queue.
    pub(super) fn recall(&mut self, inner: &Inner, task: TaskId) {
        if let Some(worker) = self.scheduler.unstarted(task) {
            self.take_back(inner, worker, task);
        }
    }

    fn take_back(&mut self, inner: &Inner, worker: WorkerId, task: TaskId) {
        let Some(peer) = self.peer(worker) else { return };
        match peer.take_back(task) {
            Some(dispatch) => {
                fault!("parent.after_revoke");
                inner.memory.withdraw(peer.slot(), &dispatch.payload.parcel.names);
                self.scheduler.revoked(worker, task);
            }
            None => self.scheduler.begun(worker, task),
        }
    }

    /// Tells how far a task is that runs long, by its worker's own word.
    fn look_at(&mut self, worker: WorkerId, task: TaskId) {
        let Some(peer) = self.peer(worker) else { return };
        let progress = peer.status.read().filter(|progress| progress.task == task.0);
        self.scheduler.progress(worker, task, progress.map_or(0, |progress| progress.item));
    }

    fn stop(&mut self, inner: &Inner, worker: WorkerId) {
        match self.peer(worker).map(Peer::stop) {
            Some(sent) => self.after_send(inner, worker, sent),
            None => self.not_wanted(worker),
        }
    }

    fn not_wanted(&mut self, worker: WorkerId) {
        self.unwanted.insert(worker);
        // Its start may be waiting for the pool's thread, which then takes it out of the list.
    }

    fn split(&mut self, split: &Split) {
        let sent = self.obituary.iter().flat_map(|obituary| &obituary.sent);
        let task = sent.into_iter().find(|dispatch| dispatch.task == split.from);
        let task = task.expect("a task is split when its worker has died under it");
        task.payload.pending.split(split);
    }

    fn resolve(&mut self, inner: &Inner, spec: TaskSpec, resolution: Resolution) {
        inner.counters.tasks_failed.add(spec.count.into());
        let fault = match resolution {
            Resolution::Cancelled => Fault::Cancelled,
            Resolution::Killed => Fault::Killed,
            Resolution::Broken => self.broken(),
            Resolution::TimedOut { after } => Fault::TimedOut(after),
            Resolution::WorkerDied { attempts, .. } => {
                let obituary = self.obituary.as_ref().expect("a death has just been told");
                Fault::Died(Box::new(WorkerDied {
                    status: obituary.status,
                    oom_suspected: obituary.oom_suspected,
                    phase: obituary.phase,
                    attempts,
                    pid: obituary.pid,
                    generation: obituary.generation,
                    stderr_tail: None,
                    // Named by the owner of the handle, who knows it.
                    task: Box::new(TaskInfo { id: spec.payload, item: None, function: "" }),
                }))
            }
        };
        self.answer(spec, Err(fault));
    }

    fn answer(&mut self, spec: TaskSpec, result: Result<RawResult, Fault>) {
        let live = self.payloads.get_mut(&spec.payload).expect("an unanswered payload is kept");
        let payload = live.payload.clone();
        live.missing -= spec.count;
        if live.missing == 0 {
            // The last reference goes with the answer, without the lock.
            self.payloads.remove(&spec.payload);
        }
        let answer = Answer { first: spec.first, count: spec.count, result };
        self.resolved.push(Resolved { payload, answer });
    }

    fn detach_retired(&mut self, inner: &Inner) {
        for segment in inner.memory.take_retired() {
            for slot in 0..self.peers.len() {
                let Some(peer) = self.peers[slot].as_mut().filter(|peer| peer.is_ready()) else {
                    continue;
                };
                let (worker, sent) = (peer.worker, peer.detach(segment));
                self.after_send(inner, worker, sent);
            }
        }
    }

    /// Whether a worker is being started still.
    pub(super) fn start_deadline(&self) -> Option<Instant> {
        let deadline = |peer: &Peer| match peer.stage {
            Stage::Starting { deadline, .. } => Some(deadline),
            _ => None,
        };
        self.peers.iter().flatten().filter_map(deadline).min()
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("queued", &self.scheduler.queued())
            .field("sent", &self.scheduler.sent())
            .field("pids", &self.all_pids())
            .finish_non_exhaustive()
    }
}

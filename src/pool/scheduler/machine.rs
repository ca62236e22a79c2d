//! The rules of the pool.
//!
//! It promises what the module's head says. It does not know what a payload is, how a worker is
//! started or killed, or what time it is.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{Action, Config, Delivery, Event, Refused, Resolution, Shutdown, WorkerId};
use super::slot::{Check, Fate, Order, Sent, Slot, Slots, State, Why};
use super::task::{Place, TaskId, TaskSpec, Tasks};

/// Which worker runs which task, and what becomes of tasks and workers when something dies.
///
/// A `Scheduler` does nothing itself: it is told what happened and asked what to do. Its methods are
/// of four kinds:
///
/// - A. getters, taking `&self`;
/// - B. handlers of what happened in the world: [`handle_event`](Self::handle_event),
///   [`handle_timeout`](Self::handle_timeout) and [`complete`](Self::complete), which is an event
///   with an answer;
/// - C. commands of the pool's user: [`submit`](Self::submit), [`cancel`](Self::cancel),
///   [`kill`](Self::kill), [`shutdown`](Self::shutdown);
/// - D. what to do next: [`poll_action`](Self::poll_action) and [`poll_timeout`](Self::poll_timeout).
///
/// After any call of B or C, or several, call [`poll_action`](Self::poll_action) until it returns
/// `None` and perform what it gives; then ask [`poll_timeout`](Self::poll_timeout) when to call
/// [`handle_timeout`](Self::handle_timeout) unless something happens before. An action is made up
/// when it is polled, so it is never out of date: a task withdrawn between two polls is not sent.
///
/// `now` is the time since the pool was made. It decides when a slot has backed off long enough, and
/// when a task has run too long. [`tick`](Self::tick) tells it before everything else that has no
/// time of its own.
///
/// What was completed must be told before the death of the worker that completed it; then a result
/// beats a kill that came too late. Events of former generations, of unknown tasks and of workers
/// that are going anyway may come at any time and change nothing.
///
/// # Panics
///
/// Any method panics if an invariant of this module is broken, and on a slot that does not exist.
#[derive(Debug)]
pub(crate) struct Scheduler {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) tasks: Tasks,
    pub(super) slots: Slots,
    /// What has been decided about tasks and not been told.
    pub(super) outbox: VecDeque<Action>,
    /// Failed starts in a row, across the pool.
    pub(super) start_failures: u32,
    /// Fruitless deaths in a row, across the pool.
    pub(super) fruitless_deaths: u32,
    /// When it was last looked for tasks that take long.
    looked_at: Duration,
    pub(super) now: Duration,
    #[cfg(test)]
    pub(super) plant: Option<super::sim::Plant>,
}

/// A worker that completes nothing for so long runs something long: what waits behind it is moved.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// No new tasks; the unresolved ones are finished.
    Draining,
    /// Nothing is left to do; workers are on their way out.
    Closing,
    /// Workers cannot be kept alive. As `Closing`, for another reason.
    Broken,
}

// Getters.
impl Scheduler {
    /// The worker that has a task and may not have started it: from there it can be taken back.
    pub(crate) fn unstarted(&self, task: TaskId) -> Option<WorkerId> {
        let Place::Sent { slot: at } = self.tasks.place(task)? else { return None };
        let slot = self.slots.get(at);
        let sent = slot.sent.iter().find(|sent| sent.task == task)?;
        let may_be = sent.fate == Fate::Live && !sent.asked;
        may_be.then_some(WorkerId { slot: at, generation: slot.generation })
    }

    /// Tasks that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.tasks.queued()
    }

    /// Tasks that are not known to have begun.
    pub(crate) fn unbegun(&self) -> usize {
        let busy = self.slots.iter().filter(|(_, slot)| !slot.sent.is_empty()).count();
        (self.tasks.queued() + self.tasks.sent()).saturating_sub(busy)
    }

    /// Tasks that a worker runs or has next to it, and that are not resolved.
    pub(crate) fn sent(&self) -> usize {
        self.tasks.sent()
    }

    /// Whether its workers are on their way out.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Broken)
    }

    /// Whether so many starts failed in a row that the pool breaks if nobody is ready.
    pub(crate) fn is_short_of_workers(&self) -> bool {
        self.start_failures >= self.config.max_start_failures
    }

    /// So many workers in a row died for nothing that there will be no other.
    pub(crate) fn too_many_fruitless_deaths(&self) -> Option<u32> {
        let is_over = self.fruitless_deaths >= self.config.max_fruitless_deaths;
        is_over.then_some(self.fruitless_deaths)
    }

    /// Whether it takes tasks.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.phase == Phase::Broken
    }

    /// Whether everything is over: no task, no worker, nothing to do.
    pub(crate) fn is_closed(&self) -> bool {
        let over = matches!(self.phase, Phase::Closing | Phase::Broken);
        over && self.slots.occupied() == 0 && self.outbox.is_empty()
    }
}

// Commands.
impl Scheduler {
    /// A pool whose workers are all about to be started.
    pub(crate) fn new(config: Config) -> Self {
        assert!(config.workers >= 1, "a pool has a worker");
        Self {
            config,
            phase: Phase::Running,
            tasks: Tasks::new(),
            slots: Slots::new(config.workers),
            outbox: VecDeque::new(),
            start_failures: 0,
            fruitless_deaths: 0,
            looked_at: Duration::ZERO,
            now: Duration::ZERO,
            #[cfg(test)]
            plant: None,
        }
    }

    /// Puts a task at the end of the queue.
    pub(crate) fn submit(&mut self, spec: TaskSpec) -> Result<TaskId, Refused> {
        match self.phase {
            Phase::Running => {}
            Phase::Draining | Phase::Closing => return Err(Refused::ShutDown),
            Phase::Broken => return Err(Refused::Broken),
        }
        let id = self.tasks.submit(spec);
        self.settle();
        Ok(id)
    }

    /// Withdraws a task, if it is queued. While it is sent, and for an unknown one, the answer is `false`:
    /// ask [`unstarted`](Self::unstarted) before.
    pub(crate) fn cancel(&mut self, task: TaskId) -> bool {
        match self.tasks.place(task) {
            None | Some(Place::Sent { .. }) => false,
            Some(Place::Queued { .. } | Place::InLine { .. }) => {
                self.resolve(task, Resolution::Cancelled);
                self.settle();
                true
            }
        }
    }

    /// Ends a task wherever it is, with its worker if need be. No other task is charged for that.
    ///
    /// A queued task is resolved at once, and so is one that was sent but is not the first of its
    /// worker, which then dies when it comes to it. The first one is resolved when its worker is
    /// dead, or by its completion if that is told before.
    pub(crate) fn kill(&mut self, task: TaskId) {
        match self.tasks.place(task) {
            None => return,
            Some(Place::Queued { .. } | Place::InLine { .. }) => {
                self.resolve(task, Resolution::Killed);
            }
            Some(Place::Sent { slot }) => self.kill_sent(task, slot),
        }
        self.settle();
    }

    /// Ends the pool; a more severe call than the one before escalates.
    pub(crate) fn shutdown(&mut self, how: Shutdown) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining;
        }
        match how {
            Shutdown::Graceful => {}
            Shutdown::Cancel => self.resolve_queued(Resolution::Cancelled),
            Shutdown::Kill => {
                self.resolve_queued(Resolution::Cancelled);
                self.resolve_sent(Resolution::Killed);
                for slot in 0..self.slots.len() {
                    self.slots.update(slot, |slot| slot.condemn(Why::Ordered));
                }
            }
        }
        self.settle();
    }
}

// What happened.
impl Scheduler {
    /// It is so late.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// A task that was sent has been taken back before the worker started it: it is queued again,
    /// before all others.
    pub(crate) fn revoked(&mut self, worker: WorkerId, task: TaskId) {
        assert!(self.slots.is_live(worker), "a task is taken back from the worker that has it");
        let (now, limits) = (self.now, self.limits());
        self.slots.update(worker.slot, |slot| {
            let at = slot.sent.iter().position(|sent| sent.task == task);
            let at = at.expect("a sent task is in its worker's list");
            let has_hung = at == 0 && slot.is_late(now, limits.hang);
            let sent = slot.sent.remove(at);
            assert!(sent.is_some_and(|sent| sent.fate == Fate::Live), "only what lives is taken");
            slot.condemn_if_zombie_leads();
            if has_hung {
                // It had time enough to begin. That is nobody's fault.
                slot.condemn(Why::Ordered);
            } else if at == 0 {
                slot.begin_head(now, limits);
            }
        });
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::RevokedLost) {
            return self.settle();
        }
        self.tasks.requeue(task);
        self.settle();
    }

    /// A task could not be taken back: its worker has begun it, or is dead.
    pub(crate) fn begun(&mut self, worker: WorkerId, task: TaskId) {
        let is_first = |slot: &Slot| slot.sent.front().is_some_and(|head| head.task == task);
        if self.slots.is_live(worker) && is_first(self.slots.get(worker.slot)) {
            let limits = self.limits();
            self.slots.update(worker.slot, |slot| slot.arm(limits));
        }
    }

    /// A worker whose time is over runs this item of its first task.
    pub(crate) fn progress(&mut self, worker: WorkerId, task: TaskId, item: u32) {
        if !self.slots.is_live(worker) || !self.slots.get(worker.slot).works() {
            return;
        }
        let Some((now, spec)) = self.tasks.spec(task).map(|spec| (self.now, spec)) else { return };
        let item = spec.clamp(item);
        #[cfg(test)]
        let planted = self.plant;
        self.slots.update(worker.slot, |slot| {
            let is_first = slot.sent.front().is_some_and(|head| head.task == task);
            let is_over = is_first && slot.is_overdue(spec.first, item, now);
            #[cfg(test)]
            let is_over = is_over && planted != Some(super::sim::Plant::OverdueForgiven);
            if is_over {
                slot.sent[0].fate = Fate::Overdue { item };
                slot.condemn(Why::Ordered);
            }
        });
        self.check();
    }

    /// A worker gave the results of a task, which ran so long. Says whether they count.
    pub(crate) fn complete(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        elapsed: Duration,
    ) -> Delivery {
        if !self.slots.is_live(worker) {
            return Delivery::Discard;
        }
        let head = self.slots.get(worker.slot).sent.front().copied();
        let Some(sent) = head.filter(|sent| sent.task == task) else {
            self.slots.update(worker.slot, |slot| slot.condemn(Why::Suspected));
            self.settle();
            return Delivery::Violation;
        };
        self.fruitless_deaths = 0;
        let (now, limits) = (self.now, self.limits());
        self.slots.update(worker.slot, |slot| {
            slot.unproven = 0;
            slot.sent.pop_front();
            slot.learn(elapsed);
            slot.begin_head(now, limits);
            slot.condemn_if_zombie_leads();
        });
        let delivery = match sent.fate {
            Fate::Zombie => Delivery::Discard,
            Fate::Live | Fate::Doomed | Fate::Overdue { .. } => {
                let _spec = self.tasks.resolve(task);
                #[cfg(test)]
                self.plant_double_result(sent, _spec);
                Delivery::Deliver
            }
        };
        self.settle();
        delivery
    }

    /// Something happened to a worker.
    pub(crate) fn handle_event(&mut self, event: Event, now: Duration) {
        self.tick(now);
        let worker = event.worker();
        if !self.slots.is_live(worker) {
            return;
        }
        match event {
            Event::WorkerReady { .. } => self.greet(worker.slot),
            Event::WorkerSuspect { .. } => self.suspect(worker.slot),
            Event::WorkerDied { blame, .. } => self.bury(worker, blame, false),
            Event::StartFailed { is_fatal, .. } => self.bury(worker, None, is_fatal),
        }
        self.settle();
    }

    /// Time has passed. Harmless when called too early or too often.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.tick(now);
        while let Some((worker, check)) = self.slots.next_check(now, self.limits()) {
            match check {
                Check::Idle => self.rest(worker.slot),
                Check::Stays => self.slots.update(worker.slot, |slot| slot.condemn(Why::Ordered)),
                Check::Later => {}
                Check::Ask(task) => self.outbox.push_back(Action::Revoke { worker, task }),
                Check::Look(task) => self.outbox.push_back(Action::Look { worker, task }),
            }
        }
        let wanted = self.wants_workers();
        #[cfg(test)]
        let wanted = wanted && self.plant != Some(super::sim::Plant::TimeoutLost);
        while let Some(slot) = self.slots.first_due(now) {
            self.slots.update(slot, |slot| {
                slot.state = if wanted { State::Starting(Order::Owed) } else { State::Vacant };
            });
        }
        if now >= self.looked_at.saturating_add(PATIENCE) {
            self.looked_at = now;
            self.outbox.extend(self.slots.unload());
        }
        self.settle();
    }
}

// What to do.
impl Scheduler {
    /// The next thing to do; `None` until something else happens.
    ///
    /// Verdicts on tasks come first, then orders to start and to end workers, then work, then moving it.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.wake_resting();
        let (now, limits) = (self.now, self.limits());
        let action = self
            .next_decided()
            .or_else(|| self.slots.next_order(now, limits))
            .or_else(|| self.dispatch())
            .or_else(|| self.next_revocation());
        self.check();
        action
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let look = self.slots.any_laden().then(|| self.looked_at.saturating_add(PATIENCE));
        [self.slots.next_timeout(), look].into_iter().flatten().min()
    }

    /// Checks what must hold between any two calls; linear in the number of workers.
    fn assert_invariants(&self) {
        self.tasks.assert_conserved();
        self.slots.assert_indexed();
        let mut sent = 0;
        for (at, slot) in self.slots.iter() {
            let fated = |fate| slot.sent.iter().filter(move |sent| sent.fate == fate);
            let unresolved = slot.sent.iter().filter(|sent| sent.fate != Fate::Zombie);
            for Sent { task, .. } in unresolved {
                let place = self.tasks.place(*task);
                assert_eq!(place, Some(Place::Sent { slot: at }), "a task is in exactly one place");
                sent += 1;
            }
            for Sent { task, .. } in fated(Fate::Zombie) {
                assert_eq!(self.tasks.place(*task), None, "a zombie has been resolved");
            }
            let leads = slot.sent.front().map_or(Fate::Live, |sent| sent.fate);
            let dying = matches!(slot.state, State::Dying(..));
            assert!(leads == Fate::Live || dying, "a worker does not run what was killed");
        }
        assert_eq!(sent, self.tasks.sent(), "a sent task is in one worker's list");
        let is_left_alone = self.slots.is_deserted() && !self.tasks.is_empty();
        assert!(!is_left_alone, "while there are tasks a worker is coming");
    }
}

// Verdicts.
impl Scheduler {
    pub(super) fn resolve(&mut self, task: TaskId, resolution: Resolution) {
        let spec = self.tasks.resolve(task);
        self.outbox.push_back(Action::Resolve { task, spec, resolution });
    }

    pub(super) fn resolve_queued(&mut self, resolution: Resolution) {
        while let Some(task) = self.tasks.first_queued() {
            self.resolve(task, resolution);
        }
    }

    /// Resolves what workers have, and leaves them with zombies.
    pub(super) fn resolve_sent(&mut self, resolution: Resolution) {
        for at in 0..self.slots.len() {
            for index in 0..self.slots.get(at).sent.len() {
                let Sent { task, fate, .. } = self.slots.get(at).sent[index];
                if fate != Fate::Zombie {
                    self.resolve(task, resolution);
                    self.slots.update(at, |slot| slot.sent[index].fate = Fate::Zombie);
                }
            }
            self.slots.update(at, Slot::condemn_if_zombie_leads);
        }
    }

    fn kill_sent(&mut self, task: TaskId, at: usize) {
        let position = self.slots.get(at).sent.iter().position(|sent| sent.task == task);
        let index = position.expect("a sent task is in its worker's list");
        if index > 0 {
            self.resolve(task, Resolution::Killed);
        }
        self.slots.update(at, |slot| {
            slot.sent[index].fate = if index == 0 { Fate::Doomed } else { Fate::Zombie };
            if index == 0 {
                slot.condemn(Why::Ordered);
            }
        });
    }
}

// Workers come and go.
impl Scheduler {
    fn greet(&mut self, at: usize) {
        // A worker that was condemned or stopped in the meantime is not welcome any more.
        if self.slots.get(at).state != State::Starting(Order::Given) {
            return;
        }
        self.start_failures = 0;
        let (now, limits) = (self.now, self.limits());
        self.slots.update(at, |slot| {
            slot.state = State::Ready;
            slot.begin_head(now, limits);
            slot.start_failures = 0;
            slot.unproven = slot.unproven.saturating_add(1);
        });
    }

    fn suspect(&mut self, at: usize) {
        // End of file is what the end of a stopping worker looks like: let it end in its own time.
        if !matches!(self.slots.get(at).state, State::Stopping(_)) {
            self.slots.update(at, |slot| slot.condemn(Why::Suspected));
        }
    }

    /// While the pool drains, a dead worker is replaced only for work that waits: what other workers
    /// have either completes there or comes back to the queue with their slot to be filled.
    pub(super) fn wants_workers(&self) -> bool {
        match self.phase {
            Phase::Running => true,
            Phase::Draining => self.tasks.queued() > 0,
            Phase::Closing | Phase::Broken => false,
        }
    }

    pub(super) fn dismiss_workers(&mut self) {
        for at in 0..self.slots.len() {
            self.slots.update(at, Slot::dismiss);
        }
    }
}

// Moving on.
impl Scheduler {
    /// The next of what has been decided, unless it concerns a worker or task that has gone since.
    fn next_decided(&mut self) -> Option<Action> {
        let slots = &self.slots;
        let is_current = |action: &Action| match *action {
            Action::Revoke { worker, task } | Action::Look { worker, task } => {
                let mut live = slots.get(worker.slot).sent.iter().filter(|s| s.fate == Fate::Live);
                slots.is_live(worker) && live.any(|sent| sent.task == task)
            }
            _ => true,
        };
        std::iter::from_fn(|| self.outbox.pop_front()).find(is_current)
    }

    /// The next task for the least loaded worker. One that is to be run alone waits for a worker that
    /// has nothing, and until then nothing is sent behind anything: so there soon is such a worker.
    fn dispatch(&mut self) -> Option<Action> {
        if self.tasks.sendable() == 0 {
            return None;
        }
        #[cfg(test)]
        self.plant_send_to_condemned();
        let at = self.slots.least_loaded()?;
        if self.tasks.is_alone_next() && !self.slots.get(at).sent.is_empty() {
            return None;
        }
        let (task, spec, attempt) = self.tasks.take_next(at)?;
        let is_alone = self.tasks.is_alone(task);
        #[cfg(test)]
        let is_alone = is_alone && self.plant != Some(super::sim::Plant::AloneBeforeOthers);
        let (now, limits) = (self.now, self.limits());
        let (generation, given) = self.slots.update(at, |slot| {
            slot.push(task, spec.timeout);
            if slot.sent.len() == 1 {
                slot.begin_head(now, limits);
            }
            if is_alone {
                // Until it has completed this.
                slot.credit = 1;
            }
            slot.given += u64::from(spec.count);
            (slot.generation, slot.given)
        });
        if self.config.max_items.is_some_and(|max| given >= max) {
            self.replace(at);
        }
        Some(Action::Send { worker: WorkerId { slot: at, generation }, task, attempt, spec })
    }

    /// Work for a worker that has none, from one that has more than it runs.
    fn next_revocation(&mut self) -> Option<Action> {
        if self.tasks.sendable() > 0 { None } else { self.slots.next_revocation() }
    }

    /// Ends every call that changes something.
    pub(super) fn settle(&mut self) {
        if self.phase == Phase::Draining && self.tasks.is_empty() {
            self.phase = Phase::Closing;
            self.dismiss_workers();
        }
        self.let_leavers_go();
        self.check();
    }

    fn check(&self) {
        self.tasks.assert_conserved();
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
    }
}

impl Slot {
    /// Sees to it that no worker is here for long, and that it is sent nothing more.
    fn condemn(&mut self, why: Why) {
        self.state = match (self.state, why) {
            (
                State::Vacant
                | State::Resting
                | State::BackingOff { .. }
                | State::Starting(Order::Owed),
                _,
            ) => State::Vacant,
            (State::Starting(Order::Given), Why::Suspected) => {
                State::Dying(Why::NeverReady, Order::Owed)
            }
            (
                State::Starting(Order::Given)
                | State::Ready
                | State::Leaving { .. }
                | State::Stopping(_),
                why,
            ) => State::Dying(why, Order::Owed),
            // The first cause stands: what a worker did before we wanted it gone is its own doing.
            (dying @ State::Dying(..), _) => dying,
        };
    }

    fn condemn_if_zombie_leads(&mut self) {
        if self.sent.front().is_some_and(|sent| sent.fate == Fate::Zombie) {
            self.condemn(Why::Ordered);
        }
    }

    /// The pool has no work any more.
    fn dismiss(&mut self) {
        self.state = match self.state {
            State::Vacant
            | State::Resting
            | State::BackingOff { .. }
            | State::Starting(Order::Owed) => State::Vacant,
            State::Starting(Order::Given) | State::Ready | State::Leaving { .. } => {
                State::Stopping(Order::Owed)
            }
            going @ (State::Dying(..) | State::Stopping(_)) => going,
        };
    }
}

// Bugs to be found by the simulation.
#[cfg(test)]
impl Scheduler {
    pub(super) fn set_plant(&mut self, plant: Option<super::sim::Plant>) {
        self.plant = plant;
        self.tasks.plant = plant;
        self.slots.plant = plant;
    }

    /// Workers that leave, and who succeeds them.
    pub(super) fn leavers(&self) -> Vec<(usize, Option<usize>)> {
        let successor = |slot: &Slot| match slot.state {
            State::Leaving { successor } => Some(successor),
            _ => None,
        };
        let leavers = self.slots.iter().filter_map(|(at, slot)| Some((at, successor(slot)?)));
        leavers.collect()
    }

    pub(super) fn assert_queue(&self) {
        self.tasks.assert_queue();
    }

    fn plant_double_result(&mut self, sent: Sent, spec: TaskSpec) {
        let planted = self.plant == Some(super::sim::Plant::DoubleResult);
        if planted && sent.fate == Fate::Doomed {
            let resolution = Resolution::Killed;
            self.outbox.push_back(Action::Resolve { task: sent.task, spec, resolution });
        }
    }

    fn plant_send_to_condemned(&mut self) {
        if self.plant != Some(super::sim::Plant::SentToCondemned) {
            return;
        }
        let dying =
            |slot: &Slot| matches!(slot.state, State::Dying(..)) && slot.sent.len() < slot.credit;
        let condemned = self.slots.iter().find(|(_, slot)| dying(slot)).map(|(at, _)| at);
        if let Some(at) = condemned {
            self.slots.update(at, |slot| slot.push(TaskId(0), None));
        }
    }
}

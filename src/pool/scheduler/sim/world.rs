//! Model processes, and a supervisor that drives the machine as chance has it.
//!
//! A process works through its inbox in order, one item at a time, and may die at any point. What
//! it completed stays readable after its death. The supervisor is as the real one may be at its
//! worst: late, forgetful of the order of things, and at times wrong about who is to blame.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use super::super::{
    Action, Backoff, Blame, Config, Delivery, Event, Scheduler, Shutdown, TaskId, TaskSpec,
    WorkerId,
};
use super::oracle::Oracle;
use super::random::Random;
use super::{Coverage, Plant};

/// More rounds than any history needs to end once all workers are healthy.
const PATIENCE: usize = 1000;

struct Process {
    worker: WorkerId,
    is_alive: bool,
    is_ready: bool,
    /// What the machine ordered; the process obeys some time later.
    kill: bool,
    stop: bool,
    /// It does nothing until it is killed.
    is_stuck: bool,
    inbox: VecDeque<(TaskId, TaskSpec)>,
    running: Option<Running>,
    /// Completed and not told yet.
    outbox: VecDeque<(TaskId, TaskSpec)>,
}

struct Running {
    task: TaskId,
    spec: TaskSpec,
    done: u32,
}

/// How often things go wrong in this history, in percent.
struct Mood {
    death: usize,
    start_failure: usize,
    idle_death: usize,
    false_blame: usize,
    starvation: usize,
    lazy_poll: usize,
    stuck: usize,
    timeout: usize,
    shutdown: usize,
}

pub(super) struct World {
    random: Random,
    plant: Option<Plant>,
    mood: Mood,
    machine: Scheduler,
    oracle: Oracle,
    now: Duration,
    processes: Vec<Option<Process>>,
    former: Vec<WorkerId>,
    known: Vec<TaskId>,
    /// How often each item of each payload ran to its end.
    runs: Vec<Vec<u32>>,
}

impl World {
    pub(super) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let mut random = Random::new(seed);
        let config = Config {
            workers: 1 + random.below(4),
            max_items: [None, None, Some(1), Some(30)][random.below(4)],
            idle: [None, Some(Duration::from_millis(15))][random.below(2)],
            max_start_failures: random.small(1, 6),
            max_fruitless_deaths: random.small(1, 6),
            backoff: Backoff { first: Duration::from_millis(10), max: Duration::from_millis(50) },
            hang: Duration::from_millis(60),
        };
        let mood = Mood {
            death: [0, 3, 15, 40][random.below(4)],
            start_failure: [0, 10, 60][random.below(3)],
            idle_death: [0, 1, 30][random.below(3)],
            false_blame: [0, 10][random.below(2)],
            starvation: [0, 20, 80][random.below(3)],
            lazy_poll: [0, 20, 60][random.below(3)],
            stuck: [0, 2, 10][random.below(3)],
            timeout: [0, 30, 90][random.below(3)],
            shutdown: [0, 15, 60][random.below(3)],
        };
        let mut machine = Scheduler::new(config);
        machine.set_plant(plant);
        Self {
            random,
            plant,
            mood,
            machine,
            oracle: Oracle::new(config),
            now: Duration::ZERO,
            processes: Vec::new(),
            former: Vec::new(),
            known: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// A life of accidents.
    pub(super) fn live(&mut self) {
        for _ in 0..20 + self.random.below(120) {
            self.step();
            if self.random.percent(self.mood.lazy_poll) {
                for _ in 0..self.random.below(3) {
                    self.perform_next();
                }
            } else {
                self.perform_all();
            }
        }
    }

    /// From now on nothing dies but what was killed: all that was submitted must come to its end. Who is
    /// stuck in a task that may take for ever goes on; all others are found.
    pub(super) fn heal(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let may_last = |running: &Running| running.spec.timeout.is_none();
            process.is_stuck &= !process.running.as_ref().is_some_and(may_last) && process.is_ready;
        }
        self.rounds("an unresolved task", |world| world.oracle.is_resolved());
        self.perform_all();
    }

    /// The end of the pool.
    pub(super) fn close(&mut self) {
        self.shut_down(Shutdown::Graceful);
        self.rounds("an open pool", |world| world.machine.is_closed());
        assert_eq!(self.machine.poll_action(), None, "oracle: a closed pool does nothing");
        assert_eq!(self.machine.poll_timeout(), None, "oracle: a closed pool waits for nothing");
        self.oracle.finished();
    }

    pub(super) fn coverage(&self) -> &Coverage {
        &self.oracle.coverage
    }

    fn rounds(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            self.perform_all();
            if is_done(self) {
                return;
            }
            for slot in 0..self.processes.len() {
                self.behave_well(slot);
            }
            if let Some(until) = self.machine.poll_timeout() {
                self.pass_time(until.saturating_sub(self.now));
            }
        }
        panic!("oracle: {what} after {PATIENCE} healthy rounds: {:?}", self.machine);
    }
}

// One step of a history.
impl World {
    fn step(&mut self) {
        let slot = self.random.below(self.processes.len().max(1));
        match self.random.below(100) {
            0..20 => self.submit(),
            20..23 => self.cancel(),
            23..26 => self.kill(),
            26..29 => self.stale_event(),
            29..31 => self.talk_nonsense(slot),
            31..33 => self.suspect(slot),
            33..40 => {
                let by = Duration::from_millis(self.random.below(40) as u64);
                self.pass_time(by);
            }
            43..45 => self.resize(),
            45 => self.retire(slot),
            40..43 if self.random.percent(self.mood.shutdown) => {
                let all = [Shutdown::Graceful, Shutdown::Cancel, Shutdown::Kill];
                let how = all[self.random.below(3)];
                self.shut_down(how);
            }
            _ => self.process_step(slot),
        }
        self.machine.assert_queue();
    }

    fn process_step(&mut self, slot: usize) {
        let death = self.mood.death;
        let Some(process) = self.processes.get_mut(slot).and_then(Option::as_mut) else { return };
        if !process.is_alive {
            return match self.random.below(5) {
                0 => self.suspect(slot),
                1 | 2 => self.tell_completed(slot),
                _ => self.tell_death(slot),
            };
        }
        let is_idle = process.running.is_none() && process.inbox.is_empty();
        if self.random.percent(self.mood.stuck) {
            process.is_stuck = process.is_ready;
        }
        let dies = match (process.is_ready, is_idle) {
            (false, _) => self.mood.start_failure,
            (true, true) => self.mood.idle_death,
            (true, false) => death,
        };
        let obeys = process.kill || (process.stop && is_idle && !process.is_stuck);
        if self.random.percent(dies) || (obeys && self.random.percent(50)) {
            process.is_alive = false;
        } else if !process.is_ready {
            self.tell_ready(slot);
        } else if !process.outbox.is_empty() && self.random.percent(40) {
            self.tell_completed(slot);
        } else {
            self.run(slot);
        }
    }

    fn submit(&mut self) {
        let payload = self.runs.len() as u64;
        let single = self.random.percent(40);
        let count = if single { 1 } else { self.random.small(2, 20) };
        let has_timeout = self.random.percent(self.mood.timeout);
        let timeout = Duration::from_millis([5, 25, 100][self.random.below(3)]);
        let timeout = has_timeout.then_some(timeout);
        let spec =
            TaskSpec { payload, first: 0, count, attempts: self.random.small(1, 3), timeout };
        let answer = self.machine.submit(spec);
        self.oracle.submitted(spec, answer);
        if let Ok(task) = answer {
            self.known.push(task);
            self.runs.push(vec![0; count as usize]);
        }
    }

    fn cancel(&mut self) {
        let task = self.any_task();
        if let Some(worker) = self.machine.unstarted(task) {
            self.revoke(worker, task);
        }
        let answer = self.machine.cancel(task);
        self.oracle.hold(self.machine.held());
        self.oracle.cancelled(task, answer);
    }

    fn kill(&mut self) {
        let task = self.any_task();
        // Whoever kills may look whether the task can be had without that.
        let has_looked = self.random.percent(50);
        if let Some(worker) = self.machine.unstarted(task).filter(|_| has_looked) {
            self.revoke(worker, task);
        }
        self.machine.kill(task);
        self.oracle.hold(self.machine.held());
        self.oracle.killed(task);
    }

    fn resize(&mut self) {
        let workers = 1 + self.random.below(5);
        self.machine.resize(workers);
        self.oracle.resized(workers, &self.machine.held());
        self.oracle.leave(&self.machine.leavers(), self.machine.held());
    }

    /// A worker uses too much memory.
    fn retire(&mut self, slot: usize) {
        let Some(Some(process)) = self.processes.get(slot) else { return };
        let worker = process.worker;
        self.machine.retire(worker);
        self.oracle.retired(worker);
        self.oracle.leave(&self.machine.leavers(), self.machine.held());
    }

    fn shut_down(&mut self, how: Shutdown) {
        self.machine.shutdown(how);
        self.oracle.hold(self.machine.held());
        self.oracle.shut_down(how);
    }

    fn pass_time(&mut self, by: Duration) {
        self.now += by;
        self.machine.handle_timeout(self.now);
        self.oracle.hold(self.machine.held());
        self.oracle.looked(self.now);
        self.perform_all();
        self.oracle.timed_out(self.now);
    }

    /// A recent task, mostly; whether it is still there is another question.
    fn any_task(&mut self) -> TaskId {
        if self.known.is_empty() || self.random.percent(3) {
            return TaskId(u64::MAX);
        }
        let oldest = self.known.len().saturating_sub(8);
        let recent = self.random.percent(70);
        let low = if recent { oldest } else { 0 };
        self.known[low + self.random.below(self.known.len() - low)]
    }
}

// What processes do.
impl World {
    /// Claims a task or runs one item.
    fn run(&mut self, slot: usize) {
        let Some(process) = self.processes[slot].as_mut().filter(|p| !p.is_stuck) else { return };
        let Some(running) = &mut process.running else {
            let claimed = process.inbox.pop_front();
            process.running = claimed.map(|(task, spec)| Running { task, spec, done: 0 });
            return;
        };
        let item = running.spec.first + running.done;
        self.runs[running.spec.payload as usize][item as usize] += 1;
        running.done += 1;
        if running.done == running.spec.count {
            process.outbox.push_back((running.task, running.spec));
            process.running = None;
        }
    }

    fn behave_well(&mut self, slot: usize) {
        let Some(process) = &mut self.processes[slot] else { return };
        if process.kill || (process.stop && !process.is_stuck) {
            process.is_alive = false;
        }
        if !process.is_alive {
            return self.tell_death(slot);
        }
        if !process.is_ready {
            return self.tell_ready(slot);
        }
        while self.is_busy(slot) && !self.is_stuck(slot) {
            self.run(slot);
        }
        self.tell_completed(slot);
    }

    fn is_stuck(&self, slot: usize) -> bool {
        self.processes[slot].as_ref().is_some_and(|process| process.is_stuck)
    }

    fn is_busy(&self, slot: usize) -> bool {
        let process = self.processes[slot].as_ref();
        process.is_some_and(|process| process.running.is_some() || !process.inbox.is_empty())
    }
}

// What the supervisor tells.
impl World {
    fn tell_ready(&mut self, slot: usize) {
        let Some(process) = &mut self.processes[slot] else { return };
        process.is_ready = true;
        let worker = process.worker;
        self.machine.handle_event(Event::WorkerReady { worker }, self.now);
        self.oracle.hold(self.machine.held());
        self.oracle.ready(worker);
    }

    fn tell_completed(&mut self, slot: usize) {
        let Some(process) = &mut self.processes[slot] else { return };
        let worker = process.worker;
        let Some((task, spec)) = process.outbox.pop_front() else { return };
        let answer = self.complete(worker, task);
        if answer == Delivery::Deliver {
            let runs = &self.runs[spec.payload as usize][spec.first as usize..];
            let ran = runs.iter().take(spec.count as usize).all(|&runs| runs > 0);
            assert!(ran, "oracle: what is delivered has run");
        }
    }

    fn complete(&mut self, worker: WorkerId, task: TaskId) -> Delivery {
        let elapsed = Duration::from_micros([0, 1, 30, 500][self.random.below(4)]);
        let answer = self.machine.complete(worker, task, elapsed);
        self.oracle.hold(self.machine.held());
        self.oracle.completed((worker, task, elapsed), answer);
        answer
    }

    /// Takes a task back that its process has not claimed, alive or dead.
    fn revoke(&mut self, worker: WorkerId, task: TaskId) {
        let process = self.process(worker);
        let unclaimed = process.inbox.iter().position(|&(waiting, _)| waiting == task);
        if let Some(at) = unclaimed {
            process.inbox.remove(at);
            self.machine.revoked(worker, task);
            self.oracle.hold(self.machine.held());
            self.oracle.revoked(worker, task);
        } else {
            self.machine.begun(worker, task);
        }
    }

    /// Looks which item a worker runs, if its status page was not scribbled on.
    fn look(&mut self, worker: WorkerId, task: TaskId) {
        let running = self.process(worker).running.as_ref();
        let item = running.filter(|running| running.task == task);
        let item = item.map_or(0, |running| running.spec.first + running.done);
        let is_false = self.random.percent(self.mood.false_blame);
        let item = if is_false { u32::MAX } else { item };
        self.machine.progress(worker, task, item);
        self.oracle.progress(worker, task, item);
    }

    fn suspect(&mut self, slot: usize) {
        let Some(Some(process)) = self.processes.get(slot) else { return };
        let worker = process.worker;
        self.machine.handle_event(Event::WorkerSuspect { worker }, self.now);
        self.oracle.hold(self.machine.held());
        self.oracle.suspected(worker);
    }

    /// Everything that was completed, then the death.
    fn tell_death(&mut self, slot: usize) {
        while self.processes[slot].as_ref().is_some_and(|process| !process.outbox.is_empty()) {
            self.tell_completed(slot);
        }
        let blame = self.blame(slot);
        let Some(Process { worker, is_ready, .. }) = self.processes[slot].take() else { return };
        let is_fatal = self.random.percent(5);
        let event = if is_ready || self.random.percent(20) {
            Event::WorkerDied { worker, blame }
        } else {
            Event::StartFailed { worker, is_fatal }
        };
        if matches!(event, Event::StartFailed { is_fatal: true, .. }) {
            self.oracle.starts_are_hopeless(worker);
        }
        self.machine.handle_event(event, self.now);
        self.oracle.hold(self.machine.held());
        self.oracle.died(worker, blame, self.now);
        if self.plant != Some(Plant::HoldNotReleased) {
            self.oracle.reclaim(worker);
        }
        self.former.push(worker);
    }

    /// What the worker's status page says, if it was not scribbled on.
    fn blame(&mut self, slot: usize) -> Option<Blame> {
        let retry_alone = self.random.percent(self.mood.starvation);
        if self.random.percent(self.mood.false_blame) {
            let item = [0, 5, u32::MAX][self.random.below(3)];
            return Some(Blame { task: self.any_task(), item, retry_alone });
        }
        let running = self.processes[slot].as_ref()?.running.as_ref()?;
        let item = running.spec.first + running.done;
        Some(Blame { task: running.task, item, retry_alone })
    }

    /// A completion of a task that is not the worker's first.
    fn talk_nonsense(&mut self, slot: usize) {
        let task = self.any_task();
        let Some(Some(process)) = self.processes.get(slot) else { return };
        let told = process.outbox.front().map(|&(task, _)| task);
        let running = process.running.as_ref().map(|running| running.task);
        let next = process.inbox.front().map(|&(task, _)| task);
        if told.or(running).or(next) != Some(task) {
            let worker = process.worker;
            self.complete(worker, task);
        }
    }

    fn stale_event(&mut self) {
        if self.former.is_empty() {
            return;
        }
        let mut worker = self.former[self.random.below(self.former.len())];
        if self.random.percent(10) {
            worker.generation += 1000;
        }
        let blame = Some(Blame { task: self.any_task(), item: 0, retry_alone: true });
        match self.random.below(5) {
            0 => {
                self.machine.handle_event(Event::WorkerReady { worker }, self.now);
                self.oracle.hold(self.machine.held());
                self.oracle.ready(worker);
            }
            1 => {
                self.machine.handle_event(Event::WorkerSuspect { worker }, self.now);
                self.oracle.hold(self.machine.held());
                self.oracle.suspected(worker);
            }
            2 => {
                self.machine.handle_event(Event::WorkerDied { worker, blame }, self.now);
                self.oracle.hold(self.machine.held());
                self.oracle.died(worker, blame, self.now);
            }
            3 => {
                self.machine.handle_event(Event::StartFailed { worker, is_fatal: true }, self.now);
                self.oracle.hold(self.machine.held());
                self.oracle.died(worker, None, self.now);
            }
            _ => {
                let task = self.any_task();
                self.complete(worker, task);
            }
        }
    }
}

// What the supervisor performs.
impl World {
    fn perform_all(&mut self) {
        while self.perform_next() {}
        let (queued, sent) = (self.machine.queued(), self.machine.sent());
        self.oracle.idle(self.machine.is_broken(), queued, sent, self.machine.held().len());
    }

    fn perform_next(&mut self) -> bool {
        self.oracle.asks(self.machine.held());
        let Some(action) = self.machine.poll_action() else { return false };
        self.oracle.act(&action, self.now);
        self.oracle.leave(&self.machine.leavers(), self.machine.held());
        match action {
            Action::Start { worker } => self.start(worker),
            Action::Send { worker, task, spec, .. } => {
                self.process(worker).inbox.push_back((task, spec));
            }
            Action::Revoke { worker, task } => self.revoke(worker, task),
            Action::Look { worker, task } => self.look(worker, task),
            Action::KillWorker { worker } => self.process(worker).kill = true,
            Action::StopWorker { worker } => self.process(worker).stop = true,
            Action::Split(split) => {
                let parts = [split.before, Some(split.blamed), split.after];
                self.known.extend(parts.into_iter().flatten());
            }
            Action::Resolve { .. } => {}
        }
        true
    }

    fn start(&mut self, worker: WorkerId) {
        let places = self.processes.len().max(worker.slot + 1);
        self.processes.resize_with(places, || None);
        assert!(self.processes[worker.slot].is_none(), "oracle: a slot has one worker");
        self.processes[worker.slot] = Some(Process {
            worker,
            is_alive: true,
            is_ready: false,
            kill: false,
            stop: false,
            is_stuck: false,
            inbox: VecDeque::new(),
            running: None,
            outbox: VecDeque::new(),
        });
    }

    fn process(&mut self, worker: WorkerId) -> &mut Process {
        let process = self.processes[worker.slot].as_mut();
        process.filter(|process| process.worker == worker).expect("oracle: a former worker")
    }
}

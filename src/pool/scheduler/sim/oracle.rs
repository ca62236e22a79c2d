//! The rules in their naive form, told everything that the machine is told.
//!
//! It promises an opinion of its own on every answer and action. It shares the vocabulary with the
//! machine and nothing else: tasks are looked for, not indexed, and items are counted one by one.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::{
    Action, Blame, Config, Delivery, Refused, Resolution, Shutdown, Split, TaskId, TaskSpec,
    WorkerId,
};
use super::Coverage;

/// What must not be missing from the histories.
pub(super) const NOTEWORTHY: [&str; 39] = [
    "asked back from behind a long task",
    "attempts used up",
    "back-off",
    "broken by fruitless deaths",
    "broken by start failures",
    "cancelled",
    "completed",
    "completed although killed",
    "completed although overdue",
    "death while idle",
    "death without blame",
    "found hanging",
    "grown",
    "held up for one that runs alone",
    "killed behind another",
    "killed in the queue",
    "killed while first",
    "lined up behind another",
    "moved",
    "refused to move",
    "replaced",
    "rested",
    "retried",
    "retried alone",
    "shutdown cancel",
    "shutdown escalated",
    "shutdown graceful",
    "shutdown kill",
    "sent beside one that runs alone",
    "shrunk",
    "split",
    "stale",
    "starts are hopeless",
    "taken back",
    "timed out alone",
    "timed out in a chunk",
    "violation",
    "woken",
    "would not end",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Not known between the split that made it and the action that names it.
    pub(super) task: Option<TaskId>,
    pub(super) spec: TaskSpec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Live,
    Doomed,
    /// At this item.
    Overdue(u32),
    Zombie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// No process that was reported.
    Gone,
    Coming,
    Ready,
    /// It gets nothing more; its successor, if it is known yet.
    Leaving(Option<usize>),
    Condemned {
        ordered: bool,
        was_ready: bool,
    },
    Stopped,
}

/// What is to be in a place when its worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    WhenBusy,
    No,
}

pub(super) struct Seat {
    pub(super) life: Life,
    pub(super) wanted: Wanted,
    /// There was work for it since it rests.
    pub(super) is_called: bool,
    pub(super) given: u64,
    pub(super) generation: u32,
    pub(super) sent: VecDeque<(Chunk, Fate)>,
    pub(super) credit: usize,
    /// Since when it has its first task, or runs the item of it that was seen last.
    pub(super) since: Duration,
    pub(super) seen: Option<u32>,
    /// It completed something, or began to have work, since the last look.
    pub(super) has_moved: bool,
    /// Tasks that it was asked to give back.
    pub(super) asked: Vec<TaskId>,
    /// Whether the machine still has to say that it kills or stops this worker.
    pub(super) order_owed: bool,
    pub(super) start_failures: u32,
    pub(super) unproven: u32,
    pub(super) not_before: Duration,
}

#[derive(Clone, Default)]
pub(super) struct Item {
    pub(super) charged: u32,
    resolved: u32,
    /// A worker seems to have died of it for want of memory.
    pub(super) starved: bool,
}

pub(super) struct Oracle {
    pub(super) config: Config,
    pub(super) items: Vec<Vec<Item>>,
    pub(super) queue: VecDeque<Chunk>,
    pub(super) seats: Vec<Seat>,
    /// Workers that are to be started in places that nobody has.
    pub(super) newcomers: usize,
    /// The places that have somebody or are to have, by the machine's word.
    pub(super) held: Vec<usize>,
    pub(super) owed_resolutions: Vec<(TaskSpec, Resolution)>,
    pub(super) owed_splits: Vec<(TaskId, u32, [Option<TaskSpec>; 3])>,
    pub(super) owed_questions: Vec<(WorkerId, TaskId)>,
    pub(super) owed_looks: Vec<(WorkerId, TaskId)>,
    pub(super) now: Duration,
    pub(super) looked_at: Duration,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) broken: bool,
    pub(super) start_failures: u32,
    pub(super) fruitless_deaths: u32,
    /// The supervisor's ledger: who holds which payload's memory, and how often.
    pub(super) holds: BTreeMap<(WorkerId, u64), u32>,
    pub(super) coverage: Coverage,
}

// What the machine was told, and what it should have answered.
impl Oracle {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            items: Vec::new(),
            queue: VecDeque::new(),
            seats: Vec::new(),
            newcomers: config.workers,
            held: Vec::new(),
            owed_resolutions: Vec::new(),
            owed_splits: Vec::new(),
            owed_questions: Vec::new(),
            owed_looks: Vec::new(),
            now: Duration::ZERO,
            looked_at: Duration::ZERO,
            shutdown: None,
            broken: false,
            start_failures: 0,
            fruitless_deaths: 0,
            holds: BTreeMap::new(),
            coverage: Coverage::new(),
        }
    }

    fn empty_seat() -> Seat {
        Seat {
            life: Life::Gone,
            wanted: Wanted::No,
            is_called: false,
            given: 0,
            generation: 0,
            sent: VecDeque::new(),
            credit: 2,
            since: Duration::ZERO,
            seen: None,
            has_moved: true,
            asked: Vec::new(),
            order_owed: false,
            start_failures: 0,
            unproven: 0,
            not_before: Duration::ZERO,
        }
    }

    pub(super) fn submitted(&mut self, spec: TaskSpec, answer: Result<TaskId, Refused>) {
        let refusal = match (self.broken, self.shutdown) {
            (true, _) => Some(Refused::Broken),
            (false, Some(_)) => Some(Refused::ShutDown),
            (false, None) => None,
        };
        assert_eq!(answer.err(), refusal, "oracle: accepted or refused");
        if let Ok(task) = answer {
            assert_eq!(spec.payload as usize, self.items.len());
            self.items.push(vec![Item::default(); spec.count as usize]);
            self.queue.push_back(Chunk { task: Some(task), spec });
        }
    }

    pub(super) fn cancelled(&mut self, task: TaskId, answer: bool) {
        let queued = self.queue.iter().position(|chunk| chunk.task == Some(task));
        assert_eq!(answer, queued.is_some(), "oracle: a queued task is cancelled, no other");
        if let Some(at) = queued {
            let chunk = self.queue.remove(at).unwrap();
            self.owe(chunk.spec, Resolution::Cancelled);
            self.note("cancelled");
        }
        self.wind_down();
    }

    pub(super) fn killed(&mut self, task: TaskId) {
        if let Some(at) = self.queue.iter().position(|chunk| chunk.task == Some(task)) {
            let chunk = self.queue.remove(at).unwrap();
            self.owe(chunk.spec, Resolution::Killed);
            self.note("killed in the queue");
        }
        for seat in 0..self.seats.len() {
            let is_it =
                |(chunk, fate): &(Chunk, Fate)| chunk.task == Some(task) && *fate != Fate::Zombie;
            match self.seats[seat].sent.iter().position(is_it) {
                None => {}
                Some(0) => {
                    self.seats[seat].sent[0].1 = Fate::Doomed;
                    self.seats[seat].condemn(true);
                    self.note("killed while first");
                }
                Some(at) => {
                    let spec = self.seats[seat].sent[at].0.spec;
                    self.seats[seat].sent[at].1 = Fate::Zombie;
                    self.owe(spec, Resolution::Killed);
                    self.note("killed behind another");
                }
            }
        }
        self.wind_down();
    }

    pub(super) fn shut_down(&mut self, how: Shutdown) {
        self.note(match how {
            Shutdown::Graceful => "shutdown graceful",
            Shutdown::Cancel => "shutdown cancel",
            Shutdown::Kill => "shutdown kill",
        });
        if self.shutdown.is_some_and(|before| before < how) {
            self.note("shutdown escalated");
        }
        self.shutdown = self.shutdown.max(Some(how));
        if how >= Shutdown::Cancel {
            self.drop_queue(Resolution::Cancelled);
        }
        if how == Shutdown::Kill {
            self.drop_sent(Resolution::Killed);
            self.seats.iter_mut().for_each(|seat| seat.condemn(true));
        }
        self.wind_down();
    }

    /// A task was taken back from a worker that had not started it.
    pub(super) fn revoked(&mut self, worker: WorkerId, task: TaskId) {
        let (now, hang) = (self.now, self.config.hang);
        let seat = self.seat(worker).expect("oracle: taken back from a former worker");
        let at = seat.sent.iter().position(|(chunk, _)| chunk.task == Some(task));
        let at = at.expect("oracle: taken back from a stranger");
        let (chunk, fate) = seat.sent.remove(at).unwrap();
        assert_eq!(fate, Fate::Live, "oracle: only what lives is taken back");
        let limit = chunk.spec.timeout.map_or(hang, |timeout| timeout.min(hang));
        let is_late = at == 0 && seat.seen.is_none() && now >= seat.since + limit;
        if is_late {
            seat.condemn(true);
        } else if at == 0 {
            (seat.since, seat.seen) = (now, None);
        }
        if seat.sent.front().is_some_and(|&(_, fate)| fate == Fate::Zombie) {
            seat.condemn(true);
        }
        let asked = seat.asked.iter().position(|&asked| asked == task);
        let was_asked = asked.map(|at| seat.asked.remove(at)).is_some();
        self.note(match (is_late, was_asked) {
            (true, _) => "found hanging",
            (_, true) => "moved",
            _ => "taken back",
        });
        self.release(worker, chunk.spec.payload);
        self.put_back(vec![chunk]);
        self.let_leavers_go();
    }

    pub(super) fn completed(
        &mut self,
        (worker, task, elapsed): (WorkerId, TaskId, Duration),
        answer: Delivery,
    ) {
        let now = self.now;
        let Some(seat) = self.seat(worker) else {
            assert_eq!(answer, Delivery::Discard, "oracle: a former worker completes nothing");
            return self.note("stale");
        };
        let head = seat.sent.front().copied().filter(|(chunk, _)| chunk.task == Some(task));
        let Some((chunk, fate)) = head else {
            seat.condemn(false);
            assert_eq!(answer, Delivery::Violation, "oracle: only the first task is completed");
            self.note("violation");
            return self.wind_down();
        };
        seat.sent.pop_front();
        (seat.since, seat.seen) = (now, None);
        seat.unproven = 0;
        let at_hand = elapsed.as_micros() * seat.credit as u128;
        seat.credit = match at_hand {
            0..200 => (seat.credit * 2).min(64),
            801.. => (seat.credit / 2).max(2),
            _ => seat.credit.max(2),
        };
        seat.has_moved = true;
        let refused = seat.asked.contains(&task);
        if seat.sent.front().is_some_and(|&(_, fate)| fate == Fate::Zombie) {
            seat.condemn(true);
        }
        if refused {
            self.note("refused to move");
        }
        self.fruitless_deaths = 0;
        self.release(worker, chunk.spec.payload);
        let expected = if fate == Fate::Zombie { Delivery::Discard } else { Delivery::Deliver };
        assert_eq!(answer, expected, "oracle: results count unless the task is resolved");
        if fate != Fate::Zombie {
            self.count_resolved(chunk.spec);
            self.note(match fate {
                Fate::Doomed => "completed although killed",
                Fate::Overdue(_) => "completed although overdue",
                _ => "completed",
            });
        }
        self.wind_down();
    }

    pub(super) fn ready(&mut self, worker: WorkerId) {
        let now = self.now;
        let Some(seat) = self.seat(worker) else { return self.note("stale") };
        if seat.life == Life::Coming {
            seat.life = Life::Ready;
            (seat.since, seat.seen) = (now, None);
            seat.start_failures = 0;
            seat.unproven += 1;
            self.start_failures = 0;
        }
        self.let_leavers_go();
    }

    pub(super) fn suspected(&mut self, worker: WorkerId) {
        let Some(seat) = self.seat(worker) else { return self.note("stale") };
        if seat.life != Life::Stopped {
            seat.condemn(false);
        }
        self.let_leavers_go();
    }

    pub(super) fn died(&mut self, worker: WorkerId, blame: Option<Blame>, now: Duration) {
        let Some(seat) = self.seat(worker) else { return self.note("stale") };
        let life = std::mem::replace(&mut seat.life, Life::Gone);
        let sent = std::mem::take(&mut seat.sent);
        seat.asked.clear();
        seat.order_owed = false;
        let delay = match life {
            Life::Gone => unreachable!(),
            Life::Coming | Life::Condemned { ordered: false, was_ready: false } => {
                seat.start_failures += 1;
                let failures = seat.start_failures;
                self.start_failures += 1;
                self.note_break(self.start_failures, "broken by start failures");
                self.delay(failures)
            }
            Life::Ready
            | Life::Leaving(_)
            | Life::Condemned { ordered: false, was_ready: true } => {
                self.unprovoked_death(worker, sent, blame)
            }
            Life::Condemned { ordered: true, .. } | Life::Stopped => {
                seat.unproven = seat.unproven.saturating_sub(1);
                self.give_back(worker, sent, None);
                Duration::ZERO
            }
        };
        if !delay.is_zero() {
            self.note("back-off");
        }
        self.break_if_hopeless();
        let is_over = self.broken || self.shutdown.is_some() && self.queue.is_empty();
        let seat = &mut self.seats[worker.slot];
        seat.not_before = now + delay;
        if is_over && seat.wanted == Wanted::WhenBusy {
            // Nobody rests in a pool that is at its end.
            seat.wanted = Wanted::No;
        }
        self.wind_down();
    }

    /// The memory that a dead worker held is free again.
    pub(super) fn reclaim(&mut self, worker: WorkerId) {
        self.holds.retain(|&(holder, _), _| holder != worker);
    }

    fn unprovoked_death(
        &mut self,
        worker: WorkerId,
        sent: VecDeque<(Chunk, Fate)>,
        blame: Option<Blame>,
    ) -> Duration {
        self.note(if sent.is_empty() { "death while idle" } else { "death" });
        let blame = blame.filter(|blame| {
            sent.front()
                .is_some_and(|&(chunk, fate)| chunk.task == Some(blame.task) && fate == Fate::Live)
        });
        let bystanders = sent.iter().filter(|(_, fate)| *fate == Fate::Live).count();
        self.give_back(worker, sent, blame);
        let seat = &mut self.seats[worker.slot];
        if blame.is_some() {
            seat.unproven = 0;
            self.fruitless_deaths = 0;
            return Duration::ZERO;
        }
        let unproven = seat.unproven;
        if unproven > 0 && bystanders > 0 {
            self.fruitless_deaths += 1;
            self.note("death without blame");
            if self.fruitless_deaths == self.config.max_fruitless_deaths {
                self.note("broken by fruitless deaths");
            }
        }
        self.delay(unproven.saturating_sub(1))
    }
}

// What the machine asks for.
impl Oracle {
    pub(super) fn act(&mut self, action: &Action, now: Duration) {
        match *action {
            Action::Start { worker } => self.expect_start(worker, now),
            Action::Send { worker, task, attempt, spec } => {
                self.expect_send(worker, task, attempt, spec);
            }
            Action::Revoke { worker, task } => self.expect_revoke(worker, task),
            Action::Look { worker, task } => {
                let owed = self.owed_looks.iter().position(|&look| look == (worker, task));
                self.owed_looks.remove(owed.expect("oracle: looked without reason"));
            }
            Action::KillWorker { worker } => self.expect_order(worker, |life| {
                assert!(matches!(life, Life::Condemned { .. }), "oracle: killed without reason");
            }),
            Action::StopWorker { worker } => self.expect_order(worker, |life| {
                assert_eq!(life, Life::Stopped, "oracle: stopped without reason");
            }),
            Action::Split(split) => self.expect_split(split),
            Action::Resolve { spec, resolution, .. } => {
                let owed = self.owed_resolutions.iter().position(|o| *o == (spec, resolution));
                let owed = owed.unwrap_or_else(|| {
                    panic!("oracle: resolved without reason: {spec:?} {resolution:?}")
                });
                self.owed_resolutions.remove(owed);
                self.count_resolved(spec);
            }
        }
    }

    /// The machine is about to be asked for an action.
    pub(super) fn asks(&mut self, held: Vec<usize>) {
        self.held = held;
        let is_called = self.has_work_for_more();
        self.seats.iter_mut().for_each(|seat| seat.is_called |= is_called);
    }

    /// The machine says that there is nothing to do.
    pub(super) fn idle(&mut self, is_broken: bool, queued: usize, sent: usize, held: usize) {
        if !self.is_over_for_workers() {
            let wanted = self.seats.iter().filter(|seat| seat.wanted != Wanted::No).count();
            assert_eq!(held, wanted + self.newcomers, "oracle: as many workers as there are to be");
            assert_eq!(self.newcomers, 0, "oracle: a new worker is missing");
        }
        let rests = |seat: &Seat| seat.life == Life::Gone && seat.wanted == Wanted::WhenBusy;
        let wakes = self.has_work_for_more() && self.seats.iter().any(rests);
        assert!(!wakes, "oracle: work waits while somebody rests");
        assert_eq!(is_broken, self.broken, "oracle: broken when it is hopeless");
        assert_eq!(queued, self.queue.len(), "oracle: as many tasks are queued");
        assert_eq!(sent, self.unresolved_sent(), "oracle: as many tasks are sent");
        assert!(self.owed_resolutions.is_empty(), "oracle: a resolution is missing");
        assert!(self.owed_splits.is_empty(), "oracle: a split is missing");
        self.forget_stale_questions();
        assert!(self.owed_questions.is_empty(), "oracle: what waits is not asked back");
        assert!(self.owed_looks.is_empty(), "oracle: what runs long is not looked at");
        self.look_at_what_waits();
        let is_idle = |seat: &Seat| seat.has_credit() && seat.sent.is_empty();
        let waits = self.seats.iter().any(is_idle) && self.seats.iter().any(Seat::can_spare);
        assert!(!waits, "oracle: work waits behind other work beside an idle worker");
        let owed = self.seats.iter().any(|seat| seat.order_owed);
        assert!(!owed, "oracle: an order is missing");
    }

    pub(super) fn is_resolved(&self) -> bool {
        self.queue.is_empty() && self.unresolved_sent() == 0
    }

    /// Every item was resolved exactly once and nobody holds anything.
    pub(super) fn finished(&self) {
        for item in self.items.iter().flatten() {
            assert_eq!(item.resolved, 1, "oracle: an item is resolved exactly once");
        }
        assert!(self.holds.is_empty(), "oracle: a hold is left");
        let gone = self.seats.iter().all(|seat| seat.life == Life::Gone);
        assert!(gone, "oracle: a closed pool has no worker");
    }

    fn expect_start(&mut self, worker: WorkerId, now: Duration) {
        let unresolved = !self.is_resolved();
        let nobody = self.seats.iter().all(|seat| seat.life == Life::Gone);
        let is_last = self.shutdown.is_some() && nobody && !self.queue.is_empty();
        let places = self.seats.len().max(worker.slot + 1);
        self.seats.resize_with(places, Self::empty_seat);
        let seat = &mut self.seats[worker.slot];
        assert_eq!(seat.life, Life::Gone, "oracle: a slot has one worker");
        assert_eq!(seat.generation + 1, worker.generation, "oracle: each worker is a generation");
        match seat.wanted {
            Wanted::Yes => {
                assert!(now >= seat.not_before || is_last, "oracle: started too early");
            }
            Wanted::WhenBusy => assert!(seat.is_called || is_last, "oracle: woken without work"),
            Wanted::No => assert!(self.newcomers > 0 || is_last, "oracle: one worker too many"),
        }
        self.newcomers = self.newcomers.saturating_sub(usize::from(seat.wanted == Wanted::No));
        let was_resting = std::mem::replace(&mut seat.wanted, Wanted::Yes) == Wanted::WhenBusy;
        seat.given = 0;
        assert!(self.shutdown.is_none() || unresolved, "oracle: no worker without work");
        assert!(!self.broken, "oracle: a broken pool starts nothing");
        seat.generation = worker.generation;
        seat.life = Life::Coming;
        if was_resting {
            self.note("woken");
        }
    }

    fn expect_send(&mut self, worker: WorkerId, task: TaskId, attempt: u32, spec: TaskSpec) {
        let is_alone = self.expect_alone(worker, spec);
        let next = self.take_next();
        let expected = Some(Chunk { task: Some(task), spec });
        assert_eq!(next, expected, "oracle: the first of the queue is sent");
        let load = |seat: &Seat| seat.has_credit().then_some(seat.sent.len());
        let least = self.seats.iter().filter_map(load).min();
        let items = &self.items[spec.payload as usize];
        let charged = items[spec.first as usize].charged;
        assert_eq!(attempt, charged + 1, "oracle: only blamed attempts are counted");
        assert!(attempt <= spec.attempts, "oracle: no more attempts than the limit");
        let (now, max_items) = (self.now, self.config.max_items);
        let seat = self.seat(worker).expect("oracle: sent to a former worker");
        assert_eq!(seat.life, Life::Ready, "oracle: sent to a worker that is not ready");
        assert!(seat.has_credit(), "oracle: sent beyond credit");
        assert_eq!(Some(seat.sent.len()), least, "oracle: the least loaded worker is sent to");
        seat.has_moved |= seat.sent.is_empty();
        if seat.sent.is_empty() {
            (seat.since, seat.seen) = (now, None);
        }
        seat.sent.push_back((Chunk { task: Some(task), spec }, Fate::Live));
        if is_alone {
            seat.credit = 1;
        }
        seat.given += u64::from(spec.count);
        let is_spent = max_items.is_some_and(|max| seat.given >= max);
        *self.holds.entry((worker, spec.payload)).or_default() += 1;
        if is_spent {
            self.retired(worker);
        }
    }

    fn expect_revoke(&mut self, worker: WorkerId, task: TaskId) {
        let owed = self.owed_questions.iter().position(|&question| question == (worker, task));
        if let Some(owed) = owed {
            self.owed_questions.remove(owed);
            self.note("asked back from behind a long task");
            let seat = self.seat(worker).expect("oracle: a former worker is asked for work");
            if !seat.asked.contains(&task) {
                seat.asked.push(task);
            }
            return;
        }
        assert_eq!(self.sendable(), 0, "oracle: work is moved while other work waits");
        let idle = self.seats.iter().any(|seat| seat.has_credit() && seat.sent.is_empty());
        assert!(idle, "oracle: work is moved to nobody");
        let most = self.seats.iter().filter(|seat| seat.can_spare()).map(|seat| seat.sent.len());
        let most = most.max();
        let seat = self.seat(worker).expect("oracle: a former worker is asked for work");
        assert!(seat.can_spare(), "oracle: what is asked for cannot be spared");
        assert_eq!(Some(seat.sent.len()), most, "oracle: the most loaded worker is asked");
        let last = seat.sent.back().and_then(|(chunk, _)| chunk.task);
        assert_eq!(last, Some(task), "oracle: the last task is asked for");
        seat.asked.push(task);
    }

    fn expect_order(&mut self, worker: WorkerId, check: impl Fn(Life)) {
        let now = self.now;
        let seat = self.seat(worker).expect("oracle: an order to a former worker");
        check(seat.life);
        assert!(seat.order_owed, "oracle: an order is given once");
        (seat.order_owed, seat.since) = (false, now);
    }

    fn expect_split(&mut self, split: Split) {
        let owed = self
            .owed_splits
            .iter()
            .position(|&(from, item, _)| from == split.from && item == split.item);
        let owed = owed.unwrap_or_else(|| panic!("oracle: split without reason: {split:?}"));
        let (_, _, parts) = self.owed_splits.remove(owed);
        let ids = [split.before, Some(split.blamed), split.after];
        for (part, id) in parts.into_iter().zip(ids) {
            let fits = part.is_some() == id.is_some();
            assert!(fits, "oracle: a split has the parts that the item leaves");
            // The part may have been resolved already, by a shutdown or because it is spent.
            let chunk = self.queue.iter_mut().find(|chunk| Some(chunk.spec) == part);
            if let Some(chunk) = chunk {
                chunk.task = id;
            }
        }
    }
}

// What follows from it.
impl Oracle {
    pub(super) fn seat(&mut self, worker: WorkerId) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(worker.slot)?;
        (seat.life != Life::Gone && seat.generation == worker.generation).then_some(seat)
    }

    fn unresolved_sent(&self) -> usize {
        let sent = self.seats.iter().flat_map(|seat| &seat.sent);
        sent.filter(|(_, fate)| *fate != Fate::Zombie).count()
    }

    pub(super) fn is_over_for_workers(&self) -> bool {
        self.broken || self.shutdown.is_some()
    }

    fn delay(&self, failures: u32) -> Duration {
        let mut delay = Duration::ZERO;
        for failure in 0..failures {
            delay = if failure == 0 { self.config.backoff.first } else { delay * 2 };
            delay = delay.min(self.config.backoff.max);
        }
        delay
    }

    fn break_if_hopeless(&mut self) {
        let wanted = !self.broken && (self.shutdown.is_none() || !self.queue.is_empty());
        let none_ready = self.seats.iter().all(|seat| seat.life != Life::Ready);
        let hopeless = none_ready && self.start_failures >= self.config.max_start_failures
            || self.fruitless_deaths >= self.config.max_fruitless_deaths;
        if wanted && hopeless {
            self.broken = true;
            self.drop_queue(Resolution::Broken);
            self.drop_sent(Resolution::Broken);
        }
    }

    fn note_break(&mut self, failures: u32, what: &'static str) {
        if failures == self.config.max_start_failures {
            self.note(what);
        }
    }

    /// Without work, a pool that takes no more of it lets its workers go.
    fn wind_down(&mut self) {
        self.let_leavers_go();
        if !self.is_over_for_workers() || !self.is_resolved() {
            return;
        }
        for seat in &mut self.seats {
            if matches!(seat.life, Life::Coming | Life::Ready | Life::Leaving(_)) {
                seat.life = Life::Stopped;
                seat.order_owed = true;
            }
        }
    }

    fn drop_queue(&mut self, resolution: Resolution) {
        for chunk in std::mem::take(&mut self.queue) {
            self.owe(chunk.spec, resolution);
        }
    }

    fn drop_sent(&mut self, resolution: Resolution) {
        for at in 0..self.seats.len() {
            for (chunk, fate) in self.seats[at].sent.clone() {
                if fate != Fate::Zombie {
                    self.owe(chunk.spec, resolution);
                }
            }
            let seat = &mut self.seats[at];
            seat.sent.iter_mut().for_each(|(_, fate)| *fate = Fate::Zombie);
            if !seat.sent.is_empty() {
                seat.condemn(true);
            }
        }
    }

    pub(super) fn owe(&mut self, spec: TaskSpec, resolution: Resolution) {
        self.owed_resolutions.push((spec, resolution));
    }

    fn count_resolved(&mut self, spec: TaskSpec) {
        let items = &mut self.items[spec.payload as usize];
        for item in &mut items[spec.first as usize..][..spec.count as usize] {
            item.resolved += 1;
            assert_eq!(item.resolved, 1, "oracle: an item is resolved exactly once");
        }
    }

    fn release(&mut self, worker: WorkerId, payload: u64) {
        let holds = self.holds.get_mut(&(worker, payload)).expect("oracle: released twice");
        *holds -= 1;
        if *holds == 0 {
            self.holds.remove(&(worker, payload));
        }
    }

    pub(super) fn note(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }
}

impl Seat {
    pub(super) fn has_credit(&self) -> bool {
        self.life == Life::Ready && self.sent.len() < self.credit
    }

    pub(super) fn works(&self) -> bool {
        matches!(self.life, Life::Ready | Life::Leaving(_))
    }

    pub(super) fn can_spare(&self) -> bool {
        let last = self.sent.back().filter(|_| self.works() && self.sent.len() > 1);
        last.is_some_and(|(chunk, fate)| {
            *fate == Fate::Live && chunk.task.is_some_and(|task| !self.asked.contains(&task))
        })
    }

    pub(super) fn condemn(&mut self, ordered: bool) {
        match self.life {
            Life::Gone | Life::Condemned { .. } => return,
            Life::Coming => self.life = Life::Condemned { ordered, was_ready: false },
            Life::Ready | Life::Leaving(_) => {
                self.life = Life::Condemned { ordered, was_ready: true };
            }
            Life::Stopped => self.life = Life::Condemned { ordered, was_ready: true },
        }
        self.order_owed = true;
    }
}

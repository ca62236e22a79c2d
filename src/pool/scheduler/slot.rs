//! The places of workers: what state each is in, what its worker was sent, and who has credit left.
//!
//! It promises that the indexes (open for work, laden, owed an order, backing off) always tell what the
//! slots are, because slots change only through [`Slots::update`]. It knows tasks by name only.
//!
//! ```text
//!   Resting --- work ---.                               share used up, place closed
//!                       v       order              ready
//!   BackingOff ---> Starting(owed) --> Starting(given) --> Ready --> Leaving
//!              timer                     |     \ place       | idle     | nothing left,
//!                                 failed |      \ closed     |          | successor there
//!                                        |       v           v          v
//!      from all that have a process:     |      Stopping(owed) --> Stopping(given)
//!          condemned                     |                            | stays |
//!             `--> Dying(owed) --> Dying(given) <---------------------'       |
//!                                        | died                               | died
//!                                        v                                    v
//!                     next: Starting(owed), BackingOff, Resting or Vacant
//! ```
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::event::{Action, WorkerId};
use super::task::TaskId;

/// Tasks that a worker may have been sent, at least: the one it runs and one behind it, so that it
/// need not wait for the next.
pub(super) const LEAST_CREDIT: usize = 2;
/// At most: as many as can be claimed at a time.
pub(super) const MOST_CREDIT: usize = crate::channel::CLAIMS;
/// How much work a worker should have at hand: some times what it costs to be woken.
pub(super) const AT_HAND: Duration = Duration::from_micros(200);

/// The life of a slot's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No worker, and none will be started.
    Vacant,
    /// No worker until there is work for one.
    Resting,
    /// No worker until then.
    BackingOff {
        until: Duration,
    },
    /// A process that is not ready yet or, while its order is owed, no process yet.
    Starting(Order),
    Ready,
    /// It gets nothing more, and is asked to end when it has done what it has and its successor, if
    /// there is to be one, is ready.
    Leaving {
        successor: Option<usize>,
    },
    /// Condemned: it is sent nothing any more, and its death is awaited.
    Dying(Why, Order),
    /// Asked to end, having nothing left to do.
    Stopping(Order),
}

/// Whether the supervisor has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Owed,
    Given,
}

/// What becomes of a place when its worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another worker is started.
    Again,
    /// Another one when there is work for it.
    Rest,
    Nothing,
}

/// Why a worker was condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It seems dead or talks nonsense: what it was running may be to blame.
    Suspected,
    /// As `Suspected`, before it was ready: a start that failed.
    NeverReady,
    /// We wanted it gone, so its death is nobody's fault.
    Ordered,
}

/// A task in a worker's sent list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) task: TaskId,
    pub(super) fate: Fate,
    /// Its worker was asked to give it back. If it is here still, it has been started.
    pub(super) asked: bool,
    /// How long one of its items may run.
    pub(super) timeout: Option<Duration>,
}

/// What a sent task has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It completes, or runs again elsewhere.
    Live,
    /// Killed while it runs: it completes before the worker dies, or is resolved as killed.
    Doomed,
    /// This item has run for too long: the task completes before the worker dies, or the item is
    /// resolved as timed out.
    Overdue { item: u32 },
    /// Resolved already; only the worker does not know.
    Zombie,
}

/// What is known of the first task of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Since when it is the first, or since when its worker is known to run this item.
    pub(super) since: Duration,
    /// The item that was seen last; `None` if it is not known to have begun.
    pub(super) item: Option<u32>,
}

/// How long a worker may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// To begin its first task, and to end when it is asked to.
    pub(super) hang: Duration,
    /// Without a task.
    pub(super) idle: Option<Duration>,
}

/// What is to be done about a worker whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing, or not yet.
    Later,
    /// Its first task is to be asked back: if it can be had, the worker hangs.
    Ask(TaskId),
    /// It is to be looked which item it runs.
    Look(TaskId),
    /// It has had nothing to do for long.
    Idle,
    /// It was asked to end, and is still here.
    Stays,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) after: After,
    /// Items that the worker was sent.
    pub(super) given: u64,
    /// Of the worker that is here, or was last.
    pub(super) generation: u32,
    /// What the worker was sent and has not completed, in order.
    pub(super) sent: VecDeque<Sent>,
    pub(super) head: Head,
    /// When to look at the first task, at the latest. It may be too early: then it is looked again.
    check_at: Option<Duration>,
    /// How many it may have been sent; one while the task that it runs takes long.
    pub(super) credit: usize,
    /// It has completed something, or had nothing to do, since somebody last looked.
    pub(super) has_moved: bool,
    /// Starts in a row that failed.
    pub(super) start_failures: u32,
    /// Workers in a row, the present one included, that became ready and completed nothing.
    pub(super) unproven: u32,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: State::Starting(Order::Owed),
            after: After::Again,
            given: 0,
            generation: 0,
            sent: VecDeque::new(),
            head: Head { since: Duration::ZERO, item: None },
            check_at: None,
            credit: LEAST_CREDIT,
            has_moved: true,
            start_failures: 0,
            unproven: 0,
        }
    }

    /// Whether a process is here that the supervisor knows of.
    pub(super) fn is_live(&self) -> bool {
        match self.state {
            State::Vacant
            | State::Resting
            | State::BackingOff { .. }
            | State::Starting(Order::Owed) => false,
            State::Starting(Order::Given)
            | State::Ready
            | State::Leaving { .. }
            | State::Dying(..)
            | State::Stopping(_) => true,
        }
    }

    /// Whether it is at work, or may be: what it runs is looked at, and what waits there may be moved.
    pub(super) fn works(&self) -> bool {
        matches!(self.state, State::Ready | State::Leaving { .. })
    }

    /// Whether it has been asked to end.
    fn is_stopping(&self) -> bool {
        self.state == State::Stopping(Order::Given)
    }

    /// Whether a worker is on its way here.
    pub(super) fn is_coming(&self) -> bool {
        matches!(self.state, State::Starting(_) | State::BackingOff { .. })
    }

    /// Adds a task behind those that were sent before.
    pub(super) fn push(&mut self, task: TaskId, timeout: Option<Duration>) {
        assert_eq!(self.state, State::Ready, "a worker gets nothing unless it is ready");
        assert!(self.sent.len() < self.credit, "a worker is sent no more than its credit");
        self.has_moved |= self.sent.is_empty();
        self.sent.push_back(Sent { task, fate: Fate::Live, asked: false, timeout });
    }

    /// There is another first task from now on, if there is one.
    pub(super) fn begin_head(&mut self, now: Duration, limits: Limits) {
        self.head = Head { since: now, item: None };
        self.arm(limits);
    }

    /// Sees to it that it is looked at the first task in time.
    pub(super) fn arm(&mut self, limits: Limits) {
        let due = self.due(limits);
        self.check_at = [self.check_at, due].into_iter().flatten().min();
    }

    /// When the time of the first task is over, or that without one, or that to end.
    fn due(&self, limits: Limits) -> Option<Duration> {
        let limit = match (self.sent.front(), self.state) {
            (None, State::Ready) => limits.idle?,
            (None, State::Stopping(Order::Given)) => limits.hang,
            (None, _) => return None,
            (Some(head), _) => {
                let may_hang = self.head.item.is_none() && !head.asked;
                let hang = may_hang.then_some(limits.hang);
                [head.timeout, hang].into_iter().flatten().min()?
            }
        };
        Some(self.head.since.saturating_add(limit))
    }

    /// Looks at the first task.
    fn check(&mut self, now: Duration, limits: Limits) -> Check {
        let due = self.due(limits);
        self.check_at = due.filter(|&due| due > now);
        let is_due = due.is_some() && self.check_at.is_none();
        if !is_due {
            return Check::Later;
        }
        let is_stopping = self.is_stopping();
        let Some(head) = self.sent.front_mut() else {
            return if is_stopping { Check::Stays } else { Check::Idle };
        };
        if self.head.item.is_none() && !std::mem::replace(&mut head.asked, true) {
            return Check::Ask(head.task);
        }
        if head.timeout.is_some() { Check::Look(head.task) } else { Check::Later }
    }

    /// The first task, which begins at item `first`, is known to run this item. Whether the item's
    /// time is over.
    pub(super) fn is_overdue(&mut self, first: u32, item: u32, now: Duration) -> bool {
        if self.head.item.unwrap_or(first) != item {
            self.head.since = now;
        }
        self.head.item = Some(item);
        let due = self.due(Limits { hang: Duration::MAX, idle: None });
        self.check_at = due.filter(|&due| due > now);
        due.is_some_and(|due| due <= now)
    }

    /// Whether the first task should have been begun by now.
    pub(super) fn is_late(&self, now: Duration, hang: Duration) -> bool {
        let Some(head) = self.sent.front().filter(|_| self.head.item.is_none()) else {
            return false;
        };
        let limit = head.timeout.map_or(hang, |timeout| timeout.min(hang));
        now >= self.head.since.saturating_add(limit)
    }

    /// Learns from how long a task has run how much to send.
    pub(super) fn learn(&mut self, elapsed: Duration) {
        let at_hand = elapsed.saturating_mul(u32::try_from(self.credit).unwrap_or(u32::MAX));
        if at_hand < AT_HAND {
            self.credit = (2 * self.credit).min(MOST_CREDIT);
        } else if at_hand > 4 * AT_HAND {
            self.credit /= 2;
        }
        self.credit = self.credit.max(LEAST_CREDIT);
        self.has_moved = true;
    }

    /// Who is to stay rather: the higher goes first.
    pub(super) fn rank(&self) -> (u32, usize) {
        let load = self.sent.len();
        match self.state {
            State::Ready if load > 0 => (0, usize::MAX - load),
            State::Ready => (1, 0),
            State::Starting(Order::Given) => (2, 0),
            State::Starting(Order::Owed) => (3, 0),
            State::BackingOff { .. } => (4, 0),
            State::Resting => (5, 0),
            State::Vacant | State::Leaving { .. } | State::Dying(..) | State::Stopping(_) => (6, 0),
        }
    }

    /// No worker is here, nor coming.
    fn is_empty(&self) -> bool {
        matches!(self.state, State::Vacant | State::Resting)
    }

    /// Gives up what lies behind a task that takes long: what is to be asked back, last first.
    fn unload(&mut self) -> Vec<TaskId> {
        if std::mem::replace(&mut self.has_moved, false) {
            return Vec::new();
        }
        self.credit = 1;
        self.give_up_behind()
    }

    /// What lies behind the first task and is to be asked back, last first.
    pub(super) fn give_up_behind(&mut self) -> Vec<TaskId> {
        let behind = self.sent.iter_mut().skip(1).rev();
        let unasked = behind.filter(|sent| sent.fate == Fate::Live && !sent.asked);
        unasked
            .map(|sent| {
                sent.asked = true;
                sent.task
            })
            .collect()
    }

    /// The last task, if it is not the only one and may be with an idle worker sooner.
    fn spare(&self) -> Option<&Sent> {
        let last = self.sent.back().filter(|_| self.sent.len() > 1)?;
        Some(last).filter(|last| last.fate == Fate::Live && !last.asked)
    }

    fn entries(&self) -> Entries {
        let load = self.sent.len();
        let is_ready = self.state == State::Ready;
        Entries {
            open: (is_ready && load < self.credit).then_some(load),
            laden: (self.works() && self.spare().is_some()).then_some(load),
            is_owed: matches!(
                self.state,
                State::Starting(Order::Owed)
                    | State::Dying(_, Order::Owed)
                    | State::Stopping(Order::Owed)
            ),
            backs_off_until: match self.state {
                State::BackingOff { until } => Some(until),
                _ => None,
            },
            check_at: self.check_at.filter(|_| self.works() || self.is_stopping()),
            rests: self.state == State::Resting,
            leaves: matches!(self.state, State::Leaving { .. }),
        }
    }
}

/// What the indexes say of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entries {
    /// Its load, if it may be sent more.
    open: Option<usize>,
    /// Its load, if there is something to spare.
    laden: Option<usize>,
    is_owed: bool,
    backs_off_until: Option<Duration>,
    check_at: Option<Duration>,
    rests: bool,
    leaves: bool,
}

/// All slots, and what must be found among them without a search.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// By load.
    open: BTreeSet<(usize, usize)>,
    /// By load.
    laden: BTreeSet<(usize, usize)>,
    owed: BTreeSet<usize>,
    backing_off: BTreeSet<(Duration, usize)>,
    /// Workers whose first task is to be looked at, and those that were asked to end.
    checks: BTreeSet<(Duration, usize)>,
    /// Slots that are neither vacant nor resting.
    occupied: usize,
    resting: BTreeSet<usize>,
    leaving: BTreeSet<usize>,
    #[cfg(test)]
    pub(super) plant: Option<super::sim::Plant>,
}

impl Slots {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            slots: (0..workers).map(|_| Slot::new()).collect(),
            open: BTreeSet::new(),
            laden: BTreeSet::new(),
            owed: (0..workers).collect(),
            backing_off: BTreeSet::new(),
            checks: BTreeSet::new(),
            occupied: workers,
            resting: BTreeSet::new(),
            leaving: BTreeSet::new(),
            #[cfg(test)]
            plant: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn occupied(&self) -> usize {
        self.occupied
    }

    /// Whether nobody is here, nor coming, nor would come for a task.
    pub(super) fn is_deserted(&self) -> bool {
        self.occupied == 0 && self.resting.is_empty()
    }

    pub(super) fn first_resting(&self) -> Option<usize> {
        self.resting.first().copied()
    }

    /// Workers that are asked to end when they are done.
    pub(super) fn leaving(&self) -> Vec<usize> {
        self.leaving.iter().copied().collect()
    }

    /// A place that nobody has.
    pub(super) fn free(&mut self) -> usize {
        if let Some(at) = self.slots.iter().position(|slot| slot.state == State::Vacant) {
            return at;
        }
        let mut slot = Slot::new();
        slot.state = State::Vacant;
        self.slots.push(slot);
        self.slots.len() - 1
    }

    pub(super) fn any_ready(&self) -> bool {
        self.slots.iter().any(|slot| slot.state == State::Ready)
    }

    pub(super) fn get(&self, slot: usize) -> &Slot {
        &self.slots[slot]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate()
    }

    /// Whether this very worker has a process, as far as has been told.
    pub(super) fn is_live(&self, worker: WorkerId) -> bool {
        let slot = &self.slots[worker.slot];
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::StaleGeneration) {
            return slot.is_live();
        }
        slot.is_live() && slot.generation == worker.generation
    }

    /// Changes a slot; the only way to do so.
    pub(super) fn update<R>(&mut self, at: usize, change: impl FnOnce(&mut Slot) -> R) -> R {
        let slot = &mut self.slots[at];
        let (before, was_empty) = (slot.entries(), slot.is_empty());
        let result = change(slot);
        let (after, is_empty) = (slot.entries(), slot.is_empty());
        if before != after {
            self.remove(at, before);
            self.insert(at, after);
        }
        self.occupied = self.occupied + usize::from(was_empty) - usize::from(is_empty);
        result
    }

    /// The ready worker with the least to do, if any has credit left.
    pub(super) fn least_loaded(&self) -> Option<usize> {
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::CreditForgotten) {
            return self.open.first().filter(|&&(load, _)| load == 0).map(|&(_, slot)| slot);
        }
        self.open.first().map(|&(_, slot)| slot)
    }

    /// Workers that have more than they run.
    pub(super) fn laden(&self) -> usize {
        self.laden.len()
    }

    /// Whether anything waits behind what a worker runs.
    pub(super) fn any_laden(&self) -> bool {
        !self.laden.is_empty()
    }

    /// Asks workers to give back what waits behind a task that they have run since the last time.
    pub(super) fn unload(&mut self) -> Vec<Action> {
        let laden: Vec<usize> = self.laden.iter().map(|&(_, at)| at).collect();
        let ask = |at| {
            let (worker, tasks) = self.update(at, |slot| (slot.worker(at), slot.unload()));
            tasks.into_iter().map(move |task| Action::Revoke { worker, task })
        };
        laden.into_iter().flat_map(ask).collect()
    }

    /// Asks the worker with the most to do to give its last task back, if another one is idle.
    pub(super) fn next_revocation(&mut self) -> Option<Action> {
        let &(0, _) = self.open.first()? else { return None };
        let &(_, at) = self.laden.last()?;
        Some(self.update(at, |slot| {
            let last = slot.sent.back_mut().expect("a laden slot has tasks");
            last.asked = true;
            let task = last.task;
            Action::Revoke { worker: slot.worker(at), task }
        }))
    }

    /// When the next slot has waited long enough, or the next task is to be looked at.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let (waits, check) = (self.backing_off.first(), self.checks.first());
        [waits, check].into_iter().flatten().map(|&(at, _)| at).min()
    }

    /// Looks at the next first task whose time may be over.
    pub(super) fn next_check(
        &mut self,
        now: Duration,
        limits: Limits,
    ) -> Option<(WorkerId, Check)> {
        let &(_, at) = self.checks.first().filter(|&&(due, _)| due <= now)?;
        Some(self.update(at, |slot| (slot.worker(at), slot.check(now, limits))))
    }

    /// A slot that has waited until `now`.
    pub(super) fn first_due(&self, now: Duration) -> Option<usize> {
        self.backing_off.first().filter(|&&(until, _)| until <= now).map(|&(_, slot)| slot)
    }

    /// Gives one order that is owed.
    pub(super) fn next_order(&mut self, now: Duration, limits: Limits) -> Option<Action> {
        let at = *self.owed.first()?;
        Some(self.update(at, |slot| slot.give_order(at, now, limits)))
    }

    /// Indexes and slots agree, and no worker has more than it may have.
    pub(super) fn assert_indexed(&self) {
        let mut named = 0;
        for (at, slot) in self.iter() {
            let Entries { open, laden, is_owed, backs_off_until, check_at, rests, leaves } =
                slot.entries();
            let expected = [
                open.map(|load| self.open.contains(&(load, at))),
                laden.map(|load| self.laden.contains(&(load, at))),
                is_owed.then(|| self.owed.contains(&at)),
                backs_off_until.map(|until| self.backing_off.contains(&(until, at))),
                check_at.map(|due| self.checks.contains(&(due, at))),
                rests.then(|| self.resting.contains(&at)),
                leaves.then(|| self.leaving.contains(&at)),
            ];
            for present in expected.into_iter().flatten() {
                assert!(present, "a slot is in the index that its state says");
                named += 1;
            }
            assert!(slot.credit <= MOST_CREDIT, "credit ends where claims do");
            assert!(slot.is_live() || slot.sent.is_empty(), "only a worker has sent tasks");
        }
        let loads = self.open.len() + self.laden.len();
        let timed = self.backing_off.len() + self.checks.len();
        let timed = timed + self.resting.len() + self.leaving.len();
        let indexed = loads + self.owed.len() + timed;
        assert_eq!(named, indexed, "a slot is in no other index");
    }

    fn insert(&mut self, at: usize, entries: Entries) {
        let Entries { open, laden, is_owed, backs_off_until, check_at, rests, leaves } = entries;
        self.resting.extend(rests.then_some(at));
        self.leaving.extend(leaves.then_some(at));
        self.open.extend(open.map(|load| (load, at)));
        self.laden.extend(laden.map(|load| (load, at)));
        self.owed.extend(is_owed.then_some(at));
        self.backing_off.extend(backs_off_until.map(|until| (until, at)));
        self.checks.extend(check_at.map(|due| (due, at)));
    }

    fn remove(&mut self, at: usize, entries: Entries) {
        let Entries { open, laden, is_owed, backs_off_until, check_at, rests, leaves } = entries;
        let removed = open.is_none_or(|load| self.open.remove(&(load, at)))
            & laden.is_none_or(|load| self.laden.remove(&(load, at)))
            & (!is_owed || self.owed.remove(&at))
            & backs_off_until.is_none_or(|until| self.backing_off.remove(&(until, at)))
            & check_at.is_none_or(|due| self.checks.remove(&(due, at)))
            & (!rests || self.resting.remove(&at))
            & (!leaves || self.leaving.remove(&at));
        assert!(removed, "a slot is in the index that its state says");
    }
}

impl Slot {
    fn give_order(&mut self, at: usize, now: Duration, limits: Limits) -> Action {
        match self.state {
            State::Starting(Order::Owed) => {
                self.state = State::Starting(Order::Given);
                // After 2^32 workers a name comes again; nobody remembers the first one.
                self.generation = self.generation.wrapping_add(1);
                (self.check_at, self.given) = (None, 0);
                Action::Start { worker: self.worker(at) }
            }
            State::Dying(why, Order::Owed) => {
                self.state = State::Dying(why, Order::Given);
                Action::KillWorker { worker: self.worker(at) }
            }
            State::Stopping(Order::Owed) => {
                self.state = State::Stopping(Order::Given);
                self.begin_head(now, limits);
                Action::StopWorker { worker: self.worker(at) }
            }
            state => unreachable!("no order is owed in state {state:?}"),
        }
    }

    pub(super) fn worker(&self, slot: usize) -> WorkerId {
        WorkerId { slot, generation: self.generation }
    }
}

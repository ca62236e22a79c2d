//! The places of workers: what state each is in, what its worker was sent, and who has credit left.
//!
//! It promises that the indexes (idle, half loaded, owed an order, backing off) always tell what the
//! slots are, because slots change only through [`Slots::update`]. It knows tasks by name only.
//!
//! ```text
//!                 order                ready
//!   Starting(owed) ---> Starting(given) ---> Ready --- condemned ---> Dying(owed) ---> Dying(given)
//!     ^        ^            |                  | \                                        |
//!     |        | at once    | failed           |  `--- nothing left ---> Stopping         |
//!     |        `------------+------------------+---------------------------- | -----------'
//!     | timer               |                                                v
//!   BackingOff <------------'                                              Vacant
//! ```
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::event::{Action, WorkerId};
use super::task::TaskId;

/// Tasks a worker may have been sent: the one it runs and one behind it, so that it need not wait for the next.
pub(super) const CREDIT: usize = 2;

/// The life of a slot's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No worker, and none will be started.
    Vacant,
    /// No worker until then.
    BackingOff {
        until: Duration,
    },
    /// A process that is not ready yet or, while its order is owed, no process yet.
    Starting(Order),
    Ready,
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
}

/// What a sent task has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It completes, or runs again elsewhere.
    Live,
    /// Killed while it runs: it completes before the worker dies, or is resolved as killed.
    Doomed,
    /// Resolved already; only the worker does not know.
    Zombie,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    /// Of the worker that is here, or was last.
    pub(super) generation: u32,
    /// What the worker was sent and has not completed, in order.
    pub(super) sent: VecDeque<Sent>,
    /// Starts in a row that failed.
    pub(super) start_failures: u32,
    /// Workers in a row, the present one included, that became ready and completed nothing.
    pub(super) unproven: u32,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: State::Starting(Order::Owed),
            generation: 0,
            sent: VecDeque::with_capacity(CREDIT),
            start_failures: 0,
            unproven: 0,
        }
    }

    /// Whether a process is here that the supervisor knows of.
    pub(super) fn is_live(&self) -> bool {
        match self.state {
            State::Vacant | State::BackingOff { .. } | State::Starting(Order::Owed) => false,
            State::Starting(Order::Given)
            | State::Ready
            | State::Dying(..)
            | State::Stopping(_) => true,
        }
    }

    /// Adds a task behind those that were sent before.
    pub(super) fn push(&mut self, task: TaskId) {
        assert_eq!(self.state, State::Ready, "a worker gets nothing unless it is ready");
        assert!(self.sent.len() < CREDIT, "a worker is sent no more than its credit");
        self.sent.push_back(Sent { task, fate: Fate::Live });
    }

    fn index(&self) -> Index {
        match self.state {
            State::Ready => match self.sent.len() {
                0 => Index::Idle,
                1 => Index::Half,
                _ => Index::Nowhere,
            },
            State::BackingOff { until } => Index::BackingOff(until),
            State::Starting(Order::Owed)
            | State::Dying(_, Order::Owed)
            | State::Stopping(Order::Owed) => Index::Owed,
            State::Vacant
            | State::Starting(Order::Given)
            | State::Dying(_, Order::Given)
            | State::Stopping(Order::Given) => Index::Nowhere,
        }
    }
}

/// Which of the indexes names a slot: at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Idle,
    Half,
    Owed,
    BackingOff(Duration),
    Nowhere,
}

/// All slots, and what must be found among them without a search.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    idle: BTreeSet<usize>,
    half: BTreeSet<usize>,
    owed: BTreeSet<usize>,
    backing_off: BTreeSet<(Duration, usize)>,
    /// Slots that are not vacant.
    occupied: usize,
    #[cfg(test)]
    pub(super) plant: Option<super::sim::Plant>,
}

impl Slots {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            slots: (0..workers).map(|_| Slot::new()).collect(),
            idle: BTreeSet::new(),
            half: BTreeSet::new(),
            owed: (0..workers).collect(),
            backing_off: BTreeSet::new(),
            occupied: workers,
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
        let (index, was_vacant) = (slot.index(), slot.state == State::Vacant);
        let result = change(slot);
        let (new_index, is_vacant) = (slot.index(), slot.state == State::Vacant);
        if index != new_index {
            let removed = self.remove(at, index);
            assert!(removed, "a slot is in the index that its state says");
            self.insert(at, new_index);
        }
        self.occupied = self.occupied + usize::from(was_vacant) - usize::from(is_vacant);
        result
    }

    /// The ready worker with the least to do, if any has credit left.
    pub(super) fn least_loaded(&self) -> Option<usize> {
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::CreditForgotten) {
            return self.idle.first().copied();
        }
        self.idle.first().or_else(|| self.half.first()).copied()
    }

    /// When the next slot has waited long enough.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.backing_off.first().map(|&(until, _)| until)
    }

    /// A slot that has waited until `now`.
    pub(super) fn first_due(&self, now: Duration) -> Option<usize> {
        self.backing_off.first().filter(|&&(until, _)| until <= now).map(|&(_, slot)| slot)
    }

    /// Gives one order that is owed.
    pub(super) fn next_order(&mut self) -> Option<Action> {
        let at = *self.owed.first()?;
        Some(self.update(at, |slot| slot.give_order(at)))
    }

    /// Indexes and slots agree, and no worker has more than it may have.
    pub(super) fn assert_indexed(&self) {
        let mut named = 0;
        for (at, slot) in self.iter() {
            let present = match slot.index() {
                Index::Idle => self.idle.contains(&at),
                Index::Half => self.half.contains(&at),
                Index::Owed => self.owed.contains(&at),
                Index::BackingOff(until) => self.backing_off.contains(&(until, at)),
                Index::Nowhere => true,
            };
            assert!(present, "a slot is in the index that its state says");
            named += usize::from(slot.index() != Index::Nowhere);
            assert!(slot.sent.len() <= CREDIT, "a worker is sent no more than its credit");
            assert!(slot.is_live() || slot.sent.is_empty(), "only a worker has sent tasks");
        }
        let indexed = self.idle.len() + self.half.len() + self.owed.len() + self.backing_off.len();
        assert_eq!(named, indexed, "a slot is in one index");
    }

    fn insert(&mut self, at: usize, index: Index) {
        match index {
            Index::Idle => self.idle.insert(at),
            Index::Half => self.half.insert(at),
            Index::Owed => self.owed.insert(at),
            Index::BackingOff(until) => self.backing_off.insert((until, at)),
            Index::Nowhere => true,
        };
    }

    fn remove(&mut self, at: usize, index: Index) -> bool {
        match index {
            Index::Idle => self.idle.remove(&at),
            Index::Half => self.half.remove(&at),
            Index::Owed => self.owed.remove(&at),
            Index::BackingOff(until) => self.backing_off.remove(&(until, at)),
            Index::Nowhere => true,
        }
    }
}

impl Slot {
    fn give_order(&mut self, at: usize) -> Action {
        match self.state {
            State::Starting(Order::Owed) => {
                self.state = State::Starting(Order::Given);
                // After 2^32 workers a name comes again; nobody remembers the first one.
                self.generation = self.generation.wrapping_add(1);
                Action::Start { worker: self.worker(at) }
            }
            State::Dying(why, Order::Owed) => {
                self.state = State::Dying(why, Order::Given);
                Action::KillWorker { worker: self.worker(at) }
            }
            State::Stopping(Order::Owed) => {
                self.state = State::Stopping(Order::Given);
                Action::StopWorker { worker: self.worker(at) }
            }
            state => unreachable!("no order is owed in state {state:?}"),
        }
    }

    fn worker(&self, slot: usize) -> WorkerId {
        WorkerId { slot, generation: self.generation }
    }
}

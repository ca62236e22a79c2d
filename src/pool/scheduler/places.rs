//! The places for workers: how many there are, who leaves them, and who comes.
//!
//! It promises that while the pool runs as many places are held as were asked for, that whoever is
//! replaced stays until its successor is ready, and that nobody rests while work waits.
#![forbid(unsafe_code)]

use std::mem;
use std::time::Duration;

use super::event::{Action, WorkerId};
use super::machine::{Phase, Scheduler};
use super::slot::{After, Limits, Order, Slot, State, Why};

impl Scheduler {
    /// Places that have a worker or are to have one.
    pub(super) fn held(&self) -> Vec<usize> {
        let is_held = |slot: &Slot| slot.state != State::Vacant && slot.after != After::Nothing;
        self.slots.iter().filter(|(_, slot)| is_held(slot)).map(|(at, _)| at).collect()
    }

    /// Whether a worker is to become ready: if it ends now, its start has failed.
    pub(crate) fn awaits(&self, worker: WorkerId) -> bool {
        let state = self.slots.get(worker.slot).state;
        self.slots.is_live(worker)
            && matches!(state, State::Starting(_) | State::Dying(Why::NeverReady, _))
    }

    /// From now on there are to be so many workers. Who is not needed any more finishes what it runs.
    pub(crate) fn resize(&mut self, workers: usize) {
        assert!(workers >= 1, "a pool has a worker");
        if self.phase != Phase::Running {
            return;
        }
        let mut held = self.held();
        for _ in held.len()..workers {
            self.open_place();
        }
        // Those go first who cost least.
        held.sort_by_key(|&at| self.slots.get(at).rank());
        for at in held.into_iter().skip(workers) {
            self.close_place(at);
        }
        self.settle();
    }

    /// A worker is to be replaced when it has done what it has: it uses too much.
    pub(crate) fn retire(&mut self, worker: WorkerId) {
        if self.slots.is_live(worker) {
            self.replace(worker.slot);
            self.settle();
        }
    }

    pub(super) fn refill(&mut self, at: usize, delay: Duration) {
        let (now, wanted) = (self.now, self.wants_workers());
        self.slots.update(at, |slot| {
            let after = mem::replace(&mut slot.after, After::Again);
            slot.state = match after {
                _ if !wanted => State::Vacant,
                After::Nothing => State::Vacant,
                After::Rest => State::Resting,
                After::Again if delay.is_zero() => State::Starting(Order::Owed),
                After::Again => State::BackingOff { until: now.saturating_add(delay) },
            };
        });
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { hang: self.config.hang, idle: self.config.idle }
    }

    /// A worker has had its share: another one takes its place, and is ready before it leaves.
    pub(super) fn replace(&mut self, at: usize) {
        if self.phase != Phase::Running || self.slots.get(at).state != State::Ready {
            return;
        }
        let newcomer = self.open_place();
        self.slots.update(at, |slot| {
            slot.after = After::Nothing;
            slot.state = State::Leaving { successor: Some(newcomer) };
        });
    }

    /// Starts a worker in a place that nobody has.
    pub(super) fn open_place(&mut self) -> usize {
        let at = self.slots.free();
        self.slots.update(at, |slot| {
            slot.after = After::Again;
            slot.state = State::Starting(Order::Owed);
        });
        at
    }

    /// Gives a place up: its worker ends when it has done what it runs.
    pub(super) fn close_place(&mut self, at: usize) {
        let moved = self.slots.update(at, |slot| {
            slot.after = After::Nothing;
            slot.state = match slot.state {
                State::Resting | State::BackingOff { .. } | State::Starting(Order::Owed) => {
                    State::Vacant
                }
                State::Starting(Order::Given) => State::Stopping(Order::Owed),
                State::Ready => State::Leaving { successor: None },
                going => going,
            };
            let worker = slot.worker(at);
            let moved = if slot.works() { slot.give_up_behind() } else { Vec::new() };
            moved.into_iter().map(move |task| Action::Revoke { worker, task })
        });
        self.outbox.extend(moved);
    }

    /// Asks those to end who leave and have nothing left to do.
    pub(super) fn let_leavers_go(&mut self) {
        for at in self.slots.leaving() {
            let slot = self.slots.get(at);
            let State::Leaving { successor } = slot.state else { continue };
            let waits = successor.is_some_and(|at| self.slots.get(at).is_coming());
            #[cfg(test)]
            let waits = waits && self.plant != Some(super::sim::Plant::LeftTooEarly);
            if slot.sent.is_empty() && !waits {
                self.slots.update(at, |slot| slot.state = State::Stopping(Order::Owed));
            }
        }
    }

    /// A worker has had nothing to do for long.
    pub(super) fn rest(&mut self, at: usize) {
        let (now, limits) = (self.now, self.limits());
        // What is queued it is about to get.
        let has_work = self.tasks.sendable() > 0;
        self.slots.update(at, |slot| {
            if has_work {
                return slot.begin_head(now, limits);
            }
            slot.after = After::Rest;
            slot.state = State::Stopping(Order::Owed);
        });
    }

    /// Starts workers again that rest, as far as there is work that nobody can do at once.
    pub(super) fn wake_resting(&mut self) {
        if !self.wants_workers() {
            return;
        }
        while let Some(at) = self.slots.first_resting() {
            let is_any_idle =
                self.slots.least_loaded().is_some_and(|at| self.slots.get(at).sent.is_empty());
            let waiting = self.tasks.sendable() + self.slots.laden();
            let coming = || self.slots.iter().filter(|(_, slot)| slot.is_coming()).count();
            if is_any_idle || waiting == 0 || coming() >= waiting {
                return;
            }
            self.slots.update(at, |slot| slot.state = State::Starting(Order::Owed));
        }
    }
}

//! What the death of a worker costs: its tasks, and the patience of the pool.
//!
//! It promises that at most the item that was running is charged, that everything else runs again uncharged,
//! and that a pool whose workers keep dying, or do not start, is given up. It does not know how a worker
//! died, nor whose fault it was: that is alleged.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::event::{Action, Blame, Resolution, WorkerId};
use super::machine::{Phase, Scheduler};
use super::slot::{Fate, Sent, State, Why};
use super::task::TaskId;

/// What the death of a worker did to its tasks.
#[derive(Default)]
struct Toll {
    /// A task was charged with it.
    blamed: bool,
    /// A task must run again although it is not to blame.
    spoilt: bool,
}

impl Scheduler {
    /// A worker is gone: its tasks are judged, its slot is filled again. If it failed to start, it may
    /// be fatal: so will the next one.
    pub(super) fn bury(&mut self, worker: WorkerId, blame: Option<Blame>, is_fatal: bool) {
        let (state, sent) = self.slots.update(worker.slot, |slot| {
            let state = mem::replace(&mut slot.state, State::Vacant);
            (state, mem::take(&mut slot.sent))
        });
        let delay = match state {
            State::Starting(_) | State::Dying(Why::NeverReady, _) => {
                assert!(sent.is_empty(), "a worker gets nothing before it is ready");
                self.count_start_failure(worker.slot, is_fatal)
            }
            State::Ready | State::Leaving { .. } | State::Dying(Why::Suspected, _) => {
                #[cfg(test)]
                let blame = self.plant_blame(&sent, blame);
                let toll = self.disband(worker, &sent, blame);
                self.count_death(worker.slot, &toll)
            }
            State::Dying(Why::Ordered, _) | State::Stopping(_) => {
                self.disband(worker, &sent, None);
                // It was given no chance to prove itself.
                self.slots.update(worker.slot, |slot| {
                    slot.unproven = slot.unproven.saturating_sub(1);
                });
                Duration::ZERO
            }
            State::Vacant | State::Resting | State::BackingOff { .. } => {
                unreachable!("only a live worker is buried")
            }
        };
        if self.wants_workers() && self.is_hopeless() {
            self.break_down();
        }
        self.refill(worker.slot, delay);
        if self.wants_workers() && self.slots.is_deserted() {
            // The last one of a pool that is being emptied was to leave, and left work behind.
            self.open_place();
        }
    }

    fn count_start_failure(&mut self, at: usize, is_fatal: bool) -> Duration {
        self.start_failures += 1;
        if is_fatal {
            self.start_failures = self.start_failures.max(self.config.max_start_failures);
        }
        let failures = self.slots.update(at, |slot| {
            slot.start_failures = slot.start_failures.saturating_add(1);
            slot.start_failures
        });
        self.config.backoff.delay(failures)
    }

    /// The delay is none for a worker that had done something, nor for the first that had not.
    fn count_death(&mut self, at: usize, toll: &Toll) -> Duration {
        if toll.blamed {
            self.fruitless_deaths = 0;
            self.slots.update(at, |slot| slot.unproven = 0);
        }
        let unproven = self.slots.get(at).unproven;
        if unproven > 0 && toll.spoilt {
            self.fruitless_deaths += 1;
        }
        self.config.backoff.delay(unproven.saturating_sub(1))
    }

    fn is_hopeless(&self) -> bool {
        // While somebody works, what keeps others from starting may pass.
        self.is_short_of_workers() && !self.slots.any_ready()
            || self.too_many_fruitless_deaths().is_some()
    }

    fn break_down(&mut self) {
        self.phase = Phase::Broken;
        self.resolve_queued(Resolution::Broken);
        self.resolve_sent(Resolution::Broken);
        self.dismiss_workers();
    }

    /// Decides about what a dead worker had been sent. From the last to the first, since each goes
    /// before all others of the queue.
    fn disband(&mut self, worker: WorkerId, sent: &VecDeque<Sent>, blame: Option<Blame>) -> Toll {
        let mut toll = Toll::default();
        for (index, &Sent { task, fate, .. }) in sent.iter().enumerate().rev() {
            #[cfg(test)]
            if self.plant == Some(super::sim::Plant::LostRequeue) && index == 1 {
                continue;
            }
            let blamed = blame.filter(|blame| index == 0 && blame.task == task);
            match (fate, blamed) {
                (Fate::Zombie, _) => {}
                (Fate::Doomed, _) => self.resolve(task, Resolution::Killed),
                (Fate::Overdue { item }, _) => self.time_out(task, item),
                (Fate::Live, Some(blame)) => {
                    self.charge(worker, blame);
                    toll.blamed = true;
                }
                (Fate::Live, None) => {
                    self.tasks.requeue(task);
                    toll.spoilt = true;
                }
            }
        }
        toll
    }

    fn time_out(&mut self, task: TaskId, item: u32) {
        let (split, task, spec) = self.tasks.end_item(task, item);
        self.outbox.extend(split.map(Action::Split));
        let after = spec.timeout.unwrap_or_default();
        let resolution = Resolution::TimedOut { after };
        self.outbox.push_back(Action::Resolve { task, spec, resolution });
    }

    fn charge(&mut self, worker: WorkerId, blame: Blame) {
        let charge = self.tasks.charge(blame);
        self.outbox.extend(charge.split.map(Action::Split));
        if let Some((task, spec)) = charge.exhausted {
            let resolution = Resolution::WorkerDied { worker, attempts: spec.attempts };
            self.outbox.push_back(Action::Resolve { task, spec, resolution });
        }
    }
}

// A bug to be found by the simulation.
#[cfg(test)]
impl Scheduler {
    fn plant_blame(&self, sent: &VecDeque<Sent>, blame: Option<Blame>) -> Option<Blame> {
        if self.plant != Some(super::sim::Plant::BystanderCharged) {
            return blame;
        }
        let first = |sent: &Sent| Blame { task: sent.task, item: 0, retry_alone: false };
        blame.or(sent.front().map(first))
    }
}

//! The rules of time, in their naive form: who hangs, who runs too long, who gives up what waits.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::super::{Resolution, TaskId, TaskSpec, WorkerId};
use super::oracle::{Chunk, Fate, Life, Oracle, Seat, Wanted};

impl Oracle {
    /// A worker whose time was over said which item of its first task it runs.
    pub(super) fn progress(&mut self, worker: WorkerId, task: TaskId, item: u32) {
        let now = self.now;
        let Some(seat) = self.seat(worker).filter(|seat| seat.works()) else { return };
        let Some((chunk, fate)) = seat.sent.front_mut() else { return };
        if chunk.task != Some(task) {
            return;
        }
        let TaskSpec { first, count, timeout, .. } = chunk.spec;
        let item = item.clamp(first, first + count - 1);
        if seat.seen.unwrap_or(first) != item {
            seat.since = now;
        }
        seat.seen = Some(item);
        if timeout.is_some_and(|timeout| now >= seat.since + timeout) {
            *fate = Fate::Overdue(item);
            seat.condemn(true);
        }
    }

    /// `handle_timeout(now)` was called. Who has completed nothing for ten milliseconds is to give up
    /// what lies behind the task that it runs.
    pub(super) fn looked(&mut self, now: Duration) {
        self.now = now;
        self.look_at_first_tasks();
        self.look_for_idle_workers();
        self.look_for_those_who_stay();
        self.let_leavers_go();
        if now < self.looked_at + Duration::from_millis(10) {
            return;
        }
        self.looked_at = now;
        for (slot, seat) in self.seats.iter_mut().enumerate() {
            if !seat.can_spare() || std::mem::replace(&mut seat.has_moved, false) {
                continue;
            }
            seat.credit = 1;
            let worker = WorkerId { slot, generation: seat.generation };
            for (chunk, fate) in seat.sent.iter().skip(1).rev() {
                let task = chunk.task.unwrap();
                if *fate == Fate::Live && !seat.asked.contains(&task) {
                    self.owed_questions.push((worker, task));
                }
            }
        }
    }

    /// Who has not begun its first task for long is asked for it, and then how far it is.
    fn look_at_first_tasks(&mut self) {
        for (slot, seat) in self.seats.iter().enumerate() {
            let worker = WorkerId { slot, generation: seat.generation };
            let Some((chunk, _)) = seat.sent.front().filter(|_| seat.works()) else { continue };
            let task = chunk.task.unwrap();
            let is_over = |limit: Duration| self.now >= seat.since + limit;
            let timeout = chunk.spec.timeout;
            let hang = self.config.hang;
            if seat.seen.is_none() && !seat.asked.contains(&task) {
                if is_over(timeout.map_or(hang, |timeout| timeout.min(hang))) {
                    self.owed_questions.push((worker, task));
                }
            } else if timeout.is_some_and(is_over) {
                self.owed_looks.push((worker, task));
            }
        }
    }

    /// Who was asked to end and is there still after a long time is killed.
    fn look_for_those_who_stay(&mut self) {
        let (now, hang) = (self.now, self.config.hang);
        let is_over = |seat: &Seat| !seat.order_owed && now >= seat.since + hang;
        let stays = |seat: &&mut Seat| seat.life == Life::Stopped && is_over(seat);
        let condemned = self.seats.iter_mut().filter(stays).map(|seat| seat.condemn(true)).count();
        (0..condemned).for_each(|_| self.note("would not end"));
    }

    /// Nobody is asked for what it has no more, and it is not looked at.
    pub(super) fn forget_stale_questions(&mut self) {
        let has = |seat: &Seat, task| {
            seat.sent.iter().any(|&(chunk, fate)| chunk.task == Some(task) && fate == Fate::Live)
        };
        let seats = &self.seats;
        let is_due = |&(worker, task): &(WorkerId, TaskId)| {
            let seat = &seats[worker.slot];
            seat.life != Life::Gone && seat.generation == worker.generation && has(seat, task)
        };
        let questions = self.owed_questions.len() + self.owed_looks.len();
        self.owed_questions.retain(is_due);
        self.owed_looks.retain(is_due);
        for _ in self.owed_questions.len() + self.owed_looks.len()..questions {
            self.note("asked too late");
        }
    }

    /// `handle_timeout(now)` was called and everything done that followed.
    pub(super) fn timed_out(&self, now: Duration) {
        let late = |seat: &Seat| {
            let is_due = seat.wanted == Wanted::Yes && seat.not_before <= now;
            seat.life == Life::Gone && is_due
        };
        let is_late = self.seats.iter().any(late);
        assert!(self.is_over_for_workers() || !is_late, "oracle: a start is missing");
    }

    /// The other items of a task one of which ran too long.
    pub(super) fn time_out(&mut self, chunk: Chunk, item: u32) -> Vec<Chunk> {
        let after = chunk.spec.timeout.expect("oracle: timed out without a timeout");
        let resolution = Resolution::TimedOut { after };
        if chunk.spec.count == 1 {
            self.note("timed out alone");
            self.owe(chunk.spec, resolution);
            return Vec::new();
        }
        self.note("timed out in a chunk");
        let parts @ [before, blamed, behind] = parts_around(chunk.spec, item);
        self.owed_splits.push((chunk.task.unwrap(), item, parts));
        self.owe(blamed.unwrap(), resolution);
        let others = [before, behind].into_iter().flatten();
        others.map(|spec| Chunk { task: None, spec }).collect()
    }
}

/// What lies before an item, the item, and what lies behind it.
pub(super) fn parts_around(spec: TaskSpec, item: u32) -> [Option<TaskSpec>; 3] {
    let end = spec.first + spec.count;
    let part =
        |first: u32, to: u32| (first < to).then(|| TaskSpec { first, count: to - first, ..spec });
    [part(spec.first, item), part(item, item + 1), part(item + 1, end)]
}

//! The rules of who leaves a place and who comes, in their naive form.
//!
//! Which place is given up and who succeeds whom is the machine's to choose; that there are as many as
//! were asked for, and that nobody goes or comes without reason, is checked here.
#![forbid(unsafe_code)]

use super::super::{TaskId, WorkerId};
use super::oracle::{Fate, Life, Oracle, Seat, Wanted};

impl Oracle {
    /// There are to be so many workers; these places are left.
    pub(super) fn resized(&mut self, workers: usize, held: &[usize]) {
        if self.is_over_for_workers() {
            return;
        }
        assert_eq!(held.len(), workers, "oracle: as many workers as were asked for");
        let has = |seat: &Seat| seat.wanted != Wanted::No;
        let before = self.seats.iter().filter(|seat| has(seat)).count() + self.newcomers;
        if before != workers {
            self.note(if before < workers { "grown" } else { "shrunk" });
        }
        let is_new = |at: &&usize| self.seats.get(**at).is_none_or(|seat| !has(seat));
        self.newcomers = held.iter().filter(is_new).count();
        self.held = held.to_vec();
        let busy = |seat: &Seat| !seat.sent.is_empty();
        let (mut closes_busy, mut keeps_idle) = (false, false);
        for at in 0..self.seats.len() {
            let (seat, is_held) = (&mut self.seats[at], held.contains(&at));
            let is_ready = seat.life == Life::Ready;
            keeps_idle |= is_held && is_ready && !busy(seat);
            if !has(seat) || is_held {
                continue;
            }
            closes_busy |= is_ready && busy(seat);
            seat.wanted = Wanted::No;
            match seat.life {
                Life::Coming => (seat.life, seat.order_owed) = (Life::Stopped, true),
                Life::Ready => seat.life = Life::Leaving(None),
                _ => {}
            }
            if let Life::Leaving(_) = seat.life {
                let worker = WorkerId { slot: at, generation: seat.generation };
                let behind = seat.sent.iter().skip(1).rev();
                let live = behind.filter(|(_, fate)| *fate == Fate::Live);
                let tasks = live.map(|(chunk, _)| chunk.task.unwrap());
                let unasked = tasks.filter(|task| !seat.asked.contains(task));
                let unasked: Vec<TaskId> = unasked.collect();
                self.owed_questions.extend(unasked.iter().map(|&task| (worker, task)));
                seat.asked.extend(unasked);
            }
        }
        assert!(!(closes_busy && keeps_idle), "oracle: who has nothing to do goes first");
        self.let_leavers_go();
    }

    /// A worker failed to start, and so will the next, by its own word. What becomes of one that was to
    /// end anyway tells nothing.
    pub(super) fn starts_are_hopeless(&mut self, worker: WorkerId) {
        let failed = Life::Condemned { ordered: false, was_ready: false };
        let life = self.seat(worker).map(|seat| seat.life);
        if life.is_some_and(|life| life == Life::Coming || life == failed) {
            self.start_failures = self.start_failures.max(self.config.max_start_failures);
            self.note("starts are hopeless");
        }
    }

    /// A worker is to be replaced.
    pub(super) fn retired(&mut self, worker: WorkerId) {
        if self.is_over_for_workers() {
            return;
        }
        let Some(seat) = self.seat(worker).filter(|seat| seat.life == Life::Ready) else { return };
        (seat.life, seat.wanted) = (Life::Leaving(None), Wanted::No);
        self.newcomers += 1;
        self.note("replaced");
    }

    /// What the machine says of who succeeds whom.
    pub(super) fn leave(&mut self, leavers: &[(usize, Option<usize>)], held: Vec<usize>) {
        self.held = held;
        for &(at, successor) in leavers {
            if let Some(Seat { life: Life::Leaving(known), .. }) = self.seats.get_mut(at) {
                *known = known.or(successor);
            }
        }
    }

    pub(super) fn hold(&mut self, held: Vec<usize>) {
        self.held = held;
    }

    pub(super) fn let_leavers_go(&mut self) {
        let is_coming = |at: usize| match self.seats.get(at) {
            Some(seat) if seat.life == Life::Coming => true,
            Some(seat) if seat.life != Life::Gone || seat.wanted == Wanted::WhenBusy => false,
            // A worker that has not been asked for yet is coming.
            _ => self.held.contains(&at),
        };
        let last = self.held.iter().max().map_or(0, |last| last + 1).max(self.seats.len());
        let coming: Vec<bool> = (0..last).map(is_coming).collect();
        for seat in &mut self.seats {
            let Life::Leaving(successor) = seat.life else { continue };
            let waits = successor.is_some_and(|at| coming.get(at).is_some_and(|coming| *coming));
            if seat.sent.is_empty() && !waits {
                (seat.life, seat.order_owed) = (Life::Stopped, true);
            }
        }
    }

    /// Whether work waits that nobody can do at once, and nobody is coming for it.
    pub(super) fn has_work_for_more(&self) -> bool {
        let wanted = !self.broken && (self.shutdown.is_none() || !self.queue.is_empty());
        let idle = self.seats.iter().any(|seat| seat.has_credit() && seat.sent.is_empty());
        let laden = self.seats.iter().filter(|seat| seat.can_spare()).count();
        let is_coming = |(at, seat): &(usize, &Seat)| {
            let is_owed = seat.life == Life::Gone && seat.wanted == Wanted::Yes;
            seat.life == Life::Coming || is_owed && self.held.contains(at)
        };
        let coming = self.seats.iter().enumerate().filter(is_coming).count() + self.newcomers;
        wanted && !idle && coming < self.sendable() + laden
    }

    /// Who has had nothing to do for long rests.
    pub(super) fn look_for_idle_workers(&mut self) {
        let (Some(idle), now) = (self.config.idle, self.now) else { return };
        let (mut rested, has_work) = (0, self.sendable() > 0);
        for seat in &mut self.seats {
            if seat.life == Life::Ready && seat.sent.is_empty() && now >= seat.since + idle {
                if has_work {
                    seat.since = now;
                    continue;
                }
                (seat.life, seat.order_owed) = (Life::Stopped, true);
                (seat.wanted, seat.is_called) = (Wanted::WhenBusy, false);
                rested += 1;
            }
        }
        (0..rested).for_each(|_| self.note("rested"));
    }
}

//! The rules of what goes back to the queue, and of what is run alone, in their naive form.
//!
//! There is one queue. What is run alone is looked for in it.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::super::{Blame, Resolution, TaskSpec, WorkerId};
use super::oracle::{Chunk, Fate, Oracle, Seat};
use super::time::parts_around;

// What goes back.
impl Oracle {
    /// The tasks of a dead worker.
    pub(super) fn give_back(
        &mut self,
        worker: WorkerId,
        sent: VecDeque<(Chunk, Fate)>,
        blame: Option<Blame>,
    ) {
        let mut back = Vec::new();
        for (index, (chunk, fate)) in sent.into_iter().enumerate() {
            match (fate, blame.filter(|_| index == 0)) {
                (Fate::Zombie, _) => {}
                (Fate::Doomed, _) => self.owe(chunk.spec, Resolution::Killed),
                (Fate::Overdue(item), _) => back.extend(self.time_out(chunk, item)),
                (Fate::Live, None) => back.push(chunk),
                (Fate::Live, Some(blame)) => back.extend(self.charge(worker, chunk, blame)),
            }
        }
        self.put_back(back);
    }

    /// Puts chunks before all others of the queue, in their order, but those that are run alone behind all.
    pub(super) fn put_back(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks.into_iter().rev() {
            if !self.is_starved(chunk.spec) {
                self.queue.push_front(chunk);
                continue;
            }
            if self.is_one_alone() || self.queue.iter().any(|other| self.is_starved(other.spec)) {
                self.note("lined up behind another");
            }
            self.queue.push_back(chunk);
        }
    }

    fn charge(&mut self, worker: WorkerId, chunk: Chunk, blame: Blame) -> Vec<Chunk> {
        let TaskSpec { payload, first, count, attempts, .. } = chunk.spec;
        let item = blame.item.max(first).min(first + count - 1);
        let parts = parts_around(chunk.spec, item);
        let task = if count == 1 { chunk.task } else { None };
        if count > 1 {
            self.owed_splits.push((chunk.task.unwrap(), item, parts));
            self.note("split");
        }
        let blamed = &mut self.items[payload as usize][item as usize];
        blamed.charged += 1;
        blamed.starved |= blame.retry_alone;
        assert!(blamed.charged <= attempts, "oracle: no more attempts than the limit");
        let is_spent = blamed.charged == attempts;
        if is_spent {
            self.owe(parts[1].unwrap(), Resolution::WorkerDied { worker, attempts });
        }
        self.note(if is_spent { "attempts used up" } else { "retried" });
        let lives = |spec: &TaskSpec| !(is_spent && spec.first == item);
        parts.into_iter().flatten().filter(lives).map(|spec| Chunk { task, spec }).collect()
    }
}

// What is run alone.
impl Oracle {
    /// Whether a worker seems to have died of this for want of memory.
    fn is_starved(&self, spec: TaskSpec) -> bool {
        spec.count == 1 && self.items[spec.payload as usize][spec.first as usize].starved
    }

    fn is_alone(&self, (chunk, fate): &(Chunk, Fate)) -> bool {
        *fate != Fate::Zombie && self.is_starved(chunk.spec)
    }

    fn is_one_alone(&self) -> bool {
        self.seats.iter().flat_map(|seat| &seat.sent).any(|sent| self.is_alone(sent))
    }

    /// Where in the queue the one is that may be run alone now.
    fn next_alone(&self) -> Option<usize> {
        let starved = self.queue.iter().position(|chunk| self.is_starved(chunk.spec));
        starved.filter(|_| !self.is_one_alone())
    }

    /// Tasks in the queue that a worker could have now.
    pub(super) fn sendable(&self) -> usize {
        let others = self.queue.iter().filter(|chunk| !self.is_starved(chunk.spec)).count();
        others + usize::from(self.next_alone().is_some())
    }

    pub(super) fn take_next(&mut self) -> Option<Chunk> {
        let first = || self.queue.iter().position(|chunk| !self.is_starved(chunk.spec));
        let at = self.next_alone().or_else(first)?;
        self.queue.remove(at)
    }

    /// This task is sent to this worker. Whether it is to be run alone there.
    pub(super) fn expect_alone(&mut self, worker: WorkerId, spec: TaskSpec) -> bool {
        let sent = &self.seats[worker.slot].sent;
        let is_behind = sent.iter().any(|sent| self.is_alone(sent));
        assert!(!is_behind, "oracle: nothing is sent behind what runs alone");
        let (is_alone, is_one_alone) = (self.is_starved(spec), self.is_one_alone());
        if is_alone {
            assert!(!is_one_alone, "oracle: one task is run alone at a time");
            assert!(sent.is_empty(), "oracle: what is run alone goes to a worker without work");
            self.note("retried alone");
        } else if is_one_alone {
            self.note("sent beside one that runs alone");
        }
        is_alone
    }

    /// The machine says that there is nothing to do.
    pub(super) fn look_at_what_waits(&mut self) {
        for seat in &self.seats {
            let is_crowded = seat.sent.len() > 1 && seat.sent.iter().any(|s| self.is_alone(s));
            assert!(!is_crowded, "oracle: what runs alone is beside others");
        }
        let alone = self.seats.iter().flat_map(|seat| &seat.sent).filter(|s| self.is_alone(s));
        assert!(alone.count() <= 1, "oracle: one task is run alone at a time");

        let has_credit = self.seats.iter().any(Seat::has_credit);
        let is_idle = |seat: &Seat| seat.has_credit() && seat.sent.is_empty();
        let is_held_up = self.next_alone().is_some() && !self.seats.iter().any(is_idle);
        if is_held_up && has_credit {
            self.note("held up for one that runs alone");
        }
        let waits = self.sendable() > 0 && has_credit && !is_held_up;
        assert!(!waits, "oracle: work waits beside credit");
    }
}

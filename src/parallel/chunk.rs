//! Some items of a map on their way: what was sent, and what has come back.
//!
//! Promises: the results are given out in the order of the items.
//! Does not know: the input.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Data;
use crate::pool::{Inner, Names, Packer, Pending, TaskError, outcomes_of};

/// A chunk that is being packed.
pub(super) struct Building<R> {
    pub(super) id: u64,
    pub(super) packer: Packer,
    slots: Vec<Slot<R>>,
    /// For each item in the packer, its slot.
    packed: Vec<usize>,
}

/// A chunk that was submitted.
pub(super) struct Chunk<R> {
    pub(super) pending: Arc<Pending>,
    slots: Vec<Slot<R>>,
    packed: Vec<usize>,
    names: Names,
    first_item: u64,
    given: usize,
}

/// The place of one item's result.
enum Slot<R> {
    Waiting,
    Ready(Result<R, TaskError>),
    Given,
}

/// What a chunk says when it is asked for the next result.
pub(super) enum Next<R> {
    Result(Result<R, TaskError>),
    Waiting,
    End,
}

impl<R> Building<R> {
    pub(super) fn new(id: u64, packer: Packer) -> Self {
        Building { id, packer, slots: Vec::new(), packed: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Notes that the next item is in the packer.
    pub(super) fn packed(&mut self) {
        self.packed.push(self.slots.len());
        self.slots.push(Slot::Waiting);
    }

    /// Notes that the next item failed before it was sent.
    pub(super) fn failed(&mut self, error: TaskError) {
        self.slots.push(Slot::Ready(Err(error)));
    }

    pub(super) fn submitted(
        self,
        names: Names,
        first_item: u64,
        submit: impl FnOnce(u64, Packer) -> Arc<Pending>,
    ) -> Chunk<R> {
        let Building { id, packer, slots, packed } = self;
        let pending = submit(id, packer);
        Chunk { pending, slots, packed, names: Names { id, ..names }, first_item, given: 0 }
    }
}

impl<R> Chunk<R> {
    /// The next result, if it has come.
    pub(super) fn next(&mut self) -> Next<R> {
        let Some(slot) = self.slots.get_mut(self.given) else { return Next::End };
        match std::mem::replace(slot, Slot::Given) {
            Slot::Ready(result) => {
                self.given += 1;
                Next::Result(result)
            }
            waiting => {
                *slot = waiting;
                Next::Waiting
            }
        }
    }

    /// Items whose result was not given out.
    pub(super) fn left(&self) -> usize {
        self.slots.len() - self.given
    }
}

impl<R: Data> Chunk<R> {
    /// Waits for more answers, and takes them in; how many items took how long.
    pub(super) fn receive(&mut self, pool: &Inner) -> (usize, Duration) {
        pool.wait(&self.pending, None);
        let (mut items, mut elapsed) = (0, Duration::ZERO);
        for answer in self.pending.take_answers() {
            let first = answer.first as usize;
            if let Ok(raw) = &answer.result {
                items += answer.count as usize;
                elapsed += raw.elapsed;
            }
            let names = |item: u32| {
                let position = self.packed[item as usize] as u64;
                Names { item: Some(self.first_item + position), ..self.names.clone() }
            };
            let results = outcomes_of(answer, pool, names);
            for (&slot, result) in self.packed[first..].iter().zip(results) {
                self.slots[slot] = Slot::Ready(result);
            }
        }
        (items, elapsed)
    }
}

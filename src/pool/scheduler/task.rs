//! The table of unresolved tasks, the queue of those that wait for a worker, and the line of those
//! that wait to be run alone, since it is not sure what their worker died of.
//!
//! It promises that a task is in exactly one place, that an attempt is counted once, that of those
//! from the line workers have one at most, and that none is lost: `created = queued + sent + resolved`.
//! It does not know workers (a slot is a number here) nor why a task ends.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Blame;

/// A task's name, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId(pub(crate) u64);

/// A range of items of one payload: a submitted call is one item, a chunk of a map several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskSpec {
    /// The supervisor's name for what is to be run.
    pub(crate) payload: u64,
    /// First item of the range.
    pub(crate) first: u32,
    /// Number of items, at least one.
    pub(crate) count: u32,
    /// How often an item may be started when its worker dies under it, at least once.
    pub(crate) attempts: u32,
    /// How long an item may run.
    pub(crate) timeout: Option<Duration>,
}

impl TaskSpec {
    /// The item of the range that is nearest.
    pub(super) fn clamp(&self, item: u32) -> u32 {
        item.clamp(self.first, self.last())
    }

    fn last(&self) -> u32 {
        self.first + (self.count - 1)
    }

    fn part(&self, first: u32, count: u32) -> Option<Self> {
        (count > 0).then_some(Self { first, count, ..*self })
    }
}

/// A task of several items became up to three: what lies before the blamed item, the item, what lies behind.
///
/// The ranges follow from the spec of `from` and from `item`; an empty one has no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) from: TaskId,
    pub(crate) item: u32,
    pub(crate) before: Option<TaskId>,
    pub(crate) blamed: TaskId,
    pub(crate) after: Option<TaskId>,
}

/// What became of a task that was charged with the death of its worker.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) split: Option<Split>,
    /// The blamed item, if it has no attempt left; it has left the table.
    pub(super) exhausted: Option<(TaskId, TaskSpec)>,
}

/// Where an unresolved task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Queued {
        position: i64,
    },
    /// In the line of those that are run alone.
    InLine {
        position: i64,
    },
    /// In the sent list of this slot's worker.
    Sent {
        slot: usize,
    },
}

/// The unresolved tasks.
#[derive(Debug)]
pub(super) struct Tasks {
    table: BTreeMap<TaskId, Task>,
    /// By position, so that any task leaves the queue in logarithmic time and both ends may grow.
    queue: BTreeMap<i64, TaskId>,
    /// Those that are run alone, by position: who came first goes first. Only single items.
    line: BTreeMap<i64, TaskId>,
    /// The one from the line that a worker has.
    alone: Option<TaskId>,
    /// Free positions at both ends, of queue and line.
    front: i64,
    back: i64,
    next_id: u64,
    /// Submitted tasks, and what splitting gained.
    created: u64,
    resolved: u64,
    #[cfg(test)]
    pub(super) plant: Option<super::sim::Plant>,
}

#[derive(Debug)]
struct Task {
    spec: TaskSpec,
    /// Deaths that this task was blamed for. Always 0 for a task of several items: it is split by the first.
    charged: u32,
    place: Place,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            table: BTreeMap::new(),
            queue: BTreeMap::new(),
            line: BTreeMap::new(),
            alone: None,
            front: -1,
            back: 0,
            next_id: 0,
            created: 0,
            resolved: 0,
            #[cfg(test)]
            plant: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Tasks that wait for a worker, or for another one that is run alone.
    pub(super) fn queued(&self) -> usize {
        self.queue.len() + self.line.len()
    }

    /// Of these, those that a worker could have now.
    pub(super) fn sendable(&self) -> usize {
        self.queue.len() + usize::from(self.is_alone_next())
    }

    /// Whether the next task is one that is run alone.
    pub(super) fn is_alone_next(&self) -> bool {
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::AloneTogether) {
            return !self.line.is_empty();
        }
        !self.line.is_empty() && self.alone.is_none()
    }

    pub(super) fn sent(&self) -> usize {
        self.table.len() - self.queued()
    }

    pub(super) fn place(&self, id: TaskId) -> Option<Place> {
        self.table.get(&id).map(|task| task.place)
    }

    pub(super) fn spec(&self, id: TaskId) -> Option<TaskSpec> {
        self.table.get(&id).map(|task| task.spec)
    }

    /// Adds a task at the end of the queue.
    pub(super) fn submit(&mut self, spec: TaskSpec) -> TaskId {
        assert!(spec.count >= 1, "a task has at least one item");
        assert!(spec.attempts >= 1, "a task has at least one attempt");
        assert!(spec.first.checked_add(spec.count - 1).is_some(), "a task's items are u32");
        self.created += 1;
        let position = self.behind_all();
        self.create(spec, 0, position)
    }

    /// Takes the next task for a slot's worker: its id, spec and attempt.
    pub(super) fn take_next(&mut self, slot: usize) -> Option<(TaskId, TaskSpec, u32)> {
        let is_alone = self.is_alone_next();
        let from = if is_alone { &mut self.line } else { &mut self.queue };
        let (_, id) = from.pop_first()?;
        if is_alone {
            self.alone = Some(id);
        }
        let task = self.table.get_mut(&id).expect("a queued task is in the table");
        assert!(!matches!(task.place, Place::Sent { .. }), "a task is in exactly one place");
        task.place = Place::Sent { slot };
        Some((id, task.spec, task.charged + 1))
    }

    /// Puts a sent task back, before all others, or into the line if it came from there. Its attempt is
    /// not counted.
    pub(super) fn requeue(&mut self, id: TaskId) {
        if self.alone == Some(id) {
            self.alone = None;
            return self.line_up(id);
        }
        let position = self.before_all();
        let task = self.table.get_mut(&id).expect("a requeued task is in the table");
        assert!(matches!(task.place, Place::Sent { .. }), "a task is in exactly one place");
        task.place = Place::Queued { position };
        self.queue.insert(position, id);
    }

    /// Puts a single item at the end of the line.
    fn line_up(&mut self, id: TaskId) {
        let position = self.behind_all();
        let task = self.table.get_mut(&id).expect("a task in the line is in the table");
        assert_eq!(task.spec.count, 1, "one item is run alone");
        if let Place::Queued { position } = task.place {
            self.queue.remove(&position);
        }
        task.place = Place::InLine { position };
        self.line.insert(position, id);
    }

    /// Counts an attempt of the item to blame and puts everything that may run again before all others;
    /// the item itself into the line, if it is to be run alone.
    pub(super) fn charge(&mut self, blame: Blame) -> Charge {
        let Blame { task: id, item, retry_alone } = blame;
        let task = self.table.get_mut(&id).expect("a charged task is in the table");
        assert!(matches!(task.place, Place::Sent { .. }), "only a sent task is charged");
        if task.spec.count > 1 {
            let split = self.split(id, item);
            let is_last = self.table[&split.blamed].spec.attempts == 1;
            let exhausted = is_last.then(|| (split.blamed, self.resolve(split.blamed)));
            if retry_alone && exhausted.is_none() {
                self.line_up(split.blamed);
            }
            return Charge { split: Some(split), exhausted };
        }
        task.charged += 1;
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::ChargedTwice) {
            task.charged += 1;
        }
        assert!(task.charged <= task.spec.attempts, "an attempt is counted once");
        if task.charged == task.spec.attempts {
            let spec = self.resolve(id);
            return Charge { split: None, exhausted: Some((id, spec)) };
        }
        if retry_alone && self.alone != Some(id) {
            self.line_up(id);
        } else {
            self.requeue(id);
        }
        Charge { split: None, exhausted: None }
    }

    /// Ends one item of a sent task; the others are put before all others of the queue, uncharged.
    pub(super) fn end_item(&mut self, id: TaskId, item: u32) -> (Option<Split>, TaskId, TaskSpec) {
        let task = self.table.get(&id).expect("a task is ended once");
        if task.spec.count == 1 {
            return (None, id, self.resolve(id));
        }
        let split = self.split(id, item);
        (Some(split), split.blamed, self.resolve(split.blamed))
    }

    /// Ends a task, wherever it is.
    pub(super) fn resolve(&mut self, id: TaskId) -> TaskSpec {
        let task = self.table.remove(&id).expect("a task is resolved once");
        let (waited, was_there) = match task.place {
            Place::Queued { position } => (true, self.queue.remove(&position)),
            Place::InLine { position } => (true, self.line.remove(&position)),
            Place::Sent { .. } => (false, self.alone.take_if(|alone| *alone == id)),
        };
        assert!(!waited || was_there == Some(id), "a queued task is in the queue at its position");
        self.resolved += 1;
        task.spec
    }

    /// The first task that waits.
    pub(super) fn first_queued(&self) -> Option<TaskId> {
        let first = self.line.first_key_value().or_else(|| self.queue.first_key_value());
        first.map(|(_, &id)| id)
    }

    /// Whether it is the one that is run alone.
    pub(super) fn is_alone(&self, id: TaskId) -> bool {
        self.alone == Some(id)
    }

    /// No task came from nowhere or went there.
    pub(super) fn assert_conserved(&self) {
        assert_eq!(
            self.created,
            self.table.len() as u64 + self.resolved,
            "created = queued + sent + resolved"
        );
        let alone = self.alone.map(|id| self.place(id));
        let is_sent = alone.is_none_or(|place| matches!(place, Some(Place::Sent { .. })));
        assert!(is_sent, "what is run alone is in a worker");
    }

    /// Queue and table agree; linear in the number of tasks.
    #[cfg(test)]
    pub(super) fn assert_queue(&self) {
        for (&position, id) in &self.queue {
            let place = self.place(*id);
            assert_eq!(place, Some(Place::Queued { position }), "the queue's tasks are queued");
        }
        for (&position, id) in &self.line {
            let place = self.place(*id);
            assert_eq!(place, Some(Place::InLine { position }), "the line's tasks are in line");
        }
        for task in self.table.values() {
            assert!(task.charged == 0 || task.spec.count == 1, "only single items are charged");
            assert!(task.charged < task.spec.attempts, "a task without attempts is resolved");
            match task.place {
                Place::Queued { position } => {
                    assert!(self.queue.contains_key(&position), "a queued task is in the queue");
                }
                Place::InLine { position } => {
                    assert!(self.line.contains_key(&position), "a task in line is in the line");
                    assert!(task.charged > 0, "only what was charged is in line");
                }
                Place::Sent { .. } => {}
            }
        }
    }

    /// The item has had one attempt from now on.
    fn split(&mut self, from: TaskId, item: u32) -> Split {
        let whole = self.table.remove(&from).expect("a task is split once");
        let item = whole.spec.clamp(item);
        let before = whole.spec.part(whole.spec.first, item - whole.spec.first);
        let after = whole.spec.part(item.saturating_add(1), whole.spec.last() - item);
        #[cfg(test)]
        let after = after.filter(|_| self.plant != Some(super::sim::Plant::SplitForgetsTail));
        let single = TaskSpec { first: item, count: 1, ..whole.spec };
        self.created += u64::from(before.is_some()) + u64::from(after.is_some());

        // Last part first: each goes before all others.
        let after = after.map(|spec| self.create_first(spec, 0));
        let blamed = self.create_first(single, 1);
        let before = before.map(|spec| self.create_first(spec, 0));
        Split { from, item, before, blamed, after }
    }

    fn create_first(&mut self, spec: TaskSpec, charged: u32) -> TaskId {
        let position = self.before_all();
        self.create(spec, charged, position)
    }

    fn create(&mut self, spec: TaskSpec, charged: u32, position: i64) -> TaskId {
        let id = TaskId(self.next_id);
        self.next_id += 1;
        self.table.insert(id, Task { spec, charged, place: Place::Queued { position } });
        self.queue.insert(position, id);
        id
    }

    fn behind_all(&mut self) -> i64 {
        self.back += 1;
        self.back - 1
    }

    fn before_all(&mut self) -> i64 {
        #[cfg(test)]
        if self.plant == Some(super::sim::Plant::RequeueAtBack) {
            return self.behind_all();
        }
        let position = self.front;
        self.front -= 1;
        position
    }
}

//! [`Ring`]: the ring of a channel over words that a fuzzer sees and changes.
//!
//! Promises: the producer, the consumer and the bell are those of a channel; only the words are not
//! shared memory. Every load is noted, and can be the moment at which somebody else writes.
//! Does not know: threads. What the orders of the atomics are good for, a model finds out elsewhere.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::channel::{Consumer, Doorbell, LINE, Memory, Producer, Pushed, Word};

/// The memory of a ring, with both sides in one thread.
///
/// Its words are numbered: those of the lines, then how many lines were
/// [published](Self::published), and how many were consumed.
///
/// # Examples
///
/// ```
/// use pannier::fuzzing::{Pop, Push, Ring};
///
/// let ring = Ring::new(4);
/// let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
/// assert_eq!(producer.push(&[b"ea", b"st"]), Push::Done);
/// assert_eq!(consumer.pop(), Pop::Record(b"east".to_vec()));
/// ring.set(ring.published(), 77);
/// assert_eq!(consumer.pop(), Pop::Broken);
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    heap: Rc<Heap>,
}

/// What became of a record that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is published.
    Done,
    /// There is no room now.
    Full,
    /// There never will be.
    TooLong,
    /// The consumer's word cannot be.
    Broken,
}

/// What there was to pop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pop {
    /// A whole record.
    Record(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The producer's words cannot be.
    Broken,
}

/// The writing side of a [`Ring`].
#[derive(Debug)]
pub struct RingProducer(Producer<Rc<Heap>>);

/// The reading side of a [`Ring`].
#[derive(Debug)]
pub struct RingConsumer(Consumer<Rc<Heap>>);

impl Ring {
    /// Zeros, of so many lines of eight words.
    ///
    /// # Panics
    ///
    /// When a side is made and that is no power of two.
    ///
    /// ```
    /// assert_eq!(pannier::fuzzing::Ring::new(2).published(), 16);
    /// ```
    #[must_use]
    pub fn new(lines: usize) -> Ring {
        let count = lines * LINE + 3;
        let state = Rc::new(State { values: vec![0; count].into(), ..State::default() });
        let words = (0..count).map(|at| Scripted { at, state: state.clone() }).collect();
        Ring { heap: Rc::new(Heap { words, state }) }
    }

    /// The one producer.
    #[must_use]
    pub fn producer(&self) -> RingProducer {
        RingProducer(Producer::new(self.heap.clone()))
    }

    /// The one consumer.
    #[must_use]
    pub fn consumer(&self) -> RingConsumer {
        RingConsumer(Consumer::new(self.heap.clone()))
    }

    /// The number of the word that says how many lines were published; behind it is the other.
    #[must_use]
    pub fn published(&self) -> usize {
        self.heap.words.len() - 3
    }

    /// Reads a word, as one of the sides would: it is noted.
    ///
    /// # Panics
    ///
    /// If there is no such word.
    #[must_use]
    pub fn load(&self, at: usize) -> u64 {
        self.heap.words[at].load(Ordering::Relaxed)
    }

    /// Writes a word, as a peer that does what it likes. One that is not there is left alone.
    pub fn set(&self, at: usize, value: u64) {
        self.heap.state.set(at, value);
    }

    /// The same in the middle of an operation: when `loads` more words have been loaded.
    pub fn set_after(&self, loads: usize, at: usize, value: u64) {
        self.heap.state.changes.borrow_mut().push((loads, at, value));
    }

    /// Lets only so many stores arrive from now on; `None`: all of them.
    pub fn live_for(&self, stores: Option<usize>) {
        self.heap.state.life.set(stores);
    }

    /// The words that were loaded since the last call, in order, with what was found.
    #[must_use]
    pub fn take_loads(&self) -> Vec<(usize, u64)> {
        self.heap.state.loads.take()
    }

    /// The consumer says that it is going to sleep.
    pub fn going_to_sleep(&self) {
        self.bell().going_to_sleep();
    }

    /// It does not, or not any more.
    pub fn awake(&self) {
        self.bell().awake();
    }

    /// Whether the producer has to wake it.
    #[must_use]
    pub fn must_ring(&self) -> bool {
        self.bell().must_ring()
    }

    fn bell(&self) -> Doorbell<'_, Scripted> {
        Doorbell(&self.heap.words[self.published() + 2])
    }
}

impl RingProducer {
    /// Publishes one record, made of these parts.
    pub fn push(&mut self, parts: &[&[u8]]) -> Push {
        self.0.push(parts).map_or(Push::Broken, Push::from)
    }

    /// What would become of a record of so many bytes.
    pub fn room(&mut self, len: usize) -> Push {
        self.0.room(len).map_or(Push::Broken, Push::from)
    }

    /// Lines that were published so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Lines that the consumer has let go of; `None` if its word cannot be.
    pub fn look(&mut self) -> Option<u64> {
        self.0.look().ok()
    }
}

impl RingConsumer {
    /// Takes the next record.
    pub fn pop(&mut self) -> Pop {
        let mut record = Vec::new();
        match self.0.pop(&mut record) {
            Ok(true) => Pop::Record(record),
            Ok(false) => Pop::Nothing,
            Err(_) => Pop::Broken,
        }
    }

    /// Lines that were consumed so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.position()
    }
}

impl From<Pushed> for Push {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Yes => Push::Done,
            Pushed::Full => Push::Full,
            Pushed::TooLong => Push::TooLong,
        }
    }
}

#[derive(Debug)]
struct Heap {
    words: Vec<Scripted>,
    state: Rc<State>,
}

impl Memory for Rc<Heap> {
    type Word = Scripted;

    fn lines(&self) -> &[Scripted] {
        &self.words[..self.words.len() - 3]
    }

    fn published(&self) -> &Scripted {
        &self.words[self.words.len() - 3]
    }

    fn consumed(&self) -> &Scripted {
        &self.words[self.words.len() - 2]
    }
}

/// What is in the words, what somebody else will do to them, and what was done.
#[derive(Debug, Default)]
struct State {
    values: RefCell<Vec<u64>>,
    /// Loads to go, the word, its value.
    changes: RefCell<Vec<(usize, usize, u64)>>,
    loads: RefCell<Vec<(usize, u64)>>,
    /// Stores that still arrive.
    life: Cell<Option<usize>>,
}

impl State {
    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.values.borrow_mut().get_mut(at) {
            *word = value;
        }
    }

    /// Does what is due before the next load.
    fn change(&self) {
        self.changes.borrow_mut().retain_mut(|(left, at, value)| {
            let is_due = *left == 0;
            if is_due {
                self.set(*at, *value);
            }
            *left = left.saturating_sub(1);
            !is_due
        });
    }

    fn store(&self, at: usize, value: u64) {
        let left = self.life.get();
        self.life.set(left.map(|left| left.saturating_sub(1)));
        if left != Some(0) {
            self.set(at, value);
        }
    }
}

/// A word that changes when the script says so.
#[derive(Debug)]
struct Scripted {
    at: usize,
    state: Rc<State>,
}

impl Word for Scripted {
    fn load(&self, _: Ordering) -> u64 {
        self.state.change();
        let value = self.state.values.borrow()[self.at];
        self.state.loads.borrow_mut().push((self.at, value));
        value
    }

    fn store(&self, value: u64, _: Ordering) {
        self.state.store(self.at, value);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        let old = self.load(order);
        self.state.store(self.at, value);
        old
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let is_old = self.load(Ordering::Relaxed) == old;
        if is_old {
            self.state.store(self.at, new);
        }
        is_old
    }

    fn fence(_: Ordering) {}
}

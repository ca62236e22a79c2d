//! `ring`: one direction of a channel against a queue, by any list of operations of the two sides:
//! what was pushed is popped once, whole and in order; there is room exactly if there is; a producer
//! that dies leaves whole records only; and a consumer that sleeps was rung for what it has not seen.
//!
//! The operations are as small as they can be, so that a list of them is also an interleaving: the
//! producer asks for room, publishes and rings in three, the consumer says that it sleeps, looks
//! once more and sleeps.

use std::collections::VecDeque;
use std::marker::PhantomData;

use pannier::fuzzing::{Pop, Push, Ring, RingConsumer, RingProducer};

use crate::script::Script;

/// What both sides do, each of which a test may replace by something with a fault.
pub trait Sides {
    /// Publishes a record.
    fn push(producer: &mut RingProducer, parts: &[&[u8]]) -> Push {
        producer.push(parts)
    }

    /// Takes one.
    fn pop(consumer: &mut RingConsumer) -> Pop {
        consumer.pop()
    }

    /// Whether the consumer has to be woken. `looked_empty`: when the producer asked for room.
    fn must_ring(ring: &Ring, looked_empty: bool) -> bool {
        let _irrelevant = looked_empty;
        ring.must_ring()
    }

    /// The consumer is going to sleep.
    fn going_to_sleep(ring: &Ring) {
        ring.going_to_sleep();
    }
}

/// Those of the library.
#[derive(Debug)]
pub struct Honest;

impl Sides for Honest {}

/// Any bytes, as operations.
pub fn ring(data: &[u8]) {
    ring_of::<Honest>(data);
}

/// The same for other sides.
pub fn ring_of<S: Sides>(data: &[u8]) {
    let mut script = Script::new(data);
    let mut model = Model::<S>::new(1 << script.below(6));
    while !script.is_over() {
        model.step(&mut script);
        assert!(model.is_awake_or_will_be(), "asleep for ever");
    }
    model.finish();
}

/// The lines that a record of so many bytes takes: eight words each, and one for the length.
pub(crate) fn lines_of(len: usize) -> usize {
    (len.div_ceil(8) + 1).div_ceil(8)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consuming {
    Awake,
    /// It has said that it sleeps, and looks once more.
    Drowsy,
    Asleep,
}

struct Model<S> {
    ring: Ring,
    producer: RingProducer,
    consumer: RingConsumer,
    lines: usize,
    queue: VecDeque<Vec<u8>>,
    pushed: u8,
    consuming: Consuming,
    /// The bell has been rung and not been heard.
    rung: bool,
    /// It is to be rung for what was published last.
    to_ring: bool,
    looked_empty: bool,
    dead: bool,
    sides: PhantomData<S>,
}

impl<S: Sides> Model<S> {
    fn new(lines: usize) -> Self {
        let ring = Ring::new(lines);
        Model {
            producer: ring.producer(),
            consumer: ring.consumer(),
            ring,
            lines,
            queue: VecDeque::new(),
            pushed: 0,
            consuming: Consuming::Awake,
            rung: false,
            to_ring: false,
            looked_empty: true,
            dead: false,
            sides: PhantomData,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(16) {
            0..=3 if !self.dead => self.push(script),
            4 if !self.dead => self.ask(script),
            5 | 6 if !self.dead => self.ring(),
            7 if !self.dead && script.one_in(8) => self.die(script),
            8..=10 if self.consuming != Consuming::Asleep => {
                self.pop();
            }
            11 | 12 if self.consuming == Consuming::Awake => {
                S::going_to_sleep(&self.ring);
                self.consuming = Consuming::Drowsy;
            }
            13 | 14 if self.consuming == Consuming::Drowsy => self.fall_asleep(),
            15 if self.rung => self.wake(),
            _ => {}
        }
        let lines = |n: u64| usize::try_from(n).expect("few lines");
        let (published, consumed) = (self.producer.position(), self.consumer.position());
        assert!(self.dead || lines(published - consumed) == self.used(), "lines in use");
    }

    /// Lines of the records that are in the ring.
    fn used(&self) -> usize {
        self.queue.iter().map(|record| lines_of(record.len())).sum()
    }

    fn expected(&self, len: usize) -> Push {
        match lines_of(len) {
            needed if needed > self.lines => Push::TooLong,
            needed if self.used() + needed > self.lines => Push::Full,
            _ => Push::Done,
        }
    }

    /// A length of any size, of what just fits, or of what just does not.
    fn len(&self, script: &mut Script<'_>) -> usize {
        let free = 64 * (self.lines - self.used());
        match script.below(4) {
            0 => script.below(20),
            1 => script.short() % (64 * self.lines + 16),
            2 => (64 * self.lines + 4).saturating_sub(8 + script.below(10)),
            _ => (free + 4).saturating_sub(8 + script.below(10)),
        }
    }

    fn record(&mut self, len: usize) -> Vec<u8> {
        self.pushed = self.pushed.wrapping_add(1);
        (0..len).map(|at| self.pushed.wrapping_mul(31) ^ at.to_le_bytes()[0]).collect()
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let len = self.len(script);
        self.looked_empty = self.producer.look() == Some(self.producer.position());
        assert_eq!(self.producer.room(len), self.expected(len), "room for {len} bytes");
    }

    fn push(&mut self, script: &mut Script<'_>) {
        // As a channel does: nothing is published before the bell for the last record.
        self.ring();
        let len = self.len(script);
        let record = self.record(len);
        let cuts = [script.below(256).min(len), script.below(256).min(len)];
        let (first, last) = (cuts[0].min(cuts[1]), cuts[0].max(cuts[1]));
        let parts = [&record[..first], &record[first..last], &record[last..]];
        let expected = self.expected(len);
        assert_eq!(S::push(&mut self.producer, &parts), expected, "{len} bytes were pushed");
        if expected == Push::Done {
            self.queue.push_back(record);
            self.to_ring = true;
        }
    }

    fn ring(&mut self) {
        if std::mem::take(&mut self.to_ring) {
            self.rung |= S::must_ring(&self.ring, self.looked_empty);
        }
    }

    /// In the middle of a push: the record is there if its last store has arrived.
    fn die(&mut self, script: &mut Script<'_>) {
        let len = self.len(script);
        let record = self.record(len);
        let stores = script.below(2 + len.div_ceil(8) + 2);
        self.ring.live_for(Some(stores));
        let pushed = S::push(&mut self.producer, &[&record]);
        self.ring.live_for(None);
        if pushed == Push::Done && stores >= 2 + len.div_ceil(8) {
            self.queue.push_back(record);
        }
        // The end of its socket wakes as well.
        (self.dead, self.to_ring, self.rung) = (true, false, true);
    }

    fn pop(&mut self) -> bool {
        let expected = self.queue.pop_front().map_or(Pop::Nothing, Pop::Record);
        let popped = S::pop(&mut self.consumer);
        assert!(popped == expected, "popped {popped:?} in place of {expected:?}");
        let any = popped != Pop::Nothing;
        if any {
            self.ring.awake();
            self.consuming = Consuming::Awake;
        }
        any
    }

    /// Unless there is something after all.
    fn fall_asleep(&mut self) {
        if !self.pop() {
            self.consuming = Consuming::Asleep;
        }
    }

    fn wake(&mut self) {
        self.rung = false;
        // Who hears the bell begins anew: it is armed no more.
        if self.consuming != Consuming::Awake {
            self.ring.awake();
            self.consuming = Consuming::Awake;
        }
    }

    fn is_awake_or_will_be(&self) -> bool {
        self.consuming != Consuming::Asleep || self.rung || self.to_ring || self.queue.is_empty()
    }

    fn finish(&mut self) {
        self.ring();
        assert!(self.is_awake_or_will_be(), "asleep for ever");
        while self.pop() {}
        if !self.dead {
            let longest = 64 * self.lines - 8;
            let pushed = S::push(&mut self.producer, &[&vec![7; longest]]);
            assert_eq!(pushed, Push::Done, "{longest} bytes were pushed into an empty ring");
        }
    }
}
